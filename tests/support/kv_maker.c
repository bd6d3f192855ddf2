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
           a->used_ms == b->used_ms && a->used_index == b->used_index;
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
