/*
 * Clients' requests, and what each is told.
 *
 *   write:  BATCHED --proposed--> APPLYING --applied, same term--> its result
 *              |                     |------applied, another term--> not applied: another entry
 *              |                     |                               is committed there
 *              |                     '------deadline, snapshot, end of the node--> unknown
 *              '--refused by the core--> not applied
 *
 *   read:   BATCHED --asked--> INDEXING --index known--> APPLYING --handed out--> READING--> result
 *              ^                  |                                                  |
 *              '------------------+----leadership or lease lost: asked again---------'
 *
 * A write that was proposed is never called failed but for one reason: another entry is committed
 * at its index. Loss of leadership says nothing: its entry may still be committed by the next
 * leader.
 */
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/node/carry_internal.h"

static int carry_index_compare(const struct carry_request *a, const struct carry_request *b)
{
    if (a->index != b->index) {
        return a->index < b->index ? -1 : 1;
    }
    if (a->term != b->term) {
        return a->term < b->term ? -1 : 1;
    }
    return a < b ? -1 : a > b;
}

static int carry_deadline_compare(const struct carry_request *a, const struct carry_request *b)
{
    if (a->deadline_us != b->deadline_us) {
        return a->deadline_us < b->deadline_us ? -1 : 1;
    }
    return a < b ? -1 : a > b;
}

RB_GENERATE(carry_index_tree, carry_request, by_index, carry_index_compare)
RB_GENERATE(carry_deadline_tree, carry_request, by_deadline, carry_deadline_compare)

void carry_requests_init(struct carry *c)
{
    TAILQ_INIT(&c->write_batch);
    for (int i = 0; i < READ_LISTS; i++) {
        TAILQ_INIT(&c->read_lists[i]);
    }
    TAILQ_INIT(&c->read_batches);
    RB_INIT(&c->writes);
    RB_INIT(&c->reads);
    RB_INIT(&c->deadlines);
}

/* ---- answers ---- */

static void deadline_set(struct carry *c, struct carry_request *r)
{
    if (!r->in_deadlines) {
        r->in_deadlines = true;
        RB_INSERT(carry_deadline_tree, &c->deadlines, r);
    }
}

static void deadline_clear(struct carry *c, struct carry_request *r)
{
    if (r->in_deadlines) {
        r->in_deadlines = false;
        RB_REMOVE(carry_deadline_tree, &c->deadlines, r);
    }
}

/* The request leaves the carry; it must be in no list and no index any more. */
static void give_back(struct carry *c, struct carry_request *r, const struct carry_answer *a)
{
    deadline_clear(c, r);
    if (r->write) {
        c->pending_writes--;
        c->pending_bytes -= r->entry->size;
        entry_unref(r->entry);
        r->entry = NULL;
    } else {
        c->pending_reads--;
    }
    r->state = CARRY_IDLE;
    c->io.answer(c->io.self, r, a);
}

static void answer_error(struct carry *c, struct carry_request *r, int code, enum outcome outcome,
                         const char *message)
{
    struct carry_answer a = {.code = code, .outcome = r->write ? outcome : OUTCOME_NONE};

    a.retryable = code != ERR_REMOVED && (!r->write || outcome == OUTCOME_NOT_APPLIED);
    snprintf(a.message, sizeof a.message, "%s", message);
    give_back(c, r, &a);
}

/* ---- writes ---- */

static enum carry_route refuse(struct carry *c, struct carry_answer *a, int code,
                               const char *message)
{
    memset(a, 0, sizeof *a);
    a->code = code;
    a->outcome = OUTCOME_NOT_APPLIED;
    a->retryable = code != ERR_REMOVED;
    snprintf(a->message, sizeof a->message, "%s", message);
    c->figures.refused++;
    return CARRY_REFUSE;
}

