/* Cores under random faults: their disks, snapshots, crash and start; see torture.h. */
#include <inttypes.h>
#include <string.h>

#include "lib/base/mem.h"
#include "tests/support/torture.h"
#include "tests/unit/tap.h"

/* --- beginning */

static struct raft_configuration first_configuration(uint32_t voters)
{
    struct raft_configuration c;
    memset(&c, 0, sizeof(c));
    c.index = 1;
    for (raft_id id = 1; id <= voters; id++)
        c.members[c.count++] = (struct raft_member){.id = id, .flags = RAFT_VOTER};
    return c;
}

static void node_init(struct torture *t, struct torture_node *n)
{
    n->exists = true;
    n->log = mem_calloc(TORTURE_LOG, sizeof(*n->log));
    n->disk_log = mem_calloc(TORTURE_LOG, sizeof(*n->disk_log));
    n->writes = mem_calloc(TORTURE_WRITES, sizeof(*n->writes));
    uint64_t drift = t->plan.clock_drift_ppm / 2; /* the option is for both clocks together */
    n->clock_ppm = (int64_t)torture_below(t, 2 * drift + 1) - (int64_t)drift;
    n->clock_offset_us = 10000000 + (int64_t)torture_below(t, 10000000);
    n->options = (struct raft_options){
        .id = n->id,
        .election_timeout_us = TORTURE_ELECTION_US,
        .heartbeat_interval_us = TORTURE_HEARTBEAT_US,
        .inflight_max = t->plan.inflight_max,
        .append_entries_max = t->plan.append_entries_max,
        .uncommitted_max = t->plan.uncommitted_max,
        .clock_drift_ppm = t->plan.clock_drift_ppm,
        .seed = prng_next(&t->prng),
    };
}

struct torture *torture_new(uint64_t seed, struct torture_plan plan)
{
    struct torture *t = mem_zalloc(sizeof(*t));
    t->seed = seed;
    prng_seed(&t->prng, seed);
    t->plan = plan;
    t->now_us = 1000000;
    t->queue = mem_calloc(TORTURE_EVENTS, sizeof(*t->queue));
    t->known = mem_calloc(TORTURE_KNOWN, sizeof(*t->known));
    t->known_index = mem_calloc(TORTURE_KNOWN, sizeof(*t->known_index));
    t->committed = mem_calloc(TORTURE_LOG, sizeof(*t->committed));
    t->committed_in = mem_calloc(TORTURE_LOG, sizeof(*t->committed_in));
    t->leaders = mem_calloc(TORTURE_TERMS, sizeof(*t->leaders));
    struct raft_configuration first = first_configuration(plan.voters);
    struct torture_entry entry = {
        .term = 1,
        .payload = ++t->last_payload,
        .configuration = torture_keep(t, &first, sizeof(first)),
    };
    t->committed[1] = entry;
    t->commit_max = 1;
    for (raft_id id = 1; id < TORTURE_NODES; id++)
        t->nodes[id].id = id;
    for (raft_id id = 1; id <= plan.voters; id++) {
        struct torture_node *n = &t->nodes[id];
        node_init(t, n);
        n->disk_term = 1;
        n->disk_log[1] = entry;
        n->disk_last = 1;
        n->applied = torture_below(t, 2);
        torture_check_entry(t, n, 1, &entry);
        torture_start(t, id);
    }
    return t;
}

/* --- start and crash */

static void load(struct torture_node *n, struct raft_start *start, struct raft_run *runs,
                 struct raft_configuration *configurations)
{
    n->applied_configuration = n->snapshot.configuration;
    for (raft_index i = n->snapshot.index + 1; i <= n->disk_last; i++) {
        const struct torture_entry *e = &n->disk_log[i];
        if (start->run_count == 0 || runs[start->run_count - 1].term != e->term)
            runs[start->run_count++] = (struct raft_run){.first = i, .term = e->term};
        if (!e->configuration)
            continue;
        configurations[start->configuration_count++] = *e->configuration;
        if (i <= n->applied)
            n->applied_configuration = *e->configuration;
    }
}

