/* Commands, entries and memberships for tests. */
#include "tests/support/kv_maker.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"

struct command make_put(const char *key, const char *value)
{
    return (struct command){
        .op = COMMAND_PUT, .wall_ms = 1000, .key = slice_str(key), .value = slice_str(value)};
}

struct command make_delete(const char *key)
{
    return (struct command){.op = COMMAND_DELETE, .wall_ms = 1000, .key = slice_str(key)};
}

struct command make_expire(const char *const *clients, uint32_t count, uint64_t cluster_time_ms)
{
    ASSERT(count <= COMMAND_EXPIRE_MAX);
    struct command c = {.op = COMMAND_EXPIRE_SESSIONS, .cluster_time_ms = cluster_time_ms};
    c.expire_count = count;
    for (uint32_t i = 0; i < count; i++)
        c.expire[i] = slice_str(clients[i]);
    return c;
}

struct command with_client(struct command c, const char *client, uint64_t seq)
{
    c.client = slice_str(client);
    c.seq = seq;
    return c;
}

struct command with_version(struct command c, uint64_t version)
{
    c.condition = CONDITION_VERSION;
    c.expected = version;
    return c;
}

struct command with_absent(struct command c)
{
    c.condition = CONDITION_ABSENT;
    return c;
}

struct command with_time(struct command c, uint64_t wall_ms, uint64_t cluster_time_ms)
{
    c.wall_ms = wall_ms;
    c.cluster_time_ms = cluster_time_ms;
    return c;
}

static struct slice random_text(struct prng *p, uint8_t *room, size_t len)
{
    for (size_t i = 0; i < len; i++)
        room[i] = (uint8_t)(0x20 + prng_below(p, 0x5f));
    return slice_of(room, len);
}

struct command make_batch(struct buf *room, const struct command_write *writes, uint32_t count)
{
    buf_clear(room);
    for (uint32_t i = 0; i < count; i++)
        ASSERT(command_write_append(room, &writes[i]) == 0);
    return (struct command){.op = COMMAND_BATCH,
                            .wall_ms = 1000,
                            .write_count = count,
                            .writes = slice_of(room->data, room->len)};
}

/* In `room` itself, encoded as make_batch would. */
static void random_batch(struct prng *p, struct command *c, uint8_t *room, size_t room_bytes)
{
    struct buf writes;
    buf_init(&writes, room_bytes);
    c->op = COMMAND_BATCH;
    uint32_t wanted = 1 + (uint32_t)prng_below(p, prng_chance(p, 1, 8) ? LIMIT_BATCH_WRITES : 6);
    for (uint32_t i = 0; i < wanted; i++) {
        uint8_t key[6], value[40];
        prng_fill(p, key + 2, sizeof(key) - 2);
        key[0] = (uint8_t)(i >> 8);
        key[1] = (uint8_t)i;
        prng_fill(p, value, sizeof(value));
        struct command_write w = {.op = COMMAND_DELETE, .key = slice_of(key, sizeof(key))};
        if (prng_chance(p, 1, 2)) {
            w.op = COMMAND_PUT;
            w.value = slice_of(value, prng_below(p, sizeof(value)));
        }
        if (command_write_append(&writes, &w) != 0)
            break;
        c->write_count++;
    }
    memcpy(room, writes.data, writes.len);
    c->writes = slice_of(room, writes.len);
    buf_release(&writes);
}

