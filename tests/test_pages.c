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

#include "bodies.h"
#include "harness.h"
#include "tables.h"
#include "made.h"

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
    if (sigaction(SIGSEGV, &action, NULL) != 0 || sigaction(SIGBUS, &action, NULL) != 0) exit(2);
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
    for (size_t p = 0; p < guarded.pages; p++) guarded.touched[p] = 0, guarded.allowed[p] = 0;
    if (mprotect(guarded.data, guarded.pages * guarded.page, PROT_NONE) != 0) exit(2);
}

static void allow(size_t offset, size_t size)
{
    for (size_t p = offset / guarded.page; size > 0 && p <= (offset + size - 1) / guarded.page; p++)
        guarded.allowed[p] = 1;
}

static void allow_section(const tte_image *image, int kind)
{
    size_t size;
    unsigned char *bytes = (unsigned char *)image->data, *at = section_of(bytes, kind, &size);
    if (at != NULL) allow((size_t)(at - bytes), size);
}

/* The pages touched since close_pages: all, or those that are not allowed. */
static size_t pages_touched(int strays)
{
    size_t count = 0;
    for (size_t p = 0; p < guarded.pages; p++) count += guarded.touched[p] && !(strays && guarded.allowed[p]);
    return count;
}

static int is_touched(size_t offset) { return guarded.touched[offset / guarded.page] != 0; }

/* ---- images ---------------------------------------------------------------------------------- */

/* Records of one size; the same with adapted ranks, and the index that this needs; one train for the table, with
 * centroids. */
enum { FIXED, ADAPTED, SHARED, KINDS };

static const tte_image *big_image(int kind)
{
    static const int dims[2] = {8, 8};
    static tte_image made[KINDS];
    const size_t dim = 64, vocab = test.small ? 5000 : 20000;
    if (made[kind].data == NULL) { /* making them takes longest */
        tte_shape shape = make_shape(2, dims);
        tte_options options = make_options(TTE_F32, kind == FIXED ? 8 : 0, kind == ADAPTED ? 0.2f : 0, &shape);
        float *table;
        test.state = test.seed + (uint64_t)kind; /* whichever case asks first */
        table = random_floats(vocab * dim);
        for (size_t i = 0; i < vocab * dim; i++) /* records of different sizes */
            table[i] *= i / dim % 3 == 0 && i % dim / 8 > 2 ? 1e-3f : 1;
        if (kind == SHARED) {
            plan p = random_plan((int)dim, (int)vocab);
            p.rank = (int)dim, p.centroids = 512, p.classes = 9;
            for (int c = 0; c <= p.classes; c++) {
                const run_list list = {1, {{c < 9 ? 4 + 2 * (c % 3) : PLAIN + 12, p.rank, 128}}};
                p.list[c] = list;
            }
            p.basis.runs = 1, p.basis.of[0].rate = PLAIN + 14, p.basis.of[0].count = p.rank + 1;
            made[kind] = write_image(&p);
        } else {
            made[kind] = make_image(table, vocab, dim, &options);
        }
        free(table);
    }
    return &made[kind];
}

/* Where the record of a token lies, and its size. */
static size_t record_of(const tte_image *image, int kind, size_t token, size_t *size)
{
    unsigned char *bytes = (unsigned char *)image->data;
    size_t records, index;
    const unsigned char *at = section_of(bytes, RECORDS, &records), *groups = section_of(bytes, INDEX, &index);
    if (kind == SHARED) {
        shared s = read_shared(bytes);
        uint32_t id[3];
        at = find_record(&s, (size_t)number_at(bytes + AT_VOCAB, 8), token, id);
        *size = record_bytes(&s.list[id[0]]);
        free(s.basis);
    } else {
        *size = kind == FIXED ? records / (size_t)number_at(bytes + AT_VOCAB, 8) : 0;
        at += token * *size;
        if (kind == ADAPTED) { /* groups of 16: an offset, then a rank of one byte each */
            const unsigned char *group = groups + token / 16 * (8 + 16);
            at += number_at(group, 8);
            for (size_t i = 0; i <= token % 16; i++) at += *size, *size = 4 * 16 * (size_t)group[8 + i];
        }
    }
    return (size_t)(at - bytes);
}

/* ---- cases ----------------------------------------------------------------------------------- */

/* The guard sees what it is to see: reading every byte touches every page. */
static void verify_touches_all(void)
{
    tte_table t;
    guard(big_image(FIXED));
    close_pages();
    CHECK_STATUS(tte_open(&t, guarded.data, guarded.size), TTE_OK);
    CHECK_STATUS(tte_verify(&t), TTE_OK);
    CHECK(pages_touched(0) == guarded.pages && guarded.pages > 50 && pages_touched(1) == guarded.pages);
    unguard();
}

