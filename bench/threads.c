/* threads.c: compression with OpenMP. Seconds on one thread and on two, as one waits for them, and
 * whether 1, 2, 3 and 7 threads leave the same bytes. The fastest of five runs counts: a program
 * beside this one takes a core away from the others. The first and the last row divide plain
 * arithmetic among the threads and so say what the machine has to give. Exits with 1 when the bytes
 * differ, and when two threads are not 1.7 times as fast with the whole table although arithmetic
 * gained 1.9 times before and after.
 */
#include "bench.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "loads.h"

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

int main(int argc, char **argv)
{
    static const bench_column columns[] = {
        {"shape", -16, NULL},          {"rows", 6, NULL},    {"1 thread", 10, "seconds"},
        {"2 threads", 10, "seconds"},  {"speedup", 8, NULL}, {"same bytes", 11, NULL}};
    double arithmetic, whole;
    int differ = 0, slow;
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
    slow = arithmetic >= FREE_MACHINE && !(whole >= LEAST_SPEEDUP);
    if (differ) fprintf(stderr, "threads: the number of threads changes the bytes\n");
    if (slow) fprintf(stderr, "threads: the whole table gains less than %g\n", LEAST_SPEEDUP);
    return differ || slow;
}
