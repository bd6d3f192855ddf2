/* Log replication (§3.5): the consistency check, conflicts, and bringing every follower's log into
 * line. Pacing is in raft_flow.c. */
#include "lib/base/err.h"
#include "tests/support/cluster.h"

/* ---- the leader's side ---- */

static void leader_begins_with_noop(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 1, 2), .commit = 3});
    cluster_become(c, 1, RAFT_LEADER);
    CHECK(cluster_log_is(c, 1, 1, TERMS(1, 1, 2, 3)));
    CHECK_EQ(cluster_entry(c, 1, 4)->kind, RAFT_NOOP);
    CHECK(!raft_leader_ready(cluster_core(c, 1)));
    for (raft_id peer = 2; peer <= 3; peer++) {
        const struct raft_message *m = cluster_sent(c, RAFT_APPEND, 1, peer);
        REQUIRE(m);
        CHECK_EQ(m->prev_index, 3);
        CHECK_EQ(m->prev_term, 2);
        CHECK_EQ(m->entry_count, 1);
        CHECK_EQ(m->commit, 3);
    }
    cluster_ack(c, 1, 3, 4);
    CHECK(raft_leader_ready(cluster_core(c, 1)));
    cluster_free(c);
}

static void leader_replicates_a_proposal(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .voters = 5});
    cluster_become_ready(c, 1);
    CHECK_EQ(cluster_propose(c, 1, 2), 0);
    CHECK_EQ(c->nodes[1].update.proposed_first, 3);
    CHECK_EQ(c->nodes[1].update.proposed_term, 2);
    CHECK(cluster_log_is(c, 1, 1, TERMS(1, 2, 2, 2)));
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 2);
    for (raft_id peer = 2; peer <= 5; peer++) { /* in parallel, to everybody */
        CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, peer), 1);
        const struct raft_message *m = cluster_sent(c, RAFT_APPEND, 1, peer);
        REQUIRE(m);
        CHECK_EQ(m->term, 2);
        CHECK_EQ(m->prev_index, 2);
        CHECK_EQ(m->prev_term, 2);
        CHECK_EQ(m->entry_count, 2);
        CHECK_EQ(m->commit, 2);
    }
    cluster_free(c);
}

static void only_the_leader_takes_proposals(void)
{
    static const enum raft_state states[] = {RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE};
    for (int i = 0; i < 3; i++) {
        case_row("%s", raft_state_name(states[i]));
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
        cluster_become(c, 1, states[i]);
        CHECK_EQ(cluster_propose(c, 1, 1), ERR_NO_LEADER);
        CHECK_EQ(c->nodes[1].update.proposed_first, 0);
        CHECK_EQ(raft_last_index(cluster_core(c, 1)), 1);
        cluster_free(c);
    }
}

static void heartbeats_to_everybody(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.alone = true, .voters = 3, .learners = 1});
    cluster_become(c, 1, RAFT_LEADER);
    cluster_ack(c, 1, 2, 2);
    cluster_propose(c, 1, 3);
    cluster_ack(c, 1, 2, 5); /* 2 has it all, 3 and 4 nothing */
    cluster_forget(c);
    for (int beat = 0; beat < 3; beat++) {
        for (int i = 0; i < 4; i++) {
            cluster_sleep(c, HEARTBEAT / 4);
            cluster_tick(c, 1);
        }
        for (raft_id peer = 2; peer <= 4; peer++) {
            const struct raft_message *m = cluster_sent(c, RAFT_HEARTBEAT, 1, peer);
            REQUIRE(m);
            CHECK_EQ(m->term, 2);
            CHECK_EQ(m->entry_count, 0);
            CHECK_EQ(m->commit,
                     peer == 2 ? 5 : 0); /* not beyond what the receiver is known to have */
            CHECK_EQ(m->sent_us, c->now_us);
            CHECK_EQ(cluster_count(c, RAFT_HEARTBEAT, 1, peer), 1);
        }
        cluster_forget(c);
    }
    cluster_free(c);
}

