/* tt_embed.h - token-embedding tables as tensor trains: small files, rows on demand
   Version 0.2.0, MIT licence (see LICENSE)

==================================================================================================
WHAT IT DOES
==================================================================================================

   A language model begins with a table: one row of `dim` float32 numbers for every token.
   This header turns the table into a smaller image (one block of bytes, which is also the
   file) and reads rows, inner products and scores straight from that image, without ever
   rebuilding the table. It needs a C99 or C++11 compiler, libc and libm. It does not train models.

   Two layouts. One train for the whole table (TTE_PER_TABLE, the default): a basis that all
   tokens share, and for each token a record of trellis-coded coefficients. It is well ahead of
   integer rounding at equal bytes. And a train for each row (TTE_PER_TOKEN, the layout of the
   TensorGPT paper), which keeps rows independent, and on rows without structure loses most of
   their norm at 3x, where plain 8-bit rounding loses one per cent at 4x: show it, measure it, and
   take the other one where bytes matter. examples/gpt2_demo.c measures both on a model.

   It is not a neural-network library, not a vector database, and not made for tables of a few
   rows: what rows share (a mean, a basis) has to be paid by many.

==================================================================================================
QUICK START
==================================================================================================

   Exactly one source file defines TT_EMBED_IMPLEMENTATION before the include; all others
   include the header plainly. A program to try, cc -O2 -I. quick.c -lm:

       #define TT_EMBED_IMPLEMENTATION
       #include "tt_embed.h"
       #include <stdio.h>
       #include <stdlib.h>

       static float table[4000 * 64], row[64];

       int main(void)
       {
           for (int i = 0; i < 4000 * 64; ++i)             // a table with some structure
               table[i] = (float)((i % 64 + 1) * (i / 64 % 97)) / 6208.0f;

           tte_image image;                                // NULL: one train, 8 times smaller
           tte_status status = tte_compress(table, 4000, 64, NULL, &image);
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
   IMAGE FORMAT         the .tte file, byte by byte, and what a reader computes
   METHOD               what is computed, with references
   API                  every public name and its contract
   THE READER, bytes to rows:
     COMPILERS AND VECTOR UNITS             what is chosen when
     CHECKED ARITHMETIC AND BYTE ORDER      sizes that cannot wrap, bytes to numbers
     IMAGE LAYOUT                           header, sections, checksums, tte_open
     CODE INTEGERS OF THE TRELLIS           records to integers, portable and by vectors
     TENSOR TRAINS                          contraction and inner product of cores
     LOOKUP AND PRODUCTS                    images to rows and scores
   THE WRITER, rows to bytes:
     VECTOR KERNELS                         dot, axpy, products, Gram matrices, Cholesky
     SINGULAR VALUE DECOMPOSITION           Householder bidiagonalization, QR steps, division of large ones
     TT-SVD                                 decomposition, records of TTE_PER_TOKEN
     MANY ROWS AT ONCE                      the same for eight rows in the lanes of a vector
     TRELLIS ENCODER                        Viterbi search, tail-biting
     LEARNING WHAT ROWS SHARE               moments, centroids, basis, classes
     WRITING IMAGES                         rows to records to images; append, replace, merge, shrink
     FILES                                  save and load

==================================================================================================
CONFIGURATION
==================================================================================================

   All of them stand before the first include of the header. int and size_t have 32 bits or more.

   TT_EMBED_IMPLEMENTATION    compile the bodies here (in one file of the program)
   TT_EMBED_STATIC            with the bodies: every function static, a private copy in this file
   TT_EMBED_READ_ONLY         only the reader, at full speed: no compression, no SVD, no heap, no
                              stdio, no libm
   TT_EMBED_DECODE_ONLY       as that, portable code only, the smallest object, no double arithmetic
   TT_EMBED_NO_STDIO          no tte_write, tte_save and tte_load
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
   G2  Work. Time of tte_open and tte_verify is in proportion to the image, that of reading calls to image and output, with
       TTE_PER_TOKEN times the largest rank. Memory of append, replace, merge, shrink and `like` is bounded by the bytes
       of images, rows and output, time by these times dim + 2^L, L the bits of a trellis state; rows of tte_shrink are
       all that the image holds. Nothing waits for a value that may never come. Scratch is at most 16 dim + 1024 floats.
       [fuzz/fuzz.h fuzz_check_work, fuzz/fuzz_open.c fuzz_one, fuzz/fuzz_grow.c fuzz_one, test_grow.c small_images]
   G3  Notice. One bit turned anywhere is noticed by tte_open or tte_verify; so is a missing or an added byte.
       [test_golden.c every_turned_bit_is_noticed, test_golden.c one_byte_more]

   Of every call:
   G4  Outputs are written only when the status is TTE_OK.
       [test_faults.c each_call_fails, test_grow.c memory_that_runs_out, test_table.c bad_options]
   G5  An allocator that says no, at whichever request, gives TTE_ERR_MEMORY, and nothing is left allocated.
       [test_grow.c memory_that_runs_out, test_faults.c memory_that_runs_out]
   G6  NaN and infinity in the input give TTE_ERR_NOT_FINITE, found by their exponent bits, also where
       -ffast-math makes comparisons say otherwise. [test_table.c not_finite, test_svd.c not_finite]
   G7  Sizes are computed with 64-bit or checked arithmetic; what does not fit is refused, and the largest
       that does is not. [test_limits.c tables_up_to_the_limit, test_large.c rows_beyond_all_small_numbers]
   G8  tte_write and tte_save leave the old file or the new one under its path, whole, whenever the process is killed and
       whoever else writes there; on POSIX systems also when power fails, and after TTE_OK it is the new one, as far as
       the folder's file system can promise it. Only plain files are replaced, and only where that is asked for.
       [test_faults.c killed_at_any_moment, test_faults.c each_call_fails, test_faults.c disk_before_name,
       test_faults.c three_at_a_time, test_faults.c without_replacing, test_faults.c only_plain_files]
   G9  Threads. Reading calls are pure functions of a const tte_table and the caller's scratch: any number of
       threads may share one table, each with scratch of its own. [test_threads.c readers_share_a_view]
   G10 The same input gives the same image with one toolchain, whatever the number of threads. An image
       gives the same rows on every machine, bit for bit, where float is not evaluated in a wider type; scores may
       differ in their last bits.
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
IMAGE FORMAT, version 2
==================================================================================================

   All numbers are little-endian, unsigned unless marked. f32 and f64 are IEEE 754, bf16 is the upper half
   of an f32. Nothing is aligned.

     offset  bytes
        0      8   magic: 89 54 54 45 0D 0A 1A 0A ("\x89TTE\r\n\x1A\n")
        8      4   CRC-32 (IEEE 802.3) of the header from offset 12 to its end
       12      2   version: 2
       14      1   layout (tte_layout)
       15      1   coding (tte_coding)
       16      1   d, the number of modes; 0 for TTE_PER_TABLE
       17      1   number of sections
       18      2   flags: bit 0, ranks adapted to each row (TTE_PER_TOKEN with eps and a bond)
       20      4   dim
       24      8   vocab; 0 only for TTE_PER_TABLE
       32      8   size of the whole image
       40      4   max_rank of the options that made it, 0 for none; 0 for TTE_PER_TABLE
       44      4   eps of the options that made it, f32, 0 for none; 0 for TTE_PER_TABLE
       48      8   largest relative error of a row, f64
       56     32   sum of |row|^2: an ordered sum as below
       88     32   sum of |row - row^|^2: an ordered sum
      120     32   the first in weights and metric, sum of w row M row': an ordered sum
      152     32   the second in weights and metric: an ordered sum
     TTE_PER_TOKEN:
      184    4+8d  r[0] = 1, then n[k], r[k] for k = 1..d: modes and the largest rank at each bond
     TTE_PER_TABLE:
      184      4   r, coefficients of a row, at most dim
      188      4   K, centroids: 0, 1 or 2^b up to 65536, at most 8 dim + 256
      192      1   L, bits of a trellis state, 8 to 16
      193      1   effort of the options, 1 to 9
      194      1   C, classes, 1 to 64
      195      1   G, bits of a row's gain, 0 to 4
      196      4   for writers: weight of a row whose weight is not given, f32
      200      2   E, signed, -200 to 200: rows are 2^E times what the rest says
      202      2   for writers: water level, bf16
      204      4   zeros
     both:
       ..     24   for each section: offset (8), size (8), CRC-32 of its bytes (4), kind (4)

   An ordered sum is an exponent e (4, signed), four zero bytes and three 8-byte integers b0,
   b1, b2; its value is b0 * 2^(32 e) + b1 * 2^(32 (e-1)) + b2 * 2^(32 (e-2)). Adding up in this
   form gives the same bits in any order, so that shards merge exactly.

   Sections follow the header and each other without gaps, in rising order of their kinds; behind the last one
   come 32 zero bytes, the end of the image. TTE_PER_TOKEN has 1 and, with flag bit 0, 2; TTE_PER_TABLE has 3 and
   4, with K > 1 also 5, with vocab > 0 also 1 and 2.

   TTE_PER_TOKEN, kind 1, records: one for each token, without gaps: the d cores of the train, G_1 first. For I8 and
     I4 first one float16 scale for each core; then all core entries: F32 4 bytes, F16 2 bytes, I8 one signed byte
     (entry = scale * code), I4 half a byte, low half first (entry = scale * (code - 8)), the last byte filled with
     zero bits.
   TTE_PER_TOKEN, kind 2, index: for every 16 tokens 8 bytes, the offset of the first of their records within section
     1, then for each of these tokens r[1] .. r[d-1], one byte each, or two where a bond of this shape can exceed 255
     (under max_rank, where set).

   TTE_PER_TABLE: runs and records. n coefficients are coded in runs; a run has a rate (1), a count (2) and a spread
     (1). Coefficients behind the last run are 0.
       rate h < 128: h/2 bits a coefficient by the trellis; h is 0 (no bits, coefficients are 0), 1 to 8, 10, 12, 14 or
         16. h even: a step takes k = h/2 bits and gives one coefficient. h odd: k = h bits, two coefficients, and the
         count is even; step i of the run gives coefficients i and count/2 + i of it.
       rate 128 + k: plain codes of k bits, 2 to 14. Runs of plain codes come before those of the trellis.
       spread = 2^((byte - 128) / 8), the f32 nearest to 2^(i/8) at eight digits (ttei_spread) times a power of two.
     A record is first the plain codes, k bits each, lowest bit first, in order, filled with zero bits to a whole byte;
     then the circle of the trellis: N bits, the bits of all steps, filled to a multiple of 8; N is 0 or at least 16.
     Bit i is bit i mod 8 of byte i / 8. The state of the first step is bits 0 to L-1, bit 0 lowest; each further
     step's state begins k bits further on, k being its own bits; positions count modulo N. A state s stands for
         t = byte sum of (A s + B mod 2^32) - 510,    A = 2339688529, B = 1818127173,
     and the second coefficient of a step for the same with A = 441949745, B = 3125967622. A plain code u of k bits
     stands for t = 2 u + 1 - 2^k. T, the bound of |t|, is 510, or 2^k for plain codes, and 0 at rate 0.

   kind 3, classes: 2^G gains, bf16; then C classes, and behind them with K > 1 that of the centroids. A class: level
     (2; for writers: weight * energy of its rows is at least 2^(level/64 - 32) where they have outliers, 2^(level/64 - 96)
     elsewhere), scale (bf16), number of runs (1, at most 24), the runs. Records of a class have the length that its runs say.
   kind 4, basis: number of runs (1), runs of 4 bytes: rate above 0, count, 0. They count rows of the basis, r of them, with
     K > 0 one more before these, the mean row. Then a scale for each row, bf16; then the rows, each a record of one
     run of its rate and dim coefficients (h odd and dim odd: one more, which is dropped). Entry = scale * t.
   kind 5, centroids: K records of their class, the coefficients of the centroids.
   kind 2, index: for every 128 tokens a block; of n tokens (n = 128 but in the last): offset of the first record in
     section 1, in as many bytes as hold that section's size; then n classes of as many bits as hold C - 1, filled to a
     byte; n gains of G bits, the same; n centroids of b bits, the same. Lowest bits first.
   kind 1, records: one for each token, without gaps.

   What a row of TTE_PER_TABLE is, exactly. f(x) is x rounded to f32, nearest even; nothing is fused.
     g = f(scale of the class * gain).  z_j = f(t_j * f(g * spread)), 0 behind the runs. With K > 1 the same of the
     row's centroid, with g = the scale of its class, is added: z_j = f(centroid_j + z_j).
     a_j = f(z_j * scale of basis row j); for the mean row a = its scale.
     m = max |a_j|. The row is zero where m is 0 or m or 32767 / m is not finite.
     q_j = f(f(a_j * f(32767 / m)) + h), h = 1/2 with the sign of a_j, cut to an integer.
     S = sum of |q_j| T_j;  e the least with floor(S / 2^e) < 2^31;  q_j := sign(q_j) floor(|q_j| / 2^e).
     row[c] = f(f(sum over j of q_j t_jc) * f(f(m / 32767) * 2^e)) * 2^E, t_jc the code of entry c of basis row j, mean row
     included; the sum is an integer below 2^31; 2^E is applied as 2^(E/2), E/2 towards zero, then as the rest of it,
     rounded to f32 both times.
   The same of TTE_PER_TOKEN: each product and each sum is rounded to f32, sums run from zero on in the order of their
     index. m is the largest of 1 .. d-1 with (n1 .. nm)^2 <= n1 .. nd, or 1. Left = G_1, then left * G_k for k = 2 .. m;
     right = G_d, then G_k * right for k = d-1 .. m+1; the row is the first dim entries of left * right.
   Scores are free to round: out[t] = sum over j of z_j <h, B_j> + <h, mean>.

==================================================================================================
METHOD
==================================================================================================

   TTE_PER_TOKEN. A row x, padded with zeros to n1*..*nd entries and reshaped, is a tensor; TT-SVD writes it as
       x[i1, .., id] = G1[1, i1, :] G2[:, i2, :] .. Gd[:, id, 1],
   a matrix product state. The left-to-right sweep takes one singular value decomposition per
   bond, keeps the leading r[k] left singular vectors as G_k and passes diag(s) V^T on.

   TTE_PER_TABLE. The whole table is a train of two cores, the token as its first mode:
       row t ~ mean + (c[m(t)] + z(t)) B,
   B (r x dim) a basis that all rows share, c[m] one of K centroids. Made small is the sum over t of w[t] e M e', e the
   error of row t, w its weight, M the metric. With S = M^(1/2), B = U' S^-1, U the leading eigenvectors of the
   weighted covariance of (rows - centroids) S: then coefficients are not correlated, and their errors add up. B
   is coded coarsely, and coefficients are taken with respect to what the code made of it, so that where r = dim its
   rounding costs next to nothing (ttei_model_dual, ttei_plan_basis_rates).
   Bits follow reverse water-filling [CT06, 10.3.3]: a coefficient of variance v gets log2(v/D)/2 bits where v > D, none
   elsewhere. Rows fall into classes by weight * energy; a class gives each coefficient its rate, from a closed form,
   so that a byte budget is met without trial runs. Coefficients are trellis-coded [MF90] on the bitshift trellis of
   QTIP [Tse24]: the state is the last L bits of the record, the value a hash of the state that is nearly Gaussian; the
   encoder finds the best path by the Viterbi algorithm [For73], closed to a circle [MW86]. All records of a class have
   the same length, nothing is entropy-coded, and any coefficient can be decoded alone.

   [Ose11]  I. V. Oseledets, Tensor-train decomposition, SIAM J. Sci. Comput. 33(5), 2011
   [Xu23]   M. Xu, Y. L. Xu, D. P. Mandic, TensorGPT, arXiv 2307.00526
   [CT06]   T. M. Cover, J. A. Thomas, Elements of Information Theory, 2nd ed., 2006
   [Tse24]  A. Tseng, Q. Sun, D. Hou, C. De Sa, QTIP, NeurIPS 2024, arXiv 2406.11235
   [MF90]   M. W. Marcellin, T. R. Fischer, Trellis coded quantization of memoryless and
            Gauss-Markov sources, IEEE Trans. Commun. 38(1), 1990
   [For73]  G. D. Forney, The Viterbi algorithm, Proc. IEEE 61(3), 1973
   [MW86]   H. H. Ma, J. K. Wolf, On tail biting convolutional codes, IEEE Trans. Commun. 34(2), 1986
   [LBG80]  Y. Linde, A. Buzo, R. Gray, An algorithm for vector quantizer design,
            IEEE Trans. Commun. 28(1), 1980
   [GVL]    G. H. Golub, C. F. Van Loan, Matrix Computations, 4th ed., 2013
   [DK90]   J. Demmel, W. Kahan, Accurate singular values of bidiagonal matrices,
            SIAM J. Sci. Stat. Comput. 11(5), 1990
   [GE95]   M. Gu, S. C. Eisenstat, A divide-and-conquer algorithm for the bidiagonal SVD,
            SIAM J. Matrix Anal. Appl. 16(1), 1995, 79-92
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
#if !defined(TT_EMBED_NO_STDIO) && !defined(TT_EMBED_READ_ONLY) && !defined(TT_EMBED_DECODE_ONLY)
#include <stdio.h>
#endif

#define TTE_VERSION 0x000200  /* major << 16 | minor << 8 | patch */

#if defined(TT_EMBED_DECODE_ONLY) && !defined(TT_EMBED_READ_ONLY)
#define TT_EMBED_READ_ONLY
#endif
#if defined(TT_EMBED_READ_ONLY) && !defined(TT_EMBED_NO_STDIO)
#define TT_EMBED_NO_STDIO
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
                             const int32_t *ranks_b, const float *cores_b, float *result, float *scratch);

#ifndef TT_EMBED_READ_ONLY

/* A bound on tte_core_len for any train of this shape with ranks up to max_rank (0: no cap). */
TTE_API size_t tte_core_cap(const tte_shape *shape, int max_rank);

/* Bytes of `work` for tte_decompose; 0 for an invalid shape. */
TTE_API size_t tte_decompose_work(const tte_shape *shape);

/* TT-SVD [Ose11, Alg. 1].
     x         in,  prod(dim) floats, row-major, first mode slowest
     max_rank  no bond gets more; 0: no cap
     eps       0: ranks are as large as cap and shape allow. Otherwise the smallest ranks with
               |x - x^| <= eps*|x|, where the error allowed to the bonds still to come is what the bonds before left
               over; rounding is inside eps from eps = 1e-5 on. A cap that cuts deeper wins over eps.
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
   Method: Householder bidiagonalization [GVL 5.4.8], implicit-shift QR [GVL 8.6.3] with zero shifts and the stopping
   criteria of [DK90]; with vectors, from k = 40 on, division of the bidiagonal matrix [GE95]. The matrix is scaled by a
   power of two first, so that entries from the smallest to the largest finite number are safe.
   Accuracy (tests/test_svd.c): |a - u s vt| / (|a| max(rows, cols) ulp), |I - u'u| / (rows ulp) and
   |I - vt vt'| / (cols ulp) below 6; of an upper bidiagonal matrix every singular value to a
   relative error of order n ulp, where u and vt are NULL or k < 40, else to n ulp of the largest.
   Cost: about 4 m n^2 - 4/3 n^3 flops for values, with vectors 8 m n^2 + 5 n^3. */
TTE_API size_t tte_svd_f32_work(int rows, int cols);
TTE_API tte_status tte_svd_f32(int rows, int cols, const float *a, float *u, float *s, float *vt, void *work);
TTE_API size_t tte_svd_f64_work(int rows, int cols);
TTE_API tte_status tte_svd_f64(int rows, int cols, const double *a, double *u, double *s, double *vt, void *work);

#endif /* TT_EMBED_READ_ONLY */

/* ---- half precision ------------------------------------------------------------------------------ */

/* dst[i] = the float32 of a float16 (1 sign, 5 exponent, 10 fraction bits) or of a bfloat16 (the upper half of a
   float32): exact, NaN and infinity included.
     src  in,  `count` numbers in this machine's byte order, any alignment of 2
     dst  out, `count` floats; may not overlap src. */
TTE_API void tte_from_f16(const uint16_t *src, size_t count, float *dst);
TTE_API void tte_from_bf16(const uint16_t *src, size_t count, float *dst);

/* ---- layouts, codings, images ------------------------------------------------------------------ */

typedef enum tte_layout {
    TTE_LAYOUT_AUTO = 0, /* TTE_PER_TABLE; TTE_PER_TOKEN where shape or max_rank is set               */
    TTE_PER_TABLE = 1,   /* one train of two cores for the whole table: a basis that all tokens share,
                            and for each token a record of coefficients that decodes on its own        */
    TTE_PER_TOKEN = 2    /* every row its own train [Xu23]: rows stay independent                     */
} tte_layout;

typedef enum tte_coding {
    TTE_CODING_AUTO = 0, /* TTE_TRELLIS for TTE_PER_TABLE; for TTE_PER_TOKEN what does best on a sample */
    TTE_F32 = 1,         /* core entries as float32; this and the next three are TTE_PER_TOKEN's      */
    TTE_F16 = 2,         /* as float16, round to nearest even                                         */
    TTE_I8 = 3,          /* codes -127..127, a scale for each core                                    */
    TTE_I4 = 4,          /* codes -7..7, two in a byte, a scale for each core                         */
    TTE_TRELLIS = 5      /* trellis-coded coefficients, 0 to 14 bits each; TTE_PER_TABLE only         */
} tte_coding;

typedef struct tte_image {   /* owned bytes; written to a file as they are, they are the .tte file */
    void  *data;
    size_t size;
} tte_image;

/* A view into an image that the caller keeps: owns nothing, may be copied. Its members are for the
   library; read them through tte_get_info. */
typedef struct tte_table {
    const unsigned char *data, *records, *index;     /* index: NULL when all records have one size   */
    const unsigned char *classes, *basis, *centroids;  /* sections of TTE_PER_TABLE                  */
    size_t  size, vocab, records_size;
    size_t  record_size;                             /* of TTE_PER_TOKEN without an index; of a centroid */
    size_t  numbers, core_entries;                   /* core entries of a row, at most; of all rows  */
    float   eps;
    int32_t dim, max_rank;
    uint32_t index_entry;                            /* bytes of a token's ranks                     */
    tte_layout layout;
    tte_coding coding;
    int32_t rank, basis_rows, centroid_count, class_count;  /* TTE_PER_TABLE                         */
    int32_t state_bits, exponent;
    uint8_t class_bits, gain_bits, centroid_bits, offset_bytes;
    tte_shape  shape;
    int32_t ranks[TTE_MAX_MODES + 1];                /* largest at each bond                         */
} tte_table;

#ifndef TT_EMBED_READ_ONLY

/* ---- compressing a table ------------------------------------------------------------------------ */

/* Called now and then with a fraction rising to 1; non-zero stops with TTE_ERR_CANCELLED. */
typedef int (*tte_progress_fn)(void *user, double fraction);

/* Write `count` rows from `first` to dst (count x dim). May be asked for the same rows again.
   Returns 0, or non-zero when it cannot (then TTE_ERR_IO). Called from one thread. */
typedef int (*tte_rows_fn)(void *user, size_t first, size_t count, float *dst);

typedef struct tte_options {       /* NULL or zeros: one train for the table, 8 times smaller       */
    tte_layout layout;
    tte_coding coding;
    float      ratio;              /* at least this many times smaller than float32, every byte of the
                                      image counted, at the smallest error the library can reach there.
                                      0: 8, unless eps says how much                                */
    float      eps;                /* bound on the relative error of what lookup returns: the table's, in
                                      weights and metric (TTE_PER_TABLE), or every row's (TTE_PER_TOKEN);
                                      with ratio 0 the smallest image found that meets it            */
    tte_shape  shape;              /* TTE_PER_TOKEN; modes == 0: the library chooses                */
    int32_t    max_rank;           /* TTE_PER_TOKEN; 0: no cap                                      */
    int32_t    effort;             /* TTE_PER_TABLE, 1 (fast) .. 9 (smallest error); 0: 5; reading is as
                                      fast at every effort                                          */
    const float *row_weight;       /* TTE_PER_TABLE: vocab numbers > 0, or NULL: all 1              */
    const float *metric;           /* TTE_PER_TABLE: dim x dim, symmetric, positive semidefinite, or
                                      NULL: identity. Made small is the sum of weight * e metric e'  */
    const struct tte_table *like;  /* TTE_PER_TABLE: basis, centroids and classes of this image; ratio,
                                      eps and effort stay 0. Such images can be merged              */
    tte_progress_fn progress;      /* NULL: none                                                    */
    void           *progress_user;
} tte_options;

/* Compress a table into a new image; free it with tte_free.
     table    in,  vocab x dim
     rows     or a callback that brings rows; the library holds a few thousand of them at a time, never the table
     options  NULL: all zero
     out      out, written only on success; after TTE_ERR_BUDGET data is NULL and size the bytes of the smallest
              image that would do
   TTE_PER_TABLE: row ~ centroid + z B by [CT06, ch. 10], see METHOD; the rows are read four to nine times, more where a
   budget or eps is tried again. Without weights and metric the squared error of the table is made small; with them that
   of the scores of vectors whose second moment is the metric. A ratio is met exactly, from closed forms; eps by encoding
   again, where the first try missed it.
   With `like`, rows are coded as its rows were: tte_train and then encoding shards with `like` and tte_merge give byte
   for byte the image of tte_compress with the same options (metric and row weights given to both).
   TTE_PER_TOKEN: with max_rank or ratio every row gets the same ranks; with eps each row gets the smallest ranks that
   meet it. Given eps and a ratio or a cap, all must hold, or TTE_ERR_BUDGET. F16, I8 and I4 hold rows whose norm is
   within about 1e-4^d .. 1e4^d (d modes): larger ones are TTE_ERR_BUDGET, smaller ones lose digits and at last become
   zeros, which the recorded errors show.
   Cost, TTE_PER_TABLE: dim^2 multiplications a row and pass, up to 96 for each centroid, and for each coefficient a search
   through 2^(7 + effort) states, 2^8 to 2^16; three eigenproblems of dim x dim. Memory: the image, 13 dim x dim doubles,
   64 MB, 1 MB a thread.
   Returns TTE_OK, TTE_ERR_ARGUMENT (also a metric that is not finite, not symmetric to 1e-5 of its largest entry, or has
   an eigenvalue below -1e-5 of its largest), TTE_ERR_SHAPE (modes do not cover dim; vocab beyond 2^32 - 1, dim beyond
   2^31 - 1, for TTE_PER_TABLE beyond 16,384), TTE_ERR_NOT_FINITE, TTE_ERR_MEMORY, TTE_ERR_BUDGET, TTE_ERR_CANCELLED,
   TTE_ERR_CONVERGENCE, and for rows TTE_ERR_IO. A NaN in the table comes before a budget that cannot be met.
   The same rows and options give the same bytes with one toolchain, on any number of threads. */
TTE_API tte_status tte_compress(const float *table, size_t vocab, size_t dim,
                                const tte_options *options, tte_image *out);
TTE_API tte_status tte_compress_rows(tte_rows_fn rows, void *user, size_t vocab, size_t dim,
                                     const tte_options *options, tte_image *out);

/* An image of no rows that holds all that rows share: what compression of these `vocab` rows learns before it encodes,
   basis, centroids, classes and the budget of each. tte_compress_rows is tte_train, then encoding each row like it.
   TTE_PER_TABLE only. Returns as tte_compress_rows. */
TTE_API tte_status tte_train(tte_rows_fn rows, void *user, size_t vocab, size_t dim,
                             const tte_options *options, tte_image *out);

/* The same from a sample, for tables that one machine should not read whole: `rows` brings `count` rows drawn at random
   from a table of `vocab`, options->row_weight has count weights, and the ratio is that of vocab rows, as many in each
   class as the sample lets expect. Then each machine counts rows of its own by level with tte_count, levels are summed,
   and tte_fit makes the ratio exact. What the sample does not show, rows or entries hundreds of times larger than all
   others, is coded badly. Cost as tte_train of count rows. Returns as that, TTE_ERR_ARGUMENT also for eps. */
TTE_API tte_status tte_train_sample(tte_rows_fn rows, void *user, size_t count, size_t vocab, size_t dim,
                                    const tte_options *options, tte_image *out);

/* levels[i] += how many of these rows are at level i of weight * energy, which decides their class: 64 an octave, the
   lower half for rows with outliers, the upper one for all others; the middle of either stands for 1.
     options  in, `like` is needed; row_weight and metric as for the rows' compression
     levels   in, out, TTE_LEVELS numbers, changed only on success
   Cost: dim * rank multiplications a row. Returns as tte_compress_rows, but no TTE_ERR_BUDGET. */
#define TTE_LEVELS 8192
TTE_API tte_status tte_count(tte_rows_fn rows, void *user, size_t vocab, size_t dim, const tte_options *options,
                             uint64_t *levels);

/* An image of no rows like `like`, whose classes begin at other levels, so that a table of rows with these levels, coded
   like it, is `ratio` times smaller than float32 or a little more. Returns TTE_OK, TTE_ERR_ARGUMENT (also for no rows),
   TTE_ERR_SHAPE (beyond 2^32 - 1), TTE_ERR_MEMORY, TTE_ERR_BUDGET as tte_compress: all rows in the smallest classes are
   too large. */
TTE_API tte_status tte_fit(const tte_table *like, const uint64_t *levels, float ratio, tte_image *out);

/* Free an image and set it to {NULL, 0}; NULL and a freed image are harmless. */
TTE_API void tte_free(tte_image *image);

/* ---- growing, joining, shrinking: a new image from an image -------------------------------------- */

/* The table with `count` rows more at its end.
     row_weight  in, count numbers > 0, or NULL: as most rows of the table have (TTE_PER_TABLE); TTE_PER_TOKEN: not used
   TTE_PER_TOKEN: the same bytes as compressing all rows at once with those settings. TTE_PER_TABLE: the same bytes as
   compressing all rows with `like` (without a metric, which images do not keep: coefficients of the new rows make
   the plain error small within the basis, and their errors are recorded so). Rows unlike all that came before lose more, and the recorded
   errors show it. Returns as tte_compress, TTE_ERR_BUDGET for rows beyond the range of a per-token coding. */
TTE_API tte_status tte_append(const tte_table *t, const float *rows, size_t count, const float *row_weight,
                              tte_image *out);

/* The table with one row replaced; row_weight 0: as most rows have. What the old row had contributed to the recorded
   errors is not known any more; they become upper bounds. Returns as tte_append, and TTE_ERR_RANGE. */
TTE_API tte_status tte_replace(const tte_table *t, uint32_t token, const float *row, float row_weight, tte_image *out);

/* Shards of one table, in order, into one image: the same bytes as compressing it whole, TTE_PER_TABLE with the same
   `like`.
     parts  in, `count` tables with equal dim, coding, shape, max_rank and eps, and without eps equal ranks;
            TTE_PER_TABLE: with the same basis, centroids and classes; else TTE_ERR_ARGUMENT
   Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_SHAPE (too many rows, or an image beyond the scratch of readers),
   TTE_ERR_MEMORY. */
TTE_API tte_status tte_merge(const tte_table *parts, size_t count, tte_image *out);

/* A smaller image from an image, without the table: compressed anew from what t holds, with these options (ratio, eps,
   weights, metric, effort; another layout or coding as well). The recorded errors become upper bounds on
   what is lost against the first table: what t records and what is lost anew.
   Returns as tte_compress. */
TTE_API tte_status tte_shrink(const tte_table *t, const tte_options *options, tte_image *out);

#endif /* TT_EMBED_READ_ONLY */

/* ---- reading: the file is the structure --------------------------------------------------------- */

typedef struct tte_info {
    size_t vocab, dim, bytes;        /* bytes: the whole image                                       */
    tte_layout layout;
    tte_coding coding;
    tte_shape shape;                 /* TTE_PER_TOKEN; else no modes                                 */
    int32_t ranks[TTE_MAX_MODES + 1];  /* TTE_PER_TOKEN: largest at each bond                        */
    int32_t rank, centroids, classes, effort;  /* TTE_PER_TABLE: coefficients a row, row centroids, classes
                                        of rows, the option                                          */
    double ratio;                    /* vocab*dim*4 / bytes                                          */
    double mean_numbers;             /* core entries per token, the papers' count; those of the basis included */
    double rel_error;                /* |W - W^|_F / |W|_F of the rows that tte_lookup gives, measured in
                                        double at compression                                        */
    double weighted_error;           /* the same in weights and metric, whose x M x' are sums of dim floats,
                                        rounded by dim 6e-8 |x|^2 trace(M) at most; equal to rel_error
                                        without                                                      */
    double max_row_error;            /* the worst row's relative error                               */
} tte_info;

/* Open an image in place: no allocation, no copy. Safe on untrusted bytes; rows may be garbage.
     data  in, `size` bytes at any alignment, unchanged as long as t is used
   After TTE_OK no call reads or writes outside its buffers, and every call ends in time bounded by size and its own
   output, whatever the bytes are. Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_FORMAT (also for bytes after the image's
   end), TTE_ERR_VERSION, TTE_ERR_TRUNCATED (also for any 7 bytes or fewer), TTE_ERR_CHECKSUM (of the header).
   Reads the header, the index and what rows share; no record, no entry of the basis. */
TTE_API tte_status tte_open(tte_table *t, const void *data, size_t size);

/* Checksums of all sections. Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_CHECKSUM. Reads every byte. */
TTE_API tte_status tte_verify(const tte_table *t);

/* What the header records. Returns TTE_OK, TTE_ERR_ARGUMENT. */
TTE_API tte_status tte_get_info(const tte_table *t, tte_info *info);

/* Floats of scratch that are enough for any call below, for one caller; at most 16 * dim + 1024. */
TTE_API size_t tte_scratch_len(const tte_table *t);

/* One row.
     row      out, dim floats
     scratch  tte_scratch_len floats
   TTE_PER_TABLE: bit for bit the same on every machine (IMAGE FORMAT says how). Rounding of the coefficients to 15 bits adds
   at most about 3e-4 of the row's norm to what compression lost; errors that images record include it.
   Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_RANGE. Cost: decoding the record, then the whole basis, dim * rank
   multiplications of 16-bit integers. */
TTE_API tte_status tte_lookup(const tte_table *t, uint32_t token, float *row, float *scratch);

/* rows[i] = the row of tokens[i], bit for bit as tte_lookup gives it; `count` may be 0.
     rows  out, count x dim. Returns as tte_lookup; no row is written if any token is out of range.
   TTE_PER_TABLE: rows share the decoding of the basis, and rows not yet written hold coefficients meanwhile, so that many
   rows at a time are much faster than as many calls of tte_lookup. A token that comes again among 512 is decoded once.
   (Where TT_EMBED_DECODE_ONLY is defined, it is tte_lookup for each token.) */
TTE_API tte_status tte_lookup_batch(const tte_table *t, const uint32_t *tokens, size_t count,
                                    float *rows, float *scratch);

/* *result = inner product of two rows as tte_lookup gives them, to float rounding. From the cores alone for TTE_PER_TOKEN
   where the modes' product is dim; else from the rows. (TT_EMBED_DECODE_ONLY: always from the rows.)
   Returns as tte_lookup. */
TTE_API tte_status tte_inner_tokens(const tte_table *t, uint32_t a, uint32_t b, float *result, float *scratch);

/* out[i] = <hidden, row first + i> for i < count: the output layer of a model with a tied table.
     hidden  in, dim floats;  out  out, count floats
   The vector is multiplied by the basis once, then by each record: no row is built, scores of centroids are computed once.
   A score differs from the product with the row that tte_lookup gives by that row's rounding (3e-4 of its norm and
   |hidden|, TTE_PER_TABLE) and float rounding. Returns as tte_lookup, TTE_ERR_RANGE when first + count exceeds vocab,
   TTE_ERR_NOT_FINITE.
   Cost for each token: its coefficients that have bits, after dim * rank once; TTE_PER_TOKEN about dim * r[1]. */
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

/* Puts the bytes of a file to `file`; returns 0, or non-zero to give up. */
typedef int (*tte_write_fn)(void *user, FILE *file);

/* Write a file whole or not at all: to a temporary file beside it (path.tte-tmp00 .. 99), which then gets its name.
     replace  0: where something has that name the status is TTE_ERR_IO, errno EEXIST. Else a plain file is
              replaced, its mode kept, and its owner where that is allowed; nothing else is (EISDIR, ENOTSUP)
   On POSIX systems the bytes go through to the disk first, and the path holds the old file or the new one, whatever
   happens to process or power, and whoever else writes it at the same time; what a killed process left behind, a later
   call for this path removes. Then the folder goes through to the disk, so that after TTE_OK the new file survives a
   power cut, too; not where the folder may not be read or its file system cannot do that, which is no error. When
   the disk fails only then, the status is TTE_ERR_IO and the path holds the new file.
   Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_MEMORY, TTE_ERR_IO. */
TTE_API tte_status tte_write(const char *path, int replace, tte_write_fn put, void *user);

/* Write an image so, in place of what has that name. Returns as tte_write. */
TTE_API tte_status tte_save(const char *path, const tte_image *image);

/* Read an image, verify it and, where table is not NULL, open a view into it; free the image with tte_free when the view
   is no longer used. Returns TTE_OK, TTE_ERR_ARGUMENT, TTE_ERR_MEMORY, TTE_ERR_IO, and all that tte_open and
   tte_verify say. */
TTE_API tte_status tte_load(const char *path, tte_image *out, tte_table *table);

#endif /* TT_EMBED_NO_STDIO */

#ifdef __cplusplus
}
#endif

#endif /* TT_EMBED_H */

/* Stop here if you only want the API. */

#ifdef TT_EMBED_IMPLEMENTATION
#ifndef TTEI_IMPLEMENTED
#define TTEI_IMPLEMENTED

#include <string.h>
#ifndef TT_EMBED_READ_ONLY
#include <float.h>
#include <math.h>
#if !defined(TT_EMBED_MALLOC) && !defined(TT_EMBED_FREE)
#include <stdlib.h>
#define TT_EMBED_MALLOC(size) malloc(size)
#define TT_EMBED_FREE(pointer) free(pointer)
#elif !defined(TT_EMBED_MALLOC) || !defined(TT_EMBED_FREE)
#error "tt_embed.h: define both TT_EMBED_MALLOC and TT_EMBED_FREE, or neither"
#endif
#endif
#if defined(_OPENMP) && !defined(TT_EMBED_DECODE_ONLY)
#include <omp.h>
#endif

#ifdef TT_EMBED_ASSERT
#define TTEI_ASSERT(condition) TT_EMBED_ASSERT(condition)
#else
#define TTEI_ASSERT(condition) ((void)0)
#endif

const char *tte_status_text(tte_status status)
{
    switch (status) {
    case TTE_OK:              return "ok";
    case TTE_ERR_ARGUMENT:    return "an argument is NULL or out of its range";
    case TTE_ERR_SHAPE:       return "modes that do not fit dim, or a size overflow";
    case TTE_ERR_NOT_FINITE:  return "NaN or infinity in the input or the result";
    case TTE_ERR_RANGE:       return "token id beyond the vocabulary";
    case TTE_ERR_FORMAT:      return "not a .tte image, or not a sound one";
    case TTE_ERR_VERSION:     return "another version of the format";
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
   COMPILERS AND VECTOR UNITS
   ============================================================================================= */

/* Eight floats side by side, where the compiler knows vectors; elsewhere one, and the same text. Sums
   and products then mean the same, entry by entry. */
#if !defined(TT_EMBED_DECODE_ONLY) && (defined(__SSE2_MATH__) || defined(__ARM_NEON)) && \
    (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9))
#define TTEI_LANES 8
typedef float ttei_lanes __attribute__((vector_size(32), may_alias));
typedef float ttei_floats __attribute__((vector_size(32), may_alias, aligned(4)));  /* anywhere in memory */
typedef float ttei_floats4 __attribute__((vector_size(16), may_alias, aligned(4)));
#define TTEI_INLINE static inline __attribute__((always_inline))
#elif !defined(TT_EMBED_DECODE_ONLY)
#define TTEI_LANES 1
typedef float ttei_lanes, ttei_floats, ttei_floats4;
#define TTEI_INLINE static
#else
#define TTEI_INLINE static
#endif
#define TTEI_FLOATS(x) (*(ttei_floats *)(x))
#define TTEI_FLOATS_OF(x) (*(const ttei_floats *)(x))

/* TTEI_CLONES compiles a function once more for AVX2 and lets the processor choose at run time; it leaves out
   fused multiply-add, whose rounding differs, so that the same rows give the same image on all machines.
   Before version 18 clang gave clones of static functions public names, which a library must not have. */
#if !defined(__x86_64__) || !defined(__GLIBC__) || !defined(__GNUC__) || defined(TT_EMBED_DECODE_ONLY) || \
    (defined(__clang__) && __clang_major__ < 18)
#define TTEI_CLONES
#define TTEI_CLONES_FUSED
#else
#define TTEI_CLONES __attribute__((target_clones("avx2", "default")))
#define TTEI_CLONES_FUSED __attribute__((target_clones("fma", "default")))
#endif

/* Where results must agree to the last bit, products and sums are rounded one by one: TTEI_UNFUSED before
   the function, TTEI_NO_FUSING as its first statement. TTEI_LOOPS also has the compiler look for vectors, TTEI_ROOTS of
   roots and comparisons as well, which then set no errno and under -ffast-math are no approximations; such a function
   takes no other in that is not TTEI_INLINE. */
#if defined(__clang__)
#define TTEI_UNFUSED
#define TTEI_NO_FUSING _Pragma("clang fp contract(off)")
#elif defined(__GNUC__)
#define TTEI_UNFUSED __attribute__((optimize("fp-contract=off")))
#define TTEI_NO_FUSING
#else
#define TTEI_UNFUSED
#define TTEI_NO_FUSING
#endif
#if defined(__GNUC__) && !defined(__clang__) && !defined(TT_EMBED_DECODE_ONLY)
#define TTEI_LOOPS __attribute__((optimize("O3", "fp-contract=off")))
#define TTEI_ROOTS \
    __attribute__((optimize("O3", "fp-contract=off", "no-math-errno", "no-trapping-math", "no-unsafe-math-optimizations")))
#else
#define TTEI_LOOPS TTEI_UNFUSED
#define TTEI_ROOTS TTEI_UNFUSED
#endif

/* Loops of a few turns: over an array of sums, which are to lie in registers, or with little to do in each. */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 8
#define TTEI_UNROLL _Pragma("GCC unroll 4")
#else
#define TTEI_UNROLL
#endif

/* Where the processor computes with more digits than float has, as the old one of x86, a result is rounded
   when it is stored. */
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0
static float ttei_rounded(float x)
{
    const volatile float y = x;
    return y;
}
#define TTEI_ROUNDED(x) ttei_rounded(x)
#else
#define TTEI_ROUNDED(x) (x)
#endif

#ifndef TTEI_LEVEL_MAX
#define TTEI_LEVEL_MAX 2  /* the tests lower it */
#endif
/* x86 has vectors that not every processor has: 1 for AVX2, 2 for AVX-512 with VBMI and VNNI. */
#if defined(__x86_64__) && !defined(TT_EMBED_DECODE_ONLY) && \
    (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9 && !defined(_WIN32)))  /* gcc bug 54412 */
#include <immintrin.h>
#define TTEI_X86
static int ttei_level(void)
{
    if (TTEI_LEVEL_MAX < 1 || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    if (TTEI_LEVEL_MAX < 2 || !__builtin_cpu_supports("avx512vbmi") ||
        !__builtin_cpu_supports("avx512vnni") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
        return 1;
    return 2;
}
#elif defined(__aarch64__) && defined(__ARM_NEON) && defined(__GNUC__) && !defined(TT_EMBED_DECODE_ONLY) && \
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <arm_neon.h>
#define TTEI_NEON
#endif

/* The caller's floats also serve as room for integers. */
#if defined(__GNUC__)
typedef int16_t __attribute__((may_alias)) ttei_i16;
typedef int32_t __attribute__((may_alias)) ttei_i32;
typedef uint32_t __attribute__((may_alias)) ttei_u32;
#else
typedef int16_t ttei_i16;
typedef int32_t ttei_i32;
typedef uint32_t ttei_u32;
#endif

/* Kept out of line, so that code is short, and a frame is gone before deeper calls are made: small processors
   have little of both. */
#if defined(TT_EMBED_DECODE_ONLY) && defined(__GNUC__)
#define TTEI_NOINLINE __attribute__((noinline))
#else
#define TTEI_NOINLINE
#endif

/* ================================================================================================
   CHECKED ARITHMETIC AND BYTE ORDER
   Sizes saturate at TTEI_SIZE_MAX instead of wrapping, so that a chain of sums and products needs
   one test at its end. Bytes become numbers here and nowhere else.
   ============================================================================================= */

#ifndef TTEI_SIZE_MAX
#define TTEI_SIZE_MAX SIZE_MAX  /* the tests lower it to walk the branches of overflow */
#endif

TTEI_NOINLINE static size_t ttei_add(size_t a, size_t b)
{
    return a > TTEI_SIZE_MAX || b > TTEI_SIZE_MAX - a ? TTEI_SIZE_MAX : a + b;
}

TTEI_NOINLINE static size_t ttei_mul(size_t a, size_t b)
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
TTEI_NOINLINE static size_t ttei_get_size(const unsigned char *p)
{
    const uint64_t value = ttei_get64(p);
    return value > TTEI_SIZE_MAX ? TTEI_SIZE_MAX : (size_t)value;
}
TTEI_INLINE float ttei_f32_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
TTEI_INLINE uint32_t ttei_bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
/* 2^e, for -126 <= e <= 127 */
static float ttei_power(int e) { return ttei_f32_of((uint32_t)(127 + e) << 23); }
static float ttei_get_f32(const unsigned char *p) { return ttei_f32_of(ttei_get32(p)); }
/* bfloat16: the upper half of a float32. */
static float ttei_get_bf16(const unsigned char *p) { return ttei_f32_of(ttei_get16(p) << 16); }
static double ttei_f64_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* float16: 1 sign, 5 exponent, 10 fraction bits. Multiplying the fraction by a power of two leaves
   the subnormal numbers to the floating-point unit. */
TTEI_INLINE uint32_t ttei_f16_bits(uint32_t half)
{
    const uint32_t sign = (half & 0x8000u) << 16, magnitude = half & 0x7fffu;
    const uint32_t small = ttei_bits_of((float)(int32_t)magnitude * (1.0f / 16777216.0f));
    const uint32_t bias = (magnitude >= 0x7c00u ? 224u : 112u) << 23;
    return sign | (magnitude < 0x400u ? small : (magnitude << 13) + bias);
}
static float ttei_f16_decode(uint32_t half) { return ttei_f32_of(ttei_f16_bits(half)); }

TTEI_LOOPS void tte_from_f16(const uint16_t *src, size_t count, float *dst)
{
    size_t i;
    for (i = 0; i < count; ++i) {
        const uint32_t bits = ttei_f16_bits(src[i]);
        memcpy(dst + i, &bits, sizeof bits);
    }
}

TTEI_LOOPS void tte_from_bf16(const uint16_t *src, size_t count, float *dst)
{
    size_t i;
    for (i = 0; i < count; ++i) {
        const uint32_t bits = (uint32_t)src[i] << 16;
        memcpy(dst + i, &bits, sizeof bits);
    }
}

/* Exponent bits all set: NaN or infinity. Comparisons would vanish under -ffast-math. */
static int ttei_finite_f32(float value) { return (ttei_bits_of(value) & 0x7f800000u) != 0x7f800000u; }

/* The largest magnitude; infinity or NaN where there is one, since bits without the sign are ordered so. */
TTEI_CLONES TTEI_LOOPS static float ttei_largest(size_t n, const float *x)
{
    uint32_t most = 0, bits;
    size_t i;
    for (i = 0; i < n; ++i) {
        bits = ttei_bits_of(x[i]) & 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    return ttei_f32_of(most);
}
static int ttei_all_finite_f32(const float *x, size_t n) { return ttei_finite_f32(ttei_largest(n, x)); }

#ifndef TT_EMBED_READ_ONLY

TTEI_INLINE uint64_t ttei_bits_of_f64(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
/* 2^e, for -1022 <= e <= 1023 */
static double ttei_power_f64(int e) { return ttei_f64_of((uint64_t)(1023 + e) << 52); }
static int ttei_finite_f64(double value) { return (ttei_bits_of_f64(value) >> 52 & 0x7ffu) != 0x7ffu; }

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
static void ttei_put_f32(unsigned char *p, float value) { ttei_put32(p, ttei_bits_of(value)); }
static void ttei_put_f64(unsigned char *p, double value) { ttei_put64(p, ttei_bits_of_f64(value)); }

/* Carving one block of memory into arrays. The same function that carves also answers the size
   query, with a NULL base; TTEI_ALIGN - 1 bytes of slack let the caller's block start anywhere. */
enum { TTEI_ALIGN = 64 };
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

/* Memory for arrays that are named once: `do { takes } while (ttei_carve_again(&carve));` measures, allocates and carves.
   Then carve.base is the block, the caller's to free, or NULL as ttei_carve_status tells. */
static int ttei_carve_again(ttei_carve *carve)
{
    void *block = carve->base == NULL && carve->used <= TTEI_SIZE_MAX / 2 ? TT_EMBED_MALLOC(carve->used) : NULL;
    if (block != NULL) *carve = ttei_carve_begin(block);
    return block != NULL;
}

static tte_status ttei_carve_status(const ttei_carve *carve)
{
    if (carve->base != NULL) return TTE_OK;
    return carve->used > TTEI_SIZE_MAX / 2 ? TTE_ERR_SHAPE : TTE_ERR_MEMORY;
}

static void ttei_drop(void *block)
{
    if (block != NULL) TT_EMBED_FREE(block);
}

#endif /* TT_EMBED_READ_ONLY */

/* ================================================================================================
   IMAGE LAYOUT
   The header, where the sections lie, and the checks that make every later read safe: see IMAGE FORMAT.
   ============================================================================================= */

enum {                      /* where the fields of the header lie */
    TTEI_AT_CRC = 8,        TTEI_AT_VERSION = 12, TTEI_AT_LAYOUT = 14,  TTEI_AT_CODING = 15,
    TTEI_AT_MODES = 16,     TTEI_AT_SECTIONS = 17, TTEI_AT_FLAGS = 18,  TTEI_AT_DIM = 20,
    TTEI_AT_VOCAB = 24,     TTEI_AT_SIZE = 32,    TTEI_AT_MAX_RANK = 40, TTEI_AT_EPS = 44,
    TTEI_AT_WORST = 48,     TTEI_AT_NORM = 56,    TTEI_AT_ERROR = 88,   TTEI_AT_WEIGHTED_NORM = 120,
    TTEI_AT_WEIGHTED_ERROR = 152, TTEI_AT_SHAPE = 184,                  /* TTE_PER_TOKEN: 4 + 8 d bytes  */
    TTEI_AT_RANK = 184,     TTEI_AT_CENTROIDS = 188, TTEI_AT_STATE_BITS = 192, /* TTE_PER_TABLE: 24 bytes */
    TTEI_AT_EFFORT = 193,   TTEI_AT_CLASSES = 194, TTEI_AT_GAIN_BITS = 195, TTEI_AT_USUAL_WEIGHT = 196,
    TTEI_AT_EXPONENT = 200, TTEI_AT_WATER = 202,  TTEI_AT_ZEROS = 204, TTEI_TABLE_HEADER = 208
};

enum {                      /* kinds of sections, numbered from 1 */
    TTEI_RECORDS = 1, TTEI_INDEX = 2, TTEI_CLASSES = 3, TTEI_BASIS = 4, TTEI_CENTROIDS = 5, TTEI_SECTIONS = 5
};

enum {
    TTEI_VERSION = 2,           /* of the format                                          */
    TTEI_SECTION_BYTES = 24,    /* of a section's entry in the header                     */
    TTEI_FLAG_ADAPTED = 1,
    TTEI_ENTRIES_MAX = 0x7fffffff, /* prod(dim) and ranks fit an int32_t                  */
    TTEI_GROUP = 16,            /* tokens that share an offset in an index of ranks ..    */
    TTEI_BLOCK = 128,           /* .. and in one of classes                               */
    TTEI_DIM_MAX = 16384,       /* of TTE_PER_TABLE                                       */
    TTEI_RUNS_MAX = 24,         /* runs of a class                                        */
    TTEI_RUN_BYTES = 4,
    TTEI_CLASS_HEAD = 5,        /* bytes of a class before its runs                       */
    TTEI_PLAIN = 128,           /* in a run's rate: plain codes of so many bits less this */
    TTEI_SPARE = 32,            /* zero bytes at the end, which vector loads may touch    */
    TTEI_SUM_TOP = 16,          /* exponents of ordered sums lie in -16 .. 16             */
    TTEI_EXPONENT_MAX = 200
};

#define TTEI_MAGIC_LOW 0x45545489u  /* "\x89TTE"     */
#define TTEI_MAGIC_HIGH 0x0a1a0a0du /* "\r\n\x1a\n" */

/* ---- checksums ------------------------------------------------------------------------------- */

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

/* Sixteen bytes at a time for long sections: other[k][b] is what byte b does k bytes later, a table made
   on the stack. */
static uint32_t ttei_crc32(const unsigned char *p, size_t n)
{
    uint32_t crc = 0xffffffffu;
#ifndef TT_EMBED_DECODE_ONLY
    uint32_t other[16][256], word;
    size_t i, k;
    for (i = 0; n >= 8192 && i < 256; ++i) {
        const unsigned char byte = (unsigned char)i;
        other[0][i] = ttei_crc32_step(0, &byte, 1);
    }
    for (k = 1; n >= 8192 && k < 16; ++k)
        for (i = 0; i < 256; ++i) other[k][i] = other[k - 1][i] >> 8 ^ other[0][other[k - 1][i] & 255u];
    for (i = n >= 8192 ? n / 16 : 0; i > 0; --i, n -= 16, p += 16) {
        const uint32_t before = crc;
        crc = 0;
        TTEI_UNROLL
        for (k = 4; k <= 16; k += 4) {  /* what waits for the sixteen bytes before comes last */
            word = ttei_get32(p + 16 - k) ^ (k < 16 ? 0 : before);
            crc ^= other[k - 1][word & 255u] ^ other[k - 2][word >> 8 & 255u] ^ other[k - 3][word >> 16 & 255u] ^
                   other[k - 4][word >> 24];
        }
    }
#endif
    return ~ttei_crc32_step(crc, p, n);
}

/* ---- shapes and records of TTE_PER_TOKEN ----------------------------------------------------- */

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

/* Floats in core k + 1. */
static size_t ttei_core_size(const tte_shape *shape, const int32_t *ranks, int32_t k)
{
    return ttei_mul(ttei_mul((size_t)ranks[k], (size_t)shape->dim[k]), (size_t)ranks[k + 1]);
}

/* Floats in all cores of a valid shape with ranks of at least 1. */
static size_t ttei_core_sum(const tte_shape *shape, const int32_t *ranks)
{
    size_t sum = 0;
    int32_t k;
    for (k = 0; k < shape->modes; ++k) sum = ttei_add(sum, ttei_core_size(shape, ranks, k));
    return sum;
}

static int ttei_has_scales(tte_coding coding) { return coding == TTE_I8 || coding == TTE_I4; }

/* Bytes of a record with `numbers` core entries: F32 has 32 bits each, F16 16, I8 8, I4 4. */
static size_t ttei_record_bytes(tte_coding coding, int32_t modes, size_t numbers)
{
    const size_t bits = 64u >> (int)coding;
    return ttei_add(ttei_has_scales(coding) ? 2 * (size_t)modes : 0,
                    ttei_add(ttei_mul(numbers / 8, bits), (numbers % 8 * bits + 7) / 8));
}

/* With eps every train has its own ranks and its record its own size, unless there is no bond at all. */
static int ttei_adapted(int has_eps, int32_t modes) { return has_eps && modes > 1; }

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
    const size_t groups = vocab / TTEI_GROUP + (vocab % TTEI_GROUP != 0);
    return ttei_add(ttei_mul(groups, 8), ttei_mul(vocab, entry));
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

/* The record of a token of TTE_PER_TOKEN. */
typedef struct ttei_train_record {
    const unsigned char *bytes;
    int32_t ranks[TTE_MAX_MODES + 1];
} ttei_train_record;

/* With adapted ranks the sizes of the records before it in its group follow from their ranks. */
static void ttei_find_train(const tte_table *t, size_t token, ttei_train_record *record)
{
    const unsigned char *p;
    size_t left;
    memcpy(record->ranks, t->ranks, sizeof t->ranks);
    record->bytes = t->records + token * t->record_size;
    if (t->index == NULL) return;
    p = t->index + token / TTEI_GROUP * (8 + TTEI_GROUP * t->index_entry);
    record->bytes = t->records + ttei_get_size(p);
    for (p += 8, left = token % TTEI_GROUP;; --left, p += t->index_entry) {
        ttei_index_ranks(t->shape.modes, t->index_entry, p, record->ranks);
        if (left == 0) return;
        record->bytes +=
            ttei_record_bytes(t->coding, t->shape.modes, ttei_core_sum(&t->shape, record->ranks));
    }
}

/* Walks a whole index of ranks: each rank within the header's, each offset the sum of the sizes before
   it, their total the size of the records. Counts core entries. */
TTEI_NOINLINE static int ttei_ranks_good(tte_table *t)
{
    const unsigned char *p = t->index;
    int32_t ranks[TTE_MAX_MODES + 1], k;
    size_t token, offset = 0, numbers;
    for (token = 0; token < t->vocab; ++token, p += t->index_entry) {
        if (token % TTEI_GROUP == 0) {
            if (ttei_get_size(p) != offset) return 0;
            p += 8;
        }
        ttei_index_ranks(t->shape.modes, t->index_entry, p, ranks);
        for (k = 1; k < t->shape.modes; ++k)
            if (ranks[k] < 1 || ranks[k] > t->ranks[k]) return 0;
        numbers = ttei_core_sum(&t->shape, ranks);
        t->core_entries = ttei_add(t->core_entries, numbers);
        offset = ttei_add(offset, ttei_record_bytes(t->coding, t->shape.modes, numbers));
    }
    return offset == t->records_size;
}

/* ---- runs: how many bits each coefficient of a record has ------------------------------------ */

/* `count` coefficients that are coded alike. The rate is that of IMAGE FORMAT: below 128 half bits of the
   trellis, 0 none at all. */
typedef struct ttei_run {
    int rate;
    size_t count;
    float spread;  /* what a code integer is multiplied by, beside the scale of the class */
} ttei_run;

static int ttei_rate_good(int rate)
{
    return rate >= TTEI_PLAIN ? rate >= TTEI_PLAIN + 2 && rate <= TTEI_PLAIN + 14
                              : rate <= 16 && (rate % 2 == 0 || rate < 8);
}

/* Coefficients that one step gives, and bits that it takes. */
static int ttei_rate_values(int rate) { return rate < TTEI_PLAIN && rate % 2 != 0 ? 2 : 1; }
static int ttei_rate_bits(int rate)
{
    return rate >= TTEI_PLAIN ? rate - TTEI_PLAIN : rate % 2 != 0 ? rate : rate / 2;
}

/* The largest magnitude of a code integer. */
static uint32_t ttei_rate_bound(int rate)
{
    return rate >= TTEI_PLAIN ? 1u << (rate - TTEI_PLAIN) : rate > 0 ? 510u : 0u;
}

/* Spreads are eighths of octaves: 2^((byte - 128) / 8). */
TTEI_NOINLINE static float ttei_spread(unsigned byte)
{
    static const float eighths[8] = {1.0f,       1.0905077f, 1.1892071f, 1.2968396f,
                                     1.4142135f, 1.5422108f, 1.6817929f, 1.8340081f};
    return eighths[byte & 7u] * ttei_f32_of((byte / 8 + 127 - 16) << 23);
}

static ttei_run ttei_run_read(const unsigned char *p)
{
    ttei_run run;
    run.rate = p[0];
    run.count = ttei_get16(p + 1);
    run.spread = ttei_spread(p[3]);
    return run;
}

/* Bits of a record: the plain codes, which fill whole bytes, then the circle of the trellis. */
typedef struct ttei_extent {
    size_t plain, circle;
} ttei_extent;

static void ttei_extent_add(ttei_extent *e, int rate, size_t count)
{
    const size_t bits = (count + (size_t)(ttei_rate_values(rate) - 1)) / (size_t)ttei_rate_values(rate) *
                        (size_t)ttei_rate_bits(rate);
    if (rate >= TTEI_PLAIN) e->plain += bits;
    else e->circle += bits;
}

static size_t ttei_extent_bytes(const ttei_extent *e) { return (e->plain + 7) / 8 + (e->circle + 7) / 8; }

/* A row of the basis is one run; where a step gives two coefficients and dim is odd, the last is dropped. */
static size_t ttei_basis_row_bytes(int rate, size_t dim)
{
    ttei_extent e = {0, 0};
    ttei_extent_add(&e, rate, dim);
    return ttei_extent_bytes(&e);
}

/* ---- classes --------------------------------------------------------------------------------- */

/* Section 3 is gains, then classes: level, scale, number of runs, runs. */
TTEI_NOINLINE static size_t ttei_class_bytes(const unsigned char *p)
{
    return TTEI_CLASS_HEAD + TTEI_RUN_BYTES * (size_t)p[4];
}

static const unsigned char *ttei_class_first(const tte_table *t) { return t->classes + ((size_t)2 << t->gain_bits); }

static ttei_extent ttei_class_extent(const unsigned char *p)
{
    ttei_extent e = {0, 0};
    const unsigned char *run = p + TTEI_CLASS_HEAD;
    int i;
    for (i = 0; i < p[4]; ++i, run += TTEI_RUN_BYTES) ttei_extent_add(&e, run[0], ttei_get16(run + 1));
    return e;
}

/* Bytes of a record of the class at p. */
static size_t ttei_class_record(const unsigned char *p)
{
    const ttei_extent e = ttei_class_extent(p);
    return ttei_extent_bytes(&e);
}

/* Whether the runs of the class at p are sound: at most `rank` coefficients, plain codes first, a circle
   of 16 bits or more. */
static int ttei_class_good(const unsigned char *p, size_t rank)
{
    const size_t circle = ttei_class_extent(p).circle;
    const unsigned char *run = p + TTEI_CLASS_HEAD;
    size_t count = 0, n;
    int i, trellis = 0;
    for (i = p[4]; i > 0; --i, run += TTEI_RUN_BYTES, count += n) {
        n = ttei_get16(run + 1);
        if (!ttei_rate_good(run[0]) || (ttei_rate_values(run[0]) == 2 && n % 2 != 0) ||
            (run[0] >= TTEI_PLAIN && trellis))
            return 0;
        if (run[0] > 0 && run[0] < TTEI_PLAIN) trellis = 1;
    }
    return count <= rank && (circle == 0 || circle > 8);
}

/* For each class, that of the centroids the last, two numbers: offset within section 3, bytes of a record.
   Computed once a call. */
static void ttei_class_list(const tte_table *t, ttei_u32 *list)
{
    const unsigned char *p = ttei_class_first(t);
    int32_t c;
    for (c = 0; c < t->class_count + (t->centroid_count > 1); ++c, p += ttei_class_bytes(p)) {
        *list++ = (uint32_t)(p - t->classes);
        *list++ = (uint32_t)ttei_class_record(p);
    }
}

/* ---- index of TTE_PER_TABLE ------------------------------------------------------------------ */

/* `bits` bits (at most 16) from bit `at` on. May read, but does not use, two bytes behind the last one. */
static uint32_t ttei_bits_at(const unsigned char *p, size_t at, int bits)
{
    p += at / 8;
    return ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16) >> at % 8 & ((1u << bits) - 1u);
}

static size_t ttei_id_bytes(size_t count, int bits) { return (count * (size_t)bits + 7) / 8; }

/* Bytes of a block of `count` rows. */
static size_t ttei_block_bytes(const tte_table *t, size_t count)
{
    return (size_t)t->offset_bytes + ttei_id_bytes(count, t->class_bits) +
           ttei_id_bytes(count, t->gain_bits) + ttei_id_bytes(count, t->centroid_bits);
}

/* Bytes of the index. */
static size_t ttei_blocks_bytes(const tte_table *t)
{
    const size_t over = t->vocab % TTEI_BLOCK;
    return ttei_add(ttei_mul(t->vocab / TTEI_BLOCK, ttei_block_bytes(t, TTEI_BLOCK)),
                    over == 0 ? 0 : ttei_block_bytes(t, over));
}

/* Whether all rows of TTE_PER_TABLE are one row: they have no bit, neither in records nor in the index, and there may be
   any number of them. No call may take time for each. */
static int ttei_rows_alike(const tte_table *t) { return t->layout == TTE_PER_TABLE && ttei_block_bytes(t, 1) == 0; }

/* A block of the index: `offset` of its first record in section 1, and where its ids begin. */
typedef struct ttei_rows_block {
    size_t offset, count;
    const unsigned char *classes, *gains, *centroids;
} ttei_rows_block;

static ttei_rows_block ttei_block_at(const tte_table *t, size_t number)
{
    ttei_rows_block b;
    const unsigned char *p = t->index + number * ttei_block_bytes(t, TTEI_BLOCK);
    int32_t i;
    for (b.offset = 0, i = t->offset_bytes; i-- > 0;) b.offset = b.offset << 8 | p[i];
    b.count = ttei_min(TTEI_BLOCK, t->vocab - number * TTEI_BLOCK);
    b.classes = p + t->offset_bytes;
    b.gains = b.classes + ttei_id_bytes(b.count, t->class_bits);
    b.centroids = b.gains + ttei_id_bytes(b.count, t->gain_bits);
    return b;
}

static float ttei_gain_at(const tte_table *t, const ttei_rows_block *b, size_t place)
{
    return ttei_get_bf16(t->classes + 2 * ttei_bits_at(b->gains, place * (size_t)t->gain_bits, t->gain_bits));
}
static size_t ttei_centroid_at(const tte_table *t, const ttei_rows_block *b, size_t place)
{
    return ttei_bits_at(b->centroids, place * (size_t)t->centroid_bits, t->centroid_bits);
}

/* What the index says of a row. */
typedef struct ttei_row {
    const unsigned char *record, *type;  /* its class in section 3     */
    float gain;                          /* scale of the class, times the row's gain */
    size_t centroid;
} ttei_row;

static ttei_row ttei_find_row(const tte_table *t, const ttei_u32 *classes, size_t token)
{
    const ttei_rows_block b = ttei_block_at(t, token / TTEI_BLOCK);
    const size_t place = token % TTEI_BLOCK;
    ttei_row row;
    uint32_t c;
    size_t i;
    row.record = t->records + b.offset;
    for (i = 0;; ++i) {
        c = ttei_bits_at(b.classes, i * (size_t)t->class_bits, t->class_bits);
        if (i == place) break;
        row.record += classes[2 * c + 1];
    }
    row.type = t->classes + classes[2 * c];
    row.gain = TTEI_ROUNDED(ttei_get_bf16(row.type + 2) * ttei_gain_at(t, &b, place));
    row.centroid = ttei_centroid_at(t, &b, place);
    return row;
}

/* Walks a whole index: every class is one, each offset the sum of the lengths before it, their total the
   size of the records. (Gains and centroids are powers of two in number: no id is beyond them.) */
TTEI_NOINLINE static int ttei_classes_good(const tte_table *t)
{
    uint16_t lengths[64];
    uint32_t c;
    const unsigned char *p = ttei_class_first(t);
    size_t left = t->vocab, number, i, offset = 0;
    int32_t k;
    if (ttei_rows_alike(t)) return 1;
    for (k = 0; k < t->class_count; ++k, p += ttei_class_bytes(p))
        lengths[k] = (uint16_t)ttei_class_record(p);
    for (number = 0; left > 0; ++number) {
        const ttei_rows_block b = ttei_block_at(t, number);
        if (b.offset != offset) return 0;
        for (i = 0; i < b.count; ++i) {
            c = ttei_bits_at(b.classes, i * (size_t)t->class_bits, t->class_bits);
            if (c >= (uint32_t)t->class_count) return 0;
            offset = ttei_add(offset, lengths[c]);
        }
        left -= b.count;
    }
    return offset == t->records_size;
}

/* ---- opening --------------------------------------------------------------------------------- */

static size_t ttei_header_bytes(tte_layout layout, int32_t modes, int sections)
{
    return (layout == TTE_PER_TABLE ? (size_t)TTEI_TABLE_HEADER : TTEI_AT_SHAPE + 4u + 8u * (size_t)modes) +
           TTEI_SECTION_BYTES * (size_t)sections;
}

/* The smallest number of bits, or of bytes, that hold a value. */
static int32_t ttei_bit_length(size_t value)
{
    int32_t bits = 0;
    for (; value != 0; value >>= 1) ++bits;
    return bits;
}

/* Floats of scratch that reading needs, by the functions that carve it in LOOKUP AND PRODUCTS. No image may
   need more than is promised. */
static size_t ttei_scratch_floats(const tte_table *t);
static size_t ttei_room(const tte_table *t) { return ttei_add(ttei_mul(16, (size_t)t->dim), 1024); }

/* The shape and the largest ranks: none beyond what shape and cap allow. */
TTEI_NOINLINE static int ttei_train_header(tte_table *t)
{
    const unsigned char *p = t->data + TTEI_AT_SHAPE;
    const uint32_t eps = ttei_get32(t->data + TTEI_AT_EPS);
    size_t entries, most = 1, rank;
    int32_t k;
    t->shape.modes = t->data[TTEI_AT_MODES];
    t->max_rank = ttei_get_count(t->data + TTEI_AT_MAX_RANK);
    t->eps = ttei_f32_of(eps);
    if (t->shape.modes < 1 || t->shape.modes > TTE_MAX_MODES) return 0;
    for (k = 0; k < t->shape.modes; ++k) t->shape.dim[k] = ttei_get_count(p + 4 + 8 * k);
    if (t->max_rank < 0 || t->vocab < 1 || eps > 0x3f800000u ||  /* the bits of 1 */
        ttei_shape_check(&t->shape, &entries) != TTE_OK || entries < (size_t)t->dim ||
        ttei_get16(t->data + TTEI_AT_FLAGS) !=
            (ttei_adapted(eps != 0, t->shape.modes) ? TTEI_FLAG_ADAPTED : 0))
        return 0;
    for (k = 0;; ++k, p += 8) {
        rank = ttei_get32(p);
        if (rank < 1 || rank > most || rank > entries || (t->max_rank > 0 && rank > (size_t)t->max_rank))
            return 0;
        t->ranks[k] = (int32_t)rank;
        if (k == t->shape.modes) break;
        most = rank * (size_t)t->shape.dim[k];
        entries /= (size_t)t->shape.dim[k];  /* to the right of the bond */
    }
    t->index_entry = ttei_index_entry(&t->shape, t->max_rank);
    t->numbers = ttei_core_sum(&t->shape, t->ranks);
    t->record_size = ttei_record_bytes(t->coding, t->shape.modes, t->numbers);
    return 1;
}

/* Numbers of the second layout, within their ranges. */
static int ttei_table_header(tte_table *t)
{
    static const struct { uint8_t at, bytes, least, most; } ranges[] = {
        {TTEI_AT_MODES, 1, 0, 0},       {TTEI_AT_FLAGS, 2, 0, 0},   {TTEI_AT_MAX_RANK, 4, 0, 0},
        {TTEI_AT_EPS, 4, 0, 0},         {TTEI_AT_ZEROS, 4, 0, 0},   {TTEI_AT_STATE_BITS, 1, 8, 16},
        {TTEI_AT_EFFORT, 1, 1, 9},      {TTEI_AT_CLASSES, 1, 1, 64}, {TTEI_AT_GAIN_BITS, 1, 0, 4}};
    const unsigned char *p = t->data;
    const size_t centroids = ttei_get32(p + TTEI_AT_CENTROIDS);
    size_t i;
    for (i = 0; i < sizeof ranges / sizeof *ranges; ++i) {
        const unsigned char *field = p + ranges[i].at;
        const uint32_t value =
            ranges[i].bytes == 1 ? *field : ranges[i].bytes == 2 ? ttei_get16(field) : ttei_get32(field);
        if (value < ranges[i].least || value > ranges[i].most) return 0;
    }
    t->rank = ttei_get_count(p + TTEI_AT_RANK);
    t->state_bits = p[TTEI_AT_STATE_BITS];
    t->class_count = p[TTEI_AT_CLASSES];
    t->gain_bits = p[TTEI_AT_GAIN_BITS];
    t->exponent = (int32_t)(ttei_get16(p + TTEI_AT_EXPONENT) ^ 0x8000u) - 0x8000;
    if (t->dim > TTEI_DIM_MAX || t->rank < 0 || t->rank > t->dim || (centroids & (centroids - 1)) != 0 ||
        centroids > 0x10000u || centroids > 8 * (size_t)t->dim + 256 || t->exponent < -TTEI_EXPONENT_MAX ||
        t->exponent > TTEI_EXPONENT_MAX)
        return 0;
    t->centroid_count = (int32_t)centroids;
    t->class_bits = (uint8_t)ttei_bit_length((size_t)t->class_count - 1);
    t->centroid_bits = (uint8_t)(centroids > 1 ? ttei_bit_length(centroids - 1) : 0);
    t->basis_rows = t->rank + (centroids > 0);
    t->numbers = (size_t)t->rank;
    return 1;
}

/* Where the section of a kind begins, and its size; NULL and 0 for none. The list of sections is sound. */
static const unsigned char *ttei_section(const tte_table *t, uint32_t kind, size_t *size)
{
    const unsigned char *entry = t->data + ttei_header_bytes(t->layout, t->shape.modes, 0);
    int i;
    for (i = t->data[TTEI_AT_SECTIONS]; i > 0; --i, entry += TTEI_SECTION_BYTES)
        if (ttei_get32(entry + 20) == kind) {
            *size = ttei_get_size(entry + 8);
            return t->data + ttei_get_size(entry);
        }
    *size = 0;
    return NULL;
}

/* Section 3 has just the size of its gains and classes. */
static int ttei_section_classes(tte_table *t)
{
    const int32_t classes = t->class_count + (t->centroid_count > 1);
    size_t at = (size_t)2 << t->gain_bits, size;
    int32_t c;
    t->classes = ttei_section(t, TTEI_CLASSES, &size);
    for (c = 0; c < classes; ++c) {
        if (at > size || size - at < TTEI_CLASS_HEAD || t->classes[at + 4] > TTEI_RUNS_MAX ||
            size - at < ttei_class_bytes(t->classes + at) || !ttei_class_good(t->classes + at, (size_t)t->rank))
            return 0;
        t->record_size = ttei_class_record(t->classes + at);  /* at last that of the centroids */
        at += ttei_class_bytes(t->classes + at);
    }
    return at == size;
}

/* Section 4: its runs add up to all rows, each of which has bits, so that work is in proportion to bytes; and its size
   is theirs. */
static int ttei_section_basis(tte_table *t)
{
    const size_t rows = (size_t)t->basis_rows;
    size_t count = 0, need, size;
    const unsigned char *run;
    int i;
    t->basis = ttei_section(t, TTEI_BASIS, &size);
    if (size < 1) return 0;
    need = 1 + TTEI_RUN_BYTES * (size_t)t->basis[0] + 2 * rows;
    if (size < need) return 0;
    for (i = t->basis[0], run = t->basis + 1; i > 0; --i, run += TTEI_RUN_BYTES) {
        const size_t n = ttei_get16(run + 1), bytes = ttei_basis_row_bytes(run[0], (size_t)t->dim);
        if (!ttei_rate_good(run[0]) || run[3] != 0 || (run[0] < TTEI_PLAIN && bytes < 2))
            return 0;
        count += n;
        need = ttei_add(need, ttei_mul(n, bytes));
    }
    return count == rows && need == size;
}

/* Whether the sizes of sections fit the header and each other. */
TTEI_NOINLINE static int ttei_sections_good(tte_table *t)
{
    size_t index, size;
    t->records = ttei_section(t, TTEI_RECORDS, &t->records_size);
    t->index = ttei_section(t, TTEI_INDEX, &index);
    t->centroids = ttei_section(t, TTEI_CENTROIDS, &size);
    if (t->layout == TTE_PER_TOKEN) {
        t->core_entries = t->index != NULL ? 0 : ttei_mul(t->vocab, t->numbers);
        if (t->records == NULL || t->data[TTEI_AT_SECTIONS] != 1 + (t->index != NULL) ||
            (t->index != NULL) != (t->data[TTEI_AT_FLAGS] != 0))
            return 0;
        return t->index == NULL ? t->records_size == ttei_mul(t->vocab, t->record_size)
                                : index == ttei_index_bytes(t->vocab, t->index_entry);
    }
    if ((t->records != NULL) != (t->vocab > 0) || (t->index != NULL) != (t->vocab > 0) ||
        (t->centroids != NULL) != (t->centroid_count > 1) || !ttei_section_classes(t) || !ttei_section_basis(t) ||
        (t->centroids != NULL && size != ttei_mul((size_t)t->centroid_count, t->record_size)))
        return 0;
    t->offset_bytes = (uint8_t)((ttei_bit_length(t->records_size) + 7) / 8);
    return t->vocab == 0 || index == ttei_blocks_bytes(t);
}

/* The list of sections, which follow the header and each other without gaps, then zeros. */
static tte_status ttei_sections_read(const tte_table *t, size_t header)
{
    const unsigned char *entry = t->data + ttei_header_bytes(t->layout, t->shape.modes, 0);
    size_t end = header;
    uint32_t kind, before = 0;
    int i;
    for (i = t->data[TTEI_AT_SECTIONS]; i > 0; --i, entry += TTEI_SECTION_BYTES, before = kind) {
        kind = ttei_get32(entry + 20);
        if (kind <= before || kind > TTEI_SECTIONS || ttei_get_size(entry) != end) return TTE_ERR_FORMAT;
        end = ttei_add(end, ttei_get_size(entry + 8));
    }
    end = ttei_add(end, TTEI_SPARE);
    if (end == TTEI_SIZE_MAX || end != ttei_get_size(t->data + TTEI_AT_SIZE)) return TTE_ERR_FORMAT;
    if (t->size != end) return t->size < end ? TTE_ERR_TRUNCATED : TTE_ERR_FORMAT;
    for (i = 1; i <= (int)TTEI_SPARE; ++i)
        if (t->data[end - (size_t)i] != 0) return TTE_ERR_FORMAT;
    return TTE_OK;
}

/* The header and the list of sections. */
TTEI_NOINLINE static tte_status ttei_header_read(tte_table *t)
{
    const unsigned char *p = t->data;
    const int table = p[TTEI_AT_LAYOUT] == TTE_PER_TABLE;
    size_t header;
    if (p[TTEI_AT_LAYOUT] < TTE_PER_TABLE || p[TTEI_AT_LAYOUT] > TTE_PER_TOKEN ||
        p[TTEI_AT_MODES] > TTE_MAX_MODES || p[TTEI_AT_SECTIONS] > TTEI_SECTIONS ||
        (table ? p[TTEI_AT_CODING] != TTE_TRELLIS : p[TTEI_AT_CODING] < TTE_F32 || p[TTEI_AT_CODING] > TTE_I4))
        return TTE_ERR_FORMAT;
    t->layout = (tte_layout)p[TTEI_AT_LAYOUT];
    t->coding = (tte_coding)p[TTEI_AT_CODING];
    header = ttei_header_bytes(t->layout, p[TTEI_AT_MODES], p[TTEI_AT_SECTIONS]);
    if (t->size < header) return TTE_ERR_TRUNCATED;
    if (ttei_get32(p + TTEI_AT_CRC) != ttei_crc32(p + TTEI_AT_VERSION, header - TTEI_AT_VERSION))
        return TTE_ERR_CHECKSUM;
    t->dim = ttei_get_count(p + TTEI_AT_DIM);
    t->vocab = ttei_get_size(p + TTEI_AT_VOCAB);
    if (t->dim < 1 || ttei_too_many(t->vocab) || !(table ? ttei_table_header(t) : ttei_train_header(t)) ||
        ttei_scratch_floats(t) > ttei_min(TTEI_SIZE_MAX / sizeof(float), ttei_room(t)))
        return TTE_ERR_FORMAT;
    return ttei_sections_read(t, header);
}

/* Whether an image is valid, whoever made it. */
tte_status tte_open(tte_table *t, const void *data, size_t size)
{
    const unsigned char *p = (const unsigned char *)data;
    tte_table view;
    tte_status status;
    if (t == NULL || data == NULL) return TTE_ERR_ARGUMENT;
    if (size >= 8 && (ttei_get32(p) != TTEI_MAGIC_LOW || ttei_get32(p + 4) != TTEI_MAGIC_HIGH))
        return TTE_ERR_FORMAT;
    if (size >= 14 && ttei_get16(p + TTEI_AT_VERSION) != TTEI_VERSION)
        return ttei_get16(p + TTEI_AT_VERSION) > TTEI_VERSION ? TTE_ERR_VERSION : TTE_ERR_FORMAT;
    if (size < TTEI_AT_SHAPE) return TTE_ERR_TRUNCATED;
    memset(&view, 0, sizeof view);
    view.data = p;
    view.size = size;
    status = ttei_header_read(&view);
    if (status != TTE_OK) return status;
    if (!ttei_sections_good(&view)) return TTE_ERR_FORMAT;
    if (view.index != NULL && !(view.layout == TTE_PER_TABLE ? ttei_classes_good(&view) : ttei_ranks_good(&view)))
        return TTE_ERR_FORMAT;
    *t = view;
    return TTE_OK;
}

tte_status tte_verify(const tte_table *t)
{
    const unsigned char *entry;
    int i;
    if (t == NULL) return TTE_ERR_ARGUMENT;
    entry = t->data + ttei_header_bytes(t->layout, t->shape.modes, 0);
    for (i = 0; i < t->data[TTEI_AT_SECTIONS]; ++i, entry += TTEI_SECTION_BYTES)
        if (ttei_crc32(t->data + ttei_get_size(entry), ttei_get_size(entry + 8)) != ttei_get32(entry + 16))
            return TTE_ERR_CHECKSUM;
    return TTE_OK;
}

/* ---- what the header records ----------------------------------------------------------------- */

#ifdef TT_EMBED_DECODE_ONLY
typedef float ttei_wide;   /* no arithmetic in double on small processors */
#else
typedef double ttei_wide;
#endif

/* A number >= 0: bits * 2^exponent, the highest bit set unless it is 0. */
typedef struct ttei_number {
    uint64_t bits;
    int32_t exponent;
} ttei_number;

static ttei_number ttei_number_of(uint64_t high, uint64_t low, int32_t exponent)
{
    ttei_number x;
    for (x.exponent = exponent + 64; high >> 63 == 0 && (high | low) != 0; --x.exponent) {
        high = high << 1 | low >> 63;
        low <<= 1;
    }
    x.bits = high;
    return x;
}

/* An ordered sum; 0 where its exponent is out of range. */
static ttei_number ttei_number_sum(const unsigned char *p)
{
    const int32_t e = ttei_get_count(p);
    const uint64_t b2 = ttei_get64(p + 24), b1 = ttei_get64(p + 16) + (b2 >> 32), low = 0xffffffffu;
    if (e < -TTEI_SUM_TOP || e > TTEI_SUM_TOP) return ttei_number_of(0, 0, 0);
    return ttei_number_of(ttei_get64(p + 8) + (b1 >> 32), (b1 & low) << 32 | (b2 & low), 32 * (e - 2));
}

/* The bits of the double a / b, or of its square root. The quotient of the fractions lies in (1/2, 2);
   doubled where the exponent is odd, its root comes from Newton's method. */
static uint64_t ttei_quotient(ttei_number a, ttei_number b, int root)
{
    int32_t exponent = a.exponent - b.exponent, i;
    ttei_wide x, y = 1;
    if (a.bits == 0 || b.bits == 0) return 0;
    x = (ttei_wide)(a.bits >> 11) / (ttei_wide)(b.bits >> 11);
    if (root) {
        if (exponent % 2 != 0) {
            x *= 2;
            --exponent;
        }
        for (i = 0; i < 6; ++i) y = (y + x / y) / 2;
        x = y;
        exponent /= 2;
    }
    for (; x >= 2; ++exponent) x /= 2;
    for (; x < 1; --exponent) x *= 2;
    return (uint64_t)(exponent + 1022) * ((uint64_t)1 << 52) + (uint64_t)(x * (ttei_wide)4503599627370496.0f);
}

/* The square root of the quotient of two ordered sums. Bits of positive doubles are ordered as they are:
   where rows of zeros stay exact, it is never more than the worst row's. */
static double ttei_relative(const tte_table *t, int error, int norm)
{
    const ttei_number e = ttei_number_sum(t->data + error), n = ttei_number_sum(t->data + norm);
    uint64_t bits = ttei_quotient(e, n, 1);
    const uint64_t worst = ttei_get64(t->data + TTEI_AT_WORST), one = (uint64_t)1023 << 52;
    if (e.bits != 0 && n.bits == 0) bits = one;
    if (t->layout == TTE_PER_TOKEN && bits > worst) bits = worst;
    return ttei_f64_of(bits);
}

tte_status tte_get_info(const tte_table *t, tte_info *info)
{
    size_t entries;
    if (t == NULL || info == NULL) return TTE_ERR_ARGUMENT;
    memset(info, 0, sizeof *info);
    info->vocab = t->vocab;
    info->dim = (size_t)t->dim;
    info->bytes = t->size;
    info->layout = t->layout;
    info->coding = t->coding;
    info->shape = t->shape;
    memcpy(info->ranks, t->ranks, sizeof info->ranks);
    entries = t->core_entries;
    if (t->layout == TTE_PER_TABLE) {
        info->rank = t->rank;
        info->centroids = t->centroid_count;
        info->classes = t->class_count;
        info->effort = t->data[TTEI_AT_EFFORT];
        entries = ttei_add(ttei_mul(t->vocab, t->numbers), ttei_mul((size_t)t->basis_rows, info->dim));
    }
    info->ratio = ttei_f64_of(ttei_quotient(ttei_number_of(0, (uint64_t)t->vocab * (uint64_t)t->dim, 2),
                                            ttei_number_of(0, t->size, 0), 0));
    info->mean_numbers =
        ttei_f64_of(ttei_quotient(ttei_number_of(0, entries, 0), ttei_number_of(0, t->vocab, 0), 0));
    info->rel_error = ttei_relative(t, TTEI_AT_ERROR, TTEI_AT_NORM);
    info->weighted_error = ttei_relative(t, TTEI_AT_WEIGHTED_ERROR, TTEI_AT_WEIGHTED_NORM);
    info->max_row_error = ttei_f64_of(ttei_get64(t->data + TTEI_AT_WORST));
    return TTE_OK;
}

/* ================================================================================================
   CODE INTEGERS OF THE TRELLIS
   Records are circles of bits, states stand for integers: see IMAGE FORMAT. The integers are nearly Gaussian, of
   variance 4 (256^2 - 1) / 12. Nothing depends on the step before, so all states can be looked at side by side.
   ============================================================================================= */

static const uint32_t ttei_code_a[2] = {2339688529u, 441949745u};  /* of the first value of a step, of the second */
static const uint32_t ttei_code_b[2] = {1818127173u, 3125967622u};

enum {
    TTEI_ABREAST = 16, /* records that are scored together                                             */
    TTEI_PANEL = 32,   /* columns of a panel, in which two rows of the basis lie entry beside entry ..  */
    TTEI_DEPTH = 200,  /* .. and most such pairs of rows: 25 kB, which stay near the processor          */
    TTEI_TILE = 8      /* rows of the table that are multiplied with a panel at a time                  */
};

/* Equal steps: `count` windows of bits, `step` apart, the first at bit `at`. */
typedef struct ttei_steps {
    const unsigned char *bits;
    size_t size, at;  /* size: bytes of the circle                                     */
    size_t count[2];  /* first values and second values of the states: the same, the last of the second
                         may be missing, or none                                       */
    int window, step; /* bits                                                          */
    int plain;        /* a window u is the code 2 u + 1 - 2^window, and nothing wraps  */
    int other;        /* second values, in the place of the first                      */
} ttei_steps;

/* A place in a record, run by run: the plain codes come first, then the circle. */
typedef struct ttei_cursor {
    const unsigned char *run, *plain, *circle;
    size_t size, plain_at, done;  /* bytes of the circle; bits of plain codes and of steps before */
    int left, state_bits, lead;   /* runs to come; bits of the very first step, whose state begins at bit 0 */
} ttei_cursor;

/* A record of the class `type`. */
TTEI_NOINLINE static ttei_cursor ttei_cursor_begin(int state_bits, const unsigned char *type,
                                                   const unsigned char *record)
{
    const ttei_extent e = ttei_class_extent(type);
    ttei_cursor c;
    c.run = type + TTEI_CLASS_HEAD;
    c.left = type[4];
    c.plain = record;
    c.circle = record + (e.plain + 7) / 8;
    c.size = (e.circle + 7) / 8;
    c.plain_at = c.done = 0;
    c.state_bits = state_bits;
    c.lead = 0;
    return c;
}

/* The next run and its steps, none where the rate is 0; returns 0 behind the last run. */
static int ttei_cursor_next(ttei_cursor *c, ttei_run *run, ttei_steps *s)
{
    if (c->left-- == 0) return 0;
    *run = ttei_run_read(c->run);
    c->run += TTEI_RUN_BYTES;
    s->step = ttei_rate_bits(run->rate);
    s->count[1] = ttei_rate_values(run->rate) == 2 ? run->count / 2 : 0;
    s->count[0] = run->rate > 0 ? run->count - s->count[1] : 0;
    s->other = 0;
    s->plain = run->rate >= TTEI_PLAIN;
    if (s->plain) {
        s->bits = c->plain;
        s->size = TTEI_SIZE_MAX / 16;
        s->at = c->plain_at;
        s->window = s->step;
        c->plain_at += s->count[0] * (size_t)s->step;
    } else {
        if (c->done == 0) c->lead = s->step;
        s->bits = c->circle;
        s->size = c->size;
        s->at = c->done + (size_t)s->step - (size_t)c->lead;
        s->window = c->state_bits;
        c->done += s->count[0] * (size_t)s->step;
    }
    return 1;
}

/* Adds a run of spread 1 to a class that is not of an image. */
static void ttei_type_add(unsigned char *type, int rate, size_t count)
{
    unsigned char *run = type + TTEI_CLASS_HEAD + TTEI_RUN_BYTES * type[4]++;
    run[0] = (unsigned char)rate;
    run[1] = (unsigned char)(count & 255u);
    run[2] = (unsigned char)(count >> 8);
    run[3] = 128;
}

/* A row of the basis is a record of a class of one run. */
static ttei_steps ttei_basis_steps(const tte_table *t, int rate, const unsigned char *record)
{
    unsigned char type[TTEI_CLASS_HEAD + TTEI_RUN_BYTES] = {0};
    ttei_cursor c;
    ttei_run run;
    ttei_steps s;
    ttei_type_add(type, rate, (size_t)t->dim);
    c = ttei_cursor_begin(t->state_bits, type, record);
    (void)ttei_cursor_next(&c, &run, &s);
    return s;
}

TTEI_INLINE int ttei_code_of(uint32_t state, int other)
{
    const uint32_t x = ttei_code_a[other] * state + ttei_code_b[other];
    const uint32_t pairs = (x & 0xff00ffu) + (x >> 8 & 0xff00ffu);
    return (int)((pairs + (pairs >> 16)) & 0xffffu) - 510;
}

/* Codes of steps, the second values behind the first. Bits are taken byte by byte, around the circle. */
static void ttei_codes_plainly(const ttei_steps *s, ttei_i16 *codes)
{
    const unsigned char *p = s->bits + s->at / 8, *end = s->bits + s->size;
    const uint32_t mask = (1u << s->window) - 1u;
    uint32_t bits = (uint32_t)*p >> s->at % 8;
    int have = 8 - (int)(s->at % 8);
    size_t i;
    for (i = 0; i < s->count[0]; ++i) {
        while (have < s->window) {
            if (++p == end) p = s->bits;
            bits |= (uint32_t)*p << have;
            have += 8;
        }
        codes[i] = (int16_t)(s->plain ? 2 * (int)(bits & mask) + 1 - (1 << s->window)
                                      : ttei_code_of(bits & mask, s->other));
        if (i < s->count[1]) codes[s->count[0] + i] = (int16_t)ttei_code_of(bits & mask, 1);
        bits >>= s->step;
        have -= s->step;
    }
}

#if defined(TTEI_X86) || defined(TTEI_NEON)

/* ---- the same by vectors ------------------------------------------------------------------------
   The bits of a run lie at the same place within a byte every 8 steps. So one byte shuffle, the same for the
   whole run, brings to each lane the four bytes where its window begins, and a shift by lane does the rest.
   With four lanes two shuffles take turns. What differs between vector units:
     ttei_bytes_..   bytes index[] of the 16 (AVX-512: 32) at p      ttei_sum_..     the four bytes of each lane
     ttei_load_..    the first n lanes from memory, others 0         ttei_keep_..    .. and to memory
     ttei_mac_..     sum + code * q                                  ttei_fma_..     x * y + z
     ttei_total_..   sum of the lanes */

#define TTEI_VECTOR_TYPES(n)                                                                                 \
    typedef uint32_t ttei_u32x##n __attribute__((vector_size(4 * n)));                                       \
    typedef int32_t ttei_i32x##n __attribute__((vector_size(4 * n)));                                        \
    typedef float ttei_f32x##n __attribute__((vector_size(4 * n)));                                          \
    typedef int16_t ttei_i16x##n __attribute__((vector_size(2 * n)));                                        \
    typedef int8_t ttei_i8x##n __attribute__((vector_size(4 * n)));

#ifdef TTEI_X86

TTEI_VECTOR_TYPES(8)
#define TTEI_AVX2 __attribute__((target("avx2,fma")))
#define TTEI_AVX2_INLINE static inline __attribute__((always_inline, target("avx2,fma")))

TTEI_AVX2_INLINE ttei_u32x8 ttei_bytes_avx2(const unsigned char *p, ttei_u32x8 index)
{
    const __m256i x = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
    return (ttei_u32x8)_mm256_shuffle_epi8(x, (__m256i)index);
}
TTEI_AVX2_INLINE ttei_i32x8 ttei_sum_avx2(ttei_u32x8 x, ttei_i32x8 bias)
{
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)x, _mm256_set1_epi8(1));
    return (ttei_i32x8)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)) + bias;
}
TTEI_AVX2_INLINE __m256i ttei_first_avx2(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
TTEI_AVX2_INLINE __m256i ttei_load_avx2(const void *p, size_t n)
{
    return n >= 8 ? _mm256_loadu_si256((const __m256i *)p)
                  : _mm256_maskload_epi32((const int *)p, ttei_first_avx2(n));
}
TTEI_AVX2_INLINE void ttei_keep_avx2(void *p, size_t n, ttei_i32x8 x)
{
    if (n >= 8) _mm256_storeu_si256((__m256i *)p, (__m256i)x);
    else _mm256_maskstore_epi32((int *)p, ttei_first_avx2(n), (__m256i)x);
}
/* Two products of 16 bits a lane: of a code and its sign with q and 0, or of two codes with two q. */
TTEI_AVX2_INLINE ttei_i32x8 ttei_mac_avx2(ttei_i32x8 sum, ttei_i32x8 code, ttei_i32x8 q)
{
    return sum + (ttei_i32x8)_mm256_madd_epi16((__m256i)code, (__m256i)q);
}
TTEI_AVX2_INLINE ttei_f32x8 ttei_fma_avx2(ttei_f32x8 x, ttei_f32x8 y, ttei_f32x8 z)
{
    return (ttei_f32x8)_mm256_fmadd_ps((__m256)x, (__m256)y, (__m256)z);
}
TTEI_AVX2_INLINE float ttei_total_avx2(ttei_f32x8 x)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128((__m256)x), _mm256_extractf128_ps((__m256)x, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

/* Forms with a mask of all lanes, where gcc 12 would warn of its own header for the others. */
TTEI_VECTOR_TYPES(16)
#define TTEI_AVX512_TARGET "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni"
#define TTEI_AVX512 __attribute__((target(TTEI_AVX512_TARGET)))
#define TTEI_AVX512_INLINE static inline __attribute__((always_inline, target(TTEI_AVX512_TARGET)))

TTEI_AVX512_INLINE ttei_u32x16 ttei_bytes_avx512(const unsigned char *p, ttei_u32x16 index)
{
    const __m512i x = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)p));
    return (ttei_u32x16)_mm512_maskz_permutexvar_epi8(~(__mmask64)0, (__m512i)index, x);
}
TTEI_AVX512_INLINE ttei_i32x16 ttei_sum_avx512(ttei_u32x16 x, ttei_i32x16 bias)
{
    return (ttei_i32x16)_mm512_dpbusd_epi32((__m512i)bias, (__m512i)x, _mm512_set1_epi8(1));
}
TTEI_AVX512_INLINE __m512i ttei_load_avx512(const void *p, size_t n)
{
    return n >= 16 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi32((__mmask16)((1u << n) - 1u), p);
}
TTEI_AVX512_INLINE void ttei_keep_avx512(void *p, size_t n, ttei_i32x16 x)
{
    _mm512_mask_storeu_epi32(p, (__mmask16)((1u << ttei_min(n, 16)) - 1u), (__m512i)x);
}
TTEI_AVX512_INLINE ttei_i32x16 ttei_mac_avx512(ttei_i32x16 sum, ttei_i32x16 code, ttei_i32x16 q)
{
    return (ttei_i32x16)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)code, (__m512i)q);
}
TTEI_AVX512_INLINE ttei_f32x16 ttei_fma_avx512(ttei_f32x16 x, ttei_f32x16 y, ttei_f32x16 z)
{
    return (ttei_f32x16)_mm512_fmadd_ps((__m512)x, (__m512)y, (__m512)z);
}
TTEI_AVX512_INLINE float ttei_total_avx512(ttei_f32x16 x)
{
    return ttei_total_avx2((ttei_f32x8)_mm512_maskz_extractf32x8_ps(0xff, (__m512)x, 0) +
                           (ttei_f32x8)_mm512_maskz_extractf32x8_ps(0xff, (__m512)x, 1));
}

#else /* TTEI_NEON */

TTEI_VECTOR_TYPES(4)
#define TTEI_NEON_INLINE static inline __attribute__((always_inline))

TTEI_NEON_INLINE ttei_u32x4 ttei_bytes_neon(const unsigned char *p, ttei_u32x4 index)
{
    return (ttei_u32x4)vqtbl1q_u8(vld1q_u8(p), (uint8x16_t)index);
}
TTEI_NEON_INLINE ttei_i32x4 ttei_sum_neon(ttei_u32x4 x, ttei_i32x4 bias)
{
    return (ttei_i32x4)vpaddlq_u16(vpaddlq_u8((uint8x16_t)x)) + bias;
}
TTEI_NEON_INLINE ttei_i32x4 ttei_load_neon(const void *p, size_t n)
{
    ttei_i32x4 x = {0, 0, 0, 0};
    memcpy(&x, p, 4 * ttei_min(n, 4));
    return x;
}
TTEI_NEON_INLINE void ttei_keep_neon(void *p, size_t n, ttei_i32x4 x) { memcpy(p, &x, 4 * ttei_min(n, 4)); }
TTEI_NEON_INLINE ttei_i32x4 ttei_mac_neon(ttei_i32x4 sum, ttei_i32x4 code, ttei_i32x4 q) { return sum + code * q; }
TTEI_NEON_INLINE ttei_f32x4 ttei_fma_neon(ttei_f32x4 x, ttei_f32x4 y, ttei_f32x4 z)
{
    return (ttei_f32x4)vfmaq_f32((float32x4_t)z, (float32x4_t)x, (float32x4_t)y);
}
TTEI_NEON_INLINE float ttei_total_neon(ttei_f32x4 x) { return vaddvq_f32((float32x4_t)x); }

#endif

static const uint32_t ttei_lane_numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* A plan is what all steps of a run share: lane i takes its window from bit (at + i step) mod 8 + ..; then
     code = byte sum of (a window + b) + bias,  bias -510,   or   2 window + bias,  bias 1 - 2^k, of plain codes.
   What becomes of the codes is a constant where ttei_walk_.. is called: codes[] are stored, or the result is the
   sum of code * x[], or sums[] += code * factor. So are plain and two, whether a state has two values. */
enum { TTEI_STORE, TTEI_DOT, TTEI_ADD };

#define TTEI_TURN(i, lanes) ((lanes) == 4 ? (i) / (lanes) % 2 : 0)

#define TTEI_UNIT(isa, lanes, INLINE)                                                                        \
    typedef struct ttei_plan_##isa {                                                                         \
        ttei_u32x##lanes index[2], shift[2], mask, a[2], b[2];                                               \
        ttei_i32x##lanes bias, factor;                                                                       \
        size_t reach;  /* bytes from the first window to behind the last */                                  \
    } ttei_plan_##isa;                                                                                       \
    INLINE ttei_plan_##isa ttei_begin_##isa(const ttei_steps *s)                                             \
    {                                                                                                        \
        const int32_t bias = s->plain ? 1 - (1 << s->window) : -510;                                         \
        ttei_plan_##isa v;                                                                                   \
        ttei_u32x##lanes lane, bit;                                                                          \
        int i;                                                                                               \
        memcpy(&lane, ttei_lane_numbers, sizeof lane);                                                       \
        for (i = 0; i < 2; ++i) {                                                                            \
            bit = lane * (uint32_t)s->step + ((uint32_t)s->at + (uint32_t)(i * lanes * s->step)) % 8u;       \
            v.index[i] = (bit >> 3) * 0x01010101u + 0x03020100u;                                             \
            v.shift[i] = bit & 7u;                                                                           \
            v.a[i] = lane * 0u + ttei_code_a[i > 0 || s->other];                                             \
            v.b[i] = lane * 0u + ttei_code_b[i > 0 || s->other];                                             \
        }                                                                                                    \
        v.mask = lane * 0u + ((1u << s->window) - 1u);                                                       \
        v.factor = (ttei_i32x##lanes)(lane * 0u);                                                            \
        v.bias = v.factor + bias;                                                                            \
        v.reach = (size_t)(14 + (lanes - 1) * s->step + s->window) / 8;                                      \
        return v;                                                                                            \
    }                                                                                                        \
    /* The first n lanes of windows, first or second values, to place i. */                                  \
    INLINE void ttei_put_##isa(const ttei_plan_##isa *v, ttei_u32x##lanes window, int sink, int plain,       \
                               int second, ttei_i16 *codes, const float *x, ttei_i32 *sums, size_t i,        \
                               size_t n, ttei_f32x##lanes *dot)                                              \
    {                                                                                                        \
        const ttei_i32x##lanes code =                                                                        \
            plain ? (ttei_i32x##lanes)(window + window) + v->bias                                            \
                  : ttei_sum_##isa(window * v->a[second] + v->b[second], v->bias);                           \
        if (sink == TTEI_STORE) {                                                                            \
            const ttei_i16x##lanes half = __builtin_convertvector(code, ttei_i16x##lanes);                   \
            if (n >= lanes) memcpy(codes + i, &half, sizeof half);                                           \
            else memcpy(codes + i, &half, n * sizeof *codes);                                                \
        } else if (sink == TTEI_DOT) {                                                                       \
            *dot = ttei_fma_##isa(__builtin_convertvector(code, ttei_f32x##lanes),                           \
                                  (ttei_f32x##lanes)ttei_load_##isa(x + i, n), *dot);                        \
        } else {                                                                                             \
            const ttei_i32x##lanes sum = (ttei_i32x##lanes)ttei_load_##isa(sums + i, n);                     \
            ttei_keep_##isa(sums + i, n, ttei_mac_##isa(sum, code, v->factor));                              \
        }                                                                                                    \
    }                                                                                                        \
    /* The windows of steps i and further in the bytes x: n first values, m second values. */                \
    INLINE void ttei_step_##isa(const ttei_plan_##isa *v, const ttei_steps *s, ttei_u32x##lanes bytes,       \
                                int sink, int plain, int two, ttei_i16 *codes, const float *x,               \
                                ttei_i32 *sums, size_t i, size_t n, size_t m, ttei_f32x##lanes *dot)         \
    {                                                                                                        \
        const ttei_u32x##lanes window = (bytes >> v->shift[TTEI_TURN(i, lanes)]) & v->mask;                  \
        const size_t j = s->count[0] + i;                                                                    \
        ttei_put_##isa(v, window, sink, plain, 0, codes, x, sums, i, n, &dot[0]);                            \
        if (two && m > 0) ttei_put_##isa(v, window, sink, plain, 1, codes, x, sums, j, m, &dot[1]);          \
    }                                                                                                        \
    /* All steps: whole vectors; then what is left, and windows that go around the end of the circle. */     \
    INLINE ttei_f32x##lanes ttei_walk_##isa(const ttei_plan_##isa *v, const ttei_steps *s,                   \
                                            const unsigned char *circle, int sink, int plain, int two,       \
                                            ttei_i16 *codes, const float *x, ttei_i32 *sums)                 \
    {                                                                                                        \
        const size_t count = s->count[0], second = s->count[1], step = (size_t)s->step;                      \
        ttei_u32x##lanes index, bytes;                                                                       \
        ttei_f32x##lanes dot[2];                                                                             \
        size_t i, at;                                                                                        \
        memset(dot, 0, sizeof dot);                                                                          \
        for (i = 0; i + lanes <= (two ? second : count); i += lanes) {                                       \
            at = (s->at + i * step) / 8;                                                                     \
            if (at + v->reach > s->size) break;                                                              \
            bytes = ttei_bytes_##isa(circle + at, v->index[TTEI_TURN(i, lanes)]);                            \
            ttei_step_##isa(v, s, bytes, sink, plain, two, codes, x, sums, i, lanes, lanes, dot);            \
        }                                                                                                    \
        for (; i < count; i += lanes) {                                                                      \
            at = (s->at + i * step) / 8;                                                                     \
            index = v->index[TTEI_TURN(i, lanes)];                                                           \
            bytes = ttei_bytes_##isa(circle + at, index);                                                    \
            if (at + v->reach > s->size) {                                                                   \
                const int8_t end = (int8_t)ttei_min(s->size - at, 100);                                      \
                const ttei_i8x##lanes left = (ttei_i8x##lanes)(index * 0u) + end;                            \
                const ttei_u32x##lanes inside = (ttei_u32x##lanes)((ttei_i8x##lanes)index < left);           \
                index = (ttei_u32x##lanes)((ttei_i8x##lanes)index - left);                                   \
                bytes = (bytes & inside) | (ttei_bytes_##isa(circle, index) & ~inside);                      \
            }                                                                                                \
            ttei_step_##isa(v, s, bytes, sink, plain, two, codes, x, sums, i, count - i,                     \
                            second > i ? second - i : 0, dot);                                               \
        }                                                                                                    \
        return two ? dot[0] + dot[1] : dot[0];                                                               \
    }

/* The three uses: of `rows` records of the same steps, each `bytes` behind the one before, codes are stored,
   `stride` apart, or added, each record's times its q; `n` records of a class are multiplied with x, run by run,
   since all of them have their runs at the same places. */
#define TTEI_USES(isa, lanes, INLINE, TARGET)                                                                \
    INLINE ttei_f32x##lanes ttei_any_##isa(const ttei_plan_##isa *v, const ttei_steps *s,                    \
                                           const unsigned char *circle, int sink, ttei_i16 *codes,           \
                                           const float *x, ttei_i32 *sums)                                   \
    {                                                                                                        \
        if (s->plain) return ttei_walk_##isa(v, s, circle, sink, 1, 0, codes, x, sums);                      \
        if (s->count[1] == 0) return ttei_walk_##isa(v, s, circle, sink, 0, 0, codes, x, sums);              \
        return ttei_walk_##isa(v, s, circle, sink, 0, 1, codes, x, sums);                                    \
    }                                                                                                        \
    TARGET static void ttei_store_##isa(const ttei_steps *s, size_t rows, size_t bytes, ttei_i16 *codes,     \
                                        size_t stride)                                                       \
    {                                                                                                        \
        const ttei_plan_##isa v = ttei_begin_##isa(s);                                                       \
        const unsigned char *circle = s->bits;                                                               \
        for (; rows > 0; --rows, circle += bytes, codes += stride)                                           \
            (void)ttei_any_##isa(&v, s, circle, TTEI_STORE, codes, NULL, NULL);                              \
    }                                                                                                        \
    TARGET static void ttei_add_##isa(const ttei_steps *s, size_t rows, size_t bytes, const ttei_i32 *q,     \
                                      ttei_i32 *sums)                                                        \
    {                                                                                                        \
        ttei_plan_##isa v = ttei_begin_##isa(s);                                                             \
        const ttei_i32x##lanes zero = v.factor;                                                              \
        const unsigned char *circle = s->bits;                                                               \
        for (; rows > 0; --rows, circle += bytes, ++q) {                                                     \
            v.factor = zero + (lanes > 4 ? *q & 0xffff : *q);  /* as ttei_mac_.. wants it */                 \
            if (*q != 0) (void)ttei_any_##isa(&v, s, circle, TTEI_ADD, NULL, NULL, sums);                    \
        }                                                                                                    \
    }                                                                                                        \
    TARGET static void ttei_scores_##isa(int state_bits, const unsigned char *type,                          \
                                         const unsigned char *const *records, size_t n, const float *x,      \
                                         float *out)                                                         \
    {                                                                                                        \
        ttei_cursor c = ttei_cursor_begin(state_bits, type, records[0]);                                     \
        ttei_f32x##lanes sum[TTEI_ABREAST];                                                                  \
        ttei_steps s;                                                                                        \
        ttei_run run;                                                                                        \
        size_t i;                                                                                            \
        memset(sum, 0, sizeof sum);                                                                          \
        for (; ttei_cursor_next(&c, &run, &s); x += run.count) {                                             \
            const ttei_plan_##isa v = ttei_begin_##isa(&s);                                                  \
            const size_t from = (size_t)(s.bits - records[0]);                                               \
            for (i = 0; i < n && run.rate > 0; ++i)                                                          \
                sum[i] += run.spread * ttei_any_##isa(&v, &s, records[i] + from, TTEI_DOT, NULL, x, NULL);   \
        }                                                                                                    \
        for (i = 0; i < n; ++i) out[i] = ttei_total_##isa(sum[i]);                                           \
    }

/* TTEI_VECTORS(use, arguments): one of the above by the widest vectors that this processor has; then the caller
   returns. */
#ifdef TTEI_X86
TTEI_UNIT(avx2, 8, TTEI_AVX2_INLINE)
TTEI_USES(avx2, 8, TTEI_AVX2_INLINE, TTEI_AVX2)
TTEI_UNIT(avx512, 16, TTEI_AVX512_INLINE)
TTEI_USES(avx512, 16, TTEI_AVX512_INLINE, TTEI_AVX512)
#define TTEI_VECTORS(use, arguments)                                                                         \
    do {                                                                                                     \
        const int level = ttei_level();                                                                      \
        if (level > 1) ttei_##use##_avx512 arguments;                                                        \
        else if (level > 0) ttei_##use##_avx2 arguments;                                                     \
        if (level > 0) return;                                                                               \
    } while (0)
#else
TTEI_UNIT(neon, 4, TTEI_NEON_INLINE)
TTEI_USES(neon, 4, TTEI_NEON_INLINE, )
#define TTEI_VECTORS(use, arguments)                                                                         \
    do {                                                                                                     \
        if (TTEI_LEVEL_MAX < 1) break;                                                                       \
        ttei_##use##_neon arguments;                                                                         \
        return;                                                                                              \
    } while (0)
#endif

#else
#define TTEI_VECTORS(use, arguments) (void)0
#endif /* TTEI_X86 || TTEI_NEON */

/* ---- the three uses of codes, on any machine -------------------------------------------------- */

/* Codes of `rows` records of the same steps, each `bytes` behind the one before, `stride` apart. Uses s up. */
static void ttei_rows_codes(ttei_steps *s, size_t rows, size_t bytes, ttei_i16 *codes, size_t stride)
{
    TTEI_VECTORS(store, (s, rows, bytes, codes, stride));
    for (; rows > 0; --rows, s->bits += bytes, codes += stride) ttei_codes_plainly(s, codes);
}

TTEI_CLONES TTEI_LOOPS static void ttei_codes_add(size_t n, const ttei_i16 *codes, int32_t q, ttei_i32 *sums)
{
    size_t i;
    for (i = 0; i < n; ++i) sums[i] += q * codes[i];
}

/* sums[] += q[i] * codes of record i; |q| < 2^15. `codes` is room for one record. Uses s up. */
static void ttei_rows_add(ttei_steps *s, size_t rows, size_t bytes, const ttei_i32 *q, ttei_i32 *sums, ttei_i16 *codes)
{
    TTEI_VECTORS(add, (s, rows, bytes, q, sums));
    for (; rows > 0; --rows, s->bits += bytes, ++q) {
        if (*q == 0) continue;
        ttei_codes_plainly(s, codes);
        ttei_codes_add(s->count[0] + s->count[1], codes, *q, sums);
    }
}

/* Sum of codes[i] * x[i], in sums that do not wait for each other. */
TTEI_CLONES_FUSED static float ttei_codes_dot(size_t n, const ttei_i16 *codes, const float *x)
{
    float s[4] = {0, 0, 0, 0};
    size_t i = 0;
#ifndef TT_EMBED_DECODE_ONLY
    size_t k;
    for (; i + 4 <= n; i += 4)
        for (k = 0; k < 4; ++k) s[k] += (float)codes[i + k] * x[i + k];
#endif
    for (; i < n; ++i) s[0] += (float)codes[i] * x[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

/* out[i] = sum over the coefficients of record i of code * spread * x, for `n` <= TTEI_ABREAST records of the
   class `type`. */
static void ttei_records_dot(int state_bits, const unsigned char *type, const unsigned char *const *records,
                             size_t n, const float *x, float *out, ttei_i16 *codes)
{
    size_t i;
    TTEI_VECTORS(scores, (state_bits, type, records, n, x, out));
    for (i = 0; i < n; ++i) {
        ttei_cursor c = ttei_cursor_begin(state_bits, type, records[i]);
        const float *q = x;
        ttei_steps s;
        ttei_run run;
        out[i] = 0;
        for (; ttei_cursor_next(&c, &run, &s); q += run.count) {
            if (run.rate == 0) continue;
            ttei_codes_plainly(&s, codes);
            out[i] += run.spread * ttei_codes_dot(run.count, codes, q);
        }
    }
}

#ifndef TT_EMBED_READ_ONLY
/* All codes of a record; zeros for runs of rate 0. */
static void ttei_codes_decode(int state_bits, const ttei_run *runs, size_t run_count,
                              const unsigned char *record, int16_t *codes)
{
    unsigned char type[TTEI_CLASS_HEAD + TTEI_RUN_BYTES * TTEI_RUNS_MAX] = {0};
    ttei_cursor c;
    ttei_steps s;
    ttei_run run;
    size_t i;
    for (i = 0; i < run_count; ++i) ttei_type_add(type, runs[i].rate, runs[i].count);
    c = ttei_cursor_begin(state_bits, type, record);
    for (; ttei_cursor_next(&c, &run, &s); codes += run.count) {
        if (run.rate == 0) memset(codes, 0, run.count * sizeof *codes);
        else ttei_codes_plainly(&s, codes);
    }
}
#endif

#ifndef TT_EMBED_DECODE_ONLY

/* ---- many rows: products with a panel of the basis ------------------------------------------- */

/* sums[i][c] = sum over pairs p of q[i][p] (two numbers of 16 bits) * panel[p][c] (two as well) for TTEI_TILE
   rows i, and the first n columns c; or that added to what is there. */
TTEI_LOOPS static void ttei_tile_plain(size_t pairs, const ttei_i16 *panel, const ttei_u32 *const *q, size_t n,
                                       int add, ttei_i32 *const *sums)
{
    size_t i, p, c;
    for (i = 0; i < TTEI_TILE; ++i) {
        int32_t sum[TTEI_PANEL];
        memset(sum, 0, sizeof sum);
        for (p = 0; p < pairs; ++p) {
            const ttei_i16 *x = panel + 2 * TTEI_PANEL * p;
            const int16_t even = (int16_t)(q[i][p] & 0xffffu), odd = (int16_t)(q[i][p] >> 16);
            for (c = 0; c < TTEI_PANEL; ++c) sum[c] += even * x[2 * c] + odd * x[2 * c + 1];
        }
        for (c = 0; c < n; ++c) sums[i][c] = add ? sums[i][c] + sum[c] : sum[c];
    }
}

#ifdef TTEI_X86

/* `height` rows and two vectors of columns at a time, whose sums are as many as there are registers for. */
#define TTEI_TILES(isa, lanes, height, TARGET)                                                               \
    TARGET TTEI_LOOPS static void ttei_tile_##isa(size_t pairs, const ttei_i16 *panel,                       \
                                                  const ttei_u32 *const *q, size_t n, int add,               \
                                                  ttei_i32 *const *sums)                                     \
    {                                                                                                        \
        ttei_i32x##lanes s[height], u[height];                                                               \
        size_t i, k, p, c;                                                                                   \
        for (c = 0; c < n; c += 2 * lanes)                                                                   \
            for (i = 0; i < TTEI_TILE; i += height) {                                                        \
                const size_t first = ttei_min(n - c, lanes), second = ttei_min(n - c - first, lanes);        \
                memset(s, 0, sizeof s);                                                                      \
                memset(u, 0, sizeof u);                                                                      \
                for (p = 0; p < pairs; ++p) {                                                                \
                    const ttei_i16 *at = panel + 2 * (TTEI_PANEL * p + c);                                   \
                    const ttei_i32x##lanes x = (ttei_i32x##lanes)ttei_load_##isa(at, lanes);                 \
                    const ttei_i32x##lanes y = (ttei_i32x##lanes)ttei_load_##isa(at + 2 * lanes, lanes);     \
                    for (k = 0; k < height; ++k) {                                                           \
                        const ttei_i32x##lanes f = x * 0 + (int32_t)q[i + k][p];                             \
                        s[k] = ttei_mac_##isa(s[k], x, f);                                                   \
                        u[k] = ttei_mac_##isa(u[k], y, f);                                                   \
                    }                                                                                        \
                }                                                                                            \
                for (k = 0; k < height; ++k) {                                                               \
                    ttei_i32 *to = sums[i + k] + c;                                                          \
                    s[k] += (ttei_i32x##lanes)ttei_load_##isa(to, add ? first : 0);                          \
                    u[k] += (ttei_i32x##lanes)ttei_load_##isa(to + first, add ? second : 0);                 \
                    ttei_keep_##isa(to, first, s[k]);                                                        \
                    ttei_keep_##isa(to + first, second, u[k]);                                               \
                }                                                                                            \
            }                                                                                                \
    }

TTEI_TILES(avx2, 8, 4, TTEI_AVX2)
TTEI_TILES(avx512, 16, 8, TTEI_AVX512)

#endif

static void ttei_tile(size_t pairs, const ttei_i16 *panel, const ttei_u32 *const *q, size_t n, int add,
                      ttei_i32 *const *sums)
{
#ifdef TTEI_X86
    TTEI_VECTORS(tile, (pairs, panel, q, n, add, sums));
#endif
    ttei_tile_plain(pairs, panel, q, n, add, sums);
}

/* Two rows of TTEI_PANEL codes, one behind the other, become one of pairs. */
TTEI_LOOPS static void ttei_interleave(ttei_i16 *rows)
{
    int16_t two[2][TTEI_PANEL];
    size_t c;
    memcpy(two, rows, sizeof two);
    for (c = 0; c < TTEI_PANEL; ++c) {
        rows[2 * c] = two[0][c];
        rows[2 * c + 1] = two[1][c];
    }
}

/* `n` columns from `column` on of `count` records, rows of the basis of one rate, to rows of a panel. */
static void ttei_basis_columns(const tte_table *t, int rate, const unsigned char *record, size_t count,
                               size_t bytes, size_t column, size_t n, ttei_i16 *panel)
{
    ttei_steps s = ttei_basis_steps(t, rate, record), two = s;
    const size_t half = s.count[0], at = s.at, step = (size_t)s.step;
    const size_t first = column < half ? ttei_min(n, half - column) : 0;  /* first values, then second ones */
    if (rate == 0) {
        memset(panel, 0, count * TTEI_PANEL * sizeof *panel);
        return;
    }
    s.count[1] = 0;
    s.count[0] = first;
    s.at = at + column * step;
    if (first > 0) ttei_rows_codes(&s, count, bytes, panel, TTEI_PANEL);
    if (first == n) return;
    two.count[1] = 0;
    two.count[0] = n - first;
    two.at = at + (column + first - half) * step;
    two.other = 1;
    ttei_rows_codes(&two, count, bytes, panel + first, TTEI_PANEL);
}

#endif /* TT_EMBED_DECODE_ONLY */

/* ================================================================================================
   TENSOR TRAINS
   One train: shape and ranks say how the floats of its cores are to be read.
   ============================================================================================= */

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

/* c (m x n) = a (m x k) * b (k x n); entry (i, l) of a is a[i * down + l * right], the rows of b are ldb apart,
   those of c ldc. Every entry of c is summed in the order of l, whatever block it is in, so that results do
   not depend on how rows are grouped. */
#if !defined(TT_EMBED_DECODE_ONLY) && TTEI_LANES > 1

enum { TTEI_STRIP = 128 };
/* A block of `height` rows, 1 or 4, and `vectors` (1 or 2) vectors of columns; with `more` it is added to c. */
TTEI_INLINE void ttei_product_block(int height, int vectors, int more, size_t k, const float *a, size_t down,
                                    size_t right, const float *b, size_t ldb, float *c, size_t ldc)
{
    TTEI_NO_FUSING
    ttei_lanes sum[4][2];
    size_t l;
    int i, j;
    memset(sum, 0, sizeof sum);
    TTEI_UNROLL
    for (i = 0; i < height; ++i)
        TTEI_UNROLL
        for (j = 0; j < vectors; ++j)
            if (more) sum[i][j] = TTEI_FLOATS_OF(c + (size_t)i * ldc + j * TTEI_LANES);
    for (l = 0; l < k; ++l, a += right, b += ldb)
        TTEI_UNROLL
        for (i = 0; i < height; ++i)
            TTEI_UNROLL
            for (j = 0; j < vectors; ++j) sum[i][j] += a[(size_t)i * down] * TTEI_FLOATS_OF(b + j * TTEI_LANES);
    TTEI_UNROLL
    for (i = 0; i < height; ++i)
        TTEI_UNROLL
        for (j = 0; j < vectors; ++j) TTEI_FLOATS(c + (size_t)i * ldc + j * TTEI_LANES) = sum[i][j];
}
#endif

TTEI_CLONES TTEI_UNFUSED static void ttei_product(size_t m, size_t k, size_t n, const float *a, size_t down,
                                                  size_t right, const float *b, size_t ldb, float *c, size_t ldc)
{
    TTEI_NO_FUSING
    size_t i, j = 0, l;
#if !defined(TT_EMBED_DECODE_ONLY) && TTEI_LANES > 1
    for (; j + 2 * TTEI_LANES <= n; j += 2 * TTEI_LANES) {
        float strip[TTEI_STRIP * 2 * TTEI_LANES];  /* of b: rows far apart share few sets of the cache */
        size_t first = 0, part, step = m >= 8 && k > 32 ? 2 * TTEI_LANES : ldb;
        do {
            const float *from = b + first * ldb + j, *left = a + first * right;
            part = step == ldb ? k - first : ttei_min(TTEI_STRIP, k - first);
            if (step != ldb) {
                for (l = 0; l < part; ++l) memcpy(strip + l * 2 * TTEI_LANES, from + l * ldb, 2 * sizeof(ttei_lanes));
                from = strip;
            }
            for (i = 0; i + 4 <= m; i += 4)
                ttei_product_block(4, 2, first > 0, part, left + i * down, down, right, from, step, c + i * ldc + j, ldc);
            for (; i < m; ++i)
                ttei_product_block(1, 2, first > 0, part, left + i * down, down, right, from, step, c + i * ldc + j, ldc);
            first += part;
        } while (first < k);
    }
    for (; j + TTEI_LANES <= n; j += TTEI_LANES) {
        for (i = 0; i + 4 <= m; i += 4)
            ttei_product_block(4, 1, 0, k, a + i * down, down, right, b + j, ldb, c + i * ldc + j, ldc);
        for (; i < m; ++i)
            ttei_product_block(1, 1, 0, k, a + i * down, down, right, b + j, ldb, c + i * ldc + j, ldc);
    }
    for (; j + 4 <= n; j += 4)
        for (i = 0; i < m; ++i) {
            ttei_floats4 sum = {0};
            for (l = 0; l < k; ++l) sum += a[i * down + l * right] * *(const ttei_floats4 *)(b + l * ldb + j);
            *(ttei_floats4 *)(c + i * ldc + j) = sum;
        }
#endif
    for (; j < n; ++j)
        for (i = 0; i < m; ++i) {
            float sum = 0;
            for (l = 0; l < k; ++l) {
                const float product = a[i * down + l * right] * b[l * ldb + j];
                sum += product;
            }
            c[i * ldc + j] = sum;
        }
}

/* Sum of a[i] * b[i], in sums that do not wait for each other. */
TTEI_CLONES_FUSED static float ttei_float_dot(size_t n, const float *a, const float *b)
{
    float sum = 0;
    size_t i = 0;
#if !defined(TT_EMBED_DECODE_ONLY) && TTEI_LANES > 1
    ttei_lanes s0 = {0}, s1 = {0}, x, y;
    float part[TTEI_LANES];
    size_t lane;
    for (; i + 2 * TTEI_LANES <= n; i += 2 * TTEI_LANES) {
        memcpy(&x, a + i, sizeof x);
        memcpy(&y, b + i, sizeof y);
        s0 += x * y;
        memcpy(&x, a + i + TTEI_LANES, sizeof x);
        memcpy(&y, b + i + TTEI_LANES, sizeof y);
        s1 += x * y;
    }
    s0 += s1;
    memcpy(part, &s0, sizeof part);
    for (lane = 0; lane < TTEI_LANES; ++lane) sum += part[lane];
#endif
    for (; i < n; ++i) sum += a[i] * b[i];
    return sum;
}

/* The first `count` entries of the tensor. From the left, V_k ((n1..nk) x rk), and from the right,
   Y_k (r(k-1) x (nk..nd)), towards the middle bond m:
     V_1 = G_1 as n1 x r1,         V_k = V_(k-1) * G_k,  G_k as r(k-1) x (nk rk);
     Y_d = G_d as r(d-1) x nd,     Y_k = G_k * Y_(k+1),  G_k as (r(k-1) nk) x rk;
     x = V_m * Y_(m+1), its last row cut where `count` ends. */
static void ttei_contract(const tte_shape *shape, const int32_t *ranks, const float *cores,
                          size_t count, float *x, float *scratch)
{
    const int32_t d = shape->modes;
    const float *v = cores, *y = cores + ttei_core_sum(shape, ranks), *core;
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

tte_status tte_reconstruct(const tte_shape *shape, const int32_t *ranks, const float *cores, float *x, float *scratch)
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

/* `n` codes from code `i` on as floats: the numbers themselves, or integers times `scale`. */
TTEI_CLONES TTEI_LOOPS static void ttei_numbers_decode(tte_coding coding, size_t i, size_t n, float scale,
                                                       const unsigned char *codes, float *out)
{
    const size_t end = i + n;
    uint32_t bits;
    switch (coding) {
    case TTE_F32:
        for (; i < end; ++i) *out++ = ttei_get_f32(codes + 4 * i);
        break;
    case TTE_F16:
        for (; i < end; ++i) {
            bits = ttei_f16_bits((uint32_t)codes[2 * i] | (uint32_t)codes[2 * i + 1] << 8);
            memcpy(out++, &bits, sizeof bits);
        }
        break;
    case TTE_I8:
        for (; i < end; ++i) *out++ = scale * (float)((codes[i] ^ 128) - 128);
        break;
    default:
        for (; i < end; ++i) *out++ = scale * (float)((codes[i / 2] >> (i % 2 * 4) & 15) - 8);
        break;
    }
}

/* The cores of a record as floats. */
static void ttei_record_decode(tte_coding coding, const tte_shape *shape, const int32_t *ranks,
                               const unsigned char *record, float *cores)
{
    const unsigned char *codes = record + 2 * shape->modes;
    size_t i = 0, n;
    int32_t k;
    if (!ttei_has_scales(coding)) {
        ttei_numbers_decode(coding, 0, ttei_core_sum(shape, ranks), 1, record, cores);
        return;
    }
    for (k = 0; k < shape->modes; ++k, i += n) {
        n = ttei_core_size(shape, ranks, k);
        ttei_numbers_decode(coding, i, n, ttei_f16_decode(ttei_get16(record + 2 * k)), codes, cores + i);
    }
}

/* ================================================================================================
   LOOKUP AND PRODUCTS
   Records back to numbers. All memory is the caller's scratch, carved in two places, one a layout.
   ============================================================================================= */

/* With OpenMP the calls that read many tokens share them out; every thread has a part of the scratch. No
   result depends on which tokens are read together. */
#if defined(_OPENMP) && !defined(TT_EMBED_DECODE_ONLY)
enum { TTEI_READERS = 8 };  /* most threads */
#define TTEI_OPENMP(directive) _Pragma(#directive)
static size_t ttei_thread(void) { return (size_t)omp_get_thread_num(); }
static size_t ttei_threads(size_t pieces, size_t most)
{
    most = ttei_min(ttei_min(most, TTEI_READERS), (size_t)omp_get_max_threads());
    return ttei_max(ttei_min(most, pieces), 1);
}
#else
enum { TTEI_READERS = 1 };
#define TTEI_OPENMP(directive)
static size_t ttei_thread(void) { return 0; }
#endif

enum {
    TTEI_CHUNK_MIN = 64, /* scores that tte_top_k takes at a time, at least */
    TTEI_PIECE = 1024,   /* tokens that a thread scores at a time           */
    TTEI_WINDOW = 512    /* tokens of a batch among which repeats are found */
};

/* ---- scratch --------------------------------------------------------------------------------- */

/* TTE_PER_TOKEN: of each thread the cores of a record and intermediate results; for all of them a vector padded
   to prod(dim), or two rows, or the cores of another token; and scores. */
typedef struct ttei_train_room {
    float *row, *scores, *parts;
    size_t chunk, part, threads;  /* scores; floats of a part: `numbers`, then work; parts that fit */
} ttei_train_room;

/* Carves `scratch`, or answers how much is needed when that is NULL. Intermediate results are those of a contraction;
   for a score twice the largest rk (n(k+1)..nd), which is enough for an inner product, twice the largest rk^2. */
static size_t ttei_train_carve(const tte_table *t, float *scratch, ttei_train_room *room)
{
    const size_t row = ttei_max(ttei_max(ttei_entries(&t->shape), t->numbers), ttei_mul(2, (size_t)t->dim));
    size_t most = 1, right = 1, part, need, left = 0;
    int32_t k;
    for (k = t->shape.modes - 1; k > 0; --k) {
        right *= (size_t)t->shape.dim[k];
        most = ttei_max(most, ttei_mul((size_t)t->ranks[k], right));
    }
    part = ttei_add(t->numbers, ttei_max(ttei_contract_len(&t->shape, t->ranks), ttei_mul(2, most)));
    need = ttei_add(ttei_add(row, part), TTEI_CHUNK_MIN);
    if (scratch == NULL) return need;
#ifndef TT_EMBED_DECODE_ONLY
    left = ttei_room(t) - need;  /* for more threads and longer chunks */
#endif
    room->threads = ttei_min(TTEI_READERS, 1 + left / part);
    room->chunk = TTEI_CHUNK_MIN + left - (room->threads - 1) * part;
    room->part = part;
    room->row = scratch;
    room->scores = scratch + row;
    room->parts = room->scores + room->chunk;
    return need;
}

typedef struct ttei_table_room {
    ttei_u32 *classes;  /* as ttei_class_list writes it                                             */
    float *z;           /* coefficients of a row, the mean's first; of a query <h, row of the basis> */
    ttei_i16 *codes;    /* of a row of the basis or a record, for each thread                       */
    size_t codes_len;   /* of a thread                                                              */
    float *rows;        /* two rows; or scores of centroids, and what is left for those of tokens   */
    size_t rows_len;
} ttei_table_room;

/* TTE_PER_TABLE: together at most 130 + dim + 1 + 8 (dim / 2 + 9) + 8 dim + 256 + 64 floats. */
static size_t ttei_table_carve(const tte_table *t, float *scratch, ttei_table_room *room)
{
    const size_t codes = (size_t)t->dim / 2 + 9, classes = 2 * (size_t)(t->class_count + 1);
    const size_t used = classes + (size_t)t->basis_rows + TTEI_READERS * codes;
    const size_t rows = ttei_max((size_t)t->centroid_count + TTEI_CHUNK_MIN, 2 * (size_t)t->dim);
    if (scratch == NULL) return used + rows;
    room->classes = (ttei_u32 *)scratch;
    room->z = scratch + classes;
    room->codes = (ttei_i16 *)(room->z + t->basis_rows);
    room->codes_len = 2 * codes;
    room->rows = scratch + used;
#ifdef TT_EMBED_DECODE_ONLY
    room->rows_len = rows;
#else
    room->rows_len = ttei_room(t) - used;
#endif
    ttei_class_list(t, room->classes);
    return used + rows;
}

static size_t ttei_scratch_floats(const tte_table *t)
{
    return t->layout == TTE_PER_TABLE ? ttei_table_carve(t, NULL, NULL) : ttei_train_carve(t, NULL, NULL);
}

size_t tte_scratch_len(const tte_table *t)
{
    if (t == NULL) return 0;
#ifdef TT_EMBED_DECODE_ONLY
    return ttei_scratch_floats(t);
#else
    return ttei_room(t);
#endif
}

/* ---- rows of TTE_PER_TABLE ----------------------------------------------------------------------
   row = z B, with z the coefficients of the row and B the basis, whose first row is the mean. All machines
   give the same bits: z in single floats, rounded one by one, then 16-bit integers, whose products with the
   code integers of the basis add up exactly. */

/* The scales of the basis, and behind them its records. */
static const unsigned char *ttei_basis_scales(const tte_table *t)
{
    return t->basis + 1 + TTEI_RUN_BYTES * (size_t)t->basis[0];
}
static const unsigned char *ttei_basis_records(const tte_table *t)
{
    return ttei_basis_scales(t) + 2 * (size_t)t->basis_rows;
}

/* z[j] = code * scale, or that added to what z holds. */
TTEI_CLONES TTEI_LOOPS static void ttei_scale_codes(size_t n, const ttei_i16 *codes, float scale, int add, float *z)
{
    TTEI_NO_FUSING
    size_t j;
    if (!add) {
        for (j = 0; j < n; ++j) z[j] = (float)codes[j] * scale;
        return;
    }
    for (j = 0; j < n; ++j) {
        const float y = TTEI_ROUNDED((float)codes[j] * scale);
        z[j] = z[j] + y;
    }
}

/* The coefficients of a record of the class `type`, all t->rank of them: code * (gain * spread). */
static void ttei_record_coefficients(const tte_table *t, const unsigned char *type, float gain,
                                     const unsigned char *record, ttei_i16 *codes, int add, float *z)
{
    ttei_cursor c = ttei_cursor_begin(t->state_bits, type, record);
    const float *end = z + t->rank;
    ttei_run run;
    ttei_steps s;
    for (; ttei_cursor_next(&c, &run, &s); z += run.count) {
        if (run.rate > 0) {
            ttei_rows_codes(&s, 1, 0, codes, 0);
            ttei_scale_codes(run.count, codes, TTEI_ROUNDED(gain * run.spread), add, z);
        } else if (!add) {
            memset(z, 0, run.count * sizeof *z);
        }
    }
    if (!add) memset(z, 0, (size_t)(end - z) * sizeof *z);
}

/* z *= scales, bfloat16 */
TTEI_CLONES TTEI_LOOPS static void ttei_times(size_t n, const unsigned char *scales, float *z)
{
    size_t j;
    for (j = 0; j < n; ++j) z[j] *= ttei_f32_of((uint32_t)scales[2 * j] << 16 | (uint32_t)scales[2 * j + 1] << 24);
}

/* z = coefficients of a row, centroid and mean included, times the scales of the basis. */
static void ttei_row_coefficients(const tte_table *t, size_t token, const ttei_u32 *classes, ttei_i16 *codes, float *z)
{
    const ttei_row row = ttei_find_row(t, classes, token);
    const int mean = t->basis_rows - t->rank, centroids = t->centroid_count > 1;
    if (mean) z[0] = 1;
    if (centroids) {
        const unsigned char *type = t->classes + classes[2 * t->class_count];
        ttei_record_coefficients(t, type, ttei_get_bf16(type + 2),
                                 t->centroids + row.centroid * t->record_size, codes, 0, z + mean);
    }
    ttei_record_coefficients(t, row.type, row.gain, row.record, codes, centroids, z + mean);
    ttei_times((size_t)t->basis_rows, ttei_basis_scales(t), z);
}

/* x = x * scale; then in their place integers, rounded half away from zero; returns the sum of their
   magnitudes. Two loops, so that nothing fuses. */
TTEI_CLONES TTEI_LOOPS static int32_t ttei_round_all(size_t n, float scale, float *x)
{
    TTEI_NO_FUSING
    int32_t sum = 0;
    size_t j;
    for (j = 0; j < n; ++j) x[j] = x[j] * scale;
    for (j = 0; j < n; ++j) {
        const float half = ttei_f32_of((ttei_bits_of(x[j]) & 0x80000000u) | 0x3f000000u);  /* of the same sign */
        const int32_t q = (int32_t)TTEI_ROUNDED(x[j] + half);
        sum += q < 0 ? -q : q;
        memcpy(x + j, &q, sizeof q);
    }
    return sum;
}

/* Coefficients become integers q of at most 15 bits, so few that sums with the basis stay below 2^31:
     q_j = a_j 32767 / m,  m = max |a_j|;   S = sum |q_j| T_j,  T_j the largest code of row j;
     q_j := sign(q_j) floor(|q_j| / 2^e),  e the smallest with S / 2^e < 2^31.
   Returns the factor m / 32767 2^e; 0 where all is zero or nothing is finite. */
static float ttei_row_integers(const tte_table *t, float *z)
{
    ttei_i32 *q = (ttei_i32 *)z;
    const unsigned char *run = t->basis + 1;
    const size_t n = (size_t)t->basis_rows;
    const volatile float full = 32767;  /* or -ffast-math would multiply with the inverse */
    const float most = ttei_largest(n, z);
    size_t j, count;
    float scale;
    uint64_t sum = 0;
    int i, e = 0;
    if (!ttei_finite_f32(most) || most <= 0) return 0;
    scale = TTEI_ROUNDED(full / most);
    if (!ttei_finite_f32(scale)) return 0;
    for (i = 0, j = 0; i < t->basis[0]; ++i, run += TTEI_RUN_BYTES, j += count) {
        count = ttei_get16(run + 1);
        sum += (uint64_t)ttei_round_all(count, scale, z + j) * ttei_rate_bound(run[0]);
    }
    while (sum >> e >= 0x80000000u) ++e;
    for (j = 0; e > 0 && j < n; ++j) q[j] = q[j] < 0 ? -(-q[j] >> e) : q[j] >> e;
    return TTEI_ROUNDED(most / full) * ttei_power(e);
}

/* The entries of a row from their integer sums, in place: times the factor, times 2^exponent in two steps. */
TTEI_CLONES TTEI_LOOPS static void ttei_row_finish(size_t n, float factor, int32_t exponent, float *row)
{
    const float half = ttei_power(exponent / 2), rest = ttei_power(exponent - exponent / 2);
    size_t i;
    for (i = 0; i < n; ++i) {
        int32_t sum;
        memcpy(&sum, row + i, sizeof sum);
        row[i] = TTEI_ROUNDED(TTEI_ROUNDED((float)sum) * factor) * half * rest;
    }
}

/* One row of the basis after the other is decoded and added. */
static void ttei_table_row(const tte_table *t, uint32_t token, const ttei_table_room *room, float *row)
{
    const unsigned char *record = ttei_basis_records(t), *run = t->basis + 1;
    const size_t dim = (size_t)t->dim;
    const ttei_i32 *q = (const ttei_i32 *)room->z;
    float factor;
    int r;
    memset(row, 0, dim * sizeof *row);
    ttei_row_coefficients(t, token, room->classes, room->codes, room->z);
    factor = ttei_row_integers(t, room->z);
    if (!(factor > 0)) return;
    for (r = 0; r < t->basis[0]; ++r, run += TTEI_RUN_BYTES) {
        const size_t count = ttei_get16(run + 1), bytes = ttei_basis_row_bytes(run[0], dim);
        ttei_steps s = ttei_basis_steps(t, run[0], record);
        ttei_rows_add(&s, count, bytes, q, (ttei_i32 *)row, room->codes);
        record += count * bytes;
        q += count;
    }
    ttei_row_finish(dim, factor, t->exponent, row);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void ttei_train_row(const tte_table *t, uint32_t token, float *part, float *row)
{
    ttei_train_record record;
    ttei_find_train(t, token, &record);
    ttei_record_decode(t->coding, &t->shape, record.ranks, record.bytes, part);
    ttei_contract(&t->shape, record.ranks, part, (size_t)t->dim, row, part + t->numbers);
}

tte_status tte_lookup(const tte_table *t, uint32_t token, float *row, float *scratch)
{
    if (t == NULL || row == NULL || scratch == NULL) return TTE_ERR_ARGUMENT;
    if (token >= t->vocab) return TTE_ERR_RANGE;
    if (t->layout == TTE_PER_TOKEN) {
        ttei_train_row(t, token, scratch, row);
    } else {
        ttei_table_room room;
        (void)ttei_table_carve(t, scratch, &room);
        ttei_table_row(t, token, &room, row);
    }
    return TTE_OK;
}

#ifndef TT_EMBED_DECODE_ONLY

/* ---- many rows ----------------------------------------------------------------------------------
   Of TTE_PER_TABLE first the integer coefficients of a group of rows are made, which lie in the scratch
   and where rows behind the group will be. Then panels of the basis are decoded, TTEI_PANEL columns of at
   most 2 TTEI_DEPTH rows, and each is multiplied with all rows of the group: what a panel costs is shared by
   all of them. */

typedef struct ttei_batch {
    const tte_table *t;
    const ttei_table_room *room;
    const uint32_t *tokens;
    float *rows, *leading, *other;     /* rows of the group; coefficients in scratch, and behind the group */
    size_t count, near_count;
    size_t pairs, q;              /* of coefficients; floats of a row: factor, pairs that are used, pairs */
    float *panels;                /* of all threads but the first, at the end of all rows             */
    size_t depth, panel_len;      /* pairs of rows of the basis in a panel; its floats                */
} ttei_batch;

static float *ttei_batch_q(const ttei_batch *b, size_t i)
{
    return i < b->near_count ? b->leading + i * b->q : b->other + (i - b->near_count) * b->q;
}

static float *ttei_batch_panel(const ttei_batch *b)
{
    float *p = ttei_thread() == 0 ? b->room->rows : b->panels + (ttei_thread() - 1) * b->panel_len;
    return p + (64 - (uintptr_t)p % 64) % 64 / sizeof *p;
}

/* Coefficients z of row i of the group as integers, in pairs, behind their factor. z has room for one more. */
static void ttei_batch_integers(const ttei_batch *b, size_t i, float *z)
{
    float *to = ttei_batch_q(b, i);
    const ttei_i32 *q = (const ttei_i32 *)(const void *)z;
    ttei_u32 *used = (ttei_u32 *)(to + 1), *pairs = used + 1;
    size_t p;
    z[b->t->basis_rows] = 0;  /* beside the last of an odd number */
    to[0] = ttei_row_integers(b->t, z);
    if (!(to[0] > 0)) memset(z, 0, ((size_t)b->t->basis_rows + 1) * sizeof *z);
    for (*used = 0, p = 0; p < b->pairs; ++p) {
        pairs[p] = ((uint32_t)q[2 * p] & 0xffffu) | (uint32_t)q[2 * p + 1] << 16;
        if (pairs[p] != 0) *used = (uint32_t)p + 1;
    }
}

/* Row i of the group, made in the room of a panel. */
static void ttei_batch_row(const ttei_batch *b, size_t i)
{
    float *z = ttei_batch_panel(b);
    ttei_row_coefficients(b->t, b->tokens[i], b->room->classes, b->room->codes + ttei_thread() * b->room->codes_len, z);
    ttei_batch_integers(b, i, z);
}

/* A panel: n columns from `column` on of `depth` pairs of rows of the basis from row `from` on. */
static void ttei_panel_fill(const tte_table *t, size_t column, size_t n, size_t from, size_t depth, ttei_i16 *panel)
{
    const unsigned char *record = ttei_basis_records(t), *run = t->basis + 1;
    size_t row = 0, rows, bytes, first, end;
    int r;
    const size_t blank = n < TTEI_PANEL ? depth : from + 2 * depth > (size_t)t->basis_rows;
    memset(panel + (depth - blank) * 2 * TTEI_PANEL, 0, blank * 2 * TTEI_PANEL * sizeof *panel);
    for (r = 0; r < t->basis[0]; ++r, run += TTEI_RUN_BYTES, row += rows, record += rows * bytes) {
        rows = ttei_get16(run + 1);
        bytes = ttei_basis_row_bytes(run[0], (size_t)t->dim);
        first = ttei_max(row, from);
        end = ttei_min(row + rows, from + 2 * depth);
        if (first < end)
            ttei_basis_columns(t, run[0], record + (first - row) * bytes, end - first, bytes, column, n,
                               panel + (first - from) * TTEI_PANEL);
    }
    for (; depth > 0; --depth, panel += 2 * TTEI_PANEL) ttei_interleave(panel);
}

/* Integer sums of the columns of panel `number`, for all rows of the group. */
static void ttei_batch_columns(const ttei_batch *b, size_t number, ttei_i16 *panel)
{
    const size_t dim = (size_t)b->t->dim, column = number * TTEI_PANEL, n = ttei_min(TTEI_PANEL, dim - column);
    ttei_i32 *sums[TTEI_TILE], lost[TTEI_TILE][TTEI_PANEL] = {{0}};
    const ttei_u32 *q[TTEI_TILE];
    size_t pair = 0, depth, i, k, used;
    do {
        depth = ttei_min(b->depth, b->pairs - pair);
        ttei_panel_fill(b->t, column, n, 2 * pair, depth, panel);
        for (i = 0; i < b->count; i += TTEI_TILE) {
            for (used = 0, k = 0; k < TTEI_TILE; ++k) {
                const size_t one = ttei_min(i + k, b->count - 1);  /* what the last tile does twice is lost */
                q[k] = (const ttei_u32 *)(ttei_batch_q(b, one) + 1);
                used = ttei_max(used, *q[k]);
                q[k] += 1 + pair;
                sums[k] = one == i + k ? (ttei_i32 *)(b->rows + one * dim + column) : lost[k];
            }
            used = used > pair ? ttei_min(used - pair, depth) : 0;
            if (pair == 0 || used > 0) ttei_tile(used, panel, q, n, pair > 0, sums);
        }
        pair += depth;
    } while (pair < b->pairs);
}

static void ttei_batch_finish(const ttei_batch *b, size_t i)
{
    const size_t dim = (size_t)b->t->dim;
    ttei_row_finish(dim, ttei_batch_q(b, i)[0], b->t->exponent, b->rows + i * dim);
}

/* A group: three loops that threads share, with a wait between them. */
static void ttei_batch_group(const ttei_batch *b, size_t threads)
{
    const size_t dim = (size_t)b->t->dim;
    const int rows = (int)b->count, panels = (int)((dim + TTEI_PANEL - 1) / TTEI_PANEL);
    int i;
    (void)threads;
    TTEI_OPENMP(omp parallel num_threads((int)threads) private(i))
    {
        TTEI_OPENMP(omp for schedule(static))
        for (i = 0; i < rows; ++i) ttei_batch_row(b, (size_t)i);
        TTEI_OPENMP(omp for schedule(static))
        for (i = 0; i < panels; ++i) ttei_batch_columns(b, (size_t)i, (ttei_i16 *)ttei_batch_panel(b));
        TTEI_OPENMP(omp for schedule(static))
        for (i = 0; i < rows; ++i) ttei_batch_finish(b, (size_t)i);
    }
}

/* `count` different rows, to the front of room for `places` rows. The scratch left over holds a panel and the
   coefficients of some rows; others lie behind the group, which is as large as that allows. */
static void ttei_table_rows(const tte_table *t, const uint32_t *tokens, size_t count, size_t places,
                            const ttei_table_room *room, float *rows)
{
    const size_t dim = (size_t)t->dim;
    ttei_batch b;
    size_t threads = 1, left, parts;
    b.t = t;
    b.room = room;
    b.pairs = ((size_t)t->basis_rows + 1) / 2;
    b.q = b.pairs + 2;
    b.depth = ttei_min(TTEI_DEPTH, room->rows_len * 3 / 4 / TTEI_PANEL);
    parts = ttei_max((b.pairs + b.depth - 1) / b.depth, 1);
    b.depth = (b.pairs + parts - 1) / parts;  /* parts of one size */
    b.panel_len = ttei_max(TTEI_PANEL * b.depth, 2 * b.pairs) + 16;
    b.leading = room->rows + b.panel_len;
    b.near_count = (room->rows_len - b.panel_len) / b.q;
    for (; count > 0; count -= b.count, places -= b.count, tokens += b.count, rows += b.count * dim) {
        left = places * dim;
#ifdef _OPENMP
        threads = ttei_threads(count / 8, 1 + left / 4 / b.panel_len);
#endif
        left -= (threads - 1) * b.panel_len;
        b.panels = rows + left;
        b.count = ttei_min(count, ttei_min(left / dim, (b.near_count * b.q + left) / (b.q + dim)));
        if (b.count < count && b.count > TTEI_TILE) b.count -= b.count % TTEI_TILE;
        b.tokens = tokens;
        b.rows = rows;
        b.other = rows + b.count * dim;
        ttei_batch_group(&b, threads);
    }
}

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
static void ttei_window_rows(const tte_table *t, const uint32_t *tokens, size_t count, float *rows, float *scratch)
{
    const size_t dim = (size_t)t->dim;
    uint32_t different[TTEI_WINDOW];
    uint16_t which[TTEI_WINDOW];
    const size_t n = ttei_distinct(tokens, count, different, which);
    if (n == 1) {
        (void)tte_lookup(t, tokens[0], rows, scratch);
    } else if (t->layout == TTE_PER_TABLE) {
        ttei_table_room room;
        (void)ttei_table_carve(t, scratch, &room);
        ttei_table_rows(t, different, n, count, &room, rows);
    } else {
        ttei_train_room room;
        int i;
        (void)ttei_train_carve(t, scratch, &room);
        TTEI_OPENMP(omp parallel for schedule(dynamic, 32) num_threads((int)ttei_threads(n / 32, room.threads)))
        for (i = 0; i < (int)n; ++i)
            ttei_train_row(t, different[i], room.parts + ttei_thread() * room.part, rows + (size_t)i * dim);
    }
    while (count-- > 0)
        if (which[count] != count)
            memcpy(rows + count * dim, rows + which[count] * dim, dim * sizeof *rows);
}

#endif

tte_status tte_lookup_batch(const tte_table *t, const uint32_t *tokens, size_t count, float *rows, float *scratch)
{
    size_t i;
    if (t == NULL || tokens == NULL || rows == NULL || scratch == NULL) return TTE_ERR_ARGUMENT;
    for (i = 0; i < count; ++i)
        if (tokens[i] >= t->vocab) return TTE_ERR_RANGE;
    for (; count > 0; count -= i, tokens += i, rows += i * (size_t)t->dim) {
#ifdef TT_EMBED_DECODE_ONLY
        i = 1;
        (void)tte_lookup(t, *tokens, rows, scratch);
#else
        i = ttei_min(count, TTEI_WINDOW);
        ttei_window_rows(t, tokens, i, rows, scratch);
#endif
    }
    return TTE_OK;
}

tte_status tte_inner_tokens(const tte_table *t, uint32_t a, uint32_t b, float *result, float *scratch)
{
    float *rows;
    size_t dim;
    if (t == NULL || result == NULL || scratch == NULL) return TTE_ERR_ARGUMENT;
    if (a >= t->vocab || b >= t->vocab) return TTE_ERR_RANGE;
    dim = (size_t)t->dim;
    if (t->layout == TTE_PER_TABLE) {
        ttei_table_room room;
        (void)ttei_table_carve(t, scratch, &room);
        rows = room.rows;
        ttei_table_row(t, a, &room, rows);
        ttei_table_row(t, b, &room, rows + dim);
    } else {
        ttei_train_room room;
        (void)ttei_train_carve(t, scratch, &room);
        rows = room.row;
#ifndef TT_EMBED_DECODE_ONLY
        if (ttei_entries(&t->shape) == dim) {
            ttei_train_record first, second;
            ttei_find_train(t, a, &first);
            ttei_find_train(t, b, &second);
            ttei_record_decode(t->coding, &t->shape, first.ranks, first.bytes, room.parts);
            ttei_record_decode(t->coding, &t->shape, second.ranks, second.bytes, rows);
            *result = ttei_inner(&t->shape, first.ranks, room.parts, second.ranks, rows, room.parts + t->numbers);
            return TTE_OK;
        }
#endif
        ttei_train_row(t, a, room.parts, rows);
        ttei_train_row(t, b, room.parts, rows + dim);
    }
    *result = ttei_float_dot(dim, rows, rows + dim);
    return TTE_OK;
}

/* ---- scores ---------------------------------------------------------------------------------- */

/* The rooms of both layouts, and the query in them. */
typedef struct ttei_scan {
    ttei_train_room train;
    ttei_table_room table;
    const float *vector;  /* padded, or as the records meet it               */
    float mean;           /* TTE_PER_TABLE: the score of the mean row        */
    float *scores;        /* room for `chunk` scores                         */
    size_t chunk;
} ttei_scan;

/* A vector h as the records meet it: q_j = 2^E <h, row of the basis>. Rows of the basis are scored as records of
   one run are. */
static void ttei_table_meet(const tte_table *t, const float *h, float *q, ttei_i16 *codes)
{
    const unsigned char *record = ttei_basis_records(t), *scale = ttei_basis_scales(t), *run = t->basis + 1;
    const float half = ttei_power(t->exponent / 2), rest = ttei_power(t->exponent - t->exponent / 2);
    const unsigned char *records[TTEI_ABREAST];
    size_t left, n, i, bytes;
    int r;
    for (r = 0; r < t->basis[0]; ++r, run += TTEI_RUN_BYTES) {
        unsigned char type[TTEI_CLASS_HEAD + TTEI_RUN_BYTES] = {0};
        ttei_type_add(type, run[0], (size_t)t->dim);
        bytes = ttei_class_record(type);
        for (left = ttei_get16(run + 1); left > 0; left -= n) {
            n = ttei_min(left, TTEI_ABREAST);
            for (i = 0; i < n; ++i, record += bytes) records[i] = record;
            ttei_records_dot(t->state_bits, type, records, n, h, q, codes);
            for (i = 0; i < n; ++i, scale += 2, ++q) *q = *q * ttei_get_bf16(scale) * half * rest;
        }
    }
}

#ifndef TT_EMBED_DECODE_ONLY

/* Asks for `bytes` bytes from p on, which are needed soon; returns where they end. */
static const unsigned char *ttei_prefetch(const unsigned char *p, const unsigned char *end, size_t bytes)
{
    bytes = ttei_min(bytes, (size_t)(end - p));
    end = p + bytes;
#if defined(__GNUC__)
    for (; p < end; p += ttei_min(64, (size_t)(end - p))) __builtin_prefetch(p);
#endif
    return end;
}

/* The scores of `count` tokens from `first` on, all in one block of the index: gain * record + centroid,
   which includes the mean. Rows of one class are scored together. Since they do not lie one after the other,
   and processors would not see what comes, bytes of the next block are asked for meanwhile. */
static void ttei_block_scores(const tte_table *t, const ttei_scan *scan, size_t first, size_t count,
                              ttei_i16 *codes, float *out)
{
    const ttei_u32 *classes = scan->table.classes;
    const ttei_rows_block b = ttei_block_at(t, first / TTEI_BLOCK);
    const size_t before = first % TTEI_BLOCK;
    const unsigned char *record = t->records + b.offset, *ahead;
    const unsigned char *records[TTEI_BLOCK], *together[TTEI_ABREAST];
    uint8_t last_of[64], before_of[TTEI_BLOCK], places[TTEI_ABREAST];  /* lists of rows of a class */
    float scores[TTEI_ABREAST];
    size_t i, n;
    uint32_t c;
    memset(last_of, 255, sizeof last_of);
    for (i = 0; i < before + count; ++i) {
        c = ttei_bits_at(b.classes, i * (size_t)t->class_bits, t->class_bits);
        records[i] = record;
        record += classes[2 * c + 1];
        if (i < before) continue;
        before_of[i] = last_of[c];
        last_of[c] = (uint8_t)i;
    }
    for (ahead = record, c = 0; c < (uint32_t)t->class_count; ++c) {
        const unsigned char *type = t->classes + classes[2 * c];
        const float scale = ttei_get_bf16(type + 2);
        for (i = last_of[c]; i != 255;) {
            for (n = 0; i != 255 && n < TTEI_ABREAST; i = before_of[i]) {
                places[n] = (uint8_t)i;
                together[n++] = records[i];
            }
            ahead = ttei_prefetch(ahead, t->records + t->records_size, n * classes[2 * c + 1]);
            ttei_records_dot(t->state_bits, type, together, n, scan->vector, scores, codes);
            while (n-- > 0)
                out[places[n] - before] =
                    scores[n] * scale * ttei_gain_at(t, &b, places[n]) +
                    (t->centroid_count > 1 ? scan->table.rows[ttei_centroid_at(t, &b, places[n])] : scan->mean);
        }
    }
}

#endif

/* <h, x> of the padded vector and a token's train, from the left:
     Y_0 = h;   Y_k (rk x n(k+1)..nd) = G_k^T Y_(k-1),  both read with r(k-1) nk rows.
   Y_d is the number. The Y_k lie at the two ends of the work in turn. */
static float ttei_train_score(const tte_table *t, size_t token, const float *y, const ttei_train_room *room,
                              float *part)
{
    const float *cores = part;
    float *work = part + t->numbers, *next = work;
    size_t entries = ttei_entries(&t->shape), n, r;
    ttei_train_record record;
    int32_t k;
    ttei_find_train(t, token, &record);
    ttei_record_decode(t->coding, &t->shape, record.ranks, record.bytes, part);
    for (k = 0;; ++k) {
        n = (size_t)record.ranks[k] * (size_t)t->shape.dim[k];
        r = (size_t)record.ranks[k + 1];
        if (k == t->shape.modes - 1) return ttei_float_dot(n, cores, y);
        entries /= (size_t)t->shape.dim[k];
        ttei_product(r, n, entries, cores, 1, r, y, entries, next, entries);
        cores += n * r;
        y = next;
        next = next != work ? work : part + room->part - (room->part - t->numbers) / 2;
    }
}

/* The vector meets what all tokens share: basis and centroids. */
static tte_status ttei_scan_begin(const tte_table *t, const float *vector, float *scratch, ttei_scan *scan)
{
    const size_t dim = (size_t)t->dim, mean = (size_t)(t->basis_rows - t->rank);
    const unsigned char *type;
    int32_t k;
    if (!ttei_all_finite_f32(vector, dim)) return TTE_ERR_NOT_FINITE;
    if (t->layout == TTE_PER_TOKEN) {
        (void)ttei_train_carve(t, scratch, &scan->train);
        memset(scan->train.row, 0, ttei_entries(&t->shape) * sizeof *scratch);
        memcpy(scan->train.row, vector, dim * sizeof *scratch);
        scan->vector = scan->train.row;
        scan->scores = scan->train.scores;
        scan->chunk = scan->train.chunk;
        return TTE_OK;
    }
    (void)ttei_table_carve(t, scratch, &scan->table);
    scan->scores = scan->table.rows + t->centroid_count;
    scan->chunk = scan->table.rows_len - (size_t)t->centroid_count;
    ttei_table_meet(t, vector, scan->table.z, scan->table.codes);
    scan->vector = scan->table.z + mean;
    scan->mean = mean ? scan->table.z[0] : 0;
    type = t->classes + scan->table.classes[2 * t->class_count];  /* where there are centroids */
    for (k = 0; t->centroid_count > 1 && k < t->centroid_count; ++k) {
        const unsigned char *record = t->centroids + (size_t)k * t->record_size;
        float *score = scan->table.rows + k;
        ttei_records_dot(t->state_bits, type, &record, 1, scan->vector, score, scan->table.codes);
        *score = scan->mean + ttei_get_bf16(type + 2) * *score;
    }
    return TTE_OK;
}

/* Scores of `count` tokens, in the scratch of this thread. */
static void ttei_piece_scores(const tte_table *t, const ttei_scan *scan, size_t first, size_t count, float *out)
{
    ttei_i16 *codes;
    size_t now;
    for (; count > 0; count -= now, first += now, out += now) {
        now = 1;
        if (t->layout == TTE_PER_TOKEN) {
            *out = ttei_train_score(t, first, scan->vector, &scan->train,
                                    scan->train.parts + ttei_thread() * scan->train.part);
            continue;
        }
        codes = scan->table.codes + ttei_thread() * scan->table.codes_len;
#ifdef TT_EMBED_DECODE_ONLY
        {
            const ttei_row row = ttei_find_row(t, scan->table.classes, first);
            ttei_records_dot(t->state_bits, row.type, &row.record, 1, scan->vector, out, codes);
            *out = *out * row.gain + (t->centroid_count > 1 ? scan->table.rows[row.centroid] : scan->mean);
        }
#else
        now = ttei_min(count, TTEI_BLOCK - first % TTEI_BLOCK);
        ttei_block_scores(t, scan, first, now, codes, out);
#endif
    }
}

/* The same of any number; threads take pieces. */
static void ttei_scores(const tte_table *t, const ttei_scan *scan, size_t first, size_t count, float *out)
{
#if defined(_OPENMP) && !defined(TT_EMBED_DECODE_ONLY)
    const size_t most = t->layout == TTE_PER_TABLE ? (size_t)TTEI_READERS : scan->train.threads;
    const int pieces = (int)((count + TTEI_PIECE - 1) / TTEI_PIECE);
    int i;
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)ttei_threads((size_t)pieces, most))
    for (i = 0; i < pieces; ++i) {
        const size_t at = (size_t)i * TTEI_PIECE;
        ttei_piece_scores(t, scan, first + at, ttei_min(TTEI_PIECE, count - at), out + at);
    }
#else
    ttei_piece_scores(t, scan, first, count, out);
#endif
}

tte_status tte_logits(const tte_table *t, const float *hidden, uint32_t first, uint32_t count,
                      float *out, float *scratch)
{
    ttei_scan scan;
    tte_status status;
    if (t == NULL || hidden == NULL || out == NULL || scratch == NULL) return TTE_ERR_ARGUMENT;
    if (first > t->vocab || count > t->vocab - first) return TTE_ERR_RANGE;
    status = ttei_scan_begin(t, hidden, scratch, &scan);
    if (status == TTE_OK && count > 0) ttei_scores(t, &scan, first, count, out);
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
        if (child + 1 < n && ttei_behind(scores[child + 1], tokens[child + 1], scores[child], tokens[child]))
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
    ttei_scan scan;
    tte_status status;
    const float lowest = ttei_f32_of(0xff800000u);  /* minus infinity */
    size_t token, i, chunk, n, vocab;
    if (t == NULL || query == NULL || tokens == NULL || scores == NULL || scratch == NULL || k == 0 || k > t->vocab)
        return TTE_ERR_ARGUMENT;
    vocab = ttei_rows_alike(t) ? k : t->vocab;
    status = ttei_scan_begin(t, query, scratch, &scan);
    if (status != TTE_OK) return status;
    for (n = 0; n < k; ++n) {
        tokens[n] = 0xffffffffu;
        scores[n] = lowest;
    }
    for (token = 0; token < vocab; token += chunk) {
        chunk = ttei_min(scan.chunk, vocab - token);
        ttei_scores(t, &scan, token, chunk, scan.scores);
        for (i = 0; i < chunk; ++i) {
            const int nan = (ttei_bits_of(scan.scores[i]) & 0x7fffffffu) > 0x7f800000u;
            const float score = nan ? lowest : scan.scores[i];
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

#ifndef TT_EMBED_READ_ONLY
/* ================================================================================================
   VECTOR KERNELS
   All linear algebra but the products of floats is done in double, for float matrices as well: one text
   serves both, and a float result is the exact one rounded.
   ============================================================================================= */

/* Four doubles, and vectors that may lie anywhere in memory; where the compiler knows none, single numbers. */
#if TTEI_LANES > 1
#define TTEI_QUAD 4
typedef double ttei_quad __attribute__((vector_size(32), may_alias, aligned(8)));
typedef int32_t ttei_lane_bits __attribute__((vector_size(32), may_alias));
#define TTEI_WIDEN(quad) __builtin_convertvector(quad, ttei_quad)
#define TTEI_LESS(a, b) ((ttei_lane_bits)((a) < (b)))
#define TTEI_SELECT(mask, yes, no)                                              \
    ((ttei_lanes)(((mask) & (ttei_lane_bits)(yes)) | (~(mask) & (ttei_lane_bits)(no))))
#else
#define TTEI_QUAD 1
typedef double ttei_quad;
typedef int32_t ttei_lane_bits;
#define TTEI_WIDEN(quad) ((double)(quad))
#define TTEI_LESS(a, b) (-(int32_t)((a) < (b)))
#define TTEI_SELECT(mask, yes, no) ((mask) != 0 ? (yes) : (no))
#endif
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector) && TTEI_LANES > 1
#define TTEI_SHUFFLE __builtin_shufflevector
#endif
#endif
#define TTEI_DOUBLES(x) (*(ttei_quad *)(x))
#define TTEI_DOUBLES_OF(x) (*(const ttei_quad *)(x))

/* The sum of a vector's numbers, in order. */
TTEI_INLINE double ttei_total(const ttei_quad *x)
{
    double part[TTEI_QUAD], sum = 0;
    int k;
    memcpy(part, x, sizeof part);
    for (k = 0; k < TTEI_QUAD; ++k) sum += part[k];
    return sum;
}

/* y += alpha * x */
TTEI_INLINE void ttei_axpy(size_t n, double alpha, const double *x, double *y)
{
    size_t i = 0;
    for (; i + TTEI_QUAD <= n; i += TTEI_QUAD) TTEI_DOUBLES(y + i) += alpha * TTEI_DOUBLES_OF(x + i);
    for (; i < n; ++i) y[i] += alpha * x[i];
}

/* Sum of x[i] * y[i], in sums that do not wait for each other. */
TTEI_INLINE double ttei_dot(size_t n, const double *x, const double *y)
{
    ttei_quad s0 = {0}, s1 = {0};
    double sum;
    size_t i = 0;
    for (; i + 2 * TTEI_QUAD <= n; i += 2 * TTEI_QUAD) {
        s0 += TTEI_DOUBLES_OF(x + i) * TTEI_DOUBLES_OF(y + i);
        s1 += TTEI_DOUBLES_OF(x + i + TTEI_QUAD) * TTEI_DOUBLES_OF(y + i + TTEI_QUAD);
    }
    s0 += s1;
    sum = ttei_total(&s0);
    for (; i < n; ++i) sum += x[i] * y[i];
    return sum;
}

/* x *= alpha */
TTEI_INLINE void ttei_multiply(size_t n, double alpha, double *x)
{
    const size_t whole = n - n % TTEI_QUAD;
    size_t i;
    for (i = 0; i < whole; i += TTEI_QUAD) TTEI_DOUBLES(x + i) *= alpha;
    for (; i < n; ++i) x[i] *= alpha;
}

static double ttei_top_f64(size_t n, const double *x)
{
    uint64_t bits, most = 0;
    size_t i;
    for (i = 0; i < n; ++i) {
        bits = ttei_bits_of_f64(x[i]) & UINT64_MAX >> 1;
        most = bits > most ? bits : most;
    }
    return ttei_f64_of(most);
}

/* x *= 2^power, in two steps, since 2^power alone may lie outside the type where x * 2^power does not; two
   passes, so that no compiler makes one factor of them. Exact unless the result is subnormal. */
static void ttei_scale(size_t n, int power, double *x)
{
    if (power == 0) return;
    ttei_multiply(n, ldexp(1.0, power / 2), x);
    ttei_multiply(n, ldexp(1.0, power - power / 2), x);
}

TTEI_CLONES static void ttei_scale_f32(size_t n, int power, float *x)
{
    const int first = power < -126 ? -126 : power > 127 ? 127 : power;
    const float factor = ttei_f32_of((uint32_t)(first + 127) << 23);
    size_t i = 0;
    if (power == 0) return;
    for (; i + TTEI_LANES <= n; i += TTEI_LANES) TTEI_FLOATS(x + i) *= factor;
    for (; i < n; ++i) x[i] *= factor;
    if (first != power) ttei_scale_f32(n, power - first, x);
}

/* The power of two p with 2^(p-1) <= |x| < 2^p; 0 for 0. */
static int ttei_exponent(double x)
{
    int power = 0;
    if (x < 0 || x > 0) (void)frexp(x, &power);
    return power;
}

/* c (m x n) = a (m x k) * b (k x n) in doubles, with `add` c += that; entry (i, l) of a is a[i * down + l *
   right], the rows of b are ldb apart, those of c ldc. Strips of b, two vectors wide, are copied to where they
   lie in the cache; a tile has four rows of such a strip's product, of which fewer may be wanted. */
enum { TTEI_PRODUCT_DEPTH = 256, TTEI_PRODUCT_ROWS = 64 };
TTEI_INLINE void ttei_tile_f64(size_t k, const double *a, const size_t *down, size_t right, const double *strip,
                               double *tile)
{
    ttei_quad sum[4][2];
    size_t l, at = 0;
    int i, j;
    memset(sum, 0, sizeof sum);
    for (l = 0; l < k; ++l, at += right, strip += 2 * TTEI_QUAD)
        TTEI_UNROLL
        for (i = 0; i < 4; ++i)
            TTEI_UNROLL
            for (j = 0; j < 2; ++j) sum[i][j] += a[down[i] + at] * TTEI_DOUBLES_OF(strip + j * TTEI_QUAD);
    memcpy(tile, sum, sizeof sum);
}

/* c += such a product of at most TTEI_PRODUCT_ROWS rows and TTEI_PRODUCT_DEPTH columns of a, which stay in the cache. */
TTEI_INLINE void ttei_panel_f64(size_t m, size_t k, size_t n, const double *a, size_t down, size_t right,
                                const double *b, size_t ldb, double *c, size_t ldc)
{
    enum { width = 2 * TTEI_QUAD };
    double strip[TTEI_PRODUCT_DEPTH * 2 * TTEI_QUAD], tile[4 * width];
    size_t i, j, l;
    for (j = 0; j < n; j += width) {
        const size_t columns = ttei_min(width, n - j);
        memset(strip, 0, columns < width ? k * width * sizeof *strip : 0);
        for (l = 0; l < k; ++l)
            if (columns == width) memcpy(strip + l * width, b + l * ldb + j, width * sizeof *b);
            else memcpy(strip + l * width, b + l * ldb + j, columns * sizeof *b);
        for (i = 0; i < m; i += 4) {
            const size_t rows = ttei_min(4, m - i);
            const size_t at[4] = {0, rows > 1 ? down : 0, rows > 2 ? 2 * down : 0, rows > 3 ? 3 * down : 0};
            ttei_tile_f64(k, a + i * down, at, right, strip, tile);
            for (l = 0; l < rows; ++l) ttei_axpy(columns, 1, tile + l * width, c + (i + l) * ldc + j);
        }
    }
}

TTEI_CLONES static void ttei_product_f64(int add, size_t m, size_t k, size_t n, const double *a, size_t down,
                                         size_t right, const double *b, size_t ldb, double *c, size_t ldc)
{
    size_t first, i;
    for (i = 0; i < m && !add; ++i) memset(c + i * ldc, 0, n * sizeof *c);
    for (first = 0; first < k; first += TTEI_PRODUCT_DEPTH)
        for (i = 0; i < m; i += TTEI_PRODUCT_ROWS)
            ttei_panel_f64(ttei_min(TTEI_PRODUCT_ROWS, m - i), ttei_min(TTEI_PRODUCT_DEPTH, k - first), n,
                           a + i * down + first * right, down, right, b + first * ldb, ldb, c + i * ldc, ldc);
}

/* Rows i .. of the Gram matrix, at most TTEI_GRAM_SIDE of them, from at most TTEI_GRAM_ROWS rows of x: products
   are added up in float over these and then in double. Both factors are copied to where they are read one after
   the other: a in groups of four columns, b two vectors of columns at a time. */
enum { TTEI_GRAM_SIDE = 32, TTEI_GRAM_ROWS = 256 };
TTEI_CLONES static void ttei_gram_strip(size_t count, size_t n, size_t i, const float *x, const float *weight,
                                        double *c)
{
    enum { width = 2 * TTEI_LANES };
    const size_t side = ttei_min(TTEI_GRAM_SIDE, n - i);
    float a[TTEI_GRAM_ROWS * TTEI_GRAM_SIDE], b[TTEI_GRAM_ROWS * 2 * TTEI_LANES], tile[4 * width];
    size_t l, j, k, h, g;
    memset(a, 0, sizeof a);
    memset(b, 0, sizeof b);
    for (l = 0; l < count; ++l)
        for (k = 0; k < side; ++k)
            a[(k / 4 * count + l) * 4 + k % 4] = weight == NULL ? x[l * n + i + k] : weight[l] * x[l * n + i + k];
    for (j = i - i % width; j < n; j += width) {
        for (l = 0; l < count; ++l)
            if (j + width <= n) memcpy(b + l * width, x + l * n + j, width * sizeof *b);
            else memcpy(b + l * width, x + l * n + j, (n - j) * sizeof *b);
        for (k = 0; k < side; k += 4) {
            ttei_product(4, count, width, a + k * count, 1, 4, b, width, tile, width);
            for (g = k; g < ttei_min(k + 4, side); ++g) {
                double *sums = c + (i + g) * n + j;
                const float *row = tile + (g - k) * width;
                if (j >= i + g && j + width <= n)
                    for (h = 0; h < width; h += TTEI_QUAD)
                        TTEI_DOUBLES(sums + h) += TTEI_WIDEN(*(const ttei_floats4 *)(row + h));
                else
                    for (h = j < i + g ? i + g - j : 0; h < width && j + h < n; ++h) sums[h] += (double)row[h];
            }
        }
    }
}

/* c (n x n, its upper triangle) += sum over `count` rows x of w x'x; weight NULL: all 1. The squares of the
   entries must fit a float. Threads share the rows of c, so that sums are the same for any number of them. */
static void ttei_gram_add(size_t count, size_t n, const float *rows, const float *weight, double *c)
{
    size_t now;
    for (; count > 0; count -= now, rows += now * n, weight = weight == NULL ? NULL : weight + now) {
        long long strip, strips = (long long)((n + TTEI_GRAM_SIDE - 1) / TTEI_GRAM_SIDE);
        now = ttei_min(TTEI_GRAM_ROWS, count);
    TTEI_OPENMP(omp parallel for schedule(dynamic))
        for (strip = 0; strip < strips; ++strip)
            ttei_gram_strip(now, n, (size_t)strip * TTEI_GRAM_SIDE, rows, weight, c);
    }
}

/* a = L L': L takes the place of a's lower triangle, row-major [GVL 4.2.5]. Returns 0 when a is not positive
   definite; a is used up then. */
TTEI_CLONES static int ttei_cholesky(size_t n, double *a)
{
    size_t i, j;
    for (i = 0; i < n; ++i)
        for (j = 0; j <= i; ++j) {
            const double rest = a[i * n + j] - ttei_dot(j, a + i * n, a + j * n);
            if (j < i) a[i * n + j] = rest / a[j * n + j];
            else if (rest > 0 && ttei_finite_f64(rest)) a[i * n + j] = sqrt(rest);
            else return 0;
        }
    return 1;
}

/* B := the solution of L L' X = B, n rows of `count` numbers, `step` apart; few columns stay in the cache. */
TTEI_CLONES static void ttei_cholesky_solve(size_t n, const double *l, size_t count, double *b, size_t step)
{
    size_t i, k;
    for (i = 0; i < n; ++i) {
        for (k = 0; k < i; ++k) ttei_axpy(count, -l[i * n + k], b + k * step, b + i * step);
        ttei_multiply(count, 1 / l[i * n + i], b + i * step);
    }
    for (i = n; i-- > 0;) {
        for (k = i + 1; k < n; ++k) ttei_axpy(count, -l[k * n + i], b + k * step, b + i * step);
        ttei_multiply(count, 1 / l[i * n + i], b + i * step);
    }
}

/* ================================================================================================
   SINGULAR VALUE DECOMPOSITION, SYMMETRIC EIGENVALUES
   A matrix is held as n columns of length m >= n, each contiguous and followed by zeros, so that a vector may
   run over its end; a wide matrix is its own transpose in that form, so both kinds are treated alike:
       W = P B Q'      Householder reflections from both sides, B upper bidiagonal [GVL 5.4.8]
       B = Y S Z'      implicit QR steps [GVL 8.6.3]; larger ones are divided first, and the parts joined
       U = P Y, V = Q Z  the reflections, many at a time as products of matrices [GVL 5.1.7]
   and a symmetric one: A = Q T Q', T tridiagonal [GVL 8.3.1], T + shift = B'B with B bidiagonal, so that the
   right singular vectors of B are the eigenvectors of T. Singular vectors of B are rows of Y' and Z'.
   ============================================================================================= */

#ifndef TTEI_SVD_SWEEPS
#define TTEI_SVD_SWEEPS 60      /* QR steps for each singular value; the tests set 0        */
#endif
enum { TTEI_SVD_PART = 40, TTEI_SVD_BLOCK = 32 };  /* columns of B that are not divided; reflections applied together */
static const double ttei_square_min = 1e-280;      /* sums of squares between it and its inverse are accurate */

/* From one column to the next: at least three zeros behind n entries, and of long columns an odd number of
   cache lines, so that neighbours do not fall on the same place of the cache. */
static size_t ttei_column_step(size_t n)
{
    const size_t lines = ttei_add(n, 10) / 8;
    return ttei_mul(8, n < 64 ? lines : lines | 1);
}

static double ttei_hypot(double x, double y)
{
    const double square = x * x + y * y;
    return square > ttei_square_min && square < 1 / ttei_square_min ? sqrt(square) : hypot(x, y);
}

/* A reflection H = I - tau v v' with v[0] = 1 that maps x to (*beta, 0, .., 0). x becomes v. Returns tau; 0,
   and H = I, when x has that form already, which leaves a bidiagonal matrix untouched. Where squares would
   leave the type's range, x is divided by its largest entry first. */
TTEI_INLINE double ttei_reflector(size_t n, double *x, double *beta)
{
    double tail = ttei_dot(n - 1, x + 1, x + 1), top = 1, first, norm;
    size_t i;
    if (!(tail > ttei_square_min && x[0] * x[0] < 1 / ttei_square_min)) {
        top = ttei_top_f64(n - 1, x + 1);
        if (!(top > 0)) {
            *beta = x[0];
            x[0] = 1;
            return 0;
        }
        if (fabs(x[0]) > top) top = fabs(x[0]);
        for (i = 0; i < n; ++i) x[i] /= top;
        tail = ttei_dot(n - 1, x + 1, x + 1);
    }
    first = x[0];
    norm = sqrt(first * first + tail);
    if (first > 0) norm = -norm;  /* the sign that adds magnitudes instead of cancelling them */
    ttei_multiply(n - 1, 1 / (first - norm), x + 1);
    x[0] = 1;
    *beta = norm * top;
    return (norm - first) / norm;
}

/* x_k += g_k y, where g is not NULL, then x_k -= tau v (v'x_k), for `count` (1 or 4) columns x, `step` apart;
   four share the loads of v and y. */
TTEI_INLINE void ttei_reflect_columns(int count, size_t n, const double *g, const double *y, double tau,
                                      const double *v, size_t step, double *x)
{
    double f[4];
    ttei_quad sum[4];
    size_t i;
    int k;
    memset(sum, 0, sizeof sum);
    for (i = 0; i < n; i += TTEI_QUAD) {
        const ttei_quad a = TTEI_DOUBLES_OF(v + i), b = TTEI_DOUBLES_OF((g != NULL ? y : v) + i);
        TTEI_UNROLL
        for (k = 0; k < count; ++k) {
            double *at = x + (size_t)k * step + i;
            if (g != NULL) TTEI_DOUBLES(at) += g[k] * b;
            sum[k] += a * TTEI_DOUBLES_OF(at);
        }
    }
    for (k = 0; k < count; ++k) f[k] = -tau * ttei_total(&sum[k]);
    for (i = 0; i < n; i += TTEI_QUAD) {
        const ttei_quad a = TTEI_DOUBLES_OF(v + i);
        TTEI_UNROLL
        for (k = 0; k < count; ++k) TTEI_DOUBLES(x + (size_t)k * step + i) += f[k] * a;
    }
}

/* x -= tau v (v'x) for `count` columns x. */
TTEI_INLINE void ttei_reflect(size_t n, double tau, const double *v, size_t count, size_t step, double *x)
{
    for (; count >= 4; count -= 4, x += 4 * step) ttei_reflect_columns(4, n, NULL, NULL, tau, v, step, x);
    for (; count > 0; --count, x += step) ttei_reflect_columns(1, n, NULL, NULL, tau, v, step, x);
}

/* y += f_0 x_0 + .. + f_3 x_3 for columns x, `step` apart. */
TTEI_INLINE void ttei_add_columns(size_t n, const double *f, const double *x, size_t step, double *y)
{
    const double *x1 = x + step, *x2 = x1 + step, *x3 = x2 + step;
    size_t i;
    for (i = 0; i < n; i += TTEI_QUAD)
        TTEI_DOUBLES(y + i) += (f[0] * TTEI_DOUBLES_OF(x + i) + f[1] * TTEI_DOUBLES_OF(x1 + i)) +
                               (f[2] * TTEI_DOUBLES_OF(x2 + i) + f[3] * TTEI_DOUBLES_OF(x3 + i));
}

/* W := H_left W H_right, one column and one row at a time. On return d[n] and e[n-1] are the diagonals of B; the
   reflections' vectors stand in W (vector j in column j from row j down) and, for those from the right, in Q (vector j
   in column j+1 from row j+1 down). The update from the right, W -= tau (W v) v', is put off until the next column's
   reflection is at hand, so that a column takes both while it is in the cache. `line` (step) holds W v. */
TTEI_CLONES static void ttei_bidiagonalize(size_t m, size_t n, double *w, size_t step, double *q, size_t step_q,
                                           double *d, double *e, double *tau_left, double *tau_right, double *line)
{
    const double *pending = NULL;  /* v of the update put off, tau in `old`; entry 0: column j */
    double old = 0, g[4] = {0, 0, 0, 0};
    size_t j, c, i, some;
    for (j = 0; j < n; ++j) {
        double *v = w + j * step + j, *row = NULL, tau;
        if (j + 1 < n) row = q + (j + 1) * step_q + j + 1;
        if (old > 0) ttei_axpy(m - j, -old * pending[0], line + j, v);
        tau = tau_left[j] = ttei_reflector(m - j, v, &d[j]);
        for (c = j + 1; c < n; c += some) {
            double *x = w + c * step + j;
            some = n - c < 4 ? 1 : 4;
            for (i = 0; i < some && old > 0; ++i) g[i] = -old * pending[c + i - j];
            if (some == 4) ttei_reflect_columns(4, m - j, old > 0 ? g : NULL, line + j, tau, v, step, x);
            else ttei_reflect_columns(1, m - j, old > 0 ? g : NULL, line + j, tau, v, step, x);
            for (i = 0; i < some; ++i) row[c + i - j - 1] = x[i * step];
        }
        if (j + 1 == n) break;
        old = tau_right[j] = ttei_reflector(n - j - 1, row, &e[j]);
        pending = row;
        if (!(old > 0)) continue;
        memset(line, 0, step * sizeof *line);
        for (c = j + 1; c + 4 <= n; c += 4)
            ttei_add_columns(m - j - 1, row + c - j - 1, w + c * step + j + 1, step, line + j + 1);
        for (; c < n; ++c) ttei_axpy(m - j - 1, row[c - j - 1], w + c * step + j + 1, line + j + 1);
    }
}

/* c, s with c*f + s*g = r, c*g - s*f = 0. Returns r. */
static double ttei_givens(double f, double g, double *c, double *s)
{
    const double unit = fabs(f) + fabs(g) < ttei_square_min ? ttei_square_min : 1;
    double r;
    f /= unit;  /* else r may be subnormal, of few digits */
    g /= unit;
    r = ttei_hypot(f, g);
    *c = r > 0 ? f / r : 1;
    *s = r > 0 ? g / r : 0;
    return r * unit;
}

/* Rows of length n: x, y := c x + s y, c y - s x. */
TTEI_CLONES static void ttei_rotate(size_t n, double c, double s, double *x, double *y)
{
    size_t i;
    for (i = 0; i < n; i += TTEI_QUAD) {
        const ttei_quad a = TTEI_DOUBLES_OF(x + i), b = TTEI_DOUBLES_OF(y + i);
        TTEI_DOUBLES(x + i) = c * a + s * b;
        TTEI_DOUBLES(y + i) = c * b - s * a;
    }
}

/* ---- a bidiagonal matrix by QR steps ------------------------------------------------------------- */

/* An upper bidiagonal matrix of n rows, and as rows the vectors that turn along. */
typedef struct ttei_bidiagonal {
    size_t n, length;         /* length: entries of a vector that may be other than 0                  */
    double *d, *e;            /* diagonal, and above it                                                */
    double *vectors[2];       /* left, and one more right; NULL: not wanted                            */
    size_t step[2];           /* from vector to vector                                                 */
} ttei_bidiagonal;

/* A block of B that no zero divides, seen from its larger end. From its last row to its first J B' J (J
   reverses the order) is upper bidiagonal too, and left and right vectors change places. So one description
   of a QR step serves both directions [DK90, sec. 3]. */
typedef struct ttei_block {
    double *d, *e;            /* its first diagonal entry, the entry between this and the second       */
    ptrdiff_t next;           /* to the next entry: 1 or -1                                            */
    size_t first, last;       /* row of the first entry; how many entries follow it                    */
} ttei_block;

static ttei_block ttei_block_of(const ttei_bidiagonal *b, size_t lo, size_t hi, int down)
{
    ttei_block block;
    block.first = down ? lo : hi;
    block.last = hi - lo;
    block.next = down ? 1 : -1;
    block.d = b->d + block.first;
    block.e = down ? b->e + lo : b->e + hi - 1;
    return block;
}

/* Rotation i of a step, from the right or the left of the block, turns vectors i and i + 1. */
static void ttei_turn(const ttei_bidiagonal *b, const ttei_block *block, size_t i, int right, double c, double s)
{
    const int side = right == (block->next > 0);
    double *vectors = b->vectors[side];
    const ptrdiff_t step = (ptrdiff_t)b->step[side] * block->next;
    if (vectors == NULL) return;
    vectors += (ptrdiff_t)(block->first * b->step[side]) + (ptrdiff_t)i * step;
    ttei_rotate(b->length, c, s, vectors, vectors + step);
}

/* Sets every off-diagonal entry to zero that cannot change a singular value by more than `tol`, relatively
   [DK90, criteria 1 and 2]. Along the way mu_1 = |d_1|, mu_(i+1) = |d_(i+1)| mu_i / (mu_i + |e_i|) bounds the
   smallest singular value from below; the least mu goes to *low. Returns 1 when an entry was set. */
static int ttei_deflate(const ttei_block *b, double tol, double *low)
{
    const ptrdiff_t next = b->next, last = (ptrdiff_t)b->last * next;
    double *d = b->d, *e = b->e, mu = fabs(*d);
    *low = mu;
    if (fabs(e[last - next]) <= tol * fabs(d[last])) {
        e[last - next] = 0;
        return 1;
    }
    for (; d != b->d + last; d += next, e += next) {
        if (fabs(*e) <= tol * mu) {
            *e = 0;
            return 1;
        }
        mu = fabs(d[next]) * (mu / (mu + fabs(*e)));
        if (mu < *low) *low = mu;
    }
    return 0;
}

/* The shift: the smaller singular value of the block's last 2 x 2 corner [f g; 0 h]. The larger and the
   smaller add up to hypot(f + h, g), differ by hypot(f - h, g), and multiply to f*h. */
static double ttei_corner_shift(const ttei_block *b)
{
    const ptrdiff_t last = (ptrdiff_t)b->last * b->next;
    const double f = fabs(b->d[last - b->next]), g = fabs(b->e[last - b->next]), h = fabs(b->d[last]);
    const double large = ttei_hypot(f + h, g) / 2 + ttei_hypot(f - h, g) / 2;
    return large > 0 ? (f < h ? f : h) * ((f < h ? h : f) / large) : 0;
}

/* One implicit QR step over a block: a rotation from the right makes the bulge, the one from the left pushes
   it on. With shift 0 the two products collapse to one that never subtracts and so keeps every entry
   relatively accurate [DK90, sec. 3, "implicit zero-shift QR"]. */
static void ttei_qr_step(const ttei_bidiagonal *b, const ttei_block *block, double shift)
{
    const ptrdiff_t next = block->next;
    double *d = block->d, *e = block->e, c = 1, s = 0, c_left = 1, s_left = 0, r, f = 0, g = *e, above;
    size_t i;
    if (shift > 0)  /* of B'B - shift^2 I, divided by d_1 */
        f = (fabs(*d) - shift) * ((*d < 0 ? -1.0 : 1.0) + shift / *d);
    for (i = 0; i < block->last; ++i, d += next, e += next) {
        if (shift > 0) {
            r = ttei_givens(f, g, &c, &s);
            if (i > 0) e[-next] = r;
            f = c * *d + s * *e;
            above = c * *e - s * *d;
            g = s * d[next];
            r = c * d[next];
            *d = ttei_givens(f, g, &c_left, &s_left);
            f = c_left * above + s_left * r;
            d[next] = c_left * r - s_left * above;
            if (i + 1 < block->last) {
                g = s_left * e[next];
                e[next] *= c_left;
            }
        } else {
            r = ttei_givens(*d * c, *e, &c, &s);
            if (i > 0) e[-next] = s_left * r;
            *d = ttei_givens(c_left * r, d[next] * s, &c_left, &s_left);
        }
        ttei_turn(b, block, i, 1, c, s);
        ttei_turn(b, block, i, 0, c_left, s_left);
    }
    if (!(shift > 0)) {
        f = *d * c;
        *d = f * c_left;
        f *= s_left;
    }
    e[-next] = f;
}

/* The last block of B that ends in row hi: returns its first row, sets the entry above that, which is nothing
   beside what underflow did already, to zero, and the block's largest entry to *high. */
static size_t ttei_last_block(size_t hi, const double *d, double *e, double least, double *high)
{
    size_t lo;
    *high = fabs(d[hi]);
    for (lo = hi; lo > 0; --lo) {
        if (fabs(e[lo - 1]) <= least) {
            e[lo - 1] = 0;
            break;
        }
        if (fabs(d[lo - 1]) > *high) *high = fabs(d[lo - 1]);
        if (fabs(e[lo - 1]) > *high) *high = fabs(e[lo - 1]);
    }
    return lo;
}

/* Diagonalize B in place: d becomes the singular values, unsorted, none negative; the vectors turn along.
   Returns 0 when the budget of steps is spent; two or three for each value are usual. */
static int ttei_diagonalize(const ttei_bidiagonal *b)
{
    const double tol = DBL_EPSILON;               /* what a dropped entry may change    */
    const double shift_tol = 32 * DBL_EPSILON;    /* what shifts may cost a small value  */
    const size_t n = b->n;
    size_t hi = n - 1, lo, budget = ttei_mul(TTEI_SVD_SWEEPS, n), old_lo = n, old_hi = n, waited = 0;
    int down = 1;
    double low, high, shift, start;
    while (hi > 0) {
        ttei_block block;
        if (budget-- == 0) return 0;
        lo = ttei_last_block(hi, b->d, b->e, (double)n * DBL_MIN, &high);
        if (lo == hi) {
            --hi;
            continue;
        }
        /* A new block: chase the bulge from the larger end to the smaller. */
        if (old_hi != hi || old_lo != lo) {
            down = fabs(b->d[lo]) >= fabs(b->d[hi]);
            waited = 0;
        }
        old_hi = hi;
        old_lo = lo;
        block = ttei_block_of(b, lo, hi, down);
        /* Between equal values a step may leave its own rounding behind, just above tol, for ever. */
        if (ttei_deflate(&block, tol * (double)(1 + ttei_min(waited++ / 8, 7)), &low)) continue;

        /* A shift speeds up convergence but costs relative accuracy in the small values; it is used where
           they are not that small. */
        start = fabs(*block.d);
        shift = (double)n * shift_tol * (low / high) > DBL_EPSILON ? ttei_corner_shift(&block) : 0;
        if (!(start > 0) || (shift / start) * (shift / start) < DBL_EPSILON) shift = 0;
        ttei_qr_step(b, &block, shift);
    }
    for (lo = 0; lo < n; ++lo)
        if (!(b->d[lo] > 0)) {  /* -0 becomes 0, too */
            b->d[lo] = b->d[lo] < 0 ? -b->d[lo] : 0;
            if (b->vectors[1] != NULL) ttei_multiply(b->length, -1, b->vectors[1] + lo * b->step[1]);
        }
    return 1;
}

/* ---- a large bidiagonal matrix by division [GE95] ------------------------------------------------------
   With a column of zeros added, B has one column more than rows, and so have the parts B1 and B2 that are
   left when row p is taken out, which has alpha at the end of B1's columns and beta at the start of B2's:
           [ B1            ]        B1 = Y1 [D1 0] [Z1 q1]',  B2 = Y2 [D2 0] [Z2 q2]'
       B = [ alpha   beta  ]
           [            B2 ]        q = (q1, q2) turned so that row p meets only the first of them.
   In the bases of these vectors B is M = e z' + diag(0, D1, D2) and a column of zeros: a diagonal, and in row p
   (first here) z = (z0, alpha Z1's last row, beta Z2's first row). The singular values w of M are the roots of
       f(w) = 1 + sum of z_j^2 / (d_j^2 - w^2),   d_0 = 0 < d_1 < ..;  one between each d_j and the next,
   with vectors of entries z_j / (d_j^2 - w^2) on the right; d_j times that, and -1 in row p, on the left. Where
   an entry of z or the distance of two d is nothing, a pair is known beforehand and takes no part (deflation).
   Vectors are computed from that z for which the computed w are exact: they are orthogonal to rounding. */

/* One join of two parts; room for n entries, or n rows as long as right vectors. */
typedef struct ttei_join {
    double *row, top;         /* row p of M, by rows of B; the largest entry of M                     */
    size_t count;             /* pairs that take part; of these, in ascending order of d:             */
    double *d, *z, *scale;    /* M without the others; 1 / norm of right vectors                      */
    size_t *order, *at;       /* rows of B; rows of `gathered`                                        */
    size_t *kind, *gone;      /* by rows of B: 0 from the first part, 2 from the second, 1 mixed; others */
    size_t begin, end;        /* rows of `gathered` that both parts' columns meet                     */
    double *gathered, *coef;  /* vectors to be combined, and coefficients, a row for a result         */
    double *line;             /* d - from while a root w = from + t is sought, see ttei_secular_from   */
} ttei_join;

/* w is counted from `from`. The differences d - from are kept in memory: -ffast-math would make d - (from + t) of
   d - from - t, which loses all that a small t says. */
static void ttei_secular_from(const ttei_join *join, double from)
{
    size_t j;
    for (j = 0; j < join->count; ++j) join->line[j] = join->d[j] - from;
}

/* Sums of z_j^2 / (d_j^2 - w^2) over first <= j < last, and *slope of z_j^2 / (d_j^2 - w^2)^2, w = from + t. */
TTEI_INLINE double ttei_secular_sum(const ttei_join *join, size_t first, size_t last, double from, double t,
                                    double *slope)
{
    ttei_quad sums = {0}, slopes = {0};
    double sum, x, term;
    size_t j = first;
    for (; j + TTEI_QUAD <= last; j += TTEI_QUAD) {
        const ttei_quad d = TTEI_DOUBLES_OF(join->d + j), z = TTEI_DOUBLES_OF(join->z + j);
        const ttei_quad y = z / ((TTEI_DOUBLES_OF(join->line + j) - t) * (d + from + t));
        sums += z * y;
        slopes += y * y;
    }
    sum = ttei_total(&sums);
    *slope = ttei_total(&slopes);
    for (; j < last; ++j) {
        x = join->d[j];
        term = join->z[j] / ((join->line[j] - t) * (x + from + t));
        sum += join->z[j] * term;
        *slope += term * term;
    }
    return sum;
}

/* The root w = *from + t above d_i, *from the nearer of d_i and d_(i+1); returns t, with d - *from in join->line. Each
   step fits a function c + s / (d_i^2 - w^2) + s' / (d_(i+1)^2 - w^2) to the sums below and above the root, which has
   the same poles; bisection where the next would leave what encloses the root. */
TTEI_CLONES static double ttei_secular_root(const ttei_join *join, size_t i, double *from)
{
    const size_t count = join->count;
    const int outer = i + 1 == count;
    double low = 0, high, t, x, y, below, above, slope_below, slope_above, f;
    int step;
    if (outer) {  /* w^2 <= d_i^2 + |z|^2 */
        double z2 = 0;
        for (step = 0; (size_t)step < count; ++step) z2 += join->z[step] * join->z[step];
        high = z2 / (join->d[i] + sqrt(join->d[i] * join->d[i] + z2)) * (1 + 8 * DBL_EPSILON);
    } else {
        high = join->d[i + 1] - join->d[i];
    }
    *from = join->d[i];
    ttei_secular_from(join, *from);
    t = high / 2;
    for (step = 0; step < 100; ++step) {
        below = ttei_secular_sum(join, 0, i + 1, *from, t, &slope_below);
        above = ttei_secular_sum(join, i + 1, count, *from, t, &slope_above);
        f = 1 + below + above;
        if (fabs(f) <= 4 * DBL_EPSILON * (1 + above - below)) break;
        if (f < 0) low = t;
        else high = t;
        if (step == 0 && f < 0 && !outer) {  /* in the upper half: count from the upper end */
            const double gap = join->d[i + 1] - join->d[i];
            *from = join->d[i + 1];
            ttei_secular_from(join, *from);
            t -= gap;
            low = t;
            high = 0;
        }
        if (high - low <= 2 * DBL_EPSILON * fabs(t)) break;
        x = (join->line[i] - t) * (join->d[i] + *from + t);  /* d_i^2 - w^2 */
        if (outer) {
            const double c = f - slope_below * x;
            y = c > 0 ? x + slope_below * x * x / c : DBL_MAX;
        } else {
            const double x1 = (join->line[i + 1] - t) * (join->d[i + 1] + *from + t);
            const double c = f - slope_below * x - slope_above * x1;
            const double a = f * (x + x1) - (slope_below + slope_above) * x * x1, q = x * x1 * f;
            const double root = sqrt(a * a > 4 * q * c ? a * a - 4 * q * c : 0);
            y = a <= 0 ? (a - root) / (2 * c) : 2 * q / (a + root);
        }
        f = *from + t;
        y = f * f + y > 0 ? t + y / (f + sqrt(f * f + y)) : high;
        t = y > low && y < high ? y : low + (high - low) / 2;
    }
    return t;
}

/* The numbers first .. last - 1 in ascending order of their d. */
static void ttei_sort(size_t first, size_t last, const double *d, size_t *order)
{
    size_t i, k;
    for (i = first; i < last; ++i) {
        for (k = i - first; k > 0 && d[order[k - 1]] > d[i]; --k) order[k] = order[k - 1];
        order[k] = i;
    }
}

/* M for the parts of columns lo .. p and p + 1 .. hi - 1: its row p to join->row, by rows of B, divided like all
   of M by its largest entry, which goes to join->top. */
static void ttei_join_begin(const ttei_bidiagonal *b, size_t lo, size_t p, size_t hi, ttei_join *join)
{
    const double alpha = b->d[p], beta = b->e[p];
    const size_t step = b->step[1];
    double *right = b->vectors[1], *row = join->row, top, c, s;
    size_t i;
    b->d[p] = 0;
    row[p] = ttei_givens(alpha * right[p * step + p], beta * right[(hi - 1) * step + p + 1], &c, &s);
    ttei_rotate(hi - lo, c, s, right + p * step + lo, right + (hi - 1) * step + lo);
    top = ttei_top_f64(hi - 1 - lo, b->d + lo);
    if (top < fabs(alpha)) top = fabs(alpha);
    if (top < fabs(beta)) top = fabs(beta);
    for (i = lo; i < p; ++i) row[i] = alpha * right[i * step + p];
    for (i = p + 1; i + 1 < hi; ++i) row[i] = beta * right[i * step + p + 1];
    for (i = lo; i + 1 < hi && top > 0; ++i) row[i] /= top;
    join->top = top;
}

/* Deflation. Who takes part goes to order, d and z in ascending order of d, the first of them p; others to
   gone. join->at says where vectors are gathered: first those that the first part's columns meet only, from
   `begin` to `end` those that both meet, then the second's. */
static void ttei_join_deflate(const ttei_bidiagonal *b, size_t lo, size_t p, size_t hi, ttei_join *join)
{
    const double tol = 4 * DBL_EPSILON, top = join->top > 0 ? join->top : 1;
    double *row = join->row;
    size_t *order = join->order, kept = 0, gone = 0, k, i, before = p, place[3] = {0, 0, 0};
    int side;
    ttei_sort(lo, hi - 1, b->d, order);
    for (k = 0; order[k] != p; ++k) {}
    for (; k > 0; --k) order[k] = order[k - 1];  /* of equals p comes first */
    order[0] = p;
    if (!(row[p] > tol)) row[p] = tol;
    for (k = 0; k < hi - 1 - lo; ++k) {
        i = order[k];
        join->kind[i] = i < p ? 0 : i > p ? 2 : 1;
        if (k > 0 && fabs(row[i]) <= tol) {
            join->gone[gone++] = i;
        } else if (k > 0 && b->d[i] / top - join->d[kept - 1] <= tol) {  /* turned out of row p */
            double c, s;
            join->z[kept - 1] = ttei_givens(join->z[kept - 1], row[i], &c, &s);
            for (side = before != p ? 0 : 1; side < 2; ++side)
                if (b->vectors[side] != NULL)
                    ttei_rotate(hi - lo, c, s, b->vectors[side] + before * b->step[side] + lo,
                                b->vectors[side] + i * b->step[side] + lo);
            if (join->kind[before] != join->kind[i]) join->kind[before] = 1;
            join->gone[gone++] = i;
        } else {
            order[kept] = before = i;
            join->d[kept] = b->d[i] / top;
            join->z[kept++] = row[i];
        }
    }
    for (k = 0; k < kept; ++k) ++place[join->kind[order[k]]];
    join->begin = place[0];
    join->end = place[0] + place[1];
    place[2] = join->end;
    place[1] = join->begin;
    place[0] = 0;
    for (k = 0; k < kept; ++k) join->at[k] = place[join->kind[order[k]]]++;
    join->count = kept;
}

/* The singular values of M, in units of join->top, to join->row, and the coefficients of right vectors, by
   their places: coef[i][at[j]] = z'_j / (d_j^2 - w_i^2) over their norm, where
       z'_j^2 = product over i of (w_i^2 - d_j^2) / product over i other than j of (d_i^2 - d_j^2)
   is what makes the computed w exact. A factor above goes with one below, so that no product leaves the range. */
TTEI_CLONES static void ttei_join_values(size_t step, ttei_join *join)
{
    const size_t n = join->count;
    const double *d = join->d;
    double *z = join->z, *line = join->line, from, t;
    size_t i, j;
    for (i = 0; i < n; ++i) {
        double *coef = join->coef + i * step;
        t = ttei_secular_root(join, i, &from);
        join->row[i] = from + t;
        for (j = 0; j < n; ++j) coef[j] = (line[j] - t) * (d[j] + from + t);
    }
    for (j = 0; j < n; ++j) line[j] = -join->coef[(n - 1) * step + j];
    for (i = 0; i + 1 < n; ++i) {
        const double *coef = join->coef + i * step;
        for (j = 0; j <= i; ++j) line[j] *= coef[j] / ((d[j] - d[i + 1]) * (d[j] + d[i + 1]));
        for (; j < n; ++j) line[j] *= coef[j] / ((d[j] - d[i]) * (d[j] + d[i]));
    }
    for (j = 0; j < n; ++j) z[j] = z[j] < 0 ? -sqrt(fabs(line[j])) : sqrt(fabs(line[j]));
    for (i = 0; i < n; ++i) {
        double *coef = join->coef + i * step;
        for (j = 0; j < n; ++j) line[j] = z[j] / coef[j];
        join->scale[i] = 1 / sqrt(ttei_dot(n, line, line));
        for (j = 0; j < n; ++j) coef[join->at[j]] = line[j] * join->scale[i];
    }
}

/* The coefficients of left vectors: d_j times those of the right, -1 for row p. */
TTEI_CLONES static void ttei_join_left(size_t step, const ttei_join *join)
{
    const size_t n = join->count;
    size_t i, j;
    for (i = 0; i < n; ++i) {
        double *coef = join->coef + i * step;
        for (j = 1; j < n; ++j) coef[join->at[j]] *= join->d[j];
        coef[join->at[0]] = -join->scale[i];
        ttei_multiply(n, 1 / sqrt(ttei_dot(n, coef, coef)), coef);
    }
}

/* The vectors of one side, in rows from lo on: those that take part combined, then the others. */
static void ttei_join_vectors(const ttei_bidiagonal *b, size_t lo, size_t p, size_t hi, int side, const ttei_join *join)
{
    const size_t step = b->step[side], ld = b->step[1], n = join->count;
    double *rows = b->vectors[side] + lo * step, *gathered = join->gathered;
    size_t k;
    for (k = 0; k + 1 < hi - lo; ++k)
        memcpy(gathered + (k < n ? join->at[k] : k) * ld,
               b->vectors[side] + (k < n ? join->order[k] : join->gone[k - n]) * step + lo, (hi - lo) * sizeof *rows);
    ttei_product_f64(0, n, join->end, p + 1 - lo, join->coef, ld, 1, gathered, ld, rows + lo, step);
    gathered += join->begin * ld + p + 1 - lo;
    ttei_product_f64(0, n, n - join->begin, hi - p - 1, join->coef + join->begin, ld, 1, gathered, ld, rows + p + 1,
                     step);
    for (k = n; k + 1 < hi - lo; ++k)
        memcpy(rows + k * step + lo, join->gathered + k * ld, (hi - lo) * sizeof *rows);
}

static void ttei_join_parts(const ttei_bidiagonal *b, size_t lo, size_t p, size_t hi, ttei_join *join)
{
    size_t k;
    ttei_join_begin(b, lo, p, hi, join);
    ttei_join_deflate(b, lo, p, hi, join);
    ttei_join_values(b->step[1], join);
    ttei_join_vectors(b, lo, p, hi, 1, join);
    if (b->vectors[0] != NULL) {
        ttei_join_left(b->step[1], join);
        ttei_join_vectors(b, lo, p, hi, 0, join);
    }
    for (k = join->count; k + 1 < hi - lo; ++k) join->row[k] = b->d[join->gone[k - join->count]];
    for (k = 0; k + 1 < hi - lo; ++k) b->d[lo + k] = k < join->count ? join->row[k] * join->top : join->row[k];
}

/* A part of columns lo .. hi - 1, one more than rows: rotations from the right, from the last row up, clear the
   last column; QR steps. */
static int ttei_part(const ttei_bidiagonal *b, size_t lo, size_t hi)
{
    ttei_bidiagonal part = *b;
    double *last = b->vectors[1] + (hi - 1) * b->step[1] + lo, f = b->e[hi - 2], c, s;
    size_t i = hi - 1 - lo;
    int side;
    part.n = i;
    part.length = hi - lo;
    part.d += lo;
    part.e += lo;
    for (side = 0; side < 2; ++side)
        if (part.vectors[side] != NULL) part.vectors[side] += lo * (part.step[side] + 1);
    while (i-- > 0 && fabs(f) > 0) {
        part.d[i] = ttei_givens(part.d[i], f, &c, &s);
        ttei_rotate(part.length, c, s, part.vectors[1] + i * part.step[1], last);
        if (i == 0) break;
        f = -s * part.e[i - 1];
        part.e[i - 1] *= c;
    }
    return ttei_diagonalize(&part);
}

/* B = Y S Z': d becomes the singular values, none negative, in no order; the vectors, rows, are set. */
static int ttei_divide(const ttei_bidiagonal *b, ttei_join *join)
{
    const size_t columns = b->n + 1;
    size_t parts = 1, k;
    int side;
    for (side = 0; side < 2; ++side) {
        if (b->vectors[side] == NULL) continue;
        memset(b->vectors[side], 0, (b->n + (size_t)side) * b->step[side] * sizeof(double));
        for (k = 0; k < b->n + (size_t)side; ++k) b->vectors[side][k * (b->step[side] + 1)] = 1;
    }
    b->e[b->n - 1] = 0;
    while (columns / parts > TTEI_SVD_PART) parts *= 2;
    for (k = 0; k < parts; ++k)
        if (!ttei_part(b, columns * k / parts, columns * (k + 1) / parts)) return 0;
    for (; parts > 1; parts /= 2)
        for (k = 0; k < parts; k += 2)
            ttei_join_parts(b, columns * k / parts, columns * (k + 1) / parts - 1, columns * (k + 2) / parts, join);
    return 1;
}

static void ttei_join_carve(size_t n, size_t step, ttei_carve *carve, ttei_join *join)
{
    double **const numbers[] = {&join->d, &join->z, &join->scale, &join->row, &join->line};
    size_t **const places[] = {&join->order, &join->at, &join->kind, &join->gone};
    size_t i;
    join->coef = (double *)ttei_take(carve, ttei_mul(step, n), sizeof(double));
    join->gathered = (double *)ttei_take(carve, ttei_mul(step, n), sizeof(double));
    for (i = 0; i < 5; ++i) *numbers[i] = (double *)ttei_take(carve, n, sizeof(double));
    for (i = 0; i < 4; ++i) *places[i] = (size_t *)ttei_take(carve, n, sizeof(size_t));
}

/* ---- reflections, many at a time ---------------------------------------------------------------------- */

/* X := H_0 .. H_(count-1) X for `rows` columns x of length m, `step_x` apart; vector j of a reflection stands
   from v + j (step + 1) on. A block of them is I - V T V', T upper triangular: column i of T is
   (-tau_i T V'v_i, tau_i) [GVL 5.1.7]. */
TTEI_CLONES static void ttei_reflect_block(size_t m, size_t count, size_t step, const double *v, const double *tau,
                                           size_t rows, size_t step_x, double *x, double *room)
{
    enum { block = TTEI_SVD_BLOCK };
    double t[block * block], *panel = room, *across = panel + block * step;
    double *products = across + block * step, *turned = products + block * rows;  /* -T'; V'; V; X'V; X'V T' */
    size_t i, j, k;
    memset(panel, 0, count * step * sizeof *panel);
    memset(t, 0, sizeof t);
    for (i = 0; i < count; ++i) {
        double *row = panel + i * step;
        memcpy(row + i, v + i * (step + 1), (m - i) * sizeof *row);
        for (k = 0; k < m; ++k) across[k * block + i] = row[k];
        t[i * block + i] = -tau[i];
        for (j = 0; j < i; ++j) {
            const double f = -tau[i] * ttei_dot(m, row, panel + j * step);
            for (k = 0; k <= j; ++k) t[i * block + k] += f * t[j * block + k];
        }
    }
    ttei_product_f64(0, rows, m, count, x, step_x, 1, across, block, products, block);
    ttei_product_f64(0, rows, count, count, products, block, 1, t, block, turned, block);
    ttei_product_f64(1, rows, count, m, turned, block, 1, panel, step, x, step_x);
}

TTEI_CLONES static void ttei_reflect_all(size_t m, size_t count, size_t step, const double *v, const double *tau,
                                         size_t rows, size_t step_x, double *x, double *room)
{
    const size_t block = ttei_min(count, rows) < 2 * TTEI_SVD_BLOCK ? 1 : TTEI_SVD_BLOCK;
    size_t j, some = (count - 1) % block + 1;
    for (j = count; j > 0; j -= some, some = block) {
        const size_t first = j - some;
        if (block > 1)
            ttei_reflect_block(m - first, some, step, v + first * (step + 1), tau + first, rows, step_x, x + first,
                               room);
        else if (tau[first] > 0)
            ttei_reflect(m - first, tau[first], v + first * (step + 1), rows, step_x, x + first);
    }
}

/* ---- singular value decomposition ------------------------------------------------------------------------ */

/* In each of n rows x the largest entry, the first of equals, becomes positive; y (NULL: none) turns along. */
static void ttei_fix_signs(size_t n, double *x, size_t length, size_t step, double *y, size_t y_length, size_t y_step)
{
    size_t k, i;
    for (k = 0; k < n; ++k, x += step, y = y == NULL ? NULL : y + y_step) {
        const double top = ttei_top_f64(length, x);
        for (i = 0; i + 1 < length && fabs(x[i]) < top; ++i) {}
        if (!(x[i] < 0)) continue;
        ttei_multiply(length, -1, x);
        if (y != NULL) ttei_multiply(y_length, -1, y);
    }
}

typedef struct ttei_svd_room {    /* m = max(rows, cols), n = min(rows, cols)                          */
    size_t step;                  /* from column to column of w                                        */
    double *w, *q;                /* n columns of m, of n: the matrix, then the vectors of reflections */
    double *tau_left, *tau_right, *line, *reflect;  /* n each; see who uses them                         */
    ttei_bidiagonal b;            /* its vectors become those of W                                     */
    ttei_join join;
} ttei_svd_room;

/* With `symmetric`, of n rows, there is nothing on the left. */
static size_t ttei_svd_carve(int symmetric, size_t rows, size_t cols, void *work, ttei_svd_room *room)
{
    const size_t m = ttei_max(rows, cols), n = ttei_min(rows, cols), real = sizeof(double);
    const size_t step = ttei_column_step(ttei_max(m, n + 1)), step_n = ttei_column_step(n + 1);
    ttei_carve carve = ttei_carve_begin(work);
    memset(room, 0, sizeof *room);
    room->step = room->b.step[0] = step;
    room->b.step[1] = step_n;
    room->b.n = n;
    room->b.length = n + 1;
    room->b.d = (double *)ttei_take(&carve, n, real);
    room->b.e = (double *)ttei_take(&carve, n, real);
    room->tau_right = (double *)ttei_take(&carve, n, real);
    room->line = (double *)ttei_take(&carve, symmetric ? ttei_mul(2, step_n) : step, real);
    room->q = (double *)ttei_take(&carve, ttei_mul(step_n, n), real);
    room->b.vectors[1] = (double *)ttei_take(&carve, ttei_mul(step_n, n + 1), real);
    ttei_join_carve(n, step_n, &carve, &room->join);
    room->reflect = (double *)ttei_take(&carve, n < 2 * TTEI_SVD_BLOCK ? 0 :
                                        ttei_mul(2 * TTEI_SVD_BLOCK, ttei_add(ttei_max(step, step_n), n)), real);
    if (symmetric) return carve.used;
    room->tau_left = (double *)ttei_take(&carve, n, real);
    room->w = (double *)ttei_take(&carve, ttei_mul(step, n), real);
    room->b.vectors[0] = (double *)ttei_take(&carve, ttei_mul(step, n), real);
    return carve.used;
}

/* A matrix of doubles, or with `single` of floats, as n columns of length m; zeros behind them. When its
   largest entry `top` is far from 1, it is scaled by a power of two, which is returned. */
static int ttei_load(int single, size_t m, size_t n, int tall, const void *a, double top, double *w, size_t step)
{
    const size_t down = tall ? n : 1, right = tall ? 1 : m;
    int power = ttei_exponent(top);
    size_t i, j;
    if (power > -20 && power < 20) power = 0;
    memset(w, 0, step * n * sizeof *w);
    for (j = 0; j < n; ++j, w += step)
        if (single) for (i = 0; i < m; ++i) w[i] = (double)((const float *)a)[i * down + j * right];
        else for (i = 0; i < m; ++i) w[i] = ((const double *)a)[i * down + j * right];
    ttei_scale(step * n, -power, w - step * n);
    return power;
}

static void ttei_store(int single, double x, void *a, size_t at)
{
    if (single) ((float *)a)[at] = (float)x;
    else ((double *)a)[at] = x;
}

/* U and V, columns in the given order of rows and signs fixed, to u and vt, either of which may be NULL. */
static void ttei_svd_store(int single, size_t rows, size_t cols, void *u, void *vt, const ttei_bidiagonal *b,
                           const size_t *order)
{
    const int tall = rows >= cols;
    const size_t n = b->n, left_step = b->step[!tall], right_step = b->step[tall];
    double *left = b->vectors[!tall], *right = b->vectors[tall];
    size_t i, j;
    for (i = 0; i < right_step * n && single; ++i) right[i] = (double)(float)right[i];
    ttei_fix_signs(n, right, cols, right_step, left, rows, left_step);
    for (j = 0; j < n; ++j) {
        const double *x = left + order[n - 1 - j] * left_step, *y = right + order[n - 1 - j] * right_step;
        for (i = 0; i < rows && u != NULL; ++i) ttei_store(single, x[i], u, i * n + j);
        for (i = 0; i < cols && vt != NULL; ++i) ttei_store(single, y[i], vt, j * cols + i);
    }
}

/* tte_svd_f64, or with `single` tte_svd_f32, for sizes that are known to be good. Values alone come from QR
   steps alone, which keep the relative accuracy of small ones. */
static tte_status ttei_svd(int single, size_t rows, size_t cols, const void *a, void *u, void *s, void *vt, void *work)
{
    const int tall = rows >= cols, vectors = u != NULL || vt != NULL;
    const size_t m = tall ? rows : cols, n = tall ? cols : rows;
    const double top = single ? (double)ttei_largest(m * n, (const float *)a)
                              : ttei_top_f64(m * n, (const double *)a);
    ttei_svd_room room;
    ttei_bidiagonal *b = &room.b;
    size_t k, step_n;
    int power;
    if (!ttei_finite_f64(top)) return TTE_ERR_NOT_FINITE;
    (void)ttei_svd_carve(0, rows, cols, work, &room);
    step_n = b->step[1];
    power = ttei_load(single, m, n, tall, a, top, room.w, room.step);
    memset(room.q, 0, step_n * n * sizeof *room.q);
    ttei_bidiagonalize(m, n, room.w, room.step, room.q, step_n, b->d, b->e, room.tau_left, room.tau_right, room.line);
    if (!vectors) b->vectors[0] = b->vectors[1] = NULL;
    if (!(vectors ? ttei_divide(b, &room.join) : ttei_diagonalize(b))) return TTE_ERR_CONVERGENCE;
    ttei_sort(0, n, b->d, room.join.order);
    ttei_scale(n, power, b->d);
    if (!ttei_finite_f64(b->d[room.join.order[n - 1]]) || (single && b->d[room.join.order[n - 1]] > (double)FLT_MAX))
        return TTE_ERR_NOT_FINITE;
    for (k = 0; k < n; ++k) ttei_store(single, b->d[room.join.order[n - 1 - k]], s, k);
    if (!vectors) return TTE_OK;
    ttei_reflect_all(m, n, room.step, room.w, room.tau_left, n, room.step, b->vectors[0], room.reflect);
    if (n > 1)
        ttei_reflect_all(n - 1, n - 1, step_n, room.q + step_n + 1, room.tau_right, n, step_n, b->vectors[1] + 1,
                         room.reflect);
    ttei_svd_store(single, rows, cols, u, vt, b, room.join.order);
    return TTE_OK;
}

size_t tte_svd_f64_work(int rows, int cols)
{
    ttei_svd_room room;
    size_t size;
    if (rows < 1 || cols < 1 || rows > INT32_MAX / cols) return 0;
    size = ttei_svd_carve(0, (size_t)rows, (size_t)cols, NULL, &room);
    return size == TTEI_SIZE_MAX ? 0 : size;
}

size_t tte_svd_f32_work(int rows, int cols) { return tte_svd_f64_work(rows, cols); }

static tte_status ttei_svd_checked(int single, int rows, int cols, const void *a, void *u, void *s, void *vt,
                                   void *work)
{
    if (rows < 1 || cols < 1 || a == NULL || s == NULL || work == NULL) return TTE_ERR_ARGUMENT;
    if (tte_svd_f64_work(rows, cols) == 0) return TTE_ERR_SHAPE;
    return ttei_svd(single, (size_t)rows, (size_t)cols, a, u, s, vt, work);
}

tte_status tte_svd_f32(int rows, int cols, const float *a, float *u, float *s, float *vt, void *work)
{
    return ttei_svd_checked(1, rows, cols, a, u, s, vt, work);
}

tte_status tte_svd_f64(int rows, int cols, const double *a, double *u, double *s, double *vt, void *work)
{
    return ttei_svd_checked(0, rows, cols, a, u, s, vt, work);
}

/* ---- symmetric eigenvalues -------------------------------------------------------------------- */

/* y (n entries, a column from its diagonal down) += f w + g v; then p += h y; returns y'u. */
TTEI_INLINE double ttei_symmetric_column(size_t n, double f, const double *w, double g, const double *v,
                                         double h, const double *u, double *p, double *y)
{
    ttei_quad sum = {0};
    size_t i;
    for (i = 0; i < n; i += TTEI_QUAD) {
        const ttei_quad x = TTEI_DOUBLES_OF(y + i) + f * TTEI_DOUBLES_OF(w + i) + g * TTEI_DOUBLES_OF(v + i);
        TTEI_DOUBLES(y + i) = x;
        TTEI_DOUBLES(p + i) += h * x;
        sum += x * TTEI_DOUBLES_OF(u + i);
    }
    return ttei_total(&sum);
}

/* A = Q T Q', d and e the diagonals of T. Reflection j acts on rows j+1 .. n-1; its vector u is left in
   column j below the diagonal. With p = tau A u and w = p - (tau/2) (p'u) u it takes A to A - u w' - w u';
   this is put off until the next reflection needs the product with A, so that a column is touched once. Only
   the lower triangle is used. `line` holds two w's of `step` numbers in turn, zeros behind them. */
TTEI_CLONES static void ttei_tridiagonalize(size_t n, double *a, size_t step, double *d, double *e,
                                            double *tau, double *line)
{
    size_t j, c;
    memset(line, 0, 2 * step * sizeof *line);
    for (j = 0; j < n; ++j) {
        double *y = a + j * step + j, *u = y + 1, *p = line + j % 2 * step, t;
        const double *v = j > 0 ? y - step : line, *w = line + (j + 1) % 2 * step;  /* of the reflection before; v[0]: row j */
        if (j > 0) ttei_axpy(n - j, -v[0], w + j, y);
        if (j > 0) ttei_axpy(n - j, -w[j], v, y);
        d[j] = y[0];
        if (j + 1 == n) break;
        tau[j] = t = ttei_reflector(n - j - 1, u, &e[j]);
        if (j == 0) v = w;  /* zeros */
        memset(p, 0, n * sizeof *p);
        for (c = j + 1; c < n; ++c) {
            double *x = a + c * step + c;
            const double h = u[c - j - 1];
            const double sum = ttei_symmetric_column(n - c, -v[c - j], w + c, -w[c], v + c - j, h,
                                                     u + c - j - 1, p + c, x);
            p[c] += sum - x[0] * h;  /* the diagonal entry is in both */
        }
        ttei_multiply(n - j - 1, t, p + j + 1);
        ttei_axpy(n - j - 1, -0.5 * t * ttei_dot(n - j - 1, p + j + 1, u), u, p + j + 1);
    }
}

/* T, its diagonals in d and e, becomes B with B'B = T + shift, which is returned: where no row's off-diagonal
   entries add up to more than its diagonal one, T + shift has no negative eigenvalue, and B has no pivot of 0. */
static double ttei_tridiagonal_root(size_t n, double *d, double *e)
{
    const double top = ttei_top_f64(n, d) + 2 * ttei_top_f64(n - 1, e);
    double shift = 0, before = 0;
    size_t i;
    for (i = 0; i < n; ++i) {
        const double beside = (i > 0 ? fabs(e[i - 1]) : 0) + (i + 1 < n ? fabs(e[i]) : 0);
        if (beside - d[i] > shift) shift = beside - d[i];
    }
    shift += 16 * DBL_EPSILON * top + DBL_MIN;
    for (i = 0; i < n; ++i) {
        const double rest = d[i] + shift - before * before;
        d[i] = rest > 0 ? sqrt(rest) : 0;
        if (i + 1 < n) before = e[i] = rest > 0 ? e[i] / d[i] : 0;
    }
    return shift;
}

/* a = V' diag(values) V. On entry the upper triangle of a (n x n) counts, on return row j is the eigenvector
   of values[j], these descending; in each the entry of largest magnitude, the first of them, is positive.
   Returns 0 when a is not finite or the steps do not converge; a is unchanged then. */
static int ttei_eigen(size_t n, double *a, double *values, void *work)
{
    const double top = ttei_top_f64(n * n, a);
    ttei_svd_room room;
    double *v, shift;
    size_t step, j;
    int power;
    if (!ttei_finite_f64(top)) return 0;
    (void)ttei_svd_carve(1, n, n, work, &room);
    step = room.b.step[1];
    v = room.b.vectors[1];
    power = ttei_load(0, n, n, 0, a, top, room.q, step);
    ttei_tridiagonalize(n, room.q, step, room.b.d, room.b.e, room.tau_right, room.line);
    shift = ttei_tridiagonal_root(n, room.b.d, room.b.e);
    if (!ttei_divide(&room.b, &room.join)) return 0;
    if (n > 1) ttei_reflect_all(n - 1, n - 1, step, room.q + 1, room.tau_right, n, step, v + 1, room.reflect);
    ttei_fix_signs(n, v, n, step, NULL, 0, 0);
    ttei_sort(0, n, room.b.d, room.join.order);
    for (j = 0; j < n; ++j) {
        const size_t from = room.join.order[n - 1 - j];
        memcpy(a + j * n, v + from * step, n * sizeof *a);
        values[j] = room.b.d[from] * room.b.d[from] - shift;
    }
    ttei_scale(n, power, values);
    return 1;
}

/* ================================================================================================
   TT-SVD
   Ranks, core codings, TT-SVD, records. Shapes, contraction and decoding are the reader's.
   ============================================================================================= */

/* The largest ranks a bond can need: r[k] <= r[k-1]*n[k] from the left, the product of the modes to its
   right, and max_rank where that is not 0. The shape is valid. */
static void ttei_rank_caps(const tte_shape *shape, int32_t max_rank, int32_t *caps)
{
    size_t right = 1, left;
    int32_t k, d = shape->modes;
    caps[0] = caps[d] = 1;
    for (k = d - 1; k > 0; --k) {
        right *= (size_t)shape->dim[k];
        caps[k] = (int32_t)right;
    }
    for (k = 1; k < d; ++k) {
        left = (size_t)caps[k - 1] * (size_t)shape->dim[k - 1];
        if (left < (size_t)caps[k]) caps[k] = (int32_t)left;
        if (max_rank > 0 && max_rank < caps[k]) caps[k] = max_rank;
    }
}

size_t tte_core_cap(const tte_shape *shape, int max_rank)
{
    int32_t caps[TTE_MAX_MODES + 1];
    size_t entries;
    if (shape == NULL || max_rank < 0 || ttei_shape_check(shape, &entries) != TTE_OK) return 0;
    ttei_rank_caps(shape, (int32_t)max_rank, caps);
    return tte_core_len(shape, caps);
}

/* ---- small kernels ------------------------------------------------------------------------------ */

/* y += alpha * x */
TTEI_INLINE void ttei_axpy_f32(size_t n, float alpha, const float *x, float *y)
{
    size_t i = 0;
    for (; i + TTEI_LANES <= n; i += TTEI_LANES) TTEI_FLOATS(y + i) += alpha * TTEI_FLOATS_OF(x + i);
    for (; i < n; ++i) y[i] += alpha * x[i];
}

/* |x - y|^2, the differences rounded to float, summed in double; y NULL stands for zeros. */
TTEI_CLONES static double ttei_distance2(const float *x, const float *y, size_t n)
{
    ttei_quad sums[2];
    double sum;
    size_t i, k;
    memset(sums, 0, sizeof sums);
    for (i = 0; i + 2 * TTEI_QUAD <= n; i += 2 * TTEI_QUAD)
        TTEI_UNROLL
        for (k = 0; k < 2; ++k) {
            ttei_floats4 a = *(const ttei_floats4 *)(x + i + k * TTEI_QUAD);
            if (y != NULL) a -= *(const ttei_floats4 *)(y + i + k * TTEI_QUAD);
            sums[k] += TTEI_WIDEN(a) * TTEI_WIDEN(a);
        }
    sums[0] += sums[1];
    sum = ttei_total(&sums[0]);
    for (; i < n; ++i) {
        const float last = y != NULL ? x[i] - y[i] : x[i];
        sum += (double)last * (double)last;
    }
    return sum;
}

static double ttei_norm2(const float *x, size_t n) { return ttei_distance2(x, NULL, n); }

/* ---- core codings --------------------------------------------------------------------------------- */

/* Round to nearest float16, ties to even; beyond 65504 gives infinity, which the caller tests for. */
static uint32_t ttei_f16_encode(float value)
{
    const uint32_t bits = ttei_bits_of(value), sign = bits >> 16 & 0x8000u;
    uint32_t magnitude = bits & 0x7fffffffu, half, rest, shift = 13;
    if (magnitude >= 0x47800000u) return sign | 0x7c00u;            /* 65536 and more               */
    if (magnitude < 0x38800000u) {                                  /* below 2^-14: subnormal half  */
        shift = 126u - (magnitude >> 23);                           /* bits to drop for 2^-24 units */
        if (shift > 24u) return sign;
        magnitude = (magnitude & 0x7fffffu) | 0x800000u;
    } else {
        magnitude -= 0x38000000u;
    }
    half = magnitude >> shift;
    rest = magnitude & ((1u << shift) - 1u);
    if (rest > 1u << (shift - 1u) || (rest == 1u << (shift - 1u) && (half & 1u))) ++half;
    return sign | half;                                             /* perhaps infinity by now      */
}

static float ttei_f16_round(float value) { return ttei_f16_decode(ttei_f16_encode(value)); }

/* The code of an entry: value / scale to the nearest integer, within -limit .. limit. */
static int ttei_code(float value, float scale, int limit)
{
    float code = scale > 0 ? value / scale : 0;
    if (code > (float)limit) return limit;
    if (code < (float)-limit) return -limit;
    return (int)(code < 0 ? code - 0.5f : code + 0.5f);
}

/* Sum of squared rounding errors with a scale; *best is the scale that fits these codes best, which is
   <core, codes> / <codes, codes>. */
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

/* Clipping the largest entries a little can pay, since all others then get a finer scale: try some fractions
   of the largest entry, and for each the scale that fits its codes best. */
static float ttei_choose_scale(const float *core, size_t n, int limit)
{
    float top = ttei_largest(n, core), chosen = 0, scale, fit, unused;
    double error, least = -1;
    int clip, fitted;
    for (clip = 0; clip < (limit > 7 ? 2 : 8); ++clip) {
        scale = top * (1 - 0.06f * (float)clip) / (float)limit;
        for (fitted = 0; fitted < 2; ++fitted) {
            scale = ttei_f16_round(scale);
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

/* Rounds core entries in place to what `coding` can represent; the scale of the codes goes to *scale.
   Returns 0 when they are beyond its range. */
static int ttei_core_round(tte_coding coding, float *core, size_t n, float *scale)
{
    const int limit = coding == TTE_I8 ? 127 : 7;
    size_t i;
    *scale = 1;
    if (coding == TTE_F32) return 1;
    if (coding == TTE_F16) {
        for (i = 0; i < n; ++i) core[i] = ttei_f16_round(core[i]);
        return ttei_finite_f32(ttei_largest(n, core));
    }
    *scale = ttei_choose_scale(core, n, limit);
    for (i = 0; i < n; ++i) core[i] = *scale * (float)ttei_code(core[i], *scale, limit);
    return ttei_finite_f32(ttei_f16_round(*scale));
}

/* The record of rounded cores. The codes come back exactly: scale times code has at most 18 bits. */
static void ttei_train_encode(tte_coding coding, const tte_shape *shape, const int32_t *ranks,
                               const float *cores, const float *scales, unsigned char *record)
{
    const int has_scales = ttei_has_scales(coding);
    unsigned char *codes = record + (has_scales ? 2 * shape->modes : 0);
    const size_t numbers = ttei_core_sum(shape, ranks);
    size_t i, end = 0;
    int32_t k;
    for (i = 0; i < numbers && coding == TTE_F32; ++i) ttei_put_f32(codes + 4 * i, cores[i]);
    for (i = 0; i < numbers && coding == TTE_F16; ++i) ttei_put16(codes + 2 * i, ttei_f16_encode(cores[i]));
    if (!has_scales) return;
    memset(record, 0, ttei_record_bytes(coding, shape->modes, numbers));
    for (i = 0, k = 0; k < shape->modes; ++k) {
        ttei_put16(record + 2 * k, ttei_f16_encode(scales[k]));
        for (end += ttei_core_size(shape, ranks, k); i < end; ++i) {
            const int code = ttei_code(cores[i], scales[k], coding == TTE_I8 ? 127 : 7);
            if (coding == TTE_I8) codes[i] = (unsigned char)(code & 255);
            else codes[i / 2] = (unsigned char)(codes[i / 2] | (code + 8) << (i % 2 * 4));
        }
    }
}

/* ---- one row --------------------------------------------------------------------------------------- */

/* Room for a TT-SVD of one shape. The remainder before bond k is at most as large as x. */
typedef struct ttei_ttsvd_room {
    size_t entries;            /* prod(dim)                                   */
    float *remainder, *next;   /* entries each                                */
    float *u, *s, *vt;         /* entries, largest rank, entries              */
    float *gram;               /* largest rank squared, for rounded cores     */
    void *svd;
} ttei_ttsvd_room;

static void ttei_ttsvd_carve(const tte_shape *shape, const int32_t *caps, ttei_carve *carve, ttei_ttsvd_room *room)
{
    ttei_svd_room unused;
    const size_t entries = ttei_entries(shape);
    size_t svd = 0, rank = 1, right = entries;
    int32_t k;
    for (k = 0; k + 1 < shape->modes; ++k) {
        right /= (size_t)shape->dim[k];
        rank = ttei_max(rank, (size_t)caps[k + 1]);
        svd = ttei_max(svd, ttei_svd_carve(0, (size_t)caps[k] * (size_t)shape->dim[k], right, NULL, &unused));
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

/* The remainder (r x n) with |q * remainder - a| least, q (m x r), a (m x n). The columns of q are orthogonal
   up to rounding, so the normal equations are as good as any method here; a column that rounding has emptied
   or doubled gets a zero row. */
static void ttei_least_squares(size_t m, size_t r, size_t n, const float *q, const float *a, float *gram,
                               float *remainder)
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
   discarded singular values stay within `allowed`, the square of an error. That square goes to *lost. */
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

/* x = 2^power * y with the largest entry of y in [1/2, 1): the scale in which a train is computed. `spread`
   is the power of two that gives each of d cores an equal share of the norm of x, `last` what is left for the
   last one when the others have theirs. */
typedef struct ttei_powers {
    int power, spread, last;
} ttei_powers;

static ttei_powers ttei_powers_of(float top, double norm2, int32_t d)
{
    ttei_powers powers;
    powers.power = ttei_exponent((double)top);
    powers.spread = ttei_exponent(norm2) / 2 / d;
    powers.last = powers.power - (d - 1) * powers.spread;
    return powers;
}

/* A core (m x r) is scaled and rounded to its coding; the remainder (m x n) becomes the least-squares one for
   the rounded core (r x n), so that later cores take up the error of this one. */
static tte_status ttei_train_round(tte_coding coding, size_t m, size_t r, size_t n, int spread, float *core,
                                   float *scale, float *remainder, ttei_ttsvd_room *room)
{
    ttei_scale_f32(m * r, spread, core);
    if (!ttei_core_round(coding, core, m * r, scale)) return TTE_ERR_BUDGET;
    ttei_least_squares(m, r, n, core, remainder, room->gram, room->next);
    ttei_scale_f32(r * n, spread, room->next);  /* so that it keeps the norm of what is left of x */
    memcpy(remainder, room->next, r * n * sizeof *remainder);
    return TTE_OK;
}

/* The last core is what remains, in the scale of x. */
static tte_status ttei_train_end(tte_coding coding, size_t n, const ttei_powers *powers, float *core, float *scale)
{
    ttei_scale_f32(n, coding == TTE_F32 ? powers->power : powers->last, core);
    if (!ttei_core_round(coding, core, n, scale)) return TTE_ERR_BUDGET;
    return ttei_finite_f32(ttei_largest(n, core)) ? TTE_OK : TTE_ERR_NOT_FINITE;
}

/* TT-SVD of x, whose `count` entries are padded with zeros to the shape's [Ose11, Alg. 1]. Before bond k the
   remainder is a matrix (r[k-1] n[k]) x (n[k+1]..n[d]); its leading left singular vectors are G_k, and what
   is left after projecting on them goes on to the next bond. The projections are nested, so the squared
   errors add up, and each bond may spend an equal share of what those before it left over: |x - x^|^2 = sum
   of lost_k^2 <= eps^2 |x|^2. With eps < 0 only the caps truncate. scales[k] belong to the codes of a
   rounding coding. Returns TTE_ERR_BUDGET when a core is beyond the range of the coding. */
static tte_status ttei_train(const tte_shape *shape, const int32_t *caps, double eps, tte_coding coding, const float *x,
                             size_t count, int32_t *ranks, float *cores, float *scales, ttei_ttsvd_room *room)
{
    const int32_t d = shape->modes;
    size_t n = room->entries, m, r, i, full;
    int32_t k;
    const double norm2 = ttei_norm2(x, count);
    const ttei_powers powers = ttei_powers_of(ttei_largest(count, x), norm2, d);
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
        status = ttei_svd(1, m, n, room->remainder, room->u, room->s, room->vt, room->svd);
        if (status != TTE_OK) return status;
        r = ttei_choose_rank(room->s, full, (size_t)caps[k + 1],
                             budget < 0 ? budget : budget / (double)(d - 1 - k), &lost);
        if (budget >= 0) budget = budget > lost ? budget - lost : 0;
        ranks[k + 1] = (int32_t)r;
        for (i = 0; i < m; ++i) memcpy(cores + i * r, room->u + i * full, r * sizeof *cores);
        if (coding == TTE_F32) {
            for (i = 0; i < r * n; ++i) room->remainder[i] = room->s[i / n] * room->vt[i];
        } else {
            status = ttei_train_round(coding, m, r, n, powers.spread, cores, &scales[k], room->remainder, room);
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
static size_t ttei_decompose_carve(const tte_shape *shape, void *work, ttei_ttsvd_room *room, float **train)
{
    int32_t caps[TTE_MAX_MODES + 1];
    ttei_carve carve = ttei_carve_begin(work);
    ttei_rank_caps(shape, 0, caps);
    ttei_ttsvd_carve(shape, caps, &carve, room);
    *train = (float *)ttei_take(&carve, ttei_core_sum(shape, caps), sizeof(float));
    return carve.used;
}

size_t tte_decompose_work(const tte_shape *shape)
{
    ttei_ttsvd_room room;
    float *train;
    size_t entries, size;
    if (shape == NULL || ttei_shape_check(shape, &entries) != TTE_OK) return 0;
    size = ttei_decompose_carve(shape, NULL, &room, &train);
    return size == TTEI_SIZE_MAX ? 0 : size;
}

tte_status tte_decompose(const tte_shape *shape, const float *x, int max_rank, float eps, int32_t *ranks,
                         float *cores, void *work)
{
    int32_t caps[TTE_MAX_MODES + 1], found[TTE_MAX_MODES + 1];
    float scales[TTE_MAX_MODES], *train;
    size_t entries;
    ttei_ttsvd_room room;
    double bound;
    tte_status status;
    if (shape == NULL || x == NULL || ranks == NULL || cores == NULL || work == NULL || max_rank < 0 ||
        !ttei_finite_f32(eps) || eps < 0)
        return TTE_ERR_ARGUMENT;
    status = ttei_shape_check(shape, &entries);
    if (status != TTE_OK) return status;
    if (tte_decompose_work(shape) == 0) return TTE_ERR_SHAPE;
    if (!ttei_finite_f32(ttei_largest(entries, x))) return TTE_ERR_NOT_FINITE;
    /* All cores but the last are orthonormal: no sum in tte_reconstruct exceeds |x^| <= |x| (1 + 1e-5). */
    if (ttei_norm2(x, entries) > 0.9999 * 0.9999 * (double)FLT_MAX * (double)FLT_MAX)
        return TTE_ERR_NOT_FINITE;

    (void)ttei_decompose_carve(shape, work, &room, &train);
    ttei_rank_caps(shape, (int32_t)max_rank, caps);
    bound = (double)eps - ttei_rounding(shape->modes);
    if (bound < 0) bound = 0;
    status = ttei_train(shape, caps, eps > 0 ? bound : -1, TTE_F32, x, entries, found, train, scales, &room);
    if (status != TTE_OK) return status;
    memcpy(ranks, found, ((size_t)shape->modes + 1) * sizeof *ranks);
    memcpy(cores, train, ttei_core_sum(shape, found) * sizeof *cores);
    return TTE_OK;
}

/* ================================================================================================
   MANY ROWS AT ONCE
   Tables hold 50,000 or more small matrices, all of one shape. Rows lie side by side in the lanes of a vector: entry
   (i, j) of eight rows is one ttei_lanes, every step is the same for all lanes, and a lane that has converged meets
   rotations by zero. No lane ever looks at another, so a row gives the same cores whatever rows stand beside it.

   For one bond, A of shape m x n, the leading r left singular vectors are wanted. They are computed
   as eigenvectors of A A'; a tall A is first reduced to its triangular factor, which takes its place:
       A = P R                Householder reflections, only when m > n     [GVL 5.2.1]
       A A' = Q T Q'        Householder reflections, T tridiagonal       [GVL 8.3.1]
       T = Z L Z'            implicit QR with Wilkinson's shift           [GVL 8.3.3]
       U = P Q Z, r columns   the rotations of Z, kept in a list, meet r unit vectors from the back
   U is orthonormal to rounding in any case, and the remainder U' A takes exactly what U spans. What the square A A'
   costs is accuracy in small singular vectors, about epsilon |A|^2 of what a cut loses. Where a cut loses less than a
   thousandth of |A|^2, that would be seen: there a lane takes the general method.
   ============================================================================================= */

enum {
    TTEI_LANE_SIDE = 128,  /* a larger min(m, n) goes to the general method */
    TTEI_LANE_SWEEPS = TTEI_SVD_SWEEPS < 12 ? TTEI_SVD_SWEEPS : 12  /* for two eigenvalues, on average */
};
static const float ttei_lane_tiny = 1e-30f;  /* beside entries of order 1, a square that is none */
static const float ttei_lane_cut = 1e-3f;    /* of |A|^2: the least loss this method is trusted with */

typedef struct ttei_lane_room {  /* side = min(m, n), the largest of all bonds             */
    ttei_lanes *a, *b;           /* entries each: the remainder before a bond and after it     */
    ttei_lanes *triangle;        /* side x side: R                                             */
    ttei_lanes *gram;            /* side x side: A A', then the vectors of the reflections     */
    ttei_lanes *d, *e, *tau, *tau_tall, *line;  /* side each                                   */
    ttei_lanes *turns;           /* cosine and sine of every rotation in order                 */
    int32_t *planes;             /* rotation i turns the plane (planes[i], planes[i] + 1)      */
    ttei_lanes *u;               /* m x r                                                      */
    float *cores, *remainders;   /* of each lane: a train; its row, or what remains of it               */
    size_t entries, cores_len;
} ttei_lane_room;

static ttei_lanes *ttei_take_lanes(ttei_carve *carve, size_t count)
{
    return (ttei_lanes *)ttei_take(carve, count, sizeof(ttei_lanes));
}

/* Carves the room; returns 0 when a bond is too large for it. */
static int ttei_lane_carve(const tte_shape *shape, const int32_t *ranks, ttei_carve *carve, ttei_lane_room *room)
{
    ttei_lanes **const lines[] = {&room->d, &room->e, &room->tau, &room->tau_tall, &room->line};
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
    room->a = ttei_take_lanes(carve, room->entries);
    room->b = ttei_take_lanes(carve, room->entries);
    room->triangle = ttei_take_lanes(carve, side * side);
    room->gram = ttei_take_lanes(carve, side * side);
    for (k = 0; k < 5; ++k) *lines[k] = ttei_take_lanes(carve, side);
    room->turns = ttei_take_lanes(carve, 2 * turns);
    room->planes = (int32_t *)ttei_take(carve, turns, sizeof(int32_t));
    room->u = ttei_take_lanes(carve, mr);
    room->cores = (float *)ttei_take(carve, ttei_mul(TTEI_LANES, room->cores_len), sizeof(float));
    room->remainders = (float *)ttei_take(carve, ttei_mul(TTEI_LANES, room->entries), sizeof(float));
    return 1;
}

/* The square root, correctly rounded. */
TTEI_INLINE void ttei_lane_sqrt(const ttei_lanes *x, ttei_lanes *root)
{
#if defined(TTEI_X86) && defined(TTEI_SHUFFLE)
    const __m128 low = _mm_sqrt_ps(TTEI_SHUFFLE(*x, *x, 0, 1, 2, 3));
    const __m128 high = _mm_sqrt_ps(TTEI_SHUFFLE(*x, *x, 4, 5, 6, 7));
    *root = TTEI_SHUFFLE(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
#else
    float part[TTEI_LANES];
    size_t i;
    memcpy(part, x, sizeof part);
    for (i = 0; i < TTEI_LANES; ++i) part[i] = sqrtf(part[i]);
    memcpy(root, part, sizeof part);
#endif
}

TTEI_INLINE int ttei_lane_all(const ttei_lane_bits *mask)
{
    int32_t lanes[TTEI_LANES], all = -1;
    int i;
    memcpy(lanes, mask, sizeof lanes);
    for (i = 0; i < TTEI_LANES; ++i) all &= lanes[i];
    return all != 0;
}

/* c (m x n) = x y, summed over `count` entries: those of a row of x are `along` apart, of a column of y `down`,
   rows of x `next_x`, columns of y `next_y`. Two rows against two columns: four products for four loads. With
   `lower` only what is not above the diagonal is wanted. */
TTEI_CLONES static void ttei_lane_product(int lower, size_t m, size_t n, size_t count, const ttei_lanes *x,
                                          size_t next_x, size_t along, const ttei_lanes *y, size_t next_y,
                                          size_t down, ttei_lanes *c)
{
    size_t i, j, k;
    for (i = 0; i < m; i += 2)
        for (j = 0; j < (lower ? i + 1 : n); j += 2) {
            const ttei_lanes *a0 = x + i * next_x, *a1 = i + 1 < m ? a0 + next_x : a0;
            const ttei_lanes *b0 = y + j * next_y, *b1 = j + 1 < n ? b0 + next_y : b0;
            ttei_lanes s00 = a0[0] * b0[0], s01 = a0[0] * b1[0], s10 = a1[0] * b0[0], s11 = a1[0] * b1[0];
            for (k = 1; k < count; ++k) {
                s00 += a0[k * along] * b0[k * down];
                s01 += a0[k * along] * b1[k * down];
                s10 += a1[k * along] * b0[k * down];
                s11 += a1[k * along] * b1[k * down];
            }
            c[i * n + j] = s00;
            if (j + 1 < n) c[i * n + j + 1] = s01;
            if (i + 1 < m) c[(i + 1) * n + j] = s10;
            if (i + 1 < m && j + 1 < n) c[(i + 1) * n + j + 1] = s11;
        }
}

/* A reflection I - tau v v' in each lane that maps x, n entries `stride` apart, to (beta, 0, .., 0).
   x becomes v, with first entry 1. Where x has that form already, tau is 0. */
TTEI_INLINE void ttei_lane_reflector(size_t n, size_t stride, ttei_lanes *x, ttei_lanes *tau, ttei_lanes *beta)
{
    const ttei_lanes zero = {0}, one = zero + 1.0f, tiny = zero + ttei_lane_tiny, first = x[0];
    ttei_lanes tail = zero, norm2, norm, scale;
    ttei_lane_bits trivial;
    size_t i;
    for (i = 1; i < n; ++i) tail += x[i * stride] * x[i * stride];
    trivial = TTEI_LESS(tail, tiny);
    norm2 = TTEI_SELECT(trivial, one, first * first + tail);
    ttei_lane_sqrt(&norm2, &norm);
    norm = TTEI_SELECT(TTEI_LESS(first, zero), norm, -norm);
    *tau = TTEI_SELECT(trivial, zero, (norm - first) / norm);
    *beta = TTEI_SELECT(trivial, first, norm);
    scale = one / TTEI_SELECT(trivial, one, first - norm);
    x[0] = one;
    for (i = 1; i < n; ++i) x[i * stride] *= scale;
}

/* x (n rows of `width`, `step` apart) -= tau v (v' x). */
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

/* Columns of u = H_0 .. H_(count-1) u: the vector of reflection j, which begins with 1, goes down from row j of column j of
   v, m rows that are `stride` apart. */
TTEI_CLONES static void ttei_lane_reflect_all(size_t m, size_t count, size_t stride, const ttei_lanes *v,
                                              const ttei_lanes *tau, size_t r, ttei_lanes *line, ttei_lanes *u)
{
    while (count-- > 0)
        ttei_lane_reflect(m - count, stride, v + count * (stride + 1), &tau[count], r, r, line, u + count * r);
}

/* c = Q T Q', d and e the diagonals of T. Reflection k acts on rows k + 1 .. m - 1; its vector, with
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
        for (i = 0; i < n; ++i) p[i] -= sum * v[i * m];         /* w = p - (tau/2)(p' v) v        */
        for (i = 0; i < n; ++i) {                               /* C - v w' - w v'               */
            ttei_lanes *row = c + (k + 1 + i) * m + k + 1, vi = v[i * m], pi = p[i];
            for (j = 0; j <= i; ++j) row[j] -= vi * p[j] + pi * v[j * m];
        }
    }
    for (; k < m; ++k) {
        d[k] = c[k * m + k];
        e[k] = k + 1 < m ? c[(k + 1) * m + k] : zero;
    }
}

/* One QR step in each lane on its own last block of T that is not diagonal yet: from the last off-diagonal entry that
   is not negligible up to the next that is; only the first `hi` are looked at. Rotations go to the list. */
TTEI_INLINE void ttei_lane_qr_step(size_t hi, ttei_lanes *d, ttei_lanes *e, const ttei_lanes *floor_e, ttei_lanes *turns)
{
    const ttei_lanes zero = {0}, one = zero + 1.0f, tiny = zero + ttei_lane_tiny;
    ttei_lanes half, root, f = zero, g = zero, h = zero, shift, x = zero, z = zero, c, s;
    ttei_lane_bits started = TTEI_LESS(zero, zero), ended = started;
    size_t k;
    for (k = hi; k-- > 0;) {  /* mark the blocks in the cosines' places; [f g; g h]: their last 2 x 2 corners */
        const ttei_lanes size = TTEI_SELECT(TTEI_LESS(e[k], zero), -e[k], e[k]);
        const ttei_lane_bits inside = TTEI_LESS(*floor_e, size) & ~ended, begins = inside & ~started;
        f = TTEI_SELECT(begins, d[k], f);
        g = TTEI_SELECT(begins, e[k], g);
        h = TTEI_SELECT(begins, d[k + 1], h);
        ended |= started & ~inside;
        started |= inside;
        turns[2 * k] = TTEI_SELECT(inside, one, zero);
    }
    /* Wilkinson: the eigenvalue of the corner that is nearer to its last entry. */
    half = (f - h) * 0.5f;
    root = half * half + g * g;
    ttei_lane_sqrt(&root, &root);
    root = TTEI_SELECT(TTEI_LESS(root, tiny), tiny, root);
    shift = h - g * g / (half + TTEI_SELECT(TTEI_LESS(half, zero), -root, root));

    started = TTEI_LESS(zero, zero);
    for (k = 0; k < hi; ++k) {
        ttei_lane_bits inside = TTEI_LESS(zero, turns[2 * k]), begins = inside & ~started;
        ttei_lanes square, di = d[k], dj = d[k + 1], ek = e[k], t1, t2;
        started |= inside;
        x = TTEI_SELECT(begins, di - shift, x);
        z = TTEI_SELECT(begins, ek, z);
        square = x * x + z * z;
        inside &= ~TTEI_LESS(square, tiny);
        square = TTEI_SELECT(inside, square, one);
        ttei_lane_sqrt(&square, &root);
        c = TTEI_SELECT(inside, x / root, one);
        s = TTEI_SELECT(inside, z / root, zero);
        if (k > 0) e[k - 1] = TTEI_SELECT(inside & ~begins, root, e[k - 1]);
        t1 = c * di + s * ek;
        t2 = c * ek + s * dj;
        d[k] = c * t1 + s * t2;
        t1 = c * ek - s * di;
        t2 = c * dj - s * ek;
        d[k + 1] = c * t2 - s * t1;
        x = e[k] = c * t1 + s * t2;
        z = s * e[k + 1];
        e[k + 1] *= c;
        turns[2 * k] = c;
        turns[2 * k + 1] = s;
    }
}

/* T = Z diag(d) Z'. Returns the number of rotations; lanes that did not converge are set in *failed. */
TTEI_CLONES static size_t ttei_lane_diagonalize(size_t m, ttei_lanes *d, ttei_lanes *e, ttei_lanes *turns,
                                                int32_t *planes, ttei_lane_bits *failed)
{
    const ttei_lanes zero = {0};
    ttei_lanes floor_e = zero, size;
    ttei_lane_bits done;
    size_t hi, k, count = 0, sweeps = TTEI_LANE_SWEEPS * m / 2;
    memset(failed, 0, sizeof *failed);
    for (k = 0; k < m; ++k) {  /* negligible: rounding of the largest entry of T */
        size = TTEI_SELECT(TTEI_LESS(d[k], zero), -d[k], d[k]);
        floor_e = TTEI_SELECT(TTEI_LESS(floor_e, size), size, floor_e);
    }
    floor_e *= 0.5f * FLT_EPSILON;
    for (hi = m - 1; hi > 0;) {
        size = TTEI_SELECT(TTEI_LESS(e[hi - 1], zero), -e[hi - 1], e[hi - 1]);
        done = ~TTEI_LESS(floor_e, size);
        if (sweeps == 0 || ttei_lane_all(&done)) {
            *failed |= ~done;
            --hi;
            continue;
        }
        --sweeps;
        ttei_lane_qr_step(hi, d, e, &floor_e, turns + 2 * count);
        for (k = 0; k < hi; ++k) planes[count++] = (int32_t)k;
    }
    return count;
}

/* u (r columns) = Z u, the columns of unit vectors: the rotations act from the last to the first. */
TTEI_CLONES static void ttei_lane_turn_all(size_t r, size_t count, const ttei_lanes *turns, const int32_t *planes,
                                           ttei_lanes *u)
{
    size_t j;
    while (count-- > 0) {
        ttei_lanes cosine = turns[2 * count], sine = turns[2 * count + 1];
        ttei_lanes *x = u + (size_t)planes[count] * r, *y = x + r;
        for (j = 0; j < r; ++j) {
            ttei_lanes xj = x[j], yj = y[j];
            x[j] = cosine * xj - sine * yj;
            y[j] = sine * xj + cosine * yj;
        }
    }
}

/* The largest entry of each row of b positive, the first of equals deciding; u turns along. */
TTEI_CLONES static void ttei_lane_signs(size_t m, size_t r, size_t n, ttei_lanes *u, ttei_lanes *b)
{
    size_t i, j, k;
    for (j = 0; j < r; ++j) {
        ttei_lanes *row = b + j * n, most = row[0], sign;
        const ttei_lanes zero = {0}, one = zero + 1.0f;
        for (k = 1; k < n; ++k) most = TTEI_SELECT(TTEI_LESS(most * most, row[k] * row[k]), row[k], most);
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
        if (r < m && kept > 0 && !(lost > ttei_lane_cut * kept)) ((int32_t *)failed)[lane] = -1;
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
    ttei_lane_product(1, side, side, n, m > n ? room->triangle : room->a, n, 1, m > n ? room->triangle : room->a, n, 1,
                      room->gram);
    ttei_lane_tridiagonal(side, room->gram, room->d, room->e, room->tau, room->line);
    count = ttei_lane_diagonalize(side, room->d, room->e, room->turns, room->planes, failed);
    ttei_lane_leading(side, r, room->d, room->u, failed);
    ttei_lane_turn_all(r, count, room->turns, room->planes, room->u);
    if (side > 2)
        ttei_lane_reflect_all(side - 1, side - 2, side, room->gram + side, room->tau, r, room->line, room->u + r);
    if (m > n) {
        memset(room->u + n * r, 0, (m - n) * r * sizeof *room->u);
        ttei_lane_reflect_all(m, n, n, room->b, room->tau_tall, r, room->line, room->u);
    }
    ttei_lane_product(0, r, n, m, room->u, 1, r, room->a, 1, n, room->b);  /* U' A */
    ttei_lane_signs(m, r, n, room->u, room->b);
}

/* The first n entries of rows into lanes. */
TTEI_CLONES TTEI_LOOPS static void ttei_to_lanes(size_t n, const float *const *rows, ttei_lanes *a)
{
    float *to = (float *)a;
    size_t i, lane;
    for (i = 0; i < n; ++i)
        for (lane = 0; lane < TTEI_LANES; ++lane) to[i * TTEI_LANES + lane] = rows[lane][i];
}

/* Lanes into rows. -0 becomes 0: which of the two comes out may depend on how long other lanes were turned by zero. */
TTEI_CLONES TTEI_LOOPS static void ttei_from_lanes(size_t n, const ttei_lanes *a, float *const *rows)
{
    const float *from = (const float *)a;
    size_t i, lane;
    for (i = 0; i < n; ++i)
        for (lane = 0; lane < TTEI_LANES; ++lane) rows[lane][i] = from[i * TTEI_LANES + lane] + 0.0f;
}

/* One bond of one lane by the general method. */
static tte_status ttei_lane_general(size_t m, size_t n, size_t r, size_t lane, ttei_lane_room *room,
                                    ttei_ttsvd_room *one)
{
    const size_t full = ttei_min(m, n);
    const float *a = (const float *)room->a + lane;
    float *u = (float *)room->u + lane, *b = (float *)room->b + lane;
    size_t i, j;
    tte_status status;
    for (i = 0; i < m * n; ++i) one->remainder[i] = a[i * TTEI_LANES];
    status = ttei_svd(1, m, n, one->remainder, one->u, one->s, one->vt, one->svd);
    for (i = 0; i < m && status == TTE_OK; ++i)
        for (j = 0; j < r; ++j) u[(i * r + j) * TTEI_LANES] = one->u[i * full + j];
    for (i = 0; i < r * n && status == TTE_OK; ++i) b[i * TTEI_LANES] = one->s[i / n] * one->vt[i];
    return status;
}

/* The same as ttei_train for up to TTEI_LANES rows at once, all with the given ranks: the trains go to
   room->cores one after the other, their scales to scales, and what became of them to status, which is TTE_OK
   on entry or else leaves a row out. top and norm2 are the rows' largest magnitudes and squared norms. `one`
   serves what a row has to do alone: rounding its cores, and the general method where this one will not do. */
static void ttei_train_lanes(const tte_shape *shape, const int32_t *ranks, tte_coding coding, const float *const *rows,
                             size_t dim, const float *top, const double *norm2, tte_status *status,
                             float (*scales)[TTE_MAX_MODES], ttei_lane_room *room, ttei_ttsvd_room *one)
{
    const int32_t d = shape->modes;
    int32_t failed[TTEI_LANES], k;
    ttei_powers powers[TTEI_LANES];
    size_t n = room->entries, m, r, lane;
    float *cores[TTEI_LANES], *remainders[TTEI_LANES];
    ttei_lane_bits bits;
    ttei_lanes *swap;
    for (lane = 0; lane < TTEI_LANES; ++lane) {
        powers[lane] = ttei_powers_of(top[lane], norm2[lane], d);
        cores[lane] = room->cores + lane * room->cores_len;
        remainders[lane] = room->remainders + lane * room->entries;
        memcpy(remainders[lane], rows[lane], dim * sizeof *rows[lane]);
        ttei_scale_f32(dim, -powers[lane].power, remainders[lane]);
    }
    ttei_to_lanes(dim, (const float *const *)remainders, room->a);
    memset(room->a + dim, 0, (room->entries - dim) * sizeof *room->a);
    for (k = 0; k + 1 < d; ++k) {
        m = (size_t)ranks[k] * (size_t)shape->dim[k];
        n /= (size_t)shape->dim[k];
        r = (size_t)ranks[k + 1];
        ttei_lane_bond(m, n, r, room, &bits);
        memcpy(failed, &bits, sizeof failed);
        for (lane = 0; lane < TTEI_LANES; ++lane)
            if (failed[lane] != 0 && status[lane] == TTE_OK)
                status[lane] = ttei_lane_general(m, n, r, lane, room, one);
        ttei_from_lanes(m * r, room->u, cores);
        if (coding != TTE_F32) {
            ttei_from_lanes(m * n, room->a, remainders);
            for (lane = 0; lane < TTEI_LANES; ++lane)
                if (status[lane] == TTE_OK)
                    status[lane] = ttei_train_round(coding, m, r, n, powers[lane].spread, cores[lane],
                                                    &scales[lane][k], remainders[lane], one);
            ttei_to_lanes(r * n, (const float *const *)remainders, room->b);
        }
        for (lane = 0; lane < TTEI_LANES; ++lane) cores[lane] += m * r;
        swap = room->a;
        room->a = room->b;
        room->b = swap;
    }
    n = (size_t)ranks[d - 1] * (size_t)shape->dim[d - 1];
    ttei_from_lanes(n, room->a, cores);
    for (lane = 0; lane < TTEI_LANES; ++lane)
        if (status[lane] == TTE_OK)
            status[lane] = ttei_train_end(coding, n, &powers[lane], cores[lane], &scales[lane][d - 1]);
}

/* ---- rows to records --------------------------------------------------------------------------------- */

/* How the rows of a table are compressed. */
typedef struct ttei_train_plan {
    size_t dim;
    tte_coding coding;
    tte_shape shape;
    int32_t caps[TTE_MAX_MODES + 1];  /* ranks of every row, with eps the largest it may have */
    int32_t max_rank;
    float eps;
} ttei_train_plan;

/* What became of one row, in either layout. */
enum { TTEI_NORM, TTEI_ERROR, TTEI_WEIGHTED_NORM, TTEI_WEIGHTED_ERROR, TTEI_SUMS };
typedef struct ttei_slot {
    tte_status status;
    size_t size;                       /* of its record                                               */
    double terms[TTEI_SUMS];           /* |row|^2, |row - row^|^2, both again in weights and metric   */
    int32_t ranks[TTE_MAX_MODES + 1];  /* TTE_PER_TOKEN                                               */
    uint16_t centroid;                 /* TTE_PER_TABLE, and the next two                             */
    unsigned char class_, gain;
} ttei_slot;

/* What one thread needs to turn rows into records. */
typedef struct ttei_train_encoder {
    ttei_ttsvd_room train;
    int in_lanes;                   /* 0: rows are taken one by one                          */
    ttei_lane_room lanes;
    float *cores, *contract, *row;  /* at the caps; scratch; dim: the row as lookup gives it  */
} ttei_train_encoder;

static void ttei_train_encoder_carve(const ttei_train_plan *plan, ttei_carve *carve, ttei_train_encoder *e)
{
    ttei_ttsvd_carve(&plan->shape, plan->caps, carve, &e->train);
    e->in_lanes = !(plan->eps > 0) &&  /* rows with ranks of their own cannot share lanes */
                  ttei_lane_carve(&plan->shape, plan->caps, carve, &e->lanes);
    e->cores = (float *)ttei_take(carve, ttei_core_sum(&plan->shape, plan->caps), sizeof(float));
    e->contract = (float *)ttei_take(carve, ttei_contract_len(&plan->shape, plan->caps), sizeof(float));
    e->row = (float *)ttei_take(carve, plan->dim, sizeof(float));
}

/* Bytes of the largest record of a plan. */
static size_t ttei_train_most(const ttei_train_plan *plan)
{
    return ttei_record_bytes(plan->coding, plan->shape.modes, ttei_core_sum(&plan->shape, plan->caps));
}

/* The error of a train, measured on what lookup returns. */
static tte_status ttei_train_measure(const ttei_train_plan *plan, const float *row, const float *cores,
                                     ttei_slot *slot, ttei_train_encoder *e)
{
    ttei_contract(&plan->shape, slot->ranks, cores, plan->dim, e->row, e->contract);
    slot->terms[TTEI_ERROR] = ttei_distance2(row, e->row, plan->dim);
    return ttei_finite_f64(slot->terms[TTEI_ERROR]) ? TTE_OK : TTE_ERR_NOT_FINITE;
}

/* One row by itself, with eps at ranks of its own. Truncation and rounding of the codes both count; they are close to
   orthogonal, so when the measured error is too large, the bound on the truncation is lowered by what is too much. */
static tte_status ttei_train_one(const ttei_train_plan *plan, const float *row, float *scales,
                                 ttei_slot *slot, ttei_train_encoder *e)
{
    const double eps = (double)plan->eps - ttei_rounding(plan->shape.modes);
    double bound = eps > 0 ? eps : 0, excess;
    const double norm2 = slot->terms[TTEI_NORM], allowed = bound * bound * norm2;
    tte_status status;
    int tries = 6;
    for (;;) {
        status = ttei_train(&plan->shape, plan->caps, plan->eps > 0 ? bound : -1, plan->coding, row,
                            plan->dim, slot->ranks, e->cores, scales, &e->train);
        if (status == TTE_OK) status = ttei_train_measure(plan, row, e->cores, slot, e);
        if (status != TTE_OK || !(plan->eps > 0) || slot->terms[TTEI_ERROR] <= allowed) return status;
        if (!(bound > 0)) return TTE_ERR_BUDGET;
        excess = 1.1 * (slot->terms[TTEI_ERROR] - allowed) / norm2;
        bound = --tries > 0 && bound * bound > excess ? sqrt(bound * bound - excess) : 0;
    }
}

/* Up to TTEI_LANES rows into as many records, record_size apart; each gets the same record whatever rows
   stand beside it. */
static void ttei_encode_trains(const ttei_train_plan *plan, const float *rows, size_t count, unsigned char *records,
                               size_t record_size, ttei_slot *slots, ttei_train_encoder *e)
{
    tte_status status[TTEI_LANES];
    float scales[TTEI_LANES][TTE_MAX_MODES], top[TTEI_LANES];
    double norm2[TTEI_LANES];
    const float *row[TTEI_LANES];
    size_t i;
    for (i = 0; i < TTEI_LANES; ++i) {  /* lanes without a row of finite numbers repeat one, or compute in vain */
        row[i] = rows + (i < count ? i : 0) * plan->dim;
        top[i] = ttei_largest(plan->dim, row[i]);
        status[i] = ttei_finite_f32(top[i]) ? TTE_OK : TTE_ERR_NOT_FINITE;
        norm2[i] = status[i] == TTE_OK ? ttei_norm2(row[i], plan->dim) : 0;
    }
    if (e->in_lanes)
        ttei_train_lanes(&plan->shape, plan->caps, plan->coding, row, plan->dim, top, norm2, status, scales,
                         &e->lanes, &e->train);
    for (i = 0; i < count; ++i) {
        const float *cores = e->in_lanes ? e->lanes.cores + i * e->lanes.cores_len : e->cores;
        memcpy(slots[i].ranks, plan->caps, sizeof slots[i].ranks);
        slots[i].terms[TTEI_NORM] = slots[i].terms[TTEI_WEIGHTED_NORM] = norm2[i];
        slots[i].terms[TTEI_ERROR] = 0;
        if (status[i] == TTE_OK)
            status[i] = e->in_lanes ? ttei_train_measure(plan, row[i], cores, &slots[i], e)
                                    : ttei_train_one(plan, row[i], scales[i], &slots[i], e);
        slots[i].terms[TTEI_WEIGHTED_ERROR] = slots[i].terms[TTEI_ERROR];
        slots[i].status = status[i];
        slots[i].size = ttei_record_bytes(plan->coding, plan->shape.modes, ttei_core_sum(&plan->shape, slots[i].ranks));
        if (status[i] == TTE_OK)
            ttei_train_encode(plan->coding, &plan->shape, slots[i].ranks, cores, scales[i], records + i * record_size);
    }
}

/* ---- choosing shape and ranks ----------------------------------------------------------------------
   A sample of rows is compressed with 1, 2, 3 .. modes, where the coding is open in each of them, and what is
   measured decides: the least error within the bytes that a ratio leaves, or the fewest bytes that meet eps. */

enum { TTEI_PLAN_ROWS = 64, TTEI_PLAN_MODES = 4 };  /* of the sample; more modes only where fewer do not fit */

/* d modes which multiply to dim, or to the least number above it that has such modes: the largest no more
   than twice the smallest, since a train of given ranks holds numbers in proportion to the sum of its modes,
   which is least when they are equal. Padding costs little, but what the train says of it is lost. Returns 0
   when dim is too small for d modes. */
static int ttei_balanced_shape(size_t dim, int32_t d, tte_shape *shape)
{
    size_t entries, rest, n, least, most;
    int32_t k;
    memset(shape, 0, sizeof *shape);
    shape->modes = d;
    for (entries = dim; entries < 2 * dim && entries <= TTEI_ENTRIES_MAX; ++entries) {
        for (k = 0, rest = entries, least = entries, most = 1; k < d; ++k, rest /= n) {
            n = (size_t)(pow((double)rest, 1.0 / (double)(d - k)) + 1e-6);
            while (rest % n != 0) --n;  /* the largest divisor up to the root */
            shape->dim[k] = (int32_t)n;
            least = ttei_min(least, n);
            most = ttei_max(most, n);
        }
        if (rest == 1 && most <= 2 * least && (least > 1 || d == 1)) return 1;
    }
    return 0;
}

/* How a plan fares on some rows: their squared error, and bytes with those of the index. */
static tte_status ttei_train_judge(const ttei_train_plan *plan, const float *rows, size_t count,
                                   double *error2, double *bytes)
{
    const size_t most = ttei_train_most(plan);
    ttei_slot slots[TTEI_LANES];
    ttei_train_encoder e;
    ttei_carve carve = ttei_carve_begin(NULL);
    unsigned char *records;
    size_t done, now, i;
    tte_status status = TTE_OK;
    do {
        ttei_train_encoder_carve(plan, &carve, &e);
        records = (unsigned char *)ttei_take(&carve, ttei_mul(TTEI_LANES, most), 1);
    } while (ttei_carve_again(&carve));
    if (carve.base == NULL) return ttei_carve_status(&carve);
    *error2 = *bytes = 0;
    if (ttei_adapted(plan->eps > 0, plan->shape.modes))
        *bytes = (double)ttei_index_bytes(count, ttei_index_entry(&plan->shape, plan->max_rank));
    for (done = 0; done < count && status == TTE_OK; done += now) {
        now = ttei_min(TTEI_LANES, count - done);
        ttei_encode_trains(plan, rows + done * plan->dim, now, records, most, slots, &e);
        for (i = 0; i < now; ++i) {
            if (slots[i].status != TTE_OK) status = slots[i].status;
            *error2 += slots[i].terms[TTEI_ERROR];
            *bytes += (double)slots[i].size;
        }
    }
    TT_EMBED_FREE(carve.base);
    return status;
}

/* The ranks of a plan for records of at most `bytes`, in place of its caps: the largest cap common to all
   bonds that fits, then one more for the bond that gains most by it, until nothing fits. TTE_ERR_BUDGET, and
   ranks of one, when these do not fit. */
static tte_status ttei_fit_ranks(ttei_train_plan *plan, size_t bytes, const float *rows, size_t count)
{
    const tte_shape *shape = &plan->shape;
    int32_t limit[TTE_MAX_MODES + 1], k, best = 1, cap;
    ttei_train_plan wider = *plan;
    tte_status status;
    memcpy(limit, plan->caps, sizeof limit);
    if (ttei_train_most(plan) <= bytes) return TTE_OK;
    for (cap = 1; cap == 1 || ttei_train_most(&wider) <= bytes; ++cap) {
        *plan = wider;
        for (k = 1; k < shape->modes; ++k) wider.caps[k] = limit[k] < cap ? limit[k] : cap;
        if (cap == 1) *plan = wider;
    }
    if (ttei_train_most(plan) > bytes) return TTE_ERR_BUDGET;
    while (best > 0) {
        double error2, least = -1, unused;
        for (k = 1, best = 0; k < shape->modes; ++k) {
            wider = *plan;
            if (++wider.caps[k] > limit[k] || ttei_train_most(&wider) > bytes ||
                wider.caps[k] > plan->caps[k - 1] * shape->dim[k - 1] ||
                wider.caps[k] > plan->caps[k + 1] * shape->dim[k])
                continue;
            status = ttei_train_judge(&wider, rows, count, &error2, &unused);
            if (status == TTE_ERR_MEMORY) return status;
            if (status != TTE_OK) continue;
            if (best == 0 || error2 < least) {
                least = error2;
                best = k;
            }
        }
        if (best > 0) ++plan->caps[best];
    }
    return TTE_OK;
}

/* Evenly spaced rows of the table, at most TTEI_PLAN_ROWS. */
static tte_status ttei_take_sample(tte_rows_fn rows, void *user, size_t vocab, size_t dim, float *sample)
{
    const size_t count = ttei_min(vocab, TTEI_PLAN_ROWS);
    size_t i;
    for (i = 0; i < count; ++i)
        if (rows(user, (size_t)((double)i * (double)vocab / (double)count), 1, sample + i * dim) != 0)
            return TTE_ERR_IO;
    return ttei_all_finite_f32(sample, count * dim) ? TTE_OK : TTE_ERR_NOT_FINITE;
}

/* The bytes that a ratio allows, 0 without one; a ratio that is a float's rounding above a whole number of bytes means
   that number. */
static double ttei_budget(size_t vocab, size_t dim, float ratio)
{
    const double bytes = ratio > 0 ? floor((double)vocab * (double)dim * 4 / (double)ratio * (1 + 1.2e-7)) : 0;
    return ratio > 0 && !(bytes > 1) ? 1 : bytes;
}

/* What options leave open of modes, coding and ranks; they are valid but for the shape. `sized`: a ratio
   decides; `sample` may be NULL where nothing is to be measured. Under a cap alone it is two modes in TTE_I8:
   more modes hold fewer numbers, two lose least. */
static tte_status ttei_choose_plan(const float *sample, size_t vocab, size_t dim, const tte_options *o,
                                   int sized, ttei_train_plan *plan)
{
    const int open = o->shape.modes == 0, any = o->coding == TTE_CODING_AUTO && sample != NULL;
    const size_t count = ttei_min(vocab, TTEI_PLAN_ROWS);
    const double image = ttei_budget(vocab, dim, o->ratio > 0 ? o->ratio : 8);
    double best = -1, error2 = 0, bytes = 0, room;
    ttei_train_plan now = *plan;
    const int first = any ? (int)TTE_I4 : (int)plan->coding, last = any ? (int)TTE_F32 : (int)plan->coding;
    int32_t d = open && sample == NULL && dim > 2 ? 2 : 1;
    int coding;
    tte_status status;
    for (; d <= (open ? TTE_MAX_MODES : 1) && (best < 0 || d <= TTEI_PLAN_MODES); ++d) {
        if (open && !ttei_balanced_shape(dim, d, &now.shape)) continue;
        room = image - (double)(ttei_header_bytes(TTE_PER_TOKEN, now.shape.modes, 1) + TTEI_SPARE);
        room = room < (double)vocab ? 0 : room / (double)vocab < 2e9 ? floor(room / (double)vocab) : 2e9;
        for (coding = first; coding >= last; --coding) {
            now.coding = (tte_coding)coding;
            ttei_rank_caps(&now.shape, now.max_rank, now.caps);
            status = TTE_OK;
            if (sized) status = ttei_fit_ranks(&now, (size_t)room, sample, count);
            if (status == TTE_OK && sample != NULL)
                status = ttei_train_judge(&now, sample, count, &error2, &bytes);
            if (status == TTE_ERR_BUDGET) {
                if (plan->shape.modes == 0 || plan->caps[0] == 0 || (best < 0 && ttei_train_most(&now) < ttei_train_most(plan)))
                    *plan = now;
            } else if (status != TTE_OK) {
                return status;
            } else if (best < 0 || (o->eps > 0 ? bytes : error2) < best) {
                best = o->eps > 0 ? bytes : error2;
                *plan = now;
            }
        }
        if (sample == NULL) break;
    }
    return best < 0 ? TTE_ERR_BUDGET : TTE_OK;
}

/* Shape, coding and ranks for a table. After TTE_ERR_BUDGET, which says that a ratio or eps cannot be met,
   *plan has the smallest records that were tried; eps together with a ratio is for the caller to check. */
static tte_status ttei_token_plan(tte_rows_fn rows, void *user, size_t vocab, size_t dim,
                                  const tte_options *o, ttei_train_plan *plan)
{
    const int sized = !(o->eps > 0) && (o->ratio > 0 || o->max_rank == 0);
    const size_t size = ttei_mul(ttei_mul(ttei_min(vocab, TTEI_PLAN_ROWS), dim), sizeof(float));
    float *sample = NULL;
    size_t entries;
    tte_status status = TTE_OK;
    memset(plan, 0, sizeof *plan);
    plan->dim = dim;
    plan->coding = o->coding == TTE_CODING_AUTO ? TTE_I8 : o->coding;
    plan->shape = o->shape;
    plan->max_rank = o->max_rank;
    plan->eps = o->eps;
    if (o->shape.modes != 0 && (ttei_shape_check(&o->shape, &entries) != TTE_OK || entries < dim))
        return TTE_ERR_SHAPE;
    if (sized || (o->eps > 0 && (o->shape.modes == 0 || o->coding == TTE_CODING_AUTO))) {
        sample = size == TTEI_SIZE_MAX ? NULL : (float *)TT_EMBED_MALLOC(size);
        if (sample == NULL) return TTE_ERR_MEMORY;
        status = ttei_take_sample(rows, user, vocab, dim, sample);
    }
    if (status == TTE_OK) status = ttei_choose_plan(sample, vocab, dim, o, sized, plan);
    if (sample != NULL) TT_EMBED_FREE(sample);
    return status;
}
/* ================================================================================================
   TRELLIS ENCODER
   Trellis-coded quantization on the bitshift trellis of QTIP [Tse24], searched by the Viterbi algorithm [For73]. The
   state of a step is L bits, of which k are new; a state s stands for the code integer t(s) of IMAGE FORMAT. Of all bit
   strings of the record's length the encoder looks for the one that minimizes the sum of w (y - t)^2 over its
   coefficients, y the wished real code integers. Where D_i(s) is the least cost of a path that is in state s at step i,
       D_i(s) = w (y_i - t(s))^2 + min over the 2^k predecessors s' of s of D_(i-1)(s').
   States are kept bit-reversed, the newest bits lowest: s' is followed by (s' 2^k + new bits) mod S, S = 2^L. States
   that share their predecessors, the group g = floor(s / 2^k), are neighbours, and their predecessors are g + x S/2^k,
   x < 2^k. The minimum of 2^k numbers is k times that of two, the topmost bit of s' first:
       fold:    best[g] = min(cost[g], cost[g + half]),   half = S/2, S/4, .. S/2^k
       branch:  cost[s] = best[floor(s / 2^k)] + w (y - t(s))^2
   Of each minimum one bit is kept for the way back, bit half + g of the step's S bits.

   Numbers. Costs are unsigned 16-bit and saturate. Each step subtracts the least cost of the step before, which the
   last fold has found. Code integers are tabulated in fixed point, unit 56 * 2^(h/2 - 3) at h half bits a coefficient,
   up to 3 bits; a square is (d^2 + 2^14) >> 15. So w is proportional to 4^(h/2): where rates follow reverse
   water-filling, the variance of a coefficient is proportional to 4^rate, and the costs of all rates are in the same
   unit of true error. Above 3 bits d is multiplied by 2^(h/2 - 3) and clipped, and its square is added to that of d,
   which still tells clipped values apart. All is integer arithmetic: every body gives the same bits.

   Tail-biting [MW86]. The record is a circle: the state z before the first step is that of the last. A search over some
   steps around the wrap, its ends free, finds z; then one pass from z to z encodes the record. On a circle shorter than
   the search the path passes the wrap several times: each z that it meets is tried.
   ============================================================================================= */

typedef struct ttei_step {                  /* one step of the record at hand */
    int16_t want[2];                        /* y of its values, in the unit of the code table */
    unsigned char rate, bits;               /* half bits a coefficient; new bits of the state */
} ttei_step;

/* fold: best[i] = min(cost[i], cost[half + i]) - low, i < half; bit half + i of mask: cost[i] is the least of
   the two. Returns the least of all. best may be cost. */
typedef unsigned ttei_fold_fn(const uint16_t *cost, size_t half, unsigned low, uint16_t *best, unsigned char *mask);
/* branch: cost[s] of all states, see above; code[1] is NULL in steps of one value. */
typedef void ttei_branch_fn(const uint16_t *best, size_t states, const ttei_step *step,
                            const int16_t *const *code, uint16_t *cost);

enum { TTEI_REACH = 6, TTEI_REACH_MAX = 12, TTEI_STARTS = 32, TTEI_CODE_TABLES = 11 };

typedef struct ttei_trellis {
    int bits;                               /* L */
    int reach;                              /* search at the wrap, in L bits a side, at most TTEI_REACH_MAX */
    const int16_t *code[8][2];              /* [rate, 6 above 7][value]: codes of the reversed states */
    ttei_fold_fn *fold;
    ttei_branch_fn *branch;
} ttei_trellis;

typedef struct ttei_path {
    size_t count;                           /* steps of the record at hand */
    ttei_step *step;
    uint16_t *cost, *best;                  /* a number for each state */
    unsigned char *choice;                  /* S bits for each step */
    size_t start[TTEI_STARTS], starts;      /* states to try at the wrap */
} ttei_path;

/* The unit of the code tables, a code integer in fixed point. */
static float ttei_code_unit(int rate)
{
    static const float unit[6] = {0, 9.899495f, 14, 19.798990f, 28, 39.597980f};
    return rate < 6 ? unit[rate] : 56;
}

/* x rounded to the nearest integer and clipped to +-bound; infinite and NaN are as large as can be. */
static int ttei_round_clip(float x, float bound)
{
    uint32_t u, b;
    memcpy(&u, &x, 4);
    memcpy(&b, &bound, 4);
    if ((u & 0x7FFFFFFF) >= b) x = u >> 31 ? -bound : bound;
    return (int)floor((double)x + 0.5);
}

TTEI_LOOPS static unsigned ttei_fold(const uint16_t *cost, size_t half, unsigned low, uint16_t *best,
                                     unsigned char *mask)
{
    const size_t block = half < 8 ? half : 8;
    unsigned least = 65535;
    size_t i, j;
    for (i = 0; i < half; i += block) {
        unsigned bits = 0;
        for (j = 0; j < block; j++) bits |= (unsigned)(cost[i + j] <= cost[half + i + j]) << j;
        if (half < 8) mask[0] = (unsigned char)((mask[0] & ~(((1u << half) - 1) << half)) | bits << half);
        else mask[(half + i) / 8] = (unsigned char)bits;
    }
    for (i = 0; i < half; i++) {
        const unsigned a = cost[i], b = cost[half + i], m = a <= b ? a : b, c = m > low ? m - low : 0;
        best[i] = (uint16_t)c;
        least = c < least ? c : least;
    }
    return least;
}

/* Powers of two that d is multiplied by above 3 bits. */
static int ttei_lift(int rate) { return rate > 6 ? rate / 2 - 3 : 0; }

TTEI_LOOPS static void ttei_branch(const uint16_t *best, size_t states, const ttei_step *step,
                                   const int16_t *const *code, uint16_t *cost)
{
    const int lift = ttei_lift(step->rate), top = 32767 >> lift;
    size_t s;
    int v;
    for (s = 0; s < states; s++) cost[s] = best[s >> step->bits];
    for (v = 0; v < 2 && code[v]; v++) {
        const int16_t *p = code[v];
        const int want = step->want[v];
        for (s = 0; s < states; s++) {
            int c = cost[s], d = want - p[s];
            d = d > 32767 ? 32767 : d < -32768 ? -32768 : d;
            c += (d * d + 16384) >> 15;
            if (lift) {
                d = (d > top ? top : d < -top ? -top : d) * (1 << lift);
                c += (d * d + 16384) >> 15;
            }
            cost[s] = (uint16_t)(c < 65535 ? c : 65535);
        }
    }
}

#ifdef TTEI_X86
static const uint16_t ttei_iota[32] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
                                       16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

/* AVX2, 16 states a vector. */
#define TTEI_COST_AVX2 __attribute__((target("avx2")))
#define TTEI_COST_AVX2_INLINE static inline __attribute__((always_inline, target("avx2")))
TTEI_COST_AVX2_INLINE __m256i ttei_cost_load_avx2(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}
TTEI_COST_AVX2_INLINE void ttei_cost_store_avx2(void *p, __m256i x) { _mm256_storeu_si256((__m256i *)p, x); }
/* The group of each of 16 states within theirs, as indices of bytes; and what stands there of the next 8 costs. */
TTEI_COST_AVX2_INLINE __m256i ttei_place_avx2(int bits)
{
    const __m256i group = _mm256_srl_epi16(ttei_cost_load_avx2(ttei_iota), _mm_cvtsi32_si128(bits));
    return _mm256_add_epi16(_mm256_mullo_epi16(group, _mm256_set1_epi16(0x0202)), _mm256_set1_epi16(0x0100));
}
TTEI_COST_AVX2_INLINE __m256i ttei_spread_avx2(const uint16_t *best, __m256i place)
{
    const __m128i eight = _mm_loadu_si128((const __m128i *)(const void *)best);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(eight), place);
}
TTEI_COST_AVX2_INLINE unsigned ttei_least_avx2(__m256i x)
{
    const __m128i l = _mm_min_epu16(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    return (unsigned)_mm_cvtsi128_si32(_mm_minpos_epu16(l)) & 65535;
}

TTEI_COST_AVX2 static unsigned ttei_fold_avx2(const uint16_t *cost, size_t half, unsigned low,
                                              uint16_t *best, unsigned char *mask)
{
    const __m256i below = _mm256_set1_epi16((short)low);
    __m256i least = _mm256_set1_epi16(-1);
    size_t i;
    if (half < 32) return ttei_fold(cost, half, low, best, mask);
    for (i = 0; i < half; i += 32) {
        const __m256i a = ttei_cost_load_avx2(cost + i), b = ttei_cost_load_avx2(cost + i + 16),
            c = _mm256_min_epu16(a, ttei_cost_load_avx2(cost + half + i)),
            d = _mm256_min_epu16(b, ttei_cost_load_avx2(cost + half + i + 16)),
            e = _mm256_packs_epi16(_mm256_cmpeq_epi16(a, c), _mm256_cmpeq_epi16(b, d)),
            f = _mm256_subs_epu16(c, below), g = _mm256_subs_epu16(d, below);
        const int won = _mm256_movemask_epi8(_mm256_permute4x64_epi64(e, 0xD8));
        memcpy(mask + (half + i) / 8, &won, 4);
        ttei_cost_store_avx2(best + i, f);
        ttei_cost_store_avx2(best + i + 16, g);
        least = _mm256_min_epu16(least, _mm256_min_epu16(f, g));
    }
    return ttei_least_avx2(least);
}

/* AVX-512BW, 32 states a vector. */
#define TTEI_COST_AVX512 __attribute__((target("avx512bw")))
#define TTEI_COST_AVX512_INLINE static inline __attribute__((always_inline, target("avx512bw")))
TTEI_COST_AVX512_INLINE __m512i ttei_place_avx512(int bits)  /* indices of 16-bit numbers */
{
    return _mm512_srl_epi16(_mm512_loadu_si512(ttei_iota), _mm_cvtsi32_si128(bits));
}
TTEI_COST_AVX512_INLINE __m512i ttei_spread_avx512(const uint16_t *best, __m512i place)
{
    const __m256i sixteen = _mm256_loadu_si256((const __m256i *)(const void *)best);
    return _mm512_permutexvar_epi16(place, _mm512_castsi256_si512(sixteen));
}

TTEI_COST_AVX512 static unsigned ttei_fold_avx512(const uint16_t *cost, size_t half, unsigned low,
                                                  uint16_t *best, unsigned char *mask)
{
    const __m512i below = _mm512_set1_epi16((short)low);
    __m512i least = _mm512_set1_epi16(-1);
    uint16_t lane[32];
    size_t i;
    if (half < 32) return ttei_fold(cost, half, low, best, mask);
    for (i = 0; i < half; i += 32) {
        const __m512i a = _mm512_loadu_si512(cost + i), b = _mm512_loadu_si512(cost + half + i),
            c = _mm512_subs_epu16(_mm512_min_epu16(a, b), below);
        const uint32_t won = _mm512_cmple_epu16_mask(a, b);
        memcpy(mask + (half + i) / 8, &won, 4);
        _mm512_storeu_si512(best + i, c);
        least = _mm512_min_epu16(least, c);
    }
    _mm512_storeu_si512(lane, least);               /* gcc 12 warns of its own way to take halves */
    return ttei_least_avx2(_mm256_min_epu16(ttei_cost_load_avx2(lane), ttei_cost_load_avx2(lane + 16)));
}

/* The branch of both, of `lanes` states a vector; `two` values, and `lift`, are constants where the loop is called. */
#define TTEI_BRANCH(isa, mm, size, lanes, INLINE, TARGET)                                                    \
    INLINE void ttei_branch_loop_##isa(const uint16_t *best, size_t states, const ttei_step *step,           \
                                       const int16_t *const *code, uint16_t *cost, int two, int lift)        \
    {                                                                                                        \
        const __m##size##i y = mm##_set1_epi16(step->want[0]), z = mm##_set1_epi16(step->want[1]),           \
            top = mm##_set1_epi16((short)(32767 >> lift)), bottom = mm##_set1_epi16((short)-(32767 >> lift)), \
            place = ttei_place_##isa(step->bits);                                                            \
        const __m128i shift = _mm_cvtsi32_si128(lift);                                                       \
        const size_t stride = (size_t)lanes << 16 >> step->bits;  /* groups in a vector, times 2^16 */       \
        const int16_t *p = code[0], *q = code[1];                                                            \
        __m##size##i c, d;                                                                                   \
        size_t s, g = 0;                                                                                     \
        int half;                                                                                            \
        for (s = 0; s < states;)                                                                             \
            for (half = 0; half < 2; ++half, s += lanes, g += stride) {  /* two vectors a turn */            \
                c = ttei_spread_##isa(best + (g >> 16), place);                                              \
                d = mm##_subs_epi16(y, mm##_loadu_si##size((const __m##size##i *)(const void *)(p + s)));    \
                c = mm##_adds_epu16(c, mm##_mulhrs_epi16(d, d));                                             \
                if (lift > 0) d = mm##_sll_epi16(mm##_max_epi16(mm##_min_epi16(d, top), bottom), shift);     \
                if (two) d = mm##_subs_epi16(z, mm##_loadu_si##size((const __m##size##i *)(const void *)(q + s))); \
                if (two || lift > 0) c = mm##_adds_epu16(c, mm##_mulhrs_epi16(d, d));                        \
                mm##_storeu_si##size((__m##size##i *)(void *)(cost + s), c);                                 \
            }                                                                                                \
    }                                                                                                        \
    TARGET TTEI_LOOPS static void ttei_branch_##isa(const uint16_t *best, size_t states, const ttei_step *step, \
                                                    const int16_t *const *code, uint16_t *cost)              \
    {                                                                                                        \
        const int lift = ttei_lift(step->rate);                                                              \
        if (code[1] != NULL) ttei_branch_loop_##isa(best, states, step, code, cost, 1, 0);                   \
        else if (lift > 0) ttei_branch_loop_##isa(best, states, step, code, cost, 0, lift);                  \
        else ttei_branch_loop_##isa(best, states, step, code, cost, 0, 0);                                   \
    }

TTEI_BRANCH(avx2, _mm256, 256, 16, TTEI_COST_AVX2_INLINE, TTEI_COST_AVX2)
TTEI_BRANCH(avx512, _mm512, 512, 32, TTEI_COST_AVX512_INLINE, TTEI_COST_AVX512)
#endif

/* The tables for L = bits, 8 .. 16, one for each of the rates 1 to 7, 6 standing for all above, and a second one for
   odd rates: TTEI_CODE_TABLES of 2^L numbers. Threads share t. */
static void ttei_trellis_init(int bits, int16_t *table, ttei_trellis *t)
{
    const uint32_t states = (uint32_t)1 << bits;
    uint32_t r, s;
    int i, v, b;
    memset(t, 0, sizeof *t);
    t->bits = bits;
    t->reach = TTEI_REACH;
    for (i = 1; i < 8; i++)
        for (v = 0; v <= (i & 1); v++, table += states) {
            t->code[i][v] = table;
            for (r = 0; r < states; r++) {
                for (s = 0, b = 0; b < bits; b++) s |= (r >> b & 1) << (bits - 1 - b);
                table[r] = (int16_t)ttei_round_clip((float)ttei_code_of(s, v) * ttei_code_unit(i), 32767);
            }
        }
    t->fold = ttei_fold;
    t->branch = ttei_branch;
#ifdef TTEI_X86
    if (ttei_level() > 0) { t->fold = ttei_fold_avx2; t->branch = ttei_branch_avx2; }
    if (ttei_level() > 1) { t->fold = ttei_fold_avx512; t->branch = ttei_branch_avx512; }
#endif
}

/* For records of at most `steps` steps; a step is one coefficient, two at odd rates. Choices are kept for all steps of a
   record, or of a search, in which every step has a bit at least. */
static void ttei_path_carve(int bits, size_t steps, ttei_carve *carve, ttei_path *p)
{
    const size_t states = (size_t)1 << bits, slots = ttei_max(steps, 2 * TTEI_REACH_MAX * 16);
    p->count = 0;
    p->cost = (uint16_t *)ttei_take(carve, states, sizeof *p->cost);
    p->best = (uint16_t *)ttei_take(carve, states, sizeof *p->best);
    p->choice = (unsigned char *)ttei_take(carve, ttei_mul(slots, states / 8), 1);
    p->step = (ttei_step *)ttei_take(carve, steps, sizeof *p->step);
}

/* Runs `count` steps of the circle from step `first` on, from the costs in p->cost to those at the end.
   Returns the sum of what was subtracted from these. */
static uint64_t ttei_path_search(const ttei_trellis *t, ttei_path *p, size_t first, size_t count)
{
    const size_t states = (size_t)1 << t->bits;
    uint64_t sum = 0;
    unsigned low = 0;
    size_t i;
    for (i = 0; i < count; i++) {
        const ttei_step *step = p->step + (first + i) % p->count;
        unsigned char *mask = p->choice + i * (states / 8);
        const uint16_t *from = p->cost;
        size_t half = states / 2;
        for (; half > states >> step->bits; half /= 2, from = p->best) t->fold(from, half, 0, p->best, mask);
        sum += low;
        low = t->fold(from, half, low, p->best, mask);
        t->branch(p->best, states, step, t->code[step->rate < 8 ? step->rate : 6], p->cost);
    }
    return sum;
}

/* The state before `state`, which the step of this slot led to by `bits` new bits. */
static size_t ttei_path_before(const ttei_trellis *t, const ttei_path *p, size_t slot, int bits, size_t state)
{
    const size_t states = (size_t)1 << t->bits;
    const unsigned char *mask = p->choice + slot * (states / 8);
    size_t half;
    state >>= bits;
    for (half = states >> bits; half < states; half *= 2)
        if (!(mask[(half + state) / 8] >> (half + state) % 8 & 1)) state += half;
    return state;
}

/* The states at the wrap, from a search of reach * L bits on each side of it: p->start. */
static void ttei_path_wrap(const ttei_trellis *t, ttei_path *p)
{
    const size_t states = (size_t)1 << t->bits, n = p->count;
    size_t back, ahead, first, i, j, s = 0;
    int left;
    for (back = 0, left = t->reach * t->bits; left > 0; back++) left -= p->step[n - 1 - back % n].bits;
    for (ahead = 0, left = t->reach * t->bits; left > 0; ahead++) left -= p->step[ahead % n].bits;
    first = (n - back % n) % n;
    memset(p->cost, 0, states * sizeof *p->cost);
    ttei_path_search(t, p, first, back + ahead);
    for (i = 1; i < states; i++) if (p->cost[i] < p->cost[s]) s = i;
    p->starts = 0;
    for (i = back + ahead; i-- > 0; ) {
        const size_t step = (first + i) % n;
        s = ttei_path_before(t, p, i, p->step[step].bits, s);
        for (j = 0; j < p->starts && p->start[j] != s; j++) {}
        if (step == 0 && j == p->starts && j < TTEI_STARTS) p->start[p->starts++] = s;
    }
}

/* The pass from state z to state z; returns its cost. */
static uint64_t ttei_path_close(const ttei_trellis *t, ttei_path *p, size_t z)
{
    uint64_t sum;
    memset(p->cost, 255, sizeof *p->cost << t->bits);
    p->cost[z] = 0;
    sum = ttei_path_search(t, p, 0, p->count);
    return sum + p->cost[z];
}

/* Plain codes u of k bits, t = 2 u + 1 - 2^k, from bit `at` of the record on. */
static void ttei_plain_encode(int k, size_t count, const float *target, unsigned char *record, size_t at)
{
    const int top = (1 << k) - 1;
    size_t i;
    int b;
    for (i = 0; i < count; i++) {
        int u = ttei_round_clip(0.5f * (target[i] + (float)top), 65536);
        u = u < 0 ? 0 : u > top ? top : u;
        for (b = 0; b < k; b++, at++) record[at / 8] |= (unsigned char)((u >> b & 1) << at % 8);
    }
}

/* The steps of a trellis run. Where the last one lacks its second value, rate + 1 stands for one value of as
   many bits; its table differs by the unit. */
static void ttei_path_steps(ttei_path *p, const ttei_run *run, const float *target)
{
    const int values = ttei_rate_values(run->rate);
    const size_t second = (run->count + 1) / 2, count = values == 2 ? second : run->count;
    size_t i;
    for (i = 0; i < count; i++) {
        ttei_step *step = p->step + p->count++;
        const int two = values == 2 && second + i < run->count, rate = run->rate + (values == 2 && !two);
        const float unit = ttei_code_unit(rate);
        step->rate = (unsigned char)rate;
        step->bits = (unsigned char)ttei_rate_bits(run->rate);
        step->want[0] = (int16_t)ttei_round_clip(target[i] * unit, 32767);
        step->want[1] = (int16_t)(two ? ttei_round_clip(target[second + i] * unit, 32767) : 0);
    }
}

/* The steps in p to a circle of `bits` bits in bytes that are zero. The bits that fill the last byte are new bits of the
   first step, as its predecessor is the last step. If these are more than L the state is new altogether, and bits that
   no state holds stay 0. */
static void ttei_circle_encode(const ttei_trellis *t, ttei_path *p, size_t bits, unsigned char *circle)
{
    const size_t L = (size_t)t->bits, length = (bits + 7) / 8 * 8;
    size_t at = bits - p->step[0].bits, i, j, state;  /* where the state of the last step begins */
    uint64_t least = 0;
    p->step[0].bits = (unsigned char)ttei_min(length - at, L);
    ttei_path_wrap(t, p);
    for (i = j = 0; p->starts > 1 && i < p->starts; i++) {
        const uint64_t cost = ttei_path_close(t, p, p->start[i]);
        if (i == 0 || cost < least) { least = cost; j = i; }
    }
    state = p->start[j];
    if (i == 0 || i != j + 1) ttei_path_close(t, p, state);
    for (i = p->count; i-- > 0; at -= p->step[i].bits) {
        for (j = 0; j < p->step[i].bits; j++) {     /* newest first */
            const size_t b = (at + L - 1 - j) % length;
            circle[b / 8] |= (unsigned char)((state >> j & 1) << b % 8);
        }
        state = ttei_path_before(t, p, i, p->step[i].bits, state);
    }
}

/* Encodes a record. target[j]: the wished code integer of coefficient j of the runs, a real number; any float
   is taken. codes[j]: the one that a reader decodes. record: all of its bytes are written. p: for at least
   as many steps as the runs have. Time: (steps + 2 reach L / k) 2^L, up to twice that where the circle is
   shorter than the search. Circles of less than 3 L bits are coded correctly, but not well. */
static void ttei_record_encode(const ttei_trellis *t, ttei_path *p, const ttei_run *runs, size_t run_count,
                               const float *target, unsigned char *record, int16_t *codes)
{
    ttei_extent extent = {0, 0};
    size_t r, at = 0;
    for (r = 0; r < run_count; r++) ttei_extent_add(&extent, runs[r].rate, runs[r].count);
    memset(record, 0, ttei_extent_bytes(&extent));
    p->count = 0;
    for (r = 0; r < run_count; target += runs[r++].count) {
        const int rate = runs[r].rate;
        if (rate >= TTEI_PLAIN) {
            ttei_plain_encode(ttei_rate_bits(rate), runs[r].count, target, record, at);
            at += runs[r].count * (size_t)ttei_rate_bits(rate);
        } else if (rate > 0) {
            ttei_path_steps(p, runs + r, target);
        }
    }
    if (p->count > 0) ttei_circle_encode(t, p, extent.circle, record + (extent.plain + 7) / 8);
    ttei_codes_decode(t->bits, runs, run_count, record, codes);
}
/* ================================================================================================
   LEARNING WHAT ROWS SHARE
   settings -> moments -> centroids -> basis -> model -> classes. A pass reads all rows once, in blocks of a fixed
   number of rows; whatever is summed over rows is summed in their order, so that results do not depend on threads.
   ============================================================================================= */

/* Progress of one call: a caller's function, and which part of the whole is being done. */
typedef struct ttei_progress {
    tte_progress_fn report;
    void *user;
    double from, to, *reached;  /* the fraction only rises, also where a part is done again                */
} ttei_progress;

static tte_status ttei_report(const ttei_progress *progress, double part)
{
    const double fraction = part < 1 ? progress->from + (progress->to - progress->from) * part : progress->to;
    if (progress->report == NULL) return TTE_OK;
    if (fraction > *progress->reached) *progress->reached = fraction;
    return progress->report(progress->user, *progress->reached) != 0 ? TTE_ERR_CANCELLED : TTE_OK;
}

/* The next part of the whole, up to `to`. */
static void ttei_next_part(ttei_progress *progress, double to)
{
    progress->from = progress->to;
    progress->to = to;
}

/* Where rows come from, and everything else that a caller asks for, with the defaults filled in. */
typedef struct ttei_settings {
    tte_rows_fn rows;
    void *user;
    size_t vocab, dim;
    size_t whole;               /* rows of the table that the vocab rows are a sample of; vocab where they are all */
    tte_options o;              /* layout and coding decided; effort 1..9                              */
    int state_bits;             /* of the trellis                                                      */
    ttei_progress progress;
    double reached;             /* of the progress reported                                            */
} ttei_settings;

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

static int ttei_thread_count(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

/* Rows of a block: a megabyte or so, the same for every table of this width. */
static size_t ttei_block_rows(size_t dim) { return ttei_min(256, ttei_max(16, 0x80000 / dim)); }

static float ttei_row_weight(const ttei_settings *s, size_t row)
{
    return s->o.row_weight != NULL ? s->o.row_weight[row] : 1.0f;
}

/* Rows first .. first + count - 1 times 2^-exponent. */
static tte_status ttei_fetch(const ttei_settings *s, int exponent, size_t first, size_t count, float *rows)
{
    if (s->rows(s->user, first, count, rows) != 0) return TTE_ERR_IO;
    if (!ttei_finite_f32(ttei_largest(count * s->dim, rows))) return TTE_ERR_NOT_FINITE;
    ttei_scale_f32(count * s->dim, -exponent, rows);
    return TTE_OK;
}

/* ---- matrices of doubles ---------------------------------------------------------------------------- */

/* c = a b, all n x n. */
TTEI_CLONES static void ttei_square_product(size_t n, const double *a, const double *b, double *c)
{
    long long i;
    TTEI_OPENMP(omp parallel for schedule(static))
    for (i = 0; i < (long long)n; ++i) {
        double *row = c + (size_t)i * n;
        size_t k;
        memset(row, 0, n * sizeof *row);
        for (k = 0; k < n; ++k) ttei_axpy(n, a[(size_t)i * n + k], b + k * n, row);
    }
}

/* c = V' diag(f) V for rows V: a function of a symmetric matrix from its eigenvectors; `room` is n x n. */
static void ttei_spectral(size_t n, const double *v, const double *f, double *room, double *c)
{
    size_t i, j;
    for (j = 0; j < n; ++j)
        for (i = 0; i < n; ++i) room[i * n + j] = v[j * n + i] * f[j];
    ttei_square_product(n, room, v, c);
}

/* The upper triangle to the lower one. */
static void ttei_mirror(size_t n, double *a)
{
    size_t i, j;
    for (i = 0; i < n; ++i)
        for (j = 0; j < i; ++j) a[i * n + j] = a[j * n + i];
}

/* ---- rates -------------------------------------------------------------------------------------------- */

/* The rate bytes there are: none, the trellis, plain codes of 2 bits and more. */
enum { TTEI_RATES = 13, TTEI_RATES_ALL = 26 };  /* none and the trellis; all */
static const unsigned char ttei_rates[TTEI_RATES_ALL] = {0,   1,   2,   3,   4,   5,   6,   7,   8,   10,  12,  14,  16,
                                                         130, 131, 132, 133, 134, 135, 136, 137, 138, 139, 140, 141, 142};

/* Mean squared error of a Gaussian source of unit variance at these rates, for 2^8, 2^10, .. 2^16 states, and the
   spread of a code integer that reaches it, in units of 1/147.8 standard deviations. Measured with the encoder
   below on 2^17 values. */
static const float ttei_gauss_errors[12][5] = {
    {0.5571f, 0.5357f, 0.5273f, 0.523f, 0.5202f},
    {0.3009f, 0.2831f, 0.2742f, 0.2702f, 0.2652f},
    {0.171f, 0.1492f, 0.1426f, 0.1381f, 0.1356f},
    {0.08536f, 0.07683f, 0.07284f, 0.07056f, 0.06834f},
    {0.0646f, 0.0422f, 0.0385f, 0.0364f, 0.0352f},
    {0.02281f, 0.02004f, 0.0187f, 0.01794f, 0.01745f},
    {0.0218f, 0.0140f, 0.0107f, 0.00981f, 0.0093f},
    {0.006767f, 0.005631f, 0.004941f, 0.004666f, 0.004459f},
    {0.002011f, 0.001721f, 0.001306f, 0.001213f, 0.001154f},
    {6.109e-04f, 4.645e-04f, 3.554e-04f, 3.219e-04f, 2.984e-04f},
    {2.246e-04f, 1.296e-04f, 1.040e-04f, 8.949e-05f, 7.848e-05f},
    {1.027e-04f, 4.224e-05f, 3.092e-05f, 2.309e-05f, 2.027e-05f},
};
static const float ttei_gauss_spreads[12][5] = {
    {0.720f, 0.705f, 0.700f, 0.701f, 0.701f},
    {1.078f, 0.887f, 0.890f, 0.885f, 0.888f},
    {1.075f, 0.994f, 0.984f, 0.975f, 0.975f},
    {1.339f, 1.048f, 1.039f, 1.020f, 1.015f},
    {1.180f, 1.100f, 1.060f, 1.060f, 1.040f},
    {1.485f, 1.126f, 1.112f, 1.082f, 1.072f},
    {1.300f, 1.220f, 1.140f, 1.140f, 1.100f},
    {1.629f, 1.174f, 1.163f, 1.130f, 1.117f},
    {1.783f, 1.250f, 1.218f, 1.184f, 1.157f},
    {1.956f, 1.374f, 1.308f, 1.261f, 1.215f},
    {2.117f, 1.401f, 1.374f, 1.330f, 1.282f},
    {2.278f, 1.564f, 1.457f, 1.397f, 1.312f},
};

/* The error of rate number i of the trellis, relative to the variance; the spread of its code integers for unit
   variance. */
static double ttei_gauss_error(int i, int state_bits)
{
    const int low = (state_bits - 8) / 2;
    if (i == 0) return 1;
    if (state_bits % 2 == 0) return (double)ttei_gauss_errors[i - 1][low];
    return sqrt((double)ttei_gauss_errors[i - 1][low] * (double)ttei_gauss_errors[i - 1][low + 1]);
}

static double ttei_gauss_spread(int i, int state_bits)
{
    return (double)ttei_gauss_spreads[i - 1][(state_bits - 8) / 2] / 147.8;
}

static size_t ttei_half_bits(int i)
{
    const size_t rate = ttei_rates[i];
    return i < TTEI_RATES ? rate : 2 * (rate - TTEI_PLAIN);
}
static double ttei_gauss_bits(int i) { return 0.5 * (double)ttei_half_bits(i); }

/* The water level D with sum over j of max(0, log2(v[j] / D) / 2) = bits [CT06, 10.3.3]. */
static double ttei_water(const double *v, size_t n, double bits)
{
    double low = -200, high = 200;
    int i;
    for (i = 0; i < 100; ++i) {
        const double level = exp2((low + high) / 2);
        double sum = 0;
        size_t j;
        for (j = 0; j < n; ++j)
            if (v[j] > level) sum += 0.5 * log2(v[j] / level);
        if (sum > bits) low = (low + high) / 2;
        else high = (low + high) / 2;
    }
    return exp2(high);
}

/* ---- the model: what rows share, as a reader will see it --------------------------------------------------- */

enum {
    TTEI_NEAR = 96,      /* leading coefficients that choose the centroids to try      */
    TTEI_TRIED = 16,     /* centroids that a row tries in all coefficients             */
    TTEI_ROWS_TILE = 64, /* rows that are brought to coefficients together             */
    TTEI_SOLVED = 64,    /* columns for which the dual's equations are solved together */
    TTEI_SAMPLE = 57344, /* rows that centroids are sought on, at low effort a quarter */
    TTEI_CLASSES_MAX = 32 + 65 * (TTEI_CLASS_HEAD + TTEI_RUN_BYTES * TTEI_RUNS_MAX),  /* bytes of section 3 */
    TTEI_STRETCHES = 16, /* see ttei_census                                            */
    TTEI_FINE = 8,       /* levels in a bin, an eighth of an octave                    */
    TTEI_BINS = TTE_LEVELS / TTEI_FINE
};

typedef struct ttei_class {
    int level;                  /* the lowest that belongs to it                                           */
    float scale;
    size_t run_count, bytes;
    ttei_run runs[TTEI_RUNS_MAX];
} ttei_class;

/* Points p of which the nearest to an x is sought, the least |p|^2 / 2 - <x, p>. */
typedef struct ttei_points {
    size_t count, leading, all; /* points; coefficients that choose those to try, and those that decide         */
    float *points, *halves;     /* leading x count; count: half of their squared lengths                       */
    float *directions, *lengths;  /* count x all: what x is multiplied by; count: |p|^2 / 2 in all coefficients */
} ttei_points;

typedef struct ttei_model {
    tte_table view;             /* of what is shared, as reading functions want it                         */
    size_t dim, rank, centroid_count;
    int state_bits, exponent, class_count, gain_bits, effort;
    float water, usual_weight;
    float *metric, ridge;       /* dim x dim, or NULL: identity; see ttei_metric_prepare                   */
    float *mean;                /* dim; zeros where there are no centroids                                */
    float *basis;               /* rank x dim                                                              */
    float *dual;                /* dim x rank: coefficients = (row - mean) dual                            */
    float *energy;              /* rank: |basis row|^2 in the metric                                       */
    float *centroids;           /* centroid_count x rank; zeros where there is one or none                 */
    float *active;              /* rank: energy / (energy + water), see ttei_row_energy                    */
    float *near_weight;         /* rank: what a coefficient's distance counts                              */
    ttei_points near;           /* the centroids, coefficients so weighted; directions are not             */
    ttei_class classes[65];     /* and that of the centroids behind the last                               */
    float gains[16];
} ttei_model;

/* Room for everything but the metric. */
static void ttei_model_carve(ttei_model *m, ttei_carve *carve)
{
    const size_t real = sizeof(float);
    m->near.count = m->centroid_count;
    m->near.leading = ttei_min(m->rank, TTEI_NEAR);
    m->near.all = m->rank;
    m->mean = (float *)ttei_take(carve, m->dim, real);
    m->basis = (float *)ttei_take(carve, ttei_mul(m->rank, m->dim), real);
    m->dual = (float *)ttei_take(carve, ttei_mul(m->rank, m->dim), real);
    m->energy = (float *)ttei_take(carve, m->rank, real);
    m->centroids = (float *)ttei_take(carve, ttei_mul(m->centroid_count, m->rank), real);
    m->active = (float *)ttei_take(carve, m->rank, real);
    m->near_weight = (float *)ttei_take(carve, m->rank, real);
    m->near.points = (float *)ttei_take(carve, ttei_mul(m->centroid_count, m->near.leading), real);
    m->near.halves = (float *)ttei_take(carve, m->centroid_count, real);
    m->near.lengths = (float *)ttei_take(carve, m->centroid_count, real);
    m->near.directions = m->centroids;
}

/* The dual of a basis B that has been rounded, so that its rows are no longer orthogonal: x ~ mean + z B is solved by
   z = (x - mean) M B' (B M B')^-1, and what rounding turned out of the directions asked for costs little: as long as
   there are as many rows as columns nothing at all. Rows are scaled to unit length before the inverse is formed. */
static tte_status ttei_model_dual(ttei_model *m)
{
    const size_t n = m->rank, dim = m->dim;
    ttei_carve carve = ttei_carve_begin(NULL);
    double *gram, *right, *length;
    float *weighed, *turned;
    size_t i, j;
    int found, part;
    if (n == 0) return TTE_OK;
    do {
        gram = (double *)ttei_take(&carve, ttei_mul(n, n), sizeof(double));
        right = (double *)ttei_take(&carve, ttei_mul(n, dim), sizeof(double));
        length = (double *)ttei_take(&carve, n, sizeof(double));
        weighed = (float *)ttei_take(&carve, ttei_mul(n, dim), sizeof(float));
        turned = (float *)ttei_take(&carve, ttei_mul(n, dim), sizeof(float));
    } while (ttei_carve_again(&carve));
    if (carve.base == NULL) return ttei_carve_status(&carve);
    memcpy(weighed, m->basis, n * dim * sizeof *weighed);
    if (m->metric != NULL) {
        ttei_product(n, dim, dim, m->basis, dim, 1, m->metric, dim, weighed, dim);
        for (i = 0; i < n * dim; ++i) weighed[i] += m->ridge * m->basis[i];
    }
    for (j = 0; j < n; ++j) {
        double sum = 0;
        for (i = 0; i < dim; ++i) {
            sum += (double)weighed[j * dim + i] * (double)m->basis[j * dim + i];
            turned[i * n + j] = m->basis[j * dim + i];
        }
        m->energy[j] = sum > 0 ? (float)sum : 0;
        length[j] = sum > 0 ? sqrt((double)m->energy[j]) : 0;
        for (i = 0; i < dim; ++i)
            right[j * dim + i] = length[j] > 0 ? (double)weighed[j * dim + i] / length[j] : 0;
    }
    ttei_product(n, dim, n, weighed, dim, 1, turned, n, m->dual, n);  /* for a moment B M B' */
    for (j = 0; j < n; ++j)
        for (i = 0; i < n; ++i) {
            const double both = length[i] * length[j];
            gram[j * n + i] = i == j ? 1 + 1e-5 : both > 0 ? (double)m->dual[j * n + i] / both : 0;
        }
    found = ttei_cholesky(n, gram);
    TTEI_OPENMP(omp parallel for schedule(static))
    for (part = 0; part < (found ? (int)dim : 0); part += TTEI_SOLVED)
        ttei_cholesky_solve(n, gram, ttei_min(TTEI_SOLVED, dim - (size_t)part), right + part, dim);
    for (i = 0; found && i < dim; ++i)
        for (j = 0; j < n; ++j) m->dual[i * n + j] = length[j] > 0 ? (float)(right[j * dim + i] / length[j]) : 0;
    TT_EMBED_FREE(carve.base);
    return found ? TTE_OK : TTE_ERR_CONVERGENCE;
}

/* halves[k] = |p_k|^2 / 2 of the columns of p, leading x points. */
TTEI_CLONES TTEI_LOOPS static void ttei_half_squares(size_t leading, size_t points, const float *p, float *halves)
{
    TTEI_NO_FUSING
    size_t j, k;
    for (k = 0; k < points; ++k) halves[k] = 0;
    for (j = 0; j < leading; ++j)
        for (k = 0; k < points; ++k) halves[k] += 0.5f * p[j * points + k] * p[j * points + k];
}

/* What chooses a row's class, see ttei_row_energy, and its centroid: coefficients, weighted between their own lengths and
   what they cost in bits. */
static void ttei_model_near(ttei_model *m)
{
    size_t j, k;
    for (j = 0; j < m->rank; ++j) {
        const double energy = (double)m->energy[j], level = energy > (double)m->water ? energy : (double)m->water;
        m->active[j] = energy > 0 ? (float)(energy / (energy + (double)m->water)) : 0.5f;
        m->near_weight[j] = level > 0 ? (float)(sqrt(energy) / sqrt(sqrt(level))) : 0;
    }
    for (k = 0; k < m->centroid_count; ++k) {
        double sum = 0;
        for (j = 0; j < m->rank; ++j) {
            const float p = m->centroids[k * m->rank + j] * m->near_weight[j];
            if (j < m->near.leading) m->near.points[j * m->centroid_count + k] = p;
            sum += (double)p * (double)p;
        }
        m->near.lengths[k] = (float)(sum / 2);
    }
    ttei_half_squares(m->near.leading, m->centroid_count, m->near.points, m->near.halves);
}

/* The bits of a float as an integer that is ordered as floats are: positive ones get the highest bit, of negative ones all
   bits turn. */
TTEI_INLINE uint32_t ttei_ordered(float x)
{
    const uint32_t bits = ttei_bits_of(x);
    return bits ^ ((0u - (bits >> 31)) | 0x80000000u);
}

/* least[g], g before, = the first k among g, g + TTEI_TRIED, g + 2 TTEI_TRIED .. with the smallest a[k] - b[k], where there
   is one; n is a multiple of TTEI_TRIED. */
TTEI_CLONES TTEI_LOOPS static void ttei_least_differences(size_t n, const float *a, const float *b, uint32_t *least)
{
    uint32_t low[TTEI_TRIED];
    size_t k, g;
    for (g = 0; g < TTEI_TRIED; ++g) low[g] = UINT32_MAX;
    for (k = 0; k < n; k += TTEI_TRIED)
        for (g = 0; g < TTEI_TRIED; ++g) {
            const uint32_t now = ttei_ordered(a[k + g] - b[k + g]);
            least[g] = now < low[g] ? (uint32_t)(k + g) : least[g];
            low[g] = now < low[g] ? now : low[g];
        }
}

/* Sum of x[i] * y[i], in sums that do not wait for each other. */
TTEI_CLONES TTEI_UNFUSED static float ttei_unfused_dot(size_t n, const float *x, const float *y)
{
    TTEI_NO_FUSING
    ttei_lanes sums[4];
    float part[4 * TTEI_LANES], sum = 0;
    size_t i = 0, k;
    memset(sums, 0, sizeof sums);
    for (; i + 4 * TTEI_LANES <= n; i += 4 * TTEI_LANES)
        TTEI_UNROLL
        for (k = 0; k < 4; ++k) {
            const ttei_lanes product = TTEI_FLOATS_OF(x + i + k * TTEI_LANES) * TTEI_FLOATS_OF(y + i + k * TTEI_LANES);
            sums[k] += product;
        }
    memcpy(part, sums, sizeof part);
    for (k = 0; k < 4 * TTEI_LANES; ++k) sum += part[k];
    for (; i < n; ++i) {
        const float product = x[i] * y[i];
        sum += product;
    }
    return sum;
}

/* tried: for each of `count` y, leading coefficients, the points to try: for each g < TTEI_TRIED the nearest of the points
   k with k mod TTEI_TRIED = g; all, where there are no more than that. `scores` has count x points floats. Returns how
   many there are for each y. */
static size_t ttei_points_to_try(const ttei_points *p, size_t count, const float *y, float *scores, uint32_t *tried)
{
    size_t i, g;
    if (p->count > TTEI_TRIED)
        ttei_product(count, p->leading, p->count, y, p->leading, 1, p->points, p->count, scores, p->count);
    for (i = 0; i < count; ++i, tried += TTEI_TRIED) {
        for (g = 0; g < TTEI_TRIED; ++g) tried[g] = (uint32_t)g;
        if (p->count > TTEI_TRIED) ttei_least_differences(p->count, p->halves, scores + i * p->count, tried);
    }
    return ttei_min(p->count, TTEI_TRIED);
}

/* The nearest to x of the `count` points in `tried`. */
static uint16_t ttei_nearest_tried(const ttei_points *p, size_t count, const uint32_t *tried, const float *x)
{
    float least = 0;
    size_t g, best = 0;
    for (g = 0; g < count; ++g) {
        const float now = p->lengths[tried[g]] - ttei_unfused_dot(p->all, x, p->directions + tried[g] * p->all);
        if (g > 0 && !(now < least)) continue;
        least = now;
        best = tried[g];
    }
    return (uint16_t)best;
}

/* ids[i] = the nearest point to the i-th of at most TTEI_ROWS_TILE rows: y has the rows' leading coefficients, x all of
   those that meet directions. Trying a few points in all coefficients is next to as good as trying all, at a fraction. */
static void ttei_nearest(const ttei_points *p, size_t count, const float *y, const float *x, float *scores, uint16_t *ids)
{
    uint32_t tried[TTEI_ROWS_TILE * TTEI_TRIED];
    const size_t number = ttei_points_to_try(p, count, y, scores, tried);
    size_t i;
    for (i = 0; i < count; ++i) ids[i] = ttei_nearest_tried(p, number, tried + i * TTEI_TRIED, x + i * p->all);
}

/* A tile of rows in the coordinates of a model. */
typedef struct ttei_rows_tile {
    float *rows;                /* TTEI_ROWS_TILE x dim: less the mean; used up, and room, when z is known       */
    float *z;                   /* TTEI_ROWS_TILE x rank: coefficients, less those of the centroid              */
    float *y;                   /* TTEI_ROWS_TILE x leading                                                    */
    float *scores;              /* TTEI_ROWS_TILE x centroid_count                                              */
    uint16_t centroid[TTEI_ROWS_TILE];
    double energy[TTEI_ROWS_TILE];   /* see ttei_row_energy                                                     */
    unsigned char outliers[TTEI_ROWS_TILE];  /* see ttei_has_outliers                                          */
} ttei_rows_tile;

static void ttei_tile_carve(const ttei_model *m, ttei_carve *carve, ttei_rows_tile *tile)
{
    tile->rows = (float *)ttei_take(carve, ttei_mul(TTEI_ROWS_TILE, m->dim), sizeof(float));
    tile->z = (float *)ttei_take(carve, ttei_mul(TTEI_ROWS_TILE, m->rank), sizeof(float));
    tile->y = (float *)ttei_take(carve, ttei_mul(TTEI_ROWS_TILE, m->near.leading), sizeof(float));
    tile->scores = (float *)ttei_take(carve, ttei_mul(TTEI_ROWS_TILE, m->centroid_count), sizeof(float));
}

/* The sum of n floats, in doubles that do not wait for each other. */
TTEI_INLINE double ttei_float_sum(size_t n, const float *x)
{
    ttei_quad sums = {0};
    double sum;
    size_t i = 0;
    for (; i + TTEI_QUAD <= n; i += TTEI_QUAD) sums += TTEI_WIDEN(*(const ttei_floats4 *)(x + i));
    sum = ttei_total(&sums);
    for (; i < n; ++i) sum += (double)x[i];
    return sum;
}

/* The energy of a row of coefficients z,
       (mean over j of (a_j z_j^2 + 1 - a_j)^(3/4))^(4/3),  a_j = energy_j / (energy_j + water):
   by how much its coefficients are larger than usual, where those that will get no bits count little. A power below
   that of squares, since a few outliers say little of the bits that the others need. `room` is for rank floats. */
TTEI_CLONES TTEI_ROOTS static double ttei_row_energy(const ttei_model *m, const float *z, float *room)
{
    TTEI_NO_FUSING
    const float scale = ttei_largest(m->rank, z) > 1e15f ? 1e-20f : 1;  /* squares stay in range */
    double mean;
    size_t j;
    if (m->rank == 0) return 1;
    for (j = 0; j < m->rank; ++j) {
        const float y = scale * z[j], root = sqrtf(m->active[j] * y * y + scale * scale * (1 - m->active[j]));
        room[j] = root * sqrtf(root);
    }
    mean = ttei_float_sum(m->rank, room) / (double)m->rank;
    return mean * cbrt(mean) / ((double)scale * (double)scale);
}

/* Whether codes, which reach about four times the root of a row's energy, would clip more of it than the noise of all
   its codes weighs. */
TTEI_CLONES TTEI_ROOTS static int ttei_has_outliers(const ttei_model *m, double energy, const float *z, float *room)
{
    TTEI_NO_FUSING
    const float reach = 4 * (float)sqrt(energy), usual = (float)energy;
    size_t j;
    if (m->rank < 16) return 0;  /* plain codes reach everything */
    for (j = 0; j < m->rank; ++j) {
        const float over = fabsf(z[j]) - reach, beyond = over > 0 ? over : 0, noise = m->energy[j] * usual;
        room[j] = m->energy[j] * beyond * beyond - (noise < m->water ? noise : m->water);
    }
    return ttei_float_sum(m->rank, room) > 0;
}

/* Rows to coefficients z, each less those of the nearest centroid, and what decides a row's class. */
static void ttei_tile_analyze(const ttei_model *m, size_t count, const float *rows, ttei_rows_tile *tile)
{
    size_t i, j;
    for (i = 0; i < count; ++i)
        for (j = 0; j < m->dim; ++j) tile->rows[i * m->dim + j] = rows[i * m->dim + j] - m->mean[j];
    ttei_product(count, m->dim, m->rank, tile->rows, m->dim, 1, m->dual, m->rank, tile->z, m->rank);
    memset(tile->centroid, 0, sizeof tile->centroid);
    if (m->centroid_count > 1) {
        for (i = 0; i < count; ++i)
            for (j = 0; j < m->rank; ++j) {
                const float y = tile->z[i * m->rank + j] * m->near_weight[j];
                if (j < m->near.leading) tile->y[i * m->near.leading + j] = y;
                tile->rows[i * m->rank + j] = y * m->near_weight[j];  /* these rows have been used */
            }
        ttei_nearest(&m->near, count, tile->y, tile->rows, tile->scores, tile->centroid);
    }
    for (i = 0; i < count; ++i) {
        float *z = tile->z + i * m->rank, *room = tile->rows;
        const float *c = m->centroids + tile->centroid[i] * m->rank;
        for (j = 0; j < m->rank && m->centroid_count > 1; ++j) z[j] -= c[j];
        tile->energy[i] = ttei_row_energy(m, z, room);
        tile->outliers[i] = (unsigned char)ttei_has_outliers(m, tile->energy[i], z, room);
    }
}

/* The level of a row, and the class that has it: where no class has rows with outliers, as if there were none. */
static int ttei_row_level(double weight, double energy, int outliers)
{
    const int half = TTE_LEVELS / 2, middle = half / 2, last = half - 1;
    const double x = floor(64 * log2(weight * energy)) + middle;  /* NaN and infinities become the ends */
    const int level = x > 0 ? x < last ? (int)x : last : 0;
    return outliers ? level : level + half;
}

static int ttei_class_of(const ttei_model *m, int level)
{
    int c = m->class_count - 1;
    if (level < m->classes[0].level) level += TTE_LEVELS / 2;
    while (c > 0 && level < m->classes[c].level) --c;
    return c;
}

/* ---- first pass: extent and moments ----------------------------------------------------------------------- */

/* Everything that training holds; matrices are dim x dim. */
typedef struct ttei_learning {
    const ttei_settings *s;
    ttei_progress progress;
    size_t dim, block_rows, limit_rank, limit_centroids;
    int exponent;               /* the table's entries are below 2^exponent                                */
    float usual_weight;         /* the mean                                                                */
    double weight_sum, *first, *second;  /* sums of w, w x, w x'x; then mean and covariance                */
    double *root, *inverse;     /* of the metric and back; NULL without one                               */
    float *metric, ridge;       /* as the model has them                                                  */
    double *work[2], *values;   /* matrices, the second also the work of ttei_eigen; dim                   */
    float *rows;                /* block_rows x dim                                                        */
} ttei_learning;

static void ttei_learning_carve(const ttei_settings *s, ttei_carve *carve, ttei_learning *l)
{
    const size_t dim = s->dim, square = ttei_mul(dim, dim), real = sizeof(double);
    ttei_svd_room unused;
    memset(l, 0, sizeof *l);
    l->s = s;
    l->progress = s->progress;
    l->limit_rank = dim;
    l->limit_centroids = 65536;
    l->dim = dim;
    l->block_rows = ttei_block_rows(dim);
    l->first = (double *)ttei_take(carve, dim, real);
    l->second = (double *)ttei_take(carve, square, real);
    if (s->o.metric != NULL) {
        l->root = (double *)ttei_take(carve, square, real);
        l->inverse = (double *)ttei_take(carve, square, real);
        l->metric = (float *)ttei_take(carve, square, sizeof(float));
    }
    l->work[0] = (double *)ttei_take(carve, square, real);
    l->work[1] = (double *)ttei_take(carve, ttei_max(ttei_mul(square, real), ttei_svd_carve(1, dim, dim, NULL, &unused)), 1);
    l->values = (double *)ttei_take(carve, dim, real);
    l->rows = (float *)ttei_take(carve, ttei_mul(l->block_rows, dim), sizeof(float));
}

/* The next block of a pass over all rows: `count` from `first` on in l->rows, 0 behind the last. Reports the one before. */
static tte_status ttei_pass_next(ttei_learning *l, int exponent, size_t *first, size_t *count)
{
    const size_t vocab = l->s->vocab;
    tte_status status = TTE_OK;
    *first += *count;
    if (*first > 0) status = ttei_report(&l->progress, (double)*first / (double)vocab);
    *count = status == TTE_OK ? ttei_min(l->block_rows, vocab - *first) : 0;
    return *count > 0 ? ttei_fetch(l->s, exponent, *first, *count, l->rows) : status;
}

/* The power of two that all entries are below. */
static tte_status ttei_learn_extent(ttei_learning *l)
{
    size_t first = 0, count = 0;
    float top = 0;
    tte_status status;
    while ((status = ttei_pass_next(l, 0, &first, &count)) == TTE_OK && count > 0) {
        const float now = ttei_largest(count * l->dim, l->rows);
        if (now > top) top = now;
    }
    l->exponent = ttei_exponent((double)top);
    return status;
}

/* Mean and covariance of the rows, in weights. */
static tte_status ttei_learn_moments(ttei_learning *l)
{
    const ttei_settings *s = l->s;
    const size_t dim = l->dim;
    /* products of weights and entries are floats: neither end may be near */
    const int power = s->o.row_weight != NULL ? ttei_exponent((double)ttei_largest(s->vocab, s->o.row_weight)) : 0;
    float weight[256];
    size_t first = 0, count = 0, i, j;
    tte_status status;
    memset(l->first, 0, dim * sizeof *l->first);
    memset(l->second, 0, dim * dim * sizeof *l->second);
    while ((status = ttei_pass_next(l, l->exponent, &first, &count)) == TTE_OK && count > 0) {
        for (i = 0; i < count; ++i) {
            weight[i] = (float)ldexp((double)ttei_row_weight(s, first + i), -power);
            l->weight_sum += (double)weight[i];
            for (j = 0; j < dim; ++j) l->first[j] += (double)weight[i] * (double)l->rows[i * dim + j];
        }
        ttei_gram_add(count, dim, l->rows, weight, l->second);
    }
    if (status != TTE_OK) return status;
    for (j = 0; j < dim; ++j) l->first[j] /= l->weight_sum;
    for (i = 0; i < dim; ++i)
        for (j = i; j < dim; ++j)
            l->second[i * dim + j] = l->second[i * dim + j] / l->weight_sum - l->first[i] * l->first[j];
    l->weight_sum = ldexp(l->weight_sum, power);
    l->usual_weight = (float)(l->weight_sum / (double)s->vocab);
    ttei_mirror(dim, l->second);
    return TTE_OK;
}

/* A metric checked, made symmetric to the last bit and divided by its mean eigenvalue. With the ridge times the identity
   added it has a root and that an inverse: 1/1000, and what rounding of a singular one may have turned negative. */
static tte_status ttei_metric_prepare(size_t dim, const float *metric, float *out, float *ridge)
{
    const float top = ttei_largest(dim * dim, metric);
    double trace = 0, square = 0;
    size_t i, j;
    if (!ttei_finite_f32(top)) return TTE_ERR_ARGUMENT;
    if (!(top > 0)) {  /* nothing matters: what is small then is the plain error */
        memset(out, 0, dim * dim * sizeof *out);
        *ridge = 1;
        return TTE_OK;
    }
    for (i = 0; i < dim; ++i)
        for (j = 0; j < dim; ++j) {
            const double x = (double)metric[i * dim + j] / (double)top, y = (double)metric[j * dim + i] / (double)top;
            if (fabs(x - y) > 1e-5) return TTE_ERR_ARGUMENT;
            square += x * x;
            if (i == j) trace += x;
        }
    if (!(trace > 0)) return TTE_ERR_ARGUMENT;
    *ridge = (float)(1e-3 + 1e-5 * sqrt(square) * (double)dim / trace);
    for (i = 0; i < dim; ++i)
        for (j = 0; j < dim; ++j)
            out[i * dim + j] = (float)(0.5 * ((double)metric[i * dim + j] + (double)metric[j * dim + i]) / (double)top *
                                           (double)dim / trace);
    return TTE_OK;
}

/* For an image's own basis no root is taken: a prepared metric with its ridge must be positive definite all the same. */
static tte_status ttei_metric_check(size_t dim, const float *metric, float ridge)
{
    const size_t size = ttei_mul(ttei_mul(dim, dim), sizeof(double));
    double *a = size == TTEI_SIZE_MAX ? NULL : (double *)TT_EMBED_MALLOC(size);
    size_t i;
    int good;
    if (a == NULL) return TTE_ERR_MEMORY;
    for (i = 0; i < dim * dim; ++i) a[i] = (double)metric[i] + (i % (dim + 1) == 0 ? (double)ridge : 0);
    good = ttei_cholesky(dim, a);
    TT_EMBED_FREE(a);
    return good ? TTE_OK : TTE_ERR_ARGUMENT;
}

/* The prepared metric, its root S and the inverse of that. */
static tte_status ttei_learn_metric(ttei_learning *l)
{
    const size_t dim = l->dim;
    const float *metric = l->s->o.metric;
    double *a = l->work[0];
    size_t i, j;
    tte_status status;
    if (metric == NULL) return TTE_OK;
    status = ttei_metric_prepare(dim, metric, l->metric, &l->ridge);
    if (status != TTE_OK) return status;
    for (i = 0; i < dim * dim; ++i) a[i] = (double)l->metric[i];
    if (!ttei_eigen(dim, a, l->values, l->work[1])) return TTE_ERR_CONVERGENCE;
    if (l->values[dim - 1] < -1.1e-5 * l->values[0]) return TTE_ERR_ARGUMENT;
    for (j = 0; j < dim; ++j) l->values[j] = sqrt((l->values[j] > 0 ? l->values[j] : 0) + (double)l->ridge);
    ttei_spectral(dim, a, l->values, l->work[1], l->root);
    for (j = 0; j < dim; ++j) l->values[j] = 1 / l->values[j];
    ttei_spectral(dim, a, l->values, l->work[1], l->inverse);
    return TTE_OK;
}

/* Eigenvectors, in rows, and eigenvalues of S C S for the covariance C in work[0]: to work[0] and values. */
static tte_status ttei_learn_spectrum(ttei_learning *l)
{
    size_t j;
    if (l->root != NULL) {
        ttei_square_product(l->dim, l->root, l->work[0], l->work[1]);
        ttei_square_product(l->dim, l->work[1], l->root, l->work[0]);
    }
    if (!ttei_eigen(l->dim, l->work[0], l->values, l->work[1])) return TTE_ERR_CONVERGENCE;
    for (j = 0; j < l->dim; ++j)
        if (!(l->values[j] > 1e-13 * l->values[0])) l->values[j] = 0;
    return TTE_OK;
}

/* The level at which all variances and the mean together leave eps^2 of what they are: where eps asks for an image. */
static double ttei_learn_level(ttei_learning *l, double eps)
{
    double total = 0, low = -300, high = 300;
    size_t i, j;
    int turn;
    for (i = 0; i < l->dim; ++i)
        for (j = 0; j < l->dim; ++j) {
            const double m = l->metric != NULL ? (double)l->metric[i * l->dim + j] : i == j ? 1 : 0;
            total += m * (l->second[i * l->dim + j] + l->first[i] * l->first[j]);
        }
    memcpy(l->work[0], l->second, l->dim * l->dim * sizeof *l->second);
    if (!(total > 0) || ttei_learn_spectrum(l) != TTE_OK) return 1;
    for (turn = 0; turn < 100; ++turn) {
        const double level = exp2((low + high) / 2);
        double sum = 0;
        for (j = 0; j < l->dim; ++j) sum += l->values[j] < level ? l->values[j] : level;
        if (sum > eps * eps * total) high = (low + high) / 2;
        else low = (low + high) / 2;
    }
    return exp2(low);
}

/* ---- centroids ---------------------------------------------------------------------------------------------- */

/* The search for centroids, in the leading coefficients y of a sample. */
typedef struct ttei_cluster {
    size_t leading, sample, most;  /* coefficients; rows; points                                              */
    double water, *level, *deviation;  /* dim: see ttei_cluster_gain; leading: of y from its point              */
    float *axes, *back;         /* dim x dim: y = (row - mean) axes, of which the search takes the leading ones; axes' */
    float *best;                /* leading x most: the best points so far                                     */
    float *y, *scores;          /* sample x leading; threads x TTEI_ROWS_TILE x most                         */
    float *across;              /* most x leading: points in rows                                            */
    ttei_points near;           /* the points, at most `most`: in the search all coefficients are the leading ones */
    uint32_t *tried;            /* most x TTEI_TRIED: neighbours of points                                   */
    double *sums, *counts;      /* most x leading; most                                                       */
    uint16_t *ids;              /* sample, or a block of rows                                              */
    int threads;
} ttei_cluster;

static void ttei_cluster_carve(const ttei_learning *l, ttei_carve *carve, ttei_cluster *c)
{
    const size_t real = sizeof(float);
    c->level = (double *)ttei_take(carve, l->dim, sizeof(double));
    c->deviation = (double *)ttei_take(carve, c->leading, sizeof(double));
    c->axes = (float *)ttei_take(carve, ttei_mul(l->dim, l->dim), real);
    c->back = (float *)ttei_take(carve, ttei_mul(l->dim, l->dim), real);
    c->y = (float *)ttei_take(carve, ttei_mul(c->sample, c->leading), real);
    c->near.points = (float *)ttei_take(carve, ttei_mul(c->most, c->leading), real);
    c->across = (float *)ttei_take(carve, ttei_mul(c->most, c->leading), real);
    c->best = (float *)ttei_take(carve, ttei_mul(c->most, c->leading), real);
    c->near.halves = (float *)ttei_take(carve, c->most, real);
    c->tried = (uint32_t *)ttei_take(carve, ttei_mul(c->most, TTEI_TRIED), sizeof(uint32_t));
    c->scores = (float *)ttei_take(carve, ttei_mul((size_t)c->threads * TTEI_ROWS_TILE, c->most), real);
    c->sums = (double *)ttei_take(carve, ttei_mul(c->most, c->leading), sizeof(double));
    c->counts = (double *)ttei_take(carve, c->most, sizeof(double));
    c->ids = (uint16_t *)ttei_take(carve, ttei_max(c->sample, l->block_rows), sizeof(uint16_t));
}

/* y of `count` rows, which lose the mean on the way. */
static void ttei_cluster_project(const ttei_learning *l, const ttei_cluster *c, size_t count, float *rows, float *y)
{
    const size_t dim = l->dim;
    long long tile, tiles = (long long)((count + TTEI_ROWS_TILE - 1) / TTEI_ROWS_TILE);
    TTEI_OPENMP(omp parallel for schedule(dynamic) num_threads(c->threads))
    for (tile = 0; tile < tiles; ++tile) {
        const size_t first = (size_t)tile * TTEI_ROWS_TILE, now = ttei_min(TTEI_ROWS_TILE, count - first);
        float *x = rows + first * dim;
        size_t i, j;
        for (i = 0; i < now; ++i)
            for (j = 0; j < dim; ++j) x[i * dim + j] -= (float)l->first[j];
        ttei_product(now, dim, c->leading, x, dim, 1, c->axes, dim, y + first * c->leading, c->leading);
    }
}

/* The points in c->near, `count` of them, are what rows are near to. */
static void ttei_cluster_points(ttei_cluster *c, size_t count)
{
    size_t j, k;
    ttei_half_squares(c->leading, count, c->near.points, c->near.halves);
    for (k = 0; k < count; ++k)
        for (j = 0; j < c->leading; ++j) c->across[k * c->leading + j] = c->near.points[j * count + k];
    c->near.count = count;
    c->near.leading = c->near.all = c->leading;
    c->near.directions = c->across;
    c->near.lengths = c->near.halves;
}

/* Each row of the sample to the nearest among the neighbours of its point: there its new one is nearly always found. */
static void ttei_cluster_assign(const ttei_cluster *c)
{
    const ttei_points *near = &c->near;
    const size_t number = ttei_min(near->count, TTEI_TRIED);
    long long tile, tiles = (long long)((near->count + TTEI_ROWS_TILE - 1) / TTEI_ROWS_TILE), i;
    TTEI_OPENMP(omp parallel for schedule(dynamic) num_threads(c->threads))
    for (tile = 0; tile < tiles; ++tile) {
        const size_t first = (size_t)tile * TTEI_ROWS_TILE;
        (void)ttei_points_to_try(near, ttei_min(TTEI_ROWS_TILE, near->count - first), c->across + first * c->leading,
                                 c->scores + ttei_thread() * TTEI_ROWS_TILE * c->most, c->tried + first * TTEI_TRIED);
    }
    TTEI_OPENMP(omp parallel for schedule(static) num_threads(c->threads))
    for (i = 0; i < (long long)c->sample; ++i)
        c->ids[i] = ttei_nearest_tried(near, number, c->tried + c->ids[i] * TTEI_TRIED, c->y + (size_t)i * c->leading);
}

/* Of the two points that each row's point was split into, 2k and 2k + 1, the nearer one: far fewer products than with all. */
static void ttei_cluster_choose(const ttei_cluster *c)
{
    long long i;
    TTEI_OPENMP(omp parallel for schedule(static) num_threads(c->threads))
    for (i = 0; i < (long long)c->sample; ++i) {
        const uint32_t two[2] = {c->ids[i] / 2u * 2, c->ids[i] / 2u * 2 + 1};
        c->ids[i] = ttei_nearest_tried(&c->near, 2, two, c->y + (size_t)i * c->leading);
    }
}

/* One step of Lloyd's iteration: ids to means. A point that no row is near to becomes a row. */
static void ttei_cluster_means(ttei_cluster *c, size_t points)
{
    size_t i, j, k;
    memset(c->sums, 0, points * c->leading * sizeof *c->sums);
    memset(c->counts, 0, points * sizeof *c->counts);
    for (i = 0; i < c->sample; ++i) {
        double *sum = c->sums + c->ids[i] * c->leading;
        c->counts[c->ids[i]] += 1;
        for (j = 0; j < c->leading; ++j) sum[j] += (double)c->y[i * c->leading + j];
    }
    for (k = 0; k < points; ++k) {
        const float *row = c->y + (k * 2654435761u % c->sample) * c->leading;
        for (j = 0; j < c->leading; ++j)
            c->near.points[j * points + k] =
                c->counts[k] > 0 ? (float)(c->sums[k * c->leading + j] / c->counts[k]) : row[j];
    }
    ttei_cluster_points(c, points);
}

/* Twice as many points: each and a neighbour, a small step to alternating sides away from it. */
static void ttei_cluster_split(ttei_cluster *c, size_t points)
{
    size_t j, k;
    for (j = c->leading; j-- > 0;)  /* from the end, since rows of points grow in place */
        for (k = points; k-- > 0;) {
            const uint32_t hash = (uint32_t)(j * 40503u + k * 2654435761u);
            const float x = c->near.points[j * points + k],
                        step = (float)(0.3 * c->deviation[j]) * ((hash >> 15 & 1u) != 0 ? 1.0f : -1.0f);
            c->near.points[j * 2 * points + 2 * k + 1] = x + step;
            c->near.points[j * 2 * points + 2 * k] = x - step;
        }
    for (k = 0; k < c->sample; ++k) c->ids[k] = (uint16_t)(2 * c->ids[k]);
    ttei_cluster_points(c, 2 * points);
}

/* Coefficients y are scaled by level[j]^(-1/4), level = max(variance, water): halfway between lengths and bits.
   Bits that `points` centroids save over all rows, net of their own and of the rows' ids. With variances v before
   and u after, a centroid's coefficient of variance c is coded to a noise of about level * points / vocab, which adds to
   what is left for the rows to code:
       gain = vocab * sum over j of log2(max(v, D) / max(u + noise, D)) / 2 - vocab * id bits - points * centroid bits.
   A point is the mean of its own rows, so that of c rows' squares (c - 1) / c are seen. It will be the mean of the C =
   c s / sample near it among the s rows that are read: of theirs (C - 1) / C are left, of all others (C + 1) / C. Of a row
   alone at its point a sample says nothing: it counts from the mean of all. */
static double ttei_cluster_gain(const ttei_learning *l, const ttei_cluster *c, size_t points)
{
    const double vocab = (double)l->s->whole, n = (double)c->sample, part = (double)l->s->vocab / vocab;
    double gain = 0, *deviation = c->deviation;
    size_t i, j;
    memset(c->counts, 0, points * sizeof *c->counts);
    for (i = 0; i < c->sample; ++i) c->counts[c->ids[i]] += 1;
    for (j = 0; j < c->leading; ++j) deviation[j] = 0;
    for (i = 0; i < c->sample; ++i) {
        const int alone = c->counts[c->ids[i]] < 2 && n < vocab;
        const double rows = c->counts[c->ids[i]];
        const double times = alone || !(n < vocab) ? 1 : (rows + (1 - 2 * part) * n / (double)l->s->vocab) / (rows - 1);
        const float *y = c->y + i * c->leading, *point = c->across + c->ids[i] * c->leading;
        for (j = 0; j < c->leading; ++j) {
            const double d = (double)y[j] - (alone ? 0 : (double)point[j]);
            deviation[j] += times * d * d;
        }
    }
    for (j = 0; j < c->leading; ++j) {
        const double v = l->values[j], u = deviation[j] / n * sqrt(c->level[j]), d = c->water;
        const double saved = v > u ? v - u : 0, ideal = (u > d ? u : d) * (double)points / vocab;
        const double noise = saved < ideal ? saved : ideal;
        const double before = v > d ? v : d, after = u + noise > d ? u + noise : d;
        gain += 0.5 * vocab * log2(before / after);
        if (saved > noise && noise > 0) gain -= 0.5 * (double)points * log2(saved / noise);
        deviation[j] = sqrt(deviation[j] / n);
    }
    return gain - vocab * log2((double)points);
}

/* Axes of y, from the eigenvectors U in rows: S U' over the fourth roots of levels. */
static void ttei_cluster_axes(ttei_learning *l, const ttei_cluster *c)
{
    const size_t dim = l->dim;
    const double *u = l->work[0];
    size_t i, j;
    if (l->root != NULL) {
        ttei_square_product(dim, l->work[0], l->root, l->work[1]);
        u = l->work[1];
    }
    for (j = 0; j < dim; ++j) {
        const double weight = l->values[j] > 0 ? 1 / sqrt(sqrt(c->level[j])) : 0;  /* no variance: rounding alone */
        for (i = 0; i < dim; ++i) c->axes[i * dim + j] = c->back[j * dim + i] = (float)(u[j * dim + i] * weight);
    }
}

/* The sample: groups of 16 rows, evenly over the table. */
static tte_status ttei_cluster_sample(ttei_learning *l, const ttei_cluster *c)
{
    const ttei_settings *s = l->s;
    const size_t group = c->sample < s->vocab ? 16 : l->block_rows;
    size_t done, count;
    for (done = 0; done < c->sample; done += count) {
        size_t first = done;
        tte_status status;
        count = ttei_min(group, c->sample - done);
        if (c->sample < s->vocab)
            first = ttei_min((size_t)((double)done / (double)c->sample * (double)s->vocab), s->vocab - count);
        status = ttei_fetch(s, l->exponent, first, count, l->rows);
        if (status != TTE_OK) return status;
        ttei_cluster_project(l, c, count, l->rows, c->y + done * c->leading);
    }
    return TTE_OK;
}

/* The best number of points, 2^b, in c->near; found by splitting [LBG80]. Rows choose between the halves of their point
   twice, then six times among its neighbours. A number must gain two in a hundred more than a smaller one: gains are seen
   a little high, since classes take a part of them, too, and scores of points take a reader's time. The search ends when
   three numbers of points were no better than the best, and the last lost much: points on a few long rows would promise
   a gain that they do not keep; or when six in a row fell, as without clusters. */
static size_t ttei_cluster_search(const ttei_learning *l, ttei_cluster *c)
{
    size_t points = 1, chosen = 1;
    const double much = 0.01 * (double)l->s->whole * (double)l->dim;
    double most = 0, gain = 0, before;
    int turn, falls = 0, worse = 0;
    memset(c->ids, 0, c->sample * sizeof *c->ids);
    ttei_cluster_means(c, 1);
    (void)ttei_cluster_gain(l, c, 1);
    while (2 * points <= c->most && (worse < 3 || (gain > most - much && falls < 6))) {
        ttei_cluster_split(c, points);
        points *= 2;
        for (turn = 0; turn < 8; ++turn) {
            if (turn < 2) ttei_cluster_choose(c);
            else ttei_cluster_assign(c);
            ttei_cluster_means(c, points);
        }
        ttei_cluster_assign(c);
        before = gain;
        gain = ttei_cluster_gain(l, c, points);
        falls = gain < before ? falls + 1 : 0;
        ++worse;
        if (gain > 1.02 * most) {
            most = gain;
            chosen = points;
            worse = 0;
            memcpy(c->best, c->near.points, points * c->leading * sizeof *c->best);
        }
    }
    if (chosen == 1) return 1;
    memcpy(c->near.points, c->best, chosen * c->leading * sizeof *c->best);
    ttei_cluster_points(c, chosen);
    return chosen;
}

/* What is known of centroids: the means of the rows nearest to each point, less the mean of all. */
typedef struct ttei_centers {
    size_t count;
    double *sums;               /* count x dim                                                            */
    double *weights;            /* count: part of all                                                      */
    float *rows;                /* count x dim                                                            */
} ttei_centers;

/* Directions of the points for rows in place of y: d = y axes', so that <row, d> is the product of both y. With `follow`
   points are the centers, in all columns, else what the search found, in the leading ones. */
static void ttei_centers_points(const ttei_learning *l, int follow, const ttei_centers *centers, ttei_cluster *c,
                                float *directions, float *lengths)
{
    const size_t dim = l->dim, n = centers->count, columns = follow ? dim : c->leading;
    size_t first, count, i, j;
    for (first = 0; first < n; first += count) {
        const float *y = follow ? l->rows : c->across + first * c->leading;
        count = ttei_min(l->block_rows, n - first);
        if (follow) ttei_product(count, dim, dim, centers->rows + first * dim, dim, 1, c->axes, dim, l->rows, dim);
        ttei_product(count, columns, dim, y, columns, 1, c->back, dim, directions + first * dim, dim);
        for (i = 0; i < count; ++i) {
            lengths[first + i] = ttei_unfused_dot(columns, y + i * columns, y + i * columns) / 2;
            for (j = 0; j < c->leading; ++j) c->near.points[j * n + first + i] = y[i * columns + j];
        }
    }
    ttei_half_squares(c->leading, n, c->near.points, c->near.halves);
    c->near.all = dim;
    c->near.directions = directions;
    c->near.lengths = lengths;
}

/* All rows to their nearest points, and the means of these rows. */
static tte_status ttei_centers_pass(ttei_learning *l, const ttei_cluster *c, ttei_centers *centers)
{
    const ttei_settings *s = l->s;
    const size_t dim = l->dim;
    size_t first = 0, count = 0, i, j, k;
    tte_status status;
    memset(centers->sums, 0, centers->count * dim * sizeof *centers->sums);
    memset(centers->weights, 0, centers->count * sizeof *centers->weights);
    while ((status = ttei_pass_next(l, l->exponent, &first, &count)) == TTE_OK && count > 0) {
        const long long tiles = (long long)((count + TTEI_ROWS_TILE - 1) / TTEI_ROWS_TILE);
        long long tile;
        ttei_cluster_project(l, c, count, l->rows, c->y);
        TTEI_OPENMP(omp parallel for schedule(dynamic) num_threads(c->threads))
        for (tile = 0; tile < tiles; ++tile) {
            const size_t at = (size_t)tile * TTEI_ROWS_TILE;
            ttei_nearest(&c->near, ttei_min(TTEI_ROWS_TILE, count - at), c->y + at * c->leading, l->rows + at * dim,
                         c->scores + ttei_thread() * TTEI_ROWS_TILE * c->most, c->ids + at);
        }
        for (i = 0; i < count; ++i) {
            const double weight = (double)ttei_row_weight(s, first + i) / l->weight_sum;
            double *sum = centers->sums + c->ids[i] * dim;
            centers->weights[c->ids[i]] += weight;
            for (j = 0; j < dim; ++j) sum[j] += weight * (double)l->rows[i * dim + j];
        }
    }
    for (k = 0; k < centers->count; ++k)
        for (j = 0; j < dim; ++j)
            centers->rows[k * dim + j] =
                centers->weights[k] > 0 ? (float)(centers->sums[k * dim + j] / centers->weights[k]) : 0;
    return status;
}

/* Points at most: a power of two that scores of one query, the sample and the effort allow. */
static size_t ttei_cluster_most(const ttei_learning *l)
{
    const ttei_settings *s = l->s;
    size_t limit = ttei_min(l->limit_centroids, ttei_min(8 * l->dim + 256, s->vocab / 12)), most = 1;
    if (s->o.effort < 5) limit = ttei_min(limit, (size_t)64 << 2 * (s->o.effort / 2));
    while (2 * most <= limit && most < 4096) most *= 2;
    return most;
}

/* Centroids, from mean, covariance, eigenvectors in work[0] and the level of water. Where there are several work[0]
   and values become the spectrum of the covariance of what they leave. `block` is the caller's to free. */
static tte_status ttei_learn_centroids(ttei_learning *l, double water, ttei_centers *centers, void **block)
{
    const size_t dim = l->dim;
    ttei_carve carve = ttei_carve_begin(NULL), kept = ttei_carve_begin(NULL), passing = ttei_carve_begin(NULL);
    float *directions = NULL, *lengths = NULL;
    ttei_cluster c;
    const int turns = (l->s->o.effort + 2) / 2;
    size_t i, j;
    int turn;
    tte_status status;
    memset(&c, 0, sizeof c);
    centers->count = 1;
    c.leading = ttei_min(dim, TTEI_NEAR);
    c.most = ttei_cluster_most(l);
    c.sample = ttei_min(l->s->vocab, l->s->o.effort < 5 ? TTEI_SAMPLE / 4 : TTEI_SAMPLE);
    c.threads = ttei_thread_count();
    while (c.leading > 0 && !(l->values[c.leading - 1] > 0)) --c.leading;
    if (c.most == 1 || c.leading == 0) return TTE_OK;
    do ttei_cluster_carve(l, &carve, &c);
    while (ttei_carve_again(&carve));
    if (carve.base == NULL) return ttei_carve_status(&carve);
    c.water = water;
    for (j = 0; j < dim; ++j) c.level[j] = l->values[j] > water ? l->values[j] : water;
    ttei_cluster_axes(l, &c);
    status = ttei_cluster_sample(l, &c);
    if (status == TTE_OK) centers->count = ttei_cluster_search(l, &c);
    if (status == TTE_OK && centers->count > 1) {
        do {
            centers->sums = (double *)ttei_take(&kept, ttei_mul(centers->count, dim), sizeof(double));
            centers->weights = (double *)ttei_take(&kept, centers->count, sizeof(double));
            centers->rows = (float *)ttei_take(&kept, ttei_mul(centers->count, dim), sizeof(float));
        } while (ttei_carve_again(&kept));
        *block = kept.base;
        status = ttei_carve_status(&kept);
    }
    if (status == TTE_OK && centers->count > 1) {
        do {
            directions = (float *)ttei_take(&passing, ttei_mul(centers->count, dim), sizeof(float));
            lengths = (float *)ttei_take(&passing, centers->count, sizeof(float));
        } while (ttei_carve_again(&passing));
        status = ttei_carve_status(&passing);
    }
    /* The points of the sample, then Lloyd's iteration [LBG80] over all rows and in all columns. */
    for (turn = 0; turn < turns && centers->count > 1 && status == TTE_OK; ++turn) {
        ttei_next_part(&l->progress, 0.1 + 0.1 * (turn + 1) / turns);
        ttei_centers_points(l, turn > 0, centers, &c, directions, lengths);
        status = ttei_centers_pass(l, &c, centers);
    }
    ttei_drop(passing.base);
    TT_EMBED_FREE(carve.base);
    if (status != TTE_OK || centers->count == 1) return status;
    memcpy(l->work[0], l->second, dim * dim * sizeof *l->second);
    memset(l->work[1], 0, dim * dim * sizeof *l->work[1]);
    for (i = 0; i < centers->count; i += 64) {
        const size_t now = ttei_min(64, centers->count - i);
        float weight[64];
        for (j = 0; j < now; ++j) weight[j] = (float)centers->weights[i + j];
        ttei_gram_add(now, dim, centers->rows + i * dim, weight, l->work[1]);
    }
    ttei_mirror(dim, l->work[1]);
    /* a quarter of what the centroids take away stays, so that the basis has their directions, too */
    for (i = 0; i < dim * dim; ++i) l->work[0][i] -= 0.75 * l->work[1][i];
    return ttei_learn_spectrum(l);
}

/* ---- basis and centroids, coded --------------------------------------------------------------------------- */

/* The sections that all rows share, as bytes. */
typedef struct ttei_shared {
    const unsigned char *classes, *basis, *centroids;
    size_t classes_size, basis_size, centroids_size;
    unsigned char *block;       /* where they lie while an image is made: classes, basis, centroids        */
} ttei_shared;

/* The trellis for records, a small one for quick trials, and what each thread needs to search them. */
typedef struct ttei_coder {
    ttei_trellis trellis, quick;
    ttei_path *paths, *quick_paths;
    float *targets;             /* dim + 2 for each thread                                                 */
    int16_t *codes;             /* 2 (dim + 2) for each thread                                             */
    unsigned char *records;     /* 2 dim + 32 for each thread                                              */
    size_t dim;
    int threads;
    void *block;
} ttei_coder;

static tte_status ttei_coder_begin(ttei_coder *coder, int state_bits, int effort, size_t dim)
{
    /* of the small trellis; more of them tell better which scale suits a row */
    const int quick_bits = (int)ttei_min((size_t)state_bits, effort < 6 ? 8 : effort < 7 ? 10 : 12);
    ttei_carve carve = ttei_carve_begin(NULL);
    int16_t *codes, *quick;
    int i;
    coder->dim = dim;
    coder->threads = ttei_thread_count();
    do {
        const size_t threads = (size_t)coder->threads;
        codes = (int16_t *)ttei_take(&carve, (size_t)TTEI_CODE_TABLES << state_bits, sizeof *codes);
        quick = (int16_t *)ttei_take(&carve, (size_t)TTEI_CODE_TABLES << quick_bits, sizeof *quick);
        coder->paths = (ttei_path *)ttei_take(&carve, threads, sizeof(ttei_path));
        coder->quick_paths = (ttei_path *)ttei_take(&carve, threads, sizeof(ttei_path));
        coder->targets = (float *)ttei_take(&carve, ttei_mul(threads, dim + 2), sizeof(float));
        coder->codes = (int16_t *)ttei_take(&carve, ttei_mul(threads, 2 * (dim + 2)), sizeof(int16_t));
        coder->records = (unsigned char *)ttei_take(&carve, ttei_mul(threads, 2 * dim + 32), 1);
        for (i = 0; i < coder->threads; ++i) {
            ttei_path unused;
            ttei_path_carve(state_bits, dim, &carve, carve.base != NULL ? &coder->paths[i] : &unused);
            ttei_path_carve(quick_bits, dim, &carve, carve.base != NULL ? &coder->quick_paths[i] : &unused);
        }
    } while (ttei_carve_again(&carve));
    coder->block = carve.base;
    if (carve.base == NULL) return ttei_carve_status(&carve);
    ttei_trellis_init(state_bits, codes, &coder->trellis);
    ttei_trellis_init(quick_bits, quick, &coder->quick);
    coder->trellis.reach = effort < 7 ? TTEI_REACH : TTEI_REACH_MAX;
    return TTE_OK;
}

/* A positive number to the nearest bfloat16; never to zero or infinity. */
static uint32_t ttei_bf16_encode(double x)
{
    return (ttei_bits_of((float)(x < 1e-37 ? 1e-37 : x > 1e37 ? 1e37 : x)) + 0x8000u) >> 16;
}

/* The byte of the nearest spread. */
static unsigned ttei_spread_encode(double spread)
{
    const double x = spread > 0 ? floor(8 * log2(spread) + 0.5) + 128 : 0;
    return x > 0 ? x < 255 ? (unsigned)x : 255u : 0u;
}

/* A rate byte near `bits` bits for a number that is coded once and used often: trellis up to 8 bits, then plain. */
static int ttei_rate_near(double bits, size_t dim)
{
    int i, best = 2;
    if (bits > 8.25 || dim < 16) {
        const double plain = ceil(bits + (dim < 16 ? 1.5 : 0.5));
        return TTEI_PLAIN + (plain > 2 ? plain < 14 ? (int)plain : 14 : 2);
    }
    for (i = 2; i < TTEI_RATES; ++i)
        if (fabs(ttei_gauss_bits(i) - bits) < fabs(ttei_gauss_bits(best) - bits)) best = i;
    return ttei_rates[best];
}

static int ttei_rate_index(int rate)
{
    int i = 1;
    while (ttei_rates[i] != rate) ++i;
    return i;
}

/* The step of the trellis for n numbers of squares `sum`: what suits Gaussian ones, times x = 2^(i/4) for the least of what
   was measured of wider steps, D (1 + 1.4 (x - 1)^2) sum, and what numbers beyond the largest code lose. A row of the basis
   may be nearly a unit vector, where all columns but one are small. */
static double ttei_basis_step(size_t n, const float *row, double sum, int rate, int state_bits)
{
    const int i = ttei_rate_index(rate);
    const double step = sqrt(sum / (double)n) * ttei_gauss_spread(i, state_bits), top = (double)ttei_largest(n, row);
    double best = 1, least = 0;
    int quarter;
    for (quarter = 0; quarter < 64; ++quarter) {  /* x < 50: top^2 <= sum, and n is at most 16,384 */
        const double x = exp2(0.25 * quarter);
        double error = ttei_gauss_error(i, state_bits) * (1 + 1.4 * (x - 1) * (x - 1)) * sum;
        size_t j;
        for (j = 0; j < n; ++j) {
            const double beyond = fabs((double)row[j]) - 510 * x * step;
            if (beyond > 0) error += beyond * beyond;
        }
        if (quarter == 0 || error < least) {
            least = error;
            best = x;
        }
        if (!(510 * x * step < top)) break;
    }
    return best * step;
}

/* One row of the basis: its scale and codes to bytes, and what a reader makes of them back to `row`. */
static void ttei_basis_row(const ttei_coder *coder, size_t thread, size_t dim, int rate, float *row,
                           unsigned char *scale_bytes, unsigned char *record)
{
    float *target = coder->targets + thread * (coder->dim + 2);
    int16_t *codes = coder->codes + thread * 2 * (coder->dim + 2);
    const int plain = rate >= TTEI_PLAIN;
    double sum = 0, step;
    float scale;
    ttei_run run;
    size_t i;
    for (i = 0; i < dim; ++i) sum += (double)row[i] * (double)row[i];
    step = plain ? (double)ttei_largest(dim, row) / (ldexp(1, rate - TTEI_PLAIN) - 1)
                 : ttei_basis_step(dim, row, sum, rate, coder->trellis.bits);
    ttei_put16(scale_bytes, ttei_bf16_encode(plain ? step * 1.004 : step));
    scale = ttei_get_bf16(scale_bytes);
    for (i = 0; i < dim; ++i) target[i] = row[i] / scale;
    target[dim] = 0;
    run.rate = rate;
    run.count = rate < TTEI_PLAIN && rate % 2 != 0 ? dim + dim % 2 : dim;
    run.spread = 1;
    ttei_record_encode(&coder->trellis, &coder->paths[thread], &run, 1, target, record, codes);
    for (i = 0; i < dim; ++i) row[i] = scale * (float)codes[i];
}

/* What the basis is to be: eigenvectors in rows of work[0], lengths in values. */
typedef struct ttei_plan_basis {
    size_t rank;
    double more;                /* bits above what is right to first order                                */
    int has_mean, *rates;       /* of has_mean + rank rows                                                */
} ttei_plan_basis;

/* Rows of the basis and their rates. With D the water level and f(x) = x - D - D ln(x/D) what a coefficient of
   variance x > D gains a row, in units of the error, when it gets its bits at the going price of 2 ln 2 D a bit,
   basis row j is worth its dim * b_j bits where vocab times the mean of f(e v_j) over row energies e exceeds their price;
   e is taken as log-normal, from `spread`, the standard deviation of ln e.
   Noise of relative size 2^-2b in basis row j turns, by way of the dual, into a white noise of variance v_j 2^-2b / dim
   in the coefficients, which costs each of them v_j 2^-2b / (2 ln 2 dim max(v_k, D)) bits a row. The sum of bits is
   least at 2^2b = v_j (vocab / dim) h, h the mean over the dim coefficients of 1 / max(v_k, D). That is to first order; rows
   that are no longer orthogonal cost more: plan->more, see ttei_learn_basis. With `keep` the rank stays. */
static void ttei_plan_basis_rates(const ttei_learning *l, double water, double spread, int keep, ttei_plan_basis *plan)
{
    static const double point[5] = {-1.7, -0.8, 0, 0.8, 1.7}, part[5] = {0.1, 0.24, 0.32, 0.24, 0.1};
    const double vocab = (double)l->s->whole, dim = (double)l->dim;
    double harmonic = 0, mean2 = 0, most = 0;
    size_t j, limit = keep ? plan->rank : ttei_min(l->dim, l->limit_rank);
    int i;
    for (j = 0; j < l->dim; ++j) harmonic += 1 / (l->values[j] > water ? l->values[j] : water) / dim;
    for (j = 0; j < l->dim; ++j) mean2 += l->first[j] * l->first[j] / dim;
    for (plan->rank = 0; plan->rank < limit; ++plan->rank) {
        const double v = l->values[plan->rank];
        double bits = 0.5 * log2(v * harmonic * vocab / dim) + plan->more, gain = 0;
        if (!(v > 0)) break;
        if (bits < 1) bits = 1;
        for (i = 0; i < 5; ++i) {
            const double x = v / water * exp(spread * point[i] - 0.5 * spread * spread);
            if (x > 1) gain += part[i] * (x - 1 - log(x));
        }
        if (!keep && vocab * gain < 2 * 0.6931 * dim * bits) break;
        plan->rates[1 + plan->rank] = ttei_rate_near(bits, l->dim);
        if (bits > most) most = bits;
    }
    plan->has_mean = mean2 > 0 && l->limit_centroids > 0;
    plan->rates[0] = ttei_rate_near(0.5 * log2(mean2 * harmonic * vocab) + 1, l->dim);
    if (plan->rates[0] < TTEI_PLAIN + 8) plan->rates[0] = TTEI_PLAIN + 8;
}

static size_t ttei_plan_basis_bytes(const ttei_learning *l, const ttei_plan_basis *plan)
{
    const size_t first = plan->has_mean ? 0 : 1;
    size_t j, runs = 0, bytes = 1;
    for (j = first; j <= plan->rank; ++j) {
        if (j == first || plan->rates[j] != plan->rates[j - 1]) ++runs;
        bytes += 2 + ttei_basis_row_bytes(plan->rates[j], l->dim);
    }
    return bytes + TTEI_RUN_BYTES * runs;
}

/* Section 4, and the basis as readers see it, to the model: rows of `axes` by the roots of their variances. */
static void ttei_basis_write(const ttei_learning *l, const ttei_coder *coder, const ttei_plan_basis *plan,
                             const double *axes, ttei_model *m, unsigned char *p)
{
    const size_t dim = l->dim, first = plan->has_mean ? 0 : 1, rows = plan->rank + 1 - first;
    unsigned char *head = p++, *scales, *record;
    size_t j, at = first;
    int n;
    *head = 0;
    for (j = first + 1; j <= plan->rank + 1; ++j)
        if (j == plan->rank + 1 || plan->rates[j] != plan->rates[at]) {
            if (rows == 0) break;
            p[0] = (unsigned char)plan->rates[at];
            ttei_put16(p + 1, (uint32_t)(j - at));
            p[3] = 0;
            p += TTEI_RUN_BYTES;
            ++*head;
            at = j;
        }
    scales = p;
    record = p + 2 * rows;
    TTEI_OPENMP(omp parallel for schedule(dynamic, 1) num_threads(coder->threads))
    for (n = 0; n < (int)rows; ++n) {
        const size_t of = first + (size_t)n;
        float *row = of == 0 ? m->mean : m->basis + (of - 1) * dim;
        size_t i, before = 0;
        for (i = first; i < of; ++i) before += ttei_basis_row_bytes(plan->rates[i], dim);
        for (i = 0; i < dim; ++i)
            row[i] = (float)(of == 0 ? l->first[i] : axes[(of - 1) * dim + i] * sqrt(l->values[of - 1]));
        ttei_basis_row(coder, ttei_thread(), dim, plan->rates[of], row, scales + 2 * n, record + before);
    }
}

/* Bits a row that the rounding of the basis costs. A row is y A, the y_k of unit variance and not correlated, A the dim rows
   that were asked for; its coefficients z = y A dual have variances w_j, whose sum of log2(max(w_j, D) / max(v_j, D)) / 2
   that is. `variance` has room for the rank. */
static double ttei_basis_loss(const ttei_learning *l, const ttei_model *m, const double *axes, double *variance)
{
    const size_t dim = l->dim, most = l->block_rows / 2;
    const double water = (double)m->water;
    float *a = l->rows, *z = l->rows + most * dim;
    double loss = 0;
    size_t first, count, i, j;
    for (j = 0; j < m->rank; ++j) variance[j] = 0;
    for (first = 0; first < dim; first += count) {
        count = ttei_min(most, dim - first);
        for (i = 0; i < count; ++i)
            for (j = 0; j < dim; ++j)
                a[i * dim + j] = (float)(axes[(first + i) * dim + j] * sqrt(l->values[first + i]));
        ttei_product(count, dim, m->rank, a, dim, 1, m->dual, m->rank, z, m->rank);
        for (i = 0; i < count; ++i)
            for (j = 0; j < m->rank; ++j) variance[j] += (double)z[i * m->rank + j] * (double)z[i * m->rank + j];
    }
    for (j = 0; j < m->rank; ++j) {
        const double w = variance[j] * (double)m->energy[j], v = l->values[j];
        loss += 0.5 * log2((w > water ? w : water) / (v > water ? v : water));
    }
    return loss;
}

/* The basis and its dual. Chance may round many rows of few bits to a matrix that is nearly singular; as long as that costs
   the rows more than half a bit more for each entry would, there is half a bit more. 0.7 bits was best on four large tables. */
static tte_status ttei_learn_basis(const ttei_learning *l, const ttei_coder *coder, ttei_plan_basis *plan, ttei_model *m,
                                   double *variance, unsigned char *p)
{
    const double step = 0.5, vocab = (double)l->s->whole, entries = (double)plan->rank * (double)l->dim;
    const double *axes = l->work[0];
    double least = 1e300;
    if (l->inverse != NULL) {
        ttei_square_product(l->dim, l->work[0], l->inverse, l->work[1]);
        axes = l->work[1];
    }
    for (;;) {
        double loss;
        tte_status status;
        ttei_plan_basis_rates(l, (double)m->water, 0.7, 1, plan);
        ttei_basis_write(l, coder, plan, axes, m, p);
        status = ttei_model_dual(m);
        if (status != TTE_OK && (status != TTE_ERR_CONVERGENCE || plan->more > 8)) return status;
        loss = vocab * (status == TTE_OK ? ttei_basis_loss(l, m, axes, variance) : 1e9);
        if (loss + 8 * (double)ttei_plan_basis_bytes(l, plan) >= least) break;
        least = loss + 8 * (double)ttei_plan_basis_bytes(l, plan);
        if (!(loss > step * entries)) return TTE_OK;
        plan->more += step;
    }
    plan->more -= step;
    ttei_plan_basis_rates(l, (double)m->water, 0.7, 1, plan);
    ttei_basis_write(l, coder, plan, axes, m, p);
    return ttei_model_dual(m);
}

/* A class: level and scale, then its runs, to bytes. */
static unsigned char *ttei_class_write(const ttei_class *c, unsigned char *p)
{
    size_t i;
    ttei_put16(p, (uint32_t)c->level);
    ttei_put16(p + 2, ttei_bf16_encode((double)c->scale));
    p[4] = (unsigned char)c->run_count;
    p += TTEI_CLASS_HEAD;
    for (i = 0; i < c->run_count; ++i, p += TTEI_RUN_BYTES) {
        p[0] = (unsigned char)c->runs[i].rate;
        ttei_put16(p + 1, (uint32_t)c->runs[i].count);
        p[3] = (unsigned char)ttei_spread_encode((double)c->runs[i].spread);
    }
    return p;
}

/* A class from its bytes. */
static const unsigned char *ttei_class_read(const unsigned char *p, ttei_class *c)
{
    size_t i;
    c->level = (int)ttei_get16(p);
    c->scale = ttei_get_bf16(p + 2);
    c->run_count = p[4];
    c->bytes = ttei_class_record(p);
    p += TTEI_CLASS_HEAD;
    for (i = 0; i < c->run_count; ++i, p += TTEI_RUN_BYTES) c->runs[i] = ttei_run_read(p);
    return p;
}

/* Coefficients get their bits in groups: of eight, so that vectors of a reader are full, or of two where there are few and
   among the first ones, whose variances fall fastest. Where group g begins; the groups of a rank. */
static size_t ttei_group_at(size_t rank, size_t g) { return ttei_min(rank, rank < 256 || g < 4 ? 2 * g : 8 * (g - 3)); }
static size_t ttei_group_size(size_t rank, size_t g) { return ttei_group_at(rank, g + 1) - ttei_group_at(rank, g); }
static size_t ttei_groups(size_t rank) { return rank < 256 ? (rank + 1) / 2 : (rank + 7) / 8 + 3; }

/* Groups of coefficients with their rates and spreads become runs: groups of one rate that follow each
   other are one run where their spreads are alike, the more different ones the fewer runs are to be had; where rates
   change too often for that, a run takes in what follows at higher rates. A run of the
   trellis has the root of the mean square of its spreads, one of plain codes the largest. Trailing zeros are no run.
   Returns the bytes of a record. */
static size_t ttei_class_runs(ttei_class *c, size_t rank, const unsigned char *rates, const double *spreads)
{
    const size_t groups = ttei_groups(rank);
    ttei_extent extent = {0, 0};
    double tolerance = 1.3;
    size_t g, last, kept, n;
    for (kept = groups; kept > 0 && rates[kept - 1] == 0;) --kept;
    for (;;) {
        c->run_count = 0;
        for (g = 0; g < kept; g = last) {
            double low = spreads[g], high = spreads[g];
            for (last = g + 1; last < kept; ++last) {
                const size_t end = ttei_group_at(rank, last + 1);
                if (rates[last] != rates[g] && !(tolerance >= 1e30 && rates[last] > rates[g] &&
                                                 (end % 2 == 0 || ttei_rates[rates[g]] % 2 == 0)))
                    break;
                low = spreads[last] < low ? spreads[last] : low;
                high = spreads[last] > high ? spreads[last] : high;
                if (high > tolerance * low && tolerance < 1e30) break;
            }
            if (c->run_count < TTEI_RUNS_MAX) {
                ttei_run *run = &c->runs[c->run_count];
                double sum = 0;
                run->rate = ttei_rates[rates[g]];
                run->count = ttei_group_at(rank, last) - ttei_group_at(rank, g);
                for (n = g; n < last; ++n)
                    sum += spreads[n] * spreads[n] * (double)ttei_group_size(rank, n) / (double)run->count;
                run->spread = ttei_spread(ttei_spread_encode(run->rate < TTEI_PLAIN ? sqrt(sum) : high * 1.04));
            }
            ++c->run_count;
        }
        if (c->run_count <= TTEI_RUNS_MAX) break;
        tolerance *= tolerance;
    }
    for (n = 0; n < c->run_count; ++n) ttei_extent_add(&extent, c->runs[n].rate, c->runs[n].count);
    c->bytes = ttei_extent_bytes(&extent);
    return c->bytes;
}

/* Variances x become the nearest falling sequence: neighbours that rise are replaced by their mean, again and again
   (pool adjacent violators). `sizes` has n numbers of room. */
static void ttei_fall(size_t n, double *x, size_t *sizes)
{
    size_t j, blocks = 0, i;
    for (j = 0; j < n; ++j) {
        x[blocks] = x[j];
        sizes[blocks] = 1;
        while (blocks > 0 && x[blocks - 1] < x[blocks]) {
            const double a = (double)sizes[blocks - 1], b = (double)sizes[blocks];
            x[blocks - 1] = (a * x[blocks - 1] + b * x[blocks]) / (a + b);
            sizes[blocks - 1] += sizes[blocks];
            --blocks;
        }
        ++blocks;
    }
    for (j = n; blocks-- > 0;)
        for (i = 0; i < sizes[blocks]; ++i) x[--j] = x[blocks];
}

/* Variances as means over their neighbourhoods, so that what chance makes of them does not cost runs. */
static void ttei_smooth(size_t n, double *x, double *room)
{
    const size_t reach = n >= 256 ? 24 : n >= 64 ? 3 : n >= 16 ? 1 : 0;
    size_t j, i;
    memcpy(room, x, n * sizeof *x);
    for (j = 0; j < n; ++j) {
        const size_t first = j > reach ? j - reach : 0, last = ttei_min(n, j + reach + 1);
        x[j] = 0;
        for (i = first; i < last; ++i) x[j] += room[i] / (double)(last - first);
    }
}

/* Which rates a group may have: of the trellis only, plain only (for records too short for a circle), or both. */
enum { TTEI_TRELLIS_ONLY, TTEI_PLAIN_ONLY, TTEI_BOTH };

/* The rate, as an index, that makes error + price * bits least; error[i] is that of rate i. */
static int ttei_rate_best(const double *error, double price, int may)
{
    const int first = may == TTEI_PLAIN_ONLY ? TTEI_RATES : 1, last = may == TTEI_TRELLIS_ONLY ? TTEI_RATES : TTEI_RATES_ALL;
    double least = error[0];
    int i, best = 0;
    for (i = first; i < last; ++i) {
        const double now = error[i] + price * ttei_gauss_bits(i);
        if (now < least) {
            least = now;
            best = i;
        }
    }
    return best;
}

/* The error of plain codes of rate number i that reach up to `top`: of spread top / (2^k - 1), uniform in a step. */
static double ttei_plain_error(int i, double top) { return top * top / 3 * exp2(-2 * ttei_gauss_bits(i)); }
static double ttei_plain_spread(int i, double top) { return top / (exp2(ttei_gauss_bits(i)) - 1); }

/* What codes mean: z_j = (code * (scale * spread)) + base_j, each rounded, as readers do it; base may be NULL: 0. */
TTEI_UNFUSED static void ttei_class_values(const ttei_class *c, float scale, const int16_t *codes, const float *base,
                                           size_t rank, float *z)
{
    TTEI_NO_FUSING
    size_t r, i, j = 0;
    for (r = 0; r < c->run_count; ++r) {
        const float step = scale * c->runs[r].spread;
        for (i = 0; i < c->runs[r].count; ++i, ++j) {
            const float value = (float)codes[j] * step;
            z[j] = base != NULL ? base[j] + value : value;
        }
    }
    for (; j < rank; ++j) z[j] = base != NULL ? base[j] : 0;
}

/* Coefficients z to a record of a class at a scale; values[j]: what readers make of it, plus base (NULL: 0). z and values
   may be the same. */
static void ttei_code_row(const ttei_coder *coder, size_t thread, const ttei_class *c, float scale, const float *z,
                          const float *base, unsigned char *record, float *values, size_t rank)
{
    float *target = coder->targets + thread * (coder->dim + 2);
    int16_t *codes = coder->codes + thread * 2 * (coder->dim + 2);
    size_t r, i, j = 0;
    for (r = 0; r < c->run_count; ++r) {
        const float step = scale * c->runs[r].spread, inverse = step > 0 ? 1 / step : 0;
        for (i = 0; i < c->runs[r].count; ++i, ++j) target[j] = z[j] * inverse;
    }
    ttei_record_encode(&coder->trellis, &coder->paths[thread], c->runs, c->run_count, target, record, codes);
    ttei_class_values(c, scale, codes, base, rank, values);
}

/* The error that a row's coefficients z would have at a scale: sum of energy_j (z_j - code_j step)^2 over those of its runs,
   found with the small trellis, whose steps are as much larger as suits fewer states. */
static double ttei_trial_error(const ttei_coder *coder, size_t thread, const ttei_class *c, float scale, const float *z,
                               const float *energy)
{
    float *target = coder->targets + thread * (coder->dim + 2), step[TTEI_RUNS_MAX] = {0};
    int16_t *codes = coder->codes + thread * 2 * (coder->dim + 2);
    double error = 0;
    size_t r, i, j;
    for (r = j = 0; r < c->run_count; ++r) {
        const int rate = c->runs[r].rate;
        float inverse;
        step[r] = scale * c->runs[r].spread;
        if (rate > 0 && rate < TTEI_PLAIN)
            step[r] *= (float)(ttei_gauss_spread(ttei_rate_index(rate), coder->quick.bits) /
                               ttei_gauss_spread(ttei_rate_index(rate), coder->trellis.bits));
        inverse = step[r] > 0 ? 1 / step[r] : 0;
        for (i = 0; i < c->runs[r].count; ++i, ++j) target[j] = z[j] * inverse;
    }
    ttei_record_encode(&coder->quick, &coder->quick_paths[thread], c->runs, c->run_count, target,
                       coder->records + thread * (2 * coder->dim + 32), codes);
    for (r = j = 0; r < c->run_count; ++r)
        for (i = 0; i < c->runs[r].count; ++i, ++j) {
            const double d = (double)z[j] - (double)((float)codes[j] * step[r]);
            error += (double)energy[j] * d * d;
        }
    return error;
}

/* The largest magnitude among coefficients first .. last - 1 of the centroids. */
static double ttei_centroid_top(const ttei_model *m, size_t first, size_t last)
{
    double top = 0;
    size_t j, k;
    for (j = first; j < last; ++j)
        for (k = 0; k < m->centroid_count; ++k)
            top = fabs((double)m->centroids[k * m->rank + j]) > top ? fabs((double)m->centroids[k * m->rank + j]) : top;
    return top;
}

/* Section 5 and the class of the centroids. With noise of variance n added to coefficient j by its centroid, all rows pay
   n / (2 ln 2 max(1, d_j)) bits for it; see ttei_cluster_gain. */
static void ttei_learn_centroid_codes(const ttei_learning *l, const ttei_coder *coder, const ttei_centers *centers,
                                      ttei_model *m, double *variance, double *spreads, size_t *sizes,
                                      unsigned char *rates,
                                      unsigned char *class_bytes, ttei_class *class_, unsigned char *records)
{
    const size_t rank = m->rank, groups = ttei_groups(rank);
    double error[TTEI_RATES_ALL], top;
    size_t j, k, g, halves = 0;
    long long number;
    int i;
    for (j = 0; j < rank; ++j) variance[j] = 0;
    ttei_product(centers->count, l->dim, rank, centers->rows, l->dim, 1, m->dual, rank, m->centroids, rank);
    for (k = 0; k < centers->count; ++k)
        for (j = 0; j < rank; ++j) {
            const double x = (double)m->centroids[k * rank + j];
            variance[j] += centers->weights[k] * x * x;
        }
    ttei_fall(rank, variance, sizes);
    for (g = 0; g < groups; ++g) {
        const size_t first = ttei_group_at(rank, g), last = ttei_group_at(rank, g + 1);
        double gain = 0;
        spreads[g] = 0;
        for (j = first; j < last; ++j) {
            const double d = m->energy[j] > 0 ? (double)m->water / (double)m->energy[j] : 1e30;
            gain += variance[j] / (d > 1 ? d : 1);
        }
        gain *= (double)l->s->whole / (double)centers->count / (double)(last - first);
        for (j = first; j < last; ++j) spreads[g] += variance[j] / (double)(last - first);
        top = rank < 16 ? ttei_centroid_top(m, first, last) : 0;  /* only plain codes look at it */
        for (i = 0; i < TTEI_RATES_ALL; ++i)
            error[i] = i < TTEI_RATES ? gain * ttei_gauss_error(i, coder->trellis.bits)
                       : spreads[g] > 0 ? gain * ttei_plain_error(i, top) / spreads[g] : 0;
        rates[g] = (unsigned char)ttei_rate_best(error, 2 * 0.6931, rank < 16 ? TTEI_PLAIN_ONLY : TTEI_TRELLIS_ONLY);
        if (rates[g] > 0 && (last - first) * ttei_half_bits(rates[g]) % 2 != 0) ++rates[g];
        halves += (last - first) * ttei_half_bits(rates[g]);
    }
    for (g = 0; halves < 32 && rank >= 16 && ttei_group_size(rank, g) > 1; ++g)  /* a circle has two bytes */
        if (rates[g] < 4) {
            halves += ttei_group_size(rank, g) * (4 - ttei_half_bits(rates[g]));
            rates[g] = 4;
        }
    for (g = 0; g < groups; ++g) {
        if (rates[g] >= TTEI_RATES)
            spreads[g] = ttei_plain_spread(rates[g], ttei_centroid_top(m, ttei_group_at(rank, g), ttei_group_at(rank, g + 1)));
        else
            spreads[g] = rates[g] > 0 ? sqrt(spreads[g]) * ttei_gauss_spread(rates[g], coder->trellis.bits) : 0;
    }
    class_->level = 0;
    class_->scale = 1;
    (void)ttei_class_runs(class_, rank, rates, spreads);
    (void)ttei_class_write(class_, class_bytes);
    (void)ttei_class_read(class_bytes, class_);
    TTEI_OPENMP(omp parallel for schedule(static) num_threads(coder->threads))
    for (number = 0; number < (long long)centers->count; ++number) {
        const size_t at = (size_t)number;
        ttei_code_row(coder, ttei_thread(), class_, class_->scale, m->centroids + at * rank, NULL,
                      records + at * class_->bytes, m->centroids + at * rank, rank);
    }
}

/* ---- classes: last pass before rows are coded -------------------------------------------------------------- */

/* What the last pass finds out about rows of each level. */
typedef struct ttei_census {
    double level[TTE_LEVELS];  /* rows of each level                                                      */
    double count[TTEI_BINS], mass[TTEI_BINS];    /* rows; sum of weight * energy                           */
    double log_energy[TTEI_BINS], log_square[TTEI_BINS];  /* sums of log2(energy) and its square           */
    double *shape;              /* TTEI_BINS x rank: sums of z^2 / energy; NULL: levels are all one wants  */
    double rows[2];             /* without outliers, and with; the same for the next two                   */
    double *excess[2];          /* TTEI_STRETCHES x rank: sums of what is left of z / energy^(1/2) beyond the
                                   reach of the trellis stretched by 2^(s/2), squared                     */
    double *top[2];             /* rank: the largest |z| / energy^(1/2)                                    */
} ttei_census;

/* Neighbouring bins become classes: joining two of n and m rows whose mean levels are d octaves apart costs rows bits, since
   a rate that is off by r wastes ln 2 r^2 bits of each of about `active` coefficients; a class costs its runs, and
   their number the bits of an id in each row. Greedy, from all bins on down to one class; the cheapest number of
   classes seen is taken. first[c] is the first bin of class c. Returns how many. Rows with outliers are far from others. */
static int ttei_census_classes(const ttei_census *census, double active, double vocab, int *first)
{
    int begin[TTEI_BINS], kept = 0, best = 1, n, i;
    double rows[TTEI_BINS], mean[TTEI_BINS], lost = 0, least = 1e300;
    for (i = 0; i < TTEI_BINS; ++i)
        if (census->count[i] > 0) {
            begin[kept] = i;
            rows[kept] = census->count[i];
            mean[kept++] = 0.125 * i;
        }
    for (n = kept; n >= 1; --n) {
        const int bits = (int)ttei_bit_length((size_t)(n - 1));
        const double cost = lost + vocab * (n > 1 ? bits : 4) + 8 * 30.0 * n;
        int join = 0;
        double cheapest = 1e300;
        if (n <= 64 && cost < least) {
            least = cost;
            best = n;
            for (i = 0; i < n; ++i) first[i] = begin[i];
        }
        for (i = 0; i + 1 < n; ++i) {
            const double d = mean[i + 1] - mean[i];
            double loss = rows[i] * rows[i + 1] / (rows[i] + rows[i + 1]) * d * d;
            if (d > 1) loss += 16 * (d - 1) * rows[i + 1];  /* beyond the reach of gains */
            if (loss < cheapest) {
                cheapest = loss;
                join = i;
            }
        }
        if (n == 1) break;
        lost += 0.25 * 0.6931 * active * cheapest;
        mean[join] = (rows[join] * mean[join] + rows[join + 1] * mean[join + 1]) / (rows[join] + rows[join + 1]);
        rows[join] += rows[join + 1];
        for (i = join + 1; i + 1 < n; ++i) {
            begin[i] = begin[i + 1];
            rows[i] = rows[i + 1];
            mean[i] = mean[i + 1];
        }
    }
    for (i = 0; i < best; ++i)  /* the first with outliers, and the first without, begin where their levels do */
        if (i == 0 || (first[i] >= TTEI_BINS / 2 && first[i - 1] < TTEI_BINS / 2))
            first[i] = first[i] < TTEI_BINS / 2 ? 0 : TTEI_BINS / 2;
    return best;
}

/* Few rows with outliers say too little of where the next one has its own, and where there are many of them they are what is
   usual: in both cases they are rows like the others. */
static void ttei_census_join(ttei_census *census, size_t rank)
{
    const size_t half = TTEI_BINS / 2;
    size_t i, j;
    if (!(census->rows[1] > 0) || (census->rows[1] >= 32 && census->rows[1] <= census->rows[0] / 8)) return;
    census->rows[0] += census->rows[1];
    for (i = 0; i < TTE_LEVELS / 2; ++i) {
        census->level[i + TTE_LEVELS / 2] += census->level[i];
        census->level[i] = 0;
    }
    for (i = 0; i < half; ++i) {
        census->count[i + half] += census->count[i];
        census->mass[i + half] += census->mass[i];
        census->log_energy[i + half] += census->log_energy[i];
        census->log_square[i + half] += census->log_square[i];
        census->count[i] = 0;
        for (j = 0; j < rank; ++j) census->shape[(i + half) * rank + j] += census->shape[i * rank + j];
    }
    for (j = 0; j < TTEI_STRETCHES * rank; ++j) census->excess[0][j] += census->excess[1][j];
    for (j = 0; j < rank; ++j)
        if (census->top[1][j] > census->top[0][j]) census->top[0][j] = census->top[1][j];
}

/* Adds the coefficients of a row, times `inverse`. */
TTEI_CLONES TTEI_ROOTS static void ttei_census_row(ttei_census *census, size_t rank, int bin, int outliers, double inverse,
                                                   const float *z)
{
    TTEI_NO_FUSING
    double *shape = census->shape + (size_t)bin * rank, *top = census->top[outliers];
    size_t j;
    int stretch;
    for (j = 0; j < rank; ++j) {
        const double x = fabs((double)z[j]) * inverse;
        shape[j] += x * x;
        top[j] = x > top[j] ? x : top[j];
    }
    for (j = 0; j < rank; ++j) {
        const double x = fabs((double)z[j]) * inverse;
        double reach = 3.7;  /* standard deviations to the largest code integer, at common spreads */
        for (stretch = 0; stretch < TTEI_STRETCHES && x > reach; ++stretch) {
            census->excess[outliers][(size_t)stretch * rank + j] += (x - reach) * (x - reach);
            reach *= 1.41421356;
        }
    }
}

/* The last pass before rows are coded, as they will be; also that of tte_count. */
static tte_status ttei_census_take(ttei_learning *l, const ttei_model *m, ttei_census *census)
{
    const ttei_settings *s = l->s;
    const size_t tiles = (l->block_rows + TTEI_ROWS_TILE - 1) / TTEI_ROWS_TILE;
    ttei_rows_tile *tile;
    size_t first = 0, count = 0, i;
    tte_status status;
    ttei_carve carve = ttei_carve_begin(NULL);
    do {
        ttei_rows_tile unused;
        tile = (ttei_rows_tile *)ttei_take(&carve, tiles, sizeof *tile);
        for (i = 0; i < tiles; ++i) ttei_tile_carve(m, &carve, tile == NULL ? &unused : &tile[i]);
    } while (ttei_carve_again(&carve));
    if (carve.base == NULL) return ttei_carve_status(&carve);
    while ((status = ttei_pass_next(l, l->exponent, &first, &count)) == TTE_OK && count > 0) {
        long long t;
    TTEI_OPENMP(omp parallel for schedule(dynamic, 1))
        for (t = 0; t < (long long)tiles; ++t) {
            const size_t at = (size_t)t * TTEI_ROWS_TILE;
            if (at < count)
                ttei_tile_analyze(m, ttei_min(TTEI_ROWS_TILE, count - at), l->rows + at * l->dim, &tile[t]);
        }
        for (i = 0; i < count; ++i) {
            const ttei_rows_tile *now = &tile[i / TTEI_ROWS_TILE];
            const double energy = now->energy[i % TTEI_ROWS_TILE];
            const double weight = (double)ttei_row_weight(s, first + i) / (double)m->usual_weight;
            const int outliers = now->outliers[i % TTEI_ROWS_TILE];
            const int level = ttei_row_level(weight, energy, outliers), bin = level / TTEI_FINE;
            census->level[level] += 1;
            if (census->shape == NULL) continue;
            census->count[bin] += 1;
            census->rows[outliers] += 1;
            census->mass[bin] += weight * energy;
            if (!(energy > 0)) continue;
            census->log_energy[bin] += log2(energy);
            census->log_square[bin] += log2(energy) * log2(energy);
            ttei_census_row(census, m->rank, bin, outliers, 1 / sqrt(energy), now->z + i % TTEI_ROWS_TILE * m->rank);
        }
    }
    TT_EMBED_FREE(carve.base);
    return status;
}

/* Classes while their rates are being settled. */
typedef struct ttei_allocation {
    size_t rank, groups;
    int count, first[65];
    double rows[65];
    double *spreads;            /* count x groups x TTEI_RATES_ALL: of code integers, beside the row's scale */
    double *errors;             /* the same: weighted error of a row's group at each rate                  */
    unsigned char *rates;       /* count x groups                                                          */
    unsigned char plain[65];    /* whether a class has plain codes only                                    */
} ttei_allocation;

/* Errors and spreads of one class: of the trellis e D 2^s + excess(s), s the stretch for which that is least, e the energy of the
   group's coefficients, so that outliers are reached where they matter more than fine steps; of plain codes up to the top. */
static void ttei_group_errors(const ttei_allocation *a, const ttei_census *census, const ttei_model *m, int c, double mass,
                              const double *variance)
{
    const int outliers = a->first[c] < TTEI_BINS / 2;
    size_t g, j;
    int i, s, far;
    for (g = 0; g < a->groups; ++g) {
        const size_t first = ttei_group_at(a->rank, g), last = ttei_group_at(a->rank, g + 1);
        double *error = a->errors + ((size_t)c * a->groups + g) * TTEI_RATES_ALL;
        double *spread = a->spreads + ((size_t)c * a->groups + g) * TTEI_RATES_ALL;
        double plain = 0, top = 0, sum = 0, mean = 0, excess[TTEI_STRETCHES] = {0};
        for (j = first; j < last; ++j) {
            const double energy = (double)m->energy[j];
            sum += energy * variance[j];
            plain += energy;
            mean += variance[j] / (double)(last - first);
            top = census->top[outliers][j] > top ? census->top[outliers][j] : top;
        }
        far = mean > 1.5 ? (int)(log2(mean) + 0.5) : 0;  /* what a class reaches anyway */
        for (j = first; j < last; ++j)
            for (s = 0; s + far < TTEI_STRETCHES; ++s)
                excess[s] += (double)m->energy[j] * census->excess[outliers][(size_t)(s + far) * a->rank + j] / census->rows[outliers];
        top *= 1.1;
        error[0] = mass * sum;
        spread[0] = 0;
        for (i = 1; i < TTEI_RATES_ALL; ++i) {
            if (i >= TTEI_RATES) {
                error[i] = mass * plain * ttei_plain_error(i, top);
                spread[i] = ttei_plain_spread(i, top);
                continue;
            }
            for (s = 0; s < TTEI_STRETCHES; ++s) {
                const double now = mass * (sum * ttei_gauss_error(i, m->state_bits) * exp2(s) + excess[s]);
                if (s > 0 && now >= error[i]) continue;
                error[i] = now;
                spread[i] = sqrt(mean) * ttei_gauss_spread(i, m->state_bits) * exp2(0.5 * s);
            }
        }
    }
}

/* Which rates group g of a class may have: plain codes come first in a record. */
static int ttei_may(const ttei_allocation *a, int c, size_t g)
{
    const unsigned char *rates = a->rates + (size_t)c * a->groups;
    if (a->rank < 16 || a->plain[c]) return TTEI_PLAIN_ONLY;
    return g == 0 || rates[g - 1] >= TTEI_RATES ? TTEI_BOTH : TTEI_TRELLIS_ONLY;
}

/* The next rate of a group, more bits and less error, a whole number of them; 0 where there is none. Plain codes stay so,
   for those behind them. */
static int ttei_next_rate(const ttei_allocation *a, int c, size_t g, const double *error)
{
    const size_t size = ttei_group_size(a->rank, g);
    const int now = a->rates[(size_t)c * a->groups + g], may = now >= TTEI_RATES ? TTEI_PLAIN_ONLY : ttei_may(a, c, g);
    int i, next = 0;
    for (i = may == TTEI_PLAIN_ONLY ? TTEI_RATES : 1; i < (may == TTEI_TRELLIS_ONLY ? TTEI_RATES : TTEI_RATES_ALL); ++i)
        if (ttei_half_bits(i) > ttei_half_bits(now) && size * ttei_half_bits(i) % 2 == 0 && error[i] < error[now] &&
            (next == 0 || ttei_half_bits(i) < ttei_half_bits(next)))
            next = i;
    return next;
}

/* Half bits of the trellis and of plain codes. Returns the bytes of a record. */
static size_t ttei_rates_bytes(const ttei_allocation *a, unsigned char *rates, size_t *halves)
{
    size_t g;
    halves[0] = halves[1] = 0;
    for (g = 0; g < a->groups; ++g)
        halves[rates[g] >= TTEI_RATES] += ttei_group_size(a->rank, g) * ttei_half_bits(rates[g]);
    return (halves[1] + 15) / 16 + (halves[0] + 15) / 16;
}

/* Upgrades groups until their bits fill `bytes`, the one that gains most a bit first. */
static void ttei_fill_bytes(const ttei_allocation *a, int c, size_t bytes)
{
    unsigned char *rates = a->rates + (size_t)c * a->groups;
    const double *errors = a->errors + (size_t)c * a->groups * TTEI_RATES_ALL;
    size_t halves[2], g;
    for (;;) {
        size_t found = a->groups;
        double best = 0;
        int rate = 0;
        (void)ttei_rates_bytes(a, rates, halves);
        for (g = 0; g < a->groups; ++g) {
            const double *error = errors + g * TTEI_RATES_ALL;
            const int next = ttei_next_rate(a, c, g, error), now = rates[g];
            const size_t size = ttei_group_size(a->rank, g);
            const size_t add = next > 0 ? size * (ttei_half_bits(next) - ttei_half_bits(now)) : 0;
            double value;
            if (next == 0 || halves[0] + halves[1] + add > 16 * bytes) continue;
            value = (error[now] - error[next]) / (double)add;
            if (value <= best) continue;
            best = value;
            found = g;
            rate = next;
        }
        if (found == a->groups) return;
        rates[found] = (unsigned char)rate;
    }
}

/* Rates of a class at a price of a bit. Returns the bytes of a record; *error: that of its rows, *circle: the bits of the
   trellis. A circle of N < 2 L bits fits in the states of one or two steps, so that hardly any choice is left: measured,
   the error grows by 6 (2 - N / L)^4. */
static size_t ttei_class_rates(const ttei_allocation *a, int c, double price, int state_bits, double *error,
                               size_t *circle)
{
    unsigned char *rates = a->rates + (size_t)c * a->groups;
    const double *errors = a->errors + (size_t)c * a->groups * TTEI_RATES_ALL;
    size_t g, halves[2], bytes;
    double more;
    for (g = 0; g < a->groups; ++g) {
        const size_t size = ttei_group_size(a->rank, g);
        rates[g] = (unsigned char)ttei_rate_best(errors + g * TTEI_RATES_ALL, price * (double)size, ttei_may(a, c, g));
        if (rates[g] > 0 && size * ttei_half_bits(rates[g]) % 2 != 0) ++rates[g];
    }
    bytes = ttei_rates_bytes(a, rates, halves);
    if (halves[0] > 0 && halves[0] < 32) bytes = (halves[1] + 15) / 16 + 2;
    if (bytes > 0) ttei_fill_bytes(a, c, bytes);
    bytes = ttei_rates_bytes(a, rates, halves);
    if (halves[0] > 0 && halves[0] <= 16) {  /* could not be filled */
        for (g = 0; g < a->groups; ++g)
            if (rates[g] < TTEI_RATES) rates[g] = 0;
        bytes = ttei_rates_bytes(a, rates, halves);
    }
    *circle = (halves[0] + 15) / 16 * 8;
    more = 2 - (double)*circle / (double)state_bits;
    for (g = 0, *error = 0; g < a->groups; ++g)
        *error += errors[g * TTEI_RATES_ALL + rates[g]] *
                  (rates[g] > 0 && rates[g] < TTEI_RATES && more > 0 ? 1 + 6 * more * more * more * more : 1);
    return bytes;
}

/* Rates at a price of a bit, of each class plain codes alone where they do better, and the bytes of all records. */
static double ttei_allocate(ttei_allocation *a, double price, int state_bits, size_t *bytes)
{
    double total = 0;
    int c;
    for (c = 0; c < a->count; ++c) {
        double error, least;
        size_t circle;
        a->plain[c] = 0;
        bytes[c] = ttei_class_rates(a, c, price, state_bits, &error, &circle);
        if (circle > 0 && circle < 2 * (size_t)state_bits) {
            least = error + price * 8 * (double)bytes[c];
            a->plain[c] = 1;
            bytes[c] = ttei_class_rates(a, c, price, state_bits, &error, &circle);
            if (error + price * 8 * (double)bytes[c] > least) {
                a->plain[c] = 0;
                bytes[c] = ttei_class_rates(a, c, price, state_bits, &error, &circle);
            }
        }
        total += a->rows[c] * (double)bytes[c];
    }
    return total;
}

/* Bytes that are left go to rows just below the border of a class that has more: borders move, a level at a time. */
static double ttei_move_borders(const ttei_allocation *a, const ttei_census *census, double left, const size_t *bytes,
                                ttei_class *classes)
{
    double used = 0;
    int c, moved = 1;
    while (moved) {
        moved = 0;
        for (c = 1; c < a->count; ++c) {
            const int level = classes[c].level - 1;
            double cost;
            if (bytes[c] <= bytes[c - 1] || level <= classes[c - 1].level || level + 1 == TTE_LEVELS / 2) continue;
            cost = (double)(bytes[c] - bytes[c - 1]) * census->level[level];
            if (used + cost > left) continue;
            classes[c].level = level;
            used += cost;
            moved = 1;
        }
    }
    return used;
}

static size_t ttei_rate_changes(const ttei_allocation *a, int c)
{
    const unsigned char *rates = a->rates + (size_t)c * a->groups;
    size_t g, changes = 0;
    for (g = 1; g < a->groups; ++g) changes += rates[g] != rates[g - 1];
    return changes;
}

/* Where borders cannot spend what is left, since records below and above are equally long: one class more, without rows as
   yet, like the last but a byte longer. Whether there is one. */
static int ttei_class_more(ttei_allocation *a, size_t *bytes, ttei_class *classes)
{
    const size_t c = (size_t)a->count, from = (c - 1) * a->groups, to = c * a->groups;
    size_t halves[2];
    if (c >= 64) return 0;
    memcpy(a->errors + to * TTEI_RATES_ALL, a->errors + from * TTEI_RATES_ALL, a->groups * TTEI_RATES_ALL * sizeof *a->errors);
    memcpy(a->spreads + to * TTEI_RATES_ALL, a->spreads + from * TTEI_RATES_ALL,
           a->groups * TTEI_RATES_ALL * sizeof *a->spreads);
    memcpy(a->rates + to, a->rates + from, a->groups);
    a->plain[c] = a->plain[c - 1];
    ttei_fill_bytes(a, a->count, bytes[c - 1] + 1);
    bytes[c] = ttei_rates_bytes(a, a->rates + to, halves);
    if (bytes[c - 1] == 0 || bytes[c] <= bytes[c - 1] || ttei_rate_changes(a, a->count) >= TTEI_RUNS_MAX) return 0;
    if (halves[0] > 0 && halves[0] <= 16) return 0;  /* no circle */
    a->rows[c] = 0;
    classes[c].scale = classes[c - 1].scale;
    classes[c].level = TTE_LEVELS;
    ++a->count;
    return 1;
}

/* Bytes of section 2. */
static double ttei_index_size(double vocab, int bits, double records)
{
    const double blocks = ceil(vocab / 128);
    int width = 0;
    while (records >= 1) {
        records /= 256;
        ++width;
    }
    return blocks * (width + 16.0 * bits);
}

/* Gains: the class's scale holds what most of its rows need; rows differ in energy within a class, all the more where weights
   chose it, and a row with an outlier wants a larger scale. Returns the bits of a gain. */
static int ttei_learn_gains(const ttei_census *census, const ttei_allocation *a, ttei_class *classes, float *gains)
{
    double rows = 0, square = 0, top = 0, deviation, ratio;
    int c, i, bits = 2;
    for (c = 0; c < a->count; ++c) {
        const int last = c + 1 < a->count ? a->first[c + 1] : TTEI_BINS;
        double n = 0, sum = 0, sum2 = 0;
        for (i = a->first[c]; i < last; ++i) {
            n += census->count[i];
            sum += census->log_energy[i];
            sum2 += census->log_square[i];
        }
        classes[c].scale = n > 0 ? (float)exp2(0.5 * sum / n) : 1;
        for (i = a->first[c]; i < last && n > 0; ++i)
            if (census->count[i] > 0 && 0.5 * (census->log_energy[i] / census->count[i] - sum / n) > top)
                top = 0.5 * (census->log_energy[i] / census->count[i] - sum / n);
        if (n > 0) square += 0.25 * (sum2 - sum * sum / n);
        rows += n;
    }
    deviation = rows > 0 && square > 0 ? sqrt(square / rows) : 0;  /* in octaves of scale */
    if (deviation > 0.3) bits = 3;
    ratio = 4 * deviation / (double)(1 << bits);
    if (ratio < 0.15) ratio = 0.15;
    for (i = 0; i < 1 << bits; ++i) gains[i] = (float)exp2(ratio * (i - 0.5 * ((1 << bits) - 1) + 0.4));
    top += 0.25;  /* the largest gain is for the largest row of a class */
    if (exp2(top) > 1.2 * (double)gains[(1 << bits) - 1]) gains[(1 << bits) - 1] = (float)exp2(top);
    return bits;
}

/* The variances of a class, smoothed or, `falling`, made to fall with the coefficients' place, and the errors that follow. */
static void ttei_class_errors(ttei_allocation *a, const ttei_census *census, const ttei_model *m, int c, int falling,
                              double *variance, double *room, size_t *sizes)
{
    const int last = c + 1 < a->count ? a->first[c + 1] : TTEI_BINS;
    double rows = 0, mass = 0, usual = 0;
    size_t j;
    int i;
    for (j = 0; j < a->rank; ++j) variance[j] = 0;
    for (i = a->first[c]; i < last; ++i) {
        rows += census->count[i];
        mass += census->mass[i];
        for (j = 0; j < a->rank; ++j) variance[j] += census->shape[(size_t)i * a->rank + j];
    }
    a->rows[c] = rows;
    /* as much as 16 rows of the usual shape; the next outlier may be in any coefficient */
    for (j = 0; j < a->rank && a->first[c] < TTEI_BINS / 2; ++j) usual += variance[j] / (rows * (double)a->rank);
    if (usual < 1) usual = 1;
    for (j = 0; j < a->rank; ++j)
        variance[j] = (variance[j] + 16 * usual) * (falling ? (double)m->energy[j] : 1) / (rows + 16);
    if (falling) ttei_fall(a->rank, variance, sizes);
    else ttei_smooth(a->rank, variance, room);
    for (j = 0; falling && j < a->rank; ++j) variance[j] = m->energy[j] > 0 ? variance[j] / (double)m->energy[j] : 0;
    ttei_group_errors(a, census, m, c, rows > 0 ? mass / rows : 0, variance);
}

/* Section 3 from the census: classes, then rates at the price that fits `bytes` for records and index (or, where `bytes` is 0,
   at the price that the water level stands for). *size: what records and index will take. */
static tte_status ttei_learn_classes(const ttei_learning *l, const ttei_census *census, double bytes,
                                     const unsigned char *centroid_class, size_t centroid_class_size, int centroid_bits,
                                     ttei_model *m, unsigned char *classes, size_t *classes_size, double *size)
{
    const size_t rank = m->rank;
    const double vocab = (double)l->s->vocab, active = l->s->o.ratio > 0 ? 24.0 * (double)l->dim / (double)l->s->o.ratio : 0;
    ttei_allocation a;
    ttei_carve carve = ttei_carve_begin(NULL);
    double *room, *variance;
    size_t *sizes, record[65] = {0}, g;
    unsigned char *p = classes, falling[65] = {0};
    double low, high = 0, total = 0;
    int c, i, bits, again;
    memset(&a, 0, sizeof a);
    a.rank = rank;
    a.groups = ttei_groups(rank);
    a.count = ttei_census_classes(census, active > 0 ? (active < (double)rank ? active : (double)rank) : 0.8 * (double)rank, vocab,
                                  a.first);
    do {
        const size_t groups = ttei_mul((size_t)a.count + 1, a.groups);  /* one for ttei_class_more */
        a.errors = (double *)ttei_take(&carve, ttei_mul(groups, TTEI_RATES_ALL), sizeof(double));
        a.spreads = (double *)ttei_take(&carve, ttei_mul(groups, TTEI_RATES_ALL), sizeof(double));
        variance = (double *)ttei_take(&carve, rank, sizeof(double));
        a.rates = (unsigned char *)ttei_take(&carve, groups, 1);
        room = (double *)ttei_take(&carve, rank, sizeof(double));
        sizes = (size_t *)ttei_take(&carve, rank, sizeof(size_t));
    } while (ttei_carve_again(&carve));
    if (carve.base == NULL) return ttei_carve_status(&carve);
    m->gain_bits = ttei_learn_gains(census, &a, m->classes, m->gains);
    bits = m->gain_bits + centroid_bits + (int)ttei_bit_length((size_t)(a.count - 1));
    for (c = 0; c < a.count; ++c) ttei_class_errors(&a, census, m, c, 0, variance, room, sizes);
    for (again = 1; again;) {
        low = -150;
        high = 150;
        for (i = 0; i < 60 && bytes > 0; ++i) {
            total = ttei_allocate(&a, exp2((low + high) / 2), m->state_bits, record);
            if (total + ttei_index_size(vocab, bits, total) > bytes) low = (low + high) / 2;
            else high = (low + high) / 2;
        }
        total = ttei_allocate(&a, bytes > 0 ? exp2(high) : 2 * 0.6931 * (double)m->water, m->state_bits, record);
        for (c = 0, again = 0; c < a.count; ++c)  /* too many runs: once more, with variances that fall */
            if (ttei_rate_changes(&a, c) >= TTEI_RUNS_MAX && !falling[c]) {
                ttei_class_errors(&a, census, m, c, 1, variance, room, sizes);
                falling[c] = (unsigned char)(again = 1);
            }
    }
    for (c = 0; c < a.count; ++c) m->classes[c].level = TTEI_FINE * a.first[c];
    for (i = 0; i < 2 && bytes > 0; ++i) {
        total += ttei_move_borders(&a, census, bytes - total - ttei_index_size(vocab, bits, total + vocab), record, m->classes);
        if (i > 0 || !(bytes - total - ttei_index_size(vocab, bits + 1, total + vocab) > 0.06 * vocab) ||
            !ttei_class_more(&a, record, m->classes))
            break;
        bits = m->gain_bits + centroid_bits + (int)ttei_bit_length((size_t)(a.count - 1));
    }
    m->class_count = a.count;
    *size = total + ttei_index_size(vocab, bits, total);

    for (i = 0; i < 1 << m->gain_bits; ++i, p += 2) {
        ttei_put16(p, ttei_bf16_encode((double)m->gains[i]));
        m->gains[i] = ttei_get_bf16(p);
    }
    for (c = 0; c < a.count; ++c) {
        unsigned char *start = p;
        for (g = 0; g < a.groups; ++g) {
            const size_t at = (size_t)c * a.groups + g;
            room[g] = a.spreads[at * TTEI_RATES_ALL + a.rates[at]];
        }
        (void)ttei_class_runs(&m->classes[c], rank, a.rates + (size_t)c * a.groups, room);
        p = ttei_class_write(&m->classes[c], p);
        (void)ttei_class_read(start, &m->classes[c]);
        TTEI_ASSERT(m->classes[c].bytes <= record[c]);  /* less where there would be too many runs */
    }
    memcpy(p, centroid_class, centroid_class_size);
    if (centroid_class_size > 0) (void)ttei_class_read(p, &m->classes[a.count]);
    *classes_size = (size_t)(p + centroid_class_size - classes);
    TT_EMBED_FREE(carve.base);
    return TTE_OK;
}

/* The view of a model whose sections lie in `shared`, as much as reading functions look at. */
static void ttei_model_view(const ttei_learning *l, const ttei_shared *shared, ttei_model *m)
{
    tte_table *t = &m->view;
    memset(t, 0, sizeof *t);
    m->dim = l->dim;
    m->exponent = l->exponent;
    m->state_bits = l->s->state_bits;
    m->effort = l->s->o.effort;
    t->layout = TTE_PER_TABLE;
    t->coding = TTE_TRELLIS;
    t->dim = (int32_t)l->dim;
    t->rank = (int32_t)m->rank;
    t->centroid_count = (int32_t)m->centroid_count;
    t->basis_rows = t->rank + (m->centroid_count > 0);
    t->state_bits = m->state_bits;
    t->exponent = m->exponent;
    t->basis = shared->basis;
}

/* One attempt within given limits: everything behind the moments. *size: bytes of the whole image. */
static tte_status ttei_learn_once(ttei_learning *l, const ttei_coder *coder, double bytes, double water, ttei_model *m,
                                  void **model_block, ttei_shared *shared, double *size)
{
    const size_t dim = l->dim, rows = ttei_min(dim, l->limit_rank) + 1;
    const double vocab = (double)l->s->whole, part = (double)l->s->vocab / vocab;  /* of the table, that is seen */
    ttei_centers centers;
    ttei_plan_basis plan;
    ttei_census census;
    ttei_class centroid_class;
    unsigned char class_bytes[TTEI_CLASS_HEAD + TTEI_RUN_BYTES * TTEI_RUNS_MAX], *rates;
    double *doubles, basis_bytes = 0, other = 0;
    size_t *sizes, class_size = 0, j;
    ttei_carve carve = ttei_carve_begin(NULL);
    void *center_block = NULL;
    int turn;
    tte_status status;
    memset(&plan, 0, sizeof plan);
    memset(&census, 0, sizeof census);
    memset(&centers, 0, sizeof centers);
    do {
        plan.rates = (int *)ttei_take(&carve, dim + 1, sizeof(int));
        census.shape = (double *)ttei_take(&carve, ttei_mul(TTEI_BINS + 2 * (TTEI_STRETCHES + 1), rows), sizeof(double));
        doubles = (double *)ttei_take(&carve, ttei_mul(2, dim), sizeof(double));
        sizes = (size_t *)ttei_take(&carve, dim, sizeof(size_t));
        rates = (unsigned char *)ttei_take(&carve, dim, 1);
    } while (ttei_carve_again(&carve));
    if (carve.base == NULL) return ttei_carve_status(&carve);
    memcpy(l->work[0], l->second, dim * dim * sizeof *l->second);
    status = ttei_learn_spectrum(l);

    /* Level and basis depend on each other and on the centroids: some rounds before those, some after. */
    for (turn = 0; turn < 6 && status == TTE_OK; ++turn) {
        if (bytes > 0) {
            const double left = 8 * (bytes - basis_bytes - other) / vocab - 4;
            water = ttei_water(l->values, dim, left > 0 ? left : 0);
        }
        plan.more = 0.7;
        ttei_plan_basis_rates(l, water, 0.7, 0, &plan);
        basis_bytes = (double)ttei_plan_basis_bytes(l, &plan);
        if (turn != 2) continue;
        status = ttei_learn_centroids(l, water, &centers, &center_block);
        other = centers.count > 1 ? vocab * log2((double)centers.count) / 8 +
                                        0.25 * (double)plan.rank * (double)centers.count : 0;
    }
    m->dim = dim;
    m->water = ttei_f32_of(ttei_bf16_encode(water) << 16);
    m->rank = plan.rank;
    m->centroid_count = centers.count > 1 ? centers.count : (size_t)plan.has_mean;
    m->metric = l->metric;
    m->ridge = l->ridge;
    if (status == TTE_OK) {
        const size_t most = ttei_add(TTEI_CLASSES_MAX, ttei_add(ttei_mul(m->rank + 1, 2 * dim + 16),
                                                                ttei_mul(centers.count, 2 * m->rank + 32)));
        ttei_carve model = ttei_carve_begin(NULL);
        do {
            ttei_model_carve(m, &model);
            shared->block = (unsigned char *)ttei_take(&model, most, 1);
        } while (ttei_carve_again(&model));
        *model_block = model.base;
        status = ttei_carve_status(&model);
        if (status == TTE_OK) memset(shared->block, 0, most);  /* decoders look at bytes behind a record, too */
    }
    if (status == TTE_OK) {
        for (j = 0; j < dim; ++j) m->mean[j] = 0;
        for (j = 0; j < m->centroid_count * m->rank; ++j) m->centroids[j] = 0;
        shared->classes = shared->block;
        shared->basis = shared->block + TTEI_CLASSES_MAX;
        ttei_model_view(l, shared, m);
        status = ttei_learn_basis(l, coder, &plan, m, doubles, shared->block + TTEI_CLASSES_MAX);
        shared->basis_size = ttei_plan_basis_bytes(l, &plan);
        shared->centroids = shared->basis + shared->basis_size;
    }
    if (status == TTE_OK && centers.count > 1) {
        ttei_learn_centroid_codes(l, coder, &centers, m, doubles, doubles + dim, sizes, rates, class_bytes, &centroid_class,
                                  shared->block + TTEI_CLASSES_MAX + shared->basis_size);
        shared->centroids_size = centers.count * centroid_class.bytes;
        class_size = TTEI_CLASS_HEAD + TTEI_RUN_BYTES * centroid_class.run_count;
    }
    if (status == TTE_OK) {
        ttei_model_near(m);
        memset(census.shape, 0, (TTEI_BINS + 2 * (TTEI_STRETCHES + 1)) * rows * sizeof *census.shape);
        for (turn = 0; turn < 2; ++turn) {
            census.top[turn] = census.shape + (TTEI_BINS + (size_t)turn * (TTEI_STRETCHES + 1)) * rows;
            census.excess[turn] = census.top[turn] + rows;
        }
        ttei_next_part(&l->progress, 0.3);
        status = ttei_census_take(l, m, &census);
        ttei_census_join(&census, m->rank);
    }
    if (status == TTE_OK) {
        const int bits = m->centroid_count > 1 ? (int)ttei_bit_length(m->centroid_count - 1) : 0;
        const double fixed = (double)(ttei_header_bytes(TTE_PER_TABLE, 0, m->centroid_count > 1 ? 5 : 4) + TTEI_SPARE +
                                      shared->basis_size + shared->centroids_size);
        double room = 1;
        for (turn = 0; turn < 8 && status == TTE_OK; ++turn) {  /* the classes' own bytes are known only afterwards */
            status = ttei_learn_classes(l, &census, bytes > 0 ? room * part : 0, class_bytes, class_size, bits, m,
                                        shared->block, &shared->classes_size, size);
            *size /= part;
            room = bytes - fixed - (double)shared->classes_size;
            if (!(bytes > 0) || (turn >= 2 && *size <= room)) break;
            room -= (turn == 0 ? 24 : turn < 3 ? 4 : 4 * turn) * (double)m->class_count;
            if (!(room > 1)) room = 1;
        }
        *size += fixed + (double)shared->classes_size;
    }
    ttei_drop(center_block);
    TT_EMBED_FREE(carve.base);
    return status;
}

/* Rows to a model. The budget is for the whole image; where a basis or centroids leave too little of it for the rows, fewer
   of them are tried, down to none. water: the level for eps, 0 with a ratio. TTE_ERR_BUDGET: *size bytes would do. */
static tte_status ttei_learn(ttei_learning *l, const ttei_coder *coder, double budget, double water, ttei_model *m,
                             void **model_block, ttei_shared *shared, double *size)
{
    const ttei_progress start = l->progress;
    tte_status status;
    for (;;) {
        memset(m, 0, sizeof *m);
        memset(shared, 0, sizeof *shared);
        *model_block = NULL;
        l->progress = start;
        m->usual_weight = l->usual_weight;
        status = ttei_learn_once(l, coder, budget, water, m, model_block, shared, size);
        if (status == TTE_OK && (!(budget > 0) || *size <= budget)) return TTE_OK;
        ttei_drop(*model_block);
        if (status != TTE_OK) return status;
        if (l->limit_centroids > 1) l->limit_centroids = 1;
        else if (l->limit_rank > 0) l->limit_rank = m->rank / 2;
        else if (l->limit_centroids > 0) l->limit_centroids = 0;
        else return TTE_ERR_BUDGET;
    }
}
/* ================================================================================================
   WRITING IMAGES
   rows -> records -> builder -> image. Compressing, appending, replacing and merging feed one builder, of either layout.
   ============================================================================================= */

/* ---- ordered sums ------------------------------------------------------------------------------------------
   Sums of squares whose bits do not depend on the order of the terms [DN15], so that shards merge exactly: three
   digits to the base 2^32, counted from the largest term; what falls below them falls below them in any order. */
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

/* Adds a term >= 0; each digit is below 2^32, so 2^32 terms fit. */
static void ttei_sum_add(ttei_sum *sum, double term)
{
    const int power = (int)(ttei_bits_of_f64(term) >> 52) - 1022;  /* term < 2^power */
    int i;
    if (!(term > 0) || !ttei_finite_f64(term) || power < -32 * (TTEI_SUM_TOP - 1)) return;
    ttei_sum_raise(sum, (power + 32 * TTEI_SUM_TOP - 1) / 32 - TTEI_SUM_TOP);
    for (i = 0; i < 3; ++i) {
        const uint64_t digit = (uint64_t)(term * ttei_power_f64(-32 * (sum->top - i)));
        sum->bin[i] += digit;
        term -= (double)digit * ttei_power_f64(32 * (sum->top - i));
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

static ttei_sum ttei_sum_of(double value)
{
    ttei_sum sum = ttei_sum_zero;
    ttei_sum_add(&sum, value);
    return sum;
}

static void ttei_sum_write(const ttei_sum *sum, unsigned char *p)
{
    int i;
    ttei_put32(p, (uint32_t)sum->top);
    ttei_put32(p + 4, 0);
    for (i = 0; i < 3; ++i) ttei_put64(p + 8 + 8 * i, sum->bin[i]);
}

/* An exponent out of range, in an image that is not trusted, reads as an empty sum. */
static ttei_sum ttei_sum_read(const unsigned char *p)
{
    ttei_sum sum = ttei_sum_zero;
    const int32_t top = (int32_t)ttei_get32(p);
    int i;
    if (top < -TTEI_SUM_TOP || top > TTEI_SUM_TOP) return sum;
    sum.top = top;
    for (i = 0; i < 3; ++i) sum.bin[i] = ttei_get64(p + 8 + 8 * i);
    return sum;
}

/* How close an image is to the rows it was made of. */
typedef struct ttei_errors {
    ttei_sum sum[TTEI_SUMS];  /* of the terms of all rows                                                 */
    double worst;             /* largest relative error of a row                                          */
} ttei_errors;

static ttei_errors ttei_errors_none(void)
{
    ttei_errors e;
    int i;
    for (i = 0; i < TTEI_SUMS; ++i) e.sum[i] = ttei_sum_zero;
    e.worst = 0;
    return e;
}

static ttei_errors ttei_errors_of(const tte_table *t)
{
    ttei_errors e;
    int i;
    for (i = 0; i < TTEI_SUMS; ++i) e.sum[i] = ttei_sum_read(t->data + TTEI_AT_NORM + 32 * i);
    e.worst = ttei_f64_of(ttei_get64(t->data + TTEI_AT_WORST));
    return e;
}

static void ttei_errors_add(ttei_errors *e, const double *terms)
{
    const double relative = terms[TTEI_NORM] > 0 ? sqrt(terms[TTEI_ERROR] / terms[TTEI_NORM]) : 0;
    int i;
    for (i = 0; i < TTEI_SUMS; ++i) ttei_sum_add(&e->sum[i], terms[i]);
    if (relative > e->worst) e->worst = relative;
}

static void ttei_errors_join(ttei_errors *e, const ttei_errors *other)
{
    int i;
    for (i = 0; i < TTEI_SUMS; ++i) ttei_sum_join(&e->sum[i], other->sum[i]);
    if (other->worst > e->worst) e->worst = other->worst;
}

static double ttei_errors_relative(const ttei_errors *e, int error, int norm)
{
    const double norm2 = ttei_sum_value(&e->sum[norm]), error2 = ttei_sum_value(&e->sum[error]);
    return norm2 > 0 ? sqrt(error2 / norm2) : error2 > 0 ? 1 : 0;
}

/* ---- settings ------------------------------------------------------------------------------------------------ */

/* Whether options ask for nothing but what the table `like` is made with. */
static int ttei_like_good(const tte_options *o, size_t dim)
{
    return o->like == NULL || (o->like->layout == TTE_PER_TABLE && (size_t)o->like->dim == dim &&
                               !(o->ratio > 0) && !(o->eps > 0) && o->effort == 0);
}

/* Options to settings: checks everything that needs no row. */
static tte_status ttei_settings_begin(ttei_settings *s, tte_rows_fn rows, void *user, size_t vocab, size_t whole,
                                      size_t dim, const tte_options *options)
{
    tte_options *o = &s->o;
    size_t entries = 0, i;
    int table;
    memset(s, 0, sizeof *s);
    s->rows = rows;
    s->user = user;
    s->vocab = vocab;
    s->whole = whole;
    s->dim = dim;
    if (options != NULL) *o = *options;
    s->progress.report = o->progress;
    s->progress.user = o->progress_user;
    s->progress.reached = &s->reached;
    if (rows == NULL || vocab == 0 || vocab > whole || dim == 0 || (unsigned)o->layout > TTE_PER_TOKEN ||
        (unsigned)o->coding > TTE_TRELLIS || o->max_rank < 0 || !ttei_finite_f32(o->eps) || o->eps < 0 ||
        o->eps > 1 || !ttei_finite_f32(o->ratio) || o->ratio < 0 || o->effort < 0 || o->effort > 9)
        return TTE_ERR_ARGUMENT;
    if (o->layout == TTE_LAYOUT_AUTO)
        o->layout = o->shape.modes != 0 || o->max_rank != 0 ||
                            (o->coding != TTE_CODING_AUTO && o->coding != TTE_TRELLIS)
                        ? TTE_PER_TOKEN
                        : TTE_PER_TABLE;
    table = o->layout == TTE_PER_TABLE;
    if (table ? (o->coding != TTE_CODING_AUTO && o->coding != TTE_TRELLIS) || o->shape.modes != 0 ||
                    o->max_rank != 0 || !ttei_like_good(o, dim)
              : o->coding == TTE_TRELLIS || o->row_weight != NULL || o->metric != NULL || o->like != NULL ||
                    o->effort != 0)
        return TTE_ERR_ARGUMENT;
    for (i = 0; o->row_weight != NULL && i < vocab; ++i)
        if (!ttei_finite_f32(o->row_weight[i]) || !(o->row_weight[i] > 0)) return TTE_ERR_ARGUMENT;
    if (ttei_too_many(whole) || dim > (table ? (size_t)TTEI_DIM_MAX : (size_t)TTEI_ENTRIES_MAX) ||
        ttei_mul(ttei_mul(whole, dim), sizeof(float)) == TTEI_SIZE_MAX)
        return TTE_ERR_SHAPE;
    if (!table && o->shape.modes != 0 && (ttei_shape_check(&o->shape, &entries) != TTE_OK || entries < dim))
        return TTE_ERR_SHAPE;
    if (table && o->like == NULL && !(o->ratio > 0) && !(o->eps > 0)) o->ratio = 8;
    if (o->effort == 0) o->effort = 5;
    s->state_bits = 7 + o->effort;
    if (o->ratio > 0)  /* a state should be a small part of the circle of a record */
        while (s->state_bits > 8 && 6.4 * (double)dim < (double)o->ratio * s->state_bits) --s->state_bits;
    return TTE_OK;
}

/* ---- the builder ----------------------------------------------------------------------------------------------- */

/* An image being built: records grow behind the room of the header, what the index will say of them beside them. */
typedef struct ttei_builder {
    const ttei_train_plan *plan;     /* TTE_PER_TOKEN: how rows become records; else NULL    */
    const ttei_model *model;         /* TTE_PER_TABLE: the same                              */
    const ttei_shared *shared;       /* .. and the sections of the model                     */
    tte_table index;                 /* .. and what reading functions want to know of its index */
    unsigned char *data;             /* capacity bytes; records from `first` on              */
    size_t first, capacity, records_size;
    unsigned char *notes;            /* rows x note bytes: ranks, or class, gain, centroid   */
    size_t note, rows, done;
    int32_t largest[TTE_MAX_MODES + 1];
    ttei_errors errors;
} ttei_builder;

static void ttei_builder_drop(ttei_builder *b)
{
    ttei_drop(b->data);
    ttei_drop(b->notes);
    b->data = b->notes = NULL;
}

/* Whether rows of a model are alike, as in ttei_rows_alike: nothing is noted of them. */
static int ttei_model_alike(const ttei_model *m)
{
    return m->class_count == 1 && m->classes[0].bytes == 0 && m->gain_bits == 0 && m->centroid_count < 2;
}

static int ttei_builder_adapted(const ttei_builder *b)
{
    return b->plan != NULL && ttei_adapted(b->plan->eps > 0, b->plan->shape.modes);
}

static int ttei_builder_sections(const ttei_builder *b)
{
    if (b->plan != NULL) return ttei_builder_adapted(b) ? 2 : 1;
    return (b->rows > 0 ? 2 : 0) + 2 + (b->model->centroid_count > 1);
}

/* For a given number of rows; `expected` bytes of the whole image, 0 where that is not known. */
static tte_status ttei_builder_begin(ttei_builder *b, const ttei_train_plan *plan, const ttei_model *model,
                                     const ttei_shared *shared, size_t rows, size_t expected)
{
    int32_t k;
    memset(b, 0, sizeof *b);
    b->plan = plan;
    b->model = model;
    b->shared = shared;
    b->rows = rows;
    b->errors = ttei_errors_none();
    for (k = 0; k <= TTE_MAX_MODES; ++k) b->largest[k] = 1;
    if (ttei_too_many(rows)) return TTE_ERR_SHAPE;
    b->note = plan == NULL ? 4 * !ttei_model_alike(model) : ttei_builder_adapted(b) ? ttei_index_entry(&plan->shape, plan->max_rank) : 0;
    b->first = ttei_header_bytes(plan != NULL ? TTE_PER_TOKEN : TTE_PER_TABLE,
                                 plan != NULL ? plan->shape.modes : 0, ttei_builder_sections(b));
    if (plan != NULL && b->note == 0)
        expected = ttei_add(b->first + TTEI_SPARE, ttei_mul(rows, ttei_train_most(plan)));
    if (expected == TTEI_SIZE_MAX) return TTE_ERR_SHAPE;
    b->capacity = ttei_max(expected, b->first + 1);
    b->data = (unsigned char *)TT_EMBED_MALLOC(b->capacity);
    b->notes = (unsigned char *)TT_EMBED_MALLOC(ttei_max(1, ttei_mul(rows, b->note)));
    if (b->data != NULL && b->notes != NULL) return TTE_OK;
    ttei_builder_drop(b);
    return TTE_ERR_MEMORY;
}

/* Room for `bytes` more behind `used`; grows by half, so that copying stays linear in all. */
static tte_status ttei_builder_grow(ttei_builder *b, size_t used, size_t bytes, int exact)
{
    const size_t need = ttei_add(used, bytes);
    size_t larger = exact ? need : ttei_max(need, ttei_add(b->capacity, b->capacity / 2));
    unsigned char *data;
    if (need == TTEI_SIZE_MAX) return TTE_ERR_SHAPE;
    if (exact ? need == b->capacity : need <= b->capacity) return TTE_OK;
    if (larger == TTEI_SIZE_MAX) larger = need;
    data = (unsigned char *)TT_EMBED_MALLOC(larger);
    if (data == NULL) return TTE_ERR_MEMORY;
    memcpy(data, b->data, used);
    TT_EMBED_FREE(b->data);
    b->data = data;
    b->capacity = larger;
    return TTE_OK;
}

/* One more record; its errors are the caller's to count. */
static tte_status ttei_builder_put(ttei_builder *b, const unsigned char *record, const ttei_slot *slot)
{
    const size_t used = b->first + b->records_size;
    const tte_status status = ttei_builder_grow(b, used, slot->size, 0);
    unsigned char *note = b->notes + b->done * b->note;
    int32_t k;
    TTEI_ASSERT(b->done < b->rows);
    if (status != TTE_OK) return status;
    if (slot->size > 0) memcpy(b->data + used, record, slot->size);
    b->records_size += slot->size;
    ++b->done;
    if (b->plan == NULL) {
        if (b->note == 0) return TTE_OK;
        note[0] = slot->class_;
        note[1] = slot->gain;
        ttei_put16(note + 2, slot->centroid);
        return TTE_OK;
    }
    for (k = 1; k < b->plan->shape.modes; ++k) {
        const size_t width = b->note / (size_t)(b->plan->shape.modes - 1);
        if (slot->ranks[k] > b->largest[k]) b->largest[k] = slot->ranks[k];
        if (width == 1) note[k - 1] = (unsigned char)slot->ranks[k];
        else if (width == 2) ttei_put16(note + 2 * (k - 1), (uint32_t)slot->ranks[k]);
    }
    return TTE_OK;
}

/* The records of a table as they are. */
static tte_status ttei_builder_copy(ttei_builder *b, const tte_table *t, size_t first, size_t count)
{
    ttei_u32 classes[2 * 65];
    ttei_rows_block block;
    ttei_train_record record;
    ttei_slot slot;
    size_t token;
    tte_status status = TTE_OK;
    if (b->plan == NULL && b->note == 0) {
        b->done += count;
        return TTE_OK;
    }
    memset(&slot, 0, sizeof slot);
    memset(&block, 0, sizeof block);
    if (b->plan == NULL) ttei_class_list(t, classes);
    for (token = first; token < first + count && status == TTE_OK; ++token, record.bytes += slot.size) {
        if (b->plan != NULL) {
            ttei_find_train(t, token, &record);
            memcpy(slot.ranks, record.ranks, sizeof slot.ranks);
            slot.size = ttei_record_bytes(t->coding, t->shape.modes, ttei_core_sum(&t->shape, record.ranks));
        } else {
            const size_t place = token % TTEI_BLOCK;
            if (token == first || place == 0) {
                block = ttei_block_at(t, token / TTEI_BLOCK);
                record.bytes = ttei_find_row(t, classes, token).record;
            }
            slot.class_ = (unsigned char)ttei_bits_at(block.classes, place * (size_t)t->class_bits, t->class_bits);
            slot.gain = (unsigned char)ttei_bits_at(block.gains, place * (size_t)t->gain_bits, t->gain_bits);
            slot.centroid = (uint16_t)ttei_centroid_at(t, &block, place);
            slot.size = classes[2 * slot.class_ + 1];
        }
        status = ttei_builder_put(b, record.bytes, &slot);
    }
    return status;
}

/* The index of TTE_PER_TOKEN: an offset for each group, then the ranks of its tokens. */
static unsigned char *ttei_ranks_write(const ttei_builder *b, unsigned char *p)
{
    size_t token, offset = 0;
    int32_t ranks[TTE_MAX_MODES + 1];
    for (token = 0; token < b->rows; ++token, p += b->note) {
        const unsigned char *note = b->notes + token * b->note;
        if (token % TTEI_GROUP == 0) {
            ttei_put64(p, offset);
            p += 8;
        }
        memcpy(p, note, b->note);
        ttei_index_ranks(b->plan->shape.modes, b->note, note, ranks);
        offset += ttei_record_bytes(b->plan->coding, b->plan->shape.modes, ttei_core_sum(&b->plan->shape, ranks));
    }
    return p;
}

/* `count` numbers of `bits` bits to bytes that are zero; number i is byte `at` (and the next, with `wide`) of note i. */
static unsigned char *ttei_ids_write(const unsigned char *notes, size_t count, size_t at, int wide, int bits,
                                     unsigned char *p)
{
    size_t i, bit = 0;
    for (i = 0; i < count; ++i, bit += (size_t)bits) {
        uint32_t id = wide ? ttei_get16(notes + 4 * i + at) : notes[4 * i + at];
        size_t byte = bit / 8;
        for (id <<= bit % 8; id != 0; id >>= 8, ++byte) p[byte] = (unsigned char)(p[byte] | (id & 255u));
    }
    return p + (bit + 7) / 8;
}

/* The index of TTE_PER_TABLE, to bytes that are zero. */
static unsigned char *ttei_classes_write(const ttei_builder *b, unsigned char *p)
{
    const tte_table *t = &b->index;
    size_t first, count, offset = 0, i;
    for (first = 0; b->note > 0 && first < b->rows; first += count) {
        const unsigned char *notes = b->notes + first * b->note;
        int k;
        count = ttei_min(TTEI_BLOCK, b->rows - first);
        for (k = 0; k < t->offset_bytes; ++k) *p++ = (unsigned char)(offset >> 8 * k & 255u);
        p = ttei_ids_write(notes, count, 0, 0, t->class_bits, p);
        p = ttei_ids_write(notes, count, 1, 0, t->gain_bits, p);
        p = ttei_ids_write(notes, count, 2, 1, t->centroid_bits, p);
        for (i = 0; i < count; ++i) offset += b->model->classes[notes[4 * i]].bytes;
    }
    return p;
}

static size_t ttei_builder_index(ttei_builder *b)
{
    if (b->plan != NULL) return ttei_builder_adapted(b) ? ttei_index_bytes(b->rows, b->note) : 0;
    b->index.vocab = b->rows;
    b->index.offset_bytes = (uint8_t)((ttei_bit_length(b->records_size) + 7) / 8);
    b->index.class_bits = (uint8_t)ttei_bit_length((size_t)b->model->class_count - 1);
    b->index.gain_bits = (uint8_t)b->model->gain_bits;
    b->index.centroid_bits = (uint8_t)(b->model->centroid_count > 1 ? ttei_bit_length(b->model->centroid_count - 1) : 0);
    return ttei_blocks_bytes(&b->index);
}

/* The header, all but sections and checksum. */
static void ttei_header_write(const ttei_builder *b, size_t end, unsigned char *p)
{
    const ttei_model *m = b->model;
    int32_t k;
    int i;
    memset(p, 0, b->first);
    ttei_put32(p, TTEI_MAGIC_LOW);
    ttei_put32(p + 4, TTEI_MAGIC_HIGH);
    ttei_put16(p + TTEI_AT_VERSION, TTEI_VERSION);
    p[TTEI_AT_LAYOUT] = (unsigned char)(b->plan != NULL ? TTE_PER_TOKEN : TTE_PER_TABLE);
    p[TTEI_AT_CODING] = (unsigned char)(b->plan != NULL ? b->plan->coding : TTE_TRELLIS);
    p[TTEI_AT_SECTIONS] = (unsigned char)ttei_builder_sections(b);
    ttei_put32(p + TTEI_AT_DIM, (uint32_t)(b->plan != NULL ? b->plan->dim : m->dim));
    ttei_put64(p + TTEI_AT_VOCAB, b->rows);
    ttei_put64(p + TTEI_AT_SIZE, end);
    ttei_put_f64(p + TTEI_AT_WORST, b->errors.worst);
    for (i = 0; i < TTEI_SUMS; ++i) ttei_sum_write(&b->errors.sum[i], p + TTEI_AT_NORM + 32 * i);
    if (b->plan != NULL) {
        const ttei_train_plan *plan = b->plan;
        p[TTEI_AT_MODES] = (unsigned char)plan->shape.modes;
        ttei_put16(p + TTEI_AT_FLAGS, ttei_builder_adapted(b) ? TTEI_FLAG_ADAPTED : 0);
        ttei_put32(p + TTEI_AT_MAX_RANK, (uint32_t)plan->max_rank);
        ttei_put_f32(p + TTEI_AT_EPS, plan->eps);
        p += TTEI_AT_SHAPE;
        ttei_put32(p, 1);
        for (k = 0, p += 4; k < plan->shape.modes; ++k, p += 8) {
            ttei_put32(p, (uint32_t)plan->shape.dim[k]);
            ttei_put32(p + 4, (uint32_t)(k + 1 < plan->shape.modes ? b->largest[k + 1] : 1));
        }
        return;
    }
    ttei_put32(p + TTEI_AT_RANK, (uint32_t)m->rank);
    ttei_put32(p + TTEI_AT_CENTROIDS, (uint32_t)m->centroid_count);
    p[TTEI_AT_STATE_BITS] = (unsigned char)m->state_bits;
    p[TTEI_AT_EFFORT] = (unsigned char)m->effort;
    p[TTEI_AT_CLASSES] = (unsigned char)m->class_count;
    p[TTEI_AT_GAIN_BITS] = (unsigned char)m->gain_bits;
    ttei_put_f32(p + TTEI_AT_USUAL_WEIGHT, m->usual_weight);
    ttei_put16(p + TTEI_AT_EXPONENT, (uint32_t)m->exponent & 0xffffu);
    ttei_put16(p + TTEI_AT_WATER, ttei_bf16_encode((double)m->water));
}

/* Index, shared sections and header; the image goes to *out. The builder is empty afterwards. */
static tte_status ttei_builder_end(ttei_builder *b, tte_image *out)
{
    const ttei_shared *shared = b->shared;
    tte_table made;
    const size_t header = b->first, used = header + b->records_size;
    size_t size[TTEI_SECTIONS + 1] = {0, 0, 0, 0, 0, 0}, end = header, at;
    unsigned char *p, *entry;
    int kind, present[TTEI_SECTIONS + 1] = {0, 0, 0, 0, 0, 0};
    tte_status status;
    TTEI_ASSERT(b->done == b->rows);
    size[TTEI_RECORDS] = b->records_size;
    size[TTEI_INDEX] = ttei_builder_index(b);
    present[TTEI_RECORDS] = b->plan != NULL || b->rows > 0;
    present[TTEI_INDEX] = b->plan != NULL ? ttei_builder_adapted(b) : b->rows > 0;
    if (b->plan == NULL) {
        size[TTEI_CLASSES] = shared->classes_size;
        size[TTEI_BASIS] = shared->basis_size;
        size[TTEI_CENTROIDS] = shared->centroids_size;
        present[TTEI_CLASSES] = present[TTEI_BASIS] = 1;
        present[TTEI_CENTROIDS] = b->model->centroid_count > 1;
    }
    for (kind = 1; kind <= TTEI_SECTIONS; ++kind) end = ttei_add(end, size[kind]);
    end = ttei_add(end, TTEI_SPARE);
    status = ttei_builder_grow(b, used, end == TTEI_SIZE_MAX ? end : end - used, 1);
    if (status != TTE_OK) {
        ttei_builder_drop(b);
        return status;
    }
    p = b->data + used;
    memset(p, 0, end - used);
    if (b->plan != NULL) {
        if (ttei_builder_adapted(b)) (void)ttei_ranks_write(b, p);
    } else {
        p = ttei_classes_write(b, p);
        memcpy(p, shared->classes, shared->classes_size);
        memcpy(p + shared->classes_size, shared->basis, shared->basis_size);
        if (shared->centroids_size > 0)
            memcpy(p + shared->classes_size + shared->basis_size, shared->centroids, shared->centroids_size);
    }
    ttei_header_write(b, end, b->data);
    entry = b->data + header - TTEI_SECTION_BYTES * (size_t)ttei_builder_sections(b);
    for (kind = 1, at = header; kind <= TTEI_SECTIONS; at += size[kind++]) {
        if (!present[kind]) continue;
        ttei_put64(entry, at);
        ttei_put64(entry + 8, size[kind]);
        ttei_put32(entry + 16, ttei_crc32(b->data + at, size[kind]));
        ttei_put32(entry + 20, (uint32_t)kind);
        entry += TTEI_SECTION_BYTES;
    }
    ttei_put32(b->data + TTEI_AT_CRC, ttei_crc32(b->data + TTEI_AT_VERSION, header - TTEI_AT_VERSION));
    status = tte_open(&made, b->data, end) == TTE_OK ? TTE_OK : TTE_ERR_SHAPE;  /* readers decide what is valid */
    if (status == TTE_OK) {
        out->data = b->data;
        out->size = end;
        b->data = NULL;
    }
    ttei_builder_drop(b);
    return status;
}

/* ---- rows to records -------------------------------------------------------------------------------------------- */

/* What one thread needs. */
typedef struct ttei_encoder {
    ttei_train_encoder train;       /* TTE_PER_TOKEN                                              */
    ttei_rows_tile tile;                 /* TTE_PER_TABLE, and all below                               */
    float *scaled, *values, *back;  /* TTEI_ROWS_TILE x dim: times 2^-exponent; rank + 2; TTEI_ROWS_TILE x dim: as read */
    float *integers;                /* TTEI_ROWS_TILE rows of a batch                             */
    ttei_i16 *panel;
    float *weighed;                 /* TTEI_ROWS_TILE x dim, with a metric                             */
} ttei_encoder;

static void ttei_encoder_carve(const ttei_builder *b, ttei_carve *carve, ttei_encoder *e)
{
    const ttei_model *m = b->model;
    if (b->plan != NULL) {
        ttei_train_encoder_carve(b->plan, carve, &e->train);
        return;
    }
    ttei_tile_carve(m, carve, &e->tile);
    e->scaled = (float *)ttei_take(carve, ttei_mul(TTEI_ROWS_TILE, m->dim), sizeof(float));
    e->values = (float *)ttei_take(carve, m->rank + 2, sizeof(float));
    e->integers = (float *)ttei_take(carve, ttei_mul(TTEI_ROWS_TILE, m->rank / 2 + 3), sizeof(float));
    e->panel = (ttei_i16 *)ttei_take(carve, 2 * TTEI_PANEL * TTEI_DEPTH, sizeof(ttei_i16));
    e->back = (float *)ttei_take(carve, ttei_mul(TTEI_ROWS_TILE, m->dim), sizeof(float));
    e->weighed = (float *)ttei_take(carve, m->metric != NULL ? ttei_mul(TTEI_ROWS_TILE, m->dim) : 0, sizeof(float));
}

/* The gain with which a row's coefficients z are coded best: the one nearest to its energy and that one's neighbours,
   tried with a small trellis. */
static unsigned char ttei_choose_gain(const ttei_model *m, const ttei_coder *coder, size_t thread, const ttei_class *c,
                                      double energy, const float *z)
{
    const double wanted = sqrt(energy) / (double)c->scale;
    const int last = (1 << m->gain_bits) - 1;
    int g = 0, leading, best;
    double least = -1;
    if (c->bytes == 0) return 0;
    while (g < last && (double)m->gains[g] * (double)m->gains[g + 1] < wanted * wanted) ++g;
    if (m->effort < 2) return (unsigned char)g;
    best = g;
    for (leading = g > 0 ? g - 1 : 0; leading <= g + 1 && leading <= last; ++leading) {
        const double error = ttei_trial_error(coder, thread, c, c->scale * m->gains[leading], z, m->energy);
        if (least < 0 || error < least) {
            least = error;
            best = leading;
        }
    }
    return (unsigned char)best;
}

/* x M x' for each of `count` rows; the plain squares without a metric. */
static void ttei_weigh(const ttei_model *m, size_t count, const float *rows, float *room, double *squares)
{
    size_t i, j;
    if (m->metric != NULL) ttei_product(count, m->dim, m->dim, rows, m->dim, 1, m->metric, m->dim, room, m->dim);
    for (i = 0; i < count; ++i) {
        const float *x = rows + i * m->dim, *y = m->metric != NULL ? room + i * m->dim : x;
        squares[i] = 0;
        for (j = 0; j < m->dim; ++j) squares[i] += (double)x[j] * (double)y[j];
        if (!(squares[i] > 0)) squares[i] = 0;
    }
}

/* A tile of rows into records `record_size` apart. weights may be NULL: `usual`. */
static void ttei_tile_encode(const ttei_model *m, const ttei_coder *coder, size_t thread, const float *rows,
                             const float *weights, float usual, size_t count, unsigned char *records,
                             size_t record_size, ttei_slot *slots, ttei_encoder *e)
{
    const size_t dim = m->dim, rank = m->rank, first = m->centroid_count > 0;
    const size_t panels = (dim + TTEI_PANEL - 1) / TTEI_PANEL;
    const unsigned char *scales = ttei_basis_scales(&m->view);
    double squares[TTEI_ROWS_TILE];
    ttei_batch batch;
    size_t i, j;
    memcpy(e->scaled, rows, count * dim * sizeof *rows);
    ttei_scale_f32(count * dim, -m->exponent, e->scaled);
    ttei_tile_analyze(m, count, e->scaled, &e->tile);
    memset(&batch, 0, sizeof batch);
    batch.t = &m->view;
    batch.count = batch.near_count = count;
    batch.pairs = (first + rank + 1) / 2;
    batch.q = batch.pairs + 2;
    batch.depth = ttei_min(batch.pairs, TTEI_DEPTH);
    batch.leading = e->integers;
    batch.rows = e->back;
    for (i = 0; i < count; ++i) {
        ttei_slot *slot = &slots[i];
        const double weight = (double)(weights != NULL ? weights[i] : usual);
        const float *z = e->tile.z + i * rank;
        float *a = e->values;
        const ttei_class *c;
        memset(slot, 0, sizeof *slot);
        slot->status = ttei_all_finite_f32(rows + i * dim, dim) && ttei_all_finite_f32(z, rank) ? TTE_OK
                                                                                                 : TTE_ERR_NOT_FINITE;
        if (slot->status != TTE_OK) {
            memset(a, 0, (rank + 2) * sizeof *a);
            ttei_batch_integers(&batch, i, a);
            continue;
        }
        slot->class_ = (unsigned char)ttei_class_of(
            m, ttei_row_level(weight / (double)m->usual_weight, e->tile.energy[i], e->tile.outliers[i]));
        slot->centroid = e->tile.centroid[i];
        c = &m->classes[slot->class_];
        slot->size = c->bytes;
        slot->gain = ttei_choose_gain(m, coder, thread, c, e->tile.energy[i], z);
        ttei_code_row(coder, thread, c, c->scale * m->gains[slot->gain], z,
                      m->centroid_count > 1 ? m->centroids + (size_t)slot->centroid * rank : NULL,
                      records + i * record_size, a + first, rank);
        if (first > 0) a[0] = 1;
        for (j = 0; j < first + rank; ++j) a[j] *= ttei_get_bf16(scales + 2 * j);
        ttei_batch_integers(&batch, i, a);
    }
    for (j = 0; j < panels; ++j) ttei_batch_columns(&batch, j, e->panel);  /* errors are those of what readers get */
    for (i = 0; i < count; ++i) ttei_batch_finish(&batch, i);
    ttei_weigh(m, count, e->scaled, e->weighed, squares);
    for (i = 0; i < count; ++i) slots[i].terms[TTEI_WEIGHTED_NORM] = ldexp(squares[i], 2 * m->exponent);
    for (i = 0; i < count; ++i) {
        const float *row = rows + i * dim;
        float *back = e->back + i * dim;
        slots[i].terms[TTEI_NORM] = ttei_norm2(row, dim);
        slots[i].terms[TTEI_ERROR] = ttei_distance2(row, back, dim);
        for (j = 0; j < dim; ++j) back[j] = row[j] - back[j];
    }
    ttei_scale_f32(count * dim, -m->exponent, e->back);
    ttei_weigh(m, count, e->back, e->weighed, squares);
    for (i = 0; i < count; ++i) {
        const double weight = (double)(weights != NULL ? weights[i] : usual);
        slots[i].terms[TTEI_WEIGHTED_ERROR] = weight * ldexp(squares[i], 2 * m->exponent);
        slots[i].terms[TTEI_WEIGHTED_NORM] *= weight;
        if (m->metric == NULL) {  /* the same number exactly, where all weights are 1 */
            slots[i].terms[TTEI_WEIGHTED_NORM] = weight * slots[i].terms[TTEI_NORM];
            slots[i].terms[TTEI_WEIGHTED_ERROR] = weight * slots[i].terms[TTEI_ERROR];
        }
        if (slots[i].status == TTE_OK && !ttei_finite_f64(slots[i].terms[TTEI_ERROR]))
            slots[i].status = TTE_ERR_NOT_FINITE;
    }
}

/* Rows are taken in batches; within one, threads share the rows. */
typedef struct ttei_intake {
    size_t most, record_size;        /* rows in one batch; bytes of the largest record */
    float *rows;                     /* most x dim, when they come by callback        */
    unsigned char *records;          /* most x record_size                            */
    ttei_slot *slots;                /* most                                          */
    ttei_encoder *encoders;          /* one for each thread                           */
    int threads;
} ttei_intake;

static void ttei_batch_carve(const ttei_builder *b, size_t dim, size_t count, int in_memory, int threads,
                             ttei_carve *carve, ttei_intake *batch)
{
    ttei_encoder unused;
    int i;
    batch->threads = threads;
    batch->most = ttei_min(count, ttei_min(1024, ttei_max(64, 0x100000 / dim)));
    batch->record_size = b->plan != NULL ? ttei_train_most(b->plan) : 0;
    for (i = 0; b->plan == NULL && i < b->model->class_count; ++i)
        batch->record_size = ttei_max(batch->record_size, b->model->classes[i].bytes);
    batch->rows = NULL;
    if (!in_memory) batch->rows = (float *)ttei_take(carve, ttei_mul(batch->most, dim), sizeof(float));
    batch->records = (unsigned char *)ttei_take(carve, ttei_mul(batch->most, batch->record_size), 1);
    batch->slots = (ttei_slot *)ttei_take(carve, batch->most, sizeof(ttei_slot));
    batch->encoders = (ttei_encoder *)ttei_take(carve, (size_t)batch->threads, sizeof(ttei_encoder));
    for (i = 0; i < batch->threads; ++i)
        ttei_encoder_carve(b, carve, carve->base == NULL ? &unused : &batch->encoders[i]);
}

/* Encodes `count` rows into as many records: every row into its own slot, so that the result does not depend on which
   thread took it. */
static void ttei_batch_encode(const ttei_builder *b, const ttei_coder *coder, ttei_intake *batch, size_t dim,
                              const float *rows, const float *weights, float usual, size_t count)
{
    const size_t together = b->plan != NULL ? TTEI_LANES : TTEI_ROWS_TILE;
    const int groups = (int)((count + together - 1) / together);
    int group;
    TTEI_OPENMP(omp parallel for schedule(dynamic, 1) num_threads(batch->threads))
    for (group = 0; group < groups; ++group) {
        const size_t first = (size_t)group * together, now = ttei_min(together, count - first);
        unsigned char *records = batch->records + first * batch->record_size;
        ttei_encoder *encoder = &batch->encoders[ttei_thread()];
        if (b->plan == NULL)
            ttei_tile_encode(b->model, coder, ttei_thread(), rows + first * dim,
                             weights != NULL ? weights + first : NULL, usual, now, records, batch->record_size,
                             batch->slots + first, encoder);
        else
            ttei_encode_trains(b->plan, rows + first * dim, now, records, batch->record_size, batch->slots + first,
                               &encoder->train);
    }
}

/* The builder's next `count` rows, from s->rows; those in memory are read where they are. */
static tte_status ttei_builder_rows(ttei_builder *b, const ttei_coder *coder, const ttei_settings *s, float usual,
                                    size_t count, const ttei_progress *progress)
{
    const int in_memory = s->rows == ttei_array_rows;
    const int threads = b->plan == NULL && coder != NULL ? coder->threads : ttei_thread_count();
    ttei_carve carve = ttei_carve_begin(NULL);
    ttei_intake batch;
    size_t done = 0, now, i;
    tte_status status = ttei_report(progress, 0);
    if (status != TTE_OK) return status;
    do ttei_batch_carve(b, s->dim, count, in_memory, threads, &carve, &batch);
    while (ttei_carve_again(&carve));
    if (carve.base == NULL) return ttei_carve_status(&carve);
    for (; done < count && status == TTE_OK; done += now) {
        const float *source = batch.rows;
        now = ttei_min(count - done, batch.most);
        if (in_memory) source = ((const ttei_array *)s->user)->rows + done * s->dim;
        else if (s->rows(s->user, done, now, batch.rows) != 0) status = TTE_ERR_IO;
        if (status != TTE_OK) break;
        ttei_batch_encode(b, coder, &batch, s->dim, source,
                          s->o.row_weight != NULL ? s->o.row_weight + done : NULL, usual, now);
        for (i = 0; i < now && status == TTE_OK; ++i) {
            status = batch.slots[i].status;
            if (status != TTE_OK) break;
            ttei_errors_add(&b->errors, batch.slots[i].terms);
            status = ttei_builder_put(b, batch.records + i * batch.record_size, &batch.slots[i]);
        }
        if (status == TTE_OK) status = ttei_report(progress, (double)(done + now) / (double)count);
    }
    TT_EMBED_FREE(carve.base);
    return status;
}

/* ---- compressing --------------------------------------------------------------------------------------------------- */

/* Of a model that an image holds, the header's numbers and the classes; its sections stay where they are. */
static void ttei_model_classes(const tte_table *t, ttei_model *m, ttei_shared *shared)
{
    const unsigned char *p = t->classes;
    int i;
    memset(m, 0, sizeof *m);
    memset(shared, 0, sizeof *shared);
    m->view = *t;
    m->dim = (size_t)t->dim;
    m->rank = (size_t)t->rank;
    m->centroid_count = (size_t)t->centroid_count;
    m->state_bits = t->state_bits;
    m->exponent = t->exponent;
    m->class_count = t->class_count;
    m->gain_bits = t->gain_bits;
    m->effort = t->data[TTEI_AT_EFFORT];
    m->usual_weight = ttei_get_f32(t->data + TTEI_AT_USUAL_WEIGHT);
    m->water = ttei_get_bf16(t->data + TTEI_AT_WATER);
    if (!ttei_finite_f32(m->usual_weight) || !(m->usual_weight > 0)) m->usual_weight = 1;
    if (!ttei_finite_f32(m->water) || !(m->water > 0)) m->water = 0;
    for (i = 0; i < 1 << m->gain_bits; ++i, p += 2) m->gains[i] = ttei_get_bf16(p);
    for (i = 0; i < m->class_count + (m->centroid_count > 1); ++i) p = ttei_class_read(p, &m->classes[i]);
    shared->classes_size = (size_t)(p - t->classes);
    shared->classes = t->classes;
    shared->basis = t->basis;
    shared->basis_size = (size_t)(ttei_basis_records(t) - t->basis);
    for (i = 0, p = t->basis + 1; i < t->basis[0]; ++i, p += TTEI_RUN_BYTES)
        shared->basis_size += ttei_get16(p + 1) * ttei_basis_row_bytes(p[0], m->dim);
    shared->centroids = t->centroids;
    if (m->centroid_count > 1) shared->centroids_size = m->centroid_count * m->classes[m->class_count].bytes;
}

/* A whole model from an image. `metric` as in options. *block is the caller's to free. */
static tte_status ttei_model_of(const tte_table *t, const float *metric, ttei_model *m, ttei_shared *shared,
                                void **block)
{
    const size_t dim = (size_t)t->dim;
    const unsigned char *run, *scales, *record;
    ttei_carve carve = ttei_carve_begin(NULL);
    size_t j, i, n = 0;
    int16_t *codes;
    int r;
    tte_status status = TTE_OK;
    ttei_model_classes(t, m, shared);
    do {
        ttei_model_carve(m, &carve);
        codes = (int16_t *)ttei_take(&carve, dim + 1, sizeof(int16_t));
        if (metric != NULL) m->metric = (float *)ttei_take(&carve, ttei_mul(dim, dim), sizeof(float));
    } while (ttei_carve_again(&carve));
    *block = carve.base;
    if (carve.base == NULL) return ttei_carve_status(&carve);
    if (metric != NULL) status = ttei_metric_prepare(dim, metric, m->metric, &m->ridge);
    if (metric != NULL && status == TTE_OK) status = ttei_metric_check(dim, m->metric, m->ridge - 1e-3f);
    memset(m->mean, 0, dim * sizeof *m->mean);
    scales = ttei_basis_scales(t);
    record = ttei_basis_records(t);
    for (r = 0, run = t->basis + 1; r < t->basis[0]; ++r, run += TTEI_RUN_BYTES) {
        ttei_run one = ttei_run_read(run);
        const size_t count = one.count;
        one.count = ttei_rate_values(one.rate) == 2 ? dim + dim % 2 : dim;
        for (i = 0; i < count; ++i, ++n, record += ttei_basis_row_bytes(one.rate, dim)) {
            float *row = n == 0 && m->centroid_count > 0 ? m->mean : m->basis + (n - (m->centroid_count > 0)) * dim;
            const float scale = ttei_get_bf16(scales + 2 * n);
            ttei_codes_decode(t->state_bits, &one, 1, record, codes);
            for (j = 0; j < dim; ++j) row[j] = scale * (float)codes[j];
        }
    }
    if (status == TTE_OK && !ttei_all_finite_f32(m->basis, m->rank * dim)) status = TTE_ERR_NOT_FINITE;
    if (status == TTE_OK) status = ttei_model_dual(m);
    for (i = 0; i < m->centroid_count; ++i) {
        const ttei_class *type = &m->classes[m->class_count];
        memset(m->centroids + i * m->rank, 0, m->rank * sizeof *m->centroids);
        if (m->centroid_count == 1) break;
        ttei_codes_decode(t->state_bits, type->runs, type->run_count, t->centroids + i * type->bytes, codes);
        ttei_class_values(type, type->scale, codes, NULL, m->rank, m->centroids + i * m->rank);
    }
    if (status == TTE_OK) {
        ttei_model_near(m);
    } else {
        TT_EMBED_FREE(*block);
        *block = NULL;
    }
    return status;
}

/* An image from a model and rows; vocab 0: none. Also tells the error that eps is about. */
static tte_status ttei_encode_image(const ttei_settings *s, const ttei_coder *coder, const ttei_model *m,
                                    const ttei_shared *shared, size_t vocab, size_t expected,
                                    const ttei_progress *progress, double *error, tte_image *out)
{
    ttei_builder b;
    tte_status status = ttei_builder_begin(&b, NULL, m, shared, vocab, expected);
    if (status != TTE_OK) return status;
    if (vocab > 0) status = ttei_builder_rows(&b, coder, s, 1, vocab, progress);
    if (error != NULL) *error = ttei_errors_relative(&b.errors, TTEI_WEIGHTED_ERROR, TTEI_WEIGHTED_NORM);
    if (status == TTE_OK) status = ttei_builder_end(&b, out);
    ttei_builder_drop(&b);
    return status;
}

/* Coding rows like those of an image. */
static tte_status ttei_like_compress(const ttei_settings *s, tte_image *out)
{
    ttei_model m;
    ttei_shared shared;
    ttei_coder coder;
    ttei_progress progress = s->progress;
    void *block;
    tte_status status = ttei_model_of(s->o.like, s->o.metric, &m, &shared, &block);
    if (status != TTE_OK) return status;
    progress.to = 1;
    status = ttei_coder_begin(&coder, m.state_bits, m.effort, s->dim);
    if (status == TTE_OK) {
        status = ttei_encode_image(s, &coder, &m, &shared, s->vocab, 0, &progress, NULL, out);
        ttei_drop(coder.block);
    }
    TT_EMBED_FREE(block);
    return status;
}

/* One try at a budget or, where that is 0, at a level of water: *image is the whole image or, with `train`, that of no
   rows; *size the bytes of the whole one, *error its error, where eps makes these worth knowing. */
static tte_status ttei_table_try(ttei_learning *l, const ttei_coder *coder, int train, double budget, double water,
                                 double *size, double *error, tte_image *image)
{
    const size_t rank = l->limit_rank, centroids = l->limit_centroids;
    const ttei_settings *s = l->s;
    ttei_model m;
    ttei_shared shared;
    void *block;
    tte_status status = ttei_learn(l, coder, budget, water, &m, &block, &shared, size);
    l->limit_rank = rank;
    l->limit_centroids = centroids;
    if (status != TTE_OK) return status;
    ttei_next_part(&l->progress, 1);
    if (!train || s->o.eps > 0)
        status = ttei_encode_image(s, coder, &m, &shared, s->vocab, (size_t)*size, &l->progress, error, image);
    if (status == TTE_OK && train) {
        tte_free(image);
        status = ttei_encode_image(s, coder, &m, &shared, 0, 0, &l->progress, NULL, image);
        if (status == TTE_OK) status = ttei_report(&l->progress, 1);
    }
    TT_EMBED_FREE(block);
    if (status != TTE_OK) tte_free(image);
    return status;
}

/* With eps alone: level and error go up and down together. A level that missed is scaled by the square of what it missed
   by; between one that meets eps and one that does not, it stays between them. The smallest image that meets eps is
   kept. TTE_ERR_BUDGET when the finest level does not. */
static tte_status ttei_table_search(ttei_learning *l, const ttei_coder *coder, int train, double *size, tte_image *best)
{
    const double eps = (double)l->s->o.eps;
    double water = ttei_learn_level(l, eps), now = 0, error = 0, fine = 0, coarse = 1e300, factor = 0.5;
    tte_image image = {NULL, 0};
    int turn;
    for (turn = 0; turn < 24; ++turn) {
        const tte_status status = ttei_table_try(l, coder, train, 0, water, &now, &error, &image);
        if (status != TTE_OK) {
            tte_free(best);
            return status;
        }
        if (error <= eps) {
            if (water > fine) fine = water;
            if (best->data == NULL || now < *size) {
                tte_free(best);
                *best = image;
                *size = now;
                image.data = NULL;
            }
        } else if (water < coarse) {
            coarse = water;
        }
        tte_free(&image);
        if (error <= eps && error > 0.995 * eps) return TTE_OK;
        if (best->data != NULL && (turn >= 10 || coarse < 1.02 * fine)) return TTE_OK;
        water *= error > 0 ? (eps / error) * (eps / error) * (error <= eps ? 0.998 : 0.992) : 2;
        if (fine <= 0 && turn >= 4) {
            water = coarse * factor;
            factor *= factor;
        }
        if (fine > 0 && coarse < 1e300 && !(water > 1.01 * fine && water < 0.99 * coarse)) water = sqrt(fine) * sqrt(coarse);
        if (!(water > 1e-30)) water = 1e-30;
    }
    if (best->data == NULL) *size = 0;
    return best->data != NULL ? TTE_OK : TTE_ERR_BUDGET;
}

/* Learning and, unless `train`, encoding. Where a ratio and eps cannot both be met the answer is what eps alone takes. */
static tte_status ttei_table_compress(const ttei_settings *s, int train, tte_image *out)
{
    const double budget = ttei_budget(s->whole, s->dim, s->o.ratio);
    ttei_learning l;
    ttei_coder coder;
    tte_image image = {NULL, 0};
    double size = 0, error = 0;
    ttei_carve carve = ttei_carve_begin(NULL);
    tte_status status;
    do ttei_learning_carve(s, &carve, &l);
    while (ttei_carve_again(&carve));
    if (carve.base == NULL) return ttei_carve_status(&carve);
    status = ttei_coder_begin(&coder, s->state_bits, s->o.effort, s->dim);
    l.progress.to = 0.02;
    if (status == TTE_OK) status = ttei_learn_metric(&l);
    if (status == TTE_OK) status = ttei_learn_extent(&l);
    ttei_next_part(&l.progress, 0.1);
    if (status == TTE_OK) status = ttei_learn_moments(&l);
    if (status == TTE_OK && budget > 0) {
        status = ttei_table_try(&l, &coder, train, budget, 0, &size, &error, &image);
        if (status == TTE_OK && s->o.eps > 0 && !(error <= (double)s->o.eps)) status = TTE_ERR_BUDGET;
        if (status == TTE_ERR_BUDGET && s->o.eps > 0) {
            tte_free(&image);
            status = ttei_table_search(&l, &coder, train, &size, &image);
            if (status == TTE_OK && size > budget) status = TTE_ERR_BUDGET;
        }
    } else if (status == TTE_OK) {
        status = ttei_table_search(&l, &coder, train, &size, &image);
    }
    ttei_drop(coder.block);
    TT_EMBED_FREE(carve.base);
    if (status == TTE_OK) {
        *out = image;
        return TTE_OK;
    }
    tte_free(&image);
    if (status == TTE_ERR_BUDGET) {
        out->data = NULL;
        out->size = (size_t)size;
    }
    return status;
}

/* NaN or infinity in a row comes before a budget that cannot be met: TTE_ERR_BUDGET where there is none. */
static tte_status ttei_budget_missed(const ttei_settings *s)
{
    float *row = (float *)TT_EMBED_MALLOC(s->dim * sizeof(float));
    tte_status status = row != NULL ? TTE_ERR_BUDGET : TTE_ERR_MEMORY;
    size_t i;
    for (i = 0; i < s->vocab && status == TTE_ERR_BUDGET; ++i)
        if (s->rows(s->user, i, 1, row) != 0) status = TTE_ERR_IO;
        else if (!ttei_finite_f32(ttei_largest(s->dim, row))) status = TTE_ERR_NOT_FINITE;
    ttei_drop(row);
    return status;
}

/* Whether the scratch that readers have is enough for trains of this shape; where padding is many times dim it is not. */
static int ttei_plan_readable(const ttei_train_plan *plan)
{
    tte_table t;
    memset(&t, 0, sizeof t);
    t.dim = (int32_t)plan->dim;
    t.shape = plan->shape;
    memcpy(t.ranks, plan->caps, sizeof t.ranks);
    t.numbers = ttei_core_sum(&plan->shape, plan->caps);
    return ttei_train_carve(&t, NULL, NULL) <= ttei_room(&t);
}

static tte_status ttei_token_try(const ttei_settings *s, tte_image *out)
{
    const double budget = ttei_budget(s->vocab, s->dim, s->o.ratio);
    ttei_train_plan plan;
    ttei_builder b;
    ttei_progress progress = s->progress;
    tte_image image = {NULL, 0};
    tte_status status = ttei_token_plan(s->rows, s->user, s->vocab, s->dim, &s->o, &plan);
    progress.to = 1;
    if (status == TTE_OK && !ttei_plan_readable(&plan)) return TTE_ERR_SHAPE;
    if (status == TTE_OK) status = ttei_builder_begin(&b, &plan, NULL, NULL, s->vocab, 0);
    else if (status != TTE_ERR_BUDGET) return status;
    else memset(&b, 0, sizeof b);
    if (status == TTE_OK) status = ttei_builder_rows(&b, NULL, s, 1, s->vocab, &progress);
    if (status == TTE_OK) status = ttei_builder_end(&b, &image);
    ttei_builder_drop(&b);
    if (status == TTE_OK && budget > 0 && (double)image.size > budget) {
        out->data = NULL;
        out->size = image.size;
        tte_free(&image);
        return TTE_ERR_BUDGET;
    }
    if (status == TTE_ERR_BUDGET) status = ttei_budget_missed(s);
    if (status == TTE_ERR_BUDGET) {
        out->data = NULL;
        out->size = s->o.eps > 0 ? 0  /* it is not the size that is short */
                                 : ttei_add(ttei_header_bytes(TTE_PER_TOKEN, plan.shape.modes, 1) + TTEI_SPARE,
                                            ttei_mul(s->vocab, ttei_train_most(&plan)));
    }
    if (status == TTE_OK) *out = image;
    return status;
}

/* A coding that the library chose for eps on a sample may be too coarse for another row: float16, then float32 is not. */
static tte_status ttei_token_compress(ttei_settings *s, tte_image *out)
{
    const int last = s->o.coding == TTE_CODING_AUTO && s->o.eps > 0 ? 3 : 1;
    static const tte_coding finer[3] = {TTE_CODING_AUTO, TTE_F16, TTE_F32};
    tte_image image = {NULL, 0};
    tte_status status = TTE_ERR_BUDGET;
    int i;
    for (i = 0; i < last && status == TTE_ERR_BUDGET; ++i) {
        if (i > 0) s->o.coding = finer[i];
        status = ttei_token_try(s, &image);
    }
    if (status == TTE_OK || status == TTE_ERR_BUDGET) *out = image;
    return status;
}

tte_status tte_compress_rows(tte_rows_fn rows, void *user, size_t vocab, size_t dim, const tte_options *options,
                             tte_image *out)
{
    ttei_settings s;
    tte_status status = out == NULL ? TTE_ERR_ARGUMENT : ttei_settings_begin(&s, rows, user, vocab, vocab, dim, options);
    if (status != TTE_OK) return status;
    if (s.o.layout == TTE_PER_TOKEN) return ttei_token_compress(&s, out);
    return s.o.like != NULL ? ttei_like_compress(&s, out) : ttei_table_compress(&s, 0, out);
}

tte_status tte_compress(const float *table, size_t vocab, size_t dim, const tte_options *options, tte_image *out)
{
    ttei_array array;
    array.rows = table;
    array.dim = dim;
    if (table == NULL) return TTE_ERR_ARGUMENT;
    return tte_compress_rows(ttei_array_rows, &array, vocab, dim, options, out);
}

tte_status tte_train_sample(tte_rows_fn rows, void *user, size_t count, size_t vocab, size_t dim, const tte_options *options,
                            tte_image *out)
{
    ttei_settings s;
    tte_status status = out == NULL ? TTE_ERR_ARGUMENT : ttei_settings_begin(&s, rows, user, count, vocab, dim, options);
    if (status == TTE_OK && (s.o.layout != TTE_PER_TABLE || s.o.like != NULL || (count < vocab && s.o.eps > 0)))
        status = TTE_ERR_ARGUMENT;
    return status != TTE_OK ? status : ttei_table_compress(&s, 1, out);
}

tte_status tte_train(tte_rows_fn rows, void *user, size_t vocab, size_t dim, const tte_options *options, tte_image *out)
{
    return tte_train_sample(rows, user, vocab, vocab, dim, options, out);
}

tte_status tte_count(tte_rows_fn rows, void *user, size_t vocab, size_t dim, const tte_options *options, uint64_t *levels)
{
    ttei_settings s;
    ttei_learning l;
    ttei_model m;
    ttei_shared shared;
    ttei_census census;
    void *block;
    size_t i;
    tte_status status = levels == NULL ? TTE_ERR_ARGUMENT : ttei_settings_begin(&s, rows, user, vocab, vocab, dim, options);
    if (status == TTE_OK && s.o.like == NULL) status = TTE_ERR_ARGUMENT;
    if (status == TTE_OK) status = ttei_model_of(s.o.like, s.o.metric, &m, &shared, &block);
    if (status != TTE_OK) return status;
    memset(&l, 0, sizeof l);
    memset(&census, 0, sizeof census);
    l.s = &s;
    l.progress = s.progress;
    l.progress.to = 1;
    l.dim = dim;
    l.exponent = m.exponent;
    l.block_rows = ttei_block_rows(dim);
    l.rows = (float *)TT_EMBED_MALLOC(l.block_rows * dim * sizeof *l.rows);
    status = l.rows == NULL ? TTE_ERR_MEMORY : ttei_census_take(&l, &m, &census);
    for (i = 0; i < TTE_LEVELS && status == TTE_OK; ++i) levels[i] += (uint64_t)census.level[i];
    ttei_drop(l.rows);
    TT_EMBED_FREE(block);
    return status;
}

/* Bytes of records and index when all borders between classes but the lowest of either half move by `shift` levels; with
   `move` they do. */
static double ttei_shift_borders(ttei_model *m, const ttei_census *census, int bits, int shift, int move)
{
    const int half = TTE_LEVELS / 2;
    double rows = 0, total = 0;
    int c, i, end = TTE_LEVELS;
    for (c = m->class_count - 1; c >= 0; --c) {
        const int level = m->classes[c].level, low = level < half ? 0 : half;
        int border = c > 0 && level != half ? level + shift : level;
        if (border < low || c == 0) border = low;
        if (border > low + half) border = low + half;
        for (i = border; i < end; ++i) {
            rows += census->level[i];
            total += census->level[i] * (double)m->classes[c].bytes;
        }
        if (border < end) end = border;
        if (move) m->classes[c].level = border;
    }
    return total + ttei_index_size(rows, bits, total);
}

tte_status tte_fit(const tte_table *like, const uint64_t *levels, float ratio, tte_image *out)
{
    const int half = TTE_LEVELS / 2;
    uint64_t rows = 0;
    ttei_model m;
    ttei_shared shared;
    ttei_census census;
    ttei_allocation a;
    ttei_builder b;
    unsigned char *classes, *p;
    size_t record[65];
    double budget, size;
    int c, i, bits, shift = 0;
    tte_status status;
    if (like == NULL || levels == NULL || out == NULL || like->layout != TTE_PER_TABLE || !ttei_finite_f32(ratio) || !(ratio > 0))
        return TTE_ERR_ARGUMENT;
    ttei_model_classes(like, &m, &shared);
    for (i = 0; i < TTE_LEVELS; ++i) census.level[i] = 0;
    for (i = 0; i < TTE_LEVELS; ++i) {
        census.level[i < half && m.classes[0].level >= half ? i + half : i] += (double)levels[i];
        if (levels[i] > UINT32_MAX || (rows += levels[i]) > UINT32_MAX) return TTE_ERR_SHAPE;
    }
    if (rows == 0) return TTE_ERR_ARGUMENT;
    a.count = m.class_count;
    for (c = 0; c < a.count; ++c) record[c] = m.classes[c].bytes;
    bits = m.gain_bits + (int)ttei_bit_length((size_t)(a.count - 1)) +
           (m.centroid_count > 1 ? (int)ttei_bit_length(m.centroid_count - 1) : 0);
    budget = ttei_budget((size_t)rows, m.dim, ratio) - (double)(ttei_header_bytes(TTE_PER_TABLE, 0, m.centroid_count > 1 ? 5 : 4) +
             TTEI_SPARE + shared.classes_size + shared.basis_size + shared.centroids_size);
    while (shift < half && ttei_shift_borders(&m, &census, bits, shift, 0) > budget) ++shift;
    while (shift <= 0 && shift > -half && ttei_shift_borders(&m, &census, bits, shift - 1, 0) <= budget) --shift;
    size = ttei_shift_borders(&m, &census, bits, shift, 1);
    if (size > budget) {
        out->data = NULL;
        out->size = (size_t)(size - budget + ttei_budget((size_t)rows, m.dim, ratio));
        return TTE_ERR_BUDGET;
    }
    /* the width of an offset may grow with the records */
    (void)ttei_move_borders(&a, &census, budget - size - ceil((double)rows / 128), record, m.classes);
    classes = (unsigned char *)TT_EMBED_MALLOC(shared.classes_size);
    if (classes == NULL) return TTE_ERR_MEMORY;
    memcpy(classes, shared.classes, shared.classes_size);
    for (c = 0, p = classes + ((size_t)2 << m.gain_bits); c < a.count; ++c, p += ttei_class_bytes(p))
        ttei_put16(p, (uint32_t)m.classes[c].level);
    shared.classes = classes;
    status = ttei_builder_begin(&b, NULL, &m, &shared, 0, 0);
    if (status == TTE_OK) status = ttei_builder_end(&b, out);
    TT_EMBED_FREE(classes);
    return status;
}

void tte_free(tte_image *image)
{
    if (image == NULL) return;
    ttei_drop(image->data);
    image->data = NULL;
    image->size = 0;
}

/* ---- growing, joining, shrinking -------------------------------------------------------------------------------------- */

/* How an image of TTE_PER_TOKEN was compressed. */
static ttei_train_plan ttei_plan_of(const tte_table *t)
{
    ttei_train_plan plan;
    memset(&plan, 0, sizeof plan);
    plan.dim = (size_t)t->dim;
    plan.coding = t->coding;
    plan.shape = t->shape;
    plan.max_rank = t->max_rank;
    plan.eps = t->eps;
    if (ttei_adapted(t->eps > 0, t->shape.modes)) ttei_rank_caps(&t->shape, t->max_rank, plan.caps);
    else memcpy(plan.caps, t->ranks, sizeof plan.caps);
    return plan;
}

/* Appending and replacing both put new rows between records that stay: `before` old ones, `count` new ones, then the old
   ones from `after` on. */
static tte_status ttei_splice(const tte_table *t, size_t before, const float *rows, size_t count, size_t after,
                              const float *weights, const ttei_errors *errors, tte_image *out)
{
    const int table = t->layout == TTE_PER_TABLE;
    const size_t total = before + count + (t->vocab - after);
    const ttei_progress silent = {NULL, NULL, 0, 1, NULL};
    ttei_settings s;
    ttei_builder b;
    ttei_model m;
    ttei_shared shared;
    ttei_coder coder;
    ttei_train_plan plan;
    ttei_array array;
    void *block = NULL;
    tte_status status = TTE_OK;
    array.rows = rows;
    array.dim = (size_t)t->dim;
    memset(&s, 0, sizeof s);
    memset(&coder, 0, sizeof coder);
    s.rows = ttei_array_rows;
    s.user = &array;
    s.dim = (size_t)t->dim;
    s.o.row_weight = weights;
    if (ttei_too_many(total)) return TTE_ERR_SHAPE;
    if (table) {
        status = ttei_model_of(t, NULL, &m, &shared, &block);
        if (status == TTE_OK) status = ttei_coder_begin(&coder, m.state_bits, m.effort, s.dim);
    } else {
        plan = ttei_plan_of(t);
    }
    if (status == TTE_OK)
        status = ttei_builder_begin(&b, table ? NULL : &plan, table ? &m : NULL, table ? &shared : NULL, total, 0);
    if (status == TTE_OK) {
        b.errors = *errors;
        status = ttei_builder_copy(&b, t, 0, before);
        if (status == TTE_OK)
            status = ttei_builder_rows(&b, &coder, &s, table ? m.usual_weight : 1, count, &silent);
        if (status == TTE_OK) status = ttei_builder_copy(&b, t, after, t->vocab - after);
        if (status == TTE_OK) status = ttei_builder_end(&b, out);
        ttei_builder_drop(&b);
    }
    ttei_drop(coder.block);
    ttei_drop(block);
    if (status == TTE_ERR_BUDGET) {  /* no size would do */
        out->data = NULL;
        out->size = 0;
    }
    return status;
}

tte_status tte_append(const tte_table *t, const float *rows, size_t count, const float *row_weight, tte_image *out)
{
    ttei_errors errors;
    size_t i;
    if (t == NULL || rows == NULL || count == 0 || out == NULL) return TTE_ERR_ARGUMENT;
    for (i = 0; row_weight != NULL && i < count; ++i)
        if (!ttei_finite_f32(row_weight[i]) || !(row_weight[i] > 0)) return TTE_ERR_ARGUMENT;
    if (count > 0xffffffffu - t->vocab) return TTE_ERR_SHAPE;
    errors = ttei_errors_of(t);
    return ttei_splice(t, t->vocab, rows, count, t->vocab, t->layout == TTE_PER_TABLE ? row_weight : NULL, &errors, out);
}

/* The row that goes takes an unknown part of the recorded sums with it. For an upper bound its error stays counted, and
   its norm is taken off: with e = |row - row^|, it is at most |row^| + e, where e <= worst |row| and e^2 is at most the
   sum of all rows' squared errors. In weights and metric the row's part of the norm is not known at all: there the
   norm shrinks as the plain one does. */
static tte_status ttei_errors_without(const tte_table *t, uint32_t token, ttei_errors *e)
{
    const size_t scratch = ttei_room(t), dim = (size_t)t->dim;
    float *block = (float *)TT_EMBED_MALLOC(ttei_mul(ttei_add(scratch, dim), sizeof(float)));
    const double all = ttei_sum_value(&e->sum[TTEI_NORM]), weighted = ttei_sum_value(&e->sum[TTEI_WEIGHTED_NORM]);
    double left, length, gone;
    if (block == NULL) return TTE_ERR_MEMORY;
    (void)tte_lookup(t, token, block + scratch, block);
    length = sqrt(ttei_norm2(block + scratch, dim));
    TT_EMBED_FREE(block);
    gone = length + sqrt(ttei_sum_value(&e->sum[TTEI_ERROR]));
    if (e->worst < 1 && length < gone * (1 - e->worst)) gone = length / (1 - e->worst);
    left = all - gone * gone;
    if (!(left > 0)) left = 0;
    e->sum[TTEI_NORM] = ttei_sum_of(left);
    e->sum[TTEI_WEIGHTED_NORM] = ttei_sum_of(all > 0 ? weighted * (left / all) : 0);
    return TTE_OK;
}

tte_status tte_replace(const tte_table *t, uint32_t token, const float *row, float row_weight, tte_image *out)
{
    ttei_errors errors;
    tte_status status;
    if (t == NULL || row == NULL || out == NULL || !ttei_finite_f32(row_weight) || row_weight < 0)
        return TTE_ERR_ARGUMENT;
    if (token >= t->vocab) return TTE_ERR_RANGE;
    errors = ttei_errors_of(t);
    status = ttei_errors_without(t, token, &errors);
    if (status != TTE_OK) return status;
    return ttei_splice(t, token, row, 1, (size_t)token + 1,
                       t->layout == TTE_PER_TABLE && row_weight > 0 ? &row_weight : NULL, &errors, out);
}

/* Whether two tables were made with settings under which their records mean the same. */
static int ttei_same_settings(const tte_table *a, const tte_table *b)
{
    const size_t modes = (size_t)a->shape.modes;
    if (a->dim != b->dim || a->layout != b->layout || a->coding != b->coding) return 0;
    if (a->layout == TTE_PER_TABLE) {
        /* all numbers of the header that shared sections depend on, then sections 3 to 5, which end the image */
        const size_t size = a->size - (size_t)(a->classes - a->data);
        return memcmp(a->data + TTEI_AT_RANK, b->data + TTEI_AT_RANK, TTEI_TABLE_HEADER - TTEI_AT_RANK) == 0 &&
               size == b->size - (size_t)(b->classes - b->data) && memcmp(a->classes, b->classes, size) == 0;
    }
    return a->max_rank == b->max_rank && !(a->eps < b->eps) && !(a->eps > b->eps) &&
           a->shape.modes == b->shape.modes &&
           memcmp(a->shape.dim, b->shape.dim, modes * sizeof *a->shape.dim) == 0 &&
           (ttei_adapted(a->eps > 0, a->shape.modes) ||
            memcmp(a->ranks, b->ranks, (modes + 1) * sizeof *a->ranks) == 0);
}

tte_status tte_merge(const tte_table *parts, size_t count, tte_image *out)
{
    ttei_builder b;
    ttei_model m;
    ttei_shared shared;
    ttei_train_plan plan;
    size_t rows = 0, bytes = 0, i;
    int table, fit = 1;
    tte_status status;
    if (parts == NULL || count == 0 || out == NULL) return TTE_ERR_ARGUMENT;
    for (i = 0; i < count; ++i) {
        if (!ttei_same_settings(&parts[0], &parts[i])) return TTE_ERR_ARGUMENT;
        fit = fit && parts[i].vocab <= 0xffffffffu - rows;
        rows += parts[i].vocab;
        bytes = ttei_add(bytes, parts[i].records_size);
    }
    if (!fit) return TTE_ERR_SHAPE;
    table = parts[0].layout == TTE_PER_TABLE;
    if (table) ttei_model_classes(&parts[0], &m, &shared);
    else plan = ttei_plan_of(&parts[0]);
    status = ttei_builder_begin(&b, table ? NULL : &plan, table ? &m : NULL, table ? &shared : NULL, rows, bytes);
    if (status != TTE_OK) return status;
    for (i = 0; i < count && status == TTE_OK; ++i) {
        const ttei_errors errors = ttei_errors_of(&parts[i]);
        ttei_errors_join(&b.errors, &errors);
        status = ttei_builder_copy(&b, &parts[i], 0, parts[i].vocab);
    }
    if (status == TTE_OK) status = ttei_builder_end(&b, out);
    ttei_builder_drop(&b);
    return status;
}

/* The rows of an image as a source. */
typedef struct ttei_reader {
    const tte_table *t;
    float *scratch;
} ttei_reader;

static int ttei_reader_rows(void *user, size_t first, size_t count, float *dst)
{
    const ttei_reader *reader = (const ttei_reader *)user;
    uint32_t tokens[64];
    size_t now, i;
    for (; count > 0; count -= now, first += now, dst += now * (size_t)reader->t->dim) {
        now = ttei_min(64, count);
        for (i = 0; i < now; ++i) tokens[i] = (uint32_t)(first + i);
        if (tte_lookup_batch(reader->t, tokens, now, dst, reader->scratch) != TTE_OK) return 1;
    }
    return 0;
}

/* Errors of two compressions in turn: |row - row''| <= |row - row'| + |row' - row''|, over the table and for
   each row, where |row'| <= (1 + worst) |row|. Norms are those of the first table. */
static void ttei_errors_chain(const ttei_errors *first, tte_image *image)
{
    tte_table t;
    ttei_errors e;
    unsigned char *p = (unsigned char *)image->data;
    size_t header;
    int i;
    if (tte_open(&t, image->data, image->size) != TTE_OK) return;
    e = ttei_errors_of(&t);
    for (i = TTEI_NORM; i < TTEI_SUMS; i += 2) {
        const double norm = ttei_sum_value(&first->sum[i]), now = ttei_sum_value(&e.sum[i]);
        const double before = sqrt(ttei_sum_value(&first->sum[i + 1]));
        /* weights may be others now: the second error counts relative to its own norm */
        const double after = now > 0 ? sqrt(ttei_sum_value(&e.sum[i + 1]) / now) * (sqrt(norm) + before) : 0;
        ttei_sum error = ttei_sum_of((before + after) * (before + after));
        ttei_sum_write(&first->sum[i], p + TTEI_AT_NORM + 32 * i);
        ttei_sum_write(&error, p + TTEI_AT_NORM + 32 * (i + 1));
    }
    ttei_put_f64(p + TTEI_AT_WORST, first->worst + (1 + first->worst) * e.worst);
    header = ttei_header_bytes(t.layout, t.shape.modes, p[TTEI_AT_SECTIONS]);
    ttei_put32(p + TTEI_AT_CRC, ttei_crc32(p + TTEI_AT_VERSION, header - TTEI_AT_VERSION));
}

tte_status tte_shrink(const tte_table *t, const tte_options *options, tte_image *out)
{
    ttei_reader reader;
    ttei_errors errors;
    tte_image image = {NULL, 0};
    tte_status status;
    if (t == NULL || out == NULL) return TTE_ERR_ARGUMENT;
    if (t->vocab == 0) return TTE_ERR_ARGUMENT;
    errors = ttei_errors_of(t);
    reader.t = t;
    reader.scratch = (float *)TT_EMBED_MALLOC(ttei_mul(tte_scratch_len(t), sizeof(float)));
    if (reader.scratch == NULL) return TTE_ERR_MEMORY;
    status = tte_compress_rows(ttei_reader_rows, &reader, t->vocab, (size_t)t->dim, options, &image);
    TT_EMBED_FREE(reader.scratch);
    if (status == TTE_OK) ttei_errors_chain(&errors, &image);
    if (status == TTE_OK || status == TTE_ERR_BUDGET) *out = image;
    return status;
}
/* ================================================================================================
   FILES
   ============================================================================================= */
#ifndef TT_EMBED_NO_STDIO

#include <errno.h>
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

/* The bytes of a file from `put`. Whether they are all there; else errno says why not. */
static int ttei_put_bytes(FILE *file, tte_write_fn put, void *user)
{
    int good, error;
    if (file == NULL) return 0;
    good = put(user, file) == 0 && !ferror(file) && fflush(file) == 0;
    error = errno;
    if (fclose(file) != 0 && good) return 0;
    errno = error;
    return good;
}

/* Writes a file that must not exist yet, where that can be asked for through to the disk, and gives it its name,
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

/* Removes a file that a killed process left behind: a plain one of such a name that nobody holds. */
static void ttei_remove_left(const char *name)
{
    const int file = open(name, O_RDWR | O_NONBLOCK);  /* some systems lock only what can be written */
    if (file < 0) return;
    if (ttei_lock_file(file, name) > 0) (void)remove(name);
    (void)close(file);
}

/* Opens the folder of a file, whose name is as before afterwards; -1 with errno set on failure. */
static int ttei_open_folder(char *name)
{
    char *slash = strrchr(name, '/'), *end = slash == NULL ? name : slash + 1;
    const char first = *end;
    int folder;
    *end = 0;
    folder = open(slash == NULL ? "." : name, O_RDONLY);
    *end = first;
    return folder;
}

/* Whether an error of open or fsync says that this folder cannot go through to the disk, rather than that
   something failed: it may not be read, or the file system does not have that for folders. */
static int ttei_folder_unable(int error)
{
    return error == EACCES || error == EISDIR || error == EINVAL || error == EBADF || error == ENOTSUP ||
           error == ENOSYS;
}

/* Whether `path` may be given to a new file: it is free, or a plain file's and to be replaced. */
static int ttei_may_write(const char *path, int replace, struct stat *old)
{
    if (stat(path, old) != 0) {
        old->st_mode = 0;
        return 1;
    }
    errno = !replace ? EEXIST : S_ISDIR(old->st_mode) ? EISDIR : ENOTSUP;
    return replace && S_ISREG(old->st_mode);
}

/* The second name of a file makes sure that nobody else has it; where a file has but one, it is taken first. */
static int ttei_name_file(const char *name, const char *path, int replace)
{
    int file;
    if (replace) return rename(name, path);
    if (link(name, path) == 0) {
        (void)remove(name);
        return 0;
    }
    if (errno != EPERM && errno != ENOTSUP && errno != ENOSYS && errno != EMLINK) return -1;
    file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (file < 0) return -1;
    (void)close(file);
    return rename(name, path);
}

static int ttei_write_file(char *name, const char *path, int replace, tte_write_fn put, void *user)
{
    struct stat old;
    int file, folder = -1, bad, error;
    if (!ttei_may_write(path, replace, &old)) return -1;
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
    errno = 0;
    bad = !ttei_put_bytes(fopen(name, "wb"), put, user);
    if (!bad && old.st_mode != 0) {
        if (chown(name, old.st_uid, old.st_gid) != 0) old.st_mode &= 0777;  /* another's rights are not ours to give */
        (void)chmod(name, old.st_mode & 07777);
    }
    bad = bad || fsync(file) != 0;
    if (!bad) {
        folder = ttei_open_folder(name);
        bad = (folder < 0 && !ttei_folder_unable(errno)) || ttei_name_file(name, path, replace) != 0;
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

static int ttei_write_file(char *name, const char *path, int replace, tte_write_fn put, void *user)
{
    FILE *file = fopen(replace ? name : path, "rb");
    int bad, error;
    if (file != NULL) {
        (void)fclose(file);
        errno = EEXIST;
        return replace ? 1 : -1;
    }
    bad = !ttei_put_bytes(fopen(name, "wb"), put, user);
    if (!bad && rename(name, path) != 0) {
        if (replace) (void)remove(path);  /* elsewhere rename may refuse to replace a file */
        bad = rename(name, path) != 0;
    }
    error = errno;
    if (bad) (void)remove(name);
    errno = error;
    return bad ? -1 : 0;
}

#endif

tte_status tte_write(const char *path, int replace, tte_write_fn put, void *user)
{
    static const char suffix[] = ".tte-tmp00";
    char *name;
    size_t len;
    int attempt, written = 1, error;
    if (path == NULL || put == NULL) return TTE_ERR_ARGUMENT;
    len = strlen(path);
    name = (char *)TT_EMBED_MALLOC(len + sizeof suffix);
    if (name == NULL) return TTE_ERR_MEMORY;
    memcpy(name, path, len);
    for (attempt = 0; attempt < 100 && written == 1; ++attempt) {  /* 1: that name is taken */
        memcpy(name + len, suffix, sizeof suffix);
        name[len + 8] = (char)('0' + attempt / 10);
        name[len + 9] = (char)('0' + attempt % 10);
        written = ttei_write_file(name, path, replace, put, user);
    }
    error = errno;
    TT_EMBED_FREE(name);
    errno = error;
    return written == 0 ? TTE_OK : TTE_ERR_IO;
}

static int ttei_put_image(void *user, FILE *file)
{
    const tte_image *image = (const tte_image *)user;
    return fwrite(image->data, 1, image->size, file) != image->size;
}

tte_status tte_save(const char *path, const tte_image *image)
{
    tte_image copy;
    if (image == NULL || image->data == NULL || image->size == 0) return TTE_ERR_ARGUMENT;
    copy = *image;
    return tte_write(path, 1, ttei_put_image, &copy);
}

/* The whole of an open file, from a pipe as well; of one that does not begin like an image, or goes on behind the end of
   one, only so much that tte_open will say what is wrong. */
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
        if (ttei_get32(data) != TTEI_MAGIC_LOW || ttei_get32(data + 4) != TTEI_MAGIC_HIGH ||
            image->size > ttei_get_size(data + TTEI_AT_SIZE))
            return TTE_OK;
        capacity = ttei_mul(capacity, 2);
        larger = capacity == TTEI_SIZE_MAX ? NULL : (unsigned char *)TT_EMBED_MALLOC(capacity);
        if (larger == NULL) return TTE_ERR_MEMORY;
        memcpy(larger, data, image->size);
        TT_EMBED_FREE(data);
        image->data = data = larger;
    }
}

tte_status tte_load(const char *path, tte_image *out, tte_table *table)
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
    if (status == TTE_OK) {
        *out = image;
        if (table != NULL) *table = t;
    } else {
        tte_free(&image);
    }
    errno = error;
    return status;
}

#endif /* TT_EMBED_NO_STDIO */

#endif /* TT_EMBED_READ_ONLY */

#undef TTEI_ASSERT
#undef TTEI_AVX2
#undef TTEI_AVX2_INLINE
#undef TTEI_AVX512
#undef TTEI_AVX512_INLINE
#undef TTEI_AVX512_TARGET
#undef TTEI_BRANCH
#undef TTEI_CLONES
#undef TTEI_CLONES_FUSED
#undef TTEI_COST_AVX2
#undef TTEI_COST_AVX2_INLINE
#undef TTEI_COST_AVX512
#undef TTEI_COST_AVX512_INLINE
#undef TTEI_DOUBLES
#undef TTEI_DOUBLES_OF
#undef TTEI_FLOATS
#undef TTEI_FLOATS_OF
#undef TTEI_INLINE
#undef TTEI_LANES
#undef TTEI_LESS
#undef TTEI_LEVEL_MAX
#undef TTEI_LOOPS
#undef TTEI_MAGIC_HIGH
#undef TTEI_MAGIC_LOW
#undef TTEI_NEON
#undef TTEI_NEON_INLINE
#undef TTEI_NOINLINE
#undef TTEI_NO_FUSING
#undef TTEI_OPENMP
#undef TTEI_POSIX
#undef TTEI_QUAD
#undef TTEI_ROOTS
#undef TTEI_ROUNDED
#undef TTEI_SELECT
#undef TTEI_SHUFFLE
#undef TTEI_SIZE_MAX
#undef TTEI_SVD_SWEEPS
#undef TTEI_TILES
#undef TTEI_TURN
#undef TTEI_UNFUSED
#undef TTEI_UNROLL
#undef TTEI_UNIT
#undef TTEI_USES
#undef TTEI_VECTORS
#undef TTEI_VECTOR_TYPES
#undef TTEI_WIDEN
#undef TTEI_X86

#endif /* TTEI_IMPLEMENTED */
#endif /* TT_EMBED_IMPLEMENTATION */
