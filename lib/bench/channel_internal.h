/*
 * Requests of one thread to nodes: libcurl's multi socket interface on epoll, with as little as
 * possible done anew for a request. Each client has an easy handle, which it keeps.
 *
 * Not lib/net's client on lib/net's loop: that one's timers are as coarse as a millisecond, which
 * an open loop would have in its latencies, and it sets up a handle for each call.
 *
 * Nothing is sent twice: libcurl would do so when a kept connection dies before the reply, and hide
 * the first try. No redirect is followed, no proxy and no Expect used.
 */
#ifndef RAFTKV_BENCH_CHANNEL_INTERNAL_H
#define RAFTKV_BENCH_CHANNEL_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/limits.h"

struct channel;
struct channel_call; /* of one client: one request at a time */

enum channel_method { CHANNEL_GET, CHANNEL_PUT, CHANNEL_DELETE };

struct channel_request {
    enum channel_method method;
    const char *url;       /* copied */
    struct slice body;     /* of a PUT; borrowed until the reply */
    const char *condition; /* a header, "If-Match: \"7\""; NULL: none; copied */
};

struct channel_reply {
    int code;  /* 0: a reply came; ERR_UNREACHABLE, ERR_TIMEOUT, ERR_UNKNOWN (cut off, reset) */
    bool sent; /* false: certainly no byte of the request left */
    int status;
    struct slice body;
    bool from_node; /* it bears RaftKV-Node */
    bool has_version, has_index;
    uint64_t version, index;
    char leader[LIMIT_NAME_BYTES + 1]; /* "": none named */
};

typedef void channel_done(void *owner, const struct channel_reply *reply);

struct channel_options {
    unsigned connections; /* at most */
    uint32_t timeout_ms;
    const char *cluster; /* id of the only one that is meant: each request names it; copied;
                            NULL or "": not named */
    channel_done *done;  /* of every request, within channel_turn */
};

/* Once, before there are threads. */
int channel_global_init(struct err *err);
int channel_new(const struct channel_options *options, struct channel **out, struct err *err);
void channel_free(struct channel *c); /* with its calls; what is on its way is dropped */
struct channel_call *channel_call_new(struct channel *c, void *owner);
void channel_send(struct channel_call *call, const struct channel_request *request);
unsigned channel_pending(const struct channel *c);
/* Sends what is to be sent, waits for something to happen, until `until_us` at most
 * (CLOCK_BOOTTIME; 0: does not wait), and tells what was done. */
void channel_turn(struct channel *c, uint64_t until_us);

#endif
