/* Copying a data directory aside, and telling what is found in it. */
#include "lib/store/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/store/inspect_internal.h"

enum { COPY_BLOCK_BYTES = 1 << 18, COPY_SPARE_BYTES = 16 << 20 };

/* ---- what belongs to a node ---- */

raft_index inspect_snapshot_index(const char *name)
{
    static const char prefix[] = "snapshot.";
    if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
        return 0;
    const char *digits = name + sizeof(prefix) - 1;
    if (*digits < '1' || *digits > '9')
        return 0;
    char *end;
    errno = 0;
    unsigned long long v = strtoull(digits, &end, 10);
    return errno == 0 && strcmp(end, ".db") == 0 ? v : 0;
}

/* Not -shm: that is an index of the WAL in memory, and made anew. */
static bool is_ours(const char *name)
{
    static const char *const logs[] = {"raft.db", "raft.db-wal", "raft.db-journal"};
    uint64_t generation;
    const char *suffix;
    for (size_t i = 0; i < sizeof(logs) / sizeof(logs[0]); i++)
        if (strcmp(name, logs[i]) == 0)
            return true;
    if (kv_file_parse(name, &generation, &suffix))
        return strcmp(suffix, "-shm") != 0;
    return inspect_snapshot_index(name) > 0;
}

static bool is_database(const char *name)
{
    uint64_t generation;
    const char *suffix;
    return strcmp(name, "raft.db") == 0 ||
           (kv_file_parse(name, &generation, &suffix) && *suffix == '\0');
}

/* ---- the directory as it stands: opened for reading, nothing made in it ---- */

static int source_open(const char *path, struct data_dir *d, struct err *err)
{
    *d = (struct data_dir){.path = mem_strdup(path), .lock_fd = -1};
    d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->fd >= 0)
        return 0;
    bool absent = errno == ENOENT || errno == ENOTDIR;
    return err_errno(err, absent ? ERR_NOT_FOUND : ERR_IO, errno, "%s: cannot open the directory",
                     path);
}

static void source_close(struct data_dir *d)
{
    if (d->lock_fd >= 0)
        close(d->lock_fd);
    if (d->fd >= 0)
        close(d->fd);
    mem_free(d->path);
}

