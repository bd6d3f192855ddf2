/*
 * A member: four threads around the part without I/O (see DESIGN.md), one port for clients and
 * peers.
 */
#ifndef RAFTKV_NODE_NODE_H
#define RAFTKV_NODE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/kv/command.h"
#include "lib/node/carry.h"

enum { NODE_HOSTS_MAX = 32, NODE_JOIN_MAX = 16 };

struct node_options {
    const char *name;
    const char *host;
    uint16_t port;
    const char *advertise; /* URL */
    const char *data_dir;
    /* How it begins when the data directory has no cluster yet: exactly one of these, or none for a
     * cluster of its own. */
    struct member_address cluster[RAFT_MEMBERS_MAX]; /* names and URLs, ids 0, sorted by name */
    uint32_t cluster_count;
    const char *join[NODE_JOIN_MAX];
    uint32_t join_count;
    bool standby;

    uint64_t election_timeout_ms, heartbeat_interval_ms;
    enum carry_read_mode read_mode;
    uint64_t value_bytes_max;
    const char *allowed_hosts[NODE_HOSTS_MAX]; /* names that a Host header may bear besides */
    uint32_t allowed_host_count;
    uint64_t trailing_entries;
    uint64_t connections_max;
    bool faults; /* the fault endpoints are open */
};

/* Runs until SIGTERM or SIGINT have been obeyed. 0, or an error that says why it could not start or
 * go on. */
int node_run(const struct node_options *options, struct err *err);

#endif
