/*
 * What one event does to one node: unpacks it, has the real core step, carries the update out, and
 * checks what can be checked of one node. The result depends on nothing else, so it is kept.
 */
#include <setjmp.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/sim/explore_internal.h"

enum { FAR_US = 10 * ELECTION_US, TRACE_BYTES_MAX = 1 << 16, TEXT_BYTES = 256 };

struct scratch {
    struct store *store;
    struct raft_options options;
    bool slow_disk, with_reads;
    struct raft *core, *before;
    struct node node;
    struct message sent[SENT_MAX];
    uint32_t sent_count;
    bool nothing, cut;
    const char *violation;
    raft_id heir; /* whom a leader that retires shall hand over to; 0: as it chooses */
    raft_id heir_chosen;
    struct outcome *outcome;
    struct buf *trace; /* not NULL: decisions are told … */
    uint64_t told;     /* … those after this one */
};

static void fail(struct scratch *s, const char *name)
{
    if (!s->violation)
        s->violation = name;
}

#define EXPECT(s, condition, name) ((condition) ? (void)0 : fail((s), (name)))

struct scratch *scratch_new(const struct explore_options *options, struct store *store)
{
    struct scratch *s = mem_zalloc(sizeof(*s));
    s->store = store;
    s->options = (struct raft_options){
        .election_timeout_us = ELECTION_US,
        .heartbeat_interval_us = HEARTBEAT_US,
        .inflight_max = 2,
        .append_entries_max = (uint32_t)options->batch,
    };
    s->slow_disk = options->slow_disk;
    s->with_reads = options->budgets[EXPLORE_READS] > 0;
    s->core = mem_zalloc(raft_size());
    s->before = mem_zalloc(raft_size());
    s->outcome = mem_zalloc(sizeof(*s->outcome) + SENT_MAX * sizeof(s->outcome->messages[0]));
    return s;
}

void scratch_free(struct scratch *s)
{
    mem_free(s->core);
    mem_free(s->before);
    mem_free(s->outcome);
    mem_free(s);
}

/* ---- messages out ---- */

/* What a reply or a candidate promises is on disk before it is sent (§3.8). */
static void check_promise(struct scratch *s, const struct raft_message *m)
{
    const struct disk *d = &s->node.disk;
    bool in_term = d->term == m->term;
    if (m->type == RAFT_VOTE_REPLY && m->granted)
        EXPECT(s, in_term && d->vote == m->to, "a vote is durable before it is given");
    if (m->type == RAFT_VOTE)
        EXPECT(s, in_term && d->vote == m->from, "a candidate's own vote is durable");
    if (m->type == RAFT_APPEND_REPLY && m->accepted) {
        EXPECT(s, in_term, "a term is durable before its leader is followed");
        EXPECT(s, disk_has(d, m->match_index, s->node.log.terms[m->match_index]),
               "entries are durable before they are acknowledged");
    }
}

static void attach_entries(struct scratch *s, struct message *to, const struct raft_message *m)
{
    const struct entries *log = &s->node.log;
    raft_index last = m->prev_index + m->entry_count;
    if (last > log->last || m->prev_term != log->terms[m->prev_index]) {
        fail(s, "a leader sends what it has");
        return;
    }
    to->entries.first = (uint8_t)(m->prev_index + 1);
    to->entries.last = (uint8_t)m->prev_index;
    entries_add(&to->entries, log, m->prev_index + 1, last);
}

static void send(struct scratch *s, const struct raft_message *m)
{
    check_promise(s, m);
    if (s->sent_count == SENT_MAX) {
        s->cut = true;
        return;
    }
    struct message *to = &s->sent[s->sent_count++];
    memset(to, 0, sizeof(*to));
    to->raft = *m;
    to->raft.context = 0;
    to->raft.sent_us = to->raft.promise_us = 0;
    to->entries.first = 1;
    if (m->type == RAFT_APPEND) {
        attach_entries(s, to, m);
    } else if (m->type == RAFT_SEND_SNAPSHOT) {
        to->kind = MESSAGE_SNAPSHOT;
        entries_add(&to->entries, &s->node.log, 1, m->snapshot_index);
    }
}

