/*
 * gpt2_demo - what a compressed embedding table does to a real language model
 *
 *     cc -O2 -o gpt2_demo examples/gpt2_demo.c -lm        (from the repository's root)
 *     ./gpt2_demo                                         the small GPT-2 that comes along
 *     ./gpt2_demo DIR                                     any Hugging Face GPT-2 folder
 *     ./gpt2_demo --help                                  every option
 *
 * GPT-2 keeps one vector for each token of its vocabulary and uses that table twice: rows of
 * it go in, and the scores of the next token are inner products with all of its rows (a "tied"
 * embedding). This program reads a model in Hugging Face's own files, compresses its table in
 * several ways, and prints for each what it costs: bytes, error, the perplexity of a text, the
 * time of a lookup. Then it lets the model write with the table dense and compressed.
 * There is one train for the whole table, also with rows weighted by how often their token
 * occurs, and a train for each token. Rounding of rows and of blocks of 32 numbers stands in the
 * same list, at its true size, and a summary says which way is best when.
 *
 * The model itself, its tokenizer and the losses are in gpt2.h, the readers of files, JSON and
 * safetensors in tensor_files.h, the text of the perplexity in story.h; everything else is here, in
 * reading order: terminal, tables (all calls of tt_embed.h), generation, options, settings, rows of
 * the list, summary, the check against reference values, main.
 */

#if defined(__unix__) || defined(__APPLE__)
#define DEMO_POSIX 1                  /* isatty, a steady clock, offsets beyond 2 GiB */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200112L
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif
#endif

#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef DEMO_POSIX
#include <unistd.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

static void bar_show(double fraction, const char *what);
#define GPT2_PROGRESS(fraction, what) bar_show(fraction, what)
#include "gpt2.h"
#include "story.h"

/* ======================================================================================= */
/* TERMINAL: one line of error, one line of progress                                       */
/* ======================================================================================= */

static struct {
    int on, shown;           /* stderr is a terminal; a bar stands on the line now */
    double start, last;      /* seconds */
    double from, to;         /* the part of the bar that the work at hand has for itself */
} bar = {0, 0, 0.0, 0.0, 0.0, 1.0};

static double seconds(void)
{
#ifdef DEMO_POSIX
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) == 0)
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
#endif
    return (double)clock() / CLOCKS_PER_SEC;
}

static void bar_start(void)
{
#ifdef DEMO_POSIX
    bar.on = isatty(STDERR_FILENO);
#endif
    bar.start = bar.last = seconds();
}

static void bar_clear(void)
{
    if (bar.shown)
        fprintf(stderr, "\r%*s\r", 78, "");
    bar.shown = 0;
}

static void bar_span(double from, double to)
{
    bar.from = from;
    bar.to = to;
}

/* fraction: of the work at hand */
static void bar_show(double fraction, const char *what)
{
    const double now = bar.on ? seconds() : 0.0, done = bar.from + (bar.to - bar.from) * fraction;
    char left[32] = "";
    int full = (int)(done * 30.0);

    if (!bar.on || now - bar.last < 0.1)
        return;
    bar.last = now;
    bar.shown = 1;
    full = full < 0 ? 0 : full > 30 ? 30 : full;
    if (done > 0.02 && done <= 1.0) {
        const long rest = (long)((now - bar.start) * (1.0 - done) / done);
        snprintf(left, sizeof left, "%ld:%02ld left", rest / 60, rest % 60);
    }
    fprintf(stderr, "\r[%.*s%*s] %3d %%  %-12s %-24.24s", full, "##############################",
            30 - full, "", (int)(done * 100.0), left, what);
}

