/* expect.c: what firmware that reads a table must find in it. Runs on the host.
 *
 *     expect TABLE.tte EXPECTED.h
 *
 * EXPECTED.h holds a few tokens with their rows, a vector, and the five tokens with the largest scores for
 * that vector, as the full library reads them. All floats are given as their bits. Prints the table's bytes
 * and relative error.
 */
#define TT_EMBED_IMPLEMENTATION
#include "../../tt_embed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 8, BEST = 5 };

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "expect: %s: %s\n", what, why);
    exit(1);
}

static void require(const char *what, tte_status status)
{
    if (status != TTE_OK)
        fail(what, tte_status_text(status));
}

static float *new_floats(size_t count)
{
    float *p = (float *)calloc(count, sizeof *p);
    if (p == NULL)
        fail("memory", "not enough");
    return p;
}

static void write_floats(FILE *out, const char *name, const float *x, size_t count)
{
    size_t i;
    fprintf(out, "static const uint32_t %s[%lu] = {", name, (unsigned long)count);
    for (i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        fprintf(out, "%s0x%08lx,", i % 8 == 0 ? "\n    " : " ", (unsigned long)bits);
    }
    fputs("\n};\n", out);
}

static void write_tokens(FILE *out, const char *name, const uint32_t *tokens, size_t count)
{
    size_t i;
    fprintf(out, "static const uint32_t %s[%lu] = {", name, (unsigned long)count);
    for (i = 0; i < count; i++)
        fprintf(out, "%s%lu", i == 0 ? "" : ", ", (unsigned long)tokens[i]);
    fputs("};\n", out);
}

/* The row of a token less the mean of all rows, as the vector to score: the first such vector whose best
 * tokens are so far apart that rounding cannot change their order. Returns that token. */
static uint32_t choose_vector(const tte_table *t, uint32_t vocab, size_t dim, float *vector, uint32_t *best,
                              float *scores, float *scratch)
{
    float *mean = new_floats(dim);
    uint32_t token;
    size_t i;
    for (token = 0; token < vocab; token++) {
        require("tte_lookup", tte_lookup(t, token, vector, scratch));
        for (i = 0; i < dim; i++)
            mean[i] += vector[i] / (float)vocab;
    }
    for (token = vocab / 2; token < vocab; token++) {
        require("tte_lookup", tte_lookup(t, token, vector, scratch));
        for (i = 0; i < dim; i++)
            vector[i] -= mean[i];
        require("tte_top_k", tte_top_k(t, vector, BEST + 1, best, scores, scratch));
        for (i = 0; i < BEST && scores[i] - scores[i + 1] > 1e-3f * scores[0]; i++)
            ;
        if (i == BEST)
            break;
    }
    if (token == vocab)
        fail("scores", "no vector has five best tokens that are clearly apart");
    free(mean);
    return token;
}

int main(int argc, char **argv)
{
    tte_image image;
    tte_table t;
    tte_info info;
    uint32_t tokens[TOKENS], best[BEST + 1], like;
    float scores[BEST + 1], *rows, *vector, *scratch;
    size_t i;
    FILE *out;

    if (argc != 3)
        fail("usage", "expect TABLE.tte EXPECTED.h");
    require(argv[1], tte_load(argv[1], &image, &t));
    require(argv[1], tte_get_info(&t, &info));
    if (info.vocab < TOKENS)
        fail(argv[1], "fewer than eight rows");
    rows = new_floats(TOKENS * info.dim);
    vector = new_floats(info.dim);
    scratch = new_floats(tte_scratch_len(&t));
    for (i = 0; i < TOKENS; i++) { /* from the first to the last */
        tokens[i] = (uint32_t)(i * (info.vocab - 1) / (TOKENS - 1));
        require("tte_lookup", tte_lookup(&t, tokens[i], rows + i * info.dim, scratch));
    }
    like = choose_vector(&t, (uint32_t)info.vocab, info.dim, vector, best, scores, scratch);

    out = fopen(argv[2], "w");
    if (out == NULL)
        fail(argv[2], strerror(errno));
    fputs("/* Written by expect.c: what the host reads from the table. Floats are given as their bits. */\n"
          "#include <stdint.h>\n\nenum {\n", out);
    fprintf(out, "    EXPECTED_BYTES = %lu,\n    EXPECTED_VOCAB = %lu,\n",
            (unsigned long)info.bytes, (unsigned long)info.vocab);
    fprintf(out, "    EXPECTED_DIM = %lu,\n    EXPECTED_NUMBERS = %lu, /* of a row: coefficients, or core entries */\n",
            (unsigned long)info.dim,
            (unsigned long)(info.layout == TTE_PER_TABLE ? info.rank : (int32_t)(info.mean_numbers + 0.5)));
    fprintf(out, "    EXPECTED_TOKENS = %d,\n    EXPECTED_BEST = %d\n};\n", TOKENS, BEST);
    write_tokens(out, "expected_tokens", tokens, TOKENS);
    write_floats(out, "expected_rows", rows, TOKENS * info.dim);
    fprintf(out, "/* The row of token %lu, less the mean row. */\n", (unsigned long)like);
    write_floats(out, "expected_vector", vector, info.dim);
    write_tokens(out, "expected_best", best, BEST);
    write_floats(out, "expected_scores", scores, BEST);
    if (ferror(out) != 0 || fclose(out) != 0)
        fail(argv[2], "cannot be written");
    printf("%lu %.4f\n", (unsigned long)info.bytes, info.rel_error);
    free(rows), free(vector), free(scratch);
    tte_free(&image);
    return 0;
}
