/*
 * The HTTP client. What it says of `sent` decides what a user is told of a write, so each way to
 * fail has its case: against a raw server that closes, stalls or answers nonsense at will, and
 * against ours.
 */
#include "lib/net/http_client.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/net/http_server.h"
#include "lib/net/loop.h"
#include "tests/support/http.h"
#include "tests/unit/tap.h"

enum { MANY = 300 };

struct outcome {
    bool done;
    int code, status;
    bool sent;
    char detail[256], body[4096], header[256];
    size_t body_len;
};

struct fixture {
    struct loop *loop;
    struct http_client *client;
    struct http_server *server;
    char url[128];
    uint16_t port;
    int listening;
    unsigned left;
    uint64_t busy_us; /* that the owner of a call needs for its result */
    void (*script)(void);
    unsigned requests; /* that the raw server saw; read after it has ended */
    char request[8192];
};

static struct fixture f;
static struct outcome outcomes[MANY];

/* ---- calls ---- */

static void on_done(void *argument, const struct http_result *r)
{
    struct outcome *o = argument;
    must(!o->done);
    *o = (struct outcome){.done = true, .code = r->code, .status = r->status, .sent = r->sent};
    snprintf(o->detail, sizeof(o->detail), "%s", r->detail);
    o->body_len = r->body.len;
    if (r->body.len < sizeof(o->body))
        memcpy(o->body, r->body.data, r->body.len);
    const char *header = r->code == 0 ? http_result_header(r, "x-echo") : NULL;
    snprintf(o->header, sizeof(o->header), "%s", header ? header : "-");
    for (uint64_t until_us = clock_now_us() + f.busy_us; clock_now_us() < until_us;)
        continue;
    if (--f.left == 0)
        loop_stop(f.loop);
}

static struct http_call get_call(const char *path)
{
    snprintf(f.url, sizeof(f.url), "http://127.0.0.1:%u%s", f.port, path);
    return (struct http_call){
        .method = HTTP_GET, .url = f.url, .timeout_ms = 10000, .reply_max = sizeof(outcomes->body)};
}

static struct http_call put_call(const char *path, const char *body)
{
    struct http_call call = get_call(path);
    call.method = HTTP_PUT;
    call.body = body;
    call.body_len = strlen(body);
    return call;
}

static struct outcome *call(struct http_call c)
{
    outcomes[0] = (struct outcome){.done = false};
    f.left = 1;
    http_client_call(f.client, &c, on_done, &outcomes[0]);
    is_u64(http_client_pending(f.client), 1, "not before the loop turns");
    loop_run(f.loop);
    return &outcomes[0];
}

static void begin(void)
{
    struct http_client_options options = {.connections_per_host = 8, .connect_timeout_ms = 2000};
    f = (struct fixture){.listening = -1};
    must(loop_new(&f.loop, NULL) == 0);
    must(http_client_new(f.loop, &options, &f.client, NULL) == 0);
}

static void end(void)
{
    http_client_free(f.client);
    http_server_stop(f.server);
    if (f.listening >= 0)
        close(f.listening);
    loop_free(f.loop);
}

/* ---- against a raw server ---- */

static void *run_script(void *argument)
{
    (void)argument;
    f.script();
    return NULL;
}

static pthread_t script_thread;

static void script_start(void (*script)(void))
{
    f.listening = http_listen(&f.port);
    f.script = script;
    must(pthread_create(&script_thread, NULL, run_script, NULL) == 0);
}

static void script_end(void)
{
    pthread_join(script_thread, NULL);
}

static bool take(int fd)
{
    bool got = http_take_request(fd, f.request, sizeof(f.request));
    f.requests += got;
    return got;
}

static void good_reply(int fd)
{
    http_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Echo: yes\r\n\r\nok");
}

/* Answers one request, takes a second one on the same connection and closes; then the same once
 * more for whoever comes back. */
static void script_close_second(void)
{
    int fd = http_accept(f.listening);
    take(fd);
    good_reply(fd);
    take(fd);
    close(fd);
    /* A connection may come that is given up before anything is sent over it. */
    for (bool served = false; !served && (fd = http_accept(f.listening)) >= 0;) {
        served = take(fd);
        if (served)
            good_reply(fd);
        close(fd);
    }
}

