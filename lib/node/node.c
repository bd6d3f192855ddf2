/*
 * A member's life: start, carry's I/O, ticks, stop.
 */
#include "lib/node/node.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/version.h"
#include "lib/node/node_internal.h"

enum {
    NODE_PACE_MS = 2000, /* an unflushed state is flushed at least so often */
    NODE_SECOND_US = 1000000,
    NODE_HEADER_TIMEOUT_MS = 10000,
    NODE_BODY_TIMEOUT_MS = 30000,
    NODE_IDLE_TIMEOUT_MS = 120000,
    NODE_WIRE_INFLIGHT = 8,
    NODE_APPEND_ENTRIES = 4096,
    NODE_UNCOMMITTED_MAX = 65536,
    NODE_CACHE_BYTES = 32 << 20,
    NODE_SENDING_BYTES = 1 << 30,
    NODE_APPLY_AHEAD_BYTES = 16 << 20,
    NODE_DRIFT_PPM = 10000, /* of each clock: 1 % is far over what quartz does */
};

/* ---- errors that end the node ---- */

void node_fatal(void *node, const struct err *err)
{
    (void)node;
    log_error("fatal", "code=%s what=\"%s\"", err_name(err->code), err->text);
    log_stop();
    _exit(err_exit_status(err->code));
}

void node_give_up(struct node *n, const struct err *err)
{
    n->failed = true;
    n->fatal = *err;
    loop_stop(n->loop);
}

/* ---- carry's I/O ---- */

static void written(struct work *w)
{
    struct disk_write *dw = (struct disk_write *)w;
    struct node *n = dw->owner;
    uint64_t persist = dw->persist;

    hist_record(&n->meters.persist, dw->batch_us);
    mem_free(dw);
    if (n->carry) {
        carry_persisted(n->carry, persist, clock_now_us());
    }
}

static void io_persist(void *self, struct carry_write *w)
{
    struct node *n = self;
    struct disk_write *dw = mem_zalloc(sizeof *dw);

    dw->work.kind = DISK_WRITE;
    dw->work.done = written;
    dw->owner = n;
    dw->write = w;
    dw->persist = w->persist;
    worker_post(disk_worker(n->disk), &dw->work);
}

static void applied(struct work *w)
{
    struct machine_apply *a = (struct machine_apply *)w;
    struct node *n = a->owner;

    hist_record(&n->meters.apply, a->took_us);
    if (n->carry) {
        carry_overlay(n->carry, a->overlay_bytes);
        carry_applied(n->carry, a->results, a->count, clock_now_us());
    }
}

static void io_apply(void *self, struct entry **entries, size_t count)
{
    struct node *n = self;

    machine_post_apply(n->machine, entries, count, n, applied);
}

static void log_was_read(struct work *w)
{
    struct disk_read *r = (struct disk_read *)w;
    struct node *n = r->owner;

    if (n->carry) {
        carry_log_read(n->carry, r->id, r->code, r->entries, r->count, clock_now_us());
    } else {
        for (size_t i = 0; i < r->count; i++) {
            entry_unref(r->entries[i]);
        }
        mem_free(r->entries);
    }
    mem_free(r);
}

static void io_log_read(void *self, uint64_t id, raft_index first, raft_index last,
                        uint64_t bytes_max)
{
    struct node *n = self;
    struct disk_read *r = mem_zalloc(sizeof *r);

    r->work.kind = DISK_READ;
    r->work.done = log_was_read;
    r->owner = n;
    r->id = id;
    r->first = first;
    r->last = last;
    r->bytes_max = bytes_max;
    worker_post(disk_worker(n->disk), &r->work);
}

static void io_send(void *self, const struct peer_message *m)
{
    struct node *n = self;

    peer_transport_send(n->transport, m);
}

static void compacted(struct work *w)
{
    mem_free(w);
}

