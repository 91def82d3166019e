/* test_decoder.c: the reading side alone, as on a device, on the golden images. Under this macro the
 * library has some bodies of its own, so that it is tested and not only compiled. */
#define TT_EMBED_DECODE_ONLY
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "harness.h"
#include "tables.h"
#include "golden.h"

enum { VOCAB = GOLDEN_VOCAB, DIM = GOLDEN_DIM };

typedef struct opened {
    void *bytes;
    tte_table t;
    float *rows, *scratch;
} opened;

static opened open_golden(int kind)
{
    opened g;
    size_t size = 0;
    g.bytes = golden_bytes(kind, &size);
    if (g.bytes == NULL)
        exit(2);
    require(tte_open(&g.t, g.bytes, size), "tte_open");
    CHECK_STATUS(tte_verify(&g.t), TTE_OK);
    g.rows = lookup_all(&g.t);
    g.scratch = new_scratch(&g.t);
    return g;
}

static void close_golden(opened *g) { free(g->scratch), free(g->rows), free(g->bytes); }

static void rows_of_the_table(void)
{
    float *table = golden_table();
    for (int kind = 0; kind < GOLDEN_ALL; kind++) {
        opened g = open_golden(kind);
        tte_info info = get_info(&g.t);
        errors e = measure(table, g.rows, VOCAB, DIM);
        int of_table = kind >= GOLDEN_KINDS;
        CHECK(info.vocab == VOCAB && info.dim == DIM);
        CHECK(info.layout == (of_table ? TTE_PER_TABLE : TTE_PER_TOKEN));
        if (!of_table)
            CHECK((int)info.coding == kind % 4);
        else
            CHECK((int)info.coding == (kind < GOLDEN_KINDS + 4 ? kind - GOLDEN_KINDS : TTE_ENTROPY));
        CHECK_LE(fabs(e.whole - info.rel_error), 1e-5);
        if (!of_table) { /* its row of zeros has no relative error, and comes back as something small */
            CHECK_LE(fabs(e.worst - info.max_row_error), 1e-5);
            CHECK_LE(e.worst, golden_bound(kind));
        }
        CHECK_LE(fabs(info.ratio * (double)info.bytes - 4.0 * (double)(VOCAB * DIM)), 1e-3);
        close_golden(&g);
    }
    free(table);
}

static void rows_as_recorded(void)
{
    for (int kind = 0; kind < GOLDEN_ALL; kind++) {
        opened g = open_golden(kind);
        check_golden_rows(kind, g.rows);
        close_golden(&g);
    }
}

static void all_ways_of_reading_agree(void)
{
    for (int kind = 0; kind < GOLDEN_ALL; kind++) {
        opened g = open_golden(kind);
        float *query = random_floats(DIM), *out = new_floats(VOCAB), *batch = new_floats(VOCAB * DIM);
        uint32_t tokens[VOCAB];
        double longest = 0; /* what rounding of a sum is relative to */
        for (uint32_t i = 0; i < VOCAB; i++) {
            tokens[i] = i * 7 % VOCAB;
            longest = fmax(longest, norm(g.rows + i * DIM, DIM));
        }
        CHECK_STATUS(tte_lookup_batch(&g.t, tokens, VOCAB, batch, g.scratch), TTE_OK);
        CHECK_STATUS(tte_logits(&g.t, query, 0, VOCAB, out, g.scratch), TTE_OK);
        for (size_t i = 0; i < VOCAB; i++) {
            const float *row = g.rows + i * DIM, *other = g.rows + tokens[i] * DIM;
            float product = -7;
            CHECK(memcmp(batch + i * DIM, other, DIM * sizeof(float)) == 0);
            CHECK_LE(fabs((double)out[i] - dot(row, query, DIM)),
                     (1e-5 * norm(row, DIM) + 1e-6 * longest) * norm(query, DIM));
            CHECK_STATUS(tte_inner_tokens(&g.t, (uint32_t)i, tokens[i], &product, g.scratch), TTE_OK);
            CHECK_LE(fabs((double)product - dot(row, other, DIM)), 1e-5 * norm(row, DIM) * norm(other, DIM));
        }
        for (uint32_t k = 1; k <= VOCAB; k += 13) {
            uint32_t best[VOCAB];
            float scores[VOCAB];
            CHECK_STATUS(tte_top_k(&g.t, query, k, best, scores, g.scratch), TTE_OK);
            for (uint32_t i = 0; i < k; i++) {
                size_t ahead = 0; /* tokens that belong before this one */
                for (uint32_t j = 0; j < VOCAB; j++)
                    ahead += out[j] > out[best[i]] || (out[j] == out[best[i]] && j < best[i]);
                CHECK(ahead == i && scores[i] == out[best[i]]);
            }
        }
        free(query), free(out), free(batch);
        close_golden(&g);
    }
}

