/*
 * graft.h - ttembed graft: a model file with its table replaced by the rows of an image
 *
 * All else stays byte for byte: of safetensors the header, too, as the type stays; of GGUF the header but for the
 * types and places of tensors. Shards, parts and folders are written as a folder. A part of ttembed.c, of which it
 * uses images, output and messages. C99 that is also C++11.
 */
#ifndef GRAFT_H
#define GRAFT_H

typedef struct {
    const request *r;
    image_in *in;
    const model_files *m;
    const tensor *t;      /* of m->all: what is replaced, and all tensors that are the same numbers */
    int type;             /* in which it is written */
    size_t copies;        /* tensors that were changed */
} graft;

/* Functions that write return 0, or -1, and then save() says why: they do not end the program. */

static int graft_bytes(FILE *out, const void *data, uint64_t size)
{
    const block_out all = {data, (size_t)size};

    return put_block((void *)&all, out);
}

/* The decoded rows in the type of the new tensor. */
static int graft_rows(const graft *g, FILE *out)
{
    const size_t dim = g->in->info.dim, vocab = g->in->info.vocab;
    const tensor_kind *kind = &tensor_kinds[g->type];
    const size_t each = dim / kind->numbers * kind->size;
    float *rows = (float *)resize_or(&save_trouble, NULL, BATCH, dim * sizeof(float));
    unsigned char *packed = (unsigned char *)resize_or(&save_trouble, NULL, BATCH, each);
    size_t done, now, i;
    int bad = !rows || !packed;

    for (done = 0; done < vocab && !bad; done += now) {
        now = vocab - done < BATCH ? vocab - done : BATCH;
        if (image_rows(g->in, done, now, rows) != 0)
            trouble_set(&save_trouble, "%s: cannot be read", g->in->path);
        for (i = 0; i < now * dim && !save_trouble.text[0]; i++)
            if (g->type == TENSOR_F16 && (float_to_half(rows[i]) & 0x7fffu) == 0x7c00u)
                trouble_set(&save_trouble, "%s: tensor %s: row %zu has %g, beyond what F16 holds", saved_path, g->t->name,
                            done + i / dim, (double)rows[i]);
        numbers_encode(g->type, rows, now * dim, packed);
        bad = save_trouble.text[0] || graft_bytes(out, packed, now * each);
    }
    give(packed);
    give(rows);
    return bad ? -1 : 0;
}

static int graft_replaces(const graft *g, const tensor *t)
{
    return strcmp(t->name, g->t->name) == 0 || tensors_equal(g->m, g->t, t);
}

static void put_number_at(unsigned char *p, uint64_t value, int bytes_of)
{
    int i;

    for (i = 0; i < bytes_of; i++)
        p[i] = (unsigned char)(value >> 8 * i & 255u);
}

static void pad_to(FILE *out, uint64_t *at, uint64_t alignment)
{
    for (; *at % alignment; ++*at)
        (void)fputc(0, out);
}

