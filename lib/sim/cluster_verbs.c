/* Virtual cluster of cores: time, events and elections; see cluster.h. */
#include <inttypes.h>

#include "lib/base/check.h"
#include "lib/sim/cluster.h"

/* ---- looking ---- */

struct raft *cluster_core(struct cluster *c, raft_id id)
{
    ASSERT(id > 0 && id <= c->node_count && c->nodes[id].raft);
    return c->nodes[id].raft;
}

raft_id cluster_leader(const struct cluster *c)
{
    raft_id leader = 0;
    raft_term term = 0;
    for (raft_id id = 1; id <= c->node_count; id++) {
        const struct raft *r = c->nodes[id].raft;
        if (!r || raft_state(r) != RAFT_LEADER || raft_term_current(r) <= term)
            continue;
        leader = id;
        term = raft_term_current(r);
    }
    return leader;
}

static bool entries_equal(const struct cluster_entry *a, const struct cluster_entry *b)
{
    return a->term == b->term && a->payload == b->payload;
}

bool cluster_equal_logs(const struct cluster *c)
{
    const struct cluster_node *first = NULL;
    for (raft_id id = 1; id <= c->node_count; id++) {
        const struct cluster_node *n = &c->nodes[id];
        if (!n->raft)
            continue;
        if (!first) {
            first = n;
            continue;
        }
        if (n->last != first->last)
            return false;
        raft_index from = raft_first_index(n->raft), other = raft_first_index(first->raft);
        for (raft_index i = from > other ? from : other; i <= n->last; i++)
            if (!entries_equal(&n->log[i], &first->log[i]))
                return false;
    }
    return true;
}

const struct raft_read_result *cluster_read_result(const struct cluster *c, raft_id id,
                                                   uint64_t read)
{
    const struct cluster_node *n = &c->nodes[id];
    const struct raft_read_result *found = NULL;
    for (uint32_t i = 0; i < n->read_count; i++) {
        if (n->reads[i].id != read)
            continue;
        if (found)
            cluster_breach(c, "node %s: read %" PRIu64 " was answered twice", c->names[id], read);
        found = &n->reads[i];
    }
    return found;
}

struct raft_progress_view cluster_progress(const struct cluster *c, raft_id leader, raft_id peer)
{
    struct raft_progress_view views[RAFT_MEMBERS_MAX];
    uint32_t count = raft_progress(c->nodes[leader].raft, views);
    for (uint32_t i = 0; i < count; i++)
        if (views[i].id == peer)
            return views[i];
    return (struct raft_progress_view){0};
}

const struct cluster_entry *cluster_entry(const struct cluster *c, raft_id id, raft_index index)
{
    ASSERT(index <= c->nodes[id].last);
    return &c->nodes[id].log[index];
}

/* ---- time ---- */

void cluster_sleep(struct cluster *c, uint64_t us)
{
    c->now_us += us;
}

void cluster_tick(struct cluster *c, raft_id id)
{
    cluster_step(c, id, (struct raft_event){.type = RAFT_TICK});
}

/* The next moment at which somebody wants to be woken, or a message arrives. */
static uint64_t next_wake(const struct cluster *c)
{
    uint64_t next = UINT64_MAX;
    for (raft_id id = 1; id <= c->node_count; id++) {
        const struct cluster_node *n = &c->nodes[id];
        if (n->raft && !n->paused && n->wake_us < next)
            next = n->wake_us;
    }
    for (uint32_t i = 0; i < c->packet_count; i++) {
        uint64_t due = c->packets[i].due_us;
        if (due > c->now_us && due < next)
            next = due;
    }
    return next;
}

static void wake_due(struct cluster *c)
{
    for (raft_id id = 1; id <= c->node_count; id++) {
        struct cluster_node *n = &c->nodes[id];
        if (!n->raft || n->paused || n->wake_us > c->now_us)
            continue;
        cluster_tick(c, id);
        if (n->wake_us > c->now_us)
            continue;
        if (!c->ended)
            cluster_end(c, "node %s: wants to be woken again at once", c->names[id]);
        return;
    }
}

static bool never(struct cluster *c)
{
    (void)c;
    return false;
}

bool cluster_run_until(struct cluster *c, uint64_t us, bool (*reached)(struct cluster *))
{
    uint64_t deadline = c->now_us + us;
    cluster_settle(c);
    while (!c->ended && !reached(c)) {
        uint64_t next = next_wake(c);
        if (next > deadline) {
            c->now_us = deadline;
            return false;
        }
        if (next > c->now_us)
            c->now_us = next;
        wake_due(c);
        cluster_settle(c);
    }
    return !c->ended;
}

void cluster_run(struct cluster *c, uint64_t us)
{
    cluster_run_until(c, us, never);
}

/* ---- events ---- */

int cluster_propose(struct cluster *c, raft_id id, uint32_t count)
{
    return cluster_step(c, id,
                        (struct raft_event){.type = RAFT_PROPOSE, .propose = {.count = count}});
}

int cluster_read(struct cluster *c, raft_id id, uint64_t read)
{
    return cluster_step(c, id, (struct raft_event){.type = RAFT_READ, .read = {.id = read}});
}

int cluster_lease_read(struct cluster *c, raft_id id, uint64_t read)
{
    return cluster_step(
        c, id, (struct raft_event){.type = RAFT_READ, .read = {.id = read, .lease = true}});
}

int cluster_transfer(struct cluster *c, raft_id id, raft_id to)
{
    return cluster_step(c, id, (struct raft_event){.type = RAFT_TRANSFER, .peer = to});
}

int cluster_change(struct cluster *c, raft_id id, struct raft_change change)
{
    return cluster_step(c, id, (struct raft_event){.type = RAFT_CHANGE, .change = &change});
}

void cluster_unreachable(struct cluster *c, raft_id id, raft_id peer)
{
    cluster_step(c, id, (struct raft_event){.type = RAFT_UNREACHABLE, .peer = peer});
}

void cluster_stall(struct cluster *c, raft_id id, bool begins)
{
    cluster_step(c, id, (struct raft_event){.type = RAFT_STALL, .ok = begins});
}

void cluster_fence(struct cluster *c, raft_id id, bool fenced)
{
    cluster_step(c, id, (struct raft_event){.type = RAFT_FENCE, .ok = fenced});
}

void cluster_snapshot_sent(struct cluster *c, raft_id id, raft_id peer, bool success,
                           raft_index index)
{
    struct raft_snapshot snapshot = {.index = index};
    cluster_step(
        c, id,
        (struct raft_event){
            .type = RAFT_SNAPSHOT_SENT, .peer = peer, .ok = success, .snapshot = &snapshot});
}

/* ---- elections ---- */

static bool favourite_leads(struct cluster *c)
{
    return raft_leader_ready(c->nodes[c->favoured].raft);
}

bool cluster_run_until_leads(struct cluster *c, raft_id id)
{
    c->favoured = id;
    bool leads = cluster_run_until(c, 20 * CLUSTER_ELECTION_TIMEOUT_US, favourite_leads);
    c->favoured = 0;
    return leads;
}
