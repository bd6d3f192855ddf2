/* Exactly once: sequence numbers, first answers, expiry and eviction (contract, "Exactly once"). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/kv/state_internal.h"
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

struct step {
    const char *name;
    struct command command;
    int status;
    bool replayed, existed;
    uint64_t version;     /* as it must be in the answer */
    uint64_t key_version; /* of "k" afterwards */
};

static void run(const char *title, const struct step *steps, size_t count)
{
    for (int mode = 0; mode < MODES; mode++) {
        struct kv_rig rig;
        struct state_options options = kv_rig_options();
        kv_rig_init(&rig, &options);
        for (size_t i = 0; i < count; i++) {
            const struct step *s = &steps[i];
            struct apply_result r = kv_rig_apply(&rig, s->command);
            bool held = r.index == i + 1 && r.status == s->status && r.replayed == s->replayed &&
                        r.existed == s->existed && r.version == s->version &&
                        kv_rig_version(&rig, "k") == s->key_version;
            if (!ok(held, "%s, %s: %s", title, modes[mode], s->name))
                diag("status %s, replayed %d, existed %d, version %" PRIu64
                     ", version of k %" PRIu64,
                     err_name(r.status), r.replayed, r.existed, r.version,
                     kv_rig_version(&rig, "k"));
            settle(&rig, mode);
        }
        kv_rig_release(&rig);
    }
}

#define STEPS(steps) (steps), sizeof(steps) / sizeof((steps)[0])

static void test_sequence(void)
{
    struct command put = make_put("k", "1");
    const struct step steps[] = {
        {"an unknown client begins with 1", with_client(put, "c", 2), ERR_SESSION_UNKNOWN, false,
         false, 0, 0},
        {"the first write", with_client(put, "c", 1), 0, false, false, 2, 2},
        {"again: the first answer", with_client(put, "c", 1), 0, true, false, 2, 2},
        {"and again", with_client(put, "c", 1), 0, true, false, 2, 2},
        {"the same number, another value", with_client(make_put("k", "2"), "c", 1), ERR_SEQ_REUSED,
         false, false, 0, 2},
        {"the same number, another operation", with_client(make_delete("k"), "c", 1),
         ERR_SEQ_REUSED, false, false, 0, 2},
        {"the same number, a condition", with_client(with_version(put, 2), "c", 1), ERR_SEQ_REUSED,
         false, false, 0, 2},
        {"a higher number is new, with a gap too", with_client(put, "c", 5), 0, false, false, 8, 8},
        {"a lower one is old", with_client(put, "c", 4), ERR_SEQ_OLD, false, false, 0, 8},
        {"the first one too", with_client(put, "c", 1), ERR_SEQ_OLD, false, false, 0, 8},
        {"the highest is still answered", with_client(put, "c", 5), 0, true, false, 8, 8},
        {"another client has its own numbers", with_client(put, "d", 1), 0, false, false, 12, 12},
        {"no client, no session", put, 0, false, false, 13, 13},
        {"the first client's answer is as it was", with_client(put, "c", 5), 0, true, false, 8, 13},
        {"the highest number of all", with_client(put, "c", UINT64_MAX), 0, false, false, 15, 15},
        {"its retry", with_client(put, "c", UINT64_MAX), 0, true, false, 15, 15},
    };
    run("sequence", STEPS(steps));
}