static void only_the_leader_beats(void)
{
    static const enum raft_state states[] = {RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE};
    for (int i = 0; i < 3; i++) {
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
        cluster_become(c, 1, states[i]);
        for (int k = 0; k < 50; k++) {
            cluster_sleep(c, HEARTBEAT);
            cluster_tick(c, 1);
        }
        CHECK_EQ(cluster_count(c, RAFT_HEARTBEAT, 1, 0) + cluster_count(c, RAFT_APPEND, 1, 0), 0);
        cluster_free(c);
    }
}

/* ---- the follower's side ---- */

static void consistency_check(void)
{
    /* The log is (1,1) (2,2); the follower accepts what follows an entry that it has. */
    static const struct {
        raft_index prev_index;
        raft_term prev_term;
        bool accepted;
        raft_index hint;
    } table[] = {
        {1, 1, true, 0},  {2, 2, true, 0},  {0, 0, true, 0}, /* the beginning */
        {1, 2, false, 1}, {2, 1, false, 1},                  /* another term there */
        {3, 2, false, 2}, {3, 3, false, 2}, {9, 3, false, 2}, {9, 0, false, 1}, /* beyond the end */
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("prev (%u,%u)", (unsigned)table[i].prev_index, (unsigned)table[i].prev_term);
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 2), .term = 3});
        const struct raft_message *reply =
            cluster_append(c, 1, APPEND(2, 3, table[i].prev_index, table[i].prev_term, NULL, 0));
        REQUIRE(reply);
        CHECK_EQ(reply->accepted, table[i].accepted);
        CHECK_EQ(reply->term, 3);
        if (table[i].accepted) {
            CHECK_EQ(reply->match_index,
                     table[i].prev_index); /* what was verified, not what we have */
        } else {
            CHECK_EQ(reply->reject_index, table[i].prev_index);
            CHECK_EQ(reply->hint_index, table[i].hint);
            CHECK_EQ(reply->hint_term, table[i].hint == 2 ? 2 : 1);
        }
        CHECK(cluster_log_is(c, 1, 1, TERMS(1, 2)));
        cluster_free(c);
    }
}

static void conflicts_are_replaced(void)
{
    const struct {
        const raft_term *ours;
        raft_index prev_index;
        raft_term prev_term;
        const raft_term *entries, *result;
        raft_index written; /* first index that goes to the disk; 0: none */
        raft_index commit, committed;
    } table[] = {
        {TERMS(1, 2), 2, 2, TERMS(3), TERMS(1, 2, 3), 3, 0, 1},
        {TERMS(1, 2), 1, 1, TERMS(3, 4), TERMS(1, 3, 4), 2, 0, 1},
        {TERMS(1, 2), 0, 0, TERMS(1), TERMS(1, 2), 0, 0, 1}, /* has it: no write, nothing cut off */
        {TERMS(1, 2, 2), 1, 1, TERMS(2), TERMS(1, 2, 2), 0, 0, 1}, /* an old append, overtaken */
        {TERMS(1, 2, 2), 1, 1, NULL, TERMS(1, 2, 2), 0, 3, 1},     /* … and the empty one */
        {TERMS(1, 2, 2), 1, 1, TERMS(2, 2, 4), TERMS(1, 2, 2, 4), 4, 0, 1},
        {TERMS(1, 2, 2), 1, 1, TERMS(2, 3), TERMS(1, 2, 3), 3, 0, 1},
        {TERMS(1, 2, 2, 2), 2, 2, TERMS(4), TERMS(1, 2, 4), 3, 0, 1},
        /* commit = min(leader's, last new entry) */
        {TERMS(1, 2), 2, 2, TERMS(2, 2), TERMS(1, 2, 2, 2), 3, 3, 3},
        {TERMS(1, 2), 2, 2, TERMS(2), TERMS(1, 2, 2), 3, 9, 3},
        {TERMS(1, 2, 2, 2), 2, 2, NULL, TERMS(1, 2, 2, 2), 0, 9, 2},
        {TERMS(1, 2, 2, 2), 1, 1, TERMS(2), TERMS(1, 2, 2, 2), 0, 9, 2},
        {TERMS(1, 2, 2, 2), 0, 0, NULL, TERMS(1, 2, 2, 2), 0, 4, 1},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu", i);
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .log = table[i].ours, .term = 4});
        const struct raft_message *reply =
            cluster_append(c, 1,
                           APPEND(3, 4, table[i].prev_index, table[i].prev_term, table[i].entries,
                                  table[i].commit));
        REQUIRE(reply);
        CHECK(reply->accepted);
        raft_index count = 0;
        while (table[i].entries && table[i].entries[count])
            count++;
        CHECK_EQ(reply->match_index, table[i].prev_index + count);
        CHECK(cluster_log_is(c, 1, 1, table[i].result));
        CHECK_EQ(c->nodes[1].disk->last, raft_last_index(cluster_core(c, 1)));
        CHECK_EQ(c->nodes[1].update.write_first, table[i].written);
        CHECK_EQ(raft_commit_index(cluster_core(c, 1)), table[i].committed);
        cluster_free(c);
    }
}

