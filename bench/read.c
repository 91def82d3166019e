/* read.c: the reading side on a table of GPT-2's size, 50257 x 768, one thread, beside the dense
 * float32 table: tables, in this order:
 *   read_lookup   one row of a random token: nanoseconds beside a copy of the dense row
 *   read_table    the same of TTE_PER_TABLE, alone and 256 tokens at once
 *   read_scores   logits over the whole vocabulary beside sgemv, and the best 100
 * Exits with 1 when a bar is missed.
 */
#include "bench.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "bars.h"
#include "lapack.h"
#include "loads.h"

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

/* |W - W^| / |W| through tte_lookup_batch. */
static double table_error(const tte_table *view, const float *dense)
{
    double error = 0, norm = 0;
    uint32_t token, tokens[BATCH];
    float *rows = (float *)bench_alloc(BATCH * LOAD_DIM, sizeof *rows);
    float *scratch = (float *)bench_alloc(tte_scratch_len(view), sizeof *scratch);
    size_t i, now;
    for (token = 0; token < VOCAB; token += (uint32_t)now) {
        now = VOCAB - token < BATCH ? VOCAB - token : BATCH;
        for (i = 0; i < now; i++) tokens[i] = token + (uint32_t)i;
        if (tte_lookup_batch(view, tokens, now, rows, scratch) != TTE_OK) bench_stop("lookup", "fails");
        for (i = 0; i < now * LOAD_DIM; i++) {
            double x = (double)dense[(size_t)token * LOAD_DIM + i];
            error += (x - (double)rows[i]) * (x - (double)rows[i]);
            norm += x * x;
        }
    }
    free(rows);
    free(scratch);
    return sqrt(error / norm);
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

static tte_image compress(const float *dense, const char *name, tte_layout layout, tte_coding coding,
                          const bench_load *load)
{
    tte_image image;
    tte_options options;
    tte_status status;
    memset(&options, 0, sizeof options);
    options.layout = layout;
    options.coding = coding;
    if (layout == TTE_PER_TABLE) {
        options.ratio = 8;
    } else {
        options.shape = load->shape;
        options.max_rank = load->cap;
    }
    status = tte_compress(dense, VOCAB, LOAD_DIM, &options, &image);
    if (status != TTE_OK) bench_stop(name, tte_status_text(status));
    return image;
}

static tte_table open_image(const tte_image *image)
{
    tte_table view;
    tte_status status = tte_open(&view, image->data, image->size);
    if (status != TTE_OK) bench_stop("open", tte_status_text(status));
    return view;
}

static const char *const coding_names[] = {"F32", "F16", "I8", "I4", "ENTROPY"};

/* ---- per token ------------------------------------------------------------------------------ */

static void lookup_row(const float *dense, const bench_load *load, tte_coding coding, double bar)
{
    tte_image image = compress(dense, load->name, TTE_PER_TOKEN, coding, load);
    tte_table view = open_image(&image);
    char name[64];
    reader cold[2], warm[2];
    bench_peer peers[4];
    size_t i;
    for (i = 0; i < 2; i++) {
        reader_begin(&cold[i], dense, &view, 1);
        reader_begin(&warm[i], dense, &view, 1);
        warm[i].count = WARM;
        peers[i].run = peers[i + 2].run = i == 0 ? run_copy : run_lookup;
        peers[i].context = &cold[i];
        peers[i + 2].context = &warm[i];
    }
    bench_race(peers, 4, CLOCK_PROCESS_CPUTIME_ID, RUN_SECONDS);
    snprintf(name, sizeof name, "%s %s", load->name, coding_names[coding]);
    bench_text(name);
    bench_number((double)VOCAB * LOAD_DIM * 4 / (double)image.size, 2);
    bench_number(table_error(&view, dense), 4);
    for (i = 0; i < 4; i += 2) {
        bench_number(1e9 * peers[i].median, 0);
        bench_number(1e9 * peers[i + 1].median, 0);
        bench_number(peers[i + 1].median / peers[i].median, 2);
    }
    if (bar > 0) bar_add(name, "copies of a dense row, cold", 0, peers[1].median / peers[0].median, bar);
    if (strcmp(load->name, "12x64 cap 4") == 0)
        bar_add(name, "copies of a dense row, warm", 0, peers[3].median / peers[2].median, 2.5);
    for (i = 0; i < 2; i++) {
        reader_end(&cold[i]);
        reader_end(&warm[i]);
    }
    tte_free(&image);
}

static void lookup_rows(const float *dense)
{
    static const bench_column columns[] = {
        {"trains", -21, NULL},     {"ratio", 6, NULL},       {"error", 7, NULL},
        {"copy", 5, "cold ns"},    {"lookup", 6, "cold ns"}, {"times", 5, "cold ns"},
        {"copy", 5, "warm ns"},    {"lookup", 6, "warm ns"}, {"times", 5, "warm ns"}};
    static const double bars[] = {1.3, 1.6, 1.3, 0, 1.3, 1.6};
    size_t l;
    bench_table("read_lookup", "one row of a train per token, beside a copy of the dense float32 row, "
                "median of 5 runs", columns, BENCH_COUNT(columns));
    for (l = 0; l < BENCH_COUNT(loads); l++) {
        lookup_row(dense, &loads[l], TTE_F32, bars[l]);
        lookup_row(dense, &loads[l], TTE_I8, bars[l]);
    }
    bench_table_end();
}

/* ---- per table, and scores ------------------------------------------------------------------ */

typedef struct scan {
    const char *name;
    tte_layout layout;
    tte_coding coding;
    double faster;   /* than sgemv, at least; 0: no bar */
} scan;

static const scan scans[] = {
    {"table F32", TTE_PER_TABLE, TTE_F32, 0},   {"table F16", TTE_PER_TABLE, TTE_F16, 0},
    {"table I8", TTE_PER_TABLE, TTE_I8, 3.5},   {"table I4", TTE_PER_TABLE, TTE_I4, 4.5},
    {"table ENTROPY", TTE_PER_TABLE, TTE_ENTROPY, 0},
    {"12x64 cap 4 F32", TTE_PER_TOKEN, TTE_F32, 1}, {"12x64 cap 4 I8", TTE_PER_TOKEN, TTE_I8, 1}};

static void table_row(const scan *s, const tte_table *view, const float *dense, double ratio, double error)
{
    reader single, many, copy;
    bench_peer peers[3];
    const int coded = s->coding == TTE_ENTROPY;
    reader_begin(&copy, dense, view, 1);
    reader_begin(&single, dense, view, 1);
    reader_begin(&many, dense, view, BATCH);
    peers[0].run = run_copy;
    peers[0].context = &copy;
    peers[1].run = run_lookup;
    peers[1].context = &single;
    peers[2].run = run_lookup;
    peers[2].context = &many;
    bench_race(peers, 3, CLOCK_PROCESS_CPUTIME_ID, RUN_SECONDS);
    bench_text(s->name);
    bench_number(ratio, 2);
    bench_number(error, 4);
    bench_number((double)view->ranks[0], 0);
    bench_number(1e6 * peers[0].median, 2);
    bench_number(1e6 * peers[1].median, 1);
    bench_number(1e6 * peers[2].median / BATCH, 1);
    bar_add(s->name, "microseconds of a lookup", 0, 1e6 * peers[1].median, 50);
    if (coded || s->coding == TTE_I8)
        bar_add(s->name, "microseconds a row of 256", 0, 1e6 * peers[2].median / BATCH, coded ? 20 : 15);
    reader_end(&copy);
    reader_end(&single);
    reader_end(&many);
}

static void score_row(const scan *s, const tte_table *view, const float *dense, double ratio, double error)
{
    reader scores, best, sgemv;
    bench_peer peers[3];
    double off;
    reader_begin(&sgemv, dense, view, 1);
    reader_begin(&scores, dense, view, 1);
    reader_begin(&best, dense, view, 1);
    peers[0].run = run_sgemv;
    peers[0].context = &sgemv;
    peers[1].run = run_logits;
    peers[1].context = &scores;
    peers[2].run = run_best;
    peers[2].context = &best;
    bench_race(peers, 3, CLOCK_PROCESS_CPUTIME_ID, RUN_SECONDS);
    off = score_error(&scores);
    bench_text(s->name);
    bench_number(ratio, 2);
    bench_number(error, 4);
    bench_number(1e3 * peers[0].median, 2);
    bench_number(1e3 * peers[1].median, 2);
    bench_number(peers[0].median / peers[1].median, 2);
    bench_number(1e9 * peers[1].median / ((double)VOCAB * (double)ttei_record_numbers(view)), 2);
    bench_number(1e3 * peers[2].median, 2);
    bench_number(off, -2);
    if (s->faster > 0)
        bar_add(s->name, "time of logits over sgemv's", 0, peers[1].median / peers[0].median, 1 / s->faster);
    if (s->coding == TTE_ENTROPY)
        bar_add(s->name, "nanoseconds a symbol", 0,
                1e9 * peers[1].median / ((double)VOCAB * (double)view->ranks[0]), 3);
    bar_add(s->name, "time of the best 100 over logits'", 0, peers[2].median / peers[1].median, 1.1);
    bar_add(s->name, "error of a score over |h| |row|", 0, off, 1e-5);
    reader_end(&sgemv);
    reader_end(&scores);
    reader_end(&best);
}

static void whole_tables(void)
{
    static const bench_column table_columns[] = {
        {"table", -16, NULL},      {"ratio", 6, NULL},  {"error", 7, NULL},       {"rank", 5, NULL},
        {"copy", 6, "us a row"},   {"one", 6, "us a row"}, {"of 256", 6, "us a row"}};
    static const bench_column score_columns[] = {
        {"table", -16, NULL},   {"ratio", 6, NULL},   {"error", 7, NULL},
        {"sgemv", 6, "ms"},     {"logits", 6, "ms"},  {"faster", 6, NULL},
        {"ns a number", 11, NULL}, {"best 100", 8, "ms"}, {"off", 8, NULL}};
    float *dense = bench_spectrum_table(VOCAB, LOAD_DIM);
    tte_image images[BENCH_COUNT(scans)];
    tte_table views[BENCH_COUNT(scans)];
    double errors[BENCH_COUNT(scans)], ratios[BENCH_COUNT(scans)];
    size_t i;
    for (i = 0; i < BENCH_COUNT(scans); i++) {
        images[i] = compress(dense, scans[i].name, scans[i].layout, scans[i].coding, &loads[0]);
        views[i] = open_image(&images[i]);
        errors[i] = table_error(&views[i], dense);
        ratios[i] = (double)VOCAB * LOAD_DIM * 4 / (double)images[i].size;
    }
    bench_table("read_table", "one row of a train for the table, random tokens, median of 5 runs",
                table_columns, BENCH_COUNT(table_columns));
    for (i = 0; i < BENCH_COUNT(scans); i++)
        if (scans[i].layout == TTE_PER_TABLE) table_row(&scans[i], &views[i], dense, ratios[i], errors[i]);
    bench_table_end();
    bench_table("read_scores", "scores of all 50257 tokens and the best 100, beside sgemv on the dense "
                "table, median of 5 runs", score_columns, BENCH_COUNT(score_columns));
    for (i = 0; i < BENCH_COUNT(scans); i++) score_row(&scans[i], &views[i], dense, ratios[i], errors[i]);
    bench_table_end();
    for (i = 0; i < BENCH_COUNT(scans); i++) tte_free(&images[i]);
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
