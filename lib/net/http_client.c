/*
 * Asynchronous HTTP client: libcurl's multi socket interface on the loop.
 *
 * libcurl asks for its sockets to be watched and forgotten anew with every request. A descriptor
 * keeps its watch from socket() to close() instead, once it is connected: forgetting costs nothing
 * until something really arrives on a connection that nobody uses. Before, it is forgotten at once:
 * a connection that is given up while it is being made libcurl closes without telling of it
 * (7.88), and the loop must watch no descriptor that is not open, or somebody else's by now.
 *
 * Results are handed out once a turn, in its first stage; what was called during the turn is
 * started in its last.
 */
#include "lib/net/http_client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/limits.h"
#include "lib/base/mem.h"
#include "lib/net/curl_usual.h"
#include "lib/net/private.h"

struct socket_watch {
    struct loop_poll *poll;
    struct http_client *client;
    int fd;
    bool ours;      /* opened for a connection … */
    bool connected; /* … which was made, so its closing will be told */
    bool wanted;    /* libcurl waits for something on it */
};

struct call {
    struct call *prev, *next; /* in the list of running or of free ones */
    struct http_client *client;
    CURL *easy;
    struct curl_slist *headers;
    void *body;
    http_done *done;
    void *argument;
    struct buf reply;
    bool idempotent;
    bool too_large;
    bool held, lost;           /* not with libcurl: to be sent, or given up, at due_us */
    uint64_t due_us, until_us; /* the latter: its whole time is over */
    unsigned sendings;
    char detail[CURL_ERROR_SIZE];
};

struct http_client {
    struct loop *loop;
    CURLM *multi;
    struct http_client_options options;
    struct loop_timer *timer;
    char *user_agent;              /* NULL: none */
    struct socket_watch **watches; /* by descriptor */
    size_t watch_count;
    struct call *running, *unused;
    unsigned pending, held, unused_count;
    http_fate_of *fate_of; /* NULL: no call is held */
    void *fate_argument;
    struct loop_timer *held_timer; /* the first that is due */
    bool kick;                     /* calls were added */
    bool handing;                  /* results may be there */
    bool finishing;                /* http_client_free runs */
};

/* ---- sockets ---- */

static void on_socket_event(void *argument, int events)
{
    struct socket_watch *w = argument;
    struct http_client *c = w->client;
    if (!w->wanted) {
        /* A connection that nobody uses was closed, or worse: libcurl looks before it uses it. */
        loop_poll_set(w->poll, 0);
        return;
    }
    int bits = (events & POLL_READ ? CURL_CSELECT_IN : 0) |
               (events & POLL_WRITE ? CURL_CSELECT_OUT : 0) |
               (events & POLL_ERROR ? CURL_CSELECT_ERR : 0);
    int running;
    curl_multi_socket_action(c->multi, w->fd, bits, &running);
    c->handing = true;
}

static struct socket_watch *watch_of(struct http_client *c, int fd)
{
    size_t at = (size_t)fd;
    if (at >= c->watch_count) {
        size_t count = at + 64;
        c->watches = mem_realloc(c->watches, count * sizeof(c->watches[0]));
        memset(c->watches + c->watch_count, 0, (count - c->watch_count) * sizeof(c->watches[0]));
        c->watch_count = count;
    }
    if (!c->watches[at]) {
        struct socket_watch *w = mem_zalloc(sizeof(*w));
        w->client = c;
        w->fd = fd;
        c->watches[at] = w;
    }
    return c->watches[at];
}

static void unwatch(struct http_client *c, int fd)
{
    size_t at = (size_t)fd;
    if (at >= c->watch_count || !c->watches[at])
        return;
    loop_poll_free(c->watches[at]->poll);
    mem_free(c->watches[at]);
    c->watches[at] = NULL;
}

