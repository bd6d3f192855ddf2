/*
 * What the state machine must say, and what clients may be told. The committed log is applied here
 * once more, by the simplest means and none of lib/kv's: every node must come to the same results,
 * rows and sessions, and every client must be told them.
 *
 * Linearizability comes with it. The log is the order: a write stands at its index, a read at the
 * index that its node had applied. What is left to check is that values are those of the order, and
 * that the order respects time: what was asked after something was told stands behind it. So there
 * is one number to keep, the highest index that anybody was told something of.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/sim/sim_internal.h"
#include "lib/store/kv_store.h"

/* ---- records, sessions ---- */

uint64_t sim_model_record(struct sim *s, const struct sim_record *r)
{
    struct sim_model *m = &s->model;
    size_t room = m->records_room;
    m->records = sim_room(m->records, &room, ++m->record_count + 1, sizeof(*r));
    m->records_room = room;
    m->records[m->record_count] = *r;
    return m->record_count;
}

uint32_t sim_model_session(struct sim *s)
{
    struct sim_model *m = &s->model;
    size_t room = m->sessions_room;
    m->sessions = sim_room(m->sessions, &room, ++m->session_count + 1, sizeof(*m->sessions));
    m->sessions_room = (uint32_t)room;
    return m->session_count;
}

static uint32_t session_number(struct sim *s, struct slice client)
{
    char text[COMMAND_CLIENT_BYTES + 1] = "";
    memcpy(text, client.data, client.len);
    unsigned long number = text[0] == 'c' ? strtoul(text + 1, NULL, 10) : 0;
    if (number == 0 || number > s->model.session_count)
        sim_violated(s, "an entry bears a client that does not exist: %s", text);
    return (uint32_t)number;
}

/* The record that a command comes from. */
static uint64_t record_of(struct sim *s, const struct command *c, uint32_t session)
{
    const struct sim_model *m = &s->model;
    uint64_t record = 0;
    struct command_write first = {.op = c->op, .value = c->value};
    struct slice rest = c->writes;
    if (c->op == COMMAND_BATCH)
        command_write_next(&rest, &first);
    if (first.op == COMMAND_PUT && first.value.len >= sizeof(record)) {
        memcpy(&record, first.value.data, sizeof(record));
    } else {
        record = m->record_count;
        while (record > 0 &&
               (m->records[record].kind != SIM_DELETE || m->records[record].session != session ||
                (session > 0 && m->records[record].seq != c->seq)))
            record--;
    }
    if (record == 0 || record > m->record_count)
        sim_violated(s, "an entry bears a value that nobody wrote");
    return record;
}

/* ---- versions of keys ---- */

/* What is in force at `index`; index 0: nothing was there. */
static struct sim_version version_at(const struct sim_versions *v, raft_index index)
{
    size_t i = v->count;
    while (i > 0 && v->items[i - 1].index > index)
        i--;
    return i > 0 ? v->items[i - 1] : (struct sim_version){0};
}

static uint64_t current_version(const struct sim_versions *v)
{
    return v->count > 0 && v->items[v->count - 1].record > 0 ? v->items[v->count - 1].index : 0;
}

static void version_add(struct sim_versions *v, raft_index index, uint64_t record)
{
    v->items = sim_room(v->items, &v->room, v->count + 1, sizeof(v->items[0]));
    v->items[v->count++] = (struct sim_version){.index = index, .record = record};
}

/* ---- applying ---- */

static bool holds(const struct command *c, uint64_t version)
{
    return c->condition == CONDITION_NONE ||
           (c->condition == CONDITION_ABSENT ? version == 0 : version == c->expected);
}

/* Each write of a batch is the one that its record says; all bear the same index. */
static void apply_batch(struct sim *s, const struct command *c, raft_index index, uint64_t record,
                        struct sim_expected *out)
{
    const struct sim_record *r = &s->model.records[record];
    struct slice rest = c->writes;
    struct command_write w;
    uint32_t i = 0;
    for (; command_write_next(&rest, &w); i++) {
        char key[SIM_KEY_BYTES];
        bool deletes = r->deletes >> i & 1;
        sim_key_text(r->key + i, key);
        if (i >= r->span || slice_compare(w.key, slice_str(key)) != 0 ||
            (w.op == COMMAND_DELETE) != deletes)
            sim_violated(s, "entry %" PRIu64 " bears another batch than its client wrote", index);
        struct sim_versions *v = &s->model.keys[r->key + i];
        bool there = current_version(v) > 0;
        if (deletes && there)
            out->batch_existed |= (uint8_t)(1u << i);
        if (!deletes || there)
            version_add(v, index, deletes ? 0 : record);
    }
    if (i != r->span)
        sim_violated(s, "entry %" PRIu64 " bears a part of a batch", index);
    out->version = index;
}

