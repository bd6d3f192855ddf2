/*
 * The exhaustive search: packed cores behave as the cores they were, what a search counts does not
 * depend on threads, and small spaces have the size they have always had. That it finds what is
 * wrong is for planted bugs to show.
 */
#include <string.h>

#include "lib/base/mem.h"
#include "lib/sim/explore.h"
#include "lib/sim/explore_internal.h"
#include "tests/support/cases.h"
#include "tests/support/torture.h"
#include "tests/unit/tap.h"

enum { PACK_BYTES = 1 << 16, SEEDS = 12, PERIODS = 60 };

/* ---- packing ---- */

struct twin {
    uint8_t bytes[PACK_BYTES];
    size_t len;
};

static void pack(struct twin *to, const struct raft *r, const raft_id *rename)
{
    to->len = raft_pack(r, rename, to->bytes, sizeof(to->bytes));
    REQUIRE(to->len > 0);
}

static bool same(const struct twin *a, const struct twin *b)
{
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

static void unpack(struct raft *to, const struct torture_node *n, const struct twin *from)
{
    REQUIRE(raft_unpack(to, &n->options, 1000000000, from->bytes, from->len) == 0);
}

static struct torture *random_cluster(uint64_t seed)
{
    return torture_new(seed, (struct torture_plan){
                                 .voters = seed % 2 ? 3 : 5,
                                 .loss = 30,
                                 .duplicate = 20,
                                 .reorder = 50,
                                 .delay_max_us = 5000,
                                 .slow_delay_max_us = 100000,
                                 .disk_max_us = 10000,
                                 .inflight_max = 4,
                                 .append_entries_max = 3,
                             });
}

/* Calls `look` with cores in all states that a random run has. */
static void visit(void (*look)(const struct torture_node *n))
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct torture *t = random_cluster(test_seed() + seed);
        for (uint32_t i = 0; i < PERIODS && !t->failed; i++) {
            torture_run(t, 20000);
            raft_id id = 1 + torture_below(t, 7), leader = torture_leader(t);
            torture_propose(t, leader, 1 + (uint32_t)torture_below(t, 4));
            torture_read(t, id, false);
            if (torture_chance(t, 50) && leader != 0)
                torture_change(
                    t, leader,
                    (struct raft_change){
                        .kind = RAFT_REPLACE, .id = 1, .new_id = 7, .auto_promote = true});
            if (torture_chance(t, 100))
                torture_crash(t, id);
            else
                torture_start(t, id);
            for (raft_id k = 1; k < TORTURE_NODES; k++)
                if (t->nodes[k].core)
                    look(&t->nodes[k]);
        }
        CHECK(!t->failed);
        torture_free(t);
    }
}

static struct twin first, second;

static void look_round_trip(const struct torture_node *n)
{
    struct raft *r = mem_zalloc(raft_size());
    pack(&first, n->core, NULL);
    unpack(r, n, &first);
    CHECK(raft_invariant(r) == NULL);
    CHECK_EQ(raft_self(r), n->id);
    CHECK_EQ(raft_term_current(r), raft_term_current(n->core));
    CHECK_EQ(raft_last_index(r), raft_last_index(n->core));
    pack(&second, r, NULL);
    CHECK(same(&first, &second));
    /* Into one that holds another state. */
    unpack(r, n, &second);
    struct raft *fresh = mem_zalloc(raft_size());
    unpack(fresh, n, &second);
    CHECK(memcmp(r, fresh, raft_state_size()) == 0);
    mem_free(fresh);
    mem_free(r);
}

static void test_round_trip(void)
{
    visit(look_round_trip);
}

static void look_renamed(const struct torture_node *n)
{
    static const raft_id there[TORTURE_NODES] = {0, 5, 3, 8, 1, 11, 2, 9, 4, 10, 6, 7};
    raft_id back[TORTURE_NODES] = {0};
    for (raft_id id = 1; id < TORTURE_NODES; id++)
        back[there[id]] = id;
    struct raft *r = mem_zalloc(raft_size());
    pack(&first, n->core, there);
    unpack(r, n, &first);
    CHECK_EQ(raft_self(r), there[n->id]);
    CHECK(raft_invariant(r) == NULL);
    pack(&second, r, back);
    pack(&first, n->core, NULL);
    CHECK(same(&first, &second));
    mem_free(r);
}

