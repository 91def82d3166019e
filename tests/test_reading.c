/* test_reading.c: reading many tokens at once, where records lie side by side in vectors, repeats are made
 * once and sums run in integers, against reading one by one and against sums in double. */
#include "counted_heap.h"

#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "harness.h"
#include "tables.h"
#include "per_table.h"

#ifdef _OPENMP
#include <omp.h>
#endif

/* Every coding in the layouts that have it. */
enum { READINGS = 4 + CODINGS };

static tte_options reading_options(int kind)
{
    tte_options options = table_options(all_codings[kind < 4 ? kind : kind - 4]);
    if (kind < 4)
        options.layout = TTE_PER_TOKEN;
    return options;
}

/* An image that is read without its checksums, since its bytes may be anything. */
typedef struct opened {
    tte_image image;
    tte_table t;
    tte_info info;
    float *rows, *scratch; /* rows: all, by tte_lookup */
} opened;

static float *rows_one_by_one(const tte_table *t, size_t vocab, size_t dim, float *scratch)
{
    float *rows = new_floats(vocab * dim);
    for (size_t i = 0; i < vocab; i++)
        CHECK_STATUS(tte_lookup(t, (uint32_t)i, rows + i * dim, scratch), TTE_OK);
    return rows;
}

static opened open_reading(const tte_image *image)
{
    opened o;
    o.image = *image;
    require(tte_open(&o.t, image->data, image->size), "tte_open");
    o.info = get_info(&o.t);
    o.scratch = new_scratch(&o.t);
    o.rows = rows_one_by_one(&o.t, o.info.vocab, o.info.dim, o.scratch);
    return o;
}

static opened make_reading(const float *table, size_t vocab, size_t dim, const tte_options *options)
{
    tte_image image = make_image(table, vocab, dim, options);
    return open_reading(&image);
}

static void close_reading(opened *o) { free(o->scratch), free(o->rows), free(o->image.data); }

static void say_where(unsigned long bad, const char *what, const opened *o)
{
    if (test.bad > bad && test.bad <= 5)
        fprintf(stderr, "    %s: layout %d, coding %d, %d x %d in %d modes\n", what, (int)o->info.layout,
                (int)o->info.coding, (int)o->info.vocab, (int)o->info.dim, o->info.shape.modes);
}

/* A shape of so many modes for dim entries, with places of padding where that does not divide them. */
static tte_shape shape_for(size_t dim, int modes)
{
    tte_shape shape = make_shape(0, NULL);
    int side = 1;
    while (pow(side, modes) < (double)dim)
        side++;
    shape.modes = modes;
    for (int k = 0; k < modes; k++)
        shape.dim[k] = side;
    if (modes == 1)
        shape.dim[0] += (int)dim % 3;
    return shape;
}

static int is_nan(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7FFFFFFF) > 0x7F800000;
}

/* ---- batches --------------------------------------------------------------------------------- */

/* Repeats are looked for in so many tokens at a time: periods around that, and other orders. */
enum { ORDERS = 8, WINDOW = 512, COUNTS = 12, MOST = 1100 };
static const size_t counts[COUNTS] = {0, 1, 2, 3, 9, 17, 64, 65, 511, 512, 513, MOST};

static uint32_t token_in_order(int order, size_t i, size_t count, size_t vocab)
{
    switch (order) {
    case 0:  return (uint32_t)rng_int(0, (int)vocab - 1);
    case 1:  return (uint32_t)(vocab / 2);                                   /* all equal        */
    case 2:  return (uint32_t)(i % (WINDOW - 1) % vocab);
    case 3:  return (uint32_t)(i % (WINDOW + 1) % vocab);
    case 4:  return (uint32_t)((count - 1 - i) * vocab / count);             /* descending       */
    case 5:  return (uint32_t)(i * 7 % vocab);
    case 6:  return (uint32_t)(i % WINDOW == WINDOW - 1 ? 0 : i % vocab);    /* the last again   */
    default: return (uint32_t)(rng_int(0, rng_int(0, 9) == 0 ? (int)vocab - 1 : 3) % (int)vocab);
    }
}

/* Whether two rows have the same bits. Which of two NaN comes out of a sum is the compiler's choice. */
static int same_row(const float *a, const float *b, size_t dim)
{
    size_t j = 0;
    while (j < dim && (memcmp(a + j, b + j, sizeof *a) == 0 || (is_nan(a[j]) && is_nan(b[j]))))
        j++;
    return j == dim;
}

