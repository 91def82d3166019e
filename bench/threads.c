/* threads.c: compression and reading with OpenMP. Seconds on one thread and on two, as one waits for
 * them, and whether 1, 2, 3 and 7 threads leave the same bytes. Reading has a limit of its own, what two
 * threads gain when they do no more than read the dense table. The fastest of five runs counts: a program
 * beside this one takes a core away from the others. The first and the last row divide plain
 * arithmetic among the threads and so say what the machine has to give. Exits with 1 when the bytes
 * differ, and when two threads are not 1.7 times as fast with the whole table although arithmetic
 * gained 1.9 times before and after; or reading gains less than 1.7 and less than nine tenths of its limit.
 */
#include "bench.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "loads.h"
#include "bars.h"
#include "views.h"

#include <omp.h>

#define LEAST_SECONDS 0.2
#define FREE_MACHINE 1.9
#define LEAST_SPEEDUP 1.7

static const int threads[] = {1, 2, 3, 7};
enum { TRIALS = 4 };

typedef struct job {
    const bench_load *load;    /* NULL: plain arithmetic */
    const float *table;
    int threads;
    double sum;
    tte_image image;
} job;

static void run_arithmetic(void *context)
{
    job *j = (job *)context;
    double sum = 0;
    int i;
    omp_set_num_threads(j->threads);
#pragma omp parallel for reduction(+ : sum)
    for (i = 1; i < 10000000; i++) sum += 1.0 / i;
    j->sum = sum;
}

static void run_compress(void *context)
{
    job *j = (job *)context;
    omp_set_num_threads(j->threads);
    tte_free(&j->image);
    load_compress(j->load, j->table, j->load->rows, &j->image);
}

/* One row of the table; *differ becomes 1 when the images do. Returns what two threads gain. */
static double measure(const bench_load *load, int *differ)
{
    float *table = load != NULL ? load_table(load) : NULL;
    bench_peer peers[TRIALS];
    job jobs[TRIALS];
    size_t i;
    int same = 1;
    memset(jobs, 0, sizeof jobs);
    for (i = 0; i < TRIALS; i++) {
        jobs[i].load = load;
        jobs[i].table = table;
        jobs[i].threads = threads[i];
        peers[i].run = load != NULL ? run_compress : run_arithmetic;
        peers[i].context = &jobs[i];
    }
    bench_race(peers, 2, CLOCK_MONOTONIC, LEAST_SECONDS);
    for (i = 2; i < TRIALS; i++) peers[i].run(&jobs[i]);
    for (i = 1; load != NULL && i < TRIALS; i++)
        same = same && jobs[i].image.size == jobs[0].image.size &&
               memcmp(jobs[i].image.data, jobs[0].image.data, jobs[0].image.size) == 0;

    bench_text(load != NULL ? load->name : "arithmetic alone");
    bench_number(load != NULL ? (double)load->rows : bench_nothing(), 0);
    bench_number(peers[0].fastest, 4);
    bench_number(peers[1].fastest, 4);
    bench_number(peers[0].fastest / peers[1].fastest, 2);
    bench_text(load == NULL ? "" : same ? "yes" : "NO");
    for (i = 0; i < TRIALS; i++) tte_free(&jobs[i].image);
    free(table);
    *differ = *differ || !same;
    return peers[0].fastest / peers[1].fastest;
}

/* ---- reading -------------------------------------------------------------------------------- */

enum { READ_VOCAB = 50257, READ_BATCH = 4096, READ_BEST = 100 };

typedef struct read_job {
    const float *dense;
    const tte_table *view;
    const uint32_t *tokens;
    int threads;
    float *out, *scratch, *hidden;  /* out: rows of a batch, or scores */
    uint32_t best[READ_BEST];
} read_job;

static void run_dense(void *context)
{
    read_job *j = (read_job *)context;
    float total = 0;
    int i;
    omp_set_num_threads(j->threads);
#pragma omp parallel for reduction(+ : total)
    for (i = 0; i < READ_VOCAB; i++) {
        const float *row = j->dense + (size_t)i * LOAD_DIM;
        float sum[16] = {0};
        int l, k;
        for (l = 0; l < LOAD_DIM; l += 16)
            for (k = 0; k < 16; k++) sum[k] += row[l + k] * j->hidden[l + k];
        for (k = 0; k < 16; k++) total += sum[k];
    }
    j->out[0] = total;
}

static void run_batch(void *context)
{
    read_job *j = (read_job *)context;
    omp_set_num_threads(j->threads);
    if (tte_lookup_batch(j->view, j->tokens, READ_BATCH, j->out, j->scratch) != TTE_OK)
        bench_stop("tte_lookup_batch", "fails");
}

static void run_logits(void *context)
{
    read_job *j = (read_job *)context;
    omp_set_num_threads(j->threads);
    if (tte_logits(j->view, j->hidden, 0, READ_VOCAB, j->out, j->scratch) != TTE_OK)
        bench_stop("tte_logits", "fails");
}

static void run_best(void *context)
{
    read_job *j = (read_job *)context;
    omp_set_num_threads(j->threads);
    if (tte_top_k(j->view, j->hidden, READ_BEST, j->best, j->out, j->scratch) != TTE_OK)
        bench_stop("tte_top_k", "fails");
}

