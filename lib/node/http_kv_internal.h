/* What http_kv.c, http_scan.c and http_batch.c share: a client's request from its arrival to its
 * reply. */
#ifndef RAFTKV_NODE_HTTP_KV_INTERNAL_H
#define RAFTKV_NODE_HTTP_KV_INTERNAL_H

#include "lib/node/node_internal.h"

struct client_request {
    struct carry_request carry; /* first */
    struct machine_read read;
    struct node *node;
    struct http_request *http;
    enum node_op op;
    struct buf key;
    bool raw, redirect, timings;
    uint64_t handed_us; /* read, `timings`: to the state machine */
    char timing[160];   /* Server-Timing; "": none */
    uint64_t timeout_ms;
    uint64_t only_if_not; /* GET: If-None-Match: this version gives 304; 0: none */

    /* a write */
    enum command_condition condition;
    uint64_t expected;
    struct slice client; /* in a header of the request */
    uint64_t seq;
    struct buf writes; /* of a batch, as its command bears them */
    uint32_t write_count;

    struct state_scan scan; /* its slices point into the buffers below */
    struct scan_cursor cursor;
    struct buf prefix, start, end;

    /* filled on the state machine's thread */
    int code;
    struct err *err; /* of the state, where there is one */
    raft_index index;
    uint64_t version;
    struct buf body;
    uint32_t rows;
};

struct client_request *client_request_new(struct node *n, struct http_request *r, enum node_op op);
/* Answers with the error, as not applied if it is a write, and frees the request. */
void client_request_fail(struct client_request *c, const struct err *err);
/* As above, for an error that says more. */
void client_request_refuse(struct client_request *c, const struct api_error *e);
/* Query parameters that the operation knows, RaftKV-Client and RaftKV-Seq. */
int client_request_parameters(struct client_request *c, struct err *err);
int client_request_session(struct client_request *c, struct err *err);
/* Names of query parameters, those of writes first, then those of reads. */
enum client_parameter {
    P_TIMEOUT,
    P_REDIRECT,
    P_TIMINGS,
    P_WRITE_COUNT,
    P_CONSISTENCY = P_WRITE_COUNT,
    P_MIN_INDEX,
    P_MAX_STALE,
    P_RAW,
    P_GET_COUNT
};
#define READ_PARAMETERS                                                                            \
    [P_TIMEOUT] = {.name = "timeout"}, [P_REDIRECT] = {.name = "redirect"},                        \
    [P_TIMINGS] = {.name = "timings"}, [P_CONSISTENCY] = {.name = "consistency"},                  \
    [P_MIN_INDEX] = {.name = "min_index"}, [P_MAX_STALE] = {.name = "max_stale_ms"}

int client_request_common(struct client_request *c, const struct query_parameter *p, bool read,
                          struct err *err);
/* If-Match and If-None-Match. */
int client_request_conditions(struct client_request *c, struct err *err);
/* A read with all that belongs to it. */
void client_request_read(struct client_request *c);
/* State machine's thread: c->code is set; keeps the text where there is one. */
void client_request_note(struct client_request *c, const struct err *err);
/* State machine's thread: the page of c->scan into c->body. */
void client_scan_evaluate(struct client_request *c, struct state *state);
/* A write with all that belongs to it: proposed here, forwarded, redirected or refused. */
void client_request_write(struct client_request *c);

#endif
