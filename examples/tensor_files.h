/*
 * tensor_files.h - the files that tables of numbers come in
 *
 * safetensors, NumPy's .npy, GGUF and the text of word vectors, for the programs beside it. A parser
 * gets bytes, mostly those of a mapped file, and gives a list of tensors: name, type, shape, place. It
 * trusts nothing: every number of a file is checked before it is used, so that afterwards tensor_rows
 * reads inside the file, whatever the file is. It ends with a list, or with one line in `why->text` that
 * says which file, where in it, and what is wrong.
 *
 * Everything is here, in reading order: troubles, memory, files, numbers, UTF-8, JSON, tensors,
 * safetensors, output, calibration, .npy, raw numbers, GGUF, word vectors; for commands about one table words
 * and numbers of a command, input, the table, its rows and their weights. C99 that is also C++11. Where there is
 * POSIX, files are mapped; elsewhere they are read whole.
 *
 * A program may define before it includes this file
 *     TENSOR_FILES_FAIL(text)    called with the first trouble of a parser; it need not return
 *     TENSOR_FILES_TABLES        a table in any of these formats: ttembed.c, mpi_compress.c, bench
 */
#ifndef TENSOR_FILES_H
#define TENSOR_FILES_H

#include <errno.h>
#include <limits.h>
#ifdef TENSOR_FILES_TABLES
#include <math.h>
#endif
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__unix__) || defined(__APPLE__)
#define TENSOR_FILES_POSIX 1
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#endif

#include "number_types.h"

#if defined(__GNUC__)
#define PRINTS(format_at) __attribute__((format(printf, format_at, format_at + 1)))
#else
#define PRINTS(format_at)
#endif
#ifndef TENSOR_FILES_FAIL
#define TENSOR_FILES_FAIL(text) ((void)(text))
#endif

/* ======================================================================================= */
/* TROUBLES: the first one stays                                                           */
/* ======================================================================================= */

typedef struct {
    char text[512];   /* "" when all is well */
} trouble;

