/* golden.h: the table behind tests/golden/, and how its images were made. Never change a line of it
 * once images of a released version exist: they must open for ever. */
#ifndef TEST_GOLDEN_H
#define TEST_GOLDEN_H

/* Kinds below GOLDEN_KINDS are TTE_PER_TOKEN, those from there on TTE_PER_TABLE. */
enum { GOLDEN_VOCAB = 40, GOLDEN_DIM = 30, GOLDEN_KINDS = 8, GOLDEN_ALL = 15 };

/* Integers over 64, from integer arithmetic alone: exact in float, the same on every machine. Rows
 * of growing roughness; row 7 is zero. */
static inline float *golden_table(void)
{
    float *table = new_floats(GOLDEN_VOCAB * GOLDEN_DIM);
    uint32_t state = 2463534242u;
    for (int t = 0; t < GOLDEN_VOCAB; t++)
        for (int j = 0; j < GOLDEN_DIM; j++) {
            int smooth = (j % 6 - 2) * (t % 5 + 1) + (j / 6 - 1) * (3 - t % 4) * 2, rough;
            state ^= state << 13, state ^= state >> 17, state ^= state << 5; /* xorshift32 */
            rough = (int)(state >> 8 & 63) - 32;
            table[t * GOLDEN_DIM + j] = t == 7 ? 0 : (float)(smooth * 8 + rough * t / 16) / 64.0f;
        }
    return table;
}

#ifndef TT_EMBED_DECODE_ONLY
/* Kinds 8..12: every coding in one mode; 13: rows with weights; 14: two modes with padding. */
static inline tte_options golden_table_options(int kind)
{
    static const tte_coding codings[7] = {TTE_F32, TTE_F16, TTE_I8, TTE_I4, TTE_ENTROPY, TTE_ENTROPY,
                                          TTE_ENTROPY};
    static const int one[1] = {30}, two[2] = {4, 8};
    static float weights[GOLDEN_VOCAB];
    tte_shape shape = kind == 14 ? make_shape(2, two) : make_shape(1, one);
    tte_options options = make_options(codings[kind - GOLDEN_KINDS], 0, kind == 11 ? 0.3f : 0.1f, &shape);
    options.layout = TTE_PER_TABLE;
    for (int t = 0; t < GOLDEN_VOCAB; t++)
        weights[t] = (float)(1 << t % 6);
    options.row_weight = kind == 13 ? weights : NULL;
    return options;
}

/* Kinds 0..3: rank cap 3; kinds 4..7: adaptive; each in F32, F16, I8, I4. */
static inline tte_options golden_options(int kind)
{
    static const tte_coding codings[4] = {TTE_F32, TTE_F16, TTE_I8, TTE_I4};
    static const int dims[3] = {4, 4, 2};
    tte_shape shape = make_shape(3, dims);
    if (kind >= GOLDEN_KINDS)
        return golden_table_options(kind);
    return make_options(codings[kind % 4], kind < 4 ? 3 : 0, kind < 4 ? 0 : 0.5f, &shape);
}

#endif

/* No row may be further from the table than this; from GOLDEN_KINDS on, all rows together, by weight. */
static inline double golden_bound(int kind)
{
    if (kind >= GOLDEN_KINDS)
        return kind == 11 ? 0.3 : 0.1;
    return kind < 4 ? 1.0 : 0.5;
}

static inline void golden_path(int kind, char path[200])
{
    static const char *const names[4] = {"f32", "f16", "i8", "i4"};
    static const char *const tables[7] = {"f32", "f16", "i8", "i4", "entropy", "entropy-weights",
                                          "entropy-modes"};
    if (kind >= GOLDEN_KINDS) {
        sprintf(path, "tests/golden/table-%s.tte", tables[kind - GOLDEN_KINDS]);
        return;
    }
    sprintf(path, "tests/golden/token-%s-%s.tte", names[kind % 4], kind < 4 ? "uniform" : "adapted");
}

/* A whole file in a heap block of the exact size; NULL when it is missing. */
static inline void *golden_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    void *bytes;
    long length;
    if (file == NULL) {
        fprintf(stderr, "%s is missing; run the tests from the repository's root\n", path);
        return NULL;
    }
    fseek(file, 0, SEEK_END);
    length = ftell(file);
    rewind(file);
    bytes = test_alloc((size_t)length);
    *size = fread(bytes, 1, (size_t)length, file);
    fclose(file);
    return bytes;
}

static inline void *golden_bytes(int kind, size_t *size)
{
    char path[200];
    golden_path(kind, path);
    return golden_file(path, size);
}

/* ---- the rows of the images, as they were read when the images were made ------------------------- */

/* tests/golden/rows.bin: all rows of image 0, of image 1, .., in float32, little-endian. */
#define GOLDEN_ROWS_PATH "tests/golden/rows.bin"
enum { GOLDEN_ROWS = GOLDEN_VOCAB * GOLDEN_DIM };

/* Whether this compiler may round otherwise than after every operation in float: in wider registers, or
 * with multiply and add fused. gcc fuses unless C99 is asked for, and in C++ always; clang fuses what
 * stands in one expression. */
#if FLT_EVAL_METHOD != 0
#define GOLDEN_LAST_BITS_FREE 1
#elif (defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__aarch64__) || defined(__s390x__) || \
       defined(__powerpc__)) && (defined(__clang__) || defined(__cplusplus) || !defined(__STRICT_ANSI__))
#define GOLDEN_LAST_BITS_FREE 1
#else
#define GOLDEN_LAST_BITS_FREE 0
#endif

/* Compares the rows of one image with the record: bit for bit; where the last bits are free, to 2 ulp of
 * the row's largest entry. With one train for the table that is the largest entry of all rows, since a
 * short row is what remains of the mean row and the rest after they cancel. */
static inline void check_golden_rows(int kind, const float *rows)
{
    size_t size = 0, first = (size_t)kind * GOLDEN_ROWS;
    unsigned char *bytes = (unsigned char *)golden_file(GOLDEN_ROWS_PATH, &size);
    float *want = new_floats(GOLDEN_ROWS);
    double largest = 0;
    if (!CHECK(bytes != NULL && size == (size_t)GOLDEN_ALL * GOLDEN_ROWS * 4)) {
        free(want), free(bytes);
        return;
    }
    for (size_t i = 0; i < GOLDEN_ROWS; i++) {
        const unsigned char *at = bytes + 4 * (first + i);
        want[i] = float_from_bits((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                                  (uint32_t)at[3] << 24);
        largest = fabs((double)want[i]) > largest ? fabs((double)want[i]) : largest;
    }
    for (size_t t = 0; t < GOLDEN_VOCAB; t++) {
        const float *a = want + t * GOLDEN_DIM, *b = rows + t * GOLDEN_DIM;
        double worst = 0, of_row = 0;
        for (size_t j = 0; j < GOLDEN_DIM; j++) {
            double entry = fabs((double)a[j]), gap = fabs((double)a[j] - (double)b[j]);
            of_row = entry > of_row ? entry : of_row;
            worst = gap > worst || gap != gap ? gap : worst; /* NaN stays */
        }
        CHECK_LE(worst, 2 * (double)FLT_EPSILON * (kind < GOLDEN_KINDS ? of_row : largest));
        if (!GOLDEN_LAST_BITS_FREE && !CHECK(memcmp(a, b, GOLDEN_DIM * sizeof *a) == 0) && test.bad <= 5)
            fprintf(stderr, "    image %d, row %u, by up to %g\n", kind, (unsigned)t, worst);
    }
    free(want), free(bytes);
}

#endif
