/* Connections through the proxy: pieces of data that wait for their time; see proxy_internal.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/run/proxy_internal.h"

/* ---- who it is ---- */

bool proxy_sender(const char *head, char name[LIMIT_NAME_BYTES + 1])
{
    static const char field[] = "user-agent: raftkv-node/";
    name[0] = '\0';
    for (const char *line = head; (line = strstr(line, "\r\n")) != NULL;) {
        line += 2;
        if (strncmp(line, "\r\n", 2) == 0)
            return true;
        if (strncasecmp(line, field, sizeof(field) - 1) != 0)
            continue;
        size_t len = strcspn(line, "\r");
        const char *open = memchr(line, '(', len);
        size_t name_len = open ? strcspn(open + 1, ")\r") : 0;
        if (open && open[1 + name_len] == ')' && name_len <= LIMIT_NAME_BYTES) {
            memcpy(name, open + 1, name_len);
            name[name_len] = '\0';
        }
    }
    return false;
}

static void identify(struct proxy *p, struct connection *c)
{
    char name[LIMIT_NAME_BYTES + 1];
    c->head[c->head_len] = '\0';
    if (!proxy_sender(c->head, name) && c->head_len < PROXY_HEAD_BYTES)
        return;
    c->identified = true;
    for (unsigned i = 0; i < p->node_count; i++)
        if (name[0] && strcmp(p->nodes[i].name, name) == 0)
            c->from = i;
    p->figures.strangers += c->from == PROXY_NOBODY;
}

/* ---- pieces ---- */

static struct proxy_link *link_of(struct proxy *p, const struct connection *c, unsigned way)
{
    return way == 0 ? &p->links[c->from][c->to] : &p->links[c->to][c->from];
}

static bool is_cut(struct proxy *p, const struct connection *c, unsigned way)
{
    return c->identified && link_of(p, c, way)->cut;
}

/* When a piece arrives; false: it was lost together with the connection. */
static bool schedule(struct proxy *p, struct connection *c, unsigned way, struct piece *piece)
{
    const struct proxy_link *link = link_of(p, c, way);
    struct flow *f = &c->flows[way];
    uint64_t now = clock_now_us(), due = now + (uint64_t)link->delay_ms * 1000;
    if (link->jitter_ms > 0)
        due += prng_below(&p->prng, (uint64_t)link->jitter_ms * 1000);
    if (link->loss_per_mille > 0 && prng_chance(&p->prng, link->loss_per_mille, 1000)) {
        if (prng_chance(&p->prng, 1, PROXY_RESETS_OF_LOSSES))
            return false;
        due += (PROXY_RESEND_MS + prng_below(&p->prng, PROXY_RESEND_MS)) * 1000;
    }
    if (link->bytes_a_ms > 0) {
        uint64_t *busy =
            way == 0 ? &p->busy_until_us[c->from][c->to] : &p->busy_until_us[c->to][c->from];
        *busy = (*busy > now ? *busy : now) + piece->len * 1000 / link->bytes_a_ms;
        due += *busy - now;
    }
    piece->due_us = due > f->last_due_us ? due : f->last_due_us;
    f->last_due_us = piece->due_us;
    p->figures.held += piece->due_us > now;
    return true;
}

static void take_piece(struct proxy *p, struct connection *c, unsigned way, const void *data,
                       size_t len)
{
    struct flow *f = &c->flows[way];
    struct piece *piece = mem_alloc(sizeof(*piece) + len);
    *piece = (struct piece){.len = len};
    memcpy(piece->data, data, len);
    *f->tail = piece;
    f->tail = &piece->next;
    f->queued += len;
    p->figures.bytes += len;
    if (way == 0 && !c->identified) {
        size_t room = PROXY_HEAD_BYTES - c->head_len;
        size_t take = len < room ? len : room;
        memcpy(c->head + c->head_len, data, take);
        c->head_len += take;
        identify(p, c);
    }
    if (!schedule(p, c, way, piece))
        connection_close(p, c, true);
}

static void drop_first(struct flow *f)
{
    struct piece *piece = f->first;
    f->first = piece->next;
    if (!f->first)
        f->tail = &f->first;
    f->queued -= piece->len;
    mem_free(piece);
}

/* ---- reading and writing ---- */

static bool may_read(struct proxy *p, const struct connection *c, unsigned way)
{
    const struct flow *f = &c->flows[way];
    return !f->in_ended && !c->gone && f->queued < PROXY_QUEUE_BYTES && !is_cut(p, c, way) &&
           !(c->connecting && way == 1);
}

static void read_side(struct proxy *p, struct connection *c, unsigned side)
{
    uint8_t data[PROXY_PIECE_BYTES];
    ssize_t got = recv(c->sides[side].fd, data, sizeof(data), 0);
    if (got > 0)
        take_piece(p, c, side, data, (size_t)got);
    else if (got == 0)
        c->flows[side].in_ended = true;
    else if (errno != EAGAIN && errno != EINTR)
        connection_close(p, c, true);
}

/* Whether the head of a flow may go: a link that was cut meanwhile holds it. */
static bool may_send(struct proxy *p, const struct connection *c, unsigned way)
{
    return !c->connecting && !is_cut(p, c, way) && (c->identified || way == 1) && !c->gone;
}