struct command make_random_command(struct prng *p, uint8_t *room, size_t room_bytes)
{
    struct command c = {.wall_ms = prng_next(p), .cluster_time_ms = prng_next(p)};
    ASSERT(room_bytes >= (size_t)COMMAND_EXPIRE_MAX * COMMAND_CLIENT_BYTES);
    if (prng_chance(p, 1, 5)) {
        c.op = COMMAND_EXPIRE_SESSIONS;
        c.expire_count = 1 + (uint32_t)prng_below(p, prng_chance(p, 1, 4) ? COMMAND_EXPIRE_MAX : 3);
        for (uint32_t i = 0; i < c.expire_count; i++) {
            c.expire[i] = random_text(p, room, 1 + prng_below(p, COMMAND_CLIENT_BYTES));
            room += c.expire[i].len;
        }
        return c;
    }
    if (prng_chance(p, 1, 5)) {
        if (prng_chance(p, 1, 2)) {
            c.client = random_text(p, room, 1 + prng_below(p, COMMAND_CLIENT_BYTES));
            c.seq = 1 + prng_below(p, UINT64_MAX);
        }
        random_batch(p, &c, room + c.client.len, room_bytes - c.client.len);
        return c;
    }
    c.op = prng_chance(p, 1, 3) ? COMMAND_DELETE : COMMAND_PUT;
    c.condition = (enum command_condition)prng_below(p, c.op == COMMAND_PUT ? 3 : 2);
    if (c.condition == CONDITION_VERSION)
        c.expected = 1 + prng_below(p, UINT64_MAX);
    if (prng_chance(p, 1, 2)) {
        c.client = random_text(p, room, 1 + prng_below(p, COMMAND_CLIENT_BYTES));
        room += c.client.len;
        c.seq = 1 + prng_below(p, UINT64_MAX);
    }
    size_t left = room_bytes - c.client.len;
    size_t key_max = left / 2 < LIMIT_KEY_BYTES ? left / 2 : LIMIT_KEY_BYTES;
    size_t key_len = 1 + prng_below(p, prng_chance(p, 1, 8) ? key_max : 20);
    prng_fill(p, room, key_len);
    c.key = slice_of(room, key_len);
    if (c.op == COMMAND_PUT) {
        size_t value_len = prng_below(p, prng_chance(p, 1, 8) ? left - key_len : 50);
        prng_fill(p, room + key_len, value_len);
        c.value = slice_of(room + key_len, value_len);
    }
    return c;
}

struct entry *make_entry(const struct command *c, raft_index index, raft_term term)
{
    struct entry *e = entry_alloc(RAFT_NORMAL, command_encoded_bytes(c));
    command_encode(c, e->data);
    entry_seal(e);
    entry_place(e, index, term);
    return e;
}

struct entry *make_noop(raft_index index, raft_term term)
{
    struct entry *e = entry_new(RAFT_NOOP, NULL, 0);
    entry_place(e, index, term);
    return e;
}

struct entry *make_configuration(const struct membership *m, raft_index index, raft_term term)
{
    struct buf b;
    buf_init(&b, LIMIT_ENTRY_BYTES);
    size_t len = membership_encode(m, &b);
    ASSERT(len > 0 && len == b.len);
    struct entry *e = entry_new(RAFT_CONFIGURATION, b.data, b.len);
    buf_release(&b);
    entry_place(e, index, term);
    return e;
}

struct membership make_membership(uint32_t count, uint64_t seed)
{
    struct membership m;
    memset(&m, 0, sizeof(m));
    m.configuration.count = count;
    for (uint32_t i = 0; i < count; i++) {
        m.configuration.members[i].id = m.addresses[i].id = (seed << 8) + i + 1;
        m.configuration.members[i].flags = RAFT_VOTER;
        (void)snprintf(m.addresses[i].name, sizeof(m.addresses[i].name), "node%u", i + 1);
        (void)snprintf(m.addresses[i].url, sizeof(m.addresses[i].url), "http://127.0.0.1:%u",
                       5001 + i);
    }
    return m;
}

bool session_equal(const struct session *a, const struct session *b)
{
    return strcmp(a->client, b->client) == 0 && a->seq == b->seq &&
           a->fingerprint == b->fingerprint && a->status == b->status && a->existed == b->existed &&
           a->version == b->version && a->timestamp_ms == b->timestamp_ms &&
           a->used_ms == b->used_ms && a->used_index == b->used_index &&
           memcmp(a->batch_existed, b->batch_existed, sizeof(a->batch_existed)) == 0;
}

bool membership_equal(const struct membership *a, const struct membership *b)
{
    const struct raft_configuration *x = &a->configuration, *y = &b->configuration;
    bool equal = x->index == y->index && x->joint == y->joint && x->count == y->count;
    for (uint32_t i = 0; equal && i < x->count; i++)
        equal = x->members[i].id == y->members[i].id &&
                x->members[i].replaces == y->members[i].replaces &&
                x->members[i].flags == y->members[i].flags &&
                a->addresses[i].id == b->addresses[i].id &&
                strcmp(a->addresses[i].name, b->addresses[i].name) == 0 &&
                strcmp(a->addresses[i].url, b->addresses[i].url) == 0;
    return equal;
}

