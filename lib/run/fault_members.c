/* What operators do to a cluster under load: members, leadership, restarts in turn; see fault.h. */
#include <signal.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/run/admin.h"
#include "lib/run/fault.h"

enum {
    CHANGE_MS = 6000, /* a change that has not come through by then may come later */
    ASK_AGAIN_MS = 50,
    TRANSFER_TICKS = 4,
    STOP_MS = 10000,
    READY_MS = 10000,
};

/* ---- membership ---- */

static bool has_voter(const struct api_status *s, const char *name)
{
    for (uint32_t i = 0; i < s->member_count; i++)
        if (strcmp(s->members[i].name, name) == 0)
            return strcmp(s->members[i].role, "voter") == 0;
    return false;
}

static bool has_member(const struct api_status *s, const char *name)
{
    for (uint32_t i = 0; i < s->member_count; i++)
        if (strcmp(s->members[i].name, name) == 0)
            return true;
    return false;
}

/* Until the members are as wanted: `in` votes, `out` is gone, no change runs (NULL: nobody). */
static bool await_members(struct fault_run *f, const char *in, const char *out)
{
    struct api_status status;
    uint64_t until = clock_now_us() + (uint64_t)CHANGE_MS * 1000;
    while (clock_now_us() < until) {
        if (admin_members(f->fleet, &status, NULL) == 0 && !status.change.kind &&
            (!in || has_voter(&status, in)) && (!out || !has_member(&status, out)))
            return true;
        if (!fleet_wait(f->fleet, ASK_AGAIN_MS))
            return false;
    }
    return false;
}

/* What came late of earlier changes is taken notice of. */
static void look_at_members(struct fault_run *f)
{
    struct api_status status;
    if (admin_members(f->fleet, &status, NULL) != 0)
        return;
    for (unsigned i = 0; i < f->fleet->count; i++)
        f->fleet->members[i].votes = has_voter(&status, f->fleet->members[i].name);
}

static unsigned voters(const struct fault_run *f)
{
    unsigned count = 0;
    for (unsigned i = 0; i < f->fleet->count; i++)
        count += f->fleet->members[i].votes;
    return count;
}

/* Who is to leave; a request of unknown outcome is seen to by await_members. */
static void change_members(struct fault_run *f, struct member *in, struct member *out)
{
    struct err err;
    int code;
    if (in && out)
        code = admin_replace(f->fleet, out->name, in, &err);
    else if (in)
        code = admin_add(f->fleet, in, &err);
    else
        code = admin_remove(f->fleet, out->name, &err);
    if (code != 0)
        fault_say(f, " (%.80s)", err.text);
    if (!await_members(f, in ? in->name : NULL, out ? out->name : NULL)) {
        fault_say(f, " (not done in time)");
        return;
    }
    if (in)
        in->votes = true;
    if (out)
        member_gone(f->fleet, out);
}

static void begin_membership(struct fault_run *f)
{
    struct err err;
    struct member *in = NULL, *out = NULL;
    look_at_members(f);
    unsigned have = voters(f), wanted = f->fleet->first_count;
    bool add = have <= wanted, both = have == wanted && prng_chance(&f->prng, 1, 2);
    if (add) {
        in = fleet_add(f->fleet, &err);
        if (!in) {
            fault_say(f, "%s", err.text);
            return;
        }
        fleet_await_alive(f->fleet, in, READY_MS); /* it must say who it is */
    }
    if (!add || both) {
        int place = fault_pick(f, fault_candidates(f));
        out = place >= 0 ? &f->fleet->members[place] : NULL;
    }
    if (!in && !out)
        return;
    if (in)
        fault_say(f, "add %s%s", in->name, out ? " for " : "");
    else
        fault_say(f, "remove ");
    if (out)
        fault_say(f, "%s", out->name);
    change_members(f, in, out);
}

/* ---- transfer ---- */

static void hand_over(struct fault_run *f)
{
    struct err err;
    int to = fault_pick(f, fault_candidates(f));
    if (to < 0)
        return;
    int code =
        admin_transfer(f->fleet, f->fleet->program ? f->fleet->members[to].name : NULL, &err);
    fault_say(f, "%s%s%s", f->text[0] ? ", " : "to ",
              f->fleet->program ? f->fleet->members[to].name : "anybody", code ? " (refused)" : "");
}

static void tick_transfer(struct fault_run *f)
{
    if (f->ticks % TRANSFER_TICKS == 0)
        hand_over(f);
}

/* ---- rolling restart ---- */

static void begin_rolling(struct fault_run *f)
{
    struct err err;
    char text[64];
    for (unsigned i = 0; i < f->fleet->count; i++) {
        struct member *m = &f->fleet->members[i];
        if (!member_answers(m))
            continue;
        int status = member_end(f->fleet, m, SIGTERM, STOP_MS);
        if (status != 0 && !m->may_end) {
            describe_status(status, text, sizeof(text));
            fleet_fail(f->fleet, "%s was asked to stop and ended with %s", m->name, text);
        }
        if (member_start(f->fleet, m, &err) != 0 || !fleet_await_ready(f->fleet, m, READY_MS)) {
            fault_say(f, " (%s is not ready)", m->name);
            return;
        }
    }
    fault_say(f, "all, one after the other");
}

const struct fault fault_membership = {
    "membership", "members are added, removed, replaced", FAULT_OF_PROCESS, begin_membership, NULL,
    NULL};
const struct fault fault_transfer = {
    "transfer", "leadership is handed over", 0, hand_over, tick_transfer, NULL};
const struct fault fault_rolling = {"rolling-restart",
                                    "all nodes are restarted one by one",
                                    FAULT_OF_PROCESS,
                                    begin_rolling,
                                    NULL,
                                    NULL};
