/* test_grow.c: rows from a callback, progress, append, replace, merge, and memory that runs out. */
#include "bodies.h"
#include "harness.h"
#include "tables.h"

/* ---- settings under which parts and whole must agree to the byte ----------------------------- */

enum { SETTINGS = 12 };

static tte_options setting(int number)
{
    static const tte_coding codings[4] = {TTE_F32, TTE_F16, TTE_I8, TTE_I4};
    static const int dims[3] = {3, 4, 5};
    tte_shape shape = make_shape(3, dims);
    return make_options(codings[number % 4], number / 4 == 0 ? 3 : 0, number / 4 == 1 ? 0.55f : 0,
                        &shape);
}

enum { VOCAB = 23, DIM = 57 }; /* three places of padding */

static int lookups_agree(const tte_image *a, size_t first_a, const tte_image *b, size_t first_b,
                         size_t count)
{
    tte_table ta = open_image(a), tb = open_image(b);
    float *rows_a = lookup_all(&ta), *rows_b = lookup_all(&tb);
    int same = memcmp(rows_a + first_a * DIM, rows_b + first_b * DIM, count * DIM * sizeof(float)) == 0;
    free(rows_a), free(rows_b);
    return same;
}

/* ---- rows from a callback ------------------------------------------------------------------- */

typedef struct source {
    const float *table;
    size_t vocab, dim;
    long calls, fail_at; /* 0: never */
} source;

static int rows_of_source(void *user, size_t first, size_t count, float *dst)
{
    source *s = (source *)user;
    if (++s->calls == s->fail_at)
        return -1;
    CHECK(count > 0 && first < s->vocab && count <= s->vocab - first);
    memcpy(dst, s->table + first * s->dim, count * s->dim * sizeof(float));
    return 0;
}

static void rows_equal_table(void)
{
    static const size_t sizes[][2] = {{1, 1}, {1, 40}, {VOCAB, DIM}, {700, 12}};
    for (int i = 0; i < 4; i++) {
        size_t vocab = sizes[i][0], dim = sizes[i][1];
        float *table = mixed_table(vocab, dim);
        for (int n = 0; n < 12; n++) {
            tte_options options = setting(n);
            source rows = {NULL, 0, 0, 0, 0};
            tte_image whole, streamed = sentinel_image();
            rows.table = table, rows.vocab = vocab, rows.dim = dim;
            if (dim != DIM)
                options.shape.modes = 0;
            if (n >= 8 && vocab * dim > 500) /* the search reads the rows more than once */
                options.ratio = 1.5f;
            whole = make_image(table, vocab, dim, &options);
            CHECK_STATUS(tte_compress_rows(rows_of_source, &rows, vocab, dim, &options, &streamed),
                         TTE_OK);
            CHECK(same_image(&whole, &streamed));
            free(whole.data), tte_free(&streamed);
        }
        free(table);
    }
    CHECK(heap.live == 0);
}

static void rows_that_fail(void)
{
    float *table = mixed_table(300, DIM);
    for (int n = 0; n < SETTINGS; n++) {
        source rows = {NULL, 300, DIM, 0, 0};
        tte_options options = setting(n);
        long calls;
        tte_image image = sentinel_image();
        rows.table = table;
        options.ratio = n >= 8 ? 1.5f : 0;
        CHECK_STATUS(tte_compress_rows(rows_of_source, &rows, 300, DIM, &options, &image), TTE_OK);
        tte_free(&image);
        calls = rows.calls;
        CHECK(calls > 0);
        for (rows.fail_at = 1; rows.fail_at <= calls; rows.fail_at += 1 + calls / 40) {
            rows.calls = 0;
            image = sentinel_image();
            CHECK_STATUS(tte_compress_rows(rows_of_source, &rows, 300, DIM, &options, &image),
                         TTE_ERR_IO);
            CHECK(is_sentinel(&image) && heap.live == 0);
        }
    }
    free(table);
}

