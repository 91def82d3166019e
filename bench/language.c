/* language.c: what a language model loses with a smaller table.
 *
 *   perplexity    of each text with the model's token table stored in every way: with the tie broken
 *                 (rows come from the smaller table, scores from the dense one) and kept (both from the
 *                 smaller one, as the model has only one); and how many times that of the dense table
 *
 *     language [DIRECTORY [STAMP [--text FILE]... [--windows N] [MODEL]]]
 *
 * MODEL is a GPT-2 folder in Hugging Face's format, examples/tiny-gpt2 without it (from the folder
 * bench). It is calibrated as gpt2_demo does it, with 16,384 tokens that it writes itself. The texts are the
 * story of the demo and every FILE. Of a long text N windows of the model's context are measured, spread evenly; 0
 * means all of it. The settings of the TensorGPT paper (arXiv:2307.00526) are among the ways.
 */
#include "bench.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "peers.h"
#include "methods.h"

#include "../examples/gpt2.h"
#include "../examples/story.h"

#include <stdarg.h>

NEVER_RETURNS static void fail(const char *format, ...)
{
    va_list list;
    fflush(stdout);
    fputs("language: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    exit(2);
}

#define TEXTS 8
#define ENTRIES 96   /* stored tables                          */
#define WINDOWS 10   /* of a long text, unless told otherwise  */
enum { BROKEN, KEPT, TIES };

/* ---- texts ---------------------------------------------------------------------------------- */

/* The windows of a text that are measured. */
typedef struct passage {
    char name[64];
    uint32_t *ids;
    size_t count;            /* of ids                                           */
    size_t windows, chosen;  /* of the context's length; the last may be shorter */
    size_t targets;          /* tokens that are predicted in the chosen ones     */
    uint32_t *target;        /* these                                            */
    double *dense;           /* the loss of each with the dense table            */
} passage;

/* Where the k-th chosen window begins; it predicts *length tokens, the first one behind its own first. */
static size_t window_at(const passage *p, size_t context, size_t k, size_t *length)
{
    const size_t at = k * p->windows / p->chosen * context, left = p->count - 1 - at;
    *length = left < context ? left : context;
    return at;
}

static passage passage_make(const char *name, const tokenizer *t, bytes text, size_t context, size_t most)
{
    passage p;
    size_t k, length;
    memset(&p, 0, sizeof p);
    snprintf(p.name, sizeof p.name, "%s", name);
    p.ids = encode(t, text, &p.count);
    if (p.count < 2) fail("%s: fewer than two tokens", name);
    p.windows = (p.count - 1 + context - 1) / context;
    p.chosen = most > 0 && most < p.windows ? most : p.windows;
    p.target = (uint32_t *)bench_alloc(p.chosen * context, sizeof *p.target);
    for (k = 0; k < p.chosen; k++, p.targets += length) {
        const size_t at = window_at(&p, context, k, &length);
        memcpy(p.target + p.targets, p.ids + at + 1, length * sizeof *p.target);
    }
    p.dense = (double *)bench_alloc(p.targets, sizeof *p.dense);
    return p;
}

static passage passage_read(const char *path, const tokenizer *t, size_t context, size_t most)
{
    const char *base = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path, *c;
    const char *dot_at = strrchr(base, '.');
    char name[64];
    bytes text = read_file(&first_trouble, path);
    passage p;
    for (c = base; *c != '\0'; c++)
        if (*c == ',') fail("%s: a comma in the name of a text", path);
    snprintf(name, sizeof name, "%.*s", dot_at != NULL && dot_at > base ? (int)(dot_at - base) : 63, base);
    p = passage_make(name, t, text, context, most);
    give(text.data);
    return p;
}

static void passage_end(passage *p)
{
    give(p->ids);
    free(p->target);
    free(p->dense);
}

/* The loss of every target, outputs x targets: rows from `input`, scores from each output. */
static void passage_losses(const passage *p, const model *m, state *s, const float *input,
                           const float *const *output, size_t outputs, double *loss)
{
    double *window = (double *)bench_alloc(outputs * m->context, sizeof *window);
    size_t done = 0, k, i, length;
    for (k = 0; k < p->chosen; k++, done += length) {
        const size_t at = window_at(p, m->context, k, &length);
        text_losses(m, s, p->ids + at, length + 1, input, output, outputs, window);
        for (i = 0; i < outputs; i++)
            memcpy(loss + i * p->targets + done, window + i * length, length * sizeof *loss);
    }
    free(window);
}

static double mean_of(const double *values, size_t count)
{
    double sum = 0;
    size_t i;
    for (i = 0; i < count; i++) sum += values[i];
    return sum / (double)count;
}

/* ---- ways to store the table ---------------------------------------------------------------- */

#define ONE_SIZE 0.0f  /* in place of a ratio: the method has no choice */
#define CLAIM 3.31f    /* the paper's ratio of 2^10 at cap 4           */

/* A method of methods.h and the ratios that are asked of it. */
typedef struct choice {
    const char *method;
    size_t count;
    float ratios[6];
} choice;

static const choice choices[] = {
    {"table", 5, {8, 12, 16, 24, 38.4f}},
    {"table calibrated", 5, {8, 12, 16, 24, 38.4f}},
    {"int8 rows", 1, {ONE_SIZE}},
    {"8-bit blocks", 1, {ONE_SIZE}},
    {"4-bit blocks", 1, {ONE_SIZE}},
    {"3-bit blocks", 1, {ONE_SIZE}},
    {"2-bit blocks", 1, {ONE_SIZE}},
    {"SVD int8", 3, {4, 8, 16}},
    {"PQ", 3, {4, 8, 16}},
    {"TensorGPT 2^k rank 1", 1, {ONE_SIZE}},
    {"TensorGPT 2^k cap 4", 1, {ONE_SIZE}},
    {"trains F32", 1, {CLAIM}},
    {"trains I8", 1, {CLAIM}},
    {"trains I4", 2, {4, 8}}};

/* ---- measuring ------------------------------------------------------------------------------ */

/* What is added to the losses of some tokens. */
typedef struct tally { double count, sum, squares; } tally;

static void tally_add(tally *t, double value)
{
    t->count++;
    t->sum += value;
    t->squares += value * value;
}

static double tally_mean(const tally *t) { return t->count > 0 ? t->sum / t->count : bench_nothing(); }

/* The standard error of the mean. */
static double tally_error(const tally *t)
{
    const double mean = tally_mean(t);
    if (!(t->count > 1)) return bench_nothing();
    return sqrt(fmax(t->squares - t->count * mean * mean, 0) / (t->count - 1) / t->count);
}

/* A stored table, a row for each text. */
typedef struct entry {
    char method[48];
    double asked, bytes, ratio, error;  /* asked: the ratio, or NaN                                  */
    tally added[TEXTS][TIES];           /* to the loss; with the tie kept only where the model has one */
} entry;

typedef struct study {
    model m;
    tokenizer tok;
    state s;
    calibration looks;
    passage texts[TEXTS];
    size_t text_count;
    entry entries[ENTRIES];
    size_t count;
} study;

static double raw_bytes(const study *y) { return 4.0 * (double)y->m.vocab * (double)y->m.width; }

static entry *entry_add(study *y, const char *name, double asked, double size, const float *rows)
{
    entry *e = &y->entries[y->count];
    char *k;
    if (y->count++ == ENTRIES) bench_stop("language", "too many rows");
    snprintf(e->method, sizeof e->method, "%s", name);
    if ((k = strstr(e->method, "2^k")) != NULL) {  /* the paper's number of modes */
        int modes = 0;
        while ((size_t)1 << modes < y->m.width) modes++;
        snprintf(k, sizeof e->method - (size_t)(k - e->method), "2^%d%s", modes, strstr(name, "2^k") + 3);
    }
    e->asked = asked;
    e->bytes = size;
    e->ratio = raw_bytes(y) / size;
    e->error = relative_off(y->m.wte, rows, y->m.vocab * y->m.width);
    return e;
}

/* Every text with the table `rows` in place of the model's. */
static void entry_measure(study *y, entry *e, const float *rows)
{
    const model *m = &y->m;
    const size_t outputs = m->head == m->wte ? TIES : 1;
    const float *output[TIES];
    size_t text, i, k;
    output[BROKEN] = m->head;
    output[KEPT] = rows;
    for (text = 0; text < y->text_count; text++) {
        const passage *p = &y->texts[text];
        double *loss = (double *)bench_alloc(TIES * p->targets, sizeof *loss);
        passage_losses(p, m, &y->s, rows, output, outputs, loss);
        for (i = 0; i < outputs; i++)
            for (k = 0; k < p->targets; k++)
                tally_add(&e->added[text][i], loss[i * p->targets + k] - p->dense[k]);
        free(loss);
    }
}

/* The dense table, which everything is measured against. */
static void study_dense(study *y)
{
    const float *output = y->m.head;
    size_t text;
    for (text = 0; text < y->text_count; text++) {
        const passage *p = &y->texts[text];
        passage_losses(p, &y->m, &y->s, y->m.wte, &output, 1, p->dense);
    }
    entry_measure(y, entry_add(y, "dense", bench_nothing(), raw_bytes(y), y->m.wte), y->m.wte);
}

/* One way at one ratio; nothing where nothing fits. */
static void study_way(study *y, const choice *c, float ratio)
{
    const method *how = method_named(c->method);
    const int calibrated = strcmp(c->method, "table calibrated") == 0;
    rebuilt table;
    entry *e;
    if (!method_apply(how, y->m.wte, y->m.vocab, y->m.width, (double)ratio, calibrated ? y->looks.row_weight : NULL,
                      calibrated ? y->looks.metric : NULL, &table))
        return;
    e = entry_add(y, how->name, ratio > 0 ? (double)ratio : bench_nothing(), table.bytes, table.rows);
    entry_measure(y, e, table.rows);
    rebuilt_end(&table);
}

/* ---- tables --------------------------------------------------------------------------------- */

static double times_dense(const entry *e, size_t text, int tie)
{
    return exp(tally_mean(&e->added[text][tie]));
}

static void perplexity_table(const study *y)
{
    static const bench_column columns[] = {
        {"text", -12, NULL},           {"method", -20, NULL},         {"asked", 5, "ratio"},
        {"bytes", 9, NULL},            {"ratio", 6, NULL},            {"error", 6, NULL},
        {"broken", 8, "perplexity"},   {"kept", 8, "perplexity"},     {"broken", 8, "times dense"},
        {"kept", 8, "times dense"},    {"broken", 7, "standard error"},
        {"kept", 7, "standard error"}};
    char title[512];
    size_t text, i;
    int tie;
    snprintf(title, sizeof title, "perplexity of %zu x %zu with the token table stored in every way; tie "
             "broken: rows from it, scores from the dense table; kept: both from it;", y->m.vocab,
             y->m.width);
    for (text = 0; text < y->text_count; text++) {
        const passage *p = &y->texts[text];
        add_text(title, sizeof title, "%s %s: %zu of %zu tokens in %zu of %zu windows", text > 0 ? "," : "",
                 p->name, p->targets, p->count - 1, p->chosen, p->windows);
    }
    bench_table("perplexity", title, columns, BENCH_COUNT(columns));
    for (text = 0; text < y->text_count; text++) {
        const double dense = exp(mean_of(y->texts[text].dense, y->texts[text].targets));
        for (i = 0; i < y->count; i++) {
            const entry *e = &y->entries[i];
            bench_text(y->texts[text].name);
            bench_text(e->method);
            bench_number(e->asked, 2);
            bench_number(e->bytes, 0);
            bench_number(e->ratio, 2);
            bench_number(e->error, 4);
            for (tie = 0; tie < TIES; tie++) bench_number(dense * times_dense(e, text, tie), 3);
            for (tie = 0; tie < TIES; tie++) bench_number(times_dense(e, text, tie), 4);
            for (tie = 0; tie < TIES; tie++) {
                const double error = tally_error(&e->added[text][tie]);
                bench_number(times_dense(e, text, tie) * error, 4);
            }
        }
    }
    bench_table_end();
}

/* ---- options -------------------------------------------------------------------------------- */

typedef struct options {
    const char *model, *texts[TEXTS - 1];
    size_t count, windows;
} options;

/* What stands behind DIRECTORY and STAMP. */
static options options_read(int argc, char **argv)
{
    options o = {"../examples/tiny-gpt2", {NULL}, 0, WINDOWS};
    int k;
    for (k = 3; k < argc; k++) {
        const char *name = argv[k];
        if (name[0] != '-') {
            o.model = name;
        } else if (k + 1 == argc) {
            fail("%s: needs a value behind it", name);
        } else if (strcmp(name, "--text") == 0) {
            if (o.count == TEXTS - 1) fail("--text: given more than %d times", TEXTS - 1);
            o.texts[o.count++] = argv[++k];
        } else if (strcmp(name, "--windows") == 0) {
            char *end;
            o.windows = (size_t)strtoul(argv[++k], &end, 10);
            if (end == argv[k] || *end != '\0') fail("--windows: \"%s\" is no whole number", argv[k]);
        } else {
            fail("%s: no such option", name);
        }
    }
    return o;
}

int main(int argc, char **argv)
{
    static study y;
    const options o = options_read(argc, argv);
    double mixture;
    size_t i, r;
    usage u;
    bench_begin(argc, argv);
    y.m = model_load(o.model);
    y.tok = tokenizer_load(o.model, y.m.vocab);
    y.s = state_make(&y.m, 1, y.m.context);
    u = usage_of_writing(&y.m, opening_token(&y.tok), CALIBRATION_TOKENS);
    y.looks = calibrate(&y.m, &u, &mixture);
    y.texts[y.text_count++] = passage_make("story", &y.tok, story_text(), y.m.context, o.windows);
    for (i = 0; i < o.count; i++)
        y.texts[y.text_count++] = passage_read(o.texts[i], &y.tok, y.m.context, o.windows);
    study_dense(&y);
    for (i = 0; i < BENCH_COUNT(choices); i++)
        for (r = 0; r < choices[i].count; r++) study_way(&y, &choices[i], choices[i].ratios[r]);
    perplexity_table(&y);

    for (i = 0; i < y.text_count; i++) passage_end(&y.texts[i]);
    give_all();
    return 0;
}
