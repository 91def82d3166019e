/*
 * gpt2.h - GPT-2 in plain C: weights, tokenizer, forward pass, losses, where it looks in its table
 *
 * Reads a model in Hugging Face's own files (model.safetensors or its shards, config.json, vocab.json and merges.txt or
 * tokenizer.json), cuts text into tokens as GPT-2 does, and runs the model in float32, many positions at once. It
 * knows nothing of compressed tables: token rows and scores come from any tables of float32.
 * gpt2_demo.c and bench/language.c are built on it.
 *
 * Everything is here, in reading order: memory, tensors of model.safetensors, the model, the tokenizer,
 * losses and perplexity, calibration. Files, JSON and safetensors are read by tensor_files.h. C99 that
 * is also C++11, needs libm; with -fopenmp it uses all cores.
 *
 * A program that includes this file defines
 *     static void fail(const char *format, ...)   called with what is wrong; it must not return
 * and may define beforehand
 *     GPT2_PROGRESS(fraction, what)               called now and then while something takes its time
 *
 *     model m = model_load(folder);
 *     tokenizer t = tokenizer_load(folder, m.vocab);
 *     state s = state_make(&m, 1, m.context);
 *     const float *head = m.head;
 *     ids = encode(&t, text, &count);
 *     perplexity(&m, &s, ids, count, m.wte, &head, 1, &result);
 */
#ifndef GPT2_H
#define GPT2_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__cplusplus)
#define RESTRICT restrict
#elif defined(__GNUC__)
#define RESTRICT __restrict__
#else
#define RESTRICT
#endif

#if defined(__GNUC__)
#define NEVER_RETURNS __attribute__((noreturn, format(printf, 1, 2)))
#else
#define NEVER_RETURNS
#endif

#ifndef GPT2_PROGRESS
#define GPT2_PROGRESS(fraction, what) ((void)(fraction))
#endif

/* Troubles of the readers end as those of the model do. */
NEVER_RETURNS static void fail(const char *format, ...);
#ifdef TENSOR_FILES_H
#error "gpt2.h says what a trouble of tensor_files.h does: include it instead, or first"
#endif
#define TENSOR_FILES_FAIL(text) fail("%s", text)
#include "tensor_files.h"

/* ======================================================================================= */
/* MEMORY: that of tensor_files.h, where no memory ends the program                        */
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
/* TENSORS: those of model.safetensors, or of its shards                                   */
/* ======================================================================================= */

typedef struct {
    model_files m;
    uint64_t loaded, size;   /* bytes read so far, and of all files, to show progress */
    char prefix[64];         /* what stands before "wte.weight": "transformer.", and what else wrapped the model */
} weights_file;

static const tensor *weight_find(const weights_file *w, const char *name)
{
    char full[192];

    snprintf(full, sizeof full, "%s%s", w->prefix, name);
    return tensors_find(&w->m.all, full);
}

/* Until weights_close. */
static weights_file weights_open(const char *folder)
{
    static const char *const ends[] = {"wte.weight", "h.0.ln_1.weight"};   /* a table that is kept as lm_head only */
    const char *found = NULL;
    weights_file w;
    size_t i, k;

    memset(&w, 0, sizeof w);
    w.m = model_files_open(&first_trouble, folder);
    if (w.m.missing[0])
        fail("%s: %s is not there", w.m.path, w.m.missing);
    for (i = 0; i < w.m.count; i++)
        w.size += w.m.file[i].file.size;
    for (k = 0; k < 2 && !found; k++)
        for (i = 0; i < w.m.all.count; i++) {
            const char *name = w.m.all.list[i].name;
            const size_t length = strlen(name) - strlen(ends[k]);
            if (!ends_with(name, ends[k]) || length >= sizeof w.prefix || (length && name[length - 1] != '.'))
                continue;
            if (found)
                fail("%s: tensors %s and %s: which one is the model's?", w.m.path, found, name);
            found = name;
            snprintf(w.prefix, sizeof w.prefix, "%.*s", (int)length, name);
        }
    return w;
}

static void weights_close(weights_file *w)
{
    model_files_close(&w->m);
}

static const tensor *weight_need(const weights_file *w, const char *name)
{
    const tensor *t = weight_find(w, name);
    if (!t)
        fail("%s: tensor %s%s: missing", w->m.path, w->prefix, name);
    return t;
}

/* The output's table, or NULL: beside the model, not inside of it. */
static const tensor *weight_head(const weights_file *w)
{
    char full[192];
    const size_t length = strlen(w->prefix) - (ends_with(w->prefix, "transformer.") ? 12 : 0);
    const tensor *t;

    snprintf(full, sizeof full, "%.*slm_head.weight", (int)length, w->prefix);
    t = tensors_find(&w->m.all, full);
    return t ? t : tensors_find(&w->m.all, "lm_head.weight");
}

/* wte, or where that was left out as the output has the same numbers, the output's. */
static const tensor *weight_table(const weights_file *w)
{
    const tensor *t = weight_find(w, "wte.weight");
    return !t && weight_head(w) ? weight_head(w) : weight_need(w, "wte.weight");
}

