/*
 * The network between local nodes, to be broken at will: a TCP proxy in a thread of its own, with a
 * listening port in front of each node. Nodes advertise that port, so all they send to each other
 * goes through here; clients go to the nodes' own ports.
 *
 * Who sends is read from the first request of a connection: nodes name themselves in its
 * User-Agent. So each ordered pair of nodes is a link of its own: what node i asks of node j, and
 * what i answers to j, goes over link i -> j. A connection without a node's name is a stranger's
 * and is never touched.
 *
 * TCP loses nothing, so a cut link is silent: bytes stay where they are, as if they were sent again
 * and again, and come late when it heals, or the connection is reset then (one in two, drawn from
 * the seed). A lost packet is a pause as long as a retransmission, one in eight a reset.
 *
 * Every function may be called by any thread.
 */
#ifndef RAFTKV_RUN_PROXY_H
#define RAFTKV_RUN_PROXY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

enum { PROXY_NODES_MAX = 16 };

struct proxy;

/* All zero: nothing is wrong with it. */
struct proxy_link {
    bool cut;
    uint32_t delay_ms, jitter_ms; /* each piece of data comes so much later, in order */
    uint32_t loss_per_mille;      /* pieces that are "lost" */
    uint32_t bytes_a_ms;          /* 0: any number */
};

struct proxy_figures {
    uint64_t connections, strangers, resets, bytes;
    uint64_t held; /* pieces that came to a cut link or had to wait */
};

int proxy_new(uint64_t seed, struct proxy **out, struct err *err);
void proxy_free(struct proxy *p);
/* A port in front of 127.0.0.1:`target` for the node called `name`; the place of the node, which
 * counts from 0, in `place`. The port is one that nobody had a moment ago. */
int proxy_add(struct proxy *p, const char *name, uint16_t target, unsigned *place, uint16_t *port,
              struct err *err);
/* While a node does not run its port is closed, and connections are refused as they would be. */
int proxy_open(struct proxy *p, unsigned place, bool open, struct err *err);
void proxy_set(struct proxy *p, unsigned from, unsigned to, const struct proxy_link *link);
struct proxy_link proxy_get(struct proxy *p, unsigned from, unsigned to);
void proxy_heal(struct proxy *p); /* all links */
void proxy_figures(struct proxy *p, struct proxy_figures *figures);

/* A TCP port of 127.0.0.1 that can be bound now and was given to nobody in this process before,
 * below the ports that connections get; 0: none. Any thread. */
uint16_t free_port(void);

#endif
