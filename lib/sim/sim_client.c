/*
 * Clients: each asks one thing at a time of some node, waits, and tries again under the same
 * number where that is safe. A try goes client -> node (-> leader) and back; its answer may be lost
 * on each of these ways.
 *
 *   idle --begins--> waiting --answer: settled, or tries are used up--> idle
 *                       |  ^
 *                       '--'  not settled, or no answer in time: another try
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/sim/sim_internal.h"

enum {
    SIM_CALL_US = 2000, /* client to node, at most */
    SIM_CALL_LOST = 2,
    SIM_BACK_OFF_US = 60000,
    SIM_REST_US = 2000000,
    SIM_MARGIN_US = 300000,
    SIM_LATE_US = 15000000, /* a request may lie in a stopped node's socket; sessions live longer */
};

void sim_key_text(uint32_t key, char out[SIM_KEY_BYTES])
{
    ASSERT(key < 100);
    snprintf(out, SIM_KEY_BYTES, "k%02u", key % 100);
}

void sim_value_make(uint64_t record, uint8_t *out, uint32_t bytes)
{
    ASSERT(bytes >= sizeof(record));
    memcpy(out, &record, sizeof(record));
    for (uint32_t i = sizeof(record); i < bytes; i++)
        out[i] = (uint8_t)(record * 31 + i);
}

/* ---- tries ---- */

static struct sim_op *op_new(struct sim *s)
{
    if (s->op_free == 0)
        return NULL;
    struct sim_op *op = &s->ops[s->op_free - 1];
    s->op_free = op->next_free;
    s->op_free_count--;
    memset(op, 0, sizeof(*op));
    op->generation = ++s->generation;
    op->made_us = s->now_us;
    return op;
}

static void op_free(struct sim *s, struct sim_op *op)
{
    ASSERT(op->generation > 0 && !op->held);
    op->generation = 0;
    op->next_free = s->op_free;
    s->op_free = (uint32_t)(op - s->ops) + 1;
    s->op_free_count++;
}

static void later(struct sim *s, const struct sim_op *op, enum sim_event_kind kind, uint64_t at_us)
{
    sim_push(s, at_us, kind, (uint32_t)(op - s->ops), op->generation);
}

static uint64_t call_us(struct sim *s)
{
    return sim_draw(&s->client, 20, SIM_CALL_US);
}

/* ---- from the node back to the client ---- */

static void unknown(struct sim_op *op, const struct sim_record *r)
{
    memset(&op->answer, 0, sizeof(op->answer));
    op->answer.code = ERR_TIMEOUT;
    op->answer.outcome = sim_kind_writes(r->kind) ? OUTCOME_UNKNOWN : OUTCOME_NONE;
}

static void answer_client(struct sim *s, struct sim_op *op)
{
    if (sim_chance(&s->client, SIM_CALL_LOST) && !s->calm)
        op_free(s, op); /* the client waits in vain */
    else
        later(s, op, SIM_ANSWER, s->now_us + call_us(s));
}

static void respond(struct sim *s, struct sim_op *op)
{
    uint64_t at_us;
    op->held = false;
    if (op->forwarder == 0) {
        answer_client(s, op);
        return;
    }
    if (!sim_net_latency(s, op->at, op->forwarder, &at_us)) {
        carry_forward_outcome(true, ERR_TIMEOUT, 0, &op->answer);
        at_us = s->now_us + SIM_MARGIN_US;
    }
    later(s, op, SIM_PASSED_ON, at_us);
}

void sim_client_answer(void *self, struct carry_request *r, const struct carry_answer *a)
{
    struct sim_node *n = self;
    struct sim *s = n->sim;
    struct sim_op *op = (struct sim_op *)r;
    if (op->generation == 0 || !op->held || op->at != n->id)
        sim_violated(s, "n%" PRIu64 " answers a request twice", n->id);
    op->answer = *a;
    if (n->dying) /* the connection breaks */
        unknown(op, &s->model.records[op->record]);
    respond(s, op);
}

