/*
 * What an operator asks of a cluster: members, leadership; and the faults that nodes with
 * --enable-faults make themselves. Each call waits for its answer, for a second or two at most.
 */
#ifndef RAFTKV_RUN_ADMIN_H
#define RAFTKV_RUN_ADMIN_H

#include "lib/json/api.h"
#include "lib/run/fleet.h"

int admin_transfer(struct fleet *c, const char *to, struct err *err); /* to NULL: anybody */
/* The members as a leader knows them. */
int admin_members(struct fleet *c, struct api_status *status, struct err *err);
/* … and which cluster it is, as any node knows it. */
int admin_status(struct fleet *c, struct api_status *status, struct err *err);
int admin_add(struct fleet *c, const struct member *m, struct err *err);
int admin_remove(struct fleet *c, const char *name, struct err *err);
int admin_replace(struct fleet *c, const char *old, const struct member *with, struct err *err);
/* `json` as the endpoint /faults takes it; NULL: an end to all of that node. */
int admin_fault(const struct member *m, const char *json, struct err *err);

#endif