/* The numbers of a tensor as float32, in a new block of rows x cols (rows 0: a vector). */
static float *weight_load(weights_file *w, const tensor *t, size_t rows, size_t cols)
{
    const size_t count = (rows ? rows : 1) * cols, piece = 1 << 12;
    const model_file *f = model_file_of(&w->m, t);
    size_t done = 0, i;
    float *out;

    if (t->type != TENSOR_F32 && t->type != TENSOR_F16 && t->type != TENSOR_BF16)
        fail("%s: tensor %s: dtype %s, expected F32, F16 or BF16", f->path, t->name, t->dtype);
    if (cols == 0 || (rows ? t->rank != 2 || t->shape[0] != rows || t->shape[1] != cols
                           : t->rank != 1 || t->shape[0] != cols)) {
        char is[256] = "", want[64] = "";
        tensor_shape_text(t, is, sizeof is);
        add_text(want, sizeof want, rows ? "%zu x %zu" : "%zu", rows ? rows : cols, cols);
        fail("%s: tensor %s: shape [%s], expected [%s]", f->path, t->name, is, want);
    }
    out = take_floats(rows ? rows : 1, cols);
    while (done < count) {
        const size_t each = tensor_kinds[t->type].size, n = count - done < piece ? count - done : piece;
        tensor_numbers(t->type, f->file.data + t->begin + (uint64_t)done * each, n, out + done);
        for (i = done; i < done + n; i++)
            if (!is_finite(out[i]))
                fail("%s: tensor %s: number %zu is not finite", f->path, t->name, i);
        done += n;
        w->loaded += n * each;
        GPT2_PROGRESS((double)w->loaded / (double)w->size, "reading the model");
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
    int by_root, by_layer;     /* scores of attention are divided by the root of a head's width; by 1, 2, .. layers */
    int untied;                /* the output has another table, says the configuration */
    float (*activation)(float);
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

/* One more than the greatest N of all names h.N.something. */
static size_t count_layers(const weights_file *w)
{
    const size_t skip = strlen(w->prefix);
    size_t layers = 0, i;

    for (i = 0; i < w->m.all.count; i++) {
        const char *name = w->m.all.list[i].name;
        if (strncmp(name, w->prefix, skip) == 0 && strncmp(name + skip, "h.", 2) == 0) {
            const unsigned long n = strtoul(name + skip + 2, NULL, 10);
            if (n >= w->m.all.count)
                fail("%s: tensor %s: one of layer %lu, but there are only %zu tensors", w->m.path,
                     name, n, w->m.all.count);
            layers = n >= layers ? (size_t)n + 1 : layers;
        }
    }
    return layers;
}

/* The numbers that the tensors tell. */
static model model_sizes(const weights_file *w)
{
    const tensor *wte = weight_table(w), *wpe = weight_need(w, "wpe.weight");
    const tensor *up = weight_need(w, "h.0.mlp.c_fc.weight");
    model m;

    memset(&m, 0, sizeof m);
    if (wte->rank != 2 || wpe->rank != 2 || up->rank != 2 || wte->shape[0] < 1
        || wte->shape[0] > UINT32_MAX || wte->shape[1] < 1 || wte->shape[1] > 1u << 20
        || wpe->shape[0] < 1)
        fail("%s: wte.weight, wpe.weight or h.0.mlp.c_fc.weight: not the shape of a table", w->m.path);
    m.vocab = wte->shape[0];
    m.width = wte->shape[1];
    m.context = wpe->shape[0];
    m.inner = up->shape[1];
    m.layers = count_layers(w);
    if (m.layers > SIZE_MAX / m.context / m.width)
        fail("%s: too large for this machine", w->m.path);
    return m;
}

static float gelu_by_tanh(float x)
{
    return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
}

static float gelu_by_erf(float x)
{
    return 0.5f * x * (1.0f + erff(0.7071067812f * x));
}

static float relu(float x)
{
    return x > 0.0f ? x : 0.0f;
}

static float silu(float x)
{
    return x / (1.0f + expf(-x));
}

/* A field under any of its names, "a|b|c"; 0 when none is there, or null. */
static size_t config_find(const json *j, size_t node, const char *names, char *name, size_t size)
{
    size_t found = 0;

    while (*names && !found) {
        const size_t length = strcspn(names, "|");
        snprintf(name, size, "%.*s", (int)length, names);
        found = json_get(j, node, name);
        if (found && j->node[found].kind == JSON_WORD && j->text[j->node[found].begin] == 'n')
            found = 0;
        names += length + (names[length] == '|');
    }
    return found;
}

static int config_flag(const json *j, size_t node, const char *name, int usual)
{
    char found[64];
    const size_t at = config_find(j, node, name, found, sizeof found);

    if (!at)
        return usual;
    if (j->node[at].kind != JSON_WORD)
        fail("%s: %s: expected true or false", j->file, found);
    return j->text[j->node[at].begin] == 't';
}

/* What the field says must be one of these: its place among them, or 0 where it is not there. */
static size_t config_word(const json *j, size_t node, const char *names, const char *const *known)
{
    char found[64], all[160] = "";
    const size_t at = config_find(j, node, names, found, sizeof found);
    bytes word;
    size_t i;

    if (!at)
        return 0;
    word = json_string(j, at);
    for (i = 0; known[i] && strcmp((const char *)word.data, known[i]) != 0; i++)
        add_text(all, sizeof all, i ? ", %s" : "%s", known[i]);
    if (!known[i])
        fail("%s: %s: \"%.40s\", expected one of %s", j->file, found, (const char *)word.data, all);
    give(word.data);
    return i;
}

/* config.json: heads, epsilon and all else that changes the arithmetic, and what must agree with the tensors. */
static void model_config(model *m, const char *path, bytes text)
{
    static const char *const activations[] = {"gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu", "relu", "silu", "swish", NULL};
    static float (*const functions[])(float) = {gelu_by_tanh, gelu_by_tanh, gelu_by_tanh, gelu_by_erf, relu, silu, silu};
    static const char *const types[] = {"gpt2", NULL};
    static const char heads[] = "n_head|num_attention_heads|num_heads";
    static const char *const keys[] = {"n_layer|num_hidden_layers", "n_embd|hidden_size", "n_positions|max_position_embeddings|n_ctx",
                                       "vocab_size", "n_inner"};
    const size_t want[] = {m->layers, m->width, m->context, m->vocab, m->inner};
    size_t node, root = 0, i;
    char name[64];
    json j;

    if (!text.data)
        fail("%s: missing: it says how many heads there are", path);
    j = json_parse(&first_trouble, path, 0, text.data, text.size);
    if (!config_find(&j, 0, heads, name, sizeof name))   /* inside of another, as "text_config" */
        for (node = json_first(&j, 0, JSON_OBJECT); node; node = json_after(&j, 0, node + 1))
            if (j.node[node + 1].kind == JSON_OBJECT && config_find(&j, node + 1, heads, name, sizeof name))
                root = node + 1;
    (void)config_word(&j, root, "model_type", types);
    node = config_find(&j, root, heads, name, sizeof name);
    if (!node)
        fail("%s: n_head: missing: it says how many heads there are", path);
    m->heads = (size_t)json_whole(&j, node, 1, m->width);
    if (m->width % m->heads)
        fail("%s: %s: %zu heads do not divide the width, %zu", path, name, m->heads, m->width);
    m->epsilon = 1e-5f;
    if ((node = config_find(&j, root, "layer_norm_epsilon|layer_norm_eps", name, sizeof name)) != 0) {
        m->epsilon = (float)json_number(&j, node);
        if (!(m->epsilon > 0.0f && m->epsilon < 1.0f))
            fail("%s: %s: expected a number between 0 and 1", path, name);
    }
    for (i = 0; i < sizeof keys / sizeof *keys; i++)
        if ((node = config_find(&j, root, keys[i], name, sizeof name)) != 0 && want[i] && json_whole(&j, node, 0, SIZE_MAX) != want[i])
            fail("%s: %s: differs from the model's tensors, which have %zu", path, name, want[i]);
    m->activation = functions[config_word(&j, root, "activation_function|hidden_act", activations)];
    m->by_root = config_flag(&j, root, "scale_attn_weights", 1);
    m->by_layer = config_flag(&j, root, "scale_attn_by_inverse_layer_idx", 0);
    m->untied = !config_flag(&j, 0, "tie_word_embeddings", config_flag(&j, root, "tie_word_embeddings", 1));
    if (config_flag(&j, root, "add_cross_attention", 0))
        fail("%s: add_cross_attention: an encoder's decoder, not a language model", path);
    give(j.node);
}

/* The weights themselves. */
static void model_weights(model *m, weights_file *w)
{
    const tensor *head;
    size_t i;

    m->wte = m->head = weight_load(w, weight_table(w), m->vocab, m->width);
    m->wpe = weight_load(w, weight_need(w, "wpe.weight"), m->context, m->width);
    m->each = (layer *)take(m->layers, sizeof *m->each);
    for (i = 0; i < m->layers; i++)
        layer_load(w, m, i, &m->each[i]);
    m->norm_w = weight_load(w, weight_need(w, "ln_f.weight"), 0, m->width);
    m->norm_b = weight_load(w, weight_need(w, "ln_f.bias"), 0, m->width);
    m->parameters = (uint64_t)(m->vocab + m->context + 2) * m->width
                  + (uint64_t)m->layers * (m->width * (4 * m->width + 2 * m->inner + 9) + m->inner);
    head = weight_head(w);
    if (!head && m->untied)
        fail("%s: tensor lm_head.weight: missing, and tie_word_embeddings is false", w->m.path);
    if (head && head != weight_table(w)) {
        m->head = weight_load(w, head, m->vocab, m->width);
        if (memcmp(m->head, m->wte, m->vocab * m->width * sizeof *m->wte) == 0) {
            give(m->head);
            m->head = m->wte;
        } else if (m->untied) {
            m->parameters += (uint64_t)m->vocab * m->width;
        } else {
            fail("%s: tensor lm_head.weight: other numbers than wte.weight, though tie_word_embeddings is not false", w->m.path);
        }
    }
}

SHARED model model_load(const char *folder)
{
    char *config = path_join(&first_trouble, folder, "config.json");
    weights_file w = weights_open(folder);
    model m = model_sizes(&w);
    bytes text = {NULL, 0};
    size_t i;

    if (!file_missing(config))
        text = read_file(&first_trouble, config);
    model_config(&m, config, text);
    give(text.data);
    model_weights(&m, &w);
    for (i = 0; i < w.m.count; i++)
        view_check(&first_trouble, &w.m.file[i].file);
    weights_close(&w);
    give(config);
    return m;
}

SHARED void model_give(model *m)
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

static void activate(const model *m, float *x, size_t n)
{
    ptrdiff_t i;

#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (i = 0; i < (ptrdiff_t)n; i++)
        x[i] = m->activation(x[i]);
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

/* What a run of the model needs: a cache of the positions seen for each of `lanes` texts that run side
   by side, and room to work in. */
typedef struct {
    size_t lanes;
    float *keys, *values;   /* layers x lanes x context x width */
    float *x;               /* lanes x most x width: token rows go in, final hidden states come out */
    float *y;               /* the same */
    float *wide;            /* lanes x most x max(3 width, inner) */
    float *score;           /* lanes x heads x context */
    float *logit;           /* vocab */
} state;

/* most: the positions of a lane that go through the model at once. */
SHARED state state_make(const model *m, size_t lanes, size_t most)
{
    const size_t wide = m->inner > 3 * m->width ? m->inner : 3 * m->width;
    state s;

    s.lanes = lanes;
    s.keys = take_floats(m->layers * lanes * m->context, m->width);
    s.values = take_floats(m->layers * lanes * m->context, m->width);
    s.x = take_floats(lanes * most, m->width);
    s.y = take_floats(lanes * most, m->width);
    s.wide = take_floats(lanes * most, wide);
    s.score = take_floats(lanes * m->heads, m->context);
    s.logit = take_floats(m->vocab, 1);
    return s;
}

SHARED void state_give(state *s)
{
    give(s->keys);
    give(s->values);
    give(s->x);
    give(s->y);
    give(s->wide);
    give(s->score);
    give(s->logit);
}

/* y (lanes x count x width) = attention of the queries in `wide` (lanes x count x 3 width) over the
   cache, whose positions 0 .. from + count - 1 are filled. A position sees itself and what is before. */
static void attend(const model *m, state *s, size_t at_layer, const float *keys, const float *values, size_t from,
                   size_t count)
{
    const size_t d = m->width, size = d / m->heads;
    const float scale = (m->by_root ? 1.0f / sqrtf((float)size) : 1.0f) / (m->by_layer ? (float)(at_layer + 1) : 1.0f);
    ptrdiff_t i;

#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (i = 0; i < (ptrdiff_t)(s->lanes * m->heads); i++) {
        const size_t lane = (size_t)i / m->heads, at = (size_t)i % m->heads * size;
        const float *key = keys + lane * m->context * d + at, *value = values + (key - keys);
        float *score = s->score + (size_t)i * m->context;
        size_t t, u;

        for (t = 0; t < count; t++) {
            const float *query = s->wide + (lane * count + t) * 3 * d + at;
            float *out = s->y + (lane * count + t) * d + at;

            for (u = 0; u <= from + t; u++)
                score[u] = scale * dot(query, key + u * d, size);
            softmax(score, from + t + 1);
            memset(out, 0, size * sizeof *out);
            for (u = 0; u <= from + t; u++)
                add_scaled(out, score[u], value + u * d, size);
        }
    }
}

/* s->x: rows of `count` tokens in each lane (lanes x count x width) that stand at positions from,
   from + 1, ...; it becomes their hidden states after the last norm. The cache holds what came before. */
static void forward(const model *m, state *s, size_t from, size_t count)
{
    const size_t d = m->width, rows = s->lanes * count, size = s->lanes * m->context * d;
    size_t i, t;

    for (t = 0; t < s->lanes; t++)
        add_scaled(s->x + t * count * d, 1.0f, m->wpe + from * d, count * d);
    for (i = 0; i < m->layers; i++) {
        const layer *l = &m->each[i];
        float *keys = s->keys + i * size, *values = s->values + i * size;

        layer_norm(s->y, s->x, l->ln1_w, l->ln1_b, rows, d, m->epsilon);
        linear(s->wide, s->y, l->qkv_w, l->qkv_b, rows, d, 3 * d);
        for (t = 0; t < rows; t++) {
            const size_t at = (t / count * m->context + from + t % count) * d;
            memcpy(keys + at, s->wide + (3 * t + 1) * d, d * sizeof *keys);
            memcpy(values + at, s->wide + (3 * t + 2) * d, d * sizeof *values);
        }
        attend(m, s, i, keys, values, from, count);
        linear(s->wide, s->y, l->out_w, l->out_b, rows, d, d);
        add_scaled(s->x, 1.0f, s->wide, rows * d);

        layer_norm(s->y, s->x, l->ln2_w, l->ln2_b, rows, d, m->epsilon);
        linear(s->wide, s->y, l->up_w, l->up_b, rows, d, m->inner);
        activate(m, s->wide, rows * m->inner);
        linear(s->y, s->wide, l->down_w, l->down_b, rows, m->inner, d);
        add_scaled(s->x, 1.0f, s->y, rows * d);
    }
    layer_norm(s->x, s->x, m->norm_w, m->norm_b, rows, d, m->epsilon);
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

static void vocab_begin(tokenizer *t, size_t words)
{
    size_t i;

    t->token = (bytes *)take(t->vocab, sizeof *t->token);
    for (i = 0; i < t->vocab; i++) {
        t->token[i].data = NULL;
        t->token[i].size = 0;
    }
    t->slots = table_size(words);
    t->slot = (uint32_t *)take(t->slots, sizeof *t->slot);
    memset(t->slot, 0xff, t->slots * sizeof *t->slot);
}

/* The token at a node; `added`: written as it is, and it may be there already. */
static void vocab_add(tokenizer *t, const json *j, size_t node, size_t id_node, int added)
{
    const uint32_t id = (uint32_t)json_whole(j, id_node, 0, t->vocab - 1);
    bytes name = json_string(j, node), b = added ? name : token_bytes(name);
    uint32_t *slot = token_slot(t, b);

    if (added && (*slot == id || (*slot == NO_ID && t->token[id].data))) {
        give(b.data);
        return;
    }
    if (t->token[id].data || *slot != NO_ID)
        fail("%s: byte %zu: token \"%.40s\" or id %u for the second time", j->file,
             j->node[node].begin, (const char *)name.data, (unsigned)id);
    *slot = id;
    t->token[id] = b;
    if (!added)
        give(name.data);
}

static void vocab_end(tokenizer *t, const char *path)
{
    size_t i;

    for (i = 0; i < 256; i++) {
        unsigned char c = (unsigned char)i;
        bytes one = {NULL, 1};
        one.data = &c;
        t->byte_id[i] = *token_slot(t, one);
        if (t->byte_id[i] == NO_ID)
            fail("%s: no token for the single byte %zu", path, i);
    }
}

/* {"token": id, ...} */
static void vocab_map(tokenizer *t, const json *j, size_t map, int added)
{
    size_t k;

    for (k = json_first(j, map, JSON_OBJECT); k; k = json_after(j, map, k + 1))
        vocab_add(t, j, k, k + 1, added);
}

/* vocab.json, and added_tokens.json where it is there (NULL: not) */
static void read_vocab(tokenizer *t, const char *path, bytes text, const char *added)
{
    json j = json_parse(&first_trouble, path, 0, text.data, text.size), more;
    bytes other = {NULL, 0};

    vocab_begin(t, j.count / 2 + (added ? t->vocab : 0));
    vocab_map(t, &j, 0, 0);
    give(j.node);
    if (added) {
        other = read_file(&first_trouble, added);
        more = json_parse(&first_trouble, added, 0, other.data, other.size);
        if (more.count / 2 > t->vocab)
            fail("%s: more tokens than the table has rows", added);
        vocab_map(t, &more, 0, 1);
        give(more.node);
        give(other.data);
    }
    vocab_end(t, path);
}

static uint32_t known_token(const tokenizer *t, const char *path, size_t line, bytes b)
{
    const uint32_t id = *token_slot(t, b);
    if (id == NO_ID)
        fail("%s: %s %zu: a piece or its whole is not among the tokens", path, ends_with(path, ".json") ? "merge" : "line", line);
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
        fail("%s: %s %zu: not two pieces with one space between them", path, ends_with(path, ".json") ? "merge" : "line", line);
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

static void merges_begin(tokenizer *t, const char *path, size_t pairs)
{
    if (pairs > UINT32_MAX / 4)
        fail("%s: too many pairs", path);
    t->pairs = table_size(pairs);
    t->pair = (merge *)take(t->pairs, sizeof *t->pair);
    memset(t->pair, 0xff, t->pairs * sizeof *t->pair);
}

/* merges.txt: a pair on each line, the first to be joined first */
static void read_merges(tokenizer *t, const char *path, bytes text)
{
    size_t at, line = 0, lines = 1;
    uint32_t rank = 0;

    for (at = 0; at < text.size; at++)
        lines += text.data[at] == '\n';
    merges_begin(t, path, lines);
    for (at = begins_with(text.data, text.size, "\xef\xbb\xbf", 3) ? 3 : 0; at < text.size; at++) {
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
}

/* tokenizer.json: a BPE of bytes that cuts text as GPT-2 does; merges are "left right" or ["left", "right"]. */
static void read_tokenizer(tokenizer *t, const char *path, bytes text)
{
    static const char *const types[] = {"", "BPE", NULL}, *const cuts[] = {"", "ByteLevel", NULL};
    json j = json_parse(&first_trouble, path, 0, text.data, text.size);
    const size_t made = json_need(&j, 0, "model"), merges = json_need(&j, made, "merges");
    const size_t cut = json_need(&j, 0, "pre_tokenizer"), added = json_get(&j, 0, "added_tokens");
    uint32_t rank = 0;
    size_t k, n;

    (void)config_word(&j, made, "type", types);
    if (j.node[cut].kind != JSON_OBJECT)
        fail("%s: pre_tokenizer: expected GPT-2's, which is of type ByteLevel", path);
    (void)config_word(&j, cut, "type", cuts);
    if (config_flag(&j, cut, "add_prefix_space", 0) || !config_flag(&j, cut, "use_regex", 1))
        fail("%s: pre_tokenizer: not GPT-2's: add_prefix_space or use_regex", path);
    vocab_begin(t, j.count / 2);
    vocab_map(t, &j, json_need(&j, made, "vocab"), 0);
    for (k = added ? json_first(&j, added, JSON_ARRAY) : 0; k; k = json_after(&j, added, k))
        vocab_add(t, &j, json_need(&j, k, "content"), json_need(&j, k, "id"), 1);
    vocab_end(t, path);
    merges_begin(t, path, j.count);
    for (k = json_first(&j, merges, JSON_ARRAY), n = 1; k; k = json_after(&j, merges, k), n++) {
        const int pair = j.node[k].kind == JSON_ARRAY && j.node[k].next == k + 3;
        bytes one = json_string(&j, k + (pair ? 1 : 0));
        if (pair) {
            bytes right = json_string(&j, k + 2);
            one.data = (unsigned char *)resize(one.data, one.size + right.size + 2, 1);
            one.data[one.size] = ' ';
            memcpy(one.data + one.size + 1, right.data, right.size + 1);
            one.size += 1 + right.size;
            give(right.data);
        }
        add_merge(t, path, n, one, rank++);
        give(one.data);
    }
    give(j.node);
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

/* The class of every character. */
static unsigned char *make_kinds(void)
{
    unsigned char *kind = (unsigned char *)take(CLASSES_END, 1);
    size_t i;

    memset(kind, OTHER, CLASSES_END);
    take_runs(kind, letter_runs, sizeof letter_runs / sizeof *letter_runs, LETTER);
    take_runs(kind, number_runs, sizeof number_runs / sizeof *number_runs, NUMBER);
    for (i = 0; i < sizeof space_runs / sizeof *space_runs; i += 2)
        memset(kind + space_runs[i], SPACE, (size_t)space_runs[i + 1] - space_runs[i] + 1);
    return kind;
}

SHARED tokenizer tokenizer_load(const char *folder, size_t vocab)
{
    static unsigned char end_of_text[] = "<|endoftext|>";
    static const char *const names[2][2] = {{"vocab.json", "merges.txt"}, {"encoder.json", "vocab.bpe"}};
    char *added = path_join(&first_trouble, folder, "added_tokens.json");
    char *whole = path_join(&first_trouble, folder, "tokenizer.json");
    bytes text, end = {end_of_text, sizeof end_of_text - 1};
    tokenizer t;
    int i;

    memset(&t, 0, sizeof t);
    t.vocab = (uint32_t)vocab;
    for (i = 0; i < 2 && !t.pair; i++) {
        char *words = path_join(&first_trouble, folder, names[i][0]);
        char *merges = path_join(&first_trouble, folder, names[i][1]);
        if (!file_missing(words) && !file_missing(merges)) {
            text = read_file(&first_trouble, words);
            read_vocab(&t, words, text, file_missing(added) ? NULL : added);
            give(text.data);
            text = read_file(&first_trouble, merges);
            read_merges(&t, merges, text);
            give(text.data);
        } else if (file_missing(whole) && (i == 1 || !file_missing(words) || !file_missing(merges))) {
            fail("%s: no vocab.json and merges.txt, encoder.json and vocab.bpe, or tokenizer.json here", folder);
        }
        give(words);
        give(merges);
    }
    if (!t.pair) {
        text = read_file(&first_trouble, whole);
        read_tokenizer(&t, whole, text);
        give(text.data);
    }
    t.end_of_text = *token_slot(&t, end);
    t.kind = make_kinds();
    give(added);
    give(whole);
    return t;
}

SHARED void tokenizer_give(tokenizer *t)
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
SHARED uint32_t *encode(const tokenizer *t, bytes text, size_t *count)
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
SHARED bytes decode(const tokenizer *t, const uint32_t *ids, size_t count)
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
/* LOSSES                                                                                  */
/* ======================================================================================= */

/* score (rows x COLS) = inner products of hidden rows (rows x width) with `n` rows of a table, n <= COLS. */
static void panel_scores(float *score, const float *hidden, size_t rows, const float *table, size_t n,
                         size_t width)
{
    float panel[DEPTH * COLS];
    size_t k;

    memset(score, 0, rows * COLS * sizeof *score);
    for (k = 0; k < width; k += DEPTH) {
        const size_t part = width - k < DEPTH ? width - k : DEPTH;
        panel_pack(panel, table + k, 1, width, part, n);
        panel_product(score, COLS, COLS, hidden + k, width, rows, panel, COLS, part);
    }
}

/* loss[r] = -log of the probability of target[r] after hidden row r, for rows <= GROUP.
   The scores against table (vocab x width) are made COLS tokens at a time and not kept. */
static void losses(const float *hidden, size_t rows, const float *dense, size_t vocab,
                   size_t width, const uint32_t *target, double *loss)
{
    float score[GROUP * COLS], top[GROUP], wanted[GROUP];
    double sum[GROUP];
    size_t first, r, j;

    for (r = 0; r < rows; r++) {
        top[r] = wanted[r] = 0.0f;
        sum[r] = 0.0;
    }
    for (first = 0; first < vocab; first += COLS) {
        const size_t n = vocab - first < COLS ? vocab - first : COLS;

        panel_scores(score, hidden, rows, dense + first * width, n, width);
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

/* loss[r] for the positions of a window, which is what s->x holds; any number of them. */
static void window_losses(const model *m, const state *s, const float *dense, const uint32_t *target,
                          size_t count, double *loss)
{
    const ptrdiff_t groups = (ptrdiff_t)((count + GROUP - 1) / GROUP);
    ptrdiff_t g;

#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic)
#endif
    for (g = 0; g < groups; g++) {
        const size_t at = (size_t)g * GROUP, n = count - at < GROUP ? count - at : GROUP;
        losses(s->x + at * m->width, n, dense, m->vocab, m->width, target + at, loss + at);
    }
}

/*
 * The losses of a text of count ids, 2 or more: loss[i * (count - 1) + k] is -log of the probability of
 * ids[k + 1] with token rows from the table `input` and scores from output[i], both vocab x width. The
 * text is cut into windows of the context's length; each token of a window predicts the next one, the
 * last one the first of the next window.
 */
SHARED void text_losses(const model *m, state *s, const uint32_t *ids, size_t count, const float *input,
                        const float *const *output, size_t outputs, double *loss)
{
    size_t at, i, k, n;

    for (at = 0; at + 1 < count; at += n) {
        GPT2_PROGRESS((double)at / (double)count, "perplexity");
        n = count - 1 - at < m->context ? count - 1 - at : m->context;
        for (k = 0; k < n; k++)
            memcpy(s->x + k * m->width, input + ids[at + k] * m->width, m->width * sizeof *input);
        forward(m, s, 0, n);
        for (i = 0; i < outputs; i++)
            window_losses(m, s, output[i], ids + at + 1, n, loss + i * (count - 1) + at);
    }
}

/* The perplexity of ids[1 .. count) for each output: exp of the mean loss. */
SHARED void perplexity(const model *m, state *s, const uint32_t *ids, size_t count, const float *input,
                       const float *const *output, size_t outputs, double *result)
{
    double *loss = (double *)take(outputs * (count - 1), sizeof *loss);
    size_t i, k;

    text_losses(m, s, ids, count, input, output, outputs, loss);
    for (i = 0; i < outputs; i++) {
        double total = 0.0;
        for (k = 0; k + 1 < count; k++)
            total += loss[i * (count - 1) + k];
        result[i] = exp(total / (double)(count - 1));
    }
    give(loss);
}

/* ======================================================================================= */
/* CALIBRATION: where the model looks, on text of its own or another's                     */
/* ======================================================================================= */

#define CALIBRATION_TOKENS ((size_t)16384)   /* that a model writes; on tiny-gpt2 four times as many give nothing more */
#define LANES ((size_t)64)     /* texts that are written side by side */
#define SAMPLE ((size_t)4)     /* of them, and of how many tokens, for the mixture */
#define SAMPLE_LENGTH ((size_t)256)

/* What the model did with its table. */
typedef struct {
    uint64_t tokens;
    double *moment;     /* width x width: the sum of h h' over the hidden states h that met the head */
    double *mass;       /* vocab: the sum of the probabilities that the head gave */
    double *count;      /* vocab: how often the token was read; of a drawn one, how often in the mean */
    uint32_t *sample;   /* SAMPLE x length: of the texts */
    size_t length;
} usage;

static double *take_zeros(size_t count)
{
    double *zeros = (double *)take(count, sizeof *zeros);
    size_t i;

    for (i = 0; i < count; i++)
        zeros[i] = 0.0;
    return zeros;
}

static usage usage_make(const model *m, size_t length)
{
    usage u;

    u.tokens = 0;
    u.moment = take_zeros(m->width * m->width);
    u.mass = take_zeros(m->vocab);
    u.count = take_zeros(m->vocab);
    u.length = length < m->context ? length : m->context;
    u.length = u.length < SAMPLE_LENGTH ? u.length : SAMPLE_LENGTH;
    u.sample = (uint32_t *)take(SAMPLE * u.length, sizeof *u.sample);
    return u;
}

SHARED void usage_give(usage *u)
{
    give(u->moment);
    give(u->mass);
    give(u->count);
    give(u->sample);
}

/* p (rows x vocab) = the probabilities that a table gives after hidden states (rows x width). */
static void probabilities(const model *m, const float *head, const float *hidden, size_t rows, float *p)
{
    const ptrdiff_t panels = (ptrdiff_t)((m->vocab + COLS - 1) / COLS);
    ptrdiff_t i;

#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (i = 0; i < panels; i++) {
        const size_t first = (size_t)i * COLS, n = m->vocab - first < COLS ? m->vocab - first : COLS;
        float score[GROUP * COLS];
        size_t at, r;

        for (at = 0; at < rows; at += GROUP) {
            const size_t some = rows - at < GROUP ? rows - at : GROUP;
            panel_scores(score, hidden + at * m->width, some, head + first * m->width, n, m->width);
            for (r = 0; r < some; r++)
                memcpy(p + (at + r) * m->vocab + first, score + r * COLS, n * sizeof *p);
        }
    }
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (i = 0; i < (ptrdiff_t)rows; i++)
        softmax(p + (size_t)i * m->vocab, m->vocab);
}

/* Adds hidden states (rows x width) and what the head makes of them, p (rows x vocab). Each sum runs in
   the order of the rows, whatever the number of threads. */
static void usage_add(const model *m, usage *u, const float *hidden, const float *p, size_t rows)
{
    ptrdiff_t i;

#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (i = 0; i < (ptrdiff_t)m->vocab; i++) {
        size_t r;
        for (r = 0; r < rows; r++)
            u->mass[i] += (double)p[r * m->vocab + (size_t)i];
    }
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (i = 0; i < (ptrdiff_t)m->width; i++) {
        double *sum = u->moment + (size_t)i * m->width;
        size_t r, k;
        for (r = 0; r < rows; r++) {
            const float *h = hidden + r * m->width;
            for (k = 0; k < m->width; k++)
                sum[k] += (double)h[i] * (double)h[k];
        }
    }
    u->tokens += rows;
}

/* A generator of our own (xorshift64*), so that every machine draws the same: from 0 to below 1. */
static double draw(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return (double)((*seed * 2685821657736338717u) >> 32) / 4294967296.0;
}

/* One of n tokens, by its probability. */
static uint32_t draw_token(const float *p, size_t n, uint64_t *seed)
{
    double left = draw(seed);
    size_t i;

    for (i = 0; i + 1 < n && left >= (double)p[i]; i++)
        left -= (double)p[i];
    return (uint32_t)i;
}

/* What a text begins with: the end of the one before, or a new line where there is no such token. */
SHARED uint32_t opening_token(const tokenizer *t)
{
    return t->end_of_text != NO_ID ? t->end_of_text : t->byte_id[(unsigned char)'\n'];
}

/* While the model writes `tokens` tokens (and up to LANES more) at temperature 1, LANES texts side by
   side; each begins with `opener` and is as long as the context allows. */
SHARED usage usage_of_writing(const model *m, uint32_t opener, size_t tokens)
{
    state s = state_make(m, LANES, 1);
    float *p = take_floats(LANES, m->vocab);
    uint64_t seed = 20240229u;
    usage u = usage_make(m, (tokens + LANES - 1) / LANES);
    size_t at = 0, i;

    while (u.tokens < tokens) {
        GPT2_PROGRESS((double)u.tokens / (double)tokens, "the model writes");
        for (i = 0; i < LANES; i++) {
            const uint32_t id = at ? draw_token(p + i * m->vocab, m->vocab, &seed) : opener;
            memcpy(s.x + i * m->width, m->wte + id * m->width, m->width * sizeof *s.x);
            if (i < SAMPLE && at < u.length)
                u.sample[i * u.length + at] = id;
        }
        u.count[opener] += at ? 0.0 : (double)LANES;
        forward(m, &s, at, 1);
        probabilities(m, m->head, s.x, LANES, p);
        usage_add(m, &u, s.x, p, LANES);
        at = at + 1 < m->context ? at + 1 : 0;
    }
    for (i = 0; i < m->vocab; i++)   /* what is drawn is read next */
        u.count[i] += u.mass[i];
    give(p);
    state_give(&s);
    return u;
}

/* While it reads a text, SAMPLE tokens or more, in windows of the context's length. */
SHARED usage usage_of_text(const model *m, const uint32_t *ids, size_t count)
{
    state s = state_make(m, 1, m->context);
    float *p = take_floats(GROUP, m->vocab);
    usage u = usage_make(m, count / SAMPLE);
    size_t at, n, k, some;

    memcpy(u.sample, ids, SAMPLE * u.length * sizeof *ids);
    for (at = 0; at < count; at += n) {
        GPT2_PROGRESS((double)at / (double)count, "the model reads");
        n = count - at < m->context ? count - at : m->context;
        for (k = 0; k < n; k++) {
            memcpy(s.x + k * m->width, m->wte + ids[at + k] * m->width, m->width * sizeof *s.x);
            u.count[ids[at + k]]++;
        }
        forward(m, &s, 0, n);
        for (k = 0; k < n; k += some) {
            some = n - k < GROUP ? n - k : GROUP;
            probabilities(m, m->head, s.x + k * m->width, some, p);
            usage_add(m, &u, s.x + k * m->width, p, some);
        }
    }
    give(p);
    state_give(&s);
    return u;
}

/* s->x: the hidden states of the sample, with rows from `table`. */
static void sample_forward(const model *m, state *s, const usage *u, const float *table)
{
    size_t i;

    for (i = 0; i < SAMPLE * u->length; i++)
        memcpy(s->x + i * m->width, table + u->sample[i] * m->width, m->width * sizeof *s->x);
    forward(m, s, 0, u->length);
}

static double divergence(const float *p, const float *q, size_t n)   /* Kullback and Leibler's, in nats */
{
    double sum = 0.0;
    size_t i;

    for (i = 0; i < n; i++)
        if (p[i] > 0.0f && q[i] > 0.0f)
            sum += (double)p[i] * log((double)p[i] / (double)q[i]);
    return sum;
}

/* The part that the head has in the harm of a tied table's errors, from 0 to 1. All rows get noise of a
   tenth of their size, once where they are read and once where they score; what a small error does
   grows with its square, and both parts add up (tiny-gpt2: .029 and .028 nats, together .058). */
static double head_share(const model *m, const usage *u)
{
    const size_t numbers = m->vocab * m->width, rows = SAMPLE * u->length;
    state s = state_make(m, SAMPLE, u->length);
    float *noisy = take_floats(m->vocab, m->width), *clean = take_floats(rows, m->width);
    float *p = take_floats(GROUP, m->vocab), *q = take_floats(GROUP, m->vocab);
    double square = 0.0, read = 0.0, scored = 0.0;
    uint64_t seed = 88172645463325252u;
    size_t i, at, some;

    for (i = 0; i < numbers; i++)
        square += (double)m->wte[i] * (double)m->wte[i];
    square = 0.1 * sqrt(12.0 * square / (double)numbers);   /* of a uniform draw */
    for (i = 0; i < numbers; i++)
        noisy[i] = m->wte[i] + (float)(square * (draw(&seed) - 0.5));
    sample_forward(m, &s, u, m->wte);
    memcpy(clean, s.x, rows * m->width * sizeof *clean);
    sample_forward(m, &s, u, noisy);
    for (at = 0; at < rows; at += some) {
        some = rows - at < GROUP ? rows - at : GROUP;
        probabilities(m, m->wte, clean + at * m->width, some, p);
        probabilities(m, m->wte, s.x + at * m->width, some, q);
        read += divergence(p, q, some * m->vocab);
        probabilities(m, noisy, clean + at * m->width, some, q);
        scored += divergence(p, q, some * m->vocab);
    }
    give(noisy);
    give(clean);
    give(p);
    give(q);
    state_give(&s);
    return read > 0.0 && scored > 0.0 ? scored / (read + scored) : 0.5;
}

/*
 * A small error e of row t adds to the loss about e'(a p_t M + (1 - a) c_t I)e, but for a factor: at the
 * head p_t, the token's probability, and M, the second moment of the hidden states that meet it; at the
 * input c_t, how often it is read, and for want of a gradient no direction before another. One metric for
 * all rows makes that row_weight (a p_t + (1 - a) c_t) and metric a M + (1 - a) I; a is measured. Errors
 * of rare rows are no small ones, and few tokens tell little of them: hence the power. The floor, in means
 * of all tokens, only keeps weights above zero: a larger one gives bits to tokens that never come. (Powers
 * from .6 to .9 are within the noise of each other on tiny-gpt2 at 16x and 38.4x, .5 and 1 behind; on
 * Gemma 3 270m, 262,144 tokens of which most never come, at 38.4x, after 24,576 tokens of its own, nats
 * above dense: powers .4, .5 and .7 without a floor .093, .093 and .073, with a standard error of .008, and
 * .7 with a floor of .01 .094. On tiny-gpt2 floors from .001 to .3 are within the noise.)
 *
 * Where the head is another table, only reading counts: a is 0, the weights are those of c_t, and there
 * is no metric.
 */
#define CALIBRATION_POWER 0.6
#define CALIBRATION_FLOOR 0.001

SHARED calibration calibrate(const model *m, const usage *u, double *mixture)
{
    const double a = m->head == m->wte ? head_share(m, u) : 0.0;
    calibration c = {take_floats(m->vocab, 1), NULL};
    double trace = 0.0;
    size_t i;

    for (i = 0; i < m->vocab; i++)
        c.row_weight[i] = (float)pow((a * u->mass[i] + (1.0 - a) * u->count[i]) / (double)u->tokens
                                     + CALIBRATION_FLOOR / (double)m->vocab, CALIBRATION_POWER);
    for (i = 0; i < m->width; i++)
        trace += u->moment[i * (m->width + 1)];
    if (a > 0.0 && trace > 0.0) {
        c.metric = take_floats(m->width, m->width);
        for (i = 0; i < m->width * m->width; i++)
            c.metric[i] = (float)(a * u->moment[i] * (double)m->width / trace
                                  + (i % (m->width + 1) ? 0.0 : 1.0 - a));
    }
    *mixture = a;
    return c;
}

#endif /* GPT2_H */
