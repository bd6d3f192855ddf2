/* The rig: disks, state machines, snapshots, clients and the clock. See carry_rig.h. */
#include "tests/support/carry_rig.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"

enum { RIG_ROUNDS = 2000, RIG_SPINS = 1000 };

/* ---- the disk ---- */

raft_index rig_disk_last(const struct rig_node *n)
{
    return n->disk.base.index + n->disk.count;
}

const struct entry *rig_disk_entry(const struct rig_node *n, raft_index index)
{
    return index > n->disk.base.index && index <= rig_disk_last(n)
               ? n->disk.log[index - n->disk.base.index - 1]
               : NULL;
}

static void disk_truncate(struct rig_node *n, raft_index from)
{
    while (rig_disk_last(n) >= from && n->disk.count > 0) {
        entry_unref(n->disk.log[--n->disk.count]);
    }
}

static void disk_cut(struct rig_node *n, raft_index index)
{
    size_t gone = (size_t)(index - n->disk.base.index);

    gone = gone < n->disk.count ? gone : n->disk.count;
    for (size_t i = 0; i < gone; i++) {
        entry_unref(n->disk.log[i]);
    }
    n->disk.count -= gone;
    memmove(n->disk.log, n->disk.log + gone, n->disk.count * sizeof(struct entry *));
}

static void write_free(struct carry_write *w)
{
    for (size_t i = 0; i < w->entry_count; i++) {
        entry_unref(w->entries[i]);
    }
    mem_free(w->entries);
    mem_free(w);
}

static void disk_write(struct rig_node *n, const struct carry_write *w)
{
    if (w->hard_state) {
        CHECK(w->term >= n->disk.term);
        CHECK(w->term > n->disk.term || n->disk.vote == 0 || n->disk.vote == w->vote);
        n->disk.term = w->term;
        n->disk.vote = w->vote;
    }
    if (w->truncate_from > 0) {
        CHECK(w->truncate_from > n->disk.base.index);
        disk_truncate(n, w->truncate_from);
    }
    for (size_t i = 0; i < w->entry_count; i++) {
        ASSERT(n->disk.count < RIG_LOG);
        CHECK_EQ(w->entries[i]->index, rig_disk_last(n) + 1);
        n->disk.log[n->disk.count++] = entry_ref(w->entries[i]);
    }
}

static void io_persist(void *self, struct carry_write *w)
{
    struct rig_node *n = self;

    CHECK(!n->installing);
    CHECK(w->persist > n->persist_last);
    ASSERT(n->write_count < RIG_QUEUE);
    n->persist_last = w->persist;
    n->writes[n->write_count++] = w;
}

bool rig_disk_one(struct rig *r, raft_id id)
{
    struct rig_node *n = &r->nodes[id];
    struct carry_write *w;
    uint64_t persist;

    if (n->write_count == 0) {
        return false;
    }
    w = n->writes[0];
    memmove(&n->writes[0], &n->writes[1], --n->write_count * sizeof n->writes[0]);
    disk_write(n, w);
    persist = w->persist;
    write_free(w);
    carry_persisted(n->carry, persist, r->now_us);
    rig_check(n);
    return true;
}

static void io_log_read(void *self, uint64_t id, raft_index first, raft_index last,
                        uint64_t bytes_max)
{
    struct rig_node *n = self;

    CHECK(!n->installing);
    ASSERT(n->log_read_count < sizeof n->log_reads / sizeof n->log_reads[0]);
    n->log_reads[n->log_read_count++] = (struct rig_log_read){id, first, last, bytes_max};
    n->log_reads_asked++;
}

static size_t disk_read(const struct rig_node *n, const struct rig_log_read *read,
                        struct entry ***entries)
{
    raft_index last = read->last < rig_disk_last(n) ? read->last : rig_disk_last(n);
    uint64_t bytes = 0;
    size_t count = 0;

    *entries = mem_calloc((size_t)(last - read->first + 1), sizeof(struct entry *));
    for (raft_index i = read->first; i <= last; i++) {
        struct entry *e = n->disk.log[i - n->disk.base.index - 1];

        bytes += e->size;
        if (count > 0 && bytes > read->bytes_max) {
            break;
        }
        (*entries)[count++] = entry_ref(e);
    }
    return count;
}

