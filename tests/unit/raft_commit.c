/* Commitment (§3.5, §3.6): what counts as replicated, and entries of earlier terms (§3.6.2,
 * Figure 3.7). */
#include "lib/base/err.h"
#include "tests/support/cluster.h"

static void leader_commits_on_majority(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct raft *r = cluster_core(c, 1);
    cluster_become_ready(c, 1);
    cluster_propose(c, 1, 1);
    CHECK_EQ(raft_commit_index(r), 2);
    CHECK_EQ(c->nodes[1].applied, 2);
    cluster_forget(c);
    cluster_ack(c, 1, 2, 3);
    CHECK_EQ(raft_commit_index(r), 3);
    CHECK_EQ(c->nodes[1].update.commit, 3);
    CHECK_EQ(c->nodes[1].applied, 3);
    /* The followers learn it by the appends and heartbeats from now on, at the latest. */
    cluster_propose(c, 1, 1);
    const struct raft_message *m = cluster_sent(c, RAFT_APPEND, 1, 2);
    REQUIRE(m);
    CHECK_EQ(m->commit, 3);
    cluster_forget(c);
    cluster_sleep(c, HEARTBEAT);
    cluster_tick(c, 1);
    m = cluster_sent(c, RAFT_HEARTBEAT, 1, 2);
    REQUIRE(m);
    CHECK_EQ(m->commit, 3);
    cluster_free(c);
}

static void acknowledgements_needed(void)
{
    static const struct {
        uint32_t voters, learners, acknowledging;
        bool committed;
    } table[] = {
        {1, 0, 0, true},  {2, 0, 0, false}, {2, 0, 1, true},  {3, 0, 0, false},
        {3, 0, 1, true},  {3, 0, 2, true},  {4, 0, 1, false}, {4, 0, 2, true},
        {5, 0, 0, false}, {5, 0, 1, false}, {5, 0, 2, true},  {5, 0, 3, true},
        {5, 0, 4, true},  {1, 2, 0, true},  {7, 0, 2, false}, {7, 0, 3, true},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("%u voters, %u acknowledge", table[i].voters, table[i].acknowledging);
        struct cluster *c = cluster_new((struct cluster_plan){
            .alone = true, .voters = table[i].voters, .learners = table[i].learners});
        cluster_become_ready(c, 1);
        cluster_propose(c, 1, 1);
        for (raft_id from = 2; from < 2 + table[i].acknowledging; from++)
            for (int twice = 0; twice < 2; twice++)
                cluster_ack(c, 1, from, 3);
        CHECK_EQ(raft_commit_index(cluster_core(c, 1)), table[i].committed ? 3 : 2);
        cluster_free(c);
    }
}

static void learners_do_not_commit(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.alone = true, .voters = 3, .learners = 3});
    cluster_become_ready(c, 1);
    cluster_propose(c, 1, 1);
    for (raft_id from = 4; from <= 6; from++)
        cluster_ack(c, 1, from, 3);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 2);
    cluster_free(c);
}

/* What is on a majority is committed when it is of the leader's term, else not (Figure 3.7). */
static void majority_and_term(void)
{
    const struct {
        uint32_t voters;
        const raft_term *log; /* before the no-op of term 5 */
        raft_index match[4];  /* of the others; the no-op's index is the log's length + 1 */
        raft_index commit;
    } table[] = {
        {1, TERMS(1, 2), {0}, 3},
        {3, TERMS(1, 2), {3, 0}, 3},
        {3, TERMS(1, 2), {2, 2}, 1},
        {3, TERMS(1, 2), {2, 0}, 1},
        {3, TERMS(1, 4, 4, 4), {5, 3}, 5},
        {3, TERMS(1, 4, 4, 4), {4, 4}, 1},
        {4, TERMS(1, 2), {3, 0, 0}, 1},
        {4, TERMS(1, 2), {3, 3, 0}, 3},
        {4, TERMS(1, 2), {2, 2, 2}, 1},
        {4, TERMS(1, 2), {3, 2, 2}, 1},
        {5, TERMS(1, 2, 3), {4, 4, 0, 0}, 4},
        {5, TERMS(1, 2, 3), {4, 3, 3, 3}, 1},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu", i);
        struct cluster *c = cluster_new((struct cluster_plan){
            .alone = true, .voters = table[i].voters, .log = table[i].log, .term = 4});
        cluster_become(c, 1, RAFT_LEADER);
        for (raft_id from = 2; from <= table[i].voters; from++)
            if (table[i].match[from - 2])
                cluster_ack(c, 1, from, table[i].match[from - 2]);
        CHECK_EQ(raft_commit_index(cluster_core(c, 1)), table[i].commit);
        cluster_free(c);
    }
}

