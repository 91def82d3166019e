/* test_faults.c: tte_save and tte_load where all goes well, where the system says no, and where the process is killed.
 * Every call that the library makes to write a file passes through here: the n-th one fails, for every n, or is the
 * last thing that the process does. Whatever happens, the path holds the old image or the new one, and the new one
 * only after its bytes were seen through to the disk. Needs POSIX. Works in $TEST_TMP/faults, or in ./faults. */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "counted_heap.h"

/* ---- the calls of tte_save, one by one ----------------------------------------------------------- */

static struct {
    long calls, fail_at, kill_at;  /* counted from 1; 0: none                                        */
    int error;                     /* the errno of the one that fails                                */
    int open_files, folder;        /* folder: the one that is open for reading, or -1                */
    int folder_error;              /* the errno of fsync for a folder; 0: it works                   */
    struct stat synced;            /* the folder that fsync was called for                           */
    char trace[100];               /* w: writes, s, S: fsync of a file, of a folder, r: rename       */
} fault;

static void fault_trace(char what)
{
    size_t length = strlen(fault.trace);
    if ((what != 'w' || length == 0 || fault.trace[length - 1] != 'w') && length + 1 < sizeof fault.trace)
        fault.trace[length] = what;
}

static int follows(char what, char before) /* each time */
{
    int bad = fault.trace[0] == what;
    for (size_t i = 0; fault.trace[i] != 0; i++)
        bad |= fault.trace[i + 1] == what && fault.trace[i] != before;
    return !bad;
}

/* Before each call: whether it has to fail; or the process ends here. */
static int fault_now(void)
{
    fault.calls++;
    if (fault.calls == fault.kill_at)
        (void)raise(SIGKILL);
    if (fault.calls != fault.fail_at)
        return 0;
    errno = fault.error;
    return 1;
}

#ifdef __cplusplus
extern "C" {
#endif
int fault_open(const char *path, int flags, ...);
size_t fault_fwrite(const void *bytes, size_t width, size_t count, FILE *file);
int fault_fflush(FILE *file);
int fault_fclose(FILE *file);
int fault_link(const char *from, const char *to);
int fault_fsync(int file);
int fault_close(int file);
int fault_rename(const char *from, const char *to);
#ifdef __cplusplus
}
#endif

int fault_open(const char *path, int flags, ...)
{
    int file;
    if (fault_now())
        return -1;
    file = open(path, flags, 0666);
    fault.open_files += file >= 0;
    if (file >= 0 && flags == O_RDONLY)
        fault.folder = file;
    return file;
}

size_t fault_fwrite(const void *bytes, size_t width, size_t count, FILE *file)
{
    if (fault_now())
        return 0;
    fault_trace('w');
    return fwrite(bytes, width, count, file);
}

int fault_fflush(FILE *file) { return fault_now() ? EOF : fflush(file); }

int fault_fclose(FILE *file)
{
    const int failed = fault_now(), error = errno;
    (void)fclose(file);
    errno = error;
    return failed ? EOF : 0;
}

int fault_fsync(int file)
{
    if (fault_now())
        return -1;
    fault_trace(file == fault.folder ? 'S' : 's');
    if (file == fault.folder) {
        (void)fstat(file, &fault.synced);
        errno = fault.folder_error;
        if (errno != 0)
            return -1;
    }
    return fsync(file);
}

int fault_close(int file)  /* a file is closed even where the call says that it failed */
{
    int failed = fault_now(), error = errno;
    (void)close(file);
    if (file == fault.folder)
        fault.folder = -1;
    fault.open_files--;
    errno = error;
    return failed ? -1 : 0;
}

int fault_rename(const char *from, const char *to)
{
    if (fault_now())
        return -1;
    fault_trace('r');
    return rename(from, to);
}

int fault_link(const char *from, const char *to)
{
    if (fault_now())
        return -1;
    fault_trace('r');
    return link(from, to);
}

#define open fault_open
#define fwrite fault_fwrite
#define fflush fault_fflush
#define fclose fault_fclose
#define link fault_link
#define fsync fault_fsync
#define close fault_close
#define rename fault_rename
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#undef open
#undef fwrite
#undef fflush
#undef fclose
#undef link
#undef fsync
#undef close
#undef rename
#include "bytes.h"
#include "harness.h"
#include "tables.h"
#include "folder.h"