/* ---- carrying an update out ---- */

static void write_entries(struct scratch *s, const struct raft_update *u,
                          const struct message *received)
{
    struct entries *log = &s->node.log;
    if (u->write_first != log->last + 1u) {
        fail(s, "writes leave no gap");
        return;
    }
    if (u->write_last > EXPLORE_LOG_MAX) {
        s->cut = true;
        return;
    }
    for (raft_index i = u->write_first; i <= u->write_last; i++)
        log->terms[++log->last] = (uint8_t)raft_term_at(s->core, i);
    if (received)
        for (uint32_t i = 0; i < received->entries.configuration_count; i++) {
            struct configuration c = received->entries.configurations[i];
            if (c.index >= u->write_first && c.index <= u->write_last)
                entries_add_configuration(log, c);
        }
    for (uint32_t i = 0; i < u->made_count; i++)
        if (u->made[i].kind == RAFT_CONFIGURATION)
            entries_add_configuration(
                log, (struct configuration){.index = (uint8_t)u->made[i].index,
                                            .members = members_of(u->made[i].configuration)});
}

static void queue_write(struct scratch *s, const struct raft_update *u)
{
    struct node *n = &s->node;
    if (n->write_count == WRITES_MAX) {
        s->cut = true;
        return;
    }
    struct write *w = &n->writes[n->write_count++];
    memset(w, 0, sizeof(*w));
    w->persist = u->persist;
    if (u->hard_state) {
        w->hard_state = true;
        w->term = (uint8_t)u->term;
        w->vote = (uint8_t)u->vote;
        w->removed = (uint8_t)u->removed;
    }
    w->truncate_from = (uint8_t)u->truncate_from;
    w->entries.first = 1;
    if (u->write_first == 0)
        return;
    w->entries.first = (uint8_t)u->write_first;
    w->entries.last = (uint8_t)(u->write_first - 1);
    entries_add(&w->entries, &n->log, u->write_first, u->write_last);
}

static void end_reads(struct scratch *s, const struct raft_update *u)
{
    struct node *n = &s->node;
    for (uint32_t i = 0; i < u->read_count; i++) {
        uint32_t k = 0;
        while (k < n->read_count && n->reads[k].id != u->reads[i].id)
            k++;
        if (k == n->read_count) {
            fail(s, "a read ends once");
            return;
        }
        EXPECT(s, u->reads[i].status != 0 || u->reads[i].index >= n->reads[k].floor,
               "a read is no older than what was committed when it was asked");
        n->read_count--;
        memmove(&n->reads[k], &n->reads[k + 1], (n->read_count - k) * sizeof(n->reads[0]));
        memset(&n->reads[n->read_count], 0, sizeof(n->reads[0]));
    }
}

/* Messages leave while the write is on its way. */
static void carry_out(struct scratch *s, const struct raft_update *u,
                      const struct message *received)
{
    if (u->truncate_from != 0)
        entries_truncate(&s->node.log, u->truncate_from);
    if (u->write_first != 0)
        write_entries(s, u, received);
    if (s->violation || s->cut)
        return;
    for (uint32_t i = 0; i < u->message_count && !s->violation; i++)
        send(s, &u->messages[i]);
    end_reads(s, u);
    if (u->persist != 0)
        queue_write(s, u);
}

/* ---- checks of one node ---- */

static void check_log(struct scratch *s)
{
    const struct raft *r = s->core;
    const struct entries *log = &s->node.log;
    bool same = raft_last_index(r) == log->last;
    for (raft_index i = raft_snapshot_index(r); same && i <= log->last; i++)
        same = i == 0 || raft_term_at(r, i) == log->terms[i];
    EXPECT(s, same, "core and log agree");
    EXPECT(s, disk_has(&s->node.disk, raft_durable_index(r), log->terms[raft_durable_index(r)]),
           "the durable index is on disk");
}

/* A term has one leader, once: after a crash it cannot go on in the same term, its entries may be
 * lost. */
