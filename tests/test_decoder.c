/* test_decoder.c: the reader alone, as TT_EMBED_READ_ONLY and as TT_EMBED_DECODE_ONLY build it, against the whole
 * library: the same answers, rows bit for bit, also from damaged images. The last build is portable code alone, so
 * that vectors are compared with plain loops here.
 * Linked with: reader_fast.c reader_small.c
 */
#include "bodies.h"
#include "harness.h"
#include "tables.h"
#include "made.h"
#include "readers.h"

enum { BUILDS = 3, K = 5 };

static reader build_of(int n)
{
    const reader whole = READER_CALLS;
    return n == 0 ? whole : n == 1 ? read_only_build() : decode_only_build();
}

/* Whether two images say the same of themselves; DECODE_ONLY has no arithmetic on doubles, so no last bits. */
static int same_info(const tte_info *a, const tte_info *b)
{
    const double x[5] = {a->ratio, a->mean_numbers, a->rel_error, a->weighted_error, a->max_row_error};
    const double y[5] = {b->ratio, b->mean_numbers, b->rel_error, b->weighted_error, b->max_row_error};
    int same = a->vocab == b->vocab && a->dim == b->dim && a->bytes == b->bytes && a->layout == b->layout &&
               a->coding == b->coding && a->rank == b->rank && a->centroids == b->centroids &&
               a->classes == b->classes && a->effort == b->effort && a->shape.modes == b->shape.modes;
    for (int i = 0; i < 5; i++) same = same && (!(fabs(x[i]) < 1e30) || fabs(x[i] - y[i]) <= 1e-6 * fabs(x[i]));
    return same;
}

/* Opens the image by every build and compares all that they answer. */
static tte_status compare(const unsigned char *bytes, size_t size, int damaged)
{
    tte_status first = TTE_OK;
    float *rows[BUILDS] = {NULL, NULL, NULL}, *scores[BUILDS] = {NULL, NULL, NULL};
    tte_info info[BUILDS];
    for (int n = 0; n < BUILDS; n++) {
        const reader r = build_of(n);
        void *copy = test_copy(bytes, size);
        tte_table t;
        tte_status status = r.open(&t, copy, size);
        if (n == 0) first = status;
        CHECK(status == first);
        if (status == TTE_OK) {
            const float *row;
            float *h, *scratch, *again, best[K], inner;
            uint32_t tokens[40], top[K];
            size_t vocab, dim;
            CHECK(r.verify(&t) == TTE_OK || damaged);
            require(r.get_info(&t, &info[n]), "tte_get_info");
            vocab = info[n].vocab, dim = info[n].dim;
            CHECK(same_info(&info[0], &info[n]) && r.scratch_len(&t) <= 16 * dim + 1024);
            scratch = new_floats(r.scratch_len(&t)), rows[n] = new_floats(vocab * dim), scores[n] = new_floats(vocab);
            again = new_floats(40 * dim), h = new_floats(dim);
            for (size_t j = 0; j < dim; j++) h[j] = (float)((int)(j * 7 % 11) - 5) / 4;
            for (size_t i = 0; i < vocab; i++)
                CHECK_STATUS(r.lookup(&t, (uint32_t)i, rows[n] + i * dim, scratch), TTE_OK);
            CHECK(same_floats(rows[n], rows[0], vocab * dim));
            for (size_t i = 0; i < 40; i++) tokens[i] = (uint32_t)(i * 17 % (vocab > 0 ? vocab : 1));
            CHECK_STATUS(r.lookup_batch(&t, tokens, vocab > 0 ? 40 : 0, again, scratch), TTE_OK);
            for (size_t i = 0; i < 40 && vocab > 0; i++)
                CHECK(same_floats(again + i * dim, rows[0] + tokens[i] * dim, dim));
            CHECK_STATUS(r.logits(&t, h, 0, (uint32_t)vocab, scores[n], scratch), TTE_OK);
            for (size_t i = 0; i < vocab && !damaged; i++) {
                row = rows[0] + i * dim;
                CHECK_LE(fabs((double)scores[n][i] - (double)scores[0][i]),
                         1e-5 * norm(h, dim) * (norm(row, dim) + norm(rows[0], dim)));
                CHECK_STATUS(r.inner_tokens(&t, 0, (uint32_t)i, &inner, scratch), TTE_OK);
                CHECK_LE(fabs((double)inner - dot(rows[0], row, dim)), 1e-5 * norm(rows[0], dim) * norm(row, dim));
            }
            if (vocab >= K) {
                CHECK_STATUS(r.top_k(&t, h, K, top, best, scratch), TTE_OK);
                for (int i = 0; i < K && !damaged; i++) {
                    size_t ahead = 0; /* tokens that belong before this one */
                    for (size_t j = 0; j < vocab; j++)
                        ahead += scores[n][j] > best[i] || (scores[n][j] == best[i] && j < top[i]);
                    CHECK((int)ahead == i && best[i] == scores[n][top[i]]);
                }
            }
            CHECK_STATUS(r.lookup(&t, (uint32_t)vocab, again, scratch), TTE_ERR_RANGE);
            h[dim - 1] = float_from_bits(0x7F800000u);
            CHECK_STATUS(r.logits(&t, h, 0, (uint32_t)vocab, scores[n], scratch), TTE_ERR_NOT_FINITE);
            free(scratch), free(again), free(h);
        }
        free(copy);
    }
    for (int n = 0; n < BUILDS; n++) free(rows[n]), free(scores[n]);
    return first;
}

