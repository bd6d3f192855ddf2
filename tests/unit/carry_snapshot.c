/* The bound of applying, cutting the log, sending and installing snapshots, stalls. */
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "tests/support/carry_rig.h"

enum { CUT_STEP = 64 }; /* the log is cut when it gains so much */

static void put_many(struct rig *r, raft_id id, int count)
{
    for (int i = 0; i < count; i++) {
        rig_put(r, id, "k", "v");
    }
    rig_settle(r);
}

/* ---- the bound of applying: min(commit, own durable) ---- */

static void leader_behind_its_own_disk(void)
{
    struct rig *r = rig_new((struct rig_plan){0});

    rig_elect(r, 1);
    r->nodes[1].hold.disk = true;
    put_many(r, 1, 3);
    CHECK_EQ(raft_commit_index(rig_core(r, 1)), 5); /* by the other two */
    CHECK_EQ(carry_applied_index(rig_carry(r, 1)), 2);
    CHECK_EQ(carry_applied_index(rig_carry(r, 2)), 2);
    rig_run(r, RIG_HEARTBEAT);
    CHECK_EQ(carry_applied_index(rig_carry(r, 2)), 5); /* the others need not wait for it */
    rig_disk_one(r, 1);
    rig_settle(r);
    CHECK_EQ(carry_applied_index(rig_carry(r, 1)), 5);
    r->nodes[1].hold.disk = false;
    rig_free(r);
}

static void follower_behind_its_own_disk(void)
{
    struct rig *r = rig_new((struct rig_plan){0});

    rig_elect(r, 1);
    r->nodes[2].hold.disk = true;
    put_many(r, 1, 1);
    put_many(r, 1, 1);
    rig_run(r, RIG_HEARTBEAT);
    CHECK_EQ(carry_applied_index(rig_carry(r, 2)), 2);
    while (rig_disk_one(r, 2)) {
        rig_settle(r);
        CHECK(carry_applied_index(rig_carry(r, 2)) <= rig_disk_last(&r->nodes[2]));
    }
    rig_run(r, RIG_HEARTBEAT);
    r->nodes[2].hold.disk = false;
    rig_run(r, RIG_HEARTBEAT);
    CHECK_EQ(carry_applied_index(rig_carry(r, 2)), 4);
    rig_free(r);
}

/* What is handed out is bounded by bytes, entry by entry; one always fits. */
static void bytes_ahead_of_the_state_machine(void)
{
    struct carry_options options = rig_options();
    struct rig *r;

    options.apply_ahead_bytes = 1000;
    r = rig_new((struct rig_plan){.voters = 1, .options = &options});
    rig_elect(r, 1);
    r->nodes[1].hold.machine = true;
    for (int i = 0; i < 10; i++) {
        rig_write(r, 1, (struct rig_write){.key = "k", .value_bytes = 490});
    }
    rig_write(r, 1, (struct rig_write){.key = "k", .value_bytes = 5000});
    rig_write(r, 1, (struct rig_write){.key = "k", .value_bytes = 10});
    rig_settle(r);
    CHECK_EQ(r->nodes[1].handed, 4); /* two of them: with the second it is enough */
    r->nodes[1].hold.machine = false;
    rig_settle(r);
    CHECK_EQ(carry_applied_index(rig_carry(r, 1)), 14);
    rig_free(r);
}

/* After a restart what was not flushed comes from the disk's log. */
static void replay_from_the_log(void)
{
    struct carry_options options = rig_options();
    struct rig_request *q;
    struct rig *r;

    options.append_bytes_max = 100;
    r = rig_new((struct rig_plan){.voters = 1, .options = &options});
    rig_elect(r, 1);
    put_many(r, 1, 10);
    rig_checkpoint(r, 1);
    put_many(r, 1, 20);
    rig_stop(r, 1);
    rig_start(r, 1);
    CHECK_EQ(carry_applied_index(rig_carry(r, 1)), 12);
    r->nodes[1].hold.log_reads = true;
    rig_elect(r, 1);
    rig_tick(r, 1);
    CHECK_EQ(r->nodes[1].log_read_count, 1); /* one at a time */
    r->nodes[1].hold.log_reads = false;
    rig_settle(r);
    CHECK_EQ(carry_applied_index(rig_carry(r, 1)), 33);
    CHECK(r->nodes[1].log_reads_asked > 5);
    q = rig_get(r, 1, "k", CARRY_LINEARIZABLE);
    rig_settle(r);
    CHECK_EQ(q->version, 32);
    rig_free(r);
}

/* ---- cutting the log ---- */

