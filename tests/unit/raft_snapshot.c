/* Snapshots and compaction (§5), as far as the core is concerned: when the leader asks for one to
 * be sent, and what a follower's log becomes. */
#include "lib/base/err.h"
#include "tests/support/cluster.h"

/* ---- the leader ---- */

/* A lone leader of term 2 with entries up to 12, all committed by 3, its log compacted up to 10;
 * follower 2 is at 2 and answers. */
static struct cluster *compacted_leader(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_become_ready(c, 1);
    cluster_propose(c, 1, 10);
    cluster_ack(c, 1, 3, 12);
    cluster_compact(c, 1, 10);
    cluster_unreachable(c, 1, 2);
    cluster_forget(c);
    return c;
}

static void needs_snapshot(struct cluster *c)
{
    cluster_beat_reply(c, 1, 2, 0);
    REQUIRE(cluster_count(c, RAFT_SEND_SNAPSHOT, 1, 2) == 1);
}

static void asked_for_below_the_log(void)
{
    struct cluster *c = compacted_leader();
    CHECK_EQ(cluster_progress(c, 1, 2).match, 2);
    cluster_beat_reply(c, 1, 2, 0);
    const struct raft_message *m = cluster_sent(c, RAFT_SEND_SNAPSHOT, 1, 2);
    REQUIRE(m);
    CHECK_EQ(m->snapshot_index, 10);
    CHECK_EQ(m->term, 2);
    CHECK_EQ(cluster_progress(c, 1, 2).state, RAFT_SNAPSHOT);
    CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), 0);
    cluster_free(c);
}

/* Entries just behind the snapshot are appended, with the snapshot's end as the entry before. */
static void not_asked_for_at_the_edge(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_become_ready(c, 1);
    cluster_propose(c, 1, 10);
    cluster_ack(c, 1, 3, 12);
    cluster_ack(c, 1, 2, 10);
    cluster_compact(c, 1, 10);
    cluster_unreachable(c, 1, 2);
    cluster_forget(c);
    cluster_beat_reply(c, 1, 2, 0);
    CHECK_EQ(cluster_count(c, RAFT_SEND_SNAPSHOT, 1, 0), 0);
    const struct raft_message *m = cluster_sent(c, RAFT_APPEND, 1, 2);
    REQUIRE(m);
    CHECK_EQ(m->prev_index, 10);
    CHECK_EQ(m->prev_term, 2);
    CHECK_EQ(m->entry_count, 2);
    cluster_free(c);
}

static void not_to_one_that_is_silent(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    cluster_isolate(c, 3);
    cluster_propose(c, 1, 10);
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    cluster_compact(c, 1, 12);
    cluster_unreachable(c, 1, 3);
    cluster_propose(c, 1, 1);
    uint32_t asked = 0;
    for (int i = 0; i < 30; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
        asked += cluster_count(c, RAFT_SEND_SNAPSHOT, 1, 3);
        cluster_settle(c);
    }
    CHECK_EQ(asked, 0);
    cluster_heal(c); /* it answers again */
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    CHECK_EQ(raft_snapshot_index(cluster_core(c, 3)), 12);
    CHECK_EQ(c->nodes[3].applied, 13);
    cluster_free(c);
}

/* While one is on its way: no appends, and not another one; heartbeats go on. */
static void replication_pauses(void)
{
    struct cluster *c = compacted_leader();
    needs_snapshot(c);
    cluster_forget(c);
    cluster_propose(c, 1, 5);
    cluster_sleep(c, HEARTBEAT);
    cluster_tick(c, 1);
    cluster_beat_reply(c, 1, 2, 0);
    cluster_refuse(c, 1, 2, 2, 1, 1); /* a stale refusal changes nothing */
    cluster_unreachable(c, 1, 2);
    CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), 0);
    CHECK_EQ(cluster_count(c, RAFT_SEND_SNAPSHOT, 1, 2), 0);
    CHECK_EQ(cluster_count(c, RAFT_HEARTBEAT, 1, 2), 1);
    CHECK_EQ(cluster_progress(c, 1, 2).state, RAFT_SNAPSHOT);
    cluster_free(c);
    /* Nor does one of the append that made the leader ask for a snapshot, coming twice. */
    c = cluster_new(
        (struct cluster_plan){.alone = true, .log = TERMS(1, 1, 1, 1, 1, 1, 1, 1), .commit = 8});
    cluster_compact(c, 1, 7);
    cluster_become(c, 1, RAFT_LEADER);
    cluster_refuse(c, 1, 2, 8, 4, 1);
    CHECK_EQ(cluster_progress(c, 1, 2).state, RAFT_SNAPSHOT);
    cluster_forget(c);
    cluster_refuse(c, 1, 2, 8, 4, 1);
    cluster_refuse(c, 1, 2, 4, 3, 1);
    CHECK_EQ(cluster_progress(c, 1, 2).state, RAFT_SNAPSHOT);
    CHECK_EQ(c->packet_count, 0);
    cluster_free(c);
}

