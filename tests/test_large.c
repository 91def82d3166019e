/* test_large.c: more entries than 32 bits count, without the memory for them. Images of 2^32 - 1 rows, or of more bytes than
 * 32 bits count, lie in pages that do not exist until they are touched; tables come from callbacks that stop early; a
 * child compresses far more than it may hold. Needs POSIX, 64 bits and memory that is promised before it is there; passes
 * where these are missing, with a line that says so. */
#define _DEFAULT_SOURCE
#define _XOPEN_SOURCE 700
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bodies.h"
#include "harness.h"
#include "tables.h"
#include "made.h"

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

static const uint64_t most_rows = 0xFFFFFFFFu;
enum { FEW = 200 };

/* ---- reading ------------------------------------------------------------------------------------ */

/* The image of FEW rows of one length, stretched: the first rows are its own, the last ones those rows again, between
 * them zeros that nobody wrote. NULL where the system does not promise so much. */
static unsigned char *stretched(const tte_image *image, uint64_t rows, size_t *size)
{
    unsigned char *small = (unsigned char *)image->data, *large, *index;
    const size_t head = header_end(small);
    size_t length[6] = {0}, few = 0, entries = 0, at = head, width, offset = 0;
    const unsigned char *records = section_of(small, RECORDS, &few);
    width = few / FEW, length[RECORDS] = (size_t)rows * width;
    while (length[RECORDS] >> 8 * offset > 0)
        offset++;
    *size = head + TAIL;
    for (int kind = RECORDS; kind <= CENTROIDS; kind++) {
        if (kind > RECORDS && section_of(small, kind, &length[kind]) != NULL && kind == INDEX)
            length[INDEX] = (size_t)(rows + 127) / 128 * offset;
        *size += length[kind];
    }
    large = (unsigned char *)mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (large == (unsigned char *)MAP_FAILED)
        return NULL;
    memcpy(large, small, head);
    memcpy(large + head, records, few);
    memcpy(large + head + length[RECORDS] - few, records, few);
    put_number(large + AT_VOCAB, 8, rows), put_number(large + AT_SIZE, 8, *size);
    index = large + head + length[RECORDS];
    for (size_t block = 0; block < length[INDEX] / offset; block++)
        put_number(index + block * offset, (int)offset, block * 128 * width);
    for (int kind = RECORDS; kind <= CENTROIDS; at += length[kind++]) {
        size_t old = 0;
        const unsigned char *section = section_of(small, kind, &old);
        if (section == NULL) continue;
        if (kind > INDEX) memcpy(large + at, section, old);
        put_number(large + sections_at(small) + SECTION * entries, 8, at);
        put_number(large + sections_at(small) + SECTION * entries++ + 8, 8, length[kind]);
    }
    seal_image(large, *size, 1);
    return large;
}

