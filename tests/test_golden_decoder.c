/* test_golden_decoder.c: test_golden.c once more, for the reader that is compiled alone. */
#define TT_EMBED_DECODE_ONLY
#define TEST_PROGRAM "test_golden_decoder"
#include "test_golden.c"
