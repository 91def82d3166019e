/* test_image.c: what images hold, byte by byte, and bytes that are cut, lengthened, changed, moved. The numbers
 * come from the header's IMAGE FORMAT section alone: see bytes.h and made.h. */
#include "bodies.h"
#include "harness.h"
#include "tables.h"
#include "made.h"

/* ---- images to work on ----------------------------------------------------------------------- */

/* 0..7: TTE_PER_TOKEN in every coding, uniform and adapted; then TTE_PER_TABLE: in a ratio, in weights, no rows,
 * and made by hand with runs of every kind. */
enum { TOKENS = 8, WEIGHED, NO_ROWS, BY_HAND, KINDS = BY_HAND + 6, VOCAB = 137, WIDTH = 10 };

static tte_image small_image(int kind)
{
    static const int dims[3] = {3, 2, 2};
    tte_shape shape = make_shape(3, dims);
    tte_options options = table_options(2, 0);
    float *table = make_table(DECAYING, VOCAB, WIDTH), weights[VOCAB];
    tte_image image;
    for (int t = 0; t < VOCAB; t++) weights[t] = (float)(1 << t % 9);
    if (kind < TOKENS)
        options = make_options(all_codings[kind % 4], kind < 4 ? 2 : 0, kind < 4 ? 0 : 0.6f, &shape);
    options.row_weight = kind == WEIGHED ? weights : NULL;
    if (kind >= BY_HAND) {
        plan p = random_plan(kind == BY_HAND ? 1 : WIDTH + kind, kind % 2 ? VOCAB : 3);
        image = write_image(&p);
    } else if (kind == NO_ROWS) { /* and no coefficients */
        plan p;
        memset(&p, 0, sizeof p);
        p.dim = WIDTH, p.state_bits = 8, p.classes = 1, p.gain[0] = p.scale[0] = 0x3F80;
        image = write_image(&p);
    } else {
        image = make_image(table, kind < TOKENS ? 18 : VOCAB, WIDTH, &options);
    }
    free(table);
    return image;
}

static tte_status open_bytes(const void *bytes, size_t size, tte_table *t)
{
    tte_status status;
    memset(t, 0xA5, sizeof *t);
    status = tte_open(t, bytes, size);
    if (status != TTE_OK) CHECK(is_untouched(t, sizeof *t));
    return status;
}

/* The calls that make a new image, from a view whose bytes may be anything. */
static void grow_from(const tte_table *t)
{
    tte_info info = get_info(t);
    tte_table twice[2], grown;
    float *row;
    if (info.dim > 1000 || info.vocab > 1000 || info.effort > 4) return;
    row = new_floats(info.dim);
    for (size_t j = 0; j < info.dim; j++) row[j] = (float)(j % 5) - 2;
    twice[0] = twice[1] = *t;
    for (int call = 0; call < 5; call++) {
        tte_image image = sentinel_image();
        tte_options options = table_options(2, 0);
        tte_status status = call == 0 ? tte_append(t, row, 1, NULL, &image)
                          : call == 1 ? tte_replace(t, (uint32_t)info.vocab / 2, row, 1, &image)
                          : call == 2 ? tte_merge(twice, 2, &image)
                          : call == 3 ? tte_shrink(t, &options, &image) : TTE_ERR_ARGUMENT;
        if (call == 4) {
            options.ratio = 0, options.effort = 0, options.like = t;
            status = tte_compress(row, 1, info.dim, &options, &image);
        }
        if (status != TTE_OK) {
            check_nothing_written(status, &image);
            continue;
        }
        if (CHECK_STATUS(tte_open(&grown, image.data, image.size), TTE_OK)) use_everything(&grown);
        tte_free(&image);
    }
    free(row);
}

/* Opens bytes that may be anything, in a block of the exact size, and uses the view. */
static tte_status open_and_use(const unsigned char *bytes, size_t size)
{
    static unsigned long opened;
    void *copy = test_copy(bytes, size);
    tte_table t;
    tte_status status = open_bytes(copy, size, &t);
    if (status == TTE_OK) {
        use_everything(&t);
        if (opened++ % (test.small ? 401 : 97) == 0) grow_from(&t);
        CHECK(heap.live == 0);
    }
    free(copy);
    return status;
}

/* ---- what is written is what the page says ------------------------------------------------------ */

