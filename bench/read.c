/* read.c: the reading side on tables of GPT-2's size, one thread, beside the dense float32 table:
 *   read_rows     a row of a random token, alone and among 512, beside a copy of the dense row
 *   read_scores   scores of the whole vocabulary beside sgemv on the dense table, and the best 100
 *
 *     read [DIRECTORY [STAMP [FILE]]]
 *
 * FILE is a table 768 wide whose rows are taken (loads.h says how); without it rows are made. Images are made at
 * effort 1, since reading is as fast at every effort. Exits with 1 when a bar is missed.
 */
#include "bench.h"
#include "bars.h"
#include "lapack.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "tables.h"
#include "loads.h"
#include "views.h"

#define RUN_SECONDS 0.1
#define BATCH 512u
#define BEST 100u
#define SCORE_OFF 3e-4   /* of |h| |row|, as the header promises */

/* A compressed table, and what is asked of it. */
typedef struct subject {
    char name[48];
    const float *dense;
    size_t dim;
    tte_image image;
    tte_table view;
    double alone, among, scores;   /* microseconds a row, share of sgemv's time; 0: nothing is asked */
} subject;

/* What reads: all peers read the same tokens. */
typedef struct reader {
    const subject *s;
    uint32_t tokens[65536];  /* enough rows to leave no cache as it was */
    size_t at, batch;
    float *rows, *scratch, *scores, *hidden;
    uint32_t best[BEST];
} reader;

static bench_peer reader_peer(reader *r, void (*run)(void *), const subject *s, size_t batch)
{
    bench_peer peer;
    uint64_t state = 1;
    size_t i;
    memset(r, 0, sizeof *r);
    memset(&peer, 0, sizeof peer);
    r->s = s;
    r->batch = batch;
    for (i = 0; i < BENCH_COUNT(r->tokens); i++) r->tokens[i] = (uint32_t)(bench_bits(&state) % LOAD_VOCAB);
    r->rows = (float *)bench_alloc(batch * s->dim, sizeof(float));
    r->scratch = (float *)bench_alloc(tte_scratch_len(&s->view), sizeof(float));
    r->scores = (float *)bench_alloc(LOAD_VOCAB, sizeof(float));
    r->hidden = bench_gaussian_table(1, s->dim);
    peer.run = run;
    peer.context = r;
    return peer;
}

static void reader_end(reader *r) { free(r->rows), free(r->scratch), free(r->scores), free(r->hidden); }

static const uint32_t *next_tokens(reader *r)
{
    if (r->at + r->batch > BENCH_COUNT(r->tokens)) r->at = 0;
    r->at += r->batch;
    return r->tokens + r->at - r->batch;
}

static void run_copy(void *context)
{
    reader *r = (reader *)context;
    memcpy(r->rows, r->s->dense + (size_t)*next_tokens(r) * r->s->dim, r->s->dim * sizeof(float));
    __asm__ volatile("" : : "r"(r->rows) : "memory");
}

static void run_lookup(void *context)
{
    reader *r = (reader *)context;
    const uint32_t *tokens = next_tokens(r);
    tte_status status = r->batch == 1 ? tte_lookup(&r->s->view, *tokens, r->rows, r->scratch)
                                      : tte_lookup_batch(&r->s->view, tokens, r->batch, r->rows, r->scratch);
    if (status != TTE_OK) bench_stop("lookup", tte_status_text(status));
}

static void run_logits(void *context)
{
    reader *r = (reader *)context;
    tte_status status = tte_logits(&r->s->view, r->hidden, 0, LOAD_VOCAB, r->scores, r->scratch);
    if (status != TTE_OK) bench_stop("logits", tte_status_text(status));
}

static void run_best(void *context)
{
    reader *r = (reader *)context;
    tte_status status = tte_top_k(&r->s->view, r->hidden, BEST, r->best, r->scores, r->scratch);
    if (status != TTE_OK) bench_stop("top_k", tte_status_text(status));
}

