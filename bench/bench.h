/* bench.h: what all measuring programs share. Include it before anything else.
 *
 *     program [DIRECTORY [STAMP]]
 *
 * prints its tables to the terminal; with DIRECTORY each table also goes to DIRECTORY/NAME.csv.
 * STAMP says what was measured where (processor, compiler, flags, commit, BLAS); it stands above
 * every table and as a comment in the first line of every file.
 */
#ifndef BENCH_H
#define BENCH_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L  /* clock_gettime */
#endif

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BENCH_COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A bench that cannot go on has no other way out. */
static inline void bench_stop(const char *what, const char *why)
{
    fprintf(stderr, "bench: %s: %s\n", what, why);
    exit(2);
}

static inline void *bench_alloc(size_t count, size_t size)
{
    void *block = calloc(count > 0 ? count : 1, size);
    if (block == NULL) bench_stop("memory", "there is no more");
    return block;
}

/* ---- tables -------------------------------------------------------------------------------- */

typedef struct bench_column {
    const char *name;
    int width;          /* as in printf: negative is left-aligned                            */
    const char *group;  /* stands above its columns, and before the name in the file; or NULL */
} bench_column;

static struct {
    const char *directory, *stamp;
    const bench_column *columns;
    size_t count, at;
    FILE *csv;
} bench;

static inline void bench_begin(int argc, char **argv)
{
    bench.directory = argc > 1 ? argv[1] : NULL;
    bench.stamp = argc > 2 ? argv[2] : "";
}

static inline void bench_table_end(void)
{
    if (bench.csv != NULL && fclose(bench.csv) != 0)
        bench_stop("a table", "could not be written");
    bench.csv = NULL;
    fputc('\n', stdout);
}

/* The name of each group stands over all its columns. */
static inline void bench_groups(void)
{
    const bench_column *column = bench.columns;
    size_t i = 0;
    while (i < bench.count) {
        const char *group = column[i].group;
        int width = abs(column[i].width);
        for (i++; group != NULL && i < bench.count && column[i].group != NULL; i++) {
            if (strcmp(group, column[i].group) != 0) break;
            width += 1 + abs(column[i].width);
        }
        printf("%*s%s", width, group != NULL ? group : "", i < bench.count ? " " : "\n");
    }
}

static inline void bench_header(void)
{
    const bench_column *column = bench.columns;
    size_t i, groups = 0;
    for (i = 0; i < bench.count; i++) groups += column[i].group != NULL;
    if (groups > 0) bench_groups();
    for (i = 0; i < bench.count; i++) {
        const char *group = column[i].group != NULL ? column[i].group : "";
        const char *end = i + 1 < bench.count ? "," : "\n";
        printf("%*s%s", column[i].width, column[i].name, i + 1 < bench.count ? " " : "\n");
        if (bench.csv != NULL)
            fprintf(bench.csv, "%s%s%s%s", group, *group != '\0' ? " " : "", column[i].name, end);
    }
    fflush(stdout);
}

/* Begin a table: `name` is its file, `title` what a reader sees. */
static inline void bench_table(const char *name, const char *title, const bench_column *columns,
                               size_t count)
{
    char path[1024];
    bench.columns = columns;
    bench.count = count;
    bench.at = 0;
    printf("%s\n%s\n", title, bench.stamp);
    if (bench.directory != NULL) {
        snprintf(path, sizeof path, "%s/%s.csv", bench.directory, name);
        bench.csv = fopen(path, "w");
        if (bench.csv == NULL) bench_stop(path, strerror(errno));
        fprintf(bench.csv, "# %s | %s\n", bench.stamp, title);
    }
    bench_header();
}

/* The next cell of the row; after the last one the row ends. Texts hold no comma. */
static inline void bench_cell(const char *shown, const char *stored)
{
    int last = bench.at + 1 == bench.count;
    printf("%*s%s", bench.columns[bench.at].width, shown, last ? "\n" : " ");
    if (bench.csv != NULL) fprintf(bench.csv, "%s%s", stored, last ? "\n" : ",");
    bench.at = last ? 0 : bench.at + 1;
    fflush(NULL);
}

static inline void bench_text(const char *text) { bench_cell(text, text); }

/* A number with `decimals` of them on the terminal, as a power of ten when negative, and six digits
   in the file. NaN means that there is nothing to say. */
static inline void bench_number(double value, int decimals)
{
    char shown[64], stored[64];
    if (!(value == value)) {
        bench_cell("-", "");
        return;
    }
    if (decimals < 0)
        snprintf(shown, sizeof shown, "%.*e", -decimals, value);
    else
        snprintf(shown, sizeof shown, "%.*f", decimals, value);
    snprintf(stored, sizeof stored, value == floor(value) && fabs(value) < 1e15 ? "%.0f" : "%.6g", value);
    bench_cell(shown, stored);
}