static void sent(void)
{
    struct cluster *c = compacted_leader();
    needs_snapshot(c);
    cluster_forget(c);
    cluster_snapshot_sent(c, 1, 2, true, 10);
    CHECK_EQ(cluster_progress(c, 1, 2).state, RAFT_PROBE); /* the next append finds out */
    CHECK_EQ(cluster_progress(c, 1, 2).next, 11);
    const struct raft_message *m = cluster_sent(c, RAFT_APPEND, 1, 2);
    REQUIRE(m);
    CHECK_EQ(m->prev_index, 10);
    cluster_ack(c, 1, 2, 12);
    CHECK_EQ(cluster_progress(c, 1, 2).state, RAFT_PIPELINE);
    CHECK_EQ(cluster_progress(c, 1, 2).match, 12);
    cluster_snapshot_sent(c, 1, 2, true, 10); /* told twice */
    CHECK_EQ(cluster_progress(c, 1, 2).state, RAFT_PIPELINE);
    cluster_free(c);
}

static void failed(void)
{
    struct cluster *c = compacted_leader();
    needs_snapshot(c);
    cluster_forget(c);
    cluster_snapshot_sent(c, 1, 2, false, 10);
    CHECK_EQ(cluster_progress(c, 1, 2).state, RAFT_PROBE);
    CHECK_EQ(cluster_progress(c, 1, 2).next, 3);
    cluster_propose(c, 1, 1);
    CHECK_EQ(cluster_count(c, ANY, 1, 2), 0); /* paused until it answers … */
    cluster_sleep(c, HEARTBEAT);
    cluster_tick(c, 1);
    cluster_beat_reply(c, 1, 2, 0);
    CHECK_EQ(cluster_count(c, RAFT_SEND_SNAPSHOT, 1, 2), 1); /* … then once more */
    cluster_free(c);
}

/* The follower turns out to have enough after all: an acknowledgement from where our log begins
 * ends the waiting. */
static void acknowledgement_ends_it(void)
{
    static const struct {
        raft_index match;
        enum raft_progress_state state;
    } table[] = {{5, RAFT_SNAPSHOT},
                 {9, RAFT_SNAPSHOT},
                 {10, RAFT_PIPELINE},
                 {11, RAFT_PIPELINE},
                 {12, RAFT_PIPELINE}};
    for (size_t i = 0; i < 5; i++) {
        case_row("match %u", (unsigned)table[i].match);
        struct cluster *c = compacted_leader();
        needs_snapshot(c);
        cluster_forget(c);
        cluster_ack(c, 1, 2, table[i].match);
        CHECK_EQ(cluster_progress(c, 1, 2).state, table[i].state);
        CHECK_EQ(cluster_progress(c, 1, 2).match, table[i].match);
        CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), table[i].match == 10 || table[i].match == 11);
        CHECK_EQ(cluster_count(c, RAFT_SEND_SNAPSHOT, 1, 2), 0); /* not asked for again */
        cluster_free(c);
    }
}

/* One of an older snapshot than the leader has by now is good enough if the log goes on from there.
 */
