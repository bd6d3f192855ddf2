/*
 * /metrics: Prometheus' text format, version 0.0.4. Gauges and counters are a table of name, kind,
 * help and value.
 */
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/version.h"
#include "lib/node/node_internal.h"

enum { METRICS_BODY_MAX = 8 << 20 };

static const char *const op_names[NODE_OPS] = {"get", "put", "delete", "scan", "batch"};

/* Edges of the cumulative buckets, µs. */
static const uint64_t edges_us[] = {100,   250,   500,    1000,   2500,    5000,   10000,
                                    25000, 50000, 100000, 250000, 1000000, 5000000};

static void histogram(struct buf *out, const char *name, const char *labels, const struct hist *h)
{
    const char *comma = *labels ? "," : "";

    for (size_t i = 0; i < sizeof edges_us / sizeof edges_us[0]; i++) {
        buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", name, labels, comma,
                   (double)edges_us[i] / 1e6, (unsigned long long)hist_count_below(h, edges_us[i]));
    }
    buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma,
               (unsigned long long)h->count);
    if (*labels) {
        buf_printf(out, "%s_sum{%s} %g\n%s_count{%s} %llu\n", name, labels, (double)h->sum_us / 1e6,
                   name, labels, (unsigned long long)h->count);
    } else {
        buf_printf(out, "%s_sum %g\n%s_count %llu\n", name, (double)h->sum_us / 1e6, name,
                   (unsigned long long)h->count);
    }
}

static void head(struct buf *out, const char *name, const char *kind, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

static void operations(const struct node *n, struct buf *out)
{
    const struct node_meters *m = &n->meters;
    char labels[32];

    head(out, "raftkv_request_seconds", "histogram",
         "client requests, from their first byte to the reply");
    for (int op = 0; op < NODE_OPS; op++) {
        snprintf(labels, sizeof labels, "op=\"%s\"", op_names[op]);
        histogram(out, "raftkv_request_seconds", labels, &m->total[op]);
    }
    head(out, "raftkv_request_errors_total", "counter",
         "client requests that were refused or failed");
    for (int op = 0; op < NODE_OPS; op++) {
        buf_printf(out, "raftkv_request_errors_total{op=\"%s\"} %llu\n", op_names[op],
                   (unsigned long long)m->errors[op]);
    }
    head(out, "raftkv_write_stage_seconds", "histogram",
         "writes taken here as leader: queue, commit (persist and replicate side by side), apply");
    for (int stage = 0; stage < STAGES; stage++) {
        snprintf(labels, sizeof labels, "stage=\"%s\"", stage_names[stage]);
        histogram(out, "raftkv_write_stage_seconds", labels, &m->stages[stage]);
    }
    head(out, "raftkv_persist_seconds", "histogram", "batches of log writes, one fsync each");
    histogram(out, "raftkv_persist_seconds", "", &m->persist);
    head(out, "raftkv_apply_seconds", "histogram", "batches of entries in the state machine");
    histogram(out, "raftkv_apply_seconds", "", &m->apply);
}

struct metric {
    const char *name, *kind, *help;
    double value;
};

static void metrics(struct buf *out, const struct metric *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        head(out, table[i].name, table[i].kind, table[i].help);
        buf_printf(out, "%s %.17g\n", table[i].name, table[i].value);
    }
}

