/* test_reading.c: all ways of reading against tte_lookup: batches, where rows share work and repeats are made once;
 * scores, whose sums run over codes; the best tokens; what is refused. test_image.c has tte_lookup itself. */
#include "bodies.h"
#include "harness.h"
#include "tables.h"
#include "made.h"

#ifdef _OPENMP
#include <omp.h>
#endif

/* An image with all its rows by tte_lookup. */
typedef struct opened {
    tte_image image;
    tte_table t;
    tte_info info;
    float *rows, *scratch;
    int by_hand; /* of any numbers, not compressed */
} opened;

static opened open_reading(tte_image image)
{
    opened o;
    memset(&o, 0, sizeof o);
    o.image = image;
    o.t = open_image(&image);
    o.info = get_info(&o.t);
    o.scratch = new_scratch(&o.t);
    o.rows = lookup_all(&o.t);
    return o;
}

static void close_reading(opened *o) { free(o->scratch), free(o->rows), free(o->image.data); }

static void say_where(unsigned long bad, const char *what, const opened *o)
{
    if (test.bad > bad && test.bad <= 5)
        fprintf(stderr, "    %s: layout %d, coding %d, %d x %d, rank %d, %d centroids\n", what, (int)o->info.layout,
                (int)o->info.coding, (int)o->info.vocab, (int)o->info.dim, o->info.rank, o->info.centroids);
}

/* Every coding of TTE_PER_TOKEN; TTE_PER_TABLE as the library makes it and made by hand, twice. */
enum { READINGS = CODINGS + 4 };

static opened make_reading(int kind, size_t vocab, size_t dim)
{
    float *table = make_table(vocab % 2 ? CLUSTERS : DECAYING, vocab, dim);
    tte_options options = table_options(kind == CODINGS ? 4.0f : 0, kind == CODINGS ? 0 : 0.05f);
    tte_image image = {NULL, 0};
    opened o;
    int by_hand;
    if (kind < CODINGS) options = make_options(all_codings[kind], dim % 2 ? 2 : 0, dim % 2 ? 0 : 0.5f, NULL);
    by_hand = kind >= CODINGS + 2 || tte_compress(table, vocab, dim, &options, &image) != TTE_OK;
    if (by_hand) { /* or too small for its budget */
        plan p = random_plan((int)dim, (int)vocab);
        CHECK(kind >= CODINGS && (kind > CODINGS + 1 || dim < 4 || vocab < 100));
        image = write_image(&p);
    } else {
        image = exact_image(&image);
    }
    free(table);
    o = open_reading(image);
    o.by_hand = by_hand;
    return o;
}

/* ---- batches --------------------------------------------------------------------------------- */

/* Repeats are looked for in so many tokens at a time: periods around that, and other orders. */
enum { ORDERS = 7, WINDOW = 512, COUNTS = 14 };
static const size_t counts[COUNTS] = {0, 1, 2, 3, 5, 9, 17, 33, 64, 65, 511, 512, 513, 1100};

static uint32_t token_in_order(int order, size_t i, size_t count, size_t vocab)
{
    switch (order) {
    case 0:  return (uint32_t)rng_int(0, (int)vocab - 1);
    case 1:  return (uint32_t)(vocab / 2);                                   /* all equal        */
    case 2:  return (uint32_t)(i % (WINDOW - 1) % vocab);
    case 3:  return (uint32_t)(i % (WINDOW + 1) % vocab);
    case 4:  return (uint32_t)((count - 1 - i) * vocab / count);             /* descending       */
    case 5:  return (uint32_t)(i * 7 % vocab);
    default: return (uint32_t)(i % WINDOW == WINDOW - 1 ? 0 : i % vocab);    /* the last again   */
    }
}

