/*
 * Random histories of a store that is linearizable, since it is one variable a key: operations are
 * called, take effect one after the other, and return. Some have no outcome, and take effect later,
 * or never.
 */
#ifndef RAFTKV_TESTS_SUPPORT_HISTORY_MAKER_H
#define RAFTKV_TESTS_SUPPORT_HISTORY_MAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/history/history.h"

enum { MAKER_VALUE_BYTES = 96, MAKER_ITEMS_MAX = 16 };

struct maker_value {
    bool present;
    uint64_t version;
    char text[MAKER_VALUE_BYTES];
};

struct maker_item {
    uint32_t key;
    struct maker_value value;
};

struct maker_operation {
    enum history_kind kind;
    uint32_t key;
    struct maker_value value;  /* written, or read */
    struct maker_value expect; /* of a cas */
    uint64_t version, index;   /* of what was done, or read */
    bool existed, failed;
    struct maker_item items[MAKER_ITEMS_MAX]; /* of a scan or batch */
    uint32_t item_count;
};

struct maker_event {
    enum history_event_type type;
    uint32_t process;
    uint64_t ns;
    const struct maker_operation *op;
};

struct maker_options {
    uint64_t seed;
    uint32_t operations;
    uint32_t processes;
    uint32_t keys;                   /* at most MAKER_ITEMS_MAX with scans */
    uint32_t unknown;                /* of 1,000 operations */
    uint32_t values;                 /* that are written; 0: each once */
    uint32_t weights[HISTORY_KINDS]; /* how often each kind comes */
};

void history_make(const struct maker_options *options,
                  void (*event)(void *argument, const struct maker_event *e), void *argument);

#endif
