/*
 * Writes on their way to the disk, by number, and the replies that wait for them (§3.8: what a
 * reply promises is on stable storage before it is sent; §10.2.1: the leader writes in parallel).
 */
#include <string.h>

#include "lib/raft/raft_internal.h"

void raft_persist_begin(struct raft *r)
{
    struct raft_output *out = &r->out;
    out->hard_state = false;
    out->truncate_from = out->write_first = out->write_last = 0;
    out->made_count = 0;
}

void raft_persist_write(struct raft *r, raft_index first, raft_index last)
{
    struct raft_output *out = &r->out;
    ASSERT(first <= last && last == r->terms.last);
    if (out->write_first == 0)
        out->write_first = first;
    else
        ASSERT(out->write_last + 1 == first);
    out->write_last = last;
}

/* The entries that are still being written from `from` on are not the log's any more: their
 * acknowledgement says nothing of what has come in their place, though the indexes be the same. */
void raft_persist_truncate(struct raft *r, raft_index from)
{
    struct raft_output *out = &r->out;
    ASSERT(out->write_first == 0 && out->truncate_from == 0);
    out->truncate_from = from;
    if (r->durable >= from)
        r->durable = from - 1;
    for (uint32_t i = 0; i < r->write_count; i++)
        if (r->writes[i].last >= from)
            r->writes[i].last = from - 1;
    for (uint32_t i = 0; i < r->deferred_count; i++)
        if (r->deferred[i].match >= from)
            r->deferred[i].match = from - 1;
}

void raft_persist_finish(struct raft *r, struct raft_update *update)
{
    const struct raft_output *out = &r->out;
    update->persist = 0;
    update->hard_state = out->hard_state;
    update->term = r->term;
    update->vote = r->vote;
    update->removed = r->removed;
    update->truncate_from = out->truncate_from;
    update->write_first = out->write_first;
    update->write_last = out->write_last;
    if (!out->hard_state && out->truncate_from == 0 && out->write_first == 0)
        return;
    update->persist = ++r->persist_issued;
    if (out->hard_state)
        r->hard_persist = update->persist;
    if (out->write_first == 0)
        return;
    /* A full table joins the newest two: the older then counts only when the newer is durable. */
    if (r->write_count == RAFT_WRITES_MAX)
        r->write_count--;
    r->writes[r->write_count++] =
        (struct raft_write){.persist = update->persist, .last = out->write_last};
}

bool raft_persist_hard_durable(const struct raft *r)
{
    return r->persist_done >= r->hard_persist && !r->out.hard_state;
}

/* ---- replies ---- */

static void reply_to(struct raft *r, const struct raft_deferred *d, bool kept)
{
    struct raft_message *m = raft_send(r, (enum raft_message_type)d->type, d->to);
    m->context = d->context;
    if (d->type == RAFT_VOTE_REPLY) {
        m->granted = kept;
        return;
    }
    m->round = d->round;
    m->sent_us = d->sent_us;
    m->accepted = kept;
    if (!kept)
        return;
    m->match_index = d->match < r->durable ? d->match : r->durable;
    m->promise_us = r->options.election_timeout_us;
}

/* Number of the write that makes term and vote of now durable. */
static uint64_t hard_number(const struct raft *r)
{
    return r->out.hard_state ? r->persist_issued + 1 : r->hard_persist;
}

static bool is_durable(const struct raft *r, const struct raft_deferred *d)
{
    return r->persist_done >= d->persist && r->durable >= d->match;
}

/* A reply that must be true on disk: a vote granted, or an append accepted up to `match`. Both bind
 * us in the request's term, so term and vote must be durable in either case. */
void raft_persist_defer(struct raft *r, const struct raft_message *request, raft_index match)
{
    bool is_vote = request->type == RAFT_VOTE;
    struct raft_deferred d = {
        .type = is_vote ? RAFT_VOTE_REPLY : RAFT_APPEND_REPLY,
        .to = request->from,
        .context = request->context,
        .persist = hard_number(r),
        .match = match,
        .round = request->round,
        .sent_us = request->sent_us,
    };
    if (is_durable(r, &d)) {
        reply_to(r, &d, true);
    } else if (r->deferred_count < RAFT_REPLIES_MAX) {
        r->deferred[r->deferred_count++] = d;
    } else {
        raft_trace_add(r, TRACE_REPLIES_FULL, request->from, match, r->durable, 0, 0);
        bool hard = r->persist_done >= d.persist;
        if (!hard)
            d.match = 0;
        reply_to(r, &d, !is_vote || hard);
    }
}

static void clear_deferred(struct raft *r, uint32_t kept)
{
    memset(&r->deferred[kept], 0, (r->deferred_count - kept) * sizeof(r->deferred[0]));
    r->deferred_count = kept;
}

static void release_durable(struct raft *r)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->deferred_count; i++) {
        if (is_durable(r, &r->deferred[i]))
            reply_to(r, &r->deferred[i], true);
        else
            r->deferred[kept++] = r->deferred[i];
    }
    if (kept < r->deferred_count)
        clear_deferred(r, kept);
}

void raft_persist_refuse_all(struct raft *r)
{
    for (uint32_t i = 0; i < r->deferred_count; i++)
        reply_to(r, &r->deferred[i], false);
    clear_deferred(r, 0);
}

/* ---- what has become durable ---- */

int raft_persist_done(struct raft *r, uint64_t persist)
{
    if (persist > r->persist_issued)
        return ERR_BAD_REQUEST;
    if (persist <= r->persist_done)
        return 0;
    r->persist_done = persist;
    uint32_t done = 0;
    while (done < r->write_count && r->writes[done].persist <= persist) {
        if (r->durable < r->writes[done].last)
            r->durable = r->writes[done].last;
        done++;
    }
    if (done > 0) {
        uint32_t left = r->write_count - done;
        memmove(&r->writes[0], &r->writes[done], left * sizeof(r->writes[0]));
        memset(&r->writes[left], 0, done * sizeof(r->writes[0]));
        r->write_count = left;
    }
    ASSERT(r->durable <= r->terms.last);
    release_durable(r);
    raft_election_persisted(r);
    return 0;
}

/* Everything up to `index` is durable in a snapshot; without the tail nothing behind it is left. */
void raft_persist_snapshot(struct raft *r, raft_index index, bool keeps_tail)
{
    if (!keeps_tail) {
        for (uint32_t i = 0; i < r->write_count; i++)
            r->writes[i].last = index;
        for (uint32_t i = 0; i < r->deferred_count; i++)
            if (r->deferred[i].match > index)
                r->deferred[i].match = index;
    }
    if (r->durable < index || !keeps_tail)
        r->durable = index;
    release_durable(r);
}
