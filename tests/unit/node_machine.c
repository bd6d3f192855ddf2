/*
 * The state machine's and the flusher's threads at their end: whatever is under way when they are
 * told to stop, nothing is handed to a thread that has ended, and nothing is lost.
 */
#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/node/machine.h"
#include "lib/store/test_vfs.h"
#include "tests/support/cases.h"
#include "tests/unit/store.h"

enum { ROWS_MAX = 4, NEVER_MS = 1000000 };

struct fixture {
    struct loop *loop;
    struct data_dir *dir;
    struct done_queue *done;
    struct machine *machine;
    raft_index applied; /* told of */
    struct loop_timer *look;
    unsigned switched, flushed;
    bool disk_fails, failing; /* on purpose; as told */
};

static struct fixture f;

static void fatal(void *argument, const struct err *err)
{
    (void)argument;
    case_fail("fatal: %s", err->text);
    case_abandon();
}

static void flushed(void *argument, raft_index index, struct digest digest)
{
    (void)argument;
    (void)index;
    (void)digest;
    f.flushed++;
}

static void checkpointed(void *argument, raft_index index)
{
    (void)argument;
    (void)index;
}

static void flush_failing(void *argument, bool failing)
{
    (void)argument;
    if (!f.disk_fails) {
        case_fail("a flush fails");
    }
    f.failing = failing;
    loop_stop(f.loop);
}

static void begin(uint32_t pace_ms)
{
    struct machine_options options = {
        .generation = 1,
        .pace_ms = pace_ms,
        .fatal = fatal,
        .flushed = flushed,
        .checkpointed = checkpointed,
        .flush_failing = flush_failing,
        .state = {.memtable_rows_max = ROWS_MAX,
                  .memtable_bytes_max = 1 << 20,
                  .sessions_max = 10,
                  .session_ttl_ms = 1000},
    };

    f = (struct fixture){0};
    REQUIRE(loop_new(&f.loop, NULL) == 0);
    REQUIRE(done_queue_new(f.loop, &f.done, NULL) == 0);
    REQUIRE(data_dir_open(store_fresh_path("machine"), &f.dir, NULL) == 0);
    REQUIRE(kv_store_prepare(f.dir, 1, true, NULL) == 0);
    options.dir = f.dir;
    options.loop = f.loop;
    options.done = f.done;
    REQUIRE(machine_start(&options, &f.machine, NULL) == 0);
}

/* Stops, and looks what the file says. */
static void end(uint64_t generation, raft_index applied)
{
    struct kv_writer *writer;
    struct kv_image image = {0};

    machine_stop(f.machine);
    done_queue_free(f.done);
    loop_free(f.loop);
    REQUIRE(kv_writer_open(f.dir, generation, NULL, &writer, NULL) == 0);
    REQUIRE(kv_writer_image(writer, &image, NULL) == 0);
    CHECK_EQ(image.image.applied, applied);
    mem_free(image.sessions);
    kv_writer_close(writer);
    data_dir_close(f.dir);
}

static void applied(struct work *w)
{
    struct machine_apply *a = (struct machine_apply *)w;

    for (size_t i = 0; i < a->count; i++) {
        CHECK_EQ(a->results[i].result.index, ++f.applied);
    }
}

/* Puts from `first` on, one work for all. */
static void apply(raft_index first, size_t count)
{
    struct entry *entries[64];
    char key[32];

    for (size_t i = 0; i < count; i++) {
        struct command c;

        snprintf(key, sizeof key, "key%zu", i);
        c = make_put(key, "value");
        entries[i] = make_entry(&c, first + i, 1);
    }
    machine_post_apply(f.machine, entries, count, NULL, applied);
}

static void switched(void *argument)
{
    (void)argument;
    f.switched++;
    loop_stop(f.loop);
}

static void freeze_due_at_the_end(void)
{
    begin(NEVER_MS);
    apply(1, ROWS_MAX + 1); /* a full memtable waits; nobody has heard of it yet */
    end(1, ROWS_MAX + 1);
    CHECK_EQ(f.applied, ROWS_MAX + 1);
    CHECK_EQ(f.flushed, 0); /* by the threads: they had ended */
}