/* As tte_lookup gives it, bit for bit, and nothing behind the last row. */
static void check_tokens(const opened *o, const uint32_t *tokens, size_t count)
{
    size_t dim = o->info.dim, guard = 16, wrong = 0;
    float *rows = new_floats(count * dim + guard);
    CHECK_STATUS(tte_lookup_batch(&o->t, tokens, count, rows, o->scratch), TTE_OK);
    for (size_t i = 0; i < count; i++)
        wrong += !same_row(rows + i * dim, o->rows + tokens[i] * dim, dim);
    CHECK(wrong == 0);
    CHECK(is_untouched(rows + count * dim, guard * sizeof *rows));
    free(rows);
}

static void check_order(const opened *o, int order, size_t count)
{
    uint32_t *tokens = (uint32_t *)test_alloc(count * sizeof *tokens);
    for (size_t i = 0; i < count; i++)
        tokens[i] = token_in_order(order, i, count, o->info.vocab);
    check_tokens(o, tokens, count);
    free(tokens);
}

static void widths_and_shapes(void)
{
    static const size_t dims[] = {1, 2, 3, 7, 8, 17, 31, 33, 64, 65, 100, 130, 200};
    size_t vocab = test.small ? 60 : 560;
    int order = 0;
    for (int d = 0; d < (test.small ? 8 : 13); d++) {
        float *table = make_table(DECAYING, vocab, dims[d]);
        for (int modes = 0; modes <= 3; modes++) /* 0: the library chooses */
            for (int kind = 0; kind < READINGS; kind++) {
                tte_options options = reading_options(kind);
                opened o;
                unsigned long bad = test.bad;
                if (modes > 0)
                    options.shape = shape_for(dims[d], modes);
                else if (dims[d] > 40)
                    continue; /* trying shapes takes long */
                o = make_reading(table, vocab, dims[d], &options);
                for (int c = 0; c < COUNTS; c++)
                    check_order(&o, order++ % ORDERS, counts[c]);
                say_where(bad, "a batch", &o);
                close_reading(&o);
            }
        free(table);
    }
}

static void every_order(void)
{
    size_t vocab = 700, dim = 6;
    float *table = random_floats(vocab * dim);
    for (int kind = 0; kind < READINGS; kind++) {
        tte_options options = reading_options(kind);
        opened o = make_reading(table, vocab, dim, &options);
        for (int order = 0; order < ORDERS; order++)
            for (int c = 0; c < COUNTS; c++) {
                unsigned long bad = test.bad;
                check_order(&o, order, counts[c]);
                if (test.bad > bad && test.bad <= 5)
                    fprintf(stderr, "    order %d, %d tokens\n", order, (int)counts[c]);
                say_where(bad, "a batch", &o);
            }
        close_reading(&o);
    }
    free(table);
}

/* Cut ranks, adapted ranks, weights. */
static void budgets(void)
{
    size_t vocab = 90, dim = 48;
    float *table = make_table(DECAYING, vocab, dim), *weights = new_floats(vocab);
    for (size_t i = 0; i < vocab; i++)
        weights[i] = (float)exp(3 * rng_normal());
    for (int kind = 0; kind < READINGS; kind++)
        for (int budget = 0; budget < 4; budget++) {
            tte_options options = reading_options(kind);
            opened o;
            unsigned long bad = test.bad;
            options.max_rank = budget == 0 ? 3 : 0;
            options.eps = budget == 1 ? 0.4f : budget == 3 ? 0.3f : 0;
            options.ratio = budget == 2 ? 1.5f : 0;
            options.row_weight = budget == 3 && kind >= 4 ? weights : NULL;
            o = make_reading(table, vocab, dim, &options);
            for (int order = 0; order < ORDERS; order++)
                check_order(&o, order, 40 + 9 * (size_t)order);
            say_where(bad, "a batch", &o);
            close_reading(&o);
        }
    free(table), free(weights);
}

