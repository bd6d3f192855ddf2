/*
 * The state machine: committed entries in, results out. Deterministic and without I/O.
 *
 * What is applied but not yet in `kv.db` lives in memtables: ordered maps, each covering a
 * consecutive range of log indexes. The newest is active; a frozen one never changes again and is
 * written by the flusher in one transaction that ends at its last index, after which it is dropped.
 * Reading looks through active, frozen (newest first) and the base underneath. So the file is
 * always exactly the state at one index, and nobody ever sees a half-done flush.
 *
 *     applied entries -> [active] -> freeze -> [frozen n … frozen 1] -> flusher -> base (kv.db)
 *
 * Threads: all functions belong to the state machine thread, but the const reading of a frozen
 * memtable (`memtable_*`), which the flusher does meanwhile, and state_limits, which anybody may
 * call.
 */
#ifndef RAFTKV_KV_STATE_H
#define RAFTKV_KV_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/kv/command.h"
#include "lib/kv/entry.h"

/* A row of the store. Views are borrowed: see who gives it. */
struct row {
    struct slice key;
    struct slice value;
    uint64_t version;      /* log index of the last write */
    uint64_t timestamp_ms; /* wall clock of the leader that took it */
};

enum { BATCH_EXISTED_BYTES = LIMIT_BATCH_WRITES / 8 };

/* A client session: what it needs to give a retry its first answer. */
struct session {
    char client[COMMAND_CLIENT_BYTES + 1];
    uint64_t seq;         /* last sequence number applied */
    uint64_t fingerprint; /* of that request */
    int32_t status;       /* its result: 0 or ERR_PRECONDITION_FAILED */
    bool existed;         /* delete: the key was there */
    uint64_t version;     /* its result's version */
    uint64_t timestamp_ms;
    uint64_t used_ms;                           /* cluster time of its last use */
    uint64_t used_index;                        /* log index of its last use: order of eviction */
    uint8_t batch_existed[BATCH_EXISTED_BYTES]; /* as in apply_result */
};

/*
 * The rows underneath: kv.db in the node, a map in the simulator. All its functions are called by
 * the state machine thread. Slices of a row are valid until the next call of any of them.
 */
struct state_base {
    void *self;
    /* 0 with *row filled, ERR_NOT_FOUND, or an error of the disk. */
    int (*get)(void *self, struct slice key, bool with_value, struct row *row, struct err *err);
    /* A cursor at the first key >= `from` (reverse: the last key < `from`, or the last of all if
     * `from` is empty). */
    int (*seek)(void *self, struct slice from, bool reverse, bool with_value, struct err *err);
    /* Next row of the cursor; ERR_NOT_FOUND at the end. */
    int (*next)(void *self, struct row *row, struct err *err);
};

/* What a state starts from: what kv.db says of its applied index. */
struct state_image {
    raft_index applied;
    raft_term applied_term;
    uint64_t cluster_time_ms;
    struct membership membership; /* at applied */
    const struct session *sessions;
    size_t session_count;
};

struct state_options {
    uint32_t memtable_rows_max;  /* a memtable is frozen when it has so many rows (32,768) … */
    uint64_t memtable_bytes_max; /* … or bytes … */
    uint32_t index_stride; /* … or when the applied index is a multiple of this (32,768), so that
                              nodes flush alike; 0: off */
    uint32_t sessions_max; /* 100,000 */
    uint64_t session_ttl_ms; /* 24 h of cluster time */
};

/* What nodes use. That sessions end alike on all of them is part of what the log means. */
extern const struct state_options state_options_default;

struct apply_result {
    raft_index index;
    int status; /* 0; ERR_PRECONDITION_FAILED, ERR_SEQ_OLD, ERR_SEQ_REUSED, ERR_SESSION_UNKNOWN, or
                   an error of the base */
    bool replayed;    /* the answer of an earlier try */
    bool existed;     /* delete: the key was there */
    uint64_t version; /* put, delete, batch: of this write (a delete of a missing key: its own
                         index); failed condition: current, 0 = absent */
    uint64_t timestamp_ms;
    /* Batch: bit i % 8 of byte i / 8: write i (in the order of keys) is a delete, and its key was
     * there. */
    uint8_t batch_existed[BATCH_EXISTED_BYTES];
};

