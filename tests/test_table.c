/* test_table.c: compressing tables and reading them. */
#include "bodies.h"
#include "harness.h"
#include "tables.h"

#ifdef _OPENMP
#include <omp.h>
#endif

static const tte_coding all_codings[4] = {TTE_F32, TTE_F16, TTE_I8, TTE_I4};

/* ---- what holds for every image ------------------------------------------------------------- */

/* Opens an image of `table`, compares what it says of itself with what its rows show, and returns
 * the measured errors. */
static errors check_image(const tte_image *image, const float *table, size_t vocab, size_t dim,
                          const tte_options *options)
{
    tte_table t = open_image(image);
    tte_info info = get_info(&t);
    float *rows = lookup_all(&t);
    errors e = measure(table, rows, vocab, dim);
    CHECK(info.vocab == vocab && info.dim == dim && info.bytes == image->size);
    CHECK(info.layout == options->layout && info.coding == options->coding);
    CHECK_LE(fabs(info.ratio * (double)info.bytes - 4.0 * (double)vocab * (double)dim), 1e-3);
    CHECK(info.shape.modes >= 1 && info.shape.modes <= TTE_MAX_MODES);
    CHECK(shape_size(&info.shape) >= dim);
    if (options->shape.modes > 0) {
        CHECK(info.shape.modes == options->shape.modes);
        CHECK(memcmp(info.shape.dim, options->shape.dim,
                     (size_t)info.shape.modes * sizeof info.shape.dim[0]) == 0);
    }
    for (int k = 0; k <= info.shape.modes; k++)
        CHECK(info.ranks[k] >= 1
              && (size_t)info.ranks[k] <= bond_limit(&info.shape, k, options->max_rank));
    CHECK_LE(info.mean_numbers, (double)tte_core_len(&info.shape, info.ranks) + 1e-6);
    CHECK(info.mean_numbers >= info.shape.modes);
    CHECK_LE(fabs(info.rel_error - e.whole), 1e-3 * e.whole + 1e-7);
    CHECK_LE(fabs(info.max_row_error - e.worst), 1e-3 * e.worst + 1e-7);
    free(rows);
    return e;
}

static errors compress_and_check(const float *table, size_t vocab, size_t dim,
                                 const tte_options *options)
{
    tte_image image = make_image(table, vocab, dim, options);
    errors e = check_image(&image, table, vocab, dim, options);
    free(image.data);
    return e;
}

static tte_info info_of(const float *table, size_t vocab, size_t dim, const tte_options *options)
{
    tte_image image = make_image(table, vocab, dim, options);
    tte_table t = open_image(&image);
    tte_info info = get_info(&t);
    free(image.data);
    return info;
}

/* ---- compression ---------------------------------------------------------------------------- */

static void no_options_reproduce_the_table(void)
{
    static const size_t dims[] = {1, 2, 3, 7, 16, 37, 48, 128, 300};
    for (int i = 0; i < (test.small ? 7 : 9); i++) {
        size_t vocab = 1 + (size_t)i * 3;
        float *table = mixed_table(vocab, dims[i]);
        tte_options options = no_options();
        errors e = compress_and_check(table, vocab, dims[i], &options);
        CHECK_LE(e.worst, 3e-6);
        if (i == 4) { /* NULL stands for the same */
            tte_image named = make_image(table, vocab, dims[i], &options);
            tte_image unnamed = make_image(table, vocab, dims[i], NULL);
            CHECK(same_image(&named, &unnamed));
            free(named.data), free(unnamed.data);
        }
        free(table);
    }
}

/* dim 768 in ten modes of two: 20 numbers a token at rank 1, 232 at rank cap 4. */
static void figures_of_tensorgpt(void)
{
    static const int twos[10] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
    tte_shape shape = make_shape(10, twos);
    size_t vocab = test.small ? 8 : 200, dim = 768;
    float *table = random_floats(vocab * dim);
    tte_options one = make_options(TTE_F32, 1, 0, &shape), four = make_options(TTE_F32, 4, 0, &shape);
    tte_info a = info_of(table, vocab, dim, &one), b = info_of(table, vocab, dim, &four);
    tte_info half = info_of(table, vocab / 2, dim, &one);
    CHECK_LE(fabs(a.mean_numbers - 20), 1e-9);
    CHECK_LE(fabs(b.mean_numbers - 232), 1e-9);
    /* a fixed stride: the bytes grow by the numbers alone, up to the alignment of a section */
    CHECK_LE(fabs((double)(a.bytes - half.bytes) - 80.0 * (double)(vocab - vocab / 2)), 64);
    CHECK_LE(fabs((double)(b.bytes - a.bytes) - 4.0 * 212 * (double)vocab), 64);
    CHECK_LE(fabs(a.rel_error - 0.99), 0.01); /* rows without structure: what the format loses */
    CHECK_LE(fabs(b.rel_error - 0.88), 0.02);
    free(table);
}

static void every_coding_by_rank_cap(void)
{
    static const int dims[3] = {4, 6, 5};
    static const double lost[4] = {1.5e-6, 4e-4, 0.011, 0.17}; /* by rounding, at full ranks */
    tte_shape shape = make_shape(3, dims);
    size_t vocab = test.small ? 12 : 60, dim = 110; /* ten places of padding */
    float *table = mixed_table(vocab, dim);
    for (int c = 0; c < 4; c++) {
        double last = 2;
        for (int cap = 1; cap <= 8; cap *= 2) {
            tte_options options = make_options(all_codings[c], cap, 0, &shape);
            errors e = compress_and_check(table, vocab, dim, &options);
            CHECK_LE(e.whole, last + 0.02); /* more numbers, no larger error */
            last = e.whole;
        }
        {
            tte_options options = make_options(all_codings[c], 0, 0, &shape);
            CHECK_LE(compress_and_check(table, vocab, dim, &options).whole, lost[c]);
        }
    }
    free(table);
}

/* Relative error of one row that tte_decompose truncates, by tte_reconstruct. */
static double error_of_one(const tte_shape *shape, const float *row, size_t dim, int cap)
{
    size_t entries = shape_size(shape);
    float *x = new_floats(entries), *cores = new_floats(tte_core_cap(shape, cap)), *scratch;
    int32_t ranks[TTE_MAX_MODES + 1];
    void *work = test_alloc(tte_decompose_work(shape));
    double error;
    memset(x, 0, entries * sizeof(float));
    memcpy(x, row, dim * sizeof(float));
    require(tte_decompose(shape, x, cap, 0, ranks, cores, work), "tte_decompose");
    scratch = new_floats(tte_reconstruct_len(shape, ranks));
    require(tte_reconstruct(shape, ranks, cores, x, scratch), "tte_reconstruct");
    error = row_error(row, x, dim);
    free(scratch), free(work), free(cores), free(x);
    return error;
}

