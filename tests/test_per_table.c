/* test_per_table.c: one train for the whole table, in every coding: what it loses, how it is read, and
 * what is refused. */
#include "bodies.h"
#include "harness.h"
#include "tables.h"
#include "per_table.h"

#ifdef _OPENMP
#include <omp.h>
#endif

/* ---- what is lost ---------------------------------------------------------------------------- */

/* Without a budget all columns are kept, and what is lost is lost by rounding. */
static const double lost[CODINGS] = {1e-6, 4e-3, 0.03, 0.3, 0.01};

static void check_lost(int kind, size_t vocab, size_t dim, const tte_shape *shape)
{
    float *table = make_table(kind, vocab, dim);
    for (int c = 0; c < CODINGS; c++) {
        tte_options options = table_options(all_codings[c]);
        tte_image image;
        unsigned long bad = test.bad;
        if (shape != NULL)
            options.shape = *shape;
        if (try_image(table, vocab, dim, &options, &image)) {
            CHECK_LE(check_image(&image, table, vocab, dim, &options).whole, lost[c]);
            free(image.data);
        }
        if (test.bad > bad && test.bad <= 5)
            fprintf(stderr, "    table %d of %d x %d, coding %d\n", kind, (int)vocab, (int)dim, c);
    }
    free(table);
}

static void tables_of_every_kind(void)
{
    static const size_t vocabs[] = {1, 2, 9, 40, 300};
    for (int kind = 0; kind < TABLES; kind++)
        for (int i = 0; i < (test.small ? 4 : 5); i++) {
            check_lost(kind, vocabs[i], 24, NULL);
            check_lost(kind, vocabs[i], 1, NULL);
        }
}

static void every_dim(void)
{
    static const size_t dims[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 33, 63, 64, 65, 100, 128, 257};
    for (int i = 0; i < (test.small ? 11 : 17); i++) {
        check_lost(GAUSSIAN, 300, dims[i], NULL);
        check_lost(DECAYING, 150, dims[i], NULL);
        check_lost(GAUSSIAN, dims[i] / 2 + 1, dims[i], NULL); /* fewer rows than columns */
    }
}

/* A table 1e30 times smaller or larger loses the same. */
static void tables_of_every_scale(void)
{
    static const float scales[] = {1e-30f, 1e-20f, 1e-5f, 1e5f, 1e20f, 1e30f};
    size_t vocab = 120, dim = DIM;
    float *table = make_table(DECAYING, vocab, dim), *scaled = new_floats(vocab * dim);
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n);
        measured plain;
        options.ratio = options.ratio > 0 ? 1.2f : 0;
        plain = compress_and_check(table, vocab, dim, &options);
        for (int s = 0; s < 6; s++) {
            tte_image image;
            for (size_t i = 0; i < vocab * dim; i++)
                scaled[i] = table[i] * scales[s];
            if (!try_image(scaled, vocab, dim, &options, &image))
                continue;
            CHECK_LE(check_image(&image, scaled, vocab, dim, &options).whole,
                     fmax((double)options.eps, 1.1 * plain.whole + 1e-6));
            free(image.data);
        }
    }
    free(table), free(scaled);
}

/* Rows whose norms lie 60 orders of magnitude apart: the largest are kept, or the table is refused. */
static void rows_of_every_scale(void)
{
    size_t vocab = 120, dim = DIM;
    float *table = random_floats(vocab * dim);
    for (size_t i = 0; i < vocab * dim; i++)
        table[i] *= (float)pow(10, (double)(i / dim % 61) - 30);
    for (int c = 0; c < CODINGS; c++) {
        tte_options options = table_options(all_codings[c]);
        tte_image image = sentinel_image();
        tte_status status = tte_compress(table, vocab, dim, &options, &image);
        tte_table t;
        float *rows;
        if (status != TTE_OK) {
            CHECK_STATUS(status, TTE_ERR_BUDGET);
            CHECK(is_sentinel(&image) && c != TTE_F32);
            continue;
        }
        t = open_image(&image);
        rows = lookup_all(&t);
        CHECK_LE(measure_rows(table, rows, vocab, dim, NULL).whole, lost[c]);
        CHECK_LE(fabs(measure_rows(table, rows, vocab, dim, NULL).whole - get_info(&t).rel_error), 1e-6);
        free(rows), tte_free(&image);
    }
    free(table);
}

/* Beyond what float can hold of a norm: refused, or true. */
static void rows_at_the_end_of_float(void)
{
    size_t vocab = 30, dim = 12;
    float *table = random_floats(vocab * dim);
    for (size_t i = 0; i < vocab * dim; i++)
        table[i] = (float)(3.3e38 * tanh((double)table[i]));
    for (int c = 0; c < CODINGS; c++) {
        tte_options options = table_options(all_codings[c]);
        tte_image image = sentinel_image();
        tte_status status = tte_compress(table, vocab, dim, &options, &image);
        if (status == TTE_OK) {
            tte_table t = open_image(&image);
            float *rows = lookup_all(&t);
            CHECK_LE(measure_rows(table, rows, vocab, dim, NULL).whole, lost[c]);
            free(rows), tte_free(&image);
        } else {
            CHECK_STATUS(status, TTE_ERR_NOT_FINITE);
            CHECK(is_sentinel(&image));
        }
    }
    free(table);
}

