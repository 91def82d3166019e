/* fuzz_files.c: the files that the examples read, by examples/tensor_files.h and vocabulary.h. An input is a byte,
 * which says the format, then a file of it. Whatever a parser accepts is read, row after row, into
 * blocks of the exact size; what it refuses comes with a line that says why. Another format is one
 * more entry in `readers` and one more text in `make_text`. */
#define TT_EMBED_DECODE_ONLY
#include "../bodies.h"
#include "../harness.h"
#define FUZZ_NAME "fuzz_files"
#include "fuzz.h"
#define TENSOR_FILES_TABLES
#include "../../examples/tensor_files.h"
#include "../../examples/vocabulary.h"

enum { MOST = 1 << 20 };  /* numbers of a tensor that is read */

/* ---- readers ------------------------------------------------------------------------------------- */

static void use_tensors(trouble *why, tensors *w)
{
    CHECK(w->count == 0 || w->list != NULL);
    for (size_t k = 0; k < w->count && !why->text[0]; k++) {
        const tensor *t = &w->list[k];
        trouble own = {""};
        char text[100] = "";
        tensor_shape_text(t, text, sizeof text);
        CHECK(tensors_find(w, t->name) == t);
        if (tensor_is_table(&own, w, t) && t->shape[0] > 0 && t->shape[1] > 0 && t->shape[1] <= MOST
            && t->shape[0] <= MOST / t->shape[1]) {
            const size_t half = t->shape[0] / 2;
            float *row = new_floats(t->shape[1]), *rows = new_floats((t->shape[0] - half) * t->shape[1]);
            (void)tensor_rows(&own, w, t, 0, 1, row);
            (void)tensor_rows(&own, w, t, t->shape[0] - 1, 1, row);
            (void)tensor_rows(&own, w, t, half, t->shape[0] - half, rows);
            free(row), free(rows);
        }
    }
    tensors_give(w);
}

static void read_safetensors(trouble *why, const unsigned char *data, size_t size)
{
    tensors w = safetensors_parse(why, "a/b.safetensors", data, size);
    use_tensors(why, &w);
}

static void read_index(trouble *why, const unsigned char *data, size_t size)
{
    tensors w = index_parse(why, "a/b.json", data, size);
    for (size_t k = 0; k < w.count && !why->text[0]; k++) {
        trouble own = {""};
        give(index_file(&own, &w, &w.list[k]));
    }
    tensors_give(&w);
}

static void read_npy(trouble *why, const unsigned char *data, size_t size)
{
    tensors w = npy_parse(why, "a.npy", data, size);
    use_tensors(why, &w);
}

static void read_raw(trouble *why, const unsigned char *data, size_t size)
{
    tensors w = raw_parse(why, "a.f32", data, size, size % 7 + 1);
    use_tensors(why, &w);
}

/* Words of so many tokens: each a text, found under its own name. */
static void use_words(trouble *why, vocabulary *v, size_t tokens)
{
    CHECK(why->text[0] ? v->count == 0 : v->count == tokens);
    for (size_t id = 0; id < v->count; id++) {
        const char *word = vocabulary_word(v, id);
        if (word != NULL && *word != 0 && strlen(word) < 100) {
            const word_search found = vocabulary_find(why, v, word);
            CHECK(found.exact <= id && found.first <= id && found.count > 0);
            CHECK(strpbrk(word, "\r\n") == NULL);
        }
    }
    vocabulary_close(v);
}

static void read_gguf(trouble *why, const unsigned char *data, size_t size)
{
    tensors w = gguf_parse(why, "a.gguf", data, size);
    if (!why->text[0]) {
        trouble own = {""};
        vocabulary v = vocabulary_of_gguf(&own, &w, 3);
        use_words(&own, &v, 3);
    }
    use_tensors(why, &w);
}

