/* test_train.c: tte_decompose, tte_reconstruct and tte_inner on single tensors.
 *
 * Reconstructions are repeated here in double by plain sums over the cores, so that neither
 * tte_reconstruct nor rounding in it can hide an error of the decomposition.
 */
#include "bodies.h"
#include "harness.h"

#define EXACT 2e-6 /* relative error that a train without truncation may have */

typedef struct train {
    tte_shape shape;
    int32_t ranks[TTE_MAX_MODES + 1];
    float *cores;
} train;

/* ---- reference ---------------------------------------------------------------------------- */

static size_t cores_size(const train *t)
{
    size_t size = 0;
    for (int k = 0; k < t->shape.modes; k++)
        size += (size_t)t->ranks[k] * (size_t)t->shape.dim[k] * (size_t)t->ranks[k + 1];
    return size;
}

/* The tensor in double: left (done x r) times core (r x n*q) gives the next left. With `magnitudes`
 * the same sums over absolute values, which is what rounding errors are in proportion to. */
static double *contract(const train *t, int magnitudes)
{
    double *left = new_doubles(1);
    const float *core = t->cores;
    size_t done = 1;
    left[0] = 1;
    for (int k = 0; k < t->shape.modes; k++) {
        size_t r = (size_t)t->ranks[k];
        size_t columns = (size_t)t->shape.dim[k] * (size_t)t->ranks[k + 1];
        double *next = new_doubles(done * columns);
        for (size_t i = 0; i < done; i++)
            for (size_t j = 0; j < columns; j++) {
                double sum = 0;
                for (size_t a = 0; a < r; a++) {
                    double factor = (double)core[a * columns + j];
                    sum += left[i * r + a] * (magnitudes ? fabs(factor) : factor);
                }
                next[i * columns + j] = sum;
            }
        free(left);
        left = next;
        core += r * columns;
        done *= (size_t)t->shape.dim[k];
    }
    return left;
}

static double *dense(const train *t) { return contract(t, 0); }

/* A bound on the relative rounding of float sums over this train's bonds, one after the other. */
static double rounding(const train *t)
{
    double steps = t->shape.modes;
    for (int k = 0; k <= t->shape.modes; k++) steps += t->ranks[k];
    return steps * (double)FLT_EPSILON;
}

/* |x - x^| / |x| in double, where x^ comes from the cores. */
static double relative_error(const train *t, const float *x)
{
    size_t count = shape_size(&t->shape);
    double *back = dense(t), error = 0, total = 0;
    for (size_t i = 0; i < count; i++) {
        error += ((double)x[i] - back[i]) * ((double)x[i] - back[i]);
        total += (double)x[i] * (double)x[i];
    }
    free(back);
    return total > 0 ? sqrt(error / total) : sqrt(error);
}

/* A train with random cores, whose tensor has these ranks with probability one. */
static train random_train(const tte_shape *shape, int max_rank)
{
    train t;
    memset(&t, 0, sizeof t);
    t.shape = *shape;
    for (int k = 0; k <= shape->modes; k++) t.ranks[k] = (int32_t)bond_limit(shape, k, max_rank);
    t.cores = random_floats(cores_size(&t));
    return t;
}

static float *to_floats(const double *x, size_t count)
{
    float *y = new_floats(count);
    for (size_t i = 0; i < count; i++) y[i] = (float)x[i];
    return y;
}

static tte_shape random_shape(size_t limit)
{
    tte_shape shape;
    size_t size = 1;
    memset(&shape, 0, sizeof shape);
    shape.modes = rng_int(1, TTE_MAX_MODES);
    for (int k = 0; k < shape.modes; k++) {
        int n = shape.modes > 6 ? rng_int(1, 3) : shape.modes > 2 ? rng_int(1, 9) : rng_int(1, 40);
        shape.dim[k] = size * (size_t)n > limit ? 1 : n;
        size *= (size_t)shape.dim[k];
    }
    return shape;
}

/* ---- calling ------------------------------------------------------------------------------ */

