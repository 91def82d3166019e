/*
 * vocabulary.h - the words of a table's rows, and which row a person means by a word
 *
 * Words come as lines (vocab.txt, OUT.vocab), as vocab.json or tokenizer.json of BPE, WordPiece and Unigram with their
 * added tokens, as SentencePiece's .vocab and .model, as .tiktoken, or lie in a GGUF. Ids may be missing, as rows that
 * only fill up a table have no words, but not beyond the table. Include it after tensor_files.h, whose troubles,
 * memory and JSON it uses, with TENSOR_FILES_TABLES. C99 that is also C++11.
 */
#ifndef VOCABULARY_H
#define VOCABULARY_H

#define NO_WORD SIZE_MAX

typedef struct {
    char *pool;            /* the words, each with a zero byte behind it */
    size_t used, room;
    size_t *at;            /* count places in it, by token id; NO_WORD: this one has none */
    size_t count;          /* 0: there are no words */
} vocabulary;

static void vocabulary_close(vocabulary *v)
{
    give(v->pool);
    give(v->at);
    memset(v, 0, sizeof *v);
}

static const char *vocabulary_word(const vocabulary *v, size_t id)
{
    return id < v->count && v->at[id] != NO_WORD ? v->pool + v->at[id] : NULL;
}

/* Room for the words of `count` tokens more. */
static void vocabulary_grow(trouble *why, vocabulary *v, size_t count)
{
    size_t *larger = (size_t *)resize_or(why, v->at, v->count + count, sizeof *larger);

    if (!larger)
        return;
    v->at = larger;
    for (; count; count--)
        v->at[v->count++] = NO_WORD;
}

/* A line each is what a word gets: line ends and NUL in it become what GPT-2 writes for them, U+010A, U+010D and U+0100. */
static void vocabulary_put(trouble *why, vocabulary *v, size_t id, const void *word, size_t length)
{
    const unsigned char *from = (const unsigned char *)word;
    size_t i;

    if (id >= v->count)   /* there was no memory for it */
        return;
    if (v->room - v->used < 2 * length + 1) {
        const size_t room = 2 * v->room + 2 * length + 4096;
        char *larger = (char *)resize_or(why, v->pool, room, 1);
        if (!larger)
            return;
        v->pool = larger;
        v->room = room;
    }
    v->at[id] = v->used;
    for (i = 0; i < length; i++)
        if (from[i] == '\n' || from[i] == '\r' || from[i] == 0)
            v->used += utf8_put((unsigned char *)v->pool + v->used, 256u + from[i]);
        else
            v->pool[v->used++] = (char)from[i];
    v->pool[v->used++] = 0;
}

/* Bytes of base 64, also in place of the text; how many, or NO_WORD where it is none. Without `out` they are counted. */
static size_t base64_decode(const unsigned char *text, size_t length, unsigned char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t i, n = 0;
    uint32_t bits = 0;

    while (length && text[length - 1] == '=')
        length--;
    for (i = 0; i < length; i++) {
        const char *digit = text[i] ? strchr(digits, text[i]) : NULL;
        if (!digit)
            return NO_WORD;
        bits = bits << 6 | (uint32_t)(digit - digits);
        if (i % 4 && out)
            out[n] = (unsigned char)(bits >> (6 - 2 * (i % 4)) & 255u);
        n += i % 4 != 0;
    }
    return i % 4 == 1 ? NO_WORD : n;
}

/* ---- JSON ---------------------------------------------------------------------------------------- */

/* {"word": id, ..}, or a list of words or of [word, score], by place. */
static void vocabulary_json_map(json *j, size_t map, vocabulary *v)
{
    const int list = j->node[map].kind == JSON_ARRAY;
    size_t k, n = 0;

    for (k = json_first(j, map, list ? JSON_ARRAY : JSON_OBJECT); k; k = json_after(j, map, list ? k : k + 1), n++) {
        const size_t id = list ? n : (size_t)json_whole(j, k + 1, 0, v->count - 1);
        bytes word = json_string(j, list && j->node[k].kind == JSON_ARRAY ? k + 1 : k);
        if (word.data && id >= v->count)
            trouble_set(j->why, "%s: more words than the table's %zu rows", j->file, v->count);
        else if (word.data)
            vocabulary_put(j->why, v, id, word.data, word.size);
        give(word.data);
    }
}

