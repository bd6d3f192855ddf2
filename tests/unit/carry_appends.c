/* Appends: cut into slices, numbered, bounded on the wire, read from the disk where need be; and on
 * the other side put back into order before the core sees them. */
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/node/carry_internal.h"
#include "tests/support/carry_rig.h"

/* ---- out ---- */

static struct rig *leader_with(struct carry_options options)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true, .options = &options});

    rig_lead(r);
    return r;
}

static void put_many(struct rig *r, int count, size_t bytes)
{
    for (int i = 0; i < count; i++) {
        rig_write(r, 1, (struct rig_write){.key = "k", .value_bytes = bytes});
    }
    rig_turn(r, 1);
}

static const struct raft_message *append_to(struct rig *r, raft_id to, size_t n)
{
    struct rig_packet *p = rig_nth(r, RAFT_APPEND, 1, to, n);

    REQUIRE(p);
    return &p->m.message;
}

static uint64_t bytes_of(const struct peer_message *m)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < m->message.entry_count; i++) {
        bytes += m->entries[i]->size;
    }
    return bytes;
}

/* The appends to 2 and 3 as they are on the wire: without gap from `first` on. */
static void check_run(struct rig *r, raft_id to, size_t count, raft_index first)
{
    raft_index next = first;

    CHECK_EQ(rig_count(r, RAFT_APPEND, 1, to), count);
    for (size_t i = 0; i < count; i++) {
        const struct rig_packet *p = rig_nth(r, RAFT_APPEND, 1, to, i);
        const struct raft_message *m = &p->m.message;

        CHECK_EQ(m->prev_index, next - 1);
        CHECK_EQ(m->prev_term, raft_term_at(rig_core(r, 1), next - 1));
        for (uint32_t k = 0; k < m->entry_count; k++) {
            const struct entry *e = carry_log_entry(rig_carry(r, 1), next);

            e = e ? e : rig_disk_entry(&r->nodes[1], next);
            CHECK_EQ(p->m.entries[k]->index, next);
            CHECK_EQ(p->m.entries[k]->crc, e->crc);
            next++;
        }
        if (i > 0) {
            const struct rig_packet *before = rig_nth(r, RAFT_APPEND, 1, to, i - 1);

            CHECK_EQ(p->m.stream, before->m.stream);
            CHECK_EQ(p->m.seq, before->m.seq + 1);
        }
    }
}

static void slices_by_bytes(void)
{
    struct carry_options options = rig_options();
    struct rig *r;

    options.append_bytes_max = 1000;
    r = leader_with(options);
    put_many(r, 9, 400);
    CHECK_EQ(rig_count(r, RAFT_APPEND, 1, 2), 5);
    check_run(r, 2, 5, 3);
    check_run(r, 3, 5, 3);
    for (size_t i = 0; i < 5; i++) {
        CHECK_EQ(append_to(r, 2, i)->entry_count, i < 4 ? 2 : 1);
        CHECK(bytes_of(&rig_nth(r, RAFT_APPEND, 1, 2, i)->m) <= 1000);
    }
    rig_forget_all(r);
    rig_free(r);
}

/* One entry always fits, and does not take another along. */
static void one_entry_always_fits(void)
{
    struct carry_options options = rig_options();
    struct rig *r;

    options.append_bytes_max = 1000;
    r = leader_with(options);
    rig_write(r, 1, (struct rig_write){.key = "k", .value_bytes = 10});
    rig_write(r, 1, (struct rig_write){.key = "k", .value_bytes = 5000});
    rig_write(r, 1, (struct rig_write){.key = "k", .value_bytes = 10});
    rig_turn(r, 1);
    check_run(r, 2, 3, 3);
    rig_free(r);
}

static void bounded_on_the_wire(void)
{
    struct carry_options options = rig_options();
    struct rig *r;

    options.append_bytes_max = 100;
    options.wire_inflight_max = 2;
    r = leader_with(options);
    put_many(r, 6, 90);
    for (raft_index next = 3; next < 9; next += 2) {
        check_run(r, 2, 2, next); /* never more */
        check_run(r, 3, 2, 3);
        rig_accept(r, rig_nth(r, RAFT_APPEND, 1, 2, 0));
        rig_accept(r, rig_nth(r, RAFT_APPEND, 1, 2, 0));
    }
    CHECK_EQ(rig_count(r, RAFT_APPEND, 1, 2), 0);
    rig_settle(r);
    CHECK_EQ(raft_commit_index(rig_core(r, 1)), 8);
    rig_free(r);
}