static curl_socket_t on_open(void *client, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    struct socket_watch *w = watch_of(client, fd);
    w->ours = true;
    if (w->poll) { /* of the one before, which was closed a moment ago: libcurl may not ask anew */
        int events = loop_poll_events(w->poll);
        loop_poll_free(w->poll);
        w->poll = NULL;
        w->connected = false;
        if (w->wanted &&
            loop_poll_new(w->client->loop, fd, on_socket_event, w, &w->poll, NULL) == 0)
            loop_poll_set(w->poll, events);
    }
    return fd;
}

static bool is_connected(struct socket_watch *w)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    if (!w->connected)
        w->connected = getpeername(w->fd, (struct sockaddr *)&peer, &len) == 0;
    return w->connected;
}

static int on_close(void *client, curl_socket_t fd)
{
    unwatch(client, fd);
    return close(fd);
}

static int on_want(CURL *easy, curl_socket_t fd, int what, void *client, void *ignored)
{
    struct http_client *c = client;
    (void)easy;
    (void)ignored;
    struct socket_watch *w = watch_of(c, fd);
    w->wanted = what != CURL_POLL_REMOVE;
    if (!w->wanted) {
        if (!w->ours || !is_connected(w)) /* closed without a word; so does the resolver */
            unwatch(c, fd);
        return 0;
    }
    if (!w->poll && loop_poll_new(c->loop, fd, on_socket_event, w, &w->poll, NULL) < 0)
        return -1;
    /* Reading stays watched throughout. */
    loop_poll_set(w->poll, POLL_READ | (what & CURL_POLL_OUT ? POLL_WRITE : 0));
    return 0;
}

/* ---- time ---- */

static int on_timeout_wanted(CURLM *multi, long timeout_ms, void *client)
{
    struct http_client *c = client;
    (void)multi;
    uint64_t when_us = UINT64_MAX;
    if (timeout_ms > 0)
        when_us = loop_now_us(c->loop) + (uint64_t)timeout_ms * 1000;
    else if (timeout_ms == 0)
        c->kick = true; /* in the last stage of this turn; must not be done in here */
    if (c->kick)
        loop_again(c->loop);
    loop_timer_at(c->timer, when_us);
    return 0;
}

static void on_timer(void *client)
{
    struct http_client *c = client;
    int running;
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    c->handing = true;
}

/* ---- one call ---- */

static size_t on_reply_body(char *data, size_t size, size_t count, void *argument)
{
    struct call *call = argument;
    if (buf_append(&call->reply, data, size * count) == 0)
        return size * count;
    call->too_large = true;
    return 0;
}

/* Before each sending. libcurl sends again by itself when a kept connection dies before the first
 * byte of the reply, and cannot know whether the first one had its effect. */
static int on_sending(void *argument, char *peer, char *local, int peer_port, int local_port)
{
    struct call *call = argument;
    (void)peer;
    (void)local;
    (void)peer_port;
    (void)local_port;
    if (call->sendings++ && !call->idempotent)
        return CURL_PREREQFUNC_ABORT;
    return CURL_PREREQFUNC_OK;
}

/* What is equal for all calls, and stays when the handle is used again. */
static void set_constants(struct call *call)
{
    CURL *e = call->easy;
    struct http_client *c = call->client;
    curl_easy_setopt(e, CURLOPT_PRIVATE, call);
    curl_usual(e);
    curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)LIMIT_HTTP_CLIENT_IDLE_S);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)c->options.connect_timeout_ms);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 64L << 10);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, call->detail);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, c);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, c);
    curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_sending);
    curl_easy_setopt(e, CURLOPT_PREREQDATA, call);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_reply_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
}

static struct call *call_new(struct http_client *c)
{
    struct call *call = c->unused;
    if (call) {
        c->unused = call->next;
        c->unused_count--;
        call->too_large = call->held = call->lost = false;
        call->sendings = 0;
        call->detail[0] = '\0';
    } else {
        call = mem_zalloc(sizeof(*call));
        call->client = c;
        call->easy = curl_easy_init();
        ASSERT(call->easy);
        set_constants(call);
    }
    call->prev = NULL;
    call->next = c->running;
    if (call->next)
        call->next->prev = call;
    c->running = call;
    c->pending++;
    return call;
}