/* Also under model.vocab of a tokenizer.json, with its added tokens. */
static void vocabulary_json(trouble *why, const char *path, const unsigned char *text, size_t size, vocabulary *v)
{
    json j = json_parse(why, path, 0, text, size);
    size_t map = 0, added = 0, k;

    if (!why->text[0] && j.node[0].kind == JSON_OBJECT) {
        if ((k = json_get(&j, 0, "model")) != 0 && j.node[k].kind == JSON_OBJECT) {
            map = json_need(&j, k, "vocab");
            added = json_get(&j, 0, "added_tokens");
        } else if ((k = json_get(&j, 0, "vocab")) != 0 && j.node[k].kind == JSON_OBJECT) {
            map = k;
        }
    }
    if (!why->text[0])
        vocabulary_json_map(&j, map, v);
    for (k = added ? json_first(&j, added, JSON_ARRAY) : 0; k; k = json_after(&j, added, k)) {
        const size_t id = (size_t)json_whole(&j, json_need(&j, k, "id"), 0, v->count - 1);
        bytes word = json_string(&j, json_need(&j, k, "content"));
        if (word.data)
            vocabulary_put(why, v, id, word.data, word.size);
        give(word.data);
    }
    give(j.node);
}

/* ---- lines ---------------------------------------------------------------------------------------- */

/* What a line holds: the word alone; word, tab and score (SentencePiece); base 64, a space and the id (tiktoken). */
enum { LINE_WORD, LINE_SCORE, LINE_RANK };

static int line_kind(const unsigned char *p, const unsigned char *end, uint64_t *id)
{
    const unsigned char *tab = (const unsigned char *)memchr(p, '\t', (size_t)(end - p));
    const unsigned char *gap = (const unsigned char *)memchr(p, ' ', (size_t)(end - p));
    char number[24];
    float score;

    if (tab && decimal(tab + 1, end, &score) == end)
        return LINE_SCORE;
    if (!gap || gap == p || end - gap > 20)
        return LINE_WORD;
    snprintf(number, sizeof number, "%.*s", (int)(end - gap - 1), (const char *)gap + 1);
    return (gap - p) % 4 == 0 && base64_decode(p, (size_t)(gap - p), NULL) != NO_WORD
        && whole_number(number, UINT32_MAX, id) ? LINE_RANK : LINE_WORD;
}

static void vocabulary_lines(trouble *why, const char *path, unsigned char *text, size_t size, vocabulary *v)
{
    unsigned char *p, *const end = text + size, *stop, *next;
    int kind = LINE_RANK, scores = 1, pass;
    size_t line;
    uint64_t id;

    for (pass = 0; pass < 2; pass++) {   /* all lines are of one kind, or they are words */
        for (p = text, line = 0; p < end && !why->text[0]; p = next, line++) {
            unsigned char *newline = (unsigned char *)memchr(p, '\n', (size_t)(end - p));
            int own;
            stop = newline ? newline : end;
            next = newline ? newline + 1 : end;
            while (stop > p && stop[-1] == '\r')
                stop--;
            own = (pass == 0 && line < 256) || kind == LINE_RANK ? line_kind(p, stop, &id) : LINE_WORD;
            if (pass == 0) {
                kind = own == LINE_RANK && line < 256 ? kind : line < 256 ? LINE_WORD : kind;
                scores = scores && (own == LINE_SCORE || line >= 256);
                continue;
            }
            if (kind == LINE_RANK && own == LINE_RANK && id < v->count) {
                const unsigned char *gap = (const unsigned char *)memchr(p, ' ', (size_t)(stop - p));
                vocabulary_put(why, v, (size_t)id, p, base64_decode(p, (size_t)(gap - p), p));
            } else if (kind == LINE_RANK || line >= v->count) {
                trouble_set(why, "%s: line %zu: a word too many: the table has %zu rows", path, line + 1, v->count);
            } else if (scores) {
                vocabulary_put(why, v, line, p, (size_t)((unsigned char *)memchr(p, '\t', (size_t)(stop - p)) - p));
            } else if (stop > p) {
                vocabulary_put(why, v, line, p, (size_t)(stop - p));
            }
        }
        if (kind == LINE_WORD && scores && pass == 0)   /* a score may be missing further down */
            for (p = text; p < end && scores; p = stop + (stop < end)) {
                stop = (unsigned char *)memchr(p, '\n', (size_t)(end - p));
                stop = stop ? stop : end;
                scores = memchr(p, '\t', (size_t)(stop - p)) != NULL;
            }
    }
}

/* ---- SentencePiece's .model: a protocol buffer, pieces in field 1, their text in its field 1 -------- */

static uint64_t varint(const unsigned char **p, const unsigned char *end)
{
    uint64_t value = 0;
    unsigned shift = 0;

    while (*p < end && shift < 63) {
        const unsigned char byte = *(*p)++;
        value |= (uint64_t)(byte & 127u) << shift;
        shift += 7;
        if (byte < 128)
            return value;
    }
    *p = end;
    return 0;
}

