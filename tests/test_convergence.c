/* test_convergence.c: what happens when the SVD may not iterate at all. No input of finite numbers
 * is known to exhaust the real budget, so the library's private limit is lowered to zero. */
#define TTEI_SVD_SWEEPS 0
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "harness.h"
#include "tables.h"

enum { M = 6, N = 5 };

static void svd_stops_f32(void)
{
    float *a = random_floats(M * N), *u = new_floats(M * N), *s = new_floats(N), *vt = new_floats(N * N);
    void *work = test_alloc(tte_svd_f32_work(M, N));
    CHECK_STATUS(tte_svd_f32(M, N, a, u, s, vt, work), TTE_ERR_CONVERGENCE);
    CHECK_STATUS(tte_svd_f32(M, N, a, NULL, s, NULL, work), TTE_ERR_CONVERGENCE);
    CHECK(is_untouched(u, M * N * sizeof(float)) && is_untouched(s, N * sizeof(float)));
    CHECK(is_untouched(vt, N * N * sizeof(float)));
    free(a), free(u), free(s), free(vt), free(work);
}

static void svd_stops_f64(void)
{
    double a[M * N], *u = new_doubles(M * N), *s = new_doubles(N), *vt = new_doubles(N * N);
    void *work = test_alloc(tte_svd_f64_work(M, N));
    for (int i = 0; i < M * N; i++) a[i] = rng_normal();
    CHECK_STATUS(tte_svd_f64(M, N, a, u, s, vt, work), TTE_ERR_CONVERGENCE);
    CHECK(is_untouched(u, M * N * sizeof(double)) && is_untouched(s, N * sizeof(double)));
    CHECK(is_untouched(vt, N * N * sizeof(double)));
    free(u), free(s), free(vt), free(work);
}

static void decompose_stops(void)
{
    static const int dims[3] = {4, 3, 5};
    tte_shape shape = make_shape(3, dims);
    float *x = random_floats(60), *cores = new_floats(tte_core_cap(&shape, 0));
    int32_t *ranks = (int32_t *)test_alloc(4 * sizeof(int32_t));
    void *work = test_alloc(tte_decompose_work(&shape));
    CHECK_STATUS(tte_decompose(&shape, x, 0, 0, ranks, cores, work), TTE_ERR_CONVERGENCE);
    CHECK_STATUS(tte_decompose(&shape, x, 2, 0.1f, ranks, cores, work), TTE_ERR_CONVERGENCE);
    CHECK(is_untouched(ranks, 4 * sizeof(int32_t)));
    CHECK(is_untouched(cores, tte_core_cap(&shape, 0) * sizeof(float)));
    free(x), free(cores), free(ranks), free(work);
}

static void compress_stops(void)
{
    static const int dims[2] = {4, 5};
    tte_shape shape = make_shape(2, dims);
    float *table = random_floats(9 * 20);
    for (int i = 0; i < 8; i++) {
        tte_options options = make_options(all_codings[i % 4], i / 4 ? 2 : 0, i / 4 ? 0 : 0.6f, &shape);
        tte_image image = sentinel_image();
        CHECK_STATUS(tte_compress(table, 9, 20, &options, &image), TTE_ERR_CONVERGENCE);
        CHECK(is_sentinel(&image));
    }
    free(table);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_convergence");
    RUN(svd_stops_f32);
    RUN(svd_stops_f64);
    RUN(decompose_stops);
    RUN(compress_stops);
    return test_end();
}
