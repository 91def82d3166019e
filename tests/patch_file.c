/* patch_file.c: makes a damaged copy of a file, for tests/test_demo.sh.
 *
 *     patch_file IN OUT keep N             its first N bytes
 *     patch_file IN OUT set OFFSET HEX     with these bytes at OFFSET
 *     patch_file IN OUT replace OLD NEW    the first OLD becomes NEW, of the same length
 *     patch_file IN OUT seal image         the checksums of a .tte file are made right
 *
 * or several of these in turn.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bytes.h"

static int give_up(const char *what)
{
    fprintf(stderr, "patch_file: %s\n", what);
    exit(1);
}

static char *read_all(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    char *bytes;
    long length = 0;
    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (length = ftell(file)) < 0) give_up(path);
    rewind(file);
    bytes = (char *)malloc((size_t)length + 1);
    if (bytes == NULL || fread(bytes, 1, (size_t)length, file) != (size_t)length) give_up(path);
    fclose(file);
    *size = (size_t)length;
    return bytes;
}

static void set_bytes(char *bytes, size_t size, size_t offset, const char *hex)
{
    for (; hex[0] != 0 && hex[1] != 0; hex += 2, offset++) {
        unsigned value = 0;
        if (offset >= size || sscanf(hex, "%2x", &value) != 1) give_up("set: beyond the end, or not hexadecimal");
        bytes[offset] = (char)(unsigned char)value;
    }
}

static void replace(char *bytes, size_t size, const char *from, const char *to)
{
    size_t length = strlen(from), at = 0;
    if (strlen(to) != length) give_up("replace: lengths differ");
    while (at + length <= size && memcmp(bytes + at, from, length) != 0) at++;
    if (at + length > size) give_up("replace: not found");
    memcpy(bytes + at, to, length);
}

int main(int argc, char **argv)
{
    size_t size = 0;
    char *bytes;
    FILE *file;
    int i;
    if (argc < 5) give_up("see the comment at its head");
    bytes = read_all(argv[1], &size);
    for (i = 3; i < argc; i += strcmp(argv[i], "keep") == 0 ? 2 : 3)
        if (strcmp(argv[i], "keep") == 0 && i + 1 < argc) {
            size_t keep = (size_t)strtoul(argv[i + 1], NULL, 10);
            size = keep < size ? keep : size;
        } else if (strcmp(argv[i], "set") == 0 && i + 2 < argc) {
            set_bytes(bytes, size, (size_t)strtoul(argv[i + 1], NULL, 10), argv[i + 2]);
        } else if (strcmp(argv[i], "replace") == 0 && i + 2 < argc) {
            replace(bytes, size, argv[i + 1], argv[i + 2]);
        } else if (strcmp(argv[i], "seal") == 0) {
            seal_image((unsigned char *)bytes, size, 0);
        } else {
            give_up("an unknown change");
        }
    file = fopen(argv[2], "wb");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) give_up(argv[2]);
    free(bytes);
    return 0;
}
