/*
 * What a log entry says: the binary codec of commands (little endian, versioned, strict: a byte too
 * many or too few is ERR_CORRUPT). A command is one client write, a batch of housekeeping by the
 * leader, or a membership configuration.
 */
#ifndef RAFTKV_KV_COMMAND_H
#define RAFTKV_KV_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/limits.h"
#include "lib/raft/raft.h"

enum command_op { COMMAND_PUT = 1, COMMAND_DELETE = 2, COMMAND_EXPIRE_SESSIONS = 3 };

enum command_condition {
    CONDITION_NONE,
    CONDITION_VERSION, /* the key's version is `expected`, which is > 0 */
    CONDITION_ABSENT,  /* the key is not there */
};

enum { COMMAND_CLIENT_BYTES = 64, COMMAND_EXPIRE_MAX = 64 };

/* Borrowed views into the entry's bytes. */
struct command {
    enum command_op op;
    uint64_t wall_ms;         /* the leader's wall clock: the item's `timestamp` */
    uint64_t cluster_time_ms; /* by which sessions expire; never decreasing along the log */
    struct slice client;      /* session id; empty: none */
    uint64_t seq;             /* from 1; 0: none */
    struct slice key;
    struct slice value; /* COMMAND_PUT */
    enum command_condition condition;
    uint64_t expected;     /* CONDITION_VERSION */
    uint32_t expire_count; /* COMMAND_EXPIRE_SESSIONS: ids in `expire` */
    struct slice expire[COMMAND_EXPIRE_MAX];
};

size_t command_encoded_bytes(const struct command *c);
void command_encode(const struct command *c, uint8_t *out); /* exactly command_encoded_bytes */
int command_decode(struct slice in, struct command *c, struct err *err);
/* Identifies a request for exactly-once: hash of op, key, value and condition, not of times or
 * sequence. */
uint64_t command_fingerprint(const struct command *c);

/* 1 to 64 printable ASCII characters: what may stand in `client` and `expire`; check it where an id
 * comes in. */
bool client_id_valid(const void *id, size_t len);

/* Membership: what the core knows of it and the addresses that it does not. */
struct member_address {
    raft_id id;
    char name[LIMIT_NAME_BYTES + 1];
    char url[LIMIT_URL_BYTES + 1];
};

struct membership {
    struct raft_configuration configuration;
    struct member_address
        addresses[RAFT_MEMBERS_MAX]; /* addresses[i] belongs to configuration.members[i] */
};

size_t membership_encode(const struct membership *m,
                         struct buf *out); /* without configuration.index; returns bytes written */
int membership_decode(struct slice in, raft_index index, struct membership *m, struct err *err);
const struct member_address *membership_by_id(const struct membership *m, raft_id id);
/* While a member is replaced by one of the same name: the voter. */
const struct member_address *membership_by_name(const struct membership *m, const char *name);
/* The cluster id: hash of the first membership (entry 1). */
struct digest membership_cluster_id(const struct membership *m);

bool member_name_valid(const char *name, size_t len); /* [A-Za-z0-9._-]{1,64} */

#endif
