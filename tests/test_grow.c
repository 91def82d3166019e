/* test_grow.c: every way to an image: rows from a callback, training and shards, append, replace, merge, shrink; with
 * progress, with callbacks that fail, and with memory that runs out. */
#include "counted_heap.h"

#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "harness.h"
#include "tables.h"
#include "bytes.h"
#include "made.h"
#include <time.h>

/* ---- every way to an image --------------------------------------------------------------------- */

typedef struct source {
    const float *table;
    size_t vocab, calls, fail_at; /* 0: never */
} source;

static int rows_of_source(void *user, size_t first, size_t count, float *dst)
{
    source *s = (source *)user;
    if (++s->calls == s->fail_at) return -1;
    CHECK(count > 0 && first < s->vocab && count <= s->vocab - first);
    memcpy(dst, s->table + first * DIM, count * DIM * sizeof(float));
    return 0;
}

typedef struct watcher {
    double last;
    size_t calls, stop_at; /* 0: never */
    int rising;
} watcher;

static int watch(void *user, double fraction)
{
    watcher *w = (watcher *)user;
    w->rising = w->rising && fraction >= w->last && fraction <= 1;
    w->last = fraction;
    return ++w->calls == w->stop_at;
}

/* A fixture, and an image of half its rows in every setting. */
typedef struct ways {
    fixture f;
    tte_image image[SETTINGS];
    tte_table view[SETTINGS];
} ways;

static ways *make_ways(size_t vocab)
{
    ways *w = (ways *)test_alloc(sizeof *w);
    w->f = make_fixture(vocab);
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n, &w->f);
        w->image[n] = make_image(w->f.table, vocab / 2, DIM, &options);
        w->view[n] = open_image(&w->image[n]);
    }
    return w;
}

static void free_ways(ways *w)
{
    for (int n = 0; n < SETTINGS; n++) free(w->image[n].data);
    free_fixture(&w->f), free(w);
}

/* Trained on a sample, one of `step` rows, all of them counted in two parts, fitted. */
static tte_status fit_of_sample(source *rows, size_t step, const tte_options *options, const float *weights, tte_image *out)
{
    const size_t vocab = rows->vocab, count = (vocab + step - 1) / step, half = vocab / 2;
    uint64_t *levels = (uint64_t *)test_alloc(TTE_LEVELS * sizeof *levels);
    float *sampled = new_floats(count), *some = new_floats(count * DIM);
    source sample = {some, count, rows->calls, rows->fail_at}, part = *rows;
    tte_options like = no_options(), of_sample = *options;
    tte_image draft = {NULL, 0};
    tte_table t;
    tte_status status;
    for (size_t i = 0; i < count; i++) {
        const size_t row = i * step + ((uint32_t)i * 2654435761u >> 16) % (i + 1 < count ? step : vocab - i * step);
        memcpy(some + i * DIM, rows->table + row * DIM, DIM * sizeof *some);
        sampled[i] = weights != NULL ? weights[row] : 1;
    }
    memset(levels, 0, TTE_LEVELS * sizeof *levels);
    of_sample.row_weight = weights != NULL ? sampled : NULL;
    status = tte_train_sample(rows_of_source, &sample, count, vocab, DIM, &of_sample, &draft);
    rows->calls = part.calls = sample.calls;
    if (status == TTE_OK) t = open_image(&draft);
    for (int i = 0; i < 2 && status == TTE_OK; i++, rows->calls = part.calls) {
        like.like = &t, like.metric = options->metric;
        like.row_weight = weights != NULL ? weights + (size_t)i * half : NULL;
        part.table = rows->table + (size_t)i * half * DIM, part.vocab = i == 0 ? half : vocab - half;
        status = tte_count(rows_of_source, &part, part.vocab, DIM, &like, levels);
    }
    if (status == TTE_OK) status = tte_fit(&t, levels, options->ratio, out);
    free(levels), free(sampled), free(some), tte_free(&draft);
    return status;
}

enum { COMPRESS, ROWS, TRAIN, SAMPLE, APPEND, REPLACE, MERGE, SHRINK, WAYS };

