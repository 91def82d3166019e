/*
 * gpt2_demo - what a compressed embedding table does to a real language model
 *
 *     cc -O2 -o gpt2_demo examples/gpt2_demo.c -lm        (from the repository's root)
 *     ./gpt2_demo                                         the small GPT-2 that comes along
 *     ./gpt2_demo DIR                                     any Hugging Face GPT-2 folder
 *     ./gpt2_demo --help                                  every option
 *
 * GPT-2 keeps one vector for each token of its vocabulary and uses that table twice: rows of
 * it go in, and the scores of the next token are inner products with all of its rows (a "tied"
 * embedding). This program reads a model in Hugging Face's own files, compresses its table in
 * several ways, and prints for each what it costs: bytes, error, the perplexity of a text, the
 * time of a lookup. Then it lets the model write with the table dense and compressed.
 * There are trains of each token's own and one train for the whole table, the latter also with
 * rows weighted by how often their token occurs. Plain rounding of rows and of blocks of 32
 * numbers stands in the same table, at its true size, and a summary says which way is best when.
 *
 * The readers of files, JSON and safetensors are in tensor_files.h; everything else is here, in
 * reading order: terminal, memory and files, tensors, the model, the tokenizer, weights of rows,
 * compressed tables (all calls of tt_embed.h), measuring, generation, options, the table, the check
 * against reference values, main.
 */

#if defined(__unix__) || defined(__APPLE__)
#define DEMO_POSIX 1                  /* isatty, a steady clock, offsets beyond 2 GiB */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200112L
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif
#endif

#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef DEMO_POSIX
#include <sys/types.h>
#include <unistd.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

#if !defined(__cplusplus)
#define RESTRICT restrict
#elif defined(__GNUC__)
#define RESTRICT __restrict__
#else
#define RESTRICT
#endif

#if defined(__GNUC__)
#define NEVER_RETURNS __attribute__((noreturn))
#else
#define NEVER_RETURNS
#endif

/* Troubles of the readers end the program as its own do. */
NEVER_RETURNS static void fail(const char *format, ...);
#define TENSOR_FILES_FAIL(text) fail("%s", text)
#include "tensor_files.h"

/* ======================================================================================= */
/* TERMINAL: one line of error, one line of progress                                       */
/* ======================================================================================= */

static struct {
    int on;              /* stderr is a terminal */
    int shown;           /* a bar stands on the line now */
    double start, last;  /* seconds */
} bar;

static double seconds(void)
{
#ifdef DEMO_POSIX
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) == 0)
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
#endif
    return (double)clock() / CLOCKS_PER_SEC;
}

static void bar_clear(void)
{
    if (bar.shown) {
        fprintf(stderr, "\r%*s\r", 78, "");
        fflush(stderr);
    }
    bar.shown = 0;
}

static void bar_start(void)
{
#ifdef DEMO_POSIX
    bar.on = isatty(STDERR_FILENO);
#endif
    bar.start = bar.last = seconds();
}

static void bar_show(double fraction, const char *what)
{
    const double now = bar.on ? seconds() : 0.0;
    char left[32] = "";
    int full = (int)(fraction * 30.0);

    if (!bar.on || now - bar.last < 0.1)
        return;
    bar.last = now;
    bar.shown = 1;
    full = full < 0 ? 0 : full > 30 ? 30 : full;
    if (fraction > 0.02) {
        const double rest = (now - bar.start) * (1.0 - fraction) / fraction;
        const long whole = rest > 0.0 && rest < 1e6 ? (long)(rest + 0.5) : 0;
        snprintf(left, sizeof left, "%ld:%02ld left", whole / 60, whole % 60);
    }
    fprintf(stderr, "\r[%.*s%*s] %3d %%  %-12s %-24.24s", full, "##############################",
            30 - full, "", (int)(fraction * 100.0), left, what);
    fflush(stderr);
}

/* One line on stderr, exit status 1. Names come from files: control characters become '?'. */
NEVER_RETURNS PRINTS(1) static void fail(const char *format, ...)
{
    char line[1024];
    char *c;
    va_list list;

    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    for (c = line; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            *c = '?';
    fflush(stdout);
    bar_clear();
    fprintf(stderr, "gpt2_demo: %s\n", line);
    exit(1);
}

/* What was printed must have arrived: a full disk is an error, too. */
static void finish_output(void)
{
    if (fflush(stdout) || ferror(stdout))
        fail("standard output: %s", strerror(errno));
}

/* ======================================================================================= */
/* MEMORY AND FILES: those of tensor_files.h, where no memory and no file end the program  */
/* ======================================================================================= */

static trouble first_trouble;   /* fail ends the program before anyone can read it */

static void *resize(void *old, size_t count, size_t size)
{
    return resize_or(&first_trouble, old, count, size);
}

static void *take(size_t count, size_t size)
{
    return resize(NULL, count, size);
}

static float *take_floats(size_t rows, size_t cols)
{
    if (cols && rows > SIZE_MAX / sizeof(float) / cols)
        fail("out of memory: %zu times %zu floats", rows, cols);
    return (float *)take(rows * cols, sizeof(float));
}

/* ======================================================================================= */
/* TENSORS: those of model.safetensors                                                     */
/* ======================================================================================= */

typedef struct {
    const char *path;
    file_view file;
    tensors all;
    uint64_t loaded;      /* bytes read so far, for the bar */
    const char *prefix;   /* "" or "transformer." */
} weights_file;

static const tensor *weight_find(const weights_file *w, const char *name)
{
    char full[128];

    snprintf(full, sizeof full, "%s%s", w->prefix, name);
    return tensors_find(&w->all, full);
}

static weights_file weights_open(const char *path)
{
    weights_file w;

    w.path = path;
    w.file = view_file(&first_trouble, path);
    w.all = safetensors_parse(&first_trouble, path, w.file.data, w.file.size);
    w.loaded = 0;
    w.prefix = "transformer.";
    if (!weight_find(&w, "wte.weight"))
        w.prefix = "";
    return w;
}

static void weights_close(weights_file *w)
{
    tensors_give(&w->all);
    close_view(&w->file);
}

static const tensor *weight_need(const weights_file *w, const char *name)
{
    const tensor *t = weight_find(w, name);
    if (!t)
        fail("%s: tensor %s%s: missing", w->path, w->prefix, name);
    return t;
}

/* The numbers of a tensor as float32, in a new block of rows x cols (rows 0: a vector). */
static float *weight_load(weights_file *w, const tensor *t, size_t rows, size_t cols)
{
    const size_t count = (rows ? rows : 1) * cols, piece = 1 << 12;
    size_t done = 0, i;
    float *out;

    if (t->type != TENSOR_F32 && t->type != TENSOR_F16 && t->type != TENSOR_BF16)
        fail("%s: tensor %s: dtype %s, expected F32, F16 or BF16", w->path, t->name, t->dtype);
    if (cols == 0 || (rows ? t->rank != 2 || t->shape[0] != rows || t->shape[1] != cols
                           : t->rank != 1 || t->shape[0] != cols)) {
        char is[256] = "", want[64] = "";
        tensor_shape_text(t, is, sizeof is);
        add_text(want, sizeof want, rows ? "%zu x %zu" : "%zu", rows ? rows : cols, cols);
        fail("%s: tensor %s: shape [%s], expected [%s]", w->path, t->name, is, want);
    }
    out = take_floats(rows ? rows : 1, cols);
    while (done < count) {
        const size_t each = tensor_kinds[t->type].size, n = count - done < piece ? count - done : piece;
        tensor_numbers(t->type, w->file.data + t->begin + (uint64_t)done * each, n, out + done);
        for (i = done; i < done + n; i++)
            if (!is_finite(out[i]))
                fail("%s: tensor %s: number %zu is not finite", w->path, t->name, i);
        done += n;
        w->loaded += n * each;
        bar_show((double)w->loaded / (double)w->file.size, "reading the model");
    }
    return out;
}

/* ======================================================================================= */
/* MODEL: GPT-2 in float32, many positions at once, with a key/value cache                 */
/* ======================================================================================= */

typedef struct {
    float *ln1_w, *ln1_b;      /* width */
    float *qkv_w, *qkv_b;      /* width x 3 width; 3 width: queries, keys, values */
    float *out_w, *out_b;      /* width x width; width */
    float *ln2_w, *ln2_b;      /* width */
    float *up_w, *up_b;        /* width x inner; inner */
    float *down_w, *down_b;    /* inner x width; width */
} layer;

typedef struct {
    size_t layers, heads, width, inner, context, vocab;
    uint64_t parameters;
    float epsilon;
    float *wte;                /* vocab x width: the table that this program is about */
    float *head;               /* vocab x width: what the output scores with; wte when tied */
    float *wpe;                /* context x width */
    float *norm_w, *norm_b;    /* width */
    layer *each;               /* layers */
} model;

static float *layer_tensor(weights_file *w, size_t i, const char *part, size_t rows, size_t cols)
{
    char name[96];
    snprintf(name, sizeof name, "h.%zu.%s", i, part);
    return weight_load(w, weight_need(w, name), rows, cols);
}

static void layer_load(weights_file *w, const model *m, size_t i, layer *l)
{
    const size_t d = m->width;

    l->ln1_w = layer_tensor(w, i, "ln_1.weight", 0, d);
    l->ln1_b = layer_tensor(w, i, "ln_1.bias", 0, d);
    l->qkv_w = layer_tensor(w, i, "attn.c_attn.weight", d, 3 * d);
    l->qkv_b = layer_tensor(w, i, "attn.c_attn.bias", 0, 3 * d);
    l->out_w = layer_tensor(w, i, "attn.c_proj.weight", d, d);
    l->out_b = layer_tensor(w, i, "attn.c_proj.bias", 0, d);
    l->ln2_w = layer_tensor(w, i, "ln_2.weight", 0, d);
    l->ln2_b = layer_tensor(w, i, "ln_2.bias", 0, d);
    l->up_w = layer_tensor(w, i, "mlp.c_fc.weight", d, m->inner);
    l->up_b = layer_tensor(w, i, "mlp.c_fc.bias", 0, m->inner);
    l->down_w = layer_tensor(w, i, "mlp.c_proj.weight", m->inner, d);
    l->down_b = layer_tensor(w, i, "mlp.c_proj.bias", 0, d);
}

/* config.json, where it is there: heads and epsilon, and what must agree with the tensors. */
static void model_config(model *m, const char *path)
{
    static const char *const known[] = {"gelu_new", "gelu_fast", "gelu_pytorch_tanh"};
    static const char *const keys[] = {"n_layer", "n_embd", "n_positions", "vocab_size"};
    const size_t want[] = {m->layers, m->width, m->context, m->vocab};
    size_t node, i;
    bytes text;
    json j;

    m->epsilon = 1e-5f;
    if (file_missing(path)) {
        if (m->width % 64)
            fail("%s: needed for the number of heads: the width, %zu, is no multiple of 64", path,
                 m->width);
        m->heads = m->width / 64;
        return;
    }
    text = read_file(&first_trouble, path);
    j = json_parse(&first_trouble, path, 0, text.data, text.size);
    if ((node = json_get(&j, 0, "layer_norm_epsilon")) != 0) {
        m->epsilon = (float)json_number(&j, node);
        if (!(m->epsilon > 0.0f && m->epsilon < 1.0f))
            fail("%s: layer_norm_epsilon: expected a number between 0 and 1", path);
    }
    node = json_get(&j, 0, "n_head");
    m->heads = node ? (size_t)json_whole(&j, node, 1, m->width) : m->width / 64;
    if (m->heads == 0 || m->width % m->heads)
        fail("%s: n_head: %zu heads do not divide the width, %zu", path, m->heads, m->width);
    for (i = 0; i < 4; i++)
        if ((node = json_get(&j, 0, keys[i])) != 0 && json_whole(&j, node, 0, SIZE_MAX) != want[i])
            fail("%s: %s: differs from the tensors of model.safetensors, which have %zu", path,
                 keys[i], want[i]);
    if ((node = json_get(&j, 0, "activation_function")) != 0) {
        bytes name = json_string(&j, node);
        for (i = 0; i < 3 && strcmp((const char *)name.data, known[i]) != 0; i++)
            ;
        if (i == 3)
            fail("%s: activation_function: \"%s\", this program knows gelu_new", path,
                 (const char *)name.data);
        give(name.data);
    }
    give(j.node);
    give(text.data);
}

/* One more than the greatest N of all names h.N.something. */
static size_t count_layers(const weights_file *w)
{
    const size_t skip = strlen(w->prefix);
    size_t layers = 0, i;

    for (i = 0; i < w->all.count; i++) {
        const char *name = w->all.list[i].name;
        if (strncmp(name, w->prefix, skip) == 0 && strncmp(name + skip, "h.", 2) == 0) {
            const unsigned long n = strtoul(name + skip + 2, NULL, 10);
            if (n >= w->all.count)
                fail("%s: tensor %s: one of layer %lu, but there are only %zu tensors", w->path,
                     name, n, w->all.count);
            layers = n >= layers ? (size_t)n + 1 : layers;
        }
    }
    return layers;
}

static model model_load(const char *folder)
{
    char *path = path_join(&first_trouble, folder, "model.safetensors");
    char *config = path_join(&first_trouble, folder, "config.json");
    weights_file w = weights_open(path);
    const tensor *wte = weight_need(&w, "wte.weight"), *wpe = weight_need(&w, "wpe.weight");
    const tensor *up = weight_need(&w, "h.0.mlp.c_fc.weight"), *head;
    model m;
    size_t i;

    memset(&m, 0, sizeof m);
    if (wte->rank != 2 || wpe->rank != 2 || up->rank != 2 || wte->shape[0] < 1
        || wte->shape[0] > UINT32_MAX || wte->shape[1] < 1 || wte->shape[1] > 1u << 20
        || wpe->shape[0] < 1)
        fail("%s: wte.weight, wpe.weight or h.0.mlp.c_fc.weight: not the shape of a table", path);
    m.vocab = wte->shape[0];
    m.width = wte->shape[1];
    m.context = wpe->shape[0];
    m.inner = up->shape[1];
    m.layers = count_layers(&w);
    if (m.layers > SIZE_MAX / m.context / m.width)
        fail("%s: too large for this machine", path);
    model_config(&m, config);

    m.wte = m.head = weight_load(&w, wte, m.vocab, m.width);
    m.wpe = weight_load(&w, wpe, m.context, m.width);
    m.each = (layer *)take(m.layers, sizeof *m.each);
    for (i = 0; i < m.layers; i++)
        layer_load(&w, &m, i, &m.each[i]);
    m.norm_w = weight_load(&w, weight_need(&w, "ln_f.weight"), 0, m.width);
    m.norm_b = weight_load(&w, weight_need(&w, "ln_f.bias"), 0, m.width);
    m.parameters = (uint64_t)(m.vocab + m.context + 2) * m.width
                 + (uint64_t)m.layers * (m.width * (4 * m.width + 2 * m.inner + 9) + m.inner);
    w.prefix = "";
    if ((head = weight_find(&w, "lm_head.weight")) != NULL) {
        m.head = weight_load(&w, head, m.vocab, m.width);
        if (memcmp(m.head, m.wte, m.vocab * m.width * sizeof *m.wte) == 0) {
            give(m.head);
            m.head = m.wte;
        } else {
            m.parameters += (uint64_t)m.vocab * m.width;
        }
    }
    bar_clear();
    weights_close(&w);
    give(config);
    give(path);
    return m;
}

static void model_give(model *m)
{
    size_t i;

    for (i = 0; i < m->layers; i++) {
        layer *l = &m->each[i];
        float *all[12];
        size_t k;

        all[0] = l->ln1_w, all[1] = l->ln1_b, all[2] = l->qkv_w, all[3] = l->qkv_b;
        all[4] = l->out_w, all[5] = l->out_b, all[6] = l->ln2_w, all[7] = l->ln2_b;
        all[8] = l->up_w, all[9] = l->up_b, all[10] = l->down_w, all[11] = l->down_b;
        for (k = 0; k < 12; k++)
            give(all[k]);
    }
    if (m->head != m->wte)
        give(m->head);
    give(m->wte);
    give(m->wpe);
    give(m->norm_w);
    give(m->norm_b);
    give(m->each);
}

/*
 * Matrix products. Most of the time goes into one loop: rows of x times a panel of COLS columns
 * and at most DEPTH rows that stays in the first-level cache. Eight rows of the panel go into
 * each pass over the COLS sums; the trip count is a constant, so compilers vectorize at -O2.
 */
#define COLS ((size_t)64)
#define DEPTH ((size_t)128)
#define GROUP ((size_t)64)   /* rows that are scored together */

/* out[r][0..cols) += x[r][0..depth) * panel, for r < rows; panel[k][j] is panel[k * step + j],
   depth x COLS; columns from `cols` on may hold anything. */
static void panel_product(float *RESTRICT out, size_t out_stride, size_t cols,
                          const float *RESTRICT x, size_t x_stride, size_t rows,
                          const float *RESTRICT panel, size_t step, size_t depth)
{
    size_t r, k, j;

    for (r = 0; r < rows; r++) {
        const float *RESTRICT a = x + r * x_stride;
        float sum[COLS] = {0.0f};

        memcpy(sum, out + r * out_stride, cols * sizeof *sum);
        for (k = 0; k + 8 <= depth; k += 8) {
            const float *RESTRICT b0 = panel + k * step, *RESTRICT b1 = b0 + step;
            const float *RESTRICT b2 = b1 + step, *RESTRICT b3 = b2 + step;
            const float *RESTRICT b4 = b3 + step, *RESTRICT b5 = b4 + step;
            const float *RESTRICT b6 = b5 + step, *RESTRICT b7 = b6 + step;
            const float a0 = a[k], a1 = a[k + 1], a2 = a[k + 2], a3 = a[k + 3];
            const float a4 = a[k + 4], a5 = a[k + 5], a6 = a[k + 6], a7 = a[k + 7];
            for (j = 0; j < COLS; j++)
                sum[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j]
                        + a4 * b4[j] + a5 * b5[j] + a6 * b6[j] + a7 * b7[j];
        }
        for (; k < depth; k++)
            for (j = 0; j < COLS; j++)
                sum[j] += a[k] * panel[k * step + j];
        memcpy(out + r * out_stride, sum, cols * sizeof *sum);
    }
}

/* panel[k][j] = w[k * k_stride + j * j_stride], columns from cols on zero. */
static void panel_pack(float *RESTRICT panel, const float *RESTRICT w, size_t k_stride,
                       size_t j_stride, size_t depth, size_t cols)
{
    size_t k, j;

    for (k = 0; k < depth; k++) {
        for (j = 0; j < cols; j++)
            panel[k * COLS + j] = w[k * k_stride + j * j_stride];
        for (; j < COLS; j++)
            panel[k * COLS + j] = 0.0f;
    }
}

/* out (rows x cols) = x (rows x depth) * w (depth x cols) + bias (cols) */
static void linear(float *out, const float *x, const float *w, const float *bias, size_t rows,
                   size_t depth, size_t cols)
{
    const ptrdiff_t panels = (ptrdiff_t)((cols + COLS - 1) / COLS);
    ptrdiff_t p;

#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (p = 0; p < panels; p++) {
        float panel[DEPTH * COLS];
        const size_t first = (size_t)p * COLS, n = cols - first < COLS ? cols - first : COLS;
        size_t k, r;

        for (r = 0; r < rows; r++)
            memcpy(out + r * cols + first, bias + first, n * sizeof *out);
        for (k = 0; k < depth; k += DEPTH) {
            const size_t part = depth - k < DEPTH ? depth - k : DEPTH;
            const float *from = w + k * cols + first;
            if (rows < 8 && n == COLS) {   /* too few rows to pay for a copy */
                panel_product(out + first, cols, n, x + k, depth, rows, from, cols, part);
            } else {
                panel_pack(panel, from, cols, 1, part, n);
                panel_product(out + first, cols, n, x + k, depth, rows, panel, COLS, part);
            }
        }
    }
}

