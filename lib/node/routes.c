/*
 * Every request comes through here: the table of routes, what each must satisfy before a handler
 * sees it, and what each reply bears.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/base/opt.h"
#include "lib/node/node_internal.h"

enum { BODY_NONE, BODY_VALUE, BODY_BATCH, BODY_SMALL, BODY_PEER, BODY_CHUNK };

enum {
    ROUTES_SMALL_BODY = 64 << 10,
    ROUTES_CHUNK_BODY = 2 << 20,
    ROUTES_BATCH_BODY = 2 * LIMIT_BATCH_BYTES + LIMIT_BATCH_WRITES * 128, /* some of it escaped */
    ROUTES_PEER_EXTRA =
        2 << 20, /* beside the largest write in base64: a full append, names, numbers */
};

struct route {
    enum http_method method;
    const char
        *path; /* "{id}": one segment; a trailing "*": everything behind, which may not be empty */
    int body;
    bool before_cluster; /* answered also while there is no cluster */
    void (*plain)(struct node *, struct http_request *);
    void (*with)(struct node *, struct http_request *, struct slice);
};

/* GET stands for HEAD too. */
static const struct route routes[] = {
    {HTTP_GET, "/kv/*", BODY_NONE, false, NULL, http_kv_key},
    {HTTP_PUT, "/kv/*", BODY_VALUE, false, NULL, http_kv_key},
    {HTTP_DELETE, "/kv/*", BODY_NONE, false, NULL, http_kv_key},
    {HTTP_GET, "/kv", BODY_NONE, false, http_kv_scan, NULL},
    {HTTP_POST, "/batch", BODY_BATCH, false, http_batch, NULL},
    {HTTP_GET, "/status", BODY_NONE, true, http_status, NULL},
    {HTTP_GET, "/node", BODY_NONE, true, http_node, NULL},
    {HTTP_GET, "/members", BODY_NONE, true, http_members, NULL},
    {HTTP_POST, "/members", BODY_SMALL, false, http_members_add, NULL},
    {HTTP_DELETE, "/members/{id}", BODY_NONE, false, NULL, http_member_remove},
    {HTTP_POST, "/members/{id}/promote", BODY_SMALL, false, NULL, http_member_promote},
    {HTTP_POST, "/members/{id}/replace", BODY_SMALL, false, NULL, http_member_replace},
    {HTTP_GET, "/leader", BODY_NONE, true, http_leader_get, NULL},
    {HTTP_POST, "/leader", BODY_SMALL, false, http_leader_post, NULL},
    {HTTP_GET, "/livez", BODY_NONE, true, http_livez, NULL},
    {HTTP_GET, "/readyz", BODY_NONE, true, http_readyz, NULL},
    {HTTP_GET, "/health", BODY_NONE, true, http_health, NULL},
    {HTTP_GET, "/metrics", BODY_NONE, true, http_metrics, NULL},
    {HTTP_GET, "/debug/raft", BODY_NONE, true, http_debug_raft, NULL},
    {HTTP_GET, "/debug/log", BODY_NONE, true, http_debug_log, NULL},
    {HTTP_GET, "/debug/trace", BODY_NONE, true, http_debug_trace, NULL},
    {HTTP_GET, "/faults", BODY_NONE, true, http_faults_get, NULL},
    {HTTP_POST, "/faults", BODY_SMALL, true, http_faults_post, NULL},
    {HTTP_DELETE, "/faults", BODY_NONE, true, http_faults_clear, NULL},
    {HTTP_DELETE, "/faults/{id}", BODY_NONE, true, NULL, http_fault_clear},
    {HTTP_POST, "/raft/message", BODY_PEER, true, http_peer_message, NULL},
    {HTTP_GET, "/raft/hello", BODY_NONE, true, http_peer_hello, NULL},
    {HTTP_POST, "/raft/snapshot", BODY_CHUNK, true, http_peer_snapshot, NULL},
};
static const size_t route_count = sizeof routes / sizeof routes[0];

/* ---- matching ---- */

