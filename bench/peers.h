/* peers.h: what a compressed table is measured against: the rate that a Gaussian needs, blocks of
 * codes with a scale each, and a truncated singular value decomposition in float16. Include it
 * behind tt_embed.h with its implementation, whose float16 and SVD it uses.
 */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

/* ---- principal components ------------------------------------------------------------------- */

static inline void table_mean(const float *rows, size_t vocab, size_t dim, double *mean)
{
    size_t t, i;
    memset(mean, 0, dim * sizeof *mean);
    for (t = 0; t < vocab; t++)
        for (i = 0; i < dim; i++) mean[i] += (double)rows[t * dim + i];
    for (i = 0; i < dim; i++) mean[i] /= (double)vocab;
}

/* Eigenvalues, descending, of the second moments of rows - mean, and with `basis` the eigenvectors
   as its rows. */
static inline void table_spectrum(const float *rows, size_t vocab, size_t dim, const double *mean,
                                  double *variance, double *basis)
{
    double *moments = (double *)bench_alloc(dim * dim, sizeof *moments);
    double *row = (double *)bench_alloc(dim, sizeof *row);
    void *work = bench_alloc(tte_svd_f64_work((int)dim, (int)dim), 1);
    size_t t, i, j;
    tte_status status;
    for (t = 0; t < vocab; t++) {
        for (i = 0; i < dim; i++) row[i] = (double)rows[t * dim + i] - mean[i];
        for (i = 0; i < dim; i++)
            for (j = i; j < dim; j++) moments[i * dim + j] += row[i] * row[j];
    }
    for (i = 0; i < dim; i++)
        for (j = i; j < dim; j++)
            moments[j * dim + i] = moments[i * dim + j] /= (double)vocab;
    status = tte_svd_f64((int)dim, (int)dim, moments, NULL, variance, basis, work);
    if (status != TTE_OK) bench_stop("tte_svd_f64", tte_status_text(status));
    free(moments);
    free(row);
    free(work);
}

/* Reverse water-filling (Cover and Thomas, Elements of Information Theory, ch. 10): the bits per
   dimension that a Gaussian vector with these variances, descending, needs for a mean square error
   of `distortion` in all. Directions above the level are coded down to it, the others are left out
   and cost their variance. */
static inline double gaussian_bits(const double *variance, size_t dim, double distortion)
{
    double left_out = 0, level = 0, bits = 0;
    size_t kept = dim, i;
    for (; kept > 0; kept--) {
        level = (distortion - left_out) / (double)kept;
        if (level <= variance[kept - 1]) break;
        left_out += variance[kept - 1];
    }
    for (i = 0; i < kept; i++) bits += log2(variance[i] / level) / 2;
    return bits / (double)dim;
}

/* ---- blocks of codes ------------------------------------------------------------------------ */

static inline float to_half(double value)
{
    return ttei_f16_decode(ttei_f16_encode((float)value));
}

/* Codes of `bits` bits, -2^(bits-1) and up, in blocks of `block` numbers of the table read as one
   array, each with a scale of two bytes (float16) or four (float32). */
typedef struct block_kind {
    const char *name;
    int bits;
    size_t block, scale_bytes;  /* block 0: a row */
} block_kind;

typedef struct block_fit { double scale, error, numbers_codes, codes_codes; } block_fit;

/* The squared error with this scale, and the sums from which the best scale for the same codes
   follows. */
static inline block_fit block_try(const float *x, size_t count, const block_kind *kind,
                                  double scale)
{
    const int low = -(1 << (kind->bits - 1));
    block_fit fit = {0, HUGE_VAL, 0, 0};
    double inverse;
    size_t i;
    fit.scale = kind->scale_bytes == 2 ? (double)to_half(scale) : (double)(float)scale;
    if (!(fabs(fit.scale) > 0) || fit.scale - fit.scale != 0) return fit;
    inverse = 1 / fit.scale;
    fit.error = 0;
    for (i = 0; i < count; i++) {
        double number = (double)x[i], at = number * inverse, code, off;
        at = at > low ? at < -low - 1 ? at : -low - 1 : low;
        code = (double)((int)(at - low + 0.5) + low);  /* above zero casting rounds downwards */
        off = number - fit.scale * code;
        fit.error += off * off;
        fit.numbers_codes += number * code;
        fit.codes_codes += code * code;
    }
    return fit;
}

