/* forget.c: what compression forgets.
 *
 *   error_deciles  the relative error of each tenth of a table's rows, by how often the token occurs and by
 *                  the length of its row
 *   neighbours     how many of a row's ten nearest rows, by cosine, are still among them
 *
 *     forget [DIRECTORY [STAMP [FILE..]]]
 *
 * FILE is a table in any format of ttembed, or `null` for the Gaussian one. How often a token occurs is
 * read from a counts.json beside the file; without one, frequency is the order of token ids.
 */
#include "bench.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "peers.h"
#include "methods.h"
#include "deciles.h"

#define TENSOR_FILES_TABLES
#include "../examples/gpt2.h"
#include "tables.h"

#include <stdarg.h>

#define NEAREST 10
#define PROBES 500   /* random tokens whose neighbours are looked for */

NEVER_RETURNS static void fail(const char *format, ...)
{
    char line[512];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    bench_stop("forget", line);
    exit(2);
}

typedef struct choice { const char *method; double ratio; } choice;

/* About 8 and 16 times smaller, and the usual 8 bits. */
static const choice choices[] = {
    {"int8 rows", 0}, {"entropy", 8}, {"entropy weights", 8}, {"4-bit blocks", 0}, {"PQ", 8}, {"SVD float16", 8},
    {"trains I4", 8}, {"entropy", 16}, {"entropy weights", 16}, {"2-bit blocks", 0}, {"PQ", 16}};

enum { BY_FREQUENCY, BY_NORM, RANKINGS };

typedef struct subject {
    named_table table;
    float *weights;          /* NULL: no counts */
    ranking by[RANKINGS];
    uint32_t *probes;        /* PROBES of them, and the NEAREST of each */
    uint32_t *nearest;
} subject;

typedef struct outcome {
    const char *method;
    double ratio, error, kept;
    double deciles[RANKINGS][DECILES];
} outcome;

/* ---- neighbours ------------------------------------------------------------------------------------- */

/* Rows of length 1, transposed, so that a scan over all tokens runs along memory; zero rows stay. */
static float *unit_columns(const float *rows, size_t vocab, size_t dim)
{
    float *columns = (float *)bench_alloc(vocab * dim, sizeof *columns);
    size_t t, i;
    for (t = 0; t < vocab; t++) {
        double square = 0;
        for (i = 0; i < dim; i++) square += (double)rows[t * dim + i] * (double)rows[t * dim + i];
        for (i = 0; i < dim && square > 0; i++)
            columns[i * vocab + t] = (float)((double)rows[t * dim + i] / sqrt(square));
    }
    return columns;
}

/* The NEAREST other tokens of each probe by cosine, the nearest first. */
static void find_nearest(const subject *s, const float *rows, uint32_t *nearest)
{
    const size_t vocab = s->table.vocab, dim = s->table.dim;
    float *columns = unit_columns(rows, vocab, dim);
    float *score = (float *)bench_alloc(vocab, sizeof *score);
    size_t p, t, i, k;
    for (p = 0; p < PROBES; p++) {
        uint32_t *best = nearest + p * NEAREST;
        size_t found = 0;
        memset(score, 0, vocab * sizeof *score);
        for (i = 0; i < dim; i++) {
            const float *column = columns + i * vocab;
            const float factor = column[s->probes[p]];
            for (t = 0; t < vocab; t++) score[t] += factor * column[t];
        }
        for (t = 0; t < vocab; t++) {
            if (t == s->probes[p] || (found == NEAREST && !(score[t] > score[best[NEAREST - 1]]))) continue;
            if (found < NEAREST) found++;
            for (k = found - 1; k > 0 && score[t] > score[best[k - 1]]; k--) best[k] = best[k - 1];
            best[k] = (uint32_t)t;
        }
    }
    free(columns);
    free(score);
}

/* The mean share of the dense table's neighbours among those of these rows. */
static double neighbours_kept(const subject *s, const float *rows)
{
    uint32_t *nearest = (uint32_t *)bench_alloc(PROBES * NEAREST, sizeof *nearest);
    size_t kept = 0, i, k;
    find_nearest(s, rows, nearest);
    for (i = 0; i < PROBES * NEAREST; i++)
        for (k = 0; k < NEAREST; k++) kept += nearest[i] == s->nearest[i / NEAREST * NEAREST + k];
    free(nearest);
    return (double)kept / (PROBES * NEAREST);
}

/* ---- deciles ---------------------------------------------------------------------------------------- */

static void decile_errors(const subject *s, const float *back, const ranking *by, double errors[DECILES])
{
    const size_t dim = s->table.dim;
    double off[DECILES] = {0}, all[DECILES] = {0};
    size_t i, d;
    for (i = 0; i < s->table.vocab * dim; i++) {
        const double x = (double)s->table.rows[i], difference = x - (double)back[i];
        off[by->decile[i / dim]] += difference * difference;
        all[by->decile[i / dim]] += x * x;
    }
    for (d = 0; d < DECILES; d++) errors[d] = sqrt(off[d] / all[d]);
}

/* ---- one table -------------------------------------------------------------------------------------- */