static void test_answers(void)
{
    struct command put = make_put("k", "1");
    const struct step steps[] = {
        {"a missing key is deleted", with_client(make_delete("k"), "c", 1), 0, false, false, 1, 0},
        {"somebody puts it", put, 0, false, false, 2, 2},
        {"the retry says it was missing, and deletes nothing",
         with_client(make_delete("k"), "c", 1), 0, true, false, 1, 2},
        {"a condition fails", with_client(with_version(put, 1), "c", 2), ERR_PRECONDITION_FAILED,
         false, false, 2, 2},
        {"the key moves on", put, 0, false, false, 5, 5},
        {"the retry has the version of then", with_client(with_version(put, 1), "c", 2),
         ERR_PRECONDITION_FAILED, true, false, 2, 5},
        {"a delete", with_client(make_delete("k"), "c", 3), 0, false, true, 7, 0},
        {"its retry still says it was there", with_client(make_delete("k"), "c", 3), 0, true, true,
         7, 0},
        {"a put if absent", with_client(with_absent(put), "c", 4), 0, false, false, 9, 9},
        {"its retry is no conflict with itself", with_client(with_absent(put), "c", 4), 0, true,
         false, 9, 9},
        {"a put if a version", with_client(with_version(put, 9), "c", 5), 0, false, false, 11, 11},
        {"its retry neither", with_client(with_version(put, 9), "c", 5), 0, true, false, 11, 11},
        {"a new client whose first condition fails", with_client(with_absent(put), "d", 1),
         ERR_PRECONDITION_FAILED, false, false, 11, 11},
        {"is known from then on", with_client(with_absent(put), "d", 1), ERR_PRECONDITION_FAILED,
         true, false, 11, 11},
    };
    run("answers", STEPS(steps));
}

static void test_timestamp(void)
{
    struct kv_rig rig;
    struct state_options options = kv_rig_options();
    kv_rig_init(&rig, &options);
    struct command put = with_client(make_put("k", "1"), "c", 1);
    struct apply_result r = kv_rig_apply(&rig, with_time(put, 123, 0));
    is_u64(r.timestamp_ms, 123, "the leader's wall clock");
    r = kv_rig_apply(&rig, with_time(put, 456, 0));
    is_u64(r.timestamp_ms, 123, "a retry has that of the first");
    kv_rig_release(&rig);
}

/* ---- expiry and eviction */

/* Asks with a request that is refused either way, and so changes nothing. */
static bool known(struct kv_rig *rig, const char *client, uint64_t last_seq)
{
    struct command c = with_client(make_delete("another request"), client, last_seq);
    int status = kv_rig_apply(rig, c).status;
    must(last_seq > 1 && (status == ERR_SEQ_REUSED || status == ERR_SESSION_UNKNOWN));
    return status == ERR_SEQ_REUSED;
}

static void use(struct kv_rig *rig, const char *client, uint64_t first_seq, uint64_t now_ms)
{
    for (uint64_t seq = first_seq; seq < first_seq + 2; seq++)
        (void)kv_rig_apply(
            rig, with_time(with_client(make_put("used", client), client, seq), 0, now_ms));
}

static void test_expiry(void)
{
    for (int mode = 0; mode < MODES; mode++) {
        struct kv_rig rig;
        struct state_options options = kv_rig_options();
        kv_rig_init(&rig, &options);
        char ids[COMMAND_EXPIRE_MAX][COMMAND_CLIENT_BYTES + 1];
        use(&rig, "a", 1, 100);
        use(&rig, "b", 1, 200);
        use(&rig, "c", 1, 300);
        settle(&rig, mode);
        is_u64(state_sessions_expired(rig.state, 1099, ids), 0, "%s: none is over before its time",
               modes[mode]);
        is_u64(state_sessions_expired(rig.state, 1200, ids), 2, "%s: two are over", modes[mode]);
        ok(strcmp(ids[0], "a") == 0 && strcmp(ids[1], "b") == 0, "%s: oldest first", modes[mode]);
        is_u64(state_sessions_expired(rig.state, UINT64_MAX, ids), 3, "%s: all, late enough",
               modes[mode]);
        is_u64(state_session_count(rig.state), 3, "%s: asking removes none", modes[mode]);

        use(&rig, "a", 3, 1150); /* over, but used again before anybody said so */
        settle(&rig, mode);
        const char *const named[] = {"a", "b", "c", "nobody"};
        (void)kv_rig_apply(&rig, make_expire(named, 4, 1200));
        settle(&rig, mode);
        is_u64(state_session_count(rig.state), 2, "%s: one of those named goes", modes[mode]);
        ok(known(&rig, "a", 4), "%s: the one used again stays", modes[mode]);
        ok(!known(&rig, "b", 2), "%s: the one over is unknown", modes[mode]);
        ok(known(&rig, "c", 2), "%s: the one not over yet stays", modes[mode]);
        is_u64(state_cluster_time_ms(rig.state), 1200, "%s: the entry moves cluster time",
               modes[mode]);
        (void)kv_rig_apply(&rig, make_expire(named, 4, 900));
        is_u64(state_session_count(rig.state), 2, "%s: an older time expires nothing", modes[mode]);
        use(&rig, "b", 1, 1300);
        settle(&rig, mode);
        ok(known(&rig, "b", 2), "%s: a removed client begins again with 1", modes[mode]);
        kv_rig_release(&rig);
    }
}

