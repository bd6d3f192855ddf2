/* Elections of whole clusters (§3.4), and the randomised timeouts that make them succeed. */
#include "tests/support/cluster.h"
#include "tests/unit/tap.h"

/* ---- timeouts (§3.4) ---- */

/* How long a core waits, in its state, before it begins a (new) election. */
static uint64_t drawn_timeout(uint64_t seed, enum raft_state state)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .seed = seed});
    cluster_become(c, 1, state);
    if (state == RAFT_FOLLOWER)
        cluster_append(c, 1, APPEND(2, 1, 1, 1, NULL, 1));
    cluster_forget(c);
    uint64_t begin = c->now_us;
    while (cluster_count(c, RAFT_PRE_VOTE, 1, 0) == 0 && c->now_us < begin + 5 * ELECTION_TIMEOUT) {
        c->now_us = c->nodes[1].wake_us > c->now_us ? c->nodes[1].wake_us : c->now_us + 1;
        cluster_tick(c, 1);
    }
    uint64_t waited = c->now_us - begin;
    cluster_free(c);
    return waited;
}

enum { DRAWS = 300, BUCKETS = 10 };

static void timeouts_are_spread(enum raft_state state)
{
    unsigned bucket[BUCKETS] = {0};
    for (unsigned i = 0; i < DRAWS; i++) {
        uint64_t waited = drawn_timeout(test_seed() + i, state);
        if (!CHECK(waited >= ELECTION_TIMEOUT && waited < 2 * ELECTION_TIMEOUT))
            continue;
        bucket[(waited - ELECTION_TIMEOUT) * BUCKETS / ELECTION_TIMEOUT]++;
    }
    for (int i = 0; i < BUCKETS; i++) { /* 30 expected */
        case_row("tenth %d", i);
        CHECK(bucket[i] >= 7 && bucket[i] <= 60);
    }
    case_row_done();
}

static void follower_timeouts_spread(void)
{
    timeouts_are_spread(RAFT_FOLLOWER);
}

static void candidate_timeouts_spread(void)
{
    timeouts_are_spread(RAFT_PRE_CANDIDATE);
    timeouts_are_spread(RAFT_CANDIDATE);
}

/* The first of five has a broadcast's time, a hundredth of the timeout, before the second in most
 * rounds (§3.9: 5 % expected). */
static void timeouts_rarely_meet(enum raft_state state)
{
    enum { ROUNDS = 100, SERVERS = 5, BROADCAST = ELECTION_TIMEOUT / 100 };
    unsigned conflicts = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t first = UINT64_MAX, second = UINT64_MAX;
        for (unsigned server = 0; server < SERVERS; server++) {
            uint64_t waited = drawn_timeout(test_seed() + 7919 * (uint64_t)round + server, state);
            if (waited < first) {
                second = first;
                first = waited;
            } else if (waited < second) {
                second = waited;
            }
        }
        conflicts += second - first < BROADCAST;
    }
    CHECK(conflicts <= ROUNDS * 3 / 20);
}

static void follower_timeouts_rarely_meet(void)
{
    timeouts_rarely_meet(RAFT_FOLLOWER);
}

static void candidate_timeouts_rarely_meet(void)
{
    timeouts_rarely_meet(RAFT_CANDIDATE);
}

/* Uniform over [1, 2) times the minimum: a tenth has elected by 1.1, half by 1.5, all by 2. */
static void timeout_probability(void)
{
    unsigned by_11 = 0, by_15 = 0, by_20 = 0;
    for (unsigned i = 0; i < DRAWS; i++) {
        uint64_t waited = drawn_timeout(test_seed() + 50000 + i, RAFT_FOLLOWER);
        by_11 += waited < ELECTION_TIMEOUT * 11 / 10;
        by_15 += waited < ELECTION_TIMEOUT * 3 / 2;
        by_20 += waited < ELECTION_TIMEOUT * 2;
    }
    CHECK(by_11 > DRAWS * 3 / 100 && by_11 < DRAWS * 18 / 100);
    CHECK(by_15 > DRAWS * 38 / 100 && by_15 < DRAWS * 62 / 100);
    CHECK_EQ(by_20, DRAWS);
}

