/* rates.c: what a thread does in a second of the steps that mpi_compress takes, for machines.py.
 *
 *     rates [DIRECTORY [STAMP]]
 *
 * On made rows 128 wide at 8 times smaller and the default effort, 40,000 of them; processor time of one run.
 * Training is timed for all rows and for a quarter, so that what does not depend on rows shows apart.
 */
#include "bench.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "views.h"

enum { WIDE = 128 };
static const float *table;

static int rows_of(void *user, size_t first, size_t count, float *dst)
{
    (void)user;
    memcpy(dst, table + first * WIDE, count * WIDE * sizeof *dst);
    return 0;
}

static double processor(void) { return bench_clock(CLOCK_PROCESS_CPUTIME_ID); }

static void check(const char *what, tte_status status)
{
    if (status != TTE_OK) bench_stop(what, tte_status_text(status));
}

static void show(const char *name, double value)
{
    bench_text(name);
    bench_number(value, 3);
}

int main(int argc, char **argv)
{
    static const bench_column columns[] = {{"rate", -8, NULL}, {"value", 16, NULL}};
    static uint64_t levels[TTE_LEVELS];
    const size_t rows = 40000, part = rows / 4;
    tte_image learnt = {NULL, 0}, image = {NULL, 0}, both = {NULL, 0};
    tte_options options;
    tte_table like, twice[2];
    double start, whole, quarter;
    table = bench_spectrum_table(rows, WIDE);
    memset(&options, 0, sizeof options);
    start = processor();
    check("tte_train_sample", tte_train_sample(rows_of, NULL, part, rows, WIDE, &options, &learnt));
    quarter = processor() - start;
    tte_free(&learnt);
    start = processor();
    check("tte_train", tte_train(rows_of, NULL, rows, WIDE, &options, &learnt));
    whole = processor() - start;
    bench_begin(argc, argv);
    bench_table("rates", "what a thread does in a second, rows 128 wide, 8 times smaller", columns, BENCH_COUNT(columns));
    show("learn", (double)(rows - part) / (whole - quarter));
    show("fixed", whole - (whole - quarter) * (double)rows / (double)(rows - part));
    like = open_image("learnt", &learnt);
    show("shared", (double)learnt.size);
    options.like = &like;
    start = processor();
    check("tte_count", tte_count(rows_of, NULL, rows, WIDE, &options, levels));
    show("count", (double)rows / (processor() - start));
    start = processor();
    check("tte_compress_rows", tte_compress_rows(rows_of, NULL, rows, WIDE, &options, &image));
    show("encode", (double)rows / (processor() - start));
    twice[0] = twice[1] = open_image("image", &image);
    start = processor();
    check("tte_merge", tte_merge(twice, 2, &both));
    show("merge", (double)both.size / (processor() - start));
    bench_table_end();
    tte_free(&learnt), tte_free(&image), tte_free(&both);
    return 0;
}
