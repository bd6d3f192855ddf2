/*
 * libcurl on epoll; see channel_internal.h.
 *
 * libcurl asks for its sockets to be watched and forgotten anew with every request. A connection's
 * descriptor stays watched for reading until it is closed, which takes it out of the epoll set by
 * itself: so a request costs no epoll_ctl.
 */
#include "lib/bench/channel_internal.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/base/version.h"
#include "lib/net/curl_usual.h"

enum {
    EVENTS = 256,          /* taken at a time */
    CONNECT_MS_MAX = 2000, /* for a connection, within the request's time */
    REPLY_BYTES_MAX = 64 << 20,
    RECEIVE_BYTES = 64 << 10,
};

struct channel_call {
    struct channel *channel;
    struct channel_call *next; /* of all */
    CURL *easy;
    void *owner;
    struct buf body;
    struct channel_reply reply;
    enum channel_method method; /* that the handle is set to */
    bool conditional;           /* it has a header of its own */
    struct curl_slist *headers;
    unsigned sendings;
};

struct watch {
    uint32_t events; /* as epoll has them; 0: not in the set */
    bool ours;       /* opened by us for a connection */
    bool wanted;
};

struct channel {
    CURLM *multi;
    struct channel_options options;
    int epoll;
    struct watch *watches; /* by descriptor */
    size_t watch_count;
    uint64_t due_us; /* libcurl's timer */
    struct channel_call *calls;
    struct curl_slist *headers; /* of every request */
    char cluster_line[sizeof("RaftKV-Cluster: ") + HEX128_BYTES];
    unsigned pending;
    bool fine_waits; /* the kernel has epoll_pwait2 */
};

/* ---- sockets ---- */

static struct watch *watch_of(struct channel *c, int fd)
{
    size_t at = (size_t)fd;
    if (at >= c->watch_count) {
        size_t count = at + 64;
        c->watches = mem_realloc(c->watches, count * sizeof(c->watches[0]));
        memset(c->watches + c->watch_count, 0, (count - c->watch_count) * sizeof(c->watches[0]));
        c->watch_count = count;
    }
    return &c->watches[at];
}

static curl_socket_t on_open(void *channel, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    *watch_of(channel, fd) = (struct watch){.ours = true};
    return fd;
}

static int on_close(void *channel, curl_socket_t fd)
{
    *watch_of(channel, fd) = (struct watch){0};
    return close(fd);
}

static int set_events(struct channel *c, int fd, uint32_t events)
{
    struct watch *w = watch_of(c, fd);
    struct epoll_event e = {.events = events, .data.fd = fd};
    if (w->events == events)
        return 0;
    int op = events == 0 ? EPOLL_CTL_DEL : w->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    int rc = epoll_ctl(c->epoll, op, fd, &e);
    /* Closed without a word by libcurl and opened again: then it is the other of the two. */
    if (rc != 0 && (errno == EEXIST || errno == ENOENT) && op != EPOLL_CTL_DEL)
        rc = epoll_ctl(c->epoll, errno == EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e);
    w->events = events;
    return op == EPOLL_CTL_DEL ? 0 : rc;
}

static int on_want(CURL *easy, curl_socket_t fd, int what, void *channel, void *ignored)
{
    struct channel *c = channel;
    (void)easy;
    (void)ignored;
    struct watch *w = watch_of(c, fd);
    w->wanted = what != CURL_POLL_REMOVE;
    if (!w->wanted)
        return w->ours ? 0 : set_events(c, fd, 0);
    return set_events(c, fd, EPOLLIN | (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0));
}

static int on_timeout(CURLM *multi, long timeout_ms, void *channel)
{
    struct channel *c = channel;
    (void)multi;
    c->due_us = timeout_ms < 0 ? UINT64_MAX : clock_now_us() + (uint64_t)timeout_ms * 1000;
    if (timeout_ms == 0)
        c->due_us = 0;
    return 0;
}

