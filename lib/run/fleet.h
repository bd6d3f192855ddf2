/*
 * The processes of a local cluster: started, killed, stopped, awaited. Peers reach each other
 * through the proxy (proxy.h) if there is one, clients go straight to the nodes.
 *
 * All of it belongs to one thread, which must outlive the nodes: they are killed by the kernel when
 * it ends. Others may read fleet_urls and fleet_url. Waiting is for events: an end of a process
 * (pidfd), SIGINT or SIGTERM (signalfd).
 */
#ifndef RAFTKV_RUN_FLEET_H
#define RAFTKV_RUN_FLEET_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/limits.h"
#include "lib/run/proxy.h"

enum {
    FLEET_NODES_MAX = PROXY_NODES_MAX, /* with those that were removed */
    FLEET_TEXT_BYTES = 256,
};

enum member_state {
    MEMBER_DOWN, /* its process was killed, or ended */
    MEMBER_RUNS,
    MEMBER_STOPPED, /* SIGSTOP */
    MEMBER_GONE,    /* removed from the cluster */
};

struct member {
    char name[LIMIT_NAME_BYTES + 1];
    char url[LIMIT_URL_BYTES + 1];      /* for clients */
    char peer_url[LIMIT_URL_BYTES + 1]; /* as it advertises itself: the proxy's port, if any */
    uint16_t port;
    unsigned place; /* in the proxy and in the cluster's table */
    enum member_state state;
    bool joins;   /* started with --standby */
    bool votes;   /* a voter, as far as we know */
    bool may_end; /* a fault may end the process by itself */
    pid_t pid;
    int pidfd;
};

struct fleet {
    const char *program;        /* raftkv-node; NULL: endpoints of others, no processes */
    const char *dir;            /* of data and logs */
    bool faults;                /* nodes get --enable-faults */
    struct proxy *proxy;        /* NULL: peers reach each other without one */
    uint32_t trailing_entries;  /* that nodes keep; 0: as they like */
    char cluster[HEX128_BYTES]; /* its id, once it serves: who has one of its ports later is a
                                   stranger */
    pthread_mutex_t lock;       /* of count, name, url and state, for other threads */
    struct member members[FLEET_NODES_MAX];
    unsigned count, first_count;
    int signals;      /* signalfd; -1: none */
    bool interrupted; /* SIGINT or SIGTERM came */
    bool failed;      /* a process ended that nothing should have ended */
    char why[FLEET_TEXT_BYTES];
};

/* `endpoints`: URL,URL,… of a cluster of others, or NULL. Blocks SIGINT and SIGTERM for this thread
 * and those it starts from now on, and takes them in fleet_wait. */
int fleet_init(struct fleet *c, const char *program, const char *dir, const char *endpoints,
               struct err *err);
/* Kills what runs. */
void fleet_release(struct fleet *c);
/* Whether the program knows the option: it stands in its --help. */
bool program_has_option(const char *program, const char *option);

/* Makes `count` members and starts them as one cluster. */
int fleet_start(struct fleet *c, unsigned count, struct err *err);
/* One more, which waits to be added; NULL: there is no room, or it could not be started. */
struct member *fleet_add(struct fleet *c, struct err *err);
int member_start(struct fleet *c, struct member *m, struct err *err);
/* The signal, and the wait for its end, for `wait_ms` at most; then SIGKILL. Returns the status of
 * waitpid, -1 if it did not run. */
int member_end(struct fleet *c, struct member *m, int signum, uint32_t wait_ms);
void member_stop(struct fleet *c, struct member *m);
void member_continue(struct fleet *c, struct member *m);
void member_gone(struct fleet *c, struct member *m); /* removed: its process is not needed */
bool member_answers(const struct member *m);         /* MEMBER_RUNS */

/* Something that must not be: the run ends. The first one stays. */
void fleet_fail(struct fleet *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Waits so long, or until something happened that ends the run; false then. Ends of processes are
 * seen here. */
bool fleet_wait(struct fleet *c, uint32_t ms);
/* Until /readyz of the member, or of all that run (NULL), says 200. */
bool fleet_await_ready(struct fleet *c, const struct member *m, uint32_t ms);

/* Until /livez of a member answers: it listens. */
bool fleet_await_alive(struct fleet *c, const struct member *m, uint32_t ms);

/* Of those that are members, as URL,URL,… from the one at `first` on (modulo their number). */
void fleet_urls(struct fleet *c, unsigned first, struct buf *out);
/* Of one of them alone. */
void fleet_url(struct fleet *c, unsigned which, struct buf *out);
/* "signal 9 (Killed)", "exit status 70" */
void describe_status(int status, char *out, size_t bytes);

#endif
