/* accuracy.c: the singular value decomposition against LAPACK's own test ratios and matrices.
 *
 * For each set of matrices the largest of the four ratios (see ratios.h), of tt_embed and of
 * LAPACK's xGESVD and xGESDD on the same matrices. Exits with 1 when a ratio of tt_embed is not
 * below 6. Without LAPACK tt_embed stands alone and the fourth ratio only tells whether the values
 * descend; without tmglib the generated types are missing.
 */
#include "bench.h"
#include "lapack.h"
#include "ratios.h"

#define TT_EMBED_STATIC
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"

#define MAX_RATIO 6.0

static int missed; /* bounds that tt_embed missed */

static double ulp_of(int single) { return single ? (double)FLT_EPSILON : DBL_EPSILON; }

/* ---- peers: row-major and double outside, in the given precision inside --------------------- */

typedef int (*decompose_fn)(int single, int m, int n, const double *a, double *u, double *s,
                            double *vt);

/* A new array of the precision, with these values or with zeros. */
static void *native(int single, const double *values, size_t count)
{
    void *array = bench_alloc(count, single ? sizeof(float) : sizeof(double));
    size_t i;
    for (i = 0; values != NULL && i < count; i++) {
        if (single)
            ((float *)array)[i] = (float)values[i];
        else
            ((double *)array)[i] = values[i];
    }
    return array;
}

/* The values of such an array, which is freed. */
static void take(int single, void *array, double *to, size_t count)
{
    size_t i;
    for (i = 0; to != NULL && i < count; i++)
        to[i] = single ? (double)((float *)array)[i] : ((double *)array)[i];
    free(array);
}

/* u and vt may both be NULL. */
static int by_tt_embed(int single, int m, int n, const double *a, double *u, double *s, double *vt)
{
    size_t rows = (size_t)m, cols = (size_t)n, k = rows < cols ? rows : cols;
    void *work = bench_alloc(single ? tte_svd_f32_work(m, n) : tte_svd_f64_work(m, n), 1);
    void *in = native(single, a, rows * cols), *values = native(single, NULL, k);
    void *left = u != NULL ? native(single, NULL, rows * k) : NULL;
    void *right = vt != NULL ? native(single, NULL, k * cols) : NULL;
    tte_status status;
    if (single)
        status = tte_svd_f32(m, n, (float *)in, (float *)left, (float *)values, (float *)right,
                             work);
    else
        status = tte_svd_f64(m, n, (double *)in, (double *)left, (double *)values,
                             (double *)right, work);
    take(single, left, u, rows * k);
    take(single, values, s, k);
    take(single, right, vt, k * cols);
    free(in);
    free(work);
    return status == TTE_OK;
}

#ifdef BENCH_LAPACK

static void transpose(size_t rows, size_t cols, const double *from, double *to)
{
    size_t i, j;
    for (i = 0; i < rows; i++)
        for (j = 0; j < cols; j++) to[j * rows + i] = from[i * cols + j];
}

/* xGESDD or xGESVD. The driver gets the matrix by columns, as ddrvbd would give it, and room beyond
   its optimum. */
