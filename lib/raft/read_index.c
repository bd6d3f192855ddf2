/*
 * Linearizable reads without a log entry (§6.4): the commit index when the read came, served once a
 * majority has confirmed, by answering something sent after that, that we still led.
 *
 * Rounds are numbered within the term; a confirmed round confirms all before it, and any number of
 * reads share one: those that come while a round is out go with the next. A follower asks its
 * leader in the same way, one request for all reads that wait, and serves them itself.
 */
#include <string.h>

#include "lib/raft/raft_internal.h"

/* ---- results ---- */

static void result(struct raft *r, uint64_t id, int status, raft_index index,
                   uint64_t lease_until_us)
{
    ASSERT(r->out.result_count <= RAFT_READS_MAX);
    struct raft_read_result *read = &r->out.results[r->out.result_count++];
    memset(read, 0, sizeof(*read));
    read->id = id;
    read->status = status;
    read->index = index;
    read->lease_until_us = lease_until_us;
}

static void answer(struct raft *r, const struct raft_read *read, bool granted, raft_index index)
{
    if (read->from == 0) {
        result(r, read->id, granted ? 0 : ERR_NO_LEADER, index, 0);
        return;
    }
    struct raft_message *m = raft_send(r, RAFT_READ_INDEX_REPLY, read->from);
    m->context = read->context;
    m->read_id = read->id;
    m->granted = granted;
    m->read_index = index;
    m->commit = r->commit;
    r->read_remote_count--;
}

static void remove_first(struct raft *r, uint32_t count)
{
    if (count == 0)
        return;
    r->read_count -= count;
    memmove(&r->reads[0], &r->reads[count], r->read_count * sizeof(r->reads[0]));
    memset(&r->reads[r->read_count], 0, count * sizeof(r->reads[0]));
}

/* Leadership or the leader is lost: nothing was served. */
void raft_read_index_drop(struct raft *r)
{
    if (r->read_count > 0)
        raft_trace_add(r, TRACE_READS_DROPPED, 0, r->read_count, 0, 0, 0);
    for (uint32_t i = 0; i < r->read_count; i++)
        answer(r, &r->reads[i], false, 0);
    remove_first(r, r->read_count);
    r->read_due_us = 0;
}

/* ---- the lease (§6.4.1) ---- */

/* The earliest time at which a majority of either configuration could elect somebody else; none
 * while leadership is handed over, nor after: that election does not wait for promises. */
uint64_t raft_lease_until_us(const struct raft *r)
{
    if (!raft_leader_ready(r) || r->transfer_to != 0 || r->lease_void)
        return 0;
    uint64_t until = raft_quorum(r, RAFT_QUORUM_PROMISE);
    return until > r->now_us ? until : 0;
}

/* ---- reads come in ---- */

static void push(struct raft *r, const struct raft_read *read)
{
    ASSERT(r->read_count < RAFT_READS_MAX);
    r->reads[r->read_count++] = *read;
}

int raft_read_index_add(struct raft *r, uint64_t id, bool lease)
{
    if (r->leader == 0)
        return ERR_NO_LEADER;
    if (lease && r->state == RAFT_LEADER) {
        uint64_t until = raft_lease_until_us(r);
        if (until != 0) {
            result(r, id, 0, r->commit, until == UINT64_MAX ? 0 : until);
            return 0;
        }
    }
    if (r->read_count == RAFT_READS_MAX)
        return ERR_OVERLOADED;
    struct raft_read read = {.id = id};
    push(r, &read);
    if (r->state != RAFT_LEADER)
        raft_read_index_ask(r);
    return 0;
}

/* A follower's request; in our term. */
void raft_read_index_asked(struct raft *r, const struct raft_message *m)
{
    if (r->state != RAFT_LEADER || r->read_count == RAFT_READS_MAX ||
        r->read_remote_count == RAFT_READS_REMOTE_MAX) {
        raft_refuse(r, m);
        return;
    }
    struct raft_read read = {.id = m->read_id, .from = m->from, .context = m->context};
    push(r, &read);
    r->read_remote_count++;
}

/* ---- leader ---- */

/* The read index is taken now, and only what is sent from now on confirms it. Without an entry of
 * our own term committed, our commit index may lie behind what others have answered (§6.4). */
void raft_read_index_open(struct raft *r)
{
    if (!raft_leader_ready(r) || r->read_count == 0)
        return;
    bool opened = false;
    for (uint32_t i = r->read_count; i > 0 && r->reads[i - 1].round == 0; i--) {
        r->reads[i - 1].index = r->commit;
        r->reads[i - 1].round = r->round + 1;
        opened = true;
    }
    r->round += opened;
}

static void send_round(struct raft *r)
{
    const struct raft_configuration *c = raft_latest(r);
    for (uint32_t i = 0; i < c->count; i++) {
        struct raft_follower *f = &r->followers[i];
        if (!raft_id_is_self(r, f->id) && (c->members[i].flags & (RAFT_VOTER | RAFT_VOTER_OLD)))
            raft_leader_heartbeat(r, f);
    }
}

void raft_read_index_advance(struct raft *r)
{
    if (r->read_count == 0 || !raft_leader_ready(r))
        return;
    uint64_t confirmed = raft_quorum(r, RAFT_QUORUM_ROUND);
    bool waits = r->reads[r->read_count - 1].round == 0;
    if (waits && confirmed >= r->round) { /* no round is out */
        raft_read_index_open(r);
        if (confirmed != UINT64_MAX)
            send_round(r);
    }
    uint32_t done = 0;
    while (done < r->read_count && r->reads[done].round != 0 && r->reads[done].round <= confirmed) {
        answer(r, &r->reads[done], true, r->reads[done].index);
        done++;
    }
    remove_first(r, done);
}

/* ---- follower ---- */

/* One request is out at a time, for all reads that came before it was sent. */
void raft_read_index_ask(struct raft *r)
{
    if (r->read_due_us != 0 || r->read_count == 0)
        return;
    r->read_number++;
    for (uint32_t i = r->read_count; i > 0 && r->reads[i - 1].round == 0; i--)
        r->reads[i - 1].round = r->read_number;
    raft_send(r, RAFT_READ_INDEX, r->leader)->read_id = r->read_number;
    r->read_due_us = r->now_us + r->options.heartbeat_interval_us;
}

/* Lost, or the leader is not ready: once more, under a new number. */
void raft_read_index_tick(struct raft *r)
{
    if (r->read_due_us == 0 || r->now_us < r->read_due_us)
        return;
    r->read_due_us = 0;
    raft_read_index_ask(r);
}

/* Numbers of another life of ours are out of range: they begin elsewhere each time. */
void raft_read_index_reply(struct raft *r, const struct raft_message *m)
{
    bool is_ours = m->read_id > r->read_base && m->read_id <= r->read_number;
    if (r->state != RAFT_FOLLOWER || r->leader != m->from || !is_ours)
        return;
    if (m->granted) /* an idle follower would wait for the next heartbeat to reach the read index */
        raft_commit_to(r, m->commit < r->verified ? m->commit : r->verified);
    uint32_t done = 0;
    while (done < r->read_count && r->reads[done].round != 0 &&
           r->reads[done].round <= m->read_id) {
        answer(r, &r->reads[done], m->granted, m->granted ? m->read_index : 0);
        done++;
    }
    remove_first(r, done);
    if (m->read_id == r->read_number)
        r->read_due_us = 0;
    if (r->read_due_us == 0)
        raft_read_index_ask(r);
}