static double ordered_sum_at(const unsigned char *bytes)
{
    int e = (int)(int32_t)(uint32_t)number_at(bytes, 4);
    double value = 0;
    CHECK(number_at(bytes + 4, 4) == 0);
    for (int i = 0; i < 3; i++) value += ldexp((double)number_at(bytes + 8 + 8 * i, 8), 32 * (e - i));
    return value;
}

static void the_header(void)
{
    static const unsigned char magic[8] = {0x89, 0x54, 0x54, 0x45, 0x0D, 0x0A, 0x1A, 0x0A};
    for (int kind = 0; kind < BY_HAND; kind++) {
        tte_image image = small_image(kind);
        unsigned char *b = (unsigned char *)image.data, *entry = b + sections_at(b);
        tte_table t = open_image(&image);
        tte_info info = get_info(&t);
        const int per_token = kind < TOKENS, adapted = kind >= 4 && per_token;
        const int sections = per_token ? 1 + adapted : (info.vocab > 0 ? 4 : 2) + (info.centroids >= 2);
        size_t last = header_end(b), size;
        double recorded, sum[4];
        uint64_t bits = number_at(b + 48, 8);
        memcpy(&recorded, &bits, sizeof recorded);
        CHECK(memcmp(b, magic, 8) == 0 && number_at(b + 12, 2) == 2);
        CHECK(number_at(b + AT_CRC, 4) == test_crc32(b + AT_VERSION, last - AT_VERSION));
        CHECK(b[14] == (int)info.layout && b[15] == (int)info.coding);
        CHECK(b[16] == (per_token ? 3 : 0) && b[17] == sections && number_at(b + 18, 2) == (unsigned)adapted);
        CHECK(number_at(b + 20, 4) == WIDTH && number_at(b + 24, 8) == info.vocab);
        CHECK(number_at(b + AT_SIZE, 8) == image.size && number_at(b + 40, 4) == (kind < 4 ? 2u : 0u));
        CHECK(number_at(b + 44, 4) == (adapted ? 0x3F19999Au : 0));
        CHECK(recorded == info.max_row_error);
        for (int i = 0; i < 4; i++) sum[i] = ordered_sum_at(b + 56 + 32 * i);
        if (info.vocab > 0) {
            CHECK_LE(fabs(sqrt(sum[1] / sum[0]) - info.rel_error), 1e-6 * info.rel_error);
            CHECK_LE(fabs(sqrt(sum[3] / sum[2]) - info.weighted_error), 1e-6 * info.weighted_error);
        }
        if (kind != WEIGHED) CHECK(memcmp(b + 56, b + 120, 64) == 0);
        for (int k = 0; per_token && k <= 3; k++)
            CHECK(number_at(b + 184 + 8 * k, 4) == (uint32_t)info.ranks[k] &&
                  (k == 3 || number_at(b + 188 + 8 * k, 4) == (uint32_t)info.shape.dim[k]));
        CHECK(per_token || (number_at(b + 184, 4) == (uint32_t)info.rank && b[194] == info.classes &&
                            number_at(b + 188, 4) == (uint32_t)info.centroids && number_at(b + 204, 4) == 0));
        for (int before = 0; entry < b + header_end(b); entry += SECTION) {
            CHECK(number_at(entry, 8) == last && (int)number_at(entry + 20, 4) > before);
            size = (size_t)number_at(entry + 8, 8), before = (int)number_at(entry + 20, 4);
            CHECK(number_at(entry + 16, 4) == test_crc32(b + last, size));
            last += size;
        }
        CHECK(last + TAIL == image.size);
        for (; last < image.size; last++) CHECK(b[last] == 0);
        free(image.data);
    }
}

/* Rows that the page makes of the bytes are bit for bit those of the library. */
static void check_rows_of(const tte_image *image)
{
    unsigned char *b = (unsigned char *)image->data;
    tte_table t = open_image(image);
    tte_info info = get_info(&t);
    float *rows = lookup_all(&t), row[MOST_DIM];
    shared s = read_shared(b);
    CHECK(info.rank == s.rank && info.centroids == s.centroids && info.classes == s.classes);
    CHECK((int)info.dim == s.dim && info.vocab == number_at(b + AT_VOCAB, 8) && info.bytes == image->size);
    for (size_t token = 0; token < info.vocab; token++) {
        read_row(&s, info.vocab, token, row);
        if (!CHECK(memcmp(row, rows + token * info.dim, info.dim * sizeof *row) == 0) && test.bad <= 5)
            fprintf(stderr, "    token %d of %d, dim %d, rank %d, L %d\n", (int)token, (int)info.vocab, s.dim, s.rank,
                    s.state_bits);
    }
    use_everything(&t);
    free(rows), free(s.basis);
}