/* The first columns hold the most: more of them, less error, never more than max_rank. */
static void max_rank_is_kept(void)
{
    size_t vocab = 200, dim = 40;
    float *table = make_table(DECAYING, vocab, dim);
    for (int c = 0; c < CODINGS; c++) {
        double last = 2;
        for (int cap = 1; cap <= 64; cap *= 2) {
            tte_options options = table_options(all_codings[c]);
            tte_image image;
            measured m;
            options.max_rank = cap;
            options.eps = c == TTE_ENTROPY ? 0.97f : 0; /* without one it would ask for 0.01 */
            image = make_image(table, vocab, dim, &options);
            m = check_image(&image, table, vocab, dim, &options);
            if (c != TTE_ENTROPY) {
                CHECK(info_of(&image).ranks[0] == (cap < 40 ? cap : 40));
                CHECK_LE(m.whole, last);
                last = m.whole * 1.01;
            }
            free(image.data);
        }
    }
    free(table);
}

/* Eckart and Young: no `rank` columns are better than the leading singular ones. */
static void columns_are_the_best(void)
{
    size_t vocab = 1500, dim = 24;
    float *table = make_table(DECAYING, vocab, dim), *centred = new_floats(vocab * dim), s[24];
    void *work = test_alloc(tte_svd_f32_work((int)vocab, (int)dim));
    double total = dot(table, table, vocab * dim);
    for (size_t j = 0; j < dim; j++) {
        double mean = 0;
        for (size_t t = 0; t < vocab; t++)
            mean += (double)table[t * dim + j] / (double)vocab;
        for (size_t t = 0; t < vocab; t++)
            centred[t * dim + j] = (float)((double)table[t * dim + j] - mean);
    }
    require(tte_svd_f32((int)vocab, (int)dim, centred, NULL, s, NULL, work), "tte_svd_f32");
    for (int rank = 1; rank < 24; rank += 3)
        for (int c = 0; c < 3; c++) {
            tte_options options = table_options(all_codings[c]);
            double left = 0;
            for (int j = rank; j < 24; j++)
                left += (double)s[j] * (double)s[j];
            options.max_rank = rank;
            CHECK_LE(compress_and_check(table, vocab, dim, &options).whole,
                     sqrt(left / total) * 1.012 + lost[c]);
        }
    free(table), free(centred), free(work);
}

/* ---- budgets of records of one size ---------------------------------------------------------- */

static void ratio_is_kept(void)
{
    static const float ratios[] = {1.5f, 2, 4, 6, 10, 20, 40};
    for (int kind = GAUSSIAN; kind <= DECAYING; kind++) {
        size_t vocab = test.small ? 400 : 1500, dim = 48;
        float *table = make_table(kind, vocab, dim);
        for (int c = 0; c < TTE_ENTROPY; c++) {
            double last = 0;
            for (int r = 0; r < 7; r++) {
                tte_options options = table_options(all_codings[c]);
                tte_image image = sentinel_image();
                tte_status status;
                options.ratio = ratios[r];
                status = tte_compress(table, vocab, dim, &options, &image);
                if (status != TTE_OK) {
                    CHECK_STATUS(status, TTE_ERR_BUDGET);
                    CHECK(is_sentinel(&image) && (double)ratios[r] > 16);
                    continue;
                }
                CHECK_LE((double)image.size * (double)ratios[r], 4.0 * (double)(vocab * dim));
                {
                    double whole = check_image(&image, table, vocab, dim, &options).whole;
                    CHECK_LE(last, whole * 1.001 + 1e-7); /* fewer bytes, no smaller error */
                    last = whole;
                }
                tte_free(&image);
            }
        }
        free(table);
    }
}

/* The most columns that fit: one more coefficient a token would not. */
static void ratio_is_used(void)
{
    static const double coefficient[TTE_ENTROPY] = {4, 2, 1, 0.5};
    size_t vocab = 1000, dim = 40;
    float *table = make_table(DECAYING, vocab, dim);
    for (int c = 0; c < TTE_ENTROPY; c++) {
        tte_options options = table_options(all_codings[c]);
        tte_image image;
        options.ratio = 9;
        image = make_image(table, vocab, dim, &options);
        CHECK(((double)image.size + (double)vocab * ceil(coefficient[c])
               + 4 * (double)dim + 64) * 9 > 4.0 * (double)(vocab * dim));
        free(image.data);
    }
    free(table);
}

