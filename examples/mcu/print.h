/* print.h: text and numbers over the board's serial port. */
#ifndef PRINT_H
#define PRINT_H

#include <stdint.h>

void print(const char *text);
void print_number(uint32_t value);
void print_float(float value); /* three decimals; for magnitudes below four million */

#endif