/* Rows of all kinds side by side: whatever way the library takes to compress many rows at once, each
 * comes out as well as tte_decompose does it alone. */
static void rows_are_as_good_as_decomposed_alone(void)
{
    static const int shapes[][5] = {{24, 32}, {5, 26}, {3, 43}, {64, 64}, {4, 6, 5}, {8, 4, 4, 2},
                                    {2, 2, 2, 2, 2}, {140, 139}, {1, 7, 1, 9}, {30, 2}};
    for (int i = 0; i < (test.small ? 6 : 10); i++)
        for (int cap = 1; cap <= 16; cap *= 2) {
            int modes = 0;
            tte_shape shape;
            size_t vocab = i == 7 ? 10 : 21, dim;
            float *table, *rows;
            tte_options options;
            tte_image image;
            tte_table t;
            while (modes < 5 && shapes[i][modes] > 0)
                modes++;
            shape = make_shape(modes, shapes[i]);
            dim = shape_size(&shape) - (size_t)(i % 2);
            table = mixed_table(vocab, dim);
            for (size_t j = 0; j < dim; j++) { /* entries of all sizes, small, large; low rank */
                table[3 * dim + j] *= (float)pow(10, 30 * (2 * rng_uniform() - 1));
                table[4 * dim + j] *= 1e-34f;
                table[5 * dim + j] *= 1e32f;
                table[6 * dim + j] = j == dim / 2 ? 1.0f : 1e-7f;
                table[7 * dim + j] = 0.25f;
                table[8 * dim + j] = j % (dim / 2 + 1) == 0 ? -3e-39f : 0.0f;
            }
            options = make_options(TTE_F32, cap, 0, &shape);
            image = make_image(table, vocab, dim, &options);
            t = open_image(&image);
            rows = lookup_all(&t);
            for (size_t r = 0; r < vocab; r++) {
                double alone = error_of_one(&shape, table + r * dim, dim, cap);
                double got = row_error(table + r * dim, rows + r * dim, dim);
                double slack = r == 8 ? 1e-5 : 3e-6; /* row 8 is denormal: few bits to be right in */
                if (!CHECK_LE(got, alone * (1 + 1e-3) + slack) && test.bad <= 6)
                    fprintf(stderr, "    shape %d, cap %d, row %d\n", i, cap, (int)r);
            }
            free(rows), free(image.data), free(table);
        }
}

/* A narrower coding takes fewer bytes; these are the sizes it promises by its name. */
static void sizes_of_the_codings(void)
{
    static const int dims[2] = {16, 24};
    static const double bits[4] = {32, 16, 8, 4};
    tte_shape shape = make_shape(2, dims);
    size_t vocab = 100, dim = 384;
    float *table = random_floats(vocab * dim);
    for (int c = 0; c < 4; c++) {
        tte_options options = make_options(all_codings[c], 4, 0, &shape);
        tte_info info = info_of(table, vocab, dim, &options);
        double numbers = 4 * (16 + 24);
        CHECK_LE(fabs(info.mean_numbers - numbers), 1e-9);
        CHECK((double)info.bytes >= (double)vocab * numbers * bits[c] / 8);
        /* header, alignment, a scale for each core */
        CHECK_LE((double)info.bytes, (double)vocab * (numbers * bits[c] / 8 + 8) + 1024);
    }
    free(table);
}

/* A row in one mode is its own core, so that a coding can be seen bare: float16 is the nearest one,
 * ties to even. */
static void float16_is_the_nearest(void)
{
    tte_shape shape;
    tte_options options;
    enum { ROWS = 300, LEN = 16 };
    float *table = new_floats(ROWS * LEN), *rows;
    tte_image image;
    tte_table t;
    int dims[1] = {LEN};
    for (int i = 0; i < ROWS * LEN; i++) {
        double size = ldexp(rng_int(0, 2) ? 1 + rng_uniform() : 1 + rng_int(0, 4095) / 2048.0,
                            rng_int(-12, 8)); /* the second kind hits ties */
        table[i] = (float)(rng_int(0, 1) ? size : -size);
        if (i % 7 == 0)
            table[i] = (float)ldexp(rng_int(-4000, 4000), -26); /* denormal in float16 */
    }
    shape = make_shape(1, dims);
    options = make_options(TTE_F16, 0, 0, &shape);
    image = make_image(table, ROWS, LEN, &options);
    t = open_image(&image);
    rows = lookup_all(&t);
    for (int i = 0; i < ROWS * LEN; i++) {
        int e;
        double quantum;
        (void)frexp((double)table[i], &e);
        quantum = ldexp(1, (e - 1 < -14 ? -14 : e - 1) - 10);
        CHECK((double)rows[i] == rint((double)table[i] / quantum) * quantum);
    }
    free(rows), free(image.data), free(table);
}

/* Eight and four bits lose no more than plain rounding in steps of the largest entry / 127 or / 7. */
static void integers_round_well(void)
{
    enum { ROWS = 60, LEN = 25 };
    int dims[1] = {LEN};
    tte_shape shape = make_shape(1, dims);
    float *table = mixed_table(ROWS, LEN);
    for (int c = 2; c < 4; c++) {
        tte_options options = make_options(all_codings[c], 0, 0, &shape);
        tte_image image = make_image(table, ROWS, LEN, &options);
        tte_table t = open_image(&image);
        float *rows = lookup_all(&t);
        for (size_t r = 0; r < ROWS; r++) {
            const float *row = table + r * LEN;
            double top = 0, step, plain = 0, got = distance(row, rows + r * LEN, LEN);
            for (int j = 0; j < LEN; j++)
                top = fabs((double)row[j]) > top ? fabs((double)row[j]) : top;
            step = top / (c == 2 ? 127 : 7);
            for (int j = 0; j < LEN && step > 0; j++) {
                double gap = (double)row[j] - rint((double)row[j] / step) * step;
                plain += gap * gap;
            }
            CHECK_LE(got, 1.02 * sqrt(plain) + 1e-3 * step * sqrt((double)LEN));
        }
        free(rows), free(image.data);
    }
    free(table);
}