static void note_leader(struct scratch *s)
{
    const struct raft *r = s->core;
    if (raft_state(r) != RAFT_LEADER || (raft_state(s->before) == RAFT_LEADER &&
                                         raft_term_current(s->before) == raft_term_current(r)))
        return;
    unsigned bit = 1u << raft_term_current(r);
    EXPECT(s, !(s->node.led & bit), "Election Safety: a term is led once");
    s->node.led |= (uint16_t)bit;
}

static const char *name_of(void *argument, raft_id id)
{
    static const char *const names[EXPLORE_NODES_MAX + 1] = {
        "nobody", "node 1", "node 2", "node 3", "node 4", "node 5", "node 6",
    };
    (void)argument;
    return id <= EXPLORE_NODES_MAX ? names[id] : NULL;
}

/* A leader that retires hands over to the best of those left, and of equals to the first by name.
 * So that names do not matter, the search tries the others too. */
static void note_heir(struct scratch *s, uint32_t sent_before)
{
    if (raft_state(s->before) != RAFT_LEADER || raft_state(s->core) == RAFT_LEADER)
        return;
    for (uint32_t i = sent_before; i < s->sent_count; i++) {
        struct raft_message *m = &s->sent[i].raft;
        if (s->sent[i].kind != MESSAGE_RAFT || m->type != RAFT_TIMEOUT_NOW)
            continue;
        s->heir_chosen = m->to;
        if (s->heir != 0)
            m->to = s->heir;
    }
}

static void tell(struct scratch *s)
{
    if (!s->trace)
        return;
    struct raft_trace traces[RAFT_TRACE_MAX];
    uint32_t count = raft_trace_read(s->core, s->told, traces, RAFT_TRACE_MAX);
    for (uint32_t i = 0; i < count; i++) {
        char text[TEXT_BYTES];
        raft_trace_format(&traces[i], text, sizeof(text), name_of, NULL);
        (void)buf_printf(s->trace, "%s\n", text);
    }
}

/* One step of the core, and what its update asks for. */
static int step(struct scratch *s, const struct raft_event *event, const struct message *received)
{
    struct raft_trace newest = {0};
    struct raft_update update;
    raft_remember(s->before, s->core);
    raft_trace_read(s->core, 0, &newest, 1);
    s->told = newest.number;
    int status = raft_step(s->core, event, &update);
    tell(s);
    const char *broken = raft_invariant(s->core);
    if (!broken)
        broken = raft_invariant_step(s->before, s->core);
    if (broken)
        fail(s, broken);
    if (raft_term_current(s->core) > EXPLORE_LOG_MAX)
        s->cut = true;
    if (s->violation || s->cut)
        return status;
    uint32_t sent_before = s->sent_count;
    carry_out(s, &update, received);
    if (s->violation || s->cut)
        return status;
    note_heir(s, sent_before);
    note_leader(s);
    check_log(s);
    return status;
}

/* ---- the disk ---- */

static void persist_first(struct scratch *s)
{
    struct node *n = &s->node;
    struct write w = n->writes[0];
    n->write_count--;
    memmove(&n->writes[0], &n->writes[1], n->write_count * sizeof(n->writes[0]));
    disk_write(&n->disk, &w);
    struct raft_event event = {.type = RAFT_PERSISTED, .now_us = NOW_US, .persist = w.persist};
    EXPECT(s, step(s, &event, NULL) == 0, "a write that was asked for ends");
}

static void settle(struct scratch *s)
{
    while (!s->slow_disk && s->node.write_count > 0 && !s->violation && !s->cut)
        persist_first(s);
}

/* The first `done` writes had reached the disk, and nobody was told. */
static void crash(struct scratch *s, uint32_t done)
{
    struct node *n = &s->node;
    for (uint32_t i = 0; i < done; i++)
        disk_write(&n->disk, &n->writes[i]);
    n->life = (uint8_t)(n->life + s->with_reads);
    int status = node_start(n, &s->options, s->core, false);
    s->told = 0;
    tell(s);
    EXPECT(s, status == 0, "a node starts from its disk");
    if (!s->violation)
        check_log(s);
}

