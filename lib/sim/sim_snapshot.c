/*
 * Snapshots: copied after a flush, sent as a whole, installed with one commit point.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/sim/sim_internal.h"

enum { SIM_TRANSFERS = SIM_NODES_MAX * SIM_NODES_MAX };

/* ---- copies ---- */

static struct sim_copy *copy_take(struct sim_node *n)
{
    struct sim_copy *copy = mem_zalloc(sizeof(*copy));
    const struct memtable *m;
    struct state_image image;
    while ((m = state_freeze(n->state))) {
        base_map_flush(n->map, m);
        state_flushed(n->state, m);
    }
    copy->references = 1;
    copy->map = base_map_clone(n->map);
    base_map_image(copy->map, &image);
    copy->cut.index = image.applied;
    copy->cut.term = image.applied_term;
    copy->cut.membership = image.membership;
    return copy;
}

void sim_copy_release(struct sim_copy *copy)
{
    if (!copy || --copy->references > 0)
        return;
    base_map_free(copy->map);
    mem_free(copy);
}

/* ---- sending ---- */

static void transfer_free(struct sim_transfer *t)
{
    sim_copy_release(t->copy);
    memset(t, 0, sizeof(*t));
}

static void later(struct sim *s, const struct sim_transfer *t, enum sim_event_kind kind,
                  uint64_t in_us)
{
    sim_push(s, s->now_us + in_us, kind, (uint32_t)(t - s->transfers), t->generation);
}

static struct sim_transfer *under_way(struct sim *s, const struct sim_node *n, raft_id peer)
{
    for (size_t i = 0; i < SIM_TRANSFERS; i++) {
        struct sim_transfer *t = &s->transfers[i];
        if (t->generation > 0 && t->from == n->id && t->to == peer && t->from_life == n->life)
            return t;
    }
    return NULL;
}

static struct sim_transfer *free_transfer(struct sim *s)
{
    size_t i = 0;
    while (i < SIM_TRANSFERS && s->transfers[i].generation > 0)
        i++;
    ASSERT(i < SIM_TRANSFERS);
    return &s->transfers[i];
}

void sim_snapshot_send(void *self, raft_id peer, raft_index index)
{
    struct sim_node *n = self;
    struct sim *s = n->sim;
    struct sim_transfer *t;
    if (under_way(s, n, peer)) /* its end is told */
        return;
    t = free_transfer(s);
    *t = (struct sim_transfer){
        .generation = ++s->generation,
        .from = n->id,
        .to = peer,
        .from_life = n->life,
        .term = raft_term_current(carry_raft(n->carry)),
        .wanted = index,
    };
    later(s, t, SIM_COPIED, sim_draw(&s->disk, 100, 10 * s->plan.disk_range_us));
}

static void copied(struct sim *s, struct sim_transfer *t)
{
    struct sim_node *n = &s->nodes[t->from];
    uint64_t at_us;
    if (n->life != t->from_life || n->installing) {
        if (n->life == t->from_life)
            later(s, t, SIM_SENT, 1000);
        else
            transfer_free(t);
        return;
    }
    t->copy = copy_take(n);
    if (t->copy->cut.index < t->wanted) { /* not applied yet: it is asked for again */
        later(s, t, SIM_SENT, 1000);
        return;
    }
    carry_snapshot_sending(n->carry, t->to, t->copy->cut.index);
    sim_note(s, n->id, "sends n%" PRIu64 " a snapshot at %" PRIu64, t->to, t->copy->cut.index);
    later(s, t, SIM_SENT, SIM_SNAPSHOT_TIMEOUT_US); /* at the latest; what comes after is ignored */
    if (sim_net_latency(s, t->from, t->to, &at_us) && at_us - s->now_us < SIM_SNAPSHOT_TIMEOUT_US)
        later(s, t, SIM_ARRIVED, 2 * (at_us - s->now_us) + sim_draw(&s->net, 0, 50000));
}

/* The receiver's answer goes back; a lost one is missed when time is over. */
static void answer(struct sim *s, struct sim_transfer *t, bool ok)
{
    uint64_t at_us;
    if (!sim_net_latency(s, t->to, t->from, &at_us))
        return;
    t->ok = ok;
    later(s, t, SIM_SENT, at_us - s->now_us);
}

static void arrived(struct sim *s, struct sim_transfer *t)
{
    struct sim_node *to = &s->nodes[t->to];
    if (!to->carry) {
        answer(s, t, false);
        return;
    }
    if (!sim_runs(to)) {
        later(s, t, SIM_ARRIVED, to->paused_until_us - s->now_us);
        return;
    }
    int code = carry_snapshot_wanted(to->carry, t->from, t->term, t->copy->cut.index);
    if (code == 0) {
        sim_copy_release(to->received);
        to->received = t->copy;
        t->copy->references++;
        code = carry_snapshot_received(to->carry, to->generation + 1, &t->copy->cut, sim_clock(to));
        if (code == ERR_CORRUPT)
            sim_violated(s, "n%" PRIu64 " refuses a snapshot of n%" PRIu64, t->to, t->from);
    }
    if (code == 0) {
        to->incoming = (uint32_t)(t - s->transfers) + 1;
        to->incoming_generation = t->generation;
    } else {
        answer(s, t, code == ERR_NOT_FOUND);
    }
    sim_node_after(to);
}

