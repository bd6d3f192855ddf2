/*
 * Snapshots: taken, sent, received with interruptions, refused when anything is wrong with them,
 * and installed with a crash at each call: a start finds the old state or the new one, whole.
 */
#ifdef RAFTKV_TEST_VFS
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/store/page_sum.h"
#include "lib/store/sqlite_util.h"
#include "lib/store/test_vfs.h"
#include "tests/unit/store.h"
#include "tests/unit/tap.h"

static const struct digest cluster = {.hi = 0xc1, .lo = 0xc2};

/* A member with a state, and the snapshot it has made of it, as bytes. */
struct sender {
    struct kv_rig rig;
    struct data_dir *dir;
    struct kv_writer *writer;
    struct snapshot_info info;
    uint8_t *bytes;
};

static void sender_flush(struct sender *s)
{
    struct digest digest;
    uint64_t keys;
    raft_index checkpointed;
    struct err err = {0};
    must(kv_writer_flush(s->writer, state_freeze(s->rig.state), &digest, &keys, &err) == 0);
    must(kv_writer_checkpoint(s->writer, &checkpointed, &err) == 0);
    kv_rig_flush(&s->rig);
}

static void sender_read(struct sender *s)
{
    struct err err = {0};
    size_t len;
    s->bytes = mem_alloc(s->info.bytes + 1);
    for (uint64_t at = 0; at <= s->info.bytes; at += len) {
        len = at + 5000 < s->info.bytes ? 5000 : s->info.bytes + 1 - at;
        must(snapshot_read(s->dir, s->info.index, at, s->bytes + at, &len, &err) == 0);
        if (len == 0)
            break;
    }
}

static void sender_init(struct sender *s, const char *name, uint64_t seed, unsigned entries)
{
    struct state_options options = kv_rig_options();
    struct prng prng;
    struct err err = {0};
    prng_seed(&prng, seed);
    kv_rig_init(&s->rig, &options);
    must(data_dir_open(store_fresh_path(name), &s->dir, &err) == 0);
    must(kv_store_prepare(s->dir, 1, true, &err) == 0);
    must(kv_writer_open(s->dir, 1, NULL, &s->writer, &err) == 0);
    must(kv_writer_set_cluster(s->writer, cluster, &err) == 0);
    store_apply_random(&s->rig, &prng, entries);
    struct membership m = make_membership(3, seed);
    struct entry *e = make_configuration(&m, s->rig.index + 1, s->rig.term);
    struct apply_result result;
    must(state_apply(s->rig.state, e, &result, &err) == 0);
    s->rig.index++;
    entry_unref(e);
    sender_flush(s);
    if (snapshot_take(s->dir, 1, NULL, &s->info, &err)) {
        diag("%s", err.text);
        must(false);
    }
    sender_read(s);
}

static void sender_release(struct sender *s)
{
    kv_writer_close(s->writer);
    data_dir_close(s->dir);
    kv_rig_release(&s->rig);
    mem_free(s->bytes);
}

/* ---- receiving ---- */

static int receive(struct data_dir *dir, const struct snapshot_info *announced,
                   const uint8_t *bytes, uint64_t generation, struct err *err)
{
    enum { CHUNK = 10000 };
    struct snapshot_receiver *r;
    struct snapshot_info got;
    int rc = snapshot_receive_open(dir, announced, &r, err);
    if (rc)
        return rc;
    while (rc == 0 && snapshot_receive_offset(r) < announced->bytes) {
        uint64_t at = snapshot_receive_offset(r), left = announced->bytes - at;
        rc = snapshot_receive_chunk(r, at, bytes + at, left < CHUNK ? left : CHUNK, err);
    }
    if (rc == 0)
        rc = snapshot_receive_finish(r, generation, &got, err);
    /* Also what was not announced. */
    if (rc == 0 && (got.index != announced->index || got.bytes != announced->bytes ||
                    got.membership.configuration.count == 0 ||
                    digest_equal(got.state_digest, (struct digest){0})))
        rc = ERR_INTERNAL;
    snapshot_receive_close(r, false);
    return rc;
}

