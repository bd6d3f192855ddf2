/* Asynchronous writes (§3.8, §10.2.1): what waits for the disk, writes that overtake each other's
 * meaning (ABA), and starting from what is on disk. */
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/mem.h"
#include "tests/support/cluster.h"

/* ---- a follower's writes ---- */

static void append_reply_waits(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct raft *r = cluster_core(c, 1);
    cluster_append(c, 1, APPEND(2, 2, 1, 1, NULL, 1));
    cluster_disk_hold(c, 1);
    CHECK(!cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2, 2), 3)));
    CHECK_EQ(c->packet_count, 0);
    CHECK_EQ(raft_last_index(r), 3);
    CHECK_EQ(raft_durable_index(r), 1);
    CHECK_EQ(raft_commit_index(r), 3); /* known, but … */
    CHECK_EQ(c->nodes[1].applied, 1);  /* … not applied before it is durable here */
    CHECK(cluster_append(c, 1, APPEND(2, 2, 1, 1, NULL, 3))); /* promises nothing new */
    CHECK(cluster_disk_step(c, 1));
    CHECK_EQ(raft_durable_index(r), 3);
    CHECK_EQ(c->nodes[1].applied, 3);
    const struct raft_message *reply = cluster_sent(c, RAFT_APPEND_REPLY, 1, 2);
    REQUIRE(reply);
    CHECK(reply->accepted);
    CHECK_EQ(reply->match_index, 3);
    cluster_free(c);
}

/* Several writes under way: each completion releases what it makes true, in order. */
static void writes_complete_one_by_one(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_append(c, 1, APPEND(2, 2, 1, 1, NULL, 1));
    cluster_disk_hold(c, 1);
    for (raft_index i = 2; i <= 6; i++)
        CHECK(!cluster_append(c, 1, APPEND(2, 2, i - 1, i == 2 ? 1 : 2, TERMS(2), 1)));
    for (raft_index i = 2; i <= 5; i++) {
        CHECK(cluster_disk_step(c, 1));
        CHECK_EQ(raft_durable_index(cluster_core(c, 1)), i);
        struct cluster_packet packet;
        REQUIRE(cluster_take(c, RAFT_APPEND_REPLY, 1, 2, &packet));
        CHECK_EQ(packet.m.match_index, i);
        CHECK_EQ(c->packet_count, 0);
    }
    CHECK(!cluster_replied(c));
    CHECK(cluster_disk_step(c, 1));
    REQUIRE(cluster_replied(c));
    CHECK_EQ(cluster_replied(c)->match_index, 6);
    cluster_free(c);
}

/* One completion may speak for many writes. */
static void completions_are_cumulative(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_append(c, 1, APPEND(2, 2, 1, 1, NULL, 1));
    cluster_disk_hold(c, 1);
    for (raft_index i = 2; i <= 6; i++)
        cluster_append(c, 1, APPEND(2, 2, i - 1, i == 2 ? 1 : 2, TERMS(2), 1));
    struct cluster_node *n = &c->nodes[1];
    uint64_t third = n->writes[2].persist, last = n->writes[4].persist;
    for (raft_index i = 2; i <= 6; i++) { /* they are on the disk, told of in two goes */
        n->disk->log[i] = n->log[i];
        n->disk->last = i;
    }
    n->write_count = 0;
    CHECK_EQ(cluster_step(c, 1, (struct raft_event){.type = RAFT_PERSISTED, .persist = third}), 0);
    CHECK_EQ(raft_durable_index(n->raft), 4);
    CHECK_EQ(cluster_count(c, RAFT_APPEND_REPLY, 1, 2), 3);
    CHECK_EQ(cluster_step(c, 1, (struct raft_event){.type = RAFT_PERSISTED, .persist = third}),
             0); /* again: nothing */
    CHECK_EQ(raft_durable_index(n->raft), 4);
    CHECK_EQ(cluster_step(c, 1, (struct raft_event){.type = RAFT_PERSISTED, .persist = last + 9}),
             ERR_BAD_REQUEST);
    CHECK_EQ(raft_durable_index(n->raft), 4);
    CHECK_EQ(cluster_step(c, 1, (struct raft_event){.type = RAFT_PERSISTED, .persist = last}), 0);
    CHECK_EQ(raft_durable_index(n->raft), 6);
    cluster_free(c);
}

