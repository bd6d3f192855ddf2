/*
 * Messages between nodes: each request has one reply or one failure, as the transport promises. On
 * the way it may be slow, lost, doubled or overtaken.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/sim/sim_internal.h"

enum { SIM_LOSSY_SHARE = 300, SIM_FLAP_US = 120000 };

/* ---- links ---- */

static bool is_cut(const struct sim *s, raft_id from, raft_id to)
{
    const struct sim_node *a = &s->nodes[from], *b = &s->nodes[to];
    if (a->cut_until_us[to] > s->now_us)
        return true;
    bool down = s->now_us / SIM_FLAP_US % 2 == 1;
    return down && (a->flap_until_us > s->now_us || b->flap_until_us > s->now_us);
}

bool sim_net_latency(struct sim *s, raft_id from, raft_id to, uint64_t *at_us)
{
    const struct sim_plan *p = &s->plan;
    const struct sim_node *a = &s->nodes[from], *b = &s->nodes[to];
    uint64_t takes_us = sim_draw(&s->net, p->link_min_us, p->link_range_us);
    bool slow = sim_chance(&s->net, p->link_slow);
    bool lost = sim_chance(&s->net, s->lossy_until_us > s->now_us ? SIM_LOSSY_SHARE : p->loss);
    if (slow && sim_has(s, SIM_WITH_SLOW_LINKS) && !s->calm)
        takes_us += sim_draw(&s->net, 0, p->link_slow_us);
    if (a->slow_until_us > s->now_us || b->slow_until_us > s->now_us)
        takes_us = takes_us * 10 + 20000;
    *at_us = s->now_us + takes_us;
    if (a->clog_until_us[to] > *at_us) /* all at once, in any order */
        *at_us = a->clog_until_us[to] + takes_us % 1000;
    if (is_cut(s, from, to))
        return false;
    return !lost || s->calm || (!sim_has(s, SIM_WITH_LOSS) && s->lossy_until_us <= s->now_us);
}

/* ---- exchanges ---- */

static struct sim_exchange *exchange_new(struct sim *s)
{
    struct sim_exchange *x;
    if (s->exchange_free == 0) {
        size_t room = s->exchange_room;
        s->exchanges = sim_room(s->exchanges, &room, s->exchange_count + 1, sizeof(*x));
        s->exchange_room = (uint32_t)room;
        s->exchange_free = ++s->exchange_count;
        s->exchanges[s->exchange_free - 1].next_free = 0;
    }
    x = &s->exchanges[s->exchange_free - 1];
    s->exchange_free = x->next_free;
    x->generation = ++s->generation;
    x->settled = x->waiting = x->double_ = false;
    x->events = 0;
    x->stranger = 0;
    x->to_life = 0;
    return x;
}

static uint32_t index_of(const struct sim *s, const struct sim_exchange *x)
{
    return (uint32_t)(x - s->exchanges);
}

/* Freed when nobody will name it any more: no event, no reply that is owed, no time-out. */
static void exchange_let_go(struct sim *s, struct sim_exchange *x)
{
    if (x->events > 0 || x->waiting || (!x->settled && !x->double_))
        return;
    peer_message_release(&x->request);
    x->generation = 0;
    x->next_free = s->exchange_free;
    s->exchange_free = index_of(s, x) + 1;
}

static void later(struct sim *s, struct sim_exchange *x, enum sim_event_kind kind, uint64_t at_us)
{
    x->events++;
    sim_push(s, at_us, kind, index_of(s, x), x->generation);
}

/* ---- sending ---- */

static void entries_copy(struct peer_message *m)
{
    if (m->message.entry_count == 0) {
        m->entries = NULL;
        return;
    }
    m->entries = mem_dup(m->entries, m->message.entry_count * sizeof(struct entry *));
    for (uint32_t i = 0; i < m->message.entry_count; i++)
        entry_ref(m->entries[i]);
}

/* What the wire does not carry does not arrive. */
static void through_codec(struct sim *s, const struct peer_message *in, struct peer_message *out)
{
    struct buf text;
    struct err err = {0};
    buf_init(&text, LIMIT_PEER_MESSAGE_BYTES);
    ASSERT(peer_message_encode(in, &text) == 0);
    if (peer_message_decode(slice_of(text.data, text.len), out, &err) != 0)
        sim_violated(s, "a message is not read back: %s", err.text);
    buf_release(&text);
}

