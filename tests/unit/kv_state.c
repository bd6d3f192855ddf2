/* The state machine: conditions, layers, freezing and flushing, scans, damage and failing disks. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/hash.h"
#include "tests/support/kv_maker.h"
#include "tests/unit/tap.h"

enum { AS_IS, FROZEN, FLUSHED, RESTARTED, MODES };
static const char *const modes[MODES] = {"in memory", "frozen", "flushed", "restarted"};

static void settle(struct kv_rig *rig, int mode)
{
    if (mode == FROZEN)
        (void)state_freeze(rig->state);
    if (mode == FLUSHED || mode == RESTARTED)
        kv_rig_flush(rig);
    if (mode == RESTARTED)
        kv_rig_restart(rig);
}

static void rig_default(struct kv_rig *rig)
{
    struct state_options options = kv_rig_options();
    kv_rig_init(rig, &options);
}

/* ---- conditions */

static void test_conditions(void)
{
    struct command put = make_put("k", "v"), del = make_delete("k");
    const struct {
        const char *name;
        struct command command;
        int status;
        bool existed;
        uint64_t version, key_version; /* in the answer; afterwards */
    } steps[] = {
        {"delete of a missing key", del, 0, false, 1, 0},
        {"put if a version, of a missing key", with_version(put, 1), ERR_PRECONDITION_FAILED, false,
         0, 0},
        {"delete if a version, of a missing key", with_version(del, 1), ERR_PRECONDITION_FAILED,
         false, 0, 0},
        {"put if absent", with_absent(put), 0, false, 4, 4},
        {"put if absent, again", with_absent(put), ERR_PRECONDITION_FAILED, false, 4, 4},
        {"put if a lower version", with_version(put, 3), ERR_PRECONDITION_FAILED, false, 4, 4},
        {"put if a higher version", with_version(put, 5), ERR_PRECONDITION_FAILED, false, 4, 4},
        {"put if its version", with_version(put, 4), 0, false, 8, 8},
        {"put if the version before", with_version(put, 4), ERR_PRECONDITION_FAILED, false, 8, 8},
        {"put", put, 0, false, 10, 10},
        {"delete if another version", with_version(del, 8), ERR_PRECONDITION_FAILED, false, 10, 10},
        {"delete if its version", with_version(del, 10), 0, true, 12, 0},
        {"put if the version it had", with_version(put, 10), ERR_PRECONDITION_FAILED, false, 0, 0},
        {"delete again", del, 0, false, 14, 0},
        {"put if absent, after a delete", with_absent(put), 0, false, 15, 15},
        {"another key is of no concern", make_put("kk", "v"), 0, false, 16, 15},
        {"delete", del, 0, true, 17, 0},
    };
    for (int mode = 0; mode < MODES; mode++) {
        struct kv_rig rig;
        rig_default(&rig);
        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
            struct apply_result r = kv_rig_apply(&rig, steps[i].command);
            bool held = r.index == i + 1 && r.status == steps[i].status && !r.replayed &&
                        r.existed == steps[i].existed && r.version == steps[i].version &&
                        kv_rig_version(&rig, "k") == steps[i].key_version;
            if (!ok(held, "%s: %s", modes[mode], steps[i].name))
                diag("status %s, existed %d, version %" PRIu64 ", now %" PRIu64, err_name(r.status),
                     r.existed, r.version, kv_rig_version(&rig, "k"));
            settle(&rig, mode);
        }
        kv_rig_release(&rig);
    }
}

static void test_item(void)
{
    for (int mode = 0; mode < MODES; mode++) {
        struct kv_rig rig;
        rig_default(&rig);
        (void)kv_rig_apply(&rig, with_time(make_put("k", "old"), 1, 0));
        settle(&rig, mode);
        struct apply_result r = kv_rig_apply(&rig, with_time(make_put("k", "value"), 4711, 0));
        is_u64(r.timestamp_ms, 4711, "%s: the answer has the leader's clock", modes[mode]);
        settle(&rig, mode);
        struct row row;
        is_i64(state_get(rig.state, slice_str("k"), &row, NULL), 0, "%s: there", modes[mode]);
        is_mem(row.key.data, row.key.len, "k", 1, "%s: key", modes[mode]);
        is_mem(row.value.data, row.value.len, "value", 5, "%s: value", modes[mode]);
        is_u64(row.version, 2, "%s: version", modes[mode]);
        is_u64(row.timestamp_ms, 4711, "%s: timestamp", modes[mode]);
        (void)kv_rig_apply(&rig, make_put("k", ""));
        settle(&rig, mode);
        ok(state_get(rig.state, slice_str("k"), &row, NULL) == 0 && row.value.len == 0,
           "%s: an empty value is a value", modes[mode]);
        kv_rig_release(&rig);
    }
}

