/* What is kept of a directory while others are looked at: data.c fills it, data_pairs.c compares.
 */
#ifndef RAFTKV_VERIFY_DATA_INTERNAL_H
#define RAFTKV_VERIFY_DATA_INTERNAL_H

#include "lib/verify/verify.h"

/* An entry of the log. */
struct data_line {
    raft_term term;     /* 0: the entry is missing or damaged */
    uint64_t hash;      /* of kind and payload */
    size_t rows_at;     /* of the rows that it puts, in data_directory.rows … */
    uint32_t row_count; /* … 0: no put */
};

/* A configuration entry of the log. */
struct data_membership {
    raft_index index;
    struct digest value;
    bool has_self; /* this member is in it */
};

/* The state at an index: kv.<generation>.db, or a snapshot file. */
struct data_state {
    char file[64];
    struct kv_facts facts;
};

enum { DATA_STATES_MAX = 16 };

struct data_directory {
    struct inspection in;
    struct log_facts log;
    struct data_line *lines; /* lines[i] is entry log.base + 1 + i */
    size_t line_count, line_room;
    uint64_t *rows; /* hashes of the rows that entries put */
    size_t row_count, row_room;
    struct data_membership *memberships;
    size_t membership_count, membership_room;
    struct data_state *states; /* states[0] is the state in force, if has_state */
    size_t state_count;
    bool has_state;
};

/* NULL: not in the log, or damaged. */
const struct data_line *data_line_at(const struct data_directory *d, raft_index index);
/* The term at an index: of an entry, or of the log's beginning. 0: not known. */
raft_term data_term_at(const struct data_directory *d, raft_index index);
/* What is known to be committed: what it has applied. */
raft_index data_applied(const struct data_directory *d);

/* All directories with each other. */
void data_compare(const struct data_directory *all, size_t count, const struct finding_sink *sink);

#endif
