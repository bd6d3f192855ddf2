/*
 * Runs of the simulator in processes of their own; see sim_jobs.c. One thread.
 */
#ifndef RAFTKV_CMD_SIM_JOBS_H
#define RAFTKV_CMD_SIM_JOBS_H

#include "lib/base/err.h"
#include "lib/sim/sim.h"

enum { SIM_JOBS_MAX = 256 };

/* What many runs come to; numbers only. */
struct sim_totals {
    uint64_t seeds, steps, events, virtual_us;
    uint64_t elections, installs, changes, transfers;
    uint64_t writes, reads, scans, unknown, refused, replayed;
    uint64_t faults[SIM_FAULT_KINDS];
};

struct sim_jobs {
    uint64_t first, last; /* seeds */
    uint64_t time_ms;     /* no new run is begun after it; 0: any time */
    uint64_t count;       /* processes at a time, 1 … SIM_JOBS_MAX */
};

int sim_jobs_init(struct err *err); /* before all others */
/* Runs one; a process that dies or does not end is a violation too. false: it could not be run, or
 * its trace not be written, and sim_jobs_error says why. `argument` is for sim_minimise's sake. */
bool sim_jobs_alone(void *argument, const struct sim_setup *setup, struct sim_result *result);
/* Runs many until one fails, with a live line on stderr if that is a terminal. *seed: the lowest
 * that failed; 0: none did. An error: not all that was asked for was run. */
int sim_jobs_many(const struct sim_setup *setup, const struct sim_jobs *jobs, uint64_t *seed,
                  struct err *err);
const struct err *sim_jobs_error(void);
struct sim_totals sim_jobs_totals(void); /* of sim_jobs_many */
void sim_totals_add(struct sim_totals *t, const struct sim_result *r);

#endif
