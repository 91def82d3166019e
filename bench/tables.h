/* tables.h: embedding tables from files: .npy of two axes, and the tensor wte.weight of a
 * .safetensors, both in float16 or float32. Include it behind tt_embed.h with its implementation,
 * whose readers of bytes it uses.
 */
#ifndef BENCH_TABLES_H
#define BENCH_TABLES_H

typedef struct bench_file {
    const char *path;
    unsigned char *data;
    size_t size;
} bench_file;

static inline bench_file file_read(const char *path)
{
    bench_file file = {path, NULL, 0};
    FILE *stream = fopen(path, "rb");
    long end = -1;
    if (stream == NULL) bench_stop(path, strerror(errno));
    if (fseek(stream, 0, SEEK_END) == 0) end = ftell(stream);
    if (end < 0 || fseek(stream, 0, SEEK_SET) != 0) bench_stop(path, strerror(errno));
    file.size = (size_t)end;
    file.data = (unsigned char *)bench_alloc(file.size, 1);
    if (fread(file.data, 1, file.size, stream) != file.size) bench_stop(path, "cannot be read");
    fclose(stream);
    return file;
}

/* The `size` bytes of text from `at`, as a string of its own. */
static inline char *file_text(const bench_file *file, size_t at, size_t size)
{
    char *text;
    if (at > file->size || size > file->size - at) bench_stop(file->path, "ends too early");
    text = (char *)bench_alloc(size + 1, 1);
    memcpy(text, file->data + at, size);
    return text;
}

/* What stands behind the first `key` of the text. */
static inline const char *text_after(const bench_file *file, const char *text, const char *key)
{
    const char *found = strstr(text, key);
    char why[64];
    if (found == NULL) {
        snprintf(why, sizeof why, "has no %s", key);
        bench_stop(file->path, why);
    }
    return found + strlen(key);
}

/* Two numbers with anything but digits around them. */
static inline void text_pair(const bench_file *file, const char *text, size_t pair[2])
{
    int i;
    for (i = 0; i < 2; i++) {
        char *end;
        text += strcspn(text, "0123456789");
        pair[i] = (size_t)strtoull(text, &end, 10);
        if (end == text) bench_stop(file->path, "a number is missing");
        text = end;
    }
}

static inline float *file_floats(const bench_file *file, size_t at, const size_t shape[2], int half)
{
    size_t width = half ? 2 : 4, i;
    float *rows;
    if (shape[0] == 0 || shape[1] == 0 || shape[0] > file->size / shape[1] ||
        at > file->size || shape[0] * shape[1] > (file->size - at) / width)
        bench_stop(file->path, "the shape does not fit the file");
    rows = (float *)bench_alloc(shape[0] * shape[1], sizeof *rows);
    for (i = 0; i < shape[0] * shape[1]; i++) {
        const unsigned char *p = file->data + at + width * i;
        rows[i] = half ? ttei_f16_decode(ttei_get16(p)) : ttei_get_f32(p);
    }
    return rows;
}

static inline float *npy_rows(const bench_file *file, size_t shape[2])
{
    size_t wide = file->size > 6 && file->data[6] > 1 ? 4 : 2, at = 8 + wide, size;
    char *text, type;
    float *rows;
    if (file->size < 12 || memcmp(file->data, "\x93NUMPY", 6) != 0)
        bench_stop(file->path, "is no .npy file");
    size = wide == 4 ? ttei_get32(file->data + 8) : ttei_get16(file->data + 8);
    text = file_text(file, at, size);
    (void)text_after(file, text, "'fortran_order': False");
    text_pair(file, text_after(file, text, "'shape':"), shape);
    type = *text_after(file, text, "'descr': '<f");
    if (type != '2' && type != '4') bench_stop(file->path, "is neither float16 nor float32");
    rows = file_floats(file, at + size, shape, type == '2');
    free(text);
    return rows;
}

static inline float *safetensors_rows(const bench_file *file, size_t shape[2])
{
    size_t size = file->size > 8 ? ttei_get_size(file->data) : 0, extent[2];
    char *text = file_text(file, 8, size);
    const char *entry = text_after(file, text, "wte.weight\""), *type;
    float *rows;
    type = text_after(file, entry, "\"dtype\":");
    type += strspn(type, " \"");
    if (strncmp(type, "F16\"", 4) != 0 && strncmp(type, "F32\"", 4) != 0)
        bench_stop(file->path, "wte.weight is neither F16 nor F32");
    text_pair(file, text_after(file, entry, "\"shape\":"), shape);
    text_pair(file, text_after(file, entry, "\"data_offsets\":"), extent);
    rows = file_floats(file, 8 + size + extent[0], shape, type[1] == '1');
    free(text);
    return rows;
}

/* The rows of a file by its ending; shape receives vocab and dim. */
static inline float *table_read(const char *path, size_t shape[2])
{
    bench_file file = file_read(path);
    const char *end = strrchr(path, '.');
    float *rows = end != NULL && strcmp(end, ".npy") == 0 ? npy_rows(&file, shape)
                                                          : safetensors_rows(&file, shape);
    free(file.data);
    return rows;
}

#endif