static void rows_of_images_made_by_hand(void)
{
    static const int vocabs[] = {1, 0, 2, 127, 128, 129, 300};
    for (int round = 0; round < (test.small ? 40 : 400); round++) {
        plan p = random_plan(round < 40 ? 1 + round : rng_int(1, round % 20 == 0 ? 300 : 70), vocabs[round % 7]);
        tte_image image;
        p.exponent = round % 5 == 0 ? rng_int(-100, 100) : p.exponent;
        image = write_image(&p);
        check_rows_of(&image);
        free(image.data);
    }
}

static void rows_of_images_that_the_library_makes(void)
{
    fixture f = make_fixture(test.small ? 150 : 700);
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n, &f);
        tte_image image;
        if (options.layout == TTE_PER_TABLE && try_image(f.table, f.vocab, DIM, &options, &image)) {
            check_rows_of(&image);
            free(image.data);
        }
    }
    for (int kind = 0; kind < TABLES; kind++) {
        tte_options options = table_options(4, 0);
        float *table = make_table(kind, 200, DIM);
        tte_image image;
        if (try_image(table, 200, DIM, &options, &image)) {
            check_rows_of(&image);
            free(image.data);
        }
        free(table);
    }
    free_fixture(&f);
}

/* One float16 by IEEE 754, from its fields. */
static double half_at(const unsigned char *bytes)
{
    unsigned half = (unsigned)number_at(bytes, 2), exponent = half >> 10 & 31;
    double fraction = (double)(half & 1023) / 1024;
    double size = exponent == 0 ? ldexp(fraction, -14) : ldexp(1 + fraction, (int)exponent - 15);
    return half >> 15 ? -size : size;
}

/* The entries of one record of TTE_PER_TOKEN: `ranks` holds d + 1 numbers. Returns its length in bytes. */
static size_t decode_record(const tte_info *info, const int32_t *ranks, const unsigned char *record, double *cores)
{
    size_t entries = 0, done = 0;
    int d = info->shape.modes, scaled = info->coding == TTE_I8 || info->coding == TTE_I4;
    const unsigned char *codes = record + (scaled ? 2 * d : 0);
    for (int k = 0; k < d; k++) {
        double scale = scaled ? half_at(record + 2 * k) : 1;
        entries += (size_t)(ranks[k] * info->shape.dim[k] * ranks[k + 1]);
        for (; done < entries; done++)
            cores[done] = info->coding == TTE_F32 ? (double)float_from_bits((uint32_t)number_at(codes + 4 * done, 4))
                        : info->coding == TTE_F16 ? half_at(codes + 2 * done)
                        : info->coding == TTE_I8 ? scale * (codes[done] < 128 ? codes[done] : codes[done] - 256)
                                                 : scale * ((codes[done / 2] >> (done % 2 ? 4 : 0) & 15) - 8);
    }
    return (size_t)(codes - record) + (info->coding == TTE_F32 ? 4 * entries : info->coding == TTE_F16 ? 2 * entries
                                     : info->coding == TTE_I8 ? entries : (entries + 1) / 2);
}

/* Entry i of the row: the matrices of its modes, multiplied from the left. */
static double entry_of_row(const tte_info *info, const int32_t *ranks, const double *cores, size_t i)
{
    double left[64] = {1}, next[64];
    size_t rest = shape_size(&info->shape);
    for (int k = 0; k < info->shape.modes; k++) {
        size_t n = (size_t)info->shape.dim[k], r = (size_t)ranks[k], q = (size_t)ranks[k + 1], digit;
        rest /= n, digit = i / rest % n;
        for (size_t b = 0; b < q; b++) {
            next[b] = 0;
            for (size_t a = 0; a < r; a++) next[b] += left[a] * cores[(a * n + digit) * q + b];
        }
        memcpy(left, next, q * sizeof left[0]);
        cores += r * n * q;
    }
    return left[0];
}

