/* test_faults.c: tte_save and tte_load where the system says no, and where the process is killed.
 * Every call that the library makes to write a file passes through here: the n-th one fails, for every
 * n, or is the last thing that the process does. Whatever happens, the path holds the old image or the
 * new one, and the new one only after its bytes were seen through to the disk. Needs POSIX. Works in
 * $TEST_TMP/faults, or in ./faults. */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    size_t most;                   /* bytes that one write takes                                     */
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
ssize_t fault_write(int file, const void *bytes, size_t size);
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

ssize_t fault_write(int file, const void *bytes, size_t size)
{
    if (fault_now())
        return -1;
    fault_trace('w');
    return write(file, bytes, size < fault.most ? size : fault.most);
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

#define open fault_open
#define write fault_write
#define fsync fault_fsync
#define close fault_close
#define rename fault_rename
#define TT_EMBED_IMPLEMENTATION
#include "../tt_embed.h"
#undef open
#undef write
#undef fsync
#undef close
#undef rename
#include "harness.h"
#include "tables.h"
#include "folder.h"

static void no_faults(void)
{
    memset(&fault, 0, sizeof fault);
    fault.most = SIZE_MAX;
    fault.folder = -1;
}

/* ---- images ---------------------------------------------------------------------------------------- */

/* Two images of different sizes, the old one and the new one; many pages where they are large. */
static void two_images(int large, tte_image *before, tte_image *after)
{
    size_t vocab = large ? 2000 : 30, dim = 40;
    float *table = mixed_table(vocab, dim);
    tte_options options = make_options(TTE_F32, 4, 0, NULL);
    *before = make_image(table, vocab, dim, &options);
    options.coding = TTE_F16;
    *after = make_image(table, vocab, dim, &options);
    CHECK(before->size != after->size);
    free(table);
}

static void free_both(tte_image *a, tte_image *b) { free(a->data), free(b->data); }

/* ---- faults ------------------------------------------------------------------------------------------ */

/* The n-th call fails, with errors of every kind: the old file stays unless the new one had been renamed to
 * it, no rest is left, no file stays open. (An interrupted write is tried again.) */
static void each_call_fails(void)
{
    static const int reasons[] = {ENOSPC, EIO, EDQUOT, EACCES, EMFILE, EROFS, EINTR};
    const char *path = path_of("table.tte");
    tte_image before, after;
    two_images(0, &before, &after);
    for (int e = 0; e < 7; e++) {
        long n, failed = 0;
        tte_status status = TTE_ERR_IO;
        empty_the_folder();
        no_faults();
        CHECK_STATUS(tte_save(path, &before), TTE_OK);
        for (n = 1; n < 1000; n++) {
            int error;
            no_faults();
            fault.most = after.size / 7, fault.fail_at = n, fault.error = reasons[e];
            errno = 0;
            status = tte_save(path, &after);
            error = errno;
            CHECK(fault.open_files == 0 && heap.live == 0 && follows('r', 's') && follows('S', 'r'));
            if (fault.calls < n)
                break;
            CHECK(files_in(folder) == 1);
            CHECK(status == TTE_OK || status == TTE_ERR_IO);
            if (status == TTE_OK) {
                CHECK(file_is(path, &after));
                no_faults();
                CHECK_STATUS(tte_save(path, &before), TTE_OK);
                continue;
            }
            failed++;
            CHECK(error == reasons[e]);
            CHECK(file_is(path, strchr(fault.trace, 'r') != NULL ? &after : &before));
            no_faults();
            CHECK_STATUS(tte_save(path, &before), TTE_OK);
        }
        CHECK(n > 13 && failed >= (reasons[e] == EINTR ? 1 : 9));
        CHECK_STATUS(status, TTE_OK);
        CHECK(file_is(path, &after));
    }
    no_faults();
    free_both(&before, &after);
}

static void short_writes(void)
{
    static const size_t most[] = {1, 7, 512, 4095};
    const char *path = path_of("table.tte");
    tte_image before, after;
    two_images(0, &before, &after);
    empty_the_folder();
    for (int i = 0; i < 4; i++) {
        no_faults();
        CHECK_STATUS(tte_save(path, &before), TTE_OK);
        fault.most = most[i];
        CHECK_STATUS(tte_save(path, &after), TTE_OK);
        CHECK(file_is(path, &after) && files_in(folder) == 1 && follows('r', 's'));
    }
    no_faults();
    fault.most = 0; /* a file that takes nothing more, and does not say why */
    CHECK_STATUS(tte_save(path, &before), TTE_ERR_IO);
    CHECK(file_is(path, &after) && files_in(folder) == 1 && fault.open_files == 0);
    no_faults();
    free_both(&before, &after);
}

/* What is renamed has been seen through to the disk: after a power cut the new name means the new bytes.
 * Then the folder has, so that the new name is there. */
static void disk_before_name(void)
{
    char back[1000];
    struct stat about;
    tte_image before, after;
    two_images(1, &before, &after);
    empty_the_folder();
    no_faults();
    CHECK_STATUS(tte_save(path_of("table.tte"), &before), TTE_OK);
    CHECK(strcmp(fault.trace, "wsrS") == 0 && fault.open_files == 0);
    fault.most = after.size / 3;
    CHECK_STATUS(tte_save(path_of("table.tte"), &after), TTE_OK);
    CHECK(strcmp(fault.trace, "wsrSwsrS") == 0 && fault.open_files == 0);
    CHECK(stat(folder, &about) == 0);
    CHECK(fault.synced.st_ino == about.st_ino && fault.synced.st_dev == about.st_dev);
    memset(&fault.synced, 0, sizeof fault.synced);
    if (CHECK(getcwd(back, sizeof back) != NULL && chdir(folder) == 0)) { /* a path of a name alone */
        CHECK_STATUS(tte_save("table.tte", &before), TTE_OK);
        CHECK(fault.synced.st_ino == about.st_ino && fault.synced.st_dev == about.st_dev);
        CHECK(chdir(back) == 0);
    }
    CHECK(file_is(path_of("table.tte"), &before));
    free_both(&before, &after);
}

/* A file system that has no fsync for folders is none of ours to blame; a disk that fails is. */
static void folders_that_cannot_sync(void)
{
    static const struct { int error; tte_status status; } answers[] = {
        {EINVAL, TTE_OK}, {ENOTSUP, TTE_OK}, {EBADF, TTE_OK}, {ENOSYS, TTE_OK},
        {EIO, TTE_ERR_IO}, {ENOSPC, TTE_ERR_IO}, {EDQUOT, TTE_ERR_IO}};
    const char *path = path_of("table.tte");
    tte_image before, after;
    two_images(0, &before, &after);
    empty_the_folder();
    for (int i = 0; i < 7; i++) {
        no_faults();
        fault.folder_error = answers[i].error;
        CHECK_STATUS(tte_save(path, i % 2 ? &before : &after), answers[i].status);
        CHECK(answers[i].status == TTE_OK || errno == answers[i].error);
        CHECK(file_is(path, i % 2 ? &before : &after) && files_in(folder) == 1);
        CHECK(strcmp(fault.trace, "wsrS") == 0 && fault.open_files == 0 && heap.live == 0);
    }
    no_faults();
    free_both(&before, &after);
}

/* As somebody to whom folders can be closed; root goes there in a child that gives its rights away. */
static void folders_that_are_closed(void)
{
    const char *inner = path_of("closed"), *path = path_of("closed/table.tte");
    tte_image before, after;
    int how = 1;
    pid_t child;
    two_images(0, &before, &after);
    empty_the_folder();
    CHECK(mkdir(inner, 0700) == 0);
    no_faults();
    CHECK_STATUS(tte_save(path, &before), TTE_OK);
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
    CHECK(file_is(path, &after) && files_in(inner) == 1);
    CHECK(remove(path) == 0 && rmdir(inner) == 0);
    free_both(&before, &after);
}

/* /dev/full takes no byte: a full disk of the system's own making, where it has one. */
static void full_device(void)
{
    tte_image before, after;
    struct stat about;
    two_images(0, &before, &after);
    empty_the_folder();
    no_faults();
    if (stat("/dev/full", &about) == 0 && symlink("/dev/full", path_of("table.tte.tmp00")) == 0) {
        /* a name that is taken, whatever it is, is not written through */
        CHECK_STATUS(tte_save(path_of("table.tte"), &before), TTE_OK);
        CHECK(file_is(path_of("table.tte"), &before));
        CHECK(stat("/dev/full", &about) == 0 && S_ISCHR(about.st_mode));
    }
    CHECK_STATUS(tte_save(path_of("other.tte"), &before), TTE_OK);
    empty_the_folder();
    free_both(&before, &after);
}

/* ---- memory ------------------------------------------------------------------------------------------ */

/* A file so long that its buffer grows more than once: each of the requests fails in turn. */
static void memory_for_a_long_file(void)
{
    const char *path = path_of("table.tte");
    tte_image before, after, out = sentinel_image();
    tte_status status = TTE_ERR_MEMORY;
    two_images(1, &before, &after);
    empty_the_folder();
    no_faults();
    CHECK_STATUS(tte_save(path, &before), TTE_OK);
    for (heap.refuse = 1; heap.refuse < 100; heap.refuse++) {
        heap.requests = 0;
        status = tte_load(path, &out);
        if (heap.requests < heap.refuse)
            break;
        CHECK_STATUS(status, TTE_ERR_MEMORY);
        CHECK(is_sentinel(&out) && heap.live == 0);
    }
    CHECK(heap.refuse > 3);
    heap.refuse = 0;
    if (CHECK_STATUS(status, TTE_OK)) {
        CHECK(same_image(&out, &before));
        tte_free(&out);
    }
    CHECK(heap.live == 0);
    free_both(&before, &after);
}

/* ---- the process is killed ------------------------------------------------------------------------------ */

/* A child saves `after`, or goes on saving one and the other; 0 when it was killed. */
static int save_in_a_child(const char *path, const tte_image *images, int for_ever, long microseconds)
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
    const char *path = path_of("table.tte");
    tte_image images[2];
    int done = 0;
    long n;
    two_images(0, &images[0], &images[1]);
    empty_the_folder();
    for (n = 1; n < 1000 && !done; n++) {
        no_faults();
        CHECK_STATUS(tte_save(path, &images[0]), TTE_OK);
        CHECK(files_in(folder) == 1); /* what was left behind is gone again */
        no_faults();
        fault.most = images[1].size / 7, fault.kill_at = n;
        done = save_in_a_child(path, images, 0, 0);
        CHECK(file_is(path, &images[done]) || file_is(path, &images[1]));
        CHECK(files_in(folder) <= 2);
    }
    CHECK(done && n > 10);
    no_faults();
    free_both(&images[0], &images[1]);
}