/* As tte_lookup gives it, bit for bit, and nothing behind the last row; nothing at all for a bad token. */
static void check_batch(const opened *o, int order, size_t count)
{
    const size_t dim = o->info.dim, guard = 16;
    uint32_t *tokens = (uint32_t *)test_alloc(count * sizeof *tokens);
    float *rows = new_floats(count * dim + guard);
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) tokens[i] = token_in_order(order, i, count, o->info.vocab);
    CHECK_STATUS(tte_lookup_batch(&o->t, tokens, count, rows, o->scratch), TTE_OK);
    for (size_t i = 0; i < count; i++) wrong += !same_floats(rows + i * dim, o->rows + tokens[i] * dim, dim);
    CHECK(wrong == 0);
    CHECK(is_untouched(rows + count * dim, guard * sizeof *rows));
    if (count > 0) {
        memset(rows, 0xA5, count * dim * sizeof *rows);
        tokens[count - 1] = (uint32_t)o->info.vocab;
        CHECK_STATUS(tte_lookup_batch(&o->t, tokens, count, rows, o->scratch), TTE_ERR_RANGE);
        CHECK(is_untouched(rows, count * dim * sizeof *rows));
    }
    free(tokens), free(rows);
}

static void batches(void)
{
    static const size_t dims[] = {1, 2, 3, 7, 8, 17, 31, 33, 64, 65, 100, 130, 200};
    int order = 0;
    for (int d = 0; d < (test.small ? 8 : 13); d++)
        for (int kind = 0; kind < READINGS; kind++) {
            opened o = make_reading(kind, kind < CODINGS ? 60 : test.small ? 90 : 560 + (size_t)d, dims[d]);
            unsigned long bad = test.bad;
            for (int c = 0; c < COUNTS; c++)
                for (int n = 0; n < (dims[d] < 10 ? ORDERS : 1); n++)
                    check_batch(&o, order++ % ORDERS, counts[c]);
            say_where(bad, "a batch", &o);
            close_reading(&o);
        }
}

/* ---- scores ---------------------------------------------------------------------------------- */

/* Vectors that a model may have, and some that it should not. */
enum { VECTORS = 8 };

static float *make_vector(int kind, size_t dim)
{
    float *h = random_floats(dim);
    for (size_t j = 0; j < dim; j++)
        switch (kind) {
        case 1: h[j] *= 1e-20f; break;
        case 2: h[j] *= 1e15f; break;
        case 3: h[j] = 0; break;
        case 4: h[j] *= j == dim / 3 ? 1e15f : 1; break;
        case 5: h[j] *= j == dim - 1 ? 1000.0f : 1; break;
        case 6: h[j] *= (float)pow(10, 30 * rng_uniform() - 15); break;
        case 7: h[j] = j == dim / 2 ? 1 : 0; break;
        default: break;
        }
    return h;
}

static double longest_row(const opened *o)
{
    double longest = 0;
    for (size_t i = 0; i < o->info.vocab; i++)
        longest = fmax(longest, norm(o->rows + i * o->info.dim, o->info.dim));
    return longest;
}

/* All scores against sums in double of the rows looked up, to `bound` of a row and 1e-5 of the longest, which a
 * mean may be; then ranges of them, which have the same bits. */
static void check_scores(const opened *o, const float *h, double bound)
{
    const size_t vocab = o->info.vocab, dim = o->info.dim;
    double length = norm(h, dim), longest = longest_row(o);
    float *whole = new_floats(vocab);
    CHECK_STATUS(tte_logits(&o->t, h, 0, (uint32_t)vocab, whole, o->scratch), TTE_OK);
    for (size_t i = 0; i < vocab && length * longest < 1e33; i++) { /* sums on the way there must be floats, too */
        const float *row = o->rows + i * dim;
        CHECK_LE(fabs((double)whole[i] - dot(h, row, dim)), length * (bound * norm(row, dim) + 1e-5 * longest));
    }
    for (int r = 0; r < 6; r++) {
        size_t first = (size_t)rng_int(0, (int)vocab), count = (size_t)rng_int(0, (int)(vocab - first));
        float *part;
        count = r % 2 == 0 && count > 40 ? count % 40 : count;
        part = new_floats(count);
        CHECK_STATUS(tte_logits(&o->t, h, (uint32_t)first, (uint32_t)count, part, o->scratch), TTE_OK);
        CHECK(memcmp(part, whole + first, count * sizeof *part) == 0);
        free(part);
    }
    free(whole);
}

