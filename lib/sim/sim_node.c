/*
 * The life of a node, its clock, and what it has to do next.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/sim/sim_internal.h"

enum { SIM_WALL_MS = 1 << 30, SIM_SECOND_US = 1000000, SIM_MILLION = 1000000 };

/* ---- its clock ---- */

/* Ticks of a microsecond in a second. */
static uint64_t clock_rate(const struct sim_node *n)
{
    int64_t rate = SIM_MILLION + (int64_t)n->clock_ppm;
    return (uint64_t)rate;
}

uint64_t sim_clock(const struct sim_node *n)
{
    return n->clock_base_us + (n->sim->now_us - n->clock_since_us) * clock_rate(n) / SIM_MILLION;
}

uint64_t sim_wall_ms(const struct sim_node *n)
{
    return (uint64_t)((int64_t)(SIM_WALL_MS + n->sim->now_us / 1000) + n->wall_offset_ms);
}

/* The first global time at which its clock shows at least so much. */
static uint64_t global_time(const struct sim_node *n, uint64_t local_us)
{
    uint64_t rate = clock_rate(n);
    if (local_us <= sim_clock(n))
        return n->sim->now_us;
    if (local_us - n->clock_base_us > UINT64_MAX / SIM_MILLION / 2)
        return UINT64_MAX;
    return n->clock_since_us + ((local_us - n->clock_base_us) * SIM_MILLION + rate - 1) / rate;
}

/* ---- what is due ---- */

bool sim_runs(const struct sim_node *n)
{
    return n->carry && n->paused_until_us <= n->sim->now_us;
}

static void find_next(struct sim_node *n)
{
    uint64_t next_us = UINT64_MAX;
    for (int i = 0; i < SIM_DUES; i++)
        next_us = n->due_us[i] < next_us ? n->due_us[i] : next_us;
    if (next_us != UINT64_MAX && next_us < n->paused_until_us)
        next_us = n->paused_until_us;
    n->next_us = next_us;
}

void sim_node_due(struct sim_node *n, enum sim_due due, uint64_t at_us)
{
    n->due_us[due] = at_us;
    find_next(n);
}

void sim_node_after(struct sim_node *n)
{
    struct sim *s = n->sim;
    if (!n->carry)
        return;
    uint64_t wake_us = carry_wake_us(n->carry);
    n->due_us[SIM_DUE_WAKE] = wake_us == UINT64_MAX ? UINT64_MAX : global_time(n, wake_us);
    if (wake_us == 0 && n->due_us[SIM_DUE_TURN] == UINT64_MAX) /* what waits for a turn */
        n->due_us[SIM_DUE_TURN] = s->now_us + sim_draw(&s->state, 0, s->plan.turn_range_us);
    if (wake_us == 0)
        n->due_us[SIM_DUE_WAKE] = n->due_us[SIM_DUE_TURN];
    sim_snapshot_look(n);
    find_next(n);
}

static void turn(struct sim_node *n)
{
    n->due_us[SIM_DUE_TURN] = UINT64_MAX;
    carry_turn(n->carry, sim_clock(n), sim_wall_ms(n));
}

static void second_passed(struct sim_node *n)
{
    n->due_us[SIM_DUE_SECOND] = n->sim->now_us + SIM_SECOND_US;
    carry_disk_low(n->carry, n->disk_full, sim_clock(n));
    if (raft_leader_ready(carry_raft(n->carry)) && !carry_installing(n->carry))
        sim_state_expired(n);
}

void sim_node_next(struct sim_node *n)
{
    struct sim *s = n->sim;
    int due = 0;
    for (int i = 1; i < SIM_DUES; i++)
        if (n->due_us[i] < n->due_us[due])
            due = i;
    ASSERT(n->carry && n->due_us[due] <= s->now_us);
    if (due != SIM_DUE_WAKE && due != SIM_DUE_TURN)
        n->due_us[due] = UINT64_MAX;
    switch ((enum sim_due)due) {
    case SIM_DUE_WAKE: /* the loop turns whenever it woke up */
        carry_tick(n->carry, sim_clock(n), sim_wall_ms(n));
        turn(n);
        break;
    case SIM_DUE_TURN: turn(n); break;
    case SIM_DUE_DISK: sim_disk_done(n); break;
    case SIM_DUE_LOG_READ: sim_disk_read_done(n); break;
    case SIM_DUE_STATE: sim_state_evaluate(n); break;
    case SIM_DUE_RESULTS: sim_state_results(n); break;
    case SIM_DUE_FLUSH: sim_state_flush(n); break;
    case SIM_DUE_CHECKPOINT: sim_state_checkpoint(n); break;
    case SIM_DUE_INSTALL: sim_snapshot_installed(n); break;
    case SIM_DUE_SECOND: second_passed(n); break;
    case SIM_DUES: break;
    }
    sim_node_after(n);
    if (!n->carry)
        find_next(n);
}