/* ---- entries that are no commands */

static void test_other_kinds(void)
{
    struct kv_rig rig;
    rig_default(&rig);
    (void)kv_rig_apply(&rig, with_time(make_put("k", "v"), 0, 50));
    struct apply_result r;
    struct entry *e = make_noop(2, 3);
    is_i64(state_apply(rig.state, e, &r, NULL), 0, "a no-op");
    entry_unref(e);
    ok(state_applied(rig.state) == 2 && state_applied_term(rig.state) == 3 && r.status == 0 &&
           r.index == 2,
       "moves what is applied");
    ok(kv_rig_version(&rig, "k") == 1 && state_cluster_time_ms(rig.state) == 50,
       "and nothing else");
    is_u64(state_membership(rig.state)->configuration.count, 0, "no members yet");

    struct membership m = make_membership(3, 7);
    e = make_configuration(&m, 3, 3);
    is_i64(state_apply(rig.state, e, &r, NULL), 0, "a configuration");
    entry_unref(e);
    m.configuration.index = 3;
    ok(membership_equal(state_membership(rig.state), &m), "becomes the membership, with its index");
    const struct memtable *frozen = state_freeze(rig.state);
    struct membership other = make_membership(1, 8);
    e = make_configuration(&other, 4, 3);
    is_i64(state_apply(rig.state, e, &r, NULL), 0, "another one");
    entry_unref(e);
    ok(membership_equal(memtable_membership(frozen), &m),
       "a frozen memtable keeps that of its end");
    rig.index = 4;
    kv_rig_flush(&rig);
    kv_rig_restart(&rig);
    other.configuration.index = 4;
    ok(membership_equal(state_membership(rig.state), &other), "the base has the last one");
    is_u64(state_applied_term(rig.state), 3, "and the term");
    kv_rig_release(&rig);
}

static void test_cluster_time(void)
{
    struct kv_rig rig;
    rig_default(&rig);
    (void)kv_rig_apply(&rig, with_time(make_put("k", "v"), 0, 100));
    (void)kv_rig_apply(&rig, with_time(make_put("k", "v"), 0, 90));
    is_u64(state_cluster_time_ms(rig.state), 100, "cluster time never goes back");
    (void)kv_rig_apply(&rig, with_time(with_client(make_put("k", "v"), "c", 9), 0, 120));
    is_u64(state_cluster_time_ms(rig.state), 120, "a write that is refused moves it");
    const struct memtable *m = state_freeze(rig.state);
    (void)kv_rig_apply(&rig, with_time(make_put("k", "v"), 0, 500));
    is_u64(memtable_cluster_time_ms(m), 120, "a frozen memtable keeps that of its end");
    kv_rig_flush(&rig);
    kv_rig_restart(&rig);
    is_u64(state_cluster_time_ms(rig.state), 500, "it outlives a restart");
    kv_rig_release(&rig);
}

static void test_damage(void)
{
    struct kv_rig rig;
    rig_default(&rig);
    (void)kv_rig_apply(&rig, with_time(make_put("k", "v"), 0, 10));
    struct command good = with_time(with_client(make_put("k", "new"), "c", 1), 0, 20);
    struct entry *flipped = make_entry(&good, 2, 1);
    flipped->data[flipped->size - 1] ^= 1;
    struct entry *undecodable = entry_new(RAFT_NORMAL, "\x01\x09 and so on", 12);
    entry_place(undecodable, 2, 1);
    struct entry *no_membership = entry_new(RAFT_CONFIGURATION, "\x01", 1);
    entry_place(no_membership, 2, 1);
    struct membership none = make_membership(0, 0);
    struct entry *no_members = make_configuration(&none, 2, 1);
    struct entry *talking = entry_new(RAFT_NOOP, "x", 1);
    entry_place(talking, 2, 1);
    struct {
        const char *name;
        struct entry *entry;
    } table[] = {
        {"a flipped bit", flipped},          {"a command that does not decode", undecodable},
        {"no membership", no_membership},    {"a membership without members", no_members},
        {"a no-op with a payload", talking},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct apply_result r;
        struct err err = {0};
        is_i64(state_apply(rig.state, table[i].entry, &r, &err), ERR_CORRUPT, "%s", table[i].name);
        has_str(err.text, "entry 2", "is named");
        ok(state_applied(rig.state) == 1 && state_cluster_time_ms(rig.state) == 10 &&
               kv_rig_version(&rig, "k") == 1 && state_session_count(rig.state) == 0 &&
               r.status == ERR_CORRUPT,
           "and leaves the state as it was");
        entry_unref(table[i].entry);
    }
    is_u64(kv_rig_apply(&rig, good).version, 2, "the right one goes on");
    kv_rig_release(&rig);
}

