/* tables.h: the embedding tables that are measured: of files in all formats that the examples read, and
 * `null`, independent Gaussian numbers. Include it behind bench.h.
 */
#ifndef BENCH_TABLES_H
#define BENCH_TABLES_H

#ifndef TENSOR_FILES_H  /* else whoever includes it says what a trouble does */
#define TENSOR_FILES_TABLES
#define TENSOR_FILES_FAIL(text) bench_stop("table", text)
#include "../examples/tensor_files.h"
#endif

typedef struct named_table {
    char name[64];
    float *rows;
    size_t vocab, dim;
} named_table;

/* The name is that of the file without its end, of model.safetensors that of its folder. */
static inline void table_name(const char *path, char name[64])
{
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
    const char *end = strrchr(base, '.'), *c;
    if (slash != NULL && strcmp(base, "model.safetensors") == 0) {
        for (end = slash, base = path, c = path; c < slash; c++)
            if (*c == '/') base = c + 1;
    }
    snprintf(name, 64, "%.*s", end != NULL && end > base && end - base < 63 ? (int)(end - base) : 63, base);
}

static inline named_table table_read(const char *path)
{
    const source_request any = {NULL, NULL, NULL, 0};
    named_table table = {"Gaussian", NULL, 8192, 128};
    source from;
    if (strcmp(path, "null") == 0) {
        table.rows = bench_gaussian_table(table.vocab, table.dim);
        return table;
    }
    from = source_open(path, &any);
    if (from.why.text[0] != '\0') bench_stop("table", from.why.text);
    table.vocab = from.rows;
    table.dim = from.dim;
    table.rows = (float *)bench_alloc(table.vocab * table.dim, sizeof *table.rows);
    if (source_rows(&from, 0, table.vocab, table.rows) != 0) bench_stop("table", from.why.text);
    table_name(path, table.name);
    source_close(&from);
    return table;
}

#endif
