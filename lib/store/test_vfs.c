/*
 * The VFS for tests: rules, and the SQLite side. What is needed to undo is in test_undo.c.
 *
 * It is two VFS, over `unix` (the default) and over `unix-excl`.
 */
#include "lib/store/test_vfs.h"

#ifdef RAFTKV_TEST_VFS

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/base/opt.h"
#include "lib/store/private.h"
#include "lib/store/test_undo_internal.h"

enum operation { READ, WRITE, SYNC, TRUNCATE, OPEN, DELETE, RENAME, ANY, OPERATIONS = ANY };
enum action { STALL, FULL, ERROR, CRASH, POWERLOSS };
enum { RULES_MAX = 16, CONTROL_BYTES = 4096, STALL_LOOK_MS = 2 };

static const char *const operation_names[] = {"read", "write",  "sync",   "truncate",
                                              "open", "delete", "rename", "any"};
static const char *const action_names[] = {"stall", "full", "error", "crash", "powerloss"};

struct rule {
    char file[32];
    enum operation operation;
    enum action action;
    uint64_t after, count, seed;
    uint64_t seen;
};

/* Reads and writes of the undo lists happen under the same mutex. */
static struct {
    pthread_mutex_t mutex;
    struct rule rules[RULES_MAX];
    size_t rule_count;
    uint64_t rules_number; /* goes up with every change of the rules */
    uint64_t calls[OPERATIONS];
    bool dead;
    const char *control; /* program: where the rules are; NULL in unit tests */
    struct stat control_seen;
} vfs = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- rules ---- */

static int word_parse(const char *word, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(word, names[i]) == 0)
            return (int)i;
    }
    return -1;
}

/* "NAME=N" */
static bool number_after(const char *word, const char *name, uint64_t *value)
{
    size_t len = strlen(name);
    return strncmp(word, name, len) == 0 && opt_parse_uint(word + len, value) == 0;
}

static int rule_parse(char *line, struct rule *rule, struct err *err)
{
    char *save = NULL;
    char *file = strtok_r(line, " \t\r", &save);
    char *operation = strtok_r(NULL, " \t\r", &save);
    char *action = strtok_r(NULL, " \t\r", &save);
    if (!file || !operation || !action || strlen(file) >= sizeof(rule->file))
        return err_set(err, ERR_BAD_REQUEST, "rule: expected FILE OPERATION ACTION");
    *rule = (struct rule){.count = UINT64_MAX};
    snprintf(rule->file, sizeof(rule->file), "%s", file);
    int o = word_parse(operation, operation_names, sizeof(operation_names) / sizeof(char *));
    int a = word_parse(action, action_names, sizeof(action_names) / sizeof(char *));
    if (o < 0)
        return err_set(err, ERR_BAD_REQUEST, "rule: unknown operation '%s'", operation);
    if (a < 0)
        return err_set(err, ERR_BAD_REQUEST, "rule: unknown action '%s'", action);
    rule->operation = (enum operation)o;
    rule->action = (enum action)a;
    for (char *word; (word = strtok_r(NULL, " \t\r", &save));) {
        if (!number_after(word, "after=", &rule->after) &&
            !number_after(word, "count=", &rule->count) &&
            !number_after(word, "seed=", &rule->seed))
            return err_set(err, ERR_BAD_REQUEST, "rule: unknown word '%s'", word);
    }
    return 0;
}

static int rules_set(const char *text, struct err *err)
{
    struct rule rules[RULES_MAX];
    size_t count = 0;
    int rc = 0;
    char *copy = mem_strdup(text), *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line && rc == 0;
         line = strtok_r(NULL, "\n", &save)) {
        if (line[strspn(line, " \t\r")] == '\0' || *line == '#')
            continue;
        if (count == RULES_MAX)
            rc = err_set(err, ERR_TOO_LARGE, "rules: more than %d", RULES_MAX);
        else
            rc = rule_parse(line, &rules[count++], err);
    }
    mem_free(copy);
    if (rc)
        return rc;
    memcpy(vfs.rules, rules, sizeof(rules[0]) * count);
    vfs.rule_count = count;
    vfs.rules_number++;
    return 0;
}