static void older_one_is_enough(void)
{
    struct cluster *c = compacted_leader();
    needs_snapshot(c);
    cluster_forget(c);
    cluster_propose(c, 1, 4);
    cluster_ack(c, 1, 3, 16);
    cluster_compact(c, 1, 14); /* meanwhile */
    cluster_snapshot_sent(c, 1, 2, true, 10);
    CHECK_EQ(cluster_count(c, RAFT_SEND_SNAPSHOT, 1, 2),
             1); /* the log no longer does: another one */
    CHECK_EQ(cluster_sent(c, RAFT_SEND_SNAPSHOT, 1, 2)->snapshot_index, 14);
    cluster_forget(c);
    cluster_snapshot_sent(c, 1, 2, true, 15);
    CHECK_EQ(cluster_progress(c, 1, 2).next, 16);
    CHECK_EQ(cluster_sent(c, RAFT_APPEND, 1, 2)->prev_index, 15);
    cluster_free(c);
}

static void compaction_rules(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 1, 2, 2, 3, 3, 3)});
    struct raft *r = cluster_core(c, 1);
    cluster_append(c, 1, APPEND(2, 3, 7, 3, NULL, 5));
    CHECK_EQ(raft_commit_index(r), 5);
    struct raft_snapshot s = {
        .index = 6, .term = 3, .configuration = cluster_configuration(1, 3, 0)};
    CHECK_EQ(cluster_step(c, 1, (struct raft_event){.type = RAFT_COMPACTED, .snapshot = &s}),
             ERR_BAD_REQUEST);
    s.index = 4;
    CHECK_EQ(cluster_step(c, 1, (struct raft_event){.type = RAFT_COMPACTED, .snapshot = &s}),
             ERR_BAD_REQUEST);
    CHECK_EQ(raft_first_index(r), 1);
    for (raft_index i = 1; i <= 5; i++) { /* step by step */
        raft_term last = raft_term_at(r, 7);
        cluster_compact(c, 1, i);
        CHECK_EQ(raft_first_index(r), i + 1);
        CHECK_EQ(raft_snapshot_index(r), i);
        CHECK_EQ(raft_last_index(r), 7);
        CHECK_EQ(raft_term_at(r, 7), last);
        CHECK_EQ(raft_term_at(r, i - 1), 0);
    }
    s.index = 3; /* an older one changes nothing */
    s.term = 2;
    CHECK_EQ(cluster_step(c, 1, (struct raft_event){.type = RAFT_COMPACTED, .snapshot = &s}), 0);
    CHECK_EQ(raft_first_index(r), 6);
    /* And the log works on: append, conflict, commit. */
    CHECK(cluster_append(c, 1, APPEND(2, 4, 6, 3, TERMS(4, 4), 8))->accepted);
    CHECK(cluster_log_is(c, 1, 6, TERMS(3, 4, 4)));
    CHECK_EQ(raft_commit_index(r), 8);
    cluster_free(c);
}

/* ---- the follower ---- */

static struct raft_snapshot snapshot_at(raft_index index, raft_term term, uint32_t voters,
                                        uint32_t learners)
{
    return (struct raft_snapshot){
        .index = index, .term = term, .configuration = cluster_configuration(1, voters, learners)};
}

static void installing_replaces_everything(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 1, 1)});
    struct raft *r = cluster_core(c, 1);
    cluster_append(c, 1, APPEND(2, 2, 3, 1, NULL, 1));
    struct raft_snapshot s = snapshot_at(11, 2, 2, 1);
    cluster_install(c, 1, &s);
    CHECK_EQ(raft_last_index(r), 11);
    CHECK_EQ(raft_first_index(r), 12);
    CHECK_EQ(raft_snapshot_index(r), 11);
    CHECK_EQ(raft_commit_index(r), 11);
    CHECK_EQ(raft_durable_index(r), 11);
    CHECK_EQ(c->nodes[1].applied, 11);
    CHECK_EQ(raft_configuration_latest(r)->count, 3);
    CHECK(!raft_configuration_is_voter(raft_configuration_latest(r), 3));
    CHECK_EQ(raft_leader(r), 2); /* it follows on */
    CHECK_EQ(raft_state(r), RAFT_FOLLOWER);
    CHECK_EQ(
        cluster_step(c, 1, (struct raft_event){.type = RAFT_SNAPSHOT_INSTALLED, .snapshot = &s}),
        0); /* twice */
    CHECK_EQ(raft_last_index(r), 11);
    CHECK(cluster_append(c, 1, APPEND(2, 2, 11, 2, TERMS(2), 12))->accepted);
    CHECK_EQ(raft_commit_index(r), 12);
    cluster_free(c);
}

