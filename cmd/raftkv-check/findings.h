/* Findings of data, replay and replicas: printed as they come, and counted. */
#ifndef RAFTKV_CMD_CHECK_FINDINGS_H
#define RAFTKV_CMD_CHECK_FINDINGS_H

#include "lib/store/inspect.h"

struct findings {
    struct finding_sink sink;
    unsigned long wrong, unknown;
};

void findings_init(struct findings *f);
/* Prints the last line; the exit status. */
int findings_result(const struct findings *f);

#endif
