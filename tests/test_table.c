/* test_table.c: compressing tables: what is kept of options, errors, bytes; what weights and metrics do; tables of
 * every kind; what is refused. check_image, in tables.h, has what holds for every image. */
#include "bodies.h"
#include "harness.h"
#include "tables.h"

/* ---- options --------------------------------------------------------------------------------- */

static void defaults(void)
{
    static const int dims[2] = {4, 6};
    const size_t vocab = 400;
    float *table = make_table(DECAYING, vocab, DIM);
    tte_options none = no_options(), full = none;
    tte_image image = make_image(table, vocab, DIM, NULL), other = make_image(table, vocab, DIM, &none);
    CHECK(same_image(&image, &other)); /* NULL stands for zeros */
    free(other.data);
    full.layout = TTE_PER_TABLE, full.coding = TTE_TRELLIS, full.ratio = 8, full.effort = 5;
    (void)check_image(&image, table, vocab, DIM, &full);
    other = make_image(table, vocab, DIM, &full);
    CHECK(same_image(&image, &other));
    free(image.data), free(other.data);
    full.ratio = 0, full.eps = 0.05f; /* eps says how much: no 8 times */
    image = make_image(table, vocab, DIM, &full);
    (void)check_image(&image, table, vocab, DIM, &full);
    CHECK(info_of(&image).ratio < 8);
    free(image.data);
    for (int kind = 0; kind < 4; kind++) { /* shape or max_rank: TTE_PER_TOKEN, in the coding that does best */
        tte_options options = none;
        options.layout = kind == 0 ? TTE_PER_TOKEN : TTE_LAYOUT_AUTO;
        options.max_rank = kind != 1 ? 2 : 0, options.eps = kind == 1 ? 0.5f : 0;
        options.shape = make_shape(kind == 2 ? 0 : 2, dims);
        image = make_image(table, vocab, DIM, &options);
        options.layout = TTE_PER_TOKEN, options.coding = info_of(&image).coding;
        (void)check_image(&image, table, vocab, DIM, &options);
        for (int c = 0; c < CODINGS && kind == 1; c++) {
            options.coding = all_codings[c];
            if (tte_compress(table, vocab, DIM, &options, &other) == TTE_OK) CHECK(image.size <= other.size);
            tte_free(&other);
        }
        free(image.data);
    }
    none.eps = -0.0f, none.ratio = -0.0f; /* no bounds; an image must not hold them as something else than 0 */
    image = make_image(table, vocab, DIM, &none);
    other = make_image(table, vocab, DIM, NULL);
    CHECK(same_image(&image, &other));
    free(image.data), free(other.data), free(table);
}

static void bad_options(void)
{
    static const uint32_t bits[] = {0xBF800000u, 0x80000001u, 0x7FC00000u, 0x7F800000u, 0xFF800000u};
    static const int twos[16] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
    fixture f = make_fixture(40);
    for (int n = 0; n < SETTINGS; n++) {
        const tte_options good = setting(n, &f);
        const int per_token = good.layout == TTE_PER_TOKEN;
        tte_options o;
#define REFUSED(change, want) (o = good, change, check_refused(f.table, f.vocab, DIM, &o, TTE_ERR_##want))
        check_refused(NULL, f.vocab, DIM, &good, TTE_ERR_ARGUMENT);
        check_refused(f.table, 0, DIM, &good, TTE_ERR_ARGUMENT);
        check_refused(f.table, f.vocab, 0, &good, TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_compress(f.table, f.vocab, DIM, &good, NULL), TTE_ERR_ARGUMENT);
        for (int i = 0; i < 5; i++) {
            REFUSED(o.eps = float_from_bits(bits[i]), ARGUMENT);
            REFUSED(o.ratio = float_from_bits(bits[i]), ARGUMENT);
        }
        REFUSED(o.eps = 1.01f, ARGUMENT); /* a bound above 1 bounds nothing */
        REFUSED(o.max_rank = -1, ARGUMENT);
        REFUSED(o.effort = -1, ARGUMENT);
        REFUSED(o.effort = 10, ARGUMENT);
        REFUSED(o.layout = per_token ? TTE_PER_TABLE : TTE_PER_TOKEN, ARGUMENT);
        REFUSED(o.coding = per_token ? TTE_TRELLIS : TTE_I8, ARGUMENT);
#ifndef __cplusplus /* in C++ such a value is undefined before the library sees it */
        REFUSED(o.coding = (tte_coding)6, ARGUMENT);
        REFUSED(o.layout = (tte_layout)3, ARGUMENT);
#endif
        if (!per_token) {
            REFUSED(o.max_rank = 3, ARGUMENT);
            REFUSED(o.shape = make_shape(5, twos), ARGUMENT);
            continue;
        }
        REFUSED(o.effort = 3, ARGUMENT);
        REFUSED(o.row_weight = f.weights, ARGUMENT);
        REFUSED(o.metric = f.metric, ARGUMENT);
        REFUSED(o.like = &f.like, ARGUMENT);
        REFUSED(o.shape = make_shape(4, twos), SHAPE); /* 16 places for 21 */
        REFUSED((o.shape = make_shape(5, twos), o.shape.dim[2] = 0), SHAPE);
        REFUSED((o.shape = make_shape(5, twos), o.shape.dim[2] = -2), SHAPE);
        REFUSED((o.shape = make_shape(16, twos), o.shape.modes = 17), SHAPE);
        REFUSED(o.shape.modes = -1, SHAPE);
        REFUSED((o.shape = make_shape(2, twos), o.shape.dim[0] = o.shape.dim[1] = 65536), SHAPE);
#undef REFUSED
    }
    free_fixture(&f);
}