/* One line on stderr, exit status 1. Names come from files: control characters become '?'. */
NEVER_RETURNS static void fail(const char *format, ...)
{
    char line[1024];
    char *c;
    va_list list;

    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    for (c = line; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            *c = '?';
    fflush(stdout);
    bar_clear();
    fprintf(stderr, "gpt2_demo: %s\n", line);
    exit(1);
}

/* What was printed must have arrived: a full disk is an error, too. */
static void finish_output(void)
{
    if (fflush(stdout) || ferror(stdout))
        fail("standard output: %s", strerror(errno));
}


/* ======================================================================================= */
/* TABLES: dense, rounded or compressed; every call of tt_embed.h is here                  */
/* ======================================================================================= */

typedef enum { KIND_DENSE, KIND_ROUNDED, KIND_TT } table_kind;

typedef struct {
    size_t vocab, width, size;   /* size: bytes of the table as it is stored */
    double numbers;              /* stored for a token, scales not counted */
    const float *rows;           /* vocab x width, as they come back from what is stored */
    float *own;                  /* these rows where they are not the model's, or NULL */
    tte_image image;             /* KIND_TT: the bytes, as tte_save would write them */
    tte_table view;              /* KIND_TT: reads straight from those bytes */
    tte_info info;               /* KIND_TT */
    float *scratch;              /* KIND_TT: tte_scratch_len(&view); NULL: not compressed */
} table;

static table table_dense(const float *rows, size_t vocab, size_t width)
{
    table t;

    memset(&t, 0, sizeof t);
    t.vocab = vocab;
    t.width = width;
    t.size = vocab * width * sizeof *rows;
    t.numbers = (double)width;
    t.rows = rows;
    return t;
}

/* x becomes the nearest multiple of scale whose code is from -2^(bits-1) to 2^(bits-1) - 1. */
static float rounded(float x, float scale, int bits)
{
    const float most = (float)(1 << (bits - 1));
    const float q = scale < 0.0f || scale > 0.0f ? floorf(x / scale + 0.5f) : 0.0f;
    return scale * (q < -most ? -most : q > most - 1.0f ? most - 1.0f : q);
}

/* Rounds n numbers that share a bfloat16 scale. The number of largest magnitude would take the
   lowest code; a smaller scale cuts it off and serves the others, so the best of some is taken, in
   squared error: what rounding can do, since others are measured against it. */
static void round_block(float *x, size_t n, int bits)
{
    float top = 0.0f, best = 0.0f, least = 0.0f;
    size_t i;
    int c;

    for (i = 0; i < n; i++)
        top = fabsf(x[i]) > fabsf(top) ? x[i] : top;
    for (c = 0; c < 8; c++) {
        float scale = top / -(float)(1 << (bits - 1)) * (1.0f - 0.07f * (float)c), error = 0.0f;
        uint32_t word;

        memcpy(&word, &scale, sizeof word);
        word &= 0xffff0000u;
        memcpy(&scale, &word, sizeof word);
        for (i = 0; i < n; i++) {
            const float off = x[i] - rounded(x[i], scale, bits);
            error += off * off;
        }
        if (c == 0 || error < least) {
            least = error;
            best = scale;
        }
    }
    for (i = 0; i < n; i++)
        x[i] = rounded(x[i], best, bits);
}

/* Rounding: a block of numbers is a scale of two bytes, then `bits` bits for each of them. */
static table table_rounded(const model *m, int bits, size_t group)
{
    table t = table_dense(NULL, m->vocab, m->width);
    size_t i, at;

    t.rows = t.own = take_floats(m->vocab, m->width);
    memcpy(t.own, m->wte, t.size);
    t.size = 0;
    for (i = 0; i < m->vocab; i++)
        for (at = 0; at < m->width; at += group) {
            const size_t n = m->width - at < group ? m->width - at : group;
            round_block(t.own + i * m->width + at, n, bits);
            t.size += 2 + (n * (size_t)bits + 7) / 8;
        }
    return t;
}

static void must(tte_status status)
{
    if (status != TTE_OK)
        fail("tt_embed: %s", tte_status_text(status));
}

static int show_compression(void *user, double fraction)
{
    (void)user;
    bar_show(fraction, "compressing");
    return 0;
}

/* 0, and in `why` the library's word on it, when there is no such table. */
static int table_compressed(const model *m, tte_options options, table *t, char *why, size_t size)
{
    uint32_t tokens[256];
    size_t first, i, n;
    tte_status status;

    options.progress = show_compression;
    *t = table_dense(NULL, m->vocab, m->width);
    status = tte_compress(m->wte, m->vocab, m->width, &options, &t->image);
    if (status != TTE_OK) {
        snprintf(why, size, "%s", tte_status_text(status));
        if (status == TTE_ERR_BUDGET && t->image.size)
            add_text(why, size, "; %zu bytes would do", t->image.size);
        return 0;
    }
    must(tte_open(&t->view, t->image.data, t->image.size));
    must(tte_get_info(&t->view, &t->info));
    t->size = t->info.bytes;
    t->numbers = t->info.mean_numbers;
    t->scratch = take_floats(tte_scratch_len(&t->view), 1);
    t->rows = t->own = take_floats(m->vocab, m->width);
    for (first = 0; first < m->vocab; first += n) {
        n = m->vocab - first < 256 ? m->vocab - first : 256;
        for (i = 0; i < n; i++)
            tokens[i] = (uint32_t)(first + i);
        must(tte_lookup_batch(&t->view, tokens, n, t->own + first * m->width, t->scratch));
    }
    return 1;
}

static void table_give(table *t)
{
    give(t->own);
    give(t->scratch);
    tte_free(&t->image);
}

/* row (width) = the row of one token */
static void table_row(const table *t, uint32_t token, float *row)
{
    if (t->scratch)
        must(tte_lookup(&t->view, token, row, t->scratch));
    else
        memcpy(row, t->rows + token * t->width, t->width * sizeof *row);
}

/* out (vocab) = inner products of hidden (width) with all rows */
static void table_scores(const table *t, const float *hidden, float *out)
{
    size_t i;

    if (t->scratch)
        must(tte_logits(&t->view, hidden, 0, (uint32_t)t->vocab, out, t->scratch));
    else
        for (i = 0; i < t->vocab; i++)
            out[i] = dot(hidden, t->rows + i * t->width, t->width);
}

/* |a - b| / |a| of two tables of n numbers */
static double relative_error(const float *a, const float *b, size_t n)
{
    double off = 0.0, all = 0.0;
    size_t i;

    for (i = 0; i < n; i++) {
        const double x = (double)a[i], d = x - (double)b[i];
        off += d * d;
        all += x * x;
    }
    return all > 0.0 ? sqrt(off / all) : 0.0;
}

/* A generator of our own (xorshift64*), so that every machine draws the same. */
static uint32_t draw(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return (uint32_t)((*seed * 2685821657736338717u) >> 32);
}

/* Microseconds to read the row of one token, tokens drawn at random; the best of three runs. */
static double lookup_time(const table *t, float *row)
{
    uint64_t seed = 88172645463325252u;
    double best = 0.0;
    int run, i;

    for (run = 0; run < 3; run++) {
        const double start = seconds();
        double passed, reads = 0.0;

        do {
            for (i = 0; i < 64; i++)
                table_row(t, (uint32_t)(draw(&seed) % t->vocab), row);
            reads += 64.0;
            passed = seconds() - start;
        } while (passed < 0.01);
        if (run == 0 || passed / reads < best)
            best = passed / reads;
    }
    return best * 1e6;
}

/* ======================================================================================= */
/* GENERATION: token by token, with the cache                                              */
/* ======================================================================================= */

#define TOP ((size_t)20)   /* sampling is among the TOP best tokens, at temperature 0.8 */

/* Scores of the token after ids[0 .. count), into s->logit; the first `seen` are in the cache.
   Rows come from `input`; scores from `output`. */
static void next_scores(const model *m, state *s, const table *input, const table *output,
                        const uint32_t *ids, size_t seen, size_t count)
{
    size_t i;

    for (i = seen; i < count; i++)
        table_row(input, ids[i], s->x + (i - seen) * m->width);
    forward(m, s, seen, count - seen);
    table_scores(output, s->x + (count - seen - 1) * m->width, s->logit);
}

/* The `count` (<= TOP) best ids by score, best first; the lower id where scores are equal. */
static size_t best_ids(const float *score, size_t vocab, size_t count, uint32_t *best)
{
    size_t found = 0, i, k;

    for (i = 0; i < vocab; i++) {
        if (found == count && !(score[i] > score[best[found - 1]]))
            continue;
        for (k = found < count ? found++ : found - 1; k && score[i] > score[best[k - 1]]; k--)
            best[k] = best[k - 1];
        best[k] = (uint32_t)i;
    }
    return found;
}

static uint32_t sample(const float *score, size_t vocab, uint64_t *seed)
{
    uint32_t best[TOP];
    float p[TOP], left = (float)(draw(seed) >> 8) / 16777216.0f;
    const size_t n = best_ids(score, vocab, TOP, best);
    size_t i;

    for (i = 0; i < n; i++)
        p[i] = score[best[i]] / 0.8f;
    softmax(p, n);
    for (i = 0; i + 1 < n && left >= p[i]; i++)
        left -= p[i];
    return best[i];
}

/* What the model writes after a prompt, in a new block. */
static bytes continuation(const model *m, state *s, const tokenizer *t, const table *input,
                          const table *output, const uint32_t *prompt, size_t count,
                          size_t tokens)
{
    uint32_t *ids = (uint32_t *)take(count + tokens, sizeof *ids);
    uint64_t seed = 20240229u;
    size_t n = count, seen = 0;
    bytes text;

    memcpy(ids, prompt, count * sizeof *ids);
    while (n < count + tokens) {
        next_scores(m, s, input, output, ids, seen, n);
        seen = n;
        ids[n] = sample(s->logit, m->vocab, &seed);
        if (ids[n] == t->end_of_text)
            break;
        n++;
    }
    text = decode(t, ids + count, n - count);
    give(ids);
    return text;
}

/* Text broken into lines of at most 96 columns, white space and control characters as one
   space; what is not UTF-8 is shown as '?'. */
static void print_wrapped(const char *indent, bytes text)
{
    const size_t margin = strlen(indent), line = 96;
    size_t at = 0, end, column = margin, length;
    uint32_t c;

    fputs(indent, stdout);
    for (;;) {
        size_t columns = 0, gap = at;

        while (at < text.size && text.data[at] <= ' ')
            at++;
        if (at == text.size)
            break;
        for (end = at; end < text.size && text.data[end] > ' '; columns++)
            end += utf8_get(text.data + end, text.size - end, &c);
        if (column > margin && column + 1 + columns > line) {
            printf("\n%s", indent);
            column = margin;
        } else if (column > margin && at > gap) {
            putchar(' ');
            column++;
        }
        for (column += columns; at < end; at += length) {
            length = utf8_get(text.data + at, text.size - at, &c);
            if (c == NOT_UTF8 || (c >= 127 && c < 160))
                putchar('?');
            else
                fwrite(text.data + at, 1, length, stdout);
        }
    }
    putchar('\n');
}

/* ======================================================================================= */
/* OPTIONS                                                                                 */
/* ======================================================================================= */

enum { MAX_RATIOS = 16, MAX_SETTINGS = 2 * MAX_RATIOS + 16, MAX_VOICES = 5 };

typedef struct {
    const char *folder, *text, *prompt, *check, *weights;
    size_t tokens;
    float ratio[MAX_RATIOS];
    int ratios;
    tte_options asked;    /* layout, coding, eps, shape, max_rank: 0 where not given */
} options;

/* In the order of the library's enumerations, which begin with 1. */
static const char *const layout_name[] = {"table", "token"};
static const char *const coding_name[] = {"f32", "f16", "i8", "i4"};

static const char *const help[] = {
    "gpt2_demo - what a compressed embedding table does to a real language model\n\n"
    "usage: gpt2_demo [OPTION]... [DIR]\n\n"
    "DIR is a Hugging Face GPT-2 folder: model.safetensors, vocab.json, merges.txt, and\n"
    "config.json where there is one. Without it: examples/tiny-gpt2, from the repository's root.\n"
    "The model's embedding table is compressed in several ways. A list shows for each the bytes,\n"
    "the ratio, the numbers stored for a token, the relative error, the perplexity of a text, and\n"
    "the time of a lookup; a summary says which way is best at which size; then the model\n"
    "continues a prompt, dense and compressed.\n",
    "\nDefaults stand in brackets.\n"
    "  --text FILE     the text for the perplexity, instead of the story that is built in\n"
    "  --prompt TEXT   what the model continues\n"
    "  --tokens N      how many tokens it adds, 0 or more; what fits in the context (40)\n"
    "  --layout L      table: one train for the whole table; token: a train for each token\n"
    "                  (both, or when another of these settings is given token for --shape,\n"
    "                  --max-rank and --coding, else table)\n"
    "  --ratio R       ask for R times smaller than float32, above 1 to 10000; may be given up\n"
    "                  to 16 times (8, 16 and 38.4)\n"
    "  --eps E         bound the relative error of every row, or with --layout table that of the\n"
    "                  whole table, weighted as its rows are; above 0 to 1, instead of a ratio\n"
    "  --shape AxBx..  fold a row into these modes, 1 to 16 of them, each from 1 to 65536;\n"
    "                  their product must reach the width (the library chooses)\n"
    "  --max-rank R    let no rank exceed R, 1 to 65536 (no cap)\n"
    "  --coding C      how the numbers of a train for each token are stored: f32, f16, i8 or i4\n"
    "                  (i8)\n"
    "  --weights FILE  count the tokens of FILE, a text other than the one that is measured;\n"
    "                  every setting of --layout table then has a second row, in which a table\n"
    "                  row weighs the square root of its token's count (the counts are those of\n"
    "                  DIR/counts.json, where there is one)\n",
    "  --check FILE    compare the tokenizer, the next tokens and, with --text, the perplexity\n"
    "                  with the values in FILE (such as examples/tiny-gpt2/reference.json) and\n"
    "                  stop: a line for each part, exit status 1 when one differs\n"
    "  --threads N     1 to 256; only when compiled with -fopenmp (all cores)\n"
    "  --help          print this page\n\n"
    "--layout, --ratio, --eps, --shape, --max-rank and --coding go together in each setting that\n"
    "is asked for; these settings stand in place of the default ones. Perplexity: the text is cut\n"
    "into windows of the context's length that do not overlap. \"Tie broken\" reads only the\n"
    "input rows from the compressed table, \"tie kept\" scores the next token with it as well, as\n"
    "GPT-2 does with its one table. The continuation samples among the 20 best tokens at\n"
    "temperature 0.8, always from the same random numbers.\n",
    "\nexample: tables 8 and 16 times smaller, weighted by a text, on a model of your own\n"
    "  cc -O2 -o gpt2_demo examples/gpt2_demo.c -lm\n"
    "  ./gpt2_demo --ratio 8 --ratio 16 --weights books.txt models/gpt2\n\n"
    "Errors are one line on stderr, exit status 1.\n",
};

static double number_option(const char *name, const char *text, double least, int above,
                            double most, int whole)
{
    char *end;
    const double x = strtod(text, &end);

    if (end == text || *end || !(above ? x > least : x >= least) || !(x <= most)
        || (whole && x != floor(x)))
        fail("%s: \"%s\" is not a %snumber %s %.10g to %.10g", name, text, whole ? "whole " : "",
             above ? "above" : "from", least, most);
    return x;
}

static tte_shape shape_option(const char *text)
{
    tte_shape shape;
    const char *at = text;
    int good = 1;

    memset(&shape, 0, sizeof shape);
    while (good) {
        char *end;
        const long n = *at >= '0' && *at <= '9' ? strtol(at, &end, 10) : 0;
        good = n >= 1 && n <= 65536 && shape.modes < TTE_MAX_MODES;
        if (!good)
            break;
        shape.dim[shape.modes++] = (int32_t)n;
        if (*end == 0)
            return shape;
        good = *end == 'x';
        at = end + 1;
    }
    fail("--shape: \"%s\" is not a list like 8x16, of 1 to %d modes from 1 to 65536", text,
         TTE_MAX_MODES);
}

/* The number of a word in a list, from 1 on. */
static int word_option(const char *name, const char *text, const char *const *words, int count)
{
    char list[64] = "";
    int i;

    for (i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0)
            return i + 1;
        add_text(list, sizeof list, "%s%s", i ? ", " : "", words[i]);
    }
    fail("%s: \"%s\" is not one of %s", name, text, list);
}