/* Three leaders write the same indexes while the first write hangs; the completions of those
 * replaced prove nothing. */
static void replaced_writes(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .voters = 7});
    struct raft *r = cluster_core(c, 1);
    cluster_disk_hold(c, 1);
    cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2, 2, 2), 1));
    cluster_append(c, 1, APPEND(3, 3, 1, 1, TERMS(3, 3), 1));
    cluster_append(c, 1, APPEND(4, 4, 2, 3, TERMS(4), 1));
    CHECK(cluster_log_is(c, 1, 1, TERMS(1, 3, 4)));
    cluster_forget(c);
    CHECK(cluster_disk_step(c, 1)); /* term 2's entries are on the disk, and not in the log */
    CHECK_EQ(raft_durable_index(r), 1);
    CHECK_EQ(c->packet_count, 0);
    CHECK(cluster_disk_step(c, 1)); /* of term 3's, the first is still the log's */
    CHECK_EQ(raft_durable_index(r), 2);
    CHECK(!cluster_replied(c));
    CHECK(cluster_disk_step(c, 1));
    CHECK_EQ(raft_durable_index(r), 3);
    REQUIRE(cluster_replied(c));
    CHECK_EQ(cluster_replied(c)->match_index, 3);
    CHECK_EQ(c->packet_count, 0); /* the others were told of the later terms at once */
    cluster_free(c);
}

/* The same index and term come back: the first write of them counts no more, since the second has
 * removed it (ABA). */
static void entry_that_came_back(void)
{
    for (int completed = 0; completed <= 3; completed++) { /* and then the power fails */
        case_row("%d writes completed", completed);
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .voters = 7});
        cluster_disk_hold(c, 1);
        cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2, 2), 1));
        cluster_append(c, 1, APPEND(3, 3, 1, 1, TERMS(3), 1));
        cluster_append(c, 1, APPEND(4, 4, 1, 1, TERMS(2, 2, 4), 1));
        CHECK(cluster_log_is(c, 1, 1, TERMS(1, 2, 2, 4)));
        for (int i = 0; i < completed; i++)
            CHECK(cluster_disk_step(c, 1));
        CHECK_EQ(raft_durable_index(cluster_core(c, 1)), completed == 3 ? 4 : 1);
        CHECK_EQ(cluster_replied(c) != NULL, completed == 3);
        cluster_crash(c, 1);
        cluster_restart(c, 1);
        CHECK(cluster_log_is(c, 1, 1,
                             completed == 0   ? TERMS(1)
                             : completed == 1 ? TERMS(1, 2, 2)
                             : completed == 2 ? TERMS(1, 3)
                                              : TERMS(1, 2, 2, 4)));
        cluster_free(c);
    }
}

/* More replies wait than there is room for: each request is answered all the same, and none claims
 * what is not durable. */
static void many_replies_wait(void)
{
    enum { APPENDS = RAFT_REPLIES_MAX + 60 };
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_append(c, 1, APPEND(2, 2, 1, 1, NULL, 1));
    cluster_disk_hold(c, 1);
    uint32_t answered = 0;
    for (raft_index i = 2; i < 2 + APPENDS; i++) {
        if (c->nodes[1].write_count == RAFT_WRITES_MAX)
            cluster_disk_step(c, 1); /* the fixture's disk takes no more */
        const struct raft_message *reply =
            cluster_append(c, 1, APPEND(2, 2, i - 1, i == 2 ? 1 : 2, TERMS(2), 1));
        answered += reply != NULL;
        CHECK(!reply || !reply->accepted ||
              reply->match_index <= raft_durable_index(cluster_core(c, 1)));
    }
    for (struct cluster_packet packet; cluster_take(c, RAFT_APPEND_REPLY, 1, 2, &packet);
         answered++)
        CHECK(packet.m.match_index <= raft_durable_index(cluster_core(c, 1)));
    cluster_disk_release(c, 1);
    answered += cluster_count(c, RAFT_APPEND_REPLY, 1, 2) + (cluster_replied(c) != NULL);
    CHECK(answered >= APPENDS);
    CHECK_EQ(c->nodes[1].waiting_count, 0);
    CHECK_EQ(raft_durable_index(cluster_core(c, 1)), 1 + APPENDS);
    cluster_free(c);
}