/* Whoever runs a node here has made the lock file and has it. */
static int source_lock(struct data_dir *d, struct err *err)
{
    d->lock_fd = openat(d->fd, "lock", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (d->lock_fd < 0)
        return errno == ENOENT ? 0 : err_errno(err, ERR_IO, errno, "%s/lock: cannot open", d->path);
    if (flock(d->lock_fd, LOCK_SH | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return err_errno(err, ERR_IO, errno, "%s/lock: cannot lock", d->path);
    char pid[32] = "";
    ssize_t n = pread(d->lock_fd, pid, sizeof(pid) - 1, 0);
    pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
    return err_set(err, ERR_LOCKED,
                   "%s: process %s is using this data directory; stop it, or look at a copy",
                   d->path, *pid ? pid : "(unknown)");
}

static int stop_at_database(void *argument, const char *name)
{
    (void)argument;
    return is_database(name) ? ERR_AGAIN : 0;
}

int data_dir_recognise(const char *path, struct err *err)
{
    struct data_dir d;
    int rc = source_open(path, &d, err);
    if (rc == 0) {
        rc = data_dir_each(&d, stop_at_database, NULL, err);
        if (rc == 0)
            rc = err_set(err, ERR_NOT_FOUND,
                         "%s: not a data directory: there is neither raft.db nor kv.*.db", path);
        else if (rc == ERR_AGAIN)
            rc = 0;
    }
    source_close(&d);
    return rc;
}

/* ---- copying ---- */

struct copying {
    struct data_dir *from, *to;
    uint64_t bytes;
    uint8_t *block;
    struct err *err;
};

static int count_bytes(void *argument, const char *name)
{
    struct copying *c = argument;
    struct stat st;
    if (!is_ours(name))
        return 0;
    if (fstatat(c->from->fd, name, &st, 0) != 0)
        return err_errno(c->err, ERR_IO, errno, "%s/%s: cannot stat", c->from->path, name);
    if (!S_ISREG(st.st_mode))
        return err_set(c->err, ERR_IO, "%s/%s: not a regular file", c->from->path, name);
    c->bytes += (uint64_t)st.st_size;
    return 0;
}

/* Closes `in`. */
static int copy_bytes(struct plain_file *in, struct data_dir *to, const char *name, uint8_t *block,
                      struct err *err)
{
    struct plain_file out = {.fd = -1};
    uint64_t at = 0;
    size_t len = COPY_BLOCK_BYTES;
    int rc = plain_open(&out, to, name, true, err);
    while (rc == 0 && len > 0) {
        len = COPY_BLOCK_BYTES;
        rc = plain_read(in, at, block, &len, err);
        if (rc == 0 && len > 0)
            rc = plain_write(&out, at, block, len, err);
        at += len;
    }
    plain_close(in);
    plain_close(&out);
    return rc;
}

static int copy_file(void *argument, const char *name)
{
    struct copying *c = argument;
    struct plain_file in = {.fd = -1};
    if (!is_ours(name))
        return 0;
    int rc = plain_open(&in, c->from, name, false, c->err);
    return rc ? rc : copy_bytes(&in, c->to, name, c->block, c->err);
}

int state_file_copy(const char *from, struct data_dir *to, uint64_t generation, struct err *err)
{
    static const char *const suffixes[] = {"", "-wal"};
    size_t room = strlen(from) + 8;
    char *path = mem_alloc(room);
    uint8_t *block = mem_alloc(COPY_BLOCK_BYTES);
    int rc = 0;
    for (size_t i = 0; i < 2 && rc == 0; i++) {
        char name[64];
        snprintf(path, room, "%s%s", from, suffixes[i]);
        snprintf(name, sizeof(name), "kv.%" PRIu64 ".db%s", generation, suffixes[i]);
        struct plain_file in = {.fd = open(path, O_RDONLY | O_CLOEXEC), .path = mem_strdup(path)};
        if (in.fd >= 0) {
            rc = copy_bytes(&in, to, name, block, err);
            continue;
        }
        if (errno != ENOENT)
            rc = err_errno(err, ERR_IO, errno, "%s: cannot open", path);
        else if (i == 0)
            rc = err_set(err, ERR_NOT_FOUND, "%s: there is no such file", path);
        plain_close(&in);
    }
    mem_free(block);
    mem_free(path);
    return rc;
}

static int room_check(const struct copying *c, struct err *err)
{
    uint64_t there = 0;
    int rc = data_dir_free_bytes(c->to, &there, err);
    if (rc == 0 && there < c->bytes + COPY_SPARE_BYTES)
        rc = err_set(err, ERR_DISK_FULL,
                     "%s: no room for a copy of %s: it takes %" PRIu64 " bytes, there are %" PRIu64,
                     c->to->path, c->from->path, c->bytes + COPY_SPARE_BYTES, there);
    return rc;
}

int data_dir_copy(const char *from, const char *to, struct data_dir **copy, struct err *err)
{
    struct data_dir source;
    struct copying c = {.from = &source, .err = err};
    int rc = source_open(from, &source, err);
    if (rc == 0)
        rc = source_lock(&source, err);
    /* Made here, since data_dir_open would sync it, and a copy need not last. */
    if (rc == 0 && mkdir(to, 0700) != 0 && errno != EEXIST)
        rc = err_errno(err, ERR_IO, errno, "%s: cannot create", to);
    if (rc == 0)
        rc = data_dir_open(to, &c.to, err);
    if (rc == 0)
        rc = data_dir_each(&source, count_bytes, &c, err);
    if (rc == 0)
        rc = room_check(&c, err);
    if (rc == 0) {
        c.block = mem_alloc(COPY_BLOCK_BYTES);
        rc = data_dir_each(&source, copy_file, &c, err);
        mem_free(c.block);
    }
    /* Without a lock file nobody was kept out. */
    if (rc == 0 && source.lock_fd < 0 && faccessat(source.fd, "lock", F_OK, 0) == 0)
        rc = err_set(err, ERR_LOCKED, "%s: a node was started while it was copied", from);
    source_close(&source);
    if (rc) {
        data_dir_close(c.to);
        return rc;
    }
    *copy = c.to;
    return 0;
}

static int erase_one(void *argument, const char *name)
{
    struct copying *c = argument;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return 0;
    if (unlinkat(c->from->fd, name, 0) != 0 && errno != ENOENT)
        return err_errno(c->err, ERR_IO, errno, "%s/%s: cannot delete", c->from->path, name);
    return 0;
}

int data_dir_erase(const char *path, struct err *err)
{
    struct data_dir d;
    struct copying c = {.from = &d, .err = err};
    int rc = source_open(path, &d, err);
    if (rc == 0)
        rc = data_dir_each(&d, erase_one, &c, err);
    source_close(&d);
    if (rc == ERR_NOT_FOUND)
        return 0;
    if (rc == 0 && rmdir(path) != 0)
        rc = err_errno(err, ERR_IO, errno, "%s: cannot delete", path);
    return rc;
}

/* ---- findings ---- */

void inspect_show_key(struct slice key, struct buf *out)
{
    enum { SHOWN_BYTES = 64 };
    size_t len = key.len < SHOWN_BYTES ? key.len : SHOWN_BYTES;
    const char *cut = len < key.len ? "…" : "";
    bool printable = true;
    for (size_t i = 0; i < len; i++)
        printable = printable && key.data[i] >= 0x20 && key.data[i] < 0x7f && key.data[i] != '\'';
    if (printable) {
        (void)buf_printf(out, "'%.*s%s'", (int)len, key.len ? (const char *)key.data : "", cut);
        return;
    }
    (void)buf_append_str(out, "x'");
    for (size_t i = 0; i < len; i++)
        (void)buf_printf(out, "%02x", key.data[i]);
    (void)buf_printf(out, "%s'", cut);
}

void inspect_tell(const struct inspection *in, enum finding kind, const char *file, const char *fmt,
                  ...)
{
    struct err what = {0}, line;
    va_list ap;
    va_start(ap, fmt);
    err_vset(&what, ERR_CORRUPT, fmt, ap);
    va_end(ap);
    err_set(&line, ERR_CORRUPT, "%s%s%s: %s", in->shown, *file ? "/" : "", file, what.text);
    in->sink.tell(in->sink.self, kind, line.text);
}

/* Texts begin with the path of the copy's file. */
void inspect_tell_err(const struct inspection *in, enum finding kind, const struct err *err)
{
    const char *copy = data_dir_path(in->copy), *rest = strstr(err->text, copy);
    struct err line;
    if (!rest)
        err_set(&line, err->code, "%s: %s", in->shown, err->text);
    else
        err_set(&line, err->code, "%.*s%s%s", (int)(rest - err->text), err->text, in->shown,
                rest + strlen(copy));
    in->sink.tell(in->sink.self, kind, line.text);
}

void inspect_tell_failure(const struct inspection *in, const struct err *err)
{
    inspect_tell_err(in, err->code == ERR_CORRUPT ? FINDING_WRONG : FINDING_UNKNOWN, err);
}

bool inspect_pages(const struct inspection *in, sqlite3 *db)
{
    const char *path = sqlite3_db_filename(db, "main");
    const char *file = path + strlen(data_dir_path(in->copy)) + 1;
    sqlite3_stmt *st = NULL;
    struct err err = {0};
    unsigned told = 0;
    char sql[64];
    snprintf(sql, sizeof(sql), "PRAGMA integrity_check(%d)", INSPECT_FINDINGS_MAX);
    int rc = sq_prepare(db, sql, &st, &err);
    while (rc == 0 && (rc = sq_row(st, &err)) == 0) {
        const char *line = (const char *)sqlite3_column_text(st, 0);
        /* Several in one text, behind "*** in database main ***". */
        while (line && *line) {
            int len = (int)strcspn(line, "\n");
            if (strncmp(line, "***", 3) != 0 && strncmp(line, "ok", (size_t)len) != 0 &&
                told++ < INSPECT_FINDINGS_MAX)
                inspect_tell(in, FINDING_WRONG, file, "integrity check: %.*s", len, line);
            line += len + (line[len] == '\n');
        }
    }
    sqlite3_finalize(st);
    if (rc != ERR_NOT_FOUND)
        inspect_tell_failure(in, &err);
    return rc == ERR_NOT_FOUND;
}

void inspect_meta_names(const struct inspection *in, sqlite3 *db, const char *file,
                        const char *const *names)
{
    sqlite3_stmt *st = NULL;
    struct err err = {0};
    int rc = sq_prepare(db, "SELECT name FROM meta", &st, &err);
    while (rc == 0 && (rc = sq_row(st, &err)) == 0) {
        const char *name = (const char *)sqlite3_column_text(st, 0);
        const char *const *known = names;
        while (*known && name && strcmp(*known, name) != 0)
            known++;
        if (!*known)
            inspect_tell(in, FINDING_WRONG, file,
                         "row '%.64s' of table meta is none of this format", name ? name : "");
    }
    sqlite3_finalize(st);
    if (rc != ERR_NOT_FOUND)
        inspect_tell_failure(in, &err);
}

/* ---- files ---- */

struct listing {
    void (*visit)(void *self, const char *name, uint64_t generation);
    void *self;
};

static int list_one(void *argument, const char *name)
{
    const struct listing *l = argument;
    uint64_t generation;
    const char *suffix;
    if (kv_file_parse(name, &generation, &suffix))
        l->visit(l->self, name, generation);
    else if (inspect_snapshot_index(name) > 0)
        l->visit(l->self, name, 0);
    return 0;
}

int inspect_files(const struct inspection *in,
                  void (*visit)(void *self, const char *name, uint64_t generation), void *self,
                  struct err *err)
{
    struct listing l = {.visit = visit, .self = self};
    return data_dir_each(in->copy, list_one, &l, err);
}
