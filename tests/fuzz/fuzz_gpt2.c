/* fuzz_gpt2.c: the files of a model beside its tensors, as examples/gpt2.h reads them. An input has a
 * vocab.json, a merges.txt and a text; or a config.json. What is refused ends in one line that says why.
 * With a vocabulary that is not, any text becomes ids of that vocabulary, and they become the text again,
 * byte for byte. */
#define TT_EMBED_DECODE_ONLY
#include "../bodies.h"
#include "../harness.h"
#define FUZZ_NAME "fuzz_gpt2"
#include "fuzz.h"

#include "../gpt2_caught.h"

/* ---- using an input ---------------------------------------------------------------------------------- */

enum { TOKENIZER, CONFIG, WHATS, HEAD = 7 };  /* bytes before the files: what, vocab, two lengths */

typedef struct parts {
    int what;
    size_t vocab;
    bytes words, merges, text;  /* CONFIG: words is the file */
} parts;

/* A file ends with a zero byte that is none of it; a text is read from a block of its own size. */
static bytes part_of(fuzz_input *in, size_t size, int is_file)
{
    bytes part;
    part.size = size < in->left ? size : in->left;
    part.data = (unsigned char *)test_alloc(part.size + (size_t)is_file);
    if (part.size > 0) memcpy(part.data, in->bytes, part.size);
    if (is_file) part.data[part.size] = 0;
    in->bytes += part.size, in->left -= part.size;
    return part;
}

static void round_trip(const tokenizer *t, bytes text)
{
    size_t count = 0;
    uint32_t *ids = encode(t, text, &count);
    bytes back;
    CHECK(count <= text.size && (count > 0 || text.size == 0));
    for (size_t i = 0; i < count; i++)
        if (!CHECK(ids[i] < t->vocab && t->token[ids[i]].size > 0))
            return;
    back = decode(t, ids, count);
    CHECK(back.size == text.size && memcmp(back.data, text.data, text.size) == 0);
    give(ids), give(back.data);
}

static void use_tokenizer(const parts *p)
{
    static unsigned char kinds[CLASSES_END];  /* the same each time */
    tokenizer t;
    if (kinds[' '] != SPACE) {
        unsigned char *made = make_kinds();
        memcpy(kinds, made, sizeof kinds);
        give(made);
    }
    memset(&t, 0, sizeof t);
    t.vocab = (uint32_t)p->vocab;
    read_vocab(&t, "vocab.json", p->words, NULL);
    read_merges(&t, "merges.txt", p->merges);
    t.kind = kinds;
    round_trip(&t, p->text);
    for (uint32_t id = 0; id < t.vocab; id++)
        if (t.token[id].size > 0)
            round_trip(&t, t.token[id]);
    t.kind = NULL;
    tokenizer_give(&t);
}

static void use_config(const parts *p)
{
    model m;
    memset(&m, 0, sizeof m);
    m.layers = 2, m.width = 128, m.context = 64, m.vocab = p->vocab;
    model_config(&m, "config.json", p->words);
    CHECK(m.heads > 0 && m.width % m.heads == 0);
    CHECK(m.epsilon > 0 && m.epsilon < 1);
}

static void fuzz_one(const unsigned char *data, size_t size)
{
    static parts p;  /* outlives the jump */
    fuzz_input in;
    size_t words, merges;
    in.bytes = data, in.left = size;
    p.what = fuzz_take_int(&in, 0, WHATS - 1);
    p.vocab = (size_t)fuzz_take(&in, 2) % 1000 + 1;
    words = (size_t)fuzz_take(&in, 2), merges = (size_t)fuzz_take(&in, 2);
    p.words = part_of(&in, p.what == TOKENIZER ? words : in.left, 1);
    p.merges = part_of(&in, merges, 1);
    p.text = part_of(&in, in.left, 0);
    why[0] = first_trouble.text[0] = 0;
    if (setjmp(after_fail) == 0) {
        if (p.what == TOKENIZER) use_tokenizer(&p);
        if (p.what == CONFIG) use_config(&p);
        CHECK(blocks.link.after == NULL && first_trouble.text[0] == 0);
    } else {
        CHECK(why[0] != 0 && memchr(why, 0, sizeof why) != NULL);
        give_all();
    }
    free(p.words.data), free(p.merges.data), free(p.text.data);
}

/* ---- inputs ---------------------------------------------------------------------------------------------- */

/* A byte in the characters of vocab.json; within JSON a quote and a backslash have a backslash before them. */
static size_t put_byte(unsigned char *out, unsigned char byte, int in_json)
{
    const uint32_t c = byte_to_char(byte);
    size_t size = 0;
    if (in_json && rng_int(0, 40) == 0)
        return (size_t)sprintf((char *)out, "\\u%04x", (unsigned)c);
    if (in_json && (c == '"' || c == '\\')) out[size++] = '\\';
    return size + utf8_put(out + size, c);
}

static size_t put_piece(unsigned char *out, bytes piece, int in_json)
{
    size_t size = 0;
    for (size_t i = 0; i < piece.size; i++)
        size += put_byte(out + size, piece.data[i], in_json);
    return size;
}

