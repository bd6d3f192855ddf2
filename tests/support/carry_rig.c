/* The rig: the life of its nodes, the clock and the clients. See carry_rig.h. */
#include "tests/support/carry_rig.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"

enum { RIG_ROUNDS = 2000, RIG_SPINS = 1000 };

/* ---- answers ---- */

static void io_answer(void *self, struct carry_request *request, const struct carry_answer *a)
{
    struct rig_request *q = (struct rig_request *)request;

    (void)self;
    CHECK_EQ(request->state, CARRY_IDLE);
    CHECK_EQ(q->answers, 0);
    CHECK(request->write || a->outcome == OUTCOME_NONE);
    CHECK(a->code == 0 || !request->write || a->outcome != OUTCOME_NONE);
    q->answers++;
    q->answer = *a;
    if (q->then) {
        q->then(q);
    }
}

/* ---- progress ---- */

void rig_check(struct rig_node *n)
{
    const char *broken = n->carry ? raft_invariant(carry_raft(n->carry)) : NULL;

    if (broken) {
        case_fail("node %d: %s", (int)n->id, broken);
    }
}

static void io_membership(void *self, const struct membership *latest)
{
    struct rig_node *n = self;

    for (uint32_t i = 0; i < latest->configuration.count; i++) {
        raft_id id = latest->addresses[i].id;

        CHECK_EQ(id, latest->configuration.members[i].id);
        if (id < RIG_NODES) {
            n->known[id] = true;
        }
    }
    n->memberships++;
}

static void io_state_changed(void *self)
{
    ((struct rig_node *)self)->state_changes++;
}

static void io_send(void *self, const struct peer_message *m)
{
    struct rig_node *n = self;

    CHECK(!n->installing);           /* the core stands still */
    CHECK(n->known[m->message.to] || /* one that was removed may be sent things still */
          !membership_by_id(carry_membership(n->carry), m->message.to));
    rig_net_send(n, m);
}

static void io_reply(void *self, uint64_t context, const struct raft_message *m)
{
    struct rig_node *n = self;

    CHECK(!n->installing);
    rig_net_reply(n, context, m);
}

void rig_tick(struct rig *r, raft_id id)
{
    carry_tick(r->nodes[id].carry, r->now_us, r->wall_ms + r->now_us / 1000);
    rig_check(&r->nodes[id]);
}

void rig_turn(struct rig *r, raft_id id)
{
    carry_turn(r->nodes[id].carry, r->now_us, r->wall_ms + r->now_us / 1000);
    rig_check(&r->nodes[id]);
}

static bool settle_node(struct rig *r, struct rig_node *n)
{
    bool moved = false;

    while (!n->hold.disk && rig_disk_one(r, n->id)) {
        moved = true;
    }
    while (!n->hold.log_reads && rig_log_read_one(r, n->id, 0)) {
        moved = true;
    }
    while (!n->hold.machine && rig_evaluate_one(r, n->id)) {
        moved = true;
    }
    while (!n->hold.results && rig_result_one(r, n->id)) {
        moved = true;
    }
    if (n->installing && !n->hold.install) {
        rig_install_done(r, n->id);
        moved = true;
    }
    for (size_t i = 0; !n->hold.snapshots && i < n->sending_count; i++) {
        moved |= rig_snapshot_send(n, i);
    }
    if (!n->hold.turn) {
        rig_turn(r, n->id);
    }
    return moved || (!n->hold.disk && n->write_count > 0) ||
           (!n->hold.machine && n->work_count > 0) || (!n->hold.log_reads && n->log_read_count > 0);
}

void rig_settle(struct rig *r)
{
    bool moved = true;

    for (unsigned rounds = 0; moved; rounds++) {
        moved = false;
        for (raft_id id = 1; id <= r->node_count; id++) {
            if (r->nodes[id].carry && !r->nodes[id].paused) {
                moved |= settle_node(r, &r->nodes[id]);
            }
        }
        moved |= rig_net_settle(r);
        if (rounds == RIG_ROUNDS) {
            case_fail("it does not settle");
            case_abandon();
        }
    }
}

