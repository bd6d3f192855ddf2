/*
 * The client: endpoints, tries, deadlines and sessions. What a single exchange means is decided in
 * verdict.c, how it is made in wire.c.
 */
#include "lib/client/client.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/client/call_internal.h"
#include "lib/client/wire_internal.h"
#include "lib/net/http_client.h"

enum {
    CONNECT_TIMEOUT_MS = 1000, /* with other endpoints to turn to */
    TRY_TIMEOUT_MIN_MS = 500,  /* likewise: a silent node is left after half of the time … */
    TRY_TIMEOUT_MS = 2000,     /* … but so long at most, twice that the next time */
    TRY_NEEDS_MS = 200,        /* less than this (or a tenth of the time) is no time for a reply */
    REPLY_MARGIN_MS = 200,     /* a node answers "timeout" so long before we stop listening */
};

struct client {
    struct wire *wire;
    char *endpoints[LIMIT_ENDPOINTS];
    size_t endpoint_count;
    size_t at; /* endpoint to ask next: one that answered, if any did */
    uint32_t timeout_ms;
    char *consistency;
    char cluster[HEX128_BYTES]; /* "": not known yet */
    struct prng prng;           /* spreads retries of many clients */
    char session[HEX128_BYTES];
    uint64_t seq;        /* of the last write; 0: the session has none */
    bool session_broken; /* the last write did not get an answer of the state machine */
};

/* ---- making ---- */

static int add_endpoint(struct client *c, const char *text, size_t len, struct err *err)
{
    while (len > 0 && text[len - 1] == '/')
        len--;
    const char *scheme = memmem(text, len, "://", 3) ? "" : "http://";
    size_t room = strlen(scheme) + len + 1;
    char *url = mem_alloc(room);
    snprintf(url, room, "%s%.*s", scheme, (int)len, text);
    struct err why;
    if (!url_valid(url, &why)) {
        err_set(err, ERR_USAGE, "endpoint \"%s\": %s", url, why.text);
        mem_free(url);
        return ERR_USAGE;
    }
    c->endpoints[c->endpoint_count++] = url;
    return 0;
}

static int add_endpoints(struct client *c, const char *list, struct err *err)
{
    for (const char *from = list;; from++) {
        size_t len = strcspn(from, ",");
        if (len == 0)
            return err_set(err, ERR_USAGE, "an empty endpoint in \"%s\": want URL,URL,…", list);
        if (c->endpoint_count == LIMIT_ENDPOINTS)
            return err_set(err, ERR_USAGE, "more than %d endpoints", LIMIT_ENDPOINTS);
        int code = add_endpoint(c, from, len, err);
        if (code != 0)
            return code;
        from += len;
        if (*from == '\0')
            return 0;
    }
}

static void session_renew(struct client *c)
{
    struct digest id = {random_id(), random_id()};
    hex128(id, c->session);
    c->seq = 0;
    c->session_broken = false;
}

int client_new(const struct client_options *options, struct client **out, struct err *err)
{
    ASSERT(options->timeout_ms > 0);
    struct client *c = mem_zalloc(sizeof(*c));
    c->timeout_ms = options->timeout_ms;
    c->consistency = options->consistency ? mem_strdup(options->consistency) : NULL;
    if (options->cluster) {
        ASSERT(strlen(options->cluster) < sizeof(c->cluster));
        memcpy(c->cluster, options->cluster, strlen(options->cluster));
    }
    prng_seed(&c->prng, random_id());
    session_renew(c);
    int code = add_endpoints(c, options->endpoints, err);
    if (code == 0)
        code = wire_new(&c->wire, err);
    if (code != 0) {
        client_free(c);
        return code;
    }
    *out = c;
    return 0;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    wire_free(c->wire);
    for (size_t i = 0; i < c->endpoint_count; i++)
        mem_free(c->endpoints[i]);
    mem_free(c->consistency);
    mem_free(c);
}

