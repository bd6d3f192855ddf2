/*
 * The follower's side of replication: appends and heartbeats (§3.5).
 */
#include "lib/raft/raft_internal.h"

/* What a message says of its entries must hang together before anything is done with it. */
static bool is_well_formed(const struct raft_message *m)
{
    raft_index last = m->prev_index + m->entry_count;
    if (m->entry_count > RAFT_APPEND_ENTRIES_MAX || m->prev_index >> 62 != 0 ||
        m->prev_term > m->term || (m->entry_count > 0) != (m->run_count > 0) ||
        m->run_count > m->entry_count || m->configuration_count > m->entry_count)
        return false;
    raft_term term = m->prev_term;
    for (uint32_t i = 0; i < m->run_count; i++) {
        raft_index after = i > 0 ? m->runs[i - 1].first : m->prev_index;
        if (i == 0 ? m->runs[0].first != after + 1 : m->runs[i].first <= after)
            return false;
        if (m->runs[i].first > last || m->runs[i].term < term || m->runs[i].term == 0)
            return false;
        term = m->runs[i].term;
    }
    if (term > m->term)
        return false;
    raft_index before = m->prev_index;
    for (uint32_t i = 0; i < m->configuration_count; i++) {
        const struct raft_configuration *c = &m->configurations[i];
        if (c->index <= before || c->index > last || !raft_configuration_valid(c))
            return false;
        before = c->index;
    }
    return true;
}

static raft_term term_in(const struct raft_message *m, raft_index index)
{
    uint32_t i = m->run_count - 1;
    while (m->runs[i].first > index)
        i--;
    return m->runs[i].term;
}

static struct raft_message *reply_to(struct raft *r, const struct raft_message *m)
{
    struct raft_message *reply = raft_reply(r, m);
    reply->round = m->round;
    reply->sent_us = m->sent_us;
    reply->promise_us = r->options.election_timeout_us;
    return reply;
}

/* The hint lets the leader skip what cannot match: our last entry, up to its prev_index, whose term
 * is not over prev_term (§3.5). What we know to be committed matches in any case. */
static void refuse_append(struct raft *r, const struct raft_message *m)
{
    raft_index hint = 0;
    if (!raft_terms_find(&r->terms, m->prev_index, m->prev_term, &hint) || hint < r->commit)
        hint = r->commit;
    struct raft_message *reply = reply_to(r, m);
    reply->reject_index = m->prev_index;
    reply->hint_index = hint;
    reply->hint_term = raft_terms_at(&r->terms, hint);
    if (m->prev_index > r->terms.last)
        raft_trace_add(r, TRACE_APPEND_GAP, m->from, m->prev_index, r->terms.last, hint,
                       reply->hint_term);
    else
        raft_trace_add(r, TRACE_APPEND_MISMATCH, m->from, m->prev_index,
                       raft_terms_at(&r->terms, m->prev_index), m->prev_term, hint);
}

/* Its log contradicts what is committed here, which no leader's does (§3.6.3), or what itself has
 * sent in this term, which it never takes back (§3.5): refused, nothing touched. */
static void refuse_contradiction(struct raft *r, const struct raft_message *m, raft_index at)
{
    raft_trace_add(r, TRACE_APPEND_CONTRADICTS, m->from, at, r->verified, 0, 0);
    struct raft_message *reply = reply_to(r, m);
    reply->reject_index = m->prev_index;
    reply->hint_index = r->commit;
    reply->hint_term = raft_terms_at(&r->terms, r->commit);
}

/* Appends the message's entries from `first` on; as many as there is room for the runs of. Returns
 * the last index that the log now shares with the message. */
static raft_index extend(struct raft *r, const struct raft_message *m, raft_index first)
{
    raft_index last = m->prev_index + m->entry_count;
    ASSERT(first == r->terms.last + 1);
    for (uint32_t i = 0; i < m->run_count; i++) {
        raft_index from = m->runs[i].first > first ? m->runs[i].first : first;
        raft_index to = i + 1 < m->run_count ? m->runs[i + 1].first - 1 : last;
        if (from > to)
            continue;
        if (!raft_terms_room(&r->terms, m->runs[i].term)) {
            raft_trace_add(r, TRACE_RUNS_FULL, m->from, from, last, 0, 0);
            break;
        }
        raft_terms_append(&r->terms, m->runs[i].term, to - from + 1);
    }
    last = r->terms.last;
    if (last < first)
        return last;
    raft_persist_write(r, first, last);
    for (uint32_t i = 0; i < m->configuration_count; i++) {
        const struct raft_configuration *c = &m->configurations[i];
        if (c->index >= first && c->index <= last)
            raft_membership_push(r, c);
    }
    return last;
}

/* Takes over the entries that are not there yet; what conflicts goes first, with all behind it. An
 * entry that is there and equal is left alone, and so is what follows it: the message may be an old
 * one. False: it contradicts what stands fast. */
static bool take_entries(struct raft *r, const struct raft_message *m, raft_index *verified)
{
    raft_index first = m->prev_index + 1, last = m->prev_index + m->entry_count;
    raft_index snapshot = r->terms.snapshot_index;
    *verified = last;
    if (first <= snapshot) {
        if (last >= snapshot && term_in(m, snapshot) != r->terms.snapshot_term) {
            refuse_contradiction(r, m, snapshot);
            return false;
        }
        first = snapshot + 1;
    }
    if (first > last)
        return true;
    raft_index conflict = raft_terms_conflict(&r->terms, first, last, m->runs, m->run_count);
    if (conflict > last)
        return true;
    if (conflict <= r->verified || conflict <= r->configurations.items[0].index) {
        refuse_contradiction(r, m, conflict);
        return false;
    }
    if (conflict <= r->terms.last) {
        raft_trace_add(r, TRACE_TRUNCATES, m->from, conflict, r->terms.last,
                       raft_terms_at(&r->terms, conflict), term_in(m, conflict));
        raft_terms_truncate(&r->terms, conflict);
        raft_persist_truncate(r, conflict);
        raft_membership_truncate(r, conflict);
    }
    *verified = extend(r, m, conflict);
    return true;
}

int raft_append_receive(struct raft *r, const struct raft_message *m)
{
    if (!is_well_formed(m)) {
        raft_refuse(r, m);
        return ERR_BAD_REQUEST;
    }
    raft_election_follow(r, m->term, m->from);
    raft_election_heard(r, m->from);
    bool is_known = m->prev_index >= r->terms.snapshot_index;
    if (m->prev_index > r->terms.last ||
        (is_known && raft_terms_at(&r->terms, m->prev_index) != m->prev_term)) {
        if (m->prev_index <= r->commit)
            refuse_contradiction(r, m, m->prev_index);
        else
            refuse_append(r, m);
        return 0;
    }
    raft_index verified = 0;
    if (!take_entries(r, m, &verified))
        return 0;
    if (r->verified < verified)
        r->verified = verified;
    /* §3.5: what the leader has committed is committed here as far as this leader has verified that
     * our log is its own; what lies behind that may yet be replaced. */
    raft_commit_to(r, m->commit < r->verified ? m->commit : r->verified);
    raft_trace_add(r, TRACE_APPEND_TAKEN, m->from, m->prev_index, m->entry_count, verified,
                   r->commit);
    raft_persist_defer(r, m, verified);
    return 0;
}

void raft_append_heartbeat(struct raft *r, const struct raft_message *m)
{
    raft_election_follow(r, m->term, m->from);
    raft_election_heard(r, m->from);
    raft_commit_to(r, m->commit < r->verified ? m->commit : r->verified);
    reply_to(r, m);
}