static void take(struct sim *s, const struct peer_message *in, struct peer_message *out)
{
    if (sim_has(s, SIM_WITH_CODEC)) {
        through_codec(s, in, out);
        return;
    }
    *out = *in;
    out->message.context = 0;
    entries_copy(out);
}

static void push_timeout(struct sim *s, const struct sim_exchange *x)
{
    if (s->timeout_count == s->timeout_room) {
        size_t room = s->timeout_room ? 2 * s->timeout_room : 256;
        struct sim_timeout *grown = mem_calloc(room, sizeof(*grown));
        for (size_t i = 0; i < s->timeout_count; i++)
            grown[i] = s->timeouts[(s->timeout_first + i) & (s->timeout_room - 1)];
        mem_free(s->timeouts);
        s->timeouts = grown;
        s->timeout_first = 0;
        s->timeout_room = room;
    }
    s->timeouts[(s->timeout_first + s->timeout_count++) & (s->timeout_room - 1)] =
        (struct sim_timeout){.at_us = s->now_us + SIM_PEER_TIMEOUT_US,
                             .generation = x->generation,
                             .exchange = index_of(s, x)};
}

static void send_double(struct sim *s, const struct sim_exchange *first, uint64_t at_us)
{
    struct peer_message copy = first->request;
    raft_id from = first->from, to = first->to;
    struct sim_exchange *x = exchange_new(s); /* `first` may have moved */
    x->request = copy;
    entries_copy(&x->request);
    x->from = from;
    x->to = to;
    x->type = copy.message.type;
    x->double_ = true;
    later(s, x, SIM_REQUEST, at_us);
}

void sim_net_send(void *self, const struct peer_message *m)
{
    struct sim_node *n = self;
    struct sim *s = n->sim;
    uint64_t at_us;
    if (n->installing)
        sim_violated(s, "n%" PRIu64 " speaks while a snapshot is installed", n->id);
    struct sim_exchange *x = exchange_new(s);
    take(s, m, &x->request);
    x->from = n->id;
    x->to = m->message.to;
    x->from_life = n->life;
    x->type = m->message.type;
    ASSERT(x->to >= 1 && x->to <= s->node_count && x->to != n->id);
    push_timeout(s, x);
    bool arrives = sim_net_latency(s, x->from, x->to, &at_us);
    if (arrives)
        later(s, x, SIM_REQUEST, at_us);
    else if (prng_chance(&s->net, 1, 2)) /* the connection breaks */
        later(s, x, SIM_FAILED, s->now_us + sim_draw(&s->net, 100, 50000));
    bool doubled =
        sim_chance(&s->net, s->lossy_until_us > s->now_us ? SIM_LOSSY_SHARE : s->plan.duplicate);
    if (arrives && doubled && sim_has(s, SIM_WITH_DUPLICATION) && !s->calm)
        send_double(s, x, at_us + sim_draw(&s->net, 0, 3 * s->plan.link_slow_us));
}

static struct sim_exchange *awaited(struct sim_node *n, uint64_t context)
{
    struct sim *s = n->sim;
    bool known = context > 0 && context <= s->exchange_count;
    struct sim_exchange *x = &s->exchanges[known ? context - 1 : 0];
    if (!known || !x->waiting || x->to != n->id || x->to_life != n->life)
        sim_violated(s, "n%" PRIu64 " answers a request that does not wait for it", n->id);
    return x;
}

void sim_net_reply(void *self, uint64_t context, const struct raft_message *m)
{
    struct sim_node *n = self;
    struct sim *s = n->sim;
    struct sim_exchange *x = awaited(n, context);
    uint64_t at_us;
    if (m->to != x->from || m->type != x->type + (RAFT_PRE_VOTE_REPLY - RAFT_PRE_VOTE))
        sim_violated(s, "n%" PRIu64 " answers a %s of n%" PRIu64 " with a %s to n%" PRIu64, n->id,
                     raft_message_name(x->type), x->from, raft_message_name(m->type), m->to);
    sim_check_reply(n, m);
    x->waiting = false;
    if (!x->double_ && sim_net_latency(s, x->to, x->from, &at_us)) {
        if (sim_has(s, SIM_WITH_CODEC)) {
            struct peer_message in = {.cluster = s->cluster_id, .message = *m}, out = {0};
            through_codec(s, &in, &out);
            x->reply = out.message;
        } else {
            x->reply = *m;
        }
        later(s, x, SIM_REPLY, at_us);
    }
    exchange_let_go(s, x);
}

