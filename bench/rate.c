/* rate.c: how many bytes an error costs.
 *
 *   rate         tables from files and a Gaussian one: bytes, error, the bits that a Gaussian of
 *                the same covariance needs for that error and what is spent beyond, seconds to
 *                compress, microseconds of a lookup; of every way in methods.h
 *   rate_block4  the bytes of TTE_ENTROPY at the error of 4-bit blocks of 32
 *   rate_speed   a table of 50257 x 768: seconds, beside Gram matrix and ssyev, and a lookup
 *
 *     rate [DIRECTORY [STAMP [FILE..]]]
 *
 * FILE is a table in any format of ttembed, or `null` for the Gaussian one. Times are processor time on
 * one thread: the fastest of five runs, but of the compressions in `rate` a single one. The bars stand
 * below the tables; exits with 1 when one is missed.
 */
#include "bench.h"
#include "bars.h"
#include "lapack.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "loads.h"
#include "peers.h"
#include "methods.h"
#include "tables.h"

#define LOOKUPS 64           /* calls of tte_lookup in one run  */
#define LOOKUP_SECONDS 0.01
#define LANDING 0.0101   /* sizes and errors land within 1 % below what was asked                */
#define RECORDED 1e-5    /* the image's error against the one measured here                      */
#define EXCESS 0.41      /* bits per dimension: 0.25 for the coder, 0.16 for index, termination  */

/* ---- one table, one way to store it --------------------------------------------------------- */

typedef struct subject {
    const char *name;
    const float *rows;
    size_t vocab, dim;
    double energy;               /* sum of squares of all entries                             */
    double *variance;            /* dim eigenvalues of the covariance, descending             */
    double block4_error, block4_bytes;  /* 4-bit blocks of 32                                 */
    double ratio_off, ratio_at;  /* bytes left of the budget, relatively: the most, and where */
    double excess, excess_at;    /* bits beyond the bound of records and index: the same      */
    double info_off;             /* the image's error off the measured one: the most          */
} subject;

typedef struct outcome {
    const char *method;
    double asked;            /* the ratio, or NaN                       */
    double bytes;            /* NaN: no setting met what was asked      */
    double columns;          /* the largest rank, or NaN                */
    double error;            /* |W - W^| / |W|                          */
    double records, index;   /* bytes of these sections, or NaN         */
    double seconds, microseconds;
} outcome;

static outcome outcome_begin(const char *name, double asked)
{
    outcome o;
    o.method = name;
    o.asked = asked;
    o.bytes = o.columns = o.error = o.records = o.index = bench_nothing();
    o.seconds = o.microseconds = bench_nothing();
    return o;
}

static double raw_bytes(const subject *s) { return 4.0 * (double)s->vocab * (double)s->dim; }

static double bits(const subject *s, double size) { return 32 * size / raw_bytes(s); }

/* The rate of a Gaussian with the table's covariance at this error. */
static double bound(const subject *s, double error)
{
    if (!(error >= 0)) return bench_nothing();
    return gaussian_bits(s->variance, s->dim, error * error * s->energy / (double)s->vocab);
}

static subject subject_begin(const named_table *table)
{
    subject s;
    size_t i;
    double *mean;
    memset(&s, 0, sizeof s);
    s.name = table->name;
    s.rows = table->rows;
    s.vocab = table->vocab;
    s.dim = table->dim;
    for (i = 0; i < s.vocab * s.dim; i++) s.energy += (double)s.rows[i] * (double)s.rows[i];
    mean = (double *)bench_alloc(s.dim, sizeof *mean);
    s.variance = (double *)bench_alloc(s.dim, sizeof *s.variance);
    table_mean(s.rows, s.vocab, s.dim, mean);
    table_spectrum(s.rows, s.vocab, s.dim, mean, s.variance, NULL);
    free(mean);
    return s;
}

/* ---- the library ---------------------------------------------------------------------------- */

enum { KIND_RECORDS = 1, KIND_INDEX = 2 };

/* Bytes of all sections of a kind, by the section table of IMAGE FORMAT. */
static double section_bytes(const tte_image *image, uint32_t kind)
{
    const unsigned char *data = (const unsigned char *)image->data;
    const unsigned char *section = data + 148 + 8 * data[16];
    double size = 0;
    int i;
    for (i = 0; i < data[17]; i++, section += 24)
        if (ttei_get32(section + 20) == kind) size += (double)ttei_get64(section + 8);
    return size;
}

typedef struct lookup_job {
    const tte_table *view;
    size_t vocab;
    uint64_t state;
    float *row, *scratch;
} lookup_job;

