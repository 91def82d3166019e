/* test_per_table_grow.c: one train for the whole table, from a callback, with progress and too little
 * memory; shards made like each other, merge, append, replace, recode. */
#include "counted_heap.h"

/* Bytes held and the most of them at one time, beside what counted_heap.h counts. */
static struct { void *at[64]; size_t size[64], bytes, peak; } held;

static void *measured_malloc(size_t size)
{
    void *block = counted_malloc(size);
    int i = 0;
    while (held.at[i] != NULL)
        i++;
    held.at[i] = block;
    held.size[i] = size;
    held.bytes += block != NULL ? size : 0;
    held.peak = held.bytes > held.peak ? held.bytes : held.peak;
    return block;
}

static void measured_free(void *block)
{
    int i = 0;
    while (held.at[i] != block)
        i++;
    held.bytes -= held.size[i];
    held.at[i] = NULL;
    counted_free(block);
}

#undef TT_EMBED_MALLOC
#undef TT_EMBED_FREE
#define TT_EMBED_MALLOC(size) measured_malloc(size)
#define TT_EMBED_FREE(pointer) measured_free(pointer)
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "harness.h"
#include "tables.h"
#include "per_table.h"

/* ---- rows from a callback, progress, memory -------------------------------------------------- */

typedef struct source {
    const float *table;
    size_t vocab, dim;
    long calls, fail_at; /* 0: never */
} source;

static source source_of(const float *table, size_t vocab, size_t dim)
{
    source s = {NULL, 0, 0, 0, 0};
    s.table = table, s.vocab = vocab, s.dim = dim;
    return s;
}

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
    patterns p = make_patterns(test.small ? 250 : 1500); /* more than one batch */
    for (int n = 0; n < ALL_SETTINGS; n++) {
        tte_options options = full_setting(n, p.weights, &p.view[n % CODINGS]);
        source rows = source_of(p.table, p.vocab, DIM);
        tte_image whole, streamed = sentinel_image();
        if (!try_image(p.table, p.vocab, DIM, &options, &whole))
            continue;
        CHECK_STATUS(tte_compress_rows(rows_of_source, &rows, p.vocab, DIM, &options, &streamed), TTE_OK);
        CHECK(same_image(&whole, &streamed));
        free(whole.data), tte_free(&streamed);
    }
    CHECK(heap.live == 0);
    free_patterns(&p);
}

static void rows_that_fail(void)
{
    patterns p = make_patterns(test.small ? 100 : 300);
    for (int n = 0; n < ALL_SETTINGS; n++) {
        tte_options options = full_setting(n, p.weights, &p.view[n % CODINGS]);
        source rows = source_of(p.table, p.vocab, DIM);
        tte_image image = sentinel_image();
        long calls;
        if (!CHECK_STATUS(tte_compress_rows(rows_of_source, &rows, p.vocab, DIM, &options, &image),
                          TTE_OK))
            continue;
        tte_free(&image);
        calls = rows.calls;
        CHECK(calls > 0);
        for (long fail = 1; fail <= calls; fail += fail < calls - 3 ? 1 + calls / 8 : 1) {
            rows.calls = 0;
            rows.fail_at = fail;
            image = sentinel_image();
            CHECK_STATUS(tte_compress_rows(rows_of_source, &rows, p.vocab, DIM, &options, &image),
                         TTE_ERR_IO);
            CHECK(rows.calls == fail); /* not asked again */
            CHECK(is_sentinel(&image) && heap.live == 0);
        }
    }
    free_patterns(&p);
}

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

static void check_progress(size_t vocab)
{
    patterns p = make_patterns(vocab);
    for (int n = 0; n < ALL_SETTINGS; n++) {
        tte_options options = full_setting(n, p.weights, &p.view[n % CODINGS]);
        watcher w = {0, 0, 0, 1};
        tte_image quiet, image;
        if (!try_image(p.table, p.vocab, DIM, &options, &quiet))
            continue;
        options.progress = watch;
        options.progress_user = &w;
        (void)try_image(p.table, p.vocab, DIM, &options, &image);
        if (!CHECK(w.calls > 0 && w.rising && w.last == 1) && test.bad <= 5)
            fprintf(stderr, "    %d rows, setting %d\n", (int)vocab, n);
        CHECK(same_image(&quiet, &image)); /* the bytes do not depend on whether somebody watches */
        free(image.data), free(quiet.data);
        for (long stop = 1; stop <= w.calls; stop++) {
            watcher cancelling = {0, 0, 0, 1};
            cancelling.stop_at = stop;
            options.progress_user = &cancelling;
            image = sentinel_image();
            CHECK_STATUS(tte_compress(p.table, p.vocab, DIM, &options, &image), TTE_ERR_CANCELLED);
            CHECK(cancelling.calls == stop); /* asked once, not asked again */
            CHECK(is_sentinel(&image) && heap.live == 0);
        }
    }
    free_patterns(&p);
}

