/* peers.h: what a compressed table is measured against: the error that a Gaussian leaves at a rate, blocks of
 * codes with a scale each, a truncated singular value decomposition, and product quantization. Each peer gives
 * the table as it comes back from what it stores, and the bytes of that. Include it behind tt_embed.h
 * with its implementation, whose float16 and SVD it uses. With OpenMP all cores take part; results are the same.
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

/* The upper half of the second moments of rows - mean. Each strip of columns is summed on its own, over blocks
   of rows that stay in the cache, so that threads change no bit. */
static inline void table_moments(const float *rows, size_t vocab, size_t dim, const double *mean, double *moments)
{
    enum { BLOCK = 64, STRIP = 32 };
    double *block = (double *)bench_alloc(BLOCK * dim, sizeof *block);
    const long strips = (long)((dim + STRIP - 1) / STRIP);
    size_t t, i, count;
    long strip;
    for (t = 0; t < vocab; t += count) {
        count = vocab - t < BLOCK ? vocab - t : BLOCK;
        for (i = 0; i < count * dim; i++) block[i] = (double)rows[t * dim + i] - mean[i % dim];
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic)
#endif
        for (strip = 0; strip < strips; strip++) {
            const size_t first = (size_t)strip * STRIP, end = first + STRIP < dim ? first + STRIP : dim;
            size_t r, a, b;
            for (r = 0; r < count; r++)
                for (a = first; a < end; a++) {
                    const double *row = block + r * dim, x = row[a];
                    for (b = a; b < dim; b++) moments[a * dim + b] += x * row[b];
                }
        }
    }
    free(block);
}

/* Eigenvalues, descending, of the second moments of rows - mean, and with `basis` the eigenvectors
   as its rows. */
static inline void table_spectrum(const float *rows, size_t vocab, size_t dim, const double *mean,
                                  double *variance, double *basis)
{
    double *moments = (double *)bench_alloc(dim * dim, sizeof *moments);
    void *work = bench_alloc(tte_svd_f64_work((int)dim, (int)dim), 1);
    size_t i, j;
    tte_status status;
    table_moments(rows, vocab, dim, mean, moments);
    for (i = 0; i < dim; i++)
        for (j = i; j < dim; j++)
            moments[j * dim + i] = moments[i * dim + j] /= (double)vocab;
    status = tte_svd_f64((int)dim, (int)dim, moments, NULL, variance, basis, work);
    if (status != TTE_OK) bench_stop("tte_svd_f64", tte_status_text(status));
    free(moments);
    free(work);
}

/* Reverse water-filling (Cover and Thomas, Elements of Information Theory, ch. 10): the least mean square error
   that any code leaves of a Gaussian vector with these variances, descending, at `bits` for all of it. Directions
   above the level are coded down to it; the others are left out and cost their variance. */
static inline double gaussian_error(const double *variance, size_t dim, double bits)
{
    double logs = 0, level = 0, rest = 0;
    size_t kept, k;
    for (kept = 0; kept < dim && variance[kept] > 0; kept++) {
        const double more = exp2((logs + log2(variance[kept]) - 2 * bits) / (double)(kept + 1));
        if (!(more < variance[kept])) break;   /* this direction and all behind it lie below the level */
        logs += log2(variance[kept]);
        level = more;
    }
    for (k = kept; k < dim; k++) rest += variance[k];
    return level * (double)kept + rest;
}

/* ---- blocks of codes ------------------------------------------------------------------------ */

static inline double to_half(double value)
{
    return (double)ttei_f16_decode(ttei_f16_encode((float)value));
}

/* Codes of `bits` bits, -2^(bits-1) and up, in blocks of `block` numbers of the table read as one
   array, each with a scale of two bytes (float16) or four (float32). */
typedef struct block_kind {
    int bits;
    size_t block, scale_bytes;  /* block 0: a row */
} block_kind;

typedef struct block_fit { double scale, error, numbers_codes, codes_codes; } block_fit;

/* The code of number / scale. */
static inline double block_code(double number, double inverse, int bits)
{
    const int low = -(1 << (bits - 1));
    double at = number * inverse;
    at = at > low ? at < -low - 1 ? at : -low - 1 : low;
    return (double)((int)(at - low + 0.5) + low);  /* above zero casting rounds downwards */
}

/* The squared error with this scale, and the sums from which the best scale for the same codes
   follows. */
