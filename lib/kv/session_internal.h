/*
 * Client sessions (§6.3): what makes a retried write apply once.
 *
 * All are in one list, least recently used first. `used_index` orders it, and since cluster time
 * never goes back along the log, `used_ms` does too: eviction and expiry both take from its head.
 */
#ifndef RAFTKV_KV_SESSION_INTERNAL_H
#define RAFTKV_KV_SESSION_INTERNAL_H

#include <bsd/sys/queue.h>

#include "lib/kv/hash_index_internal.h"
#include "lib/kv/memtable_internal.h"
#include "lib/kv/state.h"

struct live_session {
    struct hash_link link;
    TAILQ_ENTRY(live_session) uses;
    struct session session;
    uint64_t table;  /* number of the memtable that last noted it; 0: none … */
    uint32_t record; /* … and where */
    bool gone; /* removed; stays findable until that memtable is frozen, which may note it again */
};

TAILQ_HEAD(session_list, live_session);

struct session_table {
    struct hash_index index;
    struct session_list used; /* least recently used first */
    struct session_list gone;
    size_t count; /* of those used */
    size_t max;
    uint64_t ttl_ms;
};

void sessions_init(struct session_table *t, size_t max, uint64_t ttl_ms);
void sessions_load(struct session_table *t, const struct session *sessions, size_t count);
void sessions_release(struct session_table *t);

struct live_session *sessions_find(const struct session_table *t, struct slice client);

enum { SESSION_NEW_REQUEST = 0, SESSION_REPLAY = 1 };
/* One of these, or ERR_SEQ_OLD, ERR_SEQ_REUSED, ERR_SESSION_UNKNOWN. `known`: NULL for an unknown
 * client. */
int session_judge(const struct live_session *known, uint64_t seq, uint64_t fingerprint);

/* Sets a session, makes it the most recently used and notes that in the memtable. A new one pushes
 * the least recently used ones out when there are too many. `known`: what sessions_find said of
 * next->client. */
void sessions_put(struct session_table *t, struct memtable *m, struct live_session *known,
                  const struct session *next);
/* Removes the client's session if its time is over at `now_ms`. */
void sessions_expire(struct session_table *t, struct memtable *m, struct slice client,
                     uint64_t now_ms);
bool session_expired(const struct session_table *t, const struct session *session, uint64_t now_ms);
/* The active memtable was frozen: nothing of it is noted again. */
void sessions_frozen(struct session_table *t);

#endif