/* A few coefficients of a row whose padding is so long that few rows fit into the scratch at once. */
static void much_padding(void)
{
    static const int shapes[3][2] = {{300, 300}, {1000, 500}, {1200, 1000}};
    size_t vocab = 21, dim = 3;
    float *table = random_floats(vocab * dim), *hidden = random_floats(dim), *out = new_floats(vocab);
    for (int s = 0; s < (test.small ? 1 : 3); s++)
        for (int kind = 4; kind < READINGS; kind += 2) /* F32, I8, ENTROPY */
            for (int modes = 1; modes <= 2; modes++) {
                tte_options options = reading_options(kind);
                int one = shapes[s][0] * shapes[s][1];
                opened o;
                unsigned long bad = test.bad;
                options.shape = make_shape(modes, modes == 1 ? &one : shapes[s]);
                options.max_rank = s + 1;
                o = make_reading(table, vocab, dim, &options);
                check_order(&o, 5, vocab);
                CHECK_STATUS(tte_logits(&o.t, hidden, 0, (uint32_t)vocab, out, o.scratch), TTE_OK);
                for (size_t i = 0; i < vocab; i++)
                    CHECK_LE(fabs((double)out[i] - dot(hidden, o.rows + i * dim, dim)),
                             1e-5 * norm(hidden, dim) * norm(o.rows + i * dim, dim));
                say_where(bad, "padding", &o);
                close_reading(&o);
            }
    free(table), free(hidden), free(out);
}

/* ---- scores ---------------------------------------------------------------------------------- */

/* Vectors that a model may have, and some that it should not. */
enum { VECTORS = 9 };

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
        case 8: h[j] *= 1e-25f; break; /* near the end of what is scored in integers */
        }
    return h;
}

/* All scores against sums in double of the rows looked up, to `bound` of a row and `beside` of the longest;
 * then ranges of them, which have the same bits. */
static void check_scores(const opened *o, const float *hidden, double bound, double beside, int ranges)
{
    size_t vocab = o->info.vocab, dim = o->info.dim;
    double length = norm(hidden, dim), longest = largest_norm(o->rows, vocab, dim);
    float *whole = new_floats(vocab);
    CHECK_STATUS(tte_logits(&o->t, hidden, 0, (uint32_t)vocab, whole, o->scratch), TTE_OK);
    for (size_t i = 0; i < vocab; i++) {
        const float *row = o->rows + i * dim;
        CHECK_LE(fabs((double)whole[i] - dot(hidden, row, dim)),
                 length * (bound * norm(row, dim) + beside * longest));
    }
    for (int r = 0; r < ranges; r++) {
        size_t first = (size_t)rng_int(0, (int)vocab), count = (size_t)rng_int(0, (int)(vocab - first));
        float *part;
        if (r % 2 == 0 && count > 40)
            count = (size_t)rng_int(0, 40);
        part = new_floats(count);
        CHECK_STATUS(tte_logits(&o->t, hidden, (uint32_t)first, (uint32_t)count, part, o->scratch), TTE_OK);
        CHECK(memcmp(part, whole + first, count * sizeof *part) == 0);
        free(part);
    }
    free(whole);
}

static void check_vectors(const opened *o, double bound, int ranges)
{
    for (int kind = 0; kind < VECTORS; kind++) {
        float *h = make_vector(kind, o->info.dim);
        unsigned long bad = test.bad;
        check_scores(o, h, bound, 0, ranges);
        if (test.bad > bad && test.bad <= 5)
            fprintf(stderr, "    vector %d\n", kind);
        say_where(bad, "scores", o);
        free(h);
    }
}

static void scores_of_every_kind(void)
{
    static const size_t dims[] = {1, 3, 8, 17, 32, 33, 64, 100, 128, 130, 200};
    size_t vocab = test.small ? 70 : 1100;
    for (int d = 0; d < (test.small ? 7 : 11); d++) {
        float *table = random_floats(vocab * dims[d]);
        for (int kind = 0; kind < READINGS; kind++) {
            tte_options options = reading_options(kind);
            opened o;
            options.shape = shape_for(dims[d], 1 + (d + kind) % 3);
            o = make_reading(table, vocab, dims[d], &options);
            check_vectors(&o, 1e-5, 6);
            close_reading(&o);
        }
        free(table);
    }
}