static void timeout_starts_anew(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_append(c, 1, APPEND(2, 1, 1, 1, NULL, 1));
    for (int i = 0; i < 100; i++) { /* a leader's message puts it off, each time */
        cluster_sleep(c, ELECTION_TIMEOUT * 9 / 10);
        cluster_tick(c, 1);
        cluster_append(c, 1, APPEND(2, 1, 1, 1, NULL, 1));
    }
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
    CHECK_EQ(c->packet_count, 0);
    cluster_free(c);
}

/* ---- whole clusters ---- */

static void majority_elects(void)
{
    static const struct {
        uint32_t voters, dead;
        bool elects;
    } table[] = {{1, 0, true},  {2, 0, true}, {2, 1, false}, {3, 0, true}, {3, 1, true},
                 {3, 2, false}, {4, 1, true}, {4, 2, false}, {5, 2, true}, {5, 3, false}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("%u voters, %u dead", table[i].voters, table[i].dead);
        struct cluster *c = cluster_new((struct cluster_plan){.voters = table[i].voters});
        for (uint32_t k = 0; k < table[i].dead; k++)
            cluster_crash(c, table[i].voters - k);
        cluster_run(c, 10 * ELECTION_TIMEOUT);
        CHECK_EQ(cluster_leader(c) != 0, table[i].elects);
        raft_term term = raft_term_current(cluster_core(c, 1));
        CHECK(table[i].elects ? term >= 2 : term == 1); /* §9.6: no term is used up in vain */
        cluster_free(c);
    }
}

/* Who has the longer log wins over one with the shorter, whose votes are refused. */
static void longer_log_wins(void)
{
    const struct {
        const raft_term *two, *three;
        bool elected;
    } table[] = {
        {TERMS(1, 1), TERMS(1, 1), true},        {TERMS(1, 1), TERMS(1, 1, 1), true},
        {TERMS(1, 2), TERMS(1, 2), false},       {TERMS(1, 2), TERMS(1, 1), true},
        {TERMS(1, 1, 1), TERMS(1, 1, 1), false},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu", i);
        struct cluster *c = cluster_new((struct cluster_plan){.log = TERMS(1, 1)});
        for (raft_id id = 2; id <= 3; id++) {
            cluster_crash(c, id);
            cluster_disk_write(c, id, 2, 0, id == 2 ? table[i].two : table[i].three, 1);
            cluster_restart(c, id);
        }
        c->favoured = 1;
        cluster_run(c, 10 * ELECTION_TIMEOUT);
        c->favoured = 0;
        CHECK_EQ(cluster_leader(c), table[i].elected ? 1 : 0);
        cluster_free(c);
    }
}

static void everybody_can_lead(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    for (int turn = 0; turn < 9; turn++) {
        raft_id next = (raft_id)turn % 3 + 1, old = cluster_leader(c);
        if (old)
            cluster_isolate(c, old);
        cluster_elect(c, next);
        cluster_heal(c);
        cluster_run(c, 2 * HEARTBEAT);
        for (raft_id id = 1; id <= 3; id++) {
            CHECK_EQ(raft_state(cluster_core(c, id)), id == next ? RAFT_LEADER : RAFT_FOLLOWER);
            CHECK_EQ(raft_leader(cluster_core(c, id)), next);
        }
    }
    cluster_free(c);
}

static void single_voter_leads_at_once(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.voters = 1, .learners = 1, .alone = true});
    cluster_tick(c, 1);
    struct raft *r = cluster_core(c, 1);
    CHECK_EQ(raft_state(r), RAFT_LEADER);
    CHECK_EQ(raft_term_current(r), 2);
    CHECK_EQ(raft_vote(r), 1);
    CHECK_EQ(c->nodes[1].disk->vote, 1);
    CHECK(raft_leader_ready(r));
    CHECK_EQ(c->now_us, CLUSTER_START);
    cluster_free(c);
}

