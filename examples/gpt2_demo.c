/*
 * gpt2_demo - what a compressed embedding table does to a real language model
 *
 *     cc -O2 -o gpt2_demo examples/gpt2_demo.c -lm        (from the repository's root)
 *     ./gpt2_demo                                         the small GPT-2 that comes along
 *     ./gpt2_demo DIR                                     any Hugging Face GPT-2 folder
 *     ./gpt2_demo --quick DIR                             the same, roughly: a large one in two minutes
 *     ./gpt2_demo --calibrate OUT.safetensors DIR         where that model looks, for ttembed
 *     ./gpt2_demo --help                                  every option
 *
 * GPT-2 keeps one vector for each token of its vocabulary and uses that table twice: rows of
 * it go in, and the scores of the next token are inner products with all of its rows (a "tied"
 * embedding). This program reads a model in Hugging Face's own files, lets it write some text to see
 * where in the table it looks, and compresses the table: rounded, as the TensorGPT paper does it, and
 * as one train with and without that calibration. It prints what each costs in bytes, error and
 * perplexity, and what the model writes with a dense and with a compressed table.
 *
 * The model itself, its tokenizer, the losses and the calibration are in gpt2.h, the readers of files,
 * JSON and safetensors in tensor_files.h, the text of the perplexity in story.h; everything else is
 * here, in reading order: terminal, tables (all calls of tt_embed.h), generation, options, calibration,
 * the list, the check against reference values, main.
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

/* Colour for who looks, and plain text for programs and files. */
static int is_coloured(void)
{
#ifdef DEMO_POSIX
    const char *const terminal = getenv("TERM"), *const no = getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) && terminal && strcmp(terminal, "dumb") != 0 && !(no && *no);
#else
    return 0;
#endif
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

typedef struct {
    size_t vocab, width, size;   /* size: bytes of the table as it is stored */
    const float *rows;           /* vocab x width, as they come back from what is stored */
    float *own;                  /* these rows where they are not the model's, or NULL */
    tte_image image;             /* compressed: the bytes, as tte_save would write them */
    tte_table view;              /* compressed: reads straight from those bytes */
    float *scratch;              /* tte_scratch_len(&view); NULL: not compressed */
} table;