static void test_renamed(void)
{
    visit(look_renamed);
}

/* The core itself and what is unpacked from it do the same by the same event. */
static void compare(const struct torture_node *n, struct raft_event event)
{
    struct raft *own = mem_zalloc(raft_size()), *unpacked = mem_zalloc(raft_size());
    struct raft_update a, b;
    memcpy(own, n->core, raft_state_size());
    pack(&first, own, NULL);
    unpack(unpacked, n, &first);
    CHECK_EQ(raft_step(own, &event, &a), raft_step(unpacked, &event, &b));
    CHECK_EQ(a.message_count, b.message_count);
    CHECK_EQ(a.commit, b.commit);
    CHECK_EQ(a.write_first, b.write_first);
    CHECK_EQ(a.truncate_from, b.truncate_from);
    CHECK_EQ(a.vote, b.vote);
    pack(&first, own, NULL);
    pack(&second, unpacked, NULL);
    CHECK(same(&first, &second));
    mem_free(own);
    mem_free(unpacked);
}

static void look_behaves(const struct torture_node *n)
{
    const struct raft *r = n->core;
    raft_id other = n->id == 1 ? 2 : 1;
    raft_index last = raft_last_index(r);
    struct raft_message vote = {.type = RAFT_VOTE,
                                .from = other,
                                .to = n->id,
                                .term = raft_term_current(r) + 1,
                                .last_index = last,
                                .last_term = raft_term_current(r),
                                .transfer = true};
    struct raft_message append = {.type = RAFT_APPEND,
                                  .from = other,
                                  .to = n->id,
                                  .term = raft_term_current(r) + 1,
                                  .prev_index = last,
                                  .prev_term = raft_term_at(r, last),
                                  .commit = last};
    struct raft_message granted = {.type = RAFT_VOTE_REPLY,
                                   .from = other,
                                   .to = n->id,
                                   .term = raft_term_current(r),
                                   .granted = true};
    compare(n, (struct raft_event){.type = RAFT_MESSAGE, .message = &vote});
    compare(n, (struct raft_event){.type = RAFT_MESSAGE, .message = &append});
    compare(n, (struct raft_event){.type = RAFT_MESSAGE, .message = &granted});
    compare(n, (struct raft_event){.type = RAFT_PROPOSE, .propose = {.count = 2}});
}

static void test_behaves(void)
{
    visit(look_behaves);
}

static void test_no_room(void)
{
    struct torture *t = random_cluster(1);
    torture_run(t, 1000000);
    const struct torture_node *n = &t->nodes[1];
    struct raft *r = mem_zalloc(raft_size());
    pack(&first, n->core, NULL);
    for (size_t len = 0; len < first.len; len++) {
        CHECK_EQ(raft_pack(n->core, NULL, second.bytes, len), 0);
        CHECK(raft_unpack(r, &n->options, 1, first.bytes, len) != 0);
    }
    mem_free(r);
    torture_free(t);
}

/* ---- what was seen ---- */

static void test_seen(void)
{
    enum { COUNT = 700, SLOTS = 1024 };
    struct seen s;
    uint32_t slots[COUNT], slot;
    seen_init(&s, SLOTS);
    for (uint32_t i = 0; i < COUNT; i++) {
        struct fingerprint f = {.hi = i % 50 * UINT64_C(0x100000001), .lo = i};
        CHECK_EQ(seen_add(&s, f, i == 0 ? SEEN_NO_PARENT : slots[i / 2], &slots[i]), SEEN_NEW);
        CHECK_EQ(seen_add(&s, f, 0, &slot), SEEN_OLD);
    }
    for (int round = 0; round < 2; round++) {
        uint32_t *moved = seen_grow(&s);
        for (uint32_t i = 0; i < COUNT; i++)
            slots[i] = moved[slots[i]];
        mem_free(moved);
    }
    CHECK_EQ(s.count, 4 * SLOTS);
    CHECK_EQ(seen_parent(&s, slots[0]), SEEN_NO_PARENT);
    for (uint32_t i = 0; i < COUNT; i++) {
        struct fingerprint f = {.hi = i % 50 * UINT64_C(0x100000001), .lo = i};
        CHECK_EQ(seen_add(&s, f, 0, &slot), SEEN_OLD);
        CHECK(seen_is(&s, slots[i], f));
        if (i > 0)
            CHECK_EQ(seen_parent(&s, slots[i]), slots[i / 2]);
    }
    s.used_max = COUNT;
    CHECK_EQ(seen_add(&s, (struct fingerprint){.hi = 51, .lo = 51}, 0, &slot), SEEN_FULL);
    seen_release(&s);
}

