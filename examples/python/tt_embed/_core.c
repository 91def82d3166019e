/* _core.c: tt_embed.h as a shared object for _library.py, which calls it through ctypes, and how the compiler
 * has laid out the structs that both use. Needs no header of Python. */
#define TT_EMBED_IMPLEMENTATION
#include "tt_embed.h"
#ifdef _OPENMP
#include <omp.h>
#endif

#define FIELD(type, name) offsetof(type, name), sizeof(((type *)0)->name)

/* In the order of _library.py. */
extern const size_t tte_python_layout[], tte_python_layout_len;
const size_t tte_python_layout[] = {
    sizeof(tte_table), TTE_VERSION, sizeof(tte_status), TTE_ERR_CONVERGENCE,
    sizeof(tte_shape), FIELD(tte_shape, modes), FIELD(tte_shape, dim),
    sizeof(tte_image), FIELD(tte_image, data), FIELD(tte_image, size),
    sizeof(tte_options), FIELD(tte_options, layout), FIELD(tte_options, coding), FIELD(tte_options, ratio),
    FIELD(tte_options, eps), FIELD(tte_options, shape), FIELD(tte_options, max_rank),
    FIELD(tte_options, effort), FIELD(tte_options, row_weight), FIELD(tte_options, metric),
    FIELD(tte_options, like), FIELD(tte_options, progress), FIELD(tte_options, progress_user),
    sizeof(tte_info), FIELD(tte_info, vocab), FIELD(tte_info, dim), FIELD(tte_info, bytes),
    FIELD(tte_info, layout), FIELD(tte_info, coding), FIELD(tte_info, shape), FIELD(tte_info, ranks),
    FIELD(tte_info, rank), FIELD(tte_info, centroids), FIELD(tte_info, classes), FIELD(tte_info, effort),
    FIELD(tte_info, ratio), FIELD(tte_info, mean_numbers), FIELD(tte_info, rel_error),
    FIELD(tte_info, weighted_error), FIELD(tte_info, max_row_error)
};
const size_t tte_python_layout_len = sizeof tte_python_layout / sizeof *tte_python_layout;

/* For a process that fork() has made: the threads that OpenMP had are gone there, and waiting for them has no
 * end, so that the thread that goes on works alone. */
extern void tte_python_one_thread(void);
void tte_python_one_thread(void)
{
#ifdef _OPENMP
    omp_set_num_threads(1);
#endif
}
