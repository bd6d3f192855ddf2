/*
 * Snapshots on their way: taken for followers that are behind the log, sent in resumable chunks,
 * received, installed.
 *
 *   leader    WAITING   a copy of kv.db is made
 *             ASKING    where do we go on?
 *             READING <-> SENDING   a chunk each time, until it is done or has failed
 *   follower  each chunk is written by the helper thread; the last one is verified there and handed
 *             to the carry, which says when to switch
 *
 * One helper thread does what takes long with files: copying, reading, writing, verifying. At most
 * one snapshot is received at a time. The core asks again for what failed with the next heartbeat:
 * it is told at once that this fails too until a second has passed, since copies cost much.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/opt.h"
#include "lib/node/node_internal.h"

enum {
    SNAPSHOT_CHUNK = 1 << 20,
    SNAPSHOT_PIECE_MS = 10000, /* for a piece to be written; one that was lost is asked for again */
    SNAPSHOT_LAST_MS = 60000,  /* behind the last one the whole is verified */
    SNAPSHOT_KEEP_US =
        10000000, /* a copy that nobody is sent is kept so long, for the next one who asks */
    SNAPSHOT_AGAIN_US = 1000000, /* not again to who could not be sent one so short a time ago */
};

enum send_stage { SEND_FREE, SEND_REFUSED, SEND_WAITING, SEND_ASKING, SEND_READING, SEND_SENDING };

struct snapshot_send {
    struct work work; /* READING */
    struct snapshots *snapshots;
    enum send_stage stage;
    raft_id peer;        /* stays behind the end, with the next */
    uint64_t not_before; /* us */
    raft_term term;      /* in which it was begun: over with it */
    uint64_t offset;
    uint8_t *chunk;
    size_t chunk_len;
    int code;
    struct err err;
};

enum helper_kind { HELPER_TAKE, HELPER_READ, HELPER_RECEIVE };

struct snapshot_receive {
    struct work work;
    struct snapshots *snapshots;
    struct http_request *request; /* NULL: none under way */
    struct snapshot_info info;    /* as announced */
    uint64_t offset;
    bool whole; /* all bytes are there, and verified */
    struct snapshot_info verified;
    uint64_t generation;
    uint64_t next; /* offset to go on from */
    int code;
    struct err err;
    bool installing; /* the request is answered when the carry is done */
};

struct snapshots {
    struct node *node;
    struct worker *helper;
    struct work take;
    bool taking, have;
    uint64_t take_generation;
    volatile bool cancelled;
    struct snapshot_info info;
    struct snapshot_info taken;
    uint64_t used_us; /* last time that somebody was sent it */
    int take_code;
    struct err take_err;
    struct snapshot_send sends[RAFT_MEMBERS_MAX];
    struct snapshot_receive receive;
    struct snapshot_receiver *receiver; /* the helper's */
    struct snapshot_info receiver_info; /* the helper's */
    struct disk_install install;
};

/* ---- the helper's thread ---- */

static bool same_snapshot(const struct snapshot_info *a, const struct snapshot_info *b)
{
    return a->index == b->index && a->term == b->term && a->bytes == b->bytes && a->crc == b->crc;
}

static void run_receive(struct snapshots *s, struct snapshot_receive *r)
{
    r->whole = false;
    if (s->receiver && !same_snapshot(&s->receiver_info, &r->info)) {
        snapshot_receive_close(s->receiver, false);
        s->receiver = NULL;
    }
    if (!s->receiver) {
        r->code = snapshot_receive_open(s->node->dir, &r->info, &s->receiver, &r->err);
        if (r->code != 0) {
            s->receiver = NULL;
            return;
        }
        s->receiver_info = r->info;
    }
    r->code = 0;
    if (r->request->body.len > 0) {
        r->code = snapshot_receive_chunk(s->receiver, r->offset, r->request->body.data,
                                         r->request->body.len, &r->err);
    }
    r->next = snapshot_receive_offset(s->receiver);
    if (r->code == ERR_BAD_REQUEST) {
        r->code = 0; /* not at our offset: `next` says where we are */
        return;
    }
    if (r->code == 0 && r->next == r->info.bytes) {
        r->code = snapshot_receive_finish(s->receiver, r->generation, &r->verified, &r->err);
        snapshot_receive_close(s->receiver, false);
        s->receiver = NULL;
        r->whole = r->code == 0;
    }
}