static void rows_of_trains(void)
{
    for (int kind = 0; kind < TOKENS; kind++) {
        tte_image image = small_image(kind);
        unsigned char *b = (unsigned char *)image.data;
        size_t at = 0, size, index_size;
        const unsigned char *records = section_of(b, RECORDS, &size), *index = section_of(b, INDEX, &index_size);
        tte_table t = open_image(&image);
        tte_info info = get_info(&t);
        float *rows = lookup_all(&t);
        double cores[256];
        for (size_t token = 0; token < info.vocab; token++) {
            int32_t ranks[4] = {1, info.ranks[1], info.ranks[2], 1};
            if (kind >= 4) { /* groups of 16: where the first stands, then two ranks for each */
                const unsigned char *group = index + token / 16 * (8 + 16 * 2);
                CHECK(token % 16 > 0 || number_at(group, 8) == at);
                ranks[1] = group[8 + token % 16 * 2], ranks[2] = group[8 + token % 16 * 2 + 1];
            }
            at += decode_record(&info, ranks, records + at, cores);
            for (size_t j = 0; j < WIDTH; j++)
                CHECK_LE(fabs(entry_of_row(&info, ranks, cores, j) - (double)rows[token * WIDTH + j]),
                         1e-6 * norm(rows + token * WIDTH, WIDTH));
        }
        CHECK(at == size);
        free(rows), free(image.data);
    }
}

/* ---- what contradicts itself is refused ---------------------------------------------------------- */

/* Number `what` of the ways to contradict the format; 0 when there are no more. */
static int contradict(plan *p, int what)
{
    static const int bad_rates[] = {9, 11, 13, 15, 17, 18, 20, 19, 126, 127, PLAIN, PLAIN + 1, PLAIN + 15, 255};
    run *r = &p->list[1].of[0], *second = &p->list[1].of[1], *b = &p->basis.of[0];
    const run pair = {1, 41, 128}, plain = {PLAIN + 4, 4, 128}, whole = {2, 7, 128}, none = {0, 0, 128};
    switch (what) {
    case 0: p->rank = p->dim + 1, p->basis.of[1].count++; break;
    case 1: p->centroids = 3; break;
    case 2: p->centroids = 512; break; /* with dim 30, 8 * dim + 256 is 496 */
    case 3: p->state_bits = 7; break;
    case 4: p->state_bits = 17; break;
    case 5: p->exponent = 201; break;
    case 6: p->exponent = -201; break;
    case 7: r->count++; break;                    /* more coefficients than the rank */
    case 8: *r = pair; break;                     /* half a pair */
    case 9: *second = plain; break;               /* plain codes behind the trellis */
    case 10: *r = whole, p->list[1].runs = 1; break; /* a circle of 8 bits */
    case 11: b->count--; break;                   /* fewer rows of the basis */
    case 12: b->count++; break;
    case 13: *b = pair, b->count = 0; break;
    case 14: p->basis.runs = 1; break;
    case 15: *r = none, second->count = p->rank + 1; break;
    case 16: b->rate = 0; break;                  /* rows of the basis without bits */
    case 17: p->basis.of[1].rate = 0; break;
    case 18: case 19: /* a run too many, without coefficients, of classes or of centroids */
        p->list[what == 18 ? 2 : 3].runs = MOST_RUNS + 1;
        for (int i = 2; i <= MOST_RUNS; i++) p->list[what == 18 ? 2 : 3].of[i] = none;
        break;
    case 20: r->count = 0xFFFF; break;
    case 21: second->count = 0xFFFE; break;
    default:
        if (what - 22 >= 28) return 0;
        (what % 2 ? r : b)->rate = bad_rates[(what - 22) / 2];
    }
    return 1;
}

static plan plain_plan(void)
{
    plan p;
    run_list list = {2, {{2, 24, 128}, {1, 4, 120}}}, basis = {2, {{8, 20, 0}, {PLAIN + 3, 9, 0}}};
    memset(&p, 0, sizeof p);
    p.dim = 30, p.vocab = 200, p.rank = 28, p.centroids = 2, p.state_bits = 9, p.classes = 3, p.gain_bits = 1;
    p.gain[0] = p.gain[1] = 0x3F80;
    for (int c = 0; c < 4; c++) p.list[c] = list, p.scale[c] = 0x3C00;
    for (int i = 0; i < 29; i++) p.basis_scale[i] = 0x3C00;
    p.basis = basis;
    return p;
}

