/*
 * Faults begin, and end by themselves after their time. Whom they meet is decided by the fault's
 * own number and by how things are, half of the time the leader.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/sim/sim_internal.h"

/* ---- whom ---- */

static struct sim_node *target(struct sim *s, uint64_t pick)
{
    raft_id leader = sim_leader(s), up[SIM_NODES_MAX];
    uint32_t count = 0;
    if (pick % 2 == 0 && leader != 0)
        return &s->nodes[leader];
    for (uint32_t i = 1; i <= s->node_count; i++)
        if (s->nodes[i].carry)
            up[count++] = i;
    return count > 0 ? &s->nodes[up[pick / 2 % count]] : NULL;
}

static const struct raft *leading(struct sim *s)
{
    raft_id leader = sim_leader(s);
    return leader ? carry_raft(s->nodes[leader].carry) : NULL;
}

static uint32_t voters(const struct raft_configuration *c)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->count; i++)
        count += (c->members[i].flags & RAFT_VOTER) != 0;
    return count;
}

/* ---- processes ---- */

static void kill_one(struct sim *s, struct sim_node *n, bool power, uint64_t for_us)
{
    sim_node_kill(n, power);
    sim_push(s, s->now_us + for_us, SIM_RESTART, (uint32_t)n->id, n->life);
}

static void kill_all(struct sim *s, bool power, uint64_t for_us)
{
    for (uint32_t i = 1; i <= s->node_count; i++)
        if (s->nodes[i].carry)
            kill_one(s, &s->nodes[i], power, for_us + i * 1000 * (for_us % 50));
}

static void pause_one(struct sim *s, struct sim_node *n, uint64_t for_us)
{
    n->paused_until_us = s->now_us + for_us;
    sim_node_due(n, SIM_DUE_WAKE, n->due_us[SIM_DUE_WAKE]);
}

/* ---- the network ---- */

static void cut(struct sim *s, raft_id from, raft_id to, uint64_t for_us)
{
    uint64_t until_us = s->now_us + for_us;
    if (from != to && s->nodes[from].cut_until_us[to] < until_us)
        s->nodes[from].cut_until_us[to] = until_us;
}

static void cut_pairs(struct sim *s, const struct sim_fault *f, raft_id one,
                      bool (*apart)(const struct sim *, const struct sim_fault *, raft_id one,
                                    raft_id from, raft_id to))
{
    for (raft_id from = 1; from <= s->node_count; from++)
        for (raft_id to = 1; to <= s->node_count; to++)
            if (from != to && apart(s, f, one, from, to))
                cut(s, from, to, f->for_us);
}

static bool in_halves(const struct sim *s, const struct sim_fault *f, raft_id one, raft_id from,
                      raft_id to)
{
    (void)s;
    (void)one;
    return (f->pick >> from & 1) != (f->pick >> to & 1);
}

static bool off_ring(const struct sim *s, const struct sim_fault *f, raft_id one, raft_id from,
                     raft_id to)
{
    uint64_t apart = from > to ? from - to : to - from;
    (void)f;
    (void)one;
    return apart != 1 && apart != s->node_count - 1;
}

static bool about(const struct sim *s, const struct sim_fault *f, raft_id one, raft_id from,
                  raft_id to)
{
    (void)s;
    (void)f;
    return from == one || to == one;
}

static bool from_it(const struct sim *s, const struct sim_fault *f, raft_id one, raft_id from,
                    raft_id to)
{
    (void)s;
    (void)f;
    (void)to;
    return from == one;
}

static void hold_back(struct sim *s, struct sim_node *n, uint64_t for_us)
{
    for (raft_id to = 1; to <= s->node_count; to++)
        if (to != n->id)
            n->clog_until_us[to] = s->now_us + for_us;
}

/* ---- members ---- */

static raft_id new_member(struct sim *s)
{
    struct sim_node *n = sim_node_new(s);
    if (!n)
        return 0;
    sim_node_start(n);
    return n->id;
}

/* One of the voters, or of the learners, of the configuration that the leader has. */
static raft_id member(struct sim *s, uint64_t pick, bool voter)
{
    const struct raft *r = leading(s);
    raft_id found[RAFT_MEMBERS_MAX];
    uint32_t count = 0;
    if (!r)
        return 0;
    const struct raft_configuration *c = raft_configuration_latest(r);
    for (uint32_t i = 0; i < c->count; i++)
        if (((c->members[i].flags & RAFT_VOTER) != 0) == voter && !s->nodes[c->members[i].id].wiped)
            found[count++] = c->members[i].id;
    return count > 0 ? found[pick % count] : 0;
}