static void test_round_trip(void)
{
    struct sender s = {0};
    struct data_dir *dir;
    struct err err = {0};
    sender_init(&s, "sender", 1, 500);
    struct state_image want;
    base_map_image(s.rig.map, &want);
    ok(s.info.index == want.applied && s.info.term == want.applied_term &&
           membership_equal(&s.info.membership, &want.membership) &&
           digest_equal(s.info.cluster_id, cluster),
       "a snapshot says what is in it");
    is_u64(crc32c(0, s.bytes, s.info.bytes), s.info.crc, "its CRC is that of the file");
    ok(s.bytes[18] == 1 && s.bytes[19] == 1, "a plain file, without a WAL");
    is_u64(store_count_files(data_dir_path(s.dir), "snapshot."), 1, "one file");
    /* In a path of characters that mean something in a URI. */
    must(data_dir_open(store_fresh_path("receiver%41?x=#y"), &dir, &err) == 0);
    store_write_file(data_dir_path(dir), "kv.7.db-wal", "of a file that is no more", 25);
    is_i64(receive(dir, &s.info, s.bytes, 7, &err), 0, "received");
    is_u64(store_count_files(data_dir_path(dir), "kv.7.db-"), 0, "and nothing old beside it");
    is_u64(store_count_files(data_dir_path(dir), "incoming."), 0, "under its new name only");
    must(kv_store_prepare(dir, 7, false, &err) == 0);
    const char *what = store_kv_differs(dir, 7, s.rig.map);
    ok(!what, "the same state (%s)", what ? what : "equal");
    snapshot_delete(s.dir, s.info.index);
    size_t len = 1;
    uint8_t byte;
    is_i64(snapshot_read(s.dir, s.info.index, 0, &byte, &len, &err), ERR_NOT_FOUND,
           "deleted, it cannot be read");
    data_dir_close(dir);
    sender_release(&s);
}

static void test_resume(void)
{
    struct sender s = {0};
    struct data_dir *dir;
    struct snapshot_receiver *r;
    struct snapshot_info got;
    struct err err = {0};
    sender_init(&s, "sender", 2, 300);
    must(data_dir_open(store_fresh_path("receiver"), &dir, &err) == 0);
    must(snapshot_receive_open(dir, &s.info, &r, &err) == 0);
    is_i64(snapshot_receive_chunk(r, 0, s.bytes, 5000, &err), 0, "a chunk");
    is_i64(snapshot_receive_chunk(r, 0, s.bytes, 5000, &err), ERR_BAD_REQUEST, "the same again");
    is_i64(snapshot_receive_chunk(r, 6000, s.bytes, 10, &err), ERR_BAD_REQUEST, "one too far");
    is_i64(snapshot_receive_chunk(r, 5000, s.bytes, s.info.bytes, &err), ERR_BAD_REQUEST,
           "one over the end");
    is_i64(snapshot_receive_finish(r, 2, &got, &err), ERR_BAD_REQUEST, "finished too early");
    snapshot_receive_close(r, true);
    must(snapshot_receive_open(dir, &s.info, &r, &err) == 0);
    is_u64(snapshot_receive_offset(r), 5000, "resumed");
    snapshot_receive_close(r, true);
    struct snapshot_info other = s.info;
    other.crc++;
    must(snapshot_receive_open(dir, &other, &r, &err) == 0);
    is_u64(snapshot_receive_offset(r), 0, "another one begins anew");
    is_u64(store_count_files(data_dir_path(dir), "incoming."), 1, "and the first is gone");
    snapshot_receive_close(r, false);
    is_u64(store_count_files(data_dir_path(dir), "incoming."), 0, "closed without keeping it");
    char name[128];
    snprintf(name, sizeof(name), "incoming.%" PRIu64 ".%" PRIu64 ".%" PRIu64 ".%08" PRIx32 ".db",
             s.info.index, s.info.term, s.info.bytes, s.info.crc);
    uint8_t *longer = mem_zalloc(s.info.bytes + 1);
    store_write_file(data_dir_path(dir), name, longer, s.info.bytes + 1);
    mem_free(longer);
    must(snapshot_receive_open(dir, &s.info, &r, &err) == 0);
    is_u64(snapshot_receive_offset(r), 0, "a longer file under its name is none of it");
    snapshot_receive_close(r, true);
    struct snapshot_info little = s.info;
    little.membership = (struct membership){0};
    little.state_digest = (struct digest){0};
    is_i64(receive(dir, &little, s.bytes, 2, &err), 0, "received in the end");
    data_dir_close(dir);
    sender_release(&s);
}