static void act_on(struct channel *c, const struct epoll_event *e)
{
    int fd = e->data.fd, running;
    if (!watch_of(c, fd)->wanted) {
        /* An idle connection that was closed, or worse: libcurl looks before it uses it. */
        set_events(c, fd, 0);
        return;
    }
    int bits = (e->events & EPOLLIN ? CURL_CSELECT_IN : 0) |
               (e->events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
               (e->events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
    curl_multi_socket_action(c->multi, fd, bits, &running);
}

/* ---- a request ---- */

static size_t on_body(char *data, size_t size, size_t count, void *argument)
{
    struct channel_call *call = argument;
    return buf_append(&call->body, data, size * count) == 0 ? size * count : 0;
}

/* The number in a header's value, quoted or not. */
static uint64_t number_in(const char *value)
{
    while (*value == ' ' || *value == '"')
        value++;
    return strtoull(value, NULL, 10);
}

static void take_leader(struct channel_call *call, const char *value, size_t len)
{
    while (len > 0 && *value == ' ')
        value++, len--;
    while (len > 0 && strchr("\r\n ", value[len - 1]))
        len--;
    if (len > LIMIT_NAME_BYTES)
        return;
    memcpy(call->reply.leader, value, len);
    call->reply.leader[len] = '\0';
}

static size_t on_header(char *line, size_t size, size_t count, void *argument)
{
    struct channel_call *call = argument;
    size_t len = size * count; /* libcurl puts a NUL behind it */
    if (len > 5 && strncasecmp(line, "ETag:", 5) == 0) {
        call->reply.has_version = true;
        call->reply.version = number_in(line + 5);
    } else if (len > 7 && strncasecmp(line, "RaftKV-", 7) == 0) {
        if (len > 12 && strncasecmp(line + 7, "Node:", 5) == 0) {
            call->reply.from_node = true;
        } else if (len > 13 && strncasecmp(line + 7, "Index:", 6) == 0) {
            call->reply.has_index = true;
            call->reply.index = number_in(line + 13);
        } else if (len > 14 && strncasecmp(line + 7, "Leader:", 7) == 0) {
            take_leader(call, line + 14, len - 14);
        }
    }
    return len;
}

static int on_sending(void *argument, char *peer, char *local, int peer_port, int local_port)
{
    struct channel_call *call = argument;
    (void)peer;
    (void)local;
    (void)peer_port;
    (void)local_port;
    return call->sendings++ > 0 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static void set_constants(struct channel_call *call)
{
    CURL *e = call->easy;
    struct channel *c = call->channel;
    uint32_t connect_ms =
        c->options.timeout_ms < CONNECT_MS_MAX ? c->options.timeout_ms : CONNECT_MS_MAX;
    curl_easy_setopt(e, CURLOPT_PRIVATE, call);
    curl_usual(e);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)c->options.timeout_ms);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)RECEIVE_BYTES);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, c);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, c);
    curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_sending);
    curl_easy_setopt(e, CURLOPT_PREREQDATA, call);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, call);
}

struct channel_call *channel_call_new(struct channel *c, void *owner)
{
    struct channel_call *call = mem_zalloc(sizeof(*call));
    call->channel = c;
    call->owner = owner;
    call->easy = curl_easy_init();
    ASSERT(call->easy);
    buf_init(&call->body, REPLY_BYTES_MAX);
    set_constants(call);
    call->next = c->calls;
    c->calls = call;
    return call;
}

static void set_method(struct channel_call *call, enum channel_method method)
{
    if (call->method == method)
        return;
    CURL *e = call->easy;
    call->method = method;
    if (method == CHANNEL_PUT) {
        curl_easy_setopt(e, CURLOPT_POST, 1L); /* whose body is memory */
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, "PUT");
        return;
    }
    curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, method == CHANNEL_DELETE ? "DELETE" : NULL);
}

static struct curl_slist *append(struct curl_slist *list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(list, line);
    ASSERT(longer);
    return longer;
}

/* What libcurl would add is left out by "Name:". */
static struct curl_slist *usual_headers(const struct channel *c)
{
    struct curl_slist *list = append(NULL, "Expect:");
    if (c->cluster_line[0])
        list = append(list, c->cluster_line);
    list = append(list, "Accept:");
    list = append(list, "Content-Type:");
    return append(list, "User-Agent: raftkv-bench/" RAFTKV_VERSION);
}

static void set_condition(struct channel_call *call, const char *condition)
{
    if (!condition && !call->conditional)
        return;
    struct curl_slist *old = call->headers;
    call->headers = condition ? append(usual_headers(call->channel), condition) : NULL;
    call->conditional = condition != NULL;
    curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER,
                     condition ? call->headers : call->channel->headers);
    curl_slist_free_all(old);
}