static void threads_option(const char *text)
{
    const int threads = (int)number_option("--threads", text, 1, 0, 256, 1);
#ifdef _OPENMP
    omp_set_num_threads(threads);
#else
    fail("--threads %d: this program was compiled without OpenMP; add -fopenmp", threads);
#endif
}

/* An option that takes a value; 0: there is none of this name. */
static int set_option(options *o, const char *name, const char *value)
{
    const char **const text = strcmp(name, "--text") == 0 ? &o->text
                            : strcmp(name, "--prompt") == 0 ? &o->prompt
                            : strcmp(name, "--check") == 0 ? &o->check
                            : strcmp(name, "--weights") == 0 ? &o->weights : NULL;

    if (text) {
        *text = value;
    } else if (strcmp(name, "--tokens") == 0) {
        o->tokens = (size_t)number_option(name, value, 0, 0, 1e6, 1);
    } else if (strcmp(name, "--ratio") == 0) {
        if (o->ratios == MAX_RATIOS)
            fail("--ratio: given more than %d times", MAX_RATIOS);
        o->ratio[o->ratios++] = (float)number_option(name, value, 1, 1, 10000, 0);
    } else if (strcmp(name, "--eps") == 0) {
        o->asked.eps = (float)number_option(name, value, 0, 1, 1, 0);
    } else if (strcmp(name, "--shape") == 0) {
        o->asked.shape = shape_option(value);
    } else if (strcmp(name, "--max-rank") == 0) {
        o->asked.max_rank = (int32_t)number_option(name, value, 1, 0, 65536, 1);
    } else if (strcmp(name, "--layout") == 0) {
        o->asked.layout = (tte_layout)word_option(name, value, layout_name, 2);
    } else if (strcmp(name, "--coding") == 0) {
        o->asked.coding = (tte_coding)word_option(name, value, coding_name, 4);
    } else if (strcmp(name, "--threads") == 0) {
        threads_option(value);
    } else {
        return 0;
    }
    return 1;
}