static void bad_weights_and_metrics(void)
{
    static const uint32_t bits[] = {0, 0x80000000u, 0xBF800000u, 0x80000001u, 0x7FC00000u, 0xFFC00000u, 0x7F800000u,
                                    0xFF800000u};
    fixture f = make_fixture(70);
    tte_options options = table_options(3, 0);
    float *metric = new_floats(DIM * DIM);
    options.row_weight = f.weights;
    for (int i = 0; i < 8; i++)
        for (size_t place = 0; place < 70; place += 23) { /* 69, the last, included */
            float kept = f.weights[place];
            f.weights[place] = float_from_bits(bits[i]);
            check_refused(f.table, f.vocab, DIM, &options, TTE_ERR_ARGUMENT);
            f.weights[place] = kept;
        }
    for (int kind = 0; kind < 6; kind++)
        for (int i = 0; i < 3; i++) {
            float largest = 0;
            memcpy(metric, f.metric, sizeof f.metric);
            for (size_t j = 0; j < DIM * DIM; j++) largest = fmaxf(largest, metric[j]);
            switch (kind) {
            case 0: metric[i * 220] = float_from_bits(bits[4 + i]); break;
            case 1: metric[i * 100 + 1] += 0.01f * largest; break; /* not symmetric */
            case 2: metric[i * 220] = -0.1f * largest; break;  /* indefinite: a negative entry of the diagonal */
            case 3: metric[1] = metric[DIM] = 2 * largest; break;
            case 4: metric[i * 100 + 1] += 2e-6f * largest; break; /* symmetric to rounding: fine */
            default: random_metric(metric, DIM, (size_t)i + 1); break; /* singular: fine */
            }
            for (int like = 0; like < 2; like++) { /* for a basis that is made, and for one that is there */
                tte_options o = setting(like ? 5 : 0, &f);
                o.metric = metric;
                if (kind < 4)
                    check_refused(f.table, f.vocab, DIM, &o, TTE_ERR_ARGUMENT);
                else
                    (void)compress_and_check(f.table, f.vocab, DIM, &o);
            }
        }
    free(metric), free_fixture(&f);
}

/* Weights and metrics at the ends of float and of rank: refused where the contract says so, else rows are finite and
 * what is recorded is so. */
static void extreme_weights_and_metrics(void)
{
    static const float weights[][2] = {{1e38f, 1e-38f}, {1e-38f, 1e-38f}, {1e-45f, 1e-45f}, {FLT_MAX, FLT_MAX},
                                       {1e-45f, FLT_MAX}, {FLT_MAX, 1e-45f}, {1e20f, 1e-20f}, {1, 1}};
    static const struct { float even, odd, beside, rank_one; int good; } metrics[] = {
        {1, 1, 0, 0, 1},         {-1, -1, 0, 0, 0},          {0, 0, 0, 1, 1},     {0, 0, 0, 1e36f, 1}, {0, 0, 0, -1, 0},
        {1e38f, 1e38f, 0, 0, 1}, {1e-38f, 1e-38f, 0, 0, 1},  {1e38f, 1e-38f, 0, 0, 1}, {1e-44f, 1e-44f, 0, 0, 1},
        {0, 0, 0, 0, 1},         {1, -1e-4f, 0, 0, 0},       {1, 0, 0, 0, 1},     {FLT_MAX, FLT_MAX, FLT_MAX, 0, 1},
        {1, 1, 1.01f, 0, 0},     {1, 1, -1, 0, 0},           {1, 1e-44f, 1e-44f, 0, 1}};
    enum { METRICS = sizeof metrics / sizeof metrics[0] };
    fixture f = make_fixture(70);
    float *v = random_floats(DIM);
    for (int n = 0; n < METRICS * 8 * 3; n++) {
        const int w = n % 8, m = n / 8 % METRICS;
        tte_options options = n / 8 / METRICS == 2 ? setting(5, &f) : table_options(n / 8 / METRICS ? 0 : 4, n / 8 / METRICS ? 0.3f : 0);
        tte_image image = sentinel_image();
        tte_status status;
        for (size_t t = 0; t < f.vocab; t++) f.weights[t] = weights[w][t % 9 != 4];
        for (int i = 0; i < DIM * DIM; i++)
            f.metric[i] = (i % (DIM + 1) != 0 ? metrics[m].beside : i / (DIM + 1) % 2 ? metrics[m].odd : metrics[m].even) +
                          metrics[m].rank_one * v[i / DIM] * v[i % DIM];
        options.row_weight = f.weights, options.metric = f.metric;
        status = tte_compress(f.table, f.vocab, DIM, &options, &image);
        if (CHECK_STATUS(status, metrics[m].good ? TTE_OK : TTE_ERR_ARGUMENT) && status == TTE_OK) {
            tte_table t = open_image(&image);
            tte_info info = get_info(&t);
            float *rows = lookup_all(&t);
            errors e = measure_in(f.table, rows, f.vocab, DIM, f.weights, f.metric);
            for (size_t i = 0; i < f.vocab * DIM; i++) CHECK(fabs((double)rows[i]) <= (double)FLT_MAX);
            CHECK_LE(fabs(info.rel_error - e.whole), 1e-5);
            CHECK_LE(fabs(info.weighted_error - e.weighted), 1e-4); /* entries of the metric are rounded */
            free(rows), tte_free(&image);
        } else if (test.bad > 0 && test.bad <= 6) {
            fprintf(stderr, "    weights %d, metric %d\n", w, m);
        }
        CHECK(heap.live == 0);
    }
    free(v), free_fixture(&f);
}

/* ---- budgets --------------------------------------------------------------------------------- */

enum { KINDS = 1 + CODINGS };

static tte_options kind_options(int kind, float ratio, float eps) /* TTE_PER_TABLE, or a coding of TTE_PER_TOKEN */
{
    tte_options options = kind == 0 ? table_options(ratio, eps) : make_options(all_codings[kind - 1], 0, eps, NULL);
    options.ratio = ratio;
    return options;
}

/* Compresses and checks what came of it: errors and size to `got` where it went well. Where no setting will do, the bytes
 * that would are named, and with those it goes well. */
