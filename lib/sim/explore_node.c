/*
 * A node and a message as bytes, under other names if need be. Equal bytes are equal values, and
 * the bytes under a permutation of names are those of the renamed value.
 */
#include <string.h>

#include "lib/base/check.h"
#include "lib/sim/explore_internal.h"

struct reader {
    const uint8_t *at;
};

static void put(struct bytes *b, uint64_t v)
{
    ASSERT(v < 256);
    if (b->len == ITEM_BYTES_MAX)
        b->full = true;
    else
        b->data[b->len++] = (uint8_t)v;
}

static uint8_t get(struct reader *r)
{
    return *r->at++;
}

static void put_wide(struct bytes *b, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        put(b, (v >> (8 * i)) & 255);
}

static uint64_t get_wide(struct reader *r)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v |= (uint64_t)get(r) << (8 * i);
    return v;
}

static void put_id(struct bytes *b, raft_id id, const raft_id *rename)
{
    put(b, rename && id != 0 ? rename[id] : id);
}

/* ---- configurations ---- */

uint64_t members_of(const struct raft_configuration *c)
{
    uint64_t members = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct raft_member *m = &c->members[i];
        uint64_t byte = MEMBER | m->flags | m->replaces << REPLACES_SHIFT;
        members |= byte << (8 * (m->id - 1));
    }
    return members;
}

void configuration_of(struct raft_configuration *to, struct configuration from)
{
    memset(to, 0, sizeof(*to));
    to->index = from.index;
    for (raft_id id = 1; id <= EXPLORE_NODES_MAX; id++) {
        uint8_t byte = member_byte(from.members, id);
        if (!(byte & MEMBER))
            continue;
        to->members[to->count++] = (struct raft_member){
            .id = id, .replaces = byte >> REPLACES_SHIFT, .flags = byte & (MEMBER - 1u)};
        if (byte & RAFT_VOTER_OLD)
            to->joint = true;
    }
}

static uint64_t rename_members(uint64_t members, const raft_id *rename)
{
    if (!rename)
        return members;
    uint64_t to = 0;
    for (raft_id id = 1; id <= EXPLORE_NODES_MAX; id++) {
        uint64_t byte = member_byte(members, id);
        uint64_t replaces = byte >> REPLACES_SHIFT;
        if (replaces != 0)
            byte = (byte & 15) | rename[replaces] << REPLACES_SHIFT;
        to |= byte << (8 * (rename[id] - 1));
    }
    return to;
}

/* ---- entries ---- */

static void put_entries(struct bytes *b, const struct entries *e, const raft_id *rename)
{
    put(b, e->first);
    put(b, e->last);
    for (uint32_t i = e->first; i <= e->last; i++)
        put(b, e->terms[i]);
    put(b, e->configuration_count);
    for (uint32_t i = 0; i < e->configuration_count; i++) {
        put(b, e->configurations[i].index);
        put_wide(b, rename_members(e->configurations[i].members, rename));
    }
}

static void get_entries(struct reader *r, struct entries *e)
{
    memset(e, 0, sizeof(*e));
    e->first = get(r);
    e->last = get(r);
    for (uint32_t i = e->first; i <= e->last; i++)
        e->terms[i] = get(r);
    e->configuration_count = get(r);
    for (uint32_t i = 0; i < e->configuration_count; i++) {
        e->configurations[i].index = get(r);
        e->configurations[i].members = get_wide(r);
    }
}

/* ---- nodes ---- */

void node_put(struct bytes *b, const struct node *n, const struct raft *core, const raft_id *rename)
{
    b->len = 0;
    b->full = false;
    put_id(b, n->id, rename);
    put(b, n->life);
    put(b, n->led & 255);
    put(b, n->led >> 8);
    put_entries(b, &n->log, rename);
    put(b, n->disk.term);
    put_id(b, n->disk.vote, rename);
    put(b, n->disk.removed);
    put(b, n->disk.snapshot);
    put_entries(b, &n->disk.log, rename);
    put(b, n->write_count);
    for (uint32_t i = 0; i < n->write_count; i++) {
        const struct write *w = &n->writes[i];
        put(b, w->hard_state);
        put(b, w->term);
        put_id(b, w->vote, rename);
        put(b, w->removed);
        put(b, w->truncate_from);
        put_entries(b, &w->entries, rename);
    }
    put(b, n->read_count);
    for (uint32_t i = 0; i < n->read_count; i++) {
        put(b, n->reads[i].id);
        put(b, n->reads[i].floor);
    }
    size_t packed = raft_pack(core, rename, &b->data[b->len], ITEM_BYTES_MAX - b->len);
    ASSERT(packed > 0 && !b->full);
    b->len += (uint32_t)packed;
}

