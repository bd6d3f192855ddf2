/*
 * The successors of a state: every action that its budgets allow, with every choice of messages
 * that get lost.
 *
 * A fingerprint is the sum of the hashes of nodes and messages, so their order does not matter, for
 * each permutation of the nodes' names; the least of these sums stands for all. What a step changes
 * is added and subtracted.
 */
#include <string.h>

#include "lib/base/mem.h"
#include "lib/sim/explore_internal.h"

enum { CHILDREN_FIRST = 256 };

struct sums {
    struct digest of[PERMUTATIONS_MAX];
};

struct expansion *expansion_new(const struct explore_options *options,
                                const struct symmetry *symmetry, struct store *store)
{
    struct expansion *x = mem_zalloc(sizeof(*x));
    x->options = options;
    x->symmetry = symmetry;
    x->store = store;
    x->scratch = scratch_new(options, store);
    x->node_count = (uint32_t)(options->nodes + options->spares);
    x->size = CHILDREN_FIRST;
    x->children = mem_calloc(x->size, sizeof(x->children[0]));
    return x;
}

void expansion_free(struct expansion *x)
{
    scratch_free(x->scratch);
    mem_free(x->children);
    mem_free(x);
}

size_t state_bytes(const struct explore_options *options)
{
    size_t bytes = sizeof(struct state) +
                   (options->nodes + options->spares + options->messages) * sizeof(uint32_t);
    return (bytes + 7) & ~(size_t)7;
}

void expand_root(const struct expansion *x, struct state *root)
{
    const struct explore_options *o = x->options;
    memset(root, 0, state_bytes(o));
    for (uint32_t b = 0; b < EXPLORE_BUDGETS; b++)
        root->budgets |= o->budgets[b] << (4 * b);
    root->committed = 1; /* the entry by which the cluster was formed, of term 1 */
    root->committed_count = 1;
    for (uint32_t i = 0; i < x->node_count; i++)
        root->items[i] = step_start(x->scratch, i + 1, i < o->nodes, (uint32_t)o->nodes);
}

/* ---- fingerprints ---- */

static void add(struct sums *sums, const struct digest *hashes, uint32_t count)
{
    for (uint32_t p = 0; p < count; p++) {
        sums->of[p].hi += hashes[p].hi;
        sums->of[p].lo += hashes[p].lo;
    }
}

static void subtract(struct sums *sums, const struct digest *hashes, uint32_t count)
{
    for (uint32_t p = 0; p < count; p++) {
        sums->of[p].hi -= hashes[p].hi;
        sums->of[p].lo -= hashes[p].lo;
    }
}

static void sum_up(const struct expansion *x, const struct state *s, struct sums *sums)
{
    memset(sums, 0, sizeof(*sums));
    for (uint32_t i = 0; i < x->node_count; i++)
        add(sums, store_node(x->store, s->items[i])->hashes, x->symmetry->count);
    for (uint32_t i = 0; i < s->message_count; i++)
        add(sums, store_message(x->store, s->items[x->node_count + i])->hashes, x->symmetry->count);
}

static struct fingerprint finish(const struct expansion *x, const struct sums *sums,
                                 uint64_t budgets, uint64_t committed, uint64_t committed_in)
{
    struct digest least = sums->of[0];
    for (uint32_t p = 1; p < x->symmetry->count; p++) {
        struct digest d = sums->of[p];
        if (d.hi < least.hi || (d.hi == least.hi && d.lo < least.lo))
            least = d;
    }
    const uint64_t rest[] = {budgets, committed, committed_in};
    struct digest other = digest_bytes(rest, sizeof(rest), 3);
    return (struct fingerprint){.hi = least.hi + other.hi, .lo = least.lo + other.lo};
}

struct fingerprint expand_fingerprint(const struct expansion *x, const struct state *s)
{
    struct sums sums;
    sum_up(x, s, &sums);
    return finish(x, &sums, s->budgets, s->committed, s->committed_in);
}

/* ---- children ---- */

struct context {
    struct expansion *x;
    const struct state *state;
    struct sums base;
};

static struct child *push(struct expansion *x, const struct child *c)
{
    if (x->count == x->size) {
        x->size *= 2;
        x->children = mem_realloc(x->children, x->size * sizeof(x->children[0]));
    }
    x->children[x->count] = *c;
    return &x->children[x->count++];
}

static uint64_t spend(uint64_t budgets, enum explore_budget b, uint32_t amount)
{
    return budgets - ((uint64_t)amount << (4 * b));
}

/* The next number with as many bits set, by R. W. Gosper. */
static uint32_t next_choice(uint32_t bits)
{
    uint32_t lowest = bits & -bits, carried = bits + lowest;
    return carried | ((bits ^ carried) >> 2) / lowest;
}