/* The header, the index, and of what rows share no entry of the basis; then what the header says. */
static void opening_and_asking(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        const tte_image *image = big_image(kind);
        unsigned char *bytes = (unsigned char *)image->data;
        tte_table t;
        tte_info info;
        size_t size, basis;
        const unsigned char *at = section_of(bytes, BASIS, &basis);
        CHECK(section_of(bytes, RECORDS, &size) != NULL);
        guard(image);
        CHECK(size > 20 * guarded.page && (kind != SHARED || basis > guarded.page));
        close_pages();
        allow(0, header_end(bytes)), allow(image->size - TAIL, TAIL);
        allow_section(image, INDEX), allow_section(image, CLASSES);
        allow((size_t)(kind == SHARED ? at - bytes : 0), 3 + 2 * (size_t)number_at(bytes + AT_SHAPE, 4));
        CHECK_STATUS(tte_open(&t, guarded.data, guarded.size), TTE_OK);
        CHECK(pages_touched(1) == 0 && is_touched(0));
        close_pages();
        CHECK(tte_scratch_len(&t) > 0 && pages_touched(0) == 0);
        allow(0, header_end(bytes));
        CHECK_STATUS(tte_get_info(&t, &info), TTE_OK);
        CHECK(pages_touched(1) == 0 && info.bytes == image->size);
        unguard();
    }
}

/* One row: its record, of an index the entry of its group, what all tokens share. Of scores, the records asked for.
 * Vectors read up to 31 bytes behind a record, and use none of them. */
static void rows_and_scores_touch_their_records(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        const tte_image *image = big_image(kind);
        tte_table t, plain = open_image(image);
        tte_info info = get_info(&plain);
        float *scratch = new_scratch(&plain), *row = new_floats(info.dim), *want = new_floats(info.dim);
        float *h = random_floats(info.dim), out[100], scores[100];
        guard(image);
        CHECK_STATUS(tte_open(&t, guarded.data, guarded.size), TTE_OK);
        for (int round = 0; round < (test.small ? 30 : 200); round++) {
            const int last = (int)info.vocab - 1, token = round == 0 ? 0 : round == 1 ? last : rng_int(0, last);
            size_t size, at = record_of(image, kind, (size_t)token, &size), index_pages = 0, index;
            const unsigned char *groups = section_of((unsigned char *)image->data, INDEX, &index);
            close_pages();
            allow(at, size + 31);
            for (int part = INDEX; part <= CENTROIDS; part++) allow_section(image, part);
            CHECK_STATUS(tte_lookup(&t, (uint32_t)token, row, scratch), TTE_OK);
            CHECK(pages_touched(1) == 0 && is_touched(at) && is_touched(at + size - 1));
            for (size_t p = 0; index > 0 && p <= index / guarded.page; p++)
                index_pages += (size_t)is_touched((size_t)(groups - (unsigned char *)image->data) + p * guarded.page);
            CHECK(index_pages <= 3); /* what lies beside it, and a group that crosses from one page to the next */
            CHECK_STATUS(tte_lookup(&plain, (uint32_t)token, want, scratch), TTE_OK);
            CHECK(memcmp(row, want, info.dim * sizeof *row) == 0);
        }
        for (uint32_t first = 0; first + 100 <= info.vocab; first += (uint32_t)info.vocab / 3) {
            size_t size, begin = record_of(image, kind, first, &size);
            const size_t end = record_of(image, kind, first + 99, &size);
            close_pages();
            allow(begin, end - begin + size + 31);
            for (int part = INDEX; part <= CENTROIDS; part++) allow_section(image, part);
            CHECK_STATUS(tte_logits(&t, h, first, 100, out, scratch), TTE_OK);
            CHECK(pages_touched(1) == 0);
            CHECK_STATUS(tte_logits(&plain, h, first, 100, scores, scratch), TTE_OK);
            CHECK(memcmp(out, scores, sizeof out) == 0);
        }
        unguard();
        free(scratch), free(row), free(want), free(h);
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
    RUN(opening_and_asking);
    RUN(rows_and_scores_touch_their_records);
    for (int kind = 0; kind < KINDS; kind++) free(big_image(kind)->data);
#else
    printf("test_pages: skipped, this system has no pages to protect\n");
    RUN(no_pages_here);
#endif
    return test_end();
}
