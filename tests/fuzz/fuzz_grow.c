/* fuzz_grow.c: append, replace, merge and `like` on images that need not be good ones. An input is a
 * byte for what is done, one for how the images are repaired, the length of the first image in two
 * bytes, then the first image and the second. */
#include "../bodies.h"
#include "../harness.h"
#include "../tables.h"
#include "../golden.h"
#define FUZZ_NAME "fuzz_grow"
#include "fuzz.h"
#include "images.h"

enum { APPEND, REPLACE, MERGE, MERGE_THREE, LIKE, CALLS };

static tte_status grow(int call, unsigned how, const tte_table *a, const tte_table *b, tte_image *out)
{
    static const float heights[4] = {1, 0, 1e-30f, 1e30f};
    tte_info info = get_info(a);
    tte_table parts[3];
    tte_options options = no_options();
    size_t count = how % 4 + 1;
    float *rows = new_floats(count * info.dim);
    tte_status status;
    for (size_t i = 0; i < count * info.dim; i++)
        rows[i] = heights[how >> 2 & 3] * (float)((int)(i * 37 % 11) - 5);
    parts[0] = parts[2] = *a, parts[1] = *b;
    switch (call) {
    case APPEND:  status = tte_append(a, rows, count, out); break;
    case REPLACE: status = tte_replace(a, (uint32_t)((how >> 4) * (info.vocab - 1) / 15), rows,
                                       out); break;
    case MERGE:   status = tte_merge(parts, 2, out); break;
    case MERGE_THREE: status = tte_merge(parts, 3, out); break;
    default:
        options.layout = TTE_PER_TABLE;
        options.coding = info.coding;
        options.like = b;
        status = tte_compress(rows, count, info.dim, &options, out);
    }
    free(rows);
    return status;
}

/* The new image is a good one, and has as many rows as it should. */
static void check_grown(int call, unsigned how, const tte_table *a, const tte_table *b, tte_image *image)
{
    tte_info info = get_info(a), other = get_info(b), grown;
    tte_table t;
    size_t vocab = info.vocab;
    *image = exact_image(image);
    if (CHECK(tte_open(&t, image->data, image->size) == TTE_OK)) {
        CHECK(tte_verify(&t) == TTE_OK);
        grown = get_info(&t);
        vocab = call == APPEND ? vocab + how % 4 + 1 : call == MERGE ? vocab + other.vocab
              : call == MERGE_THREE ? 2 * vocab + other.vocab : call == LIKE ? how % 4 + 1 : vocab;
        CHECK(grown.vocab == vocab && grown.dim == info.dim && grown.coding == info.coding);
        fuzz_read_everything(&t);
    }
    free(image->data);
}

static void fuzz_one(const unsigned char *data, size_t size)
{
    fuzz_input in = {data, size};
    const int call = fuzz_take_int(&in, 0, CALLS - 1);
    const unsigned how = (unsigned)fuzz_take(&in, 1), repair = (unsigned)fuzz_take(&in, 1);
    size_t length = (size_t)fuzz_take(&in, 2), rest;
    unsigned char *first, *second;
    tte_table a, b;
    length = length < in.left ? length : in.left;
    rest = in.left - length;
    first = (unsigned char *)test_copy(in.bytes, length),
        second = (unsigned char *)test_copy(in.bytes + length, rest);
    fuzz_repair(first, length, (int)(repair % FUZZ_REPAIRS));
    fuzz_repair(second, rest, (int)(repair / 4 % FUZZ_REPAIRS));
    if (tte_open(&a, first, length) == TTE_OK && fuzz_is_small(&a)) {
        int two = tte_open(&b, second, rest) == TTE_OK && fuzz_is_small(&b);
        tte_info info = get_info(&a);
        if (!two) b = a;
        if (info.dim <= 256 && info.vocab <= 256) {
            tte_image image = sentinel_image();
            tte_status status = grow(call, how, &a, &b, &image);
            CHECK(status != TTE_ERR_MEMORY && status != TTE_ERR_IO && status != TTE_ERR_CANCELLED);
            if (status == TTE_OK)
                check_grown(call, how, &a, &b, &image);
            else
                CHECK(is_sentinel(&image));
        }
    }
    free(first), free(second);
}

/* The second image is often the first once more, each with its own changes: only likes merge. */
static size_t fuzz_make(unsigned char *out, size_t capacity)
{
    size_t first, second, other_size;
    const unsigned char *image = fuzz_some_image(&first), *other = fuzz_some_image(&other_size),
        *again = image;
    unsigned char *at = out + 5;
    out[0] = (unsigned char)rng_int(0, CALLS - 1);
    out[1] = (unsigned char)rng_int(0, 255);
    out[2] = (unsigned char)rng_int(0, 15);
    second = first;
    if (rng_int(0, 3) == 0) again = other, second = other_size;
    memcpy(at, image, first);
    for (int n = rng_int(0, 3); n > 0; n--)
        first = fuzz_change(at, first, capacity / 4, other, other_size);
    fuzz_put(out + 3, 2, first);
    at += first;
    memcpy(at, again, second);
    for (int n = rng_int(0, 2); n > 0; n--)
        second = fuzz_change(at, second, capacity / 4, other, other_size);
    return 5 + first + second;
}
