/*
 * What clients do, as a table, and the operations they do it with. Each client is a thread with a
 * client of lib/client, a random generator and, in the history, a process at a time.
 */
#ifndef RAFTKV_RUN_WORKLOAD_H
#define RAFTKV_RUN_WORKLOAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/prng.h"
#include "lib/client/client.h"
#include "lib/run/fleet.h"
#include "lib/run/record.h"
#include "lib/run/tally.h"

enum {
    WORKLOAD_CLIENTS_MAX = 256,
    WORKLOAD_KEYS_MAX = 1000,
    WORKLOAD_KEY_BYTES = 64,
    WORKLOAD_KNOWN = 64, /* keys whose value a client remembers, for compare-and-set */
};

struct worker;

struct workload {
    const char *name, *summary;
    uint32_t keys; /* when --keys does not say */
    /* Before the load, by one worker; true when it is done. NULL: nothing to do. */
    bool (*prepare)(struct worker *w);
    void (*step)(struct worker *w); /* one operation, or a few that belong together */
    /* After the load, when all is healed, by one worker: reads all, and judges what it can. False:
     * it could not be read. NULL: nothing to do. */
    bool (*finish)(struct worker *w);
};

const struct workload *workload_find(const char *name); /* NULL: none */
const struct workload *workload_at(unsigned i);         /* NULL behind the last one */

/* The load: what all clients share. */
struct load {
    const struct workload *workload;
    struct fleet *fleet;
    struct recorder *recorder;
    const char *consistency; /* of reads */
    uint32_t clients, keys;
    uint32_t rate; /* operations a second of all together; 0: as fast as it goes */
    uint64_t seed;
    char prefix[32]; /* of all keys */
    struct tally tally;
    atomic_bool stop;
    pthread_mutex_t lock; /* of why */
    char why[256];        /* the first violation that a client saw; "": none */
    struct worker *workers;
    uint32_t started;
};

void load_init(struct load *l);
void load_release(struct load *l);
/* Runs workload->prepare or finish in this thread, at most so long; false: not done. */
bool load_prepare(struct load *l, uint32_t ms);
bool load_finish(struct load *l, uint32_t ms);
int load_start(struct load *l, struct err *err);
void load_stop(struct load *l); /* waits for all */
void load_violated(struct load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- for the workloads ---- */

struct worker {
    struct load *load;
    pthread_t thread;
    uint32_t number;
    struct prng prng;
    struct client *client;
    struct client_reply reply;
    struct buf urls;
    uint32_t process;
    uint32_t failures; /* in a row */
    uint64_t due_us;   /* of the next operation, where there is a rate */
    struct buf value;  /* of the last get */
    bool present;
    uint64_t version;
    uint64_t values; /* made so far */
    struct buf known[WORKLOAD_KNOWN];
};

/* The key `group` of the workload as text in `out`. */
struct slice worker_key(const struct worker *w, uint32_t group, char out[WORKLOAD_KEY_BYTES]);
/* Recorded operations: how each ended. A get fills value, present, version; a scan takes all pages
 * into `page`'s place, one after the other, and is recorded only if there is no more than one. */
enum record_end worker_get(struct worker *w, struct slice key);
enum record_end worker_put(struct worker *w, struct slice key, struct slice value);
enum record_end worker_delete(struct worker *w, struct slice key);
/* `expect` with data NULL: the key must be absent. */
enum record_end worker_cas(struct worker *w, struct slice key, struct slice expect,
                           struct slice value);
enum record_end worker_append(struct worker *w, struct slice key, struct slice value);
/* A write of all at once; `ops` is the list in POST /batch's JSON. */
enum record_end worker_batch(struct worker *w, struct slice ops);
enum record_end worker_scan(struct worker *w, struct slice prefix, struct api_page *page);
/* Every item with the prefix, over all pages, without a record; false: some could not be read. */
bool worker_scan_all(struct worker *w, struct slice prefix,
                     void (*each)(struct worker *w, const struct api_item *item));

#endif