/* Rounding of coefficients to 15 bits; where rows are long sums of arbitrary codes, somewhat fewer are left. */
static double rounding_of(const opened *o)
{
    return o->info.layout == TTE_PER_TOKEN ? 1e-5 : o->by_hand ? 1e-2 : 3e-4;
}

static void scores(void)
{
    static const size_t dims[] = {1, 3, 8, 17, 32, 33, 64, 100, 130, 300};
    for (int d = 0; d < (test.small ? 7 : 10); d++)
        for (int kind = 0; kind < READINGS; kind++) {
            opened o = make_reading(kind, kind < CODINGS ? 70 : test.small ? 140 : 1101 - (size_t)d, dims[d]);
            for (int v = 0; v < VECTORS; v++) {
                float *h = make_vector(v, dims[d]);
                unsigned long bad = test.bad;
                check_scores(&o, h, rounding_of(&o));
                say_where(bad, "scores", &o);
                free(h);
            }
            for (int n = 0; n < 300; n++) {
                uint32_t a = (uint32_t)rng_int(0, (int)o.info.vocab - 1), b = n % 9 ? a * 5 % (uint32_t)o.info.vocab : a;
                const float *x = o.rows + a * dims[d], *y = o.rows + b * dims[d];
                float got = -7;
                CHECK_STATUS(tte_inner_tokens(&o.t, a, b, &got, o.scratch), TTE_OK);
                CHECK_LE(fabs((double)got - dot(x, y, dims[d])), 2e-6 * norm(x, dims[d]) * norm(y, dims[d]));
            }
            close_reading(&o);
        }
}

/* Tables of every kind, in settings of every kind. */
static void scores_of_tables(void)
{
    for (int of = 0; of < TABLES; of++)
        for (int n = 0; n < 5; n++) {
            const size_t vocab = 150, dim = 40;
            float *table = make_table(of, vocab, dim);
            tte_options options = n < 3 ? table_options(0, n == 0 ? 0.5f : n == 1 ? 0.1f : 0.01f)
                                        : make_options(n == 3 ? TTE_F32 : TTE_I8, 6, 0, NULL);
            tte_image image = sentinel_image();
            tte_status status = tte_compress(table, vocab, dim, &options, &image);
            if (status == TTE_OK) {
                opened o = open_reading(exact_image(&image));
                for (int v = 0; v < VECTORS && of != HUGE_NUMBERS && of != SUBNORMAL; v++) {
                    float *h = make_vector(v, dim);
                    unsigned long bad = test.bad;
                    check_scores(&o, h, rounding_of(&o));
                    if (test.bad > bad && test.bad <= 5)
                        fprintf(stderr, "    table %d, vector %d, options %d\n", of, v, n);
                    free(h);
                }
                check_batch(&o, of % ORDERS, vocab);
                close_reading(&o);
            } else {
                CHECK_STATUS(status, TTE_ERR_BUDGET); /* numbers that no float16 holds, an eps below rounding */
            }
            free(table);
        }
}

/* Sums as large as they can be: all codes at one end, in as many rows of the basis as there can be. */
static void largest_sums(void)
{
    static const int rates[] = {PLAIN + 14, PLAIN + 13, PLAIN + 9, PLAIN + 2, 16, 3}, fills[] = {0xFF, 0, 0x80, 0x55, -1};
    for (int r = 0; r < 6; r++)
        for (int f = 0; f < 5; f++) {
            plan p = random_plan(test.small ? 300 : r % 2 ? 1025 : 2100, 5);
            const run all = {rates[r], p.dim & ~1, 128}, basis = {rates[r], 0, 0};
            shared s;
            opened o;
            made_fill = fills[f];
            p.rank = p.dim, p.centroids = 1, p.exponent = 0;
            p.basis.runs = 1, p.basis.of[0] = basis, p.basis.of[0].count = p.dim + 1;
            for (int i = 0; i <= p.rank; i++) p.basis_scale[i] = 0x3C00;
            for (int c = 0; c < p.classes; c++) p.list[c].runs = 1, p.list[c].of[0] = all, p.scale[c] = 0x3F80;
            o = open_reading(write_image(&p));
            made_fill = -1;
            s = read_shared((unsigned char *)o.image.data);
            for (size_t t = 0; t < o.info.vocab; t++) {
                float row[MOST_DIM];
                read_row(&s, o.info.vocab, t, row);
                CHECK(memcmp(row, o.rows + t * o.info.dim, o.info.dim * sizeof *row) == 0);
            }
            check_batch(&o, 5, 17);
            close_reading(&o), free(s.basis);
        }
}

