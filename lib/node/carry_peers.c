/*
 * Appends on the wire. The core decides which entries a follower is to get; here they are given
 * their payloads, cut into slices, numbered, and on the other side put back into order before the
 * core sees them, since they travel over several connections.
 *
 * A stream is a run of appends without gap or step back from one leader to one follower. When the
 * core starts anew somewhere else (probing after a loss or a refusal), so does the stream.
 */
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/node/carry_internal.h"

enum { CARRY_RUNS = 256, CARRY_SLICE_ENTRIES = 4096 };

static void slice_drop(struct carry_peer *p)
{
    for (size_t i = 0; i < p->slice_count; i++) {
        entry_unref(p->slice[i]);
    }
    mem_free(p->slice);
    p->slice = NULL;
    p->slice_count = 0;
}

/* Whose place may be taken, if there is no other: that of one who is no member; rather (2) where
 * nothing of it is left. What is on the wire to the others is never heard of, if the transport
 * forgot them. */
static int dispensable(const struct carry *c, const struct carry_peer *p)
{
    if (p->held_count > 0 || p->delivering || p->sending > 0 ||
        raft_configuration_find(&c->membership.configuration, p->id)) {
        return 0;
    }
    return p->wire == 0 && p->log_read == 0 && p->outbox_count == 0 ? 2 : 1;
}

struct carry_peer *carry_peer(struct carry *c, raft_id id, bool make)
{
    struct carry_peer *taken = NULL;
    int best = 0;

    for (uint32_t i = 0; i < c->peer_count; i++) {
        struct carry_peer *p = &c->peers[i];

        if (p->id == id) {
            return p;
        }
        if (make && best < 2 && dispensable(c, p) > best) {
            best = dispensable(c, p);
            taken = p;
        }
    }
    if (!make) {
        return NULL;
    }
    if (best < 2 && c->peer_count < sizeof c->peers / sizeof c->peers[0]) {
        taken = &c->peers[c->peer_count++];
    } else if (taken) {
        slice_drop(taken);
    } else {
        return NULL;
    }
    memset(taken, 0, sizeof *taken);
    taken->id = id;
    return taken;
}

/* ---- out ---- */

/* What was sent to it in an earlier membership may never be heard of. */
void carry_peer_entered(struct carry *c, raft_id id)
{
    struct carry_peer *p = carry_peer(c, id, false);

    if (p) {
        p->wire = 0;
    }
}

/* The stream ends: what comes next begins another. A read of the log goes on, since the core asks
 * for much the same again with every heartbeat: begun anew each time, a slow disk would never end
 * one. */
static void outbox_clear(struct carry_peer *p)
{
    p->outbox_head = p->outbox_count = 0;
    p->stream = 0;
}

/* What is read for a leader may be truncated once it leads no more. */
static void outbox_forget(struct carry_peer *p)
{
    outbox_clear(p);
    p->log_read = 0;
    slice_drop(p);
}

void carry_outboxes_clear(struct carry *c)
{
    for (uint32_t i = 0; i < c->peer_count; i++) {
        outbox_forget(&c->peers[i]);
    }
}

void carry_append_out(struct carry *c, const struct raft_message *m)
{
    struct carry_peer *p = carry_peer(c, m->to, true);
    struct carry_append *a;

    if (!p) { /* more peers than members: one that was just removed; it may go without */
        return;
    }
    if (p->stream == 0 || m->prev_index != p->outbox_end || p->outbox_count == CARRY_OUTBOX) {
        outbox_clear(p);
        p->stream = ++c->next_stream;
        p->seq = 0;
    }
    a = &p->outbox[(p->outbox_head + p->outbox_count++) % CARRY_OUTBOX];
    *a = (struct carry_append){
        .term = m->term,
        .prev_index = m->prev_index,
        .prev_term = m->prev_term,
        .left = m->entry_count,
        .commit = m->commit,
        .round = m->round,
        .sent_us = m->sent_us,
    };
    p->outbox_end = m->prev_index + m->entry_count;
    carry_pump(c, p);
}

static struct entry *entry_for(struct carry *c, struct carry_peer *p, raft_index index)
{
    struct entry *e = log_cache_get(&c->cache, index);

    if (!e && p->slice_count > 0 && index >= p->slice[0]->index &&
        index - p->slice[0]->index < p->slice_count) {
        e = p->slice[index - p->slice[0]->index];
    }
    return e;
}