/* Appends of the core wait for their place on the wire in order, more of them than fit at once. */
static void wait_for_the_wire(void)
{
    struct carry_options options = rig_options();
    raft_index next = 3;
    struct rig *r;

    options.wire_inflight_max = 1;
    r = leader_with(options);
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < 5; i++) {
            put_many(r, 1, 10);
        }
        for (int i = 0; i < 5; i++) {
            struct rig_packet *p = rig_nth(r, RAFT_APPEND, 1, 2, 0);

            REQUIRE(p && rig_count(r, RAFT_APPEND, 1, 2) == 1);
            CHECK_EQ(p->m.message.prev_index, next - 1);
            next += p->m.message.entry_count;
            rig_accept(r, p);
        }
        rig_settle(r);
    }
    CHECK_EQ(next, 3 + 300);
    rig_free(r);
}

static void add_learner(struct rig *r, raft_id id)
{
    struct raft_change add = {.kind = RAFT_ADD_LEARNER, .id = id};
    struct member_address a = {.id = id};

    r->nodes[id].played = true;
    snprintf(a.name, sizeof a.name, "n%d", (int)id);
    snprintf(a.url, sizeof a.url, "http://n%d", (int)id);
    CHECK_EQ(carry_change(rig_carry(r, 1), &add, &a, r->now_us, NULL), 0);
    rig_settle(r);
}

/* Each slice says the term of the entry before it. */
static void slices_over_several_terms(void)
{
    struct carry_options options = rig_options();
    struct raft_message refusal = {.type = RAFT_APPEND_REPLY, .from = 4, .to = 1};
    struct rig_packet *p;
    struct rig *r;

    options.append_bytes_max = 1;
    r = rig_new((struct rig_plan){.alone = true, .options = &options, .spares = 1});
    rig_lead(r);
    add_learner(r, 4);
    p = rig_find(r, RAFT_APPEND, 1, 4);
    REQUIRE(p);
    refusal.term = p->m.message.term;
    refusal.reject_index = p->m.message.prev_index;
    rig_forget(r, p);
    rig_reply(r, refusal); /* it has nothing */
    rig_settle(r);
    check_run(r, 4, 3, 1);
    rig_free(r);
}

/* After a loss what is behind it in the stream is not sent any more, and the next begins a new one;
 * the place on the wire is free again. */
static void new_stream_after_a_loss(void)
{
    struct carry_options options = rig_options();
    struct rig_packet *p;
    uint64_t stream;
    struct rig *r;

    options.append_bytes_max = 100;
    options.wire_inflight_max = 2;
    r = leader_with(options);
    put_many(r, 6, 90);
    p = rig_nth(r, RAFT_APPEND, 1, 2, 0);
    stream = p->m.stream;
    rig_lose(r, p);
    CHECK_EQ(rig_count(r, RAFT_APPEND, 1, 2), 1); /* the other one */
    rig_lose(r, rig_nth(r, RAFT_APPEND, 1, 2, 0));
    CHECK_EQ(rig_count(r, RAFT_APPEND, 1, 2), 0);
    rig_run(r, RIG_HEARTBEAT);
    rig_beat(r); /* it is there: from the beginning */
    REQUIRE(rig_count(r, RAFT_APPEND, 1, 2) == 2);
    p = rig_nth(r, RAFT_APPEND, 1, 2, 0);
    CHECK(p->m.stream > stream);
    CHECK_EQ(p->m.seq, 1);
    check_run(r, 2, 2, 3);
    rig_free(r);
}

/* An empty append ends where it begins: what follows a lost one would look like its successor. */
static void empty_append_is_lost(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    uint64_t stream = 0;

    rig_lead(r);
    rig_run(r, RIG_HEARTBEAT);
    rig_lose(r, rig_find(r, RAFT_HEARTBEAT, 1, 2)); /* so the core probes, with nothing to send */
    rig_forget_all(r);
    for (int i = 0; i < 3; i++) {
        struct rig_packet *p;

        rig_run(r, RIG_HEARTBEAT);
        rig_beat(r);
        p = rig_find(r, RAFT_APPEND, 1, 2);
        REQUIRE(p);
        CHECK_EQ(p->m.message.entry_count, 0);
        CHECK(i == 0 || (p->m.seq == 1 && p->m.stream > stream));
        stream = p->m.stream;
        rig_lose(r, p);
    }
    rig_free(r);
}

static void new_stream_after_a_refusal(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct raft_message refusal = {
        .type = RAFT_APPEND_REPLY, .from = 2, .to = 1, .hint_index = 2, .hint_term = 2};
    struct rig_packet *p;
    uint64_t stream;

    rig_lead(r);
    put_many(r, 3, 10);
    put_many(r, 2, 10); /* this one overtakes the other */
    p = rig_find(r, RAFT_APPEND, 1, 2);
    CHECK_EQ(p->m.seq, rig_nth(r, RAFT_APPEND, 1, 2, 0)->m.seq + 1);
    stream = p->m.stream;
    refusal.term = p->m.message.term;
    refusal.reject_index = p->m.message.prev_index;
    rig_forget(r, p);
    rig_reply(r, refusal);
    p = rig_find(r, RAFT_APPEND, 1, 2);
    CHECK(p->m.stream > stream);
    CHECK_EQ(p->m.seq, 1);
    CHECK_EQ(p->m.message.prev_index, 2);
    CHECK_EQ(p->m.message.entry_count, 5);
    rig_free(r);
}

