/* Where the time of a write goes; see stages.h. */
#include "lib/node/stages.h"

#include <inttypes.h>

const char *const stage_names[STAGES] = {"queue", "persist", "replicate", "commit", "apply"};

static void marks_clear(struct stage_marks *m, raft_index floor)
{
    m->floor = floor;
    m->first = m->count = 0;
}

static raft_index marks_last(const struct stage_marks *m)
{
    return m->count > 0 ? m->ring[(m->first + m->count - 1) % STAGE_MARKS].index : m->floor;
}

static void marks_note(struct stage_marks *m, raft_index index, uint64_t now_us)
{
    if (index <= marks_last(m))
        return;
    uint32_t last = (m->first + m->count - 1) % STAGE_MARKS;
    if (m->count > 0 && m->ring[last].at_us == now_us) {
        m->ring[last].index = index;
        return;
    }
    if (m->count == STAGE_MARKS) {
        m->floor = m->ring[m->first].index;
        m->first = (m->first + 1) % STAGE_MARKS;
        m->count--;
    }
    uint32_t next = (m->first + m->count++) % STAGE_MARKS;
    m->ring[next].index = index;
    m->ring[next].at_us = now_us;
}

/* When it had come to `index`: the first mark that has. */
static bool marks_find(const struct stage_marks *m, raft_index index, uint64_t *at_us)
{
    uint32_t low = 0, high = m->count;
    if (index <= m->floor || index > marks_last(m))
        return false;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (m->ring[(m->first + middle) % STAGE_MARKS].index < index)
            low = middle + 1;
        else
            high = middle;
    }
    *at_us = m->ring[(m->first + low) % STAGE_MARKS].at_us;
    return true;
}

/* What so many voters have, beside ourselves, that together we are a majority of those with the
 * flag. */
static raft_index on_others(const struct raft_progress_view *views, uint32_t count, raft_id self,
                            uint32_t flag, raft_index all)
{
    raft_index match[RAFT_MEMBERS_MAX] = {0};
    uint32_t voters = 0, others = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!(views[i].flags & flag))
            continue;
        voters++;
        if (views[i].id == self)
            continue;
        uint32_t at = others++; /* in descending order */
        for (; at > 0 && match[at - 1] < views[i].match; at--)
            match[at] = match[at - 1];
        match[at] = views[i].match;
    }
    uint32_t needed = voters > 0 ? voters / 2 + 1 - (voters - others) : 0;
    return needed == 0 ? all : match[needed - 1];
}

static raft_index replicated(const struct raft *raft)
{
    struct raft_progress_view views[RAFT_MEMBERS_MAX];
    uint32_t count = raft_progress(raft, views);
    raft_index all = raft_last_index(raft);
    raft_index now = on_others(views, count, raft_self(raft), RAFT_VOTER, all);
    raft_index before = on_others(views, count, raft_self(raft), RAFT_VOTER_OLD, all);
    return now < before ? now : before;
}

void stages_stepped(struct stages *s, const struct raft *raft, uint64_t now_us)
{
    raft_term term = raft_state(raft) == RAFT_LEADER ? raft_term_current(raft) : 0;
    raft_index last = raft_last_index(raft);
    if (term != s->term) {
        s->term = term;
        marks_clear(&s->proposed, last);
        marks_clear(&s->durable, last);
        marks_clear(&s->replicated, last);
        marks_clear(&s->committed, last);
    }
    if (term == 0)
        return;
    marks_note(&s->proposed, last, now_us);
    marks_note(&s->durable, raft_durable_index(raft), now_us);
    if (marks_last(&s->replicated) < last)
        marks_note(&s->replicated, replicated(raft), now_us);
    marks_note(&s->committed, raft_commit_index(raft), now_us);
}

static uint64_t between(uint64_t from_us, uint64_t to_us)
{
    return to_us > from_us ? to_us - from_us : 0;
}

bool stages_of(const struct stages *s, raft_index index, uint64_t received_us, uint64_t now_us,
               uint64_t us[STAGES])
{
    uint64_t proposed, durable, spread, committed;
    if (!marks_find(&s->proposed, index, &proposed) || !marks_find(&s->durable, index, &durable) ||
        !marks_find(&s->committed, index, &committed))
        return false;
    /* A change of voters may have committed it by other members than are asked for now. */
    if (!marks_find(&s->replicated, index, &spread))
        spread = proposed;
    us[STAGE_QUEUE] = between(received_us, proposed);
    us[STAGE_PERSIST] = between(proposed, durable);
    us[STAGE_REPLICATE] = between(proposed, spread);
    us[STAGE_COMMIT] = between(proposed, committed);
    us[STAGE_APPLY] = between(committed, now_us);
    return true;
}

void timing_put(struct buf *out, const char *name, uint64_t us)
{
    buf_printf(out, "%s%s;dur=%" PRIu64 ".%03" PRIu64, out->len > 0 ? ", " : "", name, us / 1000,
               us % 1000);
}