static bool trap_fails(struct base_trap *t, struct err *err)
{
    if (++t->calls != t->fail_at)
        return false;
    err_set(err, ERR_IO, "as the test asked for");
    return true;
}

static int trap_get(void *self, struct slice key, bool with_value, struct row *row, struct err *err)
{
    struct base_trap *t = self;
    return trap_fails(t, err) ? ERR_IO : t->real->get(t->real->self, key, with_value, row, err);
}

static int trap_seek(void *self, struct slice from, bool reverse, bool with_value, struct err *err)
{
    struct base_trap *t = self;
    return trap_fails(t, err) ? ERR_IO
                              : t->real->seek(t->real->self, from, reverse, with_value, err);
}

static int trap_next(void *self, struct row *row, struct err *err)
{
    struct base_trap *t = self;
    return trap_fails(t, err) ? ERR_IO : t->real->next(t->real->self, row, err);
}

void base_trap_init(struct base_trap *t, const struct state_base *real)
{
    *t = (struct base_trap){
        .base = {.self = t, .get = trap_get, .seek = trap_seek, .next = trap_next},
        .real = real,
    };
}

/* ---- the rig */

struct state_options kv_rig_options(void)
{
    return (struct state_options){
        .memtable_rows_max = 1000000,
        .memtable_bytes_max = UINT64_MAX,
        .index_stride = 0,
        .sessions_max = 1000,
        .session_ttl_ms = 1000,
    };
}

static void rig_open(struct kv_rig *rig)
{
    struct state_image image;
    base_map_image(rig->map, &image);
    rig->state = state_new(&rig->options, &rig->trap.base, &image);
}

void kv_rig_init(struct kv_rig *rig, const struct state_options *options)
{
    *rig = (struct kv_rig){.options = *options, .term = 1};
    rig->map = base_map_new();
    base_trap_init(&rig->trap, base_map_base(rig->map));
    rig_open(rig);
}

void kv_rig_release(struct kv_rig *rig)
{
    state_free(rig->state);
    base_map_free(rig->map);
}

struct apply_result kv_rig_apply(struct kv_rig *rig, struct command c)
{
    struct apply_result result;
    struct err err = {0};
    struct entry *e = make_entry(&c, rig->index + 1, rig->term);
    if (state_apply(rig->state, e, &result, &err) != 0)
        check_failed(err.text, __FILE__, __LINE__);
    entry_unref(e);
    rig->index++;
    return result;
}

bool kv_rig_flush_oldest(struct kv_rig *rig)
{
    const struct memtable *m = state_oldest_frozen(rig->state);
    if (!m)
        return false;
    base_map_flush(rig->map, m);
    state_flushed(rig->state, m);
    return true;
}

void kv_rig_flush(struct kv_rig *rig)
{
    (void)state_freeze(rig->state);
    while (kv_rig_flush_oldest(rig))
        ;
    (void)state_freeze(rig->state); /* lets go of what was flushed */
}

void kv_rig_restart(struct kv_rig *rig)
{
    ASSERT(base_map_applied(rig->map) == rig->index);
    state_free(rig->state);
    rig_open(rig);
}

struct scan_text {
    char *room;
    size_t len, room_bytes;
};

static int emit_text(void *argument, const struct row *row)
{
    struct scan_text *t = argument;
    int n = snprintf(t->room + t->len, t->room_bytes - t->len, "%s%.*s=%.*s@%llu",
                     t->len > 0 ? " " : "", (int)row->key.len, (const char *)row->key.data,
                     (int)row->value.len, row->value.data ? (const char *)row->value.data : "",
                     (unsigned long long)row->version);
    ASSERT(n > 0 && (size_t)n < t->room_bytes - t->len);
    t->len += (size_t)n;
    return 0;
}

int kv_rig_scan(struct kv_rig *rig, const struct state_scan *scan, bool *more, char *room,
                size_t room_bytes)
{
    struct scan_text t = {.room = room, .room_bytes = room_bytes};
    room[0] = '\0';
    return state_scan(rig->state, scan, emit_text, &t, more, NULL);
}

uint64_t kv_rig_version(struct kv_rig *rig, const char *key)
{
    struct row row;
    int rc = state_get(rig->state, slice_str(key), &row, NULL);
    ASSERT(rc == 0 || rc == ERR_NOT_FOUND);
    return rc == 0 ? row.version : 0;
}
