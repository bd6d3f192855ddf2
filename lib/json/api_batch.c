/*
 * POST /batch. A batch has up to a thousand small objects, so they are read from the front, without
 * a tree (base/json_text.h): in jansson's each costs a hash table.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/json_text.h"
#include "lib/base/mem.h"
#include "lib/json/api.h"
#include "lib/json/json_internal.h"

struct batch {
    struct slice body;
    size_t value_bytes_max;
    struct api_error *error;
    struct buf bytes; /* of strings with escapes, and what stood in base64 */
    bool has_ops;
    uint32_t count;
    size_t total; /* bytes of keys and values */
    struct command_write writes[LIMIT_BATCH_WRITES];
};

enum member {
    MEMBER_OP,
    MEMBER_KEY,
    MEMBER_VALUE,
    MEMBER_KEY_BASE64,
    MEMBER_VALUE_BASE64,
    MEMBERS
};

static const char *const member_names[MEMBERS] = {"op", "key", "value", "key_base64",
                                                  "value_base64"};

/* An operation in the course of being read. */
struct op {
    struct batch *batch;
    bool seen[MEMBERS];
    struct command_write write;
};

static bool fail(struct batch *b, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static bool fail(struct batch *b, int code, const char *fmt, ...)
{
    va_list ap;
    b->error->code = code;
    va_start(ap, fmt);
    vsnprintf(b->error->message, sizeof(b->error->message), fmt, ap);
    va_end(ap);
    return false;
}

static bool too_large(struct batch *b, size_t limit, size_t actual, const char *what)
{
    b->error->has_limit = true;
    b->error->limit = limit;
    b->error->actual = actual;
    return fail(b, ERR_TOO_LARGE, "%s", what);
}

static bool op_fail(struct op *op, int code, const char *what)
{
    return fail(op->batch, code, "ops[%u]: %s", op->batch->count, what);
}

/* ---- one operation */

/* What stands in the body stays there; what had to be decoded is kept. */
static struct slice keep(struct batch *b, struct slice text)
{
    const uint8_t *end = b->body.data + b->body.len;
    if (text.data >= b->body.data && text.data < end)
        return text;
    size_t at = b->bytes.len;
    ASSERT(buf_append(&b->bytes, text.data, text.len) == 0); /* reserved: no longer than the body */
    return slice_of(b->bytes.data + at, text.len);
}

/* A string, or the member that should be one is named. */
static bool take_string(struct op *op, struct json_text *t, int member, struct slice *out)
{
    if (json_text_string(t, out))
        return true;
    return fail(op->batch, ERR_BAD_REQUEST, "ops[%u]: member '%s': %s", op->batch->count,
                member_names[member], t->why);
}

static bool take_base64(struct op *op, struct json_text *t, int member, struct slice *out)
{
    struct buf *bytes = &op->batch->bytes;
    struct slice text;
    size_t len = 0;
    if (!take_string(op, t, member, &text))
        return false;
    if (text.len > 0 && (text.len < 4 || base64_decode(bytes->data + bytes->len, &len,
                                                       (const char *)text.data, text.len) != 0))
        return fail(op->batch, ERR_BAD_REQUEST, "ops[%u]: member '%s' must be base64, padded",
                    op->batch->count, member_names[member]);
    *out = slice_of(bytes->data + bytes->len, len);
    bytes->len += len;
    return true;
}

static bool take_op(struct op *op, struct json_text *t)
{
    struct slice word;
    if (!take_string(op, t, MEMBER_OP, &word))
        return false;
    if (json_text_is(word, "put"))
        op->write.op = COMMAND_PUT;
    else if (json_text_is(word, "delete"))
        op->write.op = COMMAND_DELETE;
    else
        return fail(op->batch, ERR_BAD_REQUEST, "ops[%u]: op '%.*s': put or delete",
                    op->batch->count, word.len < 40 ? (int)word.len : 40, (const char *)word.data);
    return true;
}

static bool op_member(void *argument, struct json_text *t, struct slice name)
{
    struct op *op = argument;
    struct slice text;
    int i = 0;
    while (i < MEMBERS && !json_text_is(name, member_names[i]))
        i++;
    if (i == MEMBERS)
        return fail(op->batch, ERR_BAD_REQUEST, "ops[%u]: member '%.*s' is not known here",
                    op->batch->count, name.len < 64 ? (int)name.len : 64, (const char *)name.data);
    if (op->seen[i])
        return fail(op->batch, ERR_BAD_REQUEST, "ops[%u]: member '%s' stands there twice",
                    op->batch->count, member_names[i]);
    op->seen[i] = true;
    switch ((enum member)i) {
    case MEMBER_OP: return take_op(op, t);
    case MEMBER_KEY_BASE64: return take_base64(op, t, i, &op->write.key);
    case MEMBER_VALUE_BASE64: return take_base64(op, t, i, &op->write.value);
    default: break;
    }
    if (!take_string(op, t, i, &text))
        return false;
    *(i == MEMBER_KEY ? &op->write.key : &op->write.value) = keep(op->batch, text);
    return true;
}

static bool op_judge(struct op *op)
{
    const bool *seen = op->seen;
    bool key = seen[MEMBER_KEY] || seen[MEMBER_KEY_BASE64];
    bool value = seen[MEMBER_VALUE] || seen[MEMBER_VALUE_BASE64];
    size_t key_len = op->write.key.len, value_len = op->write.value.len;
    if (!seen[MEMBER_OP])
        return op_fail(op, ERR_BAD_REQUEST, "member 'op' is missing");
    if (seen[MEMBER_KEY] && seen[MEMBER_KEY_BASE64])
        return op_fail(op, ERR_BAD_REQUEST, "'key' and 'key_base64': one of them only");
    if (seen[MEMBER_VALUE] && seen[MEMBER_VALUE_BASE64])
        return op_fail(op, ERR_BAD_REQUEST, "'value' and 'value_base64': one of them only");
    if (!key)
        return op_fail(op, ERR_BAD_REQUEST, "member 'key' is missing");
    if (key_len == 0)
        return op_fail(op, ERR_BAD_REQUEST, "the key is empty");
    if (key_len > LIMIT_KEY_BYTES)
        return too_large(op->batch, LIMIT_KEY_BYTES, key_len, "a key of a batch is too long");
    if (op->write.op == COMMAND_PUT && !value)
        return op_fail(op, ERR_BAD_REQUEST, "member 'value' is missing");
    if (op->write.op == COMMAND_DELETE && value)
        return op_fail(op, ERR_BAD_REQUEST, "a delete has no value");
    if (value_len > op->batch->value_bytes_max)
        return too_large(op->batch, op->batch->value_bytes_max, value_len,
                         "a value of a batch is too long");
    return true;
}

static bool read_op(struct batch *b, struct json_text *t, struct command_write *out)
{
    struct op op = {.batch = b};
    if (!json_text_object(t, op_member, &op) || !op_judge(&op))
        return false;
    *out = op.write;
    return true;
}

/* ---- all of them */

static bool element(void *argument, struct json_text *t)
{
    struct batch *b = argument;
    struct command_write beyond;
    if (!read_op(b, t, b->count < LIMIT_BATCH_WRITES ? &b->writes[b->count] : &beyond))
        return false;
    if (b->count < LIMIT_BATCH_WRITES)
        b->total += b->writes[b->count].key.len + b->writes[b->count].value.len;
    b->count++;
    return true;
}

static bool root_member(void *argument, struct json_text *t, struct slice name)
{
    struct batch *b = argument;
    if (!json_text_is(name, "ops"))
        return fail(b, ERR_BAD_REQUEST, "member '%.*s' is not known here",
                    name.len < 64 ? (int)name.len : 64, (const char *)name.data);
    if (b->has_ops)
        return fail(b, ERR_BAD_REQUEST, "member 'ops' stands there twice");
    b->has_ops = true;
    return json_text_array(t, element, b);
}

static bool batch_judge(struct batch *b)
{
    if (!b->has_ops)
        return fail(b, ERR_BAD_REQUEST, "member 'ops' is missing");
    if (b->count == 0)
        return fail(b, ERR_BAD_REQUEST, "the list of operations, 'ops', is empty");
    if (b->count > LIMIT_BATCH_WRITES)
        return too_large(b, LIMIT_BATCH_WRITES, b->count, "too many operations in a batch");
    if (b->total > LIMIT_BATCH_BYTES)
        return too_large(b, LIMIT_BATCH_BYTES, b->total,
                         "the keys and values of a batch are too long together");
    return true;
}

static int by_key(const void *a, const void *b)
{
    return slice_compare(((const struct command_write *)a)->key,
                         ((const struct command_write *)b)->key);
}

static bool doubled_key(struct batch *b, struct slice key)
{
    struct buf shown;
    buf_init(&shown, 3 * LIMIT_KEY_BYTES * 2 + 64);
    json_bytes_member("key", key, &shown);
    fail(b, ERR_BAD_REQUEST, "%.200s stands in the batch more than once", (const char *)shown.data);
    buf_release(&shown);
    return false;
}

/* In order of keys, which finds the doubled ones. */
static bool encode(struct batch *b, struct buf *writes)
{
    bool ascending = true;
    for (uint32_t i = 1; i < b->count && ascending; i++)
        ascending = slice_compare(b->writes[i - 1].key, b->writes[i].key) < 0;
    if (!ascending)
        qsort(b->writes, b->count, sizeof(b->writes[0]), by_key);
    size_t bytes = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        bytes += command_write_bytes(&b->writes[i]);
        if (i > 0 && slice_compare(b->writes[i - 1].key, b->writes[i].key) == 0)
            return doubled_key(b, b->writes[i].key);
    }
    buf_init(writes, bytes);
    for (uint32_t i = 0; i < b->count; i++)
        ASSERT(command_write_append(writes, &b->writes[i]) == 0);
    return true;
}

