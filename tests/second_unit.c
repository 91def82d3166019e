/* second_unit.c: a file that only uses the library. Linked to test_files.c, which holds the bodies. */
#include "../tt_embed.h"

#ifdef __cplusplus
extern "C"
#endif
tte_status row_of_second_unit(const tte_image *image, uint32_t token, float *row, float *scratch);

tte_status row_of_second_unit(const tte_image *image, uint32_t token, float *row, float *scratch)
{
    tte_table t;
    tte_status status = tte_open(&t, image->data, image->size);
    return status == TTE_OK ? tte_lookup(&t, token, row, scratch) : status;
}
