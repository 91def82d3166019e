/* tt_embed.h - token-embedding tables as tensor trains: small files, rows on demand
   Version 0.1.0, MIT licence (see LICENSE)

==================================================================================================
WHAT IT DOES
==================================================================================================

   A language model begins with a table: one row of `dim` float32 numbers for every token.
   This header turns the table into a smaller image (one block of bytes, which is also the
   file) and reads rows, inner products and scores straight from that image, without ever
   rebuilding the table. It needs a C99 or C++11 compiler, libc and libm. It does not train.

   It is not a neural-network library, and it is no magic. One train for the whole table
   (TTE_PER_TABLE) is well ahead of integer rounding at equal bytes; a train for each row
   (TTE_PER_TOKEN, the layout of the TensorGPT paper) keeps rows independent, and on rows
   without structure loses most of their norm at 3x, where plain 8-bit rounding loses one per
   cent at 4x. Measure your own table with examples/gpt2_demo.c before you decide.

   Which to take: for the smallest file at a given error, TTE_PER_TABLE with TTE_ENTROPY. To score
   the whole vocabulary again and again, TTE_PER_TABLE with TTE_I8 or TTE_I4, from the table itself
   or by tte_recode. TTE_PER_TOKEN where rows must be made apart, with nothing shared.

==================================================================================================
QUICK START
==================================================================================================

   Exactly one source file defines TT_EMBED_IMPLEMENTATION before the include; all others
   include the header plainly. Keep its name: it includes itself once for float and once for
   double (see VECTOR KERNELS). A program to try, cc -O2 -I. quick.c -lm:

       #define TT_EMBED_IMPLEMENTATION
       #include "tt_embed.h"
       #include <stdio.h>
       #include <stdlib.h>

       static float table[1000 * 64], row[64];

       int main(void)
       {
           for (int i = 0; i < 1000 * 64; ++i)             // a table with some structure
               table[i] = (float)((i % 64 + 1) * (i / 64)) / 64000.0f;

           tte_options options = {0};
           options.layout = TTE_PER_TABLE;
           options.coding = TTE_ENTROPY;
           options.ratio = 8;                              // 8 times smaller than float32
           tte_image image;
           tte_status status = tte_compress(table, 1000, 64, &options, &image);
           if (status != TTE_OK) return puts(tte_status_text(status)), 1;

           tte_table t;                                    // a view; it owns nothing
           status = tte_open(&t, image.data, image.size);
           if (status != TTE_OK) return puts(tte_status_text(status)), 1;
           float *scratch = (float *)malloc(tte_scratch_len(&t) * sizeof(float));
           if (!scratch || tte_lookup(&t, 42, row, scratch) != TTE_OK) return 1;
           printf("%u bytes instead of %u; W[42][63] = %.5f, was %.5f\n", (unsigned)image.size,
                  (unsigned)sizeof table, (double)row[63], (double)table[42 * 64 + 63]);
           free(scratch);
           tte_free(&image);
           return 0;
       }

   On a device that only reads, define TT_EMBED_DECODE_ONLY as well. `tte_open` then takes the
   image where it lies in flash; the scratch array is the only memory it asks you for.

==================================================================================================
CONTENTS (search for the words in capitals)
==================================================================================================

   CONFIGURATION        macros, all optional
   GUARANTEES           what holds for untrusted images, failures, threads
   CONVENTIONS          layouts, order of indices
   IMAGE FORMAT         the .tte file, byte by byte
   METHOD               what is computed, with references
   API                  every public name and its contract
   IMPLEMENTATION, room by room in the direction in which data flows:
     CHECKED ARITHMETIC AND BYTE ORDER      sizes that cannot wrap, bytes to numbers
     VECTOR KERNELS                         dot, axpy, plane rotation, small products
     SINGULAR VALUE DECOMPOSITION           Householder bidiagonalization, implicit-shift QR
     TENSOR TRAINS                          TT-SVD, contraction, inner product
     MANY ROWS AT ONCE                      the same for eight rows in the lanes of a vector
     CORE CODINGS                           float32, float16, integers; coded matrices
     ENTROPY CODING                         trellis-coded quantization, rANS
     ONE TRAIN FOR A TABLE                  shared cores, coefficients, the model of a table
     IMAGE LAYOUT                           header, sections, checksums, tte_open
     COMPRESSION                            rows to images; append, replace, merge, recode
     LOOKUP AND PRODUCTS                    images to rows and scores
     FILES                                  save and load

==================================================================================================
CONFIGURATION
==================================================================================================

   All of them stand before the first include of the header. int and size_t have 32 bits or more.

   TT_EMBED_IMPLEMENTATION    compile the bodies here (in one file of the program)
   TT_EMBED_STATIC            with the bodies: every function static, a private copy in this file
   TT_EMBED_DECODE_ONLY       only the reading side: no compression, no SVD, no heap, no stdio,
                              no libm, no double arithmetic
   TT_EMBED_ONLY_LAYOUT       with TT_EMBED_DECODE_ONLY, for a smaller decoder: the one tte_layout or
   TT_EMBED_ONLY_CODING       tte_coding that is read, e.g. TTE_PER_TABLE and TTE_ENTROPY; tte_open
                              answers TTE_ERR_VERSION to others (tests/test_size.sh shows what it saves)
   TT_EMBED_NO_STDIO          no tte_save and tte_load
   TT_EMBED_MALLOC(size),     the allocator, default malloc and free of <stdlib.h>; define both
   TT_EMBED_FREE(pointer)     or neither
   TT_EMBED_ASSERT(condition) checks of the library's own reasoning, default none

   Built with OpenMP (-fopenmp), compression uses its threads, and so do tte_lookup_batch,
   tte_logits and tte_top_k, at most eight (not with TT_EMBED_DECODE_ONLY); what comes out is the
   same, bit for bit, for any number of them.

==================================================================================================
GUARANTEES
==================================================================================================

   Trusted are the compiler, libc, and the caller: buffers have the sizes that the contracts ask for,
   callbacks and allocator keep theirs, and the bytes of an image do not change while a table is open on
   them. Not trusted is any byte of an image or of a file, nor any number in a table of floats. Each promise
   names what tests it: a program in tests/ and a case in it.

   Of images, whatever their bytes are:
   G1  Memory. After tte_open has said TTE_OK, no call reads outside the image, writes outside its outputs
       and scratch, or divides by zero, overflows a signed number or shifts too far.
       [fuzz/fuzz_open.c fuzz_one, fuzz/fuzz_grow.c fuzz_one, test_golden.c every_byte_of_the_header]
   G2  Work. tte_open takes time in proportion to the index at most, a lookup to the scratch and the length of
       its record; nothing waits for a value that may never come. A small image may ask for much of both when
       its modes pad few entries to many: bound tte_scratch_len before allocating it.
       [fuzz/fuzz_open.c fuzz_one, test_golden.c every_truncation]
   G3  Notice. One bit turned anywhere is noticed by tte_open or tte_verify; so is a missing or an added byte.
       [test_golden.c every_turned_bit_is_noticed, test_golden.c one_byte_more]

   Of every call:
   G4  Outputs are written only when the status is TTE_OK.
       [test_faults.c each_call_fails, test_grow.c memory_that_runs_out, test_table.c bad_options]
   G5  An allocator that says no, at whichever request, gives TTE_ERR_MEMORY, and nothing is left allocated.
       [test_grow.c memory_that_runs_out, test_per_table_grow.c memory_that_runs_out]
   G6  NaN and infinity in the input give TTE_ERR_NOT_FINITE, found by their exponent bits, also where
       -ffast-math makes comparisons say otherwise. [test_table.c not_finite, test_svd.c not_finite]
   G7  Sizes are computed with 64-bit or checked arithmetic; what does not fit is refused, and the largest
       that does is not. [test_limits.c tables_up_to_the_limit, test_large.c rows_beyond_all_small_numbers]
   G8  tte_save leaves the old file or the new one under its path, whole, whenever the process is killed; on
       POSIX systems also when power fails, and after TTE_OK it is the new one, as far as the folder's file
       system can promise it. [test_faults.c killed_at_any_moment, test_faults.c disk_before_name]
   G9  Threads. Reading calls are pure functions of a const tte_table and the caller's scratch: any number of
       threads may share one table, each with scratch of its own. [test_threads.c readers_share_a_view]
   G10 The same input gives the same image with one toolchain, whatever the number of threads. An image
       gives the same rows on every machine, bit for bit, where float is not evaluated in a wider type and the
       compiler does not fuse multiplications with additions (gcc is told not to); elsewhere they may differ
       in their last bits, and scores may anywhere.
       [test_threads.c same_bytes_from_any_number, test_machines.c rows_as_recorded]

   Not promised: rows of any sense from an image that tte_verify would refuse; protection from somebody who
   computes new checksums for a changed image (they are no signatures); that time does not depend on content.

==================================================================================================
CONVENTIONS
==================================================================================================

   Matrices and rows are row-major. A core G_k has shape (r[k-1], n[k], r[k]), its last index
   fastest; the cores of one train follow each other, G_1 first. Tokens count from 0. Sizes
   named `len` count floats, sizes named `work` and `size` count bytes.

   The library never prints, exits or recurses, and has no variable state of its own. Reading never
   allocates.

==================================================================================================
IMAGE FORMAT, version 1
==================================================================================================

   All numbers are little-endian, unsigned unless marked. f32 and f64 are IEEE 754.

     offset  bytes
        0      8   magic: 89 54 54 45 0D 0A 1A 0A ("\x89TTE\r\n\x1A\n")
        8      4   CRC-32 (IEEE 802.3) of the header from offset 12 to its end
       12      2   version: 1
       14      1   layout (tte_layout)
       15      1   coding (tte_coding)
       16      1   d, the number of modes
       17      1   number of sections, 1 to 4
       18      2   flags: bit 0, ranks adapted to each row (TTE_PER_TOKEN with eps and a bond)
       20      4   dim
       24      8   vocab
       32      8   size of the whole image
       40      4   max_rank of the options that made it, 0 for none
       44      4   eps of the options that made it, f32, 0 for none
       48      8   vocab * dim * 4 / image size, f64
       56      8   core entries per token, mean, those of shared cores included, f64
       64      8   relative error of the table |W - W^| / |W|, f64
       72      8   largest relative error of a row, f64
       80     32   sum of |row|^2: an ordered sum as below
      112     32   sum of |row - row^|^2: an ordered sum
      144    4+8d  r[0], then n[k], r[k] for k = 1..d: modes and the largest rank at each bond; r[0]
                   is 1, for TTE_PER_TABLE the number of coefficients of a token
       ..     24   for each section: offset (8), size (8), CRC-32 of its bytes (4), kind (4)

   An ordered sum is an exponent e (4, signed), four zero bytes and three 8-byte integers b0,
   b1, b2; its value is b0 * 2^(32 e) + b1 * 2^(32 (e-1)) + b2 * 2^(32 (e-2)). Adding up in this
   form gives the same bits in any order (see COMPRESSION), so that shards merge exactly.

   Sections start at multiples of 64 in rising order of their kinds, with zeros between them; the
   image ends where the last section does.

     kind 1, records: one for each token, without gaps.
       TTE_PER_TOKEN: the d cores of the train, G_1 first: for I8 and I4 first one float16 scale for
       each core; then all core entries: F32 4 bytes, F16 2 bytes, I8 one signed byte (entry = scale *
       code), I4 half a byte, low half first (entry = scale * (code - 8)), the last byte filled with
       zero bits.
       TTE_PER_TABLE: r[0] coefficients. F32 4 bytes each. F16 2 bytes, times the scale of the column.
       I8 and I4: a byte c, then the codes, laid out as in a row of a matrix (below); coefficient =
       code * scale of the column * 2^(floor(c/8) - 16) * (1 + (c mod 8) / 8). ENTROPY: see kind 4.

     kind 2, index, where records differ in size.
       TTE_PER_TOKEN with flag bit 0: for every 16 tokens 8 bytes, the offset of the first of their
       records within section 1, then for each of these tokens r[1] .. r[d-1], one byte each, or two
       where a bond of this shape can exceed 255 (under max_rank, where set).
       ENTROPY: the shortest length (4), bits b that hold what another length is more (1), bytes w of an
       offset (1), two zeros; then for every 32 tokens an offset (w) and 4 b bytes, whose bits from the
       lowest on are 32 numbers of b bits: length less the shortest.

     kind 3, shared cores, TTE_PER_TABLE: the mean row as a matrix of 1 x dim; core k as a matrix of
       r[k-1] rows and n[k] r[k] columns, for k = 1..d; for F16, I8 and I4 an f32 scale for each of the
       r[0] coefficients. row = mean + y G_1 .. G_d, the first dim entries of it.
       A matrix: rows held in float32, 16, 8 and 4 bits (4 each, in this order); for each row of
       integers a scale, the upper half of an f32 (2); the rows. Integers of w bits are signed, entry =
       scale * code, and lie in blocks of eight 32-bit words: word l of a block holds, from its lowest
       bits on, entries l, 8 + l, 16 + l .. of the block's 256 / w. What does not fill a block follows
       entry by entry, 4-bit ones from the low half of a byte on.

     kind 4, code tables, ENTROPY:
         f32  s, the step
         f32  weight of step class 0; zero without row weights
           1  u, tables for half an octave
           1  number of step classes
           1  number of scale classes
           1  T, the number of tables
           1  scale class of a row at the columns' own scale (for writers)
           1  table of a coefficient whose deviation is one step (for writers)
           2  zeros
          ..  cumulative frequencies of the step classes, then of the scale classes: f_0, f_0 + f_1,
              .. 4096, two bytes each
        r[0]  c_j, a signed class for each coefficient
         2 T  for each table its offset in this section; the one before again where both are one
          ..  the tables: p, plain bits (1); number of symbols in Q0 and in Q1 (1 each); a zero (1);
              shifts of |value| in signed 64ths of a step, for index 1 in Q0, larger ones in Q0, then
              the same for Q1 (1 each); cumulative frequencies of Q0, then of Q1 (2 each)
       A record is a number x, most significant byte first, read by rANS. At first x = 0, and to fill
       x is: while x < 2^24 and a byte is left, x = 256 x + byte. A symbol is the one in whose
       interval x mod 4096 lies; with its start and frequency f, x becomes
       f floor(x / 4096) + x mod 4096 - start. n plain bits are the lowest n of x, which is divided by
       2^n. A record is read so:
         fill; the step class a; fill; the scale class b; fill; state = 0; then for each coefficient j:
         the table is c_j + u (a + b), cut to 0 .. T - 1; the quantizer q is 1 in states 2 to 5, else 0;
         the symbol h of Q_q; if it is the last one: fill, e = 5 plain bits (20 at most), fill, v =
         floor(e/2) plain bits, fill, v += 2^floor(e/2) * (e - floor(e/2) more plain bits), fill,
         h += 2^e + v - 1;
         i = h 2^p + p plain bits; one plain bit, 1 for negative, unless i = 0; fill.
         |coefficient| = (2 i - q + shift) s 2^(-a/2), 0 for i = 0. The next state is the number at
         place `state` (from 0) of 0, 4, 3, 7, 2, 6, 1, 5, its lowest bit flipped where i is odd.

==================================================================================================
METHOD
==================================================================================================

   A row x, padded with zeros to n1*..*nd entries and reshaped, is a tensor; TT-SVD writes it as
       x[i1, .., id] = G1[1, i1, :] G2[:, i2, :] .. Gd[:, id, 1],
   a matrix product state. The left-to-right sweep takes one singular value decomposition per
   bond, keeps the leading r[k] left singular vectors as G_k and passes diag(s) V^T on.

   A whole table is one such tensor with the token as its first mode, less the mean row:
       W[t, i1, .., id] = m[i1, .., id] + y[t, :] G1[:, i1, :] .. Gd[:, id, 1].
   The cores come from a sweep from the right and have orthonormal rows, so that an error in y[t]
   reaches the row with its norm unchanged. What is left to do is to spend bits on y: the same step
   for all of them, and an entropy coder that knows the deviation of each, which is reverse
   water-filling [CT06, ch. 10]; rows that matter more get finer steps.

   [Ose11]  I. V. Oseledets, Tensor-train decomposition, SIAM J. Sci. Comput. 33(5), 2011
   [Xu23]   M. Xu, Y. L. Xu, D. P. Mandic, TensorGPT, arXiv 2307.00526
   [CT06]   T. M. Cover, J. A. Thomas, Elements of Information Theory, 2nd ed., 2006
   [UGB82]  G. Ungerboeck, Channel coding with multilevel/phase signals, IEEE Trans. IT 28(1), 1982
   [MF90]   M. W. Marcellin, T. R. Fischer, Trellis coded quantization of memoryless and
            Gauss-Markov sources, IEEE Trans. Commun. 38(1), 1990
   [Dud13]  J. Duda, Asymmetric numeral systems, arXiv 1311.2540
   [GVL]    G. H. Golub, C. F. Van Loan, Matrix Computations, 4th ed., 2013
   [DK90]   J. Demmel, W. Kahan, Accurate singular values of bidiagonal matrices,
            SIAM J. Sci. Stat. Comput. 11(5), 1990
   [DN15]   J. Demmel, H. D. Nguyen, Parallel reproducible summation, IEEE Trans. Comput. 64(7)

==================================================================================================
*/

/* ================================================================================================
   API
   ============================================================================================= */
#ifndef TT_EMBED_H
#define TT_EMBED_H

#include <stddef.h>
#include <stdint.h>

#if defined(TT_EMBED_DECODE_ONLY) && !defined(TT_EMBED_NO_STDIO)
#define TT_EMBED_NO_STDIO
#endif
#if (defined(TT_EMBED_ONLY_LAYOUT) || defined(TT_EMBED_ONLY_CODING)) && !defined(TT_EMBED_DECODE_ONLY)
#error "TT_EMBED_ONLY_LAYOUT and TT_EMBED_ONLY_CODING go with TT_EMBED_DECODE_ONLY"
#endif

#if defined(TT_EMBED_STATIC)
#if defined(__GNUC__)
#define TTE_API static __attribute__((unused))
#else
#define TTE_API static
#endif
#else
#define TTE_API extern
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status ---------------------------------------------------------------------------------- */

typedef enum tte_status {
    TTE_OK = 0,
    TTE_ERR_ARGUMENT,    /* a NULL, a zero size, an option out of its range       */
    TTE_ERR_SHAPE,       /* modes do not cover dim, too many modes, overflow      */
    TTE_ERR_NOT_FINITE,  /* NaN or infinity in the input, or a result beyond float */
    TTE_ERR_MEMORY,      /* the allocator said no                                 */
    TTE_ERR_RANGE,       /* token id >= vocab                                     */
    TTE_ERR_BUDGET,      /* no setting meets the asked ratio or error             */
    TTE_ERR_FORMAT,      /* not a .tte image, or one that contradicts itself      */
    TTE_ERR_VERSION,     /* a newer format version, or what this build leaves out */
    TTE_ERR_TRUNCATED,   /* fewer bytes than the header promises                  */
    TTE_ERR_CHECKSUM,    /* bytes changed since they were written                 */
    TTE_ERR_IO,          /* the file system said no; errno is left as it was      */
    TTE_ERR_CANCELLED,   /* the progress callback asked to stop                   */
    TTE_ERR_CONVERGENCE  /* SVD iteration limit                                   */
} tte_status;

/* One short English sentence for a status, for any value of it; never NULL. */
TTE_API const char *tte_status_text(tte_status status);

/* ---- tensor train of one tensor --------------------------------------------------------------- */

#define TTE_MAX_MODES 16

/* The mode sizes n1..nd of a tensor, 1 <= d <= 16, each at least 1, product below 2^31. */
typedef struct tte_shape {
    int32_t modes;
    int32_t dim[TTE_MAX_MODES];
} tte_shape;

/* Floats in all cores together: sum of r[k-1]*n[k]*r[k]. `ranks` has modes + 1 entries, the first
   and the last 1. Returns 0 for an invalid shape or rank, or when the sum overflows. */
TTE_API size_t tte_core_len(const tte_shape *shape, const int32_t *ranks);

/* Floats of scratch for tte_reconstruct at these ranks; 0 is a valid answer for one or two modes. */
TTE_API size_t tte_reconstruct_len(const tte_shape *shape, const int32_t *ranks);

/* x[i1..id] = G1[1,i1,:] .. Gd[:,id,1] [Ose11, eq. 1.2], contracted from both ends to the middle.
     shape, ranks  as tte_decompose wrote them
     cores         in,  tte_core_len floats, G1|G2|..|Gd
     x             out, prod(dim) floats
     scratch       tte_reconstruct_len floats (may be NULL when that is 0)
   Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_SHAPE.
   Cost: prod(dim) * r multiplications with the rank r of the middle bond, less for the rest. */
TTE_API tte_status tte_reconstruct(const tte_shape *shape, const int32_t *ranks, const float *cores,
                                   float *x, float *scratch);

/* *result = <A, B> of two trains of the same shape, from the cores alone: E_k[a', b'] =
   sum over a, b, i of E_(k-1)[a, b] A_k[a, i, a'] B_k[b, i, b'] [Ose11, sec. 4.2].
     scratch  2 * max over k of ranks_a[k] * ranks_b[k] floats
   Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_SHAPE. Cost: sum of n * ra * rb * (ra + rb). */
TTE_API tte_status tte_inner(const tte_shape *shape, const int32_t *ranks_a, const float *cores_a,
                             const int32_t *ranks_b, const float *cores_b, float *result,
                             float *scratch);

#ifndef TT_EMBED_DECODE_ONLY

/* A bound on tte_core_len for any train of this shape with ranks up to max_rank (0: no cap). */
TTE_API size_t tte_core_cap(const tte_shape *shape, int max_rank);

/* Bytes of `work` for tte_decompose; 0 for an invalid shape. */
TTE_API size_t tte_decompose_work(const tte_shape *shape);

/* TT-SVD [Ose11, Alg. 1].
     x         in,  prod(dim) floats, row-major, first mode slowest
     max_rank  no bond gets more; 0: no cap
     eps       0: ranks are as large as cap and shape allow. Otherwise the smallest ranks with
               |x - x^| <= eps*|x|, where the error allowed to the bonds still to come is what the
               bonds before left over; rounding is inside eps from eps = 1e-5 on. A cap that cuts
               deeper wins over eps.
     ranks     out, modes + 1
     cores     out, room for tte_core_cap floats, tte_core_len of them written; all but the last
               left-orthonormal: sum over a, i of G[a,i,b]*G[a,i,c] = (b == c)
     work      tte_decompose_work bytes, any alignment
   Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_SHAPE, TTE_ERR_NOT_FINITE (also when |x| > 0.9999 FLT_MAX:
   the train's own error could make its tensor infinite), TTE_ERR_CONVERGENCE.
   Accuracy (tests/test_train.c): without truncation |x - x^| below 1e-5*|x|, at any scale.
   Cost: one SVD for each bond. */
TTE_API tte_status tte_decompose(const tte_shape *shape, const float *x, int max_rank, float eps,
                                 int32_t *ranks, float *cores, void *work);

/* ---- singular value decomposition -------------------------------------------------------------- */

/* a = u * diag(s) * vt with k = min(rows, cols), all row-major.
     rows, cols  at least 1, product below 2^31
     a           in,  rows x cols
     u           out, rows x k, orthonormal columns, or NULL
     s           out, k, descending, none negative
     vt          out, k x cols, orthonormal rows, or NULL; in each row the entry of largest
                 magnitude (the first of them) is positive, which fixes the signs of u as well
     work        tte_svd_*_work bytes, any alignment
   Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_SHAPE, TTE_ERR_NOT_FINITE (also when a singular value
   exceeds the type's range), TTE_ERR_CONVERGENCE.
   Method: Householder bidiagonalization [GVL 5.4.8], implicit-shift QR [GVL 8.6.3] with zero shifts
   and the stopping criteria of [DK90]. The matrix is scaled by a power of two first, so that
   entries from the smallest to the largest finite number are safe.
   Accuracy (tests/test_svd.c): |a - u s vt| / (|a| max(rows, cols) ulp), |I - u'u| / (rows ulp) and
   |I - vt vt'| / (cols ulp) below 6; of an upper bidiagonal matrix every singular value to a
   relative error of order n ulp. Cost: about 4 m n^2 + 8 n^3 flops for values, 4 times that in all. */
TTE_API size_t tte_svd_f32_work(int rows, int cols);
TTE_API tte_status tte_svd_f32(int rows, int cols, const float *a, float *u, float *s, float *vt,
                               void *work);
TTE_API size_t tte_svd_f64_work(int rows, int cols);
TTE_API tte_status tte_svd_f64(int rows, int cols, const double *a, double *u, double *s,
                               double *vt, void *work);

#endif /* TT_EMBED_DECODE_ONLY */

/* ---- layouts, codings, images ------------------------------------------------------------------ */

typedef enum tte_layout {
    TTE_PER_TOKEN = 0,   /* every row its own train [Xu23]: rows stay independent                 */
    TTE_PER_TABLE = 1    /* one train for the whole table: cores shared by all tokens, and for each
                            token a record of coefficients that decodes on its own               */
} tte_layout;

typedef enum tte_coding {
    TTE_F32 = 0,         /* core entries as float32                                               */
    TTE_F16 = 1,         /* as float16, round to nearest even                                     */
    TTE_I8 = 2,          /* codes -127..127; scales for each core (TTE_PER_TABLE: row and column) */
    TTE_I4 = 3,          /* codes -7..7, two in a byte; scales as TTE_I8                          */
    TTE_ENTROPY = 4      /* trellis-coded and entropy-coded; TTE_PER_TABLE only                   */
} tte_coding;

typedef struct tte_image {   /* owned bytes; written to a file as they are, they are the .tte file */
    void  *data;
    size_t size;
} tte_image;

/* A view into an image that the caller keeps: owns nothing, may be copied. Its members are for the
   library; read them through tte_get_info. */
typedef struct tte_table {
    const unsigned char *data, *records, *index;  /* index: NULL when all records have one size   */
    const unsigned char *shared, *codes;          /* cores of the whole table; its code tables     */
    size_t  size, vocab, records_size, record_size;
    size_t  numbers;                              /* of a record: core entries, or coefficients    */
    size_t  work;                                 /* floats of intermediate results for one row     */
    int32_t dim, max_rank;
    uint32_t index_entry;                         /* bytes of a token's ranks in the index          */
    float   eps;
    tte_layout layout;
    tte_coding coding;
    tte_shape  shape;
    int32_t ranks[TTE_MAX_MODES + 1];             /* largest at each bond                         */
} tte_table;

#ifndef TT_EMBED_DECODE_ONLY

/* ---- compressing a table ------------------------------------------------------------------------ */

/* Called now and then with a fraction rising to 1; non-zero stops with TTE_ERR_CANCELLED. */
typedef int (*tte_progress_fn)(void *user, double fraction);

/* Write `count` rows from `first` to dst (count x dim). May be asked for the same rows again.
   Returns 0, or non-zero when it cannot (then TTE_ERR_IO). Called from one thread. */
typedef int (*tte_rows_fn)(void *user, size_t first, size_t count, float *dst);

typedef struct tte_options {       /* all zero: no budget, so rows are kept whole in float32      */
    tte_layout layout;
    tte_coding coding;
    tte_shape  shape;              /* modes == 0: the library chooses for dim and budget, trying
                                      candidates on a sample of rows                             */
    int32_t    max_rank;           /* 0: no cap. TTE_PER_TABLE: of the coefficients, too          */
    float      eps;                /* 0: none; up to 1: bound on the relative error of what lookup
                                      returns, coding included: of every row (TTE_PER_TOKEN), of the
                                      whole table (TTE_PER_TABLE)                                */
    float      ratio;              /* 0: none; at least this many times smaller than float32, every
                                      byte of the image counted, at the smallest error found      */
    tte_progress_fn progress;      /* NULL: none                                                 */
    void           *progress_user;
    const float    *row_weight;    /* TTE_PER_TABLE: vocab numbers > 0; the sum of weight * |error|^2
                                      is made small, and eps bounds its root over that of weight *
                                      |row|^2. TTE_ENTROPY gives rows steps to match, within a factor
                                      of 2^15 in weight; other codings only choose their cores so  */
    const struct tte_table *like;  /* TTE_PER_TABLE: mean, cores, steps and code tables are those of
                                      this table, whose coding has to be the same; ratio, eps and
                                      max_rank stay 0. Such images can be merged                 */
} tte_options;

/* Compress a table into a new image; free it with tte_free.
     table    in,  vocab x dim
     rows     or a callback that brings rows; beside the image the library then holds about a
              thousand rows, never the table
     options  NULL: all zero
     out      out, written only on success
   TTE_PER_TOKEN: with max_rank or ratio every row gets the same ranks; with eps each row gets the
   smallest ranks that meet it. Given eps and a ratio or a cap, all must hold, or TTE_ERR_BUDGET. F16,
   I8 and I4 hold rows whose norm is within about 1e-4^d .. 1e4^d (d modes): larger ones are
   TTE_ERR_BUDGET, smaller ones lose digits and at last become zeros, which the recorded errors show.
   A row whose norm exceeds the range of float is TTE_ERR_NOT_FINITE.
   TTE_PER_TABLE reads the rows at least twice. TTE_ENTROPY meets ratio or eps from below by at most
   one per cent, on tables of some tens of kilobytes and more (steps do not get finer than 2^-15 of the
   largest deviation); with neither, it adds one per cent to what max_rank cuts. Other codings keep as
   many leading coefficients as fit, or as few as eps allows. It holds about 8 dim x dim doubles and 12
   megabytes, the image, and for TTE_ENTROPY two and a half times the image's size more: records grow in
   a buffer, and the best try so far is kept while another is made.
   Cost: dim^2 / 2 multiplications a row for the moments, 2 dim * r[0] for coefficients and errors,
   about 15 ns for each coefficient that is entropy-coded, one SVD of dim x dim.
   Accuracy (tests/test_entropy.c): within half a bit a dimension of the rate that a Gaussian table with
   the same covariance needs at that error, every byte counted, from a few thousand rows on.
   Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_SHAPE (modes do not cover dim; vocab beyond 2^32 - 1,
   dim beyond 2^31 - 1, for TTE_PER_TABLE beyond 46,340), TTE_ERR_NOT_FINITE, TTE_ERR_MEMORY,
   TTE_ERR_BUDGET, TTE_ERR_CANCELLED, TTE_ERR_CONVERGENCE, and for rows TTE_ERR_IO.
   The same rows and options give the same bytes with one toolchain, on any number of threads. */
TTE_API tte_status tte_compress(const float *table, size_t vocab, size_t dim,
                                const tte_options *options, tte_image *out);
TTE_API tte_status tte_compress_rows(tte_rows_fn rows, void *user, size_t vocab, size_t dim,
                                     const tte_options *options, tte_image *out);

/* Free an image and set it to {NULL, 0}; NULL and a freed image are harmless. */
TTE_API void tte_free(tte_image *image);

/* ---- growing and joining: a new image, made with the settings that t records ------------------- */

/* The table with `count` rows more at its end. TTE_PER_TOKEN: the same bytes as compressing all rows
   at once with those settings. TTE_PER_TABLE: cores, steps and tables stay as they are; rows unlike
   all that came before cost more bytes, or lose more where coefficients are missing, and the recorded
   errors show it. Returns as tte_compress, TTE_ERR_BUDGET for rows beyond the coding's range. */
TTE_API tte_status tte_append(const tte_table *t, const float *rows, size_t count, tte_image *out);

/* The table with one row replaced. What the old row had contributed to the recorded errors is not
   known any more; they become upper bounds. Returns as tte_compress, and TTE_ERR_RANGE. */
TTE_API tte_status tte_replace(const tte_table *t, uint32_t token, const float *row,
                               tte_image *out);

/* Shards of one table, in order, into one image; the same bytes as compressing it whole (TTE_PER_TABLE:
   compressing it whole with the same `like`).
     parts  in, `count` tables with equal dim, coding, shape, max_rank and eps, and without eps
            equal ranks; TTE_PER_TABLE: with the same shared cores and code tables, which `like`
            gives them; else TTE_ERR_ARGUMENT
   Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_SHAPE, TTE_ERR_MEMORY. */
TTE_API tte_status tte_merge(const tte_table *parts, size_t count, tte_image *out);

/* The table in another coding, shape and ranks of every row unchanged: TTE_ENTROPY to TTE_I8 or TTE_I4,
   for example, to scan the vocabulary often. Made from what t holds, since nothing else is left of
   the original: the recorded errors become upper bounds, what t records and what the new coding adds.
   To TTE_ENTROPY the step is so fine that it adds a tenth of t's own error, or 0.0001;
   coarser where one coefficient is very much larger than the others.
   Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_NOT_FINITE, TTE_ERR_MEMORY, TTE_ERR_SHAPE, TTE_ERR_BUDGET
   (beyond the range of the coding), TTE_ERR_CONVERGENCE. */
TTE_API tte_status tte_recode(const tte_table *t, tte_coding coding, tte_image *out);

#endif /* TT_EMBED_DECODE_ONLY */

/* ---- reading: the file is the structure --------------------------------------------------------- */

typedef struct tte_info {
    size_t vocab, dim, bytes;        /* bytes: the whole image                                    */
    tte_layout layout;
    tte_coding coding;
    tte_shape shape;
    int32_t ranks[TTE_MAX_MODES + 1];  /* largest at each bond; [0] of TTE_PER_TABLE: coefficients */
    double ratio;                    /* vocab*dim*4 / bytes                                       */
    double mean_numbers;             /* core entries per token, the papers' count                 */
    double rel_error;                /* |W - W^|_F / |W|_F, measured at compression               */
    double max_row_error;            /* the worst row's relative error                            */
} tte_info;

/* Open an image in place: no allocation, no copy. Safe on untrusted bytes; rows may be garbage.
     data  in, `size` bytes, 8-byte aligned, unchanged as long as t is used
   Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_FORMAT (also for bytes after the image's end),
   TTE_ERR_VERSION, TTE_ERR_TRUNCATED (also for any 7 bytes or fewer), TTE_ERR_CHECKSUM (of the header).
   Reads the header, and where there are any the index, section 4, and of each matrix in section 3 how
   many rows its runs have; no record. */
TTE_API tte_status tte_open(tte_table *t, const void *data, size_t size);

/* Checksums of all sections. Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_CHECKSUM. Reads every byte. */
TTE_API tte_status tte_verify(const tte_table *t);

/* What the header records. Returns TTE_OK, TTE_ERR_ARGUMENT. */
TTE_API tte_status tte_get_info(const tte_table *t, tte_info *info);

/* Floats of scratch that are enough for any call below. Unless TT_EMBED_DECODE_ONLY is defined,
   TTE_PER_TABLE has room in it for 64 rows (fewer where they are long), their coefficients and as many
   columns of the shared cores; with OpenMP everything is there for eight threads. */
TTE_API size_t tte_scratch_len(const tte_table *t);

/* One row.
     row      out, dim floats
     scratch  tte_scratch_len floats
   Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_RANGE. Cost: decoding the record, then about dim * r
   multiplications, r the rank in the middle, for TTE_PER_TABLE the number of coefficients (the shared
   cores are read once); some index entries more where records differ in size. */
TTE_API tte_status tte_lookup(const tte_table *t, uint32_t token, float *row, float *scratch);

/* rows[i] = the row of tokens[i], bit for bit as tte_lookup gives it (a damaged image may give NaN, of
   which all are alike); `count` may be 0.
     rows  out, count x dim. Returns as tte_lookup; no row is written if any token is out of range.
   A token that comes again among 512 is decoded once. Rows of TTE_PER_TABLE share the work on the shared
   cores, 64 at a time: for as many tokens this is twice as fast as tte_lookup, and more. (Where
   TT_EMBED_DECODE_ONLY is defined, it is tte_lookup for each token.) */
TTE_API tte_status tte_lookup_batch(const tte_table *t, const uint32_t *tokens, size_t count,
                                    float *rows, float *scratch);

/* *result = inner product of two rows as tte_lookup gives them, to float rounding. From the cores
   alone for TTE_PER_TOKEN where the modes' product is dim; else the rows are contracted, since
   truncation leaves small numbers in the padding that do not belong to them. (Where TT_EMBED_DECODE_ONLY is
   defined, always from the rows.) Returns as tte_lookup. */
TTE_API tte_status tte_inner_tokens(const tte_table *t, uint32_t a, uint32_t b, float *result,
                                    float *scratch);

/* out[i] = <hidden, row first + i> for i < count: the output layer of a model with a tied table.
     hidden  in, dim floats;  out  out, count floats
   The vector meets the cores one after the other; no row is built. A score differs from the product
   with the row that tte_lookup gives by float rounding, relative to |hidden| and the longest row, the
   mean row included. Returns as tte_lookup, TTE_ERR_RANGE when first + count exceeds vocab,
   TTE_ERR_NOT_FINITE.
   Cost for each token: about dim * r[1]; TTE_PER_TABLE: r[0], after dim * r[0] once. */
TTE_API tte_status tte_logits(const tte_table *t, const float *hidden, uint32_t first,
                              uint32_t count, float *out, float *scratch);

/* The k tokens with the largest inner product, descending; ties in ascending order of token.
     query   in, dim floats;  k  1..vocab;  tokens, scores  out, k each
   NaN scores, which only a damaged image gives, rank as minus infinity.
   Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_NOT_FINITE. */
TTE_API tte_status tte_top_k(const tte_table *t, const float *query, uint32_t k, uint32_t *tokens,
                             float *scores, float *scratch);

#ifndef TT_EMBED_NO_STDIO

/* ---- files ------------------------------------------------------------------------------------- */

/* Write an image to `path`: to a temporary file beside it (path.tmp00 .. path.tmp99), then renamed over it.
   On POSIX systems it goes through to the disk first, and the path holds the old file or the new one,
   whatever happens to process or power; what a killed process left behind under such a name, a later
   tte_save of this path removes. Then the folder goes through to the disk, so that after TTE_OK the new
   file survives a power cut, too; not where the folder may not be read or its file system cannot do that,
   which is no error. When the disk fails only then, the status is TTE_ERR_IO and the path holds the new file.
   Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_MEMORY, TTE_ERR_IO. */
TTE_API tte_status tte_save(const char *path, const tte_image *image);

/* Read an image and verify it; free it with tte_free. Returns TTE_OK, TTE_ERR_ARGUMENT,
   TTE_ERR_MEMORY, TTE_ERR_IO, and all that tte_open and tte_verify say. */
TTE_API tte_status tte_load(const char *path, tte_image *out);

#endif /* TT_EMBED_NO_STDIO */

#ifdef __cplusplus
}
#endif

#endif /* TT_EMBED_H */

/* Stop here if you only want to use the library. */

#ifdef TT_EMBED_IMPLEMENTATION
#if !defined(TTEI_IMPLEMENTED) || defined(TTEI_REAL)
#ifndef TTEI_REAL
#define TTEI_IMPLEMENTED

#include <string.h>
#ifndef TT_EMBED_DECODE_ONLY
#include <math.h>
#if !defined(TT_EMBED_MALLOC) && !defined(TT_EMBED_FREE)
#include <stdlib.h>
#define TT_EMBED_MALLOC(size) malloc(size)
#define TT_EMBED_FREE(pointer) free(pointer)
#elif !defined(TT_EMBED_MALLOC) || !defined(TT_EMBED_FREE)
#error "tt_embed.h: define both TT_EMBED_MALLOC and TT_EMBED_FREE, or neither"
#endif
#ifdef _OPENMP
#include <omp.h>
#endif
#endif /* TT_EMBED_DECODE_ONLY */

#ifdef TT_EMBED_ASSERT
#define TTEI_ASSERT(condition) TT_EMBED_ASSERT(condition)
#else
#define TTEI_ASSERT(condition) ((void)0)
#endif

/* The layout and the coding of an image, or the only ones that this build reads: where these are constants,
   the compiler leaves out what the others need. */
static tte_coding ttei_coding(tte_coding coding)
{
#if defined(TT_EMBED_ONLY_CODING)
    coding = (TT_EMBED_ONLY_CODING);
#endif
    return coding;
}

static int ttei_is_table(tte_layout layout)
{
#if defined(TT_EMBED_ONLY_LAYOUT)
    layout = (TT_EMBED_ONLY_LAYOUT);
#elif defined(TT_EMBED_ONLY_CODING)
    if (ttei_coding(TTE_F32) == TTE_ENTROPY) layout = TTE_PER_TABLE;
#endif
    return layout == TTE_PER_TABLE;
}

const char *tte_status_text(tte_status status)
{
    switch (status) {
    case TTE_OK:              return "ok";
    case TTE_ERR_ARGUMENT:    return "an argument is NULL or out of its range";
    case TTE_ERR_SHAPE:       return "modes that do not fit dim, or a size overflow";
    case TTE_ERR_NOT_FINITE:  return "NaN or infinity in the input or the result";
    case TTE_ERR_RANGE:       return "token id beyond the vocabulary";
    case TTE_ERR_FORMAT:      return "not a .tte image, or not a sound one";
    case TTE_ERR_VERSION:     return "a newer version, or a kind that this build leaves out";
    case TTE_ERR_TRUNCATED:   return "the image is shorter than its header says";
    case TTE_ERR_CHECKSUM:    return "checksum mismatch: bytes have changed";
#ifndef TT_EMBED_DECODE_ONLY
    case TTE_ERR_MEMORY:      return "out of memory";
    case TTE_ERR_BUDGET:      return "no setting meets the asked ratio or error";
    case TTE_ERR_IO:          return "the file system refused";
    case TTE_ERR_CANCELLED:   return "cancelled by the progress callback";
    case TTE_ERR_CONVERGENCE: return "the singular value decomposition did not converge";
#else
    default: break;  /* reading gives no others */
#endif
    }
    return "unknown status";
}

/* ================================================================================================
   CHECKED ARITHMETIC AND BYTE ORDER
   Sizes saturate at TTEI_SIZE_MAX instead of wrapping, so that a chain of sums and products needs
   one test at its end. Bytes become numbers here and nowhere else.
   ============================================================================================= */

#ifndef TTEI_SIZE_MAX
#define TTEI_SIZE_MAX SIZE_MAX  /* the tests lower it to walk the branches of overflow */
#endif

#ifndef TTEI_SVD_SWEEPS
#define TTEI_SVD_SWEEPS 60      /* QR steps for each singular value; the tests set 0 */
#endif

static size_t ttei_add(size_t a, size_t b)
{
    return a > TTEI_SIZE_MAX || b > TTEI_SIZE_MAX - a ? TTEI_SIZE_MAX : a + b;
}

static size_t ttei_mul(size_t a, size_t b)
{
#if SIZE_MAX <= 0xffffffffu
    const uint64_t product = (uint64_t)a * b;
    return product > TTEI_SIZE_MAX ? TTEI_SIZE_MAX : (size_t)product;
#else
    const int small = (a | b) >> 4 * sizeof(size_t) == 0;  /* both below the root of SIZE_MAX */
    if (small && TTEI_SIZE_MAX == SIZE_MAX) return a * b;  /* spares a division               */
    return a != 0 && b > TTEI_SIZE_MAX / a ? TTEI_SIZE_MAX : a * b;
#endif
}

/* More rows than a uint32_t counts; in two shifts, since a size_t may have 32 bits. */
static int ttei_too_many(size_t vocab) { return vocab >> 16 >> 16 != 0; }

static size_t ttei_max(size_t a, size_t b) { return a > b ? a : b; }
static size_t ttei_min(size_t a, size_t b) { return a < b ? a : b; }

/* A byte as a signed number, without a branch that codes would make unpredictable. */
static int ttei_signed(int byte) { return (byte ^ 128) - 128; }

static uint32_t ttei_get16(const unsigned char *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t ttei_get32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static uint64_t ttei_get64(const unsigned char *p)
{
    return (uint64_t)ttei_get32(p) | (uint64_t)ttei_get32(p + 4) << 32;
}
/* A number that must be below 2^31; any other reads as a negative one, which fails every test. */
static int32_t ttei_get_count(const unsigned char *p)
{
    const uint32_t bits = ttei_get32(p);
    int32_t value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
/* A size beyond what this machine can address reads as TTEI_SIZE_MAX, which fails every test. */
static size_t ttei_get_size(const unsigned char *p)
{
    uint64_t value = ttei_get64(p);
    return value > TTEI_SIZE_MAX ? TTEI_SIZE_MAX : (size_t)value;
}
static float ttei_get_f32(const unsigned char *p)
{
    uint32_t bits = ttei_get32(p);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static double ttei_get_f64(const unsigned char *p)
{
    uint64_t bits = ttei_get64(p);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* float16: 1 sign, 5 exponent, 10 fraction bits. Multiplying the fraction by a power of two leaves
   the subnormal numbers to the floating-point unit. */
static float ttei_f16_decode(uint32_t half)
{
    uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 1023u, bits;
    float value;
    if (exponent == 0) {
        value = (float)fraction * (1.0f / 16777216.0f);
        return sign ? -value : value;
    }
    bits = sign | (exponent == 31u ? 0x7f800000u : (exponent + 112u) << 23) | fraction << 13;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Exponent bits all set: NaN or infinity. Comparisons would vanish under -ffast-math. */
static int ttei_finite_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7f800000u) != 0x7f800000u;
}

#ifndef TT_EMBED_DECODE_ONLY

static int ttei_finite_f64(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits >> 52 & 0x7ffu) != 0x7ffu;
}

static void ttei_put16(unsigned char *p, uint32_t value)
{
    p[0] = (unsigned char)(value & 255u);
    p[1] = (unsigned char)(value >> 8 & 255u);
}
static void ttei_put32(unsigned char *p, uint32_t value)
{
    ttei_put16(p, value & 0xffffu);
    ttei_put16(p + 2, value >> 16);
}
static void ttei_put64(unsigned char *p, uint64_t value)
{
    ttei_put32(p, (uint32_t)(value & 0xffffffffu));
    ttei_put32(p + 4, (uint32_t)(value >> 32));
}
static void ttei_put_f32(unsigned char *p, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    ttei_put32(p, bits);
}
static void ttei_put_f64(unsigned char *p, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    ttei_put64(p, bits);
}

/* Round to nearest float16, ties to even; beyond 65504 gives infinity, which the caller tests for. */
static uint32_t ttei_f16_encode(float value)
{
    uint32_t bits, sign, magnitude, half, rest;
    memcpy(&bits, &value, sizeof bits);
    sign = bits >> 16 & 0x8000u;
    magnitude = bits & 0x7fffffffu;
    if (magnitude >= 0x47800000u) return sign | 0x7c00u;            /* 65536 and more              */
    if (magnitude < 0x38800000u) {                                  /* below 2^-14: subnormal half  */
        uint32_t shift = 126u - (magnitude >> 23);                  /* bits to drop for 2^-24 units */
        uint32_t fraction = (magnitude & 0x7fffffu) | 0x800000u;
        if (shift > 24u) return sign;
        half = fraction >> shift;
        rest = fraction & ((1u << shift) - 1u);
        if (rest > 1u << (shift - 1u) || (rest == 1u << (shift - 1u) && (half & 1u))) ++half;
        return sign | half;
    }
    half = (magnitude - 0x38000000u) >> 13;
    rest = magnitude & 0x1fffu;
    if (rest > 0x1000u || (rest == 0x1000u && (half & 1u))) ++half;  /* may carry into infinity      */
    return sign | half;
}

/* Carving one block of memory into arrays. The same function that carves also answers the size
   query, with a NULL base; TTEI_ALIGN - 1 bytes of slack let the caller's block start anywhere. */
#define TTEI_ALIGN 64u
typedef struct ttei_carve {
    unsigned char *base;
    size_t used;
} ttei_carve;

static ttei_carve ttei_carve_begin(void *block)
{
    ttei_carve carve = {NULL, TTEI_ALIGN - 1u};
    if (block != NULL) {
        carve.used = (TTEI_ALIGN - (size_t)((uintptr_t)block % TTEI_ALIGN)) % TTEI_ALIGN;
        carve.base = (unsigned char *)block;
    }
    return carve;
}

static void *ttei_take(ttei_carve *carve, size_t count, size_t width)
{
    size_t at = carve->used, bytes = ttei_mul(count, width);
    bytes = ttei_mul(ttei_add(bytes, TTEI_ALIGN - 1u) / TTEI_ALIGN, TTEI_ALIGN);
    carve->used = ttei_add(at, bytes);
    return carve->base == NULL ? NULL : carve->base + at;
}

#endif /* TT_EMBED_DECODE_ONLY */

/* ================================================================================================
   VECTOR KERNELS
   The text between here and the end of the next room is compiled twice, with TTEI_REAL as float
   and as double: the header includes itself for that. TTEI_N(dot) is ttei_dot_f32 or ttei_dot_f64.
   ============================================================================================= */

/* Eight floats side by side, where the compiler knows vectors; elsewhere one, and the same text. Sums
   and products then mean the same, entry by entry. TTEI_CLONES compiles a function once more for AVX2
   and lets the processor choose at run time; it leaves out fused multiply-add, whose rounding differs,
   so that the same rows give the same image on all machines. */
#if !defined(TT_EMBED_DECODE_ONLY) && (defined(__SSE2_MATH__) || defined(__ARM_NEON)) && \
    (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9))
#define TTEI_LANES 8
typedef float ttei_lanes __attribute__((vector_size(32), may_alias));
typedef int32_t ttei_lane_bits __attribute__((vector_size(32), may_alias));
typedef float ttei_quad __attribute__((vector_size(16), may_alias));  /* floats to be widened */
typedef double ttei_quad_f64 __attribute__((vector_size(32), may_alias));
#define TTEI_QUAD 4
#define TTEI_WIDEN(quad) __builtin_convertvector(quad, ttei_quad_f64)
#define TTEI_LESS(a, b) ((ttei_lane_bits)((a) < (b)))
#define TTEI_SELECT(mask, yes, no)                                              \
    ((ttei_lanes)(((mask) & (ttei_lane_bits)(yes)) | (~(mask) & (ttei_lane_bits)(no))))
#define TTEI_INLINE static inline __attribute__((always_inline))
#elif !defined(TT_EMBED_DECODE_ONLY)
#define TTEI_LANES 1
typedef float ttei_lanes;
typedef int32_t ttei_lane_bits;
typedef float ttei_quad;
typedef double ttei_quad_f64;
#define TTEI_QUAD 1
#define TTEI_WIDEN(quad) ((double)(quad))
#define TTEI_LESS(a, b) (-(int32_t)((a) < (b)))
#define TTEI_SELECT(mask, yes, no) ((mask) != 0 ? (yes) : (no))
#define TTEI_INLINE static
#else
#define TTEI_INLINE static
#endif
/* Kept out of line, so that its frame is gone before deeper calls are made: a decoder's stack is short. With
   one layout it is short enough without. */
#if defined(TT_EMBED_DECODE_ONLY) && !defined(TT_EMBED_ONLY_LAYOUT) && defined(__GNUC__)
#define TTEI_NOINLINE __attribute__((noinline))
#else
#define TTEI_NOINLINE
#endif
#define TTEI_LANE_TINY 1e-30f  /* beside entries of order 1, the square of nothing */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(TT_EMBED_DECODE_ONLY)
#define TTEI_AVX2 __attribute__((target("avx2")))
#endif
/* Before version 18 clang gave clones of static functions public names, so that files with private copies
   of the library could not be linked; before 14 it had none. */
#if defined(TTEI_AVX2) && defined(__clang__) && \
    (__clang_major__ < 14 || (__clang_major__ < 18 && defined(TT_EMBED_STATIC)))
#define TTEI_CLONES
#define TTEI_CLONES_FUSED
#elif defined(TTEI_AVX2)
#define TTEI_CLONES __attribute__((target_clones("avx2", "default")))
#define TTEI_CLONES_FUSED __attribute__((target_clones("fma", "default")))
#else
#define TTEI_CLONES
#define TTEI_CLONES_FUSED
#endif
/* Rows come from two loops, one for a single row, one for many, which must agree to the last bit, and with
   those of other machines: gcc, where the processor has fused multiply-add, would fuse as it finds each
   loop. clang fuses what stands in one expression, in both. */
#if defined(__GNUC__) && !defined(__clang__)
#define TTEI_UNFUSED __attribute__((optimize("fp-contract=off")))
#else
#define TTEI_UNFUSED
#endif

#ifndef TT_EMBED_DECODE_ONLY
/* Length of the hypotenuse: directly where the squares stay in the type's range, else with care. */
static float ttei_hypot_f32(float x, float y)
{
    const float square = x * x + y * y;
    if (square > 1e-30f && square < 1e30f) return sqrtf(square);
    return (float)sqrt((double)x * (double)x + (double)y * (double)y);
}
static double ttei_hypot_f64(double x, double y)
{
    const double square = x * x + y * y;
    return square > 1e-280 && square < 1e280 ? sqrt(square) : hypot(x, y);
}
#endif

#define TTEI_JOIN_(a, b) a##b
#define TTEI_JOIN(a, b) TTEI_JOIN_(a, b)
#define TTEI_N(name) TTEI_JOIN(ttei_##name##_, TTEI_TYPE)

#ifndef TT_EMBED_DECODE_ONLY
#include <float.h>
#define TTEI_REAL float
#define TTEI_TYPE f32
#define TTEI_BITS int32_t
#define TTEI_EPSILON FLT_EPSILON
#define TTEI_TINY FLT_MIN
#define TTEI_SQUARE_MIN 1e-30f  /* sums of squares between it and its inverse are accurate */
#include "tt_embed.h"
#undef TTEI_REAL
#undef TTEI_TYPE
#undef TTEI_BITS
#undef TTEI_EPSILON
#undef TTEI_TINY
#undef TTEI_SQUARE_MIN
#define TTEI_REAL double
#define TTEI_TYPE f64
#define TTEI_BITS int64_t
#define TTEI_EPSILON DBL_EPSILON
#define TTEI_TINY DBL_MIN
#define TTEI_SQUARE_MIN 1e-280
#include "tt_embed.h"
#undef TTEI_REAL
#undef TTEI_TYPE
#undef TTEI_BITS
#undef TTEI_EPSILON
#undef TTEI_TINY
#undef TTEI_SQUARE_MIN
#else
static int ttei_all_finite_f32(const float *x, size_t n)
{
    size_t i;
    for (i = 0; i < n; ++i)
        if (!ttei_finite_f32(x[i])) return 0;
    return 1;
}
#endif

#else /* TTEI_REAL: the text for one type */

#ifndef TT_EMBED_DECODE_ONLY

/* As many numbers as one vector holds; TTEI_WIDTH of them. */
#if TTEI_LANES > 1
typedef TTEI_REAL TTEI_N(vec) __attribute__((vector_size(32), may_alias));
typedef TTEI_BITS TTEI_N(bits) __attribute__((vector_size(32), may_alias));
#define TTEI_BITS_LESS(a, b) ((a) < (b))
#else
typedef TTEI_REAL TTEI_N(vec);
typedef TTEI_BITS TTEI_N(bits);
#define TTEI_BITS_LESS(a, b) (-(TTEI_BITS)((a) < (b)))
#endif
#define TTEI_WIDTH (sizeof(TTEI_N(vec)) / sizeof(TTEI_REAL))

/* y += alpha * x */
TTEI_INLINE void TTEI_N(axpy)(size_t n, TTEI_REAL alpha, const TTEI_REAL *x, TTEI_REAL *y)
{
    size_t i = 0;
    TTEI_N(vec) a, b;
    for (; i + TTEI_WIDTH <= n; i += TTEI_WIDTH) {
        memcpy(&a, x + i, sizeof a);
        memcpy(&b, y + i, sizeof b);
        b += alpha * a;
        memcpy(y + i, &b, sizeof b);
    }
    for (; i < n; ++i) y[i] += alpha * x[i];
}

/* Sum of x[i] * y[i], in sums that do not wait for each other. */
TTEI_INLINE TTEI_REAL TTEI_N(dot)(size_t n, const TTEI_REAL *x, const TTEI_REAL *y)
{
    TTEI_N(vec) s0 = {0}, s1 = {0}, a, b;
    TTEI_REAL part[TTEI_WIDTH], sum = 0;
    size_t i = 0, lane;
    for (; i + 2 * TTEI_WIDTH <= n; i += 2 * TTEI_WIDTH) {
        memcpy(&a, x + i, sizeof a);
        memcpy(&b, y + i, sizeof b);
        s0 += a * b;
        memcpy(&a, x + i + TTEI_WIDTH, sizeof a);
        memcpy(&b, y + i + TTEI_WIDTH, sizeof b);
        s1 += a * b;
    }
    if (i > 0) {
        s0 += s1;
        memcpy(part, &s0, sizeof part);
        for (lane = 0; lane < TTEI_WIDTH; ++lane) sum += part[lane];
    }
    for (; i < n; ++i) sum += x[i] * y[i];
    return sum;
}

/* x *= alpha */
TTEI_INLINE void TTEI_N(multiply)(size_t n, TTEI_REAL alpha, TTEI_REAL *x)
{
    size_t i = 0;
    TTEI_N(vec) a;
    for (; i + TTEI_WIDTH <= n; i += TTEI_WIDTH) {
        memcpy(&a, x + i, sizeof a);
        a *= alpha;
        memcpy(x + i, &a, sizeof a);
    }
    for (; i < n; ++i) x[i] *= alpha;
}

/* `width` (1 or 4) vectors from and to memory. */
TTEI_INLINE void TTEI_N(load)(int width, const TTEI_REAL *x, TTEI_N(vec) *a, TTEI_N(vec) *b,
                              TTEI_N(vec) *c, TTEI_N(vec) *d)
{
    memcpy(a, x, sizeof *a);
    if (width == 1) return;
    memcpy(b, x + TTEI_WIDTH, sizeof *b);
    memcpy(c, x + 2 * TTEI_WIDTH, sizeof *c);
    memcpy(d, x + 3 * TTEI_WIDTH, sizeof *d);
}
TTEI_INLINE void TTEI_N(store)(int width, TTEI_REAL *x, const TTEI_N(vec) *a, const TTEI_N(vec) *b,
                               const TTEI_N(vec) *c, const TTEI_N(vec) *d)
{
    memcpy(x, a, sizeof *a);
    if (width == 1) return;
    memcpy(x + TTEI_WIDTH, b, sizeof *b);
    memcpy(x + 2 * TTEI_WIDTH, c, sizeof *c);
    memcpy(x + 3 * TTEI_WIDTH, d, sizeof *d);
}

TTEI_INLINE TTEI_REAL TTEI_N(abs)(TTEI_REAL x) { return x < 0 ? -x : x; }

/* The magnitude bits of the largest entry: as integers they are ordered like the magnitudes, and
   infinity and NaN come after all finite numbers. Comparing the numbers themselves would lose NaN,
   and under -ffast-math infinity as well. */
TTEI_CLONES static TTEI_REAL TTEI_N(top)(size_t n, const TTEI_REAL *x)
{
    const TTEI_BITS magnitude = (TTEI_BITS)(UINT64_MAX >> (65 - 8 * sizeof(TTEI_BITS)));
    TTEI_N(bits) top0 = {0}, top1 = {0}, a, b, less;
    TTEI_BITS part[2 * TTEI_WIDTH], bits, most = 0;
    TTEI_REAL top;
    size_t i = 0, lane;
    for (; i + 2 * TTEI_WIDTH <= n; i += 2 * TTEI_WIDTH) {
        memcpy(&a, x + i, sizeof a);
        memcpy(&b, x + i + TTEI_WIDTH, sizeof b);
        a &= magnitude;
        b &= magnitude;
        less = TTEI_BITS_LESS(top0, a);
        top0 = (top0 & ~less) | (a & less);
        less = TTEI_BITS_LESS(top1, b);
        top1 = (top1 & ~less) | (b & less);
    }
    memcpy(part, &top0, sizeof top0);
    memcpy(part + TTEI_WIDTH, &top1, sizeof top1);
    for (; i < n; ++i) {
        memcpy(&bits, x + i, sizeof bits);
        bits &= magnitude;
        if (bits > most) most = bits;
    }
    for (lane = 0; lane < 2 * TTEI_WIDTH; ++lane)
        if (part[lane] > most) most = part[lane];
    memcpy(&top, &most, sizeof top);
    return top;
}

static int TTEI_N(all_finite)(const TTEI_REAL *x, size_t n)
{
    return TTEI_N(finite)(TTEI_N(top)(n, x));
}

/* x *= 2^power, in two steps, since 2^power alone may lie outside the type where x * 2^power does
   not. Exact unless the result is subnormal. */
TTEI_CLONES static void TTEI_N(scale)(size_t n, int power, TTEI_REAL *x)
{
    if (power == 0) return;
    TTEI_N(multiply)(n, (TTEI_REAL)ldexp(1.0, power / 2), x);
    TTEI_N(multiply)(n, (TTEI_REAL)ldexp(1.0, power - power / 2), x);
}

/* The power of two p with 2^(p-1) <= |x| < 2^p; 0 for 0. */
static int TTEI_N(exponent)(TTEI_REAL x)
{
    int power = 0;
    if (x < 0 || x > 0) (void)frexp((double)x, &power);
    return power;
}

/* ================================================================================================
   SINGULAR VALUE DECOMPOSITION
   The matrix is held as n columns of length m >= n, each contiguous; a wide matrix is its own
   transpose in that form, so both kinds take the same road:
       W = H R              when it is much longer than wide: only R (n x n) goes on   [GVL 5.4.9]
       R = P B Q^T          Householder reflections from both sides, B upper bidiagonal [GVL 5.4.8]
       B = P' S Q'^T        implicit QR steps; their rotations are collected and applied to the
                            columns of P and Q in passes over rows that stay in the cache [GVL 8.6.3]
   ============================================================================================= */

/* A reflection H = I - tau v v^T with v[0] = 1 that maps x to (*beta, 0, .., 0). x becomes v.
   Returns tau; 0, and H = I, when x has that form already, which leaves a bidiagonal matrix
   untouched. Where squares would leave the type's range, x is divided by its largest entry first. */
TTEI_INLINE TTEI_REAL TTEI_N(reflector)(size_t n, TTEI_REAL *x, TTEI_REAL *beta)
{
    TTEI_REAL tail = TTEI_N(dot)(n - 1, x + 1, x + 1), top = 1, first, norm;
    size_t i;
    if (!(tail > TTEI_SQUARE_MIN && x[0] * x[0] < 1 / TTEI_SQUARE_MIN)) {
        top = TTEI_N(top)(n - 1, x + 1);
        if (!(top > 0)) {
            *beta = x[0];
            x[0] = 1;
            return 0;
        }
        if (TTEI_N(abs)(x[0]) > top) top = TTEI_N(abs)(x[0]);
        for (i = 0; i < n; ++i) x[i] /= top;
        tail = TTEI_N(dot)(n - 1, x + 1, x + 1);
    }
    first = x[0];
    norm = (TTEI_REAL)sqrt((double)(first * first + tail));
    if (first > 0) norm = -norm;  /* the sign that adds magnitudes instead of cancelling them */
    TTEI_N(multiply)(n - 1, 1 / (first - norm), x + 1);
    x[0] = 1;
    *beta = norm * top;
    return (norm - first) / norm;
}

/* x -= tau v (v^T x) for four columns x of length n, `step` apart, that share the loads of v. */
TTEI_INLINE void TTEI_N(reflect_four)(size_t n, TTEI_REAL tau, const TTEI_REAL *v, size_t step,
                                      TTEI_REAL *x)
{
    TTEI_REAL *x1 = x + step, *x2 = x1 + step, *x3 = x2 + step, part[4 * TTEI_WIDTH], f[4];
    TTEI_N(vec) s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, a, b0, b1, b2, b3;
    size_t i, j, k;
    for (i = 0; i + TTEI_WIDTH <= n; i += TTEI_WIDTH) {
        memcpy(&a, v + i, sizeof a);
        memcpy(&b0, x + i, sizeof a);
        memcpy(&b1, x1 + i, sizeof a);
        memcpy(&b2, x2 + i, sizeof a);
        memcpy(&b3, x3 + i, sizeof a);
        s0 += a * b0;
        s1 += a * b1;
        s2 += a * b2;
        s3 += a * b3;
    }
    TTEI_N(store)(4, part, &s0, &s1, &s2, &s3);
    for (k = 0; k < 4; ++k) {
        f[k] = 0;
        for (j = 0; j < TTEI_WIDTH; ++j) f[k] += part[k * TTEI_WIDTH + j];
        for (j = i; j < n; ++j) f[k] += v[j] * x[k * step + j];
        f[k] *= -tau;
        for (j = i; j < n; ++j) x[k * step + j] += f[k] * v[j];
    }
    for (i = 0; i + TTEI_WIDTH <= n; i += TTEI_WIDTH) {
        memcpy(&a, v + i, sizeof a);
        memcpy(&b0, x + i, sizeof a);
        memcpy(&b1, x1 + i, sizeof a);
        memcpy(&b2, x2 + i, sizeof a);
        memcpy(&b3, x3 + i, sizeof a);
        b0 += f[0] * a;
        b1 += f[1] * a;
        b2 += f[2] * a;
        b3 += f[3] * a;
        memcpy(x + i, &b0, sizeof a);
        memcpy(x1 + i, &b1, sizeof a);
        memcpy(x2 + i, &b2, sizeof a);
        memcpy(x3 + i, &b3, sizeof a);
    }
}

TTEI_INLINE void TTEI_N(reflect)(size_t n, TTEI_REAL tau, const TTEI_REAL *v, size_t count,
                                 size_t step, TTEI_REAL *x)
{
    for (; count >= 4; count -= 4, x += 4 * step) TTEI_N(reflect_four)(n, tau, v, step, x);
    for (; count > 0; --count, x += step) TTEI_N(axpy)(n, -tau * TTEI_N(dot)(n, v, x), v, x);
}

/* W (n columns of m, `step` apart) becomes R in its upper triangle and below that the vectors of the
   reflections, their leading ones left out. R, with zeros below, is copied to r (n columns, `step_r`
   apart). */
TTEI_CLONES static void TTEI_N(triangularize)(size_t m, size_t n, TTEI_REAL *w, size_t step,
                                              TTEI_REAL *tau, TTEI_REAL *r, size_t step_r)
{
    size_t j;
    TTEI_REAL beta;
    memset(r, 0, n * step_r * sizeof *r);
    for (j = 0; j < n; ++j) {
        TTEI_REAL *v = w + j * step + j;
        tau[j] = TTEI_N(reflector)(m - j, v, &beta);
        if (tau[j] > 0) TTEI_N(reflect)(m - j, tau[j], v, n - j - 1, step, v + step);
        memcpy(r + j * step_r, w + j * step, j * sizeof *r);
        r[j * step_r + j] = beta;
    }
}

/* Each of n columns of x (length m) = H_0 H_1 .. H_(n-1) x. */
TTEI_CLONES static void TTEI_N(lengthen)(size_t m, size_t n, const TTEI_REAL *w, size_t step,
                                         const TTEI_REAL *tau, TTEI_REAL *x)
{
    size_t j;
    for (j = n; j-- > 0;)
        if (tau[j] > 0) TTEI_N(reflect)(m - j, tau[j], w + j * step + j, n, step, x + j);
}

/* W := H_left W H_right, one column and one row at a time. On return d[n] and e[n-1] are the
   diagonals of B; the reflections' vectors stand in W (vector j in column j from row j down) and,
   for those from the right, in Q (vector j in column j+1 from row j+1 down).
   The update from the right, W -= tau (W v) v^T, is put off until the next column's reflection is at
   hand, so that a column takes both while it is in the cache. `line` (m) holds W v. */
TTEI_CLONES static void TTEI_N(bidiagonalize)(size_t m, size_t n, TTEI_REAL *w, size_t step,
                                              TTEI_REAL *q, size_t step_q, TTEI_REAL *d, TTEI_REAL *e,
                                              TTEI_REAL *tau_left, TTEI_REAL *tau_right,
                                              TTEI_REAL *line)
{
    const TTEI_REAL *pending = NULL;  /* v of the update put off, tau in `old`; entry 0: column j */
    TTEI_REAL old = 0;
    size_t j, c, i, some;
    for (j = 0; j < n; ++j) {
        TTEI_REAL *v = w + j * step + j, *row = NULL, tau;
        if (j + 1 < n) row = q + (j + 1) * step_q + j + 1;
        if (old > 0) TTEI_N(axpy)(m - j, -old * pending[0], line + j, v);
        tau = tau_left[j] = TTEI_N(reflector)(m - j, v, &d[j]);
        for (c = j + 1; c < n; c += some) {
            TTEI_REAL *x = w + c * step + j;
            some = ttei_min(4, n - c);
            for (i = 0; i < some && old > 0; ++i)
                TTEI_N(axpy)(m - j, -old * pending[c + i - j], line + j, x + i * step);
            if (tau > 0) TTEI_N(reflect)(m - j, tau, v, some, step, x);
            for (i = 0; i < some; ++i) row[c + i - j - 1] = x[i * step];
        }
        if (j + 1 == n) break;
        old = tau_right[j] = TTEI_N(reflector)(n - j - 1, row, &e[j]);
        pending = row;
        if (!(old > 0)) continue;
        memset(line, 0, m * sizeof *line);
        for (c = j + 1; c < n; ++c)
            TTEI_N(axpy)(m - j - 1, row[c - j - 1], w + c * step + j + 1, line + j + 1);
    }
}

/* The first n columns of H_0 H_1 .. H_(n-1), in place of their vectors: backwards, so that column j
   is still a unit vector when H_j meets it. `step` from one column to the next. */
TTEI_CLONES static void TTEI_N(accumulate)(size_t m, size_t n, size_t step, TTEI_REAL *a,
                                           const TTEI_REAL *tau)
{
    size_t j;
    for (j = n; j-- > 0;) {
        TTEI_REAL *v = a + j * step + j;
        if (tau[j] > 0) TTEI_N(reflect)(m - j, tau[j], v, n - j - 1, step, v + step);
        TTEI_N(multiply)(m - j - 1, -tau[j], v + 1);
        v[0] = 1 - tau[j];
        memset(a + j * step, 0, j * sizeof *a);
    }
}

/* c, s with c*f + s*g = r, c*g - s*f = 0. */
static TTEI_REAL TTEI_N(givens)(TTEI_REAL f, TTEI_REAL g, TTEI_REAL *c, TTEI_REAL *s)
{
    const int tiny = TTEI_N(abs)(f) + TTEI_N(abs)(g) < TTEI_SQUARE_MIN;
    TTEI_REAL r;
    if (tiny) {  /* r may be subnormal, of few digits */
        f /= TTEI_SQUARE_MIN;
        g /= TTEI_SQUARE_MIN;
    }
    r = TTEI_N(hypot)(f, g);
    *c = r > 0 ? f / r : 1;
    *s = r > 0 ? g / r : 0;
    return tiny ? r * TTEI_SQUARE_MIN : r;
}

/* The rotations of QR steps that P and Q have not met yet. One step is a run of rotations in the
   planes of neighbouring columns, upwards or downwards. */
#define TTEI_STEPS 24
typedef struct TTEI_N(step) {
    size_t first, count;     /* the column it starts from, and how many rotations            */
    int down;                /* 1: columns first, first + 1, ..; 0: first, first - 1, ..     */
} TTEI_N(step);
typedef struct TTEI_N(turns) {
    TTEI_N(step) step[TTEI_STEPS];
    size_t steps, used;
    TTEI_REAL *p, *q;        /* cosine, sine for the columns of P and of Q, in order         */
    TTEI_REAL *p_columns, *q_columns;  /* NULL when only the values are wanted               */
    size_t p_step, q_step;   /* their columns' lengths, multiples of TTEI_WIDTH              */
} TTEI_N(turns);

/* All collected steps on `width` (1 or 4) vectors of rows: for each rotation a column is loaded once
   and its neighbour stored once; the column between is still in registers. */
TTEI_INLINE void TTEI_N(turn_rows)(int width, const TTEI_N(turns) *turns, const TTEI_REAL *pair,
                                   size_t step, TTEI_REAL *rows)
{
    size_t i, k;
    for (i = 0; i < turns->steps; ++i) {
        const TTEI_N(step) *run = &turns->step[i];
        const ptrdiff_t next = run->down ? (ptrdiff_t)step : -(ptrdiff_t)step;
        TTEI_REAL *x = rows + run->first * step;
        TTEI_N(vec) x0 = {0}, x1 = {0}, x2 = {0}, x3 = {0}, y0, y1, y2, y3;
        TTEI_N(load)(width, x, &x0, &x1, &x2, &x3);
        y0 = y1 = y2 = y3 = x0;
        for (k = 0; k < run->count; ++k, pair += 2, x += next) {
            const TTEI_REAL c = pair[0], s = pair[1];
            TTEI_N(vec) z0, z1, z2, z3;
            TTEI_N(load)(width, x + next, &y0, &y1, &y2, &y3);
            z0 = c * x0 + s * y0;
            x0 = c * y0 - s * x0;
            z1 = c * x1 + s * y1;
            x1 = c * y1 - s * x1;
            z2 = c * x2 + s * y2;
            x2 = c * y2 - s * x2;
            z3 = c * x3 + s * y3;
            x3 = c * y3 - s * x3;
            TTEI_N(store)(width, x, &z0, &z1, &z2, &z3);
        }
        TTEI_N(store)(width, x, &x0, &x1, &x2, &x3);
    }
}

TTEI_CLONES static void TTEI_N(turn_columns)(const TTEI_N(turns) *turns, const TTEI_REAL *pair,
                                             size_t step, TTEI_REAL *columns)
{
    size_t i = 0;
    for (; i + 4 * TTEI_WIDTH <= step; i += 4 * TTEI_WIDTH)
        TTEI_N(turn_rows)(4, turns, pair, step, columns + i);
    for (; i < step; i += TTEI_WIDTH) TTEI_N(turn_rows)(1, turns, pair, step, columns + i);
}

/* Applies what is collected to P and Q, and forgets it. */
static void TTEI_N(turn)(TTEI_N(turns) *turns)
{
    if (turns->p_columns != NULL) {
        TTEI_N(turn_columns)(turns, turns->p, turns->p_step, turns->p_columns);
        TTEI_N(turn_columns)(turns, turns->q, turns->q_step, turns->q_columns);
    }
    turns->steps = turns->used = 0;
}

/* A block of B that no zero divides, seen from its larger end. With down = 0 it is read from its last
   row to its first: J B^T J (J reverses the order) is upper bidiagonal too, and left and right vectors
   change places. So one description of a QR step serves both directions [DK90, sec. 3]. */
typedef struct TTEI_N(block) {
    TTEI_REAL *d, *e;          /* of the whole matrix                              */
    size_t first, size;        /* diagonal index where the block starts; its rows  */
    int down;                  /* 1: indices rise from first; 0: they fall         */
} TTEI_N(block);

static TTEI_REAL *TTEI_N(diagonal)(const TTEI_N(block) *b, size_t i)
{
    return b->d + (b->down ? b->first + i : b->first - i);
}
static TTEI_REAL *TTEI_N(above)(const TTEI_N(block) *b, size_t i)  /* between i and i + 1 */
{
    return b->e + (b->down ? b->first + i : b->first - i - 1);
}

/* A rotation from the right and one from the left, into the list. */
TTEI_INLINE void TTEI_N(note)(const TTEI_N(block) *b, TTEI_N(turns) *turns, TTEI_REAL c, TTEI_REAL s,
                              TTEI_REAL c_left, TTEI_REAL s_left)
{
    TTEI_REAL *p = turns->p + turns->used, *q = turns->q + turns->used;
    p[0] = b->down ? c_left : c;
    p[1] = b->down ? s_left : s;
    q[0] = b->down ? c : c_left;
    q[1] = b->down ? s : s_left;
    turns->used += 2;
}

/* Sets every off-diagonal entry to zero that cannot change a singular value by more than `tol`,
   relatively [DK90, criteria 1 and 2]. Along the way mu_1 = |d_1|, mu_(i+1) = |d_(i+1)| mu_i /
   (mu_i + |e_i|) bounds the smallest singular value from below; the least mu goes to *low.
   Returns 1 when an entry was set. */
static int TTEI_N(deflate)(const TTEI_N(block) *b, TTEI_REAL tol, TTEI_REAL *low)
{
    size_t i, last = b->size - 1;
    TTEI_REAL mu = TTEI_N(abs)(*TTEI_N(diagonal)(b, 0));
    *low = mu;
    if (TTEI_N(abs)(*TTEI_N(above)(b, last - 1)) <= tol * TTEI_N(abs)(*TTEI_N(diagonal)(b, last))) {
        *TTEI_N(above)(b, last - 1) = 0;
        return 1;
    }
    for (i = 0; i < last; ++i) {
        TTEI_REAL e = TTEI_N(abs)(*TTEI_N(above)(b, i));
        if (e <= tol * mu) {
            *TTEI_N(above)(b, i) = 0;
            return 1;
        }
        mu = TTEI_N(abs)(*TTEI_N(diagonal)(b, i + 1)) * (mu / (mu + e));
        if (mu < *low) *low = mu;
    }
    return 0;
}

/* The shift: the smaller singular value of the block's last 2 x 2 corner [f g; 0 h]. The larger
   and the smaller add up to hypot(f + h, g), differ by hypot(f - h, g), and multiply to f*h. */
static TTEI_REAL TTEI_N(corner_shift)(const TTEI_N(block) *b)
{
    TTEI_REAL f = TTEI_N(abs)(*TTEI_N(diagonal)(b, b->size - 2));
    TTEI_REAL g = TTEI_N(abs)(*TTEI_N(above)(b, b->size - 2));
    TTEI_REAL h = TTEI_N(abs)(*TTEI_N(diagonal)(b, b->size - 1));
    TTEI_REAL large = TTEI_N(hypot)(f + h, g) / 2 + TTEI_N(hypot)(f - h, g) / 2;
    return large > 0 ? (f < h ? f : h) * ((f < h ? h : f) / large) : 0;
}

/* One implicit QR step over the block: a rotation from the right makes the bulge, the one from the
   left pushes it on. With shift 0 the two products collapse to one that never subtracts and so
   keeps every entry relatively accurate [DK90, sec. 3, "implicit zero-shift QR"]. */
static void TTEI_N(qr_step)(const TTEI_N(block) *b, TTEI_REAL shift, TTEI_N(turns) *turns)
{
    size_t i, last = b->size - 1;
    TTEI_REAL c = 1, s = 0, c_left = 1, s_left = 0, r, f, g;
    TTEI_N(step) *step = &turns->step[turns->steps++];
    step->first = b->first;
    step->count = last;
    step->down = b->down;
    if (!(shift > 0)) {
        for (i = 0; i < last; ++i) {
            TTEI_REAL *d = TTEI_N(diagonal)(b, i), *next = TTEI_N(diagonal)(b, i + 1);
            r = TTEI_N(givens)(*d * c, *TTEI_N(above)(b, i), &c, &s);
            if (i > 0) *TTEI_N(above)(b, i - 1) = s_left * r;
            *d = TTEI_N(givens)(c_left * r, *next * s, &c_left, &s_left);
            TTEI_N(note)(b, turns, c, s, c_left, s_left);
        }
        f = *TTEI_N(diagonal)(b, last) * c;
        *TTEI_N(diagonal)(b, last) = f * c_left;
        *TTEI_N(above)(b, last - 1) = f * s_left;
        return;
    }
    f = *TTEI_N(diagonal)(b, 0);           /* first column of B^T B - shift^2 I, divided by d_1 */
    g = *TTEI_N(above)(b, 0);
    f = (TTEI_N(abs)(f) - shift) * ((f < 0 ? (TTEI_REAL)-1 : (TTEI_REAL)1) + shift / f);
    for (i = 0; i < last; ++i) {
        TTEI_REAL *d = TTEI_N(diagonal)(b, i), *e = TTEI_N(above)(b, i);
        TTEI_REAL *next = TTEI_N(diagonal)(b, i + 1);
        r = TTEI_N(givens)(f, g, &c, &s);
        if (i > 0) *TTEI_N(above)(b, i - 1) = r;
        f = c * *d + s * *e;
        *e = c * *e - s * *d;
        g = s * *next;
        *next = c * *next;
        *d = TTEI_N(givens)(f, g, &c_left, &s_left);
        f = c_left * *e + s_left * *next;
        *next = c_left * *next - s_left * *e;
        if (i + 1 < last) {
            g = s_left * *TTEI_N(above)(b, i + 1);
            *TTEI_N(above)(b, i + 1) *= c_left;
        }
        TTEI_N(note)(b, turns, c, s, c_left, s_left);
    }
    *TTEI_N(above)(b, last - 1) = f;
}

/* Below this an off-diagonal entry is nothing beside the least singular value, for which mu (see
   deflate) is a lower bound, or beside what underflow did already [DK90, sec. 4]. */
static TTEI_REAL TTEI_N(negligible)(size_t n, const TTEI_REAL *d, const TTEI_REAL *e, TTEI_REAL tol)
{
    TTEI_REAL mu = TTEI_N(abs)(d[0]), low = mu;
    size_t i;
    for (i = 1; i < n && low > 0; ++i) {
        mu = TTEI_N(abs)(d[i]) * (mu / (mu + TTEI_N(abs)(e[i - 1])));
        if (mu < low) low = mu;
    }
    low *= tol / (TTEI_REAL)sqrt((double)n);
    return low > (TTEI_REAL)n * TTEI_TINY ? low : (TTEI_REAL)n * TTEI_TINY;
}

/* The last block of B that ends in row hi: returns its first row, sets the negligible entry above that
   to zero, and the block's largest entry to *high. */
static size_t TTEI_N(last_block)(size_t hi, const TTEI_REAL *d, TTEI_REAL *e, TTEI_REAL negligible,
                                 TTEI_REAL *high)
{
    size_t lo;
    *high = TTEI_N(abs)(d[hi]);
    for (lo = hi; lo > 0; --lo) {
        if (TTEI_N(abs)(e[lo - 1]) <= negligible) {
            e[lo - 1] = 0;
            break;
        }
        if (TTEI_N(abs)(d[lo - 1]) > *high) *high = TTEI_N(abs)(d[lo - 1]);
        if (TTEI_N(abs)(e[lo - 1]) > *high) *high = TTEI_N(abs)(e[lo - 1]);
    }
    return lo;
}

/* Diagonalize B in place: d becomes the singular values, unsorted and with signs; the columns of P and
   Q turn along. Returns 0 when the budget of steps is spent; two or three for each value are usual. */
static int TTEI_N(diagonalize)(size_t n, TTEI_REAL *d, TTEI_REAL *e, TTEI_N(turns) *turns)
{
    const TTEI_REAL tol = TTEI_EPSILON;               /* what a dropped entry may change    */
    const TTEI_REAL shift_tol = 32 * TTEI_EPSILON;    /* what shifts may cost a small value  */
    const TTEI_REAL negligible = TTEI_N(negligible)(n, d, e, tol);
    size_t hi = n - 1, lo, budget = ttei_mul(TTEI_SVD_SWEEPS, n), old_lo = n, old_hi = n, waited = 0;
    TTEI_N(block) b;
    TTEI_REAL low, high, shift, start;
    b.d = d;
    b.e = e;
    b.down = 1;
    while (hi > 0) {
        if (budget-- == 0) return 0;
        lo = TTEI_N(last_block)(hi, d, e, negligible, &high);
        if (lo == hi) {
            --hi;
            continue;
        }
        /* A new block: chase the bulge from the larger end to the smaller. */
        if (old_hi != hi || old_lo != lo) {
            b.down = TTEI_N(abs)(d[lo]) >= TTEI_N(abs)(d[hi]);
            waited = 0;
        }
        old_hi = hi;
        old_lo = lo;
        b.first = b.down ? lo : hi;
        b.size = hi - lo + 1;
        /* Between equal values a step may leave its own rounding behind, just above tol, for ever. */
        if (TTEI_N(deflate)(&b, tol * (TTEI_REAL)(1 + ttei_min(waited++ / 8, 7)), &low)) continue;

        /* A shift speeds up convergence but costs relative accuracy in the small values; it is used
           where they are not that small. */
        start = TTEI_N(abs)(d[b.first]);
        shift = 0;
        if ((TTEI_REAL)n * shift_tol * (low / high) > TTEI_EPSILON) {
            shift = TTEI_N(corner_shift)(&b);
            if (!(start > 0) || (shift / start) * (shift / start) < TTEI_EPSILON) shift = 0;
        }
        if (turns->steps == TTEI_STEPS) TTEI_N(turn)(turns);
        TTEI_N(qr_step)(&b, shift, turns);
    }
    TTEI_N(turn)(turns);
    return 1;
}

TTEI_INLINE void TTEI_N(swap)(size_t n, TTEI_REAL *x, TTEI_REAL *y)
{
    size_t i;
    for (i = 0; i < n; ++i) {
        TTEI_REAL xi = x[i];
        x[i] = y[i];
        y[i] = xi;
    }
}

/* Singular values positive and descending, the columns of P and Q (NULL: none) in their order. */
static void TTEI_N(order)(size_t n, TTEI_REAL *d, const TTEI_N(turns) *turns)
{
    TTEI_REAL *p = turns->p_columns, *q = turns->q_columns;
    const size_t p_step = turns->p_step, q_step = turns->q_step;
    size_t k, i, largest;
    for (k = 0; k < n; ++k)
        if (!(d[k] > 0)) {  /* -0 becomes 0, too */
            d[k] = d[k] < 0 ? -d[k] : 0;
            if (q != NULL) TTEI_N(multiply)(q_step, -1, q + k * q_step);
        }
    for (k = 0; k < n; ++k) {
        for (largest = k, i = k + 1; i < n; ++i)
            if (d[i] > d[largest]) largest = i;
        if (largest == k) continue;
        TTEI_N(swap)(1, d + k, d + largest);
        if (p == NULL) continue;
        TTEI_N(swap)(p_step, p + k * p_step, p + largest * p_step);
        TTEI_N(swap)(q_step, q + k * q_step, q + largest * q_step);
    }
}

/* Whether eight magnitudes are all less than `top`; one branch for the eight. */
TTEI_INLINE int TTEI_N(below)(const TTEI_REAL *x, TTEI_REAL top)
{
    int all = 1, i;
    for (i = 0; i < 8; ++i) all &= (x[i] < top) & (x[i] > -top);
    return all;
}

/* Signs: in each of n right vectors (of length `right_len`) the largest entry, the first of equals,
   becomes positive; the left vectors (`left_len`) turn along. */
TTEI_CLONES static void TTEI_N(fix_signs)(size_t n, TTEI_REAL *right, size_t right_len,
                                          size_t right_step, TTEI_REAL *left, size_t left_len,
                                          size_t left_step)
{
    size_t k, i;
    for (k = 0; k < n; ++k, right += right_step, left += left_step) {
        const TTEI_REAL top = TTEI_N(top)(right_len, right);
        for (i = 0; i + 8 < right_len && TTEI_N(below)(right + i, top); i += 8) {}
        for (; i + 1 < right_len && TTEI_N(abs)(right[i]) < top; ++i) {}
        if (right[i] < 0) {
            TTEI_N(multiply)(right_len, -1, right);
            TTEI_N(multiply)(left_len, -1, left);
        }
    }
}

typedef struct TTEI_N(svd_room) {  /* m = max(rows, cols), n = min(rows, cols)                 */
    int long_first;                /* m is much larger: W = H R first                           */
    size_t step, step_n;           /* from column to column: m and n, rounded up to vectors     */
    TTEI_REAL *w;                  /* n columns of m: the matrix, then H's or P's vectors       */
    TTEI_REAL *r, *wide;           /* n of n, n of m: R, and its left vectors lengthened by H   */
    TTEI_REAL *q;                  /* n columns of n                                            */
    TTEI_REAL *d, *e, *tau_long, *tau_left, *tau_right;  /* n each                              */
    TTEI_REAL *line;               /* m                                                         */
    TTEI_N(turns) turns;
} TTEI_N(svd_room);

static size_t TTEI_N(svd_carve)(size_t rows, size_t cols, void *work, TTEI_N(svd_room) *room)
{
    const size_t m = ttei_max(rows, cols), n = ttei_min(rows, cols), real = sizeof(TTEI_REAL);
    ttei_carve carve = ttei_carve_begin(work);
    room->long_first = m - n >= n / 2 + 1;
    room->step = (m + TTEI_WIDTH - 1) / TTEI_WIDTH * TTEI_WIDTH;
    room->step_n = (n + TTEI_WIDTH - 1) / TTEI_WIDTH * TTEI_WIDTH;
    room->w = (TTEI_REAL *)ttei_take(&carve, ttei_mul(room->step, n), real);
    room->q = (TTEI_REAL *)ttei_take(&carve, ttei_mul(room->step_n, n), real);
    room->r = (TTEI_REAL *)ttei_take(&carve, ttei_mul(room->step_n, n), real);
    room->wide = (TTEI_REAL *)ttei_take(&carve, ttei_mul(room->step, n), real);
    if (!room->long_first) room->r = room->wide = room->w;  /* taken all the same: a smaller matrix  */
    room->d = (TTEI_REAL *)ttei_take(&carve, n, real);      /* never needs more than a larger one    */
    room->e = (TTEI_REAL *)ttei_take(&carve, n, real);
    room->tau_long = (TTEI_REAL *)ttei_take(&carve, n, real);
    room->tau_left = (TTEI_REAL *)ttei_take(&carve, n, real);
    room->tau_right = (TTEI_REAL *)ttei_take(&carve, n, real);
    room->line = (TTEI_REAL *)ttei_take(&carve, m, real);
    room->turns.p = (TTEI_REAL *)ttei_take(&carve, ttei_mul(2 * TTEI_STEPS, n), real);
    room->turns.q = (TTEI_REAL *)ttei_take(&carve, ttei_mul(2 * TTEI_STEPS, n), real);
    return carve.used;
}

/* The matrix as n columns of length m; entries beyond the columns are zero. When its largest entry
   `top` is far from 1, it is scaled by a power of two, which is returned. */
static int TTEI_N(svd_load)(size_t m, size_t n, int tall, const TTEI_REAL *a, TTEI_REAL top,
                            TTEI_N(svd_room) *room)
{
    int power = TTEI_N(exponent)(top);
    size_t i, j;
    if (power > -20 && power < 20) power = 0;
    for (j = 0; j < n; ++j) {
        TTEI_REAL *column = room->w + j * room->step;
        if (tall)
            for (i = 0; i < m; ++i) column[i] = a[i * n + j];
        else
            memcpy(column, a + j * m, m * sizeof *a);
        for (i = m; i < room->step; ++i) column[i] = 0;
    }
    TTEI_N(scale)(room->step * n, -power, room->w);
    return power;
}

/* The reflections to explicit P and Q, ready to be turned. */
static void TTEI_N(svd_vectors)(size_t side, size_t n, TTEI_N(svd_room) *room)
{
    TTEI_N(turns) *turns = &room->turns;
    size_t j;
    turns->p_columns = room->r;
    turns->q_columns = room->q;
    TTEI_N(accumulate)(side, n, turns->p_step, room->r, room->tau_left);
    room->q[0] = 1;
    for (j = 1; j < n; ++j) room->q[j * room->step_n] = 0;
    if (n > 1)
        TTEI_N(accumulate)(n - 1, n - 1, room->step_n, room->q + room->step_n + 1, room->tau_right);
}

/* P and Q, signs fixed, to u and vt, either of which may be NULL. */
static void TTEI_N(svd_store)(size_t rows, size_t cols, TTEI_REAL *u, TTEI_REAL *vt,
                              TTEI_N(svd_room) *room)
{
    const int tall = rows >= cols;
    const size_t m = tall ? rows : cols, n = tall ? cols : rows;
    size_t i, j;
    if (room->long_first) {
        memset(room->wide, 0, room->step * n * sizeof *room->wide);
        for (j = 0; j < n; ++j)
            memcpy(room->wide + j * room->step, room->r + j * room->step_n, n * sizeof *room->wide);
        TTEI_N(lengthen)(m, n, room->w, room->step, room->tau_long, room->wide);
    }
    if (tall) TTEI_N(fix_signs)(n, room->q, n, room->step_n, room->wide, m, room->step);
    else TTEI_N(fix_signs)(n, room->wide, m, room->step, room->q, n, room->step_n);
    for (j = 0; j < n; ++j) {
        const TTEI_REAL *left = tall ? room->wide + j * room->step : room->q + j * room->step_n;
        const TTEI_REAL *right = tall ? room->q + j * room->step_n : room->wide + j * room->step;
        for (i = 0; i < rows && u != NULL; ++i) u[i * n + j] = left[i];
        if (vt != NULL) memcpy(vt + j * cols, right, cols * sizeof *vt);
    }
}

/* tte_svd_* for sizes that are known to be good. */
static tte_status TTEI_N(svd)(size_t rows, size_t cols, const TTEI_REAL *a, TTEI_REAL *u,
                              TTEI_REAL *s, TTEI_REAL *vt, void *work)
{
    const int tall = rows >= cols, vectors = u != NULL || vt != NULL;
    const size_t m = tall ? rows : cols, n = tall ? cols : rows;
    const TTEI_REAL top = TTEI_N(top)(m * n, a);
    TTEI_N(svd_room) room;
    size_t side, step;
    int power;
    if (!TTEI_N(finite)(top)) return TTE_ERR_NOT_FINITE;
    (void)TTEI_N(svd_carve)(rows, cols, work, &room);
    power = TTEI_N(svd_load)(m, n, tall, a, top, &room);

    if (room.long_first)
        TTEI_N(triangularize)(m, n, room.w, room.step, room.tau_long, room.r, room.step_n);
    side = room.long_first ? n : m;                    /* r: n columns of `side` */
    step = room.long_first ? room.step_n : room.step;
    memset(room.q, 0, room.step_n * n * sizeof *room.q);
    TTEI_N(bidiagonalize)(side, n, room.r, step, room.q, room.step_n, room.d, room.e, room.tau_left,
                          room.tau_right, room.line);
    room.turns.steps = room.turns.used = 0;
    room.turns.p_columns = room.turns.q_columns = NULL;
    room.turns.p_step = step;
    room.turns.q_step = room.step_n;
    if (vectors) TTEI_N(svd_vectors)(side, n, &room);
    if (!TTEI_N(diagonalize)(n, room.d, room.e, &room.turns)) return TTE_ERR_CONVERGENCE;
    TTEI_N(order)(n, room.d, &room.turns);
    TTEI_N(scale)(n, power, room.d);
    if (!TTEI_N(all_finite)(room.d, n)) return TTE_ERR_NOT_FINITE;
    memcpy(s, room.d, n * sizeof *s);
    if (vectors) TTEI_N(svd_store)(rows, cols, u, vt, &room);
    return TTE_OK;
}

size_t TTEI_JOIN(TTEI_JOIN(tte_svd_, TTEI_TYPE), _work)(int rows, int cols)
{
    TTEI_N(svd_room) room;
    size_t size;
    if (rows < 1 || cols < 1 || rows > INT32_MAX / cols) return 0;
    size = TTEI_N(svd_carve)((size_t)rows, (size_t)cols, NULL, &room);
    return size == TTEI_SIZE_MAX ? 0 : size;
}

tte_status TTEI_JOIN(tte_svd_, TTEI_TYPE)(int rows, int cols, const TTEI_REAL *a, TTEI_REAL *u,
                                          TTEI_REAL *s, TTEI_REAL *vt, void *work)
{
    if (rows < 1 || cols < 1 || a == NULL || s == NULL || work == NULL) return TTE_ERR_ARGUMENT;
    if (TTEI_JOIN(TTEI_JOIN(tte_svd_, TTEI_TYPE), _work)(rows, cols) == 0) return TTE_ERR_SHAPE;
    return TTEI_N(svd)((size_t)rows, (size_t)cols, a, u, s, vt, work);
}

#endif /* TT_EMBED_DECODE_ONLY */
#endif /* TTEI_REAL */

#ifndef TTEI_REAL

/* ================================================================================================
   TENSOR TRAINS
   One train: shape and ranks say how the floats of its cores are to be read.
   ============================================================================================= */

#define TTEI_ENTRIES_MAX 0x7fffffff  /* prod(dim) and ranks fit an int32_t */

/* Checks a shape; its number of entries goes to *entries. */
static tte_status ttei_shape_check(const tte_shape *shape, size_t *entries)
{
    size_t product = 1;
    int32_t k;
    if (shape->modes < 1 || shape->modes > TTE_MAX_MODES) return TTE_ERR_SHAPE;
    for (k = 0; k < shape->modes; ++k) {
        if (shape->dim[k] < 1 || product > TTEI_ENTRIES_MAX / (size_t)shape->dim[k])
            return TTE_ERR_SHAPE;
        product *= (size_t)shape->dim[k];
    }
    if (product > TTEI_SIZE_MAX / sizeof(float)) return TTE_ERR_SHAPE;
    *entries = product;
    return TTE_OK;
}

/* prod(dim) of a valid shape. */
static size_t ttei_entries(const tte_shape *shape)
{
    size_t entries = 1;
    int32_t k;
    for (k = 0; k < shape->modes; ++k) entries *= (size_t)shape->dim[k];
    return entries;
}

#ifndef TT_EMBED_DECODE_ONLY

/* The largest ranks a bond can need: r[k] <= r[k-1]*n[k] from the left, the product of the modes to
   its right, and max_rank where that is not 0. The shape is valid. */
static void ttei_rank_caps(const tte_shape *shape, int32_t max_rank, int32_t *caps)
{
    size_t right = 1, left;
    int32_t k, d = shape->modes;
    caps[d] = 1;
    for (k = d - 1; k >= 0; --k) {
        right *= (size_t)shape->dim[k];
        caps[k] = (int32_t)right;
    }
    caps[0] = 1;
    for (k = 1; k < d; ++k) {
        left = (size_t)caps[k - 1] * (size_t)shape->dim[k - 1];
        if (left < (size_t)caps[k]) caps[k] = (int32_t)left;
        if (max_rank > 0 && max_rank < caps[k]) caps[k] = max_rank;
    }
}

#endif

/* Floats in core k + 1. */
static size_t ttei_core_size(const tte_shape *shape, const int32_t *ranks, int32_t k)
{
    return ttei_mul(ttei_mul((size_t)ranks[k], (size_t)shape->dim[k]), (size_t)ranks[k + 1]);
}

#ifndef TT_EMBED_DECODE_ONLY

/* Floats in all cores of a valid shape with ranks of at least 1. */
static size_t ttei_core_sum(const tte_shape *shape, const int32_t *ranks)
{
    size_t sum = 0;
    int32_t k;
    for (k = 0; k < shape->modes; ++k) sum = ttei_add(sum, ttei_core_size(shape, ranks, k));
    return sum;
}

#endif

/* Floats in all cores of a record: tte_open has seen to it that no size wraps. */
static size_t ttei_core_numbers(const tte_shape *shape, const int32_t *ranks)
{
    size_t sum = 0;
    int32_t k;
    for (k = 0; k < shape->modes; ++k)
        sum += (size_t)ranks[k] * (size_t)shape->dim[k] * (size_t)ranks[k + 1];
    return sum;
}

size_t tte_core_len(const tte_shape *shape, const int32_t *ranks)
{
    size_t entries, sum;
    int32_t k;
    if (shape == NULL || ranks == NULL || ttei_shape_check(shape, &entries) != TTE_OK) return 0;
    if (ranks[0] != 1 || ranks[shape->modes] != 1) return 0;
    for (k = 0, sum = 0; k < shape->modes; ++k) {
        if (ranks[k] < 1) return 0;
        sum = ttei_add(sum, ttei_core_size(shape, ranks, k));
    }
    return sum > TTEI_SIZE_MAX / sizeof(float) ? 0 : sum;
}

/* A train is contracted from both ends towards the bond where the modes to the left multiply to at
   most the square root of all: left and right halves are then small, and the one large product that
   joins them has long rows. Two modes meet at their only bond. */
static int32_t ttei_middle(const tte_shape *shape, size_t *right)
{
    const size_t entries = ttei_entries(shape);
    size_t left = (size_t)shape->dim[0], now = left;
    int32_t middle = 1;
    for (; middle + 1 < shape->modes; left = now, ++middle) {
        now = left * (size_t)shape->dim[middle];
        if ((uint64_t)now * now > entries) break;
    }
    *right = entries / left;
    return middle;
}

/* Floats for the intermediate products of a contraction, which lie one behind the other. */
static size_t ttei_contract_len(const tte_shape *shape, const int32_t *ranks)
{
    size_t right, len = 0, now = (size_t)shape->dim[0];
    const int32_t middle = ttei_middle(shape, &right);
    int32_t k;
    for (k = 1; k < middle; ++k) {
        now *= (size_t)shape->dim[k];
        len = ttei_add(len, ttei_mul(now, (size_t)ranks[k + 1]));
    }
    now = (size_t)shape->dim[shape->modes - 1];
    for (k = shape->modes - 2; k >= middle; --k) {
        now *= (size_t)shape->dim[k];
        len = ttei_add(len, ttei_mul(now, (size_t)ranks[k]));
    }
    return len;
}

size_t tte_reconstruct_len(const tte_shape *shape, const int32_t *ranks)
{
    size_t len;
    if (tte_core_len(shape, ranks) == 0) return 0;
    len = ttei_contract_len(shape, ranks);
    return len > TTEI_SIZE_MAX / sizeof(float) ? 0 : len;
}

/* c (m x n) = a (m x k) * b (k x n); entry (i, l) of a is a[i * down + l * right], the rows of b are
   `stride` apart, those of c `across`. Every entry of c is summed in the order of l, whatever block it is
   in, so that results do not depend on how rows are grouped. */
#ifndef TT_EMBED_DECODE_ONLY

/* A block of `height` (1 or 4) rows and `width` (1 or 2) vectors of columns. */
TTEI_INLINE void ttei_product_block(int height, int width, size_t k, const float *a, size_t down,
                                    size_t right, const float *b, size_t stride, float *c, size_t across)
{
    ttei_lanes s0 = {0}, t0 = {0}, s1 = {0}, t1 = {0}, s2 = {0}, t2 = {0}, s3 = {0}, t3 = {0}, x, y = {0};
    size_t l;
    for (l = 0; l < k; ++l, a += right, b += stride) {
        memcpy(&x, b, sizeof x);
        if (width == 2) memcpy(&y, b + TTEI_LANES, sizeof y);
        s0 += a[0] * x;
        t0 += a[0] * y;
        if (height == 1) continue;
        s1 += a[down] * x;
        t1 += a[down] * y;
        s2 += a[2 * down] * x;
        t2 += a[2 * down] * y;
        s3 += a[3 * down] * x;
        t3 += a[3 * down] * y;
    }
    memcpy(c, &s0, sizeof s0);
    if (width == 2) memcpy(c + TTEI_LANES, &t0, sizeof t0);
    if (height == 1) return;
    memcpy(c + across, &s1, sizeof s1);
    memcpy(c + 2 * across, &s2, sizeof s2);
    memcpy(c + 3 * across, &s3, sizeof s3);
    if (width == 1) return;
    memcpy(c + across + TTEI_LANES, &t1, sizeof t1);
    memcpy(c + 2 * across + TTEI_LANES, &t2, sizeof t2);
    memcpy(c + 3 * across + TTEI_LANES, &t3, sizeof t3);
}

/* Two vectors of columns at a time, then one, so that a strip of b stays in the cache. Returns how many
   columns that were. */
TTEI_INLINE size_t ttei_product_strips(size_t m, size_t k, size_t n, const float *a, size_t down,
                                       size_t right, const float *b, size_t stride, float *c, size_t across)
{
    size_t i, j = 0;
    for (; j + 2 * TTEI_LANES <= n; j += 2 * TTEI_LANES) {
        for (i = 0; i + 4 <= m; i += 4)
            ttei_product_block(4, 2, k, a + i * down, down, right, b + j, stride, c + i * across + j,
                               across);
        for (; i < m; ++i)
            ttei_product_block(1, 2, k, a + i * down, down, right, b + j, stride, c + i * across + j,
                               across);
    }
    if (j + TTEI_LANES <= n) {
        for (i = 0; i + 4 <= m; i += 4)
            ttei_product_block(4, 1, k, a + i * down, down, right, b + j, stride, c + i * across + j,
                               across);
        for (; i < m; ++i)
            ttei_product_block(1, 1, k, a + i * down, down, right, b + j, stride, c + i * across + j,
                               across);
        j += TTEI_LANES;
    }
    return j;
}

#endif

/* The product of one row and one column. */
TTEI_CLONES static float ttei_product_dot(size_t k, const float *a, const float *b)
{
#ifndef TT_EMBED_DECODE_ONLY
    return ttei_dot_f32(k, a, b);
#else
    float sum = 0;
    size_t l;
    for (l = 0; l < k; ++l) sum += a[l] * b[l];
    return sum;
#endif
}

#ifndef TT_EMBED_DECODE_ONLY

TTEI_INLINE void ttei_product_body(size_t m, size_t k, size_t n, const float *a, size_t down,
                                   size_t right, const float *b, size_t stride, float *c, size_t across)
{
    size_t i, j = 0, l;
    switch (k) {  /* loops that the compiler can unroll for the ranks that are common */
    case 1:  j = ttei_product_strips(m, 1, n, a, down, right, b, stride, c, across); break;
    case 2:  j = ttei_product_strips(m, 2, n, a, down, right, b, stride, c, across); break;
    case 4:  j = ttei_product_strips(m, 4, n, a, down, right, b, stride, c, across); break;
    case 6:  j = ttei_product_strips(m, 6, n, a, down, right, b, stride, c, across); break;
    default: j = ttei_product_strips(m, k, n, a, down, right, b, stride, c, across); break;
    }
    for (; TTEI_QUAD > 1 && j + TTEI_QUAD <= n; j += TTEI_QUAD)
        for (i = 0; i < m; ++i) {
            ttei_quad sum = {0}, x;
            for (l = 0; l < k; ++l) {
                memcpy(&x, b + l * stride + j, sizeof x);
                sum += a[i * down + l * right] * x;
            }
            memcpy(c + i * across + j, &sum, sizeof sum);
        }
    for (; j + 2 <= n; j += 2)
        for (i = 0; i < m; ++i) {
            float s = 0, z = 0;
            for (l = 0; l < k; ++l) {
                const float f = a[i * down + l * right];
                s += f * b[l * stride + j];
                z += f * b[l * stride + j + 1];
            }
            c[i * across + j] = s;
            c[i * across + j + 1] = z;
        }
    for (; j < n; ++j)
        for (i = 0; i < m; ++i) {
            float sum = 0;
            for (l = 0; l < k; ++l) sum += a[i * down + l * right] * b[l * stride + j];
            c[i * across + j] = sum;
        }
}

TTEI_CLONES TTEI_UNFUSED static void ttei_product(size_t m, size_t k, size_t n, const float *a, size_t down,
                                                  size_t right, const float *b, size_t stride, float *c,
                                                  size_t across)
{
    ttei_product_body(m, k, n, a, down, right, b, stride, c, across);
}

/* The same for scores, which unlike rows may differ in their last bits from machine to machine. */
#define TTEI_PRODUCT_FUSED ttei_product_fused
TTEI_CLONES_FUSED static void ttei_product_fused(size_t m, size_t k, size_t n, const float *a, size_t down,
                                                 size_t right, const float *b, size_t stride, float *c,
                                                 size_t across)
{
    ttei_product_body(m, k, n, a, down, right, b, stride, c, across);
}

#else

TTEI_UNFUSED static void ttei_product(size_t m, size_t k, size_t n, const float *a, size_t down, size_t right,
                                      const float *b, size_t stride, float *c, size_t across)
{
    size_t j, l;
    for (; m > 0; --m, a += down, c += across)
        for (j = 0; j < n; ++j) {
            float sum = 0;
            for (l = 0; l < k; ++l) sum += a[l * right] * b[l * stride + j];
            c[j] = sum;
        }
}
#define TTEI_PRODUCT_FUSED ttei_product

#endif

/* The first `count` entries of the tensor. From the left, V_k ((n1..nk) x rk), and from the right,
   Y_k (r(k-1) x (nk..nd)), towards the middle bond m:
     V_1 = G_1 as n1 x r1,         V_k = V_(k-1) * G_k,  G_k as r(k-1) x (nk rk);
     Y_d = G_d as r(d-1) x nd,     Y_k = G_k * Y_(k+1),  G_k as (r(k-1) nk) x rk;
     x = V_m * Y_(m+1), its last row cut where `count` ends. */
static void ttei_contract(const tte_shape *shape, const int32_t *ranks, const float *cores,
                          size_t count, float *x, float *scratch)
{
    const int32_t d = shape->modes;
    const float *v = cores, *y = cores + ttei_core_numbers(shape, ranks), *core;
    size_t right, rows, n, r;
    const int32_t middle = ttei_middle(shape, &right);
    int32_t k;
    if (d == 1) {
        memcpy(x, cores, count * sizeof *x);
        return;
    }
    rows = (size_t)shape->dim[0];
    core = cores + rows * (size_t)ranks[1];
    for (k = 1; k < middle; ++k) {
        r = (size_t)ranks[k];
        n = (size_t)shape->dim[k] * (size_t)ranks[k + 1];
        ttei_product(rows, r, n, v, r, 1, core, n, scratch, n);
        core += r * n;
        v = scratch;
        scratch += rows * n;
        rows *= (size_t)shape->dim[k];
    }
    n = (size_t)shape->dim[d - 1];
    y -= (size_t)ranks[d - 1] * n;
    core = y;
    for (k = d - 2; k >= middle; --k) {
        r = (size_t)ranks[k + 1];
        rows = (size_t)ranks[k] * (size_t)shape->dim[k];
        core -= rows * r;
        ttei_product(rows, r, n, core, r, 1, y, n, scratch, n);
        y = scratch;
        scratch += rows * n;
        n *= (size_t)shape->dim[k];
    }
    r = (size_t)ranks[middle];
    rows = count / right;
    ttei_product(rows, r, right, v, r, 1, y, right, x, right);
    n = count % right;
    if (n > 0) ttei_product(1, r, n, v + rows * r, r, 1, y, right, x + rows * right, right);
}

tte_status tte_reconstruct(const tte_shape *shape, const int32_t *ranks, const float *cores, float *x,
                           float *scratch)
{
    size_t len;
    if (shape == NULL || ranks == NULL || cores == NULL || x == NULL) return TTE_ERR_ARGUMENT;
    if (tte_core_len(shape, ranks) == 0) return TTE_ERR_SHAPE;
    len = ttei_contract_len(shape, ranks);
    if (len > TTEI_SIZE_MAX / sizeof(float)) return TTE_ERR_SHAPE;
    if (scratch == NULL && len > 0) return TTE_ERR_ARGUMENT;
    ttei_contract(shape, ranks, cores, ttei_entries(shape), x, scratch);
    return TTE_OK;
}

/* E_k (ra x rb) from E_(k-1), which are kept at the two ends of `scratch` in turn. For each (a, i, b') the
   sum over b is taken once and spread over a'. */
static float ttei_inner(const tte_shape *shape, const int32_t *ra, const float *a, const int32_t *rb,
                        const float *b, float *scratch)
{
    size_t room = 0, p, i, q, l;
    int32_t k;
    float *e = scratch;
    for (k = 0; k < shape->modes; ++k)
        room = ttei_max(room, (size_t)ra[k] * (size_t)rb[k] + (size_t)ra[k + 1] * (size_t)rb[k + 1]);
    e[0] = 1;
    for (k = 0; k < shape->modes; ++k) {
        const size_t n = (size_t)shape->dim[k], a0 = (size_t)ra[k], b0 = (size_t)rb[k];
        const size_t a1 = (size_t)ra[k + 1], b1 = (size_t)rb[k + 1];
        float *next = e == scratch ? scratch + room - a1 * b1 : scratch;
        memset(next, 0, a1 * b1 * sizeof *next);
        for (p = 0; p < a0; ++p)
            for (i = 0; i < n; ++i, a += a1)  /* a row of A's core */
                for (q = 0; q < b1; ++q) {
                    float sum = 0;
                    for (l = 0; l < b0; ++l) sum += e[p * b0 + l] * b[(l * n + i) * b1 + q];
                    for (l = 0; l < a1; ++l) next[l * b1 + q] += a[l] * sum;
                }
        b += b0 * n * b1;
        e = next;
    }
    return e[0];
}

tte_status tte_inner(const tte_shape *shape, const int32_t *ranks_a, const float *cores_a,
                     const int32_t *ranks_b, const float *cores_b, float *result, float *scratch)
{
    int32_t k;
    if (shape == NULL || ranks_a == NULL || cores_a == NULL || ranks_b == NULL || cores_b == NULL ||
        result == NULL || scratch == NULL)
        return TTE_ERR_ARGUMENT;
    if (tte_core_len(shape, ranks_a) == 0 || tte_core_len(shape, ranks_b) == 0) return TTE_ERR_SHAPE;
    for (k = 0; k <= shape->modes; ++k)
        if (ttei_mul((size_t)ranks_a[k], (size_t)ranks_b[k]) > TTEI_SIZE_MAX / sizeof(float) / 2)
            return TTE_ERR_SHAPE;
    *result = ttei_inner(shape, ranks_a, cores_a, ranks_b, cores_b, scratch);
    return TTE_OK;
}

#ifndef TT_EMBED_DECODE_ONLY

size_t tte_core_cap(const tte_shape *shape, int max_rank)
{
    int32_t caps[TTE_MAX_MODES + 1];
    size_t entries;
    if (shape == NULL || max_rank < 0 || ttei_shape_check(shape, &entries) != TTE_OK) return 0;
    ttei_rank_caps(shape, (int32_t)max_rank, caps);
    return tte_core_len(shape, caps);
}

/* Room for a TT-SVD of one shape. The remainder before bond k is at most as large as x. */
typedef struct ttei_train_room {
    size_t entries;            /* prod(dim)                                   */
    float *remainder, *next;   /* entries each                                */
    float *u, *s, *vt;         /* entries, largest rank, entries              */
    float *gram;               /* largest rank squared, for rounded cores     */
    void *svd;
} ttei_train_room;

static void ttei_train_carve(const tte_shape *shape, const int32_t *caps, ttei_carve *carve,
                             ttei_train_room *room)
{
    ttei_svd_room_f32 unused;
    const size_t entries = ttei_entries(shape);
    size_t svd = 0, rank = 1, right = entries;
    int32_t k;
    for (k = 0; k + 1 < shape->modes; ++k) {
        right /= (size_t)shape->dim[k];
        rank = ttei_max(rank, (size_t)caps[k + 1]);
        svd = ttei_max(svd, ttei_svd_carve_f32((size_t)caps[k] * (size_t)shape->dim[k], right, NULL,
                                               &unused));
    }
    room->entries = entries;
    room->remainder = (float *)ttei_take(carve, entries, sizeof(float));
    room->next = (float *)ttei_take(carve, entries, sizeof(float));
    room->u = (float *)ttei_take(carve, entries, sizeof(float));
    room->s = (float *)ttei_take(carve, entries, sizeof(float));
    room->vt = (float *)ttei_take(carve, entries, sizeof(float));
    room->gram = (float *)ttei_take(carve, ttei_mul(rank, rank), sizeof(float));
    room->svd = ttei_take(carve, svd, 1);
}

/* Rounds core entries in place to what `coding` can represent; the scale of the codes goes to
   *scale. Returns 0 when they are beyond its range. Defined in CORE CODINGS. */
static int ttei_core_round(tte_coding coding, float *core, size_t n, float *scale);

/* The remainder (r x n) with |q * remainder - a| least, q (m x r), a (m x n). The columns of q are
   orthogonal up to rounding, so the normal equations are as good as any method here; a column that
   rounding has emptied or doubled gets a zero row. */
static void ttei_least_squares(size_t m, size_t r, size_t n, const float *q, const float *a,
                               float *gram, float *remainder)
{
    size_t i, k;
    float largest = 0;
    ttei_product(r, m, r, q, 1, r, q, r, gram, r);
    ttei_product(r, m, n, q, 1, r, a, n, remainder, n);
    for (i = 0; i < r; ++i)
        if (gram[i * r + i] > largest) largest = gram[i * r + i];
    for (i = 0; i < r; ++i) {                                   /* eliminate below the diagonal */
        float pivot = gram[i * r + i];
        if (!(pivot > 1e-5f * largest)) {
            gram[i * r + i] = 0;
            continue;
        }
        for (k = i + 1; k < r; ++k) {
            float factor = -gram[k * r + i] / pivot;
            ttei_axpy_f32(r - i, factor, gram + i * r + i, gram + k * r + i);
            ttei_axpy_f32(n, factor, remainder + i * n, remainder + k * n);
        }
    }
    for (i = r; i-- > 0;) {                                     /* substitute backwards         */
        float pivot = gram[i * r + i], *row = remainder + i * n;
        if (!(pivot > 0)) {
            memset(row, 0, n * sizeof *row);
            continue;
        }
        for (k = i + 1; k < r; ++k) ttei_axpy_f32(n, -gram[i * r + k], remainder + k * n, row);
        for (k = 0; k < n; ++k) row[k] /= pivot;
    }
}

/* The rank of one bond: without a bound (allowed < 0) as large as its cap; else the least rank whose
   discarded singular values stay within `allowed`, the square of an error. That square goes to
   *lost. */
static size_t ttei_choose_rank(const float *s, size_t count, size_t cap, double allowed, double *lost)
{
    size_t r = ttei_min(count, cap);
    double tail = 0;
    *lost = 0;
    if (allowed < 0) return r;
    for (r = count; r > 1; --r) {
        double next = tail + (double)s[r - 1] * (double)s[r - 1];
        if (!(next <= allowed)) break;
        tail = next;
    }
    for (; r > cap; --r) tail += (double)s[r - 1] * (double)s[r - 1];
    *lost = tail;
    return r;
}

/* |x - y|^2 in double, in sums that do not wait for each other; y NULL stands for zeros. */
TTEI_CLONES static double ttei_distance2(const float *x, const float *y, size_t n)
{
    ttei_quad a, b = {0};
    ttei_quad_f64 s0 = {0}, s1 = {0}, miss;
    double part[TTEI_QUAD], sum = 0, last;
    size_t i, j;
    for (i = 0; i + 2 * TTEI_QUAD <= n; i += 2 * TTEI_QUAD) {
        memcpy(&a, x + i, sizeof a);
        if (y != NULL) memcpy(&b, y + i, sizeof b);
        miss = TTEI_WIDEN(a) - TTEI_WIDEN(b);
        s0 += miss * miss;
        memcpy(&a, x + i + TTEI_QUAD, sizeof a);
        if (y != NULL) memcpy(&b, y + i + TTEI_QUAD, sizeof b);
        miss = TTEI_WIDEN(a) - TTEI_WIDEN(b);
        s1 += miss * miss;
    }
    for (; i < n; ++i) {
        last = (double)x[i] - (y != NULL ? (double)y[i] : 0);
        sum += last * last;
    }
    s0 += s1;
    memcpy(part, &s0, sizeof part);
    for (j = 0; j < TTEI_QUAD; ++j) sum += part[j];
    return sum;
}

static double ttei_norm2(const float *x, size_t n) { return ttei_distance2(x, NULL, n); }

/* x = 2^power * y with the largest entry of y in [1/2, 1): the scale in which a train is computed.
   `spread` is the power of two that gives each of d cores an equal share of the norm of x, `last` what
   is left for the last one when the others have theirs. */
typedef struct ttei_powers {
    int power, spread, last;
} ttei_powers;

static ttei_powers ttei_powers_of(const float *x, size_t n, double norm2, int32_t d)
{
    ttei_powers powers;
    powers.power = ttei_exponent_f32(ttei_top_f32(n, x));
    powers.spread = ttei_exponent_f64(norm2) / 2 / d;
    powers.last = powers.power - (d - 1) * powers.spread;
    return powers;
}

/* A core (m x r) is scaled and rounded to its coding; the remainder (m x n) becomes the least-squares
   one for the rounded core (r x n), so that later cores take up the error of this one. */
static tte_status ttei_train_round(tte_coding coding, size_t m, size_t r, size_t n, int spread,
                                   float *core, float *scale, ttei_train_room *room)
{
    float *swap = room->remainder;
    ttei_scale_f32(m * r, spread, core);
    if (!ttei_core_round(coding, core, m * r, scale)) return TTE_ERR_BUDGET;
    ttei_least_squares(m, r, n, core, room->remainder, room->gram, room->next);
    ttei_scale_f32(r * n, spread, room->next);  /* so that it keeps the norm of what is left of x */
    room->remainder = room->next;
    room->next = swap;
    return TTE_OK;
}

/* The last core is what remains, in the scale of x. */
static tte_status ttei_train_end(tte_coding coding, size_t n, const ttei_powers *powers, float *core,
                                 float *scale)
{
    ttei_scale_f32(n, coding == TTE_F32 ? powers->power : powers->last, core);
    if (!ttei_core_round(coding, core, n, scale)) return TTE_ERR_BUDGET;
    return ttei_all_finite_f32(core, n) ? TTE_OK : TTE_ERR_NOT_FINITE;
}

/* TT-SVD of x, whose `count` entries are padded with zeros to the shape's [Ose11, Alg. 1]. Before
   bond k the remainder is a matrix (r[k-1] n[k]) x (n[k+1]..n[d]); its leading left singular vectors
   are G_k, and what is left after projecting on them goes on to the next bond. The projections are
   nested, so the squared errors add up, and each bond may spend an equal share of what those before
   it left over: |x - x^|^2 = sum of lost_k^2 <= eps^2 |x|^2. With eps < 0 only the caps truncate.
   scales[k] belong to the codes of a rounding coding.
   Returns TTE_ERR_BUDGET when a core is beyond the range of the coding. */
static tte_status ttei_train(const tte_shape *shape, const int32_t *caps, double eps,
                             tte_coding coding, const float *x, size_t count, int32_t *ranks,
                             float *cores, float *scales, ttei_train_room *room)
{
    const int32_t d = shape->modes;
    size_t n = room->entries, m, r, i, full;
    int32_t k;
    const double norm2 = ttei_norm2(x, count);
    const ttei_powers powers = ttei_powers_of(x, count, norm2, d);
    double budget = eps < 0 ? -1 : ldexp(eps * eps * norm2, -2 * powers.power), lost;
    tte_status status;
    memcpy(room->remainder, x, count * sizeof *x);
    memset(room->remainder + count, 0, (room->entries - count) * sizeof *x);
    ttei_scale_f32(count, -powers.power, room->remainder);
    ranks[0] = ranks[d] = 1;
    for (k = 0; k + 1 < d; ++k) {
        m = (size_t)ranks[k] * (size_t)shape->dim[k];
        n /= (size_t)shape->dim[k];
        full = ttei_min(m, n);
        status = ttei_svd_f32(m, n, room->remainder, room->u, room->s, room->vt, room->svd);
        if (status != TTE_OK) return status;
        r = ttei_choose_rank(room->s, full, (size_t)caps[k + 1],
                             budget < 0 ? budget : budget / (double)(d - 1 - k), &lost);
        if (budget >= 0) budget = budget > lost ? budget - lost : 0;
        ranks[k + 1] = (int32_t)r;
        for (i = 0; i < m; ++i) memcpy(cores + i * r, room->u + i * full, r * sizeof *cores);
        if (coding == TTE_F32) {
            for (i = 0; i < r * n; ++i) room->remainder[i] = room->s[i / n] * room->vt[i];
        } else {
            status = ttei_train_round(coding, m, r, n, powers.spread, cores, &scales[k], room);
            if (status != TTE_OK) return status;
        }
        cores += m * r;
    }
    n = (size_t)ranks[d - 1] * (size_t)shape->dim[d - 1];
    memcpy(cores, room->remainder, n * sizeof *cores);
    return ttei_train_end(coding, n, &powers, cores, &scales[d - 1]);
}

/* What float arithmetic may add to the error of a train with d modes, relative to its norm. */
static double ttei_rounding(int32_t modes) { return 2 * (double)FLT_EPSILON * (double)modes; }

/* The room of tte_decompose: cores are made in `train` first, so that failure leaves no trace. */
static size_t ttei_decompose_carve(const tte_shape *shape, void *work, ttei_train_room *room,
                                   float **train)
{
    int32_t caps[TTE_MAX_MODES + 1];
    ttei_carve carve = ttei_carve_begin(work);
    ttei_rank_caps(shape, 0, caps);
    ttei_train_carve(shape, caps, &carve, room);
    *train = (float *)ttei_take(&carve, ttei_core_sum(shape, caps), sizeof(float));
    return carve.used;
}

size_t tte_decompose_work(const tte_shape *shape)
{
    ttei_train_room room;
    float *train;
    size_t entries, size;
    if (shape == NULL || ttei_shape_check(shape, &entries) != TTE_OK) return 0;
    size = ttei_decompose_carve(shape, NULL, &room, &train);
    return size == TTEI_SIZE_MAX ? 0 : size;
}

tte_status tte_decompose(const tte_shape *shape, const float *x, int max_rank, float eps,
                         int32_t *ranks, float *cores, void *work)
{
    int32_t caps[TTE_MAX_MODES + 1], found[TTE_MAX_MODES + 1];
    float scales[TTE_MAX_MODES], *train;
    size_t entries;
    ttei_train_room room;
    double bound;
    tte_status status;
    if (shape == NULL || x == NULL || ranks == NULL || cores == NULL || work == NULL || max_rank < 0 ||
        !ttei_finite_f32(eps) || eps < 0)
        return TTE_ERR_ARGUMENT;
    status = ttei_shape_check(shape, &entries);
    if (status != TTE_OK) return status;
    if (tte_decompose_work(shape) == 0) return TTE_ERR_SHAPE;
    if (!ttei_all_finite_f32(x, entries)) return TTE_ERR_NOT_FINITE;
    /* All but the last core are orthonormal: then no sum in tte_reconstruct exceeds |x^| <= |x| (1 + 1e-5). */
    if (ttei_norm2(x, entries) > 0.9999 * 0.9999 * (double)FLT_MAX * (double)FLT_MAX)
        return TTE_ERR_NOT_FINITE;

    (void)ttei_decompose_carve(shape, work, &room, &train);
    ttei_rank_caps(shape, (int32_t)max_rank, caps);
    bound = (double)eps - ttei_rounding(shape->modes);
    if (bound < 0) bound = 0;
    status = ttei_train(shape, caps, eps > 0 ? bound : -1, TTE_F32, x, entries, found, train, scales,
                        &room);
    if (status != TTE_OK) return status;
    memcpy(ranks, found, ((size_t)shape->modes + 1) * sizeof *ranks);
    memcpy(cores, train, ttei_core_sum(shape, found) * sizeof *cores);
    return TTE_OK;
}

/* ================================================================================================
   MANY ROWS AT ONCE
   Tables hold 50,000 or more small matrices, all of one shape. Rows lie side by side in the lanes of
   a vector: entry (i, j) of eight rows is one ttei_lanes, every step is the same for all lanes, and a
   lane that has converged meets rotations by zero. No lane ever looks at another, so a row gives the
   same cores whatever rows stand beside it.

   For one bond, A of shape m x n, the leading r left singular vectors are wanted. They are computed
   as eigenvectors of A A^T; a tall A is first reduced to its triangular factor, which takes its place:
       A = P R                Householder reflections, only when m > n     [GVL 5.2.1]
       A A^T = Q T Q^T        Householder reflections, T tridiagonal       [GVL 8.3.1]
       T = Z L Z^T            implicit QR with Wilkinson's shift           [GVL 8.3.3]
       U = P Q Z, r columns   the rotations of Z, kept in a list, meet r unit vectors from the back
   U is orthonormal to rounding in any case, and the remainder U^T A takes exactly what U spans. What
   the square A A^T costs is accuracy in small singular vectors, about epsilon |A|^2 of what a cut
   loses. Where a cut loses less than a thousandth of |A|^2, that would be seen: such a row goes to
   the general method.
   ============================================================================================= */

#define TTEI_LANE_SIDE 128     /* a larger min(m, n) goes to the general method      */
#define TTEI_LANE_SWEEPS (TTEI_SVD_SWEEPS < 12 ? TTEI_SVD_SWEEPS : 12)  /* for one eigenvalue */
#define TTEI_LANE_CUT 1e-3f    /* of |A|^2: the least loss this method is trusted with */

typedef struct ttei_lane_room {  /* side = min(m, n), the largest of all bonds             */
    ttei_lanes *a, *b;       /* entries each: the remainder before a bond and after it     */
    ttei_lanes *triangle;    /* side x side: R                                             */
    ttei_lanes *gram;        /* side x side: A A^T, then the vectors of the reflections    */
    ttei_lanes *d, *e, *tau, *tau_tall;  /* side each                                      */
    ttei_lanes *line;        /* side                                                       */
    ttei_lanes *turns;       /* cosine and sine of every rotation in order                 */
    int32_t *planes;         /* rotation i turns the plane (planes[i], planes[i] + 1)      */
    ttei_lanes *u;           /* m x r                                                      */
    float *cores;            /* one train for each lane                                    */
    size_t entries, cores_len;
} ttei_lane_room;

/* Carves the room; returns 0 when a bond is too large for it. */
static int ttei_lane_carve(const tte_shape *shape, const int32_t *ranks, ttei_carve *carve,
                           ttei_lane_room *room)
{
    size_t side = 1, mr = 1, turns, m, n;
    int32_t k;
    room->entries = ttei_entries(shape);
    room->cores_len = ttei_core_sum(shape, ranks);
    for (k = 0, n = room->entries; k + 1 < shape->modes; ++k) {
        m = (size_t)ranks[k] * (size_t)shape->dim[k];
        n /= (size_t)shape->dim[k];
        side = ttei_max(side, ttei_min(m, n));
        mr = ttei_max(mr, m * (size_t)ranks[k + 1]);
    }
    if (side > TTEI_LANE_SIDE) return 0;
    turns = TTEI_LANE_SWEEPS * side * (side - 1) / 2;
    room->a = (ttei_lanes *)ttei_take(carve, room->entries, sizeof(ttei_lanes));
    room->b = (ttei_lanes *)ttei_take(carve, room->entries, sizeof(ttei_lanes));
    room->triangle = (ttei_lanes *)ttei_take(carve, side * side, sizeof(ttei_lanes));
    room->gram = (ttei_lanes *)ttei_take(carve, side * side, sizeof(ttei_lanes));
    room->d = (ttei_lanes *)ttei_take(carve, side, sizeof(ttei_lanes));
    room->e = (ttei_lanes *)ttei_take(carve, side, sizeof(ttei_lanes));
    room->tau = (ttei_lanes *)ttei_take(carve, side, sizeof(ttei_lanes));
    room->tau_tall = (ttei_lanes *)ttei_take(carve, side, sizeof(ttei_lanes));
    room->line = (ttei_lanes *)ttei_take(carve, side, sizeof(ttei_lanes));
    room->turns = (ttei_lanes *)ttei_take(carve, 2 * turns, sizeof(ttei_lanes));
    room->planes = (int32_t *)ttei_take(carve, turns, sizeof(int32_t));
    room->u = (ttei_lanes *)ttei_take(carve, mr, sizeof(ttei_lanes));
    room->cores = (float *)ttei_take(carve, ttei_mul(TTEI_LANES, room->cores_len), sizeof(float));
    return 1;
}

/* 1 / sqrt(x) for x > 0 by Newton's iteration r <- r (3 - x r^2) / 2. The first guess halves and
   negates the exponent by integer arithmetic on the bits and is good to 4 per cent; three steps come
   near, and the fourth, as a correction that is small beside r, reaches rounding without a bias that
   hundreds of rotations would add up. Additions and multiplications only: the approximate reciprocal
   root that processors offer for this differs from one to the other. */
TTEI_INLINE void ttei_lane_rsqrt(const ttei_lanes *x, ttei_lanes *r)
{
    ttei_lanes y, half = *x * 0.5f;
    ttei_lane_bits bits;
    int step;
    memcpy(&bits, x, sizeof bits);
    bits = 0x5f3759df - (bits >> 1);
    memcpy(&y, &bits, sizeof y);
    for (step = 0; step < 3; ++step) y = y * (1.5f - half * y * y);
    *r = y + y * (0.5f - half * y * y);
}

TTEI_INLINE int ttei_lane_all(const ttei_lane_bits *mask)
{
    int32_t lanes[TTEI_LANES], all = -1;
    int i;
    memcpy(lanes, mask, sizeof lanes);
    for (i = 0; i < TTEI_LANES; ++i) all &= lanes[i];
    return all != 0;
}

/* c (m x m, lower triangle) = a a^T. Two rows against two rows: four products for four loads. */
TTEI_CLONES static void ttei_lane_gram(size_t m, size_t n, const ttei_lanes *a, ttei_lanes *c)
{
    size_t i, j, k;
    for (i = 0; i < m; i += 2) {
        const ttei_lanes *x = a + i * n, *x1 = i + 1 < m ? x + n : x;
        for (j = 0; j <= i; j += 2) {
            const ttei_lanes *y = a + j * n, *y1 = j + 1 < m ? y + n : y;
            ttei_lanes s00 = x[0] * y[0], s01 = x[0] * y1[0], s10 = x1[0] * y[0], s11 = x1[0] * y1[0];
            for (k = 1; k < n; ++k) {
                s00 += x[k] * y[k];
                s01 += x[k] * y1[k];
                s10 += x1[k] * y[k];
                s11 += x1[k] * y1[k];
            }
            c[i * m + j] = s00;
            if (j + 1 < m) c[i * m + j + 1] = s01;
            if (i + 1 < m) c[(i + 1) * m + j] = s10;
            if (i + 1 < m && j + 1 < m) c[(i + 1) * m + j + 1] = s11;
        }
    }
}

/* A reflection I - tau v v^T in each lane that maps x, n entries `stride` apart, to (beta, 0, .., 0).
   x becomes v, with first entry 1. Where x has that form already, tau is 0. */
TTEI_INLINE void ttei_lane_reflector(size_t n, size_t stride, ttei_lanes *x, ttei_lanes *tau,
                                     ttei_lanes *beta)
{
    const ttei_lanes zero = {0}, one = zero + 1.0f, tiny = zero + TTEI_LANE_TINY, first = x[0];
    ttei_lanes tail = zero, norm2, r, norm, scale;
    ttei_lane_bits trivial;
    size_t i;
    for (i = 1; i < n; ++i) tail += x[i * stride] * x[i * stride];
    trivial = TTEI_LESS(tail, tiny);
    norm2 = TTEI_SELECT(trivial, one, first * first + tail);
    ttei_lane_rsqrt(&norm2, &r);
    norm = norm2 * r;
    norm = TTEI_SELECT(TTEI_LESS(first, zero), norm, -norm);
    *tau = TTEI_SELECT(trivial, zero, (norm - first) / norm);
    *beta = TTEI_SELECT(trivial, first, norm);
    scale = one / TTEI_SELECT(trivial, one, first - norm);
    x[0] = one;
    for (i = 1; i < n; ++i) x[i * stride] *= scale;
}

/* x (n rows of `width`, `step` apart) -= tau v (v^T x). */
TTEI_INLINE void ttei_lane_reflect(size_t n, size_t stride, const ttei_lanes *v, const ttei_lanes *tau,
                                   size_t width, size_t step, ttei_lanes *line, ttei_lanes *x)
{
    size_t i, j;
    for (j = 0; j < width; ++j) line[j] = x[j];
    for (i = 1; i < n; ++i)
        for (j = 0; j < width; ++j) line[j] += v[i * stride] * x[i * step + j];
    for (j = 0; j < width; ++j) {
        line[j] *= *tau;
        x[j] -= line[j];
    }
    for (i = 1; i < n; ++i)
        for (j = 0; j < width; ++j) x[i * step + j] -= v[i * stride] * line[j];
}

/* A tall a (m x n) becomes R and, below its diagonal, the vectors of the reflections; R, with zeros
   below its diagonal, is copied to `triangle`. */
TTEI_CLONES static void ttei_lane_triangle(size_t m, size_t n, ttei_lanes *a, ttei_lanes *tau,
                                           ttei_lanes *line, ttei_lanes *triangle)
{
    size_t j;
    memset(triangle, 0, n * n * sizeof *triangle);
    for (j = 0; j < n; ++j) {
        ttei_lanes *v = a + j * n + j;
        ttei_lane_reflector(m - j, n, v, &tau[j], &triangle[j * n + j]);
        if (j + 1 == n) break;
        ttei_lane_reflect(m - j, n, v, &tau[j], n - j - 1, n, line, v + 1);
        memcpy(&triangle[j * n + j + 1], v + 1, (n - j - 1) * sizeof *v);
    }
}

/* The columns of u (n rows of r, then zeros up to m) = P u. */
TTEI_CLONES static void ttei_lane_tall(size_t m, size_t n, size_t r, const ttei_lanes *a,
                                       const ttei_lanes *tau, ttei_lanes *line, ttei_lanes *u)
{
    size_t j;
    for (j = n; j-- > 0;)
        ttei_lane_reflect(m - j, n, a + j * n + j, &tau[j], r, r, line, u + j * r);
}

/* c = Q T Q^T, d and e the diagonals of T. Reflection k acts on rows k + 1 .. m - 1; its vector, with
   first entry 1, is left in column k of c below the diagonal. Only the lower triangle is used. */
TTEI_CLONES static void ttei_lane_tridiagonal(size_t m, ttei_lanes *c, ttei_lanes *d, ttei_lanes *e,
                                              ttei_lanes *tau, ttei_lanes *p)
{
    const ttei_lanes zero = {0};
    size_t i, j, k;
    for (k = 0; k + 2 < m; ++k) {
        ttei_lanes *v = c + (k + 1) * m + k, t, sum;            /* v[i * m] is entry i             */
        const size_t n = m - k - 1;
        d[k] = c[k * m + k];
        ttei_lane_reflector(n, m, v, &tau[k], &e[k]);
        t = tau[k];
        for (i = 0; i < n; ++i) p[i] = zero;                    /* p = tau C v                     */
        for (i = 0; i < n; ++i) {
            const ttei_lanes *row = c + (k + 1 + i) * m + k + 1;
            ttei_lanes vi = v[i * m], acc = row[i] * vi;
            for (j = 0; j < i; ++j) {
                acc += row[j] * v[j * m];
                p[j] += row[j] * vi;
            }
            p[i] += acc;
        }
        sum = zero;
        for (i = 0; i < n; ++i) {
            p[i] *= t;
            sum += p[i] * v[i * m];
        }
        sum *= t * 0.5f;
        for (i = 0; i < n; ++i) p[i] -= sum * v[i * m];         /* w = p - (tau/2)(p^T v) v        */
        for (i = 0; i < n; ++i) {                               /* C - v w^T - w v^T               */
            ttei_lanes *row = c + (k + 1 + i) * m + k + 1, vi = v[i * m], pi = p[i];
            for (j = 0; j <= i; ++j) row[j] -= vi * p[j] + pi * v[j * m];
        }
    }
    for (; k < m; ++k) {
        d[k] = c[k * m + k];
        if (k + 1 < m) e[k] = c[(k + 1) * m + k];
    }
}

/* One QR step on rows lo .. hi of T, lo its own in each lane: where the last off-diagonal entry above
   hi that is negligible ends the block. Lanes in `idle` take no part. Rotations go to the list. */
TTEI_INLINE void ttei_lane_qr_step(size_t hi, ttei_lanes *d, ttei_lanes *e, const ttei_lanes *floor_e,
                                   const ttei_lane_bits *idle, ttei_lanes *turns)
{
    const ttei_lanes zero = {0}, one = zero + 1.0f, tiny = zero + TTEI_LANE_TINY;
    ttei_lanes half, root, g = e[hi - 1], r, shift, x = zero, z = zero, c, s;
    ttei_lane_bits started = *idle & 0, ended = *idle;
    size_t k;
    /* Wilkinson: the eigenvalue of the last 2 x 2 corner that is nearer to its last entry. */
    half = (d[hi - 1] - d[hi]) * 0.5f;
    root = half * half + g * g;
    root = TTEI_SELECT(TTEI_LESS(root, tiny), tiny, root);
    ttei_lane_rsqrt(&root, &r);
    root = root * r;
    shift = d[hi] - g * g / (half + TTEI_SELECT(TTEI_LESS(half, zero), -root, root));

    for (k = hi; k-- > 0;) {  /* mark where each lane's block starts, in the cosines' places */
        ttei_lanes size = TTEI_SELECT(TTEI_LESS(e[k], zero), -e[k], e[k]);
        ended |= ~TTEI_LESS(*floor_e, size);
        turns[2 * k] = TTEI_SELECT(ended, zero, one);
    }
    for (k = 0; k < hi; ++k) {
        ttei_lane_bits inside = TTEI_LESS(zero, turns[2 * k]), begins = inside & ~started;
        ttei_lanes square, di = d[k], dj = d[k + 1], ek = e[k], t1, t2;
        started |= inside;
        x = TTEI_SELECT(begins, di - shift, x);
        z = TTEI_SELECT(begins, ek, z);
        square = x * x + z * z;
        inside &= ~TTEI_LESS(square, tiny);
        square = TTEI_SELECT(inside, square, one);
        ttei_lane_rsqrt(&square, &r);
        c = TTEI_SELECT(inside, x * r, one);
        s = TTEI_SELECT(inside, z * r, zero);
        if (k > 0) e[k - 1] = TTEI_SELECT(inside & ~begins, square * r, e[k - 1]);
        t1 = c * di + s * ek;
        t2 = c * ek + s * dj;
        d[k] = c * t1 + s * t2;
        t1 = c * ek - s * di;
        t2 = c * dj - s * ek;
        d[k + 1] = c * t2 - s * t1;
        x = e[k] = c * t1 + s * t2;
        if (k + 1 < hi) {
            z = s * e[k + 1];
            e[k + 1] *= c;
        }
        turns[2 * k] = c;
        turns[2 * k + 1] = s;
    }
}

/* T = Z diag(d) Z^T. Returns the number of rotations; lanes that did not converge are set in
   *failed. */
TTEI_CLONES static size_t ttei_lane_diagonalize(size_t m, ttei_lanes *d, ttei_lanes *e,
                                                ttei_lanes *turns, int32_t *planes,
                                                ttei_lane_bits *failed)
{
    const ttei_lanes zero = {0};
    ttei_lanes floor_e = zero;
    size_t hi, k, count = 0;
    int sweep;
    for (k = 0; k < m; ++k) {  /* negligible: rounding of the largest entry of T */
        ttei_lanes size = TTEI_SELECT(TTEI_LESS(d[k], zero), -d[k], d[k]);
        floor_e = TTEI_SELECT(TTEI_LESS(floor_e, size), size, floor_e);
    }
    floor_e *= 0.5f * FLT_EPSILON;
    memset(failed, 0, sizeof *failed);
    for (hi = m - 1; hi > 0; --hi)
        for (sweep = 0;; ++sweep) {
            ttei_lanes size = TTEI_SELECT(TTEI_LESS(e[hi - 1], zero), -e[hi - 1], e[hi - 1]);
            ttei_lane_bits idle = ~TTEI_LESS(floor_e, size);
            if (ttei_lane_all(&idle)) break;
            if (sweep == TTEI_LANE_SWEEPS) {
                *failed |= ~idle;
                break;
            }
            ttei_lane_qr_step(hi, d, e, &floor_e, &idle, turns + 2 * count);
            for (k = 0; k < hi; ++k) planes[count++] = (int32_t)k;
        }
    return count;
}

/* u (m x r) = Q Z, the columns of the unit vectors already in place: the rotations act from the last
   to the first, then the reflections. */
TTEI_CLONES static void ttei_lane_vectors(size_t m, size_t r, size_t count, const ttei_lanes *turns,
                                          const int32_t *planes, const ttei_lanes *c,
                                          const ttei_lanes *tau, ttei_lanes *line, ttei_lanes *u)
{
    size_t j, k;
    while (count-- > 0) {
        ttei_lanes cosine = turns[2 * count], sine = turns[2 * count + 1];
        ttei_lanes *x = u + (size_t)planes[count] * r, *y = x + r;
        for (j = 0; j < r; ++j) {
            ttei_lanes xj = x[j], yj = y[j];
            x[j] = cosine * xj - sine * yj;
            y[j] = sine * xj + cosine * yj;
        }
    }
    for (k = m < 2 ? 0 : m - 2; k-- > 0;)
        ttei_lane_reflect(m - k - 1, m, c + (k + 1) * m + k, &tau[k], r, r, line, u + (k + 1) * r);
}

/* b (r x n) = u^T a, four rows at a time. */
TTEI_CLONES static void ttei_lane_project(size_t m, size_t r, size_t n, const ttei_lanes *u,
                                          const ttei_lanes *a, ttei_lanes *b)
{
    size_t i, j, k;
    for (j = 0; j + 4 <= r; j += 4)
        for (k = 0; k < n; ++k) {
            ttei_lanes x = a[k], s0 = u[j] * x, s1 = u[j + 1] * x, s2 = u[j + 2] * x, s3 = u[j + 3] * x;
            for (i = 1; i < m; ++i) {
                const ttei_lanes *ui = u + i * r + j;
                x = a[i * n + k];
                s0 += ui[0] * x;
                s1 += ui[1] * x;
                s2 += ui[2] * x;
                s3 += ui[3] * x;
            }
            b[j * n + k] = s0;
            b[(j + 1) * n + k] = s1;
            b[(j + 2) * n + k] = s2;
            b[(j + 3) * n + k] = s3;
        }
    for (; j < r; ++j)
        for (k = 0; k < n; ++k) {
            ttei_lanes sum = u[j] * a[k];
            for (i = 1; i < m; ++i) sum += u[i * r + j] * a[i * n + k];
            b[j * n + k] = sum;
        }
}

/* The largest entry of each row of b positive, the first of equals deciding; u turns along. */
TTEI_CLONES static void ttei_lane_signs(size_t m, size_t r, size_t n, ttei_lanes *u, ttei_lanes *b)
{
    size_t i, j, k;
    for (j = 0; j < r; ++j) {
        ttei_lanes *row = b + j * n, most = row[0], sign;
        const ttei_lanes zero = {0}, one = zero + 1.0f;
        for (k = 1; k < n; ++k)
            most = TTEI_SELECT(TTEI_LESS(most * most, row[k] * row[k]), row[k], most);
        sign = TTEI_SELECT(TTEI_LESS(most, zero), -one, one);
        for (k = 0; k < n; ++k) row[k] *= sign;
        for (i = 0; i < m; ++i) u[i * r + j] *= sign;
    }
}

/* In each lane, the places of the r largest of d, as unit vectors in u (m x r). d is used up. A lane
   whose cut loses too little to be trusted here is set in *failed. */
static void ttei_lane_leading(size_t m, size_t r, ttei_lanes *d, ttei_lanes *u, ttei_lane_bits *failed)
{
    float *values = (float *)d, *vectors = (float *)u;
    size_t lane, i, j, best;
    memset(u, 0, m * r * sizeof *u);
    for (lane = 0; lane < TTEI_LANES; ++lane) {
        float kept = 0, lost = 0;
        for (j = 0; j < r; ++j) {
            for (best = 0, i = 1; i < m; ++i)
                if (values[i * TTEI_LANES + lane] > values[best * TTEI_LANES + lane]) best = i;
            kept += values[best * TTEI_LANES + lane];
            values[best * TTEI_LANES + lane] = -FLT_MAX;
            vectors[(best * r + j) * TTEI_LANES + lane] = 1;
        }
        for (i = 0; i < m; ++i)
            if (values[i * TTEI_LANES + lane] > 0) lost += values[i * TTEI_LANES + lane];
        if (r < m && kept > 0 && !(lost > TTEI_LANE_CUT * kept))
            ((int32_t *)failed)[lane] = -1;
    }
}

/* One bond: the left singular vectors of room->a (m x n) to room->u (m x r), the remainder to
   room->b (r x n). Lanes that did not converge are set in *failed. */
static void ttei_lane_bond(size_t m, size_t n, size_t r, ttei_lane_room *room, ttei_lane_bits *failed)
{
    const size_t side = ttei_min(m, n);
    size_t count;
    if (m > n) {
        memcpy(room->b, room->a, m * n * sizeof *room->a);
        ttei_lane_triangle(m, n, room->b, room->tau_tall, room->line, room->triangle);
    }
    ttei_lane_gram(side, n, m > n ? room->triangle : room->a, room->gram);
    ttei_lane_tridiagonal(side, room->gram, room->d, room->e, room->tau, room->line);
    count = ttei_lane_diagonalize(side, room->d, room->e, room->turns, room->planes, failed);
    ttei_lane_leading(side, r, room->d, room->u, failed);
    ttei_lane_vectors(side, r, count, room->turns, room->planes, room->gram, room->tau, room->line,
                      room->u);
    if (m > n) {
        memset(room->u + n * r, 0, (m - n) * r * sizeof *room->u);
        ttei_lane_tall(m, n, r, room->b, room->tau_tall, room->line, room->u);
    }
    ttei_lane_project(m, r, n, room->u, room->a, room->b);
    ttei_lane_signs(m, r, n, room->u, room->b);
}

/* -0 becomes 0: which of the two comes out may depend on how long other lanes were turned by zero. */
static void ttei_from_lane(size_t n, size_t lane, const ttei_lanes *x, float *y)
{
    const float *entry = (const float *)x + lane;
    uint32_t bits;
    size_t i;
    for (i = 0; i < n; ++i) {
        memcpy(&bits, &entry[i * TTEI_LANES], sizeof bits);
        bits = bits == 0x80000000u ? 0 : bits;
        memcpy(&y[i], &bits, sizeof bits);
    }
}

static void ttei_to_lane(size_t n, size_t lane, const float *x, ttei_lanes *y)
{
    float *entry = (float *)y + lane;
    size_t i;
    for (i = 0; i < n; ++i) entry[i * TTEI_LANES] = x[i];
}

/* Brings the rows to order 1, each by its own power of two (as ttei_scale_f32 does). */
static void ttei_lane_scale(size_t n, const ttei_powers *powers, ttei_lanes *a)
{
    float one[TTEI_LANES], two[TTEI_LANES];
    ttei_lanes first, second;
    size_t i;
    for (i = 0; i < TTEI_LANES; ++i) {
        one[i] = (float)ldexp(1.0, -powers[i].power / 2);
        two[i] = (float)ldexp(1.0, -powers[i].power - -powers[i].power / 2);
    }
    memcpy(&first, one, sizeof first);
    memcpy(&second, two, sizeof second);
    for (i = 0; i < n; ++i) a[i] = a[i] * first * second;
}

/* The same as ttei_train for up to TTEI_LANES rows at once, all with the given ranks: train `i` goes
   to room->cores + i * room->cores_len, its scales to scales[i], its status to status[i], which is
   TTE_OK on entry or else leaves the row out; norm2[i] is its squared norm. `one` serves what a
   row has to do alone: rounding its cores, and the general method where this one will not do. */
static void ttei_train_lanes(const tte_shape *shape, const int32_t *ranks, tte_coding coding,
                             const float *rows, size_t dim, size_t count, const double *norm2,
                             tte_status *status, float (*scales)[TTE_MAX_MODES],
                             ttei_lane_room *room, ttei_train_room *one)
{
    const int32_t d = shape->modes;
    int32_t failed[TTEI_LANES], found[TTE_MAX_MODES + 1], k;
    ttei_powers powers[TTEI_LANES];
    size_t n = room->entries, m, r, lane, at = 0;
    ttei_lane_bits bits;
    ttei_lanes *swap;
    memset(failed, 0, sizeof failed);
    memset(room->a, 0, room->entries * sizeof *room->a);
    memset(powers, 0, sizeof powers);
    for (lane = 0; lane < count; ++lane) {
        if (status[lane] != TTE_OK) continue;
        powers[lane] = ttei_powers_of(rows + lane * dim, dim, norm2[lane], d);
        ttei_to_lane(dim, lane, rows + lane * dim, room->a);
    }
    ttei_lane_scale(dim, powers, room->a);
    for (k = 0; k + 1 < d; ++k) {
        m = (size_t)ranks[k] * (size_t)shape->dim[k];
        n /= (size_t)shape->dim[k];
        r = (size_t)ranks[k + 1];
        ttei_lane_bond(m, n, r, room, &bits);
        for (lane = 0; lane < count; ++lane) {
            float *core = room->cores + lane * room->cores_len + at;
            failed[lane] |= ((const int32_t *)&bits)[lane];
            if (status[lane] != TTE_OK) continue;
            ttei_from_lane(m * r, lane, room->u, core);
            if (coding == TTE_F32) continue;
            ttei_from_lane(m * n, lane, room->a, one->remainder);
            status[lane] = ttei_train_round(coding, m, r, n, powers[lane].spread, core,
                                            &scales[lane][k], one);
            ttei_to_lane(r * n, lane, one->remainder, room->b);
        }
        swap = room->a;
        room->a = room->b;
        room->b = swap;
        at += m * r;
    }
    n = (size_t)ranks[d - 1] * (size_t)shape->dim[d - 1];
    for (lane = 0; lane < count; ++lane) {
        float *cores = room->cores + lane * room->cores_len;
        if (failed[lane] != 0) {
            status[lane] = ttei_train(shape, ranks, -1, coding, rows + lane * dim, dim, found, cores,
                                      scales[lane], one);
        } else if (status[lane] == TTE_OK) {
            ttei_from_lane(n, lane, room->a, cores + at);
            status[lane] =
                ttei_train_end(coding, n, &powers[lane], cores + at, &scales[lane][d - 1]);
        }
    }
}

#endif /* TT_EMBED_DECODE_ONLY */

/* ================================================================================================
   CORE CODINGS
   A record is what the image holds of one token: scales, then the entries of all cores as codes.
   ============================================================================================= */

static int ttei_has_scales(tte_coding coding) { return coding == TTE_I8 || coding == TTE_I4; }

/* Bytes of n numbers of 32 >> w bits: float32, 16, 8 or 4 bits, in the order of tte_coding and of the runs of
   a matrix. */
static size_t ttei_packed_bytes(int w, size_t n)
{
    const size_t bits = 32u >> w;
    return ttei_add(ttei_mul(n / 8, bits), (n % 8 * bits + 7) / 8);
}

/* Bytes of a record with `numbers` core entries. */
static size_t ttei_record_bytes(tte_coding coding, int32_t modes, size_t numbers)
{
    return ttei_add(ttei_has_scales(coding) ? 2 * (size_t)modes : 0, ttei_packed_bytes((int)coding, numbers));
}

/* Codes are read several at once where there are vectors and numbers lie in memory as in the image;
   everywhere else entry by entry, with the same results. */
#if !defined(TT_EMBED_DECODE_ONLY) && TTEI_LANES > 1 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define TTEI_CODE_LANES
#define TTEI_ROWS 4  /* coded rows that are added together */
typedef uint32_t ttei_lane_words __attribute__((vector_size(32), may_alias));
typedef uint16_t ttei_lane_halves __attribute__((vector_size(16), may_alias));
/* What is left of words when `less` bits are shifted out, as signed numbers in float. */
#define TTEI_SIGNED_LANES(words, less) \
    __builtin_convertvector((ttei_lane_bits)(words) >> (less), ttei_lanes)
/* values = entries 8 k .. 8 k + 7 of a block, see "coded matrices" */
#define TTEI_CODES_OF(words, bits, k) \
    TTEI_SIGNED_LANES((words) << (32 - (bits) * ((k) + 1)), 32 - (bits))

/* Eight float16: their bits, moved into place, are 2^-112 of the value, also the subnormal ones. */
TTEI_INLINE void ttei_f16_lanes(const unsigned char *p, float *out)
{
    ttei_lane_halves halves;
    ttei_lane_words bits, magnitude, beyond;
    ttei_lanes value;
    memcpy(&halves, p, sizeof halves);
    bits = __builtin_convertvector(halves, ttei_lane_words);
    magnitude = (bits & 0x7fffu) << 13;
    value = (ttei_lanes)magnitude * 5192296858534827628530496329220096.0f;
    beyond = (ttei_lane_words)((ttei_lane_bits)magnitude > 0x0f7fffff);  /* infinity and NaN */
    bits = (bits & 0x8000u) << 16 | ((ttei_lane_words)value & ~beyond) |
           ((magnitude | 0x7f800000u) & beyond);
    memcpy(out, &bits, sizeof bits);
}

/* Eight integers of 16, 8 or 4 bits (`run` 1, 2, 3 of a coded matrix) one after the other. */
TTEI_INLINE void ttei_plain_lanes(int run, const unsigned char *p, ttei_lanes *out)
{
    static const ttei_lane_words nibbles = {28, 24, 20, 16, 12, 8, 4, 0},
                                 bytes = {24, 16, 8, 0, 24, 16, 8, 0},
                                 first = {~0u, ~0u, ~0u, ~0u, 0, 0, 0, 0};
    ttei_lane_halves halves;
    uint32_t w, v;
    if (run == 1) {
        memcpy(&halves, p, sizeof halves);
        *out = TTEI_SIGNED_LANES(__builtin_convertvector(halves, ttei_lane_words) << 16, 16);
    } else if (run == 2) {
        memcpy(&w, p, sizeof w);
        memcpy(&v, p + 4, sizeof v);
        *out = TTEI_SIGNED_LANES(((w & first) | (v & ~first)) << bytes, 24);
    } else {
        memcpy(&w, p, sizeof w);
        *out = TTEI_SIGNED_LANES(w << nibbles, 28);
    }
}

/* The first codes, eight by eight, times `scale`; returns how many those were. */
TTEI_CLONES static size_t ttei_codes_lanes(tte_coding coding, size_t n, float scale,
                                           const unsigned char *codes, float *out)
{
    unsigned char moved[4];
    size_t i = 0, k;
    ttei_lanes x;
    switch (coding) {
    case TTE_F32:
        memcpy(out, codes, n * sizeof *out);
        return n;
    case TTE_F16:
        for (; i + 8 <= n; i += 8) ttei_f16_lanes(codes + 2 * i, out + i);
        return i;
    case TTE_I8:
        for (; i + 8 <= n; i += 8) {
            ttei_plain_lanes(2, codes + i, &x);
            x *= scale;
            memcpy(out + i, &x, sizeof x);
        }
        return i;
    default:
        for (; i + 8 <= n; i += 8) {
            for (k = 0; k < 4; ++k) moved[k] = codes[i / 2 + k] ^ 0x88;  /* code + 8 becomes signed */
            ttei_plain_lanes(3, moved, &x);
            x *= scale;
            memcpy(out + i, &x, sizeof x);
        }
        return i;
    }
}

#else
#define TTEI_ROWS 1
#endif

/* Code i as a float: the number itself, or an integer times `scale`. */
TTEI_INLINE float ttei_code_at(tte_coding coding, float scale, const unsigned char *codes, size_t i)
{
    switch (coding) {
    case TTE_F32: return ttei_get_f32(codes + 4 * i);
    case TTE_F16: return ttei_f16_decode(ttei_get16(codes + 2 * i));
    case TTE_I8:  return scale * (float)ttei_signed(codes[i]);
    default:      return scale * (float)((codes[i / 2] >> (i % 2 * 4) & 15) - 8);
    }
}

/* `n` codes from code `i` on. */
static void ttei_codes_decode(tte_coding coding, size_t i, size_t n, float scale,
                              const unsigned char *codes, float *out)
{
    const size_t end = i + n;
#ifdef TTEI_CODE_LANES
    size_t done;
    if (coding == TTE_I4 && i % 2 != 0 && n > 0) *out++ = ttei_code_at(coding, scale, codes, i++);
    done = ttei_codes_lanes(coding, end - i, scale, codes + ttei_packed_bytes((int)coding, i), out);
    i += done;
    out += done;
#endif
    for (; i < end; ++i) *out++ = ttei_code_at(coding, scale, codes, i);
}

/* The cores of a record as floats. */
static void ttei_record_decode(tte_coding coding, const tte_shape *shape, const int32_t *ranks,
                               const unsigned char *record, float *cores)
{
    const unsigned char *codes = record + (ttei_has_scales(coding) ? 2 * shape->modes : 0);
    size_t i = 0, n;
    int32_t k;
    if (!ttei_has_scales(coding)) {
        ttei_codes_decode(coding, 0, ttei_core_numbers(shape, ranks), 1, codes, cores);
        return;
    }
    for (k = 0; k < shape->modes; ++k, i += n) {
        const float scale = ttei_f16_decode(ttei_get16(record + 2 * k));
        n = (size_t)ranks[k] * (size_t)shape->dim[k] * (size_t)ranks[k + 1];
        ttei_codes_decode(coding, i, n, scale, codes, cores + i);
    }
}

#ifndef TT_EMBED_DECODE_ONLY

/* The code of an entry: value / scale to the nearest integer, within -limit .. limit. */
static int ttei_code(float value, float scale, int limit)
{
    float code = scale > 0 ? value / scale : 0;
    if (code > (float)limit) return limit;
    if (code < (float)-limit) return -limit;
    return (int)(code < 0 ? code - 0.5f : code + 0.5f);
}

/* Sum of squared rounding errors with a scale; *best is the scale that fits these codes best, which
   is <core, codes> / <codes, codes>. */
static double ttei_scale_error(const float *core, size_t n, float scale, int limit, float *best)
{
    double error = 0, cross = 0, norm = 0;
    size_t i;
    for (i = 0; i < n; ++i) {
        double code = (double)ttei_code(core[i], scale, limit);
        double miss = (double)core[i] - (double)scale * code;
        error += miss * miss;
        cross += (double)core[i] * code;
        norm += code * code;
    }
    *best = norm > 0 ? (float)(cross / norm) : scale;
    return error;
}

/* Clipping the largest entries a little can pay, since all others then get a finer scale: try some
   fractions of the largest entry, and for each the scale that fits its codes best. */
static float ttei_choose_scale(const float *core, size_t n, int limit)
{
    float top = ttei_top_f32(n, core), chosen = 0, scale, fit, unused;
    double error, least = -1;
    int clip, fitted;
    for (clip = 0; clip < (limit > 7 ? 2 : 8); ++clip) {
        scale = top * (1 - 0.06f * (float)clip) / (float)limit;
        for (fitted = 0; fitted < 2; ++fitted) {
            scale = ttei_f16_decode(ttei_f16_encode(scale));
            if (!ttei_finite_f32(scale)) break;
            error = ttei_scale_error(core, n, scale, limit, fitted ? &unused : &fit);
            if (least < 0 || error < least) {
                least = error;
                chosen = scale;
            }
            scale = fit;
        }
    }
    return least < 0 ? top : chosen;  /* every scale beyond float16: `top` is, too */
}

static int ttei_core_round(tte_coding coding, float *core, size_t n, float *scale)
{
    const int limit = coding == TTE_I8 ? 127 : 7;
    size_t i;
    *scale = 1;
    if (coding == TTE_F32) return 1;
    if (coding == TTE_F16) {
        for (i = 0; i < n; ++i) core[i] = ttei_f16_decode(ttei_f16_encode(core[i]));
        return ttei_all_finite_f32(core, n);
    }
    *scale = ttei_choose_scale(core, n, limit);
    for (i = 0; i < n; ++i) core[i] = *scale * (float)ttei_code(core[i], *scale, limit);
    return ttei_finite_f32(ttei_f16_decode(ttei_f16_encode(*scale)));
}

/* The record of rounded cores. The codes come back exactly: scale times code has at most 18 bits. */
static void ttei_record_encode(tte_coding coding, const tte_shape *shape, const int32_t *ranks,
                               const float *cores, const float *scales, unsigned char *record)
{
    unsigned char *codes = record + (ttei_has_scales(coding) ? 2 * shape->modes : 0);
    size_t i = 0, end = 0;
    int32_t k;
    memset(record, 0, ttei_record_bytes(coding, shape->modes, ttei_core_sum(shape, ranks)));
    for (k = 0; k < shape->modes; ++k) {
        end += ttei_core_size(shape, ranks, k);
        if (ttei_has_scales(coding)) ttei_put16(record + 2 * k, ttei_f16_encode(scales[k]));
        switch (coding) {
        case TTE_F32:
            for (; i < end; ++i) ttei_put_f32(codes + 4 * i, cores[i]);
            break;
        case TTE_F16:
            for (; i < end; ++i) ttei_put16(codes + 2 * i, ttei_f16_encode(cores[i]));
            break;
        case TTE_I8:
            for (; i < end; ++i)
                codes[i] = (unsigned char)(ttei_code(cores[i], scales[k], 127) & 255);
            break;
        default:
            for (; i < end; ++i) {
                int code = ttei_code(cores[i], scales[k], 7) + 8;
                codes[i / 2] = (unsigned char)(codes[i / 2] | code << (i % 2 * 4));
            }
            break;
        }
    }
}

#endif /* TT_EMBED_DECODE_ONLY */

/* ---- coded matrices -------------------------------------------------------------------------------
   A core that all tokens share, as a matrix of r[k-1] rows and n[k] r[k] columns. Its rows matter in
   descending order, so they are held in up to four runs of falling precision, and each integer row
   has a scale.
   Integers of w bits lie in blocks of eight 32-bit words: word l holds, from its lowest bits on, the
   entries l, 8 + l, 16 + l .. of the block. A shift to the left and one to the right, the same for all
   eight words, give eight neighbouring entries with their signs; no vector unit has to permute
   anything. What does not fill a block follows entry by entry. */

#define TTEI_RUNS 4            /* float32; 16, 8 and 4 bits */
#define TTEI_STRIP 64u         /* columns that are decoded together, whole blocks of every run */
#if !defined(TT_EMBED_DECODE_ONLY) && TTEI_LANES > 1
#define TTEI_TOGETHER 64u      /* most rows that share one pass over the matrices              */
#else
#define TTEI_TOGETHER 1u
#endif
#define TTEI_WINDOW 512u       /* rows that are asked for together, and where repeats are found */

typedef struct ttei_matrix {
    size_t rows, cols, run[TTEI_RUNS];       /* rows in each run                                     */
    const unsigned char *scales, *codes;     /* 2 bytes for each integer row; the rows of all runs   */
} ttei_matrix;

static size_t ttei_matrix_bytes(const size_t *run, size_t cols)
{
    size_t bytes = 4 * TTEI_RUNS;
    int i;
    for (i = 0; i < TTEI_RUNS; ++i)
        bytes = ttei_add(bytes, ttei_mul(run[i], ttei_add(ttei_packed_bytes(i, cols), i > 0 ? 2 : 0)));
    return bytes;
}

/* A matrix of rows x cols at p; returns its bytes, 0 where they are more than `size` or the runs do
   not add up to `rows`. */
static size_t ttei_matrix_read(const unsigned char *p, size_t size, size_t rows, size_t cols,
                               ttei_matrix *m)
{
    size_t sum = 0, bytes;
    int i;
    if (size < 4 * TTEI_RUNS) return 0;
    for (i = 0; i < TTEI_RUNS; ++i) {
        m->run[i] = ttei_get32(p + 4 * i);
        sum = ttei_add(sum, m->run[i]);
    }
    bytes = ttei_matrix_bytes(m->run, cols);
    if (sum != rows || bytes > size) return 0;
    m->rows = rows;
    m->cols = cols;
    m->scales = p + 4 * TTEI_RUNS;
    m->codes = m->scales + 2 * (rows - m->run[0]);
    return bytes;
}

/* The scale of a row of a run, at p and moving on: a float32 without its lower half. */
static float ttei_scale_next(int run, const unsigned char **p)
{
    uint32_t bits;
    float scale;
    if (run == 0) return 1;
    bits = ttei_get16(*p) << 16;
    *p += 2;
    memcpy(&scale, &bits, sizeof scale);
    return scale;
}

/* Bits of an entry of a run, and entries of a block. */
static unsigned ttei_run_bits(int run) { return 32u >> run; }
static size_t ttei_run_block(int run) { return 8u << run; }

/* The entry in the lowest bits of a word, before its scale; >> of a negative number keeps its sign wherever
   this compiles. */
TTEI_INLINE float ttei_code_of(int run, uint32_t word)
{
    const unsigned others = 32 - ttei_run_bits(run);
    float value;
    if (run > 0) return (float)((int32_t)(word << others) >> others);
    memcpy(&value, &word, sizeof value);
    return value;
}

#ifndef TTEI_CODE_LANES

/* y[i dy] += x[i dx] * entry j + i for the entries from j to `last` of a coded row, one by one: with dx = 0 a
   row that is added to others, with dy = 0 a product. Entry j is the first of a block, or lies behind the
   last block, a multiple of 8 entries. */
TTEI_UNFUSED static void ttei_codes_meet(int run, size_t cols, size_t j, size_t last,
                                         const unsigned char *codes, const float *x, size_t dx, float *y,
                                         size_t dy)
{
    const size_t bits = ttei_run_bits(run), block = ttei_run_block(run), whole = cols & ~(block - 1);
    const unsigned char *end = codes + ttei_packed_bytes(run, last);
    size_t n = j, i, step, within;
    unsigned bit;
    codes += j / 8 * bits;
    while (n < last) {  /* entries that lie before the next word */
        uint32_t word = 0;
        if (end - codes >= 4)
            word = ttei_get32(codes), codes += 4;
        else
            for (bit = 0; codes < end; bit += 8) word |= (uint32_t)*codes++ << bit;
        within = n & (block - 1);
        step = n < whole ? 8 : 1;
        i = n - j;
        if (n < whole) i += (within >> run) - within;
        do {
            y[i * dy] += x[i * dx] * ttei_code_of(run, word);
            word >>= bits % 32;
            i += step;
        } while (++n < last && (n & (((size_t)1 << run) - 1)) != 0);
    }
}

#else

/* Entry j, one of those behind the last block, which are fewer than eight when lanes have taken the others. A
   function that is called would cost more than all of them: gcc leaves the upper halves of AVX registers in
   use then, and SSE instructions wait for these. */
TTEI_INLINE float ttei_code_behind(int run, const unsigned char *codes, size_t j)
{
    const unsigned char *p = codes + j * ttei_run_bits(run) / 8;
    switch (run) {
    case 0:  return ttei_code_of(0, ttei_get32(p));
    case 1:  return ttei_code_of(1, ttei_get16(p));
    case 2:  return ttei_code_of(2, *p);
    default: return ttei_code_of(3, (uint32_t)*p >> (j % 2 * 4));
    }
}

/* c += a[0] row_0 + .. + a[count-1] row_(count-1) for `count` (1 or 4) rows that lie `stride` bytes
   apart, and of these the columns from `first` to `last`: multiples of TTEI_STRIP, or the end. Every
   entry of c takes the rows in their order. */
TTEI_INLINE void ttei_codes_axpy(int run, int count, size_t first, size_t last, const float *a,
                                 const unsigned char *codes, size_t stride, float *c)
{
    const int bits = (int)ttei_run_bits(run), slices = 32 / bits;
    size_t j = first;
    int i;
    for (; j + ttei_run_block(run) <= last; j += ttei_run_block(run)) {
        const unsigned char *p = codes + j * (size_t)bits / 8;
        ttei_lane_words w0, w1 = {0}, w2 = {0}, w3 = {0};
        ttei_lanes sum;
        memcpy(&w0, p, sizeof w0);
        if (count == 4) {
            memcpy(&w1, p + stride, sizeof w1);
            memcpy(&w2, p + 2 * stride, sizeof w2);
            memcpy(&w3, p + 3 * stride, sizeof w3);
        }
        for (i = 0; i < slices; ++i) {  /* not written out: this is faster as a loop */
            float *out = c + (j - first) + 8 * i;
            memcpy(&sum, out, sizeof sum);
            sum += a[0] * (run == 0 ? (ttei_lanes)w0 : TTEI_CODES_OF(w0, bits, i));
            if (count == 4) {
                sum += a[1] * (run == 0 ? (ttei_lanes)w1 : TTEI_CODES_OF(w1, bits, i));
                sum += a[2] * (run == 0 ? (ttei_lanes)w2 : TTEI_CODES_OF(w2, bits, i));
                sum += a[3] * (run == 0 ? (ttei_lanes)w3 : TTEI_CODES_OF(w3, bits, i));
            }
            memcpy(out, &sum, sizeof sum);
        }
    }
    for (; run > 0 && j + TTEI_LANES <= last; j += TTEI_LANES) {
        ttei_lanes sum, x;
        memcpy(&sum, c + (j - first), sizeof sum);
        for (i = 0; i < count; ++i) {
            ttei_plain_lanes(run, codes + (size_t)i * stride + j * (size_t)bits / 8, &x);
            sum += a[i] * x;
        }
        memcpy(c + (j - first), &sum, sizeof sum);
    }
    for (; j < last; ++j)
        for (i = 0; i < count; ++i)
            c[j - first] += a[i] * ttei_code_behind(run, codes + (size_t)i * stride, j);
}

#endif

/* The same with what the compiler needs to know as constants. */
TTEI_CLONES TTEI_UNFUSED static void ttei_rows_axpy(int run, int count, size_t cols, size_t first,
                                                    size_t last, const float *a,
                                                    const unsigned char *codes, float *c)
{
    const size_t stride = ttei_packed_bytes(run, cols);
#ifdef TTEI_CODE_LANES
    switch (4 * run + count) {
    case 1:  ttei_codes_axpy(0, 1, first, last, a, codes, stride, c); break;
    case 4:  ttei_codes_axpy(0, 4, first, last, a, codes, stride, c); break;
    case 5:  ttei_codes_axpy(1, 1, first, last, a, codes, stride, c); break;
    case 8:  ttei_codes_axpy(1, 4, first, last, a, codes, stride, c); break;
    case 9:  ttei_codes_axpy(2, 1, first, last, a, codes, stride, c); break;
    case 12: ttei_codes_axpy(2, 4, first, last, a, codes, stride, c); break;
    case 13: ttei_codes_axpy(3, 1, first, last, a, codes, stride, c); break;
    default: ttei_codes_axpy(3, 4, first, last, a, codes, stride, c); break;
    }
#else
    int i;
    for (i = 0; i < count; ++i)
        ttei_codes_meet(run, cols, first, last, codes + (size_t)i * stride, a + i, 0, c, 1);
#endif
}

#ifdef TTEI_CODE_LANES

/* Sum of c[j] * entry j of a coded row, in sums that do not wait for each other. */
TTEI_INLINE float ttei_codes_dot(int run, size_t cols, const unsigned char *codes, const float *c)
{
    float sum = 0;
    size_t j = 0;
    const int bits = (int)ttei_run_bits(run), slices = 32 / bits;
    ttei_lane_words words;
    ttei_lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, x;
    float part[TTEI_LANES];
    for (; j + ttei_run_block(run) <= cols; j += ttei_run_block(run)) {
        memcpy(&words, codes + j * (size_t)bits / 8, sizeof words);
#define TTEI_SLICE(k)                                                                       \
        memcpy(&x, c + j + 8 * (k), sizeof x);                                              \
        x *= run == 0 ? (ttei_lanes)words : TTEI_CODES_OF(words, bits, k);                  \
        if ((k) % 4 == 0) s0 += x;                                                          \
        if ((k) % 4 == 1) s1 += x;                                                          \
        if ((k) % 4 == 2) s2 += x;                                                          \
        if ((k) % 4 == 3) s3 += x
        TTEI_SLICE(0);  /* written out, since shifts by constants are fast */
        if (slices > 1) { TTEI_SLICE(1); }
        if (slices > 2) { TTEI_SLICE(2); TTEI_SLICE(3); }
        if (slices > 4) { TTEI_SLICE(4); TTEI_SLICE(5); TTEI_SLICE(6); TTEI_SLICE(7); }
#undef TTEI_SLICE
    }
    for (; run > 0 && j + TTEI_LANES <= cols; j += TTEI_LANES) {
        ttei_lanes y;
        memcpy(&x, c + j, sizeof x);
        ttei_plain_lanes(run, codes + j * (size_t)bits / 8, &y);
        s1 += x * y;
    }
    s0 = (s0 + s1) + (s2 + s3);
    memcpy(part, &s0, sizeof part);
    sum = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
    for (; j < cols; ++j) sum += c[j] * ttei_code_behind(run, codes, j);
    return sum;
}

#endif

TTEI_CLONES static float ttei_row_dot(int run, size_t cols, const unsigned char *codes, const float *c)
{
#ifdef TTEI_CODE_LANES
    switch (run) {
    case 0:  return ttei_codes_dot(0, cols, codes, c);
    case 1:  return ttei_codes_dot(1, cols, codes, c);
    case 2:  return ttei_codes_dot(2, cols, codes, c);
    default: return ttei_codes_dot(3, cols, codes, c);
    }
#else
    float sum = 0;
    ttei_codes_meet(run, cols, 0, cols, codes, c, 1, &sum, 0);
    return sum;
#endif
}

/* The scale of a row from its byte: eight steps for each power of two, 1 at 128. */
static float ttei_row_scale(unsigned code)
{
    const uint32_t bits = (code + 111u * 8u) << 20;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return scale;
}

/* ---- scans in integers ---------------------------------------------------------------------------
   A vector q that meets the codes of many records is turned into integers once, to 2^-30 of its largest
   entry: q = unit * (2^15 high + low), both of 16 bits. What these give with integer codes is exact, in
   any order, and AVX2 multiplies sixteen pairs at a time. Elsewhere ttei_row_dot meets q itself. */
#if defined(TTEI_CODE_LANES) && defined(TTEI_AVX2)
#define TTEI_SCAN
#define TTEI_SCAN_BLOCK 32u    /* bytes of codes                                                */
#define TTEI_SCAN_FLUSH 16u    /* blocks whose sums of 8-bit codes fit into 32 bits: 2^26 each  */
typedef short ttei_shorts __attribute__((vector_size(32)));
typedef int32_t ttei_four_sums __attribute__((vector_size(16)));

/* A record as blocks: those of a coded row, and one with what is behind them. */
static size_t ttei_scan_blocks(int run, size_t cols)
{
    return cols / ttei_run_block(run) + (cols % ttei_run_block(run) != 0);
}

/* Floats of the planes: for each block and slice of it 16 high and 16 low parts. */
static size_t ttei_planes_len(int run, size_t cols)
{
    return ttei_scan_blocks(run, cols) * ttei_run_block(run);
}

/* Writes the planes of q; returns 0 where its largest entry is not finite or next to nothing. A block is
   read as 16 lanes, slice k of it the bits k w .. of each. In whole blocks lane i is half of word i / 2, so
   that this is entry 8 (i mod 2 * slices + k) + i / 2; behind them entries follow each other in memory. */
static int ttei_planes(int run, size_t cols, const float *q, unsigned char *planes, float *unit)
{
    const size_t size = ttei_run_block(run), slices = 16 / ttei_run_bits(run);
    const size_t blocks = ttei_scan_blocks(run, cols);
    const float top = ttei_top_f32(cols, q);
    size_t first, k, i;
    if (!ttei_finite_f32(top) || !(top > 1e-25f)) return 0;
    *unit = top / 536870912.0f;  /* 2^29 */
    for (first = 0; first < blocks * size; first += size)
        for (k = 0; k < slices; ++k, planes += 64)
            for (i = 0; i < 16; ++i) {
                const int whole = first + size <= cols;
                const size_t entry = first + (whole ? 8 * (i % 2 * slices + k) + i / 2 : i * slices + k);
                const float units = entry < cols ? q[entry] / *unit : 0;
                const int32_t n = (int32_t)(units < 0 ? units - 0.5f : units + 0.5f);
                const int32_t high = (n + 0x4000) >> 15;
                ttei_put16(planes + 2 * i, (uint32_t)high & 0xffffu);
                ttei_put16(planes + 32 + 2 * i, (uint32_t)(n - high * 0x8000) & 0xffffu);
            }
    return 1;
}

/* Sum of codes * q / unit, for codes of `bits` bits in `blocks` blocks, the last of them at `last`. */
TTEI_AVX2 static inline __attribute__((always_inline)) int64_t
ttei_scan_sum(const int bits, size_t blocks, const unsigned char *codes, const unsigned char *last,
              const unsigned char *planes)
{
    int64_t sum = 0;
    size_t block = 0, end;
    while (block < blocks) {
        ttei_lane_bits upper = {0}, lower = {0};
        ttei_four_sums part[4];
        for (end = ttei_min(blocks, block + TTEI_SCAN_FLUSH); block < end; ++block) {
            ttei_shorts words, slice, high, low;
            memcpy(&words, block + 1 < blocks ? codes + TTEI_SCAN_BLOCK * block : last, sizeof words);
#define TTEI_SLICE(k)                                                   \
            memcpy(&high, planes + 64 * (k), sizeof high);              \
            memcpy(&low, planes + 64 * (k) + 32, sizeof low);           \
            slice = words << (16 - bits * ((k) + 1)) >> (16 - bits);    \
            upper += (ttei_lane_bits)__builtin_ia32_pmaddwd256(slice, high); \
            lower += (ttei_lane_bits)__builtin_ia32_pmaddwd256(slice, low)
            TTEI_SLICE(0);  /* written out, since shifts by constants are fast */
            TTEI_SLICE(1);
            if (bits == 4) {
                TTEI_SLICE(2);
                TTEI_SLICE(3);
            }
#undef TTEI_SLICE
            planes += 64 * (16 / bits);
        }
        memcpy(part, &upper, sizeof upper);
        memcpy(part + 2, &lower, sizeof lower);
        part[0] += part[1];
        part[2] += part[3];
        sum += (int64_t)(part[0][0] + part[0][1] + part[0][2] + part[0][3]) * 0x8000;
        sum += part[2][0] + part[2][1] + part[2][2] + part[2][3];
    }
    return sum;
}

/* out[i] = mean + scale of the record * (codes * q), for `count` records of `size` bytes each: a scale,
   then the codes. The last block takes in what follows a record, but nothing from `end` on. */
TTEI_AVX2 static void ttei_scan(int run, size_t cols, size_t count, const unsigned char *records,
                                size_t size, const unsigned char *end, const unsigned char *planes,
                                float unit, float mean, float *out)
{
    const size_t blocks = ttei_scan_blocks(run, cols), before = TTEI_SCAN_BLOCK * (blocks - 1);
    unsigned char padded[TTEI_SCAN_BLOCK];
    size_t i;
    for (i = 0; i < count; ++i, records += size) {
        const unsigned char *codes = records + 1, *last = codes + before;
        int64_t sum;
        if ((size_t)(end - last) < sizeof padded) {
            memset(padded, 0, sizeof padded);
            memcpy(padded, last, size - 1 - before);
            last = padded;
        }
        if (run == 2)
            sum = ttei_scan_sum(8, blocks, codes, last, planes);
        else
            sum = ttei_scan_sum(4, blocks, codes, last, planes);
        out[i] = mean + ttei_row_scale(records[0]) * (unit * (float)sum);
    }
}
#endif

/* c (count x cols) += a (count x rows) M. */
static void ttei_matrix_apply(const ttei_matrix *m, size_t count, const float *a, float *c)
{
    for (; count > 0; --count, c += m->cols) {
        const unsigned char *scales = m->scales, *codes = m->codes;
        int run, i, step;
        for (run = 0; run < TTEI_RUNS; ++run) {
            size_t left = m->run[run];
            for (; left > 0; left -= (size_t)step) {
                float scaled[TTEI_ROWS];
                step = left >= TTEI_ROWS ? TTEI_ROWS : 1;
                for (i = 0; i < step; ++i) scaled[i] = *a++ * ttei_scale_next(run, &scales);
                ttei_rows_axpy(run, step, m->cols, 0, m->cols, scaled, codes, c);
                codes += (size_t)step * ttei_packed_bytes(run, m->cols);
            }
        }
    }
}

#if TTEI_TOGETHER > 1

/* c (count x cols) = a (count x rows) M for many rows, which share the work of decoding M: a strip of its
   columns at a time as floats in `strip`, M's rows x TTEI_STRIP. The scales go into a, where
   ttei_matrix_apply has them too, so that both give the same bits. */
static void ttei_matrix_product(const ttei_matrix *m, size_t count, float *a, float *c, float *strip)
{
    const unsigned char *scales = m->scales, *codes;
    const float one = 1;
    size_t i, j, l, left, n;
    int run;
    for (run = 0, l = 0; run < TTEI_RUNS; ++run)
        for (left = m->run[run]; left > 0; --left) strip[l++] = ttei_scale_next(run, &scales);
    for (i = 0; i < count; ++i)
        for (l = 0; l < m->rows; ++l) a[i * m->rows + l] *= strip[l];
    for (j = 0; j < m->cols; j += n) {
        n = ttei_min(TTEI_STRIP, m->cols - j);
        memset(strip, 0, m->rows * TTEI_STRIP * sizeof *strip);
        codes = m->codes;
        for (run = 0, l = 0; run < TTEI_RUNS; ++run)
            for (left = m->run[run]; left > 0; --left, ++l, codes += ttei_packed_bytes(run, m->cols))
                ttei_rows_axpy(run, 1, m->cols, j, j + n, &one, codes, strip + l * TTEI_STRIP);
        ttei_product(count, m->rows, n, a, m->rows, 1, strip, TTEI_STRIP, c + j, m->cols);
    }
}

#endif

/* a (count x rows) = c (count x cols) M^T. */
static void ttei_matrix_meet(const ttei_matrix *m, size_t count, const float *c, float *a)
{
    for (; count > 0; --count, c += m->cols) {
        const unsigned char *scales = m->scales, *codes = m->codes;
        int run;
        for (run = 0; run < TTEI_RUNS; ++run) {
            size_t left = m->run[run];
            for (; left > 0; --left, codes += ttei_packed_bytes(run, m->cols))
                *a++ = ttei_scale_next(run, &scales) * ttei_row_dot(run, m->cols, codes, c);
        }
    }
}

#ifndef TT_EMBED_DECODE_ONLY

/* Where entry j of a row of integers is: the byte that holds its lowest bit, and that bit. */
static size_t ttei_code_place(int run, size_t cols, size_t j, unsigned *bit)
{
    const size_t block = ttei_run_block(run), whole = cols - cols % block, within = j % block;
    const size_t bits = ttei_run_bits(run);
    size_t at = j * bits;  /* plainly, behind the last block */
    if (j < whole) at = (j - within) * bits + within % 8 * 32 + within / 8 * bits;
    *bit = (unsigned)(at % 8);
    return at / 8;
}

/* Entry j of a row of 8-bit or 4-bit integers before its scale. */
static float ttei_code_value(int run, const unsigned char *codes, size_t cols, size_t j)
{
    unsigned bit;
    const size_t at = ttei_code_place(run, cols, j, &bit);
    return ttei_code_of(run, (uint32_t)codes[at] >> bit);
}

/* Writes entry j of a row of integers, whose bits are zero so far. */
static void ttei_code_put(int run, unsigned char *codes, size_t cols, size_t j, int code)
{
    unsigned bit;
    unsigned char *p = codes + ttei_code_place(run, cols, j, &bit);
    if (run == 1)
        ttei_put16(p, (uint32_t)code & 0xffffu);
    else if (run == 2)
        *p = (unsigned char)(code & 255);
    else
        *p = (unsigned char)(*p | (code & 15) << bit);
}

/* Writes the rows at `rows`, `cols` floats each, in the runs given. A row's scale is rounded up, so
   that its largest entry keeps its code within the limit. */
static void ttei_matrix_write(const float *rows, const size_t *run, size_t cols, unsigned char *p)
{
    static const int limit[TTEI_RUNS] = {0, 32767, 127, 7};
    unsigned char *scales = p + 4 * TTEI_RUNS, *codes;
    size_t i, j;
    int r;
    memset(p, 0, ttei_matrix_bytes(run, cols));
    for (r = 0; r < TTEI_RUNS; ++r) ttei_put32(p + 4 * r, (uint32_t)run[r]);
    codes = scales + 2 * (run[1] + run[2] + run[3]);
    for (i = 0; i < run[0] * cols; ++i, codes += 4) ttei_put_f32(codes, *rows++);
    for (r = 1; r < TTEI_RUNS; ++r)
        for (i = 0; i < run[r]; ++i, rows += cols, scales += 2, codes += ttei_packed_bytes(r, cols)) {
            float scale = ttei_top_f32(cols, rows) / (float)limit[r];
            uint32_t bits;
            memcpy(&bits, &scale, sizeof bits);
            bits = (bits + 0xffffu) & 0xffff0000u;
            memcpy(&scale, &bits, sizeof scale);
            ttei_put16(scales, bits >> 16);
            for (j = 0; j < cols; ++j)
                ttei_code_put(r, codes, cols, j, ttei_code(rows[j], scale, limit[r]));
        }
}

#endif

/* ================================================================================================
   ENTROPY CODING
   The coefficients of a token as few bits: quantized on a trellis, coded by rANS. Section 4 holds what
   both sides know: the step, the classes of the columns, tables of frequencies.

   Quantization. Two quantizers share one step: Q0 has the even multiples of it, Q1 the odd ones and
   zero; index a of quantizer q stands for (2a - q) steps. Which of the two a coefficient uses follows
   from the parities of the indices before it, through a machine of eight states [UGB82, MF90]: the
   quantizers together are as fine as the step, the indices as coarse as twice the step. At high rates
   that is worth 0.18 bit a coefficient of the 0.25 that a uniform quantizer loses.

   Statistics. Coefficients are close to normal once their own scale is known: the scale of the column
   times that of the row. Both are kept as classes, a factor of two in 2 * stride steps, and their sum
   chooses the table a coefficient is coded with. A record opens with the classes of its
   step and of its scale.

   rANS [Dud13] keeps a number x. A symbol with frequency f out of 4096, starting at c, turns it into
   (x / f) * 4096 + c + x % f; reading takes the remainder of x by 4096, finds the symbol, and undoes
   that. Above 2^32 the lowest byte is written out, below 2^24 one is read. x starts at 0, and at the
   end just its non-zero bytes are written, so that a record ends with no more than the rest of a byte.
   ============================================================================================= */

#define TTEI_ANS_BITS 12
#define TTEI_ANS_TOTAL 4096u
#define TTEI_ANS_LOW 0x1000000u      /* x is at least this while bytes are left              */
#define TTEI_TABLES 64               /* most tables                                          */
#define TTEI_CLASSES 16              /* most classes of steps, and of scales                 */
#define TTEI_MAGNITUDES 48           /* most symbols of a table, the escape included         */
#define TTEI_ESCAPE_BITS 20          /* most bits beyond the escape                          */
#define TTEI_RAW_BITS 8              /* most lower bits of an index that are written plainly */
#define TTEI_CODES_FIXED 16u         /* bytes of section 4 before its arrays                 */
#define TTEI_CENTROID 64.0f          /* centroids are in units of a 64th of the step         */

/* The quantizer of a state, and the state that follows: binary and hexadecimal digit s of the constants. */
#define TTEI_QUANTIZERS 0x3cu
#define TTEI_STATES 0x51627340u
static unsigned ttei_quantizer(unsigned state) { return TTEI_QUANTIZERS >> state & 1u; }
static unsigned ttei_state_after(unsigned state, unsigned parity)
{
    return (TTEI_STATES >> 4 * state & 7u) ^ parity;
}

/* Section 4 as pointers; see IMAGE FORMAT. */
typedef struct ttei_codes {
    const unsigned char *p;
    float step, weight;              /* of class 0; the weight is 0 without row weights */
    int stride, steps, scales, tables, own, origin;
    const unsigned char *step_ends, *scale_ends, *columns, *starts;
} ttei_codes;

static void ttei_codes_view(const unsigned char *p, size_t rank, ttei_codes *c)
{
    c->p = p;
    c->step = ttei_get_f32(p);
    c->weight = ttei_get_f32(p + 4);
    c->stride = p[8];
    c->steps = p[9];
    c->scales = p[10];
    c->tables = p[11];
    c->own = p[12];
    c->origin = p[13];
    c->step_ends = p + TTEI_CODES_FIXED;
    c->scale_ends = c->step_ends + 2 * c->steps;
    c->columns = c->scale_ends + 2 * c->scales;
    c->starts = c->columns + rank;
}

/* Cumulative frequencies: rising, the last one 4096. */
static int ttei_ends_good(const unsigned char *ends, int symbols)
{
    uint32_t before = 0, end = 0;
    int i;
    for (i = 0; i < symbols; ++i, before = end) {
        end = ttei_get16(ends + 2 * i);
        if (end <= before) return 0;
    }
    return end == TTEI_ANS_TOTAL;
}

/* Whether section 4 is what the functions below may read without a further check. */
static int ttei_codes_good(const unsigned char *p, size_t size, size_t rank)
{
    ttei_codes c;
    size_t at;
    int i;
    if (size < TTEI_CODES_FIXED) return 0;
    ttei_codes_view(p, rank, &c);
    /* By their bits: the step is above 0, the weight not below, both are finite. */
    if (ttei_get32(p) - 1 >= 0x7f7fffffu || ttei_get32(p + 4) >= 0x7f800000u ||
        c.stride < 1 || c.stride > 8 || c.steps < 1 || c.steps > TTEI_CLASSES || c.scales < 1 ||
        c.scales > TTEI_CLASSES || c.tables < 1 || c.tables > TTEI_TABLES ||
        c.own >= c.scales || c.origin >= 128 || ttei_get16(p + 14) != 0)
        return 0;
    at = TTEI_CODES_FIXED + 2 * (size_t)(c.steps + c.scales + c.tables) + rank;
    if (size < at || !ttei_ends_good(c.step_ends, c.steps) || !ttei_ends_good(c.scale_ends, c.scales))
        return 0;
    for (i = 0; i < c.tables; ++i) {  /* tables follow each other; classes may share the one before */
        const unsigned char *table = p + at;
        if (i > 0 && ttei_get16(c.starts + 2 * i) == ttei_get16(c.starts + 2 * i - 2)) continue;
        if (ttei_get16(c.starts + 2 * i) != at || size - at < 8) return 0;
        if (table[0] > TTEI_RAW_BITS || table[1] < 2 || table[1] > TTEI_MAGNITUDES || table[2] < 2 ||
            table[2] > TTEI_MAGNITUDES || table[3] != 0)
            return 0;
        at += 8 + 2 * ((size_t)table[1] + table[2]);
        if (at > size || !ttei_ends_good(table + 8, table[1]) ||
            !ttei_ends_good(table + 8 + 2 * table[1], table[2]))
            return 0;
    }
    return at == size;
}

/* The table of a column in a row whose classes add up to `shift`, by number and where it lies. */
static int ttei_table_number(const ttei_codes *c, size_t column, int shift)
{
    const int sum = ttei_signed(c->columns[column]) + c->stride * shift;
    return sum < 0 ? 0 : sum < c->tables ? sum : c->tables - 1;
}
static const unsigned char *ttei_table_at(const ttei_codes *c, int number)
{
    return c->p + ttei_get16(c->starts + 2 * number);
}

/* step * 2^(-class / 2) */
static float ttei_step_of(float step, int step_class)
{
    const uint32_t bits = (uint32_t)(127 - step_class / 2) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return step * power * (step_class % 2 ? 0.70710678f : 1.0f);
}

/* |value| of index a > 0 in steps: on the grid, moved to the mean of what was rounded there. */
static float ttei_magnitude(const unsigned char *table, unsigned q, uint32_t a)
{
    const int code = table[4 + 2 * q + (a > 1)];
    return (float)(2 * a - q) + (float)ttei_signed(code) / TTEI_CENTROID;
}

/* A record being read. */
typedef struct ttei_ans {
    const unsigned char *p, *end;
    uint32_t x;
} ttei_ans;

#ifndef TT_EMBED_DECODE_ONLY
static uint32_t ttei_get32_big(const unsigned char *p)  /* the first byte highest */
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}
#endif

/* How many bytes a symbol takes, and how far its search goes, no processor can foresee. The reader of
   the full build therefore has few branches there; that for small machines has few instructions. */
static void ttei_ans_fill(ttei_ans *ans)
{
#ifndef TT_EMBED_DECODE_ONLY
    if (ans->x != 0 && ans->end - ans->p >= 4) {
        const uint32_t next = ttei_get32_big(ans->p);
        const unsigned n =
            (unsigned)(ans->x < TTEI_ANS_LOW) + (unsigned)(ans->x < 0x10000u) + (unsigned)(ans->x < 0x100u);
        ans->x = (uint32_t)(((uint64_t)ans->x << 32 | next) >> (32 - 8 * n));
        ans->p += n;
        return;
    }
#endif
    while (ans->x < TTEI_ANS_LOW && ans->p < ans->end) ans->x = ans->x << 8 | *ans->p++;
}

static void ttei_ans_begin(ttei_ans *ans, const unsigned char *record, size_t size)
{
    ans->p = record;
    ans->end = record + size;
    ans->x = 0;
    ttei_ans_fill(ans);
}

/* The next symbol of `symbols`; x is to be filled before the next. */
TTEI_INLINE unsigned ttei_ans_symbol(ttei_ans *ans, const unsigned char *ends, unsigned symbols)
{
    const uint32_t slot = ans->x & (TTEI_ANS_TOTAL - 1u);
    uint32_t start, end;
    unsigned symbol = 0;
#ifndef TT_EMBED_DECODE_ONLY
    unsigned passed = 4;
    for (; passed == 4 && symbol + 4 <= symbols; symbol += passed) {
        const unsigned char *p = ends + 2 * symbol;
        passed = (unsigned)(ttei_get16(p) <= slot) + (unsigned)(ttei_get16(p + 2) <= slot) +
                 (unsigned)(ttei_get16(p + 4) <= slot) + (unsigned)(ttei_get16(p + 6) <= slot);
    }
#endif
    while (symbol + 1 < symbols && ttei_get16(ends + 2 * symbol) <= slot) ++symbol;
    start = symbol > 0 ? ttei_get16(ends + 2 * symbol - 2) : 0;
    end = ttei_get16(ends + 2 * symbol);
    ans->x = (end - start) * (ans->x >> TTEI_ANS_BITS) + slot - start;
    return symbol;
}

/* `bits` plain bits. */
static uint32_t ttei_ans_raw(ttei_ans *ans, unsigned bits)
{
    const uint32_t value = ans->x & ((1u << bits) - 1u);
    ans->x >>= bits;
    return value;
}

/* What an escape adds to an index: the number of bits, then the bits below the leading one. */
static uint32_t ttei_ans_escape(ttei_ans *ans)
{
    uint32_t value;
    unsigned bits;
    ttei_ans_fill(ans);
    bits = ttei_ans_raw(ans, 5);
    if (bits > TTEI_ESCAPE_BITS) bits = TTEI_ESCAPE_BITS;
    ttei_ans_fill(ans);
    value = ttei_ans_raw(ans, bits / 2);
    ttei_ans_fill(ans);
    value |= ttei_ans_raw(ans, bits - bits / 2) << bits / 2;
    ttei_ans_fill(ans);
    return (1u << bits | value) - 1u;
}

/* The classes a record opens with: *step of its step; returns the sum that chooses its tables. */
static int ttei_ans_classes(ttei_ans *ans, const ttei_codes *c, float *step)
{
    int shift = (int)ttei_ans_symbol(ans, c->step_ends, (unsigned)c->steps);
    *step = ttei_step_of(c->step, shift);
    ttei_ans_fill(ans);
    shift += (int)ttei_ans_symbol(ans, c->scale_ends, (unsigned)c->scales);
    ttei_ans_fill(ans);
    return shift;
}

/* The next coefficient in steps. */
static float ttei_ans_coefficient(ttei_ans *ans, const unsigned char *table, unsigned *state)
{
    const unsigned q = ttei_quantizer(*state), symbols = table[1 + q], raw = table[0];
    uint32_t a = ttei_ans_symbol(ans, table + 8 + (q != 0 ? 2u * table[1] : 0), symbols);
    uint32_t negative, bits;
    float value;
    if (a == symbols - 1u) a += ttei_ans_escape(ans);
    a = a << raw | ttei_ans_raw(ans, raw);
    negative = ttei_ans_raw(ans, a != 0);
    ttei_ans_fill(ans);
    *state = ttei_state_after(*state, a & 1u);
    if (a == 0) return 0;
    value = ttei_magnitude(table, q, a);
    memcpy(&bits, &value, sizeof bits);
    bits ^= negative << 31;  /* nor can signs be foreseen */
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The `rank` coefficients of a record of `size` bytes. Whatever the bytes are, each costs a bounded
   number of steps, and reading stops at the end of the record. */
static void ttei_entropy_decode(const unsigned char *codes, size_t rank, const unsigned char *record,
                                size_t size, float *y)
{
    ttei_codes c;
    ttei_ans ans;
    unsigned state = 0;
    float step;
    int shift;
    size_t j;
    ttei_codes_view(codes, rank, &c);
    ttei_ans_begin(&ans, record, size);
    shift = ttei_ans_classes(&ans, &c, &step);
    for (j = 0; j < rank; ++j)
        y[j] = step * ttei_ans_coefficient(&ans, ttei_table_at(&c, ttei_table_number(&c, j, shift)), &state);
}

#ifdef TTEI_CODE_LANES

/* ---- many records ------------------------------------------------------------------------------------
   TTEI_LANES records are read in the lanes of vectors, and TTEI_ABREAST in turn, so that while some wait
   for their next symbols, others go on. For this all tables are made quick once: for each table and
   quantizer
     a word for each symbol: its start (12 bits), its frequency (12), the plain bits (4), and flags;
     the value of the index that is the symbol and plain bits of zero, a float;
     for every TTEI_RANGE slots 2 bytes: the first symbol among them (6 bits), the slots until it ends, if
     it does (5), and a flag where another one ends there too.
   What is rare is left to ttei_ans_coefficient: the escape, indices 0 and 1 where there are plain bits, and
   ranges where several symbols end. */

#define TTEI_RANGE 16u
#define TTEI_QUICK (8u * TTEI_MAGNITUDES + 2u * TTEI_ANS_TOTAL / TTEI_RANGE)  /* bytes: 896           */
#define TTEI_QUICK_SEVERAL (1u << 15)
#define TTEI_QUICK_SIGN (1u << 28)         /* a sign follows                                       */
#define TTEI_QUICK_SMALL (1u << 29)        /* rare where the plain bits are below 2, ..            */
#define TTEI_QUICK_ESCAPE (1u << 30)       /* .. and in any case                                   */
#define TTEI_ABREAST (2u * TTEI_LANES)

static void ttei_quick_tables(const unsigned char *codes, size_t rank, unsigned char *quick)
{
    ttei_codes c;
    int i;
    unsigned q, slot, symbol;
    ttei_codes_view(codes, rank, &c);
    for (i = 0; i < c.tables; ++i)
        for (q = 0; q < 2; ++q, quick += TTEI_QUICK) {
            const unsigned char *table = ttei_table_at(&c, i), *ends = table + 8 + 2 * q * table[1];
            const unsigned raw = table[0], symbols = table[1 + q];
            uint32_t start = 0;
            memset(quick, 0, TTEI_QUICK);
            for (symbol = 0; symbol < symbols; ++symbol) {
                const uint32_t end = ttei_get16(ends + 2 * symbol);
                uint32_t word = start | (end - start) << 12 | raw << 24;
                float value = 0;
                if (symbol > 0) {
                    value = ttei_magnitude(table, q, symbol << raw);
                } else if (raw > 0) {  /* of the indices from 2 on, less two steps for each */
                    value = ttei_magnitude(table, q, 2) - 4;
                    word |= TTEI_QUICK_SMALL;
                }
                if (symbol > 0 || raw > 0) word |= TTEI_QUICK_SIGN;
                if (symbol + 1 == symbols) word |= TTEI_QUICK_ESCAPE;
                memcpy(quick + 4 * symbol, &word, sizeof word);
                memcpy(quick + 4 * (TTEI_MAGNITUDES + symbol), &value, sizeof value);
                start = end;
            }
            for (symbol = 0, slot = 0; slot < TTEI_ANS_TOTAL; slot += TTEI_RANGE) {
                unsigned until, several;
                while (ttei_get16(ends + 2 * symbol) <= slot) ++symbol;
                until = ttei_get16(ends + 2 * symbol) - slot;
                several = until < TTEI_RANGE && ttei_get16(ends + 2 * symbol + 2) < slot + TTEI_RANGE;
                ttei_put16(quick + 8 * TTEI_MAGNITUDES + slot / TTEI_RANGE * 2,
                           symbol | (until < TTEI_RANGE ? until : TTEI_RANGE) << 6 |
                               (several ? TTEI_QUICK_SEVERAL : 0));
            }
        }
}

/* TTEI_LANES records being read: x and the state of the trellis for each, and where its next byte is. */
typedef struct ttei_lane_place {
    ttei_lane_words x, state, at;
} ttei_lane_place;

typedef struct ttei_lane_reading {
    const unsigned char *record[TTEI_LANES];
    ttei_lane_words size;
    ttei_lane_bits shift;                /* sum of the record's classes, in tables     */
    ttei_lane_place now;
} ttei_lane_reading;

static void ttei_lane_begin(const ttei_codes *c, const unsigned char *const *records, const size_t *sizes,
                            ttei_lane_reading *r, float *steps)
{
    size_t i;
    memset(r, 0, sizeof *r);
    for (i = 0; i < TTEI_LANES; ++i) {
        ttei_ans ans;
        ttei_ans_begin(&ans, records[i], sizes[i]);
        r->shift[i] = c->stride * ttei_ans_classes(&ans, c, &steps[i]);
        r->record[i] = records[i];
        r->now.x[i] = ans.x;
        r->now.at[i] = (uint32_t)(ans.p - records[i]);
        r->size[i] = (uint32_t)sizes[i];
    }
}

/* words = f(0) .. f(7) */
#define TTEI_GATHER(words, f)                                                                  \
    do {                                                                                       \
        const ttei_lane_words all_ = {f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7)};         \
        (words) = all_;                                                                        \
    } while (0)

static uint32_t ttei_word_at(const unsigned char *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Reads the lanes marked in `rare` one by one, and corrects what follows for them: their values and the
   place behind. */
static void ttei_lane_rare(const ttei_codes *c, const ttei_lane_bits *table, const ttei_lane_words *rare,
                           const ttei_lane_reading *r, ttei_lane_place *after, ttei_lane_words *values)
{
    size_t i;
    for (i = 0; i < TTEI_LANES; ++i) {
        ttei_ans ans;
        unsigned state;
        float value;
        uint32_t bits;
        if ((*rare)[i] == 0) continue;
        ans.x = r->now.x[i];
        ans.p = r->record[i] + r->now.at[i];
        ans.end = r->record[i] + r->size[i];
        state = r->now.state[i];
        value = ttei_ans_coefficient(&ans, ttei_table_at(c, (*table)[i]), &state);
        memcpy(&bits, &value, sizeof bits);
        (*values)[i] = bits;
        after->x[i] = ans.x;
        after->at[i] = (uint32_t)(ans.p - r->record[i]);
        after->state[i] = state;
    }
}

/* The next coefficients in steps, of one column: what ttei_ans_coefficient does, in all lanes. */
TTEI_INLINE void ttei_lane_coefficients(const ttei_codes *c, const unsigned char *quick, int column,
                                        ttei_lane_reading *r, float *out)
{
    const ttei_lane_words zero = {0}, slot = r->now.x & (TTEI_ANS_TOTAL - 1u);
    ttei_lane_bits table = r->shift + column, less;
    ttei_lane_words x = r->now.x, base, symbol, word, raw, low, values, n, left, next, rare;
    ttei_lane_place after;
    ttei_lanes value;
    uint32_t at[TTEI_LANES];
    uint64_t part[TTEI_LANES / 2];

    /* The table, from 0 to the last; with the quantizer of the state, where it lies. */
    table &= ~(table >> 31);
    less = (ttei_lane_bits)(table < c->tables);
    table = (table & less) | ((c->tables - 1) & ~less);
    base = (ttei_lane_words)(table * 2) + ((zero + TTEI_QUANTIZERS) >> r->now.state & 1u);
    base = (base << 10) - (base << 7);  /* TTEI_QUICK is 1024 - 128 */

    /* The symbol: the range's first, or the one after it. A true comparison is -1. */
    word = base + 8u * TTEI_MAGNITUDES + slot / TTEI_RANGE * 2u;
    memcpy(at, &word, sizeof at);
#define TTEI_AT(i) ttei_get16(quick + at[i])
    TTEI_GATHER(symbol, TTEI_AT);
#undef TTEI_AT
    rare = symbol & TTEI_QUICK_SEVERAL;
    less = (ttei_lane_bits)((ttei_lane_bits)(slot % TTEI_RANGE) >= (ttei_lane_bits)(symbol >> 6 & 31u));
    symbol = (symbol & 63u) - (ttei_lane_words)less;
    next = base + 4u * symbol;
    memcpy(at, &next, sizeof at);
#define TTEI_AT(i) ttei_word_at(quick + at[i])
    TTEI_GATHER(word, TTEI_AT);
#undef TTEI_AT
#define TTEI_AT(i) ttei_word_at(quick + 4 * TTEI_MAGNITUDES + at[i])
    TTEI_GATHER(values, TTEI_AT);
#undef TTEI_AT

    /* x without the symbol, the plain bits and the sign. */
    x = (word >> 12 & 0xfffu) * (x >> TTEI_ANS_BITS) + slot - (word & 0xfffu);
    raw = word >> 24 & 15u;
    low = x & (((zero + 1u) << raw) - 1u);
    x >>= raw;
    value = (ttei_lanes)values + __builtin_convertvector((ttei_lane_bits)(low << 1), ttei_lanes);
    n = word / TTEI_QUICK_SIGN & 1u;
    values = (ttei_lane_words)value ^ (x & n) << 31;
    x >>= n;
    rare |= (word & TTEI_QUICK_ESCAPE) | (word & TTEI_QUICK_SMALL & (ttei_lane_words)(low < 2u));

    /* As many bytes as make x 2^24 or more and the record has. While it has any, x was that large, and is 8
       at least behind a symbol, plain bits and a sign: three bytes do. x / 256 is compared, since that is
       never negative. */
    next = x >> 8;
    n = zero - (ttei_lane_words)((ttei_lane_bits)next < 0x10000) -
        (ttei_lane_words)((ttei_lane_bits)next < 0x100) - (ttei_lane_words)((ttei_lane_bits)next < 1);
    left = r->size - r->now.at;
    less = (ttei_lane_bits)((ttei_lane_bits)n < (ttei_lane_bits)left);
    n = (n & (ttei_lane_words)less) | (left & ~(ttei_lane_words)less);
    memcpy(at, &r->now.at, sizeof at);
#define TTEI_AT(i) ttei_get32_big(r->record[i] + at[i])
    TTEI_GATHER(next, TTEI_AT);
#undef TTEI_AT
    after.x = x << (8u * n) | next >> 1 >> (31u - 8u * n);  /* in two steps: by 32 is not defined */
    after.at = r->now.at + n;
    after.state = ((zero + TTEI_STATES) >> 4u * r->now.state & 7u) ^ (((symbol << raw) | low) & 1u);
    memcpy(part, &rare, sizeof part);
    if ((part[0] | part[1] | part[2] | part[3]) != 0) ttei_lane_rare(c, &table, &rare, r, &after, &values);
    r->now = after;
    memcpy(out, &values, sizeof values);
}
#undef TTEI_GATHER

/* The coefficients in steps of TTEI_ABREAST records: out[j * TTEI_ABREAST + i] is coefficient j of record
   i, steps[i] its step. Four bytes behind a record are read, and not used: other sections lie there. */
TTEI_CLONES static void ttei_entropy_abreast(const unsigned char *codes, const unsigned char *quick,
                                             size_t rank, const unsigned char *const *records,
                                             const size_t *sizes, float *steps, float *out)
{
    ttei_codes c;
    ttei_lane_reading r[TTEI_ABREAST / TTEI_LANES];
    size_t i, j;
    ttei_codes_view(codes, rank, &c);
    for (i = 0; i < TTEI_ABREAST; i += TTEI_LANES)
        ttei_lane_begin(&c, records + i, sizes + i, &r[i / TTEI_LANES], steps + i);
    for (j = 0; j < rank; ++j, out += TTEI_ABREAST)
        for (i = 0; i < TTEI_ABREAST; i += TTEI_LANES)
            ttei_lane_coefficients(&c, quick, ttei_signed(c.columns[j]), &r[i / TTEI_LANES], out + i);
}

#endif

#ifndef TT_EMBED_DECODE_ONLY

/* A record being written, from its end to its beginning, since what is written last is read first. */
typedef struct ttei_ans_writer {
    unsigned char *p;
    uint32_t x;
} ttei_ans_writer;

/* A symbol and the plain bits that are read after it, in one step. */
static void ttei_ans_put(ttei_ans_writer *w, uint32_t start, uint32_t frequency, unsigned bits,
                         uint32_t value)
{
    const uint64_t limit = (uint64_t)frequency << (32 - TTEI_ANS_BITS - bits);
    while (w->x >= limit) {
        *--w->p = (unsigned char)(w->x & 255u);
        w->x >>= 8;
    }
    w->x = w->x << bits | value;
    w->x = ((w->x / frequency) << TTEI_ANS_BITS) + start + w->x % frequency;
}

static void ttei_ans_put_symbol(ttei_ans_writer *w, const unsigned char *ends, unsigned symbol,
                                unsigned bits, uint32_t value)
{
    const uint32_t start = symbol > 0 ? ttei_get16(ends + 2 * symbol - 2) : 0;
    ttei_ans_put(w, start, ttei_get16(ends + 2 * symbol) - start, bits, value);
}

static unsigned ttei_bit_length(uint32_t value)
{
    unsigned bits = 0;
    for (; value != 0; value >>= 1) ++bits;
    return bits;
}

/* Index a with its sign, under quantizer q: the mirror of ttei_ans_coefficient. */
static void ttei_ans_put_index(ttei_ans_writer *w, const unsigned char *table, unsigned q, uint32_t a,
                               int negative)
{
    const unsigned char *ends = table + 8 + (q != 0 ? 2u * table[1] : 0);
    const unsigned raw = table[0], last = table[1 + q] - 1u;
    const uint32_t high = a >> raw, low = a & ((1u << raw) - 1u);
    const unsigned bits = raw + (a != 0);
    const uint32_t plain = low | (negative ? 1u << raw : 0);
    if (high < last) {
        ttei_ans_put_symbol(w, ends, high, bits, plain);
    } else {
        const uint32_t value = high - last + 1u;
        const unsigned length = ttei_bit_length(value) - 1u, half = length / 2;
        const uint32_t rest = value - (1u << length);
        ttei_ans_put(w, 0, TTEI_ANS_TOTAL, bits, plain);
        ttei_ans_put(w, 0, TTEI_ANS_TOTAL, length - half, rest >> half);
        ttei_ans_put(w, 0, TTEI_ANS_TOTAL, half, rest & ((1u << half) - 1u));
        ttei_ans_put(w, 0, TTEI_ANS_TOTAL, 5, length);
        ttei_ans_put_symbol(w, ends, last, 0, 0);
    }
}

/* The most bytes a record can have: 12 + 5 + 20 + 8 + 1 bits a coefficient, and the classes. */
static size_t ttei_entropy_most(size_t rank) { return ttei_add(ttei_mul(rank, 6), 8); }

/* Writes the record of `rank` indices with their signs before `end`; returns its bytes. `states` has
   room for `rank`. */
static size_t ttei_entropy_encode(const ttei_codes *c, size_t rank, const int32_t *indices, int step_class,
                                  int scale_class, unsigned char *states, unsigned char *end)
{
    ttei_ans_writer w;
    unsigned state = 0;
    size_t j;
    w.p = end;
    w.x = 0;
    for (j = 0; j < rank; ++j) {
        states[j] = (unsigned char)state;
        state = ttei_state_after(state, (unsigned)indices[j] & 1u);
    }
    for (j = rank; j-- > 0;) {
        const uint32_t a = (uint32_t)(indices[j] < 0 ? -indices[j] : indices[j]);
        ttei_ans_put_index(&w, ttei_table_at(c, ttei_table_number(c, j, step_class + scale_class)),
                           ttei_quantizer(states[j]), a, indices[j] < 0);
    }
    ttei_ans_put_symbol(&w, c->scale_ends, (unsigned)scale_class, 0, 0);
    ttei_ans_put_symbol(&w, c->step_ends, (unsigned)step_class, 0, 0);
    for (; w.x != 0; w.x >>= 8) *--w.p = (unsigned char)(w.x & 255u);
    if (w.p == end) *--w.p = 0;  /* a section of records has bytes, even where they say nothing */
    return (size_t)(end - w.p);
}

/* Frequencies that add up to 4096, none 0, close to the counts; as cumulative ends at p. */
static void ttei_ends_write(const double *counts, int symbols, unsigned char *p)
{
    uint32_t frequency[TTEI_MAGNITUDES] = {0}, sum = 0, end = 0;
    double total = 0;
    int i, top = 0;
    for (i = 0; i < symbols; ++i) {
        total += counts[i];
        if (counts[i] > counts[top]) top = i;
    }
    for (i = 0; i < symbols; ++i) {
        const double share = total > 0 ? counts[i] / total : 1.0 / symbols;
        frequency[i] = 1u + (uint32_t)(share * (TTEI_ANS_TOTAL - (double)symbols));
        sum += frequency[i];
    }
    frequency[top] += TTEI_ANS_TOTAL - sum;  /* what rounding down left: less than `symbols` */
    for (i = 0; i < symbols; ++i, p += 2) ttei_put16(p, end += frequency[i]);
}

/* What a table codes, counted: [q][symbol] and the sums that centroids are made of. */
typedef struct ttei_counts {
    double symbol[2][TTEI_MAGNITUDES];
    double number[2][2], sum[2][2];  /* of indices 1 and 2 or more: how many, and |value| minus grid */
} ttei_counts;

static void ttei_counts_add(ttei_counts *sum, const ttei_counts *counts)
{
    int q, i;
    for (q = 0; q < 2; ++q) {
        for (i = 0; i < TTEI_MAGNITUDES; ++i) sum->symbol[q][i] += counts->symbol[q][i];
        for (i = 0; i < 2; ++i) {
            sum->number[q][i] += counts->number[q][i];
            sum->sum[q][i] += counts->sum[q][i];
        }
    }
}

/* Symbols a table needs: the rest, rarer than one in 8192, goes to the escape. */
static int ttei_symbols_of(const double *counts)
{
    double total = 0, tail = 0;
    int i, symbols = TTEI_MAGNITUDES;
    for (i = 0; i < TTEI_MAGNITUDES; ++i) total += counts[i];
    for (i = TTEI_MAGNITUDES - 1; i >= 1; --i) {
        tail += counts[i];
        if (tail * 8192 > total) break;
        symbols = i + 1;
    }
    return symbols;
}

/* One table at p; returns its bytes. */
static size_t ttei_table_write(const ttei_counts *counts, int raw, unsigned char *p)
{
    unsigned char *ends = p + 8;
    int q, above, i;
    p[0] = (unsigned char)raw;
    p[3] = 0;
    for (q = 0; q < 2; ++q) {
        double symbol[TTEI_MAGNITUDES];
        const int symbols = ttei_symbols_of(counts->symbol[q]);
        memcpy(symbol, counts->symbol[q], sizeof symbol);
        for (i = symbols; i < TTEI_MAGNITUDES; ++i) symbol[symbols - 1] += symbol[i];
        ttei_ends_write(symbol, symbols, ends);
        p[1 + q] = (unsigned char)symbols;
        ends += 2 * symbols;
        for (above = 0; above < 2; ++above) {
            double shift = counts->number[q][above] >= 16
                               ? (double)TTEI_CENTROID * counts->sum[q][above] / counts->number[q][above] : 0;
            shift = shift < -60 ? -60 : shift > 60 ? 60 : shift;
            p[4 + 2 * q + above] = (unsigned char)((int)floor(shift + 0.5) & 255);
        }
    }
    return (size_t)(ends - p);
}

/* ---- the trellis: for eight rows at a time, the indices with the least distortion + weight * bits ---- */

#define TTEI_AHEAD 16u      /* columns whose candidates are made before the trellis takes them       */
#define TTEI_LAGRANGE 0.4f  /* distortion in steps squared that one bit is worth; the slope of D(R) */

/* A table as the encoder sees it: bits of each symbol, plain bits and sign included. */
typedef struct ttei_costs {
    float bits[2][TTEI_MAGNITUDES], centre[2][2];
    unsigned raw, last[2];
} ttei_costs;

static void ttei_costs_of(const unsigned char *table, ttei_costs *costs)
{
    const unsigned char *ends = table + 8;
    unsigned q, symbol;
    costs->raw = table[0];
    for (q = 0; q < 2; ++q) {
        uint32_t before = 0, end;
        costs->last[q] = table[1 + q] - 1u;
        for (symbol = 0; symbol <= costs->last[q]; ++symbol, before = end, ends += 2) {
            end = ttei_get16(ends);
            costs->bits[q][symbol] =
                TTEI_LAGRANGE * ((float)(TTEI_ANS_BITS - log2((double)(end - before))) +
                                  (float)(costs->raw + (symbol > 0 || costs->raw > 0)));
        }
        costs->centre[q][0] = ttei_magnitude(table, q, 1) - (float)(2 - q);
        costs->centre[q][1] = ttei_magnitude(table, q, 2) - (float)(4 - q);
    }
}

/* What index a > 0 costs for x >= 0, both in steps. */
TTEI_INLINE float ttei_index_cost(const ttei_costs *costs, unsigned q, uint32_t a, float x)
{
    const uint32_t high = a >> costs->raw;
    const float miss = x - (float)(int32_t)(2 * a - q) - costs->centre[q][a > 1];
    if (high < costs->last[q]) return miss * miss + costs->bits[q][high];
    return miss * miss + costs->bits[q][costs->last[q]] +
           TTEI_LAGRANGE * (4.0f + (float)ttei_bit_length(high - costs->last[q] + 1u));
}

/* The best even and odd index of quantizer q: the nearest of either parity, or zero. There is no branch
   here that a processor could guess wrongly. */
TTEI_INLINE void ttei_index_best(const ttei_costs *costs, unsigned q, float x, float *even, float *odd,
                                 int32_t *even_index, int32_t *odd_index)
{
    const float quarter = 0.25f * (x + (float)(int32_t)q), zero = x * x + costs->bits[q][0];
    int32_t a = 2 * (int32_t)(quarter + 0.5f);
    float cost;
    a = a < 2 ? 2 : a;
    cost = ttei_index_cost(costs, q, (uint32_t)a, x);
    *even = zero < cost ? zero : cost;
    *even_index = zero < cost ? 0 : a;
    *odd_index = 2 * (int32_t)quarter + 1;
    *odd = ttei_index_cost(costs, q, (uint32_t)*odd_index, x);
}

typedef struct ttei_trellis {
    int32_t *index;          /* rank x 4 x TTEI_LANES: the best index of (q, parity)                 */
    ttei_lane_bits *from;    /* rank: bit s says which of its two predecessors state s comes from    */
} ttei_trellis;

/* States 2g and 2g + 1 are reached from one[g] and two[g], both of quantizer g & 1, with parities that
   differ (the machine of ttei_state_after, backwards). */
static const unsigned char ttei_trellis_one[4] = {0, 4, 1, 5}, ttei_trellis_two[4] = {6, 2, 7, 3};

/* One column: `best` are the costs of (q, parity); `cost` of the eight states moves on [MF90]. */
TTEI_INLINE void ttei_trellis_step(const ttei_lanes *best, ttei_lanes *cost, ttei_lane_bits *from)
{
    ttei_lanes next[8];
    ttei_lane_bits bits = {0};
    int g, odd;
    for (g = 0; g < 4; ++g)
        for (odd = 0; odd < 2; ++odd) {
            const ttei_lanes one = cost[ttei_trellis_one[g]] + best[2 * (g & 1) + odd];
            const ttei_lanes two = cost[ttei_trellis_two[g]] + best[2 * (g & 1) + 1 - odd];
            const ttei_lane_bits mask = TTEI_LESS(two, one);
            const int32_t flag = (int32_t)1 << (2 * g + odd);
            next[2 * g + odd] = TTEI_SELECT(mask, two, one);
            bits |= mask & flag;
        }
    memcpy(cost, next, sizeof next);
    *from = bits;
}

/* Indices of `count` <= TTEI_LANES rows of `rank` coefficients in y: shift and step are those of each
   row. Every coefficient is below 2^20 steps. */
TTEI_CLONES static void ttei_trellis_run(const ttei_codes *c, const ttei_costs *costs, size_t rank,
                                         size_t count, const float *y, const int *shift,
                                         const float *step, const ttei_trellis *room, int32_t *indices)
{
    ttei_lanes cost[8], best[4];
    float part[8][TTEI_LANES], columns[TTEI_AHEAD][4][TTEI_LANES];
    size_t j, k, ahead, lane;
    unsigned s, i;
    memset(columns, 0, sizeof columns);
    for (s = 0; s < 8; ++s) {
        for (lane = 0; lane < TTEI_LANES; ++lane) part[s][lane] = s > 0 ? 1e30f : 0;
        memcpy(&cost[s], part[s], sizeof cost[s]);
    }
    for (j = 0; j < rank; j += ahead) {  /* some columns ahead: written one by one, read as vectors */
        ahead = ttei_min(TTEI_AHEAD, rank - j);
        for (k = 0; k < ahead; ++k) {
            int32_t *index = room->index + (j + k) * 4 * TTEI_LANES;
            for (lane = 0; lane < count; ++lane) {
                const float value = y[lane * rank + j + k], x = (value < 0 ? -value : value) / step[lane];
                const ttei_costs *table = &costs[ttei_table_number(c, j + k, shift[lane])];
                for (i = 0; i < 4; i += 2)
                    ttei_index_best(table, i / 2, x, &columns[k][i][lane], &columns[k][i + 1][lane],
                                    &index[i * TTEI_LANES + lane], &index[(i + 1) * TTEI_LANES + lane]);
            }
        }
        for (k = 0; k < ahead; ++k) {
            memcpy(best, columns[k], sizeof best);
            ttei_trellis_step(best, cost, &room->from[j + k]);
        }
    }
    for (s = 0; s < 8; ++s) memcpy(part[s], &cost[s], sizeof cost[s]);
    for (lane = 0; lane < count; ++lane) {
        for (s = 0, i = 1; i < 8; ++i)
            if (part[i][lane] < part[s][lane]) s = i;
        for (j = rank; j-- > 0;) {
            int32_t bits[TTEI_LANES], a;
            unsigned second;
            memcpy(bits, &room->from[j], sizeof bits);
            second = (uint32_t)bits[lane] >> s & 1u;
            i = 2 * (s >> 1 & 1u) + ((s & 1u) ^ second);
            a = room->index[(j * 4 + i) * TTEI_LANES + lane];
            indices[lane * rank + j] = y[lane * rank + j] < 0 ? -a : a;
            s = second ? ttei_trellis_two[s >> 1] : ttei_trellis_one[s >> 1];
        }
    }
}

/* The coefficients that a decoder will see; with `counts`, one entry for each table, also what there
   is to learn from the row. */
static void ttei_indices_values(const ttei_codes *c, size_t rank, const int32_t *indices, int shift,
                                float step, const float *y, float *values, ttei_counts *counts)
{
    unsigned state = 0;
    size_t j;
    for (j = 0; j < rank; ++j) {
        const int number = ttei_table_number(c, j, shift);
        const unsigned char *table = ttei_table_at(c, number);
        const unsigned q = ttei_quantizer(state);
        const uint32_t a = (uint32_t)(indices[j] < 0 ? -indices[j] : indices[j]);
        const float value = a > 0 ? ttei_magnitude(table, q, a) : 0;
        values[j] = indices[j] < 0 ? step * -value : step * value;
        state = ttei_state_after(state, a & 1u);
        if (counts != NULL) {
            ttei_counts *count = counts + number;
            count->symbol[q][ttei_min(a >> table[0], TTEI_MAGNITUDES - 1)] += 1;
            if (a > 0) {
                count->number[q][a > 1] += 1;
                count->sum[q][a > 1] += (double)((y[j] < 0 ? -y[j] : y[j]) / step) - (double)(2 * a - q);
            }
        }
    }
}

#endif /* TT_EMBED_DECODE_ONLY */

/* ================================================================================================
   ONE TRAIN FOR A TABLE
   The table minus its mean row is one tensor, tokens first. Its first unfolding is decomposed through
   the second moments, whose eigenvectors are the right singular vectors:
       W - 1 m^T = U S V^T = G0 B,     B = V^T (R x dim),  G0[t] = the coefficients of token t.
   B, read as (R n1 .. n(k-1)) x nk, is then unfolded from the right, weighted with S, which makes
   cores G1 .. Gk with orthonormal rows. They are rounded; G0 is computed against what is left of
   them, and takes most of their rounding up.
   ============================================================================================= */

/* ---- the train of a table: shared cores and coefficients --------------------------------------------
   Section 3 holds the mean row as a matrix of one row, the cores G1 .. Gd, and for F16, I8 and I4 a
   float32 scale for each coefficient. */

#ifndef TT_EMBED_DECODE_ONLY

/* The ranks that a train of all columns can need: to the right of a bond, and max_rank. */
static void ttei_table_caps(const tte_shape *shape, int32_t dim, int32_t max_rank, int32_t *caps)
{
    size_t right = 1;
    int32_t k;
    for (k = shape->modes; k >= 0; --k) {
        caps[k] = (int32_t)right;
        if (max_rank > 0 && max_rank < caps[k]) caps[k] = max_rank;
        if (k > 0) right *= (size_t)shape->dim[k - 1];
    }
    if (dim < caps[0]) caps[0] = dim;
}

#endif

/* The run of a matrix whose codes lie as those of a record in TTE_I8 or TTE_I4. */
static int ttei_scaled_run(tte_coding coding) { return coding == TTE_I8 ? 2 : 3; }

static int ttei_has_columns(tte_coding coding) { return coding >= TTE_F16 && coding <= TTE_I4; }

/* The mean (k = -1) or core k + 1 in a section of `size` bytes; returns the bytes up to its end, 0 where
   the section contradicts itself. */
static size_t ttei_core_read(const tte_table *t, size_t size, int32_t k, ttei_matrix *m)
{
    size_t at = ttei_matrix_read(t->shared, size, 1, (size_t)t->dim, m), bytes;
    int32_t i;
    for (i = 0; i <= k && at > 0; ++i) {
        bytes = ttei_matrix_read(t->shared + at, size - at, (size_t)t->ranks[i],
                                 ttei_mul((size_t)t->shape.dim[i], (size_t)t->ranks[i + 1]), m);
        at = bytes > 0 ? at + bytes : 0;
    }
    return at;
}

/* The same in a section that is known to be good. */
static size_t ttei_core_at(const tte_table *t, int32_t k, ttei_matrix *m)
{
    return ttei_core_read(t, TTEI_SIZE_MAX, k, m);
}

static int ttei_shared_good(const tte_table *t, size_t size)
{
    ttei_matrix m;
    const size_t at = ttei_core_read(t, size, t->shape.modes - 1, &m);
    return at > 0 && size - at == (ttei_has_columns(ttei_coding(t->coding)) ? 4 * (size_t)t->ranks[0] : 0);
}

/* The scales of the coefficients, where the coding has them. */
static const unsigned char *ttei_columns_at(const tte_table *t)
{
    ttei_matrix m;
    return t->shared + ttei_core_at(t, t->shape.modes - 1, &m);
}

/* Coefficients, or what the shared cores make of a vector, times these scales. */
static void ttei_columns_scale(const tte_table *t, float *y)
{
    const unsigned char *columns;
    size_t j;
    if (!ttei_has_columns(ttei_coding(t->coding))) return;
    columns = ttei_columns_at(t);
    for (j = 0; j < (size_t)t->ranks[0]; ++j) y[j] *= ttei_get_f32(columns + 4 * j);
}

/* Bytes of a record of `rank` coefficients; unused for TTE_ENTROPY. I8 and I4 begin with the row's own
   scale; their codes lie as in a row of a matrix. */
static size_t ttei_coefficients_bytes(tte_coding coding, size_t rank)
{
    return ttei_add(ttei_has_scales(coding) ? 1 : 0, ttei_packed_bytes((int)coding, rank));
}

/* The coefficients of a record. */
static void ttei_coefficients_decode(const tte_table *t, const unsigned char *record, size_t size,
                                     float *y)
{
    const size_t rank = (size_t)t->ranks[0];
    if (ttei_coding(t->coding) == TTE_ENTROPY) {
        ttei_entropy_decode(t->codes, rank, record, size, y);
        return;
    }
    if (ttei_coding(t->coding) == TTE_I8 || ttei_coding(t->coding) == TTE_I4) {
        const float scale = ttei_row_scale(record[0]);
        memset(y, 0, rank * sizeof *y);
        ttei_rows_axpy(ttei_scaled_run(ttei_coding(t->coding)), 1, rank, 0, rank, &scale, record + 1, y);
    } else {
        ttei_codes_decode(ttei_coding(t->coding), 0, rank, 1, record, y);
    }
    ttei_columns_scale(t, y);
}

#ifndef TT_EMBED_DECODE_ONLY

/* Coefficient j of a record that is not entropy-coded, before the scale of its column. */
static float ttei_coefficient_code(tte_coding coding, size_t rank, const unsigned char *record, size_t j)
{
    switch (coding) {
    case TTE_F32: return ttei_get_f32(record + 4 * j);
    case TTE_F16: return ttei_f16_decode(ttei_get16(record + 2 * j));
    case TTE_I8:  return ttei_row_scale(record[0]) * ttei_code_value(2, record + 1, rank, j);
    default:      return ttei_row_scale(record[0]) * ttei_code_value(3, record + 1, rank, j);
    }
}

/* Writes the codes of a row under one scale of its own; returns the squared error. */
static double ttei_coefficients_codes(tte_coding coding, size_t rank, const float *scales, unsigned code,
                                      const float *y, unsigned char *record)
{
    const int limit = coding == TTE_I8 ? 127 : 7, run = coding == TTE_I8 ? 2 : 3;
    const float row = ttei_row_scale(code);
    double error = 0;
    size_t j;
    memset(record, 0, 1 + (run == 2 ? rank : (rank + 1) / 2));
    record[0] = (unsigned char)code;
    for (j = 0; j < rank; ++j) {
        const float scale = row * scales[j];
        const int number = ttei_code(y[j], scale, limit);
        const double miss = (double)y[j] - (double)scale * number;
        error += miss * miss;
        ttei_code_put(run, record + 1, rank, j, number);
    }
    return error;
}

/* A record of coefficients, not for TTE_ENTROPY. The scale of the row is the one of least error among
   some that clip its largest entries. TTE_ERR_BUDGET where a coefficient is beyond the coding. */
static tte_status ttei_coefficients_encode(tte_coding coding, size_t rank, const float *scales,
                                           const float *y, unsigned char *record)
{
    const float limit = coding == TTE_I8 ? 127 : 7;
    float top = 0;
    unsigned code = 0, best, tries = coding == TTE_I8 ? 3 : 14;
    double error, least = 0;
    size_t j;
    for (j = 0; j < rank; ++j) {
        if (coding == TTE_F32) ttei_put_f32(record + 4 * j, y[j]);
        if (coding == TTE_F16) {
            const uint32_t half = ttei_f16_encode(scales[j] > 0 ? y[j] / scales[j] : 0);
            if ((half & 0x7c00u) == 0x7c00u) return TTE_ERR_BUDGET;
            ttei_put16(record + 2 * j, half);
        }
        if (scales[j] > 0 && ttei_abs_f32(y[j]) / scales[j] > top) top = ttei_abs_f32(y[j]) / scales[j];
    }
    if (coding == TTE_F32 || coding == TTE_F16) return TTE_OK;
    if (!(top < 60000.0f * limit)) return TTE_ERR_BUDGET;
    while (code < 255 && ttei_row_scale(code) * limit < top) ++code;
    for (best = code; tries > 0; --tries, --code) {
        error = ttei_coefficients_codes(coding, rank, scales, code, y, record);
        if (code == best || error < least) {
            least = error;
            best = code;
        }
        if (code == 0) break;
    }
    (void)ttei_coefficients_codes(coding, rank, scales, best, y, record);
    return TTE_OK;
}

/* Sums over the rows, in double: with X the rows scaled by the roots of their weights, and the roots
   themselves as one column more, sums = X^T X holds second moments, mean and total weight at once. */
typedef struct ttei_moments {
    size_t dim, width;       /* width: dim + 1, up to a multiple of 8        */
    double *sums;            /* width x width, the upper part                */
    double *tile;            /* TTEI_TILE x width                            */
} ttei_moments;

#define TTEI_TILE 64u        /* rows that one thread takes at a time         */

static size_t ttei_moments_carve(size_t dim, void *block, ttei_moments *m)
{
    ttei_carve carve = ttei_carve_begin(block);
    m->dim = dim;
    m->width = (dim + 8) / 8 * 8;
    m->sums = (double *)ttei_take(&carve, ttei_mul(m->width, m->width), sizeof(double));
    m->tile = (double *)ttei_take(&carve, ttei_mul(TTEI_TILE, m->width), sizeof(double));
    return carve.used;
}

TTEI_INLINE void ttei_quad_add(double *p, const ttei_quad_f64 *a, const ttei_quad_f64 *b)
{
    ttei_quad_f64 x, y;
    memcpy(&x, p, sizeof x);
    memcpy(&y, p + TTEI_QUAD, sizeof y);
    x += *a;
    y += *b;
    memcpy(p, &x, sizeof x);
    memcpy(p + TTEI_QUAD, &y, sizeof y);
}

/* Four rows of the sums from the diagonal on: entry (i, j) += sum over t of tile[t, i] * tile[t, j]. */
TTEI_CLONES static void ttei_moments_rows(const ttei_moments *m, size_t i, size_t count)
{
    const size_t w = m->width;
    size_t j, t;
    for (j = i / 8 * 8; j < w; j += 2 * TTEI_QUAD) {
        ttei_quad_f64 a0 = {0}, b0 = {0}, a1 = {0}, b1 = {0}, a2 = {0}, b2 = {0}, a3 = {0}, b3 = {0}, x, y;
        const double *row = m->tile;
        for (t = 0; t < count; ++t, row += w) {
            memcpy(&x, row + j, sizeof x);
            memcpy(&y, row + j + TTEI_QUAD, sizeof y);
            a0 += row[i] * x;
            b0 += row[i] * y;
            a1 += row[i + 1] * x;
            b1 += row[i + 1] * y;
            a2 += row[i + 2] * x;
            b2 += row[i + 2] * y;
            a3 += row[i + 3] * x;
            b3 += row[i + 3] * y;
        }
        ttei_quad_add(m->sums + i * w + j, &a0, &b0);
        ttei_quad_add(m->sums + (i + 1) * w + j, &a1, &b1);
        ttei_quad_add(m->sums + (i + 2) * w + j, &a2, &b2);
        ttei_quad_add(m->sums + (i + 3) * w + j, &a3, &b3);
    }
}

/* One row, scaled, into the tile. */
static void ttei_moments_row(const ttei_moments *m, const float *row, double root, double *out)
{
    size_t j;
    for (j = 0; j < m->dim; ++j) out[j] = root * (double)row[j];
    out[j++] = root;
    for (; j < m->width; ++j) out[j] = 0;
}

/* Rows with their weights (NULL: 1) into the sums. Threads share the entries, not the rows, so that
   every sum is taken in the order of the rows. */
static tte_status ttei_moments_add(const ttei_moments *m, const float *rows, const float *weights,
                                   size_t count)
{
    const int blocks = (int)(m->width / 4);
    size_t first, now;
    if (!ttei_all_finite_f32(rows, count * m->dim)) return TTE_ERR_NOT_FINITE;
    for (first = 0; first < count; first += now, rows += now * m->dim) {
        int t, block;
        now = ttei_min(count - first, TTEI_TILE);
#ifdef _OPENMP
#pragma omp parallel
#endif
        {
#ifdef _OPENMP
#pragma omp for schedule(static)
#endif
            for (t = 0; t < (int)now; ++t)
                ttei_moments_row(m, rows + (size_t)t * m->dim,
                                 weights != NULL ? sqrt((double)weights[first + (size_t)t]) : 1,
                                 m->tile + (size_t)t * m->width);
#ifdef _OPENMP
#pragma omp for schedule(dynamic, 4)
#endif
            for (block = 0; block < blocks; ++block) ttei_moments_rows(m, 4 * (size_t)block, now);
        }
    }
    return TTE_OK;
}

/* The right singular vectors of the table minus its mean: what all choices are made on. */
typedef struct ttei_spectrum {
    size_t dim;
    double weight, norm2;    /* sums over all rows of w and w |row|^2                             */
    double *mean;            /* dim                                                              */
    double *energy;          /* dim: squared singular values, descending                         */
    double *vectors;         /* dim x dim: row j is the vector of energy[j]                       */
} ttei_spectrum;

static size_t ttei_spectrum_carve(size_t dim, void *block, ttei_spectrum *s, double **moments, void **svd)
{
    ttei_carve carve = ttei_carve_begin(block);
    s->dim = dim;
    s->mean = (double *)ttei_take(&carve, dim, sizeof(double));
    s->energy = (double *)ttei_take(&carve, dim, sizeof(double));
    s->vectors = (double *)ttei_take(&carve, ttei_mul(dim, dim), sizeof(double));
    *moments = (double *)ttei_take(&carve, ttei_mul(dim, dim), sizeof(double));
    *svd = ttei_take(&carve, tte_svd_f64_work((int)dim, (int)dim), 1);
    return carve.used;
}

/* From the sums: central second moments X^T X - W m m^T = V S^2 V^T. */
static tte_status ttei_spectrum_of(const ttei_moments *m, ttei_spectrum *s, double *moments, void *svd)
{
    const size_t n = m->dim, w = m->width;
    size_t i, j;
    s->weight = m->sums[n * w + n];
    s->norm2 = 0;
    for (i = 0; i < n; ++i) {
        s->mean[i] = m->sums[i * w + n] / s->weight;
        s->norm2 += m->sums[i * w + i];
    }
    if (!ttei_finite_f64(s->norm2)) return TTE_ERR_NOT_FINITE;
    for (i = 0; i < n; ++i)
        for (j = i; j < n; ++j)
            moments[i * n + j] = moments[j * n + i] =
                m->sums[i * w + j] - s->weight * s->mean[i] * s->mean[j];
    return tte_svd_f64((int)n, (int)n, moments, NULL, s->energy, s->vectors, svd);
}

/* The shared cores before rounding. Each row of a core has an energy, the part of the table's squared
   norm that passes through it; what a rounded entry costs is weighed with that. */
typedef struct ttei_frame {
    tte_shape shape;
    int32_t ranks[TTE_MAX_MODES + 1];  /* ranks[0]: coefficients of a token                          */
    float *cores;                      /* r[k-1] x (n[k] r[k]) for k = 1 .. d                        */
    double *energy;                    /* r[k-1] for k = 1 .. d, each descending                     */
    double total;                      /* of all dim directions                                      */
} ttei_frame;

/* The most rows of all cores together, and their room. */
static size_t ttei_frame_carve(void *block, ttei_frame *f)
{
    ttei_carve carve = ttei_carve_begin(block);
    size_t rows = 0;
    int32_t k;
    for (k = 0; k < f->shape.modes; ++k) rows = ttei_add(rows, (size_t)f->ranks[k]);
    f->cores = (float *)ttei_take(&carve, ttei_core_sum(&f->shape, f->ranks), sizeof(float));
    f->energy = (double *)ttei_take(&carve, rows, sizeof(double));
    return carve.used;
}

/* The unfolding that gives core k + 1: r[0] n1 .. nk rows; core 1 has r[0]. */
static size_t ttei_sweep_rows(const ttei_frame *f, int32_t k)
{
    size_t rows = (size_t)f->ranks[0];
    for (; k > 0; --k) rows = ttei_mul(rows, (size_t)f->shape.dim[k - 1]);
    return rows;
}

/* Room for the sweep from the right, at the ranks f starts with. */
typedef struct ttei_sweep {
    double *rest, *next;   /* what is left of S B: at most r[0] x prod(dim)   */
    double *s, *vt;        /* of one unfolding                                */
    void *svd;
} ttei_sweep;

static size_t ttei_sweep_carve(const ttei_frame *f, void *block, ttei_sweep *room)
{
    ttei_carve carve = ttei_carve_begin(block);
    const size_t entries = ttei_mul((size_t)f->ranks[0], ttei_entries(&f->shape));
    size_t vt = 0, side = 0, svd = 0;
    int32_t k;
    for (k = 0; k < f->shape.modes; ++k) {
        const size_t rows = ttei_sweep_rows(f, k);
        const size_t cols = ttei_mul((size_t)f->shape.dim[k], (size_t)f->ranks[k + 1]);
        if (ttei_mul(rows, cols) > TTEI_ENTRIES_MAX) return TTEI_SIZE_MAX;
        side = ttei_max(side, ttei_min(rows, cols));
        vt = ttei_max(vt, ttei_mul(ttei_min(rows, cols), cols));
        svd = ttei_max(svd, tte_svd_f64_work((int)rows, (int)cols));
    }
    room->rest = (double *)ttei_take(&carve, entries, sizeof(double));
    room->next = (double *)ttei_take(&carve, entries, sizeof(double));
    room->s = (double *)ttei_take(&carve, side, sizeof(double));
    room->vt = (double *)ttei_take(&carve, vt, sizeof(double));
    room->svd = ttei_take(&carve, svd, 1);
    return carve.used;
}

/* One core of the sweep: C (rows x cols) = U S V^T, the leading r rows of V^T are the core, C V goes
   on. Bonds inside keep what `allowed` of the squared norm does not cover. */
static tte_status ttei_sweep_core(ttei_frame *f, int32_t k, double allowed, float *core, double *energy,
                                  ttei_sweep *room)
{
    const size_t rows = ttei_sweep_rows(f, k);
    const size_t cols = (size_t)f->shape.dim[k] * (size_t)f->ranks[k + 1];
    size_t rank = ttei_min(ttei_min(rows, cols), (size_t)f->ranks[k]), i, j, l;
    double tail = 0, sum, *swap = room->next;
    const tte_status status =
        tte_svd_f64((int)rows, (int)cols, room->rest, NULL, room->s, room->vt, room->svd);
    if (status != TTE_OK) return status;
    for (; k > 0 && rank > 1; --rank) {
        tail += room->s[rank - 1] * room->s[rank - 1];
        if (!(tail <= allowed)) break;
    }
    /* directions of no energy at all may lie in the padding: as coefficients they would mean nothing */
    while (k == 0 && rank > 1 && !(room->s[rank - 1] > 3e-7 * room->s[0])) --rank;
    f->ranks[k] = (int32_t)rank;
    for (i = 0; i < rank; ++i) energy[i] = room->s[i] * room->s[i];
    for (i = 0; i < rank * cols; ++i) core[i] = (float)room->vt[i];
    for (i = 0; k > 0 && i < rows; ++i)
        for (j = 0; j < rank; ++j) {
            for (sum = 0, l = 0; l < cols; ++l) sum += room->rest[i * cols + l] * room->vt[j * cols + l];
            room->next[i * rank + j] = sum;
        }
    room->next = room->rest;
    room->rest = swap;
    return TTE_OK;
}

/* The cores of a frame whose shape and largest ranks are set, with `allowed` of the squared norm lost
   at each bond between them at most. Cores are found from the last one on, but stand in their order;
   they are made where the largest ranks would put them and moved together at the end. */
static tte_status ttei_frame_cores(ttei_frame *f, const ttei_spectrum *s, double allowed)
{
    const size_t entries = ttei_entries(&f->shape), rank = (size_t)f->ranks[0], dim = s->dim;
    int32_t caps[TTE_MAX_MODES + 1], k;
    size_t i, j, at = 0, row = 0, from = 0, from_row = 0, size;
    ttei_sweep room;
    tte_status status = TTE_OK;
    void *block;
    f->total = 0;
    for (i = 0; i < dim; ++i) f->total += s->energy[i];
    if (f->shape.modes == 1) {  /* the vectors are the core */
        memset(f->cores, 0, rank * entries * sizeof *f->cores);
        for (i = 0; i < rank; ++i) {
            f->energy[i] = s->energy[i];
            for (j = 0; j < dim; ++j) f->cores[i * entries + j] = (float)s->vectors[i * dim + j];
        }
        return TTE_OK;
    }
    memcpy(caps, f->ranks, sizeof caps);
    size = ttei_sweep_carve(f, NULL, &room);
    if (size == TTEI_SIZE_MAX) return TTE_ERR_SHAPE;
    block = TT_EMBED_MALLOC(size);
    if (block == NULL) return TTE_ERR_MEMORY;
    (void)ttei_sweep_carve(f, block, &room);
    memset(room.rest, 0, rank * entries * sizeof *room.rest);
    for (i = 0; i < rank; ++i)
        for (j = 0; j < dim; ++j)
            room.rest[i * entries + j] = sqrt(s->energy[i]) * s->vectors[i * dim + j];
    for (k = 0; k < f->shape.modes; ++k) {
        at += ttei_core_size(&f->shape, caps, k);
        row += (size_t)caps[k];
    }
    for (k = f->shape.modes - 1; k >= 0 && status == TTE_OK; --k) {
        at -= ttei_core_size(&f->shape, caps, k);
        row -= (size_t)caps[k];
        status = ttei_sweep_core(f, k, allowed, f->cores + at, f->energy + row, &room);
    }
    for (k = 0, at = row = 0; k < f->shape.modes && status == TTE_OK; ++k) {
        size = ttei_core_size(&f->shape, f->ranks, k);
        memmove(f->cores + at, f->cores + from, size * sizeof *f->cores);
        memmove(f->energy + row, f->energy + from_row, (size_t)f->ranks[k] * sizeof *f->energy);
        at += size;
        row += (size_t)f->ranks[k];
        from += ttei_core_size(&f->shape, caps, k);
        from_row += (size_t)caps[k];
    }
    TT_EMBED_FREE(block);
    return status;
}

/* How rows are rounded. A row of n entries with largest entry t, rounded to w bits, errs by n e^2 in all
   with e^2 = (2 t / 2^w)^2 / 12. Of the energy that passes through it, `felt` times that is lost, and
   `noise`, what quantization leaves in a coefficient, grows by that much. With the price of a bit, the
   width that makes (felt * energy + noise) n e^2 + price * n * w least is taken. Widths fall along the
   rows. */
typedef struct ttei_precision {
    double price, felt, noise;
} ttei_precision;

static void ttei_runs_choose(const float *rows, const double *energy, size_t count, size_t cols,
                             const ttei_precision *p, size_t *run)
{
    static const double width[TTEI_RUNS] = {32, 16, 8, 4}, levels[TTEI_RUNS] = {1.2e7, 32767, 127, 7};
    size_t i;
    int r, best, least = 0;
    for (r = 0; r < TTEI_RUNS; ++r) run[r] = 0;
    for (i = 0; i < count; ++i, rows += cols) {
        const double top = (double)ttei_top_f32(cols, rows);
        double lowest = 0;
        for (r = best = least; r < TTEI_RUNS; ++r) {
            const double step = top / levels[r];
            const double cost =
                (p->felt * energy[i] + p->noise) * step * step / 12 + p->price * width[r];
            if (r == least || cost < lowest) {
                lowest = cost;
                best = r;
            }
        }
        least = best;
        ++run[best];
    }
}

/* ---- the model: what rows are encoded against --------------------------------------------------------
   Everything here follows from the bytes of an image, so that a table can be made, continued and
   matched by others in one way. */

typedef struct ttei_model {
    tte_table view;          /* dim, coding, shape, ranks, shared, codes; no records                   */
    ttei_codes codes;        /* TTE_ENTROPY: section 4                                                 */
    size_t dim, rank;
    float *mean;             /* dim                                                                    */
    float *basis;            /* rank x dim: what a coefficient adds to a row                           */
    float *dual;             /* dim x rank: coefficients = (row - mean) dual, by least squares         */
    float *scales;           /* rank: of the columns; for TTE_ENTROPY, their deviation as classes say  */
    ttei_costs *costs;       /* one for each table                                                     */
    void *block;
} ttei_model;

/* ttei_product with the rows shared out to all threads; the same sums. */
static void ttei_product_shared(size_t m, size_t k, size_t n, const float *a, size_t down, const float *b,
                                float *c)
{
    const int blocks = (int)((m + 31) / 32);
    int block;
#ifdef _OPENMP
#pragma omp parallel for schedule(static, 1)
#endif
    for (block = 0; block < blocks; ++block) {
        const size_t first = 32 * (size_t)block;
        ttei_product(ttei_min(32, m - first), k, n, a + first * down, down, 1, b, n,
                     c + first * n, n);
    }
}

/* 2 I - Y */
static void ttei_twice_less(size_t n, const float *y, float *out)
{
    size_t i;
    for (i = 0; i < n * n; ++i) out[i] = (i % (n + 1) == 0 ? 2.0f : 0.0f) - y[i];
}

/* G = B B^T is close to I; three steps of X <- X (2 I - G X) from X = I invert it. Cores of 4 bits may
   lengthen a row so much that this would diverge: with D = diag(max(1, g_ii)) it starts from X = 1 / D,
   whose first step is 2 / D - G / (D D^T). */
static void ttei_model_dual(size_t dim, size_t rank, const float *basis, float *dual, float *room)
{
    float *across = room, *gram = across + dim * rank, *x = gram + rank * rank, *y = x + rank * rank;
    size_t i, j;
    int step;
    for (i = 0; i < rank; ++i)
        for (j = 0; j < dim; ++j) across[j * rank + i] = basis[i * dim + j];
    ttei_product_shared(rank, dim, rank, basis, dim, across, gram);
    for (i = 0; i < rank; ++i)
        for (j = 0; j < rank; ++j) {
            float a = gram[i * rank + i], b = gram[j * rank + j];
            if (!(a > 1)) a = 1;
            if (!(b > 1)) b = 1;
            x[i * rank + j] = (i == j ? 2 / a : 0.0f) - gram[i * rank + j] / (a * b);
        }
    for (step = 0; step < 2; ++step) {
        ttei_product_shared(rank, rank, rank, gram, rank, x, y);
        ttei_twice_less(rank, y, y);
        ttei_product_shared(rank, rank, rank, x, rank, y, dual);
        memcpy(x, dual, rank * rank * sizeof *x);
    }
    ttei_product_shared(dim, rank, rank, across, rank, x, dual);
}

/* The basis from coded cores: B_1 = G_1 as r[0] x (n1 r1), B_k = B_(k-1) G_k; to the first `dim` of each
   row. `room` has twice rank x (largest n1 .. nk r[k]). */
static void ttei_model_basis(const tte_table *t, float *basis, float *room, size_t half)
{
    const size_t rank = (size_t)t->ranks[0], dim = (size_t)t->dim;
    ttei_matrix m;
    size_t rows = rank, i, run;
    int32_t k;
    float *v = room, *next = room + half;
    const unsigned char *codes;
    const unsigned char *scales;
    float scale;
    ttei_core_at(t, 0, &m);
    memset(v, 0, rank * m.cols * sizeof *v);
    codes = m.codes;
    scales = m.scales;
    for (run = 0, i = 0; run < TTEI_RUNS; ++run) {
        size_t left = m.run[run];
        for (; left > 0; --left, ++i, codes += ttei_packed_bytes((int)run, m.cols)) {
            scale = ttei_scale_next((int)run, &scales);
            ttei_rows_axpy((int)run, 1, m.cols, 0, m.cols, &scale, codes, v + i * m.cols);
        }
    }
    for (k = 1; k < t->shape.modes; ++k) {
        float *swap = v;
        rows *= (size_t)t->shape.dim[k - 1];
        ttei_core_at(t, k, &m);
        memset(next, 0, rows * m.cols * sizeof *next);
        ttei_matrix_apply(&m, rows, v, next);
        v = next;
        next = swap;
    }
    for (i = 0; i < rank; ++i)
        memcpy(basis + i * dim, v + i * ttei_entries(&t->shape), dim * sizeof *basis);
}

static size_t ttei_model_carve(void *block, ttei_model *m)
{
    ttei_carve carve = ttei_carve_begin(block);
    m->mean = (float *)ttei_take(&carve, m->dim, sizeof(float));
    m->basis = (float *)ttei_take(&carve, ttei_mul(m->rank, m->dim), sizeof(float));
    m->dual = (float *)ttei_take(&carve, ttei_mul(m->rank, m->dim), sizeof(float));
    m->scales = (float *)ttei_take(&carve, m->rank, sizeof(float));
    m->costs = (ttei_costs *)ttei_take(&carve, TTEI_TABLES, sizeof(ttei_costs));
    return carve.used;
}

static void ttei_model_end(ttei_model *m)
{
    if (m->block != NULL) TT_EMBED_FREE(m->block);
    m->block = NULL;
}

/* Section 4 of a model, which may change while it is being fitted. */
static void ttei_model_codes(ttei_model *m, const unsigned char *codes)
{
    size_t j;
    int i;
    m->view.codes = codes;
    ttei_codes_view(codes, m->rank, &m->codes);
    for (i = 0; i < m->codes.tables; ++i) ttei_costs_of(ttei_table_at(&m->codes, i), &m->costs[i]);
    for (j = 0; j < m->rank; ++j) {
        const int offset = ttei_signed(m->codes.columns[j]);
        m->scales[j] = m->codes.step * (float)pow(2, (double)(offset + m->codes.stride * m->codes.own -
                                                              m->codes.origin) /
                                                         (double)(2 * m->codes.stride));
    }
}

/* The model of a view whose sections stand. */
static tte_status ttei_model_begin(ttei_model *m, const tte_table *view)
{
    const float one = 1;
    size_t half = 0, left = (size_t)view->ranks[0], size, room_size, j;
    const unsigned char *columns = ttei_has_columns(view->coding) ? ttei_columns_at(view) : NULL;
    float *room;
    ttei_matrix mean;
    int32_t k;
    memset(m, 0, sizeof *m);
    m->view = *view;
    m->dim = (size_t)view->dim;
    m->rank = (size_t)view->ranks[0];
    for (k = 0; k < view->shape.modes; ++k) {
        left = ttei_mul(left, (size_t)view->shape.dim[k]);
        half = ttei_max(half, ttei_mul(left, (size_t)view->ranks[k + 1]));
    }
    size = ttei_model_carve(NULL, m);
    room_size = ttei_max(ttei_mul(2, half),
                         ttei_add(ttei_mul(m->dim, m->rank), ttei_mul(3, ttei_mul(m->rank, m->rank))));
    room_size = ttei_mul(room_size, sizeof(float));
    if (size == TTEI_SIZE_MAX || room_size == TTEI_SIZE_MAX) return TTE_ERR_SHAPE;
    m->block = TT_EMBED_MALLOC(size);
    room = (float *)TT_EMBED_MALLOC(room_size);
    if (m->block == NULL || room == NULL) {
        if (room != NULL) TT_EMBED_FREE(room);
        ttei_model_end(m);
        return TTE_ERR_MEMORY;
    }
    (void)ttei_model_carve(m->block, m);
    ttei_core_at(view, -1, &mean);
    memset(m->mean, 0, m->dim * sizeof *m->mean);
    ttei_matrix_apply(&mean, 1, &one, m->mean);
    ttei_model_basis(view, m->basis, room, half);
    ttei_model_dual(m->dim, m->rank, m->basis, m->dual, room);
    TT_EMBED_FREE(room);
    if (view->codes != NULL)
        ttei_model_codes(m, view->codes);
    else
        for (j = 0; j < m->rank; ++j) m->scales[j] = columns != NULL ? ttei_get_f32(columns + 4 * j) : 1;
    return TTE_OK;
}

#endif /* TT_EMBED_DECODE_ONLY */

/* ================================================================================================
   IMAGE LAYOUT
   The header as bytes and as a struct, where the sections lie, and the checks that make every later
   read safe. IMAGE FORMAT above is the map of this room.
   ============================================================================================= */

#define TTEI_HEADER_FIXED 144u
#define TTEI_SECTION_BYTES 24u
#define TTEI_SECTIONS 4         /* kinds of sections, numbered from 1            */
#define TTEI_SECTION_ALIGN 64u
#define TTEI_FLAG_ADAPTED 1u
#define TTEI_GROUP 16u         /* tokens that share one offset in an index of ranks ..      */
#define TTEI_LENGTHS 32u       /* .. and in one of lengths, which begins with             */
#define TTEI_LENGTHS_HEAD 8u   /* as many bytes of its own                                */
#define TTEI_SUM_TOP 16        /* exponents of ordered sums lie in -16 .. 16     */

#define TTEI_MAGIC_LOW 0x45545489u  /* "\x89TTE"     */
#define TTEI_MAGIC_HIGH 0x0a1a0a0du /* "\r\n\x1a\n" */
static int ttei_magic_good(const unsigned char *p)
{
    return ttei_get32(p) == TTEI_MAGIC_LOW && ttei_get32(p + 4) == TTEI_MAGIC_HIGH;
}
#ifndef TT_EMBED_DECODE_ONLY
static void ttei_magic_put(unsigned char *p)
{
    ttei_put32(p, TTEI_MAGIC_LOW);
    ttei_put32(p + 4, TTEI_MAGIC_HIGH);
}
#endif

/* CRC-32 of IEEE 802.3, reflected polynomial edb88320, bit by bit. */
static uint32_t ttei_crc32_step(uint32_t crc, const unsigned char *p, size_t n)
{
    int bit;
    for (; n > 0; --n) {
        crc ^= *p++;
        for (bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1u)));
    }
    return crc;
}

#ifdef TT_EMBED_DECODE_ONLY

static uint32_t ttei_crc32(const unsigned char *p, size_t n)
{
    return ~ttei_crc32_step(0xffffffffu, p, n);
}

#else

/* Sixteen bytes at a time for long sections: far[k][b] is what byte b does k bytes later, a table made
   on the stack. */
static uint32_t ttei_crc32_part(const unsigned char *p, size_t n)
{
    uint32_t far[16][256], crc = 0xffffffffu, word;
    unsigned char byte;
    size_t i, k;
    if (n >= 8192) {
        for (i = 0; i < 256; ++i) {
            byte = (unsigned char)i;
            far[0][i] = ttei_crc32_step(0, &byte, 1);
        }
        for (k = 1; k < 16; ++k)
            for (i = 0; i < 256; ++i) far[k][i] = far[k - 1][i] >> 8 ^ far[0][far[k - 1][i] & 255u];
        for (; n >= 16; n -= 16) {
            word = crc ^ ttei_get32(p);
            crc = 0;
            for (k = 16; k > 0; k -= 4, p += 4) {
                if (k < 16) word = ttei_get32(p);
                crc ^= far[k - 1][word & 255u] ^ far[k - 2][word >> 8 & 255u] ^
                       far[k - 3][word >> 16 & 255u] ^ far[k - 4][word >> 24];
            }
        }
    }
    return ~ttei_crc32_step(crc, p, n);
}

#ifdef _OPENMP

/* Product of two polynomials over GF(2) modulo that of the CRC; bit 31 stands for x^0. */
static uint32_t ttei_crc32_multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (; a != 0; a <<= 1, b = b >> 1 ^ ((b & 1u) != 0 ? 0xedb88320u : 0))
        if ((a & 0x80000000u) != 0) product ^= b;
    return product;
}

/* A CRC after `n` bytes more have passed it: times x^(8 n), by repeated squaring. */
static uint32_t ttei_crc32_shift(uint32_t crc, size_t n)
{
    uint32_t square = 0x00800000u;  /* x^8 */
    for (; n != 0; n >>= 1, square = ttei_crc32_multiply(square, square))
        if ((n & 1u) != 0) crc = ttei_crc32_multiply(crc, square);
    return crc;
}

/* Long sections in parts, one for each thread: crc(AB) = crc(A) x^(8 |B|) + crc(B). */
static uint32_t ttei_crc32(const unsigned char *p, size_t n)
{
    uint32_t part[16], crc;
    const int threads = omp_get_max_threads(), parts = threads < 16 ? threads : 16;
    const size_t size = n / (size_t)parts;
    int i;
    if (n < 0x100000 || parts < 2) return ttei_crc32_part(p, n);
#pragma omp parallel for schedule(static, 1) num_threads(parts)
    for (i = 0; i < parts; ++i)
        part[i] = ttei_crc32_part(p + (size_t)i * size, i + 1 < parts ? size : n - (size_t)i * size);
    for (crc = part[0], i = 1; i < parts; ++i)
        crc = ttei_crc32_shift(crc, i + 1 < parts ? size : n - (size_t)i * size) ^ part[i];
    return crc;
}

#else

static uint32_t ttei_crc32(const unsigned char *p, size_t n) { return ttei_crc32_part(p, n); }

#endif
#endif

static size_t ttei_align(size_t offset)
{
    return ttei_mul(ttei_add(offset, TTEI_SECTION_ALIGN - 1u) / TTEI_SECTION_ALIGN, TTEI_SECTION_ALIGN);
}

/* With eps every train has its own ranks and its record its own size, unless there is no bond at all. */
static int ttei_adapted(tte_layout layout, int has_eps, int32_t modes)
{
    return !ttei_is_table(layout) && has_eps && modes > 1;
}

static size_t ttei_header_bytes(int32_t modes, int sections)
{
    return TTEI_HEADER_FIXED + 4u + 8u * (size_t)modes + TTEI_SECTION_BYTES * (size_t)sections;
}

/* Bytes the index holds for the ranks of one token: one each, or two where a rank may be beyond 255, so that
   shape and cap alone decide, and shards agree. The group's offset of 8 bytes comes before each 16th. */
static uint32_t ttei_index_entry(const tte_shape *shape, int32_t max_rank)
{
    size_t left = 1, right = ttei_entries(shape);
    int32_t k, wide = 0;
    for (k = 1; k < shape->modes; ++k) {
        left *= (size_t)shape->dim[k - 1];
        right /= (size_t)shape->dim[k - 1];
        if (left > 255 && right > 255 && (max_rank == 0 || max_rank > 255)) wide = 1;
    }
    return (uint32_t)(shape->modes - 1) << wide;
}

static size_t ttei_index_bytes(size_t vocab, size_t entry)
{
    size_t groups = vocab / TTEI_GROUP + (vocab % TTEI_GROUP != 0);
    return ttei_add(ttei_mul(groups, 8), ttei_mul(vocab, entry));
}

/* Where everything lies: sections of the kinds that an image has, in the order of their numbers. The
   one function that readers and writers ask. */
typedef struct ttei_layout {
    int sections;
    size_t header, offset[TTEI_SECTIONS], size[TTEI_SECTIONS], end;  /* offset 0: no such section */
} ttei_layout;

static void ttei_layout_begin(ttei_layout *at, int32_t modes, int sections)
{
    memset(at, 0, sizeof *at);
    at->sections = sections;
    at->end = at->header = ttei_header_bytes(modes, sections);
}

/* The next section, of `size` bytes; returns its offset. */
static size_t ttei_layout_add(ttei_layout *at, size_t kind, size_t size)
{
    at->size[kind] = size;
    at->offset[kind] = ttei_align(at->end);
    at->end = ttei_add(at->offset[kind], size);
    return at->offset[kind];
}

/* The ranks of one token from its index entry of so many bytes. */
static void ttei_index_ranks(int32_t modes, size_t bytes, const unsigned char *entry, int32_t *ranks)
{
    int32_t k;
    ranks[0] = ranks[modes] = 1;
    for (k = 1; k < modes; ++k) {
        ranks[k] = *entry++;
        if (bytes >= (size_t)modes) ranks[k] += *entry++ * 256;  /* two bytes each */
    }
}

static size_t ttei_ranks_record(const tte_table *t, const int32_t *ranks)
{
    return ttei_record_bytes(ttei_coding(t->coding), t->shape.modes, ttei_core_numbers(&t->shape, ranks));
}

/* An index of lengths: the shortest length (4 bytes), the bits that hold what others have more (1), the
   bytes of an offset (1), two zeros; then for every 32 tokens an offset and 32 numbers of those bits,
   the first in the lowest ones, zeros after the last token. */
typedef struct ttei_lengths {
    size_t shortest, bits, width, group;  /* width: bytes of an offset; group: bytes of one group */
} ttei_lengths;

static ttei_lengths ttei_lengths_view(const unsigned char *index)
{
    ttei_lengths l;
    l.shortest = ttei_get32(index);
    l.bits = index[4];
    l.width = index[5];
    l.group = l.width + TTEI_LENGTHS / 8 * l.bits;
    return l;
}

static size_t ttei_lengths_bytes(const ttei_lengths *l, size_t vocab)
{
    const size_t groups = vocab / TTEI_LENGTHS + (vocab % TTEI_LENGTHS != 0);
    return ttei_add(TTEI_LENGTHS_HEAD, ttei_mul(groups, l->group));
}

static size_t ttei_lengths_offset(const ttei_lengths *l, const unsigned char *group)
{
    size_t offset = 0, i;
    for (i = l->width; i-- > 0;) offset = offset << 8 | group[i];
    return offset;
}

/* The length of the token at `place` of a group. */
static size_t ttei_length_at(const ttei_lengths *l, const unsigned char *group, size_t place)
{
    const size_t bit = place * l->bits;
    const unsigned char *p = group + l->width + bit / 8;
    uint32_t value = 0;
    size_t have;
    for (have = 0; have < bit % 8 + l->bits; have += 8) value |= (uint32_t)*p++ << have;
    return l->shortest + (value >> bit % 8 & ((1u << l->bits) - 1u));
}

/* The record of a token. */
typedef struct ttei_record {
    const unsigned char *bytes;
    size_t size;
    int32_t ranks[TTE_MAX_MODES + 1];
} ttei_record;

/* Where lengths vary, those before it in its group are added up. */
static void ttei_find_length(const tte_table *t, size_t token, ttei_record *record)
{
    const ttei_lengths l = ttei_lengths_view(t->index);
    const unsigned char *group = t->index + TTEI_LENGTHS_HEAD + token / TTEI_LENGTHS * l.group;
    size_t offset = ttei_lengths_offset(&l, group), i;
    for (i = 0; i < token % TTEI_LENGTHS; ++i) offset += ttei_length_at(&l, group, i);
    record->bytes = t->records + offset;
    record->size = ttei_length_at(&l, group, i);
}

/* With adapted ranks it is the sizes that follow from the ranks. */
static void ttei_find_ranks(const tte_table *t, size_t token, ttei_record *record)
{
    const unsigned char *p = t->index + token / TTEI_GROUP * (8 + TTEI_GROUP * t->index_entry);
    size_t left = token % TTEI_GROUP + 1;
    record->bytes = t->records + ttei_get_size(p);
    record->size = 0;
    for (p += 8; left > 0; --left, p += t->index_entry) {
        record->bytes += record->size;
        ttei_index_ranks(t->shape.modes, t->index_entry, p, record->ranks);
        record->size = ttei_ranks_record(t, record->ranks);
    }
}

static void ttei_find(const tte_table *t, size_t token, ttei_record *record)
{
    if (!ttei_is_table(t->layout)) memcpy(record->ranks, t->ranks, sizeof t->ranks);
    if (t->index == NULL) {
        record->bytes = t->records + token * t->record_size;
        record->size = t->record_size;
    } else if (ttei_is_table(t->layout)) {
        ttei_find_length(t, token, record);
    } else {
        ttei_find_ranks(t, token, record);
    }
}

/* Walks a whole index of lengths: each offset the sum of the lengths before it, their total the size of
   the records. */
static int ttei_lengths_good(const tte_table *t, size_t size)
{
    const unsigned char *group = t->index + TTEI_LENGTHS_HEAD;
    ttei_lengths l;
    size_t token, offset = 0;
    if (size < TTEI_LENGTHS_HEAD) return 0;
    l = ttei_lengths_view(t->index);
    if (l.shortest > 0x7fffffffu - 0xffffffu ||  /* the longest below 2^31 */
        l.bits > 24 || l.width < 1 || l.width > sizeof(size_t) ||
        ttei_get16(t->index + 6) != 0 || size != ttei_lengths_bytes(&l, t->vocab))
        return 0;
    for (token = 0; token < t->vocab; ++token) {
        if (token > 0 && token % TTEI_LENGTHS == 0) group += l.group;
        if (token % TTEI_LENGTHS == 0 && ttei_lengths_offset(&l, group) != offset) return 0;
        offset = ttei_add(offset, ttei_length_at(&l, group, token % TTEI_LENGTHS));
    }
    return offset == t->records_size;
}

/* Walks a whole index of ranks: each rank within the header's, each offset the sum of the sizes before
   it, their total the size of the records. */
static int ttei_ranks_good(const tte_table *t)
{
    const unsigned char *p = t->index;
    int32_t ranks[TTE_MAX_MODES + 1], k;
    size_t token, offset = 0;
    for (token = 0; token < t->vocab; ++token, p += t->index_entry) {
        if (token % TTEI_GROUP == 0) {
            if (ttei_get_size(p) != offset) return 0;
            p += 8;
        }
        ttei_index_ranks(t->shape.modes, t->index_entry, p, ranks);
        for (k = 1; k < t->shape.modes; ++k)
            if (ranks[k] < 1 || ranks[k] > t->ranks[k]) return 0;
        offset = ttei_add(offset, ttei_ranks_record(t, ranks));
    }
    return offset == t->records_size;
}

/* Whether the sections fit the header and each other, so far as memory safety rests on it. */
static int ttei_sections_good(const tte_table *t, const ttei_layout *at)
{
    const int adapted = !ttei_is_table(t->layout) && (t->data[18] & TTEI_FLAG_ADAPTED) != 0;
    const int entropy = ttei_coding(t->coding) == TTE_ENTROPY, table = ttei_is_table(t->layout);
    const size_t index = at->size[1], shared = at->size[2], codes = at->size[3];
    if ((index > 0) != (adapted || entropy) || (shared > 0) != table ||
        (codes > 0) != entropy)
        return 0;
    if (table && !ttei_shared_good(t, shared)) return 0;
    if (entropy)
        return ttei_codes_good(t->codes, codes, (size_t)t->ranks[0]) && ttei_lengths_good(t, index);
    if (adapted)
        return index == ttei_index_bytes(t->vocab, t->index_entry) && ttei_ranks_good(t);
    return t->records_size == ttei_mul(t->vocab, t->record_size);
}

static size_t ttei_work_len(const tte_table *t);        /* defined in LOOKUP AND PRODUCTS */
static size_t ttei_scratch_floats(const tte_table *t);

/* Fields of a header whose checksum is right, into t; TTE_ERR_FORMAT where they contradict. */
TTEI_NOINLINE static tte_status ttei_header_read(tte_table *t)
{
    const unsigned char *p = t->data;
    int32_t k;
    const uint32_t layout = p[14], coding = p[15], eps = ttei_get32(p + 44);
    size_t entries, most;
    t->shape.modes = p[16];
    t->dim = ttei_get_count(p + 20);
    t->vocab = ttei_get_size(p + 24);
    t->max_rank = ttei_get_count(p + 40);
    memcpy(&t->eps, &eps, sizeof t->eps);
    if (layout > TTE_PER_TABLE || coding > (layout == TTE_PER_TABLE ? TTE_ENTROPY : TTE_I4))
        return TTE_ERR_FORMAT;
    t->layout = (tte_layout)layout;
    t->coding = (tte_coding)coding;
    if (ttei_is_table(t->layout) != (layout == TTE_PER_TABLE) ||
        ttei_coding(t->coding) != t->coding)
        return TTE_ERR_VERSION;
    for (k = 0, p += TTEI_HEADER_FIXED; k < t->shape.modes; ++k)
        t->shape.dim[k] = ttei_get_count(p + 4 + 8 * k);
    if (t->dim < 1 || t->max_rank < 0 || t->vocab < 1 || ttei_too_many(t->vocab) ||
        eps > 0x3f800000u ||  /* the bits of 1: numbers from 0 to 1 are not beyond them */
        ttei_shape_check(&t->shape, &entries) != TTE_OK || entries < (size_t)t->dim)
        return TTE_ERR_FORMAT;
    if (ttei_get16(t->data + 18) !=
        (ttei_adapted(t->layout, eps != 0, t->shape.modes) ? TTEI_FLAG_ADAPTED : 0))
        return TTE_ERR_FORMAT;

    t->index_entry = ttei_index_entry(&t->shape, t->max_rank);
    most = ttei_is_table(t->layout) ? (size_t)t->dim : 1;  /* what a rank grows to from the left */
    for (k = 0;; ++k, p += 8) {
        const size_t rank = ttei_get32(p);
        if (rank < 1 || rank > most || rank > entries || (t->max_rank > 0 && rank > (size_t)t->max_rank))
            return TTE_ERR_FORMAT;
        t->ranks[k] = (int32_t)rank;
        if (k > 0 && !ttei_is_table(t->layout))
            t->numbers = ttei_add(t->numbers, most * rank);  /* a core, no larger than prod(dim) */
        if (k == t->shape.modes) break;
        most = ttei_is_table(t->layout) ? entries : rank * (size_t)t->shape.dim[k];
        entries /= (size_t)t->shape.dim[k];  /* to the right of the bond */
    }
    if (ttei_is_table(t->layout)) t->numbers = (size_t)t->ranks[0];
    t->work = ttei_work_len(t);
    return ttei_scratch_floats(t) > TTEI_SIZE_MAX / sizeof(float) ? TTE_ERR_FORMAT : TTE_OK;
}

tte_status tte_open(tte_table *t, const void *data, size_t size)
{
    const unsigned char *p = (const unsigned char *)data, *entry;
    tte_table view;
    ttei_layout at;
    uint32_t kind, before = 0;
    int i;
    tte_status status;
    if (t == NULL || data == NULL || (uintptr_t)data % 8 != 0) return TTE_ERR_ARGUMENT;
    if (size >= 8 && !ttei_magic_good(p)) return TTE_ERR_FORMAT;
    if (size < TTEI_HEADER_FIXED) return TTE_ERR_TRUNCATED;
    if (ttei_get16(p + 12) > 1) return TTE_ERR_VERSION;
    if (ttei_get16(p + 12) != 1 || p[16] < 1 || p[16] > TTE_MAX_MODES || p[17] < 1 ||
        p[17] > TTEI_SECTIONS)
        return TTE_ERR_FORMAT;
    ttei_layout_begin(&at, p[16], p[17]);
    if (size < at.header) return TTE_ERR_TRUNCATED;
    if (ttei_get32(p + 8) != ttei_crc32(p + 12, at.header - 12)) return TTE_ERR_CHECKSUM;

    memset(&view, 0, sizeof view);
    view.data = p;
    view.size = size;
    status = ttei_header_read(&view);
    if (status != TTE_OK) return status;
    entry = p + at.header - TTEI_SECTION_BYTES * p[17];
    for (i = 0; i < p[17]; ++i, before = kind, entry += TTEI_SECTION_BYTES) {
        const size_t bytes = ttei_get_size(entry + 8);
        kind = ttei_get32(entry + 20);  /* kinds rise, none is empty */
        if (kind <= before || kind > TTEI_SECTIONS || bytes == 0 ||
            ttei_get_size(entry) != ttei_layout_add(&at, kind - 1, bytes))
            return TTE_ERR_FORMAT;
    }
    if (at.size[0] == 0 || at.end != ttei_get_size(p + 32)) return TTE_ERR_FORMAT;
    if (size != at.end) return size < at.end ? TTE_ERR_TRUNCATED : TTE_ERR_FORMAT;
    view.records = p + at.offset[0];
    view.records_size = at.size[0];
    if (at.offset[1] != 0) view.index = p + at.offset[1];
    if (at.offset[2] != 0) view.shared = p + at.offset[2];
    if (at.offset[3] != 0) view.codes = p + at.offset[3];
    view.record_size = ttei_is_table(view.layout)
                           ? ttei_coefficients_bytes(ttei_coding(view.coding), (size_t)view.ranks[0])
                           : ttei_ranks_record(&view, view.ranks);
    if (!ttei_sections_good(&view, &at)) return TTE_ERR_FORMAT;
    *t = view;
    return TTE_OK;
}

/* Zeros between sections, so that no bit of an image is without a guard. */
static int ttei_zeros(const unsigned char *p, size_t from, size_t to)
{
    for (; from < to; ++from)
        if (p[from] != 0) return 0;
    return 1;
}

tte_status tte_verify(const tte_table *t)
{
    const unsigned char *p, *entry;
    size_t end, offset, size;
    int i, sections;
    if (t == NULL) return TTE_ERR_ARGUMENT;
    p = t->data;
    sections = p[17];
    end = ttei_header_bytes(t->shape.modes, sections);
    entry = p + end - TTEI_SECTION_BYTES * (size_t)sections;
    for (i = 0; i < sections; ++i, entry += TTEI_SECTION_BYTES) {
        offset = ttei_get_size(entry);
        size = ttei_get_size(entry + 8);
        if (!ttei_zeros(p, end, offset) || ttei_crc32(p + offset, size) != ttei_get32(entry + 16))
            return TTE_ERR_CHECKSUM;
        end = offset + size;
    }
    return TTE_OK;
}

tte_status tte_get_info(const tte_table *t, tte_info *info)
{
    if (t == NULL || info == NULL) return TTE_ERR_ARGUMENT;
    info->vocab = t->vocab;
    info->dim = (size_t)t->dim;
    info->bytes = t->size;
    info->layout = t->layout;
    info->coding = t->coding;
    info->shape = t->shape;
    memcpy(info->ranks, t->ranks, sizeof info->ranks);
    info->ratio = ttei_get_f64(t->data + 48);
    info->mean_numbers = ttei_get_f64(t->data + 56);
    info->rel_error = ttei_get_f64(t->data + 64);
    info->max_row_error = ttei_get_f64(t->data + 72);
    return TTE_OK;
}

#ifndef TT_EMBED_DECODE_ONLY

/* A sum of squares that comes out the same, bit for bit, in whatever order and grouping its terms
   are added, so that shards of a table merge into the very bytes of the whole [DN15]. Terms are cut
   at fixed powers of 2^32 into integers, and integers add up exactly. Three such digits are kept,
   counted from the largest term; what falls below them falls below them in any order. */
typedef struct ttei_sum {
    int32_t top;          /* bin[0] counts units of 2^(32 top) */
    uint64_t bin[3];
} ttei_sum;

static const ttei_sum ttei_sum_zero = {-TTEI_SUM_TOP, {0, 0, 0}};

static void ttei_sum_raise(ttei_sum *sum, int32_t top)
{
    for (; sum->top < top; ++sum->top) {
        sum->bin[2] = sum->bin[1];
        sum->bin[1] = sum->bin[0];
        sum->bin[0] = 0;
    }
}

/* 2^power for -1022 <= power <= 1023, from its bits. */
static double ttei_two_to(int power)
{
    uint64_t bits = (uint64_t)(power + 1023) << 52;
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Adds a term >= 0; each digit is below 2^32, so 2^32 terms fit. */
static void ttei_sum_add(ttei_sum *sum, double term)
{
    uint64_t bits, digit;
    int i, power;
    if (!(term > 0)) return;
    memcpy(&bits, &term, sizeof bits);
    power = (int)(bits >> 52) - 1022;             /* term < 2^power */
    ttei_sum_raise(sum, (power + 32 * TTEI_SUM_TOP - 1) / 32 - TTEI_SUM_TOP);
    for (i = 0; i < 3; ++i) {
        digit = (uint64_t)(term * ttei_two_to(-32 * (sum->top - i)));
        sum->bin[i] += digit;
        term -= (double)digit * ttei_two_to(32 * (sum->top - i));
    }
}

static void ttei_sum_join(ttei_sum *sum, ttei_sum other)
{
    int i;
    ttei_sum_raise(sum, other.top);
    ttei_sum_raise(&other, sum->top);
    for (i = 0; i < 3; ++i) sum->bin[i] += other.bin[i];
}

static double ttei_sum_value(const ttei_sum *sum)
{
    double value = 0;
    int i;
    for (i = 2; i >= 0; --i) value += ldexp((double)sum->bin[i], 32 * (sum->top - i));
    return value;
}

static void ttei_sum_write(const ttei_sum *sum, unsigned char *p)
{
    int i;
    ttei_put32(p, (uint32_t)sum->top);
    ttei_put32(p + 4, 0);
    for (i = 0; i < 3; ++i) ttei_put64(p + 8 + 8 * i, sum->bin[i]);
}

/* From bytes that may be a stranger's: an exponent out of range reads as an empty sum. */
static ttei_sum ttei_sum_read(const unsigned char *p)
{
    ttei_sum sum = ttei_sum_zero;
    int32_t top = (int32_t)ttei_get32(p);
    int i;
    if (top < -TTEI_SUM_TOP || top > TTEI_SUM_TOP) return sum;
    sum.top = top;
    for (i = 0; i < 3; ++i) sum.bin[i] = ttei_get64(p + 8 + 8 * i);
    return sum;
}

/* How close an image is to the rows it was made of. */
typedef struct ttei_errors {
    ttei_sum norm2, error2;  /* over all rows                                        */
    double worst;            /* largest relative error of a row                      */
} ttei_errors;

static void ttei_errors_add(ttei_errors *errors, double norm2, double error2)
{
    double relative = norm2 > 0 ? sqrt(error2 / norm2) : 0;
    ttei_sum_add(&errors->norm2, norm2);
    ttei_sum_add(&errors->error2, error2);
    if (relative > errors->worst) errors->worst = relative;
}

static ttei_errors ttei_errors_of(const tte_table *t)
{
    ttei_errors errors;
    errors.norm2 = ttei_sum_read(t->data + 80);
    errors.error2 = ttei_sum_read(t->data + 112);
    errors.worst = ttei_get_f64(t->data + 72);
    return errors;
}

/* |W - W^| / |W|. Where rows of zeros stay exact, it is never more than the worst row's ratio. */
static double ttei_errors_relative(const ttei_errors *errors, tte_layout layout)
{
    const double norm2 = ttei_sum_value(&errors->norm2), error2 = ttei_sum_value(&errors->error2);
    if (layout == TTE_PER_TOKEN && !(error2 < errors->worst * errors->worst * norm2))
        return errors->worst;
    return norm2 > 0 ? sqrt(error2 / norm2) : error2 > 0 ? 1 : 0;
}

/* The settings a row is compressed with, and all that an image records of them. */
typedef struct ttei_plan {
    size_t dim;
    tte_layout layout;
    tte_coding coding;
    tte_shape shape;
    int32_t caps[TTE_MAX_MODES + 1];  /* ranks of every row, or their caps with eps */
    int32_t max_rank;
    float eps;
    const unsigned char *shared, *codes;  /* sections 3 and 4 of TTE_PER_TABLE       */
    size_t shared_size, codes_size;
    const ttei_model *model;              /* of these, where rows are to be encoded  */
} ttei_plan;

static ttei_plan ttei_plan_of(const tte_table *t)
{
    ttei_plan plan;
    const unsigned char *entry = t->data + ttei_header_bytes(t->shape.modes, t->data[17]);
    memset(&plan, 0, sizeof plan);
    plan.dim = (size_t)t->dim;
    plan.layout = t->layout;
    plan.coding = t->coding;
    plan.shape = t->shape;
    plan.max_rank = t->max_rank;
    plan.eps = t->eps;
    memcpy(plan.caps, t->ranks, sizeof plan.caps);
    if (plan.layout == TTE_PER_TOKEN && t->index != NULL)
        ttei_rank_caps(&plan.shape, plan.max_rank, plan.caps);
    plan.shared = t->shared;
    plan.codes = t->codes;  /* the last entries of the header are those of sections 3 and 4 */
    if (t->codes != NULL) plan.codes_size = ttei_get_size((entry -= TTEI_SECTION_BYTES) + 8);
    if (t->shared != NULL) plan.shared_size = ttei_get_size((entry -= TTEI_SECTION_BYTES) + 8);
    return plan;
}

/* Writes the header of an image whose sections are in place. `ranks` are the largest at each bond,
   `numbers` the core entries of all tokens. */
static void ttei_header_write(unsigned char *p, const ttei_plan *plan, const ttei_layout *at,
                              size_t vocab, const int32_t *ranks, double numbers,
                              const ttei_errors *errors)
{
    unsigned char *entry = p + at->header - TTEI_SECTION_BYTES * (size_t)at->sections;
    int32_t k;
    int i;
    memset(p, 0, at->header);
    ttei_magic_put(p);
    ttei_put16(p + 12, 1);
    p[14] = (unsigned char)plan->layout;
    p[15] = (unsigned char)plan->coding;
    p[16] = (unsigned char)plan->shape.modes;
    p[17] = (unsigned char)at->sections;
    ttei_put16(p + 18, ttei_adapted(plan->layout, plan->eps > 0, plan->shape.modes) ? TTEI_FLAG_ADAPTED : 0);
    ttei_put32(p + 20, (uint32_t)plan->dim);
    ttei_put64(p + 24, vocab);
    ttei_put64(p + 32, at->end);
    ttei_put32(p + 40, (uint32_t)plan->max_rank);
    ttei_put_f32(p + 44, plan->eps > 0 ? plan->eps : 0);  /* not -0 */
    ttei_put_f64(p + 48, (double)vocab * (double)plan->dim * 4 / (double)at->end);
    ttei_put_f64(p + 56, numbers / (double)vocab);
    ttei_put_f64(p + 64, ttei_errors_relative(errors, plan->layout));
    ttei_put_f64(p + 72, errors->worst);
    ttei_sum_write(&errors->norm2, p + 80);
    ttei_sum_write(&errors->error2, p + 112);
    for (k = 0; k <= plan->shape.modes; ++k) {
        ttei_put32(p + TTEI_HEADER_FIXED + 8 * k, (uint32_t)ranks[k]);
        if (k < plan->shape.modes)
            ttei_put32(p + TTEI_HEADER_FIXED + 4 + 8 * k, (uint32_t)plan->shape.dim[k]);
    }
    for (i = 0; i < TTEI_SECTIONS; ++i) {
        if (at->offset[i] == 0) continue;
        ttei_put64(entry, at->offset[i]);
        ttei_put64(entry + 8, at->size[i]);
        ttei_put32(entry + 16, ttei_crc32(p + at->offset[i], at->size[i]));
        ttei_put32(entry + 20, (uint32_t)i + 1u);
        entry += TTEI_SECTION_BYTES;
    }
    ttei_put32(p + 8, ttei_crc32(p + 12, at->header - 12));
}

/* ================================================================================================
   COMPRESSION
   plan (settings) -> encoder (one row to one record) -> builder (records to an image). Compressing,
   appending, replacing and merging are four ways to feed one builder.
   ============================================================================================= */

/* What became of one row. */
typedef struct ttei_slot {
    tte_status status;
    int32_t ranks[TTE_MAX_MODES + 1];
    size_t size;                    /* of its record */
    double norm2, error2;
} ttei_slot;

/* ---- rows to records --------------------------------------------------------------------------------- */

/* What one thread needs to code TTEI_LANES rows of coefficients with TTE_ENTROPY. */
typedef struct ttei_coder {
    int32_t *indices;           /* TTEI_LANES x rank                                                   */
    unsigned char *states;      /* rank                                                                */
    unsigned char *bytes;       /* the largest record                                                  */
    ttei_trellis trellis;
} ttei_coder;

static void ttei_coder_carve(size_t rank, ttei_carve *carve, ttei_coder *coder)
{
    coder->indices = (int32_t *)ttei_take(carve, ttei_mul(TTEI_LANES, rank), sizeof(int32_t));
    coder->states = (unsigned char *)ttei_take(carve, rank, 1);
    coder->bytes = (unsigned char *)ttei_take(carve, ttei_entropy_most(rank), 1);
    coder->trellis.index = (int32_t *)ttei_take(carve, ttei_mul(4 * TTEI_LANES, rank), sizeof(int32_t));
    coder->trellis.from = (ttei_lane_bits *)ttei_take(carve, rank, sizeof(ttei_lane_bits));
}

/* What one thread needs for a tile of rows. */
typedef struct ttei_tile {
    float *rows, *y, *values;   /* TTEI_TILE x dim, x rank, x rank: less the mean, coefficients, decoded */
    float *back;                /* TTEI_TILE x dim: as lookup gives them                               */
    ttei_coder coder;
} ttei_tile;

static void ttei_tile_carve(const ttei_model *m, ttei_carve *carve, ttei_tile *tile)
{
    const size_t rows = ttei_mul(TTEI_TILE, m->dim), values = ttei_mul(TTEI_TILE, m->rank);
    tile->rows = (float *)ttei_take(carve, rows, sizeof(float));
    tile->back = (float *)ttei_take(carve, rows, sizeof(float));
    tile->y = (float *)ttei_take(carve, values, sizeof(float));
    tile->values = (float *)ttei_take(carve, values, sizeof(float));
    ttei_coder_carve(m->view.coding == TTE_ENTROPY ? m->rank : 0, carve, &tile->coder);
}

/* The class of a step for a weight: half as wide in squares where the weight is twice as large. */
static int ttei_step_class(const ttei_codes *c, float weight)
{
    const double class_ = c->weight > 0 ? floor(log2((double)weight / (double)c->weight) + 0.5) : 0;
    return class_ < 0 ? 0 : class_ < c->steps ? (int)class_ : c->steps - 1;
}

/* The class that most rows have: for rows whose weight is not known. */
static int ttei_likely_class(const ttei_codes *c)
{
    uint32_t before = 0, most = 0;
    int i, likely = 0;
    for (i = 0; i < c->steps; ++i) {
        const uint32_t end = ttei_get16(c->step_ends + 2 * i);
        if (end - before > most) {
            most = end - before;
            likely = i;
        }
        before = end;
    }
    return likely;
}

/* The class of a row's scale beside that of the columns: the mean of y^2 over what the columns make one
   expect, both with the noise of the step, which hides what is smaller. */
static int ttei_scale_class(const ttei_model *m, const float *y, float step)
{
    const double noise = 0.25 * (double)step * (double)step;
    double sum = 0;
    int result;
    size_t j;
    if (m->codes.scales == 1) return 0;
    for (j = 0; j < m->rank; ++j)
        sum += ((double)y[j] * (double)y[j] + noise) /
               ((double)m->scales[j] * (double)m->scales[j] + noise);
    sum /= (double)m->rank;  /* NaN where scales come from a damaged image */
    if (!(sum > 1e-9 && sum < 1e9)) return sum > 1 ? m->codes.scales - 1 : 0;
    result = (int)floor(log2(sum) + 0.5) + m->codes.own;
    return result < 0 ? 0 : result < m->codes.scales ? result : m->codes.scales - 1;
}

/* Up to TTEI_LANES rows of coefficients into records; `classes` are those of their steps. What lookup
   will decode goes to `values`. Lengths to `sizes`; `counts` as for ttei_indices_values. */
static tte_status ttei_entropy_rows(const ttei_model *m, size_t count, const float *y,
                                    const unsigned char *classes, const ttei_coder *coder, float *values,
                                    unsigned char *records, size_t record_size, size_t *sizes,
                                    ttei_counts *counts)
{
    const size_t most = ttei_entropy_most(m->rank);
    float step[TTEI_LANES] = {0};
    int shift[TTEI_LANES] = {0};
    size_t i;
    for (i = 0; i < count; ++i) {
        const float *row = y + i * m->rank;
        const float top = ttei_top_f32(m->rank, row);
        step[i] = ttei_step_of(m->codes.step, classes[i]);
        if (!ttei_finite_f32(top)) return TTE_ERR_NOT_FINITE;
        if (!(top < 1048576.0f * step[i])) return TTE_ERR_BUDGET;
        shift[i] = classes[i] + ttei_scale_class(m, row, step[i]);
    }
    ttei_trellis_run(&m->codes, m->costs, m->rank, count, y, shift, step, &coder->trellis, coder->indices);
    for (i = 0; i < count; ++i) {
        const int32_t *indices = coder->indices + i * m->rank;
        ttei_indices_values(&m->codes, m->rank, indices, shift[i], step[i], y + i * m->rank,
                            values + i * m->rank, counts);
        sizes[i] = ttei_entropy_encode(&m->codes, m->rank, indices, classes[i],
                                       shift[i] - classes[i], coder->states, coder->bytes + most);
        if (records != NULL) memcpy(records + i * record_size, coder->bytes + most - sizes[i], sizes[i]);
    }
    return TTE_OK;
}

/* A tile of rows into records `record_size` apart; what became of each row goes to its slot. */
static void ttei_tile_encode(const ttei_model *m, const float *rows, const unsigned char *classes,
                             size_t count, unsigned char *records, size_t record_size, ttei_slot *slots,
                             ttei_tile *tile)
{
    const size_t fixed = ttei_coefficients_bytes(m->view.coding, m->rank);
    size_t sizes[TTEI_LANES] = {0}, i, j, now;
    for (i = 0; i < count; ++i) {
        const float *row = rows + i * m->dim;
        const int good = ttei_all_finite_f32(row, m->dim);
        slots[i].status = good ? TTE_OK : TTE_ERR_NOT_FINITE;
        slots[i].norm2 = good ? ttei_norm2(row, m->dim) : 0;
        slots[i].size = fixed;
        memcpy(slots[i].ranks, m->view.ranks, sizeof slots[i].ranks);
        for (j = 0; j < m->dim; ++j) tile->rows[i * m->dim + j] = good ? row[j] - m->mean[j] : 0;
    }
    ttei_product(count, m->dim, m->rank, tile->rows, m->dim, 1, m->dual, m->rank, tile->y,
                 m->rank);
    for (i = 0; i < count; i += now) {
        tte_status status = TTE_OK;
        now = 1;
        if (m->view.coding == TTE_ENTROPY) {
            now = ttei_min(TTEI_LANES, count - i);
            status = ttei_entropy_rows(m, now, tile->y + i * m->rank, classes + i, &tile->coder,
                                       tile->values + i * m->rank, records + i * record_size, record_size,
                                       sizes, NULL);
            for (j = 0; j < now; ++j) slots[i + j].size = sizes[j];
        } else if (!ttei_all_finite_f32(tile->y + i * m->rank, m->rank)) {
            status = TTE_ERR_NOT_FINITE;
        } else {
            status = ttei_coefficients_encode(m->view.coding, m->rank, m->scales, tile->y + i * m->rank,
                                              records + i * record_size);
            if (status == TTE_OK)
                ttei_coefficients_decode(&m->view, records + i * record_size, fixed,
                                         tile->values + i * m->rank);
        }
        for (j = 0; j < now && status != TTE_OK; ++j)
            if (slots[i + j].status == TTE_OK) slots[i + j].status = status;
    }
    ttei_product(count, m->rank, m->dim, tile->values, m->rank, 1, m->basis, m->dim, tile->back,
                 m->dim);
    for (i = 0; i < count; ++i) {
        float *back = tile->back + i * m->dim;
        if (slots[i].status != TTE_OK) continue;
        for (j = 0; j < m->dim; ++j) back[j] += m->mean[j];
        slots[i].error2 = ttei_distance2(rows + i * m->dim, back, m->dim);
        if (!ttei_finite_f64(slots[i].error2)) slots[i].status = TTE_ERR_NOT_FINITE;
    }
}

/* What one thread needs to turn rows into records. */
typedef struct ttei_encoder {
    ttei_train_room train;
    int in_lanes;                   /* 0: rows are taken one by one                                  */
    ttei_lane_room lanes;
    float *cores, *contract, *row;  /* at the caps; scratch; dim: the row as lookup gives it          */
    ttei_tile tile;                 /* instead of all these for TTE_PER_TABLE                        */
} ttei_encoder;

static void ttei_encoder_carve(const ttei_plan *plan, ttei_carve *carve, ttei_encoder *encoder)
{
    if (plan->model != NULL) {
        ttei_tile_carve(plan->model, carve, &encoder->tile);
        return;
    }
    ttei_train_carve(&plan->shape, plan->caps, carve, &encoder->train);
    encoder->in_lanes = !(plan->eps > 0) &&  /* rows with ranks of their own cannot share lanes */
                        ttei_lane_carve(&plan->shape, plan->caps, carve, &encoder->lanes);
    encoder->cores = (float *)ttei_take(carve, ttei_core_sum(&plan->shape, plan->caps), sizeof(float));
    encoder->contract = (float *)ttei_take(
        carve, ttei_contract_len(&plan->shape, plan->caps), sizeof(float));
    encoder->row = (float *)ttei_take(carve, plan->dim, sizeof(float));
}

/* Bytes of the largest record this plan can make. */
static size_t ttei_plan_record(const ttei_plan *plan)
{
    if (plan->coding == TTE_ENTROPY) return ttei_entropy_most((size_t)plan->caps[0]);
    if (plan->layout == TTE_PER_TABLE)
        return ttei_coefficients_bytes(plan->coding, (size_t)plan->caps[0]);
    return ttei_record_bytes(plan->coding, plan->shape.modes, ttei_core_sum(&plan->shape, plan->caps));
}

/* The error of a train, measured on what lookup returns, to slot->error2. */
static tte_status ttei_measure(const ttei_plan *plan, const float *row, const float *cores,
                               ttei_slot *slot, ttei_encoder *encoder)
{
    ttei_contract(&plan->shape, slot->ranks, cores, plan->dim, encoder->row, encoder->contract);
    slot->error2 = ttei_distance2(row, encoder->row, plan->dim);
    return ttei_finite_f64(slot->error2) ? TTE_OK : TTE_ERR_NOT_FINITE;
}

/* One row with ranks of its own. Truncation and rounding of the codes both count; they are close to
   orthogonal, so when the measured error is too large, the bound on the truncation is lowered by what
   is too much. */
static tte_status ttei_encode_adapted(const ttei_plan *plan, const float *row, unsigned char *record,
                                      ttei_slot *slot, ttei_encoder *encoder)
{
    const double eps = (double)plan->eps - ttei_rounding(plan->shape.modes);
    double bound = eps > 0 ? eps : 0, excess;
    const double allowed = bound * bound * slot->norm2;
    float scales[TTE_MAX_MODES];
    tte_status status;
    int tries = 6;
    for (;;) {
        status = ttei_train(&plan->shape, plan->caps, plan->eps > 0 ? bound : -1, plan->coding, row,
                            plan->dim, slot->ranks, encoder->cores, scales, &encoder->train);
        if (status == TTE_OK) status = ttei_measure(plan, row, encoder->cores, slot, encoder);
        if (status != TTE_OK) return status;
        if (!(plan->eps > 0) || slot->error2 <= allowed) break;
        if (!(bound > 0)) return TTE_ERR_BUDGET;
        excess = 1.1 * (slot->error2 - allowed) / slot->norm2;
        bound = --tries > 0 && bound * bound > excess ? sqrt(bound * bound - excess) : 0;
    }
    ttei_record_encode(plan->coding, &plan->shape, slot->ranks, encoder->cores, scales, record);
    return TTE_OK;
}

/* Up to TTEI_LANES rows into as many records, record_size apart. */
static void ttei_encode(const ttei_plan *plan, const float *rows, size_t count, unsigned char *records,
                        size_t record_size, ttei_slot *slots, ttei_encoder *encoder)
{
    tte_status status[TTEI_LANES] = {TTE_OK};
    float scales[TTEI_LANES][TTE_MAX_MODES];
    double norm2[TTEI_LANES] = {0};
    size_t i;
    for (i = 0; i < count; ++i) {
        const float *row = rows + i * plan->dim;
        status[i] = ttei_all_finite_f32(row, plan->dim) ? TTE_OK : TTE_ERR_NOT_FINITE;
        slots[i].norm2 = norm2[i] = status[i] == TTE_OK ? ttei_norm2(row, plan->dim) : 0;
        memcpy(slots[i].ranks, plan->caps, sizeof slots[i].ranks);
    }
    if (encoder->in_lanes)
        ttei_train_lanes(&plan->shape, plan->caps, plan->coding, rows, plan->dim, count, norm2, status,
                         scales, &encoder->lanes, &encoder->train);
    for (i = 0; i < count; ++i) {
        const float *row = rows + i * plan->dim, *cores;
        if (status[i] == TTE_OK && !encoder->in_lanes) {
            status[i] = ttei_encode_adapted(plan, row, records + i * record_size, &slots[i], encoder);
        } else if (status[i] == TTE_OK) {
            cores = encoder->lanes.cores + i * encoder->lanes.cores_len;
            status[i] = ttei_measure(plan, row, cores, &slots[i], encoder);
            ttei_record_encode(plan->coding, &plan->shape, slots[i].ranks, cores, scales[i],
                               records + i * record_size);
        }
        slots[i].status = status[i];
        slots[i].size = ttei_record_bytes(plan->coding, plan->shape.modes,
                                          ttei_core_sum(&plan->shape, slots[i].ranks));
    }
}

/* An image being built: records grow behind the room of the header, ranks or lengths beside them. */
typedef struct ttei_builder {
    ttei_plan plan;
    unsigned char *data;             /* capacity bytes; records from `first` on              */
    size_t first, capacity, records_size;
    unsigned char *index;            /* rows * entry bytes; NULL when all records have one size */
    size_t entry, rows, done;        /* entry: bytes for one row; rows to come in all       */
    int32_t largest[TTE_MAX_MODES + 1];
    double numbers;
    ttei_errors errors;
    const float *weights;            /* of the rows to come, or NULL: then .. */
    int step_class;                  /* .. the class of their steps           */
    double weighted_norm2, weighted_error2;
} ttei_builder;

static void ttei_builder_drop(ttei_builder *b)
{
    if (b->data != NULL) TT_EMBED_FREE(b->data);
    if (b->index != NULL) TT_EMBED_FREE(b->index);
    b->data = b->index = NULL;
}

/* Where everything lies once the records have `records` bytes and the index has `index`. */
static ttei_layout ttei_plan_layout(const ttei_plan *plan, size_t records, size_t index)
{
    ttei_layout at;
    size_t size[TTEI_SECTIONS], kind;
    int sections = 0;
    size[0] = records;
    size[1] = index;
    size[2] = plan->shared_size;
    size[3] = plan->codes_size;
    for (kind = 0; kind < TTEI_SECTIONS; ++kind) sections += size[kind] > 0;
    ttei_layout_begin(&at, plan->shape.modes, sections);
    for (kind = 0; kind < TTEI_SECTIONS; ++kind)
        if (size[kind] > 0) (void)ttei_layout_add(&at, kind, size[kind]);
    return at;
}

/* For a given number of rows. Records of one size get their final place at once. */
static tte_status ttei_builder_begin(ttei_builder *b, const ttei_plan *plan, size_t rows)
{
    const int adapted = ttei_adapted(plan->layout, plan->eps > 0, plan->shape.modes);
    const int varied = adapted || plan->coding == TTE_ENTROPY;
    ttei_layout at;
    int32_t k;
    memset(b, 0, sizeof *b);
    b->plan = *plan;
    b->rows = rows;
    b->errors.norm2 = b->errors.error2 = ttei_sum_zero;
    for (k = 0; k <= TTE_MAX_MODES; ++k) b->largest[k] = 1;
    if (plan->layout == TTE_PER_TABLE) {
        memcpy(b->largest, plan->caps, sizeof b->largest);
        if (plan->model != NULL && plan->coding == TTE_ENTROPY)
            b->step_class = ttei_likely_class(&plan->model->codes);
    }
    if (ttei_too_many(rows)) return TTE_ERR_SHAPE;
    if (varied) b->entry = adapted ? ttei_index_entry(&plan->shape, plan->max_rank) : 4;
    at = ttei_plan_layout(plan, varied ? 1 : ttei_mul(rows, ttei_plan_record(plan)), varied ? 1 : 0);
    if (at.end == TTEI_SIZE_MAX) return TTE_ERR_SHAPE;
    b->first = at.offset[0];
    b->capacity = at.end;
    b->data = (unsigned char *)TT_EMBED_MALLOC(b->capacity);
    if (varied) b->index = (unsigned char *)TT_EMBED_MALLOC(ttei_mul(rows, b->entry));
    if (b->data != NULL && (!varied || b->index != NULL)) return TTE_OK;
    ttei_builder_drop(b);
    return TTE_ERR_MEMORY;
}

/* Room for `bytes` more behind `used`; grows by half, so that copying stays linear in all. */
static tte_status ttei_builder_grow(ttei_builder *b, size_t used, size_t bytes)
{
    const size_t need = ttei_add(used, bytes);
    size_t larger = ttei_max(need, ttei_add(b->capacity, b->capacity / 2));
    unsigned char *data;
    if (need <= b->capacity) return TTE_OK;
    if (need == TTEI_SIZE_MAX) return TTE_ERR_SHAPE;
    if (larger == TTEI_SIZE_MAX) larger = need;
    data = (unsigned char *)TT_EMBED_MALLOC(larger);
    if (data == NULL) return TTE_ERR_MEMORY;
    memcpy(data, b->data, used);
    TT_EMBED_FREE(b->data);
    b->data = data;
    b->capacity = larger;
    return TTE_OK;
}

/* What the index keeps of one record: its length, or its ranks. */
static void ttei_builder_note(ttei_builder *b, size_t size, const int32_t *ranks)
{
    unsigned char *entry = b->index + b->done * b->entry;
    int32_t k;
    if (b->plan.coding == TTE_ENTROPY) {
        ttei_put32(entry, (uint32_t)size);
        return;
    }
    for (k = 1; k < b->plan.shape.modes; ++k) {
        const size_t width = b->entry / (size_t)(b->plan.shape.modes - 1);
        unsigned char *p = entry + (size_t)(k - 1) * width;
        p[0] = (unsigned char)(ranks[k] & 255);
        if (width == 2) p[1] = (unsigned char)(ranks[k] >> 8 & 255);
    }
}

/* One more record of `size` bytes with its ranks; it may stand in its place already. */
static tte_status ttei_builder_put(ttei_builder *b, const unsigned char *record, size_t size,
                                   const int32_t *ranks)
{
    const size_t used = b->first + b->records_size;
    const tte_status status = ttei_builder_grow(b, used, size);
    int32_t k;
    TTEI_ASSERT(b->done < b->rows);
    if (status != TTE_OK) return status;
    if (record != b->data + used) memcpy(b->data + used, record, size);
    b->records_size += size;
    if (b->plan.layout == TTE_PER_TABLE) {
        b->numbers += (double)b->plan.caps[0];
    } else {
        b->numbers += (double)ttei_core_sum(&b->plan.shape, ranks);
        for (k = 1; k < b->plan.shape.modes; ++k)
            if (ranks[k] > b->largest[k]) b->largest[k] = ranks[k];
    }
    if (b->index != NULL) ttei_builder_note(b, size, ranks);
    ++b->done;
    return TTE_OK;
}

/* The index section: an offset for each group, then the ranks of its tokens. */
static void ttei_ranks_write(const ttei_builder *b, unsigned char *p)
{
    size_t token, offset = 0;
    int32_t ranks[TTE_MAX_MODES + 1];
    for (token = 0; token < b->rows; ++token, p += b->entry) {
        const unsigned char *entry = b->index + token * b->entry;
        if (token % TTEI_GROUP == 0) {
            ttei_put64(p, offset);
            p += 8;
        }
        memcpy(p, entry, b->entry);
        ttei_index_ranks(b->plan.shape.modes, b->entry, entry, ranks);
        offset += ttei_record_bytes(b->plan.coding, b->plan.shape.modes,
                                    ttei_core_sum(&b->plan.shape, ranks));
    }
}

/* The form of an index of lengths: as few bits and bytes as the lengths allow. */
static ttei_lengths ttei_lengths_of(const ttei_builder *b)
{
    ttei_lengths l;
    size_t token, longest = 0, rest = b->records_size;
    l.shortest = ttei_get32(b->index);
    for (token = 0; token < b->rows; ++token) {
        const size_t size = ttei_get32(b->index + 4 * token);
        l.shortest = ttei_min(l.shortest, size);
        longest = ttei_max(longest, size);
    }
    l.bits = ttei_bit_length((uint32_t)(longest - l.shortest));
    for (l.width = 1; rest > 255; rest >>= 8) ++l.width;
    l.group = l.width + TTEI_LENGTHS / 8 * l.bits;
    return l;
}

static void ttei_lengths_write(const ttei_builder *b, const ttei_lengths *l, unsigned char *p)
{
    size_t token, offset = 0, i, size;
    memset(p, 0, ttei_lengths_bytes(l, b->rows));
    ttei_put32(p, (uint32_t)l->shortest);
    p[4] = (unsigned char)l->bits;
    p[5] = (unsigned char)l->width;
    p += TTEI_LENGTHS_HEAD;
    for (token = 0; token < b->rows; ++token) {
        const size_t place = token % TTEI_LENGTHS, bit = place * l->bits;
        if (token > 0 && place == 0) p += l->group;
        for (i = 0; place == 0 && i < l->width; ++i)
            p[i] = (unsigned char)(offset >> 8 * i & 255u);
        size = ttei_get32(b->index + 4 * token);
        offset += size;
        size = (size - l->shortest) << bit % 8;
        for (i = l->width + bit / 8; size != 0; size >>= 8, ++i)
            p[i] = (unsigned char)(p[i] | (size & 255u));
    }
}

/* Index, shared sections, padding and header; the image goes to *out. The builder is empty afterwards. */
static tte_status ttei_builder_end(ttei_builder *b, tte_image *out)
{
    ttei_lengths lengths = {0, 0, 0, 0};
    ttei_layout at;
    unsigned char *exact;
    size_t end, index = 0;
    int i;
    TTEI_ASSERT(b->done == b->rows);
    if (b->plan.coding == TTE_ENTROPY) {
        lengths = ttei_lengths_of(b);
        index = ttei_lengths_bytes(&lengths, b->rows);
    } else if (b->index != NULL) {
        index = ttei_index_bytes(b->rows, b->entry);
    }
    at = ttei_plan_layout(&b->plan, b->records_size, index);
    if (at.end == TTEI_SIZE_MAX || lengths.bits > 24) {
        ttei_builder_drop(b);
        return TTE_ERR_SHAPE;
    }
    if (b->capacity != at.end) {  /* records that grew: a block of just the right size */
        exact = (unsigned char *)TT_EMBED_MALLOC(at.end);
        if (exact == NULL) {
            ttei_builder_drop(b);
            return TTE_ERR_MEMORY;
        }
        memcpy(exact + at.offset[0], b->data + at.offset[0], b->records_size);
        TT_EMBED_FREE(b->data);
        b->data = exact;
    }
    for (i = 0, end = at.header; i < TTEI_SECTIONS; ++i) {
        if (at.offset[i] == 0) continue;
        memset(b->data + end, 0, at.offset[i] - end);
        end = at.offset[i] + at.size[i];
    }
    if (lengths.group > 0)
        ttei_lengths_write(b, &lengths, b->data + at.offset[1]);
    else if (index > 0)
        ttei_ranks_write(b, b->data + at.offset[1]);
    if (b->plan.layout == TTE_PER_TABLE) {
        b->numbers += (double)ttei_core_sum(&b->plan.shape, b->plan.caps);
        memcpy(b->data + at.offset[2], b->plan.shared, at.size[2]);
        if (at.size[3] > 0) memcpy(b->data + at.offset[3], b->plan.codes, at.size[3]);
    }
    ttei_header_write(b->data, &b->plan, &at, b->rows, b->largest, b->numbers, &b->errors);
    out->data = b->data;
    out->size = at.end;
    b->data = NULL;
    ttei_builder_drop(b);
    return TTE_OK;
}

/* The records of a table as they are. */
static tte_status ttei_builder_copy(ttei_builder *b, const tte_table *t, size_t first, size_t count)
{
    ttei_record record;
    size_t token;
    tte_status status = TTE_OK;
    for (token = first; token < first + count && status == TTE_OK; ++token) {
        ttei_find(t, token, &record);
        status = ttei_builder_put(b, record.bytes, record.size, record.ranks);
    }
    return status;
}

/* Progress of one call: a caller's function, and which part of the whole is being done. */
typedef struct ttei_progress {
    tte_progress_fn report;
    void *user;
    double from, to;
} ttei_progress;

static tte_status ttei_report(const ttei_progress *progress, double part)
{
    double fraction = part < 1 ? progress->from + (progress->to - progress->from) * part : progress->to;
    if (progress->report == NULL) return TTE_OK;
    return progress->report(progress->user, fraction) != 0 ? TTE_ERR_CANCELLED : TTE_OK;
}

/* A whole table, or what a caller appends to one, as a source of rows. */
typedef struct ttei_array {
    const float *rows;
    size_t dim;
} ttei_array;

static int ttei_array_rows(void *user, size_t first, size_t count, float *dst)
{
    const ttei_array *array = (const ttei_array *)user;
    memcpy(dst, array->rows + first * array->dim, count * array->dim * sizeof *dst);
    return 0;
}

/* Rows are taken in batches; within one, threads share the rows. A batch has some megabytes, enough work
   for all threads. */
static size_t ttei_batch_rows(const ttei_plan *plan, size_t count)
{
    return ttei_min(count, ttei_min(1024, ttei_max(64, 0x100000 / plan->dim)));
}

typedef struct ttei_batch {
    size_t most, record_size;        /* rows in one batch; bytes of a record    */
    float *rows;                     /* most x dim, when they come by callback  */
    unsigned char *records;          /* most x record_size, when sizes vary     */
    unsigned char *classes;          /* most: of steps                          */
    ttei_slot *slots;                /* most                                    */
    ttei_encoder *encoders;          /* one for each thread                     */
    int threads;
} ttei_batch;

/* Carves the rooms of all threads from one block; returns its size. */
static size_t ttei_batch_carve(const ttei_builder *b, size_t count, int in_memory, int threads,
                               void *block, ttei_batch *batch)
{
    ttei_carve carve = ttei_carve_begin(block);
    ttei_encoder unused;
    int i;
    batch->threads = threads;
    batch->most = ttei_batch_rows(&b->plan, count);
    batch->record_size = ttei_plan_record(&b->plan);
    batch->rows = NULL;
    batch->records = NULL;
    if (!in_memory)
        batch->rows = (float *)ttei_take(&carve, ttei_mul(batch->most, b->plan.dim), sizeof(float));
    if (b->index != NULL)
        batch->records =
            (unsigned char *)ttei_take(&carve, ttei_mul(batch->most, batch->record_size), 1);
    batch->classes = (unsigned char *)ttei_take(&carve, batch->most, 1);
    batch->slots = (ttei_slot *)ttei_take(&carve, batch->most, sizeof(ttei_slot));
    batch->encoders = (ttei_encoder *)ttei_take(&carve, (size_t)threads, sizeof(ttei_encoder));
    for (i = 0; i < threads; ++i)
        ttei_encoder_carve(&b->plan, &carve, block == NULL ? &unused : &batch->encoders[i]);
    return carve.used;
}

/* Encodes `count` rows into as many records: every row into its own slot, so that the result does not
   depend on which thread took it. */
static void ttei_batch_encode(const ttei_plan *plan, ttei_batch *batch, const float *rows, size_t count,
                              unsigned char *records)
{
    const size_t together = plan->model != NULL ? TTEI_TILE : TTEI_LANES;
    const int groups = (int)((count + together - 1) / together);
    int group;
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 1) num_threads(batch->threads)
#endif
    for (group = 0; group < groups; ++group) {
        const size_t first = (size_t)group * together, now = ttei_min(together, count - first);
        unsigned char *record = records + first * batch->record_size;
#ifdef _OPENMP
        ttei_encoder *encoder = &batch->encoders[omp_get_thread_num()];
#else
        ttei_encoder *encoder = batch->encoders;
#endif
        if (plan->model != NULL)
            ttei_tile_encode(plan->model, rows + first * plan->dim, batch->classes + first, now, record,
                             batch->record_size, batch->slots + first, &encoder->tile);
        else
            ttei_encode(plan, rows + first * plan->dim, now, record, batch->record_size,
                        batch->slots + first, encoder);
    }
}

/* One batch: `now` rows from `source` to the builder. Records of one size are made where they stay. */
static tte_status ttei_builder_batch(ttei_builder *b, ttei_batch *batch, const float *source,
                                     size_t now)
{
    unsigned char *records = batch->records;
    size_t i;
    tte_status status = TTE_OK;
    if (b->index == NULL) records = b->data + b->first + b->records_size;
    for (i = 0; i < now && b->plan.coding == TTE_ENTROPY; ++i)
        batch->classes[i] = (unsigned char)(b->weights != NULL
                                                ? ttei_step_class(&b->plan.model->codes,
                                                                  b->weights[b->done + i])
                                                : b->step_class);
    ttei_batch_encode(&b->plan, batch, source, now, records);
    for (i = 0; i < now && status == TTE_OK; ++i) {
        const ttei_slot *slot = &batch->slots[i];
        if (slot->status != TTE_OK) return slot->status;
        ttei_errors_add(&b->errors, slot->norm2, slot->error2);
        if (b->weights != NULL) {
            b->weighted_norm2 += (double)b->weights[b->done] * slot->norm2;
            b->weighted_error2 += (double)b->weights[b->done] * slot->error2;
        }
        status = ttei_builder_put(b, records + i * batch->record_size, slot->size, slot->ranks);
    }
    return status;
}

/* The builder's next `count` rows, from `rows`; those in memory are read where they are. */
static tte_status ttei_builder_rows(ttei_builder *b, tte_rows_fn rows, void *user, size_t count,
                                    const ttei_progress *progress)
{
    const int in_memory = rows == ttei_array_rows;
    ttei_batch batch;
    size_t done = 0, now, size;
    int threads = 1;
    void *block;
    tte_status status = ttei_report(progress, 0);
    if (status != TTE_OK) return status;
#ifdef _OPENMP
    threads = omp_get_max_threads();
#endif
    size = ttei_batch_carve(b, count, in_memory, threads, NULL, &batch);
    if (size == TTEI_SIZE_MAX) return TTE_ERR_SHAPE;
    block = TT_EMBED_MALLOC(size);
    if (block == NULL) return TTE_ERR_MEMORY;
    (void)ttei_batch_carve(b, count, in_memory, threads, block, &batch);
    for (; done < count && status == TTE_OK; done += now) {
        const float *source = batch.rows;
        now = ttei_min(count - done, batch.most);
        if (in_memory)
            source = ((const ttei_array *)user)->rows + done * b->plan.dim;
        else if (rows(user, done, now, batch.rows) != 0)
            status = TTE_ERR_IO;
        if (status == TTE_OK) status = ttei_builder_batch(b, &batch, source, now);
        if (status == TTE_OK) status = ttei_report(progress, (double)(done + now) / (double)count);
    }
    TT_EMBED_FREE(block);
    return status;
}

/* ---- choosing shape and ranks ---------------------------------------------------------------------
   A sample of rows is compressed under each candidate, and what is measured decides. */

#define TTEI_TAILS 64u       /* rows that ranks are chosen on */
#define TTEI_CANDIDATES 144

/* Candidates for dim: no bond at all; two modes a x b, in both orders, since the two read different
   matrices, with up to a sixteenth of padding; balanced three modes; the prime factors of dim; twos.
   Returns their number. */
static int ttei_candidates(int32_t dim, tte_shape *list)
{
    const int32_t slack = dim / 16 + 2;
    int count = 0, step = 1;
    int32_t a, b, rest, k;
    tte_shape shape;
    memset(&shape, 0, sizeof shape);

    shape.modes = 1;
    shape.dim[0] = dim;
    list[count++] = shape;

    shape.modes = 2;
    for (a = 2; a <= dim / a; a *= 2) step += 2;  /* of a large dim, few a's that do not divide it */
    step = dim < 4096 ? 1 : step;
    for (a = 2; a <= dim / a + 1 && count + 2 <= TTEI_CANDIDATES - 16; ++a) {
        b = dim / a + (dim % a != 0);
        if (b < a || (int64_t)a * b - dim > slack || (dim % a != 0 && a % step != 0)) continue;
        shape.dim[0] = a;
        shape.dim[1] = b;
        list[count++] = shape;
        shape.dim[0] = b;
        shape.dim[1] = a;
        if (a != b) list[count++] = shape;
    }

    shape.modes = 3;
    for (a = 2; a <= dim / a / a; ++a)
        for (b = a; dim % a == 0 && b <= dim / a / b; ++b) {
            rest = dim / a / b;
            if (dim / a % b != 0 || rest > 3 * a || count >= TTEI_CANDIDATES - 2) continue;
            shape.dim[0] = a;
            shape.dim[1] = b;
            shape.dim[2] = rest;
            list[count++] = shape;
        }

    for (k = 0, rest = dim, a = 2; rest > 1 && k < TTE_MAX_MODES; rest /= a) {
        while (rest % a != 0 && a <= rest / a) ++a;
        if (rest % a != 0) a = rest;
        shape.dim[k++] = a;
    }
    shape.modes = k;
    if (rest == 1 && k > 3) list[count++] = shape;

    for (k = 0, a = 1; a < dim && a <= TTEI_ENTRIES_MAX / 2; a *= 2) ++k;
    shape.modes = k;
    for (a = 0; a < k && a < TTE_MAX_MODES; ++a) shape.dim[a] = 2;
    if (k > 3 && k <= TTE_MAX_MODES && (dim & (dim - 1)) != 0) list[count++] = shape;
    return count;
}

/* tail[k][r]: mean over the sample of the squared singular values beyond the first r of the unfolding
   at bond k + 1, for r = 0 .. caps[k + 1]: what a bond of rank r loses at least. */
typedef struct ttei_tails {
    double *tail[TTE_MAX_MODES];
    float *tensor, *s;         /* entries; singular values of one unfolding */
    void *svd;
    size_t entries;
} ttei_tails;

static size_t ttei_tails_carve(const ttei_plan *plan, void *block, ttei_tails *tails)
{
    ttei_carve carve = ttei_carve_begin(block);
    ttei_svd_room_f32 unused;
    size_t left = 1, svd = 0, side = 1;
    int32_t k;
    tails->entries = ttei_entries(&plan->shape);
    for (k = 0; k + 1 < plan->shape.modes; ++k) {
        left *= (size_t)plan->shape.dim[k];
        side = ttei_max(side, ttei_min(left, tails->entries / left));
        svd = ttei_max(svd, ttei_svd_carve_f32(left, tails->entries / left, NULL, &unused));
        tails->tail[k] = (double *)ttei_take(&carve, (size_t)plan->caps[k + 1] + 1, sizeof(double));
    }
    tails->tensor = (float *)ttei_take(&carve, tails->entries, sizeof(float));
    tails->s = (float *)ttei_take(&carve, side, sizeof(float));
    tails->svd = ttei_take(&carve, svd, 1);
    return carve.used;
}

/* Unfolding k + 1 of x is x itself, read as (n1..n(k+1)) x (the rest). Small ranks are all that a cap
   or a budget leaves, but the sum of all squares is known: it is |x|^2. */
static tte_status ttei_measure_tails(const ttei_plan *plan, const float *sample, size_t count,
                                     ttei_tails *tails)
{
    size_t left = 1, i, r, rank;
    int32_t k;
    tte_status status;
    for (k = 0; k + 1 < plan->shape.modes; ++k) {
        double *tail = tails->tail[k];
        left *= (size_t)plan->shape.dim[k];
        rank = (size_t)plan->caps[k + 1];
        memset(tail, 0, (rank + 1) * sizeof *tail);
        for (i = 0; i < count; ++i) {
            double rest = ttei_norm2(sample + i * plan->dim, plan->dim);
            memset(tails->tensor, 0, tails->entries * sizeof *tails->tensor);
            memcpy(tails->tensor, sample + i * plan->dim, plan->dim * sizeof *sample);
            status = ttei_svd_f32(left, tails->entries / left, tails->tensor, NULL, tails->s, NULL,
                                  tails->svd);
            if (status != TTE_OK) return status;
            for (r = 0; r <= rank; ++r) {
                tail[r] += (rest > 0 ? rest : 0) / (double)count;
                if (r < rank) rest -= (double)tails->s[r] * (double)tails->s[r];
            }
        }
    }
    return TTE_OK;
}

/* The ranks for records of at most `bytes`: from all ones, the bond that gains most for its bytes is
   widened, until nothing fits. They start in plan->caps, as the largest allowed, and end there.
   Returns 0 when not even rank one fits. */
static int ttei_fit_ranks(ttei_plan *plan, size_t bytes, double *const *tail)
{
    int32_t ranks[TTE_MAX_MODES + 1], k, best;
    const tte_shape *shape = &plan->shape;
    size_t now, more;
    if (ttei_plan_record(plan) <= bytes) return 1;
    for (k = 0; k <= shape->modes; ++k) ranks[k] = 1;
    now = ttei_core_sum(shape, ranks);
    if (ttei_record_bytes(plan->coding, shape->modes, now) > bytes) return 0;
    for (;;) {
        double gain, most = -1;
        for (k = 1, best = 0; k < shape->modes; ++k) {
            if (ranks[k] >= plan->caps[k]) continue;
            ++ranks[k];
            more = ttei_core_sum(shape, ranks);
            if (ranks[k] <= ranks[k - 1] * shape->dim[k - 1] &&
                ranks[k] <= ranks[k + 1] * shape->dim[k] &&
                ttei_record_bytes(plan->coding, shape->modes, more) <= bytes) {
                gain = (tail[k - 1][ranks[k] - 1] - tail[k - 1][ranks[k]]) /
                       (double)(more - now);
                if (gain > most) {
                    most = gain;
                    best = k;
                }
            }
            --ranks[k];
        }
        if (best == 0) break;
        ++ranks[best];
        now = ttei_core_sum(shape, ranks);
    }
    memcpy(plan->caps, ranks, sizeof ranks);
    return 1;
}

/* How a plan fares on the sample: its squared error and its bytes. */
typedef struct ttei_result {
    double error2, bytes;
} ttei_result;

/* The room to try one plan on the sample. */
typedef struct ttei_trial {
    ttei_encoder encoder;
    unsigned char *records;    /* TTEI_LANES of them */
} ttei_trial;

static size_t ttei_trial_carve(const ttei_plan *plan, void *block, ttei_trial *trial)
{
    ttei_carve carve = ttei_carve_begin(block);
    ttei_encoder_carve(plan, &carve, &trial->encoder);
    trial->records =
        (unsigned char *)ttei_take(&carve, ttei_mul(TTEI_LANES, ttei_plan_record(plan)), 1);
    return carve.used;
}

static tte_status ttei_try(const ttei_plan *plan, const float *sample, size_t count, ttei_trial *trial,
                           ttei_result *result)
{
    const size_t index = ttei_index_entry(&plan->shape, plan->max_rank);
    const int adapted = ttei_adapted(plan->layout, plan->eps > 0, plan->shape.modes);
    ttei_slot slots[TTEI_LANES];
    size_t i, now, done;
    result->error2 = 0;
    result->bytes = adapted ? (double)count * ((double)index + 8.0 / TTEI_GROUP) : 0;
    for (done = 0; done < count; done += now) {
        now = ttei_min(TTEI_LANES, count - done);
        ttei_encode(plan, sample + done * plan->dim, now, trial->records, ttei_plan_record(plan), slots,
                    &trial->encoder);
        for (i = 0; i < now; ++i) {
            if (slots[i].status != TTE_OK) return slots[i].status;
            result->error2 += slots[i].error2;
            result->bytes += (double)ttei_record_bytes(plan->coding, plan->shape.modes,
                                                       ttei_core_sum(&plan->shape, slots[i].ranks));
        }
    }
    return TTE_OK;
}

/* The ranks of a candidate for records of at most `bytes`, in place of plan->caps. */
static tte_status ttei_choose_ranks(ttei_plan *plan, size_t bytes, const float *sample, size_t count)
{
    ttei_tails tails;
    const size_t size = ttei_tails_carve(plan, NULL, &tails);
    void *block;
    tte_status status;
    if (ttei_plan_record(plan) <= bytes) return TTE_OK;
    if (size == TTEI_SIZE_MAX) return TTE_ERR_SHAPE;
    block = TT_EMBED_MALLOC(size);
    if (block == NULL) return TTE_ERR_MEMORY;
    (void)ttei_tails_carve(plan, block, &tails);
    status = ttei_measure_tails(plan, sample, count, &tails);
    if (status == TTE_OK && !ttei_fit_ranks(plan, bytes, tails.tail)) status = TTE_ERR_BUDGET;
    TT_EMBED_FREE(block);
    return status;
}

/* One candidate: its ranks for the budget, then how it fares. `bytes` is what a record may have, 0 for
   no limit. TTE_ERR_BUDGET when it is out of the question. */
static tte_status ttei_judge(ttei_plan *plan, size_t bytes, const float *sample, size_t count,
                             ttei_result *result)
{
    ttei_trial trial;
    size_t size;
    void *block;
    tte_status status = TTE_OK;
    ttei_rank_caps(&plan->shape, plan->max_rank, plan->caps);
    if (bytes > 0) status = ttei_choose_ranks(plan, bytes, sample, ttei_min(count, TTEI_TAILS));
    if (status != TTE_OK) return status;
    size = ttei_trial_carve(plan, NULL, &trial);
    if (size == TTEI_SIZE_MAX) return TTE_ERR_SHAPE;
    block = TT_EMBED_MALLOC(size);
    if (block == NULL) return TTE_ERR_MEMORY;
    (void)ttei_trial_carve(plan, block, &trial);
    status = ttei_try(plan, sample, count, &trial, result);
    TT_EMBED_FREE(block);
    return status;
}

/* Evenly spaced rows, one at a time. */
static tte_status ttei_take_sample(tte_rows_fn rows, void *user, size_t vocab, size_t dim,
                                   size_t count, float *sample)
{
    size_t i;
    for (i = 0; i < count; ++i)
        if (rows(user, (size_t)((double)i * (double)vocab / (double)count), 1, sample + i * dim) != 0)
            return TTE_ERR_IO;
    return ttei_all_finite_f32(sample, count * dim) ? TTE_OK : TTE_ERR_NOT_FINITE;
}

/* Bytes one record may have, so that the whole image is `ratio` times smaller than the table;
   0 when there are none. */
static size_t ttei_record_budget(const ttei_plan *plan, size_t vocab, double ratio)
{
    double image = floor((double)vocab * (double)plan->dim * 4 / ratio);
    double head = (double)ttei_align(ttei_header_bytes(plan->shape.modes, 1));
    image = floor((image - head) / (double)vocab);
    if (!(image >= 1)) return 0;
    return image < 2147483647.0 ? (size_t)image : (size_t)0x7fffffff;
}

/* The settings a plan is chosen by, and how far it has got. */
typedef struct ttei_contest {
    ttei_plan plan[TTEI_CANDIDATES];
    ttei_result result[TTEI_CANDIDATES];
    int alive;              /* the first ones of the list                                    */
    double ratio;           /* 0: the fewest bytes win, else the least error within them     */
} ttei_contest;

/* One round: every candidate that is left on `count` rows of the sample, best first afterwards. */
static tte_status ttei_contest_round(ttei_contest *c, const float *sample, size_t count, size_t vocab)
{
    int i, k, kept = 0;
    tte_status status;
    for (i = 0; i < c->alive; ++i) {
        ttei_plan plan = c->plan[i];
        ttei_result result;
        size_t bytes = c->ratio > 0 ? ttei_record_budget(&plan, vocab, c->ratio) : 0;
        if (c->ratio > 0 && bytes == 0) continue;
        status = ttei_judge(&plan, bytes, sample, count, &result);
        if (status == TTE_ERR_BUDGET) continue;
        if (status != TTE_OK) return status;
        for (k = kept++; k > 0; --k) {  /* insert by merit; the earlier of equals stays before */
            if (!(c->ratio > 0 ? result.error2 < c->result[k - 1].error2
                               : result.bytes < c->result[k - 1].bytes))
                break;
            c->plan[k] = c->plan[k - 1];
            c->result[k] = c->result[k - 1];
        }
        c->plan[k] = plan;
        c->result[k] = result;
    }
    c->alive = kept;
    return kept > 0 ? TTE_OK : TTE_ERR_BUDGET;
}

/* Rounds on ever more rows, each of which only the better third survives. */
static tte_status ttei_contest_run(ttei_contest *c, tte_rows_fn rows, void *user, size_t vocab,
                                   ttei_progress *progress)
{
    const size_t dim = c->plan[0].dim;
    const size_t most = ttei_min(vocab, ttei_max(64, ttei_min(1024, 0x100000 / dim)));
    size_t count = ttei_min(most, ttei_max(32, 0x8000 / dim));
    float *sample = (float *)TT_EMBED_MALLOC(ttei_mul(ttei_mul(most, dim), sizeof(float)));
    tte_status status;
    if (sample == NULL) return TTE_ERR_MEMORY;
    for (;;) {
        status = ttei_take_sample(rows, user, vocab, dim, count, sample);
        if (status == TTE_OK) status = ttei_contest_round(c, sample, count, vocab);
        progress->from += (0.1 - progress->from) / 2;
        if (status == TTE_OK && progress->report != NULL &&
            progress->report(progress->user, progress->from) != 0)
            status = TTE_ERR_CANCELLED;
        if (status != TTE_OK || count == most || c->alive == 1) break;
        c->alive = (c->alive + 2) / 3;
        count = ttei_min(most, 5 * count);
    }
    TT_EMBED_FREE(sample);
    return status;
}

/* Shape and ranks of a plan, where options leave them open. With a ratio, the candidate with the
   least error at that size wins; with eps, the one with the fewest bytes. Under a cap alone, the most
   nearly square pair of modes, which holds the fewest numbers for its rank. */
static tte_status ttei_choose(ttei_plan *plan, const tte_options *options, tte_rows_fn rows, void *user,
                              size_t vocab, ttei_progress *progress)
{
    tte_shape list[TTEI_CANDIDATES];
    const int by_ratio = options->ratio > 0 && !(plan->eps > 0);
    int i, candidates = 1;
    ttei_contest *contest;
    tte_status status;

    list[0] = plan->shape;
    if (plan->shape.modes == 0) candidates = ttei_candidates((int32_t)plan->dim, list);
    if (!by_ratio && (candidates == 1 || !(plan->eps > 0))) {
        plan->shape = list[0];            /* nothing to measure: the only one, or no bond at all, */
        if (plan->max_rank > 0)           /* or the pair with the least sum                       */
            for (i = 1; i < candidates; ++i)
                if (list[i].modes == 2 && (plan->shape.modes != 2 ||
                                           list[i].dim[0] + list[i].dim[1] <
                                               plan->shape.dim[0] + plan->shape.dim[1]))
                    plan->shape = list[i];
        ttei_rank_caps(&plan->shape, plan->max_rank, plan->caps);
        return TTE_OK;
    }
    contest = (ttei_contest *)TT_EMBED_MALLOC(sizeof *contest);
    if (contest == NULL) return TTE_ERR_MEMORY;
    for (i = 0; i < candidates; ++i) {
        contest->plan[i] = *plan;
        contest->plan[i].shape = list[i];
    }
    contest->alive = candidates;
    contest->ratio = by_ratio ? (double)options->ratio : 0;
    status = ttei_contest_run(contest, rows, user, vocab, progress);
    if (status == TTE_OK) *plan = contest->plan[0];
    TT_EMBED_FREE(contest);
    return status;
}

/* ---- one train for a table: choosing rank, step and tables ---------------------------------------------
   Two passes over the rows, more where the first image misses its target: moments, then records. What
   lies between is decided on a sample, which is coded as the whole table would be. */

#define TTEI_SAMPLE 0x100000 /* coefficients of the sample, but no less than a thousand rows  */
#define TTEI_ATTEMPTS 8      /* passes over the rows to meet a target                        */
#define TTEI_OWN 8           /* the class of a row at the columns' own scale                 */
#define TTEI_PRIOR 4.0       /* symbols that a table is given before any are counted         */

#define TTEI_PARTS 8         /* of the sample, coded side by side where there are threads      */

/* Lengths of the sample's records. */
typedef struct ttei_sizes {
    size_t total, shortest, longest;
} ttei_sizes;

/* A part of the sample: what coding it needs, and what came of it. The parts are added up in order, so
   that the sums do not depend on threads. */
typedef struct ttei_fit_part {
    ttei_coder coder;
    float *y, *values;           /* TTEI_LANES x rank                                              */
    ttei_counts *counts;         /* TTEI_TABLES                                                    */
    ttei_sizes sizes;
    double error2;
    tte_status status;
} ttei_fit_part;

typedef struct ttei_fit {
    const tte_options *options;
    size_t vocab, dim, count;    /* count: rows of the sample                                      */
    ttei_spectrum spectrum;
    ttei_frame frame;
    float *y;                    /* of the sample: count x rank                                    */
    float *rows, *tile_y, *back; /* TTEI_TILE x dim, x rank, x dim: of it, coefficients, contracted */
    float *weights;              /* count                                                          */
    unsigned char *classes;      /* count: of steps                                                */
    ttei_fit_part parts[TTEI_PARTS];
    ttei_counts *counts;         /* TTEI_TABLES: learnt                                            */
    ttei_counts *joined;         /* TTEI_TABLES: as they are written                               */
    double steps[TTEI_CLASSES], scales[TTEI_CLASSES];  /* how often each class is used             */
    float lightest;              /* the weight of step class 0; 0 without weights                  */
    int stride, taught;          /* classes for an octave, halved; whether counts say anything      */
    ttei_model trial;            /* section 4 and its costs, without a basis                       */
    unsigned char *codes, *shared;                     /* room for sections 4 and 3                */
    void *moments_block, *spectrum_block, *frame_block, *block;
    /* the setting now looked at, and what it is expected to give */
    size_t rank, codes_size;
    double price, finer;         /* of a bit; cores are rounded as if it were `finer` times less  */
    double bytes, error2;        /* error2: weighted, of the whole table                          */
    double rounding;             /* of it what cores lose by being rounded, for a price of 1      */
    double eps, top, lowest;     /* eps asked for; log2 of the largest deviation, of the least step */
} ttei_fit;

static void ttei_fit_end(ttei_fit *f)
{
    if (f->moments_block != NULL) TT_EMBED_FREE(f->moments_block);
    if (f->spectrum_block != NULL) TT_EMBED_FREE(f->spectrum_block);
    if (f->frame_block != NULL) TT_EMBED_FREE(f->frame_block);
    if (f->block != NULL) TT_EMBED_FREE(f->block);
    memset(f, 0, sizeof *f);
}

/* The first pass: moments of all rows, batch by batch. */
static tte_status ttei_fit_moments(ttei_fit *f, tte_rows_fn rows, void *user, ttei_progress *progress)
{
    const size_t most = ttei_min(f->vocab, ttei_min(1024, ttei_max(64, 0x100000 / f->dim)));
    const float *weights = f->options->row_weight;
    ttei_moments moments;
    size_t done, now, size = ttei_moments_carve(f->dim, NULL, &moments);
    const size_t batch = ttei_mul(ttei_mul(most, f->dim), sizeof(float));
    double *room;
    float *source;
    void *svd;
    tte_status status = TTE_OK;
    if (ttei_add(size, batch) == TTEI_SIZE_MAX) return TTE_ERR_SHAPE;
    f->moments_block = TT_EMBED_MALLOC(ttei_add(size, batch));
    if (f->moments_block == NULL) return TTE_ERR_MEMORY;
    (void)ttei_moments_carve(f->dim, f->moments_block, &moments);
    source = (float *)(void *)((unsigned char *)f->moments_block + size / sizeof(float) * sizeof(float));
    memset(moments.sums, 0, moments.width * moments.width * sizeof *moments.sums);
    for (done = 0; done < f->vocab && status == TTE_OK; done += now) {
        now = ttei_min(most, f->vocab - done);
        if (rows(user, done, now, source) != 0) status = TTE_ERR_IO;
        if (status == TTE_OK)
            status = ttei_moments_add(&moments, source, weights != NULL ? weights + done : NULL, now);
        if (status == TTE_OK) status = ttei_report(progress, (double)(done + now) / (double)f->vocab);
    }
    if (status != TTE_OK) return status;
    size = ttei_spectrum_carve(f->dim, NULL, &f->spectrum, &room, &svd);
    if (size == TTEI_SIZE_MAX) return TTE_ERR_SHAPE;
    f->spectrum_block = TT_EMBED_MALLOC(size);
    if (f->spectrum_block == NULL) return TTE_ERR_MEMORY;
    (void)ttei_spectrum_carve(f->dim, f->spectrum_block, &f->spectrum, &room, &svd);
    status = ttei_spectrum_of(&moments, &f->spectrum, room, svd);
    TT_EMBED_FREE(f->moments_block);
    f->moments_block = NULL;
    return status;
}

/* The squared error that is asked for, or that about the asked number of bytes leaves. With a water
   level w (Cover & Thomas, ch. 10) a coefficient of variance v > w costs log2(v / w) / 2 bits and leaves
   w, others leave all they have; records of whole numbers instead hold the leading coefficients. */
static double ttei_fit_target(const ttei_fit *f, double *level)
{
    const ttei_spectrum *s = &f->spectrum;
    const tte_options *o = f->options;
    const double asked = f->eps * f->eps * s->norm2;
    double low = 0, high = s->energy[0], bits, error = 0;
    const double budget = o->ratio > 0 ? 32.0 * (double)f->dim / (double)o->ratio : HUGE_VAL;
    int i;
    size_t j;
    for (i = 0; i < 100; ++i) {
        *level = (low + high) / 2;
        for (bits = error = 0, j = 0; j < f->dim; ++j) {
            error += s->energy[j] < *level ? s->energy[j] : *level;
            if (s->energy[j] > *level) bits += 0.5 * log2(s->energy[j] / *level);
        }
        if (f->eps > 0 ? error > asked : bits < budget)
            high = *level;
        else
            low = *level;
    }
    *level /= (double)f->vocab;
    return error;
}

/* Which part of the rounding of the cores is felt. Coefficients are computed against the rounded cores,
   so that what rounding moves into the span of the others is only more variance for them: dear for a
   direction that is dropped or hardly coded, cheap for one far above the water level. */
static ttei_precision ttei_fit_precision(const ttei_fit *f, size_t rank, double price)
{
    ttei_precision p;
    double felt = (double)(f->dim - rank);
    size_t j;
    p.price = price / f->finer;
    p.felt = 1;
    p.noise = 0;
    if (f->options->coding != TTE_ENTROPY) return p;
    p.noise = (double)f->vocab * price / (2 * log(2.0));
    for (j = 0; j < rank; ++j)
        felt += f->frame.energy[j] > p.noise ? p.noise / f->frame.energy[j] : 1;
    p.felt = felt / (double)f->dim;
    return p;
}

/* Mean and cores of a setting into section 3, rounded as `price` says; p NULL only asks for its
   size. The scales of columns stand at its end. */
static size_t ttei_fit_shared(const ttei_fit *f, size_t rank, double price, unsigned char *p)
{
    const ttei_frame *frame = &f->frame;
    const float *core = frame->cores;
    const double *energy = frame->energy;
    const size_t dim = f->dim;
    const tte_coding coding = f->options->coding;
    const ttei_precision precision = ttei_fit_precision(f, rank, price);
    size_t run[TTEI_RUNS], at = 0, j;
    int32_t k;
    for (j = 0; j < dim; ++j) f->rows[j] = (float)f->spectrum.mean[j];
    ttei_runs_choose(f->rows, &f->spectrum.weight, 1, dim, &precision, run);  /* every row takes all of it */
    if (p != NULL) ttei_matrix_write(f->rows, run, dim, p);
    at += ttei_matrix_bytes(run, dim);
    for (k = 0; k < frame->shape.modes; ++k) {
        const size_t cols = (size_t)frame->shape.dim[k] * (size_t)frame->ranks[k + 1];
        const size_t count = k > 0 ? (size_t)frame->ranks[k] : rank;
        ttei_runs_choose(core, energy, count, cols, &precision, run);
        if (p != NULL) ttei_matrix_write(core, run, cols, p + at);
        at += ttei_matrix_bytes(run, cols);
        core += (size_t)frame->ranks[k] * cols;
        energy += frame->ranks[k];
    }
    for (j = 0; ttei_has_columns(coding) && j < rank; ++j, at += 4)
        if (p != NULL) ttei_put_f32(p + at, f->trial.scales[j]);
    return at;
}

/* Rows of the sample: the mean length of their records is that of all to a few tenths of a per cent. */
static size_t ttei_fit_rows(const ttei_fit *f)
{
    return ttei_min(f->vocab, ttei_max(1024, TTEI_SAMPLE / f->dim));
}

static size_t ttei_codes_most(size_t rank)
{
    return ttei_add(rank, TTEI_CODES_FIXED + 4u * TTEI_CLASSES + TTEI_TABLES * (10u + 4u * TTEI_MAGNITUDES));
}

static size_t ttei_fit_carve(ttei_fit *f, void *block)
{
    ttei_carve carve = ttei_carve_begin(block);
    const size_t rank = (size_t)f->frame.ranks[0], all = ttei_mul(f->count, rank);
    const int parts = f->options->coding == TTE_ENTROPY ? TTEI_PARTS : 0;
    size_t shared = 0, most = ttei_add(f->dim, 4 * (size_t)TTEI_RUNS);
    int32_t k;
    int i;
    for (k = 0; k < f->frame.shape.modes; ++k)
        most = ttei_add(most, ttei_add(ttei_core_size(&f->frame.shape, f->frame.ranks, k),
                                       4 * (size_t)TTEI_RUNS + (size_t)f->frame.ranks[k]));
    shared = ttei_mul(ttei_add(most, rank), 4);  /* all in float32, and the scales */
    if (parts > 0 && ttei_codes_most(rank) > 0xffff) return TTEI_SIZE_MAX;  /* of section 4: offsets */
    f->y = (float *)ttei_take(&carve, all, sizeof(float));
    f->rows = (float *)ttei_take(&carve, ttei_mul(TTEI_TILE, f->dim), sizeof(float));
    f->tile_y = (float *)ttei_take(&carve, ttei_mul(TTEI_TILE, rank), sizeof(float));
    f->back = (float *)ttei_take(&carve, ttei_mul(TTEI_TILE, f->dim), sizeof(float));
    f->weights = (float *)ttei_take(&carve, f->count, sizeof(float));
    f->classes = (unsigned char *)ttei_take(&carve, f->count, 1);
    f->counts = (ttei_counts *)ttei_take(&carve, TTEI_TABLES, sizeof(ttei_counts));
    f->joined = (ttei_counts *)ttei_take(&carve, TTEI_TABLES, sizeof(ttei_counts));
    f->trial.scales = (float *)ttei_take(&carve, rank, sizeof(float));
    f->trial.costs = (ttei_costs *)ttei_take(&carve, TTEI_TABLES, sizeof(ttei_costs));
    f->codes = (unsigned char *)ttei_take(
        &carve, ttei_max(ttei_codes_most(rank), ttei_coefficients_bytes(f->options->coding, rank)), 1);
    f->shared = (unsigned char *)ttei_take(&carve, shared, 1);
    for (i = 0; i < parts; ++i) {
        ttei_fit_part *part = &f->parts[i];
        ttei_coder_carve(rank, &carve, &part->coder);
        part->y = (float *)ttei_take(&carve, ttei_mul(TTEI_LANES, rank), sizeof(float));
        part->values = (float *)ttei_take(&carve, ttei_mul(TTEI_LANES, rank), sizeof(float));
        part->counts = (ttei_counts *)ttei_take(&carve, TTEI_TABLES, sizeof(ttei_counts));
    }
    return carve.used;
}

/* Scales of the columns for codes that are integers or have little range: their deviation, so that all
   columns use their codes alike. Columns of hardly any energy hold what the rounding of the cores leaves
   for them, which must not set the scale of the whole row. */
static void ttei_fit_scales(ttei_fit *f)
{
    const tte_coding coding = f->options->coding;
    const double codes = coding == TTE_I8 ? 127 / 4.0 : coding == TTE_I4 ? 7 / 4.0 : 1;
    const double least = coding == TTE_I8 ? 1e-3 : coding == TTE_I4 ? 4e-3 : 2e-4;
    const double top = sqrt(f->frame.energy[0] / f->spectrum.weight);
    size_t j;
    for (j = 0; j < (size_t)f->frame.ranks[0]; ++j) {
        double scale = sqrt(f->frame.energy[j] / f->spectrum.weight);
        scale = (scale > least * top ? scale : least * top) / codes;
        f->trial.scales[j] = scale > 1e-35 ? (float)scale : 1e-35f;
    }
}

/* The coefficients of the sample in the first `rank` columns, against cores rounded as `price` says, 0
   for not at all. Rounding adds to the variance of columns that had little, and moves something out of
   the span of them all, which grows with the price. */
static tte_status ttei_fit_sample(ttei_fit *f, tte_rows_fn rows, void *user, size_t rank, double price)
{
    const size_t stride = (size_t)f->frame.ranks[0];
    double before = 0, after = 0;
    tte_table view;
    ttei_model model;
    size_t i, j, now;
    tte_status status;
    memset(&view, 0, sizeof view);
    view.dim = (int32_t)f->dim;
    view.shape = f->frame.shape;
    view.layout = TTE_PER_TABLE;
    memcpy(view.ranks, f->frame.ranks, sizeof view.ranks);
    view.ranks[0] = (int32_t)rank;
    (void)ttei_fit_shared(f, rank, price, f->shared);
    view.shared = f->shared;
    status = ttei_model_begin(&model, &view);
    for (i = 0; i < f->count && status == TTE_OK; i += now) {
        now = ttei_min(TTEI_TILE, f->count - i);
        for (j = 0; j < now && status == TTE_OK; ++j) {
            const size_t row = (size_t)((double)(i + j) * (double)f->vocab / (double)f->count);
            if (rows(user, row, 1, f->rows + j * f->dim) != 0) status = TTE_ERR_IO;
            f->weights[i + j] = f->options->row_weight != NULL ? f->options->row_weight[row] : 1;
        }
        for (j = 0; j < now * f->dim; ++j) f->rows[j] -= model.mean[j % f->dim];
        ttei_product_shared(now, f->dim, rank, f->rows, f->dim, model.dual, f->tile_y);
        if (price > 0) ttei_product_shared(now, rank, f->dim, f->tile_y, rank, model.basis, f->back);
        for (j = 0; j < now; ++j) {
            const float *row = f->rows + j * f->dim;
            float *y = f->y + (i + j) * stride;
            if (price > 0) {
                before += (double)f->weights[i + j] * ttei_norm2(y + rank, stride - rank);
                after += (double)f->weights[i + j] * ttei_distance2(row, f->back + j * f->dim, f->dim);
            }
            memcpy(y, f->tile_y + j * rank, rank * sizeof *y);
        }
    }
    if (after > before)
        f->rounding = (after - before) / price * (double)f->vocab / (double)f->count;
    if (status == TTE_OK && !ttei_all_finite_f32(f->y, f->count * stride)) status = TTE_ERR_NOT_FINITE;
    ttei_model_end(&model);
    return status;
}

/* Classes of steps from the weights: 2^(1/2) apart in steps, so 2 apart in weights, 16 at most. */
static void ttei_fit_classes(ttei_fit *f)
{
    const float *weights = f->options->row_weight;
    float least, top;
    size_t i;
    int used = 1;
    ttei_codes *c = &f->trial.codes;
    memset(f->steps, 0, sizeof f->steps);
    memset(f->classes, 0, f->count);
    f->steps[0] = (double)f->vocab;
    if (weights == NULL || f->options->coding != TTE_ENTROPY) return;
    for (i = 0, least = top = weights[0]; i < f->vocab; ++i) {
        if (weights[i] < least) least = weights[i];
        if (weights[i] > top) top = weights[i];
    }
    if (least * 32768.0f < top) least = top / 32768.0f;
    c->weight = f->lightest = least;
    c->steps = TTEI_CLASSES;
    memset(f->steps, 0, sizeof f->steps);
    for (i = 0; i < f->vocab; ++i) f->steps[ttei_step_class(c, weights[i])] += 1;
    for (i = 0; i < TTEI_CLASSES; ++i)
        if (f->steps[i] > 0) used = (int)i + 1;
    c->steps = used;
    for (i = 0; i < f->count; ++i)
        f->classes[i] = (unsigned char)ttei_step_class(c, f->weights[i]);
}

/* Room to try pairs of modes: S B (rank x dim), the singular values of its unfolding. */
typedef struct ttei_pair_room {
    double *rest, *values;
    void *svd;
} ttei_pair_room;

static size_t ttei_pair_carve(size_t rank, size_t dim, size_t b, void *block, ttei_pair_room *room)
{
    ttei_carve carve = ttei_carve_begin(block);
    room->rest = (double *)ttei_take(&carve, ttei_mul(rank, dim), sizeof(double));
    room->values = (double *)ttei_take(&carve, b, sizeof(double));
    room->svd = ttei_take(&carve, tte_svd_f64_work((int)(rank * (dim / b)), (int)b), 1);
    return carve.used;
}

/* Entries of the two cores when dim is read as a x b and the bond between keeps all but `allowed` of
   the squared norm. S B, read with b columns, is the unfolding at that bond. */
static tte_status ttei_pair_entries(const ttei_spectrum *s, size_t rank, size_t b, double allowed,
                                    size_t *entries)
{
    const size_t dim = s->dim, a = dim / b;
    ttei_pair_room room;
    size_t i, j, r = ttei_min(b, rank * a);
    double tail = 0;
    tte_status status;
    void *block = TT_EMBED_MALLOC(ttei_pair_carve(rank, dim, b, NULL, &room));
    if (block == NULL) return TTE_ERR_MEMORY;
    (void)ttei_pair_carve(rank, dim, b, block, &room);
    for (i = 0; i < rank; ++i)
        for (j = 0; j < dim; ++j)
            room.rest[i * dim + j] = sqrt(s->energy[i]) * s->vectors[i * dim + j];
    status = tte_svd_f64((int)(rank * a), (int)b, room.rest, NULL, room.values, NULL, room.svd);
    for (; status == TTE_OK && r > 1; --r) {
        tail += room.values[r - 1] * room.values[r - 1];
        if (!(tail <= allowed)) break;
    }
    TT_EMBED_FREE(block);
    *entries = rank * a * r + r * b;
    return status;
}

/* About how many columns will be coded: with an entropy coder those above the water level, otherwise
   as many as the records have room for, or as the error asked for needs. */
static size_t ttei_fit_columns(const ttei_fit *f, double level)
{
    const tte_options *o = f->options;
    const double asked = f->eps * f->eps * f->spectrum.norm2;
    const double room = o->ratio > 0 ? 4.0 * (double)f->dim / (double)o->ratio : HUGE_VAL;
    size_t rank = f->dim;
    double tail = 0;
    if (o->coding == TTE_ENTROPY && (f->eps > 0 || o->ratio > 0)) {
        while (rank > 1 && !(f->spectrum.energy[rank - 1] > level * (double)f->vocab)) --rank;
    } else {
        while (rank > 1 && (double)ttei_coefficients_bytes(o->coding, rank) > room) --rank;
        for (; rank > 1; --rank) {
            tail += f->spectrum.energy[rank - 1];
            if (!(tail <= asked)) break;
        }
    }
    return o->max_rank > 0 ? ttei_min(rank, (size_t)o->max_rank) : rank;
}

/* Modes where the caller leaves them open: one, or the pair of least entries, where that saves a fifth
   at least. Tables without such structure, most of them, keep one mode. */
static tte_status ttei_fit_modes(ttei_fit *f, double allowed, double level)
{
    const size_t dim = f->dim, rank = ttei_fit_columns(f, level);
    tte_shape *shape = &f->frame.shape;
    size_t fewest, b, entries;
    shape->modes = 1;
    shape->dim[0] = (int32_t)dim;
    if (ttei_mul(rank, dim) > TTEI_ENTRIES_MAX) return TTE_OK;
    fewest = rank * dim / 5 * 4;
    for (b = 2; b <= 64 && b <= dim / 2; ++b) {
        tte_status status;
        if (dim % b != 0) continue;
        status = ttei_pair_entries(&f->spectrum, rank, b, allowed, &entries);
        if (status != TTE_OK) return status;
        if (entries >= fewest) continue;
        fewest = entries;
        shape->modes = 2;
        shape->dim[0] = (int32_t)(dim / b);
        shape->dim[1] = (int32_t)b;
    }
    return TTE_OK;
}

static tte_status ttei_fit_begin(ttei_fit *f, tte_rows_fn rows, void *user, ttei_progress *progress)
{
    const tte_options *o = f->options;
    double level = 0, allowed, total = 0, beyond = 0;
    size_t size, j;
    tte_status status = ttei_fit_moments(f, rows, user, progress);
    if (status != TTE_OK) return status;
    for (j = 0; j < f->dim; ++j) {
        total += f->spectrum.energy[j];
        if (o->max_rank > 0 && j >= (size_t)o->max_rank) beyond += f->spectrum.energy[j];
    }
    if (o->coding == TTE_ENTROPY && !(o->ratio > 0) && !(o->eps > 0) && f->spectrum.norm2 > 0)
        f->eps = 0.01 + sqrt(beyond / f->spectrum.norm2);  /* one per cent, beside what the cap cuts */
    allowed = (o->ratio > 0 || f->eps > 0) ? 0.003 * ttei_fit_target(f, &level) : 0;
    if (allowed < 1e-14 * total) allowed = 1e-14 * total;
    f->frame.shape = o->shape;
    if (o->shape.modes == 0) {
        status = ttei_fit_modes(f, allowed / 2, level);
        if (status != TTE_OK) return status;
    }
    ttei_table_caps(&f->frame.shape, (int32_t)f->dim, o->max_rank, f->frame.ranks);
    size = ttei_frame_carve(NULL, &f->frame);
    if (size == TTEI_SIZE_MAX) return TTE_ERR_SHAPE;
    f->frame_block = TT_EMBED_MALLOC(size);
    if (f->frame_block == NULL) return TTE_ERR_MEMORY;
    (void)ttei_frame_carve(f->frame_block, &f->frame);
    status = ttei_frame_cores(&f->frame, &f->spectrum, allowed / f->frame.shape.modes);
    if (status != TTE_OK) return status;

    /* a table without variance has some, far below what a float of its rows can tell */
    total = f->frame.energy[0] / f->spectrum.weight;
    total = total > 1e-15 * f->spectrum.norm2 / f->spectrum.weight
                ? total : 1e-15 * f->spectrum.norm2 / f->spectrum.weight;
    f->top = 0.5 * log2(total > 1e-60 ? total : 1e-60);
    f->lowest = f->top - 15 > -115 ? f->top - 15 : -115;
    f->count = ttei_fit_rows(f);
    f->trial.dim = f->dim;
    f->trial.rank = (size_t)f->frame.ranks[0];
    f->trial.view.coding = o->coding;
    size = ttei_fit_carve(f, NULL);
    if (size == TTEI_SIZE_MAX) return TTE_ERR_SHAPE;
    f->block = TT_EMBED_MALLOC(size);
    if (f->block == NULL) return TTE_ERR_MEMORY;
    (void)ttei_fit_carve(f, f->block);
    memset(f->counts, 0, TTEI_TABLES * sizeof *f->counts);
    ttei_fit_scales(f);
    status = ttei_fit_sample(f, rows, user, (size_t)f->frame.ranks[0], 0);
    if (status == TTE_OK) ttei_fit_classes(f);
    return status;
}

/* What a table is expected to code before anything is counted: normal coefficients, of deviation
   2^((number - origin) / (2 stride)) steps, less what the trellis moves towards zero. Learning finds more
   than one answer; the best one has the two quantizers divide the work, with zeros left to the first. */
static void ttei_prior(const ttei_fit *f, int number, int raw, ttei_counts *counts)
{
    const double variance = pow(2, (double)(number - 4 * f->stride) / f->stride);
    const double spread = variance > 0.85 ? 0.3 + 1.5 * variance : 0.4 + 0.6 * variance;
    const double zero = variance < 0.6 ? 5 : 0.003;
    int q, h;
    memset(counts, 0, sizeof *counts);
    for (q = 0; q < 2; ++q) {
        double total = 0;
        for (h = 0; h < TTEI_MAGNITUDES; ++h) {
            const double a = raw > 0 ? ldexp(h + 0.5, raw) : h, value = a > 0 ? 2 * a - q : 0;
            counts->symbol[q][h] = a > 0 ? 2 * exp(-value * value / spread) + 1e-7 : q > 0 ? zero : 1;
            total += counts->symbol[q][h];
        }
        for (h = 0; h < TTEI_MAGNITUDES; ++h) counts->symbol[q][h] *= TTEI_PRIOR / total;
    }
}

/* The lower bits of an index that a table leaves plain: so many that its deviation is below 16. */
static int ttei_raw_bits(const ttei_fit *f, int number)
{
    const int bits = (number - 4 * f->stride) / (2 * f->stride) - 3;
    return bits < 0 ? 0 : bits < TTEI_RAW_BITS ? bits : TTEI_RAW_BITS;
}

/* Bytes that a table costs: itself, and what it codes, in the whole image. */
static double ttei_table_cost(const ttei_counts *counts, double rows)
{
    double bits = 0;
    int q, h, symbols = 0;
    for (q = 0; q < 2; ++q) {
        double total = 0;
        for (h = 0; h < TTEI_MAGNITUDES; ++h) total += counts->symbol[q][h];
        for (h = 0; h < TTEI_MAGNITUDES; ++h)
            if (counts->symbol[q][h] > 0) bits -= counts->symbol[q][h] * log2(counts->symbol[q][h] / total);
        symbols += ttei_symbols_of(counts->symbol[q]);
    }
    return rows * bits / 8 + 8 + 2 * symbols;
}

/* What is written for each class: all that was counted and a little of what was expected, and
   neighbours in one table where telling them apart would not pay for a second one, once that is known.
   joined[i] is the first class of the table of class i, whose counts hold for all. */
static void ttei_tables_join(const ttei_fit *f, int tables, int *joined, ttei_counts *counts)
{
    const double rows = (double)f->vocab / (double)f->count;
    ttei_counts both;
    int i, first = 0;
    for (i = 0; i < tables; ++i) {
        ttei_prior(f, i, ttei_raw_bits(f, i), &counts[i]);
        ttei_counts_add(&counts[i], &f->counts[i]);
        joined[i] = i;
        if (i == 0 || !f->taught || ttei_raw_bits(f, i) != ttei_raw_bits(f, first)) {
            first = i;
            continue;
        }
        both = counts[first];
        ttei_counts_add(&both, &counts[i]);
        if (ttei_table_cost(&both, rows) >
            ttei_table_cost(&counts[first], rows) + ttei_table_cost(&counts[i], rows)) {
            first = i;
            continue;
        }
        counts[first] = both;
        joined[i] = first;
    }
}

/* The classes that do not depend on tables: those of columns under this step, of rows under these. How
   often each is used goes to f->scales; returns the largest sum of the classes of a row. */
static int ttei_fit_shifts(ttei_fit *f, float step, unsigned char *columns)
{
    ttei_codes *c = &f->trial.codes;
    const size_t stride = (size_t)f->frame.ranks[0];
    const int origin = 4 * f->stride;
    size_t i, j;
    int most = 0;
    c->step = step;
    c->stride = f->stride;
    c->origin = origin;
    c->own = TTEI_OWN;
    c->scales = TTEI_CLASSES;
    for (j = 0; j < f->rank; ++j) {
        const double deviation = sqrt(f->frame.energy[j] / f->spectrum.weight) / (double)step;
        double column = deviation > 1e-6 ? floor(2 * f->stride * log2(deviation) + 0.5) : -80;
        column += origin - f->stride * c->own;
        column = column < -120 ? -120 : column > 120 ? 120 : column;
        columns[j] = (unsigned char)((int)column & 255);
        f->trial.scales[j] =
            step * (float)pow(2, (column + f->stride * c->own - origin) / (2 * f->stride));
    }
    memset(f->scales, 0, sizeof f->scales);
    f->trial.rank = f->rank;
    for (i = 0; i < f->count; ++i) {
        const int scale =
            ttei_scale_class(&f->trial, f->y + i * stride, ttei_step_of(step, f->classes[i]));
        f->scales[scale] += 1;
        if (scale + f->classes[i] > most) most = scale + f->classes[i];
    }
    return most;
}

/* Section 4 under a step, from what has been counted so far. */
static void ttei_fit_codes(ttei_fit *f, float step)
{
    unsigned char *p = f->codes, *starts;
    unsigned char *columns = p + TTEI_CODES_FIXED;
    const int steps = f->lightest > 0 ? f->trial.codes.steps : 1;
    int joined[TTEI_TABLES], most, i, tables = 0;
    ttei_counts *counts = f->joined;
    size_t at, j;
    columns += 2 * (steps + TTEI_CLASSES);
    most = ttei_fit_shifts(f, step, columns);
    for (j = 0; j < f->rank; ++j) {
        const int column = ttei_signed(columns[j]);
        if (column + f->stride * most >= tables) tables = column + f->stride * most + 1;
    }
    tables = tables < 1 ? 1 : tables > TTEI_TABLES ? TTEI_TABLES : tables;
    memset(p, 0, TTEI_CODES_FIXED);
    ttei_put_f32(p, step);
    ttei_put_f32(p + 4, f->lightest);
    p[8] = (unsigned char)f->stride;
    p[9] = (unsigned char)steps;
    p[10] = (unsigned char)f->trial.codes.scales;
    p[11] = (unsigned char)tables;
    p[12] = (unsigned char)f->trial.codes.own;
    p[13] = (unsigned char)f->trial.codes.origin;
    ttei_ends_write(f->steps, steps, p + TTEI_CODES_FIXED);
    ttei_ends_write(f->scales, f->trial.codes.scales, p + TTEI_CODES_FIXED + 2 * steps);
    starts = columns + f->rank;
    ttei_tables_join(f, tables, joined, counts);
    at = (size_t)(starts - p) + 2 * (size_t)tables;
    for (i = 0; i < tables; ++i) {
        if (joined[i] < i) {
            ttei_put16(starts + 2 * i, ttei_get16(starts + 2 * joined[i]));
            continue;
        }
        TTEI_ASSERT(at <= 0xffff);
        ttei_put16(starts + 2 * i, (uint32_t)at);
        at += ttei_table_write(&counts[i], ttei_raw_bits(f, i), p + at);
    }
    f->codes_size = at;
}

/* The columns worth their place. At a price per bit, a coefficient of energy e / vocab above the water
   level saves e less the level and less its bits; the column's row of core 1, about five bits an entry,
   has to be paid from that. */
static size_t ttei_fit_rank(const ttei_fit *f)
{
    const double rows = (double)f->vocab, level = rows * f->price / (2 * log(2.0));
    const double cost = f->price * (5.0 * (double)f->frame.shape.dim[0] * (double)f->frame.ranks[1] + 16);
    size_t rank = 0;
    while (rank < (size_t)f->frame.ranks[0]) {
        const double energy = f->frame.energy[rank];
        if (!(energy > level) ||
            !(energy - level - f->price * rows * 0.5 * log2(energy / level) > cost))
            break;
        ++rank;
    }
    return rank > 0 ? rank : 1;
}

/* The rows `first` up to `last` of the sample under the setting of f. */
static void ttei_fit_code(const ttei_fit *f, size_t first, size_t last, ttei_fit_part *part)
{
    size_t size[TTEI_LANES], i, j, now;
    memset(part->counts, 0, TTEI_TABLES * sizeof *part->counts);
    part->sizes.total = part->sizes.longest = 0;
    part->sizes.shortest = TTEI_SIZE_MAX;
    part->error2 = 0;
    part->status = TTE_OK;
    for (i = first; i < last && part->status == TTE_OK; i += now) {
        now = ttei_min(TTEI_LANES, last - i);
        for (j = 0; j < now; ++j)
            memcpy(part->y + j * f->rank, f->y + (i + j) * (size_t)f->frame.ranks[0],
                   f->rank * sizeof *f->y);
        part->status = ttei_entropy_rows(&f->trial, now, part->y, f->classes + i, &part->coder, part->values,
                                         NULL, 0, size, part->counts);
        for (j = 0; j < now && part->status == TTE_OK; ++j) {
            part->sizes.total += size[j];
            part->sizes.longest = ttei_max(part->sizes.longest, size[j]);
            part->sizes.shortest = ttei_min(part->sizes.shortest, size[j]);
            part->error2 += (double)f->weights[i + j] *
                            ttei_distance2(part->y + j * f->rank, part->values + j * f->rank, f->rank);
        }
    }
}

/* Codes the sample under a step, `rounds` times, each with the tables that the one before has taught;
   its weighted squared error goes to error2 of f. */
static tte_status ttei_fit_count(ttei_fit *f, float step, int rounds, ttei_sizes *sizes)
{
    const size_t rows = (f->count + TTEI_PARTS - 1) / TTEI_PARTS;
    for (; rounds > 0; --rounds) {
        int i, j;
        ttei_fit_codes(f, step);
        ttei_model_codes(&f->trial, f->codes);
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 1)
#endif
        for (i = 0; i < TTEI_PARTS; ++i)
            ttei_fit_code(f, ttei_min(rows * (size_t)i, f->count), ttei_min(rows * (size_t)(i + 1), f->count),
                          &f->parts[i]);
        memset(f->counts, 0, TTEI_TABLES * sizeof *f->counts);
        sizes->total = sizes->longest = 0;
        sizes->shortest = TTEI_SIZE_MAX;
        f->error2 = 0;
        for (i = 0; i < TTEI_PARTS; ++i) {
            const ttei_fit_part *part = &f->parts[i];
            if (part->status != TTE_OK) return part->status;
            for (j = 0; j < TTEI_TABLES; ++j) ttei_counts_add(&f->counts[j], &part->counts[j]);
            sizes->total += part->sizes.total;
            sizes->longest = ttei_max(sizes->longest, part->sizes.longest);
            sizes->shortest = ttei_min(sizes->shortest, part->sizes.shortest);
            f->error2 += part->error2;
        }
        f->taught = 1;
    }
    return TTE_OK;
}

/* The whole image under a step, as the sample lets one expect. */
static tte_status ttei_fit_try(ttei_fit *f, float step, int rounds)
{
    const double rows = (double)f->vocab / (double)f->count;
    ttei_sizes sizes;
    ttei_lengths index;
    ttei_plan plan;
    size_t j;
    tte_status status;
    f->price = (double)TTEI_LAGRANGE * (double)step * (double)step *
               (f->lightest > 0 ? (double)f->lightest : 1);
    f->rank = ttei_fit_rank(f);
    status = ttei_fit_count(f, step, rounds, &sizes);
    if (status != TTE_OK) return status;
    f->error2 = f->error2 * rows + f->frame.total + f->rounding * f->price;
    for (j = 0; j < f->rank; ++j) f->error2 -= f->frame.energy[j];
    index.bits = ttei_bit_length((uint32_t)(sizes.longest - sizes.shortest));
    index.width = 4;
    index.group = index.width + TTEI_LENGTHS / 8 * index.bits;
    memset(&plan, 0, sizeof plan);
    plan.shape = f->frame.shape;
    plan.shared_size = ttei_fit_shared(f, f->rank, f->price, NULL);
    plan.codes_size = f->codes_size;
    f->bytes = (double)ttei_plan_layout(&plan, 1, ttei_lengths_bytes(&index, f->vocab)).end +
               (double)sizes.total * rows;
    return TTE_OK;
}

/* One try of a search: how far the setting under step 2^x is from the goal, as a logarithm; negative where
   the step has to grow. */
static tte_status ttei_fit_miss(ttei_fit *f, int by_error, double goal, double x, int rounds, double *miss)
{
    const tte_status status = ttei_fit_try(f, (float)pow(2, x), rounds);
    *miss = -1;
    if (status == TTE_ERR_BUDGET) return TTE_OK;  /* a coefficient of too many steps */
    if (status != TTE_OK) return status;
    *miss = by_error ? log(sqrt(f->error2 / f->spectrum.norm2) / goal) : log(goal / f->bytes);
    if (!ttei_finite_f64(*miss)) *miss = -1;  /* nothing is lost at any step */
    return TTE_OK;
}

/* Follows the goal while the tables learn: each try teaches them, so that the same step gives fewer bytes
   the next time. `slope` is that of the miss. Ends when the goal has been met some times in a row. */
static tte_status ttei_fit_settle(ttei_fit *f, int by_error, double goal, double slope, double *x)
{
    double miss, move;
    int tries, stands = 0;
    for (tries = 0; tries < 16 && stands < 3; ++tries) {
        const tte_status status =
            ttei_fit_miss(f, by_error, goal, *x = *x > f->lowest ? *x : f->lowest, 1, &miss);
        if (status != TTE_OK) return status;
        if (miss < 0.001 && miss > -0.001) {
            ++stands;
            continue;
        }
        stands = 0;
        move = -miss / slope;
        *x += move > 0.05 ? 0.05 : move < -0.05 ? -0.05 : move;
    }
    return TTE_OK;
}

/* The step under which the image is expected to have `goal` bytes, or with by_error that relative error:
   bracketing from *x on, then the Illinois form of regula falsi, on logarithms, until it is near. To
   *slope that of the miss there; 0 where the last step that there is was taken. */
static tte_status ttei_fit_search(ttei_fit *f, int by_error, double goal, double *x, double *slope)
{
    const double lowest = f->lowest, highest = f->top + 8 > lowest ? f->top + 8 : lowest;
    double at[2] = {0, 0}, value[2] = {0, 0}, miss, step = 0.2;
    int have[2] = {0, 0}, side, last = -1, tries;
    tte_status status;
    *slope = 0;
    for (tries = 0; tries < 40; ++tries) {
        *x = *x < lowest ? lowest : *x > highest ? highest : *x;
        status = ttei_fit_miss(f, by_error, goal, *x, tries == 0 ? 3 : 1, &miss);
        if (status != TTE_OK) return status;
        side = miss < 0 ? 0 : 1;  /* 0: the step has to grow */
        if (side == 0 && *x >= highest) return by_error ? TTE_OK : TTE_ERR_BUDGET;
        if (side == 1 && *x <= lowest) return by_error ? TTE_ERR_BUDGET : TTE_OK;
        at[side] = *x;
        value[side] = miss;
        have[side] = 1;
        if (have[0] && have[1]) {
            if (at[1] - at[0] > 0.02) *slope = (value[1] - value[0]) / (at[1] - at[0]);
            if ((miss < 0.02 && miss > -0.02) || at[1] - at[0] < 0.02) break;
            if (side == last) value[1 - side] /= 2;
            last = side;
            *x = at[0] + (at[1] - at[0]) * value[0] / (value[0] - value[1]);
        } else {
            *x += side == 0 ? step : -step;
            step *= 2;
        }
    }
    if (*slope < 0.2) *slope = 0.2;
    return TTE_OK;
}

/* One pass over all rows under the setting of f: the image, and its relative error, weighted. */
static tte_status ttei_fit_make(ttei_fit *f, tte_rows_fn rows, void *user, ttei_progress *progress,
                                tte_image *image, double *error)
{
    const tte_options *o = f->options;
    tte_table view;
    ttei_plan plan;
    ttei_model model;
    ttei_builder builder;
    tte_status status;
    memset(&plan, 0, sizeof plan);
    plan.dim = f->dim;
    plan.layout = TTE_PER_TABLE;
    plan.coding = o->coding;
    plan.shape = f->frame.shape;
    memcpy(plan.caps, f->frame.ranks, sizeof plan.caps);
    plan.caps[0] = (int32_t)f->rank;
    plan.max_rank = o->max_rank;
    plan.eps = o->eps;
    plan.shared_size = ttei_fit_shared(f, f->rank, f->price, f->shared);
    plan.shared = f->shared;
    if (o->coding == TTE_ENTROPY) {
        plan.codes = f->codes;
        plan.codes_size = f->codes_size;
    }
    memset(&view, 0, sizeof view);
    view.dim = (int32_t)f->dim;
    view.layout = TTE_PER_TABLE;
    view.coding = o->coding;
    view.shape = plan.shape;
    memcpy(view.ranks, plan.caps, sizeof view.ranks);
    view.shared = plan.shared;
    view.codes = plan.codes;
    status = ttei_model_begin(&model, &view);
    if (status != TTE_OK) return status;
    plan.model = &model;
    status = ttei_builder_begin(&builder, &plan, f->vocab);
    if (status == TTE_OK) {
        builder.weights = o->row_weight;
        status = ttei_builder_rows(&builder, rows, user, f->vocab, progress);
        *error = builder.weights != NULL ? sqrt(builder.weighted_error2 / builder.weighted_norm2)
                                         : sqrt(ttei_sum_value(&builder.errors.error2) /
                                                ttei_sum_value(&builder.errors.norm2));
        if (!(*error >= 0)) *error = 0;  /* a table of zeros */
        if (status == TTE_OK) status = ttei_builder_end(&builder, image);
        ttei_builder_drop(&builder);
    }
    ttei_model_end(&model);
    progress->from = progress->to;  /* another pass would take half of what is left */
    progress->to += (1 - progress->to) / 2;
    return status;
}

/* Bytes that are left go to finer cores, as far as they reach. */
static void ttei_fit_fill(ttei_fit *f, double left)
{
    const double most = (double)ttei_align(ttei_fit_shared(f, f->rank, f->price, NULL)) + left;
    double low = 0, high = 40;
    int i;
    for (i = 0; i < 30; ++i) {
        const double middle = (low + high) / 2;
        f->finer = pow(2, middle);
        if ((double)ttei_align(ttei_fit_shared(f, f->rank, f->price, NULL)) <= most)
            low = middle;
        else
            high = middle;
    }
    f->finer = pow(2, low);
}

/* Bytes that the ratio allows. */
static double ttei_fit_budget(const ttei_fit *f)
{
    const double ratio = (double)f->options->ratio;
    return ratio > 0 ? floor((double)f->vocab * (double)f->dim * 4 / ratio) : HUGE_VAL;
}

/* The setting under which the sample expects `goal`, from near *x on. */
static tte_status ttei_fit_expect(ttei_fit *f, tte_rows_fn rows, void *user, int by_error, double goal,
                                  double *x)
{
    double slope;
    tte_status status = ttei_fit_search(f, by_error, goal, x, &slope);
    if (status == TTE_OK && !(f->rounding > 0))  /* near enough to know how cores will be rounded */
        status = ttei_fit_sample(f, rows, user, f->rank, f->price);
    return status == TTE_OK && slope > 0 ? ttei_fit_settle(f, by_error, goal, slope, x) : status;
}

/* The best step for the target, and the image. What the sample expected and what came out differ by
   little; where it matters, the search is repeated with that difference taken off. Where that does not
   end it, in tables so small that all sizes come in steps, what came out is bracketed and halved. */
static tte_status ttei_fit_entropy(ttei_fit *f, tte_rows_fn rows, void *user, ttei_progress *progress,
                                   tte_image *out)
{
    const tte_options *o = f->options;
    const int by_error = !(o->ratio > 0);
    const double budget = by_error ? f->eps : ttei_fit_budget(f);
    double bias = 1, x, level, error, got, least = 0;
    double at[2] = {0, 0};  /* x of the last try that met the target, and of one that did not */
    int have[2] = {0, 0}, attempt;
    tte_image image, filled;
    tte_status status = TTE_OK;
    (void)ttei_fit_target(f, &level);
    x = 0.5 * log2(level * 2 * log(2.0) / (double)TTEI_LAGRANGE /
                   (f->lightest > 0 ? (double)f->lightest : 1));
    out->data = NULL;
    for (attempt = 0; attempt < (out->data != NULL ? TTEI_ATTEMPTS : 3 * TTEI_ATTEMPTS); ++attempt) {
        f->finer = 1;
        if (attempt < 3 || !(have[0] || have[1])) {
            status = ttei_fit_expect(f, rows, user, by_error, budget * 0.998 / bias, &x);
        } else {
            const double away = by_error ? -1 : 0.1;
            x = have[0] && have[1] ? (at[0] + at[1]) / 2 : have[0] ? at[0] - away : at[1] + away;
            if (x < f->lowest || x > f->top + 8) break;
            status = ttei_fit_try(f, (float)pow(2, x), 2);
        }
        if (status != TTE_OK) break;
        ttei_fit_codes(f, (float)pow(2, x));
        status = ttei_fit_make(f, rows, user, progress, &image, &error);
        if (status == TTE_OK && !by_error && attempt > 0 && (double)image.size < 0.99 * budget) {
            ttei_fit_fill(f, budget - (double)image.size);
            status = ttei_fit_make(f, rows, user, progress, &filled, &got);
            if (status == TTE_OK) {
                const int better = (double)filled.size <= budget && got < error;
                tte_free(better ? &image : &filled);
                if (better) image = filled;
                if (better) error = got;
            } else {
                tte_free(&image);
            }
        }
        if (status == TTE_ERR_BUDGET && x < f->top) {  /* a row outside the sample, of too many steps */
            f->lowest = x + 1;
            continue;
        }
        if (status != TTE_OK) break;
        got = by_error ? error : (double)image.size;
        at[got > budget] = x;
        have[got > budget] = 1;
        if (got <= budget && (by_error || !(o->eps > 0) || error <= (double)o->eps) &&
            (out->data == NULL || (by_error ? image.size < out->size : error < least))) {
            tte_free(out);
            *out = image;
            least = error;
        } else {
            tte_free(&image);
        }
        if (got <= budget && got >= 0.99 * budget) break;
        if (got <= budget && attempt > 0 && (by_error ? x >= f->top + 8 : x <= f->lowest))
            break;  /* no setting beyond */
        bias = got / (by_error ? sqrt(f->error2 / f->spectrum.norm2) : f->bytes);
        if (!(bias > 0.2 && bias < 5)) bias = 1;
        if (got > budget) bias *= 1 + 0.002 * attempt;
    }
    if (out->data != NULL && (status == TTE_OK || status == TTE_ERR_BUDGET)) return TTE_OK;
    tte_free(out);
    return status == TTE_OK ? TTE_ERR_BUDGET : status;
}

/* Squared error that rounding the coefficients of the sample leaves, beside their squared norm. */
static tte_status ttei_fit_rounding(ttei_fit *f, double *ratio)
{
    const size_t rank = (size_t)f->frame.ranks[0];
    double error = 0, norm = 0;
    size_t i, j;
    tte_status status = TTE_OK;
    unsigned char *record = f->codes;
    *ratio = 0;
    if (f->options->coding == TTE_F32) return TTE_OK;
    for (i = 0; i < f->count && status == TTE_OK; ++i) {
        const float *y = f->y + i * rank;
        status = ttei_coefficients_encode(f->options->coding, rank, f->trial.scales, y, record);
        if (status != TTE_OK) break;
        for (j = 0; j < rank; ++j)
            f->tile_y[j] = f->trial.scales[j] * ttei_coefficient_code(f->options->coding, rank, record, j);
        error += (double)f->weights[i] * ttei_distance2(y, f->tile_y, rank);
        norm += (double)f->weights[i] * ttei_norm2(y, rank);
    }
    *ratio = norm > 0 ? error / norm : 0;
    return status;
}

/* What `rank` columns are expected to leave of the squared norm. */
static void ttei_fit_leading(ttei_fit *f, size_t rank, double rounding)
{
    double head = 0;
    size_t j;
    for (j = 0; j < rank; ++j) head += f->frame.energy[j];
    f->rank = rank;
    f->error2 = f->frame.total - head > 0 ? f->frame.total - head : 0;
    f->error2 += rounding * head;
}

/* The price at which rounding the cores adds about a part of what is lost anyway: a bit is worth this
   part, spread over all bits that the cores have in float32. */
static double ttei_fit_price(const ttei_fit *f, double part)
{
    return part * f->error2 / (32.0 * (double)f->rank * (double)f->dim);
}

static int ttei_fit_fits(const ttei_fit *f, double budget)
{
    ttei_plan plan;
    memset(&plan, 0, sizeof plan);
    plan.shape = f->frame.shape;
    plan.shared_size = ttei_fit_shared(f, f->rank, f->price, NULL);
    return (double)ttei_plan_layout(
               &plan, ttei_mul(f->vocab, ttei_coefficients_bytes(f->options->coding, f->rank)),
               0).end <= budget;
}

/* Records of one size: the most columns that fit into a ratio, or the fewest that meet an error. Cores
   are rounded so little that it hardly matters, unless bytes are short. */
static tte_status ttei_fit_fixed(ttei_fit *f, tte_rows_fn rows, void *user, ttei_progress *progress,
                                 tte_image *out)
{
    static const double part[] = {1e-4, 1e-3, 1e-2, 1e-1, 1};
    const tte_options *o = f->options;
    const size_t most = (size_t)f->frame.ranks[0];
    const double budget = ttei_fit_budget(f);
    const double allowed = (double)o->eps * (double)o->eps * f->spectrum.norm2;
    double rounding, error;
    size_t rank, more = 1;
    int i, fits = 0;
    tte_status status = ttei_fit_rounding(f, &rounding);
    if (status != TTE_OK) return status;
    ttei_fit_leading(f, most, rounding);
    if (o->ratio > 0) {
        for (rank = most; rank > 0 && !fits; --rank) {
            ttei_fit_leading(f, rank, rounding);
            for (i = 4; i >= 0; --i) {  /* as many columns as fit with coarse cores, then finer ones */
                const double price = f->price;
                f->price = ttei_fit_price(f, part[i]);
                if (!ttei_fit_fits(f, budget)) {
                    f->price = price;
                    break;
                }
                fits = 1;
            }
        }
        if (!fits) return TTE_ERR_BUDGET;
    } else {
        for (rank = 1; o->eps > 0 && rank < most; ++rank) {
            ttei_fit_leading(f, rank, rounding);
            if (f->error2 <= allowed) break;
        }
        if (o->eps > 0) ttei_fit_leading(f, rank, rounding);
        f->price = ttei_fit_price(f, part[0]);
    }
    for (;;) {
        status = ttei_fit_make(f, rows, user, progress, out, &error);
        if (status != TTE_OK || !(o->eps > 0) || error <= (double)o->eps) return status;
        tte_free(out);
        if (o->ratio > 0 || !(f->price > 0)) return TTE_ERR_BUDGET;
        if (f->rank == most) {
            f->price = 0;  /* all columns: what is left to spend are the bits of the cores */
        } else {
            ttei_fit_leading(f, ttei_min(most, f->rank + more), rounding);
            f->price = ttei_fit_price(f, part[0]);
            more *= 2;
        }
    }
}

static tte_status ttei_table_compress(tte_rows_fn rows, void *user, size_t vocab, size_t dim,
                                      const tte_options *options, ttei_progress *progress, tte_image *out)
{
    ttei_fit fit;
    tte_status status;
    memset(&fit, 0, sizeof fit);
    if (tte_svd_f64_work((int)dim, (int)dim) == 0) return TTE_ERR_SHAPE;
    fit.options = options;
    fit.vocab = vocab;
    fit.dim = dim;
    fit.finer = 1;
    fit.eps = (double)options->eps;
    fit.stride = ttei_mul(vocab, dim) >= 0x100000 ? 2 : 1;
    progress->to = 0.3;
    status = ttei_fit_begin(&fit, rows, user, progress);
    progress->from = 0.3;
    progress->to = 0.9;
    if (status == TTE_OK)
        status = options->coding == TTE_ENTROPY ? ttei_fit_entropy(&fit, rows, user, progress, out)
                                                : ttei_fit_fixed(&fit, rows, user, progress, out);
    ttei_fit_end(&fit);
    progress->from = progress->to = 1;
    if (status == TTE_OK && ttei_report(progress, 1) != TTE_OK) {
        tte_free(out);
        status = TTE_ERR_CANCELLED;
    }
    return status;
}

/* More rows against the mean, cores and tables of another table. */
static tte_status ttei_like_compress(tte_rows_fn rows, void *user, size_t vocab, const tte_options *options,
                                     const ttei_progress *progress, tte_image *out)
{
    ttei_plan plan = ttei_plan_of(options->like);
    ttei_builder builder;
    ttei_model model;
    tte_status status = ttei_model_begin(&model, options->like);
    if (status != TTE_OK) return status;
    plan.model = &model;
    status = ttei_builder_begin(&builder, &plan, vocab);
    if (status == TTE_OK) {
        builder.weights = options->row_weight;
        status = ttei_builder_rows(&builder, rows, user, vocab, progress);
        if (status == TTE_OK) status = ttei_builder_end(&builder, out);
        ttei_builder_drop(&builder);
    }
    ttei_model_end(&model);
    return status;
}

/* ---- the public calls -------------------------------------------------------------------------- */

/* Whether options ask for nothing but what the table `like` is made with. */
static int ttei_like_good(const tte_options *o, size_t dim)
{
    const tte_table *t = o->like;
    return t->layout == TTE_PER_TABLE && (size_t)t->dim == dim && t->coding == o->coding &&
           !(o->ratio > 0) && !(o->eps > 0) && o->max_rank == 0 &&
           (o->shape.modes == 0 ||
            (o->shape.modes == t->shape.modes &&
             memcmp(o->shape.dim, t->shape.dim, (size_t)t->shape.modes * sizeof *t->shape.dim) == 0));
}

static tte_status ttei_options_check(const tte_options *options, size_t vocab, size_t dim)
{
    const int per_table = options->layout == TTE_PER_TABLE;
    size_t entries = 0, i;
    if ((options->layout != TTE_PER_TOKEN && !per_table) ||
        (unsigned)options->coding > (unsigned)(per_table ? TTE_ENTROPY : TTE_I4) || options->max_rank < 0 ||
        !ttei_finite_f32(options->eps) || options->eps < 0 ||
        options->eps > 1 || !ttei_finite_f32(options->ratio) || options->ratio < 0 ||
        (!per_table && (options->row_weight != NULL || options->like != NULL)))
        return TTE_ERR_ARGUMENT;
    for (i = 0; options->row_weight != NULL && i < vocab; ++i)
        if (!ttei_finite_f32(options->row_weight[i]) || !(options->row_weight[i] > 0))
            return TTE_ERR_ARGUMENT;
    if (options->like != NULL && !ttei_like_good(options, dim)) return TTE_ERR_ARGUMENT;
    if (ttei_too_many(vocab) || dim > TTEI_ENTRIES_MAX ||
        ttei_mul(ttei_mul(vocab, dim), sizeof(float)) == TTEI_SIZE_MAX)
        return TTE_ERR_SHAPE;
    if (options->shape.modes == 0) return TTE_OK;
    if (ttei_shape_check(&options->shape, &entries) != TTE_OK || entries < dim) return TTE_ERR_SHAPE;
    return TTE_OK;
}

tte_status tte_compress_rows(tte_rows_fn rows, void *user, size_t vocab, size_t dim,
                             const tte_options *options, tte_image *out)
{
    tte_options none;
    ttei_plan plan;
    ttei_builder builder;
    ttei_progress progress;
    tte_image image = {NULL, 0};
    tte_status status;
    memset(&none, 0, sizeof none);
    if (options == NULL) options = &none;
    if (rows == NULL || out == NULL || vocab == 0 || dim == 0) return TTE_ERR_ARGUMENT;
    status = ttei_options_check(options, vocab, dim);
    if (status != TTE_OK) return status;

    memset(&plan, 0, sizeof plan);
    plan.dim = dim;
    plan.layout = options->layout;
    plan.coding = options->coding;
    plan.shape = options->shape;
    plan.max_rank = options->max_rank;
    plan.eps = options->eps;
    progress.report = options->progress;
    progress.user = options->progress_user;
    progress.from = 0;
    progress.to = 1;
    if (options->layout == TTE_PER_TABLE) {
        status = options->like != NULL
                     ? ttei_like_compress(rows, user, vocab, options, &progress, &image)
                     : ttei_table_compress(rows, user, vocab, dim, options, &progress, &image);
        if (status == TTE_OK) *out = image;
        return status;
    }
    status = ttei_choose(&plan, options, rows, user, vocab, &progress);
    if (status != TTE_OK) return status;

    status = ttei_builder_begin(&builder, &plan, vocab);
    if (status != TTE_OK) return status;
    status = ttei_builder_rows(&builder, rows, user, vocab, &progress);
    if (status == TTE_OK) status = ttei_builder_end(&builder, &image);
    ttei_builder_drop(&builder);
    if (status == TTE_OK && options->ratio > 0 &&
        (double)image.size * (double)options->ratio > (double)vocab * (double)dim * 4) {
        tte_free(&image);
        status = TTE_ERR_BUDGET;
    }
    if (status == TTE_OK) *out = image;
    return status;
}

tte_status tte_compress(const float *table, size_t vocab, size_t dim, const tte_options *options,
                        tte_image *out)
{
    ttei_array array;
    array.rows = table;
    array.dim = dim;
    if (table == NULL) return TTE_ERR_ARGUMENT;
    return tte_compress_rows(ttei_array_rows, &array, vocab, dim, options, out);
}

void tte_free(tte_image *image)
{
    if (image == NULL) return;
    if (image->data != NULL) TT_EMBED_FREE(image->data);
    image->data = NULL;
    image->size = 0;
}

/* Appending and replacing both put new rows between records that stay: `before` old ones, `count` new
   ones, then the old ones from `after` on. */
static tte_status ttei_splice(const tte_table *t, size_t before, const float *rows, size_t count,
                              size_t after, const ttei_errors *errors, int step_class, tte_image *out)
{
    ttei_plan plan = ttei_plan_of(t);
    const ttei_progress silent = {NULL, NULL, 0, 1};
    ttei_builder builder;
    ttei_model model;
    ttei_array array;
    tte_status status;
    array.rows = rows;
    array.dim = (size_t)t->dim;
    if (count > 0xffffffffu - t->vocab) return TTE_ERR_SHAPE;
    memset(&model, 0, sizeof model);
    if (t->layout == TTE_PER_TABLE) {
        status = ttei_model_begin(&model, t);
        if (status != TTE_OK) return status;
        plan.model = &model;
    }
    status = ttei_builder_begin(&builder, &plan, before + count + (t->vocab - after));
    if (status != TTE_OK) {
        ttei_model_end(&model);
        return status;
    }
    builder.errors = *errors;
    if (step_class >= 0) builder.step_class = step_class;
    status = ttei_builder_copy(&builder, t, 0, before);
    if (status == TTE_OK) status = ttei_builder_rows(&builder, ttei_array_rows, &array, count, &silent);
    if (status == TTE_OK) status = ttei_builder_copy(&builder, t, after, t->vocab - after);
    if (status == TTE_OK) status = ttei_builder_end(&builder, out);
    ttei_builder_drop(&builder);
    ttei_model_end(&model);
    return status;
}

tte_status tte_append(const tte_table *t, const float *rows, size_t count, tte_image *out)
{
    ttei_errors errors;
    if (t == NULL || rows == NULL || count == 0 || out == NULL) return TTE_ERR_ARGUMENT;
    errors = ttei_errors_of(t);
    return ttei_splice(t, t->vocab, rows, count, t->vocab, &errors, -1, out);
}

/* The row that goes takes an unknown part of the recorded sums with it. For an upper bound its error
   stays counted, and its norm is taken off: with e = |row - row^|, it is at most |row^| + e, where
   e <= worst |row| and e^2 is at most the sum of all rows' squared errors. */
static tte_status ttei_errors_without(const tte_table *t, uint32_t token, ttei_errors *errors)
{
    const size_t scratch = ttei_scratch_floats(t), dim = (size_t)t->dim;
    float *block = (float *)TT_EMBED_MALLOC(ttei_mul(ttei_add(scratch, dim), sizeof(float)));
    double left = ttei_sum_value(&errors->norm2), length, gone;
    if (block == NULL) return TTE_ERR_MEMORY;
    (void)tte_lookup(t, token, block + scratch, block);
    length = sqrt(ttei_norm2(block + scratch, dim));
    TT_EMBED_FREE(block);
    gone = length + sqrt(ttei_sum_value(&errors->error2));
    if (errors->worst < 1 && length < gone * (1 - errors->worst)) gone = length / (1 - errors->worst);
    left -= gone * gone;
    errors->norm2 = ttei_sum_zero;
    ttei_sum_add(&errors->norm2, left > 0 ? left : 0);
    return TTE_OK;
}

/* The class of the step that a token's record has, so that its row can be replaced by one that matters as
   much; -1 where records have none. */
static int ttei_step_class_of(const tte_table *t, size_t token)
{
    ttei_record record;
    ttei_codes codes;
    ttei_ans ans;
    if (t->coding != TTE_ENTROPY) return -1;
    ttei_find(t, token, &record);
    ttei_codes_view(t->codes, (size_t)t->ranks[0], &codes);
    ttei_ans_begin(&ans, record.bytes, record.size);
    return (int)ttei_ans_symbol(&ans, codes.step_ends, (unsigned)codes.steps);
}

tte_status tte_replace(const tte_table *t, uint32_t token, const float *row, tte_image *out)
{
    ttei_errors errors;
    tte_status status;
    if (t == NULL || row == NULL || out == NULL) return TTE_ERR_ARGUMENT;
    if (token >= t->vocab) return TTE_ERR_RANGE;
    errors = ttei_errors_of(t);
    status = ttei_errors_without(t, token, &errors);
    if (status != TTE_OK) return status;
    return ttei_splice(t, token, row, 1, (size_t)token + 1, &errors, ttei_step_class_of(t, token), out);
}

/* Whether two tables were made with settings under which their records mean the same. */
static int ttei_same_settings(const tte_table *a, const tte_table *b)
{
    const size_t modes = (size_t)a->shape.modes;
    const ttei_plan p = ttei_plan_of(a), q = ttei_plan_of(b);
    if (p.shared_size != q.shared_size || p.codes_size != q.codes_size ||
        (p.shared_size > 0 && memcmp(p.shared, q.shared, p.shared_size) != 0) ||
        (p.codes_size > 0 && memcmp(p.codes, q.codes, p.codes_size) != 0))
        return 0;
    return a->dim == b->dim && a->layout == b->layout && a->coding == b->coding &&
           a->max_rank == b->max_rank && !(a->eps < b->eps) && !(a->eps > b->eps) &&
           a->shape.modes == b->shape.modes &&
           memcmp(a->shape.dim, b->shape.dim, modes * sizeof *a->shape.dim) == 0 &&
           (ttei_adapted(a->layout, a->eps > 0, a->shape.modes) ||
            memcmp(a->ranks, b->ranks, (modes + 1) * sizeof *a->ranks) == 0);
}

tte_status tte_merge(const tte_table *parts, size_t count, tte_image *out)
{
    ttei_plan plan;
    ttei_builder builder;
    size_t rows = 0, i;
    tte_status status;
    if (parts == NULL || count == 0 || out == NULL) return TTE_ERR_ARGUMENT;
    for (i = 0; i < count; ++i) {
        if (!ttei_same_settings(&parts[0], &parts[i])) return TTE_ERR_ARGUMENT;
        rows = ttei_add(rows, parts[i].vocab);
    }
    plan = ttei_plan_of(&parts[0]);
    status = ttei_builder_begin(&builder, &plan, rows);
    if (status != TTE_OK) return status;
    for (i = 0; i < count && status == TTE_OK; ++i) {
        ttei_errors errors = ttei_errors_of(&parts[i]);
        ttei_sum_join(&builder.errors.norm2, errors.norm2);
        ttei_sum_join(&builder.errors.error2, errors.error2);
        if (errors.worst > builder.errors.worst) builder.errors.worst = errors.worst;
        status = ttei_builder_copy(&builder, &parts[i], 0, parts[i].vocab);
    }
    if (status == TTE_OK) status = ttei_builder_end(&builder, out);
    ttei_builder_drop(&builder);
    return status;
}

typedef struct ttei_recode_room {
    size_t entries;            /* prod(dim), padding included */
    float *tensor;             /* entries                     */
    unsigned char *record;
    ttei_encoder encoder;
} ttei_recode_room;

static size_t ttei_recode_carve(const ttei_plan *plan, void *block, ttei_recode_room *room)
{
    ttei_carve carve = ttei_carve_begin(block);
    room->entries = ttei_entries(&plan->shape);
    room->tensor = (float *)ttei_take(&carve, room->entries, sizeof(float));
    room->record = (unsigned char *)ttei_take(&carve, ttei_plan_record(plan), 1);
    ttei_encoder_carve(plan, &carve, &room->encoder);
    return carve.used;
}

/* One train of t, contracted with its padding (which truncation has filled with small numbers, and
   without which the ranks would not suffice) and encoded anew. */
static tte_status ttei_recode_row(ttei_builder *b, const tte_table *t, size_t token,
                                  ttei_recode_room *room)
{
    float scales[TTE_MAX_MODES];
    ttei_encoder *encoder = &room->encoder;
    ttei_slot slot;
    tte_status status;
    ttei_record record;
    ttei_find(t, token, &record);
    ttei_record_decode(t->coding, &t->shape, record.ranks, record.bytes, encoder->cores);
    ttei_contract(&t->shape, record.ranks, encoder->cores, room->entries, room->tensor, encoder->contract);
    if (!ttei_all_finite_f32(room->tensor, room->entries)) return TTE_ERR_NOT_FINITE;
    slot.norm2 = ttei_norm2(room->tensor, b->plan.dim);
    status = ttei_train(&t->shape, record.ranks, -1, b->plan.coding, room->tensor, room->entries, slot.ranks,
                        encoder->cores, scales, &encoder->train);
    if (status == TTE_OK)
        status = ttei_measure(&b->plan, room->tensor, encoder->cores, &slot, encoder);
    if (status != TTE_OK) return status;
    ttei_record_encode(b->plan.coding, &t->shape, slot.ranks, encoder->cores, scales, room->record);
    ttei_errors_add(&b->errors, slot.norm2, slot.error2);
    slot.size = ttei_record_bytes(b->plan.coding, t->shape.modes, ttei_core_sum(&t->shape, slot.ranks));
    return ttei_builder_put(b, room->record, slot.size, slot.ranks);
}

/* Errors of two steps, W to V and V to X, together: |W - X| <= |W - V| + |V - X|, and for a row
   |v| <= (1 + e) |w|. */
static ttei_errors ttei_errors_chain(const ttei_errors *first, const ttei_errors *second)
{
    ttei_errors both = *first;
    const double error = sqrt(ttei_sum_value(&first->error2)) + sqrt(ttei_sum_value(&second->error2));
    both.error2 = ttei_sum_zero;
    ttei_sum_add(&both.error2, error * error);
    both.worst = first->worst + (1 + first->worst) * second->worst;
    return both;
}

/* The rows of a table, as a source of rows. */
typedef struct ttei_reader {
    const tte_table *table;
    float *scratch;
} ttei_reader;

static int ttei_reader_rows(void *user, size_t first, size_t count, float *dst)
{
    const ttei_reader *reader = (const ttei_reader *)user;
    uint32_t tokens[TTEI_WINDOW];
    size_t i, now;
    for (; count > 0; count -= now, first += now, dst += now * (size_t)reader->table->dim) {
        now = ttei_min(count, TTEI_WINDOW);
        for (i = 0; i < now; ++i) tokens[i] = (uint32_t)(first + i);
        (void)tte_lookup_batch(reader->table, tokens, now, dst, reader->scratch);
    }
    return 0;
}

/* What a fit needs to write scales of columns or section 4 for coefficients that exist: their energies,
   a sample of them, and the largest. */
static tte_status ttei_fit_existing(ttei_fit *f, const tte_table *t, const tte_options *options,
                                    float *largest)
{
    const size_t rank = (size_t)t->ranks[0];
    ttei_record record;
    size_t i, j, size, next = 0;
    memset(f, 0, sizeof *f);
    f->options = options;
    f->finer = 1;
    f->vocab = t->vocab;
    f->dim = (size_t)t->dim;
    f->count = ttei_fit_rows(f);
    f->stride = ttei_mul(f->vocab, f->dim) >= 0x100000 ? 2 : 1;
    f->rank = f->trial.rank = rank;
    f->spectrum.weight = (double)t->vocab;
    f->trial.dim = f->dim;
    f->trial.view.coding = options->coding;
    f->frame.shape = t->shape;
    memcpy(f->frame.ranks, t->ranks, sizeof f->frame.ranks);
    size = ttei_frame_carve(NULL, &f->frame);
    if (size == TTEI_SIZE_MAX || ttei_fit_carve(f, NULL) == TTEI_SIZE_MAX) return TTE_ERR_SHAPE;
    f->frame_block = TT_EMBED_MALLOC(size);
    f->block = TT_EMBED_MALLOC(ttei_fit_carve(f, NULL));
    if (f->frame_block == NULL || f->block == NULL) return TTE_ERR_MEMORY;
    (void)ttei_frame_carve(f->frame_block, &f->frame);
    (void)ttei_fit_carve(f, f->block);
    for (j = 0; j < rank; ++j) f->frame.energy[j] = 0;
    *largest = 0;
    for (i = 0; i < t->vocab; ++i) {
        float top;
        ttei_find(t, i, &record);
        ttei_coefficients_decode(t, record.bytes, record.size, f->tile_y);
        top = ttei_top_f32(rank, f->tile_y);
        if (!ttei_finite_f32(top)) return TTE_ERR_NOT_FINITE;
        if (top > *largest) *largest = top;
        for (j = 0; j < rank; ++j) f->frame.energy[j] += (double)f->tile_y[j] * (double)f->tile_y[j];
        if (next < f->count && i == (size_t)((double)next * (double)t->vocab / (double)f->count))
            memcpy(f->y + next++ * rank, f->tile_y, rank * sizeof *f->y);
    }
    for (i = 0; i < f->count; ++i) f->weights[i] = 1;
    memset(f->counts, 0, TTEI_TABLES * sizeof *f->counts);
    ttei_fit_classes(f);
    ttei_fit_scales(f);
    return TTE_OK;
}

/* The trellis leaves about a quarter of the squared step at each coefficient; the step at which that is a
   hundredth of what t has lost already, or of a millionth of its norm, if that is more. Coarser where
   the largest coefficient would be beyond the range of the codes. */
static float ttei_recode_step(const tte_table *t, size_t numbers, float top)
{
    const ttei_errors errors = ttei_errors_of(t);
    const double norm2 = 1e-6 * ttei_sum_value(&errors.norm2), error2 = ttei_sum_value(&errors.error2);
    double step = sqrt(0.04 * (error2 > norm2 ? error2 : norm2) / (double)numbers);
    if (!(step > (double)top / 524288)) step = (double)top / 524288;
    return step > 1e-35 ? step < 1e35 ? (float)step : 1e35f : 1e-35f;
}

/* The same cores and coefficients, coded otherwise: rows are looked up and encoded against them. */
static tte_status ttei_table_recode(const tte_table *t, tte_coding coding, ttei_fit *f, float largest,
                                    float *scratch, tte_image *out)
{
    const ttei_progress silent = {NULL, NULL, 0, 1};
    ttei_plan plan = ttei_plan_of(t);
    ttei_matrix unused;
    size_t at = ttei_core_at(t, t->shape.modes - 1, &unused), j;
    tte_table view = *t;
    ttei_reader reader;
    ttei_builder builder;
    ttei_model model;
    ttei_errors added;
    ttei_sizes sizes;
    tte_status status = TTE_OK;
    memcpy(f->shared, t->shared, at);
    for (j = 0; ttei_has_columns(coding) && j < f->rank; ++j, at += 4)
        ttei_put_f32(f->shared + at, f->trial.scales[j]);
    plan.coding = view.coding = coding;
    plan.shared = view.shared = f->shared;
    plan.shared_size = at;
    plan.codes = view.codes = NULL;
    plan.codes_size = 0;
    if (coding == TTE_ENTROPY) {
        const float step = ttei_recode_step(t, f->vocab * f->rank, largest);
        status = ttei_fit_count(f, step, 3, &sizes);
        if (status != TTE_OK) return status;
        ttei_fit_codes(f, step);
        plan.codes = view.codes = f->codes;
        plan.codes_size = f->codes_size;
    }
    status = ttei_model_begin(&model, &view);
    if (status != TTE_OK) return status;
    plan.model = &model;
    reader.table = t;
    reader.scratch = scratch;
    status = ttei_builder_begin(&builder, &plan, t->vocab);
    if (status == TTE_OK) {
        status = ttei_builder_rows(&builder, ttei_reader_rows, &reader, t->vocab, &silent);
        added = builder.errors;
        builder.errors = ttei_errors_of(t);
        builder.errors = ttei_errors_chain(&builder.errors, &added);
        if (status == TTE_OK) status = ttei_builder_end(&builder, out);
        ttei_builder_drop(&builder);
    }
    ttei_model_end(&model);
    return status;
}

static tte_status ttei_recode_table(const tte_table *t, tte_coding coding, tte_image *out)
{
    tte_options options;
    ttei_fit fit;
    float *scratch, largest;
    tte_status status;
    if (coding == t->coding) return tte_merge(t, 1, out);
    memset(&options, 0, sizeof options);
    options.layout = TTE_PER_TABLE;
    options.coding = coding;
    status = ttei_fit_existing(&fit, t, &options, &largest);
    scratch = (float *)TT_EMBED_MALLOC(ttei_mul(ttei_scratch_floats(t), sizeof(float)));
    if (scratch == NULL && status == TTE_OK) status = TTE_ERR_MEMORY;
    if (status == TTE_OK) status = ttei_table_recode(t, coding, &fit, largest, scratch, out);
    if (scratch != NULL) TT_EMBED_FREE(scratch);
    ttei_fit_end(&fit);
    return status;
}

tte_status tte_recode(const tte_table *t, tte_coding coding, tte_image *out)
{
    ttei_plan plan;
    ttei_builder builder;
    ttei_errors before;
    ttei_recode_room room;
    size_t size, token;
    void *block;
    tte_status status;
    if (t == NULL || out == NULL ||
        (unsigned)coding > (unsigned)(t->layout == TTE_PER_TABLE ? TTE_ENTROPY : TTE_I4))
        return TTE_ERR_ARGUMENT;
    if (t->layout == TTE_PER_TABLE) return ttei_recode_table(t, coding, out);
    plan = ttei_plan_of(t);
    plan.coding = coding;
    size = ttei_recode_carve(&plan, NULL, &room);
    if (size == TTEI_SIZE_MAX) return TTE_ERR_SHAPE;
    block = TT_EMBED_MALLOC(size);
    if (block == NULL) return TTE_ERR_MEMORY;
    (void)ttei_recode_carve(&plan, block, &room);
    status = ttei_builder_begin(&builder, &plan, t->vocab);
    for (token = 0; token < t->vocab && status == TTE_OK; ++token)
        status = ttei_recode_row(&builder, t, token, &room);
    before = ttei_errors_of(t);
    builder.errors = ttei_errors_chain(&before, &builder.errors);
    if (status == TTE_OK) status = ttei_builder_end(&builder, out);
    ttei_builder_drop(&builder);
    TT_EMBED_FREE(block);
    return status;
}

#endif /* TT_EMBED_DECODE_ONLY */

/* ================================================================================================
   LOOKUP AND PRODUCTS
   Records back to numbers. All memory is the caller's scratch, carved in one place.
   ============================================================================================= */

/* With OpenMP the calls that read many tokens share them out; every thread has a part of the scratch. No
   result depends on which tokens are read together. */
#if defined(_OPENMP) && !defined(TT_EMBED_DECODE_ONLY)
#define TTEI_READERS 8  /* most threads */
#define TTEI_APART 32u  /* floats between their parts: two cores that write to one line wait for each other */
static int ttei_threads(size_t pieces)
{
    const size_t most = ttei_min(TTEI_READERS, (size_t)omp_get_max_threads());
    return (int)ttei_max(ttei_min(most, pieces), 1);
}
static size_t ttei_thread(void) { return (size_t)omp_get_thread_num(); }
#else
#define TTEI_READERS 1
#define TTEI_APART 0u
#ifndef TT_EMBED_DECODE_ONLY
static size_t ttei_thread(void) { return 0; }
#endif
#endif

#ifndef TT_EMBED_DECODE_ONLY
#define TTEI_PIECE 1024u  /* tokens that a thread scores at a time      */
#define TTEI_CHUNK 8192u  /* scores that tte_top_k takes at a time      */
#else
#define TTEI_CHUNK 64u
#endif

/* ---- scratch ---------------------------------------------------------------------------------------
   First a part for each thread: decoded records, TTE_PER_TABLE: a strip of the shared cores, and
   intermediate results. Behind the parts what all threads share. */

typedef struct ttei_part {
    float *numbers, *strip, *work;
} ttei_part;

typedef struct ttei_common {
    float *numbers;  /* of another token, or a vector behind the shared cores     */
    float *row;      /* a vector padded to prod(dim), or two rows of dim          */
    float *ready;    /* what a scan prepares: see ttei_query                      */
    float *scores;   /* TTEI_CHUNK                                                */
} ttei_common;

/* Floats of intermediate results. One row of TTE_PER_TABLE takes V_1 .. V_d, as many as Z_(d-1) .. Z_0. A
   score of TTE_PER_TOKEN takes Y_1 .. Y_d, rk (n(k+1)..nd) each, and nothing takes more:
     a contraction the same to the right of its middle m; to its left (n1..nk) rk for k = 2 .. m, which is no
     more than Y_k for k < m, and for k = m, where Y_m is taken already, no more than Y_1, since
     rm <= r1 n2..nm and n1..nm <= n(m+1)..nd;
     an inner product r(k-1)^2 + rk^2; 2 covers one mode.
   The ranks of a record are not above the header's, and all these grow with the ranks. */
static size_t ttei_work_len(const tte_table *t)
{
    const int32_t d = t->shape.modes;
    size_t len = 2, side = 1;  /* side: entries to the left of a bond, or to its right */
    int32_t i, k;
    for (i = 1; i <= d; ++i) {
        k = ttei_is_table(t->layout) ? i : d - i;
        side *= (size_t)t->shape.dim[ttei_is_table(t->layout) ? k - 1 : k];
        if (k > 0) len = ttei_add(len, (size_t)t->ranks[k] * side);  /* at most prod(dim) */
    }
    return len;
}

/* Rows of TTE_PER_TABLE that are made together: fewer where they are so long that a part would exceed
   some megabytes. */
static size_t ttei_together(const tte_table *t)
{
    const size_t row = ttei_add(t->numbers, t->work), room = 0x100000;
    if (TTEI_TOGETHER == 1 || !ttei_is_table(t->layout) || row >= room) return 1;
    return ttei_min(TTEI_TOGETHER, room / row);
}

static size_t ttei_strip_len(const tte_table *t)
{
    size_t rows = 0;
    int32_t k;
    if (TTEI_TOGETHER == 1 || !ttei_is_table(t->layout)) return 0;
    for (k = 0; k < t->shape.modes; ++k) rows = ttei_max(rows, (size_t)t->ranks[k]);
    return ttei_mul(rows, TTEI_STRIP);
}

static size_t ttei_part_len(const tte_table *t)
{
    return ttei_add(ttei_mul(ttei_together(t), ttei_add(t->numbers, t->work)),
                    ttei_add(ttei_strip_len(t), TTEI_APART));
}

/* A part that begins at `scratch`; `together` rows fit into it. A single row of TTE_PER_TOKEN shall not
   wait for sizes that it does not need. */
static ttei_part ttei_part_at(const tte_table *t, size_t together, float *scratch)
{
    ttei_part part;
    part.numbers = scratch;
    part.strip = scratch + together * t->numbers;
    part.work = part.strip + ttei_strip_len(t);
    return part;
}

/* Floats that a scan prepares for its records. */
static size_t ttei_ready_len(const tte_table *t)
{
#ifdef TTEI_CODE_LANES
    if (ttei_coding(t->coding) == TTE_ENTROPY) return TTEI_TABLES * 2 * TTEI_QUICK / sizeof(float);
#endif
#ifdef TTEI_SCAN
    if (ttei_is_table(t->layout) && ttei_has_scales(ttei_coding(t->coding)))
        return ttei_planes_len(ttei_scaled_run(ttei_coding(t->coding)), t->numbers);
#endif
    (void)t;
    return 0;
}

/* Carves what is common, or answers the size of the whole scratch when that is NULL. */
static size_t ttei_common_carve(const tte_table *t, float *scratch, ttei_common *c)
{
    const size_t parts = ttei_mul(TTEI_READERS, ttei_part_len(t)), numbers = t->numbers;
    const size_t row = ttei_max(ttei_entries(&t->shape), ttei_mul(2, (size_t)t->dim));
    const size_t ready = ttei_ready_len(t);
    if (scratch != NULL) {
        c->numbers = scratch + parts;
        c->row = c->numbers + numbers;
        c->ready = c->row + row;
        c->scores = c->ready + ready;
    }
    return ttei_add(ttei_add(parts, ttei_add(numbers, row)), ttei_add(ready, TTEI_CHUNK));
}

static size_t ttei_scratch_floats(const tte_table *t) { return ttei_common_carve(t, NULL, NULL); }

size_t tte_scratch_len(const tte_table *t) { return t == NULL ? 0 : ttei_scratch_floats(t); }

/* The tables of ENTROPY made quick in the scratch, where `count` records are worth that; else NULL. */
static const unsigned char *ttei_quick_begin(const tte_table *t, size_t count, float *scratch)
{
#ifdef TTEI_CODE_LANES
    ttei_common c;
    if (ttei_coding(t->coding) == TTE_ENTROPY && ttei_mul(count, t->numbers) > 64 * (size_t)t->codes[11]) {
        (void)ttei_common_carve(t, scratch, &c);
        ttei_quick_tables(t->codes, t->numbers, (unsigned char *)c.ready);
        return (const unsigned char *)c.ready;
    }
#endif
    (void)t;
    (void)count;
    (void)scratch;
    return NULL;
}

/* ---- rows ------------------------------------------------------------------------------------------ */

/* row = mean + y G1 .. Gd for the coefficients y of `count` tokens in part->numbers: V_0 = y (count x r0),
   V_k (count n1..nk x rk) = V_(k-1) G_k. The last one has the rows, with their padding. */
static void ttei_table_rows(const tte_table *t, size_t count, float *rows, const ttei_part *part)
{
    const float one = 1;
    const size_t dim = (size_t)t->dim, entries = ttei_entries(&t->shape);
    float *v = part->numbers, *next = part->work;
    ttei_matrix m;
    size_t i, n = count;
    int32_t k;
    for (k = 0; k < t->shape.modes; ++k) {
        (void)ttei_core_at(t, k, &m);
        if (k == t->shape.modes - 1 && entries == dim) next = rows;
#if TTEI_TOGETHER > 1
        if (n >= 4) {
            ttei_matrix_product(&m, n, v, next, part->strip);
        } else
#endif
        {
            memset(next, 0, n * m.cols * sizeof *next);
            ttei_matrix_apply(&m, n, v, next);
        }
        v = next;
        next += n * m.cols;
        n *= (size_t)t->shape.dim[k];
    }
    if (v != rows)
        for (i = 0; i < count; ++i) memcpy(rows + i * dim, v + i * entries, dim * sizeof *rows);
    (void)ttei_core_at(t, -1, &m);
    for (i = 0; i < count; ++i) ttei_matrix_apply(&m, 1, &one, rows + i * dim);
}

#ifdef TTEI_CODE_LANES
/* Up to TTEI_ABREAST entropy-coded records as ttei_entropy_abreast leaves them; lanes too many read the
   last record once more. */
static void ttei_abreast(const tte_table *t, const uint32_t *tokens, size_t count,
                         const unsigned char *quick, float *steps, float *out)
{
    const unsigned char *bytes[TTEI_ABREAST];
    size_t sizes[TTEI_ABREAST], i;
    ttei_record record;
    for (i = 0; i < TTEI_ABREAST; ++i) {
        if (i < count) ttei_find(t, tokens[i], &record);
        bytes[i] = record.bytes;
        sizes[i] = record.size;
    }
    ttei_entropy_abreast(t->codes, quick, t->numbers, bytes, sizes, steps, out);
}
#endif

/* The coefficients of `count` tokens, one behind the other; `quick` as ttei_quick_tables writes it, or
   NULL. */
static void ttei_coefficients(const tte_table *t, const uint32_t *tokens, size_t count,
                              const unsigned char *quick, const ttei_part *part)
{
    float *y = part->numbers;
    ttei_record record;
#ifdef TTEI_CODE_LANES
    float steps[TTEI_ABREAST];
    size_t i, j, now;
    for (; quick != NULL && count > TTEI_LANES / 2; tokens += now, count -= now) {
        now = ttei_min(count, TTEI_ABREAST);
        ttei_abreast(t, tokens, now, quick, steps, part->strip);
        for (i = 0; i < now; ++i)
            for (j = 0; j < t->numbers; ++j) *y++ = steps[i] * part->strip[j * TTEI_ABREAST + i];
    }
#endif
    (void)quick;
    for (; count > 0; --count, y += t->numbers) {
        ttei_find(t, *tokens++, &record);
        ttei_coefficients_decode(t, record.bytes, record.size, y);
    }
}

/* Rows of `count` tokens; for TTE_PER_TABLE no more than fit into the part. */
static void ttei_rows(const tte_table *t, const uint32_t *tokens, size_t count, const unsigned char *quick,
                      float *rows, const ttei_part *part)
{
    ttei_record record;
    if (ttei_is_table(t->layout)) {
        ttei_coefficients(t, tokens, count, quick, part);
        ttei_table_rows(t, count, rows, part);
        return;
    }
    for (; count > 0; --count, ++tokens, rows += t->dim) {
        ttei_find(t, *tokens, &record);
        ttei_record_decode(ttei_coding(t->coding), &t->shape, record.ranks, record.bytes, part->numbers);
        ttei_contract(&t->shape, record.ranks, part->numbers, (size_t)t->dim, rows, part->work);
    }
}

tte_status tte_lookup(const tte_table *t, uint32_t token, float *row, float *scratch)
{
    ttei_part part;
    if (t == NULL || row == NULL || scratch == NULL) return TTE_ERR_ARGUMENT;
    if (token >= t->vocab) return TTE_ERR_RANGE;
    part = ttei_part_at(t, 1, scratch);
    ttei_rows(t, &token, 1, NULL, row, &part);
    return TTE_OK;
}

#ifndef TT_EMBED_DECODE_ONLY

/* The different tokens among `count` <= TTEI_WINDOW, in the order in which they come first, and for each
   token which of them it is: at most its own place. Returns how many there are. */
static size_t ttei_distinct(const uint32_t *tokens, size_t count, uint32_t *different, uint16_t *which)
{
    uint16_t bucket[2 * TTEI_WINDOW];  /* 1 + its place in `different`, by hash; 0: none */
    size_t i, n = 0, at, buckets = 2;
    while (buckets < 2 * count) buckets *= 2;
    memset(bucket, 0, buckets * sizeof *bucket);
    for (i = 0; i < count; ++i) {
        at = (tokens[i] * 2654435769u >> 16) & (buckets - 1);
        while (bucket[at] != 0 && different[bucket[at] - 1] != tokens[i]) at = (at + 1) & (buckets - 1);
        if (bucket[at] == 0) {
            different[n++] = tokens[i];
            bucket[at] = (uint16_t)n;
        }
        which[i] = (uint16_t)(bucket[at] - 1);
    }
    return n;
}

/* The different rows of a window stand at its front first; then, from the last token on, each is copied to
   its places, none of which is before it. */
static void ttei_window_rows(const tte_table *t, const uint32_t *tokens, size_t count,
                             const unsigned char *quick, float *rows, float *scratch)
{
    const size_t dim = (size_t)t->dim, len = ttei_part_len(t);
    const size_t together = ttei_together(t), piece = ttei_is_table(t->layout) ? together : 32;
    uint32_t different[TTEI_WINDOW];
    uint16_t which[TTEI_WINDOW];
    const size_t n = ttei_distinct(tokens, count, different, which);
    const int pieces = (int)((n + piece - 1) / piece);
    int i;
#if TTEI_READERS > 1
#pragma omp parallel for schedule(dynamic, 1) num_threads(ttei_threads((size_t)pieces))
#endif
    for (i = 0; i < pieces; ++i) {
        const size_t first = (size_t)i * piece;
        const ttei_part part = ttei_part_at(t, together, scratch + ttei_thread() * len);
        ttei_rows(t, different + first, ttei_min(piece, n - first), quick, rows + first * dim, &part);
    }
    while (count-- > 0)
        if (which[count] != count)
            memcpy(rows + count * dim, rows + which[count] * dim, dim * sizeof *rows);
}

#endif

tte_status tte_lookup_batch(const tte_table *t, const uint32_t *tokens, size_t count, float *rows,
                            float *scratch)
{
    size_t i;
    if (t == NULL || tokens == NULL || rows == NULL || scratch == NULL) return TTE_ERR_ARGUMENT;
    for (i = 0; i < count; ++i)
        if (tokens[i] >= t->vocab) return TTE_ERR_RANGE;
#ifndef TT_EMBED_DECODE_ONLY
    if (count > 1) {
        const unsigned char *quick = count > TTEI_LANES ? ttei_quick_begin(t, count, scratch) : NULL;
        size_t now;
        for (; count > 0; count -= now, tokens += now, rows += now * (size_t)t->dim) {
            now = ttei_min(count, TTEI_WINDOW);
            ttei_window_rows(t, tokens, now, quick, rows, scratch);
        }
    }
#endif
    for (i = 0; i < count; ++i) (void)tte_lookup(t, tokens[i], rows + i * (size_t)t->dim, scratch);
    return TTE_OK;
}

tte_status tte_inner_tokens(const tte_table *t, uint32_t a, uint32_t b, float *result, float *scratch)
{
    ttei_part part;
    ttei_common c;
#ifndef TT_EMBED_DECODE_ONLY
    ttei_record record, other;
#endif
    if (t == NULL || result == NULL || scratch == NULL) return TTE_ERR_ARGUMENT;
    if (a >= t->vocab || b >= t->vocab) return TTE_ERR_RANGE;
    part = ttei_part_at(t, 1, scratch);
    (void)ttei_common_carve(t, scratch, &c);
#ifndef TT_EMBED_DECODE_ONLY
    if (!ttei_is_table(t->layout) && ttei_entries(&t->shape) == (size_t)t->dim) {
        ttei_find(t, a, &record);
        ttei_find(t, b, &other);
        ttei_record_decode(ttei_coding(t->coding), &t->shape, record.ranks, record.bytes, part.numbers);
        ttei_record_decode(ttei_coding(t->coding), &t->shape, other.ranks, other.bytes, c.numbers);
        *result = ttei_inner(&t->shape, record.ranks, part.numbers, other.ranks, c.numbers, part.work);
        return TTE_OK;
    }
#endif
    ttei_rows(t, &a, 1, NULL, c.row, &part);
    ttei_rows(t, &b, 1, NULL, c.row + t->dim, &part);
    *result = ttei_product_dot((size_t)t->dim, c.row, c.row + t->dim);
    return TTE_OK;
}

/* ---- scores ---------------------------------------------------------------------------------------- */

/* A vector as the records meet it. */
typedef struct ttei_query {
    const float *vector;         /* padded to prod(dim); TTE_PER_TABLE: q, see ttei_table_meet */
    float mean;                  /* TTE_PER_TABLE: the score of the mean row                   */
    const unsigned char *quick;  /* ENTROPY: see ttei_quick_tables, or NULL                    */
    const unsigned char *planes; /* q in integers of `unit`, or NULL: see ttei_planes          */
    float unit;
} ttei_query;

/* <h, x> of the padded vector and a token's train, from the left:
     Y_0 = h;   Y_k (rk x n(k+1)..nd) = G_k^T Y_(k-1),  both read with r(k-1) nk rows.
   Y_d is the number. */
static float ttei_train_score(const tte_table *t, size_t token, const float *y, size_t entries,
                              const ttei_part *part)
{
    const float *cores = part->numbers;
    float *next = part->work;
    ttei_record record;
    int32_t k;
    ttei_find(t, token, &record);
    ttei_record_decode(ttei_coding(t->coding), &t->shape, record.ranks, record.bytes, part->numbers);
    for (k = 0;; ++k) {
        const size_t n = (size_t)record.ranks[k] * (size_t)t->shape.dim[k], r = (size_t)record.ranks[k + 1];
        if (k == t->shape.modes - 1) return ttei_product_dot(n, cores, y);
        entries /= (size_t)t->shape.dim[k];
        TTEI_PRODUCT_FUSED(r, n, entries, cores, 1, r, y, entries, next, entries);
        cores += n * r;
        y = next;
        next += r * entries;
    }
}

/* What the shared cores make of a vector h, once for all tokens: q = B h, times the scales of the columns
   where there are, and the score of the mean.
     Z_d = h (n1..nd),  Z_(k-1) (n1..n(k-1) x r(k-1)) = Z_k G_k^T,  q = Z_0 */
static void ttei_table_meet(const tte_table *t, float *work, const ttei_common *c, ttei_query *query)
{
    const float *z = c->row;
    size_t rows = ttei_entries(&t->shape);
    int32_t k;
    ttei_matrix m;
    for (k = t->shape.modes - 1; k >= 0; --k) {
        float *next = k > 0 ? work : c->numbers;
        (void)ttei_core_at(t, k, &m);
        rows /= (size_t)t->shape.dim[k];
        ttei_matrix_meet(&m, rows, z, next);
        work += rows * m.rows;
        z = next;
    }
    ttei_columns_scale(t, c->numbers);
    (void)ttei_core_at(t, -1, &m);
    ttei_matrix_meet(&m, 1, c->row, &query->mean);
    query->vector = c->numbers;
}

/* Copies a vector to the scratch, padded, and has it meet what all tokens share. */
static tte_status ttei_query_begin(const tte_table *t, const float *vector, float *scratch, ttei_common *c,
                                   ttei_query *query)
{
    const size_t dim = (size_t)t->dim;
    if (!ttei_all_finite_f32(vector, dim)) return TTE_ERR_NOT_FINITE;
    (void)ttei_common_carve(t, scratch, c);
    memset(c->row, 0, ttei_entries(&t->shape) * sizeof *c->row);
    memcpy(c->row, vector, dim * sizeof *c->row);
    query->vector = c->row;
    if (!ttei_is_table(t->layout)) return TTE_OK;
    ttei_table_meet(t, ttei_part_at(t, 1, scratch).work, c, query);
    query->quick = ttei_quick_begin(t, t->vocab, scratch);  /* whatever the range: the same sums */
#ifdef TTEI_SCAN
    query->planes = NULL;
    if (ttei_has_scales(t->coding) && __builtin_cpu_supports("avx2")) {
        unsigned char *planes = (unsigned char *)c->ready;
        if (ttei_planes(ttei_scaled_run(t->coding), t->numbers, query->vector, planes, &query->unit))
            query->planes = planes;
    }
#endif
    return TTE_OK;
}

/* <h, row> = score of the mean + codes of the record * q. */
static float ttei_table_score(const tte_table *t, size_t token, const ttei_query *query,
                              const ttei_part *part)
{
    const float *q = query->vector;
    float *y = part->numbers;
    const int run = ttei_scaled_run(ttei_coding(t->coding));
    ttei_record record;
    ttei_find(t, token, &record);
    switch (ttei_coding(t->coding)) {
    case TTE_F32: return query->mean + ttei_row_dot(0, t->numbers, record.bytes, q);
    case TTE_I8:
    case TTE_I4:
        return query->mean + ttei_row_scale(record.bytes[0]) *
                                 ttei_row_dot(run, t->numbers, record.bytes + 1, q);
    case TTE_F16: ttei_codes_decode(TTE_F16, 0, t->numbers, 1, record.bytes, y); break;
    default:      ttei_entropy_decode(t->codes, t->numbers, record.bytes, record.size, y); break;
    }
    return query->mean + ttei_product_dot(t->numbers, y, q);
}

/* The scores of `count` tokens from `first` on, in one part. */
static void ttei_piece_scores(const tte_table *t, const ttei_query *query, size_t first, size_t count,
                              float *out, const ttei_part *part)
{
    const size_t entries = ttei_entries(&t->shape);
    size_t i = 0;
    if (!ttei_is_table(t->layout)) {
        for (; i < count; ++i) out[i] = ttei_train_score(t, first + i, query->vector, entries, part);
        return;
    }
#ifdef TTEI_SCAN
    if (query->planes != NULL) {
        ttei_scan(ttei_scaled_run(t->coding), t->numbers, count, t->records + first * t->record_size,
                  t->record_size, t->records + t->records_size, query->planes, query->unit, query->mean, out);
        return;
    }
#endif
#ifdef TTEI_CODE_LANES
    for (; query->quick != NULL && i < count; i += TTEI_ABREAST) {
        uint32_t tokens[TTEI_ABREAST];
        float steps[TTEI_ABREAST], sums[TTEI_ABREAST];
        const size_t now = ttei_min(count - i, TTEI_ABREAST);
        size_t l;
        for (l = 0; l < now; ++l) tokens[l] = (uint32_t)(first + i + l);
        ttei_abreast(t, tokens, now, query->quick, steps, part->strip);
        ttei_product(1, t->numbers, TTEI_ABREAST, query->vector, 1, 1, part->strip, TTEI_ABREAST, sums,
                     TTEI_ABREAST);
        for (l = 0; l < now; ++l) out[i + l] = query->mean + steps[l] * sums[l];
    }
#endif
    for (; i < count; ++i) out[i] = ttei_table_score(t, first + i, query, part);
}

static void ttei_scores(const tte_table *t, const ttei_query *query, size_t first, size_t count, float *out,
                        float *scratch)
{
#if TTEI_READERS > 1
    const size_t len = ttei_part_len(t), together = ttei_together(t);
    const int pieces = (int)((count + TTEI_PIECE - 1) / TTEI_PIECE);
    int i;
#pragma omp parallel for schedule(dynamic, 1) num_threads(ttei_threads((size_t)pieces))
    for (i = 0; i < pieces; ++i) {
        const size_t at = (size_t)i * TTEI_PIECE;
        const ttei_part part = ttei_part_at(t, together, scratch + ttei_thread() * len);
        ttei_piece_scores(t, query, first + at, ttei_min(TTEI_PIECE, count - at), out + at, &part);
    }
#else
    const ttei_part part = ttei_part_at(t, ttei_together(t), scratch);
    ttei_piece_scores(t, query, first, count, out, &part);
#endif
}

tte_status tte_logits(const tte_table *t, const float *hidden, uint32_t first, uint32_t count,
                      float *out, float *scratch)
{
    ttei_common c;
    ttei_query query;
    tte_status status;
    if (t == NULL || hidden == NULL || out == NULL || scratch == NULL) return TTE_ERR_ARGUMENT;
    if (first > t->vocab || count > t->vocab - first) return TTE_ERR_RANGE;
    status = ttei_query_begin(t, hidden, scratch, &c, &query);
    if (status == TTE_OK) ttei_scores(t, &query, first, count, out, scratch);
    return status;
}

/* Whether candidate a ranks behind candidate b. */
static int ttei_behind(float score_a, uint32_t token_a, float score_b, uint32_t token_b)
{
    return score_a < score_b || (!(score_a > score_b) && token_a > token_b);
}

/* Puts a token in the place of the root of a heap of n, and moves it down to where it belongs; the root is
   the one that ranks last. */
static void ttei_sift(uint32_t *tokens, float *scores, size_t n, uint32_t token, float score)
{
    size_t at = 0, child;
    while ((child = 2 * at + 1) < n) {
        if (child + 1 < n &&
            ttei_behind(scores[child + 1], tokens[child + 1], scores[child], tokens[child]))
            ++child;
        if (!ttei_behind(scores[child], tokens[child], score, token)) break;
        tokens[at] = tokens[child];
        scores[at] = scores[child];
        at = child;
    }
    tokens[at] = token;
    scores[at] = score;
}

/* The output arrays are the heap, filled with what ranks behind every token. Tokens replace its root when
   they rank before it; at the end the roots, taken off one by one, stand in order from the back. */
tte_status tte_top_k(const tte_table *t, const float *query, uint32_t k, uint32_t *tokens,
                     float *scores, float *scratch)
{
    ttei_common c;
    ttei_query seen;
    tte_status status;
    const uint32_t lowest = 0xff800000u;  /* the bits of minus infinity */
    size_t token, i, chunk, n;
    if (t == NULL || query == NULL || tokens == NULL || scores == NULL || scratch == NULL || k == 0 ||
        k > t->vocab)
        return TTE_ERR_ARGUMENT;
    status = ttei_query_begin(t, query, scratch, &c, &seen);
    if (status != TTE_OK) return status;
    for (n = 0; n < k; ++n) {
        tokens[n] = 0xffffffffu;
        memcpy(scores + n, &lowest, sizeof lowest);
    }
    for (token = 0; token < t->vocab; token += chunk) {
        chunk = ttei_min(TTEI_CHUNK, t->vocab - token);
        ttei_scores(t, &seen, token, chunk, c.scores, scratch);
        for (i = 0; i < chunk; ++i) {
            uint32_t bits;
            float score = c.scores[i];
            memcpy(&bits, &score, sizeof bits);
            if ((bits & 0x7fffffffu) > 0x7f800000u) memcpy(&score, &lowest, sizeof score);  /* NaN */
            if (ttei_behind(scores[0], tokens[0], score, (uint32_t)(token + i)))
                ttei_sift(tokens, scores, k, (uint32_t)(token + i), score);
        }
    }
    for (n = k; n-- > 1;) {
        const uint32_t last = tokens[0];
        const float score = scores[0];
        ttei_sift(tokens, scores, n, tokens[n], scores[n]);
        tokens[n] = last;
        scores[n] = score;
    }
    return TTE_OK;
}

/* ================================================================================================
   FILES
   ============================================================================================= */
#ifndef TT_EMBED_NO_STDIO

#include <errno.h>
#include <stdio.h>
#if defined(__unix__) || defined(__APPLE__)
#define TTEI_POSIX
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __cplusplus
extern "C" {
#endif
int fsync(int);  /* strict C99 hides it, though the library has it */
#ifdef __cplusplus
}
#endif
#endif

/* Writes a file that must not exist yet, where that can be asked for through to the disk, and renames it to
   `path`. Returns 0, 1 when the name is taken, -1 on failure, with errno set and nothing left behind. */
#ifdef TTEI_POSIX

/* A lock shows that a writer is alive: the system takes it back from a process that was killed. Returns 1
   when it is held here now, 0 when another has it or the name means another file, -1 without such locks. */
static int ttei_lock_file(int file, const char *name)
{
#if defined(LOCK_EX) && !defined(_AIX)
    struct stat mine, named;
    if (flock(file, LOCK_EX | LOCK_NB) != 0) return errno == EWOULDBLOCK ? 0 : -1;
    if (fstat(file, &mine) != 0) return -1;
    if (stat(name, &named) != 0) return errno == ENOENT ? 0 : -1;
    return mine.st_dev == named.st_dev && mine.st_ino == named.st_ino && S_ISREG(mine.st_mode);
#else
    (void)file;
    (void)name;
    return -1;
#endif
}

/* Removes a file that a killed process left behind: the beginning of an image that nobody holds. */
static void ttei_remove_left(const char *name)
{
    unsigned char magic[8], head[8];
    const int file = open(name, O_RDWR | O_NONBLOCK);  /* some systems lock only what can be written */
    ssize_t have;
    if (file < 0) return;
    ttei_magic_put(magic);
    if (ttei_lock_file(file, name) > 0) {
        have = read(file, head, sizeof head);
        if (have >= 0 && memcmp(head, magic, (size_t)have) == 0) (void)remove(name);
    }
    (void)close(file);
}

/* Opens the folder of a file, whose name is as before afterwards; -1 with errno set on failure. */
static int ttei_open_folder(char *name)
{
    char *slash = strrchr(name, '/'), first;
    int folder;
    if (slash == NULL) return open(".", O_RDONLY);
    first = slash[1];
    slash[1] = 0;
    folder = open(name, O_RDONLY);
    slash[1] = first;
    return folder;
}

/* Whether an error of open or fsync says that this folder cannot go through to the disk, rather than that
   something failed: it may not be read, or the file system does not have that for folders. */
static int ttei_folder_unable(int error)
{
    return error == EACCES || error == EISDIR || error == EINVAL || error == EBADF || error == ENOTSUP ||
           error == ENOSYS;
}

static int ttei_write_file(char *name, const char *path, const void *data, size_t size)
{
    const unsigned char *p = (const unsigned char *)data;
    int file, folder = -1, bad, error;
    file = open(name, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (file < 0 && errno == EEXIST) {
        ttei_remove_left(name);
        file = open(name, O_WRONLY | O_CREAT | O_EXCL, 0666);
    }
    if (file < 0) return errno == EEXIST ? 1 : -1;
    if (ttei_lock_file(file, name) == 0) {  /* another process took it for one left behind */
        (void)close(file);
        return 1;
    }
    while (size > 0) {
        ssize_t done = write(file, p, size < 0x40000000u ? size : 0x40000000u);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) break;
        p += done;
        size -= (size_t)done;
    }
    bad = size > 0 || fsync(file) != 0;
    if (!bad) {
        folder = ttei_open_folder(name);
        bad = (folder < 0 && !ttei_folder_unable(errno)) || rename(name, path) != 0;
    }
    error = errno;
    if (bad) {
        (void)remove(name);
    } else if (folder >= 0 && fsync(folder) != 0) {  /* the name is another's to take by now */
        error = errno;
        bad = !ttei_folder_unable(error);
    }
    if (folder >= 0) (void)close(folder);
    (void)close(file);  /* after fsync it has nothing more to say */
    errno = error;
    return bad ? -1 : 0;
}

#else

static int ttei_write_file(char *name, const char *path, const void *data, size_t size)
{
    FILE *file = fopen(name, "rb");
    int bad, error;
    if (file != NULL) {
        (void)fclose(file);
        return 1;
    }
    file = fopen(name, "wb");
    if (file == NULL) return -1;
    bad = fwrite(data, 1, size, file) != size;
    bad = fclose(file) != 0 || bad;
    if (!bad && rename(name, path) != 0) {
        (void)remove(path);  /* elsewhere rename may refuse to replace a file */
        bad = rename(name, path) != 0;
    }
    error = errno;
    if (bad) (void)remove(name);
    errno = error;
    return bad ? -1 : 0;
}

#endif

tte_status tte_save(const char *path, const tte_image *image)
{
    char *name;
    size_t len;
    int attempt, written = 1, error;
    if (path == NULL || image == NULL || image->data == NULL || image->size == 0)
        return TTE_ERR_ARGUMENT;
    len = strlen(path);
    name = (char *)TT_EMBED_MALLOC(len + 8);
    if (name == NULL) return TTE_ERR_MEMORY;
    memcpy(name, path, len);
    for (attempt = 0; attempt < 100 && written == 1; ++attempt) {  /* 1: that name is taken */
        memcpy(name + len, ".tmp", 4);
        name[len + 4] = (char)('0' + attempt / 10);
        name[len + 5] = (char)('0' + attempt % 10);
        name[len + 6] = 0;
        written = ttei_write_file(name, path, image->data, image->size);
    }
    error = errno;
    TT_EMBED_FREE(name);
    errno = error;
    return written == 0 ? TTE_OK : TTE_ERR_IO;
}

/* The whole of an open file, from a pipe as well; stops early when it does not begin like an image. */
static tte_status ttei_read_all(FILE *file, tte_image *image)
{
    size_t capacity = 1 << 16, got;
    unsigned char *data = (unsigned char *)TT_EMBED_MALLOC(capacity), *larger;
    image->data = data;
    image->size = 0;
    if (data == NULL) return TTE_ERR_MEMORY;
    for (;;) {
        got = fread(data + image->size, 1, capacity - image->size, file);
        image->size += got;
        if (ferror(file)) return TTE_ERR_IO;
        if (image->size < capacity) return TTE_OK;
        if (!ttei_magic_good(data)) return TTE_ERR_FORMAT;
        capacity = ttei_mul(capacity, 2);
        larger = capacity == TTEI_SIZE_MAX ? NULL : (unsigned char *)TT_EMBED_MALLOC(capacity);
        if (larger == NULL) return TTE_ERR_MEMORY;
        memcpy(larger, data, image->size);
        TT_EMBED_FREE(data);
        image->data = data = larger;
    }
}

tte_status tte_load(const char *path, tte_image *out)
{
    tte_image image;
    tte_table t;
    FILE *file;
    int error;
    tte_status status;
    if (path == NULL || out == NULL) return TTE_ERR_ARGUMENT;
    file = fopen(path, "rb");
    if (file == NULL) return TTE_ERR_IO;
    status = ttei_read_all(file, &image);
    error = errno;
    (void)fclose(file);
    if (status == TTE_OK) status = tte_open(&t, image.data, image.size);
    if (status == TTE_OK) status = tte_verify(&t);
    if (status == TTE_OK)
        *out = image;
    else
        tte_free(&image);
    errno = error;
    return status;
}

#endif /* TT_EMBED_NO_STDIO */

/* No private macro leaves this file. */
#undef TTEI_ABREAST
#undef TTEI_AHEAD
#undef TTEI_ALIGN
#undef TTEI_ANS_BITS
#undef TTEI_ANS_LOW
#undef TTEI_ANS_TOTAL
#undef TTEI_APART
#undef TTEI_ASSERT
#undef TTEI_ATTEMPTS
#undef TTEI_AVX2
#undef TTEI_BITS_LESS
#undef TTEI_CANDIDATES
#undef TTEI_CENTROID
#undef TTEI_CHUNK
#undef TTEI_CLASSES
#undef TTEI_CLONES
#undef TTEI_CLONES_FUSED
#undef TTEI_CODES_FIXED
#undef TTEI_CODES_OF
#undef TTEI_CODE_LANES
#undef TTEI_ENTRIES_MAX
#undef TTEI_ESCAPE_BITS
#undef TTEI_FLAG_ADAPTED
#undef TTEI_GROUP
#undef TTEI_HEADER_FIXED
#undef TTEI_INLINE
#undef TTEI_JOIN
#undef TTEI_JOIN_
#undef TTEI_LAGRANGE
#undef TTEI_LANES
#undef TTEI_LANE_CUT
#undef TTEI_LANE_SIDE
#undef TTEI_LANE_SWEEPS
#undef TTEI_LANE_TINY
#undef TTEI_LENGTHS
#undef TTEI_LENGTHS_HEAD
#undef TTEI_LESS
#undef TTEI_MAGIC_HIGH
#undef TTEI_MAGIC_LOW
#undef TTEI_MAGNITUDES
#undef TTEI_N
#undef TTEI_OWN
#undef TTEI_NOINLINE
#undef TTEI_PARTS
#undef TTEI_PIECE
#undef TTEI_POSIX
#undef TTEI_PRIOR
#undef TTEI_PRODUCT_FUSED
#undef TTEI_QUAD
#undef TTEI_QUANTIZERS
#undef TTEI_QUICK
#undef TTEI_QUICK_ESCAPE
#undef TTEI_QUICK_SEVERAL
#undef TTEI_QUICK_SIGN
#undef TTEI_QUICK_SMALL
#undef TTEI_RANGE
#undef TTEI_RAW_BITS
#undef TTEI_READERS
#undef TTEI_ROWS
#undef TTEI_RUNS
#undef TTEI_SAMPLE
#undef TTEI_SCAN
#undef TTEI_SCAN_BLOCK
#undef TTEI_SCAN_FLUSH
#undef TTEI_SECTIONS
#undef TTEI_SECTION_ALIGN
#undef TTEI_SECTION_BYTES
#undef TTEI_SELECT
#undef TTEI_SIGNED_LANES
#undef TTEI_SIZE_MAX
#undef TTEI_STATES
#undef TTEI_STEPS
#undef TTEI_STRIP
#undef TTEI_SUM_TOP
#undef TTEI_SVD_SWEEPS
#undef TTEI_TABLES
#undef TTEI_TAILS
#undef TTEI_TILE
#undef TTEI_TOGETHER
#undef TTEI_UNFUSED
#undef TTEI_WIDEN
#undef TTEI_WIDTH
#undef TTEI_WINDOW

#endif /* TTEI_REAL */
#endif /* TTEI_IMPLEMENTED */
#endif /* TT_EMBED_IMPLEMENTATION */
