/*
 * The configuration in force, from log and snapshot, and how it changes (§4).
 *
 *     ADD_LEARNER, PROMOTE of one that lags, REMOVE of a learner:   C ------------------------> C'
 *     PROMOTE, REMOVE of a voter, a caught-up learner's turn:       C --> C_old,new (joint) -->
 * C_new
 *
 * A configuration is in force from when it is appended (§4.1). Everything that is still to happen
 * stands in it (joint, RAFT_AUTO_PROMOTE, `replaces`), so the leader of any term goes on with it.
 */
#include <string.h>

#include "lib/raft/raft_internal.h"

/* ---- the configurations of the log ---- */

static void drop_oldest(struct raft_configurations *all, uint32_t count)
{
    uint32_t kept = all->count - count;
    memmove(&all->items[0], &all->items[count], kept * sizeof(all->items[0]));
    memset(&all->items[kept], 0, count * sizeof(all->items[0]));
    all->count = kept;
}

static void note_self(struct raft *r, const struct raft_configuration *c)
{
    if (raft_configuration_find(c, r->options.id))
        r->was_member = true;
}

void raft_membership_reset(struct raft *r, const struct raft_configuration *c)
{
    struct raft_configurations *all = &r->configurations;
    memset(all->items, 0, all->count * sizeof(all->items[0]));
    raft_configuration_copy(&all->items[0], c);
    all->count = 1;
    note_self(r, c);
}

/* A leader appends one only when all before it are committed (§4.1), so at most the last one of any
 * log is ever rolled back, and the oldest can go. */
void raft_membership_push(struct raft *r, const struct raft_configuration *c)
{
    struct raft_configurations *all = &r->configurations;
    ASSERT(c->index > raft_latest(r)->index);
    if (all->count == RAFT_CONFIGURATIONS_MAX)
        drop_oldest(all, 1);
    raft_configuration_copy(&all->items[all->count++], c);
    note_self(r, c);
    r->out.configuration_changed = true;
    raft_trace_add(r, TRACE_CONFIGURATION, 0, c->index, raft_configuration_voters(c, RAFT_VOTER),
                   raft_configuration_voters(c, RAFT_VOTER_OLD), c->count);
}

/* §4.1: the entry is gone, so the configuration before it is in force again. */
void raft_membership_truncate(struct raft *r, raft_index from)
{
    struct raft_configurations *all = &r->configurations;
    while (raft_latest(r)->index >= from) {
        ASSERT(all->count > 1);
        raft_trace_add(r, TRACE_ROLLBACK, 0, raft_latest(r)->index,
                       all->items[all->count - 2].index, 0, 0);
        memset(&all->items[--all->count], 0, sizeof(all->items[0]));
        r->out.configuration_changed = true;
    }
}

void raft_membership_compact(struct raft *r, raft_index index)
{
    struct raft_configurations *all = &r->configurations;
    uint32_t old = 0;
    while (old + 1 < all->count && all->items[old + 1].index <= index)
        old++;
    if (old > 0)
        drop_oldest(all, old);
}

const struct raft_configuration *raft_configuration_latest(const struct raft *r)
{
    return raft_latest(r);
}

const struct raft_configuration *raft_configuration_at(const struct raft *r, raft_index index)
{
    for (uint32_t i = r->configurations.count; i > 0; i--)
        if (r->configurations.items[i - 1].index <= index)
            return &r->configurations.items[i - 1];
    return NULL;
}

/* After a start the commit index may lie before all that are kept; the oldest is committed all the
 * same, since there are later ones. */
const struct raft_configuration *raft_configuration_committed(const struct raft *r)
{
    const struct raft_configuration *c = raft_configuration_at(r, r->commit);
    return c ? c : &r->configurations.items[0];
}

bool raft_change_pending(const struct raft *r)
{
    return raft_latest(r)->joint || raft_latest(r)->index > r->commit;
}

/* ---- are we still in it? ---- */

/* A later configuration with us takes it back, though the latest be one without us again: that is
 * not committed, or it would be the removal that we know of. */
bool raft_removed(const struct raft *r)
{
    const struct raft_configurations *all = &r->configurations;
    for (uint32_t i = all->count; i > 0 && all->items[i - 1].index > r->removed; i--)
        if (raft_configuration_find(&all->items[i - 1], r->options.id))
            return false;
    return r->removed != 0;
}