static void appends_of_a_stream_go_on(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    const struct rig_packet *first, *last;

    rig_lead(r);
    for (int i = 0; i < 5; i++) {
        put_many(r, 2, 10);
    }
    check_run(r, 2, 5, 3);
    first = rig_nth(r, RAFT_APPEND, 1, 2, 0);
    last = rig_nth(r, RAFT_APPEND, 1, 2, 4);
    CHECK_EQ(first->m.stream, last->m.stream);
    CHECK(rig_nth(r, RAFT_APPEND, 1, 3, 0)->m.stream != first->m.stream);
    rig_free(r);
}

/* ---- from the disk ---- */

/* Entries 3 … 22 of 90 bytes are committed by 2 alone, applied, and out of memory. */
static struct rig *leader_with_a_laggard(void)
{
    struct carry_options options = rig_options();
    struct rig *r;

    options.append_bytes_max = 300;
    options.cache_bytes_max = 0;
    r = leader_with(options);
    rig_lose(r, (put_many(r, 1, 50), rig_find(r, RAFT_APPEND, 1, 3)));
    put_many(r, 19, 50);
    rig_settle(r);
    while (rig_find(r, RAFT_APPEND, 1, 2)) {
        rig_accept(r, rig_nth(r, RAFT_APPEND, 1, 2, 0));
        rig_settle(r);
    }
    CHECK_EQ(carry_applied_index(rig_carry(r, 1)), 22);
    CHECK(!carry_log_entry(rig_carry(r, 1), 22));
    CHECK_EQ(rig_count(r, RAFT_APPEND, 1, 3), 0);
    return r;
}

static void laggard_is_fed_from_the_disk(void)
{
    struct rig *r = leader_with_a_laggard();
    raft_index next = 3;

    rig_run(r, RIG_HEARTBEAT);
    rig_beat(r);
    while (next <= 22) {
        struct rig_packet *p = rig_nth(r, RAFT_APPEND, 1, 3, 0);

        REQUIRE(p);
        CHECK_EQ(p->m.message.prev_index, next - 1);
        CHECK(bytes_of(&p->m) <= 300);
        next += p->m.message.entry_count;
        rig_accept(r, p);
        rig_settle(r);
    }
    CHECK(r->nodes[1].log_reads_asked >= 3);
    for (int i = 0; i < 20 && rig_find(r, RAFT_APPEND, 1, 3); i++) { /* some went twice */
        rig_accept(r, rig_nth(r, RAFT_APPEND, 1, 3, 0));
        rig_settle(r);
    }
    CHECK_EQ(rig_count(r, RAFT_APPEND, 1, 3), 0);
    rig_free(r);
}

static void finds_it_compacted(bool in_pipeline)
{
    struct rig *r = leader_with_a_laggard();
    unsigned asked;

    r->nodes[1].hold.log_reads = true;
    r->nodes[1].hold.snapshots = true;
    rig_run(r, RIG_HEARTBEAT);
    rig_beat(r);
    if (in_pipeline) { /* the first slice arrives: the core sends without waiting from now on */
        rig_log_read_one(r, 1, 0);
        rig_accept(r, rig_nth(r, RAFT_APPEND, 1, 3, 0));
    }
    CHECK_EQ(r->nodes[1].log_read_count, 1);
    asked = r->nodes[1].log_reads_asked;
    put_many(r, 70, 10); /* so that the log is worth cutting */
    rig_settle(r);
    while (rig_find(r, RAFT_APPEND, 1, 2)) {
        rig_accept(r, rig_nth(r, RAFT_APPEND, 1, 2, 0));
        rig_settle(r);
    }
    rig_checkpoint(r, 1);
    CHECK(r->nodes[1].compacted > 22);
    r->nodes[1].hold.log_reads = false;
    rig_settle(r);
    CHECK_EQ(rig_count(r, RAFT_APPEND, 1, 3), 0);
    rig_run(r, RIG_HEARTBEAT);
    rig_beat(r);
    CHECK_EQ(r->nodes[1].snapshots_asked, 1);
    CHECK_EQ(r->nodes[1].log_reads_asked, asked); /* nothing of the old append is left */
    rig_free(r);
}

static void disk_read_finds_it_compacted(void)
{
    finds_it_compacted(false);
    finds_it_compacted(true);
}

/* With every heartbeat the core asks for the same once more: a read that takes longer than from one
 * to the next still counts. */