static table table_dense(const float *rows, size_t vocab, size_t width)
{
    table t;

    memset(&t, 0, sizeof t);
    t.vocab = vocab;
    t.width = width;
    t.size = vocab * width * sizeof *rows;
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

/* Rounds n numbers that share a scale of two bytes (bfloat16) or four. The number of largest magnitude
   would take the lowest code; a smaller scale cuts it off and serves the others, so the best of some is
   taken, in squared error: what rounding can do, since others are measured against it. */
static void round_block(float *x, size_t n, int bits, size_t scale_bytes)
{
    float top = 0.0f, best = 0.0f, least = 0.0f;
    size_t i;
    int c;

    for (i = 0; i < n; i++)
        top = fabsf(x[i]) > fabsf(top) ? x[i] : top;
    for (c = 0; c < 8; c++) {
        float scale = top / -(float)(1 << (bits - 1)) * (1.0f - 0.07f * (float)c), error = 0.0f;

        if (scale_bytes == 2)
            scale = float_of_bits(bits_of_float(scale) & 0xffff0000u);
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

/* Blocks of `group` numbers: a scale, then `bits` bits for each of them. */
static table table_rounded(const model *m, int bits, size_t group, size_t scale_bytes)
{
    table t = table_dense(NULL, m->vocab, m->width);
    size_t i, at;

    t.rows = t.own = take_floats(m->vocab, m->width);
    memcpy(t.own, m->wte, t.size);
    t.size = 0;
    for (i = 0; i < m->vocab; i++)
        for (at = 0; at < m->width; at += group) {
            const size_t n = m->width - at < group ? m->width - at : group;
            round_block(t.own + i * m->width + at, n, bits, scale_bytes);
            t.size += scale_bytes + (n * (size_t)bits + 7) / 8;
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
    t->size = t->image.size;
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
    float p[TOP];
    const size_t n = best_ids(score, vocab, TOP, best);
    size_t i;

    for (i = 0; i < n; i++)
        p[i] = score[best[i]] / 0.8f;
    softmax(p, n);
    return best[draw_token(p, n, seed)];
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

/* Text broken into lines of at most 80 columns, white space and control characters as one
   space; what is not UTF-8 is shown as '?'. The first line has `margin` columns already. */
static void print_wrapped(size_t margin, bytes text)
{
    const size_t line = 80;
    size_t at = 0, end, column = margin, length;
    uint32_t c;

    for (;;) {
        size_t columns = 0, gap = at;

        while (at < text.size && text.data[at] <= ' ')
            at++;
        if (at == text.size)
            break;
        for (end = at; end < text.size && text.data[end] > ' '; columns++)
            end += utf8_get(text.data + end, text.size - end, &c);
        if (column > margin && column + 1 + columns > line) {
            printf("\n%*s", (int)margin, "");
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

enum { MAX_RATIOS = 16 };

static const char usual_prompt[] = "The little girl opened the door of the old house, and";

typedef struct {
    const char *folder, *text, *prompt, *check, *calibrate, *calibration;
    size_t tokens;        /* NOT_GIVEN: what is usual */
    float ratio[MAX_RATIOS];
    int ratios, force, quick, json;
} options;

#define NOT_GIVEN SIZE_MAX

static const char *const help[] = {
    "gpt2_demo - what a compressed embedding table does to a real language model\n\n"
    "usage: gpt2_demo [OPTION]... [DIR]\n"
    "       gpt2_demo --calibrate OUT.safetensors [--text FILE] [--tokens N] [--force] [DIR]\n\n"
    "DIR is a Hugging Face GPT-2 folder: model.safetensors, vocab.json, merges.txt, and\n"
    "config.json where there is one. Without it: examples/tiny-gpt2, from the\n"
    "repository's root. The model writes a text of its own, to see where in its\n"
    "embedding table it looks; then the table is compressed in several ways, with a\n"
    "list of bytes, relative error, and perplexity as a multiple of the dense table's;\n"
    "at last the model continues a prompt, dense and compressed.\n",
    "\nDefaults stand in brackets.\n"
    "  --text FILE         the text for the perplexity, instead of the story that is built\n"
    "                      in; with --calibrate the text that the model reads\n"
    "  --prompt TEXT       what the model continues\n"
    "  --tokens N          how many tokens it adds, 0 or more; what fits in the context\n"
    "                      (40); with --calibrate how many it writes (16384)\n"
    "  --ratio R           ask for R times smaller than float32, above 1 to 10000; up to 16\n"
    "                      times (8, 16 and 38.4)\n"
    "  --calibration FILE  from an earlier --calibrate, instead of writing now\n"
    "  --quick             a first look: 512 tokens of the text, a calibration of 1024,\n"
    "                      the ratio 16 and effort 1\n"
    "  --json              one JSON object on standard output instead of text\n",
    "  --calibrate FILE    make a calibration for ttembed compress, mpi_compress and\n"
    "                      --calibration, and stop\n"
    "  --force             overwrite that file\n"
    "  --check FILE        compare the tokenizer, the next tokens and, with --text, the\n"
    "                      perplexity with the values in FILE (such as\n"
    "                      examples/tiny-gpt2/reference.json) and stop: a line for each\n"
    "                      part, exit status 1 when one differs\n"
    "  --threads N         1 to 256; only when compiled with -fopenmp (all cores)\n"
    "  --help              print this page\n\n"
    "Perplexity: the text is cut into windows of the context's length that do not overlap.\n"
    "The continuation samples among the 20 best tokens at temperature 0.8, always from the\n"
    "same random numbers. Errors are one line on stderr, exit status 1.\n",
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
                            : strcmp(name, "--calibrate") == 0 ? &o->calibrate
                            : strcmp(name, "--calibration") == 0 ? &o->calibration : NULL;

    if (text) {
        *text = value;
    } else if (strcmp(name, "--tokens") == 0) {
        o->tokens = (size_t)number_option(name, value, 0, 0, 1e9, 1);
    } else if (strcmp(name, "--ratio") == 0) {
        if (o->ratios == MAX_RATIOS)
            fail("--ratio: given more than %d times", MAX_RATIOS);
        o->ratio[o->ratios++] = (float)number_option(name, value, 1, 1, 10000, 0);
    } else if (strcmp(name, "--threads") == 0) {
        threads_option(value);
    } else {
        return 0;
    }
    return 1;
}

/* What can only be told once all options are known. */
static void check_options(options *o)
{
    static const float usual[] = {8.0f, 16.0f, 38.4f};

    if ((o->quick || o->json) && (o->check || o->calibrate))
        fail("%s: has no place beside %s", o->quick ? "--quick" : "--json", o->check ? "--check" : "--calibrate");
    if (o->calibrate && (o->check || o->calibration))
        fail("--calibrate: makes a file and stops, so %s has no place beside it",
             o->check ? "--check" : "--calibration");
    if (o->calibrate && o->text && o->tokens != NOT_GIVEN)
        fail("--tokens: how many the model writes, but it is to read --text %s", o->text);
    if (o->calibrate && o->tokens == 0)
        fail("--tokens: 0 make no calibration");
    if (o->ratios == 0 && o->quick) {
        o->ratio[o->ratios++] = 16.0f;
    } else if (o->ratios == 0) {
        memcpy(o->ratio, usual, sizeof usual);
        o->ratios = 3;
    }
}

static options parse_options(int argc, char **argv)
{
    options o;
    size_t k;
    int i;

    memset(&o, 0, sizeof o);
    o.tokens = NOT_GIVEN;
    o.prompt = usual_prompt;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            for (k = 0; k < sizeof help / sizeof *help; k++)
                fputs(help[k], stdout);
            finish_output();
            exit(0);
        }
        if (strcmp(argv[i], "--force") == 0) {
            o.force = 1;
        } else if (strcmp(argv[i], "--quick") == 0) {
            o.quick = 1;
        } else if (strcmp(argv[i], "--json") == 0) {
            o.json = 1;
        } else if (argv[i][0] == '-') {
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
/* CALIBRATION: made now, for a file or for the list                                       */
/* ======================================================================================= */

#define LARGE 10000000u   /* parameters from which on writing takes minutes */
#define QUICK_WRITTEN ((size_t)1024)   /* tokens that --quick writes, and reads */
#define QUICK_READ ((size_t)512)

/* From a text that the model reads, or (path NULL) from `tokens` that it writes. */
static calibration make_calibration(const model *m, const tokenizer *t, const char *path, size_t *tokens,
                                    double *mixture)
{
    calibration c;
    usage u;

    bar_start();
    if (path) {
        const bytes text = read_file(&first_trouble, path);
        uint32_t *ids = encode(t, text, tokens);
        if (*tokens < SAMPLE)
            fail("%s: %zu tokens are too few to calibrate with", path, *tokens);
        u = usage_of_text(m, ids, *tokens);
        give(ids);
        give(text.data);
    } else {
        u = usage_of_writing(m, opening_token(t), *tokens);
    }
    *tokens = (size_t)u.tokens;
    c = calibrate(m, &u, mixture);
    usage_give(&u);
    bar_clear();
    return c;
}

/* --calibrate: a file, and what to do with it. */
static void run_calibrate(const options *o, const char *folder, const model *m, const tokenizer *t)
{
    size_t tokens = o->tokens == NOT_GIVEN ? CALIBRATION_TOKENS : o->tokens;
    char number[4][32];
    const char *about[] = {"made_by", "gpt2_demo", "model", NULL, "text", "written by the model itself",
                           "tokens", number[0], "power", number[1], "mixture", number[2], "floor",
                           number[3], NULL};
    double mixture;
    calibration c;

    output_check(&first_trouble, o->calibrate, o->force);
    c = make_calibration(m, t, o->text, &tokens, &mixture);
    about[3] = folder;
    about[5] = o->text ? o->text : about[5];
    snprintf(number[0], sizeof number[0], "%zu", tokens);
    snprintf(number[1], sizeof number[1], "%g", CALIBRATION_POWER);
    snprintf(number[2], sizeof number[2], "%.6f", mixture);
    snprintf(number[3], sizeof number[3], "%g", CALIBRATION_FLOOR);
    calibration_write(&first_trouble, o->calibrate, o->force, &c, m->vocab, m->width, about);
    printf("%s: from %zu tokens %s%s\nnext: ./ttembed compress %s table.tte --ratio 16 --calibration %s\n",
           o->calibrate, tokens, o->text ? "of " : "", about[5], folder, o->calibrate);
    calibration_give(&c);
}

/* ======================================================================================= */
/* LIST: a row for each way to store the table                                             */
/* ======================================================================================= */

typedef struct {
    char name[48];
    int bits;               /* rounded to so many; 0: not rounded */
    size_t group;           /* numbers that share a scale, and its bytes */
    size_t scale_bytes;
    tte_options tte;        /* layout AUTO and no bits: dense */
    bytes *voice;           /* what the model writes with it, or NULL */
} setting;

typedef struct {
    const model *m;
    const tokenizer *tok;
    state *s;
    const uint32_t *ids;        /* the text for the perplexity */
    size_t count;
    const uint32_t *prompt;
    size_t prompt_count, tokens;
    int effort, json, coloured, rows;   /* rows: printed so far */
} bench;

/* What one row of the list came to; without a row size is 0. */
typedef struct {
    size_t size;
    double perplexity;
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

/* The settings of the TensorGPT paper: modes of 2, as few as cover the width, in float32. */
static setting paper_setting(size_t width, int max_rank)
{
    setting s;

    memset(&s, 0, sizeof s);
    s.tte.layout = TTE_PER_TOKEN;
    s.tte.coding = TTE_F32;
    s.tte.max_rank = max_rank;
    do
        s.tte.shape.dim[s.tte.shape.modes++] = 2;
    while (s.tte.shape.modes < TTE_MAX_MODES && (size_t)1 << s.tte.shape.modes < width);
    snprintf(s.name, sizeof s.name, "TensorGPT 2^%d %s %d", (int)s.tte.shape.modes,
             max_rank == 1 ? "rank" : "cap", max_rank);
    return s;
}

static setting rounded_setting(const char *name, int bits, size_t group, size_t scale_bytes)
{
    setting s;

    memset(&s, 0, sizeof s);
    snprintf(s.name, sizeof s.name, "%s", name);
    s.bits = bits;
    s.group = group;
    s.scale_bytes = scale_bytes;
    return s;
}

static setting train_setting(float ratio, const calibration *c, int effort)
{
    setting s;

    memset(&s, 0, sizeof s);
    snprintf(s.name, sizeof s.name, "one train, %s%.6gx", c ? "calibrated, " : "", (double)ratio);
    s.tte.layout = TTE_PER_TABLE;
    s.tte.ratio = ratio;
    s.tte.effort = effort;
    s.tte.row_weight = c ? c->row_weight : NULL;
    s.tte.metric = c ? c->metric : NULL;
    return s;
}

/* A number that JSON has no word for becomes null. */
static void json_real(const char *name, double x)
{
    if (fabs(x) <= 1e300)
        printf(", \"%s\": %.9g", name, x);
    else
        printf(", \"%s\": null", name);
}

static void json_text(bytes text)
{
    put_json_text(stdout, text.data, text.size, "\xef\xbf\xbd");
}

/* One row of the list; `why` there is none, or NULL. */
static void print_row(bench *b, const char *name, const outcome *came, double error, double dense, const char *why)
{
    const double all = 4.0 * (double)b->m->vocab * (double)b->m->width;
    const double times = dense > 0.0 ? came->perplexity / dense : 1.0;
    char size[32];

    bar_clear();
    commas(came->size, size, sizeof size);
    if (b->json) {
        printf("%s    {\"name\": ", b->rows++ ? ",\n" : "");
        put_json_string(stdout, name);
        if (why) {
            printf(", \"problem\": ");
            put_json_string(stdout, why);
        } else {
            printf(", \"bytes\": %zu", came->size);
            json_real("ratio", all / (double)came->size);
            json_real("error", error);
            json_real("perplexity", came->perplexity);
            json_real("times_dense", times);
        }
        putchar('}');
    } else {
        const char *const on = b->coloured && strstr(name, "calibrated") ? "\033[1;32m" : "";

        if (why)
            printf("%-29s  %s\n", name, why);
        else
            printf("%s%-29s%13s%10.2f%12.4f%15.3f%s\n", on, name, size, all / (double)came->size, error, times,
                   *on ? "\033[0m" : "");
    }
    fflush(stdout);
}

/* Measures one setting and prints its row, or the library's word on why there is none. `dense`: the
   perplexity that others are multiples of, 0 for the dense table itself. */
static outcome run_setting(bench *b, const setting *how, double dense)
{
    const model *m = b->m;
    const table head = table_dense(m->head, m->vocab, m->width);
    const int tied = m->head == m->wte;
    outcome came = {0, 0.0};
    char why[128];
    const float *output;
    table t;

    if (how->bits) {
        t = table_rounded(m, how->bits, how->group, how->scale_bytes);
    } else if (how->tte.layout == TTE_LAYOUT_AUTO) {
        t = table_dense(m->wte, m->vocab, m->width);
    } else if (!table_compressed(m, how->tte, &t, why, sizeof why)) {
        print_row(b, how->name, &came, 0.0, dense, why);
        return came;
    }
    output = tied ? t.rows : m->head;
    perplexity(m, b->s, b->ids, b->count, t.rows, &output, 1, &came.perplexity);
    if (how->voice)
        *how->voice = continuation(m, b->s, b->tok, &t, tied ? &t : &head, b->prompt, b->prompt_count,
                                   b->tokens);
    came.size = t.size;
    print_row(b, how->name, &came, relative_error(m->wte, t.rows, m->vocab * m->width), dense, NULL);
    table_give(&t);
    return came;
}

/* Dense, rounded, the paper's two, then one train plain and calibrated at each ratio. `came` gets the last
   plain, calibrated and, at [2], the dense outcome of the ratio that also writes. */
static void run_list(bench *b, const options *o, const calibration *c, bytes *voices, outcome *came)
{
    const size_t width = b->m->width;
    const int spoken = o->ratios > 1 ? 1 : 0, rows = 5 + 2 * o->ratios;
    setting how = rounded_setting("dense float32", 0, 0, 0);
    outcome now;
    int i;

    if (!b->json)
        printf("%-29s%13s%10s%12s%15s\n%-29s%13s%10s%12s%15s\n", "", "", "times", "relative", "perplexity,",
           "token table", "bytes", "smaller", "error", "times dense");
    for (i = 0; i < rows; i++) {
        const int at = (i - 5) / 2, calibrated = (i - 5) % 2;

        bar_span((double)i / (double)rows, (double)(i + 1) / (double)rows);
        how = i == 1 ? rounded_setting("int8 rows", 8, width, 4) : i == 2 ? rounded_setting("4-bit blocks", 4, 32, 2)
            : i == 3 ? paper_setting(width, 1) : i == 4 ? paper_setting(width, 4)
            : i > 4 ? train_setting(o->ratio[at], calibrated ? c : NULL, b->effort) : how;
        how.voice = i == 0 ? &voices[0] : i > 4 && at == spoken && calibrated ? &voices[1] : NULL;
        now = run_setting(b, &how, i ? came[2].perplexity : 0.0);
        if (i == 0)
            came[2] = now;
        else if (i > 4 && at == spoken)
            came[calibrated] = now;
    }
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
            && (back.size != text.size || (text.size && memcmp(back.data, text.data, text.size) != 0)))
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

/* The prompt's ids. An empty one begins with the end of the text before; ours is cut where the context is small. */
static uint32_t *prompt_ids(const options *o, const model *m, const tokenizer *t, size_t *count, size_t *tokens)
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
    if (o->prompt == usual_prompt && *count > m->context / 2)
        *count = m->context / 2 ? m->context / 2 : 1;
    if (*count > m->context)
        fail("--prompt: %zu tokens, more than the model's context of %zu", *count, m->context);
    if (o->tokens == NOT_GIVEN && *tokens > m->context - *count)
        *tokens = m->context - *count;
    if (*tokens > m->context - *count)
        fail("--tokens: %zu is not from 0 to %zu, which is what the context, %zu, leaves after a "
             "prompt of %zu", *tokens, m->context - *count, m->context, *count);
    return ids;
}

/* What the model is, and what is done with it. */
static void print_model(const char *folder, const model *m)
{
    const double share = (double)(m->vocab * m->width) / (double)m->parameters;
    char parameters[32], vocab[32];

    commas((size_t)m->parameters, parameters, sizeof parameters);
    commas(m->vocab, vocab, sizeof vocab);
    printf("%s: a GPT-2 with %zu layers of width %zu, %s parameters,\n"
           "%.0f %% of them in its token table of %s x %zu: rows go in, and %s\n", folder, m->layers, m->width,
           parameters, 100.0 * share, vocab, m->width,
           m->head == m->wte ? "all rows score\nthe next token." : "the output scores\nwith another one, lm_head, which stays dense.");
}

/* What to take home. came: plain, calibrated, dense. */
static void print_end(const options *o, const char *folder, const outcome *came)
{
    char small[32], all[32];

    if (!came[0].size || !came[1].size)
        return;
    commas(came[1].size, small, sizeof small);
    commas(came[2].size, all, sizeof all);
    printf("\nTake home: in %s bytes instead of %s the table costs %+.1f %% of\n"
           "perplexity, without calibration %+.1f %%. To have it as a file, with ttembed:\n",
           small, all, 100.0 * (came[1].perplexity / came[2].perplexity - 1.0),
           100.0 * (came[0].perplexity / came[2].perplexity - 1.0));
    if (!o->calibration)
        printf("  ./gpt2_demo --calibrate c.safetensors %s\n", folder);
    printf("  ./ttembed compress %s table.tte \\\n    --ratio %.6g --calibration %s\n", folder,
           (double)o->ratio[o->ratios > 1], o->calibration ? o->calibration : "c.safetensors");
}

/* What the figures are of. */
static void print_source(const options *o, const char *text, size_t count, size_t written)
{
    char number[32];

    commas(written, number, sizeof number);
    if (o->calibration)
        printf("Calibrated with %s.\n", o->calibration);
    else
        printf("Calibrated with %s tokens that the model has just written itself.\n", number);
    commas(count, number, sizeof number);
    printf("Perplexity of %s, %s tokens.\n\n", text, number);
}

/* The prompt, and what the model writes after it. */
static void print_texts(const options *o, bytes prompt, const bytes *voices)
{
    printf("\nprompt\n    ");
    print_wrapped(4, prompt);
    printf("dense float32\n    ");
    print_wrapped(4, voices[0]);
    printf("one train, calibrated, %.6gx\n    ", (double)o->ratio[o->ratios > 1]);
    print_wrapped(4, voices[1]);
}

static void print_json_head(const options *o, const char *folder, const model *m, const char *text, size_t count,
                            size_t written)
{
    printf("{\"model\": ");
    put_json_string(stdout, folder);
    printf(",\n  \"layers\": %zu, \"width\": %zu, \"vocab\": %zu, \"parameters\": %zu, \"tied\": %s,\n"
           "  \"calibration\": {", m->layers, m->width, m->vocab, (size_t)m->parameters,
           m->head == m->wte ? "true" : "false");
    if (o->calibration) {
        printf("\"file\": ");
        put_json_string(stdout, o->calibration);
    } else {
        printf("\"written_tokens\": %zu", written);
    }
    printf("},\n  \"text\": {\"name\": ");
    put_json_string(stdout, text);
    printf(", \"tokens\": %zu},\n  \"tables\": [\n", count);
}

/* Without tokens the continuations are empty. */
static void print_json_end(const options *o, bytes prompt, const bytes *voices)
{
    printf("\n  ],\n  \"continuations\": {\"prompt\": ");
    json_text(prompt);
    printf(", \"dense\": ");
    json_text(voices[0]);
    printf(",\n    \"compressed\": ");
    json_text(voices[1]);
    printf(", \"ratio\": %.6g}}\n", (double)o->ratio[o->ratios > 1]);
}

static void run_bench(const options *o, const char *folder, const model *m, const tokenizer *t, state *s)
{
    const bytes text = o->text ? read_file(&first_trouble, o->text) : story_text();
    size_t written = o->quick ? QUICK_WRITTEN : m->parameters < LARGE ? CALIBRATION_TOKENS : CALIBRATION_TOKENS / 4;
    const char *const name = o->text ? o->text : "the story in the source";
    bytes voices[2] = {{NULL, 0}, {NULL, 0}}, prompt_text;
    outcome came[3];
    uint32_t *ids, *prompt;
    calibration c;
    double mixture;
    bench b;

    memset(&b, 0, sizeof b);
    memset(came, 0, sizeof came);
    b.m = m;
    b.tok = t;
    b.s = s;
    b.ids = ids = encode(t, text, &b.count);
    if (b.count < 2)
        fail("%s: fewer than two tokens", o->text);
    if (o->quick && b.count > QUICK_READ)
        b.count = QUICK_READ;
    b.effort = o->quick ? 1 : 0;
    b.json = o->json;
    b.coloured = !o->json && is_coloured();
    b.tokens = o->tokens == NOT_GIVEN ? 40 : o->tokens;
    b.prompt = prompt = prompt_ids(o, m, t, &b.prompt_count, &b.tokens);

    if (!o->json)
        print_model(folder, m);
    if (o->calibration)
        c = calibration_read(&first_trouble, o->calibration, m->vocab, m->width);
    else
        c = make_calibration(m, t, NULL, &written, &mixture);
    if (o->json)
        print_json_head(o, folder, m, name, b.count, written);
    else
        print_source(o, name, b.count, written);
    bar_start();
    run_list(&b, o, &c, voices, came);
    prompt_text = decode(t, prompt, b.prompt_count);
    if (o->json)
        print_json_end(o, prompt_text, voices);
    else if (b.tokens)
        print_texts(o, prompt_text, voices);
    if (!o->json)
        print_end(o, folder, came);
    give(prompt_text.data);
    calibration_give(&c);
    give(voices[0].data);
    give(voices[1].data);
    give(ids);
    give(prompt);
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

    guard_streams();
    if (atexit(give_all))
        fail("atexit: no place");
    bar_start();
    m = model_load(folder);
    bar_clear();
    t = tokenizer_load(folder, m.vocab);
    s = state_make(&m, 1, m.context);
    if (o.check)
        wrong = run_check(&o, &m, &t, &s);
    else if (o.calibrate)
        run_calibrate(&o, folder, &m, &t);
    else
        run_bench(&o, folder, &m, &t, &s);
    state_give(&s);
    tokenizer_give(&t);
    model_give(&m);
    finish_output();
    return wrong;
}
