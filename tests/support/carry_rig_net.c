/* The network of the rig: packets, links, and what a played node says. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "tests/support/carry_rig.h"

/* ---- packets ---- */

static struct rig_packet *push(struct rig *r, const struct rig_packet *p)
{
    ASSERT(r->packet_count < RIG_QUEUE);
    r->packets[r->packet_count] = mem_dup(p, sizeof *p);
    return r->packets[r->packet_count++];
}

/* Through the codec, as on the wire. */
static void through_json(const struct peer_message *in, struct peer_message *out)
{
    struct buf text;
    struct err err = {0};

    buf_init(&text, LIMIT_PEER_MESSAGE_BYTES);
    ASSERT(peer_message_encode(in, &text) == 0);
    if (peer_message_decode(slice_of(text.data, text.len), out, &err) != 0) {
        case_fail("a message is not read back: %s", err.text);
        case_abandon();
    }
    buf_release(&text);
}

void rig_net_send(struct rig_node *n, const struct peer_message *m)
{
    struct rig_packet p = {
        .kind = RIG_REQUEST, .from = m->message.from, .to = m->message.to, .type = m->message.type};

    ASSERT(p.to < RIG_NODES && p.from == n->id);
    through_json(m, &p.m);
    push(n->rig, &p);
}

static struct rig_waiting *find_waiting(struct rig_node *n, uint64_t context)
{
    for (size_t i = 0; i < n->waiting_count; i++) {
        if (n->waiting[i].context == context) {
            return &n->waiting[i];
        }
    }
    return NULL;
}

static void end_waiting(struct rig_node *n, struct rig_waiting *w)
{
    *w = n->waiting[--n->waiting_count];
}

void rig_net_reply(struct rig_node *n, uint64_t context, const struct raft_message *m)
{
    struct rig_waiting *w = find_waiting(n, context);
    struct rig_packet p = {
        .kind = RIG_REPLY, .from = m->from, .to = m->to, .type = m->type, .m.message = *m};
    struct peer_message out = {.cluster = n->rig->cluster_id, .message = *m};

    if (!w) {
        case_fail("node %d: a reply to a request that does not wait", (int)n->id);
        return;
    }
    CHECK_EQ(w->from, m->to);
    CHECK_EQ(m->type, w->type + (RAFT_PRE_VOTE_REPLY - RAFT_PRE_VOTE));
    end_waiting(n, w);
    through_json(&out, &p.m);
    push(n->rig, &p);
}

static void packet_free(struct rig_packet *p)
{
    peer_message_release(&p->m);
    mem_free(p);
}

static void take_out(struct rig *r, const struct rig_packet *p)
{
    size_t i = 0;

    while (i < r->packet_count && r->packets[i] != p) {
        i++;
    }
    ASSERT(i < r->packet_count);
    r->packet_count--;
    memmove(&r->packets[i], &r->packets[i + 1], (r->packet_count - i) * sizeof r->packets[0]);
}

void rig_forget(struct rig *r, struct rig_packet *p)
{
    take_out(r, p);
    packet_free(p);
}

void rig_forget_all(struct rig *r)
{
    while (r->packet_count > 0) {
        packet_free(r->packets[--r->packet_count]);
    }
}

void rig_shuffle(struct rig *r, struct prng *p)
{
    for (size_t i = r->packet_count; i > 1; i--) {
        size_t k = (size_t)prng_below(p, i);
        struct rig_packet *swap = r->packets[i - 1];

        r->packets[i - 1] = r->packets[k];
        r->packets[k] = swap;
    }
}

void rig_net_gone(struct rig *r, raft_id id)
{
    for (size_t i = r->packet_count; i > 0; i--) {
        struct rig_packet *p = r->packets[i - 1];

        if (p->to == id && p->kind != RIG_REQUEST) {
            rig_forget(r, p);
        }
    }
    for (raft_id other = 1; other <= r->node_count; other++) { /* whom it will not answer */
        struct rig_node *n = &r->nodes[id];

        for (size_t i = n->waiting_count; i > 0; i--) {
            if (n->waiting[i - 1].from == other) {
                struct rig_packet p = {
                    .kind = RIG_FAILED, .from = id, .to = other, .type = n->waiting[i - 1].type};

                push(r, &p);
                end_waiting(n, &n->waiting[i - 1]);
            }
        }
    }
}

struct rig_packet *rig_duplicate(struct rig *r, struct rig_packet *p)
{
    struct rig_packet copy = *p;

