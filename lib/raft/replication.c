/*
 * The leader's side of replication: appends out, replies in (§3.5, §10.2.1).
 */
#include "lib/raft/raft_internal.h"

enum { PROMISE_SHIFT_MAX = 40 }; /* a promise over twelve days is not believed */

/* The entry before the next append is compacted: a snapshot, once, to a peer that answers (§5). */
static void send_snapshot(struct raft *r, struct raft_follower *f)
{
    if (!raft_progress_answers(r, f)) { /* its next heartbeat reply begins anew */
        raft_progress_probe(f, f->next);
        f->paused = true;
        f->probe_sent_us = r->now_us;
        return;
    }
    raft_progress_snapshot(f);
    raft_send(r, RAFT_SEND_SNAPSHOT, f->id)->snapshot_index = r->terms.snapshot_index;
    raft_trace_add(r, TRACE_SNAPSHOT_NEEDED, f->id, f->next, r->terms.snapshot_index, 0, 0);
}

static void send_append(struct raft *r, struct raft_follower *f)
{
    raft_index prev = f->next - 1;
    raft_index left = r->terms.last - prev;
    struct raft_message *m = raft_send(r, RAFT_APPEND, f->id);
    m->prev_index = prev;
    m->prev_term = raft_terms_at(&r->terms, prev);
    m->entry_count =
        left < r->options.append_entries_max ? (uint32_t)left : r->options.append_entries_max;
    m->commit = r->commit;
    m->round = r->round;
    m->sent_us = r->now_us;
    r->out.appends++;
    raft_progress_sent(r, f, m->entry_count);
}

void raft_replication_send(struct raft *r, struct raft_follower *f)
{
    while (raft_progress_may_append(r, f)) {
        if (f->next - 1 < r->terms.snapshot_index) {
            send_snapshot(r, f);
            return;
        }
        if (r->out.appends >= RAFT_APPENDS_A_STEP) {
            r->out.sends_left = true;
            return;
        }
        send_append(r, f);
    }
}

void raft_replication_send_all(struct raft *r)
{
    for (uint32_t i = 0; i < r->follower_count; i++)
        if (!raft_id_is_self(r, r->followers[i].id))
            raft_replication_send(r, &r->followers[i]);
}

/* ---- replies ---- */

/* Any reply of our term: the peer is there (§6.2), confirms a round (§6.4), and promises its vote
 * for a while, counted from when we sent, since it began to count only later (§6.4.1). Clocks may
 * drift, so less of it is believed. */
static void note_answer(struct raft *r, struct raft_follower *f, const struct raft_message *m)
{
    f->answered = true;
    f->contact_us = r->now_us;
    if (m->round > f->round && m->round <= r->round)
        f->round = m->round;
    if (m->promise_us == 0 || m->promise_us >> PROMISE_SHIFT_MAX != 0 || m->sent_us > r->now_us)
        return;
    uint64_t drift = (m->promise_us * r->options.clock_drift_ppm + 999999) / 1000000;
    uint64_t until = m->sent_us + (drift < m->promise_us ? m->promise_us - drift : 0);
    if (until > f->promise_until_us)
        f->promise_until_us = until;
}

/* The removed member has the configuration without it, and knows that it is committed. */
static void let_leave(struct raft *r, struct raft_follower *f, const struct raft_message *m)
{
    if (f->leaving_index == 0 || !f->told || m->sent_us < f->told_us)
        return;
    raft_trace_add(r, TRACE_LEFT, f->id, f->leaving_index, 0, 0, 0);
    raft_progress_leave(r, f);
}

static void accepted(struct raft *r, struct raft_follower *f, const struct raft_message *m)
{
    if (m->match_index > r->terms.last) { /* it cannot have what we have not */
        raft_trace_add(r, TRACE_ACK_BEYOND, f->id, m->match_index, r->terms.last, 0, 0);
        return;
    }
    raft_progress_acknowledged(r, f, m->match_index);
    raft_progress_rounds(r, f);
    /* Its log is known to meet ours at `match` now, and an older reply says nothing of that. */
    bool meets = m->match_index == f->match && f->match >= r->terms.snapshot_index;
    if (f->state != RAFT_PIPELINE && meets) {
        raft_trace_add(r, TRACE_PIPELINE, f->id, f->match, 0, 0, 0);
        raft_progress_pipeline(f);
    }
}

/* Where the logs may meet, from the follower's hint: the last entry of ours, up to the hinted one,
 * whose term is not over the hinted term. Skips a conflicting term at a time (§3.5). Never below
 * what has matched: a refusal may be older than that. */
static void refused(struct raft *r, struct raft_follower *f, const struct raft_message *m)
{
    bool is_stale = m->reject_index <= f->match ||
                    (f->state == RAFT_PROBE && m->reject_index != f->next - 1) ||
                    f->state == RAFT_SNAPSHOT || m->reject_index >= f->next;
    if (is_stale) {
        raft_trace_add(r, TRACE_REFUSAL_STALE, f->id, m->reject_index, f->match, f->next, 0);
        return;
    }
    raft_index meet = 0;
    if (!raft_terms_find(&r->terms, m->hint_index, m->hint_term, &meet))
        meet = m->hint_index < r->terms.snapshot_index ? m->hint_index : 0;
    raft_index next = meet + 1 < m->reject_index ? meet + 1 : m->reject_index;
    if (next <= f->match)
        next = f->match + 1;
    raft_trace_add(r, TRACE_PROBE, f->id, m->reject_index, m->hint_index, m->hint_term, next);
    raft_progress_probe(f, next);
}

void raft_replication_reply(struct raft *r, const struct raft_message *m)
{
    struct raft_follower *f = raft_progress_find(r, m->from);
    if (r->state != RAFT_LEADER || !f)
        return;
    note_answer(r, f, m);
    if (m->accepted)
        accepted(r, f, m);
    else
        refused(r, f, m);
    let_leave(r, f, m);
}

/* A peer that answers heartbeats and not appends has lost one, or its disk is slow: a probe's
 * reply is waited for until the next heartbeat, a pipeline's for an election timeout. */
void raft_replication_heartbeat_reply(struct raft *r, const struct raft_message *m)
{
    struct raft_follower *f = raft_progress_find(r, m->from);
    if (r->state != RAFT_LEADER || !f)
        return;
    note_answer(r, f, m);
    if (f->state == RAFT_PROBE && (m->sent_us == 0 || m->sent_us >= f->probe_sent_us))
        f->paused = false;
    if (f->state == RAFT_PIPELINE && f->inflight_count > 0 &&
        r->now_us - f->inflight_since_us > r->options.election_timeout_us) {
        raft_trace_add(r, TRACE_APPEND_LOST, f->id, f->match, f->next, 0, 0);
        raft_progress_probe(f, f->match + 1);
    }
    let_leave(r, f, m);
}

void raft_replication_unreachable(struct raft *r, raft_id peer)
{
    struct raft_follower *f = raft_progress_find(r, peer);
    if (r->state != RAFT_LEADER || !f || f->state == RAFT_SNAPSHOT || raft_id_is_self(r, peer))
        return;
    if (f->state == RAFT_PIPELINE) {
        raft_trace_add(r, TRACE_UNREACHABLE, peer, f->match, f->next, 0, 0);
        raft_progress_probe(f, f->match + 1);
    }
    f->paused = true; /* until its next heartbeat reply */
    f->probe_sent_us = r->now_us;
}