/* Eight sums side by side, so that a compiler may keep them in one register. */
static float dot(const float *RESTRICT a, const float *RESTRICT b, size_t n)
{
    float sum[8] = {0.0f};
    size_t i, j;

    for (i = 0; i + 8 <= n; i += 8)
        for (j = 0; j < 8; j++)
            sum[j] += a[i + j] * b[i + j];
    for (; i < n; i++)
        sum[0] += a[i] * b[i];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

static void add_scaled(float *RESTRICT out, float scale, const float *RESTRICT x, size_t n)
{
    size_t i, j;

    for (i = 0; i + 16 <= n; i += 16)
        for (j = 0; j < 16; j++)
            out[i + j] += scale * x[i + j];
    for (; i < n; i++)
        out[i] += scale * x[i];
}

/* out[r] = (x[r] - mean) / sqrt(variance + epsilon) * w + b; out may be x */
static void layer_norm(float *out, const float *x, const float *w, const float *b, size_t rows,
                       size_t width, float epsilon)
{
    size_t r, i;

    for (r = 0; r < rows; r++, x += width, out += width) {
        double mean = 0.0, square = 0.0;
        float center, scale;

        for (i = 0; i < width; i++)
            mean += (double)x[i];
        mean /= (double)width;
        for (i = 0; i < width; i++)
            square += ((double)x[i] - mean) * ((double)x[i] - mean);
        center = (float)mean;
        scale = (float)(1.0 / sqrt(square / (double)width + (double)epsilon));
        for (i = 0; i < width; i++)
            out[i] = (x[i] - center) * scale * w[i] + b[i];
    }
}

static void gelu(float *x, size_t n)
{
    ptrdiff_t i;

#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (i = 0; i < (ptrdiff_t)n; i++)
        x[i] = 0.5f * x[i]
             * (1.0f + tanhf(0.7978845608f * (x[i] + 0.044715f * x[i] * x[i] * x[i])));
}

static void softmax(float *x, size_t n)
{
    float top = x[0], sum = 0.0f;
    size_t i;

    for (i = 1; i < n; i++)
        top = x[i] > top ? x[i] : top;
    for (i = 0; i < n; i++)
        sum += x[i] = expf(x[i] - top);
    for (i = 0; i < n; i++)
        x[i] /= sum;
}

/* What a run of the model needs: the cache of all positions seen, and room to work in. */
typedef struct {
    float *keys, *values;   /* layers x context x width */
    float *x;               /* context x width: token rows go in, final hidden states come out */
    float *y;               /* context x width */
    float *wide;            /* context x max(3 width, inner) */
    float *score;           /* heads x context */
    float *logit;           /* vocab */
} state;

static state state_make(const model *m)
{
    const size_t wide = m->inner > 3 * m->width ? m->inner : 3 * m->width;
    state s;

    s.keys = take_floats(m->layers * m->context, m->width);
    s.values = take_floats(m->layers * m->context, m->width);
    s.x = take_floats(m->context, m->width);
    s.y = take_floats(m->context, m->width);
    s.wide = take_floats(m->context, wide);
    s.score = take_floats(m->heads, m->context);
    s.logit = take_floats(m->vocab, 1);
    return s;
}

static void state_give(state *s)
{
    give(s->keys);
    give(s->values);
    give(s->x);
    give(s->y);
    give(s->wide);
    give(s->score);
    give(s->logit);
}

/* y (count x width) = attention of the queries in `wide` (count x 3 width) over the cache,
   whose positions 0 .. from + count - 1 are filled. A position sees itself and what is before. */
static void attend(const model *m, state *s, const float *keys, const float *values, size_t from,
                   size_t count)
{
    const size_t d = m->width, size = d / m->heads;
    const float scale = 1.0f / sqrtf((float)size);
    ptrdiff_t h;

#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (h = 0; h < (ptrdiff_t)m->heads; h++) {
        const size_t at = (size_t)h * size;
        float *score = s->score + (size_t)h * m->context;
        size_t t, u;

        for (t = 0; t < count; t++) {
            const float *query = s->wide + t * 3 * d + at;
            float *out = s->y + t * d + at;

            for (u = 0; u <= from + t; u++)
                score[u] = scale * dot(query, keys + u * d + at, size);
            softmax(score, from + t + 1);
            memset(out, 0, size * sizeof *out);
            for (u = 0; u <= from + t; u++)
                add_scaled(out, score[u], values + u * d + at, size);
        }
    }
}

/* s->x: rows of `count` tokens (count x width) that stand at positions from, from + 1, ...;
   it becomes their hidden states after the last norm. The cache holds what came before. */
static void forward(const model *m, state *s, size_t from, size_t count)
{
    const size_t d = m->width;
    size_t i, t;

    add_scaled(s->x, 1.0f, m->wpe + from * d, count * d);
    for (i = 0; i < m->layers; i++) {
        const layer *l = &m->each[i];
        float *keys = s->keys + i * m->context * d, *values = s->values + i * m->context * d;

        layer_norm(s->y, s->x, l->ln1_w, l->ln1_b, count, d, m->epsilon);
        linear(s->wide, s->y, l->qkv_w, l->qkv_b, count, d, 3 * d);
        for (t = 0; t < count; t++) {
            memcpy(keys + (from + t) * d, s->wide + (3 * t + 1) * d, d * sizeof *keys);
            memcpy(values + (from + t) * d, s->wide + (3 * t + 2) * d, d * sizeof *values);
        }
        attend(m, s, keys, values, from, count);
        linear(s->wide, s->y, l->out_w, l->out_b, count, d, d);
        add_scaled(s->x, 1.0f, s->wide, count * d);

        layer_norm(s->y, s->x, l->ln2_w, l->ln2_b, count, d, m->epsilon);
        linear(s->wide, s->y, l->up_w, l->up_b, count, d, m->inner);
        gelu(s->wide, count * m->inner);
        linear(s->y, s->wide, l->down_w, l->down_b, count, m->inner, d);
        add_scaled(s->x, 1.0f, s->y, count * d);
    }
    layer_norm(s->x, s->x, m->norm_w, m->norm_b, count, d, m->epsilon);
}

/* ======================================================================================= */
/* TOKENIZER: byte-level BPE as GPT-2 does it                                              */
/* ======================================================================================= */

/*
 * A text is first cut into words by
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * then each word, as bytes, is joined pair by pair in the order of merges.txt.
 *
 * The code points of \p{L} and \p{N} in Unicode 14.0: skip, take, skip, take, ... from 0 on.
 */
