/*
 * From an empty data directory to a member: a cluster of its own, a first cluster formed by
 * several, or waiting to be added to one.
 *
 * Forming: every node asks all others who they are. Once all have answered, are empty and have the
 * same list, each computes the same first membership; once all others say that they have computed
 * the same (`view`), it is written as entry 1, of term 1. A node that was wiped in between has
 * another member id, so another view, and nobody forms with half of them.
 */
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/node/node_internal.h"

enum {
    FORMING_ASK_US = 100000,
    FORMING_JOIN_US = 1000000,
    FORMING_ASK_TIMEOUT_MS = 1000,
    FORMING_JOIN_TIMEOUT_MS = 10000,
};

enum forming_mode { FORMING_SOLO, FORMING_TOGETHER, FORMING_JOIN, FORMING_STANDBY };

struct forming_peer {
    struct forming *forming;
    struct member_address address; /* id once it has answered well */
    struct digest view;
    bool asked, good;
    char why[800]; /* not good: what is missing */
};

struct forming {
    struct node *node;
    enum forming_mode mode;
    struct loop_timer *timer;
    struct forming_peer peers[RAFT_MEMBERS_MAX];
    uint32_t peer_count; /* without ourselves */
    struct membership first;
    struct digest view; /* zero while somebody is missing */
    bool writing;       /* the cluster is being written to raft.db */
    bool adopting;      /* … one that was there before */
    struct disk_cluster work;
    uint32_t join_next;
    bool join_asked, joined, stopped;
    uint32_t calls; /* under way */
    char why[256];
};

static const struct digest no_view;

static void forming_free(struct forming *f)
{
    if (f->stopped && f->calls == 0) {
        mem_free(f);
    }
}

/* ---- the first membership ---- */

static void first_add(struct membership *m, const struct member_address *a)
{
    uint32_t i = m->configuration.count++;

    for (; i > 0 && m->configuration.members[i - 1].id > a->id; i--) {
        m->configuration.members[i] = m->configuration.members[i - 1];
        m->addresses[i] = m->addresses[i - 1];
    }
    m->configuration.members[i] = (struct raft_member){.id = a->id, .flags = RAFT_VOTER};
    m->addresses[i] = *a;
}

static void first_make(struct forming *f)
{
    struct node *n = f->node;
    struct member_address self = {.id = n->id};

    memset(&f->first, 0, sizeof f->first);
    f->first.configuration.index = 1;
    snprintf(self.name, sizeof self.name, "%s", n->options.name);
    snprintf(self.url, sizeof self.url, "%s", n->options.advertise);
    first_add(&f->first, &self);
    for (uint32_t i = 0; i < f->peer_count; i++) {
        if (!f->peers[i].good) {
            f->view = no_view;
            return;
        }
        first_add(&f->first, &f->peers[i].address);
    }
    f->view = membership_cluster_id(&f->first);
}

/* ---- writing it ---- */

static void cluster_written(struct work *w)
{
    struct disk_cluster *c = (struct disk_cluster *)w;
    struct forming *f = c->owner;
    struct node *n = f->node;
    char id[HEX128_BYTES];

    entry_unref(c->entry);
    if (f->stopped) {
        f->calls--;
        forming_free(f);
        return;
    }
    f->calls--;
    log_info(f->adopting ? "cluster entered" : "cluster formed", "cluster=%s members=%u",
             hex128(c->write.cluster_id, id), f->first.configuration.count);
    n->forming = NULL;
    node_become_member(n, c->write.cluster_id, f->adopting ? NULL : &f->first);
    loop_timer_free(f->timer);
    f->stopped = true;
    forming_free(f);
}

static void write_cluster(struct forming *f, struct digest cluster_id)
{
    struct disk_cluster *c = &f->work;

    f->writing = true;
    f->calls++;
    loop_timer_at(f->timer, UINT64_MAX);
    c->work.kind = DISK_CLUSTER;
    c->work.done = cluster_written;
    c->owner = f;
    c->write.set_cluster = true;
    c->write.cluster_id = cluster_id;
    if (!f->adopting) {
        struct buf b;

        buf_init(&b, LIMIT_MEMBERSHIP_BYTES);
        membership_encode(&f->first, &b);
        c->entry = entry_new(RAFT_CONFIGURATION, b.data, b.len);
        entry_place(c->entry, 1, 1);
        buf_release(&b);
        c->write.hard_state = true;
        c->write.term = 1;
    }
    worker_post(disk_worker(f->node->disk), &c->work);
    worker_flush(disk_worker(f->node->disk));
}

bool forming_adopt(struct node *n, struct digest cluster_id)
{
    struct forming *f = n->forming;

    if (!f || f->mode == FORMING_SOLO || n->phase == NODE_STOPPING) {
        return false;
    }
    if (!f->writing) {
        f->adopting = true;
        write_cluster(f, cluster_id);
    }
    return true;
}

/* ---- forming together ---- */

