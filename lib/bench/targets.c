/* Where requests go: the endpoints in turn, or whoever leads. */
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/bench/bench_internal.h"
#include "lib/client/client.h"
#include "lib/json/api.h"

enum { ASK_MS = 5000 };

static void take_endpoints(struct targets *t, const struct client *c)
{
    for (size_t i = 0; i < client_endpoint_count(c) && t->count < LIMIT_ENDPOINTS; i++) {
        struct target *one = &t->list[t->count++];
        one->name[0] = '\0';
        snprintf(one->url, sizeof(one->url), "%s", client_endpoint(c, i));
    }
}

static void take_members(struct targets *t, const struct api_status *status)
{
    for (uint32_t i = 0; i < status->member_count && t->count < LIMIT_ENDPOINTS; i++) {
        struct target *one = &t->list[t->count++];
        snprintf(one->url, sizeof(one->url), "%s", status->members[i].url);
        snprintf(one->name, sizeof(one->name), "%s", status->members[i].name);
    }
    targets_follow(t, status->leader);
}

static int ask(struct targets *t, struct client *c, struct err *err)
{
    struct client_reply reply;
    struct api_status status;
    client_reply_init(&reply);
    int code = client_read(c, "/status", &reply, err);
    if (code == 0)
        code = api_status_decode(slice_of(reply.body.data, reply.body.len), &status, err);
    if (code == 0 && !status.leader[0])
        code = err_set(err, ERR_NO_LEADER, "%s: the cluster has no leader", reply.endpoint);
    if (code == 0 && status.has_cluster)
        hex128(status.cluster, t->cluster);
    if (code == 0 && t->leader_only)
        take_members(t, &status);
    else if (code == 0)
        take_endpoints(t, c);
    client_reply_release(&reply);
    return code;
}

int targets_find(struct targets *t, const char *endpoints, bool leader_only, struct err *err)
{
    struct client_options options = {.endpoints = endpoints, .timeout_ms = ASK_MS};
    struct client *c;
    memset(t, 0, sizeof(*t));
    t->leader_only = leader_only;
    int code = client_new(&options, &c, err);
    if (code != 0)
        return code;
    code = ask(t, c, err);
    client_free(c);
    ASSERT(code != 0 || t->count > 0);
    return code;
}

void targets_follow(struct targets *t, const char *leader)
{
    unsigned now = atomic_load_explicit(&t->leader, memory_order_relaxed);
    if (strcmp(t->list[now].name, leader) == 0)
        return;
    for (unsigned i = 0; i < t->count; i++)
        if (strcmp(t->list[i].name, leader) == 0)
            atomic_store(&t->leader, i);
}

unsigned targets_first(const struct targets *t, uint32_t client)
{
    return t->leader_only ? t->leader : client % t->count;
}

unsigned targets_next(struct targets *t, unsigned failed)
{
    unsigned next = (failed + 1) % t->count;
    /* Of all clients that fail there, the first one moves the rest. */
    if (t->leader_only)
        atomic_compare_exchange_strong(&t->leader, &failed, next);
    return next;
}