static bool path_matches(const char *pattern, struct slice path, struct slice *with)
{
    size_t i = 0;

    for (const char *p = pattern; *p; p++) {
        if (*p == '*') {
            *with = slice_of(path.data + i, path.len - i);
            return true;
        }
        if (*p == '{') {
            size_t start = i;

            while (i < path.len && path.data[i] != '/') {
                i++;
            }
            *with = slice_of(path.data + start, i - start);
            if (with->len == 0) {
                return false;
            }
            p = strchr(p, '}');
            continue;
        }
        if (i == path.len || path.data[i] != (uint8_t)*p) {
            return false;
        }
        i++;
    }
    return i == path.len;
}

static bool is_write(const struct http_request *r)
{
    return r->method != HTTP_GET && r->method != HTTP_HEAD;
}

/* The route, or NULL; *other_method: the path exists. */
static const struct route *route_find(const struct http_request *r, struct slice *with,
                                      bool *other_method)
{
    enum http_method method = r->method == HTTP_HEAD ? HTTP_GET : r->method;

    *other_method = false;
    for (size_t i = 0; i < route_count; i++) {
        if (path_matches(routes[i].path, r->path, with)) {
            if (routes[i].method == method) {
                return &routes[i];
            }
            *other_method = true;
        }
    }
    return NULL;
}

/* The largest write is one value, or a batch. */
static size_t peer_body_max(size_t value_bytes_max)
{
    size_t write = value_bytes_max > LIMIT_BATCH_BYTES ? value_bytes_max : LIMIT_BATCH_BYTES;

    return write / 3 * 4 + ROUTES_PEER_EXTRA;
}

size_t routes_body_max(void *node, const struct http_request *head, struct http_reply *refuse)
{
    const struct node *n = node;
    struct slice with;
    bool other_method;
    const struct route *route = route_find(head, &with, &other_method);

    (void)refuse;
    switch (route ? route->body : BODY_SMALL) {
    case BODY_VALUE: return n->options.value_bytes_max;
    case BODY_BATCH: return ROUTES_BATCH_BODY;
    case BODY_PEER: return peer_body_max(n->options.value_bytes_max);
    case BODY_CHUNK: return ROUTES_CHUNK_BODY;
    case BODY_SMALL: return ROUTES_SMALL_BODY;
    default: return 0;
    }
}

/* ---- what every request must satisfy ---- */

/* "192.0.2.1" or "[2001:db8::1]"; "4.cc" is a name. */
static bool host_numeric(const char *host, size_t len)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t address[sizeof(struct in6_addr)];
    bool brackets = len > 2 && host[0] == '[' && host[len - 1] == ']';
    size_t from = brackets ? 1 : 0, count = len - 2 * from;

    if (count >= sizeof text) {
        return false;
    }
    memcpy(text, host + from, count);
    text[count] = '\0';
    return inet_pton(brackets ? AF_INET6 : AF_INET, text, address) == 1;
}

static bool same_host(const char *host, size_t len, const char *other, size_t other_len)
{
    return len == other_len && strncasecmp(host, other, len) == 0;
}

/* An IP address, localhost, the advertised host or an allowed one: else a page that resolves its
 * own name to us could speak to us. */
static bool host_allowed(const struct node *n, const char *host)
{
    size_t len = strlen(host);
    const char *colon = strrchr(host, ':');
    const char *advertised = strstr(n->options.advertise, "://");

    if (colon && (host[0] != '[' || colon[-1] == ']')) {
        len = (size_t)(colon - host);
    }
    if (host_numeric(host, len) || same_host(host, len, "localhost", 9)) {
        return true;
    }
    if (advertised) {
        size_t advertised_len = strcspn(advertised + 3, ":/");

        if (same_host(host, len, advertised + 3, advertised_len)) {
            return true;
        }
    }
    for (uint32_t i = 0; i < n->options.allowed_host_count; i++) {
        const char *allowed = n->options.allowed_hosts[i];

        if (same_host(host, len, allowed, strlen(allowed))) {
            return true;
        }
    }
    return false;
}

static bool origin_is_host(const char *origin, const char *host)
{
    const char *behind = strstr(origin, "://");

    return behind && strcasecmp(behind + 3, host) == 0;
}

