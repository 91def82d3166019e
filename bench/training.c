/* training.c: what learning from a table takes, beside LAPACK and BLAS, one thread.
 *
 *     training [DIRECTORY [STAMP [FILE]]]
 *
 *   training_eigen  the symmetric eigenproblems of learning, Gram matrices of Gaussian rows, beside dsyevd, with the
 *                   residual and orthogonality of both
 *   training        tte_train of FILE's table, or of 65,536 made rows of 640, beside the Gram matrix of its rows alone,
 *                   by sgemm, as a product, and by ssyrk, one half of it
 *
 * Times are processor time, the median of five runs; runs of peers alternate. Exits with 1 when a goal is missed.
 */
#include "bench.h"
#include "bars.h"
#include "lapack.h"
#include "ratios.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "tables.h"

#define EIGEN 2.0       /* times dsyevd                  */
#define TRAINING 2.5    /* times the Gram matrix alone   */

/* ---- eigenproblems --------------------------------------------------------------------------- */

typedef struct eigen_job {
    size_t n;
    const double *matrix;
    double *a, *values;      /* vectors in rows of a */
    void *work;
    size_t bytes;            /* of work */
} eigen_job;

static void eigen_tt_embed(void *context)
{
    eigen_job *j = (eigen_job *)context;
    memcpy(j->a, j->matrix, j->n * j->n * sizeof *j->a);
    if (!ttei_eigen(j->n, j->a, j->values, j->work)) bench_stop("ttei_eigen", "no convergence");
}

#ifdef BENCH_LAPACK
/* A symmetric matrix is its own transpose, and columns of the result are rows of the array. */
static void eigen_dsyevd(void *context)
{
    eigen_job *j = (eigen_job *)context;
    const int n = (int)j->n, ints = 3 + 5 * n, doubles = (int)((j->bytes - (size_t)ints * sizeof(int)) / sizeof(double));
    double *work = (double *)j->work;
    int info = 0;
    memcpy(j->a, j->matrix, j->n * j->n * sizeof *j->a);
    dsyevd_("V", "U", &n, j->a, &n, j->values, work, &doubles, (int *)(work + doubles), &ints, &info, 1, 1);
    lapack_must(info, "dsyevd");
}
#endif

/* Residual and orthogonality of what a run leaves, as of the decomposition a = u diag(s) vt. */
static void eigen_ratios(const eigen_job *j, double ratios[RATIOS])
{
    const size_t n = j->n, falls = j->values[0] >= j->values[n - 1];
    double *u = (double *)bench_alloc(n * n, sizeof *u), *vt = (double *)bench_alloc(n * n, sizeof *vt);
    double *s = (double *)bench_alloc(n, sizeof *s);
    size_t i, k;
    for (k = 0; k < n; k++) {
        const size_t of = falls ? k : n - 1 - k;
        s[k] = j->values[of];
        for (i = 0; i < n; i++) vt[k * n + i] = u[i * n + k] = j->a[of * n + i];
    }
    ratio_all(n, n, DBL_EPSILON, j->matrix, u, s, vt, NULL, ratios);
    free(u);
    free(vt);
    free(s);
}

static void eigen_row(size_t n)
{
    float *rows = bench_gaussian_table(2 * n, n);
    double *matrix = (double *)bench_alloc(n * n, sizeof *matrix), ratios[2][RATIOS];
    const size_t doubles = 1 + 6 * n + 2 * n * n, ints = 3 + 5 * n;
    ttei_svd_room unused;
    eigen_job j;
    bench_peer peers[2];
    size_t count = 1, p;
    char name[32];
    ttei_gram_add(2 * n, n, rows, NULL, matrix);
    ttei_mirror(n, matrix);
    memset(&j, 0, sizeof j);
    j.n = n;
    j.matrix = matrix;
    j.bytes = ttei_max(ttei_svd_carve(1, n, n, NULL, &unused), doubles * sizeof(double) + ints * sizeof(int));
    j.bytes = (j.bytes + 7) / 8 * 8 + ints % 2 * sizeof(int);  /* doubles, then integers, fill it */
    j.a = (double *)bench_alloc(n * n, sizeof *j.a);
    j.values = (double *)bench_alloc(n, sizeof *j.values);
    j.work = bench_alloc(j.bytes, 1);
    peers[0].run = eigen_tt_embed;
    peers[0].context = peers[1].context = &j;
    peers[1].median = ratios[1][RATIO_RESIDUAL] = ratios[1][RATIO_LEFT] = bench_nothing();
#ifdef BENCH_LAPACK
    peers[1].run = eigen_dsyevd;
    count = 2;
#endif
    bench_race(peers, count, CLOCK_PROCESS_CPUTIME_ID, 0.1);
    for (p = 0; p < count; p++) {
        peers[p].run(&j);
        eigen_ratios(&j, ratios[p]);
    }
    bench_number((double)n, 0);
    for (p = 0; p < 2; p++) bench_number(1e3 * peers[p].median, 2);
    bench_number(peers[0].median / peers[1].median, 2);
    for (p = 0; p < 2; p++) {
        bench_number(ratios[p][RATIO_RESIDUAL], 3);
        bench_number(ratios[p][RATIO_LEFT], 3);
    }
    snprintf(name, sizeof name, "%zu columns", n);
    if (count == 2) bar_add(name, "times dsyevd", 0, peers[0].median / peers[1].median, EIGEN);
    free(rows);
    free(matrix);
    free(j.a);
    free(j.values);
    free(j.work);
}