static void progress_rises_and_cancels(void)
{
    check_progress(test.small ? 50 : 100);
    if (!test.small)
        check_progress(1100); /* more than one batch */
}

/* Every call that makes an image: all settings of compression, then what starts from an image. */
enum { APPEND = ALL_SETTINGS, REPLACE = APPEND + CODINGS, MERGE = REPLACE + CODINGS,
       RECODE = MERGE + CODINGS, OPERATIONS = RECODE + CODINGS * CODINGS };

static tte_status operate(int which, const patterns *p, tte_image *out)
{
    const tte_table *t = &p->view[which % CODINGS];
    if (which >= RECODE)
        return tte_recode(t, all_codings[(which - RECODE) / CODINGS], out);
    if (which >= MERGE) {
        tte_table twice[2];
        twice[0] = twice[1] = *t;
        return tte_merge(twice, 2, out);
    }
    if (which >= REPLACE)
        return tte_replace(t, 3, p->table, out);
    if (which >= APPEND)
        return tte_append(t, p->table, 3, out);
    {
        tte_options options = full_setting(which, p->weights, t);
        return tte_compress(p->table, p->vocab, DIM, &options, out);
    }
}

static void memory_that_runs_out(void)
{
    patterns p = make_patterns(test.small ? 40 : 80);
    for (int which = 0; which < OPERATIONS; which++) {
        tte_image image = sentinel_image();
        tte_status status = TTE_ERR_MEMORY;
        for (heap.refuse = 1; heap.refuse < 1000; heap.refuse++) {
            image = sentinel_image();
            heap.requests = 0;
            status = operate(which, &p, &image);
            if (heap.requests < heap.refuse)
                break; /* all its requests were served */
            if (!CHECK_STATUS(status, TTE_ERR_MEMORY) || !CHECK(is_sentinel(&image) && heap.live == 0))
                break;
        }
        CHECK_STATUS(status, TTE_OK);
        CHECK(heap.refuse > 1); /* an image needs at least one block */
        heap.refuse = 0;
        if (status == TTE_OK)
            tte_free(&image);
        CHECK(heap.live == 0);
    }
    free_patterns(&p);
}

/* Rows made as they are asked for: the table is nowhere in memory. */
static int rows_of_numbers(void *user, size_t first, size_t count, float *dst)
{
    size_t dim = *(const size_t *)user;
    for (size_t t = first; t < first + count; t++)
        for (size_t j = 0; j < dim; j++) {
            uint32_t hash = (uint32_t)(t * dim + j) * 2654435761u; /* Knuth's multiplier, mixed */
            hash = (hash ^ hash >> 15) * 2246822519u;
            hash ^= hash >> 13;
            *dst++ = ((float)(hash >> 8) / 8388608.0f - 1) / (float)(1 + j);
        }
    return 0;
}

/* What compression holds at one time beside its images: the one that grows by halves, a copy of just
 * the right size, and the best one so far. */
static double heap_beside_images(size_t vocab, size_t dim, const tte_options *options)
{
    tte_image image = sentinel_image();
    double size;
    held.peak = held.bytes;
    require(tte_compress_rows(rows_of_numbers, &dim, vocab, dim, options, &image), "tte_compress_rows");
    size = (double)image.size;
    tte_free(&image);
    return (double)held.peak - (options->coding == TTE_ENTROPY ? 3.5 : 1) * size;
}

/* What tte_compress promises: 8 dim x dim doubles and 12 megabytes. 60,000 x 64 floats are 15 MB. More
 * rows need no more than what an index holds of each. */