static void no_faults(void)
{
    memset(&fault, 0, sizeof fault);
    fault.folder = -1;
}

/* ---- two images of different sizes, the old one and the new one ------------------------------------- */

static tte_image before, after, large[2]; /* the large ones have many pages */
static char the_path[2000];
static const char *path;

static tte_image some_image(size_t vocab, tte_coding coding)
{
    float *table = mixed_table(vocab, 40);
    tte_options options = make_options(coding, 4, 0, NULL);
    tte_image image = make_image(table, vocab, 40, &options);
    free(table);
    return image;
}

/* An empty folder but for the old image, and no fault. */
static void begin_with(const tte_image *image)
{
    no_faults();
    empty_the_folder();
    if (image != NULL)
        CHECK_STATUS(tte_save(path, image), TTE_OK);
    no_faults();
}

/* The path holds this image, nothing else is in the folder, nothing is open or allocated. */
static int holds(const tte_image *image)
{
    return file_is(path, image) && files_in(folder) == 1 && fault.open_files == 0 && heap.live == 0;
}

static void check_load_fails(const char *from, tte_status want)
{
    tte_image image = sentinel_image();
    tte_table t;
    memset(&t, 0xA5, sizeof t);
    CHECK_STATUS(tte_load(from, &image, &t), want);
    CHECK(is_sentinel(&image) && is_untouched(&t, sizeof t) && heap.live == 0);
    CHECK_STATUS(tte_load(from, &image, NULL), want);
    CHECK(is_sentinel(&image) && heap.live == 0);
}

/* ---- where nothing fails ----------------------------------------------------------------------------- */

static void round_trip(void)
{
    const tte_image *const images[] = {&before, &after, &large[0], &before};
    begin_with(NULL);
    for (int i = 0; i < 4; i++) { /* each one over the one before */
        tte_image loaded = sentinel_image();
        tte_table t, other = open_image(images[i]);
        CHECK_STATUS(tte_save(path, images[i]), TTE_OK);
        CHECK(holds(images[i]));
        if (CHECK_STATUS(tte_load(path, &loaded, &t), TTE_OK)) {
            float *rows = lookup_all(&t), *want = lookup_all(&other);
            CHECK(same_image(images[i], &loaded) && heap.live == 1);
            CHECK(t.data == loaded.data && memcmp(rows, want, other.vocab * 40 * sizeof *rows) == 0);
            free(rows), free(want);
            tte_free(&loaded);
        }
        if (CHECK_STATUS(tte_load(path, &loaded, NULL), TTE_OK)) {
            CHECK(same_image(images[i], &loaded) && heap.live == 1);
            tte_free(&loaded);
        }
        CHECK(heap.live == 0);
    }
}

/* Whoever has the old file open goes on reading it whole: the new one is another file. */
static void replaced_as_a_whole(void)
{
    unsigned char *bytes = (unsigned char *)test_alloc(before.size);
    FILE *reader;
    begin_with(&before);
    reader = fopen(path, "rb");
    if (CHECK(reader != NULL)) {
        setvbuf(reader, NULL, _IONBF, 0);
        CHECK(fread(bytes, 1, 100, reader) == 100);
        CHECK_STATUS(tte_save(path, &after), TTE_OK);
        CHECK(fread(bytes + 100, 1, before.size - 100, reader) == before.size - 100);
        CHECK(memcmp(bytes, before.data, before.size) == 0);
        fclose(reader);
    }
    CHECK(holds(&after));
    free(bytes);
}

static void bad_arguments(void)
{
    tte_image none = {NULL, 0}, out = sentinel_image();
    begin_with(NULL);
    CHECK_STATUS(tte_save(NULL, &before), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_save(path, NULL), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_save(path, &none), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_load(NULL, &out, NULL), TTE_ERR_ARGUMENT);
    CHECK_STATUS(tte_load(path, NULL, NULL), TTE_ERR_ARGUMENT);
    CHECK(is_sentinel(&out) && files_in(folder) == 0);
}