/* ---- a candidate's and a leader's ---- */

static void own_vote_is_durable_first(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct raft *r = cluster_core(c, 1);
    cluster_disk_hold(c, 1);
    cluster_become(c, 1, RAFT_CANDIDATE);
    CHECK_EQ(cluster_count(c, RAFT_VOTE, 1, 0),
             0); /* nobody is asked before our own vote is safe */
    struct raft_message pre = {.type = RAFT_PRE_VOTE_REPLY, .from = 3, .term = 2, .granted = true};
    cluster_feed(c, 1, pre); /* pre-votes that come late are no votes */
    CHECK_EQ(raft_state(r), RAFT_CANDIDATE);
    for (raft_id from = 2; from <= 3; from++) /* nor are votes that nobody was asked for */
        cluster_feed(c, 1,
                     (struct raft_message){
                         .type = RAFT_VOTE_REPLY, .from = from, .term = 2, .granted = true});
    CHECK_EQ(raft_state(r), RAFT_CANDIDATE);
    CHECK(cluster_disk_step(c, 1));
    CHECK_EQ(c->nodes[1].disk->vote, 1);
    CHECK_EQ(cluster_count(c, RAFT_VOTE, 1, 0), 2);
    cluster_become(c, 1, RAFT_LEADER);
    cluster_free(c);
    c = cluster_new((struct cluster_plan){.voters = 1});
    cluster_disk_hold(c, 1);
    cluster_tick(c, 1);
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_CANDIDATE);
    CHECK(cluster_disk_step(c, 1));
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_LEADER);
    cluster_free(c);
}

/* Somebody else has won meanwhile: our vote, durable at last, is not counted. */
static void own_vote_after_the_election(void)
{
    for (int later = 0; later <= 1; later++) {
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
        struct raft *r = cluster_core(c, 1);
        cluster_disk_hold(c, 1);
        cluster_become(c, 1, RAFT_CANDIDATE);
        cluster_forget(c);
        raft_term term = 2 + (raft_term)later;
        cluster_append(c, 1, APPEND(3, term, 1, 1, TERMS(term), 1));
        CHECK_EQ(raft_state(r), RAFT_FOLLOWER);
        cluster_disk_release(c, 1);
        CHECK_EQ(raft_state(r), RAFT_FOLLOWER);
        CHECK_EQ(raft_leader(r), 3);
        CHECK_EQ(cluster_count(c, RAFT_VOTE, 1, 0), 0);
        CHECK_EQ(c->nodes[1].disk->vote, later ? 0 : 1);
        cluster_free(c);
    }
}

/* The candidacy of one term does not inherit the durable vote of the term before. */
static void own_vote_of_an_earlier_candidacy(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_disk_hold(c, 1);
    cluster_become(c, 1, RAFT_CANDIDATE); /* term 2, hangs */
    for (int i = 0; i < 25 && raft_state(cluster_core(c, 1)) != RAFT_PRE_CANDIDATE; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
    }
    cluster_become(c, 1, RAFT_CANDIDATE); /* term 3 */
    CHECK_EQ(raft_term_current(cluster_core(c, 1)), 3);
    CHECK(cluster_disk_step(c, 1)); /* the vote of term 2 */
    CHECK_EQ(cluster_count(c, RAFT_VOTE, 1, 0), 0);
    CHECK(cluster_disk_step(c, 1));
    CHECK_EQ(cluster_count(c, RAFT_VOTE, 1, 0), 2);
    CHECK_EQ(cluster_sent(c, RAFT_VOTE, 1, 2)->term, 3);
    cluster_free(c);
}

