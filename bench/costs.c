/* costs.c: speed and memory beside accuracy, in one table, `costs`: what each way to make a table small
 * loses, how fast it compresses, looks one row up and scores all rows, and the memory it compresses in.
 *
 * The library is read by its own calls, the others by plain decoders over their packed bytes, below, as one
 * would write them in C; what these give must be what method_apply gives back, and scores must be products
 * with these rows, else the program stops. One thread, processor time, five runs; best is the fastest, and
 * spread the slowest less the fastest over the median.
 */
#include "bench.h"
#include "counted.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "loads.h"

/* From here on all memory is counted. */
#define bench_alloc count_alloc
#define free count_free
#include "peers.h"
#include "methods.h"

#define VOCAB ((size_t)4096)
#define DIM ((size_t)LOAD_DIM)
#define LOOKUPS 64         /* in one run, of random tokens */
#define RUN_SECONDS 0.02
#define SAME 1e-6          /* two ways to the same rows, relatively           */
#define SCORE_OFF 1e-5     /* a score off its float64 product, over |h| |row| */

typedef enum form { DENSE, INT8, BLOCK4, SVD, PQ, TABLE, TRAINS } form;

typedef struct contender {
    const char *name;      /* of a method, but for dense rows and trains */
    form form;
    double ratio;          /* 0: the size is fixed */
    tte_coding coding;     /* TRAINS */
} contender;

static const contender contenders[] = {
    {"dense float32", DENSE, 0, TTE_F32},
    {"int8 rows", INT8, 0, TTE_F32},
    {"4-bit blocks", BLOCK4, 0, TTE_F32},
    {"SVD float16", SVD, 8, TTE_F32},
    {"PQ", PQ, 16, TTE_F32},
    {"entropy", TABLE, 8, TTE_F32},
    {"table I8", TABLE, 8, TTE_F32},
    {"table I4", TABLE, 8, TTE_F32},
    {"table F16", TABLE, 8, TTE_F32},
    {"12x64 cap 4 F32", TRAINS, 0, TTE_F32},
    {"12x64 cap 4 I8", TRAINS, 0, TTE_I8},
};

/* A table as it is stored, and what it is read with. */
typedef struct kept {
    const contender *is;
    const float *rows;        /* the table itself                                                   */
    unsigned char *codes;     /* INT8: a byte a number; BLOCK4: two numbers a byte; PQ: a byte a part */
    uint16_t *halves;         /* float16. BLOCK4: scales; PQ: 256 numbers for each entry of a row;
                                 SVD: basis, coefficients, mean where there is one                  */
    float *scales;            /* INT8                                                               */
    size_t columns;           /* SVD: components; PQ: parts                                         */
    tte_image image;
    tte_table view;
    double bytes;
    size_t peak;              /* bytes while compressing, the result among them                     */
    float *row, *scratch, *scores;
    const float *hidden;
    uint64_t state;
} kept;

/* ---- compress ------------------------------------------------------------------------------- */

static uint16_t half_of(double x) { return (uint16_t)ttei_f16_encode((float)x); }

static void store_blocks(kept *k, const block_kind *kind)
{
    const size_t n = kind->block > 0 ? kind->block : DIM, blocks = VOCAB * DIM / n;
    size_t b, i;
    k->codes = (unsigned char *)bench_alloc(VOCAB * DIM * (size_t)kind->bits / 8, 1);
    k->scales = kind->bits == 8 ? (float *)bench_alloc(blocks, sizeof(float)) : NULL;
    k->halves = kind->bits == 4 ? (uint16_t *)bench_alloc(blocks, sizeof(uint16_t)) : NULL;
    for (b = 0; b < blocks; b++) {
        const double scale = block_scale(k->rows + b * n, n, kind);
        if (kind->bits == 8) k->scales[b] = (float)scale;
        else k->halves[b] = half_of(scale);
        for (i = b * n; i < (b + 1) * n; i++) {
            int code = 0;
            if (fabs(scale) > 0) code = (int)block_code((double)k->rows[i], 1 / scale, kind->bits);
            if (kind->bits == 8) k->codes[i] = (unsigned char)(code + 128);
            else k->codes[i / 2] = (unsigned char)(k->codes[i / 2] | (code + 8) << 4 * (i % 2));
        }
    }
    k->bytes = (double)(VOCAB * DIM * (size_t)kind->bits / 8 + blocks * kind->scale_bytes);
}

