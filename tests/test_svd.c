/* test_svd.c: tte_svd_f32 and tte_svd_f64 against residual, orthogonality and known values.
 *
 * Every case is written once in double and runs in both precisions: `single` says which. The
 * ratios are those of LAPACK's ddrvbd (norms are 1-norms, ulp is the spacing at 1):
 *     |A - U S Vt| / (|A| max(m, n) ulp)    |I - Ut U| / (m ulp)    |I - Vt V| / (n ulp)
 */
#include "bodies.h"
#include "harness.h"

#define MAX_RATIO 6.0

typedef long double wide; /* sums of products; a plain double does as well, a little less sharply */

static int work_fill = 0xA5; /* what the work buffer holds on entry */
static size_t work_shift;    /* how far the work pointer stands from an aligned address */

/* Room for the cases: a matrix, its factors, a few vectors. The library gets blocks of the exact size. */
enum { MOST = 1024 };
static double room_a[MOST * MOST], room_u[MOST * MOST], room_vt[MOST * MOST], room_s[MOST], vector[4][MOST];

static double ulp(int single) { return single ? (double)FLT_EPSILON : DBL_EPSILON; }

/* ---- calling ------------------------------------------------------------------------------ */

static size_t width(int single) { return single ? sizeof(float) : sizeof(double); }

/* Rounds `a` in place to the precision and returns it as that precision's array. */
static void *to_native(int single, double *a, size_t count)
{
    float *narrow;
    if (!single) return test_copy(a, count * sizeof *a);
    narrow = new_floats(count);
    for (size_t i = 0; i < count; i++) {
        narrow[i] = (float)a[i];
        a[i] = (double)narrow[i];
    }
    return narrow;
}

static void from_native(int single, const void *native, double *out, size_t count)
{
    for (size_t i = 0; out != NULL && i < count; i++)
        out[i] = single ? (double)((const float *)native)[i] : ((const double *)native)[i];
}

/* Runs one decomposition in buffers of the exact size. u and vt may be NULL. Checks that the
 * input is left alone, and the outputs too when the call fails. */
static tte_status svd(int single, int m, int n, double *a, double *u, double *s, double *vt)
{
    size_t size = width(single), k = (size_t)(m < n ? m : n), rows = (size_t)m, cols = (size_t)n;
    size_t work_size = single ? tte_svd_f32_work(m, n) : tte_svd_f64_work(m, n);
    void *in = to_native(single, a, rows * cols), *before = test_copy(in, rows * cols * size);
    void *out_u = u != NULL ? test_alloc(rows * k * size) : NULL;
    void *out_vt = vt != NULL ? test_alloc(k * cols * size) : NULL;
    void *out_s = test_alloc(k * size);
    char *work = (char *)test_alloc(work_size + work_shift);
    tte_status status;

    memset(work, work_fill, work_size + work_shift);
    if (single)
        status = tte_svd_f32(m, n, (const float *)in, (float *)out_u, (float *)out_s,
                             (float *)out_vt, work + work_shift);
    else
        status = tte_svd_f64(m, n, (const double *)in, (double *)out_u, (double *)out_s,
                             (double *)out_vt, work + work_shift);
    CHECK(memcmp(in, before, rows * cols * size) == 0);
    if (status == TTE_OK) {
        from_native(single, out_u, u, rows * k);
        from_native(single, out_s, s, k);
        from_native(single, out_vt, vt, k * cols);
    } else {
        CHECK(is_untouched(out_s, k * size));
        CHECK(u == NULL || is_untouched(out_u, rows * k * size));
        CHECK(vt == NULL || is_untouched(out_vt, k * cols * size));
    }
    free(work), free(out_s), free(out_vt), free(out_u), free(before), free(in);
    return status;
}

/* ---- measuring ---------------------------------------------------------------------------- */

static double largest(const double *a, size_t count)
{
    double top = 0;
    for (size_t i = 0; i < count; i++) top = fabs(a[i]) > top ? fabs(a[i]) : top;
    return top;
}

