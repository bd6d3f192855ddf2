/*
 * What one exchange with a node means: the pure part of the client, where outcomes are classified.
 */
#ifndef RAFTKV_CLIENT_VERDICT_INTERNAL_H
#define RAFTKV_CLIENT_VERDICT_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/json/api.h"

/* As libcurl ended it. */
enum exchange_end {
    EXCHANGE_REPLIED,    /* a whole reply came */
    EXCHANGE_NOT_SENT,   /* no connection: certainly no byte of the request left */
    EXCHANGE_TIMED_OUT,  /* sent, no reply in time */
    EXCHANGE_BROKEN,     /* sent; connection closed, reset, reply cut off or malformed */
    EXCHANGE_OVER_LIMIT, /* sent; the reply is larger than we take */
};

struct exchange {
    enum exchange_end end;
    const char *detail; /* libcurl's words, unless replied */
    int status;
    bool from_node; /* it names itself in RaftKV-Node, as all successes of a node do */
    struct slice body;
    uint32_t retry_after_s; /* header; 0: none */
};

enum verdict_kind {
    VERDICT_DONE,        /* 2xx */
    VERDICT_REFUSED,     /* definite: asking again gives the same */
    VERDICT_RETRY,       /* certainly not applied; another try may succeed */
    VERDICT_LOST,        /* a write may have been applied */
    VERDICT_UNREACHABLE, /* certainly not applied, since never sent */
};

struct verdict {
    enum verdict_kind kind;
    int code;       /* enum err_code; 0 when done */
    bool evaluated; /* the state machine answered: with a session this settles earlier tries too */
    bool answered;  /* by a member of the cluster, not by silence or a stranger */
    uint32_t retry_after_ms;
    bool has_version;
    uint64_t version; /* of a failed condition */
    char text[ERR_TEXT_BYTES];
};

void verdict_of(const struct exchange *x, bool write, struct verdict *v);
/* A 2xx whose body is not what this call's answer looks like: nobody we know sent it. */
void verdict_garbled(const char *why, struct verdict *v);

#endif
