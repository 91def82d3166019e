/*
 * reader - the reading half of tt_embed.h for WebAssembly; tt_embed.mjs calls it, build.sh compiles it
 *
 * No libc is linked: what the reader needs of string.h the compiler has built in. An instance of the module
 * holds one table. JavaScript owns the memory from heap() on, and puts image, scratch and vectors there.
 */
#define TT_EMBED_READ_ONLY
#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../../tt_embed.h"

#define EXPORT(name) __attribute__((export_name(#name)))

static tte_table table;
static double facts[9];
extern unsigned char __heap_base; /* the linker's: the end of stack and constants */

EXPORT(heap) unsigned char *reader_heap(void) { return &__heap_base; }

/* Opens and verifies: bytes from a network may be anything. */
EXPORT(open) tte_status reader_open(const void *data, size_t size)
{
    const tte_status status = tte_open(&table, data, size);
    return status == TTE_OK ? tte_verify(&table) : status;
}

EXPORT(facts) const double *reader_facts(void)
{
    tte_info info;
    if (tte_get_info(&table, &info) == TTE_OK) {
        facts[0] = (double)info.vocab, facts[1] = (double)info.dim, facts[2] = (double)info.bytes;
        facts[3] = info.ratio, facts[4] = info.rel_error, facts[5] = info.weighted_error;
        facts[6] = info.max_row_error, facts[7] = info.layout, facts[8] = (double)tte_scratch_len(&table);
    }
    return facts;
}

EXPORT(rows) tte_status reader_rows(const uint32_t *tokens, size_t count, float *rows, float *scratch)
{
    return tte_lookup_batch(&table, tokens, count, rows, scratch);
}

EXPORT(scores) tte_status reader_scores(const float *query, uint32_t count, float *scores, float *scratch)
{
    return tte_logits(&table, query, 0, count, scores, scratch);
}

EXPORT(top) tte_status reader_top(const float *query, uint32_t k, uint32_t *tokens, float *scores, float *scratch)
{
    return tte_top_k(&table, query, k, tokens, scores, scratch);
}

EXPORT(text) const char *reader_text(tte_status status) { return tte_status_text(status); }
