/*
 * Scenario files: the commands. The table at the end is the language; what each means stands in
 * raftkv-check(1).
 */
#include <inttypes.h>
#include <string.h>

#include "lib/sim/scenario_internal.h"

#define ELECTION_TIMEOUT CLUSTER_ELECTION_TIMEOUT_US

enum { LOG_ROOM = 100 }; /* left for what the cores append themselves */

static const char *name(const struct scenario *s, raft_id id)
{
    return scenario_name(s, id);
}

static struct cluster_node *node(const struct scenario *s, const struct scenario_command *c,
                                 uint32_t i)
{
    return &s->cluster->nodes[c->nodes[i]];
}

/* Whether the first node named runs; says so if not. */
static bool runs(struct scenario *s, const struct scenario_command *c)
{
    const struct cluster_node *n = node(s, c, 0);
    if (!n->raft)
        scenario_say(s, "%s is down", name(s, n->id));
    return n->raft != NULL;
}

/* ---- the cluster ---- */

static void run_cluster(struct scenario *s, const struct scenario_command *c)
{
    if (s->cluster)
        cluster_stop(s->cluster);
    s->value_count = 0;
    s->reads = 0;
    struct cluster_plan plan = {
        .voters = c->voters,
        .learners = c->learners,
        .spares = c->spares,
        .observer = scenario_observer(s),
    };
    s->muted = true; /* that everybody starts goes without saying */
    s->cluster = cluster_start(&plan);
    for (raft_id id = 1; id <= s->cluster->node_count; id++)
        memcpy(s->cluster->names[id], s->names->names[id], CLUSTER_NAME_BYTES);
    s->muted = false;
}

static void run_log(struct scenario *s, const struct scenario_command *c)
{
    struct cluster_node *n = node(s, c, 0);
    s->muted = true;
    cluster_crash(s->cluster, n->id);
    cluster_disk_write(s->cluster, n->id, c->term, c->vote, c->terms, c->commit);
    n->fresh = true; /* nobody was promised anything */
    cluster_restart(s->cluster, n->id);
    s->muted = false;
}

static void run_limit(struct scenario *s, const struct scenario_command *c)
{
    s->muted = true;
    for (raft_id id = 1; id <= s->cluster->node_count; id++) {
        struct cluster_node *n = &s->cluster->nodes[id];
        n->options.append_entries_max = (uint32_t)c->number;
        cluster_crash(s->cluster, id);
        n->fresh = true;
        cluster_restart(s->cluster, id);
    }
    s->muted = false;
}

/* ---- time ---- */

static void run_run(struct scenario *s, const struct scenario_command *c)
{
    cluster_run(s->cluster, c->us);
}

static void run_wait(struct scenario *s, const struct scenario_command *c)
{
    cluster_sleep(s->cluster, c->us);
}

static void wake(struct scenario *s, struct cluster_node *n)
{
    if (n->wake_us > s->cluster->now_us)
        s->cluster->now_us = n->wake_us;
    cluster_tick(s->cluster, n->id);
}

/* Only this one notices that time has gone on. */
static void run_timeout(struct scenario *s, const struct scenario_command *c)
{
    struct cluster_node *n = node(s, c, 0);
    if (!runs(s, c))
        return;
    if (raft_state(n->raft) == RAFT_LEADER) {
        scenario_say(s, "%s leads and waits for no election", name(s, n->id));
        return;
    }
    bool follows = raft_state(n->raft) == RAFT_FOLLOWER;
    uint64_t latest = s->cluster->now_us + 2 * ELECTION_TIMEOUT;
    do {
        wake(s, n);
    } while (follows && !s->cluster->ended && raft_state(n->raft) == RAFT_FOLLOWER &&
             n->wake_us <= latest);
    if (raft_state(n->raft) == RAFT_FOLLOWER)
        scenario_say(s, "%s does not stand for election", name(s, n->id));
}

static void run_heartbeat(struct scenario *s, const struct scenario_command *c)
{
    struct cluster_node *n = node(s, c, 0);
    uint64_t before = s->heartbeats;
    if (!runs(s, c))
        return;
    while (!s->cluster->ended && raft_state(n->raft) == RAFT_LEADER && s->heartbeats == before &&
           n->wake_us != UINT64_MAX)
        wake(s, n);
    if (s->heartbeats == before)
        scenario_say(s, "%s sends no heartbeats", name(s, n->id));
}

static void run_elect(struct scenario *s, const struct scenario_command *c)
{
    if (runs(s, c) && !cluster_run_until_leads(s->cluster, c->nodes[0]))
        scenario_say(s, "%s is not elected", name(s, c->nodes[0]));
}