/* Names come from files: control characters become '?'. */
PRINTS(2) SHARED void trouble_set(trouble *why, const char *format, ...)
{
    va_list list;
    char *c;

    if (why->text[0])
        return;
    va_start(list, format);
    vsnprintf(why->text, sizeof why->text, format, list);
    va_end(list);
    for (c = why->text; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            *c = '?';
    TENSOR_FILES_FAIL(why->text);
}

/* Appends to a string in an array of `size`; what does not fit is cut off. */
PRINTS(3) SHARED void add_text(char *text, size_t size, const char *format, ...)
{
    const size_t used = strlen(text);
    va_list list;

    va_start(list, format);
    vsnprintf(text + used, size - used, format, list);
    va_end(list);
}

/* ======================================================================================= */
/* MEMORY: every block is in one list, which a program can free at exit, also after an error */
/* ======================================================================================= */

typedef union block {
    struct {
        union block *before, *after;
    } link;
    double align_double;
    long double align_long_double;
} block;

static block blocks;   /* the list's head; not for use inside parallel regions */

static void block_link(block *b)
{
    b->link.before = &blocks;
    b->link.after = blocks.link.after;
    if (b->link.after)
        b->link.after->link.before = b;
    blocks.link.after = b;
}

static void block_unlink(block *b)
{
    b->link.before->link.after = b->link.after;
    if (b->link.after)
        b->link.after->link.before = b->link.before;
}

/* `old` (or NULL) becomes a block of count * size bytes. NULL, a trouble, and `old` as it was when
   there is no memory. */
static void *resize_or(trouble *why, void *old, size_t count, size_t size)
{
    block *b = old ? (block *)old - 1 : NULL, *larger = NULL;

    if (!size || count <= (SIZE_MAX - sizeof(block)) / size) {
        if (b)
            block_unlink(b);
        larger = (block *)realloc(b, sizeof(block) + count * size);
        if (larger || b)
            block_link(larger ? larger : b);
    }
    if (!larger)
        trouble_set(why, "out of memory: %zu times %zu bytes", count, size);
    return larger ? larger + 1 : NULL;
}

SHARED void give(void *p)
{
    if (p) {
        block_unlink((block *)p - 1);
        free((block *)p - 1);
    }
}

SHARED void give_all(void)
{
    while (blocks.link.after)
        give(blocks.link.after + 1);
}

/* ======================================================================================= */
/* FILES                                                                                   */
/* ======================================================================================= */

typedef struct {
    unsigned char *data;   /* size bytes, then a zero byte */
    size_t size;
} bytes;

/* A file that is mapped, as it was then; a block of the list. */
typedef struct mapped_file {
    struct mapped_file *next;
    const unsigned char *data;
    size_t size;
    int64_t at[4];               /* device, file, time of the last change: seconds, nanoseconds */
    char path[1];
} mapped_file;

static mapped_file *mapped_files;

typedef struct {
    const unsigned char *data;   /* not NULL, unless there was trouble */
    size_t size;
    mapped_file *mapped;             /* NULL: a block of memory */
} file_view;

SHARED char *path_join(trouble *why, const char *folder, const char *name)
{
    const size_t size = strlen(folder) + strlen(name) + 2;
    char *path = (char *)resize_or(why, NULL, size, 1);

    if (path)
        snprintf(path, size, "%s/%s", folder, name);
    return path;
}

/* All that is left in an open file; in pieces, so that pipes work and a folder is an error, not a huge
   block. data is NULL after a trouble. */
static bytes read_stream(trouble *why, const char *path, FILE *file)
{
    bytes all = {NULL, 0};
    size_t room = 1 << 16, got;

    all.data = (unsigned char *)resize_or(why, NULL, room, 1);
    while (all.data && (got = fread(all.data + all.size, 1, room - all.size - 1, file)) > 0) {
        all.size += got;
        if (all.size + 1 == room) {
            unsigned char *larger;
            room = room > SIZE_MAX / 2 ? SIZE_MAX : room * 2;
            larger = (unsigned char *)resize_or(why, all.data, room, 1);
            if (!larger)
                give(all.data);
            all.data = larger;
        }
    }
    if (all.data && ferror(file)) {
        give(all.data);
        all.data = NULL;
        trouble_set(why, "%s: %s", path, strerror(errno));
    }
    if (all.data)
        all.data[all.size] = 0;
    else
        all.size = 0;
    return all;
}

/* Whether it may have no end. */
static int is_device(FILE *file)
{
#if defined(TENSOR_FILES_POSIX) && defined(_POSIX_C_SOURCE)   /* which fileno is part of */
    struct stat about;
    return fstat(fileno(file), &about) == 0 && (S_ISCHR(about.st_mode) || S_ISBLK(about.st_mode));
#else
    (void)file;
    return 0;
#endif
}

/* The whole file. */
SHARED bytes read_file(trouble *why, const char *path)
{
    bytes all = {NULL, 0};
    FILE *file = fopen(path, "rb");

    if (!file) {
        trouble_set(why, "%s: %s", path, strerror(errno));
        return all;
    }
    if (is_device(file))
        trouble_set(why, "%s: a device, not a file", path);
    else
        all = read_stream(why, path, file);
    fclose(file);
    return all;
}

/* Whether there is no such file; any other trouble with it shows when it is read. */
SHARED int file_missing(const char *path)
{
    FILE *there = fopen(path, "rb");

    if (there)
        fclose(there);
    return !there && errno == ENOENT;
}

/* Pages of a mapped file that became shorter are gone: the system says so with SIGBUS. */
#if defined(TENSOR_FILES_POSIX) && defined(SA_SIGINFO) && defined(SIGBUS)
static void say(const char *text)
{
    if (write(2, text, strlen(text)) < 0)
        _exit(1);
}

static void on_lost_page(int number, siginfo_t *info, void *context)
{
    const unsigned char *p = (const unsigned char *)info->si_addr;
    const mapped_file *m;

    (void)context;
    for (m = mapped_files; m; m = m->next)
        if (p >= m->data && p < m->data + m->size) {
            say(m->path);
            say(": became shorter while it was read\n");
            _exit(1);
        }
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void watch_pages(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_lost_page;
    action.sa_flags = SA_SIGINFO;
    (void)sigaction(SIGBUS, &action, NULL);
}
#else
#define watch_pages() ((void)0)
#endif

#ifdef TENSOR_FILES_POSIX
static void mapping_state(const struct stat *about, int64_t *at)
{
    at[0] = (int64_t)about->st_dev;
    at[1] = (int64_t)about->st_ino;
    at[2] = (int64_t)about->st_mtime;
#ifdef st_mtime
    at[3] = (int64_t)about->st_mtim.tv_nsec;
#else
    at[3] = 0;
#endif
}
#endif

/* A file's bytes without a copy, where it is a plain file and the system can do that. */
SHARED file_view view_file(trouble *why, const char *path)
{
    file_view view = {NULL, 0, NULL};
    bytes all;
#ifdef TENSOR_FILES_POSIX
    const int file = open(path, O_RDONLY);
    mapped_file *m = file < 0 ? NULL : (mapped_file *)resize_or(why, NULL, sizeof *m + strlen(path), 1);
    struct stat about;

    if (!m) {
        if (file < 0)
            trouble_set(why, "%s: %s", path, strerror(errno));
        else
            close(file);
        return view;
    }
    if (fstat(file, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0
        && (uint64_t)about.st_size <= SIZE_MAX) {
        void *data = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (data != MAP_FAILED) {
            m->data = view.data = (const unsigned char *)data;
            m->size = view.size = (size_t)about.st_size;
            mapping_state(&about, m->at);
            memcpy(m->path, path, strlen(path) + 1);
            m->next = mapped_files;
            mapped_files = view.mapped = m;
            watch_pages();
        }
    }
    close(file);
    if (view.mapped)
        return view;
    give(m);
#endif
    all = read_file(why, path);
    view.data = all.data;
    view.size = all.size;
    return view;
}

/* Whether a mapped file is what it was when it was opened: what was read of it may be of both. */
SHARED void view_check(trouble *why, const file_view *view)
{
#ifdef TENSOR_FILES_POSIX
    const mapped_file *m = view->mapped;
    struct stat about;
    int64_t at[4];

    if (!m || stat(m->path, &about) != 0)
        return;
    mapping_state(&about, at);
    if (at[0] == m->at[0] && at[1] == m->at[1]
        && (at[2] != m->at[2] || at[3] != m->at[3] || (uint64_t)about.st_size != m->size))
        trouble_set(why, "%s: changed while it was read", m->path);
#else
    (void)why;
    (void)view;
#endif
}

SHARED void close_view(file_view *view)
{
#ifdef TENSOR_FILES_POSIX
    mapped_file **m = &mapped_files;

    if (view->mapped) {
        while (*m != view->mapped)
            m = &(*m)->next;
        *m = view->mapped->next;
        munmap((void *)(uintptr_t)view->data, view->size);
        give(view->mapped);
        view->data = NULL;
    }
#endif
    give((void *)(uintptr_t)view->data);
    view->data = NULL;
    view->size = 0;
    view->mapped = NULL;
}

/* ======================================================================================= */
/* OTHER FILES: what lies under the name of a model or a table, by its first bytes         */
/* ======================================================================================= */

static int begins_with(const unsigned char *p, size_t size, const char *text, size_t length)
{
    return size >= length && memcmp(p, text, length) == 0;
}

/* Whether it is one of these; then the trouble says which, and what to do. */
SHARED int file_is_other(trouble *why, const char *path, const unsigned char *p, size_t size)
{
    static const char pickle[] = "a Python pickle: load it in Python and save the table as .safetensors or .npy";
    static const char before_gguf[] = "a model in llama.cpp's format before GGUF: convert it again";
    static const struct {
        unsigned char length;
        const char *magic, *what;
    } others[] = {
        {19, "version https://git", "a git-lfs pointer, not the file itself: \"git lfs pull\" fetches it"},
        {2, "\x1f\x8b", "compressed by gzip: gzip -d unpacks it, or gzip -dc FILE | ttembed compress - OUT.tte"},
        {3, "BZh", "compressed by bzip2: bzip2 -d unpacks it"},
        {6, "\xfd" "7zXZ", "compressed by xz: xz -d unpacks it"},
        {4, "\x28\xb5\x2f\xfd", "compressed by zstd: zstd -d unpacks it"},
        {4, "PK\3\4", "a zip archive: unpack it; if PyTorch or NumPy wrote it, save the table as .safetensors or .npy "
                      "(safetensors.torch.save_file, numpy.save)"},
        {3, "\x80\2c", pickle},
        {3, "\x80\2}", pickle},
        {3, "\x80\2\x8a", "a file of PyTorch: torch.load it and save the table with safetensors.torch.save_file"},
        {2, "\x80\3", pickle},
        {2, "\x80\4", pickle},
        {2, "\x80\5", pickle},
        {8, "\x89HDF\r\n\x1a\n", "HDF5: save the table as .safetensors or .npy (h5py reads it)"},
        {4, "\xba\x16\x4f\x2f", "a model of fastText: take its .vec file, or write the words and their vectors as "
                                "text (fasttext print-word-vectors)"},
        {7, "<<<<<<<", "marks of a git conflict in line 1: resolve it, or fetch the file again"},
        {2, "\xff\xfe", "text in UTF-16: iconv -f UTF-16 -t UTF-8 converts it"},
        {2, "\xfe\xff", "text in UTF-16: iconv -f UTF-16 -t UTF-8 converts it"},
        {4, "%PDF", "a PDF"},
        {4, "lmgg", before_gguf},
        {4, "tjgg", before_gguf}
    };
    size_t i, at = begins_with(p, size, "\xef\xbb\xbf", 3) ? 3 : 0;

    if (size == 0) {
        trouble_set(why, "%s: the file is empty", path);
        return 1;
    }
    for (i = 0; i < sizeof others / sizeof *others; i++)
        if (begins_with(p, size, others[i].magic, others[i].length)) {
            trouble_set(why, "%s: %s", path, others[i].what);
            return 1;
        }
    if (size > 262 && memcmp(p + 257, "ustar", 5) == 0) {
        trouble_set(why, "%s: a tar archive: tar -xf unpacks it", path);
        return 1;
    }
    while (at < size && (p[at] == ' ' || (p[at] >= 9 && p[at] <= 13)))
        at++;
    if (size - at >= 6 && p[at] == '<' && (p[at + 1] == '!' || (p[at + 1] | 32) == 'h' || p[at + 1] == '?')
        && ((p[at + 2] | 32) == 'd' || (p[at + 2] | 32) == 't' || (p[at + 2] | 32) == 'x' || p[at + 2] == '-')) {
        trouble_set(why, "%s: a web page, not the file itself: the download went wrong, perhaps for want of a login", path);
        return 1;
    }
    return 0;
}

/* ======================================================================================= */
/* NUMBERS                                                                                 */
/* ======================================================================================= */

/* *product *= factor; 0 when that exceeds 64 bits. */
static int multiply_u64(uint64_t *product, uint64_t factor)
{
    if (factor && *product > UINT64_MAX / factor)
        return 0;
    *product *= factor;
    return 1;
}

/* ======================================================================================= */
/* UTF-8                                                                                   */
/* ======================================================================================= */

#define NOT_UTF8 0xffffffffu

/* The code point at s and its length. A byte that begins no valid sequence is NOT_UTF8, 1. */
SHARED size_t utf8_get(const unsigned char *s, size_t size, uint32_t *point)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t length = s[0] < 0x80 ? 1 : s[0] < 0xc0 ? 0 : s[0] < 0xe0 ? 2
                        : s[0] < 0xf0 ? 3 : s[0] < 0xf8 ? 4 : 0;
    size_t i;
    uint32_t p = length == 1 ? s[0] : s[0] & (0xffu >> (length + 1));

    *point = NOT_UTF8;
    if (length == 0 || length > size)
        return 1;
    for (i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 1;
        p = p << 6 | (s[i] & 0x3fu);
    }
    if (p < least[length] || p > 0x10ffff || (p >= 0xd800 && p < 0xe000))
        return 1;
    *point = p;
    return length;
}

static size_t utf8_put(unsigned char *to, uint32_t p)
{
    if (p < 0x80) {
        to[0] = (unsigned char)p;
        return 1;
    }
    if (p < 0x800) {
        to[0] = (unsigned char)(0xc0 | p >> 6);
        to[1] = (unsigned char)(0x80 | (p & 0x3f));
        return 2;
    }
    if (p < 0x10000) {
        to[0] = (unsigned char)(0xe0 | p >> 12);
        to[1] = (unsigned char)(0x80 | (p >> 6 & 0x3f));
        to[2] = (unsigned char)(0x80 | (p & 0x3f));
        return 3;
    }
    to[0] = (unsigned char)(0xf0 | p >> 18);
    to[1] = (unsigned char)(0x80 | (p >> 12 & 0x3f));
    to[2] = (unsigned char)(0x80 | (p >> 6 & 0x3f));
    to[3] = (unsigned char)(0x80 | (p & 0x3f));
    return 4;
}

/* ======================================================================================= */
/* JSON: one pass makes a flat array of nodes; a container's children follow it            */
/* ======================================================================================= */

#define JSON_DEPTH 32

typedef enum { JSON_WORD, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } json_kind;

typedef struct {
    json_kind kind;      /* JSON_WORD: true, false, null */
    size_t begin, end;   /* bytes of the text; of a string without its quotes */
    size_t next;         /* the node after this one and all that is inside it */
} json_node;

typedef struct {
    trouble *why;                /* after the first trouble all calls answer 0 or nothing */
    const char *file;            /* for messages */
    size_t base;                 /* where the text begins in that file */
    const unsigned char *text;   /* size bytes */
    size_t size;
    json_node *node;             /* count nodes; 0 is the root */
    size_t count, room;
} json;

static int json_bad(const json *j)
{
    return j->why->text[0] != 0;
}

static void json_fail(const json *j, size_t at, const char *what)
{
    trouble_set(j->why, "%s: byte %zu: %s", j->file, j->base + at, what);
}

static int json_peek(const json *j, size_t at)   /* -1 at the end */
{
    return at < j->size ? j->text[at] : -1;
}

static size_t json_space(const json *j, size_t at)
{
    while (at < j->size && (j->text[at] == ' ' || (j->text[at] >= 9 && j->text[at] <= 13)))
        at++;
    return at;
}

static size_t json_add(json *j, json_kind kind, size_t begin, size_t end)
{
    json_node *n;

    if (j->count == j->room) {
        const size_t room = j->room ? j->room * 2 : 64;
        json_node *larger = (json_node *)resize_or(j->why, j->node, room, sizeof *larger);
        if (!larger)
            return 0;
        j->node = larger;
        j->room = room;
    }
    n = &j->node[j->count];
    n->kind = kind;
    n->begin = begin;
    n->end = end;
    n->next = ++j->count;
    return j->count - 1;
}

static int hex_digit(int c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void json_scan_string(json *j, size_t *at)
{
    const size_t begin = ++*at;
    int c, i;

    while ((c = json_peek(j, *at)) != '"') {
        if (c < 32) {
            json_fail(j, *at, c < 0 ? "the string does not end" : "control character in a string");
            return;
        }
        ++*at;
        if (c != '\\')
            continue;
        c = json_peek(j, *at);
        if (c <= 0 || !strchr("\"\\/bfnrtu", c)) {
            json_fail(j, *at, "unknown escape in a string");
            return;
        }
        for (i = 1; c == 'u' && i <= 4; i++)
            if (hex_digit(json_peek(j, *at + (size_t)i)) < 0) {
                json_fail(j, *at, "\\u without four hexadecimal digits");
                return;
            }
        *at += c == 'u' ? 5 : 1;
    }
    json_add(j, JSON_STRING, begin, *at);
    ++*at;
}

static size_t json_digits(const json *j, size_t at)
{
    const size_t begin = at;
    while (json_peek(j, at) >= '0' && json_peek(j, at) <= '9')
        at++;
    if (at == begin)
        json_fail(j, at, "expected a value");
    return at;
}

static void json_scan_number(json *j, size_t *at)
{
    const size_t begin = *at;

    *at = json_digits(j, *at + (json_peek(j, *at) == '-'));
    if (json_peek(j, *at) == '.')
        *at = json_digits(j, *at + 1);
    if (json_peek(j, *at) == 'e' || json_peek(j, *at) == 'E') {
        const int sign = json_peek(j, *at + 1);
        *at = json_digits(j, *at + (sign == '+' || sign == '-' ? 2 : 1));
    }
    json_add(j, JSON_NUMBER, begin, *at);
}

static void json_scan_word(json *j, size_t *at)
{
    static const char *const words[] = {"true", "false", "null"};
    int i;

    for (i = 0; i < 3; i++) {
        const size_t length = strlen(words[i]);
        if (j->size - *at >= length && memcmp(j->text + *at, words[i], length) == 0) {
            json_add(j, JSON_WORD, *at, *at + length);
            *at += length;
            return;
        }
    }
    json_fail(j, *at, "expected a value");
}

static void json_scan_key(json *j, size_t *at)
{
    *at = json_space(j, *at);
    if (json_peek(j, *at) != '"') {
        json_fail(j, *at, "expected a key in quotes");
        return;
    }
    json_scan_string(j, at);
    *at = json_space(j, *at);
    if (json_peek(j, *at) != ':')
        json_fail(j, *at, "expected ':'");
    ++*at;
}

static void json_scan(json *j, size_t *at, int depth)
{
    const int open = json_peek(j, *at = json_space(j, *at));
    const int close = open == '{' ? '}' : ']';
    size_t node;
    int c;

    if (open == '"') {
        json_scan_string(j, at);
        return;
    }
    if (open == '-' || (open >= '0' && open <= '9')) {
        json_scan_number(j, at);
        return;
    }
    if (open != '{' && open != '[') {
        json_scan_word(j, at);
        return;
    }
    if (depth == JSON_DEPTH) {
        json_fail(j, *at, "nested too deeply");
        return;
    }
    node = json_add(j, open == '{' ? JSON_OBJECT : JSON_ARRAY, *at, *at);
    *at = json_space(j, *at + 1);
    if (json_peek(j, *at) == close) {
        ++*at;
        return;
    }
    do {
        if (open == '{')
            json_scan_key(j, at);
        if (!json_bad(j))
            json_scan(j, at, depth + 1);
        if (json_bad(j))
            return;
        *at = json_space(j, *at);
        c = json_peek(j, (*at)++);
    } while (c == ',');
    if (c != close)
        json_fail(j, *at - 1, open == '{' ? "expected ',' or '}'" : "expected ',' or ']'");
    else
        j->node[node].next = j->count;
}

/* The text must outlive the result, whose nodes the caller gives. */
static json json_parse(trouble *why, const char *file, size_t base, const unsigned char *text,
                       size_t size)
{
    json j;
    size_t at = 0;

    memset(&j, 0, sizeof j);
    j.why = why;
    j.file = file;
    j.base = base;
    j.text = text;
    j.size = size;
    at = begins_with(text, size, "\xef\xbb\xbf", 3) ? 3 : 0;   /* a byte order mark */
    json_scan(&j, &at, 0);
    if (!json_bad(&j) && (at = json_space(&j, at)) != size)
        json_fail(&j, at, "more text after the end");
    return j;
}

static uint32_t json_hex4(const unsigned char *s)
{
    return (uint32_t)(hex_digit(s[0]) << 12 | hex_digit(s[1]) << 8 | hex_digit(s[2]) << 4
                      | hex_digit(s[3]));
}

/* The code point of an escape \uXXXX at *s, or of two that are a surrogate pair. */
static uint32_t json_escape(const unsigned char **s, const unsigned char *end)
{
    uint32_t p = json_hex4(*s + 2);

    *s += 6;
    if (p >= 0xd800 && p < 0xdc00 && end - *s >= 6 && (*s)[0] == '\\' && (*s)[1] == 'u') {
        const uint32_t low = json_hex4(*s + 2);
        if (low >= 0xdc00 && low < 0xe000) {
            p = 0x10000 + ((p - 0xd800) << 10) + (low - 0xdc00);
            *s += 6;
        }
    }
    return p >= 0xd800 && p < 0xe000 ? 0xfffd : p;   /* half a pair */
}

/* The string at a node as UTF-8 in a new block. */
static bytes json_string(const json *j, size_t node)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const unsigned char *s, *end;
    bytes out = {NULL, 0};

    if (json_bad(j))
        return out;
    if (j->node[node].kind != JSON_STRING) {
        json_fail(j, j->node[node].begin, "expected a string");
        return out;
    }
    s = j->text + j->node[node].begin;
    end = j->text + j->node[node].end;
    out.data = (unsigned char *)resize_or(j->why, NULL, (size_t)(end - s) + 1, 1);
    if (!out.data)
        return out;
    while (s < end) {
        if (*s != '\\') {
            out.data[out.size++] = *s++;
        } else if (s[1] != 'u') {
            const char *plain = strchr(from, s[1]);
            out.data[out.size++] = plain ? (unsigned char)to[plain - from] : s[1];
            s += 2;
        } else {
            const uint32_t point = json_escape(&s, end);
            out.size += utf8_put(out.data + out.size, point);
        }
    }
    out.data[out.size] = 0;
    return out;
}

/* A whole number from least to most. */
static uint64_t json_whole(const json *j, size_t node, uint64_t least, uint64_t most)
{
    uint64_t value = 0;
    size_t i;
    int good;

    if (json_bad(j))
        return 0;
    good = j->node[node].kind == JSON_NUMBER;
    for (i = j->node[node].begin; good && i < j->node[node].end; i++) {
        const uint64_t digit = (uint64_t)(j->text[i] - '0');
        good = j->text[i] >= '0' && j->text[i] <= '9' && value <= (UINT64_MAX - digit) / 10;
        value = value * 10 + digit;
    }
    if (good && value >= least && value <= most)
        return value;
    trouble_set(j->why, "%s: byte %zu: expected a whole number from %llu to %llu", j->file,
                j->base + j->node[node].begin, (unsigned long long)least, (unsigned long long)most);
    return 0;
}

SHARED double json_number(const json *j, size_t node)
{
    char text[64];
    size_t length;

    if (json_bad(j))
        return 0.0;
    length = j->node[node].end - j->node[node].begin;
    if (j->node[node].kind != JSON_NUMBER || length >= sizeof text) {
        json_fail(j, j->node[node].begin, "expected a number");
        return 0.0;
    }
    memcpy(text, j->text + j->node[node].begin, length);
    text[length] = 0;
    return strtod(text, NULL);
}

/* The first child of a container, or 0 when it has none. */
static size_t json_first(const json *j, size_t node, json_kind kind)
{
    if (json_bad(j))
        return 0;
    if (j->node[node].kind != kind) {
        json_fail(j, j->node[node].begin,
                  kind == JSON_OBJECT ? "expected an object" : "expected an array");
        return 0;
    }
    return j->node[node].next > node + 1 ? node + 1 : 0;
}

/* What follows a child inside `node`: the next one, or 0 after the last. */
static size_t json_after(const json *j, size_t node, size_t child)
{
    if (json_bad(j))
        return 0;
    return j->node[child].next < j->node[node].next ? j->node[child].next : 0;
}

/* The value of a key of an object, or 0. Two of one key would mean different things to different readers. */
static size_t json_get(const json *j, size_t node, const char *key)
{
    size_t k, value = 0;

    for (k = json_first(j, node, JSON_OBJECT); k; k = json_after(j, node, k + 1)) {
        bytes name = json_string(j, k);
        const int same = name.data && strcmp((const char *)name.data, key) == 0;
        give(name.data);
        if (same && value)
            json_fail(j, j->node[k].begin, "a key for the second time");
        if (same)
            value = k + 1;
    }
    return json_bad(j) ? 0 : value;
}

/* The same, but the key must be there. */
static size_t json_need(const json *j, size_t node, const char *key)
{
    const size_t value = json_get(j, node, key);
    if (!value && !json_bad(j))
        trouble_set(j->why, "%s: byte %zu: an object without \"%s\"", j->file,
                    j->base + j->node[node].begin, key);
    return value;
}

/* ======================================================================================= */
/* TENSORS: what all the formats come to                                                   */
/* ======================================================================================= */

#define TENSOR_MAX_RANK 8

typedef struct {
    char *name;
    char dtype[16];             /* as the file calls it */
    int type;                   /* a place in tensor_kinds, or TENSOR_KINDS for an unknown one */
    size_t rank, shape[TENSOR_MAX_RANK];   /* the last index fastest */
    uint64_t begin, end;        /* bytes of the file */
    uint64_t described;         /* GGUF: where the header has its type, and behind that its place */
    size_t file;                /* of those of a model */
    int alias;                  /* another name of a tensor that is in the file */
    int transposed;             /* columns come first */
} tensor;

typedef struct {
    const char *path;           /* for messages */
    const unsigned char *data;  /* the file: size bytes, which must outlive this */
    size_t size;
    tensor *list;               /* count tensors by name */
    size_t count, room;
    uint64_t words_at, words;   /* GGUF: where the tokens begin, and how many there are */
    uint64_t data_at, alignment;   /* GGUF: where the tensors begin */
} tensors;

static int tensor_by_name(const void *a, const void *b)
{
    return strcmp(((const tensor *)a)->name, ((const tensor *)b)->name);
}

static int tensor_by_place(const void *a, const void *b)
{
    const tensor *x = (const tensor *)a, *y = (const tensor *)b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static void tensors_begin(tensors *w, const char *path, const unsigned char *data, size_t size)
{
    memset(w, 0, sizeof *w);
    w->path = path;
    w->data = data;
    w->size = size;
}

SHARED void tensors_give(tensors *w)
{
    size_t i;

    for (i = 0; i < w->count; i++)
        give(w->list[i].name);
    give(w->list);
    w->list = NULL;
    w->count = w->room = 0;
}

/* A new last tensor, all zero but for its name, which it takes over; NULL without memory. */
static tensor *tensors_add(trouble *why, tensors *w, char *name)
{
    tensor *t;

    if (name && w->count == w->room) {
        const size_t room = w->room ? w->room * 2 : 16;
        tensor *larger = (tensor *)resize_or(why, w->list, room, sizeof *larger);
        if (larger) {
            w->list = larger;
            w->room = room;
        }
    }
    if (!name || w->count == w->room) {
        give(name);
        return NULL;
    }
    t = &w->list[w->count++];
    memset(t, 0, sizeof *t);
    t->name = name;
    return t;
}

/* By name; none may come twice. */
static void tensors_sort(trouble *why, tensors *w)
{
    size_t i;

    if (w->count)
        qsort(w->list, w->count, sizeof *w->list, tensor_by_name);
    for (i = 1; i < w->count && !why->text[0]; i++)
        if (tensor_by_name(&w->list[i - 1], &w->list[i]) == 0)
            trouble_set(why, "%s: tensor %s: twice in the header", w->path, w->list[i].name);
}

SHARED const tensor *tensors_find(const tensors *w, const char *name)
{
    size_t low = 0, high = w->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(name, w->list[middle].name);
        if (order == 0)
            return &w->list[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* "4096 x 128" */
SHARED void tensor_shape_text(const tensor *t, char *text, size_t size)
{
    size_t i;

    text[0] = 0;
    for (i = 0; i < t->rank; i++)
        add_text(text, size, i ? " x %zu" : "%zu", t->shape[i]);
}

/* The bytes that the shape needs in a type of known size; 0 and a trouble when they exceed 64 bits, or
   rows are not whole blocks. */
static int tensor_needs(trouble *why, const char *path, const tensor *t, uint64_t *need)
{
    const tensor_kind *kind = &tensor_kinds[t->type];
    uint64_t numbers = 1;
    size_t i;
    int fits = 1;

    for (i = 0; i < t->rank; i++)
        fits = multiply_u64(&numbers, t->shape[i]) && fits;
    if (kind->numbers > 1 && (t->rank == 0 || t->shape[t->rank - 1] % kind->numbers)) {
        trouble_set(why, "%s: tensor %s: rows are no whole blocks of %u numbers, as %s needs", path,
                    t->name, kind->numbers, kind->name);
        return 0;
    }
    *need = numbers / kind->numbers;
    if (!fits || !multiply_u64(need, kind->size)) {
        trouble_set(why, "%s: tensor %s: its shape exceeds any file", path, t->name);
        return 0;
    }
    return 1;
}

SHARED int ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* The tensor with the scale of one of 8 bits, or NULL. */
static const char *tensor_scale(const tensors *w, const tensor *t)
{
    size_t i, length = strlen(t->name);

    for (i = 0; i < w->count; i++)
        if (strncmp(w->list[i].name, t->name, length) == 0 && strstr(w->list[i].name + length, "_scale"))
            return w->list[i].name;
    return NULL;
}

/* Whether tensor_rows can read it: a known type, two sides, none of them 0. */
SHARED int tensor_is_table(trouble *why, const tensors *w, const tensor *t)
{
    char shape[256], packed[256] = "";
    const char *scale;

    tensor_shape_text(t, shape, sizeof shape);
    add_text(packed, sizeof packed, "%.*s.scales", (int)(strlen(t->name) - (ends_with(t->name, ".weight") ? 7 : 0)), t->name);
    if (t->type >= TENSOR_READABLE && t->type < TENSOR_KINDS && strcmp(t->dtype, "U32") == 0 && tensors_find(w, packed))
        trouble_set(why, "%s: tensor %s: packed by MLX (%s is there): mlx_lm.convert --dequantize, or the model it was made of",
                    w->path, t->name, packed);
    else if (t->type >= TENSOR_READABLE || (t->type == TENSOR_I8 && strcmp(t->name, "embeddings") != 0))
        trouble_set(why, "%s: tensor %s: dtype %s, expected floats or a type of GGUF's blocks", w->path, t->name, t->dtype);
    else if ((t->type == TENSOR_F8_E4M3 || t->type == TENSOR_F8_E5M2) && (scale = tensor_scale(w, t)) != NULL)
        trouble_set(why, "%s: tensor %s: dtype %s with a scale in %s: convert it to BF16", w->path, t->name, t->dtype, scale);
    else if (t->rank == 1)
        trouble_set(why, "%s: tensor %s: shape [%s], one vector; expected rows x columns", w->path, t->name, shape);
    else if (t->rank != 2 || t->shape[0] == 0 || t->shape[1] == 0)
        trouble_set(why, "%s: tensor %s: shape [%s], expected rows x columns", w->path, t->name, shape);
    return !why->text[0];
}

/* Rows of a table; every number must be finite. Returns 0, or -1 and a trouble. */
SHARED int tensor_rows(trouble *why, const tensors *w, const tensor *t, size_t first, size_t count,
                       float *out)
{
    const tensor_kind *kind = &tensor_kinds[t->type];
    const size_t cols = t->shape[1], each = cols / kind->numbers * kind->size;
    size_t i;

    if (!t->transposed)
        tensor_numbers(t->type, w->data + t->begin + (uint64_t)first * each, count * cols, out);
    for (i = 0; i < count * cols && t->transposed; i++)
        tensor_numbers(t->type, w->data + t->begin + (uint64_t)kind->size * (first + i / cols + i % cols * t->shape[0]), 1,
                       out + i);
    for (i = 0; i < count * cols; i++)
        if (!is_finite(out[i])) {
            trouble_set(why, "%s: tensor %s: row %zu, column %zu is not finite", w->path, t->name,
                        first + i / cols, i % cols);
            return -1;
        }
    return 0;
}

/* ======================================================================================= */
/* SAFETENSORS: 8 bytes of header length, a JSON header, then the tensors end to end       */
/* ======================================================================================= */

#define HEADER_MAX 100000000u   /* the format's own limit */

static void safetensors_entry(const json *header, size_t node, uint64_t data_at, tensor *t)
{
    const size_t dtype = json_need(header, node, "dtype");
    const size_t shape = json_need(header, node, "shape");
    const size_t place = json_need(header, node, "data_offsets");
    bytes name = json_string(header, dtype);
    size_t k;

    if (json_bad(header)) {
        give(name.data);
        return;
    }
    snprintf(t->dtype, sizeof t->dtype, "%s", (const char *)name.data);
    give(name.data);
    for (t->type = 0; t->type < TENSOR_KINDS; t->type++)
        if (tensor_kinds[t->type].numbers == 1 && strcmp(t->dtype, tensor_kinds[t->type].name) == 0)
            break;
    for (k = json_first(header, shape, JSON_ARRAY); k; k = json_after(header, shape, k)) {
        if (t->rank == TENSOR_MAX_RANK) {
            trouble_set(header->why, "%s: tensor %s: more than %d dimensions", header->file, t->name,
                        TENSOR_MAX_RANK);
            return;
        }
        t->shape[t->rank++] = (size_t)json_whole(header, k, 0, SIZE_MAX);
    }
    k = json_first(header, place, JSON_ARRAY);
    if (!json_bad(header) && (!k || !json_after(header, place, k)
                              || json_after(header, place, json_after(header, place, k))))
        trouble_set(header->why, "%s: tensor %s: data_offsets is not a pair", header->file, t->name);
    t->begin = json_whole(header, k, 0, INT64_MAX) + data_at;
    t->end = json_whole(header, k + 1, t->begin - data_at, INT64_MAX) + data_at;
}

/* The format allows neither holes nor overlaps; a type of known size must fill its place. */
static void safetensors_places(trouble *why, tensors *w, uint64_t data_at)
{
    uint64_t at = data_at, need;
    size_t i;

    if (w->count)
        qsort(w->list, w->count, sizeof *w->list, tensor_by_place);
    for (i = 0; i < w->count && !why->text[0]; i++) {
        const tensor *t = &w->list[i];
        if (t->begin != at)
            trouble_set(why, "%s: tensor %s: begins at byte %llu of the data, the one before ends "
                        "at %llu", w->path, t->name, (unsigned long long)(t->begin - data_at),
                        (unsigned long long)(at - data_at));
        else if (t->end > w->size)
            trouble_set(why, "%s: truncated: tensor %s ends at byte %llu of the data, the file holds "
                        "%llu", w->path, t->name, (unsigned long long)(t->end - data_at),
                        (unsigned long long)(w->size - data_at));
        else if (t->type < TENSOR_KINDS && tensor_needs(why, w->path, t, &need)
                 && need != t->end - t->begin)
            trouble_set(why, "%s: tensor %s: %llu bytes for its shape in %s", w->path, t->name,
                        (unsigned long long)(t->end - t->begin), t->dtype);
        at = t->end;
    }
    if (!why->text[0] && at != w->size)
        trouble_set(why, "%s: %llu bytes after the last tensor", w->path,
                    (unsigned long long)(w->size - at));
}

/* Tensors that were left out as they share their numbers with another one, which the metadata names, come back under
   their own names. */
static void safetensors_aliases(trouble *why, tensors *w, const json *header)
{
    const size_t meta = json_get(header, 0, "__metadata__"), tensors_there = w->count;
    size_t k;

    if (!meta || header->node[meta].kind != JSON_OBJECT)
        return;
    for (k = json_first(header, meta, JSON_OBJECT); k; k = json_after(header, meta, k + 1)) {
        bytes name = json_string(header, k), of = {NULL, 0};
        const tensor *t = NULL;
        tensor *made;
        if (header->node[k + 1].kind == JSON_STRING)
            of = json_string(header, k + 1);
        if (of.data && name.data && tensors_there) {
            tensors there = *w;
            there.count = tensors_there;   /* those are in order */
            if (!tensors_find(&there, (const char *)name.data))
                t = tensors_find(&there, (const char *)of.data);
        }
        if (t) {
            const tensor copy = *t;
            if ((made = tensors_add(why, w, (char *)name.data)) != NULL) {
                char *own = made->name;
                *made = copy;
                made->name = own;
                made->alias = 1;
            }
        } else {
            give(name.data);
        }
        give(of.data);
    }
    if (!why->text[0] && w->count > tensors_there)
        tensors_sort(why, w);
}

/* All parsers: the list is empty after a trouble; `path` and the data must outlive it. */
SHARED tensors safetensors_parse(trouble *why, const char *path, const unsigned char *data, size_t size)
{
    const uint64_t length = size < 8 ? 0 : get64(data);
    tensors w;
    json header;
    size_t k;

    tensors_begin(&w, path, data, size);
    if (file_is_other(why, path, data, size))
        return w;
    if (size < 8) {
        trouble_set(why, "%s: shorter than its 8 bytes of header length", path);
        return w;
    }
    if (length > size - 8 || length > HEADER_MAX) {
        trouble_set(why, "%s: byte 0: %s header of %llu bytes in a file of %zu", path,
                    size > 8 && data[8] == '{' ? "truncated: a" : "not a safetensors file: a", (unsigned long long)length, size);
        return w;
    }
    header = json_parse(why, path, 8, data + 8, (size_t)length);
    for (k = json_first(&header, 0, JSON_OBJECT); k; k = json_after(&header, 0, k + 1)) {
        bytes name = json_string(&header, k);
        tensor *t = NULL;
        if (name.data && strcmp((const char *)name.data, "__metadata__") == 0)
            give(name.data);
        else if ((t = tensors_add(why, &w, (char *)name.data)) != NULL)
            safetensors_entry(&header, k + 1, 8 + length, t);
    }
    if (!why->text[0])
        safetensors_places(why, &w, 8 + length);
    if (!why->text[0])
        tensors_sort(why, &w);
    if (!why->text[0])
        safetensors_aliases(why, &w, &header);
    give(header.node);
    if (why->text[0])
        tensors_give(&w);
    return w;
}

/* model.safetensors.index.json: which file holds which tensor, as a list of names alone. */
SHARED tensors index_parse(trouble *why, const char *path, const unsigned char *data, size_t size)
{
    json j = json_parse(why, path, 0, data, file_is_other(why, path, data, size) ? 0 : size);
    const size_t map = json_need(&j, 0, "weight_map");
    tensors w;
    size_t k;

    tensors_begin(&w, path, data, size);
    for (k = json_first(&j, map, JSON_OBJECT); k; k = json_after(&j, map, k + 1)) {
        bytes name = json_string(&j, k);
        tensor *t = tensors_add(why, &w, (char *)name.data);
        if (t && j.node[k + 1].kind != JSON_STRING)
            trouble_set(why, "%s: tensor %s: expected the name of a file", path, t->name);
        else if (t) {
            t->type = TENSOR_KINDS;
            t->begin = k + 1;   /* the node with the file's name; index_file reads it */
        }
    }
    for (k = 0; k < w.count && !why->text[0]; k++) {   /* from nodes to bytes of the text */
        const json_node *n = &j.node[w.list[k].begin];
        w.list[k].begin = n->begin;
        w.list[k].end = n->end;
    }
    give(j.node);
    if (!why->text[0])
        tensors_sort(why, &w);
    if (why->text[0])
        tensors_give(&w);
    return w;
}

/* The file of a tensor of such a list, beside the index, in a new block. Its name may not lead out of
   the folder. */
SHARED char *index_file(trouble *why, const tensors *w, const tensor *t)
{
    const unsigned char *name = w->data + t->begin;
    const size_t length = (size_t)(t->end - t->begin);
    const char *slash = strrchr(w->path, '/');
    const size_t folder = slash ? (size_t)(slash - w->path) + 1 : 0;
    char *path;
    size_t i;

    for (i = 0; i < length; i++)
        if (name[i] == '/' || name[i] == '\\' || name[i] < 32)
            break;
    if (i < length || length == 0 || name[0] == '.') {
        trouble_set(why, "%s: tensor %s: its file has a name that is not plain", w->path, t->name);
        return NULL;
    }
    path = (char *)resize_or(why, NULL, folder + length + 1, 1);
    if (path) {
        memcpy(path, w->path, folder);
        memcpy(path + folder, name, length);
        path[folder + length] = 0;
    }
    return path;
}

/* ======================================================================================= */
/* OUTPUT: before a file is written, which tte_write does                                  */
/* ======================================================================================= */

/* Before the work begins: may this file be written? Anything there needs `force`, and only a plain file is
   overwritten. */
SHARED void output_check(trouble *why, const char *path, int force)
{
#ifdef TENSOR_FILES_POSIX
    const char *slash = strrchr(path, '/');
    const size_t length = slash ? (size_t)(slash - path) + 1 : 0;
    char *folder = (char *)resize_or(why, NULL, length + 2, 1);
    struct stat about;

    if (!folder)
        return;
    memcpy(folder, path, length);
    memcpy(folder + length, ".", 2);
    if (access(folder, W_OK) != 0)
        trouble_set(why, "%s: %s", path, strerror(errno));
    else if (stat(path, &about) == 0 && !S_ISREG(about.st_mode))
        trouble_set(why, "%s: is there and no plain file", path);
    give(folder);
#endif
    if (!force && !file_missing(path))
        trouble_set(why, "%s: is there already; --force overwrites it", path);
}

/* At the start of a program: where standard input, output or error is closed, the next file that is opened must not
   get its number and what is printed. What is put there instead refuses to be read, or written, as a closed one does. */
SHARED void guard_streams(void)
{
#ifdef TENSOR_FILES_POSIX
    int stream;

    for (stream = 0; stream < 3; stream++)
        if (fcntl(stream, F_GETFD) == -1 && errno == EBADF
            && open("/dev/null", stream == 1 ? O_RDONLY : O_WRONLY) != stream)
            _exit(1);
#endif
}

/* ======================================================================================= */
/* CALIBRATION: where a model looks. A safetensors file of `row_weight`, `metric` or both  */
/* ======================================================================================= */

/* As tte_options has them: vocab numbers above 0, and dim x dim, symmetric; NULL where there is none. */
typedef struct {
    float *row_weight, *metric;
} calibration;

SHARED void calibration_give(calibration *c)
{
    give(c->row_weight);
    give(c->metric);
    c->row_weight = c->metric = NULL;
}

/* The numbers of a tensor of `rows`, or rows x cols; NULL where there is none, or after a trouble. */
static float *calibration_tensor(trouble *why, const tensors *w, const char *name, size_t rows, size_t cols,
                                 const char *of_table)
{
    const tensor *t = tensors_find(w, name);
    const size_t count = rows * (cols ? cols : 1);
    char shape[256], want[64] = "";
    float *out;
    size_t i;

    if (!t)
        return NULL;
    tensor_shape_text(t, shape, sizeof shape);
    add_text(want, sizeof want, cols ? "%zu x %zu" : "%zu", rows, cols);
    if (t->type != TENSOR_F32)
        trouble_set(why, "%s: tensor %s: dtype %s, expected F32", w->path, name, t->dtype);
    else if (strcmp(shape, want) != 0)
        trouble_set(why, "%s: tensor %s: shape [%s], and the table's %s needs [%s]: made for another table",
                    w->path, name, shape, of_table, want);
    if (why->text[0] || (out = (float *)resize_or(why, NULL, count, sizeof *out)) == NULL)
        return NULL;
    tensor_numbers(TENSOR_F32, w->data + t->begin, count, out);
    for (i = 0; i < count && is_finite(out[i]); i++)
        ;
    if (i < count) {
        trouble_set(why, "%s: tensor %s: number %zu is not finite", w->path, name, i);
        give(out);
        return NULL;
    }
    return out;
}

/* That of a table of vocab x dim. After a trouble both are NULL. */
SHARED calibration calibration_parse(trouble *why, const char *path, const unsigned char *data, size_t size,
                                     size_t vocab, size_t dim)
{
    calibration c = {NULL, NULL};
    tensors w = safetensors_parse(why, path, data, size);
    float largest = 0.0f;
    size_t i, j;

    if (!why->text[0] && !tensors_find(&w, "row_weight") && !tensors_find(&w, "metric"))
        trouble_set(why, "%s: no calibration: neither tensor row_weight nor tensor metric", path);
    if (!why->text[0])
        c.row_weight = calibration_tensor(why, &w, "row_weight", vocab, 0, "vocabulary");
    if (!why->text[0])
        c.metric = calibration_tensor(why, &w, "metric", dim, dim, "width");
    for (i = 0; c.row_weight && i < vocab; i++)
        if (!(c.row_weight[i] > 0.0f)) {
            trouble_set(why, "%s: tensor row_weight: number %zu is not above 0", path, i);
            break;
        }
    for (i = 0; c.metric && i < dim * dim; i++) {
        const float entry = c.metric[i] < 0.0f ? -c.metric[i] : c.metric[i];
        largest = entry > largest ? entry : largest;
    }
    for (i = 0; c.metric && i < dim && !why->text[0]; i++)
        for (j = 0; j < i; j++) {
            const double off = (double)c.metric[i * dim + j] - (double)c.metric[j * dim + i];
            if (!((off < 0.0 ? -off : off) <= 1e-5 * (double)largest)) {
                trouble_set(why, "%s: tensor metric: not symmetric, at row %zu, column %zu", path, i, j);
                break;
            }
        }
    if (why->text[0])
        calibration_give(&c);
    tensors_give(&w);
    return c;
}

SHARED calibration calibration_read(trouble *why, const char *path, size_t vocab, size_t dim)
{
    calibration c = {NULL, NULL};
    file_view file = view_file(why, path);

    if (file.data)
        c = calibration_parse(why, path, file.data, file.size, vocab, dim);
    close_view(&file);
    return c;
}

/* A text as a string of JSON, with `instead` for what is no UTF-8 and for NUL. */
SHARED void put_json_text(FILE *file, const void *text, size_t size, const char *instead)
{
    const unsigned char *s = (const unsigned char *)text, *const end = s + size;
    uint32_t point;
    size_t length;

    fputc('"', file);
    for (; s < end; s += length) {
        length = utf8_get(s, (size_t)(end - s), &point);
        if (point == NOT_UTF8 || point == 0)
            fputs(instead, file);
        else if (point < 32 || point == '"' || point == '\\')
            fprintf(file, "\\u%04x", (unsigned)point);
        else
            fwrite(s, 1, length, file);
    }
    fputc('"', file);
}

SHARED void put_json_string(FILE *file, const char *text)
{
    put_json_text(file, text, strlen(text), "?");
}

static void put_floats(FILE *file, const float *x, size_t count)
{
    unsigned char packed[4];
    size_t i;

    for (i = 0; x && i < count; i++) {
        numbers_encode(TENSOR_F32, x + i, 1, packed);
        fwrite(packed, 1, 4, file);
    }
}

/* What calibration_write writes. */
typedef struct {
    const calibration *c;
    size_t vocab, dim;
    const char *const *about;
} calibration_file;

/* A tte_write_fn. The header is padded with spaces, so that the numbers begin at a multiple of 8. */
SHARED int put_calibration(void *user, FILE *file)
{
    const calibration_file *f = (const calibration_file *)user;
    const calibration *c = f->c;
    const size_t vocab = f->vocab, dim = f->dim;
    const size_t metric = c->metric ? 4 * dim * dim : 0, all = metric + (c->row_weight ? 4 * vocab : 0);
    long end;
    size_t length;
    int i;

    for (i = 0; i < 8; i++)
        fputc(0, file);
    fputs("{\"__metadata__\":{", file);
    for (i = 0; f->about[i]; i++) {
        fputs(i % 2 ? ":" : i ? "," : "", file);
        put_json_string(file, f->about[i]);
    }
    fputc('}', file);
    if (metric)
        fprintf(file, ",\"metric\":{\"dtype\":\"F32\",\"shape\":[%zu,%zu],\"data_offsets\":[0,%zu]}", dim, dim, metric);
    if (c->row_weight)
        fprintf(file, ",\"row_weight\":{\"dtype\":\"F32\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}", vocab, metric, all);
    fputc('}', file);
    end = ftell(file);
    for (; end > 0 && end % 8; end++)
        fputc(' ', file);
    put_floats(file, c->metric, dim * dim);
    put_floats(file, c->row_weight, vocab);
    length = end > 8 ? (size_t)end - 8 : 0;
    if (fseek(file, 0, SEEK_SET))
        return -1;
    for (i = 0; i < 8; i++)
        fputc((int)((uint64_t)length >> (8 * i) & 255u), file);
    return 0;
}

#if defined(TT_EMBED_H) && !defined(TT_EMBED_NO_STDIO)   /* tte_write */
/* `about` says from what it was made: keys and values in turn, then NULL. A file that is there is replaced with `force`,
   and stays as it is unless all of the new one is on the disk. */
SHARED void calibration_write(trouble *why, const char *path, int force, const calibration *c, size_t vocab, size_t dim,
                              const char *const *about)
{
    calibration_file f;

    f.c = c;
    f.vocab = vocab;
    f.dim = dim;
    f.about = about;
    errno = 0;
    if (tte_write(path, force, put_calibration, &f) != TTE_OK)
        trouble_set(why, "%s: %s", path, errno ? strerror(errno) : "out of memory");
}

#endif

/* ======================================================================================= */
/* NPY: a magic, the length of a header, a Python dictionary, the numbers                  */
/* ======================================================================================= */

typedef struct {
    trouble *why;
    const char *path;
    const unsigned char *data;
    size_t size, at;      /* at <= size */
} cursor;

static void cursor_fail(const cursor *c, const char *what)
{
    trouble_set(c->why, "%s: byte %zu: %s", c->path, c->at, what);
}

static void npy_space(cursor *c)
{
    while (c->at < c->size && strchr(" \t\r\n", c->data[c->at]) && c->data[c->at])
        c->at++;
}

/* Whether the next character, after spaces, is this one; then it is behind us. */
static int npy_next(cursor *c, int wanted)
{
    npy_space(c);
    if (c->at == c->size || c->data[c->at] != wanted)
        return 0;
    c->at++;
    return 1;
}

static void npy_expect(cursor *c, int wanted, const char *what)
{
    if (!c->why->text[0] && !npy_next(c, wanted))
        cursor_fail(c, what);
}

/* A string in quotes, or a word such as True. */
static void npy_word(cursor *c, char *word, size_t room)
{
    const int quote = npy_next(c, '\'') ? '\'' : npy_next(c, '"') ? '"' : 0;
    size_t n = 0;

    while (c->at < c->size && n + 1 < room) {
        const int b = c->data[c->at];
        const int letter = (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z');
        if (quote ? b == quote : !letter)
            break;
        word[n++] = (char)b;
        c->at++;
    }
    word[n] = 0;
    if (quote)
        npy_expect(c, quote, "the string is too long, or does not end");
    else if (!n)
        cursor_fail(c, "expected a string or a word: a table has one type for all numbers");
}

static void npy_shape(cursor *c, tensor *t)
{
    npy_expect(c, '(', "expected the shape, in parentheses");
    while (!c->why->text[0] && !npy_next(c, ')')) {
        uint64_t side = 0;
        const size_t begin = (npy_space(c), c->at);
        for (; c->at < c->size && c->data[c->at] >= '0' && c->data[c->at] <= '9'; c->at++) {
            side = side > UINT64_MAX / 16 ? UINT64_MAX / 16 + 1 : side * 10 + (c->data[c->at] - '0');
        }
        if (c->at > begin && c->at < c->size && c->data[c->at] == 'L')   /* as Python 2 writes large numbers */
            c->at++;
        if (c->at == begin || side > SIZE_MAX / 16 || t->rank == TENSOR_MAX_RANK) {
            c->at = begin;
            cursor_fail(c, "not a side of a shape, or one too many");
            return;
        }
        t->shape[t->rank++] = (size_t)side;
        if (!npy_next(c, ',')) {
            npy_expect(c, ')', "expected ',' or ')'");
            return;
        }
    }
}

static void npy_header(cursor *c, tensor *t)
{
    char key[32], order[8] = "";
    int seen = 0;

    npy_expect(c, '{', "expected '{'");
    while (!c->why->text[0] && !npy_next(c, '}')) {
        npy_word(c, key, sizeof key);
        npy_expect(c, ':', "expected ':'");
        if (strcmp(key, "descr") == 0 && !(seen & 1)) {
            seen |= 1;
            npy_word(c, t->dtype, sizeof t->dtype);
        } else if (strcmp(key, "fortran_order") == 0 && !(seen & 2)) {
            seen |= 2;
            npy_word(c, order, sizeof order);
        } else if (strcmp(key, "shape") == 0 && !(seen & 4)) {
            seen |= 4;
            npy_shape(c, t);
        } else {
            cursor_fail(c, "a key that is unknown, or comes twice");
        }
        if (!npy_next(c, ',')) {
            npy_expect(c, '}', "expected ',' or '}'");
            break;
        }
    }
    npy_space(c);
    if (!c->why->text[0] && (c->at != c->size || seen != 7))
        cursor_fail(c, "the header lacks descr, fortran_order or shape, or goes on after its end");
    if (!c->why->text[0] && strcmp(order, "False") != 0 && strcmp(order, "True") != 0)
        trouble_set(c->why, "%s: fortran_order: expected True or False", c->path);
    t->transposed = strcmp(order, "True") == 0 && t->rank == 2;
}

SHARED tensors npy_parse(trouble *why, const char *path, const unsigned char *data, size_t size)
{
    static const char *const types[] = {"<f4", "<f2", "<V2", "<f8"};   /* as in tensor_type; bfloat16 has no own name */
    const size_t fixed = size > 6 && data[6] == 1 ? 10 : 12;
    cursor c = {NULL, NULL, NULL, 0, 0};
    uint64_t length, need = 0;
    tensors w;
    tensor *t;
    char *name;

    tensors_begin(&w, path, data, size);
    if (file_is_other(why, path, data, size))
        return w;
    if (size < fixed || memcmp(data, "\x93NUMPY", 6) != 0 || data[6] < 1 || data[6] > 3) {
        trouble_set(why, "%s: byte 0: not a .npy file of version 1 to 3", path);
        return w;
    }
    length = fixed == 10 ? get16(data + 8) : get32(data + 8);
    if (length > size - fixed) {
        trouble_set(why, "%s: byte 8: a header of %llu bytes in a file of %zu", path,
                    (unsigned long long)length, size);
        return w;
    }
    name = (char *)resize_or(why, NULL, sizeof "array", 1);
    if (name)
        memcpy(name, "array", sizeof "array");
    if ((t = tensors_add(why, &w, name)) == NULL)
        return w;
    c.why = why;
    c.path = path;
    c.data = data;
    c.at = fixed;
    c.size = fixed + (size_t)length;
    npy_header(&c, t);
    if (t->dtype[0] == '|' && t->dtype[1] == 'V')
        t->dtype[0] = '<';
    for (t->type = 0; t->type < 4 && strcmp(t->dtype, types[t->type]) != 0; t->type++)
        ;
    if (!why->text[0] && t->type == 4)
        trouble_set(why, "%s: dtype %s, expected <f4, <f2, <f8 or V2 (bfloat16): save numpy.astype(\"<f4\") of it", path,
                    t->dtype);
    t->begin = c.size;
    t->end = size;
    if (!why->text[0] && tensor_needs(why, path, t, &need) && need != size - c.size)
        trouble_set(why, "%s: the shape needs %llu bytes of numbers, the file has %llu", path,
                    (unsigned long long)need, (unsigned long long)(size - c.size));
    if (why->text[0])
        tensors_give(&w);
    return w;
}

/* Nothing but float32, little-endian, in rows of `cols`. */
SHARED tensors raw_parse(trouble *why, const char *path, const unsigned char *data, size_t size,
                         size_t cols)
{
    char *name;
    tensors w;
    tensor *t;

    tensors_begin(&w, path, data, size);
    if (cols == 0 || cols > SIZE_MAX / 4 || size == 0 || size % (4 * cols)) {
        trouble_set(why, "%s: %zu bytes are no rows of %zu float32 numbers", path, size, cols);
        return w;
    }
    name = (char *)resize_or(why, NULL, sizeof "raw", 1);
    if (name)
        memcpy(name, "raw", sizeof "raw");
    if ((t = tensors_add(why, &w, name)) != NULL) {
        memcpy(t->dtype, "F32", sizeof "F32");
        t->type = TENSOR_F32;
        t->rank = 2;
        t->shape[0] = size / (4 * cols);
        t->shape[1] = cols;
        t->end = size;
    }
    return w;
}

/* ======================================================================================= */
/* GGUF: counts, keys with values, descriptions of tensors, the tensors                    */
/* ======================================================================================= */

#define GGUF_DEPTH 4   /* of arrays in arrays */

/* The next `count` bytes, or NULL and a trouble when the file ends before. */
static const unsigned char *gguf_take(cursor *c, uint64_t count, const char *what)
{
    const unsigned char *p = c->data + c->at;

    if (c->why->text[0])
        return NULL;
    if (count > c->size - c->at) {
        trouble_set(c->why, "%s: byte %zu: truncated in %s", c->path, c->at, what);
        return NULL;
    }
    c->at += (size_t)count;
    return p;
}

static uint32_t gguf_u32(cursor *c, const char *what)
{
    const unsigned char *p = gguf_take(c, 4, what);
    return p ? get32(p) : 0;
}

static uint64_t gguf_u64(cursor *c, const char *what)
{
    const unsigned char *p = gguf_take(c, 8, what);
    return p ? get64(p) : 0;
}

static const unsigned char *gguf_text(cursor *c, uint64_t *length, const char *what)
{
    *length = gguf_u64(c, what);
    return gguf_take(c, *length, what);
}

static void gguf_skip(cursor *c, uint32_t type, int depth)
{
    static const unsigned char widths[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    uint64_t length, i;
    uint32_t inner;

    if (type >= sizeof widths || depth > GGUF_DEPTH) {
        cursor_fail(c, type >= sizeof widths ? "a value of unknown type" : "arrays nested too deeply");
    } else if (type == 8) {
        (void)gguf_text(c, &length, "a string");
    } else if (type != 9) {
        (void)gguf_take(c, widths[type], "a value");
    } else {
        inner = gguf_u32(c, "an array");
        length = gguf_u64(c, "an array");
        if (inner < sizeof widths && widths[inner]) {
            if (multiply_u64(&length, widths[inner]))
                (void)gguf_take(c, length, "an array");
            else
                cursor_fail(c, "an array longer than any file");
        } else {
            for (i = 0; i < length && !c->why->text[0]; i++)
                gguf_skip(c, inner, depth + 1);
        }
    }
}

/* The keys; of all values only the alignment and the words matter here. */
static uint64_t gguf_keys(cursor *c, uint64_t count, tensors *w)
{
    static const char wanted[] = "general.alignment", words[] = "tokenizer.ggml.tokens";
    uint64_t alignment = 32, length, i;

    for (i = 0; i < count && !c->why->text[0]; i++) {
        const unsigned char *key = gguf_text(c, &length, "a key");
        const uint32_t type = gguf_u32(c, "a key's type");
        if (key && type == 4 && length == sizeof wanted - 1
            && memcmp(key, wanted, sizeof wanted - 1) == 0) {
            alignment = gguf_u32(c, wanted);
            if (alignment == 0 || alignment > 1u << 20 || (alignment & (alignment - 1)))
                cursor_fail(c, "general.alignment is no power of two up to 2^20");
        } else if (key) {
            if (type == 9 && length == sizeof words - 1 && memcmp(key, words, sizeof words - 1) == 0 && c->size - c->at >= 12
                && get32(c->data + c->at) == 8) {
                w->words_at = c->at + 12;
                w->words = get64(c->data + c->at + 4);
            }
            gguf_skip(c, type, 0);
        }
    }
    return alignment;
}

static void gguf_entry(cursor *c, tensors *w)
{
    uint64_t length;
    const unsigned char *text = gguf_text(c, &length, "a tensor's name");
    char *name = text ? (char *)resize_or(c->why, NULL, (size_t)length + 1, 1) : NULL;
    tensor *t;
    uint32_t sides, i, type;

    if (name) {
        memcpy(name, text, (size_t)length);
        name[length] = 0;
    }
    if ((t = tensors_add(c->why, w, name)) == NULL)
        return;
    sides = gguf_u32(c, "a tensor's shape");
    if (sides > 4) {
        trouble_set(c->why, "%s: tensor %s: %u dimensions, expected at most 4", c->path, t->name, sides);
        return;
    }
    t->rank = sides;
    for (i = 0; i < sides; i++) {   /* the file names the fastest index first */
        const uint64_t side = gguf_u64(c, "a tensor's shape");
        if (side > SIZE_MAX)
            trouble_set(c->why, "%s: tensor %s: too large for this machine", c->path, t->name);
        t->shape[sides - 1 - i] = (size_t)side;
    }
    t->described = c->at;
    type = gguf_u32(c, "a tensor's type");
    for (t->type = 0; t->type < TENSOR_KINDS; t->type++)
        if (tensor_kinds[t->type].gguf >= 0 && (uint32_t)tensor_kinds[t->type].gguf == type)
            break;
    if (t->type < TENSOR_KINDS)
        snprintf(t->dtype, sizeof t->dtype, "%s", tensor_kinds[t->type].name);
    else
        snprintf(t->dtype, sizeof t->dtype, "type %lu", (unsigned long)type & 0xfffffffful);
    t->begin = gguf_u64(c, "a tensor's place");
}

/* Places count from the first aligned byte after the descriptions. */
static void gguf_places(cursor *c, tensors *w, uint64_t alignment)
{
    const uint64_t data_at = w->data_at = (c->at + alignment - 1) / alignment * alignment;
    const uint64_t room = data_at < w->size ? w->size - data_at : 0;
    uint64_t at = data_at, need;
    size_t i;

    for (i = 0; i < w->count && !c->why->text[0]; i++) {
        tensor *t = &w->list[i];
        need = 0;
        if (t->begin % alignment)
            trouble_set(c->why, "%s: tensor %s: byte %llu of the data is not aligned to %llu", w->path,
                        t->name, (unsigned long long)t->begin, (unsigned long long)alignment);
        else if (t->type == TENSOR_KINDS || tensor_needs(c->why, w->path, t, &need)) {
            if (t->begin > room || need > room - t->begin)
                trouble_set(c->why, "%s: truncated: tensor %s begins at byte %llu of the data and has "
                            "%llu, the file holds %llu", w->path, t->name, (unsigned long long)t->begin,
                            (unsigned long long)need, (unsigned long long)room);
            t->begin += data_at;
            t->end = t->begin + need;
        }
    }
    if (w->count && !c->why->text[0])
        qsort(w->list, w->count, sizeof *w->list, tensor_by_place);
    for (i = 0; i < w->count && !c->why->text[0]; i++) {
        if (w->list[i].begin < at)
            trouble_set(c->why, "%s: tensor %s: overlaps the one before it", w->path, w->list[i].name);
        at = w->list[i].end;
    }
}

SHARED tensors gguf_parse(trouble *why, const char *path, const unsigned char *data, size_t size)
{
    cursor c = {NULL, NULL, NULL, 0, 0};
    uint64_t count, keys, alignment, i;
    uint32_t version;
    tensors w;

    tensors_begin(&w, path, data, size);
    c.why = why;
    c.path = path;
    c.data = data;
    c.size = size;
    if (file_is_other(why, path, data, size))
        return w;
    if (size < 8 || memcmp(data, "GGUF", 4) != 0) {
        trouble_set(why, "%s: byte 0: not a GGUF file", path);
        return w;
    }
    version = get32(data + 4);
    c.at = 8;
    if (version != 2 && version != 3)
        trouble_set(why, "%s: byte 4: GGUF version %u%s, expected 2 or 3", path, version,
                    version >> 16 ? " (a big-endian file)" : "");
    count = gguf_u64(&c, "the number of tensors");
    keys = gguf_u64(&c, "the number of keys");
    alignment = w.alignment = gguf_keys(&c, keys, &w);
    for (i = 0; i < count && !why->text[0]; i++)
        gguf_entry(&c, &w);
    if (!why->text[0])
        gguf_places(&c, &w, alignment);
    if (!why->text[0])
        tensors_sort(why, &w);
    if (why->text[0])
        tensors_give(&w);
    return w;
}

/* ======================================================================================= */
/* WORD VECTORS: lines of a word and its numbers, as text or (word2vec's .bin) as float32  */
/* ======================================================================================= */

typedef struct {
    const char *path;
    const unsigned char *data;   /* size bytes, which must outlive this */
    size_t size;
    size_t count, dim;
    int binary;                  /* float32 behind each word and a space */
    int wordless;                /* lines of nothing but numbers */
    int base64;                  /* words of Deeplearning4j: "B64:" and their bytes in base 64 */
    size_t *at;                  /* where the numbers of each row begin */
    size_t room, begin;          /* the first row */
} word_vectors;

static int is_blank(int c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static size_t line_end(const word_vectors *v, size_t at)
{
    const void *end = at < v->size ? memchr(v->data + at, '\n', v->size - at) : NULL;
    return end ? (size_t)((const unsigned char *)end - v->data) : v->size;
}

static size_t line_begin(const word_vectors *v, size_t at)
{
    while (at > v->begin && v->data[at - 1] != '\n')
        at--;
    return at;
}

static size_t line_number(const word_vectors *v, size_t at)
{
    size_t line = 1, i;

    for (i = 0; i < at; i++)
        line += v->data[i] == '\n';
    return line;
}

/* A decimal number at p, before end, to float32. Up to 15 digits and small powers of ten are exact in
   double; strtod does the others. Returns where it ends, or NULL. */
static const unsigned char *decimal(const unsigned char *p, const unsigned char *end, float *value)
{
    static const double tens[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12,
                                  1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const unsigned char *const begin = p;
    const int minus = p < end && *p == '-';
    uint64_t digits = 0;
    int count = 0, power = 0, point = 0, any = 0;
    double x;
    char text[1100], *stop;   /* the decimals of a double are not longer */

    p += p < end && (*p == '-' || *p == '+');
    for (; p < end && ((*p >= '0' && *p <= '9') || (*p == '.' && !point)); p++) {
        if (*p == '.') {
            point = 1;
            continue;
        }
        any = 1;
        if (count < 18)
            digits = digits * 10 + (uint64_t)(*p - '0');
        count += digits != 0;
        power -= point;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        int sign = 1, e = 0;
        p++;
        if (p < end && (*p == '-' || *p == '+'))
            sign = *p++ == '-' ? -1 : 1;
        any = any && p < end && *p >= '0' && *p <= '9';
        for (; p < end && *p >= '0' && *p <= '9'; p++)
            e = e < 10000 ? e * 10 + (*p - '0') : e;
        power += sign * e;
    }
    if (!any || (p < end && !is_blank(*p)))
        return NULL;
    if (count <= 15 && power >= -22 && power <= 22) {
        x = power < 0 ? (double)digits / tens[-power] : (double)digits * tens[power];
        *value = (float)(minus ? -x : x);
        return p;
    }
    if ((size_t)(p - begin) >= sizeof text)
        return NULL;
    memcpy(text, begin, (size_t)(p - begin));
    text[p - begin] = 0;
    x = strtod(text, &stop);
    *value = x > 3.4028235e38 || x < -3.4028235e38 ? float_of_bits(0x7f800000u) : (float)x;
    return *stop == 0 ? p : NULL;
}

/* A number as such files have them, which may be none that is finite. */
static int is_number(const unsigned char *p, const unsigned char *end)
{
    static const char *const names[] = {"nan", "inf", "infinity"};
    const unsigned char *name = p + (p < end && (*p == '-' || *p == '+'));
    const size_t length = (size_t)(end - name);
    float value;
    size_t i, k;

    if (decimal(p, end, &value) == end)
        return 1;
    for (i = 0; i < 3; i++) {
        for (k = 0; k < length && names[i][k] && (name[k] | 32) == names[i][k]; k++)
            ;
        if (k == length && !names[i][k])
            return 1;
    }
    return 0;
}

typedef struct {
    size_t begin, end, fields;   /* of the line, without what a \r is */
    size_t numbers;              /* of its last fields, how many are numbers, up to `most` */
    size_t at;                   /* where these begin */
} word_line;

/* Fields count from the right, as a word may hold spaces. */
static word_line line_read(const word_vectors *v, size_t begin, size_t most)
{
    word_line l = {begin, line_end(v, begin), 0, 0, 0};
    size_t at = l.end;
    int numbers = 1;

    l.at = l.end;
    for (;;) {
        size_t end;
        while (at > begin && is_blank(v->data[at - 1]))
            at--;
        if (at == begin)
            return l;
        for (end = at; at > begin && !is_blank(v->data[at - 1]); at--)
            ;
        l.fields++;
        numbers = numbers && l.numbers < most && is_number(v->data + at, v->data + end);
        if (numbers) {
            l.numbers++;
            l.at = at;
        }
    }
}

/* Up to three whole numbers that fill the first line: count, dimension, and what Deeplearning4j adds. */
static size_t words_head(const word_vectors *v, uint64_t *value)
{
    const size_t end = line_end(v, v->begin);
    size_t at = v->begin, n = 0;

    for (;;) {
        size_t begin;
        while (at < end && is_blank(v->data[at]))
            at++;
        if (at == end)
            return n;
        begin = at;
        if (n == 3)
            return 0;
        for (value[n] = 0; at < end && v->data[at] >= '0' && v->data[at] <= '9'; at++)
            if (value[n] < (uint64_t)1 << 48)
                value[n] = value[n] * 10 + (v->data[at] - '0');
        if (at == begin || (at < end && !is_blank(v->data[at])))
            return 0;
        n++;
    }
}

/* Whether float32 stands behind the first word: bytes that no number has. */
static int words_binary(const word_vectors *v, size_t begin, uint64_t dim)
{
    const size_t most = dim < 64 ? (size_t)dim * 4 : 256;
    size_t at = begin, i;

    while (at < v->size && v->data[at] != ' ' && v->data[at] != '\t' && at - begin < 4096)
        at++;
    if (at == v->size || v->data[at] != ' ')
        return 0;
    for (i = 1; i <= most && at + i < v->size; i++)
        if (v->data[at + i] > 126 || (v->data[at + i] < 32 && !strchr("\t\r\n", v->data[at + i])) || !v->data[at + i])
            return 1;
    return 0;
}

static int words_add(trouble *why, word_vectors *v, size_t at)
{
    if (v->count == v->room) {
        const size_t room = v->room ? v->room * 2 : 1024;
        size_t *larger = (size_t *)resize_or(why, v->at, room, sizeof *larger);
        if (!larger)
            return 0;
        v->at = larger;
        v->room = room;
    }
    v->at[v->count++] = at;
    return 1;
}

SHARED void words_give(word_vectors *v)
{
    give(v->at);
    v->at = NULL;
    v->count = v->room = 0;
}

static void words_parse_binary(trouble *why, word_vectors *v, uint64_t promised)
{
    size_t at = v->begin, begin;

    while (v->count < promised && !why->text[0]) {
        begin = at;
        while (at < v->size && v->data[at] != ' ')
            at++;
        if (at == v->size || (v->size - at - 1) / 4 < v->dim) {
            trouble_set(why, "%s: truncated in word %zu of %llu, at byte %zu", v->path, v->count, (unsigned long long)promised,
                        begin);
            return;
        }
        if (!words_add(why, v, at + 1))
            return;
        at += 1 + 4 * v->dim;
    }
    while (at < v->size && (v->data[at] == '\n' || v->data[at] == '\r'))
        at++;
    if (at != v->size)
        trouble_set(why, "%s: %zu bytes after the last of %llu words", v->path, v->size - at, (unsigned long long)promised);
}

/* How many numbers most of the first lines have, from `begin` on; and whether they have nothing else. `dim` is what
   the first line says, or 0. */
static void words_width(word_vectors *v, size_t begin, uint64_t dim)
{
    enum { LINES = 16 };
    size_t width[LINES] = {0}, more[LINES] = {0}, spaces[LINES] = {0}, lines = 0, plain = 0, whole = 0, points = 0;
    size_t best = 0, of_best = 0, i, k;

    while (begin < v->size && lines < LINES) {
        const word_line l = line_read(v, begin, SIZE_MAX);
        if (l.fields) {
            const int all = l.numbers == l.fields, indented = all && is_blank(v->data[l.begin]);
            const unsigned char *c = v->data + l.at;
            while (c < v->data + l.end && *c >= '0' && *c <= '9')
                c++;
            whole += all && c < v->data + l.end && is_blank(*c);
            points += all && memchr(c, '.', l.end - (size_t)(c - v->data)) != NULL;
            plain += all && (dim ? l.fields == dim && !indented : 1);
            more[lines] = all && !indented;   /* the first of them is a word */
            spaces[lines] = l.fields > l.numbers + 1
                         || (!memchr(v->data + l.begin, '\t', l.at - l.begin) && memchr(v->data + l.at, '\t', l.end - l.at));
            width[lines++] = l.numbers;
        }
        begin = l.end + 1;
    }
    /* where numbers stand alone, whole ones before others are words, as in tables of ids */
    v->wordless = lines && plain == lines && (dim || whole < lines || points < lines);
    for (i = 0; i < lines && !v->wordless; i++)
        width[i] -= more[i];
    for (i = 0; i < lines; i++) {
        size_t same = 0;
        for (k = 0; k < lines; k++)
            same += width[k] == width[i];
        /* of as many lines, one that may have a number in its word counts less */
        if (same > best || (same == best && width[i] < v->dim && spaces[of_best])) {
            best = same;
            of_best = i;
            v->dim = width[i];
        }
    }
    if (dim)
        v->dim = dim < INT32_MAX ? (size_t)dim : 0;
}

/* What is wrong with a line, if something is; else where its numbers begin goes to *at. */
static void words_line(trouble *why, const word_vectors *v, const word_line *l, size_t line, size_t *at)
{
    const unsigned char *p = v->data + l->begin, *const end = v->data + l->end;
    const size_t size = (size_t)(end - p);
    const int indented = is_blank(*p);
    word_line wide;

    if (begins_with(p, size, "<<<<<<<", 7) || begins_with(p, size, "=======", 7) || begins_with(p, size, ">>>>>>>", 7))
        trouble_set(why, "%s: line %zu: a mark of a git conflict: resolve it, or fetch the file again", v->path, line);
    else if (l->numbers < v->dim || (l->fields == v->dim && !v->wordless && !indented))
        trouble_set(why, "%s: line %zu: %zu numbers%s, expected %s%zu numbers", v->path, line,
                    l->fields == v->dim && l->numbers == v->dim ? v->dim - 1 : l->numbers,
                    l->fields > l->numbers + 1 && l->numbers < v->dim ? ", then something else" : "",
                    v->wordless ? "" : "a word and ", v->dim);
    else if (v->wordless ? l->fields != v->dim : l->fields > v->dim + 1) {
        wide = line_read(v, l->begin, SIZE_MAX);
        /* a word may end in numbers only behind other words, or before a tab */
        if (wide.numbers + 1 >= wide.fields
            && (v->wordless || !memchr(p, '\t', (size_t)(v->data + l->at - p)) || memchr(p, '\t', (size_t)(v->data + wide.at - p))))
            trouble_set(why, "%s: line %zu: %zu numbers, expected %s%zu", v->path, line, wide.numbers,
                        v->wordless ? "" : "a word and ", v->dim);
    }
    *at = l->at;
}

/* Finds the rows; numbers are read by words_rows. */
SHARED word_vectors words_parse(trouble *why, const char *path, const unsigned char *data, size_t size)
{
    word_vectors v;
    uint64_t head[3] = {0, 0, 0};
    size_t begin, at, line, heads, rows = 0;

    memset(&v, 0, sizeof v);
    v.path = path;
    v.data = data;
    v.size = size;
    v.begin = begins_with(data, size, "\xef\xbb\xbf", 3) ? 3 : 0;   /* a byte order mark */
    if (file_is_other(why, path, data, size))
        return v;
    heads = words_head(&v, head);
    begin = line_end(&v, v.begin) + 1;
    if (heads >= 2 && begin < size && head[1] > 0 && head[1] < INT32_MAX && words_binary(&v, begin, head[1])) {
        v.binary = 1;
        v.dim = (size_t)head[1];
        v.begin = begin;
        words_parse_binary(why, &v, head[0]);
    } else {
        /* a first line of whole numbers is taken at its word when the second line has what it says */
        word_line second = line_read(&v, begin < size ? begin : size, SIZE_MAX);
        while (!second.fields && second.end < size)
            second = line_read(&v, second.end + 1 < size ? second.end + 1 : size, SIZE_MAX);
        if (heads == 3 && second.numbers == second.fields)   /* a table of numbers: Deeplearning4j's words are none */
            heads = 0;
        if (heads == 2 && second.fields == 2)   /* or a table of two columns? */
            for (at = begin; at < size; at = line_end(&v, at) + 1)
                rows++;
        if (heads)
            words_width(&v, begin, 0);   /* of most lines that follow */
        if (heads && second.fields && (rows == 0 || rows == head[0])
            && (heads == 1 ? second.fields > 1 : head[1] > 0 && (second.fields >= head[1] || v.dim == head[1]))) {
            v.base64 = heads == 3;
            words_width(&v, begin, heads > 1 ? head[1] : 0);
        } else {
            const word_line first = line_read(&v, v.begin, SIZE_MAX);
            if (heads && second.fields && first.fields != second.fields)
                trouble_set(why, "%s: line 1: says %llu numbers a row, line 2 has %zu", path, (unsigned long long)head[1],
                            second.numbers - (second.numbers == second.fields && second.numbers > 0));
            heads = 0;
            begin = v.begin;
            words_width(&v, begin, 0);
        }
        if (v.dim == 0 && !why->text[0])
            trouble_set(why, "%s: line %d: expected a word and its numbers, or \"count dimension\"", path, heads ? 2 : 1);
        v.begin = begin;
        for (line = heads != 0; begin < size && !why->text[0]; begin = line_end(&v, begin) + 1) {
            const word_line l = line_read(&v, begin, v.dim);
            line++;
            if (!l.fields)
                continue;
            words_line(why, &v, &l, line, &at);
            if (why->text[0] || !words_add(why, &v, at))
                break;
        }
    }
    if (!why->text[0] && (v.count == 0 || (heads && v.count != head[0])))
        trouble_set(why, "%s: line 1: %llu words, but %zu follow", path, (unsigned long long)head[0], v.count);
    if (why->text[0])
        words_give(&v);
    return v;
}

/* The word of a row, without what separates it from its numbers. */
SHARED const unsigned char *words_word(const word_vectors *v, size_t row, size_t *length)
{
    size_t begin, end = v->at[row];

    if (v->binary) {
        begin = row ? v->at[row - 1] + 4 * v->dim : v->begin;
        end--;
        while (begin < end && (v->data[begin] == '\n' || v->data[begin] == '\r'))
            begin++;
    } else {
        begin = line_begin(v, end);
        while (end > begin && is_blank(v->data[end - 1]))
            end--;
    }
    *length = end - begin;
    return v->data + begin;
}

/* Rows of a table of word vectors. Returns 0, or -1 and a trouble. */
SHARED int words_rows(trouble *why, const word_vectors *v, size_t first, size_t count, float *out)
{
    size_t i, k, length;

    for (i = 0; i < count; i++) {
        const unsigned char *p = v->data + v->at[first + i];
        const unsigned char *const end = v->binary ? p + 4 * v->dim : v->data + line_end(v, v->at[first + i]);
        for (k = 0; k < v->dim; k++) {
            float *x = &out[i * v->dim + k];
            const unsigned char *next;
            while (!v->binary && p < end && is_blank(*p))
                p++;
            next = v->binary ? p + 4 : decimal(p, end, x);
            if (v->binary)
                *x = float_of_bits(get32(p));
            if (!next || !is_finite(*x)) {
                const unsigned char *word = words_word(v, first + i, &length);
                char place[48] = "";
                if (!v->binary)
                    add_text(place, sizeof place, "line %zu, ", line_number(v, v->at[first + i]));
                for (next = p; next < end && !is_blank(*next); next++)
                    ;
                trouble_set(why, "%s: %srow %zu, \"%.*s\": number %zu is \"%.*s\", expected a finite decimal number", v->path,
                            place, first + i, (int)(length < 60 ? length : 60), (const char *)word, k,
                            v->binary ? 10 : (int)(next - p < 40 ? next - p : 40), v->binary ? "not finite" : (const char *)p);
                return -1;
            }
            p = next;
        }
    }
    return 0;
}

/* ======================================================================================= */
/* MODELS: the tensors of a file, of the files that an index names, of a GGUF in parts     */
/* ======================================================================================= */

typedef struct {
    char *path;
    file_view file;
    tensors all;
} model_file;

typedef struct {
    char *path;            /* the file, the index, or the folder of files without an index */
    int indexed;
    model_file *file;      /* count of them */
    size_t count;
    tensors all;           /* of all files, by name; tensor.file says in which */
    char missing[256];     /* a file that belongs to them and is not there, or "" */
} model_files;

#define NO_FILE SIZE_MAX   /* tensor.file: in a file that is not there */

SHARED void model_files_close(model_files *m)
{
    size_t i;

    for (i = 0; i < m->count; i++) {
        tensors_give(&m->file[i].all);
        close_view(&m->file[i].file);
        give(m->file[i].path);
    }
    give(m->file);
    tensors_give(&m->all);
    give(m->path);
    memset(m, 0, sizeof *m);
}

static char *text_copy(trouble *why, const char *text, size_t length)
{
    char *copy = (char *)resize_or(why, NULL, length + 1, 1);

    if (copy) {
        memcpy(copy, text, length);
        copy[length] = 0;
    }
    return copy;
}

/* Takes over the path and the view, also after a trouble. */
static model_file *model_add(trouble *why, model_files *m, char *path, file_view file)
{
    model_file *larger = path ? (model_file *)resize_or(why, m->file, m->count + 1, sizeof *larger) : NULL;

    if (!larger) {
        close_view(&file);
        give(path);
        return NULL;
    }
    m->file = larger;
    larger += m->count++;
    memset(larger, 0, sizeof *larger);
    larger->path = path;
    larger->file = file;
    return larger;
}

/* Its tensors join those of the others, but names that are there already stay what they are. */
static void model_join(trouble *why, model_files *m, const model_file *f)
{
    const size_t before = m->all.count;
    size_t i;

    for (i = 0; i < f->all.count && !why->text[0]; i++) {
        const tensor *t = &f->all.list[i];
        tensors there = m->all;
        tensor *made;
        char *name;
        there.count = before;
        if (tensors_find(&there, t->name) || (name = text_copy(why, t->name, strlen(t->name))) == NULL)
            continue;
        if ((made = tensors_add(why, &m->all, name)) != NULL) {
            *made = *t;
            made->name = name;
            made->file = (size_t)(f - m->file);
        }
    }
    if (!why->text[0])
        tensors_sort(why, &m->all);
}

static void model_open_one(trouble *why, model_files *m, char *path)
{
    const file_view none = {NULL, 0, NULL};
    model_file *f = model_add(why, m, path, path ? view_file(why, path) : none);

    if (!f || why->text[0])
        return;
    f->all = f->file.size >= 4 && memcmp(f->file.data, "GGUF", 4) == 0
                 ? gguf_parse(why, path, f->file.data, f->file.size)
                 : safetensors_parse(why, path, f->file.data, f->file.size);
}

/* Names in a folder that end so, as a list without tensors; none where folders cannot be read. */
static tensors folder_names(trouble *why, const char *path, const char *end)
{
    tensors names;
#ifdef TENSOR_FILES_POSIX
    DIR *folder = opendir(path);
    const struct dirent *entry;

    tensors_begin(&names, path, NULL, 0);
    while (folder && (entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.' && ends_with(entry->d_name, end))
            (void)tensors_add(why, &names, text_copy(why, entry->d_name, strlen(entry->d_name)));
    if (folder)
        closedir(folder);
    if (!why->text[0])
        tensors_sort(why, &names);
#else
    tensors_begin(&names, path, NULL, 0);
    (void)why;
    (void)end;
#endif
    return names;
}

/* "a, b, c" */
static void names_text(const tensors *names, char *text, size_t size)
{
    size_t i;

    text[0] = 0;
    for (i = 0; i < names->count && strlen(text) + 60 < size; i++)
        add_text(text, size, i ? ", %.50s" : "%.50s", names->list[i].name);
    if (i < names->count)
        add_text(text, size, ", ..");
}

static char *folder_of(trouble *why, const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? text_copy(why, path, (size_t)(slash - path)) : text_copy(why, ".", 1);
}

static int is_folder(const char *path)
{
#ifdef TENSOR_FILES_POSIX
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
#else
    (void)path;
    return 0;
#endif
}

/* The part of a sentence-transformers folder that has the table, or NULL. */
static char *folder_module(trouble *why, const char *folder)
{
    char *list = path_join(why, folder, "modules.json"), *found = NULL, *inside, *file;
    bytes text = {NULL, 0};
    size_t k;
    json j;

    if (list && !file_missing(list))
        text = read_file(why, list);
    if (text.data) {
        j = json_parse(why, list, 0, text.data, text.size);
        for (k = json_first(&j, 0, JSON_ARRAY); k && !found; k = json_after(&j, 0, k)) {
            const size_t place = json_get(&j, k, "path");
            bytes name = {NULL, 0};
            if (place)
                name = json_string(&j, place);
            if (!name.data)
                continue;
            inside = path_join(why, folder, (const char *)name.data);
            file = inside ? path_join(why, inside, "model.safetensors") : NULL;
            if (file && name.size && !strstr((const char *)name.data, "..") && !file_missing(file)) {
                found = file;
                file = NULL;
            }
            give(file);
            give(inside);
            give(name.data);
        }
        give(j.node);
    }
    give(text.data);
    give(list);
    return found;
}

/* What to do where a folder has no file that is read here. */
static void explain_folder(trouble *why, const char *folder)
{
    static const char *const ends[] = {".bin", ".pth", ".pt", ".ckpt", ".h5", ".msgpack", ".onnx", ""};
    char names[200];
    size_t i;

    for (i = 0; i < sizeof ends / sizeof *ends && !why->text[0]; i++) {
        tensors there = folder_names(why, folder, ends[i]);
        names_text(&there, names, sizeof names);
        if (there.count && ends[i][0])
            trouble_set(why, "%s: no .safetensors or .gguf here, but %s: save the model as safetensors, for example by "
                        "transformers: AutoModel.from_pretrained(FOLDER).save_pretrained(OUT)", folder, names);
        else if (!ends[i][0])
            trouble_set(why, "%s: no model.safetensors here%s%s", folder, there.count ? ", but " : ": the folder is empty", names);
        tensors_give(&there);
    }
}

/* The file that a folder stands for: its model, the index of that, a part of sentence-transformers; the folder itself
   where it has shards without an index. In a new block; other paths as they are. */
static char *model_path(trouble *why, const char *path)
{
    static const char *const usual[] = {"model.safetensors", "model.safetensors.index.json"};
    char *inside = NULL, names[200];
    tensors there;
    size_t i, shards = 0, models = 0;

    if (!is_folder(path))
        return text_copy(why, path, strlen(path));
    for (i = 0; i < 2; i++) {
        inside = path_join(why, path, usual[i]);
        if (!inside || !file_missing(inside))
            return inside;
        give(inside);
    }
    if ((inside = folder_module(why, path)) != NULL || why->text[0])
        return inside;
    there = folder_names(why, path, ".safetensors.index.json");
    if (there.count == 1)
        inside = path_join(why, path, there.list[0].name);
    tensors_give(&there);
    there = folder_names(why, path, ".safetensors");
    for (i = 0; i < there.count; i++) {
        shards += strstr(there.list[i].name, "-of-") != NULL;
        models += strncmp(there.list[i].name, "adapter_", 8) != 0;
    }
    if (!inside && shards && shards == models)
        inside = text_copy(why, path, strlen(path));
    names_text(&there, names, sizeof names);
    if (!inside && there.count && !models)
        trouble_set(why, "%s: only %s here, which is an adapter: merge it with its model (peft: merge_and_unload)", path, names);
    if (!inside && models > 1)
        trouble_set(why, "%s: which file is it? %s", path, names);
    for (i = 0; i < there.count && !inside && models == 1; i++)
        if (strncmp(there.list[i].name, "adapter_", 8) != 0)
            inside = path_join(why, path, there.list[i].name);
    tensors_give(&there);
    if (inside || why->text[0])
        return inside;
    there = folder_names(why, path, ".gguf");
    if (there.count == 1 || (there.count && strstr(there.list[0].name, "-00001-of-")))
        inside = path_join(why, path, there.list[0].name);
    names_text(&there, names, sizeof names);
    if (there.count && !inside)
        trouble_set(why, "%s: which file is it? %s", path, names);
    tensors_give(&there);
    if (!inside && !why->text[0])
        explain_folder(why, path);
    return inside;
}

/* All files that an index names; m->file[0], if any, is not among them. */
static void model_open_index(trouble *why, model_files *m, const tensors *index)
{
    char *folder = folder_of(why, m->path), names[200], *name;
    size_t i, k;

    for (i = 0; i < index->count && !why->text[0]; i++) {
        const tensor *t = &index->list[i];
        char *path = index_file(why, index, t);
        tensor *made;
        for (k = 0; path && k < m->count && strcmp(m->file[k].path, path) != 0; k++)
            ;
        if (!path)
            break;
        if (k == m->count && file_missing(path)) {
            k = NO_FILE;
            if (!m->missing[0])
                snprintf(m->missing, sizeof m->missing, "%.250s", path);
        } else if (k == m->count) {
            model_open_one(why, m, path);
            path = NULL;
        }
        if (!why->text[0] && k != NO_FILE && !tensors_find(&m->file[k].all, t->name))
            trouble_set(why, "%s: tensor %s: missing, though %s says it is here", m->file[k].path, t->name, m->path);
        give(path);
        name = why->text[0] ? NULL : text_copy(why, t->name, strlen(t->name));
        if (!name || (made = tensors_add(why, &m->all, name)) == NULL)
            break;
        if (k != NO_FILE)
            *made = *tensors_find(&m->file[k].all, name);
        made->name = name;
        made->file = k;
        made->type = k == NO_FILE ? TENSOR_KINDS : made->type;
    }
    if (!m->count && m->missing[0]) {
        tensors there = folder_names(why, folder ? folder : ".", ".safetensors");
        names_text(&there, names, sizeof names);
        trouble_set(why, "%s: names %s, which is not there%s%s", m->path, m->missing,
                    there.count ? "; there is " : "", names);
        tensors_give(&there);
    }
    give(folder);
}

/* Of a GGUF in parts, "NAME-00001-of-00003.gguf", the other ones. */
static void model_open_parts(trouble *why, model_files *m)
{
    const char *path = m->file[0].path;
    const size_t length = strlen(path), number = length - 19;   /* "00001-of-00003.gguf" */
    unsigned parts = 0, own = 0, i, digits = 0;

    for (i = 0; length > 20 && i < 19; i++)
        digits += path[number + i] >= '0' && path[number + i] <= '9';
    if (digits != 10 || path[number - 1] != '-' || strncmp(path + number + 5, "-of-", 4) != 0)
        return;
    own = (unsigned)strtoul(path + number, NULL, 10);
    parts = (unsigned)strtoul(path + number + 9, NULL, 10);
    for (i = 1; i <= parts && !why->text[0]; i++) {
        char *other = i == own ? NULL : text_copy(why, m->file[0].path, length), digit[8];
        if (!other)
            continue;
        snprintf(digit, sizeof digit, "%05u", i % 100000u);
        memcpy(other + number, digit, 5);
        if (!file_missing(other)) {
            model_open_one(why, m, other);
            if (!why->text[0])
                model_join(why, m, &m->file[m->count - 1]);
        } else {
            if (!m->missing[0])
                snprintf(m->missing, sizeof m->missing, "%.250s", other);
            give(other);
        }
    }
}

/* The model in a file, in what an index names, or in a folder. After a trouble it is to be closed, too. */
SHARED model_files model_files_open(trouble *why, const char *path)
{
    model_files m;
    tensors names;
    file_view view;
    size_t i;

    memset(&m, 0, sizeof m);
    m.path = model_path(why, path);
    if (!m.path)
        return m;
    if (is_folder(m.path)) {
        names = folder_names(why, m.path, ".safetensors");
        for (i = 0; i < names.count && !why->text[0]; i++) {
            model_open_one(why, &m, path_join(why, m.path, names.list[i].name));
            if (!why->text[0])
                model_join(why, &m, &m.file[m.count - 1]);
        }
        tensors_give(&names);
        return m;
    }
    if (ends_with(m.path, ".json")) {
        m.indexed = 1;
        view = view_file(why, m.path);
        if (view.data) {
            names = index_parse(why, m.path, view.data, view.size);
            if (!why->text[0])
                model_open_index(why, &m, &names);
            tensors_give(&names);
        }
        close_view(&view);
    } else {
        model_open_one(why, &m, text_copy(why, m.path, strlen(m.path)));
        if (!why->text[0])
            model_join(why, &m, &m.file[0]);
        if (!why->text[0] && ends_with(m.path, ".gguf"))
            model_open_parts(why, &m);
    }
    m.all.path = m.path;
    return m;
}

/* The file that has a tensor of the list. */
SHARED const model_file *model_file_of(const model_files *m, const tensor *t)
{
    return &m->file[t->file];
}

#ifdef TENSOR_FILES_TABLES

/* ======================================================================================= */
/* WORDS AND NUMBERS OF A COMMAND                                                          */
/* ======================================================================================= */

static const char *const layout_names[] = {"auto", "table", "token", NULL};   /* as tt_embed.h numbers them */
static const char *const coding_names[] = {"auto", "f32", "f16", "i8", "i4", "trellis", NULL};

/* The place of a word in a list that ends with NULL, or -1. */
static int word_place(const char *text, const char *const *words)
{
    int i;

    for (i = 0; words[i]; i++)
        if (strcmp(text, words[i]) == 0)
            return i;
    return -1;
}

/* A whole number that fills the text; 0 when it is none, or beyond `most`. */
static int whole_number(const char *text, uint64_t most, uint64_t *value)
{
    uint64_t n = 0;
    const char *c = text;

    for (; *c >= '0' && *c <= '9'; c++) {
        if (n > (UINT64_MAX - 9) / 10)
            return 0;
        n = n * 10 + (uint64_t)(*c - '0');
    }
    *value = n;
    return c != text && *c == 0 && n <= most;
}

/* The modes of "8x4x4", at most `most`; 0 when it is no shape. */
SHARED int32_t shape_read(const char *text, int32_t *modes, int32_t most)
{
    const char *c = text;
    int32_t count = 0;

    do {
        int64_t side = 0;
        for (; *c >= '0' && *c <= '9' && side < INT32_MAX; c++)
            side = side * 10 + (*c - '0');
        if (side < 1 || side > INT32_MAX || count == most || (*c != 'x' && *c != 0))
            return 0;
        modes[count++] = (int32_t)side;
    } while (*c++);
    return count;
}

/* ======================================================================================= */
/* INPUT: a file, or standard input for "-"                                                */
/* ======================================================================================= */

/* What messages call it. */
static const char *input_name(const char *path)
{
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

/* Standard input is read into memory, once. */
static file_view input_view(trouble *why, const char *path)
{
    static int taken;
    file_view view = {NULL, 0, NULL};
    bytes all;

    if (strcmp(path, "-") != 0)
        return view_file(why, path);
    if (taken++) {
        trouble_set(why, "standard input: it can be read only once");
        return view;
    }
    all = read_stream(why, input_name(path), stdin);
    view.data = all.data;
    view.size = all.size;
    return view;
}

/* ======================================================================================= */
/* FINDING THE TABLE                                                                       */
/* ======================================================================================= */

typedef enum { SAFETENSORS, NPY, GGUF, TEXT, RAW, INDEX_OF_SHARDS } table_kind;

static const char *const format_names[] = {"safetensors", "npy", "gguf", "text", "raw", NULL};

typedef struct {
    const char *tensor, *format, *rows;   /* NULL: whichever it is, and all rows */
    size_t dim;                           /* numbers a row of raw float32; 0: not known */
} source_request;

typedef struct {
    char *path;                /* of the file with the table */
    model_files m;
    const tensors *in;         /* of that file */
    const tensor *t;           /* NULL: a table of words */
    const tensor *mapping, *weights;   /* model2vec: of token i, row mapping[i] times weights[i]; NULL: as they stand */
    word_vectors words;
    size_t first, rows, dim;   /* of the rows that are asked for */
    size_t whole;              /* rows of the whole table */
    int misused;               /* the request makes no sense, whatever the file holds */
    trouble why;               /* of source_open, source_rows and source_weights */
} source;

/* Whether the first bytes are text: no control characters, valid UTF-8. */
static int looks_like_text(const unsigned char *p, size_t size)
{
    const size_t most = size < 4096 ? size : 4096;
    uint32_t point;
    size_t at = 0;

    while (at < most) {
        at += utf8_get(p + at, size - at, &point);
        if (point < 32 ? !(point >= 9 && point <= 13) : point == 127)
            return 0;
        if (point == NOT_UTF8 && at == 1)   /* words may be of any bytes, but numbers are not */
            return 0;
    }
    return size > 0;
}

/* By what is asked for, by its first bytes, by its name, and last by there being a --dim. */
static table_kind kind_of_table(source *s, const source_request *r, const unsigned char *p, size_t size)
{
    static const char *const ends[] = {".safetensors", ".npy", ".gguf", ".txt", ".vec", ".index.json"};
    static const table_kind means[] = {SAFETENSORS, NPY, GGUF, TEXT, TEXT, INDEX_OF_SHARDS};
    const int asked = r->format ? word_place(r->format, format_names) : -1;
    word_vectors v;
    uint64_t head[3];
    size_t i, line;

    if (asked >= 0)
        return (table_kind)asked;
    s->misused = r->format != NULL;
    if (r->format)
        trouble_set(&s->why, "--format %s: expected one of safetensors, npy, gguf, text, raw", r->format);
    if (size >= 8 && memcmp(p, "\x89TTE\r\n\x1a\n", 8) == 0)
        trouble_set(&s->why, "%s: an image, not a table; shrink makes it smaller, export makes a table of "
                    "it", s->path);
    if (size >= 6 && memcmp(p, "\x93NUMPY", 6) == 0)
        return NPY;
    if (size >= 4 && memcmp(p, "GGUF", 4) == 0)
        return GGUF;
    if (size >= 9 && p[8] == '{' && get64(p) <= size - 8)   /* a length, then JSON */
        return SAFETENSORS;
    if (!r->dim && file_is_other(&s->why, s->path, p, size))
        return RAW;
    for (i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_with(s->path, ends[i]))
            return means[i];
    memset(&v, 0, sizeof v);
    v.data = p;
    v.size = size;
    line = line_end(&v, 0) + 1;
    if (looks_like_text(p, size)
        || (line < size && words_head(&v, head) == 2 && head[1] > 0 && words_binary(&v, line, head[1])))
        return p[0] == '{' ? INDEX_OF_SHARDS : TEXT;
    if (!r->dim)
        trouble_set(&s->why, "%s: which format? --format tells, and --dim for raw float32", s->path);
    return RAW;
}

/* "model.embed_tokens.weight" is an embedding by the last of its names: its place among the usual ones, or -1. */
static int looks_like_embedding(const char *name)
{
    static const char *const usual[] = {
        "wte", "embed_tokens", "word_embeddings", "tok_embeddings", "token_embd", "token_embedding", "token_embeddings",
        "embed_in", "shared", "embeddings", "embedding", "word_embedding", "word_emb", "tok_emb", "token_emb", "tok_embed",
        "tokens_embed", "embedding_table", "embed", "emb", "item_embedding", NULL};
    char last[64];
    size_t length = strlen(name);
    const char *from;

    if (ends_with(name, ".weight"))
        length -= 7;
    for (from = name + length; from > name && from[-1] != '.' && from[-1] != '/'; from--)
        ;
    snprintf(last, sizeof last, "%.*s", (int)(name + length - from < 63 ? name + length - from : 63), from);
    return word_place(last, usual);
}

static int looks_like_output(const char *name)
{
    return strcmp(name, "output.weight") == 0 || ends_with(name, "lm_head.weight") || ends_with(name, "embed_out.weight");
}

/* Whether two tensors of a model are the same numbers. */
static int tensors_equal(const model_files *m, const tensor *a, const tensor *b)
{
    return a->file != NO_FILE && b->file != NO_FILE && a->type == b->type && a->type < TENSOR_KINDS && a->rank == b->rank
        && memcmp(a->shape, b->shape, sizeof a->shape) == 0 && a->end - a->begin == b->end - b->begin
        && memcmp(m->file[a->file].file.data + a->begin, m->file[b->file].file.data + b->begin,
                  (size_t)(a->end - a->begin)) == 0;
}

/* The tensor that is named, or the one that looks like an embedding (or several that are the same numbers), or the
   output's, or the only one with two sides. */
SHARED const tensor *choose_tensor(trouble *why, const model_files *m, const char *name)
{
    const tensors *w = &m->all;
    const tensor *chosen = name ? tensors_find(w, name) : NULL;
    char names[400] = "";
    size_t i, found = 0;
    int stage;

    for (stage = 0; stage < 3 && !found && !(name && chosen); stage++)
        for (i = 0; i < w->count; i++) {
            const tensor *t = &w->list[i];
            const int known = t->file != NO_FILE;
            if ((known && (t->rank != 2 || t->shape[0] == 0 || t->shape[1] == 0)) || (stage == 2 && m->missing[0])
                || (stage == 0 ? looks_like_embedding(t->name) < 0 : stage == 1 && !looks_like_output(t->name)))
                continue;
            if (found && !name && tensors_equal(m, chosen, t)) {
                if ((unsigned)looks_like_embedding(t->name) < (unsigned)looks_like_embedding(chosen->name))
                    chosen = t;
                continue;
            }
            chosen = t;
            if (found++ == 0 || strlen(names) < 300)
                add_text(names, sizeof names, found > 1 ? ", %.100s" : "%.100s", t->name);
        }
    if (chosen && (name ? strcmp(chosen->name, name) == 0 : found == 1)) {
        if (chosen->file != NO_FILE)
            return chosen;
        trouble_set(why, "%s: tensor %s is in a file that is not there, as is %s", w->path, chosen->name, m->missing);
    } else if (!found) {
        trouble_set(why, "%s: no tensor with two sides%s%s", w->path, m->missing[0] ? "; not there: " : "", m->missing);
    } else if (name) {
        trouble_set(why, "%s: tensor %s: missing; perhaps it is %s", w->path, name, names);
    } else {
        trouble_set(why, "%s: which tensor is the table? --tensor names one of %s", w->path, names);
    }
    return NULL;
}

/* FIRST:LAST within `whole` rows. */
static void choose_rows(source *s, const char *text)
{
    const char *colon = text ? strchr(text, ':') : NULL;
    uint64_t first = 0, last = s->whole;
    char begin[32];

    if (text) {
        snprintf(begin, sizeof begin, "%.*s", colon ? (int)(colon - text < 31 ? colon - text : 31) : 0,
                 text);
        if (!colon || (begin[0] && !whole_number(begin, UINT64_MAX, &first))
            || (colon[1] && !whole_number(colon + 1, UINT64_MAX, &last))) {
            s->misused = 1;
            trouble_set(&s->why, "--rows %s: expected FIRST:LAST", text);
        } else if (first >= last || last > s->whole) {
            trouble_set(&s->why, "%s: --rows %s: the table has rows 0 to %zu", s->path, text, s->whole - 1);
        }
    }
    s->first = (size_t)first;
    s->rows = (size_t)(last - first);
}

/* model2vec gives tokens shares of rows, and weights: a row for each token is what it makes of them. */
static void source_mapping(source *s)
{
    const tensor *mapping = tensors_find(s->in, "mapping"), *weights = tensors_find(s->in, "weights");

    if (strcmp(s->t->name, "embeddings") != 0)
        return;
    if (mapping && mapping->rank == 1 && mapping->shape[0] && (mapping->type == TENSOR_I64 || mapping->type == TENSOR_I32)) {
        s->mapping = mapping;
        s->whole = mapping->shape[0];
    }
    if (weights && weights->rank == 1 && weights->shape[0] == s->whole && weights->type < TENSOR_READABLE)
        s->weights = weights;
}

/* Its tensor, or its words, in a file of this format; the first one of the model. */
static void find_table(source *s, const source_request *r, table_kind f)
{
    trouble *why = &s->why;
    model_file *file = &s->m.file[0];
    tensors names;

    if (f == TEXT) {
        s->words = words_parse(why, s->path, file->file.data, file->file.size);
        s->whole = s->words.count;
        s->dim = s->words.dim;
        return;
    }
    if (f == INDEX_OF_SHARDS) {
        names = index_parse(why, s->path, file->file.data, file->file.size);
        s->m.indexed = 1;
        s->m.count = 0;   /* the index is no file of it */
        if (!why->text[0])
            model_open_index(why, &s->m, &names);
        tensors_give(&names);
    } else {
        file->all = f == NPY ? npy_parse(why, s->path, file->file.data, file->file.size)
                  : f == GGUF ? gguf_parse(why, s->path, file->file.data, file->file.size)
                  : f == RAW ? raw_parse(why, s->path, file->file.data, file->file.size, r->dim)
                             : safetensors_parse(why, s->path, file->file.data, file->file.size);
        if (!why->text[0])
            model_join(why, &s->m, file);
        if (!why->text[0] && f == GGUF)
            model_open_parts(why, &s->m);
    }
    s->m.all.path = s->path;
    if (!why->text[0])
        s->t = f == NPY || f == RAW ? &s->m.all.list[0] : choose_tensor(why, &s->m, r->tensor);
    if (!s->t)
        return;
    s->in = &model_file_of(&s->m, s->t)->all;
    if (tensor_is_table(why, s->in, s->t)) {
        s->whole = s->t->shape[0];
        s->dim = s->t->shape[1];
        source_mapping(s);
    }
}

/* Opens a table. Nothing is read yet but headers and, of word vectors, where the lines are; of standard
   input all. After a trouble the source is to be closed, too. */
SHARED source source_open(const char *path, const source_request *r)
{
    const int piped = strcmp(path, "-") == 0;
    table_kind f = RAW;
    file_view file = {NULL, 0, NULL};
    source s;

    memset(&s, 0, sizeof s);
    s.m.path = piped ? text_copy(&s.why, input_name(path), strlen(input_name(path))) : model_path(&s.why, path);
    s.path = s.m.path;
    if (s.path && !piped && is_folder(s.path)) {   /* shards without an index */
        model_files_close(&s.m);
        s.m = model_files_open(&s.why, path);
        s.path = s.m.path;
        if (!s.why.text[0])
            s.t = choose_tensor(&s.why, &s.m, r->tensor);
        if (s.t) {
            s.in = &model_file_of(&s.m, s.t)->all;
            s.whole = s.t->shape[0];
            s.dim = s.t->shape[1];
            (void)tensor_is_table(&s.why, s.in, s.t);
        }
    } else if (s.path) {
        file = input_view(&s.why, piped ? path : s.path);
        if (!s.why.text[0])
            f = kind_of_table(&s, r, file.data, file.size);
        (void)model_add(&s.why, &s.m, text_copy(&s.why, s.path, strlen(s.path)), file);
        if (!s.why.text[0] && f == RAW && !r->dim) {
            s.misused = 1;
            trouble_set(&s.why, "--format raw: --dim tells how many numbers a row has");
        }
        if (!s.why.text[0])
            find_table(&s, r, f);
    }
    if (s.why.text[0])
        return s;
    if (s.t)
        s.path = model_file_of(&s.m, s.t)->path;
    if (s.dim > INT32_MAX || s.whole > UINT32_MAX)
        trouble_set(&s.why, "%s: %zu x %zu: too large", s.path, s.whole, s.dim);
    else
        choose_rows(&s, r->rows);
    return s;
}

SHARED void source_close(source *s)
{
    words_give(&s->words);
    model_files_close(&s->m);
}

/* ======================================================================================= */
/* ITS ROWS AND THEIR WEIGHTS                                                              */
/* ======================================================================================= */

/* Of the rows that were asked for; a tte_rows_fn. */
SHARED int source_rows(void *user, size_t first, size_t count, float *dst)
{
    source *s = (source *)user;
    size_t i, k;

    for (i = 0; i < count && s->mapping; i++) {
        const unsigned char *p = s->in->data + s->mapping->begin
                                 + (s->mapping->type == TENSOR_I64 ? 8 : 4) * (s->first + first + i);
        const uint64_t row = s->mapping->type == TENSOR_I64 ? get64(p) : get32(p);
        if (row >= s->t->shape[0]) {
            trouble_set(&s->why, "%s: tensor mapping: token %zu has row %llu, embeddings has %zu", s->path,
                        s->first + first + i, (unsigned long long)row, s->t->shape[0]);
            return -1;
        }
        if (tensor_rows(&s->why, s->in, s->t, (size_t)row, 1, dst + i * s->dim) != 0)
            return -1;
    }
    if (s->t && !s->mapping && tensor_rows(&s->why, s->in, s->t, s->first + first, count, dst) != 0)
        return -1;
    for (i = 0; i < count && s->weights; i++) {
        const tensor_kind *kind = &tensor_kinds[s->weights->type];
        float weight;
        tensor_numbers(s->weights->type, s->in->data + s->weights->begin + (s->first + first + i) * kind->size, 1, &weight);
        for (k = 0; k < s->dim; k++)
            dst[i * s->dim + k] *= weight;
    }
    if (s->t)
        return 0;
    return words_rows(&s->why, &s->words, s->first + first, count, dst);
}

/* One line of a file of weights; NULL when it is no number above 0, else where the next one begins. */
static const unsigned char *weight_line(const unsigned char *p, const unsigned char *end, float *weight)
{
    const unsigned char *stop = (const unsigned char *)memchr(p, '\n', (size_t)(end - p));

    stop = stop ? stop : end;
    while (p < stop && is_blank(*p))
        p++;
    p = decimal(p, stop, weight);
    while (p && p < stop && is_blank(*p))
        p++;
    return p == stop && *weight > 0.0f && is_finite(*weight) ? stop + (stop < end) : NULL;
}

/* The weights of `rows` rows from `first` on of a table of `whole`, in a new block; NULL after a trouble.
   `path` is a file with one number a line, for the whole table or for these rows; or it is zipf, by that
   law: the count of a token is about 1 / id, and the root of the count is a good weight. */
SHARED float *read_weights(trouble *why, const char *path, size_t first, size_t rows, size_t whole)
{
    float *weight = (float *)resize_or(why, NULL, rows ? rows : 1, sizeof *weight), skipped;
    const unsigned char *p, *end;
    file_view file;
    size_t lines = 0, skip, i;

    if (!weight)
        return NULL;
    if (strcmp(path, "zipf") == 0) {
        for (i = 0; i < rows; i++)
            weight[i] = (float)(1.0 / sqrt((double)(first + i) + 3.0));
        return weight;
    }
    file = input_view(why, path);
    if (!file.data) {
        give(weight);
        return NULL;
    }
    p = file.data;
    end = p + file.size;
    for (i = 0; i < file.size; i++)
        lines += p[i] == '\n' || i + 1 == file.size;
    skip = lines == whole ? first : 0;
    if (lines != whole && lines != rows)
        trouble_set(why, "%s: %zu lines for %zu rows", input_name(path), lines, rows);
    for (i = 0; i < skip + rows && !why->text[0]; i++) {
        p = weight_line(p, end, i < skip ? &skipped : &weight[i - skip]);
        if (!p)
            trouble_set(why, "%s: line %zu: expected a number above 0", input_name(path), i + 1);
    }
    close_view(&file);
    if (!why->text[0])
        return weight;
    give(weight);
    return NULL;
}

#endif /* TENSOR_FILES_TABLES */
#endif /* TENSOR_FILES_H */
