/*
 * Requests and replies over libmicrohttpd in external epoll mode.
 *
 * libmicrohttpd calls on_request at least twice for a request: after its headers, once for each
 * piece of the body, and at its end. A reply queued in the first call makes it close the
 * connection, so answers are given in the last one, at once or later. Only a refusal of a body that
 * is still to come is given in the first.
 *
 * Until there is a reply, it calls on_request again each time that it runs. To suspend the
 * connection meanwhile costs two epoll_ctl and, since it is taken for readable afterwards, a recv:
 * a fifth of what the loop does for a GET. So that comes only when the reply takes long.
 *
 * The target is taken before libmicrohttpd decodes it, since it does so into C strings.
 */
#include "lib/net/http_server.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/net/server_internal.h"

enum {
    RUNS_MAX = 3,   /* of the daemon, in one turn of the loop */
    LOOKS_MAX = 16, /* at a request that waits for its reply, before it is suspended … */
    LOOKS_FOR = 4,  /* … but one for so many that wait: few would keep the loop turning alone */
    STOP_ROUNDS = 64,
};

static struct request *request_of(struct http_request *r)
{
    return (struct request *)r; /* its first member */
}

/* ---- replies ---- */

static void add_headers(struct MHD_Response *response, const struct http_reply *reply, bool close)
{
    const char *type = reply->content_type;
    if (!type && reply->body_len)
        type = "application/json";
    if (type)
        MHD_add_response_header(response, "Content-Type", type);
    for (size_t i = 0; i < reply->header_count; i++) {
        const struct http_header *h = &reply->headers[i];
        if (MHD_add_response_header(response, h->name, h->value) != MHD_YES)
            log_error("reply_header", "name=%s problem=\"refused by libmicrohttpd\"", h->name);
    }
    if (close)
        MHD_add_response_header(response, "Connection", "close");
}

/* Only read, or given away, but libmicrohttpd has no type for the former. */
static void *body_of(const void *body)
{
    union {
        const void *in;
        void *out;
    } it = {.in = body};
    return it.out;
}

static void queue_reply(struct request *r, const struct http_reply *reply)
{
    struct connection *c = r->connection;
    enum MHD_ResponseMemoryMode mode =
        reply->body_take ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_MUST_COPY;
    if (!reply->body)
        mode = MHD_RESPMEM_PERSISTENT;
    struct MHD_Response *response = MHD_create_response_from_buffer(
        reply->body ? reply->body_len : 0, body_of(reply->body ? reply->body : ""), mode);
    ASSERT(response); /* it allocates a few hundred bytes */
    add_headers(response, reply, reply->close || r->close || c->server->listen_fd < 0);
    r->state = REQUEST_ANSWERED;
    connection_phase(c, PHASE_REPLY);
    MHD_queue_response(r->mhd, (unsigned)reply->status, response);
    MHD_destroy_response(response);
}

static void request_free(struct request *r)
{
    buf_release(&r->body);
    if (r->target != r->target_small)
        mem_free(r->target);
    mem_free(r);
}

/* The client has gone: nobody hears it. */
static void drop_reply(struct request *r, const struct http_reply *reply)
{
    if (reply->body_take)
        mem_free(body_of(reply->body));
    request_free(r);
}

void http_reply(struct http_request *request, const struct http_reply *reply)
{
    struct request *r = request_of(request);
    struct http_server *s = r->server;
    ASSERT(r->state == REQUEST_HANDED || r->refusing);
    if (r->state == REQUEST_HANDED) {
        *(r->prev ? &r->prev->next : &s->handed) = r->next;
        if (r->next)
            r->next->prev = r->prev;
        s->pending--;
    }
    if (!r->connection) {
        drop_reply(r, reply);
        return;
    }
    struct MHD_Connection *suspended = r->suspended ? r->mhd : NULL;
    struct buf body = r->body; /* the reply may point into it */
    buf_init(&r->body, 0);
    s->answered = true;    /* nobody's descriptor tells of it */
    queue_reply(r, reply); /* outside the handler this can be the end of the request */
    buf_release(&body);
    if (suspended)
        MHD_resume_connection(suspended);
}

static void refuse(struct request *r, int status, const char *why, uint64_t limit, uint64_t actual)
{
    struct http_server *s = r->server;
    r->refusing = true;
    if (s->options.refusal)
        s->options.refusal(s->options.self, &r->pub, status, why, limit, actual);
    else
        http_reply(&r->pub, &(struct http_reply){.status = status});
    s->refused++;
}

/* ---- the head of a request ---- */

struct head {
    struct request *request;
    unsigned hosts, lengths, encodings;
    const char *length, *encoding;
    bool malformed, too_many;
};

static bool token(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (name[i] <= ' ' || name[i] == 0x7f || name[i] == '"' || name[i] == '(' || name[i] == ')')
            return false;
    return len > 0;
}

