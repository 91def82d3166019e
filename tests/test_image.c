/* test_image.c: bytes that are cut, lengthened, changed, moved; and images of earlier days.
 *
 * The offsets below and the checksum are written from the header's IMAGE FORMAT section alone, so
 * that a change of the format, or a page that no longer describes it, fails here.
 */
#include "bodies.h"
#include "harness.h"
#include "tables.h"
#include "golden.h"

enum { AT_CRC = 8, AT_VERSION = 12, AT_LAYOUT = 14, AT_CODING = 15, AT_MODES = 16, AT_SECTIONS = 17,
       AT_FLAGS = 18, AT_DIM = 20, AT_VOCAB = 24, AT_SIZE = 32, AT_RATIO = 48, AT_SHAPE = 144 };

/* ---- the format, read independently --------------------------------------------------------- */

static uint32_t crc32_of(const unsigned char *bytes, size_t size)
{
    static uint32_t of_byte[256]; /* the remainder of each byte alone */
    uint32_t crc = 0xFFFFFFFFu;
    for (uint32_t value = 0; value < 256 && of_byte[255] == 0; value++) {
        uint32_t rest = value;
        for (int bit = 0; bit < 8; bit++)
            rest = rest >> 1 ^ (rest & 1 ? 0xEDB88320u : 0);
        of_byte[value] = rest;
    }
    for (size_t i = 0; i < size; i++)
        crc = crc >> 8 ^ of_byte[(crc ^ bytes[i]) & 0xFF];
    return ~crc;
}

static uint64_t number_at(const unsigned char *bytes, int size)
{
    uint64_t value = 0;
    while (size-- > 0)
        value = value << 8 | bytes[size];
    return value;
}

static void set_number(unsigned char *bytes, int size, uint64_t value)
{
    for (int i = 0; i < size; i++, value >>= 8)
        bytes[i] = (unsigned char)(value & 0xFF);
}

/* Where the header ends, by what it says of itself. */
static size_t header_size(const unsigned char *image)
{
    return AT_SHAPE + 4 + 8 * (size_t)image[AT_MODES] + 24 * (size_t)image[AT_SECTIONS];
}

static void repair_header(unsigned char *image, size_t size)
{
    size_t end = header_size(image);
    if (end > AT_VERSION && end <= size)
        set_number(image + AT_CRC, 4, crc32_of(image + AT_VERSION, end - AT_VERSION));
}

/* ---- images to work on ---------------------------------------------------------------------- */

enum { KINDS = 8, VOCAB = 18, DIM = 21 };

/* Small images of every coding, uniform (0..3) and adaptive (4..7). */
static tte_image small_image(int kind)
{
    static const tte_coding codings[4] = {TTE_F32, TTE_F16, TTE_I8, TTE_I4};
    static const int dims[3] = {3, 4, 2};
    tte_shape shape = make_shape(3, dims);
    tte_options options = make_options(codings[kind % 4], kind < 4 ? 2 : 0, kind < 4 ? 0 : 0.6f, &shape);
    float *table = mixed_table(VOCAB, DIM);
    tte_image image = make_image(table, VOCAB, DIM, &options);
    free(table);
    return image;
}

static tte_status open_bytes(const void *bytes, size_t size, tte_table *t)
{
    memset(t, 0xA5, sizeof *t);
    return tte_open(t, bytes, size);
}

/* The calls that make a new image from a view whose bytes may be anything. */
static void grow_from(const tte_table *t)
{
    tte_info info = get_info(t);
    tte_table twice[2];
    tte_image image = {NULL, 0};
    float *row;
    if (info.dim > 4096 || info.vocab > 4096)
        return;
    row = new_floats(info.dim);
    for (size_t j = 0; j < info.dim; j++)
        row[j] = (float)(j % 5) - 2;
    twice[0] = twice[1] = *t;
    for (int call = 0; call < 3; call++) {
        tte_status status = call == 0 ? tte_append(t, row, 1, &image)
                          : call == 1 ? tte_replace(t, (uint32_t)info.vocab / 2, row, &image)
                                      : tte_merge(twice, 2, &image);
        tte_table grown;
        if (status == TTE_OK && tte_open(&grown, image.data, image.size) == TTE_OK)
            use_everything(&grown);
        if (status == TTE_OK)
            tte_free(&image);
    }
    free(row);
}

