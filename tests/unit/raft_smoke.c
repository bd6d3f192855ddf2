/* The core in a few steps: one node alone, three nodes that elect and replicate, and the numbers of
 * a hot path. The conformance tests are in the other raft_*.c. */
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/mem.h"
#include "lib/raft/raft.h"
#include "tests/unit/tap.h"

enum { NODES = 3, ELECTION_US = 300000, HEARTBEAT_US = 100000, QUEUE = 256 };

struct net {
    uint64_t now_us;
    uint32_t count; /* cores */
    struct raft *cores[NODES + 1];
    struct raft_update updates[NODES + 1];
    struct raft_message queue[QUEUE];
    uint32_t head, tail;
    uint64_t context;
};

static int step(struct net *n, raft_id id, struct raft_event event);

/* The disk answers at once; messages wait in the queue. */
static int step(struct net *n, raft_id id, struct raft_event event)
{
    struct raft_update *u = &n->updates[id];
    event.now_us = n->now_us;
    int status = raft_step(n->cores[id], &event, u);
    must(raft_invariant(n->cores[id]) == NULL);
    for (uint32_t i = 0; i < u->message_count; i++)
        n->queue[n->tail++ % QUEUE] = u->messages[i];
    must(n->tail - n->head <= QUEUE);
    uint64_t persist = u->persist;
    if (persist)
        step(n, id, (struct raft_event){.type = RAFT_PERSISTED, .persist = persist});
    return status;
}

static void settle(struct net *n)
{
    while (n->head != n->tail) {
        struct raft_message m = n->queue[n->head++ % QUEUE];
        if (m.to > n->count)
            continue;
        struct raft_run run = {.first = m.prev_index + 1, .term = m.term};
        if (m.type == RAFT_APPEND && m.entry_count > 0) {
            m.runs = &run; /* all entries in these tests are of one term */
            m.run_count = 1;
        }
        if (raft_message_is_request(m.type))
            m.context = ++n->context;
        step(n, m.to, (struct raft_event){.type = RAFT_MESSAGE, .message = &m});
    }
}

static struct net *net_new(uint32_t count)
{
    struct net *n = mem_zalloc(sizeof(*n));
    n->count = count;
    n->now_us = 1000000;
    struct raft_configuration configuration = {.index = 1};
    for (raft_id id = 1; id <= count; id++)
        configuration.members[configuration.count++] =
            (struct raft_member){.id = id, .flags = RAFT_VOTER};
    struct raft_run run = {.first = 1, .term = 1};
    for (raft_id id = 1; id <= count; id++) {
        struct raft_options options = {.id = id,
                                       .election_timeout_us = ELECTION_US,
                                       .heartbeat_interval_us = HEARTBEAT_US,
                                       .inflight_max = 4,
                                       .append_entries_max = 1000,
                                       .seed = id};
        struct raft_start start = {.now_us = n->now_us,
                                   .term = 1,
                                   .runs = &run,
                                   .run_count = 1,
                                   .last_index = 1,
                                   .commit = 1,
                                   .configurations = &configuration,
                                   .configuration_count = 1,
                                   .fresh = true};
        n->cores[id] = mem_alloc(raft_size());
        must(raft_init(n->cores[id], &options, &start) == 0);
    }
    return n;
}

static void net_free(struct net *n)
{
    for (raft_id id = 1; id <= n->count; id++)
        mem_free(n->cores[id]);
    mem_free(n);
}

static void elect(struct net *n, raft_id id)
{
    for (int i = 0; i < 10 && raft_state(n->cores[id]) != RAFT_LEADER; i++) {
        n->now_us += ELECTION_US;
        step(n, id, (struct raft_event){.type = RAFT_TICK});
        settle(n);
    }
    must(raft_leader_ready(n->cores[id]));
}

static void alone(void)
{
    struct net *n = net_new(1);
    step(n, 1, (struct raft_event){.type = RAFT_TICK});
    is_i64(raft_state(n->cores[1]), RAFT_LEADER, "the only voter leads at once");
    is_u64(raft_commit_index(n->cores[1]), 2, "its no-op is committed when durable");
    struct raft_event propose = {.type = RAFT_PROPOSE, .propose = {.count = 3}};
    is_i64(step(n, 1, propose), 0, "it takes proposals");
    is_u64(raft_commit_index(n->cores[1]), 5, "and commits them");
    step(n, 1, (struct raft_event){.type = RAFT_READ, .read = {.id = 7}});
    is_u64(n->updates[1].read_count, 1, "a read is answered at once");
    is_u64(n->updates[1].reads[0].index, 5, "at the commit index");
    is_u64(n->updates[1].wake_us, UINT64_MAX, "nothing wakes it");
    net_free(n);
}

static void three(void)
{
    struct net *n = net_new(3);
    struct raft_event propose = {.type = RAFT_PROPOSE, .propose = {.count = 10}};
    is_i64(step(n, 2, propose), ERR_NO_LEADER, "a follower refuses proposals");
    elect(n, 2);
    is_i64(step(n, 2, propose), 0, "the leader takes them");
    settle(n);
    is_u64(raft_commit_index(n->cores[2]), 12, "a majority commits them");
    n->now_us += HEARTBEAT_US;
    step(n, 2, (struct raft_event){.type = RAFT_TICK});
    settle(n);
    for (raft_id id = 1; id <= 3; id++)
        is_u64(raft_commit_index(n->cores[id]), 12, "node %u knows it", (unsigned)id);
    is_i64(step(n, 3, (struct raft_event){.type = RAFT_READ, .read = {.id = 9}}), 0,
           "a follower takes a read");
    bool answered = false;
    while (n->head != n->tail) {
        settle(n);
        answered = answered || n->updates[3].read_count == 1;
    }
    ok(answered && n->updates[3].reads[0].index == 12, "and may serve it");
    raft_id leader = raft_leader(n->cores[3]);
    is_u64(leader, 2, "it knows the leader");
    net_free(n);
}

/* A trace line states the decision. */
static void sentences(void)
{
    struct net *n = net_new(3);
    elect(n, 1);
    struct raft_trace lines[64];
    uint32_t count = raft_trace_read(n->cores[1], 0, lines, 64);
    bool found = false;
    for (uint32_t i = 0; i < count; i++) {
        char text[160];
        size_t len = raft_trace_format(&lines[i], text, sizeof(text), NULL, NULL);
        must(len < sizeof(text) && strlen(text) == len);
        found = found || strcmp(text, "leads in term 2: no-op at 2, commit 1") == 0;
        char cut[8];
        is_u64(raft_trace_format(&lines[i], cut, sizeof(cut), NULL, NULL), len, "cut: \"%s\"",
               text);
    }
    ok(found, "the trace says who leads");
    net_free(n);
}

int main(void)
{
    alone();
    three();
    sentences();
    return done();
}
