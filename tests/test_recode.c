/* test_recode.c: tte_recode, from every coding to every other. */

#include "counted_heap.h"

#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "harness.h"
#include "tables.h"

#define VOCAB 50
#define DIM 60

/* 0: uniform ranks; 1: ranks adapted to each row. */
static tte_image recode_source(const float *table, tte_coding coding, int adapted)
{
    static const int dims[2] = {8, 8};
    const tte_shape shape = make_shape(2, dims);
    tte_options options = make_options(coding, adapted ? 0 : 5, adapted ? 0.4f : 0, &shape);
    tte_image image = sentinel_image();
    CHECK_STATUS(tte_compress(table, VOCAB, DIM, &options, &image), TTE_OK);
    return image;
}

/* |table - rows of t| / |table| */
static double measured_error(const tte_table *t, const float *table)
{
    float *scratch = new_floats(tte_scratch_len(t)), row[DIM];
    double error2 = 0, norm2 = 0;
    for (uint32_t token = 0; token < VOCAB; token++) {
        CHECK_STATUS(tte_lookup(t, token, row, scratch), TTE_OK);
        for (int j = 0; j < DIM; j++) {
            double x = (double)table[token * DIM + (uint32_t)j], miss = x - (double)row[j];
            error2 += miss * miss;
            norm2 += x * x;
        }
    }
    free(scratch);
    return sqrt(error2 / norm2);
}

static void from_each_to_each(void)
{
    static const double added[4] = {2e-6, 2e-3, 0.03, 0.4}; /* what rounding may add */
    float *table = mixed_table(VOCAB, DIM);
    for (int adapted = 0; adapted < 2; adapted++)
        for (int from = 0; from < 4; from++)
            for (int to = 0; to < 4; to++) {
                tte_image a, b = sentinel_image();
                tte_table t, u;
                tte_info before, after;
                if (adapted && from == TTE_I4) continue; /* 0.4 is beyond what 4 bits reach here */
                a = recode_source(table, (tte_coding)from, adapted);
                CHECK_STATUS(tte_open(&t, a.data, a.size), TTE_OK);
                if (!CHECK_STATUS(tte_recode(&t, (tte_coding)to, &b), TTE_OK)) return;
                CHECK_STATUS(tte_open(&u, b.data, b.size), TTE_OK);
                CHECK_STATUS(tte_verify(&u), TTE_OK);
                CHECK_STATUS(tte_get_info(&t, &before), TTE_OK);
                CHECK_STATUS(tte_get_info(&u, &after), TTE_OK);
                CHECK(after.coding == (tte_coding)to && after.vocab == VOCAB && after.dim == DIM);
                CHECK(memcmp(before.ranks, after.ranks, sizeof before.ranks) == 0);
                CHECK_LE(fabs(before.mean_numbers - after.mean_numbers), 1e-12);
                CHECK_LE(measured_error(&u, table), after.rel_error * (1 + 1e-6) + 1e-6);
                CHECK_LE(measured_error(&u, table), measured_error(&t, table) + added[to]);
                CHECK_LE(after.rel_error, before.rel_error + added[to]);
                CHECK(after.max_row_error >= before.max_row_error);
                if (to > from) CHECK(after.bytes <= before.bytes); /* narrower codes */
                tte_free(&a);
                tte_free(&b);
            }
    free(table);
}

/* A recoded image is an image like any other: it grows with rows in its new coding. */
static void recoded_images_grow(void)
{
    float *table = mixed_table(VOCAB, DIM);
    tte_image a = recode_source(table, TTE_F32, 0), b = sentinel_image(), c = sentinel_image();
    tte_table t, u, v;
    float *scratch, row[DIM], again[DIM];
    CHECK_STATUS(tte_open(&t, a.data, a.size), TTE_OK);
    CHECK_STATUS(tte_recode(&t, TTE_I8, &b), TTE_OK);
    CHECK_STATUS(tte_open(&u, b.data, b.size), TTE_OK);
    CHECK_STATUS(tte_append(&u, table, 3, &c), TTE_OK);
    CHECK_STATUS(tte_open(&v, c.data, c.size), TTE_OK);
    CHECK(v.vocab == VOCAB + 3);
    scratch = new_floats(tte_scratch_len(&v));
    CHECK_STATUS(tte_lookup(&u, VOCAB - 1, row, scratch), TTE_OK);
    CHECK_STATUS(tte_lookup(&v, VOCAB - 1, again, scratch), TTE_OK);
    CHECK(memcmp(row, again, sizeof row) == 0);
    free(scratch);
    tte_free(&a);
    tte_free(&b);
    tte_free(&c);
    free(table);
}