/* `take` reads what the text is. */
static bool read_text(struct batch *b, bool (*take)(struct batch *, struct json_text *))
{
    struct json_text t;
    struct buf scratch;
    buf_init(&scratch, b->body.len + 8);
    /* Places in it are kept: it must not move. Decoding base64 may need two bytes more. */
    buf_init(&b->bytes, b->body.len + 8);
    ASSERT(buf_reserve(&b->bytes, b->body.len + 8) == 0);
    json_text_init(&t, b->body, &scratch);
    bool good = take(b, &t) && json_text_end(&t);
    if (!good && b->error->code == 0)
        fail(b, ERR_BAD_REQUEST, "bad JSON: %s", t.why);
    buf_release(&scratch);
    return good;
}

static bool take_batch(struct batch *b, struct json_text *t)
{
    return json_text_object(t, root_member, b);
}

static bool take_one(struct batch *b, struct json_text *t)
{
    return read_op(b, t, &b->writes[0]);
}

int api_batch_decode(struct slice body, size_t value_bytes_max, struct buf *writes, uint32_t *count,
                     struct api_error *e)
{
    struct batch *b = mem_alloc(sizeof(*b)); /* its array is filled as far as it is used */
    *e = (struct api_error){.outcome = OUTCOME_NOT_APPLIED};
    b->body = body;
    b->value_bytes_max = value_bytes_max;
    b->error = e;
    b->has_ops = false;
    b->count = 0;
    b->total = 0;
    if (read_text(b, take_batch) && batch_judge(b) && encode(b, writes))
        *count = b->count;
    buf_release(&b->bytes);
    mem_free(b);
    return e->code;
}

int api_batch_op_check(struct slice text, struct err *err)
{
    struct api_error e = {0};
    struct batch *b = mem_zalloc(sizeof(*b));
    b->body = text;
    b->value_bytes_max = LIMIT_VALUE_BYTES_CEILING; /* the node has the last word */
    b->error = &e;
    read_text(b, take_one);
    buf_release(&b->bytes);
    mem_free(b);
    /* There is one only, whose place in the list its line number says. */
    const char *what = strncmp(e.message, "ops[0]: ", 8) == 0 ? e.message + 8 : e.message;
    return e.code ? err_set(err, e.code, "%s", what) : 0;
}