    if (p->m.message.entry_count > 0) {
        size_t bytes = p->m.message.entry_count * sizeof(struct entry *);

        copy.m.entries = mem_dup(p->m.entries, bytes);
        for (uint32_t i = 0; i < p->m.message.entry_count; i++) {
            entry_ref(copy.m.entries[i]);
        }
    }
    return push(r, &copy);
}

/* ---- looking for some ---- */

static bool matches(const struct rig_packet *p, enum raft_message_type type, raft_id from,
                    raft_id to)
{
    return p->kind != RIG_FAILED && (type == RAFT_MESSAGE_TYPES || p->type == type) &&
           (from == 0 || p->from == from) && (to == 0 || p->to == to);
}

struct rig_packet *rig_find(struct rig *r, enum raft_message_type type, raft_id from, raft_id to)
{
    for (size_t i = r->packet_count; i > 0; i--) {
        if (matches(r->packets[i - 1], type, from, to)) {
            return r->packets[i - 1];
        }
    }
    return NULL;
}

struct rig_packet *rig_nth(struct rig *r, enum raft_message_type type, raft_id from, raft_id to,
                           size_t n)
{
    for (size_t i = 0; i < r->packet_count; i++) {
        if (matches(r->packets[i], type, from, to) && n-- == 0) {
            return r->packets[i];
        }
    }
    return NULL;
}

size_t rig_count(struct rig *r, enum raft_message_type type, raft_id from, raft_id to)
{
    size_t count = 0;

    while (rig_nth(r, type, from, to, count)) {
        count++;
    }
    return count;
}

/* ---- delivery ---- */

static void fail(struct rig *r, const struct rig_packet *p, raft_index configuration_index)
{
    struct rig_packet failed = {.kind = RIG_FAILED,
                                .from = p->to,
                                .to = p->from,
                                .type = p->type,
                                .configuration_index = configuration_index};

    push(r, &failed);
}

/* The entries are taken. */
static int hand_in(struct rig *r, struct rig_node *n, struct peer_message *m,
                   raft_index *configuration_index)
{
    uint64_t context = ++r->context;
    int code;

    ASSERT(n->waiting_count < sizeof n->waiting / sizeof n->waiting[0]);
    n->waiting[n->waiting_count++] =
        (struct rig_waiting){context, m->message.from, m->message.type};
    code = carry_peer_request(n->carry, m, context, r->now_us, configuration_index);
    if (code != 0) {
        struct rig_waiting *w = find_waiting(n, context);

        ASSERT(w); /* not answered and refused at once */
        end_waiting(n, w);
        peer_message_release(m);
    }
    rig_check(n);
    return code;
}

static void deliver_request(struct rig *r, struct rig_packet *p)
{
    struct rig_node *n = &r->nodes[p->to];
    raft_index configuration_index = 0;
    int code = ERR_UNREACHABLE;

    if (n->carry) {
        code = hand_in(r, n, &p->m, &configuration_index);
        memset(&p->m, 0, sizeof p->m);
    }
    if (code != 0) {
        fail(r, p, code == ERR_FORBIDDEN ? configuration_index : 0);
    }
}

static void deliver_rest(struct rig *r, struct rig_packet *p)
{
    struct rig_node *n = &r->nodes[p->to];

    if (!n->carry) {
        return;
    }
    if (p->kind == RIG_REPLY) {
        carry_peer_reply(n->carry, &p->m.message, r->now_us);
    } else {
        if (p->configuration_index > 0) {
            carry_told_removed(n->carry, p->configuration_index, r->now_us);
        }
        carry_peer_failed(n->carry, p->from, p->type, r->now_us);
    }
    rig_check(n);
}

void rig_deliver(struct rig *r, struct rig_packet *p)
{
    take_out(r, p);
    if (p->kind == RIG_REQUEST) {
        deliver_request(r, p);
    } else {
        deliver_rest(r, p);
    }
    packet_free(p);
}

void rig_lose(struct rig *r, struct rig_packet *p)
{
    raft_id sender = p->kind == RIG_REQUEST ? p->from : p->to;
    raft_id other = p->kind == RIG_REQUEST ? p->to : p->from;
    enum raft_message_type type =
        p->kind == RIG_REPLY ? p->type - (RAFT_PRE_VOTE_REPLY - RAFT_PRE_VOTE) : p->type;
    struct rig_packet failed = {.kind = RIG_FAILED, .from = other, .to = sender, .type = type};

    rig_forget(r, p);
    rig_deliver(r, push(r, &failed));
}

void rig_cut(struct rig *r, raft_id id, bool cut)
{
    for (raft_id other = 1; other <= r->node_count; other++) {
        r->cut[id][other] = r->cut[other][id] = other != id && cut;
    }
}

