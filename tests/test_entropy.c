/* test_entropy.c: TTE_ENTROPY. Sizes and errors that are asked for are met, from the right side; the
 * bits are few against what theory allows; records stand alone. */
#include "bodies.h"
#include "harness.h"
#include "tables.h"
#include "per_table.h"

/* ---- Gaussian tables whose covariance is known ----------------------------------------------- */

enum { WHITE, EXPONENTIAL, POWER_LAW, FEW, SPECTRA };

/* Variance of principal direction j. */
static double variance(int spectrum, size_t j, size_t dim)
{
    switch (spectrum) {
    case EXPONENTIAL: return exp(-6.0 * (double)j / (double)dim);
    case POWER_LAW:   return pow(1.0 + (double)j, -1.2);
    case FEW:         return j < dim / 8 ? 1 : 1e-4;
    default:          return 1;
    }
}

static float *gaussian_table(int spectrum, size_t vocab, size_t dim)
{
    float *table = random_floats(vocab * dim);
    for (size_t i = 0; i < vocab * dim; i++)
        table[i] *= (float)sqrt(variance(spectrum, i % dim, dim));
    reflect_rows(table, vocab, dim);
    return table;
}

/* Bits a row that no code can do without when the mean squared error of a row is `error2`: reverse
 * water-filling (Cover and Thomas, Elements of Information Theory, theorem 10.3.3). */
static double bound_on_bits(int spectrum, size_t dim, double error2)
{
    double low = 0, high = 1, bits = 0;
    for (int i = 0; i < 200; i++) {
        double level = (low + high) / 2, sum = 0;
        for (size_t j = 0; j < dim; j++)
            sum += fmin(level, variance(spectrum, j, dim));
        *(sum < error2 ? &low : &high) = level;
    }
    for (size_t j = 0; j < dim; j++)
        bits += fmax(0, 0.5 * log2(variance(spectrum, j, dim) / low));
    return bits;
}

static const char *const spectra[SPECTRA] = {"white", "exponential", "power law", "few"};
static int spectrum_step(void) { return test.small ? 2 : 1; }

/* ---- budgets --------------------------------------------------------------------------------- */

static const float ratios[] = {4, 5.5f, 8, 12, 16, 24, 32, 38.4f, 40};
enum { RATIOS = 9 };

/* At least the ratio, and at most one per cent more; fewer bytes, more error. */
static void ratio_is_met(void)
{
    size_t vocab = 2000, dim = 64;
    for (int spectrum = 0; spectrum < SPECTRA; spectrum += spectrum_step()) {
        float *table = gaussian_table(spectrum, vocab, dim);
        double last = 0;
        for (int r = spectrum % 2; r < RATIOS; r += test.small ? 4 : 2) {
            tte_options options = table_options(TTE_ENTROPY);
            double budget = 4.0 * (double)(vocab * dim) / (double)ratios[r], whole;
            tte_image image;
            int good;
            options.ratio = ratios[r];
            if (!try_image(table, vocab, dim, &options, &image))
                continue;
            whole = check_image(&image, table, vocab, dim, &options).whole;
            good = CHECK_LE((double)image.size, budget);
            good = CHECK_LE(0.99 * budget, (double)image.size) && good;
            good = CHECK_LE(last, whole) && good;
            if (!good && test.bad <= 5)
                fprintf(stderr, "    %s, ratio %g\n", spectra[spectrum], (double)ratios[r]);
            last = whole;
            free(image.data);
        }
        free(table);
    }
}

