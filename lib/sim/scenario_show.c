/*
 * Scenario files: the commands that show something.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/sim/scenario_internal.h"

enum { RUN_SHOWN = 8 }; /* more entries of the same term are told by their number */

static struct raft *core(struct scenario *s, raft_id id)
{
    struct raft *r = s->cluster->nodes[id].raft;
    if (!r)
        scenario_say(s, "%s is down", scenario_name(s, id));
    return r;
}

/* ---- state ---- */

static void put_terms(struct scenario *s, const struct cluster_entry *log, raft_index first,
                      raft_index last, raft_index durable)
{
    if (last == 0)
        scenario_put(s, " -");
    for (raft_index i = first, end; i <= last; i = end) {
        for (end = i; end <= last && log[end].term == log[i].term; end++)
            if (end == durable + 1 && end > i)
                break;
        const char *open = i == durable + 1 ? " (" : " ";
        if (end - i > RUN_SHOWN) {
            scenario_put(s, "%s%" PRIu64 "*%" PRIu64, open, log[i].term, end - i);
            continue;
        }
        for (raft_index k = i; k < end; k++)
            scenario_put(s, "%s%" PRIu64, k == i ? open : " ", log[k].term);
    }
    scenario_say(s, "%s", last > durable ? ")" : "");
}

static void show_down(struct scenario *s, const struct cluster_node *n, int width)
{
    const struct cluster_disk *disk = n->disk;
    scenario_put(s, "%-*s  down           %4" PRIu64 "  %-*s  %-*s       -", width,
                 scenario_name(s, n->id), disk->term, width,
                 disk->vote ? scenario_name(s, disk->vote) : "-", width, "-");
    if (disk->snapshot.index > 0)
        scenario_put(s, "  [%" PRIu64 ",%" PRIu64 "]", disk->snapshot.index, disk->snapshot.term);
    else
        scenario_put(s, " ");
    put_terms(s, disk->log, disk->snapshot.index + 1, disk->last, disk->last);
}

static void show_running(struct scenario *s, const struct cluster_node *n, int width)
{
    const struct raft *r = n->raft;
    raft_index snapshot = raft_snapshot_index(r);
    scenario_put(s, "%-*s  %-13s  %4" PRIu64 "  %-*s  %-*s  %6" PRIu64, width,
                 scenario_name(s, n->id), raft_state_name(raft_state(r)), raft_term_current(r),
                 width, raft_vote(r) ? scenario_name(s, raft_vote(r)) : "-", width,
                 raft_leader(r) ? scenario_name(s, raft_leader(r)) : "-", raft_commit_index(r));
    if (snapshot > 0)
        scenario_put(s, "  [%" PRIu64 ",%" PRIu64 "]", snapshot, raft_term_at(r, snapshot));
    else
        scenario_put(s, " ");
    put_terms(s, n->log, snapshot + 1, n->last, raft_durable_index(r));
}

/* node, state, term, vote, leader, commit index, terms of the log: [i,t] for what a snapshot has
 * taken the place of, in parentheses what is not on the disk yet. */
void scenario_show_state(struct scenario *s, const struct scenario_command *c)
{
    int width = (int)strlen("leader");
    for (raft_id id = 1; id <= s->cluster->node_count; id++)
        if ((int)strlen(s->cluster->names[id]) > width)
            width = (int)strlen(s->cluster->names[id]);
    scenario_say(s, "%-*s  %-13s  term  %-*s  %-*s  commit  log", width, "node", "state", width,
                 "vote", width, "leader");
    for (raft_id id = 1; id <= s->cluster->node_count; id++) {
        bool shown = c->node_count == 0;
        for (uint32_t i = 0; i < c->node_count; i++)
            shown = shown || c->nodes[i] == id;
        if (!shown)
            continue;
        if (s->cluster->nodes[id].raft)
            show_running(s, &s->cluster->nodes[id], width);
        else
            show_down(s, &s->cluster->nodes[id], width);
    }
}

/* ---- entries ---- */

static const char *value_of(const struct scenario *s, const struct cluster_entry *e)
{
    if (e->kind == RAFT_CONFIGURATION)
        return "configuration";
    if (e->kind == RAFT_NOOP)
        return "no-op";
    for (uint32_t i = 0; i < s->value_count; i++)
        if (s->values[i].payload == e->payload)
            return s->values[i].name;
    return "entry";
}

void scenario_show_entries(struct scenario *s, const struct scenario_command *c)
{
    const struct cluster_node *n = &s->cluster->nodes[c->nodes[0]];
    const struct raft *r = core(s, n->id);
    if (!r)
        return;
    raft_index first = raft_first_index(r);
    for (raft_index i = first; i <= n->last; i++)
        scenario_say(s, "%s: entry %" PRIu64 " of term %" PRIu64 ": %s", scenario_name(s, n->id), i,
                     n->log[i].term, value_of(s, &n->log[i]));
    if (first > n->last)
        scenario_say(s, "%s: no entries", scenario_name(s, n->id));
}

void scenario_show_applied(struct scenario *s, const struct scenario_command *c)
{
    const struct cluster_node *n = &s->cluster->nodes[c->nodes[0]];
    scenario_put(s, "%s has applied:", scenario_name(s, n->id));
    for (raft_index i = 1; i <= n->applied; i++)
        scenario_put(s, "%s %" PRIu64 " %s", i > 1 ? "," : "", i,
                     value_of(s, &s->cluster->applied[i]));
    scenario_say(s, "%s", n->applied == 0 ? " nothing" : "");
}

