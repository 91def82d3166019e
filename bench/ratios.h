/* ratios.h: the test ratios of LAPACK's SVD drivers, for one decomposition a = u diag(s) vt.
 *
 * As ddrvbd.f documents them, with 1-norms (dbdt01.f, dort01.f):
 *     residual   |A - U S VT| / (|A| max(M, N) ulp)
 *     left       |I - U'U| / (M ulp)
 *     right      |I - VT VT'| / (N ulp)
 *     values     max |S - S_ref| / (max S_ref max(M, N) ulp)
 * (dbdt01.f itself divides by N alone; the documented max(M, N) is used here for every peer.)
 *
 * ulp in ddrvbd is DLAMCH('Precision') = eps * base: eps is the unit roundoff 2^-53 and base 2, so
 * ulp is the spacing of numbers at 1, which C calls DBL_EPSILON, and FLT_EPSILON in single.
 *
 * Everything is summed in long double, and matrix and values are scaled by a power of two first, so
 * that measuring neither adds rounding errors of its own nor overflows. All arrays are row-major.
 */
#ifndef BENCH_RATIOS_H
#define BENCH_RATIOS_H

#define RATIOS 4
enum { RATIO_RESIDUAL, RATIO_LEFT, RATIO_RIGHT, RATIO_VALUES };

typedef long double wide;

static inline wide ratio_dot(size_t n, const double *x, const wide *y)
{
    wide a = 0, b = 0, c = 0, d = 0;  /* four chains: the sums need not wait for each other */
    size_t i;
    for (i = 0; i + 4 <= n; i += 4) {
        a += (wide)x[i] * y[i];
        b += (wide)x[i + 1] * y[i + 1];
        c += (wide)x[i + 2] * y[i + 2];
        d += (wide)x[i + 3] * y[i + 3];
    }
    for (; i < n; i++) a += (wide)x[i] * y[i];
    return a + b + (c + d);
}

/* The larger of the two; NaN wins and stays. */
static inline wide ratio_larger(wide norm, wide sum)
{
    return sum <= norm || norm != norm ? norm : sum;
}

/* |I - Q Q'| for k rows of length n, `step` from one row to the next and `stride` within a row. */
static inline wide ratio_orthogonality(size_t k, size_t n, const double *q, size_t step,
                                       size_t stride)
{
    double *rows = (double *)bench_alloc(k * n, sizeof *rows);
    wide *row = (wide *)bench_alloc(n, sizeof *row), *sums = (wide *)bench_alloc(k, sizeof *sums);
    wide norm = 0;
    size_t i, j;
    for (i = 0; i < k; i++)
        for (j = 0; j < n; j++) rows[i * n + j] = q[i * step + j * stride];
    for (i = 0; i < k; i++) {
        for (j = 0; j < n; j++) row[j] = (wide)rows[i * n + j];
        for (j = i; j < k; j++) {
            wide off = fabsl((wide)(i == j) - ratio_dot(n, rows + j * n, row));
            sums[i] += off;
            if (j != i) sums[j] += off;
        }
    }
    for (i = 0; i < k; i++) norm = ratio_larger(norm, sums[i]);
    free(rows);
    free(row);
    free(sums);
    return norm;
}

/* |A - U S VT| and |A|, both of A and S scaled by 2^-power. */
static inline wide ratio_residual(size_t m, size_t n, int power, const double *a, const double *u,
                                  const double *s, const double *vt, wide *norm_a)
{
    size_t k = m < n ? m : n, i, j, l;
    wide *column = (wide *)bench_alloc(k, sizeof *column), norm = 0;
    *norm_a = 0;
    for (j = 0; j < n; j++) {
        wide sum = 0, sum_a = 0;
        for (l = 0; l < k; l++) column[l] = (wide)ldexp(s[l], -power) * (wide)vt[l * n + j];
        for (i = 0; i < m; i++) {
            wide entry = (wide)ldexp(a[i * n + j], -power);
            sum += fabsl(entry - ratio_dot(k, u + i * k, column));
            sum_a += fabsl(entry);
        }
        norm = ratio_larger(norm, sum);
        *norm_a = ratio_larger(*norm_a, sum_a);
    }
    free(column);
    return norm;
}

/* |difference| / scale in ulps. NaN, or any difference where the scale is zero, is as wrong as can
   be: 1 / ulp. */
static inline double ratio_of(wide difference, wide scale, double ulp)
{
    double ratio = scale > 0 ? (double)(difference / scale) / ulp : difference <= 0 ? 0 : 1 / ulp;
    return ratio < 1 / ulp ? ratio : 1 / ulp;
}

/* The fourth ratio alone. `reference` may be NULL: then NaN, not measured. Values that are
   negative, out of order or not numbers count as wrong altogether, 1 / ulp. */
static inline double ratio_values(size_t k, size_t larger, double ulp, const double *s,
                                  const double *reference)
{
    wide off = 0;
    size_t i;
    int power = 0;
    for (i = 0; i < k; i++)
        if (!(s[i] >= 0) || (i > 0 && !(s[i] <= s[i - 1]))) return 1 / ulp;
    if (reference == NULL) return bench_nothing();
    (void)frexp(reference[0], &power);
    for (i = 0; i < k; i++) {
        wide error = fabsl((wide)ldexp(s[i], -power) - (wide)ldexp(reference[i], -power));
        if (error > off) off = error;
    }
    return ratio_of(off, (wide)ldexp(reference[0], -power) * (wide)larger, ulp);
}

static inline void ratio_all(size_t m, size_t n, double ulp, const double *a, const double *u,
                             const double *s, const double *vt, const double *reference,
                             double ratios[RATIOS])
{
    size_t k = m < n ? m : n, larger = m < n ? n : m, i;
    wide norm, residual;
    double top = 0;
    int power = 0;
    for (i = 0; i < m * n; i++)
        if (fabs(a[i]) > top) top = fabs(a[i]);
    (void)frexp(top, &power);
    residual = ratio_residual(m, n, power, a, u, s, vt, &norm);
    ratios[RATIO_RESIDUAL] = ratio_of(residual, norm * (wide)larger, ulp);
    ratios[RATIO_LEFT] = ratio_of(ratio_orthogonality(k, m, u, 1, k), (wide)m, ulp);
    ratios[RATIO_RIGHT] = ratio_of(ratio_orthogonality(k, n, vt, n, 1), (wide)n, ulp);
    ratios[RATIO_VALUES] = ratio_values(k, larger, ulp, s, reference);
}

#endif