static const uint16_t letter_runs[] = {
    65, 26, 6, 26, 47, 1, 10, 1, 4, 1, 5, 23, 1, 31, 1, 458, 4, 12, 14, 5, 7, 1, 1, 1, 129, 5, 1,
    2, 2, 4, 1, 1, 6, 1, 1, 3, 1, 1, 1, 20, 1, 83, 1, 139, 8, 166, 1, 38, 2, 1, 6, 41, 71, 27, 4,
    4, 45, 43, 35, 2, 1, 99, 1, 1, 15, 2, 7, 2, 10, 3, 2, 1, 16, 1, 1, 30, 29, 89, 11, 1, 24, 33,
    9, 2, 4, 1, 5, 22, 4, 1, 9, 1, 3, 1, 23, 25, 7, 11, 5, 24, 1, 6, 17, 42, 58, 54, 3, 1, 18, 1,
    7, 10, 15, 16, 4, 8, 2, 2, 2, 22, 1, 7, 1, 1, 3, 4, 3, 1, 16, 1, 13, 2, 1, 3, 14, 2, 10, 1, 8,
    6, 4, 2, 2, 22, 1, 7, 1, 2, 1, 2, 1, 2, 31, 4, 1, 1, 19, 3, 16, 9, 1, 3, 1, 22, 1, 7, 1, 2, 1,
    5, 3, 1, 18, 1, 15, 2, 23, 1, 11, 8, 2, 2, 2, 22, 1, 7, 1, 2, 1, 5, 3, 1, 30, 2, 1, 3, 15, 1,
    17, 1, 1, 6, 3, 3, 1, 4, 3, 2, 1, 1, 1, 2, 3, 2, 3, 3, 3, 12, 22, 1, 52, 8, 1, 3, 1, 23, 1,
    16, 3, 1, 26, 3, 2, 1, 2, 2, 30, 1, 4, 8, 1, 3, 1, 23, 1, 10, 1, 5, 3, 1, 31, 2, 1, 2, 15, 2,
    17, 9, 1, 3, 1, 41, 2, 1, 16, 1, 5, 3, 8, 3, 24, 6, 5, 18, 3, 24, 1, 9, 1, 1, 2, 7, 58, 48, 1,
    2, 12, 7, 58, 2, 1, 1, 1, 5, 1, 24, 1, 1, 1, 10, 1, 2, 9, 1, 2, 5, 1, 1, 21, 4, 32, 1, 63, 8,
    1, 36, 27, 5, 115, 43, 20, 1, 16, 6, 4, 4, 3, 1, 3, 2, 7, 3, 4, 13, 12, 1, 17, 38, 1, 1, 5, 1,
    2, 43, 1, 333, 1, 4, 2, 7, 1, 1, 1, 4, 2, 41, 1, 4, 2, 33, 1, 4, 2, 7, 1, 1, 1, 4, 2, 15, 1,
    57, 1, 4, 2, 67, 37, 16, 16, 86, 2, 6, 3, 620, 2, 17, 1, 26, 5, 75, 6, 8, 7, 18, 13, 19, 14,
    18, 14, 13, 1, 3, 15, 52, 35, 1, 4, 1, 67, 89, 7, 5, 2, 34, 1, 1, 5, 70, 10, 31, 49, 30, 2, 5,
    11, 44, 4, 26, 54, 23, 9, 53, 82, 1, 93, 47, 17, 8, 54, 30, 13, 2, 10, 44, 26, 36, 41, 3, 10,
    36, 2, 9, 7, 43, 2, 3, 41, 4, 1, 6, 1, 2, 3, 1, 5, 192, 64, 278, 2, 6, 2, 38, 2, 6, 2, 8, 1,
    1, 1, 1, 1, 1, 1, 31, 2, 53, 1, 7, 1, 1, 3, 3, 1, 7, 3, 4, 2, 6, 4, 13, 5, 3, 1, 7, 116, 1,
    13, 1, 16, 13, 101, 1, 4, 1, 2, 10, 1, 1, 3, 5, 6, 1, 1, 1, 1, 1, 1, 4, 1, 11, 2, 4, 5, 5, 4,
    1, 52, 2, 2683, 229, 6, 4, 3, 2, 12, 38, 1, 1, 5, 1, 2, 56, 7, 1, 16, 23, 9, 7, 1, 7, 1, 7, 1,
    7, 1, 7, 1, 7, 1, 7, 1, 7, 80, 1, 469, 2, 42, 5, 5, 2, 4, 86, 6, 3, 1, 90, 1, 4, 5, 43, 1, 94,
    17, 32, 48, 16, 512, 6592, 64, 22157, 67, 46, 2, 269, 3, 16, 10, 2, 20, 47, 16, 31, 2, 70, 49,
    9, 2, 103, 2, 64, 5, 2, 1, 1, 1, 5, 24, 16, 1, 3, 1, 4, 1, 23, 29, 52, 14, 50, 62, 6, 3, 1, 1,
    2, 11, 28, 10, 23, 25, 29, 7, 47, 28, 1, 16, 5, 1, 10, 10, 5, 1, 41, 23, 3, 1, 8, 20, 23, 3,
    1, 3, 50, 1, 1, 3, 2, 2, 5, 2, 1, 1, 1, 24, 3, 2, 11, 7, 3, 12, 6, 2, 6, 2, 6, 9, 7, 1, 7, 1,
    43, 1, 14, 6, 115, 29, 11172, 12, 23, 4, 49, 8452, 366, 2, 106, 38, 7, 12, 5, 5, 1, 1, 10, 1,
    13, 1, 5, 1, 1, 1, 2, 1, 2, 1, 108, 33, 363, 18, 64, 2, 54, 40, 12, 116, 5, 1, 135, 36, 26, 6,
    26, 11, 89, 3, 6, 2, 6, 2, 6, 2, 3, 35, 12, 1, 26, 1, 19, 1, 2, 1, 15, 2, 14, 34, 123, 389,
    29, 3, 49, 47, 32, 13, 20, 1, 8, 6, 38, 10, 30, 2, 36, 4, 8, 48, 158, 18, 36, 4, 36, 4, 40, 8,
    52, 12, 11, 1, 15, 1, 7, 1, 2, 1, 11, 1, 15, 1, 7, 1, 2, 67, 311, 9, 22, 10, 8, 24, 6, 1, 42,
    1, 9, 69, 6, 2, 1, 1, 44, 1, 2, 3, 1, 2, 23, 10, 23, 9, 31, 65, 19, 1, 2, 10, 22, 10, 26, 70,
    56, 6, 2, 64, 1, 15, 4, 1, 3, 1, 29, 42, 29, 3, 29, 35, 8, 1, 28, 27, 54, 10, 22, 10, 19, 13,
    18, 110, 73, 55, 51, 13, 51, 13, 36, 348, 42, 6, 2, 78, 29, 10, 1, 8, 22, 42, 18, 46, 21, 27,
    23, 12, 53, 57, 2, 2, 1, 13, 45, 32, 25, 26, 36, 29, 1, 2, 1, 8, 35, 3, 1, 12, 48, 14, 4, 21,
    1, 1, 1, 35, 18, 1, 25, 84, 7, 1, 1, 1, 4, 1, 15, 1, 10, 7, 47, 38, 8, 2, 2, 2, 22, 1, 7, 1,
    2, 1, 5, 3, 1, 18, 1, 12, 5, 158, 53, 18, 4, 20, 3, 30, 48, 20, 2, 1, 1, 184, 47, 41, 4, 36,
    48, 20, 1, 59, 43, 13, 1, 71, 27, 37, 7, 185, 44, 116, 64, 31, 8, 2, 1, 2, 8, 1, 2, 1, 24, 15,
    1, 1, 1, 94, 8, 2, 39, 16, 1, 1, 1, 28, 1, 10, 40, 7, 1, 21, 1, 11, 46, 19, 1, 18, 73, 263, 9,
    1, 37, 17, 1, 49, 30, 112, 7, 1, 2, 1, 38, 21, 1, 25, 6, 1, 2, 1, 32, 14, 1, 327, 19, 189, 1,
    79, 922, 230, 196, 2636, 97, 15, 1071, 4049, 583, 8633, 569, 7, 31, 17, 79, 17, 30, 18, 48,
    16, 4, 31, 21, 5, 19, 688, 64, 128, 75, 5, 1, 66, 13, 64, 2, 1, 1, 28, 6136, 8, 1238, 42, 9,
    8935, 4, 1, 7, 1, 2, 1, 291, 45, 3, 17, 4, 8, 396, 2308, 107, 5, 13, 3, 9, 7, 10, 5990, 85, 1,
    71, 1, 2, 2, 1, 2, 2, 2, 4, 1, 12, 1, 1, 1, 7, 1, 65, 1, 4, 2, 8, 1, 7, 1, 28, 1, 4, 1, 5, 1,
    1, 3, 7, 1, 340, 2, 25, 1, 25, 1, 31, 1, 25, 1, 31, 1, 25, 1, 31, 1, 25, 1, 31, 1, 25, 1, 8,
    1844, 31, 481, 45, 10, 7, 16, 1, 321, 30, 18, 44, 1268, 7, 1, 4, 1, 2, 1, 15, 1, 197, 59, 68,
    7, 1, 1204, 4, 1, 27, 1, 2, 1, 1, 2, 1, 1, 10, 1, 4, 1, 1, 1, 1, 6, 1, 4, 1, 1, 1, 1, 1, 1, 3,
    1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 2, 4, 1, 7, 1, 4, 1, 4, 1, 1, 1, 10, 1,
    17, 5, 3, 1, 5, 1, 17, 4420, 42720, 32, 4153, 7, 222, 2, 5762, 14, 7473, 3103, 542, 1506,
    4939,
};

static const uint16_t number_runs[] = {
    48, 10, 120, 2, 5, 1, 2, 3, 1441, 10, 134, 10, 198, 10, 412, 10, 118, 10, 4, 6, 108, 10, 118,
    10, 118, 10, 2, 6, 110, 13, 115, 10, 8, 7, 103, 10, 104, 7, 7, 19, 109, 10, 96, 10, 118, 10,
    70, 20, 268, 10, 70, 10, 719, 20, 881, 3, 239, 10, 6, 10, 22, 10, 300, 10, 128, 11, 165, 10,
    6, 10, 182, 10, 86, 10, 134, 10, 6, 10, 1046, 1, 3, 6, 6, 10, 198, 51, 2, 5, 726, 60, 78, 22,
    630, 30, 1385, 1, 777, 1, 25, 9, 14, 3, 343, 4, 138, 10, 30, 8, 1, 15, 32, 10, 39, 15, 29536,
    10, 188, 10, 320, 6, 154, 10, 38, 10, 198, 10, 22, 10, 86, 10, 406, 10, 21270, 10, 493, 45,
    12, 57, 17, 2, 341, 27, 36, 4, 29, 1, 8, 1, 134, 5, 202, 10, 942, 8, 25, 7, 39, 9, 75, 5, 22,
    6, 160, 2, 2, 16, 2, 46, 64, 9, 52, 2, 30, 3, 75, 5, 104, 8, 24, 8, 41, 7, 330, 6, 48, 10,
    294, 31, 158, 10, 42, 4, 112, 7, 134, 30, 128, 10, 60, 10, 144, 10, 7, 20, 251, 10, 342, 10,
    118, 10, 374, 10, 102, 10, 102, 12, 420, 19, 93, 10, 758, 29, 227, 10, 70, 10, 534, 21, 1067,
    111, 17905, 10, 86, 10, 134, 10, 1, 7, 798, 23, 25673, 20, 108, 25, 1109, 50, 2368, 10, 422,
    10, 1485, 9, 128, 10, 791, 59, 1, 3, 1, 4, 76, 45, 1, 15, 962, 13, 2787, 10,
};

/* White_Space, which is what \s means here: first and last of each run. */
static const uint16_t space_runs[] = {
    0x0009, 0x000d, 0x0020, 0x0020, 0x0085, 0x0085, 0x00a0, 0x00a0, 0x1680, 0x1680,
    0x2000, 0x200a, 0x2028, 0x2029, 0x202f, 0x202f, 0x205f, 0x205f, 0x3000, 0x3000,
};

enum { OTHER, LETTER, NUMBER, SPACE };   /* classes of characters */
#define CLASSES_END 0x32000u             /* all from here on are OTHER */

#define NO_ID UINT32_MAX

typedef struct {
    uint32_t left, right;   /* ids; left NO_ID: the slot is empty */
    uint32_t rank, joined;
} merge;

typedef struct {
    uint32_t vocab;             /* ids are below this */
    bytes *token;               /* vocab: what each id stands for; data NULL: nothing */
    uint32_t *slot;             /* slots: ids hashed by their bytes, or NO_ID */
    size_t slots;               /* a power of two */
    merge *pair;                /* pairs: hashed by both ids */
    size_t pairs;               /* a power of two */
    uint32_t byte_id[256];      /* the id of each single byte */
    uint32_t end_of_text;       /* <|endoftext|>, or NO_ID */
    unsigned char *kind;        /* CLASSES_END: LETTER, NUMBER, ... of each code point */
} tokenizer;

/* GPT-2 writes bytes as characters: printable Latin-1 as itself, the rest from U+0100 on. */
static uint32_t byte_to_char(uint32_t byte)
{
    if ((byte > 32 && byte < 127) || (byte > 160 && byte != 173))
        return byte;
    return 256 + (byte < 33 ? byte : byte < 161 ? byte - 94 : 67);
}

/* The bytes that a string of such characters stands for; itself when it is not one of them. */
static bytes token_bytes(bytes text)
{
    static int32_t back[324];
    bytes out = {NULL, 0};
    uint32_t i, c;
    size_t at;

    if (back[33] == 0) {
        memset(back, 0xff, sizeof back);
        for (i = 0; i < 256; i++)
            back[byte_to_char(i)] = (int32_t)i;
    }
    out.data = (unsigned char *)take(text.size + 1, 1);
    for (at = 0; at < text.size;) {
        at += utf8_get(text.data + at, text.size - at, &c);
        if (c >= 324 || back[c] < 0) {
            memcpy(out.data, text.data, text.size);
            out.size = text.size;
            return out;
        }
        out.data[out.size++] = (unsigned char)back[c];
    }
    return out;
}

static size_t hash_bytes(bytes b)
{
    uint64_t h = 14695981039346656037u;   /* FNV-1a */
    size_t i;

    for (i = 0; i < b.size; i++)
        h = (h ^ b.data[i]) * 1099511628211u;
    return (size_t)(h ^ h >> 29);
}

/* Where the id of these bytes stands, or would stand. */
static uint32_t *token_slot(const tokenizer *t, bytes b)
{
    size_t at = hash_bytes(b) & (t->slots - 1);

    while (t->slot[at] != NO_ID && (t->token[t->slot[at]].size != b.size
                                    || memcmp(t->token[t->slot[at]].data, b.data, b.size) != 0))
        at = (at + 1) & (t->slots - 1);
    return &t->slot[at];
}

static merge *merge_slot(const tokenizer *t, uint32_t left, uint32_t right)
{
    const uint64_t h = (left * 0x9e3779b97f4a7c15u) ^ (right * 0xc2b2ae3d27d4eb4fu);
    size_t at = (size_t)(h ^ h >> 31) & (t->pairs - 1);

    while (t->pair[at].left != NO_ID
           && (t->pair[at].left != left || t->pair[at].right != right))
        at = (at + 1) & (t->pairs - 1);
    return &t->pair[at];
}

static size_t table_size(size_t entries)
{
    size_t size = 16;
    while (size < entries * 2)
        size *= 2;
    return size;
}

static void load_vocab(tokenizer *t, const char *path)
{
    const bytes text = read_file(&first_trouble, path);
    json j = json_parse(&first_trouble, path, 0, text.data, text.size);
    size_t k, i;

    t->token = (bytes *)take(t->vocab, sizeof *t->token);
    for (i = 0; i < t->vocab; i++) {
        t->token[i].data = NULL;
        t->token[i].size = 0;
    }
    t->slots = table_size(j.count / 2);
    t->slot = (uint32_t *)take(t->slots, sizeof *t->slot);
    memset(t->slot, 0xff, t->slots * sizeof *t->slot);
    for (k = json_first(&j, 0, JSON_OBJECT); k; k = json_after(&j, 0, k + 1)) {
        const uint32_t id = (uint32_t)json_whole(&j, k + 1, 0, t->vocab - 1);
        bytes name = json_string(&j, k), b = token_bytes(name);
        uint32_t *slot = token_slot(t, b);

        if (t->token[id].data || *slot != NO_ID)
            fail("%s: byte %zu: token \"%.40s\" or id %u for the second time", path,
                 j.node[k].begin, (const char *)name.data, (unsigned)id);
        *slot = id;
        t->token[id] = b;
        give(name.data);
    }
    give(j.node);
    give(text.data);
    for (i = 0; i < 256; i++) {
        unsigned char c = (unsigned char)i;
        bytes one = {NULL, 1};
        one.data = &c;
        t->byte_id[i] = *token_slot(t, one);
        if (t->byte_id[i] == NO_ID)
            fail("%s: no token for the single byte %zu", path, i);
    }
}

static uint32_t known_token(const tokenizer *t, const char *path, size_t line, bytes b)
{
    const uint32_t id = *token_slot(t, b);
    if (id == NO_ID)
        fail("%s: line %zu: a piece or its whole is not in vocab.json", path, line);
    return id;
}

