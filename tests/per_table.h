/* per_table.h: settings, tables and checks for the tests of TTE_PER_TABLE. Include it after
 * counted_heap.h, tt_embed.h, harness.h and tables.h. */
#ifndef TEST_PER_TABLE_H
#define TEST_PER_TABLE_H

enum { CODINGS = 5 };
static const tte_coding all_codings[CODINGS] = {TTE_F32, TTE_F16, TTE_I8, TTE_I4, TTE_ENTROPY};

static inline tte_options table_options(tte_coding coding)
{
    tte_options options = no_options();
    options.layout = TTE_PER_TABLE;
    options.coding = coding;
    return options;
}

/* Settings of every kind, on a table of 300 x DIM or so. */
enum { DIM = 21, SETTINGS = 25 };

static inline tte_options setting(int number)
{
    static const float eps[CODINGS] = {0.1f, 0.1f, 0.2f, 0.4f, 0.05f};
    static const int dims[2] = {4, 6}; /* three places of padding */
    tte_options options = table_options(all_codings[number % CODINGS]);
    switch (number / CODINGS) {
    case 1: options.ratio = options.coding == TTE_F32 ? 1.5f : 2.5f; break;
    case 2: options.eps = eps[number % CODINGS]; break;
    case 3: options.max_rank = 9; options.eps = options.coding == TTE_ENTROPY ? 0.5f : 0; break;
    case 4: options.shape = make_shape(2, dims); break;
    }
    return options;
}

/* ---- tables ---------------------------------------------------------------------------------- */

enum { GAUSSIAN, DECAYING, LOW_RANK, BIG_MEAN, CONSTANT, ZERO, EQUAL_ROWS, SPARSE, UNEVEN, TABLES };

/* Rows x becomes x - 2 <v, x> v with a unit vector v: every column takes part in every direction. */
static inline void reflect_rows(float *table, size_t vocab, size_t dim)
{
    float *v = random_floats(dim);
    double length2 = dot(v, v, dim);
    for (size_t t = 0; t < vocab; t++) {
        double twice = 2 * dot(table + t * dim, v, dim) / length2;
        for (size_t j = 0; j < dim; j++)
            table[t * dim + j] -= (float)(twice * (double)v[j]);
    }
    free(v);
}

static inline float *make_table(int kind, size_t vocab, size_t dim)
{
    float *table = random_floats(vocab * dim), *base = random_floats(3 * dim);
    for (size_t t = 0; t < vocab; t++) {
        float *row = table + t * dim;
        double length = pow(10, 6 * rng_uniform() - 3), a = rng_normal(), b = rng_normal();
        for (size_t j = 0; j < dim; j++)
            switch (kind) {
            case DECAYING:   row[j] *= (float)(exp(-3.0 * (double)j / (double)dim)); break;
            case LOW_RANK:   row[j] = (float)(a * (double)base[j] + b * (double)base[dim + j]); break;
            case BIG_MEAN:   row[j] += 100 * base[j]; break;
            case CONSTANT:   row[j] = base[j]; break;
            case ZERO:       row[j] = 0; break;
            case EQUAL_ROWS: row[j] = table[t % 5 * dim + j]; break;
            case SPARSE:     row[j] = rng_int(0, 19) == 0 ? row[j] : 0; break;
            case UNEVEN:     row[j] *= (float)length; break;
            }
    }
    if (kind == DECAYING)
        reflect_rows(table, vocab, dim);
    free(base);
    return table;
}

/* ---- what holds for every image -------------------------------------------------------------- */

/* Relative errors: of all rows, of the worst one (a row of zeros has none), of all rows by weight. */
typedef struct measured { double whole, worst, weighted; } measured;

static inline double largest_norm(const float *rows, size_t vocab, size_t dim)
{
    double largest = 0;
    for (size_t t = 0; t < vocab; t++)
        largest = fmax(largest, norm(rows + t * dim, dim));
    return largest;
}

static inline measured measure_rows(const float *table, const float *rows, size_t vocab, size_t dim,
                             const float *weights)
{
    measured m = {0, 0, 0};
    double sums[4] = {0, 0, 0, 0};
    for (size_t t = 0; t < vocab; t++) {
        const float *row = table + t * dim;
        double weight = weights != NULL ? (double)weights[t] : 1;
        double gap = distance(row, rows + t * dim, dim), length = norm(row, dim);
        sums[0] += gap * gap, sums[1] += length * length;
        sums[2] += weight * gap * gap, sums[3] += weight * length * length;
        if (length > 0 && !(gap / length <= m.worst))
            m.worst = gap / length;
    }
    m.whole = sqrt(sums[0] / (sums[1] > 0 ? sums[1] : 1));
    m.weighted = sqrt(sums[2] / (sums[3] > 0 ? sums[3] : 1));
    return m;
}

/* Opens an image of `table` and compares what it says of itself with what its rows show. Rounding in
 * float is relative to the largest rows, which a short one feels. */
