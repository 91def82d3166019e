/* bodies.h: tt_embed.h and its bodies on a counted heap, for programs that use nothing private of them. Alone, such
 * a program has the bodies in its own file. run.sh, where most time goes into compiling them, makes one object of
 * bodies.c for all programs that are built alike, and builds those with -DTEST_LINKED. */
#ifndef TEST_BODIES_H
#define TEST_BODIES_H

#if defined(TT_EMBED_DECODE_ONLY) && !defined(TT_EMBED_READ_ONLY)
#define TT_EMBED_READ_ONLY
#endif
#if defined(TEST_LINKED) && !defined(TT_EMBED_READ_ONLY)
#define BODIES_ELSEWHERE
#else
#define TT_EMBED_IMPLEMENTATION
#endif
#ifndef TT_EMBED_READ_ONLY /* which has no heap */
#include "counted_heap.h"
#endif
#include "../tt_embed.h"
#include "bytes.h"

#endif
