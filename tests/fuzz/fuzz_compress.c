/* fuzz_compress.c: small tables with any options. An input is what the numbers of the table are like, then the options.
 * What comes out is a status, or an image that opens, verifies, reads, and keeps the bounds that were asked for. */
#include "../bodies.h"
#include "../harness.h"
#include "../tables.h"
#include "../golden.h"
#define FUZZ_NAME "fuzz_compress"
#include "fuzz.h"
#include "images.h"

enum { MOST_ROWS = 90, MOST_COLUMNS = 40, PADDED = 100 };

/* ---- an input's table and options --------------------------------------------------------------- */

typedef struct table {
    size_t vocab, dim;
    float *rows, *weights, *metric;
    int finite, ordinary;   /* no NaN or infinity; norms between 1e-15 and 1e15, or 0 */
    int fair;               /* weights and metric are what they should be             */
} table;

/* Rows of floats as they come, or of one kind: few directions and noise, equal, zeros between; weights; a metric. */
static table take_table(fuzz_input *in)
{
    table t;
    const int kind = fuzz_take_int(in, 0, 5), height = fuzz_take_int(in, 0, 15), plain = kind != 0;
    const int rank = fuzz_take_int(in, 1, 7), damage = fuzz_take_int(in, 0, 39);
    t.vocab = (size_t)fuzz_take_int(in, 1, MOST_ROWS), t.dim = (size_t)fuzz_take_int(in, 1, MOST_COLUMNS);
    t.rows = new_floats(t.vocab * t.dim), t.weights = new_floats(t.vocab), t.metric = new_floats(t.dim * t.dim);
    t.finite = t.ordinary = t.fair = 1;
    test.state = fuzz_take(in, 4);
    for (size_t i = 0; i < t.vocab; i++) {
        double a = rng_normal(), b = rng_normal(), length2 = 0;
        for (size_t j = 0; j < t.dim; j++) {
            double noise = rng_normal(), wave = a * sin((double)(j + 1)) + b * cos(0.3 * (double)j);
            double value = kind == 1 ? noise : kind == 2 ? wave : kind == 3 ? wave + 0.1 * noise
                         : kind == 4 ? (double)(j % 5) : i % 3 == 0 ? 0 : (double)rng_int(-2, 2);
            if (height == 1) value *= 1e-20;
            if (height == 2) value *= 1e20;
            if (height == 3) value *= pow(10, (double)(i % 13) - 6);
            if (height == 4) value *= pow(10, 2 * (double)(i % 37) - 36);
            if (height == 5) value += 1000;
            t.rows[i * t.dim + j] = plain ? (float)value : fuzz_take_float(in);
        }
        length2 = dot(t.rows + i * t.dim, t.rows + i * t.dim, t.dim);
        t.finite = t.finite && length2 < 1e300;
        t.ordinary = t.ordinary && (length2 == 0 || (length2 > 1e-30 && length2 < 1e30));
        t.weights[i] = (float)exp((1 + 9 * (damage == 3)) * rng_normal());
    }
    random_metric(t.metric, t.dim, t.dim < (size_t)rank ? t.dim : (size_t)rank * (size_t)rank);
    if (damage == 0) t.weights[t.vocab / 2] = fuzz_take_float(in), t.fair = 0;
    if (damage == 1) t.metric[t.dim * t.dim / 2] = fuzz_take_float(in), t.fair = 0;
    for (size_t i = 0; i < t.dim * t.dim && damage == 2; i++)  /* of any height, or nothing at all */
        t.metric[i] *= height % 2 ? 1e18f : height == 4 ? 0 : 1e-18f;
    return t;
}

/* A float between 0 and `most`, or now and then any float. */
static float take_bound(fuzz_input *in, float most)
{
    int how = fuzz_take_int(in, 0, 255);
    if (how < 100) return 0;
    if (how < 110) return fuzz_take_float(in);
    return (float)(1 + fuzz_take_int(in, 0, 253)) / 254.0f * most;
}