/* Tables of every kind, where the mean may be longer than a row. */
static void scores_of_tables(void)
{
    size_t vocab = 53, dim = 40;
    for (int kind = 0; kind < READINGS; kind++)
        for (int of = 0; of < TABLES; of++) {
            float *table = make_table(of, vocab, dim);
            tte_options options = reading_options(kind);
            opened o;
            options.shape = shape_for(dim, 1 + of % 2);
            o = make_reading(table, vocab, dim, &options);
            for (int v = 0; v < VECTORS; v++) {
                float *h = make_vector(v, dim);
                unsigned long bad = test.bad;
                check_scores(&o, h, 1e-5, 1e-6, 3);
                if (test.bad > bad && test.bad <= 5)
                    fprintf(stderr, "    table %d, vector %d\n", of, v);
                say_where(bad, "scores", &o);
                free(h);
            }
            close_reading(&o);
            free(table);
        }
}

/* An image of one mode with as many coefficients as columns, which compression would take long to make: no
 * mean, a core of codes and records of codes as they come from the generator, or all codes equal. */
static tte_image made_by_hand(tte_coding coding, size_t vocab, size_t dim, int code)
{
    const int run = ttei_scaled_run(coding);
    const size_t mean[4] = {1, 0, 0, 0}, core[4] = {0, 0, run == 2 ? dim : 0, run == 3 ? dim : 0};
    const size_t header = 204, first = 256, record = ttei_coefficients_bytes(coding, dim);
    const size_t row = ttei_packed_bytes(run, dim), shared = (first + vocab * record + 63) / 64 * 64;
    const size_t codes = shared + ttei_matrix_bytes(mean, dim);
    const size_t columns = codes + ttei_matrix_bytes(core, dim);
    tte_image image;
    unsigned char *p;
    image.size = columns + 4 * dim;
    image.data = p = (unsigned char *)test_alloc(image.size);
    memset(p, 0, image.size);
    memcpy(p, "\x89TTE\r\n\x1a\n", 8);
    p[12] = 1, p[14] = TTE_PER_TABLE, p[15] = (unsigned char)coding, p[16] = 1, p[17] = 2;
    ttei_put32(p + 20, (uint32_t)dim);
    ttei_put32(p + 24, (uint32_t)vocab);
    ttei_put32(p + 32, (uint32_t)image.size);
    ttei_put32(p + 144, (uint32_t)dim), ttei_put32(p + 148, (uint32_t)dim), ttei_put32(p + 152, 1);
    for (size_t i = first; i < first + vocab * record; i++)
        p[i] = code < 0 ? (unsigned char)(rng_next() & 0xFF)
             : (i - first) % record == 0 ? 128 : (unsigned char)code; /* a row's own scale: 1 */
    ttei_put32(p + shared, 1);
    ttei_put32(p + codes + 4 * run, (uint32_t)dim);
    for (size_t i = 0; i < dim; i++) {
        unsigned char *at = p + codes + 16 + 2 * dim + i * row;
        ttei_put16(p + codes + 16 + 2 * i, 0x3F80); /* 1 */
        ttei_put_f32(p + columns + 4 * i, code < 0 ? (float)exp(rng_normal()) : 1.0f);
        at[0] = 1; /* all rows equal, and only the first column not zero: see largest_sums */
        for (size_t j = 0; code < 0 && j < row; j++)
            at[j] = (unsigned char)(rng_next() & 0xFF);
    }
    for (uint32_t kind = 1; kind <= 3; kind += 2) {
        size_t at = kind == 1 ? first : shared, size = kind == 1 ? vocab * record : image.size - shared;
        unsigned char *entry = p + 144 + 12 * kind;
        ttei_put32(entry, (uint32_t)at), ttei_put32(entry + 8, (uint32_t)size);
        ttei_put32(entry + 16, ttei_crc32(p + at, size)), ttei_put32(entry + 20, kind);
    }
    ttei_put32(p + 8, ttei_crc32(p + 12, header - 12));
    return image;
}

/* So many coefficients that sums of integers are taken in parts: 1024 at a time in I8, 2048 in I4. */
static void wide_records(void)
{
    static const size_t dims[] = {992, 1023, 1024, 1025, 1057, 2048, 2100, 3100, 4200};
    for (int d = 0; d < (test.small ? 5 : 9); d++)
        for (int c = 2; c < 4; c++) {
            tte_image image = made_by_hand(all_codings[c], 6, dims[d], -1);
            tte_table t = open_image(&image);
            opened o = open_reading(&image);
            CHECK(t.numbers == dims[d]);
            check_vectors(&o, 1e-5, 4);
            check_order(&o, 0, 17);
            close_reading(&o);
        }
}

