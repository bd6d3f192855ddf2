/*
 * What two nodes' answers for one key say of each other, each read from the state at an index of
 * its own.
 *
 * The state at an index is the same everywhere, and a row of version v that stands in the state at
 * index a stands in every state from v to a. So a row that one has is right for the other as of any
 * index in between, and only there a difference is one.
 */
#include "lib/verify/replicas_internal.h"

/* `x` has the row, `y` has none. */
static enum replica_verdict one_has(const struct replica_view *x, const struct replica_view *y,
                                    enum replica_verdict ask_x, enum replica_verdict ask_y,
                                    uint64_t *min_index)
{
    if (x->version > y->index) { /* not written yet, over there */
        *min_index = x->version;
        return ask_y;
    }
    if (x->index >= y->index)
        return REPLICAS_DIFFER;
    *min_index = y->index; /* deleted meanwhile? */
    return ask_x;
}

/* `newer` has the later version. */
static enum replica_verdict newer_has(const struct replica_view *newer,
                                      const struct replica_view *older, enum replica_verdict ask,
                                      uint64_t *min_index)
{
    if (newer->version <= older->index)
        return REPLICAS_DIFFER;
    *min_index = newer->version;
    return ask;
}

enum replica_verdict replicas_judge(const struct replica_view *a, const struct replica_view *b,
                                    uint64_t *min_index)
{
    *min_index = 0;
    if (!a->there && !b->there)
        return REPLICAS_SAME;
    /* Of the future of its own state, a row is not what an index wrote. */
    if ((a->there && a->version > a->index) || (b->there && b->version > b->index))
        return REPLICAS_DIFFER;
    if (!b->there)
        return one_has(a, b, REPLICAS_ASK_A, REPLICAS_ASK_B, min_index);
    if (!a->there)
        return one_has(b, a, REPLICAS_ASK_B, REPLICAS_ASK_A, min_index);
    if (a->version > b->version)
        return newer_has(a, b, REPLICAS_ASK_B, min_index);
    if (a->version < b->version)
        return newer_has(b, a, REPLICAS_ASK_A, min_index);
    bool same = a->timestamp_ms == b->timestamp_ms && slice_compare(a->value, b->value) == 0;
    return same ? REPLICAS_SAME : REPLICAS_DIFFER;
}