static bool may_go(const struct rig *r, const struct rig_packet *p)
{
    const struct rig_node *to = &r->nodes[p->to];

    if (to->played || to->paused) {
        return false;
    }
    return p->kind == RIG_FAILED || !r->held[p->from][p->to];
}

/* Every packet that may go, once, in the order of sending. */
bool rig_net_settle(struct rig *r)
{
    bool moved = false;

    for (size_t i = 0; i < r->packet_count;) {
        struct rig_packet *p = r->packets[i];

        if (!may_go(r, p)) {
            i++;
        } else if (p->kind != RIG_FAILED && r->cut[p->from][p->to]) {
            rig_lose(r, p);
            moved = true;
        } else {
            rig_deliver(r, p);
            moved = true;
        }
    }
    return moved;
}

/* ---- played nodes ---- */

int rig_feed_message(struct rig *r, struct peer_message *m)
{
    raft_index ignored;

    return hand_in(r, &r->nodes[m->message.to], m, &ignored);
}

int rig_feed(struct rig *r, struct raft_message m, uint64_t stream, uint64_t seq, size_t bytes)
{
    struct peer_message p = {.cluster = r->cluster_id, .message = m, .stream = stream, .seq = seq};

    if (p.message.sent_us == 0) {
        p.message.sent_us = r->now_us;
    }
    if (m.entry_count > 0) {
        p.entries = mem_calloc(m.entry_count, sizeof(struct entry *));
        for (uint32_t i = 0; i < m.entry_count; i++) {
            char key[24];
            struct command command = {.op = COMMAND_PUT, .wall_ms = 1, .cluster_time_ms = 1};
            uint8_t *value = mem_zalloc(bytes + 1);

            snprintf(key, sizeof key, "fed %" PRIu64, m.prev_index + 1 + i);
            command.key = slice_str(key);
            command.value = slice_of(value, bytes);
            p.entries[i] = entry_alloc(RAFT_NORMAL, command_encoded_bytes(&command));
            command_encode(&command, p.entries[i]->data);
            entry_seal(p.entries[i]);
            entry_place(p.entries[i], m.prev_index + 1 + i, m.term);
            mem_free(value);
        }
    }
    return rig_feed_message(r, &p);
}

void rig_reply(struct rig *r, struct raft_message m)
{
    struct rig_node *n = &r->nodes[m.to];

    carry_peer_reply(n->carry, &m, r->now_us);
    rig_check(n);
}

void rig_accept(struct rig *r, struct rig_packet *p)
{
    struct raft_message m = {
        .type = RAFT_APPEND_REPLY,
        .from = p->to,
        .to = p->from,
        .term = p->m.message.term,
        .accepted = true,
        .match_index = p->m.message.prev_index + p->m.message.entry_count,
        .round = p->m.message.round,
        .sent_us = p->m.message.sent_us,
        .promise_us = RIG_ELECTION,
    };

    ASSERT(p->type == RAFT_APPEND);
    rig_forget(r, p);
    rig_reply(r, m);
}

static void grant(struct rig *r, struct rig_packet *p)
{
    struct raft_message m = {.type = p->type + (RAFT_PRE_VOTE_REPLY - RAFT_PRE_VOTE),
                             .from = p->to,
                             .to = p->from,
                             .term = p->m.message.term,
                             .round = p->m.message.round,
                             .sent_us = p->m.message.sent_us,
                             .promise_us = RIG_ELECTION,
                             .granted = true};

    rig_forget(r, p);
    rig_reply(r, m);
}

void rig_beat(struct rig *r)
{
    struct rig_packet *p;

    while ((p = rig_nth(r, RAFT_HEARTBEAT, 1, 0, 0)) != NULL) {
        grant(r, p);
    }
    rig_settle(r);
}

void rig_lead(struct rig *r)
{
    struct rig_packet *p;

    for (int i = 0; i < 100 && !raft_leader_ready(rig_core(r, 1)); i++) {
        rig_sleep(r, RIG_HEARTBEAT);
        rig_tick(r, 1);
        rig_settle(r);
        while ((p = rig_nth(r, RAFT_PRE_VOTE, 1, 0, 0)) != NULL ||
               (p = rig_nth(r, RAFT_VOTE, 1, 0, 0)) != NULL) {
            grant(r, p);
            rig_settle(r);
        }
        while ((p = rig_nth(r, RAFT_APPEND, 1, 0, 0)) != NULL) {
            rig_accept(r, p);
            rig_settle(r);
        }
    }
    REQUIRE(raft_leader_ready(rig_core(r, 1)));
    rig_beat(r);
    rig_forget_all(r);
}
