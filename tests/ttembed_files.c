/* ttembed_files.c: tables in every format that ttembed reads, for tests/test_ttembed.sh.
 *
 *     ttembed_files make KIND FILE DENSE ROWS COLS SEED
 *         writes a table of random entries, and its numbers as plain float32 to DENSE
 *     ttembed_files same DENSE FILE
 *         whether the numbers of a .npy, .safetensors or plain file are those of DENSE
 *     ttembed_files rows DENSE FIRST LAST FILE WIDTH
 *         writes some rows of DENSE, whose rows have WIDTH numbers
 *     ttembed_files calibration FILE ROWS COLS MANY
 *         weights of ROWS rows and a diagonal metric of COLS columns (0: none), 100 for the first MANY, then 1
 *     ttembed_files signal NUMBER COMMAND..
 *         runs a command, sends it the signal after its first line on stderr, and prints "signal N" or
 *         "status N", whichever it ended with
 *
 * Written from the descriptions of the formats, apart from the readers that it is to test: entries are
 * drawn as stored codes, and what they mean is computed one by one, in double.
 */
#if defined(__unix__) || defined(__APPLE__)
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
#define HAVE_SIGNALS 1
#endif
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int give_up(const char *what)
{
    fprintf(stderr, "ttembed_files: %s\n", what);
    exit(1);
}

static uint64_t seed_state;

static uint32_t draw(void)   /* splitmix64 */
{
    uint64_t z = seed_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}

static double draw_unit(void) { return (double)draw() / 4294967296.0 * 2.0 - 1.0; }

/* ---- numbers ----------------------------------------------------------------------------------- */

static void put(unsigned char *p, uint64_t value, int bytes)
{
    int i;
    for (i = 0; i < bytes; i++)
        p[i] = (unsigned char)(value >> (8 * i) & 255u);
}

