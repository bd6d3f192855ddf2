/* The memory of the test VFS: how to go back to what was synced. */
#include "lib/store/test_undo_internal.h"

#ifdef RAFTKV_TEST_VFS

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/base/prng.h"

enum { SECTOR = 512 };

struct change {
    struct change *older;
    bool truncates;
    uint64_t old_size;
    uint64_t offset; /* truncates: the new size */
    size_t len;
    uint8_t *old, *new;
};

/* A file with changes since its last sync. */
struct tracked {
    struct tracked *next;
    char *path;
    struct change *newest;
};

enum name_change_kind { NAME_CREATED, NAME_RENAMED, NAME_UNLINKED };
struct name_change {
    struct name_change *older;
    enum name_change_kind kind;
    char *path, *to;
    char *aside; /* where the file that lost its name is; NULL: none */
};

static struct tracked *files;
static struct name_change *names;

static struct tracked *find(const char *path)
{
    struct tracked *f = files;
    while (f && strcmp(f->path, path) != 0)
        f = f->next;
    if (!f) {
        f = mem_zalloc(sizeof(*f));
        f->path = mem_strdup(path);
        f->next = files;
        files = f;
    }
    return f;
}

static void change_free(struct change *c)
{
    mem_free(c->old);
    mem_free(c->new);
    mem_free(c);
}

void test_undo_write(const char *path, uint64_t old_size, uint64_t offset, const void *old,
                     const void *data, size_t len)
{
    struct tracked *f = find(path);
    struct change *c = mem_zalloc(sizeof(*c));
    *c = (struct change){.older = f->newest,
                         .old_size = old_size,
                         .offset = offset,
                         .len = len,
                         .old = mem_dup(old, len),
                         .new = mem_dup(data, len)};
    f->newest = c;
}

void test_undo_truncate(const char *path, uint64_t old_size, uint64_t size, const void *cut,
                        size_t len)
{
    struct tracked *f = find(path);
    struct change *c = mem_zalloc(sizeof(*c));
    *c = (struct change){.older = f->newest,
                         .truncates = true,
                         .old_size = old_size,
                         .offset = size,
                         .len = len,
                         .old = mem_dup(cut, len)};
    f->newest = c;
}

static void untrack(struct tracked **at)
{
    struct tracked *f = *at;
    *at = f->next;
    while (f->newest) {
        struct change *c = f->newest;
        f->newest = c->older;
        change_free(c);
    }
    mem_free(f->path);
    mem_free(f);
}

void test_undo_synced(const char *path)
{
    struct tracked **at = &files;
    while (*at && strcmp((*at)->path, path) != 0)
        at = &(*at)->next;
    if (*at)
        untrack(at);
}

void test_undo_forget(const char *path)
{
    test_undo_synced(path);
    for (struct name_change **at = &names; *at;) {
        struct name_change *n = *at;
        if (n->kind == NAME_CREATED && strcmp(n->path, path) == 0) {
            *at = n->older;
            mem_free(n->path);
            mem_free(n);
        } else {
            at = &n->older;
        }
    }
}

static struct name_change *name_change(enum name_change_kind kind, const char *path, const char *to)
{
    struct name_change *n = mem_zalloc(sizeof(*n));
    *n = (struct name_change){
        .older = names, .kind = kind, .path = mem_strdup(path), .to = to ? mem_strdup(to) : NULL};
    names = n;
    return n;
}

/* Takes the file's name away for good, or until the directory goes back. */
static int put_aside(const char *path, char **aside)
{
    static unsigned number;
    const char *slash = strrchr(path, '/');
    ASSERT(slash);
    size_t room = strlen(path) + 40;
    char *target = mem_alloc(room);
    snprintf(target, room, "%.*s/.lost-%ld-%u", (int)(slash - path), path, (long)getpid(),
             number++);
    if (rename(path, target) != 0) {
        mem_free(target);
        return errno;
    }
    *aside = target;
    return 0;
}

