/* test_pages.c: which pages of an image the reading calls touch, counted: an image in a file may be much
 * larger than memory when it is mapped. POSIX only. */
#if defined(__unix__) || (defined(__APPLE__) && defined(__MACH__))
#define HAS_PAGES
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* mmap without a file is not in C99, nor in POSIX */
#endif
#ifndef _DARWIN_C_SOURCE
#define _DARWIN_C_SOURCE
#endif
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "counted_heap.h"

#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "harness.h"
#include "tables.h"
#include "per_table.h"

#ifdef HAS_PAGES

enum { MOST_PAGES = 1 << 14 };

/* A copy of an image whose pages are opened one by one by whoever touches them. */
static struct {
    unsigned char *data;
    size_t size, page, pages;
    volatile sig_atomic_t touched[MOST_PAGES];
    unsigned char allowed[MOST_PAGES];
} guarded;

static void on_fault(int number, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr, start = (uintptr_t)guarded.data;
    size_t page = guarded.page != 0 ? (size_t)(at - start) / guarded.page : 0;
    (void)context;
    if (at < start || page >= guarded.pages || guarded.touched[page] ||
        mprotect(guarded.data + page * guarded.page, guarded.page, PROT_READ) != 0) {
        (void)signal(number, SIG_DFL); /* a fault of its own, or a write: it comes again and ends this */
        return;
    }
    guarded.touched[page] = 1;
}

static void handle_faults(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    if (sigaction(SIGSEGV, &action, NULL) != 0 || sigaction(SIGBUS, &action, NULL) != 0)
        exit(2);
}

static void guard(const tte_image *image)
{
    guarded.page = (size_t)sysconf(_SC_PAGESIZE);
    guarded.size = image->size;
    guarded.pages = (image->size + guarded.page - 1) / guarded.page;
    guarded.data = (unsigned char *)mmap(NULL, guarded.pages * guarded.page, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANON, -1, 0);
    if ((void *)guarded.data == MAP_FAILED || guarded.pages > MOST_PAGES) {
        fprintf(stderr, "%s: no room for an image\n", test.name);
        exit(2);
    }
    memcpy(guarded.data, image->data, image->size);
}

static void unguard(void)
{
    munmap(guarded.data, guarded.pages * guarded.page);
    guarded.data = NULL, guarded.pages = 0;
}

/* Closes all pages again; none is allowed yet. */
static void close_pages(void)
{
    for (size_t p = 0; p < guarded.pages; p++)
        guarded.touched[p] = 0, guarded.allowed[p] = 0;
    if (mprotect(guarded.data, guarded.pages * guarded.page, PROT_NONE) != 0)
        exit(2);
}

static void allow(size_t offset, size_t size)
{
    for (size_t p = offset / guarded.page; size > 0 && p <= (offset + size - 1) / guarded.page; p++)
        guarded.allowed[p] = 1;
}

/* The pages touched since close_pages that are not allowed, and all that are touched. */
static size_t strays(void)
{
    size_t count = 0;
    for (size_t p = 0; p < guarded.pages; p++)
        count += guarded.touched[p] && !guarded.allowed[p];
    return count;
}

static size_t pages_touched(void)
{
    size_t count = 0;
    for (size_t p = 0; p < guarded.pages; p++)
        count += guarded.touched[p] != 0;
    return count;
}

static int is_touched(size_t offset) { return guarded.touched[offset / guarded.page] != 0; }

/* ---- images ---------------------------------------------------------------------------------- */

/* Records of one size; the same with adapted ranks, and the index that this needs; one train for the
 * table, whose cores fill many pages; and entropy-coded, with an index and code tables. */
enum { FIXED, ADAPTED, SHARED, CODED, KINDS };

typedef struct extent { size_t at, size; } extent;

typedef struct parts {
    extent header, records, index, shared, codes;
} parts;

static extent part_of(const tte_image *image, const unsigned char *begin, size_t size)
{
    extent e;
    e.at = begin != NULL ? (size_t)(begin - (const unsigned char *)image->data) : 0;
    e.size = begin != NULL ? size : 0;
    return e;
}