static void eps_is_kept(void)
{
    static const float eps[] = {0.9f, 0.5f, 0.3f, 0.1f, 0.05f, 0.01f, 1e-3f, 1e-5f};
    static const float must_reach[TTE_ENTROPY] = {1e-5f, 1e-3f, 0.03f, 0.2f};
    size_t vocab = 300, dim = 48;
    float *table = make_table(DECAYING, vocab, dim);
    for (int c = 0; c < TTE_ENTROPY; c++)
        for (int i = 0; i < 8; i++) {
            tte_options options = table_options(all_codings[c]);
            tte_image image = sentinel_image();
            tte_status status;
            options.eps = eps[i];
            status = tte_compress(table, vocab, dim, &options, &image);
            if (eps[i] >= must_reach[c])
                CHECK_STATUS(status, TTE_OK);
            if (status == TTE_OK) {
                CHECK_LE(check_image(&image, table, vocab, dim, &options).whole,
                         (double)eps[i] * (1 + 1e-6));
                if (i < 4) /* and not at all columns where few would do */
                    CHECK(info_of(&image).ranks[0] < 48);
                tte_free(&image);
            } else {
                CHECK_STATUS(status, TTE_ERR_BUDGET);
                CHECK(is_sentinel(&image));
            }
        }
    free(table);
}

/* Whatever the table: budgets are kept, or refused. */
static void budgets_on_tables_of_every_kind(void)
{
    size_t vocab = 83, dim = 47;
    for (int kind = 0; kind < TABLES; kind++) {
        float *table = make_table(kind, vocab, dim);
        for (int n = test.small ? kind % 3 : 0; n < 10 * CODINGS; n += test.small ? 3 : 1) {
            tte_options options = table_options(all_codings[n % CODINGS]);
            tte_image image = sentinel_image();
            tte_status status;
            tte_table t;
            if (n / CODINGS < 6)
                options.ratio = (float)(0.5 * pow(2, n / CODINGS)); /* from twice the size to a 16th */
            else if (n / CODINGS < 8)
                options.eps = n / CODINGS == 6 ? 0.03f : 0.5f;
            else
                options.max_rank = n / CODINGS == 8 ? 1 : 20;
            status = tte_compress(table, vocab, dim, &options, &image);
            if (status != TTE_OK) {
                CHECK_STATUS(status, TTE_ERR_BUDGET);
                CHECK(options.max_rank == 0); /* a cap asks for nothing that could fail */
                CHECK(is_sentinel(&image) && heap.live == 0);
                continue;
            }
            image = exact_image(&image);
            if (!CHECK_STATUS(tte_open(&t, image.data, image.size), TTE_OK)) {
                if (test.bad <= 5)
                    fprintf(stderr, "    table %d, budget %d\n", kind, n);
            } else {
                double whole = check_image(&image, table, vocab, dim, &options).whole;
                CHECK_LE(whole, options.eps > 0 ? (double)options.eps * (1 + 1e-6) : HUGE_VAL);
            }
            CHECK_LE((double)image.size * (double)options.ratio, 4.0 * (double)(vocab * dim));
            free(image.data);
        }
        free(table);
    }
}

static void budgets_that_nothing_meets(void)
{
    float *table = random_floats(50 * 24);
    for (int c = 0; c < CODINGS; c++) {
        for (int i = 0; i < 5; i++) {
            tte_options options = table_options(all_codings[c]);
            tte_image image = sentinel_image();
            size_t vocab = 50, dim = 24;
            switch (i) {
            case 0: options.ratio = 1e6f; break;
            case 1: options.ratio = 1, vocab = dim = 1; break; /* the header alone is larger */
            case 2: options.eps = 0.01f, options.max_rank = 2; break;
            case 3: options.eps = 0.01f, options.ratio = 4; break; /* noise at 8 bits a number */
            case 4: options.eps = 1e-10f; break;
            }
            CHECK_STATUS(tte_compress(table, vocab, dim, &options, &image), TTE_ERR_BUDGET);
            CHECK(is_sentinel(&image) && heap.live == 0);
        }
    }
    free(table);
}

static void ratio_and_eps_hold_both(void)
{
    static const float ratios[CODINGS] = {2, 4, 8, 12, 12};
    static const float eps[CODINGS] = {0.001f, 0.01f, 0.05f, 0.3f, 0.1f};
    size_t vocab = 600, dim = 40;
    float *table = make_table(LOW_RANK, vocab, dim);
    for (size_t i = 0; i < vocab * dim; i++)
        table[i] += (float)(1e-5 * rng_normal());
    for (int c = 0; c < CODINGS; c++) {
        tte_options options = table_options(all_codings[c]);
        tte_image image;
        options.ratio = ratios[c];
        options.eps = eps[c];
        if (!try_image(table, vocab, dim, &options, &image))
            continue;
        CHECK_LE(check_image(&image, table, vocab, dim, &options).whole, (double)eps[c] * (1 + 1e-6));
        CHECK_LE((double)image.size * (double)ratios[c], 4.0 * (double)(vocab * dim));
        free(image.data);
    }
    free(table);
}

/* ---- modes ----------------------------------------------------------------------------------- */

