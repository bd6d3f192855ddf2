/*
 * The HTTP server against raw sockets. The loop runs in the main thread, the client of a case in
 * one of its own; when the client has said and heard all it wants, the loop ends.
 */
#include "lib/net/http_server.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/limits.h"
#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/net/loop.h"
#include "tests/support/http.h"
#include "tests/unit/tap.h"

enum { BODY_MAX = 1 << 20, HELD_MAX = 4096, CROWD = 2000 };

struct fixture {
    struct loop *loop;
    struct http_server *server;
    struct loop_timer *later;
    struct loop_wake *finished, *release_wake;
    struct http_request *held[HELD_MAX];
    unsigned held_count, held_goal;
    struct http_request *delayed[HELD_MAX];
    unsigned delayed_count;
    struct http_server_options options;
    uint16_t port;
    void (*client)(void);
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned handled; /* under lock, as is held_seen */
    unsigned held_seen;
    bool client_went;
};

static struct fixture f = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* ---- the handler ---- */

static void reply_text(struct http_request *r, int status, const char *text)
{
    struct http_reply reply = {
        .status = status, .content_type = "text/plain", .body = text, .body_len = strlen(text)};
    http_reply(r, &reply);
}

static bool path_is(const struct http_request *r, const char *path)
{
    return r->path.len == strlen(path) && memcmp(r->path.data, path, r->path.len) == 0;
}

static bool is_query(const struct http_request *r, const char *query)
{
    return r->query.len == strlen(query) && memcmp(r->query.data, query, r->query.len) == 0;
}

/* Says back what arrived. */
static void echo(struct http_request *r)
{
    struct buf text;
    char peer[64];
    unsigned count;
    const char *value = http_request_header(r, "x-test", &count);
    buf_init(&text, 4 << 20);
    buf_printf(&text, "%d|%.*s|%s|%.*s|%s/%u|%s|", (int)r->method, (int)r->path.len,
               (const char *)r->path.data, r->query.data ? "?" : "", (int)r->query.len,
               r->query.data ? (const char *)r->query.data : "", value ? value : "-", count,
               strncmp(http_request_peer(r, peer), "127.0.0.1:", 10) == 0 ? "local" : peer);
    buf_append(&text, r->body.data, r->body.len);
    struct http_header header = {"X-Echo", "yes"};
    struct http_reply reply = {
        .status = 200, .content_type = "text/plain", .headers = &header, .header_count = 1};
    reply.body = buf_take(&text, &reply.body_len);
    reply.body_take = true;
    http_reply(r, &reply);
}

static void handle(void *self, struct http_request *r)
{
    (void)self;
    pthread_mutex_lock(&f.lock);
    f.handled++;
    if (path_is(r, "/hold")) {
        must(f.held_count < HELD_MAX);
        f.held[f.held_count++] = r;
        f.held_seen = f.held_count;
    }
    pthread_cond_broadcast(&f.changed);
    /* The loop stands still: when it goes on, the end of the client is the first that it sees. */
    while (path_is(r, "/hold") && is_query(r, "until=gone") && !f.client_went)
        pthread_cond_wait(&f.changed, &f.lock);
    f.client_went = false;
    pthread_mutex_unlock(&f.lock);
    if (path_is(r, "/hold"))
        return;
    if (path_is(r, "/later")) {
        f.delayed[f.delayed_count++] = r;
        loop_timer_at(f.later, clock_now_us() + 5000);
    } else if (path_is(r, "/big")) {
        struct http_reply reply = {.status = 200, .body_len = 64 << 20, .body_take = true};
        reply.body = mem_zalloc(reply.body_len);
        http_reply(r, &reply);
    } else if (path_is(r, "/bare")) {
        http_reply(r, &(struct http_reply){.status = 204});
    } else if (path_is(r, "/bye")) {
        http_reply(r,
                   &(struct http_reply){.status = 200, .body = "{}", .body_len = 2, .close = true});
    } else {
        echo(r);
    }
}

static void on_later(void *argument)
{
    (void)argument;
    unsigned count = f.delayed_count;
    f.delayed_count = 0;
    for (unsigned i = 0; i < count; i++)
        reply_text(f.delayed[i], 200, "later");
}

