/*
 * Looking at the files of a data directory that nobody uses: all that is wrong is told, not only
 * what is met first, and nothing is mended.
 *
 * Opening a database takes its WAL in, so the files are copied aside first, and only the copy is
 * opened. The directory itself is neither written to nor created in; its lock is held while it is
 * copied (shared: two may look at a time, a node may not start), which a node's start is refused
 * for, and so is a copy of a directory that a node uses.
 */
#ifndef RAFTKV_STORE_INSPECT_H
#define RAFTKV_STORE_INSPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/kv/entry.h"
#include "lib/kv/state.h"
#include "lib/store/log_store.h"

enum finding {
    FINDING_FACT,  /* what there is */
    FINDING_NOTE,  /* unusual, and as it may be: the torn end of a WAL, what a crash left behind */
    FINDING_WRONG, /* must never be */
    FINDING_UNKNOWN, /* something could not be looked at */
};

/* Where findings go, a line without newline each, with the file first. */
struct finding_sink {
    void (*tell)(void *self, enum finding kind, const char *text);
    void *self;
};

/* A copy of a directory, and how its files are called in findings. */
struct inspection {
    struct data_dir *copy;
    const char *shown; /* the path of the original, as the user named it; borrowed */
    struct finding_sink sink;
};

/* 0 if there is a raft.db or a kv.<generation>.db; ERR_NOT_FOUND names what is missing, ERR_IO what
 * cannot be read. */
int data_dir_recognise(const char *path, struct err *err);
/*
 * Copies raft.db, kv.<generation>.db, with their -wal and -journal, and snapshot files, finished or
 * not, into the new directory `to`, and opens that (data_dir_close, then data_dir_erase).
 * ERR_LOCKED names the process that uses it, ERR_DISK_FULL how much room is wanted and there;
 * ERR_NOT_FOUND, ERR_IO. After an error `to` may be there and is to be erased.
 */
int data_dir_copy(const char *from, const char *to, struct data_dir **copy, struct err *err);
/* Copies a file of the state, or a snapshot, with its -wal if there is one, as that of
 * `generation`. ERR_NOT_FOUND, ERR_IO, ERR_DISK_FULL. */
int state_file_copy(const char *from, struct data_dir *to, uint64_t generation, struct err *err);
/* Deletes a directory and the files in it; missing is fine. */
int data_dir_erase(const char *path, struct err *err);

/* ---- raft.db ---- */

/* The rows of meta that are whole. */
enum log_fact {
    LOG_HAS_MEMBER_ID = 1 << 0,
    LOG_HAS_NAME = 1 << 1,
    LOG_HAS_CLUSTER = 1 << 2,
    LOG_HAS_TERM = 1 << 3,
    LOG_HAS_VOTE = 1 << 4,
    LOG_HAS_REMOVED = 1 << 5,
    LOG_HAS_BASE = 1 << 6, /* index, term and membership of the snapshot */
    LOG_HAS_GENERATION = 1 << 7,
};

struct log_facts {
    unsigned has; /* of enum log_fact; 0 if raft.db could not be opened */
    raft_id member_id;
    char name[LIMIT_NAME_BYTES + 1];
    struct digest cluster_id; /* zero: none yet */
    raft_term term;
    raft_id vote;
    raft_index removed;
    raft_index base; /* the log begins behind it */
    raft_term base_term;
    struct membership base_membership;
    uint64_t kv_generation;
    raft_index last; /* of the entries without a gap behind base */
    uint64_t rows;   /* in the table, those that are not needed any more too */
    bool whole;      /* every row could be read, in its place and with the right CRC */
};

/*
 * Looks through WAL, pages, format, rows of meta, and the log: CRCs, gaps, terms against each other
 * and the hard state, payloads that decode, the memberships. `entry` (may be NULL) is called for
 * each good entry behind base in order, borrowed.
 */
void log_inspect(const struct inspection *in, void (*entry)(void *self, const struct entry *e),
                 void *self, struct log_facts *out);

/* ---- kv.<generation>.db and snapshot files ---- */

enum kv_fact {
    KV_HAS_APPLIED = 1 << 0, /* index and term */
    KV_HAS_CLUSTER = 1 << 1,
    KV_HAS_TIME = 1 << 2,
    KV_HAS_MEMBERSHIP = 1 << 3,
    KV_HAS_DIGEST = 1 << 4,
    KV_HAS_KEYS = 1 << 5,
};

struct kv_facts {
    unsigned has; /* of enum kv_fact; 0 if the file could not be opened */
    raft_index applied;
    raft_term applied_term;
    uint64_t cluster_time_ms;
    struct membership membership;
    struct digest cluster_id;
    struct digest digest; /* as stored */
    uint64_t keys;        /* as stored */
    uint64_t rows, sessions;
    bool whole; /* every row could be read */
};

/*
 * Looks through pages, format, rows of meta, rows and sessions: keys in order and within limits,
 * versions and times that can be, CRCs of sessions, the digest of the rows against the stored one.
 * `row` (may be NULL) is called for each row in the order of keys, borrowed.
 */
void kv_inspect(const struct inspection *in, const char *name,
                void (*row)(void *self, const struct row *row), void *self, struct kv_facts *out);

/* Which files of the state are there. Calls `visit` with each name, in no order: generation and
 * suffix ("", "-wal", …) of one of the state, or 0 and the name of a snapshot file. */
int inspect_files(const struct inspection *in,
                  void (*visit)(void *self, const char *name, uint64_t generation), void *self,
                  struct err *err);
/* "snapshot.<index>.db" -> index; 0: something else. */
raft_index inspect_snapshot_index(const char *name);

/* A key as text: quoted if it is printable ASCII, else x'…' in hexadecimal; cut when it is long. */
void inspect_show_key(struct slice key, struct buf *out);
/* A finding about the directory; the text begins with its path as shown. */
void inspect_tell(const struct inspection *in, enum finding kind, const char *file, const char *fmt,
                  ...) __attribute__((format(printf, 4, 5)));
/* The same of an error, whose text may name the copy. */
void inspect_tell_err(const struct inspection *in, enum finding kind, const struct err *err);

#endif