static void modes_of_every_kind(void)
{
    static const int shapes[][4] = {{30}, {32}, {5, 6}, {6, 5}, {3, 11}, {2, 3, 5}, {4, 4, 2}, {1, 30, 1},
                                    {2, 4, 2, 2}, {31, 1}};
    size_t vocab = 200, dim = 30;
    float *table = make_table(DECAYING, vocab, dim);
    for (int c = 0; c < CODINGS; c++) {
        tte_options plain = table_options(all_codings[c]);
        double one_mode = compress_and_check(table, vocab, dim, &plain).whole;
        for (int i = 0; i < 10; i++) {
            int modes = 0;
            tte_options options = plain;
            while (modes < 4 && shapes[i][modes] > 0)
                modes++;
            options.shape = make_shape(modes, shapes[i]);
            /* nothing is truncated: only the rounding of more cores comes on top */
            if (!CHECK_LE(compress_and_check(table, vocab, dim, &options).whole, 1.3 * one_mode + 2e-6)
                && test.bad <= 5)
                fprintf(stderr, "    shape %d, coding %d\n", i, c);
        }
    }
    free(table);
}

/* Padding is the place where vectors of no energy may point to; rows must not feel it. */
static void padded_modes_of_few_directions(void)
{
    static const int shapes[][3] = {{9, 2, 13}, {3, 7, 20}, {4, 10, 37}, {11, 3, 23}, {6, 6, 31}};
    static const int kinds[] = {LOW_RANK, EQUAL_ROWS, SPARSE, CONSTANT, ZERO};
    static const size_t vocabs[] = {1, 9, 31, 41, 60};
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 5; k++)
            for (int v = 0; v < 5; v += test.small ? 2 : 1) {
                tte_shape shape = make_shape(2, shapes[i]);
                check_lost(kinds[k], vocabs[v], (size_t)shapes[i][2], &shape);
            }
}

/* Under a budget bonds may be cut, by little of what the budget costs. */
static void modes_under_a_budget(void)
{
    static const int shapes[][3] = {{6, 8}, {7, 7}, {4, 3, 4}};
    size_t vocab = test.small ? 300 : 1200, dim = 48;
    float *table = make_table(DECAYING, vocab, dim);
    for (int c = 0; c < CODINGS; c++)
        for (int by_eps = 0; by_eps < 2; by_eps++) {
            tte_options plain = table_options(all_codings[c]);
            tte_image image;
            double error, size;
            plain.eps = by_eps ? 0.4f : 0;
            plain.ratio = by_eps ? 0 : 4;
            image = make_image(table, vocab, dim, &plain);
            error = check_image(&image, table, vocab, dim, &plain).whole, size = (double)image.size;
            free(image.data);
            for (int i = 0; i < 3; i++) {
                tte_options options = plain;
                options.shape = make_shape(i < 2 ? 2 : 3, shapes[i]);
                image = make_image(table, vocab, dim, &options);
                CHECK_LE(check_image(&image, table, vocab, dim, &options).whole, 1.25 * error + 1e-6);
                CHECK_LE((double)image.size, 1.25 * size);
                free(image.data);
            }
        }
    free(table);
}

/* Principal vectors a (x) b with few a: the bond between the modes has no more than those need. */
static void structure_of_the_vectors_is_found(void)
{
    static const int dims[2] = {8, 16}, one[1] = {128};
    size_t vocab = 400, dim = 128;
    float *a = random_floats(2 * 8), *b = random_floats(3 * 16), *table = new_floats(vocab * dim);
    for (size_t t = 0; t < vocab; t++) {
        double c[6];
        for (int i = 0; i < 6; i++)
            c[i] = rng_normal();
        for (size_t j = 0; j < dim; j++) {
            double sum = 1e-4 * rng_normal();
            for (size_t i = 0; i < 6; i++)
                sum += c[i] * (double)a[i / 3 * 8 + j / 16] * (double)b[i % 3 * 16 + j % 16];
            table[t * dim + j] = (float)sum;
        }
    }
    for (int c = 0; c < CODINGS; c++) {
        tte_options options = table_options(all_codings[c]), flat = options;
        tte_image image, other;
        options.shape = make_shape(2, dims);
        flat.shape = make_shape(1, one);
        options.eps = flat.eps = c == TTE_I4 ? 0.4f : 0.05f;
        image = make_image(table, vocab, dim, &options);
        other = make_image(table, vocab, dim, &flat);
        CHECK_LE(check_image(&image, table, vocab, dim, &options).whole, (double)options.eps * (1 + 1e-6));
        CHECK(info_of(&image).ranks[0] <= 6 && info_of(&image).ranks[1] <= 3);
        CHECK(image.size < other.size); /* 6 x 8 x 3 + 3 x 16 numbers instead of 6 x 128 */
        free(image.data);
        options.shape.modes = 0; /* left to the library: no worse than one mode */
        image = make_image(table, vocab, dim, &options);
        CHECK_LE(check_image(&image, table, vocab, dim, &options).whole, (double)options.eps * (1 + 1e-6));
        CHECK(image.size <= other.size);
        free(image.data), free(other.data);
    }
    free(a), free(b), free(table);
}