/* ---- a disk that fails */

static void test_failing_apply(void)
{
    struct command commands[] = {
        make_delete("k"),
        with_version(make_delete("k"), 1),
        with_version(make_put("k", "new"), 1),
        with_absent(make_put("k", "new")),
        with_absent(make_put("other", "new")),
    };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        struct kv_rig rig;
        rig_default(&rig);
        (void)kv_rig_apply(&rig, with_time(make_put("k", "v"), 0, 10));
        kv_rig_flush(&rig);
        struct command c = with_time(with_client(commands[i], "c", 1), 0, 20);
        struct entry *e = make_entry(&c, 2, 1);
        struct apply_result r;
        rig.trap.calls = 0;
        rig.trap.fail_at = 1;
        struct err err = {0};
        is_i64(state_apply(rig.state, e, &r, &err), ERR_IO, "command %zu: the base fails", i);
        has_str(err.text, "as the test asked for", "and says how");
        struct state_limits limits;
        state_limits(rig.state, &limits);
        ok(r.status == ERR_IO && state_applied(rig.state) == 1 &&
               state_cluster_time_ms(rig.state) == 10 && state_session_count(rig.state) == 0 &&
               limits.overlay_rows == 0 && kv_rig_version(&rig, "k") == 1,
           "command %zu: nothing happened", i);
        is_i64(state_apply(rig.state, e, &r, NULL), 0, "command %zu: tried again", i);
        ok(r.status == (i == 3 ? ERR_PRECONDITION_FAILED : 0) &&
               state_session_count(rig.state) == 1,
           "command %zu: it is applied", i);
        entry_unref(e);
        kv_rig_release(&rig);
    }
    struct kv_rig rig;
    rig_default(&rig);
    rig.trap.fail_at = 1;
    (void)kv_rig_apply(&rig, make_put("k", "v"));
    (void)kv_rig_apply(&rig, with_absent(make_put("k", "v")));
    (void)kv_rig_apply(&rig, make_delete("k"));
    (void)kv_rig_apply(&rig, make_delete("k"));
    is_u64(rig.trap.calls, 0, "what the overlay knows is not asked of the base");
    kv_rig_release(&rig);
}

static void test_failing_read(void)
{
    struct kv_rig rig;
    rig_default(&rig);
    (void)kv_rig_apply(&rig, make_put("a", "1"));
    (void)kv_rig_apply(&rig, make_put("b", "2"));
    kv_rig_flush(&rig);
    (void)kv_rig_apply(&rig, make_put("c", "3"));
    struct row row;
    rig.trap.calls = 0;
    rig.trap.fail_at = 1;
    is_i64(state_get(rig.state, slice_str("c"), &row, NULL), 0, "the overlay needs no base");
    is_i64(state_get(rig.state, slice_str("a"), &row, NULL), ERR_IO, "a read that fails");
    struct state_scan scan = {.limit = 10, .bytes_max = 1000};
    char text[256];
    bool more;
    for (uint64_t at = 1; at <= 4; at++) { /* seek, a, b, end */
        rig.trap.calls = 0;
        rig.trap.fail_at = at;
        is_i64(kv_rig_scan(&rig, &scan, &more, text, sizeof(text)), ERR_IO,
               "a scan whose call %" PRIu64 " fails", at);
    }
    rig.trap.fail_at = 0;
    must(kv_rig_scan(&rig, &scan, &more, text, sizeof(text)) == 0);
    is_str(text, "a=1@1 b=2@2 c=3@3", "and one that does not");
    kv_rig_release(&rig);
}

/* ---- scans */

/* Six keys over five layers: base, two frozen memtables, the active one, with overwrites and
 * deletes between. */
static void fill_layers(struct kv_rig *rig)
{
    rig_default(rig);
    (void)kv_rig_apply(rig, make_put("a", "1"));
    (void)kv_rig_apply(rig, make_put("b/1", "22"));
    (void)kv_rig_apply(rig, make_put("b/2", "3"));
    (void)kv_rig_apply(rig, make_put("gone", "4"));
    kv_rig_flush(rig);
    (void)kv_rig_apply(rig, make_put("b/2", "55"));
    (void)kv_rig_apply(rig, make_put("c", "6"));
    (void)kv_rig_apply(rig, make_delete("gone"));
    (void)state_freeze(rig->state);
    (void)kv_rig_apply(rig, make_put("b/3", "8"));
    (void)kv_rig_apply(rig, make_delete("c"));
    (void)kv_rig_apply(rig, make_put("never", ""));
    (void)state_freeze(rig->state);
    (void)kv_rig_apply(rig, make_put("c", "11"));
    (void)kv_rig_apply(rig, make_put("b/2", "12"));
    (void)kv_rig_apply(rig, make_delete("never"));
    (void)kv_rig_apply(rig, make_put("\xff\xff", "14"));
    (void)kv_rig_apply(rig, make_put("\xff\xff\xff", "15"));
}