static void memory_is_bounded(void)
{
    size_t vocab = 60000, dim = 64;
    for (int i = 0; i < (test.small ? 1 : 2); i++) { /* records of one size, of many */
        tte_options options = table_options(i == 0 ? TTE_I8 : TTE_ENTROPY);
        double all, third;
        options.ratio = 16;
        all = heap_beside_images(vocab, dim, &options);
        third = heap_beside_images(vocab / 3, dim, &options);
        CHECK_LE(all, 12e6 + 8.0 * (double)(dim * dim) * sizeof(double));
        CHECK_LE(all, third + 8.0 * (double)vocab);
    }
}

/* ---- like, merge, append, replace ------------------------------------------------------------ */

/* Shards made like the first one merge into the image of all rows made so. */
static void shards_merge(void)
{
    static const size_t cuts[5] = {0, 90, 91, 200, 260};
    size_t vocab = 260;
    float *table = make_table(DECAYING, vocab, DIM);
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n), like = table_options(options.coding);
        tte_image base = make_image(table, 90, DIM, &options), part[4], merged = sentinel_image(), whole;
        tte_table t = open_image(&base), view[5];
        double level = check_image(&base, table, 90, DIM, &options).whole;
        like.like = &t;
        whole = make_image(table, vocab, DIM, &like);
        for (int i = 0; i < 4; i++) {
            if (i == 3)
                like.shape = options.shape; /* may be said again */
            part[i] = make_image(table + cuts[i] * DIM, cuts[i + 1] - cuts[i], DIM, &like);
            view[i] = open_image(&part[i]);
            (void)check_image(&part[i], table + cuts[i] * DIM, cuts[i + 1] - cuts[i], DIM, &like);
        }
        CHECK_STATUS(tte_merge(view, 4, &merged), TTE_OK);
        like.max_rank = 0;
        CHECK_LE(check_image(&merged, table, vocab, DIM, &like).whole, 1.6 * level + 1e-6);
        CHECK(same_image(&merged, &whole));
        for (int i = 0; i < 4; i++)
            CHECK(same_rows(&merged, cuts[i], &part[i], 0, cuts[i + 1] - cuts[i]));
        tte_free(&merged);
        view[0] = t; /* and the table itself with what was made like it */
        CHECK_STATUS(tte_merge(view, 4, &merged), TTE_OK);
        (void)check_image(&merged, table, vocab, DIM, &like);
        CHECK(same_rows(&merged, 0, &base, 0, 90) && same_rows(&merged, 90, &whole, 90, vocab - 90));
        tte_free(&merged), free(base.data), free(whole.data);
        for (int i = 0; i < 4; i++)
            free(part[i].data);
    }
    CHECK(heap.live == 0);
    free(table);
}

/* A pattern with classes of steps gives each row of a shard the class of its weight. */
static void shards_with_weights(void)
{
    size_t vocab = 600;
    float *weights = new_floats(vocab), *table = weighted_table(vocab, DIM, weights);
    for (int c = 0; c < CODINGS; c++) {
        tte_options options = table_options(all_codings[c]);
        tte_image base, shard, merged = sentinel_image();
        tte_table view[2];
        double base_error;
        options.ratio = 3;
        options.row_weight = weights;
        base = make_image(table, 300, DIM, &options);
        base_error = check_image(&base, table, 300, DIM, &options).weighted;
        view[0] = open_image(&base);
        options.ratio = 0;
        options.like = &view[0];
        options.row_weight = weights + 300;
        shard = make_image(table + (size_t)300 * DIM, 300, DIM, &options);
        CHECK_LE(check_image(&shard, table + (size_t)300 * DIM, 300, DIM, &options).weighted,
                 1.5 * base_error + 1e-6);
        view[1] = open_image(&shard);
        CHECK_STATUS(tte_merge(view, 2, &merged), TTE_OK);
        options.row_weight = weights;
        (void)check_image(&merged, table, vocab, DIM, &options);
        free(base.data), free(shard.data), tte_free(&merged);
    }
    free(table), free(weights);
}

static void refused_like(const float *table, size_t dim, const tte_options *options)
{
    tte_image image = sentinel_image();
    CHECK_STATUS(tte_compress(table, 20, dim, options, &image), TTE_ERR_ARGUMENT);
    CHECK(is_sentinel(&image) && heap.live == 0);
}