/* ---- weights --------------------------------------------------------------------------------- */

/* |error| / |row| over every tenth row from 3 on, the heavy ones. */
static double heavy_error(const float *table, const tte_image *image, size_t vocab, size_t dim)
{
    tte_table t = open_image(image);
    float *rows = lookup_all(&t);
    double gaps = 0, total = 0;
    for (size_t i = 3; i < vocab; i += 10) {
        gaps += pow(distance(table + i * dim, rows + i * dim, dim), 2);
        total += dot(table + i * dim, table + i * dim, dim);
    }
    free(rows);
    return sqrt(gaps / total);
}

static void weights_are_heeded(void)
{
    size_t vocab = 1000, dim = 32;
    float *weights = new_floats(vocab), *table = weighted_table(vocab, dim, weights);
    for (int c = 0; c < CODINGS; c++) {
        tte_options with = table_options(all_codings[c]), without;
        tte_image a, b;
        double weighted;
        with.ratio = 8;
        without = with;
        with.row_weight = weights;
        a = make_image(table, vocab, dim, &with);
        b = make_image(table, vocab, dim, &without);
        weighted = check_image(&a, table, vocab, dim, &with).weighted;
        CHECK_LE((double)a.size * 8, 4.0 * (double)(vocab * dim));
        if (c != TTE_I4) { /* 4 bits hold all columns at this ratio: there is nothing to choose */
            CHECK_LE(heavy_error(table, &a, vocab, dim), 0.8 * heavy_error(table, &b, vocab, dim));
            {
                tte_table t = open_image(&b);
                float *rows = lookup_all(&t);
                CHECK_LE(weighted, 0.9 * measure_rows(table, rows, vocab, dim, weights).weighted);
                free(rows);
            }
        }
        free(a.data), free(b.data);
    }
    free(table), free(weights);
}

/* eps bounds the weighted error; what is recorded is the plain one. */
static void eps_is_weighted(void)
{
    size_t vocab = 600, dim = 32;
    float *weights = new_floats(vocab), *table = weighted_table(vocab, dim, weights);
    for (int c = 0; c < CODINGS; c++)
        for (int i = 0; i < 2; i++) {
            tte_options options = table_options(all_codings[c]);
            tte_image image;
            measured m;
            options.eps = i == 0 ? 0.5f : 0.2f;
            options.row_weight = weights;
            image = make_image(table, vocab, dim, &options);
            m = check_image(&image, table, vocab, dim, &options);
            CHECK_LE(m.weighted, (double)options.eps * (1 + 1e-6));
            if (c == TTE_ENTROPY)
                CHECK_LE(0.98 * (double)options.eps, m.weighted);
            free(image.data);
        }
    free(table), free(weights);
}

static void weights_of_every_size(void)
{
    size_t vocab = 500, dim = 24;
    float *weights = new_floats(vocab), *table = make_table(DECAYING, vocab, dim);
    for (size_t t = 0; t < vocab; t++)
        weights[t] = (float)pow(10, 12 * rng_uniform() - 6);
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n);
        tte_image image;
        measured m;
        options.shape.modes = 0;
        options.row_weight = weights;
        if (!try_image(table, vocab, dim, &options, &image))
            continue;
        m = check_image(&image, table, vocab, dim, &options);
        if (options.eps > 0)
            CHECK_LE(m.weighted, (double)options.eps * (1 + 1e-6));
        CHECK_LE((double)image.size * (double)options.ratio, 4.0 * (double)(vocab * dim));
        free(image.data);
    }
    free(table), free(weights);
}