/* At most the error, and at least 0.99 of it. */
static void eps_is_met(void)
{
    static const float eps[] = {0.9f, 0.5f, 0.2f, 0.1f, 0.05f, 0.01f, 0.002f};
    size_t vocab = 1500, dim = 40;
    for (int spectrum = 0; spectrum < SPECTRA; spectrum += spectrum_step()) {
        float *table = gaussian_table(spectrum, vocab, dim);
        double last = 0;
        for (int i = 0; i < 7; i += test.small ? 3 : 1) {
            tte_options options = table_options(TTE_ENTROPY);
            double whole;
            tte_image image;
            int good;
            options.eps = eps[i];
            if (!try_image(table, vocab, dim, &options, &image))
                continue;
            whole = check_image(&image, table, vocab, dim, &options).whole;
            good = CHECK_LE(whole, (double)eps[i] * (1 + 1e-6));
            good = CHECK_LE(0.99 * (double)eps[i], whole) && good;
            good = CHECK(last < (double)image.size) && good; /* less error, more bytes */
            if (!good && test.bad <= 5)
                fprintf(stderr, "    %s, eps %g\n", spectra[spectrum], (double)eps[i]);
            last = (double)image.size;
            free(image.data);
        }
        free(table);
    }
}

/* With neither, eps is 0.01. */
static void eps_that_nobody_asked_for(void)
{
    size_t vocab = 1500, dim = 32;
    for (int spectrum = 0; spectrum < SPECTRA; spectrum += spectrum_step()) {
        float *table = gaussian_table(spectrum, vocab, dim);
        tte_options options = table_options(TTE_ENTROPY);
        tte_image silent = make_image(table, vocab, dim, &options);
        double whole = check_image(&silent, table, vocab, dim, &options).whole;
        CHECK_LE(whole, 0.01 * (1 + 1e-6));
        CHECK_LE(0.0099, whole);
        free(silent.data), free(table);
    }
}

/* A few rows far longer than all others, as learned tables have them: every budget is met as before. */
static void budgets_with_outliers(void)
{
    size_t vocab = 2000, dim = 32;
    float *table = gaussian_table(EXPONENTIAL, vocab, dim);
    for (size_t t = 0; t < vocab; t += 997) /* three rows */
        for (size_t j = 0; j < dim; j++)
            table[t * dim + j] *= 1000;
    for (int i = 0; i < 3; i++) {
        tte_options options = table_options(TTE_ENTROPY);
        tte_image image;
        options.ratio = i == 1 ? 8.0f : 0;
        options.eps = i == 2 ? 0.001f : 0; /* 0: nothing is asked for */
        if (!try_image(table, vocab, dim, &options, &image))
            continue;
        CHECK_LE(check_image(&image, table, vocab, dim, &options).whole,
                 i == 0 ? 0.01 : i == 1 ? 0.1 : 0.001 * (1 + 1e-6));
        CHECK_LE((double)image.size * (double)options.ratio, 4.0 * (double)(vocab * dim));
        free(image.data);
    }
    free(table);
}

/* Tables that are mostly header: never above the budget, or refused. */
static void tiny_tables_meet_ratios(void)
{
    int refused = 0, made = 0;
    for (size_t vocab = 1; vocab <= 70; vocab += 1 + vocab / (test.small ? 1 : 3))
        for (size_t dim = 1; dim <= 12; dim += 1 + dim / 4) {
            float *table = make_table(DECAYING, vocab, dim);
            for (int r = 0; r < 4; r++) {
                tte_options options = table_options(TTE_ENTROPY);
                tte_image image = sentinel_image();
                tte_status status;
                options.ratio = r == 0 ? 0.5f : (float)r;
                options.eps = r == 3 ? 0.9f : 0;
                status = tte_compress(table, vocab, dim, &options, &image);
                if (status == TTE_OK) {
                    CHECK_LE((double)image.size * (double)options.ratio, 4.0 * (double)(vocab * dim));
                    (void)check_image(&image, table, vocab, dim, &options);
                    tte_free(&image);
                    made++;
                } else {
                    CHECK_STATUS(status, TTE_ERR_BUDGET);
                    CHECK(is_sentinel(&image) && heap.live == 0);
                    refused++;
                }
            }
            free(table);
        }
    CHECK(refused > 20 && made > 20);
}

