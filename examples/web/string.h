/* string.h - all that the reader needs of it, without a libc: built into clang (memory.copy, memory.fill) */
#ifndef WEB_STRING_H
#define WEB_STRING_H

#define memcpy __builtin_memcpy
#define memmove __builtin_memmove
#define memset __builtin_memset
#define memcmp web_memcmp

static inline int web_memcmp(const void *a, const void *b, __SIZE_TYPE__ size)
{
    const unsigned char *p = (const unsigned char *)a, *q = (const unsigned char *)b;
    for (; size > 0; --size, ++p, ++q)
        if (*p != *q) return *p < *q ? -1 : 1;
    return 0;
}

#endif