/* By index and term of the snapshot's end: the tail of our log stays or goes (§5.3). */
static void what_stays_of_the_log(void)
{
    const struct {
        const raft_term *log;
        raft_index commit, index;
        raft_term term;
        const raft_term *left; /* from index + 1 on */
    } table[] = {
        {TERMS(1, 2, 2, 2, 2), 1, 3, 2, TERMS(2, 2)}, /* ours has it: the rest is good */
        {TERMS(1, 2, 2, 2, 2), 1, 5, 2, (raft_term[]){0}},
        {TERMS(1, 2, 2, 2, 2), 1, 3, 3, (raft_term[]){0}}, /* another history */
        {TERMS(1, 2, 2), 1, 9, 3, (raft_term[]){0}},       /* beyond the end */
    };
    for (size_t i = 0; i < 4; i++) {
        case_row("row %zu", i);
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .log = table[i].log, .term = 3});
        struct raft_snapshot s = snapshot_at(table[i].index, table[i].term, 3, 0);
        cluster_install(c, 1, &s);
        struct raft *r = cluster_core(c, 1);
        CHECK_EQ(raft_snapshot_index(r), table[i].index);
        CHECK_EQ(raft_commit_index(r), table[i].index);
        CHECK(cluster_log_is(c, 1, table[i].index + 1, table[i].left));
        cluster_restart(c, 1);
        CHECK(cluster_log_is(c, 1, table[i].index + 1, table[i].left));
        cluster_free(c);
    }
}

static void old_ones_are_ignored(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 2, 2, 2), .commit = 3});
    struct raft *r = cluster_core(c, 1);
    struct raft_snapshot s = snapshot_at(2, 2, 5, 0);
    cluster_step(c, 1, (struct raft_event){.type = RAFT_SNAPSHOT_INSTALLED, .snapshot = &s});
    CHECK_EQ(raft_commit_index(r), 3);
    CHECK_EQ(raft_last_index(r), 4);
    cluster_compact(c, 1, 3);
    for (raft_index index = 1; index <= 3; index++) { /* we have one that reaches farther */
        s = snapshot_at(index, 1, 5, 0);
        CHECK_EQ(cluster_step(c, 1,
                              (struct raft_event){.type = RAFT_SNAPSHOT_INSTALLED, .snapshot = &s}),
                 0);
    }
    CHECK_EQ(raft_snapshot_index(r), 3);
    CHECK_EQ(raft_configuration_latest(r)->count, 3);
    cluster_free(c);
    c = cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 2, 2, 2), .commit = 3});
    r = cluster_core(c, 1);
    s = snapshot_at(3, 9, 5, 0); /* contradicts what is committed */
    CHECK_EQ(
        cluster_step(c, 1, (struct raft_event){.type = RAFT_SNAPSHOT_INSTALLED, .snapshot = &s}),
        ERR_BAD_REQUEST);
    CHECK_EQ(raft_commit_index(r), 3);
    CHECK_EQ(raft_last_index(r), 4);
    struct raft_snapshot bad[] = {snapshot_at(0, 1, 3, 0), snapshot_at(9, 0, 3, 0),
                                  snapshot_at(9, 2, 0, 0)};
    for (size_t i = 0; i < 3; i++)
        CHECK_EQ(
            cluster_step(c, 1,
                         (struct raft_event){.type = RAFT_SNAPSHOT_INSTALLED, .snapshot = &bad[i]}),
            ERR_BAD_REQUEST);
    CHECK_EQ(raft_last_index(r), 4);
    cluster_free(c);
}

/* Its configuration comes along, whatever role it gives us: learner, voter, outgoing voter, none.
 */
