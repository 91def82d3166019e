/* loads.h: the per-token compressions that are timed: Gaussian rows of width 768, float32 cores. */
#ifndef BENCH_LOADS_H
#define BENCH_LOADS_H

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
    {"4x4x4x4x3 cap 2", {5, {4, 4, 4, 4, 3}}, 2, 10000},
    {"2^10 cap 1", {10, {2, 2, 2, 2, 2, 2, 2, 2, 2, 2}}, 1, 10000},
    {"2^10 cap 4", {10, {2, 2, 2, 2, 2, 2, 2, 2, 2, 2}}, 4, 4000},
};

/* Compress, or stop the program: a bench has no other way to go on. */
static void load_compress(const bench_load *load, const float *table, size_t rows, tte_image *image)
{
    tte_options options;
    tte_status status;
    memset(&options, 0, sizeof options);
    options.coding = TTE_F32;
    options.shape = load->shape;
    options.max_rank = load->cap;
    status = tte_compress(table, rows, LOAD_DIM, &options, image);
    if (status != TTE_OK) {
        fprintf(stderr, "%s: %s\n", load->name, tte_status_text(status));
        exit(2);
    }
}

#endif