static tte_status make_by(int way, int n, const ways *w, source *rows, watcher *watching, tte_image *out)
{
    tte_options options = setting(n, &w->f);
    const tte_table *t = &w->view[n], twice[2] = {*t, *t};
    options.progress = watching != NULL ? watch : NULL, options.progress_user = watching;
    rows->table = w->f.table, rows->vocab = w->f.vocab;
    switch (way) {
    case ROWS:    return tte_compress_rows(rows_of_source, rows, w->f.vocab, DIM, &options, out);
    case TRAIN:   return tte_train(rows_of_source, rows, w->f.vocab, DIM, &options, out);
    case SAMPLE:  return fit_of_sample(rows, 2, &options, options.row_weight, out);
    case APPEND:  return tte_append(t, w->f.table, 3, n % 2 ? NULL : w->f.weights, out);
    case REPLACE: return tte_replace(t, 3, w->f.table, n % 2 ? 0 : 2, out);
    case MERGE:   return tte_merge(twice, 2, out);
    case SHRINK: /* into the same kind, or the other one */
        options.like = NULL, options.row_weight = options.metric = NULL;
        options.ratio = n % 2 ? 1.2f : 0, options.eps = n % 2 ? 0 : 0.7f, options.max_rank = 0, options.effort = 0;
        if (n % 3 == 0)
            options.layout = TTE_LAYOUT_AUTO, options.coding = TTE_CODING_AUTO, options.shape = make_shape(0, NULL);
        return tte_shrink(t, &options, out);
    default:      return tte_compress(w->f.table, w->f.vocab, DIM, &options, out);
    }
}

/* After a failed check: of which way and setting. */
static void say_where(unsigned long bad, int way, int n)
{
    if (test.bad > bad && test.bad <= 6) fprintf(stderr, "    way %d, setting %d\n", way, n);
}

/* Training is for TTE_PER_TABLE, and has nothing to learn where all is taken from another image; a sample meets no eps. */
static int is_possible(int way, int n)
{
    return (way != TRAIN && way != SAMPLE) || (settings[n].layout == TTE_PER_TABLE && !(settings[n].with & LIKE) &&
                                               (way == TRAIN || !(settings[n].eps > 0)));
}

/* ---- callbacks, progress, memory ------------------------------------------------------------- */

static void rows_that_come_and_fail(void)
{
    ways *w = make_ways(test.small ? 250 : 1500); /* more than one batch */
    for (int n = 0; n < SETTINGS; n++) {
        source rows = {NULL, 0, 0, 0};
        tte_image whole, image = sentinel_image();
        size_t calls;
        require(make_by(COMPRESS, n, w, &rows, NULL, &whole), "tte_compress");
        for (int way = ROWS; way <= TRAIN; way++) {
            if (!is_possible(way, n)) {
                CHECK_STATUS(make_by(way, n, w, &rows, NULL, &image), TTE_ERR_ARGUMENT);
                CHECK(is_sentinel(&image) && rows.calls == 0);
                continue;
            }
            rows.calls = rows.fail_at = 0;
            CHECK_STATUS(make_by(way, n, w, &rows, NULL, &image), TTE_OK);
            CHECK(way == TRAIN ? info_of(&image).vocab == 0 : same_image(&whole, &image));
            tte_free(&image);
            calls = rows.calls;
            CHECK(calls > 0);
            for (rows.fail_at = 1; rows.fail_at <= calls; rows.fail_at += rows.fail_at < calls - 3 ? 1 + calls / 8 : 1) {
                rows.calls = 0;
                image = sentinel_image();
                CHECK_STATUS(make_by(way, n, w, &rows, NULL, &image), TTE_ERR_IO);
                CHECK(rows.calls == rows.fail_at && is_sentinel(&image)); /* not asked again */
            }
            rows.calls = rows.fail_at = 0;
        }
        tte_free(&whole);
    }
    CHECK(heap.live == 0);
    free_ways(w);
}