static void configuration_comes_along(void)
{
    static const struct {
        const char *what;
        uint32_t before, after; /* our flags; 99: no member */
        bool joint, campaigns;
    } table[] = {
        {"voter stays voter", RAFT_VOTER, RAFT_VOTER, false, true},
        {"voter becomes learner", RAFT_VOTER, 0, false, false},
        {"learner becomes voter", 0, RAFT_VOTER, false, true},
        {"learner stays learner", 0, 0, false, false},
        {"outgoing voter", RAFT_VOTER, RAFT_VOTER_OLD, true, true},
        {"incoming voter", 0, RAFT_VOTER, true, true},
        {"not a member any more", RAFT_VOTER, 99, false, false},
        {"a new node that knew nothing", 99, RAFT_VOTER, false, true},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("%s", table[i].what);
        struct raft_configuration before = {.index = 1};
        if (table[i].before != 99)
            configuration_add(&before, 1, table[i].before);
        configuration_add(&before, 2, RAFT_VOTER);
        configuration_add(&before, 3, RAFT_VOTER);
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .configuration = &before});
        struct raft_snapshot s = {
            .index = 9, .term = 1, .configuration = {.index = 7, .joint = table[i].joint}};
        if (table[i].after != 99)
            configuration_add(&s.configuration, 1, table[i].after);
        configuration_add(&s.configuration, 2, RAFT_VOTER | (table[i].joint ? RAFT_VOTER_OLD : 0u));
        configuration_add(&s.configuration, 3, RAFT_VOTER);
        cluster_install(c, 1, &s);
        struct raft *r = cluster_core(c, 1);
        const struct raft_configuration *now = raft_configuration_latest(r);
        CHECK_EQ(now->index, 7);
        CHECK_EQ(now->joint, table[i].joint);
        CHECK_EQ(now->count, s.configuration.count);
        for (uint32_t k = 0; k < now->count && k < s.configuration.count; k++)
            CHECK(now->members[k].id == s.configuration.members[k].id &&
                  now->members[k].flags == s.configuration.members[k].flags);
        for (int k = 0; k < 30 && raft_state(r) == RAFT_FOLLOWER; k++) {
            cluster_sleep(c, HEARTBEAT);
            cluster_tick(c, 1);
        }
        CHECK_EQ(raft_state(r) != RAFT_FOLLOWER, table[i].campaigns);
        cluster_free(c);
    }
}

/* A configuration that was in the log but is not in the snapshot's history goes with the log
 * (openraft 1808). */
static void uncommitted_configuration_goes(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct raft *r = cluster_core(c, 1);
    struct raft_configuration five = cluster_configuration(3, 5, 0);
    struct cluster_append a = APPEND(2, 2, 1, 1, TERMS(2, 2), 1);
    a.configuration = &five;
    cluster_append(c, 1, a);
    CHECK_EQ(raft_configuration_latest(r)->count, 5);
    struct raft_snapshot s = snapshot_at(8, 3, 3, 0);
    cluster_install(c, 1, &s);
    CHECK_EQ(raft_configuration_latest(r)->count, 3);
    CHECK_EQ(raft_configuration_latest(r)->index, 1);
    cluster_free(c);
    /* … and one in the tail that stays, stays in force. */
    c = cluster_new((struct cluster_plan){.alone = true});
    r = cluster_core(c, 1);
    cluster_append(c, 1, a);
    s = snapshot_at(2, 2, 3, 0);
    cluster_install(c, 1, &s);
    CHECK_EQ(raft_configuration_latest(r)->count, 5);
    CHECK_EQ(raft_configuration_committed(r)->count, 3);
    cluster_free(c);
}

