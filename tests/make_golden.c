/* make_golden.c: writes tests/golden/. From the repository's root:
 *
 *     cc -O2 -o /tmp/make_golden tests/make_golden.c -lm && /tmp/make_golden
 *
 * Images that exist are kept, since old images must open for ever, and so is the record of their rows. */
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "bytes.h"
#include "harness.h"
#include "tables.h"
#include "golden.h"
#include "made.h"

/* All that the format allows: every rate, several classes and gains, centroids, whatever the writers make today. */
static tte_image image_of_anything(void)
{
    plan p;
    do
        p = random_plan(golden[GOLDEN_ANY].dim, golden[GOLDEN_ANY].vocab);
    while (p.centroids < 2 || p.classes < 3 || p.classes > 9 || p.gain_bits == 0 || p.exponent == 0);
    return write_image(&p);
}

static void make_kind(int kind)
{
    float *table = golden_table(kind);
    tte_options options = golden_options(kind);
    tte_image image = {NULL, 0};
    const size_t rows = golden_rows(kind), dim = (size_t)golden[kind].dim;
    memory_rows from = {table, dim};
    tte_table t;
    tte_info info;
    if (kind == GOLDEN_ANY)
        image = image_of_anything();
    else
        require(kind == GOLDEN_TRAINED ? tte_train(rows_from_memory, &from, rows, dim, &options, &image)
                : tte_compress(table, rows, dim, &options, &image), golden_path(kind));
    require(tte_save(golden_path(kind), &image), golden_path(kind));
    t = open_image(&image), info = get_info(&t);
    printf("%s: %u bytes, rank %d, %d centroids, %d classes, error %.4f\n", golden[kind].name, (unsigned)image.size,
           info.rank, info.centroids, info.classes, info.rel_error);
    free(image.data), free(table);
}

/* The rows of images that the record does not hold yet. */
static void record_rows(int kind, FILE *file)
{
    tte_image image = {NULL, 0};
    tte_table t;
    float *rows;
    image.data = golden_bytes(kind, &image.size);
    t = open_image(&image), rows = lookup_all(&t);
    for (size_t i = 0; i < golden_numbers(kind); i++) {
        uint32_t bits;
        unsigned char bytes[4];
        memcpy(&bits, rows + i, sizeof bits);
        put_number(bytes, 4, bits);
        require(fwrite(bytes, 1, 4, file) == 4 ? TTE_OK : TTE_ERR_IO, GOLDEN_ROWS_PATH);
    }
    free(rows), free(image.data);
}

int main(int argc, char **argv)
{
    FILE *file;
    long recorded;
    test_begin(argc, argv, "make_golden");
    test.state = test.seed;
    for (int kind = 0; kind < GOLDEN_ALL; kind++) {
        FILE *there = fopen(golden_path(kind), "rb");
        if (there == NULL)
            make_kind(kind);
        else
            fclose(there);
    }
    file = fopen(GOLDEN_ROWS_PATH, "ab");
    require(file != NULL && fseek(file, 0, SEEK_END) == 0 ? TTE_OK : TTE_ERR_IO, GOLDEN_ROWS_PATH);
    recorded = ftell(file) / 4;
    for (int kind = 0; kind < GOLDEN_ALL; kind++) {
        if (recorded <= 0)
            record_rows(kind, file);
        recorded -= (long)golden_numbers(kind);
    }
    require(fclose(file) == 0 ? TTE_OK : TTE_ERR_IO, GOLDEN_ROWS_PATH);
    return 0;
}