static void test_scans(void)
{
#define ALL      "a=1@1 b/1=22@2 b/2=12@12 b/3=8@8 c=11@11 "
#define LAST     "\xff\xff=14@14 \xff\xff\xff=15@15"
#define REVERSED "\xff\xff\xff=15@15 \xff\xff=14@14 c=11@11 b/3=8@8 b/2=12@12 b/1=22@2 a=1@1"
    const struct {
        const char *name, *prefix, *start, *end, *after;
        bool reverse, keys_only;
        uint32_t limit;
        uint64_t bytes_max;
        const char *want;
        bool more;
    } table[] = {
        {"all", "", "", "", "", false, false, 99, 999, ALL LAST, false},
        {"all, reverse", "", "", "", "", true, false, 99, 999, REVERSED, false},
        {"prefix", "b/", "", "", "", false, false, 99, 999, "b/1=22@2 b/2=12@12 b/3=8@8", false},
        {"prefix, reverse", "b/", "", "", "", true, false, 99, 999, "b/3=8@8 b/2=12@12 b/1=22@2",
         false},
        {"prefix of nothing", "x", "", "", "", false, false, 99, 999, "", false},
        {"prefix that is a deleted key", "gone", "", "", "", false, false, 99, 999, "", false},
        {"prefix of 0xff", "\xff\xff", "", "", "", false, false, 99, 999, LAST, false},
        {"prefix of 0xff, reverse", "\xff", "", "", "", true, false, 99, 999,
         "\xff\xff\xff=15@15 \xff\xff=14@14", false},
        {"start is included", "", "b/2", "", "", false, false, 2, 999, "b/2=12@12 b/3=8@8", true},
        {"start between keys", "", "b/11", "b/3", "", false, false, 99, 999, "b/2=12@12", false},
        {"end is not included", "", "", "b/2", "", false, false, 99, 999, "a=1@1 b/1=22@2", false},
        {"end, reverse", "", "", "b/2", "", true, false, 99, 999, "b/1=22@2 a=1@1", false},
        {"start, reverse", "", "c", "", "", true, false, 99, 999,
         "\xff\xff\xff=15@15 \xff\xff=14@14 c=11@11", false},
        {"start above end", "", "c", "b", "", false, false, 99, 999, "", false},
        {"start is end", "", "b/2", "b/2", "", false, false, 99, 999, "", false},
        {"prefix and bounds within", "b/", "b/2", "b/3", "", false, false, 99, 999, "b/2=12@12",
         false},
        {"prefix and bounds around", "b/", "a", "z", "", false, false, 99, 999,
         "b/1=22@2 b/2=12@12 b/3=8@8", false},
        {"after", "", "", "", "b/2", false, false, 99, 999, "b/3=8@8 c=11@11 " LAST, false},
        {"after a key that is not there", "", "", "", "b/21", false, false, 1, 999, "b/3=8@8",
         true},
        {"after, reverse", "", "", "", "b/2", true, false, 99, 999, "b/1=22@2 a=1@1", false},
        {"after the last", "", "", "", "\xff\xff\xff", false, false, 99, 999, "", false},
        {"after the first, reverse", "", "", "", "a", true, false, 99, 999, "", false},
        {"after, below the prefix", "b/", "", "", "a", false, false, 99, 999,
         "b/1=22@2 b/2=12@12 b/3=8@8", false},
        {"after, above the prefix", "b/", "", "", "c", false, false, 99, 999, "", false},
        {"after, above the prefix, reverse", "b/", "", "", "c", true, false, 1, 999, "b/3=8@8",
         true},
        {"limit", "", "", "", "", false, false, 1, 999, "a=1@1", true},
        {"limit that is just enough", "b/", "", "", "", false, false, 3, 999,
         "b/1=22@2 b/2=12@12 b/3=8@8", false},
        {"bytes: one row always fits", "b/", "", "", "", false, false, 99, 0, "b/1=22@2", true},
        {"bytes: two rows fit", "b/", "", "", "", false, false, 99, 10, "b/1=22@2 b/2=12@12", true},
        {"bytes: two rows do not", "b/", "", "", "", false, false, 99, 9, "b/1=22@2", true},
        {"keys only", "b/", "", "", "", false, true, 99, 999, "b/1=@2 b/2=@12 b/3=@8", false},
        {"keys only count no values", "b/", "", "", "", true, true, 99, 6, "b/3=@8 b/2=@12", true},
    };
    for (int mode = 0; mode < MODES; mode++) {
        struct kv_rig rig;
        fill_layers(&rig);
        settle(&rig, mode);
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
            struct state_scan scan = {
                .prefix = slice_str(table[i].prefix),
                .start = slice_str(table[i].start),
                .end = slice_str(table[i].end),
                .after = slice_str(table[i].after),
                .reverse = table[i].reverse,
                .keys_only = table[i].keys_only,
                .limit = table[i].limit,
                .bytes_max = table[i].bytes_max,
            };
            char text[512];
            bool more = !table[i].more;
            must(kv_rig_scan(&rig, &scan, &more, text, sizeof(text)) == 0);
            is_str(text, table[i].want, "%s: scan: %s", modes[mode], table[i].name);
            is_i64(more, table[i].more, "… and whether there is more");
        }
        kv_rig_release(&rig);
    }
}