static inline measured check_image(const tte_image *image, const float *table, size_t vocab, size_t dim,
                            const tte_options *options)
{
    tte_table t = open_image(image);
    tte_info info = get_info(&t);
    float *rows = lookup_all(&t);
    measured m = measure_rows(table, rows, vocab, dim, options->row_weight);
    double numbers = info.ranks[0], entries = 0, largest = largest_norm(table, vocab, dim), rounding = 0;
    int modes = info.shape.modes;
    for (size_t i = 0; i < vocab; i++)
        if (norm(table + i * dim, dim) > 0)
            rounding = fmax(rounding, 1e-6 * largest / norm(table + i * dim, dim));
    CHECK(info.vocab == vocab && info.dim == dim && info.bytes == image->size);
    CHECK(info.layout == TTE_PER_TABLE && info.coding == options->coding);
    CHECK_LE(fabs(info.ratio * (double)info.bytes - 4.0 * (double)vocab * (double)dim), 1e-3);
    CHECK(modes >= 1 && modes <= TTE_MAX_MODES && shape_size(&info.shape) >= dim);
    if (options->shape.modes > 0) {
        CHECK(modes == options->shape.modes);
        CHECK(memcmp(info.shape.dim, options->shape.dim,
                     (size_t)modes * sizeof info.shape.dim[0]) == 0);
    }
    CHECK(info.ranks[modes] == 1 && (size_t)info.ranks[0] <= dim);
    CHECK(options->max_rank == 0 || info.ranks[0] <= options->max_rank);
    for (int k = 0; k < modes; k++) {
        CHECK(info.ranks[k] >= 1);
        CHECK(k == 0 || options->max_rank == 0 || info.ranks[k] <= options->max_rank);
        entries += (double)info.ranks[k] * (double)info.shape.dim[k] * (double)info.ranks[k + 1];
    }
    CHECK_LE(fabs(info.mean_numbers - numbers - entries / (double)vocab), 1e-9 * info.mean_numbers);
    CHECK_LE(fabs(info.rel_error - m.whole), 1e-6 * m.whole + 2e-7);
    CHECK_LE(fabs(info.max_row_error - m.worst), 1e-6 * m.worst + rounding);
    free(rows);
    return m;
}

/* An image in a block of the exact size; 0 and a failed check when there is none. */
static inline int try_image(const float *table, size_t vocab, size_t dim, const tte_options *options,
                            tte_image *image)
{
    *image = sentinel_image();
    if (!CHECK_STATUS(tte_compress(table, vocab, dim, options, image), TTE_OK))
        return 0;
    *image = exact_image(image);
    return 1;
}

static inline measured compress_and_check(const float *table, size_t vocab, size_t dim,
                                   const tte_options *options)
{
    tte_image image = make_image(table, vocab, dim, options);
    measured m = check_image(&image, table, vocab, dim, options);
    free(image.data);
    return m;
}

static inline tte_info info_of(const tte_image *image)
{
    tte_table t = open_image(image);
    return get_info(&t);
}

static inline void check_refused(const float *table, size_t vocab, size_t dim,
                                 const tte_options *options, tte_status want)
{
    tte_image image = sentinel_image();
    CHECK_STATUS(tte_compress(table, vocab, dim, options, &image), want);
    CHECK(is_sentinel(&image) && heap.live == 0);
}

static inline int same_rows(const tte_image *a, size_t first_a, const tte_image *b, size_t first_b,
                            size_t count)
{
    tte_table ta = open_image(a), tb = open_image(b);
    size_t dim = get_info(&ta).dim;
    float *rows_a = lookup_all(&ta), *rows_b = lookup_all(&tb);
    int same = memcmp(rows_a + first_a * dim, rows_b + first_b * dim, count * dim * sizeof(float)) == 0;
    free(rows_a), free(rows_b);
    return same;
}

/* ---- settings that refer to other arrays ----------------------------------------------------- */

/* Every tenth row is heavy and has directions of its own. */
static inline float *weighted_table(size_t vocab, size_t dim, float *weights)
{
    float *table = random_floats(vocab * dim);
    for (size_t t = 0; t < vocab; t++) {
        weights[t] = t % 10 == 3 ? 64.0f : 1.0f;
        for (size_t j = 0; j < dim; j++)
            table[t * dim + j] *= (j < dim / 4) == (t % 10 == 3) ? 1.0f : 0.25f;
    }
    reflect_rows(table, vocab, dim);
    return table;
}

/* Settings with what refers to other arrays: number SETTINGS weighs rows, the ones after take another
 * table as a pattern. */
enum { ALL_SETTINGS = SETTINGS + 2 * CODINGS };

static inline tte_options full_setting(int number, const float *weights, const tte_table *like)
{
    tte_options options = setting(number < SETTINGS ? number : (number - SETTINGS) % CODINGS);
    if (number >= SETTINGS && number < SETTINGS + CODINGS)
        options.row_weight = weights;
    if (number >= SETTINGS + CODINGS)
        options.like = like;
    return options;
}

/* One table, and images of its first rows in every coding to be taken as patterns. */
typedef struct patterns {
    size_t vocab;
    float *table, *weights;
    tte_image image[CODINGS];
    tte_table view[CODINGS];
} patterns;

static inline patterns make_patterns(size_t vocab)
{
    patterns p;
    p.vocab = vocab;
    p.table = make_table(DECAYING, vocab, DIM);
    p.weights = new_floats(vocab);
    for (size_t t = 0; t < vocab; t++)
        p.weights[t] = (float)exp(2 * rng_normal());
    for (int c = 0; c < CODINGS; c++) {
        tte_options options = table_options(all_codings[c]);
        p.image[c] = make_image(p.table, vocab / 2, DIM, &options);
        p.view[c] = open_image(&p.image[c]);
    }
    return p;
}

static inline void free_patterns(patterns *p)
{
    for (int c = 0; c < CODINGS; c++)
        free(p->image[c].data);
    free(p->table), free(p->weights);
}

#endif
