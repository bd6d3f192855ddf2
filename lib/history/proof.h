/*
 * What shows that a part of a history is not linearizable, for people: the moment from which on it
 * is not, a set of operations as small as possible that is not either, and both as text and as a
 * page.
 *
 * Operations are only left out, never changed, and only so that the rest is a history that a
 * linearizable system would have allowed if it allowed the whole: reads at will; a write only if
 * nothing that stays has read its value or depends on what stands before it (an append, a failed
 * compare-and-set, a delete that tells whether something was there).
 */
#ifndef RAFTKV_HISTORY_PROOF_H
#define RAFTKV_HISTORY_PROOF_H

#include "lib/history/check.h"

struct history_proof {
    uint32_t *ops; /* indexes of operations, in the order of their calls */
    uint32_t count;
    uint32_t breaks; /* the operation with whose return the history stops to be linearizable; or
                        HISTORY_NO_ID: not found out */
    uint32_t until;  /* position behind that return; HISTORY_NEVER */
    bool smallest;   /* none of them can be left out, as far as could be told in time */
};

/* `p` is violated by this method. `stop` as in struct history_limits: when it says so, the proof is
 * what was found so far. */
void history_prove(const struct history_part *p, enum history_method method,
                   const struct history_limits *limits, struct history_proof *proof);
void history_proof_release(struct history_proof *proof);

/* "put k \"v\"", with what was replied; other bytes than printable ones as \xNN, long ones cut. */
int history_operation_text(const struct history *h, const struct history_operation *op,
                           struct buf *out);
/* The key of a part, or how many keys it has. */
int history_part_text(const struct history_part *p, struct buf *out);

/*
 * A page (HTML, complete in itself) with the operations of a part as bars along time, a row for each
 * process. `proof` NULL: nothing is violated. ERR_TOO_LARGE if `out` has no room.
 */
int history_page(const struct history_part *p, const struct history_report *report,
                 const struct history_proof *proof, const char *title, struct buf *out);

#endif