/* Opens bytes that may be anything and, when that succeeds, uses the view. */
static tte_status open_and_use(const unsigned char *bytes, size_t size)
{
    static unsigned long opened;
    tte_table t;
    tte_status status = open_bytes(bytes, size, &t);
    if (status == TTE_OK) {
        use_everything(&t);
        if (opened++ % 16 == 0)
            grow_from(&t);
    } else {
        CHECK(is_untouched(&t, sizeof t));
    }
    return status;
}

/* ---- cases ---------------------------------------------------------------------------------- */

/* The header comment, read as a specification, describes what the library writes. */
static void format_is_as_documented(void)
{
    static const unsigned char magic[8] = {0x89, 0x54, 0x54, 0x45, 0x0D, 0x0A, 0x1A, 0x0A};
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        const unsigned char *b = (const unsigned char *)image.data;
        tte_table t = open_image(&image);
        tte_info info = get_info(&t);
        size_t end = header_size(b), last = end;
        uint64_t bits;
        int sections = kind < 4 ? 1 : 2;
        double ratio;
        CHECK(memcmp(b, magic, 8) == 0);
        CHECK(number_at(b + AT_CRC, 4) == crc32_of(b + AT_VERSION, end - AT_VERSION));
        CHECK(number_at(b + AT_VERSION, 2) == 1);
        CHECK(b[AT_LAYOUT] == TTE_PER_TOKEN && b[AT_CODING] == (unsigned)kind % 4);
        CHECK(b[AT_MODES] == 3 && b[AT_SECTIONS] == sections);
        CHECK(number_at(b + AT_FLAGS, 2) == (kind < 4 ? 0u : 1u));
        CHECK(number_at(b + AT_DIM, 4) == DIM && number_at(b + AT_VOCAB, 8) == VOCAB);
        CHECK(number_at(b + AT_SIZE, 8) == image.size);
        bits = number_at(b + AT_RATIO, 8);
        memcpy(&ratio, &bits, sizeof ratio);
        CHECK(ratio == info.ratio);
        for (int k = 0; k <= 3; k++)
            CHECK(number_at(b + AT_SHAPE + 8 * k, 4) == (uint32_t)info.ranks[k]);
        for (int k = 0; k < 3; k++)
            CHECK(number_at(b + AT_SHAPE + 4 + 8 * k, 4) == (uint32_t)info.shape.dim[k]);
        for (int s = 0; s < sections; s++) {
            const unsigned char *entry = b + end - 24 * (sections - s);
            size_t offset = (size_t)number_at(entry, 8), size = (size_t)number_at(entry + 8, 8);
            if (!CHECK(offset % 64 == 0 && offset >= last && offset - last < 64
                       && size <= image.size - offset))
                break;
            for (size_t i = last; i < offset; i++)
                CHECK(b[i] == 0);
            CHECK(number_at(entry + 16, 4) == crc32_of(b + offset, size));
            CHECK(number_at(entry + 20, 4) == (uint64_t)s + 1);
            last = offset + size;
        }
        CHECK(last == image.size);
        free(image.data);
    }
}

/* One float16 by IEEE 754, from its fields. */
static double half_at(const unsigned char *bytes)
{
    unsigned half = (unsigned)number_at(bytes, 2), exponent = half >> 10 & 31;
    double fraction = (double)(half & 1023) / 1024;
    double size = exponent == 0 ? ldexp(fraction, -14) : ldexp(1 + fraction, (int)exponent - 15);
    return half >> 15 ? -size : size;
}