static void disk_read_takes_long(void)
{
    struct rig *r = leader_with_a_laggard();
    unsigned asked;

    r->nodes[1].hold.log_reads = true;
    rig_run(r, RIG_HEARTBEAT);
    rig_beat(r);
    asked = r->nodes[1].log_reads_asked;
    CHECK_EQ(r->nodes[1].log_read_count, 1);
    for (int i = 0; i < 3; i++) {
        rig_run(r, RIG_HEARTBEAT);
        rig_beat(r);
    }
    CHECK_EQ(r->nodes[1].log_reads_asked, asked);
    CHECK_EQ(rig_count(r, RAFT_APPEND, 1, 3), 0);
    rig_log_read_one(r, 1, 0);
    CHECK(rig_find(r, RAFT_APPEND, 1, 3));
    rig_free(r);
}

/* Its answer comes when nobody asks any more: after the leadership, or after the node itself. */
static void disk_read_comes_too_late(void)
{
    struct rig *r = leader_with_a_laggard();

    r->nodes[1].hold.log_reads = true;
    rig_run(r, RIG_HEARTBEAT);
    rig_beat(r);
    CHECK_EQ(r->nodes[1].log_read_count, 1);
    rig_feed(r, (struct raft_message){.type = RAFT_HEARTBEAT, .from = 2, .to = 1, .term = 9}, 0, 0,
             0);
    r->nodes[1].hold.log_reads = false;
    rig_settle(r);
    CHECK_EQ(rig_count(r, RAFT_APPEND, 1, 3), 0);
    rig_free(r);
}

/* Replies to appends of an earlier leadership free their places on the wire. */
static void wire_over_a_change_of_leadership(void)
{
    struct carry_options options = rig_options();
    struct rig_packet *p;
    struct rig *r;

    options.append_bytes_max = 100;
    options.wire_inflight_max = 2;
    r = leader_with(options);
    put_many(r, 4, 90);
    CHECK_EQ(rig_count(r, RAFT_APPEND, 1, 3), 2);
    rig_feed(r, (struct raft_message){.type = RAFT_HEARTBEAT, .from = 2, .to = 1, .term = 9}, 0, 0,
             0);
    while ((p = rig_find(r, RAFT_APPEND, 1, 0)) != NULL) { /* nothing more of what waited */
        CHECK(p->m.message.prev_index < 4);
        rig_lose(r, p);
    }
    rig_sleep(r, 2 * RIG_ELECTION);
    rig_lead(r);
    put_many(r, 4, 90);
    CHECK_EQ(rig_count(r, RAFT_APPEND, 1, 3), 2);
    CHECK_EQ(rig_count(r, RAFT_APPEND, 1, 2), 2);
    rig_free(r);
}

static void forget_those_to(struct rig *r, raft_id id)
{
    struct rig_packet *p;

    while (id != 0 && (p = rig_find(r, RAFT_MESSAGE_TYPES, 1, id)) != NULL) {
        rig_forget(r, p);
    }
}

/* Everybody answers what is sent, for some heartbeats; but for `silent`, which nothing is heard of
 * any more, not even that it failed. */
static void answer_all(struct rig *r, raft_id silent)
{
    struct rig_packet *p;

    for (int beat = 0; beat < 5; beat++) {
        rig_settle(r);
        forget_those_to(r, silent);
        while ((p = rig_nth(r, RAFT_APPEND, 1, 0, 0)) != NULL) {
            rig_accept(r, p);
            rig_settle(r);
            forget_those_to(r, silent);
        }
        rig_run(r, RIG_HEARTBEAT);
        forget_those_to(r, silent);
        rig_beat(r);
    }
}

/* Places for peers are taken over from those that are no members any more. */
static void members_come_and_go(void)
{
    struct carry_options options = rig_options();

    options.wire_inflight_max = 1;
    for (int silent = 0; silent < 2; silent++) {
        struct rig *r =
            rig_new((struct rig_plan){.alone = true, .spares = 28, .options = &options});

        case_row("%s", silent ? "without a word" : "in order");
        rig_lead(r);
        for (raft_id i = 8; i < 64; i++) {
            raft_id id = i / 2; /* each comes twice */
            struct raft_change remove = {.kind = RAFT_REMOVE, .id = id};

            add_learner(r, id);
            rig_run(r, RIG_HEARTBEAT);
            rig_beat(r); /* who was here before is asked first whether it is back */
            CHECK(rig_find(r, RAFT_APPEND, 1, id));
            answer_all(r, silent ? id : 0);
            CHECK_EQ(raft_configuration_latest(rig_core(r, 1))->count, 4);
            CHECK_EQ(carry_change(rig_carry(r, 1), &remove, NULL, r->now_us, NULL), 0);
            answer_all(r, silent ? id : 0);
            CHECK_EQ(raft_configuration_latest(rig_core(r, 1))->count, 3);
            CHECK_EQ(raft_commit_index(rig_core(r, 1)), raft_last_index(rig_core(r, 1)));
        }
        rig_free(r);
    }
}