/* The bytes do not depend on whether somebody watches; asked to stop, it stops. */
static void progress_rises_and_cancels(void)
{
    static const int by[] = {COMPRESS, TRAIN, SHRINK};
    for (int size = 0; size < (test.small ? 1 : 2); size++) {
        ways *w = make_ways(size == 0 ? 100 : 1100);
        for (int n = 0; n < SETTINGS * 3; n++) {
            const int way = by[n / SETTINGS];
            source rows = {NULL, 0, 0, 0};
            watcher watching = {0, 0, 0, 1};
            tte_image quiet, image;
            unsigned long bad = test.bad;
            if (!is_possible(way, n % SETTINGS)) continue;
            require(make_by(way, n % SETTINGS, w, &rows, NULL, &quiet), "an image");
            require(make_by(way, n % SETTINGS, w, &rows, &watching, &image), "an image");
            CHECK(watching.calls > 0 && watching.rising && watching.last == 1);
            CHECK(same_image(&quiet, &image));
            say_where(bad, way, n % SETTINGS);
            tte_free(&image), tte_free(&quiet);
            for (size_t stop = 1; stop <= watching.calls; stop += 1 + watching.calls / 30) {
                watcher cancelling = {0, 0, 0, 1};
                cancelling.stop_at = stop;
                image = sentinel_image();
                CHECK_STATUS(make_by(way, n % SETTINGS, w, &rows, &cancelling, &image), TTE_ERR_CANCELLED);
                CHECK(cancelling.calls == stop && is_sentinel(&image) && heap.live == 0); /* not asked again */
            }
        }
        free_ways(w);
    }
}

/* Every request for memory in turn is refused. */
static void memory_that_runs_out(void)
{
    ways *w = make_ways(test.small ? 64 : 80);
    for (int n = 0; n < SETTINGS * WAYS; n++) {
        source rows = {NULL, 0, 0, 0};
        tte_image image = sentinel_image();
        tte_status status = TTE_ERR_MEMORY;
        unsigned long bad = test.bad;
        if (!is_possible(n / SETTINGS, n % SETTINGS)) continue;
        for (heap.refuse = 1; heap.refuse < 10000; heap.refuse++) {
            image = sentinel_image();
            heap.requests = 0;
            status = make_by(n / SETTINGS, n % SETTINGS, w, &rows, NULL, &image);
            if (heap.requests < heap.refuse)
                break; /* all its requests were served */
            if (!CHECK_STATUS(status, TTE_ERR_MEMORY) || !CHECK(is_sentinel(&image) && heap.live == 0))
                break;
        }
        CHECK_STATUS(status, TTE_OK);
        CHECK(heap.refuse > 1 && heap.live == 1); /* an image is one block, and nothing else stays */
        heap.refuse = 0;
        tte_free(&image);
        CHECK(heap.live == 0 && image.data == NULL && image.size == 0);
        tte_free(&image), tte_free(NULL); /* harmless */
        say_where(bad, n / SETTINGS, n % SETTINGS);
    }
    CHECK(heap.live == 0);
    free_ways(w);
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

/* What tte_compress promises: the image, 10 dim x dim doubles and 64 megabytes. 400,000 x 64 floats are 102 MB. */
static void memory_is_bounded(void)
{
    size_t vocab = test.small ? 100000 : 400000, dim = 64;
    for (int kind = 0; kind < 2; kind++) {
        tte_options options = kind == 0 ? table_options(40, 0) : make_options(TTE_I4, 1, 0, NULL);
        tte_image image = sentinel_image();
        heap.peak = heap.bytes;
        require(tte_compress_rows(rows_of_numbers, &dim, vocab, dim, &options, &image), "tte_compress_rows");
        CHECK_LE((double)heap.peak, 64e6 + 80.0 * (double)(dim * dim) + (kind == 0 ? 1 : 2) * (double)image.size);
        tte_free(&image);
    }
}

/* ---- parts and the whole --------------------------------------------------------------------- */

/* Trained on all rows, shards of any partition merge into what tte_compress makes, byte for byte; for TTE_PER_TOKEN
 * without training. Appending what is missing gives the same. */
static void parts_make_the_whole(void)
{
    static const size_t cuts[][6] = {{300}, {1, 300}, {299, 300}, {127, 128, 300}, {1, 2, 3, 4, 300}, {128, 256, 300}};
    fixture f = make_fixture(300);
    float ones[300];
    for (int t = 0; t < 300; t++) ones[t] = 1;
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n, &f), like = options;
        source rows = {f.table, 300, 0, 0};
        tte_image whole, trained = {NULL, 0};
        tte_table view[7];
        size_t first = 0; /* of the views that are shards */
        if (options.layout == TTE_PER_TOKEN && options.ratio > 0) continue; /* shape and ranks are looked for */
        whole = make_image(f.table, 300, DIM, &options);
        if (options.layout == TTE_PER_TABLE && options.like == NULL) {
            CHECK_STATUS(tte_train(rows_of_source, &rows, 300, DIM, &options, &trained), TTE_OK);
            view[0] = open_image(&trained);
            CHECK(get_info(&view[0]).vocab == 0 && get_info(&view[0]).rel_error == 0);
            like.like = &view[0], like.ratio = like.eps = 0, like.effort = 0, first = 1;
        }
        for (int c = 0; c < 6; c++) {
            tte_image part[6], merged = sentinel_image();
            size_t count = 0, skip = c % 2 ? first : 0; /* the image of no rows may be a part, too */
            for (size_t start = 0; start < 300; start = cuts[c][count++]) {
                like.row_weight = options.row_weight != NULL ? f.weights + start : NULL;
                part[count] = make_image(f.table + start * DIM, cuts[c][count] - start, DIM, &like);
                view[first + count] = open_image(&part[count]);
            }
            CHECK_STATUS(tte_merge(view + skip, first + count - skip, &merged), TTE_OK);
            CHECK(same_image(&merged, &whole));
            tte_free(&merged);
            if (options.metric == NULL && count > 1) { /* which images do not keep */
                const size_t at = cuts[c][count - 2];
                tte_image grown = sentinel_image();
                const float *weights = options.row_weight != NULL ? f.weights + at : ones;
                merged = grown;
                CHECK_STATUS(tte_merge(view + first, count - 1, &merged), TTE_OK);
                view[first] = open_image(&merged);
                CHECK_STATUS(tte_append(&view[first], f.table + at * DIM, 300 - at, weights, &grown), TTE_OK);
                CHECK(same_image(&grown, &whole));
                tte_free(&merged), tte_free(&grown);
            }
            while (count-- > 0) free(part[count].data);
        }
        tte_free(&trained), free(whole.data);
    }
    CHECK(heap.live == 0);
    free_fixture(&f);
}

