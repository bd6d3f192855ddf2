/*
 * Snapshots, as the core sees them: index, term and configuration (§5). Taking, sending and
 * installing them is the carrier's.
 */
#include "lib/raft/raft_internal.h"

/* Our own snapshot covers the log up to its index; the log before is gone (§5.1). */
int raft_snapshot_compacted(struct raft *r, const struct raft_snapshot *s)
{
    if (s->index <= r->terms.snapshot_index)
        return 0;
    if (s->index > r->commit || s->index > r->durable ||
        s->term != raft_terms_at(&r->terms, s->index))
        return ERR_BAD_REQUEST;
    raft_terms_compact(&r->terms, s->index);
    raft_membership_compact(r, s->index);
    raft_trace_add(r, TRACE_COMPACTED, 0, s->index, s->term, 0, 0);
    return 0;
}

/* State and log are the snapshot's now, durably. Entries behind it stay if our log holds the
 * snapshot's last entry, else nothing of it can be trusted, configurations included (§5.3). */
int raft_snapshot_installed(struct raft *r, const struct raft_snapshot *s)
{
    if (s->index == 0 || s->term == 0 || s->term > RAFT_TERM_MAX || s->index >> 62 != 0 ||
        s->configuration.index > s->index || !raft_configuration_valid(&s->configuration))
        return ERR_BAD_REQUEST;
    if (s->index <= r->terms.snapshot_index)
        return 0;
    bool keeps_tail = raft_terms_at(&r->terms, s->index) == s->term;
    if (s->index <= r->commit && !keeps_tail)
        return ERR_BAD_REQUEST;
    if (s->term > r->term)
        raft_election_follow(r, s->term, 0);
    else if (r->state != RAFT_FOLLOWER && !(keeps_tail && r->state == RAFT_LEADER))
        raft_election_follow(r, r->term, 0);
    raft_trace_add(r, TRACE_INSTALLED, 0, s->index, s->term, keeps_tail, r->terms.last);
    if (keeps_tail)
        raft_terms_compact(&r->terms, s->index);
    else
        raft_terms_reset(&r->terms, s->index, s->term);
    if (r->verified > r->terms.last)
        r->verified = r->terms.last;
    raft_commit_to(r, s->index);
    if (keeps_tail) { /* the log says the same of the configuration */
        raft_membership_compact(r, s->index);
    } else {
        raft_membership_reset(r, &s->configuration);
        r->out.configuration_changed = true;
    }
    raft_persist_snapshot(r, s->index, keeps_tail);
    return 0;
}

/* The leader's carrier has sent one, or failed to. */
int raft_snapshot_sent(struct raft *r, raft_id peer, bool ok, raft_index index)
{
    struct raft_follower *f = raft_progress_find(r, peer);
    if (r->state != RAFT_LEADER || !f || f->state != RAFT_SNAPSHOT)
        return 0;
    if (index > r->terms.last)
        return ERR_BAD_REQUEST;
    raft_trace_add(r, TRACE_SNAPSHOT_SENT, peer, ok, index, 0, 0);
    raft_progress_probe(f, ok && index > f->match ? index + 1 : f->match + 1);
    if (!ok) { /* not again before it answers a heartbeat */
        f->paused = true;
        f->probe_sent_us = r->now_us;
    }
    return 0;
}
