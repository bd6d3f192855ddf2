/*
 * Raft messages to peers and their replies.
 *
 * Two HTTP clients: one for Raft messages, one for whatever the node sends besides (forwarded
 * requests, snapshots), so that neither takes the other's connections. Within the first, appends
 * may use LIMIT_PEER_APPENDS connections of a peer and everything else the rest.
 */
#include "lib/net/peer_transport.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/limits.h"
#include "lib/base/mem.h"
#include "lib/base/version.h"
#include "lib/net/private.h"

enum {
    PEERS_MAX = 2 * RAFT_MEMBERS_MAX, /* members, and some that were */
    /* Those of a turn, and those that are sent while they are told of. */
    REFUSED_APPENDS = 2 * PEERS_MAX * LIMIT_PEER_APPENDS,
};

static const char message_path[] = "/raft/message";

struct peer {
    raft_id id; /* 0: forgotten, and kept only for what is on its way */
    unsigned appends, others;
    uint64_t bytes; /* of all that is on its way */
    uint64_t stamp; /* when its address was given last */
    char url[LIMIT_URL_BYTES + sizeof(message_path)];
};

struct sending {
    struct peer_transport *transport;
    struct peer *peer;
    raft_id to;
    enum raft_message_type type;
    size_t bytes;
    struct digest cluster;
    raft_id self;
};

/* Not sent at all: told of in the next turn, never inside peer_transport_send. */
struct refused {
    raft_id peer;
    enum raft_message_type type;
    int code;
};

struct peer_transport {
    struct loop *loop;
    struct peer_transport_events events;
    struct http_client *messages, *client;
    uint32_t timeout_ms;
    struct digest cluster;
    raft_id self;
    struct peer *peers[PEERS_MAX];
    uint64_t stamp;
    struct refused refused[LIMIT_PEER_REFUSED + REFUSED_APPENDS];
    unsigned refused_count;
    uint64_t bytes_sent;
    bool finishing;
};

static struct peer *find_peer(struct peer_transport *t, raft_id id)
{
    for (int i = 0; i < PEERS_MAX; i++)
        if (t->peers[i] && t->peers[i]->id == id)
            return t->peers[i];
    return NULL;
}

/* A forgotten peer goes when nothing of it is on its way any more. */
static void drop_peer(struct peer *p)
{
    if (p->id == 0 && p->appends + p->others == 0)
        mem_free(p);
}

static unsigned *inflight(struct peer *p, enum raft_message_type type)
{
    return type == RAFT_APPEND ? &p->appends : &p->others;
}

static enum raft_message_type reply_type(enum raft_message_type request)
{
    return (enum raft_message_type)(request + (RAFT_PRE_VOTE_REPLY - RAFT_PRE_VOTE));
}

/* ---- results ---- */

static void report(struct peer_transport *t, raft_id peer, enum raft_message_type type, int code,
                   const struct peer_refusal *refusal)
{
    if (!t->finishing)
        t->events.failed(t->events.self, peer, type, code, refusal);
}

static void on_reply(struct sending *s, struct slice body)
{
    struct peer_transport *t = s->transport;
    struct peer_message m = {.stream = 0};
    int code = peer_message_decode(body, &m, NULL);
    if (code < 0) {
        report(t, s->to, s->type, ERR_BAD_REQUEST, NULL);
        return;
    }
    if (!digest_equal(m.cluster, s->cluster))
        report(t, s->to, s->type, ERR_WRONG_CLUSTER, NULL);
    else if (m.message.from != s->to || m.message.to != s->self ||
             m.message.type != reply_type(s->type))
        report(t, s->to, s->type, ERR_BAD_REQUEST, NULL);
    else
        t->events.reply(t->events.self, &m);
    peer_message_release(&m);
}

static void on_done(void *argument, const struct http_result *result)
{
    struct sending *s = argument;
    struct peer_transport *t = s->transport;
    struct peer_refusal refusal;
    --*inflight(s->peer, s->type);
    s->peer->bytes -= s->bytes;
    bool known = s->peer->id == s->to && !t->finishing; /* else nobody asks any more */
    if (known && result->code < 0)
        report(t, s->to, s->type, result->code, NULL);
    else if (known && result->status == 200)
        on_reply(s, result->body);
    else if (known && peer_refusal_decode(result->body, &refusal, NULL) == 0)
        report(t, s->to, s->type, refusal.code, &refusal);
    else if (known)
        report(t, s->to, s->type, ERR_BAD_REQUEST, NULL);
    drop_peer(s->peer);
    mem_free(s);
}

static void report_refused(void *transport)
{
    struct peer_transport *t = transport;
    unsigned count = t->refused_count; /* what these cause is for the next turn */
    for (unsigned i = 0; i < count; i++)
        report(t, t->refused[i].peer, t->refused[i].type, t->refused[i].code, NULL);
    t->refused_count -= count;
    memmove(t->refused, t->refused + count, t->refused_count * sizeof(t->refused[0]));
    if (t->refused_count)
        loop_again(t->loop);
}

static void refuse_sending(struct peer_transport *t, const struct raft_message *m, int code)
{
    /* Appends are counted by who sends them, and have their own room; of the rest the core hears
     * often enough. */
    unsigned room = LIMIT_PEER_REFUSED + (m->type == RAFT_APPEND ? REFUSED_APPENDS : 0);
    if (t->refused_count >= room) {
        ASSERT(m->type != RAFT_APPEND);
        return;
    }
    t->refused[t->refused_count++] = (struct refused){m->to, m->type, code};
    loop_again(t->loop);
}

/* ---- sending ---- */