enum carry_route carry_route_write(struct carry *c, size_t bytes, bool forwarded, raft_id *leader,
                                   struct carry_answer *a)
{
    if (raft_removed(c->raft)) {
        return refuse(c, a, ERR_REMOVED, "this node was removed from the cluster");
    }
    if (c->shutting_down) {
        return refuse(c, a, ERR_SHUTTING_DOWN, "this node shuts down");
    }
    if (raft_state(c->raft) != RAFT_LEADER) {
        *leader = raft_leader(c->raft);
        if (*leader == 0) {
            return refuse(c, a, ERR_NO_LEADER, "no leader is known");
        }
        if (forwarded) {
            return refuse(c, a, ERR_NO_LEADER, "this node does not lead any more");
        }
        return CARRY_FORWARD;
    }
    if (raft_handing_over(c->raft)) {
        return refuse(c, a, ERR_NO_LEADER, "leadership is being handed over");
    }
    if (c->disk_low) {
        return refuse(c, a, ERR_DISK_FULL, "the leader's disk is nearly full");
    }
    if (c->stalled) {
        return refuse(c, a, ERR_NO_LEADER, "the leader's disk does not answer");
    }
    if (c->pending_writes >= c->options.pending_writes_max ||
        c->pending_bytes + bytes > c->options.pending_bytes_max) {
        return refuse(c, a, ERR_OVERLOADED, "too many writes are pending");
    }
    if (c->overlay_bytes > c->options.overlay_bytes_max) {
        return refuse(c, a, ERR_OVERLOADED, "the disk does not keep up with the writes");
    }
    return CARRY_HERE;
}

static struct entry *command_entry(const struct command *command)
{
    struct entry *e = entry_alloc(RAFT_NORMAL, command_encoded_bytes(command));

    command_encode(command, e->data);
    entry_seal(e);
    return e;
}

void carry_write_request(struct carry *c, struct carry_request *r, struct command *command,
                         uint64_t now_us)
{
    ASSERT(r->state == CARRY_IDLE && r->write);
    command->wall_ms = c->wall_ms;
    command->cluster_time_ms = carry_cluster_time_ms(c, now_us);
    r->entry = command_entry(command);
    r->state = CARRY_BATCHED;
    c->pending_writes++;
    c->pending_bytes += r->entry->size;
    TAILQ_INSERT_TAIL(&c->write_batch, r, link);
    c->write_batch_count++;
}

/* Writes that were not proposed. */
static void refuse_batch(struct carry *c, struct carry_list *batch, int code)
{
    struct carry_request *r;
    const char *why = "this node does not lead any more";

    switch (code) {
    case ERR_OVERLOADED: why = "too many entries wait to be committed"; break;
    case ERR_SHUTTING_DOWN: why = "this node shuts down"; break;
    case ERR_AGAIN: why = "leadership is being handed over"; /* fall through */
    default: code = ERR_NO_LEADER;
    }
    while ((r = TAILQ_FIRST(batch)) != NULL) {
        TAILQ_REMOVE(batch, r, link);
        answer_error(c, r, code, OUTCOME_NOT_APPLIED, why);
    }
}

static void propose_batch(struct carry *c, uint64_t now_us)
{
    struct entry *entries[CARRY_BATCH_MAX];
    struct carry_list batch = TAILQ_HEAD_INITIALIZER(batch);
    struct raft_event event = {.type = RAFT_PROPOSE, .now_us = now_us};
    struct carry_request *r;
    uint32_t n = 0;
    int code;

    while (n < CARRY_BATCH_MAX && (r = TAILQ_FIRST(&c->write_batch)) != NULL) {
        TAILQ_REMOVE(&c->write_batch, r, link);
        TAILQ_INSERT_TAIL(&batch, r, link);
        entries[n++] = r->entry;
    }
    c->write_batch_count -= n;
    event.propose.count = n;
    code = carry_step(c, &event, entries, n);
    if (code != 0) {
        refuse_batch(c, &batch, code);
        return;
    }
    c->figures.proposals += n;
    /* Nothing can be applied before carry_applied is called, so it is early enough to index them
     * now. */
    while ((r = TAILQ_FIRST(&batch)) != NULL) {
        TAILQ_REMOVE(&batch, r, link);
        r->index = r->entry->index;
        r->term = r->entry->term;
        r->state = CARRY_APPLYING;
        RB_INSERT(carry_index_tree, &c->writes, r);
        deadline_set(c, r);
    }
}

