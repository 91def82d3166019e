/* startup.c: from reset to main on any Cortex-M. No libc start-up, no heap, no interrupts. */
#include "board.h"

#include <stdint.h>

/* From the linker script. */
extern uint32_t data_begin[], data_end[], bss_begin[], bss_end[], stack_top[];
extern const uint32_t data_in_flash[];

int main(void);
void reset(void);

void reset(void)
{
    const uint32_t *from = data_in_flash;
    uint32_t *to;
#ifdef __ARM_FP /* the FPU is off after reset: CPACR gives access to coprocessors 10 and 11 */
    *(volatile uint32_t *)0xe000ed88 |= 0xfu << 20;
    __asm volatile("dsb\n\tisb" ::: "memory");
#endif
    for (to = data_begin; to < data_end; to++)
        *to = *from++;
    for (to = bss_begin; to < bss_end; to++)
        *to = 0;
    board_init();
    board_exit(main());
}

/* Faults end here, and so would interrupts. */
static void unexpected(void) { board_exit(2); }

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler handlers[15];
} vectors = {stack_top,
             {reset, unexpected, unexpected, unexpected, unexpected, unexpected, 0, 0, 0, 0, unexpected,
              unexpected, 0, unexpected, unexpected}};