static bool content_is_json(const char *type)
{
    static const char json[] = "application/json";
    size_t len = sizeof json - 1;

    if (!type || strncasecmp(type, json, len) != 0) {
        return false;
    }
    type += len + strspn(type + len, " \t");
    return *type == '\0' || *type == ';';
}

/* Whether a web page that is not ours may be behind it; before anything is told. false: answered.
 */
static bool admit_origin(struct node *n, struct http_request *r)
{
    unsigned origins;
    const char *host = http_request_header(r, "Host", NULL);
    const char *origin = http_request_header(r, "Origin", &origins);

    if (!host || !host_allowed(n, host)) {
        reply_failure(n, r, ERR_FORBIDDEN,
                      "Host %.100s is not this node; --allowed-hosts names others",
                      host ? host : "(none)");
        return false;
    }
    if (origins > 1 || (origin && !origin_is_host(origin, host))) {
        reply_failure(n, r, ERR_FORBIDDEN, "Origin %.100s is not this node", origin);
        return false;
    }
    return true;
}

/* false: answered. */
static bool admit_cluster(struct node *n, struct http_request *r)
{
    unsigned clusters;
    const char *cluster = http_request_header(r, "RaftKV-Cluster", &clusters);

    if (clusters > 1) {
        reply_failure(n, r, ERR_BAD_REQUEST, "RaftKV-Cluster stands there %u times", clusters);
        return false;
    }
    if (cluster && n->has_cluster && strcasecmp(cluster, n->header_cluster) != 0) {
        reply_failure(n, r, ERR_WRONG_CLUSTER, "this is cluster %s, not %.40s", n->header_cluster,
                      cluster);
        return false;
    }
    return true;
}

/* false: answered. */
static bool admit(struct node *n, struct http_request *r, const struct route *route)
{
    bool peers = route->body == BODY_PEER || route->body == BODY_CHUNK; /* they look themselves */
    unsigned types = 1;

    if (!peers && !admit_cluster(n, r)) {
        return false;
    }
    /* A condition is never ignored; /kv has its own word on them. */
    if (route->with != http_kv_key && route->plain != http_kv_scan && route->body != BODY_PEER &&
        (http_request_header(r, "If-Match", NULL) ||
         http_request_header(r, "If-None-Match", NULL))) {
        reply_failure(n, r, ERR_BAD_REQUEST, "this call knows no If-Match and no If-None-Match");
        return false;
    }
    if ((route->body == BODY_SMALL || route->body == BODY_BATCH) &&
        (!content_is_json(http_request_header(r, "Content-Type", &types)) || types > 1)) {
        reply_failure(n, r, ERR_BAD_REQUEST, "a POST needs Content-Type: application/json");
        return false;
    }
    if (!n->carry && !route->before_cluster) {
        struct buf why;

        buf_init(&why, 4096);
        forming_describe(n, &why);
        reply_failure(n, r, ERR_NO_LEADER, "no cluster yet: %s",
                      why.len > 0 ? (char *)why.data : "");
        buf_release(&why);
        return false;
    }
    return true;
}

static void reply_error_as(struct node *n, struct http_request *r, int status,
                           const struct api_error *e)
{
    struct buf body;
    struct reply reply = {.status = status, .body = &body};
    char retry[24];

    buf_init(&body, 4096);
    api_error_encode(e, &body);
    if (e->code == ERR_OVERLOADED) {
        snprintf(retry, sizeof retry, "1");
        reply.extra[reply.extra_count++] = (struct http_header){"Retry-After", retry};
    }
    reply_send(n, r, &reply);
}

