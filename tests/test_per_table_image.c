/* test_per_table_image.c: images of TTE_PER_TABLE that are cut, lengthened, changed; and images of
 * earlier days. */
#include "bodies.h"
#include "harness.h"
#include "tables.h"
#include "per_table.h"
#include "golden.h"

enum { AT_CRC = 8, AT_VERSION = 12, AT_MODES = 16, AT_SECTIONS = 17, AT_SHAPE = 144 };

/* ---- images to work on ----------------------------------------------------------------------- */

/* Small ones of every coding, in one mode and in two; the last one has classes of steps. */
enum { KINDS = 11, VOCAB = 37, WIDTH = 10 };

static tte_image small_image(int kind)
{
    static const int modes[2] = {3, 4};
    float *table = make_table(DECAYING, VOCAB, WIDTH), weights[VOCAB];
    tte_options options = table_options(all_codings[kind == 10 ? CODINGS - 1 : kind % CODINGS]);
    tte_image image;
    for (int t = 0; t < VOCAB; t++)
        weights[t] = (float)(1 << t % 9);
    options.eps = 0.2f;
    options.shape = make_shape(kind < CODINGS ? 0 : 2, modes);
    options.row_weight = kind == 10 ? weights : NULL;
    image = make_image(table, VOCAB, WIDTH, &options);
    free(table);
    return image;
}

static size_t header_size(const unsigned char *image)
{
    return AT_SHAPE + 4 + 8 * (size_t)image[AT_MODES] + 24 * (size_t)image[AT_SECTIONS];
}

static void repair_header(unsigned char *image, size_t size)
{
    size_t end = header_size(image);
    if (end > AT_VERSION && end <= size) {
        uint32_t crc = test_crc32(image + AT_VERSION, end - AT_VERSION);
        for (int i = 0; i < 4; i++)
            image[AT_CRC + i] = (unsigned char)(crc >> 8 * i & 0xFF);
    }
}

/* The calls that make a new image, from a view whose bytes may be anything. */
static void grow_from(const tte_table *t)
{
    tte_info info = get_info(t);
    tte_table twice[2], grown;
    float *row;
    if (info.dim > 4096 || info.vocab > 4096)
        return;
    row = new_floats(info.dim);
    for (size_t j = 0; j < info.dim; j++)
        row[j] = (float)(j % 5) - 2;
    twice[0] = twice[1] = *t;
    for (int call = 0; call < 4 + CODINGS; call++) {
        tte_image image = sentinel_image();
        tte_options options = table_options(info.coding);
        tte_status status;
        options.like = t;
        status = call == 0 ? tte_append(t, row, 1, &image)
               : call == 1 ? tte_replace(t, (uint32_t)info.vocab / 2, row, &image)
               : call == 2 ? tte_merge(twice, 2, &image)
               : call == 3 ? tte_compress(row, 1, info.dim, &options, &image)
                           : tte_recode(t, all_codings[call - 4], &image);
        if (status == TTE_OK) {
            if (tte_open(&grown, image.data, image.size) == TTE_OK)
                use_everything(&grown);
            tte_free(&image);
        } else {
            CHECK(is_sentinel(&image));
        }
    }
    free(row);
}

/* Opens bytes that may be anything, in a block of the exact size, and uses the view. */
static tte_status open_and_use(const unsigned char *bytes, size_t size)
{
    static unsigned long opened;
    void *copy = test_copy(bytes, size);
    tte_table t;
    tte_status status;
    memset(&t, 0xA5, sizeof t);
    status = tte_open(&t, copy, size);
    if (status == TTE_OK) {
        use_everything(&t);
        if (opened++ % 61 == 0)
            grow_from(&t);
        CHECK(heap.live == 0);
    } else {
        CHECK(is_untouched(&t, sizeof t));
    }
    free(copy);
    return status;
}

/* ---- cases ----------------------------------------------------------------------------------- */

static void every_truncation(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        for (size_t size = 0; size < image.size; size++) {
            tte_status status = open_and_use((const unsigned char *)image.data, size);
            CHECK(status == TTE_ERR_TRUNCATED || (size < AT_SHAPE && status == TTE_ERR_FORMAT));
        }
        free(image.data);
    }
}

static void bytes_too_many(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        for (size_t more = 1; more <= 130; more += more < 3 ? 1 : 61) {
            unsigned char *longer = (unsigned char *)test_alloc(image.size + more);
            memset(longer, 0, image.size + more);
            memcpy(longer, image.data, image.size);
            CHECK_STATUS(open_and_use(longer, image.size + more), TTE_ERR_FORMAT);
            free(longer);
        }
        free(image.data);
    }
}

/* Every byte in turn, by several changes; in the header under a checksum made good again. */
static void every_byte_changed(void)
{
    static const unsigned char changes[] = {0xFF, 0x01, 0x80, 0x10};
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        unsigned char *bytes = (unsigned char *)image.data;
        size_t header = header_size(bytes);
        long opened = 0;
        for (size_t at = 0; at < image.size; at++)
            for (int c = 0; c < (test.small ? 1 : 4); c++) {
                bytes[at] ^= changes[c];
                if (at < header)
                    CHECK(open_and_use(bytes, image.size) != TTE_OK);
                repair_header(bytes, image.size);
                opened += open_and_use(bytes, image.size) == TTE_OK;
                bytes[at] ^= changes[c];
                repair_header(bytes, image.size);
            }
        CHECK(opened > 100); /* the repair is right: much of an image may hold anything */
        CHECK_STATUS(open_and_use(bytes, image.size), TTE_OK);
        free(image.data);
    }
}

