/*
 * The codec of commands.
 *
 *     command    = format u8, op u8, wall_ms u64, cluster_time_ms u64, then
 *     put/delete = condition u8, client_len u8, key_len u16, value_len u32,
 *                  [expected u64] if the condition is a version, [seq u64] if client_len > 0,
 *                  client, key, value
 *     expire     = count u8, { len u8, client }…
 *     batch      = client_len u8, count u16, [seq u64] if client_len > 0, client,
 *                  { op u8, key_len u16, value_len u32, key, value }…  keys strictly ascending
 *
 * Little endian. Every command has one encoding only, so that equal bytes mean equal commands and
 * nothing else.
 */
#include "lib/kv/command.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/hash.h"
#include "lib/kv/wire_internal.h"

enum {
    COMMAND_FORMAT = 1,
    COMMON_BYTES = 1 + 1 + 8 + 8,
    WRITE_BYTES = 1 + 1 + 2 + 4,
    BATCH_BYTES = 1 + 2,
    BATCHED_BYTES = 1 + 2 + 4,
};

_Static_assert(LIMIT_KEY_BYTES <= UINT16_MAX, "key_len is a u16");
_Static_assert(COMMAND_CLIENT_BYTES <= UINT8_MAX, "client_len is a u8");
_Static_assert(COMMAND_EXPIRE_MAX <= UINT8_MAX, "count is a u8");
_Static_assert(COMMON_BYTES + WRITE_BYTES + 16 + COMMAND_CLIENT_BYTES + LIMIT_KEY_BYTES +
                       LIMIT_VALUE_BYTES_CEILING <=
                   LIMIT_ENTRY_BYTES,
               "a command fits into an entry");
_Static_assert(LIMIT_BATCH_WRITES <= UINT16_MAX, "count is a u16");
_Static_assert(COMMON_BYTES + BATCH_BYTES + 8 + COMMAND_CLIENT_BYTES +
                       LIMIT_BATCH_WRITES * BATCHED_BYTES + LIMIT_BATCH_BYTES <=
                   LIMIT_ENTRY_BYTES,
               "a batch fits into an entry");

bool client_id_valid(const void *id, size_t len)
{
    const uint8_t *c = id;
    if (len < 1 || len > COMMAND_CLIENT_BYTES)
        return false;
    for (size_t i = 0; i < len; i++)
        if (c[i] < 0x20 || c[i] > 0x7e)
            return false;
    return true;
}

/* NULL, or what is wrong. These are used both ways: we never write what we would not read. */
static const char *session_flaw(const struct command *c)
{
    if (c->client.len > 0 && !client_id_valid(c->client.data, c->client.len))
        return "client id not 1 to 64 printable characters";
    if ((c->client.len > 0) != (c->seq > 0))
        return "client and sequence number go together";
    return NULL;
}

static const char *pair_flaw(enum command_op op, struct slice key, struct slice value)
{
    if (key.len < 1 || key.len > LIMIT_KEY_BYTES)
        return "key length out of range";
    if (value.len > LIMIT_VALUE_BYTES_CEILING)
        return "value too long";
    if (op == COMMAND_DELETE && value.len > 0)
        return "delete with a value";
    return NULL;
}

static const char *write_flaw(const struct command *c)
{
    const char *flaw = pair_flaw(c->op, c->key, c->value);
    if (!flaw)
        flaw = session_flaw(c);
    if (flaw)
        return flaw;
    switch (c->condition) {
    case CONDITION_NONE: return c->expected == 0 ? NULL : "expected version without a condition";
    case CONDITION_VERSION: return c->expected > 0 ? NULL : "expected version is 0";
    case CONDITION_ABSENT:
        if (c->op != COMMAND_PUT)
            return "only a put can ask for absence";
        return c->expected == 0 ? NULL : "expected version without a condition";
    }
    return "unknown condition";
}

static bool read_write(struct reader *r, struct command_write *w)
{
    w->op = (enum command_op)reader_u8(r);
    size_t key_len = reader_u16(r);
    size_t value_len = reader_u32(r);
    w->key = reader_bytes(r, key_len);
    w->value = reader_bytes(r, value_len);
    return !r->failed;
}