size_t client_endpoint_count(const struct client *c)
{
    return c->endpoint_count;
}

const char *client_endpoint(const struct client *c, size_t i)
{
    ASSERT(i < c->endpoint_count);
    return c->endpoints[i];
}

void client_turn(struct client *c)
{
    c->at = (c->at + 1) % c->endpoint_count;
}

const char *client_consistency(const struct client *c)
{
    return c->consistency;
}

void client_reply_init(struct client_reply *r)
{
    memset(r, 0, sizeof(*r));
    buf_init(&r->body, LIMIT_CLIENT_REPLY_BYTES);
}

void client_reply_release(struct client_reply *r)
{
    buf_release(&r->body);
}

static void reply_clear(struct client_reply *r)
{
    struct buf body = r->body;
    memset(r, 0, sizeof(*r));
    r->body = body;
    buf_clear(&r->body);
}

/* ---- one call ---- */

struct trial {
    struct client *c;
    const struct call *call;
    struct client_reply *reply;
    uint64_t deadline_us;
    struct buf url;
    struct verdict verdict;
    struct verdict unsettled; /* of the first try that may have been applied … */
    bool maybe_applied;       /* … if there was one */
    size_t silent;            /* tries in a row that no node of ours answered */
    uint32_t backoff_ms;
    uint32_t try_ms; /* longest that a silent node is waited for, when there are others */
};

static uint32_t left_ms(const struct trial *t)
{
    uint64_t now = clock_now_us();
    return now >= t->deadline_us ? 0 : (uint32_t)((t->deadline_us - now + 999) / 1000);
}

static bool has_session(const struct call *call)
{
    return call->kind == CALL_WRITE;
}

static bool is_write(const struct call *call)
{
    return call->kind != CALL_READ;
}

static void add_header(struct wire_request *request, const char *name, const char *value)
{
    ASSERT(request->header_count < WIRE_HEADERS_MAX);
    int len = snprintf(request->headers[request->header_count++], WIRE_HEADER_BYTES, "%s: %s", name,
                       value);
    ASSERT(len > 0 && len < WIRE_HEADER_BYTES);
}

static void fill_request(struct trial *t, struct wire_request *request)
{
    const struct client *c = t->c;
    const struct call *call = t->call;
    bool others = c->endpoint_count > 1 && !call->pinned;
    uint32_t left = left_ms(t);
    memset(request, 0, sizeof(*request));
    request->method = call->method;
    request->body = call->body;
    /* Of a write it would hide that the first one may have been applied. */
    request->send_again = call->kind == CALL_READ;
    request->timeout_ms = left > 0 ? left : 1;
    /* A stopped node accepts connections and says nothing: leave time for asking another. */
    if (others && call->kind != CALL_CHANGE && left / 2 >= TRY_TIMEOUT_MIN_MS)
        request->timeout_ms = left / 2 < t->try_ms ? left / 2 : t->try_ms;
    request->connect_timeout_ms = request->timeout_ms;
    if (others && request->connect_timeout_ms > CONNECT_TIMEOUT_MS)
        request->connect_timeout_ms = CONNECT_TIMEOUT_MS;

    buf_clear(&t->url);
    ASSERT(buf_printf(&t->url, "%s%s", c->endpoints[c->at], call->target) == 0);
    if (call->pass_timeout) {
        uint32_t margin = request->timeout_ms / 10;
        margin = margin < REPLY_MARGIN_MS ? margin : REPLY_MARGIN_MS;
        ASSERT(buf_printf(&t->url, "%ctimeout=%" PRIu32 "ms", strchr(call->target, '?') ? '&' : '?',
                          request->timeout_ms - margin) == 0);
    }
    request->url = (const char *)t->url.data;

    add_header(request, "Accept", call->raw ? "application/octet-stream" : "application/json");
    if (call->body.data)
        add_header(request, "Content-Type", call->content_type);
    if (c->cluster[0] && !call->pinned)
        add_header(request, "RaftKV-Cluster", c->cluster);
    if (call->condition[0])
        add_header(request, call->condition_header, call->condition);
    if (has_session(call)) {
        char seq[24];
        snprintf(seq, sizeof(seq), "%" PRIu64, c->seq);
        add_header(request, "RaftKV-Client", c->session);
        add_header(request, "RaftKV-Seq", seq);
    }
}