static void paths_that_lead_nowhere(void)
{
    static const char *const nowhere[] = {"nowhere/table.tte", "missing.tte"};
    const char *inner = path_of("folder");
    begin_with(NULL);
    for (int i = 0; i < 2; i++) {
        errno = 0;
        check_load_fails(path_of(nowhere[i]), TTE_ERR_IO);
        CHECK(errno == ENOENT);
    }
    errno = 0;
    CHECK_STATUS(tte_save(path_of(nowhere[0]), &before), TTE_ERR_IO);
    CHECK(errno == ENOENT);
    check_load_fails("", TTE_ERR_IO);
    CHECK_STATUS(tte_save("", &before), TTE_ERR_IO);
    CHECK(mkdir(inner, 0700) == 0);
    CHECK_STATUS(tte_save(inner, &before), TTE_ERR_IO);
    check_load_fails(inner, TTE_ERR_IO);
    CHECK(files_in(folder) == 1 && files_in(inner) == 0 && heap.live == 0);
    CHECK(rmdir(inner) == 0);
}

static void files_that_are_no_images(void)
{
    static const struct { size_t at; unsigned char turned; tte_status status; } damages[] = {
        {AT_RECORDED, 1, TTE_ERR_CHECKSUM}, {AT_VERSION, 0x40, TTE_ERR_VERSION}, {0, 1, TTE_ERR_FORMAT}};
    unsigned char *bytes = (unsigned char *)test_alloc(before.size + 3000);
    tte_status status;
    tte_image out = sentinel_image();
    begin_with(NULL);
    for (size_t size = 0; size < 12; size++) {
        write_file(path, "\x89TTE text, and no more", size);
        status = tte_load(path, &out, NULL);
        CHECK((status == TTE_ERR_FORMAT || status == TTE_ERR_TRUNCATED) && is_sentinel(&out) && heap.live == 0);
    }
    for (int i = 0; i < 3000; i++)
        bytes[i] = (unsigned char)(rng_next() & 0xFF);
    write_file(path, bytes, 3000);
    check_load_fails(path, TTE_ERR_FORMAT);
    memcpy(bytes, before.data, before.size);
    write_file(path, bytes, before.size - 1);
    check_load_fails(path, TTE_ERR_TRUNCATED);
    write_file(path, bytes, before.size / 2);
    check_load_fails(path, TTE_ERR_TRUNCATED);
    write_file(path, bytes, before.size + 1);
    check_load_fails(path, TTE_ERR_FORMAT);
    heap.peak = heap.bytes; /* an image, and zeros for ever */
    if (truncate(path, (off_t)1 << (sizeof(off_t) > 4 ? 40 : 30)) == 0) check_load_fails(path, TTE_ERR_FORMAT);
    CHECK(heap.peak < 1000000);
    for (int i = 0; i < 4; i++) { /* the last one is in a record, which tte_open does not read */
        size_t at = i < 3 ? damages[i].at : before.size / 2;
        unsigned char turned = i < 3 ? damages[i].turned : 0x10;
        bytes[at] ^= turned;
        write_file(path, bytes, before.size);
        check_load_fails(path, i < 3 ? damages[i].status : TTE_ERR_CHECKSUM);
        bytes[at] ^= turned;
    }
    free(bytes);
}

/* A name as long as the file system allows leaves no room for a suffix: saved or refused, but no rest stays. */
static void long_names(void)
{
    char name[300];
    begin_with(NULL);
    for (size_t length = 230; length < 260; length++) {
        tte_status status;
        memset(name, 'n', length);
        name[length] = 0;
        status = tte_save(path_of(name), &before);
        CHECK(status == TTE_OK || status == TTE_ERR_IO);
        CHECK(files_in(folder) == (status == TTE_OK));
        if (status == TTE_OK)
            CHECK(file_is(path_of(name), &before) && remove(path_of(name)) == 0);
    }
}

/* ---- faults ------------------------------------------------------------------------------------------ */

/* The n-th call fails, with errors of every kind: the old file stays unless the new one had been renamed to
 * it, no rest is left, no file stays open. */
