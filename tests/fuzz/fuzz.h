/* fuzz.h: what the fuzzers share. Include it after tests/bodies.h and tests/harness.h.
 *
 * A fuzzer is one source file with two functions and its name:
 *
 *     static void fuzz_one(const unsigned char *data, size_t size);      use any bytes, with CHECKs
 *     static size_t fuzz_make(unsigned char *out, size_t capacity);      bytes that get far, from rng_*
 *     #define FUZZ_NAME "fuzz_this"
 *
 * and runs in three ways (README.md has the commands):
 *
 *     program [SEED [SECONDS]]        inputs of its own; the same seed makes the same ones
 *     program - <FILE                 one input from stdin: AFL++, and to look at one again
 *     clang -fsanitize=fuzzer -DFUZZ_LIBFUZZER
 *
 * `program -seeds FOLDER COUNT` writes inputs for the other two to start from. With FUZZ_KEEP=FILE in
 * the environment every input is written there before it is used: after a crash, it is the one.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <time.h>
#include "../bytes.h"

enum { FUZZ_LARGEST = 1 << 16 };  /* bytes of an input */

static void fuzz_one(const unsigned char *data, size_t size);
static size_t fuzz_make(unsigned char *out, size_t capacity);

/* ---- an input as a row of numbers; after its end come zeros ---------------------------------- */

typedef struct fuzz_input {
    const unsigned char *bytes;
    size_t left;
} fuzz_input;

static inline uint64_t fuzz_take(fuzz_input *in, int width)
{
    uint64_t value = 0;
    for (int i = 0; i < width && in->left > 0; i++, in->left--)
        value |= (uint64_t)*in->bytes++ << 8 * i;
    return value;
}

static inline int fuzz_take_int(fuzz_input *in, int low, int high)  /* both ends included */
{
    return low + (int)(fuzz_take(in, high - low > 255 ? 4 : 1) % (uint64_t)(high - low + 1));
}

static inline float fuzz_take_float(fuzz_input *in)
{
    return float_from_bits((uint32_t)fuzz_take(in, 4));
}

/* ---- making and changing inputs -------------------------------------------------------------- */

/* Where types, blocks and tables end: a power of two, or one beside it; now and then negative. */
static inline uint64_t fuzz_number(void)
{
    uint64_t value = ((uint64_t)1 << rng_int(0, 63)) + (uint64_t)rng_int(0, 2) - 1;
    return rng_int(0, 7) == 0 ? (uint64_t)0 - value : rng_int(0, 3) == 0 ? (uint64_t)rng_int(0, 40)
        : value;
}

/* A float32 of every kind: of order one, whole, of any size, any bits, an end of the range. */
static inline float fuzz_number_f32(void)
{
    static const uint32_t ends[] = {0, 0x80000000u, 1, 0x007fffffu, 0x00800000u, 0x7f7fffffu,
                                    0xff7fffffu,
                                    0x7f800000u, 0xff800000u, 0x7fc00000u, 0x7f800001u, 0x3f800000u};
    switch (rng_int(0, 15)) {
    case 0:  return float_from_bits(ends[rng_int(0, 11)]);
    case 1:  return float_from_bits((uint32_t)rng_next());
    case 2:  return (float)ldexp(rng_normal(), rng_int(-150, 120));
    case 3:
    case 4:  return (float)rng_int(-3, 3);
    default: return (float)rng_normal();
    }
}

