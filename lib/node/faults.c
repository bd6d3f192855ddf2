#include "lib/node/faults.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/store/fault_vfs.h"

struct active {
    struct api_fault fault;
    uint64_t passed; /* crash: how often its point was passed */
};

struct faults {
    fault_peer_at *peer_at;
    void *argument;
    struct prng prng; /* the loop thread's */
    pthread_mutex_t mutex;
    struct active list[FAULTS_MAX]; /* in the order of their ids */
    size_t count;
    uint64_t last_id;
    /* How many there are of a sort, looked at without the mutex. */
    atomic_uint network, crashes;
};

/* ---- disks ---- */

static void add_rule(const struct api_fault *f, enum fault_action action, unsigned operations)
{
    struct fault_rule rule = {.owner = f->id,
                              .operations = operations,
                              .action = action,
                              .delay_ms = (uint64_t)f->value[API_FAULT_DELAY_MS],
                              .count = UINT64_MAX};
    const char *file = "*";
    bool added;

    if (api_fault_has(f, API_FAULT_FILE)) {
        /* kv.db stands for that of any generation. */
        file = f->value[API_FAULT_FILE] == API_FAULT_RAFT_DB ? "raft.db" : "kv.";
    }
    snprintf(rule.file, sizeof rule.file, "%s", file);
    added = fault_rules_add(&rule);
    ASSERT(added); /* there is room for all of ours */
}

static void act_on_disk(const struct api_fault *f)
{
    static const unsigned sync = 1U << FAULT_SYNC, write = 1U << FAULT_WRITE,
                          truncate = 1U << FAULT_TRUNCATE;

    switch (f->kind) {
    case API_FAULT_FSYNC_DELAY: add_rule(f, FAULT_DELAY, sync); break;
    case API_FAULT_FSYNC_ERROR: add_rule(f, FAULT_ERROR, sync); break;
    case API_FAULT_DISK_FULL: add_rule(f, FAULT_FULL, write); break;
    case API_FAULT_DISK_STALL: add_rule(f, FAULT_STALL, sync | write | truncate); break;
    default: break;
    }
}

/* ---- clocks ---- */

/* Several add up, within what a clock can do. */
static void act_on_clocks(const struct faults *f)
{
    int64_t offset_ms = 0, ppm = 0;

    for (size_t i = 0; i < f->count; i++) {
        const struct api_fault *fault = &f->list[i].fault;

        if (fault->kind == API_FAULT_CLOCK_OFFSET) {
            offset_ms += fault->value[API_FAULT_OFFSET_MS];
        } else if (fault->kind == API_FAULT_CLOCK_RATE) {
            ppm += fault->value[API_FAULT_PPM];
        }
    }
    if (ppm > CLOCK_RATE_PPM_MAX) {
        ppm = CLOCK_RATE_PPM_MAX;
    }
    if (ppm < -CLOCK_RATE_PPM_MAX) {
        ppm = -CLOCK_RATE_PPM_MAX;
    }
    clock_skew_set(offset_ms, ppm);
}

/* ---- the table ---- */

static bool is_network(const struct api_fault *f)
{
    return f->kind == API_FAULT_DROP || f->kind == API_FAULT_DELAY;
}

/* With the mutex held: everything but rules of the VFS follows the table as a whole. */
static void table_changed(struct faults *f)
{
    unsigned network = 0, crashes = 0;

    for (size_t i = 0; i < f->count; i++) {
        network += is_network(&f->list[i].fault);
        crashes += f->list[i].fault.kind == API_FAULT_CRASH;
    }
    atomic_store(&f->network, network);
    atomic_store(&f->crashes, crashes);
    act_on_clocks(f);
}

/* `what`: "fault added", "fault cleared", "fault hit". */
static void tell(const char *what, const struct api_fault *f)
{
    struct buf text;

    buf_init(&text, 512);
    api_fault_text(f, &text);
    log_warn(what, "id=%llu kind=%s", (unsigned long long)f->id, (const char *)text.data);
    buf_release(&text);
}

struct faults *faults_new(fault_peer_at *peer_at, void *argument)
{
    struct faults *f = mem_zalloc(sizeof *f);

    f->peer_at = peer_at;
    f->argument = argument;
    prng_seed(&f->prng, random_id());
    pthread_mutex_init(&f->mutex, NULL);
    fault_vfs_enable();
    clock_skew_enable();
    return f;
}