static void push_choice(struct context *at, const struct child *c, const struct sums *after,
                        uint32_t lost, uint32_t paid)
{
    struct expansion *x = at->x;
    struct sums sums;
    memcpy(sums.of, after->of, x->symmetry->count * sizeof(sums.of[0]));
    for (uint32_t i = 0; i < c->outcome->count; i++)
        if (!(lost >> i & 1))
            add(&sums, store_message(x->store, c->outcome->messages[i])->hashes,
                x->symmetry->count);
    struct child *own = push(x, c);
    own->budgets = spend(c->budgets, EXPLORE_LOSSES, paid);
    own->action.lost = lost;
    own->fingerprint = finish(x, &sums, own->budgets, c->committed, c->committed_in);
}

/* What finds no room in flight is lost for nothing, but somebody has to lose it. */
static void choose_lost(struct context *at, const struct child *c, const struct sums *after)
{
    uint32_t sent = c->outcome->count;
    uint32_t left = at->state->message_count - (c->gone != UINT8_MAX ? 1u : 0u);
    uint32_t room = (uint32_t)at->x->options->messages - left;
    uint32_t must = sent > room ? sent - room : 0;
    uint32_t may = must + budget_left(c->budgets, EXPLORE_LOSSES);
    for (uint32_t count = must; count <= may && count <= sent; count++) {
        if (count == 0) {
            push_choice(at, c, after, 0, 0);
            continue;
        }
        for (uint32_t lost = (1u << count) - 1; lost < 1u << sent; lost = next_choice(lost))
            push_choice(at, c, after, lost, count - must);
    }
}

static void come_to(struct context *at, struct child c)
{
    struct expansion *x = at->x;
    const struct state *s = at->state;
    uint32_t before = s->items[c.action.node];
    c.violation = c.outcome->violation;
    if (!c.violation)
        c.violation = check_commit(x, s, &c);
    if (c.violation) {
        push(x, &c);
        return;
    }
    struct sums after = at->base;
    if (c.outcome->node != before) {
        subtract(&after, store_node(x->store, before)->hashes, x->symmetry->count);
        add(&after, store_node(x->store, c.outcome->node)->hashes, x->symmetry->count);
    }
    if (c.gone != UINT8_MAX)
        subtract(&after, store_message(x->store, s->items[x->node_count + c.gone])->hashes,
                 x->symmetry->count);
    choose_lost(at, &c, &after);
}

static void act(struct context *at, struct action action, uint64_t budgets, uint8_t gone)
{
    struct child c = {.action = action, .budgets = budgets, .gone = gone};
    uint32_t before = at->state->items[action.node];
    c.outcome = step_node(at->x->scratch, before, action.event);
    if (c.outcome->cut)
        at->x->cut++;
    if (c.outcome->cut || c.outcome->nothing)
        return;
    come_to(at, c);
    uint64_t members = store_node(at->x->store, before)->view.members;
    if (c.outcome->hands_over_to == 0)
        return;
    for (uint32_t id = 1; id <= at->x->node_count; id++) {
        if (id == action.node + 1u || id == c.outcome->hands_over_to || !member_byte(members, id))
            continue;
        struct child other = c;
        other.action.event |= id << EVENT_HEIR_SHIFT;
        other.outcome = step_node(at->x->scratch, before, other.action.event);
        come_to(at, other);
    }
}

static void spend_and_act(struct context *at, enum explore_budget b, enum explore_kind kind,
                          uint32_t node, uint32_t a, uint32_t z)
{
    uint64_t budgets = at->state->budgets;
    if (budget_left(budgets, b) == 0)
        return;
    struct action action = {.kind = kind,
                            .node = (uint8_t)node,
                            .a = (uint8_t)a,
                            .b = (uint8_t)z,
                            .event = event_of(kind, a, z)};
    act(at, action, spend(budgets, b, 1), UINT8_MAX);
}

/* ---- actions ---- */

static void change_membership(struct context *at, uint32_t node, const struct view *v)
{
    uint32_t count = at->x->node_count;
    for (uint32_t id = 1; id <= count; id++) {
        uint32_t byte = member_byte(v->members, id);
        if (byte == 0) {
            spend_and_act(at, EXPLORE_CHANGES, EXPLORE_CHANGE, node, CHANGE_ADD, id);
            spend_and_act(at, EXPLORE_CHANGES, EXPLORE_CHANGE, node, CHANGE_ADD_VOTER, id);
            for (uint32_t old = 1; old <= count; old++)
                if (member_byte(v->members, old) & RAFT_VOTER)
                    spend_and_act(at, EXPLORE_CHANGES, EXPLORE_CHANGE, node, CHANGE_REPLACE,
                                  old | id << 4);
            continue;
        }
        spend_and_act(at, EXPLORE_CHANGES, EXPLORE_CHANGE, node, CHANGE_REMOVE, id);
        if (!(byte & RAFT_VOTER))
            spend_and_act(at, EXPLORE_CHANGES, EXPLORE_CHANGE, node, CHANGE_PROMOTE, id);
    }
}

