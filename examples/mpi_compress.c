/*
 * mpi_compress - a token-embedding table compressed by many machines at once, with MPI
 *
 *     mpicc -O2 -o mpi_compress examples/mpi_compress.c -lm      (from the repository's root)
 *     mpirun -n 4 ./mpi_compress --layout token --coding i8 --max-rank 4 model.safetensors table.tte
 *     ./mpi_compress --help
 *
 * Every process (rank) maps the same file, reads its own rows of it and makes an image of them; rank 0
 * merges the images and writes the file at the very end. A rank that fails or dies ends all of them, and
 * nothing is written.
 *
 * --layout token: rows have nothing in common, so the merged image is byte for byte the one that one
 * machine makes with the same shape and cap. With a ratio, or with eps and no shape, rank 0 chooses shape
 * and cap on rows from all over the table, and they are printed.
 *
 * --layout table: all rows share mean, cores, steps and code tables, the basis, which ranks get through
 * options.like. Rank 0 makes it from a sample. Mean and covariance of the table, from which the cores
 * follow, are not those of a sample; so all ranks compute these two of the table, and rank 0 moves the
 * sample, by a linear map close to identity, to where it has them exactly. Cores are still rounded as suits
 * a table as small as the sample. With two rows of three, the default, the error is that of one machine at
 * the same ratio to half a per cent; README.md tells what smaller samples cost, which let rank 0, alone
 * at work while the basis is made, finish sooner. Row weights enter moments, basis and steps.
 *
 * In reading order: failures, moments, the sample, what travels between ranks, one train for each token,
 * one train for the table, options and main.
 */

#if defined(__unix__) || defined(__APPLE__)
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif
#endif

#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#define TENSOR_FILES_TABLES
#include "tensor_files.h"

#include <math.h>
#include <mpi.h>
#include <signal.h>

#define TILE 64          /* columns, and rows, whose products are added up together */
#define LANES 8          /* rows that are moved together */
#define ROUNDS 6         /* attempts to meet a ratio or an error */
#define TOKEN_SAMPLE 4096 /* rows on which shape and cap of --layout token are chosen */

static int rank, ranks;   /* of this process, and how many there are */

/* ======================================================================================= */
/* FAILURES: one line, exit status 1, or 2 for a command that makes no sense               */
/* ======================================================================================= */

static void say(const char *text)
{
    fprintf(stderr, "mpi_compress: %s\n", text);
    fflush(stderr);
}

/* In the midst of the work: this rank ends them all. */
static void fail(const char *what, const char *why)
{
    char line[700];

    snprintf(line, sizeof line, "rank %d: %s: %s", rank, what, why);
    say(line);
    MPI_Abort(MPI_COMM_WORLD, 1);
    exit(1);   /* is not reached */
}

static void check(const char *what, tte_status status, const trouble *why)
{
    if (status != TTE_OK)
        fail(what, why && why->text[0] ? why->text : tte_status_text(status));
}

static void *take(size_t count, size_t size)
{
    trouble why = {""};
    void *p = resize_or(&why, NULL, count ? count : 1, size);

    if (!p)
        fail("memory", why.text);
    return p;
}

/* All ranks together, before the work begins: the first one in trouble says so, and all end. */
static void agree(const trouble *why, int status)
{
    int mine = why->text[0] ? rank : ranks, first;

    MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (first == ranks)
        return;
    if (rank == first)
        say(why->text);
    MPI_Finalize();
    exit(status);
}

/* ======================================================================================= */
/* THE TABLE AND ITS MOMENTS                                                               */
/* ======================================================================================= */

typedef struct {
    source table;          /* all its rows */
    size_t first, count;   /* the rows of this rank */
    size_t sample;         /* rows that the sample has, evenly spaced */
    float *weight;         /* how much each row of the table matters; NULL: all alike */
} job;

static size_t sample_row(const job *s, size_t i)
{
    return (size_t)((uint64_t)i * s->table.rows / s->sample);
}

static int in_sample(const job *s, size_t row)
{
    const uint64_t rows = s->table.rows;
    const uint64_t i = ((uint64_t)row * s->sample + rows - 1) / rows;   /* not before `row` */
    return i < s->sample && sample_row(s, (size_t)i) == row;
}

/* tte_rows_fn: the rows of this rank */
static int own_rows(void *user, size_t first, size_t count, float *dst)
{
    job *s = (job *)user;
    return source_rows(&s->table, s->first + first, count, dst);
}

