/* The calls that the client offers, each as one request description; see client.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/client/call_internal.h"
#include "lib/client/client.h"
#include "lib/json/walk.h"
#include "lib/net/http_server.h"

enum { TARGET_BYTES_MAX = 1 << 20 }; /* the node has the say on the length of keys */

static void add(struct buf *b, const char *text)
{
    ASSERT(buf_append_str(b, text) == 0);
}

static int add_encoded(struct buf *b, const char *name, struct slice bytes, bool keep_slash,
                       struct err *err)
{
    add(b, name);
    if (target_encode(bytes, keep_slash, b) != 0)
        return err_set(err, ERR_TOO_LARGE, "an argument of %zu bytes", bytes.len);
    return 0;
}

static int key_target(struct buf *b, struct slice key, struct err *err)
{
    buf_init(b, TARGET_BYTES_MAX);
    return add_encoded(b, "/kv/", key, true, err);
}

static const char *text_of(const struct buf *b)
{
    return (const char *)b->data;
}

static void set_condition(struct call *call, enum command_condition condition, uint64_t expected)
{
    switch (condition) {
    case CONDITION_NONE: return;
    case CONDITION_VERSION:
        call->condition_header = "If-Match";
        snprintf(call->condition, sizeof(call->condition), "\"%" PRIu64 "\"", expected);
        return;
    case CONDITION_ABSENT:
        call->condition_header = "If-None-Match";
        snprintf(call->condition, sizeof(call->condition), "*");
        return;
    }
}

static int accept_item(const struct call *call, struct client_reply *reply, struct err *err)
{
    struct api_item item;
    int code = api_item_decode(slice_of(reply->body.data, reply->body.len), &item, err);
    if (code != 0)
        return code;
    if (strcmp(call->method, "DELETE") == 0 && !item.has_deleted)
        code = err_set(err, ERR_BAD_REQUEST, "no member \"deleted\"");
    reply->has_version = true;
    reply->version = item.version;
    reply->deleted = item.has_deleted && item.deleted;
    api_item_release(&item);
    return code;
}

static int accept_batch(const struct call *call, struct client_reply *reply, struct err *err)
{
    struct api_batch_reply batch;
    (void)call;
    int code = api_batch_reply_decode(slice_of(reply->body.data, reply->body.len), &batch, err);
    if (code != 0)
        return code;
    reply->has_version = true;
    reply->version = batch.version;
    return 0;
}

/* A value's bytes can be anything; that they are one the version in ETag tells. */
static int accept_raw(const struct call *call, struct client_reply *reply, struct err *err)
{
    (void)call;
    return reply->has_version ? 0 : err_set(err, ERR_BAD_REQUEST, "no version in ETag");
}

static int accept_object(const struct call *call, struct client_reply *reply, struct err *err)
{
    (void)call;
    return json_walk(slice_of(reply->body.data, reply->body.len), NULL, NULL, err);
}

static int accept_page(const struct call *call, struct client_reply *reply, struct err *err)
{
    return api_page_decode(slice_of(reply->body.data, reply->body.len), call->page, err);
}

int client_put(struct client *c, struct slice key, struct slice value,
               enum command_condition condition, uint64_t expected, struct client_reply *reply,
               struct err *err)
{
    struct buf target;
    int code = key_target(&target, key, err);
    if (code == 0) {
        struct call call = {.kind = CALL_WRITE,
                            .method = "PUT",
                            .target = text_of(&target),
                            .pass_timeout = true,
                            .body = value.data ? value : slice_str(""),
                            .content_type = "application/octet-stream",
                            .accept = accept_item};
        set_condition(&call, condition, expected);
        code = client_call(c, &call, reply, err);
    }
    buf_release(&target);
    return code;
}

int client_delete(struct client *c, struct slice key, enum command_condition condition,
                  uint64_t expected, struct client_reply *reply, struct err *err)
{
    struct buf target;
    int code = key_target(&target, key, err);
    if (code == 0) {
        struct call call = {.kind = CALL_WRITE,
                            .method = "DELETE",
                            .target = text_of(&target),
                            .pass_timeout = true,
                            .accept = accept_item};
        set_condition(&call, condition, expected);
        code = client_call(c, &call, reply, err);
    }
    buf_release(&target);
    return code;
}