/* ---- the way to a state ---- */

enum { WALKED = 3000 };

static struct state *state_of(const struct explore_options *o, char *states, uint32_t i)
{
    return (struct state *)(void *)(states + i * state_bytes(o));
}

/* A search by the simplest means: of the states in `states`, in order, all successors that are new.
 * Returns the number of states. */
static uint32_t fill(struct expansion *x, struct seen *seen, char *states, uint32_t *depths)
{
    const struct explore_options *o = x->options;
    struct state *root = state_of(o, states, 0);
    uint32_t count = 1;
    expand_root(x, root);
    depths[0] = 0;
    REQUIRE(seen_add(seen, expand_fingerprint(x, root), SEEN_NO_PARENT, &root->slot) == SEEN_NEW);
    for (uint32_t i = 0; i < count && count < WALKED; i++) {
        const struct state *from = state_of(o, states, i);
        expand(x, from);
        for (uint32_t k = 0; k < x->count && count < WALKED; k++) {
            const struct child *c = &x->children[k];
            struct state *to = state_of(o, states, count);
            uint32_t slot;
            if (seen_add(seen, c->fingerprint, from->slot, &slot) != SEEN_NEW)
                continue;
            expand_child(x, from, c, to);
            to->slot = slot;
            struct fingerprint f = expand_fingerprint(x, to);
            CHECK(f.hi == c->fingerprint.hi && f.lo == c->fingerprint.lo);
            CHECK(check_state(x, to, c->action.node) == NULL);
            depths[count++] = depths[i] + 1;
        }
    }
    return count;
}

/* Ways are as long as their states are deep, and lead there. */
static void test_ways(void)
{
    struct explore_options o = {.nodes = 3,
                                .spares = 1,
                                .messages = 3,
                                .batch = 1,
                                .symmetry = true,
                                .slow_disk = true,
                                .budgets = {[EXPLORE_TIMEOUTS] = 1,
                                            [EXPLORE_PROPOSALS] = 1,
                                            [EXPLORE_CRASHES] = 1,
                                            [EXPLORE_CHANGES] = 1,
                                            [EXPLORE_LOSSES] = 1}};
    atomic_uint_fast64_t memory = 0;
    struct symmetry symmetry;
    struct seen seen;
    symmetry_init(&symmetry, &o);
    struct store *store = store_new(&symmetry, &memory);
    struct expansion *x = expansion_new(&o, &symmetry, store);
    seen_init(&seen, 1 << 16);
    char *states = mem_calloc(WALKED, state_bytes(&o));
    uint32_t *depths = mem_calloc(WALKED, sizeof(*depths));
    uint32_t count = fill(x, &seen, states, depths);
    CHECK_EQ(count, WALKED);
    struct state *at = mem_zalloc(state_bytes(&o));
    for (uint32_t i = 0; i < count; i += 97) {
        struct explore_report r = {.violation = NULL};
        path_walk(x, &seen, state_of(&o, states, i)->slot, &r, at);
        CHECK_EQ(r.step_count, depths[i]);
        CHECK(seen_is(&seen, state_of(&o, states, i)->slot, expand_fingerprint(x, at)));
        for (size_t k = 0; k < r.step_count; k++)
            CHECK(strncmp(r.steps[k].text, "node ", 5) == 0);
        explore_report_release(&r);
    }
    mem_free(at);
    mem_free(depths);
    mem_free(states);
    expansion_free(x);
    store_free(store);
    seen_release(&seen);
}

/* ---- searches ---- */

static struct explore_options small(void)
{
    return (struct explore_options){
        .nodes = 3,
        .messages = 2,
        .batch = 1,
        .symmetry = true,
        .memory_bytes = UINT64_C(256) << 20,
        .jobs = 2,
        .budgets = {[EXPLORE_TIMEOUTS] = 2, [EXPLORE_PROPOSALS] = 1},
    };
}