/* Sends the next slice of the head of the outbox; false when it must wait for the disk. */
static bool send_slice(struct carry *c, struct carry_peer *p)
{
    struct carry_append *a = &p->outbox[p->outbox_head];
    struct entry *entries[CARRY_SLICE_ENTRIES];
    struct peer_message m;
    uint64_t bytes = 0;
    uint32_t n = 0;

    while (n < a->left && n < CARRY_SLICE_ENTRIES) {
        struct entry *e = entry_for(c, p, a->prev_index + n + 1);

        if (!e || (n > 0 && bytes + e->size > c->options.append_bytes_max)) {
            break;
        }
        bytes += e->size;
        entries[n++] = e;
    }
    if (n == 0 && a->left > 0) {
        slice_drop(p);
        p->log_read = ++c->next_log_read;
        c->io.log_read(c->io.self, p->log_read, a->prev_index + 1, a->prev_index + a->left,
                       c->options.append_bytes_max);
        return false;
    }
    memset(&m, 0, sizeof m);
    m.cluster = c->cluster_id;
    m.message.type = RAFT_APPEND;
    m.message.from = raft_self(c->raft);
    m.message.to = p->id;
    m.message.term = a->term;
    m.message.prev_index = a->prev_index;
    m.message.prev_term = a->prev_term;
    m.message.entry_count = n;
    m.message.commit = a->commit;
    m.message.round = a->round;
    m.message.sent_us = a->sent_us;
    m.stream = p->stream;
    m.seq = ++p->seq;
    m.entries = entries;
    if (n > 0) {
        a->prev_index += n;
        a->prev_term = entries[n - 1]->term;
        a->left -= n;
    }
    if (a->left == 0) {
        p->outbox_head = (p->outbox_head + 1) % CARRY_OUTBOX;
        p->outbox_count--;
    }
    p->wire++;
    c->figures.appends_sent++;
    c->io.send(c->io.self, &m);
    return true;
}

void carry_pump(struct carry *c, struct carry_peer *p)
{
    while (p->outbox_count > 0 && p->wire < c->options.wire_inflight_max && p->log_read == 0) {
        const struct carry_append *a = &p->outbox[p->outbox_head];

        if (a->term != raft_term_current(c->raft) || raft_state(c->raft) != RAFT_LEADER) {
            outbox_forget(p);
            return;
        }
        if (!send_slice(c, p)) {
            return;
        }
    }
    if (p->outbox_count == 0) {
        slice_drop(p);
    }
}

bool carry_peer_log_read(struct carry *c, uint64_t id, int code, struct entry **entries,
                         size_t count, uint64_t now_us)
{
    for (uint32_t i = 0; i < c->peer_count; i++) {
        struct carry_peer *p = &c->peers[i];

        if (p->log_read != id) {
            continue;
        }
        p->log_read = 0;
        if (code != 0 || count == 0) { /* compacted meanwhile: let the core look again */
            struct raft_event event = {.type = RAFT_UNREACHABLE, .now_us = now_us, .peer = p->id};

            outbox_clear(p);
            carry_step(c, &event, NULL, 0);
            return false;
        }
        ASSERT(p->slice_count == 0);
        p->slice = entries;
        p->slice_count = count;
        carry_pump(c, p);
        return true;
    }
    return false;
}

void carry_peer_reply(struct carry *c, const struct raft_message *reply, uint64_t now_us)
{
    struct raft_event event = {.type = RAFT_MESSAGE, .now_us = now_us, .message = reply};
    struct carry_peer *p = carry_peer(c, reply->from, false);

    if (p && reply->type == RAFT_APPEND_REPLY && p->wire > 0) {
        p->wire--;
    }
    if (c->install == INSTALL_SWITCHING) {
        return;
    }
    carry_step(c, &event, NULL, 0);
    if (p) {
        carry_pump(c, p);
    }
}

void carry_peer_failed(struct carry *c, raft_id peer, enum raft_message_type type, uint64_t now_us)
{
    struct raft_event event = {.type = RAFT_UNREACHABLE, .now_us = now_us, .peer = peer};
    struct carry_peer *p = carry_peer(c, peer, false);

    if (p && type == RAFT_APPEND) {
        p->wire -= p->wire > 0;
        outbox_clear(p); /* what follows the lost one in its stream would only wait for it there */
    }
    if (c->install == INSTALL_SWITCHING) {
        return;
    }
    carry_step(c, &event, NULL, 0);
    if (p) {
        carry_pump(c, p);
    }
}