/* An error can be met at any size of table: there always is a finer step. */
static void tiny_tables_meet_eps(void)
{
    static const float eps[] = {0.5f, 0.2f, 0.05f, 0.01f};
    for (int round = 0; round < (test.small ? 1 : 3); round++)
        for (size_t vocab = 1; vocab <= 90; vocab += 1 + vocab / (test.small ? 1 : 2))
            for (size_t dim = 1; dim <= 12; dim += 1 + dim / 2) {
                float *table = make_table(round == 2 ? EQUAL_ROWS : round, vocab, dim);
                for (int i = 0; i < 4; i++) {
                    tte_options options = table_options(TTE_ENTROPY);
                    tte_image image;
                    int good;
                    options.eps = eps[i];
                    good = try_image(table, vocab, dim, &options, &image);
                    if (good) {
                        good = CHECK_LE(check_image(&image, table, vocab, dim, &options).whole,
                                        (double)eps[i] * (1 + 1e-6));
                        free(image.data);
                    }
                    if (!good && test.bad <= 5)
                        fprintf(stderr, "    %d x %d, eps %g\n", (int)vocab, (int)dim, (double)eps[i]);
                }
                free(table);
            }
}

/* Both at once, on either side of what is possible. */
static void ratio_and_eps(void)
{
    size_t vocab = 1500, dim = 32;
    float *table = gaussian_table(POWER_LAW, vocab, dim);
    tte_options options = table_options(TTE_ENTROPY);
    double whole;
    tte_image image;
    options.ratio = 12;
    image = make_image(table, vocab, dim, &options);
    whole = check_image(&image, table, vocab, dim, &options).whole;
    free(image.data);
    options.eps = (float)(1.03 * whole);
    image = make_image(table, vocab, dim, &options);
    CHECK_LE(check_image(&image, table, vocab, dim, &options).whole, (double)options.eps * (1 + 1e-6));
    CHECK_LE((double)image.size * 12, 4.0 * (double)(vocab * dim));
    free(image.data);
    options.eps = (float)(0.9 * whole);
    image = sentinel_image();
    CHECK_STATUS(tte_compress(table, vocab, dim, &options, &image), TTE_ERR_BUDGET);
    CHECK(is_sentinel(&image) && heap.live == 0);
    free(table);
}

/* ---- bits ------------------------------------------------------------------------------------ */

/* Bytes of the section of a kind, as the header lists them. */
static size_t section_size(const tte_image *image, int kind)
{
    const unsigned char *p = (const unsigned char *)image->data, *entry = p + 148 + 8 * p[16];
    for (int i = 0; i < p[17]; i++, entry += 24)
        if (entry[20] == kind)
            return (size_t)entry[8] | (size_t)entry[9] << 8 | (size_t)entry[10] << 16;
    return 0;
}

/* Bits a dimension above the bound at the image's own error, for `bytes` of its bytes. */
static double excess(int spectrum, const float *table, size_t vocab, size_t dim, const tte_image *image,
                     size_t bytes)
{
    double error2 = pow(info_of(image).rel_error, 2) * dot(table, table, vocab * dim) / (double)vocab;
    return (8 * (double)bytes / (double)vocab - bound_on_bits(spectrum, dim, error2)) / (double)dim;
}

/* What every token adds, its record and its place in the index: at most 0.41 bit a dimension above the
 * bound. With four times the rows, that leaves room for all that they share. */
static void excess_over_the_bound(void)
{
    for (int pass = 0; pass <= SPECTRA; pass += spectrum_step()) {
        int large = pass == SPECTRA, spectrum = large ? EXPONENTIAL : pass;
        size_t vocab = large ? 16384 : 4096, dim = 64;
        float *table;
        if (large && test.small)
            continue;
        table = gaussian_table(spectrum, vocab, dim);
        for (int r = large ? 2 : spectrum % 2; r < (large ? 5 : RATIOS); r += large ? 2 : test.small ? RATIOS : 3) {
            tte_options options = table_options(TTE_ENTROPY);
            tte_image image;
            double over;
            options.ratio = ratios[r];
            if (!try_image(table, vocab, dim, &options, &image))
                continue;
            over = excess(spectrum, table, vocab, dim, &image,
                          large ? image.size : section_size(&image, 1) + section_size(&image, 2));
            CHECK(over > 0); /* nobody beats the bound by more than chance in the sample */
            if (!CHECK_LE(over, 0.41))
                fprintf(stderr, "    %s, ratio %g\n", spectra[spectrum], (double)ratios[r]);
            free(image.data);
        }
        free(table);
    }
}