/* What is not synced of it stays with the file. */
static void goes_by(const char *path, const char *now)
{
    for (struct tracked *f = files; f; f = f->next)
        if (strcmp(f->path, path) == 0) {
            mem_free(f->path);
            f->path = mem_strdup(now);
        }
}

void test_undo_create(const char *path)
{
    name_change(NAME_CREATED, path, NULL);
}

int test_undo_rename(const char *from, const char *to)
{
    char *aside = NULL;
    if (access(from, F_OK) != 0)
        return errno;
    if (access(to, F_OK) == 0) {
        int errnum = put_aside(to, &aside);
        if (errnum)
            return errnum;
    }
    if (aside)
        goes_by(to, aside);
    goes_by(from, to);
    name_change(NAME_RENAMED, from, to)->aside = aside;
    return 0;
}

int test_undo_unlink(const char *path)
{
    char *aside = NULL;
    int errnum = put_aside(path, &aside);
    if (errnum)
        return errnum;
    goes_by(path, aside);
    name_change(NAME_UNLINKED, path, NULL)->aside = aside;
    return 0;
}

static bool same_directory(const char *a, const char *b)
{
    size_t len = (size_t)(strrchr(a, '/') - a);
    return len == (size_t)(strrchr(b, '/') - b) && memcmp(a, b, len) == 0;
}

static void name_change_free(struct name_change *n)
{
    mem_free(n->path);
    mem_free(n->to);
    mem_free(n->aside);
    mem_free(n);
}

void test_undo_directory_synced(const char *path_inside)
{
    for (struct name_change **at = &names; *at;) {
        struct name_change *n = *at;
        if (!same_directory(n->path, path_inside)) {
            at = &n->older;
            continue;
        }
        *at = n->older;
        if (n->aside) {
            unlink(n->aside);
            test_undo_synced(n->aside);
        }
        name_change_free(n);
    }
}

static void put(int fd, const uint8_t *data, size_t len, uint64_t offset)
{
    while (len) {
        ssize_t n = pwrite(fd, data, len, (off_t)offset);
        ASSERT(n > 0);
        data += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
}

/* Oldest first, each sector kept with probability 1/2. */
static void keep_some(int fd, const struct change *c, struct prng *prng)
{
    if (!c)
        return;
    keep_some(fd, c->older, prng);
    if (c->truncates) {
        if (prng_chance(prng, 1, 2))
            ASSERT(ftruncate(fd, (off_t)c->offset) == 0);
        return;
    }
    for (size_t at = 0; at < c->len;) {
        size_t part = SECTOR - (size_t)((c->offset + at) % SECTOR);
        if (part > c->len - at)
            part = c->len - at;
        if (prng_chance(prng, 1, 2))
            put(fd, c->new + at, part, c->offset + at);
        at += part;
    }
}

static void file_back(const struct tracked *f, struct prng *prng)
{
    int fd = open(f->path, O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        for (struct change *c = f->newest; c; c = c->older) {
            if (c->truncates) {
                ASSERT(ftruncate(fd, (off_t)c->old_size) == 0);
                put(fd, c->old, c->len, c->offset);
            } else {
                put(fd, c->old, c->len, c->offset);
                ASSERT(ftruncate(fd, (off_t)c->old_size) == 0);
            }
        }
        if (prng)
            keep_some(fd, f->newest, prng);
        /* The kernel has it; a test does not need it on the disk. */
        close(fd);
    }
}

void test_undo_power_loss(uint64_t seed)
{
    struct prng prng;
    prng_seed(&prng, seed);
    while (files) {
        file_back(files, seed ? &prng : NULL);
        untrack(&files);
    }
    while (names) {
        struct name_change *n = names;
        names = n->older;
        /* A later change may have been made by SQLite in between: what is gone stays gone. */
        if (n->kind == NAME_CREATED)
            unlink(n->path);
        else if (n->kind == NAME_RENAMED)
            rename(n->to, n->path);
        if (n->aside)
            rename(n->aside, n->kind == NAME_RENAMED ? n->to : n->path);
        name_change_free(n);
    }
}

#endif
