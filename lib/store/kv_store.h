/*
 * kv.<generation>.db: the replicated state as of one log index, in SQLite (WAL,
 * synchronous=NORMAL).
 *
 *   kv(key BLOB PRIMARY KEY, version, timestamp, value BLOB) WITHOUT ROWID
 *   sessions(client TEXT PRIMARY KEY, seq, fingerprint, status, existed, batch_existed, version,
 *            timestamp, used_ms, used_index, crc) WITHOUT ROWID
 *   meta(name TEXT PRIMARY KEY, value, crc) WITHOUT ROWID: cluster_id, applied_index, applied_term,
 *            membership, membership_index, cluster_time_ms, digest, keys
 *
 * The format is the database's user_version, the kind of file its application_id.
 * Rows, sessions, applied index and digest of a flush change in one transaction. After a crash the
 * file is behind, never torn, and the log replays the rest. Only the writer writes, and only the
 * writer checkpoints (the WAL-reset bug of SQLite 3.7.0 to 3.51.2 needs two connections that do);
 * readers are read-only.
 */
#ifndef RAFTKV_STORE_KV_STORE_H
#define RAFTKV_STORE_KV_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/kv/state.h"
#include "lib/store/log_store.h"

/* Of one row; the digest of a state is the sum (digest_add) of those of its rows. */
struct digest kv_row_digest(const struct row *row);

/* Deletes every other generation with its -wal and -shm, and all snapshot files, finished or not;
 * creates the file of `generation` if it does not exist and `may_create`; ERR_CORRUPT, and nothing
 * deleted, if it must exist and does not. Directory synced. Nothing is open of the
 * other generations; the file of `generation` may be, and is not touched. */
int kv_store_prepare(struct data_dir *dir, uint64_t generation, bool may_create, struct err *err);

/* ---- the writer: the flusher thread ---- */

struct kv_writer;
/* Opened before any reader or snapshot_take, closed behind them. Recovers the WAL, checks format
 * and cluster id (NULL or zero: not known). A file that knows none takes it: raft.db is the first
 * to have it, and a loss of power in the moments after may take it from the file. */
int kv_writer_open(struct data_dir *dir, uint64_t generation, const struct digest *cluster_id,
                   struct kv_writer **out, struct err *err);
void kv_writer_close(struct kv_writer *w); /* checkpoints what it can */

/* What the file says; sessions (array, mem_free) go to the caller. */
struct kv_image {
    struct state_image image; /* image.sessions points to `sessions` */
    struct session *sessions;
    struct digest digest;
    uint64_t keys;
};
int kv_writer_image(struct kv_writer *w, struct kv_image *out, struct err *err);
/* ERR_CORRUPT if the file knows another cluster already. */
int kv_writer_set_cluster(struct kv_writer *w, struct digest cluster_id, struct err *err);

/*
 * Any thread. A calm writer works in small pieces with rests between them, for the sake of those
 * who need the same core and disk; otherwise, and at first, it hurries.
 */
void kv_writer_calm(struct kv_writer *w, bool calm);
/*
 * Writes a frozen memtable in key order in one transaction. A failed flush changes nothing that
 * anybody saw: the transaction is rolled back (or found to be gone, sqlite3_get_autocommit) and the
 * whole memtable is tried again by the caller. ERR_DISK_FULL, ERR_IO, ERR_CORRUPT. `digest` and
 * `keys` are those after it.
 */
int kv_writer_flush(struct kv_writer *w, const struct memtable *m, struct digest *digest,
                    uint64_t *keys, struct err *err);
/* Moves frames into the file. `*checkpointed` = the applied index that is now in the file itself
 * and synced, if every frame was moved (nLog == nCkpt); unchanged otherwise. The log may be cut up
 * to it. After an error it may be tried again: nothing counts as moved until all is written and
 * synced. A reader that has not been refreshed since the flush is in its way, and so is a snapshot
 * being taken, until its copy is made. */
int kv_writer_checkpoint(struct kv_writer *w, raft_index *checkpointed, struct err *err);
/* These two may be called by any thread. The WAL's: what is not in the file yet. */
uint64_t kv_writer_file_bytes(const struct kv_writer *w);
uint64_t kv_writer_wal_bytes(const struct kv_writer *w);

/* ---- a reader: the state machine thread ---- */

struct kv_reader;
int kv_reader_open(struct data_dir *dir, uint64_t generation, struct kv_reader **out,
                   struct err *err);
void kv_reader_close(struct kv_reader *r);
/* Its view of the rows underneath. A seek or a get ends the cursor of an earlier seek. One read
 * transaction is kept between reads; it is renewed by itself at the first read behind a flush or a
 * checkpoint. */
void kv_reader_base(struct kv_reader *r, struct state_base *base);
/* Gives the transaction up until the next read. To be called after each flush, before the
 * checkpoint behind it: else, while nothing is read, that one cannot move all frames. */
void kv_reader_refresh(struct kv_reader *r);

/* ---- snapshots: a helper's work, on connections and files of its own ---- */

struct snapshot_info {
    raft_index index; /* as read inside the copy */
    raft_term term;
    struct membership membership;
    struct digest cluster_id;
    struct digest state_digest;
    uint64_t bytes;
    uint32_t crc; /* CRC32C of the file */
};

/* Copies kv.<generation>.db inside one read transaction into snapshot.<index>.db (by way of a
 * temporary name), syncs and closes it. `cancelled` may be set by another thread (an atomic store):
 * ERR_AGAIN. One at a time. */
int snapshot_take(struct data_dir *dir, uint64_t generation, const volatile bool *cancelled,
                  struct snapshot_info *info, struct err *err);
/* Reads one of ours, for sending. `len` in: room, out: bytes read (0 at the end). ERR_NOT_FOUND. */
int snapshot_read(struct data_dir *dir, raft_index index, uint64_t offset, uint8_t *out,
                  size_t *len, struct err *err);
void snapshot_delete(struct data_dir *dir, raft_index index);

/* Receiving one: chunks in order into incoming.<index>.<term>.<bytes>.<crc>.db; resumable at
 * snapshot_receive_offset as long as the same (index, term, bytes, crc) is sent and no
 * kv_store_prepare came in between. What came of any other one is deleted. One at a time. */
struct snapshot_receiver;
int snapshot_receive_open(struct data_dir *dir, const struct snapshot_info *expected,
                          struct snapshot_receiver **out, struct err *err);
uint64_t snapshot_receive_offset(const struct snapshot_receiver *r);
/* ERR_BAD_REQUEST: not at our offset, or over the announced end. */
int snapshot_receive_chunk(struct snapshot_receiver *r, uint64_t offset, const uint8_t *data,
                           size_t len, struct err *err);
/* All bytes there (else ERR_BAD_REQUEST): verifies CRC, format, integrity, cluster id
 * (ERR_WRONG_CLUSTER), digest and number of the rows, index, term and (if it was announced)
 * membership inside; syncs; renames to kv.<generation>.db and syncs the directory. Not yet in
 * force: that is log_store_install. ERR_CORRUPT: what came is thrown away, the offset is 0 again.
 */
int snapshot_receive_finish(struct snapshot_receiver *r, uint64_t generation,
                            struct snapshot_info *info, struct err *err);
void snapshot_receive_close(struct snapshot_receiver *r, bool keep_file);

#endif