static void take_reply(struct trial *t, const struct wire_reply *wire)
{
    struct client_reply *reply = t->reply;
    reply->endpoint = t->c->endpoints[t->c->at];
    reply->sends += wire->sends;
    reply->status = 0;
    reply->node[0] = '\0';
    reply->has_version = reply->has_index = false;
    buf_clear(&reply->body);
    if (wire->exchange.end != EXCHANGE_REPLIED)
        return;
    reply->status = wire->exchange.status;
    ASSERT(buf_append(&reply->body, wire->exchange.body.data, wire->exchange.body.len) == 0);
    reply->has_version = wire->has_version;
    reply->version = wire->version;
    reply->has_index = wire->has_index;
    reply->index = wire->index;
    reply->replayed = wire->replayed;
    memcpy(reply->node, wire->node, sizeof(reply->node));
    memcpy(reply->leader, wire->leader, sizeof(reply->leader));
    if (!t->c->cluster[0] && !t->call->pinned && wire->exchange.from_node)
        memcpy(t->c->cluster, wire->cluster, sizeof(wire->cluster));
}

static void try_once(struct trial *t)
{
    struct wire_request request;
    struct wire_reply wire;
    struct err why;
    fill_request(t, &request);
    wire_exchange(t->c->wire, &request, &wire);
    take_reply(t, &wire);
    if (t->call->any_status && wire.exchange.end == EXCHANGE_REPLIED && wire.exchange.from_node) {
        memset(&t->verdict, 0, sizeof(t->verdict));
        t->verdict.kind = VERDICT_DONE;
    } else {
        verdict_of(&wire.exchange, is_write(t->call), &t->verdict);
    }
    if (t->verdict.kind == VERDICT_DONE && t->call->accept &&
        t->call->accept(t->call, t->reply, &why) != 0)
        verdict_garbled(why.text, &t->verdict);
    if (t->verdict.has_version) {
        t->reply->has_version = true;
        t->reply->version = t->verdict.version;
    }
}

/* A session can be forgotten: unused for long, or pushed out by many others. If no earlier try may
 * have been applied under it, the write goes out as the first of a new one. */
static bool session_forgotten(struct trial *t)
{
    struct client *c = t->c;
    if (t->verdict.code != ERR_SESSION_UNKNOWN || !has_session(t->call) || t->maybe_applied ||
        c->seq == 1)
        return false;
    session_renew(c);
    c->seq = 1;
    return true;
}

/* Whether the call ends here: an answer that settles it, or one after which it must not be sent
 * again. */
static bool settled(struct trial *t)
{
    const struct verdict *v = &t->verdict;
    if (v->code == ERR_TIMEOUT && t->try_ms < t->c->timeout_ms)
        t->try_ms *= 2;
    if (v->answered)
        t->silent = 0;
    else
        t->silent++;
    if (v->kind == VERDICT_LOST && is_write(t->call) && !t->maybe_applied) {
        t->maybe_applied = true;
        t->unsettled = *v;
    }
    switch (v->kind) {
    case VERDICT_DONE: return true;
    case VERDICT_REFUSED: return !session_forgotten(t);
    case VERDICT_RETRY: return t->call->pinned;
    case VERDICT_LOST: return t->call->kind == CALL_CHANGE || t->call->pinned;
    case VERDICT_UNREACHABLE: return t->call->pinned;
    }
    return true;
}

/* What must be left for another try. A write that was certainly not applied is not sent once more
 * at the last moment, only to end as one of unknown outcome. */