static void control_look(void)
{
    struct stat st = {0};
    if (!vfs.control || (stat(vfs.control, &st) != 0 && errno != ENOENT))
        return;
    if (st.st_mtim.tv_sec == vfs.control_seen.st_mtim.tv_sec &&
        st.st_mtim.tv_nsec == vfs.control_seen.st_mtim.tv_nsec &&
        st.st_ino == vfs.control_seen.st_ino && st.st_size == vfs.control_seen.st_size)
        return;
    vfs.control_seen = st;
    char text[CONTROL_BYTES] = "";
    FILE *f = fopen(vfs.control, "re");
    if (f) {
        size_t n = fread(text, 1, sizeof(text) - 1, f);
        text[n] = '\0';
        fclose(f);
    }
    struct err err;
    if (rules_set(text, &err))
        check_failed(err.text, vfs.control, 0);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool rule_matches(const struct rule *rule, const char *name, enum operation operation)
{
    if (rule->operation == ANY ? operation == READ : rule->operation != operation)
        return false;
    return strcmp(rule->file, "*") == 0 || strncmp(name, rule->file, strlen(rule->file)) == 0;
}

static int end_process(const struct rule *rule)
{
    if (rule->action == POWERLOSS)
        test_undo_power_loss(rule->seed);
    if (vfs.control) {
        raise(SIGKILL);
        abort();
    }
    vfs.dead = true;
    return EIO;
}

/* With the mutex held, which a stall gives up: 0, or the errno to fail with. */
static int decide(const char *name, enum operation operation)
{
    control_look();
    if (vfs.dead)
        return EIO;
    vfs.calls[operation]++;
    const struct rule *hit;
    uint64_t number;
    do {
        hit = NULL;
        number = vfs.rules_number;
        for (size_t i = 0; i < vfs.rule_count; i++) {
            struct rule *rule = &vfs.rules[i];
            if (!rule_matches(rule, name, operation))
                continue;
            rule->seen++;
            if (!hit && rule->seen > rule->after && rule->seen - rule->after <= rule->count)
                hit = rule;
        }
        if (!hit)
            return 0;
        while (hit->action == STALL && number == vfs.rules_number) {
            pthread_mutex_unlock(&vfs.mutex);
            nanosleep(&(struct timespec){.tv_nsec = STALL_LOOK_MS * 1000000L}, NULL);
            pthread_mutex_lock(&vfs.mutex);
            control_look();
        }
    } while (number != vfs.rules_number);
    switch (hit->action) {
    case FULL: return ENOSPC;
    case CRASH:
    case POWERLOSS: return end_process(hit);
    default: return EIO;
    }
}

int test_vfs_rules(const char *rules, struct err *err)
{
    int rc = test_vfs_register(err);
    if (rc)
        return rc;
    pthread_mutex_lock(&vfs.mutex);
    rc = rules_set(rules, err);
    pthread_mutex_unlock(&vfs.mutex);
    return rc;
}

uint64_t test_vfs_calls(const char *operation)
{
    int o = word_parse(operation, operation_names, sizeof(operation_names) / sizeof(char *));
    ASSERT(o >= 0);
    uint64_t calls = 0;
    pthread_mutex_lock(&vfs.mutex);
    for (int i = 0; i < OPERATIONS; i++) {
        if (o == i || (o == ANY && i != READ))
            calls += vfs.calls[i];
    }
    pthread_mutex_unlock(&vfs.mutex);
    return calls;
}

void test_vfs_restart(void)
{
    pthread_mutex_lock(&vfs.mutex);
    vfs.dead = false;
    vfs.rule_count = 0;
    vfs.rules_number++;
    pthread_mutex_unlock(&vfs.mutex);
}

bool test_vfs_dead(void)
{
    pthread_mutex_lock(&vfs.mutex);
    bool dead = vfs.dead;
    pthread_mutex_unlock(&vfs.mutex);
    return dead;
}

bool test_vfs_full(void)
{
    bool full = false;
    pthread_mutex_lock(&vfs.mutex);
    control_look();
    for (size_t i = 0; i < vfs.rule_count; i++) {
        const struct rule *rule = &vfs.rules[i];
        full = full || (rule->action == FULL && rule->seen >= rule->after &&
                        rule->seen - rule->after < rule->count);
    }
    pthread_mutex_unlock(&vfs.mutex);
    return full;
}

/* ---- SQLite's files ---- */

struct test_file {
    sqlite3_file base;
    char *path;     /* NULL: a temporary file without a name */
    bool syncs_dir; /* SQLite's VFS syncs the directory with its first sync, and with no other */
    sqlite3_file *real;
};

static struct test_file *of(sqlite3_file *file)
{
    return (struct test_file *)(void *)file;
}

static int look(struct test_file *f, enum operation operation, int on_error)
{
    if (!f->path)
        return SQLITE_OK;
    int errnum = decide(base_name(f->path), operation);
    return errnum == 0 ? SQLITE_OK : errnum == ENOSPC ? SQLITE_FULL : on_error;
}

static int file_close(sqlite3_file *file)
{
    struct test_file *f = of(file);
    int rc = f->real->pMethods->xClose(f->real);
    mem_free(f->path);
    f->path = NULL;
    return rc;
}

static int file_read(sqlite3_file *file, void *out, int len, sqlite3_int64 offset)
{
    struct test_file *f = of(file);
    pthread_mutex_lock(&vfs.mutex);
    int rc = look(f, READ, SQLITE_IOERR_READ);
    pthread_mutex_unlock(&vfs.mutex);
    return rc ? rc : f->real->pMethods->xRead(f->real, out, len, offset);
}

static int file_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 offset)
{
    struct test_file *f = of(file);
    pthread_mutex_lock(&vfs.mutex);
    int rc = look(f, WRITE, SQLITE_IOERR_WRITE);
    if (rc == SQLITE_OK && f->path) {
        sqlite3_int64 size = 0;
        uint8_t *old = mem_zalloc((size_t)len);
        f->real->pMethods->xFileSize(f->real, &size);
        if (offset < size)
            f->real->pMethods->xRead(f->real, old, len, offset);
        test_undo_write(f->path, (uint64_t)size, (uint64_t)offset, old, data, (size_t)len);
        mem_free(old);
    }
    if (rc == SQLITE_OK)
        rc = f->real->pMethods->xWrite(f->real, data, len, offset);
    pthread_mutex_unlock(&vfs.mutex);
    return rc;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    struct test_file *f = of(file);
    pthread_mutex_lock(&vfs.mutex);
    int rc = look(f, TRUNCATE, SQLITE_IOERR_TRUNCATE);
    sqlite3_int64 size = 0;
    if (rc == SQLITE_OK && f->path)
        f->real->pMethods->xFileSize(f->real, &size);
    if (rc == SQLITE_OK && f->path && bytes < size) {
        size_t len = (size_t)(size - bytes);
        uint8_t *old = mem_zalloc(len);
        for (size_t at = 0; at < len; at += 4096)
            f->real->pMethods->xRead(f->real, old + at, len - at < 4096 ? (int)(len - at) : 4096,
                                     bytes + (sqlite3_int64)at);
        test_undo_truncate(f->path, (uint64_t)size, (uint64_t)bytes, old, len);
        mem_free(old);
    }
    if (rc == SQLITE_OK)
        rc = f->real->pMethods->xTruncate(f->real, bytes);
    pthread_mutex_unlock(&vfs.mutex);
    return rc;
}