int client_batch(struct client *c, struct slice body, struct client_reply *reply, struct err *err)
{
    struct call call = {.kind = CALL_WRITE,
                        .method = "POST",
                        .target = "/batch",
                        .pass_timeout = true,
                        .body = body,
                        .content_type = "application/json",
                        .accept = accept_batch};
    return client_call(c, &call, reply, err);
}

int client_get(struct client *c, struct slice key, bool raw, struct client_reply *reply,
               struct err *err)
{
    struct buf target;
    int code = key_target(&target, key, err);
    if (code == 0 && client_consistency(c))
        code = add_encoded(&target, "?consistency=", slice_str(client_consistency(c)), true, err);
    if (code == 0) {
        struct call call = {.kind = CALL_READ,
                            .method = "GET",
                            .target = text_of(&target),
                            .pass_timeout = true,
                            .raw = raw,
                            .accept = raw ? accept_raw : accept_item};
        code = client_call(c, &call, reply, err);
    }
    buf_release(&target);
    return code;
}

static int scan_target(const struct client *c, const struct client_scan *scan, struct buf *b,
                       struct err *err)
{
    const char *consistency = client_consistency(c);
    int code = add_encoded(b, "/kv?prefix=", scan->prefix, true, err);
    if (code == 0 && scan->start.data)
        code = add_encoded(b, "&start=", scan->start, true, err);
    if (code == 0 && scan->end.data)
        code = add_encoded(b, "&end=", scan->end, true, err);
    if (code == 0 && scan->cursor)
        code = add_encoded(b, "&cursor=", slice_str(scan->cursor), true, err);
    if (code == 0 && consistency)
        code = add_encoded(b, "&consistency=", slice_str(consistency), true, err);
    if (code != 0)
        return code;
    if (scan->limit > 0)
        ASSERT(buf_printf(b, "&limit=%" PRIu32, scan->limit) == 0);
    if (scan->reverse)
        add(b, "&reverse");
    if (scan->keys_only)
        add(b, "&keys_only");
    return 0;
}

int client_scan(struct client *c, const struct client_scan *scan, struct client_reply *reply,
                struct api_page *page, struct err *err)
{
    struct buf target;
    buf_init(&target, TARGET_BYTES_MAX);
    int code = scan_target(c, scan, &target, err);
    if (code == 0) {
        struct call call = {.kind = CALL_READ,
                            .method = "GET",
                            .target = text_of(&target),
                            .pass_timeout = true,
                            .accept = page ? accept_page : accept_object,
                            .page = page};
        code = client_call(c, &call, reply, err);
    }
    buf_release(&target);
    return code;
}

int client_read(struct client *c, const char *path, struct client_reply *reply, struct err *err)
{
    struct call call = {
        .kind = CALL_READ, .method = "GET", .target = path, .accept = accept_object};
    return client_call(c, &call, reply, err);
}

int client_read_from(struct client *c, size_t endpoint, const char *path,
                     struct client_reply *reply, struct err *err)
{
    struct call call = {.kind = CALL_READ,
                        .method = "GET",
                        .target = path,
                        .pinned = true,
                        .any_status = true,
                        .accept = accept_object};
    return client_call_at(c, endpoint, &call, reply, err);
}

int client_fetch_from(struct client *c, size_t endpoint, const char *path,
                      struct client_reply *reply, struct err *err)
{
    struct call call = {.kind = CALL_READ,
                        .method = "GET",
                        .target = path,
                        .pinned = true,
                        .accept = accept_object};
    return client_call_at(c, endpoint, &call, reply, err);
}

int client_change(struct client *c, enum client_change change, const char *path, struct slice body,
                  struct client_reply *reply, struct err *err)
{
    struct call call = {.kind = CALL_CHANGE,
                        .method = change == CLIENT_POST ? "POST" : "DELETE",
                        .target = path,
                        .pass_timeout = true,
                        .body = body,
                        .content_type = "application/json",
                        .accept = accept_object};
    return client_call(c, &call, reply, err);
}

int client_change_at(struct client *c, size_t endpoint, enum client_change change, const char *path,
                     struct slice body, struct client_reply *reply, struct err *err)
{
    struct call call = {.kind = CALL_CHANGE,
                        .method = change == CLIENT_POST ? "POST" : "DELETE",
                        .target = path,
                        .pinned = true,
                        .body = body,
                        .content_type = "application/json",
                        .accept = accept_object};
    return client_call_at(c, endpoint, &call, reply, err);
}