static int stop_at_b(void *argument, const struct row *row)
{
    (*(int *)argument)++;
    return row->key.data[0] == 'b' ? 77 : 0;
}

static void test_scan_stop(void)
{
    struct kv_rig rig;
    fill_layers(&rig);
    struct state_scan scan = {.limit = 10, .bytes_max = 1000};
    int calls = 0;
    bool more = false;
    is_i64(state_scan(rig.state, &scan, stop_at_b, &calls, &more, NULL), 77, "emit ends a scan");
    ok(calls == 2 && more, "at once");
    kv_rig_release(&rig);
}

static int count_rows(void *argument, const struct row *row)
{
    *(size_t *)argument += row->key.len > 0;
    return 0;
}

static void test_err_alone(void)
{
    struct kv_rig rig;
    rig_default(&rig);
    struct err err = {.code = 12345};
    struct apply_result r;
    struct command c = make_delete("missing");
    struct entry *e = make_entry(&c, 1, 1);
    must(state_apply(rig.state, e, &r, &err) == 0);
    entry_unref(e);
    is_i64(err.code, 12345, "what an apply does not find in the base is no error");
    struct state_scan scan = {.limit = 10, .bytes_max = 1000};
    size_t rows = 0;
    bool more;
    must(state_scan(rig.state, &scan, count_rows, &rows, &more, &err) == 0);
    is_i64(err.code, 12345, "nor is the end of a scan");
    rig.trap.fail_at = rig.trap.calls + 1;
    is_i64(state_scan(rig.state, &scan, count_rows, &rows, &more, &err), ERR_IO, "a failing disk");
    ok(err.code == ERR_IO && err.text[0] != '\0', "is one, with its detail");
    kv_rig_release(&rig);
}

/* ---- freezing and flushing */

static void test_freeze(void)
{
    struct kv_rig rig;
    rig_default(&rig);
    ok(state_freeze(rig.state) == NULL, "nothing applied, nothing frozen");
    struct entry *e = make_noop(1, 2);
    struct apply_result r;
    must(state_apply(rig.state, e, &r, NULL) == 0);
    entry_unref(e);
    rig.index = 1;
    rig.term = 2;
    const struct memtable *first = state_freeze(rig.state);
    ok(first && memtable_first_index(first) == 1 && memtable_last_index(first) == 1 &&
           memtable_last_term(first) == 2 && memtable_row_count(first) == 0,
       "an index alone is frozen, so that the flushed index follows");
    ok(state_freeze(rig.state) == first, "nothing new: the oldest one is returned");
    (void)kv_rig_apply(&rig, make_put("b", "22"));
    (void)kv_rig_apply(&rig, make_put("a", "1"));
    (void)kv_rig_apply(&rig, make_put("b", "2"));
    (void)kv_rig_apply(&rig, make_delete("a"));
    ok(state_freeze(rig.state) == first, "and with something new as well");
    struct state_limits limits;
    state_limits(rig.state, &limits);
    ok(limits.frozen == 2 && limits.overlay_rows == 2 && limits.overlay_bytes > 0 &&
           limits.applied == 5 && limits.flushed == 0,
       "the limits say so");
    ok(state_oldest_frozen(rig.state) == first, "the oldest comes first");
    state_flushed(rig.state, first);
    const struct memtable *second = state_oldest_frozen(rig.state);
    ok(second && memtable_first_index(second) == 2 && memtable_last_index(second) == 5 &&
           memtable_row_count(second) == 2,
       "then the next, which goes on where it ended");
    struct memtable_change change;
    const void *at = memtable_next(second, NULL, &change);
    ok(at && change.deleted && change.row.version == 5 && change.row.value.len == 0 &&
           change.row.key.data[0] == 'a',
       "its first change is a delete");
    at = memtable_next(second, at, &change);
    ok(at && !change.deleted && change.row.version == 4 && change.row.value.len == 1 &&
           change.row.key.data[0] == 'b',
       "its second is the last write of that key");
    ok(memtable_next(second, at, &change) == NULL, "and no more");
    state_flushed(rig.state, second);
    state_limits(rig.state, &limits);
    ok(limits.frozen == 0 && limits.overlay_rows == 0 && limits.overlay_bytes == 0 &&
           limits.applied == 5 && limits.flushed == 5,
       "flushed, nothing is left");
    ok(state_oldest_frozen(rig.state) == NULL, "and nothing frozen");
    kv_rig_release(&rig);
}