static void each_call_fails(void)
{
    static const int reasons[] = {ENOSPC, EIO, EDQUOT, EACCES, EMFILE, EROFS, EINTR};
    for (int e = 0; e < 7; e++) {
        long n, failed = 0;
        tte_status status = TTE_ERR_IO;
        for (n = 1; n < 1000; n++) {
            int error;
            begin_with(&before);
            fault.fail_at = n, fault.error = reasons[e];
            errno = 0;
            status = tte_save(path, &after);
            error = errno;
            CHECK(follows('r', 's') && follows('S', 'r'));
            if (fault.calls < n)
                break;
            CHECK(status == TTE_OK || (status == TTE_ERR_IO && error == reasons[e]));
            CHECK(holds(status == TTE_OK || strchr(fault.trace, 'r') != NULL ? &after : &before));
            failed += status != TTE_OK;
        }
        CHECK(n == 11 && failed >= (reasons[e] == EACCES ? 6 : 8)); /* all but two close */
        CHECK_STATUS(status, TTE_OK);
        CHECK(holds(&after));
    }
}

/* The system itself says no: a limit on the size of files stands for a disk that is full. */
static void files_that_may_not_grow(void)
{
    struct rlimit kept = {0, 0}, low;
    begin_with(&before);
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR && getrlimit(RLIMIT_FSIZE, &kept) == 0);
    low = kept, low.rlim_cur = 1000;
    CHECK(setrlimit(RLIMIT_FSIZE, &low) == 0);
    CHECK_STATUS(tte_save(path, &large[0]), TTE_ERR_IO);
    CHECK(errno == EFBIG && setrlimit(RLIMIT_FSIZE, &kept) == 0);
    CHECK(holds(&before));
}

/* Writes some bytes, then ends as it is told. */
static int put_some(void *user, FILE *file)
{
    return fputs("some bytes\n", file) < 0 ? -1 : *(const int *)user;
}

static void writers_that_give_up(void)
{
    int answer = -1;
    begin_with(&before);
    errno = 0;
    CHECK_STATUS(tte_write(path, 1, put_some, &answer), TTE_ERR_IO);
    CHECK(holds(&before));
    CHECK_STATUS(tte_write(path_of("other"), 0, put_some, &answer), TTE_ERR_IO);
    CHECK(holds(&before));
    answer = 0;
    CHECK_STATUS(tte_write(path, 1, put_some, &answer), TTE_OK);
    CHECK(files_in(folder) == 1 && !file_is(path, &before));
}

/* What is renamed has been seen through to the disk: after a power cut the new name means the new bytes.
 * Then the folder has, so that the new name is there. */
static void disk_before_name(void)
{
    char back[1000];
    struct stat about;
    begin_with(NULL);
    CHECK_STATUS(tte_save(path, &large[0]), TTE_OK);
    CHECK(strcmp(fault.trace, "wsrS") == 0);
    CHECK_STATUS(tte_save(path, &large[1]), TTE_OK);
    CHECK(strcmp(fault.trace, "wsrSwsrS") == 0);
    CHECK(stat(folder, &about) == 0);
    CHECK(fault.synced.st_ino == about.st_ino && fault.synced.st_dev == about.st_dev);
    memset(&fault.synced, 0, sizeof fault.synced);
    if (CHECK(getcwd(back, sizeof back) != NULL && chdir(folder) == 0)) { /* a path of a name alone */
        CHECK_STATUS(tte_save("table.tte", &large[0]), TTE_OK);
        CHECK(fault.synced.st_ino == about.st_ino && fault.synced.st_dev == about.st_dev);
        CHECK(chdir(back) == 0);
    }
    CHECK(holds(&large[0]));
}

/* A file system that has no fsync for folders is none of ours to blame; a disk that fails is. */
static void folders_that_cannot_sync(void)
{
    static const struct { int error; tte_status status; } answers[] = {
        {EINVAL, TTE_OK}, {ENOTSUP, TTE_OK}, {EBADF, TTE_OK}, {ENOSYS, TTE_OK},
        {EIO, TTE_ERR_IO}, {ENOSPC, TTE_ERR_IO}, {EDQUOT, TTE_ERR_IO}};
    for (int i = 0; i < 7; i++) {
        begin_with(&before);
        fault.folder_error = answers[i].error;
        CHECK_STATUS(tte_save(path, &after), answers[i].status);
        CHECK(answers[i].status == TTE_OK || errno == answers[i].error);
        CHECK(holds(&after) && strcmp(fault.trace, "wsrS") == 0);
    }
}