static void committed_entries_reach_the_state_machine(void)
{
    const struct {
        const raft_term *entries;
        raft_index commit;
    } table[] = {{TERMS(2), 2}, {TERMS(2, 2, 2), 4}, {TERMS(2, 2, 3), 4}, {TERMS(2, 2), 2}};
    for (size_t i = 0; i < 4; i++) {
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
        cluster_append(c, 1, APPEND(2, 3, 1, 1, table[i].entries, 1));
        CHECK_EQ(c->nodes[1].applied, 1);
        cluster_append(c, 1, APPEND(2, 3, 1, 1, table[i].entries, table[i].commit));
        CHECK_EQ(raft_commit_index(cluster_core(c, 1)), table[i].commit);
        CHECK_EQ(c->nodes[1].applied, table[i].commit);
        cluster_free(c);
    }
}

/* Heartbeats carry no entries, so they can commit only what an append of this term has verified. */
static void heartbeat_commits_what_was_verified(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 2, 2, 2), .term = 3});
    struct raft *r = cluster_core(c, 1);
    struct raft_message beat = {.type = RAFT_HEARTBEAT, .from = 2, .term = 3, .commit = 4};
    const struct raft_message *reply = cluster_feed(c, 1, beat);
    REQUIRE(reply);
    CHECK_EQ(raft_commit_index(r), 1); /* the tail may differ from the leader's */
    cluster_append(c, 1, APPEND(2, 3, 2, 2, TERMS(2), 1));
    cluster_feed(c, 1, beat);
    CHECK_EQ(raft_commit_index(r), 3);
    beat.commit = 2;
    cluster_feed(c, 1, beat);
    CHECK_EQ(raft_commit_index(r), 3); /* never back */
    beat.commit = 99;
    cluster_feed(c, 1, beat);
    CHECK_EQ(raft_commit_index(r), 3);
    /* Another term's leader has verified nothing yet. */
    beat.term = 4;
    beat.from = 3;
    beat.commit = 4;
    cluster_feed(c, 1, beat);
    CHECK_EQ(raft_commit_index(r), 3);
    cluster_free(c);
}

static void acknowledges_only_what_was_verified(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 2, 2, 2, 2), .term = 3});
    const struct raft_message *reply = cluster_append(c, 1, APPEND(2, 3, 2, 2, TERMS(2), 0));
    REQUIRE(reply);
    CHECK(reply->accepted);
    CHECK_EQ(reply->match_index, 3); /* 4 and 5 may be of another history */
    CHECK_EQ(raft_last_index(cluster_core(c, 1)), 5);
    cluster_free(c);
}

static void same_append_twice(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_disk_hold(c, 1);
    struct cluster_append a = {2, 2, 1, 1, TERMS(2, 2), .commit = 1};
    CHECK(!cluster_append(c, 1, a)); /* waits for the disk … */
    CHECK(!cluster_append(c, 1, a)); /* … and so does the copy, which writes nothing */
    CHECK_EQ(c->nodes[1].update.write_first, 0);
    cluster_disk_release(c, 1);
    REQUIRE(cluster_replied(c));
    CHECK_EQ(cluster_replied(c)->match_index, 3);
    CHECK_EQ(cluster_count(c, RAFT_APPEND_REPLY, 1, 2), 1); /* that of the first */
    CHECK(cluster_log_is(c, 1, 1, TERMS(1, 2, 2)));
    cluster_free(c);
}