static void io_compact(void *self, raft_index index, raft_term term, const struct membership *m)
{
    struct node *n = self;
    struct disk_compact *c = mem_zalloc(sizeof *c);

    c->work.kind = DISK_COMPACT;
    c->work.done = compacted;
    c->index = index;
    c->term = term;
    c->membership = *m;
    worker_post(disk_worker(n->disk), &c->work);
}

/* Leader and members are learnt apart from each other: whoever comes second makes it a name. */
static const char *note_leader(struct node *n)
{
    snprintf(n->header_leader, sizeof n->header_leader, "%s",
             node_member_name(n, raft_leader(carry_raft(n->carry))));
    return n->header_leader;
}

static void io_membership(void *self, const struct membership *latest)
{
    struct node *n = self;

    note_leader(n);
    for (uint32_t i = 0; i < latest->configuration.count; i++) {
        const struct member_address *a = &latest->addresses[i];

        if (a->id != n->id) {
            peer_transport_address(n->transport, a->id, a->url);
        }
    }
    log_info("configuration", "index=%llu members=%u joint=%s",
             (unsigned long long)latest->configuration.index, latest->configuration.count,
             latest->configuration.joint ? "yes" : "no");
}

static void io_stepped(void *self, const struct raft_event *event)
{
    struct node *n = self;

    if (n->carry) { /* not yet while it is being made */
        stages_stepped(&n->stages, carry_raft(n->carry), event->now_us);
    }
}

static void io_state_changed(void *self)
{
    struct node *n = self;
    const struct raft *raft = carry_raft(n->carry);
    const char *leader = note_leader(n);

    snprintf(n->header_term, sizeof n->header_term, "%llu",
             (unsigned long long)raft_term_current(raft));
    if (carry_fenced(n->carry)) {
        log_error("state diverged",
                  "what=\"the digest of kv.db differs from that of a majority: no reads and no "
                  "candidacy here; replace this member\"");
    }
    if (carry_removed(n->carry)) {
        log_warn("removed",
                 "configuration=%llu what=\"this node is no member of the cluster any more: it "
                 "serves nobody and never campaigns; to come back it needs an empty data "
                 "directory\"",
                 (unsigned long long)raft_removed_index(raft));
    }
    log_info("state", "state=%s term=%llu leader=%s", raft_state_name(raft_state(raft)),
             (unsigned long long)raft_term_current(raft), *leader ? leader : "-");
}

/* ---- peers ---- */

static void peer_replied(void *self, const struct peer_message *reply)
{
    struct node *n = self;

    if (n->carry) {
        uint64_t now_us = clock_now_us();

        carry_peer_reply(n->carry, &reply->message, now_us);
        carry_digest_heard(n->carry, reply, now_us);
    }
}

static void peer_failed(void *self, raft_id peer, enum raft_message_type type, int code,
                        const struct peer_refusal *refusal)
{
    struct node *n = self;

    if (!n->carry) {
        return;
    }
    if (code == ERR_FORBIDDEN && refusal && refusal->configuration_index > 0) {
        carry_told_removed(n->carry, refusal->configuration_index, clock_now_us());
    }
    carry_peer_failed(n->carry, peer, type, clock_now_us());
}

const struct member_address *node_leader(const struct node *n)
{
    raft_id leader = n->carry ? raft_leader(carry_raft(n->carry)) : 0;

    return leader != 0 ? carry_address(n->carry, leader) : NULL;
}

const char *node_member_name(const struct node *n, raft_id id)
{
    const struct member_address *a = id != 0 && n->carry ? carry_address(n->carry, id) : NULL;

    return a ? a->name : "";
}

static void stop_look(struct node *n, uint64_t now_us);

/* ---- time ---- */

void node_wake(struct node *n)
{
    if (n->carry) {
        loop_timer_at(n->tick, carry_wake_us(n->carry));
    }
}

static void tick_due(void *argument)
{
    struct node *n = argument;

    if (n->carry) {
        carry_tick(n->carry, clock_now_us(), clock_wall_ms());
    }
}

/* Once a turn, after everything that happened in it: one proposal, one read round, one hand-over to
 * each thread. */