typedef struct attempt { errors e; size_t size; } attempt;

static tte_status try_options(const float *table, size_t vocab, size_t dim, tte_options options, attempt *got)
{
    const double raw = 4.0 * (double)vocab * (double)dim;
    const unsigned long bad = test.bad;
    const long live = heap.live;
    tte_image image = sentinel_image();
    tte_status status = tte_compress(table, vocab, dim, &options, &image);
    memset(got, 0, sizeof *got);
    if (status == TTE_OK) {
        got->size = image.size;
        image = exact_image(&image);
        got->e = check_image(&image, table, vocab, dim, &options);
        free(image.data);
    } else {
        check_nothing_written(status, &image);
    }
    if (options.layout == TTE_PER_TOKEN && (double)image.size * (double)options.ratio <= raw)
        image.size = 0; /* rows that no float16 holds: bytes are not what is missing */
    else if (status == TTE_ERR_BUDGET && options.ratio > 0)
        CHECK((double)image.size * (double)options.ratio > raw);
    if (status == TTE_ERR_BUDGET && options.layout == TTE_PER_TABLE && options.ratio > 0 && image.size > 0 &&
        raw > (double)image.size) {
        const size_t named = image.size;
        options.ratio = (float)(raw / (double)named * (1 - 1e-6));
        if (try_image(table, vocab, dim, &options, &image)) {
            (void)check_image(&image, table, vocab, dim, &options);
            CHECK(image.size <= named);
            free(image.data);
        }
    }
    CHECK(heap.live == live);
    if (test.bad > bad && test.bad <= 6)
        fprintf(stderr, "    %d x %d: layout %d, coding %d, ratio %g, eps %g, cap %d\n", (int)vocab, (int)dim,
                (int)options.layout, (int)options.coding, (double)options.ratio, (double)options.eps, options.max_rank);
    return status;
}

/* Every byte counted; more bytes, no larger error; of those that are there, nearly all are used. */
static void ratio_is_kept(void)
{
    static const float ratios[] = {1.2f, 2, 3.3f, 5, 8, 11, 16, 25, 38.4f, 60, 100};
    static const int tables[] = {GAUSSIAN, DECAYING, CLUSTERS, HEAVY_TAILS};
    for (int of = 0; of < (test.small ? 2 : 4); of++) {
        const size_t vocab = test.small ? 300 : 1000, dim = 48;
        float *table = make_table(tables[of], vocab, dim);
        for (int kind = 0; kind < KINDS; kind++) {
            double last = 0;
            int made = 0;
            for (int r = 0; r < 11; r++) {
                attempt got;
                if (try_options(table, vocab, dim, kind_options(kind, ratios[r], 0), &got) != TTE_OK) continue;
                CHECK_LE(last, got.e.whole);
                last = got.e.whole, made++;
                if (kind == 0 && ratios[r] > 4 && ratios[r] < 50) /* below that some images hold all they can */
                    CHECK_LE(4.0 * (double)(vocab * dim), (double)(got.size + vocab + 64) * (double)ratios[r]);
            }
            CHECK(made >= (kind == 0 ? 7 : 2));
        }
        free(table);
    }
}

/* A normal source of variance 1 in R bits a number cannot be told better than to 2^-2R. At 3 bits and below, the
 * trellis is a tenth of a bit from that; steps of half a bit and the index take as much. */
static void near_the_bound(void)
{
    static const float ratios[] = {10, 14, 18, 24, 32};
    const size_t vocab = test.small ? 1500 : 5000, dim = 64;
    float *table = random_floats(vocab * dim);
    for (int r = 0; r < 5; r++) {
        tte_options options = table_options(ratios[r], 0);
        attempt got;
        options.effort = 4;
        if (CHECK_STATUS(try_options(table, vocab, dim, options, &got), TTE_OK))
            CHECK_LE(got.e.whole, pow(2, 0.3 - 8.0 * ((double)got.size - 1.3 * (double)(dim * dim)) / (double)(vocab * dim)));
    }
    free(table);
}

/* A little more ratio, a little more error: no budget is missed by so much that half of the directions go. */
static void ratio_by_small_steps(void)
{
    const size_t vocab = 400, dim = 24;
    float *table = random_floats(vocab * dim);
    double last = 0;
    for (int step = 0; step < (test.small ? 60 : 300); step++) {
        tte_options options = table_options(6 + (test.small ? 0.1f : 0.02f) * (float)step, 0);
        tte_image image = make_image(table, vocab, dim, &options);
        CHECK_LE(last, 1.2 * info_of(&image).rel_error);
        last = info_of(&image).rel_error;
        free(image.data);
    }
    free(table);
}

static void eps_is_kept(void)
{
    static const float eps[] = {1, 0.9f, 0.5f, 0.3f, 0.1f, 0.05f, 0.02f, 0.01f, 1e-3f, 1e-4f, 1e-5f};
    static const float must_reach[KINDS] = {1e-3f, 1e-5f, 1e-3f, 0.02f, 0.3f};
    static const float cannot_reach[KINDS] = {1e-4f, 0, 1e-4f, 1e-3f, 0.05f};
    static const int dims[3] = {4, 6, 5};
    const size_t vocab = test.small ? 100 : 300, dim = 115;
    float *table = mixed_table(vocab, dim);
    for (int kind = 0; kind < KINDS; kind++) {
        size_t last = 0;
        for (int i = 0; i < 11; i++) {
            tte_options options = kind_options(kind, 0, eps[i]);
            attempt got;
            tte_status status;
            options.shape = make_shape(kind > 0 && i % 2 ? 3 : 0, dims);
            status = try_options(table, vocab, dim, options, &got);
            CHECK(status == TTE_OK || (status == TTE_ERR_BUDGET && eps[i] < must_reach[kind]));
            CHECK(status != TTE_OK || eps[i] > cannot_reach[kind]);
            if (status == TTE_OK && kind == 0) { /* what is allowed is used */
                CHECK_LE(0.8 * (double)eps[i], got.e.whole);
                CHECK(last <= got.size);
                last = got.size;
            }
        }
    }
    free(table);
}