/* Decomposes in buffers of the exact size; checks what holds for every successful call. */
static train decompose(const tte_shape *shape, const float *x, int max_rank, float eps)
{
    train t;
    size_t cap = tte_core_cap(shape, max_rank), count = shape_size(shape), used;
    float *input = (float *)test_copy(x, count * sizeof(float)), *cores = new_floats(cap);
    void *work = test_alloc(tte_decompose_work(shape));
    memset(&t, 0, sizeof t);
    t.shape = *shape;
    if (!CHECK_STATUS(tte_decompose(shape, input, max_rank, eps, t.ranks, cores, work), TTE_OK))
        for (int k = 0; k <= shape->modes; k++) /* go on with zeros */
            t.ranks[k] = 1;
    CHECK(memcmp(input, x, count * sizeof(float)) == 0);
    CHECK(t.ranks[0] == 1 && t.ranks[shape->modes] == 1);
    for (int k = 0; k <= shape->modes; k++)
        CHECK(t.ranks[k] >= 1 && (size_t)t.ranks[k] <= bond_limit(shape, k, max_rank));
    used = tte_core_len(shape, t.ranks);
    CHECK(used == cores_size(&t) && used <= cap);
    t.cores = (float *)test_copy(cores, used * sizeof(float));
    free(work), free(cores), free(input);
    return t;
}

/* Rows of length q stacked over (rank, mode): their columns must be orthonormal. */
static void check_left_orthonormal(const train *t)
{
    const float *core = t->cores;
    for (int k = 0; k + 1 < t->shape.modes; k++) {
        int rows = t->ranks[k] * t->shape.dim[k], q = t->ranks[k + 1];
        for (int a = 0; a < q; a++)
            for (int b = 0; b <= a; b++) {
                double sum = 0;
                for (int i = 0; i < rows; i++) sum += (double)core[i * q + a] * (double)core[i * q + b];
                CHECK_LE(fabs(sum - (a == b)), 1e-6);
            }
        core += (size_t)rows * (size_t)q;
    }
}

static void check_reconstruct(const train *t)
{
    size_t count = shape_size(&t->shape);
    double *want = dense(t), *size = contract(t, 1);
    float *x = new_floats(count);
    float *scratch = new_floats(tte_reconstruct_len(&t->shape, t->ranks));
    CHECK_STATUS(tte_reconstruct(&t->shape, t->ranks, t->cores, x, scratch), TTE_OK);
    for (size_t i = 0; i < count; i++)
        CHECK_LE(fabs((double)x[i] - want[i]), rounding(t) * size[i] + (double)FLT_MIN);
    free(scratch), free(x), free(want), free(size);
}

/* ---- cases -------------------------------------------------------------------------------- */

static void sizes_of_tensorgpt(void)
{
    static const int twos[10] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
    tte_shape shape = make_shape(10, twos);
    int32_t ones[11] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, fours[11] = {1, 2, 4, 4, 4, 4, 4, 4, 4, 2, 1};
    CHECK(tte_core_len(&shape, ones) == 20);
    CHECK(tte_core_len(&shape, fours) == 232);
    CHECK(tte_core_cap(&shape, 1) >= 20);
    CHECK(tte_core_cap(&shape, 4) >= 232);
    CHECK(tte_core_cap(&shape, 4) <= tte_core_cap(&shape, 0));
}

/* Noise; entries over many magnitudes, so that every eps cuts something; low rank below noise; zeros; ones; a scale; one
 * entry far above or below the others. */
static float *make_tensor(int kind, const tte_shape *shape, float bound)
{
    static const float scale[] = {1e-36f, 1e-30f, 1e-20f, 1e20f, 1e30f, 1e36f, 1e30f, 1e-30f};
    const size_t count = shape_size(shape), one = (size_t)(rng_next() % count);
    float *x = random_floats(count), factor = scale[rng_int(0, 5)];
    train low = random_train(shape, 2);
    double *y = dense(&low);
    for (size_t i = 0; i < count; i++)
        switch (kind) {
        case 1: x[i] *= (float)pow(10, -6 * rng_uniform()); break;
        case 2: x[i] = (float)(y[i] + (double)bound * rng_uniform() * (double)x[i]); break;
        case 3: x[i] = i % 2 ? 0.0f : -0.0f; break;
        case 4: x[i] = 1; break;
        case 5: x[i] *= factor; break;
        case 6: x[i] = i == one ? scale[6 + count % 2] : x[i]; break;
        default: break;
        }
    free(y), free(low.cores);
    return x;
}