/* The entries of one record: `ranks` holds d + 1 numbers. Returns its length in bytes. */
static size_t decode_record(const tte_info *info, const int32_t *ranks, const unsigned char *record,
                            double *cores)
{
    size_t entries = 0, bytes, done = 0;
    int d = info->shape.modes, scaled = info->coding == TTE_I8 || info->coding == TTE_I4;
    const unsigned char *codes = record + (scaled ? 2 * d : 0);
    for (int k = 0; k < d; k++) {
        double scale = scaled ? half_at(record + 2 * k) : 1;
        entries += (size_t)(ranks[k] * info->shape.dim[k] * ranks[k + 1]);
        for (; done < entries; done++) {
            uint32_t bits;
            float value;
            switch (info->coding) {
            case TTE_F32:
                bits = (uint32_t)number_at(codes + 4 * done, 4);
                memcpy(&value, &bits, sizeof value);
                cores[done] = (double)value;
                break;
            case TTE_F16:
                cores[done] = half_at(codes + 2 * done);
                break;
            case TTE_I8:
                cores[done] = scale * (codes[done] < 128 ? codes[done] : codes[done] - 256);
                break;
            default:
                cores[done] = scale * ((codes[done / 2] >> (done % 2 ? 4 : 0) & 15) - 8);
            }
        }
    }
    bytes = info->coding == TTE_F32 ? 4 * entries : info->coding == TTE_F16 ? 2 * entries
       : info->coding == TTE_I8 ? entries : (entries + 1) / 2;
    return (size_t)(codes - record) + bytes;
}

/* Entry i of the row: the matrices of its modes, multiplied from the left. */
static double entry_of_row(const tte_info *info, const int32_t *ranks, const double *cores, size_t i)
{
    double left[64] = {1}, next[64];
    size_t rest = shape_size(&info->shape);
    for (int k = 0; k < info->shape.modes; k++) {
        size_t n = (size_t)info->shape.dim[k], r = (size_t)ranks[k], q = (size_t)ranks[k + 1], digit;
        rest /= n;
        digit = i / rest % n;
        for (size_t b = 0; b < q; b++) {
            next[b] = 0;
            for (size_t a = 0; a < r; a++)
                next[b] += left[a] * cores[(a * n + digit) * q + b];
        }
        memcpy(left, next, q * sizeof left[0]);
        cores += r * n * q;
    }
    return left[0];
}

/* Rows rebuilt from the bytes by the page alone are the rows of tte_lookup. */
static void records_are_as_documented(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        const unsigned char *b = (const unsigned char *)image.data, *entry, *records, *index;
        tte_table t = open_image(&image);
        tte_info info = get_info(&t);
        float *rows = lookup_all(&t);
        double cores[256];
        size_t at = 0;
        entry = b + header_size(b) - 24 * (size_t)b[AT_SECTIONS];
        records = b + number_at(entry, 8);
        index = b + number_at(entry + (kind < 4 ? 0 : 24), 8);
        for (size_t token = 0; token < VOCAB; token++) {
            int32_t ranks[4] = {1, info.ranks[1], info.ranks[2], 1};
            const float *row = rows + token * DIM;
            if (kind >= 4) { /* groups of 16: where the first stands, then two ranks for each */
                const unsigned char *group = index + token / 16 * (8 + 16 * 2);
                if (token % 16 == 0)
                    CHECK(number_at(group, 8) == at);
                ranks[1] = group[8 + token % 16 * 2];
                ranks[2] = group[8 + token % 16 * 2 + 1];
            }
            at += decode_record(&info, ranks, records + at, cores);
            for (size_t j = 0; j < DIM; j++)
                CHECK_LE(fabs(entry_of_row(&info, ranks, cores, j) - (double)row[j]),
                         1e-6 * norm(row, DIM));
        }
        CHECK(at == number_at(entry + 8, 8));
        free(rows), free(image.data);
    }
}

/* The value of an ordered sum, as the page tells it. */
static double ordered_sum_at(const unsigned char *bytes)
{
    int e = (int)(int32_t)(uint32_t)number_at(bytes, 4);
    double value = 0;
    CHECK(number_at(bytes + 4, 4) == 0);
    for (int i = 0; i < 3; i++)
        value += ldexp((double)number_at(bytes + 8 + 8 * i, 8), 32 * (e - i));
    return value;
}

static void sums_are_as_documented(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        const unsigned char *b = (const unsigned char *)image.data;
        tte_table t = open_image(&image);
        tte_info info = get_info(&t);
        double whole = ordered_sum_at(b + 80), lost = ordered_sum_at(b + 112);
        CHECK(whole > 0);
        CHECK_LE(fabs(sqrt(lost / whole) - info.rel_error), 1e-6 * info.rel_error);
        free(image.data);
    }
}