static void likes_that_do_not_fit(void)
{
    static const int other_dims[2] = {3, 7};
    float *table = random_floats(60 * (DIM + 1));
    tte_options plain = no_options();
    tte_image token = make_image(table, 20, DIM, &plain);
    tte_table token_view = open_image(&token);
    for (int c = 0; c < CODINGS; c++) {
        tte_options options = table_options(all_codings[c]), like = options;
        tte_image base = make_image(table, 60, DIM, &options), good;
        tte_table t = open_image(&base);
        like.like = &t;
        good = make_image(table, 20, DIM, &like);
        free(good.data);
        refused_like(table, DIM + 1, &like);
        refused_like(table, DIM - 1, &like);
        options = like, options.coding = all_codings[(c + 1) % CODINGS];
        refused_like(table, DIM, &options);
        options = like, options.layout = TTE_PER_TOKEN;
        refused_like(table, DIM, &options);
        options = like, options.like = &token_view;
        refused_like(table, DIM, &options);
        options = like, options.ratio = 2;
        refused_like(table, DIM, &options);
        options = like, options.eps = 0.5f;
        refused_like(table, DIM, &options);
        options = like, options.max_rank = 5;
        refused_like(table, DIM, &options);
        options = like, options.shape = make_shape(2, other_dims);
        refused_like(table, DIM, &options);
        free(base.data);
    }
    free(token.data), free(table);
}

static void merges_that_do_not_fit(void)
{
    static const int modes[2] = {3, 7};
    float *table = random_floats(100 * (DIM + 1));
    for (int c = 0; c < CODINGS; c++)
        for (int unlike = 0; unlike < 6; unlike++) {
            tte_options options = table_options(all_codings[c]), other = options;
            tte_image base = make_image(table, 50, DIM, &options), part, out = sentinel_image();
            tte_table view[3];
            size_t dim = DIM, first = 0;
            tte_status status;
            switch (unlike) {
            case 0: first = 50; break; /* the same settings, other rows, and so another basis */
            case 1: other.coding = all_codings[(c + 2) % CODINGS]; break;
            case 2: other.max_rank = 4, other.eps = 0.99f; break;
            case 3: other.shape = make_shape(2, modes); break;
            case 4: other.layout = TTE_PER_TOKEN, other.coding = TTE_F32; break;
            default: dim = DIM + 1; break;
            }
            part = make_image(table + first * dim, 50, dim, &other);
            view[0] = view[1] = view[2] = open_image(&base);
            view[unlike % 3] = open_image(&part);
            status = tte_merge(view, 3, &out);
            CHECK(status == TTE_ERR_ARGUMENT || (unlike == 5 && status == TTE_ERR_SHAPE));
            CHECK(is_sentinel(&out) && heap.live == 0);
            free(part.data), free(base.data);
        }
    free(table);
}

/* Old rows keep their bits; new ones come out as the pattern makes them, near the level of the old. */
static void appended_rows(void)
{
    size_t vocab = 330, old = 300;
    float *table = make_table(DECAYING, vocab, DIM);
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n), like = table_options(options.coding);
        tte_image base = make_image(table, old, DIM, &options), grown = sentinel_image();
        tte_image tail, merged = sentinel_image(), again = sentinel_image();
        tte_table t = open_image(&base), view[2];
        double level = check_image(&base, table, old, DIM, &options).whole;
        measured m;
        float *rows;
        CHECK_STATUS(tte_append(&t, table + old * DIM, vocab - old, &grown), TTE_OK);
        like.like = &t;
        m = check_image(&grown, table, vocab, DIM, &like);
        CHECK_LE(m.whole, 1.1 * level + 1e-6);
        view[0] = open_image(&grown);
        rows = lookup_all(&view[0]);
        CHECK_LE(measure_rows(table + old * DIM, rows + old * DIM, vocab - old, DIM, NULL).whole,
                 1.5 * level + 1e-6);
        free(rows);
        CHECK(same_rows(&grown, 0, &base, 0, old));
        tail = make_image(table + old * DIM, vocab - old, DIM, &like);
        view[0] = t, view[1] = open_image(&tail);
        CHECK_STATUS(tte_merge(view, 2, &merged), TTE_OK);
        CHECK(same_image(&merged, &grown)); /* two ways to the same image */
        view[0] = open_image(&merged);
        CHECK_STATUS(tte_append(&view[0], table, 1, &again), TTE_OK); /* and on from there */
        CHECK(same_rows(&again, 0, &merged, 0, vocab) && info_of(&again).vocab == vocab + 1);
        tte_free(&again), tte_free(&merged), tte_free(&grown), free(tail.data), free(base.data);
    }
    CHECK(heap.live == 0);
    free(table);
}

