/* test_files.c: tte_save and tte_load, and a second translation unit. Needs POSIX for its questions
 * to the file system; the library itself does not. Works in $TEST_TMP/files, or in ./files. */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bodies.h"
#include "harness.h"
#include "tables.h"
#include "folder.h"

#ifdef __cplusplus
extern "C"
#endif
tte_status row_of_second_unit(const tte_image *image, uint32_t token, float *row, float *scratch);

enum { VOCAB = 30, DIM = 24 };

static tte_image some_image(int kind)
{
    float *table = mixed_table(VOCAB, DIM);
    tte_options options = make_options((tte_coding)(kind % 4), kind < 4 ? 3 : 0, kind < 4 ? 0 : 0.6f,
                                       NULL);
    tte_image image = make_image(table, VOCAB, DIM, &options);
    free(table);
    return image;
}

static void check_load_fails(const char *path, tte_status want)
{
    tte_image image = sentinel_image();
    CHECK_STATUS(tte_load(path, &image), want);
    CHECK(is_sentinel(&image) && heap.live == 0);
}

/* ---- cases ---------------------------------------------------------------------------------- */

static void round_trip(void)
{
    const char *path = path_of("table.tte");
    empty_the_folder();
    for (int kind = 0; kind < 8; kind++) { /* each one over the one before */
        tte_image image = some_image(kind), loaded = sentinel_image();
        CHECK_STATUS(tte_save(path, &image), TTE_OK);
        CHECK(files_in(folder) == 1 && file_is(path, &image));
        if (CHECK_STATUS(tte_load(path, &loaded), TTE_OK)) {
            tte_table t;
            CHECK(same_image(&image, &loaded) && heap.live == 1);
            CHECK_STATUS(tte_open(&t, loaded.data, loaded.size), TTE_OK);
            tte_free(&loaded);
        }
        CHECK(heap.live == 0);
        free(image.data);
    }
}

/* Whoever has the old file open goes on reading it whole: the new one is another file. */
static void replaced_as_a_whole(void)
{
    tte_image before = some_image(0), after = some_image(2);
    const char *path = path_of("table.tte");
    unsigned char *bytes = (unsigned char *)test_alloc(before.size);
    FILE *reader;
    empty_the_folder();
    CHECK_STATUS(tte_save(path, &before), TTE_OK);
    reader = fopen(path, "rb");
    if (CHECK(reader != NULL)) {
        setvbuf(reader, NULL, _IONBF, 0);
        CHECK(fread(bytes, 1, 100, reader) == 100);
        CHECK_STATUS(tte_save(path, &after), TTE_OK);
        CHECK(fread(bytes + 100, 1, before.size - 100, reader) == before.size - 100);
        CHECK(memcmp(bytes, before.data, before.size) == 0);
        fclose(reader);
    }
    CHECK(file_is(path, &after) && files_in(folder) == 1);
    free(bytes), free(before.data), free(after.data);
}

static void folder_that_is_missing(void)
{
    tte_image image = some_image(0);
    empty_the_folder();
    errno = 0;
    CHECK_STATUS(tte_save(path_of("nowhere/table.tte"), &image), TTE_ERR_IO);
    CHECK(errno == ENOENT);
    errno = 0;
    check_load_fails(path_of("nowhere/table.tte"), TTE_ERR_IO);
    CHECK(errno == ENOENT);
    errno = 0;
    check_load_fails(path_of("missing.tte"), TTE_ERR_IO);
    CHECK(errno == ENOENT);
    check_load_fails("", TTE_ERR_IO);
    CHECK_STATUS(tte_save("", &image), TTE_ERR_IO);
    CHECK(files_in(folder) == 0 && heap.live == 0);
    free(image.data);
}

static void path_that_is_a_folder(void)
{
    tte_image image = some_image(0);
    const char *path = path_of("folder");
    empty_the_folder();
    CHECK(mkdir(path, 0700) == 0);
    CHECK_STATUS(tte_save(path, &image), TTE_ERR_IO);
    check_load_fails(path, TTE_ERR_IO);
    CHECK(files_in(folder) == 1 && files_in(path) == 0 && heap.live == 0);
    CHECK(rmdir(path) == 0);
    free(image.data);
}