static bool helper_batch(void *self, struct work_list *list)
{
    struct snapshots *s = self;
    struct work *w;

    while ((w = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, link);
        switch ((enum helper_kind)w->kind) {
        case HELPER_TAKE:
            s->take_code = snapshot_take(s->node->dir, s->take_generation, &s->cancelled, &s->taken,
                                         &s->take_err);
            break;
        case HELPER_READ: {
            struct snapshot_send *send = (struct snapshot_send *)w;

            send->chunk_len = SNAPSHOT_CHUNK;
            send->chunk = mem_alloc(SNAPSHOT_CHUNK);
            send->code = snapshot_read(s->node->dir, s->info.index, send->offset, send->chunk,
                                       &send->chunk_len, &send->err);
            break;
        }
        case HELPER_RECEIVE: run_receive(s, &s->receive); break;
        }
        done_post_one(s->node->done, w);
    }
    return false;
}

static void help(struct snapshots *s, struct work *w, int kind, void (*done)(struct work *))
{
    w->kind = kind;
    w->done = done;
    worker_post(s->helper, w);
    worker_flush(s->helper);
}

/* ---- sending ---- */

/* NULL, or why there is no use in going on. */
static const char *given_up(const struct snapshot_send *send)
{
    const struct node *n = send->snapshots->node;
    const struct raft *raft = n->carry ? carry_raft(n->carry) : NULL;

    if (!raft || raft_state(raft) != RAFT_LEADER || raft_term_current(raft) != send->term) {
        return "leadership was lost";
    }
    return raft_configuration_find(raft_configuration_latest(raft), send->peer)
               ? NULL
               : "no member any more";
}

static void send_end(struct snapshot_send *send, bool ok, const char *why)
{
    struct node *n = send->snapshots->node;
    raft_id peer = send->peer;

    log_info(ok ? "snapshot sent" : "snapshot not sent", "to=%s index=%llu what=\"%s\"",
             node_member_name(n, peer), (unsigned long long)send->snapshots->info.index, why);
    mem_free(send->chunk);
    send->chunk = NULL;
    send->stage = SEND_FREE;
    send->snapshots->used_us = clock_now_us();
    send->not_before = ok ? 0 : clock_now_us() + SNAPSHOT_AGAIN_US;
    if (n->carry) {
        carry_snapshot_sent(n->carry, peer, ok, send->snapshots->info.index, clock_now_us());
    }
}

static void send_chunk(struct snapshot_send *send);

static void chunk_read(struct work *w)
{
    struct snapshot_send *send = (struct snapshot_send *)w;
    const char *why = send->code != 0 ? send->err.text : given_up(send);

    if (why) {
        send_end(send, false, why);
    } else {
        send->stage = SEND_SENDING;
        send_chunk(send);
    }
}

static void chunk_answered(void *argument, const struct http_result *result)
{
    struct snapshot_send *send = argument;
    struct snapshots *s = send->snapshots;
    const char *state = result->code == 0 ? http_result_header(result, "RaftKV-Snapshot") : NULL;
    const char *offset =
        result->code == 0 ? http_result_header(result, "RaftKV-Snapshot-Offset") : NULL;
    uint64_t next;

    mem_free(send->chunk);
    send->chunk = NULL;
    if (result->code != 0) {
        send_end(send, false, result->detail);
    } else if (result->status == err_http_status(ERR_DISK_FULL)) {
        send_end(send, false, "the receiver has no room for it");
    } else if (result->status != 200 || !state || !offset || opt_parse_uint(offset, &next) != 0 ||
               next > s->info.bytes) {
        send_end(send, false, "the receiver refused it");
    } else if (strcmp(state, "more") != 0) {
        send_end(send, true, state);
    } else if (given_up(send)) {
        send_end(send, false, given_up(send));
    } else {
        send->offset = next;
        send->stage = SEND_READING;
        help(s, &send->work, HELPER_READ, chunk_read);
    }
}