static enum MHD_Result on_header(void *argument, enum MHD_ValueKind kind, const char *name,
                                 size_t name_len, const char *value, size_t value_len)
{
    struct head *h = argument;
    struct request *r = h->request;
    (void)kind;
    (void)value_len;
    /* "Host : x" and the like: another server may read it otherwise (RFC 9112 §5.1). */
    if (!token(name, name_len))
        h->malformed = true;
    if (r->header_count == LIMIT_HTTP_HEADERS) {
        h->too_many = true;
        return MHD_NO;
    }
    r->headers[r->header_count++] = (struct http_header){name, value ? value : ""};
    if (name_len == 4 && strcasecmp(name, "Host") == 0) {
        h->hosts++;
    } else if (name_len == 14 && strcasecmp(name, "Content-Length") == 0) {
        h->lengths++;
        h->length = value;
    } else if (name_len == 17 && strcasecmp(name, "Transfer-Encoding") == 0) {
        h->encodings++;
        h->encoding = value;
    }
    return MHD_YES;
}

static enum http_method method_of(const char *name)
{
    static const struct {
        const char *name;
        enum http_method method;
    } table[] = {{"GET", HTTP_GET},
                 {"PUT", HTTP_PUT},
                 {"POST", HTTP_POST},
                 {"DELETE", HTTP_DELETE},
                 {"HEAD", HTTP_HEAD}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].method;
    return HTTP_OTHER;
}

/* What is wrong with the head, or NULL. */
static const char *head_fault(const struct head *h, const char *version)
{
    const struct request *r = h->request;
    /* The version stands one byte behind the target; if not, there is a NUL inside it. */
    if ((size_t)(version - r->raw) != r->target_len + 1)
        return "NUL byte in the request line";
    if (r->target_len == 0 || r->target[0] != '/')
        return "the target must begin with a slash";
    for (size_t i = 0; i < r->target_len; i++)
        if ((unsigned char)r->target[i] < ' ' || r->target[i] == 0x7f)
            return "control character in the request line";
    if (h->malformed)
        return "malformed header name";
    if (h->hosts != 1)
        return h->hosts ? "more than one Host header" : "no Host header";
    if (h->lengths > 1)
        return "more than one Content-Length header";
    if (h->encodings > 1 || (h->encodings && strcasecmp(h->encoding, "chunked") != 0))
        return "the only known Transfer-Encoding is 'chunked'";
    if (h->encodings && h->lengths)
        return "Content-Length beside Transfer-Encoding";
    if (h->encodings && strcmp(version, "HTTP/1.0") == 0)
        return "Transfer-Encoding in HTTP/1.0";
    return NULL;
}

/* Whether a body follows that is to be read; refuses it otherwise. */
static void look_at_body(struct request *r, const struct head *h)
{
    struct connection *c = r->connection;
    struct http_server *s = c->server;
    uint64_t length = 0;
    for (const char *d = h->length; d && *d; d++) /* libmicrohttpd has checked digits and range */
        length = length * 10 + (uint64_t)(*d - '0');
    if (length == 0 && !h->encodings)
        return;
    struct http_reply refusal = {.status = 0};
    if (s->options.body_max)
        r->body_max = s->options.body_max(s->options.self, &r->pub, &refusal);
    if (refusal.status == 0 && length <= r->body_max) {
        size_t step = length < LIMIT_HTTP_BODY_STEP_BYTES ? (size_t)length : 0;
        buf_init(&r->body, r->body_max);
        buf_reserve(&r->body, step);
        connection_phase(c, PHASE_BODY);
        return;
    }
    c->linger = true;
    r->close = true;
    if (refusal.status) {
        s->refused++;
        queue_reply(r, &refusal);
    } else {
        refuse(r, 413, "the body is too large", r->body_max, length);
    }
}

static enum MHD_Result on_head(struct request *r, const char *method, const char *version)
{
    struct head h = {.request = r};
    MHD_get_connection_values_n(r->mhd, MHD_HEADER_KIND, on_header, &h);
    const char *query = memchr(r->target, '?', r->target_len);
    size_t path_len = query ? (size_t)(query - r->target) : r->target_len;
    r->pub.method = method_of(method);
    r->pub.path = slice_of(r->target, path_len);
    if (query)
        r->pub.query = slice_of(query + 1, r->target_len - path_len - 1);
    const char *fault = head_fault(&h, version);
    int status = fault ? 400 : 0;
    if (!fault && h.too_many) {
        fault = "too many headers";
        status = 431;
    } else if (!fault && r->pub.method == HTTP_OTHER) {
        fault = "unknown method";
        status = 405;
    }
    if (fault) {
        /* What stands behind such a head is not to be taken for the next request. */
        r->connection->linger = true;
        r->close = true;
        refuse(r, status, fault, 0, 0);
        return MHD_YES;
    }
    r->state = REQUEST_BODY;
    look_at_body(r, &h);
    return MHD_YES;
}