/* From a sample: the rows of all meet the ratio exactly, at about the error of training on all. A sample of all rows is
 * training on all. */
static void trained_on_a_sample(void)
{
    const size_t vocab = test.small ? 3000 : 6000;
    static const int kinds[] = {GAUSSIAN, DECAYING, UNEVEN, CLUSTERS, LOW_RANK, ZERO};
    float *weights = new_floats(vocab);
    for (size_t i = 0; i < vocab; i++) weights[i] = 1 / sqrtf((float)(1 + i * 7919 % vocab));
    for (int n = 0; n < 12; n++) {
        float *table = make_table(kinds[n / 2], vocab, DIM);
        tte_options options = table_options(n % 3 ? 9 : 14, 0), like = no_options();
        const double bytes = 4.0 * (double)(vocab * DIM) / (double)options.ratio;
        source rows = {table, vocab, 0, 0};
        tte_image fitted = sentinel_image(), out = fitted, image, whole;
        tte_table t, made, best;
        uint64_t levels[TTE_LEVELS] = {0};
        options.row_weight = n % 2 ? weights : NULL;
        whole = make_image(table, vocab, DIM, &options), best = open_image(&whole);
        if (!CHECK_STATUS(fit_of_sample(&rows, 6, &options, options.row_weight, &fitted), TTE_OK)) break;
        t = open_image(&fitted), like.like = &t, like.row_weight = options.row_weight;
        image = make_image(table, vocab, DIM, &like), made = open_image(&image);
        CHECK(get_info(&t).vocab == 0 && get_info(&made).vocab == vocab);
        CHECK_LE((double)image.size, bytes);
        if (kinds[n / 2] != ZERO && kinds[n / 2] != LOW_RANK) { /* which do not need all */
            CHECK_LE(0.98 * bytes, (double)image.size);
            /* few rows hundreds of times longer than the others, and none to weigh them down, are seen too seldom */
            const double times = kinds[n / 2] == UNEVEN && options.row_weight == NULL ? 6 : test.small ? 1.35 : 1.25;
            CHECK_LE(get_info(&made).weighted_error, times * get_info(&best).weighted_error);
        }
        require(tte_count(rows_of_source, &rows, vocab, DIM, &like, levels), "tte_count");
        CHECK_STATUS(tte_fit(&t, levels, 1e6f, &out), TTE_ERR_BUDGET);
        CHECK(out.data == NULL && out.size > fitted.size);
        tte_free(&fitted);
        if (n < 2) {
            require(tte_train(rows_of_source, &rows, vocab, DIM, &options, &out), "tte_train");
            require(tte_train_sample(rows_of_source, &rows, vocab, vocab, DIM, &options, &fitted), "tte_train_sample");
            CHECK(same_image(&out, &fitted));
            tte_free(&fitted), tte_free(&out);
        }
        free(image.data), free(whole.data), free(table);
    }
    CHECK(heap.live == 0);
    free(weights);
}

