/* Messages that cannot be, from whatever peer: refused, with nothing changed; and what a core tells
 * of itself. */
#include <string.h>

#include "lib/base/err.h"
#include "tests/support/cluster.h"

static void requests_and_replies(void)
{
    static const struct {
        enum raft_message_type type;
        bool request;
        const char *name;
    } table[] = {
        {RAFT_PRE_VOTE, true, "pre_vote"},
        {RAFT_VOTE, true, "vote"},
        {RAFT_APPEND, true, "append"},
        {RAFT_HEARTBEAT, true, "heartbeat"},
        {RAFT_READ_INDEX, true, "read_index"},
        {RAFT_TIMEOUT_NOW, true, "timeout_now"},
        {RAFT_PRE_VOTE_REPLY, false, "pre_vote_reply"},
        {RAFT_VOTE_REPLY, false, "vote_reply"},
        {RAFT_APPEND_REPLY, false, "append_reply"},
        {RAFT_HEARTBEAT_REPLY, false, "heartbeat_reply"},
        {RAFT_READ_INDEX_REPLY, false, "read_index_reply"},
        {RAFT_TIMEOUT_NOW_REPLY, false, "timeout_now_reply"},
        {RAFT_SEND_SNAPSHOT, false, "send_snapshot"},
    };
    CHECK_EQ(sizeof(table) / sizeof(table[0]), RAFT_MESSAGE_TYPES);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("%s", table[i].name);
        CHECK_EQ(raft_message_is_request(table[i].type), table[i].request);
        CHECK(strcmp(raft_message_name(table[i].type), table[i].name) == 0);
    }
}

/* Every request is answered by its own reply, with the request's context, in every state. */
static void every_request_is_answered(void)
{
    static const enum raft_state states[] = {RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE,
                                             RAFT_LEADER};
    for (int s = 0; s < 4; s++) {
        for (enum raft_message_type type = RAFT_PRE_VOTE; type <= RAFT_TIMEOUT_NOW; type++) {
            for (raft_term term = 1; term <= 4; term++) {
                case_row("%s, %s of term %u", raft_state_name(states[s]), raft_message_name(type),
                         (unsigned)term);
                struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .term = 2});
                cluster_become(c, 1, states[s]);
                const struct raft_message *reply =
                    cluster_feed(c, 1,
                                 (struct raft_message){.type = type,
                                                       .from = 2,
                                                       .term = term,
                                                       .last_index = 1,
                                                       .last_term = 1,
                                                       .prev_index = 1,
                                                       .prev_term = 1,
                                                       .read_id = 1,
                                                       .commit = 1});
                if (type == RAFT_READ_INDEX && states[s] == RAFT_LEADER && term == 3) {
                    CHECK(!reply); /* of its own term: waits to be confirmed, and is answered when
                                      that fails */
                    cluster_append(c, 1, APPEND(2, 9, 1, 1, NULL, 1));
                    CHECK_EQ(cluster_count(c, RAFT_READ_INDEX_REPLY, 1, 2), 1);
                } else {
                    REQUIRE(reply);
                    CHECK_EQ(reply->type, type + (RAFT_PRE_VOTE_REPLY - RAFT_PRE_VOTE));
                    CHECK_EQ(reply->to, 2);
                    CHECK(reply->term >= 2);
                }
                CHECK_EQ(c->nodes[1].waiting_count, 0);
                cluster_free(c);
            }
        }
    }
}

static void check_refused(struct raft_message m, int status)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 2, 2), .commit = 1});
    struct raft *r = cluster_core(c, 1);
    CHECK_EQ(cluster_step(c, 1, (struct raft_event){.type = RAFT_MESSAGE, .message = &m}), status);
    CHECK_EQ(raft_term_current(r), 2);
    CHECK_EQ(raft_vote(r), 0);
    CHECK_EQ(raft_leader(r), 0);
    CHECK_EQ(raft_last_index(r), 3);
    CHECK_EQ(raft_commit_index(r), 1);
    CHECK_EQ(raft_state(r), RAFT_FOLLOWER);
    CHECK_EQ(c->nodes[1].write_count, 0);
    cluster_free(c);
}

static void impossible_envelopes(void)
{
    const struct raft_message m = {.type = RAFT_HEARTBEAT_REPLY, .from = 2, .to = 1, .term = 9};
    struct raft_message bad = m;
    bad.to = 3;
    check_refused(bad, ERR_BAD_REQUEST); /* for somebody else */
    bad = m;
    bad.from = 0;
    check_refused(bad, ERR_BAD_REQUEST);
    bad = m;
    bad.from = 1;
    check_refused(bad, ERR_BAD_REQUEST); /* from ourselves */
    bad = m;
    bad.type = RAFT_SEND_SNAPSHOT; /* between core and carrier only */
    check_refused(bad, ERR_BAD_REQUEST);
    bad.type = RAFT_MESSAGE_TYPES;
    check_refused(bad, ERR_BAD_REQUEST);
    bad.type = (enum raft_message_type)1000;
    check_refused(bad, ERR_BAD_REQUEST);
    bad = m;
    bad.term = UINT64_MAX;
    check_refused(bad, ERR_BAD_REQUEST); /* a term that no cluster reaches would end it */
}