/* Every row within eps, measured on what lookup returns; or a clear refusal. */
static void every_coding_by_eps(void)
{
    static const float eps[] = {0.7f, 0.5f, 0.3f, 0.1f, 0.05f, 0.02f, 0.01f, 1e-3f, 1e-4f, 1e-5f};
    static const float must_reach[4] = {1e-5f, 0.01f, 0.1f, 0.5f};
    static const float cannot_reach[4] = {0, 1e-5f, 1e-4f, 0.01f};
    static const int dims[3] = {4, 6, 5};
    tte_shape shape = make_shape(3, dims);
    size_t vocab = test.small ? 10 : 50, dim = 115;
    float *table = mixed_table(vocab, dim);
    for (int c = 0; c < 4; c++)
        for (int i = 0; i < 20; i++) {
            float bound = eps[i / 2];
            tte_options options = make_options(all_codings[c], 0, bound, i % 2 ? &shape : NULL);
            tte_image image = sentinel_image();
            tte_status status = tte_compress(table, vocab, dim, &options, &image);
            if (bound >= must_reach[c])
                CHECK_STATUS(status, TTE_OK);
            else if (bound <= cannot_reach[c])
                CHECK_STATUS(status, TTE_ERR_BUDGET);
            else
                CHECK(status == TTE_OK || status == TTE_ERR_BUDGET);
            if (status == TTE_OK) {
                errors e = check_image(&image, table, vocab, dim, &options);
                CHECK_LE(e.worst, (double)bound);
                tte_free(&image);
            } else {
                CHECK(is_sentinel(&image));
            }
        }
    free(table);
}

/* Under eps the ranks are those of the rows: fewer numbers for simple rows than for noise. */
static void eps_adapts_to_each_row(void)
{
    static const int dims[3] = {8, 4, 4};
    tte_shape shape = make_shape(3, dims);
    size_t vocab = 40, dim = 128;
    float *smooth = smooth_table(vocab, dim), *noise = random_floats(vocab * dim);
    tte_options options = make_options(TTE_F32, 0, 0.05f, &shape);
    tte_info a = info_of(smooth, vocab, dim, &options), b = info_of(noise, vocab, dim, &options), both;
    CHECK_LE(a.mean_numbers, 2 * 8 + 2 * 4 * 2 + 2 * 4 + 1e-9);
    CHECK_LE(4 * a.mean_numbers, b.mean_numbers);
    memcpy(noise, smooth, vocab / 2 * dim * sizeof(float));
    both = info_of(noise, vocab, dim, &options);
    CHECK(both.mean_numbers > a.mean_numbers && both.mean_numbers < b.mean_numbers);
    CHECK(both.bytes < b.bytes);
    CHECK_LE((double)both.bytes, (double)vocab * (4 * both.mean_numbers + 24) + 1024);
    free(smooth), free(noise);
}

static void eps_with_a_cap(void)
{
    static const int dims[3] = {4, 4, 4};
    tte_shape shape = make_shape(3, dims);
    size_t vocab = 20, dim = 64;
    float *smooth = smooth_table(vocab, dim), *noise = random_floats(vocab * dim);
    tte_options options = make_options(TTE_F32, 2, 0.01f, &shape);
    tte_image image = sentinel_image();
    CHECK_LE(compress_and_check(smooth, vocab, dim, &options).worst, 0.01);
    /* a cap that the bound does not fit under */
    CHECK_STATUS(tte_compress(noise, vocab, dim, &options, &image), TTE_ERR_BUDGET);
    CHECK(is_sentinel(&image));
    free(smooth), free(noise);
}

static void ratio_is_kept(void)
{
    static const struct { tte_coding coding; float ratio; } ask[] = {
        {TTE_F32, 1.2f}, {TTE_F32, 2}, {TTE_F32, 3.3f}, {TTE_F32, 5}, {TTE_F16, 2.2f}, {TTE_F16, 4},
        {TTE_F16, 9}, {TTE_I8, 4}, {TTE_I8, 6}, {TTE_I8, 10}, {TTE_I4, 6}, {TTE_I4, 9}, {TTE_I4, 14}
    };
    static const size_t dims[] = {96, 128, 97};
    for (int i = 0; i < (test.small ? 1 : 3); i++) {
        size_t vocab = test.small ? 80 : 300, dim = dims[i];
        float *table = i == 0 ? random_floats(vocab * dim) : mixed_table(vocab, dim);
        double last = 0;
        for (int a = 0; a < 13; a++) {
            tte_options options = make_options(ask[a].coding, 0, 0, NULL);
            tte_image image;
            errors e;
            options.ratio = ask[a].ratio;
            image = make_image(table, vocab, dim, &options);
            e = check_image(&image, table, vocab, dim, &options);
            CHECK((double)(vocab * dim * 4) >= (double)ask[a].ratio * (double)image.size);
            CHECK_LE(e.whole, 1.0);
            if (a > 0 && ask[a].coding == ask[a - 1].coding)
                CHECK_LE(last, e.whole + 0.02); /* more bytes, no larger error */
            last = e.whole;
            free(image.data);
        }
        free(table);
    }
}

/* The least error of all uniform two-mode shapes that keep the ratio; above 1 when none does. */
static double best_by_hand(const float *table, size_t vocab, size_t dim, float ratio, int *modes)
{
    double best = 2;
    for (int n = 2; n < (int)dim; n++)
        for (int cap = 1; cap <= n; cap++) {
            int pair[2];
            tte_shape shape;
            tte_options options;
            tte_info info;
            pair[0] = n, pair[1] = ((int)dim + n - 1) / n;
            if ((double)ratio * cap * (pair[0] + pair[1]) > (double)dim)
                break;
            shape = make_shape(2, pair);
            options = make_options(TTE_F32, cap, 0, &shape);
            info = info_of(table, vocab, dim, &options);
            if (info.ratio >= (double)ratio && info.rel_error < best) {
                best = info.rel_error;
                memcpy(modes, pair, sizeof pair);
            }
        }
    return best;
}

/* At the same bytes the search must not lose to the best two-mode shape found by trying all. */
static void ratio_beats_two_modes_by_hand(void)
{
    static const float ratios[] = {1.5f, 2, 3, 4, 5};
    static const size_t dims[] = {48, 96, 90};
    for (int i = 0; i < (test.small ? 1 : 3); i++)
        for (int r = 0; r < 5; r++) {
            size_t vocab = test.small ? 60 : 200, dim = dims[i];
            float *table = i % 2 ? mixed_table(vocab, dim) : random_floats(vocab * dim);
            tte_options options = make_options(TTE_F32, 0, 0, NULL);
            int modes[2] = {0, 0};
            double best = best_by_hand(table, vocab, dim, ratios[r], modes);
            options.ratio = ratios[r];
            if (best <= 1) {
                tte_info info = info_of(table, vocab, dim, &options);
                if (!CHECK_LE(info.rel_error, best * (1 + 1e-5) + 1e-7))
                    fprintf(stderr, "    dim %d, ratio %g: %d x %d is better than the %d modes found\n",
                            (int)dim, (double)ratios[r], modes[0], modes[1], info.shape.modes);
            }
            free(table);
        }
}

