/* A history is filled with events: which process does what, and what it may not do. */
#include "lib/history/history.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"

enum { ROOM_AT_FIRST = 64, PROCESS_FREE = 0, PROCESS_IDLE = 1, PROCESS_ENDED = 2, PROCESS_BUSY };

static const char *const kind_names[HISTORY_KINDS] = {
    [HISTORY_GET] = "get",   [HISTORY_PUT] = "put",       [HISTORY_DELETE] = "delete",
    [HISTORY_CAS] = "cas",   [HISTORY_APPEND] = "append", [HISTORY_DIFFERS] = "failed cas",
    [HISTORY_SCAN] = "scan", [HISTORY_BATCH] = "batch",
};

const char *history_kind_name(uint32_t kind)
{
    ASSERT(kind < HISTORY_KINDS);
    return kind_names[kind];
}

/* ---- processes: number -> what it does ---- */

struct history_process {
    uint32_t number;
    uint32_t state;     /* PROCESS_… */
    uint32_t operation; /* the open one */
    uint32_t moment;    /* of its last event */
};

struct history_processes {
    struct history_process *slots;
    uint32_t slot_count, count;
};

static struct history_process *slot_of(struct history_processes *p, uint32_t number)
{
    uint32_t at = (number * UINT32_C(2654435761)) & (p->slot_count - 1);
    while (p->slots[at].state != PROCESS_FREE && p->slots[at].number != number)
        at = (at + 1) & (p->slot_count - 1);
    return &p->slots[at];
}

static void grow_processes(struct history_processes *p)
{
    struct history_process *old = p->slots;
    uint32_t old_count = p->slot_count;
    p->slot_count *= 2;
    p->slots = mem_calloc(p->slot_count, sizeof(*p->slots));
    for (uint32_t i = 0; i < old_count; i++)
        if (old[i].state != PROCESS_FREE)
            *slot_of(p, old[i].number) = old[i];
    mem_free(old);
}

static struct history_process *process_of(struct history_processes *p, uint32_t number)
{
    struct history_process *found = slot_of(p, number);
    if (found->state != PROCESS_FREE)
        return found;
    if (++p->count > p->slot_count / 2) {
        grow_processes(p);
        found = slot_of(p, number);
    }
    *found = (struct history_process){.number = number, .state = PROCESS_IDLE};
    return found;
}

/* ---- the whole ---- */

void history_init(struct history *h)
{
    *h = (struct history){0};
    intern_init(&h->keys);
    intern_init(&h->values);
    h->processes = mem_zalloc(sizeof(*h->processes));
    h->processes->slot_count = ROOM_AT_FIRST;
    h->processes->slots = mem_calloc(ROOM_AT_FIRST, sizeof(*h->processes->slots));
}

void history_release(struct history *h)
{
    intern_release(&h->keys);
    intern_release(&h->values);
    mem_free(h->processes->slots);
    mem_free(h->processes);
    mem_free(h->operations);
    mem_free(h->returns);
    mem_free(h->items);
    *h = (struct history){0};
}

uint32_t history_process_count(const struct history *h)
{
    return h->processes->count;
}

uint64_t history_bytes(const struct history *h)
{
    return h->keys.bytes + h->values.bytes + (uint64_t)h->room * sizeof(*h->operations) +
           (uint64_t)h->return_room * sizeof(*h->returns) +
           (uint64_t)h->item_room * sizeof(*h->items) +
           (uint64_t)h->processes->slot_count * sizeof(*h->processes->slots);
}

void history_event_init(struct history_event *e)
{
    *e = (struct history_event){
        .key = HISTORY_NO_ID, .value = HISTORY_NO_ID, .expect = HISTORY_NO_ID};
}

static uint32_t more_room(uint32_t room)
{
    return room ? room + room / 2 : ROOM_AT_FIRST;
}

void history_reserve(struct history *h, uint32_t operations)
{
    if (operations > h->room) {
        h->room = operations;
        h->operations = mem_realloc(h->operations, h->room * sizeof(*h->operations));
    }
    if (operations > h->return_room) {
        h->return_room = operations;
        h->returns = mem_realloc(h->returns, h->return_room * sizeof(*h->returns));
    }
}