/* One way to read, on 1 and 2 threads; returns the gain. `limit` is 0 for the row that is the limit. */
static double read_row(const char *image, const char *what, void (*run)(void *), const float *dense,
                       const tte_table *view, size_t len, double limit, int *differ)
{
    bench_peer peers[2];
    read_job jobs[TRIALS];
    uint32_t tokens[READ_BATCH];
    uint64_t state = 1;
    size_t i;
    double gain;
    int same = 1;
    for (i = 0; i < READ_BATCH; i++) tokens[i] = (uint32_t)(bench_bits(&state) % READ_VOCAB);
    memset(jobs, 0, sizeof jobs);
    for (i = 0; i < TRIALS; i++) {
        jobs[i].dense = dense;
        jobs[i].view = view;
        jobs[i].tokens = tokens;
        jobs[i].threads = threads[i];
        jobs[i].out = (float *)bench_alloc(len, sizeof(float));
        jobs[i].scratch = (float *)bench_alloc(view != NULL ? tte_scratch_len(view) : 1, sizeof(float));
        jobs[i].hidden = bench_gaussian_table(1, LOAD_DIM);
        if (i < 2) peers[i].run = run, peers[i].context = &jobs[i];
    }
    bench_race(peers, 2, CLOCK_MONOTONIC, LEAST_SECONDS);
    for (i = 2; i < TRIALS; i++) run(&jobs[i]);
    for (i = 1; view != NULL && i < TRIALS; i++)
        same = same && memcmp(jobs[i].out, jobs[0].out, len * sizeof(float)) == 0 &&
               memcmp(jobs[i].best, jobs[0].best, sizeof jobs[0].best) == 0;
    gain = peers[0].fastest / peers[1].fastest;
    bench_text(image);
    bench_text(what);
    bench_number(1e3 * peers[0].fastest, 2);
    bench_number(1e3 * peers[1].fastest, 2);
    bench_number(gain, 2);
    bench_text(view == NULL ? "" : same ? "yes" : "NO");
    if (limit > 0)
        bar_add(image, what, 0, 1 / gain, 1 / fmin(LEAST_SPEEDUP, 0.9 * limit));
    for (i = 0; i < TRIALS; i++) free(jobs[i].out), free(jobs[i].scratch), free(jobs[i].hidden);
    *differ = *differ || !same;
    return gain;
}

static int read_rows(int *differ)
{
    static const bench_column columns[] = {
        {"image", -16, NULL},          {"what", -24, NULL},     {"1 thread", 10, "milliseconds"},
        {"2 threads", 10, "milliseconds"},  {"speedup", 8, NULL}, {"same bits", 10, NULL}};
    static const struct { const char *name; const bench_load *load; tte_coding coding; } images[] = {
        {"table I8", &load_whole, TTE_I8}, {"table I4", &load_whole, TTE_I4},
        {"table ENTROPY", &load_whole, TTE_ENTROPY}, {"12x64 cap 4 F32", &loads[0], TTE_F32}};
    float *dense = bench_spectrum_table(READ_VOCAB, LOAD_DIM);
    double limit;
    size_t i;
    bench_table("threads_read", "reading 50257 x 768 with OpenMP, fastest of 5 runs", columns,
                BENCH_COUNT(columns));
    limit = read_row("dense", "products with all rows", run_dense, dense, NULL, 1, 0, differ);
    for (i = 0; i < BENCH_COUNT(images); i++) {
        tte_image image;
        tte_table view;
        load_compress_as(images[i].load, images[i].coding, dense, READ_VOCAB, &image);
        view = open_image(images[i].name, &image);
        read_row(images[i].name, "a batch of 4096", run_batch, dense, &view, (size_t)READ_BATCH * LOAD_DIM,
                 limit, differ);
        read_row(images[i].name, "logits", run_logits, dense, &view, READ_VOCAB, limit, differ);
        read_row(images[i].name, "the best 100", run_best, dense, &view, READ_BEST, limit, differ);
        tte_free(&image);
    }
    bench_table_end();
    free(dense);
    return bars_report("threads");
}

int main(int argc, char **argv)
{
    static const bench_column columns[] = {
        {"shape", -16, NULL},          {"rows", 6, NULL},    {"1 thread", 10, "seconds"},
        {"2 threads", 10, "seconds"},  {"speedup", 8, NULL}, {"same bytes", 11, NULL}};
    double arithmetic, whole;
    int differ = 0, slow, missed;
    size_t l;
    bench_begin(argc, argv);
    bench_table("threads",
                "compression of rows of width 768 with OpenMP, fastest of 5 runs",
                columns, BENCH_COUNT(columns));
    arithmetic = measure(NULL, &differ);
    for (l = 0; l < BENCH_COUNT(loads); l++) (void)measure(&loads[l], &differ);
    whole = measure(&load_whole, &differ);
    arithmetic = fmin(arithmetic, measure(NULL, &differ));
    bench_table_end();
    missed = read_rows(&differ);
    slow = arithmetic >= FREE_MACHINE && !(whole >= LEAST_SPEEDUP);
    if (differ) fprintf(stderr, "threads: the number of threads changes the bytes\n");
    if (slow) fprintf(stderr, "threads: the whole table gains less than %g\n", LEAST_SPEEDUP);
    return differ || slow || missed > 0;
}
