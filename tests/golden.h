/* golden.h: the images of tests/golden/, how they were made, and the rows that they must give. Images of a released
 * version must open for ever, and give these rows: add to the end of the list, change nothing in it. Include it after
 * bodies.h, harness.h and tables.h. */
#ifndef TEST_GOLDEN_H
#define TEST_GOLDEN_H

enum { GOLDEN_KINDS = 8, GOLDEN_ALL = 18, GOLDEN_MOST = 400 * 21 };  /* TTE_PER_TOKEN; all; numbers of the largest */
enum { GOLDEN_TABLE = GOLDEN_KINDS, GOLDEN_WEIGHTS, GOLDEN_NO_CENTROIDS, GOLDEN_CENTROIDS, GOLDEN_FINE, GOLDEN_ONE,
       GOLDEN_EFFORT_1, GOLDEN_EFFORT_9, GOLDEN_TRAINED, GOLDEN_ANY };

static const struct { const char *name; int vocab, dim; } golden[GOLDEN_ALL] = {
    {"token-f32-uniform", 40, 30}, {"token-f16-uniform", 40, 30}, {"token-i8-uniform", 40, 30},
    {"token-i4-uniform", 40, 30}, {"token-f32-adapted", 40, 30}, {"token-f16-adapted", 40, 30},
    {"token-i8-adapted", 40, 30}, {"token-i4-adapted", 40, 30}, {"table", 150, 21}, {"table-weights", 150, 21},
    {"table-no-centroids", 150, 21}, {"table-centroids", 400, 10}, {"table-fine", 150, 21}, {"table-one", 1, 1},
    {"table-effort-1", 150, 21}, {"table-effort-9", 40, 21}, {"table-trained", 0, 21}, {"table-any", 150, 37}};

static inline size_t golden_numbers(int kind) { return (size_t)golden[kind].vocab * (size_t)golden[kind].dim; }

/* Integers over 64 from integer arithmetic alone: exact in float, the same on every machine. Rows of growing roughness;
 * row 7 is zero. Each kind has a number of rows to be made from, also the one that keeps none. */
static inline size_t golden_rows(int kind) { return golden[kind].vocab > 0 ? (size_t)golden[kind].vocab : 150; }
static inline float *golden_table(int kind)
{
    const int vocab = (int)golden_rows(kind), dim = golden[kind].dim;
    float *table = new_floats((size_t)vocab * (size_t)dim);
    uint32_t state = 2463534242u;
    for (int t = 0; t < vocab; t++)
        for (int j = 0; j < dim; j++) {
            int smooth = (j % 6 - 2) * (t % 5 + 1) + (j / 6 - 1) * (3 - t % 4) * 2, rough, value;
            state ^= state << 13, state ^= state >> 17, state ^= state << 5; /* xorshift32 */
            rough = (int)(state >> 8 & 63) - 32;
            value = smooth * 8 + rough * (t % 40) / 16;
            if (kind == GOLDEN_CENTROIDS)  /* near one of four points, far from each other */
                value = (t * 7 % 4 * 37 + j * 11) % 23 * 40 - 440 + rough / 4;
            if (kind == GOLDEN_NO_CENTROIDS)  /* each row and its negative */
                value = (t % 2 ? -1 : 1) * ((t / 2 * 31 + j * j * 7 + t / 2 * j * 3) % 97 - 48) * 4;
            table[t * dim + j] = t == 7 && kind != GOLDEN_NO_CENTROIDS ? 0 : (float)value / 64.0f;
        }
    return table;
}

#ifndef TT_EMBED_READ_ONLY

