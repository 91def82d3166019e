/* test_trellis.c: the trellis encoder against the reader of made.h, bit by bit; its vectors against portable code; its
 * distortion against exhaustive search and against what rates promise. */
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "harness.h"
#include "bytes.h"
#include "made.h"

enum { STEPS = 3000, LEAST = 8, LARGEST = 16 };
static const double unit = 147.8; /* the deviation of code integers */
static const int rates[12] = {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16};

/* An encoder for each L, its tables and its search in blocks of exactly the size. */
static struct { ttei_trellis trellis; ttei_path path; int16_t *tables; void *room; } coder[LARGEST + 1];

static void set_up(void)
{
    for (int L = LEAST; L <= LARGEST; L++) {
        ttei_carve carve = ttei_carve_begin(NULL);
        ttei_path_carve(L, STEPS, &carve, &coder[L].path);
        coder[L].room = test_alloc(carve.used);
        carve = ttei_carve_begin(coder[L].room);
        ttei_path_carve(L, STEPS, &carve, &coder[L].path);
        coder[L].tables = (int16_t *)test_alloc(((size_t)TTEI_CODE_TABLES << L) * sizeof(int16_t));
        ttei_trellis_init(L, coder[L].tables, &coder[L].trellis);
    }
}

/* The encoder's body number b: 0 portable, 1 for AVX2, 2 for AVX-512; 0 if this processor has none. */
static int body(const ttei_trellis *t, int b, ttei_trellis *out)
{
    *out = *t;
    out->fold = ttei_fold, out->branch = ttei_branch;
#if defined(__x86_64__) && (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9 && !defined(_WIN32)))
    if (b == 1 && __builtin_cpu_supports("avx2"))
        return out->fold = ttei_fold_avx2, out->branch = ttei_branch_avx2, 1;
    if (b == 2 && __builtin_cpu_supports("avx512bw"))
        return out->fold = ttei_fold_avx512, out->branch = ttei_branch_avx512, 1;
#endif
    return b == 0;
}

static void encode(int L, const run_list *list, const float *target, unsigned char *record, int16_t *codes)
{
    ttei_run runs[MOST_RUNS];
    for (int i = 0; i < list->runs; i++)
        runs[i].rate = list->of[i].rate, runs[i].count = (size_t)list->of[i].count, runs[i].spread = 1;
    ttei_record_encode(&coder[L].trellis, &coder[L].path, runs, (size_t)list->runs, target, record, codes);
}

/* Encodes with every body into blocks of exactly the record's size; compares; reads back. */
static void round_trip(int L, const run_list *list, const float *target)
{
    const size_t bytes = record_bytes(list);
    const ttei_trellis kept = coder[L].trellis;
    unsigned char *first = NULL;
    unsigned long bad = test.bad;
    size_t count = 0;
    int32_t *t;
    float *spread;
    for (int i = 0; i < list->runs; i++) count += (size_t)list->of[i].count;
    t = (int32_t *)test_alloc(count * sizeof *t), spread = new_floats(count);
    for (int b = 2; b >= 0; b--) {
        unsigned char *record = (unsigned char *)test_alloc(bytes);
        int16_t *codes = (int16_t *)test_alloc(count * sizeof *codes);
        size_t wrong = 0;
        if (body(&kept, b, &coder[L].trellis) && (b > 0 || first == NULL || L <= 12)) {
            encode(L, list, target, record, codes);
            codes_of_record(list, record, L, (int)count, t, spread);
            for (size_t i = 0; i < count; i++) wrong += t[i] != codes[i];
            CHECK(wrong == 0 && (first == NULL || memcmp(first, record, bytes) == 0));
            if (first == NULL) first = (unsigned char *)test_copy(record, bytes);
        }
        free(record), free(codes);
    }
    if (test.bad > bad && test.bad <= 5)
        for (int i = 0; i < list->runs; i++)
            fprintf(stderr, "    L %d, run of rate %d: %d\n", L, list->of[i].rate, list->of[i].count);
    coder[L].trellis = kept;
    free(first), free(t), free(spread);
}

/* Any runs, and targets of any size, infinite and NaN among them. */
static void round_trips(void)
{
    static const uint32_t odd[6] = {0x7F800000u, 0xFF800000u, 0x7FC00000u, 0xFFFFFFFFu, 1u, 0x80000000u};
    float *target = new_floats(1200);
    for (int L = LEAST; L <= LARGEST; L++)
        for (int i = 0; i < (test.small ? 12 : 60); i++) {
            const run_list list = random_list(L > 13 ? rng_int(0, 90) : rng_int(0, i % 3 ? 120 : 1000), i % 4 ? 5 : 24);
            const double kind = rng_uniform();
            for (int j = 0; j < 1200; j++) {
                target[j] = (float)(rng_normal() * unit * (kind < 0.2 ? exp(12 * rng_normal()) : 1));
                target[j] = kind < 0.4 && kind > 0.2 ? float_from_bits(odd[rng_int(0, 5)]) : target[j];
            }
            round_trip(L, &list, target);
        }
    free(target);
}

