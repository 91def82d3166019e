/* images.h: images to begin with, and every reading call on what became of them. Include it after
 * fuzz.h, tests/tables.h and tests/golden.h. */
#ifndef FUZZ_IMAGES_H
#define FUZZ_IMAGES_H

#include "../made.h"

/* Beyond these an image is opened and asked for its size, and left: a small file may promise much. */
enum { FUZZ_MOST_ROWS = 4096, FUZZ_MOST_DIM = 4096 };

/* ---- images to begin with ---------------------------------------------------------------------- */

enum { FUZZ_POOL = 40 };
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

#ifndef TT_EMBED_READ_ONLY

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
    options.layout = rng_int(0, 1) ? TTE_PER_TOKEN : TTE_PER_TABLE;
    switch (rng_int(0, 3)) {
    case 0:  options.eps = (float)(0.01 + 0.6 * rng_uniform()); break;
    default: options.ratio = (float)(0.3 + 2 * rng_uniform()); break;
    }
    for (size_t t = 0; t < vocab; t++)
        weights[t] = (float)exp(2 * rng_normal());
    if (options.layout == TTE_PER_TABLE) {
        options.effort = 1;
        options.row_weight = rng_int(0, 1) ? weights : NULL;
    } else {
        options.coding = (tte_coding)rng_int(TTE_F32, TTE_I4);
        for (int k = 0; k < 4 && modes[k] != 0; k++)
            options.shape.dim[options.shape.modes++] = modes[k];
        if (rng_int(0, 2) == 0) options.max_rank = rng_int(1, 20), options.ratio = 0;
    }
    if (tte_compress(table, vocab, dim, &options, &image) == TTE_OK) {
        image = exact_image(&image);
        fuzz_pool_add(image.data, image.size);
    }
    free(table), free(weights);
}

#endif

static inline void fuzz_pool_fill(void)
{
    uint64_t state = test.state;
    for (int kind = 0; kind < GOLDEN_ALL; kind++) {
        size_t length = 0;
        void *bytes = golden_bytes(kind, &length);
        fuzz_pool_add(bytes, length);
    }
#ifndef TT_EMBED_READ_ONLY
    test.state = test.seed;
    for (int tries = 0; tries < 2 * FUZZ_POOL; tries++)
        fuzz_pool_compress();
#endif
    if (fuzz_pool_size == 0)
        exit(2);
    test.state = state;
}

/* An image of TTE_PER_TABLE of any settings, filled with any bits; now and then its scales are any bf16, infinities and
 * NaN among them. */
static inline tte_image fuzz_made_image(void)
{
    plan p = random_plan(rng_int(0, 3) ? rng_int(1, 24) : rng_int(20, 70), rng_int(0, 3) ? rng_int(0, 20) : rng_int(100, 300));
    for (int i = 0, wild = rng_int(0, 3) == 0; wild && i <= p.dim; i++) {
        if (rng_int(0, 9) == 0) p.gain[i % 16] = (uint16_t)rng_int(0, 0xFFFF);
        if (rng_int(0, 9) == 0) p.scale[i % 65] = (uint16_t)rng_int(0, 0xFFFF);
        if (rng_int(0, 9) == 0) p.basis_scale[i] = (uint16_t)rng_int(0, 0xFFFF);
        if (rng_int(0, 9) == 0) p.exponent = rng_int(-200, 200);
    }
    return write_image(&p);
}

/* A golden image, or one that was compressed at the first call, where there is a compressor, or a made one. Returns its
 * size, at most FUZZ_LARGEST / 4. */
static inline size_t fuzz_some_image(unsigned char *out)
{
    tte_image image = {NULL, 0};
    int which;
    if (fuzz_pool_size == 0)
        fuzz_pool_fill();
    which = rng_int(0, 2 * fuzz_pool_size - 1);
    if (which < fuzz_pool_size) {
        memcpy(out, fuzz_pool[which].bytes, fuzz_pool[which].size);
        return fuzz_pool[which].size;
    }
    do {
        free(image.data);
        image = fuzz_made_image();
    } while (image.size > FUZZ_LARGEST / 4);
    memcpy(out, image.data, image.size);
    free(image.data);
    return image.size;
}

/* A byte of what rows share or of the index becomes another, mostly near the beginning of its section. */
static inline void fuzz_change_section(unsigned char *image, size_t image_size)
{
    uint64_t size = 0, first = 0;
    unsigned char *byte;
    if (image_size > AT_SHAPE && header_end(image) < image_size)
        first = section_at(image, rng_int(INDEX, BASIS), &size);
    if (size == 0 || first > image_size || size > image_size - first)
        return;
    byte = image + first + rng_next() % (size > 60 && rng_int(0, 3) ? 60 : size);
    *byte = (unsigned char)(rng_int(0, 1) ? rng_int(0, 255) : *byte + rng_int(-2, 2));
}

