/* counted_heap.h: an allocator that counts its blocks and, where the C library tells their sizes, their bytes; and
 * refuses the one whose number is asked for, or what is too large.
 * Include it before tt_embed.h in the file that implements it; or bodies.h, which does that. */
#ifndef TEST_COUNTED_HEAP_H
#define TEST_COUNTED_HEAP_H

#include <stddef.h>
#include <stdlib.h>
#if defined(__GLIBC__)
#include <malloc.h>
#define COUNTED_BYTES(block) malloc_usable_size(block)
#else
#define COUNTED_BYTES(block) ((void)(block), (size_t)0)
#endif

typedef struct counted_heap {
    long live, requests, refuse;
    size_t most; /* bytes that one request may have; 0: any number */
    size_t bytes, peak; /* held now, and the most at one time */
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
#ifdef _OPENMP
#pragma omp critical(counted_heap)
#endif
    {
        block = ++heap.requests == heap.refuse || (heap.most > 0 && size > heap.most) ? NULL : malloc(size);
        heap.live += block != NULL;
        heap.bytes += block != NULL ? COUNTED_BYTES(block) : 0;
        heap.peak = heap.bytes > heap.peak ? heap.bytes : heap.peak;
    }
    return block;
}

static void counted_free(void *block)
{
#ifdef _OPENMP
#pragma omp critical(counted_heap)
#endif
    {
        heap.live -= block != NULL;
        heap.bytes -= block != NULL ? COUNTED_BYTES(block) : 0;
    }
    free(block);
}

#define TT_EMBED_MALLOC(size) counted_malloc(size)
#define TT_EMBED_FREE(pointer) counted_free(pointer)
#endif

#endif