/* The sections as the header lists them. */
static parts parts_of(const tte_image *image)
{
    const unsigned char *p = (const unsigned char *)image->data, *entry;
    parts all;
    memset(&all, 0, sizeof all);
    all.header.size = 148 + 8 * (size_t)p[16] + 24 * (size_t)p[17];
    for (entry = p + 148 + 8 * (size_t)p[16]; entry < p + all.header.size; entry += 24) {
        extent e = part_of(image, p + ttei_get_size(entry), ttei_get_size(entry + 8));
        *(entry[20] == 1 ? &all.records : entry[20] == 2 ? &all.index : entry[20] == 3 ? &all.shared
                                                                              : &all.codes) = e;
    }
    return all;
}

static tte_image made_image(int kind)
{
    static const int dims[2] = {8, 8}, wide[2] = {16, 12};
    size_t dim = kind < SHARED ? 64 : 192, vocab = kind < SHARED ? 20000 : 6000;
    float *table = random_floats((vocab = test.small ? vocab / 4 : vocab) * dim);
    tte_options options = table_options(kind == SHARED ? TTE_I8 : kind == CODED ? TTE_ENTROPY : TTE_F32);
    tte_image image;
    for (size_t i = 0; i < vocab * dim; i++) /* records of different sizes */
        table[i] *= i / dim % 3 == 0 && i % dim / 8 > 2 ? 1e-3f : 1;
    options.layout = kind < SHARED ? TTE_PER_TOKEN : TTE_PER_TABLE;
    options.shape = make_shape(2, kind < SHARED ? dims : wide);
    options.eps = kind == ADAPTED ? 0.2f : kind == CODED ? 0.01f : 0;
    image = make_image(table, vocab, dim, &options);
    free(table);
    return image;
}

/* Making them takes longest. */
static const tte_image *big_image(int kind)
{
    static tte_image made[KINDS];
    if (made[kind].data == NULL) {
        test.state = test.seed + (uint64_t)kind; /* whichever case asks first */
        made[kind] = made_image(kind);
    }
    return &made[kind];
}

static void free_images(void)
{
    for (int kind = 0; kind < KINDS; kind++)
        free(big_image(kind)->data);
}

/* What tte_open may read: the header, the index, section 4, and the head of each matrix in section 3. */
static void allow_opening(const tte_image *image, const parts *all)
{
    allow(all->header.at, all->header.size);
    allow(all->index.at, all->index.size);
    allow(all->codes.at, all->codes.size);
    if (all->shared.size > 0) {
        tte_table t = open_image(image);
        for (int32_t k = -1; k < t.shape.modes; k++) {
            ttei_matrix m;
            (void)ttei_core_at(&t, k, &m); /* its scales follow four numbers of rows */
            allow((size_t)(m.scales - t.data) - 16, 16);
        }
    }
}

/* ---- cases ----------------------------------------------------------------------------------- */

/* The guard sees what it is to see: reading every byte touches every page. */
static void verify_touches_all(void)
{
    const tte_image *image = big_image(FIXED);
    tte_table t;
    guard(image);
    close_pages();
    CHECK_STATUS(tte_open(&t, guarded.data, guarded.size), TTE_OK);
    CHECK_STATUS(tte_verify(&t), TTE_OK);
    CHECK(pages_touched() == guarded.pages && guarded.pages > 50 && strays() == guarded.pages);
    unguard();
}

static void open_touches(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        const tte_image *image = big_image(kind);
        parts all = parts_of(image);
        tte_table t;
        size_t header_pages;
        guard(image);
        header_pages = (all.header.size + guarded.page - 1) / guarded.page;
        CHECK(all.records.size > 20 * guarded.page);
        CHECK((all.index.size > 0) == (kind == ADAPTED || kind == CODED));
        CHECK((all.shared.size > 0) == (kind >= SHARED) && (all.codes.size > 0) == (kind == CODED));
        close_pages();
        allow_opening(image, &all);
        CHECK_STATUS(tte_open(&t, guarded.data, guarded.size), TTE_OK);
        CHECK(strays() == 0 && is_touched(0));
        CHECK(kind != FIXED || pages_touched() == header_pages);
        if (test.bad > 0 && test.bad <= 5)
            fprintf(stderr, "    kind %d: %d pages of %d touched, %d of them not allowed\n", kind,
                    (int)pages_touched(), (int)guarded.pages, (int)strays());
        unguard();
    }
}