/* ---- events ---- */

static int tick(struct scratch *s, uint64_t after_us)
{
    struct raft_event event = {.type = RAFT_TICK, .now_us = NOW_US + after_us};
    return step(s, &event, NULL);
}

static int propose(struct scratch *s)
{
    struct raft_event event = {.type = RAFT_PROPOSE, .now_us = NOW_US, .propose = {.count = 1}};
    return step(s, &event, NULL);
}

static int change(struct scratch *s, uint32_t kind, raft_id id)
{
    static const enum raft_change_kind kinds[] = {
        [CHANGE_ADD] = RAFT_ADD_LEARNER, [CHANGE_ADD_VOTER] = RAFT_ADD_LEARNER,
        [CHANGE_PROMOTE] = RAFT_PROMOTE, [CHANGE_REMOVE] = RAFT_REMOVE,
        [CHANGE_REPLACE] = RAFT_REPLACE,
    };
    struct raft_change c = {.kind = kinds[kind],
                            .id = id & 15,
                            .new_id = id >> 4,
                            .auto_promote = kind == CHANGE_ADD_VOTER};
    struct raft_event event = {.type = RAFT_CHANGE, .now_us = NOW_US, .change = &c};
    return step(s, &event, NULL);
}

static int transfer(struct scratch *s, raft_id to)
{
    struct raft_event event = {.type = RAFT_TRANSFER, .now_us = NOW_US, .peer = to};
    return step(s, &event, NULL);
}

static int ask(struct scratch *s, uint32_t floor)
{
    struct node *n = &s->node;
    if (n->read_count == READS_MAX) {
        s->cut = true;
        return 0;
    }
    uint8_t id = 1;
    for (uint32_t i = 0; i < n->read_count; i++) /* one that is not in progress */
        if (n->reads[i].id >= id)
            id = (uint8_t)(n->reads[i].id + 1);
    n->reads[n->read_count].id = id;
    n->reads[n->read_count++].floor = (uint8_t)floor;
    struct raft_event event = {.type = RAFT_READ, .now_us = NOW_US, .read = {.id = id}};
    return step(s, &event, NULL);
}

static int compact(struct scratch *s)
{
    struct node *n = &s->node;
    raft_index index = raft_commit_index(s->core), durable = raft_durable_index(s->core);
    if (index > durable)
        index = durable;
    if (n->write_count > 0 || index <= n->disk.snapshot) {
        s->nothing = true;
        return 0;
    }
    n->disk.snapshot = (uint8_t)index;
    struct raft_snapshot snapshot = snapshot_of(&n->log, index);
    struct raft_event event = {.type = RAFT_COMPACTED, .now_us = NOW_US, .snapshot = &snapshot};
    EXPECT(s, step(s, &event, NULL) == 0, "what is applied can be compacted");
    return 0;
}

/* ---- messages in ---- */

static int deliver(struct scratch *s, struct message *m)
{
    struct raft_run runs[EXPLORE_LOG_MAX];
    struct raft_configuration configurations[CONFIGURATIONS_MAX];
    struct raft_message *raft = &m->raft;
    for (uint32_t i = m->entries.first; raft->entry_count > 0 && i <= m->entries.last; i++)
        if (raft->run_count == 0 || runs[raft->run_count - 1].term != m->entries.terms[i])
            runs[raft->run_count++] = (struct raft_run){.first = i, .term = m->entries.terms[i]};
    for (uint32_t i = 0; i < m->entries.configuration_count; i++)
        configuration_of(&configurations[i], m->entries.configurations[i]);
    raft->runs = runs;
    raft->configurations = configurations;
    raft->configuration_count = m->entries.configuration_count;
    struct raft_event event = {.type = RAFT_MESSAGE, .now_us = NOW_US, .message = raft};
    EXPECT(s, step(s, &event, m) == 0, "a message that was sent makes sense");
    return 0;
}