/* The next field: its number and, of those with a length, its bytes. 0 at the end, or where it is no such file. */
static unsigned field(const unsigned char **p, const unsigned char *end, const unsigned char **data, size_t *length)
{
    const uint64_t tag = varint(p, end);
    uint64_t size = 0;

    *data = NULL;
    *length = 0;
    switch (tag & 7u) {
    case 0: (void)varint(p, end); break;
    case 1: size = 8; break;
    case 2: size = varint(p, end); break;
    case 5: size = 4; break;
    default: return 0;
    }
    if (size > (uint64_t)(end - *p))
        return 0;
    *data = *p;
    *length = (size_t)size;
    *p += size;
    return (unsigned)(tag >> 3) * ((tag & 7u) == 2 || (tag >> 3) != 1);
}

static void vocabulary_pieces(trouble *why, const char *path, const unsigned char *p, size_t size, vocabulary *v)
{
    const unsigned char *const end = p + size, *data, *inner, *word;
    size_t length, of_word, id = 0;
    unsigned number;

    while (p < end && !why->text[0]) {
        if ((number = field(&p, end, &data, &length)) == 0) {
            trouble_set(why, "%s: no vocabulary, or one of an unknown kind", path);
        } else if (number == 1 && id == v->count) {
            trouble_set(why, "%s: more words than the table's %zu rows", path, v->count);
        } else if (number == 1) {
            for (inner = data; inner < data + length && (number = field(&inner, data + length, &word, &of_word)) != 0;)
                if (number == 1)
                    vocabulary_put(why, v, id, word, of_word);
            id++;
        }
    }
}

/* ---- where words are ---------------------------------------------------------------------------- */

/* The words of `tokens` rows in a file's bytes, which are changed; none after a trouble. */
static vocabulary vocabulary_parse(trouble *why, const char *path, unsigned char *text, size_t size, size_t tokens)
{
    vocabulary v = {NULL, 0, 0, NULL, 0};
    size_t at = begins_with(text, size, "\xef\xbb\xbf", 3) ? 3 : 0, first = at;

    vocabulary_grow(why, &v, tokens);
    while (first < size && (text[first] == ' ' || (text[first] >= 9 && text[first] <= 13)))
        first++;
    if (why->text[0] || file_is_other(why, path, text, size))
        ;
    else if (ends_with(path, ".json") && first < size && (text[first] == '{' || text[first] == '['))
        vocabulary_json(why, path, text, size, &v);
    else if (ends_with(path, ".model") && text[0] == 10)
        vocabulary_pieces(why, path, text, size, &v);
    else
        vocabulary_lines(why, path, text + at, size - at, &v);
    if (why->text[0])
        vocabulary_close(&v);
    return v;
}

static vocabulary vocabulary_read(trouble *why, const char *path, size_t tokens)
{
    vocabulary v = {NULL, 0, 0, NULL, 0};
    const bytes text = read_file(why, path);

    if (text.data)
        v = vocabulary_parse(why, path, text.data, text.size, tokens);
    give(text.data);
    return v;
}

/* Those of a GGUF, of which the parser has found every string inside the file. */
static vocabulary vocabulary_of_gguf(trouble *why, const tensors *w, size_t tokens)
{
    vocabulary v = {NULL, 0, 0, NULL, 0};
    const unsigned char *p = w->data + w->words_at;
    uint64_t i;

    vocabulary_grow(why, &v, tokens);
    if (w->words > tokens)
        trouble_set(why, "%s: %llu words, but %zu rows", w->path, (unsigned long long)w->words, tokens);
    for (i = 0; i < w->words && !why->text[0]; i++) {
        const uint64_t length = get64(p);
        vocabulary_put(why, &v, (size_t)i, p + 8, (size_t)length);
        p += 8 + length;
    }
    if (why->text[0])
        vocabulary_close(&v);
    return v;
}

/* Those beside a file of tensors, in one of the files that models come with; none where there is no such file. */
static vocabulary vocabulary_beside_model(trouble *why, const char *path, size_t tokens)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json", "encoder.json", "vocab.txt", "tokenizer.model",
                                        "spiece.model"};
    char *folder = is_folder(path) ? text_copy(why, path, strlen(path)) : folder_of(why, path), *file, *more;
    vocabulary v = {NULL, 0, 0, NULL, 0};
    bytes text;
    size_t i;

    for (i = 0; i < sizeof names / sizeof *names && !v.count && folder && !why->text[0]; i++) {
        file = path_join(why, folder, names[i]);
        more = path_join(why, folder, "added_tokens.json");
        if (file && more && !file_missing(file)) {
            v = vocabulary_read(why, file, tokens);
            if (!why->text[0] && i && !file_missing(more)) {
                text = read_file(why, more);
                if (text.data)
                    vocabulary_json(why, more, text.data, text.size, &v);
                give(text.data);
            }
        }
        give(file);
        give(more);
    }
    give(folder);
    if (why->text[0])
        vocabulary_close(&v);
    return v;
}