static inline block_fit block_try(const float *x, size_t count, const block_kind *kind,
                                  double scale)
{
    block_fit fit = {0, HUGE_VAL, 0, 0};
    double inverse;
    size_t i;
    fit.scale = kind->scale_bytes == 2 ? to_half(scale) : (double)(float)scale;
    if (!(fabs(fit.scale) > 0) || fit.scale - fit.scale != 0) return fit;
    inverse = 1 / fit.scale;
    fit.error = 0;
    for (i = 0; i < count; i++) {
        double number = (double)x[i], code = block_code(number, inverse, kind->bits);
        double off = number - fit.scale * code;
        fit.error += off * off;
        fit.numbers_codes += number * code;
        fit.codes_codes += code * code;
    }
    return fit;
}

/* The scale of the least squared error found: the largest magnitude becomes the code `low`, or more or
   less than that, with either sign, since there is one code more on the side of `low`; then the best of
   these is moved to where least squares want it. 0 where all codes are. */
static inline double block_scale(const float *x, size_t count, const block_kind *kind)
{
    double largest = 0;
    block_fit best = {0, 0, 0, 0}, next;  /* all codes 0 */
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
    while (best.codes_codes > 0) {
        next = block_try(x, count, kind, best.numbers_codes / best.codes_codes);
        if (!(next.error < best.error)) break;
        best = next;
    }
    return best.scale;
}

/* The table as its codes and scales give it back, and the bytes they take. */
static inline size_t peer_blocks(const float *rows, size_t vocab, size_t dim, const block_kind *kind,
                                 float *back)
{
    const size_t count = vocab * dim, block = kind->block > 0 ? kind->block : dim;
    const size_t blocks = (count + block - 1) / block, last = count - (blocks - 1) * block;
    long b;
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (b = 0; b < (long)blocks; b++) {
        const size_t i = (size_t)b * block, n = (size_t)b + 1 < blocks ? block : last;
        const double scale = block_scale(rows + i, n, kind);
        size_t j;
        for (j = i; j < i + n; j++)
            back[j] = fabs(scale) > 0 ? (float)(scale * block_code((double)rows[j], 1 / scale, kind->bits)) : 0;
    }
    return blocks * kind->scale_bytes + (blocks - 1) * ((block * (size_t)kind->bits + 7) / 8) +
           (last * (size_t)kind->bits + 7) / 8;
}

/* ---- truncated singular value decomposition ------------------------------------------------- */

/* A number of a factor as it is stored: in float16, or as a multiple of `scale` by -127 to 127. */
static inline double svd_stored(double x, double scale)
{
    double code;
    if (!(scale > 0)) return to_half(x);
    code = floor(x / scale + 0.5);
    return scale * (code > 127 ? 127 : code < -127 ? -127 : code);
}

/* The float32 scale for the largest of these magnitudes. */
static inline double svd_scale(double largest) { return (double)(float)(largest / 127); }

static inline double svd_dot(const double *a, const double *b, size_t count)
{
    double sum[4] = {0, 0, 0, 0};
    size_t i;
    for (i = 0; i + 4 <= count; i += 4) {
        sum[0] += a[i] * b[i];
        sum[1] += a[i + 1] * b[i + 1];
        sum[2] += a[i + 2] * b[i + 2];
        sum[3] += a[i + 3] * b[i + 3];
    }
    for (; i < count; i++) sum[0] += a[i] * b[i];
    return sum[0] + sum[1] + (sum[2] + sum[3]);
}

/* A row as it comes back. A coefficient is the projection of what those before it leave; `scale` has zeros
   where numbers are float16. */
static inline void svd_row(const float *row, size_t dim, size_t rank, const double *mean, const double *basis,
                           const double *square, const double *scale, double *rest, float *back)
{
    size_t a, i;
    for (i = 0; i < dim; i++) rest[i] = (double)row[i] - mean[i];
    for (a = 0; a < rank; a++) {
        const double *v = basis + a * dim;
        const double c = svd_stored(square[a] > 0 ? svd_dot(rest, v, dim) / square[a] : 0, scale[a]);
        for (i = 0; i < dim; i++) rest[i] -= c * v[i];
    }
    for (i = 0; i < dim; i++) back[i] = (float)((double)row[i] - rest[i]);
}

/* Rows - mean as (U S) V^T with as many leading components as `bytes` hold, both factors in float16, or in 8 bits
   with a float32 scale for each component of each factor; the mean in float16. The table as these give it back,
   and the bytes they take, 0 where no component fits; *rank becomes the number of components. */
