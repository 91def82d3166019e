/* costs.c: what compressing a table of GPT-2's size takes, 50257 x 768, 16 times smaller.
 *
 *     costs [DIRECTORY [STAMP [FILE]]]
 *
 * FILE is a table 768 wide whose rows are taken (loads.h says how); without it rows are made. Seconds of processor
 * time on one thread, and how many times faster two are with OpenMP, both on the wall clock; the memory that
 * compression holds at most, beyond the table. The first row divides plain arithmetic among threads: what the
 * machine has to give; where that is below 1.9 something else ran, and the gain counts for nothing. Effort 9 only
 * where BENCH_ALL is set. Exits with 1 when a goal is missed or threads change a byte.
 */
#include "bench.h"
#include "bars.h"
#include "counted.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "tables.h"
#include "loads.h"
#include "views.h"

#ifdef _OPENMP
#include <omp.h>
enum { MOST_THREADS = 2 };
static void use_threads(int threads) { omp_set_num_threads(threads); }
#else
enum { MOST_THREADS = 1 };
static void use_threads(int threads) { (void)threads; }
#endif

#define RATIO 16.0
#define SECONDS 25.0     /* at the default effort, one thread     */
#define FAST 0.2         /* effort 1 over the default             */
#define GAIN 1.9         /* of two threads                        */
#define MEGABYTE 1048576.0
#define ROOM 82.0        /* MiB: 64 and 4 dim x dim doubles       */

typedef struct job {
    const float *table;
    double energy;
    int effort;          /* 0: plain arithmetic */
    double seconds[MOST_THREADS], processor, extra, error, ratio;
    tte_image image;
} job;

static void run(job *j)
{
    double sum = 0;
    int i;
    if (j->effort > 0) {
        tte_free(&j->image);
        whole_compress(j->table, LOAD_DIM, RATIO, j->effort, &j->image);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel for reduction(+ : sum)
#endif
    for (i = 1; i < 100000000; i++) sum += 1.0 / i;
    j->error = sum;
}

/* On one thread and on two. */
static void measure(job *j, int *differ)
{
    tte_image first = {NULL, 0};
    int threads;
    for (threads = 1; threads <= MOST_THREADS; threads++) {
        const double start = bench_clock(CLOCK_MONOTONIC), begun = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
        const size_t before = peak = held;
        use_threads(threads);
        run(j);
        j->seconds[threads - 1] = bench_clock(CLOCK_MONOTONIC) - start;
        if (threads > 1) {
            if (j->effort > 0)
                *differ |= first.size != j->image.size || memcmp(first.data, j->image.data, first.size) != 0;
            tte_free(&j->image);
        } else {
            j->processor = bench_clock(CLOCK_PROCESS_CPUTIME_ID) - begun;
            j->extra = (double)(peak - before) - (double)j->image.size;
            first = j->image;
            memset(&j->image, 0, sizeof j->image);
        }
    }
    j->image = first;
    if (j->effort > 0) {
        const tte_table view = open_image("costs", &j->image);
        j->error = sqrt(lookup_error(&view, j->table, LOAD_VOCAB, LOAD_DIM) / j->energy);
        j->ratio = (double)LOAD_VOCAB * LOAD_DIM * 4 / (double)j->image.size;
    }
    tte_free(&j->image);
}

static void show(const job *j)
{
    char name[32] = "arithmetic alone";
    if (j->effort > 0) snprintf(name, sizeof name, "effort %d", j->effort);
    bench_text(name);
    bench_number(j->effort > 0 ? j->ratio : bench_nothing(), 2);
    bench_number(j->effort > 0 ? j->error : bench_nothing(), 4);
    bench_number(j->processor, 2);
    bench_number(MOST_THREADS > 1 ? j->seconds[0] / j->seconds[MOST_THREADS - 1] : bench_nothing(), 2);
    bench_number(j->effort > 0 ? j->extra / MEGABYTE : bench_nothing(), 1);
}

int main(int argc, char **argv)
{
    static const bench_column columns[] = {
        {"what", -16, NULL},          {"ratio", 6, NULL},   {"error", 7, NULL},      {"seconds", 7, NULL},
        {"gain", 5, NULL},            {"MiB beyond the image", 20, NULL}};
    const int efforts[] = {0, 1, 5, 9}, all = getenv("BENCH_ALL") != NULL;
    const char *what;
    float *table = whole_table(argc > 3 ? argv[3] : NULL, &what);
    job jobs[BENCH_COUNT(efforts)];
    char title[256];
    double energy = 0;
    int differ = 0;
    size_t i;
    for (i = 0; i < (size_t)LOAD_VOCAB * LOAD_DIM; i++) energy += (double)table[i] * (double)table[i];
    bench_begin(argc, argv);
    snprintf(title, sizeof title, "compression of 50257 x 768 (%s), 16 times smaller", what);
    bench_table("costs", title, columns, BENCH_COUNT(columns));
    memset(jobs, 0, sizeof jobs);
    for (i = 0; i < BENCH_COUNT(efforts); i++) {
        jobs[i].table = table;
        jobs[i].energy = energy;
        jobs[i].effort = efforts[i];
        if (efforts[i] == 9 && !all) continue;
        measure(&jobs[i], &differ);
        show(&jobs[i]);
    }
    bench_table_end();
    if (!all) puts("costs: effort 9 left out, set BENCH_ALL=1 for it");
    if (differ) fprintf(stderr, "costs: the number of threads changes the bytes\n");
    bar_add("default effort", "seconds on one thread", 0, jobs[2].processor, SECONDS);
    bar_add("effort 1", "its share of the default's seconds", 0, jobs[1].processor / jobs[2].processor, FAST);
    bar_add("default effort", "MiB beyond the image", 0, jobs[2].extra / MEGABYTE, ROOM);
    if (MOST_THREADS > 1 && jobs[0].seconds[0] >= GAIN * jobs[0].seconds[MOST_THREADS - 1])
        bar_add("default effort", "share of the time that two threads take", 0,
                jobs[2].seconds[MOST_THREADS - 1] / jobs[2].seconds[0], 1 / GAIN);
    free(table);
    return (bars_report("costs") > 0) | differ;
}