/* Equal weights of any size are none. */
static void equal_weights_are_none(void)
{
    static const float sizes[] = {1, 3.7f, 1e-20f, 1e20f};
    size_t vocab = test.small ? 250 : 500, dim = 24;
    float *weights = new_floats(vocab), *table = make_table(DECAYING, vocab, dim);
    for (int n = 0; n < 3 * CODINGS; n++)
        for (int s = test.small ? n % 4 : 0; s < 4; s += test.small ? 4 : 1) {
            tte_options options = setting(n);
            tte_image plain = make_image(table, vocab, dim, &options), image;
            double error = check_image(&plain, table, vocab, dim, &options).whole;
            for (size_t t = 0; t < vocab; t++)
                weights[t] = sizes[s];
            options.row_weight = weights;
            if (try_image(table, vocab, dim, &options, &image)) {
                double other = check_image(&image, table, vocab, dim, &options).whole;
                CHECK_LE(fabs(other - error), 0.02 * error + 1e-6);
                CHECK_LE(fabs((double)image.size - (double)plain.size), 0.02 * (double)plain.size);
                free(image.data);
            }
            free(plain.data);
        }
    free(table), free(weights);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* All ways of reading against rows by tte_lookup. The slack is for float sums: what is added up is as
 * large as the mean row and the longest ones. */
static void check_products(const tte_table *t, const float *rows)
{
    tte_info info = get_info(t);
    size_t vocab = info.vocab, dim = info.dim;
    float *query = random_floats(dim), *whole = new_floats(vocab), *scratch = new_scratch(t);
    double longest = largest_norm(rows, vocab, dim), length = norm(query, dim);
    CHECK_STATUS(tte_logits(t, query, 0, (uint32_t)vocab, whole, scratch), TTE_OK);
    for (size_t i = 0; i < vocab; i++) {
        const float *row = rows + i * dim;
        uint32_t other = (uint32_t)rng_int(0, (int)vocab - 1);
        float product = -7;
        CHECK_LE(fabs((double)whole[i] - dot(row, query, dim)),
                 length * (1e-5 * norm(row, dim) + 1e-6 * longest));
        CHECK_STATUS(tte_inner_tokens(t, (uint32_t)i, other, &product, scratch), TTE_OK);
        CHECK_LE(fabs((double)product - dot(row, rows + other * dim, dim)),
                 1e-5 * norm(row, dim) * norm(rows + other * dim, dim));
    }
    for (int round = 0; round < 20; round++) { /* any window gives the same bits */
        uint32_t first = (uint32_t)rng_int(0, (int)vocab - 1);
        uint32_t count = (uint32_t)rng_int(1, (int)(vocab - first));
        float *part = new_floats(count);
        CHECK_STATUS(tte_logits(t, query, first, count, part, scratch), TTE_OK);
        CHECK(memcmp(part, whole + first, count * sizeof(float)) == 0);
        free(part);
    }
    for (uint32_t k = 1; k <= vocab; k += 1 + k) {
        uint32_t *best = (uint32_t *)test_alloc(k * sizeof(uint32_t));
        float *scores = new_floats(k);
        CHECK_STATUS(tte_top_k(t, query, k, best, scores, scratch), TTE_OK);
        for (uint32_t i = 0; i < k; i++) {
            size_t ahead = 0; /* tokens that belong before this one */
            for (uint32_t j = 0; j < vocab; j++)
                ahead += whole[j] > whole[best[i]] || (whole[j] == whole[best[i]] && j < best[i]);
            CHECK(ahead == i && scores[i] == whole[best[i]]);
        }
        free(best), free(scores);
    }
    free(query), free(whole), free(scratch);
}

static void check_batches(const tte_table *t, const float *rows)
{
    tte_info info = get_info(t);
    float *scratch = new_scratch(t);
    for (size_t count = 1; count <= 70; count += 1 + count / 2) {
        uint32_t *tokens = (uint32_t *)test_alloc(count * sizeof(uint32_t));
        float *batch = new_floats(count * info.dim);
        for (size_t i = 0; i < count; i++)
            tokens[i] = (uint32_t)rng_int(0, (int)info.vocab - 1);
        CHECK_STATUS(tte_lookup_batch(t, tokens, count, batch, scratch), TTE_OK);
        for (size_t i = 0; i < count; i++)
            CHECK(memcmp(batch + i * info.dim, rows + tokens[i] * info.dim,
                         info.dim * sizeof(float)) == 0);
        memset(batch, 0xA5, count * info.dim * sizeof(float));
        tokens[count - 1] = (uint32_t)info.vocab;
        CHECK_STATUS(tte_lookup_batch(t, tokens, count, batch, scratch), TTE_ERR_RANGE);
        CHECK(is_untouched(batch, count * info.dim * sizeof(float)));
        free(tokens), free(batch);
    }
    free(scratch);
}

static void all_ways_of_reading_agree(void)
{
    static const size_t dims[] = {21, 1, 7, 64, 65};
    static const int kinds[] = {DECAYING, GAUSSIAN, BIG_MEAN, EQUAL_ROWS, SPARSE};
    for (int i = 0; i < 5; i++) {
        size_t vocab = 130;
        float *table = make_table(kinds[i], vocab, dims[i]);
        for (int n = 0; n < SETTINGS; n++) {
            tte_options options = setting(n);
            tte_image image;
            tte_table t;
            float *rows;
            long before;
            if (i > 0 && n >= CODINGS)
                break;
            image = make_image(table, vocab, dims[i], &options);
            t = open_image(&image);
            before = heap.requests;
            rows = lookup_all(&t);
            check_batches(&t, rows);
            check_products(&t, rows);
            CHECK(heap.requests == before); /* reading allocates nothing */
            free(rows), free(image.data);
        }
        free(table);
    }
}

static void tokens_out_of_range(void)
{
    static const uint32_t bad[] = {5, 6, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFFFFu};
    float *table = random_floats(5 * 12), row[12], out[8], result = -7;
    memset(row, 0xA5, sizeof row);
    memset(out, 0xA5, sizeof out);
    for (int c = 0; c < CODINGS; c++) {
        tte_options options = table_options(all_codings[c]);
        tte_image image = make_image(table, 5, 12, &options), grown = sentinel_image();
        tte_table t = open_image(&image);
        float *scratch = new_scratch(&t);
        for (int i = 0; i < 5; i++) {
            CHECK_STATUS(tte_lookup(&t, bad[i], row, scratch), TTE_ERR_RANGE);
            CHECK_STATUS(tte_inner_tokens(&t, bad[i], 0, &result, scratch), TTE_ERR_RANGE);
            CHECK_STATUS(tte_inner_tokens(&t, 0, bad[i], &result, scratch), TTE_ERR_RANGE);
            CHECK_STATUS(tte_logits(&t, table, bad[i], 1, out, scratch), TTE_ERR_RANGE);
            CHECK_STATUS(tte_logits(&t, table, 1, bad[i], out, scratch), TTE_ERR_RANGE);
            CHECK_STATUS(tte_replace(&t, bad[i], table, &grown), TTE_ERR_RANGE);
        }
        CHECK(is_sentinel(&grown));
        free(scratch), free(image.data);
    }
    CHECK(is_untouched(row, sizeof row) && is_untouched(out, sizeof out) && result == -7);
    free(table);
}

/* The same bytes each time, on any number of threads (where this file is built with OpenMP). */
static void same_bytes_each_time(void)
{
    patterns p = make_patterns(700);
#ifdef _OPENMP
    const int most = 3;
#else
    const int most = 1;
#endif
    for (int n = 0; n < ALL_SETTINGS; n++) {
        tte_options options = full_setting(n, p.weights, &p.view[n % CODINGS]);
        tte_image a, b;
        if (!try_image(p.table, p.vocab, DIM, &options, &a))
            continue;
        for (int threads = 1; threads <= most; threads++) {
#ifdef _OPENMP
            omp_set_num_threads(threads);
#endif
            if (!try_image(p.table, p.vocab, DIM, &options, &b))
                continue;
            CHECK(same_image(&a, &b));
            free(b.data);
        }
        free(a.data);
    }
    free_patterns(&p);
}
/* ---- what is refused ------------------------------------------------------------------------- */

static void bad_weights(void)
{
    static const uint32_t bits[] = {0, 0x80000000u, 0xBF800000u, 0x80000001u, 0x7FC00000u, 0xFFC00000u,
                                    0x7F800000u, 0xFF800000u};
    size_t vocab = 70, dim = 6;
    float *table = random_floats(vocab * dim), *weights = new_floats(vocab);
    for (int c = 0; c < CODINGS; c++)
        for (int i = 0; i < 8; i++)
            for (size_t place = 0; place < vocab; place += 23) { /* 69, the last, included */
                tte_options options = table_options(all_codings[c]);
                for (size_t t = 0; t < vocab; t++)
                    weights[t] = 1;
                options.row_weight = weights;
                weights[place] = float_from_bits(bits[i]);
                check_refused(table, vocab, dim, &options, TTE_ERR_ARGUMENT);
            }
    free(table), free(weights);
}

static void bad_options(void)
{
    static const int dims[16] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
    static const uint32_t bits[] = {0xBF800000u, 0x80000001u, 0x7FC00000u, 0x7F800000u, 0xFF800000u};
    float *table = random_floats(10 * 12);
    for (int c = 0; c < CODINGS; c++) {
        tte_options good = table_options(all_codings[c]), options = good;
        check_refused(NULL, 10, 12, &good, TTE_ERR_ARGUMENT);
        check_refused(table, 0, 12, &good, TTE_ERR_ARGUMENT);
        check_refused(table, 10, 0, &good, TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_compress(table, 10, 12, &good, NULL), TTE_ERR_ARGUMENT);
        for (int i = 0; i < 5; i++) {
            options = good, options.eps = float_from_bits(bits[i]);
            check_refused(table, 10, 12, &options, TTE_ERR_ARGUMENT);
            options = good, options.ratio = float_from_bits(bits[i]);
            check_refused(table, 10, 12, &options, TTE_ERR_ARGUMENT);
        }
        options = good, options.eps = 1.01f;
        check_refused(table, 10, 12, &options, TTE_ERR_ARGUMENT);
        options = good, options.max_rank = -1;
        check_refused(table, 10, 12, &options, TTE_ERR_ARGUMENT);
        options = good, options.shape = make_shape(3, dims); /* 8 places for 12 */
        check_refused(table, 10, 12, &options, TTE_ERR_SHAPE);
        options = good, options.shape = make_shape(4, dims), options.shape.dim[2] = 0;
        check_refused(table, 10, 12, &options, TTE_ERR_SHAPE);
        options = good, options.shape = make_shape(16, dims), options.shape.modes = 17;
        check_refused(table, 10, 12, &options, TTE_ERR_SHAPE);
        options = good, options.shape = make_shape(2, dims);
        options.shape.dim[0] = options.shape.dim[1] = 65536; /* 2^32 places */
        check_refused(table, 10, 12, &options, TTE_ERR_SHAPE);
    }
    {
        tte_options options = table_options(TTE_ENTROPY);
        options.layout = TTE_PER_TOKEN;
        check_refused(table, 10, 12, &options, TTE_ERR_ARGUMENT);
#ifndef __cplusplus /* in C++ such a value is undefined before the library sees it */
        options = table_options((tte_coding)5);
        check_refused(table, 10, 12, &options, TTE_ERR_ARGUMENT);
        options = table_options(TTE_F32);
        options.layout = (tte_layout)2;
        check_refused(table, 10, 12, &options, TTE_ERR_ARGUMENT);
#endif
    }
    free(table);
}

/* Rows that nobody may ask for. */
static int refusing_rows(void *user, size_t first, size_t count, float *dst)
{
    (void)first, (void)count, (void)dst;
    ++*(long *)user;
    return 1;
}

static void enormous_sizes(void)
{
    static const size_t sizes[][2] = {{SIZE_MAX, 1}, {1, SIZE_MAX}, {SIZE_MAX / 2 + 2, 2},
                                      {SIZE_MAX / 4, 4}, {4, SIZE_MAX / 4}, {16, SIZE_MAX / 64},
                                      {0xFFFFFFFFu, 0x7FFFFFFFu}, {3, 0x80000000u}};
    long calls = 0;
    for (int c = 0; c < CODINGS; c++)
        for (int i = 0; i < 8; i++) {
            tte_options options = table_options(all_codings[c]);
            tte_image image = sentinel_image();
            tte_status status =
                tte_compress_rows(refusing_rows, &calls, sizes[i][0], sizes[i][1], &options, &image);
            CHECK(status == TTE_ERR_SHAPE || (i == 6 && status == TTE_ERR_MEMORY));
            CHECK(is_sentinel(&image) && calls == 0 && heap.live == 0);
        }
}

static void not_finite(void)
{
    static const uint32_t bits[] = {0x7FC00000u, 0xFFC00000u, 0x7F800001u, 0x7F800000u, 0xFF800000u};
    size_t vocab = 70, dim = DIM, count = vocab * dim;
    float *table = random_floats(count), out[2], scores[2], *row = random_floats(dim);
    uint32_t tokens[2];
    for (int c = 0; c < CODINGS; c++) {
        tte_options options = table_options(all_codings[c]), like = options;
        tte_image image = make_image(table, vocab, dim, &options), grown = sentinel_image();
        tte_table t = open_image(&image);
        float *scratch = new_scratch(&t);
        like.like = &t;
        for (int i = 0; i < 30; i++) {
            size_t place = i % 3 == 0 ? 0 : i % 3 == 1 ? count / 2 : count - 1;
            float kept = table[place], one = row[place % dim];
            options = setting(i % 5 * CODINGS + c);
            table[place] = row[place % dim] = float_from_bits(bits[i % 5]);
            check_refused(table, vocab, dim, &options, TTE_ERR_NOT_FINITE);
            check_refused(table, vocab, dim, &like, TTE_ERR_NOT_FINITE);
            CHECK_STATUS(tte_append(&t, table, vocab, &grown), TTE_ERR_NOT_FINITE);
            CHECK_STATUS(tte_replace(&t, 5, row, &grown), TTE_ERR_NOT_FINITE);
            CHECK_STATUS(tte_logits(&t, row, 0, 2, out, scratch), TTE_ERR_NOT_FINITE);
            CHECK_STATUS(tte_top_k(&t, row, 2, tokens, scores, scratch), TTE_ERR_NOT_FINITE);
            table[place] = kept, row[place % dim] = one;
        }
        CHECK(is_sentinel(&grown) && heap.live == 0);
        free(scratch), free(image.data);
    }
    free(table), free(row);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_per_table");
    RUN(tables_of_every_kind);
    RUN(every_dim);
    RUN(tables_of_every_scale);
    RUN(rows_of_every_scale);
    RUN(rows_at_the_end_of_float);
    RUN(max_rank_is_kept);
    RUN(columns_are_the_best);
    RUN(ratio_is_kept);
    RUN(ratio_is_used);
    RUN(eps_is_kept);
    RUN(budgets_on_tables_of_every_kind);
    RUN(budgets_that_nothing_meets);
    RUN(ratio_and_eps_hold_both);
    RUN(modes_of_every_kind);
    RUN(padded_modes_of_few_directions);
    RUN(modes_under_a_budget);
    RUN(structure_of_the_vectors_is_found);
    RUN(weights_are_heeded);
    RUN(eps_is_weighted);
    RUN(weights_of_every_size);
    RUN(equal_weights_are_none);
    RUN(all_ways_of_reading_agree);
    RUN(tokens_out_of_range);
    RUN(same_bytes_each_time);
    RUN(bad_weights);
    RUN(bad_options);
    RUN(enormous_sizes);
    RUN(not_finite);
    return test_end();
}
