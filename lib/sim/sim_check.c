/*
 * What must hold of cores and logs, looked at after every step of a core, every write and every
 * reply:
 *
 * - the core's own invariants, of its state and of the step from the one before (lib/raft)
 * - Election Safety: one leader a term
 * - Log Matching: what has an index and a term in common is the same entry
 * - Leader Completeness: a leader has what leaders of earlier terms committed
 * - State Machine Safety: what is committed at an index is the same everywhere, and for ever
 * - what a leader commits is on the disks of a majority, of each configuration in force
 * - no leader commits while another believes in its lease
 * - a vote or an entry that is promised is on the promising node's disk; what a leader takes for
 *   replicated is on the follower's
 * - entries go to the state machine in order, once, committed, and on the node's own disk
 */
#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/sim/sim_internal.h"

/* ---- entries ---- */

static struct sim_known *find_known(const struct sim_check *c, raft_index index, raft_term term)
{
    uint64_t slot = (index * 0x9e3779b97f4a7c15U ^ term * 0xc2b2ae3d27d4eb4fU) >> 20;
    for (;; slot++) {
        struct sim_known *k = &c->known[slot & (c->known_room - 1)];
        if (k->index == 0 || (k->index == index && k->term == term))
            return k;
    }
}

static void grow_known(struct sim_check *c)
{
    struct sim_check old = *c;
    c->known_room = old.known_room ? 2 * old.known_room : 4096;
    c->known = mem_calloc(c->known_room, sizeof(*c->known));
    for (size_t i = 0; i < old.known_room; i++)
        if (old.known[i].index > 0)
            *find_known(c, old.known[i].index, old.known[i].term) = old.known[i];
    mem_free(old.known);
}

void sim_check_written(struct sim_node *n, const struct entry *e)
{
    struct sim_check *c = &n->sim->check;
    if (2 * c->known_count >= c->known_room)
        grow_known(c);
    struct sim_known *k = find_known(c, e->index, e->term);
    if (k->index == 0) {
        *k = (struct sim_known){.index = e->index, .term = e->term, .crc = e->crc};
        c->known_count++;
    } else if (k->crc != e->crc) {
        sim_violated(n->sim,
                     "Log Matching: n%" PRIu64 " has another entry %" PRIu64 " of term %" PRIu64,
                     n->id, e->index, e->term);
    }
}

static bool on_disk(const struct sim_node *n, raft_index index, raft_term term)
{
    const struct entry *e = sim_disk_entry(n, index);
    return index <= n->disk.base.index || (e && e->term == term);
}

/* ---- leaders ---- */

static void check_leader(struct sim_node *n, const struct raft *r)
{
    struct sim *s = n->sim;
    struct sim_check *c = &s->check;
    raft_term term = raft_term_current(r);
    s->result->elections++;
    c->leaders = sim_room(c->leaders, &c->leaders_room, term + 1, sizeof(c->leaders[0]));
    if (c->leaders[term] != 0 && c->leaders[term] != n->id)
        sim_violated(s, "Election Safety: n%" PRIu64 " and n%" PRIu64 " lead term %" PRIu64,
                     c->leaders[term], n->id, term);
    c->leaders[term] = n->id;
    for (raft_index i = raft_snapshot_index(r) + 1; i <= c->commit; i++)
        if (c->committed[i].term != 0 && c->committed_in[i] < term &&
            raft_term_at(r, i) != c->committed[i].term)
            sim_violated(s,
                         "Leader Completeness: n%" PRIu64 " leads term %" PRIu64
                         " without entry %" PRIu64,
                         n->id, term, i);
}

static bool on_majority(const struct sim *s, const struct raft_configuration *c, uint32_t flag,
                        raft_index index, raft_term term)
{
    uint32_t voters = 0, durable = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (!(c->members[i].flags & flag))
            continue;
        voters++;
        durable += on_disk(&s->nodes[c->members[i].id], index, term);
    }
    return voters == 0 || durable > voters / 2;
}

