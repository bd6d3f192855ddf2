/*
 * A core in few bytes, for a search that keeps millions of them. What does not decide is left out,
 * and what only counts is counted from where it matters, so that cores that behave alike are equal
 * bytes: write numbers begin behind the last durable one, rings at their first slot, and of times
 * nothing is kept but whether something waits for one.
 */
#include <string.h>

#include "lib/raft/raft_internal.h"

struct pack {
    uint8_t *at, *end;
    const raft_id *rename;
    bool full;
};

struct unpack {
    const uint8_t *at, *end;
    bool bad;
};

/* ---- numbers, seven bits a byte, the lowest first ---- */

static void put(struct pack *p, uint64_t v)
{
    do {
        if (p->at == p->end) {
            p->full = true;
            return;
        }
        uint8_t more = v > 127 ? 128 : 0;
        *p->at++ = (uint8_t)(v & 127) | more;
        v >>= 7;
    } while (v > 0);
}

static uint64_t get(struct unpack *u)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (u->at == u->end)
            break;
        uint8_t byte = *u->at++;
        v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return v;
    }
    u->bad = true;
    return 0;
}

static uint32_t get_count(struct unpack *u, uint32_t max)
{
    uint64_t count = get(u);
    if (count > max)
        u->bad = true;
    return u->bad ? 0 : (uint32_t)count;
}

static raft_id renamed(const struct pack *p, raft_id id)
{
    return p->rename && id != 0 ? p->rename[id] : id;
}

static void put_id(struct pack *p, raft_id id)
{
    put(p, renamed(p, id));
}

static uint64_t behind(uint64_t number, uint64_t done)
{
    return number > done ? number - done : 0;
}

/* ---- flags ---- */

enum {
    WAS_MEMBER = 1,
    STALLED = 2,
    FENCED = 4,
    WAITS_FOR_VOTE = 8,
    TRANSFERRING = 16,
    TRANSFER_TOLD = 32,
    TRANSFER_OVER = 64,
    LEASE_VOID = 128,
    READ_DUE = 256,
    COUNTED_ON = 512,
    HANDING_OVER = 1024,
    STATE_SHIFT = 11,
};

static uint64_t flags_of(const struct raft *r)
{
    return (r->was_member ? WAS_MEMBER : 0u) | (r->stalled ? STALLED : 0u) |
           (r->fenced ? FENCED : 0u) | (r->waits_for_vote ? WAITS_FOR_VOTE : 0u) |
           (r->transferring ? TRANSFERRING : 0u) | (r->transfer_told ? TRANSFER_TOLD : 0u) |
           (r->transfer_over ? TRANSFER_OVER : 0u) | (r->lease_void ? LEASE_VOID : 0u) |
           (r->read_due_us != 0 ? READ_DUE : 0u) | (r->counted_on ? COUNTED_ON : 0u) |
           (r->handover_due_us != 0 ? HANDING_OVER : 0u) | r->state << STATE_SHIFT;
}

static void set_flags(struct raft *r, uint64_t flags)
{
    r->was_member = flags & WAS_MEMBER;
    r->stalled = flags & STALLED;
    r->fenced = flags & FENCED;
    r->waits_for_vote = flags & WAITS_FOR_VOTE;
    r->transferring = flags & TRANSFERRING;
    r->transfer_told = flags & TRANSFER_TOLD;
    r->transfer_over = flags & TRANSFER_OVER;
    r->lease_void = flags & LEASE_VOID;
    r->counted_on = flags & COUNTED_ON;
    r->state = (uint32_t)(flags >> STATE_SHIFT) & 3;
    if (flags & READ_DUE)
        r->read_due_us = r->now_us + r->options.heartbeat_interval_us;
    if (r->transfer_over)
        r->transfer_due_us = r->now_us + 2 * r->options.heartbeat_interval_us;
    if (flags & HANDING_OVER)
        r->handover_due_us = r->now_us + 2 * r->options.heartbeat_interval_us;
}

enum { PAUSED = 1, CAUGHT_UP = 2, TOLD = 4, ANSWERED = 8, PROGRESS_SHIFT = 4 };

/* ---- packing ---- */