/* One change: a bit, a byte, a number, a sum, a cut, a gap, bytes of another input. The new size. */
static inline size_t fuzz_change(unsigned char *bytes, size_t size, size_t capacity,
                                 const unsigned char *other, size_t other_size)
{
    size_t near = size > 300 && rng_int(0, 1) ? 300 : size;  /* headers are short and matter more */
    size_t at = near > 0 ? (size_t)(rng_next() % near) : 0, len, from;
    int width = 1 << rng_int(0, 3);
    if (rng_int(0, 1)) at -= at % (size_t)width;
    if (size < 16) {
        memset(bytes, 0, 16);
        return 16;
    }
    if ((size_t)width > size - at) width = 1;
    switch (rng_int(0, 11)) {
    case 0: case 1: case 2:
        bytes[at] ^= (unsigned char)(1 << rng_int(0, 7));
        break;
    case 3: case 4:
        bytes[at] = (unsigned char)rng_int(0, 255);
        break;
    case 5: case 6:
        put_number(bytes + at, width, fuzz_number());
        break;
    case 7: case 8:
        put_number(bytes + at, width, number_at(bytes + at, width) + (uint64_t)rng_int(0, 8) - 4);
        break;
    case 9:  /* a copy from elsewhere in it, or from the other */
        len = 1 + (size_t)(rng_next() % (size - at < 64 ? size - at : 64));
        if (other_size >= len && rng_int(0, 1)) {
            from = (size_t)(rng_next() % (other_size - len + 1));
            memcpy(bytes + at, other + from, len);
        } else {
            from = (size_t)(rng_next() % (size - len + 1));
            memmove(bytes + at, bytes + from, len);
        }
        break;
    case 10:  /* shorter, at the end or in the middle */
        len = 1 + (size_t)(rng_next() % (size - at));
        if (rng_int(0, 3)) len = len < 16 ? len : (size_t)rng_int(1, 16);
        if (rng_int(0, 1)) at = size - len;
        memmove(bytes + at, bytes + at + len, size - at - len);
        return size - len;
    default:  /* longer */
        len = (size_t)rng_int(1, 16);
        if (len > capacity - size) break;
        memmove(bytes + at + len, bytes + at, size - at);
        memset(bytes + at, rng_int(0, 255), len);
        return size + len;
    }
    return size;
}

/* ---- images: what is wrong in them besides what was meant to be ------------------------------- */

enum { FUZZ_AS_IT_IS, FUZZ_HEADER, FUZZ_CHECKSUMS, FUZZ_LAYOUT, FUZZ_REPAIRS };

/* Makes an image consistent again after its bytes were changed: the checksum of the header; those of the
 * sections; where the sections lie and what the sizes add up to, as far as these bytes go. */
static inline void fuzz_repair(unsigned char *image, size_t size, int what)
{
    size_t end, at;
    if (what == FUZZ_AS_IT_IS || size < AT_SHAPE || (end = at = header_end(image)) > size)
        return;
    for (size_t entry = sections_at(image); entry < end && what == FUZZ_LAYOUT; entry += SECTION) {
        uint64_t wanted = number_at(image + entry + 8, 8);
        size_t room = size - at > TAIL ? size - at - TAIL : 0;
        if (wanted > room || entry + SECTION == end) wanted = room;
        put_number(image + entry, 8, at);
        put_number(image + entry + 8, 8, wanted);
        at += (size_t)wanted;
    }
    if (what == FUZZ_LAYOUT) {
        put_number(image + AT_SIZE, 8, size);
        memset(image + at, 0, size - at);
    }
    seal_image(image, size, what == FUZZ_HEADER);
}

/* ---- work and memory: what a call may take ----------------------------------------------------- */

#ifdef FUZZ_WORK
extern unsigned long long fuzz_work; /* work.c */
#else
static unsigned long long fuzz_work;
#endif
static struct { double work, memory; } fuzz_most; /* of all calls, a byte */

static inline void fuzz_meter(void)
{
    fuzz_work = 0;
#ifndef TT_EMBED_READ_ONLY
    heap.peak = heap.bytes;
#endif
}

/* The call since fuzz_meter is bounded by its image, input and output of so many bytes: in blocks of code, times
 * `factor`, and in memory beside them. */