/* A leader's own write completes when it leads no more, the entry being another's by now. */
static void leaders_write_after_its_term(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct raft *r = cluster_core(c, 1);
    cluster_become_ready(c, 1);
    cluster_disk_hold(c, 1);
    cluster_propose(c, 1, 3); /* 3, 4, 5 */
    cluster_append(c, 1, APPEND(2, 3, 2, 2, TERMS(3), 2));
    CHECK(cluster_log_is(c, 1, 1, TERMS(1, 2, 3)));
    CHECK(cluster_disk_step(c, 1)); /* the write of our proposals */
    CHECK_EQ(raft_durable_index(r), 2);
    CHECK_EQ(raft_commit_index(r), 2);
    CHECK(!cluster_replied(c));
    cluster_disk_release(c, 1);
    CHECK_EQ(raft_durable_index(r), 3);
    CHECK(cluster_replied(c));
    cluster_free(c);
}

/* Leader and followers with slow disks: appends follow each other while earlier ones are still
 * being written. */
static void pipelined_writes(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    for (raft_id id = 1; id <= 3; id++)
        cluster_disk_hold(c, id);
    for (int i = 0; i < 4; i++) {
        cluster_propose(c, 1, 1);
        cluster_settle(c);
    }
    CHECK_EQ(raft_last_index(cluster_core(c, 2)), 6);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 2);
    for (raft_index i = 3; i <= 6; i++) {
        raft_id first = i % 2 ? 2 : 1, second = 3 - first; /* whose disk is first does not matter */
        CHECK(cluster_disk_step(c, first));
        cluster_settle(c);
        CHECK_EQ(raft_commit_index(cluster_core(c, 1)), i - 1);
        CHECK(cluster_disk_step(c, second));
        cluster_settle(c);
        CHECK_EQ(raft_commit_index(cluster_core(c, 1)), i);
        CHECK_EQ(c->nodes[1].applied, i);
        CHECK_EQ(raft_durable_index(cluster_core(c, 3)),
                 2); /* the third disk hangs all the while */
    }
    for (raft_id id = 1; id <= 3; id++)
        cluster_disk_release(c, id);
    cluster_run(c, 2 * HEARTBEAT);
    CHECK(cluster_equal_logs(c));
    CHECK_EQ(c->nodes[3].applied, 6);
    cluster_free(c);
}

/* ---- starting from the disk ---- */

static void restart_from_log(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_propose(c, 1, 5);
    cluster_run(c, 2 * HEARTBEAT);
    raft_term term = raft_term_current(cluster_core(c, 2));
    cluster_restart(c, 2);
    struct raft *r = cluster_core(c, 2);
    CHECK_EQ(raft_state(r), RAFT_FOLLOWER);
    CHECK_EQ(raft_term_current(r), term);
    CHECK_EQ(raft_vote(r), 1);
    CHECK_EQ(raft_last_index(r), 7);
    CHECK_EQ(raft_durable_index(r), 7);
    CHECK_EQ(raft_commit_index(r), c->nodes[2].applied);
    CHECK_EQ(c->nodes[2].write_count, 0); /* nothing to write, and nothing to say */
    cluster_tick(c, 2);
    CHECK_EQ(c->packet_count, 0);
    c->nodes[2].applied =
        1; /* the state machine may be behind: it is brought up again, from there */
    cluster_restart(c, 2);
    CHECK_EQ(raft_commit_index(cluster_core(c, 2)), 1);
    cluster_run(c, 3 * HEARTBEAT);
    CHECK_EQ(c->nodes[2].applied, 7);
    cluster_free(c);
}

