/*
 * The client API's JSON, both directions: written by the node, read by raftkv-ctl, raftkv-bench and
 * raftkv-check.
 *
 * Bytes that are UTF-8 stand as strings, others as NAME_base64. All integers stay below 2^53.
 * Parsing is strict (no duplicate members, no unknown ones in requests, depth at most
 * LIMIT_JSON_DEPTH); replies may carry members that a reader does not know.
 */
#ifndef RAFTKV_JSON_API_H
#define RAFTKV_JSON_API_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/kv/command.h"
#include "lib/kv/state.h"

/* ---- errors ---- */

enum outcome { OUTCOME_NONE, OUTCOME_NOT_APPLIED, OUTCOME_UNKNOWN }; /* NONE: not a write */

struct api_error {
    int code;
    char message[ERR_TEXT_BYTES];
    enum outcome outcome;
    bool retryable;
    bool has_version; /* precondition_failed */
    uint64_t version;
    bool has_limit; /* too_large */
    uint64_t limit, actual;
    uint64_t retry_after_ms;      /* 0: absent */
    bool has_configuration_index; /* peers: see json/peer.h */
    uint64_t configuration_index;
};
int api_error_encode(const struct api_error *e, struct buf *out);
int api_error_decode(struct slice body, struct api_error *e, struct err *err);

/* ---- items ---- */

/* GET: key, value, version, timestamp. `with_value` false: PUT's answer. */
int api_item_encode(const struct row *row, bool with_value, struct buf *out);
int api_deleted_encode(struct slice key, bool deleted, uint64_t version, struct buf *out);

/* A scan page, row by row: begin, rows, end. */
int api_page_begin(struct buf *out);
int api_page_row(struct buf *out, const struct row *row, bool keys_only, bool first);
int api_page_end(struct buf *out, const char *next, uint64_t index); /* next NULL: null */

/* Decoded items own their bytes. */
struct api_item {
    struct buf key, value;
    bool has_value;
    uint64_t version, timestamp_ms;
    bool has_deleted, deleted;
};
void api_item_release(struct api_item *i);
int api_item_decode(struct slice body, struct api_item *i, struct err *err);

struct api_page {
    struct api_item *items;
    size_t count;
    char *next; /* NULL: the range is done */
    uint64_t index;
};
void api_page_release(struct api_page *p);
int api_page_decode(struct slice body, struct api_page *p, struct err *err);

/* Cursor of a scan: opaque text (base64url) that holds bounds, direction, keys_only and the last
 * key. */
struct scan_cursor {
    struct buf prefix, start, end, after;
    bool reverse, keys_only;
};
int scan_cursor_encode(const struct state_scan *scan, struct slice last_key, struct buf *out);
int scan_cursor_decode(struct slice text, struct scan_cursor *c, struct err *err);
void scan_cursor_release(struct scan_cursor *c);

/* ---- members and status ---- */

struct api_member {
    char name[LIMIT_NAME_BYTES + 1];
    raft_id id;
    char url[LIMIT_URL_BYTES + 1];
    const char *role;  /* "voter", "learner", "incoming", "outgoing" */
    const char *state; /* "leader", "follower", …; "unknown" */
    uint64_t match;
    int64_t last_contact_ms; /* -1: null */
    bool reachable;
};
struct api_change {    /* kind NULL: none */
    const char *kind;  /* "add", "promote", "remove", "replace" */
    const char *phase; /* "catching_up", "joint", "final" */
    raft_id id;
};
struct api_status {
    bool has_cluster;
    struct digest cluster;
    char leader[LIMIT_NAME_BYTES + 1]; /* "": null */
    uint64_t term, commit, applied;
    int fault_tolerance; /* voters that may be lost now */
    uint32_t member_count;
    struct api_member members[RAFT_MEMBERS_MAX];
    struct api_change change;
    uint64_t configuration_index;
};
int api_status_encode(const struct api_status *s, struct buf *out); /* GET /status */
int api_members_encode(const struct api_status *s,
                       struct buf *out); /* GET /members, and the answer to changes */
int api_status_decode(struct slice body, struct api_status *s, struct err *err); /* both */

struct api_node {
    char name[LIMIT_NAME_BYTES + 1];
    raft_id id;
    const char *version;
    const char *state;
    char leader[LIMIT_NAME_BYTES + 1];
    uint64_t term;
    bool ready;
    uint64_t uptime_ms;
    uint64_t last, commit, applied, snapshot, first;
    uint64_t digest_index;
    struct digest digest;
    uint64_t log_bytes, kv_bytes, wal_bytes, disk_free, log_entries, keys;
};
int api_node_encode(const struct api_node *n, struct buf *out);
/* All but `version`, which is NULL. */
int api_node_decode(struct slice body, struct api_node *n, struct err *err);

/* ---- requests with a body ---- */

struct api_member_request { /* POST /members and /members/{id}/replace */
    char name[LIMIT_NAME_BYTES + 1];
    char url[LIMIT_URL_BYTES + 1];
    bool auto_promote; /* default true */
};
int api_member_request_encode(const struct api_member_request *r, bool with_auto_promote,
                              struct buf *out);
int api_member_request_decode(struct slice body, bool with_auto_promote,
                              struct api_member_request *r, struct err *err);
struct api_leader_request {
    char to[LIMIT_NAME_BYTES + 1]; /* name or id; "": the best follower */
};
int api_leader_request_decode(struct slice body, struct api_leader_request *r, struct err *err);
/* POST /batch: {"ops":[{"op":"put","key":…,"value":…},{"op":"delete","key":…}]}. `writes` gets them
 * as a command bears them (kv/command.h); it is initialised here, and the caller's to release on
 * success. Over a limit `e` has limit and actual too. Returns 0 or e->code. */
int api_batch_decode(struct slice body, size_t value_bytes_max, struct buf *writes, uint32_t *count,
                     struct api_error *e);
/* One of its operations alone, for who puts a batch together from lines of text: ERR_BAD_REQUEST
 * unless it is one. */
int api_batch_op_check(struct slice text, struct err *err);
/* {"version":N,"timestamp":T,"puts":2,"deletes":[{"key":"a","deleted":true}]}: deletes in the order
 * of their keys. `existed` as in apply_result. */
int api_batch_reply_encode(struct slice writes, const struct apply_result *result, struct buf *out);
struct api_batch_reply {
    uint64_t version, timestamp_ms, puts;
    uint64_t deletes, deleted; /* how many there were; … of keys that were there */
};
int api_batch_reply_decode(struct slice body, struct api_batch_reply *reply, struct err *err);
/* Of a call that says all in its path: nothing, or {}. */
int api_empty_request_decode(struct slice body, struct err *err);

/* ---- generic, for text output of the tools and configuration files ---- */

/* Calls `each` for every member of a flat object of scalars (text of strings, numbers, true/false).
 * Nested values are ERR_BAD_REQUEST. */
int json_flat_object(struct slice body,
                     int (*each)(void *, const char *name, const char *text, struct err *err),
                     void *argument, struct err *err);
/* Appends `text` quoted and escaped; it must be UTF-8. */
int json_quote(struct slice text, struct buf *out);
/* "name":"text" or "name_base64":"…". */
int json_bytes_member(const char *name, struct slice bytes, struct buf *out);

#endif