/* The lists must be equal, name by name; the first difference is told. */
static bool same_list(const struct forming *f, const struct hello *h, char *why, size_t why_bytes)
{
    const struct node_options *o = &f->node->options;

    for (uint32_t i = 0; i < o->cluster_count || i < h->count; i++) {
        const struct member_address *ours = i < o->cluster_count ? &o->cluster[i] : NULL;
        const struct member_address *theirs = i < h->count ? &h->list[i] : NULL;

        if (!ours || !theirs || strcmp(ours->name, theirs->name) != 0 ||
            strcmp(ours->url, theirs->url) != 0) {
            snprintf(why, why_bytes, "its --cluster has %s%s%s where ours has %s%s%s",
                     theirs ? theirs->name : "nothing", theirs ? "=" : "",
                     theirs ? theirs->url : "", ours ? ours->name : "nothing", ours ? "=" : "",
                     ours ? ours->url : "");
            return false;
        }
    }
    return true;
}

/* A node of the list has a cluster already. Ours, if it knows our member id; else this data
 * directory is a stranger there. */
static void peer_has_cluster(struct forming *f, struct forming_peer *p, const struct hello *h)
{
    struct node *n = f->node;
    struct err err = {0};

    if (digest_equal(h->cluster, f->view) && !digest_equal(f->view, no_view)) {
        p->good = true;
        p->view = f->view;
        return;
    }
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->list[i].id == n->id) {
            snprintf(p->why, sizeof p->why, "has formed the cluster; waiting for its leader");
            return;
        }
    }
    for (uint32_t i = 0; i < h->count; i++) {
        if (strcmp(h->list[i].name, n->options.name) == 0 ||
            strcmp(h->list[i].url, n->options.advertise) == 0) {
            err_set(
                &err, ERR_LOCKED,
                "the cluster at %s knows %s under another member id: this data directory is not "
                "the one it had. Start with an empty directory and --standby, and run: raftkv-ctl "
                "--endpoints %s member replace %s %s %s",
                p->address.url, n->options.name, p->address.url, n->options.name, n->options.name,
                n->options.advertise);
            node_give_up(n, &err);
            return;
        }
    }
    err_set(&err, ERR_LOCKED, "%s at %s belongs to a cluster that %s is no part of; see --join",
            p->address.name, p->address.url, n->options.name);
    node_give_up(n, &err);
}

static void judge_hello(struct forming *f, struct forming_peer *p, const struct hello *h)
{
    p->good = false;
    if (strcmp(h->name, p->address.name) != 0) {
        snprintf(p->why, sizeof p->why, "the node there is called %s", h->name);
    } else if (h->has_cluster) {
        peer_has_cluster(f, p, h);
    } else if (h->waits) {
        snprintf(p->why, sizeof p->why, "waits to be added to another cluster");
    } else if (same_list(f, h, p->why, sizeof p->why)) {
        p->good = true;
        p->address.id = h->id;
        p->view = h->view;
    }
}

static void form_if_agreed(struct forming *f)
{
    first_make(f);
    if (f->writing || digest_equal(f->view, no_view)) {
        return;
    }
    for (uint32_t i = 0; i < f->peer_count; i++) {
        if (!digest_equal(f->peers[i].view, f->view)) {
            return;
        }
    }
    write_cluster(f, f->view);
}

static void hello_came(void *argument, const struct http_result *result)
{
    struct forming_peer *p = argument;
    struct forming *f = p->forming;
    struct hello h;
    struct err err = {0};

    f->calls--;
    p->asked = false;
    if (f->stopped || f->writing) {
        forming_free(f);
        return;
    }
    if (result->code != 0) {
        p->good = false;
        snprintf(p->why, sizeof p->why, "does not answer (%.120s)", result->detail);
    } else if (result->status != 200 || hello_decode(result->body, &h, &err) != 0) {
        p->good = false;
        snprintf(p->why, sizeof p->why, "is no raftkv-node (status %d)", result->status);
    } else {
        judge_hello(f, p, &h);
    }
    form_if_agreed(f);
}

static void ask_peers(struct forming *f)
{
    char url[LIMIT_URL_BYTES + 16];

    for (uint32_t i = 0; i < f->peer_count; i++) {
        struct forming_peer *p = &f->peers[i];
        struct http_call call = {.method = HTTP_GET,
                                 .url = url,
                                 .timeout_ms = FORMING_ASK_TIMEOUT_MS,
                                 .reply_max = LIMIT_PEER_HELLO_BYTES,
                                 .idempotent = true};

        if (!p->asked) {
            snprintf(url, sizeof url, "%s/raft/hello", p->address.url);
            p->asked = true;
            f->calls++;
            http_client_call(f->node->client, &call, hello_came, p);
        }
    }
}

/* ---- joining ---- */

