/* make_golden.c: writes tests/golden/. From the repository's root:
 *
 *     cc -O2 -o /tmp/make_golden tests/make_golden.c -lm && /tmp/make_golden
 *
 * Only for a new kind of image: those that exist are kept as they are, since old images must open for
 * ever. */
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "harness.h"
#include "tables.h"
#include "golden.h"

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
    return 0;
}