/* A row a thousand times longer than the others: TTE_ENTROPY and the codings that hold it keep it. */
static void appended_outlier(void)
{
    size_t vocab = 400;
    float *table = make_table(DECAYING, vocab, DIM), outlier[DIM];
    for (int j = 0; j < DIM; j++)
        outlier[j] = 1000 * table[j] + 300 * table[DIM + j];
    for (int n = 0; n < 2 * CODINGS; n++) {
        tte_options options = setting(n);
        tte_image base, grown = sentinel_image();
        tte_table t;
        float row[DIM], *scratch;
        double level;
        if (options.coding == TTE_ENTROPY)
            options.ratio = n < CODINGS ? 4.0f : 8.0f;
        else if (n >= CODINGS)
            continue;
        base = make_image(table, vocab, DIM, &options);
        t = open_image(&base);
        level = get_info(&t).rel_error;
        if (CHECK_STATUS(tte_append(&t, outlier, 1, &grown), TTE_OK)) {
            CHECK(same_rows(&grown, 0, &base, 0, vocab));
            t = open_image(&grown);
            scratch = new_scratch(&t);
            CHECK_STATUS(tte_lookup(&t, (uint32_t)vocab, row, scratch), TTE_OK);
            CHECK_LE(row_error(outlier, row, DIM), 2 * level + (options.coding == TTE_I4 ? 0.3 : 0.03));
            tte_free(&grown), free(scratch);
        }
        free(base.data);
    }
    free(table);
}

/* One row changes, all others keep their bits, and what is recorded bounds what is measured. */
static void replaced_rows(void)
{
    size_t vocab = 120;
    float *table = make_table(DECAYING, vocab, DIM), *fresh = make_table(DECAYING, 1, DIM), kept[DIM];
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n);
        tte_image base = make_image(table, vocab, DIM, &options);
        tte_table t = open_image(&base);
        double level = get_info(&t).rel_error * norm(table, vocab * DIM) / sqrt((double)vocab);
        double allowed = 3 * level / norm(fresh, DIM) + 2 * get_info(&t).max_row_error + 1e-6;
        for (uint32_t token = 0; token < vocab; token += test.small ? 17 : 7) {
            tte_image image = sentinel_image();
            tte_table changed;
            tte_info info;
            measured m;
            float *rows;
            if (!CHECK_STATUS(tte_replace(&t, token, fresh, &image), TTE_OK))
                break;
            changed = open_image(&image);
            info = get_info(&changed);
            rows = lookup_all(&changed);
            memcpy(kept, table + token * DIM, sizeof kept);
            memcpy(table + token * DIM, fresh, sizeof kept);
            m = measure_rows(table, rows, vocab, DIM, NULL);
            memcpy(table + token * DIM, kept, sizeof kept);
            CHECK_LE(m.whole, info.rel_error * (1 + 1e-6) + 1e-7);
            CHECK_LE(m.worst, info.max_row_error * (1 + 1e-6) + 1e-6);
            CHECK_LE(row_error(fresh, rows + token * DIM, DIM), allowed);
            CHECK(info.vocab == vocab && info.coding == options.coding);
            CHECK(same_rows(&image, 0, &base, 0, token));
            CHECK(same_rows(&image, token + 1, &base, token + 1, vocab - token - 1));
            free(rows), tte_free(&image);
        }
        free(base.data);
    }
    CHECK(heap.live == 0);
    free(table), free(fresh);
}

/* One row of many changes the recorded errors by little, also where rows are coarse: its own error is
   bounded by that of the whole table, whatever the worst row is. */