/* The entry at this index is applied: that settles every write that was proposed for it. */
void carry_resolve(struct carry *c, const struct carry_applied_entry *e)
{
    struct carry_request key = {.index = e->result.index};
    struct carry_request *r;

    while ((r = RB_NFIND(carry_index_tree, &c->writes, &key)) != NULL &&
           r->index == e->result.index) {
        RB_REMOVE(carry_index_tree, &c->writes, r);
        if (r->term == e->term) {
            struct carry_answer a = {.result = e->result};

            give_back(c, r, &a);
        } else {
            answer_error(c, r, ERR_NO_LEADER, OUTCOME_NOT_APPLIED,
                         "leadership was lost and another entry was committed instead");
        }
    }
}

void carry_writes_superseded(struct carry *c, raft_index up_to)
{
    struct carry_request *r;

    while ((r = RB_MIN(carry_index_tree, &c->writes)) != NULL && r->index <= up_to) {
        RB_REMOVE(carry_index_tree, &c->writes, r);
        answer_error(c, r, ERR_TIMEOUT, OUTCOME_UNKNOWN,
                     "leadership was lost, and a snapshot hides what became of the write");
    }
}

void carry_sessions_expired(struct carry *c, char (*ids)[COMMAND_CLIENT_BYTES + 1], size_t count,
                            uint64_t now_us)
{
    struct command command = {.op = COMMAND_EXPIRE_SESSIONS, .wall_ms = c->wall_ms};
    struct raft_event event = {.type = RAFT_PROPOSE, .now_us = now_us, .propose.count = 1};
    struct entry *e;

    if (count == 0 || !raft_leader_ready(c->raft) || raft_handing_over(c->raft) ||
        c->install != INSTALL_NONE || c->expiring > c->applied) {
        return;
    }
    command.cluster_time_ms = carry_cluster_time_ms(c, now_us);
    command.expire_count = (uint32_t)(count < COMMAND_EXPIRE_MAX ? count : COMMAND_EXPIRE_MAX);
    for (uint32_t i = 0; i < command.expire_count; i++) {
        command.expire[i] = slice_str(ids[i]);
    }
    e = command_entry(&command);
    if (carry_step(c, &event, &e, 1) == 0) { /* refused: the next round tries again */
        c->expiring = e->index;
    }
    entry_unref(e);
}

bool carry_forward_outcome(bool sent, int code, int status, struct carry_answer *a)
{
    memset(a, 0, sizeof *a);
    if (code == 0 && status != 0) {
        return true;
    }
    if (!sent) {
        a->code = ERR_NO_LEADER;
        a->outcome = OUTCOME_NOT_APPLIED;
        a->retryable = true;
        snprintf(a->message, sizeof a->message, "the leader could not be reached");
    } else {
        a->code = ERR_TIMEOUT;
        a->outcome = OUTCOME_UNKNOWN;
        snprintf(a->message, sizeof a->message,
                 "the leader did not answer; whether the write took effect is unknown");
    }
    return false;
}

/* ---- reads ---- */

/* What was committed when a read index was asked for, this node has handed out: so it was up to
 * date then. Nothing else says so much: a leader that speaks may be none any more, and what it
 * sends may have lain somewhere. */
static void note_fresh(struct carry *c, uint64_t asked_us, raft_index index)
{
    if (asked_us > c->fresh_us && index <= c->handed) {
        c->fresh_us = asked_us;
    } else if (asked_us > c->fresh_us && c->fresh_next_us == 0) {
        c->fresh_next_us = asked_us;
        c->fresh_next = index;
    }
}

static void note_handed(struct carry *c)
{
    if (c->fresh_next_us > 0 && c->fresh_next <= c->handed) {
        c->fresh_us = c->fresh_next_us > c->fresh_us ? c->fresh_next_us : c->fresh_us;
        c->fresh_next_us = 0;
    }
}

/* Whether a stale read with a bound must ask for a read index: one that did is not older than
 * itself. */
static bool must_ask(struct carry *c, const struct carry_request *r, uint64_t now_us)
{
    note_handed(c);
    return r->mode == CARRY_STALE && r->max_stale_us > 0 && r->term == 0 &&
           (c->fresh_us == 0 || now_us - c->fresh_us > r->max_stale_us);
}

