/* fuzz_grow.c: append, replace, merge, `like`, fit and shrink on images that need not be good ones. An input is a byte for what
 * is done, two for how, one for how the images are repaired, the length of the first image in two bytes, then the first
 * image and the second. */
#include "../bodies.h"
#include "../harness.h"
#include "../tables.h"
#include "../golden.h"
#define FUZZ_NAME "fuzz_grow"
#include "fuzz.h"
#include "images.h"

enum { APPENDED, REPLACED, MERGED, MERGED_THREE, AS_LIKE, FITTED, SHRUNK, CALLS };

/* Options of any kind that suit a table of that many rows. */
static tte_options some_options(unsigned how, const tte_info *info, const float *weights)
{
    tte_options options = no_options();
    options.layout = (tte_layout)(how % 3);
    options.effort = options.layout == TTE_PER_TOKEN ? 0 : how >> 15 && info->vocab * info->dim < 500 ? 5 : 1;
    options.coding = options.layout == TTE_PER_TOKEN ? (tte_coding)(how >> 2 & 3) : TTE_CODING_AUTO;
    if (how >> 4 & 1) options.ratio = 0.5f + (float)(how >> 5 & 31) / 6;
    if (how >> 10 & 1) options.eps = (float)(1 + (how >> 11 & 3)) / 5;
    if (how >> 13 & 1 && options.layout != TTE_PER_TOKEN) options.row_weight = weights;
    return options;
}

/* Rows are counted by level, beside others that nobody has seen, and the image's classes fitted to all. */
static tte_status fit(unsigned how, const float *rows, size_t count, size_t dim, const tte_options *options, tte_image *out)
{
    static const uint64_t others[4] = {0, 1000, 0xffffffffu, UINT64_MAX};
    uint64_t *levels = (uint64_t *)test_alloc(TTE_LEVELS * sizeof *levels);
    memory_rows from = {rows, dim};
    tte_status status;
    memset(levels, 0, TTE_LEVELS * sizeof *levels);
    status = tte_count(rows_from_memory, &from, count, dim, options, levels);
    levels[how >> 3 & (TTE_LEVELS - 1)] += others[how >> 7 & 3];
    if (status == TTE_OK) status = tte_fit(options->like, levels, (float)(1 + (how >> 9)) / 8, out);
    free(levels);
    return status;
}

static tte_status grow(int call, unsigned how, const tte_table *a, const tte_table *b, tte_image *out)
{
    static const float heights[4] = {1, 0, 1e-30f, 1e30f};
    tte_info info = get_info(a);
    tte_table parts[3];
    tte_options options = no_options();
    size_t count = how % 4 + 1;
    float *rows = new_floats(count * info.dim), *weights = new_floats(info.vocab + 4);
    tte_status status;
    for (size_t i = 0; i < count * info.dim; i++)
        rows[i] = heights[how >> 2 & 3] * (float)((int)(i * 37 % 11) - 5);
    for (size_t i = 0; i < info.vocab + 4; i++)
        weights[i] = (float)(1 + i * 7 % 5) * heights[how >> 4 & 3] + 1e-35f;
    parts[0] = parts[2] = *a, parts[1] = *b;
    switch (call) {
    case APPENDED: status = tte_append(a, rows, count, how >> 6 & 1 ? weights : NULL, out); break;
    case REPLACED: status = tte_replace(a, (uint32_t)((how >> 6) % (info.vocab + 1)), rows,
                                        how >> 5 & 1 ? weights[0] : 0, out); break;
    case MERGED:   status = tte_merge(parts, 2, out); break;
    case MERGED_THREE: status = tte_merge(parts, 3, out); break;
    case SHRUNK:
        options = some_options(how, &info, weights);
        status = tte_shrink(a, &options, out);
        break;
    default:
        options.layout = TTE_PER_TABLE;
        options.like = b;
        options.row_weight = how >> 6 & 1 ? weights : NULL;
        status = call == FITTED ? fit(how, rows, count, info.dim, &options, out)
                                : tte_compress(rows, count, info.dim, &options, out);
    }
    free(rows), free(weights);
    return status;
}

/* Bytes of the images, the rows and the new image; the rows of tte_shrink are all that the image holds. */
static double bytes_of(int call, unsigned how, const tte_table *a, const tte_table *b, const tte_image *out)
{
    const tte_info info = get_info(a), other = get_info(b);
    const double rows = call == SHRUNK ? (double)info.vocab : call == MERGED || call == MERGED_THREE ? 0 : how % 4 + 1;
    return (double)(info.bytes + other.bytes + (is_sentinel(out) ? 0 : out->size)) + 4 * rows * (double)info.dim
         + (call == FITTED ? (double)(TTE_LEVELS * sizeof(uint64_t)) : 0);
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
        vocab = call == APPENDED ? vocab + how % 4 + 1 : call == MERGED ? vocab + other.vocab
              : call == MERGED_THREE ? 2 * vocab + other.vocab : call == AS_LIKE ? how % 4 + 1 : call == FITTED ? 0 : vocab;
        CHECK(grown.vocab == vocab && grown.dim == info.dim);
        CHECK(call >= AS_LIKE || grown.coding == info.coding);
        fuzz_read_everything(&t);
    }
    free(image->data);
}

static void fuzz_one(const unsigned char *data, size_t size)
{
    fuzz_input in = {data, size};
    const int call = fuzz_take_int(&in, 0, CALLS - 1);
    const unsigned how = (unsigned)fuzz_take(&in, 2), repair = (unsigned)fuzz_take(&in, 1);
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
        if (info.dim <= 256 && info.vocab <= 300) {
            tte_image image = sentinel_image();
            tte_status status;
            fuzz_meter();
            status = grow(call, how, &a, &b, &image);
            fuzz_check_work(bytes_of(call, how, &a, &b, &image), (double)info.dim + (info.layout == TTE_PER_TABLE && first[192] > 12 ? (double)(1 << first[192]) : 4096));
            CHECK(status != TTE_ERR_MEMORY && status != TTE_ERR_IO && status != TTE_ERR_CANCELLED
                  && status != TTE_ERR_FORMAT && status != TTE_ERR_CHECKSUM);
            CHECK(heap.live == (status == TTE_OK));
            if (status == TTE_OK)
                check_grown(call, how, &a, &b, &image);
            else
                CHECK(is_sentinel(&image) || (status == TTE_ERR_BUDGET && image.data == NULL));
            if (test.bad > 0)
                fprintf(stderr, "    call %d, how %u, %s\n", call, how, test_status_name(status));
        }
    }
    free(first), free(second);
}

/* The second image is often the first once more, each with its own changes: only likes merge. */
static size_t fuzz_make(unsigned char *out, size_t capacity)
{
    unsigned char *at = out + 6, *other;
    size_t first, second, room = capacity / 3;
    out[0] = (unsigned char)rng_int(0, CALLS - 1);
    put_number(out + 1, 2, rng_next());
    out[3] = (unsigned char)(rng_int(0, 1) ? FUZZ_CHECKSUMS * 5 : rng_int(0, 15));
    first = fuzz_changed_image(at, room, 2);
    put_number(out + 4, 2, first);
    other = at + first;
    if (rng_int(0, 3) == 0)
        return 6 + first + fuzz_changed_image(other, room, 2);
    memcpy(other, at, first);
    second = first;
    for (int n = rng_int(0, 2); n > 0; n--)
        second = fuzz_change(other, second, room, at, first);
    return 6 + first + second;
}
