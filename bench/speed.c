/* speed.c: tt_embed against LAPACK on one thread, in two tables.
 *
 *   speed_rows   per-token TT-SVD through tte_compress, in tokens per second, beside a loop over
 *                sgesdd that does the same; the errors they leave stand in the same row and must agree
 *   speed_svd    one tte_svd_f32 at a time beside sgesdd, with the residual of both
 *
 * Times are processor time, the median of five runs; runs of peers alternate. Exits with 1 when the
 * errors of the peers differ, since speeds of different results cannot be compared.
 */
#include "bench.h"
#include "lapack.h"
#include "ratios.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "tables.h"
#include "loads.h"

#define LEAST_SECONDS 0.2

/* ---- a loop over rows, as one would write it with LAPACK -------------------------------- */

typedef struct job {
    const bench_load *load;
    size_t rows, entries, numbers;        /* entries of a padded row, numbers in its cores */
    int32_t ranks[TTE_MAX_MODES + 1];     /* of every row */
    const float *table;
    tte_image image;                      /* by tt_embed */
    float *cores;                         /* by a loop: rows x numbers */
    float *x, *u, *s, *vt;                /* one row's rooms */
#ifdef BENCH_LAPACK
    lapack_room room;
#endif
} job;

static void job_drop(job *j)
{
    tte_free(&j->image);
    free(j->cores);
    free(j->x);
    free(j->u);
    free(j->s);
    free(j->vt);
#ifdef BENCH_LAPACK
    lapack_room_drop(&j->room);
#endif
}

static void job_begin(job *j, const bench_load *load, const float *table, size_t rows)
{
    const tte_shape *shape = &load->shape;
    size_t rest = 1;
    int k;
    memset(j, 0, sizeof *j);
    j->load = load;
    j->rows = rows;
    j->table = table;
    for (k = 0; k < shape->modes; k++) rest *= (size_t)shape->dim[k];
    j->entries = rest;
    j->ranks[0] = 1;
    for (k = 0; k < shape->modes; k++) {
        size_t m = (size_t)(j->ranks[k] * shape->dim[k]), r = (size_t)load->cap;
        rest /= (size_t)shape->dim[k];
        if (m < r) r = m;
        if (rest < r) r = rest;
        j->ranks[k + 1] = (int32_t)r;
        j->numbers += m * r;
#ifdef BENCH_LAPACK
        lapack_sgesdd_room((int)m, (int)rest, &j->room);
#endif
    }
    j->x = (float *)bench_alloc(j->entries, sizeof(float));
    j->u = (float *)bench_alloc(j->entries, sizeof(float));
    j->s = (float *)bench_alloc(j->entries, sizeof(float));
    j->vt = (float *)bench_alloc(j->entries, sizeof(float));
}

static void run_tt_embed(void *context)
{
    job *j = (job *)context;
    tte_free(&j->image);
    load_compress(j->load, TTE_F32, j->table, j->rows, &j->image);
}

#ifdef BENCH_LAPACK

/* TT-SVD of one row with an sgesdd for each bond. */
static void row_by_sgesdd(job *j, const float *row, float *core)
{
    const tte_shape *shape = &j->load->shape;
    size_t rest = j->entries, k, i, a;
    float *x = j->x;
    memcpy(x, row, LOAD_DIM * sizeof *x);
    memset(x + LOAD_DIM, 0, (j->entries - LOAD_DIM) * sizeof *x);
    for (k = 0; k + 1 < (size_t)shape->modes; k++) {
        size_t m = (size_t)(j->ranks[k] * shape->dim[k]), r = (size_t)j->ranks[k + 1], full;
        rest /= (size_t)shape->dim[k];
        full = m < rest ? m : rest;
        lapack_must(lapack_sgesdd((int)m, (int)rest, x, j->u, j->s, j->vt, &j->room), "sgesdd");
        for (i = 0; i < m; i++)
            for (a = 0; a < r; a++) *core++ = j->u[i * full + a];
        for (a = 0; a < r; a++)
            for (i = 0; i < rest; i++) x[a * rest + i] = j->s[a] * j->vt[a * rest + i];
    }
    memcpy(core, x, (size_t)j->ranks[k] * rest * sizeof *core);
}

/* Like tte_compress, it puts its result into memory of its own, new in every run. */
static void run_sgesdd(void *context)
{
    job *j = (job *)context;
    float *core = (float *)bench_alloc(j->rows * j->numbers, sizeof *core);
    size_t t;
    free(j->cores);
    j->cores = core;
    for (t = 0; t < j->rows; t++)
        row_by_sgesdd(j, j->table + t * LOAD_DIM, core + t * j->numbers);
}

#endif

/* ---- what they leave: |W - W^| / |W| ---------------------------------------------------- */

static double error_of(const job *j, void (*row_of)(const job *, size_t, float *))
{
    float *row = (float *)bench_alloc(j->entries, sizeof *row);
    double error = 0, norm = 0;
    size_t t, i;
    for (t = 0; t < j->rows; t++) {
        row_of(j, t, row);
        for (i = 0; i < LOAD_DIM; i++) {
            double x = (double)j->table[t * LOAD_DIM + i], off = x - (double)row[i];
            error += off * off;
            norm += x * x;
        }
    }
    free(row);
    return sqrt(error / norm);
}