/* What is kept of eps and cap, whatever the tensor; and the same bytes each time. */
static void every_tensor(void)
{
    static const float eps[] = {0, 1e-5f, 1e-4f, 1e-3f, 0.01f, 0.05f, 0.1f, 0.3f, 0.5f, 0.9f, 1.0f};
    static const int twos[16] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
    for (int round = 0; round < (test.small ? 300 : 4000); round++) {
        const int kind = round % 7, cap = round % 3 == 0 ? 1 << rng_int(0, 6) : 0;
        const float bound = round % 2 ? eps[round % 11] : 0;
        tte_shape shape = round == 0 && !test.small ? make_shape(16, twos) : random_shape(test.small ? 256 : 2048);
        float *x = make_tensor(kind, &shape, bound);
        train t = decompose(&shape, x, cap, bound), again = decompose(&shape, x, cap, bound), other;
        double error = relative_error(&t, x);
        CHECK_LE(error, cap > 0 ? HUGE_VAL : bound > 0 ? (double)bound : EXACT);
        for (int k = 0; k <= shape.modes && bound <= 0; k++) /* no rank is lower, not even of zeros */
            CHECK((size_t)t.ranks[k] == bond_limit(&shape, k, cap));
        CHECK(kind != 3 || error == 0);
        CHECK(memcmp(t.ranks, again.ranks, sizeof t.ranks) == 0);
        CHECK(memcmp(t.cores, again.cores, cores_size(&t) * sizeof(float)) == 0);
        check_left_orthonormal(&t);
        if (kind != 6) check_reconstruct(&t); /* nothing is left of the small ones there */
        if (cap > 0 && bound <= 0) { /* with eps, too, no rank above the cap, and no smaller error */
            other = decompose(&shape, x, cap, 0.2f);
            check_left_orthonormal(&other);
            CHECK_LE(error, relative_error(&other, x) + EXACT);
            free(other.cores);
        }
        free(t.cores), free(again.cores), free(x);
    }
}

/* A second singular value so close below eps |x| that it may go by a hair: rounding included, the
 * bound must hold. x = p + s q with p, q orthogonal products. */
static void eps_at_the_edge(void)
{
    static const float eps[] = {1e-5f, 1e-4f, 1e-2f, 0.2f};
    for (int round = 0; round < (test.small ? 80 : 2000); round++) {
        int m = rng_int(2, 12), n = rng_int(2, 12), dims[2];
        float bound = eps[round % 4], *x = new_floats((size_t)(m * n));
        double angle_m = 6.28 * rng_uniform(), angle_n = 6.28 * rng_uniform();
        double s = (double)bound / sqrt(1 - (double)bound * (double)bound);
        tte_shape shape;
        train t;
        s *= 1 - 1e-7 * rng_int(-3, 30);
        dims[0] = m, dims[1] = n;
        shape = make_shape(2, dims);
        for (int i = 0; i < m * n; i++) {
            double c = i / n == 0 ? cos(angle_m) : i / n == 1 ? sin(angle_m) : 0;
            double d = i % n == 0 ? cos(angle_n) : i % n == 1 ? sin(angle_n) : 0;
            double c2 = i / n == 0 ? -sin(angle_m) : i / n == 1 ? cos(angle_m) : 0;
            double d2 = i % n == 0 ? -sin(angle_n) : i % n == 1 ? cos(angle_n) : 0;
            x[i] = (float)(c * d + s * c2 * d2);
        }
        t = decompose(&shape, x, 0, bound);
        CHECK_LE(relative_error(&t, x), (double)bound);
        free(t.cores), free(x);
    }
}