/* ---- arriving ---- */

static void refused(struct sim *s, struct sim_exchange *x, raft_index stranger)
{
    uint64_t at_us;
    x->stranger = stranger;
    if (!x->double_ && sim_net_latency(s, x->to, x->from, &at_us))
        later(s, x, SIM_FAILED, at_us);
}

static void request(struct sim *s, struct sim_exchange *x)
{
    struct sim_node *n = &s->nodes[x->to];
    uint32_t index = index_of(s, x);
    raft_index stranger = 0;
    struct peer_message m = x->request;
    if (is_cut(s, x->from, x->to))
        return;
    if (!n->carry) {
        refused(s, x, 0);
        return;
    }
    if (!sim_runs(n)) {
        later(s, x, SIM_REQUEST, n->paused_until_us);
        return;
    }
    memset(&x->request, 0, sizeof(x->request));
    x->waiting = true;
    x->to_life = n->life;
    int code = carry_peer_request(n->carry, &m, index + 1, sim_clock(n), &stranger);
    x = &s->exchanges[index]; /* it may have sent something */
    if (code != 0) {
        if (!x->waiting)
            sim_violated(s, "n%" PRIu64 " answers a message and refuses it", n->id);
        x->waiting = false;
        peer_message_release(&m);
        refused(s, x, code == ERR_FORBIDDEN ? stranger : 0);
    }
    sim_node_after(n);
}

static void settle(struct sim *s, struct sim_exchange *x, enum sim_event_kind kind)
{
    struct sim_node *n = &s->nodes[x->from];
    if (x->settled)
        return;
    if (n->life != x->from_life) {
        x->settled = true;
        return;
    }
    if (!sim_runs(n)) {
        later(s, x, kind, n->paused_until_us);
        return;
    }
    x->settled = true;
    raft_id to = x->to;
    enum raft_message_type type = x->type;
    struct raft_message reply = x->reply;
    if (kind == SIM_REPLY) {
        carry_peer_reply(n->carry, &reply, sim_clock(n));
    } else {
        if (x->stranger > 0)
            carry_told_removed(n->carry, x->stranger, sim_clock(n));
        carry_peer_failed(n->carry, to, type, sim_clock(n));
    }
    sim_node_after(n);
}

void sim_net_event(struct sim *s, const struct sim_event *e)
{
    struct sim_exchange *x = &s->exchanges[e->index];
    ASSERT(x->generation == e->generation && x->events > 0);
    if (e->kind == SIM_REQUEST)
        request(s, x);
    else
        settle(s, x, e->kind);
    x = &s->exchanges[e->index];
    x->events--;
    exchange_let_go(s, x);
}

uint64_t sim_net_timeout_us(const struct sim *s)
{
    return s->timeout_count > 0 ? s->timeouts[s->timeout_first & (s->timeout_room - 1)].at_us
                                : UINT64_MAX;
}

void sim_net_timeout(struct sim *s)
{
    struct sim_timeout t = s->timeouts[s->timeout_first & (s->timeout_room - 1)];
    s->timeout_first = (s->timeout_first + 1) & (s->timeout_room - 1);
    s->timeout_count--;
    struct sim_exchange *x = &s->exchanges[t.exchange];
    if (x->generation != t.generation || x->settled)
        return;
    settle(s, x, SIM_FAILED);
    exchange_let_go(s, &s->exchanges[t.exchange]);
}

/* ---- ends ---- */

/* Those who wait for it are told by the broken connection. */
void sim_net_crash(struct sim_node *n)
{
    struct sim *s = n->sim;
    for (uint32_t i = 0; i < s->exchange_count; i++) {
        struct sim_exchange *x = &s->exchanges[i];
        if (x->generation == 0)
            continue;
        if (x->from == n->id && !x->double_)
            x->settled = true;
        if (x->to == n->id && x->waiting) {
            x->waiting = false;
            refused(s, x, 0);
        }
        exchange_let_go(s, x);
    }
}

void sim_net_free(struct sim *s)
{
    for (uint32_t i = 0; i < s->exchange_count; i++)
        if (s->exchanges[i].generation > 0)
            peer_message_release(&s->exchanges[i].request);
    for (size_t i = 0; i < SIM_NODES_MAX * SIM_NODES_MAX; i++)
        sim_copy_release(s->transfers[i].copy);
    mem_free(s->exchanges);
}