static void cut_to_what_is_checkpointed(void)
{
    struct carry_options options = rig_options();
    struct rig *r;

    options.trailing_entries = 10;
    r = rig_new((struct rig_plan){.voters = 1, .options = &options});
    rig_elect(r, 1);
    put_many(r, 1, CUT_STEP - 2 + 9); /* one too few */
    rig_checkpoint(r, 1);
    CHECK_EQ(r->nodes[1].compactions, 0);
    put_many(r, 1, 1);
    carry_checkpointed(rig_carry(r, 1), CUT_STEP + 9, r->now_us); /* not all of it is down */
    CHECK_EQ(r->nodes[1].compactions, 0);
    rig_checkpoint(r, 1);
    CHECK_EQ(r->nodes[1].compacted, CUT_STEP);
    CHECK_EQ(raft_snapshot_index(rig_core(r, 1)), CUT_STEP);
    CHECK_EQ(r->nodes[1].disk.base.membership.configuration.index, 1);
    rig_stop(r, 1);
    rig_start(r, 1);
    rig_elect(r, 1);
    rig_put_now(r, 1, "k", "w");
    rig_free(r);
}

/* What the state machine has is not always what this node's carry has heard of. */
static void never_beyond_what_is_applied(void)
{
    struct rig *r = rig_new((struct rig_plan){.voters = 1});

    rig_elect(r, 1);
    put_many(r, 1, 100);
    rig_checkpoint(r, 1);
    CHECK_EQ(r->nodes[1].compacted, 102);
    r->nodes[1].hold.results = true;
    put_many(r, 1, 100);
    rig_checkpoint(r, 1); /* applied, flushed, and not known to the carry yet */
    CHECK_EQ(r->nodes[1].compacted, 102);
    r->nodes[1].hold.results = false;
    rig_settle(r);
    rig_checkpoint(r, 1);
    CHECK_EQ(r->nodes[1].compacted, 202);
    rig_free(r);
}

/* A node in `snapshots` sends: from the moment it is asked for, the log behind it stays. */
static void kept_while_a_snapshot_is_sent(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_node *n = &r->nodes[1];
    raft_index asked;

    rig_elect(r, 1);
    rig_cut(r, 3, true);
    put_many(r, 1, 100);
    rig_checkpoint(r, 1);
    n->hold.snapshots = true;
    rig_cut(r, 3, false);
    rig_run(r, 4 * RIG_HEARTBEAT);
    REQUIRE(n->snapshots_asked == 1);
    asked = raft_snapshot_index(rig_core(r, 1));
    put_many(r, 1, 200);
    rig_checkpoint(r, 1); /* the copy is being made: it may be one of before */
    CHECK_EQ(n->compacted, asked);
    carry_snapshot_sending(rig_carry(r, 1), 3, asked + 100);
    rig_checkpoint(r, 1);
    CHECK_EQ(n->compacted, asked + 100);
    put_many(r, 1, 200);
    rig_checkpoint(r, 1);
    CHECK_EQ(n->compacted, asked + 100);
    carry_snapshot_sent(rig_carry(r, 1), 3, false, 0, r->now_us);
    rig_checkpoint(r, 1);
    CHECK_EQ(n->compacted, carry_applied_index(rig_carry(r, 1)));
    n->sending_count = 0;
    n->hold.snapshots = false;
    rig_run(r, 4 * RIG_HEARTBEAT); /* asked for again */
    CHECK_EQ(carry_applied_index(rig_carry(r, 3)), carry_applied_index(rig_carry(r, 1)));
    CHECK_EQ(r->nodes[3].installs, 1);
    rig_free(r);
}

/* … but not whatever is written meanwhile; who gets it so late needs another one. */
static void kept_up_to_so_many_bytes(void)
{
    struct carry_options options = rig_options();
    struct rig *r;
    struct rig_node *n;
    raft_index asked;

    options.sending_bytes_max = 20000;
    r = rig_new((struct rig_plan){.options = &options});
    n = &r->nodes[1];
    rig_elect(r, 1);
    rig_cut(r, 3, true);
    put_many(r, 1, 200); /* before, they do not count */
    rig_checkpoint(r, 1);
    n->hold.snapshots = true;
    rig_cut(r, 3, false);
    rig_run(r, 4 * RIG_HEARTBEAT);
    REQUIRE(n->snapshots_asked == 1);
    asked = n->compacted;
    put_many(r, 1, 70);
    rig_write(r, 1, (struct rig_write){.key = "k", .value_bytes = 10000});
    rig_settle(r);
    carry_snapshot_sending(rig_carry(r, 1), 3, asked);
    rig_checkpoint(r, 1);
    CHECK_EQ(n->compacted, asked);
    rig_write(r, 1, (struct rig_write){.key = "k", .value_bytes = 10000});
    rig_settle(r);
    rig_checkpoint(r, 1);
    CHECK_EQ(n->compacted, carry_applied_index(rig_carry(r, 1)));
    n->hold.snapshots = false;
    rig_run(r, 10 * RIG_HEARTBEAT);
    CHECK_EQ(carry_applied_index(rig_carry(r, 3)), carry_applied_index(rig_carry(r, 1)));
    rig_free(r);
}