/* The state machine had applied some of what was committed; its own disk lags behind. */
void torture_start(struct torture *t, raft_id id)
{
    struct torture_node *n = &t->nodes[id];
    bool fresh = false;
    if (n->core)
        return;
    if (!n->exists) {
        node_init(t, n);
        fresh = true;
    } else if (t->now_us == 1000000) {
        fresh = true;
    } else if (torture_chance(t, 250)) { /* the machine was restarted too */
        n->clock_offset_us = (int64_t)torture_below(t, 30000000);
    }
    static struct raft_run runs[RAFT_RUNS_MAX];
    static struct raft_configuration configurations[1024];
    if (n->applied > n->disk_last)
        torture_fail(t, "node %" PRIu64 " applied %" PRIu64 ", on disk is %" PRIu64, id, n->applied,
                     n->disk_last);
    if (n->applied > n->snapshot.index)
        n->applied -= torture_below(t, n->applied - n->snapshot.index + 1);
    struct raft_start start = {
        .now_us = torture_clock(t, n),
        .term = n->disk_term,
        .vote = n->disk_vote,
        .removed = n->disk_removed,
        .snapshot = n->snapshot,
        .runs = runs,
        .last_index = n->disk_last,
        .commit = n->applied,
        .configurations = configurations,
        .fresh = fresh,
    };
    load(n, &start, runs, configurations);
    n->wake_us = n->tick_lag_us = 0;
    n->core = mem_alloc(raft_size());
    n->before = mem_alloc(raft_size());
    memcpy(n->log, n->disk_log, TORTURE_LOG * sizeof(*n->log));
    n->last = n->disk_last;
    if (raft_init(n->core, &n->options, &start) != 0) {
        torture_fail(t, "node %" PRIu64 " does not start", id);
        return;
    }
    torture_step(t, n, (struct raft_event){.type = RAFT_TICK}, NULL);
}

static void write_clear(struct torture_write *w)
{
    mem_free(w->entries);
    w->entries = NULL;
}

bool torture_disk_has(const struct torture_node *n, raft_index index, raft_term term)
{
    if (index < n->snapshot.index)
        return true;
    if (index == n->snapshot.index)
        return n->snapshot.term == term;
    return index <= n->disk_last && n->disk_log[index].term == term;
}

/* What one write does to the disk; false: a snapshot that is not needed any more. */
static bool perform(struct torture *t, struct torture_node *n, const struct torture_write *w)
{
    const struct raft_snapshot *s = &w->snapshot;
    if (w->kind == TORTURE_COMPACT) {
        if (s->index <= n->snapshot.index)
            return false;
        n->snapshot = *s;
        return true;
    }
    if (w->kind == TORTURE_INSTALL) {
        if (s->index <= raft_commit_index(n->core) || s->index <= n->snapshot.index)
            return false;
        bool keeps_tail = torture_disk_has(n, s->index, s->term);
        n->snapshot = *s;
        n->disk_log[s->index] = t->committed[s->index];
        if (!keeps_tail)
            n->disk_last = s->index;
        n->applied = s->index;
        n->applied_configuration = s->configuration;
        return true;
    }
    if (w->hard_state) {
        n->disk_term = w->term;
        n->disk_vote = w->vote;
        n->disk_removed = w->removed;
    }
    if (w->truncate_from && w->truncate_from <= n->disk_last)
        n->disk_last =
            w->truncate_from - 1 > n->snapshot.index ? w->truncate_from - 1 : n->snapshot.index;
    if (w->first == 0)
        return true;
    if (w->first > n->disk_last + 1)
        torture_fail(t, "node %" PRIu64 " leaves a gap on disk: %" PRIu64 " after %" PRIu64, n->id,
                     w->first, n->disk_last);
    for (raft_index i = w->first; i <= w->last; i++)
        if (i > n->snapshot.index)
            n->disk_log[i] = w->entries[i - w->first];
    if (w->last > n->snapshot.index)
        n->disk_last = w->last;
    return true;
}

/* Of what was on its way some is done, and nobody is told. */
void torture_crash(struct torture *t, raft_id id)
{
    struct torture_node *n = &t->nodes[id];
    if (!n->core)
        return;
    uint64_t done = torture_below(t, n->write_count + 1);
    for (uint32_t i = 0; i < n->write_count; i++) {
        if (i < done && !t->failed)
            perform(t, n, &n->writes[i]);
        write_clear(&n->writes[i]);
    }
    n->write_count = 0;
    n->disk_due_us = n->disk_hangs_until_us = 0;
    n->stall_told = n->fenced = false;
    n->waiting_count = n->read_count = 0;
    memset(n->sending, 0, sizeof(n->sending));
    n->paused_until_us = 0;
    mem_free(n->core);
    mem_free(n->before);
    n->core = n->before = NULL;
    t->crashes++;
}

/* --- writing */

static void schedule(struct torture *t, struct torture_node *n)
{
    n->batch_began_us = t->now_us;
    n->disk_due_us = t->now_us + 1 + torture_below(t, t->calm ? 500 : t->plan.disk_max_us);
    if (n->disk_due_us < n->disk_hangs_until_us)
        n->disk_due_us = n->disk_hangs_until_us;
}

void torture_disk_add(struct torture *t, struct torture_node *n, const struct torture_write *w)
{
    must(n->write_count < TORTURE_WRITES);
    struct torture_write *own = &n->writes[n->write_count++];
    *own = *w;
    if (w->first)
        own->entries =
            mem_dup(&n->log[w->first], (size_t)(w->last - w->first + 1) * sizeof(n->log[0]));
    if (n->disk_due_us == 0)
        schedule(t, n);
}

