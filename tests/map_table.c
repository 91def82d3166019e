/* map_table.c: the map_table of README.md, run. test_docs.sh links it with that block. */
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "harness.h"
#include "tables.h"

tte_status map_table(const char *path, tte_table *t);

enum { VOCAB = 300, DIM = 24 };

static tte_image saved_image(const char *path, tte_coding coding)
{
    float *table = random_floats(VOCAB * DIM);
    tte_options options = make_options(coding, 0, 0, NULL);
    tte_image image;
    options.layout = TTE_PER_TABLE;
    image = make_image(table, VOCAB, DIM, &options);
    require(tte_save(path, &image), "tte_save");
    free(table);
    return image;
}

static int same_table(const tte_table *a, const tte_table *b)
{
    float *x = lookup_all(a), *y = lookup_all(b);
    int same = memcmp(x, y, VOCAB * DIM * sizeof *x) == 0;
    free(x), free(y);
    return same;
}

/* Rows as the image in memory has them, also after another table was saved under that name. */
static void a_mapped_table(void)
{
    static const tte_coding codings[2] = {TTE_I8, TTE_ENTROPY};
    for (int c = 0; c < 2; c++) {
        tte_image image = saved_image("mapped.tte", codings[c]), other;
        tte_table t = open_image(&image), mapped, again;
        require(map_table("mapped.tte", &mapped), "map_table");
        CHECK(mapped.data != t.data && mapped.size == t.size);
        CHECK(same_table(&mapped, &t));
        other = saved_image("mapped.tte", TTE_F16);
        CHECK(same_table(&mapped, &t));
        require(map_table("mapped.tte", &again), "map_table");
        CHECK(again.coding == TTE_F16 && again.size == other.size);
        free(image.data), free(other.data);
    }
    CHECK(remove("mapped.tte") == 0);
}

static void no_table(void)
{
    static const char text[] = "Not an image, though longer than the header of one, so that what comes next"
                               " is looked at: neither a table nor a train, in no version of the format.";
    tte_table t;
    FILE *file = fopen("text.tte", "wb");
    memset(&t, 0xA5, sizeof t);
    if (!CHECK(file != NULL))
        return;
    CHECK(fwrite(text, 1, sizeof text, file) == sizeof text && fclose(file) == 0);
    CHECK_STATUS(map_table("text.tte", &t), TTE_ERR_FORMAT);
    CHECK_STATUS(map_table("no_such_file.tte", &t), TTE_ERR_IO);
    file = fopen("text.tte", "wb"); /* without a byte */
    CHECK(file != NULL && fclose(file) == 0);
    CHECK_STATUS(map_table("text.tte", &t), TTE_ERR_IO);
    CHECK_STATUS(map_table(".", &t), TTE_ERR_IO);
    CHECK(is_untouched(&t, sizeof t));
    CHECK(remove("text.tte") == 0);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "map_table");
    RUN(a_mapped_table);
    RUN(no_table);
    return test_end();
}