static bool is_held(const struct sim *s, const struct raft_configuration *c, raft_index index,
                    raft_term term)
{
    return on_majority(s, c, RAFT_VOTER, index, term) &&
           on_majority(s, c, RAFT_VOTER_OLD, index, term);
}

/* The first time that the entry is committed. */
static void check_commit(struct sim_node *n, const struct raft *r, raft_index index)
{
    struct sim *s = n->sim;
    raft_term term = raft_term_at(r, index);
    if (!is_held(s, raft_configuration_latest(n->before), index, term) &&
        !is_held(s, raft_configuration_latest(r), index, term))
        sim_violated(s, "n%" PRIu64 " commits %" PRIu64 ", which a majority does not have on disk",
                     n->id, index);
    for (uint32_t i = 1; i <= s->node_count; i++) {
        const struct sim_node *other = &s->nodes[i];
        const struct raft *o = other->carry && other != n ? carry_raft(other->carry) : NULL;
        if (o && raft_state(o) == RAFT_LEADER && raft_lease_until_us(o) > sim_clock(other))
            sim_violated(s, "n%" PRIu64 " commits while n%u has a lease", n->id, i);
    }
}

static void check_committed(struct sim_node *n, const struct raft *r, bool leads)
{
    struct sim *s = n->sim;
    struct sim_check *c = &s->check;
    raft_index commit = raft_commit_index(r);
    size_t room = c->committed_room;
    if (leads && commit > c->commit)
        check_commit(n, r, commit);
    c->committed = sim_room(c->committed, &room, commit + 1, sizeof(c->committed[0]));
    c->committed_in =
        sim_room(c->committed_in, &c->committed_room, commit + 1, sizeof(c->committed_in[0]));
    for (raft_index i = raft_commit_index(n->before) + 1; i <= commit; i++) {
        raft_term term = raft_term_at(r, i);
        if (i <= raft_snapshot_index(r))
            continue;
        if (c->committed[i].term == 0) {
            if (!leads)
                sim_violated(s, "n%" PRIu64 " takes %" PRIu64 " for committed, and no leader did",
                             n->id, i);
            c->committed[i].term = term;
            c->committed_in[i] = raft_term_current(r);
        } else if (c->committed[i].term != term) {
            sim_violated(s,
                         "State Machine Safety: n%" PRIu64 " commits an entry of term %" PRIu64
                         " at %" PRIu64 ", where one of term %" PRIu64 " is",
                         n->id, term, i, c->committed[i].term);
        }
    }
    c->commit = commit > c->commit ? commit : c->commit;
}

static void check_match(struct sim_node *n, const struct raft *r, raft_id peer)
{
    struct raft_progress_view views[RAFT_MEMBERS_MAX];
    uint32_t count = raft_progress(r, views);
    for (uint32_t i = 0; i < count; i++) {
        const struct sim_node *p = &n->sim->nodes[views[i].id];
        /* A later leader may have replaced it. */
        if (views[i].id != peer || views[i].match <= raft_snapshot_index(r) ||
            p->disk.term > raft_term_current(r))
            continue;
        if (!on_disk(p, views[i].match, raft_term_at(r, views[i].match)))
            sim_violated(n->sim, "n%" PRIu64 " takes %" PRIu64 " for on the disk of n%" PRIu64,
                         n->id, views[i].match, peer);
    }
}

/* ---- a step ---- */

static const char *name(void *argument, raft_id id)
{
    static const char *const names[] = {"-",  "n1", "n2", "n3",  "n4",  "n5", "n6",
                                        "n7", "n8", "n9", "n10", "n11", "n12"};
    (void)argument;
    return id < sizeof(names) / sizeof(names[0]) ? names[id] : "?";
}

static void trace(struct sim_node *n, const struct raft *r)
{
    enum { TRACES = 64 };
    struct raft_trace t[TRACES];
    uint32_t count = raft_trace_read(r, n->trace_read, t, TRACES);
    for (uint32_t i = 0; i < count; i++) {
        char sentence[SIM_TEXT_BYTES];
        raft_trace_format(&t[i], sentence, sizeof(sentence), name, NULL);
        sim_note(n->sim, n->id, "term %" PRIu64 ": %s", t[i].term, sentence);
        n->trace_read = t[i].number;
    }
}

