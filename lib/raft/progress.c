/*
 * What the leader knows of each follower, and how much it may send it.
 *
 *            refused, unreachable, lost             accepted
 *     PIPELINE ------------------------> PROBE -----------------> PIPELINE
 *         |                               |  ^
 *         | next entry is compacted       |  | sent, or failed
 *         +-------------> SNAPSHOT <------+  |
 *                            +---------------+---> PIPELINE: its log reaches ours after all
 *
 * PROBE: one append at a time, where the logs may meet (§3.5). PIPELINE: appends follow each other,
 * `inflight_max` at most without an answer (§10.2.1). SNAPSHOT: none (§5).
 */
#include <string.h>

#include "lib/raft/raft_internal.h"

struct raft_follower *raft_progress_find(struct raft *r, raft_id id)
{
    for (uint32_t i = 0; i < r->follower_count; i++)
        if (r->followers[i].id == id)
            return &r->followers[i];
    return NULL;
}

static void clear_inflight(struct raft_follower *f)
{
    memset(f->inflight, 0, sizeof(f->inflight));
    f->inflight_first = f->inflight_count = 0;
    f->inflight_since_us = 0;
}

void raft_progress_probe(struct raft_follower *f, raft_index next)
{
    ASSERT(next > f->match);
    f->state = RAFT_PROBE;
    f->next = next;
    f->paused = false;
    clear_inflight(f);
}

void raft_progress_pipeline(struct raft_follower *f)
{
    f->state = RAFT_PIPELINE;
    f->next = f->match + 1;
    f->paused = false;
    clear_inflight(f);
}

void raft_progress_snapshot(struct raft_follower *f)
{
    f->state = RAFT_SNAPSHOT;
    f->paused = false;
    clear_inflight(f);
}

bool raft_progress_may_append(const struct raft *r, const struct raft_follower *f)
{
    switch ((enum raft_progress_state)f->state) {
    case RAFT_PROBE: return !f->paused;
    case RAFT_PIPELINE:
        return f->next <= r->terms.last && f->inflight_count < r->options.inflight_max;
    case RAFT_SNAPSHOT: break;
    }
    return false;
}

void raft_progress_sent(const struct raft *r, struct raft_follower *f, uint32_t count)
{
    if (f->state == RAFT_PROBE) {
        f->paused = true;
        f->probe_sent_us = r->now_us;
        return;
    }
    ASSERT(f->state == RAFT_PIPELINE && count > 0 && f->inflight_count < RAFT_INFLIGHT_MAX);
    f->next += count;
    if (f->inflight_count == 0)
        f->inflight_since_us = r->now_us;
    uint32_t slot = (f->inflight_first + f->inflight_count++) % RAFT_INFLIGHT_MAX;
    f->inflight[slot] = f->next - 1;
}

/* The carrier may have cut one append into several, and one reply covers all before it. */
void raft_progress_acknowledged(const struct raft *r, struct raft_follower *f, raft_index match)
{
    if (f->match < match) {
        f->match = match;
        f->inflight_since_us = f->inflight_count > 0 ? r->now_us : 0;
    }
    if (f->next <= f->match)
        f->next = f->match + 1;
    while (f->inflight_count > 0 && f->inflight[f->inflight_first] <= match) {
        f->inflight[f->inflight_first] = 0;
        f->inflight_first = (f->inflight_first + 1) % RAFT_INFLIGHT_MAX;
        if (--f->inflight_count == 0)
            f->inflight_first = 0;
    }
    if (f->inflight_count == 0)
        f->inflight_since_us = 0;
}

bool raft_progress_answers(const struct raft *r, const struct raft_follower *f)
{
    return f->answered && r->now_us - f->contact_us <= r->options.election_timeout_us;
}

/* ---- catching up (§4.2.1) ---- */

/* A round replicates what the log held when it began; the next begins with what came meanwhile. A
 * learner whose last round took no longer than an election timeout may vote without holding up
 * commitment. When nothing came meanwhile the next round is empty, over at once, and none runs
 * (round_target 0). */
void raft_progress_rounds(const struct raft *r, struct raft_follower *f)
{
    if (f->round_target == 0 || f->match < f->round_target)
        return;
    bool all = f->match == r->terms.last;
    f->caught_up = all || r->now_us - f->round_start_us <= r->options.catch_up_us;
    f->round_target = all ? 0 : r->terms.last;
    f->round_start_us = all ? 0 : r->now_us;
}

void raft_progress_new_entries(struct raft *r)
{
    const struct raft_configuration *c = raft_latest(r);
    for (uint32_t i = 0; i < c->count && i < r->follower_count; i++) {
        struct raft_follower *f = &r->followers[i];
        if (c->members[i].flags & (RAFT_VOTER | RAFT_VOTER_OLD) || f->round_target != 0)
            continue;
        f->round_target = r->terms.last;
        f->round_start_us = r->now_us;
    }
}

bool raft_progress_caught_up(const struct raft *r, const struct raft_follower *f)
{
    return f->caught_up && raft_progress_answers(r, f) &&
           (f->round_target == 0 || r->now_us - f->round_start_us <= r->options.catch_up_us);
}

/* ---- members come and go ---- */

static struct raft_follower new_follower(const struct raft *r, raft_id id)
{
    struct raft_follower f;
    memset(&f, 0, sizeof(f));
    f.id = id;
    f.state = raft_id_is_self(r, id) ? RAFT_PIPELINE : RAFT_PROBE;
    f.next = r->terms.last + 1;
    f.contact_us = r->now_us; /* check-quorum gives it a timeout to answer */
    f.round_target = r->terms.last + 1;
    f.round_start_us = r->now_us;
    return f;
}

/* Who is in `c`, by position; behind them those dropped, who still have to learn it. */
void raft_progress_sync(struct raft *r, const struct raft_configuration *c)
{
    struct raft_follower before[RAFT_PROGRESS_MAX];
    uint32_t before_count = r->follower_count;
    memcpy(before, r->followers, before_count * sizeof(before[0]));
    memset(r->followers, 0, before_count * sizeof(before[0]));
    for (uint32_t i = 0; i < c->count; i++) {
        struct raft_follower *f = &r->followers[i];
        *f = new_follower(r, c->members[i].id);
        for (uint32_t k = 0; k < before_count; k++) {
            if (before[k].id != f->id)
                continue;
            *f = before[k];
            f->leaving_index = f->leaving_until_us = f->told_us = 0;
            f->told = false;
        }
        if (c->members[i].flags & (RAFT_VOTER | RAFT_VOTER_OLD)) { /* no learner any more */
            f->caught_up = false;
            f->round_target = f->round_start_us = 0;
        }
    }
    r->follower_count = c->count;
    for (uint32_t k = 0; k < before_count; k++) {
        if (raft_configuration_find(c, before[k].id) || raft_id_is_self(r, before[k].id) ||
            r->follower_count == RAFT_PROGRESS_MAX)
            continue;
        struct raft_follower *f = &r->followers[r->follower_count++];
        *f = before[k];
        f->caught_up = false;
        f->round_target = f->round_start_us = 0;
        if (f->leaving_index != 0)
            continue;
        f->leaving_index = c->index;
        f->leaving_until_us = r->now_us + 2 * r->options.election_timeout_us;
    }
}

void raft_progress_leave(struct raft *r, struct raft_follower *f)
{
    ASSERT(f->leaving_index != 0);
    struct raft_follower *end = &r->followers[--r->follower_count];
    memmove(f, f + 1, (size_t)(end - f) * sizeof(*f));
    memset(end, 0, sizeof(*end));
}