static void test_closed_after_request(bool idempotent)
{
    begin();
    script_start(script_close_second);
    struct http_call c = put_call("/kv/a", "one");
    c.idempotent = idempotent;
    struct outcome *o = call(c);
    is_i64(o->code, 0, "first request");
    is_i64(o->status, 200, "answered");
    o = call(c);
    if (idempotent) {
        is_i64(o->code, 0, "an idempotent request is sent again");
        is_i64(o->status, 200, "and answered then");
        script_end();
        is_u64(f.requests, 3, "the server saw it twice");
    } else {
        is_i64(o->code, ERR_UNKNOWN, "the connection dies under a write: outcome unknown");
        ok(o->sent, "it was sent");
        has_str(o->detail, "closed", "says why");
        /* A read lets the server's script come to its end. */
        o = call(get_call("/kv/b"));
        is_i64(o->code, 0, "a later request is served");
        script_end();
        is_u64(f.requests, 3, "the write was not sent a second time");
        has_str(f.request, "GET /kv/b ", "the third request is the later one");
    }
    end();
}

/* A kept connection that was closed while idle is seen before it is used. */
static void script_close_idle(void)
{
    for (int i = 0; i < 2; i++) {
        int fd = http_accept(f.listening);
        take(fd);
        good_reply(fd);
        shutdown(fd, SHUT_WR);
        http_closed(fd);
        close(fd);
    }
}

static void on_stop(void *argument)
{
    (void)argument;
    loop_stop(f.loop);
}

static void test_closed_idle(void)
{
    begin();
    script_start(script_close_idle);
    is_i64(call(put_call("/a", "x"))->code, 0, "first request");
    struct loop_timer *wait = loop_timer_new(f.loop, on_stop, NULL);
    loop_timer_at(wait, clock_now_us() + 50000); /* the end of the stream arrives meanwhile */
    loop_run(f.loop);
    struct outcome *o = call(put_call("/a", "y"));
    is_i64(o->code, 0, "second, over a new connection");
    loop_timer_free(wait);
    end(); /* the client closes, and the script sees it */
    script_end();
    is_u64(f.requests, 2, "each came once");
}

static void script_first_close(void)
{
    int fd = http_accept(f.listening);
    take(fd);
    close(fd);
}

static void script_half_reply(void)
{
    int fd = http_accept(f.listening);
    take(fd);
    http_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    close(fd);
}

static void script_nonsense(void)
{
    int fd = http_accept(f.listening);
    take(fd);
    http_say(fd, "what do you want?\r\n\r\n");
    close(fd);
}

static void script_silent(void)
{
    int fd = http_accept(f.listening);
    take(fd);
    http_closed(fd);
    close(fd);
}

static void script_huge(void)
{
    int fd = http_accept(f.listening);
    take(fd);
    http_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    char waste[1000];
    memset(waste, 'x', sizeof(waste));
    for (int i = 0; i < 100 && http_say_bytes(fd, waste, sizeof(waste)); i++)
        continue;
    http_closed(fd);
    close(fd);
}

static void script_redirect(void)
{
    int fd = http_accept(f.listening);
    take(fd);
    http_say(fd, "HTTP/1.1 307 Go\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n");
    http_closed(fd);
    close(fd);
}

static struct outcome failing(void (*script)(void), uint32_t timeout_ms, const char *what)
{
    begin();
    script_start(script);
    struct http_call c = put_call("/kv/a", "x");
    c.timeout_ms = timeout_ms;
    struct outcome o = *call(c);
    end();
    script_end();
    diag("%s: %s", what, o.detail);
    return o;
}

static void test_failures(void)
{
    struct outcome o = failing(script_first_close, 5000, "closed");
    is_i64(o.code, ERR_UNKNOWN, "closed without a reply");
    ok(o.sent, "sent");
    is_u64(f.requests, 1, "once");
    o = failing(script_half_reply, 5000, "half a reply");
    is_i64(o.code, ERR_UNKNOWN, "closed within the reply");
    ok(o.sent, "sent");
    o = failing(script_nonsense, 5000, "nonsense");
    is_i64(o.code, ERR_UNKNOWN, "no HTTP");
    ok(o.sent, "sent");
    uint64_t from_us = clock_now_us();
    o = failing(script_silent, 150, "silent");
    is_i64(o.code, ERR_TIMEOUT, "no reply in time");
    ok(o.sent, "sent");
    ok(clock_now_us() - from_us >= 150000, "not before the time");
    o = failing(script_huge, 5000, "huge");
    is_i64(o.code, ERR_TOO_LARGE, "a reply over the limit");
    ok(o.sent, "sent");
    o = failing(script_redirect, 5000, "redirect");
    is_i64(o.code, 0, "a redirect is a reply");
    is_i64(o.status, 307, "and not followed");
    is_u64(f.requests, 1, "one request");
}

