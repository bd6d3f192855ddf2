/* Linearizable reads by ReadIndex (§6.4): at the leader, through a follower, and when leadership is
 * lost. */
#include "lib/base/err.h"
#include "tests/support/cluster.h"

/* A lone leader of term 2, its no-op at 2 committed. */
static struct cluster *leader_of(uint32_t voters)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .voters = voters});
    cluster_become_ready(c, 1);
    return c;
}

static uint64_t round_sent(struct cluster *c)
{
    uint64_t round = 0;
    for (uint32_t i = 0; i < c->packet_count; i++)
        if (c->packets[i].m.round > round)
            round = c->packets[i].m.round;
    return round;
}

/* ---- at the leader ---- */

static void confirmed_by_a_majority(void)
{
    struct cluster *c = leader_of(5);
    CHECK_EQ(cluster_read(c, 1, 7), 0);
    for (raft_id peer = 2; peer <= 5; peer++)
        CHECK_EQ(cluster_count(c, RAFT_HEARTBEAT, 1, peer), 1);
    uint64_t round = round_sent(c);
    CHECK(round > 0);
    CHECK(!cluster_read_result(c, 1, 7));
    cluster_beat_reply(c, 1, 2, round);
    cluster_beat_reply(c, 1, 2, round); /* twice the same */
    CHECK(!cluster_read_result(c, 1, 7));
    cluster_beat_reply(c, 1, 4, round);
    const struct raft_read_result *read = cluster_read_result(c, 1, 7);
    REQUIRE(read);
    CHECK_EQ(read->status, 0);
    CHECK_EQ(read->index, 2);
    CHECK_EQ(read->lease_until_us, 0);
    cluster_beat_reply(c, 1, 5, round);
    CHECK_EQ(c->nodes[1].read_count, 1);
    cluster_free(c);
}

/* Only what was sent after the read came confirms it; older answers, and other terms', do not (etcd
 * 20418). */
static void old_answers_do_not_confirm(void)
{
    struct cluster *c = leader_of(3);
    cluster_read(c, 1, 1);
    uint64_t first = round_sent(c);
    cluster_beat_reply(c, 1, 2, first);
    CHECK(cluster_read_result(c, 1, 1));
    cluster_forget(c);
    cluster_read(c, 1, 2);
    uint64_t second = round_sent(c);
    CHECK(second > first);
    cluster_beat_reply(c, 1, 2, first); /* late copies */
    cluster_beat_reply(c, 1, 3, first);
    cluster_beat_reply(c, 1, 3, 0);
    cluster_beat_reply(c, 1, 3, second + 5); /* was never sent */
    CHECK(!cluster_read_result(c, 1, 2));
    cluster_feed(
        c, 1,
        (struct raft_message){.type = RAFT_HEARTBEAT_REPLY, .from = 3, .term = 1, .round = second});
    CHECK(!cluster_read_result(c, 1, 2));
    cluster_beat_reply(c, 1, 3, second);
    CHECK(cluster_read_result(c, 1, 2));
    cluster_free(c);
}

/* The index is the commit index of when the read came, or later; never an earlier one. */
static void index_of_the_time(void)
{
    struct cluster *c = leader_of(3);
    cluster_read(c, 1, 1);
    uint64_t round = round_sent(c);
    cluster_propose(c, 1, 1);
    cluster_ack(c, 1, 2, 3);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 3);
    cluster_read(c, 1, 2); /* comes when the round of the first is out already */
    cluster_beat_reply(c, 1, 2, round);
    const struct raft_read_result *first = cluster_read_result(c, 1, 1);
    REQUIRE(first);
    CHECK(first->index >= 2);
    CHECK(!cluster_read_result(c, 1, 2));
    uint64_t next = round_sent(c);
    CHECK(next > round);
    cluster_beat_reply(c, 1, 3, next);
    const struct raft_read_result *second = cluster_read_result(c, 1, 2);
    REQUIRE(second);
    CHECK_EQ(second->index, 3);
    cluster_free(c);
}

static void many_share_a_round(void)
{
    struct cluster *c = leader_of(3);
    for (uint64_t id = 1; id <= 100; id++)
        CHECK_EQ(cluster_read(c, 1, id), 0);
    CHECK(cluster_count(c, RAFT_HEARTBEAT, 1, 2) <= 2);
    cluster_beat_reply(c, 1, 2, round_sent(c)); /* the round of the first … */
    CHECK(cluster_read_result(c, 1, 1));
    cluster_beat_reply(c, 1, 2, round_sent(c)); /* … and that of all the others */
    for (uint64_t id = 1; id <= 100; id++) {
        const struct raft_read_result *read = cluster_read_result(c, 1, id);
        REQUIRE(read);
        CHECK_EQ(read->index, 2);
    }
    CHECK_EQ(c->nodes[1].read_count, 100);
    cluster_free(c);
}