void node_get(const uint8_t *data, size_t len, const struct raft_options *options, struct node *n,
              struct raft *core)
{
    struct reader r = {.at = data};
    memset(n, 0, sizeof(*n));
    n->id = get(&r);
    n->life = get(&r);
    n->led = get(&r);
    n->led |= (uint16_t)(get(&r) << 8);
    get_entries(&r, &n->log);
    n->disk.term = get(&r);
    n->disk.vote = get(&r);
    n->disk.removed = get(&r);
    n->disk.snapshot = get(&r);
    get_entries(&r, &n->disk.log);
    n->write_count = get(&r);
    for (uint32_t i = 0; i < n->write_count; i++) {
        struct write *w = &n->writes[i];
        w->persist = i + 1;
        w->hard_state = get(&r);
        w->term = get(&r);
        w->vote = get(&r);
        w->removed = get(&r);
        w->truncate_from = get(&r);
        get_entries(&r, &w->entries);
    }
    n->read_count = get(&r);
    for (uint32_t i = 0; i < n->read_count; i++) {
        n->reads[i].id = get(&r);
        n->reads[i].floor = get(&r);
    }
    ASSERT(raft_unpack(core, options, NOW_US, r.at, len - (size_t)(r.at - data)) == 0);
}

/* ---- messages ---- */

void message_put(struct bytes *b, const struct message *m, const raft_id *rename)
{
    const struct raft_message *r = &m->raft;
    b->len = 0;
    b->full = false;
    put(b, m->kind);
    put(b, r->type);
    put_id(b, r->from, rename);
    put_id(b, r->to, rename);
    put(b, (r->transfer ? 1u : 0u) | (r->granted ? 2u : 0u) | (r->accepted ? 4u : 0u));
    put(b, r->term);
    put(b, r->last_index);
    put(b, r->last_term);
    put(b, r->prev_index);
    put(b, r->prev_term);
    put(b, r->commit);
    put(b, r->round);
    put(b, r->match_index);
    put(b, r->reject_index);
    put(b, r->hint_index);
    put(b, r->hint_term);
    put(b, r->read_index);
    put_wide(b, r->read_id);
    put(b, r->snapshot_index);
    put_entries(b, &m->entries, rename);
    ASSERT(!b->full);
}

void message_get(const uint8_t *data, struct message *m)
{
    struct reader at = {.at = data};
    struct raft_message *r = &m->raft;
    memset(m, 0, sizeof(*m));
    m->kind = (enum message_kind)get(&at);
    r->type = (enum raft_message_type)get(&at);
    r->from = get(&at);
    r->to = get(&at);
    uint8_t flags = get(&at);
    r->transfer = flags & 1;
    r->granted = flags & 2;
    r->accepted = flags & 4;
    r->term = get(&at);
    r->last_index = get(&at);
    r->last_term = get(&at);
    r->prev_index = get(&at);
    r->prev_term = get(&at);
    r->commit = get(&at);
    r->round = get(&at);
    r->match_index = get(&at);
    r->reject_index = get(&at);
    r->hint_index = get(&at);
    r->hint_term = get(&at);
    r->read_index = get(&at);
    r->read_id = get_wide(&at);
    r->snapshot_index = get(&at);
    get_entries(&at, &m->entries);
    r->entry_count = r->type == RAFT_APPEND && m->kind == MESSAGE_RAFT
                         ? (uint32_t)(m->entries.last + 1 - m->entries.first)
                         : 0;
}