/* Why a read is not served by this node's state as it is now; 0: it is. */
static int unfit(const struct carry *c, const char **why)
{
    if (raft_removed(c->raft)) {
        *why = "this node was removed from the cluster";
        return ERR_REMOVED;
    }
    if (c->fenced) {
        *why = "this node's state differs from that of a majority; ask another";
        return ERR_NO_LEADER;
    }
    return 0;
}

static void batch_read(struct carry *c, struct carry_request *r, enum carry_read_list list)
{
    r->state = CARRY_BATCHED;
    r->list = (uint8_t)list;
    r->lease_until_us = 0;
    TAILQ_INSERT_TAIL(&c->read_lists[list], r, link);
}

/* While the state machine changes its files nothing may be asked of it. */
static void dispatch_read(struct carry *c, struct carry_request *r, uint64_t now_us)
{
    const char *why;
    int code;

    if (r->index > c->handed || c->install == INSTALL_SWITCHING) {
        r->state = CARRY_APPLYING;
        RB_INSERT(carry_index_tree, &c->reads, r);
        deadline_set(c, r);
        return;
    }
    code = unfit(c, &why); /* it may have waited long */
    if (code != 0) {
        answer_error(c, r, code, OUTCOME_NONE, why);
        return;
    }
    if (must_ask(c, r, now_us)) {
        batch_read(c, r, READS_BY_INDEX);
        return;
    }
    deadline_clear(c, r);
    r->state = CARRY_READING;
    c->io.read(c->io.self, r);
}

void carry_reads_ready(struct carry *c, uint64_t now_us)
{
    struct carry_request *r;

    if (c->install == INSTALL_SWITCHING) {
        return;
    }
    note_handed(c);
    while ((r = RB_MIN(carry_index_tree, &c->reads)) != NULL && r->index <= c->handed) {
        RB_REMOVE(carry_index_tree, &c->reads, r);
        dispatch_read(c, r, now_us);
    }
}

void carry_read_request(struct carry *c, struct carry_request *r, uint64_t now_us)
{
    const char *why;
    int code;

    ASSERT(r->state == CARRY_IDLE && !r->write);
    r->entry = NULL;
    r->term = 0;
    r->index = r->min_index;
    r->lease_until_us = 0;
    c->pending_reads++;
    code = unfit(c, &why);
    if (c->pending_reads > c->options.pending_reads_max) {
        answer_error(c, r, ERR_OVERLOADED, OUTCOME_NONE, "too many reads are pending");
    } else if (code != 0) {
        answer_error(c, r, code, OUTCOME_NONE, why);
    } else if (r->mode == CARRY_STALE) { /* one that must ask does so from there */
        c->figures.reads_stale++;
        dispatch_read(c, r, now_us);
    } else {
        batch_read(c, r, r->mode == CARRY_LEASE ? READS_BY_LEASE : READS_BY_INDEX);
    }
}

static struct carry_read_batch *find_batch(struct carry *c, uint64_t id)
{
    struct carry_read_batch *b;

    TAILQ_FOREACH(b, &c->read_batches, link)
    {
        if (b->id == id) {
            return b;
        }
    }
    return NULL;
}

/* One that was to be fresh only says so: whoever asked for it can do with less. */
static void fail_read(struct carry *c, struct carry_request *r, int code, const char *why)
{
    if (r->mode == CARRY_STALE && r->max_stale_us > 0 && r->term == 0 &&
        (code == ERR_NO_LEADER || code == ERR_TIMEOUT)) {
        code = ERR_TOO_STALE;
        why = "this node cannot say that it is as fresh as asked for";
    }
    answer_error(c, r, code, OUTCOME_NONE, why);
}

static void fail_reads(struct carry *c, struct carry_list *reads, int code)
{
    struct carry_request *r;
    const char *why = "no leader is known";

    switch (code) {
    case ERR_OVERLOADED: why = "too many reads are pending"; break;
    case ERR_SHUTTING_DOWN: why = "this node shuts down"; break;
    default: code = ERR_NO_LEADER;
    }
    while ((r = TAILQ_FIRST(reads)) != NULL) {
        TAILQ_REMOVE(reads, r, link);
        fail_read(c, r, code, why);
    }
}

