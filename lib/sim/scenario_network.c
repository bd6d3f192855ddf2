/*
 * Scenario files: the commands of the network.
 */
#include <string.h>

#include "lib/sim/scenario_internal.h"

void scenario_deliver_all(struct scenario *s, const struct scenario_command *c)
{
    (void)c;
    cluster_settle(s->cluster);
}

/* A snapshot that does not arrive is noticed by its sender. */
static void lose(struct scenario *s, const struct cluster_packet *packet)
{
    const struct raft_message *m = &packet->m;
    scenario_show_message(s, "lost: ", m);
    if (m->type == RAFT_SEND_SNAPSHOT && s->cluster->nodes[m->from].raft)
        cluster_snapshot_sent(s->cluster, m->from, m->to, false, 0);
}

/* Of the messages chosen those that are on their way now, not what they bring about. */
struct choice {
    enum raft_message_type type;
    raft_id from, to; /* 0: anybody */
    uint32_t count;
    bool last; /* the newest of them, not the oldest */
};

static bool is_chosen(const struct choice *choice, const struct raft_message *m)
{
    return (choice->type == CLUSTER_ANY || m->type == choice->type) &&
           (choice->from == 0 || m->from == choice->from) &&
           (choice->to == 0 || m->to == choice->to);
}

static bool take(struct scenario *s, const struct choice *choice, struct cluster_packet *packet)
{
    struct cluster *c = s->cluster;
    if (!choice->last)
        return cluster_take(c, choice->type, choice->from, choice->to, packet);
    for (uint32_t i = c->packet_count; i-- > 0;) {
        if (!is_chosen(choice, &c->packets[i].m))
            continue;
        *packet = c->packets[i];
        c->packet_count--;
        memmove(&c->packets[i], &c->packets[i + 1], (c->packet_count - i) * sizeof(c->packets[0]));
        return true;
    }
    return false;
}

static struct choice choose(struct scenario *s, const struct scenario_command *c, raft_id from,
                            raft_id to)
{
    struct choice choice = {.type = c->type, .from = from, .to = to, .last = c->last};
    choice.count = cluster_count(s->cluster, c->type, from, to);
    if ((c->first || c->last) && choice.count > 1)
        choice.count = 1;
    if (choice.count == 0)
        scenario_say(s, "nothing like that is on its way");
    return choice;
}

static void deliver(struct scenario *s, struct choice choice)
{
    struct cluster_packet packet;
    for (; choice.count > 0 && !s->cluster->ended; choice.count--) {
        if (!take(s, &choice, &packet))
            return;
        const struct cluster_node *to = &s->cluster->nodes[packet.m.to];
        if (to->raft && !to->paused)
            cluster_deliver(s->cluster, packet);
        else
            lose(s, &packet);
    }
}

static void drop(struct scenario *s, struct choice choice)
{
    struct cluster_packet packet;
    for (; choice.count > 0; choice.count--)
        if (take(s, &choice, &packet))
            lose(s, &packet);
}

void scenario_deliver(struct scenario *s, const struct scenario_command *c)
{
    deliver(s, choose(s, c, c->nodes[0], c->nodes[1]));
}

void scenario_deliver_from(struct scenario *s, const struct scenario_command *c)
{
    deliver(s, choose(s, c, c->nodes[0], 0));
}

void scenario_deliver_to(struct scenario *s, const struct scenario_command *c)
{
    deliver(s, choose(s, c, 0, c->nodes[0]));
}

void scenario_drop(struct scenario *s, const struct scenario_command *c)
{
    drop(s, choose(s, c, c->nodes[0], c->nodes[1]));
}

void scenario_drop_from(struct scenario *s, const struct scenario_command *c)
{
    drop(s, choose(s, c, c->nodes[0], 0));
}

void scenario_drop_to(struct scenario *s, const struct scenario_command *c)
{
    drop(s, choose(s, c, 0, c->nodes[0]));
}

void scenario_drop_all(struct scenario *s, const struct scenario_command *c)
{
    drop(s, choose(s, c, 0, 0));
}

/* The network delivers it once more: now. */
void scenario_repeat(struct scenario *s, const struct scenario_command *c)
{
    struct choice choice = choose(s, c, c->nodes[0], c->nodes[1]);
    for (uint32_t i = 0; choice.count > 0 && i < s->cluster->packet_count; i++) {
        struct cluster_packet packet = s->cluster->packets[i];
        if (!is_chosen(&choice, &packet.m))
            continue;
        if (s->cluster->nodes[c->nodes[1]].raft)
            cluster_deliver(s->cluster, packet);
        return;
    }
}

void scenario_cut(struct scenario *s, const struct scenario_command *c)
{
    for (uint32_t i = 0; i < c->node_count; i++)
        for (uint32_t k = 0; k < i; k++)
            if (c->group[i] != c->group[k])
                cluster_cut_both(s->cluster, c->nodes[i], c->nodes[k]);
}

void scenario_cut_one_way(struct scenario *s, const struct scenario_command *c)
{
    cluster_cut(s->cluster, c->nodes[0], c->nodes[1]);
}

void scenario_hold_link(struct scenario *s, const struct scenario_command *c)
{
    cluster_hold(s->cluster, c->nodes[0], c->nodes[1]);
}

void scenario_release_link(struct scenario *s, const struct scenario_command *c)
{
    s->cluster->held[c->nodes[0]][c->nodes[1]] = false;
}

void scenario_heal(struct scenario *s, const struct scenario_command *c)
{
    (void)c;
    cluster_heal(s->cluster);
}