/* ---- the best tokens ------------------------------------------------------------------------- */

typedef struct scored { float score; uint32_t token; } scored;

static int is_nan(float x) { return !(x <= 0) && !(x > 0); }

static int by_score(const void *a, const void *b)
{
    const scored *x = (const scored *)a, *y = (const scored *)b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->token < y->token ? -1 : x->token > y->token;
}

/* The order of tte_logits, where NaN counts as minus infinity. */
static void check_best(const opened *o, const float *query)
{
    size_t vocab = o->info.vocab, ks[4];
    float *logits = new_floats(vocab), *got = new_floats(vocab);
    scored *order = (scored *)test_alloc(vocab * sizeof *order);
    uint32_t *tokens = (uint32_t *)test_alloc(vocab * sizeof *tokens);
    ks[0] = 1, ks[1] = vocab / 3 + 1, ks[2] = vocab < 100 ? vocab : 100, ks[3] = vocab;
    CHECK_STATUS(tte_logits(&o->t, query, 0, (uint32_t)vocab, logits, o->scratch), TTE_OK);
    for (size_t i = 0; i < vocab; i++)
        order[i].score = is_nan(logits[i]) ? -HUGE_VALF : logits[i], order[i].token = (uint32_t)i;
    qsort(order, vocab, sizeof *order, by_score);
    for (int n = 0; n < 4; n++) {
        size_t wrong = 0;
        CHECK_STATUS(tte_top_k(&o->t, query, (uint32_t)ks[n], tokens, got, o->scratch), TTE_OK);
        for (size_t i = 0; i < ks[n]; i++)
            wrong += tokens[i] != order[i].token || !(got[i] == order[i].score || is_nan(got[i]));
        CHECK(wrong == 0);
    }
    free(logits), free(got), free(order), free(tokens);
}

/* More tokens than are scored at a time, few of them different, so that ties lie in several pieces. */
static void best_of_many(void)
{
    const size_t vocab = test.small ? 8300 : 3 * 8192 + 77, dim = 6, different = 500;
    float *table = random_floats(vocab * dim);
    for (size_t i = different; i < vocab; i++)
        memcpy(table + i * dim, table + i % different * dim, dim * sizeof *table);
    for (int kind = 0; kind < 4; kind++) {
        tte_options options = kind == 0 ? table_options(6, 0) : make_options(TTE_I8, 1, 0, NULL);
        plan p = random_plan((int)dim, (int)vocab);
        opened o = open_reading(kind < 2 ? make_image(table, vocab, dim, &options) : write_image(&p));
        for (int v = 0; v < 4; v++) {
            float *query = make_vector(v, dim); /* of zeros, too: then all are equal */
            check_best(&o, query);
            free(query);
        }
        close_reading(&o);
    }
    free(table);
}

/* Images of arbitrary numbers may have scores that are infinite or none. */
static void best_of_strange_scores(void)
{
    static const uint16_t scales[5] = {0x7FC0, 0x7F80, 0xFF80, 0x7F7F, 0x3C00};
    for (int round = 0; round < 40; round++) {
        plan p = random_plan(5 + round, 300);
        float *query = random_floats((size_t)p.dim);
        opened o;
        for (int c = 0; c < p.classes; c += 1 + c % 2) p.scale[c] = scales[(c + round) % 5];
        o = open_reading(write_image(&p));
        check_best(&o, query);
        check_batch(&o, 0, 100);
        close_reading(&o), free(query);
    }
}

/* ---- half precision -------------------------------------------------------------------------- */

