/*
 * /faults: what can be asked of a node that runs with --enable-faults. Two tables say what there
 * is: the kinds with their fields, and the fields with what they may be. The node reads requests by
 * them, raftkv-ctl its arguments.
 */
#ifndef RAFTKV_JSON_API_FAULTS_H
#define RAFTKV_JSON_API_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/limits.h"

enum api_fault_kind {
    API_FAULT_DROP,
    API_FAULT_DELAY,
    API_FAULT_FSYNC_DELAY,
    API_FAULT_FSYNC_ERROR,
    API_FAULT_DISK_FULL,
    API_FAULT_DISK_STALL,
    API_FAULT_CLOCK_OFFSET,
    API_FAULT_CLOCK_RATE,
    API_FAULT_CRASH,
    API_FAULT_KINDS
};

enum api_fault_field {
    API_FAULT_PEER,
    API_FAULT_PER_MILLE,
    API_FAULT_DELAY_MS,
    API_FAULT_FILE,
    API_FAULT_OFFSET_MS,
    API_FAULT_PPM,
    API_FAULT_POINT,
    API_FAULT_AFTER,
    API_FAULT_FIELDS
};

/* Values of `file` and `point`. */
enum api_fault_file { API_FAULT_RAFT_DB, API_FAULT_KV_DB };
enum api_fault_point {
    API_FAULT_BEFORE_PERSIST,
    API_FAULT_AFTER_PERSIST,
    API_FAULT_BEFORE_APPLY,
    API_FAULT_AFTER_APPLY,
    API_FAULT_BEFORE_INSTALL,
    API_FAULT_AFTER_INSTALL,
    API_FAULT_BEFORE_COMPACTION,
    API_FAULT_AFTER_COMPACTION,
    API_FAULT_POINTS
};

struct api_fault {
    uint64_t id; /* 0 in a request */
    enum api_fault_kind kind;
    unsigned given;                  /* fields that are there: 1 << enum api_fault_field */
    char peer[LIMIT_NAME_BYTES + 1]; /* API_FAULT_PEER; "*": all */
    /* The other fields. Those that are not given have their default: every message, the first
     * time. */
    int64_t value[API_FAULT_FIELDS];
};

const char *api_fault_kind_name(enum api_fault_kind kind);
const char *api_fault_point_name(enum api_fault_point point);
bool api_fault_has(const struct api_fault *f, enum api_fault_field field);

/* By hand: a kind, then its fields as text, then whether all that it needs is there.
 * ERR_BAD_REQUEST names what is wrong and what is allowed. */
int api_fault_begin(struct api_fault *f, const char *kind, struct err *err);
int api_fault_set(struct api_fault *f, const char *name, const char *text, struct err *err);
int api_fault_check(const struct api_fault *f, struct err *err);

/* POST: {"kind":…}. Its reply has an id besides. */
int api_fault_decode(struct slice body, struct api_fault *f, struct err *err);
int api_fault_reply_decode(struct slice body, struct api_fault *f, struct err *err);
int api_fault_encode(const struct api_fault *f, struct buf *out);
/* {"faults":[…]} */
int api_faults_encode(const struct api_fault *faults, size_t count, struct buf *out);
/* *count in: room. Kinds and fields of a newer node are an error. */
int api_faults_decode(struct slice body, struct api_fault *faults, size_t *count, struct err *err);

/* "1  delay  peer=node2 delay_ms=100" without the id: "delay peer=node2 …". */
int api_fault_text(const struct api_fault *f, struct buf *out);

#endif