/* Kinds 0..3: rank cap 3; kinds 4..7: ranks for each row; each in F32, F16, I8, I4. (The last kind is made.h's.) */
static inline tte_options golden_options(int kind)
{
    static const int dims[3] = {4, 4, 2};
    static float weights[150], metric[21 * 21];
    tte_options options = no_options();
    if (kind < GOLDEN_KINDS) {
        tte_shape shape = make_shape(3, dims);
        return make_options((tte_coding)(TTE_F32 + kind % 4), kind < 4 ? 3 : 0, kind < 4 ? 0 : 0.5f, &shape);
    }
    options.layout = TTE_PER_TABLE;
    switch (kind) {
    case GOLDEN_WEIGHTS:  /* a metric of a diagonal and one direction */
        for (int t = 0; t < 150; t++)
            weights[t] = (float)(1 << t % 6);
        for (int i = 0; i < 21 * 21; i++)
            metric[i] = (float)((i / 21 == i % 21) * (1 + i % 5) + (i / 21 % 3 - 1) * (i % 21 % 3 - 1));
        options.row_weight = weights, options.metric = metric;
        break;
    case GOLDEN_NO_CENTROIDS: options.ratio = 4; break;
    case GOLDEN_FINE:         options.eps = 0.001f; break;
    case GOLDEN_ONE:          options.eps = 0.01f; break;
    case GOLDEN_EFFORT_1:     options.effort = 1, options.ratio = 5; break;
    case GOLDEN_EFFORT_9:     options.effort = 9, options.ratio = 3; break;
    }
    return options;
}

#endif

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

static inline const char *golden_path(int kind)
{
    static char path[200];
    sprintf(path, "tests/golden/%s.tte", golden[kind].name);
    return path;
}

static inline void *golden_bytes(int kind, size_t *size) { return golden_file(golden_path(kind), size); }

/* ---- rows ------------------------------------------------------------------------------------------------- */

/* All rows of image 0, of image 1, .., as they were read when the images were made: float32, little-endian. */
#define GOLDEN_ROWS_PATH "tests/golden/rows.bin"

/* Whether this compiler may round otherwise than after every operation in float, in wider registers or with multiply and
 * add fused: then rows of TTE_PER_TOKEN may differ in their last bits. Those of TTE_PER_TABLE may not. */
#if FLT_EVAL_METHOD != 0
#define GOLDEN_LAST_BITS_FREE 1
#elif (defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__aarch64__) || defined(__s390x__) || \
       defined(__powerpc__)) && (defined(__clang__) || defined(__cplusplus) || !defined(__STRICT_ANSI__))
#define GOLDEN_LAST_BITS_FREE 1
#else
#define GOLDEN_LAST_BITS_FREE 0
#endif

/* Compares the rows of one image with the record: bit for bit, or to 2 ulp of the row's largest entry. */
static inline void check_golden_rows(int kind, const float *rows)
{
    static size_t size;
    static unsigned char *bytes;
    const size_t dim = (size_t)golden[kind].dim;
    size_t first = 0, all = 0;
    if (bytes == NULL)
        bytes = (unsigned char *)golden_file(GOLDEN_ROWS_PATH, &size);
    for (int k = 0; k < GOLDEN_ALL; k++) {
        first += k < kind ? golden_numbers(k) : 0;
        all += golden_numbers(k);
    }
    if (!CHECK(bytes != NULL && size == 4 * all))
        return;
    for (size_t t = 0; t < (size_t)golden[kind].vocab; t++) {
        double worst = 0, largest = 0;
        int same = 1;
        for (size_t j = 0; j < dim; j++) {
            float want = float_from_bits((uint32_t)number_at(bytes + 4 * (first + t * dim + j), 4)),
                got = rows[t * dim + j];
            double gap = fabs((double)want - (double)got);
            largest = fmax(largest, fabs((double)want));
            worst = gap <= worst ? worst : gap; /* NaN stays */
            same = same && memcmp(&want, &got, sizeof want) == 0;
        }
        CHECK_LE(worst, 2 * (double)FLT_EPSILON * largest);
        if (!(GOLDEN_LAST_BITS_FREE && kind < GOLDEN_KINDS) && !CHECK(same) && test.bad <= 5)
            fprintf(stderr, "    %s, row %u, by up to %g\n", golden[kind].name, (unsigned)t, worst);
    }
}

#endif