/* "left right" on one line of merges.txt */
static void add_merge(tokenizer *t, const char *path, size_t line, bytes text, uint32_t rank)
{
    const unsigned char *gap = (const unsigned char *)memchr(text.data, ' ', text.size);
    bytes left = text, right = text, both;
    uint32_t l, r;
    merge *m;

    if (!gap || gap == text.data || gap + 1 == text.data + text.size
        || memchr(gap + 1, ' ', (size_t)(text.data + text.size - gap - 1)))
        fail("%s: line %zu: not two pieces with one space between them", path, line);
    left.size = (size_t)(gap - text.data);
    right.data = text.data + left.size + 1;
    right.size = text.size - left.size - 1;
    left = token_bytes(left);
    right = token_bytes(right);
    both.data = (unsigned char *)take(left.size + right.size, 1);
    both.size = left.size + right.size;
    memcpy(both.data, left.data, left.size);
    memcpy(both.data + left.size, right.data, right.size);
    l = known_token(t, path, line, left);
    r = known_token(t, path, line, right);
    m = merge_slot(t, l, r);
    if (m->left == NO_ID) {   /* a pair that comes again keeps its first rank */
        m->left = l;
        m->right = r;
        m->rank = rank;
        m->joined = known_token(t, path, line, both);
    }
    give(left.data);
    give(right.data);
    give(both.data);
}

static void load_merges(tokenizer *t, const char *path)
{
    const bytes text = read_file(&first_trouble, path);
    size_t at, line = 0, lines = 1;
    uint32_t rank = 0;

    for (at = 0; at < text.size; at++)
        lines += text.data[at] == '\n';
    if (lines > UINT32_MAX / 4)
        fail("%s: too many lines", path);
    t->pairs = table_size(lines);
    t->pair = (merge *)take(t->pairs, sizeof *t->pair);
    memset(t->pair, 0xff, t->pairs * sizeof *t->pair);
    for (at = 0; at < text.size; at++) {
        bytes one = {NULL, 0};

        one.data = text.data + at;
        while (at < text.size && text.data[at] != '\n')
            at++;
        one.size = (size_t)(text.data + at - one.data);
        if (one.size && one.data[one.size - 1] == '\r')
            one.size--;
        if (++line == 1 && one.size >= 8 && memcmp(one.data, "#version", 8) == 0)
            continue;
        if (one.size)
            add_merge(t, path, line, one, rank++);
    }
    give(text.data);
}

static void take_runs(unsigned char *kind, const uint16_t *run, size_t runs, int what)
{
    size_t at = 0, i;

    for (i = 0; i < runs; i += 2) {
        at += run[i];
        memset(kind + at, what, run[i + 1]);
        at += run[i + 1];
    }
}

static tokenizer tokenizer_load(const char *folder, size_t vocab)
{
    char *words = path_join(&first_trouble, folder, "vocab.json");
    char *merges = path_join(&first_trouble, folder, "merges.txt");
    tokenizer t;
    bytes end = {NULL, 0};
    size_t i;

    memset(&t, 0, sizeof t);
    t.vocab = (uint32_t)vocab;
    load_vocab(&t, words);
    load_merges(&t, merges);
    end.size = strlen("<|endoftext|>");
    end.data = (unsigned char *)take(end.size, 1);
    memcpy(end.data, "<|endoftext|>", end.size);
    t.end_of_text = *token_slot(&t, end);
    give(end.data);

    t.kind = (unsigned char *)take(CLASSES_END, 1);
    memset(t.kind, OTHER, CLASSES_END);
    take_runs(t.kind, letter_runs, sizeof letter_runs / sizeof *letter_runs, LETTER);
    take_runs(t.kind, number_runs, sizeof number_runs / sizeof *number_runs, NUMBER);
    for (i = 0; i < sizeof space_runs / sizeof *space_runs; i += 2)
        memset(t.kind + space_runs[i], SPACE, (size_t)space_runs[i + 1] - space_runs[i] + 1);
    give(words);
    give(merges);
    return t;
}

static void tokenizer_give(tokenizer *t)
{
    uint32_t i;

    for (i = 0; i < t->vocab; i++)
        give(t->token[i].data);
    give(t->token);
    give(t->slot);
    give(t->pair);
    give(t->kind);
}

/* The class of the character at `at` and its length; a byte that is not UTF-8 is OTHER. */
static int kind_at(const tokenizer *t, bytes text, size_t at, size_t *length)
{
    uint32_t c;

    *length = utf8_get(text.data + at, text.size - at, &c);
    return c < CLASSES_END ? (int)t->kind[c] : (int)OTHER;
}

/* The end of the run of characters of one kind that begins at `at`. */
static size_t run_end(const tokenizer *t, bytes text, size_t at, int kind)
{
    size_t length;

    while (at < text.size && kind_at(t, text, at, &length) == kind)
        at += length;
    return at;
}