static void every_truncation(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        for (size_t size = 0; size < image.size; size++) {
            void *cut = test_copy(image.data, size);
            tte_table t;
            tte_status status = open_bytes(cut, size, &t);
            if (size >= AT_SHAPE)
                CHECK_STATUS(status, TTE_ERR_TRUNCATED);
            else
                CHECK(status == TTE_ERR_TRUNCATED || status == TTE_ERR_FORMAT);
            CHECK(is_untouched(&t, sizeof t));
            free(cut);
        }
        free(image.data);
    }
}

static void bytes_too_many(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        for (size_t more = 1; more <= 130; more++) {
            unsigned char *longer = (unsigned char *)test_alloc(image.size + more);
            tte_table t;
            memcpy(longer, image.data, image.size);
            memset(longer + image.size, 0, more);
            CHECK_STATUS(open_bytes(longer, image.size + more, &t), TTE_ERR_FORMAT);
            free(longer);
        }
        free(image.data);
    }
}

static void not_an_image(void)
{
    unsigned char *bytes = (unsigned char *)test_alloc(1024);
    tte_table t;
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 1024; i++)
            bytes[i] = (unsigned char)(round == 0 ? 0 : round == 1 ? 0xFF : rng_next() & 0xFF);
        CHECK_STATUS(open_bytes(bytes, 1024, &t), TTE_ERR_FORMAT);
        CHECK(is_untouched(&t, sizeof t));
    }
    free(bytes);
}

/* Every byte of the first 512 with every value, with the header's checksum as it was and made
 * good again. What opens is used in full. */
static void every_byte_of_the_header(void)
{
    for (int kind = 0; kind < KINDS; kind += 5) { /* float32 in records of one size; 8 bits, adapted */
        tte_image image = small_image(kind);
        size_t end = image.size < 512 ? image.size : 512;
        long opened = 0;
        for (size_t at = 0; at < end; at++)
            for (int value = 0; value < 256; value += test.small ? 15 : 1) {
                unsigned char *bytes = (unsigned char *)test_copy(image.data, image.size);
                int changed = bytes[at] != value, in_header = at < header_size(bytes);
                bytes[at] = (unsigned char)value;
                if (in_header && changed)
                    CHECK(open_and_use(bytes, image.size) != TTE_OK);
                repair_header(bytes, image.size);
                opened += open_and_use(bytes, image.size) == TTE_OK;
                free(bytes);
            }
        CHECK(opened > 0); /* the repair is right: unread fields may hold anything */
        free(image.data);
    }
}

/* What follows from other fields may not say anything else, even under a checksum that is right:
 * the size of the image, the section table, the first and last rank. */
static void contradictions(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        unsigned char *bytes = (unsigned char *)image.data;
        size_t end = header_size(bytes), table = end - 24 * (size_t)bytes[AT_SECTIONS];
        for (size_t at = AT_LAYOUT; at < end; at++) {
            int field = at < AT_FLAGS + 2 || (at >= AT_SIZE && at < AT_SIZE + 8)
                      || (at >= AT_SHAPE && at < AT_SHAPE + 4)  /* r[0] */
                      || (at >= table - 4 && at < table)        /* r[d] */
                      || (at >= table && (at - table) % 24 / 4 != 4); /* all but the checksum */
            unsigned char kept = bytes[at];
            for (int step = 1; field && step < 256; step++) {
                tte_table t;
                tte_status status;
                bytes[at] = (unsigned char)(kept + step);
                repair_header(bytes, image.size);
                status = open_bytes(bytes, image.size, &t);
                if (!CHECK(status != TTE_OK) && test.bad <= 5)
                    fprintf(stderr, "    kind %d, byte %d: %d for %d\n", kind, (int)at, bytes[at], kept);
            }
            bytes[at] = kept;
            repair_header(bytes, image.size);
        }
        for (int more = -64; more <= 64; more += 128) { /* a wrong size, and as many bytes as it says */
            size_t size = image.size + (size_t)more;
            unsigned char *other = (unsigned char *)test_alloc(size);
            memset(other, 0, size);
            memcpy(other, bytes, size < image.size ? size : image.size);
            set_number(other + AT_SIZE, 8, size);
            repair_header(other, size);
            CHECK(open_and_use(other, size) != TTE_OK);
            free(other);
        }
        free(image.data);
    }
}

