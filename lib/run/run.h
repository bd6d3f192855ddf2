/*
 * A cluster of real processes under load and faults, and what is to be said of it afterwards: is
 * the history linearizable, did the workload keep its promise, do the replicas agree, how available
 * was it.
 *
 * One run a process: SIGINT and SIGTERM are taken for the length of it. Nodes never outlive the
 * thread that calls.
 */
#ifndef RAFTKV_RUN_RUN_H
#define RAFTKV_RUN_RUN_H

#include <stdio.h>

#include "lib/run/fault.h"
#include "lib/run/proxy.h"
#include "lib/run/stats.h"
#include "lib/run/workload.h"

enum {
    RUN_NODES_MAX = 7,
    RUN_WHY_BYTES = 512,
    RUN_TEXT_BYTES = 256,
    RUN_EVENTS_MAX = 4096,
};

struct run_progress {
    uint64_t elapsed_ms, time_ms;
    uint64_t answered, unknown, answered_a_s;
    const char *fault; /* "": none */
    const char *leader;
    uint64_t term;
};

struct run_options {
    uint32_t nodes;
    const char *program;   /* raftkv-node */
    const char *endpoints; /* NULL: nodes of our own */
    const struct workload *workload;
    const struct fault_set *sets;
    unsigned set_count;
    uint64_t seed;
    uint32_t time_ms, clients, keys, rate;
    const char *consistency; /* of reads: "linearizable" */
    const char *report;      /* directory, there and empty; NULL: a temporary one */
    void (*show)(void *argument, const struct run_progress *p); /* five times a second; or NULL */
    void *argument;
};

enum run_verdict { RUN_HOLDS, RUN_VIOLATED, RUN_INCONCLUSIVE };

/* A fault as it came. Times are µs since the beginning. */
struct run_event {
    char name[FAULT_NAME_BYTES];
    char text[FAULT_TEXT_BYTES * 2];
    uint64_t from_us, to_us;
    uint64_t leader_us; /* from its beginning to a leader of a new term; 0: there was none */
    uint64_t gap_us;    /* longest time without an acknowledged write that touches it */
    uint64_t term;      /* before it */
};

struct run_report {
    enum run_verdict verdict;
    char why[RUN_WHY_BYTES]; /* if not RUN_HOLDS */
    bool interrupted;
    char dir[RUN_TEXT_BYTES]; /* history, logs, data; "": deleted */
    struct stats stats;
    uint64_t measured_us; /* of load and faults; what comes behind is for healing and checks */
    struct run_event *events;
    uint32_t event_count;
    char history[RUN_TEXT_BYTES];  /* how it was judged: "4 of 10 keys by …" */
    char workload[RUN_TEXT_BYTES]; /* what its end check found */
    char replicas[RUN_TEXT_BYTES]; /* what their comparison found */
    uint64_t recovery_us;          /* from healing to the first success behind it */
    bool proxied;
    struct proxy_figures proxy;
    uint64_t terms; /* leaders seen */
};

/* An error says that nothing was looked at. The report is filled in either case. */
int run_execute(const struct run_options *options, struct run_report *report, struct err *err);
void run_report_release(struct run_report *r);

const char *run_verdict_word(enum run_verdict v); /* "ok", "violated", "inconclusive" */
/* What a person reads; what a script reads (one JSON object); a page with a curve. */
void run_print_text(FILE *out, const struct run_options *o, const struct run_report *r);
void run_print_json(FILE *out, const struct run_options *o, const struct run_report *r);
void run_print_page(FILE *out, const struct run_options *o, const struct run_report *r);

#endif