/* Old rows keep their bits; new ones come out as the image makes them, near the level of the old. */
static void appended_rows(void)
{
    enum { HALF = 200 };
    ways *w = make_ways(2 * HALF);
    float ones[HALF];
    for (int t = 0; t < HALF; t++) ones[t] = 1;
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n, &w->f), like = options;
        const tte_table *t = &w->view[n];
        tte_image grown = sentinel_image(), other = grown;
        double level = get_info(t).rel_error;
        const float *weights = options.row_weight != NULL ? w->f.weights + HALF : ones;
        unsigned long bad = test.bad;
        if (!CHECK_STATUS(tte_append(t, w->f.table + HALF * DIM, HALF, weights, &grown), TTE_OK)) continue;
        CHECK(same_rows(&grown, 0, &w->image[n], 0, HALF));
        options.ratio = 0, options.eps = options.layout == TTE_PER_TABLE ? 0 : options.eps;
        if (options.metric == NULL) /* which images do not keep */
            CHECK_LE(check_image(&grown, w->f.table, w->f.vocab, DIM, &options).whole, 1.2 * level + 1e-6);
        if (options.metric == NULL && options.layout == TTE_PER_TABLE) { /* the bytes of all rows like the first ones */
            like.like = t, like.ratio = like.eps = 0, like.effort = 0;
            other = make_image(w->f.table, w->f.vocab, DIM, &like);
            CHECK(same_image(&grown, &other));
            free(other.data);
        }
        tte_free(&grown);
        if (settings[n].with == 0) { /* without weights, as most rows of the table have it: 1 */
            require(tte_append(t, w->f.table, HALF, NULL, &grown), "tte_append");
            require(tte_append(t, w->f.table, HALF, ones, &other), "tte_append");
            CHECK(same_image(&grown, &other));
            tte_free(&grown), tte_free(&other);
        }
        say_where(bad, APPEND, n);
    }
    CHECK(heap.live == 0);
    free_ways(w);
}

/* A row a thousand times longer than the others, and one as much shorter: what is recorded tells the truth. */
static void appended_outliers(void)
{
    ways *w = make_ways(400);
    float outlier[2 * DIM], *table = new_floats(202 * DIM);
    for (int j = 0; j < DIM; j++) {
        outlier[j] = 1000 * w->f.table[j] + 300 * w->f.table[DIM + j];
        outlier[DIM + j] = 1e-3f * w->f.table[2 * DIM + j];
    }
    memcpy(table, w->f.table, 200 * DIM * sizeof *table), memcpy(table + 200 * DIM, outlier, sizeof outlier);
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n, &w->f);
        tte_image grown = sentinel_image();
        if (options.metric != NULL || options.row_weight != NULL) continue;
        options.ratio = 0, options.eps = options.layout == TTE_PER_TABLE ? 0 : options.eps;
        if (CHECK_STATUS(tte_append(&w->view[n], outlier, 2, NULL, &grown), TTE_OK)) {
            (void)check_image(&grown, table, 202, DIM, &options);
            CHECK(same_rows(&grown, 0, &w->image[n], 0, 200));
            tte_free(&grown);
        }
    }
    free(table), free_ways(w);
}

/* One row changes, all others keep their bits, and what is recorded bounds what is measured. */
static void replaced_rows(void)
{
    ways *w = make_ways(test.small ? 100 : 260);
    const size_t half = w->f.vocab / 2;
    float *fresh = w->f.table + half * DIM, *table = (float *)test_copy(w->f.table, half * DIM * sizeof *table);
    for (int n = 0; n < SETTINGS; n++)
        for (uint32_t token = 0; token < half; token += token < 120 ? 40 : 9) {
            tte_options options = setting(n, &w->f);
            tte_image image = sentinel_image(), alone;
            tte_table changed;
            tte_info info, before = get_info(&w->view[n]);
            errors e;
            float *rows;
            if (!CHECK_STATUS(tte_replace(&w->view[n], token, fresh, n % 2 ? 0 : 1, &image), TTE_OK)) break;
            changed = open_image(&image), info = get_info(&changed), rows = lookup_all(&changed);
            memcpy(table + token * DIM, fresh, DIM * sizeof *table);
            e = measure_in(table, rows, half, DIM, NULL, NULL);
            memcpy(table + token * DIM, w->f.table + token * DIM, DIM * sizeof *table);
            CHECK_LE(e.whole, info.rel_error * (1 + 1e-6) + 1e-7);
            CHECK_LE(e.worst, info.max_row_error * (1 + 1e-6) + 1e-6);
            CHECK_LE(info.rel_error, options.metric != NULL || options.row_weight != NULL || options.like != NULL
                                         ? HUGE_VAL : 1.2 * before.rel_error + 1e-6); /* and not by far */
            CHECK(info.vocab == half && info.coding == options.coding);
            CHECK(same_rows(&image, 0, &w->image[n], 0, token));
            CHECK(same_rows(&image, token + 1, &w->image[n], token + 1, half - token - 1));
            if (options.layout == TTE_PER_TOKEN && options.ratio == 0) {
                alone = make_image(fresh, 1, DIM, &options);
                CHECK(same_rows(&image, token, &alone, 0, 1));
                free(alone.data);
            }
            free(rows), tte_free(&image);
        }
    CHECK(heap.live == 0);
    free(table), free_ways(w);
}

