/* fuzz_open.c: bytes of anyone, opened and read; recoded as well. An input is a byte, which says what is
 * repaired first (two bits) and what is recoded to (the others), then an image. fuzz_decoder.c is the
 * same for the reader alone. */
#include "../bodies.h"
#include "../harness.h"
#include "../tables.h"
#include "../golden.h"
#ifdef TT_EMBED_DECODE_ONLY
#define FUZZ_NAME "fuzz_decoder"
#else
#define FUZZ_NAME "fuzz_open"
#endif
#include "fuzz.h"
#include "images.h"

#ifndef TT_EMBED_DECODE_ONLY

/* An image made from one that opened is a good one, whatever its rows are worth. */
static void recode(const tte_table *t, tte_coding coding)
{
    tte_image image = sentinel_image();
    tte_info info = get_info(t);
    tte_status status;
    if (info.dim > 256 || info.vocab > 256 || !fuzz_is_small(t))
        return;
    status = tte_recode(t, coding, &image);
    if (status == TTE_OK) {
        tte_table other;
        image = exact_image(&image);
        if (CHECK(tte_open(&other, image.data, image.size) == TTE_OK)) {
            CHECK(tte_verify(&other) == TTE_OK);
            fuzz_read_everything(&other);
        }
        free(image.data);
    } else {
        CHECK(is_sentinel(&image));
        CHECK(status != TTE_ERR_MEMORY && status != TTE_ERR_CHECKSUM && status != TTE_ERR_FORMAT);
    }
}

#endif

static void fuzz_one(const unsigned char *data, size_t size)
{
    unsigned how = size > 0 ? data[0] : 0;
    unsigned char *image;
    tte_table t;
    tte_status status;
    if (size < 1)
        return;
    image = (unsigned char *)test_copy(data + 1, size - 1);
    fuzz_repair(image, size - 1, (int)(how % FUZZ_REPAIRS));
    memset(&t, 0xA5, sizeof t);
    status = tte_open(&t, image, size - 1);
    if (status == TTE_OK)
        fuzz_read_everything(&t);
    else
        CHECK(is_untouched(&t, sizeof t));
#ifndef TT_EMBED_DECODE_ONLY
    if (status == TTE_OK && how >> 2 <= (unsigned)TTE_ENTROPY)
        recode(&t, (tte_coding)(how >> 2));
#endif
    free(image);
}

static size_t fuzz_make(unsigned char *out, size_t capacity)
{
    int repair = rng_int(0, 9);
    repair = repair < FUZZ_REPAIRS ? repair : FUZZ_CHECKSUMS;
    out[0] = (unsigned char)(repair | rng_int(0, 12) << 2);
    return 1 + fuzz_changed_image(out + 1, capacity - 1);
}