static void turn_ends(void *argument)
{
    struct node *n = argument;

    if (n->carry) {
        uint64_t now_us = clock_now_us();

        carry_turn(n->carry, now_us, clock_wall_ms());
        http_members_look(n, now_us);
        node_wake(n);
    }
    if (n->phase == NODE_STOPPING) {
        stop_look(n, clock_now_us());
    }
    if (n->disk) {
        worker_flush(disk_worker(n->disk));
    }
    if (n->machine) {
        machine_flush_turn(n->machine);
    }
}

static void expired_known(struct work *w)
{
    struct machine_expired *e = (struct machine_expired *)w;
    struct node *n = e->owner;

    n->expired_asked = false;
    if (n->carry) {
        carry_sessions_expired(n->carry, e->ids, e->count, clock_now_us());
    }
}

static void second_passed(void *argument)
{
    struct node *n = argument;
    uint64_t now_us = clock_now_us();

    loop_timer_at(n->second, now_us + NODE_SECOND_US);
    if (data_dir_free_bytes(n->dir, &n->disk_free, NULL) == 0 && n->carry) {
        carry_disk_low(n->carry, n->disk_free < NODE_DISK_RESERVE, now_us);
    }
    if (n->carry && raft_leader_ready(carry_raft(n->carry)) && !n->expired_asked &&
        !carry_installing(n->carry)) {
        n->expired_asked = true;
        n->expired.work.done = expired_known;
        n->expired.owner = n;
        n->expired.cluster_time_ms = carry_cluster_time_ms(n->carry, now_us);
        machine_post_expired(n->machine, &n->expired);
    }
    snapshots_look(n, now_us);
}

/* Only where nodes flush alike is there something to compare. */
static void state_was_flushed(void *self, raft_index index, struct digest digest)
{
    struct node *n = self;

    if (n->carry && index % state_options_default.index_stride == 0) {
        carry_flushed(n->carry, index, digest, clock_now_us());
    }
}

static void log_may_be_cut(void *self, raft_index index)
{
    struct node *n = self;

    if (n->carry) {
        carry_checkpointed(n->carry, index, clock_now_us());
    }
}

static void flush_failing(void *self, bool failing)
{
    struct node *n = self;

    if (n->carry) {
        carry_flush_failing(n->carry, failing, clock_now_us());
    }
}

/* ---- start ---- */

static void carry_limits(const struct node *n, struct carry_options *o)
{
    *o = (struct carry_options){
        .raft =
            {
                .id = n->id,
                .election_timeout_us = n->options.election_timeout_ms * 1000,
                .heartbeat_interval_us = n->options.heartbeat_interval_ms * 1000,
                .inflight_max = NODE_WIRE_INFLIGHT,
                .append_entries_max = NODE_APPEND_ENTRIES,
                .uncommitted_max = NODE_UNCOMMITTED_MAX,
                .clock_drift_ppm = NODE_DRIFT_PPM,
                .seed = random_id(),
            },
        .append_bytes_max = NODE_APPEND_BYTES,
        .wire_inflight_max = NODE_WIRE_INFLIGHT,
        .cache_bytes_max = NODE_CACHE_BYTES,
        .pending_writes_max = NODE_PENDING_WRITES,
        .pending_bytes_max = NODE_PENDING_BYTES,
        .pending_reads_max = NODE_PENDING_READS,
        .apply_ahead_bytes = NODE_APPLY_AHEAD_BYTES,
        .overlay_bytes_max = NODE_OVERLAY_BYTES,
        .trailing_entries = n->options.trailing_entries,
        .sending_bytes_max = NODE_SENDING_BYTES,
        .session_ttl_ms = state_options_default.session_ttl_ms,
    };
}

