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

/* The name is that of the file, but for GPT-2's own tensor. */
static inline named_table table_read(const char *path)
{
    const source_request any = {NULL, NULL, NULL, 0};
    const char *base = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    const char *end = strrchr(base, '.');
    named_table table = {"Gaussian", NULL, 8192, 128};
    source from;
    if (strcmp(path, "null") == 0) {
        table.rows = bench_gaussian_table(table.vocab, table.dim);
        return table;
    }
    from = source_open(path, &any);
    table.vocab = from.rows;
    table.dim = from.dim;
    table.rows = (float *)bench_alloc(table.vocab * table.dim, sizeof *table.rows);
    source_rows(&from, 0, table.vocab, table.rows);
    if (from.t != NULL && strstr(from.t->name, "wte") != NULL)
        snprintf(table.name, sizeof table.name, "wte");
    else
        snprintf(table.name, sizeof table.name, "%.*s", end != NULL && end > base ? (int)(end - base) : 63, base);
    source_close(&from);
    return table;
}

/* A program's arguments from the third on, or the Gaussian table alone. */
static inline named_table *tables_read(int argc, char **argv, size_t *count)
{
    named_table *tables;
    size_t i;
    *count = argc > 3 ? (size_t)(argc - 3) : 1;
    tables = (named_table *)bench_alloc(*count, sizeof *tables);
    for (i = 0; i < *count; i++) tables[i] = table_read(argc > 3 ? argv[3 + i] : "null");
    return tables;
}

#endif