static void call_destroy(struct call *call)
{
    curl_easy_cleanup(call->easy);
    mem_free(call);
}

/* Out of the list of running ones, without what belonged to this call alone. */
static void call_recycle(struct call *call)
{
    struct http_client *c = call->client;
    *(call->prev ? &call->prev->next : &c->running) = call->next;
    if (call->next)
        call->next->prev = call->prev;
    c->pending--;
    curl_slist_free_all(call->headers);
    call->headers = NULL;
    mem_free(call->body);
    call->body = NULL;
    buf_release(&call->reply);
    if (c->unused_count >= LIMIT_HTTP_CLIENT_UNUSED || c->finishing) {
        call_destroy(call);
        return;
    }
    call->next = c->unused;
    c->unused = call;
    c->unused_count++;
}

static void add_header(struct call *call, const char *line)
{
    struct curl_slist *longer = curl_slist_append(call->headers, line);
    ASSERT(longer);
    call->headers = longer;
}

static void set_headers(struct call *call, const struct http_call *wanted)
{
    bool type = false, accept = false;
    char small[256];
    for (size_t i = 0; i < wanted->header_count; i++) {
        const struct http_header *h = &wanted->headers[i];
        size_t bytes = strlen(h->name) + strlen(h->value) + 3;
        char *line = bytes <= sizeof(small) ? small : mem_alloc(bytes);
        /* "Name;" is libcurl's way to write a header without a value. */
        snprintf(line, bytes, *h->value ? "%s: %s" : "%s;%s", h->name, h->value);
        add_header(call, line);
        if (line != small)
            mem_free(line);
        type = type || strcasecmp(h->name, "Content-Type") == 0;
        accept = accept || strcasecmp(h->name, "Accept") == 0;
    }
    /* "Name:" leaves out what libcurl would add. */
    add_header(call, "Expect:");
    if (!accept)
        add_header(call, "Accept:");
    if (!type)
        add_header(call, "Content-Type:");
    curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers);
}

static void set_method(struct call *call, const struct http_call *wanted)
{
    CURL *e = call->easy;
    curl_easy_setopt(e, CURLOPT_NOBODY, 0L);
    curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, NULL);
    if (wanted->method == HTTP_GET)
        return;
    if (wanted->method == HTTP_HEAD) {
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
        return;
    }
    if (wanted->method == HTTP_DELETE && wanted->body_len == 0) {
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, "DELETE");
        return;
    }
    /* A POST under another name: its body is memory, not something to be read from. */
    curl_easy_setopt(e, CURLOPT_POST, 1L);
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)wanted->body_len);
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, wanted->body_len ? call->body : "");
    if (wanted->method != HTTP_POST)
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, wanted->method == HTTP_PUT ? "PUT" : "DELETE");
}