static void plans_that_contradict_themselves(void)
{
    plan good = plain_plan(), p = good;
    tte_image image = write_image(&good);
    unsigned char *b = (unsigned char *)image.data;
    size_t size, index = (size_t)(section_of(b, INDEX, &size) - b);
    static const struct { int at, value; } bytes[] = {{16, 1}, {18, 1}, {18, 2}, {40, 1}, {46, 1}, {194, 0}, {194, 65},
        {195, 5}, {195, 3}, {204, 1}, {207, 1}, {15, 1}, {15, 3}, {15, 0}, {15, 6}, {14, 2}, {14, 0}, {14, 3}, {17, 4},
        {17, 6}, {20, 0}, {20, 29}, {24, 199}, {24, 201}, {24, 0}};
    check_rows_of(&image);
    CHECK(bits_of(&good.list[1], 0) == 32);
    for (int what = 0; contradict(&p, what); what++, p = good) {
        tte_image bad = write_image(&p);
        tte_table t;
        if (!CHECK_STATUS(open_bytes(bad.data, bad.size, &t), TTE_ERR_FORMAT) && test.bad <= 5)
            fprintf(stderr, "    contradiction %d\n", what);
        free(bad.data);
    }
    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0] + 2; i++) { /* then the offset of a block, a class */
        const size_t at = i < 25 ? (size_t)bytes[i].at : i == 25 ? index : index + 2;
        const unsigned char kept = b[at];
        tte_table t;
        b[at] = (unsigned char)(i < 25 ? bytes[i].value : kept | 3);
        seal_image(b, image.size, 0);
        if (!CHECK(open_bytes(b, image.size, &t) != TTE_OK) && test.bad <= 5)
            fprintf(stderr, "    byte %d\n", (int)at);
        b[at] = kept;
    }
    free(image.data);
}

/* Sizes of sections that do not fit each other: a byte more here and less there, records that are longer or shorter
 * than their classes say, in all of them or in one. */
static void sections_that_do_not_add_up(void)
{
    const plan good = plain_plan();
    for (int from = RECORDS; from <= CENTROIDS; from++)
        for (int to = RECORDS; to <= CENTROIDS + 1; to++) { /* the last: nowhere, the image is a byte longer or shorter */
            tte_image image = write_image(&good);
            unsigned char *b = (unsigned char *)image.data, *entry = b + sections_at(b);
            size_t at = header_end(b);
            tte_table t;
            if (from == to) put_number(entry + SECTION * (from - 1) + 20, 4, (uint64_t)(from % 5 + 1)); /* another kind */
            for (int kind = RECORDS; kind <= CENTROIDS; kind++) {
                unsigned char *size = entry + SECTION * (kind - 1) + 8;
                put_number(size, 8, number_at(size, 8) - (kind == from && from != to) + (kind == to && from != to));
                put_number(size - 8, 8, at);
                at += (size_t)number_at(size, 8);
            }
            put_number(b + AT_SIZE, 8, at + TAIL);
            memset(b + at, 0, image.size - at);
            seal_image(b, image.size, 0);
            CHECK_STATUS(open_bytes(b, at + TAIL, &t), TTE_ERR_FORMAT);
            free(image.data);
        }
    for (int c = 0; c < 4; c++)
        for (int step = -1; step <= 1; step += 2) { /* rows of the same class, coefficients of another rate */
            plan p = good;
            tte_image image;
            unsigned char *at;
            size_t size;
            tte_table t;
            p.classes = c < 3 ? 3 : 1;
            image = write_image(&p);
            at = section_of((unsigned char *)image.data, CLASSES, &size) + 4 + 4;
            at += 13 * (c < 3 ? c : 1); /* a class of two runs; c == 3: that of the centroids */
            at[1] = (unsigned char)(at[1] + 2 * step);
            seal_image((unsigned char *)image.data, image.size, 0);
            CHECK_STATUS(open_bytes(image.data, image.size, &t), TTE_ERR_FORMAT);
            free(image.data);
        }
}

/* Class tables that writers do not make, which the format allows: levels in any order or all the same, classes that are
 * equal, the most runs, none. They are read as the page says, and rows are added to them. */
