/* Helpers of the tests of lib/store; see tests/unit/store.h. */
#include "tests/unit/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "tests/unit/tap.h"

enum { PATH_BYTES = 4096 };

static char scratch[PATH_BYTES / 2];
static pid_t scratch_owner;

static void visit(const char *path, void (*what)(const char *, const char *, void *),
                  void *argument)
{
    DIR *stream = opendir(path);
    if (!stream)
        return;
    for (struct dirent *e; (e = readdir(stream));) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            what(path, e->d_name, argument);
    }
    closedir(stream);
}

static void remove_name(const char *dir, const char *name, void *argument)
{
    char path[PATH_BYTES];
    (void)argument;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (unlink(path) != 0)
        store_remove_dir(path);
}

void store_remove_dir(const char *path)
{
    visit(path, remove_name, NULL);
    rmdir(path);
}

static void clean_up(void)
{
    if (getpid() == scratch_owner)
        store_remove_dir(scratch);
}

const char *store_scratch(void)
{
    if (!*scratch) {
        const char *tmp = getenv("TMPDIR");
        snprintf(scratch, sizeof(scratch), "%s/raftkv-store-XXXXXX", tmp ? tmp : "/tmp");
        must(mkdtemp(scratch));
        scratch_owner = getpid();
        atexit(clean_up);
    }
    return scratch;
}

/* Kept until the end, so that callers may hold on to them. */
struct fresh_path {
    struct fresh_path *next;
    char path[];
};

const char *store_fresh_path(const char *name)
{
    static struct fresh_path *all;
    static unsigned number;
    size_t room = strlen(store_scratch()) + strlen(name) + 16;
    struct fresh_path *p = mem_alloc(sizeof(*p) + room);
    snprintf(p->path, room, "%s/%s-%u", store_scratch(), name, number++);
    p->next = all;
    all = p;
    return p->path;
}

static void copy_name(const char *dir, const char *name, void *argument)
{
    char from[PATH_BYTES], to[PATH_BYTES], block[65536];
    snprintf(from, sizeof(from), "%s/%s", dir, name);
    snprintf(to, sizeof(to), "%s/%s", (const char *)argument, name);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(in >= 0 && out >= 0);
    for (ssize_t n; (n = read(in, block, sizeof(block))) > 0;)
        must(write(out, block, (size_t)n) == n);
    close(in);
    close(out);
}

void store_copy_dir(const char *from, const char *to)
{
    char target[PATH_BYTES];
    snprintf(target, sizeof(target), "%s", to);
    store_remove_dir(target);
    must(mkdir(target, 0700) == 0);
    visit(from, copy_name, target);
}

struct count {
    const char *prefix;
    size_t n;
};

static void count_name(const char *dir, const char *name, void *argument)
{
    struct count *c = argument;
    (void)dir;
    c->n += strncmp(name, c->prefix, strlen(c->prefix)) == 0;
}

size_t store_count_files(const char *path, const char *prefix)
{
    struct count c = {.prefix = prefix};
    visit(path, count_name, &c);
    return c.n;
}

struct entry *store_entry(raft_index index, raft_term term, size_t size)
{
    struct entry *e = entry_alloc(RAFT_NORMAL, size);
    struct prng p;
    prng_seed(&p, index * 1000003 + term);
    prng_fill(&p, e->data, size);
    entry_seal(e);
    entry_place(e, index, term);
    return e;
}

struct membership store_membership(raft_index index, unsigned members)
{
    struct membership m = {0};
    m.configuration.index = index;
    m.configuration.count = members;
    for (unsigned i = 0; i < members; i++) {
        m.configuration.members[i] = (struct raft_member){.id = 100 + i, .flags = RAFT_VOTER};
        m.addresses[i].id = 100 + i;
        snprintf(m.addresses[i].name, sizeof(m.addresses[i].name), "node%u", i + 1);
        snprintf(m.addresses[i].url, sizeof(m.addresses[i].url), "http://127.0.0.1:%u", 5001 + i);
    }
    return m;
}

static int file_open(const char *dir, const char *name, int flags)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, flags | O_CLOEXEC, 0600);
    must(fd >= 0);
    return fd;
}

uint64_t store_file_bytes(const char *dir, const char *name)
{
    struct stat st;
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

void store_flip_bit(const char *dir, const char *name, uint64_t bit)
{
    uint8_t byte;
    int fd = file_open(dir, name, O_RDWR);
    must(pread(fd, &byte, 1, (off_t)(bit / 8)) == 1);
    byte ^= (uint8_t)(1U << (bit % 8));
    must(pwrite(fd, &byte, 1, (off_t)(bit / 8)) == 1);
    close(fd);
}

void store_write_file(const char *dir, const char *name, const void *data, size_t len)
{
    mkdir(dir, 0700);
    int fd = file_open(dir, name, O_WRONLY | O_CREAT | O_TRUNC);
    must(write(fd, data, len) == (ssize_t)len);
    close(fd);
}

void store_cut_file(const char *dir, const char *name, uint64_t bytes)
{
    int fd = file_open(dir, name, O_WRONLY);
    must(ftruncate(fd, (off_t)bytes) == 0);
    close(fd);
}