/* Entries of earlier terms are committed by the one of this term behind them, and applied in order.
 */
static void preceding_entries_commit_with_it(void)
{
    const raft_term *logs[] = {TERMS(1), TERMS(1, 2), TERMS(1, 1, 2), TERMS(1, 1, 2, 2, 3)};
    for (size_t i = 0; i < 4; i++) {
        case_row("log %zu", i);
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .log = logs[i], .term = 3});
        struct raft *r = cluster_core(c, 1);
        cluster_become(c, 1, RAFT_LEADER);
        raft_index last = raft_last_index(r);
        cluster_ack(c, 1, 2, last - 1);
        cluster_ack(c, 1, 3, last - 1);
        CHECK_EQ(raft_commit_index(r), 1);
        cluster_ack(c, 1, 2, last);
        CHECK_EQ(raft_commit_index(r), last);
        CHECK_EQ(c->nodes[1].applied, last);
        cluster_free(c);
    }
}

/* Without an entry of the new term nothing inherited commits; the no-op brings one, without any
 * proposal. */
static void change_of_leader(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.voters = 5, .append_entries_max = 1, .inflight_max = 1});
    cluster_elect(c, 1);
    for (raft_id peer = 3; peer <= 5; peer++)
        cluster_cut_both(c, 1, peer);
    cluster_propose(c, 1, 2); /* on 1 and 2 only */
    cluster_run(c, HEARTBEAT);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 2);
    cluster_heal(c);
    cluster_isolate(c, 1);
    c->dropped[RAFT_APPEND] = true;
    c->favoured = 2;
    for (int i = 0; i < 100 && cluster_leader(c) != 2; i++)
        cluster_run(c, HEARTBEAT / 4);
    c->favoured = 0;
    c->dropped[RAFT_APPEND] = false;
    REQUIRE(raft_state(cluster_core(c, 2)) == RAFT_LEADER);
    bool inherited = false;
    for (int i = 0; i < 200 && raft_commit_index(cluster_core(c, 2)) == 2; i++) {
        if (!cluster_pass(c, ANY, 0, 2) && !cluster_pass(c, ANY, 2, 0)) {
            cluster_sleep(c, HEARTBEAT);
            cluster_tick(c, 2);
        }
        inherited = inherited ||
                    (cluster_progress(c, 2, 3).match == 4 && cluster_progress(c, 2, 4).match == 4);
    }
    CHECK(inherited); /* they were on a majority, and known to be … */
    CHECK_EQ(raft_commit_index(cluster_core(c, 2)), 5); /* … before the no-op committed them */
    cluster_heal(c);
    cluster_run(c, ELECTION_TIMEOUT);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 5);
    CHECK(cluster_equal_logs(c));
    cluster_free(c);
}

/* Figure 3.7 at (c): S1, again leader, has brought its entry of term 2 to a majority. */
static struct cluster *figure_37_c(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.voters = 5, .append_entries_max = 1, .inflight_max = 1});
    const raft_term *logs[] = {TERMS(1, 2), TERMS(1, 2), TERMS(1), TERMS(1), TERMS(1, 3)};
    for (raft_id id = 1; id <= 5; id++) {
        cluster_crash(c, id);
        cluster_disk_write(c, id, id <= 2 ? 2 : 3, id == 2 ? 1 : id <= 2 ? id : 5, logs[id - 1], 1);
        if (id != 5)
            cluster_restart(c, id);
    }
    for (raft_id peer = 2; peer <= 4; peer++)
        cluster_hold(c, peer, 1);
    c->dropped[RAFT_APPEND] = true;
    for (int i = 0; i < 200 && raft_state(cluster_core(c, 1)) != RAFT_LEADER; i++) {
        c->favoured = 1;
        cluster_run(c, HEARTBEAT / 4);
        for (raft_id peer = 2; peer <= 4; peer++)
            while (cluster_pass(c, RAFT_PRE_VOTE_REPLY, peer, 1) ||
                   cluster_pass(c, RAFT_VOTE_REPLY, peer, 1))
                ;
    }
    c->favoured = 0;
    c->dropped[RAFT_APPEND] = false;
    REQUIRE(raft_state(cluster_core(c, 1)) == RAFT_LEADER);
    return c;
}