static void run_lookups(void *context)
{
    lookup_job *j = (lookup_job *)context;
    int i;
    for (i = 0; i < LOOKUPS; i++) {
        uint32_t token = (uint32_t)(bench_bits(&j->state) % j->vocab);
        if (tte_lookup(j->view, token, j->row, j->scratch) != TTE_OK)
            bench_stop("tte_lookup", "failed");
    }
}

/* Microseconds of one tte_lookup of a random token. */
static double lookup_time(const tte_table *view, size_t vocab, size_t dim)
{
    lookup_job job;
    bench_peer peer;
    job.view = view;
    job.vocab = vocab;
    job.state = vocab;
    job.row = (float *)bench_alloc(dim, sizeof *job.row);
    job.scratch = (float *)bench_alloc(tte_scratch_len(view), sizeof *job.scratch);
    peer.run = run_lookups;
    peer.context = &job;
    bench_race(&peer, 1, CLOCK_PROCESS_CPUTIME_ID, LOOKUP_SECONDS);
    free(job.row);
    free(job.scratch);
    return 1e6 * peer.fastest / LOOKUPS;
}

/* What only the library's images tell. */
static void outcome_of_image(subject *s, const tte_image *image, outcome *o)
{
    const tte_table view = open_image(o->method, image);
    tte_info info;
    tte_get_info(&view, &info);
    o->records = section_bytes(image, KIND_RECORDS);
    o->index = section_bytes(image, KIND_INDEX);
    o->microseconds = lookup_time(&view, s->vocab, s->dim);
    s->info_off = fmax(s->info_off, fabs(info.rel_error - o->error) / o->error);
}

/* The table stored in one way; what was asked may be too much, and then there are no numbers. */
static outcome stored(subject *s, const char *name, double ratio)
{
    outcome o = outcome_begin(name, ratio > 0 ? ratio : bench_nothing());
    rebuilt back;
    if (!method_apply(method_named(name), s->rows, s->vocab, s->dim, ratio, NULL, &back)) return o;
    o.bytes = back.bytes;
    o.columns = back.columns;
    o.seconds = back.seconds;
    o.error = relative_off(s->rows, back.rows, s->vocab * s->dim);
    if (back.image.size > 0) outcome_of_image(s, &back.image, &o);
    rebuilt_end(&back);
    return o;
}

/* Nothing is worse than NaN. */
static void note_worst(double *worst, double *worst_at, double value, double at)
{
    if (!(value == value)) value = HUGE_VAL;
    if (value <= *worst) return;
    *worst = value;
    *worst_at = at;
}

/* TTE_ENTROPY at a ratio, and what the bars want to know of it. */
static outcome entropy(subject *s, double ratio)
{
    const outcome o = stored(s, "entropy", ratio);
    const double off = 1 - o.bytes * ratio / raw_bytes(s);
    const double excess = bits(s, o.records + o.index) - bound(s, o.error);
    note_worst(&s->ratio_off, &s->ratio_at, off >= 0 ? off : HUGE_VAL, ratio);
    note_worst(&s->excess, &s->excess_at, excess, ratio);
    return o;
}

/* ---- table 1 -------------------------------------------------------------------------------- */

static const double ratios[] = {4, 8, 12, 16, 24, 38.4};

static void glove_bar(const subject *s, const outcome *o)
{
    static const double most[][2] = {{8, 0.078}, {16, 0.31}, {38.4, 0.65}};
    size_t i;
    for (i = 0; i < BENCH_COUNT(most) && strcmp(s->name, "glove-50k") == 0; i++)
        if (fabs(o->asked - most[i][0]) < 0.01)
            bar_add(s->name, "error", most[i][0], o->error, most[i][1]);
}

static void rate_row(const subject *s, const outcome *o)
{
    const double least = bound(s, o->error);
    bench_text(s->name);
    bench_text(o->method);
    bench_number(o->asked, 1);
    bench_number(o->bytes, 0);
    bench_number(raw_bytes(s) / o->bytes, 2);
    bench_number(o->columns, 0);
    bench_number(o->error, 5);
    bench_number(least, 3);
    bench_number(bits(s, o->bytes) - least, 3);
    bench_number(bits(s, o->records) - least, 3);
    bench_number(o->index / (double)s->vocab, 2);
    bench_number(o->seconds, 3);
    bench_number(o->microseconds, 2);
}

static void rate_entropy(subject *s)
{
    size_t r;
    for (r = 0; r < BENCH_COUNT(ratios); r++) {
        outcome o = entropy(s, ratios[r]);
        rate_row(s, &o);
        glove_bar(s, &o);
    }
}