/* An empty chunk asks where the receiver is. */
static void send_chunk(struct snapshot_send *send)
{
    struct snapshots *s = send->snapshots;
    struct node *n = s->node;
    const struct member_address *to = carry_address(n->carry, send->peer);
    bool last = send->chunk && send->offset + send->chunk_len == s->info.bytes;
    char url[LIMIT_URL_BYTES + 200], from[HEX64_BYTES], receiver[HEX64_BYTES], term[24];
    struct http_header headers[] = {{"RaftKV-Cluster", n->header_cluster},
                                    {"RaftKV-From", hex64(n->id, from)},
                                    {"RaftKV-To", hex64(send->peer, receiver)},
                                    {"RaftKV-Term", term},
                                    {"RaftKV-Protocol", "1"},
                                    {"Content-Type", "application/octet-stream"}};
    struct http_call call = {
        .method = HTTP_POST,
        .url = url,
        .headers = headers,
        .header_count = sizeof headers / sizeof headers[0],
        .body = send->chunk ? (const void *)send->chunk : "",
        .body_len = send->chunk ? send->chunk_len : 0,
        .timeout_ms = last ? SNAPSHOT_LAST_MS : SNAPSHOT_PIECE_MS,
        .reply_max = 64 << 10,
        .idempotent = true,
    };

    ASSERT(to); /* it is a member */
    snprintf(term, sizeof term, "%llu", (unsigned long long)send->term);
    snprintf(url, sizeof url,
             "%s/raft/snapshot?index=%llu&term=%llu&bytes=%llu&crc=%lu&offset=%llu", to->url,
             (unsigned long long)s->info.index, (unsigned long long)s->info.term,
             (unsigned long long)s->info.bytes, (unsigned long)s->info.crc,
             (unsigned long long)send->offset);
    http_client_call(n->client, &call, chunk_answered, send);
}

static void send_begin(struct snapshot_send *send)
{
    struct snapshots *s = send->snapshots;

    if (given_up(send)) {
        send_end(send, false, given_up(send));
        return;
    }
    carry_snapshot_sending(s->node->carry, send->peer, s->info.index);
    log_info("snapshot to be sent", "to=%s index=%llu bytes=%llu",
             node_member_name(s->node, send->peer), (unsigned long long)s->info.index,
             (unsigned long long)s->info.bytes);
    send->stage = SEND_ASKING;
    send->offset = 0;
    send_chunk(send);
}

static bool copy_in_use(const struct snapshots *s)
{
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        if (s->sends[i].stage > SEND_WAITING) {
            return true;
        }
    }
    return false;
}

static void taken(struct work *w)
{
    struct snapshots *s = (struct snapshots *)((char *)w - offsetof(struct snapshots, take));

    s->taking = false;
    if (s->take_code == ERR_CORRUPT) { /* our own file */
        node_fatal(s->node, &s->take_err);
    }
    if (s->take_code == 0) {
        s->info = s->taken;
        s->have = true;
        s->used_us = clock_now_us();
    }
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        if (s->sends[i].stage != SEND_WAITING) {
            continue;
        }
        if (s->take_code != 0) {
            send_end(&s->sends[i], false, s->take_err.text);
        } else {
            send_begin(&s->sends[i]);
        }
    }
}

/* A copy that fills the disk would take the log's room. */
static bool room_for_copy(const struct snapshots *s)
{
    struct machine_figures figures;

    machine_figures(s->node->machine, &figures);
    return s->node->disk_free >= figures.kv_bytes + NODE_DISK_RESERVE;
}

/* `taken` is called from the loop, later, not from inside the carry. */
static void take_told(struct snapshots *s, int code)
{
    s->taking = true;
    s->take_code = code;
    s->take.done = taken;
    done_post_one(s->node->done, &s->take);
}

static void take(struct snapshots *s)
{
    if (s->taking || copy_in_use(s)) {
        return;
    }
    if (s->have) {
        snapshot_delete(s->node->dir, s->info.index);
        s->have = false;
    }
    if (!room_for_copy(s)) {
        take_told(s, err_set(&s->take_err, ERR_DISK_FULL, "no room for a copy of the state"));
        return;
    }
    s->taking = true;
    s->take_generation = s->node->kv_generation;
    __atomic_store_n(&s->cancelled, false, __ATOMIC_RELAXED);
    help(s, &s->take, HELPER_TAKE, taken);
}

