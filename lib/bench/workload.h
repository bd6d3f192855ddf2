/*
 * What clients ask for: a table of named mixes of operations, each with the order in which it likes
 * its keys. A to F are those of YCSB (Cooper et al., 2010).
 */
#ifndef RAFTKV_BENCH_WORKLOAD_H
#define RAFTKV_BENCH_WORKLOAD_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/base/prng.h"
#include "lib/bench/keys.h"

enum bench_op {
    BENCH_PUT,
    BENCH_GET,
    BENCH_DELETE,
    BENCH_SCAN,
    BENCH_CONDITIONAL, /* a get, and a put on condition of the version that it found */
    BENCH_OPS
};

enum { BENCH_WORKLOAD_NAME_BYTES = 16 };

struct bench_workload {
    char name[BENCH_WORKLOAD_NAME_BYTES];
    const char *summary;
    enum keys_order order;     /* where --key-order does not say */
    unsigned ratio[BENCH_OPS]; /* parts of their sum */
    unsigned inserts;          /* puts of a new key, in parts of the same sum beside `ratio` */
};

const struct bench_workload *bench_workload_at(unsigned i); /* NULL behind the last one */
const struct bench_workload *bench_workload_find(const char *name);
/* "get=95,put=5": into ratio; `insert` is a word too. */
int bench_workload_parse_ratio(struct bench_workload *w, const char *text, struct err *err);
/* An operation; *insert says whether a put takes a new key. */
enum bench_op bench_workload_draw(const struct bench_workload *w, struct prng *p, bool *insert);
bool bench_workload_writes(const struct bench_workload *w);

const char *bench_op_name(enum bench_op op);
bool bench_op_writes(enum bench_op op);

#endif