static void rows_refused(void)
{
    source rows = {NULL, VOCAB, DIM, 0, 0};
    float *table = mixed_table(VOCAB, DIM);
    tte_options options = setting(0);
    tte_image image = sentinel_image();
    rows.table = table;
    CHECK_STATUS(tte_compress_rows(NULL, &rows, VOCAB, DIM, &options, &image), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_compress_rows(rows_of_source, &rows, 0, DIM, &options, &image), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_compress_rows(rows_of_source, &rows, VOCAB, 0, &options, &image),
                 TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_compress_rows(rows_of_source, &rows, VOCAB, DIM, &options, NULL),
                 TTE_ERR_ARGUMENT);
    table[VOCAB * DIM - 1] = float_from_bits(0x7F800000u);
    CHECK_STATUS(tte_compress_rows(rows_of_source, &rows, VOCAB, DIM, &options, &image),
                 TTE_ERR_NOT_FINITE);
    CHECK(is_sentinel(&image) && heap.live == 0);
    free(table);
}

/* ---- progress ------------------------------------------------------------------------------- */

typedef struct watcher {
    double last;
    long calls, stop_at; /* 0: never */
    int rising;
} watcher;

static int watch(void *user, double fraction)
{
    watcher *w = (watcher *)user;
    w->rising = w->rising && fraction >= w->last && fraction <= 1;
    w->last = fraction;
    return ++w->calls == w->stop_at;
}

static void progress_rises_and_cancels(void)
{
    size_t vocab = test.small ? 60 : 400;
    float *table = mixed_table(vocab, DIM);
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n);
        watcher w = {0, 0, 0, 1};
        tte_image image = sentinel_image();
        long calls;
        options.ratio = n >= 8 ? 1.5f : 0;
        options.progress = watch;
        options.progress_user = &w;
        CHECK_STATUS(tte_compress(table, vocab, DIM, &options, &image), TTE_OK);
        CHECK(w.calls > 0 && w.rising && w.last == 1);
        tte_free(&image);
        calls = w.calls;
        for (long stop = 1; stop <= calls; stop += 1 + calls / 40) {
            watcher cancelling = {0, 0, 0, 1};
            cancelling.stop_at = stop;
            options.progress_user = &cancelling;
            image = sentinel_image();
            CHECK_STATUS(tte_compress(table, vocab, DIM, &options, &image), TTE_ERR_CANCELLED);
            CHECK(cancelling.calls == stop); /* asked once, not asked again */
            CHECK(is_sentinel(&image) && heap.live == 0);
        }
    }
    free(table);
}

/* The bytes do not depend on whether somebody watches. */
static void progress_changes_nothing(void)
{
    float *table = mixed_table(VOCAB, DIM);
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n);
        watcher w = {0, 0, 0, 1};
        tte_image quiet = make_image(table, VOCAB, DIM, &options), watched;
        options.progress = watch;
        options.progress_user = &w;
        watched = make_image(table, VOCAB, DIM, &options);
        CHECK(same_image(&quiet, &watched));
        free(quiet.data), free(watched.data);
    }
    free(table);
}

/* ---- append, merge, replace ----------------------------------------------------------------- */

static void appended_equals_whole(void)
{
    float *table = mixed_table(VOCAB, DIM);
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n);
        tte_image whole = make_image(table, VOCAB, DIM, &options), grown, next;
        tte_table t;
        for (size_t start = 1; start < VOCAB; start += 5) {
            tte_image part = make_image(table, start, DIM, &options);
            t = open_image(&part);
            grown = sentinel_image();
            CHECK_STATUS(tte_append(&t, table + start * DIM, VOCAB - start, &grown), TTE_OK);
            CHECK(same_image(&grown, &whole));
            tte_free(&grown), free(part.data);
        }
        grown = make_image(table, 1, DIM, &options); /* and row after row */
        for (size_t row = 1; row < VOCAB; row++) {
            t = open_image(&grown);
            next = sentinel_image();
            require(tte_append(&t, table + row * DIM, 1, &next), "tte_append");
            free(grown.data);
            grown = exact_image(&next);
        }
        CHECK(same_image(&grown, &whole));
        free(grown.data), free(whole.data);
    }
    CHECK(heap.live == 0);
    free(table);
}