static void rate_others(subject *s)
{
    static const struct { const char *name; double at[7]; } others[] = {  /* 0: at its own size, and the end */
        {"table F32", {4, 8, 12, 16, 24, 38.4, 0}},   {"table F16", {4, 8, 12, 16, 24, 38.4, 0}},
        {"table I8", {4, 8, 12, 16, 24, 38.4, 0}},    {"table I4", {4, 8, 12, 16, 24, 38.4, 0}},
        {"int8 rows", {0}},     {"int4 rows", {0}},   {"8-bit blocks", {0}},  {"4-bit blocks", {0}},
        {"3-bit blocks", {0}},  {"2-bit blocks", {0}},
        {"SVD float16", {4, 8, 16, 38.4, 0}},         {"SVD int8", {4, 8, 16, 38.4, 0}},
        {"PQ", {8, 16, 24, 38.4, 0}},
        {"trains F32", {2, 4, 8, 0}},                 {"trains F16", {2, 4, 8, 0}},
        {"trains I8", {4, 8, 16, 0}},                 {"trains I4", {4, 8, 16, 0}},
        {"TensorGPT 2^k rank 1", {0}},                {"TensorGPT 2^k cap 4", {0}}};
    size_t i, r;
    for (i = 0; i < BENCH_COUNT(others); i++)
        for (r = 0; r == 0 || others[i].at[r] > 0; r++) {
            outcome o = stored(s, others[i].name, others[i].at[r]);
            rate_row(s, &o);
            if (strcmp(o.method, "4-bit blocks") == 0) {
                s->block4_error = o.error;
                s->block4_bytes = o.bytes;
            }
        }
}

/* The bars of one table; glove-50k is asked between the printed ratios as well. */
static void rate_bars(subject *s)
{
    static const double between[] = {5, 6, 10, 14, 20, 30, 40};
    size_t r;
    if (strcmp(s->name, "glove-50k") == 0) {
        for (r = 0; r < BENCH_COUNT(between); r++) (void)entropy(s, between[r]);
        bar_add(s->name, "excess bits of records and index, the most from 4x to 40x", s->excess_at,
                s->excess, EXCESS);
    }
    bar_add(s->name, "bytes of entropy below what the ratio allows, relatively", s->ratio_at,
            s->ratio_off, LANDING);
    bar_add(s->name, "recorded error off the measured one, relatively", bench_nothing(),
            s->info_off, RECORDED);
}

static void rate_table(subject *subjects, size_t count)
{
    static const bench_column columns[] = {
        {"table", -12, NULL},      {"method", -20, NULL},
        {"asked", 5, "ratio"},     {"bytes", 8, NULL},
        {"ratio", 6, NULL},        {"columns", 7, NULL},
        {"error", 7, NULL},        {"bound", 6, "bits per dimension"},
        {"excess", 6, "bits per dimension"}, {"records' excess", 15, "bits per dimension"},
        {"index", 13, "bytes a token"}, {"seconds", 7, NULL},
        {"lookup us", 9, NULL}};
    size_t i;
    bench_table("rate", "relative error and bytes, one thread; bits beyond what a Gaussian of the "
                "same covariance needs for this error", columns, BENCH_COUNT(columns));
    for (i = 0; i < count; i++) {
        rate_entropy(&subjects[i]);
        rate_others(&subjects[i]);
        rate_bars(&subjects[i]);
    }
    bench_table_end();
}

/* ---- table 2 -------------------------------------------------------------------------------- */

static outcome block4_row(subject *s)
{
    outcome o = outcome_begin("entropy", bench_nothing());
    const method *m = method_named(o.method);
    tte_table view;
    tte_image image;
    if (!method_image(m, s->rows, s->vocab, s->dim, 0, s->block4_error, NULL, &image))
        bench_stop(m->name, "cannot have the error of the blocks");
    view = open_image(m->name, &image);
    o.bytes = (double)image.size;
    o.error = sqrt(lookup_error(&view, s->rows, s->vocab, s->dim) / s->energy);
    tte_free(&image);
    bench_text(s->name);
    bench_number(s->block4_error, 5);
    bench_number(s->block4_bytes, 0);
    bench_number(o.error, 5);
    bench_number(o.bytes, 0);
    bench_number(o.bytes / s->block4_bytes, 3);
    return o;
}

static void block4_table(subject *subjects, size_t count)
{
    static const bench_column columns[] = {
        {"table", -12, NULL},        {"error", 7, "4-bit blocks"}, {"bytes", 8, "4-bit blocks"},
        {"error", 7, "entropy"}, {"bytes", 8, "entropy"},  {"share", 6, NULL}};
    size_t i;
    bench_table("rate_block4", "the bytes that the error of 4-bit blocks of 32 takes", columns,
                BENCH_COUNT(columns));
    for (i = 0; i < count; i++) {
        subject *s = &subjects[i];
        outcome o = block4_row(s);
        const double off = s->block4_error / o.error - 1, at = raw_bytes(s) / o.bytes;
        bar_add(s->name, "error asked of entropy beyond the error it has, relatively", at,
                o.error <= s->block4_error ? off : HUGE_VAL, LANDING);
        if (strcmp(s->name, "wte") == 0)
            bar_add(s->name, "bytes at the error of 4-bit blocks", at, o.bytes,
                    s->block4_bytes * 5 / 6);
        if (strcmp(s->name, "stories260k") == 0)
            bar_add(s->name, "bytes at the error of 4-bit blocks", at, o.bytes,
                    s->block4_bytes - 1);
    }
    bench_table_end();
}

