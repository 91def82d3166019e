/* bodies.c: see bodies.h. */
#define BODIES_FOR_ALL
#include "bodies.h"

uint32_t test_crc32(const unsigned char *bytes, size_t size) { return ttei_crc32(bytes, size); }
