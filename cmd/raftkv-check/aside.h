/*
 * Looking at data directories in a process of its own, beside a scratch directory that is deleted
 * however that process ends, and when we are told to end too (SIGINT, SIGTERM, SIGHUP).
 */
#ifndef RAFTKV_CMD_CHECK_ASIDE_H
#define RAFTKV_CMD_CHECK_ASIDE_H

#include "cmd/raftkv-check/check.h"
#include "lib/store/inspect.h"

/* What is to be done; an error is one of usage. */
typedef int aside_work(const char *scratch, const struct finding_sink *sink, struct err *err);

/* `parent`: where the scratch directory is made; NULL: TMPDIR, or /tmp. Prints the result, and
 * returns the exit status. */
int aside_run(const struct program_command *command, const char *parent, aside_work *work);

#define ASIDE_OPTION(variable)                                                                     \
    {                                                                                              \
        "temp-dir", 0, OPT_STRING, &(variable), "DIR", "make the copies here, not in TMPDIR", 0,   \
            0, NULL, "/tmp"                                                                        \
    }
#define ASIDE_EXIT_CODES                                                                           \
    "Exit codes: 0 nothing is wrong, 2 usage, 9 something is wrong, 10 something could not be\n"   \
    "looked at (a node uses the directory, no permission, no room for a copy).\n"

#endif