/* Only a voter of its own configuration campaigns. */
static void only_voters_campaign(void)
{
    static const struct {
        const char *what;
        uint32_t others; /* voters besides */
        bool in;
        uint32_t flags;
        bool campaigns;
    } table[] = {
        {"voter among three", 2, true, RAFT_VOTER, true},
        {"the only voter", 0, true, RAFT_VOTER, true},
        {"not a member", 2, false, 0, false},
        {"learner", 2, true, 0, false},
        {"learner to be promoted", 2, true, RAFT_AUTO_PROMOTE, false},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("%s", table[i].what);
        struct raft_configuration configuration = {.index = 1};
        if (table[i].in)
            configuration_add(&configuration, 1, table[i].flags);
        for (raft_id id = 2; id < 2 + table[i].others; id++)
            configuration_add(&configuration, id, RAFT_VOTER);
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .configuration = &configuration});
        for (int k = 0; k < 50; k++) {
            cluster_sleep(c, HEARTBEAT);
            cluster_tick(c, 1);
        }
        CHECK_EQ(raft_state(cluster_core(c, 1)) != RAFT_FOLLOWER, table[i].campaigns);
        CHECK(table[i].campaigns || c->packet_count == 0);
        cluster_free(c);
    }
    case_row_done();
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 1, .spares = 1});
    cluster_run(c,
                10 * ELECTION_TIMEOUT); /* no configuration at all: a node that waits to be added */
    CHECK_EQ(raft_state(cluster_core(c, 2)), RAFT_FOLLOWER);
    CHECK_EQ(raft_term_current(cluster_core(c, 2)), 0);
    cluster_free(c);
}

/* Two candidates that cannot hear each other: one wins, and the other, healed, gives in to it. */
static void dueling_candidates(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_cut_both(c, 1, 3);
    cluster_elect(c, 1);
    cluster_run(c, 5 * ELECTION_TIMEOUT);
    struct raft *one = cluster_core(c, 1), *three = cluster_core(c, 3);
    CHECK_EQ(raft_state(one), RAFT_LEADER);
    CHECK(raft_state(three) != RAFT_LEADER);
    raft_term term = raft_term_current(one);
    cluster_propose(c, 1, 1);
    cluster_settle(c);
    cluster_heal(c);
    cluster_run(c, 3 * ELECTION_TIMEOUT);
    CHECK_EQ(cluster_leader(c), 1);
    CHECK_EQ(raft_term_current(one), term); /* §9.6: undisturbed */
    CHECK_EQ(raft_state(three), RAFT_FOLLOWER);
    CHECK(cluster_equal_logs(c));
    CHECK_EQ(raft_commit_index(three), raft_last_index(one));
    cluster_free(c);
}

/* A candidate of the term that another has won meanwhile concedes, and gets the winner's log. */
static void candidate_concedes_in_a_cluster(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_isolate(c, 1);
    cluster_elect(c, 3);
    cluster_propose(c, 3, 1);
    cluster_settle(c);
    cluster_heal(c);
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    struct raft *one = cluster_core(c, 1);
    CHECK_EQ(raft_state(one), RAFT_FOLLOWER);
    CHECK_EQ(raft_leader(one), 3);
    CHECK_EQ(raft_term_current(one), raft_term_current(cluster_core(c, 3)));
    CHECK(cluster_equal_logs(c));
    CHECK_EQ(raft_commit_index(one), raft_last_index(one));
    cluster_free(c);
}

