/*
 * Load on a cluster, and how fast and how surely it was served.
 *
 * Closed loop: each client asks as soon as its last answer is whole, and a latency lasts from when
 * the client was free to when the reply was whole. Open loop (a rate): requests have a time at
 * which they should begin, drawn beforehand, and latencies count from that one, also where a
 * request had to wait for a free client or for this program: no coordinated omission.
 *
 * Whatever began within the measured time is counted, as answered (with a latency), as an error (of
 * a read, or certainly not applied) or as unknown (a write that may have been applied).
 *
 * bench_execute belongs to the main thread, one a process: it takes SIGINT and SIGTERM.
 */
#ifndef RAFTKV_BENCH_BENCH_H
#define RAFTKV_BENCH_BENCH_H

#include <stdio.h>

#include "lib/bench/arrivals.h"
#include "lib/bench/figures.h"
#include "lib/bench/keys.h"
#include "lib/bench/workload.h"

enum {
    BENCH_THREADS_MAX = 64,
    BENCH_CLIENTS_MAX = 20000,
    BENCH_TEXT_BYTES = 256,
};

struct bench_progress {
    const char *phase; /* "preload", "ramp", "warm-up", "measured", "last answers" */
    double elapsed_s;
    uint64_t answered, failed, unknown; /* of this phase and those before, since the load began */
    double answered_a_s;                /* of the last second, as the next */
    uint64_t p99_us;
};

struct bench_options {
    const char *endpoints;    /* URL,URL,…; NULL: nodes of our own */
    uint32_t local;           /* … so many */
    const char *node_program; /* … of raftkv-node */
    bool leader_only;         /* all requests go to the leader; else they are spread */
    const char *consistency;  /* of reads; NULL: as the node likes */
    struct bench_workload workload;
    struct keys_options keys;
    uint64_t preload;              /* this many keys, from the first on, before anything else */
    uint32_t value_min, value_max; /* bytes */
    uint32_t scan_max;             /* items asked for by a scan: from 1 to this */
    uint32_t clients, connections, threads;
    double rate; /* of all clients together, a second; 0: closed loop */
    enum arrivals_kind arrivals;
    uint64_t ramp_ms, warmup_ms, time_ms; /* time_ms 0: until `count` */
    uint64_t count;                       /* operations, warm-up included; 0: until time_ms */
    uint32_t timeout_ms;                  /* of a request */
    uint64_t seed;
    const char *history;                                          /* file; NULL: none */
    void (*show)(void *argument, const struct bench_progress *p); /* once a second; or NULL */
    void *argument;
};

struct bench_report {
    struct figures figures;   /* measured, all threads */
    struct figures_row *rows; /* a second each, from the beginning of the load on */
    size_t row_count;
    uint64_t measured_us; /* length of the measured time */
    uint64_t excluded;    /* operations answered before it: ramp and warm-up */
    uint64_t preloaded, preload_us, preload_failed;
    double thread_cpu;   /* the busiest thread of ours, of one core, while it measured */
    bool limited_by_us;  /* it had no time left: the server might be faster */
    bool rate_missed;    /* open loop: less was begun than was due */
    uint64_t due, begun; /* open loop, within the measured time */
    bool interrupted;
    char why[BENCH_TEXT_BYTES]; /* it ended early; "": it did not */
};

/* An error says that nothing was measured: ERR_UNREACHABLE, ERR_NO_LEADER, … To be released in
 * either case. */
int bench_execute(const struct bench_options *options, struct bench_report *report,
                  struct err *err);
void bench_report_release(struct bench_report *r);

#endif
