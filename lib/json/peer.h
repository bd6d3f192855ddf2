/*
 * Raft messages between members, as JSON.
 *
 * {"v":1,"cluster":"…32 hex…","from":"…16 hex…","to":"…","type":"append","term":3, …the type's own
 * members…, "stream":N,"seq":N,"entries":"base64 of entries_encode"}
 *
 * `entries` stands last, whatever order the others have: it is taken out before the parse. A reply
 * is the same without stream and entries. `context` is the receiver's own and not sent. Integers
 * are below 2^53; ids are hex strings. Decoding is strict: an unknown type, a missing or surplus
 * member, a number out of range, another version are ERR_BAD_REQUEST and named.
 */
#ifndef RAFTKV_JSON_PEER_H
#define RAFTKV_JSON_PEER_H

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/limits.h"
#include "lib/kv/command.h"
#include "lib/kv/entry.h"
#include "lib/raft/raft.h"

enum { PEER_PROTOCOL_VERSION = 1 };

/* The state digest at a log index: index 0 is none. */
struct peer_digest {
    raft_index index;
    struct digest value;
};

struct peer_message {
    struct digest cluster;
    struct raft_message message; /* from, to inside; runs and configurations are not set here */
    uint64_t stream,
        seq; /* APPEND: order within what one leader sends to one follower; 0 otherwise */
    /* HEARTBEAT: what a majority has at that index, if one is known; its reply: what the sender
     * has. */
    struct peer_digest digest;
    struct entry **entries; /* APPEND: message.entry_count of them, one reference each; owned */
};

void peer_message_release(struct peer_message *m);
int peer_message_encode(const struct peer_message *m, struct buf *out);
int peer_message_decode(struct slice body, struct peer_message *m, struct err *err);

/* What a node says of itself at /raft/hello, to those who form a cluster with it or add it. */
enum { HELLO_MEMBERS_MAX = RAFT_MEMBERS_MAX };
struct hello {
    char name[LIMIT_NAME_BYTES + 1];
    char url[LIMIT_URL_BYTES + 1];
    raft_id id;
    bool has_cluster;
    struct digest cluster;
    bool empty; /* nothing in its log, no term: may form or be added */
    bool waits; /* started to be added (--join, --standby) */
    uint32_t
        count; /* of `list`, sorted by name: forming: that of --cluster, ids 0; else the members */
    struct member_address list[HELLO_MEMBERS_MAX];
    struct digest
        view; /* hash of the first membership as it would form it; zero while somebody is missing */
};
int hello_encode(const struct hello *h, struct buf *out);
int hello_decode(struct slice body, struct hello *h, struct err *err);

/* A refusal between peers: an error of the API with, for a stranger, what it was measured against.
 */
struct peer_refusal {
    int code; /* ERR_FORBIDDEN (not a member), ERR_WRONG_CLUSTER, ERR_BAD_REQUEST, … */
    raft_index
        configuration_index; /* not a member: of the committed configuration of the refusing node */
    char message[256];
};
int peer_refusal_decode(struct slice body, struct peer_refusal *r, struct err *err);
int peer_refusal_encode(const struct peer_refusal *r, struct buf *out);

#endif
