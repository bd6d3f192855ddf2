/*
 * The codec of commands.
 *
 *     command    = format u8, op u8, wall_ms u64, cluster_time_ms u64, then
 *     put/delete = condition u8, client_len u8, key_len u16, value_len u32,
 *                  [expected u64] if the condition is a version, [seq u64] if client_len > 0,
 * client, key, value expire     = count u8, { len u8, client }…
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
};

_Static_assert(LIMIT_KEY_BYTES <= UINT16_MAX, "key_len is a u16");
_Static_assert(COMMAND_CLIENT_BYTES <= UINT8_MAX, "client_len is a u8");
_Static_assert(COMMAND_EXPIRE_MAX <= UINT8_MAX, "count is a u8");
_Static_assert(COMMON_BYTES + WRITE_BYTES + 16 + COMMAND_CLIENT_BYTES + LIMIT_KEY_BYTES +
                       LIMIT_VALUE_BYTES_CEILING <=
                   LIMIT_ENTRY_BYTES,
               "a command fits into an entry");

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

/* NULL, or what is wrong with a put or delete. Used both ways: we never write what we would not
 * read. */
static const char *write_flaw(const struct command *c)
{
    if (c->key.len < 1 || c->key.len > LIMIT_KEY_BYTES)
        return "key length out of range";
    if (c->value.len > LIMIT_VALUE_BYTES_CEILING)
        return "value too long";
    if (c->op == COMMAND_DELETE && c->value.len > 0)
        return "delete with a value";
    if (c->client.len > 0 && !client_id_valid(c->client.data, c->client.len))
        return "client id not 1 to 64 printable characters";
    if ((c->client.len > 0) != (c->seq > 0))
        return "client and sequence number go together";
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

static const char *command_flaw(const struct command *c)
{
    switch (c->op) {
    case COMMAND_PUT:
    case COMMAND_DELETE: return write_flaw(c);
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
    bytes += WRITE_BYTES;
    bytes += c->condition == CONDITION_VERSION ? 8 : 0;
    bytes += c->client.len > 0 ? 8 + c->client.len : 0;
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

void command_encode(const struct command *c, uint8_t *out)
{
    ASSERT(command_flaw(c) == NULL);
    uint8_t *const begin = out;
    *out++ = COMMAND_FORMAT;
    *out++ = (uint8_t)c->op;
    out = put_u64(out, c->wall_ms);
    out = put_u64(out, c->cluster_time_ms);
    if (c->op == COMMAND_EXPIRE_SESSIONS) {
        *out++ = (uint8_t)c->expire_count;
        for (uint32_t i = 0; i < c->expire_count; i++) {
            *out++ = (uint8_t)c->expire[i].len;
            out = put_bytes(out, c->expire[i]);
        }
    } else {
        *out++ = (uint8_t)c->condition;
        *out++ = (uint8_t)c->client.len;
        le16enc(out, (uint16_t)c->key.len);
        le32enc(out + 2, (uint32_t)c->value.len);
        out += 6;
        if (c->condition == CONDITION_VERSION)
            out = put_u64(out, c->expected);
        if (c->client.len > 0)
            out = put_u64(out, c->seq);
        out = put_bytes(out, c->client);
        out = put_bytes(out, c->key);
        out = put_bytes(out, c->value);
    }
    ASSERT((size_t)(out - begin) == command_encoded_bytes(c));
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
    c->client = c->key = c->value = (struct slice){NULL, 0};
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
    le64enc(head + 10, c->key.len);
    le64enc(head + 18, c->value.len);
    uint64_t h = hash64(head, sizeof(head), 0);
    h = hash64(c->key.data, c->key.len, h);
    return hash64(c->value.data, c->value.len, h);
}