/* Both hold, or neither; noise does not fit eight times within a percent, one number has a header larger than itself. A
 * NaN comes before a budget that cannot be met. */
static void ratio_and_eps(void)
{
    static const float ratios[] = {2, 5, 9, 14, 30, 1e6f}, eps[] = {0.5f, 0.2f, 0.1f, 0.5f, 0.3f, 0.9f};
    static const int square[2] = {8, 8};
    const size_t vocab = 400, dim = 64;
    float *table = make_table(LOW_RANK, vocab, dim), *noise = random_floats(vocab * dim);
    for (size_t i = 0; i < vocab * dim; i++) table[i] += 1e-3f * noise[i];
    for (int kind = 0; kind < KINDS; kind++) {
        tte_options options = kind_options(kind, 0, 0.01f);
        attempt got;
        for (int i = 0; i < 6; i++) {
            tte_status status = try_options(table, vocab, dim, kind_options(kind, ratios[i], eps[i]), &got);
            CHECK(status == TTE_OK ? i < 5 : status == TTE_ERR_BUDGET && (kind > 0 || i > 2));
        }
        CHECK_STATUS(try_options(noise, vocab, dim, kind_options(kind, 1e6f, 0), &got), TTE_ERR_BUDGET);
        CHECK_STATUS(try_options(noise, vocab, dim, kind_options(kind, 8, 0.01f), &got), TTE_ERR_BUDGET);
        CHECK_STATUS(try_options(noise, 1, 1, kind_options(kind, 1, 0), &got), TTE_ERR_BUDGET);
        options.max_rank = 2, options.shape = make_shape(2, square);
        if (kind > 0) CHECK_STATUS(try_options(noise, vocab, dim, options, &got), TTE_ERR_BUDGET);
        noise[77] = float_from_bits(0x7FC00000u);
        options = kind_options(kind, 1e6f, 0.01f);
        check_refused(noise, vocab, dim, &options, TTE_ERR_NOT_FINITE);
        noise[77] = 1;
    }
    free(table), free(noise);
}

/* ---- tables of every kind -------------------------------------------------------------------- */

static void tables_of_every_kind(void)
{
    static const size_t sizes[][2] = {{1, 1}, {1, 24}, {2, 24}, {300, 1}, {9, 48}, {40, 24}, {130, 5}, {300, 33}};
    static const float ratios[] = {3, 0, 0, 2e-3f}, eps[] = {0, 0.6f, 0.05f, 0}; /* the last: as large as may be */
    for (int of = 0; of < TABLES; of++)
        for (int s = 0; s < 8; s++) {
            const size_t vocab = sizes[s][0], dim = sizes[s][1];
            float *table = make_table(of, vocab, dim);
            for (int n = 0; n < 4 * KINDS; n++) {
                tte_options options = kind_options(n % KINDS, ratios[n / KINDS], eps[n / KINDS]);
                attempt got;
                tte_status status;
                options.max_rank = n / KINDS == 3 && n % KINDS > 0 ? 1 : 0;
                status = try_options(table, vocab, dim, options, &got);
                CHECK(status == TTE_OK || status == TTE_ERR_BUDGET || (status == TTE_ERR_NOT_FINITE && of == HUGE_NUMBERS));
                if (n % KINDS < 2 && n / KINDS % 2 == 1 && of != HUGE_NUMBERS) /* those that can for certain */
                    CHECK_STATUS(status, TTE_OK);
            }
            free(table);
        }
}

static void every_dim(void)
{
    for (size_t dim = 1; dim <= (test.small ? 20u : 90u); dim++) {
        const size_t vocab = dim / 2 + 200 / dim; /* fewer rows than columns, too */
        float *table = make_table(DECAYING, vocab, dim);
        attempt got;
        for (int kind = 0; kind < KINDS; kind++)
            CHECK_STATUS(try_options(table, vocab, dim, kind_options(kind, 0, 0.5f), &got), TTE_OK);
        free(table);
    }
}

/* A table 2^100 times smaller or larger loses the same. Scaling by powers of two rounds nothing, but for the smallest. */
static void tables_of_every_scale(void)
{
    static const int powers[] = {-126, -100, -66, -10, 7, 66, 100, 120};
    fixture f = make_fixture(120);
    float *scaled = new_floats(f.vocab * DIM);
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n, &f);
        attempt plain = {{0, 0, 0}, 0}, got = plain;
        if (options.like != NULL) continue;
        CHECK_STATUS(try_options(f.table, f.vocab, DIM, options, &plain), TTE_OK);
        for (int s = 0; s < 8; s++) {
            const int all = options.coding == TTE_TRELLIS || options.coding == TTE_F32 || s == 3 || s == 4;
            tte_status status;
            for (size_t i = 0; i < f.vocab * DIM; i++) scaled[i] = ldexpf(f.table[i], powers[s]);
            status = try_options(scaled, f.vocab, DIM, options, &got);
            CHECK(status == TTE_OK || (status == TTE_ERR_BUDGET && !all)); /* beyond float16 */
            if (status == TTE_OK && all)
                CHECK_LE(fabs(got.e.weighted - plain.e.weighted), (s == 0 ? 1e-2 : 1e-6) * plain.e.weighted + 1e-6);
        }
    }
    free(scaled), free_fixture(&f);
}

/* From subnormal numbers to the largest, alone and side by side: errors are those of the rows that tte_lookup gives, in
 * double, and eps is kept. Of a row far below the others the error is that many times its norm. */
