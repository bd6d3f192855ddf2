/*
 * raft.db: the Raft log, the hard state and this member's identity, in SQLite.
 *
 * One connection (WAL, synchronous=FULL, locking_mode=EXCLUSIVE), which only one thread uses: the
 * disk thread. Every write is one transaction with one fsync, however many Raft writes it holds
 * (group commit). An error in writing is final: the caller aborts, re-reads everything at its next
 * start and never tries an fsync again (all further writes are refused, and closing does not sync);
 * the one exception is a full disk (ERR_DISK_FULL), where nothing was written and the same batch
 * may be tried again.
 *
 *   log(idx INTEGER PRIMARY KEY, term, kind, crc, data BLOB)
 *   meta(name TEXT PRIMARY KEY, value, crc) WITHOUT ROWID: member_id, name, cluster_id, term, vote,
 *            removed, snapshot_index, snapshot_term, snapshot_membership,
 * snapshot_membership_index, kv_generation
 *
 * The format is the database's user_version, the kind of file its application_id.
 */
#ifndef RAFTKV_STORE_LOG_STORE_H
#define RAFTKV_STORE_LOG_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/kv/command.h"
#include "lib/kv/entry.h"
#include "lib/raft/raft.h"

/* ---- the data directory ---- */

struct data_dir;
/* Creates the directory if need be (0700) and takes its lock file (flock; ERR_LOCKED names the
 * directory and the pid that has it). ERR_IO names what could not be done. */
int data_dir_open(const char *path, struct data_dir **out, struct err *err);
void data_dir_close(struct data_dir *d);
const char *data_dir_path(const struct data_dir *d);
int data_dir_free_bytes(const struct data_dir *d, uint64_t *bytes, struct err *err); /* statvfs */

/* ---- the log store ---- */

struct log_store;

/* What a start finds. */
struct log_store_state {
    raft_id member_id; /* random, made with the file */
    bool created;      /* the file is new: nobody ever heard of this member id */
    bool has_cluster;
    struct digest cluster_id;
    raft_term term;
    raft_id vote;
    raft_index removed;        /* see raft_removed_index */
    raft_index snapshot_index; /* the log begins behind it */
    raft_term snapshot_term;
    struct membership snapshot_membership; /* at snapshot_index; empty when that is 0 */
    raft_index last_index;
    uint64_t kv_generation;
    const struct raft_run
        *runs; /* of the log's entries; owned by the store until log_store_forget_start */
    uint32_t run_count;
    const struct membership *memberships; /* of the configuration entries in the log, in order */
    uint32_t membership_count;
};

/*
 * Opens or creates raft.db. Looks through its WAL first (a bad frame followed by a commit frame
 * with a further frame of the current salts behind it is damage; a bad frame in the last
 * transaction is a torn tail), checkpoints with TRUNCATE, then reads and verifies every row: CRC,
 * gaps, terms. Damage, a foreign application id or a newer format is ERR_CORRUPT, names file and
 * row, and deletes nothing. `name` is stored at creation and must agree later (ERR_CORRUPT names
 * both); NULL: whatever it is, of a store that must be there.
 */
int log_store_open(struct data_dir *dir, const char *name, struct log_store **out,
                   struct log_store_state *state, struct err *err);
void log_store_forget_start(struct log_store *s); /* frees what `state` borrowed */
/* Checkpoints and closes. */
int log_store_close(struct log_store *s, struct err *err);

/* One write of the core: hard state, truncation, entries (each indexed behind the one before). */
struct log_write {
    bool hard_state;
    raft_term term;
    raft_id vote;
    raft_index removed;
    raft_index truncate_from; /* 0: none */
    struct entry *const *entries;
    size_t entry_count;
    /* Set with the first write of a member's life in a cluster; all zero otherwise. */
    bool set_cluster;
    struct digest cluster_id;
};

/* All writes in order in one transaction with one fsync. Also deletes a slice of what
 * log_store_compact asked for, so that cutting the log costs a little in every batch. 0,
 * ERR_DISK_FULL (nothing happened), ERR_IO or ERR_CORRUPT (final); those below that write alike. */
int log_store_write(struct log_store *s, const struct log_write *writes, size_t count,
                    struct err *err);

/* The log up to `index` is no longer needed: the new base (durable at once, with the membership at
 * `index`); the rows go in slices. Reading below the base is ERR_NOT_FOUND from now on. */
int log_store_compact(struct log_store *s, raft_index index, raft_term term,
                      const struct membership *membership, struct err *err);
bool log_store_compacting(const struct log_store *s); /* rows are left to delete */
int log_store_compact_slice(struct log_store *s,
                            struct err *err); /* when there is nothing else to write */

/* Entries first … last, at most bytes_max of payload (one always fits), CRC verified; array
 * (mem_free) of references. ERR_NOT_FOUND when `first` is compacted, ERR_AGAIN when it is not
 * written yet, ERR_CORRUPT names the row. */
int log_store_read(struct log_store *s, raft_index first, raft_index last, uint64_t bytes_max,
                   struct entry ***entries, size_t *count, struct err *err);

/* The one commit point of installing a snapshot: kv generation, snapshot index, term and
 * membership; the log behind it is kept if its entry at `index` has `term`, dropped otherwise. */
int log_store_install(struct log_store *s, uint64_t kv_generation, raft_index index, raft_term term,
                      const struct membership *membership, bool *kept_tail, struct err *err);

/* Moves WAL frames into the file; when wal_pages is over a thousand, between two writes. `*done`:
 * all frames are there, and the next write begins the WAL anew. ERR_DISK_FULL may be tried again.
 */
int log_store_checkpoint(struct log_store *s, bool *done, struct err *err);

struct log_store_figures {
    uint64_t file_bytes, wal_bytes; /* as of the last checkpoint */
    uint64_t wal_pages;             /* not in the file yet */
    raft_index first, last;
};
/* Any thread; never waits. */
void log_store_figures(struct log_store *s, struct log_store_figures *out);

#endif