static void too_early(struct work *w)
{
    struct snapshot_send *send = (struct snapshot_send *)w;
    struct node *n = send->snapshots->node;

    send->stage = SEND_FREE;
    if (n->carry) {
        carry_snapshot_sent(n->carry, send->peer, false, 0, clock_now_us());
    }
}

/* Its own from last time, or one that is free. NULL: under way. */
static struct snapshot_send *send_of(struct snapshots *s, raft_id peer)
{
    struct snapshot_send *found = NULL;

    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        struct snapshot_send *send = &s->sends[i];

        if (send->peer == peer) {
            return send->stage == SEND_FREE ? send : NULL;
        }
        if (send->stage == SEND_FREE && (!found || send->not_before < found->not_before)) {
            found = send;
        }
    }
    return found;
}

void snapshots_send(void *node, raft_id peer, raft_index index)
{
    struct node *n = node;
    struct snapshots *s = n->snapshots;
    struct snapshot_send *send = send_of(s, peer);
    uint64_t not_before;

    if (!send) {
        return;
    }
    not_before = send->peer == peer ? send->not_before : 0;
    memset(send, 0, sizeof *send);
    send->snapshots = s;
    send->peer = peer;
    send->term = raft_term_current(carry_raft(n->carry));
    if (clock_now_us() < not_before) {
        send->not_before = not_before;
        send->stage = SEND_REFUSED;
        send->work.done = too_early;
        done_post_one(n->done, &send->work);
        return;
    }
    send->stage = SEND_WAITING;
    if (s->have && !s->taking && s->info.index >= index) {
        s->taken = s->info; /* the copy is there already */
        take_told(s, 0);
    } else {
        take(s);
    }
}

void snapshots_look(struct node *n, uint64_t now_us)
{
    struct snapshots *s = n->snapshots;
    struct snapshot_receive *r = &s->receive;

    if (s->have && !s->taking && !copy_in_use(s) && now_us > s->used_us + SNAPSHOT_KEEP_US) {
        snapshot_delete(n->dir, s->info.index);
        s->have = false;
    }
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        if (s->sends[i].stage == SEND_WAITING && !s->taking) {
            take(s);
        }
    }
    if (r->installing && n->carry && !carry_installing(n->carry)) {
        r->installing = false; /* overtaken: it was not needed any more */
        reply_failure(n, r->request, ERR_NO_LEADER, "the snapshot was overtaken by the log");
        r->request = NULL;
    }
}

uint64_t snapshots_bytes(const struct node *n)
{
    return n->snapshots && n->snapshots->have ? n->snapshots->info.bytes : 0;
}

/* ---- receiving ---- */

static void reply_progress(struct node *n, struct http_request *r, const char *state,
                           uint64_t offset)
{
    struct reply reply = {.status = 200};
    struct buf body;
    char text[24];

    snprintf(text, sizeof text, "%llu", (unsigned long long)offset);
    reply.extra[reply.extra_count++] = (struct http_header){"RaftKV-Snapshot", state};
    reply.extra[reply.extra_count++] = (struct http_header){"RaftKV-Snapshot-Offset", text};
    buf_init(&body, 256);
    buf_printf(&body, "{\"snapshot\":\"%s\",\"offset\":%s}", state, text);
    reply.body = &body;
    reply_send(n, r, &reply);
}

static void received(struct work *w)
{
    struct snapshots *s =
        (struct snapshots *)((char *)w - offsetof(struct snapshots, receive.work));
    struct snapshot_receive *r = &s->receive;
    struct node *n = s->node;
    struct http_request *request = r->request;
    struct snapshot_cut cut;
    int code;

    if (r->code != 0) {
        r->request = NULL;
        log_warn("snapshot refused", "what=\"%s\"", r->err.text);
        if (r->code == ERR_CORRUPT) { /* what came, not what is here */
            reply_failure(n, request, ERR_BAD_REQUEST,
                          "the snapshot is damaged, or none of this cluster");
        } else {
            reply_err(n, request, &r->err, OUTCOME_NONE);
        }
        return;
    }
    if (!r->whole) {
        r->request = NULL;
        reply_progress(n, request, "more", r->next);
        return;
    }
    cut.index = r->verified.index;
    cut.term = r->verified.term;
    cut.membership = r->verified.membership;
    code = n->carry ? carry_snapshot_received(n->carry, r->generation, &cut, clock_now_us())
                    : ERR_AGAIN;
    if (code == 0) {
        r->installing = true;
        return;
    }
    r->request = NULL;
    if (code == ERR_NOT_FOUND) {
        reply_progress(n, request, "not_needed", r->info.bytes);
    } else {
        reply_failure(n, request, ERR_NO_LEADER, "another snapshot is being installed");
    }
}