/* ---- in ---- */

/* Tells the core what it must know of the entries: their terms, and the configurations among them.
 * What does not fit is cut off: the core then acknowledges a shorter append. */
static void deliver(struct carry *c, struct peer_message *m, uint64_t context, uint64_t now_us)
{
    struct raft_event event = {.type = RAFT_MESSAGE, .now_us = now_us, .message = &m->message};
    struct raft_run runs[CARRY_RUNS];
    struct raft_configuration configurations[RAFT_CONFIGURATIONS_MAX];
    uint32_t run_count = 0, configuration_count = 0, n = 0;

    for (; m->message.type == RAFT_APPEND && n < m->message.entry_count; n++) {
        const struct entry *e = m->entries[n];

        if (run_count == 0 || runs[run_count - 1].term != e->term) {
            if (run_count == CARRY_RUNS) {
                break;
            }
            runs[run_count++] = (struct raft_run){.first = e->index, .term = e->term};
        }
        if (e->kind == RAFT_CONFIGURATION) {
            struct membership membership;

            if (configuration_count == RAFT_CONFIGURATIONS_MAX ||
                membership_decode(slice_of(e->data, e->size), e->index, &membership, NULL) != 0) {
                break;
            }
            for (uint32_t k = 0; k < membership.configuration.count; k++) {
                carry_book_add(c, &membership.addresses[k]);
            }
            configurations[configuration_count++] = membership.configuration;
        }
    }
    if (m->message.type == RAFT_APPEND) {
        for (uint32_t k = n; k < m->message.entry_count; k++) {
            entry_unref(m->entries[k]);
        }
        m->message.entry_count = n;
    }
    m->message.context = context;
    m->message.runs = runs;
    m->message.run_count = run_count;
    m->message.configurations = configurations;
    m->message.configuration_count = configuration_count;
    carry_step(c, &event, m->entries, n);
    peer_message_release(m);
}

/* Held appends that continue the stream; with `all`, the rest too, in order, gap or not. */
static void release_held(struct carry *c, struct carry_peer *p, bool all, uint64_t now_us)
{
    while (p->held_count > 0) {
        struct carry_held *lowest = NULL;
        struct peer_message m;

        for (uint32_t i = 0; i < CARRY_HELD; i++) {
            if (p->held[i].used && (!lowest || p->held[i].message.seq < lowest->message.seq)) {
                lowest = &p->held[i];
            }
        }
        ASSERT(lowest);
        if (!all && lowest->message.seq > p->in_next) {
            return;
        }
        m = lowest->message;
        lowest->used = false;
        p->held_count--;
        if (m.seq >= p->in_next) {
            p->in_next = m.seq + 1;
        }
        deliver(c, &m, lowest->context, now_us);
    }
}

static void deliver_held(struct carry *c, struct carry_peer *p, uint64_t now_us)
{
    p->delivering = true;
    release_held(c, p, true, now_us);
    p->delivering = false;
}

void carry_held_deliver(struct carry *c, uint64_t now_us)
{
    for (uint32_t i = 0; i < c->peer_count; i++) {
        deliver_held(c, &c->peers[i], now_us);
    }
}

static void hold(struct carry *c, struct carry_peer *p, const struct peer_message *m,
                 uint64_t context, uint64_t now_us)
{
    for (uint32_t i = 0; i < CARRY_HELD; i++) {
        if (!p->held[i].used) {
            p->held[i] = (struct carry_held){
                .message = *m, .context = context, .since_us = now_us, .used = true};
            p->held_count++;
            c->figures.appends_held++;
            return;
        }
    }
    ASSERT(p->held_count == CARRY_HELD); /* the caller looked for room */
}

