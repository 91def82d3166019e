/* methods.h: every way to make a table small, the library's and those it is measured against, under one
 * roof: what comes back, how many bytes it took, how long. Include it behind peers.h.
 */
#ifndef BENCH_METHODS_H
#define BENCH_METHODS_H

#include "views.h"

typedef enum method_kind { METHOD_LIBRARY, METHOD_PAPER, METHOD_BLOCKS, METHOD_SVD, METHOD_PQ } method_kind;

typedef struct method {
    const char *name;      /* no comma in it, for the tables                                          */
    method_kind kind;
    tte_layout layout;     /* METHOD_LIBRARY                                                          */
    tte_coding coding;
    int number;            /* METHOD_LIBRARY: the effort, or 0; METHOD_PAPER: the cap of ranks; METHOD_SVD: bits */
    block_kind blocks;     /* METHOD_BLOCKS                                                           */
} method;

/* Blocks and the paper's settings have one size; all others are asked for a ratio. */
static const method methods[] = {
    {"table", METHOD_LIBRARY, TTE_PER_TABLE, TTE_TRELLIS, 0, {0, 0, 0}},
    {"table effort 9", METHOD_LIBRARY, TTE_PER_TABLE, TTE_TRELLIS, 9, {0, 0, 0}},
    {"table calibrated", METHOD_LIBRARY, TTE_PER_TABLE, TTE_TRELLIS, 0, {0, 0, 0}},
    {"trains F32", METHOD_LIBRARY, TTE_PER_TOKEN, TTE_F32, 0, {0, 0, 0}},
    {"trains F16", METHOD_LIBRARY, TTE_PER_TOKEN, TTE_F16, 0, {0, 0, 0}},
    {"trains I8", METHOD_LIBRARY, TTE_PER_TOKEN, TTE_I8, 0, {0, 0, 0}},
    {"trains I4", METHOD_LIBRARY, TTE_PER_TOKEN, TTE_I4, 0, {0, 0, 0}},
    {"TensorGPT 2^k rank 1", METHOD_PAPER, TTE_PER_TOKEN, TTE_F32, 1, {0, 0, 0}},
    {"TensorGPT 2^k cap 4", METHOD_PAPER, TTE_PER_TOKEN, TTE_F32, 4, {0, 0, 0}},
    {"int8 rows", METHOD_BLOCKS, TTE_PER_TOKEN, TTE_F32, 0, {8, 0, 4}},
    {"int4 rows", METHOD_BLOCKS, TTE_PER_TOKEN, TTE_F32, 0, {4, 0, 4}},
    {"8-bit blocks", METHOD_BLOCKS, TTE_PER_TOKEN, TTE_F32, 0, {8, 32, 2}},
    {"4-bit blocks", METHOD_BLOCKS, TTE_PER_TOKEN, TTE_F32, 0, {4, 32, 2}},
    {"3-bit blocks", METHOD_BLOCKS, TTE_PER_TOKEN, TTE_F32, 0, {3, 32, 2}},
    {"2-bit blocks", METHOD_BLOCKS, TTE_PER_TOKEN, TTE_F32, 0, {2, 32, 2}},
    {"SVD float16", METHOD_SVD, TTE_PER_TOKEN, TTE_F32, 16, {0, 0, 0}},
    {"SVD int8", METHOD_SVD, TTE_PER_TOKEN, TTE_F32, 8, {0, 0, 0}},
    {"PQ", METHOD_PQ, TTE_PER_TOKEN, TTE_F32, 0, {0, 0, 0}},
};

static inline const method *method_named(const char *name)
{
    size_t i;
    for (i = 0; i < BENCH_COUNT(methods); i++)
        if (strcmp(methods[i].name, name) == 0) return &methods[i];
    bench_stop(name, "is the name of no method");
    return NULL;
}

