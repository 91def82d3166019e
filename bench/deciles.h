/* deciles.h: tenths of a vocabulary, by how often a token occurs and by the length of its row. Include it
 * behind bench.h.
 */
#ifndef BENCH_DECILES_H
#define BENCH_DECILES_H

#define DECILES 10

typedef struct ranking {
    const char *by;
    unsigned char *decile;  /* of each token, 0 for the tenth with the largest keys */
} ranking;

typedef struct keyed { double key; uint32_t token; } keyed;

static inline int keyed_order(const void *a, const void *b)
{
    const keyed *x = (const keyed *)a, *y = (const keyed *)b;
    if (x->key > y->key || x->key < y->key) return x->key > y->key ? -1 : 1;
    return (x->token > y->token) - (x->token < y->token);
}

/* Takes the keys, one for each token, over. */
static inline ranking ranking_make(const char *by, keyed *keys, size_t vocab)
{
    ranking r;
    size_t i;
    r.by = by;
    r.decile = (unsigned char *)bench_alloc(vocab, 1);
    for (i = 0; i < vocab; i++) keys[i].token = (uint32_t)i;
    qsort(keys, vocab, sizeof *keys, keyed_order);
    for (i = 0; i < vocab; i++) r.decile[keys[i].token] = (unsigned char)(i * DECILES / vocab);
    free(keys);
    return r;
}

/* By counts; without (NULL) by token id, which in most vocabularies falls with frequency. */
static inline ranking ranking_frequency(const uint64_t *count, size_t vocab)
{
    keyed *keys = (keyed *)bench_alloc(vocab, sizeof *keys);
    size_t i;
    for (i = 0; count != NULL && i < vocab; i++) keys[i].key = (double)count[i];
    return ranking_make(count != NULL ? "frequency" : "token id", keys, vocab);
}

static inline ranking ranking_norm(const float *rows, size_t vocab, size_t dim)
{
    keyed *keys = (keyed *)bench_alloc(vocab, sizeof *keys);
    size_t i;
    for (i = 0; i < vocab * dim; i++) keys[i / dim].key += (double)rows[i] * (double)rows[i];
    return ranking_make("row norm", keys, vocab);
}

#endif