/* Entries whose description does not hang together: indexes, terms, configurations. */
static void impossible_appends(void)
{
    const struct raft_run good_runs[3] = {{4, 2}, {6, 3}, {7, 4}};
    const struct raft_configuration good = cluster_configuration(5, 3, 1);
    struct raft_run runs[3];
    struct raft_configuration configurations[2];
    struct raft_message m;
#define IMPOSSIBLE(change)                                                                         \
    do {                                                                                           \
        memcpy(runs, good_runs, sizeof(runs));                                                     \
        configurations[0] = good;                                                                  \
        configurations[1] = cluster_configuration(7, 4, 0);                                        \
        m = (struct raft_message){.type = RAFT_APPEND,                                             \
                                  .from = 2,                                                       \
                                  .to = 1,                                                         \
                                  .term = 4,                                                       \
                                  .prev_index = 3,                                                 \
                                  .prev_term = 2,                                                  \
                                  .entry_count = 4,                                                \
                                  .runs = runs,                                                    \
                                  .run_count = 3,                                                  \
                                  .configurations = configurations,                                \
                                  .configuration_count = 2};                                       \
        change;                                                                                    \
        case_row("%s", #change);                                                                   \
        struct cluster *c =                                                                        \
            cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 2, 2)});              \
        struct cluster_waiting *w = &c->nodes[1].waiting[c->nodes[1].waiting_count++];             \
        *w = (struct cluster_waiting){.context = 0, .from = 2, .type = RAFT_APPEND};               \
        CHECK_EQ(cluster_step(c, 1, (struct raft_event){.type = RAFT_MESSAGE, .message = &m}),     \
                 ERR_BAD_REQUEST);                                                                 \
        CHECK_EQ(raft_last_index(cluster_core(c, 1)), 3);                                          \
        CHECK_EQ(c->nodes[1].waiting_count, 0);                                                    \
        CHECK(!c->reply.accepted);                                                                 \
        cluster_free(c);                                                                           \
    } while (0)
    IMPOSSIBLE(m.run_count = 0);
    IMPOSSIBLE(m.entry_count = 0);
    IMPOSSIBLE(m.entry_count = 3);
    IMPOSSIBLE(m.entry_count = UINT32_MAX);
    IMPOSSIBLE(m.prev_index = UINT64_MAX - 2);
    IMPOSSIBLE(m.prev_term = 5);
    IMPOSSIBLE(m.prev_term = 3);
    IMPOSSIBLE(m.term = 3);
    IMPOSSIBLE(runs[0].first = 5);
    IMPOSSIBLE(runs[0].term = 0);
    IMPOSSIBLE(runs[1].first = 4);
    IMPOSSIBLE(runs[1].first = 9);
    IMPOSSIBLE(runs[1].term = 1);
    IMPOSSIBLE(runs[2].term = 2);
    IMPOSSIBLE(configurations[0].index = 3);
    IMPOSSIBLE(configurations[0].index = 9);
    IMPOSSIBLE(configurations[1].index = 5);
    IMPOSSIBLE(configurations[0].count = 0);
    IMPOSSIBLE(configurations[0].count = RAFT_MEMBERS_MAX + 1);
    IMPOSSIBLE(configurations[0].members[1].id = 1);
    IMPOSSIBLE(configurations[0].members[0].id = 0);
    IMPOSSIBLE(configurations[0].members[0].flags = 128);
    IMPOSSIBLE(configurations[0].joint = true);
    IMPOSSIBLE(configurations[0].members[0].flags = RAFT_VOTER | RAFT_VOTER_OLD);
    IMPOSSIBLE(m.configuration_count = 5);
}

static void second_leader_of_a_term(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct raft *r = cluster_core(c, 1);
    cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2), 1));
    const struct raft_message *reply = cluster_append(c, 1, APPEND(3, 2, 1, 1, TERMS(2, 2), 1));
    REQUIRE(reply);
    CHECK(!reply->accepted);
    CHECK_EQ(raft_leader(r), 2);
    CHECK_EQ(raft_last_index(r), 2);
    cluster_become(c, 1, RAFT_LEADER);
    raft_term term = raft_term_current(r);
    reply = cluster_append(c, 1, APPEND(3, term, 1, 1, TERMS(term), 1));
    REQUIRE(reply);
    CHECK(!reply->accepted);
    CHECK_EQ(raft_state(r), RAFT_LEADER);
    cluster_free(c);
}

static void leaders_view(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.alone = true, .voters = 3, .learners = 1});
    struct raft_progress_view views[RAFT_MEMBERS_MAX];
    CHECK_EQ(raft_progress(cluster_core(c, 1), views), 0); /* only a leader has one */
    cluster_become_ready(c, 1);
    cluster_propose(c, 1, 2);
    cluster_sleep(c, 500);
    cluster_ack(c, 1, 3, 4);
    REQUIRE(raft_progress(cluster_core(c, 1), views) == 4);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK_EQ(views[i].id, i + 1);
        CHECK_EQ(views[i].flags, i < 3 ? RAFT_VOTER : 0);
        CHECK_EQ(views[i].match, i == 0 || i == 2 ? 4 : 2);
        CHECK_EQ(views[i].next, 5);
        CHECK_EQ(views[i].state, RAFT_PIPELINE);
        CHECK_EQ(views[i].inflight, i == 1 || i == 3 ? 1 : 0);
    }
    CHECK_EQ(views[2].last_contact_us, c->now_us);
    CHECK_EQ(views[1].last_contact_us, c->now_us - 500);
    CHECK_EQ(raft_self(cluster_core(c, 1)), 1);
    cluster_free(c);
}

static const struct test_case cases[] = {
    {"requests and replies, and their names", requests_and_replies},
    {"every request is answered in every state", every_request_is_answered},
    {"envelopes that cannot be are refused", impossible_envelopes},
    {"appends that cannot be are refused", impossible_appends},
    {"a second leader of a term is refused", second_leader_of_a_term},
    {"the leader's view of its followers", leaders_view},
};

CASES_MAIN(cases)