static int file_sync(sqlite3_file *file, int flags)
{
    struct test_file *f = of(file);
    pthread_mutex_lock(&vfs.mutex);
    int rc = look(f, SYNC, SQLITE_IOERR_FSYNC);
    if (rc == SQLITE_OK)
        rc = f->real->pMethods->xSync(f->real, flags);
    if (rc == SQLITE_OK && f->path) {
        test_undo_synced(f->path);
        if (f->syncs_dir)
            test_undo_directory_synced(f->path);
        f->syncs_dir = false;
    }
    pthread_mutex_unlock(&vfs.mutex);
    return rc;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *bytes)
{
    return of(file)->real->pMethods->xFileSize(of(file)->real, bytes);
}
static int file_lock(sqlite3_file *file, int level)
{
    return of(file)->real->pMethods->xLock(of(file)->real, level);
}
static int file_unlock(sqlite3_file *file, int level)
{
    return of(file)->real->pMethods->xUnlock(of(file)->real, level);
}
static int file_reserved(sqlite3_file *file, int *out)
{
    return of(file)->real->pMethods->xCheckReservedLock(of(file)->real, out);
}
static int file_control(sqlite3_file *file, int operation, void *argument)
{
    return of(file)->real->pMethods->xFileControl(of(file)->real, operation, argument);
}
static int file_sector(sqlite3_file *file)
{
    return of(file)->real->pMethods->xSectorSize(of(file)->real);
}
static int file_device(sqlite3_file *file)
{
    return of(file)->real->pMethods->xDeviceCharacteristics(of(file)->real);
}
static int file_shm_map(sqlite3_file *file, int page, int bytes, int extend, void volatile **out)
{
    return of(file)->real->pMethods->xShmMap(of(file)->real, page, bytes, extend, out);
}
static int file_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return of(file)->real->pMethods->xShmLock(of(file)->real, offset, n, flags);
}
static void file_shm_barrier(sqlite3_file *file)
{
    of(file)->real->pMethods->xShmBarrier(of(file)->real);
}
static int file_shm_unmap(sqlite3_file *file, int delete)
{
    return of(file)->real->pMethods->xShmUnmap(of(file)->real, delete);
}

