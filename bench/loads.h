/* loads.h: what is compressed and read for its speed: rows of width 768 in trains of their own, and a table of
 * GPT-2's size, 50257 x 768. Include it behind bench.h and tt_embed.h with its implementation.
 */
#ifndef BENCH_LOADS_H
#define BENCH_LOADS_H

#define LOAD_VOCAB 50257
#define LOAD_DIM 768

typedef struct bench_load {
    const char *name;
    tte_shape shape;
    int cap;
    size_t rows;     /* enough that one run takes a while */
} bench_load;

static const bench_load loads[] = {
    {"12x64 cap 4", {2, {12, 64}}, 4, 20000},
    {"24x32 cap 6", {2, {24, 32}}, 6, 5000},
    {"8x8x12 cap 4", {3, {8, 8, 12}}, 4, 8000},
    {"4^4x3 cap 2", {5, {4, 4, 4, 4, 3}}, 2, 8000},
    {"2^8x3 cap 1", {9, {2, 2, 2, 2, 2, 2, 2, 2, 3}}, 1, 10000},
    {"2^10 cap 1", {10, {2, 2, 2, 2, 2, 2, 2, 2, 2, 2}}, 1, 10000},
    {"2^10 cap 4", {10, {2, 2, 2, 2, 2, 2, 2, 2, 2, 2}}, 4, 4000},
};

static inline void load_compress(const bench_load *load, tte_coding coding, const float *table, size_t rows,
                                 tte_image *image)
{
    tte_options options;
    tte_status status;
    memset(&options, 0, sizeof options);
    options.layout = TTE_PER_TOKEN;
    options.coding = coding;
    options.shape = load->shape;
    options.max_rank = load->cap;
    status = tte_compress(table, rows, LOAD_DIM, &options, image);
    if (status != TTE_OK) bench_stop(load->name, tte_status_text(status));
}

static inline void whole_compress(const float *table, size_t dim, double ratio, int effort, tte_image *image)
{
    tte_options options;
    tte_status status;
    memset(&options, 0, sizeof options);
    options.ratio = (float)ratio;
    options.effort = effort;
    status = tte_compress(table, LOAD_VOCAB, dim, &options, image);
    if (status != TTE_OK) bench_stop("a table of 50257 rows", tte_status_text(status));
}

/* 50257 x 768: the rows of a real table, where `path` names one of that width, as often as needed, a Gaussian tenth
   of a row's length added from the second time on; else a table with a model's spectrum. */
static inline float *whole_table(const char *path, const char **what)
{
    named_table real;
    float *table;
    uint64_t state = LOAD_VOCAB;
    size_t t, i;
    *what = "Gaussian rows with a model's spectrum";
    if (path == NULL) return bench_spectrum_table(LOAD_VOCAB, LOAD_DIM);
    real = table_read(path);
    if (real.dim != LOAD_DIM) bench_stop(path, "not 768 numbers a row");
    *what = "the rows of all-mpnet-base-v2, some of them twice with noise";
    table = (float *)bench_alloc((size_t)LOAD_VOCAB * LOAD_DIM, sizeof *table);
    for (t = 0; t < LOAD_VOCAB; t++) {
        const float *from = real.rows + t % real.vocab * LOAD_DIM;
        double square = 0;
        for (i = 0; i < LOAD_DIM; i++) square += (double)from[i] * (double)from[i];
        for (i = 0; i < LOAD_DIM; i++) {
            const double noise = t < real.vocab ? 0 : 0.1 * sqrt(square / LOAD_DIM) * bench_gaussian(&state);
            table[t * LOAD_DIM + i] = (float)((double)from[i] + noise);
        }
    }
    free(real.rows);
    return table;
}

#endif
