/* test_rows.c: rows stay independent. A row gives the same record whatever rows stand beside it, at
   any scale, for sparse rows as well, and user shapes of every kind go through the search. */

#include "bodies.h"
#include "harness.h"
#include "tables.h"

/* Rows of which most entries are zero, some negative zero. */
static float *sparse_table(size_t vocab, size_t dim)
{
    float *table = new_floats(vocab * dim);
    for (size_t i = 0; i < vocab * dim; i++) {
        int kind = rng_int(0, 9);
        table[i] = kind < 2 ? (float)rng_normal() : kind == 2 ? -0.0f : 0.0f;
    }
    return table;
}

static void check_alone_equals_together(const float *table, size_t vocab, size_t dim,
                                        const tte_options *options)
{
    tte_image whole, one;
    tte_table t, u;
    CHECK_STATUS(tte_compress(table, vocab, dim, options, &whole), TTE_OK);
    CHECK_STATUS(tte_open(&t, whole.data, whole.size), TTE_OK);
    for (size_t row = 0; row < vocab; row++) {
        CHECK_STATUS(tte_compress(table + row * dim, 1, dim, options, &one), TTE_OK);
        CHECK_STATUS(tte_open(&u, one.data, one.size), TTE_OK);
        CHECK(t.record_size == u.record_size);
        CHECK(memcmp(t.records + row * t.record_size, u.records, u.record_size) == 0);
        tte_free(&one);
    }
    tte_free(&whole);
}

static void alone_as_in_company(void)
{
    static const int shapes[4][3] = {{4, 4, 3}, {6, 8, 1}, {2, 3, 8}, {12, 2, 2}};
    int rounds = test.small ? 2 : 30;
    for (int round = 0; round < rounds; round++) {
        float *table = round % 2 ? sparse_table(19, 48) : random_floats(19 * 48);
        tte_shape shape = make_shape(3, shapes[round % 4]);
        for (int coding = 0; coding < 4; coding++) {
            tte_options options = make_options((tte_coding)coding, 1 + round % 5, 0, &shape);
            check_alone_equals_together(table, 19, 48, &options);
        }
        free(table);
    }
}

static double numbers_of(const float *table, size_t vocab, size_t dim, const tte_options *options)
{
    tte_image image = sentinel_image();
    tte_table t;
    tte_info info;
    memset(&info, 0, sizeof info);
    if (CHECK_STATUS(tte_compress(table, vocab, dim, options, &image), TTE_OK)) {
        CHECK_STATUS(tte_open(&t, image.data, image.size), TTE_OK);
        CHECK_STATUS(tte_get_info(&t, &info), TTE_OK);
        tte_free(&image);
    }
    return info.mean_numbers;
}

/* Multiplying a table by a power of two changes next to no rank. */
static void ranks_at_any_scale(void)
{
    static const int dims[3] = {8, 8, 12};
    static const int powers[5] = {-7, -2, 3, 5, 9};
    const tte_shape shape = make_shape(3, dims);
    const size_t vocab = 20, dim = 768;
    float *table = random_floats(vocab * dim), *scaled = new_floats(vocab * dim);
    for (int coding = 0; coding < 3; coding++) {
        tte_options options = make_options((tte_coding)coding, 0, 0.5f, &shape);
        double numbers = numbers_of(table, vocab, dim, &options);
        CHECK_LE(numbers, 800); /* full ranks would take 976 */
        for (int i = 0; i < 5; i++) {
            for (size_t j = 0; j < vocab * dim; j++) scaled[j] = ldexpf(table[j], powers[i]);
            CHECK_LE(fabs(numbers_of(scaled, vocab, dim, &options) / numbers - 1), 0.03);
        }
    }
    free(table);
    free(scaled);
}

/* The search reads unfoldings that are much taller or wider than any step of the decomposition. */
static void search_in_lopsided_shapes(void)
{
    static const int shapes[4][3] = {{1000, 2, 2}, {2, 1000, 2}, {2, 2, 1000}, {4000, 1, 1}};
    float *table = random_floats(8 * 3900);
    for (int i = 0; i < 4; i++)
        for (int coding = 0; coding < 4; coding++) {
            tte_options options = no_options();
            tte_image image = sentinel_image();
            tte_status status;
            options.shape = make_shape(3, shapes[i]);
            options.coding = (tte_coding)coding;
            options.ratio = 6;
            status = tte_compress(table, 8, 3900, &options, &image);
            if (status == TTE_OK) {
                CHECK((double)image.size * 6 <= 8.0 * 3900 * 4);
                tte_free(&image);
            } else {
                CHECK_STATUS(status, TTE_ERR_BUDGET);
                CHECK(is_sentinel(&image));
            }
        }
    free(table);
}

/* r[2] = 3 where r[1]*n[2] = 2: no train has such ranks, and no image with them may open. The record
   size and every checksum are made to fit. */
static void ranks_no_train_can_have(void)
{
    static const int dims[4] = {10, 2, 2, 10};
    const tte_shape shape = make_shape(4, dims);
    float *table = random_floats(3 * 400);
    tte_options options = make_options(TTE_F32, 1, 0, &shape);
    tte_image image;
    tte_table t;
    unsigned char *p;
    size_t header, size = 0;
    CHECK_STATUS(tte_compress(table, 3, 400, &options, &image), TTE_OK);
    CHECK_STATUS(tte_open(&t, image.data, image.size), TTE_OK);
    header = (size_t)(t.records - t.data);
    size = header + 3 * 4 * (10 + 2 * 3 + 3 * 2 + 10);      /* cores 1x10x1, 1x2x3, 3x2x1, 1x10x1 */
    p = (unsigned char *)calloc(size, 1);
    memcpy(p, image.data, header);
    p[40] = 0;                                              /* no cap                             */
    p[144 + 16] = 3;                                        /* r[2]                               */
    p[32] = (unsigned char)(size & 255);
    p[33] = (unsigned char)(size >> 8);
    p[180 + 8] = (unsigned char)((size - header) & 255);    /* the section's size                 */
    p[180 + 9] = (unsigned char)((size - header) >> 8);
    {
        uint32_t crc = test_crc32(p + header, size - header);
        for (int i = 0; i < 4; i++) p[180 + 16 + i] = (unsigned char)(crc >> 8 * i);
        crc = test_crc32(p + 12, 204 - 12);
        for (int i = 0; i < 4; i++) p[8 + i] = (unsigned char)(crc >> 8 * i);
    }
    CHECK_STATUS(tte_open(&t, p, size), TTE_ERR_FORMAT);
    free(p);
    tte_free(&image);
    free(table);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_rows");
    RUN(alone_as_in_company);
    RUN(ranks_at_any_scale);
    RUN(search_in_lopsided_shapes);
    RUN(ranks_no_train_can_have);
    return test_end();
}