static tte_options take_options(fuzz_input *in, const table *t, tte_table *like, unsigned char **like_bytes)
{
    tte_options options = no_options();
    const int wild = fuzz_take_int(in, 0, 15) == 0, per_token = fuzz_take_int(in, 0, 3) == 0;
    const int effort = fuzz_take_int(in, 0, 63), what = fuzz_take_int(in, 0, 255);
    options.layout = (tte_layout)(wild ? fuzz_take_int(in, 0, 3) : per_token ? TTE_PER_TOKEN : what % 2);
    options.coding = (tte_coding)(wild ? fuzz_take_int(in, 0, 6) : per_token ? fuzz_take_int(in, 0, 4) : what % 3 ? 0 : 5);
    options.effort = wild ? effort - 2 : per_token ? 0 : effort == 0 && t->vocab * t->dim < 400 ? 9 : 1 + effort % 3;
    options.eps = take_bound(in, 1);
    options.ratio = take_bound(in, 12);
    if (per_token || wild) {
        options.max_rank = what % 4 == 0 ? fuzz_take_int(in, wild ? -2 : 1, 40) : 0;
        if (what % 3 != 0) {  /* modes that cover dim, or nearly always, and not much more */
            size_t product = 1;
            options.shape.modes = fuzz_take_int(in, 1, wild ? 17 : 5);
            for (int k = 0; k < options.shape.modes && k < TTE_MAX_MODES; k++) {
                int32_t mode = fuzz_take_int(in, wild ? 0 : 1, 8);
                if (product * (size_t)mode > PADDED) mode = 1;
                options.shape.dim[k] = mode;
                product *= (size_t)mode;
            }
            if (product < t->dim && !wild)
                options.shape.dim[0] *= (int32_t)(t->dim / product + 1);
            if (wild && what % 5 == 0)
                options.shape.dim[0] = options.shape.dim[1] = what % 7 ? INT32_MAX : -1;
        }
    }
    *like_bytes = NULL;
    if (per_token && !wild)
        return options;
    if (what / 16 % 3 == 0) options.row_weight = t->weights;
    if (what / 16 % 4 == 0) options.metric = t->metric;
    if (what / 64 == 0) {  /* like a table made of this one under other options */
        tte_options other = no_options();
        tte_image image;
        other.layout = TTE_PER_TABLE, other.effort = 1, other.ratio = 0.2f + (float)(what % 64) / 16;
        if (tte_compress(t->rows, t->vocab / 2 + 1, t->dim, &other, &image) == TTE_OK) {
            image = exact_image(&image);
            *like_bytes = (unsigned char *)image.data;
            CHECK(tte_open(like, image.data, image.size) == TTE_OK);
            options.like = like;
            if (!wild) options.eps = options.ratio = 0, options.effort = 0;
        }
    }
    return options;
}

/* ---- what holds ----------------------------------------------------------------------------------- */

/* (|x|^2 + |e|^2) trace M / x M x' of the table x and its errors e. */
static double seen_seldom(const table *t, const float *rows, const tte_options *options)
{
    double whole = 0, seen = 0, trace = 0;
    for (size_t j = 0; j < t->dim; j++) trace += (double)t->metric[j * t->dim + j];
    for (size_t i = 0; i < t->vocab; i++) {
        const double weight = options->row_weight != NULL ? (double)options->row_weight[i] : 1;
        whole += weight * energy(t->rows + i * t->dim, NULL, t->dim, NULL);
        whole += weight * energy(t->rows + i * t->dim, rows + i * t->dim, t->dim, NULL);
        seen += weight * energy(t->rows + i * t->dim, NULL, t->dim, options->metric);
    }
    return seen > 0 ? whole * trace / seen : 0;
}

