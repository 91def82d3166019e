/* test_threads.c: many readers of one view, and the same bytes from any number of OpenMP's threads.
 * Needs POSIX threads. The readers are for ThreadSanitizer as well:
 *     clang -std=c99 -g -O1 -fsanitize=thread -DTT_EMBED_STATIC -pthread tests/test_threads.c -lm
 * (STATIC leaves out functions in two versions, whose choice runs before the sanitizer does). It does not
 * know gcc's OpenMP; built with that, images are compared instead. */
#define _XOPEN_SOURCE 700
#include <pthread.h>

/* Its threads compress, too, which a heap that counts would not bear. */
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#include "harness.h"
#include "tables.h"

/* Both layouts in every coding; adapted ranks where they are a matter of each row. */
enum { KINDS = 4 + 4 + 5, VOCAB = 150, DIM = 21 };

static tte_options kind_options(int kind)
{
    static const int dims[3] = {3, 4, 2};
    tte_shape shape = make_shape(3, dims);
    tte_options options = make_options((tte_coding)(kind % 4), kind < 4 ? 2 : 0, kind < 4 ? 0 : 0.5f,
                                       &shape);
    if (kind >= 8) {
        options = make_options((tte_coding)(kind - 8), 0, 0.2f, NULL);
        options.layout = TTE_PER_TABLE;
    }
    return options;
}

/* ---- readers ----------------------------------------------------------------------------------- */

enum { READERS = 4, BATCH = 40, K = 7 };

/* All answers of one view: rows, a batch, products, scores, the best; info and checksums. */
typedef struct answers {
    float rows[VOCAB * DIM], batch[BATCH * DIM], inner[VOCAB], scores[VOCAB], best_scores[K];
    uint32_t best[K];
    tte_info info;
} answers;

typedef struct reader {
    const tte_table *t;
    const answers *want;   /* NULL: the first to read */
    int number, bad;
    answers got;
} reader;

static void *read_all(void *user)
{
    reader *r = (reader *)user;
    answers *a = &r->got;
    float *scratch = (float *)malloc(tte_scratch_len(r->t) * sizeof(float)), query[DIM];
    uint32_t tokens[BATCH];
    memset(a, 0, sizeof *a);
    for (int j = 0; j < DIM; j++)
        query[j] = (float)(j % 5) - 1.5f;
    for (uint32_t i = 0; i < BATCH; i++)
        tokens[i] = i * 61 % VOCAB;
    r->bad = scratch == NULL;
    for (int round = 0; round < (test.small ? 2 : 20) && !r->bad; round++) {
        for (uint32_t i = 0; i < VOCAB; i++) { /* each begins elsewhere */
            const uint32_t token = (i + (uint32_t)r->number * 37) % VOCAB;
            r->bad |= tte_lookup(r->t, token, a->rows + token * DIM, scratch) != TTE_OK;
            r->bad |= tte_inner_tokens(r->t, token, (token + 1) % VOCAB, &a->inner[token],
                                       scratch) != TTE_OK;
        }
        r->bad |= tte_lookup_batch(r->t, tokens, BATCH, a->batch, scratch) != TTE_OK;
        r->bad |= tte_logits(r->t, query, 0, VOCAB, a->scores, scratch) != TTE_OK;
        r->bad |= tte_top_k(r->t, query, K, a->best, a->best_scores, scratch) != TTE_OK;
        r->bad |= tte_verify(r->t) != TTE_OK || tte_get_info(r->t, &a->info) != TTE_OK;
        r->bad |= r->want != NULL && memcmp(a, r->want, sizeof *a) != 0;
    }
    free(scratch);
    return NULL;
}