static void append_in(struct carry *c, struct peer_message *m, uint64_t context, uint64_t now_us)
{
    struct carry_peer *p = carry_peer(c, m->message.from, true);
    raft_term term = m->message.term;

    if (!p) {
        deliver(c, m, context, now_us);
        return;
    }
    if (term > p->in_term || (term == p->in_term && m->stream > p->in_stream)) {
        deliver_held(c, p, now_us);
        p->in_term = term;
        p->in_stream = m->stream;
        p->in_next = 1;
    }
    if (term == p->in_term && m->stream == p->in_stream && m->seq > p->in_next) {
        if (p->held_count == CARRY_HELD) {
            deliver_held(c, p, now_us);
        } else {
            hold(c, p, m, context, now_us);
            return;
        }
    }
    if (term == p->in_term && m->stream == p->in_stream && m->seq >= p->in_next) {
        p->in_next = m->seq + 1;
    }
    p->delivering = true;
    deliver(c, m, context, now_us);
    release_held(c, p, false, now_us);
    p->delivering = false;
}

/* In no configuration that could be in force, as far as we know. */
static bool is_stranger(const struct carry *c, raft_id id)
{
    const struct raft_configuration *committed = raft_configuration_committed(c->raft);

    return committed->index > 0 && !raft_configuration_find(committed, id) &&
           !raft_configuration_find(&c->membership.configuration, id);
}

/* §4.1 has servers answer those who are not in their latest configuration, since that may be an old
 * one. A leader knows better than that. And who would refuse a pre-vote anyway, because it hears a
 * leader or was removed itself, may as well say what it knows: else a member that missed its
 * removal would ask for ever where the leader is none of those it asks. It knows best: what is no
 * news to it changes nothing (raft_membership_told). */
static bool may_refuse(const struct carry *c, enum raft_message_type type)
{
    return raft_leader_ready(c->raft) ||
           (type == RAFT_PRE_VOTE && (raft_leader(c->raft) != 0 || raft_removed(c->raft)));
}

int carry_peer_request(struct carry *c, struct peer_message *m, uint64_t context, uint64_t now_us,
                       raft_index *configuration_index)
{
    enum raft_message_type type = m->message.type;
    bool from_leader = type == RAFT_APPEND || type == RAFT_HEARTBEAT || type == RAFT_TIMEOUT_NOW;

    if (!raft_message_is_request(type) || m->message.to != raft_self(c->raft) ||
        m->message.from == raft_self(c->raft)) { /* these the core does not answer */
        return ERR_BAD_REQUEST;
    }
    if (c->install == INSTALL_SWITCHING ||
        (c->install == INSTALL_DRAINING && type == RAFT_APPEND)) {
        return ERR_AGAIN;
    }
    if (!from_leader && is_stranger(c, m->message.from) && may_refuse(c, type)) {
        *configuration_index = raft_configuration_committed(c->raft)->index;
        return ERR_FORBIDDEN;
    }
    if (type == RAFT_APPEND && m->stream > 0) {
        append_in(c, m, context, now_us);
    } else if (type == RAFT_HEARTBEAT) {
        struct peer_message heartbeat = *m; /* bears no entries */

        deliver(c, m, context, now_us);
        carry_digest_heard(c, &heartbeat, now_us);
    } else {
        deliver(c, m, context, now_us);
    }
    return 0;
}

/* ---- time ---- */

/* An append whose predecessors do not come within a heartbeat goes to the core as it is; it will
 * say what is missing. */
uint64_t carry_peers_wake_us(const struct carry *c)
{
    uint64_t wake = UINT64_MAX;

    for (uint32_t i = 0; i < c->peer_count; i++) {
        const struct carry_peer *p = &c->peers[i];

        for (uint32_t k = 0; p->held_count > 0 && k < CARRY_HELD; k++) {
            uint64_t at = p->held[k].since_us + c->options.raft.heartbeat_interval_us;

            if (p->held[k].used && at < wake) {
                wake = at;
            }
        }
    }
    return wake;
}

void carry_peers_tick(struct carry *c, uint64_t now_us)
{
    for (uint32_t i = 0; i < c->peer_count; i++) {
        struct carry_peer *p = &c->peers[i];

        for (uint32_t k = 0; p->held_count > 0 && k < CARRY_HELD; k++) {
            if (p->held[k].used &&
                now_us >= p->held[k].since_us + c->options.raft.heartbeat_interval_us) {
                deliver_held(c, p, now_us);
            }
        }
    }
}

void carry_peers_free(struct carry *c)
{
    for (uint32_t i = 0; i < c->peer_count; i++) {
        struct carry_peer *p = &c->peers[i];

        outbox_forget(p);
        for (uint32_t k = 0; p->held_count > 0 && k < CARRY_HELD; k++) {
            if (p->held[k].used) {
                peer_message_release(&p->held[k].message);
            }
        }
    }
}
