/* tables.h: tables, options and images for the test programs. Include it after tt_embed.h and harness.h. */
#ifndef TEST_TABLES_H
#define TEST_TABLES_H

/* ---- tables ---------------------------------------------------------------------------------- */

enum { GAUSSIAN, DECAYING, LOW_RANK, BIG_MEAN, CLUSTERS, ZERO, EQUAL_ROWS, SPARSE, UNEVEN, OUTLIERS,
       CONSTANT_COLUMNS, HEAVY_TAILS, SUBNORMAL, HUGE_NUMBERS, TABLES };

/* Rows x becomes x - 2 <v, x> v with a unit vector v: every column takes part in every direction. */
static inline void reflect_rows(float *table, size_t vocab, size_t dim)
{
    float *v = random_floats(dim);
    double length2 = dot(v, v, dim);
    for (size_t t = 0; t < vocab; t++) {
        double twice = 2 * dot(table + t * dim, v, dim) / length2;
        for (size_t j = 0; j < dim; j++) table[t * dim + j] -= (float)(twice * (double)v[j]);
    }
    free(v);
}

static inline float *make_table(int kind, size_t vocab, size_t dim)
{
    float *table = random_floats(vocab * dim), *base = random_floats(7 * dim);
    for (size_t t = 0; t < vocab; t++) {
        float *row = table + t * dim;
        double length = pow(10, 6 * rng_uniform() - 3), a = rng_normal(), b = rng_normal();
        for (size_t j = 0; j < dim; j++)
            switch (kind) {
            case DECAYING:   row[j] *= (float)(exp(-3.0 * (double)j / (double)dim)); break;
            case LOW_RANK:   row[j] = (float)(a * (double)base[j] + b * (double)base[dim + j]); break;
            case BIG_MEAN:   row[j] += 100 * base[j]; break;
            case CLUSTERS:   row[j] = base[t * 5 % 7 * dim + j] + 0.1f * row[j]; break;
            case ZERO:       row[j] = 0; break;
            case EQUAL_ROWS: row[j] = table[t % 5 * dim + j]; break;
            case SPARSE:     row[j] = rng_int(0, 19) == 0 ? row[j] : j % 2 ? 0.0f : -0.0f; break;
            case UNEVEN:     row[j] *= (float)length; break;
            case OUTLIERS:   row[j] *= j % 9 == 4 ? 40.0f : t % 50 == 7 ? 300.0f : 1.0f; break;
            case CONSTANT_COLUMNS: row[j] = j % 3 == 1 ? base[j] : j % 3 == 2 ? 0 : row[j]; break;
            case HEAVY_TAILS: row[j] *= (float)exp(1.5 * rng_normal()); break;
            case SUBNORMAL:  row[j] *= 1e-40f; break;
            case HUGE_NUMBERS: row[j] = (float)(3e37 * tanh((double)row[j])); break;
            default: break;
            }
    }
    if (kind == DECAYING) reflect_rows(table, vocab, dim);
    free(base);
    return table;
}

/* Sinusoids of random frequency and phase: exact rank 2 in every shape. */
static inline float *smooth_table(size_t vocab, size_t dim)
{
    float *table = new_floats(vocab * dim);
    for (size_t t = 0; t < vocab; t++) {
        double frequency = 0.05 + 2.5 * rng_uniform(), phase = 6.28 * rng_uniform();
        double height = 0.5 + rng_uniform();
        for (size_t j = 0; j < dim; j++)
            table[t * dim + j] = (float)(height * sin(frequency * (double)j + phase));
    }
    return table;
}

/* Some structure, some noise, lengths that differ, a row of zeros, two equal rows. */
static inline float *mixed_table(size_t vocab, size_t dim)
{
    float *table = smooth_table(vocab, dim);
    for (size_t t = 0; t < vocab; t++) {
        double noise = 0.3 * rng_uniform(), length = exp(rng_normal());
        for (size_t j = 0; j < dim; j++)
            table[t * dim + j] = (float)(length * ((double)table[t * dim + j] + noise * rng_normal()));
    }
    for (size_t j = 0; j < dim && vocab > 4; j++) {
        table[2 * dim + j] = 0;
        table[(vocab - 1) * dim + j] = table[1 * dim + j];
    }
    return table;
}