static void folder_that_is_read_only(void)
{
    tte_image image = some_image(0), other = some_image(1);
    const char *inner = path_of("closed"), *path = path_of("closed/table.tte");
    empty_the_folder();
    CHECK(mkdir(inner, 0700) == 0);
    CHECK_STATUS(tte_save(path, &image), TTE_OK);
    if (geteuid() != 0) { /* nothing is closed to root */
        CHECK(chmod(inner, 0500) == 0);
        errno = 0;
        CHECK_STATUS(tte_save(path, &other), TTE_ERR_IO);
        CHECK(errno == EACCES);
        CHECK(chmod(inner, 0700) == 0);
    }
    CHECK(file_is(path, &image) && files_in(inner) == 1);
    CHECK(remove(path) == 0 && rmdir(inner) == 0);
    free(image.data), free(other.data);
}

/* A disk that fills up while the new file is written: the old file stays, no rest is left. */
static void disk_that_is_full(void)
{
    tte_image small = some_image(3), large = some_image(0);
    const char *path = path_of("table.tte");
    struct rlimit old_limit, limit;
    empty_the_folder();
    CHECK(large.size > small.size);
    CHECK_STATUS(tte_save(path, &small), TTE_OK);
    memset(&old_limit, 0, sizeof old_limit);
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    CHECK(getrlimit(RLIMIT_FSIZE, &old_limit) == 0);
    limit = old_limit;
    for (size_t room = 0; room < large.size; room += large.size / 5) {
        int error;
        tte_status status;
        limit.rlim_cur = room;
        CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        errno = 0;
        status = tte_save(path, &large);
        error = errno;
        CHECK(setrlimit(RLIMIT_FSIZE, &old_limit) == 0);
        CHECK_STATUS(status, TTE_ERR_IO);
        CHECK(error == EFBIG);
        CHECK(file_is(path, &small) && files_in(folder) == 1 && heap.live == 0);
    }
    CHECK_STATUS(tte_save(path, &large), TTE_OK);
    CHECK(file_is(path, &large));
    free(small.data), free(large.data);
}

static void files_that_are_no_images(void)
{
    tte_image image = some_image(2);
    unsigned char *bytes = (unsigned char *)image.data;
    const char *path = path_of("table.tte");
    tte_status status;
    tte_image out = sentinel_image();
    empty_the_folder();
    write_file(path, "", 0);
    status = tte_load(path, &out);
    CHECK(status == TTE_ERR_FORMAT || status == TTE_ERR_TRUNCATED);
    write_file(path, "\x89TTE", 4);
    status = tte_load(path, &out);
    CHECK(status == TTE_ERR_FORMAT || status == TTE_ERR_TRUNCATED);
    CHECK(is_sentinel(&out) && heap.live == 0);
    write_file(path, path, strlen(path));
    status = tte_load(path, &out);
    CHECK(status == TTE_ERR_FORMAT || status == TTE_ERR_TRUNCATED);
    {
        unsigned char garbage[3000];
        for (int i = 0; i < 3000; i++)
            garbage[i] = (unsigned char)(rng_next() & 0xFF);
        write_file(path, garbage, sizeof garbage);
        check_load_fails(path, TTE_ERR_FORMAT);
    }
    write_file(path, bytes, image.size - 1);
    check_load_fails(path, TTE_ERR_TRUNCATED);
    write_file(path, bytes, image.size / 2);
    check_load_fails(path, TTE_ERR_TRUNCATED);
    bytes[image.size - 1] ^= 0x10; /* the last record */
    write_file(path, bytes, image.size);
    check_load_fails(path, TTE_ERR_CHECKSUM);
    bytes[image.size - 1] ^= 0x10;
    bytes[60] ^= 1; /* a number of the header that nothing else depends on */
    write_file(path, bytes, image.size);
    check_load_fails(path, TTE_ERR_CHECKSUM);
    bytes[60] ^= 1;
    bytes[12] ^= 0x40; /* the version */
    write_file(path, bytes, image.size);
    check_load_fails(path, TTE_ERR_VERSION);
    bytes[12] ^= 0x40;
    {
        unsigned char *longer = (unsigned char *)test_alloc(image.size + 1);
        memcpy(longer, bytes, image.size);
        write_file(path, longer, image.size + 1);
        check_load_fails(path, TTE_ERR_FORMAT);
        free(longer);
    }
    free(image.data);
}