void torture_hang_disk(struct torture *t, raft_id id, uint64_t us)
{
    struct torture_node *n = &t->nodes[id];
    if (!n->core)
        return;
    n->disk_hangs_until_us = t->now_us + us;
    if (n->disk_due_us != 0 && n->disk_due_us < n->disk_hangs_until_us)
        n->disk_due_us = n->disk_hangs_until_us;
}

/* A write outstanding longer than an election timeout is a stall. */
void torture_disk_watch(struct torture *t, struct torture_node *n)
{
    bool stalls = n->disk_due_us != 0 && t->now_us >= n->batch_began_us + TORTURE_ELECTION_US;
    if (stalls == n->stall_told)
        return;
    n->stall_told = stalls;
    torture_step(t, n, (struct raft_event){.type = RAFT_STALL, .ok = stalls}, NULL);
}

static void finish_special(struct torture *t, struct torture_node *n, const struct torture_write *w)
{
    raft_index last_before = n->disk_last;
    bool done = perform(t, n, w);
    struct raft_event event = {.snapshot = &w->snapshot};
    if (w->kind == TORTURE_COMPACT) {
        event.type = RAFT_COMPACTED;
        if (done && torture_step(t, n, event, NULL) != 0)
            torture_fail(t, "node %" PRIu64 " refuses to compact", n->id);
        return;
    }
    if (done) {
        (void)last_before;
        t->installs++;
        if (raft_term_at(n->core, w->snapshot.index) != w->snapshot.term) {
            n->last = w->snapshot.index;
            n->log[n->last] = t->committed[n->last];
        }
        event.type = RAFT_SNAPSHOT_INSTALLED;
        if (torture_step(t, n, event, NULL) != 0)
            torture_fail(t, "node %" PRIu64 " refuses a snapshot", n->id);
    }
    if (t->calm || !torture_chance(t, t->plan.loss))
        torture_snapshot_result(t, w->from, n->id, w->transfer, true, w->snapshot.index, 500);
}

/* Some of what waits becomes durable at once, as by group commit. */
void torture_disk_run(struct torture *t, struct torture_node *n)
{
    uint32_t count = 1 + (uint32_t)torture_below(t, n->write_count);
    uint64_t persist = 0;
    uint32_t done = 0;
    n->disk_due_us = 0;
    while (done < count && n->writes[done].kind == TORTURE_WRITE) {
        perform(t, n, &n->writes[done]);
        persist = n->writes[done++].persist;
    }
    struct torture_write special = n->writes[0];
    if (done == 0)
        done = 1;
    for (uint32_t i = 0; i < done; i++)
        write_clear(&n->writes[i]);
    n->write_count -= done;
    memmove(&n->writes[0], &n->writes[done], n->write_count * sizeof(n->writes[0]));
    if (n->write_count > 0)
        schedule(t, n);
    torture_disk_watch(t, n);
    if (persist != 0)
        torture_step(t, n, (struct raft_event){.type = RAFT_PERSISTED, .persist = persist}, NULL);
    else
        finish_special(t, n, &special);
}

/* --- snapshots */

void torture_snapshot_arrived(struct torture *t, raft_id from, raft_id to, uint64_t transfer,
                              const struct raft_snapshot *s)
{
    struct torture_write w = {
        .kind = TORTURE_INSTALL, .snapshot = *s, .from = from, .transfer = transfer};
    torture_disk_add(t, &t->nodes[to], &w);
}

/* The state machine: applies what is committed and durable, and takes a snapshot now and then. */
void torture_apply(struct torture *t, struct torture_node *n)
{
    if (t->failed)
        return;
    raft_index commit = raft_commit_index(n->core), durable = raft_durable_index(n->core);
    raft_index end = commit < durable ? commit : durable;
    while (n->applied < end) {
        const struct torture_entry *e = &n->log[++n->applied];
        if (e->payload != t->committed[n->applied].payload)
            torture_fail(t, "node %" PRIu64 " applies another entry at %" PRIu64, n->id,
                         n->applied);
        if (e->configuration)
            n->applied_configuration = *e->configuration;
    }
    uint32_t after = t->plan.compact_after;
    if (after == 0 || n->applied < raft_snapshot_index(n->core) + after || torture_chance(t, 900))
        return;
    const struct raft_configuration *c = raft_configuration_at(n->core, n->applied);
    if (c && c->index != n->applied_configuration.index)
        torture_fail(t, "node %" PRIu64 " knows another configuration at %" PRIu64, n->id,
                     n->applied);
    for (uint32_t i = 0; i < n->write_count; i++)
        if (n->writes[i].kind == TORTURE_COMPACT)
            return;
    struct torture_write w = {.kind = TORTURE_COMPACT};
    w.snapshot.index = n->applied;
    w.snapshot.term = n->log[n->applied].term;
    w.snapshot.configuration = n->applied_configuration;
    torture_disk_add(t, n, &w);
}
