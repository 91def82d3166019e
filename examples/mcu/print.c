/* print.c: see print.h. */
#include "print.h"
#include "board.h"

void print(const char *text)
{
    for (; *text != 0; text++)
        board_put(*text);
}

static void print_digits(uint32_t value, int least)
{
    char digits[10];
    int n = 0;
    for (; value != 0 || n < least; value /= 10)
        digits[n++] = (char)('0' + value % 10);
    while (n > 0)
        board_put(digits[--n]);
}

void print_number(uint32_t value) { print_digits(value, 1); }

void print_float(float value)
{
    uint32_t thousandths;
    if (value < 0)
        board_put('-');
    thousandths = (uint32_t)((value < 0 ? -value : value) * 1000 + 0.5f);
    print_digits(thousandths / 1000, 1);
    board_put('.');
    print_digits(thousandths % 1000, 3);
}