static void not_while_installing(void)
{
    struct rig *r = rig_new((struct rig_plan){0});

    rig_elect(r, 1);
    put_many(r, 1, 100);
    rig_run(r, RIG_HEARTBEAT);
    rig_cut(r, 3, true);
    put_many(r, 1, 10);
    r->nodes[3].hold.install = true;
    CHECK_EQ(rig_snapshot_give(r, 3, rig_snapshot_take(r, 1)), 0);
    CHECK(r->nodes[3].installing);
    rig_checkpoint(r, 3);
    CHECK_EQ(r->nodes[3].compactions, 0);
    rig_install_done(r, 3);
    rig_free(r);
}

/* ---- installing ---- */

/* 3 is cut off behind `shared` writes; then come `more`, which 1 and 2 have. */
static struct rig *laggard(int shared, int more)
{
    struct rig *r = rig_new((struct rig_plan){0});

    rig_elect(r, 1);
    put_many(r, 1, shared);
    rig_run(r, RIG_HEARTBEAT);
    rig_cut(r, 3, true);
    r->only = 1;
    put_many(r, 1, more);
    return r;
}

static void dropped_tail(void)
{
    struct rig *r = laggard(3, 10);
    struct rig_request *q;

    CHECK_EQ(rig_snapshot_give(r, 3, rig_snapshot_take(r, 1)), 0);
    rig_settle(r);
    CHECK_EQ(raft_snapshot_index(rig_core(r, 3)), 15);
    CHECK_EQ(raft_last_index(rig_core(r, 3)), 15);
    CHECK_EQ(carry_applied_index(rig_carry(r, 3)), 15);
    CHECK_EQ(r->nodes[3].disk.count, 0);
    rig_cut(r, 3, false);
    r->only = 0;
    put_many(r, 1, 1);
    rig_run(r, 4 * RIG_HEARTBEAT);
    q = rig_get(r, 3, "k", CARRY_LINEARIZABLE);
    rig_settle(r);
    CHECK_EQ(q->version, 16);
    rig_stop(r, 3);
    rig_start(r, 3);
    rig_run(r, RIG_ELECTION);
    CHECK_EQ(carry_applied_index(rig_carry(r, 3)), 16);
    rig_free(r);
}

/* It has the entries, and does not know that they are committed: those behind the snapshot stay. */
static void kept_tail(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct raft_message m = {.type = RAFT_APPEND,
                             .from = 2,
                             .to = 1,
                             .term = 1,
                             .prev_index = 1,
                             .prev_term = 1,
                             .entry_count = 10};
    struct rig *other = rig_new((struct rig_plan){.alone = true});

    for (int i = 0; i < 2; i++) { /* the same log in both; one has committed up to 7 */
        struct rig *of = i ? other : r;

        rig_feed(of, m, 1, 1, 10);
        rig_settle(of);
    }
    m.type = RAFT_HEARTBEAT, m.entry_count = 0, m.commit = 7;
    rig_feed(other, m, 0, 0, 0);
    rig_settle(other);
    CHECK_EQ(rig_snapshot_give(r, 1, rig_snapshot_take(other, 1)), 0);
    rig_settle(r);
    CHECK_EQ(raft_snapshot_index(rig_core(r, 1)), 7);
    CHECK_EQ(raft_last_index(rig_core(r, 1)), 11);
    CHECK_EQ(carry_applied_index(rig_carry(r, 1)), 7);
    CHECK_EQ(r->nodes[1].disk.count, 4);
    m.commit = 11;
    rig_feed(r, m, 0, 0, 0);
    rig_settle(r);
    CHECK_EQ(carry_applied_index(rig_carry(r, 1)), 11);
    rig_free(r);
    rig_free(other);
}

/* First everything that is on its way comes back; nothing new is handed out or taken in. */
static void drains_first(void)
{
    struct rig *r = laggard(3, 10);
    struct rig_node *n = &r->nodes[3];

    rig_cut(r, 3, false);
    n->hold.disk = n->hold.install = true;
    rig_put(r, 1, "k", "v"); /* an append with some of it is on 3's way to its disk */
    rig_run(r, RIG_HEARTBEAT);
    CHECK(n->write_count > 0);
    rig_cut(r, 3, true);
    put_many(r, 1, 5);
    CHECK_EQ(rig_snapshot_give(r, 3, rig_snapshot_take(r, 1)), 0);
    CHECK(carry_installing(rig_carry(r, 3)));
    CHECK(!n->installing);
    rig_cut(r, 3, false);
    rig_run(r, 3 * RIG_HEARTBEAT); /* appends are refused meanwhile */
    CHECK_EQ(carry_applied_index(rig_carry(r, 3)), 5);
    CHECK(!n->installing);
    n->hold.disk = false;
    rig_settle(r);
    CHECK(n->installing);
    CHECK_EQ(carry_applied_index(rig_carry(r, 3)), 5);
    rig_run(r, 3 * RIG_HEARTBEAT);
    rig_tick(r, 3);
    n->hold.install = false;
    rig_run(r, 4 * RIG_HEARTBEAT);
    CHECK_EQ(n->installs, 1);
    CHECK_EQ(carry_applied_index(rig_carry(r, 3)), 21);
    rig_free(r);
}

