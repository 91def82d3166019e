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

typedef long double extended;

static inline extended ratio_dot(size_t n, const double *x, const extended *y)
{
    extended a = 0, b = 0, c = 0, d = 0;  /* four chains: the sums need not wait for each other */
    size_t i;
    for (i = 0; i + 4 <= n; i += 4) {
        a += (extended)x[i] * y[i];
        b += (extended)x[i + 1] * y[i + 1];
        c += (extended)x[i + 2] * y[i + 2];
        d += (extended)x[i + 3] * y[i + 3];
    }
    for (; i < n; i++) a += (extended)x[i] * y[i];
    return a + b + (c + d);
}

/* The larger of the two; NaN wins and stays. */
static inline extended ratio_larger(extended norm, extended sum)
{
    return sum <= norm || norm != norm ? norm : sum;
}

/* |I - Q Q'| for k rows of length n, `step` from one row to the next and `stride` within a row. */
static inline extended ratio_orthogonality(size_t k, size_t n, const double *q, size_t step,
                                       size_t stride)
{
    double *rows = (double *)bench_alloc(k * n, sizeof *rows);
    extended *row = (extended *)bench_alloc(n, sizeof *row), *sums = (extended *)bench_alloc(k, sizeof *sums);
    extended norm = 0;
    size_t i, j;
    for (i = 0; i < k; i++)
        for (j = 0; j < n; j++) rows[i * n + j] = q[i * step + j * stride];
    for (i = 0; i < k; i++) {
        for (j = 0; j < n; j++) row[j] = (extended)rows[i * n + j];
        for (j = i; j < k; j++) {
            extended off = fabsl((extended)(i == j) - ratio_dot(n, rows + j * n, row));
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
static inline extended ratio_residual(size_t m, size_t n, int power, const double *a, const double *u,
                                  const double *s, const double *vt, extended *norm_a)
{
    size_t k = m < n ? m : n, i, j, l;
    extended *column = (extended *)bench_alloc(k, sizeof *column), norm = 0;
    *norm_a = 0;
    for (j = 0; j < n; j++) {
        extended sum = 0, sum_a = 0;
        for (l = 0; l < k; l++) column[l] = (extended)ldexp(s[l], -power) * (extended)vt[l * n + j];
        for (i = 0; i < m; i++) {
            extended entry = (extended)ldexp(a[i * n + j], -power);
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
static inline double ratio_of(extended difference, extended scale, double ulp)
{
    double ratio = scale > 0 ? (double)(difference / scale) / ulp : difference <= 0 ? 0 : 1 / ulp;
    return ratio < 1 / ulp ? ratio : 1 / ulp;
}

/* The fourth ratio alone. `reference` may be NULL: then NaN, not measured. Values that are
   negative, out of order or not numbers count as wrong altogether, 1 / ulp. */
static inline double ratio_values(size_t k, size_t larger, double ulp, const double *s,
                                  const double *reference)
{
    extended off = 0;
    size_t i;
    int power = 0;
    for (i = 0; i < k; i++)
        if (!(s[i] >= 0) || (i > 0 && !(s[i] <= s[i - 1]))) return 1 / ulp;
    if (reference == NULL) return bench_nothing();
    (void)frexp(reference[0], &power);
    for (i = 0; i < k; i++) {
        extended error = fabsl((extended)ldexp(s[i], -power) - (extended)ldexp(reference[i], -power));
        if (error > off) off = error;
    }
    return ratio_of(off, (extended)ldexp(reference[0], -power) * (extended)larger, ulp);
}

static inline void ratio_all(size_t m, size_t n, double ulp, const double *a, const double *u,
                             const double *s, const double *vt, const double *reference,
                             double ratios[RATIOS])
{
    size_t k = m < n ? m : n, larger = m < n ? n : m, i;
    extended norm, residual;
    double top = 0;
    int power = 0;
    for (i = 0; i < m * n; i++)
        if (fabs(a[i]) > top) top = fabs(a[i]);
    (void)frexp(top, &power);
    residual = ratio_residual(m, n, power, a, u, s, vt, &norm);
    ratios[RATIO_RESIDUAL] = ratio_of(residual, norm * (extended)larger, ulp);
    ratios[RATIO_LEFT] = ratio_of(ratio_orthogonality(k, m, u, 1, k), (extended)m, ulp);
    ratios[RATIO_RIGHT] = ratio_of(ratio_orthogonality(k, n, vt, n, 1), (extended)n, ulp);
    ratios[RATIO_VALUES] = ratio_values(k, larger, ulp, s, reference);
}

#endif
