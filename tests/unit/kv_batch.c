/* Batches in the state machine: all or nothing, the first answer again, memory that is accounted.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "tests/support/kv_maker.h"
#include "tests/unit/tap.h"

#define KEY(text)                                                                                  \
    {                                                                                              \
        (const uint8_t *)(text), sizeof(text) - 1                                                  \
    }
#define PUT(key, value)                                                                            \
    {                                                                                              \
        COMMAND_PUT, KEY(key), KEY(value)                                                          \
    }
#define DELETE(key)                                                                                \
    {                                                                                              \
        COMMAND_DELETE, KEY(key),                                                                  \
        {                                                                                          \
            NULL, 0                                                                                \
        }                                                                                          \
    }

static struct buf room;

static void rig_default(struct kv_rig *rig)
{
    struct state_options options = kv_rig_options();
    kv_rig_init(rig, &options);
}

static void test_writes(bool flushed)
{
    static const struct command_write writes[] = {PUT("a", "1"), DELETE("b"), DELETE("c"),
                                                  PUT("d", "")};
    struct kv_rig rig;
    rig_default(&rig);
    (void)kv_rig_apply(&rig, make_put("a", "0"));
    (void)kv_rig_apply(&rig, make_put("c", "0"));
    if (flushed)
        kv_rig_flush(&rig);
    struct apply_result r = kv_rig_apply(&rig, make_batch(&room, writes, 4));
    is_i64(r.status, 0, "applied");
    is_u64(r.version, 3, "its version is its index");
    is_u64(r.batch_existed[0], 1 << 2, "only the key that was there is told as deleted");
    is_u64(kv_rig_version(&rig, "a"), 3, "what it puts has its version");
    is_u64(kv_rig_version(&rig, "d"), 3, "all of it");
    is_u64(kv_rig_version(&rig, "c"), 0, "what it deletes is gone");
    kv_rig_flush(&rig);
    kv_rig_restart(&rig);
    char all[128];
    bool more;
    struct state_scan scan = {.limit = 10, .bytes_max = 1000};
    is_i64(kv_rig_scan(&rig, &scan, &more, all, sizeof(all)), 0, "a scan");
    is_str(all, "a=1@3 d=@3", "the same after a flush and a restart");
    kv_rig_release(&rig);
}

static void test_replay(void)
{
    struct command_write writes[] = {DELETE("a"), DELETE("b"), PUT("c", "1")};
    struct kv_rig rig;
    rig_default(&rig);
    (void)kv_rig_apply(&rig, make_put("b", "0"));
    struct command batch = with_client(make_batch(&room, writes, 3), "c", 1);
    (void)kv_rig_apply(&rig, batch);
    kv_rig_flush(&rig);
    kv_rig_restart(&rig);
    (void)kv_rig_apply(&rig, make_put("a", "after it"));
    struct apply_result r = kv_rig_apply(&rig, batch);
    ok(r.replayed && r.status == 0 && r.version == 2, "a retry is told the first answer");
    is_u64(r.batch_existed[0], 1 << 1, "with what the first try deleted");
    is_u64(kv_rig_version(&rig, "a"), 3, "and writes nothing");
    writes[2] = (struct command_write)PUT("c", "2");
    r = kv_rig_apply(&rig, with_client(make_batch(&room, writes, 3), "c", 1));
    is_i64(r.status, ERR_SEQ_REUSED, "another batch under its number is refused");
    (void)kv_rig_apply(&rig, with_client(make_put("x", "y"), "c", 2));
    r = kv_rig_apply(&rig, with_client(make_put("x", "y"), "c", 2));
    ok(r.replayed && r.batch_existed[0] == 0, "nothing of a batch is left in the next answer");
    kv_rig_release(&rig);
}

static void test_failing_base(void)
{
    static const struct command_write writes[] = {PUT("a", "new"), DELETE("b"), DELETE("c")};
    struct kv_rig rig;
    rig_default(&rig);
    (void)kv_rig_apply(&rig, make_put("b", "0"));
    (void)kv_rig_apply(&rig, make_put("c", "0"));
    kv_rig_flush(&rig);
    for (unsigned at = 1; at <= 2; at++) {
        struct command batch = make_batch(&room, writes, 3);
        struct entry *e = make_entry(&batch, 3, 1);
        struct apply_result r;
        rig.trap.calls = 0;
        rig.trap.fail_at = at;
        ok(state_apply(rig.state, e, &r, NULL) != 0, "the disk fails at read %u", at);
        rig.trap.fail_at = 0;
        is_u64(state_applied(rig.state), 2, "not applied");
        ok(kv_rig_version(&rig, "a") == 0 && kv_rig_version(&rig, "b") == 1, "none of it is");
        entry_unref(e);
    }
    struct apply_result r = kv_rig_apply(&rig, make_batch(&room, writes, 3));
    is_u64(r.batch_existed[0], 6, "applied when the disk answers");
    kv_rig_release(&rig);
}

/* A row that stays while the rest of its batch is overwritten must not keep, or hide, the rest. */
static void test_memory(void)
{
    enum { LARGE = 100000, ROUNDS = 50 };
    char *value = mem_zalloc(LARGE);
    struct kv_rig rig;
    struct state_limits limits;
    rig_default(&rig);
    for (int i = 0; i < ROUNDS; i++) {
        char key[24];
        (void)snprintf(key, sizeof(key), "small-%02d", i);
        struct command_write writes[] = {
            {COMMAND_PUT, KEY("large"), slice_of(value, LARGE)},
            {COMMAND_PUT, slice_str(key), slice_str("v")},
        };
        (void)kv_rig_apply(&rig, make_batch(&room, writes, 2));
    }
    state_limits(rig.state, &limits);
    is_u64(limits.overlay_rows, ROUNDS + 1, "rows");
    ok(limits.overlay_bytes > LARGE && limits.overlay_bytes < 2 * LARGE,
       "%" PRIu64 " bytes: one large value, and what is small", limits.overlay_bytes);
    kv_rig_release(&rig);
    mem_free(value);
}

