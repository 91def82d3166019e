/* test_machines.c: what must come out the same on every machine, whatever its byte order and word size: the rows of the
 * golden images, by every reader, and what is saved. test_decoder.c has more for the reading side alone. */
#include "bodies.h"
#include "harness.h"
#include "tables.h"
#include "golden.h"

static void rows_as_recorded(void)
{
    for (int kind = 0; kind < GOLDEN_ALL; kind++) {
        const uint32_t vocab = (uint32_t)golden[kind].vocab;
        tte_image image = {NULL, 0};
        tte_table t;
        uint32_t *tokens = (uint32_t *)test_alloc((vocab + 1) * sizeof *tokens);
        float *rows, *scratch;
        image.data = golden_bytes(kind, &image.size);
        t = open_image(&image);
        CHECK(get_info(&t).vocab == vocab && get_info(&t).dim == (size_t)golden[kind].dim);
        rows = lookup_all(&t), scratch = new_scratch(&t);
        check_golden_rows(kind, rows);
        for (uint32_t i = 0; i < vocab; i++)
            tokens[i] = i;
        memset(rows, 0xA5, golden_numbers(kind) * sizeof *rows);
        CHECK_STATUS(tte_lookup_batch(&t, tokens, vocab, rows, scratch), TTE_OK);
        check_golden_rows(kind, rows);
        free(scratch), free(rows), free(image.data), free(tokens);
    }
}

#ifndef TT_EMBED_NO_STDIO
/* Saved twice under one name: where rename does not replace a file, the library must. test_faults asks more, of POSIX. */
static void saved_over_a_file(void)
{
    const char *folder = getenv("TEST_TMP");
    char path[1000];
    snprintf(path, sizeof path, "%s/machines.tte", folder != NULL && *folder != 0 ? folder : ".");
    for (int kind = 0; kind < GOLDEN_ALL; kind++) {
        tte_image image = {NULL, 0}, loaded = sentinel_image();
        tte_table t;
        image.data = golden_bytes(kind, &image.size);
        CHECK_STATUS(tte_save(path, &image), TTE_OK);
        if (CHECK_STATUS(tte_load(path, &loaded, &t), TTE_OK)) {
            CHECK(same_image(&image, &loaded) && t.data == loaded.data);
            tte_free(&loaded);
        }
        free(image.data);
    }
    CHECK(remove(path) == 0);
}
#endif

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_machines");
    RUN(rows_as_recorded);
#ifndef TT_EMBED_NO_STDIO
    RUN(saved_over_a_file);
#endif
    return test_end();
}