/* The tensors in the order of their places. The header of GGUF is written again, as places move. */
static int graft_file(graft *g, const model_file *f, FILE *out)
{
    const int gguf = f->all.alignment != 0;
    const uint64_t new_size = (uint64_t)g->in->info.vocab * (g->in->info.dim / tensor_kinds[g->type].numbers)
                            * tensor_kinds[g->type].size;
    const size_t file = (size_t)(f - g->m->file);
    tensor *list = (tensor *)resize_or(&save_trouble, NULL, f->all.count, sizeof *list);
    unsigned char *head = gguf ? (unsigned char *)resize_or(&save_trouble, NULL, (size_t)f->all.data_at, 1) : NULL;
    uint64_t at = 0, end;
    size_t count = 0, i;
    int bad;

    if (save_trouble.text[0]) {
        give(head);
        give(list);
        return -1;
    }
    for (i = 0; i < f->all.count; i++)
        if (!f->all.list[i].alias) {
            list[count] = f->all.list[i];
            list[count++].file = file;
        }
    qsort(list, count, sizeof *list, tensor_by_place);
    if (gguf)
        memcpy(head, f->file.data, (size_t)f->all.data_at);
    for (i = 0; i < count && gguf; i++) {
        end = i + 1 < count ? list[i + 1].begin : f->file.size;
        put_number_at(head + list[i].described + 4, at, 8);
        if (graft_replaces(g, &list[i]))
            put_number_at(head + list[i].described, (uint64_t)tensor_kinds[g->type].gguf, 4);
        at += graft_replaces(g, &list[i]) ? new_size : end - list[i].begin;
        at = (at + f->all.alignment - 1) / f->all.alignment * f->all.alignment;
    }
    at = gguf ? f->all.data_at : count ? list[0].begin : f->file.size;
    bad = graft_bytes(out, gguf ? head : f->file.data, at);
    for (i = 0; i < count && !bad; i++) {
        end = i + 1 < count ? list[i + 1].begin : f->file.size;
        if (graft_replaces(g, &list[i])) {
            bad = graft_rows(g, out);
            at += new_size;
            g->copies++;
        } else {
            bad = graft_bytes(out, f->file.data + list[i].begin, end - list[i].begin);
            at += end - list[i].begin;
        }
        if (gguf && i + 1 < count)
            pad_to(out, &at, f->all.alignment);
    }
    give(head);
    give(list);
    return bad;
}

/* A file that is copied: changed where it holds the table, else as it is. */
typedef struct {
    graft *g;
    const model_file *f;   /* NULL: as it is .. */
    file_view view;        /* .. here */
} graft_out;

static int put_graft(void *user, FILE *out)
{
    const graft_out *o = (const graft_out *)user;
    const int bad = o->f ? graft_file(o->g, o->f, out) : graft_bytes(out, o->view.data, o->view.size);

    view_check(&save_trouble, o->f ? &o->f->file : &o->view);
    return bad || save_trouble.text[0] ? -1 : 0;
}

static void graft_copy(graft *g, const char *from, const char *to)
{
    graft_out out = {g, NULL, {NULL, 0, NULL}};
    trouble why = {""};
    size_t i, k;

    for (i = 0; i < g->m->count && !out.f; i++)
        if (strcmp(g->m->file[i].path, from) == 0)
            for (k = 0; k < g->m->file[i].all.count; k++) {
                tensor t = g->m->file[i].all.list[k];
                t.file = i;
                if (graft_replaces(g, &t))
                    out.f = &g->m->file[i];
            }
    if (!out.f)
        out.view = view_file(&why, from);
    check(&why);
    save(g->r, to, put_graft, &out);
    close_view(&out.view);
}

#ifdef TENSOR_FILES_POSIX
static void graft_mkdir(const char *path, int may_exist)
{
    if (mkdir(path, 0777) != 0 && (errno != EEXIST || !may_exist))
        fail("%s: %s", path, strerror(errno));
}