static void consensus(const struct node *n, struct buf *out)
{
    const struct raft *raft = carry_raft(n->carry);
    const struct member_address *leader = node_leader(n);
    struct carry_figures f;
    struct raft_progress_view views[RAFT_MEMBERS_MAX];
    uint32_t count = raft_progress(raft, views);
    uint64_t now_us = clock_now_us();

    carry_figures(n->carry, &f);
    const struct metric table[] = {
        {"raftkv_raft_term", "gauge", "current term", (double)raft_term_current(raft)},
        {"raftkv_raft_is_leader", "gauge", "1 on the leader", raft_state(raft) == RAFT_LEADER},
        {"raftkv_raft_has_leader", "gauge", "1 where a leader is known", leader != NULL},
        {"raftkv_raft_commit_index", "gauge", "commit index", (double)raft_commit_index(raft)},
        {"raftkv_raft_applied_index", "gauge", "applied index",
         (double)carry_applied_index(n->carry)},
        {"raftkv_raft_last_index", "gauge", "last index of the log", (double)raft_last_index(raft)},
        {"raftkv_raft_durable_index", "gauge", "last index on this disk",
         (double)raft_durable_index(raft)},
        {"raftkv_raft_first_index", "gauge", "first index of the log",
         (double)raft_first_index(raft)},
        {"raftkv_raft_snapshot_index", "gauge", "index that the log begins behind",
         (double)raft_snapshot_index(raft)},
        {"raftkv_raft_elections_total", "counter", "elections that this node began",
         (double)f.elections},
        {"raftkv_raft_leaderships_total", "counter", "elections that this node won",
         (double)f.leader_changes},
        {"raftkv_raft_stalled", "gauge", "1 while a write does not end", carry_stalled(n->carry)},
        {"raftkv_state_diverged", "gauge", "1 where this node's state differs from a majority's",
         carry_fenced(n->carry)},
        {"raftkv_state_disputed_index", "gauge",
         "index where no majority has the same state; 0: none",
         (double)carry_digest_disputed(n->carry)},
        {"raftkv_proposals_total", "counter", "writes put into the log here", (double)f.proposals},
        {"raftkv_reads_index_total", "counter", "reads by ReadIndex", (double)f.reads_by_index},
        {"raftkv_reads_lease_total", "counter", "reads by lease", (double)f.reads_by_lease},
        {"raftkv_reads_stale_total", "counter", "stale reads", (double)f.reads_stale},
        {"raftkv_timeouts_total", "counter", "requests that ran into their deadline",
         (double)f.timeouts},
        {"raftkv_refused_total", "counter", "writes refused at admission", (double)f.refused},
        {"raftkv_appends_sent_total", "counter", "appends sent to peers", (double)f.appends_sent},
        {"raftkv_appends_held_total", "counter", "appends that came out of order",
         (double)f.appends_held},
        {"raftkv_snapshots_installed_total", "counter", "snapshots installed here",
         (double)f.snapshots_installed},
        {"raftkv_snapshots_sent_total", "counter", "snapshots sent", (double)f.snapshots_sent},
        {"raftkv_pending_writes", "gauge", "writes waiting for commit", f.pending_writes},
        {"raftkv_pending_writes_limit", "gauge", "over it 429", NODE_PENDING_WRITES},
        {"raftkv_pending_write_bytes", "gauge", "bytes of them", (double)f.pending_bytes},
        {"raftkv_pending_write_bytes_limit", "gauge", "over it 429", NODE_PENDING_BYTES},
        {"raftkv_pending_reads", "gauge", "reads under way", f.pending_reads},
        {"raftkv_pending_reads_limit", "gauge", "over it 429", NODE_PENDING_READS},
        {"raftkv_log_cache_bytes", "gauge", "log tail in memory", (double)f.cache_bytes},
        {"raftkv_log_cache_entries", "gauge", "entries of it", (double)f.cache_entries},
    };

    metrics(out, table, sizeof table / sizeof table[0]);
    head(out, "raftkv_peer_match_index", "gauge", "on the leader: what each member has");
    for (uint32_t i = 0; i < count; i++) {
        buf_printf(out, "raftkv_peer_match_index{peer=\"%s\"} %llu\n",
                   node_member_name(n, views[i].id), (unsigned long long)views[i].match);
    }
    head(out, "raftkv_peer_last_contact_seconds", "gauge",
         "on the leader: since each member's last reply");
    for (uint32_t i = 0; i < count; i++) {
        if (views[i].id != n->id && views[i].last_contact_us > 0) {
            buf_printf(out, "raftkv_peer_last_contact_seconds{peer=\"%s\"} %g\n",
                       node_member_name(n, views[i].id),
                       (double)(now_us - views[i].last_contact_us) / 1e6);
        }
    }
}

