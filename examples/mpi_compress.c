/*
 * mpi_compress - a token-embedding table compressed by many machines at once, with MPI
 *
 *     mpicc -O2 -fopenmp -o mpi_compress examples/mpi_compress.c -lm     (from the repository's root)
 *     mpirun -n 4 --bind-to none ./mpi_compress --ratio 12 model.safetensors table.tte
 *
 * Every process (rank) maps the same files. Rank 0 learns what rows share (tte_train_sample), on all cores of its
 * machine while the others sleep; where that was from a --sample, all ranks then count their rows by level, so that
 * the size is exact (tte_count, tte_fit). Each rank encodes its rows like that; rank 0 merges the images and writes
 * the file at the very end. Any number of ranks makes the same bytes, without --sample those of tte_compress. After
 * every step all ranks agree whether all went well: if not, one says why, all end, and nothing is written.
 */
#define _POSIX_C_SOURCE 200809L
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#define TENSOR_FILES_TABLES
#include "tensor_files.h"
#include <mpi.h>
#include <signal.h>
#include <time.h>

static int rank, ranks, neighbours;   /* of this process; how many there are, and on this machine */

/* All ranks together: the first one in trouble says so, and all end. Who waits sleeps: others have use for the core. */
static void agree(const trouble *why, int status)
{
    const struct timespec pause = {0, 1000000};
    int mine = why->text[0] ? rank : ranks, first, done = 0;
    MPI_Request all;

    MPI_Iallreduce(&mine, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD, &all);
    while (MPI_Test(&all, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done)
        nanosleep(&pause, NULL);
    if (first == ranks)
        return;
    if (rank == first)
        fprintf(stderr, "mpi_compress: rank %d: %s\n", rank, why->text);
    MPI_Finalize();
    exit(status);
}

/* A status as a trouble; where the bytes did not suffice, how many would. Then all agree. */
static void settle(trouble *why, const char *what, tte_status status, const tte_image *image)
{
    if (status == TTE_ERR_BUDGET && image->size)
        trouble_set(why, "%s: %s; possible are %zu bytes", what, tte_status_text(status), image->size);
    else if (status != TTE_OK)
        trouble_set(why, "%s: %s", what, tte_status_text(status));
    agree(why, 1);
}

enum { RATIO, EPS, EFFORT, SAMPLE, SEED, CALIBRATION, WEIGHTS, LAYOUT, CODING, SHAPE, MAX_RANK, TENSOR, DIM, FORCE, HELP, OPTIONS };

static const struct {
    const char *name, *value, *help; double least, most;   /* of a number */
} options[OPTIONS] = {
    {"--ratio", "N", "at least N times smaller than float32; default 8, unless --eps is given", 1e-3, 1e6},
    {"--eps", "E", "relative error at most E, of the table or (--layout token) of every row", 1e-7, 1.0},
    {"--effort", "1..9", "1: fast, 9: smallest error; default 5", 1.0, 9.0},
    {"--sample", "N", "learn from N rows drawn at random: no machine reads a large table whole", 1.0, 4294967295.0},
    {"--seed", "N", "of that sample; default 0", 0.0, 4294967295.0},
    {"--calibration", "FILE", "where a language model looks, as gpt2_demo --calibrate writes it", 0.0, 0.0},
    {"--weights", "FILE", "without a model: how much each row matters, a number a line, or zipf", 0.0, 0.0},
    {"--layout", "NAME", "table: one train for the table (default); token: one for each row", 0.0, 0.0},
    {"--coding", "NAME", "with --layout token: f32, f16, i8, i4", 0.0, 0.0},
    {"--shape", "AxBxC", "with --layout token: the modes of a row", 0.0, 0.0},
    {"--max-rank", "R", "with --layout token: no bond gets a larger rank", 1.0, 32767.0},
    {"--tensor", "NAME", "the tensor, where a file holds several", 0.0, 0.0},
    {"--dim", "N", "numbers a row, of raw float32", 1.0, 2147483647.0},
    {"--force", "", "overwrite what is there", 0.0, 0.0}, {"--help", "", "this text", 0.0, 0.0}
};

static struct {
    const char *table, *out, *value[OPTIONS]; double number[OPTIONS];
    size_t sample;   /* rows to learn from, perhaps all */
    tte_options o;
} r;

static int print_help(void)
{
    int o;
    printf("usage: mpirun -n RANKS mpi_compress [options] TABLE OUT.tte\n\nTABLE is a file that ttembed reads.\n\n");
    for (o = 0; o < OPTIONS; o++)
        printf("  %-14s%-7s%s\n", options[o].name, options[o].value, options[o].help);
    return printf("\nExit status: 0, 1 after a failure, 2 for a command that makes no sense.\n");
}

static void read_options(trouble *why, int argc, char **argv)
{
    const char *const *v = r.value;
    int i, o, layout, coding, token;
    char *end;
    for (i = 1; i < argc && !why->text[0]; i++) {
        for (o = 0; o < OPTIONS && strcmp(argv[i], options[o].name) != 0; o++)
            ;
        if (o < OPTIONS && (o >= FORCE || i + 1 < argc)) {
            r.value[o] = o >= FORCE ? "" : argv[++i];
            r.number[o] = strtod(r.value[o], &end);
            if (options[o].most > 0.0
                && (end == v[o] || *end || !(r.number[o] >= options[o].least && r.number[o] <= options[o].most)))
                trouble_set(why, "%s %s: expected %g to %g", options[o].name, v[o], options[o].least, options[o].most);
        } else if (argv[i][0] == '-' || r.out)
            trouble_set(why, "%s: no such option, no value after it or a third file; see --help", argv[i]);
        else
            *(r.table ? &r.out : &r.table) = argv[i];
    }
    if (!r.out && !v[HELP])
        trouble_set(why, "expected TABLE OUT.tte; see --help");
    layout = v[LAYOUT] ? word_place(v[LAYOUT], layout_names) : 0;
    coding = v[CODING] ? word_place(v[CODING], coding_names) : 0;
    token = layout == TTE_PER_TOKEN || (layout == 0 && (v[SHAPE] || v[MAX_RANK]));
    if (layout < 0 || coding < 0)
        trouble_set(why, "%s: no such layout or coding; see --help", v[layout < 0 ? LAYOUT : CODING]);
    r.o.layout = token ? TTE_PER_TOKEN : TTE_PER_TABLE;
    r.o.coding = coding > 0 ? (tte_coding)coding : TTE_CODING_AUTO;
    r.o.ratio = (float)r.number[RATIO], r.o.eps = (float)r.number[EPS];
    r.o.effort = (int32_t)r.number[EFFORT], r.o.max_rank = (int32_t)r.number[MAX_RANK];
    if (v[SHAPE] && (r.o.shape.modes = shape_read(v[SHAPE], r.o.shape.dim, TTE_MAX_MODES)) == 0)
        trouble_set(why, "--shape %s: expected up to %d modes like 8x4x4", v[SHAPE], TTE_MAX_MODES);
    if (v[SAMPLE] && (token || v[EPS]))
        trouble_set(why, "--sample: goes with --ratio and --layout table alone");
    if (v[CALIBRATION] && v[WEIGHTS])
        trouble_set(why, "--weights: a calibration has weights");
    if (token && (v[RATIO] || !v[SHAPE] || !v[CODING] || !(v[MAX_RANK] || v[EPS])))
        trouble_set(why, "--layout token: needs --shape, --coding, and --max-rank or --eps, not --ratio");
}

/* Threads of this rank while `share` ranks of its machine work; OMP_NUM_THREADS is what each one has when all do. */
#ifdef _OPENMP
#include <omp.h>
static void use_threads(int share)
{
    static int own;
    int all = neighbours * (own = own ? own : omp_get_max_threads());
    all = all < omp_get_num_procs() ? all : omp_get_num_procs();
    omp_set_num_threads(all > share ? all / share : 1);
}
#else
static void use_threads(int share) { (void)share; }
#endif

/* Bytes from one rank to another, or to all where `to` is below 0; in pieces that MPI can count with an int. */
static void pass(void *data, size_t size, int from, int to)
{
    unsigned char *p = (unsigned char *)data;
    int now;
    for (; size; size -= (size_t)now, p += now) {
        now = size < 1 << 30 ? (int)size : 1 << 30;
        if (to < 0)
            MPI_Bcast(p, now, MPI_BYTE, from, MPI_COMM_WORLD);
        else if (rank == from)
            MPI_Send(p, now, MPI_BYTE, to, 0, MPI_COMM_WORLD);
        else if (rank == to)
            MPI_Recv(p, now, MPI_BYTE, from, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
}

/* The same of an image, in a new block of give_all where it arrives. */
static void pass_image(trouble *why, tte_image *image, int from, int to)
{
    uint64_t length = image->size;
    pass(&length, sizeof length, from, to);
    if (rank != from && (to < 0 || rank == to)) {
        image->size = (size_t)length;
        image->data = resize_or(why, NULL, image->size, 1);
        if (!image->data && fprintf(stderr, "mpi_compress: rank %d: %s\n", rank, why->text))
            MPI_Abort(MPI_COMM_WORLD, 1);
    }
    pass(image->data, image->size, from, to);
}

/* Row i of the sample: one out of each of as many stretches of the table, by a hash of seed and i (splitmix64). */
static size_t sampled_row(const source *s, size_t i)
{
    const uint64_t from = (uint64_t)i * s->rows / r.sample, to = ((uint64_t)i + 1) * s->rows / r.sample;
    uint64_t z = ((uint64_t)r.number[SEED] << 32 ^ i) + UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (size_t)(from + (z ^ z >> 31) % (to - from));
}

static int sampled_rows(void *user, size_t first, size_t count, float *dst)
{
    source *s = (source *)user;
    for (; count--; dst += s->dim)
        if (source_rows(s, sampled_row(s, first++), 1, dst) != 0)
            return -1;
    return 0;
}

/* What rank 0 learns of the table, to all. */
static void train(source *s, tte_image *shared, tte_table *t)
{
    const int all = r.sample == s->rows, copy = rank == 0 && !all && r.o.row_weight;
    float *weight = copy ? (float *)resize_or(&s->why, NULL, r.sample, sizeof *weight) : NULL;
    tte_options o = r.o;
    tte_status status = TTE_OK;
    size_t i;
    for (i = 0; weight && i < r.sample; i++)
        weight[i] = r.o.row_weight[sampled_row(s, i)];
    o.row_weight = copy ? weight : o.row_weight;
    use_threads(1);
    if (rank == 0 && !s->why.text[0])
        status = tte_train_sample(all ? source_rows : sampled_rows, s, r.sample, s->rows, s->dim, &o, shared);
    settle(&s->why, s->path, status, shared);
    use_threads(neighbours);
    pass_image(&s->why, shared, 0, -1);
    settle(&s->why, "what rank 0 has learnt", tte_open(t, shared->data, shared->size), NULL);
}

/* After a sample: classes begin where the rows of all ranks, counted by level, meet the ratio. */
static void fit(source *own, float ratio, tte_image *fitted, tte_table *t)
{
    static uint64_t levels[TTE_LEVELS];
    tte_status status = own->rows ? tte_count(source_rows, own, own->rows, own->dim, &r.o, levels) : TTE_OK;
    settle(&own->why, own->path, status, NULL);
    MPI_Allreduce(MPI_IN_PLACE, levels, TTE_LEVELS, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
    settle(&own->why, own->path, tte_fit(t, levels, ratio, fitted), fitted);
    settle(&own->why, own->path, tte_open(t, fitted->data, fitted->size), NULL);
}

/* Rank 0 makes one image of those of all ranks, in order. A rank may have no rows. */
static void merge(trouble *why, const tte_image *own, tte_image *whole)
{
    tte_table *parts = (tte_table *)resize_or(why, NULL, (size_t)ranks, sizeof *parts);
    tte_image part = *own;
    tte_status status = TTE_OK;
    size_t count = 0;
    int i;
    agree(why, 1);
    for (i = 0; i < ranks; i++) {
        if (i > 0)
            pass_image(why, &part, i, 0);
        if (rank == 0 && part.size && status == TTE_OK)
            status = tte_open(&parts[count++], part.data, part.size);
    }
    settle(why, "merge", rank == 0 && status == TTE_OK ? tte_merge(parts, count, whole) : status, whole);
}

int main(int argc, char **argv)
{
    tte_image shared = {NULL, 0}, fitted = {NULL, 0}, image = {NULL, 0}, whole = {NULL, 0};
    source_request which = {NULL, NULL, NULL, 0};
    trouble why = {""};
    tte_status status = TTE_OK;
    MPI_Comm machine;
    tte_info info;
    tte_table t;
    source s, own;
    guard_streams();
    (void)signal(SIGXFSZ, SIG_IGN);   /* a limit on file sizes is then an error of write */
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &machine);
    MPI_Comm_size(machine, &neighbours);
    MPI_Comm_free(&machine);
    read_options(&why, argc, argv);
    agree(&why, 2);
    if (r.value[HELP])
        return (rank == 0 && print_help() < 0) | MPI_Finalize();
    if (rank == 0)
        output_check(&why, r.out, r.value[FORCE] != NULL);
    agree(&why, 1);
    which.tensor = r.value[TENSOR], which.dim = (size_t)r.number[DIM];
    s = source_open(r.table, &which);
    agree(&s.why, 1);
    if (r.value[CALIBRATION]) {
        const calibration c = calibration_read(&why, r.value[CALIBRATION], s.rows, s.dim);
        r.o.row_weight = c.row_weight, r.o.metric = c.metric;
    } else if (r.value[WEIGHTS])
        r.o.row_weight = read_weights(&why, r.value[WEIGHTS], 0, s.rows, s.rows);
    agree(&why, 1);
    own = s;
    own.first = (size_t)((uint64_t)s.rows * (unsigned)rank / (unsigned)ranks);
    own.rows = (size_t)((uint64_t)s.rows * ((unsigned)rank + 1) / (unsigned)ranks) - own.first;
    r.sample = r.value[SAMPLE] && r.number[SAMPLE] < (double)s.rows ? (size_t)r.number[SAMPLE] : s.rows;
    if (r.o.layout != TTE_PER_TOKEN) {
        const float ratio = r.o.ratio > 0.0f ? r.o.ratio : 8.0f;
        train(&s, &shared, &t);
        r.o.like = &t;
        r.o.ratio = r.o.eps = 0.0f, r.o.effort = 0;   /* those of that image */
        r.o.row_weight = r.o.row_weight ? r.o.row_weight + own.first : NULL;
        if (r.sample < s.rows)
            fit(&own, ratio, &fitted, &t);
    }
    if (own.rows)
        status = tte_compress_rows(source_rows, &own, own.rows, own.dim, &r.o, &image);
    settle(&own.why, own.path, status, &image);
    merge(&why, &image, &whole);
    if (rank == 0 && tte_save(r.out, &whole) != TTE_OK)
        trouble_set(&why, "%s: %s", r.out, strerror(errno));
    agree(&why, 1);
    if (rank == 0 && tte_open(&t, whole.data, whole.size) == TTE_OK && tte_get_info(&t, &info) == TTE_OK)
        printf("%s: %zu x %zu, %zu bytes, %.2f times smaller than float32, relative error %.4f\n",
               r.out, info.vocab, info.dim, info.bytes, info.ratio, info.rel_error);
    tte_free(rank == 0 ? &shared : NULL), tte_free(&fitted), tte_free(&image), tte_free(&whole);
    source_close(&s), give_all();
    return MPI_Finalize();
}