static void lead(struct context *at, uint32_t node, const struct view *v)
{
    spend_and_act(at, EXPLORE_HEARTBEATS, EXPLORE_HEARTBEAT, node, 0, 0);
    if (v->is_late)
        spend_and_act(at, EXPLORE_HEARTBEATS, EXPLORE_LATE, node, 0, 0);
    spend_and_act(at, EXPLORE_PROPOSALS, EXPLORE_PROPOSE, node, 0, 0);
    if (budget_left(at->state->budgets, EXPLORE_CHANGES) > 0)
        change_membership(at, node, v);
    for (uint32_t id = 1; id <= at->x->node_count; id++)
        if (id != node + 1)
            spend_and_act(at, EXPLORE_TRANSFERS, EXPLORE_TRANSFER, node, id, 0);
}

static void act_node(struct context *at, uint32_t node)
{
    const struct view *v = &store_node(at->x->store, at->state->items[node])->view;
    spend_and_act(at, EXPLORE_TIMEOUTS, EXPLORE_TIMEOUT, node, 0, 0);
    if (v->write_count > 0) {
        struct action action = {.kind = EXPLORE_PERSISTED,
                                .node = (uint8_t)node,
                                .event = event_of(EXPLORE_PERSISTED, 0, 0)};
        act(at, action, at->state->budgets, UINT8_MAX);
    }
    for (uint32_t done = 0; done <= v->write_count; done++)
        spend_and_act(at, EXPLORE_CRASHES, EXPLORE_CRASH, node, done, 0);
    if (v->state == RAFT_LEADER)
        lead(at, node, v);
    else if (v->asks)
        spend_and_act(at, EXPLORE_HEARTBEATS, EXPLORE_HEARTBEAT, node, 0, 0);
    if (v->write_count == 0 && v->commit > v->snapshot)
        spend_and_act(at, EXPLORE_COMPACTIONS, EXPLORE_COMPACT, node, 0, 0);
    if (v->has_leader)
        spend_and_act(at, EXPLORE_READS, EXPLORE_READ, node, at->state->committed_count, 0);
}

static void act_message(struct context *at, uint8_t position)
{
    const struct state *s = at->state;
    uint32_t id = s->items[at->x->node_count + position];
    const struct message_item *m = store_message(at->x->store, id);
    struct action action = {.kind = EXPLORE_DELIVER,
                            .node = (uint8_t)(m->to - 1),
                            .message = id,
                            .event = EVENT_MESSAGE | id};
    act(at, action, s->budgets, position);
    if (budget_left(s->budgets, EXPLORE_DUPLICATES) > 0) {
        action.kind = EXPLORE_DUPLICATE;
        act(at, action, spend(s->budgets, EXPLORE_DUPLICATES, 1), UINT8_MAX);
    }
    if (m->kind != MESSAGE_SNAPSHOT || budget_left(s->budgets, EXPLORE_LOSSES) == 0)
        return;
    struct action fails = {.kind = EXPLORE_SNAPSHOT_FAILS,
                           .node = (uint8_t)(m->from - 1),
                           .a = m->to,
                           .message = id,
                           .event = event_of(EXPLORE_SNAPSHOT_FAILS, m->to, 0)};
    act(at, fails, spend(s->budgets, EXPLORE_LOSSES, 1), position);
}

void expand(struct expansion *x, const struct state *s)
{
    struct context at = {.x = x, .state = s};
    x->count = 0;
    sum_up(x, s, &at.base);
    for (uint32_t node = 0; node < x->node_count; node++)
        act_node(&at, node);
    const uint32_t *messages = &s->items[x->node_count];
    for (uint8_t i = 0; i < s->message_count; i++)
        if (i == 0 || messages[i] != messages[i - 1])
            act_message(&at, i);
}

void expand_child(const struct expansion *x, const struct state *s, const struct child *c,
                  struct state *to)
{
    memcpy(to, s, sizeof(*s));
    to->budgets = c->budgets;
    to->committed = c->committed;
    to->committed_in = c->committed_in;
    to->committed_count = c->committed_count;
    memcpy(to->items, s->items, x->node_count * sizeof(s->items[0]));
    to->items[c->action.node] = c->outcome->node;
    uint32_t *messages = &to->items[x->node_count];
    to->message_count = 0;
    for (uint32_t i = 0; i < s->message_count; i++)
        if (i != c->gone)
            messages[to->message_count++] = s->items[x->node_count + i];
    for (uint32_t i = 0; i < c->outcome->count; i++) {
        if (c->action.lost >> i & 1)
            continue;
        uint32_t k = to->message_count++;
        for (; k > 0 && messages[k - 1] > c->outcome->messages[i]; k--)
            messages[k] = messages[k - 1];
        messages[k] = c->outcome->messages[i];
    }
}
