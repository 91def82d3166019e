/* fuzz_svd.c: singular values and tensor trains of any numbers, NaN and the ends of the range among
 * them. An input is a byte, even for an SVD in float32 or float64, odd for a train, then sizes, then
 * numbers. */
#include "../bodies.h"
#include "../harness.h"
#define FUZZ_NAME "fuzz_svd"
#include "fuzz.h"

enum { SIDE = 14, ENTRIES = 600 };
#define SLACK 12.0  /* twice the ratio that tests/test_svd.c allows, since norms differ */

static double length_of(const double *a, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += a[i] * a[i];
    return sqrt(sum);
}

/* The exponent that brings the largest entry to order one; what is written times 2^-that is safe to
 * square. Entries that are not finite are for the caller to notice. */
static int exponent_of(const double *a, size_t count)
{
    double most = 0;
    int e;
    for (size_t i = 0; i < count; i++)
        most = fabs(a[i]) > most ? fabs(a[i]) : most;
    (void)frexp(most, &e);
    return e;
}

/* |I - Q| where Q holds the products of k vectors; entry t of vector i stands at v[i * step_i + t *
 * step_t]. */
static double skewness(int k, int length, const double *v, int step_i, int step_t)
{
    double total = 0;
    for (int i = 0; i < k; i++)
        for (int j = 0; j < k; j++) {
            double product = i == j ? -1 : 0;
            for (int t = 0; t < length; t++)
                product += v[i * step_i + t * step_t] * v[j * step_i + t * step_t];
            total += product * product;
        }
    return sqrt(total);
}

static double *widened(const void *numbers, size_t count, int single)
{
    double *wide = new_doubles(count);
    for (size_t i = 0; i < count; i++)
        wide[i] = single ? (double)((const float *)numbers)[i] : ((const double *)numbers)[i];
    return wide;
}

/* ---- singular values ---------------------------------------------------------------------------- */

static void check_svd(int single, int m, int n, const void *a, const void *u, const void *s,
                      const void *vt)
{
    const int k = m < n ? m : n, longer = m > n ? m : n;
    const size_t count = (size_t)m * (size_t)n;
    double *wide = widened(a, count, single), *left = widened(u, (size_t)m * (size_t)k, single);
    double *values = widened(s, (size_t)k, single), *right = widened(vt, (size_t)k * (size_t)n, single);
    const double ulp = single ? (double)FLT_EPSILON : DBL_EPSILON;
    int e = exponent_of(wide, count);
    double least = ldexp(single ? ldexp(1, -149) : ldexp(1, -1074), -e), size;  /* what storing s may lose */
    for (int i = k; i-- > 0;) {
        CHECK(values[i] >= 0 && (i == 0 || values[i] <= values[i - 1]));
        values[i] = ldexp(values[i], -e);
    }
    for (size_t i = 0; i < count; i++)
        wide[i] = ldexp(wide[i], -e);
    size = length_of(wide, count);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++)
            for (int l = 0; l < k; l++)
                wide[i * n + j] -= left[i * k + l] * values[l] * right[l * n + j];
    CHECK_LE(length_of(wide, count), SLACK * longer * (ulp * size + least));
    CHECK_LE(skewness(k, m, left, 1, k), SLACK * m * ulp);
    CHECK_LE(skewness(k, n, right, n, 1), SLACK * n * ulp);
    free(wide), free(left), free(values), free(right);
}

