/* What the fault VFS is told to do, and who waits for it. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "lib/base/check.h"
#include "lib/store/fault_internal.h"
#include "lib/store/private.h"

enum { LOOK_MS = 2 }; /* a memory wants to look so often while a call waits */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct fault_rule list[FAULT_RULES_MAX];
    size_t count;
    atomic_bool some; /* there are rules: looked at without the mutex */
    uint64_t number;  /* goes up with every change */
    uint64_t calls[FAULT_OPERATIONS];
    const struct fault_memory *const memory; /* NULL: not a build for tests */
} rules = {
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .changed = PTHREAD_COND_INITIALIZER,
#ifdef RAFTKV_TEST_VFS
    .memory = &test_vfs_memory,
#endif
};

void fault_rules_lock(void)
{
    pthread_mutex_lock(&rules.mutex);
}

void fault_rules_unlock(void)
{
    pthread_mutex_unlock(&rules.mutex);
}

const struct fault_memory *fault_memory(void)
{
    return rules.memory;
}

/* ---- changes ---- */

static void remove_owner(uint64_t owner)
{
    size_t kept = 0;
    for (size_t i = 0; i < rules.count; i++) {
        if (rules.list[i].owner != owner)
            rules.list[kept++] = rules.list[i];
    }
    rules.count = kept;
}

static void tell_change(void)
{
    rules.number++;
    atomic_store(&rules.some, rules.count > 0);
    pthread_cond_broadcast(&rules.changed);
}

int fault_rules_replace(uint64_t owner, const struct fault_rule *list, size_t count,
                        struct err *err)
{
    remove_owner(owner);
    if (rules.count + count > FAULT_RULES_MAX)
        return err_set(err, ERR_TOO_LARGE, "rules: more than %d", FAULT_RULES_MAX);
    for (size_t i = 0; i < count; i++)
        rules.list[rules.count++] = list[i];
    tell_change();
    return 0;
}

bool fault_rules_add(const struct fault_rule *rule)
{
    fault_rules_lock();
    bool room = rules.count < FAULT_RULES_MAX;
    if (room) {
        rules.list[rules.count++] = *rule;
        tell_change();
    }
    fault_rules_unlock();
    return room;
}

void fault_rules_remove(uint64_t owner)
{
    fault_rules_lock();
    remove_owner(owner);
    tell_change();
    fault_rules_unlock();
}

uint64_t fault_rules_calls(enum fault_operation operation)
{
    return rules.calls[operation];
}

bool fault_rules_full(void)
{
    bool full = false;
    if (!fault_vfs_on())
        return false;
    fault_rules_lock();
    if (rules.memory)
        rules.memory->look();
    for (size_t i = 0; i < rules.count; i++) {
        const struct fault_rule *rule = &rules.list[i];
        full = full || (rule->action == FAULT_FULL && rule->seen >= rule->after &&
                        rule->seen - rule->after < rule->count);
    }
    fault_rules_unlock();
    return full;
}

/* ---- calls ---- */

static struct timespec now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t); /* what a condition variable waits by */
    return t;
}

static struct timespec later(struct timespec t, uint64_t ms)
{
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

static bool earlier(struct timespec a, struct timespec b)
{
    return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

/* Until the rules change, or `until` (NULL: for ever) is there. */
static void wait_for_change(const struct timespec *until)
{
    uint64_t number = rules.number;
    while (number == rules.number && (!until || earlier(now(), *until))) {
        struct timespec look = later(now(), LOOK_MS);
        const struct timespec *to = until;
        if (rules.memory && (!until || earlier(look, *until)))
            to = &look;
        if (to)
            pthread_cond_timedwait(&rules.changed, &rules.mutex, to);
        else
            pthread_cond_wait(&rules.changed, &rules.mutex);
        if (rules.memory)
            rules.memory->look();
    }
}

static bool matches(const struct fault_rule *rule, const char *name, enum fault_operation operation)
{
    if (!(rule->operations & 1U << operation))
        return false;
    return strcmp(rule->file, "*") == 0 || strncmp(name, rule->file, strlen(rule->file)) == 0;
}

static uint64_t delay_of(const char *name, enum fault_operation operation)
{
    uint64_t longest = 0;
    for (size_t i = 0; i < rules.count; i++) {
        const struct fault_rule *rule = &rules.list[i];
        if (rule->action == FAULT_DELAY && matches(rule, name, operation) &&
            rule->delay_ms > longest)
            longest = rule->delay_ms;
    }
    return longest;
}

static const struct fault_rule *hit_of(const char *name, enum fault_operation operation)
{
    const struct fault_rule *hit = NULL;
    for (size_t i = 0; i < rules.count; i++) {
        struct fault_rule *rule = &rules.list[i];
        if (rule->action == FAULT_DELAY || !matches(rule, name, operation))
            continue;
        rule->seen++;
        if (!hit && rule->seen > rule->after && rule->seen - rule->after <= rule->count)
            hit = rule;
    }
    return hit;
}

static void delay(const char *name, enum fault_operation operation)
{
    uint64_t ms = delay_of(name, operation);
    if (ms == 0)
        return;
    struct timespec start = now();
    for (struct timespec until; ms > 0; ms = delay_of(name, operation)) {
        until = later(start, ms);
        if (!earlier(now(), until))
            return;
        wait_for_change(&until);
    }
}

/* With the mutex held, which a wait gives up. */
static int decide(const char *name, enum fault_operation operation)
{
    const struct fault_rule *hit;
    if (rules.memory)
        rules.memory->look();
    if (rules.memory && rules.memory->dead())
        return EIO;
    rules.calls[operation]++;
    delay(name, operation);
    while ((hit = hit_of(name, operation)) && hit->action == FAULT_STALL)
        wait_for_change(NULL);
    if (!hit)
        return 0;
    switch (hit->action) {
    case FAULT_FULL: return ENOSPC;
    case FAULT_CRASH:
    case FAULT_POWERLOSS: ASSERT(rules.memory); return rules.memory->end(hit);
    default: return EIO;
    }
}

int fault_rules_begin(const char *path, enum fault_operation operation)
{
    const char *slash = strrchr(path, '/');
    if (!rules.memory && !atomic_load_explicit(&rules.some, memory_order_relaxed))
        return 0;
    fault_rules_lock();
    int errnum = decide(slash ? slash + 1 : path, operation);
    if (!rules.memory)
        fault_rules_unlock();
    return errnum;
}

void fault_rules_done(void)
{
    if (rules.memory)
        fault_rules_unlock();
}