static void class_tables_of_any_order(void)
{
    for (int kind = 0; kind < 6; kind++) {
        plan p = plain_plan();
        tte_image image;
        unsigned char *at;
        size_t size;
        p.classes = kind == 5 ? 1 : 64, p.centroids = 2;
        for (int c = 3; c < 65; c++) p.list[c] = p.list[c % 3], p.scale[c] = p.scale[0];
        for (int c = 0; c < 65 && kind >= 3; c++) {
            p.list[c].runs = kind == 3 ? MOST_RUNS : 0;
            for (int i = 0; i < MOST_RUNS; i++) {
                const run two = {i == 0 ? PLAIN + 14 : i % 3 ? 2 * (i % 5) : 1, i < 14 ? 2 : 0, 10 * i};
                p.list[c].of[i] = two;
            }
        }
        image = write_image(&p);
        at = section_of((unsigned char *)image.data, CLASSES, &size) + 4;
        for (int c = 0; c < p.classes; at += 5 + 4 * at[4], c++)
            put_number(at, 2, (uint64_t)(kind == 0 ? 64 * (63 - c) + 4000 : kind == 1 ? 6000 : kind == 2 ? 0xFFFF : c % 2 * 9000));
        seal_image((unsigned char *)image.data, image.size, 0);
        check_rows_of(&image);
        {
            tte_table t = open_image(&image);
            grow_from(&t);
        }
        free(image.data);
    }
}

/* Circles shorter than a state, of as many bits, and of one more: each rate of the trellis with as few steps as there may
 * be, whose states begin where they end. */
static void states_at_the_ends_of_records(void)
{
    static const int rates[] = {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16};
    for (int bits = 8; bits <= 16; bits++)
        for (int n = 0; n < 12; n++)
            for (int more = 0; more < 3; more++) {
                plan p = plain_plan();
                run r = {rates[n], 0, 128}, behind = {PLAIN + 3, 5, 120};
                tte_image image;
                tte_table t;
                while (steps_of(r) * step_bits(r) <= 8) r.count += 1 + is_pair(r);
                r.count += more * (1 + is_pair(r));
                p.rank = r.count + (more == 1 ? 5 : 0), p.dim = p.rank + (more == 2), p.state_bits = bits, p.vocab = 9;
                for (int c = 0; c < 4; c++) {
                    p.list[c].runs = more == 1 ? 2 : 1;
                    p.list[c].of[more == 1] = r;
                    if (more == 1) p.list[c].of[0] = behind;
                }
                p.basis.runs = 1, p.basis.of[0].rate = p.dim > 16 && n % 2 ? rates[n] : PLAIN + 4;
                p.basis.of[0].count = p.rank + 1;
                image = write_image(&p);
                check_rows_of(&image);
                t = open_image(&image);
                if (bits < 13) grow_from(&t); /* the search is through 2^bits states */
                free(image.data);
            }
}

/* The most centroids that dim allows, and 2^16; twice as many are refused. */
static void most_centroids(void)
{
    static const struct { int dim, most; } limits[] = {{1, 256}, {31, 256}, {32, 512}, {95, 512}, {96, 1024}};
    for (int i = 0; i < 5 * 2; i++) {
        plan p = plain_plan();
        tte_image image;
        tte_table t;
        p.dim = limits[i / 2].dim, p.rank = 0, p.centroids = limits[i / 2].most << i % 2, p.basis.runs = 1;
        p.basis.of[0].rate = PLAIN + 5, p.basis.of[0].count = 1; /* the mean */
        for (int c = 0; c < 4; c++) p.list[c].runs = 0;
        image = write_image(&p);
        if (i % 2 == 0) check_rows_of(&image);
        else CHECK_STATUS(open_bytes(image.data, image.size, &t), TTE_ERR_FORMAT);
        free(image.data);
    }
}

/* Gains, scales, spreads at their ends give zeros or garbage, never trouble. */
static void numbers_at_the_end(void)
{
    static const uint16_t ends[] = {0, 0x8000, 1, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0x7FC0, 0x0080, 0x3F80};
    for (int round = 0; round < (test.small ? 100 : 2000); round++) {
        plan p = random_plan(rng_int(1, 40), 20);
        tte_image image;
        tte_table t;
        for (int i = 0; i < 16; i++) p.gain[i] = ends[rng_int(0, 9)];
        for (int c = 0; c <= p.classes; c++) {
            p.scale[c] = ends[rng_int(0, 9)];
            for (int i = 0; i < p.list[c].runs; i++)
                p.list[c].of[i].spread = rng_int(0, 2) ? rng_int(0, 255) : 255;
        }
        for (int i = 0; i <= p.dim; i++) p.basis_scale[i] = round % 3 ? ends[rng_int(0, 9)] : p.basis_scale[i];
        p.exponent = rng_int(-200, 200);
        image = write_image(&p);
        t = open_image(&image);
        use_everything(&t);
        if (round % 10 == 0 && p.state_bits < 13) grow_from(&t);
        free(image.data);
    }
}

/* ---- bytes that are cut, lengthened, changed, moved ---------------------------------------------- */

