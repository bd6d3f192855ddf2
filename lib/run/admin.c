/* Operators' requests; see admin.h. */
#include "lib/run/admin.h"

#include <stdio.h>
#include <string.h>

#include "lib/client/client.h"

enum { CALL_MS = 2000, FAULT_MS = 1000, PATH_BYTES = 256, BODY_BYTES = 1024 };

static int open_client(struct fleet *c, struct client **client, struct err *err)
{
    struct buf urls;
    buf_init(&urls, (size_t)FLEET_NODES_MAX * (LIMIT_URL_BYTES + 1));
    fleet_urls(c, 0, &urls);
    struct client_options options = {.endpoints = (const char *)urls.data,
                                     .timeout_ms = CALL_MS,
                                     .cluster = c->cluster[0] ? c->cluster : NULL};
    int code = client_new(&options, client, err);
    buf_release(&urls);
    return code;
}

static int change(struct fleet *c, enum client_change what, const char *path, struct slice body,
                  struct err *err)
{
    struct client *client;
    struct client_reply reply;
    int code = open_client(c, &client, err);
    if (code != 0)
        return code;
    client_reply_init(&reply);
    code = client_change(client, what, path, body, &reply, err);
    client_reply_release(&reply);
    client_free(client);
    return code;
}

int admin_transfer(struct fleet *c, const char *to, struct err *err)
{
    char body[BODY_BYTES] = "{}";
    if (to)
        snprintf(body, sizeof(body), "{\"to\":\"%s\"}", to);
    return change(c, CLIENT_POST, "/leader", slice_str(body), err);
}

static int ask(struct fleet *c, const char *path, struct api_status *status, struct err *err)
{
    struct client *client;
    struct client_reply reply;
    int code = open_client(c, &client, err);
    if (code != 0)
        return code;
    client_reply_init(&reply);
    code = client_read(client, path, &reply, err);
    if (code == 0)
        code = api_status_decode(slice_of(reply.body.data, reply.body.len), status, err);
    client_reply_release(&reply);
    client_free(client);
    return code;
}

int admin_members(struct fleet *c, struct api_status *status, struct err *err)
{
    return ask(c, "/members", status, err);
}

int admin_status(struct fleet *c, struct api_status *status, struct err *err)
{
    return ask(c, "/status", status, err);
}

static int send_member(struct fleet *c, const char *path, const struct member *m, bool promote,
                       struct err *err)
{
    struct api_member_request request = {.auto_promote = true};
    struct buf body;
    buf_init(&body, BODY_BYTES);
    snprintf(request.name, sizeof(request.name), "%s", m->name);
    snprintf(request.url, sizeof(request.url), "%s", m->peer_url);
    int code = api_member_request_encode(&request, promote, &body);
    if (code == 0)
        code = change(c, CLIENT_POST, path, slice_of(body.data, body.len), err);
    buf_release(&body);
    return code;
}

int admin_add(struct fleet *c, const struct member *m, struct err *err)
{
    return send_member(c, "/members", m, true, err);
}

int admin_replace(struct fleet *c, const char *old, const struct member *with, struct err *err)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "/members/%s/replace", old);
    return send_member(c, path, with, false, err);
}

int admin_remove(struct fleet *c, const char *name, struct err *err)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "/members/%s", name);
    return change(c, CLIENT_DELETE, path, slice_of(NULL, 0), err);
}

int admin_fault(const struct member *m, const char *json, struct err *err)
{
    struct client_options options = {.endpoints = m->url, .timeout_ms = FAULT_MS};
    struct client *client;
    struct client_reply reply;
    int code = client_new(&options, &client, err);
    if (code != 0)
        return code;
    client_reply_init(&reply);
    code = client_change_at(client, 0, json ? CLIENT_POST : CLIENT_DELETE, "/faults",
                            json ? slice_str(json) : slice_of(NULL, 0), &reply, err);
    client_reply_release(&reply);
    client_free(client);
    return code;
}