void sim_client_read_done(struct sim_node *n, struct sim_op *op)
{
    if (op->generation == 0 || !op->held || op->at != n->id)
        sim_violated(n->sim, "n%" PRIu64 " answers a read twice", n->id);
    memset(&op->answer, 0, sizeof(op->answer));
    respond(n->sim, op);
}

void sim_client_lost(struct sim_node *n, struct sim_op *op)
{
    if (op->generation == 0 || !op->held || op->at != n->id)
        sim_violated(n->sim, "n%" PRIu64 " has a read that was answered", n->id);
    unknown(op, &n->sim->model.records[op->record]);
    respond(n->sim, op);
}

/* ---- at a node ---- */

static void forward(struct sim_node *n, struct sim_op *op, raft_id leader)
{
    struct sim *s = n->sim;
    uint64_t at_us;
    op->forwarder = n->id;
    op->forwarder_life = n->life;
    if (!sim_net_latency(s, n->id, leader, &at_us)) {
        bool sent = prng_chance(&s->client, 1, 2); /* else it could not even connect */
        carry_forward_outcome(sent, ERR_TIMEOUT, 0, &op->answer);
        later(s, op, SIM_PASSED_ON, s->now_us + SIM_MARGIN_US);
        return;
    }
    op->at = leader;
    later(s, op, SIM_FORWARDED, at_us);
}

static void batch_make(const struct sim_record *r, struct slice value, struct buf *writes)
{
    for (uint32_t i = 0; i < r->span; i++) {
        char key[SIM_KEY_BYTES];
        bool deletes = r->deletes >> i & 1;
        sim_key_text(r->key + i, key); /* ascending, as a command wants them */
        struct command_write w = {
            .op = deletes ? COMMAND_DELETE : COMMAND_PUT,
            .key = slice_str(key),
            .value = deletes ? slice_of(NULL, 0) : value,
        };
        ASSERT(command_write_append(writes, &w) == 0);
    }
}

static void write_here(struct sim_node *n, struct sim_op *op, const struct sim_record *r)
{
    char key[SIM_KEY_BYTES], client[COMMAND_CLIENT_BYTES + 1];
    uint8_t value[1024];
    struct command command = {
        .op = r->kind == SIM_PUT ? COMMAND_PUT : COMMAND_DELETE,
        .condition = r->condition,
        .expected = r->expected,
    };
    sim_key_text(r->key, key);
    command.key = slice_str(key);
    if (r->session > 0) {
        snprintf(client, sizeof(client), "c%u", r->session);
        command.client = slice_str(client);
        command.seq = r->seq;
    }
    if (r->kind != SIM_DELETE) {
        ASSERT(r->value_bytes <= sizeof(value));
        sim_value_make(op->record, value, r->value_bytes);
        command.value = slice_of(value, r->value_bytes);
    }
    struct buf writes;
    buf_init(&writes, (size_t)SIM_SPAN_MAX * (sizeof(value) + 64));
    if (r->kind == SIM_BATCH) {
        batch_make(r, command.value, &writes);
        command = (struct command){.op = COMMAND_BATCH,
                                   .client = command.client,
                                   .seq = command.seq,
                                   .write_count = r->span,
                                   .writes = slice_of(writes.data, writes.len)};
    }
    op->held = true;
    carry_write_request(n->carry, &op->carry, &command, sim_clock(n));
    buf_release(&writes);
}

static void call_write(struct sim_node *n, struct sim_op *op, bool forwarded)
{
    const struct sim_record *r = &n->sim->model.records[op->record];
    raft_id leader = 0;
    op->at = n->id;
    op->carry.write = true;
    switch (carry_route_write(n->carry, SIM_KEY_BYTES + r->value_bytes, forwarded, &leader,
                              &op->answer)) {
    case CARRY_HERE: write_here(n, op, r); break;
    case CARRY_FORWARD: forward(n, op, leader); break;
    case CARRY_REFUSE: respond(n->sim, op); break;
    }
}

