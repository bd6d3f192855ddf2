/* Faults of the network between nodes, made by the proxy; see fault.h. */
#include <string.h>

#include "lib/run/fault.h"

enum {
    DELAY_MIN_MS = 10,
    DELAY_MAX_MS = 150,
    SLOW_BYTES_A_MS = 200, /* of a link that is throttled too */
    LOSS_MIN = 20,         /* of 1,000 */
    LOSS_MAX = 150,
};

/* Links of all pairs of members for which `cut` says so. */
static uint32_t all_members(const struct fault_run *f)
{
    uint32_t bits = 0;
    for (unsigned i = 0; i < f->fleet->count; i++)
        if (f->fleet->members[i].state != MEMBER_GONE)
            bits |= 1U << i;
    return bits;
}

static void set_cut(struct fault_run *f, int from, int to, bool cut)
{
    struct proxy_link link = proxy_get(f->fleet->proxy, (unsigned)from, (unsigned)to);
    link.cut = cut;
    proxy_set(f->fleet->proxy, (unsigned)from, (unsigned)to, &link);
}

/* From each of `from` to each of `to`. */
static void cut_ways(struct fault_run *f, uint32_t from, uint32_t to, bool cut)
{
    for (int i = 0; i < PROXY_NODES_MAX; i++)
        for (int j = 0; j < PROXY_NODES_MAX; j++)
            if (i != j && from >> i & 1 && to >> j & 1)
                set_cut(f, i, j, cut);
}

static void cut_both(struct fault_run *f, uint32_t a, uint32_t b, bool cut)
{
    cut_ways(f, a, b, cut);
    cut_ways(f, b, a, cut);
}

/* ---- partition ---- */

static void halves(struct fault_run *f)
{
    f->targets = fault_minority(f);
    fault_say_members(f, f->targets);
    fault_say(f, " | ");
    fault_say_members(f, all_members(f) & ~f->targets);
    cut_both(f, f->targets, all_members(f) & ~f->targets, true);
}

static void leader_alone(struct fault_run *f)
{
    int leader = fault_leader(f);
    f->targets = leader >= 0 ? 1U << leader : fault_minority(f);
    fault_say(f, "alone: ");
    fault_say_members(f, f->targets);
    cut_both(f, f->targets, all_members(f) & ~f->targets, true);
}

static void one_way(struct fault_run *f)
{
    uint32_t rest = all_members(f);
    f->targets = fault_minority(f);
    rest &= ~f->targets;
    bool deaf = prng_chance(&f->prng, 1, 2);
    fault_say(f, deaf ? "deaf: " : "mute: ");
    fault_say_members(f, f->targets);
    cut_ways(f, deaf ? rest : f->targets, deaf ? f->targets : rest, true);
}

/* Each hears its two neighbours; of three the first and the last do not hear each other. */
static void ring(struct fault_run *f)
{
    int order[PROXY_NODES_MAX], count = 0;
    uint32_t left = all_members(f);
    fault_say(f, "ring:");
    for (int one = fault_pick(f, left); one >= 0; one = fault_pick(f, left)) {
        order[count++] = one;
        left &= ~(1U << one);
        fault_say(f, " %s", f->fleet->members[one].name);
    }
    for (int i = 0; i < count; i++)
        for (int j = i + 1; j < count; j++) {
            bool round = i == 0 && j == count - 1 && count > 3;
            if (j > i + 1 && !round)
                cut_both(f, 1U << order[i], 1U << order[j], true);
        }
}

static void flapping(struct fault_run *f)
{
    halves(f);
    fault_say(f, ", flapping");
    f->on = true;
}

static void (*const partitions[])(struct fault_run *f) = {halves, leader_alone, one_way, ring,
                                                          flapping};

static void begin_partition(struct fault_run *f)
{
    partitions[prng_below(&f->prng, sizeof(partitions) / sizeof(partitions[0]))](f);
}

static void tick_partition(struct fault_run *f)
{
    if (!f->on || !prng_chance(&f->prng, 1, 3))
        return;
    uint32_t rest = all_members(f) & ~f->targets;
    bool cut = proxy_get(f->fleet->proxy, (unsigned)__builtin_ctz(f->targets),
                         (unsigned)__builtin_ctz(rest))
                   .cut;
    cut_both(f, f->targets, rest, !cut);
}

static void end_partition(struct fault_run *f)
{
    cut_both(f, UINT32_MAX, UINT32_MAX, false);
}

/* ---- slow, lossy ---- */

/* Each ordered pair on its own: some links stay as they were. */
static void disturb(struct fault_run *f, void (*draw)(struct fault_run *f, struct proxy_link *link))
{
    for (unsigned i = 0; i < f->fleet->count; i++)
        for (unsigned j = 0; j < f->fleet->count; j++) {
            if (i == j || prng_chance(&f->prng, 1, 3))
                continue;
            struct proxy_link link = proxy_get(f->fleet->proxy, i, j);
            draw(f, &link);
            proxy_set(f->fleet->proxy, i, j, &link);
        }
}

static void draw_slow(struct fault_run *f, struct proxy_link *link)
{
    link->delay_ms = DELAY_MIN_MS + (uint32_t)prng_below(&f->prng, DELAY_MAX_MS - DELAY_MIN_MS + 1);
    link->jitter_ms = (uint32_t)prng_below(&f->prng, link->delay_ms + 1);
    link->bytes_a_ms = prng_chance(&f->prng, 1, 4) ? SLOW_BYTES_A_MS : 0;
}

static void draw_lossy(struct fault_run *f, struct proxy_link *link)
{
    link->loss_per_mille = LOSS_MIN + (uint32_t)prng_below(&f->prng, LOSS_MAX - LOSS_MIN + 1);
}

static void begin_slow(struct fault_run *f)
{
    fault_say(f, "delays of up to %d ms and as much again", DELAY_MAX_MS);
    disturb(f, draw_slow);
}

static void begin_lossy(struct fault_run *f)
{
    fault_say(f, "up to %d %% of pieces lost", LOSS_MAX / 10);
    disturb(f, draw_lossy);
}

static void clear_slow(struct fault_run *f, struct proxy_link *link)
{
    (void)f;
    link->delay_ms = link->jitter_ms = link->bytes_a_ms = 0;
}

static void clear_lossy(struct fault_run *f, struct proxy_link *link)
{
    (void)f;
    link->loss_per_mille = 0;
}

static void clear_links(struct fault_run *f,
                        void (*clear)(struct fault_run *f, struct proxy_link *link))
{
    for (unsigned i = 0; i < f->fleet->count; i++)
        for (unsigned j = 0; j < f->fleet->count; j++) {
            struct proxy_link link = proxy_get(f->fleet->proxy, i, j);
            clear(f, &link);
            proxy_set(f->fleet->proxy, i, j, &link);
        }
}

static void end_slow(struct fault_run *f)
{
    clear_links(f, clear_slow);
}

static void end_lossy(struct fault_run *f)
{
    clear_links(f, clear_lossy);
}

const struct fault fault_partition = {
    "partition",    "links are cut: halves, leader alone, one way, ring, flapping",
    FAULT_OF_LINK,  begin_partition,
    tick_partition, end_partition};
const struct fault fault_slow = {"slow",        "links between nodes are slow, and some are narrow",
                                 FAULT_OF_LINK, begin_slow,
                                 NULL,          end_slow};
const struct fault fault_lossy = {"lossy",       "links between nodes lose packets and connections",
                                  FAULT_OF_LINK, begin_lossy,
                                  NULL,          end_lossy};