static bool somebody_is_wiped(struct sim *s)
{
    for (uint32_t i = 0; i < s->job_count; i++)
        if (s->jobs[i].until_done)
            return true;
    return false;
}

static void change_members(struct sim *s, const struct sim_fault *f)
{
    struct raft_change change = {.auto_promote = f->pick % 4 != 0};
    const struct raft *r = leading(s);
    /* Who has lost a member for good mends that first: else it may end without a majority. */
    if (!r || somebody_is_wiped(s))
        return;
    switch (f->kind) {
    case SIM_ADD:
        change.kind = RAFT_ADD_LEARNER;
        change.id = new_member(s);
        break;
    case SIM_PROMOTE:
        change.kind = RAFT_PROMOTE;
        change.id = member(s, f->pick, false);
        break;
    case SIM_REMOVE:
        change.kind = RAFT_REMOVE;
        if (voters(raft_configuration_latest(r)) > 2 || f->pick % 8 == 0)
            change.id = member(s, f->pick, f->pick / 64 % 4 != 0);
        break;
    default:
        change.kind = RAFT_REPLACE;
        change.id = member(s, f->pick, true);
        change.new_id = change.id ? new_member(s) : 0;
        if (change.new_id == 0)
            return;
    }
    if (change.id != 0)
        sim_admin_job(s, &change, false);
}

/* Only where the others are a majority, whatever configuration comes out of what is on its way. */
static void wipe(struct sim *s, const struct sim_fault *f)
{
    const struct raft *r = leading(s);
    if (!r || sim_is_deposed(s, r) || !raft_leader_ready(r) || raft_change_pending(r) ||
        s->job_count > 0 || s->node_count == SIM_NODES_MAX ||
        voters(raft_configuration_committed(r)) < 3 ||
        raft_configuration_latest(r)->index != raft_configuration_committed(r)->index)
        return;
    struct raft_change change = {.kind = RAFT_REPLACE, .id = member(s, f->pick, true)};
    if (change.id == 0)
        return;
    s->nodes[change.id].wiped = true;
    sim_node_kill(&s->nodes[change.id], false);
    sim_note(s, change.id, "is wiped");
    change.new_id = new_member(s);
    ASSERT(change.new_id != 0);
    sim_admin_job(s, &change, true);
}

/* ---- one ---- */

static void set_clock_rate(struct sim *s, struct sim_node *n, uint64_t pick)
{
    uint64_t local_us = sim_clock(n);
    n->clock_base_us = local_us;
    n->clock_since_us = s->now_us;
    n->clock_ppm = (int32_t)(pick % (2 * s->plan.drift_ppm + 1)) - (int32_t)s->plan.drift_ppm;
    sim_node_after(n);
}

static bool is_of_nobody(enum sim_fault_kind kind)
{
    switch (kind) {
    case SIM_KILL_ALL:
    case SIM_POWER_ALL:
    case SIM_HALVES:
    case SIM_RING:
    case SIM_LOSSY:
    case SIM_WIPE:
    case SIM_ADD:
    case SIM_PROMOTE:
    case SIM_REMOVE:
    case SIM_REPLACE:
    case SIM_TRANSFER: return true;
    default: return false;
    }
}

static void of_nobody(struct sim *s, const struct sim_fault *f)
{
    switch (f->kind) {
    case SIM_KILL_ALL: kill_all(s, false, f->for_us); break;
    case SIM_POWER_ALL: kill_all(s, true, f->for_us); break;
    case SIM_HALVES: cut_pairs(s, f, 0, in_halves); break;
    case SIM_RING: cut_pairs(s, f, 0, off_ring); break;
    case SIM_LOSSY: s->lossy_until_us = s->now_us + f->for_us; break;
    case SIM_WIPE: wipe(s, f); break;
    case SIM_TRANSFER: sim_admin_transfer(s, f->pick); break;
    default: change_members(s, f); break;
    }
}