/* The 1-norm of A - U S Vt over that of A, both scaled by 2^-e so that nothing overflows. */
static double residual(int m, int n, const double *a, const double *u, const double *s,
                       const double *vt)
{
    int k = m < n ? m : n, e;
    wide *sums = (wide *)test_alloc(3 * (size_t)n * sizeof(wide));
    wide *columns = sums + n, *row = columns + n, norm_a = 0, norm_r = 0;
    (void)frexp(largest(a, (size_t)m * (size_t)n), &e);
    for (int j = 0; j < n; j++) sums[j] = columns[j] = 0;
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n; j++) row[j] = ldexpl((wide)a[i * n + j], -e);
        for (int j = 0; j < n; j++) columns[j] += fabsl(row[j]);
        for (int l = 0; l < k; l++) {
            wide scaled = (wide)u[i * k + l] * ldexpl((wide)s[l], -e);
            for (int j = 0; j < n; j++) row[j] -= scaled * (wide)vt[l * n + j];
        }
        for (int j = 0; j < n; j++) sums[j] += fabsl(row[j]);
    }
    for (int j = 0; j < n; j++) {
        norm_a = columns[j] > norm_a ? columns[j] : norm_a;
        norm_r = !(sums[j] <= norm_r) ? sums[j] : norm_r;
    }
    free(sums);
    return (double)(norm_a > 0 ? norm_r / norm_a : norm_r);
}

/* The 1-norm of I - Q for the k vectors of `length` entries: vector i's entry t stands at
 * v[i * step_i + t * step_t], and Q holds their inner products. */
static double skewness(int k, int length, const double *v, int step_i, int step_t)
{
    wide top = 0;
    for (int i = 0; i < k; i++) {
        wide sum = 0;
        for (int j = 0; j < k; j++) {
            wide product = i == j ? -1 : 0;
            for (int t = 0; t < length; t++)
                product += (wide)v[i * step_i + t * step_t] * (wide)v[j * step_i + t * step_t];
            sum += fabsl(product);
        }
        top = !(sum <= top) ? sum : top;
    }
    return (double)top;
}

static void check_values(int k, const double *s)
{
    for (int i = 0; i < k; i++) {
        CHECK(s[i] >= 0 && s[i] <= (i > 0 ? s[i - 1] : DBL_MAX));
        CHECK(!signbit(s[i]));
    }
}

/* The entry of largest magnitude in each row of vt is positive. Where two magnitudes agree to
 * rounding either may count as the largest. */
static void check_signs(int single, int k, int n, const double *vt)
{
    for (int i = 0; i < k; i++) {
        double top = largest(vt + i * n, (size_t)n);
        int found = 0;
        for (int j = 0; j < n; j++) found |= vt[i * n + j] >= top * (1 - 8 * ulp(single));
        CHECK(found);
    }
}

/* The whole examination of one matrix, which is rounded to the precision. */
static void examine(int single, int m, int n, double *a)
{
    double *u = room_u, *s = room_s, *vt = room_vt, *values = vector[0], unit = ulp(single);
    int k = m < n ? m : n, ok = CHECK_STATUS(svd(single, m, n, a, u, s, vt), TTE_OK);
    if (ok) {
        ok &= CHECK_LE(residual(m, n, a, u, s, vt) / ((m > n ? m : n) * unit), MAX_RATIO);
        ok &= CHECK_LE(skewness(k, m, u, 1, k) / (m * unit), MAX_RATIO);
        ok &= CHECK_LE(skewness(k, n, vt, n, 1) / (n * unit), MAX_RATIO);
        check_values(k, s);
        check_signs(single, k, n, vt);
    }
    if (CHECK_STATUS(svd(single, m, n, a, NULL, values, NULL), TTE_OK) && ok) {
        check_values(k, values);
        /* From 40 on by another method, each to k units: LAPACK's drivers are compared in this way, too. */
        for (int i = 0; i < k; i++) ok &= CHECK_LE(fabs(values[i] - s[i]), (k < 40 ? 8 : k) * unit * s[0]);
    }
    if (!ok && test.bad <= 6) fprintf(stderr, "    above: %s, %d x %d\n", single ? "f32" : "f64", m, n);
}

/* ---- matrices ----------------------------------------------------------------------------- */

typedef enum kind {
    GAUSSIAN, ZERO, IDENTITY, ONES, HILBERT, KAHAN, GRADED, GRADED_UP, NILPOTENT, LOW_RANK, REPEATED,
    PERMUTATION, WIDE_DIAGONAL, WIDE_ENTRIES, SPARSE, ZERO_LINES, JORDAN, ALMOST_EQUAL, KINDS
} kind;

/* Vectors of `length` entries, `step` apart, become x - 2 <v, x> / <v, v> v with one random v. */
static void reflect(int count, int next, int length, int step, double *a)
{
    double *v = vector[0], vv = 0;
    for (int t = 0; t < length; t++) v[t] = rng_normal(), vv += v[t] * v[t];
    for (int i = 0; i < count; i++) {
        double vx = 0;
        for (int t = 0; t < length; t++) vx += v[t] * a[i * next + t * step];
        for (int t = 0; t < length; t++) a[i * next + t * step] -= 2 * vx / vv * v[t];
    }
}

