/*
 * The inside of the node, shared by the files of lib/node only.
 *
 *   node.c          start, carry's I/O, ticks, stop
 *   forming.c       a first cluster, joining, standing by
 *   routes.c        table of routes, checks of every request, replies
 *   http_kv.c       /kv: clients' reads and writes
 *   http_scan.c     /kv with a query: scans
 *   http_batch.c    /batch
 *   http_status.c   status, health, debugging
 *   http_members.c  changes of members and of leadership
 *   http_faults.c   /faults; faults.c holds them
 *   http_peers.c    /raft/message, /raft/hello
 *   forward.c       to the leader
 *   snapshots.c     taking, sending, receiving, installing
 *   metrics.c       /metrics
 *   stages.c        where the time of a write goes
 *   disk.c, machine.c, work.c  the threads
 *
 * Everything here is the loop thread's.
 */
#ifndef RAFTKV_NODE_NODE_INTERNAL_H
#define RAFTKV_NODE_NODE_INTERNAL_H

#include "lib/base/hist.h"
#include "lib/net/http_client.h"
#include "lib/net/http_server.h"
#include "lib/net/loop.h"
#include "lib/net/peer_transport.h"
#include "lib/node/carry.h"
#include "lib/node/disk.h"
#include "lib/node/faults.h"
#include "lib/node/machine.h"
#include "lib/node/node.h"
#include "lib/node/stages.h"
#include "lib/node/work.h"

enum {
    NODE_APPEND_BYTES = 1 << 20,    /* payload of one append on the wire */
    NODE_TIMEOUT_DEFAULT_MS = 5000, /* of a request that names none */
    NODE_TIMEOUT_MAX_MS = 60000,
    NODE_STOP_MS = 5000,          /* for pending requests at a stop */
    NODE_DISK_RESERVE = 64 << 20, /* bytes; below it nothing is proposed */
    NODE_TRANSPORT_TIMEOUT_MS = 2000,
    NODE_OVERLAY_BYTES = 256 << 20,
    NODE_PENDING_BYTES = 128 << 20,
    NODE_PENDING_WRITES = 16384,
    NODE_PENDING_READS = 65536,
    NODE_SCAN_LIMIT = 1000,
    NODE_SCAN_BYTES = 1 << 20,
    NODE_ADMIN_BODY = 4 << 20, /* of what operators ask, at most */
};

/* What is counted and timed, for /metrics. */
enum node_op { NODE_GET, NODE_PUT, NODE_DELETE, NODE_SCAN, NODE_BATCH, NODE_OPS };

struct node_meters {
    struct hist total[NODE_OPS]; /* request to reply */
    uint64_t errors[NODE_OPS];
    struct hist persist;        /* a write's batch on the disk */
    struct hist apply;          /* a batch in the state machine */
    struct hist stages[STAGES]; /* of writes that were applied */
    uint64_t forwarded, forward_failed, redirected, peer_refused, stale_refused;
    uint64_t bytes_in, bytes_out;
};

struct snapshots; /* snapshots.c */
struct forming;   /* forming.c */
struct waiter;    /* http_members.c */

enum node_phase { NODE_STARTING, NODE_FORMING, NODE_MEMBER, NODE_STOPPING };

struct node {
    struct node_options options;
    struct faults *faults; /* NULL: not enabled */
    struct loop *loop;
    struct http_server *server;
    struct peer_transport *transport;
    struct http_client *client; /* transport's: forwarding, snapshots, hello */
    struct data_dir *dir;
    struct log_store *log_store;
    struct done_queue *done;
    struct disk *disk;
    struct machine *machine;
    struct carry *carry; /* NULL until there is a cluster */
    struct snapshots *snapshots;
    struct forming *forming;
    struct loop_timer *tick, *second, *stop_timer;

    enum node_phase phase;
    raft_id id;
    bool has_cluster;
    struct digest cluster_id;
    uint64_t kv_generation;
    uint64_t started_us, stop_deadline_us;
    uint64_t disk_free;
    bool failed; /* stop with fatal */
    struct err fatal;

    /* constant headers of every reply; remade when something of them changes */
    char header_leader[LIMIT_NAME_BYTES + 1], header_term[24], header_cluster[HEX128_BYTES];

    struct waiter *waiters; /* http_members.c: requests that wait for a change or a transfer */
    bool expired_asked;
    struct machine_expired expired;
    struct node_meters meters;
    struct stages stages;
    uint64_t peer_requests_pending;
    uint64_t forwarding_bytes; /* forward.c */
};

/* ---- node.c ---- */
void node_fatal(void *node,
                const struct err *err); /* logs, ends the process with the error's exit status */
void node_give_up(struct node *n, const struct err *err); /* an orderly end that node_run returns */
/* A first membership was persisted (entry 1 in the log, or an empty log that a leader will fill):
 * the carry starts. */
void node_become_member(struct node *n, struct digest cluster_id, const struct membership *first);
const struct member_address *node_leader(const struct node *n); /* NULL: not known */
const char *node_member_name(const struct node *n, raft_id id); /* "" if not known */
void node_wake(struct node *n); /* something may have changed carry's wake time */

/* ---- routes.c ---- */
size_t routes_body_max(void *node, const struct http_request *head, struct http_reply *refuse);
void routes_handle(void *node, struct http_request *r);
void routes_refusal(void *node, struct http_request *r, int status, const char *why, uint64_t limit,
                    uint64_t actual);