raft_index raft_removed_index(const struct raft *r)
{
    return r->removed;
}

static void set_removed(struct raft *r, raft_index index, bool told)
{
    r->removed = index;
    r->out.hard_state = true;
    raft_trace_add(r, TRACE_REMOVED, 0, index, told, 0, 0);
    if (r->state != RAFT_FOLLOWER)
        raft_election_follow(r, r->term, 0);
}

/* Who reads the log from its beginning meets configurations from before its time: those say
 * nothing, so only one who was a member has been removed. */
void raft_membership_notice(struct raft *r)
{
    if (!r->was_member || raft_configuration_find(raft_latest(r), r->options.id))
        return;
    const struct raft_configuration *c = raft_configuration_committed(r);
    if (c->index > r->removed && !raft_configuration_find(c, r->options.id))
        set_removed(r, c->index, false);
}

/* From one who knows more: we missed our removal, or that it is committed. Nobody needs us then,
 * since a majority of those who stayed have it (§4.2.2). A later configuration knows better. */
int raft_membership_told(struct raft *r, raft_index index)
{
    const struct raft_configuration *latest = raft_latest(r);
    if (index == 0 || index >> 62 != 0)
        return ERR_BAD_REQUEST;
    bool is_ours = latest->index == index && raft_configuration_find(latest, r->options.id) != NULL;
    if (r->was_member && latest->index <= index && !is_ours && index > r->removed)
        set_removed(r, index, true);
    return 0;
}

/* ---- the leader changes it ---- */

static void append_configuration(struct raft *r, struct raft_configuration *c)
{
    c->index = r->terms.last + 1;
    ASSERT(raft_configuration_valid(c));
    raft_membership_push(r, c);
    raft_progress_sync(r, raft_latest(r));
    raft_leader_await_quorum(r);
    raft_append_made(r, RAFT_CONFIGURATION);
    raft_transfer_check(r);
}

/* The joint configuration in which the learner has become a voter, and whom it replaces none. */
static void promote(struct raft *r, raft_id id)
{
    struct raft_configuration c = *raft_latest(r);
    struct raft_member *learner = raft_configuration_member(&c, id);
    raft_id replaced = learner->replaces;
    raft_configuration_enter_joint(&c);
    learner->flags = RAFT_VOTER;
    learner->replaces = 0;
    struct raft_member *leaves = raft_configuration_member(&c, replaced);
    if (leaves)
        leaves->flags &= ~(uint32_t)RAFT_VOTER;
    raft_trace_add(r, TRACE_PROMOTES, id, replaced, c.index, 0, 0);
    append_configuration(r, &c);
}

static int add_learner(struct raft *r, struct raft_configuration *c,
                       const struct raft_change *change)
{
    struct raft_member member = {.id = change->id,
                                 .flags = change->auto_promote ? RAFT_AUTO_PROMOTE : 0u};
    if (raft_configuration_find(c, change->id))
        return ERR_CONFLICT;
    if (!raft_configuration_insert(c, member))
        return ERR_OVERLOADED;
    append_configuration(r, c);
    return 0;
}

static int promote_learner(struct raft *r, struct raft_configuration *c,
                           const struct raft_change *change)
{
    struct raft_member *member = raft_configuration_member(c, change->id);
    if (!member)
        return ERR_NOT_FOUND;
    if (member->flags & RAFT_VOTER)
        return ERR_CONFLICT;
    if (raft_progress_caught_up(r, raft_progress_find(r, change->id))) {
        promote(r, change->id);
        return 0;
    }
    if (member->flags & RAFT_AUTO_PROMOTE)
        return 0; /* it is going to be */
    member->flags |= RAFT_AUTO_PROMOTE;
    append_configuration(r, c);
    return 0;
}

static int remove_member(struct raft *r, struct raft_configuration *c,
                         const struct raft_change *change)
{
    struct raft_member *member = raft_configuration_member(c, change->id);
    if (!member)
        return ERR_NOT_FOUND;
    if (member->flags & RAFT_VOTER) {
        if (raft_configuration_voters(c, RAFT_VOTER) == 1)
            return ERR_BAD_REQUEST; /* nobody could vote any more */
        raft_configuration_enter_joint(c);
        member->flags &= ~(uint32_t)RAFT_VOTER;
    } else {
        raft_configuration_remove(c, change->id);
    }
    append_configuration(r, c);
    return 0;
}

