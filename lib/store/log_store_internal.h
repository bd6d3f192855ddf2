/* Shared by log_store.c (at work) and log_store_start.c (what a start does). */
#ifndef RAFTKV_STORE_LOG_STORE_INTERNAL_H
#define RAFTKV_STORE_LOG_STORE_INTERNAL_H

#include <stdatomic.h>

#include "lib/store/private.h"
#include "lib/store/sqlite_util.h"

enum { LOG_PAGE_BYTES = 4096 };

extern const struct sq_format log_format;

struct log_store {
    struct data_dir *dir;
    sqlite3 *db;
    struct sq_meta meta;
    sqlite3_stmt *insert;   /* a row of the log */
    sqlite3_stmt *truncate; /* from idx on */
    sqlite3_stmt *cut;      /* up to idx */
    sqlite3_stmt *first;    /* smallest idx */
    sqlite3_stmt *term_at;
    sqlite3_stmt *range;

    raft_term term;
    raft_id vote;
    raft_index removed;
    raft_index base, last; /* the log is base+1 … last */
    uint64_t kv_generation;
    /* Rows up to here are not needed any more and go in slices; 0: none are left. */
    raft_index garbage;

    bool failed;    /* an error in writing: no more writes, no more syncs */
    bool unclean;   /* a failed commit left frames in the WAL: checkpoint before the next write */
    int wal_frames; /* behind the last commit */

    /* What log_store_open gave out. */
    struct raft_run *runs;
    struct membership *memberships;

    /* For log_store_figures, which any thread may call. */
    atomic_uint_fast64_t file_bytes, wal_bytes, wal_pages, shown_first, shown_last;
};

/* Everything but what the log_store_state points to. */
int log_store_start(struct log_store *s, const char *name, struct log_store_state *state,
                    struct err *err);
void log_store_show(struct log_store *s); /* refreshes the figures */

int log_store_set_base(struct log_store *s, raft_index index, raft_term term,
                       const struct membership *membership, struct err *err);

#endif