/* Appends go to `peer` and its answers back, until the leader knows it to have `match`. */
static void replicate_up_to(struct cluster *c, raft_id peer, raft_index match)
{
    for (raft_id other = 2; other <= 5; other++)
        if (other != peer)
            cluster_cut_both(c, 1, other);
    for (int i = 0; i < 100 && cluster_progress(c, 1, peer).match < match; i++) {
        if (cluster_pass(c, RAFT_APPEND, 1, peer) || cluster_pass(c, RAFT_HEARTBEAT, 1, peer) ||
            cluster_pass(c, RAFT_APPEND_REPLY, peer, 1) ||
            cluster_pass(c, RAFT_HEARTBEAT_REPLY, peer, 1))
            continue;
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
    }
    CHECK_EQ(cluster_progress(c, 1, peer).match, match);
    cluster_forget(c);
    cluster_heal(c);
}

static void figure_37_d(void)
{
    struct cluster *c = figure_37_c();
    cluster_ack(c, 1, 2, 2);  /* which is true */
    replicate_up_to(c, 3, 2); /* (2, term 2) is on S1, S2, S3: a majority, and yet not committed */
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 1);
    cluster_crash(c, 1);
    cluster_restart(c, 5);
    cluster_elect(c, 5); /* S2, S3 and S4 vote for it: its last term is 3 */
    cluster_restart(c, 1);
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    for (raft_id id = 1; id <= 5; id++)
        CHECK_EQ(cluster_entry(c, id, 2)->term, 3); /* overwritten, and nobody had applied it */
    CHECK(cluster_equal_logs(c));
    cluster_free(c);
}

static void figure_37_e(void)
{
    struct cluster *c = figure_37_c();
    replicate_up_to(c, 2, 3);
    replicate_up_to(c, 3, 3); /* the entry of its own term is on a majority */
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 3);
    cluster_crash(c, 1);
    cluster_restart(c, 5);
    c->favoured = 5;
    cluster_run(c, 10 * ELECTION_TIMEOUT);
    c->favoured = 0;
    CHECK_EQ(cluster_leader(c), 0); /* S5 cannot win */
    cluster_run(c, 10 * ELECTION_TIMEOUT);
    REQUIRE(cluster_leader(c) == 2 || cluster_leader(c) == 3);
    cluster_restart(c, 1);
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    for (raft_id id = 1; id <= 5; id++)
        CHECK_EQ(cluster_entry(c, id, 2)->term, 2);
    cluster_free(c);
}

static void needs_a_live_majority(void)
{
    static const struct {
        uint32_t voters, dead;
        bool committed;
    } table[] = {{1, 0, true}, {2, 1, false}, {3, 0, true}, {3, 1, true}, {3, 2, false},
                 {4, 1, true}, {4, 2, false}, {5, 2, true}, {5, 3, false}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("%u voters, %u dead", table[i].voters, table[i].dead);
        struct cluster *c = cluster_new((struct cluster_plan){.voters = table[i].voters});
        cluster_elect(c, 1);
        for (uint32_t k = 0; k < table[i].dead; k++)
            cluster_crash(c, table[i].voters - k);
        CHECK_EQ(cluster_propose(c, 1, 1), 0);
        cluster_run(c, 2 * HEARTBEAT);
        for (raft_id id = 1; id <= table[i].voters - table[i].dead; id++) {
            CHECK_EQ(raft_commit_index(cluster_core(c, id)), table[i].committed ? 3 : 2);
            CHECK_EQ(raft_last_index(cluster_core(c, id)), 3);
        }
        cluster_free(c);
    }
}

/* Given to a follower it is refused with the name of the leader, to whom the carrier then passes
 * it. */
static void proposal_at_a_follower(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3, .learners = 1});
    cluster_elect(c, 2);
    cluster_run(c, 2 * HEARTBEAT);
    for (raft_id at = 1; at <= 4; at++) {
        raft_id to = raft_leader(cluster_core(c, at));
        CHECK_EQ(to, 2);
        CHECK_EQ(cluster_propose(c, at, 1), at == 2 ? 0 : ERR_NO_LEADER);
        if (at != to)
            CHECK_EQ(cluster_propose(c, to, 1), 0);
        cluster_run(c, 2 * HEARTBEAT);
        for (raft_id id = 1; id <= 4; id++)
            CHECK_EQ(c->nodes[id].applied, 2 + at);
    }
    cluster_free(c);
}

