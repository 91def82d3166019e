/* made.h: images of TTE_PER_TABLE written and read from the header's IMAGE FORMAT alone, so that a change of the
 * format, or a page that no longer describes it, fails here. Include it after harness.h and bytes.h. */
#ifndef TEST_MADE_H
#define TEST_MADE_H

/* ---- run lists: (rate, count, spread) --------------------------------------------------------- */

enum { MOST_RUNS = 24, PLAIN = 128, MOST_DIM = 2200, BLOCK = 128 };

typedef struct run { int rate, count, spread; } run;
typedef struct run_list { int runs; run of[MOST_RUNS + 1]; } run_list; /* one more than may be */

static inline int is_pair(run r) { return r.rate < PLAIN && r.rate % 2 == 1; } /* two coefficients a step */
static inline int steps_of(run r) { return r.rate == 0 ? 0 : is_pair(r) ? r.count / 2 : r.count; }
static inline int step_bits(run r) { return r.rate >= PLAIN ? r.rate - PLAIN : is_pair(r) ? r.rate : r.rate / 2; }

static inline size_t bits_of(const run_list *list, int plain)
{
    size_t bits = 0;
    for (int i = 0; i < list->runs; i++)
        bits += (list->of[i].rate >= PLAIN) == plain ? (size_t)(step_bits(list->of[i]) * steps_of(list->of[i])) : 0;
    return (bits + 7) / 8 * 8; /* whole bytes */
}

static inline size_t record_bytes(const run_list *list) { return (bits_of(list, 1) + bits_of(list, 0)) / 8; }

static inline uint32_t bits_at(const unsigned char *bytes, size_t bit, int count)
{
    uint32_t value = 0;
    for (int i = 0; i < count; i++, bit++) value |= (uint32_t)(bytes[bit / 8] >> bit % 8 & 1) << i;
    return value;
}

static inline uint32_t state_at(const unsigned char *circle, size_t bit, int count, size_t size)
{
    uint32_t value = 0;
    for (int i = 0; i < count; i++, bit++) value |= bits_at(circle, bit % size, 1) << i;
    return value;
}

static inline int32_t code_of_state(uint32_t state, int second)
{
    uint32_t x = second ? 441949745u * state + 3125967622u : 2339688529u * state + 1818127173u;
    return (int32_t)((x & 255) + (x >> 8 & 255) + (x >> 16 & 255) + (x >> 24)) - 510;
}

/* Integers and spreads of `count` coefficients, 0 behind the last run. */
static inline void codes_of_record(const run_list *list, const unsigned char *record, int state_bits, int count,
                                   int32_t *t, float *spread)
{
    static const float eighths[8] = {1, 1.0905077f, 1.1892071f, 1.2968396f, 1.4142135f, 1.5422108f, 1.6817929f,
                                     1.8340081f};
    size_t plain = 0, bit = 0, size = bits_of(list, 0);
    int first = 1;
    for (int j = 0; j < count; j++) t[j] = 0, spread[j] = 0;
    for (int i = 0, at = 0; i < list->runs; at += list->of[i++].count) {
        const run r = list->of[i];
        const int k = step_bits(r), half = steps_of(r);
        for (int j = at; j < at + r.count && j < count; j++)
            spread[j] = ldexpf(eighths[r.spread % 8], r.spread / 8 - 16);
        for (int s = 0; s < half; s++) {
            if (r.rate >= PLAIN) {
                t[at + s] = 2 * (int32_t)bits_at(record, plain, k) + 1 - (1 << k);
                plain += (size_t)k;
            } else {
                uint32_t state;
                bit += first ? 0 : (size_t)k;
                first = 0;
                state = state_at(record + bits_of(list, 1) / 8, bit, state_bits, size);
                t[at + s] = code_of_state(state, 0);
                if (is_pair(r) && at + half + s < count) /* the last one of a padded row is dropped */
                    t[at + half + s] = code_of_state(state, 1);
            }
        }
    }
}

/* ---- reading: the rows of an image that tte_open accepts ---------------------------------------- */

