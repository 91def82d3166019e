/* semihosting.h: a request to the debugger, or to qemu, which then ends with this status. */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdint.h>

static inline void semihosting_exit(int status)
{
    const uint32_t block[2] = {0x20026, (uint32_t)status}; /* ADP_Stopped_ApplicationExit */
    register uint32_t operation __asm("r0") = 0x20;        /* SYS_EXIT_EXTENDED */
    register const uint32_t *argument __asm("r1") = block;
    __asm volatile("bkpt 0xab" : "+r"(operation) : "r"(argument) : "memory");
}

#endif