/* A table that was stored and read again. */
typedef struct rebuilt {
    float *rows;       /* vocab x dim                                          */
    double bytes;      /* all that was stored                                  */
    double columns;    /* the largest rank, subvectors of "PQ", or NaN         */
    double seconds;    /* processor time to compress, all cores together       */
    tte_image image;   /* of the library, else empty                           */
} rebuilt;

static inline void rebuilt_end(rebuilt *out)
{
    free(out->rows);
    tte_free(&out->image);
}

/* The library's image of a table; 0 when it cannot be so small. */
static inline int method_image(const method *m, const float *rows, size_t vocab, size_t dim, double ratio,
                               const float *row_weight, const float *metric, tte_image *image)
{
    tte_options options;
    tte_status status;
    memset(&options, 0, sizeof options);
    options.layout = m->layout;
    options.coding = m->coding;
    options.row_weight = row_weight;
    options.metric = metric;
    if (m->kind == METHOD_PAPER) {  /* modes of 2, and zeros behind a row that has fewer entries */
        size_t entries = 1;
        while (entries < dim) {
            options.shape.dim[options.shape.modes++] = 2;
            entries *= 2;
        }
        options.max_rank = m->number;
    } else {
        options.ratio = (float)ratio;
        options.effort = m->number;
    }
    status = tte_compress(rows, vocab, dim, &options, image);
    if (status != TTE_OK && status != TTE_ERR_BUDGET) bench_stop(m->name, tte_status_text(status));
    return status == TTE_OK;
}

/* The table after `m` at a ratio, of all that fit the best, for the library in weights and metric where there
   are some (NULL: all alike). 0, and nothing to free, when nothing is so small. */
static inline int method_apply(const method *m, const float *rows, size_t vocab, size_t dim, double ratio,
                               const float *row_weight, const float *metric, rebuilt *out)
{
    const double start = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
    const size_t budget = ratio > 0 ? (size_t)(4.0 * (double)vocab * (double)dim / ratio) : 0;
    size_t columns = 0;
    memset(out, 0, sizeof *out);
    out->rows = (float *)bench_alloc(vocab * dim, sizeof *out->rows);
    out->columns = bench_nothing();
    if (m->kind == METHOD_LIBRARY || m->kind == METHOD_PAPER) {
        tte_table view;
        tte_info info;
        int k, fits = method_image(m, rows, vocab, dim, ratio, row_weight, metric, &out->image);
        out->seconds = bench_clock(CLOCK_PROCESS_CPUTIME_ID) - start;
        if (fits) {
            view = open_image(m->name, &out->image);
            tte_get_info(&view, &info);
            columns = (size_t)info.rank;
            for (k = 0; k <= info.shape.modes; k++)
                if ((size_t)info.ranks[k] > columns) columns = (size_t)info.ranks[k];
            lookup_all(&view, vocab, dim, out->rows);
            out->bytes = (double)out->image.size;
        }
    } else {
        if (m->kind == METHOD_BLOCKS) {
            out->bytes = (double)peer_blocks(rows, vocab, dim, &m->blocks, out->rows);
        } else if (m->kind == METHOD_SVD) {
            out->bytes = (double)peer_svd(rows, vocab, dim, budget, m->number, out->rows, &columns);
        } else {
            out->bytes = (double)peer_pq(rows, vocab, dim, budget, out->rows, &columns);
        }
        out->seconds = bench_clock(CLOCK_PROCESS_CPUTIME_ID) - start;
    }
    if (columns > 0) out->columns = (double)columns;
    if (out->bytes > 0) return 1;
    rebuilt_end(out);
    return 0;
}

/* |W - W^| / |W| of `count` numbers. */
static inline double relative_off(const float *rows, const float *back, size_t count)
{
    double off = 0, all = 0;
    size_t i;
    for (i = 0; i < count; i++) {
        const double x = (double)rows[i], d = x - (double)back[i];
        off += d * d;
        all += x * x;
    }
    return sqrt(off / all);
}

#endif
