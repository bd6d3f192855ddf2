/*
 * Are the replicas the same? Each flush that ends at a common index leaves the digest of the state
 * there. Followers tell theirs in heartbeat replies; the leader looks for an index where a majority
 * agrees and announces that digest in its heartbeats; whoever has another one at that index, itself
 * included, is in the minority: fenced. It reads nothing out and stands for no election, but still
 * votes and appends. Where all voters have told and no majority agrees, nobody can say who is
 * right: that is an alarm.
 */
#include "lib/node/carry_internal.h"

static void history_add(struct carry_digests *h, const struct peer_digest *d)
{
    for (uint32_t i = 0; i < CARRY_DIGESTS; i++) {
        if (h->ring[i].index == d->index) {
            h->ring[i] = *d;
            return;
        }
    }
    h->ring[h->next++ % CARRY_DIGESTS] = *d;
}

static const struct peer_digest *history_at(const struct carry_digests *h, raft_index index)
{
    for (uint32_t i = 0; i < CARRY_DIGESTS; i++) {
        if (h->ring[i].index == index && index > 0) {
            return &h->ring[i];
        }
    }
    return NULL;
}

static const struct peer_digest *digest_of(const struct carry *c, raft_id id, raft_index index)
{
    if (id == raft_self(c->raft)) {
        return history_at(&c->digests, index);
    }
    for (uint32_t i = 0; i < c->peer_count; i++) {
        if (c->peers[i].id == id) {
            return history_at(&c->peers[i].digests, index);
        }
    }
    return NULL;
}

/* How many voters of one of the two configurations have this digest, and whether that is a majority
 * of it. */
static bool majority_has(const struct carry *c, uint32_t voter_flag, const struct peer_digest *d,
                         uint32_t *missing)
{
    const struct raft_configuration *latest = raft_configuration_latest(c->raft);
    uint32_t voters = 0, same = 0;

    for (uint32_t i = 0; i < latest->count; i++) {
        const struct peer_digest *other;

        if (!(latest->members[i].flags & voter_flag)) {
            continue;
        }
        voters++;
        other = digest_of(c, latest->members[i].id, d->index);
        if (!other) {
            (*missing)++;
        } else {
            same += digest_equal(other->value, d->value);
        }
    }
    return voters == 0 || same > voters / 2;
}

/* Looks whether `d` settles its index: a verdict, or an alarm. */
static void judge(struct carry *c, const struct peer_digest *d)
{
    const struct raft_configuration *latest = raft_configuration_latest(c->raft);
    uint32_t missing = 0;
    bool agreed =
        majority_has(c, RAFT_VOTER, d, &missing) && majority_has(c, RAFT_VOTER_OLD, d, &missing);

    if (agreed && d->index >= c->verdict.index) {
        c->verdict = *d;
        return;
    }
    if (agreed || missing > 0) {
        return;
    }
    for (uint32_t i = 0; i < latest->count; i++) { /* another value may have the majority */
        const struct peer_digest *other = digest_of(c, latest->members[i].id, d->index);
        uint32_t unused = 0;

        if (other && majority_has(c, RAFT_VOTER, other, &unused) &&
            majority_has(c, RAFT_VOTER_OLD, other, &unused)) {
            return;
        }
    }
    if (d->index > c->disputed) {
        c->disputed = d->index;
    }
}

static void compare(struct carry *c, const struct peer_digest *verdict, uint64_t now_us)
{
    const struct peer_digest *own = history_at(&c->digests, verdict->index);
    struct raft_event event = {.type = RAFT_FENCE, .now_us = now_us, .ok = true};

    if (c->fenced || !own || digest_equal(own->value, verdict->value)) {
        return;
    }
    c->fenced = true;
    c->fenced_at = verdict->index;
    carry_step(c, &event, NULL, 0);
    c->io.state_changed(c->io.self);
}

void carry_flushed(struct carry *c, raft_index index, struct digest value, uint64_t now_us)
{
    struct peer_digest d = {.index = index, .value = value};

    history_add(&c->digests, &d);
    c->digest_last = d;
    if (raft_state(c->raft) == RAFT_LEADER) {
        judge(c, &d);
    }
    if (c->install == INSTALL_NONE) {
        compare(c, &c->verdict, now_us);
    }
}

void carry_digest_heard(struct carry *c, const struct peer_message *m, uint64_t now_us)
{
    const struct peer_digest *d = &m->digest;
    struct carry_peer *p = carry_peer(c, m->message.from, true);

    if (d->index == 0 || m->message.term != raft_term_current(c->raft)) {
        return;
    }
    if (m->message.type == RAFT_HEARTBEAT) {
        c->verdict = d->index >= c->verdict.index ? *d : c->verdict;
    } else if (p && raft_state(c->raft) == RAFT_LEADER) {
        history_add(&p->digests, d);
        judge(c, d);
    }
    if (c->install == INSTALL_NONE) {
        compare(c, &c->verdict, now_us);
    }
}

/* The state was replaced by a snapshot: what was wrong with the old one is gone. */
void carry_digests_forget(struct carry *c, uint64_t now_us)
{
    struct raft_event event = {.type = RAFT_FENCE, .now_us = now_us, .ok = false};

    c->digests = (struct carry_digests){0};
    c->digest_last = (struct peer_digest){0};
    if (c->fenced) {
        c->fenced = false;
        carry_step(c, &event, NULL, 0);
        c->io.state_changed(c->io.self);
    }
}

bool carry_fenced(const struct carry *c)
{
    return c->fenced;
}

struct peer_digest carry_digest_last(const struct carry *c)
{
    return c->digest_last;
}

raft_index carry_digest_disputed(const struct carry *c)
{
    return c->disputed;
}