static void fill_permutation(int m, int n, double *a)
{
    int order[MOST];
    for (int i = 0; i < (m > n ? m : n); i++) {
        int j = rng_int(0, i);
        order[i] = i, order[i] = order[j], order[j] = i;
    }
    for (int i = 0; i < m && m <= n; i++) a[i * n + order[i]] = 1;
    for (int j = 0; j < n && m > n; j++) a[order[j] * n + j] = 1;
}

static double entry(kind type, int single, int i, int j, int k)
{
    double reach = single ? 30 : 150;
    switch (type) {
    case GAUSSIAN:      return rng_normal();
    case IDENTITY:      return i == j;
    case ONES:          return 1;
    case HILBERT:       return 1.0 / (i + j + 1);
    case KAHAN:         return (i == j ? 1 : i < j ? -0.36 : 0) * pow(0.933, i);
    case GRADED:        return rng_normal() * pow(10, -0.25 * (i + j));
    case GRADED_UP:     return rng_normal() * pow(10, 0.25 * (i + j - 2 * k));
    case NILPOTENT:     return i + 1 == j;
    case WIDE_DIAGONAL: return i == j ? pow(10, reach * (1 - 2.0 * i / k)) : 0;
    case WIDE_ENTRIES:  return rng_normal() * pow(10, reach * (2 * rng_uniform() - 1));
    case SPARSE:        return rng_int(0, 9) == 0 ? rng_int(-1, 1) : 0;
    case ZERO_LINES:    return i % 3 == 1 || j % 4 == 0 ? 0 : rng_normal();
    case JORDAN:        return i == j ? 0.5 : i + 1 == j;
    case ALMOST_EQUAL:  return 1 + (single ? 1e-6 : 1e-15) * rng_normal();
    default:            return 0;
    }
}

static void fill(kind type, int single, int m, int n, double *a, double scale)
{
    int k = m < n ? m : n, rank = k < 3 ? 1 : k / 3;
    for (int i = 0; i < m * n; i++) a[i] = entry(type, single, i / n, i % n, k);
    for (int l = 0; type == LOW_RANK && l < rank; l++) {
        double *v = vector[0], *w = vector[1];
        for (int i = 0; i < m || i < n; i++) v[i] = rng_normal(), w[i] = rng_normal();
        for (int i = 0; i < m * n; i++) a[i] += v[i / n] * w[i % n];
    }
    if (type == REPEATED) { /* two reflections around a diagonal of threes and ones */
        for (int i = 0; i < k; i++) a[i * n + i] = i < k / 2 ? 3 : 1;
        reflect(m, n, n, 1, a);
        reflect(n, 1, m, n, a);
    }
    if (type == PERMUTATION) fill_permutation(m, n, a);
    for (int i = 0; i < m * n; i++) a[i] *= scale;
}

static void examine_kind(kind type, int single, int m, int n, double scale)
{
    unsigned long bad = test.bad;
    fill(type, single, m, n, room_a, scale);
    examine(single, m, n, room_a);
    if (test.bad != bad && test.bad <= 6) fprintf(stderr, "    above: kind %d, scale %g\n", (int)type, scale);
}

/* ---- cases -------------------------------------------------------------------------------- */

/* name_f32 and name_f64 from one body that takes `single` */
#define BOTH(name)                              \
    static void name##_f32(void) { name(1); }   \
    static void name##_f64(void) { name(0); }

static void every_size(int single)
{
    int top = test.small ? 9 : 64;
    for (int m = 1; m <= top; m++)
        for (int n = 1; n <= top; n++) examine_kind(GAUSSIAN, single, m, n, 1);
}
BOTH(every_size)

static void every_kind(int single)
{
    static const int size[][2] = {
        {1, 1}, {1, 2}, {2, 1}, {1, 9}, {9, 1}, {2, 2}, {2, 3}, {3, 2}, {3, 3}, {4, 4}, {5, 5}, {8, 8},
        {12, 3}, {3, 12}, {7, 11}, {11, 7}, {16, 4}, {4, 16}, {24, 32}, {32, 24}, {31, 17}, {17, 31},
        {40, 40}, {64, 64}, {64, 5}, {5, 64}
    };
    int sizes = (int)(sizeof size / sizeof size[0]);
    for (int type = 0; type < KINDS; type++)
        for (int i = 0; i < (test.small ? 14 : sizes); i++)
            examine_kind((kind)type, single, size[i][0], size[i][1], 1);
}
BOTH(every_kind)