static void svd(int single, fuzz_input *in)
{
    const int m = fuzz_take_int(in, 1, SIDE), n = fuzz_take_int(in, 1, SIDE), k = m < n ? m : n;
    const size_t count = (size_t)m * (size_t)n, width = single ? sizeof(float) : sizeof(double);
    const int vectors = fuzz_take_int(in, 0, 7);  /* mostly both */
    void *a = test_alloc(count * width), *s = test_alloc((size_t)k * width);
    void *u = vectors != 1 && vectors != 3 ? test_alloc((size_t)m * (size_t)k * width) : NULL;
    void *vt = vectors != 2 && vectors != 3 ? test_alloc((size_t)k * (size_t)n * width) : NULL;
    void *work = test_alloc(single ? tte_svd_f32_work(m, n) : tte_svd_f64_work(m, n));
    int finite = 1, safe = 1;
    tte_status status;
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = fuzz_take(in, (int)width);
        double value = single ? (double)float_from_bits((uint32_t)bits) : double_from_bits(bits);
        finite = finite && fabs(value) <= (single ? (double)FLT_MAX : DBL_MAX);
        safe = safe && fabs(value) <= (single ? (double)FLT_MAX : DBL_MAX) / (SIDE + 1);
        memcpy((char *)a + i * width, &bits, width);
    }
    if (single)
        status = tte_svd_f32(m, n, (const float *)a, (float *)u, (float *)s, (float *)vt, work);
    else
        status = tte_svd_f64(m, n, (const double *)a, (double *)u, (double *)s, (double *)vt, work);
    CHECK(status == TTE_OK || status == TTE_ERR_NOT_FINITE);
    CHECK(finite || status == TTE_ERR_NOT_FINITE);
    CHECK(!safe || status == TTE_OK);
    if (status == TTE_OK && u != NULL && vt != NULL)
        check_svd(single, m, n, a, u, s, vt);
    else if (status != TTE_OK)
        CHECK(is_untouched(s, (size_t)k * width)
              && (u == NULL || is_untouched(u, (size_t)m * (size_t)k * width))
              && (vt == NULL || is_untouched(vt, (size_t)k * (size_t)n * width)));
    free(a), free(s), free(u), free(vt), free(work);
}

/* ---- trains ------------------------------------------------------------------------------------- */

static void check_train(const tte_shape *shape, const float *x, int max_rank, float eps,
                        const int32_t *ranks,
                        const float *cores)
{
    const size_t count = shape_size(shape), scratch_len = tte_reconstruct_len(shape, ranks);
    float *back = new_floats(count), *scratch = new_floats(scratch_len), product;
    double *want = widened(x, count, 1), *got, bound = fmax((double)eps, 1e-5), size;
    const float *core = cores;
    int e = exponent_of(want, count), cut = 0;
    size_t most = 1;
    CHECK(ranks[0] == 1 && ranks[shape->modes] == 1);
    for (int k = 1; k < shape->modes; k++) {
        CHECK(ranks[k] >= 1 && (size_t)ranks[k] <= bond_limit(shape, k, max_rank));
        cut = cut || (max_rank > 0 && ranks[k] == max_rank);
        most = (size_t)ranks[k] > most ? (size_t)ranks[k] : most;
    }
    CHECK(tte_core_len(shape, ranks) <= tte_core_cap(shape, max_rank));
    for (int k = 0; k + 1 < shape->modes; k++) {  /* all but the last are left-orthonormal */
        int rows = ranks[k] * shape->dim[k];
        double *wide = widened(core, (size_t)rows * (size_t)ranks[k + 1], 1);
        CHECK_LE(skewness(ranks[k + 1], rows, wide, 1, ranks[k + 1]), 1e-5 * (1 + ranks[k + 1]));
        core += rows * ranks[k + 1];
        free(wide);
    }
    CHECK(tte_reconstruct(shape, ranks, cores, back, scratch_len > 0 ? scratch : NULL) == TTE_OK);
    got = widened(back, count, 1);
    for (size_t i = 0; i < count; i++)
        want[i] = ldexp(want[i], -e), got[i] = want[i] - ldexp(got[i], -e);
    size = length_of(want, count);
    CHECK_LE(length_of(got, count),
             (cut ? 1.0 + 1e-5 : bound * (1 + 1e-6)) * size + ldexp((double)(4 * count), -149 - e));
    free(scratch);
    scratch = new_floats(2 * most * most);
    CHECK(tte_inner(shape, ranks, cores, ranks, cores, &product, scratch) == TTE_OK);
    free(back), free(scratch), free(want), free(got);
}