void faults_free(struct faults *f)
{
    if (!f) {
        return;
    }
    pthread_mutex_destroy(&f->mutex);
    mem_free(f);
}

int faults_add(struct faults *f, struct api_fault *fault, struct err *err)
{
    int code = 0;

    pthread_mutex_lock(&f->mutex);
    if (f->count == FAULTS_MAX) {
        code = err_set(err, ERR_OVERLOADED, "there are %d faults already", FAULTS_MAX);
    } else {
        fault->id = ++f->last_id;
        f->list[f->count++] = (struct active){.fault = *fault};
        table_changed(f);
        act_on_disk(fault);
    }
    pthread_mutex_unlock(&f->mutex);
    if (code == 0) {
        tell("fault added", fault);
    }
    return code;
}

/* With the mutex held. */
static void remove_at(struct faults *f, size_t at)
{
    struct api_fault gone = f->list[at].fault;

    f->count--;
    memmove(&f->list[at], &f->list[at + 1], (f->count - at) * sizeof f->list[0]);
    table_changed(f);
    fault_rules_remove(gone.id);
    tell("fault cleared", &gone);
}

int faults_remove(struct faults *f, uint64_t id)
{
    int code = ERR_NOT_FOUND;

    pthread_mutex_lock(&f->mutex);
    for (size_t i = 0; i < f->count && code != 0; i++) {
        if (f->list[i].fault.id == id) {
            remove_at(f, i);
            code = 0;
        }
    }
    pthread_mutex_unlock(&f->mutex);
    return code;
}

void faults_clear(struct faults *f)
{
    pthread_mutex_lock(&f->mutex);
    while (f->count > 0) {
        remove_at(f, f->count - 1);
    }
    pthread_mutex_unlock(&f->mutex);
}

size_t faults_list(struct faults *f, struct api_fault out[FAULTS_MAX])
{
    size_t count;

    pthread_mutex_lock(&f->mutex);
    count = f->count;
    for (size_t i = 0; i < count; i++) {
        out[i] = f->list[i].fault;
    }
    pthread_mutex_unlock(&f->mutex);
    return count;
}

size_t faults_count(struct faults *f)
{
    size_t count = 0;

    if (f) {
        pthread_mutex_lock(&f->mutex);
        count = f->count;
        pthread_mutex_unlock(&f->mutex);
    }
    return count;
}

/* ---- the network ---- */

struct http_fate faults_fate(void *faults, const char *url)
{
    struct faults *f = faults;
    struct http_fate fate = {0};
    const char *peer;

    if (atomic_load_explicit(&f->network, memory_order_relaxed) == 0) {
        return fate;
    }
    peer = f->peer_at(f->argument, url);
    pthread_mutex_lock(&f->mutex);
    for (size_t i = 0; i < f->count; i++) {
        const struct api_fault *fault = &f->list[i].fault;

        if (!is_network(fault) ||
            (strcmp(fault->peer, "*") != 0 && (!peer || strcmp(fault->peer, peer) != 0))) {
            continue;
        }
        if (fault->kind == API_FAULT_DELAY) {
            fate.delay_ms += (uint64_t)fault->value[API_FAULT_DELAY_MS];
        } else if (prng_chance(&f->prng, (uint32_t)fault->value[API_FAULT_PER_MILLE], 1000)) {
            fate.lost = true;
        }
    }
    pthread_mutex_unlock(&f->mutex);
    return fate;
}

/* ---- crashes ---- */

/* As by kill -9, but for the line that says so. Other threads may go on until it is written; what
 * this one has in hand goes nowhere. */
static _Noreturn void crash(const struct api_fault *f)
{
    tell("fault hit", f);
    log_stop();
    raise(SIGKILL);
    abort();
}

void faults_pass(struct faults *f, enum api_fault_point point)
{
    struct api_fault hit = {0};

    if (atomic_load_explicit(&f->crashes, memory_order_relaxed) == 0) {
        return;
    }
    pthread_mutex_lock(&f->mutex);
    for (size_t i = 0; i < f->count && hit.id == 0; i++) {
        struct active *a = &f->list[i];

        if (a->fault.kind == API_FAULT_CRASH && a->fault.value[API_FAULT_POINT] == (int64_t)point &&
            ++a->passed == (uint64_t)a->fault.value[API_FAULT_AFTER]) {
            hit = a->fault;
        }
    }
    pthread_mutex_unlock(&f->mutex);
    if (hit.id != 0) {
        crash(&hit);
    }
}