static void test_expire_limit(void)
{
    struct kv_rig rig;
    struct state_options options = kv_rig_options();
    kv_rig_init(&rig, &options);
    char names[COMMAND_EXPIRE_MAX + 6][8];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(names[i], sizeof(names[i]), "c%zu", i);
        (void)kv_rig_apply(&rig, with_client(make_put("k", ""), names[i], 1));
    }
    char ids[COMMAND_EXPIRE_MAX][COMMAND_CLIENT_BYTES + 1];
    is_u64(state_sessions_expired(rig.state, 5000, ids), COMMAND_EXPIRE_MAX,
           "as many as fit into an entry");
    const char *list[COMMAND_EXPIRE_MAX];
    for (size_t i = 0; i < COMMAND_EXPIRE_MAX; i++)
        list[i] = ids[i];
    (void)kv_rig_apply(&rig, make_expire(list, COMMAND_EXPIRE_MAX, 5000));
    is_u64(state_session_count(rig.state), 6, "all of them go");
    is_u64(state_sessions_expired(rig.state, 5000, ids), 6, "the rest is next");
    kv_rig_release(&rig);
}

static void test_use(void)
{
    struct kv_rig rig;
    struct state_options options = kv_rig_options();
    char ids[COMMAND_EXPIRE_MAX][COMMAND_CLIENT_BYTES + 1];
    kv_rig_init(&rig, &options);
    struct command put = make_put("k", "");
    (void)kv_rig_apply(&rig, with_time(with_client(put, "c", 1), 0, 0));
    (void)kv_rig_apply(&rig, with_time(with_client(put, "c", 2), 0, 0));
    (void)kv_rig_apply(&rig, with_time(with_client(put, "c", 1), 0, 500));
    is_u64(state_sessions_expired(rig.state, 1000, ids), 1, "being refused is no use");
    (void)kv_rig_apply(&rig, with_time(with_client(put, "c", 2), 0, 500));
    is_u64(state_sessions_expired(rig.state, 1499, ids), 0, "being answered again is one");
    is_u64(state_sessions_expired(rig.state, 1500, ids), 1, "… which ends as well");
    (void)kv_rig_apply(&rig, with_time(with_client(put, "c", 3), 0, 100));
    is_u64(state_sessions_expired(rig.state, 1499, ids), 0, "time in a use never goes back");
    kv_rig_release(&rig);
}

