/*
 * What peers ask: Raft messages, and who we are. Cluster, receiver and protocol version are checked
 * on every message.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/node/node_internal.h"

enum { PEER_REPLY_MAX = 64 << 10 };

void http_peer_reply(void *node, uint64_t context, const struct raft_message *reply)
{
    struct node *n = node;
    struct peer_message m = {.cluster = n->cluster_id, .message = *reply};
    struct buf body;
    struct http_reply out = {.status = 200, .content_type = "application/json"};

    if (reply->type == RAFT_HEARTBEAT_REPLY) {
        m.digest = carry_digest_last(n->carry);
    }
    buf_init(&body, PEER_REPLY_MAX);
    peer_message_encode(&m, &body);
    out.body = buf_take(&body, &out.body_len);
    out.body_take = true;
    http_reply((struct http_request *)(uintptr_t)context, &out);
}

static void refuse(struct node *n, struct http_request *r, int code, raft_index configuration_index,
                   const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static void refuse(struct node *n, struct http_request *r, int code, raft_index configuration_index,
                   const char *fmt, ...)
{
    struct api_error e = {.code = code, .retryable = code == ERR_AGAIN};
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(e.message, sizeof e.message, fmt, ap);
    va_end(ap);
    if (code == ERR_FORBIDDEN && configuration_index > 0) {
        e.has_configuration_index = true;
        e.configuration_index = configuration_index;
    }
    n->meters.peer_refused++;
    log_debug("peer refused", "code=%s what=\"%s\"", err_name(code), e.message);
    reply_error(n, r, &e);
}

/* Is it for us, and from our cluster? A node that waits for a cluster adopts the one that knows its
 * member id. */
static bool verify(struct node *n, struct http_request *r, const struct peer_message *m)
{
    char a[HEX128_BYTES], b[HEX64_BYTES], own[HEX64_BYTES];

    if (m->message.to != n->id) {
        refuse(n, r, ERR_FORBIDDEN, 0, "this is member %s (%s), not %s", hex64(n->id, own),
               n->options.name, hex64(m->message.to, b));
        return false;
    }
    if (!n->carry) {
        if (forming_adopt(n, m->cluster)) {
            refuse(n, r, ERR_NO_LEADER, 0, "this node is entering the cluster");
        } else {
            refuse(n, r, ERR_FORBIDDEN, 0, "this node belongs to no cluster");
        }
        return false;
    }
    if (!digest_equal(m->cluster, n->cluster_id)) {
        refuse(n, r, ERR_WRONG_CLUSTER, 0, "this node belongs to cluster %s, not to %s",
               n->header_cluster, hex128(m->cluster, a));
        return false;
    }
    return true;
}

void http_peer_message(struct node *n, struct http_request *r)
{
    struct peer_message m = {0};
    struct err err = {0};
    char from[HEX64_BYTES];
    raft_index configuration_index = 0;
    int code = peer_message_decode(r->body, &m, &err);

    if (code != 0) {
        refuse(n, r, ERR_BAD_REQUEST, 0, "%s", err.text);
        return;
    }
    if (!verify(n, r, &m)) {
        peer_message_release(&m);
        return;
    }
    hex64(m.message.from, from);
    code = carry_peer_request(n->carry, &m, (uint64_t)(uintptr_t)r, clock_now_us(),
                              &configuration_index);
    if (code == 0) {
        return; /* taken; http_peer_reply follows */
    }
    if (code == ERR_FORBIDDEN) {
        refuse(n, r, code, configuration_index,
               "%s is no member of this cluster (configuration %llu)", from,
               (unsigned long long)configuration_index);
    } else if (code == ERR_AGAIN) {
        refuse(n, r, ERR_NO_LEADER, 0, "a snapshot is being installed");
    } else {
        refuse(n, r, code, 0, "a %s is no request", raft_message_name(m.message.type));
    }
    peer_message_release(&m);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct member_address *)a)->name,
                  ((const struct member_address *)b)->name);
}

void node_hello(struct node *n, struct hello *h)
{
    memset(h, 0, sizeof *h);
    snprintf(h->name, sizeof h->name, "%s", n->options.name);
    snprintf(h->url, sizeof h->url, "%s", n->options.advertise);
    h->id = n->id;
    h->has_cluster = n->has_cluster;
    h->cluster = n->cluster_id;
    if (n->carry) {
        const struct membership *m = carry_membership(n->carry);

        h->count = m->configuration.count;
        memcpy(h->list, m->addresses, m->configuration.count * sizeof m->addresses[0]);
        qsort(h->list, h->count, sizeof h->list[0], compare_names);
    } else {
        h->empty = true;
        forming_hello(n, h);
    }
}

void http_peer_hello(struct node *n, struct http_request *r)
{
    struct hello h;
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};

    node_hello(n, &h);
    buf_init(&body, PEER_REPLY_MAX);
    hello_encode(&h, &body);
    reply_send(n, r, &reply);
}
