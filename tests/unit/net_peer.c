/* The peer transport against a server that speaks for a peer: well, badly, or not at all. */
#include "lib/net/peer_transport.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/limits.h"
#include "lib/base/version.h"
#include "lib/json/peer.h"
#include "lib/net/http_server.h"
#include "lib/net/loop.h"
#include "tests/support/http.h"
#include "tests/unit/tap.h"

enum { SELF = 0x11, PEER = 0x22, STRANGER = 0x33, HELD_MAX = 64 };

/* How the peer answers. */
enum manner {
    GOOD,
    WRONG_CLUSTER,
    WRONG_FROM,
    WRONG_TO,
    WRONG_TYPE,
    NOT_JSON,
    REFUSES,
    PLAIN_503,
    HOLDS
};

struct failure {
    raft_id peer;
    enum raft_message_type type;
    int code;
    bool refusal;
    raft_index configuration_index;
};

struct fixture {
    struct loop *loop;
    struct http_server *server;
    struct peer_transport *transport;
    enum manner manner;
    struct http_request *held[HELD_MAX];
    unsigned held_count;
    unsigned replies, failures, wanted; /* the loop stops when as many came */
    struct raft_message reply;
    struct failure failure;
    struct peer_message seen; /* what the peer got last; its entries released */
    char path[64], user_agent[128];
    bool inside_send, early;
    bool stop_at_reply;
    unsigned failed_appends;
};

static struct fixture f;
static const struct digest cluster = {1, 2}, other_cluster = {3, 4};

/* ---- the peer ---- */

static void answer(struct http_request *r, enum manner manner)
{
    struct peer_message m;
    struct buf body;
    struct err err;
    buf_init(&body, 1 << 20);
    if (peer_message_decode(r->body, &m, &err) < 0) {
        diag("peer cannot decode: %s", err.text);
        must(false);
    }
    peer_message_release(&f.seen);
    f.seen = m;
    snprintf(f.path, sizeof(f.path), "%.*s", (int)r->path.len, (const char *)r->path.data);
    const char *user_agent = http_request_header(r, "User-Agent", NULL);
    snprintf(f.user_agent, sizeof(f.user_agent), "%s", user_agent ? user_agent : "");
    struct peer_message a = {.cluster = manner == WRONG_CLUSTER ? other_cluster : cluster};
    a.message = (struct raft_message){
        .type = (enum raft_message_type)(m.message.type + RAFT_PRE_VOTE_REPLY),
        .from = manner == WRONG_FROM ? STRANGER : PEER,
        .to = manner == WRONG_TO ? STRANGER : SELF,
        .term = 7,
        .granted = true,
        .accepted = true,
        .match_index = 9,
        .round = m.message.round,
    };
    if (manner == WRONG_TYPE)
        a.message.type = RAFT_TIMEOUT_NOW_REPLY;
    struct http_reply reply = {.status = 200};
    if (manner == NOT_JSON) {
        buf_append_str(&body, "hello");
    } else if (manner == REFUSES) {
        struct peer_refusal refusal = {
            .code = ERR_FORBIDDEN, .configuration_index = 42, .message = "not a member"};
        must(peer_refusal_encode(&refusal, &body) == 0);
        reply.status = 403;
    } else if (manner == PLAIN_503) {
        reply.status = 503;
    } else {
        must(peer_message_encode(&a, &body) == 0);
    }
    reply.body = buf_take(&body, &reply.body_len);
    reply.body_take = true;
    http_reply(r, &reply);
}

static void handle(void *self, struct http_request *r)
{
    (void)self;
    if (f.manner == HOLDS) {
        must(f.held_count < HELD_MAX);
        f.held[f.held_count++] = r;
        if (f.held_count == f.wanted)
            loop_stop(f.loop);
        return;
    }
    answer(r, f.manner);
}

static size_t body_max(void *self, const struct http_request *head, struct http_reply *refuse)
{
    (void)self;
    (void)head;
    (void)refuse;
    return LIMIT_PEER_MESSAGE_BYTES;
}

/* ---- the transport's events ---- */

static void count(void)
{
    if (f.inside_send)
        f.early = true;
    if (f.replies + f.failures == f.wanted)
        loop_stop(f.loop);
}

static void on_reply(void *self, const struct peer_message *message)
{
    const struct raft_message *reply = &message->message;
    (void)self;
    f.replies++;
    f.reply = *reply;
    if (f.stop_at_reply)
        loop_stop(f.loop);
    count();
}