static void send_result(struct scratch *s, const struct message *m)
{
    ASSERT(s->sent_count < SENT_MAX);
    struct message *to = &s->sent[s->sent_count++];
    memset(to, 0, sizeof(*to));
    to->kind = MESSAGE_SNAPSHOT_RESULT;
    to->raft.type = RAFT_SEND_SNAPSHOT;
    to->raft.from = m->raft.to;
    to->raft.to = m->raft.from;
    to->raft.snapshot_index = m->raft.snapshot_index;
    to->entries.first = 1;
}

/* One transaction replaces state and log, once nothing else is on its way to the disk (§5.3). */
static int install(struct scratch *s, const struct message *m)
{
    struct node *n = &s->node;
    raft_index index = m->raft.snapshot_index;
    if (n->write_count > 0) {
        s->nothing = true;
        return 0;
    }
    if (index > raft_commit_index(s->core) && index > n->disk.snapshot) {
        struct raft_snapshot snapshot = snapshot_of(&m->entries, index);
        if (!disk_has(&n->disk, index, snapshot.term)) {
            n->disk.log = m->entries;
            n->log = m->entries;
        }
        n->disk.snapshot = (uint8_t)index;
        struct raft_event event = {
            .type = RAFT_SNAPSHOT_INSTALLED, .now_us = NOW_US, .snapshot = &snapshot};
        EXPECT(s, step(s, &event, NULL) == 0, "a snapshot that was sent can be installed");
    }
    send_result(s, m);
    return 0;
}

static int sent(struct scratch *s, raft_id peer, bool success, raft_index index)
{
    struct raft_snapshot snapshot = {.index = index};
    struct raft_event event = {.type = RAFT_SNAPSHOT_SENT,
                               .now_us = NOW_US,
                               .peer = peer,
                               .ok = success,
                               .snapshot = &snapshot};
    EXPECT(s, step(s, &event, NULL) == 0, "a snapshot that was sent was asked for");
    return 0;
}

static int receive(struct scratch *s, uint32_t id)
{
    struct message m;
    message_get(store_message(s->store, id)->data, &m);
    switch (m.kind) {
    case MESSAGE_RAFT: return deliver(s, &m);
    case MESSAGE_SNAPSHOT: return install(s, &m);
    case MESSAGE_SNAPSHOT_RESULT: return sent(s, m.raft.from, true, m.raft.snapshot_index);
    }
    return 0;
}

static int happen(struct scratch *s, uint32_t event)
{
    uint32_t a = event >> EVENT_A_SHIFT & 255, b = event & 255;
    switch ((enum explore_kind)(event >> EVENT_KIND_SHIFT)) {
    case EXPLORE_TIMEOUT: return tick(s, FAR_US);
    case EXPLORE_HEARTBEAT: return tick(s, HEARTBEAT_US);
    case EXPLORE_LATE: return tick(s, 2 * HEARTBEAT_US);
    case EXPLORE_PERSISTED: persist_first(s); return 0;
    case EXPLORE_CRASH: crash(s, a); return 0;
    case EXPLORE_PROPOSE: return propose(s);
    case EXPLORE_CHANGE: return change(s, a, b);
    case EXPLORE_TRANSFER: return transfer(s, a);
    case EXPLORE_COMPACT: return compact(s);
    case EXPLORE_READ: return ask(s, a);
    case EXPLORE_SNAPSHOT_FAILS: return sent(s, a, false, 0);
    case EXPLORE_DELIVER:
    case EXPLORE_DUPLICATE:
    case EXPLORE_KINDS: break;
    }
    ASSERT(false);
    return 0;
}

/* ---- the result ---- */

static void load(struct scratch *s, uint32_t node)
{
    const struct node_item *item = store_node(s->store, node);
    node_get(item->data, item->bytes, &s->options, &s->node, s->core);
    s->sent_count = 0;
    s->heir_chosen = 0;
    s->nothing = s->cut = false;
    s->violation = NULL;
}

/* An assertion that fails in the core is a violation like another: back to where the step began. */
static _Thread_local jmp_buf *landing;