static uint32_t needed_ms(const struct trial *t)
{
    uint32_t tenth = t->c->timeout_ms / 10;
    if (!is_write(t->call) || t->maybe_applied)
        return 0;
    return tenth < TRY_NEEDS_MS ? tenth : TRY_NEEDS_MS;
}

/* Goes to the next endpoint and waits as long as is due; false when there is no time left. */
static bool turn_to_next(struct trial *t)
{
    struct client *c = t->c;
    uint32_t wait = t->verdict.retry_after_ms;
    client_turn(c);
    /* A node that is silent costs no pause before asking another. */
    if (t->silent > 0 && t->silent % c->endpoint_count != 0)
        return left_ms(t) > needed_ms(t);
    /* With a write of unknown outcome every answer within the time is worth waiting for. */
    if (t->silent >= c->endpoint_count * LIMIT_CLIENT_SILENT_ROUNDS && !t->maybe_applied)
        return false;
    if (wait == 0) {
        wait = t->backoff_ms / 2 + (uint32_t)prng_below(&c->prng, t->backoff_ms / 2 + 1);
        t->backoff_ms = t->backoff_ms * 2 < LIMIT_CLIENT_BACKOFF_MAX_MS
                            ? t->backoff_ms * 2
                            : LIMIT_CLIENT_BACKOFF_MAX_MS;
    }
    if ((uint64_t)wait + needed_ms(t) >= left_ms(t))
        return false;
    struct timespec pause = {wait / 1000, (long)(wait % 1000) * 1000000};
    while (nanosleep(&pause, &pause) != 0)
        continue;
    return true;
}

static int conclude(struct trial *t, struct err *err)
{
    const struct verdict *v = &t->verdict;
    const char *endpoint = t->reply->endpoint;
    if (v->kind == VERDICT_DONE)
        return 0;
    if (t->maybe_applied && !(v->evaluated && has_session(t->call))) {
        t->reply->outcome = OUTCOME_UNKNOWN;
        return err_set(err, ERR_UNKNOWN, "outcome unknown, it may have been applied: %s (%s)",
                       t->unsettled.text, endpoint);
    }
    if (is_write(t->call))
        t->reply->outcome = OUTCOME_NOT_APPLIED;
    return err_set(err, v->code, "%s (%s)", v->text, endpoint);
}

int client_call(struct client *c, const struct call *call, struct client_reply *reply,
                struct err *err)
{
    struct trial t = {.c = c,
                      .call = call,
                      .reply = reply,
                      .deadline_us = clock_now_us() + (uint64_t)c->timeout_ms * 1000,
                      .backoff_ms = LIMIT_CLIENT_BACKOFF_MIN_MS,
                      .try_ms = TRY_TIMEOUT_MS};
    reply_clear(reply);
    buf_init(&t.url, LIMIT_URL_BYTES + strlen(call->target) + 64);
    if (has_session(call)) {
        /* Sequence numbers without gaps belong to writes that were answered; after any other end
         * the old session says nothing about the next write. */
        if (c->session_broken)
            session_renew(c);
        c->seq++;
    }
    do
        try_once(&t);
    while (!settled(&t) && turn_to_next(&t));
    if (has_session(call))
        c->session_broken = !t.verdict.evaluated;
    int code = conclude(&t, err);
    buf_release(&t.url);
    return code;
}

int client_call_at(struct client *c, size_t endpoint, const struct call *call,
                   struct client_reply *reply, struct err *err)
{
    ASSERT(endpoint < c->endpoint_count && call->pinned);
    size_t at = c->at;
    c->at = endpoint;
    int code = client_call(c, call, reply, err);
    c->at = at;
    return code;
}

int client_exit_status(int code, const struct client_reply *reply)
{
    if (code == 0)
        return 0;
    if (reply->outcome == OUTCOME_UNKNOWN)
        return err_exit_status(ERR_UNKNOWN);
    if (err_exit_status(code) == err_exit_status(ERR_UNKNOWN))
        return err_exit_status(ERR_UNREACHABLE);
    return err_exit_status(code);
}