/* Where the library chose, what it chose stays: the old rows keep their bits, the new ones come
 * out as they would have from the same settings. */
static void append_to_a_searched_table(void)
{
    float *table = mixed_table(300, DIM);
    for (int n = 0; n < 4; n++) {
        tte_options options = setting(n);
        tte_image part, grown = sentinel_image();
        tte_table t;
        tte_info before, after;
        options.shape.modes = 0;
        options.max_rank = 0;
        options.ratio = n == 0 ? 2.0f : 4.0f;
        part = make_image(table, 290, DIM, &options);
        t = open_image(&part);
        before = get_info(&t);
        CHECK_STATUS(tte_append(&t, table + 290 * DIM, 10, &grown), TTE_OK);
        CHECK(lookups_agree(&part, 0, &grown, 0, 290));
        t = open_image(&grown);
        after = get_info(&t);
        CHECK(after.vocab == 300 && after.coding == before.coding);
        CHECK(memcmp(&after.shape, &before.shape, sizeof after.shape) == 0);
        tte_free(&grown), free(part.data);
    }
    free(table);
}

static void append_refused(void)
{
    float *table = mixed_table(VOCAB, DIM);
    tte_options options = setting(0);
    tte_image part = make_image(table, VOCAB, DIM, &options), out = sentinel_image();
    tte_table t = open_image(&part);
    CHECK_STATUS(tte_append(NULL, table, 1, &out), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_append(&t, NULL, 1, &out), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_append(&t, table, 0, &out), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_append(&t, table, 1, NULL), TTE_ERR_ARGUMENT);
    CHECK(tte_append(&t, table, SIZE_MAX / 8, &out) != TTE_OK);
    table[2 * DIM - 1] = float_from_bits(0xFFC00000u);
    CHECK_STATUS(tte_append(&t, table, 2, &out), TTE_ERR_NOT_FINITE);
    CHECK(is_sentinel(&out) && heap.live == 0);
    free(part.data), free(table);
}

static void shards_merge_to_the_whole(void)
{
    static const size_t cuts[][5] = {{VOCAB}, {1, VOCAB}, {VOCAB - 1, VOCAB}, {7, 12, VOCAB},
                                     {1, 2, 3, 4, VOCAB}, {5, 10, 15, 20, VOCAB}};
    float *table = mixed_table(VOCAB, DIM);
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n);
        tte_image whole = make_image(table, VOCAB, DIM, &options);
        for (int c = 0; c < 6; c++) {
            tte_image part[5], merged = sentinel_image();
            tte_table view[5];
            size_t count = 0, start = 0;
            for (; start < VOCAB; start = cuts[c][count++]) {
                part[count] = make_image(table + start * DIM, cuts[c][count] - start, DIM, &options);
                view[count] = open_image(&part[count]);
            }
            CHECK_STATUS(tte_merge(view, count, &merged), TTE_OK);
            CHECK(same_image(&merged, &whole));
            tte_free(&merged);
            while (count-- > 0)
                free(part[count].data);
        }
        free(whole.data);
    }
    CHECK(heap.live == 0);
    free(table);
}

