/* What the tests of lib/verify share: data directories made by the stores, and what is found. */
#ifndef RAFTKV_TESTS_UNIT_VERIFY_H
#define RAFTKV_TESTS_UNIT_VERIFY_H

#include "lib/base/buf.h"
#include "lib/verify/verify.h"
#include "tests/unit/store.h"

/* A node's life: the log of `seed` to `last`, the state flushed at several places up to `applied`.
 */
struct dir_plan {
    uint64_t seed;
    raft_index last, applied;
    raft_index compacted; /* the log begins behind it; 0: at 1 */
    raft_index snapshot;  /* a snapshot file of the state there; 0: none */
    raft_index other;     /* from here on the entries are others, of the same terms; 0: none */
    raft_term later;      /* added to the terms from `other` on */
    bool killed;          /* the stores were not closed: WALs are there */
};
/* Makes the directory, and returns its path; good until the end. */
const char *verify_make_dir(const char *name, const struct dir_plan *plan);
/* The same with rows of meta that are whole, but say something else. */
void verify_set_u64(const char *dir, const char *file, const char *name, uint64_t value);
void verify_set_digest(const char *dir, const char *file, const char *name, struct digest value);
void verify_set_membership(const char *dir, const char *file, const char *name,
                           const struct membership *m);
/* Puts an entry into the log, or in the place of the one that is there, with the right CRC. */
void verify_set_entry(const char *dir, const struct entry *e);
/* SQL on a file of a stopped store; ends the test if it fails. */
void verify_sql(const char *dir, const char *file, const char *sql);

/* All that was told, a line each: "fact: …", "note: …", "wrong: …", "unknown: …". */
struct found {
    struct buf text;
    unsigned facts, notes, wrong, unknown;
    int code; /* of the function */
    struct err err;
};
void found_release(struct found *f);
const char *found_text(const struct found *f);
void find_data(const char *const *paths, size_t count, struct found *f);
void find_data_in(const char *path, const char *scratch, struct found *f);
void find_data_of(const char *path, struct found *f);
void find_replay(const char *path, const char *from, struct found *f);
/* Nothing is wrong and nothing unknown. */
void found_sound(const struct found *f, const char *what);
/* Something is wrong, or unknown, and a line says so with this text in it. */
void found_wrong(const struct found *f, const char *text, const char *what);
void found_unknown(const struct found *f, const char *text, const char *what);

/* Names, bytes and times of all files of a directory; mem_free. */
char *verify_picture(const char *dir);

#endif