static void read_batch(struct carry *c, enum carry_read_list list, uint64_t now_us)
{
    bool lease = list == READS_BY_LEASE;
    struct raft_event event = {.type = RAFT_READ, .now_us = now_us, .read.lease = lease};
    struct carry_read_batch *b = mem_zalloc(sizeof *b);
    struct carry_request *r;
    uint64_t id = ++c->next_read;
    int code;

    b->id = event.read.id = id;
    b->lease = lease;
    b->asked_us = now_us;
    b->leader = raft_leader(c->raft);
    b->term = raft_term_current(c->raft);
    TAILQ_INIT(&b->reads);
    TAILQ_CONCAT(&b->reads, &c->read_lists[list], link);
    TAILQ_FOREACH(r, &b->reads, link)
    {
        r->state = CARRY_INDEXING;
        r->batch = b;
    }
    TAILQ_INSERT_TAIL(&c->read_batches, b, link);
    code = carry_step(c, &event, NULL, 0);
    b = find_batch(c, id); /* often answered in the same step, and gone */
    if (!b) {
        return;
    }
    if (code != 0) {
        TAILQ_REMOVE(&c->read_batches, b, link);
        fail_reads(c, &b->reads, code);
        mem_free(b);
        return;
    }
    TAILQ_FOREACH(r, &b->reads, link)
    {
        deadline_set(c, r);
    }
}

/* Nothing was served: the new leader is asked at once, the one that refused after a while. */
static void ask_again(struct carry *c, struct carry_request *r, const struct carry_read_batch *b,
                      uint64_t now_us)
{
    if (b->leader == raft_leader(c->raft) && b->term == raft_term_current(c->raft)) {
        if (TAILQ_EMPTY(&c->read_lists[READS_LATER])) {
            c->later_us = now_us + c->options.raft.heartbeat_interval_us;
        }
        batch_read(c, r, READS_LATER);
    } else {
        batch_read(c, r, b->lease ? READS_BY_LEASE : READS_BY_INDEX);
    }
}

void carry_read_result(struct carry *c, const struct raft_read_result *result, uint64_t now_us)
{
    struct carry_read_batch *b = find_batch(c, result->id);
    struct carry_request *r;

    if (!b) { /* all its reads have run into their deadlines */
        return;
    }
    TAILQ_REMOVE(&c->read_batches, b, link);
    if (result->status == 0) {
        note_fresh(c, b->asked_us, result->index);
    }
    while ((r = TAILQ_FIRST(&b->reads)) != NULL) {
        TAILQ_REMOVE(&b->reads, r, link);
        r->batch = NULL;
        if (result->status == 0) {
            r->index = result->index > r->min_index ? result->index : r->min_index;
            r->lease_until_us = result->lease_until_us;
            r->term = raft_term_current(c->raft);
            if (result->lease_until_us > 0) {
                c->figures.reads_by_lease++;
            } else {
                c->figures.reads_by_index++;
            }
            dispatch_read(c, r, now_us);
        } else if (raft_leader(c->raft) != 0 && r->deadline_us > now_us) {
            ask_again(c, r, b, now_us);
        } else {
            fail_read(c, r, ERR_NO_LEADER, "leadership changed during the read");
        }
    }
    mem_free(b);
}

/* A lease ends by the clock, and at once when leadership is handed over: that election waits for
 * nobody's promise. One of a later term says nothing of the time between (§6.4.1). */
static bool lease_held(const struct carry *c, const struct carry_request *r, uint64_t now_us)
{
    return now_us < r->lease_until_us && r->term == raft_term_current(c->raft) &&
           raft_lease_until_us(c->raft) != 0;
}

bool carry_read_done(struct carry *c, struct carry_request *r, uint64_t now_us)
{
    ASSERT(r->state == CARRY_READING);
    if (c->fenced || (r->lease_until_us > 0 && !lease_held(c, r, now_us))) {
        batch_read(c, r, READS_BY_INDEX);
        return false;
    }
    r->state = CARRY_IDLE;
    c->pending_reads--;
    return true;
}

/* ---- turns and deadlines ---- */

/* The core stands still: reads wait, for their deadline too. Only a follower installs snapshots, so
 * writes are those that were taken when it led. */
static void turn_while_switching(struct carry *c)
{
    struct carry_request *r;

    refuse_batch(c, &c->write_batch, ERR_NO_LEADER);
    c->write_batch_count = 0;
    for (int i = 0; i < READ_LISTS; i++) {
        TAILQ_FOREACH(r, &c->read_lists[i], link)
        {
            deadline_set(c, r);
        }
    }
}

