/* counted_heap.h: an allocator that counts its blocks and refuses the one whose number is asked for,
 * or what is too large.
 * Include it before tt_embed.h in the file that implements it; or bodies.h, which does that. */
#ifndef TEST_COUNTED_HEAP_H
#define TEST_COUNTED_HEAP_H

#include <stddef.h>
#include <stdlib.h>

typedef struct counted_heap {
    long live, requests, refuse;
    size_t most; /* bytes that one request may have; 0: any number */
} counted_heap;

#ifdef BODIES_ELSEWHERE
extern counted_heap heap;
#else
#ifndef BODIES_FOR_ALL
static
#endif
counted_heap heap;

static void *counted_malloc(size_t size) /* from OpenMP's threads as well, not from others */
{
    void *block;
    long request;
#ifdef _OPENMP
#pragma omp atomic capture
#endif
    request = ++heap.requests;
    block = request == heap.refuse || (heap.most > 0 && size > heap.most) ? NULL : malloc(size);
    if (block != NULL) {
#ifdef _OPENMP
#pragma omp atomic
#endif
        heap.live++;
    }
    return block;
}

static void counted_free(void *block)
{
    if (block != NULL) {
#ifdef _OPENMP
#pragma omp atomic
#endif
        heap.live--;
    }
    free(block);
}

#define TT_EMBED_MALLOC(size) counted_malloc(size)
#define TT_EMBED_FREE(pointer) counted_free(pointer)
#endif

#endif