static inline bool batch_existed(const uint8_t bits[BATCH_EXISTED_BYTES], uint32_t i)
{
    return bits[i / 8] >> i % 8 & 1;
}

enum { STATE_ENDS_MAX = 4 };

struct state;
struct memtable;

/* `base` and what it points to outlive the state. */
struct state *state_new(const struct state_options *options, const struct state_base *base,
                        const struct state_image *image);
void state_free(struct state *s);

/* Entries in order without gaps. Verifies the CRC. ERR_CORRUPT and errors of the base leave the
 * state as it was: nothing is half applied, the same entry may be tried again. */
int state_apply(struct state *s, struct entry *e, struct apply_result *result, struct err *err);

raft_index state_applied(const struct state *s);
raft_term state_applied_term(const struct state *s);
uint64_t state_cluster_time_ms(const struct state *s);
const struct membership *state_membership(const struct state *s); /* at applied */
size_t state_session_count(const struct state *s);
/* Sessions whose time is over at `cluster_time_ms`, oldest first, at most COMMAND_EXPIRE_MAX; ids
 * copied. For the leader. */
size_t state_sessions_expired(const struct state *s, uint64_t cluster_time_ms,
                              char ids[COMMAND_EXPIRE_MAX][COMMAND_CLIENT_BYTES + 1]);

/* row's slices are valid until the next call that changes or reads the state. 0, ERR_NOT_FOUND, or
 * the base's error. */
int state_get(struct state *s, struct slice key, struct row *row, struct err *err);

struct state_scan {
    struct slice prefix;     /* empty: all */
    struct slice start, end; /* included, excluded; empty: open */
    struct slice after; /* cursor: go on behind this key (in the direction of the scan); empty: from
                           the beginning */
    bool reverse, keys_only;
    uint32_t limit;     /* rows, > 0 */
    uint64_t bytes_max; /* of keys and values; one row always fits */
};
/* Calls `emit` for each row in order; `*more` says that the page ended before the range did. emit's
 * non-zero return ends it. */
int state_scan(struct state *s, const struct state_scan *scan,
               int (*emit)(void *, const struct row *), void *argument, bool *more,
               struct err *err);

/* ---- flushing ---- */

/* Freezes the active memtable (if it holds anything, rows or only an index). Returns the oldest
 * frozen one that is not flushed, or NULL. It stays valid until state_flushed. */
const struct memtable *state_freeze(struct state *s);
const struct memtable *state_oldest_frozen(const struct state *s);
/* A memtable is to end at `index`: at once if that is the applied index, else when it is; never if
 * it is behind. For who wants the digest of the state there. Only the STATE_ENDS_MAX last ones are
 * kept in mind. */
void state_end_at(struct state *s, raft_index index);
/* The base now has it. Its rows are dropped, a few with each state_apply, or all with the next
 * state_freeze: `m` is not to be used any more. */
void state_flushed(struct state *s, const struct memtable *m);
/* A snapshot was installed: everything is forgotten, the base underneath has been changed. */
void state_reset(struct state *s, const struct state_image *image);

struct state_limits {
    uint64_t overlay_bytes, overlay_rows; /* in all memtables */
    uint32_t frozen;
    raft_index applied, flushed;
};
void state_limits(const struct state *s, struct state_limits *out); /* atomics inside */

/* ---- a frozen memtable, for the flusher ---- */

struct memtable_change {
    struct row row;
    bool deleted; /* row.value is empty, row.version the index of the delete */
};
raft_index memtable_first_index(const struct memtable *m);
raft_index memtable_last_index(const struct memtable *m);
raft_term memtable_last_term(const struct memtable *m);
uint64_t memtable_cluster_time_ms(const struct memtable *m);
const struct membership *memtable_membership(const struct memtable *m); /* at last_index */
uint32_t memtable_row_count(const struct memtable *m);
/* In key order. NULL previous: the first. Returns NULL at the end. The returned pointer is an
 * opaque position. */
const void *memtable_next(const struct memtable *m, const void *previous,
                          struct memtable_change *change);
/* Sessions changed in its range, as they were at last_index; `gone`: to be deleted. */
uint32_t memtable_session_count(const struct memtable *m);
const struct session *memtable_session(const struct memtable *m, uint32_t i, bool *gone);

#endif
