/*
 * Nodes that run: do they have the same state? Asked over HTTP, while they serve.
 *
 * The digest first. Nodes are at different indexes at any moment, so an index a little ahead of all
 * of them is chosen, each is asked for the digest of its state there (GET /node?digest_at=N), and
 * asked again until it has applied so far; who was past it already makes another index necessary.
 *
 * A digest is kept along with what is written, so it says that the same was applied, not that the
 * rows are still what was written. Where digests differ, or when asked to, the rows are read, in
 * the order of keys, from each two nodes side by side. A row bears the index that wrote it, so two
 * answers can be compared though they are of different indexes: one of version v that a node has at
 * index a is in every state from v to a. What that leaves open is asked for again, at a later index
 * (min_index).
 *
 * One thread; nothing is written.
 */
#ifndef RAFTKV_VERIFY_REPLICAS_H
#define RAFTKV_VERIFY_REPLICAS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/store/inspect.h"

/* The state of most of them. */
struct replicas_agreement {
    uint64_t index; /* 0: they could not be compared */
    struct digest digest;
};

struct replicas_options {
    const char *endpoints;                /* URL,URL,… */
    uint32_t timeout_ms;                  /* for all of it; > 0 */
    bool rows;                            /* compare the rows though the digests are equal */
    struct replicas_agreement *agreement; /* filled in; NULL: not wanted */
};

/* What is found goes to the sink. ERR_USAGE: the endpoints are none, fewer than two, or two of one
 * node. */
int verify_replicas(const struct replicas_options *options, const struct finding_sink *sink,
                    struct err *err);

#endif
