/*
 * Virtual cluster of cores: nodes, disks and the checks after every step; see cluster.h. The
 * network is in cluster_net.c, time and events in cluster_verbs.c.
 */
#include "lib/sim/cluster.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/base/mem.h"

struct cluster_chunk {
    struct cluster_chunk *next;
};

/* ---- what does not hold ---- */

static void tell(const struct cluster *c, bool fatal, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
static void tell(const struct cluster *c, bool fatal, const char *fmt, va_list ap)
{
    char text[CLUSTER_BREACH_BYTES];
    vsnprintf(text, sizeof(text), fmt, ap);
    if (c->observer.breached)
        c->observer.breached(c->observer.argument, text, fatal);
}

void cluster_breach(const struct cluster *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    tell(c, false, fmt, ap);
    va_end(ap);
}

void cluster_end(struct cluster *c, const char *fmt, ...)
{
    va_list ap;
    c->ended = true;
    va_start(ap, fmt);
    tell(c, true, fmt, ap);
    va_end(ap);
}

void *cluster_keep(struct cluster *c, const void *data, size_t size)
{
    /* The header keeps its alignment with any type: two pointers' worth. */
    struct cluster_chunk *chunk = mem_alloc(16 + size);
    chunk->next = c->chunks;
    c->chunks = chunk;
    void *copy = (char *)chunk + 16;
    if (size > 0)
        memcpy(copy, data, size);
    return copy;
}

struct cluster_entry cluster_made_up(raft_index index, raft_term term)
{
    return (struct cluster_entry){.term = term, .payload = index * 1000003 + term};
}

/* ---- configurations ---- */

struct raft_configuration cluster_configuration(raft_index index, uint32_t voters,
                                                uint32_t learners)
{
    struct raft_configuration configuration = {.index = index};
    for (uint32_t i = 1; i <= voters + learners; i++)
        configuration.members[configuration.count++] =
            (struct raft_member){.id = i, .flags = i <= voters ? RAFT_VOTER : 0};
    return configuration;
}

/* ---- start and restart ---- */

static void node_stop(struct cluster_node *n)
{
    mem_free(n->raft);
    mem_free(n->before);
    n->raft = NULL;
    n->before = NULL;
}

static void node_start(struct cluster *c, struct cluster_node *n)
{
    const struct cluster_disk *disk = n->disk;
    raft_index first = disk->snapshot.index + 1;
    size_t entries = disk->last >= first ? (size_t)(disk->last - first + 1) : 0;
    struct raft_run *runs = mem_calloc(entries + 1, sizeof(*runs));
    struct raft_configuration *configurations = mem_calloc(entries + 1, sizeof(*configurations));
    struct raft_start start = {
        .now_us = c->now_us,
        .term = disk->term,
        .vote = disk->vote,
        .removed = disk->removed,
        .snapshot = disk->snapshot,
        .last_index = disk->last > disk->snapshot.index ? disk->last : disk->snapshot.index,
        .commit = n->applied,
        .fresh = n->fresh,
        .runs = runs,
        .configurations = configurations,
    };
    for (raft_index i = first; i <= disk->last; i++) {
        const struct cluster_entry *e = &disk->log[i];
        if (start.run_count == 0 || runs[start.run_count - 1].term != e->term)
            runs[start.run_count++] = (struct raft_run){.first = i, .term = e->term};
        if (!e->configuration)
            continue;
        configurations[start.configuration_count++] = *e->configuration;
    }
    memcpy(n->log, disk->log, (size_t)(start.last_index + 1) * sizeof(n->log[0]));
    n->last = start.last_index;
    n->raft = mem_zalloc(raft_size());
    n->before = mem_zalloc(raft_size());
    n->write_count = 0;
    n->waiting_count = 0;
    n->read_count = 0;
    n->wake_us = c->now_us;
    int status = raft_init(n->raft, &n->options, &start);
    if (status != 0) {
        node_stop(n);
        cluster_end(c, "node %s does not start: %s", c->names[n->id], err_name(status));
    } else if (c->observer.stepped) {
        c->observer.stepped(c->observer.argument, c, n->id, NULL, 0);
    }
    mem_free(runs);
    mem_free(configurations);
}

static void node_plan(struct cluster *c, struct cluster_node *n, const struct cluster_plan *plan,
                      uint32_t voters)
{
    n->options = (struct raft_options){
        .id = n->id,
        .election_timeout_us = CLUSTER_ELECTION_TIMEOUT_US,
        .heartbeat_interval_us = CLUSTER_HEARTBEAT_US,
        .inflight_max = plan->inflight_max ? plan->inflight_max : 8,
        .append_entries_max = plan->append_entries_max ? plan->append_entries_max : 256,
        .uncommitted_max = plan->uncommitted_max,
        .clock_drift_ppm = plan->clock_drift_ppm,
        .seed = (plan->seed ? plan->seed : 1) * 1000 + n->id,
    };
    n->fresh = !plan->restarted;
    n->played = plan->alone && n->id != 1;
    if (n->played)
        return;
    n->disk = mem_zalloc(sizeof(*n->disk));
    n->reads = mem_calloc(CLUSTER_READS, sizeof(n->reads[0]));
    n->writes = mem_calloc(CLUSTER_WRITES, sizeof(n->writes[0]));
    n->waiting = mem_calloc(CLUSTER_WAITING, sizeof(n->waiting[0]));
    n->disk->log = mem_calloc(c->log_max + 1, sizeof(n->log[0]));
    n->log = mem_calloc(c->log_max + 1, sizeof(n->log[0]));
    if (n->id > voters + plan->learners)
        return;
    struct raft_configuration configuration =
        plan->configuration ? *plan->configuration
                            : cluster_configuration(1, voters, plan->learners);
    static const raft_term one[] = {1, 0};
    const raft_term *terms = plan->log ? plan->log : one;
    struct cluster_disk *disk = n->disk;
    for (raft_index i = 1; terms[i - 1]; i++) {
        disk->log[i] = cluster_made_up(i, terms[i - 1]);
        disk->last = i;
        disk->term = terms[i - 1];
    }
    disk->log[1].kind = RAFT_CONFIGURATION;
    disk->log[1].configuration = cluster_keep(c, &configuration, sizeof(configuration));
    disk->vote = plan->vote;
    if (plan->term)
        disk->term = plan->term;
    n->applied = plan->commit ? plan->commit : 1;
    for (raft_index i = 1; i <= n->applied; i++)
        c->applied[i] = disk->log[i];
}

struct cluster *cluster_start(const struct cluster_plan *plan)
{
    struct cluster *c = mem_zalloc(sizeof(*c));
    uint32_t voters = plan->voters ? plan->voters : 3;
    c->observer = plan->observer;
    c->now_us = CLUSTER_START_US;
    prng_seed(&c->prng, plan->seed + 77);
    c->node_count = voters + plan->learners + plan->spares;
    ASSERT(c->node_count < CLUSTER_NODES);
    c->log_max = plan->log_max ? plan->log_max : 500;
    c->applied = mem_calloc(c->log_max + 1, sizeof(c->applied[0]));
    for (raft_id id = 1; id <= c->node_count; id++) {
        struct cluster_node *n = &c->nodes[id];
        n->id = id;
        snprintf(c->names[id], sizeof(c->names[id]), "%" PRIu64, id);
        node_plan(c, n, plan, voters);
        if (!n->played)
            node_start(c, n);
    }
    return c;
}

void cluster_stop(struct cluster *c)
{
    for (raft_id id = 1; id <= c->node_count; id++) {
        node_stop(&c->nodes[id]);
        if (c->nodes[id].disk)
            mem_free(c->nodes[id].disk->log);
        mem_free(c->nodes[id].disk);
        mem_free(c->nodes[id].log);
        mem_free(c->nodes[id].reads);
        mem_free(c->nodes[id].writes);
        mem_free(c->nodes[id].waiting);
    }
    while (c->chunks) {
        struct cluster_chunk *next = c->chunks->next;
        mem_free(c->chunks);
        c->chunks = next;
    }
    mem_free(c->packets);
    mem_free(c->applied);
    mem_free(c);
}

void cluster_crash(struct cluster *c, raft_id id)
{
    struct cluster_node *n = &c->nodes[id];
    ASSERT(n->raft && !n->played);
    node_stop(n);
    n->write_count = 0;
    n->disk_held = false;
    n->paused = false;
    n->fresh = false;
    if (n->applied < n->disk->snapshot.index)
        n->applied = n->disk->snapshot.index;
}

void cluster_restart(struct cluster *c, raft_id id)
{
    if (c->nodes[id].raft)
        cluster_crash(c, id);
    node_start(c, &c->nodes[id]);
}

void cluster_pause(struct cluster *c, raft_id id, bool paused)
{
    c->nodes[id].paused = paused;
}

void cluster_disk_write(struct cluster *c, raft_id id, raft_term term, raft_id vote,
                        const raft_term *log, raft_index applied)
{
    struct cluster_node *n = &c->nodes[id];
    ASSERT(!n->raft);
    struct cluster_entry first = n->disk->log[1];
    for (raft_index i = 1; log[i - 1]; i++) {
        n->disk->log[i] = i == 1 ? first : cluster_made_up(i, log[i - 1]);
        n->disk->last = i;
    }
    n->disk->term = term;
    n->disk->vote = vote;
    n->applied = applied;
    for (raft_index i = 1; i <= applied; i++)
        c->applied[i] = n->disk->log[i];
}

/* ---- what must hold after a step ---- */

static void check_leader(struct cluster *c, const struct cluster_node *n)
{
    if (raft_state(n->raft) != RAFT_LEADER)
        return;
    raft_term term = raft_term_current(n->raft);
    if (term >= CLUSTER_TERMS)
        cluster_end(c, "term %" PRIu64 " is more than there is room for", term);
    else if (c->leaders[term] == 0)
        c->leaders[term] = n->id;
    else if (c->leaders[term] != n->id)
        cluster_breach(c, "Election Safety: %s and %s lead in term %" PRIu64,
                       c->names[c->leaders[term]], c->names[n->id], term);
}

static void check_log(const struct cluster *c, const struct cluster_node *n)
{
    const struct raft *r = n->raft;
    raft_index last = raft_last_index(r), durable = raft_durable_index(r);
    raft_index floor = raft_snapshot_index(r);
    if (last != n->last)
        cluster_breach(c, "node %s: the core's last index is %" PRIu64 ", written were %" PRIu64,
                       c->names[n->id], last, n->last);
    else if (last > floor && raft_term_at(r, last) != n->log[last].term)
        cluster_breach(
            c, "node %s: the core takes the term at %" PRIu64 " for %" PRIu64 ", it is %" PRIu64,
            c->names[n->id], last, raft_term_at(r, last), n->log[last].term);
    if (durable > floor &&
        (durable > n->disk->last || n->disk->log[durable].term != raft_term_at(r, durable)))
        cluster_breach(c, "node %s: the core takes %" PRIu64 " for durable, it is not",
                       c->names[n->id], durable);
}

static void apply(struct cluster *c, struct cluster_node *n)
{
    raft_index end = raft_commit_index(n->raft), durable = raft_durable_index(n->raft);
    if (end > durable)
        end = durable;
    while (n->applied < end) {
        raft_index i = ++n->applied;
        const struct cluster_entry *mine = &n->log[i];
        if (c->applied[i].term == 0)
            c->applied[i] = *mine;
        else if (c->applied[i].term != mine->term || c->applied[i].payload != mine->payload)
            cluster_breach(c, "State Machine Safety: node %s applies another entry at %" PRIu64,
                           c->names[n->id], i);
    }
}

/* ---- carrying out an update ---- */

static const struct raft_made_entry *find_made(const struct raft_update *u, raft_index index)
{
    for (uint32_t i = 0; i < u->made_count; i++)
        if (u->made[i].index == index)
            return &u->made[i];
    return NULL;
}

static void write_entries(struct cluster *c, struct cluster_node *n, const struct raft_event *event,
                          const struct cluster_entry *entries)
{
    const struct raft_update *u = &n->update;
    ASSERT(u->write_last >= u->write_first);
    if (u->write_last > c->log_max) {
        cluster_end(c, "node %s: the log grows beyond %" PRIu64 " entries", c->names[n->id],
                    c->log_max);
        return;
    }
    if (u->write_first != n->last + 1)
        cluster_breach(c, "node %s: writes from %" PRIu64 ", the log ends at %" PRIu64,
                       c->names[n->id], u->write_first, n->last);
    for (raft_index i = u->write_first; i <= u->write_last; i++) {
        const struct raft_made_entry *made = find_made(u, i);
        struct cluster_entry e = {.term = raft_term_at(n->raft, i)};
        if (made) {
            e.kind = made->kind;
            e.payload = ++c->last_payload;
            if (made->kind == RAFT_CONFIGURATION)
                e.configuration =
                    cluster_keep(c, made->configuration, sizeof(*made->configuration));
        } else if (event->type == RAFT_MESSAGE && entries && event->message->type == RAFT_APPEND) {
            raft_index first = event->message->prev_index + 1;
            ASSERT(i >= first && i - first < event->message->entry_count);
            e = entries[i - first];
            if (e.term != raft_term_at(n->raft, i))
                cluster_breach(c, "node %s: takes the term of entry %" PRIu64 " for another",
                               c->names[n->id], i);
        } else {
            ASSERT(event->type == RAFT_PROPOSE);
            e.payload = ++c->last_payload;
        }
        n->log[i] = e;
    }
    n->last = u->write_last;
}

static void carry_out(struct cluster *c, struct cluster_node *n, const struct raft_event *event,
                      const struct cluster_entry *entries)
{
    const struct raft_update *u = &n->update;
    n->wake_us = u->wake_us;
    if (u->truncate_from) {
        if (u->truncate_from <= n->applied)
            cluster_breach(c, "node %s: truncates applied entries from %" PRIu64, c->names[n->id],
                           u->truncate_from);
        n->last = u->truncate_from - 1;
    }
    if (u->write_first)
        write_entries(c, n, event, entries);
    if (c->ended)
        return;
    if (u->persist) {
        struct cluster_write write = {
            .persist = u->persist,
            .hard_state = u->hard_state,
            .term = u->term,
            .vote = u->vote,
            .removed = u->removed,
            .truncate_from = u->truncate_from,
            .first = u->write_first,
            .last = u->write_last,
        };
        if (u->write_first)
            write.entries =
                cluster_keep(c, &n->log[u->write_first],
                             (size_t)(u->write_last - u->write_first + 1) * sizeof(n->log[0]));
        cluster_write_add(c, n, write);
    } else {
        if (u->hard_state || u->truncate_from || u->write_first)
            cluster_breach(c, "node %s: a write without a number", c->names[n->id]);
    }
    for (uint32_t i = 0; i < u->message_count; i++)
        cluster_send(c, n, &u->messages[i]);
    for (uint32_t i = 0; i < u->read_count && n->read_count < CLUSTER_READS; i++)
        n->reads[n->read_count++] = u->reads[i];
    if (u->transfer_status != 0)
        n->transfer_status = u->transfer_status;
    if (u->commit != raft_commit_index(n->raft))
        cluster_breach(c, "node %s: the update's commit index is another", c->names[n->id]);
}

int cluster_step_with(struct cluster *c, raft_id id, struct raft_event event,
                      const struct cluster_entry *entries)
{
    struct cluster_node *n = &c->nodes[id];
    if (c->ended)
        return ERR_INTERNAL;
    ASSERT(n->raft);
    c->steps++;
    event.now_us = c->now_us;
    raft_remember(n->before, n->raft);
    int status = raft_step(n->raft, &event, &n->update);
    if (c->observer.stepped)
        c->observer.stepped(c->observer.argument, c, id, &event, status);
    const char *broken = raft_invariant(n->raft);
    if (!broken)
        broken = raft_invariant_step(n->before, n->raft);
    if (broken)
        cluster_breach(c, "node %s: invariant: %s", c->names[id], broken);
    struct raft_update update = n->update;
    carry_out(c, n, &event, entries);
    if (c->ended)
        return status;
    check_leader(c, n);
    check_log(c, n);
    apply(c, n);
    if (!n->disk_held && !n->draining)
        while (cluster_disk_step(c, id))
            ;
    n->update = update; /* its arrays may be gone, its numbers stay */
    return status;
}

int cluster_step(struct cluster *c, raft_id id, struct raft_event event)
{
    return cluster_step_with(c, id, event, NULL);
}
