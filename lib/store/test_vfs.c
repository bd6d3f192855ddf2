/* Builds for tests: rules as text, and processes that end. What is needed to undo is in
 * test_undo.c; all of it happens under the mutex of the rules. */
#include "lib/store/test_vfs.h"

#ifdef RAFTKV_TEST_VFS

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/base/opt.h"
#include "lib/store/fault_internal.h"
#include "lib/store/test_undo_internal.h"

enum { RULES_MAX = 16, CONTROL_BYTES = 4096, ANY = FAULT_OPERATIONS };

static const char *const operation_names[] = {
    [FAULT_READ] = "read",     [FAULT_WRITE] = "write",
    [FAULT_SYNC] = "sync",     [FAULT_TRUNCATE] = "truncate",
    [FAULT_OPEN] = "open",     [FAULT_DELETE] = "delete",
    [FAULT_RENAME] = "rename", [ANY] = "any"};
static const char *const action_names[] = {
    [FAULT_DELAY] = "delay", [FAULT_STALL] = "stall", [FAULT_FULL] = "full",
    [FAULT_ERROR] = "error", [FAULT_CRASH] = "crash", [FAULT_POWERLOSS] = "powerloss"};

static struct {
    bool dead, begun;
    const char *control; /* program: where the rules are; NULL in unit tests */
    struct stat control_seen;
} vfs;

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

static int rule_parse(char *line, struct fault_rule *rule, struct err *err)
{
    char *save = NULL;
    char *file = strtok_r(line, " \t\r", &save);
    char *operation = strtok_r(NULL, " \t\r", &save);
    char *action = strtok_r(NULL, " \t\r", &save);
    if (!file || !operation || !action || strlen(file) >= sizeof(rule->file))
        return err_set(err, ERR_BAD_REQUEST, "rule: expected FILE OPERATION ACTION");
    *rule = (struct fault_rule){.count = UINT64_MAX};
    snprintf(rule->file, sizeof(rule->file), "%s", file);
    int o = word_parse(operation, operation_names, sizeof(operation_names) / sizeof(char *));
    int a = word_parse(action, action_names, sizeof(action_names) / sizeof(char *));
    if (o < 0)
        return err_set(err, ERR_BAD_REQUEST, "rule: unknown operation '%s'", operation);
    if (a < 0)
        return err_set(err, ERR_BAD_REQUEST, "rule: unknown action '%s'", action);
    rule->operations = o == ANY ? ~(1U << FAULT_READ) : 1U << o;
    rule->action = (enum fault_action)a;
    for (char *word; (word = strtok_r(NULL, " \t\r", &save));) {
        if (!number_after(word, "after=", &rule->after) &&
            !number_after(word, "count=", &rule->count) &&
            !number_after(word, "seed=", &rule->seed) &&
            !number_after(word, "ms=", &rule->delay_ms))
            return err_set(err, ERR_BAD_REQUEST, "rule: unknown word '%s'", word);
    }
    return 0;
}

static int rules_set(const char *text, struct err *err)
{
    struct fault_rule rules[RULES_MAX];
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
    return rc ? rc : fault_rules_replace(0, rules, count, err);
}

/* From the first call on: plain files may be written before there is a database. */
static void control_look(void)
{
    struct stat st = {0};
    if (!vfs.begun)
        vfs.control = getenv("RAFTKV_TEST_VFS_CONTROL");
    vfs.begun = true;
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

/* ---- ends ---- */

static int end_process(const struct fault_rule *rule)
{
    if (rule->action == FAULT_POWERLOSS)
        test_undo_power_loss(rule->seed);
    if (vfs.control) {
        raise(SIGKILL);
        abort();
    }
    vfs.dead = true;
    return EIO;
}

static bool is_dead(void)
{
    return vfs.dead;
}

const struct fault_memory test_vfs_memory = {
    .look = control_look,
    .dead = is_dead,
    .end = end_process,
    .write = test_undo_write,
    .truncate = test_undo_truncate,
    .create = test_undo_create,
    .rename = test_undo_rename,
    .unlink = test_undo_unlink,
    .synced = test_undo_synced,
    .forget = test_undo_forget,
    .directory_synced = test_undo_directory_synced,
};

/* ---- what tests call ---- */

int test_vfs_rules(const char *rules, struct err *err)
{
    int rc = fault_vfs_register(err);
    if (rc)
        return rc;
    fault_rules_lock();
    rc = rules_set(rules, err);
    fault_rules_unlock();
    return rc;
}

uint64_t test_vfs_calls(const char *operation)
{
    int o = word_parse(operation, operation_names, sizeof(operation_names) / sizeof(char *));
    ASSERT(o >= 0);
    uint64_t calls = 0;
    fault_rules_lock();
    for (int i = 0; i < FAULT_OPERATIONS; i++) {
        if (o == i || (o == ANY && i != FAULT_READ))
            calls += fault_rules_calls((enum fault_operation)i);
    }
    fault_rules_unlock();
    return calls;
}

void test_vfs_restart(void)
{
    fault_rules_lock();
    vfs.dead = false;
    fault_rules_replace(0, NULL, 0, NULL);
    fault_rules_unlock();
}

bool test_vfs_dead(void)
{
    fault_rules_lock();
    bool dead = vfs.dead;
    fault_rules_unlock();
    return dead;
}

#endif