/* At the bytes that four bits a coefficient take, entropy coding loses far less. */
static void better_than_four_bits(void)
{
    static const float asked[] = {7, 10, 16, 30};
    size_t vocab = test.small ? 1000 : 2000, dim = 64;
    for (int spectrum = 0; spectrum < SPECTRA; spectrum += spectrum_step()) {
        float *table = gaussian_table(spectrum, vocab, dim);
        for (int i = spectrum % 2; i < 4; i += 2) {
            tte_options options = table_options(TTE_I4);
            tte_image four, image;
            double rounded;
            options.ratio = asked[i];
            four = make_image(table, vocab, dim, &options);
            rounded = check_image(&four, table, vocab, dim, &options).whole;
            options.coding = TTE_ENTROPY;
            options.ratio = (float)(4.0 * (double)(vocab * dim) / (double)four.size);
            if (try_image(table, vocab, dim, &options, &image)) {
                double coded = check_image(&image, table, vocab, dim, &options).whole;
                CHECK((double)image.size <= (double)four.size * (1 + 1e-6));
                if (!CHECK_LE(coded, 0.9 * rounded) && test.bad <= 5)
                    fprintf(stderr, "    %s, ratio %g\n", spectra[spectrum], (double)options.ratio);
                free(image.data);
            }
            free(four.data);
        }
        free(table);
    }
}

/* Finding a record costs a byte and a half a token at most, at any rate; its end half a byte more. */
static void index_is_small(void)
{
    size_t vocab = test.small ? 1000 : 2000, dim = 100;
    float *table = gaussian_table(EXPONENTIAL, vocab, dim);
    for (int r = 0; r < RATIOS; r += test.small ? 4 : 2) {
        tte_options options = table_options(TTE_ENTROPY);
        tte_image image;
        options.ratio = ratios[r];
        image = make_image(table, vocab, dim, &options);
        CHECK(section_size(&image, 2) > 0);
        CHECK_LE((double)section_size(&image, 2), 1.5 * (double)vocab);
        free(image.data);
    }
    free(table);
}

/* Columns that would hold nothing but zeros are not there, nor are tables of frequencies for them. */
static void empty_columns_are_dropped(void)
{
    size_t vocab = 1000, dim = 64;
    for (int kind = DECAYING; kind <= SPARSE; kind++) {
        float *table = make_table(kind, vocab, dim);
        tte_options options = table_options(TTE_ENTROPY);
        tte_image image;
        options.eps = 0.1f;
        if (!try_image(table, vocab, dim, &options, &image))
            continue;
        (void)check_image(&image, table, vocab, dim, &options);
        if (kind == LOW_RANK)
            CHECK(info_of(&image).ranks[0] <= 2);
        if (kind == EQUAL_ROWS) /* five rows and their mean */
            CHECK(info_of(&image).ranks[0] <= 4);
        if (kind == CONSTANT || kind == ZERO || kind == BIG_MEAN) {
            CHECK(info_of(&image).ranks[0] == 1);
            CHECK_LE((double)section_size(&image, 1), (double)vocab); /* at most a byte a token */
        }
        if (kind == DECAYING)
            CHECK(info_of(&image).ranks[0] < 64);
        free(image.data), free(table);
    }
}

/* Heavy rows have finer steps, and so longer records. */
static void steps_follow_the_weights(void)
{
    size_t vocab = 1200, dim = 32;
    float *table = gaussian_table(EXPONENTIAL, vocab, dim), *weights = new_floats(vocab);
    tte_options options = table_options(TTE_ENTROPY);
    double error2[4] = {0, 0, 0, 0};
    tte_image image;
    tte_table t;
    float *rows;
    for (size_t i = 0; i < vocab; i++)
        weights[i] = (float)pow(4, (double)(i % 4));
    options.ratio = 8;
    options.row_weight = weights;
    image = make_image(table, vocab, dim, &options);
    (void)check_image(&image, table, vocab, dim, &options);
    t = open_image(&image);
    rows = lookup_all(&t);
    for (size_t i = 0; i < vocab; i++)
        error2[i % 4] += pow(distance(table + i * dim, rows + i * dim, dim), 2);
    for (int w = 1; w < 4; w++) /* theory: 4 times where all columns are above the water */
        CHECK_LE(2 * error2[w], error2[w - 1]);
    free(rows), free(image.data), free(weights), free(table);
}

