/* The parts of a measurement; see bench.h. */
#ifndef RAFTKV_BENCH_BENCH_INTERNAL_H
#define RAFTKV_BENCH_BENCH_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "lib/base/hash.h"
#include "lib/bench/bench.h"
#include "lib/bench/channel_internal.h"
#include "lib/run/fleet.h"
#include "lib/run/record.h"

/* Where requests go. */
struct targets {
    struct target {
        char url[LIMIT_URL_BYTES + 1];
        char name[LIMIT_NAME_BYTES + 1]; /* "": not known */
    } list[LIMIT_ENDPOINTS];
    unsigned count;
    char cluster[HEX128_BYTES]; /* its id: by now another one's node may be at an endpoint */
    bool leader_only;
    _Atomic unsigned leader; /* place of the one that led last, for leader_only */
};

/* Asks the endpoints who is there. ERR_UNREACHABLE, ERR_NO_LEADER: nobody serves. */
int targets_find(struct targets *t, const char *endpoints, bool leader_only, struct err *err);
void targets_follow(struct targets *t, const char *leader); /* as a reply named it */
unsigned targets_first(const struct targets *t, uint32_t client);
/* Behind one that failed. */
unsigned targets_next(struct targets *t, unsigned failed);

/* One stretch of load with all its threads: the preload, or what is measured. */
struct phase {
    const struct bench_options *options;
    struct targets *targets;
    struct keys *keys;
    struct recorder *recorder; /* NULL: nothing is recorded */
    const struct bench_workload *workload;
    enum keys_order order;
    double rate;
    uint64_t count;           /* operations; 0: any number */
    uint64_t began_us;        /* CLOCK_BOOTTIME, as the next three */
    uint64_t from_us, to_us;  /* measured is what begins within; UINT64_MAX: no end */
    uint64_t ramp_us;         /* … of the beginning, in which clients come one by one */
    _Atomic uint64_t begun;   /* operations */
    _Atomic uint64_t last_us; /* when the last one ended */
    _Atomic unsigned threads_running;
    atomic_bool stop; /* interrupted: nothing begins, nothing is waited for */
    struct worker *workers;
};

/* Starts options->threads threads; they end by themselves when all is done. */
int phase_start(struct phase *p, struct err *err);
/* Adds what ended since the last time to `second`, from all threads. */
void phase_collect(struct phase *p, struct figures_second *second);
/* Waits for the threads and sums up; `busiest` is the CPU of the busiest thread, of one core, while
 * it measured. */
struct phase_sum {
    struct figures figures;
    uint64_t excluded, due, begun;
    double busiest;
};
void phase_end(struct phase *p, struct phase_sum *sum);

/* ---- one thread (worker.c), and its clients (client.c) ---- */

struct bench_client;

struct worker {
    struct phase *phase;
    pthread_t thread;
    unsigned number;
    struct channel *channel;
    struct bench_client *clients;
    unsigned client_count;
    struct bench_client **idle; /* free, the last one first */
    unsigned idle_count;
    struct bench_client *paused, **paused_end; /* in the order in which their pauses end */
    struct prng prng;
    struct keys_chooser chooser;
    struct arrivals arrivals;
    uint64_t due_us; /* of the next arrival; UINT64_MAX: there are no more */
    uint64_t due, begun, excluded;
    uint64_t cpu_from_us, cpu_to_us, wall_from_us, wall_to_us; /* while it measured */
    pthread_mutex_t lock; /* of the two below, which others read */
    struct figures_second second;
    struct figures figures;
};

struct bench_client {
    struct worker *worker;
    struct channel_call *call;
    struct bench_client *next_paused;
    uint64_t paused_until_us;
    unsigned target;
    uint32_t number;
    /* the operation */
    enum bench_op op;
    bool writing;      /* its put, of a conditional one */
    bool found;        /* … which is on condition of `version`, else of absence */
    uint64_t begun_us; /* for the latency: open loop, when it should have begun */
    uint64_t key_number, version;
    struct buf key, url, value, read;
    uint64_t values;  /* made so far */
    uint32_t process; /* in the history */
    bool open;        /* … where it has an invocation without an end */
};

void bench_client_init(struct bench_client *c, struct worker *w, uint32_t number);
void bench_client_release(struct bench_client *c);
void bench_client_begin(struct bench_client *c, uint64_t begun_us);
/* The reply to its request: a channel_done. */
void bench_client_reply(void *client, const struct channel_reply *reply);
/* Interrupted: what it had asked for has no answer. */
void bench_client_give_up(struct bench_client *c);
/* client.c -> worker.c: the operation is over. `pause`: the client rests before the next one. */
void worker_ended(struct worker *w, struct bench_client *c, struct figures_end *end, bool pause);

/* What a reply says of an operation: an answer, an error, or a write of unknown outcome. */
void outcome_of(enum bench_op op, bool writing, const struct channel_reply *reply,
                struct figures_end *end);

#endif