static void apply_write(struct sim *s, const struct command *c, raft_index index, uint64_t record,
                        struct sim_expected *out)
{
    struct sim_record *r = &s->model.records[record];
    struct sim_versions *v = &s->model.keys[r->key];
    uint64_t version = current_version(v);
    if (r->applied > 0 && c->client.len == 0 && r->kind != SIM_DELETE)
        sim_violated(s, "a write is applied twice, at %" PRIu64 " and %" PRIu64, r->applied, index);
    if (r->applied == 0)
        r->applied = index;
    if (c->op == COMMAND_BATCH) {
        apply_batch(s, c, index, record, out);
        return;
    }
    if (!holds(c, version)) {
        out->status = ERR_PRECONDITION_FAILED;
        out->version = version;
        return;
    }
    out->existed = c->op == COMMAND_DELETE && version > 0;
    out->version = index;
    if (c->op == COMMAND_PUT || version > 0)
        version_add(v, index, c->op == COMMAND_PUT ? record : 0);
}

static void apply_in_session(struct sim *s, const struct command *c, raft_index index,
                             uint64_t now_ms, struct sim_expected *out)
{
    uint32_t number = session_number(s, c->client);
    uint64_t record = record_of(s, c, number);
    struct sim_session *known = &s->model.sessions[number];
    if (!known->lives && c->seq > 1) {
        out->status = ERR_SESSION_UNKNOWN;
    } else if (known->lives && c->seq < known->seq) {
        out->status = ERR_SEQ_OLD;
    } else if (known->lives && c->seq == known->seq) {
        out->status = known->result.status;
        out->existed = known->result.existed;
        out->batch_existed = known->result.batch_existed;
        out->version = known->result.version;
        out->replayed = true;
        known->used_ms = now_ms;
    } else {
        if (s->model.records[record].applied > 0)
            sim_violated(
                s, "number %" PRIu64 " of client c%u is applied twice, at %" PRIu64 " and %" PRIu64,
                c->seq, number, s->model.records[record].applied, index);
        apply_write(s, c, index, record, out);
        *known = (struct sim_session){
            .lives = true, .seq = c->seq, .record = record, .used_ms = now_ms, .result = *out};
    }
}

static void expire(struct sim *s, const struct command *c)
{
    for (uint32_t i = 0; i < c->expire_count; i++) {
        struct sim_session *known = &s->model.sessions[session_number(s, c->expire[i])];
        if (known->lives && c->cluster_time_ms > known->used_ms &&
            c->cluster_time_ms - known->used_ms >= s->plan.session_ttl_ms)
            known->lives = false;
    }
}

static void apply_command(struct sim *s, const struct entry *e, struct sim_expected *out)
{
    struct sim_model *m = &s->model;
    struct command c;
    struct err err = {0};
    if (command_decode(slice_of(e->data, e->size), &c, &err) != 0)
        sim_violated(s, "entry %" PRIu64 " cannot be read: %s", e->index, err.text);
    uint64_t now_ms =
        c.cluster_time_ms > m->cluster_time_ms ? c.cluster_time_ms : m->cluster_time_ms;
    if (c.op == COMMAND_EXPIRE_SESSIONS)
        expire(s, &c);
    else if (c.client.len > 0)
        apply_in_session(s, &c, e->index, now_ms, out);
    else
        apply_write(s, &c, e->index, record_of(s, &c, 0), out);
    m->cluster_time_ms = now_ms;
}

void sim_model_apply(struct sim *s, const struct entry *e)
{
    struct sim_model *m = &s->model;
    ASSERT(e->index == m->applied + 1);
    m->results = sim_room(m->results, &m->results_room, e->index + 1, sizeof(m->results[0]));
    struct sim_expected out = {.term = e->term, .crc = e->crc};
    if (e->kind == RAFT_NORMAL)
        apply_command(s, e, &out);
    m->results[e->index] = out;
    m->applied = e->index;
}