static void check_bounds(const table *t, const tte_options *options, const tte_image *image)
{
    tte_table view;
    tte_info info;
    float *rows;
    errors e;
    int per_token;
    if (!CHECK(tte_open(&view, image->data, image->size) == TTE_OK))
        return;
    CHECK(tte_verify(&view) == TTE_OK);
    info = get_info(&view), per_token = info.layout == TTE_PER_TOKEN;
    CHECK(info.vocab == t->vocab && info.dim == t->dim && info.bytes == image->size);
    CHECK(options->layout == TTE_LAYOUT_AUTO || info.layout == options->layout);
    CHECK(options->coding == TTE_CODING_AUTO || info.coding == options->coding);
    if (options->ratio > 0)
        CHECK((double)image->size * (double)options->ratio <= (double)(t->vocab * t->dim * 4));
    for (int k = 1; k < info.shape.modes && options->max_rank > 0; k++)
        CHECK(info.ranks[k] <= options->max_rank);
    for (int k = 0; k < options->shape.modes; k++)
        CHECK(info.shape.dim[k] == options->shape.dim[k]);
    fuzz_read_everything(&view);
    rows = lookup_all(&view);
    e = measure_in(t->rows, rows, t->vocab, t->dim, options->row_weight, options->metric);
    for (size_t i = 0; i < t->vocab * t->dim; i++)
        CHECK(fabs((double)rows[i]) <= (double)FLT_MAX);
    if (!(e.weighted >= 0)) e.weighted = 0; /* rounding of x M x' */
    CHECK_LE(fabs(e.whole - info.rel_error), 1e-6 * e.whole);
    CHECK_LE(fabs(e.worst - info.max_row_error), 1e-6 * e.worst);
    if (options->metric == NULL || (t->ordinary && t->fair)) {  /* entries of a metric are rounded */
        const double slack = options->metric == NULL ? 0 : 2e-6;
        /* x M x' is a sum of floats, as is e M e' */
        const double rounding = options->metric == NULL ? 0
            : 1e-5 + 1e-8 * seen_seldom(t, rows, options) * (1 + e.weighted * e.weighted);
        if (!per_token)
            CHECK_LE(fabs(e.weighted * e.weighted - info.weighted_error * info.weighted_error),
                     rounding + (options->metric == NULL ? 2e-6 : 2e-3) * e.weighted * e.weighted);
        if (options->eps > 0)
            CHECK_LE(per_token ? e.worst : e.weighted, (double)options->eps * (1 + 1e-6) + slack);
    }
    free(rows);
}

/* "The smallest image that would do" does. */
static void check_smallest(const table *t, const tte_options *asked, size_t size)
{
    tte_options options = *asked;
    tte_image image = sentinel_image();
    tte_status status;
    options.ratio = (float)((double)(4 * t->vocab * t->dim) / (double)size * (1 - 1e-6));
    status = tte_compress(t->rows, t->vocab, t->dim, &options, &image);
    if (CHECK(status == TTE_OK)) {
        CHECK(image.size <= size);
        tte_free(&image);
    } else {
        fprintf(stderr, "    %u bytes would do, it said; and now %s, %u\n", (unsigned)size, test_status_name(status),
                (unsigned)image.size);
    }
}

/* Trained on the first rows, all counted and fitted: the whole table, coded like it, has the ratio. */
static void check_sampled(const table *t, const tte_options *asked)
{
    uint64_t *levels = (uint64_t *)test_alloc(TTE_LEVELS * sizeof *levels), counted = 0;
    const size_t count = 1 + t->vocab / 3;
    tte_options options = *asked, by = no_options();
    tte_image draft = sentinel_image(), fitted = draft, image = draft;
    tte_table like;
    memory_rows all = {t->rows, t->dim};
    tte_status status = tte_train_sample(rows_from_memory, &all, count, t->vocab, t->dim, &options, &draft);
    memset(levels, 0, TTE_LEVELS * sizeof *levels);
    if (!CHECK(status == TTE_OK || is_sentinel(&draft) || (status == TTE_ERR_BUDGET && draft.data == NULL)) || status != TTE_OK) {
        free(levels);
        return;
    }
    draft = exact_image(&draft);
    require(tte_open(&like, draft.data, draft.size), "tte_open");
    by.like = &like, by.row_weight = options.row_weight, by.metric = options.metric;
    CHECK(tte_count(rows_from_memory, &all, t->vocab, t->dim, &by, levels) == TTE_OK || !t->ordinary);
    for (int i = 0; i < TTE_LEVELS; i++) counted += levels[i];
    CHECK(counted == t->vocab || !t->ordinary);
    status = counted == t->vocab ? tte_fit(&like, levels, options.ratio, &fitted) : TTE_ERR_NOT_FINITE;
    if (status == TTE_OK) {
        fitted = exact_image(&fitted);
        require(tte_open(&like, fitted.data, fitted.size), "tte_open");
        status = tte_compress(t->rows, t->vocab, t->dim, &by, &image);
        /* a row 1e30 times longer than all that the sample shows is beyond float in its units */
        CHECK(status == TTE_OK || (status == TTE_ERR_NOT_FINITE && !t->ordinary && is_sentinel(&image)));
        if (status == TTE_OK) {
            CHECK_LE((double)image.size * (double)options.ratio, (double)(4 * t->vocab * t->dim));
            tte_free(&image);
        }
        free(fitted.data);
    } else {
        CHECK(is_sentinel(&fitted) || (status == TTE_ERR_BUDGET && fitted.data == NULL));
    }
    CHECK(heap.live == 0);
    free(draft.data), free(levels);
}