/* The end of the word that begins at `at`: the alternatives of the pattern above, in order. */
static size_t word_end(const tokenizer *t, bytes text, size_t at)
{
    static const char *const tails[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    size_t i, length, end, last;
    int kind;

    for (i = 0; text.data[at] == '\'' && i < sizeof tails / sizeof *tails; i++) {
        length = strlen(tails[i]);
        if (text.size - at >= length && memcmp(text.data + at, tails[i], length) == 0)
            return at + length;
    }
    kind = kind_at(t, text, at, &length);
    if (text.data[at] == ' ' && at + 1 < text.size) {
        const int next = kind_at(t, text, at + 1, &length);
        if (next != SPACE)
            return run_end(t, text, at + 1, next);
    }
    if (kind != SPACE)
        return run_end(t, text, at, kind);
    /* White space leaves its last character to the word that follows, unless it is alone. */
    for (end = last = at; end < text.size && kind_at(t, text, end, &length) == SPACE;) {
        last = end;
        end += length;
    }
    return end < text.size && last > at ? last : end;
}

/* A pair of neighbours that can be joined. Stale once either has changed. */
typedef struct {
    uint32_t rank, left_id, right_id, joined;
    size_t left, right;   /* places in the word */
} candidate;

typedef struct {
    uint32_t *id;               /* room: symbols of the word, NO_ID once swallowed */
    size_t *before, *after;     /* room: neighbours; SIZE_MAX: none */
    candidate *heap;            /* 3 room: the least (rank, left) first */
    size_t room, heap_size;
} bpe;

static int candidate_less(const candidate *a, const candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static void bpe_push(const tokenizer *t, bpe *w, size_t left, size_t right)
{
    const merge *m = merge_slot(t, w->id[left], w->id[right]);
    candidate c;
    size_t at = w->heap_size;

    if (m->left == NO_ID)
        return;
    c.rank = m->rank;
    c.joined = m->joined;
    c.left_id = w->id[left];
    c.right_id = w->id[right];
    c.left = left;
    c.right = right;
    w->heap_size++;
    for (; at && candidate_less(&c, &w->heap[(at - 1) / 2]); at = (at - 1) / 2)
        w->heap[at] = w->heap[(at - 1) / 2];
    w->heap[at] = c;
}

static candidate bpe_pop(bpe *w)
{
    const candidate top = w->heap[0], last = w->heap[--w->heap_size];
    size_t at = 0, child;

    while ((child = 2 * at + 1) < w->heap_size) {
        if (child + 1 < w->heap_size && candidate_less(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!candidate_less(&w->heap[child], &last))
            break;
        w->heap[at] = w->heap[child];
        at = child;
    }
    w->heap[at] = last;
    return top;
}

/* Joins the symbols of one word, in n log n even when the word is a megabyte. */
static size_t encode_word(const tokenizer *t, bpe *w, const unsigned char *s, size_t n,
                          uint32_t *ids)
{
    size_t i, count = 0;

    if (n > w->room) {
        w->room = n * 2;
        w->id = (uint32_t *)resize(w->id, w->room, sizeof *w->id);
        w->before = (size_t *)resize(w->before, w->room, sizeof *w->before);
        w->after = (size_t *)resize(w->after, w->room, sizeof *w->after);
        w->heap = (candidate *)resize(w->heap, w->room, 3 * sizeof *w->heap);
    }
    for (i = 0; i < n; i++) {
        w->id[i] = t->byte_id[s[i]];
        w->before[i] = i ? i - 1 : SIZE_MAX;
        w->after[i] = i + 1 < n ? i + 1 : SIZE_MAX;
    }
    w->heap_size = 0;
    for (i = 0; i + 1 < n; i++)
        bpe_push(t, w, i, i + 1);
    while (w->heap_size) {
        const candidate c = bpe_pop(w);
        const size_t after = w->after[c.right];

        if (w->id[c.left] != c.left_id || w->id[c.right] != c.right_id
            || w->after[c.left] != c.right)
            continue;
        w->id[c.left] = c.joined;
        w->id[c.right] = NO_ID;
        w->after[c.left] = after;
        if (after != SIZE_MAX) {
            w->before[after] = c.left;
            bpe_push(t, w, c.left, after);
        }
        if (w->before[c.left] != SIZE_MAX)
            bpe_push(t, w, w->before[c.left], c.left);
    }
    for (i = 0; i != SIZE_MAX && n; i = w->after[i])
        ids[count++] = w->id[i];
    return count;
}

/* The ids of a text in a new block; *count of them. */
static uint32_t *encode(const tokenizer *t, bytes text, size_t *count)
{
    uint32_t *ids = (uint32_t *)take(text.size ? text.size : 1, sizeof *ids);
    size_t at, end;
    bpe work;

    memset(&work, 0, sizeof work);
    *count = 0;
    for (at = 0; at < text.size; at = end) {
        end = word_end(t, text, at);
        *count += encode_word(t, &work, text.data + at, end - at, ids + *count);
    }
    give(work.id);
    give(work.before);
    give(work.after);
    give(work.heap);
    return ids;
}

/* The bytes of `count` ids in a new block. */
static bytes decode(const tokenizer *t, const uint32_t *ids, size_t count)
{
    bytes text = {NULL, 0};
    size_t i;

    for (i = 0; i < count; i++)
        text.size += t->token[ids[i]].size;
    text.data = (unsigned char *)take(text.size + 1, 1);
    text.size = 0;
    for (i = 0; i < count; i++) {
        const bytes b = t->token[ids[i]];
        if (b.size)
            memcpy(text.data + text.size, b.data, b.size);
        text.size += b.size;
    }
    text.data[text.size] = 0;
    return text;
}

/* ======================================================================================= */
/* WEIGHTS: how much each row of the table matters                                         */
/* ======================================================================================= */

/* The weight of a row is the square root of its token's count. At the input a row's error is met
   as often as its token; at the output every row takes part in every score, rare or not. Weights
   must be above 0, and a token that no text held is rare, not impossible: half a count more. */
static float weight_of_count(uint64_t count)
{
    return (float)sqrt((double)count + 0.5);
}

/* The weights of all rows, in a new block, from a text cut by the model's own tokenizer. */
static float *weights_of_text(const tokenizer *t, const char *path)
{
    const bytes text = read_file(&first_trouble, path);
    size_t tokens, i;
    uint32_t *ids = encode(t, text, &tokens);
    uint64_t *count = (uint64_t *)take(t->vocab, sizeof *count);
    float *weight = take_floats(t->vocab, 1);

    if (tokens == 0)
        fail("%s: no tokens to count", path);
    memset(count, 0, t->vocab * sizeof *count);
    for (i = 0; i < tokens; i++)
        count[ids[i]]++;
    for (i = 0; i < t->vocab; i++)
        weight[i] = weight_of_count(count[i]);
    give(count);
    give(ids);
    give(text.data);
    return weight;
}

/* The same from a list of counts by token id, [5834, 25137, ...]. */
static float *weights_of_counts(const tokenizer *t, const char *path)
{
    const bytes text = read_file(&first_trouble, path);
    json j = json_parse(&first_trouble, path, 0, text.data, text.size);
    float *weight = take_floats(t->vocab, 1);
    size_t k, i = 0;

    for (k = json_first(&j, 0, JSON_ARRAY); k; k = json_after(&j, 0, k), i++)
        if (i < t->vocab)
            weight[i] = weight_of_count(json_whole(&j, k, 0, INT64_MAX));
    if (i != t->vocab)
        fail("%s: %zu counts, the vocabulary has %lu tokens", path, i, (unsigned long)t->vocab);
    give(j.node);
    give(text.data);
    return weight;
}

/* ======================================================================================= */
/* COMPRESSED TABLES: every call of tt_embed.h is here                                     */
/* ======================================================================================= */

typedef enum { KIND_DENSE, KIND_ROUNDED, KIND_TT } table_kind;

/* A table to read rows from and to score with: dense, rounded block by block, or compressed. */
typedef struct {
    table_kind kind;
    size_t vocab, width, size;   /* size: bytes of the table */
    double numbers;              /* stored for a token, scales not counted */
    const float *dense;          /* KIND_DENSE: vocab x width */
    int bits;                    /* KIND_ROUNDED: of a number, 2 to 8 */
    size_t group;                /* KIND_ROUNDED: numbers that share a scale, a multiple of 8
                                    unless it is the whole row */
    size_t stride;               /* KIND_ROUNDED: bytes a row */
    unsigned char *rounded;      /* KIND_ROUNDED: vocab x stride, and one byte more */
    tte_image image;             /* KIND_TT: the bytes, as tte_save would write them */
    tte_table view;              /* KIND_TT: reads rows straight from those bytes */
    tte_info info;               /* KIND_TT */
    float *scratch;              /* KIND_TT: tte_scratch_len(&view) */
} table;

static table table_dense(const float *dense, size_t vocab, size_t width)
{
    table t;

    memset(&t, 0, sizeof t);
    t.kind = KIND_DENSE;
    t.vocab = vocab;
    t.width = width;
    t.size = vocab * width * sizeof *dense;
    t.numbers = (double)width;
    t.dense = dense;
    return t;
}

/* The nearest float16 of a number, no larger than the largest finite one. */
static uint32_t float_to_half(float x)
{
    const float least = 1.0f / 16777216.0f;   /* 2^-24, the step of the subnormals */
    const uint32_t sign = x < 0.0f ? 0x8000u : 0u;
    int exponent;
    uint32_t half;

    x = fabsf(x);
    if (!(x < 65504.0f))
        return sign | 0x7bff;
    if (x < 1024.0f * least)
        return sign | (uint32_t)(x / least + 0.5f);
    frexpf(x, &exponent);   /* x = f * 2^exponent, f from 1/2 to 1: eleven bits of f stay */
    half = (uint32_t)(ldexpf(x, 11 - exponent) + 0.5f);
    return sign | (half + ((uint32_t)(exponent + 13) << 10));
}

/* The code of x: the multiple of scale that is nearest, from -2^(bits-1) to 2^(bits-1) - 1. */
static float rounded_code(float x, float scale, int bits)
{
    const float least = -(float)(1 << (bits - 1));
    const float q = scale < 0.0f || scale > 0.0f ? floorf(x / scale + 0.5f) : 0.0f;
    return q < least ? least : q > -1.0f - least ? -1.0f - least : q;
}

/* The float16 scale for n numbers. The number of largest magnitude would take the lowest code; a
   smaller scale cuts it off and serves the others, so the best of some is taken, in squared error:
   what rounding can do, since others are measured against it. */
static uint32_t rounded_scale(const float *x, size_t n, int bits)
{
    float top = 0.0f, least = -1.0f;
    uint32_t best = 0;
    size_t i;
    int c;

    for (i = 0; i < n; i++)
        top = fabsf(x[i]) > fabsf(top) ? x[i] : top;
    for (c = 0; c < 8; c++) {
        const uint32_t half = float_to_half(top / -(float)(1 << (bits - 1))
                                            * (1.0f - 0.07f * (float)c));
        const float scale = half_to_float(half);
        float error = 0.0f;

        for (i = 0; i < n; i++) {
            const float off = x[i] - scale * rounded_code(x[i], scale, bits);
            error += off * off;
        }
        if (c == 0 || error < least) {
            least = error;
            best = half;
        }
    }
    return best;
}

/* Bytes of n numbers that share a scale, the scale among them. */
static size_t rounded_size(size_t n, int bits)
{
    return 2 + (n * (size_t)bits + 7) / 8;
}

/* Rounding: a block of numbers is its float16 scale, then `bits` bits for each of them. */
static table table_rounded(const float *dense, size_t vocab, size_t width, int bits, size_t group)
{
    const size_t whole = width / group, rest = width % group;
    table t = table_dense(NULL, vocab, width);
    size_t i, k, at;

    t.kind = KIND_ROUNDED;
    t.bits = bits;
    t.group = group;
    t.stride = whole * rounded_size(group, bits) + (rest ? rounded_size(rest, bits) : 0);
    t.size = vocab * t.stride;
    t.rounded = (unsigned char *)take(t.size + 1, 1);
    memset(t.rounded, 0, t.size + 1);
    for (i = 0; i < vocab; i++) {
        unsigned char *out = t.rounded + i * t.stride;

        for (at = 0; at < width; at += group, out += rounded_size(group, bits)) {
            const size_t n = width - at < group ? width - at : group;
            const float *x = dense + i * width + at;
            const uint32_t half = rounded_scale(x, n, bits);
            const float scale = half_to_float(half);

            out[0] = (unsigned char)(half & 255);
            out[1] = (unsigned char)(half >> 8);
            for (k = 0; k < n; k++) {   /* a code may reach into a second byte */
                const size_t bit = k * (size_t)bits;
                const int code = (int)rounded_code(x[k], scale, bits) + (1 << (bits - 1));
                const uint32_t two = (uint32_t)code << bit % 8;
                out[2 + bit / 8] = (unsigned char)(out[2 + bit / 8] | (two & 255));
                if (two >> 8)
                    out[3 + bit / 8] = (unsigned char)(out[3 + bit / 8] | two >> 8);
            }
        }
    }
    return t;
}

/* row (width) = the rounded row of one token */
static void rounded_row(const table *t, uint32_t token, float *row)
{
    const int middle = 1 << (t->bits - 1), mask = 2 * middle - 1;
    const unsigned char *in = t->rounded + token * t->stride;
    size_t at, k;

    for (at = 0; at < t->width; at += t->group, in += rounded_size(t->group, t->bits)) {
        const size_t n = t->width - at < t->group ? t->width - at : t->group;
        const float scale = half_to_float(get16(in));

        for (k = 0; k < n; k++) {
            const size_t bit = k * (size_t)t->bits;
            const int code = (int)(get16(in + 2 + bit / 8) >> bit % 8) & mask;
            row[at + k] = scale * (float)(code - middle);
        }
    }
}

static int show_compression(void *user, double fraction)
{
    const double *from = (const double *)user;   /* where on the bar it begins and ends */
    bar_show(from[0] + (from[1] - from[0]) * fraction, "compressing");
    return 0;
}

/* NULL, or the library's word on why there is no such table. */
static const char *table_compressed(const float *dense, size_t vocab, size_t width,
                                    tte_options options, double bar_from, double bar_to, table *t)
{
    double span[2];
    tte_status status;

    span[0] = bar_from;
    span[1] = bar_to;
    options.progress = show_compression;
    options.progress_user = span;
    *t = table_dense(NULL, vocab, width);
    t->kind = KIND_TT;
    status = tte_compress(dense, vocab, width, &options, &t->image);
    if (status == TTE_OK)
        status = tte_open(&t->view, t->image.data, t->image.size);
    if (status == TTE_OK)
        status = tte_verify(&t->view);
    if (status == TTE_OK)
        status = tte_get_info(&t->view, &t->info);
    if (status != TTE_OK) {
        tte_free(&t->image);
        return tte_status_text(status);
    }
    t->size = t->info.bytes;
    t->numbers = t->info.mean_numbers;
    t->scratch = take_floats(tte_scratch_len(&t->view), 1);
    return NULL;
}

static void table_give(table *t)
{
    give(t->rounded);
    give(t->scratch);
    tte_free(&t->image);
}

static void must(tte_status status)
{
    if (status != TTE_OK)
        fail("tt_embed: %s", tte_status_text(status));
}

/* row (width) = the row of one token */
static void table_row(const table *t, uint32_t token, float *row)
{
    if (t->kind == KIND_DENSE) {
        memcpy(row, t->dense + token * t->width, t->width * sizeof *row);
    } else if (t->kind == KIND_TT) {
        must(tte_lookup(&t->view, token, row, t->scratch));
    } else {
        rounded_row(t, token, row);
    }
}

/* rows (count x width) = the rows of `count` tokens */
static void table_rows(const table *t, const uint32_t *tokens, size_t count, float *rows)
{
    size_t i;

    if (t->kind == KIND_TT)
        must(tte_lookup_batch(&t->view, tokens, count, rows, t->scratch));
    else
        for (i = 0; i < count; i++)
            table_row(t, tokens[i], rows + i * t->width);
}

/* out (vocab x width) = all rows, through the same lookups */
static void table_decode(const table *t, float *out)
{
    uint32_t tokens[256];
    size_t first, i;

    for (first = 0; first < t->vocab; first += 256) {
        const size_t n = t->vocab - first < 256 ? t->vocab - first : 256;
        for (i = 0; i < n; i++)
            tokens[i] = (uint32_t)(first + i);
        table_rows(t, tokens, n, out + first * t->width);
    }
}

/* out (vocab) = inner products of hidden (width) with all rows; rounded tables never write */
static void table_scores(const table *t, const float *hidden, float *out)
{
    size_t i;

    if (t->kind == KIND_TT)
        must(tte_logits(&t->view, hidden, 0, (uint32_t)t->vocab, out, t->scratch));
    else
        for (i = 0; i < t->vocab; i++)
            out[i] = dot(hidden, t->dense + i * t->width, t->width);
}

/* ======================================================================================= */
/* MEASURING                                                                               */
/* ======================================================================================= */

/* loss[r] = -log of the probability of target[r] after hidden row r, for rows <= GROUP.
   The scores against table (vocab x width) are made COLS tokens at a time and not kept. */
static void losses(const float *hidden, size_t rows, const float *dense, size_t vocab,
                   size_t width, const uint32_t *target, double *loss)
{
    float panel[DEPTH * COLS], score[GROUP * COLS], top[GROUP], wanted[GROUP];
    double sum[GROUP];
    size_t first, k, r, j;

    for (r = 0; r < rows; r++) {
        top[r] = wanted[r] = 0.0f;
        sum[r] = 0.0;
    }
    for (first = 0; first < vocab; first += COLS) {
        const size_t n = vocab - first < COLS ? vocab - first : COLS;

        memset(score, 0, rows * COLS * sizeof *score);
        for (k = 0; k < width; k += DEPTH) {
            const size_t part = width - k < DEPTH ? width - k : DEPTH;
            panel_pack(panel, dense + first * width + k, 1, width, part, n);
            panel_product(score, COLS, COLS, hidden + k, width, rows, panel, COLS, part);
        }
        for (r = 0; r < rows; r++) {
            const float *s = score + r * COLS;
            float high = first ? top[r] : s[0], part = 0.0f;

            for (j = 0; j < n; j++)
                high = s[j] > high ? s[j] : high;
            for (j = 0; j < n; j++)
                part += expf(s[j] - high);
            sum[r] = (first ? sum[r] * exp((double)top[r] - (double)high) : 0.0) + (double)part;
            top[r] = high;
            if (target[r] >= first && target[r] - first < n)
                wanted[r] = s[target[r] - first];
        }
    }
    for (r = 0; r < rows; r++)
        loss[r] = log(sum[r]) + (double)top[r] - (double)wanted[r];
}

/* Adds the losses of a window's positions under one output table to *total. */
static void add_losses(const model *m, const state *s, const float *dense, const uint32_t *target,
                       size_t count, double *total)
{
    const ptrdiff_t groups = (ptrdiff_t)((count + GROUP - 1) / GROUP);
    double *loss = (double *)take(count, sizeof *loss);
    ptrdiff_t g;
    size_t i;

#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic)
#endif
    for (g = 0; g < groups; g++) {
        const size_t at = (size_t)g * GROUP, n = count - at < GROUP ? count - at : GROUP;
        losses(s->x + at * m->width, n, dense, m->vocab, m->width, target + at, loss + at);
    }
    for (i = 0; i < count; i++)
        *total += loss[i];
    give(loss);
}

/*
 * The perplexity of ids[1 .. count), token rows from `input`, scores from dense tables
 * output[0 .. outputs), one result each. The text is cut into windows of the context's length;
 * each token of a window predicts the next one, the last one the first of the next window.
 */
static void perplexity(const model *m, state *s, const uint32_t *ids, size_t count,
                       const table *input, const float *const *output, size_t outputs,
                       double bar_from, double bar_to, double *result)
{
    size_t at, i, n;

    for (i = 0; i < outputs; i++)
        result[i] = 0.0;
    for (at = 0; at + 1 < count; at += n) {
        bar_show(bar_from + (bar_to - bar_from) * (double)at / (double)count, "perplexity");
        n = count - 1 - at < m->context ? count - 1 - at : m->context;
        table_rows(input, ids + at, n, s->x);
        forward(m, s, 0, n);
        for (i = 0; i < outputs; i++)
            add_losses(m, s, output[i], ids + at + 1, n, &result[i]);
    }
    for (i = 0; i < outputs; i++)
        result[i] = exp(result[i] / (double)(count - 1));
}

/* |a - b| / |a| of two tables of n numbers */
static double relative_error(const float *a, const float *b, size_t n)
{
    double off = 0.0, all = 0.0;
    size_t i;

    for (i = 0; i < n; i++) {
        const double x = (double)a[i], d = x - (double)b[i];
        off += d * d;
        all += x * x;
    }
    return all > 0.0 ? sqrt(off / all) : 0.0;
}

/* A generator of our own (xorshift64*), so that every machine draws the same. */
static uint32_t draw(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return (uint32_t)((*seed * 2685821657736338717u) >> 32);
}

/* Microseconds to read the row of one token, tokens drawn at random; the best of three runs. */
static double lookup_time(const table *t, float *row)
{
    uint64_t seed = 88172645463325252u;
    double best = 0.0;
    int run, i;

    for (run = 0; run < 3; run++) {
        const double start = seconds();
        double passed, reads = 0.0;

        do {
            for (i = 0; i < 64; i++)
                table_row(t, (uint32_t)(draw(&seed) % t->vocab), row);
            reads += 64.0;
            passed = seconds() - start;
        } while (passed < 0.01);
        if (run == 0 || passed / reads < best)
            best = passed / reads;
    }
    return best * 1e6;
}

/* ======================================================================================= */
/* GENERATION: token by token, with the cache                                              */
/* ======================================================================================= */

#define TOP ((size_t)20)   /* sampling is among the TOP best tokens, at temperature 0.8 */

/* Scores of the token after ids[0 .. count), into s->logit; the first `seen` are in the cache.
   Rows come from `input`; scores from `output`. */
static void next_scores(const model *m, state *s, const table *input, const table *output,
                        const uint32_t *ids, size_t seen, size_t count)
{
    size_t i;

    for (i = seen; i < count; i++)
        table_row(input, ids[i], s->x + (i - seen) * m->width);
    forward(m, s, seen, count - seen);
    table_scores(output, s->x + (count - seen - 1) * m->width, s->logit);
}

/* The `count` (<= TOP) best ids by score, best first; the lower id where scores are equal. */
static size_t best_ids(const float *score, size_t vocab, size_t count, uint32_t *best)
{
    size_t found = 0, i, k;

    for (i = 0; i < vocab; i++) {
        if (found == count && !(score[i] > score[best[found - 1]]))
            continue;
        for (k = found < count ? found++ : found - 1; k && score[i] > score[best[k - 1]]; k--)
            best[k] = best[k - 1];
        best[k] = (uint32_t)i;
    }
    return found;
}

static uint32_t sample(const float *score, size_t vocab, uint64_t *seed)
{
    uint32_t best[TOP];
    float p[TOP], left = (float)(draw(seed) >> 8) / 16777216.0f;
    const size_t n = best_ids(score, vocab, TOP, best);
    size_t i;

    for (i = 0; i < n; i++)
        p[i] = score[best[i]] / 0.8f;
    softmax(p, n);
    for (i = 0; i + 1 < n && left >= p[i]; i++)
        left -= p[i];
    return best[i];
}

/* What the model writes after a prompt, in a new block. */
static bytes continuation(const model *m, state *s, const tokenizer *t, const table *input,
                          const table *output, const uint32_t *prompt, size_t count,
                          size_t tokens, double bar_from, double bar_to)
{
    uint32_t *ids = (uint32_t *)take(count + tokens, sizeof *ids);
    uint64_t seed = 20240229u;
    size_t n = count, seen = 0;
    bytes text;

    memcpy(ids, prompt, count * sizeof *ids);
    while (n < count + tokens) {
        bar_show(bar_from + (bar_to - bar_from) * (double)(n - count) / (double)tokens, "writing");
        next_scores(m, s, input, output, ids, seen, n);
        seen = n;
        ids[n] = sample(s->logit, m->vocab, &seed);
        if (ids[n] == t->end_of_text)
            break;
        n++;
    }
    text = decode(t, ids + count, n - count);
    give(ids);
    return text;
}

/* Text broken into lines of at most 96 columns, white space and control characters as one
   space; what is not UTF-8 is shown as '?'. */
static void print_wrapped(const char *indent, bytes text)
{
    const size_t margin = strlen(indent), line = 96;
    size_t at = 0, end, column = margin, length;
    uint32_t c;

    fputs(indent, stdout);
    for (;;) {
        size_t columns = 0, gap = at;

        while (at < text.size && text.data[at] <= ' ')
            at++;
        if (at == text.size)
            break;
        for (end = at; end < text.size && text.data[end] > ' '; columns++)
            end += utf8_get(text.data + end, text.size - end, &c);
        if (column > margin && column + 1 + columns > line) {
            printf("\n%s", indent);
            column = margin;
        } else if (column > margin && at > gap) {
            putchar(' ');
            column++;
        }
        for (column += columns; at < end; at += length) {
            length = utf8_get(text.data + at, text.size - at, &c);
            if (c == NOT_UTF8 || (c >= 127 && c < 160))
                putchar('?');
            else
                fwrite(text.data + at, 1, length, stdout);
        }
    }
    putchar('\n');
}

/* ======================================================================================= */
/* OPTIONS                                                                                 */
/* ======================================================================================= */

enum { MAX_RATIOS = 16, MAX_SETTINGS = 2 * MAX_RATIOS + 8, MAX_VOICES = 4 };

typedef struct {
    const char *folder, *text, *prompt, *check, *weights;
    size_t tokens;
    float ratio[MAX_RATIOS];
    int ratios;
    int tuned;            /* one of --eps, --shape, --max-rank was given */
    float eps;
    tte_shape shape;
    int max_rank;
    int layout, coding;   /* -1: not given */
} options;

static const char *const layout_name[] = {"token", "table"};
static const char *const coding_name[] = {"f32", "f16", "i8", "i4", "entropy"};

static const char *const help[] = {
    "gpt2_demo - what a compressed embedding table does to a real language model\n\n"
    "usage: gpt2_demo [OPTION]... [DIR]\n\n"
    "DIR is a Hugging Face GPT-2 folder: model.safetensors, vocab.json, merges.txt, and\n"
    "config.json where there is one. Without it: examples/tiny-gpt2, from the repository's root.\n"
    "The model's embedding table is compressed in several ways. A table shows for each the bytes,\n"
    "the ratio, the numbers stored for a token, the relative error, the perplexity of a text, and\n"
    "the time of a lookup; a summary says which way is best at which size; then the model\n"
    "continues a prompt, dense and compressed.\n",
    "\nDefaults stand in brackets.\n"
    "  --text FILE     the text for the perplexity, instead of the story that is built in\n"
    "  --prompt TEXT   what the model continues\n"
    "  --tokens N      how many tokens it adds, 0 or more; what fits in the context (40)\n"
    "  --layout L      token: a train for each token; table: one train for the whole table\n"
    "                  (both, or token when another of these settings is given)\n"
    "  --ratio R       ask for R times smaller than float32, above 1 to 10000; may be given up\n"
    "                  to 16 times (2 to 38.4; with --layout table 8, 12, 16 and 38.4)\n"
    "  --eps E         bound the relative error of every row, or with --layout table that of the\n"
    "                  whole table, weighted as its rows are; above 0 to 1, instead of a ratio\n"
    "  --shape AxBx..  fold a row into these modes, 1 to 16 of them, each from 1 to 65536;\n"
    "                  their product must reach the width (the library chooses)\n"
    "  --max-rank R    let no rank exceed R, 1 to 65536 (no cap)\n"
    "  --coding C      how numbers are stored: f32, f16, i8, i4, or with --layout table entropy\n"
    "                  (f32 and i8 for a ratio, otherwise f32; with --layout table entropy)\n"
    "  --weights FILE  count the tokens of FILE, a text other than the one that is measured;\n"
    "                  every setting of --layout table then has a second row, in which a table\n"
    "                  row weighs the square root of its token's count (the counts are those of\n"
    "                  DIR/counts.json, where there is one)\n",
    "  --check FILE    compare the tokenizer, the next tokens and, with --text, the perplexity\n"
    "                  with the values in FILE (such as examples/tiny-gpt2/reference.json) and\n"
    "                  stop: a line for each part, exit status 1 when one differs\n"
    "  --threads N     1 to 256; only when compiled with -fopenmp (all cores)\n"
    "  --help          print this page\n\n"
    "--layout, --ratio, --eps, --shape, --max-rank and --coding go together in each setting that\n"
    "is asked for; these settings stand in place of the default ones. Perplexity: the text is cut\n"
    "into windows of the context's length that do not overlap. \"Tie broken\" reads only the\n"
    "input rows from the compressed table, \"tie kept\" scores the next token with it as well, as\n"
    "GPT-2 does with its one table. The continuation samples among the 20 best tokens at\n"
    "temperature 0.8, always from the same random numbers.\n",
    "\nexample: tables 8 and 16 times smaller, weighted by a text, on a model of your own\n"
    "  cc -O2 -o gpt2_demo examples/gpt2_demo.c -lm\n"
    "  ./gpt2_demo --layout table --ratio 8 --ratio 16 --weights books.txt models/gpt2\n\n"
    "Errors are one line on stderr, exit status 1.\n",
};

static double number_option(const char *name, const char *text, double least, int above,
                            double most, int whole)
{
    char *end;
    const double x = strtod(text, &end);

    if (end == text || *end || !(above ? x > least : x >= least) || !(x <= most)
        || (whole && x != floor(x)))
        fail("%s: \"%s\" is not a %snumber %s %.10g to %.10g", name, text, whole ? "whole " : "",
             above ? "above" : "from", least, most);
    return x;
}

static tte_shape shape_option(const char *text)
{
    tte_shape shape;
    const char *at = text;
    int good = 1;

    memset(&shape, 0, sizeof shape);
    while (good) {
        char *end;
        const long n = *at >= '0' && *at <= '9' ? strtol(at, &end, 10) : 0;
        good = n >= 1 && n <= 65536 && shape.modes < TTE_MAX_MODES;
        if (!good)
            break;
        shape.dim[shape.modes++] = (int32_t)n;
        if (*end == 0)
            return shape;
        good = *end == 'x';
        at = end + 1;
    }
    fail("--shape: \"%s\" is not a list like 8x16, of 1 to %d modes from 1 to 65536", text,
         TTE_MAX_MODES);
}

/* The place of a word in a list; its places are the numbers of the library's enumerations. */
static int word_option(const char *name, const char *text, const char *const *words, int count)
{
    char list[64] = "";
    int i;

    for (i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0)
            return i;
        add_text(list, sizeof list, "%s%s", i ? ", " : "", words[i]);
    }
    fail("%s: \"%s\" is not one of %s", name, text, list);
}

static void threads_option(const char *text)
{
    const int threads = (int)number_option("--threads", text, 1, 0, 256, 1);
#ifdef _OPENMP
    omp_set_num_threads(threads);
#else
    fail("--threads %d: this program was compiled without OpenMP; add -fopenmp", threads);
#endif
}

static void print_help(void)
{
    size_t i;
    for (i = 0; i < sizeof help / sizeof *help; i++)
        fputs(help[i], stdout);
}

/* An option that takes a value. */
static void set_option(options *o, const char *name, const char *value)
{
    if (strcmp(name, "--text") == 0) {
        o->text = value;
    } else if (strcmp(name, "--prompt") == 0) {
        o->prompt = value;
    } else if (strcmp(name, "--check") == 0) {
        o->check = value;
    } else if (strcmp(name, "--tokens") == 0) {
        o->tokens = (size_t)number_option(name, value, 0, 0, 1e6, 1);
    } else if (strcmp(name, "--ratio") == 0) {
        if (o->ratios == MAX_RATIOS)
            fail("--ratio: given more than %d times", MAX_RATIOS);
        o->ratio[o->ratios++] = (float)number_option(name, value, 1, 1, 10000, 0);
    } else if (strcmp(name, "--eps") == 0) {
        o->eps = (float)number_option(name, value, 0, 1, 1, 0);
        o->tuned = 1;
    } else if (strcmp(name, "--shape") == 0) {
        o->shape = shape_option(value);
        o->tuned = 1;
    } else if (strcmp(name, "--max-rank") == 0) {
        o->max_rank = (int)number_option(name, value, 1, 0, 65536, 1);
        o->tuned = 1;
    } else if (strcmp(name, "--layout") == 0) {
        o->layout = word_option(name, value, layout_name, 2);
    } else if (strcmp(name, "--coding") == 0) {
        o->coding = word_option(name, value, coding_name, 5);
    } else if (strcmp(name, "--weights") == 0) {
        o->weights = value;
    } else {
        threads_option(value);
    }
}

/* Are the settings those of --layout token, or of --layout table? Without either: both, unless
   something else is asked for. */
static int wants_layout(const options *o, tte_layout layout)
{
    if (o->layout >= 0)
        return o->layout == (int)layout;
    return layout == TTE_PER_TOKEN || (o->ratios == 0 && !o->tuned && o->coding < 0);
}

/* What can only be told once all options are known. */
static void check_options(const options *o)
{
    if (o->coding == TTE_ENTROPY && !wants_layout(o, TTE_PER_TABLE))
        fail("--coding entropy: needs --layout table");
    if (o->weights && !wants_layout(o, TTE_PER_TABLE))
        fail("--weights: needs --layout table; a train for each token has no use for them");
}

static options parse_options(int argc, char **argv)
{
    static const char *const names[] = {"--text", "--prompt", "--check", "--tokens", "--layout",
                                        "--ratio", "--eps", "--shape", "--max-rank", "--coding",
                                        "--weights", "--threads"};
    options o;
    size_t k;
    int i;

    memset(&o, 0, sizeof o);
    o.tokens = 40;
    o.layout = o.coding = -1;
    o.prompt = "The little girl opened the door of the old house, and";
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help();
            finish_output();
            exit(0);
        }
        for (k = 0; k < sizeof names / sizeof *names && strcmp(argv[i], names[k]) != 0; k++)
            ;
        if (k < sizeof names / sizeof *names) {
            if (i + 1 == argc)
                fail("%s: needs a value after it; see --help", argv[i]);
            set_option(&o, argv[i], argv[i + 1]);
            i++;
        } else if (argv[i][0] == '-' && argv[i][1]) {
            fail("%s: no such option; see --help", argv[i]);
        } else if (!argv[i][0] || o.folder) {
            fail("\"%s\": %s; see --help", argv[i], o.folder ? "a second folder" : "no folder");
        } else {
            o.folder = argv[i];
        }
    }
    check_options(&o);
    return o;
}