/* Killed at any moment, again and again: the path holds one image or the other, whole, and what is left
 * behind does not pile up. */
static void killed_at_any_moment(void)
{
    const char *path = path_of("table.tte");
    int times = test.small ? 100 : 1000, most = 0, saw[2] = {0, 0}, longest = 4000;
    tte_image images[2];
    two_images(1, &images[0], &images[1]);
    empty_the_folder();
    no_faults();
    CHECK_STATUS(tte_save(path, &images[0]), TTE_OK);
    /* On a machine that is busy a child may take long to save anything: then it gets more time. */
    for (int round = 0; round < times + 1000 && test.bad == 0; round++) {
        int which, files;
        if (round >= times && saw[0] > 0 && saw[1] > 0)
            break;
        if (round >= times && longest < 500000)
            longest *= 2;
        fault.most = rng_int(0, 1) ? SIZE_MAX : 4096;
        (void)save_in_a_child(path, images, 1, rng_int(0, longest));
        which = file_is(path, &images[1]);
        CHECK(which || file_is(path, &images[0]));
        saw[which]++;
        files = files_in(folder);
        most = files > most ? files : most;
    }
    CHECK(saw[0] > 0 && saw[1] > 0); /* the kills fell on different moments */
    CHECK(most <= 2);
    no_faults();
    CHECK_STATUS(tte_save(path, &images[1]), TTE_OK);
    CHECK(file_is(path, &images[1]) && files_in(folder) == 1);
    free_both(&images[0], &images[1]);
}