/* ---- body and end ---- */

static enum MHD_Result on_body(struct request *r, const char *data, size_t *len)
{
    size_t n = *len;
    *len = 0; /* all of it is taken */
    r->body_seen += n;
    if (r->refuse_status == 0 && buf_append(&r->body, data, n) == 0)
        return MHD_YES;
    /* A chunked one that grows over the limit: it can be answered only at its end. */
    buf_release(&r->body);
    r->refuse_status = 413;
    return r->body_seen > LIMIT_HTTP_DRAIN_BYTES ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_end(struct request *r)
{
    struct connection *c = r->connection;
    struct http_server *s = c->server;
    if (r->state != REQUEST_BODY)
        return MHD_NO; /* its reply could not be queued */
    if (r->refuse_status) {
        refuse(r, r->refuse_status, "the body is too large", r->body_max, r->body_seen);
        return MHD_YES;
    }
    if (s->stopping) {
        refuse(r, 503, "the server stops", 0, 0);
        return MHD_YES;
    }
    r->pub.body = slice_of(r->body.data, r->body.len);
    r->state = REQUEST_HANDED;
    r->next = s->handed;
    if (r->next)
        r->next->prev = r;
    s->handed = r;
    s->pending++;
    s->handled++;
    connection_phase(c, PHASE_BUSY);
    s->options.handle(s->options.self, &r->pub);
    return MHD_YES;
}

static enum MHD_Result on_look(struct request *r)
{
    unsigned looks = r->server->pending / LOOKS_FOR;
    if (++r->looks >= (looks < LOOKS_MAX ? looks : LOOKS_MAX)) {
        r->suspended = true;
        MHD_suspend_connection(r->mhd);
    }
    return MHD_YES;
}

static enum MHD_Result on_request(void *server, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *len, void **context)
{
    struct request *r = *context;
    (void)server;
    (void)url;
    (void)mhd;
    if (r->state == REQUEST_HEAD)
        return on_head(r, method, version);
    if (r->state == REQUEST_HANDED)
        return on_look(r);
    return *len ? on_body(r, data, len) : on_end(r);
}

/* The first that is heard of a request: its line, before it is decoded in place. */
static void *on_target(void *server, const char *uri, struct MHD_Connection *mhd)
{
    struct http_server *s = server;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *c = info->socket_context;
    struct request *r = mem_alloc(sizeof(*r));
    memset(r, 0, offsetof(struct request, target_small));
    r->header_count = 0;
    buf_init(&r->body, 0);
    r->server = s;
    r->connection = c;
    r->mhd = mhd;
    r->raw = uri;
    r->target_len = uri ? strlen(uri) : 0;
    r->target =
        r->target_len < sizeof(r->target_small) ? r->target_small : mem_alloc(r->target_len + 1);
    if (uri)
        memcpy(r->target, uri, r->target_len);
    r->target[r->target_len] = '\0';
    r->pub.received_us = loop_now_us(s->loop);
    if (c->phase != PHASE_HEAD) /* of a new connection it counts from the beginning */
        connection_phase(c, PHASE_HEAD);
    return r;
}

static void on_completed(void *server, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct request *r = *context;
    (void)server;
    (void)mhd;
    (void)code;
    if (!r)
        return;
    *context = NULL;
    connection_phase(r->connection, PHASE_IDLE);
    if (r->state != REQUEST_HANDED) {
        request_free(r);
        return;
    }
    /* A client that went while it was waited for: the handler still has the request. */
    ASSERT(!r->suspended);
    r->connection = NULL;
    r->header_count = 0; /* libmicrohttpd kept them */
}

const char *http_request_header(const struct http_request *request, const char *name,
                                unsigned *count)
{
    const struct request *r = (const struct request *)request;
    const char *value = NULL;
    unsigned seen = 0;
    for (unsigned i = 0; i < r->header_count; i++)
        if (strcasecmp(r->headers[i].name, name) == 0) {
            if (seen++ == 0)
                value = r->headers[i].value;
            if (!count)
                break;
        }
    if (count)
        *count = seen;
    return value;
}

/* ---- running the daemon ---- */

static void run_daemon(struct http_server *s)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;
    uint64_t handled = s->handled;
    /* An answered connection takes three runs: send, find that all is sent, find nothing to read.
     */
    for (int i = 0; i < RUNS_MAX && (i == 0 || s->answered || s->left); i++) {
        s->answered = false;
        MHD_run(s->daemon);
        s->left = MHD_get_timeout(s->daemon, &wait_ms) == MHD_YES && wait_ms == 0;
    }
    /* What new requests caused in the core is handed out by the hooks of a turn. */
    if (s->left || s->handled != handled)
        loop_again(s->loop);
}