/* Version 2: shared memory, but no memory map of the file (xFetch), which no rule could fail. */
static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_device,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

static int vfs_open(sqlite3_vfs *v, const char *path, sqlite3_file *file, int flags, int *out_flags)
{
    sqlite3_vfs *real = v->pAppData;
    struct test_file *f = of(file);
    memset(f, 0, sizeof(*f));
    f->real = (sqlite3_file *)(void *)(f + 1);
    f->path = path ? mem_strdup(path) : NULL;
    f->syncs_dir = flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL);
    pthread_mutex_lock(&vfs.mutex);
    int rc = look(f, OPEN, SQLITE_CANTOPEN);
    bool creates = path && (flags & SQLITE_OPEN_CREATE) && access(path, F_OK) != 0;
    if (rc == SQLITE_OK)
        rc = real->xOpen(real, path, f->real, flags, out_flags);
    if (rc == SQLITE_OK && creates)
        test_undo_create(path);
    pthread_mutex_unlock(&vfs.mutex);
    if (rc == SQLITE_OK)
        f->base.pMethods = &methods;
    else
        mem_free(f->path);
    return rc;
}

static int vfs_delete(sqlite3_vfs *v, const char *path, int sync_dir)
{
    sqlite3_vfs *real = v->pAppData;
    pthread_mutex_lock(&vfs.mutex);
    int errnum = decide(base_name(path), DELETE);
    int rc = errnum ? SQLITE_IOERR_DELETE : real->xDelete(real, path, sync_dir);
    if (rc == SQLITE_OK)
        test_undo_forget(path);
    pthread_mutex_unlock(&vfs.mutex);
    return rc;
}

static int wrap(sqlite3_vfs *wrapper, const char *name, const char *over, bool make_default)
{
    sqlite3_vfs *real = sqlite3_vfs_find(over);
    if (!real)
        return SQLITE_NOTFOUND;
    /* The methods that are not replaced here never look at which VFS they are called with. */
    *wrapper = *real;
    wrapper->pNext = NULL;
    wrapper->zName = name;
    wrapper->szOsFile = (int)sizeof(struct test_file) + real->szOsFile;
    wrapper->pAppData = real;
    wrapper->xOpen = vfs_open;
    wrapper->xDelete = vfs_delete;
    return sqlite3_vfs_register(wrapper, make_default);
}

static sqlite3_vfs wrapper_shared, wrapper_default;
static int register_result;

/* Not with SQLite's first connection: plain files may be written before. */
__attribute__((constructor)) static void read_environment(void)
{
    vfs.control = getenv("RAFTKV_TEST_VFS_CONTROL");
}