/* Sums over rows, each times its weight w, less the first row of the table, so that little cancels. */
typedef struct {
    size_t dim, wide;        /* wide: dim rounded up to whole tiles, zeros at the end */
    double *sum;             /* of w (x - x0), and last of w: wide + 1 */
    double *square;          /* of the products: dim x wide, lower tiles */
    double *block;           /* TILE x wide: sqrt(w) (x - x0) of rows that wait */
    double weight[TILE];     /* sqrt(w) of these */
    size_t waiting;
} moments;

static moments moments_begin(size_t dim)
{
    moments m;

    m.dim = dim;
    m.wide = (dim + TILE - 1) / TILE * TILE;
    m.sum = (double *)take(m.wide + 1, sizeof *m.sum);
    m.square = (double *)take(dim, m.wide * sizeof *m.square);
    m.block = (double *)take(TILE * m.wide, sizeof *m.block);
    m.waiting = 0;
    memset(m.sum, 0, (m.wide + 1) * sizeof *m.sum);
    memset(m.square, 0, dim * m.wide * sizeof *m.square);
    memset(m.block, 0, TILE * m.wide * sizeof *m.block);
    return m;
}

static void moments_give(moments *m)
{
    give(m->sum);
    give(m->square);
    give(m->block);
}

static void moments_flush(moments *m)
{
    size_t i, j, k, at;

    for (j = 0; j < m->dim; j++)
        for (at = 0; at <= j; at += TILE) {
            double sum[TILE] = {0};
            for (i = 0; i < m->waiting; i++) {
                const double a = m->block[i * m->wide + j], *b = m->block + i * m->wide + at;
                for (k = 0; k < TILE; k++)
                    sum[k] += a * b[k];
            }
            for (k = 0; k < TILE; k++)
                m->square[j * m->wide + at + k] += sum[k];
        }
    for (i = 0; i < m->waiting; i++) {
        for (j = 0; j < m->dim; j++)
            m->sum[j] += m->weight[i] * m->block[i * m->wide + j];
        m->sum[m->wide] += m->weight[i] * m->weight[i];
    }
    m->waiting = 0;
}

static void moments_add(moments *m, const float *row, const float *origin, double weight)
{
    double *to = m->block + m->waiting * m->wide;
    const double root = sqrt(weight);
    size_t j;

    m->weight[m->waiting] = root;
    for (j = 0; j < m->dim; j++)
        to[j] = root * ((double)row[j] - (double)origin[j]);
    if (++m->waiting == TILE)
        moments_flush(m);
}

/* The sums of all ranks to rank 0. Added in pieces that MPI can count. */
static void moments_reduce(moments *m)
{
    const void *in_place = MPI_IN_PLACE;
    size_t j;

    moments_flush(m);
    for (j = 0; j <= m->dim; j++) {
        double *piece = j < m->dim ? m->square + j * m->wide : m->sum;
        MPI_Reduce(rank ? piece : in_place, piece, (int)m->wide + (j == m->dim), MPI_DOUBLE, MPI_SUM, 0,
                   MPI_COMM_WORLD);
    }
}

/* The sums become mean (less x0) and covariance. */
static void moments_divide(moments *m)
{
    const double all = m->sum[m->wide];
    size_t j, k;

    for (j = 0; j < m->dim; j++)
        m->sum[j] /= all;
    for (j = 0; j < m->dim; j++)
        for (k = 0; k <= j; k++)
            m->square[j * m->wide + k] = m->square[j * m->wide + k] / all - m->sum[j] * m->sum[k];
}

/* The covariance becomes its Cholesky factor L, a little raised so that every pivot is positive. */
static void moments_factor(moments *m)
{
    double trace = 0.0, raise;
    size_t i, j, k;

    for (j = 0; j < m->dim; j++)
        trace += m->square[j * m->wide + j];
    raise = trace > 0.0 ? 1e-9 * trace / (double)m->dim : 1.0;
    for (i = 0; i < m->dim; i++)
        for (j = 0; j <= i; j++) {
            const double *a = m->square + i * m->wide, *b = m->square + j * m->wide;
            double rest = a[j] + (i == j ? raise : 0.0);
            for (k = 0; k < j; k++)
                rest -= a[k] * b[k];
            if (i == j)
                m->square[i * m->wide + j] = sqrt(rest > 0.5 * raise ? rest : 0.5 * raise);
            else
                m->square[i * m->wide + j] = rest / b[j];
        }
}