/* Truncation must pay: noise below eps is cut off, so the ranks are those of the signal. */
static void low_rank_is_found(void)
{
    for (int round = 0; round < (test.small ? 20 : 300); round++) {
        tte_shape shape = random_shape(test.small ? 256 : 2048);
        train low = random_train(&shape, 1 + round % 3), t;
        double *exact = dense(&low);
        float *x = to_floats(exact, shape_size(&shape));
        t = decompose(&shape, x, 0, 1e-5f);
        for (int k = 0; k <= shape.modes; k++) CHECK(t.ranks[k] <= low.ranks[k]);
        CHECK_LE(relative_error(&t, x), EXACT);
        free(t.cores);
        t = decompose(&shape, x, 1 + round % 3, 0); /* a cap that costs nothing */
        CHECK_LE(relative_error(&t, x), EXACT);
        free(t.cores), free(x), free(exact), free(low.cores);
    }
}

/* One tensor whose singular values are far from every threshold, so that each rank is known. */
static void known_ranks(void)
{
    static const int dims[3] = {4, 3, 5};
    tte_shape shape = make_shape(3, dims);
    for (int kind = 0; kind < 3; kind++) { /* e0 e0 e0 + e1 e1 e1; the sum of the indices; a product */
        float x[60];
        train t;
        for (int i = 0; i < 60; i++)
            x[i] = kind == 0 ? (float)(i == 0 || i == 1 * 15 + 1 * 5 + 1) : kind == 1 ? (float)(i / 15 + i / 5 % 3 + i % 5)
                 : (float)((1 + i / 15) * (2 + i / 5 % 3) * (3 - i % 5));
        t = decompose(&shape, x, 0, 1e-4f);
        CHECK(t.ranks[1] == (kind < 2 ? 2 : 1) && t.ranks[2] == t.ranks[1]);
        CHECK_LE(relative_error(&t, x), 1e-6);
        free(t.cores);
    }
}

/* Two modes: the truncated train is the best approximation of its rank (Eckart and Young). */
static void two_modes_are_optimal(void)
{
    for (int round = 0; round < (test.small ? 20 : 200); round++) {
        int m = rng_int(1, 20), n = rng_int(1, 20), k = m < n ? m : n, cap = rng_int(1, k);
        int dims[2];
        tte_shape shape;
        float *x = random_floats((size_t)(m * n));
        double *a = new_doubles((size_t)(m * n)), *s = new_doubles((size_t)k), tail = 0, total = 0;
        void *work = test_alloc(tte_svd_f64_work(m, n));
        train t;
        dims[0] = m, dims[1] = n;
        shape = make_shape(2, dims);
        for (int i = 0; i < m * n; i++) a[i] = (double)x[i];
        CHECK_STATUS(tte_svd_f64(m, n, a, NULL, s, NULL, work), TTE_OK);
        for (int i = 0; i < k; i++) {
            total += s[i] * s[i];
            tail += i >= cap ? s[i] * s[i] : 0;
        }
        t = decompose(&shape, x, cap, 0);
        CHECK_LE(fabs(relative_error(&t, x) - sqrt(tail / total)), 5e-7);
        free(t.cores), free(work), free(a), free(s), free(x);
    }
}

/* <A, B> by tte_inner with scratch of exactly the length the contract names. */
static double inner(const train *a, const train *b)
{
    size_t bond = 0;
    float *scratch, result = 0;
    for (int k = 0; k <= a->shape.modes; k++) {
        size_t here = (size_t)a->ranks[k] * (size_t)b->ranks[k];
        bond = here > bond ? here : bond;
    }
    scratch = new_floats(2 * bond);
    CHECK_STATUS(tte_inner(&a->shape, a->ranks, a->cores, b->ranks, b->cores, &result, scratch),
                 TTE_OK);
    free(scratch);
    return (double)result;
}

