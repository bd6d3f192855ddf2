/* The run: time, what is next, the phases. */
#include "lib/sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/sim/sim_internal.h"

/* ---- small things ---- */

void *sim_room(void *items, size_t *room, size_t wanted, size_t item_bytes)
{
    size_t grown = *room ? *room : 64;
    if (wanted <= *room)
        return items;
    while (grown < wanted)
        grown *= 2;
    items = mem_realloc(items, grown * item_bytes);
    memset((char *)items + *room * item_bytes, 0, (grown - *room) * item_bytes);
    *room = grown;
    return items;
}

bool sim_chance(struct prng *p, uint32_t per_mille)
{
    return prng_below(p, 1000) < per_mille;
}

uint64_t sim_draw(struct prng *p, uint64_t least, uint64_t range)
{
    return least + prng_below(p, range + 1);
}

bool sim_has(const struct sim *s, enum sim_trait trait)
{
    return s->plan.traits >> trait & 1;
}

/* ---- what is said ---- */

static size_t stamp(const struct sim *s, raft_id id, char *out, size_t bytes)
{
    uint64_t us = s->now_us - SIM_START_US;
    int len = snprintf(out, bytes, "%3" PRIu64 ".%06" PRIu64 " ", us / 1000000, us % 1000000);
    len += id ? snprintf(out + len, bytes - (size_t)len, "n%" PRIu64 ": ", id)
              : snprintf(out + len, bytes - (size_t)len, "--: ");
    return (size_t)len;
}

void sim_note(struct sim *s, raft_id id, const char *fmt, ...)
{
    char line[SIM_TEXT_BYTES];
    va_list ap;
    if (!s->setup.trace)
        return;
    size_t len = stamp(s, id, line, sizeof(line));
    va_start(ap, fmt);
    vsnprintf(line + len, sizeof(line) - len, fmt, ap);
    va_end(ap);
    s->setup.trace(s->setup.trace_argument, line);
}

static const char *node_name(void *names, raft_id id)
{
    char(*name)[8] = names;
    *name[0] = '\0';
    snprintf(*name, sizeof(*name), "n%" PRIu64, id);
    return *name;
}

/* The decisions that led here, of each node the newest. */
static void last_decisions(struct sim *s)
{
    enum { LAST = 6 };
    char *out = s->result->last, name[8];
    size_t len = 0, bytes = sizeof(s->result->last);
    for (raft_id id = 1; id <= s->node_count; id++) {
        struct raft_trace t[LAST];
        const struct sim_node *n = &s->nodes[id];
        uint32_t count = n->carry ? raft_trace_read(carry_raft(n->carry), 0, t, LAST) : 0;
        if (!n->carry && len < bytes)
            len += (size_t)snprintf(out + len, bytes - len, "  n%" PRIu64 " is down\n", id);
        for (uint32_t i = 0; i < count && len + 8 < bytes; i++) {
            char sentence[SIM_TEXT_BYTES];
            raft_trace_format(&t[i], sentence, sizeof(sentence), node_name, &name);
            len +=
                (size_t)snprintf(out + len, bytes - len, "  n%" PRIu64 " (term %" PRIu64 "): %s\n",
                                 id, t[i].term, sentence);
        }
    }
}

void sim_violated(struct sim *s, const char *fmt, ...)
{
    va_list ap;
    size_t len = stamp(s, 0, s->result->what, sizeof(s->result->what)) - 4;
    len += (size_t)snprintf(s->result->what + len, sizeof(s->result->what) - len, "s: ");
    va_start(ap, fmt);
    vsnprintf(s->result->what + len, sizeof(s->result->what) - len, fmt, ap);
    va_end(ap);
    s->result->violated = true;
    last_decisions(s);
    longjmp(s->violated, 1);
}

static void assertion_failed(void *argument, const char *text)
{
    sim_violated(argument, "%.*s", (int)strcspn(text, "\n"), text);
}

/* ---- events: a heap by time, then by the order of being made ---- */

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->number < b->number;
}