/* The least squared error found: the largest magnitude becomes the code `low`, or more or less than
   that, with either sign, since there is one code more on the side of `low`; then the best of these
   is moved to where least squares want it. */
static inline double block_error(const float *x, size_t count, const block_kind *kind)
{
    double largest = 0, least;
    block_fit best = {0, 0, 0, 0};  /* all codes 0 */
    size_t i;
    int step, sign;
    for (i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)x[i]));
        best.error += (double)x[i] * (double)x[i];
    }
    for (step = 12; step <= 26; step++)
        for (sign = -1; sign <= 1; sign += 2) {
            double scale = sign * step / 20.0 * largest / (1 << (kind->bits - 1));
            block_fit fit = block_try(x, count, kind, scale);
            if (fit.error < best.error) best = fit;
        }
    do {
        least = best.error;
        if (!(best.codes_codes > 0)) break;
        best = block_try(x, count, kind, best.numbers_codes / best.codes_codes);
    } while (best.error < least);
    return least;
}

/* The squared error of the table; `bytes` receives what its codes and scales take. */
static inline double peer_blocks(const float *rows, size_t vocab, size_t dim,
                                 const block_kind *kind, size_t *bytes)
{
    const size_t count = vocab * dim, block = kind->block > 0 ? kind->block : dim;
    double error = 0;
    size_t i;
    *bytes = 0;
    for (i = 0; i < count; i += block) {
        size_t n = block < count - i ? block : count - i;
        error += block_error(rows + i, n, kind);
        *bytes += kind->scale_bytes + (n * (size_t)kind->bits + 7) / 8;
    }
    return error;
}

/* ---- truncated singular value decomposition ------------------------------------------------- */

/* Rows - mean as (U S) V^T with the leading `rank` components, both factors in float16. The squared
   error of the table; `basis` is rounded in place. The mean is float16 as well. */
static inline double svd_error(const float *rows, size_t vocab, size_t dim, const double *mean,
                               double *basis, size_t rank)
{
    double *row = (double *)bench_alloc(dim, sizeof *row), error = 0;
    size_t t, a, i;
    for (i = 0; i < rank * dim; i++) basis[i] = (double)to_half(basis[i]);
    for (t = 0; t < vocab; t++) {
        for (i = 0; i < dim; i++)
            row[i] = (double)rows[t * dim + i] - (double)to_half(mean[i]);
        for (a = 0; a < rank; a++) {
            const double *v = basis + a * dim;
            double sum = 0;
            for (i = 0; i < dim; i++) sum += row[i] * v[i];
            sum = (double)to_half(sum);
            for (i = 0; i < dim; i++) row[i] -= sum * v[i];
        }
        for (i = 0; i < dim; i++) error += row[i] * row[i];
    }
    free(row);
    return error;
}

/* As many components as `bytes` hold, with the mean removed and stored, or not. The squared error
   of the better way; *bytes becomes what it takes, *rank its components. */
static inline double peer_svd(const float *rows, size_t vocab, size_t dim, size_t *bytes,
                              size_t *rank)
{
    double *mean = (double *)bench_alloc(dim, sizeof *mean), least = HUGE_VAL;
    double *variance = (double *)bench_alloc(dim, sizeof *variance);
    double *basis = (double *)bench_alloc(dim * dim, sizeof *basis);
    const size_t room = *bytes;
    int centred;
    for (centred = 0; centred <= 1; centred++) {
        size_t extra = centred ? 2 * dim : 0;
        size_t kept = room > extra ? (room - extra) / (2 * (vocab + dim)) : 0;
        double error;
        if (centred) table_mean(rows, vocab, dim, mean);
        table_spectrum(rows, vocab, dim, mean, variance, basis);
        if (kept > dim) kept = dim;
        error = svd_error(rows, vocab, dim, mean, basis, kept);
        if (error < least) {
            least = error;
            *rank = kept;
            *bytes = extra + 2 * kept * (vocab + dim);
        }
    }
    free(mean);
    free(variance);
    free(basis);
    return least;
}

#endif