/* What was wrong is thrown away, and the same receiver can have it again. */
static void test_again(void)
{
    struct sender s = {0};
    struct data_dir *dir;
    struct snapshot_receiver *r;
    struct snapshot_info got;
    struct err err = {0};
    sender_init(&s, "sender", 10, 100);
    must(data_dir_open(store_fresh_path("receiver"), &dir, &err) == 0);
    must(snapshot_receive_open(dir, &s.info, &r, &err) == 0);
    s.bytes[77] ^= 4;
    must(snapshot_receive_chunk(r, 0, s.bytes, s.info.bytes, &err) == 0);
    is_i64(snapshot_receive_finish(r, 2, &got, &err), ERR_CORRUPT, "damaged on its way");
    is_u64(snapshot_receive_offset(r), 0, "it begins anew");
    s.bytes[77] ^= 4;
    must(snapshot_receive_chunk(r, 0, s.bytes, s.info.bytes, &err) == 0);
    is_i64(snapshot_receive_finish(r, 2, &got, &err), 0, "and is received");
    ok(membership_equal(&got.membership, &s.info.membership) &&
           digest_equal(got.state_digest, s.info.state_digest),
       "with what is inside");
    snapshot_receive_close(r, false);
    data_dir_close(dir);
    sender_release(&s);
}

/* ---- refusing ---- */

static void refused(struct data_dir *dir, const struct snapshot_info *announced,
                    const uint8_t *bytes, int code, const char *text, const char *name)
{
    struct err err = {0};
    is_i64(receive(dir, announced, bytes, 9, &err), code, "refused: %s", name);
    has_str(err.text, text, "and said so");
    if (store_count_files(data_dir_path(dir), "kv.9"))
        ok(false, "nothing was put in place");
}

static void test_refused(void)
{
    struct sender s = {0};
    struct data_dir *dir;
    struct err err = {0};
    sender_init(&s, "sender", 3, 300);
    must(data_dir_open(store_fresh_path("receiver"), &dir, &err) == 0);
    uint8_t *bytes = mem_dup(s.bytes, s.info.bytes);
    struct snapshot_info info = s.info;
    bytes[5000] ^= 1;
    refused(dir, &info, bytes, ERR_CORRUPT, "wrong CRC", "a flipped bit");
    bytes[5000] ^= 1;
    info.bytes -= 4096;
    info.crc = crc32c(0, bytes, info.bytes);
    refused(dir, &info, bytes, ERR_CORRUPT, "", "cut short, CRC and length right");
    info = s.info;
    info.cluster_id.lo++;
    refused(dir, &info, bytes, ERR_WRONG_CLUSTER, "of cluster", "a foreign cluster");
    info = s.info;
    info.index++;
    refused(dir, &info, bytes, ERR_CORRUPT, "another index or term", "another index");
    info = s.info;
    info.term++;
    refused(dir, &info, bytes, ERR_CORRUPT, "another index or term", "another term");
    info = s.info;
    info.membership = make_membership(5, 77);
    refused(dir, &info, bytes, ERR_CORRUPT, "another membership", "another membership");
    info = s.info;
    info.state_digest.lo++;
    refused(dir, &info, bytes, ERR_CORRUPT, "another digest", "another digest");
    bytes[63]++; /* user_version */
    info = s.info;
    info.crc = crc32c(0, bytes, info.bytes);
    refused(dir, &info, bytes, ERR_CORRUPT, "newer than", "a newer format");
    memset(bytes, 'x', info.bytes);
    info.crc = crc32c(0, bytes, info.bytes);
    refused(dir, &info, bytes, ERR_CORRUPT, "not a database", "garbage");
    info = (struct snapshot_info){.index = 1, .term = 1};
    refused(dir, &info, bytes, ERR_CORRUPT, "", "nothing at all");
    mem_free(bytes);
    data_dir_close(dir);
    sender_release(&s);
}