static void test_eviction(void)
{
    for (int mode = 0; mode < MODES; mode++) {
        struct kv_rig rig;
        struct state_options options = kv_rig_options();
        options.sessions_max = 3;
        kv_rig_init(&rig, &options);
        use(&rig, "a", 1, 0);
        use(&rig, "b", 1, 0);
        use(&rig, "c", 1, 0);
        settle(&rig, mode);
        (void)kv_rig_apply(&rig, with_client(make_put("used", "a"), "a", 2)); /* a retry */
        settle(&rig, mode);
        use(&rig, "d", 1, 0);
        settle(&rig, mode);
        is_u64(state_session_count(rig.state), 3, "%s: never more than the limit", modes[mode]);
        ok(!known(&rig, "b", 2), "%s: the least recently used one goes", modes[mode]);
        ok(known(&rig, "a", 2) && known(&rig, "c", 2) && known(&rig, "d", 2), "%s: the others stay",
           modes[mode]);
        use(&rig, "b", 1, 0); /* back, while its removal may not be flushed yet */
        settle(&rig, mode);
        ok(known(&rig, "b", 2) && !known(&rig, "c", 2), "%s: one that comes back is new",
           modes[mode]);
        (void)kv_rig_apply(&rig, with_client(make_put("k", "x"), "z", 2));
        is_u64(state_session_count(rig.state), 3, "%s: refused, nobody takes a place", modes[mode]);
        kv_rig_flush(&rig);
        struct state_image image;
        base_map_image(rig.map, &image);
        is_u64(image.session_count, 3, "%s: the base has the same", modes[mode]);
        kv_rig_release(&rig);
    }
}

/* What a memtable says of sessions. */
static void test_memtable_sessions(void)
{
    struct kv_rig rig;
    struct state_options options = kv_rig_options();
    options.sessions_max = 2;
    kv_rig_init(&rig, &options);
    (void)kv_rig_apply(&rig, with_client(make_put("k", "1"), "a", 1));
    (void)kv_rig_apply(&rig, with_client(make_put("k", "2"), "a", 2));
    (void)kv_rig_apply(&rig, with_client(make_put("k", "2"), "b", 1));
    const struct memtable *m = state_freeze(rig.state);
    (void)kv_rig_apply(&rig, with_client(make_put("k", "3"), "a", 3));
    bool gone;
    is_u64(memtable_session_count(m), 2, "a session is noted once");
    const struct session *a = memtable_session(m, 0, &gone);
    ok(strcmp(a->client, "a") == 0 && a->seq == 2 && a->used_index == 2 && !gone,
       "as it was when the memtable was frozen");
    base_map_flush(rig.map, m);
    state_flushed(rig.state, m);
    (void)kv_rig_apply(&rig, with_client(make_put("k", "4"), "c", 1)); /* b goes */
    (void)kv_rig_apply(&rig, with_client(make_put("k", "5"), "b", 1)); /* and is back: a goes */
    m = state_freeze(rig.state);
    is_u64(memtable_session_count(m), 3, "three have changed");
    unsigned seen = 0;
    for (uint32_t i = 0; i < 3; i++) {
        const struct session *s = memtable_session(m, i, &gone);
        seen += strcmp(s->client, "a") == 0 && gone;
        seen += strcmp(s->client, "b") == 0 && !gone && s->version == 6;
        seen += strcmp(s->client, "c") == 0 && !gone && s->seq == 1;
    }
    is_u64(seen, 3, "one went, one went and came back, one is new");
    is_u64(state_session_count(rig.state), 2, "two are there");
    kv_rig_release(&rig);
}

/* A removed session is kept until its removal is frozen, and no longer. */
static void test_no_leak(void)
{
    struct kv_rig rig;
    struct state_options options = kv_rig_options();
    options.sessions_max = 4;
    kv_rig_init(&rig, &options);
    char client[16];
    for (int i = 0; i < 100; i++) {
        (void)snprintf(client, sizeof(client), "c%d", i);
        (void)kv_rig_apply(&rig, with_client(make_put("k", ""), client, 1));
    }
    is_u64(rig.state->sessions.index.count, 100, "removed ones are remembered");
    (void)state_freeze(rig.state);
    is_u64(rig.state->sessions.index.count, 4, "until they are frozen");
    is_u64(state_session_count(rig.state), 4, "and are not counted");
    kv_rig_release(&rig);
}

int main(void)
{
    test_sequence();
    test_answers();
    test_timestamp();
    test_expiry();
    test_expire_limit();
    test_use();
    test_eviction();
    test_memtable_sessions();
    test_no_leak();
    return done();
}