static struct explore_report search(const struct explore_options *o, enum explore_end end)
{
    struct explore_report r;
    struct err err;
    int code = explore_run(o, &r, &err);
    REQUIRE(code == 0);
    CHECK_EQ(r.end, end);
    CHECK(r.violation == NULL);
    CHECK(r.memory_bytes <=
          o->memory_bytes + o->memory_bytes / 8); /* as threads look now and then */
    uint64_t states = 0, transitions = 0;
    for (uint32_t d = 0; d <= r.depth; d++)
        states += r.per_depth[d];
    for (uint32_t k = 0; k < EXPLORE_KINDS; k++)
        transitions += r.per_kind[k];
    CHECK_EQ(states, r.states);
    CHECK_EQ(transitions, r.transitions);
    return r;
}

/* One node alone: it waits, it leads, and the one entry is proposed before or after the timeout
 * that a leader without others does not mind. */
static void test_alone(void)
{
    struct explore_options o = small();
    o.nodes = 1;
    o.budgets[EXPLORE_TIMEOUTS] = 1;
    struct explore_report r = search(&o, EXPLORE_WHOLE);
    CHECK_EQ(r.states, 3);
    CHECK_EQ(r.depth, 2);
}

static const struct {
    const char *name;
    uint64_t budgets[EXPLORE_BUDGETS];
    uint64_t nodes, spares, messages;
    bool slow_disk;
    uint64_t states, depth;
} spaces[] = {
    {"elections", {[EXPLORE_TIMEOUTS] = 2}, 3, 0, 3, false, 12268, 26},
    {"entries", {[EXPLORE_TIMEOUTS] = 2, [EXPLORE_PROPOSALS] = 1}, 3, 0, 2, false, 5908, 29},
    {"a disk that takes its time",
     {[EXPLORE_TIMEOUTS] = 1, [EXPLORE_PROPOSALS] = 1, [EXPLORE_CRASHES] = 1},
     3,
     0,
     2,
     true,
     11676,
     27},
    {"a bad network",
     {[EXPLORE_TIMEOUTS] = 1,
      [EXPLORE_LOSSES] = 1,
      [EXPLORE_DUPLICATES] = 1,
      [EXPLORE_HEARTBEATS] = 1},
     3,
     0,
     2,
     false,
     3981,
     17},
    {"a change of membership",
     {[EXPLORE_TIMEOUTS] = 1, [EXPLORE_CHANGES] = 1},
     3,
     1,
     2,
     false,
     32700,
     54},
    {"a transfer", {[EXPLORE_TIMEOUTS] = 1, [EXPLORE_TRANSFERS] = 1}, 3, 0, 2, false, 767, 21},
    {"a read", {[EXPLORE_TIMEOUTS] = 2, [EXPLORE_READS] = 1}, 3, 0, 2, false, 24940, 29},
    {"four nodes", {[EXPLORE_TIMEOUTS] = 1}, 4, 0, 3, false, 174, 17},
    {"five nodes", {[EXPLORE_TIMEOUTS] = 1}, 5, 0, 2, false, 124, 13},
    {"two nodes",
     {[EXPLORE_TIMEOUTS] = 2, [EXPLORE_PROPOSALS] = 1, [EXPLORE_CRASHES] = 1},
     2,
     0,
     2,
     false,
     1603,
     27},
};

/* A space that has another size than before is one in which the core does something else, or the
 * search. */
static void test_sizes(void)
{
    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
        struct explore_options o = small();
        memcpy(o.budgets, spaces[i].budgets, sizeof(o.budgets));
        o.nodes = spaces[i].nodes;
        o.spares = spaces[i].spares;
        o.messages = spaces[i].messages;
        o.slow_disk = spaces[i].slow_disk;
        case_row("%s", spaces[i].name);
        struct explore_report r = search(&o, EXPLORE_WHOLE);
        CHECK_EQ(r.states, spaces[i].states);
        CHECK_EQ(r.depth, spaces[i].depth);
        CHECK_EQ(r.cut, 0);
    }
    case_row_done();
}