static void write_flow(struct proxy *p, struct connection *c, unsigned way, uint64_t now)
{
    struct flow *f = &c->flows[way];
    int out = c->sides[!way].fd;
    f->out_full = false;
    while (f->first && f->first->due_us <= now) {
        struct piece *piece = f->first;
        ssize_t sent = send(out, piece->data + piece->at, piece->len - piece->at, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN || errno == EINTR)
                f->out_full = true;
            else
                connection_close(p, c, true);
            return;
        }
        piece->at += (size_t)sent;
        if (piece->at == piece->len)
            drop_first(f);
    }
    if (!f->first && f->in_ended && !f->out_shut) {
        f->out_shut = true;
        shutdown(out, SHUT_WR);
    }
}

static void want(struct proxy *p, struct watch *w, uint32_t events)
{
    if (w->detached || w->events == events)
        return;
    struct epoll_event event = {.events = events, .data.ptr = w};
    ASSERT(epoll_ctl(p->epoll, EPOLL_CTL_MOD, w->fd, &event) == 0);
    w->events = events;
}

uint64_t connection_pump(struct proxy *p, struct connection *c)
{
    uint64_t next = UINT64_MAX, now = clock_now_us();
    c->was_cut = c->was_cut || is_cut(p, c, 0) || is_cut(p, c, 1);
    for (unsigned way = 0; way < 2 && !c->closed; way++)
        if (may_send(p, c, way))
            write_flow(p, c, way, now);
    if (!c->closed && c->flows[0].out_shut && c->flows[1].out_shut)
        connection_close(p, c, false);
    if (c->closed || c->gone)
        return UINT64_MAX;
    for (unsigned way = 0; way < 2; way++) {
        const struct flow *f = &c->flows[way];
        if (f->first && !f->out_full && may_send(p, c, way) && f->first->due_us < next)
            next = f->first->due_us;
        uint32_t events = may_read(p, c, way) ? EPOLLIN : 0;
        if (c->flows[!way].out_full || (way == 1 && c->connecting))
            events |= EPOLLOUT;
        want(p, &c->sides[way], events);
    }
    return next;
}

/* ---- life ---- */

static void watch_side(struct proxy *p, struct connection *c, unsigned side, int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->sides[side] = (struct watch){.connection = c, .side = side, .fd = fd};
    struct epoll_event event = {.events = 0, .data.ptr = &c->sides[side]};
    ASSERT(epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

static int dial(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

void connection_accept(struct proxy *p, unsigned place)
{
    int in = accept4(p->nodes[place].listening.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (in < 0)
        return;
    int out = p->connection_count < PROXY_CONNECTIONS_MAX ? dial(p->nodes[place].target) : -1;
    if (out < 0) {
        close(in);
        return;
    }
    struct connection *c = mem_zalloc(sizeof(*c));
    c->from = PROXY_NOBODY;
    c->to = place;
    c->connecting = true;
    for (unsigned way = 0; way < 2; way++)
        c->flows[way].tail = &c->flows[way].first;
    watch_side(p, c, 0, in);
    watch_side(p, c, 1, out);
    c->next = p->connections;
    if (c->next)
        c->next->previous = c;
    p->connections = c;
    p->connection_count++;
    p->figures.connections++;
}

static void detach(struct proxy *p, struct watch *w)
{
    if (!w->detached)
        epoll_ctl(p->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    w->detached = true;
}

/* A side has failed. Behind a cut link the other one does not see that before it heals. */
static void side_failed(struct proxy *p, struct connection *c)
{
    if (!c->connecting && (is_cut(p, c, 0) || is_cut(p, c, 1))) {
        detach(p, &c->sides[0]);
        detach(p, &c->sides[1]);
        c->gone = true;
        return;
    }
    connection_close(p, c, true);
}

void connection_event(struct proxy *p, struct connection *c, unsigned side, uint32_t events)
{
    if (c->closed || c->gone)
        return;
    if (side == 1 && c->connecting && events & EPOLLOUT && !(events & (EPOLLERR | EPOLLHUP)))
        c->connecting = false;
    if (events & EPOLLIN && may_read(p, c, side))
        read_side(p, c, side);
    else if (c->flows[side].in_ended && !(events & EPOLLERR))
        detach(p, &c->sides[side]); /* all was said there, and some of it is still on its way */
    else if (events & (EPOLLERR | EPOLLHUP))
        side_failed(p, c);
}

void connection_healed(struct proxy *p, struct connection *c)
{
    if (is_cut(p, c, 0) || is_cut(p, c, 1))
        return;
    bool reset = c->was_cut && prng_chance(&p->prng, 1, 2);
    c->was_cut = false;
    if (c->gone || reset)
        connection_close(p, c, true);
}

void connection_close(struct proxy *p, struct connection *c, bool reset)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (c->closed)
        return;
    c->closed = true;
    p->figures.resets += reset;
    for (unsigned side = 0; side < 2; side++) {
        if (reset)
            setsockopt(c->sides[side].fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        close(c->sides[side].fd);
        c->sides[side].fd = -1;
        while (c->flows[side].first)
            drop_first(&c->flows[side]);
    }
}

void connections_sweep(struct proxy *p)
{
    for (struct connection *c = p->connections, *next; c; c = next) {
        next = c->next;
        if (!c->closed)
            continue;
        *(c->previous ? &c->previous->next : &p->connections) = next;
        if (next)
            next->previous = c->previous;
        p->connection_count--;
        mem_free(c);
    }
}