static void refused(void)
{
    float *table = mixed_table(VOCAB, DIM);
    tte_image a = recode_source(table, TTE_F32, 0), out = sentinel_image();
    tte_table t;
    CHECK_STATUS(tte_open(&t, a.data, a.size), TTE_OK);
    CHECK_STATUS(tte_recode(NULL, TTE_I8, &out), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_recode(&t, TTE_I8, NULL), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_recode(&t, TTE_ENTROPY, &out), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_recode(&t, (tte_coding)7, &out), TTE_ERR_ARGUMENT);
    CHECK(is_sentinel(&out));
    tte_free(&a);

    for (size_t i = 0; i < VOCAB * DIM; i++) table[i] *= 1e30f; /* beyond float16 scales */
    a = recode_source(table, TTE_F32, 0);
    CHECK_STATUS(tte_open(&t, a.data, a.size), TTE_OK);
    CHECK_STATUS(tte_recode(&t, TTE_I8, &out), TTE_ERR_BUDGET);
    CHECK_STATUS(tte_recode(&t, TTE_F16, &out), TTE_ERR_BUDGET);
    CHECK(is_sentinel(&out));
    tte_free(&a);
    free(table);
}

/* A train of one coefficient for each of `dim` columns, as tte_compress does not make them: what offsets
   of 16 bits cannot reach is refused, whatever the image. */
static void more_coefficients_than_tables_can_follow(void)
{
    size_t dim = 65200, size = 0;
    ttei_plan plan;
    ttei_builder builder;
    size_t run[4] = {0};
    unsigned char *shared = (unsigned char *)calloc(6, dim), *record = (unsigned char *)calloc(4, dim);
    float *numbers = random_floats(4 * dim);
    tte_image image = {NULL, 0}, out = sentinel_image();
    tte_table t;
    memset(&plan, 0, sizeof plan);
    plan.dim = dim;
    plan.layout = TTE_PER_TABLE;
    plan.coding = TTE_F32;
    plan.shape.modes = 16;
    for (int k = 0; k < 16; k++) {
        plan.shape.dim[k] = k == 0 ? 4 : 2;
        plan.caps[k + 1] = 1;
    }
    plan.caps[0] = (int32_t)dim;
    run[3] = 1;
    ttei_matrix_write(numbers, run, dim, shared);
    size = ttei_matrix_bytes(run, dim);
    run[3] = dim;
    ttei_matrix_write(numbers, run, 4, shared + size);
    size += ttei_matrix_bytes(run, 4);
    for (int k = 1; k < 16; k++) {
        run[3] = 1;
        ttei_matrix_write(numbers, run, 2, shared + size);
        size += ttei_matrix_bytes(run, 2);
    }
    plan.shared = shared;
    plan.shared_size = size;
    CHECK_STATUS(ttei_builder_begin(&builder, &plan, 1), TTE_OK);
    CHECK_STATUS(ttei_builder_put(&builder, record, 4 * dim, plan.caps), TTE_OK);
    ttei_errors_add(&builder.errors, 1, 0.01);
    CHECK_STATUS(ttei_builder_end(&builder, &image), TTE_OK);
    CHECK_STATUS(tte_open(&t, image.data, image.size), TTE_OK);
    CHECK_STATUS(tte_recode(&t, TTE_ENTROPY, &out), TTE_ERR_SHAPE);
    CHECK(is_sentinel(&out));
    tte_free(&image);
    free(shared), free(record), free(numbers);
}

static void memory_that_runs_out(void)
{
    float *table = mixed_table(VOCAB, DIM);
    for (int adapted = 0; adapted < 2; adapted++) {
        tte_image a = recode_source(table, TTE_F32, adapted), out = sentinel_image();
        tte_table t;
        tte_status status = TTE_ERR_MEMORY;
        long live = heap.live;
        CHECK_STATUS(tte_open(&t, a.data, a.size), TTE_OK);
        for (long n = 1; status == TTE_ERR_MEMORY && n < 1000; n++) {
            heap.requests = 0;
            heap.refuse = n;
            status = tte_recode(&t, TTE_F16, &out);
            if (status == TTE_OK) break;
            CHECK_STATUS(status, TTE_ERR_MEMORY);
            CHECK(is_sentinel(&out) && heap.live == live);
        }
        CHECK_STATUS(status, TTE_OK);
        CHECK(heap.refuse > 1);
        heap.refuse = 0;
        tte_free(&out);
        tte_free(&a);
    }
    free(table);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_recode");
    RUN(from_each_to_each);
    RUN(recoded_images_grow);
    RUN(refused);
    RUN(more_coefficients_than_tables_can_follow);
    RUN(memory_that_runs_out);
    return test_end();
}