static void join_answered(void *argument, const struct http_result *result)
{
    struct forming *f = argument;
    struct api_error e = {0};
    struct err err = {0};

    f->calls--;
    f->join_asked = false;
    if (f->stopped || f->writing) {
        forming_free(f);
        return;
    }
    if (result->code != 0) {
        snprintf(f->why, sizeof f->why, "no answer (%.150s)", result->detail);
    } else if (result->status == 200) {
        f->joined = true;
        snprintf(f->why, sizeof f->why, "added; waiting for the leader's first message");
    } else if (api_error_decode(result->body, &e, NULL) == 0) {
        snprintf(f->why, sizeof f->why, "refused: %.200s", e.message);
        if (e.code == ERR_BAD_REQUEST) {
            err_set(&err, ERR_LOCKED, "the cluster does not take this node: %s", e.message);
            node_give_up(f->node, &err);
        }
    } else {
        snprintf(f->why, sizeof f->why, "no raftkv-node answers there (status %d)", result->status);
    }
    log_info("join", "what=\"%s\"", f->why);
}

static void ask_to_join(struct forming *f)
{
    struct node *n = f->node;
    struct api_member_request q = {.auto_promote = true};
    static const struct http_header json[] = {{"Content-Type", "application/json"}};
    char url[LIMIT_URL_BYTES + 32];
    struct buf body;
    struct http_call call = {.method = HTTP_POST,
                             .url = url,
                             .headers = json,
                             .header_count = 1,
                             .timeout_ms = FORMING_JOIN_TIMEOUT_MS,
                             .reply_max = 1 << 20,
                             .idempotent = true};

    if (f->join_asked || f->joined) {
        return;
    }
    snprintf(q.name, sizeof q.name, "%s", n->options.name);
    snprintf(q.url, sizeof q.url, "%s", n->options.advertise);
    snprintf(url, sizeof url, "%s/members",
             n->options.join[f->join_next++ % n->options.join_count]);
    buf_init(&body, 4096);
    api_member_request_encode(&q, true, &body);
    call.body = body.data;
    call.body_len = body.len;
    f->join_asked = true;
    f->calls++;
    http_client_call(n->client, &call, join_answered, f);
    buf_release(&body);
}

/* ---- life ---- */

static void forming_due(void *argument)
{
    struct forming *f = argument;

    if (f->writing || f->node->phase == NODE_STOPPING) {
        return;
    }
    if (f->mode == FORMING_TOGETHER) {
        ask_peers(f);
        loop_timer_at(f->timer, clock_now_us() + FORMING_ASK_US);
    } else if (f->mode == FORMING_JOIN) {
        ask_to_join(f);
        loop_timer_at(f->timer, clock_now_us() + FORMING_JOIN_US);
    }
}

void forming_describe(struct node *n, struct buf *out)
{
    const struct forming *f = n->forming;
    bool any = false;

    if (!f) {
        buf_append_str(out, "starting");
        return;
    }
    switch (f->mode) {
    case FORMING_SOLO: buf_append_str(out, "starting"); break;
    case FORMING_STANDBY: buf_append_str(out, "stands by until member add names it"); break;
    case FORMING_JOIN:
        buf_printf(out, "asks to join: %s", f->why[0] ? f->why : "no answer yet");
        break;
    case FORMING_TOGETHER:
        for (uint32_t i = 0; i < f->peer_count; i++) {
            const struct forming_peer *p = &f->peers[i];

            if (!p->good) {
                buf_printf(out, "%swaits for %s at %s, which %s", any ? "; " : "", p->address.name,
                           p->address.url, p->why[0] ? p->why : "has not answered yet");
                any = true;
            }
        }
        if (!any) {
            buf_append_str(out, "all have answered; forming");
        }
        break;
    }
}

void forming_hello(const struct node *n, struct hello *h)
{
    const struct forming *f = n->forming;

    if (!f) {
        return;
    }
    h->waits = f->mode == FORMING_JOIN || f->mode == FORMING_STANDBY;
    h->count = n->options.cluster_count;
    memcpy(h->list, n->options.cluster, n->options.cluster_count * sizeof h->list[0]);
    h->view = f->view;
}

int forming_start(struct node *n, struct err *err)
{
    struct forming *f = mem_zalloc(sizeof *f);

    (void)err;
    f->node = n;
    n->forming = f;
    n->phase = NODE_FORMING;
    f->timer = loop_timer_new(n->loop, forming_due, f);
    f->mode = n->options.standby          ? FORMING_STANDBY
              : n->options.join_count > 0 ? FORMING_JOIN
                                          : FORMING_TOGETHER;
    for (uint32_t i = 0; i < n->options.cluster_count; i++) {
        if (strcmp(n->options.cluster[i].name, n->options.name) != 0) {
            struct forming_peer *p = &f->peers[f->peer_count++];

            p->forming = f;
            p->address = n->options.cluster[i];
        }
    }
    if (f->mode == FORMING_TOGETHER && f->peer_count == 0) {
        f->mode = FORMING_SOLO;
        first_make(f);
        write_cluster(f, f->view);
        return 0;
    }
    loop_timer_at(f->timer, clock_now_us());
    return 0;
}

void forming_stop(struct node *n)
{
    struct forming *f = n->forming;

    if (!f) {
        return;
    }
    n->forming = NULL;
    loop_timer_free(f->timer);
    f->stopped = true;
    forming_free(f); /* the last call under way frees it otherwise */
}