/* The path is known, this method is not for it: "GET, HEAD, PUT". */
static void reply_other_method(struct node *n, struct http_request *r)
{
    static const char *const names[] = {[HTTP_GET] = "GET, HEAD",
                                        [HTTP_PUT] = "PUT",
                                        [HTTP_POST] = "POST",
                                        [HTTP_DELETE] = "DELETE"};
    struct api_error e = {.code = ERR_METHOD_NOT_ALLOWED,
                          .outcome = is_write(r) ? OUTCOME_NOT_APPLIED : OUTCOME_NONE};
    struct buf body, allow;
    struct reply reply = {.status = 405, .body = &body};
    struct slice with;

    buf_init(&body, 4096);
    buf_init(&allow, 64);
    for (size_t i = 0; i < route_count; i++) {
        if (path_matches(routes[i].path, r->path, &with)) {
            buf_printf(&allow, "%s%s", allow.len > 0 ? ", " : "", names[routes[i].method]);
        }
    }
    snprintf(e.message, sizeof e.message, "this method is not for %.*s",
             r->path.len < 100 ? (int)r->path.len : 100, (const char *)r->path.data);
    api_error_encode(&e, &body);
    reply.extra[reply.extra_count++] = (struct http_header){"Allow", (const char *)allow.data};
    reply_send(n, r, &reply);
    buf_release(&allow);
}

static void reply_no_route(struct node *n, struct http_request *r, bool other_method)
{
    if (other_method) {
        reply_other_method(n, r);
    } else {
        reply_failure(n, r, ERR_NOT_FOUND, "nothing at %.*s",
                      r->path.len < 100 ? (int)r->path.len : 100, (const char *)r->path.data);
    }
}

void routes_refusal(void *node, struct http_request *r, int status, const char *why, uint64_t limit,
                    uint64_t actual)
{
    struct node *n = node;
    struct api_error e = {.code = ERR_BAD_REQUEST,
                          .outcome = is_write(r) ? OUTCOME_NOT_APPLIED : OUTCOME_NONE};
    struct slice with;
    bool other_method;

    if ((status == 405 || status == 413) && !admit_origin(n, r)) {
        return;
    }
    if ((status == 405 || status == 413) && !route_find(r, &with, &other_method)) {
        reply_no_route(n, r, other_method);
        return;
    }
    switch (status) {
    case 413:
        e.code = ERR_TOO_LARGE;
        e.has_limit = true;
        e.limit = limit;
        e.actual = actual;
        break;
    case 503:
        e.code = ERR_SHUTTING_DOWN;
        if (is_write(r)) {
            e.outcome = OUTCOME_UNKNOWN; /* it may have been proposed */
        }
        break;
    default: break; /* 400 and the like */
    }
    snprintf(e.message, sizeof e.message, "%s", why);
    reply_error_as(n, r, status, &e);
}

void routes_handle(void *node, struct http_request *r)
{
    struct node *n = node;
    struct slice with = {0};
    bool other_method;
    const struct route *route = route_find(r, &with, &other_method);

    n->meters.bytes_in += r->body.len;
    if (!admit_origin(n, r)) {
        return;
    }
    if (!route) {
        reply_no_route(n, r, other_method);
        return;
    }
    if (!admit(n, r, route)) {
        return;
    }
    if (route->plain) {
        route->plain(n, r);
    } else {
        route->with(n, r, with);
    }
}

/* ---- replies ---- */

void reply_send(struct node *n, struct http_request *r, struct reply *reply)
{
    char index[24];
    struct http_header headers[6 + 6];
    struct http_reply out = {
        .status = reply->status,
        .content_type = reply->content_type ? reply->content_type : "application/json",
        .headers = headers,
        .close = reply->close,
    };
    size_t k = 0;
    raft_index at = reply->index;

    if (at == 0 && n->carry) {
        at = carry_applied_index(n->carry);
    }
    snprintf(index, sizeof index, "%llu", (unsigned long long)at);
    headers[k++] = (struct http_header){"RaftKV-Node", n->options.name};
    headers[k++] = (struct http_header){"X-Content-Type-Options", "nosniff"};
    if (n->header_leader[0]) {
        headers[k++] = (struct http_header){"RaftKV-Leader", n->header_leader};
    }
    if (n->has_cluster) {
        headers[k++] = (struct http_header){"RaftKV-Cluster", n->header_cluster};
    }
    headers[k++] = (struct http_header){"RaftKV-Term", n->header_term};
    headers[k++] = (struct http_header){"RaftKV-Index", index};
    for (size_t i = 0; i < reply->extra_count; i++) {
        headers[k++] = reply->extra[i];
    }
    out.header_count = k;
    if (reply->body) {
        n->meters.bytes_out += reply->body->len;
        out.body = buf_take(reply->body, &out.body_len);
        out.body_take = true;
    }
    http_reply(r, &out);
}

