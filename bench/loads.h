/* loads.h: the compressions that are timed, all of rows of width 768: Gaussian rows one by one in
 * float32 cores, and a table of GPT-2's size as a whole, entropy-coded.
 */
#ifndef BENCH_LOADS_H
#define BENCH_LOADS_H

#define LOAD_DIM 768

typedef struct bench_load {
    const char *name;
    tte_shape shape;
    int cap;
    size_t rows;     /* enough that one run takes a while */
    float ratio;     /* 0: rows one by one in this shape; else the whole table, this much smaller */
} bench_load;

static const bench_load loads[] = {
    {"12x64 cap 4", {2, {12, 64}}, 4, 20000, 0},
    {"24x32 cap 6", {2, {24, 32}}, 6, 5000, 0},
    {"8x8x12 cap 4", {3, {8, 8, 12}}, 4, 8000, 0},
    {"4x4x4x4x3 cap 2", {5, {4, 4, 4, 4, 3}}, 2, 10000, 0},
    {"2^10 cap 1", {10, {2, 2, 2, 2, 2, 2, 2, 2, 2, 2}}, 1, 10000, 0},
    {"2^10 cap 4", {10, {2, 2, 2, 2, 2, 2, 2, 2, 2, 2}}, 4, 4000, 0},
};

static const bench_load load_whole = {"whole table 8x", {0, {0}}, 0, 50257, 8};

static inline float *load_table(const bench_load *load)
{
    return load->ratio > 0 ? bench_spectrum_table(load->rows, LOAD_DIM)
                           : bench_gaussian_table(load->rows, LOAD_DIM);
}

static inline void load_compress_as(const bench_load *load, tte_coding coding, const float *table,
                                    size_t rows, tte_image *image)
{
    tte_options options;
    tte_status status;
    memset(&options, 0, sizeof options);
    options.layout = load->ratio > 0 ? TTE_PER_TABLE : TTE_PER_TOKEN;
    options.coding = coding;
    options.shape = load->shape;
    options.max_rank = load->cap;
    options.ratio = load->ratio;
    status = tte_compress(table, rows, LOAD_DIM, &options, image);
    if (status != TTE_OK) bench_stop(load->name, tte_status_text(status));
}

/* In the coding that is timed. */
static inline void load_compress(const bench_load *load, const float *table, size_t rows,
                                 tte_image *image)
{
    load_compress_as(load, load->ratio > 0 ? TTE_ENTROPY : TTE_F32, table, rows, image);
}

#endif