/* A confirmed later round confirms all before it. */
static void rounds_are_cumulative(void)
{
    struct cluster *c = leader_of(5);
    cluster_read(c, 1, 1);
    cluster_sleep(c, HEARTBEAT);
    cluster_read(c, 1, 2);
    cluster_tick(c, 1); /* the next heartbeat takes the second read along */
    uint64_t round = round_sent(c);
    cluster_beat_reply(c, 1, 2, round);
    CHECK(!cluster_read_result(c, 1, 1) && !cluster_read_result(c, 1, 2));
    cluster_beat_reply(c, 1, 3, round);
    CHECK(cluster_read_result(c, 1, 1) && cluster_read_result(c, 1, 2));
    cluster_free(c);
}

/* Append replies confirm as heartbeats' do. */
static void appends_confirm_too(void)
{
    struct cluster *c = leader_of(3);
    cluster_read(c, 1, 1);
    cluster_propose(c, 1, 1);
    const struct raft_message *m = cluster_sent(c, RAFT_APPEND, 1, 2);
    REQUIRE(m);
    cluster_feed(c, 1,
                 (struct raft_message){.type = RAFT_APPEND_REPLY,
                                       .from = 2,
                                       .term = 2,
                                       .accepted = true,
                                       .match_index = 3,
                                       .round = m->round});
    const struct raft_read_result *read = cluster_read_result(c, 1, 1);
    REQUIRE(read);
    CHECK_EQ(read->status, 0);
    cluster_free(c);
}

static void single_voter_reads_at_once(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.voters = 1, .learners = 1, .alone = true});
    cluster_tick(c, 1);
    CHECK_EQ(cluster_read(c, 1, 1), 0);
    const struct raft_read_result *read = cluster_read_result(c, 1, 1);
    REQUIRE(read);
    CHECK_EQ(read->status, 0);
    CHECK_EQ(read->index, 2);
    cluster_free(c);
}

static void learners_confirm_nothing(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.alone = true, .voters = 3, .learners = 2});
    cluster_become_ready(c, 1);
    cluster_read(c, 1, 1);
    uint64_t round = round_sent(c);
    cluster_beat_reply(c, 1, 4, round);
    cluster_beat_reply(c, 1, 5, round);
    CHECK(!cluster_read_result(c, 1, 1));
    cluster_free(c);
}

/* §6.4: a new leader's commit index may be behind what was answered before; it waits for its no-op.
 */
static void new_leader_waits_for_its_noop(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 1, 1), .commit = 1});
    cluster_become(c, 1, RAFT_LEADER);
    CHECK_EQ(cluster_read(c, 1, 1), 0); /* waits inside */
    cluster_beat_reply(c, 1, 2, round_sent(c));
    cluster_beat_reply(c, 1, 3, round_sent(c));
    CHECK(!cluster_read_result(c, 1, 1));
    for (int i = 0; i < 3;
         i++) { /* nor do heartbeats take it along yet: the index would be too old */
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
        cluster_beat_reply(c, 1, 3, round_sent(c));
    }
    cluster_ack(c, 1, 2, 3); /* what was inherited, not committed by that */
    CHECK(!cluster_read_result(c, 1, 1));
    cluster_ack(c, 1, 2, 4);
    CHECK(raft_leader_ready(cluster_core(c, 1)));
    cluster_beat_reply(c, 1, 2, round_sent(c));
    const struct raft_read_result *read = cluster_read_result(c, 1, 1);
    REQUIRE(read);
    CHECK_EQ(read->status, 0);
    CHECK_EQ(read->index, 4);
    cluster_free(c);
}

/* ---- leadership lost ---- */

static void dropped_with_leadership(void)
{
    struct cluster *c = leader_of(3);
    cluster_read(c, 1, 1);
    cluster_read(c, 1, 2);
    uint64_t round = round_sent(c);
    cluster_append(c, 1, APPEND(2, 3, 2, 2, NULL, 2));
    for (uint64_t id = 1; id <= 2; id++) {
        const struct raft_read_result *read = cluster_read_result(c, 1, id);
        REQUIRE(read);
        CHECK_EQ(read->status, ERR_NO_LEADER);
    }
    cluster_feed(
        c, 1,
        (struct raft_message){.type = RAFT_HEARTBEAT_REPLY, .from = 3, .term = 2, .round = round});
    CHECK_EQ(c->nodes[1].read_count, 2); /* each answered once */
    cluster_free(c);
}