static inline void fuzz_check_work(double bytes, double factor)
{
    const double work = (double)fuzz_work - 3e5;
    double memory = 0;
#ifndef TT_EMBED_READ_ONLY
    memory = (double)heap.peak - (double)heap.bytes - 8e6;
#endif
    if (work > fuzz_most.work * bytes * factor) fuzz_most.work = work / (bytes * factor);
    if (memory > fuzz_most.memory * bytes) fuzz_most.memory = memory / bytes;
    CHECK_LE(work, 400 * bytes * factor);
    CHECK_LE(memory, 4096 * bytes);
}

/* ---- running ---------------------------------------------------------------------------------- */

static inline double fuzz_clock(void) { return (double)clock() / CLOCKS_PER_SEC; }

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    test.name = test.running = FUZZ_NAME;
    fuzz_one(data, size);
    if (test.bad > 0)
        abort();
    return 0;
}

#ifndef FUZZ_LIBFUZZER

/* Input `number` of the seed, in a block of its own size; `*size` bytes. */
static inline unsigned char *fuzz_input_of(uint64_t number, size_t *size)
{
    static unsigned char room[FUZZ_LARGEST];
    test.state = test.seed + number * 0xD1342543DE82EF95u;
    *size = fuzz_make(room, sizeof room);
    return (unsigned char *)test_copy(room, *size);
}

static inline int fuzz_write(const char *path, const unsigned char *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    int bad = file == NULL || fwrite(data, 1, size, file) != size;
    if (file != NULL)
        bad = fclose(file) != 0 || bad;
    if (bad)
        fprintf(stderr, "%s: cannot write %s\n", test.name, path);
    return !bad;
}

static double fuzz_seconds;

static void inputs_of_the_seed(void)
{
    const char *keep = getenv("FUZZ_KEEP");
    uint64_t number = 0, slowest = 0;
    size_t size = 0;
    double start, now, before, most = 0;
    free(fuzz_input_of(0, &size));  /* what the first one prepares is not counted */
    for (start = now = fuzz_clock(); now - start < fuzz_seconds && test.bad == 0; number++) {
        unsigned char *data = fuzz_input_of(number, &size);
        if (keep != NULL && *keep != 0 && !fuzz_write(keep, data, size))
            exit(2);
        fuzz_one(data, size);
        test.checks++;
        free(data);
        before = now, now = fuzz_clock();
        if (now - before > most)
            most = now - before, slowest = number;
        if (test.bad > 0)
            fprintf(stderr, "%s: input %llu of seed %llu\n", test.name, (unsigned long long)number,
                    (unsigned long long)test.seed);
    }
    printf("%s: %llu inputs, the slowest %.0f ms (input %llu); at most %.0f blocks and %.0f bytes of memory a byte\n",
           test.name, (unsigned long long)number, 1000 * most, (unsigned long long)slowest, fuzz_most.work,
           fuzz_most.memory);
}

static inline int fuzz_from_stdin(void)
{
    static unsigned char room[FUZZ_LARGEST];
    size_t size = fread(room, 1, sizeof room, stdin);
    unsigned char *data = (unsigned char *)test_copy(room, size);
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    int seeds = argc > 3 && strcmp(argv[1], "-seeds") == 0;
    if (argc == 2 && strcmp(argv[1], "-") == 0)
        return fuzz_from_stdin();
    test_begin(seeds ? 0 : argc, argv, FUZZ_NAME);
    if (seeds) {
        for (int number = 0; number < atoi(argv[3]); number++) {
            char path[1000];
            size_t size;
            unsigned char *data = fuzz_input_of((uint64_t)number, &size);
            snprintf(path, sizeof path, "%s/%s-%04d", argv[2], FUZZ_NAME, number);
            if (!fuzz_write(path, data, size))
                return 1;
            free(data);
        }
        return 0;
    }
    test.filter = "";
    fuzz_seconds = argc > 2 ? strtod(argv[2], NULL) : test.small ? 0.5 : 2;
    RUN(inputs_of_the_seed);
    return test_end();
}

#endif
#endif