/* ---- disks and processes ---- */

static void run_unreachable(struct scenario *s, const struct scenario_command *c)
{
    if (runs(s, c))
        cluster_unreachable(s->cluster, c->nodes[0], c->nodes[1]);
}

static void run_hold_disk(struct scenario *s, const struct scenario_command *c)
{
    if (runs(s, c))
        cluster_disk_hold(s->cluster, c->nodes[0]);
}

static void run_write_disk(struct scenario *s, const struct scenario_command *c)
{
    if (runs(s, c) && !cluster_disk_step(s->cluster, c->nodes[0]))
        scenario_say(s, "no write of %s is under way", name(s, c->nodes[0]));
}

static void run_release_disk(struct scenario *s, const struct scenario_command *c)
{
    if (runs(s, c))
        cluster_disk_release(s->cluster, c->nodes[0]);
}

static void run_crash(struct scenario *s, const struct scenario_command *c)
{
    if (runs(s, c))
        cluster_crash(s->cluster, c->nodes[0]);
}

static void run_restart(struct scenario *s, const struct scenario_command *c)
{
    cluster_restart(s->cluster, c->nodes[0]);
}

static void run_stop(struct scenario *s, const struct scenario_command *c)
{
    cluster_pause(s->cluster, c->nodes[0], true);
}

static void run_continue(struct scenario *s, const struct scenario_command *c)
{
    cluster_pause(s->cluster, c->nodes[0], false);
}

static void run_stall(struct scenario *s, const struct scenario_command *c)
{
    if (runs(s, c))
        cluster_stall(s->cluster, c->nodes[0], true);
}

static void run_stall_ends(struct scenario *s, const struct scenario_command *c)
{
    if (runs(s, c))
        cluster_stall(s->cluster, c->nodes[0], false);
}

static void run_fence(struct scenario *s, const struct scenario_command *c)
{
    if (runs(s, c))
        cluster_fence(s->cluster, c->nodes[0], true);
}

static void run_fence_ends(struct scenario *s, const struct scenario_command *c)
{
    if (runs(s, c))
        cluster_fence(s->cluster, c->nodes[0], false);
}

/* ---- clients ---- */

static void run_propose(struct scenario *s, const struct scenario_command *c)
{
    uint32_t count = c->count > 0 ? c->count : (uint32_t)c->number;
    s->proposal = c;
    if (!runs(s, c))
        return;
    if (node(s, c, 0)->last + count > s->cluster->log_max - LOG_ROOM)
        scenario_say(s, "no script needs so many entries");
    else
        cluster_propose(s->cluster, c->nodes[0], count);
}

static void run_read(struct scenario *s, const struct scenario_command *c)
{
    if (runs(s, c))
        cluster_read(s->cluster, c->nodes[0], ++s->reads);
}

static void run_lease_read(struct scenario *s, const struct scenario_command *c)
{
    if (runs(s, c))
        cluster_lease_read(s->cluster, c->nodes[0], ++s->reads);
}

static void run_transfer(struct scenario *s, const struct scenario_command *c)
{
    if (runs(s, c))
        cluster_transfer(s->cluster, c->nodes[0], c->node_count > 1 ? c->nodes[1] : 0);
}

static void run_compact(struct scenario *s, const struct scenario_command *c)
{
    const struct cluster_node *n = node(s, c, 0);
    if (!runs(s, c))
        return;
    if (c->number > n->applied || c->number <= raft_snapshot_index(n->raft))
        scenario_say(s, "%s cannot: its snapshot is at %" PRIu64 ", applied is %" PRIu64,
                     name(s, n->id), raft_snapshot_index(n->raft), n->applied);
    else
        cluster_compact(s->cluster, n->id, c->number);
}

/* ---- members ---- */

static void change(struct scenario *s, const struct scenario_command *c, struct raft_change what)
{
    what.id = c->nodes[1];
    if (runs(s, c))
        cluster_change(s->cluster, c->nodes[0], what);
}

static void run_add(struct scenario *s, const struct scenario_command *c)
{
    change(s, c, (struct raft_change){.kind = RAFT_ADD_LEARNER});
}

static void run_add_promote(struct scenario *s, const struct scenario_command *c)
{
    change(s, c, (struct raft_change){.kind = RAFT_ADD_LEARNER, .auto_promote = true});
}

static void run_promote(struct scenario *s, const struct scenario_command *c)
{
    change(s, c, (struct raft_change){.kind = RAFT_PROMOTE});
}

static void run_remove(struct scenario *s, const struct scenario_command *c)
{
    change(s, c, (struct raft_change){.kind = RAFT_REMOVE});
}

