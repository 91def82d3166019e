/* make_golden.c: writes tests/golden/. From the repository's root:
 *
 *     cc -O2 -o /tmp/make_golden tests/make_golden.c -lm && /tmp/make_golden
 *
 * Only for a new kind of image: those that exist are kept as they are, since old images must open for
 * ever, and so is the record of their rows, which must come out the same for ever. */
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "harness.h"
#include "tables.h"
#include "golden.h"

/* The rows of the images that the record does not hold yet. */
static void record_rows(void)
{
    FILE *file = fopen(GOLDEN_ROWS_PATH, "ab");
    long length;
    int kind = GOLDEN_ALL;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0 && (length = ftell(file)) >= 0)
        kind = (int)(length / (GOLDEN_ROWS * 4));
    for (; kind < GOLDEN_ALL; kind++) {
        tte_image image = {NULL, 0};
        tte_table t;
        float *rows;
        image.data = golden_bytes(kind, &image.size);
        t = open_image(&image);
        rows = lookup_all(&t);
        for (size_t i = 0; i < GOLDEN_ROWS; i++) {
            uint32_t bits;
            memcpy(&bits, rows + i, sizeof bits);
            for (int shift = 0; shift < 32; shift += 8)
                fputc((int)(bits >> shift & 0xFF), file);
        }
        printf("rows of image %d recorded\n", kind);
        free(rows), free(image.data);
    }
    require(file != NULL && fclose(file) == 0 ? TTE_OK : TTE_ERR_IO, GOLDEN_ROWS_PATH);
}

int main(int argc, char **argv)
{
    float *table;
    int written = 0;
    test_begin(argc, argv, "make_golden");
    table = golden_table();
    for (int kind = 0; kind < GOLDEN_ALL; kind++) {
        char path[200];
        tte_options options = golden_options(kind);
        tte_image image;
        FILE *file;
        golden_path(kind, path);
        file = fopen(path, "rb");
        if (file != NULL) {
            printf("%s exists and is kept\n", path);
            fclose(file);
            continue;
        }
        image = make_image(table, GOLDEN_VOCAB, GOLDEN_DIM, &options);
        require(tte_save(path, &image), path);
        printf("%s written, %u bytes\n", path, (unsigned)image.size);
        free(image.data);
        written++;
    }
    free(table);
    printf("%d images written\n", written);
    record_rows();
    return 0;
}