static void restart_from_snapshot(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3, .learners = 1});
    cluster_elect(c, 1);
    cluster_propose(c, 1, 8);
    cluster_run(c, 2 * HEARTBEAT);
    cluster_compact(c, 2, 6);
    cluster_restart(c, 2);
    struct raft *r = cluster_core(c, 2);
    CHECK_EQ(raft_snapshot_index(r), 6);
    CHECK_EQ(raft_first_index(r), 7);
    CHECK_EQ(raft_last_index(r), 10);
    CHECK_EQ(raft_term_at(r, 5), 0);
    CHECK_EQ(raft_term_at(r, 7), 2);
    CHECK_EQ(raft_configuration_latest(r)->count, 4);
    cluster_run(c, 3 * HEARTBEAT);
    CHECK_EQ(c->nodes[2].applied, 10);
    cluster_compact(c, 2, 10); /* nothing but the snapshot */
    cluster_restart(c, 2);
    CHECK_EQ(raft_last_index(cluster_core(c, 2)), 10);
    CHECK_EQ(raft_first_index(cluster_core(c, 2)), 11);
    cluster_run(c, HEARTBEAT);
    cluster_propose(c, 1, 1);
    cluster_run(c, 3 * HEARTBEAT);
    CHECK_EQ(c->nodes[2].applied, 11);
    cluster_free(c);
}

static void everybody_restarts(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    raft_index committed = 0;
    for (int round = 0; round < 5; round++) {
        cluster_run(c, 6 * ELECTION_TIMEOUT);
        raft_id leader = cluster_leader(c);
        REQUIRE(leader);
        CHECK(raft_commit_index(cluster_core(c, leader)) >= committed);
        cluster_propose(c, leader, 3);
        cluster_run(c, HEARTBEAT);
        committed = raft_commit_index(cluster_core(c, leader));
        for (raft_id id = 1; id <= 3; id++)
            cluster_restart(c, id);
    }
    cluster_run(c, 6 * ELECTION_TIMEOUT);
    CHECK(cluster_equal_logs(c));
    CHECK(raft_commit_index(cluster_core(c, 1)) > committed);
    cluster_free(c);
}