static void test_freeze_by_itself(void)
{
    struct kv_rig rig;
    struct state_options options = kv_rig_options();
    options.memtable_rows_max = 3;
    kv_rig_init(&rig, &options);
    struct command same = make_put("k", "v");
    for (int i = 0; i < 10; i++)
        (void)kv_rig_apply(&rig, same);
    ok(!state_oldest_frozen(rig.state), "one row, however often written, fills nothing");
    (void)kv_rig_apply(&rig, make_put("l", "v"));
    (void)kv_rig_apply(&rig, make_put("m", "v"));
    const struct memtable *m = state_oldest_frozen(rig.state);
    ok(m && memtable_row_count(m) == 3 && memtable_last_index(m) == 12, "rows fill it");
    kv_rig_release(&rig);

    options = kv_rig_options();
    options.memtable_bytes_max = 4096;
    kv_rig_init(&rig, &options);
    char value[2000];
    memset(value, 'x', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (int i = 0; i < 10; i++)
        (void)kv_rig_apply(&rig, make_put("k", value));
    ok(!state_oldest_frozen(rig.state), "bytes of rows that were replaced do not count");
    (void)kv_rig_apply(&rig, make_put("l", value));
    ok(state_oldest_frozen(rig.state) != NULL, "bytes fill it");
    kv_rig_release(&rig);

    options = kv_rig_options();
    options.memtable_bytes_max = 4096;
    kv_rig_init(&rig, &options);
    char client[16];
    for (int i = 0; i < 60; i++) {
        (void)snprintf(client, sizeof(client), "c%d", i);
        (void)kv_rig_apply(&rig, with_client(same, client, 1));
        if (i == 9)
            ok(state_oldest_frozen(rig.state) == NULL, "ten sessions do not");
    }
    ok(state_oldest_frozen(rig.state) != NULL, "sessions fill it too");
    kv_rig_release(&rig);

    options = kv_rig_options();
    options.index_stride = 4;
    kv_rig_init(&rig, &options);
    for (int i = 0; i < 3; i++)
        (void)kv_rig_apply(&rig, make_delete("nothing"));
    ok(!state_oldest_frozen(rig.state), "three indexes of four");
    (void)kv_rig_apply(&rig, make_delete("nothing"));
    m = state_oldest_frozen(rig.state);
    ok(m && memtable_last_index(m) == 4 && memtable_row_count(m) == 0, "the fourth ends it");
    for (int i = 0; i < 4; i++)
        (void)kv_rig_apply(&rig, make_delete("nothing"));
    struct state_limits limits;
    state_limits(rig.state, &limits);
    is_u64(limits.frozen, 2, "every fourth does");
    kv_rig_release(&rig);
}

static void test_freeze_where_asked(void)
{
    struct kv_rig rig;
    struct state_limits limits;
    rig_default(&rig);
    state_end_at(rig.state, 0);
    ok(!state_oldest_frozen(rig.state), "nothing ends before anything was applied");
    state_end_at(rig.state, 3);
    for (int i = 0; i < 2; i++)
        (void)kv_rig_apply(&rig, make_put("k", "v"));
    ok(!state_oldest_frozen(rig.state), "before the index asked for it goes on");
    for (int i = 0; i < 3; i++)
        (void)kv_rig_apply(&rig, make_put("k", "v"));
    const struct memtable *m = state_oldest_frozen(rig.state);
    ok(m && memtable_last_index(m) == 3, "there it ends");
    state_limits(rig.state, &limits);
    is_u64(limits.frozen, 1, "once");
    state_end_at(rig.state, 4);
    state_limits(rig.state, &limits);
    is_u64(limits.frozen, 1, "what is behind is behind");
    state_end_at(rig.state, 5);
    state_limits(rig.state, &limits);
    is_u64(limits.frozen, 2, "the applied index is the end at once");
    state_end_at(rig.state, 5);
    state_limits(rig.state, &limits);
    is_u64(limits.frozen, 2, "and no second one");
    for (int i = 0; i < STATE_ENDS_MAX; i++)
        state_end_at(rig.state, 7); /* again and again is once */
    for (raft_index i = 7; i < 7 + STATE_ENDS_MAX + 1; i++)
        state_end_at(rig.state, i); /* one too many: the first is forgotten */
    for (int i = 0; i < 7; i++)
        (void)kv_rig_apply(&rig, make_put("k", "v"));
    state_limits(rig.state, &limits);
    is_u64(limits.frozen, 2 + STATE_ENDS_MAX, "several may be asked for");
    kv_rig_release(&rig);
}

/* What is counted for the limits, over all memtables; the index over them grows. */
static void test_many_memtables(void)
{
    enum { KEYS = 2000, ROWS = 4 };
    struct kv_rig rig;
    struct state_options options = kv_rig_options();
    struct state_limits limits;
    char key[16];
    options.memtable_rows_max = ROWS;
    kv_rig_init(&rig, &options);
    for (int i = 0; i < KEYS + 2; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        (void)kv_rig_apply(&rig, make_put(key, "v"));
    }
    state_limits(rig.state, &limits);
    ok(limits.frozen == KEYS / ROWS && limits.overlay_rows == KEYS + 2,
       "rows of all memtables, the active one too");
    uint64_t a_row = limits.overlay_bytes / limits.overlay_rows;
    ok(a_row > sizeof(struct entry) + 30 && a_row < 500, "bytes as well: %" PRIu64 " a row", a_row);
    uint64_t before = limits.overlay_bytes;
    (void)kv_rig_apply(&rig, make_put("k0", "another value"));
    state_limits(rig.state, &limits);
    ok(limits.overlay_bytes > before + sizeof(struct entry), "more with each");
    (void)kv_rig_apply(&rig, make_put("k0", "v"));
    unsigned right = kv_rig_version(&rig, "k0") == KEYS + 4;
    for (int i = 1; i < KEYS + 2; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        right += kv_rig_version(&rig, key) == (uint64_t)i + 1;
    }
    is_u64(right, KEYS + 2, "every key is found");
    for (int i = 0; i < KEYS; i += 3) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        (void)kv_rig_apply(&rig, make_delete(key));
    }
    kv_rig_flush(&rig);
    is_u64(base_map_row_count(rig.map), KEYS + 2 - (KEYS + 2) / 3, "and flushed");
    state_limits(rig.state, &limits);
    ok(limits.overlay_rows == 0 && limits.overlay_bytes == 0, "then nothing is counted");
    kv_rig_release(&rig);
}