void carry_requests_turn(struct carry *c, uint64_t now_us)
{
    if (c->install == INSTALL_SWITCHING) {
        turn_while_switching(c);
        return;
    }
    while (c->write_batch_count > 0) {
        propose_batch(c, now_us);
    }
    if (now_us >= c->later_us) {
        TAILQ_CONCAT(&c->read_lists[READS_BY_INDEX], &c->read_lists[READS_LATER], link);
    }
    for (int i = READS_BY_INDEX; i <= READS_BY_LEASE; i++) {
        if (!TAILQ_EMPTY(&c->read_lists[i])) {
            read_batch(c, (enum carry_read_list)i, now_us);
        }
    }
}

uint64_t carry_requests_wake_us(const struct carry *c)
{
    struct carry_deadline_tree *tree = (struct carry_deadline_tree *)(uintptr_t)&c->deadlines;
    const struct carry_request *r = RB_MIN(carry_deadline_tree, tree);
    uint64_t wake = r ? r->deadline_us : UINT64_MAX;

    if (c->install == INSTALL_SWITCHING) {
        return wake;
    }
    if (!TAILQ_EMPTY(&c->write_batch) || !TAILQ_EMPTY(&c->read_lists[READS_BY_INDEX]) ||
        !TAILQ_EMPTY(&c->read_lists[READS_BY_LEASE])) {
        return 0; /* asked again by the last turn: there must be another */
    }
    if (!TAILQ_EMPTY(&c->read_lists[READS_LATER]) && c->later_us < wake) {
        wake = c->later_us;
    }
    return wake;
}

static void take_out(struct carry *c, struct carry_request *r)
{
    if (r->state == CARRY_APPLYING) {
        RB_REMOVE(carry_index_tree, r->write ? &c->writes : &c->reads, r);
    } else if (r->state == CARRY_BATCHED) {
        ASSERT(!r->write);
        TAILQ_REMOVE(&c->read_lists[r->list], r, link);
    } else {
        ASSERT(r->state == CARRY_INDEXING);
        TAILQ_REMOVE(&r->batch->reads, r, link);
        if (TAILQ_EMPTY(&r->batch->reads)) {
            TAILQ_REMOVE(&c->read_batches, r->batch, link);
            mem_free(r->batch);
        }
        r->batch = NULL;
    }
}

void carry_requests_expire(struct carry *c, uint64_t now_us)
{
    struct carry_request *r;

    while ((r = RB_MIN(carry_deadline_tree, &c->deadlines)) != NULL && r->deadline_us <= now_us) {
        take_out(c, r);
        c->figures.timeouts++;
        if (r->write) {
            answer_error(c, r, ERR_TIMEOUT, OUTCOME_UNKNOWN,
                         "not committed in time; whether it will be is unknown");
        } else {
            fail_read(c, r, ERR_TIMEOUT, "not readable in time");
        }
    }
}

void carry_requests_free(struct carry *c)
{
    struct carry_request *r;
    struct carry_read_batch *b;

    refuse_batch(c, &c->write_batch, ERR_SHUTTING_DOWN);
    for (int i = 0; i < READ_LISTS; i++) {
        fail_reads(c, &c->read_lists[i], ERR_SHUTTING_DOWN);
    }
    while ((b = TAILQ_FIRST(&c->read_batches)) != NULL) {
        TAILQ_REMOVE(&c->read_batches, b, link);
        fail_reads(c, &b->reads, ERR_SHUTTING_DOWN);
        mem_free(b);
    }
    while ((r = RB_MIN(carry_index_tree, &c->writes)) != NULL) {
        RB_REMOVE(carry_index_tree, &c->writes, r);
        answer_error(c, r, ERR_SHUTTING_DOWN, OUTCOME_UNKNOWN,
                     "this node stopped before the write was settled");
    }
    while ((r = RB_MIN(carry_index_tree, &c->reads)) != NULL) {
        RB_REMOVE(carry_index_tree, &c->reads, r);
        answer_error(c, r, ERR_SHUTTING_DOWN, OUTCOME_NONE, "this node shuts down");
    }
}