static void errors_at_every_scale(void)
{
    static const double scales[] = {1e-44, 1e-40, 1e-20, 1, 1e20, 1e37, 1e38};
    static const float eps[] = {0.1f, 0.6f, 0};
    enum { ROWS = 63, ALL = 7, SIZES = ALL + 2 }; /* the last: every ninth row, all rows of any scale */
    fixture f = make_fixture(ROWS);
    float *table = new_floats(ROWS * DIM), top = 0;
    for (int i = 0; i < ROWS * DIM; i++) top = fmaxf(top, fabsf(f.table[i]));
    for (int n = 0; n < SIZES * (KINDS + 2) * 3; n++) {
        const int size = n % SIZES, with = n / SIZES % (KINDS + 2), kind = with < KINDS ? with : 0;
        tte_options options = kind_options(kind, n / SIZES / (KINDS + 2) == 2 ? 1.1f : 0, eps[n / SIZES / (KINDS + 2)]);
        const int wide = kind < 2 || (size == 3 && options.eps > 0.5f); /* no float16 */
        tte_image image = sentinel_image();
        tte_status status;
        for (int i = 0; i < ROWS * DIM; i++) {
            const int row = i / DIM, any = size == ALL ? row % 9 == 0 : size > ALL;
            table[i] = (float)((double)f.table[i] / (double)top * scales[any ? (row + row / 9) % ALL : size % ALL]);
        }
        options.row_weight = with == KINDS ? f.weights : NULL, options.metric = with > KINDS ? f.metric : NULL;
        status = tte_compress(table, ROWS, DIM, &options, &image);
        if (!CHECK(status == TTE_OK || (status == TTE_ERR_BUDGET && !wide)) || status != TTE_OK) continue;
        {
            tte_table t = open_image(&image);
            tte_info info = get_info(&t);
            float *rows = lookup_all(&t);
            errors e = measure_in(table, rows, ROWS, DIM, options.row_weight, options.metric);
            for (int i = 0; i < ROWS * DIM; i++) CHECK(fabs((double)rows[i]) <= (double)FLT_MAX);
            CHECK_LE(fabs(info.rel_error - e.whole), 1e-6 * e.whole);
            CHECK_LE(fabs(info.max_row_error - e.worst), 1e-6 * e.worst);
            CHECK_LE(fabs(info.weighted_error - e.weighted), options.metric != NULL ? 1e-4 * e.weighted + 1e-6 : 1e-6 * e.weighted);
            if (options.eps > 0) CHECK_LE(kind > 0 ? e.worst : e.weighted, (double)options.eps * (1 + 1e-6));
            free(rows);
        }
        tte_free(&image);
    }
    free(table), free_fixture(&f);
}

/* Rows whose norm is at the end of float: what rounding would carry beyond it is refused, not stored. */
static void largest_rows(void)
{
    int made = 0, refused = 0;
    for (int round = 0; round < (test.small ? 300 : 600); round++) {
        size_t vocab = (size_t)rng_int(1, 20), dim = (size_t)rng_int(1, 30);
        float *table = new_floats(vocab * dim), *rows;
        tte_options options = kind_options(round % KINDS, 0, round % KINDS > 0 ? 0 : 0.9f);
        tte_image image = sentinel_image();
        tte_status status;
        options.max_rank = round % KINDS > 0 ? rng_int(1, 5) : 0;
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
            for (size_t i = 0; i < vocab * dim; i++) CHECK(fabs((double)rows[i]) <= (double)FLT_MAX);
            made += options.coding != TTE_F16;
            free(rows), tte_free(&image);
        }
        free(table);
    }
    CHECK(made > 0 && refused > 0);
}

static void not_finite(void)
{
    static const uint32_t bits[] = {0x7FC00000u, 0xFFC00000u, 0x7F800001u, 0x7F800000u, 0xFF800000u};
    fixture f = make_fixture(70);
    const size_t count = f.vocab * DIM;
    for (int n = 0; n < SETTINGS; n++)
        for (int i = 0; i < 15; i++) {
            const size_t place = i % 3 == 0 ? 0 : i % 3 == 1 ? count / 2 : count - 1;
            const float kept = f.table[place];
            tte_options options = setting(n, &f);
            f.table[place] = float_from_bits(bits[i / 3]);
            check_refused(f.table, f.vocab, DIM, &options, TTE_ERR_NOT_FINITE);
            f.table[place] = kept;
        }
    free_fixture(&f);
}

/* Sizes that no memory holds are refused before anything is read. */
static int refusing_rows(void *user, size_t first, size_t count, float *dst)
{
    (void)first, (void)count, (void)dst;
    ++*(long *)user;
    return 1;
}

static void enormous_sizes(void)
{
    static const size_t sizes[][2] = {{SIZE_MAX, 1}, {1, SIZE_MAX}, {SIZE_MAX, SIZE_MAX}, {SIZE_MAX / 2 + 2, 2},
                                      {SIZE_MAX / 4, 4}, {4, SIZE_MAX / 4}, {16, SIZE_MAX / 32}, {3, 0x80000000u},
                                      {0xFFFFFFFFu, 16385}, {0xFFFFFFFFu, 16384}};
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < 9; i++) {
            tte_options options = kind_options(kind, 0, 0);
            tte_image image = sentinel_image();
            long calls = 0;
            tte_status status;
            if (kind > 0 && i > 7) continue;
            status = tte_compress_rows(refusing_rows, &calls, sizes[i][0], sizes[i][1], &options, &image);
            CHECK_STATUS(status, TTE_ERR_SHAPE);
            CHECK(is_sentinel(&image) && calls == 0);
        }
}

/* ---- weights and metric ---------------------------------------------------------------------- */

/* |e M e'| over |x M x'| of some rows: all, or every tenth one from 3 on. */
static double part_of_error(const float *table, const tte_image *image, size_t vocab, size_t dim, const float *metric,
                            size_t step)
{
    tte_table t = open_image(image);
    float *rows = lookup_all(&t);
    double gaps = 0, total = 0;
    for (size_t i = step > 1 ? 3 : 0; i < vocab; i += step) {
        gaps += energy(table + i * dim, rows + i * dim, dim, metric);
        total += energy(table + i * dim, NULL, dim, metric);
    }
    free(rows);
    return sqrt(gaps / total);
}