/* Who sends it, to whom, in which cluster and term: as with a message. false: answered. */
static bool verify_sender(struct node *n, struct http_request *r, raft_id *from, raft_term *term)
{
    const char *cluster = http_request_header(r, "RaftKV-Cluster", NULL);
    const char *from_text = http_request_header(r, "RaftKV-From", NULL);
    const char *to_text = http_request_header(r, "RaftKV-To", NULL);
    const char *term_text = http_request_header(r, "RaftKV-Term", NULL);
    const char *protocol = http_request_header(r, "RaftKV-Protocol", NULL);
    struct digest id;
    raft_id to;

    if (!cluster || !from_text || !to_text || !term_text || !protocol ||
        strcmp(protocol, "1") != 0 || hex128_parse(cluster, strlen(cluster), &id) != 0 ||
        hex64_parse(from_text, strlen(from_text), from) != 0 ||
        hex64_parse(to_text, strlen(to_text), &to) != 0 || opt_parse_uint(term_text, term) != 0) {
        reply_failure(n, r, ERR_BAD_REQUEST,
                      "a snapshot needs RaftKV-Cluster, -From, -To, -Term and -Protocol: 1");
        return false;
    }
    if (to != n->id) {
        reply_failure(n, r, ERR_FORBIDDEN, "this is not member %s", to_text);
        return false;
    }
    if (!n->carry) {
        forming_adopt(n, id);
        reply_failure(n, r, ERR_NO_LEADER, "this node is not in the cluster yet");
        return false;
    }
    if (!digest_equal(id, n->cluster_id)) {
        reply_failure(n, r, ERR_WRONG_CLUSTER, "this node belongs to cluster %s, not to %s",
                      n->header_cluster, cluster);
        return false;
    }
    return true;
}

enum { Q_INDEX, Q_TERM, Q_BYTES, Q_CRC, Q_OFFSET, Q_COUNT };

static int parse_announcement(const struct http_request *r, struct snapshot_info *info,
                              uint64_t *offset, struct err *err)
{
    struct query_parameter p[Q_COUNT] = {[Q_INDEX] = {.name = "index"},
                                         [Q_TERM] = {.name = "term"},
                                         [Q_BYTES] = {.name = "bytes"},
                                         [Q_CRC] = {.name = "crc"},
                                         [Q_OFFSET] = {.name = "offset"}};
    uint64_t crc = 0;
    int code = parse_query(r, p, Q_COUNT, err);

    memset(info, 0, sizeof *info);
    code = code ? code : parse_number(&p[Q_INDEX], (1ULL << 53) - 1, &info->index, err);
    code = code ? code : parse_number(&p[Q_TERM], (1ULL << 53) - 1, &info->term, err);
    code = code ? code : parse_number(&p[Q_BYTES], (1ULL << 53) - 1, &info->bytes, err);
    code = code ? code : parse_number(&p[Q_CRC], UINT32_MAX, &crc, err);
    code = code ? code : parse_number(&p[Q_OFFSET], (1ULL << 53) - 1, offset, err);
    for (size_t i = 0; code == 0 && i < Q_COUNT; i++) {
        if (!p[i].seen) {
            code = err_set(err, ERR_BAD_REQUEST, "%s is missing", p[i].name);
        }
    }
    if (code == 0 && (info->index == 0 || info->term == 0 || info->bytes == 0)) {
        code = err_set(err, ERR_BAD_REQUEST, "index, term and bytes are at least 1");
    }
    info->crc = (uint32_t)crc;
    query_release(p, Q_COUNT);
    return code;
}

