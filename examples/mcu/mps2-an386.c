/* mps2-an386.c: ARM's MPS2 board with a Cortex-M4F, its clock at 25 MHz. */
#include "board.h"
#include "semihosting.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define UART_DATA REGISTER(0x40004000)    /* CMSDK APB UART 0 */
#define UART_STATE REGISTER(0x40004004)   /* bit 0: no room */
#define UART_CONTROL REGISTER(0x40004008) /* bit 0: transmit */
#define UART_DIVIDER REGISTER(0x40004010)

#define TIMER_CONTROL REGISTER(0x40000000) /* CMSDK APB timer 0; bit 0: run */
#define TIMER_VALUE REGISTER(0x40000004)   /* counts down */
#define TIMER_RELOAD REGISTER(0x40000008)

void board_init(void)
{
    UART_DIVIDER = 25000000 / 115200;
    UART_CONTROL = 1;
    TIMER_RELOAD = 0xffffffff;
    TIMER_VALUE = 0xffffffff;
    TIMER_CONTROL = 1;
}

void board_put(char c)
{
    while ((UART_STATE & 1) != 0)
        ;
    UART_DATA = (unsigned char)c;
}

uint32_t board_clock(void) { return (0xffffffff - TIMER_VALUE) * 40; } /* nanoseconds of 25 MHz */

void board_exit(int status)
{
    semihosting_exit(status);
    for (;;)
        ;
}