static void call_read(struct sim_node *n, struct sim_op *op)
{
    const struct sim_record *r = &n->sim->model.records[op->record];
    op->at = n->id;
    op->carry.mode = r->mode;
    op->carry.min_index = r->min_index;
    op->carry.max_stale_us = r->max_stale_us;
    op->held = true;
    op->called_us = n->sim->now_us;
    carry_read_request(n->carry, &op->carry, sim_clock(n));
}

/* It arrives: from the client, or from who forwarded it. */
static void call(struct sim *s, struct sim_op *op, bool forwarded)
{
    const struct sim_record *r = &s->model.records[op->record];
    struct sim_node *n = &s->nodes[op->at];
    if (!n->carry) {
        carry_forward_outcome(false, ERR_UNREACHABLE, 0, &op->answer); /* not applied */
        respond(s, op);
        return;
    }
    if (n->paused_until_us > op->made_us + SIM_LATE_US) { /* the client has hung up long before */
        op_free(s, op);
        return;
    }
    if (!sim_runs(n)) {
        later(s, op, forwarded ? SIM_FORWARDED : SIM_CALL, n->paused_until_us);
        return;
    }
    op->carry.received_us = sim_clock(n);
    op->carry.deadline_us = sim_clock(n) + s->plan.timeout_us;
    if (sim_kind_writes(r->kind))
        call_write(n, op, forwarded);
    else
        call_read(n, op);
    sim_node_after(n);
}

static void passed_on(struct sim *s, struct sim_op *op)
{
    struct sim_node *n = &s->nodes[op->forwarder];
    if (n->life != op->forwarder_life) {
        unknown(op, &s->model.records[op->record]);
    } else if (!sim_runs(n)) {
        later(s, op, SIM_PASSED_ON, n->paused_until_us);
        return;
    }
    answer_client(s, op);
}

/* ---- a client's mind ---- */

static struct sim_client *client_of(struct sim *s, const struct sim_record *r)
{
    return &s->clients[r->client];
}

static void wake(struct sim *s, struct sim_client *c, uint64_t at_us)
{
    sim_push(s, at_us, SIM_CLIENT, c->number, ++c->turn);
}

/* While faults strike, clients go on at once, whatever there is on its way already. Progress is
 * promised to those who ask less when they are not answered: else a cluster that is slow by its
 * plan does nothing but what nobody waits for any more. */
static uint64_t rest_us(const struct sim *s, const struct sim_client *c)
{
    if (c->unanswered == 0)
        return 0;
    uint64_t us = s->plan.timeout_us << (c->unanswered < 6 ? c->unanswered : 6);
    return us < SIM_REST_US ? us : SIM_REST_US;
}

static void idle(struct sim *s, struct sim_client *c)
{
    c->record = c->op_generation = 0;
    wake(s, c, s->now_us + rest_us(s, c) + sim_draw(&s->client, 0, 2 * s->plan.think_us));
}

static void try(struct sim *s, struct sim_client *c)
{
    struct sim_op *op = op_new(s);
    if (!op) {
        wake(s, c, s->now_us + SIM_BACK_OFF_US);
        c->op_generation = 0;
        return;
    }
    c->tries++;
    raft_id other = 1 + prng_below(&s->client, s->node_count);
    if (s->only_writes) /* progress is promised to who asks one after the other */
        other = 1 + c->asked % s->node_count;
    if (c->node == 0 || prng_chance(&s->client, 1, 10))
        c->node = other;
    c->asked = c->node;
    op->record = c->record;
    op->at = c->node;
    c->op_generation = op->generation;
    wake(s, c, s->now_us + s->plan.timeout_us + SIM_MARGIN_US + 2 * SIM_CALL_US);
    if (sim_chance(&s->client, SIM_CALL_LOST) && !s->calm)
        op_free(s, op);
    else
        later(s, op, SIM_CALL, s->now_us + call_us(s));
}

/* What was asked under the session may still be applied, or was: nobody may know. Its number is not
 * used again, as a careful client would do. */
