/* images.h: images to begin with, and every reading call on what became of them. Include it after
 * fuzz.h, tests/tables.h and tests/golden.h. */
#ifndef FUZZ_IMAGES_H
#define FUZZ_IMAGES_H

/* Beyond these an image is opened and asked for its size, and left: a small file may promise much. */
enum { FUZZ_MOST_SCRATCH = 1 << 22, FUZZ_MOST_ROWS = 4096, FUZZ_MOST_DIM = 4096 };

/* ---- images to begin with ---------------------------------------------------------------------- */

enum { FUZZ_POOL = 80 };
static struct { unsigned char *bytes; size_t size; } fuzz_pool[FUZZ_POOL];
static int fuzz_pool_size;

static inline void fuzz_pool_add(void *bytes, size_t size)
{
    if (bytes == NULL || size > FUZZ_LARGEST / 4 || fuzz_pool_size == FUZZ_POOL) {
        free(bytes);
        return;
    }
    fuzz_pool[fuzz_pool_size].bytes = (unsigned char *)bytes;
    fuzz_pool[fuzz_pool_size++].size = size;
}

#ifndef TT_EMBED_DECODE_ONLY

/* An image of a small table: any layout and coding, any shape, any kind of budget. */
static inline void fuzz_pool_compress(void)
{
    static const int32_t modes_of[6][4] = {{0}, {64}, {8, 8}, {4, 4, 4}, {2, 300}, {2, 3, 3, 4}};
    size_t dim = (size_t)(rng_int(0, 3) == 0 ? rng_int(1, 20) : rng_int(20, 64)),
        vocab = (size_t)rng_int(1, 70);
    float *table = mixed_table(vocab, dim), *weights = new_floats(vocab);
    const int32_t *modes = modes_of[rng_int(0, 5)];
    tte_options options = no_options();
    tte_image image;
    options.layout = rng_int(0, 2) == 0 ? TTE_PER_TOKEN : TTE_PER_TABLE;
    options.coding = (tte_coding)rng_int(0, options.layout == TTE_PER_TOKEN ? 3 : 4);
    for (int k = 0; k < 4 && modes[k] != 0; k++)
        options.shape.dim[options.shape.modes++] = modes[k];
    switch (rng_int(0, 3)) {
    case 0: options.max_rank = rng_int(1, 20); break;
    case 1: options.eps = (float)(0.01 + 0.6 * rng_uniform()); break;
    case 2: options.ratio = (float)(1 + 2 * rng_uniform()); break;
    }
    for (size_t t = 0; t < vocab; t++)
        weights[t] = (float)exp(2 * rng_normal());
    if (options.layout == TTE_PER_TABLE && rng_int(0, 2) == 0)
        options.row_weight = weights;
    if (tte_compress(table, vocab, dim, &options, &image) == TTE_OK) {
        image = exact_image(&image);
        fuzz_pool_add(image.data, image.size);
    }
    free(table), free(weights);
}

#endif

/* The golden images, and others where there is a compressor; the first call makes them. */
static inline const unsigned char *fuzz_some_image(size_t *size)
{
    int which;
    if (fuzz_pool_size == 0) {
        uint64_t state = test.state;
        for (int kind = 0; kind < GOLDEN_ALL; kind++) {
            size_t length = 0;
            void *bytes = golden_bytes(kind, &length);
            fuzz_pool_add(bytes, length);
        }
#ifndef TT_EMBED_DECODE_ONLY
        test.state = test.seed;
        for (int tries = 0; tries < 2 * FUZZ_POOL; tries++)
            fuzz_pool_compress();
#endif
        if (fuzz_pool_size == 0)
            exit(2);
        test.state = state;
    }
    which = (int)(rng_next() % (uint64_t)fuzz_pool_size);
    *size = fuzz_pool[which].size;
    return fuzz_pool[which].bytes;
}

/* An image with a few changes. Returns its size. */
static inline size_t fuzz_changed_image(unsigned char *out, size_t capacity)
{
    size_t size, other_size;
    const unsigned char *image = fuzz_some_image(&size), *other = fuzz_some_image(&other_size);
    if (size > capacity) size = capacity;
    memcpy(out, image, size);
    for (int n = rng_int(0, 7) == 0 ? rng_int(0, 60) : rng_int(0, 4); n > 0; n--)
        size = fuzz_change(out, size, capacity, other, other_size);
    return size;
}