static void read_words(trouble *why, const unsigned char *data, size_t size)
{
    word_vectors v = words_parse(why, "a.txt", data, size);
    if (!why->text[0] && v.count > 0 && v.dim <= MOST / v.count) {
        float *rows = new_floats(v.count * v.dim);
        size_t length;
        for (size_t row = 0; row < v.count; row++) {
            const unsigned char *word = words_word(&v, row, &length);
            CHECK(word >= data && length <= size && (size_t)(word - data) <= size - length);
        }
        (void)words_rows(why, &v, 0, v.count, rows);
        free(rows);
    }
    words_give(&v);
}

/* Of a table of 3 x 2. */
static void read_calibration(trouble *why, const unsigned char *data, size_t size)
{
    calibration c = calibration_parse(why, "a.safetensors", data, size, 3, 2);
    CHECK(why->text[0] ? c.row_weight == NULL && c.metric == NULL : c.row_weight != NULL || c.metric != NULL);
    for (int i = 0; c.row_weight != NULL && i < 3; i++)
        CHECK(c.row_weight[i] > 0 && c.row_weight[i] <= FLT_MAX);
    if (c.metric != NULL) CHECK_LE(fabs((double)c.metric[1] - (double)c.metric[2]), 1e-4 * norm(c.metric, 4));
    calibration_give(&c);
}

/* Of a table of 7 rows, under the name that fits how it begins. The text is changed. */
static void read_vocabulary(trouble *why, const unsigned char *data, size_t size)
{
    const int first = size > 0 ? data[0] : 0;
    unsigned char *text = (unsigned char *)test_copy(data, size);
    vocabulary v = vocabulary_parse(why, first == '{' || first == '[' ? "a.json" : first == 10 ? "a.model" : "a.txt", text, size, 7);
    use_words(why, &v, 7);
    free(text);
}

static void (*const readers[])(trouble *, const unsigned char *, size_t) =
    {read_safetensors, read_index, read_npy, read_raw, read_gguf, read_words, read_calibration, read_vocabulary};
enum { READERS = (int)(sizeof readers / sizeof *readers) };

static void fuzz_one(const unsigned char *data, size_t size)
{
    trouble why = {""};
    unsigned char *file;
    if (size < 1)
        return;
    file = (unsigned char *)test_copy(data + 1, size - 1);
    readers[data[0] % READERS](&why, file, size - 1);
    CHECK(memchr(why.text, 0, sizeof why.text) != NULL);
    CHECK(blocks.link.after == NULL); /* nothing is left behind, also after trouble */
    give_all();
    free(file);
}

/* ---- files of every format ------------------------------------------------------------------------- */

static size_t numbers(unsigned char *out, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (unsigned char)rng_int(0, 255);
    return size;
}

static size_t gguf_string(unsigned char *out, const char *text)
{
    put_number(out, 8, strlen(text));
    memcpy(out + 8, text, strlen(text));
    return 8 + strlen(text);
}

static size_t make_gguf(unsigned char *out)
{
    const tensor_kind *kind = &tensor_kinds[rng_int(0, TENSOR_KINDS - 1)];
    const size_t cols = kind->numbers * (size_t)rng_int(1, 2), rows = (size_t)rng_int(1, 4);
    size_t at = 24;
    memset(out, 0, 400);
    memcpy(out, "GGUF", 4);
    put_number(out + 4, 4, (uint64_t)rng_int(2, 3)), put_number(out + 8, 8, 1), put_number(out + 16, 8, 3);
    at += gguf_string(out + at, "general.alignment");
    put_number(out + at, 4, 4), put_number(out + at + 4, 4, 32), at += 8;
    at += gguf_string(out + at, "general.name");
    put_number(out + at, 4, 8), at += 4, at += gguf_string(out + at, "x");
    at += gguf_string(out + at, "tokenizer.ggml.tokens"); /* an array of strings */
    put_number(out + at, 4, 9), put_number(out + at + 4, 4, 8), put_number(out + at + 8, 8, 2), at += 16;
    at += gguf_string(out + at, "a"), at += gguf_string(out + at, "bc");
    at += gguf_string(out + at, "token_embd.weight");
    put_number(out + at, 4, 2), put_number(out + at + 4, 8, cols), put_number(out + at + 12, 8, rows);
    put_number(out + at + 20, 4, (uint64_t)(kind->gguf < 0 ? 0 : kind->gguf)), put_number(out + at + 24, 8,
                                                                                      0), at += 32;
    at = (at + 31) / 32 * 32;
    return at + numbers(out + at, rows * cols / kind->numbers * kind->size);
}