static int start_carry(struct node *n, const struct carry_start *start, struct err *err)
{
    struct carry_io io = {
        .self = n,
        .persist = io_persist,
        .apply = io_apply,
        .read = http_kv_read,
        .log_read = io_log_read,
        .send = io_send,
        .reply = http_peer_reply,
        .answer = http_kv_answer,
        .compact = io_compact,
        .snapshot_send = snapshots_send,
        .install = snapshots_install,
        .membership = io_membership,
        .state_changed = io_state_changed,
        .stepped = io_stepped,
    };
    struct carry_options options;
    int code;

    carry_limits(n, &options);
    code = carry_new(&options, &io, start, &n->carry, err);
    if (code != 0) {
        return code;
    }
    n->phase = NODE_MEMBER;
    n->has_cluster = true;
    n->cluster_id = start->cluster_id;
    hex128(n->cluster_id, n->header_cluster);
    peer_transport_identity(n->transport, n->cluster_id, n->id);
    io_membership(n, carry_membership(n->carry));
    io_state_changed(n);
    node_wake(n);
    return 0;
}

void node_become_member(struct node *n, struct digest cluster_id, const struct membership *first)
{
    static const struct raft_run one = {.first = 1, .term = 1};
    struct carry_start start = {
        .now_us = clock_now_us(),
        .wall_ms = clock_wall_ms(),
        .cluster_id = cluster_id,
        .fresh = true,
        .applied = machine_start_applied(n->machine),
        .cluster_time_ms = machine_start_cluster_time_ms(n->machine),
        .applied_membership = machine_start_membership(n->machine),
    };
    struct err err = {0};

    if (first) {
        start.term = 1;
        start.last_index = 1;
        start.runs = &one;
        start.run_count = 1;
        start.memberships = first;
        start.membership_count = 1;
    }
    machine_set_cluster(n->machine, cluster_id);
    if (start_carry(n, &start, &err) != 0) {
        node_give_up(n, &err);
    }
}

/* What raft.db and kv.db say of each other must fit: the state is never ahead of the log, nor so
 * far behind that the log cannot replay it. */
static int check_stores(const struct node *n, const struct log_store_state *s, struct err *err)
{
    raft_index at = machine_start_applied(n->machine);

    if (at > s->last_index && at > s->snapshot_index) {
        return err_set(err, ERR_CORRUPT,
                       "%s: kv.%llu.db has applied %llu, but the log in raft.db ends at %llu",
                       data_dir_path(n->dir), (unsigned long long)s->kv_generation,
                       (unsigned long long)at, (unsigned long long)s->last_index);
    }
    if (at < s->snapshot_index) {
        return err_set(err, ERR_CORRUPT,
                       "%s: kv.%llu.db has applied %llu, but the log in raft.db begins behind %llu",
                       data_dir_path(n->dir), (unsigned long long)s->kv_generation,
                       (unsigned long long)at, (unsigned long long)s->snapshot_index);
    }
    return 0;
}

static int start_member(struct node *n, const struct log_store_state *s, struct err *err)
{
    struct carry_start start = {
        .now_us = clock_now_us(),
        .wall_ms = clock_wall_ms(),
        .cluster_id = s->cluster_id,
        .term = s->term,
        .vote = s->vote,
        .removed = s->removed,
        .snapshot = {.index = s->snapshot_index,
                     .term = s->snapshot_term,
                     .membership = s->snapshot_membership},
        .runs = s->runs,
        .run_count = s->run_count,
        .last_index = s->last_index,
        .memberships = s->memberships,
        .membership_count = s->membership_count,
        .applied = machine_start_applied(n->machine),
        .cluster_time_ms = machine_start_cluster_time_ms(n->machine),
        .applied_membership = machine_start_membership(n->machine),
    };
    int code = check_stores(n, s, err);

    if (code == 0 &&
        (n->options.cluster_count > 0 || n->options.join_count > 0 || n->options.standby)) {
        log_info("cluster known",
                 "note=\"--cluster, --join and --standby are ignored: %s belongs "
                 "to a cluster already\"",
                 data_dir_path(n->dir));
    }
    return code != 0 ? code : start_carry(n, &start, err);
}