/* All single bytes, then pieces joined of two that are there, mostly of letters that texts have. */
static size_t make_vocabulary(unsigned char *words, unsigned char *merges, size_t *vocab, size_t *merges_size)
{
    static unsigned char piece[400][16];
    static const char likely[] = "the in g's 12 \xC3\xA9\n";
    size_t sizes[400], count = 256, size = 1, of_merges = 0;
    const int joins = rng_int(0, 120);
    words[0] = '{';
    if (rng_int(0, 1)) of_merges += (size_t)sprintf((char *)merges, "#version: 0.2\n");
    for (size_t i = 0; i < 256; i++)
        piece[i][0] = (unsigned char)i, sizes[i] = 1;
    for (int n = 0; n < joins; n++) {
        size_t part[2], i = 0;
        bytes halves[2];
        for (int k = 0; k < 2; k++) {
            part[k] = count > 256 && rng_int(0, 1) ? 256 + (size_t)rng_int(0, (int)count - 257)
                : (size_t)(unsigned char)likely[rng_int(0, (int)sizeof likely - 2)];
            halves[k].data = piece[part[k]], halves[k].size = sizes[part[k]];
        }
        sizes[count] = halves[0].size + halves[1].size;
        if (sizes[count] > sizeof piece[0]) continue;
        memcpy(piece[count], halves[0].data, halves[0].size);
        memcpy(piece[count] + halves[0].size, halves[1].data, halves[1].size);
        while (i < count && (sizes[i] != sizes[count] || memcmp(piece[i], piece[count], sizes[i]) != 0))
            i++;
        if (i == count) count++;  /* else another way to the same piece */
        of_merges += put_piece(merges + of_merges, halves[0], 0);
        merges[of_merges++] = ' ';
        of_merges += put_piece(merges + of_merges, halves[1], 0);
        if (rng_int(0, 20) == 0) merges[of_merges++] = '\r';
        merges[of_merges++] = '\n';
    }
    for (size_t i = 0; i < count; i++) {
        bytes one;
        one.data = piece[i], one.size = sizes[i];
        size += (size_t)sprintf((char *)words + size, "%s\"", i > 0 ? ", " : "");
        size += put_piece(words + size, one, 1);
        size += (size_t)sprintf((char *)words + size, "\": %d", (int)i);
    }
    words[size++] = '}';
    *vocab = count, *merges_size = of_merges;
    return size;
}

static size_t make_text_of_words(unsigned char *out)
{
    static const char *const some[] = {"the", " then", "ing", "'s", "'re", "'LL", " ", "  ", "\n", "\t \n", "12",
                                       "\xC3\xA9t\xC3\xA9", "\xE4\xBD\xA0", "\xF0\x9F\x98\x80", "\xC2\xA0",
                                       "\xED\xA0\x80", "\xFF", "\xC3", "...", "nnnnnnnnnnnnnnnnnnnnn"};
    size_t size = 0;
    for (int n = rng_int(0, 30); n > 0; n--) {
        const char *word = some[rng_int(0, 19)];
        if (rng_int(0, 9) == 0) {
            out[size++] = (unsigned char)rng_int(0, 255);
        } else {
            memcpy(out + size, word, strlen(word));
            size += strlen(word);
        }
    }
    return size;
}

static size_t make_settings(unsigned char *out, size_t vocab)
{
    return (size_t)sprintf((char *)out, "{\"n_head\": %d, \"n_embd\": 128, \"n_layer\": 2, \"n_positions\": 64,"
                           "\"vocab_size\": %d, \"layer_norm_epsilon\": 1e-0%d, \"activation_function\": \"%s\"}",
                           1 << rng_int(0, 7), (int)vocab, rng_int(0, 8), rng_int(0, 3) ? "gelu_new" : "relu");
}

static size_t fuzz_make(unsigned char *out, size_t capacity)
{
    static unsigned char words[1 << 15], merges[1 << 14];
    size_t vocab = (size_t)rng_int(1, 40), of_words, of_merges = 0, size = HEAD;
    const int what = rng_int(0, 5) < 5 ? TOKENIZER : CONFIG;
    of_words = what == CONFIG ? make_settings(words, vocab)
        : make_vocabulary(words, merges, &vocab, &of_merges);
    if (what == TOKENIZER) vocab += (size_t)rng_int(0, 1);  /* an id that nothing has */
    for (int n = rng_int(0, 1) ? rng_int(1, 3) : 0; n > 0; n--)
        if (what == TOKENIZER && rng_int(0, 1))
            of_merges = fuzz_change(merges, of_merges, sizeof merges, words, of_words);
        else
            of_words = fuzz_change(words, of_words, sizeof words, merges, of_merges);
    if (capacity < HEAD + of_words + of_merges + 1000)
        return 0;
    out[0] = (unsigned char)what;
    put_number(out + 1, 2, vocab - 1), put_number(out + 3, 2, of_words), put_number(out + 5, 2, of_merges);
    memcpy(out + size, words, of_words), size += of_words;
    memcpy(out + size, merges, of_merges), size += of_merges;
    if (what == TOKENIZER) size += make_text_of_words(out + size);
    return size;
}