typedef struct shared {
    int dim, rank, rows, centroids, state_bits, classes, gain_bits, exponent, centroid_bits, class_bits, offset_bytes;
    float gain[16], scale[65], basis_scale[MOST_DIM + 1];
    run_list list[65];
    int32_t *basis, bound[MOST_DIM + 1]; /* rows x dim; the bound of a row's integers */
    const unsigned char *records, *index, *centroid;
} shared;

static inline float bf16_at(const unsigned char *bytes) { return float_from_bits((uint32_t)number_at(bytes, 2) << 16); }

static inline int bits_that_hold(size_t value)
{
    int bits = 0;
    while (bits < 64 && value >> bits != 0) bits++;
    return bits;
}

static inline const unsigned char *read_runs(const unsigned char *at, run_list *list)
{
    list->runs = *at++;
    for (int i = 0; i < list->runs; i++, at += 4) {
        run r = {at[0], (int)number_at(at + 1, 2), at[3]};
        list->of[i] = r;
    }
    return at;
}

static inline shared read_shared(unsigned char *image)
{
    shared s;
    size_t size, records_size;
    const unsigned char *at = section_of(image, CLASSES, &size);
    run_list runs;
    float ignored[MOST_DIM + 1];
    memset(&s, 0, sizeof s);
    s.dim = (int)number_at(image + 20, 4), s.rank = (int)number_at(image + 184, 4);
    s.centroids = (int)number_at(image + 188, 4), s.state_bits = image[192], s.classes = image[194];
    s.gain_bits = image[195], s.exponent = (int)(int32_t)(uint32_t)(number_at(image + 200, 2) << 16) / 65536;
    s.rows = s.rank + (s.centroids > 0);
    s.records = section_of(image, RECORDS, &records_size), s.index = section_of(image, INDEX, &size);
    s.centroid = section_of(image, CENTROIDS, &size);
    s.offset_bytes = (bits_that_hold(records_size) + 7) / 8;
    s.class_bits = bits_that_hold((size_t)s.classes - 1);
    s.centroid_bits = s.centroids >= 2 ? bits_that_hold((size_t)s.centroids - 1) : 0;
    for (int i = 0; i < 1 << s.gain_bits; i++, at += 2) s.gain[i] = bf16_at(at);
    for (int c = 0; c < s.classes + (s.centroids >= 2); c++) {
        s.scale[c] = bf16_at(at + 2);
        at = read_runs(at + 4, &s.list[c]);
    }
    at = read_runs(section_of(image, BASIS, &size), &runs);
    for (int i = 0; i < s.rows; i++, at += 2) s.basis_scale[i] = bf16_at(at);
    s.basis = (int32_t *)test_alloc((size_t)s.rows * (size_t)s.dim * sizeof(int32_t));
    for (int i = 0, row = 0; i < runs.runs; i++)
        for (int n = 0; n < runs.of[i].count; n++, row++) {
            run_list one;
            one.runs = 1, one.of[0] = runs.of[i], one.of[0].count = s.dim + (is_pair(runs.of[i]) && s.dim % 2);
            codes_of_record(&one, at, s.state_bits, s.dim, s.basis + (size_t)row * (size_t)s.dim, ignored);
            s.bound[row] = runs.of[i].rate >= PLAIN ? 1 << step_bits(runs.of[i]) : runs.of[i].rate > 0 ? 510 : 0;
            at += record_bytes(&one);
        }
    return s;
}

/* f32(a * b), also where the compiler could fuse it with a sum. */
static inline float times(float a, float b)
{
    volatile float product = a * b;
    return product;
}

/* Class, gain and centroid of a row, and its record. */
static inline const unsigned char *find_record(const shared *s, size_t vocab, size_t token, uint32_t id[3])
{
    const size_t first = token / BLOCK * BLOCK, n = vocab - first < 128 ? vocab - first : 128;
    const int width[3] = {s->class_bits, s->gain_bits, s->centroid_bits};
    const unsigned char *block = s->index, *at;
    size_t full = (size_t)s->offset_bytes, record;
    for (int k = 0; k < 3; k++) full += (BLOCK * (size_t)width[k] + 7) / 8;
    block += token / BLOCK * full;
    record = (size_t)number_at(block, s->offset_bytes);
    at = block + s->offset_bytes;
    for (size_t i = 0; i < token - first; i++)
        record += record_bytes(&s->list[bits_at(at, i * (size_t)width[0], width[0])]);
    for (int k = 0; k < 3; at += (n * (size_t)width[k] + 7) / 8, k++)
        id[k] = bits_at(at, (token - first) * (size_t)width[k], width[k]);
    return s->records + record;
}

