/*
 * Leadership transfer (§3.10): bring the target's log up to ours, then have it campaign at once.
 */
#include "lib/raft/raft_internal.h"

/* The voter of C_new that has most of the log, among those that answer. */
struct raft_follower *raft_transfer_best(struct raft *r)
{
    const struct raft_configuration *c = raft_latest(r);
    struct raft_follower *best = NULL;
    for (uint32_t i = 0; i < c->count; i++) {
        struct raft_follower *f = &r->followers[i];
        if (!(c->members[i].flags & RAFT_VOTER) || raft_id_is_self(r, f->id) ||
            !raft_progress_answers(r, f))
            continue;
        if (!best || f->match > best->match)
            best = f;
    }
    return best;
}

/* Its vote requests are let through whatever was promised to us, now or later, so this term can
 * have no lease any more (§6.4.1). */
static void send_timeout_now(struct raft *r, raft_id to)
{
    r->lease_void = true;
    raft_send(r, RAFT_TIMEOUT_NOW, to);
    raft_trace_add(r, TRACE_TIMEOUT_NOW, to, r->terms.last, 0, 0, 0);
}

void raft_transfer_hand_over(struct raft *r)
{
    const struct raft_follower *best = raft_transfer_best(r);
    if (best)
        send_timeout_now(r, best->id);
}

/* Stalled or fenced. Whoever has our whole log is elected whatever the others have. The log known
 * to be the longest may be shorter than another by entries on their way, whose owner then refuses
 * its vote: those are waited for, but not for long. */
void raft_transfer_withheld(struct raft *r)
{
    const struct raft_follower *best = raft_transfer_best(r);
    if (best && best->match < r->terms.last && r->now_us < r->handover_due_us)
        return;
    raft_transfer_hand_over(r);
    raft_election_follow(r, r->term, 0);
}

static bool is_target(const struct raft *r, raft_id id)
{
    const struct raft_member *m = raft_configuration_find(raft_latest(r), id);
    return m && (m->flags & RAFT_VOTER) && !raft_id_is_self(r, id);
}

int raft_transfer_start(struct raft *r, raft_id to)
{
    if (r->state != RAFT_LEADER)
        return ERR_NO_LEADER;
    if (raft_handing_over(r))
        return ERR_AGAIN;
    if (to == 0) {
        const struct raft_follower *best = raft_transfer_best(r);
        if (!best)
            return ERR_NOT_FOUND;
        to = best->id;
    } else if (!raft_configuration_find(raft_latest(r), to)) {
        return ERR_NOT_FOUND;
    } else if (!is_target(r, to)) {
        return ERR_BAD_REQUEST;
    }
    r->transfer_to = to;
    r->transfer_told = false;
    r->transfer_over = false;
    r->transfer_due_us = r->now_us + r->options.election_timeout_us;
    raft_trace_add(r, TRACE_TRANSFER, to, raft_progress_find(r, to)->match, r->terms.last, 0, 0);
    return 0;
}

static void finish(struct raft *r, int status)
{
    raft_trace_add(r, status == 1 ? TRACE_TRANSFER_DONE : TRACE_TRANSFER_FAILED, r->transfer_to, 0,
                   0, 0, 0);
    r->transfer_to = 0;
    r->transfer_due_us = 0;
    r->transfer_told = r->transfer_over = false;
    r->out.transfer_status = status;
}

void raft_transfer_advance(struct raft *r)
{
    if (r->transfer_to == 0 || r->transfer_told)
        return;
    if (raft_progress_find(r, r->transfer_to)->match < r->terms.last)
        return;
    r->transfer_told = true;
    send_timeout_now(r, r->transfer_to);
}

/* Not done within an election timeout: we go on leading (§3.10). */
void raft_transfer_tick(struct raft *r)
{
    if (r->transfer_to == 0)
        return;
    if (r->now_us >= r->transfer_due_us)
        finish(r, ERR_TIMEOUT);
    else if (r->transfer_told && r->state == RAFT_LEADER && r->now_us >= r->heartbeat_due_us)
        send_timeout_now(r, r->transfer_to); /* the first may be lost */
}

/* Deposed meanwhile: how it ended is known when somebody leads. */
void raft_transfer_stopped(struct raft *r)
{
    if (r->transfer_to == 0)
        return;
    r->transfer_over = true;
    r->transfer_due_us = r->now_us + r->options.election_timeout_us;
}

void raft_transfer_led(struct raft *r)
{
    if (r->transfer_over)
        finish(r, raft_id_is_self(r, r->leader) ? ERR_TIMEOUT : 1);
}

/* The target is no voter any more. */
void raft_transfer_check(struct raft *r)
{
    if (r->transfer_to != 0 && !is_target(r, r->transfer_to))
        finish(r, ERR_CONFLICT);
}

/* The leader of our term asks us to campaign, without waiting and without pre-vote, since it wants
 * it; whoever has promised it their votes lets us through (§3.10, §4.2.3). */
void raft_transfer_timeout_now(struct raft *r, const struct raft_message *m)
{
    raft_election_follow(r, m->term, m->from);
    bool willing = raft_election_eligible(r);
    raft_reply(r, m)->granted = willing;
    raft_trace_add(r, TRACE_TOLD_TO_CAMPAIGN, m->from, willing, 0, 0, 0);
    if (willing)
        raft_election_start(r, true);
}

/* The target cannot campaign (stalled, fenced): no use in waiting for it. */
void raft_transfer_reply(struct raft *r, const struct raft_message *m)
{
    if (r->state == RAFT_LEADER && r->transfer_told && r->transfer_to == m->from && !m->granted)
        finish(r, ERR_AGAIN);
}