/* Does the list hold settings of this layout? Without a word on it: both, or the one that has what
   is asked for. */
static int wants_layout(const options *o, tte_layout layout)
{
    const tte_options *a = &o->asked;
    const int of_token = a->coding || a->shape.modes || a->max_rank;

    if (a->layout)
        return a->layout == layout;
    return layout == TTE_PER_TOKEN ? of_token || !(o->ratios || a->eps > 0.0f) : !of_token;
}

/* What can only be told once all options are known. */
static void check_options(const options *o)
{
    const tte_options *a = &o->asked;

    if (a->layout == TTE_PER_TABLE && (a->coding || a->shape.modes || a->max_rank))
        fail("--layout table: --coding, --shape and --max-rank are for --layout token");
    if (o->weights && !wants_layout(o, TTE_PER_TABLE))
        fail("--weights: needs --layout table; a train for each token has no use for them");
}

static options parse_options(int argc, char **argv)
{
    options o;
    size_t k;
    int i;

    memset(&o, 0, sizeof o);
    o.tokens = 40;
    o.prompt = "The little girl opened the door of the old house, and";
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            for (k = 0; k < sizeof help / sizeof *help; k++)
                fputs(help[k], stdout);
            finish_output();
            exit(0);
        }
        if (argv[i][0] == '-') {
            if (i + 1 == argc)
                fail("%s: no such option, or one that needs a value; see --help", argv[i]);
            if (!set_option(&o, argv[i], argv[i + 1]))
                fail("%s: no such option; see --help", argv[i]);
            i++;
        } else if (!argv[i][0] || o.folder) {
            fail("\"%s\": %s; see --help", argv[i], o.folder ? "a second folder" : "no folder");
        } else {
            o.folder = argv[i];
        }
    }
    check_options(&o);
    return o;
}

/* ======================================================================================= */
/* SETTINGS: the rows of the list                                                          */
/* ======================================================================================= */

typedef struct {
    char name[48];
    table_kind kind;
    int bits;               /* KIND_ROUNDED: of a number, 2 to 8 */
    size_t group;           /* KIND_ROUNDED: numbers that share a scale */
    tte_options tte;        /* KIND_TT */
    int voice;              /* it also continues the prompt */
} setting;

static setting *add_setting(setting *list, size_t *count, table_kind kind)
{
    setting *s = &list[(*count)++];

    memset(s, 0, sizeof *s);
    s->kind = kind;
    return s;
}

static void add_rounded_setting(setting *list, size_t *count, int bits, size_t group,
                                const char *what)
{
    setting *s = add_setting(list, count, KIND_ROUNDED);

    s->bits = bits;
    s->group = group;
    snprintf(s->name, sizeof s->name, "%s rounded to %d bits", what, bits);
}

/* The settings of the TensorGPT paper: modes of 2, as few as cover the width, in float32. */
static void add_paper_setting(setting *list, size_t *count, size_t width, int max_rank)
{
    setting *s = add_setting(list, count, KIND_TT);
    int32_t *const modes = &s->tte.shape.modes;

    s->tte.coding = TTE_F32;
    s->tte.max_rank = max_rank;
    do
        s->tte.shape.dim[(*modes)++] = 2;
    while (*modes < TTE_MAX_MODES && (size_t)1 << *modes < width);
    snprintf(s->name, sizeof s->name, "TensorGPT 2^%d, rank %s%d", (int)*modes,
             max_rank == 1 ? "" : "cap ", max_rank);
}

/* A setting with all that is asked for, a train for each token (a coding), or one for the table
   (coding 0; weights: NULL or one for each row). */
