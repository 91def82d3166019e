/* read.c: the reading side on a table of GPT-2's size, 50257 x 768, one thread, beside the dense
 * float32 table: tables, in this order:
 *   read_lookup   one row of a random token: nanoseconds beside a copy of the dense row
 *   read_table    the same of TTE_PER_TABLE, alone and 256 tokens at once
 *   read_scores   logits over the whole vocabulary beside sgemv, and the best 100
 *   read_pages    a file of a gigabyte, mapped: pages that opening it and looking up rows bring in
 * Exits with 1 when a bar is missed.
 */
#include "bench.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "bars.h"
#include "lapack.h"
#include "loads.h"
#include "views.h"

#define VOCAB 50257u
#define RUN_SECONDS 0.05
#define BATCH 256u
#define WARM 64u       /* tokens of a set that stays in the first caches */
#define BEST 100u

/* What is read: the same tokens by every peer. */
typedef struct reader {
    const float *dense;
    const tte_table *view;
    uint32_t tokens[65536];  /* enough rows to leave no cache as it was */
    size_t count, at, batch;
    float *rows, *scratch, *scores;
    uint32_t *best;
    const float *hidden;
} reader;

static void reader_begin(reader *r, const float *dense, const tte_table *view, size_t batch)
{
    uint64_t state = 1;
    size_t i;
    memset(r, 0, sizeof *r);
    r->dense = dense;
    r->view = view;
    r->batch = batch;
    r->count = BENCH_COUNT(r->tokens);
    for (i = 0; i < r->count; i++) r->tokens[i] = (uint32_t)(bench_bits(&state) % VOCAB);
    r->rows = (float *)bench_alloc(batch * LOAD_DIM, sizeof(float));
    r->scratch = (float *)bench_alloc(view != NULL ? tte_scratch_len(view) : 1, sizeof(float));
    r->scores = (float *)bench_alloc(VOCAB, sizeof(float));
    r->best = (uint32_t *)bench_alloc(BEST, sizeof(uint32_t));
    r->hidden = bench_gaussian_table(1, LOAD_DIM);
}

/* A peer that calls `run` with a reader of its own. */
static bench_peer reader_peer(reader *r, void (*run)(void *), const float *dense, const tte_table *view,
                              size_t batch)
{
    bench_peer peer;
    reader_begin(r, dense, view, batch);
    memset(&peer, 0, sizeof peer);
    peer.run = run;
    peer.context = r;
    return peer;
}

static void reader_end(reader *r)
{
    free(r->rows);
    free(r->scratch);
    free(r->scores);
    free(r->best);
    free((void *)(uintptr_t)r->hidden);
}

static const uint32_t *next_tokens(reader *r)
{
    if (r->at + r->batch > r->count) r->at = 0;
    r->at += r->batch;
    return r->tokens + r->at - r->batch;
}

static void run_copy(void *context)
{
    reader *r = (reader *)context;
    const uint32_t *tokens = next_tokens(r);
    size_t i;
    for (i = 0; i < r->batch; i++)
        memcpy(r->rows + i * LOAD_DIM, r->dense + (size_t)tokens[i] * LOAD_DIM, LOAD_DIM * sizeof(float));
    __asm__ volatile("" : : "r"(r->rows) : "memory");
}

static void run_lookup(void *context)
{
    reader *r = (reader *)context;
    const uint32_t *tokens = next_tokens(r);
    tte_status status = r->batch == 1 ? tte_lookup(r->view, *tokens, r->rows, r->scratch)
                                      : tte_lookup_batch(r->view, tokens, r->batch, r->rows, r->scratch);
    if (status != TTE_OK) bench_stop("lookup", tte_status_text(status));
}

/* What a lookup does before it multiplies. */
static void run_decode(void *context)
{
    reader *r = (reader *)context;
    ttei_record record;
    ttei_find(r->view, *next_tokens(r), &record);
    if (r->view->layout == TTE_PER_TABLE)
        ttei_coefficients_decode(r->view, record.bytes, record.size, r->scratch);
    else
        ttei_record_decode(r->view->coding, &r->view->shape, record.ranks, record.bytes, r->scratch);
    __asm__ volatile("" : : "r"(r->scratch) : "memory");
}