static void replaced_row_of_a_coarse_table(void)
{
    size_t vocab = 1000;
    float *table = make_table(DECAYING, vocab, DIM);
    for (int c = 0; c < CODINGS; c++) {
        tte_options options = table_options(all_codings[c]);
        tte_image base, image;
        tte_table t;
        double before;
        options.ratio = 16;
        base = make_image(table, vocab, DIM, &options);
        t = open_image(&base);
        before = get_info(&t).rel_error;
        if (CHECK_STATUS(tte_replace(&t, 7, table + 7 * DIM, &image), TTE_OK)) {
            tte_table changed = open_image(&image);
            CHECK_LE(get_info(&changed).rel_error, before / sqrt(fmax(1 - 3 * before * before, 0.1)) * 1.1);
            tte_free(&image);
        }
        free(base.data);
    }
    free(table);
}

/* ---- another coding -------------------------------------------------------------------------- */

static void recoded(void)
{
    static const double rounding[CODINGS] = {2e-6, 4e-3, 0.03, 0.3, 0.0012};
    size_t vocab = 200;
    float *table = make_table(DECAYING, vocab, DIM);
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n);
        tte_image from = make_image(table, vocab, DIM, &options);
        tte_table t = open_image(&from);
        tte_info before = get_info(&t);
        float *old = lookup_all(&t);
        for (int c = 0; c < CODINGS; c++) {
            tte_image to = sentinel_image(), grown = sentinel_image();
            tte_table u;
            tte_info after;
            float *rows;
            measured m;
            double added = rounding[c] + (all_codings[c] == TTE_ENTROPY ? 0.12 * before.rel_error : 0);
            if (options.coding == TTE_ENTROPY) /* cores so coarse that projecting onto them is not exact */
                added += 0.05 * before.rel_error + 5e-4;
            if (!CHECK_STATUS(tte_recode(&t, all_codings[c], &to), TTE_OK))
                continue;
            if (all_codings[c] == options.coding)
                CHECK(same_image(&to, &from));
            u = open_image(&to);
            after = get_info(&u);
            rows = lookup_all(&u);
            m = measure_rows(table, rows, vocab, DIM, NULL);
            CHECK(after.layout == TTE_PER_TABLE && after.coding == all_codings[c]);
            CHECK(after.vocab == vocab && after.dim == DIM && after.bytes == to.size);
            CHECK(memcmp(&after.shape, &before.shape, sizeof after.shape) == 0);
            CHECK(memcmp(after.ranks, before.ranks, sizeof after.ranks) == 0);
            CHECK_LE(measure_rows(old, rows, vocab, DIM, NULL).whole, added);
            CHECK_LE(m.whole, after.rel_error * (1 + 1e-6) + 1e-7);
            CHECK_LE(m.worst, after.max_row_error * (1 + 1e-6) + 1e-6);
            CHECK_LE(after.rel_error, 1.01 * before.rel_error + added); /* and not by far */
            CHECK_STATUS(tte_append(&u, table, 3, &grown), TTE_OK);
            CHECK(same_rows(&grown, 0, &to, 0, vocab));
            free(rows), tte_free(&grown), tte_free(&to);
        }
        free(old), free(from.data);
    }
    CHECK(heap.live == 0);
    free(table);
}

/* The step that would suit the table is too fine for a row that is much longer than the others. */
static void recoded_with_an_outlier(void)
{
    size_t vocab = 600;
    float *table = make_table(GAUSSIAN, vocab, DIM);
    tte_options options = table_options(TTE_F32);
    tte_image from, to = sentinel_image();
    tte_table t;
    for (size_t j = 0; j < DIM; j++)
        table[7 * DIM + j] *= 300;
    from = make_image(table, vocab, DIM, &options);
    t = open_image(&from);
    if (CHECK_STATUS(tte_recode(&t, TTE_ENTROPY, &to), TTE_OK)) {
        tte_table u = open_image(&to);
        CHECK_LE(get_info(&u).rel_error, 1e-3);
        tte_free(&to);
    }
    free(from.data), free(table);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_per_table_grow");
    RUN(rows_equal_table);
    RUN(rows_that_fail);
    RUN(progress_rises_and_cancels);
    RUN(memory_that_runs_out);
    RUN(memory_is_bounded);
    RUN(shards_merge);
    RUN(shards_with_weights);
    RUN(likes_that_do_not_fit);
    RUN(merges_that_do_not_fit);
    RUN(appended_rows);
    RUN(appended_outlier);
    RUN(replaced_rows);
    RUN(replaced_row_of_a_coarse_table);
    RUN(recoded);
    RUN(recoded_with_an_outlier);
    return test_end();
}
