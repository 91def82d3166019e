/* readers.h: the reading side of a build of the library as a table of its calls. Included under TT_EMBED_READ_ONLY or
 * TT_EMBED_DECODE_ONLY with READER_BUILD as a name, it makes that build; without the name, it declares the table. */
#ifndef TEST_READERS_H
#define TEST_READERS_H

#ifdef READER_BUILD
#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#endif

typedef struct reader {
    tte_status (*open)(tte_table *t, const void *data, size_t size);
    tte_status (*verify)(const tte_table *t);
    tte_status (*get_info)(const tte_table *t, tte_info *info);
    size_t (*scratch_len)(const tte_table *t);
    tte_status (*lookup)(const tte_table *t, uint32_t token, float *row, float *scratch);
    tte_status (*lookup_batch)(const tte_table *t, const uint32_t *tokens, size_t count, float *rows, float *scratch);
    tte_status (*inner_tokens)(const tte_table *t, uint32_t a, uint32_t b, float *result, float *scratch);
    tte_status (*logits)(const tte_table *t, const float *h, uint32_t first, uint32_t count, float *out, float *scratch);
    tte_status (*top_k)(const tte_table *t, const float *h, uint32_t k, uint32_t *tokens, float *scores, float *scratch);
    tte_status (*reconstruct)(const tte_shape *shape, const int32_t *ranks, const float *cores, float *x, float *scratch);
    tte_status (*inner)(const tte_shape *shape, const int32_t *ranks_a, const float *cores_a, const int32_t *ranks_b,
                        const float *cores_b, float *result, float *scratch);
    void (*from_f16)(const uint16_t *src, size_t count, float *dst);
    void (*from_bf16)(const uint16_t *src, size_t count, float *dst);
    const char *(*status_text)(tte_status status);
} reader;

#define READER_CALLS {tte_open, tte_verify, tte_get_info, tte_scratch_len, tte_lookup, tte_lookup_batch, \
    tte_inner_tokens, tte_logits, tte_top_k, tte_reconstruct, tte_inner, tte_from_f16, tte_from_bf16, tte_status_text}

reader read_only_build(void);
reader decode_only_build(void);

#ifdef READER_BUILD
reader READER_BUILD(void)
{
    const reader calls = READER_CALLS;
    return calls;
}
#endif
#endif