void rig_sleep(struct rig *r, uint64_t us)
{
    r->now_us += us;
}

static bool has_time(const struct rig *r, const struct rig_node *n)
{
    return n->carry && !n->paused && (r->only == 0 || r->only == n->id);
}

static uint64_t next_wake_us(const struct rig *r)
{
    uint64_t wake = UINT64_MAX;

    for (raft_id id = 1; id <= r->node_count; id++) {
        const struct rig_node *n = &r->nodes[id];
        uint64_t at = has_time(r, n) ? carry_wake_us(n->carry) : UINT64_MAX;

        wake = at < wake ? at : wake;
    }
    return wake;
}

void rig_run(struct rig *r, uint64_t us)
{
    uint64_t end = r->now_us + us;
    unsigned spins = 0;

    rig_settle(r);
    for (;;) {
        uint64_t wake = next_wake_us(r);

        if (wake > end) {
            r->now_us = end;
            return;
        }
        spins = wake > r->now_us ? 0 : spins + 1;
        r->now_us = wake > r->now_us ? wake : r->now_us;
        for (raft_id id = 1; id <= r->node_count; id++) {
            if (has_time(r, &r->nodes[id]) && carry_wake_us(r->nodes[id].carry) <= r->now_us) {
                rig_tick(r, id);
            }
        }
        rig_settle(r);
        if (spins == RIG_SPINS) {
            case_fail("a carry wants to be woken without end");
            case_abandon();
        }
    }
}

void rig_elect(struct rig *r, raft_id id)
{
    raft_id only = r->only;

    r->only = id;
    for (int i = 0; i < 100 && !raft_leader_ready(rig_core(r, id)); i++) {
        rig_run(r, RIG_ELECTION / 10);
    }
    r->only = only;
    REQUIRE(raft_leader_ready(rig_core(r, id)));
}

raft_id rig_leader(struct rig *r)
{
    raft_id leader = 0;

    for (raft_id id = 1; id <= r->node_count; id++) {
        const struct rig_node *n = &r->nodes[id];

        if (n->carry && raft_state(carry_raft(n->carry)) == RAFT_LEADER &&
            (leader == 0 ||
             raft_term_current(carry_raft(n->carry)) > raft_term_current(rig_core(r, leader)))) {
            leader = id;
        }
    }
    return leader;
}

/* ---- clients ---- */

static struct rig_request *new_request(struct rig *r, raft_id id, const char *key)
{
    struct rig_request *q = mem_zalloc(sizeof *q);

    q->rig = r;
    q->node = id;
    q->next = r->requests;
    r->requests = q;
    snprintf(q->key, sizeof q->key, "%s", key);
    q->carry.received_us = r->now_us;
    return q;
}

struct rig_request *rig_write(struct rig *r, raft_id id, struct rig_write w)
{
    struct rig_node *n = &r->nodes[id];
    struct rig_request *q = new_request(r, id, w.key);
    struct command command = {
        .op = w.value || w.value_bytes > 0 ? COMMAND_PUT : COMMAND_DELETE,
        .client = slice_str(w.client ? w.client : ""),
        .seq = w.seq,
        .key = slice_str(q->key),
        .value = slice_str(w.value ? w.value : ""),
        .condition = w.condition,
        .expected = w.expected,
    };
    uint8_t *bytes = mem_zalloc(w.value_bytes + 1);

    if (w.value_bytes > 0) {
        command.value = slice_of(bytes, w.value_bytes);
    }
    q->carry.write = true;
    q->carry.deadline_us = r->now_us + (w.timeout_us ? w.timeout_us : RIG_TIMEOUT);
    q->route = carry_route_write(n->carry, command.key.len + command.value.len, w.forwarded,
                                 &q->leader, &q->answer);
    if (q->route == CARRY_HERE) {
        carry_write_request(n->carry, &q->carry, &command, r->now_us);
    } else {
        q->answers++;
    }
    mem_free(bytes);
    return q;
}