bool rig_log_read_one(struct rig *r, raft_id id, int code)
{
    struct rig_node *n = &r->nodes[id];
    struct rig_log_read read;
    struct entry **entries = NULL;
    size_t count = 0;

    if (n->log_read_count == 0) {
        return false;
    }
    read = n->log_reads[0];
    memmove(&n->log_reads[0], &n->log_reads[1], --n->log_read_count * sizeof n->log_reads[0]);
    if (code == 0 && read.first <= n->disk.base.index) {
        code = ERR_NOT_FOUND;
    } else if (code == 0 && read.first > rig_disk_last(n)) {
        code = ERR_AGAIN;
    } else if (code == 0) {
        count = disk_read(n, &read, &entries);
    }
    carry_log_read(n->carry, read.id, code, entries, count, r->now_us);
    rig_check(n);
    return true;
}

static void io_compact(void *self, raft_index index, raft_term term, const struct membership *m)
{
    struct rig_node *n = self;

    CHECK(!n->installing);
    CHECK(index <= rig_disk_last(n) && index > n->disk.base.index);
    CHECK(index <= base_map_applied(n->map)); /* else a crash loses what the log alone has */
    CHECK(rig_disk_entry(n, index) && rig_disk_entry(n, index)->term == term);
    CHECK(m->configuration.index <= index);
    disk_cut(n, index);
    n->disk.base = (struct snapshot_cut){.index = index, .term = term, .membership = *m};
    n->compactions++;
    n->compacted = index;
}

/* ---- the state machine ---- */

static void note_applied(struct rig_node *n, const struct entry *e)
{
    struct rig *r = n->rig;

    ASSERT(e->index < RIG_LOG);
    if (r->applied[e->index].term == 0) {
        r->applied[e->index].term = e->term;
        r->applied[e->index].crc = e->crc;
    }
    CHECK_EQ(r->applied[e->index].term, e->term);
    CHECK_EQ(r->applied[e->index].crc, e->crc);
}

/* The bound of every node, the leader included: min(commit, durable). */
static void io_apply(void *self, struct entry **entries, size_t count)
{
    struct rig_node *n = self;
    struct rig_work *w;

    CHECK(!n->installing);
    ASSERT(count > 0 && n->work_count < RIG_QUEUE);
    for (size_t i = 0; i < count; i++) {
        const struct entry *on_disk = rig_disk_entry(n, entries[i]->index);

        CHECK_EQ(entries[i]->index, n->handed + 1);
        CHECK(entries[i]->index <= raft_commit_index(carry_raft(n->carry)));
        CHECK(on_disk && on_disk->term == entries[i]->term);
        note_applied(n, entries[i]);
        n->handed++;
    }
    w = &n->works[n->work_count++];
    memset(w, 0, sizeof *w);
    w->entries = mem_dup(entries, count * sizeof(struct entry *));
    w->count = count;
}

static void io_read(void *self, struct carry_request *request)
{
    struct rig_node *n = self;

    CHECK(!n->installing);
    CHECK(!request->write && request->index <= n->handed);
    ASSERT(n->work_count < RIG_QUEUE);
    n->works[n->work_count++] = (struct rig_work){.read = (struct rig_request *)request};
}

static void evaluate_read(struct rig_node *n, struct rig_request *q)
{
    struct row row;

    q->evaluations++;
    q->at = state_applied(n->state);
    q->code = state_get(n->state, slice_str(q->key), &row, NULL);
    q->version = q->code == 0 ? row.version : 0;
    snprintf(q->value, sizeof q->value, "%.*s", q->code == 0 ? (int)row.value.len : 0,
             q->code == 0 ? (const char *)row.value.data : "");
}

static void evaluate_apply(struct rig_node *n, struct rig_work *w)
{
    w->results = mem_calloc(w->count, sizeof *w->results);
    for (size_t i = 0; i < w->count; i++) {
        struct entry *e = w->entries[i];

        if (state_apply(n->state, e, &w->results[i].result, NULL) != 0) {
            case_fail("node %d: entry %llu is not applied", (int)n->id,
                      (unsigned long long)e->index);
        }
        w->results[i].term = e->term;
        w->results[i].bytes = e->size;
        w->results[i].cluster_time_ms = state_cluster_time_ms(n->state);
        entry_unref(e);
    }
    mem_free(w->entries);
    w->entries = NULL;
}