/* Whether somebody waits for an installation that is over. */
void sim_snapshot_look(struct sim_node *n)
{
    struct sim *s = n->sim;
    if (n->incoming == 0 || carry_installing(n->carry))
        return;
    struct sim_transfer *t = &s->transfers[n->incoming - 1];
    if (t->generation == n->incoming_generation)
        answer(s, t, raft_commit_index(carry_raft(n->carry)) >= t->copy->cut.index);
    n->incoming = 0;
}

static void sent(struct sim *s, struct sim_transfer *t)
{
    struct sim_node *n = &s->nodes[t->from];
    struct sim_transfer done = *t;
    raft_index index = t->copy ? t->copy->cut.index : 0;
    if (n->life == t->from_life && !sim_runs(n)) {
        later(s, t, SIM_SENT, n->paused_until_us - s->now_us);
        return;
    }
    transfer_free(t);
    if (n->life != done.from_life)
        return;
    sim_note(s, n->id, "has sent n%" PRIu64 " a snapshot: %s", done.to,
             done.ok ? "done" : "not done");
    carry_snapshot_sent(n->carry, done.to, done.ok, index, sim_clock(n));
    sim_node_after(n);
}

void sim_snapshot_event(struct sim *s, const struct sim_event *e)
{
    struct sim_transfer *t = &s->transfers[e->index];
    if (t->generation != e->generation)
        return;
    switch (e->kind) {
    case SIM_COPIED: copied(s, t); break;
    case SIM_ARRIVED: arrived(s, t); break;
    default: sent(s, t); break;
    }
}

/* ---- installing ---- */

void sim_snapshot_install(void *self, uint64_t generation, const struct snapshot_cut *cut)
{
    struct sim_node *n = self;
    struct sim *s = n->sim;
    if (n->installing || generation != n->generation + 1)
        sim_violated(s, "n%" PRIu64 " installs a snapshot twice", n->id);
    for (size_t i = 0; i < n->disk.queue_count; i++)
        if (n->disk.queue[(n->disk.queue_first + i) & (n->disk.queue_room - 1)].write)
            sim_violated(s, "n%" PRIu64 " installs a snapshot while it writes its log", n->id);
    n->installing = true;
    n->install_cut = *cut;
    n->install = n->received;
    n->received = NULL;
    n->due_us[SIM_DUE_FLUSH] = n->due_us[SIM_DUE_CHECKPOINT] = UINT64_MAX;
    sim_node_due(n, SIM_DUE_INSTALL,
                 s->now_us + sim_draw(&s->disk, s->plan.disk_min_us, 4 * s->plan.disk_range_us));
}

/* The commit point: from here on it is the new state, whatever happens. */
static bool commit(struct sim_node *n)
{
    bool kept_tail;
    sim_disk_install(n, &n->install_cut, &kept_tail);
    n->generation++;
    base_map_free(n->map);
    n->map = base_map_clone(n->install->map);
    sim_state_synced(n);
    sim_copy_release(n->install);
    n->install = NULL;
    n->installing = false;
    n->sim->result->installs++;
    return kept_tail;
}

void sim_snapshot_installed(struct sim_node *n)
{
    struct sim *s = n->sim;
    if (n->disk.queue_count > 0 ||
        n->works.count > 0) { /* the log is cut still, reads are served */
        sim_node_due(n, SIM_DUE_INSTALL, s->now_us + 1000);
        return;
    }
    bool kept_tail = commit(n);
    sim_state_open(n);
    sim_node_due(n, SIM_DUE_FLUSH, s->now_us + s->plan.flush_us);
    sim_note(s, n->id, "has installed a snapshot at %" PRIu64, n->install_cut.index);
    carry_installed(n->carry, kept_tail, sim_clock(n));
}

void sim_snapshot_crash(struct sim_node *n)
{
    if (n->installing && n->disk.queue_count == 0 && prng_chance(&n->sim->disk, 1, 2))
        commit(n);
    n->installing = false;
    sim_copy_release(n->install);
    sim_copy_release(n->received);
    n->install = n->received = NULL;
    n->incoming = 0;
    for (size_t i = 0; i < SIM_TRANSFERS; i++) {
        struct sim_transfer *t = &n->sim->transfers[i];
        if (t->generation > 0 && t->from == n->id)
            transfer_free(t);
    }
}