/* As somebody to whom folders can be closed; root goes there in a child that gives its rights away. */
static void folders_that_are_closed(void)
{
    const char *inner = path_of("closed"), *file = path_of("closed/table.tte");
    int how = 1;
    pid_t child;
    begin_with(NULL);
    CHECK(mkdir(inner, 0700) == 0);
    CHECK_STATUS(tte_save(file, &before), TTE_OK);
    child = fork();
    if (child == 0) {
        if (chdir(inner) != 0 || (geteuid() == 0 && (chown(".", 12345, 12345) != 0 || setuid(12345) != 0)))
            _exit(1);
        if (chmod(".", 0500) != 0 || tte_save("table.tte", &after) != TTE_ERR_IO || errno != EACCES)
            _exit(2);
        no_faults();
        if (chmod(".", 0300) != 0 || tte_save("table.tte", &after) != TTE_OK)
            _exit(3);
        if (strcmp(fault.trace, "wsr") != 0) /* what may not be read cannot be opened for fsync */
            _exit(4);
        _exit(chmod(".", 0700) != 0 || fault.open_files != 0 ? 5 : 0);
    }
    CHECK(child > 0 && waitpid(child, &how, 0) == child && WIFEXITED(how));
    CHECK(WEXITSTATUS(how) == 0);
    CHECK(file_is(file, &after) && files_in(inner) == 1);
    CHECK(remove(file) == 0 && rmdir(inner) == 0);
}

/* A name that is taken, whatever it is, is not written through; here by a device that takes no byte. */
static void names_that_are_taken(void)
{
    struct stat about;
    begin_with(NULL);
    CHECK(symlink("/dev/full", path_of("table.tte.tte-tmp00")) == 0);
    CHECK_STATUS(tte_save(path, &before), TTE_OK);
    CHECK(file_is(path, &before));
    CHECK(stat("/dev/full", &about) != 0 || S_ISCHR(about.st_mode));
}

/* A file that is replaced gives its mode to the new one and, where that is allowed, its owner. */
static void modes_and_owners(void)
{
    static const mode_t modes[] = {0600, 0640, 0444, 0666};
    struct stat about;
    for (int i = 0; i < 4; i++) {
        begin_with(&before);
        CHECK(chmod(path, modes[i]) == 0 && (geteuid() != 0 || chown(path, 123, 456) == 0));
        CHECK_STATUS(tte_save(path, &after), TTE_OK);
        CHECK(holds(&after) && stat(path, &about) == 0 && (about.st_mode & 07777) == modes[i]);
        CHECK(geteuid() != 0 || (about.st_uid == 123 && about.st_gid == 456));
    }
}

static void only_plain_files(void)
{
    struct stat about;
    begin_with(NULL);
    CHECK(mkfifo(path, 0600) == 0);
    CHECK_STATUS(tte_save(path, &before), TTE_ERR_IO);
    CHECK(errno == ENOTSUP && stat(path, &about) == 0 && S_ISFIFO(about.st_mode) && files_in(folder) == 1);
    CHECK(remove(path) == 0 && symlink("/dev/null", path) == 0);
    CHECK_STATUS(tte_save(path, &before), TTE_ERR_IO);
    CHECK(errno == ENOTSUP && files_in(folder) == 1);
    CHECK(remove(path) == 0 && mkdir(path, 0700) == 0);
    CHECK_STATUS(tte_save(path, &before), TTE_ERR_IO);
    CHECK(errno == EISDIR && rmdir(path) == 0);
}

