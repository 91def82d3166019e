/* bytes.h: an image as bytes: numbers in it, where its sections lie, its checksums. From the header's IMAGE FORMAT,
 * without the library. */
#ifndef TEST_BYTES_H
#define TEST_BYTES_H

#include <stddef.h>
#include <stdint.h>

enum { AT_CRC = 8, AT_VERSION = 12, AT_LAYOUT = 14, AT_MODES = 16, AT_SECTIONS = 17, AT_VOCAB = 24, AT_SIZE = 32,
       AT_RECORDED = 48, AT_SHAPE = 184, SECTION = 24, TAIL = 32 };
enum { RECORDS = 1, INDEX, CLASSES, BASIS, CENTROIDS };

static inline void put_number(unsigned char *bytes, int width, uint64_t value)
{
    for (int i = 0; i < width; i++, value >>= 8)
        bytes[i] = (unsigned char)(value & 0xFF);
}

static inline uint64_t number_at(const unsigned char *bytes, int width)
{
    uint64_t value = 0;
    while (width-- > 0)
        value = value << 8 | bytes[width];
    return value;
}

/* CRC-32 of IEEE 802.3, bit by bit. */
static inline uint32_t test_crc32(const unsigned char *bytes, size_t size)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

/* The table of sections, and the header's end; both can lie behind the end of bytes that are no image. */
static inline size_t sections_at(const unsigned char *image)
{
    return AT_SHAPE + (image[AT_LAYOUT] == 1 ? 24 : 4 + 8 * (size_t)image[AT_MODES]);
}

static inline size_t header_end(const unsigned char *image)
{
    return sections_at(image) + SECTION * (size_t)image[AT_SECTIONS];
}

/* Where a section begins, by a header that is whole; 0 and *size = 0 when there is none of that kind. */
static inline uint64_t section_at(const unsigned char *image, int kind, uint64_t *size)
{
    const unsigned char *entry = image + sections_at(image), *end = image + header_end(image);
    for (*size = 0; entry < end; entry += SECTION)
        if (number_at(entry + 20, 4) == (uint64_t)kind) {
            *size = number_at(entry + 8, 8);
            return number_at(entry, 8);
        }
    return 0;
}

/* A section of an image that is whole; NULL and *size = 0 when it has none of that kind. */
static inline unsigned char *section_of(unsigned char *image, int kind, size_t *size)
{
    uint64_t length, at = section_at(image, kind, &length);
    *size = (size_t)length;
    return at > 0 ? image + at : NULL;
}

/* Makes the checksum of the header right, and those of all sections within `size`, unless header_only. */
static inline void seal_image(unsigned char *image, size_t size, int header_only)
{
    size_t end;
    if (size < AT_SHAPE || (end = header_end(image)) > size)
        return;
    for (unsigned char *entry = image + sections_at(image); !header_only && entry < image + end; entry += SECTION) {
        uint64_t at = number_at(entry, 8), length = number_at(entry + 8, 8);
        if (at <= size && length <= size - at)
            put_number(entry + 16, 4, test_crc32(image + at, (size_t)length));
    }
    put_number(image + AT_CRC, 4, test_crc32(image + AT_VERSION, end - AT_VERSION));
}

#endif