static void on_failed(void *self, raft_id peer, enum raft_message_type type, int code,
                      const struct peer_refusal *refusal)
{
    (void)self;
    f.failures++;
    f.failed_appends += type == RAFT_APPEND;
    f.failure = (struct failure){peer, type, code, refusal != NULL,
                                 refusal ? refusal->configuration_index : 0};
    count();
}

static void begin(uint32_t timeout_ms)
{
    f = (struct fixture){.manner = GOOD};
    struct peer_transport_events events = {.reply = on_reply, .failed = on_failed};
    struct http_server_options options = {
        .host = "127.0.0.1",
        .connections_max = 100,
        .header_timeout_ms = 10000,
        .body_timeout_ms = 10000,
        .idle_timeout_ms = 10000,
        .body_max = body_max,
        .handle = handle,
    };
    char url[64];
    must(loop_new(&f.loop, NULL) == 0);
    must(http_server_start(f.loop, &options, &f.server, NULL) == 0);
    must(peer_transport_new(f.loop, &events, timeout_ms, &f.transport, NULL) == 0);
    peer_transport_identity(f.transport, cluster, SELF);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", http_server_port(f.server));
    peer_transport_address(f.transport, PEER, url);
}

static void end(void)
{
    peer_transport_free(f.transport);
    http_server_stop(f.server);
    loop_free(f.loop);
    peer_message_release(&f.seen);
    ok(!f.early, "nothing was reported inside the sending");
}

static void send_type(enum raft_message_type type, raft_id to)
{
    struct peer_message m = {.cluster = cluster};
    m.message = (struct raft_message){.type = type, .from = SELF, .to = to, .term = 7, .round = 5};
    f.inside_send = true;
    peer_transport_send(f.transport, &m);
    f.inside_send = false;
}

static void run(unsigned results)
{
    f.wanted = results;
    f.replies = f.failures = 0;
    loop_run(f.loop);
}

/* ---- cases ---- */

static void test_good(void)
{
    static const enum raft_message_type types[] = {RAFT_PRE_VOTE,   RAFT_VOTE,   RAFT_HEARTBEAT,
                                                   RAFT_READ_INDEX, RAFT_APPEND, RAFT_TIMEOUT_NOW};
    begin(5000);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        send_type(types[i], PEER);
        run(1);
        is_u64(f.replies, 1, "%s is answered", raft_message_name(types[i]));
        is_i64(f.reply.type, types[i] + RAFT_PRE_VOTE_REPLY, "by its reply");
        ok(f.reply.from == PEER && f.reply.to == SELF && f.reply.term == 7, "from there to here");
        is_i64(f.seen.message.type, types[i], "as it was sent");
    }
    is_str(f.path, "/raft/message", "the path");
    is_str(f.user_agent, "", "no name was given");
    peer_transport_name(f.transport, "node7");
    send_type(RAFT_VOTE, PEER);
    run(1);
    is_str(f.user_agent, "raftkv-node/" RAFTKV_VERSION " (node7)", "the name stands there");
    ok(peer_transport_bytes_sent(f.transport) > 0, "bytes are counted");

    struct peer_message m = {.cluster = cluster, .stream = 3, .seq = 4};
    struct entry *entries[3];
    m.message = (struct raft_message){.type = RAFT_APPEND,
                                      .from = SELF,
                                      .to = PEER,
                                      .term = 7,
                                      .prev_index = 10,
                                      .prev_term = 6,
                                      .entry_count = 3};
    for (unsigned i = 0; i < 3; i++) {
        entries[i] = entry_new(RAFT_NORMAL, "payload\0", 8);
        entry_place(entries[i], 11 + i, 7);
    }
    m.entries = entries;
    peer_transport_send(f.transport, &m);
    run(1);
    is_u64(f.seen.message.entry_count, 3, "entries arrive");
    ok(f.seen.entries && entry_intact(f.seen.entries[2]) && f.seen.entries[2]->index == 13,
       "whole");
    ok(f.seen.stream == 3 && f.seen.seq == 4, "with their place in the stream");
    for (unsigned i = 0; i < 3; i++)
        entry_unref(entries[i]);
    end();
}

static void fails(enum manner manner, int code, bool refusal, const char *what)
{
    f.manner = manner;
    send_type(RAFT_HEARTBEAT, PEER);
    run(1);
    is_u64(f.failures, 1, "%s: failed", what);
    is_i64(f.failure.code, code, "%s: code", what);
    ok(f.failure.peer == PEER && f.failure.type == RAFT_HEARTBEAT, "%s: peer and type", what);
    ok(f.failure.refusal == refusal, "%s: refusal", what);
}