bool rig_evaluate_one(struct rig *r, raft_id id)
{
    struct rig_node *n = &r->nodes[id];
    struct rig_work w;

    if (n->work_count == 0) {
        return false;
    }
    w = n->works[0];
    memmove(&n->works[0], &n->works[1], --n->work_count * sizeof n->works[0]);
    if (w.read) {
        evaluate_read(n, w.read);
    } else {
        evaluate_apply(n, &w);
    }
    n->done[n->done_count++] = w;
    return true;
}

bool rig_result_one(struct rig *r, raft_id id)
{
    struct rig_node *n = &r->nodes[id];
    struct rig_work w;

    if (n->done_count == 0) {
        return false;
    }
    w = n->done[0];
    memmove(&n->done[0], &n->done[1], --n->done_count * sizeof n->done[0]);
    if (!w.read) {
        carry_applied(n->carry, w.results, w.count, r->now_us);
        mem_free(w.results);
    } else if (carry_read_done(n->carry, &w.read->carry, r->now_us)) {
        w.read->served = true;
        w.read->answers++;
    }
    rig_check(n);
    return true;
}

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

/* ---- snapshots ---- */

static void flush(struct rig_node *n)
{
    const struct memtable *m;

    while ((m = state_freeze(n->state)) != NULL) {
        base_map_flush(n->map, m);
        state_flushed(n->state, m);
    }
}

void rig_checkpoint(struct rig *r, raft_id id)
{
    struct rig_node *n = &r->nodes[id];

    flush(n);
    carry_checkpointed(n->carry, base_map_applied(n->map), r->now_us);
    rig_check(n);
}

struct rig_snapshot *rig_snapshot_take(struct rig *r, raft_id id)
{
    struct rig_node *n = &r->nodes[id];
    struct rig_snapshot *s = mem_zalloc(sizeof *s);
    struct state_image image;

    flush(n);
    s->map = base_map_clone(n->map);
    base_map_image(s->map, &image);
    s->cut.index = image.applied;
    s->cut.term = image.applied_term;
    s->cut.membership = image.membership;
    return s;
}

struct rig_snapshot *rig_snapshot_copy(const struct rig_snapshot *s)
{
    struct rig_snapshot *copy = mem_dup(s, sizeof *s);

    copy->map = base_map_clone(s->map);
    return copy;
}

void rig_snapshot_free(struct rig_snapshot *s)
{
    if (s) {
        base_map_free(s->map);
        mem_free(s);
    }
}

int rig_snapshot_give(struct rig *r, raft_id to, struct rig_snapshot *s)
{
    struct rig_node *n = &r->nodes[to];
    int code;

    ASSERT(n->generation + 1 < sizeof n->received / sizeof n->received[0]);
    rig_snapshot_free(n->received[n->generation + 1]);
    n->received[n->generation + 1] = s;
    code = carry_snapshot_received(n->carry, n->generation + 1, &s->cut, r->now_us);
    rig_check(n);
    return code;
}

static void io_snapshot_send(void *self, raft_id peer, raft_index index)
{
    struct rig_node *n = self;

    for (size_t i = 0; i < n->sending_count; i++) {
        if (n->sendings[i].to == peer) {
            return;
        }
    }
    n->snapshots_asked++;
    n->sendings[n->sending_count++] = (struct rig_sending){.to = peer, .wanted = index};
}

static void io_install(void *self, uint64_t generation, const struct snapshot_cut *cut)
{
    struct rig_node *n = self;

    CHECK(!n->installing);
    CHECK_EQ(n->write_count, 0); /* nothing is on its way any more */
    for (size_t i = 0; i < n->work_count; i++) {
        CHECK(n->works[i].read);
    }
    for (size_t i = 0; i < n->done_count; i++) {
        CHECK(n->done[i].read);
    }
    CHECK_EQ(generation, n->generation + 1);
    n->installing = true;
    n->install_cut = *cut;
}

static void open_state(struct rig_node *n)
{
    struct state_options options = {
        .memtable_rows_max = 1000,
        .memtable_bytes_max = 64 << 20,
        .sessions_max = 1000,
        .session_ttl_ms = 3600000,
    };
    struct state_image image;

    state_free(n->state);
    base_map_image(n->map, &image);
    n->state = state_new(&options, base_map_base(n->map), &image);
    n->handed = image.applied;
}