uint32_t history_add_item(struct history *h, struct history_item item)
{
    if (h->item_count == h->item_room) {
        h->item_room = more_room(h->item_room);
        h->items = mem_realloc(h->items, h->item_room * sizeof(*h->items));
    }
    h->items[h->item_count] = item;
    return h->item_count++;
}

/* ---- events ---- */

/* A moment lasts while the clock says the same, but two events of a process are never of one. */
static int advance(struct history *h, const struct history_event *e,
                   const struct history_process *process, struct err *err)
{
    if (h->event_count > 0 && e->has_ns != h->timed)
        return err_set(err, ERR_BAD_REQUEST, "a time on %s",
                       e->has_ns ? "this line, but not on those before"
                                 : "the lines before, but not on this one");
    h->timed = e->has_ns;
    if (e->has_ns && e->ns < h->last_ns)
        return err_set(err, ERR_BAD_REQUEST,
                       "the time goes back, from %" PRIu64 " to %" PRIu64 " ns", h->last_ns, e->ns);
    if (!e->has_ns || e->ns != h->last_ns || h->event_count == 0 || process->moment == h->moment)
        h->moment++;
    h->last_ns = e->ns;
    if (++h->event_count > HISTORY_EVENTS_MAX)
        return err_set(err, ERR_BAD_REQUEST, "more than %d events", HISTORY_EVENTS_MAX);
    return 0;
}

static const char *missing_of(const struct history_event *e)
{
    if (e->key == HISTORY_NO_ID && e->kind != HISTORY_BATCH)
        return e->kind == HISTORY_SCAN ? "prefix" : "key";
    bool writes = e->kind == HISTORY_PUT || e->kind == HISTORY_CAS || e->kind == HISTORY_APPEND;
    if (writes && (e->value == HISTORY_NO_ID || e->value == 0))
        return "value";
    if (e->kind == HISTORY_CAS && e->expect == HISTORY_NO_ID)
        return "expect";
    if (e->kind == HISTORY_BATCH && !e->has_items)
        return "ops";
    return NULL;
}

static int invoke(struct history *h, const struct history_event *e, struct history_process *process,
                  struct err *err)
{
    if (process->state == PROCESS_ENDED)
        return err_set(err, ERR_BAD_REQUEST,
                       "process %" PRIu32 " goes on after an outcome that it does not know",
                       e->process);
    if (process->state == PROCESS_BUSY)
        return err_set(err, ERR_BAD_REQUEST,
                       "process %" PRIu32 " invokes while its operation of line %" PRIu32
                       " has not returned",
                       e->process, h->operations[process->operation].call_line);
    const char *missing = missing_of(e);
    if (missing)
        return err_set(err, ERR_BAD_REQUEST, "this %s needs '%s'", kind_names[e->kind], missing);
    if (h->count == h->room) {
        h->room = more_room(h->room);
        h->operations = mem_realloc(h->operations, h->room * sizeof(*h->operations));
    }
    bool writes = e->kind == HISTORY_PUT || e->kind == HISTORY_CAS || e->kind == HISTORY_APPEND;
    h->operations[h->count] = (struct history_operation){
        .call_ns = e->ns,
        .call = h->moment * 2,
        .ret = HISTORY_NEVER,
        .call_line = e->line,
        .process = e->process,
        .key = e->key == HISTORY_NO_ID ? 0 : e->key,
        .value = writes ? e->value : 0,
        .expect = e->expect == HISTORY_NO_ID ? 0 : e->expect,
        .items = e->items,
        .item_count = e->kind == HISTORY_BATCH ? e->item_count : 0,
        .kind = e->kind,
        .outcome = HISTORY_UNKNOWN,
    };
    process->state = PROCESS_BUSY;
    process->operation = h->count++;
    return 0;
}