/* Whether a file of a model's folder is none that a copy with another table may have: the same weights otherwise. */
static int graft_skips(const graft *g, const char *path)
{
    static const char *const ends[] = {".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".safetensors", ".ot"};
    size_t i;

    for (i = 0; i < g->m->count; i++)
        if (strcmp(g->m->file[i].path, path) == 0)
            return 0;
    for (i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_with(path, ends[i]))
            return 1;
    return 0;
}

/* A folder with what is in it; the index last, so that what is not complete is no model. */
static void graft_folder(graft *g, const char *from, const char *to, int depth)
{
    trouble why = {""};
    tensors names = folder_names(&why, from, "");
    size_t i;
    int last;

    check(&why);
    graft_mkdir(to, depth > 0 || given(g->r, O_FORCE));
    for (last = 0; last < 2; last++)
        for (i = 0; i < names.count; i++) {
            const char *name = names.list[i].name;
            char *source_path = path_join(&why, from, name), *target = path_join(&why, to, name);
            struct stat about;
            check(&why);
            if ((ends_with(name, ".index.json") || strcmp(name, "config.json") == 0) == last && stat(source_path, &about) == 0) {
                if (S_ISDIR(about.st_mode) && depth < 3)
                    graft_folder(g, source_path, target, depth + 1);
                else if (S_ISREG(about.st_mode) && !graft_skips(g, source_path))
                    graft_copy(g, source_path, target);
            }
            give(source_path);
            give(target);
        }
    tensors_give(&names);
}

/* The parts of a GGUF, beside which other files may lie. */
static void graft_parts(graft *g, const char *to)
{
    trouble why = {""};
    size_t i;

    graft_mkdir(to, given(g->r, O_FORCE));
    for (i = 0; i < g->m->count; i++) {
        const char *path = g->m->file[i].path, *slash = strrchr(path, '/');
        char *target = path_join(&why, to, slash ? slash + 1 : path);
        check(&why);
        graft_copy(g, path, target);
        give(target);
    }
}
#endif

/* In which type the rows are written. */
static int graft_type(const request *r, const tensor *t, int gguf)
{
    static const char *const names[] = {"F32", "F16", "BF16", "Q8_0", NULL};
    static const int types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0};
    int type = t->type;

    if (given(r, O_TYPE) && !gguf)
        misused("--type: safetensors keep the type of their table, as the model's configuration names it");
    if (gguf)
        type = given(r, O_TYPE) ? types[word_option(r, O_TYPE, 0, names)]
             : type == TENSOR_F32 || type == TENSOR_F16 || type == TENSOR_BF16 || type == TENSOR_Q8_0 ? type
             : t->shape[1] % 32 ? TENSOR_F16 : TENSOR_Q8_0;
    else if (type != TENSOR_F32 && type != TENSOR_F16 && type != TENSOR_BF16 && type != TENSOR_F64)
        fail("tensor %s: dtype %s, expected F32, F16, BF16 or F64", t->name, t->dtype);
    if (t->shape[1] % tensor_kinds[type].numbers)
        fail("tensor %s: rows of %zu numbers are no whole blocks of Q8_0; --type F16 has none", t->name, t->shape[1]);
    return type;
}

static void run_graft(const request *r)
{
    const char *from = r->argument[1], *to = r->argument[2];
    trouble why = {""};
    image_in in = image_open(r->argument[0], 1);
    model_files m = model_files_open(&why, from);
    char shape[256] = "";
    graft g;
    int gguf, folder;

    check(&why);
    m.all.path = m.path;
    if (m.missing[0])
        fail("%s: %s is not there", m.path, m.missing);
    memset(&g, 0, sizeof g);
    g.r = r;
    g.in = &in;
    g.m = &m;
    g.t = choose_tensor(&why, &m, r->option[O_TENSOR]);
    check(&why);
    tensor_shape_text(g.t, shape, sizeof shape);
    if (g.t->rank != 2 || g.t->shape[0] != in.info.vocab || g.t->shape[1] != in.info.dim)
        fail("%s: tensor %s: shape [%s], but %s has %zu x %zu", model_file_of(&m, g.t)->path, g.t->name, shape, in.path,
             in.info.vocab, in.info.dim);
    if (strcmp(g.t->name, "embeddings") == 0 && tensors_find(&m.all, "mapping"))
        fail("%s: tensor mapping: tokens share rows; make the model again without vocabulary quantization", m.path);
    gguf = model_file_of(&m, g.t)->all.alignment != 0;
    g.type = graft_type(r, g.t, gguf);
    folder = m.count > 1 || m.indexed || is_folder(from);
    if (!folder) {
        check_output(r, to);
        graft_copy(&g, m.file[0].path, to);
    } else {
#ifdef TENSOR_FILES_POSIX
        char *all = is_folder(from) ? text_copy(&why, from, strlen(from)) : folder_of(&why, from);
        check(&why);
        if (gguf)
            graft_parts(&g, to);
        else
            graft_folder(&g, all, to, 0);
        give(all);
#else
        fail("%s: folders are not written on this system", to);
#endif
    }
    if (!given(r, O_QUIET) && strcmp(to, "-") != 0)
        printf("%s: %s: %s x %s as %s (was %s), from %s%s\n", to, g.t->name, commas(in.info.vocab), commas(in.info.dim),
               tensor_kinds[g.type].name, g.t->dtype, in.path, g.copies > 1 ? ", and a tensor of the same numbers" : "");
    model_files_close(&m);
    image_close(&in);
}

#endif /* GRAFT_H */