static double value_of_half(unsigned bits)
{
    const int exponent = (int)(bits >> 10 & 31u), fraction = (int)(bits & 1023u);
    const double size = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 ? -size : size;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* A finite half of moderate size, now and then a subnormal one. */
static unsigned draw_half(void)
{
    const unsigned exponent = draw() % 16 == 0 ? 0 : 8 + draw() % 8;
    return (draw() & 1u) << 15 | exponent << 10 | (draw() & 1023u);
}

/* ---- blocks: each writes `numbers` codes to p and their values to x ------------------------------ */

typedef struct {
    const char *name;
    unsigned gguf, numbers, bytes;
} kind;

static const kind kinds[] = {
    {"F32", 0, 1, 4}, {"F16", 1, 1, 2}, {"BF16", 30, 1, 2}, {"F64", 28, 1, 8}, {"Q8_0", 8, 32, 34},
    {"Q4_0", 2, 32, 18}, {"Q4_1", 3, 32, 20}, {"Q5_0", 6, 32, 22}, {"Q5_1", 7, 32, 24},
    {"Q4_K", 12, 256, 144}, {"Q5_K", 13, 256, 176}, {"Q6_K", 14, 256, 210}
};

static const kind *find_kind(const char *name)
{
    size_t i;
    for (i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    give_up("an unknown type");
    return NULL;
}

static void draw_plain(const char *name, unsigned char *p, float *x)
{
    if (strcmp(name, "F16") == 0) {
        const unsigned half = draw_half();
        put(p, half, 2);
        *x = (float)value_of_half(half);
    } else if (strcmp(name, "BF16") == 0) {
        const uint32_t bits = bits_of((float)draw_unit()) >> 16;
        put(p, bits, 2);
        *x = float_of(bits << 16);
    } else if (strcmp(name, "F64") == 0) {
        const double value = draw_unit();
        uint64_t bits;
        memcpy(&bits, &value, sizeof bits);
        put(p, bits, 8);
        *x = (float)value;
    } else {
        *x = (float)draw_unit();
        put(p, bits_of(*x), 4);
    }
}

/* Element by element: where its bits are, then what they mean. */
static double small_code(const char *name, const unsigned char *p, unsigned i)
{
    const double d = value_of_half((unsigned)p[0] | (unsigned)p[1] << 8);
    const double m = value_of_half((unsigned)p[2] | (unsigned)p[3] << 8);
    const unsigned shift = i < 16 ? 0 : 4, at = i % 16;
    if (strcmp(name, "Q8_0") == 0)
        return d * (p[2 + i] > 127 ? (int)p[2 + i] - 256 : (int)p[2 + i]);
    if (strcmp(name, "Q4_0") == 0)
        return d * ((int)(p[2 + at] >> shift & 15u) - 8);
    if (strcmp(name, "Q4_1") == 0)
        return d * (int)(p[4 + at] >> shift & 15u) + m;
    if (strcmp(name, "Q5_0") == 0)
        return d * ((int)((p[6 + at] >> shift & 15u) | (p[2 + i / 8] >> i % 8 & 1u) << 4) - 16);
    return d * (int)((p[8 + at] >> shift & 15u) | (p[4 + i / 8] >> i % 8 & 1u) << 4) + m;   /* Q5_1 */
}

/* The 6-bit scale (which = 0) or least value (1) of group g of Q4_K and Q5_K. */
static int group_number(const unsigned char *s, int which, int g)
{
    if (g < 4)
        return s[g + 4 * which] & 63;
    return (s[g + 4] >> 4 * which & 15) + 16 * (s[g - 4 + 4 * which] >> 6);
}

static double large_code(const char *name, const unsigned char *p, unsigned i)
{
    if (strcmp(name, "Q6_K") == 0) {
        const unsigned l = i % 32, part = i / 32 % 4, half = i / 128;
        const int low = p[64 * half + 32 * (part % 2) + l] >> (part >= 2 ? 4 : 0) & 15;
        const int high = p[128 + 32 * half + l] >> 2 * part & 3;
        const int scale = p[192 + i / 16] > 127 ? (int)p[192 + i / 16] - 256 : (int)p[192 + i / 16];
        return value_of_half((unsigned)p[208] | (unsigned)p[209] << 8) * scale * (low + 16 * high - 32);
    } else {
        const int five = strcmp(name, "Q5_K") == 0, g = (int)(i / 32);
        const unsigned char *codes = p + (five ? 48 : 16);
        const int low = codes[32 * (i / 64) + i % 32] >> (g % 2 ? 4 : 0) & 15;
        const int high = five ? p[16 + i % 32] >> g & 1 : 0;
        const double d = value_of_half((unsigned)p[0] | (unsigned)p[1] << 8);
        const double m = value_of_half((unsigned)p[2] | (unsigned)p[3] << 8);
        return d * group_number(p + 4, 0, g) * (low + 16 * high) - m * group_number(p + 4, 1, g);
    }
}

static void draw_block(const kind *k, unsigned char *p, float *x)
{
    unsigned i;
    if (k->numbers == 1) {
        draw_plain(k->name, p, x);
        return;
    }
    for (i = 0; i < k->bytes; i++)
        p[i] = (unsigned char)(draw() & 255u);
    put(strcmp(k->name, "Q6_K") == 0 ? p + 208 : p, draw_half(), 2);
    if (k->name[3] == '1' || (k->name[3] == 'K' && k->name[1] != '6'))
        put(p + 2, draw_half(), 2);
    for (i = 0; i < k->numbers; i++)
        x[i] = (float)(k->numbers == 32 ? small_code(k->name, p, i) : large_code(k->name, p, i));
}

/* ---- files ------------------------------------------------------------------------------------- */

static FILE *open_new(const char *path)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        give_up(path);
    return file;
}

static void write_all(FILE *file, const void *data, size_t size)
{
    if (size != 0 && fwrite(data, 1, size, file) != size)
        give_up("a write failed");
}

static void close_new(FILE *file)
{
    if (fclose(file) != 0)
        give_up("a file cannot be closed");
}

static void write_number(FILE *file, uint64_t value, int bytes)
{
    unsigned char p[8];
    put(p, value, bytes);
    write_all(file, p, (size_t)bytes);
}

static void write_floats(const char *path, const float *x, size_t count)
{
    FILE *file = open_new(path);
    size_t i;
    for (i = 0; i < count; i++)
        write_number(file, bits_of(x[i]), 4);
    close_new(file);
}

typedef struct {
    size_t rows, cols, size;
    unsigned char *stored;   /* size bytes */
    float *dense;            /* rows x cols */
} drawn;

static drawn draw_table(const kind *k, size_t rows, size_t cols)
{
    drawn d;
    size_t i, blocks = rows * cols / k->numbers;
    if (cols % k->numbers)
        give_up("rows are no whole blocks");
    d.rows = rows;
    d.cols = cols;
    d.size = blocks * k->bytes;
    d.stored = (unsigned char *)malloc(d.size);
    d.dense = (float *)malloc(rows * cols * sizeof *d.dense);
    if (d.stored == NULL || d.dense == NULL)
        give_up("out of memory");
    for (i = 0; i < blocks; i++)
        draw_block(k, d.stored + i * k->bytes, d.dense + i * k->numbers);
    return d;
}

static void write_safetensors(const char *path, const char *name, const char *dtype, const drawn *d)
{
    FILE *file = open_new(path);
    char head[600];
    /* a vector before and a matrix after, as in a model */
    const int length = snprintf(head, sizeof head,
                                "{\"__metadata__\":{\"format\":\"pt\"},\"norm.bias\":{\"dtype\":\"F32\","
                                "\"shape\":[3],\"data_offsets\":[0,12]},\"%s\":{\"dtype\":\"%s\","
                                "\"shape\":[%lu,%lu],\"data_offsets\":[12,%lu]},\"w\\u00e4hl.weight\":{"
                                "\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[%lu,%lu]}}   ",
                                name, dtype, (unsigned long)d->rows, (unsigned long)d->cols,
                                (unsigned long)d->size + 12, (unsigned long)d->size + 12,
                                (unsigned long)d->size + 28);
    static const unsigned char zeros[16] = {0};
    write_number(file, (uint64_t)length, 8);
    write_all(file, head, (size_t)length);
    write_all(file, zeros, 12);
    write_all(file, d->stored, d->size);
    write_all(file, zeros, 16);
    close_new(file);
}

static void write_npy(const char *path, const char *descr, const drawn *d)
{
    FILE *file = open_new(path);
    char head[118];
    int length = snprintf(head, sizeof head,
                          "{'descr': '%s', 'fortran_order': False, 'shape': (%lu, %lu), }", descr,
                          (unsigned long)d->rows, (unsigned long)d->cols);
    memset(head + length, ' ', sizeof head - (size_t)length);
    head[117] = '\n';
    write_all(file, "\x93NUMPY\x01\x00", 8);
    write_number(file, sizeof head, 2);
    write_all(file, head, sizeof head);
    write_all(file, d->stored, d->size);
    close_new(file);
}

static void write_text(FILE *file, const char *text)
{
    write_number(file, strlen(text), 8);
    write_all(file, text, strlen(text));
}

static void write_alignment(FILE *file, long alignment)
{
    while (ftell(file) % alignment != 0)
        write_all(file, "", 1);
}

static void write_gguf(const char *path, const kind *k, const drawn *d)
{
    FILE *file = open_new(path);
    size_t i;
    write_all(file, "GGUF", 4);
    write_number(file, 3, 4);
    write_number(file, 2, 8);                         /* tensors */
    write_number(file, 5, 8);                         /* keys */
    write_text(file, "general.architecture");
    write_number(file, 8, 4);
    write_text(file, "test");
    write_text(file, "general.alignment");
    write_number(file, 4, 4);
    write_number(file, 64, 4);
    write_text(file, "tokenizer.ggml.tokens");        /* an array of strings */
    write_number(file, 9, 4);
    write_number(file, 8, 4);
    write_number(file, 3, 8);
    write_text(file, "a");
    write_text(file, "");
    write_text(file, "bcd");
    write_text(file, "tokenizer.ggml.scores");        /* an array of floats */
    write_number(file, 9, 4);
    write_number(file, 6, 4);
    write_number(file, 3, 8);
    for (i = 0; i < 3; i++)
        write_number(file, bits_of(1.5f), 4);
    write_text(file, "general.flag");
    write_number(file, 7, 4);
    write_number(file, 1, 1);
    write_text(file, "blk.0.norm.weight");            /* one side, 8 numbers */
    write_number(file, 1, 4);
    write_number(file, 8, 8);
    write_number(file, 0, 4);
    write_number(file, 0, 8);
    write_text(file, "token_embd.weight");
    write_number(file, 2, 4);
    write_number(file, d->cols, 8);                   /* the fastest index first */
    write_number(file, d->rows, 8);
    write_number(file, k->gguf, 4);
    write_number(file, 64, 8);
    write_alignment(file, 64);
    for (i = 0; i < 8; i++)
        write_number(file, bits_of(0.25f), 4);
    write_alignment(file, 64);
    write_all(file, d->stored, d->size);
    close_new(file);
}

/* Numbers with 9 digits in several notations give the same float32 back. Words with spaces, numbers and
   UTF-8; fastText ends lines with a space. */
static void write_words(const char *path, int head, const drawn *d)
{
    static const char *const forms[] = {" %.9g", " %.9e", " %+.15f", "\t%.17g"};
    FILE *file = open_new(path);
    size_t i, j;
    if (head)
        fprintf(file, "%lu %lu\n", (unsigned long)d->rows, (unsigned long)d->cols);
    for (i = 0; i < d->rows; i++) {
        const char *const words[5] = {"w", "w", "0", "w", "gr\xc3\xbc\xc3\x9f"};
        const char *word = i % 7 == 3 ? ". .w" : words[i % 5];
        fprintf(file, "%s%lu", word, (unsigned long)i);
        for (j = 0; j < d->cols; j++)
            fprintf(file, forms[(i + j) % 4], (double)d->dense[i * d->cols + j]);
        fprintf(file, head ? " \n" : "\n");
    }
    close_new(file);
}

/* Two shards and their index; the table is in the second one. */
static void write_shards(const char *folder, const drawn *d)
{
    char path[1000];
    FILE *file;
    drawn other = draw_table(&kinds[0], 5, 4);
    snprintf(path, sizeof path, "%s/part-1.safetensors", folder);
    write_safetensors(path, "model.first.weight", "F32", &other);
    snprintf(path, sizeof path, "%s/part-2.safetensors", folder);
    write_safetensors(path, "model.embed_tokens.weight", "BF16", d);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    file = open_new(path);
    fprintf(file, "{\"metadata\": {\"total_size\": 1},\n \"weight_map\": {\n"
            "  \"model.first.weight\": \"part-1.safetensors\",\n"
            "  \"model.embed_tokens.weight\": \"part-2.safetensors\"}}\n");
    close_new(file);
    free(other.stored);
    free(other.dense);
}

static int make(char **arg)
{
    const char *what = arg[0], *path = arg[1];
    const char *dash = strchr(what, '-'), *type = dash ? dash + 1 : "F32";
    const kind *k;
    drawn d;
    if (strcmp(what, "shards") == 0)
        type = "BF16";
    seed_state = strtoul(arg[5], NULL, 10);
    k = find_kind(type);
    d = draw_table(k, strtoul(arg[3], NULL, 10), strtoul(arg[4], NULL, 10));
    if (strncmp(what, "safetensors-", 12) == 0)
        write_safetensors(path, "model.embed_tokens.weight", type, &d);
    else if (strncmp(what, "npy-", 4) == 0)
        write_npy(path, k->bytes == 4 ? "<f4" : k->bytes == 2 ? "<f2" : "<f8", &d);
    else if (strncmp(what, "gguf-", 5) == 0)
        write_gguf(path, k, &d);
    else if (strcmp(what, "glove") == 0 || strcmp(what, "word2vec") == 0)
        write_words(path, what[0] == 'w', &d);
    else if (strcmp(what, "shards") == 0)
        write_shards(path, &d);
    else if (strcmp(what, "raw") == 0)
        write_floats(path, d.dense, d.rows * d.cols);
    else
        give_up("an unknown kind of file");
    write_floats(arg[2], d.dense, d.rows * d.cols);
    free(d.stored);
    free(d.dense);
    return 0;
}

static unsigned char *read_all(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    unsigned char *data;
    long length = 0;
    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (length = ftell(file)) < 0)
        give_up(path);
    rewind(file);
    data = (unsigned char *)malloc((size_t)length + 8);
    if (data == NULL || fread(data, 1, (size_t)length, file) != (size_t)length)
        give_up(path);
    fclose(file);
    *size = (size_t)length;
    return data;
}