static const char *batch_flaw(const struct command *c)
{
    if (c->write_count < 1 || c->write_count > LIMIT_BATCH_WRITES)
        return "number of writes out of range";
    if (c->writes.len > (size_t)c->write_count * BATCHED_BYTES + LIMIT_BATCH_BYTES)
        return "batch too long";
    struct reader r = reader_of(c->writes);
    struct command_write w = {0}, before;
    for (uint32_t i = 0; i < c->write_count; i++) {
        before = w;
        if (!read_write(&r, &w))
            return "batch cut short";
        if (w.op != COMMAND_PUT && w.op != COMMAND_DELETE)
            return "unknown operation in a batch";
        const char *flaw = pair_flaw(w.op, w.key, w.value);
        if (flaw)
            return flaw;
        if (i > 0 && slice_compare(before.key, w.key) >= 0)
            return "keys of a batch not in ascending order";
    }
    return r.left > 0 ? "bytes behind the writes of a batch" : session_flaw(c);
}

static const char *command_flaw(const struct command *c)
{
    switch (c->op) {
    case COMMAND_PUT:
    case COMMAND_DELETE: return write_flaw(c);
    case COMMAND_BATCH: return batch_flaw(c);
    case COMMAND_EXPIRE_SESSIONS:
        if (c->expire_count < 1 || c->expire_count > COMMAND_EXPIRE_MAX)
            return "number of sessions to expire out of range";
        for (uint32_t i = 0; i < c->expire_count; i++)
            if (!client_id_valid(c->expire[i].data, c->expire[i].len))
                return "client id not 1 to 64 printable characters";
        return NULL;
    }
    return "unknown operation";
}

size_t command_encoded_bytes(const struct command *c)
{
    size_t bytes = COMMON_BYTES;
    if (c->op == COMMAND_EXPIRE_SESSIONS) {
        bytes += 1;
        for (uint32_t i = 0; i < c->expire_count; i++)
            bytes += 1 + c->expire[i].len;
        return bytes;
    }
    bytes += c->client.len > 0 ? 8 + c->client.len : 0;
    if (c->op == COMMAND_BATCH)
        return bytes + BATCH_BYTES + c->writes.len;
    bytes += WRITE_BYTES;
    bytes += c->condition == CONDITION_VERSION ? 8 : 0;
    return bytes + c->key.len + c->value.len;
}

static uint8_t *put_bytes(uint8_t *out, struct slice bytes)
{
    if (bytes.len > 0)
        memcpy(out, bytes.data, bytes.len);
    return out + bytes.len;
}

static uint8_t *put_u64(uint8_t *out, uint64_t v)
{
    le64enc(out, v);
    return out + 8;
}

static uint8_t *put_session(uint8_t *out, const struct command *c)
{
    if (c->client.len > 0)
        out = put_u64(out, c->seq);
    return put_bytes(out, c->client);
}

static uint8_t *put_write(uint8_t *out, const struct command *c)
{
    *out++ = (uint8_t)c->condition;
    *out++ = (uint8_t)c->client.len;
    le16enc(out, (uint16_t)c->key.len);
    le32enc(out + 2, (uint32_t)c->value.len);
    out += 6;
    if (c->condition == CONDITION_VERSION)
        out = put_u64(out, c->expected);
    out = put_session(out, c);
    out = put_bytes(out, c->key);
    return put_bytes(out, c->value);
}

static uint8_t *put_batch(uint8_t *out, const struct command *c)
{
    *out++ = (uint8_t)c->client.len;
    le16enc(out, (uint16_t)c->write_count);
    out = put_session(out + 2, c);
    return put_bytes(out, c->writes);
}

static uint8_t *put_expire(uint8_t *out, const struct command *c)
{
    *out++ = (uint8_t)c->expire_count;
    for (uint32_t i = 0; i < c->expire_count; i++) {
        *out++ = (uint8_t)c->expire[i].len;
        out = put_bytes(out, c->expire[i]);
    }
    return out;
}

void command_encode(const struct command *c, uint8_t *out)
{
    ASSERT(command_flaw(c) == NULL);
    uint8_t *const begin = out;
    *out++ = COMMAND_FORMAT;
    *out++ = (uint8_t)c->op;
    out = put_u64(out, c->wall_ms);
    out = put_u64(out, c->cluster_time_ms);
    switch (c->op) {
    case COMMAND_PUT:
    case COMMAND_DELETE: out = put_write(out, c); break;
    case COMMAND_BATCH: out = put_batch(out, c); break;
    case COMMAND_EXPIRE_SESSIONS: out = put_expire(out, c); break;
    }
    ASSERT((size_t)(out - begin) == command_encoded_bytes(c));
}

