/* test_limits.c: both sides of every size check. The library's private limit on sizes is lowered
 * from SIZE_MAX to 1 MiB, so that "too large" is within reach: below it everything works in buffers
 * of the exact size, beyond it everything is refused, and nothing wraps in between. */
#define LIMIT 1048576
#define TTEI_SIZE_MAX ((size_t)LIMIT)
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "harness.h"
#include "tables.h"

/* Runs an SVD of m x n in exactly the work the size function asks for. */
static tte_status run_svd(int m, int n, size_t work_size)
{
    size_t k = (size_t)(m < n ? m : n);
    float *a = random_floats((size_t)m * (size_t)n), *u = new_floats((size_t)m * k);
    float *s = new_floats(k), *vt = new_floats(k * (size_t)n);
    void *work = test_alloc(work_size);
    tte_status status = tte_svd_f32(m, n, a, u, s, vt, work);
    free(a), free(u), free(s), free(vt), free(work);
    return status;
}

static void svd_up_to_the_limit(void)
{
    for (int aspect = 1; aspect <= 64; aspect *= test.small ? 64 : 4) {
        int last = 0;
        for (int n = 1; n <= 1000; n++) {
            size_t size = tte_svd_f32_work(aspect * n, n), turned = tte_svd_f32_work(n, aspect * n);
            size_t wide = tte_svd_f64_work(aspect * n, n);
            CHECK(size < LIMIT && wide < LIMIT && turned < LIMIT);
            CHECK(wide == 0 || wide >= size);
            if (size == 0) continue;
            CHECK(n == last + 1); /* once refused, larger ones are refused too */
            last = n;
        }
        CHECK(last >= 1 && last < 1000);
        CHECK_STATUS(run_svd(aspect * last, last, tte_svd_f32_work(aspect * last, last)), TTE_OK);
        CHECK_STATUS(run_svd(aspect * (last + 1), last + 1, LIMIT), TTE_ERR_SHAPE);
    }
}

/* Cores are counted in floats, but it is their bytes that must be countable. */
static void cores_up_to_the_limit(void)
{
    const size_t most = LIMIT / sizeof(float);
    static const int32_t ones[3] = {1, 1, 1};
    tte_shape shape = make_shape(1, ones);
    for (int n = (int)most - 3; n <= (int)most + 3; n++) {
        shape.dim[0] = n;
        CHECK(tte_core_len(&shape, ones) == ((size_t)n <= most ? (size_t)n : 0));
        CHECK(tte_core_cap(&shape, 0) == ((size_t)n <= most ? (size_t)n : 0));
    }
    shape.modes = 2;
    for (int n = 1; n < 400; n++) { /* a middle rank that makes the sum cross the limit */
        int32_t ranks[3] = {1, 1000, 1};
        size_t sum = 1000 * (size_t)n * 2;
        shape.dim[0] = shape.dim[1] = n;
        CHECK(tte_core_len(&shape, ranks) == (sum <= most ? sum : 0));
        CHECK(tte_core_cap(&shape, 0) <= most);
    }
}

static void decompose_up_to_the_limit(void)
{
    int last = 0;
    for (int n = 1; n <= 128; n++) {
        int dims[3];
        tte_shape shape;
        float *x = random_floats((size_t)(n * n * n)), *cores = new_floats((size_t)(4 * n * n * n));
        int32_t ranks[4];
        size_t size;
        dims[0] = dims[1] = dims[2] = n;
        shape = make_shape(3, dims);
        size = tte_decompose_work(&shape);
        CHECK(size < LIMIT && (size == 0 || n == last + 1));
        last = size > 0 ? n : last;
        if (n < 4 || size == 0 || n == 16) {
            void *work = test_alloc(size > 0 ? size : LIMIT);
            CHECK_STATUS(tte_decompose(&shape, x, 3, 0, ranks, cores, work), size > 0 ? TTE_OK : TTE_ERR_SHAPE);
            free(work);
        }
        free(x), free(cores);
        if (size == 0) break;
    }
    CHECK(last > 16 && last < 128);
}

/* Compresses so many rows; whether they are accepted. Accepted images open and can be used. */
static int accepted(const float *table, size_t vocab, size_t dim, const tte_options *options)
{
    tte_image image = sentinel_image();
    tte_status status = tte_compress(table, vocab, dim, options, &image);
    tte_table t;
    if (status != TTE_OK) {
        CHECK_STATUS(status, TTE_ERR_SHAPE);
        CHECK(is_sentinel(&image));
        return 0;
    }
    image = exact_image(&image);
    CHECK(image.size < LIMIT);
    if (CHECK_STATUS(tte_open(&t, image.data, image.size), TTE_OK)) use_everything(&t);
    free(image.data);
    return 1;
}

/* The number of rows at which "too large" begins, by bisection; one row less must go well, and
 * everything beyond is refused. */
static void tables_up_to_the_limit(void)
{
    static const int dims[3] = {2, 3, 4};
    tte_shape shape = make_shape(3, dims);
    size_t dim = 22, most = 25000;
    float *table = random_floats(most * dim);
    for (int kind = 0; kind < 8; kind += test.small ? 5 : 1) {
        tte_options options = make_options(all_codings[kind % 4], kind < 4 ? 2 : 0, kind < 4 ? 0 : 0.6f, &shape);
        size_t good = 1, bad = most;
        CHECK(accepted(table, good, dim, &options) && !accepted(table, bad, dim, &options));
        while (bad - good > 1 && test.bad == 0) {
            size_t middle = good + (bad - good) / 2;
            *(accepted(table, middle, dim, &options) ? &good : &bad) = middle;
        }
        CHECK(!accepted(table, bad + 1, dim, &options) && !accepted(table, bad + 100, dim, &options));
        CHECK(good * dim * sizeof(float) < LIMIT);
    }
    free(table);
}

/* Two images that fit, which together do not. */
static void joining_beyond_the_limit(void)
{
    static const int dims[3] = {2, 3, 4};
    tte_shape shape = make_shape(3, dims);
    size_t dim = 22, vocab = 3600;
    float *table = random_floats(2 * vocab * dim);
    for (int kind = 0; kind < 2; kind++) {
        tte_options options = make_options(TTE_F32, kind == 0 ? 4 : 0, kind == 0 ? 0 : 0.1f, &shape);
        tte_image image = make_image(table, vocab, dim, &options), out = sentinel_image();
        tte_table twice[2];
        twice[0] = twice[1] = open_image(&image);
        CHECK(image.size > LIMIT / 2);
        CHECK_STATUS(tte_merge(twice, 1, &out), TTE_OK);
        tte_free(&out);
        out = sentinel_image();
        CHECK_STATUS(tte_merge(twice, 2, &out), TTE_ERR_SHAPE);
        CHECK_STATUS(tte_append(&twice[0], table, 2 * vocab, NULL, &out), TTE_ERR_SHAPE);
        CHECK(is_sentinel(&out));
        free(image.data);
    }
    free(table);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_limits");
    RUN(svd_up_to_the_limit);
    RUN(cores_up_to_the_limit);
    RUN(decompose_up_to_the_limit);
    RUN(tables_up_to_the_limit);
    RUN(joining_beyond_the_limit);
    return test_end();
}