static void merge_refused(void)
{
    static const int other_dims[2] = {8, 8};
    float *table = mixed_table(VOCAB, DIM + 1);
    tte_options options = setting(0), adapted = setting(4);
    tte_image base = make_image(table, 4, DIM, &options), out = sentinel_image();
    tte_table view[3];
    CHECK_STATUS(tte_merge(NULL, 1, &out), TTE_ERR_ARGUMENT);
    view[0] = view[1] = open_image(&base);
    CHECK_STATUS(tte_merge(view, 0, &out), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_merge(view, 2, NULL), TTE_ERR_ARGUMENT);
    for (int unlike = 0; unlike < 5; unlike++) {
        tte_options other = options;
        size_t dim = DIM;
        tte_image part;
        tte_status status;
        if (unlike == 0)
            other.coding = TTE_I8;
        else if (unlike == 1)
            other.max_rank = 2;
        else if (unlike == 2)
            other.eps = 0.5f, other.max_rank = 0;
        else if (unlike == 3)
            other.shape = make_shape(2, other_dims);
        else
            dim = DIM + 1;
        part = make_image(table, 4, dim, &other);
        view[unlike % 3] = open_image(&part);
        status = tte_merge(view, unlike % 3 == 2 ? 3 : 2, &out);
        CHECK(status == TTE_ERR_ARGUMENT || status == TTE_ERR_SHAPE);
        CHECK(is_sentinel(&out) && heap.live == 0);
        view[0] = view[1] = view[2] = open_image(&base);
        free(part.data);
    }
    free(base.data);
    base = make_image(table, 4, DIM, &adapted); /* and two that agree in all but eps or cap */
    for (int unlike = 0; unlike < 2; unlike++) {
        tte_options other = adapted;
        tte_image part;
        if (unlike == 0)
            other.eps = 0.5f;
        else
            other.max_rank = 5;
        part = make_image(table, 4, DIM, &other);
        view[0] = open_image(&base);
        view[1] = open_image(&part);
        CHECK_STATUS(tte_merge(view, 2, &out), TTE_ERR_ARGUMENT);
        CHECK(is_sentinel(&out) && heap.live == 0);
        free(part.data);
    }
    free(base.data), free(table);
}

/* One row changes, and what the image says of its errors still bounds them. */
static void replace_changes_one_row(void)
{
    float *table = mixed_table(VOCAB, DIM), *fresh = random_floats(DIM), *kept = new_floats(DIM);
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n);
        tte_image base = make_image(table, VOCAB, DIM, &options);
        tte_image alone = make_image(fresh, 1, DIM, &options);
        tte_table t = open_image(&base);
        for (uint32_t token = 0; token < VOCAB; token++) {
            tte_image image = sentinel_image();
            tte_table changed;
            tte_info info;
            float *rows;
            errors e;
            if (!CHECK_STATUS(tte_replace(&t, token, fresh, &image), TTE_OK))
                break;
            image = exact_image(&image);
            changed = open_image(&image);
            info = get_info(&changed);
            rows = lookup_all(&changed);
            memcpy(kept, table + token * DIM, DIM * sizeof(float));
            memcpy(table + token * DIM, fresh, DIM * sizeof(float));
            e = measure(table, rows, VOCAB, DIM);
            memcpy(table + token * DIM, kept, DIM * sizeof(float));
            free(rows);
            CHECK_LE(e.whole, info.rel_error * (1 + 1e-6) + 1e-7);
            CHECK_LE(e.worst, info.max_row_error * (1 + 1e-6) + 1e-7);
            CHECK(info.vocab == VOCAB && info.dim == DIM && info.coding == options.coding);
            CHECK(lookups_agree(&image, 0, &base, 0, token));
            CHECK(lookups_agree(&image, token, &alone, 0, 1));
            CHECK(lookups_agree(&image, token + 1, &base, token + 1, VOCAB - token - 1));
            free(image.data);
        }
        free(base.data), free(alone.data);
    }
    free(table), free(fresh), free(kept);
}

static void replace_refused(void)
{
    float *table = mixed_table(VOCAB, DIM);
    tte_options options = setting(4);
    tte_image base = make_image(table, VOCAB, DIM, &options), out = sentinel_image();
    tte_table t = open_image(&base);
    CHECK_STATUS(tte_replace(NULL, 0, table, &out), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_replace(&t, 0, NULL, &out), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_replace(&t, 0, table, NULL), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_replace(&t, VOCAB, table, &out), TTE_ERR_RANGE);
    CHECK_STATUS(tte_replace(&t, 0xFFFFFFFFu, table, &out), TTE_ERR_RANGE);
    table[DIM - 1] = float_from_bits(0x7F800000u);
    CHECK_STATUS(tte_replace(&t, 3, table, &out), TTE_ERR_NOT_FINITE);
    CHECK(is_sentinel(&out) && heap.live == 0);
    free(base.data), free(table);
}