static void on_daemon_ready(void *server, int events)
{
    (void)events;
    run_daemon(server);
}

/* After all others of the turn, which may have answered what was suspended. */
static void on_turn_end(void *server)
{
    struct http_server *s = server;
    if (s->answered || s->left)
        run_daemon(s);
}

/* ---- life ---- */

/* Keeps what libmicrohttpd would decode in place as it is. */
static size_t no_unescape(void *argument, struct MHD_Connection *mhd, char *text)
{
    (void)argument;
    (void)mhd;
    return strlen(text);
}

__attribute__((format(printf, 2, 0))) static void log_parser(void *argument, const char *fmt,
                                                             va_list ap)
{
    char text[512], quoted[600];
    (void)argument;
    vsnprintf(text, sizeof(text), fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    log_debug("http_parser", "message=%s", log_quote(text, quoted, sizeof(quoted)));
}

static int start_daemon(struct http_server *s, struct err *err)
{
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET |
                     MHD_USE_SUPPRESS_DATE_NO_CLOCK;
    if (log_enabled(LOG_DEBUG))
        flags |= MHD_USE_ERROR_LOG;
    s->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, log_parser, s,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_CONNECTION_LIMIT,
        s->options.connections_max + 2 * LIMIT_HTTP_ACCEPTS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)LIMIT_HTTP_CONNECTION_BYTES, MHD_OPTION_URI_LOG_CALLBACK, on_target, s,
        MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
        MHD_OPTION_NOTIFY_CONNECTION, connection_notify, s, MHD_OPTION_END);
    if (!s->daemon)
        return err_set(err, ERR_IO, "cannot start libmicrohttpd");
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    ASSERT(info);
    int rc = loop_poll_new(s->loop, info->epoll_fd, on_daemon_ready, s, &s->daemon_poll, err);
    if (rc == 0)
        loop_poll_set(s->daemon_poll, POLL_READ);
    return rc;
}

static void release(struct http_server *s)
{
    connection_close_lingering(s);
    loop_hook_remove(s->loop, LOOP_LAST, on_turn_end, s);
    loop_poll_free(s->daemon_poll);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    connection_close_lingering(s); /* begun by stopping */
    ASSERT(s->connections == 0);
    loop_timer_free(s->timer);
    mem_free(s);
}

int http_server_start(struct loop *l, const struct http_server_options *options,
                      struct http_server **out, struct err *err)
{
    ASSERT(options->handle && options->connections_max && options->header_timeout_ms &&
           options->body_timeout_ms && options->idle_timeout_ms);
    struct http_server *s = mem_zalloc(sizeof(*s));
    s->loop = l;
    s->options = *options;
    s->listen_fd = s->spare_fd = -1;
    s->timer = loop_timer_new(l, connection_deadlines, s);
    s->timer_us = UINT64_MAX;
    s->phase_us[PHASE_IDLE] = options->idle_timeout_ms * UINT64_C(1000);
    s->phase_us[PHASE_HEAD] = options->header_timeout_ms * UINT64_C(1000);
    s->phase_us[PHASE_BODY] = options->body_timeout_ms * UINT64_C(1000);
    s->phase_us[PHASE_REPLY] = options->body_timeout_ms * UINT64_C(1000);
    s->phase_us[PHASE_LINGER] = LIMIT_HTTP_LINGER_MS * UINT64_C(1000);
    loop_hook_add(l, LOOP_LAST, on_turn_end, s);
    int rc = connection_listen(s, err);
    if (rc == 0)
        rc = start_daemon(s, err);
    if (rc < 0) {
        http_server_quiesce(s);
        release(s);
        return rc;
    }
    *out = s;
    return 0;
}

uint16_t http_server_port(const struct http_server *s)
{
    return s->port;
}

void http_server_quiesce(struct http_server *s)
{
    loop_poll_free(s->listen_poll);
    s->listen_poll = NULL;
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    if (s->spare_fd >= 0)
        close(s->spare_fd);
    s->listen_fd = s->spare_fd = -1;
}

unsigned http_server_pending(const struct http_server *s)
{
    return s->pending;
}

unsigned http_server_connections(const struct http_server *s)
{
    return s->connections;
}

uint64_t http_server_refused(const struct http_server *s)
{
    return s->refused;
}

void http_server_stop(struct http_server *s)
{
    if (!s)
        return;
    http_server_quiesce(s);
    s->stopping = true;
    while (s->handed) {
        s->handed->close = true;
        refuse(s->handed, 503, "the server stops", 0, 0);
    }
    /* Stopping libmicrohttpd with a suspended connection is an abort: let it see them resumed, and
     * send what the sockets take without waiting. */
    for (int i = 0; i < STOP_ROUNDS && (i == 0 || s->left); i++)
        run_daemon(s);
    release(s);
}