/* ======================================================================================= */
/* TABLE: a row for each setting                                                           */
/* ======================================================================================= */

typedef struct {
    char name[48];
    table_kind kind;
    int bits;               /* KIND_ROUNDED */
    size_t group;           /* KIND_ROUNDED */
    tte_options tte;        /* KIND_TT */
    int paper;              /* KIND_TT: the name tells the shape already */
    int voice;              /* it also continues the prompt */
} setting;

typedef struct {
    const model *m;
    const tokenizer *tok;
    state *s;
    const uint32_t *ids;        /* the text for the perplexity */
    size_t count;
    const uint32_t *prompt;
    size_t prompt_count, tokens;
    float *decoded;             /* vocab x width: the table of the row at hand */
} bench;

typedef struct {
    char name[64];
    bytes text;
} voice;

/* What one row of the table came to; without a row both are 0. */
typedef struct {
    double ratio, perplexity;   /* with the tie kept, or broken when the model has none */
} outcome;

static setting *add_setting(setting *list, size_t *count, table_kind kind)
{
    setting *s = &list[(*count)++];

    memset(s, 0, sizeof *s);
    s->kind = kind;
    s->tte.layout = TTE_PER_TOKEN;
    return s;
}

/* The settings of the TensorGPT paper: modes of 2, as few as cover the width, in float32. */
static void add_paper_setting(setting *list, size_t *count, size_t width, int max_rank)
{
    setting *s = add_setting(list, count, KIND_TT);
    int modes = 1, i;

    while (modes < 40 && (size_t)1 << modes < width)
        modes++;
    s->paper = 1;
    s->tte.max_rank = max_rank;
    s->tte.shape.modes = modes;
    for (i = 0; i < modes && i < TTE_MAX_MODES; i++)
        s->tte.shape.dim[i] = 2;
    snprintf(s->name, sizeof s->name, "TensorGPT 2^%d, rank %s%d", modes,
             max_rank == 1 ? "" : "cap ", max_rank);
}

static void add_rounded_setting(setting *list, size_t *count, int bits, size_t group,
                                const char *what)
{
    setting *s = add_setting(list, count, KIND_ROUNDED);

    s->bits = bits;
    s->group = group;
    snprintf(s->name, sizeof s->name, "%s rounded to %d bits", what, bits);
}

/* A setting with all that is asked for; weights: NULL or one for each row. */
static void add_asked_setting(setting *list, size_t *count, const options *o, tte_layout layout,
                              float ratio, int coding, const float *weights)
{
    setting *s = add_setting(list, count, KIND_TT);

    s->tte.layout = layout;
    s->tte.coding = (tte_coding)coding;
    s->tte.ratio = ratio;
    s->tte.eps = o->eps;
    s->tte.shape = o->shape;
    s->tte.max_rank = o->max_rank;
    s->tte.row_weight = weights;
    add_text(s->name, sizeof s->name, "%s%s", layout == TTE_PER_TABLE ? "table " : "",
             coding_name[coding]);
    if (ratio > 0.0f)
        add_text(s->name, sizeof s->name, ", ratio %.4g", (double)ratio);
    if (o->eps > 0.0f)
        add_text(s->name, sizeof s->name, ", eps %.3g", (double)o->eps);
    if (o->max_rank > 0)
        add_text(s->name, sizeof s->name, ", cap %d", o->max_rank);
    if (weights)
        add_text(s->name, sizeof s->name, ", weights");
}

/* What is asked for at one ratio (0: none), in the coding that is given or in the usual ones. */
static void add_asked_settings(setting *list, size_t *count, const options *o, tte_layout layout,
                               float ratio, const float *weights)
{
    const int given = o->coding >= 0;

    if (layout == TTE_PER_TABLE) {
        const int coding = given ? o->coding : (int)TTE_ENTROPY;
        add_asked_setting(list, count, o, layout, ratio, coding, NULL);
        if (weights)
            add_asked_setting(list, count, o, layout, ratio, coding, weights);
    } else {
        add_asked_setting(list, count, o, layout, ratio, given ? o->coding : (int)TTE_F32, NULL);
        if (!given && ratio > 0.0f)
            add_asked_setting(list, count, o, layout, ratio, TTE_I8, NULL);
    }
}

/* The sizes at which the ways are compared, and the usual ones of --layout table. */
static const float goal[] = {8.0f, 12.0f, 16.0f, 38.4f};
enum { GOALS = sizeof goal / sizeof *goal };

/* The settings of a layout when no ratio is asked for. */
static void add_usual_settings(setting *list, size_t *count, const options *o, tte_layout layout,
                               const float *weights)
{
    static const float ratio[] = {2.0f, 2.0f, 4.0f, 4.0f, 8.0f, 16.0f, 38.4f};
    static const int coding[] = {TTE_F32, TTE_I8, TTE_F32, TTE_I8, TTE_I4, TTE_I4, TTE_I4};
    int k;

    if (layout == TTE_PER_TABLE) {
        for (k = 0; k < GOALS; k++) {
            add_asked_settings(list, count, o, layout, goal[k], weights);
            list[*count - 1].voice = k == 0 || k + 1 == GOALS;
        }
    } else if (o->coding < 0) {
        for (k = 0; k < 7; k++) {
            add_asked_setting(list, count, o, layout, ratio[k], coding[k], NULL);
            list[*count - 1].voice = k == 4;
        }
    } else {
        for (k = 0; k <= 4; k += 2) {
            add_asked_setting(list, count, o, layout, ratio[k], o->coding, NULL);
            list[*count - 1].voice = k > 0;
        }
    }
}