/* The last rows of the large image are those of the small one, by every call. */
static void check_last_rows(const tte_image *image, uint64_t vocab)
{
    size_t size = 0;
    tte_table t, small = open_image(image);
    const size_t dim = get_info(&small).dim;
    const uint32_t first = (uint32_t)(vocab - FEW);
    float *rows = lookup_all(&small), *last = new_floats(FEW * dim), *query = random_floats(dim);
    float scores[FEW], want[FEW], a, b, *scratch = new_scratch(&small);
    uint32_t tokens[FEW];
    unsigned char *large = stretched(image, vocab, &size);
    for (uint32_t i = 0; i < FEW; i++)
        tokens[i] = first + i;
    if (large == NULL) {
        CHECK(image->size > 0);
        printf("%s: %s skipped, so much memory is not promised here\n", test.name, test.running);
    } else if (CHECK_STATUS(tte_open(&t, large, size), TTE_OK)) {
        CHECK(get_info(&t).vocab == vocab && size / 65536 >= 65535);
        CHECK_STATUS(tte_lookup_batch(&t, tokens, FEW, last, scratch), TTE_OK);
        CHECK(memcmp(last, rows, FEW * dim * sizeof *rows) == 0);
        for (uint32_t i = 0; i < FEW; i++) {
            CHECK_STATUS(tte_lookup(&t, first + i, last, scratch), TTE_OK);
            CHECK(memcmp(last, rows + i * dim, dim * sizeof *rows) == 0);
        }
        CHECK_STATUS(tte_lookup(&t, (uint32_t)vocab, last, scratch), TTE_ERR_RANGE);
        CHECK_STATUS(tte_logits(&t, query, first, FEW, scores, scratch), TTE_OK);
        CHECK_STATUS(tte_logits(&small, query, 0, FEW, want, scratch), TTE_OK);
        CHECK_LE(distance(scores, want, FEW), 1e-4 * norm(want, FEW));
        CHECK_STATUS(tte_logits(&t, query, first + 1, FEW, scores, scratch), TTE_ERR_RANGE);
        CHECK_STATUS(tte_inner_tokens(&t, first + 1, first + 3, &a, scratch), TTE_OK);
        CHECK_STATUS(tte_inner_tokens(&small, 1, 3, &b, scratch), TTE_OK);
        CHECK(memcmp(&a, &b, sizeof a) == 0);
    }
    if (large != NULL)
        CHECK(munmap(large, size) == 0);
    free(rows), free(last), free(query), free(scratch);
}

static int addresses_are_wide(void)
{
    CHECK(most_rows > 0);
    if (sizeof(size_t) < 8)
        printf("%s: %s skipped, addresses have 32 bits\n", test.name, test.running);
    return sizeof(size_t) >= 8;
}

static void rows_beyond_all_small_numbers(void)
{
    static const int dims[3] = {2, 3, 4};
    float *table = mixed_table(FEW, 24);
    tte_shape shape = make_shape(3, dims);
    for (int coding = 0; coding < 4 && addresses_are_wide(); coding++) {
        tte_options options = make_options((tte_coding)(TTE_F32 + coding), 3, 0, &shape);
        tte_image image = make_image(table, FEW, 24, &options);
        check_last_rows(&image, most_rows);
        free(image.data);
    }
    free(table);
}

/* TTE_PER_TABLE: offsets of more than 32 bits in the index; records of just less than 2^32 bytes, of 2^32, of more. */
static void records_beyond_all_small_numbers(void)
{
    for (int round = 0; round < (test.small ? 4 : 6) && addresses_are_wide(); round++) {
        plan p;
        tte_image image;
        size_t width;
        do
            p = random_plan(round < 3 ? 300 : 90, FEW), width = record_bytes(&p.list[0]);
        while (round < 3 ? width < 64 : width < 60);
        if (round < 3) { /* a power of two */
            const run_list list = {1, {{PLAIN + 8, 64, 128}}};
            p.list[0] = list, width = 64;
        }
        p.classes = 1, p.gain_bits = 0, p.centroids = p.centroids > 1 ? 1 : p.centroids;
        image = write_image(&p);
        check_last_rows(&image, (round < 3 ? ((uint64_t)1 << 32) + 64 * (uint64_t)round - 64 : (uint64_t)5 << 30) / width);
        free(image.data);
    }
}

/* ---- writing ------------------------------------------------------------------------------------ */

/* Rows of a table that nobody could hold, for so many calls. */
typedef struct source { size_t vocab, dim, calls, stop, end, bad; } source;

static int some_rows(void *user, size_t first, size_t count, float *dst)
{
    source *s = (source *)user;
    s->bad += count == 0 || first > s->vocab || count > s->vocab - first;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < s->dim; j++)
            dst[i * s->dim + j] = (float)((first + i) * 31 % 97) * 0.01f + (float)(((first + i) % 11 * j) % 13);
    s->end = first + count > s->end ? first + count : s->end;
    return ++s->calls == s->stop;
}

