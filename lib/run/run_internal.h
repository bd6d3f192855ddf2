/* The parts of a run; see run.h. */
#ifndef RAFTKV_RUN_RUN_INTERNAL_H
#define RAFTKV_RUN_RUN_INTERNAL_H

#include "lib/run/run.h"
#include "lib/run/schedule.h"

struct run {
    const struct run_options *options;
    struct run_report *report;
    struct fleet fleet;
    struct observer *observer;
    struct recorder recorder;
    struct load load;
    struct schedule schedule;
    char dir[RUN_TEXT_BYTES];
    char history_path[RUN_TEXT_BYTES + 16];
    uint64_t began_us; /* of load and schedule */
    uint64_t shown_us, shown_answered;
    const char *fault; /* that lasts; for the live line */
    bool temporary, recording;
};

/* The worst verdict stays, and of equals the first. */
void run_judge(struct run_report *r, enum run_verdict verdict, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Waits, shows progress, ticks faults (NULL: none); false: the run is over. */
bool run_wait(struct run *r, uint64_t until_us, struct fault_run *faults, unsigned count);

/* run_drive.c: the schedule from beginning to end, then everything is healed. */
void run_drive(struct run *r);
bool run_heal(struct run *r);
/* run_compare.c: the state of all members at one index. */
void run_compare(struct run *r);
/* run_verdict.c: the history, from the file. */
void run_judge_history(struct run *r);

#endif