/* ---- members ---- */

static void put_members(struct scenario *s, const struct raft_configuration *c, uint32_t flag,
                        const char *what)
{
    bool any = false;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct raft_member *m = &c->members[i];
        bool votes = m->flags & (RAFT_VOTER | RAFT_VOTER_OLD);
        if (flag == 0 ? votes : !(m->flags & flag))
            continue;
        scenario_put(s, "%s %s", any ? "" : what, scenario_name(s, m->id));
        any = true;
        if (m->flags & RAFT_AUTO_PROMOTE)
            scenario_put(s, " (is to vote%s%s)", m->replaces ? ", in the place of " : "",
                         m->replaces ? scenario_name(s, m->replaces) : "");
    }
}

void scenario_show_configuration(struct scenario *s, const struct scenario_command *c)
{
    const struct raft *r = core(s, c->nodes[0]);
    if (!r)
        return;
    const struct raft_configuration *latest = raft_configuration_latest(r);
    scenario_put(s, "%s: configuration %" PRIu64 ", %s%s", scenario_name(s, c->nodes[0]),
                 latest->index, latest->joint ? "joint, " : "",
                 latest->index <= raft_commit_index(r) ? "committed" : "not committed");
    put_members(s, latest, RAFT_VOTER, latest->joint ? ": new voters" : ": voters");
    put_members(s, latest, RAFT_VOTER_OLD, "; old voters");
    put_members(s, latest, 0, "; learners");
    scenario_say(s, "%s", raft_removed(r) ? "; it is removed and knows it" : "");
}

static const char *progress_name(enum raft_progress_state state)
{
    static const char *const names[] = {
        [RAFT_PROBE] = "probe", [RAFT_PIPELINE] = "pipeline", [RAFT_SNAPSHOT] = "snapshot"};
    return names[state];
}

void scenario_show_progress(struct scenario *s, const struct scenario_command *c)
{
    struct raft_progress_view views[RAFT_MEMBERS_MAX];
    const struct raft *r = core(s, c->nodes[0]);
    if (!r)
        return;
    uint32_t count = raft_progress(r, views);
    for (uint32_t i = 0; i < count; i++)
        if (views[i].id != c->nodes[0])
            scenario_say(s, "%s: %s, match %" PRIu64 ", next %" PRIu64,
                         scenario_name(s, views[i].id), progress_name(views[i].state),
                         views[i].match, views[i].next);
    if (count == 0)
        scenario_say(s, "%s does not lead", scenario_name(s, c->nodes[0]));
}

/* ---- messages ---- */

static void put_append(struct scenario *s, const struct raft_message *m)
{
    scenario_put(s, ", after (%" PRIu64 ",%" PRIu64 ")", m->prev_index, m->prev_term);
    if (m->entry_count == 0)
        scenario_put(s, ", no entries");
    else
        scenario_put(s, ", %u %s", m->entry_count, m->entry_count == 1 ? "entry" : "entries");
    scenario_put(s, ", commit %" PRIu64, m->commit);
}

static void put_body(struct scenario *s, const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_PRE_VOTE:
    case RAFT_VOTE:
        scenario_put(s, ", log to (%" PRIu64 ",%" PRIu64 ")%s", m->last_index, m->last_term,
                     m->transfer ? ", asked to by the leader" : "");
        break;
    case RAFT_APPEND: put_append(s, m); break;
    case RAFT_HEARTBEAT: scenario_put(s, ", commit %" PRIu64, m->commit); break;
    case RAFT_APPEND_REPLY:
        if (m->accepted)
            scenario_put(s, ", durable to %" PRIu64, m->match_index);
        else
            scenario_put(s, ", refused after %" PRIu64 ", hint (%" PRIu64 ",%" PRIu64 ")",
                         m->reject_index, m->hint_index, m->hint_term);
        break;
    case RAFT_READ_INDEX_REPLY:
        if (m->granted)
            scenario_put(s, ", read index %" PRIu64, m->read_index);
        else
            scenario_put(s, ", refused");
        break;
    case RAFT_PRE_VOTE_REPLY:
    case RAFT_VOTE_REPLY:
    case RAFT_TIMEOUT_NOW_REPLY: scenario_put(s, m->granted ? ", granted" : ", refused"); break;
    case RAFT_SEND_SNAPSHOT: scenario_put(s, ", to %" PRIu64 " at least", m->snapshot_index); break;
    case RAFT_READ_INDEX:
    case RAFT_TIMEOUT_NOW:
    case RAFT_HEARTBEAT_REPLY:
    case RAFT_MESSAGE_TYPES: break;
    }
    if (m->round > 0)
        scenario_put(s, ", round %" PRIu64, m->round);
}

void scenario_show_message(struct scenario *s, const char *before, const struct raft_message *m)
{
    scenario_put(s, "%s%s -> %s %s: term %" PRIu64, before, scenario_name(s, m->from),
                 scenario_name(s, m->to), raft_message_name(m->type), m->term);
    put_body(s, m);
    scenario_put(s, "\n");
}

void scenario_show_messages(struct scenario *s, const struct scenario_command *c)
{
    uint32_t shown = 0;
    for (uint32_t i = 0; i < s->cluster->packet_count; i++) {
        const struct raft_message *m = &s->cluster->packets[i].m;
        if ((c->node_count > 0 && m->from != c->nodes[0]) ||
            (c->node_count > 1 && m->to != c->nodes[1]))
            continue;
        scenario_show_message(s, "", m);
        shown++;
    }
    if (shown == 0)
        scenario_say(s, "no messages");
}