/* What takes the most of some time: waiting for memory, decoding, or the rest. */
static const char *limit_of(double time, double memory, double decode)
{
    if (memory > decode && 2 * memory + decode > time) return "memory";
    return 2 * decode + memory > time ? "decode" : "arithmetic";
}

static void run_logits(void *context)
{
    reader *r = (reader *)context;
    tte_status status = tte_logits(r->view, r->hidden, 0, VOCAB, r->scores, r->scratch);
    if (status != TTE_OK) bench_stop("logits", tte_status_text(status));
}

static void run_best(void *context)
{
    reader *r = (reader *)context;
    tte_status status = tte_top_k(r->view, r->hidden, BEST, r->best, r->scores, r->scratch);
    if (status != TTE_OK) bench_stop("top_k", tte_status_text(status));
}

static void run_sgemv(void *context)
{
    reader *r = (reader *)context;
#ifdef BENCH_LAPACK
    const int dim = LOAD_DIM, vocab = (int)VOCAB, step = 1;
    const float one = 1, zero = 0;
    sgemv_("T", &dim, &vocab, &one, r->dense, &dim, r->hidden, &step, &zero, r->scores, &step, 1);
#else
    size_t i, j;
    for (i = 0; i < VOCAB; i++) {
        float sum = 0;
        for (j = 0; j < LOAD_DIM; j++) sum += r->dense[i * LOAD_DIM + j] * r->hidden[j];
        r->scores[i] = sum;
    }
#endif
}

/* The largest difference between a score and the float64 product of the row that lookup gives, relative
   to |h| |row|, over some tokens. */
static double score_error(const reader *r)
{
    double worst = 0;
    size_t i, j;
    for (i = 0; i < VOCAB; i += 97) {
        double sum = 0, h2 = 0, w2 = 0;
        if (tte_lookup(r->view, (uint32_t)i, r->rows, r->scratch) != TTE_OK) bench_stop("lookup", "fails");
        for (j = 0; j < LOAD_DIM; j++) {
            sum += (double)r->rows[j] * (double)r->hidden[j];
            h2 += (double)r->hidden[j] * (double)r->hidden[j];
            w2 += (double)r->rows[j] * (double)r->rows[j];
        }
        worst = fmax(worst, fabs(sum - (double)r->scores[i]) / sqrt(h2 * w2));
    }
    return worst;
}

static double table_energy(const float *dense)
{
    double energy = 0;
    size_t i;
    for (i = 0; i < (size_t)VOCAB * LOAD_DIM; i++) energy += (double)dense[i] * (double)dense[i];
    return energy;
}

/* A table in one coding: what is read, how large it is and what it loses. */
typedef struct subject {
    tte_image image;
    tte_table view;
    double ratio, error;
} subject;

static void subject_begin(subject *s, const bench_load *load, tte_coding coding, const float *dense,
                          double energy)
{
    load_compress_as(load, coding, dense, VOCAB, &s->image);
    s->view = open_image(load->name, &s->image);
    s->ratio = (double)VOCAB * LOAD_DIM * 4 / (double)s->image.size;
    s->error = sqrt(lookup_error(&s->view, dense, VOCAB, LOAD_DIM) / energy);
}

static const char *const coding_names[] = {"F32", "F16", "I8", "I4", "ENTROPY"};

/* ---- per token ------------------------------------------------------------------------------ */