static void add_asked_setting(setting *list, size_t *count, const options *o, tte_coding coding,
                              float ratio, const float *weights)
{
    setting *s = add_setting(list, count, KIND_TT);

    s->tte = o->asked;
    s->tte.layout = coding ? TTE_PER_TOKEN : TTE_PER_TABLE;
    s->tte.coding = coding;
    s->tte.ratio = ratio;
    s->tte.row_weight = weights;
    add_text(s->name, sizeof s->name, coding ? "token %s" : "table",
             coding ? coding_name[coding - 1] : "");
    if (ratio > 0.0f)
        add_text(s->name, sizeof s->name, ", ratio %.4g", (double)ratio);
    if (o->asked.eps > 0.0f)
        add_text(s->name, sizeof s->name, ", eps %.3g", (double)o->asked.eps);
    if (o->asked.max_rank > 0)
        add_text(s->name, sizeof s->name, ", cap %d", (int)o->asked.max_rank);
    if (weights)
        add_text(s->name, sizeof s->name, ", weights");
}

/* The sizes at which the ways are compared, and the usual ones of --layout table. */
static const float goal[] = {8.0f, 16.0f, 38.4f};
enum { GOALS = sizeof goal / sizeof *goal };

/* Dense, rounded, the paper's two, then trains for each token and trains for the table: those that
   are asked for, of which the last two also write, or the usual ones. */
static size_t make_settings(const options *o, const model *m, const float *weights, setting *list)
{
    static const float token_ratio[] = {4.0f, 4.0f, 8.0f, 16.0f};
    static const tte_coding token_coding[] = {TTE_F32, TTE_I8, TTE_I4, TTE_I4};
    const tte_options *a = &o->asked;
    const int usual = !(o->ratios || a->eps > 0.0f || a->coding || a->shape.modes || a->max_rank);
    const int ratios = usual ? GOALS : o->ratios ? o->ratios : 1;   /* 1: of ratio 0 */
    size_t count = 0, first;
    int k;

    snprintf(add_setting(list, &count, KIND_DENSE)->name, sizeof list->name, "dense float32");
    list[0].voice = 1;
    for (k = 8; k >= 4; k -= 4)
        add_rounded_setting(list, &count, k, m->width, "rows");
    for (k = 4; k >= 2 && m->width > 32; k--)
        add_rounded_setting(list, &count, k, 32, "blocks of 32");
    add_paper_setting(list, &count, m->width, 1);
    add_paper_setting(list, &count, m->width, 4);
    first = count;
    if (wants_layout(o, TTE_PER_TOKEN) && usual) {
        for (k = 0; k < 4; k++) {
            add_asked_setting(list, &count, o, token_coding[k], token_ratio[k], NULL);
            list[count - 1].voice = k == 2;
        }
    } else if (wants_layout(o, TTE_PER_TOKEN)) {
        for (k = 0; k < ratios; k++)
            add_asked_setting(list, &count, o, a->coding ? a->coding : TTE_I8, o->ratio[k], NULL);
    }
    for (k = 0; k < ratios && wants_layout(o, TTE_PER_TABLE); k++) {
        const float ratio = usual ? goal[k] : o->ratio[k];
        add_asked_setting(list, &count, o, TTE_CODING_AUTO, ratio, NULL);
        if (weights)
            add_asked_setting(list, &count, o, TTE_CODING_AUTO, ratio, weights);
        list[count - 1].voice = usual && k != 1;
    }
    for (k = 1; k <= 2 && !usual && count - (size_t)k >= first; k++)
        list[count - (size_t)k].voice = 1;
    return count;
}

/* ======================================================================================= */
/* LIST: a row for each setting                                                            */
/* ======================================================================================= */

typedef struct {
    const model *m;
    const tokenizer *tok;
    state *s;
    const uint32_t *ids;        /* the text for the perplexity */
    size_t count;
    const uint32_t *prompt;
    size_t prompt_count, tokens;
} bench;

typedef struct {
    char name[64];
    bytes text;
} voice;

/* What one row of the list came to; without a row both are 0. */
typedef struct {
    double ratio, perplexity;   /* with the tie kept, or broken when the model has none */
} outcome;