static void a_single_train(void)
{
    static const int dims[3] = {2, 3, 2};
    static const int32_t ranks[4] = {1, 2, 2, 1};
    tte_shape shape = make_shape(3, dims);
    float *cores = random_floats(4 + 12 + 4), *scratch = new_floats(tte_reconstruct_len(&shape, ranks));
    float *room = new_floats(2 * 4), x[12], product = 0;
    CHECK(tte_core_len(&shape, ranks) == 20);
    CHECK_STATUS(tte_reconstruct(&shape, ranks, cores, x, scratch), TTE_OK);
    for (int i = 0; i < 12; i++) { /* G1[i1, a] G2[a, i2, b] G3[b, i3], written out */
        double sum = 0;
        for (int a = 0; a < 2; a++)
            for (int b = 0; b < 2; b++)
                sum += (double)cores[i / 6 * 2 + a] * (double)cores[4 + (a * 3 + i / 2 % 3) * 2 + b]
                     * (double)cores[16 + b * 2 + i % 2];
        CHECK_LE(fabs((double)x[i] - sum), 1e-5);
    }
    CHECK_STATUS(tte_inner(&shape, ranks, cores, ranks, cores, &product, room), TTE_OK);
    CHECK_LE(fabs((double)product - dot(x, x, 12)), 1e-5 * dot(x, x, 12));
    free(cores), free(scratch), free(room);
}

static void not_finite(void)
{
    opened g = open_golden(0);
    float *query = random_floats(DIM), out[VOCAB], scores[2];
    uint32_t tokens[2];
    for (int i = 0; i < 3 * DIM; i++) {
        float kept = query[i / 3];
        query[i / 3] = float_from_bits(i % 3 == 0 ? 0x7FC00000u : i % 3 == 1 ? 0x7F800000u : 0xFF800000u);
        CHECK_STATUS(tte_logits(&g.t, query, 0, VOCAB, out, g.scratch), TTE_ERR_NOT_FINITE);
        CHECK_STATUS(tte_top_k(&g.t, query, 2, tokens, scores, g.scratch), TTE_ERR_NOT_FINITE);
        query[i / 3] = kept;
    }
    free(query);
    close_golden(&g);
}

static void out_of_range(void)
{
    opened g = open_golden(4);
    float row[DIM], out[4], product = -7;
    uint32_t bad[2] = {0, VOCAB};
    memset(row, 0xA5, sizeof row);
    CHECK_STATUS(tte_lookup(&g.t, VOCAB, row, g.scratch), TTE_ERR_RANGE);
    CHECK_STATUS(tte_lookup_batch(&g.t, bad, 2, row, g.scratch), TTE_ERR_RANGE);
    CHECK_STATUS(tte_inner_tokens(&g.t, VOCAB, 0, &product, g.scratch), TTE_ERR_RANGE);
    CHECK_STATUS(tte_logits(&g.t, g.rows, VOCAB - 1, 2, out, g.scratch), TTE_ERR_RANGE);
    CHECK_STATUS(tte_lookup(&g.t, 0, NULL, g.scratch), TTE_ERR_ARGUMENT);
    CHECK(is_untouched(row, sizeof row) && product == -7);
    close_golden(&g);
}

static void damaged_bytes(void)
{
    for (int kind = 0; kind < GOLDEN_ALL; kind++) {
        size_t size = 0;
        unsigned char *bytes = (unsigned char *)golden_bytes(kind, &size);
        tte_table t;
        for (size_t cut = 0; bytes != NULL && cut < size; cut += 1 + cut / 50) {
            void *part = test_copy(bytes, cut);
            CHECK(tte_open(&t, part, cut) != TTE_OK);
            free(part);
        }
        for (int round = 0; bytes != NULL && round < 3000; round++) {
            unsigned char *copy = (unsigned char *)test_copy(bytes, size);
            for (int n = rng_int(1, 6); n > 0; n--)
                copy[rng_int(round % 2 ? 300 : 0, (int)size - 1)] = (unsigned char)(rng_next() & 0xFF);
            if (tte_open(&t, copy, size) == TTE_OK)
                use_everything(&t);
            free(copy);
        }
        free(bytes);
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_decoder");
    RUN(rows_of_the_table);
    RUN(rows_as_recorded);
    RUN(all_ways_of_reading_agree);
    RUN(a_single_train);
    RUN(not_finite);
    RUN(out_of_range);
    RUN(damaged_bytes);
    return test_end();
}