static void row_of_image(const job *j, size_t t, float *row)
{
    tte_table view;
    float *scratch;
    if (tte_open(&view, j->image.data, j->image.size) != TTE_OK) exit(2);
    scratch = (float *)bench_alloc(tte_scratch_len(&view), sizeof *scratch);
    if (tte_lookup(&view, (uint32_t)t, row, scratch) != TTE_OK) exit(2);
    free(scratch);
}

static void row_of_cores(const job *j, size_t t, float *row)
{
    const tte_shape *shape = &j->load->shape;
    size_t len = tte_reconstruct_len(shape, j->ranks);
    float *scratch = (float *)bench_alloc(len, sizeof *scratch);
    if (tte_reconstruct(shape, j->ranks, j->cores + t * j->numbers, row, scratch) != TTE_OK)
        exit(2);
    free(scratch);
}

/* ---- table 1: rows ---------------------------------------------------------------------- */

enum { OURS, SGESDD, ROW_PEERS };

typedef struct outcome { double seconds[ROW_PEERS], error[ROW_PEERS]; } outcome;

/* Returns how far the errors are apart, relatively. */
static double rows_measure(const bench_load *load, const float *table, size_t rows, outcome *out)
{
    job jobs[ROW_PEERS];
    bench_peer peers[ROW_PEERS];
    size_t count = 1, p;
    double apart = 0;
    for (p = 0; p < ROW_PEERS; p++) {
        job_begin(&jobs[p], load, table, rows);
        out->seconds[p] = out->error[p] = bench_nothing();
        peers[p].context = &jobs[p];
    }
    peers[OURS].run = run_tt_embed;
#ifdef BENCH_LAPACK
    peers[SGESDD].run = run_sgesdd;
    count = 2;
#endif
    bench_race(peers, count, CLOCK_PROCESS_CPUTIME_ID, LEAST_SECONDS);
    for (p = 0; p < count; p++) {
        out->seconds[p] = peers[p].median;
        out->error[p] = error_of(&jobs[p], p == OURS ? row_of_image : row_of_cores);
        apart = fmax(apart, fabs(out->error[p] / out->error[OURS] - 1));
    }
    for (p = 0; p < ROW_PEERS; p++) job_drop(&jobs[p]);
    return apart;
}

static int rows_table(void)
{
    static const bench_column columns[] = {
        {"shape", -16, NULL},            {"rows", 6, NULL},
        {"tt_embed", 10, "tokens/s"},    {"sgesdd", 10, "tokens/s"},
        {"sgesdd", 8, "times faster than"}, {"tt_embed", 9, "relative error"},
        {"sgesdd", 9, "relative error"}};
    int differ = 0;
    size_t l, p;
    bench_table("speed_rows", "per-token TT-SVD of Gaussian rows of width 768, one thread", columns,
                BENCH_COUNT(columns));
    for (l = 0; l < BENCH_COUNT(loads); l++) {
        const bench_load *load = &loads[l];
        float *table = bench_gaussian_table(load->rows, LOAD_DIM);
        outcome out;
        if (!(rows_measure(load, table, load->rows, &out) <= 1e-4)) differ++;
        bench_text(load->name);
        bench_number((double)load->rows, 0);
        for (p = 0; p < ROW_PEERS; p++) bench_number((double)load->rows / out.seconds[p], 0);
        for (p = 1; p < ROW_PEERS; p++) bench_number(out.seconds[p] / out.seconds[OURS], 2);
        for (p = 0; p < ROW_PEERS; p++) bench_number(out.error[p], 5);
        free(table);
    }
    bench_table_end();
    if (differ > 0) fprintf(stderr, "speed: the errors of the peers differ in %d rows\n", differ);
    return differ;
}

/* ---- table 2: one decomposition at a time ----------------------------------------------- */

typedef struct svd_pool {
    int m, n;
    size_t count, next;        /* matrices taken in turn, so that no branch is learnt by heart */
    const float *matrices;
    float *a, *u, *s, *vt;
    void *work;
#ifdef BENCH_LAPACK
    lapack_room room;
#endif
} svd_pool;

static const float *pool_next(svd_pool *pool)
{
    const float *a = pool->matrices + pool->next * (size_t)pool->m * (size_t)pool->n;
    pool->next = (pool->next + 1) % pool->count;
    return a;
}

static void svd_tt_embed(void *context)
{
    svd_pool *pool = (svd_pool *)context;
    tte_status status = tte_svd_f32(pool->m, pool->n, pool_next(pool), pool->u, pool->s, pool->vt,
                                    pool->work);
    if (status != TTE_OK) bench_stop("tte_svd_f32", tte_status_text(status));
}