/* What is there stays; also where a file cannot have two names, and the name is taken first. */
static void without_replacing(void)
{
    int answer = 0;
    for (long n = 0; n < 2; n++) {
        begin_with(&before);
        errno = 0;
        CHECK_STATUS(tte_write(path, 0, put_some, &answer), TTE_ERR_IO);
        CHECK(errno == EEXIST && holds(&before));
        CHECK(remove(path) == 0);
        no_faults();
        fault.fail_at = n == 0 ? 0 : 6, fault.error = EPERM; /* link: behind open, fflush, fclose, fsync, open */
        CHECK_STATUS(tte_write(path, 0, put_some, &answer), TTE_OK);
        CHECK(strcmp(fault.trace, "srS") == 0 && files_in(folder) == 1 && fault.open_files == 0);
    }
}

/* Whatever a process that was killed had written. */
static void rests_of_the_dead(void)
{
    static const char *const rests[] = {"", "\x89TTE", "a word\nanother\n"};
    for (int i = 0; i < 3; i++) {
        begin_with(&before);
        write_file(path_of("table.tte.tte-tmp00"), rests[i], strlen(rests[i]));
        CHECK_STATUS(tte_save(path, &after), TTE_OK);
        CHECK(holds(&after));
    }
}

/* Each request fails in turn; a long file's buffer grows more than once. */
static void memory_that_runs_out(void)
{
    tte_status status = TTE_ERR_MEMORY;
    begin_with(NULL);
    for (heap.refuse = 1; status == TTE_ERR_MEMORY && heap.refuse < 100; heap.refuse++) {
        heap.requests = 0;
        status = tte_save(path, &large[0]);
        CHECK(heap.live == 0 && files_in(folder) == (status == TTE_OK));
    }
    CHECK_STATUS(status, TTE_OK);
    for (heap.refuse = 1, status = TTE_ERR_MEMORY; status == TTE_ERR_MEMORY && heap.refuse < 100; heap.refuse++) {
        tte_image out = sentinel_image();
        heap.requests = 0;
        status = tte_load(path, &out, NULL);
        if (status == TTE_ERR_MEMORY) {
            CHECK(is_sentinel(&out) && heap.live == 0);
        } else if (CHECK_STATUS(status, TTE_OK)) {
            CHECK(same_image(&out, &large[0]));
            tte_free(&out);
        }
    }
    CHECK(heap.refuse > 3);
    heap.refuse = 0;
    CHECK(holds(&large[0]));
}

/* ---- the process is killed ------------------------------------------------------------------------------ */

/* A child saves `after`, or goes on saving one and the other; 0 when it was killed. */
static int save_in_a_child(const tte_image *images, int for_ever, long microseconds)
{
    int how = 0;
    pid_t child = fork();
    if (child == 0) {
        int turn = 1;
        do {
            if (tte_save(path, &images[turn]) != TTE_OK)
                _exit(1);
            turn = !turn;
        } while (for_ever);
        _exit(0);
    }
    if (!CHECK(child > 0))
        return 1;
    if (for_ever) {
        struct timespec pause = {0, 0};
        pause.tv_nsec = 1000 * microseconds;
        (void)nanosleep(&pause, NULL);
        CHECK(kill(child, SIGKILL) == 0);
    }
    CHECK(waitpid(child, &how, 0) == child);
    CHECK(WIFSIGNALED(how) || WEXITSTATUS(how) == 0);
    return !WIFSIGNALED(how);
}

/* Killed before each of the calls in turn. Then the next save goes well and leaves nothing but its
 * file. */
static void killed_at_each_call(void)
{
    tte_image images[2];
    int done = 0;
    long n;
    images[0] = before, images[1] = after;
    begin_with(NULL);
    for (n = 1; n < 1000 && !done; n++) {
        no_faults();
        CHECK_STATUS(tte_save(path, &before), TTE_OK);
        CHECK(holds(&before)); /* what was left behind is gone again */
        no_faults();
        fault.kill_at = n;
        done = save_in_a_child(images, 0, 0);
        CHECK(file_is(path, &images[done]) || file_is(path, &after));
        CHECK(files_in(folder) <= 2);
    }
    CHECK(done && n > 9);
}

/* Killed at any moment, again and again: the path holds one image or the other, whole, and what is left
 * behind does not pile up. */