static int start_stores(struct node *n, struct log_store_state *s, struct err *err)
{
    struct machine_options machine = {
        .loop = n->loop,
        .pace_ms = NODE_PACE_MS,
        .fatal = node_fatal,
        .flushed = state_was_flushed,
        .checkpointed = log_may_be_cut,
        .flush_failing = flush_failing,
        .argument = n,
        .state = state_options_default,
        .faults = n->faults,
    };
    int code = data_dir_open(n->options.data_dir, &n->dir, err);

    if (code == 0) {
        code = log_store_open(n->dir, n->options.name, &n->log_store, s, err);
    }
    if (code != 0) {
        return code;
    }
    n->id = s->member_id;
    n->kv_generation = s->kv_generation;
    /* The state's file may be made anew only while there is nothing that it could hold. */
    code = kv_store_prepare(n->dir, s->kv_generation, s->snapshot_index == 0, err);
    if (code != 0) {
        return code;
    }
    machine.dir = n->dir;
    machine.generation = s->kv_generation;
    machine.cluster_id = s->has_cluster ? &s->cluster_id : NULL;
    machine.done = n->done;
    code = machine_start(&machine, &n->machine, err);
    if (code == 0) {
        code = disk_start(n->log_store, n->done, node_fatal, n, n->faults, &n->disk, err);
    }
    return code;
}

static int start_network(struct node *n, struct err *err)
{
    struct peer_transport_events events = {.self = n, .reply = peer_replied, .failed = peer_failed};
    struct http_server_options server = {
        .host = n->options.host,
        .port = n->options.port,
        .connections_max = (unsigned)n->options.connections_max,
        .header_timeout_ms = NODE_HEADER_TIMEOUT_MS,
        .body_timeout_ms = NODE_BODY_TIMEOUT_MS,
        .idle_timeout_ms = NODE_IDLE_TIMEOUT_MS,
        .body_max = routes_body_max,
        .handle = routes_handle,
        .refusal = routes_refusal,
        .self = n,
    };
    int code = peer_transport_new(n->loop, &events, NODE_TRANSPORT_TIMEOUT_MS, &n->transport, err);

    if (code == 0) {
        peer_transport_name(n->transport, n->options.name);
        n->client = peer_transport_client(n->transport);
        if (n->faults) {
            peer_transport_fates(n->transport, faults_fate, n->faults);
        }
        code = http_server_start(n->loop, &server, &n->server, err);
    }
    return code;
}

/* ---- stop ---- */

/* Done when nobody waits for an answer and leadership has gone, or when the time is over. */
static void stop_look(struct node *n, uint64_t now_us)
{
    const struct raft *raft = n->carry ? carry_raft(n->carry) : NULL;
    bool handing_over = raft && raft_handing_over(raft);

    if ((!handing_over && http_server_pending(n->server) == 0) || now_us >= n->stop_deadline_us) {
        loop_stop(n->loop);
    }
}

static void stop_due(void *argument)
{
    stop_look(argument, clock_now_us());
}

/* Not ready, no new writes; leadership to the best follower; pending requests get their time; then
 * the loop ends. */
static void stop_asked(void *argument, int signum)
{
    struct node *n = argument;
    uint64_t now_us = clock_now_us();

    if (n->phase == NODE_STOPPING) {
        loop_stop(n->loop); /* asked twice */
        return;
    }
    log_info("stopping", "signal=%d", signum);
    n->phase = NODE_STOPPING;
    n->stop_deadline_us = now_us + (uint64_t)NODE_STOP_MS * 1000;
    loop_timer_at(n->stop_timer, n->stop_deadline_us);
    if (n->carry) {
        carry_shutdown(n->carry);
        if (raft_state(carry_raft(n->carry)) == RAFT_LEADER) {
            carry_transfer(n->carry, 0, now_us, NULL); /* refused where nobody else votes */
        }
    }
}

/* The carry goes first: what was proposed and is not settled is answered as unknown, and what the
 * threads still finish finds nobody. */
