/*
 * Scenario files: what happens while a command runs, as sentences. Most are the cores' own
 * (lib/raft/trace_table.h), with the node's name in front; the rest says what the outside sees:
 * where the commit index has come to, what became of proposals and reads, what was refused.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/raft/trace_table.h"
#include "lib/sim/scenario_internal.h"

static void put(struct scenario *s, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
static void put(struct scenario *s, const char *fmt, va_list ap)
{
    char text[SCENARIO_LINE_BYTES];
    vsnprintf(text, sizeof(text), fmt, ap);
    if (!s->muted && !s->full && buf_append_str(&s->out, text) != 0)
        s->full = true;
}

void scenario_put(struct scenario *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put(s, fmt, ap);
    va_end(ap);
}

void scenario_say(struct scenario *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put(s, fmt, ap);
    va_end(ap);
    scenario_put(s, "\n");
}

const char *scenario_name(const struct scenario *s, raft_id id)
{
    return id != 0 && id <= s->cluster->node_count ? s->cluster->names[id] : "nobody";
}

static const char *name_in_trace(void *argument, raft_id id)
{
    return scenario_name(argument, id);
}

/* ---- what became of proposals and reads ---- */

static void note_value(struct scenario *s, uint64_t payload, const char *name)
{
    s->values = mem_realloc(s->values, (s->value_count + 1) * sizeof(s->values[0]));
    struct scenario_value *value = &s->values[s->value_count++];
    value->payload = payload;
    snprintf(value->name, sizeof(value->name), "%s", name);
}

/* The entries get the payloads that come next, in order (cluster.c). */
static void tell_proposal(struct scenario *s, const struct cluster_node *n)
{
    const struct scenario_command *c = s->proposal;
    const struct raft_update *u = &n->update;
    uint64_t count = c->count > 0 ? c->count : c->number;
    scenario_put(s, "%s: proposes", scenario_name(s, n->id));
    for (uint32_t i = 0; i < c->count; i++) {
        scenario_put(s, " %s", c->words[c->values + i]);
        note_value(s, s->cluster->last_payload + 1 + i, c->words[c->values + i]);
    }
    if (c->count == 0)
        scenario_put(s, " %" PRIu64 " entries", count);
    if (count == 1)
        scenario_put(s, " as entry %" PRIu64, u->proposed_first);
    else
        scenario_put(s, " as entries %" PRIu64 " to %" PRIu64, u->proposed_first,
                     u->proposed_first + count - 1);
    scenario_say(s, " of term %" PRIu64, u->proposed_term);
}

static void tell_reads(struct scenario *s, const struct cluster_node *n)
{
    for (uint32_t i = 0; i < n->update.read_count; i++) {
        const struct raft_read_result *read = &n->update.reads[i];
        if (read->status != 0)
            scenario_say(s, "%s: read %" PRIu64 " is dropped: nothing was served",
                         scenario_name(s, n->id), read->id);
        else
            scenario_say(s, "%s: read %" PRIu64 " is served from index %" PRIu64 "%s",
                         scenario_name(s, n->id), read->id, read->index,
                         read->lease_until_us ? ", by lease" : "");
    }
}

static void tell_refusal(struct scenario *s, raft_id id, enum raft_event_type type, int status)
{
    const char *what = type == RAFT_PROPOSE    ? "the proposal"
                       : type == RAFT_READ     ? "the read"
                       : type == RAFT_CHANGE   ? "the change"
                       : type == RAFT_TRANSFER ? "the transfer"
                                               : NULL;
    if (what)
        scenario_say(s, "%s: refuses %s: %s", scenario_name(s, id), what, err_name(status));
}

/* ---- decisions ---- */

/* Whether one of them stated the commit index. */
static bool tell_decisions(struct scenario *s, const struct cluster_node *n)
{
    struct raft_trace traces[RAFT_TRACE_MAX];
    uint32_t count = raft_trace_read(n->raft, s->traced[n->id], traces, RAFT_TRACE_MAX);
    bool stated = false;
    for (uint32_t i = 0; i < count; i++) {
        char text[SCENARIO_LINE_BYTES / 2];
        raft_trace_format(&traces[i], text, sizeof(text), name_in_trace, s);
        scenario_say(s, "%s: %s", scenario_name(s, n->id), text);
        s->traced[n->id] = traces[i].number;
        stated = stated || traces[i].decision == TRACE_APPEND_TAKEN ||
                 traces[i].decision == TRACE_READY || traces[i].decision == TRACE_INSTALLED;
    }
    return stated;
}

static void stepped(void *argument, struct cluster *c, raft_id id, const struct raft_event *event,
                    int status)
{
    struct scenario *s = argument;
    const struct cluster_node *n = &c->nodes[id];
    s->cluster = c; /* the first steps come before cluster_start has returned it */
    if (!event) {
        s->traced[id] = 0;
        s->commit[id] = raft_commit_index(n->raft);
        tell_decisions(s, n);
        return;
    }
    if (status != 0)
        tell_refusal(s, id, event->type, status);
    else if (event->type == RAFT_PROPOSE)
        tell_proposal(s, n);
    bool stated = tell_decisions(s, n);
    raft_index commit = raft_commit_index(n->raft);
    if (commit > s->commit[id] && !stated)
        scenario_say(s, "%s: commit index is %" PRIu64, scenario_name(s, id), commit);
    s->commit[id] = commit;
    tell_reads(s, n);
    for (uint32_t i = 0; i < n->update.message_count; i++)
        s->heartbeats += n->update.messages[i].type == RAFT_HEARTBEAT;
}

static void breached(void *argument, const char *text, bool fatal)
{
    struct scenario *s = argument;
    (void)fatal;
    scenario_say(s, "BREACH: %s", text);
    if (s->result->breach[0] == '\0')
        snprintf(s->result->breach, sizeof(s->result->breach), "%s:%u: BREACH: %s", s->file,
                 s->line, text);
}

struct cluster_observer scenario_observer(struct scenario *s)
{
    return (struct cluster_observer){.breached = breached, .stepped = stepped, .argument = s};
}