/* The header's number of free pages is wrong, and the page's checksum right. */
static void free_page_more(const char *path)
{
    enum { AT_FREE_PAGES = 39 };
    uint8_t page[PAGE_BYTES];
    FILE *f = fopen(path, "r+e");
    must(f && fread(page, sizeof(page), 1, f) == 1);
    page[AT_FREE_PAGES] ^= 1;
    page_sum_set(page, 1);
    must(fseek(f, 0, SEEK_SET) == 0 && fwrite(page, sizeof(page), 1, f) == 1 && fclose(f) == 0);
}

/* What only a look at the whole file finds; the CRC of the transfer is right. */
static void test_inside(void)
{
    static const struct {
        const char *name, *sql, *text;
    } cases[] = {
        {"a session",
         "UPDATE sessions SET version=version+1 WHERE client=(SELECT min(client) FROM "
         "sessions)",
         "session of client"},
        {"a row", "UPDATE kv SET version=version+1 WHERE key=(SELECT max(key) FROM kv)",
         "do not agree with its digest"},
        {"a row less", "DELETE FROM kv WHERE key=(SELECT max(key) FROM kv)",
         "do not agree with its digest"},
        {"meta", "UPDATE meta SET value=value+1 WHERE name='keys'", "row 'keys' of table meta"},
        {"a table", "CREATE TABLE more(x)", "its tables are not those"},
        {"free pages that are not", NULL, "reelist"},
    };
    struct sender s = {0};
    struct data_dir *dir;
    struct err err = {0};
    sender_init(&s, "sender", 11, 300);
    must(data_dir_open(store_fresh_path("receiver"), &dir, &err) == 0);
    const char *aside = store_fresh_path("aside");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct snapshot_info info = s.info;
        char name[600];
        store_write_file(aside, "copy.db", s.bytes, s.info.bytes);
        snprintf(name, sizeof(name), "%s/copy.db", aside);
        if (cases[i].sql) {
            sqlite3 *db;
            must(sq_open(name, SQ_WRITE | SQ_SUMS, &db, &err) == 0);
            must(sq_exec(db, cases[i].sql, &err) == 0);
            sq_close(db);
        } else {
            free_page_more(name);
        }
        info.bytes = store_file_bytes(aside, "copy.db");
        uint8_t *bytes = mem_alloc(info.bytes);
        FILE *f = fopen(name, "re");
        must(f && fread(bytes, info.bytes, 1, f) == 1);
        fclose(f);
        info.crc = crc32c(0, bytes, info.bytes);
        info.state_digest = (struct digest){0};
        refused(dir, &info, bytes, ERR_CORRUPT, cases[i].text, cases[i].name);
        mem_free(bytes);
    }
    data_dir_close(dir);
    sender_release(&s);
}