static void every_length(void)
{
    unsigned char *noise = (unsigned char *)test_alloc(1024);
    tte_table t;
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        for (size_t size = 0; size <= image.size + 130; size += size < image.size && test.small ? 3 : 1) {
            unsigned char *bytes = (unsigned char *)test_alloc(size);
            tte_status status;
            memset(bytes, 0, size);
            memcpy(bytes, image.data, size < image.size ? size : image.size);
            status = open_bytes(bytes, size, &t);
            if (size < AT_SHAPE)
                CHECK(status == TTE_ERR_TRUNCATED || (status == TTE_ERR_FORMAT && size >= 8));
            else
                CHECK_STATUS(status, size < image.size ? TTE_ERR_TRUNCATED
                                                       : size > image.size ? TTE_ERR_FORMAT : TTE_OK);
            free(bytes);
        }
        free(image.data);
    }
    for (int round = 0; round < 200; round++) { /* no image at all */
        for (int i = 0; i < 1024; i++)
            noise[i] = (unsigned char)(round == 0 ? 0 : round == 1 ? 0xFF : rng_next() & 0xFF);
        CHECK_STATUS(open_bytes(noise, 1024, &t), TTE_ERR_FORMAT);
    }
    CHECK_STATUS(tte_open(NULL, noise, 1024), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_open(&t, NULL, 1024), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_verify(NULL), TTE_ERR_ARGUMENT);
    free(noise);
}

/* Every byte in turn, by several changes. In the header, tte_open notices; elsewhere tte_verify does. Then
 * under a checksum of the header that is good again: what opens is used in full. */
static void every_byte_changed(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        unsigned char *bytes = (unsigned char *)image.data;
        size_t header = header_end(bytes);
        long opened = 0;
        for (size_t at = 0; at < image.size; at += test.small && at >= header ? 3 : 1)
            for (int bit = at < header ? 0 : (int)at % 8; bit < (at < header ? 8 : (int)at % 8 + 1); bit++) {
                tte_table t;
                tte_status status;
                bytes[at] ^= (unsigned char)(1 << bit);
                status = open_bytes(bytes, image.size, &t);
                CHECK(status != TTE_OK || at >= header);
                if (!CHECK(status != TTE_OK || tte_verify(&t) == TTE_ERR_CHECKSUM) && test.bad <= 5)
                    fprintf(stderr, "    kind %d, byte %d, bit %d\n", kind, (int)at, bit);
                seal_image(bytes, image.size, 1);
                opened += open_and_use(bytes, image.size) == TTE_OK;
                bytes[at] ^= (unsigned char)(1 << bit);
                seal_image(bytes, image.size, 1);
            }
        CHECK(opened > 20); /* the repair is right: recorded errors may be anything */
        CHECK_STATUS(open_and_use(bytes, image.size), TTE_OK);
        free(image.data);
    }
}

static void checksums_and_versions(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        unsigned char *bytes = (unsigned char *)image.data;
        tte_table t;
        bytes[AT_RECORDED] ^= 1;
        CHECK_STATUS(open_bytes(bytes, image.size, &t), TTE_ERR_CHECKSUM);
        bytes[AT_RECORDED] ^= 1;
        for (uint64_t version = 3; version < 65536; version = version * 3 + 1) {
            put_number(bytes + AT_VERSION, 2, version);
            CHECK_STATUS(open_bytes(bytes, image.size, &t), TTE_ERR_VERSION);
            seal_image(bytes, image.size, 1);
            CHECK_STATUS(open_bytes(bytes, image.size, &t), TTE_ERR_VERSION);
        }
        for (uint64_t version = 0; version < 3; version++) {
            put_number(bytes + AT_VERSION, 2, version);
            seal_image(bytes, image.size, 1);
            CHECK((open_bytes(bytes, image.size, &t) == TTE_OK) == (version == 2));
        }
        free(image.data);
    }
}

/* Fields that a lie would turn into a read outside the bytes, at the edges of their types, in all that is read
 * before records are. */