/* Dense, rounded, the paper's two, then what is asked for, of which the last two also write. */
static size_t make_settings(const options *o, const model *m, const float *weights, setting *list)
{
    size_t count = 0, first, i;
    int k;

    snprintf(add_setting(list, &count, KIND_DENSE)->name, sizeof list->name, "dense float32");
    list[0].voice = 1;
    for (k = 8; k >= 4; k -= 4)
        add_rounded_setting(list, &count, k, m->width, "rows");
    for (k = 4; k >= 2 && m->width > 32; k--)
        add_rounded_setting(list, &count, k, 32, "blocks of 32");
    add_paper_setting(list, &count, m->width, 1);
    add_paper_setting(list, &count, m->width, 4);
    if (o->ratios == 0 && !o->tuned) {
        for (k = TTE_PER_TOKEN; k <= TTE_PER_TABLE; k++)
            if (wants_layout(o, (tte_layout)k))
                add_usual_settings(list, &count, o, (tte_layout)k, weights);
        return count;
    }
    first = count;
    for (k = 0; k < (o->ratios ? o->ratios : 1); k++)   /* without a ratio: one setting, ratio 0 */
        add_asked_settings(list, &count, o, o->layout < 0 ? TTE_PER_TOKEN : (tte_layout)o->layout,
                           o->ratio[k], weights);
    for (i = first; i < count; i++)
        list[i].voice = i + 2 >= count;
    return count;
}

/* ", 8x16" or, for equal modes, ", 2^7" */
static void add_shape(char *text, size_t size, const tte_shape *shape)
{
    int32_t i, same = shape->modes > 2;

    for (i = 1; i < shape->modes; i++)
        same = same && shape->dim[i] == shape->dim[0];
    if (same)
        add_text(text, size, ", %d^%d", (int)shape->dim[0], (int)shape->modes);
    for (i = 0; i < shape->modes && !same; i++)
        add_text(text, size, "%s%d", i ? "x" : ", ", (int)shape->dim[i]);
}