static void test_references(void)
{
    struct kv_rig rig;
    rig_default(&rig);
    enum { COUNT = 40 };
    struct entry *entries[COUNT];
    struct command keys[] = {make_put("a", "1"), make_put("b", "2"), make_put("c", "3"),
                             make_delete("a")};
    for (unsigned i = 0; i < COUNT; i++) {
        struct apply_result r;
        entries[i] = make_entry(&keys[i % 4], i + 1, 1);
        must(state_apply(rig.state, entries[i], &r, NULL) == 0);
        if (i % 7 == 6)
            (void)state_freeze(rig.state);
    }
    rig.index = COUNT;
    unsigned held = 0;
    for (unsigned i = 0; i < COUNT; i++)
        held += atomic_load(&entries[i]->refs) > 1;
    ok(held > 0 && held < COUNT, "rows hold their entries (%u), and let go of replaced ones", held);
    kv_rig_flush(&rig);
    held = 0;
    for (unsigned i = 0; i < COUNT; i++)
        held += atomic_load(&entries[i]->refs) > 1;
    is_u64(held, 0, "flushed, none is held");
    for (unsigned i = 0; i < COUNT; i++)
        entry_unref(entries[i]);
    kv_rig_release(&rig);
}

static void test_reset(void)
{
    struct kv_rig rig, source;
    rig_default(&rig);
    rig_default(&source);
    (void)kv_rig_apply(&rig, with_client(make_put("mine", "1"), "old", 1));
    (void)kv_rig_apply(&rig, make_put("k", "1"));
    (void)state_freeze(rig.state);
    (void)kv_rig_apply(&rig, make_put("k", "2"));
    for (int i = 0; i < 9; i++)
        (void)kv_rig_apply(&source, make_put("k", "far on"));
    (void)kv_rig_apply(&source, with_time(with_client(make_put("x", "y"), "new", 1), 0, 99));
    kv_rig_flush(&source);
    base_map_free(rig.map);
    rig.map = base_map_clone(source.map);
    rig.trap.real = base_map_base(rig.map);
    struct state_image image;
    base_map_image(rig.map, &image);
    state_reset(rig.state, &image);
    rig.index = 10;
    struct state_limits limits;
    state_limits(rig.state, &limits);
    ok(limits.applied == 10 && limits.flushed == 10 && limits.frozen == 0 &&
           limits.overlay_rows == 0,
       "an installed snapshot replaces everything");
    ok(kv_rig_version(&rig, "k") == 9 && kv_rig_version(&rig, "mine") == 0, "the rows");
    ok(state_cluster_time_ms(rig.state) == 99 && state_session_count(rig.state) == 1,
       "the sessions");
    is_u64(kv_rig_apply(&rig, with_client(make_put("x", "y"), "new", 1)).version, 10,
           "a retry of a write that only the snapshot saw has its first answer");
    is_u64(base_map_row_count(rig.map), base_map_row_count(source.map), "a clone has all rows");
    kv_rig_flush(&rig);
    is_u64(base_map_applied(rig.map), 11, "flushing goes on behind it");
    kv_rig_release(&rig);
    kv_rig_release(&source);
}