/* Two tokens of the index exchange a rank, so that all lengths still add up, but one now exceeds the
 * largest rank that the header promises (and that scratch is made for). */
static void ranks_above_the_largest(void)
{
    tte_image image = small_image(4);
    unsigned char *bytes = (unsigned char *)image.data, *group;
    tte_table t = open_image(&image);
    tte_info info = get_info(&t);
    int tried = 0;
    group = bytes + number_at(bytes + header_size(bytes) - 24, 8) + 8;
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

/* Fields that a lie would turn into a read outside the bytes, at the edges of their types. */
static void lying_numbers(void)
{
    static const uint64_t lies[] = {0, 1, 2, 3, 15, 16, 17, 255, 256, 0x7FFF, 0xFFFF, 0x10000,
                                    0x7FFFFFFF, 0x80000000u, 0xFFFFFFFFu, 0x100000000u,
                                    0x7FFFFFFFFFFFFFFFu, 0x8000000000000000u, 0xFFFFFFFFFFFFFFC0u,
                                    0xFFFFFFFFFFFFFFFFu};
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        size_t end = header_size((const unsigned char *)image.data);
        for (size_t at = AT_VERSION; at < end; at += 2)
            for (int l = 0; l < 40; l++) {
                unsigned char *bytes = (unsigned char *)test_copy(image.data, image.size);
                size_t room = end - at < 8 ? end - at : 8;
                size_t width = l % 2 && room > 4 ? 4 : room;
                set_number(bytes + at, (int)width, lies[l / 2]);
                repair_header(bytes, image.size);
                (void)open_and_use(bytes, image.size);
                free(bytes);
            }
        CHECK(end <= image.size);
        free(image.data);
    }
}

/* The sections are not trusted either: an index that lies, records that are garbage. Checksums of
 * sections are not asked for by tte_open, so nothing needs repair. */
static void garbage_in_the_sections(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        const unsigned char *original = (const unsigned char *)image.data;
        size_t start = header_size(original);
        for (size_t at = start; at < image.size; at++)
            for (int value = 0; value < 256; value += test.small ? 85 : 17) {
                unsigned char *bytes = (unsigned char *)test_copy(original, image.size);
                bytes[at] = (unsigned char)value;
                (void)open_and_use(bytes, image.size);
                free(bytes);
            }
        for (int round = 0; round < (test.small ? 50 : 2000); round++) { /* many bytes at once */
            unsigned char *bytes = (unsigned char *)test_copy(original, image.size);
            for (int n = rng_int(1, 40); n > 0; n--)
                bytes[rng_int((int)start, (int)image.size - 1)] = (unsigned char)(rng_next() & 0xFF);
            (void)open_and_use(bytes, image.size);
            free(bytes);
        }
        CHECK(image.size > start);
        free(image.data);
    }
}

static void every_flipped_bit_is_noticed(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        unsigned char *bytes = (unsigned char *)image.data;
        for (size_t at = 0; at < image.size; at++)
            for (int bit = 0; bit < 8; bit++) {
                tte_table t;
                tte_status status;
                bytes[at] ^= (unsigned char)(1 << bit);
                status = open_bytes(bytes, image.size, &t);
                if (status == TTE_OK)
                    status = tte_verify(&t);
                if (!CHECK(status != TTE_OK) && test.bad <= 5)
                    fprintf(stderr, "    kind %d, byte %d, bit %d\n", kind, (int)at, bit);
                bytes[at] ^= (unsigned char)(1 << bit);
            }
        free(image.data);
    }
}