void sim_push(struct sim *s, uint64_t at_us, enum sim_event_kind kind, uint32_t index,
              uint64_t generation)
{
    struct sim_event e = {.at_us = at_us < s->now_us ? s->now_us : at_us,
                          .number = ++s->last_number,
                          .kind = kind,
                          .index = index,
                          .generation = generation};
    size_t i = s->queue_count++;
    s->queue = sim_room(s->queue, &s->queue_room, s->queue_count, sizeof(s->queue[0]));
    while (i > 0 && earlier(&e, &s->queue[(i - 1) / 2])) {
        s->queue[i] = s->queue[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->queue[i] = e;
}

static struct sim_event pop(struct sim *s)
{
    struct sim_event first = s->queue[0], last = s->queue[--s->queue_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->queue_count)
            break;
        if (child + 1 < s->queue_count && earlier(&s->queue[child + 1], &s->queue[child]))
            child++;
        if (!earlier(&s->queue[child], &last))
            break;
        s->queue[i] = s->queue[child];
        i = child;
    }
    s->queue[i] = last;
    return first;
}

static void do_event(struct sim *s, const struct sim_event *e)
{
    switch (e->kind) {
    case SIM_REQUEST:
    case SIM_REPLY:
    case SIM_FAILED: sim_net_event(s, e); break;
    case SIM_COPIED:
    case SIM_ARRIVED:
    case SIM_SENT: sim_snapshot_event(s, e); break;
    case SIM_CALL:
    case SIM_FORWARDED:
    case SIM_PASSED_ON:
    case SIM_ANSWER:
    case SIM_CLIENT: sim_client_event(s, e); break;
    case SIM_FAULT: sim_fault_begin(s, e->index); break;
    case SIM_FAULT_END: sim_fault_end(s, e->index, e->generation); break;
    case SIM_ADMIN: sim_admin_event(s); break;
    case SIM_RESTART:
        if (s->nodes[e->index].life == e->generation)
            sim_node_start(&s->nodes[e->index]);
        break;
    }
}

/* Advances time to what is next and does it; false: nothing is, up to then. */
static bool step(struct sim *s, uint64_t until_us)
{
    struct sim_node *first = NULL;
    uint64_t at_us = s->queue_count > 0 ? s->queue[0].at_us : UINT64_MAX;
    uint64_t timeout_us = sim_net_timeout_us(s);
    for (uint32_t i = 1; i <= s->node_count; i++)
        if (s->nodes[i].next_us < at_us) {
            first = &s->nodes[i];
            at_us = first->next_us;
        }
    if (timeout_us < at_us) {
        first = NULL;
        at_us = timeout_us;
    }
    if (at_us > until_us) {
        s->now_us = until_us;
        return false;
    }
    s->still = at_us > s->now_us ? 0 : s->still + 1;
    s->now_us = at_us > s->now_us ? at_us : s->now_us;
    s->result->events++;
    if (s->still > SIM_STANDSTILL)
        sim_violated(s, "time stands still: something wants to be woken without end");
    if (first)
        sim_node_next(first);
    else if (timeout_us == at_us)
        sim_net_timeout(s);
    else {
        struct sim_event e = pop(s);
        do_event(s, &e);
    }
    return true;
}

void sim_run_until(struct sim *s, uint64_t until_us, bool (*enough)(struct sim *))
{
    if (s->setup.until_us > 0 && until_us > SIM_START_US + s->setup.until_us)
        until_us = SIM_START_US + s->setup.until_us;
    while (!(enough && enough(s)) && step(s, until_us)) {
    }
}

/* ---- the run ---- */

static struct sim *make(const struct sim_setup *setup, struct sim_result *result)
{
    struct sim *s = mem_zalloc(sizeof(*s));
    struct prng g;
    s->setup = *setup;
    s->result = result;
    sim_plan_make(&s->plan, setup);
    s->now_us = SIM_START_US;
    prng_seed(&g, setup->seed ^ 0x5eed);
    struct prng *const streams[] = {&s->net,   &s->disk,  &s->state, &s->client,
                                    &s->fault, &s->admin, &s->clock, &s->batches};
    for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++)
        prng_seed(streams[i], prng_next(&g));
    return s;
}

static void dispose(struct sim *s)
{
    sim_nodes_free(s);
    sim_net_free(s);
    sim_model_free(s);
    sim_check_free(s);
    mem_free(s->queue);
    mem_free(s->timeouts);
    mem_free(s->ops);
    mem_free(s);
}

static void whole_run(struct sim *s)
{
    sim_nodes_make(s);
    sim_clients_make(s);
    sim_faults_make(s);
    sim_run_until(s, SIM_START_US + s->plan.chaos_us, NULL);
    if (s->setup.until_us == 0 || s->setup.until_us > s->plan.chaos_us)
        sim_end(s);
}

void sim_run(const struct sim_setup *setup, struct sim_result *result)
{
    memset(result, 0, sizeof(*result));
    struct sim *volatile s = make(setup, result);
    check_set_hook(assertion_failed, s);
    if (setjmp(s->violated) == 0) {
        whole_run(s);
        result->virtual_us = s->now_us - SIM_START_US;
        check_set_hook(NULL, NULL);
        dispose(s);
    } else {
        /* What it was in the midst of may be in any state: it is left as it is. */
        result->virtual_us = s->now_us - SIM_START_US;
        check_set_hook(NULL, NULL);
    }
}
