/*
 * HTTP/1.1 server on a loop: libmicrohttpd in external epoll mode, answers now or later, never
 * blocking.
 *
 * Loop thread only. A request is handed over once, complete with its body, and is answered exactly
 * once with http_reply, inside the callback or any time later; then it is gone. If the client has
 * gone meanwhile, the reply goes nowhere, silently.
 *
 * Refused here, before anybody sees it: what the parser refuses, unknown methods, no or two Host
 * headers, Content-Length beside Transfer-Encoding, doubled headers that must be single, a body
 * over the limit that `body_max` names for it, headers or a body that take longer than their
 * deadline, more connections than allowed.
 */
#ifndef RAFTKV_NET_HTTP_SERVER_H
#define RAFTKV_NET_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/net/loop.h"

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_PUT, HTTP_POST, HTTP_DELETE, HTTP_OTHER };

struct http_request {
    enum http_method method;
    struct slice path;  /* raw, as it came, not decoded: behind it no '?' */
    struct slice query; /* raw, without the '?'; data NULL when there is none */
    struct slice body;
    uint64_t received_us; /* when its request line was there, CLOCK_BOOTTIME */
    void *user;           /* the handler's own, until it replies */
};

/* First value of a header (case-insensitive), NULL if absent. `*count` (may be NULL): how often it
 * stands there. Inside the callback all are there, and valid; later there are none if the client
 * has gone. */
const char *http_request_header(const struct http_request *r, const char *name, unsigned *count);
const char *http_request_peer(const struct http_request *r,
                              char out[64]); /* address, for logs; "gone" */

struct http_header {
    const char *name, *value;
};

struct http_reply {
    int status;
    const char *content_type;          /* NULL: application/json when there is a body */
    const struct http_header *headers; /* further ones; copied */
    size_t header_count;
    const void *body; /* copied, unless body_take */
    size_t body_len;
    bool body_take; /* `body` came from buf_take or mem_alloc and is freed by the server */
    bool close;     /* close the connection afterwards */
};

void http_reply(struct http_request *r, const struct http_reply *reply);

struct http_server_options {
    const char *host; /* numeric address */
    uint16_t port;    /* 0: any free one */
    unsigned connections_max;
    unsigned header_timeout_ms, body_timeout_ms, idle_timeout_ms;
    /* Only for a request with a body, before it is read: how many bytes of it are allowed (0:
     * none). More is 413. May refuse outright by setting *refuse (status and body, which lives
     * until the reply is sent). Such an early refusal closes the connection once the client has
     * stopped. */
    size_t (*body_max)(void *self, const struct http_request *head, struct http_reply *refuse);
    void (*handle)(void *self, struct http_request *r);
    /* A refusal of the server's own (413, 405, 400 …): replies at once, with http_reply, so that
     * all errors look alike. The request has its head, and no body. NULL: a bare status. */
    void (*refusal)(void *self, struct http_request *r, int status, const char *why, uint64_t limit,
                    uint64_t actual);
    void *self;
};

struct http_server;
int http_server_start(struct loop *l, const struct http_server_options *options,
                      struct http_server **out,
                      struct err *err); /* ERR_IO names address and reason (taken port) */
uint16_t http_server_port(const struct http_server *s);
/* Stops accepting. What is open goes on, with "Connection: close" in each reply. */
void http_server_quiesce(struct http_server *s);
unsigned http_server_pending(
    const struct http_server *s); /* requests handed over and not answered */
unsigned http_server_connections(const struct http_server *s);
uint64_t http_server_refused(const struct http_server *s);
void http_server_stop(struct http_server *s); /* answers what is pending with 503, closes, frees */

/* ---- targets: percent-decoding with lengths, as the contract wants it ---- */

/* Decodes %XX once; `plus_is_space` for queries. ERR_BAD_REQUEST on a broken escape, ERR_TOO_LARGE
 * over out->max. */
int target_decode(struct slice raw, bool plus_is_space, struct buf *out, struct err *err);
/* Encodes what is not unreserved (RFC 3986); `/` stays when keep_slash. */
int target_encode(struct slice bytes, bool keep_slash, struct buf *out);

struct query_parameter {
    const char *name;
    bool seen;        /* out */
    bool has_value;   /* out: "name=" or "name=x", not "name" */
    struct buf value; /* out: decoded; query_release frees it */
};
/* Fills the table; ERR_BAD_REQUEST names an unknown or repeated parameter or a broken escape. At
 * most LIMIT_QUERY_BYTES. */
int query_parse(struct slice raw, struct query_parameter *table, size_t count, struct err *err);
void query_release(struct query_parameter *table, size_t count);

#endif
