/* folder.h: a folder of a test's own, and what lies in it. Needs POSIX. Include it after harness.h. */
#ifndef TEST_FOLDER_H
#define TEST_FOLDER_H

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[1000];

/* A path in the folder; the text lives until four more have been asked for. */
static inline const char *path_of(const char *name)
{
    static char paths[4][2000];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", folder, name);
    return paths[turn];
}

static inline int files_in(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int count = 0;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (dir != NULL) closedir(dir);
    return count;
}

static inline void empty_the_folder(void)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.' || strlen(entry->d_name) > 2) (void)remove(path_of(entry->d_name));
    if (dir != NULL) closedir(dir);
    CHECK(files_in(folder) == 0);
}

/* Makes $TEST_TMP/name, or ./name. */
static inline int make_the_folder(const char *name)
{
    const char *base = getenv("TEST_TMP");
    snprintf(folder, sizeof folder, "%s/%s", base != NULL && *base != 0 ? base : ".", name);
    if (mkdir(folder, 0700) == 0 || errno == EEXIST) return 1;
    perror(folder);
    return 0;
}

static inline void write_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fwrite(bytes, 1, size, file) == size);
    if (file != NULL) CHECK(fclose(file) == 0);
}

/* Whether a file holds exactly these bytes. */
static inline int file_is(const char *path, const tte_image *image)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = (unsigned char *)test_alloc(image->size + 1);
    size_t size = file != NULL ? fread(bytes, 1, image->size + 1, file) : 0;
    int same = size == image->size && memcmp(bytes, image->data, size) == 0;
    if (file != NULL) fclose(file);
    free(bytes);
    return same;
}

#endif