/* What the header says is there after tte_open, or on its page. */
static void questions_touch_the_header(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        const tte_image *image = big_image(kind);
        parts all = parts_of(image);
        tte_table t;
        tte_info info;
        guard(image);
        CHECK_STATUS(tte_open(&t, guarded.data, guarded.size), TTE_OK);
        close_pages();
        CHECK(tte_scratch_len(&t) > 0);
        CHECK(pages_touched() == 0);
        allow(all.header.at, all.header.size);
        CHECK_STATUS(tte_get_info(&t, &info), TTE_OK);
        CHECK(strays() == 0 && info.bytes == image->size);
        unguard();
    }
}

/* One row: its record, of an index the entry of its group, what all tokens share. */
static void a_lookup_touches(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        const tte_image *image = big_image(kind);
        parts all = parts_of(image);
        tte_table t, plain = open_image(image);
        tte_info info = get_info(&plain);
        float *scratch = new_scratch(&plain), *row = new_floats(info.dim), *want = new_floats(info.dim);
        guard(image);
        CHECK_STATUS(tte_open(&t, guarded.data, guarded.size), TTE_OK);
        for (int round = 0; round < (test.small ? 30 : 200); round++) {
            int last = (int)info.vocab - 1, token = round == 0 ? 0 : round == 1 ? last : rng_int(0, last);
            size_t index_pages = 0, index_end = all.index.at + all.index.size;
            extent record;
            ttei_record r;
            ttei_find(&plain, (size_t)token, &r);
            record = part_of(image, r.bytes, r.size);
            close_pages();
            allow(record.at, record.size);
            allow(all.index.at, all.index.size);
            allow(all.shared.at, all.shared.size);
            allow(all.codes.at, all.codes.size);
            CHECK_STATUS(tte_lookup(&t, (uint32_t)token, row, scratch), TTE_OK);
            CHECK(strays() == 0 && is_touched(record.at) && is_touched(record.at + record.size - 1));
            for (size_t p = all.index.at / guarded.page; p * guarded.page < index_end; p++)
                index_pages += all.index.size > 0 && p > 0 && guarded.touched[p];
            CHECK(index_pages <= 3); /* its head, and a group that crosses from one page to the next */
            CHECK_STATUS(tte_lookup(&plain, (uint32_t)token, want, scratch), TTE_OK);
            CHECK(memcmp(row, want, info.dim * sizeof *row) == 0);
        }
        unguard();
        free(scratch), free(row), free(want);
    }
}

/* A piece of the vocabulary is scored from its own records, and no others. */
static void scores_touch_their_records(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        const tte_image *image = big_image(kind);
        parts all = parts_of(image);
        tte_table t, plain = open_image(image);
        tte_info info = get_info(&plain);
        float *scratch = new_scratch(&plain), *hidden = random_floats(info.dim), out[100], want[100];
        uint32_t first = (uint32_t)info.vocab / 3;
        ttei_record begin, last;
        guard(image);
        CHECK_STATUS(tte_open(&t, guarded.data, guarded.size), TTE_OK);
        ttei_find(&plain, first, &begin);
        ttei_find(&plain, first + 99, &last);
        close_pages();
        /* Vectors read up to 31 bytes behind a record, and use none of them. */
        allow((size_t)(begin.bytes - plain.data), (size_t)(last.bytes - begin.bytes) + last.size + 31);
        allow(all.index.at, all.index.size);
        allow(all.shared.at, all.shared.size);
        allow(all.codes.at, all.codes.size);
        CHECK_STATUS(tte_logits(&t, hidden, first, 100, out, scratch), TTE_OK);
        CHECK(strays() == 0);
        CHECK_STATUS(tte_logits(&plain, hidden, first, 100, want, scratch), TTE_OK);
        CHECK(memcmp(out, want, sizeof out) == 0);
        unguard();
        free(scratch), free(hidden);
    }
}

#else

static void no_pages_here(void) { CHECK(TTE_OK == 0); }

#endif

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_pages");
#ifdef HAS_PAGES
    handle_faults();
    RUN(verify_touches_all);
    RUN(open_touches);
    RUN(questions_touch_the_header);
    RUN(a_lookup_touches);
    RUN(scores_touch_their_records);
    free_images();
#else
    printf("test_pages: skipped, this system has no pages to protect\n");
    RUN(no_pages_here);
#endif
    return test_end();
}