static void lookup_row(const float *dense, double energy, const bench_load *load, tte_coding coding,
                       double bar)
{
    static reader readers[5];  /* cold, cold, warm, warm, warm */
    bench_peer peers[5];
    subject s;
    char name[64];
    size_t i;
    subject_begin(&s, load, coding, dense, energy);
    for (i = 0; i < 5; i++) {
        peers[i] = reader_peer(&readers[i], i == 4 ? run_decode : i % 2 == 0 ? run_copy : run_lookup, dense,
                               &s.view, 1);
        if (i >= 2) readers[i].count = WARM;
    }
    bench_race(peers, 5, CLOCK_PROCESS_CPUTIME_ID, RUN_SECONDS);
    snprintf(name, sizeof name, "%s %s", load->name, coding_names[coding]);
    bench_text(name);
    bench_number(s.ratio, 2);
    bench_number(s.error, 4);
    for (i = 0; i < 4; i += 2) {
        bench_number(1e9 * peers[i].median, 0);
        bench_number(1e9 * peers[i + 1].median, 0);
        bench_number(peers[i + 1].median / peers[i].median, 2);
    }
    bench_text(limit_of(peers[1].median, peers[1].median - peers[3].median, peers[4].median));
    if (bar > 0) bar_add(name, "copies of a dense row, cold", 0, peers[1].median / peers[0].median, bar);
    if (strcmp(load->name, "12x64 cap 4") == 0)
        bar_add(name, "copies of a dense row, warm", 0, peers[3].median / peers[2].median, 2.5);
    for (i = 0; i < 5; i++) reader_end(&readers[i]);
    tte_free(&s.image);
}

static void lookup_rows(const float *dense)
{
    static const bench_column columns[] = {
        {"trains", -21, NULL},     {"ratio", 6, NULL},       {"error", 7, NULL},
        {"copy", 5, "cold ns"},    {"lookup", 6, "cold ns"}, {"times", 5, "cold ns"},
        {"copy", 5, "warm ns"},    {"lookup", 6, "warm ns"}, {"times", 5, "warm ns"},
        {"limit", -10, NULL}};
    static const double copies[] = {1.3, 1.6, 1.3, 0, 1.3, 1.6};
    const double energy = table_energy(dense);
    size_t l;
    bench_table("read_lookup", "one row of a train per token, beside a copy of the dense float32 row, "
                "median of 5 runs", columns, BENCH_COUNT(columns));
    for (l = 0; l < BENCH_COUNT(loads); l++) {
        lookup_row(dense, energy, &loads[l], TTE_F32, copies[l]);
        lookup_row(dense, energy, &loads[l], TTE_I8, copies[l]);
    }
    bench_table_end();
}

/* ---- per table, and scores ------------------------------------------------------------------ */

typedef struct scan {
    const char *name;
    const bench_load *load;
    tte_coding coding;
    double faster;   /* than sgemv, at least; 0: no bar */
} scan;

static const scan scans[] = {
    {"table F32", &load_whole, TTE_F32, 0},   {"table F16", &load_whole, TTE_F16, 0},
    {"table I8", &load_whole, TTE_I8, 3.5},   {"table I4", &load_whole, TTE_I4, 4.5},
    {"table ENTROPY", &load_whole, TTE_ENTROPY, 0},
    {"12x64 cap 4 F32", &loads[0], TTE_F32, 1}, {"12x64 cap 4 I8", &loads[0], TTE_I8, 1}};

static void table_row(const scan *s, const subject *t, const float *dense)
{
    static void (*const runs[4])(void *) = {run_copy, run_lookup, run_lookup, run_decode};
    static reader readers[4];  /* a copy, one row, rows together, the decoding of one */
    bench_peer peers[4];
    const int coded = s->coding == TTE_ENTROPY;
    size_t i;
    for (i = 0; i < 4; i++)
        peers[i] = reader_peer(&readers[i], runs[i], dense, &t->view, i == 2 ? BATCH : 1);
    bench_race(peers, 4, CLOCK_PROCESS_CPUTIME_ID, RUN_SECONDS);
    bench_text(s->name);
    bench_number(t->ratio, 2);
    bench_number(t->error, 4);
    bench_number((double)t->view.ranks[0], 0);
    bench_number(1e6 * peers[0].median, 2);
    bench_number(1e6 * peers[1].median, 1);
    bench_number(1e6 * peers[2].median / BATCH, 1);
    bench_text(limit_of(peers[1].median, 0, peers[3].median));
    bar_add(s->name, "microseconds of a lookup", 0, 1e6 * peers[1].median, 50);
    if (coded || s->coding == TTE_I8)
        bar_add(s->name, "microseconds a row of 256", 0, 1e6 * peers[2].median / BATCH, coded ? 20 : 15);
    for (i = 0; i < 4; i++) reader_end(&readers[i]);
}