static void give_up(struct sim *s, struct sim_client *c, bool failed)
{
    struct sim_record *r = &s->model.records[c->record];
    if (failed) {
        r->told_failed = true;
        s->result->refused++;
    } else {
        s->result->unknown += c->doubt;
    }
    if (r->session > 0 && (!failed || !c->known))
        c->session = 0;
    c->unanswered += s->only_writes && !failed;
    idle(s, c);
}

static void again(struct sim *s, struct sim_client *c, bool may_be_applied)
{
    const struct sim_record *r = &s->model.records[c->record];
    bool writes = sim_kind_writes(r->kind);
    c->doubt |= may_be_applied && writes;
    c->op_generation = 0;
    c->node = 0; /* another one, perhaps */
    if (c->tries >= s->plan.tries || (c->doubt && r->session == 0)) {
        give_up(s, c, writes && !c->doubt);
        return;
    }
    wake(s, c, s->now_us + sim_draw(&s->client, 1000, SIM_BACK_OFF_US));
}

static void draw_condition(struct sim *s, struct sim_record *r)
{
    const struct sim_versions *v = &s->model.keys[r->key];
    uint64_t version =
        v->count > 0 && v->items[v->count - 1].record > 0 ? v->items[v->count - 1].index : 0;
    bool right = prng_chance(&s->client, 3, 4);
    if (!sim_has(s, SIM_WITH_CONDITIONS) || !sim_chance(&s->client, s->plan.condition_share))
        return;
    if (version == 0 && r->kind == SIM_PUT) {
        r->condition = CONDITION_ABSENT;
    } else {
        r->condition = CONDITION_VERSION;
        r->expected = version + (right ? 0 : 1);
        r->expected += r->expected == 0;
    }
}

/* From a generator of its own, and without conditions, which batches have not. */
static void draw_batch(struct sim *s, struct sim_record *r)
{
    uint32_t room = s->plan.keys - r->key < SIM_SPAN_MAX ? s->plan.keys - r->key : SIM_SPAN_MAX;
    if (r->kind != SIM_PUT || r->condition != CONDITION_NONE || !sim_has(s, SIM_WITH_BATCHES) ||
        !prng_chance(&s->batches, 1, 4))
        return;
    r->kind = SIM_BATCH;
    r->span = 1 + (uint32_t)prng_below(&s->batches, room);
    for (uint32_t i = 1; i < r->span; i++)
        if (prng_chance(&s->batches, 1, 3))
            r->deletes |= (uint8_t)(1u << i);
}

static void draw_write(struct sim *s, struct sim_client *c, struct sim_record *r)
{
    bool session = sim_chance(&s->client, s->plan.session_share);
    /* One that bears neither a value nor a session could not be told from another. */
    bool deletes = prng_chance(&s->client, 1, 6) && session && sim_has(s, SIM_WITH_SESSIONS);
    uint32_t more = (uint32_t)prng_below(&s->client, s->plan.value_bytes + 1);
    r->kind = deletes ? SIM_DELETE : SIM_PUT;
    r->value_bytes = deletes ? 0 : (uint32_t)sizeof(uint64_t) + more;
    draw_condition(s, r);
    draw_batch(s, r);
    if (!sim_has(s, SIM_WITH_SESSIONS) || !session)
        return;
    if (c->session == 0) {
        c->session = sim_model_session(s);
        c->seq = 0;
        c->known = false;
    }
    r->session = c->session;
    r->seq = ++c->seq;
}

static void draw_read(struct sim *s, struct sim_record *r)
{
    bool scans = sim_chance(&s->client, s->plan.scan_share);
    bool bounded = prng_chance(&s->client, 1, 2), waits = prng_chance(&s->client, 1, 8);
    r->kind = scans && sim_has(s, SIM_WITH_SCANS) ? SIM_SCAN : SIM_GET;
    r->mode = (enum carry_read_mode)prng_below(&s->client, 3);
    if (r->mode == CARRY_STALE && bounded)
        r->max_stale_us = sim_draw(&s->client, 10000, 1000000);
    if (waits)
        r->min_index = s->model.floor;
}