static void start_call(struct call *call, uint32_t timeout_ms)
{
    struct http_client *c = call->client;
    curl_easy_setopt(call->easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    CURLMcode rc = curl_multi_add_handle(c->multi, call->easy);
    ASSERT(rc == CURLM_OK);
    c->kick = true;
    loop_again(c->loop);
}

/* ---- calls on a bad line ---- */

static void watch_held(struct http_client *c)
{
    uint64_t first_us = UINT64_MAX;
    for (struct call *call = c->running; call; call = call->next)
        if (call->held && call->due_us < first_us)
            first_us = call->due_us;
    loop_timer_at(c->held_timer, first_us);
}

static void held_due(void *client)
{
    struct http_client *c = client;
    c->handing = true; /* in the first stage of this turn */
}

/* false: it goes out at once. */
static bool hold(struct call *call, const struct http_call *wanted)
{
    struct http_client *c = call->client;
    struct http_fate fate = c->fate_of(c->fate_argument, wanted->url);
    if (!fate.lost && fate.delay_ms == 0)
        return false;
    uint64_t now_us = loop_now_us(c->loop);
    call->held = true;
    call->lost = fate.lost || fate.delay_ms >= wanted->timeout_ms;
    call->until_us = now_us + (uint64_t)wanted->timeout_ms * 1000;
    call->due_us = call->lost ? call->until_us : now_us + fate.delay_ms * 1000;
    c->held++;
    watch_held(c);
    return true;
}

static struct call *first_due(const struct http_client *c, uint64_t now_us)
{
    struct call *due = NULL;
    for (struct call *call = c->running; call; call = call->next)
        if (call->held && call->due_us <= now_us && (!due || call->due_us < due->due_us))
            due = call;
    return due;
}

static void finish(struct call *call, CURLcode code);

static void release_held(struct http_client *c)
{
    uint64_t now_us = loop_now_us(c->loop);
    for (struct call *call; c->held > 0 && (call = first_due(c, now_us)) != NULL;) {
        call->held = false;
        c->held--;
        if (call->lost || call->until_us <= now_us) {
            call->sendings = 1; /* for all that its sender can know */
            finish(call, CURLE_OPERATION_TIMEDOUT);
        } else {
            start_call(call, (uint32_t)((call->until_us - now_us + 999) / 1000));
        }
    }
    watch_held(c);
}

void http_client_fates(struct http_client *c, http_fate_of *fate_of, void *argument)
{
    c->fate_of = fate_of;
    c->fate_argument = argument;
}

/* ---- a call ---- */

void http_client_call(struct http_client *c, const struct http_call *wanted, http_done *done,
                      void *argument)
{
    ASSERT(wanted->method != HTTP_OTHER && wanted->timeout_ms > 0 && !c->finishing);
    struct call *call = call_new(c);
    union {
        const void *in;
        void *out;
    } body = {.in = wanted->body};
    call->done = done;
    call->argument = argument;
    call->idempotent = wanted->idempotent;
    if (wanted->body_take)
        call->body = body.out;
    else if (wanted->body_len)
        call->body = mem_dup(wanted->body, wanted->body_len);
    buf_init(&call->reply, wanted->reply_max);
    curl_easy_setopt(call->easy, CURLOPT_URL, wanted->url);
    set_method(call, wanted);
    set_headers(call, wanted);
    if (c->user_agent)
        curl_easy_setopt(call->easy, CURLOPT_USERAGENT, c->user_agent);
    if (!c->fate_of || !hold(call, wanted))
        start_call(call, wanted->timeout_ms);
}

/* ---- results ---- */

static int result_code(const struct call *call, CURLcode code)
{
    if (code == CURLE_OK)
        return 0;
    if (call->sendings == 0)
        return ERR_UNREACHABLE;
    if (call->too_large)
        return ERR_TOO_LARGE;
    return code == CURLE_OPERATION_TIMEDOUT ? ERR_TIMEOUT : ERR_UNKNOWN;
}

static void finish(struct call *call, CURLcode code)
{
    struct http_client *c = call->client;
    long status = 0;
    const char *detail = call->detail[0] ? call->detail : curl_easy_strerror(code);
    if (call->sendings > 1 && !call->idempotent)
        detail = "the connection was closed before the reply";
    else if (call->too_large)
        detail = "the reply is too large";
    else if (c->finishing)
        detail = "given up";
    struct http_result result = {
        .code = result_code(call, code),
        .sent = call->sendings > 0,
        .body = slice_of(call->reply.data, call->reply.len),
        .detail = detail,
        .opaque = call->easy,
    };
    if (result.code == 0) {
        curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
        result.status = (int)status;
        result.detail = "";
    }
    if (call->held)
        c->held--; /* http_client_free */
    curl_multi_remove_handle(c->multi, call->easy);
    call->done(call->argument, &result);
    call_recycle(call);
}

const char *http_result_header(const struct http_result *r, const char *name)
{
    struct curl_header *header;
    if (curl_easy_header(r->opaque, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return NULL;
    return header->value;
}

/* First stage of a turn. */
static void hand_out(void *client)
{
    struct http_client *c = client;
    int left;
    CURLMsg *m;
    if (!c->handing)
        return;
    c->handing = false;
    if (c->held > 0)
        release_held(c);
    while ((m = curl_multi_info_read(c->multi, &left))) {
        if (m->msg != CURLMSG_DONE)
            continue;
        char *call;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &call);
        finish((struct call *)(void *)call, m->data.result);
    }
}

/* Last stage of a turn. */
static void start_added(void *client)
{
    struct http_client *c = client;
    int running;
    if (!c->kick)
        return;
    c->kick = false;
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    c->handing = true;
    if ((unsigned)running + c->held < c->pending) /* some ended at once */
        loop_again(c->loop);
}

/* ---- life ---- */

int http_client_new(struct loop *l, const struct http_client_options *options,
                    struct http_client **out, struct err *err)
{
    ASSERT(options->connections_per_host > 0 && options->connect_timeout_ms > 0);
    static bool initialised; /* by the first thread that has a loop, before it has another */
    if (!initialised && curl_global_init(CURL_GLOBAL_ALL) != 0)
        return err_set(err, ERR_IO, "cannot start libcurl");
    initialised = true;
    struct http_client *c = mem_zalloc(sizeof(*c));
    c->loop = l;
    c->options = *options;
    c->multi = curl_multi_init();
    if (!c->multi) {
        mem_free(c);
        return err_set(err, ERR_IO, "cannot make a client of libcurl");
    }
    c->timer = loop_timer_new(l, on_timer, c);
    c->held_timer = loop_timer_new(l, held_due, c);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_want);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timeout_wanted);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    curl_multi_setopt(c->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)options->connections_per_host);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)LIMIT_HTTP_CLIENT_KEPT);
    loop_hook_add(l, LOOP_FIRST, hand_out, c);
    loop_hook_add(l, LOOP_LAST, start_added, c);
    *out = c;
    return 0;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    c->finishing = true;
    while (c->running)
        finish(c->running, CURLE_ABORTED_BY_CALLBACK);
    loop_hook_remove(c->loop, LOOP_FIRST, hand_out, c);
    loop_hook_remove(c->loop, LOOP_LAST, start_added, c);
    for (struct call *call = c->unused, *next; call; call = next) {
        next = call->next;
        call_destroy(call);
    }
    curl_multi_cleanup(c->multi);
    for (size_t i = 0; i < c->watch_count; i++)
        unwatch(c, (int)i);
    mem_free(c->watches);
    loop_timer_free(c->timer);
    mem_free(c->user_agent);
    loop_timer_free(c->held_timer);
    mem_free(c);
}