/* ---- memory --------------------------------------------------------------------------------- */

enum { COMPRESS, COMPRESS_ROWS, SEARCH, SEARCH_IN_I4, ADAPTIVE, APPEND, REPLACE, MERGE, OPERATIONS };

static tte_status operate(int which, float *table, const tte_table *t, tte_image *out)
{
    source rows = {NULL, VOCAB, DIM, 0, 0};
    tte_options options = setting(which == ADAPTIVE ? 6 : 2);
    tte_table views[2];
    rows.table = table;
    if (which == SEARCH || which == SEARCH_IN_I4) {
        options = make_options(which == SEARCH ? TTE_F32 : TTE_I4, 0, 0, NULL);
        options.ratio = 1.5f;
    }
    views[0] = views[1] = *t;
    switch (which) {
    case COMPRESS_ROWS: return tte_compress_rows(rows_of_source, &rows, VOCAB, DIM, &options, out);
    case APPEND:        return tte_append(t, table, 3, out);
    case REPLACE:       return tte_replace(t, 2, table, out);
    case MERGE:         return tte_merge(views, 2, out);
    default:            return tte_compress(table, VOCAB, DIM, &options, out);
    }
}

static void memory_that_runs_out(void)
{
    float *table = mixed_table(VOCAB, DIM);
    for (int kind = 0; kind < 2; kind++) { /* a uniform and an adaptive base */
        tte_options options = setting(kind == 0 ? 2 : 6);
        tte_image base = make_image(table, VOCAB, DIM, &options);
        tte_table t = open_image(&base);
        for (int which = 0; which < OPERATIONS; which++) {
            tte_image image = sentinel_image();
            tte_status status;
            for (heap.refuse = 1;; heap.refuse++) {
                image = sentinel_image();
                heap.requests = 0;
                status = operate(which, table, &t, &image);
                if (heap.requests < heap.refuse)
                    break; /* all its requests were served */
                CHECK_STATUS(status, TTE_ERR_MEMORY);
                CHECK(is_sentinel(&image) && heap.live == 0);
                if (test.bad > 0 || heap.refuse > 100000)
                    break;
            }
            CHECK_STATUS(status, TTE_OK);
            CHECK(heap.refuse > 1); /* an image needs at least one block */
            heap.refuse = 0;
            if (status == TTE_OK)
                tte_free(&image);
            CHECK(heap.live == 0);
        }
        free(base.data);
    }
    free(table);
}

static void free_twice(void)
{
    float *table = mixed_table(VOCAB, DIM);
    tte_options options = setting(0);
    tte_image image = sentinel_image();
    CHECK_STATUS(tte_compress(table, VOCAB, DIM, &options, &image), TTE_OK);
    CHECK(heap.live == 1); /* the image is one block, and nothing else stays */
    tte_free(&image);
    CHECK(heap.live == 0 && image.data == NULL && image.size == 0);
    tte_free(&image);
    tte_free(NULL);
    CHECK(heap.live == 0);
    free(table);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_grow");
    RUN(rows_equal_table);
    RUN(rows_that_fail);
    RUN(rows_refused);
    RUN(progress_rises_and_cancels);
    RUN(progress_changes_nothing);
    RUN(appended_equals_whole);
    RUN(append_to_a_searched_table);
    RUN(append_refused);
    RUN(shards_merge_to_the_whole);
    RUN(merge_refused);
    RUN(replace_changes_one_row);
    RUN(replace_refused);
    RUN(memory_that_runs_out);
    RUN(free_twice);
    return test_end();
}
