/*
 * Recorded histories: what clients asked for, what they were told, and when. An operation has a
 * call and, if its outcome is known, a return; between the two it took effect, if the system is
 * linearizable (Herlihy and Wing, 1990).
 *
 * A history is filled with events in the order in which they were recorded, and then only read,
 * save that checkers may add values. Nothing in this layer does I/O.
 */
#ifndef RAFTKV_HISTORY_HISTORY_H
#define RAFTKV_HISTORY_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/history/intern.h"

enum history_kind {
    HISTORY_GET,     /* value: what was read, 0 for absent */
    HISTORY_PUT,     /* value */
    HISTORY_DELETE,  /* writes "absent" */
    HISTORY_CAS,     /* from `expect` (0: absent) to `value` */
    HISTORY_APPEND,  /* puts `value` behind what is there */
    HISTORY_DIFFERS, /* a compare-and-set that failed since the value was not `expect`: a read */
    HISTORY_SCAN,    /* key: the prefix; items: what was read */
    HISTORY_BATCH,   /* items: what is written at once, value 0 for a delete */
};
enum { HISTORY_KINDS = HISTORY_BATCH + 1 };

enum history_outcome {
    HISTORY_UNKNOWN, /* it never returned, or said that it does not know */
    HISTORY_OK,
    HISTORY_FAIL, /* certainly without effect */
};

enum history_existed { HISTORY_MAY_EXIST, HISTORY_EXISTED, HISTORY_WAS_ABSENT };

enum {
    HISTORY_NO_ID = UINT32_MAX, /* of an event: not said; 0 is the absent value */
    HISTORY_NEVER = UINT32_MAX, /* position of a return that did not come */
    HISTORY_EVENTS_MAX = 1 << 29,
};

struct history_item {
    uint32_t key, value;
    uint64_t version; /* 0: not said */
};

/*
 * Positions stand for moments: smaller is earlier. Calls have even ones and returns odd ones, so a
 * return and a call of the same moment count as concurrent.
 */
struct history_operation {
    uint64_t call_ns, return_ns; /* as recorded; 0 without times */
    uint64_t version;            /* the log index of the write, or of the write that was read; 0 */
    uint64_t index;              /* applied index that a read was served at; 0: not said */
    uint32_t call, ret;          /* positions; HISTORY_NEVER */
    uint32_t call_line, return_line;
    uint32_t process;
    uint32_t key, value, expect;
    uint32_t items, item_count;
    uint8_t kind;    /* enum history_kind */
    uint8_t outcome; /* enum history_outcome */
    uint8_t existed; /* enum history_existed, of a delete */
};

struct history {
    struct intern keys, values;
    struct history_operation *operations; /* in the order of their calls */
    uint32_t count, room;
    uint32_t *returns; /* operations, in the order of their returns */
    uint32_t return_count, return_room;
    struct history_item *items;
    uint32_t item_count, item_room;
    struct history_processes *processes;
    bool fail_is_differs; /* a failed compare-and-set tells of the value (Jepsen's formats) */
    bool empty_is_absent; /* "" and absent are the same (EDN) */
    uint32_t moment;      /* of the last event */
    uint64_t last_ns;
    bool timed;
    uint64_t event_count;
};

enum history_event_type { HISTORY_INVOKE, HISTORY_RETURN_OK, HISTORY_RETURN_FAIL, HISTORY_INFO };

struct history_event {
    uint64_t ns;
    bool has_ns;
    bool has_items;
    bool has_kind; /* an invocation has one always */
    uint8_t type;  /* enum history_event_type */
    uint8_t kind;
    uint8_t existed;
    uint32_t line;
    uint32_t process;
    uint32_t key, value, expect; /* HISTORY_NO_ID: not said */
    uint32_t items, item_count;
    uint64_t version, index;
};

void history_init(struct history *h);
void history_release(struct history *h);
/* An event without anything said. */
void history_event_init(struct history_event *e);
/* Room for so many operations in all: an array of a million that grows step by step is copied, and
 * its pages are touched, several times over. */
void history_reserve(struct history *h, uint32_t operations);
/* Items are put at the end of h->items before the event that has them; returns their place. */
uint32_t history_add_item(struct history *h, struct history_item item);
/* Takes the next event. ERR_BAD_REQUEST with what is wrong with it, without the place. */
int history_add(struct history *h, const struct history_event *e, struct err *err);
uint32_t history_process_count(const struct history *h);
/* Bytes that the history has allocated. */
uint64_t history_bytes(const struct history *h);

/* Whether the operation says or does anything: failed ones and reads of unknown outcome do not. */
bool history_matters(const struct history_operation *op);
static inline bool history_is_read(const struct history_operation *op)
{
    return op->kind == HISTORY_GET || op->kind == HISTORY_DIFFERS || op->kind == HISTORY_SCAN;
}

const char *history_kind_name(uint32_t kind);
/* `value` with `suffix` behind it, as an id. */
uint32_t history_concat(struct history *h, uint32_t value, uint32_t suffix);

#endif