void http_client_user_agent(struct http_client *c, const char *text)
{
    mem_free(c->user_agent);
    c->user_agent = mem_strdup(text);
}

unsigned http_client_pending(const struct http_client *c)
{
    return c->pending;
}

/* ---- addresses ---- */

static bool host_char(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
           ch == '.' || ch == '-' || ch == '_';
}

bool url_valid(const char *url, struct err *err)
{
    static const char scheme[] = "http://";
    const char *at = url;
    size_t len = strlen(url);
    if (len > LIMIT_URL_BYTES) {
        err_set(err, ERR_BAD_REQUEST, "a URL has at most %d bytes", LIMIT_URL_BYTES);
        return false;
    }
    bool good = strncmp(url, scheme, sizeof(scheme) - 1) == 0;
    if (good) {
        at += sizeof(scheme) - 1;
        const char *host = at;
        if (*at == '[') {
            host = ++at;
            at += strspn(at, "0123456789abcdefABCDEF:.");
            good = at > host && *at++ == ']';
        } else {
            while (host_char(*at))
                at++;
            good = at > host;
        }
    }
    if (good && *at == ':') {
        const char *port = ++at;
        unsigned number = 0;
        for (; *at >= '0' && *at <= '9' && at - port < 6; at++)
            number = number * 10 + (unsigned)(*at - '0');
        good = at > port && number >= 1 && number <= 65535;
    }
    if (good && *at == '\0')
        return true;
    err_set(err, ERR_BAD_REQUEST, "'%s' is not of the form http://HOST:PORT", url);
    return false;
}
