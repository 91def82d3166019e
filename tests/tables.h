/* tables.h: tables and images for the test programs that need them. Include it after harness.h. */
#ifndef TEST_TABLES_H
#define TEST_TABLES_H

typedef struct errors { double whole, worst; } errors; /* relative: of all rows, of the worst row */

#ifndef TT_EMBED_DECODE_ONLY

static inline tte_options no_options(void)
{
    tte_options options;
    memset(&options, 0, sizeof options);
    return options;
}

/* Options of the kind most cases use: a coding, then a rank cap or an eps, and a shape (NULL: the
 * library's choice). */
static inline tte_options make_options(tte_coding coding, int max_rank, float eps,
                                       const tte_shape *shape)
{
    tte_options options = no_options();
    options.coding = coding;
    options.max_rank = max_rank;
    options.eps = eps;
    if (shape != NULL)
        options.shape = *shape;
    return options;
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

#endif /* TT_EMBED_DECODE_ONLY */

/* ---- rows --------------------------------------------------------------------------------- */

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

/* Rows as a learned table has them: some structure, some noise, lengths that differ, a row of
 * zeros, two equal rows. */
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

/* ---- images ------------------------------------------------------------------------------- */

/* Ends the program where the cases that follow would say nothing. */
static inline void require(tte_status status, const char *what)
{
    if (status != TTE_OK) {
        fprintf(stderr, "%s: %s answered %s, in %s; cannot go on\n", test.name, what,
                test_status_name(status), test.running);
        exit(2);
    }
}

#ifndef TT_EMBED_DECODE_ONLY

/* Moves an image into a heap block of the exact size, for the sanitizers. */
static inline tte_image exact_image(tte_image *image)
{
    tte_image copy;
    copy.size = image->size;
    copy.data = test_copy(image->data, image->size);
    tte_free(image);
    return copy;
}

static inline tte_image make_image(const float *table, size_t vocab, size_t dim,
                                   const tte_options *options)
{
    tte_image image = sentinel_image();
    require(tte_compress(table, vocab, dim, options, &image), "tte_compress");
    return exact_image(&image);
}

static inline int same_image(const tte_image *a, const tte_image *b)
{
    return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

#endif /* TT_EMBED_DECODE_ONLY */

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

/* A zero row counts as exact when it comes back as zeros and as infinitely wrong otherwise. */
static inline double row_error(const float *want, const float *got, size_t dim)
{
    double length = norm(want, dim), gap = distance(want, got, dim);
    return length > 0 ? gap / length : gap > 0 ? HUGE_VAL : 0;
}

static inline errors measure(const float *table, const float *rows, size_t vocab, size_t dim)
{
    errors e = {0, 0};
    double gaps = 0, total = 0;
    for (size_t t = 0; t < vocab; t++) {
        double gap = distance(table + t * dim, rows + t * dim, dim);
        double error = row_error(table + t * dim, rows + t * dim, dim);
        gaps += gap * gap;
        total += dot(table + t * dim, table + t * dim, dim);
        e.worst = !(error <= e.worst) ? error : e.worst;
    }
    e.whole = total > 0 ? sqrt(gaps / total) : sqrt(gaps);
    return e;
}

/* Every reading call on a view, in buffers of the exact size: for views whose bytes may be
 * anything, so that a sanitizer sees what they make the library touch. The statuses are free. */
static inline void use_everything(const tte_table *t)
{
    tte_info info = get_info(t);
    uint32_t tokens[4], best[2];
    float scores[2], *row, *rows, *logits, *scratch, inner;
    (void)tte_verify(t);
    if (info.dim > 100000 || info.vocab > 100000 || tte_scratch_len(t) > 10000000)
        return; /* a claim nobody would allocate for */
    row = new_floats(info.dim), rows = new_floats(4 * info.dim), logits = new_floats(info.vocab);
    scratch = new_scratch(t);
    for (int i = 0; i < 4; i++)
        tokens[i] = (uint32_t)(info.vocab * (size_t)i / 3);
    memset(row, 0, info.dim * sizeof *row);
    (void)tte_logits(t, row, 0, (uint32_t)info.vocab, logits, scratch);
    (void)tte_top_k(t, row, 2, best, scores, scratch);
    for (int i = 0; i < 4; i++)
        (void)tte_lookup(t, tokens[i], row, scratch);
    tokens[3] = tokens[2] = tokens[2] != 0 ? tokens[2] - 1 : 0;
    (void)tte_lookup_batch(t, tokens, 4, rows, scratch);
    (void)tte_inner_tokens(t, tokens[0], tokens[1], &inner, scratch);
    free(scratch), free(logits), free(rows), free(row);
}

#endif