static void every_half(void)
{
    uint16_t *src = (uint16_t *)test_alloc(65536 * sizeof *src);
    float *half = new_floats(65536), *brain = new_floats(65536), piece[40];
    for (int i = 0; i < 65536; i++) src[i] = (uint16_t)i;
    tte_from_f16(src, 65536, half);
    tte_from_bf16(src, 65536, brain);
    for (uint32_t i = 0; i < 65536; i++) {
        const uint32_t exponent = i >> 10 & 31, fraction = i & 1023;
        const double size = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, (int)exponent - 25);
        float want = (float)(i >> 15 ? -size : size), bits = float_from_bits(i << 16);
        if (exponent == 31) want = float_from_bits((i & 0x8000) << 16 | 0x7F800000 | fraction << 13);
        CHECK(same_floats(&want, half + i, 1) && same_floats(&bits, brain + i, 1));
        CHECK((i >> 15) == (uint32_t)!!signbit(half[i]));
    }
    for (size_t shift = 0; shift < 8; shift++) /* any alignment of 2, any count, nothing behind it */
        for (size_t count = 0; count < 40; count++)
            for (int brains = 0; brains < 2; brains++) {
                uint16_t *moved = (uint16_t *)test_alloc((shift + count) * sizeof *moved);
                memcpy(moved + shift, src + 0x3BF0, count * sizeof *moved);
                memset(piece, 0xA5, sizeof piece);
                (brains ? tte_from_bf16 : tte_from_f16)(moved + shift, count, piece);
                CHECK(memcmp(piece, (brains ? brain : half) + 0x3BF0, count * sizeof *piece) == 0);
                CHECK(is_untouched(piece + count, (40 - count) * sizeof *piece));
                free(moved);
            }
    free(src), free(half), free(brain);
}

/* ---- what is refused, what is not needed -------------------------------------------------------- */

static void refused_calls(void)
{
    static const uint32_t bad[] = {3, 4, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFFFFu};
    for (int kind = 0; kind < READINGS; kind++) {
        opened o = make_reading(kind, 60, 12);
        const tte_table *t = &o.t;
        float row[12], out[70], result = -7, *h = o.rows, *s = o.scratch;
        uint32_t tokens[70] = {0}, vocab = (uint32_t)o.info.vocab;
        tte_info info;
        memset(row, 0xA5, sizeof row), memset(out, 0xA5, sizeof out);
        for (int i = 0; i < 5; i++) {
            const uint32_t token = bad[i] < 9 ? vocab + bad[i] - 3 : bad[i];
            CHECK_STATUS(tte_lookup(t, token, row, s), TTE_ERR_RANGE);
            CHECK_STATUS(tte_inner_tokens(t, token, 0, &result, s), TTE_ERR_RANGE);
            CHECK_STATUS(tte_inner_tokens(t, 0, token, &result, s), TTE_ERR_RANGE);
            CHECK_STATUS(tte_logits(t, h, token, 1, out, s), TTE_ERR_RANGE);
            CHECK_STATUS(tte_logits(t, h, 1, token, out, s), TTE_ERR_RANGE);
            CHECK_STATUS(tte_logits(t, h, token, token, out, s), TTE_ERR_RANGE);
            CHECK_STATUS(tte_top_k(t, h, bad[i] < 9 ? vocab + 1 : token, tokens, out, s), TTE_ERR_ARGUMENT);
        }
        CHECK_STATUS(tte_get_info(NULL, &info), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_get_info(t, NULL), TTE_ERR_ARGUMENT);
        CHECK(tte_scratch_len(NULL) == 0);
        for (int null = 0; null < 5; null++) { /* one argument after the other is NULL */
            const tte_table *v = null == 0 ? NULL : t;
            float *r = null == 1 ? NULL : row, *w = null == 2 ? NULL : s, *q = null == 3 ? NULL : h;
            uint32_t *n = null == 3 ? NULL : tokens, *k = null == 4 ? NULL : tokens;
            if (null < 3) {
                CHECK_STATUS(tte_lookup(v, 0, r, w), TTE_ERR_ARGUMENT);
                CHECK_STATUS(tte_inner_tokens(v, 0, 0, r, w), TTE_ERR_ARGUMENT);
            }
            if (null < 4) {
                CHECK_STATUS(tte_lookup_batch(v, n, 1, r, w), TTE_ERR_ARGUMENT);
                CHECK_STATUS(tte_logits(v, q, 0, 1, r, w), TTE_ERR_ARGUMENT);
            }
            CHECK_STATUS(tte_top_k(v, q, 1, k, r, w), TTE_ERR_ARGUMENT);
        }
        CHECK_STATUS(tte_top_k(t, h, 0, tokens, out, s), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_logits(t, h, vocab, 0, out, s), TTE_OK); /* nothing asked, nothing written */
        CHECK_STATUS(tte_lookup_batch(t, tokens, 0, out, s), TTE_OK);
        CHECK(is_untouched(row, sizeof row) && is_untouched(out, sizeof out) && result == -7);
        close_reading(&o);
    }
}

