/* What the inspections of raft.db and of the state's files have in common. */
#ifndef RAFTKV_STORE_INSPECT_INTERNAL_H
#define RAFTKV_STORE_INSPECT_INTERNAL_H

#include "lib/store/inspect.h"
#include "lib/store/private.h"
#include "lib/store/sqlite_util.h"

enum { INSPECT_FINDINGS_MAX = 20 }; /* of one kind in one file; then "and so on" */

/* Every line of PRAGMA integrity_check is a finding. False: the file cannot be read on. */
bool inspect_pages(const struct inspection *in, sqlite3 *db);
/* Rows of meta that are not in the list. */
void inspect_meta_names(const struct inspection *in, sqlite3 *db, const char *file,
                        const char *const *names);
/* ERR_CORRUPT is wrong, everything else unknown. */
void inspect_tell_failure(const struct inspection *in, const struct err *err);

#endif