static void readers_share_a_view(void)
{
    float *table = mixed_table(VOCAB, DIM);
    reader *readers = (reader *)test_alloc((READERS + 1) * sizeof *readers);
    for (int kind = 0; kind < KINDS; kind++) {
        tte_options options = kind_options(kind);
        tte_image image = make_image(table, VOCAB, DIM, &options);
        tte_table t = open_image(&image);
        pthread_t threads[READERS];
        readers[READERS].t = &t, readers[READERS].want = NULL, readers[READERS].number = 0;
        (void)read_all(&readers[READERS]);
        CHECK(!readers[READERS].bad);
        for (int n = 0; n < READERS; n++) {
            readers[n].t = &t, readers[n].want = &readers[READERS].got, readers[n].number = n;
            if (!CHECK(pthread_create(&threads[n], NULL, read_all, &readers[n]) == 0))
                exit(2);
        }
        for (int n = 0; n < READERS; n++) {
            CHECK(pthread_join(threads[n], NULL) == 0);
            CHECK(!readers[n].bad);
        }
        free(image.data);
    }
    free(readers), free(table);
}

/* ---- writers ------------------------------------------------------------------------------------- */

typedef struct writer { const float *table; tte_image image; int kind, bad; } writer;

static void *compress_one(void *user)
{
    writer *w = (writer *)user;
    tte_options options = kind_options(w->kind);
    w->bad = tte_compress(w->table, VOCAB, DIM, &options, &w->image) != TTE_OK;
    return NULL;
}

static void writers_share_nothing(void)
{
    float *table = mixed_table(VOCAB, DIM);
    for (int kind = 0; kind < KINDS; kind++) {
        writer w[3];
        pthread_t threads[2];
        for (int n = 0; n < 3; n++)
            w[n].table = table, w[n].kind = kind;
        (void)compress_one(&w[2]);
        for (int n = 0; n < 2; n++)
            if (!CHECK(pthread_create(&threads[n], NULL, compress_one, &w[n]) == 0))
                exit(2);
        for (int n = 0; n < 2; n++)
            CHECK(pthread_join(threads[n], NULL) == 0);
        for (int n = 0; n < 3; n++)
            if (CHECK(!w[n].bad && !w[2].bad))
                CHECK(same_image(&w[n].image, &w[2].image));
        for (int n = 0; n < 3; n++)
            if (!w[n].bad)
                tte_free(&w[n].image);
    }
    free(table);
}

/* ---- OpenMP --------------------------------------------------------------------------------------- */

#ifdef _OPENMP

/* Every way to an image, with 1, 2, 3 and 8 threads. */
static void same_bytes_from_any_number(void)
{
    static const int threads[4] = {1, 2, 3, 8};
    const size_t vocab = test.small ? 1100 : 2200;
    const int before = omp_get_max_threads();
    float *table = mixed_table(vocab, DIM);
    for (int kind = 0; kind < KINDS; kind++)
        for (int call = 0; call < 4; call++) {
            tte_options options = kind_options(kind);
            tte_image base = make_image(table, vocab, DIM, &options), first = {NULL, 0};
            tte_table t[2];
            t[0] = t[1] = open_image(&base);
            for (int n = 0; n < 4; n++) {
                tte_image image = sentinel_image();
                tte_status status;
                omp_set_num_threads(threads[n]);
                status = call == 0 ? tte_compress(table, vocab, DIM, &options, &image)
                       : call == 1 ? tte_append(t, table, 300, &image)
                       : call == 2 ? tte_recode(t, t->coding == TTE_F32 ? TTE_I8 : TTE_F32, &image)
                                   : tte_merge(t, 2, &image);
                if (!CHECK_STATUS(status, TTE_OK))
                    continue;
                CHECK(n == 0 || same_image(&image, &first));
                if (n == 0)
                    first = image;
                else
                    tte_free(&image);
            }
            tte_free(&first);
            free(base.data);
            omp_set_num_threads(before);
        }
    free(table);
}

#endif

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_threads");
    RUN(readers_share_a_view);
    RUN(writers_share_nothing);
#ifdef _OPENMP
    RUN(same_bytes_from_any_number);
#endif
    return test_end();
}
