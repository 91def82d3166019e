/* reader.c: the library, reading side only. */
#define TT_EMBED_DECODE_ONLY
#define TT_EMBED_IMPLEMENTATION
#include "../../tt_embed.h"