static void begin(struct sim *s, struct sim_client *c)
{
    struct sim_record r = {.client = c->number, .floor = s->model.floor, .asked_us = s->now_us};
    bool reads = sim_chance(&s->client, s->plan.read_share);
    if (s->quiet)
        return;
    r.key = (uint32_t)prng_below(&s->client, s->plan.keys);
    if (reads && sim_has(s, SIM_WITH_READS) && !s->only_writes)
        draw_read(s, &r);
    else
        draw_write(s, c, &r);
    c->record = sim_model_record(s, &r);
    c->tries = 0;
    c->doubt = false;
    try(s, c);
}

/* ---- what a client is told ---- */

static void written(struct sim *s, struct sim_client *c, struct sim_op *op)
{
    int status = op->answer.result.status;
    if (status != 0 && status != ERR_PRECONDITION_FAILED) { /* of its session */
        if (status != ERR_SESSION_UNKNOWN || s->model.records[op->record].seq == 1)
            sim_violated(s, "client c%u is told %s for its number %" PRIu64, c->session,
                         err_name(status), s->model.records[op->record].seq);
        give_up(s, c, !c->doubt);
        return;
    }
    sim_model_told(s, op, op->answer.result.replayed);
    s->result->writes++;
    s->result->replayed += op->answer.result.replayed;
    s->succeeded += s->frozen_us > 0 && s->model.records[op->record].asked_us >= s->frozen_us;
    c->known = true;
    idle(s, c);
}

static void answered(struct sim *s, struct sim_op *op)
{
    const struct sim_record *r = &s->model.records[op->record];
    struct sim_client *c = client_of(s, r);
    if (c->op_generation != op->generation) /* it does not wait for this any more */
        return;
    if (op->answer.code != 0) {
        again(s, c, op->answer.outcome != OUTCOME_NOT_APPLIED);
    } else if (op->carry.write) {
        written(s, c, op);
    } else {
        sim_model_told(s, op, false);
        s->result->reads += r->kind == SIM_GET;
        s->result->scans += r->kind == SIM_SCAN;
        idle(s, c);
    }
}

static void client_goes_on(struct sim *s, struct sim_client *c)
{
    if (c->record == 0)
        begin(s, c);
    else if (c->op_generation == 0)
        try(s, c);
    else
        again(s, c, true); /* no answer in time */
}

struct sim_op *sim_op_of(struct sim *s, uint32_t index, uint64_t generation)
{
    struct sim_op *op = &s->ops[index];
    return op->generation == generation ? op : NULL;
}

void sim_client_event(struct sim *s, const struct sim_event *e)
{
    if (e->kind == SIM_CLIENT) {
        if (s->clients[e->index].turn == e->generation)
            client_goes_on(s, &s->clients[e->index]);
        return;
    }
    struct sim_op *op = sim_op_of(s, e->index, e->generation);
    ASSERT(op);
    switch (e->kind) {
    case SIM_CALL: call(s, op, false); break;
    case SIM_FORWARDED: call(s, op, true); break;
    case SIM_PASSED_ON: passed_on(s, op); break;
    default:
        answered(s, op);
        op_free(s, op);
        break;
    }
}

void sim_clients_make(struct sim *s)
{
    s->ops = mem_calloc(SIM_OPS, sizeof(*s->ops));
    for (uint32_t i = SIM_OPS; i > 0; i--) {
        s->ops[i - 1].next_free = s->op_free;
        s->op_free = i;
        s->op_free_count++;
    }
    for (uint32_t i = 1; i <= s->plan.clients; i++) {
        s->clients[i].number = i;
        idle(s, &s->clients[i]);
    }
}

bool sim_clients_idle(const struct sim *s)
{
    for (uint32_t i = 1; i <= s->plan.clients; i++)
        if (s->clients[i].record != 0)
            return false;
    return true;
}
