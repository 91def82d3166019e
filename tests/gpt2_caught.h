/* gpt2_caught.h: examples/gpt2.h in a test, where what ends a program ends in a jump to after_fail: why says what was
 * wrong. Include it behind harness.h. */
#ifndef TEST_GPT2_CAUGHT_H
#define TEST_GPT2_CAUGHT_H

#include <setjmp.h>
#include <stdarg.h>

#define dot dot_of_gpt2 /* harness.h has another */
#include "../examples/gpt2.h"
#undef dot

static jmp_buf after_fail;
static char why[400];

static void fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(why, sizeof why, format, list);
    va_end(list);
    longjmp(after_fail, 1);
}

#endif