/* Positions of the members in the order of their new ids. */
static void order_of(const struct pack *p, const struct raft_configuration *c, uint32_t *order)
{
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t k = i;
        for (; k > 0 && renamed(p, c->members[order[k - 1]].id) > renamed(p, c->members[i].id); k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
}

static void put_configurations(struct pack *p, const struct raft *r)
{
    put(p, r->configurations.count);
    for (uint32_t i = 0; i < r->configurations.count; i++) {
        const struct raft_configuration *c = &r->configurations.items[i];
        uint32_t order[RAFT_MEMBERS_MAX];
        order_of(p, c, order);
        put(p, c->index);
        put(p, c->joint);
        put(p, c->count);
        for (uint32_t k = 0; k < c->count; k++) {
            const struct raft_member *m = &c->members[order[k]];
            put_id(p, m->id);
            put_id(p, m->replaces);
            put(p, m->flags);
        }
    }
}

static void put_votes(struct pack *p, const struct raft *r, uint32_t votes)
{
    uint32_t order[RAFT_MEMBERS_MAX], bits = 0;
    order_of(p, raft_latest(r), order);
    for (uint32_t k = 0; k < raft_latest(r)->count; k++)
        bits |= ((votes >> order[k]) & 1) << k;
    put(p, bits);
}

static void put_follower(struct pack *p, const struct raft_follower *f)
{
    put_id(p, f->id);
    put(p, (f->paused ? PAUSED : 0u) | (f->caught_up ? CAUGHT_UP : 0u) | (f->told ? TOLD : 0u) |
               (f->answered ? ANSWERED : 0u) | f->state << PROGRESS_SHIFT);
    put(p, f->match);
    put(p, f->next - f->match);
    put(p, f->round);
    put(p, f->round_target);
    put(p, f->leaving_index);
    put(p, f->inflight_count);
    for (uint32_t i = 0; i < f->inflight_count; i++)
        put(p, f->inflight[(f->inflight_first + i) % RAFT_INFLIGHT_MAX]);
}

static void put_followers(struct pack *p, const struct raft *r)
{
    uint32_t members = raft_latest(r)->count, order[RAFT_MEMBERS_MAX];
    order_of(p, raft_latest(r), order);
    put(p, r->follower_count);
    for (uint32_t i = 0; i < r->follower_count; i++)
        put_follower(p, &r->followers[i < members ? order[i] : i]);
}

static void put_writes(struct pack *p, const struct raft *r)
{
    put(p, behind(r->persist_issued, r->persist_done));
    put(p, behind(r->hard_persist, r->persist_done));
    put(p, r->write_count);
    for (uint32_t i = 0; i < r->write_count; i++) {
        put(p, behind(r->writes[i].persist, r->persist_done));
        put(p, r->writes[i].last);
    }
    put(p, r->deferred_count);
    for (uint32_t i = 0; i < r->deferred_count; i++) {
        const struct raft_deferred *d = &r->deferred[i];
        put(p, d->type);
        put_id(p, d->to);
        put(p, behind(d->persist, r->persist_done));
        put(p, d->match);
        put(p, d->round);
    }
}

static void put_reads(struct pack *p, const struct raft *r)
{
    put(p, r->read_base);
    put(p, r->read_number - r->read_base);
    put(p, r->read_count);
    for (uint32_t i = 0; i < r->read_count; i++) {
        put(p, r->reads[i].id);
        put_id(p, r->reads[i].from);
        put(p, r->reads[i].index);
        put(p, r->reads[i].round);
    }
}

static void put_terms(struct pack *p, const struct raft_terms *t)
{
    put(p, t->snapshot_index);
    put(p, t->snapshot_term);
    put(p, t->last);
    put(p, t->run_count);
    for (uint32_t i = 0; i < t->run_count; i++) {
        put(p, t->runs[i].first);
        put(p, t->runs[i].term);
    }
}

size_t raft_pack(const struct raft *r, const raft_id *rename, uint8_t *out, size_t out_bytes)
{
    struct pack p = {.at = out, .end = out + out_bytes, .rename = rename};
    put_id(&p, r->options.id);
    put(&p, flags_of(r));
    put(&p, r->term);
    put_id(&p, r->vote);
    put(&p, r->removed);
    put_id(&p, r->leader);
    put_id(&p, r->term_leader);
    put(&p, r->commit);
    put(&p, r->verified);
    put(&p, r->durable);
    put(&p, r->noop);
    put(&p, r->round);
    put_id(&p, r->transfer_to);
    put_terms(&p, &r->terms);
    put_configurations(&p, r);
    put_votes(&p, r, r->votes_granted);
    put_votes(&p, r, r->votes_refused);
    put_followers(&p, r);
    put_writes(&p, r);
    put_reads(&p, r);
    return p.full ? 0 : (size_t)(p.at - out);
}

/* ---- unpacking ---- */

static void clear(struct raft *r)
{
    memset(r->writes, 0, r->write_count * sizeof(r->writes[0]));
    memset(r->deferred, 0, r->deferred_count * sizeof(r->deferred[0]));
    memset(r->followers, 0, r->follower_count * sizeof(r->followers[0]));
    memset(r->configurations.items, 0,
           r->configurations.count * sizeof(r->configurations.items[0]));
    memset(r->reads, 0, r->read_count * sizeof(r->reads[0]));
    memset(r->terms.runs, 0, r->terms.run_count * sizeof(r->terms.runs[0]));
    memset(&r->terms, 0, offsetof(struct raft_terms, runs));
    r->configurations.count = 0;
    memset(r, 0, offsetof(struct raft, writes));
}

static void get_configurations(struct unpack *u, struct raft_configurations *all)
{
    all->count = get_count(u, RAFT_CONFIGURATIONS_MAX);
    for (uint32_t i = 0; i < all->count; i++) {
        struct raft_configuration *c = &all->items[i];
        c->index = get(u);
        c->joint = get(u) != 0;
        c->count = get_count(u, RAFT_MEMBERS_MAX);
        for (uint32_t k = 0; k < c->count; k++) {
            c->members[k].id = get(u);
            c->members[k].replaces = get(u);
            c->members[k].flags = (uint32_t)get(u);
        }
    }
}

static void get_follower(struct unpack *u, const struct raft *r, struct raft_follower *f)
{
    f->id = get(u);
    uint64_t flags = get(u);
    f->paused = flags & PAUSED;
    f->caught_up = flags & CAUGHT_UP;
    f->told = flags & TOLD;
    f->answered = flags & ANSWERED;
    f->state = (uint32_t)(flags >> PROGRESS_SHIFT);
    f->match = get(u);
    f->next = f->match + get(u);
    f->round = get(u);
    f->round_target = get(u);
    f->leaving_index = get(u);
    f->inflight_count = get_count(u, RAFT_INFLIGHT_MAX);
    for (uint32_t i = 0; i < f->inflight_count; i++)
        f->inflight[i] = get(u);
    f->contact_us = r->now_us;
    if (f->inflight_count > 0) /* overdue */
        f->inflight_since_us = r->now_us - 2 * r->options.election_timeout_us;
    if (f->round_target != 0)
        f->round_start_us = r->now_us;
    if (f->leaving_index != 0)
        f->leaving_until_us = r->now_us + 2 * r->options.heartbeat_interval_us;
}

static void get_writes(struct unpack *u, struct raft *r)
{
    r->persist_issued = get(u);
    r->hard_persist = get(u);
    r->write_count = get_count(u, RAFT_WRITES_MAX);
    for (uint32_t i = 0; i < r->write_count; i++) {
        r->writes[i].persist = get(u);
        r->writes[i].last = get(u);
    }
    r->deferred_count = get_count(u, RAFT_REPLIES_MAX);
    for (uint32_t i = 0; i < r->deferred_count; i++) {
        struct raft_deferred *d = &r->deferred[i];
        d->type = (uint32_t)get(u);
        d->to = get(u);
        d->persist = get(u);
        d->match = get(u);
        d->round = get(u);
    }
}

static void get_reads(struct unpack *u, struct raft *r)
{
    r->read_base = get(u);
    r->read_number = r->read_base + get(u);
    r->read_count = get_count(u, RAFT_READS_MAX);
    for (uint32_t i = 0; i < r->read_count; i++) {
        r->reads[i].id = get(u);
        r->reads[i].from = get(u);
        r->reads[i].index = get(u);
        r->reads[i].round = get(u);
        r->read_remote_count += r->reads[i].from != 0;
    }
}

static void get_terms(struct unpack *u, struct raft_terms *t)
{
    t->snapshot_index = get(u);
    t->snapshot_term = get(u);
    t->last = get(u);
    t->run_count = get_count(u, RAFT_RUNS_MAX);
    for (uint32_t i = 0; i < t->run_count; i++) {
        t->runs[i].first = get(u);
        t->runs[i].term = get(u);
    }
}

/* The times as raft.h says. */
static void begin_clock(struct raft *r, const struct raft_options *options, uint64_t now_us)
{
    r->options = *options;
    if (r->options.catch_up_us == 0)
        r->options.catch_up_us = options->election_timeout_us;
    prng_seed(&r->prng, options->seed);
    r->now_us = now_us;
    r->election_timeout_us = options->election_timeout_us;
    r->election_due_us = now_us + r->election_timeout_us;
    r->trace_number = 0;
}

static void begin_leader_clock(struct raft *r)
{
    if (r->state != RAFT_LEADER)
        return;
    r->heartbeat_due_us = r->now_us + r->options.heartbeat_interval_us;
    raft_leader_await_quorum(r);
    if (r->transfer_to != 0)
        r->transfer_due_us = r->now_us + 2 * r->options.heartbeat_interval_us;
}

int raft_unpack(struct raft *r, const struct raft_options *options, uint64_t now_us,
                const uint8_t *bytes, size_t len)
{
    struct unpack u = {.at = bytes, .end = bytes + len};
    clear(r);
    begin_clock(r, options, now_us);
    r->options.id = get(&u);
    set_flags(r, get(&u));
    r->term = get(&u);
    r->vote = get(&u);
    r->removed = get(&u);
    r->leader = get(&u);
    r->term_leader = get(&u);
    r->commit = get(&u);
    r->verified = get(&u);
    r->durable = get(&u);
    r->noop = get(&u);
    r->round = get(&u);
    r->transfer_to = get(&u);
    get_terms(&u, &r->terms);
    get_configurations(&u, &r->configurations);
    r->votes_granted = (uint32_t)get(&u);
    r->votes_refused = (uint32_t)get(&u);
    r->follower_count = get_count(&u, RAFT_PROGRESS_MAX);
    for (uint32_t i = 0; i < r->follower_count; i++)
        get_follower(&u, r, &r->followers[i]);
    get_writes(&u, r);
    get_reads(&u, r);
    if (u.bad || u.at != u.end || r->configurations.count == 0) {
        clear(r);
        return ERR_BAD_REQUEST;
    }
    begin_leader_clock(r);
    return 0;
}
