/*
 * Scenario files: a well-known situation as a script that reads like prose, and what the cores
 * decide in it, as sentences. The script is run against the real core (a cluster of them, see
 * cluster.h) and what is decided is compared with what stands in the file.
 *
 *     # A comment is prose.
 *     cluster a b c
 *     quietly elect a
 *     propose a x
 *         a: proposes x as entry 3 of term 2
 *
 * A line that begins with # is a comment, an indented one is expected of the command above it, any
 * other is a command; what is not indented stands as the author wrote it. The commands are the rows
 * of scenario_verbs.c and stand with their meaning in raftkv-check(1).
 *
 * The same script gives the same decisions always: seeds are fixed, time is virtual. Nothing here
 * prints; a script costs what it simulates (its `run` commands are bounded).
 */
#ifndef RAFTKV_SIM_SCENARIO_H
#define RAFTKV_SIM_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

enum {
    SCENARIO_FILE_BYTES = 1 << 20,
    SCENARIO_OUTPUT_BYTES = 8 << 20, /* of a file as it would be rewritten, and of a difference */
    SCENARIO_BREACH_BYTES = 320,
};

struct scenario_result {
    struct buf text; /* the file with what was decided in the place of what was expected */
    struct buf diff; /* empty: as expected */
    uint32_t commands, differences;
    char breach[SCENARIO_BREACH_BYTES]; /* the first invariant that did not hold, with file and
                                           line; empty: all held */
};

void scenario_result_init(struct scenario_result *result);
void scenario_result_release(struct scenario_result *result);
/* Runs the script in `text`; `file` names it in what is told. Returns 0, also when it went
 * otherwise than expected; ERR_BAD_REQUEST: not a script, `err` says "file:line: why";
 * ERR_TOO_LARGE. */
int scenario_run(const char *file, struct slice text, struct scenario_result *result,
                 struct err *err);

#endif
