/*
 * ttembed - token-embedding tables as tensor trains, from the command line
 *
 *     cc -O2 -o ttembed examples/ttembed.c -lm           (from the repository's root)
 *     ./ttembed compress model.safetensors table.tte     the embedding, 8 times smaller
 *     ./ttembed info table.tte                           what it holds and what it lost
 *     ./ttembed --help                                   every command
 *
 * Tables come as safetensors (with an index of shards, too), .npy, GGUF, the text of word vectors, or
 * plain float32; tensor_files.h reads them. They are mapped and read row by row, so that a table may be
 * larger than memory; "-" is standard input. Errors are one line on stderr; the exit status is
 * 0, 1 for a failure, 2 for a command that makes no sense. No file is overwritten without --force, and none
 * is left half written: tte_write gives new ones a temporary name first, which Ctrl-C removes, too.
 *
 * In reading order: terminal and signals, numbers as text, commands and options, writing files, tables and
 * images, words; compress and train; commands that read (info, lookup, nearest, verify, export, c-array);
 * commands that make a new image of images (append, replace, merge, shrink); help and main.
 */

#if defined(__unix__) || defined(__APPLE__)
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif
#endif

#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#define TENSOR_FILES_TABLES
#include "tensor_files.h"
#include "vocabulary.h"

#include <math.h>
#include <signal.h>
#include <time.h>

#if defined(__GNUC__)
#define NEVER_RETURNS __attribute__((noreturn))
#else
#define NEVER_RETURNS
#endif

#define BATCH 256   /* rows that are read or written together */

/* ======================================================================================= */
/* TERMINAL AND SIGNALS: one line of error, a bar, nothing left behind                     */
/* ======================================================================================= */

static const char *command_name = "";   /* of the command that runs, for messages */
static volatile sig_atomic_t bar_there; /* a bar stands on the line of the terminal */

static const char *saved_path;          /* the file that is being written .. */
static trouble save_trouble;            /* .. and why it cannot be, where errno does not say it */
static volatile sig_atomic_t saving;    /* .. which has to be given up first .. */
static volatile sig_atomic_t stopped;   /* .. after this signal */

static struct {
    int on, lines;       /* a bar on a terminal; or a line a second */
    double start, last;  /* seconds */
    double rows;         /* of the table, for the rate */
} bar;

static double seconds(void)
{
#ifdef TENSOR_FILES_POSIX
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) == 0)
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
#endif
    return (double)clock() / CLOCKS_PER_SEC;
}

static int is_terminal(int stream)   /* 0: stdin, 1: stdout, 2: stderr */
{
#ifdef TENSOR_FILES_POSIX
    return isatty(stream);
#else
    return stream < 0;
#endif
}

static void bar_clear(void)
{
    if (bar_there)
        fprintf(stderr, "\r%*s\r", 78, "");
    bar_there = 0;
}

/* Ends the program with a line on stderr: 1 after a failure, 2 when the command makes no sense. */
NEVER_RETURNS static void end_with(int status, const char *format, va_list list)
{
    char line[1024], *c;

    vsnprintf(line, sizeof line, format, list);
    for (c = line; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            *c = '?';
    fflush(stdout);
    bar_clear();
    fprintf(stderr, "ttembed%s%s: %s\n", *command_name ? " " : "", command_name, line);
    exit(status);
}

NEVER_RETURNS PRINTS(1) static void fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    end_with(1, format, list);
}

NEVER_RETURNS PRINTS(1) static void misused(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    end_with(2, format, list);
}

PRINTS(1) static void note(const char *format, ...)
{
    va_list list;

    bar_clear();
    fprintf(stderr, "ttembed%s%s: note: ", *command_name ? " " : "", command_name);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "\n");
}

static void check(const trouble *why)
{
    if (why->text[0])
        fail("%s", why->text);
}

#ifdef TENSOR_FILES_POSIX
static const int stops[] = {SIGINT, SIGTERM, SIGHUP};

/* Dies of the signal, as the shell expects it, at once, also while the library computes: with nothing but calls that a
   handler may make. A file that is being written is given up first: see put_block. */
static void on_signal(int number)
{
    static const char said[] = "ttembed: stopped\n";
    sigset_t set;

    stopped = number;
    if (saving)
        return;
    if (bar_there && write(2, "\n", 1) != 1)
        _exit(1);
    if (write(2, said, sizeof said - 1) < 0)
        _exit(1);
    (void)signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
    (void)raise(number);
}
#endif

