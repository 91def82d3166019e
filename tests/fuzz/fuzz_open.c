/* fuzz_open.c: bytes of anyone, opened and read. An input is a byte, which says what is repaired first, then an
 * image. fuzz_decoder.c is the same for the reader that is compiled alone. */
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

static void fuzz_one(const unsigned char *data, size_t size)
{
    unsigned char *image;
    tte_table t;
    tte_status status;
    if (size < 1)
        return;
    image = (unsigned char *)test_copy(data + 1, size - 1);
    fuzz_repair(image, size - 1, data[0] % FUZZ_REPAIRS);
    memset(&t, 0xA5, sizeof t);
    fuzz_meter();
    status = tte_open(&t, image, size - 1);
    fuzz_check_work((double)size, 1);
    if (status == TTE_OK)
        fuzz_read_everything(&t);
    else
        CHECK(is_untouched(&t, sizeof t));
    free(image);
}

static size_t fuzz_make(unsigned char *out, size_t capacity)
{
    int repair = rng_int(0, 9);
    out[0] = (unsigned char)(repair < FUZZ_REPAIRS ? repair : FUZZ_CHECKSUMS);
    return 1 + fuzz_changed_image(out + 1, capacity - 1, 4);
}
