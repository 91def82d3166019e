/* reader_fast.c: see readers.h. */
#define TT_EMBED_READ_ONLY
#define READER_BUILD read_only_build
#include "readers.h"