static int by_lapack(int divide, int single, int m, int n, const double *a, double *u, double *s,
                     double *vt)
{
    int k = m < n ? m : n, lwork = 7 * k * k + 70 * (m + n) + 1000, info = 0;
    size_t rows = (size_t)m, cols = (size_t)n, kk = (size_t)k;
    double *a_t = (double *)bench_alloc(rows * cols, sizeof *a_t);
    double *u_t = (double *)bench_alloc(rows * kk, sizeof *u_t);
    double *v = (double *)bench_alloc(kk * cols, sizeof *v);
    int *iwork = (int *)bench_alloc(8 * kk, sizeof *iwork);
    void *work = native(single, NULL, (size_t)lwork), *values = native(single, NULL, kk);
    void *left = native(single, NULL, rows * kk), *right = native(single, NULL, kk * cols), *in;

    transpose(rows, cols, a, a_t);
    in = native(single, a_t, rows * cols);
    if (single && divide)
        sgesdd_("S", &m, &n, (float *)in, &m, (float *)values, (float *)left, &m,
                (float *)right, &k, (float *)work, &lwork, iwork, &info, 1);
    else if (single)
        sgesvd_("S", "S", &m, &n, (float *)in, &m, (float *)values, (float *)left, &m,
                (float *)right, &k, (float *)work, &lwork, &info, 1, 1);
    else if (divide)
        dgesdd_("S", &m, &n, (double *)in, &m, (double *)values, (double *)left, &m,
                (double *)right, &k, (double *)work, &lwork, iwork, &info, 1);
    else
        dgesvd_("S", "S", &m, &n, (double *)in, &m, (double *)values, (double *)left, &m,
                (double *)right, &k, (double *)work, &lwork, &info, 1, 1);
    take(single, left, u_t, rows * kk);
    take(single, values, s, kk);
    take(single, right, v, kk * cols);
    transpose(kk, rows, u_t, u);
    transpose(cols, kk, v, vt);
    free(a_t);
    free(u_t);
    free(v);
    free(iwork);
    free(work);
    free(in);
    return info == 0;
}

static int by_gesvd(int single, int m, int n, const double *a, double *u, double *s, double *vt)
{
    return by_lapack(0, single, m, n, a, u, s, vt);
}

static int by_gesdd(int single, int m, int n, const double *a, double *u, double *s, double *vt)
{
    return by_lapack(1, single, m, n, a, u, s, vt);
}

static const decompose_fn peers[] = {by_tt_embed, by_gesvd, by_gesdd};
#else
static const decompose_fn peers[] = {by_tt_embed};
#endif

#define PEERS 3 /* in the columns of the tables; those that can run come first */

/* ---- a set of matrices: the largest ratios over all of them --------------------------------- */

typedef struct matrix_set {
    const char *name;
    int single;
    long count;
    double ratios[PEERS][RATIOS];
    double worst;              /* of tt_embed, any ratio */
    char where[64];            /* and the matrix that gave it */
} matrix_set;

static void set_begin(matrix_set *set, const char *name, int single)
{
    size_t p, r;
    memset(set, 0, sizeof *set);
    set->name = name;
    set->single = single;
    for (p = 0; p < PEERS; p++)
        for (r = 0; r < RATIOS; r++) set->ratios[p][r] = bench_nothing();
}

static void set_note(matrix_set *set, size_t peer, const double ratios[RATIOS], const char *label)
{
    size_t r;
    for (r = 0; r < RATIOS; r++) {
        double *largest = &set->ratios[peer][r];
        if (ratios[r] == ratios[r] && !(ratios[r] <= *largest)) *largest = ratios[r];
        if (peer == 0 && ratios[r] > set->worst) {
            set->worst = ratios[r];
            snprintf(set->where, sizeof set->where, "%s", label);
        }
    }
}

/* A matrix that could not be made or decomposed: as wrong as can be. */
static void set_fail(matrix_set *set, size_t peer, const char *label)
{
    double ratios[RATIOS];
    size_t r;
    for (r = 0; r < RATIOS; r++) ratios[r] = 1 / ulp_of(set->single);
    set_note(set, peer, ratios, label);
}

/* The reference for singular values: dgesvd in either precision. Returns NULL where it is not. */
static double *reference_values(int m, int n, const double *a)
{
#ifdef BENCH_LAPACK
    size_t rows = (size_t)m, cols = (size_t)n, k = rows < cols ? rows : cols;
    double *u = (double *)bench_alloc(rows * k, sizeof *u);
    double *s = (double *)bench_alloc(k, sizeof *s);
    double *vt = (double *)bench_alloc(k * cols, sizeof *vt);
    int done = by_gesvd(0, m, n, a, u, s, vt);
    free(u);
    free(vt);
    if (done) return s;
    free(s);
#else
    (void)m, (void)n, (void)a;
#endif
    return NULL;
}