static void extreme_scales(int single)
{
    static const int size[][2] = {{1, 1}, {1, 5}, {5, 1}, {2, 2}, {3, 3}, {6, 4}, {4, 6}, {24, 32}};
    static const double narrow[] = {1e-38, 1e-37, 1e-30, 1e-20, 1e20, 1e30, 1e36};
    static const double broad[] = {1e-300, 1e-290, 1e-200, 1e-155, 1e155, 1e200, 1e300};
    int sizes = test.small ? 6 : (int)(sizeof size / sizeof size[0]);
    for (int type = 0; type < KINDS; type++)
        for (int i = 0; i < sizes && type != WIDE_DIAGONAL && type != WIDE_ENTRIES; i++)
            for (int f = 0; f < 7; f++)
                examine_kind((kind)type, single, size[i][0], size[i][1],
                             single ? narrow[f] : broad[f]);
}
BOTH(extreme_scales)

/* Entries at both ends of what is promised, in one matrix. The largest singular value of
 * n x n entries of size 1e38 fits a float up to n = 3. */
static void both_ends_in_one_matrix(int single)
{
    double low = single ? 1e-38 : 1e-300, high = single ? 1e38 : 1e300, a[9];
    for (int round = 0; round < (test.small ? 50 : 2000); round++) {
        int m = rng_int(1, 3), n = rng_int(1, 3);
        for (int i = 0; i < m * n; i++) {
            double size = rng_int(0, 3) == 0 ? 0 : rng_int(0, 1) ? low : high;
            a[i] = rng_int(0, 1) ? size : -size;
        }
        examine(single, m, n, a);
    }
    if (!single) { /* the whole exponent range of a double, far from its ends in the result */
        double b[4] = {1e300, 1e-300, 1e-300, -1e300};
        examine(single, 2, 2, b);
    }
}
BOTH(both_ends_in_one_matrix)

/* Close to a multiple of a rotation: all values are equal but for rounding, which the QR steps stir and must
 * not wait for. The first matrix once took all steps there were. */
static void almost_all_equal(int single)
{
    double a[16] = {0.911112845, -1.1920929e-07, 0, 0.911112785};
    examine(single, 2, 2, a);
    for (int round = 0; round < (test.small ? 300 : 10000); round++) {
        int n = rng_int(2, 4);
        double c = 0.5 + rng_uniform();
        for (int i = 0; i < n * n; i++) a[i] = (i % (n + 1) == 0 ? c : 0) + rng_int(-2, 2) * ulp(single) / 2;
        examine(single, n, n, a);
    }
}
BOTH(almost_all_equal)

/* Beside one entry others are nothing, and what rotations leave of those is near the smallest numbers. */
static void one_huge_entry(int single)
{
    static const double found[49] = {  /* whose vectors were not orthogonal once */
        -0.000390738, 0, 0, 7.29229e+09, 0, 0, 0,  0, 0, 0, 0, 0, -1.31407, 1,
        0.380476, 0, 0, 0, 0, 0, 1.27789e+35,  0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 1, 1, 0,
        0.690293, 0, 0, 0, 1, 0, 0,  1, 0, 1, 0, 0, 0, 0};
    double a[49];
    memcpy(a, found, sizeof a);
    examine(single, 7, 7, a);
    for (int round = 0; round < (test.small ? 100 : 3000); round++) {
        int m = rng_int(2, 7), n = rng_int(2, 7);
        for (int i = 0; i < m * n; i++) a[i] = rng_int(0, 2) ? rng_normal() : rng_int(-3, 3);
        a[rng_int(0, m * n - 1)] = single ? 1.28e35 : 1e305;
        examine(single, m, n, a);
    }
}
BOTH(one_huge_entry)

/* A largest singular value that no float holds must not come back as a success with infinity. */
static void overflowing_result(int single)
{
    double a[64], s[8];
    tte_status status;
    for (int i = 0; i < 64; i++) a[i] = single ? 1e38 : 1e308;
    status = svd(single, 8, 8, a, NULL, s, NULL);
    for (int i = 0; i < 8 && status == TTE_OK; i++) CHECK(s[i] <= (single ? (double)FLT_MAX : DBL_MAX));
    CHECK(status != TTE_ERR_MEMORY && status != TTE_ERR_IO);
}
BOTH(overflowing_result)