/* Single runs of every rate, from the shortest circle on: 16 bits, where some states hold the circle once. */
static void short_circles(void)
{
    float target[200];
    for (int j = 0; j < 200; j++) target[j] = (float)(rng_normal() * unit);
    for (int L = LEAST; L <= LARGEST; L++)
        for (int k = 0; k < 12; k++) {
            run_list list = {1, {{rates[k], 2, 128}}};
            const int bits = step_bits(list.of[0]), values = is_pair(list.of[0]) ? 2 : 1;
            for (int steps = (8 + bits) / bits; steps <= 24 / bits + 3; steps++) {
                list.of[0].count = values * steps;
                round_trip(L, &list, target);
            }
        }
}

static double error_of(const float *target, const int16_t *codes, int count)
{
    double error = 0;
    for (int i = 0; i < count; i++) error += pow((double)target[i] - codes[i], 2);
    return error;
}

/* All 65,536 circles of 16 bits: how far from the best one the encoder is, on the average. */
static void exhaustive_search(void)
{
    enum { TRIES = 10 };
    static const int some[4] = {1, 2, 4, 16};
    for (int L = LEAST; L <= LARGEST; L += test.small ? 8 : 4)
        for (int k = 0; k < 3; k++) {
            const run_list list = {1, {{some[k], some[k] % 2 ? 32 : 32 / some[k], 128}}};
            const int count = list.of[0].count;
            float target[TRIES][32], spread[32];
            double got = 0, best[TRIES], least = 0;
            unsigned char record[2];
            int16_t codes[32];
            int32_t t[32];
            for (int i = 0; i < TRIES; i++) {
                for (int j = 0; j < count; j++) target[i][j] = (float)(rng_normal() * unit);
                encode(L, &list, target[i], record, codes);
                got += error_of(target[i], codes, count), best[i] = HUGE_VAL;
            }
            for (int word = 0; word < 65536; word++) {
                put_number(record, 2, (uint64_t)word);
                codes_of_record(&list, record, L, count, t, spread);
                for (int j = 0; j < count; j++) codes[j] = (int16_t)t[j];
                for (int i = 0; i < TRIES; i++) best[i] = fmin(best[i], error_of(target[i], codes, count));
            }
            for (int i = 0; i < TRIES; i++) least += best[i];
            CHECK_LE(got, least * (L == 8 ? 1.5 : 8));
        }
}

/* A normal source, 2,048 coefficients a record: distortion in bits above the Shannon bound; and all rates in one record,
 * with deviations in proportion to 2^rate, are no worse than each on its own. */
static void distortion(void)
{
    static const double scale[12] = {.70, .89, .97, 1.02, 1.06, 1.1, 1.14, 1.17, 1.22, 1.26, 1.3, 1.35};
    static const double gap[12] = {.05, .075, .105, .12, .19, .15, .25, .19, .25, .30, .40, .55};
    float *target = new_floats(2048);
    int16_t *codes = (int16_t *)test_alloc(2048 * sizeof *codes);
    unsigned char *record = (unsigned char *)test_alloc(4096);
    double alone = 0, mixed = 0;
    for (int k = 0; k < 12; k++) {
        const run_list list = {1, {{rates[k], 2048, 128}}};
        const double s = unit / scale[k];
        double error = 0, all = 0;
        for (int round = 0; round < (test.small ? 1 : 4); round++) {
            for (int i = 0; i < 2048; i++) {
                double y = rng_normal();
                while (fabs(y) > 4) y = rng_normal();
                target[i] = (float)(y * s), all += y * y;
            }
            encode(12, &list, target, record, codes);
            error += error_of(target, codes, 2048);
        }
        CHECK_LE(rates[k] / 2.0 + log(error / (s * s) / all) / log(4), gap[k] + (test.small ? 0.02 : 0.01));
    }
    for (int round = 0; round < 200; round++) {
        run_list list;
        list.runs = 5;
        for (int k = 0; k < 5; k++) {
            const run r = {rates[4 - k], 16, 128};
            list.of[k] = r;
            for (int i = 0; i < 16; i++) target[16 * k + i] = (float)(rng_normal() * unit / scale[4 - k]);
        }
        encode(12, &list, target, record, codes);
        for (int k = 0; k < 5; k++) {
            const double weight = pow(scale[4 - k], 2) * pow(2, rates[4 - k]);
            run_list one;
            one.runs = 1, one.of[0] = list.of[k];
            mixed += error_of(target + 16 * k, codes + 16 * k, 16) * weight;
            encode(12, &one, target + 16 * k, record, codes + 100);
            alone += error_of(target + 16 * k, codes + 100, 16) * weight;
        }
    }
    CHECK_LE(mixed, alone);
    free(target), free(codes), free(record);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_trellis");
    set_up();
    RUN(round_trips);
    RUN(short_circles);
    RUN(exhaustive_search);
    RUN(distortion);
    for (int L = LEAST; L <= LARGEST; L++) free(coder[L].tables), free(coder[L].room);
    return test_end();
}