static void lying_numbers(void)
{
    static const uint64_t lies[] = {0, 1, 2, 15, 17, 32, 127, 128, 255, 256, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF,
                                    0x80000000u, 0xFFFFFFFFu, 0x100000000u, 0x7FFFFFFFFFFFFFFFu, 0x8000000000000000u,
                                    0xFFFFFFFFFFFFFFC0u, 0xFFFFFFFFFFFFFFFFu};
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        unsigned char *original = (unsigned char *)image.data;
        size_t size, header = header_end(original), basis = header;
        const unsigned char *at_basis = section_of(original, BASIS, &size);
        if (at_basis != NULL) basis = (size_t)(at_basis - original) + (size < 30 ? size : 30);
        for (size_t at = AT_VERSION; at + 8 <= (basis > header ? basis : header); at++) {
            const size_t records = (size_t)number_at(original + sections_at(original) + 8, 8);
            if (at >= header && at < header + records && kind != NO_ROWS) continue;
            for (int l = (int)at % 3; l < 21; l += test.small ? 9 : 3)
                for (int width = 1; width <= 8; width *= 2) {
                    unsigned char *bytes = (unsigned char *)test_copy(original, image.size);
                    put_number(bytes + at, width, lies[l]);
                    seal_image(bytes, image.size, 1);
                    (void)open_and_use(bytes, image.size);
                    free(bytes);
                }
        }
        CHECK_STATUS(open_and_use(original, image.size), TTE_OK);
        free(image.data);
    }
}

/* Many bytes at once behind the header, for which tte_open asks no checksum. */
static void random_damage(void)
{
    int rounds = test.small ? 60 : 1500;
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        size_t size, header = header_end((unsigned char *)image.data);
        unsigned char *records = section_of((unsigned char *)image.data, RECORDS, &size);
        for (int round = 0; round < rounds; round++) {
            unsigned char *bytes = (unsigned char *)test_copy(image.data, image.size);
            int inside = round % 3 && size > 0; /* of records alone, which may hold anything */
            size_t first = inside ? (size_t)(records - (unsigned char *)image.data) : header;
            size_t last = inside ? first + size - 1 : image.size - 1;
            for (int n = rng_int(1, 1 << round % 9); n > 0; n--)
                bytes[rng_int((int)first, (int)last)] = (unsigned char)(round % 7 == 0 ? round & 255 : rng_int(0, 255));
            CHECK(open_and_use(bytes, image.size) == TTE_OK || !inside);
            free(bytes);
        }
        free(image.data);
    }
}

/* Two tokens of the index exchange a rank, so that all lengths still add up, but one exceeds the largest rank
 * that the header promises (and that scratch is made for). */
static void ranks_above_the_largest(void)
{
    tte_image image = small_image(4);
    unsigned char *bytes = (unsigned char *)image.data, *group;
    tte_info info = info_of(&image);
    size_t size;
    int tried = 0;
    group = section_of(bytes, INDEX, &size) + 8;
    for (int a = 0; a < 16; a++)
        for (int b = 0; b < 16; b++)
            for (int bond = 0; bond < 2; bond++) {
                unsigned char *up = group + 2 * a + bond, *down = group + 2 * b + bond;
                if (group[2 * a + 1 - bond] != group[2 * b + 1 - bond] || *up != info.ranks[bond + 1]
                    || *down < 2 || a == b)
                    continue;
                ++*up, --*down;
                CHECK_STATUS(open_and_use(bytes, image.size), TTE_ERR_FORMAT);
                --*up, ++*down;
                tried++;
            }
    CHECK(tried > 0);
    free(image.data);
}

/* The same rows from every alignment. */
static void every_alignment(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        tte_table t = open_image(&image);
        tte_info info = get_info(&t);
        float *rows = lookup_all(&t);
        for (size_t shift = 0; shift < 64; shift++) {
            unsigned char *block = (unsigned char *)test_alloc(image.size + shift);
            float *moved;
            memcpy(block + shift, image.data, image.size);
            require(tte_open(&t, block + shift, image.size), "tte_open");
            moved = lookup_all(&t);
            CHECK(same_floats(moved, rows, info.vocab * info.dim));
            use_everything(&t);
            free(moved), free(block);
        }
        free(rows), free(image.data);
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_image");
    RUN(the_header);
    RUN(rows_of_images_made_by_hand);
    RUN(rows_of_images_that_the_library_makes);
    RUN(rows_of_trains);
    RUN(plans_that_contradict_themselves);
    RUN(sections_that_do_not_add_up);
    RUN(class_tables_of_any_order);
    RUN(states_at_the_ends_of_records);
    RUN(most_centroids);
    RUN(numbers_at_the_end);
    RUN(every_length);
    RUN(every_byte_changed);
    RUN(checksums_and_versions);
    RUN(lying_numbers);
    RUN(random_damage);
    RUN(ranks_above_the_largest);
    RUN(every_alignment);
    return test_end();
}
