/*
 * Synchronous client of a cluster: takes the first of its endpoints that answers (any node serves
 * any request), retries what may be retried within one deadline, and says of a write that failed
 * whether it may have been applied.
 *
 * Retried are reads; writes of keys, which carry a client id and a sequence number and so are
 * applied once however often they are sent; and whatever was certainly not applied. A change of the
 * membership or the leader has no session: once it left for a node and no answer came, its outcome
 * is unknown and it is not sent again. libcurl sends nothing again by itself but reads.
 *
 * All of a client's calls go to one cluster, whose id each request names: at an endpoint there may
 * be a node of another one by now, which refuses them, and the next endpoint is asked. Calls to one
 * endpoint by its number are taken by whoever is there.
 *
 * A write that may have been applied never ends as "not applied": after one try of unknown outcome
 * only an answer of the state machine (done, or a condition that did not hold) is believed.
 *
 * One thread a client.
 */
#ifndef RAFTKV_CLIENT_CLIENT_H
#define RAFTKV_CLIENT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/limits.h"
#include "lib/json/api.h"
#include "lib/kv/command.h"

struct client;

struct client_options {
    const char *endpoints;   /* URL,URL,…; "http://" may be left out */
    uint32_t timeout_ms;     /* of each call, all its tries together; > 0 */
    const char *consistency; /* of gets and scans; NULL: the node's own */
    const char *cluster;     /* id of the only one that is meant; NULL: that of the first answer */
};

/* What came of a call. The buffer belongs to the caller (client_reply_release). */
struct client_reply {
    int status;           /* HTTP status of the last reply; 0: none came */
    struct buf body;      /* of the last reply, an error's too */
    enum outcome outcome; /* of a write that failed: NOT_APPLIED or UNKNOWN; else NONE */
    bool has_version;
    uint64_t version; /* put, get, delete; of a failed condition: the current one (0: absent) */
    bool has_index;
    uint64_t index;                    /* RaftKV-Index: the node had applied so much */
    bool deleted;                      /* delete: the key was there */
    bool replayed;                     /* the answer of an earlier try */
    char node[LIMIT_NAME_BYTES + 1];   /* that answered; "": none did */
    char leader[LIMIT_NAME_BYTES + 1]; /* as that node knows it; "": none */
    const char *endpoint; /* that was asked last; lives as long as the client. NULL: none */
    unsigned sends;       /* requests that left for a node */
};
void client_reply_init(struct client_reply *r);
void client_reply_release(struct client_reply *r);

/* ERR_USAGE names an endpoint that is none. */
int client_new(const struct client_options *options, struct client **out, struct err *err);
void client_free(struct client *c);
size_t client_endpoint_count(const struct client *c);
const char *client_endpoint(const struct client *c, size_t i);
/* The next call begins with the next endpoint: for a caller who is not content with this one's
 * answer. */
void client_turn(struct client *c);

/*
 * All return 0 or the error of the contract's table: ERR_UNKNOWN for a write that may have been
 * applied, ERR_UNREACHABLE when no node answered; `err` says what and which endpoint.
 */
int client_put(struct client *c, struct slice key, struct slice value,
               enum command_condition condition, uint64_t expected, struct client_reply *reply,
               struct err *err);
int client_delete(struct client *c, struct slice key, enum command_condition condition,
                  uint64_t expected, struct client_reply *reply, struct err *err);
/* Puts and deletes as one write: `body` is POST /batch's JSON. Of the reply, the version. */
int client_batch(struct client *c, struct slice body, struct client_reply *reply, struct err *err);
/* `raw`: the body is the value's bytes; else the item as JSON. */
int client_get(struct client *c, struct slice key, bool raw, struct client_reply *reply,
               struct err *err);

struct client_scan { /* slices with data NULL are absent */
    struct slice prefix, start, end;
    const char *cursor; /* NULL: from the beginning */
    uint32_t limit;     /* 0: the node's default */
    bool reverse, keys_only;
};
/* One page, undecoded in the reply and, if `page` is not NULL, decoded (api_page_release). */
int client_scan(struct client *c, const struct client_scan *scan, struct client_reply *reply,
                struct api_page *page, struct err *err);

/* GET of /status, /members, … from whichever endpoint answers; the body is a JSON object. */
int client_read(struct client *c, const char *path, struct client_reply *reply, struct err *err);
/* From that endpoint alone, once; a node's reply counts whatever its status (/readyz says 503). */
int client_read_from(struct client *c, size_t endpoint, const char *path,
                     struct client_reply *reply, struct err *err);

/* The same, and an error of the node's is one of the call. */
int client_fetch_from(struct client *c, size_t endpoint, const char *path,
                      struct client_reply *reply, struct err *err);

enum client_change { CLIENT_POST, CLIENT_DELETE };
/* A change of members or leader: no session, see above. `body` is JSON, or empty with DELETE. */
int client_change(struct client *c, enum client_change change, const char *path, struct slice body,
                  struct client_reply *reply, struct err *err);
/* A change that concerns one endpoint and nobody else: sent there, once. */
int client_change_at(struct client *c, size_t endpoint, enum client_change change, const char *path,
                     struct slice body, struct client_reply *reply, struct err *err);

/* The exit status of a program whose call ended so: a read is never of unknown outcome, a write
 * that was certainly not applied neither. */
int client_exit_status(int code, const struct client_reply *reply);

#endif