/* Many bytes at once, behind the header, so that tte_open sees them. */
static void random_damage(void)
{
    int rounds = test.small ? 60 : 1000;
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        size_t header = header_size((const unsigned char *)image.data);
        long opened = 0;
        for (int round = 0; round < rounds; round++) {
            unsigned char *bytes = (unsigned char *)test_copy(image.data, image.size);
            for (int n = rng_int(1, 1 << round % 6); n > 0; n--)
                bytes[rng_int((int)header, (int)image.size - 1)] = (unsigned char)(rng_next() & 0xFF);
            opened += open_and_use(bytes, image.size) == TTE_OK;
            free(bytes);
        }
        CHECK(opened > rounds / 20);
        free(image.data);
    }
}

/* Records of nothing but one value, and of noise: all that an entropy decoder can be given. */
static void garbage_records(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        tte_table t = open_image(&image);
        unsigned char *bytes = (unsigned char *)image.data;
        size_t start = (size_t)(t.records - t.data);
        for (int round = 0; round < (test.small ? 30 : 400); round++) {
            for (size_t at = start; at < start + t.records_size; at++)
                bytes[at] = (unsigned char)(round < 18 ? round * 15 : rng_int(0, 255));
            CHECK_STATUS(open_and_use(bytes, image.size), TTE_OK);
        }
        free(image.data);
    }
}

/* Fields that a lie would turn into a read outside the bytes, at the edges of their types. */
static void lying_numbers(void)
{
    static const uint64_t lies[] = {0, 1, 2, 15, 16, 17, 31, 32, 33, 255, 256, 0x7FFF, 0xFFFF, 0x10000,
                                    0x7FFFFFFF, 0x80000000u, 0xFFFFFFFFu, 0x100000000u,
                                    0x7FFFFFFFFFFFFFFFu, 0xFFFFFFFFFFFFFFC0u, 0xFFFFFFFFFFFFFFFFu};
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        const unsigned char *original = (const unsigned char *)image.data;
        size_t header = header_size(original), end = 0;
        tte_table t = open_image(&image);
        CHECK(t.shared != NULL);
        end = image.size;
        for (size_t at = AT_VERSION; at + 8 <= end; at += 2) {
            if (at >= header && at < (size_t)(t.records - t.data) + t.records_size)
                continue; /* records are garbage elsewhere; the index and what is shared follow them */
            for (int l = 0; l < 21; l += test.small ? 5 : 1)
                for (int width = 2; width <= 8; width *= 2) {
                    unsigned char *bytes = (unsigned char *)test_copy(original, image.size);
                    for (int i = 0; i < width; i++)
                        bytes[at + (size_t)i] = (unsigned char)(lies[l] >> 8 * i & 0xFF);
                    repair_header(bytes, image.size);
                    (void)open_and_use(bytes, image.size);
                    free(bytes);
                }
        }
        free(image.data);
    }
}

static void every_flipped_bit_is_noticed(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        unsigned char *bytes = (unsigned char *)image.data;
        for (size_t at = 0; at < image.size; at++)
            for (int bit = 0; bit < 8; bit += test.small ? 3 : 1) {
                tte_table t;
                tte_status status;
                bytes[at] ^= (unsigned char)(1 << bit);
                status = tte_open(&t, bytes, image.size);
                if (status == TTE_OK)
                    status = tte_verify(&t);
                if (!CHECK(status != TTE_OK) && test.bad <= 5)
                    fprintf(stderr, "    kind %d, byte %d, bit %d\n", kind, (int)at, bit);
                bytes[at] ^= (unsigned char)(1 << bit);
            }
        free(image.data);
    }
}

/* Images written by version 1 open for ever and still hold the table they were made from. A row of zeros
 * in a table with a mean comes back as something small: it has no relative error. */
static void golden_images(void)
{
    float *table = golden_table();
    for (int kind = GOLDEN_KINDS; kind < GOLDEN_ALL; kind++) {
        size_t size = 0;
        void *bytes = golden_bytes(kind, &size);
        tte_options options = golden_options(kind);
        tte_image image;
        measured m;
        if (!CHECK(bytes != NULL))
            continue;
        image.data = bytes, image.size = size;
        m = check_image(&image, table, GOLDEN_VOCAB, GOLDEN_DIM, &options);
        CHECK_LE(m.weighted, golden_bound(kind));
        CHECK(open_and_use((const unsigned char *)bytes, size) == TTE_OK);
        free(bytes);
    }
    free(table);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_per_table_image");
    RUN(every_truncation);
    RUN(bytes_too_many);
    RUN(every_byte_changed);
    RUN(random_damage);
    RUN(garbage_records);
    RUN(lying_numbers);
    RUN(every_flipped_bit_is_noticed);
    RUN(golden_images);
    return test_end();
}