static void large(int single)
{
    static const int size[][2] = {{256, 100}, {100, 256}, {300, 300}, {1, 1000}, {1000, 1}, {512, 20},
                                  {20, 512}};
    for (int i = 0; i < (test.small ? 0 : 7); i++) examine_kind(GAUSSIAN, single, size[i][0], size[i][1], 1);
    for (int type = 0; type < KINDS; type++)
        examine_kind((kind)type, single, test.small ? 12 : 150, test.small ? 12 : 150, 1);
}
BOTH(large)

/* Sizes whose parts, when the bidiagonal matrix is divided, end anywhere in a vector, in memory that holds NaN. */
static void divided(int single)
{
    static const int size[] = {69, 85, 165, 197};
    work_fill = 0xFF;
    for (int i = 0; i < 4; i++)
        for (int type = 0; type < KINDS; type += test.small && i > 1 ? 4 : 1)
            examine_kind((kind)type, single, size[i], size[i], 1);
    work_fill = 0xA5;
}
BOTH(divided)

/* y = A x, or At x, for a row-major rows x cols matrix. */
static void apply(int rows, int cols, const double *a, int transposed, const double *x, double *y)
{
    for (int i = 0; i < (transposed ? cols : rows); i++) y[i] = 0;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++)
            *(transposed ? &y[j] : &y[i]) += a[i * cols + j] * (transposed ? x[i] : x[j]);
}

static double gap(int n, const double *x, const double *y)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (x[i] - y[i]) * (x[i] - y[i]);
    return sqrt(sum);
}

/* 1024 x 1024, where whole residuals take too long: the same three on random vectors w of length
 * about 1, |A w - U S Vt w|, |w - Ut U w|, |w - V Vt w|; and the sum of squares of all values. */
static void largest_promised(int single)
{
    int n = test.small ? 24 : MOST;
    double *a = room_a, *u = room_u, *vt = room_vt, *s = room_s;
    double *w = vector[0], *x = vector[1], *y = vector[2], *z = vector[3];
    double sum_a = 0, sum_s = 0, bound = MAX_RATIO * n * ulp(single);
    fill(GAUSSIAN, single, n, n, a, 1);
    if (!CHECK_STATUS(svd(single, n, n, a, u, s, vt), TTE_OK)) return;
    check_values(n, s);
    check_signs(single, n, n, vt);
    for (int i = 0; i < n * n; i++) sum_a += a[i] * a[i];
    for (int i = 0; i < n; i++) sum_s += s[i] * s[i];
    CHECK_LE(fabs(sum_s - sum_a), bound * sum_a);
    for (int probe = 0; probe < 3; probe++) {
        for (int i = 0; i < n; i++) w[i] = rng_normal() / sqrt((double)n);
        apply(n, n, vt, 0, w, x), apply(n, n, vt, 1, x, y);
        CHECK_LE(gap(n, w, y), bound);
        for (int i = 0; i < n; i++) x[i] *= s[i];
        apply(n, n, u, 0, x, y), apply(n, n, a, 0, w, z);
        CHECK_LE(gap(n, y, z), bound * s[0]);
        apply(n, n, u, 0, w, x), apply(n, n, u, 1, x, y);
        CHECK_LE(gap(n, w, y), bound);
    }
}
BOTH(largest_promised)

static void all_2x2(int single)
{
    for (int code = 0; code < 625; code++) {
        double a[4], s[2], square = 0, det, top, low;
        for (int i = 0, rest = code; i < 4; i++, rest /= 5) {
            a[i] = rest % 5 - 2;
            square += a[i] * a[i];
        }
        det = fabs(a[0] * a[3] - a[1] * a[2]);
        top = sqrt((square + sqrt((square - 2 * det) * (square + 2 * det))) / 2);
        low = top > 0 ? det / top : 0;
        examine(single, 2, 2, a);
        if (CHECK_STATUS(svd(single, 2, 2, a, NULL, s, NULL), TTE_OK)) {
            CHECK_LE(fabs(s[0] - top), 6 * ulp(single) * top);
            CHECK_LE(fabs(s[1] - low), 6 * ulp(single) * top);
        }
    }
}
BOTH(all_2x2)