void step_assertion_failed(void *argument, const char *text)
{
    (void)argument;
    (void)text;
    if (!landing)
        return;
    check_set_hook(step_assertion_failed, NULL);
    longjmp(*landing, 1);
}

static void run(struct scratch *s, uint32_t node, uint32_t event)
{
    jmp_buf place;
    load(s, node);
    s->heir = event >> EVENT_HEIR_SHIFT & 7;
    uint32_t number = event & EVENT_NUMBER;
    landing = &place;
    if (setjmp(place) == 0) {
        int status = event & EVENT_MESSAGE ? receive(s, number) : happen(s, number);
        if (status != 0)
            s->nothing = true;
        settle(s);
    } else {
        fail(s, "the core's assertions hold (stderr says which does not)");
        tell(s);
        memset(s->core, 0, raft_size());
    }
    landing = NULL;
}

const struct outcome *step_node(struct scratch *s, uint32_t node, uint32_t event)
{
    uint64_t key = (uint64_t)node << 32 | event;
    const struct outcome *known = store_find_step(s->store, key);
    if (known)
        return known;
    run(s, node, event);
    struct outcome *o = s->outcome;
    o->nothing = s->nothing;
    o->cut = s->cut;
    o->violation = s->cut ? NULL : s->violation;
    o->node = node;
    o->count = 0;
    o->hands_over_to = (uint8_t)s->heir_chosen;
    if (!o->nothing && !o->cut && !o->violation) {
        o->node = store_add_node(s->store, &s->node, s->core);
        o->count = s->sent_count;
        for (uint32_t i = 0; i < o->count; i++)
            o->messages[i] = store_add_message(s->store, &s->sent[i]);
        o->nothing = o->node == node && o->count == 0 && !(event & EVENT_MESSAGE);
    }
    return store_add_step(s->store, key, o);
}

/* A node as it is at the beginning: a voter has the first entry, by which the cluster was formed.
 */
uint32_t step_start(struct scratch *s, raft_id id, bool is_voter, uint32_t voters)
{
    struct node *n = &s->node;
    memset(n, 0, sizeof(*n));
    n->id = (uint8_t)id;
    n->disk.log.first = n->log.first = 1;
    if (is_voter) {
        struct configuration c = {.index = 1};
        for (uint32_t i = 0; i < voters; i++)
            c.members |= (uint64_t)(MEMBER | RAFT_VOTER) << (8 * i);
        n->disk.term = 1;
        n->disk.log.last = 1;
        n->disk.log.terms[1] = 1;
        entries_add_configuration(&n->disk.log, c);
    }
    ASSERT(node_start(n, &s->options, s->core, true) == 0);
    return store_add_node(s->store, n, s->core);
}

/* ---- telling ---- */

static char *text_of(struct buf *b)
{
    char *text = mem_dup(b->data, b->len + 1);
    buf_release(b);
    return text;
}

char *step_trace(struct scratch *s, uint32_t node, uint32_t event)
{
    struct buf b;
    buf_init(&b, TRACE_BYTES_MAX);
    s->trace = &b;
    run(s, node, event);
    s->trace = NULL;
    return text_of(&b);
}

char *step_message_text(struct scratch *s, uint32_t message)
{
    struct message m;
    struct buf b;
    message_get(store_message(s->store, message)->data, &m);
    const struct raft_message *r = &m.raft;
    buf_init(&b, TRACE_BYTES_MAX);
    if (m.kind == MESSAGE_SNAPSHOT)
        (void)buf_printf(&b, "snapshot up to %d from node %d", (int)r->snapshot_index,
                         (int)r->from);
    else if (m.kind == MESSAGE_SNAPSHOT_RESULT)
        (void)buf_printf(&b, "word that the snapshot is installed from node %d", (int)r->from);
    else
        (void)buf_printf(&b, "%s of term %d from node %d", raft_message_name(r->type), (int)r->term,
                         (int)r->from);
    if (r->type == RAFT_APPEND)
        (void)buf_printf(&b, " (after %d, %u entries, commit %d)", (int)r->prev_index,
                         r->entry_count, (int)r->commit);
    return text_of(&b);
}
