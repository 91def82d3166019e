/* fuzz_decoder.c: fuzz_open.c once more, for the reader that is compiled alone. */
#define TT_EMBED_DECODE_ONLY
#include "fuzz_open.c"
