/*
 * Members come and go, leadership moves: what an operator would ask of whoever leads, again and
 * again until it is taken.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/sim/sim_internal.h"

enum { SIM_ADMIN_US = 150000 };

void sim_admin_job(struct sim *s, const struct raft_change *change, bool until_done)
{
    if (s->job_count == SIM_ADMIN_JOBS)
        return;
    s->jobs[s->job_count++] = (struct sim_job){.change = *change, .until_done = until_done};
    if (s->job_count == 1)
        sim_push(s, s->now_us, SIM_ADMIN, 0, 0);
}

static struct member_address address_of(raft_id id)
{
    struct member_address a = {.id = id};
    snprintf(a.name, sizeof(a.name), "n%" PRIu64, id);
    snprintf(a.url, sizeof(a.url), "http://n%" PRIu64, id);
    return a;
}

static bool is_done(struct sim *s, const struct sim_job *job)
{
    raft_id leader = sim_leader(s);
    const struct raft *r = leader ? carry_raft(s->nodes[leader].carry) : NULL;
    return r && !sim_is_deposed(s, r) && raft_leader_ready(r) && !raft_change_pending(r) &&
           !raft_configuration_find(raft_configuration_committed(r), job->change.id);
}

/* Whether it needs no further try. */
static bool ask(struct sim *s, struct sim_job *job)
{
    raft_id leader = sim_leader(s);
    struct sim_node *n = &s->nodes[leader];
    raft_id added = job->change.kind == RAFT_REPLACE ? job->change.new_id : job->change.id;
    struct member_address address = address_of(added);
    bool adds = job->change.kind == RAFT_ADD_LEARNER || job->change.kind == RAFT_REPLACE;
    struct err err = {0};
    if (leader == 0 || !sim_runs(n))
        return false;
    int code = carry_change(n->carry, &job->change, adds ? &address : NULL, sim_clock(n), &err);
    sim_node_after(n);
    sim_note(s, leader, "is asked for change %d of n%" PRIu64 ": %s", job->change.kind,
             job->change.id, code ? err.text : "taken");
    return code != ERR_NO_LEADER && code != ERR_CONFLICT;
}

void sim_admin_event(struct sim *s)
{
    struct sim_job *job = &s->jobs[0];
    if (s->job_count == 0)
        return;
    bool over = job->until_done ? is_done(s, job) : ask(s, job);
    if (!over && job->until_done)
        ask(s, job);
    if (over)
        memmove(&s->jobs[0], &s->jobs[1], --s->job_count * sizeof(s->jobs[0]));
    if (s->job_count > 0)
        sim_push(s, s->now_us + SIM_ADMIN_US, SIM_ADMIN, 0, 0);
}

void sim_admin_transfer(struct sim *s, uint64_t pick)
{
    raft_id leader = sim_leader(s);
    struct sim_node *n = &s->nodes[leader];
    if (leader == 0 || !sim_runs(n))
        return;
    raft_id to = pick % 3 == 0 ? 0 : 1 + pick / 3 % s->node_count;
    int code = carry_transfer(n->carry, to, sim_clock(n), NULL);
    s->result->transfers += code == 0;
    sim_note(s, leader, "is asked to hand over to n%" PRIu64 ": %s", to,
             code ? err_name(code) : "taken");
    sim_node_after(n);
}