/* ---- in ---- */

/* `entries` of leader 2's term 5 behind entry 1. */
static struct raft_message append_in(raft_index prev, uint32_t entries)
{
    return (struct raft_message){
        .type = RAFT_APPEND,
        .from = 2,
        .to = 1,
        .term = 5,
        .prev_index = prev,
        .prev_term = prev == 1 ? 1 : 5,
        .entry_count = entries,
    };
}

static size_t replies(struct rig *r, bool accepted)
{
    size_t count = 0;

    for (size_t i = 0;; i++) {
        const struct rig_packet *p = rig_nth(r, RAFT_APPEND_REPLY, 1, 2, i);

        if (!p) {
            return count;
        }
        count += p->m.message.accepted == accepted;
    }
}

/* Feeds appends 1 … n of a stream, two entries each, in the order given; all are accepted, whatever
 * the order. */
static void feed_in_order(struct rig *r, uint64_t stream, const uint32_t *order, uint32_t n)
{
    raft_index first = raft_last_index(rig_core(r, 1));

    for (uint32_t i = 0; i < n; i++) {
        CHECK_EQ(
            rig_feed(r, append_in(first + (raft_index)2 * order[i], 2), stream, order[i] + 1, 10),
            0);
    }
    rig_settle(r);
    CHECK_EQ(raft_last_index(rig_core(r, 1)), first + 2 * (raft_index)n);
    CHECK_EQ(replies(r, true), n);
    CHECK_EQ(replies(r, false), 0);
    rig_forget_all(r);
}

static void permute(struct rig *r, uint64_t *stream, uint32_t *order, uint32_t n, uint32_t k)
{
    if (k == n) {
        feed_in_order(r, ++*stream, order, n);
        return;
    }
    for (uint32_t i = k; i < n; i++) {
        uint32_t swap = order[k];

        order[k] = order[i], order[i] = swap;
        permute(r, stream, order, n, k + 1);
        swap = order[k];
        order[k] = order[i], order[i] = swap;
    }
}

static void any_order(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    uint32_t order[CARRY_HELD];
    uint64_t stream = 0;
    struct prng p;

    for (uint32_t i = 0; i < 5; i++) {
        order[i] = i;
    }
    permute(r, &stream, order, 5, 0);
    CHECK_EQ(stream, 120);
    prng_seed(&p, 1);
    for (int round = 0; round < 50; round++) {
        for (uint32_t i = 0; i < CARRY_HELD; i++) {
            uint32_t k = (uint32_t)prng_below(&p, i + 1);

            order[i] = order[k];
            order[k] = i;
        }
        feed_in_order(r, ++stream, order, CARRY_HELD);
    }
    rig_free(r);
}

static void gap_times_out(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct carry_figures f;

    rig_feed(r, append_in(1, 1), 1, 1, 10);
    rig_feed(r, append_in(3, 1), 1, 3, 10);
    rig_sleep(r, 1000);
    rig_feed(r, append_in(4, 1), 1, 4, 10);
    r->only = 99; /* whose time does not pass by itself */
    rig_settle(r);
    CHECK_EQ(replies(r, true), 1);
    CHECK_EQ(carry_wake_us(rig_carry(r, 1)), r->now_us - 1000 + RIG_HEARTBEAT);
    rig_sleep(r, RIG_HEARTBEAT - 1001);
    rig_tick(r, 1);
    rig_settle(r);
    CHECK_EQ(replies(r, false), 0);
    rig_sleep(r, 1);
    rig_tick(r, 1);
    rig_settle(r);
    CHECK_EQ(replies(r, false), 2); /* the core says what is missing */
    CHECK_EQ(rig_nth(r, RAFT_APPEND_REPLY, 1, 2, 1)->m.message.hint_index, 2);
    rig_feed(r, append_in(2, 1), 1, 2, 10); /* late after all */
    rig_feed(r, append_in(3, 1), 1, 5, 10);
    rig_settle(r);
    CHECK_EQ(replies(r, true), 3);
    carry_figures(rig_carry(r, 1), &f);
    CHECK_EQ(f.appends_held, 2);
    rig_free(r);
}

static void window_is_full(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});

    for (uint32_t i = 1; i <= CARRY_HELD; i++) {
        rig_feed(r, append_in(1 + i, 1), 1, i + 1, 10);
    }
    CHECK_EQ(replies(r, false), 0);
    rig_feed(r, append_in(2 + CARRY_HELD, 1), 1, CARRY_HELD + 2, 10);
    CHECK_EQ(replies(r, false), CARRY_HELD + 1);
    rig_free(r);
}