/* Deposed while the entries were being written: its leader is told of the new term, not of success.
 */
static void no_success_after_a_new_term(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_disk_hold(c, 1);
    cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2, 2), 1));
    uint64_t context = c->last_context;
    cluster_append(c, 1, APPEND(3, 3, 1, 1, NULL, 1));
    cluster_disk_release(c, 1);
    struct cluster_packet packet;
    bool answered = cluster_take(c, RAFT_APPEND_REPLY, 1, 2, &packet);
    CHECK(answered);
    CHECK(!answered || packet.m.context == context);
    CHECK(!answered || !packet.m.accepted || packet.m.term == 2);
    cluster_free(c);
}

static void replies_to_a_non_leader_are_ignored(void)
{
    static const enum raft_state states[] = {RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE};
    for (int i = 0; i < 3; i++) {
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 1)});
        cluster_become(c, 1, states[i]);
        cluster_ack(c, 1, 2, 2);
        cluster_ack(c, 1, 3, 2);
        cluster_refuse(c, 1, 3, 1, 0, 0);
        CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 1);
        CHECK_EQ(raft_state(cluster_core(c, 1)), states[i]);
        CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 0), 0);
        cluster_free(c);
    }
}

static void append_behind_a_snapshot(void)
{
    struct cluster *c = cluster_new(
        (struct cluster_plan){.alone = true, .log = TERMS(1, 1, 2, 2), .term = 3, .commit = 4});
    cluster_compact(c, 1, 3);
    /* What the snapshot covers is committed, so it matches whatever its terms say of themselves. */
    const struct raft_message *reply =
        cluster_append(c, 1, APPEND(2, 3, 1, 1, TERMS(1, 2, 2, 3), 0));
    REQUIRE(reply);
    CHECK(reply->accepted);
    CHECK_EQ(reply->match_index, 5);
    CHECK(cluster_log_is(c, 1, 4, TERMS(2, 3)));
    reply = cluster_append(c, 1, APPEND(2, 3, 3, 2, NULL, 0)); /* at its very end */
    REQUIRE(reply);
    CHECK(reply->accepted);
    reply = cluster_append(c, 1, APPEND(2, 3, 1, 1, TERMS(1), 0)); /* all of it below */
    REQUIRE(reply);
    CHECK(reply->accepted);
    CHECK(cluster_log_is(c, 1, 4, TERMS(2, 3)));
    cluster_free(c);
}

/* ---- bringing logs into line ---- */

static const raft_term figure_37_leader[] = {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 0};
static const raft_term figure_37[][13] = {
    {1, 1, 1, 4, 4, 5, 5, 6, 6},          {1, 1, 1, 4},          {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6},
    {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7}, {1, 1, 1, 4, 4, 4, 4}, {1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3},
};

/* Figure 3.6, all at once: missing entries, extra ones, both. */
static void figure_36_at_once(void)
{
    struct cluster *c =
        cluster_new((struct cluster_plan){.voters = 7, .log = figure_37_leader, .term = 7});
    for (raft_id id = 2; id <= 7; id++) {
        cluster_crash(c, id);
        cluster_disk_write(c, id, 7, 0, figure_37[id - 2], 1);
        cluster_restart(c, id);
    }
    cluster_elect(c, 1);
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    raft_term term = raft_term_current(cluster_core(c, 1));
    CHECK(cluster_log_is(c, 1, 1, (raft_term[]){1, 1, 1, 4, 4, 5, 5, 6, 6, 6, term, 0}));
    CHECK(cluster_equal_logs(c));
    for (raft_id id = 1; id <= 7; id++) {
        CHECK_EQ(raft_commit_index(cluster_core(c, id)), 11);
        CHECK_EQ(c->nodes[id].applied, 11);
    }
    cluster_free(c);
}

/* … and one by one; round trips stay few, whatever the difference (§3.5, fast back-up). */
static void figure_36_one_by_one(void)
{
    for (size_t i = 0; i < 6; i++) {
        case_row("follower (%c)", 'a' + (int)i);
        struct cluster *c =
            cluster_new((struct cluster_plan){.voters = 3, .log = figure_37_leader, .term = 7});
        cluster_crash(c, 3);
        cluster_disk_write(c, 3, 7, 0, figure_37[i], 1);
        cluster_elect(c, 1);
        cluster_propose(c, 1, 1);
        cluster_settle(c);
        cluster_restart(c, 3);
        cluster_run(c, ELECTION_TIMEOUT);
        CHECK(cluster_equal_logs(c));
        CHECK_EQ(raft_commit_index(cluster_core(c, 3)), 12);
        cluster_free(c);
    }
}