static void test_bad_replies(void)
{
    begin(5000);
    fails(WRONG_CLUSTER, ERR_WRONG_CLUSTER, false, "reply of another cluster");
    fails(WRONG_FROM, ERR_BAD_REQUEST, false, "reply by somebody else");
    fails(WRONG_TO, ERR_BAD_REQUEST, false, "reply to somebody else");
    fails(WRONG_TYPE, ERR_BAD_REQUEST, false, "reply to something else");
    fails(NOT_JSON, ERR_BAD_REQUEST, false, "no reply of ours");
    fails(PLAIN_503, ERR_BAD_REQUEST, false, "a status without a word");
    fails(REFUSES, ERR_FORBIDDEN, true, "a stranger");
    is_u64(f.failure.configuration_index, 42, "by which configuration");
    f.manner = GOOD;
    send_type(RAFT_HEARTBEAT, PEER);
    run(1);
    is_u64(f.replies, 1, "and afterwards all is well");
    end();
}

static void test_unreachable(void)
{
    begin(200);
    send_type(RAFT_VOTE, STRANGER);
    run(1);
    ok(f.failures == 1 && f.failure.code == ERR_UNREACHABLE && f.failure.peer == STRANGER,
       "a peer without an address");
    uint16_t port;
    char url[64];
    int fd = http_listen(&port);
    close(fd);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
    peer_transport_address(f.transport, STRANGER, url);
    send_type(RAFT_VOTE, STRANGER);
    run(1);
    ok(f.failures == 1 && f.failure.code == ERR_UNREACHABLE, "nobody there");
    f.manner = HOLDS;
    uint64_t from_us = clock_now_us();
    send_type(RAFT_VOTE, PEER);
    f.wanted = 1;
    loop_run(f.loop);
    run(1);
    ok(f.failures == 1 && f.failure.code == ERR_TIMEOUT, "no answer");
    ok(clock_now_us() - from_us >= 200000, "in time");
    end();
}

/* Appends that are not answered take none of the room of heartbeats, and there is an end to both.
 */
static void test_bounded(void)
{
    begin(10000);
    enum { OTHERS = LIMIT_PEER_INFLIGHT - LIMIT_PEER_APPENDS };
    f.manner = HOLDS;
    for (int i = 0; i < LIMIT_PEER_APPENDS + 3; i++)
        send_type(RAFT_APPEND, PEER);
    for (int i = 0; i < OTHERS + 2; i++)
        send_type(RAFT_HEARTBEAT, PEER);
    f.wanted = LIMIT_PEER_INFLIGHT;
    loop_run(f.loop);
    is_u64(f.held_count, LIMIT_PEER_INFLIGHT, "so many are on their way");
    is_u64(f.failures, 5, "the rest failed at once");
    is_i64(f.failure.code, ERR_OVERLOADED, "too many");
    f.manner = GOOD;
    unsigned held = f.held_count;
    for (unsigned i = 0; i < held; i++)
        answer(f.held[i], GOOD);
    run(LIMIT_PEER_INFLIGHT);
    is_u64(f.replies, LIMIT_PEER_INFLIGHT, "all that were sent are answered");
    send_type(RAFT_APPEND, PEER);
    run(1);
    is_u64(f.replies, 1, "and there is room again");
    end();
}

/* A peer that hangs takes none of the room of another. */
static void test_hung(void)
{
    begin(10000);
    uint16_t port;
    char url[64];
    int fd = http_listen(&port);
    close(fd);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
    peer_transport_address(f.transport, STRANGER, url);
    f.manner = HOLDS;
    for (int i = 0; i < LIMIT_PEER_INFLIGHT; i++)
        send_type(i < LIMIT_PEER_APPENDS ? RAFT_APPEND : RAFT_HEARTBEAT, PEER);
    f.wanted = LIMIT_PEER_INFLIGHT;
    loop_run(f.loop);
    is_u64(f.held_count, LIMIT_PEER_INFLIGHT, "nothing more goes to a peer that hangs");
    send_type(RAFT_APPEND, STRANGER);
    run(1);
    is_i64(f.failure.code, ERR_UNREACHABLE, "an append to another is tried");
    send_type(RAFT_HEARTBEAT, STRANGER);
    run(1);
    is_i64(f.failure.code, ERR_UNREACHABLE, "and a heartbeat");
    f.manner = GOOD;
    for (unsigned i = 0; i < LIMIT_PEER_INFLIGHT; i++)
        answer(f.held[i], GOOD);
    run(LIMIT_PEER_INFLIGHT);
    end();
}

