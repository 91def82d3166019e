/* microbit.c: the BBC micro:bit, an nRF51822 with a Cortex-M0. */
#include "board.h"
#include "semihosting.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define UART_STARTTX REGISTER(0x40002008)
#define UART_TXDRDY REGISTER(0x4000211c) /* set when a character has left */
#define UART_ENABLE REGISTER(0x40002500)
#define UART_PSELTXD REGISTER(0x4000250c)
#define UART_TXD REGISTER(0x4000251c)
#define UART_BAUDRATE REGISTER(0x40002524)
#define GPIO_OUTSET REGISTER(0x50000508)
#define GPIO_DIRSET REGISTER(0x50000518)
#define TX_PIN 24 /* of the processor, to the USB interface */

#define TIMER_START REGISTER(0x40008000) /* TIMER0 */
#define TIMER_CAPTURE0 REGISTER(0x40008040)
#define TIMER_BITMODE REGISTER(0x40008508)   /* 3: 32 bits */
#define TIMER_PRESCALER REGISTER(0x40008510) /* 0: 16 MHz */
#define TIMER_CC0 REGISTER(0x40008540)

void board_init(void)
{
    GPIO_OUTSET = 1u << TX_PIN;
    GPIO_DIRSET = 1u << TX_PIN;
    UART_PSELTXD = TX_PIN;
    UART_BAUDRATE = 0x01d7e000; /* 115200 */
    UART_ENABLE = 4;
    UART_STARTTX = 1;
    TIMER_BITMODE = 3;
    TIMER_PRESCALER = 0;
    TIMER_START = 1;
}

void board_put(char c)
{
    UART_TXDRDY = 0;
    UART_TXD = (unsigned char)c;
    while (UART_TXDRDY == 0)
        ;
}

uint32_t board_clock(void) /* nanoseconds of 16 MHz: 62.5 each */
{
    uint32_t ticks;
    TIMER_CAPTURE0 = 1;
    ticks = TIMER_CC0;
    return ticks * 62 + ticks / 2;
}

void board_exit(int status)
{
    semihosting_exit(status);
    for (;;)
        ;
}