static int returned_ok(const struct history_event *e, struct history_operation *op, struct err *err)
{
    if (op->kind == HISTORY_GET) {
        if (e->value == HISTORY_NO_ID)
            return err_set(err, ERR_BAD_REQUEST, "a get that is ok needs 'value'");
        op->value = e->value;
    }
    if (op->kind == HISTORY_SCAN) {
        if (!e->has_items)
            return err_set(err, ERR_BAD_REQUEST, "a scan that is ok needs 'items'");
        op->items = e->items;
        op->item_count = e->item_count;
    }
    op->outcome = HISTORY_OK;
    op->version = e->version;
    op->index = e->index;
    op->existed = e->existed;
    return 0;
}

static void returned_fail(const struct history *h, struct history_operation *op)
{
    op->outcome = HISTORY_FAIL;
    if (op->kind == HISTORY_CAS && h->fail_is_differs) {
        op->kind = HISTORY_DIFFERS;
        op->outcome = HISTORY_OK;
        op->value = 0;
    }
}

static void note_return(struct history *h, struct history_operation *op, uint32_t which)
{
    if (h->return_count == h->return_room) {
        h->return_room = more_room(h->return_room);
        h->returns = mem_realloc(h->returns, h->return_room * sizeof(*h->returns));
    }
    h->returns[h->return_count++] = which;
    op->ret = h->moment * 2 + 1;
}

static int returned(struct history *h, const struct history_event *e,
                    struct history_process *process, struct err *err)
{
    if (process->state != PROCESS_BUSY)
        return err_set(err, ERR_BAD_REQUEST,
                       "process %" PRIu32 " returns from an operation that it has not invoked",
                       e->process);
    struct history_operation *op = &h->operations[process->operation];
    if (e->has_kind && e->kind != op->kind)
        return err_set(err, ERR_BAD_REQUEST,
                       "process %" PRIu32 " returns from %s, but invoked %s in line %" PRIu32,
                       e->process, kind_names[e->kind], kind_names[op->kind], op->call_line);
    if (e->key != HISTORY_NO_ID && e->key != op->key)
        return err_set(err, ERR_BAD_REQUEST,
                       "process %" PRIu32
                       " returns with another key than it invoked in line %" PRIu32,
                       e->process, op->call_line);
    op->return_line = e->line;
    op->return_ns = e->ns;
    int code = 0;
    switch ((enum history_event_type)e->type) {
    case HISTORY_RETURN_OK: code = returned_ok(e, op, err); break;
    case HISTORY_RETURN_FAIL: returned_fail(h, op); break;
    default: break;
    }
    if (code != 0)
        return code;
    process->state = e->type == HISTORY_INFO ? PROCESS_ENDED : PROCESS_IDLE;
    if (op->outcome == HISTORY_OK)
        note_return(h, op, process->operation);
    return 0;
}

int history_add(struct history *h, const struct history_event *e, struct err *err)
{
    struct history_process *process = process_of(h->processes, e->process);
    int code = advance(h, e, process, err);
    if (code == 0)
        code =
            e->type == HISTORY_INVOKE ? invoke(h, e, process, err) : returned(h, e, process, err);
    process->moment = h->moment;
    return code;
}

/* ---- operations ---- */

bool history_matters(const struct history_operation *op)
{
    return op->outcome == HISTORY_OK || (op->outcome == HISTORY_UNKNOWN && !history_is_read(op));
}

uint32_t history_concat(struct history *h, uint32_t value, uint32_t suffix)
{
    if (suffix == 0)
        return value;
    if (value == 0)
        return h->empty_is_absent && intern_get(&h->values, suffix).len == 0 ? 0 : suffix;
    struct slice front = intern_get(&h->values, value), back = intern_get(&h->values, suffix);
    if (back.len == 0)
        return value;
    uint8_t *both = mem_alloc(front.len + back.len + 1);
    if (front.len > 0)
        memcpy(both, front.data, front.len);
    if (back.len > 0)
        memcpy(both + front.len, back.data, back.len);
    uint32_t id = intern_add(&h->values, slice_of(both, front.len + back.len));
    mem_free(both);
    return id;
}
