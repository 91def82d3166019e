/* test_large.c: more entries than 32 bits count, without the memory for them. Images of 2^32 - 1 rows
 * lie in pages that do not exist until they are touched; tables come from callbacks that stop early; a
 * child compresses far more than it may hold. Needs POSIX, 64 bits and memory that is promised before
 * it is there; passes where these are missing, with a line that says so. */
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

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

static const uint64_t most_rows = 0xFFFFFFFFu;

static void set_number(unsigned char *bytes, int size, uint64_t value)
{
    for (int i = 0; i < size; i++, value >>= 8)
        bytes[i] = (unsigned char)(value & 0xFF);
}

static uint64_t number_at(const unsigned char *bytes, int size)
{
    uint64_t value = 0;
    while (size-- > 0)
        value = value << 8 | bytes[size];
    return value;
}

/* ---- reading ------------------------------------------------------------------------------------ */

/* The image of a few rows, stretched to 2^32 - 1: the first rows are its own, the last ones those rows
 * again, between them zeros that nobody wrote. NULL where the system does not promise so much. */
static unsigned char *stretched(const tte_image *image, size_t *size)
{
    const unsigned char *small = (const unsigned char *)image->data;
    const size_t header = 148 + 8 * (size_t)small[16] + 24 * (size_t)small[17];
    const size_t rows = (size_t)number_at(small + 24, 8);
    size_t records, width, length, tail, end;
    unsigned char *large, *entry;
    tte_table t = open_image(image);
    records = (size_t)(t.records - t.data);
    width = t.records_size / rows;
    length = (size_t)most_rows * width;
    end = records + length;
    tail = t.shared != NULL ? image->size - (size_t)(t.shared - t.data) : 0; /* shared cores */
    if (tail > 0) end = (end + 63) / 64 * 64;
    *size = end + tail;
    large = (unsigned char *)mmap(NULL, *size, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (large == (unsigned char *)MAP_FAILED)
        return NULL;
    memcpy(large, small, header);
    memcpy(large + records, t.records, t.records_size);
    memcpy(large + records + length - t.records_size, t.records, t.records_size);
    if (tail > 0) memcpy(large + end, t.shared, tail);
    set_number(large + 24, 8, most_rows);
    set_number(large + 32, 8, *size);
    entry = large + header - 24 * (size_t)small[17];
    set_number(entry + 8, 8, length);
    if (tail > 0) set_number(entry + 24, 8, end);
    set_number(large + 8, 4, test_crc32(large + 12, header - 12));
    return large;
}

static void rows_beyond_all_small_numbers(void)
{
    enum { FEW = 64, DIM = 24 };
    static const int dims[3] = {2, 3, 4};
    float *table = mixed_table(FEW, DIM), query[DIM];
    if (sizeof(size_t) < 8) {
        CHECK(most_rows > 0);
        printf("%s: %s skipped, addresses have 32 bits\n", test.name, test.running);
    }
    for (int j = 0; j < DIM; j++)
        query[j] = (float)(j % 3) - 1;
    for (int kind = 0; kind < 8 && sizeof(size_t) == 8; kind++) { /* four codings in two layouts */
        tte_shape shape = make_shape(3, dims);
        tte_options options = make_options((tte_coding)(kind % 4), 3, 0, &shape);
        tte_image image;
        size_t size = 0;
        unsigned char *large;
        float *rows, *last = new_floats(FEW * DIM), scores[FEW], want[FEW], a, b;
        uint32_t tokens[FEW], first = (uint32_t)(most_rows - FEW);
        options.layout = kind < 4 ? TTE_PER_TOKEN : TTE_PER_TABLE;
        image = make_image(table, FEW, DIM, &options);
        {
            tte_table t, small = open_image(&image);
            float *scratch;
            large = stretched(&image, &size);
            if (large == NULL) {
                CHECK(image.size > 0);
                printf("%s: %s skipped, so much memory is not promised here\n", test.name, test.running);
            } else if (CHECK_STATUS(tte_open(&t, large, size), TTE_OK)) {
                CHECK(get_info(&t).vocab == most_rows && size > (size_t)1 << 32);
                rows = lookup_all(&small);
                scratch = new_scratch(&t);
                for (uint32_t i = 0; i < FEW; i++)
                    tokens[i] = first + i;
                CHECK_STATUS(tte_lookup_batch(&t, tokens, FEW, last, scratch), TTE_OK);
                CHECK(memcmp(last, rows, FEW * DIM * sizeof *rows) == 0);
                for (uint32_t i = 0; i < FEW; i++) {
                    CHECK_STATUS(tte_lookup(&t, first + i, last, scratch), TTE_OK);
                    CHECK(memcmp(last, rows + i * DIM, DIM * sizeof *rows) == 0);
                }
                CHECK_STATUS(tte_lookup(&t, (uint32_t)most_rows, last, scratch), TTE_ERR_RANGE);
                CHECK_STATUS(tte_logits(&t, query, first, FEW, scores, scratch), TTE_OK);
                CHECK_STATUS(tte_logits(&small, query, 0, FEW, want, scratch), TTE_OK);
                CHECK(memcmp(scores, want, sizeof want) == 0);
                CHECK_STATUS(tte_logits(&t, query, first + 1, FEW, scores, scratch), TTE_ERR_RANGE);
                CHECK_STATUS(tte_inner_tokens(&t, first + 1, first + 3, &a, scratch), TTE_OK);
                CHECK_STATUS(tte_inner_tokens(&small, 1, 3, &b, scratch), TTE_OK);
                CHECK(memcmp(&a, &b, sizeof a) == 0);
                free(rows), free(scratch);
            }
        }
        if (large != NULL)
            CHECK(munmap(large, size) == 0);
        free(image.data), free(last);
    }
    free(table);
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
    for (int n = 0; n < 4 && sizeof(size_t) == 8; n++)
        for (int kind = 0; kind < 10; kind++) {
            tte_options options = no_options();
            tte_image image = sentinel_image();
            source s = {0, 0, 0, 0, 0, 0};
            tte_status status;
            s.vocab = (size_t)most_rows, s.dim = dims[n], s.stop = dims[n] > 100 ? 3 : 40;
            options.layout = kind < 5 ? TTE_PER_TOKEN : TTE_PER_TABLE;
            options.coding = (tte_coding)(kind == 4 ? 0 : kind % 5);
            options.max_rank = kind == 4 ? 0 : 2;
            options.eps = kind == 4 ? 0.3f : 0;
            status = tte_compress_rows(some_rows, &s, s.vocab, s.dim, &options, &image);
            CHECK(status == TTE_ERR_IO || status == TTE_ERR_MEMORY); /* the image itself may be too large */
            if (status == TTE_ERR_IO)
                CHECK(s.calls == s.stop);
            CHECK(s.bad == 0 && is_sentinel(&image));
            s.calls = 0;
            CHECK_STATUS(tte_compress_rows(some_rows, &s, s.vocab + 1, s.dim, &options, &image),
                         TTE_ERR_SHAPE);
            CHECK(s.calls == 0);
        }
    CHECK(most_rows == 0xFFFFFFFFu);
}

static long peak_of_child(const tte_options *options, size_t vocab, size_t dim, int *bad)
{
    struct rusage usage;
    int how = 1;
    pid_t child = fork();
    if (child == 0) {
        tte_image image;
        tte_table t;
        source s = {0, 0, 0, 0, 0, 0};
        s.vocab = vocab, s.dim = dim;
        if (tte_compress_rows(some_rows, &s, vocab, dim, options, &image) != TTE_OK)
            _exit(1);
        if (s.bad != 0 || s.end != vocab || tte_open(&t, image.data, image.size) != TTE_OK)
            _exit(2);
        _exit(getrusage(RUSAGE_SELF, &usage) != 0 || usage.ru_maxrss / 1024 > 250 ? 3
              : (int)(usage.ru_maxrss / 1024));
    }
    *bad = child < 0 || waitpid(child, &how, 0) != child || !WIFEXITED(how);
    return *bad ? 0 : WEXITSTATUS(how);
}

/* A thousandth of a table of 70 GB: its 70 MB are never in memory. The image is a twentieth of them; for
 * TTE_ENTROPY two and a half times as much and 12 MB come to it, by contract. */
static void memory_stays_bounded(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WATCHED 1
#else
#define WATCHED 0
#endif
    const size_t dim = 64, vocab = test.small ? 20000 : 270000;
    const long table = (long)(vocab * dim * 4 >> 20);
    for (int kind = 0; kind < 3; kind++) {
        tte_options options = no_options();
        long peak;
        int bad;
        options.layout = kind == 0 ? TTE_PER_TOKEN : TTE_PER_TABLE;
        options.coding = kind == 0 ? TTE_I4 : kind == 1 ? TTE_I8 : TTE_ENTROPY;
        options.max_rank = kind == 0 ? 1 : 8;
        options.eps = kind == 2 ? 0.2f : 0;
        if (kind == 2) options.max_rank = 0;
        peak = peak_of_child(&options, vocab, dim, &bad);
        CHECK(!bad && peak > 3);
        printf("%s: %ld MB of a table of %ld MB\n", test.name, peak, table);
        if (!WATCHED && !test.small)
            CHECK(peak < table * 2 / 3);
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_large");
    heap.most = 0xFFFFFFFFu; /* more would be promised by some systems and never be there */
    RUN(rows_beyond_all_small_numbers);
    RUN(tables_too_large_to_hold);
    RUN(memory_stays_bounded);
    return test_end();
}