/* Writes that were under way when it was installed, and appends that arrive meanwhile. */
static void installed_beside_writes(void)
{
    for (int conflicting = 0; conflicting <= 1; conflicting++) {
        case_row("conflicting %d", conflicting);
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
        struct raft *r = cluster_core(c, 1);
        cluster_append(c, 1, APPEND(2, 2, 1, 1, NULL, 1));
        cluster_disk_hold(c, 1);
        cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2, 2, 2), 1)); /* 2, 3, 4 */
        struct raft_snapshot s = conflicting ? snapshot_at(3, 3, 3, 0) : snapshot_at(3, 2, 3, 0);
        cluster_install(c, 1, &s); /* behind those writes */
        const struct raft_message *reply =
            cluster_append(c, 1, APPEND(2, 2, 4, 2, TERMS(2), 1)); /* 5, meanwhile */
        CHECK(!reply || reply->match_index <= 1);
        CHECK(cluster_disk_step(c, 1));
        CHECK_EQ(raft_durable_index(r), 4);
        if (conflicting) { /* the carrier would drain what is under way before it installs */
            CHECK(c->nodes[1].write_count == 2);
            struct cluster_write install = c->nodes[1].writes[0];
            c->nodes[1].writes[0] = c->nodes[1].writes[1];
            c->nodes[1].writes[1] = install;
            CHECK(cluster_disk_step(c, 1));
        }
        cluster_disk_release(c, 1);
        CHECK_EQ(raft_snapshot_index(r), 3);
        CHECK_EQ(raft_last_index(r), conflicting ? 3 : 5);
        CHECK_EQ(raft_durable_index(r), conflicting ? 3 : 5);
        CHECK_EQ(c->nodes[1].waiting_count, 0);
        cluster_free(c);
    }
}

/* The completion of writes that were before it is told of only after it: those entries are gone. */
static void late_completion(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct cluster_node *n = &c->nodes[1];
    cluster_disk_hold(c, 1);
    cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2, 2), 1));
    cluster_append(c, 1, APPEND(2, 2, 3, 2, TERMS(2, 2), 1));
    REQUIRE(n->write_count == 2);
    uint64_t persist = n->writes[1].persist;
    n->write_count = 0; /* they are on the disk, nobody has said so yet */
    struct raft_snapshot s = snapshot_at(3, 3, 3, 0);
    cluster_install(c, 1, &s);
    cluster_disk_release(c, 1);
    CHECK_EQ(raft_last_index(n->raft), 3);
    cluster_append(c, 1, APPEND(3, 4, 3, 3, NULL, 3));
    cluster_disk_hold(c, 1);
    cluster_append(c, 1, APPEND(3, 4, 3, 3, TERMS(4, 4), 3));
    CHECK_EQ(cluster_step(c, 1, (struct raft_event){.type = RAFT_PERSISTED, .persist = persist}),
             0);
    CHECK_EQ(raft_durable_index(n->raft), 3);
    CHECK(!cluster_replied(c));
    cluster_disk_release(c, 1);
    CHECK_EQ(raft_durable_index(n->raft), 5);
    CHECK(cluster_replied(c));
    cluster_free(c);
}

/* ---- whole clusters ---- */

static void slow_node_is_restored(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    cluster_isolate(c, 3);
    for (int i = 0; i < 100; i++)
        cluster_propose(c, 1, 1);
    cluster_run(c, HEARTBEAT);
    cluster_compact(c, 1, 80);
    cluster_heal(c);
    cluster_run(c, 3 * ELECTION_TIMEOUT);
    CHECK(raft_snapshot_index(cluster_core(c, 3)) >= 80);
    CHECK_EQ(c->nodes[3].applied, 102);
    cluster_propose(c, 1, 1); /* by append again */
    cluster_settle(c);
    CHECK_EQ(raft_last_index(cluster_core(c, 3)), 103);
    CHECK_EQ(cluster_progress(c, 1, 3).state, RAFT_PIPELINE);
    CHECK(cluster_equal_logs(c));
    cluster_free(c);
}

static void learner_receives_one(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 1, .spares = 1});
    cluster_run(c, HEARTBEAT);
    cluster_propose(c, 1, 30);
    cluster_compact(c, 1, 25);
    REQUIRE(cluster_change(c, 1,
                           (struct raft_change){
                               .kind = RAFT_ADD_LEARNER, .id = 2, .auto_promote = true}) == 0);
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    CHECK_EQ(raft_snapshot_index(cluster_core(c, 2)), 25);
    CHECK_EQ(c->nodes[2].applied, c->nodes[1].applied);
    CHECK(raft_configuration_is_voter(raft_configuration_latest(cluster_core(c, 2)), 2));
    cluster_free(c);
}

/* The transfer fails, again and again, while the leader goes on and compacts; at last it gets
 * through. */