static void of_one(struct sim *s, const struct sim_fault *f, struct sim_node *n)
{
    uint64_t until_us = s->now_us + f->for_us;
    switch (f->kind) {
    case SIM_KILL: kill_one(s, n, false, f->for_us); break;
    case SIM_POWER: kill_one(s, n, true, f->for_us); break;
    case SIM_PAUSE: pause_one(s, n, f->for_us); break;
    case SIM_ISOLATE: cut_pairs(s, f, n->id, about); break;
    case SIM_ONE_WAY: cut_pairs(s, f, n->id, from_it); break;
    case SIM_CUT:
        cut(s, n->id, 1 + f->pick / 16 % s->node_count, f->for_us);
        cut(s, 1 + f->pick / 16 % s->node_count, n->id, f->for_us);
        break;
    case SIM_CLOG: hold_back(s, n, f->for_us); break;
    case SIM_FLAP: n->flap_until_us = until_us; break;
    case SIM_SLOW: n->slow_until_us = until_us; break;
    case SIM_DISK_STALL:
        n->disk_stalled_until_us = until_us;
        if (n->due_us[SIM_DUE_DISK] != UINT64_MAX)
            sim_node_due(n, SIM_DUE_DISK, until_us);
        break;
    case SIM_DISK_SLOW: n->disk_slow_until_us = until_us; break;
    case SIM_DISK_ERROR: n->disk_breaks = true; break;
    case SIM_DISK_FULL: n->disk_full = true; break;
    case SIM_FLUSH_ERROR: n->flush_breaks = true; break;
    case SIM_STATE_STALL:
        n->state_stalled_until_us = until_us;
        if (n->due_us[SIM_DUE_STATE] != UINT64_MAX)
            sim_node_due(n, SIM_DUE_STATE, until_us);
        break;
    case SIM_CLOCK_RATE: set_clock_rate(s, n, f->pick / 16); break;
    case SIM_WALL_JUMP: n->wall_offset_ms = (int64_t)(f->pick % 10000000) - 5000000; break;
    default: break;
    }
}

void sim_fault_begin(struct sim *s, uint32_t fault)
{
    const struct sim_fault *f = &s->plan.faults[fault];
    struct sim_node *n = is_of_nobody(f->kind) ? NULL : target(s, f->pick);
    if (s->calm || (!n && !is_of_nobody(f->kind)))
        return;
    s->result->faults[f->kind]++;
    sim_note(s, n ? n->id : 0, "fault %u: %s, for %" PRIu64 " ms", fault, sim_fault_word(f->kind),
             f->for_us / 1000);
    if (n)
        of_one(s, f, n);
    else
        of_nobody(s, f);
    if (n && (f->kind == SIM_DISK_FULL || f->kind == SIM_FLUSH_ERROR))
        sim_push(s, s->now_us + f->for_us, SIM_FAULT_END, fault, n->id);
}

/* Of those that do not end by a time of their own; `generation` of the event is the node. */
void sim_fault_end(struct sim *s, uint32_t fault, raft_id id)
{
    const struct sim_fault *f = &s->plan.faults[fault];
    struct sim_node *n = &s->nodes[id];
    if (f->kind == SIM_DISK_FULL)
        n->disk_full = false;
    else
        n->flush_breaks = false;
}

void sim_faults_make(struct sim *s)
{
    for (uint32_t i = 0; i < s->plan.fault_count; i++)
        if (!s->setup.fewer_faults || s->setup.faults_kept >> i & 1)
            sim_push(s, s->plan.faults[i].at_us, SIM_FAULT, i, 0);
}

/* ---- no more of them ---- */

void sim_heal_node(struct sim_node *n)
{
    struct sim *s = n->sim;
    memset(n->cut_until_us, 0, sizeof(n->cut_until_us));
    memset(n->clog_until_us, 0, sizeof(n->clog_until_us));
    n->slow_until_us = n->flap_until_us = 0;
    n->disk_stalled_until_us = n->disk_slow_until_us = n->state_stalled_until_us = 0;
    n->disk_full = n->disk_breaks = n->flush_breaks = false;
    n->paused_until_us = 0;
    if (!n->carry)
        sim_node_start(n);
    if (!n->carry)
        return;
    for (int due = SIM_DUE_DISK; due <= SIM_DUE_STATE; due++)
        if (n->due_us[due] != UINT64_MAX && n->due_us[due] > s->now_us + s->plan.disk_range_us)
            n->due_us[due] = s->now_us + s->plan.disk_range_us;
    sim_node_after(n);
}
