/* counted_heap.h: an allocator that counts its blocks and refuses the one whose number is asked for.
 * Include it before tt_embed.h in the file that implements it. */
#ifndef TEST_COUNTED_HEAP_H
#define TEST_COUNTED_HEAP_H

#include <stddef.h>
#include <stdlib.h>

static struct { long live, requests, refuse; } heap;

static void *counted_malloc(size_t size)
{
    void *block = ++heap.requests == heap.refuse ? NULL : malloc(size);
    heap.live += block != NULL;
    return block;
}

static void counted_free(void *block)
{
    heap.live -= block != NULL;
    free(block);
}

#define TT_EMBED_MALLOC(size) counted_malloc(size)
#define TT_EMBED_FREE(pointer) counted_free(pointer)

#endif
