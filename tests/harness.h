/* harness.h: what all test programs share. Include it after tt_embed.h.
 *
 *     program [SEED [FILTER]]
 *
 * runs the cases whose name contains FILTER and ends with 'name: N passed, N failed', counted in
 * cases. A case fails when one of its checks fails and when it made no check; a program that ran
 * no case fails. TEST_SMALL=1 in the environment asks for small sizes (slow machines, valgrind).
 * With TEST_STATUS_LOG=FILE every status that a CHECK_STATUS has seen as wanted is appended there,
 * so that run.sh can tell which status codes no test produces.
 */
#ifndef TEST_HARNESS_H
#define TEST_HARNESS_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEST_STATUSES(X)                                                                        \
    X(TTE_OK) X(TTE_ERR_ARGUMENT) X(TTE_ERR_SHAPE) X(TTE_ERR_NOT_FINITE) X(TTE_ERR_MEMORY)      \
    X(TTE_ERR_RANGE) X(TTE_ERR_BUDGET) X(TTE_ERR_FORMAT) X(TTE_ERR_VERSION)                     \
    X(TTE_ERR_TRUNCATED) X(TTE_ERR_CHECKSUM) X(TTE_ERR_IO) X(TTE_ERR_CANCELLED)                 \
    X(TTE_ERR_CONVERGENCE)

static struct {
    const char *name, *filter, *running; /* the program, what to run, the case that runs now */
    uint64_t seed, state;            /* the seed given, and the generator's state            */
    unsigned long checks, bad;       /* of the case that runs now                            */
    int passed, failed, small;       /* cases                                                */
    unsigned seen;                   /* a bit for each status some CHECK_STATUS got and wanted */
} test;

/* ---- checks ------------------------------------------------------------------------------ */