static inline void coefficients(const shared *s, int class_of, float gain, const unsigned char *record, float *z)
{
    int32_t t[MOST_DIM + 1];
    float spread[MOST_DIM + 1], g = times(s->scale[class_of], gain);
    codes_of_record(&s->list[class_of], record, s->state_bits, s->rank, t, spread);
    for (int j = 0; j < s->rank; j++) z[j] = spread[j] > 0 ? times((float)t[j], times(g, spread[j])) : 0;
}

static inline void read_row(const shared *s, size_t vocab, size_t token, float *row)
{
    float z[MOST_DIM + 1], zc[MOST_DIM + 1], a[MOST_DIM + 2], m = 0, f;
    int64_t q[MOST_DIM + 2], sum = 0;
    uint32_t id[3];
    const unsigned char *record = find_record(s, vocab, token, id);
    const int mean = s->centroids > 0, e_half = s->exponent / 2;
    int e = 0;
    coefficients(s, (int)id[0], s->gain[id[1]], record, z);
    if (s->centroids >= 2) {
        size_t length = record_bytes(&s->list[s->classes]);
        coefficients(s, s->classes, 1, s->centroid + id[2] * length, zc);
        for (int j = 0; j < s->rank; j++) z[j] += zc[j];
    }
    a[0] = s->basis_scale[0];
    for (int j = 0; j < s->rank; j++) a[mean + j] = times(z[j], s->basis_scale[mean + j]);
    for (int i = 0; i < s->rows; i++) m = fmaxf(m, fabsf(a[i]));
    for (int i = 0; i < s->rows; i++) {
        volatile float x = times(a[i], m > 0 ? 32767 / m : 0), rounded = x < 0 ? x - 0.5f : x + 0.5f;
        q[i] = (int64_t)rounded;
        sum += (q[i] < 0 ? -q[i] : q[i]) * s->bound[i];
    }
    while (sum >> e >= (int64_t)1 << 31) e++;
    f = times(m / 32767, ldexpf(1, e));
    for (int c = 0; c < s->dim; c++) {
        int64_t total = 0;
        for (int i = 0; i < s->rows; i++)
            total += (q[i] < 0 ? -(-q[i] >> e) : q[i] >> e) * s->basis[i * s->dim + c];
        row[c] = times(times(times((float)total, f), ldexpf(1, e_half)), ldexpf(1, s->exponent - e_half));
    }
}

/* ---- writing: an image of any numbers ----------------------------------------------------------- */

typedef struct plan {
    int dim, vocab, rank, centroids, state_bits, classes, gain_bits, exponent;
    uint16_t gain[16], scale[65], basis_scale[MOST_DIM + 1]; /* bf16 */
    run_list list[65], basis;
} plan;

static inline uint16_t bf16_of(double value)
{
    float narrow = (float)value;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* Runs for up to `count` coefficients: plain ones, then of the trellis. */
static inline run_list random_list(int count, int most)
{
    static const int rates[13] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16};
    run_list list;
    int plain = rng_int(0, 3), left = count, trellis;
    list.runs = 0;
    for (; list.runs < most && left > 0; list.runs++) {
        run *r = &list.of[list.runs];
        r->rate = plain-- > 0 ? PLAIN + rng_int(2, 14) : rates[rng_int(0, 12)];
        r->count = rng_int(1, left);
        r->count -= is_pair(*r) && r->count % 2;
        r->spread = rng_int(100, 140);
        if (r->count == 0) break;
        left -= r->count;
    }
    trellis = (int)bits_of(&list, 0);
    for (int i = 0; i < list.runs && trellis > 0 && trellis < 16; i++) /* too short a circle */
        if (list.of[i].rate < PLAIN) list.of[i].rate = PLAIN + 2;
    return list;
}