/* tt_embed's singular values alone, computed without vectors. */
static void set_measure_alone(matrix_set *set, int m, int n, const double *a,
                              const double *reference, const char *label)
{
    size_t k = (size_t)(m < n ? m : n), larger = (size_t)(m < n ? n : m);
    double *s = (double *)bench_alloc(k, sizeof *s), ratios[RATIOS];
    size_t r;
    for (r = 0; r < RATIOS; r++) ratios[r] = bench_nothing();
    if (by_tt_embed(set->single, m, n, a, NULL, s, NULL)) {
        ratios[RATIO_VALUES] = ratio_values(k, larger, ulp_of(set->single), s, reference);
        set_note(set, 0, ratios, label);
    } else {
        set_fail(set, 0, label);
    }
    free(s);
}

static void set_measure_peer(matrix_set *set, size_t peer, int m, int n, const double *a,
                             const double *reference, const char *label)
{
    size_t rows = (size_t)m, cols = (size_t)n, k = rows < cols ? rows : cols;
    double *u = (double *)bench_alloc(rows * k, sizeof *u);
    double *s = (double *)bench_alloc(k, sizeof *s);
    double *vt = (double *)bench_alloc(k * cols, sizeof *vt), ratios[RATIOS];
    if (peers[peer](set->single, m, n, a, u, s, vt)) {
        ratio_all(rows, cols, ulp_of(set->single), a, u, s, vt, reference, ratios);
        set_note(set, peer, ratios, label);
    } else {
        set_fail(set, peer, label);
    }
    free(u);
    free(s);
    free(vt);
}

/* Measures one matrix, rounded to the precision of the set first. */
static void set_measure(matrix_set *set, int m, int n, double *a, const char *label)
{
    double *reference;
    size_t i, p;
    set->count++;
    for (i = 0; set->single && i < (size_t)m * (size_t)n; i++) a[i] = (double)(float)a[i];
    reference = reference_values(m, n, a);
    for (p = 0; p < BENCH_COUNT(peers); p++) {
        int is_reference = p == 1 && !set->single;
        set_measure_peer(set, p, m, n, a, is_reference ? NULL : reference, label);
    }
    set_measure_alone(set, m, n, a, reference, label);
    free(reference);
}

static const bench_column set_columns[] = {
    {"matrices", -26, NULL},   {"count", 5, NULL},        {"residual", 9, "tt_embed"},
    {"left", 6, "tt_embed"},   {"right", 6, "tt_embed"},  {"values", 6, "tt_embed"},
    {"residual", 9, "gesvd"},  {"left", 6, "gesvd"},      {"right", 6, "gesvd"},
    {"values", 6, "gesvd"},    {"residual", 9, "gesdd"},  {"left", 6, "gesdd"},
    {"right", 6, "gesdd"},     {"values", 6, "gesdd"},    {"worst of tt_embed", -1, NULL},
};

static void set_end(const matrix_set *set)
{
    size_t p, r;
    bench_text(set->name);
    bench_number((double)set->count, 0);
    for (p = 0; p < PEERS; p++)
        for (r = 0; r < RATIOS; r++) bench_number(set->ratios[p][r], 2);
    bench_text(set->where);
    if (set->count == 0 || !(set->worst < MAX_RATIO)) missed++;
}

/* ---- LAPACK's generated types --------------------------------------------------------------- */

static const int sizes[][2] = {{1, 1},   {5, 5},   {10, 3},  {3, 10},   {24, 32},
                               {12, 64}, {64, 12}, {50, 50}, {128, 96}, {300, 300}};

#ifdef BENCH_TMGLIB

/* xLATMS with singular values by `mode` and condition `cond`. The norm is multiplied in afterwards:
   the generator would divide it by the largest value drawn, which may overflow, and mode 6 has no
   norm. Returns 0 when it refuses. */