/* Whoever sends appends counts them: each is told of, however many others could not be sent. */
static void test_refused_appends(void)
{
    enum { OTHERS = LIMIT_PEER_REFUSED + 50, APPENDS = 16 * LIMIT_PEER_APPENDS };
    begin(10000);
    for (int i = 0; i < OTHERS; i++)
        send_type(RAFT_HEARTBEAT, STRANGER);
    for (int i = 0; i < APPENDS; i++)
        send_type(RAFT_APPEND, STRANGER);
    send_type(RAFT_HEARTBEAT, PEER);
    f.wanted = UINT32_MAX; /* the one reply comes behind what is told in the next turn */
    f.stop_at_reply = true;
    loop_run(f.loop);
    is_u64(f.failed_appends, APPENDS, "every append that was not sent is told of");
    ok(f.failures - f.failed_appends <= LIMIT_PEER_REFUSED, "there is an end to the others");
    end();
}

static void on_late(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < f.held_count; i++)
        answer(f.held[i], GOOD);
}

/* On a slow line a large append takes longer than a small one. */
static void test_large(void)
{
    enum { BYTES = 1 << 20, TIMEOUT_MS = 100 };
    begin(TIMEOUT_MS);
    f.manner = HOLDS;
    struct entry *e = entry_alloc(RAFT_NORMAL, BYTES);
    memset(e->data, 'x', BYTES);
    entry_seal(e);
    entry_place(e, 1, 7);
    struct peer_message m = {.cluster = cluster, .stream = 1, .seq = 1, .entries = &e};
    m.message = (struct raft_message){
        .type = RAFT_APPEND, .from = SELF, .to = PEER, .term = 7, .entry_count = 1};
    peer_transport_send(f.transport, &m);
    struct loop_timer *late = loop_timer_new(f.loop, on_late, NULL);
    loop_timer_at(late, clock_now_us() + 5000 * TIMEOUT_MS);
    run(1); /* until the peer has it */
    run(1);
    is_u64(f.replies, 1, "it is waited for");
    f.held_count = 0;
    send_type(RAFT_APPEND, PEER);
    run(1);
    run(1);
    is_u64(f.failures, 1, "a small one is given up");
    is_i64(f.failure.code, ERR_TIMEOUT, "in its time");
    on_late(NULL);
    loop_timer_free(late);
    entry_unref(e);
    end();
}

static void test_forget(void)
{
    begin(10000);
    f.manner = HOLDS;
    send_type(RAFT_HEARTBEAT, PEER);
    f.wanted = 1;
    loop_run(f.loop);
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", http_server_port(f.server));
    peer_transport_address(f.transport, PEER, NULL);
    peer_transport_address(f.transport, PEER, NULL);
    answer(f.held[0], GOOD);
    peer_transport_address(f.transport, PEER, url);
    f.manner = GOOD;
    send_type(RAFT_VOTE, PEER);
    run(1);
    is_i64(f.reply.type, RAFT_VOTE_REPLY, "the reply to a forgotten peer is dropped");
    for (raft_id id = 100; id < 200; id++) { /* many come and go */
        peer_transport_address(f.transport, id, url);
        peer_transport_address(f.transport, id, NULL);
    }
    for (raft_id id = 300; id < 400; id++) { /* and nobody says that they went */
        peer_transport_address(f.transport, id, url);
        peer_transport_address(f.transport, PEER, url);
    }
    send_type(RAFT_VOTE, 300);
    run(1);
    ok(f.failures == 1 && f.failure.code == ERR_UNREACHABLE, "those of long ago are forgotten");
    send_type(RAFT_HEARTBEAT, PEER);
    run(1);
    is_i64(f.reply.type, RAFT_HEARTBEAT_REPLY, "one that is told of again and again is not");
    f.manner = HOLDS;
    f.held_count = 0;
    send_type(RAFT_HEARTBEAT, PEER);
    send_type(RAFT_HEARTBEAT, STRANGER);
    f.wanted = 1;
    loop_run(f.loop);
    f.failures = 0;
    end(); /* with one on its way */
    is_u64(f.failures, 0, "nothing is reported while being freed");
}

int main(void)
{
    test_good();
    test_bad_replies();
    test_unreachable();
    test_bounded();
    test_hung();
    test_refused_appends();
    test_large();
    test_forget();
    return done();
}