static void test_threads(void)
{
    struct explore_options o = small();
    o.jobs = 1;
    struct explore_report one = search(&o, EXPLORE_WHOLE);
    for (o.jobs = 2; o.jobs <= 5; o.jobs++) {
        struct explore_report r = search(&o, EXPLORE_WHOLE);
        CHECK_EQ(r.depth, one.depth);
        CHECK_EQ(r.transitions, one.transitions);
        CHECK(memcmp(r.per_depth, one.per_depth, sizeof(r.per_depth)) == 0);
        CHECK(memcmp(r.per_kind, one.per_kind, sizeof(r.per_kind)) == 0);
    }
}

/* At most six states have one name, and most have all six. */
static void test_symmetry(void)
{
    for (uint32_t changes = 0; changes < 2; changes++) {
        struct explore_options o = small();
        o.budgets[EXPLORE_CHANGES] = changes;
        o.budgets[EXPLORE_TIMEOUTS] = 1;
        struct explore_report with = search(&o, EXPLORE_WHOLE);
        o.symmetry = false;
        struct explore_report without = search(&o, EXPLORE_WHOLE);
        CHECK_EQ(with.permutations, 6);
        CHECK_EQ(without.permutations, 1);
        CHECK_EQ(with.depth, without.depth);
        for (uint32_t d = 0; d <= with.depth; d++)
            CHECK(without.per_depth[d] <= 6 * with.per_depth[d] &&
                  without.per_depth[d] >= with.per_depth[d]);
        CHECK(without.states > 5 * with.states);
    }
}

static void test_limits(void)
{
    struct explore_options o = small();
    struct explore_report whole = search(&o, EXPLORE_WHOLE);
    o.depth = 10;
    struct explore_report r = search(&o, EXPLORE_DEPTH);
    CHECK_EQ(r.depth, 10);
    CHECK(memcmp(r.per_depth, whole.per_depth, 11 * sizeof(r.per_depth[0])) == 0);
    o.depth = 0;
    o.states = 1000;
    r = search(&o, EXPLORE_STATES);
    CHECK_EQ(r.states, 1000);
    o.states = whole.states;
    r = search(&o, EXPLORE_WHOLE);
    CHECK_EQ(r.states, whole.states);
    o.states = 0;
    o.budgets[EXPLORE_TIMEOUTS] = 3;
    o.messages = 4;
    o.time_ms = 20;
    search(&o, EXPLORE_TIME);
    o.time_ms = 0;
    o.memory_bytes = UINT64_C(4) << 20;
    search(&o, EXPLORE_MEMORY);
}

static void test_usage(void)
{
    static const struct {
        uint64_t nodes, spares, messages, jobs, batch, timeouts, changes;
    } bad[] = {
        {0, 0, 2, 1, 1, 1, 0}, {7, 0, 2, 1, 1, 1, 0},  {4, 3, 2, 1, 1, 1, 0},
        {3, 0, 0, 1, 1, 1, 0}, {3, 0, 17, 1, 1, 1, 0}, {3, 0, 2, 0, 1, 1, 0},
        {3, 0, 2, 1, 0, 1, 0}, {3, 0, 2, 1, 1, 16, 0}, {3, 0, 2, 1, 1, 15, 0},
        {3, 0, 2, 1, 1, 1, 3},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct explore_options o = small();
        struct explore_report r;
        struct err err;
        o.nodes = bad[i].nodes;
        o.spares = bad[i].spares;
        o.messages = bad[i].messages;
        o.jobs = bad[i].jobs;
        o.batch = bad[i].batch;
        o.budgets[EXPLORE_TIMEOUTS] = bad[i].timeouts;
        o.budgets[EXPLORE_CHANGES] = bad[i].changes;
        case_row("row %zu", i);
        CHECK_EQ(explore_run(&o, &r, &err), ERR_USAGE);
    }
    case_row_done();
}

static const struct test_case cases[] = {
    {"a packed core is the core that it was", test_round_trip},
    {"a core under other names, and back", test_renamed},
    {"a packed core behaves alike", test_behaves},
    {"packing without room, unpacking what is cut off", test_no_room},
    {"fingerprints are found again, also after growing", test_seen},
    {"a state's way leads to it", test_ways},
    {"a node alone", test_alone},
    {"small spaces have their sizes", test_sizes},
    {"threads make no difference", test_threads},
    {"states under other names count as one", test_symmetry},
    {"limits end a search", test_limits},
    {"bounds beyond what it holds", test_usage},
};

CASES_MAIN(cases)
