/*
 * Scenario files: the commands. The table at the end is the language; what each means stands in
 * raftkv-check(1).
 */
#include <inttypes.h>
#include <string.h>

#include "lib/sim/scenario_internal.h"

#define ELECTION_TIMEOUT CLUSTER_ELECTION_TIMEOUT_US

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
    if (runs(s, c))
        cluster_elect(s->cluster, c->nodes[0]);
}

/* ---- the network ---- */

static void run_deliver_all(struct scenario *s, const struct scenario_command *c)
{
    (void)c;
    cluster_settle(s->cluster);
}

/* Those that are on their way now, not what they bring about. */
static uint32_t chosen(const struct scenario *s, const struct scenario_command *c)
{
    uint32_t count = cluster_count(s->cluster, c->type, c->nodes[0], c->nodes[1]);
    return c->first && count > 1 ? 1 : count;
}

static bool none_chosen(struct scenario *s, const struct scenario_command *c)
{
    if (chosen(s, c) > 0)
        return false;
    scenario_say(s, "nothing like that is on its way from %s to %s", name(s, c->nodes[0]),
                 name(s, c->nodes[1]));
    return true;
}

static void run_deliver(struct scenario *s, const struct scenario_command *c)
{
    if (none_chosen(s, c))
        return;
    if (node(s, c, 1)->paused || !node(s, c, 1)->raft) {
        scenario_say(s, "%s is %s", name(s, c->nodes[1]),
                     node(s, c, 1)->paused ? "stopped" : "down");
        return;
    }
    for (uint32_t left = chosen(s, c); left > 0 && !s->cluster->ended; left--)
        cluster_pass(s->cluster, c->type, c->nodes[0], c->nodes[1]);
}

/* A snapshot that does not arrive is noticed by its sender. */
static void lose(struct scenario *s, const struct cluster_packet *packet)
{
    const struct raft_message *m = &packet->m;
    scenario_show_message(s, "lost: ", m);
    if (m->type == RAFT_SEND_SNAPSHOT && s->cluster->nodes[m->from].raft)
        cluster_snapshot_sent(s->cluster, m->from, m->to, false, 0);
}

static void run_drop(struct scenario *s, const struct scenario_command *c)
{
    struct cluster_packet packet;
    if (none_chosen(s, c))
        return;
    for (uint32_t left = chosen(s, c); left > 0; left--)
        if (cluster_take(s->cluster, c->type, c->nodes[0], c->nodes[1], &packet))
            lose(s, &packet);
}

static void run_drop_all(struct scenario *s, const struct scenario_command *c)
{
    struct cluster_packet packet;
    (void)c;
    for (uint32_t left = s->cluster->packet_count; left > 0; left--)
        if (cluster_take(s->cluster, CLUSTER_ANY, 0, 0, &packet))
            lose(s, &packet);
}

/* The network delivers it once more: now. */
static void run_repeat(struct scenario *s, const struct scenario_command *c)
{
    struct cluster_packet packet = {0};
    const struct raft_message *m = NULL;
    if (none_chosen(s, c))
        return;
    for (uint32_t i = 0; i < s->cluster->packet_count && !m; i++) {
        packet = s->cluster->packets[i];
        if (packet.m.from == c->nodes[0] && packet.m.to == c->nodes[1] &&
            (c->type == CLUSTER_ANY || packet.m.type == c->type))
            m = &packet.m;
    }
    if (node(s, c, 1)->raft)
        cluster_deliver(s->cluster, packet);
}

static void run_cut(struct scenario *s, const struct scenario_command *c)
{
    for (uint32_t i = 0; i < c->node_count; i++)
        for (uint32_t k = 0; k < i; k++)
            if (c->group[i] != c->group[k])
                cluster_cut_both(s->cluster, c->nodes[i], c->nodes[k]);
}

