/*
 * One HTTP exchange, blocking, over a kept connection: the client's only use of libcurl.
 *
 * Paths go out as they stand, no redirect is followed, no proxy and no Expect used, no signal
 * raised. libcurl sends a request again by itself when a kept-alive connection dies before the
 * first byte of the reply; that is allowed only if the request says so.
 */
#ifndef RAFTKV_CLIENT_WIRE_INTERNAL_H
#define RAFTKV_CLIENT_WIRE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/limits.h"
#include "lib/client/verdict_internal.h"

enum { WIRE_HEADERS_MAX = 8, WIRE_HEADER_BYTES = 128 };

struct wire_request {
    const char *method;                                /* "GET" */
    const char *url;                                   /* complete, encoded */
    char headers[WIRE_HEADERS_MAX][WIRE_HEADER_BYTES]; /* "Name: value" */
    unsigned header_count;
    struct slice body; /* sent if data is not NULL */
    bool send_again;   /* libcurl may send it twice */
    uint32_t timeout_ms, connect_timeout_ms;
};

struct wire_reply {
    struct exchange exchange; /* body borrowed until the next exchange */
    unsigned sends;
    bool has_version; /* ETag: "N" */
    uint64_t version;
    bool has_index; /* RaftKV-Index */
    uint64_t index;
    bool replayed;
    char node[LIMIT_NAME_BYTES + 1], leader[LIMIT_NAME_BYTES + 1]; /* "": absent */
    char cluster[HEX128_BYTES];                                    /* likewise */
};

struct wire;
int wire_new(struct wire **out, struct err *err);
void wire_free(struct wire *w);
void wire_exchange(struct wire *w, const struct wire_request *request, struct wire_reply *reply);

#endif