/* Those of the rows of a table; none where nothing has them, and a trouble where what has them is damaged. */
SHARED vocabulary vocabulary_of_source(trouble *why, const source *s)
{
    vocabulary v = {NULL, 0, 0, NULL, 0}, part = {NULL, 0, 0, NULL, 0};
    size_t i, length;

    if (!s->t) {
        vocabulary_grow(why, &part, s->words.wordless ? 0 : s->rows);
        for (i = 0; i < part.count && !why->text[0]; i++) {
            const unsigned char *word = words_word(&s->words, s->first + i, &length);
            const int coded = s->words.base64 && begins_with(word, length, "B64:", 4);
            unsigned char *decoded = coded ? (unsigned char *)resize_or(why, NULL, length, 1) : NULL;
            const size_t text = decoded ? base64_decode(word + 4, length - 4, decoded) : NO_WORD;
            if (text != NO_WORD)
                vocabulary_put(why, &part, i, decoded, text);
            else
                vocabulary_put(why, &part, i, word, length);
            give(decoded);
        }
        return part;
    }
    for (i = 0; i < s->m.count && !v.count && !why->text[0]; i++)
        if (s->m.file[i].all.words)
            v = vocabulary_of_gguf(why, &s->m.file[i].all, s->whole);
    if (!v.count && !why->text[0] && ends_with(s->path, ".safetensors"))
        v = vocabulary_beside_model(why, s->path, s->whole);
    if (v.count && s->rows < s->whole) {
        vocabulary_grow(why, &part, s->rows);
        for (i = 0; i < part.count; i++)
            if (vocabulary_word(&v, s->first + i))
                vocabulary_put(why, &part, i, vocabulary_word(&v, s->first + i), strlen(vocabulary_word(&v, s->first + i)));
        vocabulary_close(&v);
        return part;
    }
    return v;
}

/* ---- which row is meant -------------------------------------------------------------------------- */

/* The word without what marks a space before it (or, in CLIP, its end); *length is that of the rest. */
static const char *word_stem(const char *word, size_t *length, int *spaced)
{
    static const char *const marks[] = {" ", "\xc4\xa0", "\xe2\x96\x81"};
    size_t i;

    *spaced = 0;
    for (i = 0; i < 3; i++)
        if (strncmp(word, marks[i], strlen(marks[i])) == 0 && word[strlen(marks[i])]) {
            *spaced = 1;
            word += strlen(marks[i]);
            break;
        }
    *length = strlen(word) - (ends_with(word, "</w>") && strlen(word) > 4 ? 4 : 0);
    return word;
}

/* The bytes of a text as the characters that byte-level BPE writes for them, in a new block. */
static char *byte_level(trouble *why, const char *text, size_t length)
{
    unsigned char *out = (unsigned char *)resize_or(why, NULL, 2 * length + 1, 1);
    size_t i, n = 0;

    for (i = 0; out && i < length; i++) {
        const uint32_t b = (unsigned char)text[i];
        const int plain = (b > 32 && b < 127) || (b > 160 && b != 173);
        n += utf8_put(out + n, plain ? b : b < 33 ? 256 + b : b < 161 ? 256 + b - 94 : 256 + 67);
    }
    if (out)
        out[n] = 0;
    return (char *)out;
}

/* The rows that a word may mean: `exact` the one that has it as it is written (or with another mark for the same space
   before it), else NO_WORD; `count` all with the same stem; `listed` says which, for messages. */
typedef struct {
    size_t exact, first, count;
    char listed[200];
} word_search;

static word_search vocabulary_find(trouble *why, const vocabulary *v, const char *name)
{
    word_search found = {NO_WORD, NO_WORD, 0, ""};
    size_t length, of_other, of_bytes, i;
    int spaced, other_spaced;
    const char *stem = word_stem(name, &length, &spaced);
    char *coded = byte_level(why, stem, length);

    of_bytes = coded ? strlen(coded) : 0;
    for (i = 0; i < v->count && coded; i++) {
        const char *word = vocabulary_word(v, i), *other;
        if (!word || !*word)
            continue;
        other = word_stem(word, &of_other, &other_spaced);
        if (!(of_other == length && memcmp(other, stem, length) == 0)
            && !(of_other == of_bytes && memcmp(other, coded, of_bytes) == 0))
            continue;
        if (found.exact == NO_WORD && (strcmp(word, name) == 0 || (spaced && other_spaced)))
            found.exact = i;
        if (found.count++ == 0)
            found.first = i;
        if (strlen(found.listed) < 140)
            add_text(found.listed, sizeof found.listed, found.count > 1 ? ", \"%.40s\" #%zu" : "\"%.40s\" #%zu", word, i);
    }
    give(coded);
    return found;
}

#endif /* VOCABULARY_H */
