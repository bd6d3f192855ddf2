/*
 * Data directories of nodes that do not run: is everything in them as it must be, does the state
 * follow from the log, do several of them fit together?
 *
 * What is found goes to a sink, line by line; a function here fails only when it could not begin. A
 * directory is copied below `scratch`, an existing directory of the caller's, and only the copy is
 * opened (lib/store/inspect.h); one at a time, and deleted before the next one. One thread.
 */
#ifndef RAFTKV_VERIFY_VERIFY_H
#define RAFTKV_VERIFY_VERIFY_H

#include <stddef.h>

#include "lib/base/err.h"
#include "lib/store/inspect.h"

enum { VERIFY_DIRECTORIES_MAX = 64 };

/*
 * Each directory by itself: raft.db, the file of the state, snapshot files, and what they say of
 * each other (applied index and term against the log, memberships, every row against the entry that
 * wrote it, if the log still has that). Then all of them: one cluster, logs that match (§3.5),
 * equal entries up to what two have applied (§3.6.3), equal digests at equal applied index.
 *
 * ERR_NOT_FOUND: a path is no data directory; nothing was looked at.
 */
int verify_data(const char *const *paths, size_t count, const char *scratch,
                const struct finding_sink *sink, struct err *err);

/*
 * Builds the state anew, by lib/kv's state machine and lib/store's writer, and compares it with
 * kv.<generation>.db: rows, sessions, cluster time, membership, applied term, number of keys,
 * digest. It begins with nothing, if the log has entry 1; else with the oldest snapshot file of the
 * directory that the log goes on from; or with `from` (NULL: none), a snapshot or a file of the
 * state of this cluster. Without any of these nothing can be said: FINDING_UNKNOWN.
 *
 * ERR_NOT_FOUND: the path, or `from`, is not what it should be; nothing was looked at.
 */
int verify_replay(const char *path, const char *from, const char *scratch,
                  const struct finding_sink *sink, struct err *err);

/* Deletes a scratch directory with what an interrupted function left in it. */
int verify_scratch_erase(const char *scratch, struct err *err);

#endif
