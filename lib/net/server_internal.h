/*
 * What http_server.c (requests and replies) and http_connection.c (sockets and deadlines) share.
 *
 * A connection is always in one phase; all but BUSY have a deadline. Since every phase has one
 * constant length, its connections stand in a list in the order of their deadlines.
 *
 *     accept -> HEAD -> [BODY] -> BUSY -> REPLY -> IDLE -> HEAD …
 *                                            \-> LINGER -> closed
 *
 * BUSY: the request is with the handler, whose deadline it has. LINGER: refused while its body was
 * still on the way; what comes is read and thrown away, since closing at once would reset the
 * connection and take the refusal out of the client's hands.
 */
#ifndef RAFTKV_NET_SERVER_INTERNAL_H
#define RAFTKV_NET_SERVER_INTERNAL_H

#include <microhttpd.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/limits.h"
#include "lib/net/http_server.h"
#include "lib/net/private.h"

enum phase { PHASE_IDLE, PHASE_HEAD, PHASE_BODY, PHASE_REPLY, PHASE_LINGER, PHASE_BUSY };
enum { PHASES_TIMED = PHASE_BUSY };

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct connection {
    struct connection *prev, *next; /* in the list of its phase */
    struct http_server *server;
    uint64_t deadline_us;
    int fd;
    enum phase phase;
    bool linger;            /* wanted when libmicrohttpd closes it */
    struct loop_poll *poll; /* LINGER */
    size_t drained;
    union address address;
};

enum request_state {
    REQUEST_HEAD,   /* its line is known */
    REQUEST_BODY,   /* its headers were looked at */
    REQUEST_HANDED, /* it is with the handler */
    REQUEST_ANSWERED
};

struct request {
    struct http_request pub;
    struct request *prev, *next; /* in the list of handed ones */
    struct http_server *server;
    struct connection *connection; /* NULL: it has ended while the request was with the handler */
    struct MHD_Connection *mhd;
    enum request_state state;
    unsigned looks; /* by libmicrohttpd, while it is with the handler */
    bool suspended;
    bool close;    /* the connection, after the reply */
    bool refusing; /* by the server itself, in whatever state */
    /* A refusal waits for the end of the body; 0: none. */
    int refuse_status;
    const char *refuse_why;
    uint64_t refuse_limit, refuse_actual;
    size_t body_max;
    uint64_t body_seen;
    struct buf body;
    const char *raw; /* where libmicrohttpd keeps the target; not to be read */
    char *target;    /* a copy of it as it came */
    size_t target_len;
    char target_small[160];
    unsigned header_count;
    struct http_header headers[LIMIT_HTTP_HEADERS];
};

struct list {
    struct connection *head, *tail;
};

struct http_server {
    struct loop *loop;
    struct http_server_options options;
    struct connection *accepting; /* while libmicrohttpd is given it */
    struct MHD_Daemon *daemon;
    struct loop_poll *daemon_poll;
    int listen_fd; /* -1: accepts no more */
    int spare_fd;  /* given up to take and refuse a connection when there are no more descriptors */
    struct loop_poll *listen_poll;
    uint16_t port;
    struct loop_timer *timer;
    uint64_t timer_us; /* UINT64_MAX: off */
    struct list phases[PHASES_TIMED];
    uint64_t phase_us[PHASES_TIMED];
    struct request *handed;
    unsigned pending, connections;
    uint64_t refused;
    uint64_t handled; /* requests handed over, ever */
    bool answered;    /* a request was, since the daemon ran last */
    bool left;        /* the daemon has more to do at once */
    bool stopping;
};

void connection_phase(struct connection *c, enum phase phase);
int connection_listen(struct http_server *s, struct err *err);
void connection_deadlines(void *server); /* of the timer */
void connection_notify(void *server, struct MHD_Connection *mhd, void **context,
                       enum MHD_ConnectionNotificationCode what);
void connection_close_lingering(struct http_server *s);

#endif