/* ---- table 3 -------------------------------------------------------------------------------- */

typedef struct whole_job {
    float *table;
    tte_image image;
#ifdef BENCH_LAPACK
    float *gram, *values;
    lapack_room room;
#endif
} whole_job;

static void run_whole(void *context)
{
    whole_job *j = (whole_job *)context;
    tte_free(&j->image);
    load_compress(&load_whole, j->table, load_whole.rows, &j->image);
}

#ifdef BENCH_LAPACK
/* The principal components alone, the way LAPACK finds them fastest. */
static void run_gram(void *context)
{
    whole_job *j = (whole_job *)context;
    const int dim = LOAD_DIM, rows = (int)load_whole.rows;
    const float one = 1, zero = 0;
    int info = 0;
    ssyrk_("U", "N", &dim, &rows, &one, j->table, &dim, &zero, j->gram, &dim, 1, 1);
    ssyev_("V", "U", &dim, j->gram, &dim, j->values, j->room.work, &j->room.lwork, &info, 1, 1);
    lapack_must(info, "ssyev");
}
#endif

static void whole_race(whole_job *j, double seconds[2])
{
    bench_peer peers[2];
    size_t count = 1;
    peers[0].run = run_whole;
    peers[0].context = peers[1].context = j;
    peers[1].fastest = bench_nothing();
#ifdef BENCH_LAPACK
    peers[1].run = run_gram;
    j->gram = (float *)bench_alloc(LOAD_DIM * LOAD_DIM, sizeof *j->gram);
    j->values = (float *)bench_alloc(LOAD_DIM, sizeof *j->values);
    lapack_sgesdd_room(LOAD_DIM, LOAD_DIM, &j->room);  /* more than ssyev asks for */
    count = 2;
#endif
    bench_race(peers, count, CLOCK_PROCESS_CPUTIME_ID, 0);
    seconds[0] = peers[0].fastest;
    seconds[1] = peers[1].fastest;
#ifdef BENCH_LAPACK
    free(j->gram);
    free(j->values);
    lapack_room_drop(&j->room);
#endif
}

static void speed_table(void)
{
    static const bench_column columns[] = {
        {"table", -12, NULL},         {"ratio", 6, NULL},          {"error", 7, NULL},
        {"tt_embed", 9, "seconds"},   {"ssyrk and ssyev", 15, "seconds"},
        {"lookup us", 9, NULL}};
    const size_t rows = load_whole.rows, count = rows * LOAD_DIM;
    double seconds[2], energy = 0, microseconds;
    whole_job job;
    tte_table view;
    size_t i;
    memset(&job, 0, sizeof job);
    job.table = load_table(&load_whole);
    for (i = 0; i < count; i++) energy += (double)job.table[i] * (double)job.table[i];
    bench_table("rate_speed", "a whole table in TTE_ENTROPY, and the principal components alone by "
                "Gram matrix in float, one thread", columns, BENCH_COUNT(columns));
    whole_race(&job, seconds);
    view = open_image("rate_speed", &job.image);
    microseconds = lookup_time(&view, rows, LOAD_DIM);
    bench_text("50257x768");
    bench_number((double)count * 4 / (double)job.image.size, 3);
    bench_number(sqrt(lookup_error(&view, job.table, rows, LOAD_DIM) / energy), 5);
    bench_number(seconds[0], 3);
    bench_number(seconds[1], 3);
    bench_number(microseconds, 2);
    bench_table_end();
    bar_add("50257x768", "seconds to compress", 8, seconds[0], 8);
    bar_add("50257x768", "microseconds of a lookup", 8, microseconds, 60);
    tte_free(&job.image);
    free(job.table);
}

int main(int argc, char **argv)
{
    size_t count, i;
    named_table *tables = tables_read(argc, argv, &count);
    subject *subjects = (subject *)bench_alloc(count, sizeof *subjects);
    bench_begin(argc, argv);
    for (i = 0; i < count; i++) subjects[i] = subject_begin(&tables[i]);
    rate_table(subjects, count);
    block4_table(subjects, count);
    speed_table();
    for (i = 0; i < count; i++) {
        free(subjects[i].variance);
        free(tables[i].rows);
    }
    free(subjects);
    free(tables);
    return bars_report("rate") > 0;
}