/* The hint of a refusal, and the next attempt made of it: (§3.5; one round trip for each
 * conflicting term at most). */
static void fast_back_up(void)
{
    const struct {
        const raft_term *leader, *follower;
        raft_index hint; /* of the follower, to the leader's first append */
        raft_term hint_term;
        raft_index next; /* prev_index of the leader's second append */
    } table[] = {
        /* the logs end in the same term, the follower's being longer, or shorter */
        {TERMS(1, 2, 2, 4, 4, 4, 4), TERMS(1, 2, 2, 4, 4, 4, 4, 4, 4, 4, 4), 0, 0, 0},
        {TERMS(1, 2, 2, 3, 4, 4, 4, 5), TERMS(1, 2, 2, 3, 3), 5, 3, 4},
        {TERMS(1, 1, 1, 1, 5, 5, 5, 5, 5), TERMS(1, 1, 1, 1, 1, 1, 1, 1), 8, 1, 4},
        {TERMS(1, 1, 1, 1, 1, 1, 1, 1, 1), TERMS(1, 1, 1, 1), 4, 1, 4},
        {TERMS(1, 1, 1, 3, 3, 3, 3, 3), TERMS(1, 1, 1, 2, 2, 2, 2, 2, 2), 8, 2, 3},
        {TERMS(1, 4, 4, 4, 4, 4, 4), TERMS(1, 2, 2, 2, 3, 3, 3, 3), 7, 3, 1},
        {TERMS(1, 1, 1, 4, 4, 5, 5, 6, 6, 6), TERMS(1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3), 10, 3, 3},
        {TERMS(1, 3, 3, 3, 3, 3, 3), TERMS(1, 2, 2, 4, 4, 4, 4, 4), 3, 2, 1},
        {TERMS(1, 6), TERMS(1, 2, 3, 4, 5), 2, 2, 1},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu", i);
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .log = table[i].leader, .term = 8});
        cluster_become(c, 1, RAFT_LEADER);
        const struct raft_message *first = cluster_sent(c, RAFT_APPEND, 1, 2);
        REQUIRE(first);
        struct cluster *f =
            cluster_new((struct cluster_plan){.alone = true, .log = table[i].follower, .term = 9});
        const struct raft_message *reply = cluster_append(
            f, 1, APPEND(2, first->term, first->prev_index, first->prev_term, NULL, 0));
        REQUIRE(reply);
        CHECK_EQ(reply->accepted, table[i].hint == 0);
        if (table[i].hint) {
            CHECK_EQ(reply->hint_index, table[i].hint);
            CHECK_EQ(reply->hint_term, table[i].hint_term);
            raft_index rejected = reply->reject_index;
            cluster_forget(c);
            cluster_refuse(c, 1, 2, rejected, table[i].hint, table[i].hint_term);
            const struct raft_message *second = cluster_sent(c, RAFT_APPEND, 1, 2);
            REQUIRE(second);
            CHECK_EQ(second->prev_index, table[i].next);
        }
        cluster_free(f);
        cluster_free(c);
    }
}

/* The leader elected has an older log end in one place: entries of a higher term that are not
 * committed give way. */
static void newer_uncommitted_entries_give_way(void)
{
    /* 1 won term 1, 3 won term 2 (of 4 and 5), both without replicating; now 1 is elected by 2, 4
     * and 5 have voted for 3. */
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 5, .log = TERMS(1, 2)});
    const struct {
        raft_term term;
        raft_id vote;
        const raft_term *log;
    } disks[] = {{2, 1, TERMS(1, 2)},
                 {2, 1, TERMS(1, 2)},
                 {3, 3, TERMS(1, 3)},
                 {3, 3, TERMS(1)},
                 {3, 3, TERMS(1)}};
    for (raft_id id = 1; id <= 5; id++) {
        cluster_crash(c, id);
        cluster_disk_write(c, id, disks[id - 1].term, disks[id - 1].vote, disks[id - 1].log, 1);
        cluster_restart(c, id);
    }
    cluster_elect(c, 1);
    cluster_run(c, ELECTION_TIMEOUT);
    raft_term term = raft_term_current(cluster_core(c, 1));
    CHECK(term >= 4);
    for (raft_id id = 1; id <= 5; id++)
        CHECK(cluster_log_is(c, id, 1, (raft_term[]){1, 2, term, 0}));
    cluster_free(c);
}