static void not_finite(void)
{
    static const uint32_t bits[] = {0x7FC00000u, 0xFFC00000u, 0x7F800001u, 0x7F800000u, 0xFF800000u};
    for (int kind = 0; kind < READINGS; kind++) {
        opened o = make_reading(kind, 60, 12);
        float h[12] = {0}, out[60], best[2];
        uint32_t tokens[2];
        memset(out, 0xA5, sizeof out), memset(best, 0xA5, sizeof best), memset(tokens, 0xA5, sizeof tokens);
        for (int i = 0; i < 60; i++) {
            h[i % 12] = float_from_bits(bits[i % 5]);
            CHECK_STATUS(tte_logits(&o.t, h, 0, 60, out, o.scratch), TTE_ERR_NOT_FINITE);
            CHECK_STATUS(tte_top_k(&o.t, h, 2, tokens, best, o.scratch), TTE_ERR_NOT_FINITE);
            h[i % 12] = 0;
        }
        CHECK(is_untouched(out, sizeof out) && is_untouched(best, sizeof best) && is_untouched(tokens, sizeof tokens));
        close_reading(&o);
    }
}

static void reading_allocates_nothing(void)
{
    for (int kind = 0; kind < READINGS; kind++) {
        opened o = make_reading(kind, 90, 30);
        const long before = heap.requests;
        tte_table t;
        CHECK_STATUS(tte_open(&t, o.image.data, o.image.size), TTE_OK);
        use_everything(&t);
        check_batch(&o, 0, 600);
        CHECK(heap.requests == before && sizeof t <= 320);
        close_reading(&o);
    }
}

#ifdef _OPENMP
/* More pieces than threads, in a batch, in scores and in the best of them. */
static void any_number_of_threads(void)
{
    enum { K = 100 };
    static const int threads[] = {1, 2, 3, 9};
    const size_t vocab = 11 * 1024 + 5, dim = 9;
    float *h = random_floats(dim);
    int before = omp_get_max_threads();
    for (int kind = 0; kind < READINGS; kind++) {
        opened o = make_reading(kind, vocab, dim);
        float *want = new_floats(vocab + K), *got = new_floats(vocab + K);
        uint32_t first[K], best[K];
        for (int n = 0; n < 4; n++) {
            omp_set_num_threads(threads[n]);
            check_batch(&o, n, 1500);
            CHECK_STATUS(tte_logits(&o.t, h, 0, (uint32_t)vocab, got, o.scratch), TTE_OK);
            CHECK_STATUS(tte_top_k(&o.t, h, K, best, got + vocab, o.scratch), TTE_OK);
            if (n == 0) memcpy(want, got, (vocab + K) * sizeof *got), memcpy(first, best, sizeof best);
            CHECK(memcmp(got, want, (vocab + K) * sizeof *got) == 0 && memcmp(best, first, sizeof best) == 0);
        }
        omp_set_num_threads(before);
        free(want), free(got);
        close_reading(&o);
    }
    free(h);
}
#endif

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_reading");
    RUN(batches);
    RUN(scores);
    RUN(scores_of_tables);
    RUN(largest_sums);
    RUN(best_of_many);
    RUN(best_of_strange_scores);
    RUN(every_half);
    RUN(refused_calls);
    RUN(not_finite);
    RUN(reading_allocates_nothing);
#ifdef _OPENMP
    RUN(any_number_of_threads);
#endif
    return test_end();
}