static void split_vote_is_resolved(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_crash(c, 1);
    raft_term term = raft_term_current(cluster_core(c, 2));
    /* Both stand at the same time, and each has given its vote to itself. */
    cluster_hold(c, 2, 3);
    cluster_hold(c, 3, 2);
    for (raft_id id = 2; id <= 3; id++) {
        for (int i = 0; i < 30 && cluster_count(c, RAFT_PRE_VOTE, id, 5 - id) == 0; i++) {
            cluster_sleep(c, HEARTBEAT);
            cluster_tick(c, 2);
            cluster_tick(c, 3);
        }
        REQUIRE(cluster_pass(c, RAFT_PRE_VOTE, id, 5 - id) ||
                raft_state(cluster_core(c, id)) == RAFT_CANDIDATE);
    }
    cluster_pass(c, RAFT_PRE_VOTE_REPLY, 2, 3);
    cluster_pass(c, RAFT_PRE_VOTE_REPLY, 3, 2);
    CHECK_EQ(raft_state(cluster_core(c, 2)), RAFT_CANDIDATE);
    CHECK_EQ(raft_state(cluster_core(c, 3)), RAFT_CANDIDATE);
    CHECK_EQ(raft_vote(cluster_core(c, 2)), 2);
    CHECK_EQ(raft_vote(cluster_core(c, 3)), 3);
    cluster_heal(c);
    cluster_settle(c);
    CHECK_EQ(cluster_leader(c), 0);
    CHECK_EQ(raft_term_current(cluster_core(c, 2)), term + 1);
    cluster_run(c, 10 * ELECTION_TIMEOUT);
    raft_id leader = cluster_leader(c);
    REQUIRE(leader);
    CHECK(raft_leader_ready(cluster_core(c, leader)));
    CHECK(raft_term_current(cluster_core(c, leader)) >= term + 2);
    cluster_free(c);
}

/* Started again, the only voter leads at once if that it is the only one is committed: else another
 * may lead still, with a lease that its forgotten vote supported (§6.4.1). */
static void only_voter_restarts(void)
{
    for (raft_index applied = 1; applied <= 2; applied++) {
        case_row("applied %u", (unsigned)applied);
        struct raft_configuration alone = cluster_configuration(2, 1, 0);
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .voters = 2});
        struct cluster_append a = APPEND(2, 2, 1, 1, TERMS(2), applied);
        a.configuration = &alone;
        cluster_append(c, 1, a);
        CHECK_EQ(c->nodes[1].applied, applied);
        cluster_restart(c, 1);
        cluster_tick(c, 1);
        CHECK_EQ(raft_state(cluster_core(c, 1)), applied == 2 ? RAFT_LEADER : RAFT_FOLLOWER);
        cluster_sleep(c, ELECTION_TIMEOUT - 1);
        cluster_tick(c, 1);
        CHECK_EQ(raft_state(cluster_core(c, 1)), applied == 2 ? RAFT_LEADER : RAFT_FOLLOWER);
        cluster_sleep(c, ELECTION_TIMEOUT + 1);
        cluster_tick(c, 1);
        CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_LEADER);
        cluster_free(c);
    }
}

static const struct test_case cases[] = {
    {"§3.4 election timeouts of followers spread over one to two minimums",
     follower_timeouts_spread},
    {"§3.4 election timeouts of candidates spread over one to two minimums",
     candidate_timeouts_spread},
    {"§3.4 followers rarely time out together", follower_timeouts_rarely_meet},
    {"§3.4 candidates rarely time out together", candidate_timeouts_rarely_meet},
    {"§3.4 the timeout's distribution is uniform", timeout_probability},
    {"§3.4 hearing the leader starts the election timeout anew", timeout_starts_anew},
    {"§3.4 a majority elects a leader, a minority none", majority_elects},
    {"§3.4 the longer log wins the election", longer_log_wins},
    {"§3.4 each server in turn can lead", everybody_can_lead},
    {"§3.4 a single voter leads at once", single_voter_leads_at_once},
    {"§4.2.2 only a voter of its own configuration campaigns", only_voters_campaign},
    {"§3.4 dueling candidates: one leads, the other gives in", dueling_candidates},
    {"§3.4 a deposed leader concedes and gets the log of the new one",
     candidate_concedes_in_a_cluster},
    {"§3.4 a split vote is resolved in a later round", split_vote_is_resolved},
    {"§6.4.1 the only voter, started again, leads at once if that is committed",
     only_voter_restarts},
};

CASES_MAIN(cases)