/* Sinusoids have rank 2 in every shape. At 3x two modes are too many numbers for that
 * (8x16: 48 of 128), three are not (4x4x8: 40). */
static void ratio_finds_more_modes_where_they_pay(void)
{
    size_t vocab = 400, dim = 128;
    float *table = smooth_table(vocab, dim);
    tte_options options = make_options(TTE_F32, 0, 0, NULL);
    tte_info info;
    options.ratio = 3;
    info = info_of(table, vocab, dim, &options);
    CHECK_LE(info.rel_error, 1e-3);
    CHECK(info.shape.modes >= 3);
    free(table);
}

static void ratio_in_a_given_shape(void)
{
    static const int dims[3] = {4, 4, 8};
    tte_shape shape = make_shape(3, dims);
    size_t vocab = 200, dim = 120;
    float *table = mixed_table(vocab, dim);
    for (int c = 0; c < 4; c++) {
        tte_options options = make_options(all_codings[c], 0, 0, &shape);
        tte_image image;
        options.ratio = c == 0 ? 2 : c == 1 ? 3 : 5;
        image = make_image(table, vocab, dim, &options);
        (void)check_image(&image, table, vocab, dim, &options);
        CHECK((double)(vocab * dim * 4) >= (double)options.ratio * (double)image.size);
        free(image.data);
    }
    free(table);
}

static void impossible_budgets(void)
{
    size_t vocab = 30, dim = 64;
    float *table = random_floats(vocab * dim);
    tte_options options = no_options();
    tte_image image = sentinel_image();
    options.ratio = 1e6f;
    CHECK_STATUS(tte_compress(table, vocab, dim, &options, &image), TTE_ERR_BUDGET);
    options.ratio = 8; /* both at once: noise does not compress eightfold within one percent */
    options.eps = 0.01f;
    CHECK_STATUS(tte_compress(table, vocab, dim, &options, &image), TTE_ERR_BUDGET);
    options = no_options();
    options.ratio = 1; /* one row of one number: the header alone is larger */
    CHECK_STATUS(tte_compress(table, 1, 1, &options, &image), TTE_ERR_BUDGET);
    CHECK(is_sentinel(&image));
    free(table);
}

static void ratio_together_with_eps(void)
{
    static const int dims[3] = {4, 4, 8};
    tte_shape shape = make_shape(3, dims);
    size_t vocab = 200, dim = 128;
    float *table = smooth_table(vocab, dim);
    tte_options options = make_options(TTE_F32, 0, 0.01f, &shape);
    tte_image image;
    options.ratio = 2;
    image = make_image(table, vocab, dim, &options);
    CHECK_LE(check_image(&image, table, vocab, dim, &options).worst, 0.01);
    CHECK((double)(vocab * dim * 4) >= 2 * (double)image.size);
    free(image.data), free(table);
}

/* A table a thousand times smaller or larger loses no more. Far outside of what the coding can
 * hold, the image at least tells the truth about its error, and no row becomes NaN. */
/* As a bound, -0 is none; the image must not hold it as something else than 0. */
static void minus_zero_is_no_bound(void)
{
    float *table = random_floats(20 * 12);
    for (int kind = 0; kind < 2; kind++) {
        tte_options options = make_options(TTE_I8, 0, 0, NULL);
        tte_image image, same;
        tte_table t;
        options.layout = kind ? TTE_PER_TABLE : TTE_PER_TOKEN;
        image = make_image(table, 20, 12, &options);
        options.eps = -0.0f;
        same = make_image(table, 20, 12, &options);
        CHECK_STATUS(tte_open(&t, same.data, same.size), TTE_OK);
        CHECK(same_image(&image, &same));
        free(image.data), free(same.data);
    }
    free(table);
}

static void scales_of_tables(void)
{
    static const float scale[] = {1e-3f, 1e-2f, 1e2f, 1e3f, 1e-20f, 1e-9f, 1e9f, 1e20f};
    static const int dims[2] = {8, 8};
    tte_shape shape = make_shape(2, dims);
    size_t vocab = 20, dim = 64;
    float *table = mixed_table(vocab, dim), *scaled = new_floats(vocab * dim);
    for (int c = 0; c < 4; c++) {
        tte_options options = make_options(all_codings[c], 5, 0, &shape);
        errors plain = compress_and_check(table, vocab, dim, &options);
        for (int f = 0; f < 8; f++) {
            tte_image image = sentinel_image();
            tte_status status;
            errors e;
            for (size_t i = 0; i < vocab * dim; i++)
                scaled[i] = table[i] * scale[f];
            status = tte_compress(scaled, vocab, dim, &options, &image);
            if (c == 0 || f < 4)
                CHECK_STATUS(status, TTE_OK);
            if (c != 0 && f == 7) /* 1e20 in two modes: no float16 takes part in that */
                CHECK_STATUS(status, TTE_ERR_BUDGET);
            if (status != TTE_OK) {
                CHECK(is_sentinel(&image));
                continue;
            }
            e = check_image(&image, scaled, vocab, dim, &options);
            if (c == 0 || f < 4)
                CHECK_LE(e.whole, 1.5 * plain.whole + 1e-5);
            tte_free(&image);
        }
    }
    free(table), free(scaled);
}

static void automatic_shape(void)
{
    for (size_t dim = 1; dim <= (test.small ? 24u : 160u); dim++) {
        float *table = random_floats(3 * dim);
        tte_options cap = make_options(TTE_F32, 2, 0, NULL), eps = make_options(TTE_F32, 0, 0.2f, NULL);
        (void)compress_and_check(table, 3, dim, &cap);
        CHECK_LE(compress_and_check(table, 3, dim, &eps).worst, 0.2);
        free(table);
    }
}

static void zero_table(void)
{
    float table[5 * 30];
    memset(table, 0, sizeof table);
    for (int i = 0; i < 12; i++) {
        tte_options options = make_options(all_codings[i % 4], i / 4 == 1 ? 2 : 0,
                                           i / 4 == 2 ? 0.1f : 0, NULL);
        errors e = compress_and_check(table, 5, 30, &options);
        CHECK(e.whole == 0 && e.worst == 0);
    }
}

