/* reader_small.c: see readers.h. */
#define TT_EMBED_DECODE_ONLY
#define READER_BUILD decode_only_build
#include "readers.h"