/* An image with a few changes. Returns its size. */
static inline size_t fuzz_changed_image(unsigned char *out, size_t capacity, int most)
{
    static unsigned char other[FUZZ_LARGEST];
    size_t size = fuzz_some_image(out), other_size = fuzz_some_image(other);
    for (int n = rng_int(0, 7) == 0 ? rng_int(0, 60) : rng_int(0, most); n > 0; n--)
        if (rng_int(0, 2) == 0)
            fuzz_change_section(out, size);
        else
            size = fuzz_change(out, size, capacity, other, other_size);
    return size;
}

/* ---- everything that reads ---------------------------------------------------------------------- */

static inline int fuzz_is_nan(float value) { return value != value; }

/* Whether a view is small enough to be used here. */
static inline int fuzz_is_small(const tte_table *t)
{
    tte_info info = get_info(t);
    return info.dim <= FUZZ_MOST_DIM && info.vocab <= FUZZ_MOST_ROWS;
}

static inline void fuzz_scores(const tte_table *t, const tte_info *info, const float *query,
                               float *scratch)
{
    size_t first = info->vocab / 3, count = info->vocab - first < 70 ? info->vocab - first : 70;
    size_t k = info->vocab < 9 ? info->vocab : 9;
    uint32_t *best = (uint32_t *)test_alloc(k * sizeof *best);
    float *scores = new_floats(k), *out = new_floats(count), *all = new_floats(info->vocab);
    fuzz_meter();
    CHECK(tte_logits(t, query, 0, (uint32_t)info->vocab, all, scratch) == TTE_OK);
    fuzz_check_work((double)(info->bytes + 4 * (info->dim + info->vocab)), 1);
    CHECK(tte_logits(t, query, (uint32_t)first, (uint32_t)count, out, scratch) == TTE_OK);
    fuzz_meter();
    CHECK(tte_top_k(t, query, (uint32_t)k, best, scores, scratch) == TTE_OK);
    fuzz_check_work((double)(info->bytes + 4 * info->dim), 1);
    for (size_t i = 0; i < k; i++) {
        CHECK(best[i] < info->vocab);
        CHECK(i == 0 || scores[i - 1] > scores[i] || (scores[i - 1] == scores[i] && best[i - 1] < best[i])
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
    tte_status status;
    fuzz_meter();
    status = tte_verify(t);
    fuzz_check_work((double)info.bytes, 1);
    CHECK(status == TTE_OK || status == TTE_ERR_CHECKSUM);
    CHECK(tte_scratch_len(t) <= 16 * info.dim + 1024);
    if (!fuzz_is_small(t))
        return;
    row = new_floats(info.dim), scratch = new_floats(tte_scratch_len(t));
    CHECK(tte_lookup(t, (uint32_t)info.vocab, row, scratch) == TTE_ERR_RANGE);
    if (info.vocab > 0) {
        tokens = (uint32_t *)test_alloc(count * sizeof *tokens), rows = new_floats(count * info.dim);
        for (size_t i = 0; i < count; i++)
            tokens[i] = (uint32_t)(i < 8 ? (info.vocab - 1) * i / 7 : (i * 0x9E3779B1u) % info.vocab);
        fuzz_meter();
        CHECK(tte_lookup_batch(t, tokens, count, rows, scratch) == TTE_OK);
        fuzz_check_work((double)count * (double)(info.bytes + 4 * info.dim), 1);
        for (size_t i = 0; i < count; i++) {
            fuzz_meter();
            CHECK(tte_lookup(t, tokens[i], row, scratch) == TTE_OK);
            fuzz_check_work((double)(info.bytes + 4 * info.dim), 1);
            CHECK(same_floats(row, rows + i * info.dim, info.dim));
            CHECK(tte_inner_tokens(t, tokens[i], tokens[(i + 1) % count], &inner, scratch) == TTE_OK);
        }
        for (int kind = 0; kind < 2; kind++) {
            for (size_t j = 0; j < info.dim; j++)
                row[j] = kind == 0 ? (float)((int)(j % 7) - 3) : j % 2 ? 3e38f : -1e-40f;
            fuzz_scores(t, &info, row, scratch);
        }
        free(tokens), free(rows);
    }
    free(row), free(scratch);
}

#endif
