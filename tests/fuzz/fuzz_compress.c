/* fuzz_compress.c: small tables with any options. An input is the options, then what the numbers of the
 * table are like. What comes out is a status, or an image that opens, verifies, reads, and keeps the
 * bounds that were asked for. */
#include "../bodies.h"
#include "../harness.h"
#include "../tables.h"
#include "../golden.h"
#define FUZZ_NAME "fuzz_compress"
#include "fuzz.h"
#include "images.h"

enum { VOCAB = 90, DIM = 40, PADDED = 100 };

/* ---- an input's table and options --------------------------------------------------------------- */

typedef struct table {
    size_t vocab, dim;
    float *rows, *weights;
    int finite, ordinary;   /* no NaN or infinity; norms between 1e-15 and 1e15, or 0 */
} table;

/* Rows of floats as they come, or of one kind: few directions and noise, equal, zeros between. */
static table take_table(fuzz_input *in)
{
    table t;
    const int kind = fuzz_take_int(in, 0, 5), height = fuzz_take_int(in, 0, 15), plain = kind != 0;
    t.vocab = (size_t)fuzz_take_int(in, 1, VOCAB), t.dim = (size_t)fuzz_take_int(in, 1, DIM);
    t.rows = new_floats(t.vocab * t.dim), t.weights = new_floats(t.vocab);
    t.finite = t.ordinary = 1;
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
        for (size_t j = 0; j < t.dim; j++)
            length2 += (double)t.rows[i * t.dim + j] * (double)t.rows[i * t.dim + j];
        t.finite = t.finite && length2 < 1e300;
        t.ordinary = t.ordinary && (length2 == 0 || (length2 > 1e-30 && length2 < 1e30));
        t.weights[i] = (float)exp(2 * rng_normal());
    }
    if (fuzz_take_int(in, 0, 9) == 0)
        t.weights[t.vocab / 2] = fuzz_take_float(in);
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

static tte_options take_options(fuzz_input *in, const table *t, tte_table *like,
                                unsigned char **like_bytes)
{
    tte_options options = no_options();
    int wild = fuzz_take_int(in, 0, 15) == 0, ranks = fuzz_take_int(in, 0, 3);
    options.layout = (tte_layout)fuzz_take_int(in, 0, wild ? 2 : 1);
    options.coding = (tte_coding)fuzz_take_int(in, 0, wild ? 5 : options.layout == TTE_PER_TABLE ? 4
                                               : 3);
    options.max_rank = ranks == 0 ? fuzz_take_int(in, wild ? -2 : 1, 40) : 0;
    options.eps = take_bound(in, 1);
    options.ratio = take_bound(in, 12);
    if (fuzz_take_int(in, 0, 2) != 0) {  /* modes that cover dim, or nearly always, and not much more */
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
        if (wild && fuzz_take_int(in, 0, 3) == 0) {
            options.shape.dim[0] = options.shape.dim[1] = fuzz_take_int(in, 0, 1) ? INT32_MAX : -1;
            options.shape.modes += options.shape.modes == 1;
        }
    }
    if (fuzz_take_int(in, 0, 3) == 0)
        options.row_weight = t->weights;
    *like_bytes = NULL;
    if (fuzz_take_int(in, 0, 7) == 0) {  /* like a table made of this one, perhaps under other options */
        tte_options other = no_options();
        tte_image image;
        other.layout = options.layout;
        other.coding = (tte_coding)fuzz_take_int(in, 0, 4);
        other.max_rank = fuzz_take_int(in, 0, 10);
        if (tte_compress(t->rows, t->vocab / 2 + 1, t->dim, &other, &image) == TTE_OK) {
            image = exact_image(&image);
            *like_bytes = (unsigned char *)image.data;
            CHECK(tte_open(like, image.data, image.size) == TTE_OK);
            options.like = like;
            if (fuzz_take_int(in, 0, 3) != 0) {
                options.coding = other.coding;
                options.eps = options.ratio = 0;
                options.max_rank = options.shape.modes = 0;
            }
        }
    }
    return options;
}