static void partitioned_leader_serves_nothing(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_isolate(c, 1);
    CHECK_EQ(cluster_read(c, 1, 1), 0);
    cluster_elect(c, 2);
    cluster_propose(c, 2, 1);
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    const struct raft_read_result *read = cluster_read_result(c, 1, 1);
    REQUIRE(read); /* check-quorum has made it step down */
    CHECK_EQ(read->status, ERR_NO_LEADER);
    CHECK_EQ(cluster_read(c, 1, 2), ERR_NO_LEADER);
    cluster_free(c);
}

/* Round numbers of one term confirm nothing in another, though they be the same. */
static void rounds_belong_to_a_term(void)
{
    struct cluster *c = leader_of(3);
    cluster_read(c, 1, 1);
    uint64_t round = round_sent(c);
    cluster_append(c, 1, APPEND(2, 3, 2, 2, NULL, 2));
    cluster_forget(c);
    cluster_become(c, 1, RAFT_LEADER);
    raft_term term = raft_term_current(cluster_core(c, 1));
    cluster_ack(c, 1, 2, raft_last_index(cluster_core(c, 1)));
    cluster_forget(c);
    cluster_read(c, 1, 2);
    CHECK_EQ(round_sent(c), round); /* counted anew */
    cluster_feed(
        c, 1,
        (struct raft_message){.type = RAFT_HEARTBEAT_REPLY, .from = 3, .term = 2, .round = round});
    CHECK(!cluster_read_result(c, 1, 2));
    cluster_feed(c, 1,
                 (struct raft_message){
                     .type = RAFT_HEARTBEAT_REPLY, .from = 3, .term = term, .round = round});
    CHECK(cluster_read_result(c, 1, 2));
    cluster_free(c);
}

/* A change of membership shrinks the majority: what waited is confirmed by those left. */
static void majority_gets_smaller(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 4});
    cluster_elect(c, 1);
    cluster_run(c, HEARTBEAT);
    cluster_crash(c, 4);
    REQUIRE(cluster_change(c, 1, (struct raft_change){.kind = RAFT_REMOVE, .id = 4}) == 0);
    cluster_settle(c);
    cluster_crash(c, 3); /* 1 and 2 of the three that are left */
    CHECK_EQ(cluster_read(c, 1, 1), 0);
    cluster_run(c, 2 * HEARTBEAT);
    const struct raft_read_result *read = cluster_read_result(c, 1, 1);
    REQUIRE(read);
    CHECK_EQ(read->status, 0);
    cluster_free(c);
}

/* ---- through a follower ---- */

static void at_leader_and_followers(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3, .learners = 1});
    cluster_elect(c, 1);
    cluster_run(c, HEARTBEAT);
    uint64_t read = 0;
    for (uint32_t round = 1; round <= 5; round++) {
        cluster_propose(c, 1, 10);
        cluster_settle(c);
        raft_index commit = raft_commit_index(cluster_core(c, 1));
        for (raft_id id = 1; id <= 4; id++) { /* the learner too */
            read++;
            CHECK_EQ(cluster_read(c, id, read), 0);
            cluster_settle(c);
            const struct raft_read_result *result = cluster_read_result(c, id, read);
            REQUIRE(result);
            CHECK_EQ(result->status, 0);
            CHECK_EQ(result->index, commit);
            /* An idle follower learns of the commit index by the answer, and need not wait for the
             * next heartbeat. */
            CHECK_EQ(c->nodes[id].applied, commit);
        }
    }
    cluster_free(c);
}