static void single_voter_commits(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 1});
    cluster_run(c, 1);
    REQUIRE(cluster_leader(c) == 1);
    cluster_propose(c, 1, 2);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 4);
    CHECK_EQ(c->nodes[1].applied, 4);
    cluster_free(c);
}

/* etcd 14370: a single voter's entry is committed when its disk has it, not before. */
static void single_voter_waits_for_its_disk(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 1});
    cluster_run(c, 1);
    cluster_disk_hold(c, 1);
    cluster_propose(c, 1, 1);
    cluster_propose(c, 1, 1);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 2);
    CHECK(cluster_disk_step(c, 1));
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 3);
    CHECK_EQ(c->nodes[1].applied, 3);
    cluster_disk_release(c, 1);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 4);
    cluster_free(c);
}

/* §10.2.1: the leader writes in parallel; a majority without it commits, but it applies only what
 * its own disk has. */
static void leader_commits_without_its_disk(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct raft *r = cluster_core(c, 1);
    cluster_become_ready(c, 1);
    cluster_disk_hold(c, 1);
    cluster_propose(c, 1, 1);
    CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 0), 2); /* sent before it is durable here */
    cluster_ack(c, 1, 2, 3);
    CHECK_EQ(raft_commit_index(r), 2); /* one of three, since ours is not durable */
    cluster_ack(c, 1, 3, 3);
    CHECK_EQ(raft_commit_index(r), 3);
    CHECK_EQ(raft_durable_index(r), 2);
    CHECK_EQ(c->nodes[1].applied, 2);
    cluster_disk_release(c, 1);
    CHECK_EQ(raft_durable_index(r), 3);
    CHECK_EQ(c->nodes[1].applied, 3);
    cluster_free(c);
}

static void commit_never_goes_back(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct raft *r = cluster_core(c, 1);
    cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2, 2), 3));
    CHECK_EQ(raft_commit_index(r), 3);
    cluster_append(c, 1, APPEND(2, 2, 3, 2, TERMS(2), 2)); /* an older one, overtaken */
    CHECK_EQ(raft_commit_index(r), 3);
    cluster_append(c, 1, APPEND(2, 2, 4, 2, NULL, 9)); /* beyond its end: up to what it has */
    CHECK_EQ(raft_commit_index(r), 4);
    cluster_append(c, 1, APPEND(2, 2, 9, 2, NULL, 9)); /* refused: nothing */
    CHECK_EQ(raft_commit_index(r), 4);
    cluster_restart(c, 1);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 4); /* what was applied */
    cluster_free(c);
}

/* An append that would cut off committed entries is a breach by its sender, not a reason to lose or
 * to stop (RedisRaft 53). */
static void committed_entries_are_never_cut_off(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 2, 2), .commit = 3});
    const struct raft_message *reply = cluster_append(c, 1, APPEND(2, 3, 1, 1, TERMS(3, 3), 3));
    CHECK(!reply || !reply->accepted);
    CHECK(cluster_log_is(c, 1, 1, TERMS(1, 2, 2)));
    CHECK_EQ(c->nodes[1].disk->last, 3);
    cluster_free(c);
}

static const struct test_case cases[] = {
    {"§3.5 an entry on a majority is committed, applied, and the followers are told",
     leader_commits_on_majority},
    {"§3.5 how many acknowledgements commit", acknowledgements_needed},
    {"§4.2.1 learners commit nothing", learners_do_not_commit},
    {"§3.6.2 only entries of the leader's term are committed by counting", majority_and_term},
    {"§3.5 all preceding entries are committed with it", preceding_entries_commit_with_it},
    {"§3.6.2 after a change of leader the no-op commits what was inherited", change_of_leader},
    {"§3.6.2 Figure 3.7 (d): an old entry on a majority can be overwritten", figure_37_d},
    {"§3.6.2 Figure 3.7 (e): an entry of the own term protects it", figure_37_e},
    {"§3.5 a proposal needs a live majority", needs_a_live_majority},
    {"§3.5 a proposal at a follower is refused, and commits at the leader it names",
     proposal_at_a_follower},
    {"§3.5 a single voter commits by itself", single_voter_commits},
    {"§10.2.1 a single voter's entry is committed once it is durable",
     single_voter_waits_for_its_disk},
    {"§10.2.1 the leader may commit, but not apply, what its disk has not",
     leader_commits_without_its_disk},
    {"§3.5 the commit index never goes back nor beyond the log", commit_never_goes_back},
    {"§3.6 committed entries are never cut off", committed_entries_are_never_cut_off},
};

CASES_MAIN(cases)