static void closing(void)
{
    begin(NEVER_MS);
    apply(1, 2);
    machine_flush_turn(f.machine);
    machine_close(f.machine, switched, NULL);
    machine_stop(f.machine);
    CHECK_EQ(f.applied, 2);
    CHECK_EQ(f.switched, 0);
    done_queue_free(f.done);
    loop_free(f.loop);
    data_dir_close(f.dir);
}

static void opening(void)
{
    begin(NEVER_MS);
    machine_close(f.machine, switched, NULL);
    loop_run(f.loop);
    REQUIRE(f.switched == 1);
    REQUIRE(kv_store_prepare(f.dir, 2, true, NULL) == 0);
    machine_open(f.machine, 2, switched, NULL);
    end(2, 0);
    CHECK_EQ(f.switched, 1);
}

/* The disk's word that the new file is named comes while the threads end. */
static struct work named;

static void named_done(struct work *w)
{
    (void)w;
    machine_open(f.machine, 2, switched, NULL);
}

static void asked_to_open_at_the_end(void)
{
    begin(NEVER_MS);
    machine_close(f.machine, switched, NULL);
    loop_run(f.loop);
    REQUIRE(kv_store_prepare(f.dir, 2, true, NULL) == 0);
    named.done = named_done;
    done_post_one(f.done, &named);
    end(2, 0);
    CHECK_EQ(f.switched, 1);
}

static void another_generation(void)
{
    begin(NEVER_MS);
    apply(1, 3);
    machine_flush_turn(f.machine);
    machine_close(f.machine, switched, NULL);
    loop_run(f.loop);
    REQUIRE(kv_store_prepare(f.dir, 2, true, NULL) == 0);
    machine_open(f.machine, 2, switched, NULL);
    loop_run(f.loop);
    CHECK_EQ(f.switched, 2);
    f.applied = 0; /* the new file is empty */
    apply(1, 2);
    end(2, 2);
}

static void stop_when_flushed(void *argument)
{
    struct digest digest;

    (void)argument;
    if (machine_digest_at(f.machine, 2, &digest)) {
        loop_stop(f.loop);
    } else {
        loop_timer_at(f.look, clock_now_us() + 1000);
    }
}

/* Nothing is due for long, and yet there is a digest of the state where one was asked for. */
static void digest_where_asked(void)
{
    struct digest before = {0}, after = {0}, other = {0};

    begin(NEVER_MS);
    CHECK(machine_digest_at(f.machine, 0, &before)); /* of what the file said */
    machine_end_at(f.machine, 2);
    apply(1, 3);
    machine_flush_turn(f.machine);
    f.look = loop_timer_new(f.loop, stop_when_flushed, NULL);
    loop_timer_at(f.look, clock_now_us() + 1000);
    loop_run(f.loop);
    CHECK_EQ(f.flushed, 1);
    CHECK(machine_digest_at(f.machine, 2, &after));
    CHECK(!digest_equal(before, after));
    CHECK(!machine_digest_at(f.machine, 3, &other));
    CHECK(!machine_digest_at(f.machine, 1, &other));
    machine_end_at(f.machine, 1); /* behind */
    machine_flush_turn(f.machine);
    loop_timer_free(f.look);
    end(1, 3);
}

#ifdef RAFTKV_TEST_VFS
/* The flush has synced the head of the WAL; the rows in it are synced by the checkpoint, whose
 * failure alone is an alarm, and which is tried again though nothing new is to be flushed. */
static void checkpoints_that_fail(void)
{
    begin(1);
    f.disk_fails = true;
    REQUIRE(test_vfs_rules("kv sync error after=1", NULL) == 0);
    apply(1, 2);
    machine_flush_turn(f.machine);
    loop_run(f.loop);
    CHECK(f.failing);
    CHECK_EQ(f.flushed, 1);
    REQUIRE(test_vfs_rules("", NULL) == 0);
    loop_run(f.loop);
    CHECK(!f.failing);
    end(1, 2);
}
#endif

static const struct test_case cases[] = {
#ifdef RAFTKV_TEST_VFS
    {"checkpoints that fail", checkpoints_that_fail},
#endif
    {"stopped while a memtable waits to be flushed", freeze_due_at_the_end},
    {"stopped while the files are being closed", closing},
    {"stopped while other files are being opened", opening},
    {"told to open other files when it stops", asked_to_open_at_the_end},
    {"a digest where one is asked for", digest_where_asked},
    {"another generation", another_generation},
};
CASES_MAIN(cases)