void channel_send(struct channel_call *call, const struct channel_request *request)
{
    struct channel *c = call->channel;
    CURL *e = call->easy;
    set_method(call, request->method);
    set_condition(call, request->condition);
    if (request->method == CHANNEL_PUT) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        curl_easy_setopt(e, CURLOPT_POSTFIELDS,
                         request->body.len ? request->body.data : (const uint8_t *)"");
    }
    curl_easy_setopt(e, CURLOPT_URL, request->url);
    buf_clear(&call->body);
    memset(&call->reply, 0, sizeof(call->reply));
    call->sendings = 0;
    CURLMcode rc = curl_multi_add_handle(c->multi, e);
    ASSERT(rc == CURLM_OK);
    c->pending++;
    c->due_us = 0;
}

/* ---- replies ---- */

static void finish(struct channel_call *call, CURLcode code)
{
    struct channel *c = call->channel;
    struct channel_reply *r = &call->reply;
    long status = 0;
    r->sent = call->sendings > 0;
    if (code == CURLE_OK) {
        curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
        r->status = (int)status;
    } else if (!r->sent) {
        r->code = ERR_UNREACHABLE;
    } else {
        r->code = code == CURLE_OPERATION_TIMEDOUT ? ERR_TIMEOUT : ERR_UNKNOWN;
    }
    r->body = slice_of(call->body.data, call->body.len);
    curl_multi_remove_handle(c->multi, call->easy);
    c->pending--;
    c->options.done(call->owner, r);
}

static void hand_out(struct channel *c)
{
    int left;
    CURLMsg *m;
    while ((m = curl_multi_info_read(c->multi, &left))) {
        if (m->msg != CURLMSG_DONE)
            continue;
        char *call;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &call);
        finish((struct channel_call *)(void *)call, m->data.result);
    }
}

/* ---- time ---- */

static int wait_events(struct channel *c, struct epoll_event *events, uint64_t until_us)
{
    uint64_t now = clock_now_us();
    if (c->due_us < until_us)
        until_us = c->due_us;
    uint64_t left_us = until_us > now ? until_us - now : 0;
    if (until_us == UINT64_MAX)
        left_us = 1000000;
    if (c->fine_waits) {
        struct timespec left = {(time_t)(left_us / 1000000), (long)(left_us % 1000000) * 1000};
        int count = epoll_pwait2(c->epoll, events, EVENTS, &left, NULL);
        if (count >= 0 || errno != ENOSYS)
            return count;
        c->fine_waits = false;
    }
    return epoll_wait(c->epoll, events, EVENTS, (int)((left_us + 999) / 1000));
}

static void run_timer(struct channel *c)
{
    int running;
    if (c->due_us == UINT64_MAX || (c->due_us > 0 && c->due_us > clock_now_us()))
        return;
    c->due_us = UINT64_MAX;
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

void channel_turn(struct channel *c, uint64_t until_us)
{
    struct epoll_event events[EVENTS];
    run_timer(c);
    hand_out(c);
    int count = wait_events(c, events, until_us);
    for (int i = 0; i < count; i++)
        act_on(c, &events[i]);
    run_timer(c);
    hand_out(c);
}

/* ---- life ---- */

int channel_global_init(struct err *err)
{
    return curl_global_init(CURL_GLOBAL_ALL) == 0 ? 0
                                                  : err_set(err, ERR_IO, "cannot start libcurl");
}

int channel_new(const struct channel_options *options, struct channel **out, struct err *err)
{
    ASSERT(options->connections > 0 && options->timeout_ms > 0);
    struct channel *c = mem_zalloc(sizeof(*c));
    c->options = *options;
    c->due_us = UINT64_MAX;
    c->fine_waits = true;
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->multi = curl_multi_init();
    if (c->epoll < 0 || !c->multi) {
        err_errno(err, ERR_IO, errno, "epoll");
        channel_free(c);
        return ERR_IO;
    }
    if (options->cluster && options->cluster[0])
        snprintf(c->cluster_line, sizeof(c->cluster_line), "RaftKV-Cluster: %s", options->cluster);
    c->headers = usual_headers(c);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_want);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)options->connections);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)options->connections);
    *out = c;
    return 0;
}

void channel_free(struct channel *c)
{
    if (!c)
        return;
    for (struct channel_call *call = c->calls, *next; call; call = next) {
        next = call->next;
        curl_multi_remove_handle(c->multi, call->easy);
        curl_easy_cleanup(call->easy);
        curl_slist_free_all(call->headers);
        buf_release(&call->body);
        mem_free(call);
    }
    curl_multi_cleanup(c->multi);
    curl_slist_free_all(c->headers);
    if (c->epoll >= 0)
        close(c->epoll);
    mem_free(c->watches);
    mem_free(c);
}

unsigned channel_pending(const struct channel *c)
{
    return c->pending;
}
