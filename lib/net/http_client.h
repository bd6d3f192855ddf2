/*
 * Asynchronous HTTP/1.1 client on a loop: libcurl's multi socket interface.
 *
 * Loop thread only. Every call ends in exactly one callback (also when cancelled by
 * http_client_free). Never follows redirects, uses no proxy, sends no Expect, does not normalise
 * paths, raises no signals.
 *
 * What a failed call says of its request decides what may be told to a client: `sent` is false only
 * if certainly no byte of the request left for the peer (no connection was made, or it was aborted
 * before). libcurl would send a write again when a kept-alive connection dies before the reply:
 * CURLOPT_PREREQFUNCTION forbids a second sending unless `idempotent`.
 */
#ifndef RAFTKV_NET_HTTP_CLIENT_H
#define RAFTKV_NET_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/net/http_server.h"
#include "lib/net/loop.h"

struct http_client;

struct http_client_options {
    unsigned connections_per_host; /* kept and opened at most */
    unsigned connect_timeout_ms;
};

struct http_call {
    enum http_method method;
    const char *url;                   /* complete, encoded; copied */
    const struct http_header *headers; /* copied */
    size_t header_count;
    const void *body; /* copied, unless body_take (mem_free) */
    size_t body_len;
    bool body_take;
    uint32_t timeout_ms; /* in all */
    size_t reply_max;    /* bytes of body; over it the call fails */
    bool idempotent;     /* may be sent twice */
};

struct http_result {
    int code; /* 0: there is a reply (whatever its status); ERR_UNREACHABLE, ERR_TIMEOUT,
                 ERR_TOO_LARGE, ERR_UNKNOWN */
    bool sent;
    int status;
    struct slice body;  /* borrowed */
    const char *detail; /* of an error, for people */
    void *opaque;       /* for http_result_header */
};

typedef void http_done(void *argument, const struct http_result *result);

/* What becomes of a call on a bad line. */
struct http_fate {
    bool lost;         /* as if it were sent and no answer came: ERR_TIMEOUT at its end */
    uint64_t delay_ms; /* sent so much later; lost if its time is over then */
};
typedef struct http_fate http_fate_of(void *argument, const char *url);

int http_client_new(struct loop *l, const struct http_client_options *options,
                    struct http_client **out, struct err *err);
void http_client_free(struct http_client *c);
/* Sent as User-Agent with all calls from now on; copied. Without it there is none. */
void http_client_user_agent(struct http_client *c, const char *text);
void http_client_call(struct http_client *c, const struct http_call *call, http_done *done,
                      void *argument);
/* Asked at each call from now on; NULL: all go out at once, as at the beginning. */
void http_client_fates(struct http_client *c, http_fate_of *fate_of, void *argument);
unsigned http_client_pending(const struct http_client *c);
/* A header of the reply, NULL if absent; inside the callback only. */
const char *http_result_header(const struct http_result *r, const char *name);

bool url_valid(const char *url,
               struct err *err); /* http://HOST[:PORT], nothing behind; at most LIMIT_URL_BYTES */

#endif