static bool result_is(const struct apply_result *r, const struct sim_expected *want)
{
    return r->status == want->status && r->version == want->version &&
           r->existed == want->existed && r->batch_existed[0] == want->batch_existed;
}

void sim_model_result(struct sim_node *n, const struct entry *e, const struct apply_result *r)
{
    struct sim *s = n->sim;
    ASSERT(e->index <= s->model.applied);
    const struct sim_expected *want = &s->model.results[e->index];
    if (r->index != e->index || r->replayed != want->replayed || !result_is(r, want))
        sim_violated(s,
                     "n%" PRIu64 " comes to another result at %" PRIu64 ": %s version %" PRIu64
                     "%s, not %s version %" PRIu64 "%s",
                     n->id, e->index, err_name(r->status), r->version, r->replayed ? " again" : "",
                     err_name(want->status), want->version, want->replayed ? " again" : "");
}

void sim_model_digest(struct sim_node *n, raft_index index, struct digest rows)
{
    struct sim_model *m = &n->sim->model;
    static const struct digest none;
    m->digests = sim_room(m->digests, &m->digests_room, index + 1, sizeof(m->digests[0]));
    if (digest_equal(m->digests[index], none))
        m->digests[index] = rows;
    else if (!digest_equal(m->digests[index], rows))
        sim_violated(n->sim, "n%" PRIu64 " has other rows at %" PRIu64 " than another node", n->id,
                     index);
}

/* ---- what clients are told ---- */

static void note_floor(struct sim *s, raft_index index)
{
    struct sim_model *m = &s->model;
    if (index <= m->floor)
        return;
    m->floor = index;
    m->floors = sim_room(m->floors, &m->floor_room, m->floor_count + 1, sizeof(m->floors[0]));
    m->floors[m->floor_count++] = (struct sim_floor){.at_us = s->now_us, .floor = index};
}

static raft_index floor_at(const struct sim_model *m, uint64_t at_us)
{
    size_t i = m->floor_count;
    while (i > 0 && m->floors[i - 1].at_us > at_us)
        i--;
    return i > 0 ? m->floors[i - 1].floor : 0;
}

static void told_write(struct sim *s, const struct sim_op *op, bool replayed)
{
    const struct sim_record *r = &s->model.records[op->record];
    const struct apply_result *a = &op->answer.result;
    if (r->applied == 0)
        sim_violated(s, "client %u is told of a write that is not committed", r->client);
    const struct sim_expected *want = &s->model.results[r->applied];
    if (!result_is(a, want) || (!replayed && a->index != r->applied))
        sim_violated(s,
                     "client %u is told %s version %" PRIu64 " of entry %" PRIu64
                     ", which says %s version %" PRIu64,
                     r->client, err_name(a->status), a->version, r->applied, err_name(want->status),
                     want->version);
    if (r->applied <= r->floor)
        sim_violated(s,
                     "a write stands at %" PRIu64 ", though %" PRIu64
                     " was known before it was asked for",
                     r->applied, r->floor);
    note_floor(s, r->applied);
}

static void told_value(struct sim *s, const struct sim_op *op, const struct sim_record *r)
{
    struct sim_version want = version_at(&s->model.keys[r->key], op->evaluated_at);
    uint64_t version = want.record > 0 ? want.index : 0;
    if (op->version != version || op->value_record != want.record ||
        (want.record > 0 && op->value_bytes != s->model.records[want.record].value_bytes))
        sim_violated(s, "a read of k%02u at %" PRIu64 " finds version %" PRIu64 ", not %" PRIu64,
                     r->key, op->evaluated_at, op->version, version);
}

static void told_rows(struct sim *s, const struct sim_op *op)
{
    uint32_t next = 0;
    for (uint32_t key = 0; key < SIM_KEYS_MAX; key++) {
        struct sim_version want = version_at(&s->model.keys[key], op->evaluated_at);
        if (want.record == 0)
            continue;
        if (next == op->row_count || op->rows[next].key != key ||
            op->rows[next].version != want.index)
            sim_violated(s, "a scan at %" PRIu64 " lacks k%02u in version %" PRIu64,
                         op->evaluated_at, key, want.index);
        next++;
    }
    if (next != op->row_count)
        sim_violated(s, "a scan at %" PRIu64 " has a row too many", op->evaluated_at);
}

/* The bound is by the node's own clock. */
static uint64_t drift_us(const struct sim *s, uint64_t us)
{
    return us * s->plan.drift_ppm / 1000000 + 1;
}