static void store_svd(kept *k, size_t budget)
{
    svd_factors f;
    const size_t bytes = svd_store(k->rows, VOCAB, DIM, budget, 16, &f);
    size_t i, at = 0;
    if (bytes == 0) bench_stop(k->is->name, "does not fit");
    k->halves = (uint16_t *)bench_alloc(bytes / 2, sizeof *k->halves);
    for (i = 0; i < f.rank * DIM; i++) k->halves[at++] = half_of(f.basis[i]);
    for (i = 0; i < VOCAB * f.rank; i++) k->halves[at++] = half_of((double)f.coefficients[i]);
    for (i = 0; at < bytes / 2; i++) k->halves[at++] = half_of(f.mean[i]);
    k->columns = f.rank;
    k->bytes = (double)bytes;
    svd_drop(&f);
}

static void store_pq(kept *k, size_t budget)
{
    const size_t numbers = PQ_CENTROIDS * DIM, m = pq_parts(VOCAB, DIM, budget);
    float *centroids = (float *)bench_alloc(numbers, sizeof *centroids);
    size_t i;
    if (m == 0) bench_stop(k->is->name, "does not fit");
    k->codes = (unsigned char *)bench_alloc(VOCAB * m, 1);
    k->halves = (uint16_t *)bench_alloc(numbers, sizeof *k->halves);
    pq_store(k->rows, VOCAB, DIM, m, centroids, k->codes);
    for (i = 0; i < numbers; i++) k->halves[i] = half_of((double)centroids[i]);
    k->columns = m;
    k->bytes = (double)(VOCAB * m + numbers * sizeof *k->halves);
    free(centroids);
}

static void kept_drop(kept *k)
{
    free(k->codes);
    free(k->halves);
    free(k->scales);
    tte_free(&k->image);
    k->codes = NULL;
    k->halves = NULL;
    k->scales = NULL;
}

static void run_compress(void *context)
{
    kept *k = (kept *)context;
    const size_t raw = VOCAB * DIM * sizeof(float);
    const size_t budget = k->is->ratio > 0 ? (size_t)((double)raw / k->is->ratio) : 0;
    size_t before;
    kept_drop(k);
    before = peak = held;
    switch (k->is->form) {
    case DENSE: k->bytes = (double)raw; break;
    case INT8:
    case BLOCK4: store_blocks(k, &method_named(k->is->name)->blocks); break;
    case SVD: store_svd(k, budget); break;
    case PQ: store_pq(k, budget); break;
    case TABLE:
        if (!method_image(method_named(k->is->name), k->rows, VOCAB, DIM, k->is->ratio, 0, NULL, &k->image))
            bench_stop(k->is->name, "does not fit");
        break;
    case TRAINS: load_compress_as(&loads[0], k->is->coding, k->rows, VOCAB, &k->image); break;
    }
    k->peak = peak - before;
    if (k->image.size > 0) k->bytes = (double)k->image.size;
}

/* ---- read ----------------------------------------------------------------------------------- */