static void images_made_by_hand(void)
{
    for (int round = 0; round < (test.small ? 60 : 500); round++) {
        plan p = random_plan(round < 70 ? 1 + round : rng_int(1, 300), round % 30 == 0 ? 0 : rng_int(1, 150));
        tte_image image = write_image(&p);
        CHECK_STATUS(compare((unsigned char *)image.data, image.size, 0), TTE_OK);
        free(image.data);
    }
}

static void images_of_the_library_whole_and_damaged(void)
{
    fixture f = make_fixture(140);
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n, &f);
        tte_image image = make_image(f.table, f.vocab, DIM, &options);
        int opened = 0, rounds = test.small ? 40 : 400;
        CHECK_STATUS(compare((unsigned char *)image.data, image.size, 0), TTE_OK);
        for (int round = 0; round < rounds; round++) {
            unsigned char *copy = (unsigned char *)test_copy(image.data, image.size);
            size_t size = round % 10 == 0 ? (size_t)rng_int(0, (int)image.size - 1) : image.size;
            const int from = round % 3 ? (int)header_end(copy) : 0;
            for (int i = rng_int(1, round % 4 ? 3 : 100); i > 0; i--)
                copy[rng_int(from, (int)image.size - 1)] = (unsigned char)rng_int(0, 255);
            seal_image(copy, image.size, 1);
            opened += compare(copy, size, 1) == TTE_OK;
            free(copy);
        }
        CHECK(opened > rounds / 20);
        free(image.data);
    }
    free_fixture(&f);
}

static void trains_and_halves(void)
{
    static const int dims[3] = {4, 3, 5};
    static const int32_t ranks[4] = {1, 3, 4, 1};
    tte_shape shape = make_shape(3, dims);
    float *cores = random_floats(tte_core_len(&shape, ranks)), want[60], *scratch = new_floats(2000);
    uint16_t *bits = (uint16_t *)test_alloc(65536 * sizeof *bits);
    float *half[2];
    half[0] = new_floats(65536), half[1] = new_floats(65536);
    for (int i = 0; i < 65536; i++) bits[i] = (uint16_t)i;
    require(tte_reconstruct(&shape, ranks, cores, want, scratch), "tte_reconstruct");
    for (int n = 0; n < BUILDS; n++) {
        const reader r = build_of(n);
        float x[60], product = 0;
        CHECK_STATUS(r.reconstruct(&shape, ranks, cores, x, scratch), TTE_OK);
        CHECK_LE(distance(x, want, 60), 1e-6 * norm(want, 60));
        CHECK_STATUS(r.inner(&shape, ranks, cores, ranks, cores, &product, scratch), TTE_OK);
        CHECK_LE(fabs((double)product - dot(want, want, 60)), 1e-6 * dot(want, want, 60));
        for (int brain = 0; brain < 2; brain++) {
            float *out = new_floats(65536);
            (brain ? r.from_bf16 : r.from_f16)(bits, 65536, out);
            if (n == 0) memcpy(half[brain], out, 65536 * sizeof *out);
            CHECK(same_floats(out, half[brain], 65536));
            free(out);
        }
        for (int status = 0; status < 14; status++)
            CHECK(*r.status_text((tte_status)status) != 0); /* reading does not give all of them */
    }
    free(cores), free(scratch), free(bits), free(half[0]), free(half[1]);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_decoder");
    RUN(images_made_by_hand);
    RUN(images_of_the_library_whole_and_damaged);
    RUN(trains_and_halves);
    return test_end();
}