static void run_dense(void *context)
{
    reader *r = (reader *)context;
#ifdef BENCH_LAPACK
    const int dim = (int)r->s->dim, vocab = LOAD_VOCAB, step = 1;
    const float one = 1, zero = 0;
    sgemv_("T", &dim, &vocab, &one, r->s->dense, &dim, r->hidden, &step, &zero, r->scores, &step, 1);
#else
    size_t i, j;
    for (i = 0; i < LOAD_VOCAB; i++) {
        float sum = 0;
        for (j = 0; j < r->s->dim; j++) sum += r->s->dense[i * r->s->dim + j] * r->hidden[j];
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
    for (i = 0; i < LOAD_VOCAB; i += 97) {
        double sum = 0, h2 = 0, w2 = 0;
        if (tte_lookup(&r->s->view, (uint32_t)i, r->rows, r->scratch) != TTE_OK) bench_stop("lookup", "fails");
        for (j = 0; j < r->s->dim; j++) {
            sum += (double)r->rows[j] * (double)r->hidden[j];
            h2 += (double)r->hidden[j] * (double)r->hidden[j];
            w2 += (double)r->rows[j] * (double)r->rows[j];
        }
        worst = fmax(worst, fabs(sum - (double)r->scores[i]) / sqrt(h2 * w2));
    }
    return worst;
}

static double ratio_of(const subject *s) { return (double)LOAD_VOCAB * (double)s->dim * 4 / (double)s->image.size; }

static void rows_row(const subject *s)
{
    static reader readers[3];
    bench_peer peers[3];
    size_t i;
    for (i = 0; i < 3; i++) peers[i] = reader_peer(&readers[i], i == 0 ? run_copy : run_lookup, s, i == 2 ? BATCH : 1);
    bench_race(peers, 3, CLOCK_PROCESS_CPUTIME_ID, RUN_SECONDS);
    bench_text(s->name);
    bench_number(ratio_of(s), 2);
    bench_number(1e6 * peers[0].median, 2);
    bench_number(1e6 * peers[1].median, 2);
    bench_number(1e6 * peers[2].median / BATCH, 2);
    if (s->alone > 0) bar_add(s->name, "microseconds of a row alone", 0, 1e6 * peers[1].median, s->alone);
    if (s->among > 0)
        bar_add(s->name, "microseconds of a row among 512", 0, 1e6 * peers[2].median / BATCH, s->among);
    for (i = 0; i < 3; i++) reader_end(&readers[i]);
}

static void scores_row(const subject *s)
{
    static void (*const runs[3])(void *) = {run_dense, run_logits, run_best};
    static reader readers[3];
    bench_peer peers[3];
    double off;
    size_t i;
    for (i = 0; i < 3; i++) peers[i] = reader_peer(&readers[i], runs[i], s, 1);
    bench_race(peers, 3, CLOCK_PROCESS_CPUTIME_ID, RUN_SECONDS);
    off = score_error(&readers[1]);
    bench_text(s->name);
    bench_number(ratio_of(s), 2);
    bench_number(1e3 * peers[0].median, 2);
    bench_number(1e3 * peers[1].median, 2);
    bench_number(peers[1].median / peers[0].median, 3);
    bench_number(1e3 * peers[2].median, 2);
    bench_number(off, -2);
    if (s->scores > 0) bar_add(s->name, "scores' share of sgemv's time", 0, peers[1].median / peers[0].median, s->scores);
    bar_add(s->name, "best 100 over scores, time", 0, peers[2].median / peers[1].median, 1.1);
    bar_add(s->name, "error of a score over |h| |row|", 0, off, SCORE_OFF);
    for (i = 0; i < 3; i++) reader_end(&readers[i]);
}

/* 0 .. 2: 768 wide at three ratios, 3 .. 5: 100 wide, 6 and 7: a train for each row, 768 wide. */
enum { SUBJECTS = 8 };

static subject subject_make(int which, const float *wide, const float *narrow)
{
    static const struct { double ratio, scores; } sizes[] = {{8, 0.8}, {16, 0.55}, {38.4, 0.35}};
    const int is_narrow = which / 3 == 1;
    subject s;
    memset(&s, 0, sizeof s);
    s.dim = is_narrow ? 100 : LOAD_DIM;
    s.dense = is_narrow ? narrow : wide;
    if (which < 6) {
        const double ratio = sizes[which % 3].ratio;
        snprintf(s.name, sizeof s.name, "%d wide %gx", (int)s.dim, ratio);
        whole_compress(s.dense, s.dim, ratio, 1, &s.image);
        s.alone = is_narrow ? 2 : 60;
        s.among = is_narrow ? 2 : 6;
        s.scores = is_narrow ? 0 : sizes[which % 3].scores;
    } else {
        snprintf(s.name, sizeof s.name, "%s %s", loads[0].name, which == 6 ? "F32" : "I8");
        load_compress(&loads[0], which == 6 ? TTE_F32 : TTE_I8, s.dense, LOAD_VOCAB, &s.image);
    }
    s.view = open_image(s.name, &s.image);
    return s;
}

int main(int argc, char **argv)
{
    static const bench_column row_columns[] = {
        {"table", -20, NULL}, {"ratio", 6, NULL}, {"copy", 6, "us a row"}, {"one", 6, "us a row"},
        {"of 512", 6, "us a row"}};
    static const bench_column score_columns[] = {
        {"table", -20, NULL}, {"ratio", 6, NULL}, {"sgemv", 6, "ms"}, {"scores", 6, "ms"},
        {"share", 6, NULL}, {"best 100", 8, "ms"}, {"off", 8, NULL}};
    const char *what;
    float *wide = whole_table(argc > 3 ? argv[3] : NULL, &what), *narrow = bench_spectrum_table(LOAD_VOCAB, 100);
    subject subjects[SUBJECTS];
    char title[256];
    int i;
    for (i = 0; i < SUBJECTS; i++) subjects[i] = subject_make(i, wide, narrow);
    bench_begin(argc, argv);
    snprintf(title, sizeof title, "one row of 50257 (768 wide: %s), random tokens, median of 5 runs", what);
    bench_table("read_rows", title, row_columns, BENCH_COUNT(row_columns));
    for (i = 0; i < SUBJECTS; i++) rows_row(&subjects[i]);
    bench_table_end();
    snprintf(title, sizeof title, "scores of all 50257 tokens (768 wide: %s) and the best 100, beside sgemv on the "
             "dense table, median of 5 runs", what);
    bench_table("read_scores", title, score_columns, BENCH_COUNT(score_columns));
    for (i = 0; i < SUBJECTS; i++)
        if (subjects[i].dim == LOAD_DIM) scores_row(&subjects[i]);
    bench_table_end();
    for (i = 0; i < SUBJECTS; i++) tte_free(&subjects[i].image);
    free(wide);
    free(narrow);
    return bars_report("read") > 0;
}