/* 2^32 - 1 rows, more than 2^32 entries from two columns on: the arithmetic holds until the callback
 * stops; rows are asked for within the table; sizes beyond are refused. */
static void tables_too_large_to_hold(void)
{
    static const size_t dims[] = {2, 3, 64, 1000};
    for (int n = 0; n < 4 && addresses_are_wide(); n++)
        for (int kind = 0; kind < 8; kind++) {
            tte_options options = kind < 5 ? make_options((tte_coding)(TTE_F32 + kind % 4), kind < 4 ? 2 : 0,
                                                          kind < 4 ? 0 : 0.3f, NULL)
                                : table_options(kind < 7 ? 8 : 0, kind < 7 ? 0 : 0.5f);
            tte_image image = sentinel_image();
            source s = {0, 0, 0, 0, 0, 0};
            tte_status status;
            s.vocab = (size_t)most_rows, s.dim = dims[n], s.stop = dims[n] > 100 ? 3 : 40;
            status = kind == 6 ? tte_train(some_rows, &s, s.vocab, s.dim, &options, &image)
                : tte_compress_rows(some_rows, &s, s.vocab, s.dim, &options, &image);
            CHECK(status == TTE_ERR_IO || status == TTE_ERR_MEMORY); /* the image itself may be too large */
            CHECK(status == TTE_ERR_MEMORY || s.calls == s.stop);
            CHECK(s.bad == 0 && is_sentinel(&image));
            s.calls = 0;
            CHECK_STATUS(tte_compress_rows(some_rows, &s, s.vocab + 1, s.dim, &options, &image), TTE_ERR_SHAPE);
            CHECK(s.calls == 0);
        }
}

/* In a child: megabytes at the most, less the image's. */
static long peak_of_child(const tte_options *options, size_t vocab, size_t dim, int *bad)
{
    int how = 1;
    pid_t child = fork();
    if (child == 0) {
        struct rusage usage;
        tte_image image;
        tte_table t;
        source s = {0, 0, 0, 0, 0, 0};
        long peak;
        s.vocab = vocab, s.dim = dim;
        if (tte_compress_rows(some_rows, &s, vocab, dim, options, &image) != TTE_OK)
            _exit(255);
        if (s.bad != 0 || s.end != vocab || tte_open(&t, image.data, image.size) != TTE_OK
            || getrusage(RUSAGE_SELF, &usage) != 0)
            _exit(254);
        peak = usage.ru_maxrss / 1024 - (long)(image.size >> 20);
        _exit(peak > 253 ? 253 : (int)peak);
    }
    *bad = child < 0 || waitpid(child, &how, 0) != child || !WIFEXITED(how) || WEXITSTATUS(how) >= 254;
    return WEXITSTATUS(how);
}

/* Compression holds the image, some matrices of dim x dim and 64 MB, never the table. */
static void memory_stays_bounded(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    const int watched = 1;
#else
    const int watched = 0;
#endif
    const size_t dim = 64, vocab = test.small ? 20000 : 700000;
    for (int kind = 0; kind < 3; kind++) {
        tte_options options = kind == 0 ? make_options(TTE_I4, 1, 0, NULL) : table_options(kind == 1 ? 20 : 0,
                                                                                          kind == 1 ? 0 : 0.3f);
        int bad;
        long peak = peak_of_child(&options, vocab, dim, &bad);
        CHECK(!bad && peak >= 0);
        printf("%s: %ld MB and the image, of a table of %ld MB\n", test.name, peak, (long)(vocab * dim * 4 >> 20));
        if (!watched && !test.small)
            CHECK(peak <= 64 + 8); /* of which the program and libc have some */
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_large");
    heap.most = 0xFFFFFFFFu; /* more would be promised by some systems and never be there */
    RUN(rows_beyond_all_small_numbers);
    RUN(records_beyond_all_small_numbers);
    RUN(tables_too_large_to_hold);
    RUN(memory_stays_bounded);
    return test_end();
}