static void logs_become_equal(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3, .learners = 1});
    cluster_elect(c, 1);
    cluster_propose(c, 1, 1);
    cluster_run(c, 2 * HEARTBEAT);
    cluster_isolate(c, 1);
    cluster_elect(c, 2);
    cluster_heal(c);
    cluster_propose(c, 2, 1);
    cluster_run(c, 2 * HEARTBEAT);
    CHECK(cluster_equal_logs(c));
    raft_term term = raft_term_current(cluster_core(c, 2));
    CHECK(cluster_log_is(c, 4, 1, (raft_term[]){1, 2, 2, term, term, 0})); /* the learner too */
    for (raft_id id = 1; id <= 4; id++) {
        CHECK_EQ(raft_commit_index(cluster_core(c, id)), 5);
        CHECK_EQ(c->nodes[id].applied, 5);
    }
    cluster_free(c);
}

static void old_leader_is_ignored(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_isolate(c, 1);
    cluster_elect(c, 2);
    raft_term term = raft_term_current(cluster_core(c, 2));
    raft_index last = raft_last_index(cluster_core(c, 2));
    cluster_heal(c);
    cluster_run(c, 2 * HEARTBEAT);
    const struct raft_message *reply = cluster_append(c, 3, APPEND(1, 2, 2, 2, TERMS(2, 2), 4));
    REQUIRE(reply);
    CHECK(!reply->accepted);
    CHECK_EQ(reply->term, term);
    CHECK_EQ(raft_last_index(cluster_core(c, 3)), last);
    cluster_propose(c, 2, 1);
    cluster_run(c, 2 * HEARTBEAT);
    CHECK(cluster_equal_logs(c));
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), last + 1);
    cluster_free(c);
}

static const struct test_case cases[] = {
    {"§3.5 a leader begins its term with a no-op", leader_begins_with_noop},
    {"§3.5 a proposal is appended and sent to all in parallel", leader_replicates_a_proposal},
    {"§3.5 only the leader takes proposals", only_the_leader_takes_proposals},
    {"§3.5 heartbeats go to everybody, with a commit index the receiver is known to have",
     heartbeats_to_everybody},
    {"§3.5 only the leader sends heartbeats", only_the_leader_beats},
    {"§3.5 the consistency check", consistency_check},
    {"§3.5 conflicting entries are replaced, matching ones kept, commit follows",
     conflicts_are_replaced},
    {"§3.5 a follower applies what it learns to be committed",
     committed_entries_reach_the_state_machine},
    {"§3.5 a heartbeat commits only what this term's leader has verified",
     heartbeat_commits_what_was_verified},
    {"§3.5 an append acknowledges only what it verified", acknowledges_only_what_was_verified},
    {"§3.5 the same append twice before it is durable", same_append_twice},
    {"§3.5 no success is reported into a new term", no_success_after_a_new_term},
    {"§3.5 replies to one that does not lead are ignored", replies_to_a_non_leader_are_ignored},
    {"§5.1 an append that begins behind the snapshot", append_behind_a_snapshot},
    {"§3.5 Figure 3.6, seven servers at once", figure_36_at_once},
    {"§3.5 Figure 3.6, follower by follower", figure_36_one_by_one},
    {"§3.5 fast back-up over conflicting terms", fast_back_up},
    {"§3.5 uncommitted entries of a higher term give way to the leader's",
     newer_uncommitted_entries_give_way},
    {"§3.5 logs become equal over a change of leaders, a learner's too", logs_become_equal},
    {"§3.5 an append of a deposed leader is refused", old_leader_is_ignored},
};

CASES_MAIN(cases)