static inline double bench_nothing(void) { return (double)NAN; }

/* ---- time ---------------------------------------------------------------------------------- */

static inline double bench_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

typedef struct bench_peer {
    void (*run)(void *context);
    void *context;
    double median, fastest, slowest;  /* out: seconds for one call */
} bench_peer;

#define BENCH_PEERS 5
#define BENCH_RUNS 5

static inline int bench_ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double bench_median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, bench_ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static inline double bench_calls(const bench_peer *peer, clockid_t clock, long calls)
{
    double start = bench_clock(clock);
    long i;
    for (i = 0; i < calls; i++) peer->run(peer->context);
    return bench_clock(clock) - start;
}

/* How many calls take `least` seconds, one without a trial for 0. Trials also warm caches and pages up. */
static inline long bench_repeats(const bench_peer *peer, clockid_t clock, double least)
{
    long calls = 1;
    double taken = least > 0 ? bench_calls(peer, clock, calls) : 0;
    while (taken < least && calls < 1L << 28) {
        calls = taken > least / 64 ? (long)((double)calls * least * 1.1 / taken) + 1 : calls * 8;
        taken = bench_calls(peer, clock, calls);
    }
    return calls;
}

/* Time up to BENCH_PEERS peers that do the same work. One run repeats a call until it takes `least` seconds;
   runs of different peers alternate, so that whatever else the machine does meets all of them.
   CLOCK_PROCESS_CPUTIME_ID leaves out other programs, CLOCK_MONOTONIC is what one waits for. */
static inline void bench_race(bench_peer *peers, size_t count, clockid_t clock, double least)
{
    double seconds[BENCH_PEERS][BENCH_RUNS];
    long calls[BENCH_PEERS];
    size_t p, run;
    for (p = 0; p < count; p++) calls[p] = bench_repeats(&peers[p], clock, least);
    for (run = 0; run < BENCH_RUNS; run++)
        for (p = 0; p < count; p++)
            seconds[p][run] = bench_calls(&peers[p], clock, calls[p]) / (double)calls[p];
    for (p = 0; p < count; p++) {
        peers[p].median = bench_median(seconds[p], BENCH_RUNS);
        peers[p].fastest = seconds[p][0];
        peers[p].slowest = seconds[p][BENCH_RUNS - 1];
    }
}

/* ---- random numbers ------------------------------------------------------------------------ */

/* splitmix64: the same numbers on every machine. */
static inline uint64_t bench_bits(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static inline double bench_uniform(uint64_t *state)  /* in (0, 1) */
{
    return ((double)(bench_bits(state) >> 11) + 0.5) * (1.0 / 9007199254740992.0);
}

static inline double bench_gaussian(uint64_t *state)  /* Box and Muller */
{
    double radius = sqrt(-2 * log(bench_uniform(state)));
    return radius * cos(6.283185307179586 * bench_uniform(state));
}

/* rows x dim independent Gaussian numbers; the seed is fixed by the size. */
static inline float *bench_gaussian_table(size_t rows, size_t dim)
{
    float *table = (float *)bench_alloc(rows * dim, sizeof *table);
    uint64_t state = rows * 1000003u + dim;
    size_t i;
    for (i = 0; i < rows * dim; i++) table[i] = (float)bench_gaussian(&state);
    return table;
}

typedef struct bench_turn { size_t a, b; float cosine, sine; } bench_turn;

/* rows x dim like a model's table: Gaussian with standard deviations 1, 1/sqrt(2) .. 1/sqrt(dim)
   along the axes of a random orthogonal matrix, so that no column shows the spectrum. The matrix is
   a walk of plane rotations by random angles in random planes; 8 dim of them mix all columns. */
static inline float *bench_spectrum_table(size_t rows, size_t dim)
{
    const size_t turns = 8 * dim;
    float *table = bench_gaussian_table(rows, dim);
    bench_turn *walk = (bench_turn *)bench_alloc(turns, sizeof *walk);
    uint64_t state = dim;
    size_t t, i;
    for (i = 0; i < turns; i++) {
        double angle = 6.283185307179586 * bench_uniform(&state);
        walk[i].a = (size_t)(bench_bits(&state) % dim);
        walk[i].b = (walk[i].a + 1 + (size_t)(bench_bits(&state) % (dim - 1))) % dim;
        walk[i].cosine = (float)cos(angle);
        walk[i].sine = (float)sin(angle);
    }
    for (t = 0; t < rows; t++) {
        float *row = table + t * dim;
        for (i = 0; i < dim; i++) row[i] /= (float)sqrt((double)(i + 1));
        for (i = 0; i < turns; i++) {
            const bench_turn *w = &walk[i];
            float x = row[w->a], y = row[w->b];
            row[w->a] = w->cosine * x - w->sine * y;
            row[w->b] = w->sine * x + w->cosine * y;
        }
    }
    free(walk);
    return table;
}

#endif