void http_peer_snapshot(struct node *n, struct http_request *r)
{
    struct snapshots *s = n->snapshots;
    struct snapshot_receive *receive = &s->receive;
    struct snapshot_info info;
    struct err err = {0};
    uint64_t offset = 0;
    raft_id from;
    raft_term term;
    int code;

    if (!verify_sender(n, r, &from, &term)) {
        return;
    }
    code = parse_announcement(r, &info, &offset, &err);
    if (code != 0) {
        reply_err(n, r, &err, OUTCOME_NONE);
        return;
    }
    code = carry_snapshot_wanted(n->carry, from, term, info.index);
    if (code == ERR_NOT_FOUND) {
        reply_progress(n, r, "not_needed", info.bytes);
    } else if (code == ERR_FORBIDDEN) {
        reply_failure(n, r, ERR_FORBIDDEN, "term %llu is over", (unsigned long long)term);
    } else if (code != 0 || receive->request) {
        reply_failure(n, r, ERR_NO_LEADER, "another snapshot is on its way");
    } else if (r->body.len > 0 && offset <= info.bytes &&
               n->disk_free < info.bytes - offset + NODE_DISK_RESERVE) {
        reply_failure(n, r, ERR_DISK_FULL, "no room for a snapshot of %llu bytes",
                      (unsigned long long)info.bytes);
    } else {
        info.cluster_id = n->cluster_id;
        receive->snapshots = s;
        receive->request = r;
        receive->info = info;
        receive->offset = offset;
        receive->generation = n->kv_generation + 1;
        memset(&receive->err, 0, sizeof receive->err);
        help(s, &receive->work, HELPER_RECEIVE, received);
    }
}

/* ---- installing ---- */

static void opened(void *argument)
{
    struct snapshots *s = argument;
    struct node *n = s->node;
    struct snapshot_receive *r = &s->receive;

    n->kv_generation = s->install.generation;
    kv_store_prepare(n->dir, n->kv_generation, false,
                     NULL); /* the old file; else the next start deletes it */
    s->have = false;
    log_info("snapshot installed", "index=%llu term=%llu kept_tail=%s",
             (unsigned long long)s->install.cut.index, (unsigned long long)s->install.cut.term,
             s->install.kept_tail ? "yes" : "no");
    if (n->carry) {
        carry_installed(n->carry, s->install.kept_tail, clock_now_us());
    }
    if (r->installing) {
        struct http_request *request = r->request;

        r->installing = false;
        r->request = NULL;
        reply_progress(n, request, "installed", r->info.bytes);
    }
}

static void installed(struct work *w)
{
    struct disk_install *i = (struct disk_install *)w;
    struct snapshots *s = i->owner;

    if (s->node->machine) { /* else the node stops, and the next start opens it */
        machine_open(s->node->machine, i->generation, opened, s);
    }
}

static void closed(void *argument)
{
    struct snapshots *s = argument;

    s->install.work.kind = DISK_INSTALL;
    s->install.work.done = installed;
    worker_post(disk_worker(s->node->disk), &s->install.work);
    worker_flush(disk_worker(s->node->disk));
}

/* All connections to the old file are closed first; then the one commit point in raft.db; then the
 * new file is opened. */
void snapshots_install(void *node, uint64_t generation, const struct snapshot_cut *cut)
{
    struct node *n = node;
    struct snapshots *s = n->snapshots;

    s->install.owner = s;
    s->install.generation = generation;
    s->install.cut = *cut;
    machine_close(n->machine, closed, s);
}

/* ---- life ---- */

int snapshots_start(struct node *n, struct err *err)
{
    struct snapshots *s = mem_zalloc(sizeof *s);
    struct worker_options options = {.name = "raftkv-snap", .batch = helper_batch, .self = s};
    int code;

    s->node = n;
    code = worker_start(&options, &s->helper, err);
    if (code != 0) {
        mem_free(s);
        return code;
    }
    n->snapshots = s;
    return 0;
}

void snapshots_stop(struct node *n)
{
    struct snapshots *s = n->snapshots;

    if (!s) {
        return;
    }
    __atomic_store_n(&s->cancelled, true, __ATOMIC_RELAXED);
    worker_stop(s->helper);
    s->helper = NULL;
    if (s->receiver) {
        snapshot_receive_close(s->receiver, true); /* goes on where it was */
        s->receiver = NULL;
    }
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        mem_free(s->sends[i].chunk);
        s->sends[i].chunk = NULL;
    }
    if (s->have) {
        snapshot_delete(n->dir, s->info.index);
    }
}