static inline size_t peer_svd(const float *rows, size_t vocab, size_t dim, size_t bytes, int bits, float *back,
                              size_t *rank)
{
    const size_t component = (vocab + dim) * (size_t)bits / 8 + (bits == 8 ? 8 : 0), extra = 2 * dim;
    const size_t most = bytes > extra ? (bytes - extra) / component : 0, r = most < dim ? most : dim;
    double *mean = (double *)bench_alloc(dim, sizeof *mean), *variance = (double *)bench_alloc(dim, sizeof *variance);
    double *basis = (double *)bench_alloc(dim * dim, sizeof *basis), *rest = (double *)bench_alloc(dim, sizeof *rest);
    double *scale = (double *)bench_alloc(dim, sizeof *scale), *square = (double *)bench_alloc(dim, sizeof *square);
    size_t a, i, t;
    long at;
    *rank = r;
    if (r > 0) {
        table_mean(rows, vocab, dim, mean);
        table_spectrum(rows, vocab, dim, mean, variance, basis);
    }
    for (i = 0; i < dim; i++) mean[i] = to_half(mean[i]);
    for (t = 0; t < vocab && bits == 8 && r > 0; t++) {  /* the largest coefficient of each component */
        for (i = 0; i < dim; i++) rest[i] = (double)rows[t * dim + i] - mean[i];
        for (a = 0; a < r; a++) scale[a] = fmax(scale[a], fabs(svd_dot(rest, basis + a * dim, dim)));
    }
    for (a = 0; a < r; a++) {
        double *v = basis + a * dim, largest = 0;
        for (i = 0; i < dim && bits == 8; i++) largest = fmax(largest, fabs(v[i]));
        for (i = 0; i < dim; i++) v[i] = svd_stored(v[i], svd_scale(largest));
        scale[a] = svd_scale(scale[a]);
        square[a] = svd_dot(v, v, dim);
    }
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic)
#endif
    for (at = 0; at < (long)(r > 0 ? (vocab + 255) / 256 : 0); at++) {
        const size_t first = (size_t)at * 256, end = first + 256 < vocab ? first + 256 : vocab;
        double *room = (double *)bench_alloc(dim, sizeof *room);
        size_t row;
        for (row = first; row < end; row++)
            svd_row(rows + row * dim, dim, r, mean, basis, square, scale, room, back + row * dim);
        free(room);
    }
    free(mean), free(variance), free(basis), free(rest), free(scale), free(square);
    return r > 0 ? extra + r * component : 0;
}

/* ---- product quantization ------------------------------------------------------------------- */

#define PQ_CENTROIDS 256
#define PQ_ITERATIONS 12   /* of Lloyd's algorithm                  */
#define PQ_TRAINING 16384  /* rows that it sees, 64 for each centroid */

/* The squared distances, less |x|^2, from a subvector to all centroids, which lie column by column:
   number j of centroid c is at centroids[j * PQ_CENTROIDS + c]. */
static inline void pq_distances(const float *x, size_t width, const float *centroids, const float *norms,
                                float *distance)
{
    size_t j, c;
    memcpy(distance, norms, PQ_CENTROIDS * sizeof *distance);
    for (j = 0; j < width; j++) {
        const float twice = 2 * x[j];
        const float *number = centroids + j * PQ_CENTROIDS;
        for (c = 0; c < PQ_CENTROIDS; c++) distance[c] -= twice * number[c];
    }
}

static inline void pq_norms(size_t width, const float *centroids, float *norms)
{
    size_t i;
    memset(norms, 0, PQ_CENTROIDS * sizeof *norms);
    for (i = 0; i < width * PQ_CENTROIDS; i++) norms[i % PQ_CENTROIDS] += centroids[i] * centroids[i];
}

static inline size_t pq_nearest(const float *distance)
{
    size_t best = 0, c;
    for (c = 1; c < PQ_CENTROIDS; c++)
        if (distance[c] < distance[best]) best = c;
    return best;
}

static inline void pq_place(float *centroids, size_t c, const float *x, size_t width)
{
    size_t j;
    for (j = 0; j < width; j++) centroids[j * PQ_CENTROIDS + c] = x[j];
}

/* First centroids by k-means++ (Arthur and Vassilvitskii, 2007): each is a row drawn with a probability
   in proportion to its squared distance from those before. */
static inline void pq_begin(const float *x, size_t count, size_t dim, size_t width, float *centroids,
                            uint64_t *state)
{
    double *off = (double *)bench_alloc(count, sizeof *off), all = (double)count;
    size_t c, i, j;
    for (i = 0; i < count; i++) off[i] = 1;
    for (c = 0; c < PQ_CENTROIDS; c++) {
        double at = bench_uniform(state) * all;
        const float *chosen;
        for (i = 0; i + 1 < count && at > off[i]; i++) at -= off[i];
        chosen = x + i * dim;
        pq_place(centroids, c, chosen, width);
        for (all = 0, i = 0; i < count; i++) {
            double distance = 0;
            for (j = 0; j < width; j++) {
                const double d = (double)x[i * dim + j] - (double)chosen[j];
                distance += d * d;
            }
            if (c == 0 || distance < off[i]) off[i] = distance;
            all += off[i];
        }
    }
    free(off);
}