/* The file rotted where it was made, so that the CRC of the transfer is right. */
static void test_rotten_source(void)
{
    struct sender s = {0};
    struct data_dir *dir;
    struct err err = {0};
    struct prng prng;
    unsigned seen = 0, harmless = 0;
    bool good = true;
    prng_seed(&prng, test_seed());
    sender_init(&s, "sender", 4, 200);
    must(data_dir_open(store_fresh_path("receiver"), &dir, &err) == 0);
    for (unsigned i = 0; i < 300 && good; i++) {
        struct snapshot_info info = s.info;
        uint64_t bit = prng_below(&prng, (i % 3 ? info.bytes : 4096) * 8);
        s.bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        info.crc = crc32c(0, s.bytes, info.bytes);
        int rc = receive(dir, &info, s.bytes, 9, &err);
        s.bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        seen += rc == ERR_CORRUPT || rc == ERR_WRONG_CLUSTER;
        if (rc == 0) {
            const char *what = store_kv_differs(dir, 9, s.rig.map);
            good = !what;
            harmless++;
            if (!good)
                diag("bit %" PRIu64 ": %s differs", bit, what);
        } else if (rc != ERR_CORRUPT && rc != ERR_WRONG_CLUSTER) {
            diag("bit %" PRIu64 ": %s", bit, err.text);
            good = false;
        }
        must(kv_store_prepare(dir, 1, true, &err) == 0);
    }
    ok(good && seen > 50, "rot is found (%u) or harmless (%u)", seen, harmless);
    data_dir_close(dir);
    sender_release(&s);
}

/* ---- taking beside work ---- */

struct taker {
    struct data_dir *dir;
    bool cancelled;
    int rc;
    unsigned taken;
    pthread_mutex_t mutex;
    bool stop;
};

static bool taker_stops(struct taker *t)
{
    pthread_mutex_lock(&t->mutex);
    bool stop = t->stop;
    pthread_mutex_unlock(&t->mutex);
    return stop;
}

static void *take_many(void *argument)
{
    struct taker *t = argument;
    struct snapshot_info info;
    do {
        t->rc = snapshot_take(t->dir, 1, &t->cancelled, &info, NULL);
        t->taken += t->rc == 0;
    } while (t->rc == 0 && !taker_stops(t));
    return NULL;
}

static void test_beside_flushes(void)
{
    struct sender s = {0};
    struct taker t = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct data_dir *dir;
    struct err err = {0};
    struct prng prng;
    pthread_t thread;
    struct base_map *maps[20];
    prng_seed(&prng, 6);
    sender_init(&s, "sender", 5, 100);
    mem_free(s.bytes);
    t.dir = s.dir;
    must(pthread_create(&thread, NULL, take_many, &t) == 0);
    for (unsigned i = 0; i < 20; i++) {
        store_apply_random(&s.rig, &prng, 200);
        sender_flush(&s);
        maps[i] = base_map_clone(s.rig.map);
    }
    pthread_mutex_lock(&t.mutex);
    t.stop = true;
    pthread_mutex_unlock(&t.mutex);
    pthread_join(thread, NULL);
    is_i64(t.rc, 0, "%u snapshots taken beside flushes", t.taken);
    must(data_dir_open(store_fresh_path("receiver"), &dir, &err) == 0);
    unsigned compared = 0;
    bool good = true;
    for (unsigned i = 0; i < 20; i++) {
        size_t len = 1;
        uint8_t byte;
        raft_index index = base_map_applied(maps[i]);
        if (good && snapshot_read(s.dir, index, 0, &byte, &len, NULL) == 0) {
            char name[64];
            snprintf(name, sizeof(name), "snapshot.%" PRIu64 ".db", index);
            const char *path = store_fresh_path("compare");
            store_copy_dir(data_dir_path(s.dir), path);
            char from[512], to[512];
            snprintf(from, sizeof(from), "%s/%s", path, name);
            snprintf(to, sizeof(to), "%s/kv.9.db", path);
            must(rename(from, to) == 0);
            struct data_dir *d;
            must(data_dir_open(path, &d, &err) == 0);
            const char *what = store_kv_differs(d, 9, maps[i]);
            good = !what;
            if (what)
                diag("at %" PRIu64 ": %s differs", index, what);
            data_dir_close(d);
            store_remove_dir(path);
            compared++;
        }
        base_map_free(maps[i]);
    }
    ok(good && compared > 0, "each is the state at its index (%u compared)", compared);
    t.cancelled = true;
    is_i64(snapshot_take(s.dir, 1, &t.cancelled, &s.info, &err), ERR_AGAIN, "one is cancelled");
    is_u64(store_count_files(data_dir_path(s.dir), "snapshot.tmp"), 0, "and leaves nothing");
    s.bytes = NULL;
    data_dir_close(dir);
    sender_release(&s);
}