static void test_unreachable(void)
{
    begin();
    int fd = http_listen(&f.port);
    close(fd); /* nobody listens there now */
    struct outcome *o = call(put_call("/kv/a", "x"));
    is_i64(o->code, ERR_UNREACHABLE, "connection refused");
    ok(!o->sent, "nothing was sent");
    ok(o->detail[0], "with a reason");
    /* A listener whose queue is full answers no more. */
    f.listening = http_listen(&f.port);
    must(listen(f.listening, 0) == 0);
    int queued = http_dial(f.port);
    struct http_call c = put_call("/kv/a", "x");
    c.timeout_ms = 200;
    o = call(c);
    close(queued);
    is_i64(o->code, ERR_UNREACHABLE, "no connection in time");
    ok(!o->sent, "nothing was sent");
    snprintf(f.url, sizeof(f.url), "http://name.invalid:1/");
    o = call(c);
    is_i64(o->code, ERR_UNREACHABLE, "no such name");
    ok(!o->sent, "nothing was sent");
    snprintf(f.url, sizeof(f.url), "ftp://127.0.0.1/x");
    o = call(c);
    is_i64(o->code, ERR_UNREACHABLE, "another protocol");
    ok(!o->sent, "nothing was sent");
    end();
}

/* Connections that were accepted and not taken say nothing; then a request comes. */
static void script_late(void)
{
    for (bool served = false; !served;) {
        int fd = http_accept(f.listening);
        must(fd >= 0);
        served = take(fd);
        if (served)
            good_reply(fd);
        close(fd);
    }
}

/* libcurl closes a connection that is still being made without a word: nothing of it may be left
 * for the loop to watch. Those that waited for a connection begin one when the first are given up,
 * and are over time themselves. */
static void test_given_up_while_connecting(void)
{
    enum { CALLS = 200 };
    begin();
    f.listening = http_listen(&f.port); /* takes connections and says nothing */
    struct http_call c = put_call("/kv/a", "x");
    f.left = CALLS;
    f.busy_us = 2000;
    for (unsigned i = 0; i < CALLS; i++) {
        outcomes[i] = (struct outcome){.done = false};
        c.timeout_ms = 100 + i;
        http_client_call(f.client, &c, on_done, &outcomes[i]);
    }
    loop_run(f.loop);
    unsigned right = 0;
    for (unsigned i = 0; i < CALLS; i++)
        right += outcomes[i].code == (outcomes[i].sent ? ERR_TIMEOUT : ERR_UNREACHABLE);
    is_u64(right, CALLS, "all were given up in time");
    ok(!outcomes[CALLS - 1].sent || !outcomes[0].sent, "some of them before they were sent");
    close(f.listening);
    /* What is left of them must not hold up who gets their descriptors. */
    script_start(script_late);
    f.busy_us = 0;
    c = put_call("/kv/a", "x");
    is_i64(call(c)->code, 0, "the next one is served");
    script_end();
    end();
}

/* What goes over the wire, byte for byte. */
static void script_wire(void)
{
    int fd = http_accept(f.listening);
    take(fd);
    good_reply(fd);
    http_closed(fd);
    close(fd);
}

static void wire(struct http_call c, const char *line, const char *rest)
{
    struct outcome *o = call(c);
    is_i64(o->code, 0, "answered");
    is_str(o->header, "yes", "header of the reply");
    end();
    script_end();
    char expected[512];
    snprintf(expected, sizeof(expected), "%s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n%s", line, f.port,
             rest);
    is_str(f.request, expected, "the request as it was sent");
}

static void test_wire(void)
{
    static const struct http_header headers[] = {{"RaftKV-Client", "c1"}, {"X-Empty", ""}};
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    begin();
    script_start(script_wire);
    struct http_call c = put_call("/kv/a/../b%2F", "body");
    c.headers = headers;
    c.header_count = 2;
    wire(c, "PUT /kv/a/../b%2F",
         "RaftKV-Client: c1\r\nX-Empty:"
         "\r\nContent-Length: 4\r\n\r\nbody");
    unsetenv("http_proxy");
    begin();
    script_start(script_wire);
    wire(get_call("/kv/a?raw"), "GET /kv/a?raw", "\r\n");
    begin();
    script_start(script_wire);
    c = put_call("/x", "");
    c.method = HTTP_POST;
    wire(c, "POST /x", "Content-Length: 0\r\n\r\n");
    begin();
    script_start(script_wire);
    c = get_call("/x");
    c.method = HTTP_DELETE;
    wire(c, "DELETE /x", "\r\n");
}

