/* map_table.c: the map_table of README.md, run. test_docs.sh links it with that block. */
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "harness.h"
#include "tables.h"

tte_status map_table(const char *path, tte_table *t);

enum { ROWS = 300, COLUMNS = 24 };

static tte_image saved_image(const char *path, tte_layout layout)
{
    float *table = random_floats(ROWS * COLUMNS);
    tte_options options = layout == TTE_PER_TABLE ? table_options(5, 0) : make_options(TTE_I8, 3, 0, NULL);
    tte_image image = make_image(table, ROWS, COLUMNS, &options);
    require(tte_save(path, &image), "tte_save");
    free(table);
    return image;
}

static int same_table(const tte_table *a, const tte_table *b)
{
    float *x = lookup_all(a), *y = lookup_all(b);
    int same = memcmp(x, y, ROWS * COLUMNS * sizeof *x) == 0;
    free(x), free(y);
    return same;
}

/* Rows as the image in memory has them, also after another table was saved under that name. */
static void a_mapped_table(void)
{
    for (int layout = TTE_PER_TABLE; layout <= TTE_PER_TOKEN; layout++) {
        tte_image image = saved_image("mapped.tte", (tte_layout)layout), other;
        tte_table t = open_image(&image), mapped, again;
        require(map_table("mapped.tte", &mapped), "map_table");
        CHECK(mapped.data != t.data && mapped.size == t.size);
        CHECK(same_table(&mapped, &t));
        other = saved_image("mapped.tte", (tte_layout)(3 - layout));
        CHECK(same_table(&mapped, &t));
        require(map_table("mapped.tte", &again), "map_table");
        CHECK((int)again.layout == 3 - layout && again.size == other.size);
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
    if (!CHECK(file != NULL)) return;
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
    RUN(a_mapped_table); RUN(no_table);
    return test_end();
}
