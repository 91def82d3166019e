/*
 * mpi_compress - a token-embedding table compressed by many machines at once, with MPI
 *
 *     mpicc -O2 -o mpi_compress examples/mpi_compress.c -lm      (from the repository's root)
 *     mpirun -n 4 ./mpi_compress --ratio 12 model.safetensors table.tte
 *     ./mpi_compress --help
 *
 * Every process (rank) maps the same file. Rank 0 learns basis, centroids and classes of the whole table
 * (tte_train) and sends them to all; each rank encodes rows of its own like them, which takes most of the
 * time; rank 0 merges the images and writes the file at the very end. The bytes are those of one machine
 * with the same options. With --layout token rows have nothing in common, so nothing is learnt.
 *
 * After every step all ranks agree whether all went well: if not, the first one in trouble says why, in one
 * line, all end, and nothing is written.
 */

#define _POSIX_C_SOURCE 200809L
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#define TENSOR_FILES_TABLES
#include "tensor_files.h"

#include <mpi.h>

#define PIECE ((size_t)1 << 30)   /* bytes of a message: MPI counts them with an int */

static int rank, ranks;   /* of this process, and how many there are */

static void *take(size_t count, size_t size)
{
    trouble why = {""};
    void *p = resize_or(&why, NULL, count ? count : 1, size);

    if (!p) {
        fprintf(stderr, "mpi_compress: rank %d: %s\n", rank, why.text);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return p;
}

/* All ranks together: the first one in trouble says so, and all end. */
static void agree(const trouble *why, int status)
{
    int mine = why->text[0] ? rank : ranks, first;

    MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (first == ranks)
        return;
    if (rank == first)
        fprintf(stderr, "mpi_compress: rank %d: %s\n", rank, why->text);
    MPI_Finalize();
    exit(status);
}

/* A status as a trouble; where the bytes did not suffice, how many would. */
static void note(trouble *why, const char *what, tte_status status, const tte_image *image)
{
    if (status == TTE_ERR_BUDGET && image->size)
        trouble_set(why, "%s: %s; possible are %zu bytes", what, tte_status_text(status), image->size);
    else if (status != TTE_OK)
        trouble_set(why, "%s: %s", what, tte_status_text(status));
}

/* ---- options --------------------------------------------------------------------------- */

enum { RATIO, EPS, EFFORT, CALIBRATION, WEIGHTS, LAYOUT, CODING, SHAPE, MAX_RANK, TENSOR, DIM, OPTIONS };

static const struct {
    const char *name, *value, *help;
    double least, most;   /* of a number */
} options[OPTIONS] = {
    {"--ratio", "N", "at least N times smaller than float32; default 8, unless --eps is given", 1e-3, 1e6},
    {"--eps", "E", "relative error at most E, of the table or (--layout token) of every row", 1e-7, 1.0},
    {"--effort", "1..9", "1: fast, 9: smallest error; default 5", 1.0, 9.0},
    {"--calibration", "FILE", "where a language model looks, as gpt2_demo --calibrate writes it", 0.0, 0.0},
    {"--weights", "FILE", "without a model: how much each row matters, a number a line, or zipf", 0.0, 0.0},
    {"--layout", "NAME", "table: one train for the table (default); token: one for each row", 0.0, 0.0},
    {"--coding", "NAME", "with --layout token: f32, f16, i8, i4", 0.0, 0.0},
    {"--shape", "AxBxC", "with --layout token: the modes of a row", 0.0, 0.0},
    {"--max-rank", "R", "with --layout token: no bond gets a larger rank", 1.0, 32767.0},
    {"--tensor", "NAME", "the tensor, where a file holds several", 0.0, 0.0},
    {"--dim", "N", "numbers a row, of raw float32", 1.0, 2147483647.0}
};

typedef struct {
    const char *table, *out, *value[OPTIONS];
    source_request which;
    tte_options o;
    int force, help;
} request;

static void print_help(void)
{
    int o;

    printf("usage: mpirun -n RANKS mpi_compress [options] TABLE OUT.tte\n\n"
           "TABLE is a file that ttembed reads: .safetensors, an index of shards or a model's folder, .npy,\n"
           ".gguf, text of word vectors (its words are left out), or raw float32 with --dim.\n\n");
    for (o = 0; o < OPTIONS; o++)
        printf("  %-14s%-7s%s\n", options[o].name, options[o].value, options[o].help);
    printf("  --force              overwrite what is there\n  --help               this text\n\n"
           "Exit status: 0, 1 after a failure, 2 for a command that makes no sense.\n");
}

static double number(trouble *why, const request *r, int o)
{
    const char *text = r->value[o];
    char *end;
    const double x = text ? strtod(text, &end) : 0.0;

    if (text && (end == text || *end || !(x >= options[o].least && x <= options[o].most)))
        trouble_set(why, "%s %s: expected %g to %g", options[o].name, text, options[o].least,
                    options[o].most);
    return why->text[0] ? 0.0 : x;
}

static void read_arguments(trouble *why, request *r, int argc, char **argv)
{
    int i, o;

    for (i = 1; i < argc && !why->text[0]; i++) {
        for (o = 0; o < OPTIONS && strcmp(argv[i], options[o].name) != 0; o++)
            ;
        if (o < OPTIONS && i + 1 < argc)
            r->value[o] = argv[++i];
        else if (strcmp(argv[i], "--help") == 0)
            r->help = 1;
        else if (strcmp(argv[i], "--force") == 0)
            r->force = 1;
        else if (argv[i][0] == '-' || r->out)
            trouble_set(why, "%s: no such option, no value after it or a third file; see --help", argv[i]);
        else
            *(r->table ? &r->out : &r->table) = argv[i];
    }
    if (!r->out && !r->help)
        trouble_set(why, "expected TABLE OUT.tte; see --help");
}

static void read_options(trouble *why, request *r)
{
    const char *const *v = r->value;
    const int layout = v[LAYOUT] ? word_place(v[LAYOUT], layout_names) : 0;
    const int coding = v[CODING] ? word_place(v[CODING], coding_names) : 0;
    const int token = layout == TTE_PER_TOKEN || (layout == 0 && (v[SHAPE] || v[MAX_RANK]));
    tte_options *o = &r->o;

    if (layout < 0 || coding < 0)
        trouble_set(why, "%s: no such layout or coding; see --help", v[layout < 0 ? LAYOUT : CODING]);
    o->layout = token ? TTE_PER_TOKEN : TTE_PER_TABLE;
    o->coding = coding > 0 ? (tte_coding)coding : TTE_CODING_AUTO;
    o->ratio = (float)number(why, r, RATIO);
    o->eps = (float)number(why, r, EPS);
    o->effort = (int32_t)number(why, r, EFFORT);
    o->max_rank = (int32_t)number(why, r, MAX_RANK);
    r->which.tensor = v[TENSOR];
    r->which.dim = (size_t)number(why, r, DIM);
    if (v[SHAPE] && (o->shape.modes = shape_read(v[SHAPE], o->shape.dim, TTE_MAX_MODES)) == 0)
        trouble_set(why, "--shape %s: expected up to %d modes like 8x4x4", v[SHAPE], TTE_MAX_MODES);
    if (v[CALIBRATION] && v[WEIGHTS])
        trouble_set(why, "--weights: a calibration has weights");
    if (token && (v[RATIO] || !v[SHAPE] || !v[CODING] || !(v[MAX_RANK] || v[EPS])))
        trouble_set(why, "--layout token: needs --shape, --coding, and --max-rank or --eps, not --ratio");
}

/* ---- the work -------------------------------------------------------------------------- */

/* From one rank to another, or to all where `to` is below 0; in pieces that MPI can count. */
static void send_bytes(void *data, size_t size, int from, int to)
{
    unsigned char *p = (unsigned char *)data;
    int now;

    for (; size; size -= (size_t)now, p += now) {
        now = size < PIECE ? (int)size : (int)PIECE;
        if (to < 0)
            MPI_Bcast(p, now, MPI_BYTE, from, MPI_COMM_WORLD);
        else if (rank == from)
            MPI_Send(p, now, MPI_BYTE, to, 0, MPI_COMM_WORLD);
        else if (rank == to)
            MPI_Recv(p, now, MPI_BYTE, from, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
}

/* What rank 0 learns of the table, to all. */
static tte_table train(source *s, const tte_options *o, tte_image *shared)
{
    uint64_t length;
    tte_table t;

    if (rank == 0)
        note(&s->why, s->path, tte_train(source_rows, s, s->rows, s->dim, o, shared), shared);
    agree(&s->why, 1);
    length = shared->size;
    MPI_Bcast(&length, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    shared->size = (size_t)length;
    if (rank != 0)
        shared->data = take(shared->size, 1);
    send_bytes(shared->data, shared->size, 0, -1);
    note(&s->why, "what rank 0 has learnt", tte_open(&t, shared->data, shared->size), NULL);
    agree(&s->why, 1);
    return t;
}

/* Rank 0 makes one image of those of all ranks, in order. A rank may have no rows. */
static void merge(trouble *why, const tte_image *own, tte_image *whole)
{
    uint64_t length = own->size, *lengths = (uint64_t *)take((size_t)ranks, sizeof *lengths);
    tte_table *parts = (tte_table *)take((size_t)ranks, sizeof *parts);
    size_t count = 0;
    int i;

    MPI_Allgather(&length, 1, MPI_UINT64_T, lengths, 1, MPI_UINT64_T, MPI_COMM_WORLD);
    for (i = 0; i < ranks; i++) {
        void *data = rank == i ? own->data : rank == 0 ? take((size_t)lengths[i], 1) : NULL;
        if (i > 0)
            send_bytes(data, (size_t)lengths[i], i, 0);
        if (rank == 0 && lengths[i])
            note(why, "a shard", tte_open(&parts[count++], data, (size_t)lengths[i]), NULL);
    }
    if (rank == 0 && !why->text[0])
        note(why, "merge", tte_merge(parts, count, whole), whole);
}

int main(int argc, char **argv)
{
    tte_image shared = {NULL, 0}, own = {NULL, 0}, whole = {NULL, 0};
    trouble why = {""};
    size_t first, last;
    tte_info info;
    tte_table t;
    request r;
    source s;

    guard_streams();
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    memset(&r, 0, sizeof r);
    read_arguments(&why, &r, argc, argv);
    read_options(&why, &r);
    agree(&why, 2);
    if (r.help) {
        if (rank == 0)
            print_help();
        MPI_Finalize();
        return 0;
    }
    if (rank == 0)
        output_check(&why, r.out, r.force);
    agree(&why, 1);
    s = source_open(r.table, &r.which);
    agree(&s.why, 1);
    if (r.value[CALIBRATION]) {
        const calibration c = calibration_read(&why, r.value[CALIBRATION], s.rows, s.dim);
        r.o.row_weight = c.row_weight;
        r.o.metric = c.metric;
    } else if (r.value[WEIGHTS])
        r.o.row_weight = read_weights(&why, r.value[WEIGHTS], 0, s.rows, s.rows);
    agree(&why, 1);

    first = (size_t)((uint64_t)s.rows * (unsigned)rank / (unsigned)ranks);
    last = (size_t)((uint64_t)s.rows * ((unsigned)rank + 1) / (unsigned)ranks);
    if (r.o.layout != TTE_PER_TOKEN) {
        t = train(&s, &r.o, &shared);
        r.o.like = &t;
        r.o.ratio = r.o.eps = 0.0f;   /* those of that image */
        r.o.effort = 0;
        r.o.row_weight = r.o.row_weight ? r.o.row_weight + first : NULL;
    }
    s.first = first;
    s.rows = last - first;
    if (s.rows)
        note(&s.why, s.path, tte_compress_rows(source_rows, &s, s.rows, s.dim, &r.o, &own), &own);
    agree(&s.why, 1);
    merge(&why, &own, &whole);
    if (rank == 0 && !why.text[0] && tte_save(r.out, &whole) != TTE_OK)
        trouble_set(&why, "%s: %s", r.out, strerror(errno));
    agree(&why, 1);
    if (rank == 0 && tte_open(&t, whole.data, whole.size) == TTE_OK && tte_get_info(&t, &info) == TTE_OK)
        printf("%s: %zu x %zu, %zu bytes, %.2f times smaller than float32, relative error %.4f\n",
               r.out, info.vocab, info.dim, info.bytes, info.ratio, info.rel_error);
    tte_free(rank == 0 ? &shared : NULL);   /* elsewhere a block of give_all */
    tte_free(&own);
    tte_free(&whole);
    source_close(&s);
    give_all();
    MPI_Finalize();
    return 0;
}