static void told_read(struct sim *s, const struct sim_op *op)
{
    const struct sim_record *r = &s->model.records[op->record];
    static const char *const modes[] = {"linearizable", "lease", "stale"};
    raft_index least = r->min_index;
    if (r->mode != CARRY_STALE && least < r->floor)
        least = r->floor;
    if (r->mode == CARRY_STALE && r->max_stale_us > 0) {
        uint64_t back_us = r->max_stale_us + drift_us(s, r->max_stale_us);
        raft_index fresh =
            op->called_us > back_us ? floor_at(&s->model, op->called_us - back_us) : 0;
        least = fresh > least ? fresh : least;
    }
    if (op->evaluated_at < least)
        sim_violated(s,
                     "a %s read is served by n%" PRIu64 " at %" PRIu64 ", and %" PRIu64
                     " was known before",
                     modes[r->mode], op->at, op->evaluated_at, least);
    if (r->kind == SIM_SCAN)
        told_rows(s, op);
    else
        told_value(s, op, r);
    if (r->mode != CARRY_STALE)
        note_floor(s, op->evaluated_at);
}

void sim_model_told(struct sim *s, const struct sim_op *op, bool replayed)
{
    if (op->carry.write)
        told_write(s, op, replayed);
    else
        told_read(s, op);
}

/* ---- the end ---- */

struct row_check {
    struct sim_node *node;
    uint32_t rows;
};

static int check_row(void *argument, const struct row *row)
{
    struct row_check *c = argument;
    struct sim_node *n = c->node;
    const struct sim_model *m = &n->sim->model;
    uint32_t key = (uint32_t)(row->key.data[1] - '0') * 10 + (uint32_t)(row->key.data[2] - '0');
    struct sim_version want = version_at(&m->keys[key], state_applied(n->state));
    uint8_t value[1024];
    if (want.record == 0 || want.index != row->version)
        sim_violated(n->sim, "n%" PRIu64 " ends with k%02u in version %" PRIu64 ", not %" PRIu64,
                     n->id, key, row->version, want.record > 0 ? want.index : 0);
    sim_value_make(want.record, value, m->records[want.record].value_bytes);
    if (row->value.len != m->records[want.record].value_bytes ||
        memcmp(row->value.data, value, row->value.len) != 0)
        sim_violated(n->sim, "n%" PRIu64 " ends with another value of k%02u", n->id, key);
    c->rows++;
    return 0;
}

void sim_model_state(struct sim_node *n)
{
    struct sim *s = n->sim;
    const struct state_scan all = {.limit = 1000, .bytes_max = 1 << 30};
    uint32_t rows = 0, sessions = 0;
    bool more = false;
    struct row_check check = {.node = n};
    ASSERT(state_applied(n->state) == s->model.applied);
    if (state_scan(n->state, &all, check_row, &check, &more, NULL) != 0 || more)
        sim_violated(s, "n%" PRIu64 " cannot be scanned", n->id);
    for (uint32_t key = 0; key < SIM_KEYS_MAX; key++)
        rows += current_version(&s->model.keys[key]) > 0;
    for (uint32_t i = 1; i <= s->model.session_count; i++)
        sessions += s->model.sessions[i].lives;
    if (check.rows != rows)
        sim_violated(s, "n%" PRIu64 " ends with %u rows, not %u", n->id, check.rows, rows);
    if (state_session_count(n->state) != sessions)
        sim_violated(s, "n%" PRIu64 " ends with %zu sessions, not %u", n->id,
                     state_session_count(n->state), sessions);
}

void sim_model_end(struct sim *s)
{
    const struct sim_model *m = &s->model;
    for (uint64_t i = 1; i <= m->record_count; i++) {
        const struct sim_record *r = &m->records[i];
        if (r->told_failed && r->applied > 0 && (r->kind != SIM_DELETE || r->session > 0))
            sim_violated(s,
                         "client %u was told that its write is not applied, and it is, at %" PRIu64,
                         r->client, r->applied);
    }
}

void sim_model_free(struct sim *s)
{
    struct sim_model *m = &s->model;
    for (uint32_t i = 0; i < SIM_KEYS_MAX; i++)
        mem_free(m->keys[i].items);
    mem_free(m->results);
    mem_free(m->sessions);
    mem_free(m->records);
    mem_free(m->digests);
    mem_free(m->floors);
}