void peer_transport_send(struct peer_transport *t, const struct peer_message *m)
{
    const struct raft_message *raft = &m->message;
    ASSERT(raft->type <= RAFT_TIMEOUT_NOW); /* a request */
    struct peer *p = find_peer(t, raft->to);
    if (!p) {
        refuse_sending(t, raft, ERR_UNREACHABLE);
        return;
    }
    unsigned *sent = inflight(p, raft->type);
    if (*sent >= (raft->type == RAFT_APPEND ? LIMIT_PEER_APPENDS
                                            : LIMIT_PEER_INFLIGHT - LIMIT_PEER_APPENDS)) {
        refuse_sending(t, raft, ERR_OVERLOADED);
        return;
    }
    struct buf body;
    buf_init(&body, LIMIT_PEER_MESSAGE_BYTES);
    if (peer_message_encode(m, &body) < 0) {
        buf_release(&body);
        refuse_sending(t, raft, ERR_TOO_LARGE);
        return;
    }
    static const struct http_header type = {"Content-Type", "application/json"};
    struct http_call call = {
        .method = HTTP_POST,
        .url = p->url,
        .headers = &type,
        .header_count = 1,
        .body_take = true,
        .reply_max = LIMIT_PEER_REPLY_BYTES,
        /* The core takes these twice. An append has a number that is to arrive once, and a late
         * TIMEOUT_NOW would begin one more election. */
        .idempotent = raft->type != RAFT_APPEND && raft->type != RAFT_TIMEOUT_NOW,
    };
    call.body = buf_take(&body, &call.body_len);
    t->bytes_sent += call.body_len;
    p->bytes += call.body_len;
    /* On a slow line what is large takes its time, all that goes there together: given up and sent
     * again it would never arrive. */
    call.timeout_ms = t->timeout_ms + (uint32_t)(p->bytes / LIMIT_PEER_BYTES_A_MS);
    struct sending *s = mem_alloc(sizeof(*s));
    *s = (struct sending){t, p, raft->to, raft->type, call.body_len, t->cluster, t->self};
    ++*sent;
    http_client_call(t->messages, &call, on_done, s);
}

/* ---- life ---- */

int peer_transport_new(struct loop *l, const struct peer_transport_events *events,
                       uint32_t timeout_ms, struct peer_transport **out, struct err *err)
{
    struct peer_transport *t = mem_zalloc(sizeof(*t));
    t->loop = l;
    t->events = *events;
    t->timeout_ms = timeout_ms;
    struct http_client_options options = {.connections_per_host = LIMIT_PEER_INFLIGHT,
                                          .connect_timeout_ms = timeout_ms};
    loop_hook_add(l, LOOP_FIRST, report_refused, t);
    int rc = http_client_new(l, &options, &t->messages, err);
    options.connections_per_host = LIMIT_PEER_CONNECTIONS;
    if (rc == 0)
        rc = http_client_new(l, &options, &t->client, err);
    if (rc < 0) {
        peer_transport_free(t);
        return rc;
    }
    *out = t;
    return 0;
}

void peer_transport_free(struct peer_transport *t)
{
    if (!t)
        return;
    t->finishing = true;
    http_client_free(t->messages);
    http_client_free(t->client);
    loop_hook_remove(t->loop, LOOP_FIRST, report_refused, t);
    for (int i = 0; i < PEERS_MAX; i++)
        mem_free(t->peers[i]);
    mem_free(t);
}

void peer_transport_identity(struct peer_transport *t, struct digest cluster, raft_id self)
{
    t->cluster = cluster;
    t->self = self;
}

void peer_transport_name(struct peer_transport *t, const char *name)
{
    char text[LIMIT_NAME_BYTES + 64];
    snprintf(text, sizeof(text), "raftkv-node/" RAFTKV_VERSION " (%s)", name);
    http_client_user_agent(t->messages, text);
    http_client_user_agent(t->client, text);
}

static void forget_peer(struct peer_transport *t, int at)
{
    t->peers[at]->id = 0;
    drop_peer(t->peers[at]);
    t->peers[at] = NULL;
}

/* A place for one more. Members are told anew with each configuration, so whose address was given
 * longest ago is none any more. */
static int new_place(struct peer_transport *t)
{
    int oldest = 0;
    for (int i = 0; i < PEERS_MAX; i++) {
        if (!t->peers[i])
            return i;
        if (t->peers[i]->stamp < t->peers[oldest]->stamp)
            oldest = i;
    }
    forget_peer(t, oldest);
    return oldest;
}

void peer_transport_address(struct peer_transport *t, raft_id peer, const char *url)
{
    ASSERT(peer != 0);
    int at = -1;
    for (int i = 0; i < PEERS_MAX; i++)
        if (t->peers[i] && t->peers[i]->id == peer)
            at = i;
    if (!url && at >= 0)
        forget_peer(t, at);
    if (!url)
        return;
    if (at < 0)
        at = new_place(t);
    if (!t->peers[at]) {
        t->peers[at] = mem_zalloc(sizeof(struct peer));
        t->peers[at]->id = peer;
    }
    t->peers[at]->stamp = ++t->stamp;
    ASSERT(strlen(url) <= LIMIT_URL_BYTES);
    snprintf(t->peers[at]->url, sizeof(t->peers[at]->url), "%s%s", url, message_path);
}

uint64_t peer_transport_bytes_sent(const struct peer_transport *t)
{
    return t->bytes_sent;
}

struct http_client *peer_transport_client(struct peer_transport *t)
{
    return t->client;
}

void peer_transport_fates(struct peer_transport *t, http_fate_of *fate_of, void *argument)
{
    http_client_fates(t->messages, fate_of, argument);
    http_client_fates(t->client, fate_of, argument);
}