/* ---- every call fails ---- */

static void test_take_fails(void)
{
    static const char *const actions[] = {"error", "full"};
    struct sender s = {0};
    struct err err = {0};
    sender_init(&s, "sender", 7, 100);
    snapshot_delete(s.dir, s.info.index);
    for (size_t a = 0; a < 2; a++) {
        uint64_t after = 0;
        bool good = true, hit = true;
        for (; good && hit; after++) {
            char rule[64];
            snprintf(rule, sizeof(rule), "* any %s after=%" PRIu64 " count=1", actions[a], after);
            uint64_t calls = test_vfs_calls("any");
            must(test_vfs_rules(rule, NULL) == 0);
            int rc = snapshot_take(s.dir, 1, NULL, &s.info, &err);
            hit = test_vfs_calls("any") - calls > after;
            test_vfs_rules("", NULL);
            good = !hit || rc == 0 || rc == ERR_IO || (a == 1 && rc == ERR_DISK_FULL);
            if (rc == 0)
                snapshot_delete(s.dir, s.info.index);
            size_t files = store_count_files(data_dir_path(s.dir), "snapshot.");
            int again = snapshot_take(s.dir, 1, NULL, &s.info, &err);
            snapshot_delete(s.dir, s.info.index);
            good = good && (rc ? files <= 1 : files == 0) && again == 0;
            if (!good)
                diag("%s after=%" PRIu64 ": %d, %zu files, then %d: %s", actions[a], after, rc,
                     files, again, err.text);
        }
        ok(good && after > 15, "%s at each of %" PRIu64 " calls of snapshot_take", actions[a],
           after);
    }
    sender_release(&s);
}

/* ---- installing ---- */

struct receiver {
    struct data_dir *dir;
    struct log_store *log;
    struct kv_writer *writer;
    struct log_store_state state;
};

/* As a node starts. */
static int receiver_open(struct receiver *r, const char *path, struct err *err)
{
    *r = (struct receiver){0};
    int rc = data_dir_open(path, &r->dir, err);
    if (rc == 0)
        rc = log_store_open(r->dir, "node9", &r->log, &r->state, err);
    if (rc == 0)
        rc = kv_store_prepare(r->dir, r->state.kv_generation, r->state.snapshot_index == 0, err);
    if (rc == 0)
        rc = kv_writer_open(r->dir, r->state.kv_generation, &cluster, &r->writer, err);
    return rc;
}

static void receiver_close(struct receiver *r)
{
    kv_writer_close(r->writer);
    log_store_close(r->log, NULL);
    data_dir_close(r->dir);
    *r = (struct receiver){0};
}

/* Receives and installs; the term at the snapshot's index differs from ours, so the log goes. */
static int install(struct receiver *r, const struct sender *s, struct err *err)
{
    bool kept = true;
    int rc = receive(r->dir, &s->info, s->bytes, r->state.kv_generation + 1, err);
    if (rc)
        return rc;
    kv_writer_close(r->writer);
    r->writer = NULL;
    rc = log_store_install(r->log, r->state.kv_generation + 1, s->info.index, s->info.term + 1,
                           &s->info.membership, &kept, err);
    if (rc == 0)
        rc = kv_store_prepare(r->dir, r->state.kv_generation + 1, false, err);
    if (rc == 0)
        rc = kv_writer_open(r->dir, r->state.kv_generation + 1, &cluster, &r->writer, err);
    return rc;
}