static void weights_are_heeded(void)
{
    const size_t vocab = 1000, dim = 32;
    float *weights = new_floats(vocab), *table = random_floats(vocab * dim);
    tte_options with = table_options(12, 0), without = with;
    tte_image a, b;
    for (size_t t = 0; t < vocab; t++) /* every tenth row is heavy and has directions of its own */
        for (size_t j = 0; j < dim; j++) {
            weights[t] = t % 10 == 3 ? 64.0f : 1.0f;
            table[t * dim + j] *= (j < dim / 4) == (t % 10 == 3) ? 1.0f : 0.25f;
        }
    reflect_rows(table, vocab, dim);
    with.row_weight = weights;
    a = make_image(table, vocab, dim, &with);
    b = make_image(table, vocab, dim, &without);
    (void)check_image(&a, table, vocab, dim, &with);
    CHECK_LE(part_of_error(table, &a, vocab, dim, NULL, 10), 0.2 * part_of_error(table, &b, vocab, dim, NULL, 10));
    free(a.data), free(b.data);
    for (int scale = -20; scale <= 20; scale += 20) /* equal weights of any size are none */
        for (int kind = 0; kind < 2; kind++) {
            for (size_t t = 0; t < vocab; t++) weights[t] = (float)pow(10, scale);
            with.ratio = without.ratio = kind == 0 ? 6 : 0, with.eps = without.eps = kind == 0 ? 0 : 0.3f;
            a = make_image(table, vocab, dim, &with);
            b = make_image(table, vocab, dim, &without);
            CHECK_LE(fabs(check_image(&a, table, vocab, dim, &with).whole / info_of(&b).rel_error - 1), 1e-6);
            CHECK(a.size == b.size);
            free(a.data), free(b.data);
        }
    for (size_t t = 0; t < vocab; t++) /* of every size */
        weights[t] = (float)pow(10, 12 * rng_uniform() - 6);
    for (int kind = 0; kind < 3; kind++) {
        with.ratio = kind == 0 ? 6 : 0, with.eps = kind == 0 ? 0 : kind == 1 ? 0.4f : 0.1f;
        (void)compress_and_check(table, vocab, dim, &with);
    }
    free(table), free(weights);
}

/* One large direction: its error is small. A metric and a multiple of it are the same, and the identity is none. */
static void metric_is_heeded(void)
{
    const size_t vocab = 1000, dim = 24;
    float *table = random_floats(vocab * dim), *metric = new_floats(dim * dim), *v = random_floats(dim);
    float *along = new_floats(dim * dim);
    tte_options with = table_options(12, 0), without = with;
    tte_image a, b;
    for (size_t i = 0; i < dim; i++)
        for (size_t j = 0; j < dim; j++) {
            along[i * dim + j] = v[i] * v[j];
            metric[i * dim + j] = 100 * v[i] * v[j] + (i == j ? 1.0f : 0);
        }
    with.metric = metric;
    a = make_image(table, vocab, dim, &with);
    b = make_image(table, vocab, dim, &without);
    (void)check_image(&a, table, vocab, dim, &with);
    CHECK_LE(part_of_error(table, &a, vocab, dim, along, 1), 0.25 * part_of_error(table, &b, vocab, dim, along, 1));
    CHECK_LE(info_of(&a).weighted_error, 0.27 * part_of_error(table, &b, vocab, dim, metric, 1));
    CHECK(info_of(&a).rel_error > info_of(&a).weighted_error);
    free(b.data);
    for (int power = -60; power <= 60; power += 30) { /* which rounds nothing */
        for (size_t i = 0; i < dim * dim; i++) along[i] = ldexpf(metric[i], power);
        with.metric = along;
        b = make_image(table, vocab, dim, &with);
        CHECK(same_image(&a, &b));
        free(b.data);
    }
    free(a.data);
    for (size_t i = 0; i < dim * dim; i++) along[i] = i % (dim + 1) == 0 ? 3.0f : 0;
    for (int kind = 0; kind < 2; kind++) {
        with.ratio = without.ratio = kind == 0 ? 6 : 0, with.eps = without.eps = kind == 0 ? 0 : 0.3f;
        a = make_image(table, vocab, dim, &with);
        b = make_image(table, vocab, dim, &without);
        CHECK_LE(fabs(check_image(&a, table, vocab, dim, &with).whole / info_of(&b).rel_error - 1), 3e-3);
        free(a.data), free(b.data);
    }
    with.ratio = 0, with.eps = 0.3f; /* of a singular one, only what it sees is kept */
    for (size_t i = 0; i < dim * dim; i++) along[i] = v[i / dim] * v[i % dim];
    a = make_image(table, vocab, dim, &with);
    (void)check_image(&a, table, vocab, dim, &with);
    CHECK(info_of(&a).ratio > 15);
    free(a.data), free(table), free(metric), free(along), free(v);
}

/* More effort, no larger error, and as many bytes. With few columns, steps of a byte a row decide more than effort does. */
static void effort_pays(void)
{
    static const struct { int kind; size_t vocab, dim; double slack; } tables[] = {
        {GAUSSIAN, 1500, 64, 1.005}, {DECAYING, 500, 24, 1.1}};
    for (int of = 0; of < 2; of++) {
        const size_t vocab = tables[of].vocab, dim = tables[of].dim;
        float *table = make_table(tables[of].kind, vocab, dim);
        double last = 1;
        for (int32_t effort = 1; effort <= (test.small ? 5 : 9); effort += 2) {
            tte_options options = table_options(8, 0);
            errors e;
            options.effort = effort;
            e = compress_and_check(table, vocab, dim, &options);
            CHECK_LE(e.whole, last);
            last = e.whole * tables[of].slack;
        }
        free(table);
    }
}