/* ---- records --------------------------------------------------------------------------------- */

/* A damaged record spoils its own row and no other. */
static void records_stand_alone(void)
{
    size_t vocab = 100, dim = 24;
    float *table = gaussian_table(EXPONENTIAL, vocab, dim);
    tte_options options = table_options(TTE_ENTROPY);
    tte_image image = make_image(table, vocab, dim, &options), copy;
    tte_table t = open_image(&image), u;
    float *rows = lookup_all(&t), *others;
    size_t start = (size_t)(t.records - t.data), end = start + section_size(&image, 1);
    CHECK(end > start);
    for (size_t at = start; at < end; at += test.small ? 97 : 7) {
        int changed = 0;
        copy.size = image.size;
        copy.data = test_copy(image.data, image.size);
        ((unsigned char *)copy.data)[at] ^= (unsigned char)(1 + at % 255);
        require(tte_open(&u, copy.data, copy.size), "tte_open");
        CHECK_STATUS(tte_verify(&u), TTE_ERR_CHECKSUM);
        others = lookup_all(&u);
        for (size_t i = 0; i < vocab; i++)
            changed += memcmp(rows + i * dim, others + i * dim, dim * sizeof(float)) != 0;
        CHECK(changed <= 1);
        free(others), free(copy.data);
    }
    free(rows), free(image.data), free(table);
}

/* Numbers far beyond those the tables were made for go through the escape, however large they are, up
 * to the end of what an index can say. */
static void escapes(void)
{
    size_t vocab = 500, dim = 24;
    float *table = gaussian_table(EXPONENTIAL, vocab, dim), *row = new_floats(dim), *back = new_floats(dim);
    static const float asked[] = {3, 8, 25};
    for (int r = 0; r < 3; r++) {
        tte_options options = table_options(TTE_ENTROPY);
        tte_image base, grown;
        tte_table t;
        double level, length = 1;
        tte_status status = TTE_OK;
        options.ratio = asked[r];
        base = make_image(table, vocab, dim, &options);
        t = open_image(&base);
        level = check_image(&base, table, vocab, dim, &options).whole;
        for (; length < 1e12 && status == TTE_OK; length *= 3) {
            tte_table u;
            float *scratch;
            for (size_t j = 0; j < dim; j++) /* in the span of what is kept: a row of the table, as read */
                row[j] = (float)(length * (double)table[j]);
            grown = sentinel_image();
            status = tte_append(&t, row, 1, &grown);
            if (status != TTE_OK)
                break;
            u = open_image(&grown);
            scratch = new_scratch(&u);
            CHECK_STATUS(tte_lookup(&u, (uint32_t)vocab, back, scratch), TTE_OK);
            CHECK_LE(row_error(row, back, dim), 4 * level + 0.05);
            CHECK_LE((double)grown.size, (double)base.size + 8 * (double)dim + 1.0 * (double)vocab + 64);
            free(scratch), tte_free(&grown);
        }
        CHECK_STATUS(status, TTE_ERR_BUDGET);
        CHECK(is_sentinel(&grown) && heap.live == 0);
        CHECK(length > 300); /* 2^21 steps, where a coefficient has some thousand of them at ratio 3 */
        free(base.data);
    }
    free(table), free(row), free(back);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_entropy");
    RUN(ratio_is_met);
    RUN(eps_is_met);
    RUN(eps_that_nobody_asked_for);
    RUN(budgets_with_outliers);
    RUN(tiny_tables_meet_ratios);
    RUN(tiny_tables_meet_eps);
    RUN(ratio_and_eps);
    RUN(excess_over_the_bound);
    RUN(better_than_four_bits);
    RUN(index_is_small);
    RUN(empty_columns_are_dropped);
    RUN(steps_follow_the_weights);
    RUN(records_stand_alone);
    RUN(escapes);
    return test_end();
}