/* The new one learns first; the exchange then is one joint change (§4.2.1, §4.3). */
static int replace_member(struct raft *r, struct raft_configuration *c,
                          const struct raft_change *change)
{
    struct raft_member *old = raft_configuration_member(c, change->id);
    struct raft_member *new = raft_configuration_member(c, change->new_id);
    if (!old)
        return ERR_NOT_FOUND;
    if (change->new_id == 0 || change->new_id == change->id)
        return ERR_BAD_REQUEST;
    if (new && (new->flags &RAFT_VOTER))
        return ERR_CONFLICT;
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->members[i].replaces != change->id)
            continue;
        return c->members[i].id == change->new_id ? 0 : ERR_CONFLICT;
    }
    struct raft_member member = {
        .id = change->new_id, .replaces = change->id, .flags = RAFT_AUTO_PROMOTE};
    if (!(old->flags & RAFT_VOTER)) { /* a learner is just exchanged */
        member.replaces = old->replaces;
        member.flags = old->flags;
        raft_configuration_remove(c, change->id);
        new = raft_configuration_member(c, change->new_id);
    }
    if (new)
        *new = member;
    else if (!raft_configuration_insert(c, member))
        return ERR_OVERLOADED;
    append_configuration(r, c);
    return 0;
}

int raft_membership_change(struct raft *r, const struct raft_change *change)
{
    if (r->state != RAFT_LEADER)
        return ERR_NO_LEADER;
    if (change->id == 0)
        return ERR_BAD_REQUEST;
    /* Not before an entry of our own term is committed: an earlier leader's change may be pending
     * that our log has not, with a majority that ours does not overlap (Ongaro, raft-dev, 2015). */
    if (r->commit < r->noop || raft_handing_over(r))
        return ERR_AGAIN;
    if (raft_change_pending(r))
        return ERR_CONFLICT;
    if (change->configuration_index != 0 && change->configuration_index != raft_latest(r)->index)
        return ERR_CONFLICT;
    struct raft_configuration c = *raft_latest(r);
    switch (change->kind) {
    case RAFT_ADD_LEARNER: return add_learner(r, &c, change);
    case RAFT_PROMOTE: return promote_learner(r, &c, change);
    case RAFT_REMOVE: return remove_member(r, &c, change);
    case RAFT_REPLACE: return replace_member(r, &c, change);
    }
    return ERR_BAD_REQUEST;
}

/* ---- what is due by the log ---- */

/* A leader without a vote in the configuration has led until that was committed; now the best of
 * those who have one takes over (§4.2.2). */
static void retire(struct raft *r)
{
    bool learner = raft_configuration_find(raft_latest(r), r->options.id) != NULL;
    raft_trace_add(r, TRACE_RETIRES, 0, raft_latest(r)->index, r->commit, learner, 0);
    for (uint32_t i = 0; i < r->follower_count; i++)
        if (!raft_id_is_self(r, r->followers[i].id))
            raft_leader_heartbeat(r, &r->followers[i]);
    raft_transfer_hand_over(r);
    raft_election_follow(r, r->term, 0);
}

static bool promote_next(struct raft *r)
{
    const struct raft_configuration *c = raft_latest(r);
    for (uint32_t i = 0; i < c->count; i++) {
        if (!(c->members[i].flags & RAFT_AUTO_PROMOTE) ||
            !raft_progress_caught_up(r, &r->followers[i]))
            continue;
        promote(r, c->members[i].id);
        return true;
    }
    return false;
}

bool raft_membership_advance(struct raft *r)
{
    if (r->commit < r->noop || raft_latest(r)->index > r->commit)
        return false;
    if (raft_latest(r)->joint) { /* C_old,new is committed: C_new (§4.3) */
        struct raft_configuration c = *raft_latest(r);
        raft_configuration_leave_joint(&c);
        append_configuration(r, &c);
        return true;
    }
    if (!raft_configuration_is_voter(raft_latest(r), r->options.id)) {
        retire(r);
        return true;
    }
    return !raft_handing_over(r) && promote_next(r);
}