static void all_3x3(int single)
{
    for (int code = 0; code < 512; code++) {
        double a[9], s[3], square = 0, det;
        for (int i = 0; i < 9; i++) {
            a[i] = code >> i & 1;
            square += a[i];
        }
        det = fabs(a[0] * (a[4] * a[8] - a[5] * a[7]) - a[1] * (a[3] * a[8] - a[5] * a[6])
                   + a[2] * (a[3] * a[7] - a[4] * a[6]));
        examine(single, 3, 3, a);
        if (CHECK_STATUS(svd(single, 3, 3, a, NULL, s, NULL), TTE_OK)) {
            double unit = 18 * ulp(single);
            CHECK_LE(fabs(s[0] * s[1] * s[2] - det), unit * s[0] * s[0] * s[0]);
            CHECK_LE(fabs(s[0] * s[0] + s[1] * s[1] + s[2] * s[2] - square), unit * square);
        }
    }
}
BOTH(all_3x3)

static void known_values(int single)
{
    static const double hilbert_6[6] = {1.618899858924339, 0.2423608705752096, 0.01632152131987583,
                                        0.0006157483541826607, 1.257075712262519e-05,
                                        1.082799484565549e-07}; /* eigenvalues of the 6 x 6 */
    double diagonal[9] = {0, -3, 0, 1, 0, 0, 0, 0, 2}, s[6], u[9], vt[9], hilbert[36];
    double shear[4] = {1, 1, 0, 1}, row[4] = {3, 0, -4, 12}, one[1] = {-7}, unit = ulp(single);
    double golden = (1 + sqrt(5.0)) / 2;

    if (CHECK_STATUS(svd(single, 3, 3, diagonal, u, s, vt), TTE_OK)) {
        for (int i = 0; i < 3; i++) CHECK_LE(fabs(s[i] - (3 - i)), 6 * unit);
        CHECK_LE(fabs(vt[1] - 1) + fabs(vt[5] - 1), 4 * unit); /* the axes, made positive; their signs are in u */
        CHECK_LE(fabs(u[0] + 1) + fabs(u[7] - 1), 4 * unit);
    }
    if (CHECK_STATUS(svd(single, 2, 2, shear, NULL, s, NULL), TTE_OK)) {
        CHECK_LE(fabs(s[0] - golden), 4 * unit);
        CHECK_LE(fabs(s[1] - 1 / golden), 4 * unit);
    }
    if (CHECK_STATUS(svd(single, 1, 4, row, u, s, vt), TTE_OK)) {
        CHECK_LE(fabs(s[0] - 13), 13 * 2 * unit);
        CHECK_LE(fabs(vt[3] - 12.0 / 13), 2 * unit);
        CHECK_LE(fabs(u[0] - 1), unit);
    }
    if (CHECK_STATUS(svd(single, 1, 1, one, u, s, vt), TTE_OK)) CHECK(s[0] == 7 && u[0] == -1 && vt[0] == 1);
    fill(HILBERT, single, 6, 6, hilbert, 1);
    if (CHECK_STATUS(svd(single, 6, 6, hilbert, NULL, s, NULL), TTE_OK))
        for (int i = 0; i < 6; i++) /* in float the rounded entries themselves move the values */
            CHECK_LE(fabs(s[i] - hilbert_6[i]), 12 * unit * hilbert_6[0]);
}
BOTH(known_values)

/* The result depends on the matrix alone, not on what the buffers held. */
static void same_bytes_each_time(int single)
{
    static const int size[][2] = {{1, 1}, {3, 3}, {5, 8}, {8, 5}, {24, 32}, {30, 30}};
    static double first[3000], again[3000];
    for (int i = 0; i < 6; i++)
        for (int type = 0; type < KINDS; type++) {
            int m = size[i][0], n = size[i][1], k = m < n ? m : n;
            fill((kind)type, single, m, n, room_a, 1);
            CHECK_STATUS(svd(single, m, n, room_a, first, first + m * k, first + m * k + k), TTE_OK);
            work_fill = type % 2 ? 0xFF : 0;
            CHECK_STATUS(svd(single, m, n, room_a, again, again + m * k, again + m * k + k), TTE_OK);
            work_fill = 0xA5;
            CHECK(memcmp(first, again, (size_t)(m * k + k + k * n) * sizeof(double)) == 0);
        }
}
BOTH(same_bytes_each_time)

