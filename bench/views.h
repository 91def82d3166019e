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

/* Rows `first` to `first + count - 1`, at most VIEW_BATCH of them. */
static inline void lookup_some(const tte_table *view, size_t first, size_t count, float *rows, float *scratch)
{
    uint32_t tokens[VIEW_BATCH];
    size_t i;
    tte_status status;
    for (i = 0; i < count; i++) tokens[i] = (uint32_t)(first + i);
    status = tte_lookup_batch(view, tokens, count, rows, scratch);
    if (status != TTE_OK) bench_stop("tte_lookup_batch", tte_status_text(status));
}

/* All rows. */
static inline void lookup_all(const tte_table *view, size_t vocab, size_t dim, float *rows)
{
    float *scratch = (float *)bench_alloc(tte_scratch_len(view), sizeof *scratch);
    size_t t;
    for (t = 0; t < vocab; t += VIEW_BATCH)
        lookup_some(view, t, vocab - t < VIEW_BATCH ? vocab - t : VIEW_BATCH, rows + t * dim, scratch);
    free(scratch);
}

/* The squared error of what tte_lookup_batch gives. */
static inline double lookup_error(const tte_table *view, const float *rows, size_t vocab, size_t dim)
{
    float *back = (float *)bench_alloc(VIEW_BATCH * dim, sizeof *back);
    float *scratch = (float *)bench_alloc(tte_scratch_len(view), sizeof *scratch);
    double error = 0;
    size_t t, i, count;
    for (t = 0; t < vocab; t += count) {
        count = vocab - t < VIEW_BATCH ? vocab - t : VIEW_BATCH;
        lookup_some(view, t, count, back, scratch);
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