static void killed_at_any_moment(void)
{
    int times = test.small ? 100 : 1000, most = 0, saw[2] = {0, 0}, longest = 4000;
    begin_with(&large[0]);
    /* On a machine that is busy a child may take long to save anything: then it gets more time. */
    for (int round = 0; round < times + 1000 && test.bad == 0; round++) {
        int which, files;
        if (round >= times && saw[0] > 0 && saw[1] > 0)
            break;
        if (round >= times && longest < 500000)
            longest *= 2;
        (void)save_in_a_child(large, 1, rng_int(0, longest));
        which = file_is(path, &large[1]);
        CHECK(which || file_is(path, &large[0]));
        saw[which]++;
        files = files_in(folder);
        most = files > most ? files : most;
    }
    CHECK(saw[0] > 0 && saw[1] > 0); /* the kills fell on different moments */
    CHECK(most <= 2);
    no_faults();
    CHECK_STATUS(tte_save(path, &large[1]), TTE_OK);
    CHECK(holds(&large[1]));
}

/* Three processes save the same path at the same time, over and over: each succeeds, and none takes
 * another's unfinished file for one that was left behind. */
static void three_at_a_time(void)
{
    pid_t child[3];
    begin_with(NULL);
    for (int c = 0; c < 3; c++) {
        child[c] = fork();
        if (child[c] == 0) {
            tte_image seen;
            for (int i = 0; i < (test.small ? 100 : 1000); i++) {
                if (tte_save(path, c % 2 ? &after : &before) != TTE_OK)
                    _exit(1);
                if (tte_load(path, &seen, NULL) != TTE_OK)
                    _exit(2);
                if (!same_image(&seen, &before) && !same_image(&seen, &after))
                    _exit(3);
                tte_free(&seen);
            }
            _exit(0);
        }
        CHECK(child[c] > 0);
    }
    for (int c = 0; c < 3; c++) {
        int how = 1;
        CHECK(waitpid(child[c], &how, 0) == child[c] && WIFEXITED(how));
        CHECK(WEXITSTATUS(how) == 0);
    }
    CHECK(files_in(folder) == 1);
}

/* Three processes want a name that is free: one gets it. */
static void three_at_a_time_for_one_name(void)
{
    for (int round = 0; round < (test.small ? 30 : 300) && test.bad == 0; round++) {
        pid_t child[3];
        int got = 0, answer = 0;
        begin_with(NULL);
        for (int c = 0; c < 3; c++)
            if ((child[c] = fork()) == 0)
                _exit(tte_write(path, 0, put_some, &answer) == TTE_OK ? 0 : errno == EEXIST ? 1 : 2);
        for (int c = 0; c < 3; c++) {
            int how = 1;
            CHECK(waitpid(child[c], &how, 0) == child[c] && WIFEXITED(how) && WEXITSTATUS(how) < 2);
            got += WEXITSTATUS(how) == 0;
        }
        CHECK(got == 1 && files_in(folder) == 1);
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_faults");
    if (!make_the_folder("faults"))
        return 2;
    snprintf(the_path, sizeof the_path, "%s", path_of("table.tte"));
    path = the_path;
    before = some_image(30, TTE_F32), after = some_image(30, TTE_F16);
    large[0] = some_image(2000, TTE_F32), large[1] = some_image(2000, TTE_F16);
    RUN(round_trip);
    RUN(replaced_as_a_whole);
    RUN(bad_arguments);
    RUN(paths_that_lead_nowhere);
    RUN(files_that_are_no_images);
    RUN(long_names);
    RUN(each_call_fails);
    RUN(files_that_may_not_grow);
    RUN(writers_that_give_up);
    RUN(disk_before_name);
    RUN(folders_that_cannot_sync);
    RUN(folders_that_are_closed);
    RUN(names_that_are_taken);
    RUN(modes_and_owners);
    RUN(only_plain_files);
    RUN(without_replacing);
    RUN(rests_of_the_dead);
    RUN(memory_that_runs_out);
    RUN(killed_at_each_call);
    RUN(killed_at_any_moment);
    RUN(three_at_a_time);
    RUN(three_at_a_time_for_one_name);
    empty_the_folder();
    (void)rmdir(folder);
    free(before.data), free(after.data), free(large[0].data), free(large[1].data);
    return test_end();
}