static void score_row(const scan *s, const subject *t, const float *dense)
{
    static void (*const runs[3])(void *) = {run_sgemv, run_logits, run_best};
    static reader readers[3];
    bench_peer peers[3];
    double off, memory;
    size_t i;
    for (i = 0; i < 3; i++) peers[i] = reader_peer(&readers[i], runs[i], dense, &t->view, 1);
    bench_race(peers, 3, CLOCK_PROCESS_CPUTIME_ID, RUN_SECONDS);
    off = score_error(&readers[1]);
    bench_text(s->name);
    bench_number(t->ratio, 2);
    bench_number(t->error, 4);
    bench_number(1e3 * peers[0].median, 2);
    bench_number(1e3 * peers[1].median, 2);
    bench_number(peers[0].median / peers[1].median, 2);
    bench_number(1e9 * peers[1].median / ((double)VOCAB * (double)t->view.numbers), 2);
    bench_number(1e3 * peers[2].median, 2);
    bench_number(off, -2);
    /* at the pace at which sgemv goes through the dense table */
    memory = peers[0].median * (double)t->view.records_size / ((double)VOCAB * LOAD_DIM * sizeof(float));
    bench_text(limit_of(peers[1].median, memory, s->coding == TTE_ENTROPY ? peers[1].median : 0));
    if (s->faster > 0)
        bar_add(s->name, "time of logits over sgemv's", 0, peers[1].median / peers[0].median, 1 / s->faster);
    if (s->coding == TTE_ENTROPY)
        bar_add(s->name, "nanoseconds a symbol", 0,
                1e9 * peers[1].median / ((double)VOCAB * (double)t->view.ranks[0]), 3);
    bar_add(s->name, "time of the best 100 over logits'", 0, peers[2].median / peers[1].median, 1.1);
    bar_add(s->name, "error of a score over |h| |row|", 0, off, 1e-5);
    for (i = 0; i < 3; i++) reader_end(&readers[i]);
}

/* ---- a mapped file -------------------------------------------------------------------------- */

static long page_faults(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) bench_stop("getrusage", strerror(errno));
    return usage.ru_minflt + usage.ru_majflt;
}

/* An image merged with itself until it is a gigabyte, in a file that is mapped. The kernel may bring in
   neighbours with each page, so there are fewer faults than pages. */
static void pages_row(const char *name, const subject *s)
{
    enum { LOOKUPS = 100 };
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), copies = ((size_t)1 << 30) / s->image.size + 1;
    tte_table *parts = (tte_table *)bench_alloc(copies, sizeof *parts), view;
    float *scratch, row[LOAD_DIM];
    size_t i, read;
    uint64_t state = 1;
    long before, opened, looked_up;
    tte_image whole;
    tte_status status;
    FILE *file = tmpfile();
    void *bytes;
    for (i = 0; i < copies; i++) parts[i] = s->view;
    status = tte_merge(parts, copies, &whole);
    if (status != TTE_OK) bench_stop("tte_merge", tte_status_text(status));
    if (file == NULL || fwrite(whole.data, 1, whole.size, file) != whole.size || fflush(file) != 0)
        bench_stop("a file of a gigabyte", strerror(errno));
    bytes = mmap(NULL, whole.size, PROT_READ, MAP_PRIVATE, fileno(file), 0);
    if (bytes == MAP_FAILED) bench_stop("mmap", strerror(errno));
    before = page_faults();
    status = tte_open(&view, bytes, whole.size);
    opened = page_faults() - before;
    if (status != TTE_OK) bench_stop("tte_open", tte_status_text(status));
    scratch = (float *)bench_alloc(tte_scratch_len(&view), sizeof *scratch);
    status = tte_lookup(&view, 0, row, scratch);  /* shared cores, and the scratch itself */
    before = page_faults();
    for (i = 0; i < LOOKUPS && status == TTE_OK; i++)
        status = tte_lookup(&view, (uint32_t)(bench_bits(&state) % view.vocab), row, scratch);
    looked_up = page_faults() - before;
    if (status != TTE_OK) bench_stop("tte_lookup", tte_status_text(status));
    read = (view.index != NULL ? (size_t)(view.data + whole.size - view.index) : 0) + page;  /* to the end */
    bench_text(name);
    bench_number((double)whole.size / 1e6, 0);
    bench_number((double)(whole.size / page), 0);
    bench_number((double)(read / page), 0);
    bench_number((double)opened, 0);
    bench_number((double)looked_up / LOOKUPS, 2);
    bar_add(name, "page faults of tte_open", 0, (double)opened, (double)(read / page + 1));
    bar_add(name, "page faults of a lookup", 0, (double)looked_up / LOOKUPS, 3);
    munmap(bytes, whole.size);
    fclose(file);
    free(scratch);
    free(parts);
    tte_free(&whole);
}