static void follower_asks_the_leader(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    CHECK_EQ(cluster_read(c, 1, 5), ERR_NO_LEADER); /* none is known */
    cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2), 1));
    for (uint64_t id = 6; id <= 9; id++)
        CHECK_EQ(cluster_read(c, 1, id), 0);
    CHECK_EQ(cluster_count(c, RAFT_READ_INDEX, 1, 2), 1); /* one request is out at a time */
    struct cluster_packet asked;
    REQUIRE(cluster_take(c, RAFT_READ_INDEX, 1, 2, &asked));
    struct raft_message reply = {.type = RAFT_READ_INDEX_REPLY,
                                 .from = 2,
                                 .term = 2,
                                 .granted = true,
                                 .read_id = asked.m.read_id,
                                 .read_index = 2,
                                 .commit = 2};
    reply.from = 3; /* not the leader */
    cluster_feed(c, 1, reply);
    CHECK(!cluster_read_result(c, 1, 6));
    reply.from = 2;
    cluster_feed(c, 1, reply);
    REQUIRE(cluster_read_result(c, 1, 6));
    CHECK_EQ(cluster_read_result(c, 1, 6)->index, 2);
    CHECK_EQ(c->nodes[1].applied, 2);
    CHECK(!cluster_read_result(c, 1, 7)); /* came after the request: goes with the next */
    REQUIRE(cluster_take(c, RAFT_READ_INDEX, 1, 2, &asked));
    CHECK(asked.m.read_id > reply.read_id);
    cluster_feed(c, 1, reply); /* the first answer again */
    CHECK(!cluster_read_result(c, 1, 7));
    reply.read_id = asked.m.read_id;
    cluster_feed(c, 1, reply);
    for (uint64_t id = 7; id <= 9; id++)
        CHECK(cluster_read_result(c, 1, id));
    CHECK_EQ(c->nodes[1].read_count, 4);
    cluster_free(c);
}

/* A lost request is repeated under a new number; an answer to either serves what was asked before
 * it. */
static void lost_request_is_repeated(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_run(c, HEARTBEAT);
    c->dropped[RAFT_READ_INDEX] = true;
    CHECK_EQ(cluster_read(c, 2, 1), 0);
    cluster_run(c, 3 * HEARTBEAT);
    CHECK(!cluster_read_result(c, 2, 1));
    c->dropped[RAFT_READ_INDEX] = false;
    c->dropped[RAFT_READ_INDEX_REPLY] = true;
    cluster_run(c, 3 * HEARTBEAT);
    CHECK(!cluster_read_result(c, 2, 1));
    c->dropped[RAFT_READ_INDEX_REPLY] = false;
    cluster_run(c, 3 * HEARTBEAT);
    const struct raft_read_result *read = cluster_read_result(c, 2, 1);
    REQUIRE(read);
    CHECK_EQ(read->status, 0);
    cluster_free(c);
}

/* Asked of one that no longer leads: refused, and the follower's read is dropped or asked of the
 * new leader. */
static void asked_of_an_old_leader(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_run(c, HEARTBEAT);
    cluster_hold(c, 3, 1);
    CHECK_EQ(cluster_read(c, 3, 1), 0); /* on its way to 1 */
    REQUIRE(cluster_transfer(c, 1, 2) == 0);
    cluster_settle(c);
    REQUIRE(cluster_leader(c) == 2);
    cluster_heal(c);
    cluster_propose(c, 2, 1);
    cluster_run(c, 3 * HEARTBEAT);
    const struct raft_read_result *read = cluster_read_result(c, 3, 1);
    REQUIRE(read);
    CHECK(read->status == ERR_NO_LEADER ||
          read->index >= raft_commit_index(cluster_core(c, 2)) - 1);
    CHECK_EQ(cluster_read(c, 3, 2), 0);
    cluster_run(c, HEARTBEAT);
    read = cluster_read_result(c, 3, 2);
    REQUIRE(read);
    CHECK_EQ(read->status, 0);
    CHECK_EQ(read->index, raft_commit_index(cluster_core(c, 2)));
    cluster_free(c);
}

/* Numbers of requests do not come back after a restart: an answer to the life before serves
 * nothing. */
static void answer_to_an_earlier_life(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2), 1));
    CHECK_EQ(cluster_read(c, 1, 1), 0);
    struct cluster_packet before;
    REQUIRE(cluster_take(c, RAFT_READ_INDEX, 1, 2, &before));
    cluster_restart(c, 1);
    cluster_sleep(c, 1000);
    cluster_append(c, 1, APPEND(2, 2, 2, 2, NULL, 1));
    CHECK_EQ(cluster_read(c, 1, 1), 0);
    struct raft_message reply = {.type = RAFT_READ_INDEX_REPLY,
                                 .from = 2,
                                 .term = 2,
                                 .granted = true,
                                 .read_id = before.m.read_id,
                                 .read_index = 1,
                                 .commit = 1};
    cluster_feed(c, 1, reply);
    CHECK(!cluster_read_result(c, 1, 1));
    cluster_free(c);
}