/* ---- two threads */

struct watcher {
    const struct memtable *memtable;
    uint64_t first, differing;
    unsigned rounds;
};

static uint64_t memtable_sum(const struct memtable *m)
{
    uint64_t sum = memtable_last_index(m) + memtable_cluster_time_ms(m) + memtable_row_count(m) +
                   memtable_membership(m)->configuration.index;
    struct memtable_change change;
    for (const void *at = NULL; (at = memtable_next(m, at, &change));) {
        sum = hash64(change.row.key.data, change.row.key.len, sum);
        sum = hash64(change.row.value.data, change.row.value.len, sum);
        sum += change.row.version + change.row.timestamp_ms + change.deleted;
    }
    for (uint32_t i = 0; i < memtable_session_count(m); i++) {
        bool gone;
        const struct session *s = memtable_session(m, i, &gone);
        sum = hash64(s->client, strlen(s->client), sum) + s->seq + s->used_index + gone;
    }
    return sum;
}

static void *watch(void *argument)
{
    struct watcher *w = argument;
    for (unsigned i = 0; i < w->rounds; i++)
        w->differing += memtable_sum(w->memtable) != w->first;
    return NULL;
}

static void write_random(struct kv_rig *rig, struct prng *p)
{
    char key[16], client[16];
    (void)snprintf(key, sizeof(key), "k%u", (unsigned)prng_below(p, 200));
    (void)snprintf(client, sizeof(client), "c%u", (unsigned)prng_below(p, 50));
    struct command c = prng_chance(p, 1, 4) ? make_delete(key) : make_put(key, client);
    if (prng_chance(p, 1, 2))
        c = with_client(c, client, prng_chance(p, 1, 4) ? 1 : rig->index + 1);
    (void)kv_rig_apply(rig, c);
}

static void test_threads(void)
{
    struct prng p;
    prng_seed(&p, test_seed());
    struct kv_rig rig;
    struct state_options options = kv_rig_options();
    options.sessions_max = 20;
    kv_rig_init(&rig, &options);
    uint64_t differing = 0;
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < 600; i++)
            write_random(&rig, &p);
        struct watcher w = {.memtable = state_freeze(rig.state), .rounds = 30};
        w.first = memtable_sum(w.memtable);
        pthread_t thread;
        must(pthread_create(&thread, NULL, watch, &w) == 0);
        for (int i = 0; i < 2000; i++) {
            write_random(&rig, &p);
            (void)kv_rig_version(&rig, "k1");
            if (i % 500 == 499)
                (void)state_freeze(rig.state);
        }
        must(pthread_join(thread, NULL) == 0);
        differing += w.differing;
        kv_rig_flush(&rig);
    }
    is_u64(differing, 0, "a frozen memtable stands still while the state goes on");
    kv_rig_release(&rig);
}

int main(void)
{
    test_conditions();
    test_item();
    test_other_kinds();
    test_cluster_time();
    test_damage();
    test_failing_apply();
    test_failing_read();
    test_scans();
    test_scan_stop();
    test_err_alone();
    test_freeze();
    test_freeze_by_itself();
    test_freeze_where_asked();
    test_many_memtables();
    test_references();
    test_reset();
    test_threads();
    return done();
}