struct rig_request *rig_put(struct rig *r, raft_id id, const char *key, const char *value)
{
    return rig_write(r, id, (struct rig_write){.key = key, .value = value});
}

raft_index rig_put_now(struct rig *r, raft_id id, const char *key, const char *value)
{
    struct rig_request *q = rig_put(r, id, key, value);

    rig_settle(r);
    REQUIRE(q->answers == 1 && q->answer.code == 0 && q->answer.result.status == 0);
    return q->answer.result.index;
}

struct rig_request *rig_read(struct rig *r, raft_id id, struct rig_read read)
{
    struct rig_request *q = new_request(r, id, read.key);

    q->carry.mode = read.mode;
    q->carry.min_index = read.min_index;
    q->carry.max_stale_us = read.max_stale_us;
    q->carry.deadline_us = r->now_us + (read.timeout_us ? read.timeout_us : RIG_TIMEOUT);
    carry_read_request(r->nodes[id].carry, &q->carry, r->now_us);
    return q;
}

struct rig_request *rig_get(struct rig *r, raft_id id, const char *key, enum carry_read_mode mode)
{
    return rig_read(r, id, (struct rig_read){.key = key, .mode = mode});
}

/* ---- life ---- */

struct carry_options rig_options(void)
{
    return (struct carry_options){
        .raft =
            {
                .election_timeout_us = RIG_ELECTION,
                .heartbeat_interval_us = RIG_HEARTBEAT,
                .inflight_max = 8,
                .append_entries_max = 1000,
                .clock_drift_ppm = 10000,
            },
        .append_bytes_max = 1 << 20,
        .wire_inflight_max = 8,
        .cache_bytes_max = 1 << 20,
        .pending_writes_max = 1000,
        .pending_bytes_max = 16 << 20,
        .pending_reads_max = 1000,
        .apply_ahead_bytes = 1 << 20,
        .overlay_bytes_max = 64 << 20,
        .trailing_entries = 0,
        .sending_bytes_max = 1 << 20,
    };
}

/* The runs of terms and the memberships of what is on disk. */
static void read_log(const struct rig_node *n, struct raft_run *runs,
                     struct membership *memberships, struct carry_start *start)
{
    for (size_t i = 0; i < n->disk.count; i++) {
        const struct entry *e = n->disk.log[i];

        if (start->run_count == 0 || runs[start->run_count - 1].term != e->term) {
            runs[start->run_count++] = (struct raft_run){.first = e->index, .term = e->term};
        }
        if (e->kind == RAFT_CONFIGURATION) {
            ASSERT(membership_decode(slice_of(e->data, e->size), e->index,
                                     &memberships[start->membership_count++], NULL) == 0);
        }
    }
    start->runs = runs;
    start->memberships = memberships;
}

void rig_start(struct rig *r, raft_id id)
{
    struct rig_node *n = &r->nodes[id];
    struct carry_io io = {
        .self = n,
        .send = io_send,
        .reply = io_reply,
        .answer = io_answer,
        .membership = io_membership,
        .state_changed = io_state_changed,
    };
    struct carry_options options = r->options;
    struct raft_run *runs = mem_calloc(n->disk.count + 1, sizeof *runs);
    struct membership *memberships = mem_calloc(n->disk.count + 1, sizeof *memberships);
    struct carry_start start = {
        .now_us = r->now_us,
        .wall_ms = r->wall_ms,
        .cluster_id = r->cluster_id,
        .term = n->disk.term,
        .vote = n->disk.vote,
        .removed = n->disk.removed,
        .fresh = !n->started,
        .snapshot = n->disk.base,
        .last_index = rig_disk_last(n),
    };

    ASSERT(!n->carry);
    n->started = true;
    rig_state_open(n);
    start.applied = state_applied(n->state);
    start.cluster_time_ms = state_cluster_time_ms(n->state);
    read_log(n, runs, memberships, &start);
    options.raft.id = id;
    options.raft.seed = 1000 + id + r->now_us;
    n->persist_last = 0;
    rig_store_io(&io);
    if (carry_new(&options, &io, &start, &n->carry, NULL) != 0) {
        case_fail("node %d does not start", (int)id);
        case_abandon();
    }
    io_membership(n, carry_membership(n->carry));
    mem_free(runs);
    mem_free(memberships);
    rig_check(n);
}