static void register_once(void)
{
    register_result = sqlite3_initialize();
    if (register_result == SQLITE_OK)
        register_result = wrap(&wrapper_shared, STORE_VFS_SHARED, "unix-excl", false);
    if (register_result == SQLITE_OK)
        register_result = wrap(&wrapper_default, "raftkv-test", "unix", true);
}

int test_vfs_register(struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_once);
    if (register_result != SQLITE_OK)
        return err_set(err, ERR_INTERNAL, "test VFS: %s", sqlite3_errstr(register_result));
    return 0;
}

/* ---- files outside of SQLite ---- */

static int plain_decide(const char *name, enum operation operation)
{
    pthread_mutex_lock(&vfs.mutex);
    int errnum = decide(name, operation);
    pthread_mutex_unlock(&vfs.mutex);
    return errnum;
}

int test_vfs_plain_write(const char *path, int fd, uint64_t offset, const void *data, size_t len)
{
    pthread_mutex_lock(&vfs.mutex);
    int errnum = decide(base_name(path), WRITE);
    struct stat st;
    if (errnum == 0 && fstat(fd, &st) == 0) {
        uint8_t *old = mem_zalloc(len);
        if (pread(fd, old, len, (off_t)offset) < 0)
            errnum = errno;
        test_undo_write(path, (uint64_t)st.st_size, offset, old, data, len);
        mem_free(old);
    }
    pthread_mutex_unlock(&vfs.mutex);
    return errnum;
}

int test_vfs_plain_truncate(const char *path, int fd, uint64_t bytes)
{
    pthread_mutex_lock(&vfs.mutex);
    int errnum = decide(base_name(path), TRUNCATE);
    struct stat st;
    if (errnum == 0 && fstat(fd, &st) == 0 && (uint64_t)st.st_size > bytes) {
        size_t len = (size_t)st.st_size - bytes;
        uint8_t *old = mem_zalloc(len);
        if (pread(fd, old, len, (off_t)bytes) < 0)
            errnum = errno;
        test_undo_truncate(path, (uint64_t)st.st_size, bytes, old, len);
        mem_free(old);
    }
    pthread_mutex_unlock(&vfs.mutex);
    return errnum;
}

int test_vfs_plain_sync(const char *path)
{
    return plain_decide(base_name(path), SYNC);
}

void test_vfs_plain_synced(const char *path)
{
    pthread_mutex_lock(&vfs.mutex);
    test_undo_synced(path);
    pthread_mutex_unlock(&vfs.mutex);
}

int test_vfs_plain_open(const char *path, bool creates)
{
    pthread_mutex_lock(&vfs.mutex);
    int errnum = decide(base_name(path), OPEN);
    if (errnum == 0 && creates)
        test_undo_create(path);
    pthread_mutex_unlock(&vfs.mutex);
    return errnum;
}

int test_vfs_plain_read(const char *path)
{
    return plain_decide(base_name(path), READ);
}

int test_vfs_plain_rename(const char *from, const char *to)
{
    pthread_mutex_lock(&vfs.mutex);
    int errnum = decide(base_name(from), RENAME);
    if (errnum == 0)
        errnum = test_undo_rename(from, to);
    pthread_mutex_unlock(&vfs.mutex);
    return errnum;
}

int test_vfs_plain_unlink(const char *path)
{
    pthread_mutex_lock(&vfs.mutex);
    int errnum = decide(base_name(path), DELETE);
    if (errnum == 0)
        errnum = test_undo_unlink(path);
    pthread_mutex_unlock(&vfs.mutex);
    return errnum;
}

int test_vfs_directory_sync(const char *path)
{
    (void)path;
    return plain_decide("dir", SYNC);
}

void test_vfs_directory_synced(const char *path)
{
    char *inside = mem_alloc(strlen(path) + 2);
    sprintf(inside, "%s/", path);
    pthread_mutex_lock(&vfs.mutex);
    test_undo_directory_synced(inside);
    pthread_mutex_unlock(&vfs.mutex);
    mem_free(inside);
}

#endif
