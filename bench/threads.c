/* threads.c: compression with OpenMP. Seconds on one thread and on two, as one waits for them, and
 * whether 1, 2, 3 and 7 threads leave the same bytes; exits with 1 when they do not. The fastest
 * of five runs counts: a program beside this one takes a core away from the others. The first row
 * divides plain arithmetic among the threads and so says what the machine has to give just now.
 */
#include "bench.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "loads.h"

#include <omp.h>

#define LEAST_SECONDS 0.2

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

/* One row of the table. Returns 1 when the images differ. */
static int measure(const bench_load *load)
{
    float *table = load != NULL ? bench_gaussian_table(load->rows, LOAD_DIM) : NULL;
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
    return !same;
}

int main(int argc, char **argv)
{
    static const bench_column columns[] = {
        {"shape", -16, NULL},          {"rows", 6, NULL},    {"1 thread", 10, "seconds"},
        {"2 threads", 10, "seconds"},  {"speedup", 8, NULL}, {"same bytes", 11, NULL}};
    int differ = 0;
    size_t l;
    bench_begin(argc, argv);
    bench_table("threads",
                "per-token TT-SVD of Gaussian rows of width 768 with OpenMP, fastest of 5 runs",
                columns, BENCH_COUNT(columns));
    (void)measure(NULL);
    for (l = 0; l < BENCH_COUNT(loads); l++) differ += measure(&loads[l]);
    bench_table_end();
    return differ > 0;
}