#define CHECK(cond) test_check(!!(cond), __FILE__, __LINE__, #cond)
#define CHECK_LE(error, bound) \
    test_check_le((double)(error), (double)(bound), __FILE__, __LINE__, #error " <= " #bound)
#define CHECK_STATUS(got, want) test_check_status((got), (want), __FILE__, __LINE__, #got)
#define RUN(function) test_run(function, #function)

static inline int test_check(int ok, const char *file, int line, const char *text)
{
    test.checks++;
    if (!ok && test.bad++ < 5)  /* five messages for a case say enough */
        fprintf(stderr, "%s:%d: not so: %s\n", file, line, text);
    return ok;
}

static inline int test_check_le(double error, double bound, const char *file, int line,
                                const char *text)
{
    int ok = !!(error <= bound);  /* NaN fails */
    if (!test_check(ok, file, line, text) && test.bad <= 5)
        fprintf(stderr, "    %.9g against %.9g\n", error, bound);
    return ok;
}

static inline const char *test_status_name(tte_status status)
{
#define TEST_NAME(s) if (status == s) return #s;
    TEST_STATUSES(TEST_NAME)
#undef TEST_NAME
    return "no known status";
}

static inline int test_check_status(tte_status got, tte_status want, const char *file, int line,
                                    const char *text)
{
    int ok = test_check(got == want, file, line, text);
    if (ok)
        test.seen |= 1u << (unsigned)want;
    else if (test.bad <= 5)
        fprintf(stderr, "    answered %s instead of %s\n", test_status_name(got),
                test_status_name(want));
    return ok;
}

/* ---- the generator: splitmix64, started anew from the seed for every case ------------------ */

static inline uint64_t rng_next(void)
{
    uint64_t z = (test.state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static inline double rng_uniform(void) /* [0, 1) */
{
    return (double)(rng_next() >> 11) / 9007199254740992.0;
}

static inline int rng_int(int low, int high) /* both ends included */
{
    return low + (int)(rng_next() % (uint64_t)(high - low + 1));
}

static inline double rng_normal(void)
{
    double u = 1.0 - rng_uniform(), v = rng_uniform();
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

/* ---- running ------------------------------------------------------------------------------ */

static inline void test_begin(int argc, char **argv, const char *name)
{
    const char *small = getenv("TEST_SMALL");
    test.name = test.running = name;
    test.seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 20230705u;
    test.filter = argc > 2 ? argv[2] : "";
    test.small = small != NULL && *small != 0 && *small != '0';
    printf("%s: seed %llu%s\n", name, (unsigned long long)test.seed, test.small ? ", small" : "");
    fflush(stdout);
}

static inline void test_run(void (*function)(void), const char *name)
{
    if (!strstr(name, test.filter)) return;
    test.running = name;
    test.state = test.seed;
    test.checks = test.bad = 0;
    function();
    if (test.bad == 0 && test.checks > 0) {
        test.passed++;
    } else {
        test.failed++;
        fprintf(stderr, "FAILED %s: %s, %lu of %lu checks (seed %llu)\n", test.name, name,
                test.bad, test.checks, (unsigned long long)test.seed);
    }
}

static inline int test_end(void) /* the program's exit status */
{
    const char *log_path = getenv("TEST_STATUS_LOG");
    FILE *log_file = log_path != NULL && *log_path != 0 ? fopen(log_path, "a") : NULL;
    if (log_file != NULL) {
#define TEST_LOG(s) if (test.seen >> s & 1u) fprintf(log_file, "%s %s\n", #s, test.name);
        TEST_STATUSES(TEST_LOG)
#undef TEST_LOG
        fclose(log_file);
    }
    if (test.passed + test.failed == 0) {
        fprintf(stderr, "%s: nothing ran\n", test.name);
        test.failed = 1;
    }
    printf("%s: %d passed, %d failed\n", test.name, test.passed, test.failed);
    return test.failed != 0;
}

/* ---- memory: heap blocks of the exact size, so that a sanitizer sees one byte too many ------ */

static inline void *test_alloc(size_t size)
{
    unsigned char *block = (unsigned char *)malloc(size != 0 ? size : 1);
    if (block == NULL) {
        fprintf(stderr, "%s: out of memory\n", test.name);
        exit(2);
    }
    memset(block, 0xA5, size != 0 ? size : 1);
    return block;
}

static inline float *new_floats(size_t count) { return (float *)test_alloc(count * sizeof(float)); }
static inline double *new_doubles(size_t count)
{
    return (double *)test_alloc(count * sizeof(double));
}

static inline void *test_copy(const void *data, size_t size)
{
    void *copy = test_alloc(size);
    memcpy(copy, data, size);
    return copy;
}

/* Whether a buffer still holds what test_alloc filled it with. */
static inline int is_untouched(const void *data, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)data;
    size_t i = 0;
    while (i < size && bytes[i] == 0xA5) i++;
    return i == size;
}

/* ---- numbers ------------------------------------------------------------------------------ */

static inline float float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline double double_from_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline double dot(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

static inline double norm(const float *a, size_t count) { return sqrt(dot(a, a, count)); }

static inline double distance(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)a[i] - (double)b[i];
        sum += d * d;
    }
    return sqrt(sum);
}

static inline float *random_floats(size_t count)
{
    float *values = new_floats(count);
    for (size_t i = 0; i < count; i++) values[i] = (float)rng_normal();
    return values;
}

/* ---- shapes ------------------------------------------------------------------------------- */

static inline tte_shape make_shape(int modes, const int *dims)
{
    tte_shape shape;
    memset(&shape, 0, sizeof shape);
    shape.modes = modes;
    for (int k = 0; k < modes && k < TTE_MAX_MODES; k++) shape.dim[k] = dims[k];
    return shape;
}

static inline size_t shape_size(const tte_shape *shape)
{
    size_t size = 1;
    for (int k = 0; k < shape->modes; k++) size *= (size_t)shape->dim[k];
    return size;
}

/* The largest rank of the bond before mode k: what stands to its left or right, and the cap. */
static inline size_t bond_limit(const tte_shape *shape, int k, int max_rank)
{
    size_t left = 1, right = 1, limit;
    for (int j = 0; j < shape->modes; j++) *(j < k ? &left : &right) *= (size_t)shape->dim[j];
    limit = left < right ? left : right;
    return max_rank > 0 && (size_t)max_rank < limit ? (size_t)max_rank : limit;
}

#endif