static void node_stop(struct node *n)
{
    struct err err = {0};

    if (n->faults) {
        faults_clear(n->faults); /* nobody else can any more: a disk would stand still for ever */
    }
    forming_stop(n);
    carry_free(n->carry);
    n->carry = NULL;
    snapshots_stop(n); /* these two have requests of the server's in hand */
    machine_stop(n->machine);
    n->machine = NULL;
    if (n->transport) {
        peer_transport_free(n->transport); /* calls under way end, and answer who waits for them */
    }
    http_members_stop(n);
    if (n->server) {
        http_server_stop(n->server);
    }
    disk_stop(n->disk); /* last: clients are answered, also if raft.db stands still */
    n->disk = NULL;
    if (n->done) {
        done_run(n->done);
    }
    mem_free(n->snapshots);
    if (n->log_store && log_store_close(n->log_store, &err) != 0) {
        log_warn("closing raft.db", "what=\"%s\"", err.text);
    }
    done_queue_free(n->done);
    if (n->dir) {
        data_dir_close(n->dir);
    }
    loop_timer_free(n->tick);
    loop_timer_free(n->second);
    loop_timer_free(n->stop_timer);
    loop_free(n->loop);
    faults_free(n->faults);
}

/* ---- run ---- */

/* As many descriptors as we may have: connections are bounded by an option, not by a default of the
 * shell. */
static void raise_descriptors(struct node *n)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        n->options.connections_max + 256 > limit.rlim_cur) {
        n->options.connections_max = limit.rlim_cur > 512 ? limit.rlim_cur - 256 : 256;
        log_warn("fewer connections", "max=%llu why=\"limit of open files\"",
                 (unsigned long long)n->options.connections_max);
    }
}

static int node_start(struct node *n, struct err *err)
{
    struct log_store_state state;
    int code = loop_new(&n->loop, err);

    if (code == 0) {
        code = done_queue_new(n->loop, &n->done, err);
    }
    if (code != 0) {
        return code;
    }
    n->tick = loop_timer_new(n->loop, tick_due, n);
    n->second = loop_timer_new(n->loop, second_passed, n);
    n->stop_timer = loop_timer_new(n->loop, stop_due, n);
    loop_every_turn(n->loop, turn_ends, n);
    code = start_stores(n, &state, err);
    if (code == 0) {
        code = start_network(n, err);
    }
    if (code == 0) {
        code = snapshots_start(n, err);
    }
    if (code == 0) {
        code = loop_on_signal(n->loop, SIGTERM, stop_asked, n, err);
    }
    if (code == 0) {
        code = loop_on_signal(n->loop, SIGINT, stop_asked, n, err);
    }
    if (code == 0) {
        code = state.has_cluster ? start_member(n, &state, err) : forming_start(n, err);
    }
    if (n->log_store) {
        log_store_forget_start(n->log_store);
    }
    return code;
}

/* The loop's handlers go with it, and what signals do without is to kill: to have been asked twice
 * is no reason to end with anything but our status. */
static void ignore_further_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int node_run(const struct node_options *options, struct err *err)
{
    struct node *n = mem_zalloc(sizeof *n);
    char hex[HEX64_BYTES];
    int code;

    n->options = *options;
    n->started_us = clock_now_us();
    n->disk_free = UINT64_MAX;
    n->header_term[0] = '0';
    signal(SIGPIPE, SIG_IGN);
    raise_descriptors(n);
    if (options->faults) {
        n->faults = faults_new(node_peer_at, n);
        log_warn("faults enabled", "what=\"whoever reaches this port can make this node fail\"");
    }
    code = node_start(n, err);
    if (code == 0) {
        log_info("started", "version=%s id=%s address=%s:%u data=%s", RAFTKV_VERSION,
                 hex64(n->id, hex), options->host, http_server_port(n->server), options->data_dir);
        second_passed(n);
        loop_run(n->loop);
    }
    if (n->failed) {
        code = n->fatal.code;
        if (err) {
            *err = n->fatal;
        }
    }
    if (n->loop) {
        ignore_further_signals();
        node_stop(n);
    }
    mem_free(n);
    return code;
}