static void same_bytes_each_time(void)
{
    size_t vocab = 40, dim = 60;
    float *table = mixed_table(vocab, dim);
    for (int i = 0; i < 12; i++) {
        tte_options options = make_options(all_codings[i % 4], i / 4 == 0 ? 3 : 0,
                                           i / 4 == 1 ? 0.6f : 0, NULL);
        tte_image a, b;
        options.ratio = i / 4 == 2 ? 4.0f : 0;
        a = make_image(table, vocab, dim, &options);
        b = make_image(table, vocab, dim, &options);
        CHECK(same_image(&a, &b));
#ifdef _OPENMP
        for (int threads = 1; threads <= 5; threads += 2) {
            omp_set_num_threads(threads);
            free(b.data);
            b = make_image(table, vocab, dim, &options);
            CHECK(same_image(&a, &b));
        }
#endif
        free(a.data), free(b.data);
    }
    free(table);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* A few images of all kinds for the reading calls. */
static int reading_kinds(void) { return 12; }

static tte_image reading_image(int kind, const float *table, size_t vocab, size_t dim)
{
    static const int dims[3] = {3, 4, 6};
    tte_shape shape = make_shape(3, dims);
    tte_options options = make_options(all_codings[kind % 4], kind / 4 == 0 ? 3 : 0,
                                       kind / 4 == 1 ? 0.6f : 0, kind / 4 == 2 ? NULL : &shape);
    return make_image(table, vocab, dim, &options);
}

static void batch_equals_lookup(void)
{
    size_t vocab = 30, dim = 70;
    float *table = mixed_table(vocab, dim);
    for (int kind = 0; kind < reading_kinds(); kind++) {
        tte_image image = reading_image(kind, table, vocab, dim);
        tte_table t = open_image(&image), copy = t;
        float *rows = lookup_all(&copy), *scratch = new_scratch(&t);
        for (size_t count = 1; count <= 70; count += 1 + count / 2) {
            uint32_t *tokens = (uint32_t *)test_alloc(count * sizeof(uint32_t));
            float *batch = new_floats(count * dim);
            for (size_t i = 0; i < count; i++)
                tokens[i] = (uint32_t)rng_int(0, (int)vocab - 1);
            CHECK_STATUS(tte_lookup_batch(&t, tokens, count, batch, scratch), TTE_OK);
            for (size_t i = 0; i < count; i++)
                CHECK(memcmp(batch + i * dim, rows + tokens[i] * dim, dim * sizeof(float)) == 0);
            memset(batch, 0xA5, count * dim * sizeof(float));
            tokens[count - 1] = (uint32_t)vocab;
            CHECK_STATUS(tte_lookup_batch(&t, tokens, count, batch, scratch), TTE_ERR_RANGE);
            CHECK(is_untouched(batch, count * dim * sizeof(float)));
            free(tokens), free(batch);
        }
        free(scratch), free(rows), free(image.data);
    }
    free(table);
}

/* One view, many threads (where this file is built with OpenMP), a scratch for each. */
static void threads_share_a_table(void)
{
    const int vocab = 200;
    size_t dim = 72;
    float *table = mixed_table((size_t)vocab, dim);
    for (int kind = 0; kind < reading_kinds(); kind++) {
        tte_image image = reading_image(kind, table, (size_t)vocab, dim);
        tte_table t = open_image(&image);
        float *rows = lookup_all(&t);
        long different = 0;
#ifdef _OPENMP
#pragma omp parallel for reduction(+ : different) num_threads(4)
#endif
        for (int i = 0; i < 10 * vocab; i++) {
            float *scratch = new_scratch(&t), *row = new_floats(dim);
            uint32_t token = (uint32_t)(i * 7 % vocab);
            different += tte_lookup(&t, token, row, scratch) != TTE_OK
                      || memcmp(row, rows + token * dim, dim * sizeof(float)) != 0;
            free(scratch), free(row);
        }
        CHECK(different == 0);
        free(rows), free(image.data);
    }
    free(table);
}

static void products_of_tokens(void)
{
    size_t vocab = 25, dim = 72;
    float *table = mixed_table(vocab, dim);
    for (int kind = 0; kind < reading_kinds(); kind++) {
        tte_image image = reading_image(kind, table, vocab, dim);
        tte_table t = open_image(&image);
        float *rows = lookup_all(&t), *scratch = new_scratch(&t);
        for (size_t a = 0; a < vocab; a++)
            for (size_t b = 0; b < vocab; b++) {
                float got = -7;
                const float *x = rows + a * dim, *y = rows + b * dim;
                CHECK_STATUS(tte_inner_tokens(&t, (uint32_t)a, (uint32_t)b, &got, scratch), TTE_OK);
                CHECK_LE(fabs((double)got - dot(x, y, dim)), 1e-5 * norm(x, dim) * norm(y, dim));
            }
        free(scratch), free(rows), free(image.data);
    }
    free(table);
}

/* Padding is not part of a row: a product over the cores must not count what stands behind dim.
 * One rank leaves a lot there. */
static void padding_is_not_counted(void)
{
    static const int dims[3] = {4, 4, 4};
    tte_shape shape = make_shape(3, dims);
    size_t vocab = 10, dim = 33;
    float *table = random_floats(vocab * dim), *hidden = random_floats(dim), out[10];
    tte_options options = make_options(TTE_F32, 1, 0, &shape);
    tte_image image = make_image(table, vocab, dim, &options);
    tte_table t = open_image(&image);
    float *rows = lookup_all(&t), *scratch = new_scratch(&t), got = 0;
    CHECK_STATUS(tte_logits(&t, hidden, 0, 10, out, scratch), TTE_OK);
    for (size_t a = 0; a < vocab; a++) {
        const float *x = rows + a * dim;
        CHECK_LE(fabs((double)out[a] - dot(x, hidden, dim)), 1e-5 * norm(x, dim) * norm(hidden, dim));
        for (size_t b = 0; b < vocab; b++) {
            const float *y = rows + b * dim;
            CHECK_STATUS(tte_inner_tokens(&t, (uint32_t)a, (uint32_t)b, &got, scratch), TTE_OK);
            CHECK_LE(fabs((double)got - dot(x, y, dim)), 1e-5 * norm(x, dim) * norm(y, dim));
        }
    }
    free(scratch), free(rows), free(image.data), free(table), free(hidden);
}

static void logits_are_products(void)
{
    size_t vocab = 50, dim = 72;
    float *table = mixed_table(vocab, dim);
    for (int kind = 0; kind < reading_kinds(); kind++) {
        tte_image image = reading_image(kind, table, vocab, dim);
        tte_table t = open_image(&image);
        float *rows = lookup_all(&t), *scratch = new_scratch(&t), *hidden = random_floats(dim);
        float *whole = new_floats(vocab);
        CHECK_STATUS(tte_logits(&t, hidden, 0, (uint32_t)vocab, whole, scratch), TTE_OK);
        for (size_t i = 0; i < vocab; i++)
            CHECK_LE(fabs((double)whole[i] - dot(rows + i * dim, hidden, dim)),
                     1e-5 * norm(rows + i * dim, dim) * norm(hidden, dim));
        for (int round = 0; round < 40; round++) { /* any window gives the same bits */
            uint32_t first = (uint32_t)rng_int(0, (int)vocab - 1);
            uint32_t count = (uint32_t)rng_int(1, (int)(vocab - first));
            float *part = new_floats(count);
            CHECK_STATUS(tte_logits(&t, hidden, first, count, part, scratch), TTE_OK);
            CHECK(memcmp(part, whole + first, count * sizeof(float)) == 0);
            free(part);
        }
        free(whole), free(hidden), free(scratch), free(rows), free(image.data);
    }
    free(table);
}

static void check_top_k(const tte_table *t, const float *rows, const float *query, uint32_t k)
{
    tte_info info = get_info(t);
    uint32_t *tokens = (uint32_t *)test_alloc(k * sizeof(uint32_t));
    float *scores = new_floats(k), *scratch = new_scratch(t);
    char *chosen = (char *)test_alloc(info.vocab);
    memset(chosen, 0, info.vocab);
    if (!CHECK_STATUS(tte_top_k(t, query, k, tokens, scores, scratch), TTE_OK))
        k = 0;
    for (uint32_t i = 0; i < k; i++) {
        const float *row = rows + tokens[i] * info.dim;
        double slack = 1e-5 * norm(query, info.dim) * norm(row, info.dim);
        if (!CHECK(tokens[i] < info.vocab && !chosen[tokens[i]]))
            break;
        chosen[tokens[i]] = 1;
        CHECK_LE(fabs((double)scores[i] - dot(row, query, info.dim)), slack);
        CHECK(i == 0 || scores[i - 1] > scores[i]
              || (scores[i - 1] == scores[i] && tokens[i - 1] < tokens[i]));
    }
    for (size_t other = 0; other < info.vocab && k > 0; other++)
        if (!chosen[other]) {
            const float *row = rows + other * info.dim, *last = rows + tokens[k - 1] * info.dim;
            double slack = 1e-5 * norm(query, info.dim) * norm(row, info.dim);
            CHECK_LE(dot(row, query, info.dim), (double)scores[k - 1] + slack);
            if (memcmp(row, last, info.dim * sizeof(float)) == 0)
                CHECK(other > tokens[k - 1]); /* equal rows: the lower token comes first */
        }
    free(chosen), free(scratch), free(scores), free(tokens);
}

static void top_k(void)
{
    size_t vocab = 60, dim = 40;
    float *table = mixed_table(vocab, dim), *zero = new_floats(dim);
    memset(zero, 0, dim * sizeof(float));
    for (size_t i = 20; i < 50; i++) /* many equal rows, not next to each other */
        memcpy(table + i * dim, table + i % 7 * dim, dim * sizeof(float));
    for (int kind = 0; kind < reading_kinds(); kind++) {
        tte_image image = reading_image(kind, table, vocab, dim);
        tte_table t = open_image(&image);
        float *rows = lookup_all(&t);
        static const uint32_t ks[] = {1, 2, 3, 7, 10, 31, 59, 60};
        for (int i = 0; i < 8; i++) {
            float *query = random_floats(dim);
            check_top_k(&t, rows, query, ks[i]);
            check_top_k(&t, rows, rows + 21 * dim, ks[i]); /* a query that is a row */
            check_top_k(&t, rows, zero, ks[i]);            /* all equal */
            free(query);
        }
        free(rows), free(image.data);
    }
    free(table), free(zero);
}

static void reading_allocates_nothing(void)
{
    size_t vocab = 30, dim = 70;
    float *table = mixed_table(vocab, dim);
    for (int kind = 0; kind < reading_kinds(); kind++) {
        tte_image image = reading_image(kind, table, vocab, dim);
        tte_table t;
        long before = heap.requests;
        CHECK_STATUS(tte_open(&t, image.data, image.size), TTE_OK);
        use_everything(&t);
        CHECK(heap.requests == before);
        free(image.data);
    }
    CHECK(sizeof(tte_table) < 256);
    free(table);
}

static void tokens_out_of_range(void)
{
    static const uint32_t bad[] = {5, 6, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFFFFu};
    size_t dim = 12;
    float *table = random_floats(5 * dim);
    tte_options options = no_options();
    tte_image image = make_image(table, 5, dim, &options);
    tte_table t = open_image(&image);
    float *scratch = new_scratch(&t), row[12], result = -7, out[8];
    memset(row, 0xA5, sizeof row);
    memset(out, 0xA5, sizeof out);
    for (int i = 0; i < 5; i++) {
        CHECK_STATUS(tte_lookup(&t, bad[i], row, scratch), TTE_ERR_RANGE);
        CHECK_STATUS(tte_inner_tokens(&t, bad[i], 0, &result, scratch), TTE_ERR_RANGE);
        CHECK_STATUS(tte_inner_tokens(&t, 0, bad[i], &result, scratch), TTE_ERR_RANGE);
        CHECK_STATUS(tte_logits(&t, table, bad[i], 1, out, scratch), TTE_ERR_RANGE);
        CHECK_STATUS(tte_logits(&t, table, 1, bad[i], out, scratch), TTE_ERR_RANGE);
        CHECK_STATUS(tte_logits(&t, table, bad[i], bad[i], out, scratch), TTE_ERR_RANGE);
    }
    CHECK_STATUS(tte_logits(&t, table, 2, 0xFFFFFFFFu - 1, out, scratch), TTE_ERR_RANGE);
    CHECK(is_untouched(row, sizeof row) && is_untouched(out, sizeof out) && result == -7);
    free(scratch), free(image.data), free(table);
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void check_refused(const float *table, size_t vocab, size_t dim, const tte_options *options,
                          tte_status want)
{
    tte_image image = sentinel_image();
    CHECK_STATUS(tte_compress(table, vocab, dim, options, &image), want);
    CHECK(is_sentinel(&image));
}

static void bad_options(void)
{
    static const float bad[] = {-1, -1e-30f};
    float *table = random_floats(12);
    tte_options options = no_options();
    check_refused(NULL, 3, 4, &options, TTE_ERR_ARGUMENT);
    check_refused(table, 0, 4, &options, TTE_ERR_ARGUMENT);
    check_refused(table, 3, 0, &options, TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_compress(table, 3, 4, &options, NULL), TTE_ERR_ARGUMENT);
    for (int i = 0; i < 5; i++) {
        float value = i < 2 ? bad[i] : float_from_bits(i == 2 ? 0x7FC00000u : i == 3 ? 0x7F800000u
                                                                             : 0xFF800000u);
        options = make_options(TTE_F32, 0, value, NULL);
        check_refused(table, 3, 4, &options, TTE_ERR_ARGUMENT);
        options = no_options();
        options.ratio = value;
        check_refused(table, 3, 4, &options, TTE_ERR_ARGUMENT);
    }
    options = make_options(TTE_F32, 0, 1.01f, NULL); /* a bound above 1 bounds nothing */
    check_refused(table, 3, 4, &options, TTE_ERR_ARGUMENT);
    options = make_options(TTE_F32, -1, 0, NULL);
    check_refused(table, 3, 4, &options, TTE_ERR_ARGUMENT);
    options = make_options(TTE_ENTROPY, 0, 0, NULL);
    check_refused(table, 3, 4, &options, TTE_ERR_ARGUMENT);
    options = no_options();
    options.row_weight = table;
    check_refused(table, 3, 4, &options, TTE_ERR_ARGUMENT);
    {
        tte_options plain = no_options();
        tte_image image = make_image(table, 3, 4, &plain);
        tte_table t = open_image(&image);
        options = no_options();
        options.like = &t;
        check_refused(table, 3, 4, &options, TTE_ERR_ARGUMENT);
        free(image.data);
    }
#ifndef __cplusplus /* in C++ such a value is undefined before the library sees it */
    options = make_options((tte_coding)9, 0, 0, NULL);
    check_refused(table, 3, 4, &options, TTE_ERR_ARGUMENT);
    options = no_options();
    options.layout = (tte_layout)7;
    check_refused(table, 3, 4, &options, TTE_ERR_ARGUMENT);
#endif
    free(table);
}

/* The second layout does not exist yet. */
static void bad_shapes(void)
{
    static const int dims[16] = {3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
    float *table = random_floats(4 * 19);
    tte_shape shape = make_shape(3, dims); /* 18 places */
    tte_options options = make_options(TTE_F32, 2, 0, &shape);
    check_refused(table, 4, 19, &options, TTE_ERR_SHAPE);
    (void)compress_and_check(table, 4, 18, &options);
    (void)compress_and_check(table, 4, 1, &options);
    options.shape.modes = 17;
    check_refused(table, 4, 18, &options, TTE_ERR_SHAPE);
    options.shape.modes = -1;
    check_refused(table, 4, 18, &options, TTE_ERR_SHAPE);
    options.shape = shape;
    options.shape.dim[1] = 0;
    check_refused(table, 4, 18, &options, TTE_ERR_SHAPE);
    options.shape.dim[1] = -3;
    check_refused(table, 4, 18, &options, TTE_ERR_SHAPE);
    options.shape = make_shape(16, dims);
    for (int k = 0; k < 16; k++)
        options.shape.dim[k] = INT32_MAX;
    check_refused(table, 4, 18, &options, TTE_ERR_SHAPE);
    for (int k = 0; k < 16; k++) /* 2^64, just over */
        options.shape.dim[k] = 16;
    check_refused(table, 4, 18, &options, TTE_ERR_SHAPE);
    free(table);
}

static int refusing_rows(void *user, size_t first, size_t count, float *dst)
{
    (void)user, (void)first, (void)count, (void)dst;
    return 1;
}

/* Sizes that no memory holds are refused before anything is read or written. */
static void enormous_sizes(void)
{
    static const size_t sizes[][2] = {{SIZE_MAX, 1}, {1, SIZE_MAX}, {SIZE_MAX, SIZE_MAX},
                                      {SIZE_MAX / 2 + 2, 2}, {SIZE_MAX / 4, 4}, {SIZE_MAX / 8, 16},
                                      {4, SIZE_MAX / 4}, {16, SIZE_MAX / 64}};
    for (int i = 0; i < 8; i++) {
        tte_options options = no_options();
        tte_image image = sentinel_image();
        CHECK(tte_compress_rows(refusing_rows, NULL, sizes[i][0], sizes[i][1], &options, &image)
              != TTE_OK);
        CHECK(is_sentinel(&image));
    }
}

static void not_finite(void)
{
    static const uint32_t bits[] = {0x7FC00000u, 0xFFC00000u, 0x7F800001u, 0x7F800000u, 0xFF800000u};
    size_t vocab = 9, dim = 20, count = vocab * dim;
    float *table = random_floats(count), out[9], scores[2], row[20];
    uint32_t tokens[2];
    tte_options options = make_options(TTE_F32, 2, 0, NULL);
    tte_image image = make_image(table, vocab, dim, &options);
    tte_table t = open_image(&image);
    float *scratch = new_scratch(&t);
    memset(out, 0xA5, sizeof out);
    memset(scores, 0xA5, sizeof scores);
    memset(tokens, 0xA5, sizeof tokens);
    for (int i = 0; i < 60; i++) {
        size_t place = i % 3 == 0 ? 0 : i % 3 == 1 ? count / 2 : count - 1;
        float kept = table[place];
        table[place] = float_from_bits(bits[i % 5]);
        options = make_options(all_codings[i % 4], i % 2 ? 2 : 0, i / 30 ? 0.6f : 0, NULL);
        check_refused(table, vocab, dim, &options, TTE_ERR_NOT_FINITE);
        options.eps = 0;
        options.ratio = 1.5f;
        check_refused(table, vocab, dim, &options, TTE_ERR_NOT_FINITE);
        table[place] = kept;
        memcpy(row, table, sizeof row);
        row[place % dim] = float_from_bits(bits[i % 5]);
        CHECK_STATUS(tte_logits(&t, row, 0, 9, out, scratch), TTE_ERR_NOT_FINITE);
        CHECK_STATUS(tte_top_k(&t, row, 2, tokens, scores, scratch), TTE_ERR_NOT_FINITE);
    }
    CHECK(is_untouched(out, sizeof out) && is_untouched(scores, sizeof scores));
    CHECK(is_untouched(tokens, sizeof tokens));
    free(scratch), free(image.data), free(table);
}

/* Rows whose norm is at the end of float: what rounding would carry beyond it is refused, not stored. */
static void largest_rows(void)
{
    int made = 0, refused = 0;
    for (int round = 0; round < (test.small ? 100 : 600); round++) {
        size_t vocab = (size_t)rng_int(1, 20), dim = (size_t)rng_int(1, 30);
        float *table = new_floats(vocab * dim), *rows;
        tte_options options = make_options(all_codings[round % 4], rng_int(0, 5), 0, NULL);
        tte_image image;
        tte_status status;
        options.layout = round % 2 ? TTE_PER_TABLE : TTE_PER_TOKEN;
        if (options.layout == TTE_PER_TABLE && round % 3 == 0) options.coding = TTE_ENTROPY;
        for (size_t i = 0; i < vocab * dim; i++) { /* one entry of a row is nearly as large as can be */
            double value = i % dim == 3 % dim ? 1 - 1e-4 * rng_uniform() : 1e-7 * rng_normal();
            table[i] = (float)((rng_int(0, 1) ? value : -value) * (double)FLT_MAX);
        }
        status = tte_compress(table, vocab, dim, &options, &image);
        CHECK(status == TTE_OK || status == TTE_ERR_NOT_FINITE || status == TTE_ERR_BUDGET);
        refused += status == TTE_ERR_NOT_FINITE;
        if (status == TTE_OK) {
            tte_table t = open_image(&image);
            rows = lookup_all(&t);
            for (size_t i = 0; i < vocab * dim; i++)
                CHECK(fabs((double)rows[i]) <= (double)FLT_MAX);
            made += options.layout == TTE_PER_TABLE || options.coding == TTE_F32;
            free(rows), tte_free(&image);
        }
        free(table);
    }
    CHECK(made > 0 && refused > 0);
}

static void bad_arguments_of_reading(void)
{
    size_t dim = 12;
    float *table = random_floats(5 * dim);
    tte_options options = no_options();
    tte_image image = make_image(table, 5, dim, &options);
    tte_table t = open_image(&image), unset;
    tte_info info;
    float *scratch = new_scratch(&t), row[12], out[8], result;
    uint32_t tokens[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    tte_status status;
    memset(out, 0xA5, sizeof out);
    CHECK_STATUS(tte_open(NULL, image.data, image.size), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_open(&unset, NULL, image.size), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_verify(NULL), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_get_info(NULL, &info), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_get_info(&t, NULL), TTE_ERR_ARGUMENT);
    CHECK(tte_scratch_len(NULL) == 0);
    CHECK_STATUS(tte_lookup(NULL, 0, row, scratch), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_lookup(&t, 0, NULL, scratch), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_lookup(&t, 0, row, NULL), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_lookup_batch(NULL, tokens, 1, row, scratch), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_lookup_batch(&t, NULL, 1, row, scratch), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_lookup_batch(&t, tokens, 1, NULL, scratch), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_lookup_batch(&t, tokens, 1, row, NULL), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_inner_tokens(NULL, 0, 0, &result, scratch), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_inner_tokens(&t, 0, 0, NULL, scratch), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_inner_tokens(&t, 0, 0, &result, NULL), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_logits(NULL, row, 0, 1, out, scratch), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_logits(&t, NULL, 0, 1, out, scratch), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_logits(&t, row, 0, 1, NULL, scratch), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_logits(&t, row, 0, 1, out, NULL), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_top_k(NULL, table, 1, tokens, out, scratch), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_top_k(&t, NULL, 1, tokens, out, scratch), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_top_k(&t, table, 1, NULL, out, scratch), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_top_k(&t, table, 1, tokens, NULL, scratch), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_top_k(&t, table, 1, tokens, out, NULL), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_top_k(&t, table, 0, tokens, out, scratch), TTE_ERR_ARGUMENT);
    for (uint32_t k = 6; k != 0; k = k < 8 ? k + 1 : k == 8 ? 0xFFFFFFFFu : 0) {
        status = tte_top_k(&t, table, k, tokens, out, scratch); /* more than there are */
        CHECK(status == TTE_ERR_ARGUMENT || status == TTE_ERR_RANGE);
    }
    status = tte_logits(&t, table, 0, 0, out, scratch); /* nothing asked, nothing written */
    CHECK(status == TTE_OK || status == TTE_ERR_ARGUMENT);
    status = tte_lookup_batch(&t, tokens, 0, out, scratch);
    CHECK(status == TTE_OK || status == TTE_ERR_ARGUMENT);
    CHECK(is_untouched(out, sizeof out));
    free(scratch), free(image.data), free(table);
}

static void texts_of_statuses(void)
{
    static const tte_status all[] = {
#define STATUS(s) s,
        TEST_STATUSES(STATUS)
#undef STATUS
    };
    int count = (int)(sizeof all / sizeof all[0]);
    CHECK(count == 14 && TTE_OK == 0 && TTE_ERR_CONVERGENCE == 13);
    for (int i = 0; i < count; i++) {
        const char *text = tte_status_text(all[i]);
        CHECK((int)all[i] == i && text != NULL && *text != 0);
        for (int j = 0; j < i; j++)
            CHECK(strcmp(text, tte_status_text(all[j])) != 0);
    }
    CHECK(tte_status_text((tte_status)15) != NULL && *tte_status_text((tte_status)15) != 0);
#ifndef __cplusplus
    CHECK(tte_status_text((tte_status)-1) != NULL && *tte_status_text((tte_status)-1) != 0);
    CHECK(tte_status_text((tte_status)99999) != NULL && *tte_status_text((tte_status)99999) != 0);
#endif
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_table");
    RUN(no_options_reproduce_the_table);
    RUN(figures_of_tensorgpt);
    RUN(every_coding_by_rank_cap);
    RUN(rows_are_as_good_as_decomposed_alone);
    RUN(sizes_of_the_codings);
    RUN(float16_is_the_nearest);
    RUN(integers_round_well);
    RUN(every_coding_by_eps);
    RUN(eps_adapts_to_each_row);
    RUN(eps_with_a_cap);
    RUN(ratio_is_kept);
    RUN(ratio_beats_two_modes_by_hand);
    RUN(ratio_finds_more_modes_where_they_pay);
    RUN(ratio_in_a_given_shape);
    RUN(impossible_budgets);
    RUN(ratio_together_with_eps);
    RUN(minus_zero_is_no_bound);
    RUN(scales_of_tables);
    RUN(automatic_shape);
    RUN(zero_table);
    RUN(same_bytes_each_time);
    RUN(batch_equals_lookup);
    RUN(threads_share_a_table);
    RUN(products_of_tokens);
    RUN(padding_is_not_counted);
    RUN(logits_are_products);
    RUN(top_k);
    RUN(reading_allocates_nothing);
    RUN(tokens_out_of_range);
    RUN(bad_options);
    RUN(bad_shapes);
    RUN(enormous_sizes);
    RUN(not_finite);
    RUN(largest_rows);
    RUN(bad_arguments_of_reading);
    RUN(texts_of_statuses);
    return test_end();
}