/* ======================================================================================= */
/* THE SAMPLE, moved to the moments of the table                                           */
/* ======================================================================================= */

typedef struct {
    job *s;
    float *from, *to;   /* mean of the sample, mean of the table; NULL: rows stay where they are */
    float *map;         /* dim x dim, lower triangle: row = to + map (row - from) */
    float *lanes;       /* dim x LANES */
} sampler;

/* All ranks: the moments of the table and of the sample. Rank 0: the map L_table L_sample^-1. */
static sampler sampler_begin(job *s)
{
    const size_t dim = s->table.dim;
    sampler p;
    moments rest, part;
    float *row = (float *)take(dim, sizeof *row), *origin = (float *)take(dim, sizeof *origin);
    size_t i, j, k;

    memset(&p, 0, sizeof p);
    p.s = s;
    if (s->sample == s->table.rows)
        return p;
    part = moments_begin(dim);
    rest = moments_begin(dim);
    if (source_rows(&s->table, 0, 1, origin) != 0)
        fail("reading", s->table.why.text);
    for (i = 0; i < s->count; i++) {
        if (own_rows(s, i, 1, row) != 0)
            fail("reading", s->table.why.text);
        moments_add(in_sample(s, s->first + i) ? &part : &rest, row, origin,
                    s->weight ? (double)s->weight[s->first + i] : 1.0);
    }
    moments_reduce(&part);
    moments_reduce(&rest);
    if (rank == 0) {
        for (j = 0; j <= rest.wide; j++)
            rest.sum[j] += part.sum[j];
        for (j = 0; j < dim * rest.wide; j++)
            rest.square[j] += part.square[j];
        moments_divide(&rest);
        moments_divide(&part);
        moments_factor(&rest);
        moments_factor(&part);
        p.from = (float *)take(dim, sizeof *p.from);
        p.to = (float *)take(dim, sizeof *p.to);
        p.map = (float *)take(dim * dim, sizeof *p.map);
        p.lanes = (float *)take(dim * LANES, sizeof *p.lanes);
        for (i = 0; i < dim; i++) {
            double *a = rest.square + i * rest.wide;
            p.from[i] = (float)((double)origin[i] + part.sum[i]);
            p.to[i] = (float)((double)origin[i] + rest.sum[i]);
            for (j = i + 1; j-- > 0;) {   /* a L_sample = row i of L_table, from the right */
                const double *b = part.square + j * part.wide;
                a[j] /= b[j];
                for (k = 0; k < j; k++)
                    a[k] -= a[j] * b[k];
            }
            for (j = 0; j <= i; j++)
                p.map[i * dim + j] = (float)a[j];
        }
    }
    moments_give(&part);
    moments_give(&rest);
    give(row);
    give(origin);
    return p;
}

/* tte_rows_fn: rows of the sample */
static int sample_rows(void *user, size_t first, size_t count, float *dst)
{
    sampler *p = (sampler *)user;
    job *s = p->s;
    const size_t dim = s->table.dim;
    size_t done, now, i, j, k;

    for (done = 0; done < count; done += now, dst += now * dim) {
        now = count - done < LANES ? count - done : LANES;
        for (i = 0; i < now; i++)
            if (source_rows(&s->table, sample_row(s, first + done + i), 1, dst + i * dim))
                return -1;
        if (!p->map)
            continue;
        memset(p->lanes, 0, dim * LANES * sizeof *p->lanes);
        for (i = 0; i < now; i++)
            for (j = 0; j < dim; j++)
                p->lanes[j * LANES + i] = dst[i * dim + j] - p->from[j];
        for (j = 0; j < dim; j++) {
            float sum[LANES] = {0};
            for (k = 0; k <= j; k++) {
                const float a = p->map[j * dim + k], *b = p->lanes + k * LANES;
                for (i = 0; i < LANES; i++)
                    sum[i] += a * b[i];
            }
            for (i = 0; i < now; i++)
                dst[i * dim + j] = p->to[j] + sum[i];
        }
    }
    return 0;
}

/* ======================================================================================= */
/* WHAT TRAVELS BETWEEN RANKS                                                              */
/* ======================================================================================= */

#define PIECE ((size_t)1 << 30)   /* bytes of a message: MPI counts them with an int */