static float number_at(const unsigned char *p)
{
    return float_of((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
}

static int same(char **arg)
{
    size_t size, other, skip = 0, i, unequal = 0;
    unsigned char *dense = read_all(arg[0], &size), *file = read_all(arg[1], &other);
    if (other > 10 && memcmp(file, "\x93NUMPY", 6) == 0)
        skip = 10 + (size_t)file[8] + 256 * (size_t)file[9];
    else if (other > 9 && file[8] == '{')
        skip = 8 + (size_t)file[0] + 256 * (size_t)file[1];
    if (size == 0 || other != skip + size)
        give_up("the sizes differ");
    for (i = 0; i < size; i += 4) {
        const float x = number_at(dense + i), y = number_at(file + skip + i);
        unequal += !(x <= y && x >= y);
    }
    if (unequal != 0)
        fprintf(stderr, "ttembed_files: %s: %lu numbers differ\n", arg[1], (unsigned long)unequal);
    free(dense);
    free(file);
    return unequal != 0;
}

static int some_rows(char **arg)
{
    const size_t first = strtoul(arg[1], NULL, 10), last = strtoul(arg[2], NULL, 10);
    const size_t width = strtoul(arg[4], NULL, 10) * 4;
    size_t size;
    unsigned char *dense = read_all(arg[0], &size);
    FILE *file = open_new(arg[3]);
    if (first > last || last * width > size)
        give_up("rows beyond the end");
    write_all(file, dense + first * width, (last - first) * width);
    close_new(file);
    free(dense);
    return 0;
}

#ifdef HAVE_SIGNALS
static int send_signal(char **arg)
{
    const int number = atoi(arg[0]);
    int ends[2], status, sent = 0;
    ssize_t got;
    char piece[4096];
    pid_t child = 0;
    if (pipe(ends) != 0 || (child = fork()) < 0)
        give_up("no process");
    if (child == 0) {
        signal(number, SIG_DFL);
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        execv(arg[1], arg + 1);
        _exit(127);
    }
    close(ends[1]);
    while ((got = read(ends[0], piece, sizeof piece)) > 0) {
        fwrite(piece, 1, (size_t)got, stderr);
        if (!sent && memchr(piece, '\n', (size_t)got) != NULL)
            sent = kill(child, number) == 0;
    }
    if (waitpid(child, &status, 0) != child)
        give_up("the process is lost");
    if (WIFSIGNALED(status))
        printf("signal %d\n", WTERMSIG(status));
    else
        printf("status %d\n", WEXITSTATUS(status));
    return 0;
}
#endif

static void put_calibration(const char *path, size_t rows, size_t cols, size_t many)
{
    FILE *file = fopen(path, "wb");
    char header[512] = "{", *end = header + 1;
    unsigned char number[8];
    size_t i;
    if (file == NULL) give_up(path);
    if (rows)
        end += sprintf(end, "\"row_weight\":{\"dtype\":\"F32\",\"shape\":[%lu],\"data_offsets\":[0,%lu]}%s",
                       (unsigned long)rows, (unsigned long)(4 * rows), cols ? "," : "");
    if (cols)
        end += sprintf(end, "\"metric\":{\"dtype\":\"F32\",\"shape\":[%lu,%lu],\"data_offsets\":[%lu,%lu]}",
                       (unsigned long)cols, (unsigned long)cols, (unsigned long)(4 * rows),
                       (unsigned long)(4 * rows + 4 * cols * cols));
    *end++ = '}';
    put(number, (uint64_t)(end - header), 8);
    fwrite(number, 1, 8, file);
    fwrite(header, 1, (size_t)(end - header), file);
    for (i = 0; i < rows + cols * cols; i++) {
        const size_t at = i < rows ? i : (i - rows) / (cols ? cols : 1);
        const float x = i >= rows && (i - rows) % cols != at ? 0.0f : at < many ? 100.0f : 1.0f;
        put(number, bits_of(x), 4);
        fwrite(number, 1, 4, file);
    }
    if (fclose(file) != 0) give_up(path);
}

int main(int argc, char **argv)
{
    if (argc == 8 && strcmp(argv[1], "make") == 0)
        return make(argv + 2);
    if (argc == 4 && strcmp(argv[1], "same") == 0)
        return same(argv + 2);
    if (argc == 7 && strcmp(argv[1], "rows") == 0)
        return some_rows(argv + 2);
    if (argc == 6 && strcmp(argv[1], "calibration") == 0) {
        put_calibration(argv[2], strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10));
        return 0;
    }
#ifdef HAVE_SIGNALS
    if (argc >= 4 && strcmp(argv[1], "signal") == 0)
        return send_signal(argv + 2);
#endif
    return give_up("see the comment at its head");
}