static void commas(size_t n, char *out, size_t size)
{
    char digits[32];
    size_t length = (size_t)snprintf(digits, sizeof digits, "%zu", n), i, at = 0;

    for (i = 0; i < length && at + 2 < size; i++) {
        if (i && (length - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
}

/* A column of 10; a number below zero is one that does not exist. */
static void print_perplexity(double x)
{
    if (x < 0.0)
        printf("%10s", "-");
    else
        printf(x < 1e6 ? "%10.2f" : "%10.2e", x);
}

static void print_heads(void)
{
    printf("%-34s%12s%8s%9s%9s%10s%10s%8s\n", "", "", "", "numbers", "relative", "ppl, tie",
           "ppl, tie", "us a");
    printf("%-34s%12s%8s%9s%9s%10s%10s%8s\n", "embedding table", "bytes", "ratio", "a token",
           "error", "broken", "kept", "lookup");
}

static const char *setting_table(const setting *how, const model *m, double bar_from,
                                 double bar_to, table *t)
{
    if (how->kind == KIND_TT)
        return table_compressed(m->wte, m->vocab, m->width, how->tte, bar_from, bar_to, t);
    *t = how->kind == KIND_DENSE ? table_dense(m->wte, m->vocab, m->width)
                                 : table_rounded(m->wte, m->vocab, m->width, how->bits, how->group);
    return NULL;
}

static double ratio_of(const table *t)
{
    return 4.0 * (double)t->vocab * (double)t->width / (double)t->size;
}

/* The shape is told where there is a choice: one train's only column mode is the width. */
static void print_row(const setting *how, const table *t, double error, const double *ppl,
                      double micros)
{
    char size[32], name[sizeof how->name + 16 * TTE_MAX_MODES] = "";

    add_text(name, sizeof name, "%s", how->name);
    if (how->kind == KIND_TT && !how->paper
        && (how->tte.layout == TTE_PER_TOKEN || t->info.shape.modes > 1))
        add_shape(name, sizeof name, &t->info.shape);
    commas(t->size, size, sizeof size);
    printf("%-34.34s%12s%8.2f%9.1f%9.4f", name, size, ratio_of(t), t->numbers, error);
    print_perplexity(ppl[0]);
    print_perplexity(ppl[1]);
    printf("%8.2f\n", micros);
}

/* Measures one setting and prints its row, or the library's word on why there is none. When
   the model does not tie its output to the table, there is no perplexity with the tie kept. */
static outcome run_setting(const bench *b, const setting *how, double bar_from, double bar_to,
                           voice *voice_out)
{
    const model *m = b->m;
    const int tied = m->head == m->wte, dense = how->kind == KIND_DENSE;
    const double span = bar_to - bar_from;
    const double bar_mid = bar_from + (how->kind == KIND_TT ? 0.4 : 0.0) * span;
    const double bar_end = bar_to - (how->voice ? 0.1 : 0.0) * span;
    const table head = table_dense(m->head, m->vocab, m->width);
    const float *output[2];
    double ppl[2] = {-1.0, -1.0}, error, micros;
    outcome came = {0.0, 0.0};
    table t;
    const char *why_not = setting_table(how, m, bar_from, bar_mid, &t);

    if (why_not) {
        bar_clear();
        printf("%-34.34s  %s\n", how->name, why_not);
        return came;
    }
    table_decode(&t, b->decoded);
    error = relative_error(m->wte, b->decoded, m->vocab * m->width);
    output[0] = m->head;
    output[1] = b->decoded;
    perplexity(m, b->s, b->ids, b->count, &t, output, tied && !dense ? 2 : 1, bar_mid, bar_end,
               ppl);
    if (tied && dense)
        ppl[1] = ppl[0];
    micros = lookup_time(&t, b->decoded);
    if (how->voice) {
        add_text(voice_out->name, sizeof voice_out->name, "%s", how->name);
        voice_out->text = continuation(m, b->s, b->tok, &t, tied ? &t : &head, b->prompt,
                                       b->prompt_count, b->tokens, bar_end, bar_to);
    }
    bar_clear();
    print_row(how, &t, error, ppl, micros);
    fflush(stdout);
    came.ratio = ratio_of(&t);
    came.perplexity = tied ? ppl[1] : ppl[0];
    table_give(&t);
    return came;
}

enum { WAYS = 3 };   /* rounding, a train for each token, one train for the table */

static int way_of(const setting *how)   /* -1: dense */
{
    return how->kind == KIND_DENSE ? -1 : how->kind == KIND_ROUNDED ? 0
         : how->tte.layout == TTE_PER_TOKEN ? 1 : 2;
}

/* The row of least perplexity among those at least `ratio` times smaller, of one way or (-1) of
   all; `settings` when there is none. */
static size_t best_at(const setting *list, const outcome *came, size_t settings, double ratio,
                      int way)
{
    size_t best = settings, i;

    for (i = 1; i < settings; i++)
        if (came[i].ratio >= ratio && came[i].perplexity > 0.0
            && (way < 0 || way_of(&list[i]) == way)
            && (best == settings || came[i].perplexity < came[best].perplexity))
            best = i;
    return best;
}

/* Which way is best when, from the rows alone: list[0] is the dense table. */
static void print_summary(const setting *list, const outcome *came, size_t settings, int tied)
{
    size_t best, i;
    int k, way;

    printf("\n%-34s%10s%10s%10s\n",
           tied ? "least perplexity, tie kept," : "least perplexity, tie broken,", "plain",
           "train per", "train per");
    printf("%-34s%10s%10s%10s  %s\n", "of all rows that are", "rounding", "token", "table",
           "the best of them");
    for (k = 0; k < GOALS; k++) {
        if ((best = best_at(list, came, settings, (double)goal[k], -1)) == settings)
            break;
        printf("at least %4.4gx smaller%13s", (double)goal[k], "");
        for (way = 0; way < WAYS; way++) {
            i = best_at(list, came, settings, (double)goal[k], way);
            print_perplexity(i < settings ? came[i].perplexity : -1.0);
        }
        printf("  %s\n", list[best].name);
    }
    printf("%-34s", "largest ratio within 1 % of dense");
    for (way = 0; way < WAYS; way++) {
        double most = 0.0;
        for (i = 1; i < settings; i++)
            if (way_of(&list[i]) == way && came[i].perplexity <= 1.01 * came[0].perplexity
                && came[i].ratio > most)
                most = came[i].ratio;
        if (most > 0.0)
            printf("%9.2fx", most);
        else
            printf("%10s", "-");
    }
    putchar('\n');
}

/* ======================================================================================= */
/* CHECK: the tokenizer and the model against a file of reference values                   */
/* ======================================================================================= */

typedef struct {
    const json *j;
    const model *m;
    const tokenizer *tok;
    state *s;
    int parts, wrong;       /* checked; differing */
} check;

/* One line for a part: how much was compared, and the first difference where there is one. */
static void check_line(check *c, const char *part, const char *what, const char *difference)
{
    bar_clear();
    printf("%-14s%-44s%s\n", part, what, *difference ? difference : "ok");
    fflush(stdout);
    c->parts++;
    c->wrong += *difference != 0;
}

/* Does the array of ids at `node` hold just these? If not, say where it differs. */
static int same_ids(const json *j, size_t node, const uint32_t *ids, size_t count, char *difference,
                    size_t size)
{
    size_t k, i = 0;

    for (k = json_first(j, node, JSON_ARRAY); k; k = json_after(j, node, k), i++) {
        const uint32_t want = (uint32_t)json_whole(j, k, 0, UINT32_MAX - 1);
        if (i >= count || ids[i] != want) {
            snprintf(difference, size, "DIFFERS: id %zu is %ld, reference %lu", i,
                     i < count ? (long)ids[i] : -1L, (unsigned long)want);
            return 0;
        }
    }
    if (i < count)
        snprintf(difference, size, "DIFFERS: %zu ids, reference %zu", count, i);
    return i == count;
}

static void check_texts(check *c, size_t list)
{
    size_t k, texts = 0, total = 0;
    char what[64], why[80], difference[160] = "";

    for (k = json_first(c->j, list, JSON_ARRAY); k; k = json_after(c->j, list, k)) {
        bytes text = json_string(c->j, json_need(c->j, k, "text")), back;
        size_t count;
        uint32_t *ids = encode(c->tok, text, &count);

        why[0] = 0;
        back = decode(c->tok, ids, count);
        if (same_ids(c->j, json_need(c->j, k, "ids"), ids, count, why, sizeof why)
            && (back.size != text.size || memcmp(back.data, text.data, text.size) != 0))
            snprintf(why, sizeof why, "DIFFERS: the ids decode to another text");
        if (why[0] && !difference[0])
            snprintf(difference, sizeof difference, "%s (text %zu)", why, texts);
        give(text.data);
        give(back.data);
        give(ids);
        texts++;
        total += count;
    }
    snprintf(what, sizeof what, "%zu texts, %zu ids", texts, total);
    check_line(c, "tokenizer", what, difference);
}

static void check_bytes(check *c, size_t list)
{
    size_t k, count = 0;
    char what[64], difference[160] = "";

    for (k = json_first(c->j, list, JSON_ARRAY); k; k = json_after(c->j, list, k), count++) {
        bytes hex = json_string(c->j, json_need(c->j, k, "bytes_hex")), one = {NULL, 1};
        const uint64_t want = json_whole(c->j, json_need(c->j, k, "id"), 0, UINT32_MAX - 1);
        unsigned char byte;
        size_t ids_count;
        uint32_t *ids;

        if (hex.size != 2 || hex_digit(hex.data[0]) < 0 || hex_digit(hex.data[1]) < 0)
            json_fail(c->j, c->j->node[k].begin, "bytes_hex: expected two hexadecimal digits");
        byte = (unsigned char)(hex_digit(hex.data[0]) << 4 | hex_digit(hex.data[1]));
        one.data = &byte;
        ids = encode(c->tok, one, &ids_count);
        if ((ids_count != 1 || ids[0] != want) && !difference[0])
            snprintf(difference, sizeof difference, "DIFFERS: byte %02x", (unsigned)byte);
        give(ids);
        give(hex.data);
    }
    snprintf(what, sizeof what, "%zu single bytes", count);
    check_line(c, "bytes", what, difference);
}

/* s->logit against [[id, score, text], ...], best first. Scores agree to 0.01. */
static void check_top(check *c, size_t list, char *why, size_t size)
{
    uint32_t best[TOP];
    const size_t found = best_ids(c->s->logit, c->m->vocab, TOP, best);
    size_t k, i = 0;

    for (k = json_first(c->j, list, JSON_ARRAY); k; k = json_after(c->j, list, k), i++) {
        const size_t id = json_first(c->j, k, JSON_ARRAY), score = id ? json_after(c->j, k, id) : 0;
        uint32_t want;
        double mine, theirs;

        if (!score || i == found)
            json_fail(c->j, c->j->node[k].begin, "not a pair of id and score, or too many of them");
        want = (uint32_t)json_whole(c->j, id, 0, UINT32_MAX - 1);
        theirs = json_number(c->j, score);
        mine = (double)c->s->logit[best[i]];
        if (best[i] != want || !(fabs(mine - theirs) <= 0.01)) {
            snprintf(why, size, "DIFFERS: best %zu is %lu with %.4f, reference %lu with %.4f", i,
                     (unsigned long)best[i], mine, (unsigned long)want, theirs);
            return;
        }
    }
}

/* One prompt: its ids, the best next tokens, and the greedy continuation, token by token. */
static size_t check_prompt(check *c, size_t node, char *why, size_t size)
{
    const model *m = c->m;
    const table rows = table_dense(m->wte, m->vocab, m->width);
    const table head = table_dense(m->head, m->vocab, m->width);
    const size_t greedy = json_need(c->j, node, "greedy");
    bytes text = json_string(c->j, json_need(c->j, node, "prompt"));
    size_t count, seen = 0, n, i;
    uint32_t *ids = encode(c->tok, text, &count);

    n = count;
    for (i = json_first(c->j, greedy, JSON_ARRAY); i; i = json_after(c->j, greedy, i))
        n++;
    if (count == 0 || n > m->context)
        json_fail(c->j, c->j->node[node].begin, "a prompt that does not fit in the context");
    ids = (uint32_t *)resize(ids, n + 1, sizeof *ids);
    if (same_ids(c->j, json_need(c->j, node, "ids"), ids, count, why, size)) {
        for (i = count; i <= n; seen = i++) {
            next_scores(m, c->s, &rows, &head, ids, seen, i);
            best_ids(c->s->logit, m->vocab, 1, &ids[i]);
            if (i == count)
                check_top(c, json_need(c->j, node, "top5"), why, size);
        }
        if (!why[0])
            same_ids(c->j, greedy, ids + count, n - count, why, size);
    }
    give(ids);
    give(text.data);
    return n - count;
}

static void check_next(check *c, size_t list)
{
    size_t k, prompts = 0, tokens = 0;
    char what[64], why[96], difference[160] = "";

    for (k = json_first(c->j, list, JSON_ARRAY); k; k = json_after(c->j, list, k), prompts++) {
        why[0] = 0;
        tokens += check_prompt(c, k, why, sizeof why);
        if (why[0] && !difference[0])
            snprintf(difference, sizeof difference, "%s (prompt %zu)", why, prompts);
    }
    snprintf(what, sizeof what, "%zu prompts, %zu greedy tokens", prompts, tokens);
    check_line(c, "next tokens", what, difference);
}

/* The entry is named like the text's file, without folder and ending. */
static void check_perplexity(check *c, size_t entries, const char *path)
{
    const model *m = c->m;
    const table rows = table_dense(m->wte, m->vocab, m->width);
    const float *output = m->head;
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const char *dot_at = strrchr(base, '.');
    char name[64], what[64], difference[160] = "";
    bytes text = read_file(&first_trouble, path);
    size_t entry, ids_node, count, k, first = 0;
    double mine, want, off;
    uint32_t *ids;

    snprintf(name, sizeof name, "%.*s", dot_at && dot_at - base < 60 ? (int)(dot_at - base) : 60,
             base);
    entry = json_get(c->j, entries, name);
    if (!entry)
        fail("%s: perplexity: no entry \"%s\" for %s", c->j->file, name, path);
    ids = encode(c->tok, text, &count);
    want = json_number(c->j, json_need(c->j, entry, "perplexity"));
    k = (size_t)json_whole(c->j, json_need(c->j, entry, "tokens"), 2, SIZE_MAX);
    if (count != k)
        snprintf(difference, sizeof difference, "DIFFERS: %zu tokens, reference %zu", count, k);
    ids_node = json_get(c->j, entry, "first_ids");
    if (ids_node) {
        for (k = json_first(c->j, ids_node, JSON_ARRAY); k; k = json_after(c->j, ids_node, k))
            first++;
        same_ids(c->j, ids_node, ids, first < count ? first : count, difference,
                 sizeof difference);
    }
    bar_start();
    if (count > 1)
        perplexity(m, c->s, ids, count, &rows, &output, 1, 0.0, 1.0, &mine);
    else
        mine = 0.0;
    off = fabs(mine / want - 1.0);
    if (!difference[0] && !(off <= 0.001))
        snprintf(difference, sizeof difference, "DIFFERS: by %.3f %%", 100.0 * off);
    snprintf(what, sizeof what, "%.4f, reference %.4f, %zu tokens", mine, want, count);
    check_line(c, "perplexity", what, difference);
    give(ids);
    give(text.data);
}

static int run_check(const options *o, const model *m, const tokenizer *t, state *s)
{
    const bytes text = read_file(&first_trouble, o->check);
    json j = json_parse(&first_trouble, o->check, 0, text.data, text.size);
    size_t node;
    check c;

    memset(&c, 0, sizeof c);
    c.j = &j;
    c.m = m;
    c.tok = t;
    c.s = s;
    if ((node = json_get(&j, 0, "tokenizer")) != 0)
        check_texts(&c, node);
    if ((node = json_get(&j, 0, "single_bytes")) != 0)
        check_bytes(&c, node);
    if ((node = json_get(&j, 0, "next_token")) != 0)
        check_next(&c, node);
    if ((node = json_get(&j, 0, "perplexity")) != 0) {
        if (o->text)
            check_perplexity(&c, node, o->text);
        else
            printf("%-14snot checked: needs its text, --text FILE\n", "perplexity");
    } else if (o->text) {
        fail("%s: no perplexity to compare with", o->check);
    }
    if (c.parts == 0)
        fail("%s: nothing to check in it", o->check);
    give(j.node);
    give(text.data);
    return c.wrong != 0;
}

/* ======================================================================================= */
/* MAIN                                                                                    */
/* ======================================================================================= */

/* The text for the perplexity, written for this program. One string a paragraph. */
static const char *const story[] = {
    "There was once an old man who lived with his granddaughter in a little white house at the "
    "edge of the sea. The girl was called Ellen, and she was nine years old. Every evening, "
    "when the sun had gone down behind the hill, the old man took his lamp and climbed the "
    "narrow stair to the top of the tower, and there he lit the great lantern, so that the "
    "ships which passed in the night should not be lost upon the rocks.",
    "\"Grandfather,\" said Ellen one day, \"why do you never let me carry the lamp? I am quite "
    "strong enough.\"",
    "\"You are strong enough, my dear,\" answered the old man, \"but the stair is steep, and "
    "there is a wind at the top of it that would be very glad to blow you into the water. When "
    "you are older you shall carry it, and I will sit by the fire and be idle.\"",
    "Ellen did not like this answer, but she was a sensible child, and she said no more about "
    "it. She went down to the shore and looked for shells, and talked to the gulls, who never "
    "made any reply, and when she was tired she came home and made the tea.",
    "Now it happened that in the beginning of the winter the old man fell ill. He had been out "
    "in the rain to mend the boat, and in the morning he could not rise from his bed. His face "
    "was white, and his hands shook, and when Ellen brought him a cup of milk he only smiled at "
    "her and turned his head away.",
    "\"You must go to the village,\" he said at last, in a low voice, \"and ask the doctor to "
    "come. But go quickly, for I do not like the look of the sky, and you must be back before "
    "it is dark.\"",
    "So Ellen put on her cloak and her thick boots, and ran along the path by the cliff. The "
    "village was three miles away, and the road was long and muddy. When she came to the "
    "doctor's house she knocked at the door with both hands, and a tall woman in a black dress "
    "opened it and looked down at her.",
    "\"The doctor is not at home,\" said the woman. \"He was sent for this morning to the great "
    "house beyond the wood, and he will not return before to-morrow. Come in, child, and warm "
    "yourself.\"",
    "\"I thank you,\" said Ellen, \"but I cannot stay. My grandfather is alone, and there is "
    "nobody to light the lamp.\" And before the woman could say another word she had turned and "
    "was running back the way she had come.",
    "By this time the wind had begun to rise. Great clouds came up out of the west, and the "
    "sea, which had been grey and quiet all the morning, grew black, and threw itself upon the "
    "stones with a noise like thunder. Twice Ellen was nearly blown from the path, and once she "
    "fell and hurt her knee; but she got up again, and held her cloak about her, and went on. "
    "It was almost night when she saw the white walls of the house before her.",
    "The old man was asleep. She put some wood upon the fire, and set a cup of water by his "
    "side, and then she stood for a moment in the middle of the room and thought. The tower was "
    "dark. Somewhere out upon the water there were men who looked for a light, and there was no "
    "light to be seen.",
    "\"He said that I should carry it when I was older,\" said Ellen to herself, \"and I am "
    "certainly older than I was this morning.\"",
    "She took the lamp in her hand and began to climb. There were a great many steps in the "
    "stair, and she counted every one of them aloud, because it was less lonely than to be "
    "silent. The wind cried at the windows. At the top there was a heavy door, and when she "
    "opened it the storm came in with such a rush that the little flame bent down and turned "
    "blue, and she was afraid that it would go out. But she kept her hand before it, and spoke "
    "to it kindly, as if it had been a small frightened bird, and it stood up again.",
    "Then she lit the great lantern. It burned low at first, and then bright, and then so "
    "bright that she was forced to shut her eyes; and the light went out over the sea, farther "
    "and farther, until it seemed to touch the end of the world.",
    "All that night she sat in the tower and watched it. She told herself stories to keep "
    "awake, and when she had come to the end of the stories she sang, and when she could sing "
    "no longer she only held on. Toward morning the wind fell, and she saw a ship, with torn "
    "sails, moving slowly round the point and into the harbour.",
    "The captain came to the house that same day, and with him came the doctor, whom he had met "
    "upon the road. The doctor gave the old man something bitter in a glass, and said that he "
    "would be well before the spring. But the captain took off his hat to Ellen, just as if she "
    "had been a queen.",
    "\"I have been at sea for thirty years, miss,\" said he, \"and I never in my life was so "
    "glad of anything as I was of that light. Who was it that lit the lamp?\"",
    "Ellen grew very red, and looked at her shoes. \"I did, sir,\" she said. \"There was nobody "
    "else.\"",
    "The old man laughed for the first time in many days. \"Then I may sit by the fire and be "
    "idle,\" said he, \"for I see that she is old enough.\"",
};

static bytes story_text(void)
{
    const size_t paragraphs = sizeof story / sizeof *story;
    bytes text = {NULL, 0};
    size_t i;

    for (i = 0; i < paragraphs; i++)
        text.size += strlen(story[i]) + 1;
    text.data = (unsigned char *)take(text.size, 1);
    text.size = 0;
    for (i = 0; i < paragraphs; i++) {
        memcpy(text.data + text.size, story[i], strlen(story[i]));
        text.size += strlen(story[i]);
        text.data[text.size++] = '\n';
    }
    text.size--;   /* no line end after the last */
    return text;
}

static size_t count_words(bytes text)
{
    size_t words = 0, i;
    for (i = 0; i < text.size; i++)
        words += text.data[i] > ' ' && (i == 0 || text.data[i - 1] <= ' ');
    return words;
}

/* The prompt's ids. An empty one begins with the end of the text before. */
static uint32_t *prompt_ids(const options *o, const model *m, const tokenizer *t, size_t *count)
{
    bytes text = {NULL, 0};
    uint32_t *ids;

    text.size = strlen(o->prompt);
    text.data = (unsigned char *)take(text.size + 1, 1);
    memcpy(text.data, o->prompt, text.size + 1);
    ids = encode(t, text, count);
    give(text.data);
    if (*count == 0) {
        if (t->end_of_text == NO_ID)
            fail("--prompt: empty, and the vocabulary has no <|endoftext|> to begin with");
        ids[(*count)++] = t->end_of_text;
    }
    if (*count > m->context)
        fail("--prompt: %zu tokens, more than the model's context of %zu", *count, m->context);
    if (o->tokens > m->context - *count)
        fail("--tokens: %zu is not from 0 to %zu, which is what the context, %zu, leaves after a "
             "prompt of %zu", o->tokens, m->context - *count, m->context, *count);
    return ids;
}

static void print_model(const char *folder, const model *m)
{
    char parameters[32];

    commas((size_t)m->parameters, parameters, sizeof parameters);
    printf("model: %s: GPT-2, layers %zu, heads %zu, width %zu, context %zu,\n"
           "       vocabulary %zu, %s parameters\n", folder, m->layers, m->heads, m->width,
           m->context, m->vocab, parameters);
    if (m->head != m->wte)
        printf("       lm_head.weight differs from wte.weight: not tied, so the output always "
               "scores with\n       lm_head, and there is no perplexity with the tie kept\n");
}

/* The one option that depends on the model: a shape must hold a row. */
static void check_shape(const tte_shape *shape, size_t width)
{
    double product = 1.0;
    int32_t i;

    for (i = 0; i < shape->modes; i++)
        product *= (double)shape->dim[i];
    if (shape->modes && product < (double)width)
        fail("--shape: the product of its modes, %.0f, must reach the model's width, %zu", product,
             width);
}

/* The weights of the table's rows where some setting can use them: from a text that is given, or
   from the counts that lie beside the model; otherwise NULL. */
static float *load_weights(const options *o, const char *folder, const tokenizer *t)
{
    char *counts = path_join(&first_trouble, folder, "counts.json");
    float *weight = NULL;

    if (o->weights)
        weight = weights_of_text(t, o->weights);
    else if (wants_layout(o, TTE_PER_TABLE) && !file_missing(counts))
        weight = weights_of_counts(t, counts);
    give(counts);
    return weight;
}

static void run_bench(const options *o, const char *folder, const model *m, const tokenizer *t,
                      state *s)
{
    const bytes text = o->text ? read_file(&first_trouble, o->text) : story_text();
    setting list[MAX_SETTINGS];
    outcome came[MAX_SETTINGS];
    voice voices[MAX_VOICES];
    float *weights = load_weights(o, folder, t);
    const size_t settings = make_settings(o, m, weights, list);
    size_t i, spoken = 0;
    uint32_t *ids, *prompt;
    bytes prompt_text;
    bench b;

    check_shape(&o->shape, m->width);
    memset(&b, 0, sizeof b);
    b.m = m;
    b.tok = t;
    b.s = s;
    b.ids = ids = encode(t, text, &b.count);
    if (b.count < 2)
        fail("%s: fewer than two tokens", o->text);
    b.prompt = prompt = prompt_ids(o, m, t, &b.prompt_count);
    b.tokens = o->tokens;
    b.decoded = take_floats(m->vocab, m->width);

    print_model(folder, m);
    printf("text:  %s, %zu words, %zu tokens, windows of %zu\n",
           o->text ? o->text : "the story in the source", count_words(text), b.count, m->context);
    if (weights)
        printf("weights: square roots of the token counts in %s\n",
               o->weights ? o->weights : "the folder's counts.json");
    putchar('\n');
    print_heads();
    bar_start();
    for (i = 0; i < settings; i++) {
        voice v;
        memset(&v, 0, sizeof v);
        came[i] = run_setting(&b, &list[i], (double)i / (double)settings,
                              (double)(i + 1) / (double)settings, &v);
        if (v.text.data)
            voices[spoken++] = v;
    }
    print_summary(list, came, settings, m->head == m->wte);
    if (o->tokens) {
        prompt_text = decode(t, prompt, b.prompt_count);
        printf("\nprompt\n");
        print_wrapped("    ", prompt_text);
        give(prompt_text.data);
    }
    for (i = 0; i < spoken; i++) {
        if (o->tokens) {
            printf("%s\n", voices[i].name);
            print_wrapped("    ", voices[i].text);
        }
        give(voices[i].text.data);
    }
    give(ids);
    give(prompt);
    give(b.decoded);
    give(weights);
    give(text.data);
}

int main(int argc, char **argv)
{
    const options o = parse_options(argc, argv);
    const char *folder = o.folder ? o.folder : "examples/tiny-gpt2";
    int wrong = 0;
    tokenizer t;
    model m;
    state s;

    if (atexit(give_all))
        fail("atexit: no place");
    bar_start();
    m = model_load(folder);
    t = tokenizer_load(folder, m.vocab);
    s = state_make(&m);
    if (o.check) {
        wrong = run_check(&o, &m, &t, &s);
    } else {
        run_bench(&o, folder, &m, &t, &s);
    }
    state_give(&s);
    tokenizer_give(&t);
    model_give(&m);
    finish_output();
    return wrong;
}