static void limits_of_reads(void)
{
    struct cluster *c = leader_of(3);
    int status = 0;
    uint64_t id = 0;
    while (status == 0 && id < RAFT_READS_MAX + 10)
        status = cluster_read(c, 1, ++id);
    CHECK_EQ(status, ERR_OVERLOADED);
    CHECK_EQ(id, RAFT_READS_MAX + 1);
    for (int i = 0; i < 3; i++)
        cluster_beat_reply(c, 1, 2, round_sent(c));
    CHECK_EQ(c->nodes[1].read_count, RAFT_READS_MAX);
    CHECK_EQ(cluster_read(c, 1, id), 0); /* room again: nothing is kept of those answered */
    cluster_free(c);
}

/* A request that is repeated bears another number: what came meanwhile goes with it. */
static void repeated_under_a_new_number(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2), 2));
    CHECK_EQ(cluster_read(c, 1, 1), 0);
    struct cluster_packet first, second;
    REQUIRE(cluster_take(c, RAFT_READ_INDEX, 1, 2, &first));
    CHECK_EQ(cluster_read(c, 1, 2), 0);
    CHECK(!cluster_take(c, RAFT_READ_INDEX, 1, 2, &second));
    cluster_sleep(c, HEARTBEAT);
    cluster_tick(c, 1);
    REQUIRE(cluster_take(c, RAFT_READ_INDEX, 1, 2, &second));
    CHECK(second.m.read_id > first.m.read_id);
    cluster_feed(c, 1,
                 (struct raft_message){.type = RAFT_READ_INDEX_REPLY,
                                       .from = 2,
                                       .term = 2,
                                       .granted = true,
                                       .read_id = second.m.read_id,
                                       .read_index = 2});
    CHECK(cluster_read_result(c, 1, 1));
    CHECK(cluster_read_result(c, 1, 2));
    cluster_free(c);
}

/* The leader's commit index is taken over as far as this leader has verified our log. */
static void reply_commits_what_is_verified(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 1, 1)});
    cluster_append(c, 1, APPEND(2, 2, 1, 1, NULL, 1));
    CHECK_EQ(cluster_read(c, 1, 1), 0);
    struct cluster_packet asked;
    REQUIRE(cluster_take(c, RAFT_READ_INDEX, 1, 2, &asked));
    cluster_feed(c, 1,
                 (struct raft_message){.type = RAFT_READ_INDEX_REPLY,
                                       .from = 2,
                                       .term = 2,
                                       .granted = true,
                                       .read_id = asked.m.read_id,
                                       .read_index = 3,
                                       .commit = 3});
    REQUIRE(cluster_read_result(c, 1, 1));
    CHECK_EQ(cluster_read_result(c, 1, 1)->index, 3); /* to be waited for */
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 1);
    cluster_free(c);
}

static const struct test_case cases[] = {
    {"§6.4 a read is served once a majority has confirmed leadership", confirmed_by_a_majority},
    {"§6.4 only answers to what was sent after the read confirm it", old_answers_do_not_confirm},
    {"§6.4 the read index is the commit index of its time", index_of_the_time},
    {"§6.4 any number of reads share a round", many_share_a_round},
    {"§6.4 a confirmed round confirms those before it", rounds_are_cumulative},
    {"§6.4 replies to appends confirm too", appends_confirm_too},
    {"§6.4 a single voter reads at once", single_voter_reads_at_once},
    {"§6.4 learners confirm nothing", learners_confirm_nothing},
    {"§6.4 a new leader's reads wait for its no-op", new_leader_waits_for_its_noop},
    {"§6.4 reads are dropped with leadership, each once", dropped_with_leadership},
    {"§6.4 a partitioned leader serves nothing", partitioned_leader_serves_nothing},
    {"§6.4 rounds belong to a term", rounds_belong_to_a_term},
    {"§6.4 a smaller majority confirms what waited", majority_gets_smaller},
    {"§6.4 reads at leader, followers and a learner over several rounds", at_leader_and_followers},
    {"§6.4 a follower asks its leader, one request for all that wait", follower_asks_the_leader},
    {"§6.4 a follower's lost request is repeated", lost_request_is_repeated},
    {"§6.4 a request to an old leader serves nothing stale", asked_of_an_old_leader},
    {"§6.4 an answer to an earlier life serves nothing", answer_to_an_earlier_life},
    {"§6.4 reads in progress are limited, and freed when answered", limits_of_reads},
    {"§6.4 a repeated request has a new number", repeated_under_a_new_number},
    {"§6.4 a reply's commit index counts as far as the log is verified",
     reply_commits_what_is_verified},
};

CASES_MAIN(cases)