/* ---- a smaller image without the table ----------------------------------------------------------- */

static void shrunk(void)
{
    ways *w = make_ways(test.small ? 300 : 1000);
    const size_t half = w->f.vocab / 2;
    for (int n = 0; n < SETTINGS; n++)
        for (int to = 0; to < 4 + CODINGS; to++) {
            tte_options options = to < 4 ? table_options(to < 2 ? 9 + 4 * (float)to : 0, to < 2 ? 0 : 0.6f)
                                         : make_options(all_codings[to - 4], 2, 0, NULL);
            tte_info before = get_info(&w->view[n]), after;
            tte_image image = sentinel_image(), direct;
            tte_table t;
            float *old = lookup_all(&w->view[n]), *rows;
            errors e, anew;
            options.row_weight = to == 1 || to == 3 ? w->f.weights : NULL;
            options.metric = to == 3 ? w->f.metric : NULL;
            if (CHECK_STATUS(tte_shrink(&w->view[n], &options, &image), TTE_OK)) {
                t = open_image(&image), after = get_info(&t), rows = lookup_all(&t);
                e = measure_in(w->f.table, rows, half, DIM, options.row_weight, options.metric);
                anew = measure_in(old, rows, half, DIM, options.row_weight, options.metric);
                CHECK(after.layout == options.layout && after.coding == options.coding && after.vocab == half);
                CHECK_LE((double)image.size * (double)options.ratio, 4.0 * (double)(half * DIM));
                CHECK_LE(anew.weighted, options.eps > 0 ? (double)options.eps * (1 + 1e-6) : HUGE_VAL);
                CHECK_LE(e.whole, after.rel_error * (1 + 1e-6) + 1e-7);
                CHECK_LE(e.worst, after.max_row_error * (1 + 1e-6) + 1e-6);
                CHECK_LE(after.rel_error, 1.01 * (before.rel_error + anew.whole * (1 + before.rel_error)) + 1e-6);
                direct = make_image(old, half, DIM, &options); /* it is compression of what was there */
                CHECK(direct.size == image.size && same_rows(&direct, 0, &image, 0, half));
                free(direct.data), free(rows), tte_free(&image);
            }
            free(old);
        }
    CHECK(heap.live == 0);
    free_ways(w);
}

/* ---- small images that promise much ---------------------------------------------------------------- */

/* Rows without a bit, of which a header may promise any number; then the widest model that so many bytes hold, half a bit
 * an entry. No call takes time or memory beyond what G2 promises. */
