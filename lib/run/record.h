/*
 * What clients asked for and were told, as the contract's JSON lines ("Histories"), in the order in
 * which it happened: each line gets its time and its place under one lock.
 *
 * How a call ends in the history:
 *
 *     ok     it was answered: done, and for reads also "no such key"
 *     fail   certainly not applied: every try was refused before it could be, or a condition did
 *            not hold; also each read that got no answer, since that says nothing
 *     info   it may have been applied, or may be yet. That process does nothing more: its client
 *            goes on under a new number, and a new session
 */
#ifndef RAFTKV_RUN_RECORD_H
#define RAFTKV_RUN_RECORD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/base/buf.h"
#include "lib/client/client.h"
#include "lib/run/stats.h"

enum record_op {
    RECORD_GET,
    RECORD_PUT,
    RECORD_DELETE,
    RECORD_CAS,
    RECORD_APPEND,
    RECORD_SCAN,
    RECORD_BATCH
};

struct record_call {
    enum record_op op;
    struct slice key;    /* of a scan: the prefix; of a batch: its operations, as JSON */
    struct slice value;  /* put, append, cas */
    struct slice expect; /* cas; data NULL: absent */
};

enum record_end { RECORD_OK, RECORD_FAIL, RECORD_INFO };

struct record_result {
    bool has_version, has_index, has_deleted, deleted;
    bool unmet; /* it failed since a condition did not hold */
    uint64_t version, index;
    struct slice value;          /* of a get; data NULL: no such key */
    const struct api_page *page; /* of a scan */
};

struct recorder {
    FILE *file;
    uint64_t began_us;
    pthread_mutex_t lock;
    struct stats stats;
    uint32_t processes; /* numbers given */
    uint64_t lines;
    bool broken; /* a line could not be written */
};

int recorder_open(struct recorder *r, const char *path, struct err *err);
int recorder_close(struct recorder *r, struct err *err);
uint32_t recorder_process(struct recorder *r); /* a new number */
uint64_t recorder_now_us(const struct recorder *r);
void recorder_invoke(struct recorder *r, uint32_t process, const struct record_call *call);
void recorder_return(struct recorder *r, uint32_t process, const struct record_call *call,
                     enum record_end end, const struct record_result *result);

/* How a call of the client library ended, by the rules above. `code` and `reply` are of the last
 * request that it made: of compare-and-set and append that may be the read. */
enum record_end record_end_of(bool write, int code, const struct client_reply *reply);
bool record_op_writes(enum record_op op);
const char *record_op_name(enum record_op op);

#endif
