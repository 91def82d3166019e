/* threads.c: with OpenMP, trains a row compressed and tables read on one thread and on two, as one waits for them,
 * and whether 1, 2, 3 and 7 threads give the same bytes. (`costs` has compression of a whole table.) The fastest
 * of five runs counts: a program beside this one takes a core away from the others. The first row multiplies with
 * the dense table, which is what the machine has to give. Exits with 1 when bytes differ, and where two threads
 * gain less than 1.7 and less than nine tenths of the first row's gain.
 */
#include "bench.h"
#include "bars.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "tables.h"
#include "loads.h"
#include "views.h"

#include <omp.h>

#define LEAST_SECONDS 0.2
#define LEAST_GAIN 1.7
#define BATCH 4096
#define BEST 100

static const int threads[] = {1, 2, 3, 7};
enum { TRIALS = 4 };

typedef struct job {
    const float *dense;
    const tte_table *view;
    const bench_load *load;
    int threads;
    float *out, *scratch, *hidden;   /* out: rows of a batch, or scores */
    uint32_t *tokens, best[BEST];
    tte_image image;
} job;

static void run_dense(void *context)
{
    job *j = (job *)context;
    float total = 0;
    int i;
    omp_set_num_threads(j->threads);
#pragma omp parallel for reduction(+ : total)
    for (i = 0; i < LOAD_VOCAB; i++) {
        const float *row = j->dense + (size_t)i * LOAD_DIM;
        float sum[16] = {0};
        int l, k;
        for (l = 0; l < LOAD_DIM; l += 16)
            for (k = 0; k < 16; k++) sum[k] += row[l + k] * j->hidden[l + k];
        for (k = 0; k < 16; k++) total += sum[k];
    }
    j->scratch[0] = total;
}

static void run_compress(void *context)
{
    job *j = (job *)context;
    omp_set_num_threads(j->threads);
    tte_free(&j->image);
    load_compress(j->load, TTE_I8, j->dense, j->load->rows, &j->image);
}

static void run_batch(void *context)
{
    job *j = (job *)context;
    omp_set_num_threads(j->threads);
    if (tte_lookup_batch(j->view, j->tokens, BATCH, j->out, j->scratch) != TTE_OK)
        bench_stop("tte_lookup_batch", "fails");
}

static void run_logits(void *context)
{
    job *j = (job *)context;
    omp_set_num_threads(j->threads);
    if (tte_logits(j->view, j->hidden, 0, LOAD_VOCAB, j->out, j->scratch) != TTE_OK) bench_stop("tte_logits", "fails");
}

static void run_best(void *context)
{
    job *j = (job *)context;
    omp_set_num_threads(j->threads);
    if (tte_top_k(j->view, j->hidden, BEST, j->best, j->out, j->scratch) != TTE_OK) bench_stop("tte_top_k", "fails");
}

static int same_result(const job *a, const job *b)
{
    return memcmp(a->out, b->out, (size_t)BATCH * LOAD_DIM * sizeof(float)) == 0 &&
           memcmp(a->best, b->best, sizeof a->best) == 0 && a->image.size == b->image.size &&
           (a->image.size == 0 || memcmp(a->image.data, b->image.data, a->image.size) == 0);
}

/* One kind of work; returns the gain. `limit` is 0 for the row that is the limit. */
static double measure(const char *image, const char *what, void (*run)(void *), const job *work, double limit,
                      int *differ)
{
    bench_peer peers[2];
    job jobs[TRIALS];
    uint64_t state = 1;
    size_t i, k;
    double gain;
    int same = 1;
    for (i = 0; i < TRIALS; i++) {
        job *j = &jobs[i];
        *j = *work;
        j->threads = threads[i];
        j->tokens = (uint32_t *)bench_alloc(BATCH, sizeof *j->tokens);
        for (k = 0; k < BATCH; k++) j->tokens[k] = (uint32_t)((i == 0 ? bench_bits(&state) : jobs[0].tokens[k]) % LOAD_VOCAB);
        j->out = (float *)bench_alloc((size_t)BATCH * LOAD_DIM, sizeof(float));
        j->scratch = (float *)bench_alloc(j->view != NULL ? tte_scratch_len(j->view) : 1, sizeof(float));
        j->hidden = bench_gaussian_table(1, LOAD_DIM);
        if (i < 2) peers[i].run = run, peers[i].context = j;
    }
    bench_race(peers, 2, CLOCK_MONOTONIC, LEAST_SECONDS);
    for (i = 2; i < TRIALS; i++) run(&jobs[i]);
    for (i = 1; i < TRIALS; i++) same = same && same_result(&jobs[0], &jobs[i]);
    gain = peers[0].fastest / peers[1].fastest;
    bench_text(image);
    bench_text(what);
    bench_number(1e3 * peers[0].fastest, 2);
    bench_number(1e3 * peers[1].fastest, 2);
    bench_number(gain, 2);
    bench_text(same ? "yes" : "NO");
    if (limit > 0) bar_add(image, what, 0, 1 / gain, 1 / fmin(LEAST_GAIN, 0.9 * limit));
    for (i = 0; i < TRIALS; i++) {
        free(jobs[i].tokens), free(jobs[i].out), free(jobs[i].scratch), free(jobs[i].hidden);
        tte_free(&jobs[i].image);
    }
    *differ = *differ || !same;
    return gain;
}

int main(int argc, char **argv)
{
    static const bench_column columns[] = {
        {"image", -16, NULL},          {"what", -24, NULL},     {"1 thread", 10, "milliseconds"},
        {"2 threads", 10, "milliseconds"},  {"gain", 8, NULL},  {"same bytes", 10, NULL}};
    static const struct { const char *name; double ratio; } images[] = {{"table 16x", 16}, {"12x64 cap 4", 0}};
    job work;
    float *dense = bench_spectrum_table(LOAD_VOCAB, LOAD_DIM);
    double limit;
    int differ = 0;
    size_t i;
    bench_begin(argc, argv);
    bench_table("threads", "50257 x 768 with OpenMP, fastest of 5 runs", columns, BENCH_COUNT(columns));
    memset(&work, 0, sizeof work);
    work.dense = dense;
    limit = measure("dense", "products with all rows", run_dense, &work, 0, &differ);
    for (i = 0; i < BENCH_COUNT(loads); i += 2) {
        work.load = &loads[i];
        measure(loads[i].name, "compression", run_compress, &work, limit, &differ);
    }
    for (i = 0; i < BENCH_COUNT(images); i++) {
        tte_image image;
        tte_table view;
        if (images[i].ratio > 0) whole_compress(dense, LOAD_DIM, images[i].ratio, 1, &image);
        else load_compress(&loads[0], TTE_I8, dense, LOAD_VOCAB, &image);
        view = open_image(images[i].name, &image);
        work.view = &view;
        measure(images[i].name, "a batch of 4096", run_batch, &work, limit, &differ);
        measure(images[i].name, "scores", run_logits, &work, limit, &differ);
        measure(images[i].name, "the best 100", run_best, &work, limit, &differ);
        tte_free(&image);
    }
    bench_table_end();
    free(dense);
    if (differ) fprintf(stderr, "threads: the number of threads changes the bytes\n");
    return (bars_report("threads") > 0) | differ;
}