/* All products of one sign and as large as they can be: what a sum of 32 bits holds at the most. The code
 * -128 no image has that was not changed. */
static void largest_sums(void)
{
    static const int codes[] = {0x7F, 0x81, 0x80, 0xFF, 0x77, 0x88, 0x00};
    static const size_t dims[] = {1024, 2048, 2100};
    for (int d = 0; d < (test.small ? 2 : 3); d++)
        for (int c = 2; c < 4; c++)
            for (int code = 0; code < 7; code++) {
                tte_image image = made_by_hand(all_codings[c], 3, dims[d], codes[code]);
                tte_table t = open_image(&image);
                opened o = open_reading(&image);
                float *hidden = new_floats(dims[d]);
                CHECK(t.numbers == dims[d]);
                for (int sign = -1; sign <= 1; sign += 2) {
                    unsigned long bad = test.bad;
                    for (size_t j = 0; j < dims[d]; j++)
                        hidden[j] = j == 0 ? (float)sign : 0;
                    check_scores(&o, hidden, 1e-5, 0, 3);
                    if (test.bad > bad && test.bad <= 5)
                        fprintf(stderr, "    codes %d, the vector's entry %d\n", codes[code], sign);
                    say_where(bad, "scores", &o);
                }
                free(hidden);
                close_reading(&o);
            }
}

/* Rows of which each lives in directions of its own, some of them a million times shorter: in a scan the
 * longest direction must not drown the shortest. */
static void directions_far_apart(void)
{
    size_t vocab = 64, dim = 16;
    float *table = random_floats(vocab * dim);
    for (size_t i = 0; i < vocab; i++)
        for (size_t j = 0; j < dim; j++) {
            float *entry = table + i * dim + j;
            if (i >= vocab / 2) /* the mean is zero */
                *entry = -table[(i - vocab / 2) * dim + j];
            else
                *entry = (j < 8) == (i % 2 == 0) ? *entry * (j < 8 ? 1.0f : 1e-6f) : 0;
        }
    for (int kind = 0; kind < READINGS; kind++) {
        tte_options options = reading_options(kind);
        opened o;
        options.shape = shape_for(dim, 1);
        o = make_reading(table, vocab, dim, &options);
        check_vectors(&o, 1e-5, 2);
        close_reading(&o);
    }
    free(table);
}

/* ---- the best tokens ------------------------------------------------------------------------- */

typedef struct scored { float score; uint32_t token; } scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = (const scored *)a, *y = (const scored *)b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->token < y->token ? -1 : x->token > y->token;
}

static void check_best(const opened *o, const float *query)
{
    size_t vocab = o->info.vocab, ks[4];
    float *logits = new_floats(vocab), *scores = new_floats(vocab);
    scored *order = (scored *)test_alloc(vocab * sizeof *order);
    uint32_t *tokens = (uint32_t *)test_alloc(vocab * sizeof *tokens);
    ks[0] = 1, ks[1] = 2, ks[2] = vocab < 100 ? vocab : 100, ks[3] = vocab;
    CHECK_STATUS(tte_logits(&o->t, query, 0, (uint32_t)vocab, logits, o->scratch), TTE_OK);
    for (size_t i = 0; i < vocab; i++)
        order[i].score = logits[i], order[i].token = (uint32_t)i;
    qsort(order, vocab, sizeof *order, by_score);
    for (int n = 0; n < 4; n++) {
        size_t wrong = 0;
        CHECK_STATUS(tte_top_k(&o->t, query, (uint32_t)ks[n], tokens, scores, o->scratch), TTE_OK);
        for (size_t i = 0; i < ks[n]; i++)
            wrong += tokens[i] != order[i].token || scores[i] != order[i].score;
        CHECK(wrong == 0);
    }
    free(logits), free(scores), free(order), free(tokens);
}

/* More tokens than are scored at a time, few of them different, so that ties lie in several pieces. */
static void best_of_many(void)
{
    size_t vocab = test.small ? 8300 : 3 * 8192 + 77, dim = 6, different = 500;
    float *table = random_floats(vocab * dim);
    for (size_t i = different; i < vocab; i++)
        memcpy(table + i * dim, table + i % different * dim, dim * sizeof *table);
    for (int kind = 0; kind < READINGS; kind++) {
        tte_options options = reading_options(kind);
        opened o;
        unsigned long bad = test.bad;
        options.shape = shape_for(dim, 1 + kind % 2);
        o = make_reading(table, vocab, dim, &options);
        for (int v = 0; v < 4; v++) {
            float *query = make_vector(v, dim); /* of zeros, too: then all are equal */
            check_best(&o, query);
            free(query);
        }
        say_where(bad, "the best", &o);
        close_reading(&o);
    }
    free(table);
}