static void retried_until_it_arrives(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    cluster_isolate(c, 3);
    cluster_propose(c, 1, 20);
    cluster_run(c, ELECTION_TIMEOUT);
    cluster_compact(c, 1, 20);
    cluster_heal(c);
    c->dropped[RAFT_SEND_SNAPSHOT] = true;
    for (int i = 0; i < 10; i++) {
        cluster_propose(c, 1, 5);
        cluster_run(c, HEARTBEAT);
        cluster_compact(c, 1, c->nodes[1].applied);
    }
    CHECK_EQ(raft_snapshot_index(cluster_core(c, 3)), 0);
    c->dropped[RAFT_SEND_SNAPSHOT] = false;
    cluster_run(c, 5 * HEARTBEAT);
    CHECK_EQ(c->nodes[3].applied, c->nodes[1].applied);
    CHECK_EQ(cluster_leader(c), 1);
    cluster_free(c);
}

/* The follower crashes while it installs; a new leader, in a new term, sends its own. */
static void crash_while_installing(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    cluster_isolate(c, 3);
    cluster_propose(c, 1, 20);
    cluster_run(c, ELECTION_TIMEOUT);
    cluster_compact(c, 1, 20);
    cluster_compact(c, 2, 15);
    cluster_heal(c);
    cluster_disk_hold(c, 3);
    cluster_run(c, ELECTION_TIMEOUT);
    CHECK_EQ(raft_snapshot_index(cluster_core(c, 3)), 0);
    CHECK_EQ(cluster_progress(c, 1, 3).state, RAFT_SNAPSHOT);
    cluster_crash(c, 3);
    cluster_crash(c, 1);
    cluster_restart(c, 3);
    cluster_elect(c, 2);
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    CHECK_EQ(raft_snapshot_index(cluster_core(c, 3)), 15);
    CHECK_EQ(c->nodes[3].applied, c->nodes[2].applied);
    cluster_free(c);
}

/* Everybody compacts all the time: nothing but snapshots and single entries, and the state is the
 * same everywhere. */
static void frequent_snapshots(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    for (int round = 0; round < 12; round++) {
        cluster_run(c, 6 * ELECTION_TIMEOUT);
        raft_id leader = cluster_leader(c), cut = (raft_id)round % 3 + 1;
        REQUIRE(leader);
        cluster_isolate(c, cut);
        if (cut == leader)
            cluster_run(c, 6 * ELECTION_TIMEOUT);
        leader = cluster_leader(c);
        REQUIRE(leader && leader != cut);
        for (int i = 0; i < 5; i++) {
            cluster_propose(c, leader, 1);
            cluster_run(c, HEARTBEAT);
            for (raft_id id = 1; id <= 3; id++)
                if (c->nodes[id].applied > raft_snapshot_index(cluster_core(c, id)))
                    cluster_compact(c, id, c->nodes[id].applied);
        }
        cluster_heal(c);
    }
    cluster_run(c, 6 * ELECTION_TIMEOUT);
    CHECK(cluster_equal_logs(c));
    CHECK_EQ(c->nodes[1].applied, c->nodes[2].applied);
    CHECK_EQ(c->nodes[1].applied, c->nodes[3].applied);
    cluster_free(c);
}

/* The one that arrived is too old by now, and its receiver has fallen silent: no other before it
 * answers. */
static void not_again_to_one_fallen_silent(void)
{
    struct cluster *c = compacted_leader();
    needs_snapshot(c);
    for (uint64_t slept = 0; slept <= ELECTION_TIMEOUT; slept += HEARTBEAT) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
        cluster_beat_reply(c, 1, 3, 0);
    }
    cluster_propose(c, 1, 10);
    cluster_ack(c, 1, 3, 22);
    cluster_compact(c, 1, 20);
    cluster_forget(c);
    cluster_snapshot_sent(c, 1, 2, true, 10);
    CHECK_EQ(cluster_count(c, RAFT_SEND_SNAPSHOT, 1, 2), 0);
    CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), 0);
    cluster_beat_reply(c, 1, 2, 0);
    const struct raft_message *m = cluster_sent(c, RAFT_SEND_SNAPSHOT, 1, 2);
    REQUIRE(m);
    CHECK_EQ(m->snapshot_index, 20);
    cluster_free(c);
}