void rig_stop(struct rig *r, raft_id id)
{
    struct rig_node *n = &r->nodes[id];

    carry_free(n->carry);
    n->carry = NULL;
    rig_store_lose(n);
    n->installing = false;
    state_free(n->state);
    n->state = NULL;
    rig_net_gone(r, id);
}

/* Entry 1 of everybody's log: the first membership. */
static void make_first(struct rig *r, raft_id voters)
{
    struct membership *m = &r->first;

    m->configuration.index = 1;
    m->configuration.count = (uint32_t)voters;
    for (uint32_t i = 0; i < voters; i++) {
        m->configuration.members[i] = (struct raft_member){.id = i + 1, .flags = RAFT_VOTER};
        m->addresses[i].id = i + 1;
        snprintf(m->addresses[i].name, sizeof m->addresses[i].name, "n%u", i + 1);
        snprintf(m->addresses[i].url, sizeof m->addresses[i].url, "http://n%u", i + 1);
    }
    r->cluster_id = membership_cluster_id(m);
}

static void make_node(struct rig *r, raft_id id, bool member)
{
    struct rig_node *n = &r->nodes[id];
    struct buf b;

    n->id = id;
    n->rig = r;
    n->map = base_map_new();
    n->disk.log = mem_calloc(RIG_LOG, sizeof(struct entry *));
    if (!member) {
        return;
    }
    buf_init(&b, LIMIT_ENTRY_BYTES);
    membership_encode(&r->first, &b);
    n->disk.log[0] = entry_new(RAFT_CONFIGURATION, b.data, b.len);
    entry_place(n->disk.log[0], 1, 1);
    n->disk.count = 1;
    n->disk.term = 1;
    buf_release(&b);
}

struct rig *rig_new(struct rig_plan plan)
{
    struct rig *r = mem_zalloc(sizeof *r);
    raft_id voters = plan.voters ? plan.voters : 3;

    r->now_us = RIG_START;
    r->wall_ms = 1700000000000;
    r->options = plan.options ? *plan.options : rig_options();
    r->node_count = voters + plan.spares;
    ASSERT(r->node_count < RIG_NODES);
    make_first(r, voters);
    for (raft_id id = 1; id <= r->node_count; id++) {
        make_node(r, id, id <= voters);
        r->nodes[id].played = plan.alone && id > 1;
        if (id <= voters && !r->nodes[id].played) {
            rig_start(r, id);
        }
    }
    return r;
}

static void free_node(struct rig *r, struct rig_node *n)
{
    if (n->carry) {
        rig_stop(r, n->id);
    }
    rig_disk_truncate(n, 0);
    mem_free(n->disk.log);
    base_map_free(n->map);
    for (size_t i = 0; i < sizeof n->received / sizeof n->received[0]; i++) {
        rig_snapshot_free(n->received[i]);
    }
}

void rig_free(struct rig *r)
{
    struct rig_request *q;

    for (raft_id id = 1; id <= r->node_count; id++) {
        free_node(r, &r->nodes[id]);
    }
    rig_forget_all(r);
    while ((q = r->requests) != NULL) {
        r->requests = q->next;
        CHECK_EQ(q->answers, 1);
        mem_free(q);
    }
    mem_free(r);
}

struct carry *rig_carry(struct rig *r, raft_id id)
{
    ASSERT(r->nodes[id].carry);
    return r->nodes[id].carry;
}

const struct raft *rig_core(struct rig *r, raft_id id)
{
    return carry_raft(rig_carry(r, id));
}