static void storage(struct node *n, struct buf *out)
{
    struct machine_figures m;
    struct disk_figures d;

    machine_figures(n->machine, &m);
    disk_figures(n->disk, &d);
    const struct metric table[] = {
        {"raftkv_log_file_bytes", "gauge", "raft.db", (double)d.log.file_bytes},
        {"raftkv_log_wal_bytes", "gauge", "its WAL", (double)d.log.wal_bytes},
        {"raftkv_log_entries", "gauge", "entries in the log",
         d.log.last >= d.log.first ? (double)(d.log.last - d.log.first + 1) : 0},
        {"raftkv_kv_file_bytes", "gauge", "kv.db", (double)m.kv_bytes},
        {"raftkv_kv_wal_bytes", "gauge", "its WAL", (double)m.wal_bytes},
        {"raftkv_snapshot_bytes", "gauge", "snapshot being sent", (double)snapshots_bytes(n)},
        {"raftkv_disk_free_bytes", "gauge", "free on the file system of the data directory",
         n->disk_free == UINT64_MAX ? 0 : (double)n->disk_free},
        {"raftkv_disk_reserve_bytes", "gauge", "below it writes are refused", NODE_DISK_RESERVE},
        {"raftkv_disk_full", "gauge", "1 while a batch waits for room", d.full},
        {"raftkv_log_batches_total", "counter", "transactions on raft.db", (double)d.batches},
        {"raftkv_log_entries_written_total", "counter", "entries written", (double)d.entries},
        {"raftkv_keys", "gauge", "keys in kv.db", (double)m.keys},
        {"raftkv_sessions", "gauge", "client sessions", (double)m.sessions},
        {"raftkv_flushed_index", "gauge", "index that kv.db stands at", (double)m.flushed},
        {"raftkv_checkpointed_index", "gauge", "… without its WAL", (double)m.checkpointed},
        {"raftkv_flushes_total", "counter", "flushes of the overlay", (double)m.flushes},
        {"raftkv_flush_failures_total", "counter", "… that failed", (double)m.flush_failures},
        {"raftkv_flush_failing", "gauge", "1 while kv.db cannot be written", m.flush_failing},
        {"raftkv_overlay_bytes", "gauge", "applied, not flushed yet", (double)m.overlay_bytes},
        {"raftkv_overlay_bytes_limit", "gauge", "over it 429", NODE_OVERLAY_BYTES},
        {"raftkv_overlay_rows", "gauge", "rows of it", (double)m.overlay_rows},
    };

    metrics(out, table, sizeof table / sizeof table[0]);
}

static void network(const struct node *n, struct buf *out)
{
    const struct metric table[] = {
        {"raftkv_connections", "gauge", "open HTTP connections",
         http_server_connections(n->server)},
        {"raftkv_connections_limit", "gauge", "over it connections are refused",
         (double)n->options.connections_max},
        {"raftkv_requests_pending", "gauge", "requests not answered yet",
         http_server_pending(n->server)},
        {"raftkv_requests_refused_total", "counter", "requests that the server refused",
         (double)http_server_refused(n->server)},
        {"raftkv_forwarded_total", "counter", "requests passed to the leader",
         (double)n->meters.forwarded},
        {"raftkv_forward_failed_total", "counter", "… without an answer",
         (double)n->meters.forward_failed},
        {"raftkv_redirected_total", "counter", "requests answered with 307",
         (double)n->meters.redirected},
        {"raftkv_peer_refused_total", "counter", "messages of strangers and of other clusters",
         (double)n->meters.peer_refused},
        {"raftkv_peer_bytes_sent_total", "counter", "bytes of messages to peers",
         (double)peer_transport_bytes_sent(n->transport)},
        {"raftkv_bytes_received_total", "counter", "bodies of requests",
         (double)n->meters.bytes_in},
        {"raftkv_bytes_sent_total", "counter", "bodies of replies", (double)n->meters.bytes_out},
        {"raftkv_log_lines_dropped_total", "counter", "lines of the log that nobody read in time",
         (double)log_dropped()},
        {"raftkv_faults_active", "gauge", "faults in force that were asked for",
         (double)faults_count(n->faults)},
        {"raftkv_uptime_seconds", "gauge", "since the start",
         (double)(clock_now_us() - n->started_us) / 1e6},
    };

    metrics(out, table, sizeof table / sizeof table[0]);
}

void http_metrics(struct node *n, struct http_request *r)
{
    struct buf body;
    struct err err = {0};
    struct reply reply = {
        .status = 200, .content_type = "text/plain; version=0.0.4; charset=utf-8", .body = &body};

    if (parse_query(r, NULL, 0, &err) != 0) {
        reply_err(n, r, &err, OUTCOME_NONE);
        return;
    }
    buf_init(&body, METRICS_BODY_MAX);
    head(&body, "raftkv_info", "gauge", "1; who this is");
    buf_printf(&body, "raftkv_info{version=\"%s\",node=\"%s\",cluster=\"%s\"} 1\n", RAFTKV_VERSION,
               n->options.name, n->header_cluster);
    operations(n, &body);
    if (n->carry) {
        consensus(n, &body);
    }
    storage(n, &body);
    network(n, &body);
    reply_send(n, r, &reply);
}