static void fuzz_one(const unsigned char *data, size_t size)
{
    fuzz_input in = {data, size};
    uint64_t state = test.state;
    table t = take_table(&in);
    tte_table like;
    unsigned char *like_bytes;
    tte_options options = take_options(&in, &t, &like, &like_bytes);
    tte_image image = sentinel_image();
    tte_status status = tte_compress(t.rows, t.vocab, t.dim, &options, &image);
    CHECK(status == TTE_OK || status == TTE_ERR_ARGUMENT || status == TTE_ERR_SHAPE
          || status == TTE_ERR_NOT_FINITE || status == TTE_ERR_BUDGET);
    CHECK(heap.live == (status == TTE_OK));
    if (status == TTE_ERR_NOT_FINITE)
        CHECK(!t.ordinary);
    if (!t.finite)
        CHECK(status != TTE_OK);
    if (status == TTE_OK) {
        image = exact_image(&image);
        check_bounds(&t, &options, &image);
        free(image.data);
        if (options.layout == TTE_PER_TABLE && options.like == NULL && options.ratio > 0 && !(options.eps > 0))
            check_sampled(&t, &options);
    } else {
        CHECK(is_sentinel(&image) || (status == TTE_ERR_BUDGET && image.data == NULL));
    }
    if (status == TTE_ERR_BUDGET && image.data == NULL && image.size > 0 && image.size < SIZE_MAX / 2 && options.eps == 0 && options.layout != TTE_PER_TOKEN && options.max_rank == 0 && options.shape.modes == 0)
        check_smallest(&t, &options, image.size);
    if (test.bad > 0)
        fprintf(stderr, "    %u x %u, layout %d, coding %d, ratio %g, eps %g, effort %d, rank %d, %d modes%s%s%s: %s\n", (unsigned)t.vocab,
                (unsigned)t.dim, options.layout, options.coding, (double)options.ratio, (double)options.eps,
                options.effort, options.max_rank, options.shape.modes, options.row_weight != NULL ? ", weights" : "", options.metric != NULL ? ", metric" : "",
                options.like != NULL ? ", like" : "", test_status_name(status));
    free(t.rows), free(t.weights), free(t.metric), free(like_bytes);
    test.state = state;
}

static size_t fuzz_make(unsigned char *out, size_t capacity)
{
    size_t size = 0, tail = 60;
    while (size < 10)
        out[size++] = (unsigned char)rng_int(0, 255);
    if (out[0] % 6 == 0) {  /* raw floats; fewer rows, so that they suffice */
        out[4] = (unsigned char)rng_int(0, 19);
        for (int n = rng_int(0, 400), wild = rng_int(0, 3); n > 0 && size + 4 + tail < capacity; n--, size += 4) {
            float value = wild == 0 ? fuzz_number_f32() : (float)ldexp(rng_normal(), wild == 1 ? 30 : 0);
            uint32_t bits;
            memcpy(&bits, &value, sizeof bits);
            put_number(out + size, 4, bits);
        }
    }
    for (; tail > 0 && size < capacity; tail--)
        out[size++] = (unsigned char)rng_int(0, 255);
    return size;
}