static void new_stream_replaces_the_old(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});

    rig_feed(r, append_in(2, 1), 1, 2, 10); /* held: the first is missing */
    CHECK_EQ(replies(r, false), 0);
    rig_feed(r, append_in(2, 1), 2, 2, 10); /* of the next stream, too early as well */
    CHECK_EQ(replies(r, false), 1);         /* the one of the old stream */
    rig_feed(r, append_in(1, 1), 2, 1, 10);
    rig_settle(r);
    CHECK_EQ(replies(r, true), 2);
    CHECK_EQ(replies(r, false), 1);
    rig_feed(r, append_in(1, 1), 1, 1, 10); /* of the old one: at once, and an old story */
    rig_settle(r);
    CHECK_EQ(replies(r, true), 3);
    CHECK_EQ(raft_last_index(rig_core(r, 1)), 3);
    rig_free(r);
}

static void new_leader_replaces_the_old(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct raft_message m = append_in(1, 1);

    rig_feed(r, append_in(2, 1), 9, 2, 10);
    m.term = 6;
    rig_feed(r, m, 1, 1, 10); /* streams of the new term begin low */
    rig_settle(r);
    CHECK_EQ(raft_last_index(rig_core(r, 1)), 2);
    CHECK_EQ(raft_term_at(rig_core(r, 1), 2), 6);
    CHECK_EQ(replies(r, false), 1);
    CHECK_EQ(replies(r, true), 1);
    /* Another leader of a later term does not wait behind what is held of the first. */
    rig_feed(r, append_in(2, 1), 9, 5, 10);
    m.from = 3, m.term = 7, m.prev_index = 2, m.prev_term = 6;
    rig_feed(r, m, 1, 1, 10);
    rig_settle(r);
    CHECK_EQ(raft_last_index(rig_core(r, 1)), 3);
    rig_run(r, RIG_HEARTBEAT);
    rig_free(r);
}

static void duplicates(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});

    for (int twice = 0; twice < 2; twice++) {
        rig_feed(r, append_in(3, 2), 1, 2, 10);
        rig_feed(r, append_in(3, 2), 1, 2, 10);
        rig_feed(r, append_in(1, 2), 1, 1, 10);
        rig_feed(r, append_in(1, 2), 1, 1, 10);
    }
    rig_settle(r);
    CHECK_EQ(raft_last_index(rig_core(r, 1)), 5);
    CHECK_EQ(replies(r, true), 8);
    rig_free(r);
}

/* Without numbers: at once, as it comes. */
static void without_a_stream(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});

    rig_feed(r, append_in(2, 1), 0, 0, 10);
    CHECK_EQ(replies(r, false), 1);
    rig_feed(r, append_in(1, 1), 0, 0, 10);
    rig_settle(r);
    CHECK_EQ(replies(r, true), 1);
    rig_free(r);
}

static void stops_with_appends_held(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});

    for (uint32_t i = 1; i < 5; i++) {
        rig_feed(r, append_in(1 + i, 3), 1, i + 1, 1000);
    }
    rig_free(r);
}

/* ---- what the core can hold ---- */

/* An append of leader 2 in term 1000 with these entries. */
static void feed_entries(struct rig *r, struct entry **entries, uint32_t count, uint64_t seq)
{
    struct peer_message m = {
        .cluster = r->cluster_id,
        .message = {.type = RAFT_APPEND,
                    .from = 2,
                    .to = 1,
                    .term = 1000,
                    .prev_index = entries[0]->index - 1,
                    .prev_term = raft_term_at(rig_core(r, 1), entries[0]->index - 1),
                    .entry_count = count},
        .stream = 1,
        .seq = seq,
        .entries = mem_dup(entries, count * sizeof(struct entry *)),
    };

    CHECK_EQ(rig_feed_message(r, &m), 0);
    rig_settle(r);
}

static void too_many_terms(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct entry *entries[300];

    for (uint32_t i = 0; i < 300; i++) {
        entries[i] = entry_new(RAFT_NOOP, "", 0);
        entry_place(entries[i], 2 + i, 2 + i);
    }
    feed_entries(r, entries, 300, 1);
    CHECK_EQ(raft_last_index(rig_core(r, 1)), 1 + 256);
    CHECK_EQ(rig_find(r, RAFT_APPEND_REPLY, 1, 2)->m.message.match_index, 1 + 256);
    rig_free(r);
}

static struct entry *configuration_entry(const struct rig *r, raft_index index, raft_id learner)
{
    struct membership m = r->first;
    struct entry *e;
    struct buf b;

    m.configuration.count = 4;
    m.configuration.members[3] = (struct raft_member){.id = learner};
    m.addresses[3].id = learner;
    snprintf(m.addresses[3].name, sizeof m.addresses[3].name, "m%llu", (unsigned long long)learner);
    snprintf(m.addresses[3].url, sizeof m.addresses[3].url, "http://m%llu",
             (unsigned long long)learner);
    buf_init(&b, LIMIT_ENTRY_BYTES);
    ASSERT(membership_encode(&m, &b) > 0);
    e = entry_new(RAFT_CONFIGURATION, b.data, b.len);
    entry_place(e, index, 1000);
    buf_release(&b);
    return e;
}

