/* What state.c, batch.c and scan.c share. */
#ifndef RAFTKV_KV_STATE_INTERNAL_H
#define RAFTKV_KV_STATE_INTERNAL_H

#include <bsd/sys/queue.h>
#include <stdatomic.h>

#include "lib/kv/memtable_internal.h"
#include "lib/kv/session_internal.h"
#include "lib/kv/state.h"

TAILQ_HEAD(memtable_queue, memtable);

struct state {
    struct state_options options;
    const struct state_base *base;

    raft_index applied;
    raft_term applied_term;
    uint64_t cluster_time_ms;
    struct membership membership;

    struct memtable_queue tables; /* newest first: the active one, then the frozen ones */
    uint64_t table_number;        /* of the active one; counts up, over resets too */
    uint32_t frozen;
    uint64_t frozen_bytes, frozen_rows;
    raft_index flushed;
    raft_index ends[STATE_ENDS_MAX]; /* see state_end_at; a ring */
    uint32_t ends_next;
    struct memtable *retired;  /* flushed, and dropped a little with each apply; NULL: none */
    struct hash_index overlay; /* newest row of each key in the memtables */
    struct session_table sessions;

    struct { /* for state_limits in other threads */
        _Atomic uint64_t bytes, rows, applied, flushed;
        _Atomic uint32_t frozen;
    } published;
};

static inline struct memtable *state_active(const struct state *s)
{
    return TAILQ_FIRST(&s->tables);
}

/* The key's version, 0 if it is not there; `newest` is its row in the overlay, if it has one. */
int state_key_version(struct state *s, struct slice key, const struct memrow *newest,
                      uint64_t *version, struct err *err);

/* ---- batch.c ---- */

/* All writes of a batch, or on an error of the base none. */
int batch_apply(struct state *s, const struct entry *e, const struct command *c,
                struct apply_result *result, struct err *err);

#endif