/* A changed record is left to tte_verify, a changed header is noticed by tte_open. */
static void checksums(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        unsigned char *bytes = (unsigned char *)image.data;
        const unsigned char *entry = bytes + header_size(bytes) - 24 * (size_t)bytes[AT_SECTIONS];
        size_t records = (size_t)number_at(entry, 8);
        tte_table t;
        bytes[records] ^= 4;
        if (CHECK_STATUS(open_bytes(bytes, image.size, &t), TTE_OK))
            CHECK_STATUS(tte_verify(&t), TTE_ERR_CHECKSUM);
        bytes[records] ^= 4;
        bytes[AT_RATIO] ^= 1;
        CHECK_STATUS(open_bytes(bytes, image.size, &t), TTE_ERR_CHECKSUM);
        bytes[AT_RATIO] ^= 1;
        if (CHECK_STATUS(open_bytes(bytes, image.size, &t), TTE_OK))
            CHECK_STATUS(tte_verify(&t), TTE_OK);
        free(image.data);
    }
}

static void newer_versions_are_told_apart(void)
{
    tte_image image = small_image(0);
    unsigned char *bytes = (unsigned char *)image.data;
    tte_table t;
    for (uint64_t version = 2; version < 65536; version = version * 3 + 1) {
        set_number(bytes + AT_VERSION, 2, version);
        CHECK_STATUS(open_bytes(bytes, image.size, &t), TTE_ERR_VERSION);
        repair_header(bytes, image.size);
        CHECK_STATUS(open_bytes(bytes, image.size, &t), TTE_ERR_VERSION);
    }
    set_number(bytes + AT_VERSION, 2, 0); /* there never was one */
    repair_header(bytes, image.size);
    CHECK(open_bytes(bytes, image.size, &t) != TTE_OK);
    set_number(bytes + AT_VERSION, 2, 1);
    repair_header(bytes, image.size);
    CHECK_STATUS(open_bytes(bytes, image.size, &t), TTE_OK);
    free(image.data);
}

/* Data off the 8-byte boundary is served or refused, never read by a misaligned access. */
static void data_off_alignment(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tte_image image = small_image(kind);
        for (size_t shift = 1; shift < 8; shift++) {
            unsigned char *block = (unsigned char *)test_alloc(image.size + shift);
            tte_status status;
            memcpy(block + shift, image.data, image.size);
            status = open_and_use(block + shift, image.size);
            CHECK(status == TTE_OK || status == TTE_ERR_ARGUMENT);
            free(block);
        }
        free(image.data);
    }
}

/* ---- golden images -------------------------------------------------------------------------- */


/* Images written by version 1 open for ever and still hold the table they were made from. */
static void golden_images(void)
{
    float *table = golden_table();
    for (int kind = 0; kind < GOLDEN_KINDS; kind++) {
        size_t size = 0;
        void *bytes = golden_bytes(kind, &size);
        tte_table t;
        if (!CHECK(bytes != NULL))
            continue;
        if (CHECK_STATUS(tte_open(&t, bytes, size), TTE_OK)
            && CHECK_STATUS(tte_verify(&t), TTE_OK)) {
            tte_info info = get_info(&t);
            tte_options options = golden_options(kind);
            CHECK(info.vocab == GOLDEN_VOCAB && info.dim == GOLDEN_DIM && info.bytes == size);
            CHECK(info.coding == options.coding);
            if (info.vocab == GOLDEN_VOCAB && info.dim == GOLDEN_DIM) {
                float *rows = lookup_all(&t);
                errors e = measure(table, rows, GOLDEN_VOCAB, GOLDEN_DIM);
                CHECK_LE(fabs(e.whole - info.rel_error), 1e-5);
                CHECK_LE(fabs(e.worst - info.max_row_error), 1e-5);
                CHECK_LE(e.worst, golden_bound(kind));
                free(rows);
            }
        }
        free(bytes);
    }
    free(table);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_image");
    RUN(format_is_as_documented);
    RUN(records_are_as_documented);
    RUN(sums_are_as_documented);
    RUN(every_truncation);
    RUN(bytes_too_many);
    RUN(not_an_image);
    RUN(every_byte_of_the_header);
    RUN(contradictions);
    RUN(ranks_above_the_largest);
    RUN(lying_numbers);
    RUN(garbage_in_the_sections);
    RUN(every_flipped_bit_is_noticed);
    RUN(checksums);
    RUN(newer_versions_are_told_apart);
    RUN(data_off_alignment);
    RUN(golden_images);
    return test_end();
}