/* ---- against our server ---- */

static void handle(void *self, struct http_request *r)
{
    (void)self;
    char text[2048];
    int n = snprintf(text, sizeof(text), "%d %.*s %.*s", (int)r->method, (int)r->path.len,
                     (const char *)r->path.data, (int)(r->body.len > 64 ? 64 : r->body.len),
                     (const char *)r->body.data);
    struct http_header header = {"X-Echo", "server"};
    struct http_reply reply = {
        .status = 200, .headers = &header, .header_count = 1, .body = text, .body_len = (size_t)n};
    http_reply(r, &reply);
}

static size_t body_max(void *self, const struct http_request *head, struct http_reply *refuse)
{
    (void)self;
    (void)head;
    (void)refuse;
    return 4 << 20;
}

static void with_server(void)
{
    begin();
    struct http_server_options options = {
        .host = "127.0.0.1",
        .connections_max = 100,
        .header_timeout_ms = 10000,
        .body_timeout_ms = 10000,
        .idle_timeout_ms = 10000,
        .body_max = body_max,
        .handle = handle,
    };
    must(http_server_start(f.loop, &options, &f.server, NULL) == 0);
    f.port = http_server_port(f.server);
}

static void test_server(void)
{
    with_server();
    struct outcome *o = call(put_call("/kv/a", "hello"));
    is_str(o->body, "2 /kv/a hello", "PUT");
    is_str(o->header, "server", "its header");
    o = call(get_call("/kv/a"));
    is_str(o->body, "0 /kv/a ", "GET after PUT on the same handle has no body");
    struct http_call c = get_call("/kv/a");
    c.method = HTTP_HEAD;
    o = call(c);
    ok(o->code == 0 && o->status == 200 && o->body_len == 0, "HEAD");
    c.method = HTTP_DELETE;
    is_str(call(c)->body, "4 /kv/a ", "DELETE");
    c = put_call("/kv/a", "p");
    c.method = HTTP_POST;
    is_str(call(c)->body, "3 /kv/a p", "POST");
    c = put_call("/big", "");
    c.body_len = 3 << 20;
    c.body = mem_zalloc(c.body_len);
    c.body_take = true;
    o = call(c);
    is_i64(o->status, 200, "a large body, without Expect");
    c = put_call("/big", "");
    c.body_len = 5 << 20;
    c.body = mem_zalloc(c.body_len);
    c.body_take = true;
    o = call(c);
    ok((o->code == 0 && o->status == 413) || o->code == ERR_UNKNOWN,
       "one over the limit is refused (%d, %d)", o->code, o->status);
    end();
}

static void test_many(void)
{
    with_server();
    f.left = MANY;
    for (int i = 0; i < MANY; i++) {
        char path[32];
        snprintf(path, sizeof(path), "/kv/%d", i);
        struct http_call c = put_call(path, "x");
        outcomes[i] = (struct outcome){.done = false};
        http_client_call(f.client, &c, on_done, &outcomes[i]);
    }
    loop_run(f.loop);
    unsigned good = 0;
    for (int i = 0; i < MANY; i++) {
        char want[32];
        snprintf(want, sizeof(want), "2 /kv/%d x", i);
        good += outcomes[i].done && strcmp(outcomes[i].body, want) == 0;
    }
    is_u64(good, MANY, "each of %d calls at once has its own answer", MANY);
    ok(http_server_connections(f.server) <= 8, "over few connections (%u)",
       http_server_connections(f.server));
    is_u64(http_client_pending(f.client), 0, "none is pending");
    end();
}

/* Calls from within a callback, one after the other. */
static void on_chain(void *argument, const struct http_result *r)
{
    unsigned *left = argument;
    must(r->code == 0);
    if (--*left == 0) {
        loop_stop(f.loop);
        return;
    }
    struct http_call c = put_call("/chain", "x");
    http_client_call(f.client, &c, on_chain, left);
}