/* A reply with the headers that each bears. `body` is taken. `index`: the applied index it was
 * served at. */
struct reply {
    int status;
    const char *content_type; /* NULL: application/json */
    struct buf *body;         /* taken; NULL: none */
    raft_index index;
    struct http_header extra[6];
    size_t extra_count;
    bool close;
};
void reply_send(struct node *n, struct http_request *r, struct reply *reply);
void reply_error(struct node *n, struct http_request *r, const struct api_error *e);
/* code, outcome not given (a read or a request that is no write), message */
void reply_failure(struct node *n, struct http_request *r, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void reply_err(struct node *n, struct http_request *r, const struct err *err, enum outcome outcome);
void reply_answer(struct node *n, struct http_request *r, const struct carry_answer *a);

/* Common query parameters. */
int parse_flag(const struct query_parameter *p, bool *out, struct err *err);
int parse_number(const struct query_parameter *p, uint64_t max, uint64_t *out, struct err *err);
int parse_timeout(const struct query_parameter *p, uint64_t *ms, struct err *err);
/* ERR_BAD_REQUEST unless the query is empty but for what the table names. */
int parse_query(const struct http_request *r, struct query_parameter *table, size_t count,
                struct err *err);
/* Of a GET that knows no parameter: false if one is there (answered). */
bool no_query(struct node *n, struct http_request *r);

/* ---- http_kv.c ---- */
void http_kv_key(struct node *n, struct http_request *r, struct slice raw_key);
void http_kv_scan(struct node *n, struct http_request *r);
void http_batch(struct node *n, struct http_request *r);
void http_kv_answer(void *node, struct carry_request *r,
                    const struct carry_answer *a);      /* carry_io.answer */
void http_kv_read(void *node, struct carry_request *r); /* carry_io.read */

/* ---- forward.c ---- */
/* Sends the request to the leader as it is (body and conditional headers) and passes the answer on;
 * `query` without '?'. `fallback` answers a read instead when the leader cannot be asked, and a
 * read may be sent twice; NULL for a write, whose client is told what became of it. */
void forward_request(struct node *n, struct http_request *r, const struct member_address *leader,
                     const char *target, uint32_t timeout_ms,
                     void (*fallback)(struct node *, struct http_request *));
bool forward_redirect(struct node *n, struct http_request *r, const struct member_address *leader);
bool request_forwarded(const struct http_request *r);

/* ---- http_status.c ---- */
void http_status(struct node *n, struct http_request *r);
void http_node(struct node *n, struct http_request *r);
void http_members(struct node *n, struct http_request *r);
void http_livez(struct node *n, struct http_request *r);
void http_readyz(struct node *n, struct http_request *r);
void http_health(struct node *n, struct http_request *r);
void http_debug_raft(struct node *n, struct http_request *r);
void http_debug_log(struct node *n, struct http_request *r);
void http_debug_trace(struct node *n, struct http_request *r);
void reply_members(struct node *n, struct http_request *r); /* as this node knows them */
bool node_ready(struct node *n, struct buf *why); /* the checks of /readyz, a line each if `why` */

/* ---- http_members.c ---- */
void http_members_add(struct node *n, struct http_request *r);
void http_member_remove(struct node *n, struct http_request *r, struct slice id);
void http_member_promote(struct node *n, struct http_request *r, struct slice id);
void http_member_replace(struct node *n, struct http_request *r, struct slice id);
void http_leader_get(struct node *n, struct http_request *r);
void http_leader_post(struct node *n, struct http_request *r);
/* Waiting transfers and changes are answered when leadership or configuration moves, or their time
 * is over. */
void http_members_look(struct node *n, uint64_t now_us);
void http_members_stop(struct node *n); /* who still waits is told so */

/* ---- http_peers.c ---- */
void http_peer_message(struct node *n, struct http_request *r);
void http_peer_hello(struct node *n, struct http_request *r);
void http_peer_reply(void *node, uint64_t context,
                     const struct raft_message *reply); /* carry_io.reply */
void node_hello(struct node *n, struct hello *h);

/* ---- forming.c ---- */
int forming_start(struct node *n, struct err *err); /* no cluster on disk: begins to look for one */
void forming_stop(struct node *n);
void forming_describe(struct node *n, struct buf *out); /* who is missing, for /readyz */
void forming_hello(const struct node *n, struct hello *h);
/* A leader addresses this node by its member id: it adopts that cluster, if it waits for one. true:
 * it will. */
bool forming_adopt(struct node *n, struct digest cluster_id);

/* ---- snapshots.c ---- */
int snapshots_start(struct node *n, struct err *err);
void snapshots_stop(struct node *n);
void snapshots_send(void *node, raft_id peer, raft_index index); /* carry_io */
void snapshots_install(void *node, uint64_t generation,
                       const struct snapshot_cut *cut); /* carry_io */
void http_peer_snapshot(struct node *n, struct http_request *r);
void snapshots_look(struct node *n, uint64_t now_us); /* leadership lost: stop sending */
uint64_t snapshots_bytes(const struct node *n);

/* ---- http_faults.c ---- */
void http_faults_get(struct node *n, struct http_request *r);
void http_faults_post(struct node *n, struct http_request *r);
void http_faults_clear(struct node *n, struct http_request *r);
void http_fault_clear(struct node *n, struct http_request *r, struct slice id);
const char *node_peer_at(void *node, const char *url); /* fault_peer_at */

/* ---- metrics.c ---- */
void http_metrics(struct node *n, struct http_request *r);

#endif