/* ---- its carry ---- */

static void note_membership(void *self, const struct membership *latest)
{
    struct sim_node *n = self;
    n->sim->result->changes += latest->configuration.index > 1;
}

static void note_state(void *self)
{
    (void)self;
}

static struct carry_options carry_limits(const struct sim_node *n)
{
    const struct sim_plan *p = &n->sim->plan;
    return (struct carry_options){
        .raft =
            {
                .id = n->id,
                .election_timeout_us = p->election_us,
                .heartbeat_interval_us = p->heartbeat_us,
                .inflight_max = p->inflight,
                .append_entries_max = p->append_entries,
                .uncommitted_max = p->uncommitted,
                .clock_drift_ppm = 2 * p->drift_ppm + 1000,
                .seed = n->sim->setup.seed * 1000 + n->id * 100000007 + n->life,
            },
        .append_bytes_max = p->append_bytes,
        .wire_inflight_max = p->wire_inflight,
        .cache_bytes_max = p->cache_bytes,
        .pending_writes_max = p->pending_writes,
        .pending_bytes_max = 1 << 20,
        .pending_reads_max = p->pending_reads,
        .apply_ahead_bytes = p->apply_ahead_bytes,
        .overlay_bytes_max = 1 << 20,
        .trailing_entries = p->trailing,
        .sending_bytes_max = p->sending_bytes,
        .session_ttl_ms = p->session_ttl_ms,
    };
}

/* The runs of terms and the memberships of what is on disk. */
static void read_log(const struct sim_node *n, struct raft_run *runs,
                     struct membership *memberships, struct carry_start *start)
{
    for (size_t i = 0; i < n->disk.count; i++) {
        const struct entry *e = n->disk.log[i];
        if (start->run_count == 0 || runs[start->run_count - 1].term != e->term)
            runs[start->run_count++] = (struct raft_run){.first = e->index, .term = e->term};
        if (e->kind == RAFT_CONFIGURATION)
            ASSERT(membership_decode(slice_of(e->data, e->size), e->index,
                                     &memberships[start->membership_count++], NULL) == 0);
    }
    start->runs = runs;
    start->memberships = memberships;
}

static size_t configuration_count(const struct sim_node *n)
{
    size_t count = 0;
    for (size_t i = 0; i < n->disk.count; i++)
        count += n->disk.log[i]->kind == RAFT_CONFIGURATION;
    return count;
}

static int new_carry(struct sim_node *n, const struct carry_start *start, struct err *err)
{
    struct carry_io io = {
        .self = n,
        .persist = sim_disk_persist,
        .apply = sim_state_apply,
        .read = sim_state_read,
        .log_read = sim_disk_log_read,
        .send = sim_net_send,
        .reply = sim_net_reply,
        .answer = sim_client_answer,
        .compact = sim_disk_compact,
        .snapshot_send = sim_snapshot_send,
        .install = sim_snapshot_install,
        .membership = note_membership,
        .state_changed = note_state,
        .stepped = sim_check_stepped,
    };
    struct carry_options options = carry_limits(n);
    return carry_new(&options, &io, start, &n->carry, err);
}

void sim_node_start(struct sim_node *n)
{
    struct sim *s = n->sim;
    struct err err = {0};
    struct raft_run *runs = mem_calloc(n->disk.count + 1, sizeof(*runs));
    struct membership *memberships = mem_calloc(configuration_count(n) + 1, sizeof(*memberships));
    if (n->wiped || n->carry) {
        mem_free(runs);
        mem_free(memberships);
        return;
    }
    n->life++;
    sim_note(s, n->id, "starts");
    sim_state_open(n);
    struct carry_start start = {
        .now_us = sim_clock(n),
        .wall_ms = sim_wall_ms(n),
        .cluster_id = s->cluster_id,
        .term = n->disk.term,
        .vote = n->disk.vote,
        .removed = n->disk.removed,
        .fresh = !n->started,
        .snapshot = n->disk.base,
        .last_index = sim_disk_last(n),
        .applied = state_applied(n->state),
        .cluster_time_ms = state_cluster_time_ms(n->state),
        .applied_membership = state_membership(n->state),
    };
    read_log(n, runs, memberships, &start);
    if (start.applied < start.snapshot.index)
        sim_violated(
            s, "n%" PRIu64 " starts with a log from %" PRIu64 ", and a state at %" PRIu64 " only",
            n->id, start.snapshot.index, start.applied);
    n->started = true;
    n->paused_until_us = 0;
    n->trace_read = 0;
    if (new_carry(n, &start, &err) != 0)
        sim_violated(s, "n%" PRIu64 " does not start: %s", n->id, err.text);
    mem_free(runs);
    mem_free(memberships);
    sim_check_started(n);
    n->due_us[SIM_DUE_FLUSH] = s->now_us + s->plan.flush_us;
    n->due_us[SIM_DUE_SECOND] = s->now_us + prng_below(&s->state, SIM_SECOND_US);
    sim_node_after(n);
}

