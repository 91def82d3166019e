/* error.c: how many bytes an error costs, of one table.
 *
 *     error [DIRECTORY [STAMP [FILE]]]
 *
 * FILE is a table in any format of ttembed, or `null` for 8192 x 128 independent Gaussian numbers. Writes
 * error_NAME: of every way in methods.h the bytes, all of them counted, the relative error, the error that the
 * best code for a Gaussian of the same covariance leaves in the same bytes (reverse water-filling, nothing
 * counted for what describes the covariance), and processor time. Effort 9 of a table of more than 32 million
 * numbers only where BENCH_ALL is set. Exits with 1 when a figure asked of a known table, recorded error or
 * size is missed.
 */
#include "bench.h"
#include "bars.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "peers.h"
#include "methods.h"
#include "tables.h"

#define RECORDED 1e-5        /* the image's error against the one measured here, relatively */
#define DEFAULT_MORE 1.02    /* error at the default effort over that at effort 9            */
#define UNUSED 0.01          /* of the bytes that a ratio allows                             */
#define LARGE 32e6           /* numbers                                                      */

/* Errors asked for, at 8x, 16x and 38.4x, effort 9; 0: none. */
static const struct { const char *table; double most[3]; } goals[] = {
    {"glove-50k", {0.0620, 0.2380, 0.5230}},
    {"all-mpnet-base-v2", {0.0603, 0.2330, 0.5200}},
    {"gemma-3-270m", {0.0500, 0.1950, 0.4280}},
    {"tiny-gpt2", {0.0485, 0.1870, 0}}};
static const double ratios[] = {8, 16, 38.4};

typedef struct choice { const char *name; int sized; } choice;  /* sized: asked for each ratio */

static const choice choices[] = {
    {"table", 1}, {"int8 rows", 0}, {"8-bit blocks", 0}, {"4-bit blocks", 0},
    {"3-bit blocks", 0}, {"2-bit blocks", 0}, {"SVD int8", 1}, {"PQ", 1}, {"trains I4", 1},
    {"TensorGPT 2^k rank 1", 0}, {"TensorGPT 2^k cap 4", 0}, {"table effort 9", 1}};

typedef struct subject {
    named_table table;
    double energy, *variance;   /* sum of squares of all entries; dim eigenvalues of the covariance */
    double error[2][3];         /* of the default and of effort 9                                   */
    double recorded, unused;    /* of images: error off the measured one, bytes that a ratio allows and
                                   that are not used, relatively: the most                          */
} subject;

static double raw_bytes(const subject *s) { return 4.0 * (double)s->table.vocab * (double)s->table.dim; }

static subject subject_begin(const char *path)
{
    subject s;
    double *mean;
    size_t i;
    s.table = table_read(path);
    s.energy = s.recorded = s.unused = 0;
    for (i = 0; i < s.table.vocab * s.table.dim; i++)
        s.energy += (double)s.table.rows[i] * (double)s.table.rows[i];
    for (i = 0; i < 6; i++) s.error[i / 3][i % 3] = bench_nothing();
    mean = (double *)bench_alloc(s.table.dim, sizeof *mean);
    s.variance = (double *)bench_alloc(s.table.dim, sizeof *s.variance);
    table_mean(s.table.rows, s.table.vocab, s.table.dim, mean);
    table_spectrum(s.table.rows, s.table.vocab, s.table.dim, mean, s.variance, NULL);
    free(mean);
    return s;
}

/* The relative error of the best code for a Gaussian, in so many bytes. */
static double bound(const subject *s, double size)
{
    const double bits = 8 * size / (double)s->table.vocab;
    return sqrt(gaussian_error(s->variance, s->table.dim, bits) * (double)s->table.vocab / s->energy);
}

/* What the library promises of every image; nothing is worse than NaN. */
static void check_image(subject *s, const char *name, const rebuilt *back, double error, double ratio)
{
    const double allowed = raw_bytes(s) / ratio;
    tte_table view = open_image(name, &back->image);
    tte_info info;
    double off;
    tte_get_info(&view, &info);
    off = fabs(info.rel_error / error - 1);
    if (!(off <= s->recorded)) s->recorded = off >= 0 ? off : HUGE_VAL;
    if (view.layout == TTE_PER_TABLE && !(fabs(back->bytes - allowed) <= s->unused * allowed))
        s->unused = fabs(back->bytes - allowed) / allowed;
    if (view.layout == TTE_PER_TABLE && back->bytes > allowed) s->unused = HUGE_VAL;
}