static void train(fuzz_input *in)
{
    tte_shape shape;
    int32_t ranks[TTE_MAX_MODES + 1];
    const int max_rank = fuzz_take_int(in, -1, 9);
    float eps = (float)fuzz_take_int(in, 0, 255) / 256.0f, *x, *cores;
    size_t count = 1, room;
    int finite = 1, safe;
    double length2 = 0;
    void *work;
    tte_status status;
    if (eps < 0.3f) eps = fuzz_take(in, 1) % 4 == 0 ? fuzz_take_float(in) : 0;
    memset(&shape, 0, sizeof shape);
    shape.modes = fuzz_take_int(in, 0, 7);
    for (int k = 0; k < shape.modes; k++) {
        shape.dim[k] = fuzz_take_int(in, 0, 8);
        if (shape.dim[k] > 0 && count * (size_t)shape.dim[k] > ENTRIES)
            shape.dim[k] = 1;
        count *= (size_t)shape.dim[k];
    }
    if (shape.modes == 0 || count == 0) {
        CHECK(tte_decompose_work(&shape) == 0 && tte_core_cap(&shape, max_rank < 0 ? 0 : max_rank) == 0);
        return;
    }
    x = new_floats(count);
    for (size_t i = 0; i < count; i++) {
        x[i] = fuzz_take_float(in);
        finite = finite && fabs((double)x[i]) <= (double)FLT_MAX;
        length2 += (double)x[i] * (double)x[i];
    }
    safe = finite && sqrt(length2) < 0.99989 * (double)FLT_MAX;  /* what is promised to work */
    room = tte_core_cap(&shape, max_rank < 0 ? 0 : max_rank);
    cores = new_floats(room), work = test_alloc(tte_decompose_work(&shape));
    memset(ranks, 0xA5, sizeof ranks);
    status = tte_decompose(&shape, x, max_rank, eps, ranks, cores, work);
    if (max_rank < 0 || !(eps >= 0 && eps <= FLT_MAX)) {
        CHECK(status == TTE_ERR_ARGUMENT);
    } else {
        CHECK(status == TTE_OK || status == TTE_ERR_NOT_FINITE);
        CHECK(finite || status == TTE_ERR_NOT_FINITE);
        CHECK(!safe || status == TTE_OK);
    }
    if (status == TTE_OK)
        check_train(&shape, x, max_rank, eps, ranks, cores);
    else if (status != TTE_OK)
        CHECK(is_untouched(ranks, sizeof ranks) && is_untouched(cores, room * sizeof *cores));
    free(x), free(cores), free(work);
}

static void fuzz_one(const unsigned char *data, size_t size)
{
    fuzz_input in = {data, size};
    int what = fuzz_take_int(&in, 0, 3);
    if (what % 2 == 0)
        svd(what == 0, &in);
    else
        train(&in);
}

static size_t fuzz_make(unsigned char *out, size_t capacity)
{
    size_t size = 0, sizes = 20, numbers = (size_t)rng_int(0, 400);
    int scale = rng_int(0, 3) == 0 ? rng_int(-160, 130) : 0, wild = rng_int(0, 1);
    while (size < sizes)
        out[size++] = (unsigned char)rng_int(0, 255);
    for (; numbers > 0 && size + 8 <= capacity; numbers--) {
        if (out[0] % 4 == 2) {  /* float64: of any size, or what float32 has */
            double value = wild && rng_int(0, 3) == 0 ? double_from_bits(rng_next())
                : ldexp(rng_normal(), 8 * scale);
            uint64_t bits;
            memcpy(&bits, &value, sizeof bits);
            put_number(out + size, 8, bits), size += 8;
        } else {
            float value = wild ? fuzz_number_f32() : (float)ldexp(rng_normal(), scale);
            uint32_t bits;
            memcpy(&bits, &value, sizeof bits);
            put_number(out + size, 4, bits), size += 4;
        }
        if (size > 64 && rng_int(0, 5) == 0) {  /* rows alike, so that ranks are low */
            size_t len = (size_t)rng_int(1, 40);
            len = len < capacity - size ? len : capacity - size;
            memmove(out + size, out + size - 40, len), size += len;
        }
    }
    return size;
}
