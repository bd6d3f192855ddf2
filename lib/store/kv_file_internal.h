/* What writer, reader and snapshots know of a kv.<generation>.db. */
#ifndef RAFTKV_STORE_KV_FILE_INTERNAL_H
#define RAFTKV_STORE_KV_FILE_INTERNAL_H

#include "lib/store/kv_store.h"
#include "lib/store/page_sum.h"
#include "lib/store/private.h"
#include "lib/store/sqlite_util.h"

enum { KV_NAME_BYTES = 64 };

extern const struct sq_format kv_format;

/* The rows of its table meta. */
struct kv_head {
    raft_index applied;
    raft_term applied_term;
    uint64_t cluster_time_ms;
    struct membership membership;
    struct digest cluster_id;
    struct digest digest;
    uint64_t keys;
};

void kv_file_name(uint64_t generation, char out[KV_NAME_BYTES]);
int kv_head_read(struct sq_meta *meta, struct kv_head *out, struct err *err);
/* What its column batch_existed holds; borrowed. */
struct slice kv_session_batch(const struct session *s);
uint32_t kv_session_crc(const struct session *s);
#define KV_SESSIONS_SELECT                                                                         \
    "SELECT client, seq, fingerprint, status, existed, batch_existed, version, timestamp, "        \
    "used_ms, used_index, crc FROM sessions"
/* The row that a statement of that text stands on; its CRC verified. */
int kv_session_read(sqlite3_stmt *st, struct session *s, struct err *err);
/* An array (mem_free) in no particular order; each CRC verified. */
int kv_sessions_read(sqlite3 *db, struct session **out, size_t *out_count, struct err *err);
/* Names the file and checks application id, format and schema of an open connection; a database
 * without anything is ERR_CORRUPT too. */
int kv_file_check(sqlite3 *db, struct err *err);
int kv_cache_set(sqlite3 *db, int kib, struct err *err);

#endif