static subject subject_begin(const named_table *table, const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[1024];
    uint64_t *counts, seed = table->vocab;
    size_t i;
    subject s;
    s.table = *table;
    snprintf(folder, sizeof folder, "%.*s", slash != NULL ? (int)(slash - path) : 1, slash != NULL ? path : ".");
    counts = strcmp(path, "null") == 0 ? NULL : counts_load(folder, table->vocab);
    s.weights = weights_of_counts(counts, table->vocab);
    s.by[BY_FREQUENCY] = ranking_frequency(counts, table->vocab);
    s.by[BY_NORM] = ranking_norm(table->rows, table->vocab, table->dim);
    give(counts);
    s.probes = (uint32_t *)bench_alloc(PROBES, sizeof *s.probes);
    s.nearest = (uint32_t *)bench_alloc(PROBES * NEAREST, sizeof *s.nearest);
    for (i = 0; i < PROBES; i++) s.probes[i] = (uint32_t)(bench_bits(&seed) % table->vocab);
    if (table->vocab <= NEAREST) fail("%s: fewer than %d rows", path, NEAREST + 1);
    find_nearest(&s, table->rows, s.nearest);
    return s;
}

static void subject_end(subject *s)
{
    int i;
    for (i = 0; i < RANKINGS; i++) free(s->by[i].decile);
    free(s->probes);
    free(s->nearest);
    give(s->weights);
}

/* 0 where nothing is as small as that. */
static int stored(const subject *s, const choice *how, outcome *o)
{
    const named_table *t = &s->table;
    const int weighted = strstr(how->method, "weights") != NULL;
    rebuilt back;
    int i;
    if (weighted && s->weights == NULL) return 0;
    if (!method_apply(method_named(how->method), t->rows, t->vocab, t->dim, how->ratio,
                      weighted ? s->weights : NULL, &back))
        return 0;
    o->method = how->method;
    o->ratio = 4.0 * (double)t->vocab * (double)t->dim / back.bytes;
    o->error = relative_off(t->rows, back.rows, t->vocab * t->dim);
    o->kept = neighbours_kept(s, back.rows);
    for (i = 0; i < RANKINGS; i++) decile_errors(s, back.rows, &s->by[i], o->deciles[i]);
    rebuilt_end(&back);
    return 1;
}

/* ---- tables ----------------------------------------------------------------------------------------- */

typedef struct result {
    const subject *s;
    outcome list[BENCH_COUNT(choices)];
    size_t count;
} result;

static void deciles_table(const result *results, size_t count)
{
    static const bench_column columns[] = {{"table", -12, NULL}, {"by", -9, NULL},   {"decile", 6, NULL},
                                           {"method", -16, NULL}, {"ratio", 6, NULL}, {"error", 7, NULL}};
    size_t r, o, d;
    int by;
    bench_table("error_deciles", "relative error of the rows in each tenth of a table (1: the most frequent "
                "tokens; or the longest rows)", columns, BENCH_COUNT(columns));
    for (r = 0; r < count; r++)
        for (by = 0; by < RANKINGS; by++)
            for (o = 0; o < results[r].count; o++)
                for (d = 0; d < DECILES; d++) {
                    bench_text(results[r].s->table.name);
                    bench_text(results[r].s->by[by].by);
                    bench_number((double)d + 1, 0);
                    bench_text(results[r].list[o].method);
                    bench_number(results[r].list[o].ratio, 2);
                    bench_number(results[r].list[o].deciles[by][d], 4);
                }
    bench_table_end();
}

static void neighbours_table(const result *results, size_t count)
{
    static const bench_column columns[] = {{"table", -12, NULL}, {"method", -16, NULL}, {"ratio", 6, NULL},
                                           {"error", 7, NULL},   {"overlap", 7, NULL}};
    size_t r, o;
    bench_table("neighbours", "the share of a row's ten nearest rows by cosine that are among the ten "
                "nearest after compression; of 500 random tokens", columns, BENCH_COUNT(columns));
    for (r = 0; r < count; r++)
        for (o = 0; o < results[r].count; o++) {
            bench_text(results[r].s->table.name);
            bench_text(results[r].list[o].method);
            bench_number(results[r].list[o].ratio, 2);
            bench_number(results[r].list[o].error, 4);
            bench_number(results[r].list[o].kept, 3);
        }
    bench_table_end();
}

int main(int argc, char **argv)
{
    size_t count, i, c;
    named_table *tables = tables_read(argc, argv, &count);
    subject *subjects = (subject *)bench_alloc(count, sizeof *subjects);
    result *results = (result *)bench_alloc(count, sizeof *results);
    bench_begin(argc, argv);
    for (i = 0; i < count; i++) {
        result *r = &results[i];
        subjects[i] = subject_begin(&tables[i], argc > 3 ? argv[3 + i] : "null");
        r->s = &subjects[i];
        for (c = 0; c < BENCH_COUNT(choices); c++) r->count += (size_t)stored(r->s, &choices[c], &r->list[r->count]);
    }
    deciles_table(results, count);
    neighbours_table(results, count);
    for (i = 0; i < count; i++) {
        subject_end(&subjects[i]);
        free(tables[i].rows);
    }
    free(results);
    free(subjects);
    free(tables);
    return 0;
}