/* The client asked that what is held be answered. */
static void on_release(void *argument)
{
    (void)argument;
    unsigned count = f.held_count;
    f.held_count = 0;
    for (unsigned i = 0; i < count; i++)
        reply_text(f.held[i], 200, "released");
}

static size_t body_max(void *self, const struct http_request *head, struct http_reply *refuse)
{
    (void)self;
    if (path_is(head, "/nobody"))
        return 0;
    if (path_is(head, "/refused"))
        *refuse = (struct http_reply){.status = 404, .body = "{\"no\":1}", .body_len = 8};
    return BODY_MAX;
}

static void refusal(void *self, struct http_request *r, int status, const char *why, uint64_t limit,
                    uint64_t actual)
{
    char text[200];
    struct http_header path = {"X-Path", "none"};
    struct http_reply reply = {.status = status, .headers = &path, .header_count = 1, .body = text};
    (void)self;
    if (path_is(r, "/elsewhere")) {
        reply.status = 404;
        path.value = "/elsewhere";
    }
    reply.body_len = (size_t)snprintf(
        text, sizeof(text), "{\"status\":%d,\"why\":\"%s\",\"limit\":%llu,\"actual\":%llu}", status,
        why, (unsigned long long)limit, (unsigned long long)actual);
    http_reply(r, &reply);
}

/* ---- running a case ---- */

static void wait_held(unsigned count)
{
    pthread_mutex_lock(&f.lock);
    while (f.held_seen < count)
        pthread_cond_wait(&f.changed, &f.lock);
    pthread_mutex_unlock(&f.lock);
}

static void release_held(void)
{
    loop_wake_send(f.release_wake);
}

static void on_finished(void *argument)
{
    (void)argument;
    loop_stop(f.loop);
}

static void *run_client(void *argument)
{
    (void)argument;
    f.client();
    loop_wake_send(f.finished);
    return NULL;
}

static void begin(void)
{
    must(loop_new(&f.loop, NULL) == 0);
    f.options = (struct http_server_options){
        .host = "127.0.0.1",
        .connections_max = 4096,
        .header_timeout_ms = 10000,
        .body_timeout_ms = 10000,
        .idle_timeout_ms = 10000,
        .body_max = body_max,
        .handle = handle,
        .refusal = refusal,
    };
    f.server = NULL;
    f.held_count = f.delayed_count = f.handled = f.held_seen = 0;
    f.later = loop_timer_new(f.loop, on_later, NULL);
    f.finished = loop_wake_new(f.loop, on_finished, NULL);
    f.release_wake = loop_wake_new(f.loop, on_release, NULL);
}

static void serve(void (*client)(void))
{
    pthread_t thread;
    struct err err;
    if (!f.server && http_server_start(f.loop, &f.options, &f.server, &err) < 0) {
        diag("%s", err.text);
        must(f.server);
    }
    f.port = http_server_port(f.server);
    f.client = client;
    must(pthread_create(&thread, NULL, run_client, NULL) == 0);
    loop_run(f.loop);
    pthread_join(thread, NULL);
}

static void end(void)
{
    http_server_stop(f.server);
    loop_timer_free(f.later);
    loop_wake_free(f.finished);
    loop_wake_free(f.release_wake);
    loop_free(f.loop);
}

static void whole_case(void (*client)(void))
{
    begin();
    serve(client);
    end();
}

/* One exchange on a connection of its own. */
static struct http_heard ask(const char *text)
{
    int fd = http_dial(f.port);
    must(fd >= 0);
    http_say(fd, text);
    struct http_heard h = http_hear(fd, false);
    close(fd);
    return h;
}

static void asked(const char *text, int status, const char *part, const char *what)
{
    struct http_heard h = ask(text);
    is_i64(h.status, status, "%s", what);
    if (part)
        has_str(h.body ? h.body : "", part, "%s: reply", what);
    http_forget(&h);
}

/* ---- ordinary requests ---- */