static void test_chain(void)
{
    with_server();
    unsigned left = 200;
    struct http_call c = put_call("/chain", "x");
    uint64_t from_us = clock_now_us();
    http_client_call(f.client, &c, on_chain, &left);
    loop_run(f.loop);
    uint64_t each_us = (clock_now_us() - from_us) / 200;
    is_u64(left, 0, "200 calls, each made by the answer to the one before");
    ok(each_us < 20000, "none waits for a timer (%llu us each)", (unsigned long long)each_us);
    end();
}

static void test_free_pending(void)
{
    begin();
    f.listening = http_listen(&f.port); /* connects, and nobody answers */
    struct http_call c = put_call("/kv/a", "x");
    struct loop_timer *wait = loop_timer_new(f.loop, on_stop, NULL);
    f.left = 5;
    for (int i = 0; i < 3; i++) {
        outcomes[i] = (struct outcome){.done = false};
        http_client_call(f.client, &c, on_done, &outcomes[i]);
    }
    loop_timer_at(wait, clock_now_us() + 50000);
    loop_run(f.loop);
    outcomes[3] = (struct outcome){.done = false};
    http_client_call(f.client, &c, on_done, &outcomes[3]);
    http_client_free(f.client);
    f.client = NULL;
    for (int i = 0; i < 3; i++)
        ok(outcomes[i].done && outcomes[i].code == ERR_UNKNOWN && outcomes[i].sent,
           "what was sent has an unknown outcome");
    ok(outcomes[3].done && outcomes[3].code == ERR_UNREACHABLE && !outcomes[3].sent,
       "what was not sent says so");
    loop_timer_free(wait);
    end();
}

/* ---- on a bad line ---- */

static struct http_fate fate;
static unsigned fates_asked;

static struct http_fate tell_fate(void *argument, const char *url)
{
    fates_asked += argument == &fate && strcmp(url, f.url) == 0;
    return fate;
}

static uint64_t took_ms(struct http_call c)
{
    uint64_t from_us = clock_now_us();
    call(c);
    return (clock_now_us() - from_us) / 1000;
}

static void test_fates(void)
{
    struct http_call c;
    with_server();
    fates_asked = 0;
    http_client_fates(f.client, tell_fate, &fate);
    fate = (struct http_fate){.delay_ms = 80};
    ok(took_ms(put_call("/kv/late", "x")) >= 80, "sent later");
    is_str(outcomes[0].body, "2 /kv/late x", "and answered");
    fate = (struct http_fate){.lost = true};
    c = put_call("/kv/lost", "x");
    c.timeout_ms = 60;
    ok(took_ms(c) >= 60, "a lost call waits for its answer");
    ok(outcomes[0].code == ERR_TIMEOUT && outcomes[0].sent, "its outcome is unknown (%d)",
       outcomes[0].code);
    fate = (struct http_fate){.delay_ms = 60};
    ok(took_ms(c) >= 60 && outcomes[0].code == ERR_TIMEOUT && outcomes[0].sent,
       "so is that of one whose time is over before it is sent");
    fate = (struct http_fate){0};
    call(get_call("/kv/now"));
    is_str(outcomes[0].body, "0 /kv/now ", "others go out at once");
    is_u64(fates_asked, 4, "each is asked about once");
    /* Of those that wait, the one that is due first goes first. */
    f.left = 2;
    for (int i = 0; i < 2; i++) {
        fate.delay_ms = i == 0 ? 5000 : 20;
        c = put_call("/kv/a", "x");
        c.timeout_ms = i == 0 ? 100 : 10000;
        outcomes[i] = (struct outcome){.done = false};
        http_client_call(f.client, &c, on_done, &outcomes[i]);
    }
    loop_run(f.loop);
    ok(outcomes[0].code == ERR_TIMEOUT && outcomes[1].status == 200, "each has its own fate");
    /* Freed with some that wait: they never left. */
    fate = (struct http_fate){.lost = true};
    f.left = 2;
    outcomes[0] = (struct outcome){.done = false};
    c = put_call("/kv/a", "x");
    http_client_call(f.client, &c, on_done, &outcomes[0]);
    http_client_free(f.client);
    f.client = NULL;
    ok(outcomes[0].done && outcomes[0].code == ERR_UNREACHABLE && !outcomes[0].sent,
       "given up before it was sent");
    end();
}

int main(void)
{
    test_closed_after_request(false);
    test_closed_after_request(true);
    test_closed_idle();
    test_failures();
    test_unreachable();
    test_given_up_while_connecting();
    test_wire();
    test_server();
    test_many();
    test_chain();
    test_free_pending();
    test_fates();
    return done();
}