/* Two processes save the same path at the same time, over and over: each succeeds, and neither takes the
 * other's unfinished file for one that was left behind. */
static void two_at_a_time(void)
{
    const char *path = path_of("table.tte");
    tte_image images[2];
    pid_t child[3];
    two_images(0, &images[0], &images[1]);
    empty_the_folder();
    no_faults();
    for (int c = 0; c < 3; c++) {
        child[c] = fork();
        if (child[c] == 0) {
            tte_image seen;
            fault.most = 500;
            for (int i = 0; i < (test.small ? 100 : 1000); i++) {
                if (tte_save(path, &images[c % 2]) != TTE_OK)
                    _exit(1);
                if (tte_load(path, &seen) != TTE_OK)
                    _exit(2);
                if (!same_image(&seen, &images[0]) && !same_image(&seen, &images[1]))
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
    free_both(&images[0], &images[1]);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "test_faults");
    if (!make_the_folder("faults"))
        return 2;
    RUN(each_call_fails);
    RUN(short_writes);
    RUN(disk_before_name);
    RUN(folders_that_cannot_sync);
    RUN(folders_that_are_closed);
    RUN(full_device);
    RUN(memory_for_a_long_file);
    RUN(killed_at_each_call);
    RUN(killed_at_any_moment);
    RUN(two_at_a_time);
    empty_the_folder();
    (void)rmdir(folder);
    return test_end();
}