/* ---- entropy-coded records side by side ------------------------------------------------------- */

/* Whether some table of the image has plain bits. */
static int has_plain_bits(const tte_table *t)
{
    ttei_codes c;
    int found = 0;
    ttei_codes_view(t->codes, t->numbers, &c);
    for (int i = 0; i < c.tables; i++)
        found |= ttei_table_at(&c, i)[0] > 0;
    return found;
}

/* Every size of the last group; fine steps, so that indices have plain bits; rows far beyond the others,
 * so that they escape. */
static void groups_of_records(void)
{
    static const size_t dims[] = {1, 5, 16, 33};
    int made = 0, refused = 0, plain = 0;
    for (size_t vocab = 1; vocab <= 40; vocab += test.small ? 6 : 1)
        for (int n = 0; n < 8; n++) {
            size_t dim = dims[n % 4];
            float *table = make_table(n < 4 ? GAUSSIAN : DECAYING, vocab, dim);
            float *weights = new_floats(vocab);
            tte_options options = table_options(TTE_ENTROPY);
            opened o;
            tte_image image = sentinel_image();
            tte_status status;
            unsigned long bad = test.bad;
            for (size_t i = 0; i < vocab; i++) {
                weights[i] = (float)exp(4 * rng_normal());
                for (size_t j = 0; j < dim; j++)
                    if (i % 9 == 3 || (i % 9 == 5 && j % 4 == 1))
                        table[i * dim + j] *= 1000;
            }
            options.eps = n % 3 == 0 ? 1e-4f : n % 3 == 1 ? 1e-3f : 0.1f;
            options.row_weight = n % 2 ? weights : NULL;
            options.shape = shape_for(dim, 1 + n % 2);
            status = tte_compress(table, vocab, dim, &options, &image);
            free(table), free(weights);
            if (status == TTE_ERR_BUDGET) { /* steps do not get as fine as rows so far apart ask for */
                refused++;
                continue;
            }
            require(status, "tte_compress");
            image = exact_image(&image);
            o = open_reading(&image);
            made++, plain += has_plain_bits(&o.t);
            for (int order = 0; order < ORDERS; order++)
                check_order(&o, order, vocab + 9 * (size_t)(order % 2));
            say_where(bad, "a batch", &o);
            for (int v = 0; v < 4; v++) {
                float *h = make_vector(v, dim);
                check_scores(&o, h, 1e-5, 1e-6, 8); /* the mean may be longer than a row */
                free(h);
            }
            say_where(bad, "scores", &o);
            close_reading(&o);
        }
    CHECK(refused < made / 4 && plain > made / 4);
}

/* ---- damage ---------------------------------------------------------------------------------- */

/* Bytes that may be anything where the records are; a batch still gives what single calls give. */
static void check_damaged(const opened *o)
{
    size_t vocab = o->info.vocab, dim = o->info.dim;
    float *h = random_floats(dim), *out = new_floats(vocab), *all, scores[3];
    uint32_t *tokens = (uint32_t *)test_alloc(vocab * sizeof *tokens), best[3];
    double length = norm(h, dim);
    int loose = o->info.layout == TTE_PER_TABLE && o->info.coding == TTE_ENTROPY;
    for (size_t i = 0; i < vocab; i++)
        tokens[i] = (uint32_t)(vocab - 1 - i);
    check_tokens(o, tokens, vocab);
    CHECK_STATUS(tte_logits(&o->t, h, 0, (uint32_t)vocab, out, o->scratch), TTE_OK);
    CHECK_STATUS(tte_top_k(&o->t, h, 3, best, scores, o->scratch), TTE_OK);
    for (size_t i = 0; loose && i < vocab; i++) {
        double row = norm(o->rows + i * dim, dim);
        if (row > 1e-10 && row < 1e15)
            CHECK_LE(fabs((double)out[i] - dot(h, o->rows + i * dim, dim)), 1e-4 * length * row);
    }
    all = new_floats(vocab);
    CHECK_STATUS(tte_logits(&o->t, h, 0, (uint32_t)vocab, all, o->scratch), TTE_OK);
    CHECK(same_row(all, out, vocab));
    free(h), free(out), free(all), free(tokens);
}