static void memory_that_runs_out(void)
{
    tte_image image = some_image(0), out = sentinel_image();
    const char *path = path_of("table.tte");
    tte_status status;
    empty_the_folder();
    for (heap.refuse = 1; heap.refuse < 100; heap.refuse++) {
        heap.requests = 0;
        status = tte_save(path, &image);
        if (heap.requests < heap.refuse)
            break;
        CHECK_STATUS(status, TTE_ERR_MEMORY);
        CHECK(files_in(folder) == 0 && heap.live == 0);
    }
    CHECK_STATUS(status, TTE_OK);
    for (heap.refuse = 1; heap.refuse < 100; heap.refuse++) {
        heap.requests = 0;
        status = tte_load(path, &out);
        if (heap.requests < heap.refuse)
            break;
        CHECK_STATUS(status, TTE_ERR_MEMORY);
        CHECK(is_sentinel(&out) && heap.live == 0);
    }
    CHECK_STATUS(status, TTE_OK);
    CHECK(heap.refuse > 1);
    heap.refuse = 0;
    tte_free(&out);
    CHECK(heap.live == 0 && file_is(path, &image));
    free(image.data);
}

static void bad_arguments(void)
{
    tte_image image = some_image(0), none = {NULL, 0}, out = sentinel_image();
    empty_the_folder();
    CHECK_STATUS(tte_save(NULL, &image), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_save(path_of("a"), NULL), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_save(path_of("a"), &none), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_load(NULL, &out), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_load(path_of("a"), NULL), TTE_ERR_ARGUMENT);
    CHECK(is_sentinel(&out) && files_in(folder) == 0);
    free(image.data);
}

/* A name as long as the file system allows leaves no room for a suffix: saved or refused, but no
 * rest stays behind. */
static void long_names(void)
{
    tte_image image = some_image(0);
    char name[300];
    empty_the_folder();
    for (size_t length = 230; length < 260; length++) {
        tte_status status;
        memset(name, 'n', length);
        name[length] = 0;
        status = tte_save(path_of(name), &image);
        CHECK(status == TTE_OK || status == TTE_ERR_IO);
        CHECK(files_in(folder) == (status == TTE_OK));
        if (status == TTE_OK)
            CHECK(file_is(path_of(name), &image) && remove(path_of(name)) == 0);
    }
    free(image.data);
}

static void second_translation_unit(void)
{
    tte_image image = some_image(0);
    tte_table t = open_image(&image);
    float *scratch = new_scratch(&t), *rows = lookup_all(&t), row[DIM];
    for (uint32_t token = 0; token < VOCAB; token++) {
        CHECK_STATUS(row_of_second_unit(&image, token, row, scratch), TTE_OK);
        CHECK(memcmp(row, rows + token * DIM, sizeof row) == 0);
    }
    CHECK_STATUS(row_of_second_unit(&image, VOCAB, row, scratch), TTE_ERR_RANGE);
    free(scratch), free(rows), free(image.data);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_files");
    if (!make_the_folder("files"))
        return 2;
    RUN(round_trip);
    RUN(replaced_as_a_whole);
    RUN(folder_that_is_missing);
    RUN(path_that_is_a_folder);
    RUN(folder_that_is_read_only);
    RUN(disk_that_is_full);
    RUN(files_that_are_no_images);
    RUN(memory_that_runs_out);
    RUN(bad_arguments);
    RUN(long_names);
    RUN(second_translation_unit);
    empty_the_folder();
    (void)rmdir(folder);
    return test_end();
}