/* ---- what holds ----------------------------------------------------------------------------------- */

static void check_image(const table *t, const tte_options *options, const tte_image *image)
{
    tte_table view;
    tte_info info;
    float *rows;
    double gaps = 0, total = 0, plain_gaps = 0, plain_total = 0, worst = 0;
    if (!CHECK(tte_open(&view, image->data, image->size) == TTE_OK))
        return;
    CHECK(tte_verify(&view) == TTE_OK);
    info = get_info(&view);
    CHECK(info.vocab == t->vocab && info.dim == t->dim && info.bytes == image->size);
    CHECK(info.layout == options->layout && info.coding == options->coding);
    if (options->ratio > 0)
        CHECK((double)image->size * (double)options->ratio <= (double)(t->vocab * t->dim * 4));
    if (options->max_rank > 0)
        for (int k = options->layout == TTE_PER_TABLE ? 0 : 1; k < info.shape.modes; k++)
            CHECK(info.ranks[k] <= options->max_rank);
    for (int k = 0; k < options->shape.modes && options->like == NULL; k++)
        CHECK(info.shape.dim[k] == options->shape.dim[k]);
    fuzz_read_everything(&view);
    rows = lookup_all(&view);
    for (size_t i = 0; i < t->vocab; i++) {
        const float *row = t->rows + i * t->dim;
        double gap = distance(row, rows + i * t->dim, t->dim), length = norm(row, t->dim);
        double weight = options->row_weight != NULL ? (double)t->weights[i] : 1;
        CHECK(gap < HUGE_VAL);  /* no row of a good image is anything but finite */
        gaps += weight * gap * gap, total += weight * length * length;
        plain_gaps += gap * gap, plain_total += length * length;
        if (length > 0 && gap / length > worst)
            worst = gap / length;
    }
    if (t->ordinary) {
        double whole = plain_total > 0 ? sqrt(plain_gaps / plain_total) : 0;
        CHECK_LE(fabs(whole - info.rel_error), 1e-5 + 1e-4 * whole);
        if (options->layout == TTE_PER_TOKEN)
            CHECK_LE(fabs(worst - info.max_row_error), 1e-5 + 1e-4 * worst);
    }
    if (options->eps > 0 && t->ordinary) {
        double slack = options->eps < 1e-5f ? 1e-5 : 2e-6;
        if (options->layout == TTE_PER_TOKEN)
            CHECK_LE(worst, (double)options->eps + slack);
        else if (total > 0)
            CHECK_LE(sqrt(gaps / total), (double)options->eps + slack);
    }
    free(rows);
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
    if (status == TTE_ERR_NOT_FINITE)
        CHECK(!t.ordinary);
    if (!t.finite)
        CHECK(status != TTE_OK);
    if (status == TTE_OK) {
        image = exact_image(&image);
        check_image(&t, &options, &image);
        free(image.data);
    } else {
        CHECK(is_sentinel(&image));
    }
    free(t.rows), free(t.weights), free(like_bytes);
    test.state = state;
}

static size_t fuzz_make(unsigned char *out, size_t capacity)
{
    size_t size = 0, head = 3 + (size_t)rng_int(0, 1);
    while (size < 8)
        out[size++] = (unsigned char)rng_int(0, 255);
    if (out[0] % 6 == 0) {  /* raw floats; smaller, so that they suffice */
        out[2] = (unsigned char)rng_int(0, 19);
        for (int n = rng_int(0, 400), wild = rng_int(0, 3); n > 0 && size + 4 + 40 < capacity; n--,
             size += 4) {
            float value = wild == 0 ? fuzz_number_f32() : (float)ldexp(rng_normal(), wild == 1 ? 30 : 0);
            uint32_t bits;
            memcpy(&bits, &value, sizeof bits);
            fuzz_put(out + size, 4, bits);
        }
    }
    for (head += 40; head > 0 && size < capacity; head--)
        out[size++] = (unsigned char)rng_int(0, 255);
    return size;
}