static void damaged_records(void)
{
    size_t vocab = 45;
    int rounds = test.small ? 25 : 400;
    for (int kind = 0; kind < READINGS; kind++)
        for (int shape = 1; shape <= 2; shape++) {
            size_t dim = shape == 1 ? 70 : 12;
            float *table = make_table(DECAYING, vocab, dim);
            tte_options options = reading_options(kind);
            tte_image image;
            tte_table t;
            size_t start;
            options.shape = shape_for(dim, shape);
            if (kind == READINGS - 1 && shape == 1)
                options.eps = 0.001f;
            image = make_image(table, vocab, dim, &options);
            t = open_image(&image);
            start = (size_t)(t.records - t.data);
            for (int round = 0; round < rounds; round++) {
                static const unsigned char fills[] = {0, 0xFF, 0x80, 0x7F, 0x01};
                tte_image copy = image;
                unsigned char *records;
                unsigned long bad = test.bad;
                opened o;
                copy.data = test_copy(image.data, image.size);
                records = (unsigned char *)copy.data + start;
                if (round < 5)
                    memset(records, fills[round], t.records_size);
                else if (round % 3 == 0)
                    for (size_t i = 0; i < t.records_size; i++)
                        records[i] = (unsigned char)(rng_next() & 0xFF);
                else
                    for (int n = rng_int(1, 1 << round % 8); n > 0; n--)
                        records[rng_int(0, (int)t.records_size - 1)] = (unsigned char)(rng_next() & 0xFF);
                o = open_reading(&copy);
                check_damaged(&o);
                if (test.bad > bad && test.bad <= 5)
                    fprintf(stderr, "    round %d\n", round);
                say_where(bad, "damaged", &o);
                close_reading(&o);
            }
            free(image.data), free(table);
        }
}

/* ---- threads --------------------------------------------------------------------------------- */

#ifdef _OPENMP
/* More pieces than threads, in a batch, in scores and in the best of them. */
static void any_number_of_threads(void)
{
    enum { K = 100 };
    static const int threads[] = {1, 2, 3, 9};
    size_t vocab = 11 * 1024 + 5, dim = 9, count = 1500;
    float *table = random_floats(vocab * dim), *h = random_floats(dim);
    uint32_t *tokens = (uint32_t *)test_alloc(count * sizeof *tokens);
    int before = omp_get_max_threads();
    for (size_t i = 0; i < count; i++)
        tokens[i] = (uint32_t)rng_int(0, (int)vocab - 1);
    for (int kind = 0; kind < READINGS; kind++) {
        tte_options options = reading_options(kind);
        float *want = NULL;
        opened o;
        options.shape = shape_for(dim, 2);
        o = make_reading(table, vocab, dim, &options);
        for (int n = 0; n < 4; n++) {
            float *got = new_floats(vocab + 2 * K), *scratch;
            uint32_t best[K];
            omp_set_num_threads(threads[n]);
            check_tokens(&o, tokens, count);
            scratch = new_scratch(&o.t);
            CHECK_STATUS(tte_logits(&o.t, h, 0, (uint32_t)vocab, got, scratch), TTE_OK);
            CHECK_STATUS(tte_top_k(&o.t, h, K, best, got + vocab, scratch), TTE_OK);
            memcpy(got + vocab + K, best, sizeof best);
            CHECK(want == NULL || memcmp(got, want, (vocab + 2 * K) * sizeof *got) == 0);
            free(scratch);
            if (want == NULL)
                want = got;
            else
                free(got);
        }
        omp_set_num_threads(before);
        free(want);
        close_reading(&o);
    }
    free(table), free(h), free(tokens);
}
#endif

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_reading");
    RUN(widths_and_shapes);
    RUN(every_order);
    RUN(budgets);
    RUN(much_padding);
    RUN(scores_of_every_kind);
    RUN(scores_of_tables);
    RUN(wide_records);
    RUN(largest_sums);
    RUN(directions_far_apart);
    RUN(best_of_many);
    RUN(groups_of_records);
    RUN(damaged_records);
#ifdef _OPENMP
    RUN(any_number_of_threads);
#endif
    return test_end();
}