#ifdef BENCH_LAPACK
static void svd_sgesdd(void *context)  /* keeps its input too */
{
    svd_pool *pool = (svd_pool *)context;
    memcpy(pool->a, pool_next(pool), (size_t)pool->m * (size_t)pool->n * sizeof *pool->a);
    lapack_must(lapack_sgesdd(pool->m, pool->n, pool->a, pool->u, pool->s, pool->vt,
                              &pool->room), "sgesdd");
}
#endif

/* The ratios of the pool's first matrix. */
static void pool_ratios(svd_pool *pool, void (*run)(void *), double ratios[RATIOS])
{
    size_t m = (size_t)pool->m, n = (size_t)pool->n, k = m < n ? m : n, i;
    double *a = (double *)bench_alloc(m * n, sizeof *a);
    double *u = (double *)bench_alloc(m * k, sizeof *u);
    double *s = (double *)bench_alloc(k, sizeof *s);
    double *vt = (double *)bench_alloc(k * n, sizeof *vt);
    pool->next = 0;
    run(pool);
    for (i = 0; i < m * n; i++) a[i] = (double)pool->matrices[i];
    for (i = 0; i < m * k; i++) u[i] = (double)pool->u[i];
    for (i = 0; i < k; i++) s[i] = (double)pool->s[i];
    for (i = 0; i < k * n; i++) vt[i] = (double)pool->vt[i];
    ratio_all(m, n, (double)FLT_EPSILON, a, u, s, vt, NULL, ratios);
    free(a);
    free(u);
    free(s);
    free(vt);
}

static void svd_row(int m, int n)
{
    size_t rows = (size_t)m, cols = (size_t)n, k = rows < cols ? rows : cols, count = 1, p;
    svd_pool pool;
    bench_peer peers[2];
    double ratios[2][RATIOS];
    char name[32];
    float *matrices;
    memset(&pool, 0, sizeof pool);
    pool.m = m;
    pool.n = n;
    pool.count = 65536 / (rows * cols);
    pool.count = pool.count < 1 ? 1 : pool.count > 256 ? 256 : pool.count;
    pool.matrices = matrices = bench_gaussian_table(pool.count * rows, cols);
    pool.a = (float *)bench_alloc(rows * cols, sizeof(float));
    pool.u = (float *)bench_alloc(rows * k, sizeof(float));
    pool.s = (float *)bench_alloc(k, sizeof(float));
    pool.vt = (float *)bench_alloc(k * cols, sizeof(float));
    pool.work = bench_alloc(tte_svd_f32_work(m, n), 1);
    peers[0].run = svd_tt_embed;
    peers[0].context = peers[1].context = &pool;
    peers[1].median = ratios[1][RATIO_RESIDUAL] = bench_nothing();
    ratios[1][RATIO_LEFT] = ratios[1][RATIO_RIGHT] = bench_nothing();
#ifdef BENCH_LAPACK
    lapack_sgesdd_room(m, n, &pool.room);
    peers[1].run = svd_sgesdd;
    count = 2;
#endif
    bench_race(peers, count, CLOCK_PROCESS_CPUTIME_ID, LEAST_SECONDS / 2);
    for (p = 0; p < count; p++) pool_ratios(&pool, peers[p].run, ratios[p]);
    snprintf(name, sizeof name, "%dx%d", m, n);
    bench_text(name);
    bench_number(1e6 * peers[0].median, 2);
    bench_number(1e6 * peers[1].median, 2);
    bench_number(peers[1].median / peers[0].median, 2);
    for (p = 0; p < 2; p++) {
        bench_number(ratios[p][RATIO_RESIDUAL], 2);
        bench_number(fmax(ratios[p][RATIO_LEFT], ratios[p][RATIO_RIGHT]), 2);
    }
    free(matrices);
    free(pool.a);
    free(pool.u);
    free(pool.s);
    free(pool.vt);
    free(pool.work);
#ifdef BENCH_LAPACK
    lapack_room_drop(&pool.room);
#endif
}

static void svd_table(void)
{
    static const bench_column columns[] = {
        {"size", -10, NULL},          {"tt_embed", 11, "microseconds"},
        {"sgesdd", 11, "microseconds"}, {"times faster", 13, NULL},
        {"residual", 9, "tt_embed ratios"}, {"orthogonality", 13, "tt_embed ratios"},
        {"residual", 9, "sgesdd ratios"},   {"orthogonality", 13, "sgesdd ratios"}};
    static const int sizes[][2] = {{3, 3},   {4, 4},   {6, 6},   {8, 8},    {12, 12},
                                   {16, 16}, {24, 24}, {32, 32}, {48, 48},  {64, 64},
                                   {3, 256}, {4, 192}, {12, 64}, {24, 32},  {64, 256},
                                   {128, 128}, {256, 256}, {768, 768}};
    size_t i;
    bench_table("speed_svd", "one tte_svd_f32 at a time, Gaussian matrices, one thread", columns,
                BENCH_COUNT(columns));
    for (i = 0; i < BENCH_COUNT(sizes); i++) svd_row(sizes[i][0], sizes[i][1]);
    bench_table_end();
}

int main(int argc, char **argv)
{
    int differ;
    bench_begin(argc, argv);
    differ = rows_table();
    svd_table();
    return differ > 0;
}