static const bench_column page_columns[] = {
    {"image", -16, NULL},           {"MB", 5, NULL},         {"pages", 7, NULL},
    {"header+index", 12, "pages"},  {"tte_open", 8, "faults"}, {"a lookup", 8, "faults"}};

/* ---- all of these ----------------------------------------------------------------------------- */

static void whole_tables(void)
{
    static const bench_column table_columns[] = {
        {"table", -16, NULL},      {"ratio", 6, NULL},  {"error", 7, NULL},       {"rank", 5, NULL},
        {"copy", 6, "us a row"},   {"one", 6, "us a row"}, {"of 256", 6, "us a row"},
        {"limit of one", -12, NULL}};
    static const bench_column score_columns[] = {
        {"table", -16, NULL},   {"ratio", 6, NULL},   {"error", 7, NULL},
        {"sgemv", 6, "ms"},     {"logits", 6, "ms"},  {"faster", 6, NULL},
        {"ns a number", 11, NULL}, {"best 100", 8, "ms"}, {"off", 8, NULL},
        {"limit", -10, NULL}};
    float *dense = bench_spectrum_table(VOCAB, LOAD_DIM);
    const double energy = table_energy(dense);
    subject subjects[BENCH_COUNT(scans)];
    size_t i;
    for (i = 0; i < BENCH_COUNT(scans); i++)
        subject_begin(&subjects[i], scans[i].load, scans[i].coding, dense, energy);
    bench_table("read_table", "one row of a train for the table, random tokens, median of 5 runs",
                table_columns, BENCH_COUNT(table_columns));
    for (i = 0; i < BENCH_COUNT(scans); i++)
        if (scans[i].load == &load_whole) table_row(&scans[i], &subjects[i], dense);
    bench_table_end();
    bench_table("read_scores", "scores of all 50257 tokens and the best 100, beside sgemv on the dense "
                "table, median of 5 runs", score_columns, BENCH_COUNT(score_columns));
    for (i = 0; i < BENCH_COUNT(scans); i++) score_row(&scans[i], &subjects[i], dense);
    bench_table_end();
    bench_table("read_pages", "a file of a gigabyte, mapped: what tte_open and a random lookup bring in",
                page_columns, BENCH_COUNT(page_columns));
    for (i = 0; i < BENCH_COUNT(scans); i++)
        if (scans[i].coding == TTE_ENTROPY || scans[i].load != &load_whole) pages_row(scans[i].name, &subjects[i]);
    bench_table_end();
    for (i = 0; i < BENCH_COUNT(scans); i++) tte_free(&subjects[i].image);
    free(dense);
}

int main(int argc, char **argv)
{
    float *dense = bench_gaussian_table(VOCAB, LOAD_DIM);
    bench_begin(argc, argv);
    lookup_rows(dense);
    free(dense);
    whole_tables();
    return bars_report("read") > 0;
}