/* Whoever stands has something else to do now; who leads and has all of it goes on leading. */
static void installed_in_any_state(void)
{
    static const enum raft_state states[] = {RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE,
                                             RAFT_LEADER};
    for (int s = 0; s < 4; s++) {
        for (int known = 0; known <= 1; known++) {
            case_row("%s, %s", raft_state_name(states[s]), known ? "in its log" : "beyond it");
            struct cluster *c = cluster_new(
                (struct cluster_plan){.alone = true, .log = TERMS(1, 1, 1), .commit = 1});
            cluster_become(c, 1, states[s]);
            struct raft_snapshot snapshot =
                known ? snapshot_at(2, 1, 3, 0) : snapshot_at(9, 1, 3, 0);
            cluster_install(c, 1, &snapshot);
            CHECK_EQ(raft_snapshot_index(cluster_core(c, 1)), snapshot.index);
            CHECK_EQ(raft_state(cluster_core(c, 1)),
                     known && states[s] == RAFT_LEADER ? RAFT_LEADER : RAFT_FOLLOWER);
            cluster_free(c);
        }
    }
}

/* What its receiver is said to have got since, or that it got what was never sent. */
static void what_it_says_of_its_end(void)
{
    struct cluster *c = compacted_leader();
    needs_snapshot(c);
    struct raft_snapshot beyond = {.index = 13};
    struct raft_event event = {
        .type = RAFT_SNAPSHOT_SENT, .peer = 2, .ok = true, .snapshot = &beyond};
    CHECK_EQ(cluster_step(c, 1, event), ERR_BAD_REQUEST);
    CHECK_EQ(cluster_progress(c, 1, 2).state, RAFT_SNAPSHOT);
    cluster_ack(c, 1, 2, 8); /* late; not enough to go on from */
    CHECK_EQ(cluster_progress(c, 1, 2).state, RAFT_SNAPSHOT);
    cluster_sleep(c, 3 * ELECTION_TIMEOUT / 4);
    cluster_snapshot_sent(c, 1, 2, true, 7);
    CHECK_EQ(cluster_progress(c, 1, 2).match, 8);
    CHECK(cluster_progress(c, 1, 2).next >= 9);
    cluster_free(c);
}

static const struct test_case cases[] = {
    {"§5 a follower behind the log's beginning is sent a snapshot", asked_for_below_the_log},
    {"§5 the entry behind the snapshot is appended to its end", not_asked_for_at_the_edge},
    {"§5 none is sent to a follower that does not answer", not_to_one_that_is_silent},
    {"§5 no second one is sent to a follower that has fallen silent",
     not_again_to_one_fallen_silent},
    {"§5 appends pause while one is on its way, heartbeats go on", replication_pauses},
    {"§5 one that arrived: the next append follows it", sent},
    {"§5 one that failed: again, when the follower answers", failed},
    {"§5 an acknowledgement from where the log begins ends the waiting", acknowledgement_ends_it},
    {"§5 an older one is enough if the log goes on from there", older_one_is_enough},
    {"§5.1 what may be compacted, and how the log goes on", compaction_rules},
    {"§5.3 installing one replaces state, log and configuration", installing_replaces_everything},
    {"§5.3 what stays of the log", what_stays_of_the_log},
    {"§5.3 old and impossible ones are ignored", old_ones_are_ignored},
    {"§5.3 its configuration comes along, whatever it makes of us", configuration_comes_along},
    {"§5.3 an uncommitted configuration goes with the log, or stays with it",
     uncommitted_configuration_goes},
    {"§5.3 one installed beside writes and appends", installed_beside_writes},
    {"§5.3 one installed in any state", installed_in_any_state},
    {"§5 a snapshot's end that is behind match, or beyond the log", what_it_says_of_its_end},
    {"§5.3 a write completes after one was installed over it", late_completion},
    {"§5 a slow node is restored past compaction, then by appends", slow_node_is_restored},
    {"§5 a new learner receives one, and becomes a voter", learner_receives_one},
    {"§5 one is sent again until it arrives", retried_until_it_arrives},
    {"§5 a crash while it is installed, and another leader", crash_while_installing},
    {"§5 snapshots all the time", frequent_snapshots},
};

CASES_MAIN(cases)
