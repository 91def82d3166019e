/* cost.h: what one call costs, in instructions and in bytes of stack.
 *
 *     cost c;
 *     cost_begin(&c);
 *     something();
 *     cost_end(&c);
 *
 * cost_begin fills the free stack with a pattern; cost_end looks how far down it has changed. Both are
 * inline, so that they see the stack as the call does. */
#ifndef COST_H
#define COST_H

#include "board.h"

typedef struct cost {
    uint32_t clock; /* after cost_end: instructions */
    uint32_t stack; /* after cost_end: bytes below the frame of the caller */
} cost;

extern uint32_t stack_bottom[]; /* from the linker script */

#define COST_PATTERN 0xa5c35a3cu

#define COST_INLINE static inline __attribute__((always_inline))

COST_INLINE uint32_t *cost_stack_pointer(void)
{
    uint32_t *sp;
    __asm volatile("mov %0, sp" : "=r"(sp));
    return sp;
}

COST_INLINE void cost_begin(cost *c)
{
    uint32_t *const sp = cost_stack_pointer();
    uint32_t *word;
    for (word = stack_bottom; word < sp; word++)
        *(volatile uint32_t *)word = COST_PATTERN;
    c->clock = board_clock();
}

COST_INLINE void cost_end(cost *c)
{
    const uint32_t clock = board_clock();
    uint32_t *const sp = cost_stack_pointer();
    uint32_t *word;
    for (word = stack_bottom; word < sp && *(volatile uint32_t *)word == COST_PATTERN; word++)
        ;
    c->clock = clock - c->clock;
    c->stack = (uint32_t)((char *)sp - (char *)word);
}

#endif