static int generate(int single, int m, int n, int mode, double cond, double norm, int *seed,
                    double *a)
{
    int kl = m - 1, ku = n - 1, larger = m < n ? n : m, info = 0;
    size_t rows = (size_t)m, cols = (size_t)n, i;
    double *by_columns = (double *)bench_alloc(rows * cols, sizeof *a), one = 1;
    void *d = native(single, NULL, (size_t)larger), *out = native(single, NULL, rows * cols);
    void *work = native(single, NULL, 3 * (size_t)larger);
    float cond4 = (float)cond, one4 = 1;
    if (single)
        slatms_(&m, &n, "U", seed, "N", (float *)d, &mode, &cond4, &one4, &kl, &ku, "N",
                (float *)out, &m, (float *)work, &info, 1, 1, 1);
    else
        dlatms_(&m, &n, "U", seed, "N", (double *)d, &mode, &cond, &one, &kl, &ku, "N",
                (double *)out, &m, (double *)work, &info, 1, 1, 1);
    take(single, out, by_columns, rows * cols);
    transpose(cols, rows, by_columns, a);
    for (i = 0; i < rows * cols; i++) a[i] *= norm;
    free(by_columns);
    free(d);
    free(work);
    return info == 0;
}

static void set_generate(matrix_set *set, int m, int n, int mode, double cond, double norm,
                         int *seed)
{
    double *a = (double *)bench_alloc((size_t)m * (size_t)n, sizeof *a);
    char label[64];
    snprintf(label, sizeof label, "%dx%d cond %.0e norm %.0e", m, n, cond, norm);
    if (generate(set->single, m, n, mode, cond, norm, seed, a))
        set_measure(set, m, n, a, label);
    else
        set_fail(set, 0, "not generated");
    free(a);
}

/* The six spectra at every size, condition and norm. */
static void latms_sets(int single)
{
    static const char *const names[] = {
        "latms 1 one large value",   "latms 2 one small value",   "latms 3 geometric values",
        "latms 4 arithmetic values", "latms 5 random logarithms", "latms 6 random values"};
    static const double conds[2][4] = {{1e2, 1e6, 1e10, 1e15}, {1e2, 1e4, 1e7, 1e15}};
    static const double norms[2][3] = {{1e-300, 1, 1e300}, {1e-30, 1, 1e30}};
    int seed[4] = {1993, 1, 2, 3}, mode;
    size_t i, c, x;
    for (mode = 1; mode <= 6; mode++) {
        matrix_set set;
        set_begin(&set, names[mode - 1], single);
        for (i = 0; i < BENCH_COUNT(sizes); i++)
            for (c = 0; c < 4; c++)
                for (x = 0; x < 3; x++)
                    set_generate(&set, sizes[i][0], sizes[i][1], mode, conds[single][c],
                                 norms[single][x], seed);
        set_end(&set);
    }
}

/* The types of ddrvbd itself: condition min(m, n), norm 1, near underflow and near overflow. */
static void ddrvbd_sets(int single)
{
    static const char *const names[] = {"ddrvbd 3 norm 1", "ddrvbd 4 near underflow",
                                        "ddrvbd 5 near overflow"};
    double least = single ? (double)FLT_MIN : DBL_MIN, norms[3];
    int seed[4] = {0, 0, 0, 1};
    size_t type, i;
    norms[0] = 1;
    norms[1] = least / ulp_of(single);
    norms[2] = ulp_of(single) / least;
    for (type = 0; type < 3; type++) {
        matrix_set set;
        set_begin(&set, names[type], single);
        for (i = 0; i < BENCH_COUNT(sizes); i++) {
            int m = sizes[i][0], n = sizes[i][1];
            set_generate(&set, m, n, 4, m < n ? m : n, norms[type], seed);
        }
        set_end(&set);
    }
}

#endif

/* ---- types by formula ----------------------------------------------------------------------- */

typedef double (*entry_fn)(int i, int j, int k);  /* k = min(m, n) */