static void drains_the_state_machine(void)
{
    struct rig *r = laggard(3, 0);
    struct rig_node *n = &r->nodes[3];

    n->hold.machine = true;
    rig_cut(r, 3, false);
    put_many(r, 1, 3);
    rig_run(r, RIG_HEARTBEAT);
    CHECK_EQ(n->work_count, 1);
    rig_cut(r, 3, true);
    put_many(r, 1, 5);
    CHECK_EQ(rig_snapshot_give(r, 3, rig_snapshot_take(r, 1)), 0);
    rig_settle(r);
    CHECK(!n->installing);
    n->hold.machine = false;
    rig_settle(r);
    CHECK_EQ(n->installs, 1);
    CHECK_EQ(carry_applied_index(rig_carry(r, 3)), 13);
    rig_free(r);
}

/* The log got there first. */
static void overtaken(void)
{
    struct rig *r = laggard(3, 5);
    struct rig_node *n = &r->nodes[3];
    struct rig_snapshot *s = rig_snapshot_take(r, 1);

    rig_cut(r, 3, false);
    n->hold.disk = true;
    rig_run(r, 3 * RIG_HEARTBEAT); /* the entries are on their way to its disk */
    CHECK_EQ(raft_commit_index(rig_core(r, 3)), 10);
    CHECK_EQ(carry_applied_index(rig_carry(r, 3)), 5);
    CHECK_EQ(rig_snapshot_give(r, 3, s), ERR_NOT_FOUND);
    n->hold.disk = false;
    rig_settle(r);
    CHECK_EQ(carry_applied_index(rig_carry(r, 3)), 10);
    rig_free(r);
}

/* Dropped as soon as the log has committed as far, though its disk is never idle. */
static void overtaken_on_a_busy_disk(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct raft_message m = {.type = RAFT_APPEND,
                             .from = 2,
                             .to = 1,
                             .term = 1,
                             .prev_index = 1,
                             .prev_term = 1,
                             .entry_count = 10};
    struct rig *other = rig_new((struct rig_plan){.alone = true});

    rig_feed(other, m, 1, 1, 10);
    rig_feed(r, m, 1, 1, 10);
    rig_settle(r);
    m.prev_index = 11;
    r->nodes[1].hold.disk = true;
    rig_feed(r, m, 1, 2, 10);
    m.type = RAFT_HEARTBEAT, m.entry_count = 0, m.commit = 7;
    rig_settle(other);
    rig_feed(other, m, 0, 0, 0);
    rig_settle(other);
    CHECK_EQ(rig_snapshot_give(r, 1, rig_snapshot_take(other, 1)), 0);
    rig_settle(r);
    CHECK(carry_installing(rig_carry(r, 1)));
    CHECK_EQ(carry_applied_index(rig_carry(r, 1)), 0);
    rig_feed(r, m, 0, 0, 0);
    CHECK(!carry_installing(rig_carry(r, 1)));
    rig_settle(r);
    CHECK_EQ(carry_applied_index(rig_carry(r, 1)), 7);
    rig_free(r);
    rig_free(other);
}

/* A node that begins to lead while one waits needs it no more, and must not stop for it. */
static void leader_drops_it(void)
{
    struct rig *r = laggard(3, 0);
    struct rig_node *n = &r->nodes[3];
    struct rig_snapshot *s;

    put_many(r, 1, 2); /* 3 does not get these … */
    s = rig_snapshot_take(r, 1);
    rig_cut(r, 3, false);
    rig_run(r, 4 * RIG_HEARTBEAT); /* … but for now */
    rig_cut(r, 1, true);
    rig_checkpoint(r, 3);
    CHECK_EQ(rig_snapshot_give(r, 3, rig_snapshot_copy(s)), ERR_NOT_FOUND);
    s->cut.index += 5; /* one that lies before it */
    n->hold.machine = true;
    rig_elect(r, 3);
    CHECK_EQ(rig_snapshot_give(r, 3, s), ERR_NOT_FOUND);
    n->hold.machine = false;
    rig_settle(r);
    rig_put_now(r, 3, "k", "v");
    rig_free(r);
}