static void run_cut_one_way(struct scenario *s, const struct scenario_command *c)
{
    cluster_cut(s->cluster, c->nodes[0], c->nodes[1]);
}

static void run_hold_link(struct scenario *s, const struct scenario_command *c)
{
    cluster_hold(s->cluster, c->nodes[0], c->nodes[1]);
}

static void run_release_link(struct scenario *s, const struct scenario_command *c)
{
    s->cluster->held[c->nodes[0]][c->nodes[1]] = false;
}

static void run_heal(struct scenario *s, const struct scenario_command *c)
{
    (void)c;
    cluster_heal(s->cluster);
}

static void run_unreachable(struct scenario *s, const struct scenario_command *c)
{
    if (runs(s, c))
        cluster_unreachable(s->cluster, c->nodes[0], c->nodes[1]);
}

/* ---- disks and processes ---- */

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
    s->proposal = c;
    if (runs(s, c))
        cluster_propose(s->cluster, c->nodes[0], c->count > 0 ? c->count : (uint32_t)c->number);
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
    {"cluster REST", scenario_parse_cluster, run_cluster},
    {"log NODE terms REST", scenario_parse_log, run_log},
    /* time */
    {"run DURATION", NULL, run_run},
    {"wait DURATION", NULL, run_wait},
    {"timeout NODE", NULL, run_timeout},
    {"heartbeat NODE", NULL, run_heartbeat},
    {"elect NODE", NULL, run_elect},
    /* the network */
    {"deliver all", NULL, run_deliver_all},
    {"deliver FROM TO [first] [MESSAGE]", NULL, run_deliver},
    {"drop all", NULL, run_drop_all},
    {"drop FROM TO [first] [MESSAGE]", NULL, run_drop},
    {"repeat FROM TO [MESSAGE]", NULL, run_repeat},
    {"hold disk of NODE", NULL, run_hold_disk},
    {"hold FROM TO", NULL, run_hold_link},
    {"release disk of NODE", NULL, run_release_disk},
    {"release FROM TO", NULL, run_release_link},
    {"cut FROM > TO", NULL, run_cut_one_way},
    {"cut REST", scenario_parse_cut, run_cut},
    {"heal", NULL, run_heal},
    {"unreachable NODE OTHER", NULL, run_unreachable},
    /* disks and processes */
    {"write disk of NODE", NULL, run_write_disk},
    {"crash NODE", NULL, run_crash},
    {"restart NODE", NULL, run_restart},
    {"stop NODE", NULL, run_stop},
    {"continue NODE", NULL, run_continue},
    {"stall NODE", NULL, run_stall},
    {"stall NODE ends", NULL, run_stall_ends},
    {"fence NODE", NULL, run_fence},
    {"fence NODE ends", NULL, run_fence_ends},
    /* clients */
    {"propose NODE COUNT entries", NULL, run_propose},
    {"propose NODE VALUE…", NULL, run_propose},
    {"read NODE", NULL, run_read},
    {"read NODE by lease", NULL, run_lease_read},
    {"transfer NODE [TO]", NULL, run_transfer},
    {"compact NODE INDEX", NULL, run_compact},
    /* members */
    {"change NODE add OTHER", NULL, run_add},
    {"change NODE add OTHER to vote", NULL, run_add_promote},
    {"change NODE promote OTHER", NULL, run_promote},
    {"change NODE remove OTHER", NULL, run_remove},
    {"change NODE replace OTHER by OTHER", NULL, run_replace},
    {"tell NODE removed at INDEX", NULL, run_tell},
    /* looking */
    {"state [NODE…]", NULL, scenario_show_state},
    {"entries NODE", NULL, scenario_show_entries},
    {"applied NODE", NULL, scenario_show_applied},
    {"configuration NODE", NULL, scenario_show_configuration},
    {"progress NODE", NULL, scenario_show_progress},
    {"messages [FROM] [TO]", NULL, scenario_show_messages},
    {NULL, NULL, NULL},
};