static double entry_zero(int i, int j, int k) { return (void)i, (void)j, (void)k, 0; }
static double entry_identity(int i, int j, int k) { return (void)k, i == j; }
static double entry_ones(int i, int j, int k) { return (void)i, (void)j, (void)k, 1; }
static double entry_hilbert(int i, int j, int k) { return (void)k, 1.0 / (i + j + 1); }
static double entry_nilpotent(int i, int j, int k) { return (void)k, j == i + 1; }

static double entry_kahan(int i, int j, int k)
{
    double row = pow(sin(1.2), i);
    (void)k;
    return j < i ? 0 : j == i ? row : -row * cos(1.2);
}

/* Bidiagonal, the entries of row i 10^15 .. 10^-15, or the other way round. */
static double graded(int i, int j, int k, double first, double last)
{
    double power = k > 1 ? first + (last - first) * i / (k - 1) : 0;
    return j == i || j == i + 1 ? pow(10, power) : 0;
}
static double entry_falling(int i, int j, int k) { return graded(i, j, k, 15, -15); }
static double entry_rising(int i, int j, int k) { return graded(i, j, k, -15, 15); }

static void formula_sets(int single)
{
    static const struct { const char *name; entry_fn entry; } types[] = {
        {"zero", entry_zero},       {"identity", entry_identity},
        {"ones", entry_ones},       {"Hilbert", entry_hilbert},
        {"Kahan", entry_kahan},     {"nilpotent", entry_nilpotent},
        {"bidiagonal 1e15 .. 1e-15", entry_falling}, {"bidiagonal 1e-15 .. 1e15", entry_rising}};
    size_t t, x;
    for (t = 0; t < BENCH_COUNT(types); t++) {
        matrix_set set;
        set_begin(&set, types[t].name, single);
        for (x = 0; x < BENCH_COUNT(sizes); x++) {
            int m = sizes[x][0], n = sizes[x][1], i, j;
            double *a = (double *)bench_alloc((size_t)m * (size_t)n, sizeof *a), *entry = a;
            char label[64];
            for (i = 0; i < m; i++)
                for (j = 0; j < n; j++) *entry++ = types[t].entry(i, j, m < n ? m : n);
            snprintf(label, sizeof label, "%dx%d", m, n);
            set_measure(&set, m, n, a, label);
            free(a);
        }
        set_end(&set);
    }
}

/* All n x n matrices, n <= 3, over {least .. least + digits - 1}. */
static void small_set(const char *name, int single, int n, int least, int digits)
{
    matrix_set set;
    double a[9];
    long code, codes = 1;
    int i;
    set_begin(&set, name, single);
    for (i = 0; i < n * n; i++) codes *= digits;
    for (code = 0; code < codes; code++) {
        char label[64];
        long rest = code;
        for (i = 0; i < n * n; i++, rest /= digits) a[i] = (double)(least + rest % digits);
        snprintf(label, sizeof label, "number %ld", code);
        set_measure(&set, n, n, a, label);
    }
    set_end(&set);
}

static void ratio_table(int single)
{
    bench_table(single ? "accuracy_f32" : "accuracy_f64",
                single ? "tte_svd_f32 beside sgesvd and sgesdd: largest test ratios, bound 6"
                       : "tte_svd_f64 beside dgesvd and dgesdd: largest test ratios, bound 6",
                set_columns, BENCH_COUNT(set_columns));
#ifdef BENCH_TMGLIB
    latms_sets(single);
    ddrvbd_sets(single);
#endif
    formula_sets(single);
    small_set("all 2x2 over {-2 .. 2}", single, 2, -2, 5);
    small_set("all 3x3 over {0 1}", single, 3, 0, 2);
    bench_table_end();
}

int main(int argc, char **argv)
{
    bench_begin(argc, argv);
    ratio_table(1);
    ratio_table(0);
    if (missed > 0) fprintf(stderr, "accuracy: tt_embed missed %d bounds\n", missed);
    return missed > 0;
}