static inline plan random_plan(int dim, int vocab)
{
    plan p;
    int rows;
    memset(&p, 0, sizeof p);
    p.dim = dim, p.vocab = vocab, p.rank = rng_int(0, 4) == 0 ? rng_int(0, dim) : rng_int((dim + 1) / 2, dim);
    p.centroids = rng_int(0, 2) < 2 ? rng_int(0, 1) : 2 << rng_int(0, 5);
    p.state_bits = rng_int(8, 16), p.classes = rng_int(0, 3) == 0 ? 1 : rng_int(1, 64), p.gain_bits = rng_int(0, 4);
    p.exponent = rng_int(0, 3) == 0 ? rng_int(-20, 20) : 0;
    for (int i = 0; i < 16; i++) p.gain[i] = bf16_of(exp(0.3 * rng_normal()));
    for (int c = 0; c <= p.classes; c++) {
        p.scale[c] = bf16_of(0.01 * exp(rng_normal()));
        p.list[c] = random_list(p.rank, rng_int(0, 9) == 0 ? 0 : rng_int(1, MOST_RUNS));
    }
    rows = p.rank + (p.centroids > 0);
    for (int i = 0; i < rows; i++)
        p.basis_scale[i] = bf16_of((rng_int(0, 5) == 0 ? -1 : 1) * 0.01 * exp(rng_normal()));
    for (int left = rows; left > 0; p.basis.runs++) { /* a rate of the trellis only where its circle is long enough */
        run_list one = random_list(dim, 1);
        run *r = &p.basis.of[p.basis.runs];
        one.of[0].count = dim + (is_pair(one.of[0]) && dim % 2);
        if (one.runs == 0 || (one.of[0].rate < PLAIN && bits_of(&one, 0) < 16))
            one.of[0].rate = PLAIN + rng_int(2, 14);
        r->rate = one.of[0].rate, r->spread = 0;
        r->count = p.basis.runs == 9 ? left : rng_int(1, left);
        left -= r->count;
    }
    return p;
}

static inline size_t write_runs(unsigned char *at, const run_list *list)
{
    at[0] = (unsigned char)list->runs;
    for (int i = 0; i < list->runs; i++) {
        at[1 + 4 * i] = (unsigned char)list->of[i].rate, at[4 + 4 * i] = (unsigned char)list->of[i].spread;
        put_number(at + 2 + 4 * i, 2, (uint64_t)list->of[i].count);
    }
    return 1 + 4 * (size_t)list->runs;
}

static int made_fill = -1; /* what records, basis and centroids are filled with; -1: random bytes */

static inline size_t random_record(unsigned char *at, const run_list *list)
{
    size_t size = record_bytes(list), plain = 0;
    for (int i = 0; i < list->runs; i++)
        plain += list->of[i].rate >= PLAIN ? (size_t)(step_bits(list->of[i]) * list->of[i].count) : 0;
    for (size_t i = 0; i < size; i++) at[i] = (unsigned char)(made_fill >= 0 ? made_fill : rng_int(0, 255));
    for (size_t bit = plain; bit < bits_of(list, 1); bit++)
        at[bit / 8] = (unsigned char)(at[bit / 8] & ~(1 << bit % 8));
    return size;
}

static inline void put_bits(unsigned char *bytes, size_t bit, int count, uint32_t value)
{
    for (int i = 0; i < count; i++, bit++)
        bytes[bit / 8] = (unsigned char)(bytes[bit / 8] | (value >> i & 1) << bit % 8);
}

/* The index over random classes, gains and centroids; classes[] takes the classes. */
static inline size_t write_index(unsigned char *at, const plan *p, int offset_bytes, const unsigned char *classes)
{
    const int width[3] = {bits_that_hold((size_t)p->classes - 1), p->gain_bits,
                          p->centroids >= 2 ? bits_that_hold((size_t)p->centroids - 1) : 0};
    unsigned char *start = at;
    size_t record = 0;
    for (int first = 0; first < p->vocab; first += BLOCK) {
        int n = p->vocab - first < BLOCK ? p->vocab - first : BLOCK;
        put_number(at, offset_bytes, record);
        at += offset_bytes;
        for (int k = 0; k < 3; at += ((size_t)(n * width[k]) + 7) / 8, k++)
            for (int i = 0; i < n; i++) {
                const uint32_t id = k == 0 ? classes[first + i] : (uint32_t)rng_next() & ((1u << width[k]) - 1);
                put_bits(at, (size_t)(i * width[k]), width[k], id);
                record += k == 0 ? record_bytes(&p->list[id]) : 0;
            }
    }
    return (size_t)(at - start);
}