size_t command_write_bytes(const struct command_write *w)
{
    return BATCHED_BYTES + w->key.len + w->value.len;
}

int command_write_append(struct buf *out, const struct command_write *w)
{
    ASSERT(pair_flaw(w->op, w->key, w->value) == NULL);
    size_t bytes = command_write_bytes(w);
    int rc = buf_reserve(out, bytes);
    if (rc != 0)
        return rc;
    uint8_t *at = out->data + out->len;
    *at++ = (uint8_t)w->op;
    le16enc(at, (uint16_t)w->key.len);
    le32enc(at + 2, (uint32_t)w->value.len);
    at = put_bytes(put_bytes(at + 6, w->key), w->value);
    *at = 0;
    out->len += bytes;
    return 0;
}

bool command_write_next(struct slice *rest, struct command_write *w)
{
    struct reader r = reader_of(*rest);
    if (rest->len == 0)
        return false;
    bool whole = read_write(&r, w);
    ASSERT(whole);
    *rest = slice_of(r.at, r.left);
    return true;
}

static void decode_write(struct reader *r, struct command *c)
{
    c->condition = (enum command_condition)reader_u8(r);
    size_t client_len = reader_u8(r);
    size_t key_len = reader_u16(r);
    size_t value_len = reader_u32(r);
    if (c->condition == CONDITION_VERSION)
        c->expected = reader_u64(r);
    if (client_len > 0)
        c->seq = reader_u64(r);
    c->client = reader_bytes(r, client_len);
    c->key = reader_bytes(r, key_len);
    c->value = reader_bytes(r, value_len);
}

static void decode_batch(struct reader *r, struct command *c)
{
    size_t client_len = reader_u8(r);
    c->write_count = reader_u16(r);
    if (client_len > 0)
        c->seq = reader_u64(r);
    c->client = reader_bytes(r, client_len);
    c->writes = reader_bytes(r, r->left);
}

static void decode_expire(struct reader *r, struct command *c)
{
    c->expire_count = reader_u8(r);
    for (uint32_t i = 0; i < c->expire_count && i < COMMAND_EXPIRE_MAX; i++) {
        size_t len = reader_u8(r);
        c->expire[i] = reader_bytes(r, len);
    }
}

int command_decode(struct slice in, struct command *c, struct err *err)
{
    /* Not the whole struct: `expire` is a kilobyte that a write has no use for. */
    c->client = c->key = c->value = c->writes = (struct slice){NULL, 0};
    c->write_count = 0;
    c->seq = 0;
    c->condition = CONDITION_NONE;
    c->expected = 0;
    c->expire_count = 0;

    struct reader r = reader_of(in);
    uint8_t format = reader_u8(&r);
    if (r.failed || format != COMMAND_FORMAT)
        return err_set(err, ERR_CORRUPT, "command: unknown format %u", format);
    c->op = (enum command_op)reader_u8(&r);
    c->wall_ms = reader_u64(&r);
    c->cluster_time_ms = reader_u64(&r);
    if (c->op == COMMAND_EXPIRE_SESSIONS)
        decode_expire(&r, c);
    else if (c->op == COMMAND_BATCH)
        decode_batch(&r, c);
    else
        decode_write(&r, c);
    if (r.failed)
        return err_set(err, ERR_CORRUPT, "command: cut short at %zu bytes", in.len);
    const char *flaw = command_flaw(c);
    if (flaw)
        return err_set(err, ERR_CORRUPT, "command: %s", flaw);
    if (r.left > 0)
        return err_set(err, ERR_CORRUPT, "command: %zu bytes behind the end", r.left);
    return 0;
}

/* Kept in sessions on disk and in snapshots: its value must never change for a given request. */
uint64_t command_fingerprint(const struct command *c)
{
    uint8_t head[1 + 1 + 8 + 8 + 8];
    head[0] = (uint8_t)c->op;
    head[1] = (uint8_t)c->condition;
    le64enc(head + 2, c->expected);
    le64enc(head + 10, c->op == COMMAND_BATCH ? c->writes.len : c->key.len);
    le64enc(head + 18, c->value.len);
    uint64_t h = hash64(head, sizeof(head), 0);
    if (c->op == COMMAND_BATCH)
        return hash64(c->writes.data, c->writes.len, h);
    h = hash64(c->key.data, c->key.len, h);
    return hash64(c->value.data, c->value.len, h);
}