/* ---- TTE_PER_TOKEN: every row its own train -------------------------------------------------------- */

static tte_info compressed_info(const float *table, size_t vocab, size_t dim, const tte_options *options)
{
    tte_image image = make_image(table, vocab, dim, options);
    tte_info info = info_of(&image);
    free(image.data);
    return info;
}

/* dim 768 in ten modes of two: 20 numbers a token at rank 1, 232 at rank cap 4. */
static void figures_of_tensorgpt(void)
{
    static const int twos[10] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
    tte_shape shape = make_shape(10, twos);
    size_t vocab = test.small ? 8 : 200, dim = 768;
    float *table = random_floats(vocab * dim);
    tte_options one = make_options(TTE_F32, 1, 0, &shape), four = make_options(TTE_F32, 4, 0, &shape);
    tte_info a = compressed_info(table, vocab, dim, &one), b = compressed_info(table, vocab, dim, &four);
    tte_info half = compressed_info(table, vocab / 2, dim, &one);
    CHECK_LE(fabs(a.mean_numbers - 20), 1e-9);
    CHECK_LE(fabs(b.mean_numbers - 232), 1e-9);
    CHECK(a.bytes - half.bytes == 80 * (vocab - vocab / 2) && b.bytes - a.bytes == 4 * 212 * vocab);
    CHECK_LE(fabs(a.rel_error - 0.99), 0.005); /* rows without structure: what the format loses */
    CHECK_LE(fabs(b.rel_error - 0.88), 0.012);
    free(table);
}

static void every_coding_by_rank_cap(void)
{
    static const int dims[3] = {4, 6, 5}, pair[2] = {16, 24};
    static const double lost[4] = {1.5e-6, 4e-4, 0.011, 0.17}, bits[4] = {32, 16, 8, 4}; /* lost at full ranks */
    tte_shape shape = make_shape(3, dims), wide = make_shape(2, pair);
    size_t vocab = test.small ? 12 : 60, dim = 110; /* ten places of padding */
    float *table = mixed_table(vocab, dim), *noise = random_floats(100 * 384);
    for (int c = 0; c < 4; c++) {
        double last = 2;
        tte_options options = make_options(all_codings[c], 4, 0, &wide);
        tte_info info = compressed_info(noise, 100, 384, &options);
        CHECK(info.mean_numbers == 4 * (16 + 24)); /* header, and a scale for each core */
        CHECK_LE((double)info.bytes, 100 * (160 * bits[c] / 8 + (c < 2 ? 0 : 4)) + 300);
        for (int cap = 1; cap <= 32; cap *= 2) {
            options = make_options(all_codings[c], cap, 0, &shape);
            CHECK_LE(compress_and_check(table, vocab, dim, &options).whole, cap == 32 ? lost[c] : last);
            last = compress_and_check(table, vocab, dim, &options).whole + 0.001;
        }
    }
    free(table), free(noise);
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

/* Rows of all kinds side by side: whatever way the library takes to compress many rows at once, each comes out as
 * well as tte_decompose does it alone, and as the same record whatever stands beside it. */
static void rows_are_independent(void)
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
            while (modes < 5 && shapes[i][modes] > 0) modes++;
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
                tte_image one = make_image(table + r * dim, 1, dim, &options);
                double alone = error_of_one(&shape, table + r * dim, dim, cap);
                double slack = r == 8 ? 1e-5 : 3e-6; /* row 8 is denormal: few bits to be right in */
                if (!CHECK_LE(row_error(table + r * dim, rows + r * dim, dim), alone * (1 + 1e-5) + slack) && test.bad <= 6)
                    fprintf(stderr, "    shape %d, cap %d, row %d\n", i, cap, (int)r);
                CHECK(same_rows(&image, r, &one, 0, 1));
                free(one.data);
            }
            free(rows), free(image.data), free(table);
        }
}

/* A row in one mode is its own core, so that a coding can be seen bare: float16 is the nearest one, ties to even;
 * eight and four bits lose no more than plain rounding in steps of the largest entry / 127 or / 7. */
static void codings_round_well(void)
{
    enum { ROWS = 300, LEN = 16 };
    float *table = new_floats(ROWS * LEN), *rows;
    int dims[1] = {LEN};
    tte_shape shape = make_shape(1, dims);
    for (int i = 0; i < ROWS * LEN; i++) {
        double size = ldexp(rng_int(0, 2) ? 1 + rng_uniform() : 1 + rng_int(0, 4095) / 2048.0,
                            rng_int(-12, 8)); /* the second kind hits ties */
        table[i] = (float)(rng_int(0, 1) ? size : -size);
        if (i % 7 == 0)
            table[i] = (float)ldexp(rng_int(-4000, 4000), -26); /* denormal in float16 */
    }
    for (int c = 1; c < 4; c++) {
        tte_options options = make_options(all_codings[c], 1, 0, &shape);
        tte_image image = make_image(table, ROWS, LEN, &options);
        tte_table t = open_image(&image);
        rows = lookup_all(&t);
        for (int i = 0; i < ROWS * LEN && c == 1; i++) {
            int e;
            double quantum;
            (void)frexp((double)table[i], &e);
            quantum = ldexp(1, (e - 1 < -14 ? -14 : e - 1) - 10);
            CHECK((double)rows[i] == rint((double)table[i] / quantum) * quantum);
        }
        for (size_t r = 0; r < ROWS && c > 1; r++) {
            const float *row = table + r * LEN;
            double top = 0, step, plain = 0;
            for (int j = 0; j < LEN; j++) top = fmax(top, fabs((double)row[j]));
            step = top / (c == 2 ? 127 : 7);
            for (int j = 0; j < LEN; j++) plain += pow((double)row[j] - rint((double)row[j] / step) * step, 2);
            CHECK_LE(distance(row, rows + r * LEN, LEN), 1.015 * sqrt(plain) + 1e-4 * step);
        }
        free(rows), free(image.data);
    }
    free(table);
}

