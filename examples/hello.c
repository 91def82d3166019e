/*
 * hello - a table compressed, saved, opened and read: the whole of tt_embed.h that most programs need
 *
 *     cc -O2 -o hello examples/hello.c -lm        (from the repository's root)
 *     ./hello                                     leaves hello.tte behind, a file that ttembed reads, too
 *
 * One source file of a program defines TT_EMBED_IMPLEMENTATION. Every call returns a status; what is
 * read needs scratch memory from the caller and nothing else, so any number of threads may read at once.
 */
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { VOCAB = 6000, DIM = 64, NEAREST = 5 };

static float table[VOCAB][DIM], row[DIM];
static tte_options options;       /* zeros: 8 times smaller, nothing else asked for */

static void must(tte_status status)
{
    if (status != TTE_OK) fprintf(stderr, "hello: %s\n", tte_status_text(status)), exit(1);
}

int main(void)
{
    uint32_t ids[NEAREST];
    float scores[NEAREST], *scratch;
    tte_image image, file;
    tte_table t;
    tte_info info;
    int i, j;

    for (i = 0; i < VOCAB; i++)   /* neighbours are alike, as positions are in a transformer */
        for (j = 0; j < DIM; j++)
            table[i][j] = sinf((float)i * powf(0.8f, (float)(j / 2)) + (j % 2 ? 1.5707963f : 0.0f));

    options.ratio = 16;           /* compress */
    must(tte_compress(table[0], VOCAB, DIM, &options, &image));
    must(tte_save("hello.tte", &image));
    tte_free(&image);

    must(tte_load("hello.tte", &file, &t));   /* open: the file's bytes are the structure */
    must(tte_get_info(&t, &info));
    printf("%u bytes instead of %u, relative error %.3f\n", (unsigned)info.bytes, (unsigned)sizeof table,
           info.rel_error);

    scratch = (float *)malloc(tte_scratch_len(&t) * sizeof *scratch);
    if (scratch == NULL) must(TTE_ERR_MEMORY);
    must(tte_lookup(&t, 4711, row, scratch));   /* read: one row, then the rows most like it */
    printf("row 4711 begins %.3f %.3f, was %.3f %.3f\nnearest to it:", (double)row[0], (double)row[1],
           (double)table[4711][0], (double)table[4711][1]);
    must(tte_top_k(&t, row, NEAREST, ids, scores, scratch));
    for (i = 0; i < NEAREST; i++) printf(" %u", (unsigned)ids[i]);
    printf("\n");
    free(scratch), tte_free(&file);
    return 0;
}