static void becomes_leader_while_draining(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct raft_message m = {.type = RAFT_APPEND,
                             .from = 2,
                             .to = 1,
                             .term = 1,
                             .prev_index = 1,
                             .prev_term = 1,
                             .entry_count = 10,
                             .commit = 5};
    struct rig *other = rig_new((struct rig_plan){.alone = true});
    struct rig_request *q;

    rig_feed(r, m, 1, 1, 10);
    m.commit = 9;
    rig_feed(other, m, 1, 1, 10);
    rig_settle(other);
    r->nodes[1].hold.results = true;
    rig_settle(r);
    CHECK_EQ(rig_snapshot_give(r, 1, rig_snapshot_take(other, 1)), 0);
    CHECK(carry_installing(rig_carry(r, 1)));
    m = (struct raft_message){.type = RAFT_TIMEOUT_NOW, .from = 2, .to = 1, .term = 1};
    rig_feed(r, m, 0, 0, 0);
    rig_settle(r);
    REQUIRE(rig_find(r, RAFT_VOTE, 1, 2));
    rig_reply(r, (struct raft_message){.type = RAFT_VOTE_REPLY,
                                       .from = 2,
                                       .to = 1,
                                       .term = raft_term_current(rig_core(r, 1)),
                                       .granted = true});
    CHECK_EQ(raft_state(rig_core(r, 1)), RAFT_LEADER);
    CHECK(raft_commit_index(rig_core(r, 1)) < 9);
    CHECK(!carry_installing(rig_carry(r, 1)));
    rig_lead(r);
    r->nodes[1].hold.results = false;
    q = rig_put(r, 1, "k", "v");
    rig_settle(r);
    rig_accept(r, rig_find(r, RAFT_APPEND, 1, 2));
    rig_settle(r);
    CHECK_EQ(q->answers, 1);
    CHECK_EQ(q->answer.code, 0);
    CHECK_EQ(r->nodes[1].installs, 0);
    rig_free(r);
    rig_free(other);
}

/* Appends held back are the core's before it begins: none comes in later, none is left behind. */
static void held_appends_first(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct raft_message m = {.type = RAFT_APPEND,
                             .from = 2,
                             .to = 1,
                             .term = 1,
                             .prev_index = 1,
                             .prev_term = 1,
                             .entry_count = 10,
                             .commit = 9};
    struct rig *other = rig_new((struct rig_plan){.alone = true});

    rig_feed(other, m, 1, 1, 10);
    rig_settle(other);
    m.prev_index = 11;
    rig_feed(r, m, 1, 2, 10); /* the first is missing */
    CHECK_EQ(r->nodes[1].waiting_count, 1);
    r->nodes[1].hold.install = true;
    CHECK_EQ(rig_snapshot_give(r, 1, rig_snapshot_take(other, 1)), 0);
    CHECK_EQ(r->nodes[1].waiting_count, 0);
    rig_run(r, 10 * RIG_ELECTION); /* nothing wakes it in vain */
    rig_tick(r, 1);                /* … and it does not stand for election */
    CHECK(r->nodes[1].installing);
    rig_install_done(r, 1);
    rig_settle(r);
    CHECK_EQ(carry_applied_index(rig_carry(r, 1)), 9);
    rig_free(r);
    rig_free(other);
}

/* The write that a stalled disk ends at last is the one that was waited for: the core hears of it
 * before it has to stand still. */
static void drains_a_stalled_disk(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct raft_message m = {.type = RAFT_APPEND,
                             .from = 2,
                             .to = 1,
                             .term = 1,
                             .prev_index = 1,
                             .prev_term = 1,
                             .entry_count = 10};
    struct rig *other = rig_new((struct rig_plan){.alone = true});

    r->nodes[1].hold.disk = r->nodes[1].hold.install = true;
    rig_feed(r, m, 1, 1, 10);
    m.commit = 9;
    rig_feed(other, m, 1, 1, 10);
    rig_settle(other);
    rig_run(r, 2 * RIG_ELECTION);
    CHECK(carry_stalled(rig_carry(r, 1)));
    CHECK_EQ(rig_snapshot_give(r, 1, rig_snapshot_take(other, 1)), 0);
    while (rig_disk_one(r, 1)) {
    }
    CHECK(r->nodes[1].installing);
    CHECK_EQ(rig_count(r, RAFT_APPEND_REPLY, 1, 2), 1);
    r->nodes[1].hold.disk = false;
    rig_install_done(r, 1);
    rig_settle(r);
    CHECK(!carry_stalled(rig_carry(r, 1)));
    CHECK_EQ(carry_applied_index(rig_carry(r, 1)), 9);
    rig_free(r);
    rig_free(other);
}

/* While the files are changed nothing is asked of the state machine; what waits is answered then,
 * or at its deadline. */
static void requests_while_switching(void)
{
    struct rig *r = laggard(3, 10);
    struct rig_request *q[4], *late[3], *before;

    r->nodes[3].hold.install = true;
    r->nodes[3].hold.machine = true;
    before = rig_get(r, 3, "k", CARRY_STALE);
    CHECK_EQ(rig_snapshot_give(r, 3, rig_snapshot_take(r, 1)), 0);
    REQUIRE(r->nodes[3].installing);
    q[0] = rig_get(r, 3, "k", CARRY_STALE);
    q[1] = rig_get(r, 3, "k", CARRY_LINEARIZABLE);
    q[2] = rig_get(r, 3, "k", CARRY_LEASE);
    q[3] = rig_read(r, 3, (struct rig_read){.key = "k", .mode = CARRY_STALE, .min_index = 8});
    for (int mode = CARRY_LINEARIZABLE; mode <= CARRY_STALE; mode++) {
        late[mode] =
            rig_read(r, 3,
                     (struct rig_read){
                         .key = "k", .mode = (enum carry_read_mode)mode, .timeout_us = 100000});
    }
    CHECK_EQ(r->nodes[3].work_count, 1);
    r->only = 3;
    r->nodes[3].hold.machine = false;
    rig_run(r, 150000);
    CHECK(before->served);
    CHECK_EQ(before->version, 5);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(late[i]->answers, 1);
        CHECK_EQ(late[i]->answer.code, ERR_TIMEOUT);
    }
    CHECK_EQ(carry_transfer(rig_carry(r, 3), 1, r->now_us, NULL), ERR_NO_LEADER);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(q[i]->answers, 0);
    }
    r->only = 0;
    rig_cut(r, 3, false);
    r->nodes[3].hold.install = false;
    rig_run(r, 8 * RIG_HEARTBEAT);
    for (int i = 0; i < 4; i++) {
        CHECK(q[i]->served);
        CHECK_EQ(q[i]->version, 15);
    }
    rig_free(r);
}