void reply_error(struct node *n, struct http_request *r, const struct api_error *e)
{
    reply_error_as(n, r, err_http_status(e->code), e);
}

void reply_err(struct node *n, struct http_request *r, const struct err *err, enum outcome outcome)
{
    struct api_error e = {.code = err->code, .outcome = outcome};

    e.retryable = err->code == ERR_NO_LEADER || err->code == ERR_OVERLOADED ||
                  err->code == ERR_AGAIN || err->code == ERR_CONFLICT ||
                  err->code == ERR_SHUTTING_DOWN;
    snprintf(e.message, sizeof e.message, "%s", err->text);
    reply_error(n, r, &e);
}

void reply_failure(struct node *n, struct http_request *r, int code, const char *fmt, ...)
{
    struct err err = {.code = code};
    va_list ap;

    va_start(ap, fmt);
    err_vset(&err, code, fmt, ap);
    va_end(ap);
    reply_err(n, r, &err, is_write(r) ? OUTCOME_NOT_APPLIED : OUTCOME_NONE);
}

void reply_answer(struct node *n, struct http_request *r, const struct carry_answer *a)
{
    struct api_error e = {.code = a->code, .outcome = a->outcome, .retryable = a->retryable};

    snprintf(e.message, sizeof e.message, "%s", a->message);
    if (a->code == ERR_OVERLOADED) {
        e.retry_after_ms = 1000;
    }
    reply_error(n, r, &e);
}

/* ---- query parameters ---- */

int parse_query(const struct http_request *r, struct query_parameter *table, size_t count,
                struct err *err)
{
    return query_parse(r->query, table, count, err);
}

bool no_query(struct node *n, struct http_request *r)
{
    struct err err = {0};

    if (parse_query(r, NULL, 0, &err) != 0) {
        reply_err(n, r, &err, OUTCOME_NONE);
        return false;
    }
    return true;
}

/* "" if it has no value, or one that a NUL would cut short. */
static const char *parameter_text(const struct query_parameter *p)
{
    bool whole = p->has_value && p->value.len > 0 && !memchr(p->value.data, 0, p->value.len);

    return whole ? (const char *)p->value.data : "";
}

int parse_flag(const struct query_parameter *p, bool *out, struct err *err)
{
    const char *v = p->seen && p->has_value ? parameter_text(p) : "true";

    if (!p->seen) {
        return 0;
    }
    if (strcmp(v, "true") == 0 || strcmp(v, "1") == 0) {
        *out = true;
    } else if (strcmp(v, "false") == 0 || strcmp(v, "0") == 0) {
        *out = false;
    } else {
        return err_set(err, ERR_BAD_REQUEST, "%s=%.40s: true or false", p->name, v);
    }
    return 0;
}

int parse_number(const struct query_parameter *p, uint64_t max, uint64_t *out, struct err *err)
{
    uint64_t value;

    if (!p->seen) {
        return 0;
    }
    if (opt_parse_uint(parameter_text(p), &value) != 0 || value > max) {
        return err_set(err, ERR_BAD_REQUEST, "%s=%.40s: a number up to %llu", p->name,
                       parameter_text(p), (unsigned long long)max);
    }
    *out = value;
    return 0;
}

int parse_timeout(const struct query_parameter *p, uint64_t *ms, struct err *err)
{
    if (!p->seen) {
        return 0;
    }
    if (opt_parse_duration(parameter_text(p), ms) != 0 || *ms == 0 || *ms > NODE_TIMEOUT_MAX_MS) {
        return err_set(err, ERR_BAD_REQUEST, "timeout=%.40s: a duration up to 60s, as 500ms or 5s",
                       parameter_text(p));
    }
    return 0;
}