static void error_row(subject *s, const choice *c, double ratio)
{
    const double start = bench_clock(CLOCK_MONOTONIC);
    const named_table *t = &s->table;
    rebuilt back;
    double error;
    size_t r;
    bench_text(c->name);
    bench_number(ratio > 0 ? ratio : bench_nothing(), 1);
    if (!method_apply(method_named(c->name), t->rows, t->vocab, t->dim, ratio, NULL, NULL, &back)) {
        for (r = 0; r < 7; r++) bench_number(bench_nothing(), 0);
        return;
    }
    error = relative_off(t->rows, back.rows, t->vocab * t->dim);
    bench_number(back.bytes, 0);
    bench_number(raw_bytes(s) / back.bytes, 2);
    bench_number(back.columns, 0);
    bench_number(error, 4);
    bench_number(bound(s, back.bytes), 4);
    bench_number(back.seconds, 2);
    bench_number(bench_clock(CLOCK_MONOTONIC) - start, 2);
    for (r = 0; r < BENCH_COUNT(ratios); r++)
        if (strncmp(c->name, "table", 5) == 0 && fabs(ratio - ratios[r]) < 0.01)
            s->error[strcmp(c->name, "table") != 0][r] = error;
    if (back.image.size > 0 && ratio > 0) check_image(s, c->name, &back, error, ratio);
    rebuilt_end(&back);
}

static void error_table(subject *s)
{
    static const bench_column columns[] = {
        {"method", -20, NULL},  {"asked", 5, "ratio"},  {"bytes", 9, NULL},   {"ratio", 6, NULL},
        {"columns", 7, NULL},   {"error", 7, NULL},     {"bound", 7, NULL},
        {"processor", 9, "seconds"}, {"wall clock", 10, "seconds"}};
    char name[80], title[256];
    size_t c, r;
    const int all = getenv("BENCH_ALL") != NULL || (double)s->table.vocab * (double)s->table.dim <= LARGE;
    snprintf(name, sizeof name, "error_%s", s->table.name);
    snprintf(title, sizeof title, "%s: %zu x %zu: bytes and relative error; bound: the error of the best code for a "
             "Gaussian of the same covariance in the same bytes", s->table.name, s->table.vocab, s->table.dim);
    bench_table(name, title, columns, BENCH_COUNT(columns));
    for (c = 0; c < BENCH_COUNT(choices); c++)
        for (r = 0; r < (choices[c].sized ? BENCH_COUNT(ratios) : 1); r++)
            if (all || strcmp(choices[c].name, "table effort 9") != 0)
                error_row(s, &choices[c], choices[c].sized ? ratios[r] : 0);
    bench_table_end();
    if (!all) printf("%s: effort 9 left out, set BENCH_ALL=1 for it\n", s->table.name);
}

static void error_bars(const subject *s)
{
    size_t g, r;
    bar_add(s->table.name, "recorded errors off the measured ones, relatively", 0, s->recorded, RECORDED);
    bar_add(s->table.name, "bytes allowed and not used, relatively", 0, s->unused, UNUSED);
    for (r = 0; r < BENCH_COUNT(ratios); r++) {
        const double *error[2] = {s->error[0], s->error[1]};
        if (error[1][r] >= 0)
            bar_add(s->table.name, "error at the default effort over that at 9", ratios[r],
                    error[0][r] / error[1][r], DEFAULT_MORE);
        for (g = 0; g < BENCH_COUNT(goals); g++)
            if (strcmp(goals[g].table, s->table.name) == 0 && goals[g].most[r] > 0) {
                if (error[1][r] >= 0)
                    bar_add(s->table.name, "error at effort 9", ratios[r], error[1][r], goals[g].most[r]);
                bar_add(s->table.name, "error at the default effort", ratios[r], error[0][r],
                        goals[g].most[r] * DEFAULT_MORE);
            }
    }
}

int main(int argc, char **argv)
{
    subject s = subject_begin(argc > 3 ? argv[3] : "null");
    bench_begin(argc, argv);
    error_table(&s);
    error_bars(&s);
    free(s.variance);
    free(s.table.rows);
    return bars_report("error") > 0;
}