static void inner_products(void)
{
    for (int round = 0; round < (test.small ? 60 : 800); round++) {
        tte_shape shape = random_shape(test.small ? 256 : 1024);
        size_t count = shape_size(&shape);
        float *x = random_floats(count), *y = random_floats(count);
        double *da, *db, *size_a, *size_b, want = 0, aa = 0, bb = 0, slack = 0;
        train a = decompose(&shape, x, rng_int(0, 5), 0), b;
        if (round % 2) { /* any cores are a train, also with bonds wider than they need be */
            free(a.cores);
            for (int k = 1; k < shape.modes; k++) a.ranks[k] = rng_int(1, 6);
            a.cores = random_floats(cores_size(&a));
        }
        b = decompose(&shape, y, rng_int(0, 4), 0.1f);
        da = dense(&a), db = dense(&b), size_a = contract(&a, 1), size_b = contract(&b, 1);
        for (size_t i = 0; i < count; i++) {
            want += da[i] * db[i];
            slack += size_a[i] * size_b[i];
            aa += da[i] * da[i];
            bb += db[i] * db[i];
        }
        slack *= rounding(&a) + rounding(&b);
        CHECK_LE(fabs(inner(&a, &b) - want), slack);
        CHECK_LE(fabs(inner(&b, &a) - want), slack);
        CHECK_LE(fabs(inner(&b, &b) - bb), 2e-6 * bb); /* orthonormal cores: as sharp as a dot */
        if (round % 2 == 0) CHECK_LE(fabs(inner(&a, &b) - want), 1e-6 * sqrt(aa * bb));
        check_reconstruct(&a);
        free(da), free(db), free(size_a), free(size_b);
        free(a.cores), free(b.cores), free(x), free(y);
    }
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void not_finite(void)
{
    static const uint32_t bits[] = {0x7FC00000u, 0xFFC00000u, 0x7F800001u, 0x7F800000u, 0xFF800000u};
    for (int round = 0; round < 90; round++) {
        tte_shape shape = random_shape(64);
        size_t count = shape_size(&shape), cap = tte_core_cap(&shape, 0);
        float *x = random_floats(count), *cores = new_floats(cap);
        int32_t *ranks = (int32_t *)test_alloc(((size_t)shape.modes + 1) * sizeof(int32_t));
        void *work = test_alloc(tte_decompose_work(&shape));
        x[round % 3 == 0 ? 0 : round % 3 == 1 ? count / 2 : count - 1] = float_from_bits(bits[round % 5]);
        CHECK_STATUS(tte_decompose(&shape, x, round % 4, round % 2 ? 0.0f : 0.1f, ranks, cores, work),
                     TTE_ERR_NOT_FINITE);
        CHECK(is_untouched(ranks, ((size_t)shape.modes + 1) * sizeof(int32_t)));
        CHECK(is_untouched(cores, cap * sizeof(float)));
        free(work), free(ranks), free(cores), free(x);
    }
}

/* Up to the end of float, what is a train gives a finite tensor; what has a larger norm is refused. */
static void largest_numbers(void)
{
    static const double norms[] = {0.99, 0.99989, 0.99991, 0.99999995, 1, 1.00000006, 1.0001, 3};
    int good = 0;
    for (int round = 0; round < (test.small ? 200 : 2000); round++) {
        tte_shape shape = random_shape(64);
        size_t count = shape_size(&shape), one = (size_t)(rng_next() % count), cap = tte_core_cap(&shape, 0);
        const double most = norms[round % 8] * (double)FLT_MAX;
        float *x = new_floats(count), *back = new_floats(count), *cores = new_floats(cap);
        float *scratch = new_floats(4096);
        int32_t ranks[TTE_MAX_MODES + 1];
        void *work = test_alloc(tte_decompose_work(&shape));
        double spread = rng_int(0, 2) ? 0 : pow(10, -rng_int(0, 7)), sum = 0;
        tte_status status;
        for (size_t i = 0; i < count; i++) { /* one entry has nearly all of the norm, or all of them share it */
            x[i] = (float)(i == one ? 1 : spread * rng_normal());
            sum += (double)x[i] * (double)x[i];
        }
        for (size_t i = 0; i < count; i++)
            x[i] = (float)fmax(-(double)FLT_MAX, fmin((double)x[i] / sqrt(sum) * most, (double)FLT_MAX));
        sum = norm(x, count) / (double)FLT_MAX;
        status = tte_decompose(&shape, x, rng_int(0, 3), 0, ranks, cores, work);
        if (sum > 0.9999) {
            CHECK_STATUS(status, TTE_ERR_NOT_FINITE);
            CHECK(is_untouched(cores, cap * sizeof(float)));
        } else if (CHECK_STATUS(status, TTE_OK)) {
            CHECK(tte_reconstruct_len(&shape, ranks) <= 4096);
            CHECK_STATUS(tte_reconstruct(&shape, ranks, cores, back, scratch), TTE_OK);
            for (size_t i = 0; i < count; i++) CHECK(fabs((double)back[i]) <= (double)FLT_MAX);
            good++;
        }
        free(work), free(scratch), free(cores), free(back), free(x);
    }
    CHECK(good > 0);
}

/* Buffers that no call may touch: every shape below must be refused before anything is read. */
static void check_refused_shape(const tte_shape *shape, int modes)
{
    int32_t ranks[20];
    float x[4] = {1, 2, 3, 4}, cores[64], scratch[64], back[4], result = -7;
    void *work = test_alloc(64);
    for (int k = 0; k < 20; k++) ranks[k] = 1;
    memset(cores, 0xA5, sizeof cores);
    memset(back, 0xA5, sizeof back);
    CHECK(tte_core_len(shape, ranks) == 0);
    CHECK(tte_core_cap(shape, 2) == 0);
    CHECK(tte_decompose_work(shape) == 0);
    CHECK(tte_reconstruct_len(shape, ranks) == 0);
    CHECK_STATUS(tte_decompose(shape, x, 2, 0, ranks, cores, work), TTE_ERR_SHAPE);
    CHECK(is_untouched(cores, sizeof cores));
    memset(cores, 0, sizeof cores);
    CHECK_STATUS(tte_reconstruct(shape, ranks, cores, back, scratch), TTE_ERR_SHAPE);
    CHECK(is_untouched(back, sizeof back));
    CHECK_STATUS(tte_inner(shape, ranks, cores, ranks, cores, &result, scratch), TTE_ERR_SHAPE);
    CHECK(result == -7);
    for (int k = 0; k <= modes && k < 20; k++) CHECK(ranks[k] == 1);
    free(work);
}

static void bad_shapes(void)
{
    static const int twos[16] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
    static const int bad_modes[] = {0, -1, 17, INT32_MAX, INT32_MIN}, bad_dims[] = {0, -1, INT32_MIN};
    for (int i = 0; i < 14; i++) {
        tte_shape shape = make_shape(3, twos);
        if (i < 5) shape.modes = bad_modes[i];
        else shape.dim[(i - 5) / 3] = bad_dims[(i - 5) % 3];
        check_refused_shape(&shape, 3);
    }
    for (int modes = 3; modes <= 17; modes++) { /* the product leaves every integer type; 16 modes of 16 are 2^64 */
        tte_shape shape = make_shape(modes < 17 ? modes : 16, twos);
        for (int k = 0; k < shape.modes; k++) shape.dim[k] = modes < 17 ? INT32_MAX : 16;
        check_refused_shape(&shape, shape.modes);
    }
}

static void bad_arguments(void)
{
    static const int dims[2] = {2, 2};
    const float nan = float_from_bits(0x7FC00000u), bad_eps[] = {-1, -1e-30f, nan};
    tte_shape shape = make_shape(2, dims);
    int32_t ranks[3] = {1, 1, 1};
    float x[4] = {1, 2, 3, 4}, scratch[64], result = 5, *cores = new_floats(tte_core_cap(&shape, 0));
    void *work = test_alloc(tte_decompose_work(&shape));
    memset(cores, 0, tte_core_cap(&shape, 0) * sizeof(float));
    for (int null = 0; null < 7; null++) { /* one pointer after the other */
        const tte_shape *s = null == 0 ? NULL : &shape;
        int32_t *r = null == 1 ? NULL : ranks;
        float *c = null == 2 ? NULL : cores, *in = null == 3 ? NULL : x, *room = null == 4 ? NULL : scratch;
        if (null < 5) CHECK_STATUS(tte_decompose(s, in, 0, 0, r, c, null == 4 ? NULL : work), TTE_ERR_ARGUMENT);
        if (null < 4) CHECK_STATUS(tte_reconstruct(s, r, c, in, scratch), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_inner(s, null == 5 ? NULL : r, c, ranks, null == 6 ? NULL : cores, null == 3 ? NULL : &result,
                               room), TTE_ERR_ARGUMENT);
        CHECK_STATUS(tte_inner(&shape, ranks, cores, null == 5 ? NULL : r, c, null == 3 ? NULL : &result,
                               null == 0 || null == 6 ? NULL : room), TTE_ERR_ARGUMENT);
    }
    CHECK_STATUS(tte_decompose(&shape, x, -1, 0, ranks, cores, work), TTE_ERR_ARGUMENT);
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(tte_decompose(&shape, x, 0, bad_eps[i], ranks, cores, work), TTE_ERR_ARGUMENT);
    CHECK(tte_core_len(NULL, ranks) == 0 && tte_core_len(&shape, NULL) == 0);
    CHECK(tte_core_cap(NULL, 1) == 0 && tte_core_cap(&shape, -1) == 0 && tte_decompose_work(NULL) == 0);
    CHECK(tte_reconstruct_len(NULL, ranks) == 0 && tte_reconstruct_len(&shape, NULL) == 0);
    CHECK(ranks[0] == 1 && ranks[1] == 1 && ranks[2] == 1 && result == 5);
    free(work), free(cores);
}

/* Ranks that no train has: outer ones other than 1, zero, negative, products that overflow. */
static void bad_ranks(void)
{
    static const int dims[3] = {2, 3, 2};
    static const int32_t bad[][4] = {{2, 1, 1, 1}, {1, 1, 1, 2}, {1, 0, 1, 1}, {1, 1, -3, 1}, {0, 1, 1, 1},
                                     {1, INT32_MIN, 1, 1}};
    static const int32_t huge[4] = {1, INT32_MAX, INT32_MAX, 1}; /* has a length, more than memory */
    tte_shape shape = make_shape(3, dims);
    int32_t good[4] = {1, 1, 1, 1};
    float cores[16], x[12], scratch[64], result = 5;
    size_t length = tte_core_len(&shape, huge);
    CHECK(length == 0 || length > (size_t)INT32_MAX);
    memset(cores, 0, sizeof cores), memset(x, 0xA5, sizeof x);
    for (int i = 0; i < 6; i++) {
        CHECK(tte_core_len(&shape, bad[i]) == 0 && tte_reconstruct_len(&shape, bad[i]) == 0);
        CHECK_STATUS(tte_reconstruct(&shape, bad[i], cores, x, scratch), TTE_ERR_SHAPE);
        CHECK_STATUS(tte_inner(&shape, bad[i], cores, good, cores, &result, scratch), TTE_ERR_SHAPE);
        CHECK_STATUS(tte_inner(&shape, good, cores, bad[i], cores, &result, scratch), TTE_ERR_SHAPE);
        CHECK(is_untouched(x, sizeof x) && result == 5);
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_train");
    RUN(sizes_of_tensorgpt);
    RUN(every_tensor);
    RUN(eps_at_the_edge);
    RUN(low_rank_is_found);
    RUN(known_ranks);
    RUN(two_modes_are_optimal);
    RUN(inner_products);
    RUN(not_finite);
    RUN(largest_numbers);
    RUN(bad_shapes);
    RUN(bad_arguments);
    RUN(bad_ranks);
    return test_end();
}