static inline tte_image write_image(const plan *p)
{
    static const unsigned char magic[8] = {0x89, 0x54, 0x54, 0x45, 0x0D, 0x0A, 0x1A, 0x0A};
    const int sections = (p->vocab > 0 ? 4 : 2) + (p->centroids >= 2), rows = p->rank + (p->centroids > 0);
    size_t longest = 0, room;
    unsigned char *image, *at, *entry, *classes = (unsigned char *)test_alloc((size_t)p->vocab);
    tte_image out;
    for (int c = 0; c <= p->classes; c++) longest = record_bytes(&p->list[c]) > longest ? record_bytes(&p->list[c]) : longest;
    room = 100000 + (size_t)(p->vocab + p->centroids) * (longest + 8) + (size_t)rows * (size_t)(p->dim + 8) * 2;
    image = (unsigned char *)test_alloc(room), entry = image + 208;
    memset(image, 0, room);
    memcpy(image, magic, 8);
    put_number(image + 12, 2, 2), image[14] = 1, image[15] = 5, image[17] = (unsigned char)sections;
    put_number(image + 20, 4, (uint64_t)p->dim), put_number(image + 24, 8, (uint64_t)p->vocab);
    put_number(image + 184, 4, (uint64_t)p->rank), put_number(image + 188, 4, (uint64_t)p->centroids);
    image[192] = (unsigned char)p->state_bits, image[193] = 1, image[194] = (unsigned char)p->classes;
    image[195] = (unsigned char)p->gain_bits;
    put_number(image + 196, 4, 0x3F800000), put_number(image + 200, 2, (uint64_t)(int64_t)p->exponent);
    at = entry + 24 * sections;
    for (int kind = RECORDS; kind <= CENTROIDS; kind++) {
        unsigned char *start = at;
        if ((p->vocab == 0 && kind <= INDEX) || (kind == CENTROIDS && p->centroids < 2)) continue;
        for (int t = 0; kind == RECORDS && t < p->vocab; t++) {
            classes[t] = (unsigned char)rng_int(0, p->classes - 1);
            at += random_record(at, &p->list[classes[t]]);
        }
        if (kind == INDEX)
            at += write_index(at, p, (bits_that_hold((size_t)number_at(image + 216, 8)) + 7) / 8, classes);
        for (int i = 0; kind == CLASSES && i < 1 << p->gain_bits; i++, at += 2) put_number(at, 2, p->gain[i]);
        for (int c = 0; kind == CLASSES && c < p->classes + (p->centroids >= 2); c++) {
            put_number(at, 2, (uint64_t)rng_int(0, 0x7F7F)), put_number(at + 2, 2, p->scale[c]);
            at += 4 + write_runs(at + 4, &p->list[c]);
        }
        if (kind == BASIS) {
            at += write_runs(at, &p->basis);
            for (int i = 0; i < rows; i++, at += 2) put_number(at, 2, p->basis_scale[i]);
            for (int i = 0; i < p->basis.runs; i++)
                for (int n = 0; n < p->basis.of[i].count; n++) {
                    run_list one;
                    one.runs = 1, one.of[0] = p->basis.of[i];
                    one.of[0].count = p->dim + (is_pair(one.of[0]) && p->dim % 2);
                    at += random_record(at, &one);
                }
        }
        for (int k = 0; kind == CENTROIDS && k < p->centroids; k++) at += random_record(at, &p->list[p->classes]);
        put_number(entry, 8, (uint64_t)(start - image)), put_number(entry + 8, 8, (uint64_t)(at - start));
        put_number(entry + 20, 4, (uint64_t)kind);
        entry += 24;
    }
    at += TAIL;
    out.size = (size_t)(at - image);
    put_number(image + 32, 8, out.size);
    seal_image(image, out.size, 0);
    out.data = test_copy(image, out.size);
    free(image), free(classes);
    return out;
}

#endif
