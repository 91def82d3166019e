/* bodies.c: see bodies.h. */
#define BODIES_FOR_ALL
#include "bodies.h"