/* Without power, what was not synced is gone, and the clock begins again. */
void sim_node_kill(struct sim_node *n, bool power)
{
    struct sim *s = n->sim;
    if (!n->carry)
        return;
    sim_note(s, n->id, power ? "loses its power" : "is killed");
    n->life++;
    n->dying = true;
    carry_free(n->carry);
    n->carry = NULL;
    sim_snapshot_crash(n);
    sim_disk_crash(n);
    sim_state_crash(n, power);
    sim_net_crash(n);
    n->dying = false;
    for (int i = 0; i < SIM_DUES; i++)
        n->due_us[i] = UINT64_MAX;
    n->next_us = UINT64_MAX;
    n->paused_until_us = 0;
    if (power) {
        n->clock_since_us = s->now_us;
        n->clock_base_us = sim_draw(&s->clock, 1000000, 100000000);
    }
}

/* ---- all of them ---- */

struct sim_node *sim_node_new(struct sim *s)
{
    if (s->node_count == SIM_NODES_MAX)
        return NULL;
    struct sim_node *n = &s->nodes[++s->node_count];
    n->id = s->node_count;
    n->sim = s;
    n->before = mem_zalloc(raft_size());
    n->map = base_map_new();
    if (s->plan.power_fails)
        n->synced = base_map_new();
    n->clock_since_us = s->now_us;
    n->clock_base_us = sim_draw(&s->clock, 1000000, 1000000000);
    if (sim_has(s, SIM_WITH_DRIFT)) {
        n->clock_ppm = (int32_t)prng_below(&s->clock, 2 * s->plan.drift_ppm + 1);
        n->clock_ppm -= (int32_t)s->plan.drift_ppm;
        n->wall_offset_ms = (int64_t)prng_below(&s->clock, 100000) - 50000;
    }
    for (int i = 0; i < SIM_DUES; i++)
        n->due_us[i] = UINT64_MAX;
    n->next_us = UINT64_MAX;
    return n;
}

/* Entry 1 of everybody's log: the first membership. */
static struct entry *first_entry(struct sim *s)
{
    struct membership *m = &s->first;
    struct entry *e;
    struct buf b;
    m->configuration.index = 1;
    m->configuration.count = s->plan.voters;
    for (uint32_t i = 0; i < s->plan.voters; i++) {
        m->configuration.members[i] = (struct raft_member){.id = i + 1, .flags = RAFT_VOTER};
        m->addresses[i].id = i + 1;
        snprintf(m->addresses[i].name, sizeof(m->addresses[i].name), "n%u", i + 1);
        snprintf(m->addresses[i].url, sizeof(m->addresses[i].url), "http://n%u", i + 1);
    }
    s->cluster_id = membership_cluster_id(m);
    buf_init(&b, LIMIT_ENTRY_BYTES);
    membership_encode(m, &b);
    e = entry_new(RAFT_CONFIGURATION, b.data, b.len);
    entry_place(e, 1, 1);
    buf_release(&b);
    return e;
}

void sim_nodes_make(struct sim *s)
{
    struct entry *first = first_entry(s);
    for (uint32_t i = 0; i < s->plan.voters; i++) {
        struct sim_node *n = sim_node_new(s);
        n->disk.term = 1;
        sim_disk_put(n, first);
        sim_node_start(n);
    }
    entry_unref(first);
}

void sim_nodes_free(struct sim *s)
{
    for (uint32_t i = 1; i <= s->node_count; i++) {
        struct sim_node *n = &s->nodes[i];
        sim_node_kill(n, false);
        sim_disk_free(n);
        sim_state_free(n);
        mem_free(n->before);
    }
}

raft_id sim_leader(const struct sim *s)
{
    raft_id leader = 0;
    raft_term term = 0;
    for (uint32_t i = 1; i <= s->node_count; i++) {
        const struct raft *r = s->nodes[i].carry ? carry_raft(s->nodes[i].carry) : NULL;
        if (r && raft_state(r) == RAFT_LEADER && raft_term_current(r) > term) {
            leader = i;
            term = raft_term_current(r);
        }
    }
    return leader;
}

bool sim_is_deposed(const struct sim *s, const struct raft *leader)
{
    for (uint32_t i = 1; i <= s->node_count; i++)
        if (s->nodes[i].disk.term > raft_term_current(leader))
            return true;
    return false;
}

raft_id sim_any(struct sim *s, struct prng *p)
{
    raft_id up[SIM_NODES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 1; i <= s->node_count; i++)
        if (s->nodes[i].carry)
            up[count++] = i;
    uint64_t pick = prng_next(p);
    return count > 0 ? up[pick % count] : 0;
}
