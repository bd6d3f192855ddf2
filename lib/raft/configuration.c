/*
 * One configuration as a value: lookup, validity, and the steps between configurations (§4.1,
 * §4.3). Which one is in force is membership.c's.
 */
#include <string.h>

#include "lib/raft/raft_internal.h"

struct raft_member *raft_configuration_member(struct raft_configuration *c, raft_id id)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (c->members[i].id == id)
            return &c->members[i];
    return NULL;
}

const struct raft_member *raft_configuration_find(const struct raft_configuration *c, raft_id id)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (c->members[i].id == id)
            return &c->members[i];
    return NULL;
}

bool raft_configuration_is_voter(const struct raft_configuration *c, raft_id id)
{
    const struct raft_member *m = raft_configuration_find(c, id);
    return m && (m->flags & (RAFT_VOTER | RAFT_VOTER_OLD));
}

uint32_t raft_configuration_voters(const struct raft_configuration *c, uint32_t flag)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->count; i++)
        count += (c->members[i].flags & flag) != 0;
    return count;
}

bool raft_configuration_sole_voter(const struct raft_configuration *c, raft_id id)
{
    uint32_t any = RAFT_VOTER | RAFT_VOTER_OLD;
    return raft_configuration_voters(c, any) == 1 && raft_configuration_is_voter(c, id);
}

bool raft_configuration_valid(const struct raft_configuration *c)
{
    const uint32_t votes = RAFT_VOTER | RAFT_VOTER_OLD, all = votes | RAFT_AUTO_PROMOTE;
    if (c->count == 0 || c->count > RAFT_MEMBERS_MAX)
        return false;
    uint32_t seen = 0;
    raft_id last = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct raft_member *m = &c->members[i];
        if (m->id <= last || (m->flags & ~all))
            return false;
        if ((m->flags & RAFT_AUTO_PROMOTE) ? (m->flags & votes) != 0 : m->replaces != 0)
            return false;
        last = m->id;
        seen |= m->flags;
    }
    return (seen & RAFT_VOTER) && c->joint == ((seen & RAFT_VOTER_OLD) != 0);
}

/* Byte by byte the same for equal configurations, padding included. */
void raft_configuration_copy(struct raft_configuration *to, const struct raft_configuration *from)
{
    memset(to, 0, sizeof(*to));
    to->index = from->index;
    to->joint = from->joint;
    for (uint32_t i = 0; i < from->count; i++)
        raft_configuration_insert(to, from->members[i]);
}

bool raft_configuration_insert(struct raft_configuration *c, struct raft_member member)
{
    if (c->count == RAFT_MEMBERS_MAX)
        return false;
    uint32_t i = c->count++;
    for (; i > 0 && c->members[i - 1].id > member.id; i--)
        c->members[i] = c->members[i - 1];
    memset(&c->members[i], 0, sizeof(c->members[i]));
    c->members[i].id = member.id;
    c->members[i].replaces = member.replaces;
    c->members[i].flags = member.flags;
    return true;
}

/* Nobody replaces a member that is gone: the learner is promoted all the same. */
void raft_configuration_remove(struct raft_configuration *c, raft_id id)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->members[i].id == id)
            continue;
        c->members[kept] = c->members[i];
        if (c->members[kept].replaces == id)
            c->members[kept].replaces = 0;
        kept++;
    }
    memset(&c->members[kept], 0, (c->count - kept) * sizeof(c->members[0]));
    c->count = kept;
}

/* C_new becomes C_old as well; the caller then changes who has RAFT_VOTER (§4.3). */
void raft_configuration_enter_joint(struct raft_configuration *c)
{
    ASSERT(!c->joint);
    c->joint = true;
    for (uint32_t i = 0; i < c->count; i++)
        if (c->members[i].flags & RAFT_VOTER)
            c->members[i].flags |= RAFT_VOTER_OLD;
}

/* C_old goes: those that voted only there leave the cluster (§4.3). */
void raft_configuration_leave_joint(struct raft_configuration *c)
{
    ASSERT(c->joint);
    c->joint = false;
    for (uint32_t i = c->count; i > 0; i--) {
        struct raft_member *m = &c->members[i - 1];
        if ((m->flags & (RAFT_VOTER | RAFT_VOTER_OLD)) == RAFT_VOTER_OLD)
            raft_configuration_remove(c, m->id);
        else
            m->flags &= ~(uint32_t)RAFT_VOTER_OLD;
    }
}
