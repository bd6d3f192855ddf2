/*
 * The terms of the log as runs of equal terms: all that consensus needs of it. Payloads are the
 * carrier's.
 */
#include <string.h>

#include "lib/raft/raft_internal.h"

/* Position of the run that holds `index`, which is in the log. */
static uint32_t run_of(const struct raft_terms *t, raft_index index)
{
    uint32_t low = 0, high = t->run_count - 1;
    if (index >= t->runs[high].first)
        return high; /* nearly always: the end of the log */
    while (low < high) {
        uint32_t middle = (low + high + 1) / 2;
        if (t->runs[middle].first <= index)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

raft_term raft_terms_at(const struct raft_terms *t, raft_index index)
{
    if (index == t->snapshot_index)
        return t->snapshot_term;
    if (index < t->snapshot_index || index > t->last)
        return 0;
    return t->runs[run_of(t, index)].term;
}

raft_term raft_terms_last(const struct raft_terms *t)
{
    return t->run_count > 0 ? t->runs[t->run_count - 1].term : t->snapshot_term;
}

bool raft_terms_find(const struct raft_terms *t, raft_index index, raft_term term,
                     raft_index *found)
{
    if (index > t->last)
        index = t->last;
    if (index < t->snapshot_index)
        return false;
    uint32_t i = index > t->snapshot_index ? run_of(t, index) + 1 : 0;
    for (; i > 0; i--) {
        if (t->runs[i - 1].term <= term) {
            *found = index;
            return true;
        }
        index = t->runs[i - 1].first - 1;
    }
    *found = t->snapshot_index;
    return t->snapshot_term <= term;
}

bool raft_terms_room(const struct raft_terms *t, raft_term term)
{
    return t->run_count < RAFT_RUNS_MAX ||
           (t->run_count > 0 && t->runs[t->run_count - 1].term == term);
}

void raft_terms_append(struct raft_terms *t, raft_term term, raft_index count)
{
    ASSERT(count > 0 && term > 0 && term >= raft_terms_last(t));
    if (t->run_count == 0 || t->runs[t->run_count - 1].term != term) {
        ASSERT(t->run_count < RAFT_RUNS_MAX);
        t->runs[t->run_count++] = (struct raft_run){.first = t->last + 1, .term = term};
    }
    t->last += count;
}

/* What is not used stays zero, so that equal states are equal bytes. */
static void clear_runs(struct raft_terms *t, uint32_t from, uint32_t count)
{
    memset(&t->runs[from], 0, count * sizeof(t->runs[0]));
}

void raft_terms_truncate(struct raft_terms *t, raft_index from)
{
    ASSERT(from > t->snapshot_index && from <= t->last);
    uint32_t keep = t->run_count;
    while (keep > 0 && t->runs[keep - 1].first >= from)
        keep--;
    clear_runs(t, keep, t->run_count - keep);
    t->run_count = keep;
    t->last = from - 1;
}

void raft_terms_compact(struct raft_terms *t, raft_index index)
{
    ASSERT(index >= t->snapshot_index && index <= t->last);
    if (index == t->snapshot_index)
        return;
    raft_term term = raft_terms_at(t, index);
    uint32_t gone = index < t->last ? run_of(t, index + 1) : t->run_count;
    uint32_t kept = t->run_count - gone;
    memmove(&t->runs[0], &t->runs[gone], kept * sizeof(t->runs[0]));
    clear_runs(t, kept, gone);
    t->run_count = kept;
    if (kept > 0 && t->runs[0].first <= index)
        t->runs[0].first = index + 1;
    t->snapshot_index = index;
    t->snapshot_term = term;
}

void raft_terms_reset(struct raft_terms *t, raft_index index, raft_term term)
{
    clear_runs(t, 0, t->run_count);
    t->run_count = 0;
    t->snapshot_index = t->last = index;
    t->snapshot_term = term;
}

raft_index raft_terms_conflict(const struct raft_terms *t, raft_index first, raft_index last,
                               const struct raft_run *runs, uint32_t run_count)
{
    ASSERT(first > t->snapshot_index);
    for (uint32_t i = 0; i < run_count; i++) {
        raft_index from = runs[i].first > first ? runs[i].first : first;
        raft_index to = i + 1 < run_count ? runs[i + 1].first - 1 : last;
        while (from <= to) { /* over our own runs within this one */
            if (from > t->last)
                return from;
            uint32_t own = run_of(t, from);
            if (t->runs[own].term != runs[i].term)
                return from;
            from = own + 1 < t->run_count ? t->runs[own + 1].first : t->last + 1;
        }
    }
    return last + 1;
}