static float dot(const float *a, const float *b, size_t count)
{
    float sum[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    size_t i, l;
    for (i = 0; i + 8 <= count; i += 8)
        for (l = 0; l < 8; l++) sum[l] += a[i + l] * b[i + l];
    for (; i < count; i++) sum[0] += a[i] * b[i];
    return (sum[0] + sum[4]) + (sum[1] + sum[5]) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

static void unpack_halves(const uint16_t *halves, size_t count, float *out)
{
    size_t i;
    for (i = 0; i < count; i++) out[i] = ttei_f16_decode(halves[i]);
}

/* SVD: the mean, NULL where there is none. */
static const uint16_t *svd_mean(const kept *k)
{
    const size_t factors = k->columns * (VOCAB + DIM);
    return k->bytes > (double)(2 * factors) ? k->halves + factors : NULL;
}

/* Row `t`. */
static void unpack(const kept *k, size_t t, float *row)
{
    size_t i, a;
    switch (k->is->form) {
    case DENSE: memcpy(row, k->rows + t * DIM, DIM * sizeof *row); break;
    case INT8:
        for (i = 0; i < DIM; i++) row[i] = k->scales[t] * (float)(k->codes[t * DIM + i] - 128);
        break;
    case BLOCK4:
        for (i = 0; i < DIM; i += 32) {
            const float scale = ttei_f16_decode(k->halves[(t * DIM + i) / 32]);
            const unsigned char *codes = k->codes + (t * DIM + i) / 2;
            for (a = 0; a < 16; a++) {
                row[i + 2 * a] = scale * (float)((codes[a] & 15) - 8);
                row[i + 2 * a + 1] = scale * (float)((codes[a] >> 4) - 8);
            }
        }
        break;
    case SVD: {
        const uint16_t *mean = svd_mean(k), *basis = k->halves;
        const uint16_t *coefficients = basis + k->columns * DIM + t * k->columns;
        if (mean != NULL) unpack_halves(mean, DIM, row);
        else memset(row, 0, DIM * sizeof *row);
        for (a = 0; a < k->columns; a++, basis += DIM) {
            const float c = ttei_f16_decode(coefficients[a]);
            for (i = 0; i < DIM; i++) row[i] += c * ttei_f16_decode(basis[i]);
        }
        break;
    }
    case PQ:
        for (a = 0; a < k->columns; a++)
            for (i = pq_begins(a, k->columns, DIM); i < pq_begins(a + 1, k->columns, DIM); i++)
                row[i] = ttei_f16_decode(k->halves[PQ_CENTROIDS * i + k->codes[t * k->columns + a]]);
        break;
    case TABLE:
    case TRAINS:
        if (tte_lookup(&k->view, (uint32_t)t, row, k->scratch) != TTE_OK) bench_stop("tte_lookup", "failed");
        break;
    }
}

static void run_lookups(void *context)
{
    kept *k = (kept *)context;
    int i;
    for (i = 0; i < LOOKUPS; i++) unpack(k, (size_t)(bench_bits(&k->state) % VOCAB), k->row);
}

/* Products with the components first, then a row costs as many multiplications as there are components. */
static void scores_svd(kept *k)
{
    const uint16_t *mean = svd_mean(k), *coefficients = k->halves + k->columns * DIM;
    float *projected = k->scratch, *unpacked = k->scratch + k->columns, constant = 0;
    size_t t, a;
    if (mean != NULL) {
        unpack_halves(mean, DIM, k->row);
        constant = dot(k->row, k->hidden, DIM);
    }
    for (a = 0; a < k->columns; a++) {
        unpack_halves(k->halves + a * DIM, DIM, k->row);
        projected[a] = dot(k->row, k->hidden, DIM);
    }
    for (t = 0; t < VOCAB; t++) {
        unpack_halves(coefficients + t * k->columns, k->columns, unpacked);
        k->scores[t] = constant + dot(unpacked, projected, k->columns);
    }
}

/* Products with all centroids first, then a row costs an addition a part. */
static void scores_pq(kept *k)
{
    size_t t, a, i, c;
    memset(k->scratch, 0, k->columns * PQ_CENTROIDS * sizeof *k->scratch);
    for (a = 0; a < k->columns; a++)
        for (i = pq_begins(a, k->columns, DIM); i < pq_begins(a + 1, k->columns, DIM); i++)
            for (c = 0; c < PQ_CENTROIDS; c++)
                k->scratch[a * PQ_CENTROIDS + c] +=
                    k->hidden[i] * ttei_f16_decode(k->halves[PQ_CENTROIDS * i + c]);
    for (t = 0; t < VOCAB; t++) {
        const unsigned char *codes = k->codes + t * k->columns;
        float sum = 0;
        for (a = 0; a < k->columns; a++) sum += k->scratch[a * PQ_CENTROIDS + codes[a]];
        k->scores[t] = sum;
    }
}

static void run_scores(void *context)
{
    kept *k = (kept *)context;
    size_t t;
    switch (k->is->form) {
    case SVD: scores_svd(k); break;
    case PQ: scores_pq(k); break;
    case TABLE:
    case TRAINS:
        if (tte_logits(&k->view, k->hidden, 0, (uint32_t)VOCAB, k->scores, k->scratch) != TTE_OK)
            bench_stop("tte_logits", "failed");
        break;
    case DENSE:
        for (t = 0; t < VOCAB; t++) k->scores[t] = dot(k->rows + t * DIM, k->hidden, DIM);
        break;
    case INT8:
    case BLOCK4:
        for (t = 0; t < VOCAB; t++) {
            unpack(k, t, k->row);
            k->scores[t] = dot(k->row, k->hidden, DIM);
        }
        break;
    }
}

/* ---- one row of the table -------------------------------------------------------------------- */

/* The error, after rows and scores have been compared with what they must be. */
static double checked_error(kept *k)
{
    float *back = (float *)bench_alloc(VOCAB * DIM, sizeof *back);
    double error;
    size_t t, i;
    for (t = 0; t < VOCAB; t++) unpack(k, t, back + t * DIM);
    run_scores(k);
    for (t = 0; t < VOCAB; t++) {
        double sum = 0, h2 = 0, w2 = 0;
        for (i = 0; i < DIM; i++) {
            const double h = (double)k->hidden[i], w = (double)back[t * DIM + i];
            sum += h * w;
            h2 += h * h;
            w2 += w * w;
        }
        if (!(fabs(sum - (double)k->scores[t]) <= SCORE_OFF * sqrt(h2 * w2)))
            bench_stop(k->is->name, "scores are not the products with the rows");
    }
    if (k->is->form != DENSE && k->image.size == 0) {
        rebuilt same;
        if (!method_apply(method_named(k->is->name), k->rows, VOCAB, DIM, k->is->ratio, NULL, &same) ||
            !(relative_off(same.rows, back, VOCAB * DIM) <= SAME) || fabs(same.bytes - k->bytes) > 0)
            bench_stop(k->is->name, "rows or bytes are not those that method_apply gives");
        rebuilt_end(&same);
    }
    error = relative_off(k->rows, back, VOCAB * DIM);
    free(back);
    return error;
}

static void spread_cells(const bench_peer *peer, double median, double best, int decimals)
{
    bench_number(median, decimals);
    bench_number(best, decimals);
    bench_number((peer->slowest - peer->fastest) / peer->median, 2);
}

static void costs_row(const contender *is, const float *rows, const float *hidden)
{
    kept k;
    bench_peer compress, read[2];
    size_t room;
    double error;
    memset(&k, 0, sizeof k);
    k.is = is;
    k.rows = rows;
    k.hidden = hidden;
    compress.run = run_compress;
    read[0].run = run_lookups;
    read[1].run = run_scores;
    compress.context = read[0].context = read[1].context = &k;
    bench_race(&compress, 1, CLOCK_PROCESS_CPUTIME_ID, 0);
    if (k.image.size > 0) k.view = open_image(is->name, &k.image);
    room = k.image.size > 0 ? tte_scratch_len(&k.view) : PQ_CENTROIDS * (k.columns + 1);
    k.row = (float *)bench_alloc(DIM, sizeof *k.row);
    k.scratch = (float *)bench_alloc(room, sizeof *k.scratch);
    k.scores = (float *)bench_alloc(VOCAB, sizeof *k.scores);
    error = checked_error(&k);
    bench_race(read, 2, CLOCK_PROCESS_CPUTIME_ID, RUN_SECONDS);
    bench_text(is->name);
    bench_number(4.0 * (double)(VOCAB * DIM) / k.bytes, 2);
    bench_number(error, 5);
    if (is->form == DENSE) compress.median = compress.fastest = bench_nothing();
    spread_cells(&compress, (double)VOCAB / compress.median, (double)VOCAB / compress.fastest, 0);
    spread_cells(&read[0], 1e9 * read[0].median / LOOKUPS, 1e9 * read[0].fastest / LOOKUPS, 0);
    spread_cells(&read[1], 1e3 * read[1].median, 1e3 * read[1].fastest, 3);
    bench_number(is->form == DENSE ? bench_nothing() : (double)k.peak / 1048576, 2);
    free(k.row);
    free(k.scratch);
    free(k.scores);
    kept_drop(&k);
}

int main(int argc, char **argv)
{
    static const bench_column columns[] = {
        {"method", -16, NULL},            {"ratio", 6, NULL},               {"error", 7, NULL},
        {"median", 9, "compress tokens/s"}, {"best", 9, "compress tokens/s"},
        {"spread", 6, "compress tokens/s"},
        {"median", 7, "lookup ns"},       {"best", 7, "lookup ns"},         {"spread", 6, "lookup ns"},
        {"median", 7, "logits ms"},       {"best", 7, "logits ms"},         {"spread", 6, "logits ms"},
        {"peak MiB", 8, NULL}};
    const float *rows = bench_spectrum_table(VOCAB, DIM), *hidden = bench_gaussian_table(1, DIM);
    size_t i;
    bench_begin(argc, argv);
    bench_table("costs", "a table of 4096 x 768 with a model's spectrum, one thread; memory while "
                "compressing, beyond the table", columns, BENCH_COUNT(columns));
    for (i = 0; i < BENCH_COUNT(contenders); i++) costs_row(&contenders[i], rows, hidden);
    bench_table_end();
    return 0;
}