static void run_replace(struct scenario *s, const struct scenario_command *c)
{
    change(s, c, (struct raft_change){.kind = RAFT_REPLACE, .new_id = c->nodes[2]});
}

static void run_tell(struct scenario *s, const struct scenario_command *c)
{
    if (runs(s, c))
        cluster_step(s->cluster, c->nodes[0],
                     (struct raft_event){.type = RAFT_REMOVED, .index = c->number});
}

/* ---- the language ---- */

const struct scenario_verb scenario_verbs[] = {
    {.usage = "cluster",
     .run = run_cluster,
     .rest = "NODE… [learners NODE…] [spares NODE…]",
     .parse = scenario_parse_cluster},
    {.usage = "log NODE terms",
     .run = run_log,
     .prepares = true,
     .rest = "TERM… [commit INDEX] [term TERM] [vote NODE]",
     .parse = scenario_parse_log},
    {.usage = "limit appends to COUNT", .run = run_limit, .prepares = true},
    /* time */
    {.usage = "run DURATION", .run = run_run},
    {.usage = "wait DURATION", .run = run_wait},
    {.usage = "timeout NODE", .run = run_timeout},
    {.usage = "heartbeat NODE", .run = run_heartbeat},
    {.usage = "elect NODE", .run = run_elect},
    /* the network */
    {.usage = "deliver all", .run = scenario_deliver_all},
    {.usage = "deliver FROM TO [first] [last] [MESSAGE]", .run = scenario_deliver},
    {.usage = "deliver from NODE [MESSAGE]", .run = scenario_deliver_from},
    {.usage = "deliver to NODE [MESSAGE]", .run = scenario_deliver_to},
    {.usage = "drop all", .run = scenario_drop_all},
    {.usage = "drop FROM TO [first] [last] [MESSAGE]", .run = scenario_drop},
    {.usage = "drop from NODE [MESSAGE]", .run = scenario_drop_from},
    {.usage = "drop to NODE [MESSAGE]", .run = scenario_drop_to},
    {.usage = "repeat FROM TO [MESSAGE]", .run = scenario_repeat},
    {.usage = "hold disk of NODE", .run = run_hold_disk},
    {.usage = "hold FROM TO", .run = scenario_hold_link},
    {.usage = "release disk of NODE", .run = run_release_disk},
    {.usage = "release FROM TO", .run = scenario_release_link},
    {.usage = "cut FROM > TO", .run = scenario_cut_one_way},
    {.usage = "cut",
     .run = scenario_cut,
     .rest = "NODE… | NODE… [| NODE…]",
     .parse = scenario_parse_cut},
    {.usage = "heal", .run = scenario_heal},
    {.usage = "unreachable NODE OTHER", .run = run_unreachable},
    /* disks and processes */
    {.usage = "write disk of NODE", .run = run_write_disk},
    {.usage = "crash NODE", .run = run_crash},
    {.usage = "restart NODE", .run = run_restart},
    {.usage = "stop NODE", .run = run_stop},
    {.usage = "continue NODE", .run = run_continue},
    {.usage = "stall NODE", .run = run_stall},
    {.usage = "stall NODE ends", .run = run_stall_ends},
    {.usage = "fence NODE", .run = run_fence},
    {.usage = "fence NODE ends", .run = run_fence_ends},
    /* clients */
    {.usage = "propose NODE VALUE…", .run = run_propose},
    {.usage = "propose NODE COUNT entries", .run = run_propose},
    {.usage = "read NODE", .run = run_read},
    {.usage = "read NODE by lease", .run = run_lease_read},
    {.usage = "transfer NODE [TO]", .run = run_transfer},
    {.usage = "compact NODE INDEX", .run = run_compact},
    /* members */
    {.usage = "change NODE add OTHER", .run = run_add},
    {.usage = "change NODE add OTHER to vote", .run = run_add_promote},
    {.usage = "change NODE promote OTHER", .run = run_promote},
    {.usage = "change NODE remove OTHER", .run = run_remove},
    {.usage = "change NODE replace OTHER by OTHER", .run = run_replace},
    {.usage = "tell NODE removed at INDEX", .run = run_tell},
    /* looking */
    {.usage = "state [NODE…]", .run = scenario_show_state},
    {.usage = "entries NODE", .run = scenario_show_entries},
    {.usage = "applied NODE", .run = scenario_show_applied},
    {.usage = "configuration NODE", .run = scenario_show_configuration},
    {.usage = "progress NODE", .run = scenario_show_progress},
    {.usage = "messages [FROM] [TO]", .run = scenario_show_messages},
    {.usage = NULL},
};