static void test_most(void)
{
    struct command_write *writes = mem_calloc(LIMIT_BATCH_WRITES, sizeof(*writes));
    char(*keys)[16] = mem_calloc(LIMIT_BATCH_WRITES, sizeof(*keys));
    struct kv_rig rig;
    rig_default(&rig);
    for (int i = 0; i < LIMIT_BATCH_WRITES; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "k%04d", i);
        writes[i] = (struct command_write){COMMAND_PUT, slice_str(keys[i]), slice_str("v")};
    }
    (void)kv_rig_apply(&rig, make_batch(&room, writes, LIMIT_BATCH_WRITES));
    for (int i = 0; i < LIMIT_BATCH_WRITES; i++) {
        writes[i].op = COMMAND_DELETE;
        writes[i].value = slice_of(NULL, 0);
    }
    struct apply_result r = kv_rig_apply(&rig, make_batch(&room, writes, LIMIT_BATCH_WRITES));
    bool all = true;
    for (uint32_t i = 0; i < LIMIT_BATCH_WRITES; i++)
        all = all && batch_existed(r.batch_existed, i);
    ok(all, "%d deletes, each told", LIMIT_BATCH_WRITES);
    ok(kv_rig_version(&rig, "k0000") == 0 && kv_rig_version(&rig, "k1023") == 0, "all are gone");
    kv_rig_release(&rig);
    mem_free(writes);
    mem_free(keys);
}

static bool refused(const struct command_write *writes, uint32_t count, const char *want)
{
    struct command c = make_batch(&room, writes, count);
    /* command_encode asserts, so the bytes are put together from those of a good one. */
    static const struct command_write good[] = {PUT("a", "b")};
    struct buf one;
    buf_init(&one, 100);
    struct command head = make_batch(&one, good, 1);
    size_t fixed = command_encoded_bytes(&head) - head.writes.len;
    size_t len = fixed + c.writes.len;
    uint8_t *bytes = mem_alloc(fixed + head.writes.len + c.writes.len);
    command_encode(&head, bytes);
    bytes[fixed - 2] = (uint8_t)count;
    bytes[fixed - 1] = (uint8_t)(count >> 8);
    if (c.writes.len > 0)
        memcpy(bytes + fixed, c.writes.data, c.writes.len);
    struct err err = {0};
    int rc = command_decode(slice_of(bytes, len), &c, &err);
    bool told = rc == ERR_CORRUPT && strstr(err.text, want) != NULL;
    if (!told)
        diag("%s", err.text);
    buf_release(&one);
    mem_free(bytes);
    return told;
}

static void test_order(void)
{
    static const struct command_write twice[] = {PUT("a", "1"), DELETE("a")},
                                      down[] = {PUT("b", "1"), PUT("a", "1")};
    ok(refused(twice, 2, "ascending"), "a key that stands there twice is refused");
    ok(refused(down, 2, "ascending"), "so are keys that are not in order");
    ok(refused(down, 1, "") == false, "one alone is none of that");
    ok(refused(down, 0, "out of range"), "none at all is refused");
}

int main(void)
{
    buf_init(&room, LIMIT_ENTRY_BYTES);
    test_writes(false);
    test_writes(true);
    test_replay();
    test_failing_base();
    test_memory();
    test_most();
    test_order();
    buf_release(&room);
    return done();
}