static void too_many_configurations(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct entry *entries[RAFT_CONFIGURATIONS_MAX + 4];

    for (uint32_t i = 0; i < RAFT_CONFIGURATIONS_MAX + 4; i++) {
        entries[i] = configuration_entry(r, 2 + i, 100 + i);
    }
    feed_entries(r, entries, RAFT_CONFIGURATIONS_MAX + 4, 1);
    CHECK_EQ(raft_last_index(rig_core(r, 1)), 1 + RAFT_CONFIGURATIONS_MAX);
    CHECK_EQ(carry_membership(rig_carry(r, 1))->addresses[3].id, 100 + RAFT_CONFIGURATIONS_MAX - 1);
    rig_free(r);
}

static void configuration_that_is_none(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct entry *entries[3];

    for (uint32_t i = 0; i < 3; i++) {
        entries[i] = entry_new(i == 1 ? RAFT_CONFIGURATION : RAFT_NOOP, "x", i == 1);
        entry_place(entries[i], 2 + i, 1000);
    }
    feed_entries(r, entries, 3, 1);
    CHECK_EQ(raft_last_index(rig_core(r, 1)), 2);
    rig_free(r);
}

/* Hundreds of members over the years: each configuration that the log may be cut at has its
 * addresses, also after a restart. */
static void addresses_of_many_members(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct entry *entries[10];
    raft_index next = 2;
    uint64_t seq = 0;

    for (raft_id learner = 100; learner < 1000; learner += 10) {
        struct raft_message beat = {.type = RAFT_HEARTBEAT, .from = 2, .to = 1, .term = 1000};

        for (uint32_t i = 0; i < 10; i++) {
            entries[i] = configuration_entry(r, next++, learner + i);
        }
        feed_entries(r, entries, 10, ++seq);
        CHECK_EQ(raft_last_index(rig_core(r, 1)), next - 1);
        beat.commit = next - 3;
        rig_feed(r, beat, 0, 0, 0);
        rig_settle(r);
        rig_forget_all(r);
        rig_checkpoint(r, 1);
        if (learner == 500) {
            rig_stop(r, 1);
            rig_start(r, 1);
            seq = 0;
        }
    }
    /* What a former leader tells of others does not push out those who are needed. */
    for (raft_id learner = 2000; learner < 2500; learner += 10) {
        struct raft_message m = {.type = RAFT_APPEND, .from = 3, .to = 1, .term = 999};
        struct peer_message stale = {.cluster = r->cluster_id, .message = m};

        stale.entries = mem_calloc(10, sizeof(struct entry *));
        stale.message.prev_index = 1;
        stale.message.entry_count = 10;
        for (uint32_t i = 0; i < 10; i++) {
            stale.entries[i] = configuration_entry(r, 2 + i, learner + i);
        }
        CHECK_EQ(rig_feed_message(r, &stale), 0);
    }
    for (raft_index i = next - RAFT_CONFIGURATIONS_MAX; i < next; i++) {
        struct membership m;

        carry_membership_of(rig_carry(r, 1), raft_configuration_at(rig_core(r, 1), i), &m);
        CHECK_EQ(m.addresses[3].id, 100 + i - 2);
    }
    entries[0] = configuration_entry(r, next, 5000);
    feed_entries(r, entries, 1, ++seq);
    CHECK_EQ(carry_membership(rig_carry(r, 1))->addresses[1].id, 2);
    CHECK(r->nodes[1].compactions > 5);
    CHECK(r->nodes[1].compacted > 800);
    rig_free(r);
}

/* ---- what is no request for this node ---- */

static void not_for_us(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct raft_message m = append_in(1, 1);

    m.from = 1;
    CHECK_EQ(rig_feed(r, m, 1, 1, 10), ERR_BAD_REQUEST);
    m = append_in(1, 0);
    m.type = RAFT_APPEND_REPLY;
    CHECK_EQ(rig_feed(r, m, 0, 0, 0), ERR_BAD_REQUEST);
    CHECK_EQ(r->nodes[1].waiting_count, 0);
    rig_free(r);
}

static void strangers(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true, .spares = 20});
    struct raft_message m = {.type = RAFT_PRE_VOTE, .to = 1, .term = 9};

    rig_lead(r);
    for (raft_id id = 4; id <= 22; id++) {
        struct raft_message append = append_in(1, 1);

        r->nodes[id].played = true;
        m.from = id;
        CHECK_EQ(rig_feed(r, m, 0, 0, 0), ERR_FORBIDDEN);
        append.from = id;
        append.term = 1;
        CHECK_EQ(rig_feed(r, append, 1, 1, 10), 0); /* leaders may know what we do not */
    }
    rig_settle(r);
    CHECK_EQ(raft_state(rig_core(r, 1)), RAFT_LEADER);
    put_many(r, 1, 10);
    CHECK_EQ(rig_count(r, RAFT_APPEND, 1, 2), 1);
    CHECK_EQ(rig_count(r, RAFT_APPEND, 1, 3), 1);
    rig_free(r);
}