static void small_images(void)
{
    enum { MUCH = 512 };
    static plan p[2];
    float row[MUCH] = {0, 1, -2}, scores[3], *scratch;
    for (int kind = 0; kind < 2; kind++) {
        tte_image image, out = sentinel_image();
        unsigned char *bytes;
        uint32_t best[3];
        tte_table t, twice[2];
        clock_t start;
        p[kind].dim = kind == 0 ? 4 : MUCH, p[kind].rank = kind == 0 ? 0 : MUCH, p[kind].vocab = kind == 0 ? 1 : 8;
        p[kind].state_bits = 12, p[kind].classes = 1, p[kind].gain[0] = p[kind].scale[0] = 0x3F80;
        for (int i = 0; i < MUCH; i++) p[kind].basis_scale[i] = 0x3C00;
        p[kind].basis.runs = kind, p[kind].basis.of[0].rate = 1, p[kind].basis.of[0].count = p[kind].rank;
        image = write_image(&p[kind]), bytes = (unsigned char *)image.data;
        if (kind == 0) put_number(bytes + 24, 8, 0xFFFFFFFFu), seal_image(bytes, image.size, 0);
        start = clock(), heap.peak = heap.bytes = 0;
        t = twice[0] = twice[1] = open_image(&image), scratch = new_floats(tte_scratch_len(&t));
        CHECK_STATUS(tte_top_k(&t, row, 3, best, scores, scratch), TTE_OK);
        CHECK(best[0] == 0 && best[1] == 1 && best[2] == 2 && scores[2] == 0);
        CHECK_STATUS(tte_append(&t, row, 1, NULL, &out), kind == 0 ? TTE_ERR_SHAPE : TTE_OK);
        if (kind == 0) CHECK(is_sentinel(&out));
        else tte_free(&out);
        out = sentinel_image();
        CHECK_STATUS(tte_merge(twice, 2, &out), kind == 0 ? TTE_ERR_SHAPE : TTE_OK);
        if (kind > 0) tte_free(&out);
        CHECK_STATUS(tte_replace(&t, 7, row, 0, &out), TTE_OK);
        CHECK(out.size == image.size);
        tte_free(&out);
        CHECK_LE((double)heap.peak, 1024.0 * (double)image.size + 4e6);
        CHECK_LE((double)(clock() - start) / CLOCKS_PER_SEC, kind == 0 ? 1 : 30);
        free(scratch), free(image.data);
    }
    CHECK(heap.live == 0);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void refused_calls(void)
{
    ways *w = make_ways(60);
    tte_image out = sentinel_image();
    float *row = (float *)test_copy(w->f.table, 2 * DIM * sizeof *row);
    source rows = {NULL, 0, 0, 0};
    uint64_t levels[TTE_LEVELS] = {0}, nothing[TTE_LEVELS] = {0}, many[TTE_LEVELS] = {0x80000000u, 0x80000000u};
    row[DIM + 3] = float_from_bits(0x7F800000u);
    for (int n = 0; n < SETTINGS; n++) {
        const tte_table *t = &w->view[n];
        tte_options options = setting(n, &w->f), none = no_options();
        static const uint32_t bad[] = {0x80000000u, 0xBF800000u, 0x7FC00000u, 0x7F800000u, 0xFF800000u};
        rows.table = w->f.table, rows.vocab = 60;
        CHECK_STATUS(tte_compress_rows(NULL, &rows, 60, DIM, &options, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_compress_rows(rows_of_source, &rows, 0, DIM, &options, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_compress_rows(rows_of_source, &rows, 60, 0, &options, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_compress_rows(rows_of_source, &rows, 60, DIM, &options, NULL), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_train(NULL, &rows, 60, DIM, &options, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_train(rows_of_source, &rows, 0, DIM, &options, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_train(rows_of_source, &rows, 60, DIM, &options, NULL), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_train_sample(rows_of_source, &rows, 60, 59, DIM, &options, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_count(rows_of_source, &rows, 60, DIM, &none, levels), TTE_ERR_ARGUMENT);
        none.like = t;
        CHECK_STATUS(tte_count(rows_of_source, &rows, 60, DIM, &none, NULL), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_count(rows_of_source, &rows, 60, DIM, &none, levels),
                     t->layout == TTE_PER_TABLE ? TTE_OK : TTE_ERR_ARGUMENT);
        none = no_options(), rows.calls = 0;
        CHECK_STATUS(tte_fit(NULL, levels, 8, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_fit(t, NULL, 8, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_fit(t, nothing, 8, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_fit(t, levels, 8, NULL), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_fit(t, levels, 0, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_fit(t, many, 8, &out), t->layout == TTE_PER_TABLE ? TTE_ERR_SHAPE : TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_append(NULL, row, 1, NULL, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_append(t, NULL, 1, NULL, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_append(t, row, 0, NULL, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_append(t, row, 1, NULL, NULL), TTE_ERR_ARGUMENT);
        CHECK(tte_append(t, row, SIZE_MAX / 8, NULL, &out) != TTE_OK);
        CHECK_STATUS(tte_append(t, row, 2, NULL, &out), TTE_ERR_NOT_FINITE);
        CHECK_STATUS(tte_replace(NULL, 0, row, 1, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_replace(t, 0, NULL, 1, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_replace(t, 0, row, 1, NULL), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_replace(t, 30, row, 1, &out), TTE_ERR_RANGE);
        CHECK_STATUS(tte_replace(t, 0xFFFFFFFFu, row, 1, &out), TTE_ERR_RANGE);
        CHECK_STATUS(tte_replace(t, 3, row + DIM, 1, &out), TTE_ERR_NOT_FINITE);
        CHECK_STATUS(tte_merge(NULL, 1, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_merge(t, 0, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_merge(t, 1, NULL), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_shrink(NULL, &none, &out), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_shrink(t, &none, NULL), TTE_ERR_ARGUMENT);
        none.ratio = -1;
        CHECK_STATUS(tte_shrink(t, &none, &out), TTE_ERR_ARGUMENT);
        for (int i = 0; i < 5 && options.layout == TTE_PER_TABLE; i++) { /* of a row, 0 stands for most */
            const float weight = float_from_bits(bad[i]), zero = 0;
            CHECK_STATUS(tte_append(t, row, 1, i == 0 ? &zero : &weight, &out), TTE_ERR_ARGUMENT);
            if (i > 0) CHECK_STATUS(tte_replace(t, 0, row, weight, &out), TTE_ERR_ARGUMENT);
        }
        CHECK(is_sentinel(&out) && heap.live == 0 && rows.calls == 0);
    }
    free(row), free_ways(w);
}

/* Images that have nothing in common, as parts of one or as a pattern for rows. */
static void images_that_do_not_fit(void)
{
    ways *w = make_ways(120);
    float *wider = random_floats(60 * (DIM + 1));
    tte_options wide[2] = {table_options(3, 0), make_options(TTE_F32, 2, 0, NULL)};
    tte_image image[2], out = sentinel_image();
    for (int i = 0; i < 2; i++) image[i] = make_image(wider, 60, DIM + 1, &wide[i]);
    for (int n = 0; n < SETTINGS; n++) {
        const int table = settings[n].layout == TTE_PER_TABLE;
        tte_options like = setting(n, &w->f);
        for (int m = 0; m < SETTINGS + 2; m++) { /* all that were made otherwise */
            tte_image base = w->image[n];
            tte_table view[3];
            tte_status status;
            if (m == n || (m < SETTINGS && settings[n].with & settings[m].with & LIKE))
                continue; /* of one pattern */
            view[0] = view[1] = view[2] = open_image(&base);
            view[m % 3] = m < SETTINGS ? w->view[m] : open_image(&image[m - SETTINGS]);
            status = tte_merge(view, 3, &out);
            CHECK(status == TTE_ERR_ARGUMENT || (m >= SETTINGS && status == TTE_ERR_SHAPE));
            CHECK(is_sentinel(&out) && heap.live == 0);
        }
        if (!table) continue;
        like.like = &w->view[n], like.ratio = like.eps = 0, like.effort = 0;
        (void)compress_and_check(w->f.table, 20, DIM, &like);
        check_refused(wider, 20, DIM + 1, &like, TTE_ERR_ARGUMENT);
        check_refused(wider, 20, DIM - 1, &like, TTE_ERR_ARGUMENT);
        for (int i = 0; i < 6; i++) {
            tte_options bad = like;
            switch (i) {
            case 0: bad.like = &w->view[SETTINGS - 1]; break; /* of TTE_PER_TOKEN */
            case 1: bad.ratio = 2; break;
            case 2: bad.eps = 0.5f; break;
            case 3: bad.effort = 2; break;
            case 4: bad.max_rank = 2; break;
            default: bad.layout = TTE_PER_TOKEN, bad.coding = TTE_F32; break;
            }
            check_refused(w->f.table, 20, DIM, &bad, TTE_ERR_ARGUMENT);
        }
    }
    for (int i = 0; i < 2; i++) free(image[i].data);
    free(wider), free_ways(w);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_grow");
    RUN(rows_that_come_and_fail);
    RUN(progress_rises_and_cancels);
    RUN(memory_that_runs_out);
    RUN(memory_is_bounded);
    RUN(parts_make_the_whole);
    RUN(trained_on_a_sample);
    RUN(appended_rows);
    RUN(appended_outliers);
    RUN(replaced_rows);
    RUN(shrunk);
    RUN(small_images);
    RUN(refused_calls);
    RUN(images_that_do_not_fit);
    return test_end();
}