/* ---- everything that reads ---------------------------------------------------------------------- */

static inline int fuzz_is_nan(float value) { return value != value; }

/* Equal bits; any NaN is like any other. */
static inline int fuzz_same(const float *a, const float *b, size_t count)
{
    size_t i = 0;
    while (i < count && (memcmp(a + i, b + i, sizeof *a) == 0 || (fuzz_is_nan(a[i])
                                                                  && fuzz_is_nan(b[i]))))
        i++;
    return i == count;
}

/* Whether a view is small enough to be used here. */
static inline int fuzz_is_small(const tte_table *t)
{
    tte_info info = get_info(t);
    return info.dim <= FUZZ_MOST_DIM && info.vocab <= FUZZ_MOST_ROWS
        && tte_scratch_len(t) <= FUZZ_MOST_SCRATCH;
}

static inline float *fuzz_floats(size_t count)  /* not filled: scratch may be large */
{
    float *block = (float *)malloc(count != 0 ? count * sizeof *block : 1);
    if (block == NULL)
        exit(2);
    return block;
}

static inline void fuzz_scores(const tte_table *t, const tte_info *info, const float *query,
                               float *scratch)
{
    size_t first = info->vocab / 3, count = info->vocab - first < 70 ? info->vocab - first : 70;
    size_t k = info->vocab < 9 ? info->vocab : 9;
    uint32_t *best = (uint32_t *)test_alloc(k * sizeof *best);
    float *scores = fuzz_floats(k), *out = fuzz_floats(count), *all = fuzz_floats(info->vocab);
    CHECK(tte_logits(t, query, 0, (uint32_t)info->vocab, all, scratch) == TTE_OK);
    CHECK(tte_logits(t, query, (uint32_t)first, (uint32_t)count, out, scratch) == TTE_OK);
    CHECK(tte_top_k(t, query, (uint32_t)k, best, scores, scratch) == TTE_OK);
    for (size_t i = 0; i < k; i++) {
        CHECK(best[i] < info->vocab);
        CHECK(i == 0 || scores[i - 1] > scores[i] || (scores[i - 1] == scores[i]
                                                      && best[i - 1] < best[i])
              || fuzz_is_nan(scores[i]) || fuzz_is_nan(scores[i - 1]));
    }
    free(best), free(scores), free(out), free(all);
}

/* Every reading call, in buffers of the exact size. What must hold for any bytes is checked: many rows
 * at once are the rows one by one, statuses are those of the contract. */
static inline void fuzz_read_everything(const tte_table *t)
{
    tte_info info = get_info(t);
    const size_t count = 11;
    uint32_t *tokens;
    float *row, *rows, *scratch, inner;
    tte_status status = tte_verify(t);
    CHECK(status == TTE_OK || status == TTE_ERR_CHECKSUM);
    CHECK(tte_scratch_len(t) < SIZE_MAX / sizeof(float));
    if (!fuzz_is_small(t))
        return;
    tokens = (uint32_t *)test_alloc(count * sizeof *tokens);
    row = fuzz_floats(info.dim), rows = fuzz_floats(count * info.dim),
        scratch = fuzz_floats(tte_scratch_len(t));
    for (size_t i = 0; i < count; i++)
        tokens[i] = (uint32_t)(i < 8 ? (info.vocab - 1) * i / 7 : (i * 0x9E3779B1u) % info.vocab);
    CHECK(tte_lookup_batch(t, tokens, count, rows, scratch) == TTE_OK);
    for (size_t i = 0; i < count; i++) {
        CHECK(tte_lookup(t, tokens[i], row, scratch) == TTE_OK);
        CHECK(fuzz_same(row, rows + i * info.dim, info.dim));
        CHECK(tte_inner_tokens(t, tokens[i], tokens[(i + 1) % count], &inner, scratch) == TTE_OK);
    }
    CHECK(tte_lookup(t, (uint32_t)info.vocab, row, scratch) == TTE_ERR_RANGE);
    for (size_t j = 0; j < info.dim; j++)
        row[j] = (float)((int)(j % 7) - 3);
    fuzz_scores(t, &info, row, scratch);
    for (size_t j = 0; j < info.dim; j++)
        row[j] = j % 2 ? 3e38f : -1e-40f;
    fuzz_scores(t, &info, row, scratch);
    free(tokens), free(row), free(rows), free(scratch);
}

#endif