/* Who is told that it is no member: nobody whose removal may still be undone, and no vote is
 * withheld that might be needed. */
static void who_is_told(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct raft_change remove = {.kind = RAFT_REMOVE, .id = 3};
    struct raft_message asks = {.type = RAFT_PRE_VOTE, .from = 3, .to = 1, .term = 9};
    struct raft_message append = append_in(1, 1);

    append.commit = 1; /* of the configuration, too */
    case_row("a leader");
    rig_lead(r);
    CHECK_EQ(carry_change(rig_carry(r, 1), &remove, NULL, r->now_us, NULL), 0);
    rig_settle(r);
    CHECK_EQ(rig_feed(r, asks, 0, 0, 0), 0);
    rig_accept(r, rig_find(r, RAFT_APPEND, 1, 2)); /* C_old,new is committed, C_new appended */
    rig_settle(r);
    REQUIRE(!raft_configuration_find(raft_configuration_latest(rig_core(r, 1)), 3));
    REQUIRE(raft_change_pending(rig_core(r, 1)));
    CHECK_EQ(rig_feed(r, asks, 0, 0, 0), 0);
    rig_accept(r, rig_find(r, RAFT_APPEND, 1, 2));
    rig_settle(r);
    REQUIRE(!raft_change_pending(rig_core(r, 1)));
    for (int type = RAFT_PRE_VOTE; type <= RAFT_READ_INDEX; type++) {
        asks.type = (enum raft_message_type)type;
        if (type != RAFT_APPEND && type != RAFT_HEARTBEAT) {
            CHECK_EQ(rig_feed(r, asks, 0, 0, 0), ERR_FORBIDDEN);
        }
    }
    rig_free(r);

    case_row("a follower");
    r = rig_new((struct rig_plan){.alone = true, .spares = 1});
    asks.from = 4;
    asks.term = 5;
    for (int heard = 0; heard <= 1; heard++) {
        CHECK_EQ(raft_leader(rig_core(r, 1)), heard ? 2 : 0);
        asks.type = RAFT_PRE_VOTE;
        CHECK_EQ(rig_feed(r, asks, 0, 0, 0), heard ? ERR_FORBIDDEN : 0);
        asks.type = RAFT_VOTE;
        CHECK_EQ(rig_feed(r, asks, 0, 0, 0), 0);
        asks.type = RAFT_READ_INDEX;
        CHECK_EQ(rig_feed(r, asks, 0, 0, 0), 0);
        CHECK_EQ(rig_feed(r, append, 1, 1, 10), 0);
        rig_settle(r);
    }
    rig_free(r);
}

static const struct test_case cases[] = {
    {"out: slices by bytes", slices_by_bytes},
    {"out: one entry always fits", one_entry_always_fits},
    {"out: bounded on the wire", bounded_on_the_wire},
    {"out: appends wait for the wire", wait_for_the_wire},
    {"out: slices over several terms", slices_over_several_terms},
    {"out: a new stream after a loss", new_stream_after_a_loss},
    {"out: a new stream after a refusal", new_stream_after_a_refusal},
    {"out: appends of a stream go on", appends_of_a_stream_go_on},
    {"out: an empty append is lost", empty_append_is_lost},
    {"out: a laggard is fed from the disk", laggard_is_fed_from_the_disk},
    {"out: the disk finds it compacted", disk_read_finds_it_compacted},
    {"out: a disk that takes long to read", disk_read_takes_long},
    {"out: the disk's answer comes too late", disk_read_comes_too_late},
    {"out: the wire over a change of leadership", wire_over_a_change_of_leadership},
    {"out: members come and go", members_come_and_go},
    {"in: any order within the window", any_order},
    {"in: a gap times out", gap_times_out},
    {"in: the window is full", window_is_full},
    {"in: a new stream replaces the old one", new_stream_replaces_the_old},
    {"in: a new leader replaces the old one", new_leader_replaces_the_old},
    {"in: duplicates", duplicates},
    {"in: without a stream", without_a_stream},
    {"in: the node stops with appends held", stops_with_appends_held},
    {"in: more terms than fit are cut", too_many_terms},
    {"in: more configurations than fit are cut", too_many_configurations},
    {"in: cut at a configuration that is none", configuration_that_is_none},
    {"in: addresses of many members", addresses_of_many_members},
    {"in: what is no request for this node", not_for_us},
    {"in: strangers", strangers},
    {"who is told that it is no member", who_is_told},
};
CASES_MAIN(cases)