/* Under eps the ranks are those of the rows: fewer numbers for simple rows than for noise; and next to the same at any
 * scale. */
static void eps_adapts_to_each_row(void)
{
    static const int dims[3] = {8, 4, 4};
    tte_shape shape = make_shape(3, dims);
    size_t vocab = 40, dim = 128;
    float *smooth = smooth_table(vocab, dim), *noise = random_floats(vocab * dim);
    tte_options options = make_options(TTE_F32, 0, 0.05f, &shape);
    tte_info a = compressed_info(smooth, vocab, dim, &options), b = compressed_info(noise, vocab, dim, &options), both;
    CHECK_LE(a.mean_numbers, 2 * 8 + 2 * 4 * 2 + 2 * 4 + 1e-9);
    CHECK_LE(4 * a.mean_numbers, b.mean_numbers);
    memcpy(noise, smooth, vocab / 2 * dim * sizeof(float));
    both = compressed_info(noise, vocab, dim, &options);
    CHECK(both.mean_numbers > a.mean_numbers && both.mean_numbers < b.mean_numbers && both.bytes < b.bytes);
    CHECK_LE((double)both.bytes, (double)vocab * (4 * both.mean_numbers + 24) + 1024);
    options.max_rank = 2;
    CHECK_LE(compress_and_check(smooth, vocab, dim, &options).worst, 0.05);
    for (int c = 0; c < 3; c++)
        for (int power = -7; power <= 9; power += 4) {
            double numbers;
            options = make_options(all_codings[c], 0, 0.5f, &shape);
            numbers = compressed_info(noise, vocab, dim, &options).mean_numbers;
            for (size_t j = 0; j < vocab * dim; j++) smooth[j] = ldexpf(noise[j], power);
            CHECK_LE(fabs(compressed_info(smooth, vocab, dim, &options).mean_numbers - numbers), 1e-9);
        }
    free(smooth), free(noise);
}

/* At the same bytes the search must not lose much to the best two-mode shape found by trying all; and it finds more modes
 * where they pay: sinusoids have rank 2 in every shape, at 3x two modes are too many numbers for that (8x16: 48 of
 * 128), three are not (4x4x8: 40). */
static void the_search_for_shapes(void)
{
    static const float ratios[] = {1.5f, 2, 3, 4, 5};
    static const int lopsided[4][3] = {{1000, 2, 2}, {2, 1000, 2}, {2, 2, 1000}, {4000, 1, 1}};
    size_t vocab = test.small ? 60 : 200, dim = 90;
    float *table = mixed_table(vocab, dim), *smooth = smooth_table(400, 128), *wide = random_floats(8 * 3900);
    tte_options options = make_options(TTE_F32, 0, 0, NULL);
    tte_info info;
    for (int r = 0; r < (test.small ? 1 : 5); r++) {
        double best = 2;
        for (int n = 2; n < (int)dim; n++)
            for (int cap = 1, other = ((int)dim + n - 1) / n; (double)ratios[r] * cap * (n + other) <= (double)dim; cap++) {
                int pair[2];
                tte_shape shape;
                tte_options by_hand;
                pair[0] = n, pair[1] = other;
                shape = make_shape(2, pair);
                by_hand = make_options(TTE_F32, cap, 0, &shape);
                info = compressed_info(table, vocab, dim, &by_hand);
                best = info.ratio >= (double)ratios[r] ? fmin(best, info.rel_error) : best;
            }
        options.ratio = ratios[r];
        if (best <= 1) CHECK_LE(compressed_info(table, vocab, dim, &options).rel_error, 1.2 * best);
    }
    options.ratio = 3;
    info = compressed_info(smooth, 400, 128, &options);
    CHECK_LE(info.rel_error, 1e-6);
    CHECK(info.shape.modes >= 3);
    for (int i = 0; i < 16; i++) { /* unfoldings much taller or wider than any step of the decomposition */
        tte_shape shape = make_shape(3, lopsided[i / 4]);
        tte_image image = sentinel_image();
        tte_status status;
        options = make_options(all_codings[i % 4], 0, 0, &shape);
        options.ratio = 6;
        status = tte_compress(wide, 8, 3900, &options, &image);
        CHECK(status == TTE_OK ? (double)image.size * 6 <= 8.0 * 3900 * 4 : status == TTE_ERR_BUDGET && !image.data);
        tte_free(&image);
    }
    free(table), free(smooth), free(wide);
}

/* ---- texts ----------------------------------------------------------------------------------- */

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
        for (int j = 0; j < i; j++) CHECK(strcmp(text, tte_status_text(all[j])) != 0);
    }
    CHECK(tte_status_text((tte_status)15) != NULL && *tte_status_text((tte_status)15) != 0);
#ifndef __cplusplus
    CHECK(tte_status_text((tte_status)-1) != NULL && *tte_status_text((tte_status)99999) != 0);
#endif
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_table");
    RUN(defaults);
    RUN(bad_options);
    RUN(bad_weights_and_metrics);
    RUN(extreme_weights_and_metrics);
    RUN(ratio_is_kept);
    RUN(near_the_bound);
    RUN(ratio_by_small_steps);
    RUN(eps_is_kept);
    RUN(ratio_and_eps);
    RUN(tables_of_every_kind);
    RUN(every_dim);
    RUN(tables_of_every_scale);
    RUN(errors_at_every_scale);
    RUN(largest_rows);
    RUN(not_finite);
    RUN(enormous_sizes);
    RUN(weights_are_heeded);
    RUN(metric_is_heeded);
    RUN(effort_pays);
    RUN(figures_of_tensorgpt);
    RUN(every_coding_by_rank_cap);
    RUN(rows_are_independent);
    RUN(codings_round_well);
    RUN(eps_adapts_to_each_row);
    RUN(the_search_for_shapes);
    RUN(texts_of_statuses);
    return test_end();
}