static void fill_receiver(const char *path, struct kv_rig *rig)
{
    enum { N = 20 };
    struct receiver r;
    struct err err = {0};
    struct prng prng;
    struct digest digest;
    uint64_t keys;
    struct entry *e[N];
    prng_seed(&prng, 9);
    must(receiver_open(&r, path, &err) == 0);
    for (raft_index i = 0; i < N; i++)
        e[i] = store_entry(i + 1, 1, 100);
    struct log_write w = {.hard_state = true, .term = 5, .entries = e, .entry_count = N};
    must(log_store_write(r.log, &w, 1, &err) == 0);
    for (raft_index i = 0; i < N; i++)
        entry_unref(e[i]);
    store_apply_random(rig, &prng, N);
    must(kv_writer_flush(r.writer, state_freeze(rig->state), &digest, &keys, &err) == 0);
    kv_rig_flush(rig);
    receiver_close(&r);
}

static const char *start_differs(const char *path, const struct sender *s, struct kv_rig *old,
                                 bool must_be_new)
{
    struct receiver r;
    struct err err = {0};
    if (receiver_open(&r, path, &err)) {
        diag("start: %s", err.text);
        data_dir_close(r.dir);
        return "the start";
    }
    const char *what = NULL;
    bool new = r.state.kv_generation == 2;
    if (must_be_new && !new)
        what = "the installation is lost";
    else if (new &&
             (r.state.snapshot_index != s->info.index || r.state.last_index != s->info.index))
        what = "the log";
    else if (!new && (r.state.snapshot_index != 0 || r.state.last_index != 20))
        what = "the old log";
    else if (store_count_files(path, "kv.") > 2 || store_count_files(path, "incoming.") > 0)
        what = "files are left";
    kv_writer_close(r.writer);
    r.writer = NULL;
    if (!what)
        what = store_kv_differs(r.dir, new ? 2 : 1, new ? s->rig.map : old->map);
    receiver_close(&r);
    return what;
}

static void test_install_crash(void)
{
    static const char *const faults[] = {"crash", "powerloss", "powerloss seed=", "error count=1"};
    struct sender s = {0};
    struct kv_rig old;
    struct state_options options = kv_rig_options();
    const char *before = store_fresh_path("before");
    sender_init(&s, "sender", 8, 60);
    kv_rig_init(&old, &options);
    fill_receiver(before, &old);
    for (size_t f = 0; f < 4; f++) {
        uint64_t after = 0;
        bool good = true, hit = true;
        for (; good && hit; after++) {
            struct receiver r;
            struct err err = {0};
            char rule[96];
            const char *path = store_fresh_path("install");
            store_copy_dir(before, path);
            must(receiver_open(&r, path, &err) == 0);
            int len = snprintf(rule, sizeof(rule), "* any %s", faults[f]);
            if (f == 2)
                len += snprintf(rule + len, sizeof(rule) - (size_t)len, "%" PRIu64, after + 1);
            snprintf(rule + len, sizeof(rule) - (size_t)len, " after=%" PRIu64, after);
            uint64_t calls = test_vfs_calls("any");
            must(test_vfs_rules(rule, NULL) == 0);
            bool installed = install(&r, &s, &err) == 0;
            hit = test_vfs_calls("any") - calls > after;
            if (f == 3)
                test_vfs_rules("", NULL);
            receiver_close(&r);
            test_vfs_restart();
            const char *what = start_differs(path, &s, &old, installed);
            good = !what;
            if (what)
                diag("%s after=%" PRIu64 ": %s", faults[f], after, what);
            store_remove_dir(path);
        }
        ok(good && after > 30, "%s at each of %" PRIu64 " calls of an installation", faults[f],
           after);
    }
    kv_rig_release(&old);
    sender_release(&s);
}

int main(void)
{
    test_round_trip();
    test_resume();
    test_again();
    test_refused();
    test_inside();
    test_rotten_source();
    test_beside_flushes();
    test_take_fails();
    test_install_crash();
    return done();
}

#else
#include "tests/unit/tap.h"

int main(void)
{
    skip("store", "needs a build with RAFTKV_TEST_VFS");
    return done();
}
#endif