/* A write that was taken when this node led, in the turn that ended so. */
static void write_of_a_leader_that_was(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct rig *other = rig_new((struct rig_plan){.alone = true});
    struct raft_message m = {.type = RAFT_APPEND,
                             .from = 2,
                             .to = 1,
                             .term = 9,
                             .prev_index = 1,
                             .prev_term = 1,
                             .entry_count = 10,
                             .commit = 9};
    struct rig_request *q;

    rig_feed(other, m, 1, 1, 10);
    rig_settle(other);
    rig_lead(r);
    q = rig_put(r, 1, "k", "v");
    m.type = RAFT_HEARTBEAT, m.entry_count = 0, m.commit = 0;
    rig_feed(r, m, 0, 0, 0);
    while (rig_disk_one(r, 1)) {
    }
    r->nodes[1].hold.install = true;
    CHECK_EQ(rig_snapshot_give(r, 1, rig_snapshot_take(other, 1)), 0);
    REQUIRE(r->nodes[1].installing);
    rig_turn(r, 1);
    CHECK_EQ(q->answers, 1);
    CHECK_EQ(q->answer.code, ERR_NO_LEADER);
    CHECK_EQ(q->answer.outcome, OUTCOME_NOT_APPLIED);
    CHECK(carry_wake_us(rig_carry(r, 1)) > r->now_us);
    rig_install_done(r, 1);
    rig_settle(r);
    rig_free(r);
    rig_free(other);
}

/* What a snapshot says of itself comes from outside. */
static void impossible_snapshots(void)
{
    struct rig *r = laggard(3, 10);

    for (int i = 0; i < 4; i++) {
        struct rig_snapshot *s = rig_snapshot_take(r, 1);

        case_row("row %d", i);
        switch (i) {
        case 0: s->cut.term = 0; break;
        case 1: s->cut.membership.configuration.count = 0; break;
        case 2: s->cut.membership.configuration.index = s->cut.index + 1; break;
        case 3: s->cut.membership.configuration.members[0].flags = 64; break;
        }
        CHECK_EQ(rig_snapshot_give(r, 3, s), ERR_CORRUPT);
        CHECK(!carry_installing(rig_carry(r, 3)));
    }
    rig_free(r);
}

static void wanted(void)
{
    struct rig *r = laggard(3, 10);
    struct carry *c = rig_carry(r, 3);
    raft_term term = raft_term_current(rig_core(r, 3));

    CHECK_EQ(carry_snapshot_wanted(c, 1, term, 15), 0);
    CHECK_EQ(carry_snapshot_wanted(c, 1, term + 1, 15), 0);
    CHECK_EQ(carry_snapshot_wanted(c, 1, term - 1, 15), ERR_FORBIDDEN);
    CHECK_EQ(carry_snapshot_wanted(c, 2, term, 15), ERR_FORBIDDEN); /* 1 leads this term */
    CHECK_EQ(carry_snapshot_wanted(c, 1, term, 5), ERR_NOT_FOUND);
    r->nodes[3].hold.install = true;
    CHECK_EQ(rig_snapshot_give(r, 3, rig_snapshot_take(r, 1)), 0);
    CHECK_EQ(carry_snapshot_wanted(c, 1, term, 15), ERR_AGAIN);
    CHECK_EQ(carry_snapshot_received(c, 2, &r->nodes[3].install_cut, r->now_us), ERR_AGAIN);
    rig_install_done(r, 3);
    CHECK_EQ(carry_snapshot_wanted(c, 1, term, 15), ERR_NOT_FOUND);
    rig_free(r);
}

/* Through the log's whole way: asked for, sent, installed, and on from the log. */
static void laggard_catches_up(void)
{
    struct rig *r = laggard(3, 200);
    struct rig_request *q;
    struct carry_figures f;

    rig_checkpoint(r, 1);
    rig_checkpoint(r, 2);
    put_many(r, 1, 5);
    rig_cut(r, 3, false);
    r->only = 0;
    rig_run(r, 2 * RIG_ELECTION);
    CHECK_EQ(r->nodes[3].installs, 1);
    q = rig_get(r, 3, "k", CARRY_LINEARIZABLE);
    rig_settle(r);
    CHECK_EQ(q->version, 210);
    carry_figures(rig_carry(r, 3), &f);
    CHECK_EQ(f.snapshots_installed, 1);
    carry_figures(rig_carry(r, 1), &f);
    CHECK_EQ(f.snapshots_sent, 1);
    rig_free(r);
}