static void send_bytes(const void *data, size_t size)
{
    const unsigned char *p = (const unsigned char *)data;
    uint64_t length = size;
    size_t now;

    MPI_Send(&length, 1, MPI_UINT64_T, 0, 0, MPI_COMM_WORLD);
    for (; size; size -= now, p += now) {
        now = size < PIECE ? size : PIECE;
        MPI_Send(p, (int)now, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
    }
}

static bytes receive_bytes(int from)
{
    uint64_t length;
    size_t at, now;
    bytes all;

    MPI_Recv(&length, 1, MPI_UINT64_T, from, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    all.size = (size_t)length;
    all.data = (unsigned char *)take(all.size, 1);
    for (at = 0; at < all.size; at += now) {
        now = all.size - at < PIECE ? all.size - at : PIECE;
        MPI_Recv(all.data + at, (int)now, MPI_BYTE, from, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    return all;
}

/* The image of rank 0 to all others. */
static bytes share_bytes(const tte_image *image)
{
    uint64_t length = rank ? 0 : image->size;
    size_t at, now;
    bytes all;

    MPI_Bcast(&length, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    all.size = (size_t)length;
    all.data = (unsigned char *)take(all.size, 1);
    if (rank == 0)
        memcpy(all.data, image->data, all.size);
    for (at = 0; at < all.size; at += now) {
        now = all.size - at < PIECE ? all.size - at : PIECE;
        MPI_Bcast(all.data + at, (int)now, MPI_BYTE, 0, MPI_COMM_WORLD);
    }
    return all;
}

/* An image of `count` rows that `rows` brings; no image is a failure. */
static void compress(job *s, tte_rows_fn rows, void *user, size_t count, const tte_options *o,
                     tte_image *image)
{
    check(s->table.path, tte_compress_rows(rows, user, count, s->table.dim, o, image), &s->table.why);
}

/* Every rank compresses its rows; rank 0 gets the image of all. A rank may have none. */
static tte_image compress_and_gather(job *s, const tte_options *o)
{
    tte_image own = {NULL, 0}, whole = {NULL, 0};
    tte_table *parts;
    bytes *from;
    size_t count = 0;
    int i;

    if (s->count)
        compress(s, own_rows, s, s->count, o, &own);
    if (rank != 0) {
        send_bytes(own.data, own.size);
        tte_free(&own);
        return whole;
    }
    parts = (tte_table *)take((size_t)ranks, sizeof *parts);
    from = (bytes *)take((size_t)ranks, sizeof *from);
    if (s->count)
        check(s->table.path, tte_open(&parts[count++], own.data, own.size), NULL);
    for (i = 1; i < ranks; i++) {
        from[i] = receive_bytes(i);
        if (from[i].size)
            check("a shard", tte_open(&parts[count++], from[i].data, from[i].size), NULL);
    }
    check("merge", tte_merge(parts, count, &whole), NULL);
    for (i = 1; i < ranks; i++)
        give(from[i].data);
    give(from);
    give(parts);
    tte_free(&own);
    return whole;
}

static tte_info info_of(const tte_image *image)
{
    tte_info info;
    tte_table t;

    check("image", tte_open(&t, image->data, image->size), NULL);
    (void)tte_get_info(&t, &info);
    return info;
}

/* Bytes of records and their index (sections 1 and 2 of IMAGE FORMAT in tt_embed.h): what grows with the
   number of rows. */
static double growing_bytes(const tte_image *image)
{
    const unsigned char *p = (const unsigned char *)image->data;
    const unsigned char *section = p + 148 + 8 * (size_t)p[16];
    double sum = 0.0;
    int i;

    for (i = 0; i < p[17]; i++, section += 24)
        if (get32(section + 20) <= 2)
            sum += (double)get64(section + 8);
    return sum;
}

/* ======================================================================================= */
/* ONE TRAIN FOR EACH TOKEN                                                                */
/* ======================================================================================= */

/* What an image of all rows with this shape and cap would have: all records are of one size. */
static double token_bytes(sampler *p, const tte_options *o)
{
    tte_image two;
    double growing, size;

    compress(p->s, sample_rows, p, p->s->sample < 2 ? 1 : 2, o, &two);
    growing = growing_bytes(&two) / (p->s->sample < 2 ? 1.0 : 2.0);
    size = (double)two.size - growing_bytes(&two) + growing * (double)p->s->table.rows;
    tte_free(&two);
    return size;
}

/* Rank 0: shape and cap in place of a ratio, so that all ranks use the same. */
static void choose_for_tokens(job *s, tte_options *o)
{
    const double rows = (double)s->table.rows, dim = (double)s->table.dim, head = 192.0;
    const double budget = floor(rows * dim * 4.0 / (o->ratio > 0.0f ? (double)o->ratio : 1.0));
    const double record = floor((budget - head) / rows) + 0.5;   /* that the whole table would allow */
    tte_options trial = *o;
    tte_image image;
    tte_info info;
    sampler plain;
    int k;

    memset(&plain, 0, sizeof plain);
    plain.s = s;
    s->sample = s->table.rows < TOKEN_SAMPLE ? s->table.rows : TOKEN_SAMPLE;
    if (o->eps > 0.0f)
        trial.ratio = 0.0f;
    else if (record < 1.0)
        check(s->table.path, TTE_ERR_BUDGET, NULL);
    else
        trial.ratio = (float)((double)s->sample * dim * 4.0 / ((double)s->sample * record + head));
    compress(s, sample_rows, &plain, s->sample, &trial, &image);
    info = info_of(&image);
    tte_free(&image);
    o->shape = info.shape;
    if (o->eps > 0.0f)
        return;
    o->ratio = 0.0f;
    o->max_rank = 1;   /* one cap for all bonds, the largest that fits */
    for (k = 1; k < info.shape.modes; k++)
        if (info.ranks[k] > o->max_rank)
            o->max_rank = info.ranks[k];
    while (token_bytes(&plain, o) > budget) {
        if (o->max_rank == 1)
            check(s->table.path, TTE_ERR_BUDGET, NULL);
        o->max_rank--;
    }
}

static tte_image compress_tokens(job *s, tte_options o)
{
    const double ratio = (double)o.ratio;
    tte_image image;

    if (rank == 0 && (ratio > 0.0 || (o.eps > 0.0f && o.shape.modes == 0)))
        choose_for_tokens(s, &o);
    o.ratio = 0.0f;
    MPI_Bcast(&o, (int)sizeof o, MPI_BYTE, 0, MPI_COMM_WORLD);   /* no pointer in it is set */
    image = compress_and_gather(s, &o);
    if (rank == 0 && ratio > 0.0
        && (double)image.size * ratio > (double)s->table.rows * (double)s->table.dim * 4.0)
        check(s->table.path, TTE_ERR_BUDGET, NULL);
    return image;
}

/* ======================================================================================= */
/* ONE TRAIN FOR THE TABLE                                                                 */
/* ======================================================================================= */

/* How rank 0 looks for the setting of the sample under which the whole table meets the target. */
typedef struct {
    double budget;        /* bytes of the whole image; 0: no ratio is asked */
    double eps;
    double fixed, asked;  /* bytes that do not grow with rows; those that the sample is asked to have */
    int weighted;         /* the error that an image tells is not the one that was made small */
    tte_options trial;    /* of the sample */
    tte_image best;
    int rounds;
} search;

/* The ratio of the sample whose records are as long as those of a table in its budget. */
static void search_ratio(search *q, const job *s, double growing)
{
    q->asked = growing * (double)s->sample / (double)s->table.rows;
    q->trial.ratio = (float)((double)s->sample * (double)s->table.dim * 4.0 / (q->asked + q->fixed));
}

static search search_begin(const job *s, const tte_options *o)
{
    const double dim = (double)s->table.dim;
    search q;

    memset(&q, 0, sizeof q);
    q.trial = *o;
    q.weighted = s->weight != NULL;
    q.eps = (double)o->eps;
    if (o->ratio > 0.0f) {
        q.budget = floor((double)s->table.rows * dim * 4.0 / (double)o->ratio);
        if (s->sample < s->table.rows) {
            q.trial.eps = 0.0f;
            q.fixed = fmin(0.6 * dim * dim, 0.3 * q.budget);   /* a guess */
            search_ratio(&q, s, q.budget - q.fixed);
        }
    }
    return q;
}

/* Takes the image of a round. Returns whether there is to be another one, and sets what it tries. */
static int search_judge(search *q, const job *s, tte_image *image)
{
    const tte_info info = info_of(image);
    const double size = (double)image->size, growing = growing_bytes(image);
    const double near = info.coding == TTE_ENTROPY ? 0.998 : 0.99;
    const int small = !(q->budget > 0.0) || size <= q->budget;
    const int good = small && (!(q->eps > 0.0) || info.rel_error <= q->eps);
    const int better = good && (!q->best.data
                                || (q->weighted ? size > (double)q->best.size
                                    : q->budget > 0.0 ? info.rel_error < info_of(&q->best).rel_error
                                                      : size < (double)q->best.size));
    int more = s->sample < s->table.rows && ++q->rounds < ROUNDS;

    if (better) {
        tte_free(&q->best);
        q->best = *image;
    } else {
        tte_free(image);
    }
    if (q->budget > 0.0) {
        more = more && !(good && size >= near * q->budget);
        if (small && !good && size >= near * q->budget)
            more = 0;   /* as large as may be, and the error is not met */
        q->fixed = size - growing;
        search_ratio(q, s, q->asked * (double)s->table.rows / (double)s->sample
                           * (0.9992 * q->budget - q->fixed) / growing);
        more = more && q->trial.ratio > 0.0f;
    } else if (q->eps > 0.0) {
        more = more && !(good && info.rel_error >= near * q->eps);
        q->trial.eps *= (float)(0.9992 * q->eps / info.rel_error);
        more = more && q->trial.eps > 0.0f && q->trial.eps <= 1.0f;
    } else {
        more = 0;
    }
    return more;
}

/* The basis that the sample gives under these options: an image of one row, which holds all that rows
   have in common. */
static tte_status make_basis(sampler *p, const tte_options *o, tte_image *basis)
{
    tte_options like;
    tte_image image;
    tte_table t;
    tte_status status = tte_compress_rows(sample_rows, p, p->s->sample, p->s->table.dim, o, &image);

    if (status != TTE_OK)
        return status;
    memset(&like, 0, sizeof like);
    like.layout = TTE_PER_TABLE;
    like.coding = o->coding;
    like.like = &t;
    status = tte_open(&t, image.data, image.size);
    if (status == TTE_OK)
        status = tte_compress_rows(sample_rows, p, 1, p->s->table.dim, &like, basis);
    tte_free(&image);
    return status;
}

static tte_image compress_table(job *s, const tte_options *o)
{
    sampler p = sampler_begin(s);
    search q = search_begin(s, o);
    float *weight = s->weight && rank == 0 ? (float *)take(s->sample, sizeof *weight) : NULL;
    size_t i;
    int more = 1;

    for (i = 0; weight && i < s->sample; i++)
        weight[i] = s->weight[sample_row(s, i)];
    q.trial.row_weight = weight;

    while (more) {
        tte_image basis = {NULL, 0}, image;
        tte_options like;
        tte_table t;
        bytes shared;
        if (rank == 0) {
            const tte_status status = make_basis(&p, &q.trial, &basis);
            more = status == TTE_OK;
            if (!more && !(q.best.data && status == TTE_ERR_BUDGET))   /* what there is may be all */
                check(s->table.path, status, &s->table.why);
        }
        MPI_Bcast(&more, 1, MPI_INT, 0, MPI_COMM_WORLD);
        if (!more)
            break;
        shared = share_bytes(&basis);
        tte_free(&basis);
        check("basis", tte_open(&t, shared.data, shared.size), NULL);
        memset(&like, 0, sizeof like);
        like.layout = TTE_PER_TABLE;
        like.coding = o->coding;
        like.like = &t;
        like.row_weight = s->weight ? s->weight + s->first : NULL;
        image = compress_and_gather(s, &like);
        give(shared.data);
        if (rank == 0)
            more = search_judge(&q, s, &image);
        MPI_Bcast(&more, 1, MPI_INT, 0, MPI_COMM_WORLD);
    }
    if (rank == 0 && !q.best.data)
        check(s->table.path, TTE_ERR_BUDGET, NULL);
    give(weight);
    give(p.from);
    give(p.to);
    give(p.map);
    give(p.lanes);
    return q.best;
}

/* ======================================================================================= */
/* OPTIONS AND MAIN                                                                        */
/* ======================================================================================= */

static const char *const help =
    "usage: mpirun -n RANKS mpi_compress [options] TABLE OUT.tte\n\n"
    "TABLE is a file that ttembed reads: .safetensors, an index of shards or a model's folder, .npy, .gguf,\n"
    "text of word vectors (its words are left out), or raw float32 with --dim.\n\n"
    "  --layout NAME      table: one train for the whole table (default); token: one for each row\n"
    "  --coding NAME      f32, f16, i8, i4, entropy; default entropy, with --layout token i4\n"
    "  --ratio N          at least N times smaller than float32; default 8 where nothing else is asked\n"
    "  --eps E            relative error at most E, of the table or (--layout token) of every row\n"
    "  --shape AxBxC      the modes of a row; default: what suits the table\n"
    "  --max-rank R       no bond gets a larger rank\n"
    "  --sample N         rows from which rank 0 makes the basis of --layout table; default: two of three\n"
    "  --weights FILE     how much each row matters, a number a line; zipf: less with rising token id\n"
    "  --tensor NAME      the tensor, where a file holds several\n"
    "  --dim N            numbers a row, of raw float32\n"
    "  --force            overwrite what is there\n"
    "  --help             this text\n\n"
    "Exit status: 0, 1 after a failure, 2 for a command that makes no sense.\n";

typedef struct {
    const char *table, *out, *weights;
    source_request which;
    size_t sample;
    tte_options o;
    int force, help;
} request;

static size_t whole_value(trouble *why, const char *name, const char *text, uint64_t most)
{
    char *end;
    unsigned long long n;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || n < 1 || n > most)
        trouble_set(why, "%s %s: expected a whole number from 1 to %llu", name, text,
                    (unsigned long long)most);
    return why->text[0] ? 0 : (size_t)n;
}

static float number_value(trouble *why, const char *name, const char *text, double least, double most)
{
    char *end;
    const double x = strtod(text, &end);

    if (end == text || *end || !(x >= least && x <= most)) {
        trouble_set(why, "%s %s: expected a number from %g to %g", name, text, least, most);
        return 0.0f;
    }
    return (float)x;
}

static int word_value(trouble *why, const char *name, const char *text, const char *const *words)
{
    const int place = word_place(text, words);

    if (place < 0)
        trouble_set(why, "%s %s: no such %s; --help lists them", name, text, name + 2);
    return place < 0 ? 0 : place;
}

static request read_request(trouble *why, int argc, char **argv)
{
    int i, coded = 0, bounded = 0;
    request r;

    memset(&r, 0, sizeof r);
    r.o.layout = TTE_PER_TABLE;
    for (i = 1; i < argc && !why->text[0] && !r.help; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(name, "--help") == 0) {
            r.help = 1;
        } else if (strcmp(name, "--force") == 0) {
            r.force = 1;
        } else if (name[0] != '-') {
            if (r.out)
                trouble_set(why, "%s: expected TABLE OUT.tte; --help tells more", name);
            *(r.table ? &r.out : &r.table) = name;
        } else if (!value) {
            trouble_set(why, "%s: no such option, or no value after it; --help lists them", name);
        } else {
            i++;
            if (strcmp(name, "--layout") == 0) {
                r.o.layout = (tte_layout)word_value(why, name, value, layout_names);
            } else if (strcmp(name, "--coding") == 0) {
                r.o.coding = (tte_coding)word_value(why, name, value, coding_names);
                coded = 1;
            } else if (strcmp(name, "--ratio") == 0) {
                r.o.ratio = number_value(why, name, value, 0.0, 1e6);
                bounded = 1;
            } else if (strcmp(name, "--eps") == 0) {
                r.o.eps = number_value(why, name, value, 1e-7, 1.0);
                bounded = 1;
            } else if (strcmp(name, "--shape") == 0) {
                r.o.shape.modes = shape_read(value, r.o.shape.dim, TTE_MAX_MODES);
                if (!r.o.shape.modes)
                    trouble_set(why, "--shape %s: expected up to %d modes like 8x4x4", value, TTE_MAX_MODES);
            } else if (strcmp(name, "--max-rank") == 0) {
                r.o.max_rank = (int32_t)whole_value(why, name, value, INT32_MAX);
                bounded = 1;
            } else if (strcmp(name, "--sample") == 0) {
                r.sample = whole_value(why, name, value, UINT32_MAX);
            } else if (strcmp(name, "--tensor") == 0) {
                r.which.tensor = value;
            } else if (strcmp(name, "--weights") == 0) {
                r.weights = value;
            } else if (strcmp(name, "--dim") == 0) {
                r.which.dim = whole_value(why, name, value, INT32_MAX);
            } else {
                trouble_set(why, "%s: no such option; --help lists them", name);
            }
        }
    }
    if (!r.help && !r.out)
        trouble_set(why, "expected TABLE OUT.tte; --help tells more");
    if (!coded)
        r.o.coding = r.o.layout == TTE_PER_TABLE ? TTE_ENTROPY : TTE_I4;
    if (!bounded)
        r.o.ratio = 8.0f;
    if (r.o.layout == TTE_PER_TOKEN && r.o.coding == TTE_ENTROPY)
        trouble_set(why, "--coding entropy: needs --layout table");
    if (r.o.layout == TTE_PER_TOKEN && (r.sample || r.weights))
        trouble_set(why, "--%s: needs --layout table", r.sample ? "sample" : "weights");
    if (r.weights && r.o.eps > 0.0f)
        trouble_set(why, "--weights and --eps: ranks cannot tell the weighted error; --ratio bounds the size");
    return r;
}

/* Every rank maps the same file. */
static job job_begin(trouble *why, const request *r)
{
    job s;

    memset(&s, 0, sizeof s);
    if (r->weights && strcmp(r->weights, "-") == 0) {
        trouble_set(why, "--weights -: ranks have no standard input to share");
        return s;
    }
    s.table = source_open(r->table, &r->which);
    trouble_set(why, "%s", s.table.why.text);
    if (why->text[0])
        return s;
    s.first = (size_t)((uint64_t)s.table.rows * (unsigned)rank / (unsigned)ranks);
    s.count = (size_t)((uint64_t)s.table.rows * ((unsigned)rank + 1) / (unsigned)ranks) - s.first;
    s.sample = r->sample ? r->sample : s.table.rows - s.table.rows / 3;
    if (!r->sample && s.sample < 16 * s.table.dim)   /* fewer do not tell a covariance */
        s.sample = 16 * s.table.dim;
    if (s.sample > s.table.rows)
        s.sample = s.table.rows;
    if (r->weights)
        s.weight = read_weights(why, r->weights, 0, s.table.rows, s.table.rows);
    return s;
}

/* Rank 0, before the work begins: may the file be written? */
static void check_output(trouble *why, const request *r)
{
#ifdef TENSOR_FILES_POSIX
    const char *slash = strrchr(r->out, '/');
    char folder[4096];

    snprintf(folder, sizeof folder, "%.*s.", slash ? (int)(slash - r->out) + 1 : 0, r->out);
    if (access(folder, W_OK) != 0)
        trouble_set(why, "%s: %s", r->out, strerror(errno));
#endif
    if (!r->force && !file_missing(r->out))
        trouble_set(why, "%s: is there already; --force overwrites it", r->out);
}

static void print_result(const request *r, const job *s, const tte_image *image)
{
    const tte_info info = info_of(image);
    char shape[200];

    shape_text(info.shape.dim, info.shape.modes, shape, sizeof shape);
    printf("%s: %zu x %zu, %zu bytes, %.2f times smaller than float32, relative error %.4f\n", r->out,
           info.vocab, info.dim, info.bytes, info.ratio, info.rel_error);
    if (info.layout == TTE_PER_TABLE)
        printf("%d ranks, basis from %zu of %zu rows, shape %s, %d coefficients\n", ranks, s->sample,
               s->table.rows, shape, (int)info.ranks[0]);
    else
        printf("%d ranks, shape %s, cap %u\n", ranks, shape,
               (unsigned)get32((const unsigned char *)image->data + 40));   /* max_rank of the header */
}

int main(int argc, char **argv)
{
    trouble why = {""};
    tte_image image;
    request r;
    job s;

#ifdef SIGXFSZ
    (void)signal(SIGXFSZ, SIG_IGN);   /* a limit on file sizes is then an error of write */
#endif
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    r = read_request(&why, argc, argv);
    agree(&why, 2);
    if (r.help) {
        if (rank == 0)
            fputs(help, stdout);
        MPI_Finalize();
        return 0;
    }
    if (rank == 0)
        check_output(&why, &r);
    agree(&why, 1);
    s = job_begin(&why, &r);
    agree(&why, 1);
    image = r.o.layout == TTE_PER_TOKEN ? compress_tokens(&s, r.o) : compress_table(&s, &r.o);
    if (rank == 0) {
        if (tte_save(r.out, &image) != TTE_OK)
            fail(r.out, strerror(errno));
        print_result(&r, &s, &image);
        tte_free(&image);
    }
    give(s.weight);
    source_close(&s.table);
    MPI_Finalize();
    return 0;
}
