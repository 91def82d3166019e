/* counted.h: an allocator that counts the bytes it holds, and their peak. Include it behind bench.h and
 * before tt_embed.h, which then takes its memory here.
 */
#ifndef BENCH_COUNTED_H
#define BENCH_COUNTED_H

static size_t held, peak;

static inline void *count_malloc(size_t size)
{
    size_t *block = (size_t *)malloc(size + 64);  /* 64 keeps the alignment */
    if (block == NULL) return NULL;
    *block = size;
#ifdef _OPENMP
#pragma omp critical(count)
#endif
    {
        held += size;
        if (held > peak) peak = held;
    }
    return (char *)block + 64;
}

static inline void count_free(void *pointer)
{
    size_t *block = (size_t *)(void *)((char *)pointer - 64);
    if (pointer == NULL) return;
#ifdef _OPENMP
#pragma omp critical(count)
#endif
    held -= *block;
    free(block);
}

/* Like bench_alloc. */
static inline void *count_alloc(size_t count, size_t size)
{
    void *block = count_malloc(count * size);
    if (block == NULL) bench_stop("memory", "there is no more");
    return memset(block, 0, count * size);
}

#define TT_EMBED_MALLOC(size) count_malloc(size)
#define TT_EMBED_FREE(pointer) count_free(pointer)

#endif
