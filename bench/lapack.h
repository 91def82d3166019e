/* lapack.h: the routines of LAPACK and BLAS that serve as anchors, by their Fortran names.
 *
 * BENCH_LAPACK is defined where they can be linked, BENCH_TMGLIB where the generator of LAPACK's
 * test matrices can. Integers are 32-bit. A CHARACTER argument brings its length along as a hidden
 * argument at the end of the list.
 */
#ifndef BENCH_LAPACK_H
#define BENCH_LAPACK_H
#ifdef BENCH_LAPACK

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

void sgesdd_(const char *jobz, const int *m, const int *n, float *a, const int *lda, float *s,
             float *u, const int *ldu, float *vt, const int *ldvt, float *work, const int *lwork,
             int *iwork, int *info, size_t);
void dgesdd_(const char *jobz, const int *m, const int *n, double *a, const int *lda, double *s,
             double *u, const int *ldu, double *vt, const int *ldvt, double *work,
             const int *lwork, int *iwork, int *info, size_t);
void sgesvd_(const char *jobu, const char *jobvt, const int *m, const int *n, float *a,
             const int *lda, float *s, float *u, const int *ldu, float *vt, const int *ldvt,
             float *work, const int *lwork, int *info, size_t, size_t);
void dgesvd_(const char *jobu, const char *jobvt, const int *m, const int *n, double *a,
             const int *lda, double *s, double *u, const int *ldu, double *vt, const int *ldvt,
             double *work, const int *lwork, int *info, size_t, size_t);
void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w, double *work,
             const int *lwork, int *iwork, const int *liwork, int *info, size_t, size_t);
void sgemm_(const char *transa, const char *transb, const int *m, const int *n, const int *k, const float *alpha,
            const float *a, const int *lda, const float *b, const int *ldb, const float *beta, float *c, const int *ldc,
            size_t, size_t);
void ssyrk_(const char *uplo, const char *trans, const int *n, const int *k, const float *alpha, const float *a,
            const int *lda, const float *beta, float *c, const int *ldc, size_t, size_t);
void sgemv_(const char *trans, const int *m, const int *n, const float *alpha, const float *a,
            const int *lda, const float *x, const int *incx, const float *beta, float *y,
            const int *incy, size_t);
#ifdef BENCH_TMGLIB
void slatms_(const int *m, const int *n, const char *dist, int *iseed, const char *sym, float *d,
             const int *mode, const float *cond, const float *dmax, const int *kl, const int *ku,
             const char *pack, float *a, const int *lda, float *work, int *info, size_t, size_t,
             size_t);
void dlatms_(const int *m, const int *n, const char *dist, int *iseed, const char *sym, double *d,
             const int *mode, const double *cond, const double *dmax, const int *kl,
             const int *ku, const char *pack, double *a, const int *lda, double *work, int *info,
             size_t, size_t, size_t);
#endif

#ifdef __cplusplus
}
#endif

static inline void lapack_must(int info, const char *routine)
{
    char why[32];
    if (info == 0) return;
    snprintf(why, sizeof why, "info %d", info);
    bench_stop(routine, why);
}

/* ---- a row-major matrix, decomposed without a copy ------------------------------------------
   Read by columns, a row-major rows x cols matrix A is A^T, and A^T = U' S V'^T means that
   A = V' S U'^T: the array for U' then holds vt of A by rows, and the one for V'^T holds u. */

typedef struct lapack_room {
    float *work;
    int *iwork, lwork, liwork;
} lapack_room;

/* Grow the room to what sgesdd asks for this size; begin with all zero. */
static inline void lapack_sgesdd_room(int rows, int cols, lapack_room *room)
{
    int k = rows < cols ? rows : cols, query = -1, info = 0, none;
    float size = 0, unused = 0;
    sgesdd_("S", &cols, &rows, &unused, &cols, &unused, &unused, &cols, &unused, &k, &size, &query,
            &none, &info, 1);
    if ((int)size > room->lwork) {
        free(room->work);
        room->lwork = (int)size;
        room->work = (float *)bench_alloc((size_t)room->lwork, sizeof(float));
    }
    if (8 * k > room->liwork) {
        free(room->iwork);
        room->liwork = 8 * k;
        room->iwork = (int *)bench_alloc((size_t)room->liwork, sizeof(int));
    }
}

static inline void lapack_room_drop(lapack_room *room)
{
    free(room->work);
    free(room->iwork);
    memset(room, 0, sizeof *room);
}

/* u (rows x k), s, vt (k x cols), k = min(rows, cols), all row-major. A is destroyed. */
static inline int lapack_sgesdd(int rows, int cols, float *a, float *u, float *s, float *vt,
                                const lapack_room *room)
{
    int k = rows < cols ? rows : cols, info = 0;
    sgesdd_("S", &cols, &rows, a, &cols, s, vt, &cols, u, &k, room->work, &room->lwork,
            room->iwork, &info, 1);
    return info;
}

#endif
#endif