void sim_check_started(struct sim_node *n)
{
    raft_remember(n->before, carry_raft(n->carry));
}

void sim_check_stepped(void *self, const struct raft_event *event)
{
    struct sim_node *n = self;
    struct sim *s = n->sim;
    const struct raft *r = carry_raft(n->carry);
    bool led = raft_state(n->before) == RAFT_LEADER, leads = raft_state(r) == RAFT_LEADER;
    raft_index durable = raft_durable_index(r);
    const char *broken;
    s->result->steps++;
    if (s->setup.trace)
        trace(n, r);
    broken = raft_invariant(r);
    if (!broken)
        broken = raft_invariant_step(n->before, r);
    if (broken)
        sim_violated(s, "n%" PRIu64 ": %s", n->id, broken);
    if (leads && !led)
        check_leader(n, r);
    if (raft_commit_index(r) >
        raft_commit_index(n->before)) /* one that commits its own removal leads no more */
        check_committed(n, r, led || leads);
    if (durable > raft_snapshot_index(r) && !on_disk(n, durable, raft_term_at(r, durable)))
        sim_violated(s, "n%" PRIu64 " takes %" PRIu64 " for durable", n->id, durable);
    if (event->type == RAFT_MESSAGE && event->message->type == RAFT_APPEND_REPLY)
        check_match(n, r, event->message->from);
    raft_remember(n->before, r);
}

/* ---- promises ---- */

void sim_check_reply(struct sim_node *n, const struct raft_message *m)
{
    const struct sim_disk *d = &n->disk;
    const struct raft *r = carry_raft(n->carry);
    if (m->type == RAFT_VOTE_REPLY && m->granted &&
        (d->term < m->term || (d->term == m->term && d->vote != m->to)))
        sim_violated(n->sim,
                     "n%" PRIu64 " gives n%" PRIu64 " its vote in term %" PRIu64
                     ", which is not on its disk",
                     n->id, m->to, m->term);
    if (m->type == RAFT_APPEND_REPLY && m->accepted && m->match_index > raft_snapshot_index(r) &&
        m->term == raft_term_current(r) &&
        !on_disk(n, m->match_index, raft_term_at(r, m->match_index)))
        sim_violated(n->sim, "n%" PRIu64 " acknowledges %" PRIu64 ", which is not on its disk",
                     n->id, m->match_index);
}

void sim_check_apply(struct sim_node *n, const struct entry *e)
{
    struct sim *s = n->sim;
    struct sim_check *c = &s->check;
    if (n->installing)
        sim_violated(s, "n%" PRIu64 " applies while a snapshot is installed", n->id);
    if (e->index != n->handed + 1)
        sim_violated(s, "n%" PRIu64 " applies %" PRIu64 " behind %" PRIu64, n->id, e->index,
                     n->handed);
    if (e->index > raft_commit_index(carry_raft(n->carry)))
        sim_violated(s, "n%" PRIu64 " applies %" PRIu64 ", which is not committed", n->id,
                     e->index);
    if (!sim_disk_entry(n, e->index) || !on_disk(n, e->index, e->term))
        sim_violated(s, "n%" PRIu64 " applies %" PRIu64 ", which is not on its disk", n->id,
                     e->index);
    struct sim_known *known = &c->committed[e->index];
    if (known->term != 0 && (known->term != e->term || (known->crc != 0 && known->crc != e->crc)))
        sim_violated(s, "State Machine Safety: n%" PRIu64 " applies another entry %" PRIu64, n->id,
                     e->index);
    known->crc = e->crc;
    if (e->index == s->model.applied + 1)
        sim_model_apply(s, e);
}

void sim_check_free(struct sim *s)
{
    mem_free(s->check.known);
    mem_free(s->check.committed);
    mem_free(s->check.committed_in);
    mem_free(s->check.leaders);
}