static void commas(size_t n, char *out, size_t size)
{
    char digits[32];
    size_t length = (size_t)snprintf(digits, sizeof digits, "%zu", n), i, at = 0;

    for (i = 0; i < length && at + 2 < size; i++) {
        if (i && (length - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
}

/* A column of 10; a number below zero is one that does not exist. */
static void print_perplexity(double x)
{
    if (x < 0.0)
        printf("%10s", "-");
    else
        printf(x < 1e6 ? "%10.2f" : "%10.2e", x);
}

static void print_heads(void)
{
    printf("%-34s%12s%8s%9s%9s%10s%10s%8s\n", "", "", "", "numbers", "relative", "ppl, tie",
           "ppl, tie", "us a");
    printf("%-34s%12s%8s%9s%9s%10s%10s%8s\n", "embedding table", "bytes", "ratio", "a token",
           "error", "broken", "kept", "lookup");
}

static double ratio_of(const table *t)
{
    return 4.0 * (double)t->vocab * (double)t->width / (double)t->size;
}

/* A shape is told where the library has chosen it. Rounded rows have no lookup of their own. */
static void print_row(const setting *how, const table *t, double error, const double *ppl,
                      double micros)
{
    char size[32], name[sizeof how->name + 16 * TTE_MAX_MODES] = "";
    int32_t i;

    add_text(name, sizeof name, "%s", how->name);
    for (i = 0; i < t->info.shape.modes && !how->tte.shape.modes; i++)
        add_text(name, sizeof name, "%s%d", i ? "x" : ", ", (int)t->info.shape.dim[i]);
    commas(t->size, size, sizeof size);
    printf("%-34.34s%12s%8.2f%9.1f%9.4f", name, size, ratio_of(t), t->numbers, error);
    print_perplexity(ppl[0]);
    print_perplexity(ppl[1]);
    if (how->kind == KIND_ROUNDED)
        printf("%8s\n", "-");
    else
        printf("%8.2f\n", micros);
    fflush(stdout);
}

/* Measures one setting and prints its row, or the library's word on why there is none. When
   the model does not tie its output to the table, there is no perplexity with the tie kept. */
static outcome run_setting(const bench *b, const setting *how, double bar_from, double bar_to,
                           voice *voice_out)
{
    const model *m = b->m;
    const int tied = m->head == m->wte;
    const double bar_mid = bar_from + (how->kind == KIND_TT ? 0.5 : 0.0) * (bar_to - bar_from);
    const table head = table_dense(m->head, m->vocab, m->width);
    const float *output[2];
    double ppl[2] = {-1.0, -1.0}, error, micros;
    outcome came = {0.0, 0.0};
    char why[128];
    table t;

    bar_span(bar_from, bar_mid);
    if (how->kind == KIND_DENSE) {
        t = table_dense(m->wte, m->vocab, m->width);
    } else if (how->kind == KIND_ROUNDED) {
        t = table_rounded(m, how->bits, how->group);
    } else if (!table_compressed(m, how->tte, &t, why, sizeof why)) {
        bar_clear();
        printf("%-34.34s  %s\n", how->name, why);
        return came;
    }
    output[0] = m->head;
    output[1] = t.rows;
    bar_span(bar_mid, bar_to);
    perplexity(m, b->s, b->ids, b->count, t.rows, output, tied ? 2 : 1, ppl);
    error = relative_error(m->wte, t.rows, m->vocab * m->width);
    micros = lookup_time(&t, b->s->y);
    if (how->voice) {
        add_text(voice_out->name, sizeof voice_out->name, "%s", how->name);
        voice_out->text = continuation(m, b->s, b->tok, &t, tied ? &t : &head, b->prompt,
                                       b->prompt_count, b->tokens);
    }
    bar_clear();
    print_row(how, &t, error, ppl, micros);
    came.ratio = ratio_of(&t);
    came.perplexity = tied ? ppl[1] : ppl[0];
    table_give(&t);
    return came;
}

/* ======================================================================================= */
/* SUMMARY: which way is best when, from the rows alone                                    */
/* ======================================================================================= */

enum { WAYS = 3 };   /* rounding, a train for each token, one train for the table */

static int way_of(const setting *how)   /* -1: dense */
{
    return how->kind == KIND_DENSE ? -1 : how->kind == KIND_ROUNDED ? 0
         : how->tte.layout == TTE_PER_TABLE ? 2 : 1;
}

/* The row of least perplexity among those at least `ratio` times smaller, of one way or (-1) of
   all; `settings` when there is none. */
static size_t best_at(const setting *list, const outcome *came, size_t settings, double ratio,
                      int way)
{
    size_t best = settings, i;

    for (i = 1; i < settings; i++)
        if (came[i].ratio >= ratio && came[i].perplexity > 0.0
            && (way < 0 || way_of(&list[i]) == way)
            && (best == settings || came[i].perplexity < came[best].perplexity))
            best = i;
    return best;
}

/* Which way is best when, from the rows alone: list[0] is the dense table. */
static void print_summary(const setting *list, const outcome *came, size_t settings, int tied)
{
    size_t best, i;
    int k, way;

    printf("\n%-34s%10s%10s%10s\n",
           tied ? "least perplexity, tie kept," : "least perplexity, tie broken,", "plain",
           "train per", "train per");
    printf("%-34s%10s%10s%10s  %s\n", "of all rows that are", "rounding", "token", "table",
           "the best of them");
    for (k = 0; k < GOALS; k++) {
        if ((best = best_at(list, came, settings, (double)goal[k], -1)) == settings)
            break;
        printf("at least %4.4gx smaller%13s", (double)goal[k], "");
        for (way = 0; way < WAYS; way++) {
            i = best_at(list, came, settings, (double)goal[k], way);
            print_perplexity(i < settings ? came[i].perplexity : -1.0);
        }
        printf("  %s\n", list[best].name);
    }
    printf("%-34s", "largest ratio within 1 % of dense");
    for (way = 0; way < WAYS; way++) {
        double most = 0.0;
        for (i = 1; i < settings; i++)
            if (way_of(&list[i]) == way && came[i].perplexity <= 1.01 * came[0].perplexity
                && came[i].ratio > most)
                most = came[i].ratio;
        if (most > 0.0)
            printf("%9.2fx", most);
        else
            printf("%10s", "-");
    }
    putchar('\n');
}

/* ======================================================================================= */
/* CHECK: the tokenizer and the model against a file of reference values                   */
/* ======================================================================================= */

typedef struct {
    const json *j;
    const model *m;
    const tokenizer *tok;
    state *s;
    int parts, wrong;       /* checked; differing */
} check;

/* One line for a part: how much was compared, and the first difference where there is one. */
static void check_line(check *c, const char *part, const char *what, const char *difference)
{
    bar_clear();
    printf("%-14s%-44s%s\n", part, what, *difference ? difference : "ok");
    fflush(stdout);
    c->parts++;
    c->wrong += *difference != 0;
}

/* Does the array of ids at `node` hold just these? If not, say where it differs. */
static int same_ids(const json *j, size_t node, const uint32_t *ids, size_t count, char *difference,
                    size_t size)
{
    size_t k, i = 0;

    for (k = json_first(j, node, JSON_ARRAY); k; k = json_after(j, node, k), i++) {
        const uint32_t want = (uint32_t)json_whole(j, k, 0, UINT32_MAX - 1);
        if (i >= count || ids[i] != want) {
            snprintf(difference, size, "DIFFERS: id %zu is %ld, reference %lu", i,
                     i < count ? (long)ids[i] : -1L, (unsigned long)want);
            return 0;
        }
    }
    if (i < count)
        snprintf(difference, size, "DIFFERS: %zu ids, reference %zu", count, i);
    return i == count;
}

static void check_texts(check *c, size_t list)
{
    size_t k, texts = 0, total = 0;
    char what[64], why[80], difference[160] = "";

    for (k = json_first(c->j, list, JSON_ARRAY); k; k = json_after(c->j, list, k)) {
        bytes text = json_string(c->j, json_need(c->j, k, "text")), back;
        size_t count;
        uint32_t *ids = encode(c->tok, text, &count);

        why[0] = 0;
        back = decode(c->tok, ids, count);
        if (same_ids(c->j, json_need(c->j, k, "ids"), ids, count, why, sizeof why)
            && (back.size != text.size || memcmp(back.data, text.data, text.size) != 0))
            snprintf(why, sizeof why, "DIFFERS: the ids decode to another text");
        if (why[0] && !difference[0])
            snprintf(difference, sizeof difference, "%s (text %zu)", why, texts);
        give(text.data);
        give(back.data);
        give(ids);
        texts++;
        total += count;
    }
    snprintf(what, sizeof what, "%zu texts, %zu ids", texts, total);
    check_line(c, "tokenizer", what, difference);
}

static void check_bytes(check *c, size_t list)
{
    size_t k, count = 0;
    char what[64], difference[160] = "";

    for (k = json_first(c->j, list, JSON_ARRAY); k; k = json_after(c->j, list, k), count++) {
        bytes hex = json_string(c->j, json_need(c->j, k, "bytes_hex")), one = {NULL, 1};
        const uint64_t want = json_whole(c->j, json_need(c->j, k, "id"), 0, UINT32_MAX - 1);
        unsigned char byte;
        size_t ids_count;
        uint32_t *ids;

        if (hex.size != 2 || hex_digit(hex.data[0]) < 0 || hex_digit(hex.data[1]) < 0)
            json_fail(c->j, c->j->node[k].begin, "bytes_hex: expected two hexadecimal digits");
        byte = (unsigned char)(hex_digit(hex.data[0]) << 4 | hex_digit(hex.data[1]));
        one.data = &byte;
        ids = encode(c->tok, one, &ids_count);
        if ((ids_count != 1 || ids[0] != want) && !difference[0])
            snprintf(difference, sizeof difference, "DIFFERS: byte %02x", (unsigned)byte);
        give(ids);
        give(hex.data);
    }
    snprintf(what, sizeof what, "%zu single bytes", count);
    check_line(c, "bytes", what, difference);
}

/* s->logit against [[id, score, text], ...], best first. Scores agree to 0.01. */
static void check_top(check *c, size_t list, char *why, size_t size)
{
    uint32_t best[TOP];
    const size_t found = best_ids(c->s->logit, c->m->vocab, TOP, best);
    size_t k, i = 0;

    for (k = json_first(c->j, list, JSON_ARRAY); k; k = json_after(c->j, list, k), i++) {
        const size_t id = json_first(c->j, k, JSON_ARRAY), score = id ? json_after(c->j, k, id) : 0;
        uint32_t want;
        double mine, theirs;

        if (!score || i == found)
            json_fail(c->j, c->j->node[k].begin, "not a pair of id and score, or too many of them");
        want = (uint32_t)json_whole(c->j, id, 0, UINT32_MAX - 1);
        theirs = json_number(c->j, score);
        mine = (double)c->s->logit[best[i]];
        if (best[i] != want || !(fabs(mine - theirs) <= 0.01)) {
            snprintf(why, size, "DIFFERS: best %zu is %lu with %.4f, reference %lu with %.4f", i,
                     (unsigned long)best[i], mine, (unsigned long)want, theirs);
            return;
        }
    }
}

/* One prompt: its ids, the best next tokens, and the greedy continuation, token by token. */
static size_t check_prompt(check *c, size_t node, char *why, size_t size)
{
    const model *m = c->m;
    const table rows = table_dense(m->wte, m->vocab, m->width);
    const table head = table_dense(m->head, m->vocab, m->width);
    const size_t greedy = json_need(c->j, node, "greedy");
    bytes text = json_string(c->j, json_need(c->j, node, "prompt"));
    size_t count, seen = 0, n, i;
    uint32_t *ids = encode(c->tok, text, &count);

    n = count;
    for (i = json_first(c->j, greedy, JSON_ARRAY); i; i = json_after(c->j, greedy, i))
        n++;
    if (count == 0 || n > m->context)
        json_fail(c->j, c->j->node[node].begin, "a prompt that does not fit in the context");
    ids = (uint32_t *)resize(ids, n + 1, sizeof *ids);
    if (same_ids(c->j, json_need(c->j, node, "ids"), ids, count, why, size)) {
        for (i = count; i <= n; seen = i++) {
            next_scores(m, c->s, &rows, &head, ids, seen, i);
            best_ids(c->s->logit, m->vocab, 1, &ids[i]);
            if (i == count)
                check_top(c, json_need(c->j, node, "top5"), why, size);
        }
        if (!why[0])
            same_ids(c->j, greedy, ids + count, n - count, why, size);
    }
    give(ids);
    give(text.data);
    return n - count;
}

static void check_next(check *c, size_t list)
{
    size_t k, prompts = 0, tokens = 0;
    char what[64], why[96], difference[160] = "";

    for (k = json_first(c->j, list, JSON_ARRAY); k; k = json_after(c->j, list, k), prompts++) {
        why[0] = 0;
        tokens += check_prompt(c, k, why, sizeof why);
        if (why[0] && !difference[0])
            snprintf(difference, sizeof difference, "%s (prompt %zu)", why, prompts);
    }
    snprintf(what, sizeof what, "%zu prompts, %zu greedy tokens", prompts, tokens);
    check_line(c, "next tokens", what, difference);
}

/* The entry is named like the text's file, without folder and ending. */
static void check_perplexity(check *c, size_t entries, const char *path)
{
    const model *m = c->m;
    const float *output = m->head;
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const char *dot_at = strrchr(base, '.');
    char name[64], what[64], difference[160] = "";
    bytes text = read_file(&first_trouble, path);
    size_t entry, ids_node, count, k, first = 0;
    double mine, want, off;
    uint32_t *ids;

    snprintf(name, sizeof name, "%.*s", dot_at && dot_at - base < 60 ? (int)(dot_at - base) : 60,
             base);
    entry = json_get(c->j, entries, name);
    if (!entry)
        fail("%s: perplexity: no entry \"%s\" for %s", c->j->file, name, path);
    ids = encode(c->tok, text, &count);
    want = json_number(c->j, json_need(c->j, entry, "perplexity"));
    k = (size_t)json_whole(c->j, json_need(c->j, entry, "tokens"), 2, SIZE_MAX);
    if (count != k)
        snprintf(difference, sizeof difference, "DIFFERS: %zu tokens, reference %zu", count, k);
    ids_node = json_get(c->j, entry, "first_ids");
    if (ids_node) {
        for (k = json_first(c->j, ids_node, JSON_ARRAY); k; k = json_after(c->j, ids_node, k))
            first++;
        same_ids(c->j, ids_node, ids, first < count ? first : count, difference,
                 sizeof difference);
    }
    bar_start();
    if (count > 1)
        perplexity(m, c->s, ids, count, m->wte, &output, 1, &mine);
    else
        mine = 0.0;
    off = fabs(mine / want - 1.0);
    if (!difference[0] && !(off <= 0.001))
        snprintf(difference, sizeof difference, "DIFFERS: by %.3f %%", 100.0 * off);
    snprintf(what, sizeof what, "%.4f, reference %.4f, %zu tokens", mine, want, count);
    check_line(c, "perplexity", what, difference);
    give(ids);
    give(text.data);
}

static int run_check(const options *o, const model *m, const tokenizer *t, state *s)
{
    const bytes text = read_file(&first_trouble, o->check);
    json j = json_parse(&first_trouble, o->check, 0, text.data, text.size);
    size_t node;
    check c;

    memset(&c, 0, sizeof c);
    c.j = &j;
    c.m = m;
    c.tok = t;
    c.s = s;
    if ((node = json_get(&j, 0, "tokenizer")) != 0)
        check_texts(&c, node);
    if ((node = json_get(&j, 0, "single_bytes")) != 0)
        check_bytes(&c, node);
    if ((node = json_get(&j, 0, "next_token")) != 0)
        check_next(&c, node);
    if ((node = json_get(&j, 0, "perplexity")) != 0) {
        if (o->text)
            check_perplexity(&c, node, o->text);
        else
            printf("%-14snot checked: needs its text, --text FILE\n", "perplexity");
    } else if (o->text) {
        fail("%s: no perplexity to compare with", o->check);
    }
    if (c.parts == 0)
        fail("%s: nothing to check in it", o->check);
    give(j.node);
    give(text.data);
    return c.wrong != 0;
}

/* ======================================================================================= */
/* MAIN                                                                                    */
/* ======================================================================================= */

static size_t count_words(bytes text)
{
    size_t words = 0, i;
    for (i = 0; i < text.size; i++)
        words += text.data[i] > ' ' && (i == 0 || text.data[i - 1] <= ' ');
    return words;
}

/* The prompt's ids. An empty one begins with the end of the text before. */
static uint32_t *prompt_ids(const options *o, const model *m, const tokenizer *t, size_t *count)
{
    bytes text = {NULL, 0};
    uint32_t *ids;

    text.size = strlen(o->prompt);
    text.data = (unsigned char *)take(text.size + 1, 1);
    memcpy(text.data, o->prompt, text.size + 1);
    ids = encode(t, text, count);
    give(text.data);
    if (*count == 0) {
        if (t->end_of_text == NO_ID)
            fail("--prompt: empty, and the vocabulary has no <|endoftext|> to begin with");
        ids[(*count)++] = t->end_of_text;
    }
    if (*count > m->context)
        fail("--prompt: %zu tokens, more than the model's context of %zu", *count, m->context);
    if (o->tokens > m->context - *count)
        fail("--tokens: %zu is not from 0 to %zu, which is what the context, %zu, leaves after a "
             "prompt of %zu", o->tokens, m->context - *count, m->context, *count);
    return ids;
}

static void print_model(const char *folder, const model *m)
{
    char parameters[32];

    commas((size_t)m->parameters, parameters, sizeof parameters);
    printf("model: %s: GPT-2, layers %zu, heads %zu, width %zu, context %zu,\n"
           "       vocabulary %zu, %s parameters\n", folder, m->layers, m->heads, m->width,
           m->context, m->vocab, parameters);
    if (m->head != m->wte)
        printf("       lm_head.weight differs from wte.weight: not tied, so the output always "
               "scores with\n       lm_head, and there is no perplexity with the tie kept\n");
}

/* The one option that depends on the model: a shape must hold a row. */
static void check_shape(const tte_shape *shape, size_t width)
{
    double product = 1.0;
    int32_t i;

    for (i = 0; i < shape->modes; i++)
        product *= (double)shape->dim[i];
    if (shape->modes && product < (double)width)
        fail("--shape: the product of its modes, %.0f, must reach the model's width, %zu", product,
             width);
}

/* The weights of the table's rows where some setting can use them: from a text that is given, or
   from the counts that lie beside the model; otherwise NULL. */
static float *load_weights(const options *o, const char *folder, const tokenizer *t)
{
    uint64_t *count = NULL;
    float *weight;

    if (o->weights)
        count = counts_of_text(t, o->weights);
    else if (wants_layout(o, TTE_PER_TABLE))
        count = counts_load(folder, t->vocab);
    weight = weights_of_counts(count, t->vocab);
    give(count);
    return weight;
}

static void run_bench(const options *o, const char *folder, const model *m, const tokenizer *t,
                      state *s)
{
    const bytes text = o->text ? read_file(&first_trouble, o->text) : story_text();
    setting list[MAX_SETTINGS];
    outcome came[MAX_SETTINGS];
    voice voices[MAX_VOICES];
    float *weights = load_weights(o, folder, t);
    const size_t settings = make_settings(o, m, weights, list);
    size_t i, spoken = 0;
    uint32_t *ids, *prompt;
    bytes prompt_text;
    bench b;

    check_shape(&o->asked.shape, m->width);
    memset(&b, 0, sizeof b);
    b.m = m;
    b.tok = t;
    b.s = s;
    b.ids = ids = encode(t, text, &b.count);
    if (b.count < 2)
        fail("%s: fewer than two tokens", o->text);
    b.prompt = prompt = prompt_ids(o, m, t, &b.prompt_count);
    b.tokens = o->tokens;

    print_model(folder, m);
    printf("text:  %s, %zu words, %zu tokens, windows of %zu\n",
           o->text ? o->text : "the story in the source", count_words(text), b.count, m->context);
    if (weights)
        printf("weights: square roots of the token counts in %s\n",
               o->weights ? o->weights : "the folder's counts.json");
    putchar('\n');
    print_heads();
    bar_start();
    for (i = 0; i < settings; i++) {
        voice v;
        memset(&v, 0, sizeof v);
        came[i] = run_setting(&b, &list[i], (double)i / (double)settings,
                              (double)(i + 1) / (double)settings, &v);
        if (v.text.data)
            voices[spoken++] = v;
    }
    print_summary(list, came, settings, m->head == m->wte);
    if (o->tokens) {
        prompt_text = decode(t, prompt, b.prompt_count);
        printf("\nprompt\n");
        print_wrapped("    ", prompt_text);
        give(prompt_text.data);
    }
    for (i = 0; i < spoken; i++) {
        if (o->tokens) {
            printf("%s\n", voices[i].name);
            print_wrapped("    ", voices[i].text);
        }
        give(voices[i].text.data);
    }
    give(ids);
    give(prompt);
    give(weights);
    give(text.data);
}

int main(int argc, char **argv)
{
    const options o = parse_options(argc, argv);
    const char *folder = o.folder ? o.folder : "examples/tiny-gpt2";
    int wrong = 0;
    tokenizer t;
    model m;
    state s;

    if (atexit(give_all))
        fail("atexit: no place");
    bar_start();
    m = model_load(folder);
    bar_clear();
    t = tokenizer_load(folder, m.vocab);
    s = state_make(&m);
    if (o.check) {
        wrong = run_check(&o, &m, &t, &s);
    } else {
        run_bench(&o, folder, &m, &t, &s);
    }
    state_give(&s);
    tokenizer_give(&t);
    model_give(&m);
    finish_output();
    return wrong;
}