void rig_install_done(struct rig *r, raft_id id)
{
    struct rig_node *n = &r->nodes[id];
    raft_index index = n->install_cut.index;
    const struct entry *ours = rig_disk_entry(n, index);
    bool kept = ours && ours->term == n->install_cut.term;

    ASSERT(n->installing);
    while (rig_evaluate_one(r, id)) { /* reads that were asked before */
    }
    n->installing = false;
    n->generation++;
    n->installs++;
    base_map_free(n->map);
    n->map = base_map_clone(n->received[n->generation]->map);
    open_state(n);
    disk_cut(n, kept ? index : rig_disk_last(n));
    n->disk.base = n->install_cut;
    carry_installed(n->carry, kept, r->now_us);
    rig_check(n);
}

static void sending_end(struct rig_node *n, size_t i, bool ok)
{
    struct rig_sending s = n->sendings[i];

    n->sendings[i] = n->sendings[--n->sending_count];
    carry_snapshot_sent(n->carry, s.to, ok, s.copy ? s.copy->cut.index : 0, n->rig->now_us);
    rig_snapshot_free(s.copy);
    rig_check(n);
}

/* One that is asked for is taken and given at once. */
static bool send_snapshot(struct rig_node *n, size_t i)
{
    struct rig *r = n->rig;
    struct rig_sending *s = &n->sendings[i];
    struct rig_node *to = &r->nodes[s->to];
    int code;

    if (s->given) {
        if (to->carry && carry_installing(to->carry)) {
            return false;
        }
        sending_end(n, i,
                    to->carry && raft_commit_index(carry_raft(to->carry)) >= s->copy->cut.index);
        return true;
    }
    if (!to->carry || to->paused || r->cut[n->id][s->to]) {
        sending_end(n, i, false);
        return true;
    }
    s->copy = rig_snapshot_take(r, n->id);
    CHECK(s->copy->cut.index >= s->wanted);
    carry_snapshot_sending(n->carry, s->to, s->copy->cut.index);
    code = carry_snapshot_wanted(to->carry, n->id, raft_term_current(carry_raft(n->carry)),
                                 s->copy->cut.index);
    code = code ? code : rig_snapshot_give(r, s->to, rig_snapshot_copy(s->copy));
    s->given = code == 0;
    if (code != 0) {
        sending_end(n, i, code == ERR_NOT_FOUND);
    }
    return true;
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
        CHECK_EQ(latest->addresses[i].id, latest->configuration.members[i].id);
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

    CHECK(!n->installing); /* the core stands still */
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
        moved |= send_snapshot(n, i);
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
        .persist = io_persist,
        .apply = io_apply,
        .read = io_read,
        .log_read = io_log_read,
        .send = io_send,
        .reply = io_reply,
        .answer = io_answer,
        .compact = io_compact,
        .snapshot_send = io_snapshot_send,
        .install = io_install,
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
        .fresh = !n->started,
        .snapshot = n->disk.base,
        .last_index = rig_disk_last(n),
    };

    ASSERT(!n->carry);
    n->started = true;
    open_state(n);
    start.applied = state_applied(n->state);
    start.cluster_time_ms = state_cluster_time_ms(n->state);
    read_log(n, runs, memberships, &start);
    options.raft.id = id;
    options.raft.seed = 1000 + id + r->now_us;
    n->persist_last = 0;
    if (carry_new(&options, &io, &start, &n->carry, NULL) != 0) {
        case_fail("node %d does not start", (int)id);
        case_abandon();
    }
    mem_free(runs);
    mem_free(memberships);
    rig_check(n);
}

static void drop_work(struct rig_work *w)
{
    for (size_t i = 0; w->entries && i < w->count; i++) {
        entry_unref(w->entries[i]);
    }
    mem_free(w->entries);
    mem_free(w->results);
    if (w->read) {
        w->read->answers++; /* the connection is gone */
    }
}

void rig_stop(struct rig *r, raft_id id)
{
    struct rig_node *n = &r->nodes[id];

    carry_free(n->carry);
    n->carry = NULL;
    for (size_t i = 0; i < n->write_count; i++) {
        write_free(n->writes[i]);
    }
    for (size_t i = 0; i < n->work_count; i++) {
        drop_work(&n->works[i]);
    }
    for (size_t i = 0; i < n->done_count; i++) {
        drop_work(&n->done[i]);
    }
    for (size_t i = 0; i < n->sending_count; i++) {
        rig_snapshot_free(n->sendings[i].copy);
    }
    n->write_count = n->work_count = n->done_count = n->sending_count = n->log_read_count = 0;
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
    disk_truncate(n, 0);
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
