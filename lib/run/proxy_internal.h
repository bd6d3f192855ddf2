/* The proxy's thread (proxy.c) and its connections (proxy_flow.c). Everything here is used with the
 * proxy's lock held. */
#ifndef RAFTKV_RUN_PROXY_INTERNAL_H
#define RAFTKV_RUN_PROXY_INTERNAL_H

#include <pthread.h>
#include <stddef.h>

#include "lib/base/limits.h"
#include "lib/base/prng.h"
#include "lib/run/proxy.h"

enum {
    PROXY_CONNECTIONS_MAX = 4096,
    PROXY_PIECE_BYTES = 64 << 10,
    PROXY_QUEUE_BYTES = 1 << 20, /* of one direction of a connection; then nothing is read */
    PROXY_HEAD_BYTES = 4096,     /* of a first request, in which the sender's name stands */
    PROXY_RESEND_MS = 200,       /* what a lost packet costs, at least */
    PROXY_RESETS_OF_LOSSES = 8,  /* one loss of so many resets the connection */
    PROXY_NOBODY = PROXY_NODES_MAX,
};

struct piece {
    struct piece *next;
    uint64_t due_us;
    size_t len, at;
    uint8_t data[];
};

/* One direction of a connection. */
struct flow {
    struct piece *first, **tail;
    size_t queued;
    uint64_t last_due_us;
    bool in_ended; /* the sender closed its side */
    bool out_full; /* wait until it takes more */
    bool out_shut;
};

/* What an event of epoll belongs to: a side of a connection, a port, or the wake-up. */
struct watch {
    struct connection *connection;
    unsigned side; /* 0: who connected, 1: the node; of a port: the place of the node */
    uint32_t events;
    int fd;
    bool detached; /* epoll looks at it no more */
};

/* flows[0] goes from the one who connected to the node, flows[1] back. */
struct connection {
    struct connection *next, *previous;
    struct watch sides[2];
    struct flow flows[2];
    unsigned from, to; /* places; from: PROXY_NOBODY for a stranger */
    bool identified, connecting;
    bool was_cut; /* since it was healed last */
    bool gone;    /* a side has failed, unseen by the other behind a cut link */
    bool closed;  /* freed at the end of the turn */
    char head[PROXY_HEAD_BYTES + 1];
    size_t head_len;
};

struct proxy_node {
    char name[LIMIT_NAME_BYTES + 1];
    uint16_t port, target;
    struct watch listening; /* fd -1: closed */
};

struct proxy {
    pthread_t thread;
    pthread_mutex_t lock;
    bool stop, healed;
    int epoll, wake;
    struct prng prng;
    struct proxy_node nodes[PROXY_NODES_MAX];
    unsigned node_count;
    struct proxy_link links[PROXY_NODES_MAX + 1][PROXY_NODES_MAX + 1];
    uint64_t busy_until_us[PROXY_NODES_MAX + 1][PROXY_NODES_MAX + 1];
    struct connection *connections;
    unsigned connection_count;
    struct proxy_figures figures;
};

/* Takes one connection of a node's port. */
void connection_accept(struct proxy *p, unsigned place);
void connection_event(struct proxy *p, struct connection *c, unsigned side, uint32_t events);
/* Sends what is due, asks epoll for what is wanted; UINT64_MAX or when the next piece is due. */
uint64_t connection_pump(struct proxy *p, struct connection *c);
/* A link was healed: what has waited behind it comes late, or never. */
void connection_healed(struct proxy *p, struct connection *c);
void connection_close(struct proxy *p, struct connection *c, bool reset);
void connections_sweep(struct proxy *p); /* frees those that are closed */

/* The name in the User-Agent of a request's head, "" if there is none; false: it is not whole. */
bool proxy_sender(const char *head, char name[LIMIT_NAME_BYTES + 1]);

#endif
