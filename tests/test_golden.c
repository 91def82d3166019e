/* test_golden.c: the golden images cut at every byte, lengthened, with every value in every byte of the header and many in
 * every byte of what rows share, with every single bit turned. A status comes, or rows within bounds; no turned bit stays
 * unnoticed. test_golden_decoder.c is the same for the reader alone. */
#include "bodies.h"
#include "harness.h"
#include "tables.h"
#include "golden.h"

/* The bytes of an image in turn; 0 after the last one. */
static int next_golden(int *kind, unsigned char **bytes, size_t *size)
{
    if (*kind == GOLDEN_ALL)
        return 0;
    *bytes = (unsigned char *)golden_bytes((*kind)++, size);
    return CHECK(*bytes != NULL);
}

/* Opens a block of exactly this size and reads where that succeeds. */
static tte_status open_block(const void *block, size_t size, int use)
{
    tte_table t;
    tte_status status;
    memset(&t, 0xA5, sizeof t);
    status = tte_open(&t, block, size);
    if (status != TTE_OK)
        CHECK(is_untouched(&t, sizeof t));
    else if (use)
        use_everything(&t);
    return status;
}

static void every_truncation(void)
{
    unsigned char *bytes;
    size_t size;
    for (int kind = 0; next_golden(&kind, &bytes, &size); free(bytes))
        for (size_t length = 0; length < size; length++) {
            void *shorter = test_copy(bytes, length);
            tte_status status = open_block(shorter, length, 1);
            free(shorter);
            CHECK(status == TTE_ERR_TRUNCATED || (length < AT_SHAPE && status == TTE_ERR_FORMAT));
        }
}

static void one_byte_more(void)
{
    unsigned char *bytes;
    size_t size;
    for (int kind = 0; next_golden(&kind, &bytes, &size); free(bytes)) {
        unsigned char *longer = (unsigned char *)test_alloc(size + 1);
        memcpy(longer, bytes, size);
        for (int value = 0; value < 256; value++) {
            longer[size] = (unsigned char)value;
            CHECK_STATUS(open_block(longer, size + 1, 1), TTE_ERR_FORMAT);
        }
        free(longer);
    }
}

/* Under the checksum as it was: refused. Under one made good again: refused, or read within bounds, which is tried for
 * some values; the recorded errors may say anything, and no reader looks at them. */
static void every_byte_of_the_header(void)
{
    unsigned char *bytes;
    size_t size;
    for (int kind = 0; next_golden(&kind, &bytes, &size); free(bytes)) {
        const size_t end = header_end(bytes);
        long opened = 0;
        for (size_t at = 0; at < end; at++) {
            const unsigned char kept = bytes[at];
            const int recorded = at >= AT_RECORDED && at < AT_SHAPE;
            for (int value = 0; value < 256; value += test.small ? 17 : 1) {
                const uint64_t crc = number_at(bytes + AT_CRC, 4);
                bytes[at] = (unsigned char)value;
                if (value != kept)
                    CHECK(open_block(bytes, size, 1) != TTE_OK);
                if (at >= AT_VERSION) {
                    seal_image(bytes, size, 1);
                    opened += open_block(bytes, size, !recorded && value % 6 == 3) == TTE_OK;
                    put_number(bytes + AT_CRC, 4, crc);
                }
            }
            bytes[at] = kept;
        }
        CHECK(opened >= 8 * (test.small ? 14 : 255)); /* the largest error of a row, at least */
        CHECK_STATUS(open_block(bytes, size, 1), TTE_OK);
    }
}

/* Behind the header tte_open looks at no checksum, and at all that a reader relies on. */
static void every_byte_of_the_sections(void)
{
    static const int values[] = {0, 1, 2, 3, 5, 16, 127, 128, 130, 142, 143, 255};
    unsigned char *bytes;
    size_t size;
    for (int kind = 0; next_golden(&kind, &bytes, &size); free(bytes))
        for (size_t at = header_end(bytes); at < size; at += test.small ? 7 : 1) {
            const unsigned char kept = bytes[at];
            for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
                bytes[at] = (unsigned char)(i % 2 ? values[i] : kept ^ values[i]);
                CHECK(open_block(bytes, size, (at + i) % 7 == 0) != TTE_ERR_CHECKSUM);
            }
            bytes[at] = kept;
        }
}

static void every_turned_bit_is_noticed(void)
{
    unsigned char *bytes;
    size_t size;
    for (int kind = 0; next_golden(&kind, &bytes, &size); free(bytes))
        for (size_t at = 0; at < size; at++)
            for (int bit = 0; bit < 8; bit += test.small ? 7 : 1) {
                tte_table t;
                tte_status status;
                bytes[at] ^= (unsigned char)(1 << bit);
                status = tte_open(&t, bytes, size);
                if (status == TTE_OK)
                    status = tte_verify(&t);
                if (!CHECK(status != TTE_OK) && test.bad <= 5)
                    fprintf(stderr, "    %s, byte %d, bit %d\n", golden[kind - 1].name, (int)at, bit);
                bytes[at] ^= (unsigned char)(1 << bit);
            }
}

#ifndef TEST_PROGRAM
#define TEST_PROGRAM "test_golden"
#endif

int main(int argc, char **argv)
{
    test_begin(argc, argv, TEST_PROGRAM);
    RUN(every_truncation);
    RUN(one_byte_more);
    RUN(every_byte_of_the_header);
    RUN(every_byte_of_the_sections);
    RUN(every_turned_bit_is_noticed);
    return test_end();
}