/* Asked for alone, u and vt are the vectors they are together (up to the sign of a pair). */
static void one_side_only(int single)
{
    static const int size[][2] = {{1, 4}, {4, 1}, {6, 6}, {9, 5}, {5, 9}, {40, 8}, {8, 40}};
    static double only_u[400], only_vt[400];
    for (int i = 0; i < 7; i++) {
        int m = size[i][0], n = size[i][1], k = m < n ? m : n;
        double *a = room_a, *u = room_u, *vt = room_vt, *s = room_s;
        fill(GRADED, single, m, n, a, 1); /* well separated values, so the vectors are too */
        for (int j = 0; j < k; j++) a[j * n + j] += 4 * pow(2, -j);
        CHECK_STATUS(svd(single, m, n, a, u, s, vt), TTE_OK);
        CHECK_STATUS(svd(single, m, n, a, only_u, s, NULL), TTE_OK);
        CHECK_STATUS(svd(single, m, n, a, NULL, s, only_vt), TTE_OK);
        CHECK_LE(skewness(k, m, only_u, 1, k) / (m * ulp(single)), MAX_RATIO);
        CHECK_LE(skewness(k, n, only_vt, n, 1) / (n * ulp(single)), MAX_RATIO);
        check_signs(single, k, n, only_vt);
        for (int j = 0; j < k; j++) {
            double cosine_u = 0, cosine_v = 0;
            for (int t = 0; t < m; t++) cosine_u += u[t * k + j] * only_u[t * k + j];
            for (int t = 0; t < n; t++) cosine_v += vt[j * n + t] * only_vt[j * n + t];
            CHECK_LE(fabs(fabs(cosine_u) - 1), 1e-6);
            CHECK_LE(fabs(cosine_v - 1), 1e-6);
        }
    }
}
BOTH(one_side_only)

/* ---- relative accuracy of bidiagonal matrices ----------------------------------------------- */

/* How many singular values of the upper bidiagonal matrix lie below x > 0: Sturm's count on the
 * Golub-Kahan tridiagonal matrix, whose diagonal is zero and whose off-diagonal is d1 e1 d2 .. dn
 * (Demmel and Kahan 1990, section 3: no entry's relative accuracy is lost on the way). */
static int values_below(int n, const double *off, wide x)
{
    wide pivot = -x;
    int negative = 1;
    for (int i = 0; i < 2 * n - 1; i++) {
        pivot = -x - (wide)off[i] * ((wide)off[i] / pivot);
        if (pivot == 0)
            pivot = -LDBL_MIN; /* the quotient may become infinite, the next one zero */
        negative += pivot < 0;
    }
    return negative - n;
}

/* Singular value number i, counted from the smallest, by bisection of its exponent. */
static double value_by_bisection(int n, const double *off, int i)
{
    wide low = 1e-60L, high = 1e60L;
    for (int step = 0; step < 200; step++) {
        wide middle = sqrtl(low) * sqrtl(high);
        if (values_below(n, off, middle) > i)
            high = middle;
        else
            low = middle;
    }
    return (double)low;
}