/* k-means by Lloyd's algorithm. A centroid that no subvector is nearest to becomes the one that is
   farthest from its own. */
static inline void pq_train(const float *x, size_t count, size_t dim, size_t width, float *centroids,
                            uint64_t *state)
{
    double *sum = (double *)bench_alloc(PQ_CENTROIDS * width, sizeof *sum);
    size_t members[PQ_CENTROIDS], iteration, i, j, c;
    float norms[PQ_CENTROIDS], distance[PQ_CENTROIDS];
    pq_begin(x, count, dim, width, centroids, state);
    for (iteration = 0; iteration < PQ_ITERATIONS; iteration++) {
        size_t farthest = 0;
        double most = -1;
        pq_norms(width, centroids, norms);
        memset(sum, 0, PQ_CENTROIDS * width * sizeof *sum);
        memset(members, 0, sizeof members);
        for (i = 0; i < count; i++) {
            double off;
            pq_distances(x + i * dim, width, centroids, norms, distance);
            c = pq_nearest(distance);
            members[c]++;
            for (off = (double)distance[c], j = 0; j < width; j++) {
                const double number = (double)x[i * dim + j];
                sum[c * width + j] += number;
                off += number * number;
            }
            if (off > most) {
                most = off;
                farthest = i;
            }
        }
        for (c = 0; c < PQ_CENTROIDS; c++) {
            if (members[c] == 0) {
                pq_place(centroids, c, x + farthest * dim, width);
                continue;
            }
            for (j = 0; j < width; j++)
                centroids[j * PQ_CENTROIDS + c] = (float)(sum[c * width + j] / (double)members[c]);
        }
    }
    free(sum);
}

/* Where subvector `part` of m begins. */
static inline size_t pq_begins(size_t part, size_t m, size_t dim) { return part * dim / m; }

/* Rows in m subvectors of about equal width, a byte for each, which names one of 256 centroids in float16
   (Jegou, Douze and Schmid, 2011). Those of a subvector that begins at entry i are at 256 i. */
static inline void pq_store(const float *rows, size_t vocab, size_t dim, size_t m, float *centroids,
                            unsigned char *codes)
{
    const size_t step = vocab / PQ_TRAINING + (vocab % PQ_TRAINING > 0);
    long part;
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic)
#endif
    for (part = 0; part < (long)m; part++) {
        const size_t begin = pq_begins((size_t)part, m, dim), width = pq_begins((size_t)part + 1, m, dim) - begin;
        float *book = centroids + PQ_CENTROIDS * begin, norms[PQ_CENTROIDS], distance[PQ_CENTROIDS];
        uint64_t state = vocab + (uint64_t)part;
        size_t t, i;
        pq_train(rows + begin, (vocab + step - 1) / step, dim * step, width, book, &state);
        for (i = 0; i < PQ_CENTROIDS * width; i++) book[i] = (float)to_half((double)book[i]);
        pq_norms(width, book, norms);
        for (t = 0; t < vocab; t++) {
            pq_distances(rows + t * dim + begin, width, book, norms, distance);
            codes[t * m + (size_t)part] = (unsigned char)pq_nearest(distance);
        }
    }
}

/* As many subvectors as `bytes` allow. */
static inline size_t pq_parts(size_t vocab, size_t dim, size_t bytes)
{
    const size_t books = PQ_CENTROIDS * dim * 2, m = bytes > books ? (bytes - books) / vocab : 0;
    return m < dim ? m : dim;
}

/* The table as its centroids give it back, and the bytes taken; *parts becomes the number of subvectors,
   0 when not one fits. */
static inline size_t peer_pq(const float *rows, size_t vocab, size_t dim, size_t bytes, float *back,
                             size_t *parts)
{
    const size_t m = pq_parts(vocab, dim, bytes);
    float *centroids = (float *)bench_alloc(PQ_CENTROIDS * dim, sizeof *centroids);
    unsigned char *codes = (unsigned char *)bench_alloc(vocab * m, 1);
    size_t part, t, i;
    pq_store(rows, vocab, dim, m, centroids, codes);
    for (part = 0; part < m; part++)
        for (t = 0; t < vocab; t++)
            for (i = pq_begins(part, m, dim); i < pq_begins(part + 1, m, dim); i++)
                back[t * dim + i] = centroids[PQ_CENTROIDS * i + codes[t * m + part]];
    free(centroids);
    free(codes);
    *parts = m;
    return m > 0 ? PQ_CENTROIDS * dim * 2 + m * vocab : 0;
}

#endif
