/* board.h: all that the firmware asks of a board. To port it, write these four functions. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

/* Called once, before all others: clocks, serial port, a free-running timer. */
void board_init(void);

/* Sends one character over the serial port, and waits until there is room for the next. */
void board_put(char c);

/* A clock that counts up and wraps at 2^32. On a real board, processor cycles (DWT->CYCCNT, or a timer).
   In the emulator, instructions, in steps of some tens: run with -icount shift=0, qemu lets a nanosecond
   pass for each. */
uint32_t board_clock(void);

/* Ends the program: 0 for success. Here by semihosting; on a real board, whatever tells. */
void board_exit(int status) __attribute__((noreturn));

#endif
