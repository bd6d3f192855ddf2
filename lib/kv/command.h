/*
 * What a log entry says: the binary codec of commands (little endian, versioned, strict: a byte too
 * many or too few is ERR_CORRUPT). A command is one client write, which may be a batch of puts and
 * deletes, or housekeeping by the leader; a configuration entry is a membership.
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

enum command_op {
    COMMAND_PUT = 1,
    COMMAND_DELETE = 2,
    COMMAND_EXPIRE_SESSIONS = 3,
    COMMAND_BATCH = 4
};

enum command_condition {
    CONDITION_NONE,
    CONDITION_VERSION, /* the key's version is `expected`, which is > 0 */
    CONDITION_ABSENT,  /* the key is not there */
};

enum { COMMAND_CLIENT_BYTES = 64, COMMAND_EXPIRE_MAX = 64 };

/* A put or delete of a batch. */
struct command_write {
    enum command_op op; /* COMMAND_PUT, COMMAND_DELETE */
    struct slice key, value;
};

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
    uint32_t write_count;  /* COMMAND_BATCH: 1 to LIMIT_BATCH_WRITES */
    struct slice writes;   /* COMMAND_BATCH: encoded; see command_write_next */
    uint32_t expire_count; /* COMMAND_EXPIRE_SESSIONS: ids in `expire` */
    struct slice expire[COMMAND_EXPIRE_MAX];
};

size_t command_encoded_bytes(const struct command *c);
void command_encode(const struct command *c, uint8_t *out); /* exactly command_encoded_bytes */
int command_decode(struct slice in, struct command *c, struct err *err);
/* The writes of a batch are encoded one behind the other, in strictly ascending order of keys: so a
 * key stands there once, and equal batches have equal bytes. */
size_t command_write_bytes(const struct command_write *w); /* encoded */
/* Appends to `out`; its room is the caller's to see to: ERR_TOO_LARGE. */
int command_write_append(struct buf *out, const struct command_write *w);
/* The next one, which leaves `*rest` (command.writes to begin with); false at the end. Only for
 * what command_decode took, or command_write_append made. */
bool command_write_next(struct slice *rest, struct command_write *w);

/* Identifies a request for exactly-once: hash of op, key, value and condition, or of all that a
 * batch writes, not of times or sequence. */
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
