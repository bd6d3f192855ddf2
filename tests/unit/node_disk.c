/*
 * The disk's thread with a full disk: what was asked for is done once there is room, in the order
 * in which it was asked for, and nothing is given up.
 */
#ifdef RAFTKV_TEST_VFS
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/node/disk.h"
#include "lib/store/test_vfs.h"
#include "tests/support/cases.h"
#include "tests/unit/store.h"

enum { LOOK_US = 2000 };

struct fixture {
    struct loop *loop;
    struct loop_timer *look;
    struct data_dir *dir;
    struct log_store *store;
    struct log_store_state state;
    struct done_queue *queue;
    struct disk *disk;
    unsigned done, expected; /* works */
    bool was_full;
};

static struct fixture f;

static void fatal(void *argument, const struct err *err)
{
    (void)argument;
    case_fail("fatal: %s", err->text);
    case_abandon();
}

/* There is room again as soon as the thread says that it waits for some. */
static void look(void *argument)
{
    struct disk_figures figures;

    (void)argument;
    disk_figures(f.disk, &figures);
    if (figures.full) {
        f.was_full = true;
        CHECK_EQ(f.done, 0);
        REQUIRE(test_vfs_rules("", NULL) == 0);
    }
    loop_timer_at(f.look, clock_now_us() + LOOK_US);
}

static void told(struct work *w)
{
    (void)w;
    if (++f.done == f.expected) {
        loop_stop(f.loop);
    }
}

static void begin(void)
{
    f = (struct fixture){0};
    REQUIRE(loop_new(&f.loop, NULL) == 0);
    REQUIRE(done_queue_new(f.loop, &f.queue, NULL) == 0);
    REQUIRE(data_dir_open(store_fresh_path("disk"), &f.dir, NULL) == 0);
    REQUIRE(log_store_open(f.dir, "node1", &f.store, &f.state, NULL) == 0);
    REQUIRE(disk_start(f.store, f.queue, fatal, NULL, NULL, &f.disk, NULL) == 0);
    f.look = loop_timer_new(f.loop, look, NULL);
    REQUIRE(test_vfs_rules("raft.db write full", NULL) == 0);
}

static void run_until(unsigned works)
{
    f.expected = works;
    worker_flush(disk_worker(f.disk));
    loop_timer_at(f.look, clock_now_us());
    loop_run(f.loop);
    CHECK(f.was_full);
    disk_stop(f.disk);
    loop_timer_free(f.look);
    done_queue_free(f.queue);
    loop_free(f.loop);
    REQUIRE(log_store_close(f.store, NULL) == 0);
    REQUIRE(log_store_open(f.dir, "node1", &f.store, &f.state, NULL) == 0);
}

static void end(void)
{
    REQUIRE(log_store_close(f.store, NULL) == 0);
    data_dir_close(f.dir);
}

static struct disk_write *write_of(raft_index index)
{
    struct disk_write *dw = mem_zalloc(sizeof *dw);

    dw->work.kind = DISK_WRITE;
    dw->work.done = told;
    dw->write = mem_zalloc(sizeof *dw->write);
    dw->write->hard_state = true;
    dw->write->term = index;
    dw->write->entry_count = 1;
    dw->write->entries = mem_calloc(1, sizeof *dw->write->entries);
    dw->write->entries[0] = store_entry(index, index, 100);
    return dw;
}

static void writes(void)
{
    struct disk_write *w[3];

    begin();
    for (unsigned i = 0; i < 3; i++) {
        w[i] = write_of(i + 1);
        worker_post(disk_worker(f.disk), &w[i]->work);
    }
    run_until(3);
    CHECK_EQ(f.state.term, 3);
    CHECK_EQ(f.state.last_index, 3);
    for (unsigned i = 0; i < 3; i++) {
        mem_free(w[i]);
    }
    end();
}

static void an_installation(void)
{
    struct disk_install i = {
        .work = {.kind = DISK_INSTALL, .done = told},
        .cut = {.index = 7, .term = 2, .membership = store_membership(1, 3)},
    };
    struct disk_write *w;

    begin();
    i.generation = f.state.kv_generation + 1;
    i.kept_tail = true;
    worker_post(disk_worker(f.disk), &i.work);
    w = write_of(8);
    worker_post(disk_worker(f.disk), &w->work); /* behind it, as asked for */
    run_until(2);
    CHECK(!i.kept_tail);
    CHECK_EQ(f.state.snapshot_index, 7);
    CHECK_EQ(f.state.snapshot_term, 2);
    CHECK_EQ(f.state.kv_generation, i.generation);
    CHECK_EQ(f.state.last_index, 8);
    mem_free(w);
    end();
}

static const struct test_case cases[] = {
    {"writes wait for room", writes},
    {"so does the installation of a snapshot", an_installation},
};
CASES_MAIN(cases)
#else
#include "tests/unit/tap.h"

int main(void)
{
    skip("disk", "needs a build with RAFTKV_TEST_VFS");
    return done();
}
#endif