static size_t make_text(int format, unsigned char *out, size_t capacity)
{
    static const char *const types[] = {"F32", "F16", "BF16", "F64", "I8", "F8_E5M2", "?"};
    static const char *const orders[] = {"<f4", "<f2", ">f4", "<f8", "|i1"};
    const int rows = rng_int(0, 5), cols = rng_int(0, 6), type = rng_int(0, 6),
        bytes_of = type == 3 ? 8 : type ? 2 : 4;
    char *text = (char *)out;
    int length = 0;
    switch (format) {
    case 0:
        length = snprintf(text + 8, capacity - 8, "{%s\"w\\u0074e\":{\"dtype\":\"%s\",\"shape\":[%d,%d],"
                          "\"data_offsets\":[0,%d]}, \"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[%d,%d]}}",
                          rng_int(0, 1) ? "\"__metadata__\":{\"format\":\"pt\"}," : "", types[type],
                              rows, cols,
                          rows * cols * bytes_of, rows * cols * bytes_of, rows * cols * bytes_of + 8);
        put_number(out, 8, (uint64_t)length);
        return 8 + (size_t)length + numbers(out + 8 + length, (size_t)(rows * cols * bytes_of + 8));
    case 1:
        length = snprintf(text, capacity,
            "{\"metadata\":{\"total_size\":1e%d},\n\"weight_map\":{\"wte\":\"m-1.safetensors\","
                          "\"x\\\"y\":\"%s\"}, \"z\":[true,null,-0.5e-3,[]]}", rows,
                              cols ? "m-2.safetensors" : "../x");
        return (size_t)length;
    case 2:
        length = snprintf(text + 10, capacity - 10,
                          "{'descr': '%s', 'fortran_order': %s, 'shape': (%d, %d), }",
                          orders[rng_int(0, 4)], rng_int(0, 5) ? "False" : "True", rows, cols);
        while ((length + 10) % 64 != 63)
            text[10 + length++] = ' ';
        text[10 + length++] = '\n';
        memcpy(out, "\x93NUMPY\1\0", 8);
        put_number(out + 8, 2, (uint64_t)length);
        return 10 + (size_t)length + numbers(out + 10 + length, (size_t)(rows * cols * 4));
    case 4:
        return make_gguf(out);
    case 5:
        if (!rng_int(0, 3)) { /* as word2vec writes it */
            length = snprintf(text, capacity, "%d %d\n", rows, cols);
            for (int r = 0; r < rows; r++) {
                length += snprintf(text + length, capacity - (size_t)length, "w%d ", r * r);
                for (int c = 0; c < cols; c++, length += 4) put_number(out + length, 4, 0x3f800000u + (unsigned)rng_int(0, 99));
                if (r % 2) text[length++] = '\n';
            }
            return (size_t)length;
        }
        if (rng_int(0, 1)) length = snprintf(text, capacity, "%d %d\n", rows, cols);
        for (int r = 0; r < rows; r++) {
            length += snprintf(text + length, capacity - (size_t)length, "w%d", r * r);
            for (int c = 0; c < cols; c++)
                length += snprintf(text + length, capacity - (size_t)length, " %.*g", rng_int(1, 9),
                                   rng_normal());
            text[length++] = '\n';
        }
        return (size_t)length;
    case 6: { /* the metric's numbers first, most of them good */
        const int metric = rng_int(0, 3) ? 16 : 0, weights = !metric || rng_int(0, 3) ? 12 : 0;
        const float off = (float)rng_normal();
        length = snprintf(text + 8, capacity - 8, "{\"__metadata__\":{\"tokens\":\"9\"}");
        if (metric)
            length += snprintf(text + 8 + length, capacity - 8 - (size_t)length,
                               ",\"metric\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}");
        if (weights)
            length += snprintf(text + 8 + length, capacity - 8 - (size_t)length, ",\"row_weight\":{\"dtype\":\"F32\","
                               "\"shape\":[3],\"data_offsets\":[%d,%d]}", metric, metric + weights);
        text[8 + length++] = '}';
        put_number(out, 8, (uint64_t)length);
        for (int i = 0; i < (metric + weights) / 4; i++) {
            const float x = i < metric / 4 && i % 4 % 3 ? off : expf((float)rng_normal());
            uint32_t bits;
            memcpy(&bits, &x, sizeof bits);
            put_number(out + 8 + length + 4 * i, 4, bits);
        }
        return 8 + (size_t)(length + metric + weights);
    }
    case 7: { /* words in each way that files have them */
        static const char *const ways[] = {"\"%s%d\":%d,", "\"%s%d\",", "[\"%s%d\",%d],", "%s%d\r\n", "%s%d\t-%d\n", "YWI=%s %d\n",
                                           "{\"content\":\"%s%d\",\"id\":%d},"};
        static const char *const marks[] = {"", " ", "\xc4\xa0", "\xe2\x96\x81", "\\u0000", "\\ud83d"};
        const int way = rng_int(0, 8), words = rng_int(0, 8);
        for (int i = 0; i < words && way < 7; i++)
            length += snprintf(text + length, capacity - (size_t)length, ways[way], way == 5 ? "" : marks[rng_int(0, 5)],
                               way == 5 ? i : rng_int(0, 3), i);
        for (int i = 0; i < words && way >= 7; i++) { /* SentencePiece's messages */
            const int inside = rng_int(0, 5);
            memcpy(text + length, "\x0a\0\x0a\0wordsx\x15\0\0\x80\x3f", 15);
            text[length + 3] = (char)inside, text[length + 1] = (char)(inside + 7);
            memmove(text + length + 4 + inside, text + length + 10, 5);
            length += 9 + inside;
        }
        if (way < 3 || way == 6) { /* the list or the map, also inside of a tokenizer.json */
            const char *begin = way == 0 ? "{" : "[", *end = way == 0 ? "}" : "]";
            const char *around = rng_int(0, 1) ? "" : way == 6 ? "{\"model\":{\"vocab\":{}},\"added_tokens\":" : "{\"model\":{\"vocab\":";
            const int front = (int)(strlen(around) + 1);
            length -= words > 0;
            memmove(text + front, text, (size_t)length);
            memcpy(text, around, (size_t)front - 1), text[front - 1] = *begin;
            length += front;
            length += snprintf(text + length, capacity - (size_t)length, "%s%s", end, front == 1 ? "" : way == 6 ? "}" : "}}");
        }
        return (size_t)length;
    }
    default:
        return numbers(out, (size_t)rng_int(0, 200));
    }
}

static size_t fuzz_make(unsigned char *out, size_t capacity)
{
    static const char *const pieces[] = {"{", "}", "[", "]", "\"", "\\u", "\\ud800", "1e999", "-", ",",
                                         ":", "null",
                                         "\n", " ", "\xC0\x80", "18446744073709551615", "4294967296",
                                             "(", "),", "'"};
    size_t size;
    out[0] = (unsigned char)rng_int(0, READERS - 1);
    size = make_text(out[0], out + 1, capacity - 1);
    for (int n = rng_int(0, 4); n > 0; n--) {
        const char *piece = pieces[rng_int(0, 19)];
        size_t length = strlen(piece), at = size > 0 ? (size_t)(rng_next() % size) : 0;
        if (rng_int(0, 2)) {
            size = fuzz_change(out + 1, size, capacity - 1, NULL, 0);
        } else if (size + length < capacity - 1) {
            memmove(out + 1 + at + length, out + 1 + at, size - at);
            memcpy(out + 1 + at, piece, length);
            size += length;
        }
    }
    return 1 + size;
}