/* ---- time that the log tells ---- */

/* A leader whose log reaches farther than what it has applied goes on from the later time. */
static void cluster_time_goes_on(void)
{
    struct rig *r = rig_new((struct rig_plan){.voters = 1});
    uint64_t before_ms;

    rig_elect(r, 1);
    rig_sleep(r, 1000000000);
    rig_put_now(r, 1, "k", "v");
    before_ms = carry_cluster_time_ms(rig_carry(r, 1), r->now_us);
    CHECK(before_ms >= 1000000);
    rig_stop(r, 1);
    rig_start(r, 1); /* nothing was flushed */
    r->nodes[1].hold.log_reads = true;
    rig_elect(r, 1);
    r->nodes[1].hold.log_reads = false;
    rig_settle(r);
    CHECK(carry_cluster_time_ms(rig_carry(r, 1), r->now_us) >= before_ms);
    CHECK(carry_cluster_time_ms(rig_carry(r, 1), r->now_us) < before_ms + 1000);
    CHECK_EQ(carry_cluster_time_ms(rig_carry(r, 1), r->now_us + 60000000),
             carry_cluster_time_ms(rig_carry(r, 1), r->now_us) + 60000);
    rig_free(r);
}

static void sessions_expire_once(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    char ids[COMMAND_EXPIRE_MAX][COMMAND_CLIENT_BYTES + 1] = {"a", "b"};
    raft_index last;

    carry_sessions_expired(rig_carry(r, 1), ids, 2, r->now_us); /* a follower does not */
    rig_lead(r);
    last = raft_last_index(rig_core(r, 1));
    carry_sessions_expired(rig_carry(r, 1), ids, 0, r->now_us);
    CHECK_EQ(raft_last_index(rig_core(r, 1)), last);
    for (int i = 0; i < 3; i++) { /* asked again before it is applied */
        carry_sessions_expired(rig_carry(r, 1), ids, 2, r->now_us);
        CHECK_EQ(raft_last_index(rig_core(r, 1)), last + 1);
    }
    rig_accept(r, rig_find(r, RAFT_APPEND, 1, 2));
    rig_settle(r);
    carry_sessions_expired(rig_carry(r, 1), ids, 2, r->now_us);
    CHECK_EQ(raft_last_index(rig_core(r, 1)), last + 2);
    rig_free(r);
}

/* ---- stalls ---- */

enum stall { STALL_DISK, STALL_MACHINE, STALL_FLUSH };

static void stall(struct rig *r, raft_id id, enum stall what, bool on)
{
    struct rig_node *n = &r->nodes[id];

    n->hold.disk = what == STALL_DISK && on;
    n->hold.machine = what == STALL_MACHINE && on;
    if (what == STALL_FLUSH) {
        carry_flush_failing(n->carry, on, r->now_us);
    }
}

static void stalls(void)
{
    for (int what = STALL_DISK; what <= STALL_FLUSH; what++) {
        struct rig *r = rig_new((struct rig_plan){.voters = 1});
        struct rig_request *q;

        case_row("kind %d", what);
        rig_elect(r, 1);
        stall(r, 1, (enum stall)what, true);
        q = rig_put(r, 1, "k", "v");
        rig_run(r, RIG_ELECTION);
        CHECK_EQ(carry_stalled(rig_carry(r, 1)), what == STALL_FLUSH);
        rig_run(r, 1);
        CHECK(carry_stalled(rig_carry(r, 1)));
        CHECK_EQ(raft_state(rig_core(r, 1)), RAFT_LEADER); /* who else */
        stall(r, 1, (enum stall)what, false);
        rig_settle(r);
        CHECK(!carry_stalled(rig_carry(r, 1)));
        CHECK_EQ(q->answer.code, what == STALL_FLUSH ? ERR_NO_LEADER : 0);
        rig_put_now(r, 1, "k", "w");
        rig_free(r);
    }
}

/* Slow is not stalled: each completion begins the time anew. */
static void slow_is_not_stalled(void)
{
    struct rig *r = rig_new((struct rig_plan){.voters = 1});

    rig_elect(r, 1);
    r->nodes[1].hold.disk = r->nodes[1].hold.machine = true;
    for (int i = 0; i < 20; i++) {
        put_many(r, 1, 1);
    }
    for (int i = 0; i < 20; i++) {
        rig_run(r, RIG_ELECTION - 1);
        CHECK(!carry_stalled(rig_carry(r, 1)));
        rig_disk_one(r, 1);
        if (i > 0) {
            rig_evaluate_one(r, 1);
            rig_settle(r);
        }
    }
    CHECK(!carry_stalled(rig_carry(r, 1)));
    rig_free(r);
}