static void client_echo(void)
{
    int fd = http_dial(f.port);
    struct http_heard h;
    http_say(fd, "GET /kv/a%00b%2F../c+d?x=%2F&y HTTP/1.1\r\nHost: a\r\nX-Test: one\r\n\r\n");
    h = http_hear(fd, false);
    is_i64(h.status, 200, "GET");
    is_str(h.body, "0|/kv/a%00b%2F../c+d|?|x=%2F&y|one/1|local|", "path and query arrive as sent");
    is_str(http_heard_header(&h, "Content-Type"), "text/plain", "content type");
    is_str(http_heard_header(&h, "X-Echo"), "yes", "header of the reply");
    is_str(http_heard_header(&h, "Date"), "", "no Date");
    http_forget(&h);
    http_say(fd, "HEAD /kv/a HTTP/1.1\r\nHost: a\r\n\r\n");
    h = http_hear(fd, true);
    is_i64(h.status, 200, "HEAD on the same connection");
    is_str(http_heard_header(&h, "Content-Length"), "20", "length of what GET would bring");
    http_forget(&h);
    http_say(fd, "PUT /kv/b HTTP/1.1\r\nHost: a\r\nX-Test: 1\r\nx-test: 2\r\n"
                 "Content-Length: 5\r\n\r\nva\nue");
    h = http_hear(fd, false);
    is_str(h.body, "2|/kv/b|||1/2|local|va\nue", "PUT; the first of two headers, and their number");
    http_forget(&h);
    http_say(fd, "PUT /kv/b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    h = http_hear(fd, false);
    is_str(h.body, "2|/kv/b|||-/0|local|", "empty body");
    http_forget(&h);
    http_say(fd, "POST /x? HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\n\r\n");
    h = http_hear(fd, false);
    is_str(h.body, "3|/x|?||-/0|local|abc0123456789", "chunked body, empty query");
    http_forget(&h);
    http_say(fd, "DELETE /kv/b HTTP/1.1\r\nHost: a\r\n\r\n");
    h = http_hear(fd, false);
    is_str(h.body, "4|/kv/b|||-/0|local|", "DELETE");
    http_forget(&h);
    http_say(fd, "GET /bare HTTP/1.1\r\nHost: a\r\n\r\n");
    h = http_hear(fd, true);
    is_i64(h.status, 204, "reply without a body");
    is_str(http_heard_header(&h, "Content-Type"), "", "and without a type");
    http_forget(&h);
    http_say(fd, "GET /bye HTTP/1.1\r\nHost: a\r\n\r\n");
    h = http_hear(fd, false);
    is_str(http_heard_header(&h, "Connection"), "close", "a reply may close");
    is_str(http_heard_header(&h, "Content-Type"), "application/json", "type when none is given");
    ok(http_closed(fd), "and it closes");
    http_forget(&h);
    close(fd);
}

static void client_sizes(void)
{
    /* The longest key, each byte escaped, with headers enough for any client. */
    static char text[64 << 10];
    size_t at = (size_t)snprintf(text, sizeof(text), "GET /kv/");
    for (int i = 0; i < LIMIT_KEY_BYTES; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%%e4");
    at += (size_t)snprintf(text + at, sizeof(text) - at, " HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 20; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "X-H%d: %0100d\r\n", i, i);
    snprintf(text + at, sizeof(text) - at, "\r\n");
    struct http_heard h = ask(text);
    is_i64(h.status, 200, "the longest key");
    is_u64(h.body_len, strlen("0|/kv/|||-/0|local|") + 3 * LIMIT_KEY_BYTES, "and all of it");
    http_forget(&h);
    snprintf(text, sizeof(text), "GET /kv?cursor=%0*d HTTP/1.1\r\nHost: a\r\n\r\n",
             LIMIT_QUERY_BYTES - 7, 1);
    asked(text, 200, NULL, "the longest query");
    snprintf(text, sizeof(text), "GET /kv/%030000d HTTP/1.1\r\nHost: a\r\n\r\n", 1);
    h = ask(text);
    ok(h.status == 414 || h.status == 0, "a longer target is refused (%d)", h.status);
    http_forget(&h);
    snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\nX: %040000d\r\n\r\n", 1);
    h = ask(text);
    ok(h.status == 431 || h.status == 0, "a huge header is refused (%d)", h.status);
    http_forget(&h);

    static char value[BODY_MAX];
    for (size_t i = 0; i < sizeof(value); i++)
        value[i] = (char)(i * 7 + i / 251);
    int fd = http_dial(f.port);
    http_say(fd, "PUT /kv/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n");
    http_say_bytes(fd, value, sizeof(value));
    h = http_hear(fd, false);
    size_t head = strlen("2|/kv/x|||-/0|local|");
    ok(h.status == 200 && h.body_len == head + sizeof(value) &&
           memcmp(h.body + head, value, sizeof(value)) == 0,
       "the largest body arrives and comes back");
    http_forget(&h);
    close(fd);
}

static void client_later(void)
{
    int fd = http_dial(f.port);
    struct http_heard h;
    http_say(fd, "PUT /later HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    h = http_hear(fd, false);
    is_str(h.body, "later", "a reply from a timer");
    http_forget(&h);
    http_say(fd, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /later HTTP/1.1\r\nHost: a\r\n\r\n"
                 "PUT /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
                 "GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    static const char *const want[] = {"0|/1|||-/0|local|", "later", "2|/2|||-/0|local|hi", "later",
                                       "0|/3|||-/0|local|"};
    for (int i = 0; i < 5; i++) {
        h = http_hear(fd, false);
        is_str(h.body ? h.body : "", want[i], "pipelined request %d is answered in order", i);
        http_forget(&h);
    }
    shutdown(fd, SHUT_WR);
    ok(http_closed(fd), "closed after the client's end");
    close(fd);
    fd = http_dial(f.port);
    http_say(fd, "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    h = http_hear(fd, false);
    ok(h.status == 200 && http_closed(fd), "Connection: close is honoured");
    http_forget(&h);
    close(fd);
    fd = http_dial(f.port);
    http_say(fd, "GET /1 HTTP/1.0\r\nHost: a\r\n\r\n");
    h = http_hear(fd, false);
    ok(h.status == 200 && http_closed(fd), "HTTP/1.0 closes");
    http_forget(&h);
    close(fd);
}

/* ---- what is refused ---- */

static void client_refusals(void)
{
    asked("GET / HTTP/1.1\r\n\r\n", 400, NULL, "no Host");
    asked("GET / HTTP/1.0\r\n\r\n", 400, "no Host", "no Host in HTTP/1.0");
    asked("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400, "more than one Host", "two Hosts");
    asked("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400,
          "Content-Length", "two lengths");
    asked("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
          "0\r\n\r\n",
          400, "beside", "a length beside chunks");
    asked("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
          "0\r\n\r\n",
          400, "beside", "chunks beside a length");
    asked("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400,
          "chunked", "another encoding");
    asked("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
          "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
          400, "chunked", "two encodings");
    asked("PUT / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, NULL,
          "chunks in HTTP/1.0");
    asked("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5x\r\n\r\nhello", 400, NULL, "bad length");
    asked("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello", 400, NULL,
          "negative length");
    asked("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413, NULL,
          "length beyond 64 bits");
    asked("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, NULL,
          "bad chunk");
    asked("PUT / HTTP/1.1\r\nHost : a\r\nContent-Length: 1\r\n\r\nx", 400, NULL,
          "blank before the colon");
    asked("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400, NULL, "header without a colon");
    asked("GET / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n", 400, "header name", "blank in a name");
    asked("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "unknown method", "unknown method");
    struct http_heard h = ask("BREW /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n");
    is_i64(h.status, 404, "the user has the last word on a refusal");
    is_str(http_heard_header(&h, "X-Path"), "/elsewhere", "and knows what is refused");
    is_str(http_heard_header(&h, "Connection"), "close", "the connection is closed all the same");
    http_forget(&h);
    asked("get / HTTP/1.1\r\nHost: a\r\n\r\n", 405, NULL, "methods are case-sensitive");
    asked("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "slash", "no slash");
    asked("GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "slash", "absolute target");
    asked("GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", 400, "control", "control character");
    asked("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, NULL, "another version");
    asked("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 0, NULL, "blank in the target: closed");
    asked("\x16\x03\x01\x02garbage\r\n\r\n", 0, NULL, "garbage: closed");
    static const char nul[] = "GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n";
    int fd = http_dial(f.port);
    http_say_bytes(fd, nul, sizeof(nul) - 1);
    h = http_hear(fd, false);
    is_i64(h.status, 400, "NUL in the target");
    http_forget(&h);
    close(fd);
    char many[4096];
    size_t at = (size_t)snprintf(many, sizeof(many), "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < LIMIT_HTTP_HEADERS; i++)
        at += (size_t)snprintf(many + at, sizeof(many) - at, "X-%d: y\r\n", i);
    snprintf(many + at, sizeof(many) - at, "\r\n");
    asked(many, 431, "too many headers", "one header too many");
}

static void client_too_large(void)
{
    struct http_heard h;
    int fd = http_dial(f.port);
    http_say(fd, "PUT /kv/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n");
    h = http_hear(fd, false);
    is_i64(h.status, 413, "a large body is refused before any of it was sent");
    has_str(h.body, "\"limit\":1048576,\"actual\":10000000", "limit and actual");
    http_forget(&h);
    static char waste[1 << 20];
    bool taken = true;
    for (int i = 0; i < 8; i++)
        taken = taken && http_say_bytes(fd, waste, sizeof(waste));
    ok(taken, "what still comes is swallowed, so that the refusal is not lost");
    shutdown(fd, SHUT_WR);
    ok(http_closed(fd), "then closed");
    close(fd);

    fd = http_dial(f.port);
    http_say(fd, "PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    h = http_hear(fd, false);
    is_i64(h.status, 100, "continue");
    http_forget(&h);
    http_say(fd, "abc");
    h = http_hear(fd, false);
    is_i64(h.status, 200, "and done");
    http_forget(&h);
    http_say(fd, "PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                 "Content-Length: 3000000\r\n\r\n");
    h = http_hear(fd, false);
    is_i64(h.status, 413, "no continue for what is refused");
    http_forget(&h);
    close(fd);

    fd = http_dial(f.port);
    http_say(fd, "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 3; i++) {
        http_say(fd, "100000\r\n");
        http_say_bytes(fd, waste, sizeof(waste));
        http_say(fd, "\r\n");
    }
    http_say(fd, "0\r\n\r\n");
    h = http_hear(fd, false);
    is_i64(h.status, 413, "a chunked body over the limit, at its end");
    has_str(h.body ? h.body : "", "\"limit\":1048576", "with its limit");
    http_forget(&h);
    close(fd);

    asked("PUT /nobody HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 413, "\"limit\":0",
          "no body is allowed here");
    asked("PUT /nobody HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 200, NULL,
          "an empty one is none");
    asked("PUT /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 404, "{\"no\":1}",
          "a refusal of the user's own");
    is_u64(f.handled, 2, "nothing of that was handed over but what was good");
}

/* Good requests with bytes changed, cut, doubled: whatever is answered, the server lives on. */
static void client_fuzz(void)
{
    static const char *const seeds[] = {
        "GET /kv/a%00b?x=%2F&y HTTP/1.1\r\nHost: a\r\nX-Test: one\r\n\r\n",
        "PUT /kv/b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nvalue",
        "POST /later HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
        "GET /later HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nX: 1\r\n  folded\r\n\r\n"
        "DELETE /bare HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=\"d\"\r\n\r\n",
    };
    static const char special[] = "\r\n\0 \t:;/?%&=+\"\xff\x7f";
    struct prng random;
    prng_seed(&random, test_seed());
    for (int round = 0; round < 1500; round++) {
        char text[1024];
        const char *seed = seeds[prng_below(&random, sizeof(seeds) / sizeof(seeds[0]))];
        size_t len = strlen(seed);
        memcpy(text, seed, len);
        for (uint64_t n = 1 + prng_below(&random, 4); n > 0 && len > 1; n--) {
            size_t at = prng_below(&random, len);
            size_t run = prng_below(&random, len - at < 20 ? len - at : 20);
            switch (prng_below(&random, 4)) {
            case 0: text[at] = (char)prng_next(&random); break;
            case 1: text[at] = special[prng_below(&random, sizeof(special) - 1)]; break;
            case 2: /* a run is left out */
                memmove(text + at, text + at + run, len - at - run);
                len -= run;
                break;
            default: /* or doubled */
                if (len + run > sizeof(text))
                    break;
                memmove(text + at + run, text + at, len - at);
                len += run;
                break;
            }
        }
        int fd = http_dial(f.port);
        must(fd >= 0);
        http_say_bytes(fd, text, len);
        if (round % 2)
            shutdown(fd, SHUT_WR);
        close(fd);
        if (round % 100 == 99)
            asked("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, NULL, "served after broken requests");
    }
}

/* ---- deadlines ---- */

/* Sends a byte now and then, so never idle, until the other end closes; how long that took. */
static uint64_t drip(int fd, const char *text, size_t repeat)
{
    uint64_t from_us = clock_now_us();
    size_t len = strlen(text), sent = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    http_say_bytes(fd, text, len - repeat);
    while (poll(&p, 1, 20) == 0 && clock_now_us() - from_us < 10000000)
        http_say_bytes(fd, text + len - repeat + sent++ % repeat, 1);
    ok(http_closed(fd), "closed");
    close(fd);
    return (clock_now_us() - from_us) / 1000;
}

static void client_slow(void)
{
    uint64_t took_ms = drip(http_dial(f.port), "GET / HTTP/1.1\r\nX: aaaa", 4);
    ok(took_ms >= 290 && took_ms < 5000, "slow headers end at the deadline (%d ms)", (int)took_ms);
    took_ms = drip(http_dial(f.port), "G", 1);
    ok(took_ms >= 290 && took_ms < 5000, "so does a slow request line (%d ms)", (int)took_ms);
    took_ms =
        drip(http_dial(f.port), "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\nab", 2);
    ok(took_ms >= 290 && took_ms < 5000, "so does a slow body (%d ms)", (int)took_ms);
    int fd = http_dial(f.port);
    ok(http_closed(fd), "a client that says nothing is closed");
    close(fd);
    fd = http_dial(f.port);
    http_say(fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    struct http_heard h = http_hear(fd, false);
    is_i64(h.status, 200, "a quick one is served");
    http_forget(&h);
    uint64_t from_us = clock_now_us();
    ok(http_closed(fd), "idle, it is closed");
    took_ms = (clock_now_us() - from_us) / 1000;
    ok(took_ms >= 190 && took_ms < 5000, "after the idle time (%d ms)", (int)took_ms);
    close(fd);
    fd = http_dial(f.port);
    http_say(fd, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    is_i64(poll(&p, 1, 10000), 1, "a client that does not read its reply is cut off");
    close(fd);
    fd = http_dial(f.port);
    http_say(fd, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_held(1);
    struct pollfd quiet = {.fd = fd, .events = POLLIN};
    is_i64(poll(&quiet, 1, 600), 0, "a request that waits for its answer has no deadline here");
    release_held();
    h = http_hear(fd, false);
    is_str(h.body, "released", "and is answered");
    http_forget(&h);
    close(fd);
}

static void test_slow(void)
{
    begin();
    f.options.header_timeout_ms = 300;
    f.options.body_timeout_ms = 300;
    f.options.idle_timeout_ms = 200;
    serve(client_slow);
    ok(http_server_refused(f.server) >= 5, "counted");
    end();
}

/* ---- clients that go, many clients ---- */

static void client_gone(void)
{
    for (int i = 0; i < 20; i++) {
        int fd = http_dial(f.port);
        http_say(fd, "PUT /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        wait_held((unsigned)i + 1);
        if (i % 2) { /* a reset */
            struct linger now = {.l_onoff = 1};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        }
        close(fd);
    }
    release_held();
    asked("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, NULL, "served after replies to nobody");
    int fd = http_dial(f.port);
    http_say(fd, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
    close(fd);
    fd = http_dial(f.port);
    http_say(fd, "PUT / HT");
    close(fd);
    asked("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, NULL, "served after half requests");
}

static void went(int fd, bool reset)
{
    struct linger now = {.l_onoff = 1};
    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
    pthread_mutex_lock(&f.lock);
    f.client_went = true;
    pthread_cond_broadcast(&f.changed);
    pthread_mutex_unlock(&f.lock);
}

enum { GONE_COMPANY = 48, GONE = 10 };
static int company[GONE_COMPANY];

/* So many wait that none is suspended at once, and then a connection ends before libmicrohttpd has
 * looked at it again: the request stays the handler's, without a connection. */
static void client_gone_at_once(void)
{
    for (unsigned i = 0; i < GONE_COMPANY; i++) {
        company[i] = http_dial(f.port);
        http_say(company[i], "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
        wait_held(i + 1);
    }
    for (unsigned i = 0; i < GONE; i++) {
        int fd = http_dial(f.port);
        http_say(fd, "PUT /hold?until=gone HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        wait_held(GONE_COMPANY + i + 1);
        went(fd, i % 2 == 0);
    }
    asked("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, NULL, "served beside requests of nobody");
}

static void client_released(void)
{
    release_held();
    asked("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, NULL, "served after replies to nobody");
}

static void test_gone_at_once(void)
{
    char peer[64];
    begin();
    serve(client_gone_at_once);
    is_u64(http_server_pending(f.server), GONE_COMPANY + GONE,
           "what nobody waits for is still with the handler");
    const struct http_request *first = f.held[GONE_COMPANY];
    is_str(http_request_peer(first, peer), "gone", "its client is gone");
    ok(http_request_header(first, "Host", NULL) == NULL, "so are its headers");
    is_u64(first->body.len, 3, "its body is there");
    f.held_count -= GONE / 2; /* the others are left to the server's end */
    serve(client_released);
    is_u64(http_server_pending(f.server), GONE / 2, "answered, they are no more");
    f.held_count = 0;
    end();
    struct http_heard h = http_hear(company[0], false);
    is_str(h.body ? h.body : "", "released", "who had waited with them was answered");
    http_forget(&h);
    for (unsigned i = 0; i < GONE_COMPANY; i++)
        close(company[i]);
}

/* It has said all that it has to say, and listens. */
static void client_half(void)
{
    int fd = http_dial(f.port);
    http_say(fd, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    shutdown(fd, SHUT_WR);
    wait_held(1);
    release_held();
    struct http_heard h = http_hear(fd, false);
    is_str(h.body ? h.body : "", "released", "a client that has ended its side is answered");
    http_forget(&h);
    close(fd);
}

static void client_crowd(void)
{
    static int fds[CROWD];
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    static const char held[] = "PUT /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    unsigned good = 0;
    for (int i = 0; i < CROWD; i++)
        must((fds[i] = http_dial(f.port)) >= 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CROWD; i++)
            http_say(fds[i], round == 1 ? held : text);
        if (round == 1) {
            wait_held(CROWD);
            release_held();
        }
        for (int i = 0; i < CROWD; i++) {
            struct http_heard h = http_hear(fds[i], false);
            good += h.status == 200;
            http_forget(&h);
        }
    }
    is_u64(good, 3 * CROWD, "all of %d connections are served, three times", CROWD);
    for (int i = 0; i < CROWD; i++)
        close(fds[i]);
}

static void test_crowd(void)
{
    begin();
    serve(client_crowd);
    ok(http_server_connections(f.server) <= CROWD, "counted");
    end();
}

static void client_limit(void)
{
    int fds[4];
    for (int i = 0; i < 4; i++) {
        fds[i] = http_dial(f.port);
        http_say(fds[i], "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
        wait_held((unsigned)i + 1);
    }
    asked("", 503, NULL, "over the limit while all are busy");
    release_held();
    for (int i = 0; i < 4; i++) {
        struct http_heard h = http_hear(fds[i], false);
        is_i64(h.status, 200, "those that were there are served");
        http_forget(&h);
    }
    asked("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, NULL, "an idle one makes room");
    ok(http_closed(fds[0]) || http_closed(fds[1]), "the one that was idle longest");
    for (int i = 0; i < 4; i++)
        close(fds[i]);
}

static void test_limit(void)
{
    begin();
    f.options.connections_max = 4;
    serve(client_limit);
    end();
}

/* No descriptors left: the connection is refused, not left waiting, and the loop does not spin. */
static void client_descriptors(void)
{
    struct rlimit old, none;
    int spare = dup(0);
    must(spare >= 0 && getrlimit(RLIMIT_NOFILE, &old) == 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0);
    int second = http_dial(f.port);
    asked("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, NULL, "before");
    none = old;
    int lowest = dup(0);
    close(lowest);
    none.rlim_cur = (rlim_t)lowest; /* everything below it is in use */
    must(setrlimit(RLIMIT_NOFILE, &none) == 0);
    struct sockaddr_in address;
    socklen_t len = sizeof(address);
    must(getpeername(second, (struct sockaddr *)&address, &len) == 0);
    must(connect(fd, (struct sockaddr *)&address, len) == 0);
    struct http_heard h = http_hear(fd, false);
    ok(h.status == 503 || h.status == 0, "refused without a descriptor (%d)", h.status);
    http_forget(&h);
    must(setrlimit(RLIMIT_NOFILE, &old) == 0);
    asked("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, NULL, "and afterwards all is well");
    close(second);
    close(fd);
    close(spare);
}

/* ---- life ---- */

static int stop_fds[3];

static void client_stop(void)
{
    for (int i = 0; i < 3; i++) {
        stop_fds[i] = http_dial(f.port);
        http_say(stop_fds[i], "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
        wait_held((unsigned)i + 1);
    }
}

static void client_after_quiesce(void)
{
    is_i64(http_dial(f.port), -1, "no new connections");
    release_held();
    struct http_heard h = http_hear(stop_fds[0], false);
    is_str(h.body, "released", "what is open goes on");
    is_str(http_heard_header(&h, "Connection"), "close", "and is told to go elsewhere");
    http_forget(&h);
}

static void test_stop(void)
{
    begin();
    serve(client_stop);
    is_u64(http_server_pending(f.server), 3, "three wait for an answer");
    f.held_count = 1; /* the others are left to the server */
    http_server_quiesce(f.server);
    serve(client_after_quiesce);
    is_u64(http_server_pending(f.server), 2, "two still wait");
    f.held_count = 0;
    end();
    for (int i = 1; i < 3; i++) {
        struct http_heard h = http_hear(stop_fds[i], false);
        is_i64(h.status, 503, "stopping answers what is pending");
        has_str(h.body ? h.body : "", "the server stops", "and says why");
        http_forget(&h);
        ok(http_closed(stop_fds[i]), "and closes");
    }
    for (int i = 0; i < 3; i++)
        close(stop_fds[i]);
}

static void test_start(void)
{
    begin();
    struct http_server *second = NULL;
    struct err err = {.code = 0};
    must(http_server_start(f.loop, &f.options, &f.server, &err) == 0);
    f.options.port = http_server_port(f.server);
    ok(f.options.port != 0, "port 0 is any free one");
    char name[32];
    snprintf(name, sizeof(name), "127.0.0.1:%u", f.options.port);
    is_i64(http_server_start(f.loop, &f.options, &second, &err), ERR_IO, "a taken port");
    has_str(err.text, name, "named");
    has_str(err.text, "in use", "with the reason");
    f.options.port = 0;
    f.options.host = "localhost";
    is_i64(http_server_start(f.loop, &f.options, &second, &err), ERR_IO, "a name is no address");
    f.options.host = "8.8.8.8";
    is_i64(http_server_start(f.loop, &f.options, &second, &err), ERR_IO, "somebody else's address");
    has_str(err.text, "8.8.8.8", "named");
    f.options.host = "0.0.0.0";
    is_i64(http_server_start(f.loop, &f.options, &second, &err), 0, "all addresses");
    http_server_stop(second);
    f.options.host = "::1";
    if (http_server_start(f.loop, &f.options, &second, &err) == 0) {
        ok(http_server_port(second) != 0, "IPv6");
        http_server_stop(second);
    } else {
        skip("IPv6", "there is none here");
    }
    http_server_stop(NULL);
    end();
}

int main(void)
{
    struct rlimit files;
    must(getrlimit(RLIMIT_NOFILE, &files) == 0);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    test_start();
    whole_case(client_echo);
    whole_case(client_sizes);
    whole_case(client_later);
    whole_case(client_refusals);
    whole_case(client_too_large);
    whole_case(client_fuzz);
    test_slow();
    whole_case(client_gone);
    test_gone_at_once();
    whole_case(client_half);
    test_limit();
    whole_case(client_descriptors);
    test_stop();
    if (files.rlim_max >= 2 * CROWD + 100)
        test_crowd();
    else
        skip("many connections", "too few descriptors");
    return done();
}