/* ---- errors ---------------------------------------------------------------------------------- */

/* Relative errors: of all rows, of the worst one (a row of zeros has none), of all in weights and metric. */
typedef struct errors { double whole, worst, weighted; } errors;

static inline double row_error(const float *want, const float *got, size_t dim)
{
    double length = norm(want, dim), gap = distance(want, got, dim);
    return length > 0 ? gap / length : gap > 0 ? HUGE_VAL : 0;
}

/* x metric x', x = a - b (b may be NULL). */
static inline double energy(const float *a, const float *b, size_t dim, const float *metric)
{
    double sum = 0;
    for (size_t i = 0; i < dim; i++) {
        double x = (double)a[i] - (b != NULL ? (double)b[i] : 0), part = metric == NULL ? x : 0;
        for (size_t j = 0; metric != NULL && j < dim; j++)
            part += (double)metric[i * dim + j] * ((double)a[j] - (b != NULL ? (double)b[j] : 0));
        sum += x * part;
    }
    return sum;
}

static inline errors measure_in(const float *table, const float *rows, size_t vocab, size_t dim,
                                const float *weights, const float *metric)
{
    errors e = {0, 0, 0};
    double sums[4] = {0, 0, 0, 0};
    for (size_t t = 0; t < vocab; t++) {
        const float *row = table + t * dim, *back = rows + t * dim;
        double weight = weights != NULL ? (double)weights[t] : 1;
        double gap = energy(row, back, dim, NULL), length = energy(row, NULL, dim, NULL);
        sums[0] += gap, sums[1] += length;
        sums[2] += weight * (metric != NULL ? energy(row, back, dim, metric) : gap);
        sums[3] += weight * (metric != NULL ? energy(row, NULL, dim, metric) : length);
        if (length > 0 && !(sqrt(gap / length) <= e.worst)) e.worst = sqrt(gap / length);
    }
    e.whole = sqrt(sums[0] / (sums[1] > 0 ? sums[1] : 1));
    e.weighted = sqrt(sums[2] / (sums[3] > 0 ? sums[3] : 1));
    return e;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Ends the program where the cases that follow would say nothing. */
static inline void require(tte_status status, const char *what)
{
    if (status != TTE_OK) {
        fprintf(stderr, "%s: %s answered %s, in %s; cannot go on\n", test.name, what,
                test_status_name(status), test.running);
        exit(2);
    }
}

static inline tte_table open_image(const tte_image *image)
{
    tte_table t;
    require(tte_open(&t, image->data, image->size), "tte_open");
    CHECK_STATUS(tte_verify(&t), TTE_OK);
    return t;
}

static inline tte_info get_info(const tte_table *t)
{
    tte_info info;
    memset(&info, 0xA5, sizeof info);
    require(tte_get_info(t, &info), "tte_get_info");
    return info;
}

static inline float *new_scratch(const tte_table *t) { return new_floats(tte_scratch_len(t)); }

/* All rows by tte_lookup, each into a block of its own length. */
static inline float *lookup_all(const tte_table *t)
{
    tte_info info = get_info(t);
    float *rows = new_floats(info.vocab * info.dim), *row = new_floats(info.dim);
    float *scratch = new_scratch(t);
    for (size_t token = 0; token < info.vocab; token++) {
        CHECK_STATUS(tte_lookup(t, (uint32_t)token, row, scratch), TTE_OK);
        memcpy(rows + token * info.dim, row, info.dim * sizeof(float));
    }
    free(scratch), free(row);
    return rows;
}

/* Every reading call on a view, in buffers of the exact size: for views whose bytes may be
 * anything, so that a sanitizer sees what they make the library touch. */
static inline void use_everything(const tte_table *t)
{
    tte_info info = get_info(t);
    uint32_t tokens[4], best[2], last = (uint32_t)info.vocab - 1;
    float scores[2], *row, *rows, *logits, *scratch, inner;
    (void)tte_verify(t);
    CHECK(tte_scratch_len(t) <= 16 * info.dim + 1024);
    if (info.dim > 100000 || info.vocab > 100000 || info.vocab == 0)
        return; /* a claim nobody would allocate for, or no rows */
    row = new_floats(info.dim), rows = new_floats(4 * info.dim), logits = new_floats(info.vocab);
    scratch = new_scratch(t);
    for (uint32_t i = 0; i < 4; i++) tokens[i] = (uint32_t)((size_t)last * i / 3);
    for (int i = 0; i < 4; i++) CHECK_STATUS(tte_lookup(t, tokens[i], row, scratch), TTE_OK);
    CHECK_STATUS(tte_lookup_batch(t, tokens, 4, rows, scratch), TTE_OK);
    for (size_t j = 0; j < info.dim; j++) row[j] = (float)(j % 5) - 2;
    CHECK_STATUS(tte_logits(t, row, 0, (uint32_t)info.vocab, logits, scratch), TTE_OK);
    CHECK_STATUS(tte_top_k(t, row, last > 0 ? 2 : 1, best, scores, scratch), TTE_OK);
    CHECK_STATUS(tte_inner_tokens(t, tokens[0], tokens[1], &inner, scratch), TTE_OK);
    CHECK_STATUS(tte_lookup(t, last + 1, row, scratch), TTE_ERR_RANGE);
    free(scratch), free(logits), free(rows), free(row);
}

/* Whether two rows have the same bits; which of two NaN a sum gives is the compiler's choice. */
static inline int same_floats(const float *a, const float *b, size_t count)
{
    uint32_t x, y;
    for (size_t j = 0; j < count; j++) {
        memcpy(&x, a + j, sizeof x), memcpy(&y, b + j, sizeof y);
        if (x != y && !((x & 0x7FFFFFFF) > 0x7F800000 && (y & 0x7FFFFFFF) > 0x7F800000)) return 0;
    }
    return 1;
}

static inline int same_image(const tte_image *a, const tte_image *b)
{
    return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

/* An image that a failed call must leave as it is. */
static inline tte_image sentinel_image(void)
{
    tte_image image;
    memset(&image, 0xA5, sizeof image);
    return image;
}

static inline int is_sentinel(const tte_image *image)
{
    tte_image fresh = sentinel_image();
    return image->data == fresh.data && image->size == fresh.size;
}

#ifndef TT_EMBED_READ_ONLY

/* ---- options --------------------------------------------------------------------------------- */

static inline tte_options no_options(void)
{
    tte_options options;
    memset(&options, 0, sizeof options);
    return options;
}

/* TTE_PER_TOKEN: a coding, a rank cap or an eps, and a shape (NULL: the library's choice). */
static inline tte_options make_options(tte_coding coding, int max_rank, float eps, const tte_shape *shape)
{
    tte_options options = no_options();
    options.layout = TTE_PER_TOKEN;
    options.coding = coding;
    options.max_rank = max_rank;
    options.eps = eps;
    if (shape != NULL) options.shape = *shape;
    return options;
}

/* TTE_PER_TABLE: at a ratio or an eps, with few states. */
static inline tte_options table_options(float ratio, float eps)
{
    tte_options options = no_options();
    options.layout = TTE_PER_TABLE;
    options.coding = TTE_TRELLIS;
    options.ratio = ratio;
    options.eps = eps;
    options.effort = 1;
    return options;
}

enum { CODINGS = 4 };
static const tte_coding all_codings[CODINGS] = {TTE_F32, TTE_F16, TTE_I8, TTE_I4};

/* Rows in memory, for calls that take them from a function. */
typedef struct memory_rows {
    const float *rows;
    size_t dim;
} memory_rows;

static inline int rows_from_memory(void *user, size_t first, size_t count, float *dst)
{
    const memory_rows *from = (const memory_rows *)user;
    memcpy(dst, from->rows + first * from->dim, count * from->dim * sizeof *dst);
    return 0;
}

/* A table with all that options may refer to, and settings of every kind for it. */
enum { DIM = 21, WEIGHTS = 1, METRIC = 2, LIKE = 4 };

typedef struct fixture {
    size_t vocab;
    float *table, *weights, metric[DIM * DIM];
    tte_image base; /* of the first half of the rows, in weights and metric */
    tte_table like;
} fixture;

static const struct {
    tte_layout layout;
    tte_coding coding;
    float ratio, eps;
    int32_t max_rank, modes, effort, with;
} settings[] = {
    {TTE_PER_TABLE, TTE_TRELLIS, 4, 0, 0, 0, 1, 0},
    {TTE_PER_TABLE, TTE_TRELLIS, 0, 0.3f, 0, 0, 1, 0},
    {TTE_PER_TABLE, TTE_TRELLIS, 5, 0, 0, 0, 2, WEIGHTS},
    {TTE_PER_TABLE, TTE_TRELLIS, 5, 0, 0, 0, 3, METRIC},
    {TTE_PER_TABLE, TTE_TRELLIS, 0, 0.4f, 0, 0, 1, WEIGHTS | METRIC},
    {TTE_PER_TABLE, TTE_TRELLIS, 0, 0, 0, 0, 0, LIKE},
    {TTE_PER_TABLE, TTE_TRELLIS, 0, 0, 0, 0, 0, LIKE | WEIGHTS | METRIC},
    {TTE_PER_TOKEN, TTE_F32, 0, 0, 3, 3, 0, 0}, {TTE_PER_TOKEN, TTE_F16, 0, 0, 3, 3, 0, 0},
    {TTE_PER_TOKEN, TTE_I8, 0, 0, 3, 3, 0, 0},  {TTE_PER_TOKEN, TTE_I4, 0, 0, 3, 3, 0, 0},
    {TTE_PER_TOKEN, TTE_F32, 0, 0.55f, 0, 3, 0, 0}, {TTE_PER_TOKEN, TTE_F16, 0, 0.55f, 0, 3, 0, 0},
    {TTE_PER_TOKEN, TTE_I8, 0, 0.55f, 0, 3, 0, 0},  {TTE_PER_TOKEN, TTE_I4, 0, 0.55f, 0, 3, 0, 0},
    {TTE_PER_TOKEN, TTE_F32, 1.1f, 0, 0, 0, 0, 0},  {TTE_PER_TOKEN, TTE_I8, 2, 0, 0, 2, 0, 0},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

static inline tte_options setting(int n, const fixture *f)
{
    static const int dims[2][3] = {{4, 6, 0}, {3, 4, 2}}; /* three places of padding */
    const int modes = settings[n].modes, with = settings[n].with;
    tte_options options = no_options();
    options.layout = settings[n].layout, options.coding = settings[n].coding;
    options.ratio = settings[n].ratio, options.eps = settings[n].eps;
    options.max_rank = settings[n].max_rank, options.effort = settings[n].effort;
    if (modes > 0) options.shape = make_shape(modes, dims[modes - 2]);
    options.row_weight = with & WEIGHTS ? f->weights : NULL;
    options.metric = with & METRIC ? f->metric : NULL;
    options.like = with & LIKE ? &f->like : NULL;
    return options;
}

/* ---- images ---------------------------------------------------------------------------------- */

/* Moves an image into a heap block of the exact size, for the sanitizers. */
static inline tte_image exact_image(tte_image *image)
{
    tte_image copy;
    copy.size = image->size;
    copy.data = test_copy(image->data, image->size);
    tte_free(image);
    return copy;
}

/* An image in a block of the exact size; 0 and a failed check when there is none. */
static inline int try_image(const float *table, size_t vocab, size_t dim, const tte_options *options,
                            tte_image *image)
{
    *image = sentinel_image();
    if (!CHECK_STATUS(tte_compress(table, vocab, dim, options, image), TTE_OK)) return 0;
    *image = exact_image(image);
    return 1;
}

static inline tte_image make_image(const float *table, size_t vocab, size_t dim, const tte_options *options)
{
    tte_image image = sentinel_image();
    require(tte_compress(table, vocab, dim, options, &image), "tte_compress");
    return exact_image(&image);
}

static inline tte_info info_of(const tte_image *image)
{
    tte_table t = open_image(image);
    return get_info(&t);
}

/* A failed call has written nothing; after TTE_ERR_BUDGET it says how many bytes would do. */
static inline void check_nothing_written(tte_status status, const tte_image *image)
{
    CHECK(status == TTE_ERR_BUDGET ? image->data == NULL : is_sentinel(image));
}

static inline void check_refused(const float *table, size_t vocab, size_t dim, const tte_options *options,
                                 tte_status want)
{
    tte_image image = sentinel_image();
    CHECK_STATUS(tte_compress(table, vocab, dim, options, &image), want);
    check_nothing_written(want, &image);
}

/* What holds for every image of a table: what it says of itself is what its rows show. */
static inline errors check_image(const tte_image *image, const float *table, size_t vocab, size_t dim,
                                 const tte_options *options)
{
    tte_table t = open_image(image);
    tte_info info = get_info(&t);
    float *rows = lookup_all(&t);
    errors e = measure_in(table, rows, vocab, dim, options->row_weight, options->metric);
    int per_token = options->layout == TTE_PER_TOKEN;
    CHECK(info.vocab == vocab && info.dim == dim && info.bytes == image->size);
    CHECK(info.layout == options->layout && info.coding == options->coding);
    CHECK_LE(fabs(info.ratio * (double)info.bytes - 4.0 * (double)vocab * (double)dim), 1e-3);
    CHECK_LE((double)options->ratio * (double)image->size, 4.0 * (double)vocab * (double)dim);
    CHECK_LE(per_token ? e.worst : e.weighted, options->eps > 0 ? (double)options->eps : HUGE_VAL);
    CHECK_LE(fabs(info.rel_error - e.whole), 1e-6 * e.whole);
    if (options->like == NULL) /* else rows without a weight have that of most rows there */
        CHECK_LE(fabs(info.weighted_error - (per_token ? e.whole : e.weighted)), 1e-5 * e.weighted + 1e-6);
    CHECK_LE(fabs(info.max_row_error - e.worst), 1e-6 * e.worst);
    CHECK(tte_scratch_len(&t) <= 16 * dim + 1024);
    for (int k = 0; k <= info.shape.modes && per_token; k++)
        CHECK(info.ranks[k] >= 1 && (size_t)info.ranks[k] <= bond_limit(&info.shape, k, options->max_rank));
    CHECK(per_token == (info.shape.modes > 0));
    if (per_token) {
        CHECK(shape_size(&info.shape) >= dim);
        CHECK(options->shape.modes == 0 ||
              memcmp(&info.shape, &options->shape, (1 + (size_t)info.shape.modes) * sizeof(int32_t)) == 0);
        CHECK_LE(info.mean_numbers, (double)tte_core_len(&info.shape, info.ranks) + 1e-6);
        for (size_t i = 0; i < vocab; i++) /* zeros stay zeros */
            CHECK(norm(table + i * dim, dim) > 0 || norm(rows + i * dim, dim) == 0);
    } else {
        int pages = info.centroids & (info.centroids - 1); /* 0 of 0, 1 and powers of two */
        CHECK(info.rank >= 0 && (size_t)info.rank <= dim && pages == 0);
        CHECK(info.classes >= 1 && info.classes <= 64);
        CHECK(options->like != NULL || info.effort == (options->effort > 0 ? options->effort : 5));
    }
    free(rows);
    return e;
}

static inline errors compress_and_check(const float *table, size_t vocab, size_t dim,
                                        const tte_options *options)
{
    errors none = {HUGE_VAL, HUGE_VAL, HUGE_VAL}, e = none;
    tte_image image;
    if (try_image(table, vocab, dim, options, &image)) {
        e = check_image(&image, table, vocab, dim, options);
        free(image.data);
    }
    return e;
}

/* Whether rows of two images have the same bits. */
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

static inline void random_metric(float *metric, size_t dim, size_t rank)
{
    float *a = random_floats(rank * dim);
    for (size_t i = 0; i < dim; i++)
        for (size_t j = 0; j < dim; j++) {
            double sum = 0;
            for (size_t k = 0; k < rank; k++) sum += (double)a[k * dim + i] * (double)a[k * dim + j];
            metric[i * dim + j] = (float)sum;
        }
    free(a);
}

static inline fixture make_fixture(size_t vocab)
{
    fixture f;
    tte_options options = table_options(3, 0);
    f.vocab = vocab;
    f.table = make_table(DECAYING, vocab, DIM);
    f.weights = new_floats(vocab);
    for (size_t t = 0; t < vocab; t++) f.weights[t] = (float)exp(2 * rng_normal());
    random_metric(f.metric, DIM, 2 * DIM);
    options.row_weight = f.weights, options.metric = f.metric;
    f.base = make_image(f.table, vocab / 2, DIM, &options);
    f.like = open_image(&f.base);
    return f;
}

static inline void free_fixture(fixture *f)
{
    free(f->base.data), free(f->table), free(f->weights);
}

#endif /* TT_EMBED_READ_ONLY */
#endif
