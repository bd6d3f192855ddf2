/*
 * The way to a violation. Kept is only from which state each was first reached, as fingerprints; so
 * it is walked once more from the beginning, and each step is the one whose successor has the next
 * fingerprint.
 */
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/sim/explore_internal.h"

enum { TEXT_BYTES_MAX = 1 << 16 };

/* ---- telling a step ---- */

static void tell_change(struct buf *b, const struct action *a)
{
    int id = a->b & 15, new = a->b >> 4;
    switch (a->a) {
    case CHANGE_ADD: (void)buf_printf(b, "adds node %d as a learner", id); break;
    case CHANGE_ADD_VOTER: (void)buf_printf(b, "adds node %d, to vote once caught up", id); break;
    case CHANGE_PROMOTE: (void)buf_printf(b, "lets node %d vote", id); break;
    case CHANGE_REMOVE: (void)buf_printf(b, "removes node %d", id); break;
    default: (void)buf_printf(b, "replaces node %d by node %d", id, new); break;
    }
}

static void tell_action(struct buf *b, const struct action *a, const char *message)
{
    switch (a->kind) {
    case EXPLORE_TIMEOUT: (void)buf_printf(b, "waits an election timeout"); break;
    case EXPLORE_HEARTBEAT: (void)buf_printf(b, "waits a heartbeat interval"); break;
    case EXPLORE_LATE: (void)buf_printf(b, "waits for others in vain"); break;
    case EXPLORE_PERSISTED: (void)buf_printf(b, "has its first write on disk"); break;
    case EXPLORE_CRASH:
        (void)buf_printf(b, "crashes and starts");
        if (a->a > 0)
            (void)buf_printf(b, ", %d writes having reached the disk", a->a);
        break;
    case EXPLORE_PROPOSE: (void)buf_printf(b, "is given an entry"); break;
    case EXPLORE_CHANGE: tell_change(b, a); break;
    case EXPLORE_TRANSFER: (void)buf_printf(b, "is to hand over to node %d", a->a); break;
    case EXPLORE_COMPACT: (void)buf_printf(b, "compacts its log"); break;
    case EXPLORE_READ: (void)buf_printf(b, "is asked to read"); break;
    case EXPLORE_SNAPSHOT_FAILS:
        (void)buf_printf(b, "cannot send the snapshot to node %d", a->a);
        break;
    case EXPLORE_DELIVER: (void)buf_printf(b, "receives %s", message); break;
    case EXPLORE_DUPLICATE:
        (void)buf_printf(b, "receives %s, which comes again later", message);
        break;
    case EXPLORE_KINDS: break;
    }
}

static void tell_lost(struct buf *b, const struct expansion *x, const struct child *c)
{
    const char *before = "; lost: ";
    for (uint32_t i = 0; i < c->outcome->count; i++) {
        if (!(c->action.lost >> i & 1))
            continue;
        const struct message_item *m = store_message(x->store, c->outcome->messages[i]);
        const char *name = m->kind == MESSAGE_RAFT ? raft_message_name(m->type) : "snapshot";
        (void)buf_printf(b, "%s%s to node %d", before, name, m->to);
        before = ", ";
    }
}

static struct explore_step tell_step(const struct expansion *x, const struct state *s,
                                     const struct child *c)
{
    struct buf b;
    buf_init(&b, TEXT_BYTES_MAX);
    char *message =
        c->action.message != 0 ? step_message_text(x->scratch, c->action.message) : NULL;
    (void)buf_printf(&b, "node %d ", c->action.node + 1);
    tell_action(&b, &c->action, message ? message : "");
    if (c->action.event >> EVENT_HEIR_SHIFT & 7)
        (void)buf_printf(&b, ", handing over to node %d",
                         (int)(c->action.event >> EVENT_HEIR_SHIFT & 7));
    tell_lost(&b, x, c);
    mem_free(message);
    struct explore_step step = {
        .text = (char *)buf_take(&b, NULL),
        .trace = step_trace(x->scratch, s->items[c->action.node], c->action.event),
    };
    return step;
}

/* ---- walking ---- */

static void add_step(struct explore_report *report, const struct expansion *x,
                     const struct state *s, const struct child *c)
{
    report->steps = mem_realloc(report->steps, (report->step_count + 1) * sizeof(report->steps[0]));
    report->steps[report->step_count++] = tell_step(x, s, c);
}

static const struct child *find_next(struct expansion *x, const struct state *s,
                                     const struct seen *seen, uint32_t slot)
{
    expand(x, s);
    for (uint32_t i = 0; i < x->count; i++)
        if (!x->children[i].violation && seen_is(seen, slot, x->children[i].fingerprint))
            return &x->children[i];
    return NULL;
}

static const struct child *find_violation(struct expansion *x, const struct state *s,
                                          struct state *next, const char **violation)
{
    expand(x, s);
    for (uint32_t i = 0; i < x->count; i++) {
        const struct child *c = &x->children[i];
        *violation = c->violation;
        if (!*violation) {
            expand_child(x, s, c, next);
            *violation = check_state(x, next, c->action.node);
        }
        if (*violation)
            return c;
    }
    return NULL;
}

void path_walk(struct expansion *x, const struct seen *seen, uint32_t slot,
               struct explore_report *report, struct state *at)
{
    size_t bytes = state_bytes(x->options), count = 0;
    for (uint32_t before = slot; before != SEEN_NO_PARENT; before = seen_parent(seen, before))
        count++;
    uint32_t *way = mem_calloc(count, sizeof(*way));
    for (size_t i = count; i > 0; i--, slot = seen_parent(seen, slot))
        way[i - 1] = slot;
    struct state *next = mem_zalloc(bytes);
    expand_root(x, at);
    for (size_t i = 1; i < count; i++) {
        const struct child *c = find_next(x, at, seen, way[i]);
        ASSERT(c);
        add_step(report, x, at, c);
        expand_child(x, at, c, next);
        memcpy(at, next, bytes);
    }
    mem_free(way);
    mem_free(next);
}

void path_tell(struct expansion *x, const struct seen *seen, uint32_t slot,
               struct explore_report *report)
{
    size_t bytes = state_bytes(x->options);
    struct state *at = mem_zalloc(bytes), *next = mem_zalloc(bytes);
    path_walk(x, seen, slot, report, at);
    const struct child *c = find_violation(x, at, next, &report->violation);
    ASSERT(c);
    add_step(report, x, at, c);
    mem_free(at);
    mem_free(next);
}
