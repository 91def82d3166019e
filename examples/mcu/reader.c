/* reader.c: the library, reading side only. To leave out more, see build in mcu.sh. */
#define TT_EMBED_DECODE_ONLY
#define TT_EMBED_IMPLEMENTATION
#include "../../tt_embed.h"