static void catch_signals(void)
{
#ifdef TENSOR_FILES_POSIX
    struct sigaction action, before;
    size_t i;

    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigfillset(&action.sa_mask);
    for (i = 0; i < sizeof stops / sizeof *stops; i++)
        if (sigaction(stops[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            (void)sigaction(stops[i], &action, NULL);
#ifdef SIGXFSZ
    (void)signal(SIGXFSZ, SIG_IGN);   /* a limit on file sizes is then an error of write */
#endif
#endif
}

static void bar_start(int quiet, int verbose, size_t rows)
{
    bar.on = !quiet && is_terminal(2);
    bar.lines = !bar.on && verbose;
    bar.start = bar.last = seconds();
    bar.rows = (double)rows;
}

/* tte_progress_fn */
static int bar_show(void *user, double fraction)
{
    const double now = seconds(), spent = now - bar.start;
    const int full = fraction < 0 ? 0 : fraction > 1 ? 30 : (int)(fraction * 30.0);
    char left[32] = "", rate[32] = "";

    (void)user;
    if ((!bar.on && !bar.lines) || now - bar.last < (bar.on ? 0.1 : 1.0))
        return 0;
    bar.last = now;
    if (fraction > 0.0) {
        const double rest = spent * (1.0 - fraction) / fraction;
        const long whole = rest > 0.0 && rest < 1e7 ? (long)(rest + 0.5) : 0;
        snprintf(left, sizeof left, "%ld:%02ld left", whole / 60, whole % 60);
        snprintf(rate, sizeof rate, "%.0f rows/s", bar.rows * fraction / spent);
    }
    if (bar.on)
        fprintf(stderr, "\r[%.*s%*s] %3d %%  %-16s %-14s", full, "##############################",
                30 - full, "", (int)(fraction * 100.0), rate, left);
    else
        fprintf(stderr, "ttembed %s: %d %%  %s  %s\n", command_name, (int)(fraction * 100.0), rate,
                left);
    fflush(stderr);
    bar_there = bar.on;
    return 0;
}

/* What was printed must have arrived: a full disk is an error, too. */
static void finish_output(void)
{
    if (fflush(stdout) || ferror(stdout))
        fail("standard output: %s", strerror(errno));
}

static void *take(size_t count, size_t size)
{
    trouble why = {""};
    void *p = resize_or(&why, NULL, count ? count : 1, size);
    check(&why);
    return p;
}

static float *take_floats(size_t rows, size_t cols)
{
    if (cols && rows > SIZE_MAX / sizeof(float) / cols)
        fail("out of memory: %zu times %zu floats", rows, cols);
    return (float *)take(rows * cols, sizeof(float));
}

/* ======================================================================================= */
/* NUMBERS AS TEXT                                                                         */
/* ======================================================================================= */

/* 1234567 as 1,234,567, in one of four places that are used in turn. */
static const char *commas(uint64_t n)
{
    static char place[4][32];
    static int turn;
    char *end = place[turn = (turn + 1) % 4] + 31;
    int digits = 0;

    *end = 0;
    do {
        if (digits && digits % 3 == 0)
            *--end = ',';
        *--end = (char)('0' + n % 10);
        digits++;
        n /= 10;
    } while (n);
    return end;
}

/* A number as text, in one of four places that are used in turn; null in JSON where it is not finite. */
static const char *number_text(int as_json, int digits, double x)
{
    static char place[4][32];
    static int turn;
    char *text = place[turn = (turn + 1) % 4];

    snprintf(text, sizeof place[0], "%.*g", digits, x);
    return as_json && !(x - x == 0.0) ? "null" : text;
}

/* ======================================================================================= */
/* COMMANDS AND OPTIONS                                                                    */
/* ======================================================================================= */

typedef enum {
    O_TENSOR, O_FORMAT, O_DIM, O_ROWS,
    O_RATIO, O_EPS, O_EFFORT, O_CALIBRATION, O_WEIGHTS, O_LIKE, O_LAYOUT, O_CODING, O_SHAPE, O_MAX_RANK, O_WEIGHT,
    O_TABLE, O_VOCAB, O_WORST, O_BY_FREQUENCY, O_JSON, O_COUNT, O_INNER, O_RAW, O_ROW, O_NAME, O_RATIOS, O_SVG, O_TYPE,
    O_OUTPUT, O_FORCE, O_VERBOSE, O_QUIET, O_HELP, OPTIONS
} option_id;

static const struct {
    const char *name, *value, *help;   /* value NULL: a switch */
} option_list[OPTIONS] = {
    {"tensor", "NAME", "the tensor, where a file holds several (or for export: its name)"},
    {"format", "NAME", "safetensors, npy, gguf, text or raw, where the file's name does not tell"},
    {"dim", "N", "numbers a row, of raw float32"},
    {"rows", "FIRST:LAST", "only these rows, LAST left out (\"1000:\": to the end)"},
    {"ratio", "N", "at least N times smaller than float32; default 8, unless --eps or --max-rank is given"},
    {"eps", "E", "relative error at most E, of the table or (--layout token) of every row"},
    {"effort", "1..9", "1: fast, 9: smallest error; default 5; reading is as fast"},
    {"calibration", "FILE", "where a language model looks, as gpt2_demo --calibrate writes it"},
    {"weights", "FILE", "without a model: how much each row matters, a number a line; zipf: less with\n"
     "                     rising token id"},
    {"like", "IMAGE", "basis, centroids and classes of this image, so that both can be merged"},
    {"layout", "NAME", "table: one train for the whole table (default); token: one for each row"},
    {"coding", "NAME", "with --layout token: f32, f16, i8, i4; default: what does best on a sample"},
    {"shape", "AxBxC", "the modes of a row; default: what suits the table; implies --layout token"},
    {"max-rank", "R", "no bond gets a larger rank; implies --layout token"},
    {"weight", "W", "how much the row matters; default: as most rows of the table"},
    {"table", "FILE", "the dense table that the image was made from"},
    {"vocab", "FILE", "the words: a word a line, or a vocab.json or tokenizer.json; default: those of\n"
     "                     IMAGE.vocab or, with --table, those beside the table"},
    {"worst", "N", "with --table: the N tokens whose rows lost most"},
    {"by-frequency", NULL, "with --table: errors by tenths of the token ids, which in BPE vocabularies\n"
     "                     rise with rarity"},
    {"json", NULL, "as JSON"},
    {"count", "N", "how many neighbours; default 10"},
    {"inner", NULL, "by inner product instead of the cosine of the angle"},
    {"raw", NULL, "float32 bytes instead of text"},
    {"row", "N", "the row of ROWS to take, where it has several"},
    {"name", "NAME", "the array's name in C; default: the file's"},
    {"ratios", "A,B,..", "which ones; default 4,6,8,12,16,24,38.4"},
    {"svg", "FILE", "a drawing, too"},
    {"type", "NAME", "of a GGUF: F32, F16, BF16 or Q8_0; default: what it has, or Q8_0 where that cannot be written"},
    {"output", "OUT", "-o OUT: the last argument, given as an option"},
    {"force", NULL, "overwrite what is there"},
    {"verbose", NULL, "a line of progress each second where there is no terminal"},
    {"quiet", NULL, "no progress, no summary"},
    {"help", NULL, "this text"}
};

#define BIT(option) ((uint64_t)1 << (option))
#define TABLE_OPTIONS (BIT(O_TENSOR) | BIT(O_FORMAT) | BIT(O_DIM) | BIT(O_ROWS))
#define LEARN_OPTIONS (BIT(O_RATIO) | BIT(O_EPS) | BIT(O_EFFORT) | BIT(O_CALIBRATION) | BIT(O_WEIGHTS))
#define TOKEN_OPTIONS (BIT(O_LAYOUT) | BIT(O_CODING) | BIT(O_SHAPE) | BIT(O_MAX_RANK))
#define OUTPUT_OPTIONS (BIT(O_OUTPUT) | BIT(O_FORCE) | BIT(O_QUIET) | BIT(O_HELP))

typedef struct command command;

typedef struct {
    const command *what;
    const char *option[OPTIONS];   /* as given; "" for a switch; NULL: not given */
    const char **argument;
    int arguments;
} request;

struct command {
    const char *name;
    void (*run)(const request *);
    int least, most;   /* arguments */
    const char *usage, *help, *example;
    uint64_t options;
};

static int given(const request *r, option_id o)
{
    return r->option[o] != NULL;
}

static double number_option(const request *r, option_id o, double usual, double least, double most)
{
    const char *text = r->option[o];
    char *end;
    double x;

    if (!text)
        return usual;
    x = strtod(text, &end);
    if (end == text || *end || !(x >= least && x <= most))
        misused("--%s %s: expected a number from %g to %g", option_list[o].name, text, least, most);
    return x;
}

static size_t whole_option(const request *r, option_id o, size_t usual, uint64_t least, uint64_t most)
{
    uint64_t n = usual;

    if (given(r, o) && (!whole_number(r->option[o], most, &n) || n < least))
        misused("--%s %s: expected a whole number from %llu to %llu", option_list[o].name, r->option[o],
                (unsigned long long)least, (unsigned long long)most);
    return (size_t)n;
}

/* The place of a word in a list that ends with NULL. */
static int word_option(const request *r, option_id o, int usual, const char *const *words)
{
    const int place = given(r, o) ? word_place(r->option[o], words) : usual;
    char all[128] = "";
    int i;

    if (place >= 0)
        return place;
    for (i = 0; words[i]; i++)
        add_text(all, sizeof all, i ? ", %s" : "%s", words[i]);
    misused("--%s %s: expected one of %s", option_list[o].name, r->option[o], all);
}

static tte_shape shape_option(const request *r)
{
    tte_shape shape;

    memset(&shape, 0, sizeof shape);
    if (given(r, O_SHAPE))
        shape.modes = shape_read(r->option[O_SHAPE], shape.dim, TTE_MAX_MODES);
    if (given(r, O_SHAPE) && !shape.modes)
        misused("--shape %s: expected up to %d modes like 8x4x4", r->option[O_SHAPE], TTE_MAX_MODES);
    return shape;
}

/* ======================================================================================= */
/* WRITING FILES                                                                           */
/* ======================================================================================= */

/* Before the work begins: may this file be written? */
static void check_output(const request *r, const char *path)
{
    trouble why = {""};

    if (strcmp(path, "-") == 0) {
        if (is_terminal(1))
            fail("standard output is a terminal, and this is not text");
        return;
    }
    output_check(&why, path, given(r, O_FORCE));
    check(&why);
}

/* A new file, or standard output, of what `put` writes. It must return, whatever happens: a file that is not whole
   goes away only then. */
static void save(const request *r, const char *path, tte_write_fn put, void *user)
{
    tte_status status;

    errno = 0;
    if (strcmp(path, "-") == 0) {
        saved_path = "standard output";
        if (put(user, stdout) != 0) {
            check(&save_trouble);
            fail("standard output: %s", strerror(errno));
        }
        finish_output();
        return;
    }
    saved_path = path;
    saving = 1;
    status = tte_write(path, given(r, O_FORCE), put, user);
    saving = 0;
#ifdef TENSOR_FILES_POSIX
    if (stopped)
        on_signal((int)stopped);
#endif
    check(&save_trouble);
    if (status != TTE_OK)
        fail("%s: %s", saved_path, errno ? strerror(errno) : tte_status_text(status));
}

typedef struct {
    const void *data;
    size_t size;
} block_out;

static int put_block(void *user, FILE *file)
{
    const block_out *b = (const block_out *)user;
    size_t done, now;

    for (done = 0; done < b->size; done += now) {
        now = b->size - done < (1u << 20) ? b->size - done : 1u << 20;
        if (stopped || fwrite((const unsigned char *)b->data + done, 1, now, file) != now)
            return -1;
    }
    return 0;
}

/* ======================================================================================= */
/* TABLES AND IMAGES                                                                       */
/* ======================================================================================= */

/* Opens a table; `dim`, unless 0, is that of raw rows without --dim. */
static source table_try(const request *r, const char *path, size_t dim)
{
    source_request which;

    which.tensor = r->option[O_TENSOR];
    which.format = r->option[O_FORMAT];
    which.rows = r->option[O_ROWS];
    which.dim = whole_option(r, O_DIM, dim, 1, INT32_MAX);
    return source_open(path, &which);
}

static source table_open(const request *r, const char *path, size_t dim)
{
    source s = table_try(r, path, dim);

    if (s.misused)
        misused("%s", s.why.text);
    check(&s.why);
    return s;
}

/* All rows at once, in a new block. */
static float *source_load(source *s)
{
    float *rows = take_floats(s->rows, s->dim);

    (void)source_rows(s, 0, s->rows, rows);
    check(&s->why);
    return rows;
}

typedef struct {
    const char *path;
    file_view file;
    tte_table t;
    tte_info info;
    float *scratch;
    int piped;
} image_in;

/* A mapped file is opened as it is. Where a new image is made of it, and from a pipe, all of it is
   verified first: damage must not get a fresh checksum. */
static image_in image_open(const char *path, int verify)
{
    trouble why = {""};
    image_in in;
    tte_status status;

    memset(&in, 0, sizeof in);
    in.path = input_name(path);
    in.piped = in.path != path;
    in.file = input_view(&why, path);
    check(&why);
    status = tte_open(&in.t, in.file.data, in.file.size);
    if (status == TTE_OK && (verify || in.piped))
        status = tte_verify(&in.t);
    if (status != TTE_OK)
        fail("%s: %s", in.path, tte_status_text(status));
    (void)tte_get_info(&in.t, &in.info);
    in.scratch = take_floats(tte_scratch_len(&in.t), 1);
    return in;
}

static void image_close(image_in *in)
{
    give(in->scratch);
    close_view(&in->file);
}

/* tte_rows_fn, and how all rows of an image are read here */
static int image_rows(void *user, size_t first, size_t count, float *dst)
{
    image_in *in = (image_in *)user;
    uint32_t tokens[BATCH];
    size_t done, now, i;

    for (done = 0; done < count; done += now) {
        now = count - done < BATCH ? count - done : BATCH;
        for (i = 0; i < now; i++)
            tokens[i] = (uint32_t)(first + done + i);
        if (tte_lookup_batch(&in->t, tokens, now, dst + done * in->info.dim, in->scratch) != TTE_OK)
            return -1;
    }
    return 0;
}

/* "OUT: wte.weight: 4,096 x 128, .." */
static void print_summary(const char *path, const source *from, const tte_table *t)
{
    tte_info i;

    (void)tte_get_info(t, &i);
    printf("%s: ", path);
    if (from && from->t)
        printf("%s%s: ", from->t->name, from->mapping ? " by mapping" : "");
    else if (from && from->words.wordless)
        printf("numbers without words: ");
    printf("%s x %s, %s bytes", commas(i.vocab), commas(i.dim), commas(i.bytes));
    if (i.vocab)
        printf(", %.2f times smaller than float32, relative error %.4f", i.ratio, i.rel_error);
    if (i.weighted_error < i.rel_error || i.weighted_error > i.rel_error)
        printf(", weighted %.4f", i.weighted_error);
    printf("\n");
}

static double times_smaller(size_t vocab, size_t dim, size_t size)
{
    return (double)vocab * (double)dim * 4.0 / (double)size;
}

/* A new image, or why there is none; where the bytes did not suffice, how many would. */
static void check_made(tte_status status, const tte_image *image, size_t vocab, size_t dim, const char *path)
{
    if (status == TTE_ERR_BUDGET && image->size)
        fail("%s: %s; possible are %s bytes, %.2f times smaller than float32", path, tte_status_text(status),
             commas(image->size), times_smaller(vocab, dim, image->size));
    if (status != TTE_OK)
        fail("%s: %s", path, tte_status_text(status));
}

/* ======================================================================================= */
/* WORDS: the vocabulary beside an image, a word a line, by token id                       */
/* ======================================================================================= */

/* "glove.tte" has its words in "glove.vocab". */
static char *vocabulary_path(const char *image)
{
    const size_t length = strlen(image), stem = ends_with(image, ".tte") ? length - 4 : length;
    char *path = (char *)take(stem + sizeof ".vocab", 1);

    memcpy(path, image, stem);
    memcpy(path + stem, ".vocab", sizeof ".vocab");
    return path;
}

/* The words of an image, where they lie beside it. */
static vocabulary vocabulary_beside(const image_in *in)
{
    char *path = vocabulary_path(in->path);
    vocabulary v = {NULL, 0, 0, NULL, 0};
    trouble why = {""};

    if (!in->piped && in->info.vocab && !file_missing(path))
        v = vocabulary_read(&why, path, in->info.vocab);
    if (why.text[0])
        note("no words: %s", why.text);
    give(path);
    return v;
}

/* The words that a command shows and knows: those of --vocab, of the image, of the model whose table is
   compared. */
static vocabulary vocabulary_open(const request *r, const image_in *in)
{
    vocabulary v = {NULL, 0, 0, NULL, 0};
    trouble why = {""}, none = {""};   /* a file beside the table may be about something else */

    if (!in->info.vocab)
        return v;
    if (given(r, O_VOCAB)) {
        v = vocabulary_read(&why, r->option[O_VOCAB], in->info.vocab);
        check(&why);
        return v;
    }
    v = vocabulary_beside(in);
    if (given(r, O_TABLE) && !v.count) {
        source s = table_open(r, r->option[O_TABLE], in->info.dim);
        v = vocabulary_of_source(&none, &s);
        if (v.count != in->info.vocab)
            vocabulary_close(&v);
        source_close(&s);
    }
    return v;
}

/* A token by its id, "42" or "#42", or by its word. A number that is a word, too, is the word. */
static uint32_t token_named(const image_in *in, const vocabulary *v, const char *name)
{
    const int marked = name[0] == '#' && name[1] != 0 && strspn(name + 1, "0123456789") == strlen(name + 1);
    const int digits = name[0] && strspn(name, "0123456789") == strlen(name);
    trouble why = {""};
    word_search found;
    uint64_t id = 0;
    int is_id;

    if (!in->info.vocab)
        fail("%s: an image of no rows", in->path);
    is_id = (marked || digits) && whole_number(name + marked, in->info.vocab - 1, &id);
    if (marked && is_id)
        return (uint32_t)id;
    if (marked)
        fail("%s: token %s: the ids end at #%zu", in->path, name, in->info.vocab - 1);
    found = vocabulary_find(&why, v, name);
    check(&why);
    if (found.exact != NO_WORD && digits)
        note("\"%s\" is a word, token #%zu; the token with this id is #%s", name, found.exact, name);
    else if (found.exact != NO_WORD && found.count > 1)
        note("\"%s\": token #%zu of %s", name, found.exact, found.listed);
    if (found.exact != NO_WORD)
        return (uint32_t)found.exact;
    if (is_id)
        return (uint32_t)id;
    if (found.count == 1)
        return (uint32_t)found.first;
    if (found.count)
        fail("%s: token %s: which one? %s", in->path, name, found.listed);
    if (digits)
        fail("%s: token %s: the ids end at %zu%s", in->path, name, in->info.vocab - 1,
             v->count ? ", and it is not among the words" : "");
    if (v->count)
        fail("%s: token %s: not among the words", in->path, name);
    misused("token %s: expected a number: there are no words beside %s; --vocab names them", name,
            in->path);
}

/* A new image has the words of the old ones, where all have them, and those of new rows. Before the work begins:
   which, and whether their file may be written. */
static vocabulary plan_words(const request *r, const image_in *in, size_t images, const source *more, const char *path)
{
    vocabulary all = {NULL, 0, 0, NULL, 0};
    trouble why = {""};
    char *words_path;
    size_t i, k;

    if (strcmp(path, "-") == 0)
        return all;
    for (i = 0; i < images + (more != NULL) && (i == 0 || all.count); i++) {
        vocabulary v = i < images ? vocabulary_beside(&in[i]) : vocabulary_of_source(&why, more);
        const size_t before = all.count;
        if (why.text[0])
            note("no words: %s", why.text);
        why.text[0] = 0;
        if (v.count)
            vocabulary_grow(&why, &all, v.count);
        else
            vocabulary_close(&all);
        for (k = 0; k < v.count; k++)
            if (vocabulary_word(&v, k))
                vocabulary_put(&why, &all, before + k, vocabulary_word(&v, k), strlen(vocabulary_word(&v, k)));
        vocabulary_close(&v);
        check(&why);
    }
    if (all.count) {
        words_path = vocabulary_path(path);
        check_output(r, words_path);
        give(words_path);
    }
    return all;
}

/* An image and its words: both or none, as far as a file system can do that. */
typedef struct {
    block_out image;
    const vocabulary *words;
    const char *words_path;   /* NULL: no words */
    int force;
} image_out;

static int put_words(void *user, FILE *file)
{
    const vocabulary *v = (const vocabulary *)user;
    size_t i;

    for (i = 0; i < v->count; i++) {
        const char *word = vocabulary_word(v, i);
        const block_out line = {word ? word : "", word ? strlen(word) : 0}, end = {"\n", 1};
        if (put_block((void *)&line, file) != 0 || put_block((void *)&end, file) != 0)
            return -1;
    }
    return 0;
}

static int put_image(void *user, FILE *file)
{
    image_out *out = (image_out *)user;

    if (put_block(&out->image, file) != 0 || fflush(file) != 0)
        return -1;
    if (!out->words_path)
        return 0;
    saved_path = out->words_path;
    return tte_write(out->words_path, out->force, put_words, (void *)out->words) == TTE_OK ? 0 : -1;
}

/* Puts a new image in its place, with its words, and frees both. `from` is what was read, or NULL. */
static void image_save(const request *r, const char *path, tte_image *image, vocabulary *planned, const source *from)
{
    char *words_path = planned->count ? vocabulary_path(path) : NULL;
    trouble why = {""};
    image_out out;
    tte_table t;
    size_t i;

    bar_clear();
    for (i = 0; from && i < from->m.count; i++)
        view_check(&why, &from->m.file[i].file);
    check(&why);
    out.image.data = image->data;
    out.image.size = image->size;
    out.words = planned;
    out.words_path = words_path;
    out.force = given(r, O_FORCE);
    save(r, path, put_image, &out);
    if (!given(r, O_QUIET) && strcmp(path, "-") != 0 && tte_open(&t, image->data, image->size) == TTE_OK)
        print_summary(path, from, &t);
    tte_free(image);
    vocabulary_close(planned);
    give(words_path);
}

/* ======================================================================================= */
/* COMPRESS AND TRAIN                                                                      */
/* ======================================================================================= */

/* The settings of compress, train and shrink, for rows from `first` on of a table of `whole`. */
static tte_options read_options(const request *r, size_t first, size_t rows, size_t whole, size_t dim)
{
    trouble why = {""};
    tte_options o;

    memset(&o, 0, sizeof o);
    o.layout = (tte_layout)word_option(r, O_LAYOUT, TTE_LAYOUT_AUTO, layout_names);
    o.coding = (tte_coding)word_option(r, O_CODING, TTE_CODING_AUTO, coding_names);
    o.ratio = (float)number_option(r, O_RATIO, 0.0, 1e-3, 1e6);
    o.eps = (float)number_option(r, O_EPS, 0.0, 1e-7, 1.0);
    o.shape = shape_option(r);
    o.max_rank = (int32_t)whole_option(r, O_MAX_RANK, 0, 1, INT32_MAX);
    o.effort = (int32_t)whole_option(r, O_EFFORT, 0, 1, 9);
    if (o.layout == TTE_LAYOUT_AUTO)
        o.layout = o.shape.modes || o.max_rank ? TTE_PER_TOKEN : TTE_PER_TABLE;
    if (o.layout == TTE_PER_TABLE && (o.shape.modes || o.max_rank || (o.coding && o.coding != TTE_TRELLIS)))
        misused("--shape, --max-rank and --coding: need --layout token");
    if (o.layout == TTE_PER_TOKEN && o.coding == TTE_TRELLIS)
        misused("--coding trellis: needs --layout table");
    if (o.layout == TTE_PER_TOKEN
        && (o.effort || given(r, O_CALIBRATION) || given(r, O_WEIGHTS) || given(r, O_LIKE)))
        misused("--effort, --calibration, --weights and --like: need --layout table");
    if (given(r, O_CALIBRATION) && given(r, O_WEIGHTS))
        misused("--weights: a calibration has weights");
    if (given(r, O_LIKE) && (o.ratio > 0.0f || o.eps > 0.0f || o.effort))
        misused("--like: ratio, eps and effort are those of that image");
    if (given(r, O_CALIBRATION)) {
        const calibration c = calibration_read(&why, r->option[O_CALIBRATION], whole, dim);
        o.row_weight = c.row_weight ? c.row_weight + first : NULL;
        o.metric = c.metric;
    }
    if (given(r, O_WEIGHTS))
        o.row_weight = read_weights(&why, r->option[O_WEIGHTS], first, rows, whole);
    check(&why);
    o.progress = bar_show;
    return o;
}

/* An error that was too much to ask: ends with the one that the ratio alone has, without a ratio that of an image no
   larger than float32. Where there is none either, returns. */
static void fail_for_eps(const request *r, source *s, const tte_options *asked, const tte_image *missed)
{
    tte_options o = *asked;
    tte_image image = {NULL, 0};
    tte_table t;
    tte_info i;
    tte_status status;
    char would_do[120];

    o.eps = 0.0f;
    o.ratio = asked->ratio > 0.0f ? asked->ratio : 1.0f;
    bar_start(given(r, O_QUIET), given(r, O_VERBOSE), s->rows);
    status = tte_compress_rows(source_rows, s, s->rows, s->dim, &o, &image);
    bar_clear();
    check(&s->why);
    if (status != TTE_OK || tte_open(&t, image.data, image.size) != TTE_OK || tte_get_info(&t, &i) != TTE_OK)
        return;
    if (missed->size)
        snprintf(would_do, sizeof would_do, "%g takes %s bytes, %.2f times smaller", (double)asked->eps,
                 commas(missed->size), times_smaller(s->rows, s->dim, missed->size));
    else
        snprintf(would_do, sizeof would_do, "%g at no size that was tried", (double)asked->eps);
    fail("%s: %s; at %.2f times smaller than float32 the error is %.6g, %s", s->path, tte_status_text(TTE_ERR_BUDGET),
         i.ratio, i.layout == TTE_PER_TOKEN ? i.max_row_error : i.weighted_error, would_do);
}

/* compress and train differ in the library's call. */
static void make_of_table(const request *r,
                          tte_status (*make)(tte_rows_fn rows, void *user, size_t vocab, size_t dim,
                                             const tte_options *options, tte_image *out),
                          int with_words)
{
    const char *path = r->argument[1];
    tte_image image = {NULL, 0};
    tte_status status;
    tte_options o;
    image_in like;
    source s;
    vocabulary words;

    check_output(r, path);
    s = table_open(r, r->argument[0], 0);
    memset(&words, 0, sizeof words);
    if (with_words)
        words = plan_words(r, NULL, 0, &s, path);
    o = read_options(r, s.first, s.rows, s.whole, s.dim);
    memset(&like, 0, sizeof like);
    if (given(r, O_LIKE)) {
        like = image_open(r->option[O_LIKE], 1);
        if (like.info.layout != TTE_PER_TABLE || like.info.dim != s.dim)
            fail("%s: rows of %zu numbers, layout %s; needed are %zu and table", like.path,
                 like.info.dim, layout_names[like.info.layout], s.dim);
        o.like = &like.t;
    }
    bar_start(given(r, O_QUIET), given(r, O_VERBOSE), s.rows);
    status = make(source_rows, &s, s.rows, s.dim, &o, &image);
    bar_clear();
    check(&s.why);
    if (status == TTE_ERR_BUDGET && o.eps > 0.0f)
        fail_for_eps(r, &s, &o, &image);
    check_made(status, &image, s.rows, s.dim, s.path);
    image_save(r, path, &image, &words, &s);
    image_close(&like);
    source_close(&s);
}

static void run_compress(const request *r)
{
    make_of_table(r, tte_compress_rows, 1);
}

static void run_train(const request *r)
{
    make_of_table(r, tte_train, 0);
}

/* ======================================================================================= */
/* COMMANDS THAT READ                                                                      */
/* ======================================================================================= */

#define PARTS 6   /* the header and the kinds of sections */
static const char *const part_names[PARTS] = {"header_bytes", "record_bytes", "index_bytes", "class_bytes",
                                              "basis_bytes", "centroid_bytes"};

/* Bytes of each, by the header as IMAGE FORMAT in tt_embed.h describes it; tte_open has checked it. The
   zeros at the image's end count with the header. */
static void read_parts(const image_in *in, uint64_t *bytes_of)
{
    const unsigned char *p = in->file.data;
    const size_t table = 184 + (in->info.layout == TTE_PER_TOKEN ? 4 + 8 * (size_t)p[16] : 24);
    size_t i;

    memset(bytes_of, 0, PARTS * sizeof *bytes_of);
    bytes_of[0] = table + 24 * (size_t)p[17] + 32;
    for (i = 0; i < p[17]; i++) {
        const unsigned char *section = p + table + 24 * i;
        const uint32_t kind = get32(section + 20);
        if (kind >= 1 && kind < PARTS)
            bytes_of[kind] = get64(section + 8);
    }
}

typedef struct {
    uint32_t token;
    double error, norm;   /* |row - row^| / |row|, |row| */
} loss;

static int by_error(const void *a, const void *b)
{
    const loss *x = (const loss *)a, *y = (const loss *)b;
    if (x->error > y->error || x->error < y->error)
        return x->error > y->error ? -1 : 1;
    return x->token < y->token ? -1 : x->token > y->token;
}

/* What every row has lost against the dense table, in a new block. A row of zeros counts as one of
   length 1. */
static loss *measure_losses(image_in *in, source *s)
{
    const size_t dim = s->dim;
    float *dense = take_floats(2 * BATCH, dim), *ours = dense + BATCH * dim;
    loss *all = (loss *)take(s->rows, sizeof *all);
    size_t done, now, i, k;

    if (s->rows != in->info.vocab || dim != in->info.dim)
        fail("%s: %zu x %zu, but %s is %zu x %zu", s->path, s->rows, dim, in->path, in->info.vocab,
             in->info.dim);
    for (done = 0; done < s->rows; done += now) {
        now = s->rows - done < BATCH ? s->rows - done : BATCH;
        if (source_rows(s, done, now, dense) != 0)
            check(&s->why);
        if (image_rows(in, done, now, ours) != 0)
            fail("%s: cannot be read", in->path);
        for (i = 0; i < now; i++) {
            double square = 0.0, error = 0.0;
            for (k = 0; k < dim; k++) {
                const double x = (double)dense[i * dim + k], d = x - (double)ours[i * dim + k];
                square += x * x;
                error += d * d;
            }
            all[done + i].token = (uint32_t)(done + i);
            all[done + i].norm = sqrt(square);
            error = sqrt(error) / (square > 0.0 ? sqrt(square) : 1.0);
            all[done + i].error = error >= 0.0 ? error : HUGE_VAL;   /* of a NaN, which has no place in an order */
        }
    }
    give(dense);
    return all;
}

static void print_token(uint32_t token, const vocabulary *v, int as_json)
{
    printf(as_json ? "\"token\": %lu" : "%8lu", (unsigned long)token);
    if (v->count && as_json) {
        if (vocabulary_word(v, token)) {
            printf(", \"word\": ");
            put_json_string(stdout, vocabulary_word(v, token));
        }
    } else if (v->count) {
        const char *word = vocabulary_word(v, token) ? vocabulary_word(v, token) : "";
        size_t i;
        printf("  ");
        for (i = 0; word[i]; i++)   /* words come from files */
            putchar((unsigned char)word[i] < 32 || word[i] == 127 ? '?' : word[i]);
        printf("%*s", i < 20 ? (int)(20 - i) : 0, "");
    }
}

static void print_worst(const loss *sorted, size_t count, const vocabulary *v, int as_json)
{
    size_t i;

    printf(as_json ? ",\n  \"worst\": [" : "\n   token%s   error   length of the row\n",
           v->count ? "  word                " : "");
    for (i = 0; i < count; i++) {
        if (as_json)
            printf("%s\n    {", i ? "," : "");
        print_token(sorted[i].token, v, as_json);
        if (as_json)
            printf(", \"error\": %s, \"norm\": %s}", number_text(1, 6, sorted[i].error),
                   number_text(1, 6, sorted[i].norm));
        else
            printf("  %.4f  %.6g\n", sorted[i].error, sorted[i].norm);
    }
    if (as_json)
        printf("]");
}

/* Tenths of the ids: in BPE vocabularies, the frequent tokens first. */
static void print_deciles(const loss *all, size_t rows, int as_json)
{
    size_t tenth, i, shown = 0;

    printf("%s", as_json ? ",\n  \"deciles\": ["
                         : "\n              tokens   error  mean of rows   worst row\n");
    for (tenth = 0; tenth < 10; tenth++) {
        const size_t first = rows * tenth / 10, last = rows * (tenth + 1) / 10;
        double error = 0.0, square = 0.0, mean = 0.0, worst = 0.0;
        if (last == first)
            continue;   /* fewer rows than tenths */
        for (i = first; i < last; i++) {
            const double norm = all[i].norm > 0.0 ? all[i].norm : 1.0;
            error += all[i].error * norm * all[i].error * norm;
            square += all[i].norm * all[i].norm;
            mean += all[i].error / (double)(last - first);
            worst = all[i].error > worst ? all[i].error : worst;
        }
        error = square > 0.0 ? sqrt(error / square) : sqrt(error);
        if (as_json)
            printf("%s\n    {\"first\": %zu, \"last\": %zu, \"error\": %s, \"mean\": %s, \"worst\": %s}",
                   shown++ ? "," : "", first, last - 1, number_text(1, 6, error), number_text(1, 6, mean),
                   number_text(1, 6, worst));
        else
            printf("%9zu - %8zu  %.4f        %.4f      %.4f\n", first, last - 1, error, mean, worst);
    }
    if (as_json)
        printf("]");
}

/* A line of what info tells; `value` is a number or a list in JSON's own form. */
PRINTS(3) static void print_field(int as_json, const char *name, const char *value, ...)
{
    va_list list;

    printf(as_json ? ",\n  \"%s\": " : "%-15s ", name);
    va_start(list, value);
    vprintf(value, list);
    va_end(list);
    if (!as_json)
        putchar('\n');
}

static void print_info(const image_in *in, int as_json)
{
    const tte_info *i = &in->info;
    const char *const quote = as_json ? "\"" : "";
    char shape[200] = "", ranks[200] = "";
    uint64_t parts[PARTS];
    int k;

    printf(as_json ? "{\n  \"file\": " : "file            ");
    if (as_json)
        put_json_string(stdout, in->path);
    else
        printf("%s\n", in->path);
    print_field(as_json, "vocab", "%zu", i->vocab);
    print_field(as_json, "dim", "%zu", i->dim);
    print_field(as_json, "layout", "%s%s%s", quote, layout_names[i->layout], quote);
    print_field(as_json, "coding", "%s%s%s", quote, coding_names[i->coding], quote);
    if (i->layout == TTE_PER_TABLE) {
        print_field(as_json, "rank", "%d", (int)i->rank);
        print_field(as_json, "centroids", "%d", (int)i->centroids);
        print_field(as_json, "classes", "%d", (int)i->classes);
        print_field(as_json, "effort", "%d", (int)i->effort);
    } else {
        for (k = 0; k < i->shape.modes; k++) {
            add_text(shape, sizeof shape, "%s%d", k ? ", " : "", (int)i->shape.dim[k]);
            add_text(ranks, sizeof ranks, "%d, ", (int)i->ranks[k]);
        }
        print_field(as_json, "shape", "[%s]", shape);
        print_field(as_json, "ranks", "[%s%d]", ranks, (int)i->ranks[k]);
    }
    print_field(as_json, "bytes", "%zu", i->bytes);
    read_parts(in, parts);
    for (k = 0; k < PARTS; k++)
        print_field(as_json, part_names[k], "%llu", (unsigned long long)parts[k]);
    print_field(as_json, "ratio", "%s", number_text(as_json, 9, i->ratio));
    print_field(as_json, "mean_numbers", "%s", number_text(as_json, 9, i->mean_numbers));
    print_field(as_json, "rel_error", "%s", number_text(as_json, 6, i->rel_error));
    print_field(as_json, "weighted_error", "%s", number_text(as_json, 6, i->weighted_error));
    print_field(as_json, "max_row_error", "%s", number_text(as_json, 6, i->max_row_error));
}

/* The tensors of a file that holds no image, and which one is the table. */
static void run_list(const request *r)
{
    source s = table_try(r, r->argument[0], 0);
    const tensors *w = &s.m.all;
    const int as_json = given(r, O_JSON);
    char shape[256];
    size_t i, k;

    if (s.misused)
        misused("%s", s.why.text);
    if (!w->count && !s.words.count)
        check(&s.why);
    printf(as_json ? "{\n  \"file\": " : "");
    if (as_json)
        put_json_string(stdout, s.m.path);
    if (as_json && !w->count)
        printf(",\n  \"vocab\": %zu,\n  \"dim\": %zu", s.whole, s.dim);
    else if (as_json)
        printf(",\n  \"tensors\": [");
    else if (!w->count)
        printf("%s: %s x %s, %s of word vectors\n", s.m.path, commas(s.whole), commas(s.dim),
               s.words.binary ? "float32" : s.words.wordless ? "lines without words" : "text");
    for (i = 0; i < w->count; i++) {
        const tensor *t = &w->list[i];
        const int is_table = s.t && strcmp(t->name, s.t->name) == 0;
        if (as_json) {
            printf("%s\n    {\"name\": ", i ? "," : "");
            put_json_string(stdout, t->name);
            printf(", \"dtype\": \"%s\", \"shape\": [", t->file == NO_FILE ? "" : t->dtype);
            for (k = 0; k < t->rank; k++)
                printf(k ? ", %zu" : "%zu", t->shape[k]);
            printf("], \"bytes\": %llu, \"table\": %s", (unsigned long long)(t->end - t->begin), is_table ? "true" : "false");
            if (t->file != NO_FILE && s.m.count > 1) {
                printf(", \"file\": ");
                put_json_string(stdout, s.m.file[t->file].path);
            }
            printf("}");
        } else {
            tensor_shape_text(t, shape, sizeof shape);
            printf("%-40s %-8s %16s %14s%s%s\n", t->name, t->file == NO_FILE ? "not there" : t->dtype, shape,
                   commas(t->end - t->begin), t->alias ? "  another name" : "", is_table ? "  <- the table" : "");
        }
    }
    printf(as_json ? (w->count ? "\n  ]\n}\n" : "\n}\n") : "");
    if (!as_json && s.why.text[0])
        printf("\n%s\n", s.why.text);
    source_close(&s);
}

/* Whether there is something in this place that is no image. */
static int is_other_file(const char *path)
{
    unsigned char magic[8];
    FILE *file = strcmp(path, "-") == 0 || is_folder(path) ? NULL : fopen(path, "rb");
    size_t got = file ? fread(magic, 1, 8, file) : 0;

    if (file)
        fclose(file);
    return is_folder(path) || (got == 8 && memcmp(magic, "\x89TTE\r\n\x1a\n", 8) != 0);
}

static void run_info(const request *r)
{
    const int as_json = given(r, O_JSON), by_frequency = given(r, O_BY_FREQUENCY);
    const size_t worst = whole_option(r, O_WORST, 0, 1, UINT32_MAX);
    loss *all = NULL;
    vocabulary v;
    image_in in;

    if ((worst || by_frequency) != given(r, O_TABLE))
        misused("--table FILE, the dense table, goes with --worst or --by-frequency, and they need it");
    if (!given(r, O_TABLE) && is_other_file(r->argument[0])) {
        run_list(r);
        return;
    }
    in = image_open(r->argument[0], 0);
    if (given(r, O_TABLE)) {
        source s = table_open(r, r->option[O_TABLE], in.info.dim);
        all = measure_losses(&in, &s);
        source_close(&s);
    }
    v = vocabulary_open(r, &in);
    print_info(&in, as_json);
    if (by_frequency)
        print_deciles(all, in.info.vocab, as_json);
    if (worst) {
        qsort(all, in.info.vocab, sizeof *all, by_error);
        print_worst(all, worst < in.info.vocab ? worst : in.info.vocab, &v, as_json);
    }
    vocabulary_close(&v);
    give(all);
    if (as_json)
        printf("\n}\n");
    image_close(&in);
}

static void run_lookup(const request *r)
{
    image_in in = image_open(r->argument[0], 0);
    vocabulary v = vocabulary_open(r, &in);
    float *row = take_floats(in.info.dim, 1);
    size_t k;
    int i;

    if (given(r, O_RAW) && is_terminal(1))
        fail("standard output is a terminal, and --raw is not text");
    for (i = 1; i < r->arguments; i++) {
        const uint32_t token = token_named(&in, &v, r->argument[i]);
        if (tte_lookup(&in.t, token, row, in.scratch) != TTE_OK)
            fail("%s: token %lu: cannot be read", in.path, (unsigned long)token);
        if (given(r, O_RAW)) {
            put_floats(stdout, row, in.info.dim);
            continue;
        }
        printf("%s", r->argument[i]);
        for (k = 0; k < in.info.dim; k++)
            printf(" %.9g", (double)row[k]);
        putchar('\n');
    }
    give(row);
    vocabulary_close(&v);
    image_close(&in);
}

typedef struct {
    uint32_t token;
    float score;
} neighbour;

static int by_score(const void *a, const void *b)
{
    const neighbour *x = (const neighbour *)a, *y = (const neighbour *)b;
    if (x->score > y->score || x->score < y->score)
        return x->score > y->score ? -1 : 1;
    return x->token < y->token ? -1 : x->token > y->token;
}

/* The score of every row, cosines or inner products, in a new block. */
static neighbour *all_scores(image_in *in, const float *query, int inner)
{
    const size_t dim = in->info.dim;
    neighbour *all = (neighbour *)take(in->info.vocab, sizeof *all);
    float *rows = take_floats(BATCH, dim);
    double length = 0.0;
    size_t done, now, i, k;

    for (k = 0; k < dim; k++)
        length += (double)query[k] * (double)query[k];
    for (done = 0; done < in->info.vocab; done += now) {
        now = in->info.vocab - done < BATCH ? in->info.vocab - done : BATCH;
        if (image_rows(in, done, now, rows) != 0)
            fail("%s: cannot be read", in->path);
        for (i = 0; i < now; i++) {
            double dot = 0.0, square = 0.0;
            for (k = 0; k < dim; k++) {
                dot += (double)query[k] * (double)rows[i * dim + k];
                square += (double)rows[i * dim + k] * (double)rows[i * dim + k];
            }
            square *= length;
            all[done + i].token = (uint32_t)(done + i);
            all[done + i].score = (float)(inner ? dot : square > 0.0 ? dot / sqrt(square) : 0.0);
        }
    }
    give(rows);
    return all;
}

static void run_nearest(const request *r)
{
    const size_t wanted = whole_option(r, O_COUNT, 10, 1, UINT32_MAX);
    image_in in = image_open(r->argument[0], 0);
    vocabulary v = vocabulary_open(r, &in);
    const uint32_t token = token_named(&in, &v, r->argument[1]);
    float *row = take_floats(in.info.dim, 1);
    neighbour *all;
    size_t i, shown = 0;

    if (tte_lookup(&in.t, token, row, in.scratch) != TTE_OK)
        fail("%s: token %lu: cannot be read", in.path, (unsigned long)token);
    all = all_scores(&in, row, given(r, O_INNER));
    qsort(all, in.info.vocab, sizeof *all, by_score);
    for (i = 0; i < in.info.vocab && shown < wanted; i++)
        if (all[i].token != token) {
            print_token(all[i].token, &v, 0);
            printf("  %.4f\n", (double)all[i].score);
            shown++;
        }
    give(all);
    give(row);
    vocabulary_close(&v);
    image_close(&in);
}

static void run_verify(const request *r)
{
    int i;

    for (i = 0; i < r->arguments; i++) {
        image_in in = image_open(r->argument[i], 1);
        if (!given(r, O_QUIET))
            printf("%s: ok, %s bytes\n", in.path, commas(in.info.bytes));
        image_close(&in);
    }
}

/* A dense table to be written: as .npy, or with a name as safetensors. */
typedef struct {
    image_in *in;
    const char *name;
    float *rows;             /* BATCH of them */
    unsigned char *packed;
} dense_out;

/* Version 1 of .npy: the header ends at a multiple of 64 bytes. */
static void put_npy_header(FILE *file, const image_in *in)
{
    char head[128];
    int length;

    length = snprintf(head + 10, 118, "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }",
                      in->info.vocab, in->info.dim);
    memset(head + 10 + length, ' ', sizeof head - 10 - (size_t)length);
    memcpy(head, "\x93NUMPY\x01\x00\x76\x00", 10);   /* 118 more bytes */
    head[127] = '\n';
    (void)fwrite(head, 1, sizeof head, file);
}

static void put_safetensors_header(FILE *file, const image_in *in, const char *name)
{
    static const char text[] = "{\"%s\": {\"dtype\": \"F32\", \"shape\": [%zu, %zu], \"data_offsets\": [0, %llu]}}";
    const unsigned long long size = (unsigned long long)in->info.vocab * in->info.dim * 4;
    const int length = snprintf(NULL, 0, text, name, in->info.vocab, in->info.dim, size);
    const int padded = (length + 7) / 8 * 8;
    int i;

    for (i = 0; i < 8; i++)
        fputc((int)((uint64_t)padded >> (8 * i) & 255u), file);
    fprintf(file, text, name, in->info.vocab, in->info.dim, size);
    fprintf(file, "%*s", padded - length, "");
}

static int put_dense(void *user, FILE *file)
{
    const dense_out *d = (const dense_out *)user;
    const tte_info *info = &d->in->info;
    size_t done, now;

    if (d->name)
        put_safetensors_header(file, d->in, d->name);
    else
        put_npy_header(file, d->in);
    for (done = 0; done < info->vocab; done += now) {
        now = info->vocab - done < BATCH ? info->vocab - done : BATCH;
        if (stopped || image_rows(d->in, done, now, d->rows) != 0)
            return -1;
        numbers_encode(TENSOR_F32, d->rows, now * info->dim, d->packed);
        if (fwrite(d->packed, 4, now * info->dim, file) != now * info->dim)
            return -1;
        (void)bar_show(NULL, (double)(done + now) / (double)info->vocab);
    }
    return 0;
}

static void run_export(const request *r)
{
    const char *path = r->argument[1];
    const char *name = given(r, O_TENSOR) ? r->option[O_TENSOR] : "embedding.weight";
    const int npy = ends_with(path, ".npy");
    image_in in;
    dense_out out;
    size_t i;

    if (!npy && !ends_with(path, ".safetensors"))
        misused("%s: expected a name that ends in .npy or .safetensors", path);
    for (i = 0; name[i]; i++)
        if ((unsigned char)name[i] < 32 || name[i] == '"' || name[i] == '\\')
            misused("--tensor %s: quotes, backslashes and control characters are not for names", name);
    if (strcmp(name, "__metadata__") == 0)
        misused("--tensor __metadata__: safetensors has another use for that name");
    check_output(r, path);
    in = image_open(r->argument[0], 1);
    out.in = &in;
    out.name = npy ? NULL : name;
    out.rows = take_floats(BATCH, in.info.dim);
    out.packed = (unsigned char *)take_floats(BATCH, in.info.dim);
    bar_start(given(r, O_QUIET), given(r, O_VERBOSE), in.info.vocab);
    save(r, path, put_dense, &out);
    bar_clear();
    give(out.packed);
    give(out.rows);
    if (!given(r, O_QUIET))
        printf("%s: %s x %s float32\n", path, commas(in.info.vocab), commas(in.info.dim));
    image_close(&in);
}

/* A name for C: the file's, without folder and ending, other characters as '_'. */
static char *array_name(const request *r, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *from = given(r, O_NAME) ? r->option[O_NAME] : slash ? slash + 1 : path;
    const char *dot = given(r, O_NAME) ? NULL : strrchr(from, '.');
    const size_t length = dot ? (size_t)(dot - from) : strlen(from);
    char *name = (char *)take(length + 2, 1);
    size_t i, n = 0;

    if (length == 0 || (from[0] >= '0' && from[0] <= '9'))
        name[n++] = '_';
    for (i = 0; i < length; i++) {
        const char c = from[i];
        const int letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        name[n++] = letter || (c >= '0' && c <= '9') ? c : '_';
    }
    name[n] = 0;
    if (given(r, O_NAME) && strcmp(name, from) != 0)
        misused("--name %s: not a name in C", from);
    return name;
}

typedef struct {
    const image_in *in;
    const char *name;
} array_out;

static int put_array(void *user, FILE *file)
{
    const array_out *a = (const array_out *)user;
    const tte_info *info = &a->in->info;
    size_t i;

    fprintf(file, "/* A table of %zu x %zu, %.2f times smaller than float32.\n", info->vocab, info->dim, info->ratio);
    fprintf(file, "   tte_open(&table, %s, sizeof %s) reads it where it lies. */\n\n"
            "static const unsigned char %s[%zu] = {", a->name, a->name, a->name, info->bytes);
    for (i = 0; i < info->bytes && !stopped; i++)
        fprintf(file, i % 20 ? "%u," : "\n    %u,", (unsigned)a->in->file.data[i]);
    fprintf(file, "\n};\n");
    return stopped || ferror(file) ? -1 : 0;
}

static void run_c_array(const request *r)
{
    const char *path = r->argument[1];
    image_in in;
    array_out out;
    char *name;

    check_output(r, path);
    in = image_open(r->argument[0], 1);
    name = array_name(r, in.path);
    out.in = &in;
    out.name = name;
    save(r, path, put_array, &out);
    if (!given(r, O_QUIET) && strcmp(path, "-") != 0)
        printf("%s: %s[%zu]\n", path, name, in.info.bytes);
    give(name);
    image_close(&in);
}

#include "graft.h"
#include "sweep.h"

/* ======================================================================================= */
/* COMMANDS THAT MAKE A NEW IMAGE                                                          */
/* ======================================================================================= */

static void check_dim(const source *s, const image_in *in)
{
    if (s->dim != in->info.dim)
        fail("%s: rows of %zu numbers, those of %s have %zu", s->path, s->dim, in->path, in->info.dim);
}

static void run_append(const request *r)
{
    const char *path = r->argument[2];
    tte_image image = {NULL, 0};
    float *rows, *weights = NULL;
    trouble why = {""};
    tte_status status;
    image_in in;
    source s;
    vocabulary words;

    check_output(r, path);
    in = image_open(r->argument[0], 1);
    s = table_open(r, r->argument[1], in.info.dim);
    check_dim(&s, &in);
    words = plan_words(r, &in, 1, &s, path);
    if (given(r, O_WEIGHTS) && in.info.layout == TTE_PER_TOKEN)
        misused("--weights: %s has layout token", in.path);
    if (given(r, O_WEIGHTS))
        weights = read_weights(&why, r->option[O_WEIGHTS], in.info.vocab, s.rows, in.info.vocab + s.rows);
    check(&why);
    rows = source_load(&s);
    status = tte_append(&in.t, rows, s.rows, weights, &image);
    check_made(status, &image, in.info.vocab + s.rows, s.dim, s.path);
    image_save(r, path, &image, &words, &s);
    give(weights);
    give(rows);
    source_close(&s);
    image_close(&in);
}

static void run_replace(const request *r)
{
    const char *path = r->argument[3];
    const float weight = (float)number_option(r, O_WEIGHT, 0.0, 1e-30, 1e30);
    tte_image image = {NULL, 0};
    tte_status status;
    vocabulary v;
    uint32_t token;
    image_in in;
    float *row;
    source s;
    vocabulary words;

    check_output(r, path);
    in = image_open(r->argument[0], 1);
    words = plan_words(r, &in, 1, NULL, path);
    v = vocabulary_open(r, &in);
    token = token_named(&in, &v, r->argument[1]);
    s = table_open(r, r->argument[2], in.info.dim);
    check_dim(&s, &in);
    if (given(r, O_ROW)) {
        const size_t row_at = whole_option(r, O_ROW, 0, 0, UINT32_MAX);
        if (row_at >= s.rows)
            fail("%s: --row %zu: there are rows 0 to %zu", s.path, row_at, s.rows - 1);
        s.first += row_at;
    } else if (s.rows != 1) {
        misused("%s: %zu rows; --row names the one to take", s.path, s.rows);
    }
    s.rows = 1;
    row = source_load(&s);
    status = tte_replace(&in.t, token, row, weight, &image);
    check_made(status, &image, in.info.vocab, s.dim, s.path);
    image_save(r, path, &image, &words, NULL);
    give(row);
    vocabulary_close(&v);
    source_close(&s);
    image_close(&in);
}

/* What keeps two shards apart, in words. */
static void explain_merge(const image_in *a, const image_in *b)
{
    if (a->info.dim != b->info.dim)
        fail("%s: rows of %zu numbers, those of %s have %zu", b->path, b->info.dim, a->path,
             a->info.dim);
    if (a->info.layout != b->info.layout || a->info.coding != b->info.coding)
        fail("%s: layout %s, coding %s; %s has %s, %s", b->path, layout_names[b->info.layout],
             coding_names[b->info.coding], a->path, layout_names[a->info.layout],
             coding_names[a->info.coding]);
    if (a->info.layout == TTE_PER_TABLE)
        fail("%s: another basis than %s; compress all shards with one --like", b->path, a->path);
    fail("%s: another shape or other ranks than %s; compress all shards with the same options", b->path,
         a->path);
}

static void run_merge(const request *r)
{
    const size_t count = (size_t)r->arguments - 1;
    const char *path = r->argument[count];
    image_in *in = (image_in *)take(count, sizeof *in);
    tte_table *parts = (tte_table *)take(count, sizeof *parts);
    tte_image image = {NULL, 0};
    tte_status status;
    size_t i;
    vocabulary words;

    check_output(r, path);
    for (i = 0; i < count; i++) {
        in[i] = image_open(r->argument[i], 1);
        parts[i] = in[i].t;
    }
    words = plan_words(r, in, count, NULL, path);
    status = tte_merge(parts, count, &image);
    for (i = 1; i < count && status == TTE_ERR_ARGUMENT; i++) {
        const tte_table two[2] = {parts[0], parts[i]};
        tte_image both;
        if (tte_merge(two, 2, &both) == TTE_OK)
            tte_free(&both);
        else
            explain_merge(&in[0], &in[i]);
    }
    check_made(status, &image, 0, 0, path);
    image_save(r, path, &image, &words, NULL);
    for (i = 0; i < count; i++)
        image_close(&in[i]);
    give(parts);
    give(in);
}

static void run_shrink(const request *r)
{
    const char *path = r->argument[1];
    tte_image image = {NULL, 0};
    tte_status status;
    tte_options o;
    image_in in;
    vocabulary words;

    if (!given(r, O_RATIO) && !given(r, O_EPS) && !given(r, O_MAX_RANK))
        misused("how small? --ratio, --eps or --max-rank tells");
    check_output(r, path);
    in = image_open(r->argument[0], 1);
    words = plan_words(r, &in, 1, NULL, path);
    o = read_options(r, 0, in.info.vocab, in.info.vocab, in.info.dim);
    bar_start(given(r, O_QUIET), given(r, O_VERBOSE), in.info.vocab);
    status = tte_shrink(&in.t, &o, &image);
    bar_clear();
    check_made(status, &image, in.info.vocab, in.info.dim, in.path);
    image_save(r, path, &image, &words, NULL);
    image_close(&in);
}

/* ======================================================================================= */
/* HELP AND MAIN                                                                           */
/* ======================================================================================= */

static const command commands[] = {
    {"compress", run_compress, 2, 2, "TABLE OUT.tte",
     "Compresses a table. TABLE is a .safetensors or .gguf file, the index of a sharded one or the folder of\n"
     "a model, a .npy file, word vectors as text or word2vec's .bin, or raw float32 with --dim. Without\n"
     "--tensor it is the one tensor that looks like an embedding. Words go to OUT.vocab: those of the\n"
     "vectors, of the GGUF, or of the tokenizer beside the model.\n"
     "\"-\" is standard input, which is held in memory, and for OUT.tte standard output.",
     "ttembed compress model.safetensors table.tte --ratio 12 --weights zipf",
     TABLE_OPTIONS | LEARN_OPTIONS | TOKEN_OPTIONS | BIT(O_LIKE) | OUTPUT_OPTIONS | BIT(O_VERBOSE)},
    {"train", run_train, 2, 2, "TABLE OUT.tte",
     "What compress learns of a table before it encodes rows: an image of no rows. compress --like takes\n"
     "it, also for parts of the table, and merge makes of these what compress makes of the whole.",
     "ttembed train model.safetensors basis.tte --ratio 12",
     TABLE_OPTIONS | LEARN_OPTIONS | OUTPUT_OPTIONS | BIT(O_VERBOSE)},
    {"info", run_info, 1, 1, "IMAGE",
     "What an image holds: its layout, bytes and errors. With the dense table it also tells\n"
     "which tokens are hurt most: an error that is small for the table can be large for rare words.",
     "ttembed info table.tte --table model.safetensors --worst 20 --by-frequency",
     TABLE_OPTIONS | BIT(O_TABLE) | BIT(O_VOCAB) | BIT(O_WORST) | BIT(O_BY_FREQUENCY) | BIT(O_JSON)
         | BIT(O_HELP)},
    {"list", run_list, 1, 1, "FILE",
     "The tensors of a file, an index or a folder, and which one is the table. FILE comes as TABLE in compress.",
     "ttembed list model.safetensors", TABLE_OPTIONS | BIT(O_JSON) | BIT(O_HELP)},
    {"sweep", run_sweep, 1, 1, "TABLE",
     "Bytes and errors of a table at several ratios, beside int8, 4-bit blocks and the SVD of the same bytes:\n"
     "what to know before choosing one.",
     "ttembed sweep model.safetensors --ratios 8,16,32 --svg sweep.svg",
     TABLE_OPTIONS | BIT(O_RATIOS) | BIT(O_EFFORT) | BIT(O_CALIBRATION) | BIT(O_WEIGHTS) | BIT(O_JSON) | BIT(O_SVG)
         | BIT(O_FORCE) | BIT(O_QUIET) | BIT(O_VERBOSE) | BIT(O_HELP)},
    {"graft", run_graft, 3, 3, "IMAGE MODEL OUT",
     "The model with its table replaced by the rows of IMAGE, so that its own runtime measures and runs it.\n"
     "MODEL is a .safetensors or .gguf file: so is OUT, with all other tensors byte for byte. MODEL is a\n"
     "folder, the index of shards or the first of several GGUF files: OUT is a folder. Of safetensors the\n"
     "type stays as it is.",
     "ttembed graft table.tte model.gguf small.gguf --type Q8_0", BIT(O_TENSOR) | BIT(O_TYPE) | OUTPUT_OPTIONS},
    {"lookup", run_lookup, 2, INT_MAX, "IMAGE TOKEN..",
     "Rows, one a line: the token, then its numbers. A token is an id, 42 or #42, or, where the words lie\n"
     "beside the image in FILE.vocab or --vocab has them, a word. A number that is a word, too, is the word.",
     "ttembed lookup table.tte 42 4711", BIT(O_RAW) | BIT(O_VOCAB) | BIT(O_HELP)},
    {"nearest", run_nearest, 2, 2, "IMAGE TOKEN",
     "The tokens whose rows point in the most similar direction. TOKEN comes as in lookup.",
     "ttembed nearest glove.tte river --count 5", BIT(O_COUNT) | BIT(O_INNER) | BIT(O_VOCAB) | BIT(O_HELP)},
    {"verify", run_verify, 1, INT_MAX, "IMAGE..", "Reads every byte and compares checksums.",
     "ttembed verify table.tte && echo good", BIT(O_QUIET) | BIT(O_HELP)},
    {"export", run_export, 2, 2, "IMAGE OUT",
     "The dense table again, as OUT.npy or OUT.safetensors, float32.",
     "ttembed export table.tte table.safetensors --tensor wte.weight",
     BIT(O_TENSOR) | OUTPUT_OPTIONS | BIT(O_VERBOSE)},
    {"c-array", run_c_array, 2, 2, "IMAGE OUT.h",
     "The image as a constant array in C, to be linked into flash.",
     "ttembed c-array table.tte table.h --name table", BIT(O_NAME) | OUTPUT_OPTIONS},
    {"append", run_append, 3, 3, "IMAGE ROWS OUT.tte",
     "The image with the rows of a table added at its end. ROWS comes in the formats of compress; a\n"
     "file of unknown format is raw float32. Where image and rows have words, so has the new image.",
     "ttembed append table.tte new_tokens.npy larger.tte", TABLE_OPTIONS | BIT(O_WEIGHTS) | OUTPUT_OPTIONS},
    {"replace", run_replace, 4, 4, "IMAGE TOKEN ROW OUT.tte",
     "The image with one row replaced. ROW comes as ROWS in append.",
     "ttembed replace table.tte 42 row.npy new.tte",
     TABLE_OPTIONS | BIT(O_ROW) | BIT(O_WEIGHT) | BIT(O_VOCAB) | OUTPUT_OPTIONS},
    {"merge", run_merge, 2, INT_MAX, "IMAGE.. OUT.tte",
     "Shards, in order, in one image. They come from compress --rows, with the same options and for\n"
     "--layout table the same --like.",
     "ttembed merge part0.tte part1.tte table.tte", OUTPUT_OPTIONS},
    {"shrink", run_shrink, 2, 2, "IMAGE OUT.tte",
     "A smaller image from a larger one, without the original. The errors that it tells are bounds on what\n"
     "is lost against the original.",
     "ttembed shrink table.tte small.tte --ratio 16",
     LEARN_OPTIONS | TOKEN_OPTIONS | OUTPUT_OPTIONS | BIT(O_VERBOSE)}
};
enum { COMMANDS = (int)(sizeof commands / sizeof *commands) };

static void print_help(void)
{
    int i;

    printf("ttembed: token-embedding tables as tensor trains\n\n");
    for (i = 0; i < COMMANDS; i++) {   /* the first sentence says it */
        const char *help = commands[i].help, *end = strchr(help, '.');
        while (end[1] != 0 && end[1] != ' ' && end[1] != '\n')
            end = strchr(end + 1, '.');
        printf("    ttembed %s %s\n        %.*s\n", commands[i].name, commands[i].usage,
               (int)(end - help), help);
    }
    printf("\nttembed COMMAND --help tells more. \"-\" for IMAGE or TABLE is standard input.\n"
           "Exit status: 0, 1 after a failure, 2 for a command that makes no sense.\n\n"
           "For example:  ttembed compress model.safetensors table.tte\n"
           "              ttembed info table.tte\n");
}

static void print_command_help(const command *c)
{
    int o;

    printf("usage: ttembed %s %s [options]\n\n%s\n\n", c->name, c->usage, c->help);
    for (o = 0; o < OPTIONS; o++)
        if (c->options & BIT(o)) {
            char name[40];
            snprintf(name, sizeof name, "--%s%s%s", option_list[o].name, option_list[o].value ? " " : "",
                     option_list[o].value ? option_list[o].value : "");
            printf("  %-18s %s\n", name, option_list[o].help);
        }
    printf("\nFor example:\n    %s\n", c->example);
}

/* One option at argv[i]; returns how many words it took. */
static int read_option(request *r, char **argv, int i, int argc)
{
    const char *name = strcmp(argv[i], "-o") == 0 ? "output" : strcmp(argv[i], "-h") == 0 ? "help" : argv[i] + 2, *equals = strchr(name, '=');
    const size_t length = equals ? (size_t)(equals - name) : strlen(name);
    int o;

    for (o = 0; o < OPTIONS; o++)
        if (strlen(option_list[o].name) == length && memcmp(option_list[o].name, name, length) == 0)
            break;
    if (o == OPTIONS || !(r->what->options & BIT(o)))
        misused("%s: no option of this command; ttembed %s --help lists them", argv[i], r->what->name);
    if (r->option[o])
        misused("--%s: given twice", option_list[o].name);
    if (!option_list[o].value) {
        if (equals)
            misused("--%s: takes no value", option_list[o].name);
        r->option[o] = "";
        return 1;
    }
    if (!equals && i + 1 >= argc)
        misused("--%s: expected %s after it", option_list[o].name, option_list[o].value);
    r->option[o] = equals ? equals + 1 : argv[i + 1];
    return equals ? 1 : 2;
}

static request read_request(int argc, char **argv)
{
    request r;
    int i, plain = 0;

    memset(&r, 0, sizeof r);
    for (i = 0; i < COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            r.what = &commands[i];
    if (!r.what)
        misused("%s: no such command; ttembed --help lists them", argv[1]);
    command_name = r.what->name;
    r.argument = (const char **)take((size_t)argc + 1, sizeof *r.argument);
    for (i = 2; i < argc;) {
        if (plain || argv[i][0] != '-' || argv[i][1] == 0) {
            r.argument[r.arguments++] = argv[i++];
        } else if (argv[i][1] != '-' && strcmp(argv[i], "-o") != 0 && strcmp(argv[i], "-h") != 0) {
            misused("%s: options begin with two dashes; ttembed %s --help lists them", argv[i],
                    r.what->name);
        } else if (strcmp(argv[i], "--") == 0) {
            plain = 1;
            i++;
        } else {
            i += read_option(&r, argv, i, argc);
        }
    }
    if (given(&r, O_OUTPUT))
        r.argument[r.arguments++] = r.option[O_OUTPUT];
    if (!given(&r, O_HELP) && (r.arguments < r.what->least || r.arguments > r.what->most))
        misused("expected %s; ttembed %s --help tells more", r.what->usage, r.what->name);
    return r;
}

int main(int argc, char **argv)
{
    request r;

    guard_streams();
    catch_signals();
    if (atexit(give_all))
        fail("atexit: no place");
    if (argc < 2)
        misused("expected a command; ttembed --help lists them");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
    } else if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        printf("ttembed %d.%d.%d\n", TTE_VERSION >> 16, TTE_VERSION >> 8 & 255, TTE_VERSION & 255);
    } else {
        r = read_request(argc, argv);
        if (given(&r, O_HELP))
            print_command_help(r.what);
        else
            r.what->run(&r);
    }
    finish_output();
    return 0;
}