static void eigen_table(void)
{
    static const bench_column columns[] = {
        {"columns", 7, NULL}, {"tt_embed", 9, "milliseconds"}, {"dsyevd", 9, "milliseconds"}, {"times dsyevd", 12, NULL},
        {"residual", 9, "tt_embed ratios"}, {"orthogonality", 13, "tt_embed ratios"},
        {"residual", 9, "dsyevd ratios"},   {"orthogonality", 13, "dsyevd ratios"}};
    static const size_t sizes[] = {128, 256, 640, 768, 1024, 2048};
    size_t i;
    bench_table("training_eigen", "eigenvectors of one symmetric matrix, one thread", columns, BENCH_COUNT(columns));
    for (i = 0; i < BENCH_COUNT(sizes); i++) eigen_row(sizes[i]);
    bench_table_end();
}

/* ---- learning ---------------------------------------------------------------------------------- */

typedef struct train_job {
    named_table table;
    float *gram;
} train_job;

static int rows_of(void *user, size_t first, size_t count, float *dst)
{
    const train_job *j = (const train_job *)user;
    memcpy(dst, j->table.rows + first * j->table.dim, count * j->table.dim * sizeof *dst);
    return 0;
}

static void train(void *context)
{
    train_job *j = (train_job *)context;
    tte_options options;
    tte_image image;
    tte_status status;
    memset(&options, 0, sizeof options);
    options.ratio = 16;
    status = tte_train(rows_of, j, j->table.vocab, j->table.dim, &options, &image);
    if (status != TTE_OK) bench_stop("tte_train", tte_status_text(status));
    tte_free(&image);
}

#ifdef BENCH_LAPACK
static void gram_sgemm(void *context)  /* read by columns, the table is its transpose */
{
    const train_job *j = (const train_job *)context;
    const int n = (int)j->table.dim, k = (int)j->table.vocab;
    const float one = 1, zero = 0;
    sgemm_("N", "T", &n, &n, &k, &one, j->table.rows, &n, j->table.rows, &n, &zero, j->gram, &n, 1, 1);
}

static void gram_ssyrk(void *context)
{
    const train_job *j = (const train_job *)context;
    const int n = (int)j->table.dim, k = (int)j->table.vocab;
    const float one = 1, zero = 0;
    ssyrk_("U", "N", &n, &k, &one, j->table.rows, &n, &zero, j->gram, &n, 1, 1);
}
#endif

static void train_table(const char *path)
{
    static const bench_column columns[] = {
        {"table", -24, NULL},        {"rows", 7, NULL},   {"columns", 7, NULL},         {"training", 8, "seconds"},
        {"sgemm", 8, "seconds"}, {"ssyrk", 8, "seconds"}, {"times sgemm", 11, NULL}};
    bench_peer peers[3];
    train_job j;
    size_t count = 1, p;
    if (path != NULL) {
        j.table = table_read(path);
    } else {
        snprintf(j.table.name, sizeof j.table.name, "a model's spectrum");
        j.table.vocab = 65536;
        j.table.dim = 640;
        j.table.rows = bench_spectrum_table(j.table.vocab, j.table.dim);
    }
    j.gram = (float *)bench_alloc(j.table.dim * j.table.dim, sizeof *j.gram);
    for (p = 0; p < 3; p++) {
        peers[p].context = &j;
        peers[p].median = bench_nothing();
    }
    peers[0].run = train;
#ifdef BENCH_LAPACK
    peers[1].run = gram_sgemm;
    peers[2].run = gram_ssyrk;
    count = 3;
#endif
    bench_table("training", "tte_train, 16 times smaller, beside the Gram matrix of all rows, one thread", columns,
                BENCH_COUNT(columns));
    bench_race(peers, count, CLOCK_PROCESS_CPUTIME_ID, 0);
    bench_text(j.table.name);
    bench_number((double)j.table.vocab, 0);
    bench_number((double)j.table.dim, 0);
    for (p = 0; p < 3; p++) bench_number(peers[p].median, 2);
    bench_number(peers[0].median / peers[1].median, 2);
    bench_table_end();
    if (count > 1) bar_add("training", "times the Gram matrix by sgemm", 0, peers[0].median / peers[1].median, TRAINING);
    free(j.table.rows);
    free(j.gram);
}

int main(int argc, char **argv)
{
    bench_begin(argc, argv);
    eigen_table();
    train_table(argc > 3 ? argv[3] : NULL);
    return bars_report("training") > 0;
}
