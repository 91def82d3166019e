/* views.h: images opened, and what their rows lose. Include it behind tt_embed.h with its implementation.
 */
#ifndef BENCH_VIEWS_H
#define BENCH_VIEWS_H

#define VIEW_BATCH ((size_t)256)  /* tokens of one tte_lookup_batch */

static inline tte_table open_image(const char *what, const tte_image *image)
{
    tte_table view;
    tte_status status = tte_open(&view, image->data, image->size);
    if (status != TTE_OK) bench_stop(what, tte_status_text(status));
    return view;
}

/* The squared error of what tte_lookup_batch gives. */
static inline double lookup_error(const tte_table *view, const float *rows, size_t vocab, size_t dim)
{
    uint32_t tokens[VIEW_BATCH];
    float *back = (float *)bench_alloc(VIEW_BATCH * dim, sizeof *back);
    float *scratch = (float *)bench_alloc(tte_scratch_len(view), sizeof *scratch);
    double error = 0;
    size_t t, i, count;
    for (t = 0; t < vocab; t += count) {
        tte_status status;
        count = vocab - t < VIEW_BATCH ? vocab - t : VIEW_BATCH;
        for (i = 0; i < count; i++) tokens[i] = (uint32_t)(t + i);
        status = tte_lookup_batch(view, tokens, count, back, scratch);
        if (status != TTE_OK) bench_stop("tte_lookup_batch", tte_status_text(status));
        for (i = 0; i < count * dim; i++) {
            double off = (double)rows[t * dim + i] - (double)back[i];
            error += off * off;
        }
    }
    free(back);
    free(scratch);
    return error;
}

#endif