static void stalled_leader_is_replaced(void)
{
    for (int what = STALL_DISK; what <= STALL_FLUSH; what++) {
        struct rig *r = rig_new((struct rig_plan){0});
        raft_id leader;

        case_row("kind %d", what);
        rig_elect(r, 1);
        rig_run(r, RIG_ELECTION);
        stall(r, 1, (enum stall)what, true);
        rig_put(r, 1, "k", "v");
        rig_run(r, 2 * RIG_ELECTION);
        leader = rig_leader(r);
        CHECK(leader == 2 || leader == 3);
        CHECK(raft_state(rig_core(r, 1)) != RAFT_LEADER);
        rig_put_now(r, leader, "k", "w");
        rig_cut(r, leader, true); /* it does not stand while it is stalled */
        rig_run(r, 8 * RIG_ELECTION);
        CHECK(raft_state(rig_core(r, 1)) == RAFT_FOLLOWER);
        rig_cut(r, leader, false);
        stall(r, 1, (enum stall)what, false);
        rig_run(r, 4 * RIG_ELECTION);
        CHECK(!carry_stalled(rig_carry(r, 1)));
        CHECK_EQ(carry_applied_index(rig_carry(r, 1)), carry_applied_index(rig_carry(r, 2)));
        rig_free(r);
    }
}

/* ---- a full disk ---- */

static void low_disk_hands_over(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    raft_id leader;

    rig_elect(r, 1);
    rig_run(r, RIG_ELECTION);
    carry_disk_low(rig_carry(r, 1), true, r->now_us);
    rig_run(r, RIG_ELECTION);
    leader = rig_leader(r);
    CHECK(leader == 2 || leader == 3);
    rig_put_now(r, leader, "k", "v");
    /* It gets leadership back: away with it again, when it may. */
    rig_run(r, RIG_ELECTION);
    CHECK_EQ(carry_transfer(rig_carry(r, leader), 1, r->now_us, NULL), 0);
    rig_run(r, RIG_ELECTION);
    REQUIRE(rig_leader(r) == 1);
    carry_disk_low(rig_carry(r, 1), true, r->now_us);
    rig_run(r, RIG_ELECTION);
    CHECK_EQ(rig_leader(r), 1); /* not at once: all disks may be full */
    rig_run(r, 20 * RIG_ELECTION);
    carry_disk_low(rig_carry(r, 1), true, r->now_us);
    rig_run(r, RIG_ELECTION);
    CHECK(rig_leader(r) != 1);
    rig_free(r);
}

/* Nobody was there to hand over to: it is tried again. */
static void low_disk_tries_again(void)
{
    struct rig *r = rig_new((struct rig_plan){0});

    carry_disk_low(rig_carry(r, 1), true, r->now_us); /* a follower has nothing to hand over */
    rig_elect(r, 1);
    carry_disk_low(rig_carry(r, 1), true, r->now_us); /* leads since then */
    rig_run(r, RIG_ELECTION);
    CHECK(rig_leader(r) != 1);
    rig_free(r);
}

static const struct test_case cases[] = {
    {"apply: the leader not before its own disk", leader_behind_its_own_disk},
    {"apply: a follower not before its own disk", follower_behind_its_own_disk},
    {"apply: bytes ahead of the state machine", bytes_ahead_of_the_state_machine},
    {"apply: after a restart from the log", replay_from_the_log},
    {"cut: to what is checkpointed, less a trail", cut_to_what_is_checkpointed},
    {"cut: never beyond what is applied", never_beyond_what_is_applied},
    {"cut: not behind a snapshot that is sent", kept_while_a_snapshot_is_sent},
    {"cut: kept for it up to so many bytes", kept_up_to_so_many_bytes},
    {"cut: not while installing", not_while_installing},
    {"install: the tail is dropped", dropped_tail},
    {"install: the tail is kept", kept_tail},
    {"install: the disk drains first", drains_first},
    {"install: a stalled disk drains first", drains_a_stalled_disk},
    {"install: the state machine drains first", drains_the_state_machine},
    {"install: overtaken by the log", overtaken},
    {"install: overtaken, on a busy disk", overtaken_on_a_busy_disk},
    {"install: a leader needs none", leader_drops_it},
    {"install: it becomes leader while draining", becomes_leader_while_draining},
    {"install: appends held back come first", held_appends_first},
    {"install: requests while switching", requests_while_switching},
    {"install: a write of a leader that was", write_of_a_leader_that_was},
    {"install: impossible snapshots", impossible_snapshots},
    {"install: which are wanted", wanted},
    {"a laggard catches up", laggard_catches_up},
    {"cluster time goes on from the log's", cluster_time_goes_on},
    {"sessions expire once", sessions_expire_once},
    {"stall: begins and ends", stalls},
    {"stall: slow is none", slow_is_not_stalled},
    {"stall: the leader is replaced", stalled_leader_is_replaced},
    {"a low disk hands leadership over", low_disk_hands_over},
    {"a low disk hands over what it gets later", low_disk_tries_again},
};
CASES_MAIN(cases)