/* What cannot be is refused at the start. */
static void impossible_starts(void)
{
    struct raft *r = mem_zalloc(raft_size());
    struct raft_configuration configuration = cluster_configuration(1, 3, 0);
    struct raft_run runs[2] = {{1, 1}, {3, 2}};
    const struct raft_options options = {.id = 1,
                                         .election_timeout_us = ELECTION_TIMEOUT,
                                         .heartbeat_interval_us = HEARTBEAT,
                                         .inflight_max = 4,
                                         .append_entries_max = 64};
    const struct raft_start start = {.term = 2,
                                     .runs = runs,
                                     .run_count = 2,
                                     .last_index = 4,
                                     .commit = 1,
                                     .configurations = &configuration,
                                     .configuration_count = 1};
    CHECK_EQ(raft_init(r, &options, &start), 0);
    struct raft_options o;
#define REFUSED_OPTIONS(change)                                                                    \
    do {                                                                                           \
        o = options;                                                                               \
        change;                                                                                    \
        case_row("%s", #change);                                                                   \
        CHECK_EQ(raft_init(r, &o, &start), ERR_BAD_REQUEST);                                       \
    } while (0)
    REFUSED_OPTIONS(o.id = 0);
    REFUSED_OPTIONS(o.heartbeat_interval_us = 0);
    REFUSED_OPTIONS(o.heartbeat_interval_us = ELECTION_TIMEOUT / 2);
    REFUSED_OPTIONS(o.election_timeout_us = 0);
    REFUSED_OPTIONS(o.inflight_max = 0);
    REFUSED_OPTIONS(o.inflight_max = RAFT_INFLIGHT_MAX + 1);
    REFUSED_OPTIONS(o.append_entries_max = 0);
    REFUSED_OPTIONS(o.append_entries_max = RAFT_APPEND_ENTRIES_MAX + 1);
    struct raft_start s;
#define REFUSED_START(change)                                                                      \
    do {                                                                                           \
        s = start;                                                                                 \
        configuration = cluster_configuration(1, 3, 0);                                            \
        runs[0] = (struct raft_run){1, 1};                                                         \
        runs[1] = (struct raft_run){3, 2};                                                         \
        change;                                                                                    \
        case_row("%s", #change);                                                                   \
        CHECK_EQ(raft_init(r, &options, &s), ERR_BAD_REQUEST);                                     \
    } while (0)
    REFUSED_START(s.term = 1);
    REFUSED_START(s.commit = 5);
    REFUSED_START(s.last_index = 2);
    REFUSED_START(s.run_count = 0);
    REFUSED_START(runs[0].first = 2);
    REFUSED_START(runs[1].first = 1);
    REFUSED_START(runs[0].term = 3);
    REFUSED_START(s.snapshot.index = 2);
    REFUSED_START(configuration.index = 9);
    REFUSED_START(configuration.members[1].id = 1);
    REFUSED_START(configuration.members[1].flags = 64);
    REFUSED_START(configuration.joint = true);
    REFUSED_START(configuration.count = 0);
    mem_free(r);
}

/* Replies that find no room are given at once, and promise nothing that is not on the disk: neither
 * entries, nor, while the term is not there, a vote or what a later life may take back. */
static void no_room_for_replies(void)
{
    const struct raft_message *reply = NULL;
    case_row("entries");
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_append(c, 1, APPEND(2, 2, 1, 1, NULL, 1));
    cluster_disk_hold(c, 1);
    for (int i = 0; i < RAFT_REPLIES_MAX; i++)
        CHECK(!cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2), 1)));
    reply = cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2), 1));
    REQUIRE(reply && reply->accepted);
    CHECK_EQ(reply->match_index, 1);
    cluster_disk_release(c, 1);
    CHECK_EQ(c->nodes[1].waiting_count, 0);
    cluster_free(c);

    case_row("the term");
    c = cluster_new((struct cluster_plan){.alone = true});
    cluster_disk_hold(c, 1);
    for (int i = 0; i < RAFT_REPLIES_MAX; i++)
        CHECK(!cluster_append(c, 1, APPEND(2, 2, 1, 1, NULL, 1)));
    reply = cluster_append(c, 1, APPEND(2, 2, 1, 1, NULL, 1));
    REQUIRE(reply && reply->accepted);
    CHECK_EQ(reply->match_index, 0);
    cluster_disk_release(c, 1);
    CHECK_EQ(c->nodes[1].waiting_count, 0);
    cluster_free(c);

    case_row("a vote");
    c = cluster_new((struct cluster_plan){.alone = true});
    cluster_disk_hold(c, 1);
    struct raft_message vote = {
        .type = RAFT_VOTE, .from = 2, .term = 2, .last_index = 9, .last_term = 1};
    for (int i = 0; i < RAFT_REPLIES_MAX; i++)
        CHECK(!cluster_feed(c, 1, vote));
    reply = cluster_feed(c, 1, vote);
    REQUIRE(reply);
    CHECK(!reply->granted);
    cluster_disk_release(c, 1);
    CHECK_EQ(c->nodes[1].waiting_count, 0);
    cluster_free(c);
}

static const struct test_case cases[] = {
    {"§3.8 an append is acknowledged when it is durable, and applied no earlier",
     append_reply_waits},
    {"§3.8 writes complete one by one", writes_complete_one_by_one},
    {"§3.8 completions are cumulative, and only of writes given out", completions_are_cumulative},
    {"§3.8 writes of three terms at the same indexes", replaced_writes},
    {"§3.8 an entry that comes back (ABA) is durable by its own write", entry_that_came_back},
    {"§3.8 more replies wait than there is room for", many_replies_wait},
    {"§3.8 a reply that finds no room promises only what is durable", no_room_for_replies},
    {"§3.8 the own vote is durable before it counts and others are asked",
     own_vote_is_durable_first},
    {"§3.8 the own vote, durable after the election was lost, is not counted",
     own_vote_after_the_election},
    {"§3.8 the own vote of an earlier candidacy is not counted", own_vote_of_an_earlier_candidacy},
    {"§3.8 a leader's write that completes after its term acknowledges nothing",
     leaders_write_after_its_term},
    {"§10.2.1 writes of leader and followers are pipelined", pipelined_writes},
    {"§3.8 restart from log, term and vote", restart_from_log},
    {"§5.1 restart from a snapshot and the log behind it", restart_from_snapshot},
    {"§3.8 everybody restarts, again and again", everybody_restarts},
    {"§3.8 an impossible start is refused", impossible_starts},
};

CASES_MAIN(cases)