static void bidiagonal_values_are_relatively_accurate(void)
{
    for (int round = 0; round < (test.small ? 20 : 400); round++) {
        int n = rng_int(1, test.small ? 8 : 24), style = round % 4;
        double *a = room_a, *s = room_s, *off = vector[0];
        for (int i = 0; i < n * n; i++) a[i] = 0;
        for (int i = 0; i < 2 * n - 1; i++) {
            double place = 2.0 * i / (2 * n) - 1, spread = 2 * rng_uniform() - 1;
            double exponent = style == 0 ? 15 * spread            /* no order at all */
                            : style == 1 ? 15 * place + spread / 2  /* small to large  */
                            : style == 2 ? -15 * place + spread / 2 /* large to small  */
                            : i % 2 ? 7 + spread : -7 + spread;   /* far from diagonal */
            off[i] = (rng_int(0, 1) ? 1 : -1) * pow(10, exponent);
            a[i / 2 * n + (i + 1) / 2] = off[i];
        }
        if (CHECK_STATUS(svd(0, n, n, a, NULL, s, NULL), TTE_OK))
            for (int i = 0; i < n; i++) {
                double want = value_by_bisection(n, off, n - 1 - i);
                if (want > 1e-58 && !CHECK_LE(fabs(s[i] - want), 1e-14 * want) && test.bad <= 6)
                    fprintf(stderr, "    n %d, style %d, value %d\n", n, style, i);
            }
    }
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void not_finite(int single)
{
    static const int size[][2] = {{1, 1}, {1, 3}, {3, 1}, {2, 2}, {5, 3}, {3, 5}, {8, 8}, {40, 30}};
    static const uint64_t bits[] = {0x7FF8000000000000u, 0xFFF8000000000000u, 0x7FF4000020000000u,
                                    0x7FF0000000000000u, 0xFFF0000000000000u};
    for (int i = 0; i < 8 * 5 * 3; i++) {
        int m = size[i / 15][0], n = size[i / 15][1], count = m * n;
        fill(GAUSSIAN, single, m, n, room_a, 1);
        room_a[i % 3 == 0 ? 0 : i % 3 == 1 ? count / 2 : count - 1] = double_from_bits(bits[i / 3 % 5]);
        CHECK_STATUS(svd(single, m, n, room_a, room_u, room_s, room_vt), TTE_ERR_NOT_FINITE);
        CHECK_STATUS(svd(single, m, n, room_a, NULL, room_s, NULL), TTE_ERR_NOT_FINITE);
    }
}
BOTH(not_finite)

static void bad_arguments(void)
{
    static const int bad[][2] = {{0, 2}, {2, 0}, {0, 0}, {-1, 2}, {2, -1}, {INT32_MIN, 2}, {2, 2}, {2, 2}, {2, 2}};
    float af[4] = {1, 2, 3, 4}, sf[2] = {-1, -1};
    double ad[4] = {1, 2, 3, 4}, sd[2] = {-1, -1};
    void *work = test_alloc(tte_svd_f64_work(2, 2));
    for (int i = 0; i < 9; i++) { /* the last three: one pointer after the other */
        const int m = bad[i][0], n = bad[i][1];
        void *room = i == 6 ? NULL : work;
        CHECK_STATUS(tte_svd_f32(m, n, i == 7 ? NULL : af, NULL, i == 8 ? NULL : sf, NULL, room), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_svd_f64(m, n, i == 7 ? NULL : ad, NULL, i == 8 ? NULL : sd, NULL, room), TTE_ERR_ARGUMENT);
        CHECK(i > 5 || (tte_svd_f32_work(m, n) == 0 && tte_svd_f64_work(m, n) == 0));
    }
    CHECK(sf[0] == -1 && sf[1] == -1 && sd[0] == -1 && sd[1] == -1);
    free(work);
}

static void work_sizes(void)
{
    for (int m = 1; m <= 70; m++)
        for (int n = 1; n <= 70; n++) CHECK(tte_svd_f32_work(m, n) > 0 && tte_svd_f64_work(m, n) > 0);
    CHECK(tte_svd_f32_work(1024, 1024) > 0 && tte_svd_f64_work(1024, 1024) > 0);
    CHECK(tte_svd_f32_work(1, 1000000) > 0 && tte_svd_f64_work(1000000, 1) > 0);
    /* 2^62 entries of 8 bytes are more than a size_t counts */
    CHECK(tte_svd_f64_work(INT32_MAX, INT32_MAX) == 0);
}

/* A work pointer off its alignment is served or refused, never a misaligned access. */
static void work_off_alignment(int single)
{
    static const size_t shift[] = {1, 2, 4, 7};
    double a[20], u[20], s[4], vt[16], want[4];
    fill(GAUSSIAN, single, 5, 4, a, 1);
    CHECK_STATUS(svd(single, 5, 4, a, NULL, want, NULL), TTE_OK);
    for (int i = 0; i < 4; i++) {
        tte_status status;
        work_shift = shift[i];
        status = svd(single, 5, 4, a, u, s, vt);
        work_shift = 0;
        CHECK(status == TTE_OK || status == TTE_ERR_ARGUMENT);
        for (int j = 0; j < 4 && status == TTE_OK; j++) CHECK_LE(fabs(s[j] - want[j]), 8 * ulp(single) * want[0]);
    }
}
BOTH(work_off_alignment)

#define RUN_BOTH(name) RUN(name##_f32); RUN(name##_f64)

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_svd");
    RUN_BOTH(every_size); RUN_BOTH(every_kind); RUN_BOTH(extreme_scales); RUN_BOTH(both_ends_in_one_matrix);
    RUN_BOTH(almost_all_equal); RUN_BOTH(one_huge_entry); RUN_BOTH(overflowing_result); RUN_BOTH(large); RUN_BOTH(divided);
    RUN_BOTH(largest_promised); RUN_BOTH(all_2x2); RUN_BOTH(all_3x3); RUN_BOTH(known_values);
    RUN_BOTH(same_bytes_each_time); RUN_BOTH(one_side_only); RUN(bidiagonal_values_are_relatively_accurate);
    RUN_BOTH(not_finite); RUN(bad_arguments); RUN(work_sizes); RUN_BOTH(work_off_alignment);
    return test_end();
}
