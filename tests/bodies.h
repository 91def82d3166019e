/* bodies.h: tt_embed.h and its bodies on a counted heap, for programs that use nothing private of them but
 * test_crc32. Alone, such a program has the bodies in its own file. run.sh, where most time goes into
 * compiling them, makes one object of bodies.c for all programs that are built alike, and builds those with
 * -DTEST_LINKED. */
#ifndef TEST_BODIES_H
#define TEST_BODIES_H

#if defined(TEST_LINKED) && !defined(TT_EMBED_DECODE_ONLY)
#define BODIES_ELSEWHERE
#else
#define TT_EMBED_IMPLEMENTATION
#endif
#ifndef TT_EMBED_DECODE_ONLY /* which has no heap */
#include "counted_heap.h"
#endif
#include "../tt_embed.h"

#if defined(BODIES_ELSEWHERE) || defined(BODIES_FOR_ALL)
uint32_t test_crc32(const unsigned char *bytes, size_t size);
#else
static inline uint32_t test_crc32(const unsigned char *bytes, size_t size) { return ttei_crc32(bytes, size); }
#endif

#endif
