/* test_threads.c: many readers of one view, writers beside each other, and the same bytes from any number of
 * OpenMP's threads. Needs POSIX threads. The first two are for ThreadSanitizer as well:
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

#ifdef _OPENMP
#include <omp.h>
#endif

enum { READERS = 4, VOCAB = 150, BATCH = 40, K = 7 };

/* All answers of one view. */
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
    tte_table again;
    memset(a, 0, sizeof *a);
    for (int j = 0; j < DIM; j++) query[j] = (float)(j % 5) - 1.5f;
    for (uint32_t i = 0; i < BATCH; i++) tokens[i] = i * 61 % VOCAB;
    r->bad = scratch == NULL;
    for (int round = 0; round < (test.small ? 2 : 20) && !r->bad; round++) {
        for (uint32_t i = 0; i < VOCAB; i++) { /* each begins elsewhere */
            const uint32_t token = (i + (uint32_t)r->number * 37) % VOCAB;
            r->bad |= tte_lookup(r->t, token, a->rows + token * DIM, scratch) != TTE_OK;
            r->bad |= tte_inner_tokens(r->t, token, (token + 1) % VOCAB, &a->inner[token], scratch) != TTE_OK;
        }
        r->bad |= tte_lookup_batch(r->t, tokens, BATCH, a->batch, scratch) != TTE_OK;
        r->bad |= tte_logits(r->t, query, 0, VOCAB, a->scores, scratch) != TTE_OK;
        r->bad |= tte_top_k(r->t, query, K, a->best, a->best_scores, scratch) != TTE_OK;
        r->bad |= tte_open(&again, r->t->data, r->t->size) != TTE_OK;
        r->bad |= tte_verify(r->t) != TTE_OK || tte_get_info(r->t, &a->info) != TTE_OK;
        r->bad |= r->want != NULL && memcmp(a, r->want, sizeof *a) != 0;
    }
    free(scratch);
    return NULL;
}

static void readers_share_a_view(void)
{
    fixture f = make_fixture(VOCAB);
    reader *readers = (reader *)test_alloc((READERS + 1) * sizeof *readers), *first = &readers[READERS];
    for (int n = 0; n < SETTINGS; n++) {
        tte_options options = setting(n, &f);
        tte_image image = make_image(f.table, VOCAB, DIM, &options);
        tte_table t = open_image(&image);
        pthread_t threads[READERS];
        first->t = &t, first->want = NULL, first->number = 0;
        (void)read_all(first);
        CHECK(!first->bad);
        for (int i = 0; i < READERS; i++) {
            readers[i].t = &t, readers[i].want = &first->got, readers[i].number = i;
            if (!CHECK(pthread_create(&threads[i], NULL, read_all, &readers[i]) == 0)) exit(2);
        }
        for (int i = 0; i < READERS; i++) CHECK(pthread_join(threads[i], NULL) == 0 && !readers[i].bad);
        free(image.data);
    }
    free(readers), free_fixture(&f);
}

typedef struct writer { const fixture *f; tte_image image; int number, bad; } writer;

static void *compress_one(void *user)
{
    writer *w = (writer *)user;
    tte_options options = setting(w->number, w->f);
    w->bad = tte_compress(w->f->table, VOCAB, DIM, &options, &w->image) != TTE_OK;
    return NULL;
}

static void writers_share_nothing(void)
{
    fixture f = make_fixture(VOCAB);
    for (int n = 0; n < SETTINGS; n++) {
        writer w[3];
        pthread_t threads[2];
        for (int i = 0; i < 3; i++) w[i].f = &f, w[i].number = n;
        (void)compress_one(&w[2]);
        for (int i = 0; i < 2; i++)
            if (!CHECK(pthread_create(&threads[i], NULL, compress_one, &w[i]) == 0)) exit(2);
        for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
        for (int i = 0; i < 3; i++)
            if (CHECK(!w[i].bad && !w[2].bad)) CHECK(same_image(&w[i].image, &w[2].image));
        for (int i = 0; i < 3; i++)
            if (!w[i].bad) tte_free(&w[i].image);
    }
    free_fixture(&f);
}

#ifdef _OPENMP
/* Every way to an image, with 1, 2, 3 and 8 threads. */
static void same_bytes_from_any_number(void)
{
    static const int threads[4] = {1, 2, 3, 8};
    const int before = omp_get_max_threads();
    fixture f = make_fixture(test.small ? 700 : 2200);
    for (int n = 0; n < SETTINGS; n++)
        for (int call = 0; call < 4; call++) {
            tte_options options = setting(n, &f), less = table_options(6, 0);
            tte_image base = make_image(f.table, f.vocab / 2, DIM, &options), first = {NULL, 0};
            tte_table t[2];
            t[0] = t[1] = open_image(&base);
            for (int i = 0; i < 4; i++) {
                tte_image image = sentinel_image();
                tte_status status;
                omp_set_num_threads(threads[i]);
                status = call == 0 ? tte_compress(f.table, f.vocab, DIM, &options, &image)
                       : call == 1 ? tte_append(t, f.table, 300, NULL, &image)
                       : call == 2 ? tte_shrink(t, &less, &image) : tte_merge(t, 2, &image);
                if (!CHECK_STATUS(status, TTE_OK)) continue;
                CHECK(i == 0 || same_image(&image, &first));
                if (i == 0)
                    first = image;
                else
                    tte_free(&image);
            }
            tte_free(&first), free(base.data);
            omp_set_num_threads(before);
        }
    free_fixture(&f);
}

/* Wide enough that threads share what is solved for the basis. */
static void same_bytes_of_a_wide_table(void)
{
    enum { WIDE = 150, ROWS = 900 };
    const int before = omp_get_max_threads();
    float *table = make_table(DECAYING, ROWS, WIDE);
    tte_options options = table_options(4, 0);
    tte_image first = {NULL, 0};
    options.effort = 1;
    for (int threads = 1; threads <= 4; threads++) {
        tte_image image;
        omp_set_num_threads(threads);
        image = make_image(table, ROWS, WIDE, &options);
        CHECK(threads == 1 || same_image(&image, &first));
        if (threads == 1) first = image;
        else free(image.data);
    }
    omp_set_num_threads(before);
    free(first.data), free(table);
}
#endif

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_threads");
    RUN(readers_share_a_view);
    RUN(writers_share_nothing);
#ifdef _OPENMP
    RUN(same_bytes_from_any_number);
    RUN(same_bytes_of_a_wide_table);
#endif
    return test_end();
}
