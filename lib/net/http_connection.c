/*
 * The server's sockets: listening, taking connections and refusing them, deadlines, lingering.
 *
 * libmicrohttpd gets sockets that are already accepted (MHD_add_connection). Left to itself it
 * takes none at all while at its limit, so that clients hang, and it knows only an idle time, which
 * a client that sends a byte now and then never reaches.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/net/server_internal.h"

/* ---- phases and deadlines ---- */

static void unlink_phase(struct connection *c)
{
    if (c->phase == PHASE_BUSY)
        return;
    struct list *l = &c->server->phases[c->phase];
    *(c->prev ? &c->prev->next : &l->head) = c->next;
    *(c->next ? &c->next->prev : &l->tail) = c->prev;
    c->prev = c->next = NULL;
    c->phase = PHASE_BUSY;
}

void connection_phase(struct connection *c, enum phase phase)
{
    struct http_server *s = c->server;
    unlink_phase(c);
    c->phase = phase;
    if (phase == PHASE_BUSY)
        return;
    struct list *l = &s->phases[phase];
    c->deadline_us = loop_now_us(s->loop) + s->phase_us[phase];
    c->prev = l->tail;
    *(l->tail ? &l->tail->next : &l->head) = c;
    l->tail = c;
    /* Moved only to the front: a timer that comes too early finds the next one. */
    if (c->deadline_us < s->timer_us) {
        s->timer_us = c->deadline_us;
        loop_timer_at(s->timer, s->timer_us);
    }
}

static void connection_free(struct connection *c)
{
    unlink_phase(c);
    c->server->connections--;
    mem_free(c);
}

static void linger_end(struct connection *c)
{
    int fd = c->fd;
    loop_poll_free(c->poll);
    connection_free(c);
    close(fd);
}

void connection_deadlines(void *server)
{
    struct http_server *s = server;
    uint64_t now_us = loop_now_us(s->loop), next_us = UINT64_MAX;
    for (int phase = 0; phase < PHASES_TIMED; phase++) {
        struct connection *c;
        while ((c = s->phases[phase].head) && c->deadline_us <= now_us) {
            if (phase == PHASE_LINGER) {
                linger_end(c);
                continue;
            }
            if (phase != PHASE_IDLE)
                s->refused++;
            if (phase == PHASE_REPLY) {
                /* What it does not read would stay with the kernel. */
                struct linger now = {.l_onoff = 1};
                setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
            }
            /* The descriptor is libmicrohttpd's: it hears of the end and cleans up. */
            unlink_phase(c);
            shutdown(c->fd, SHUT_RDWR);
        }
        if (c && c->deadline_us < next_us)
            next_us = c->deadline_us;
    }
    s->timer_us = next_us;
    loop_timer_at(s->timer, next_us);
}

/* ---- lingering ---- */

static void on_linger(void *argument, int events)
{
    (void)events;
    static char waste[64 << 10]; /* never read; of the one loop thread */
    struct connection *c = argument;
    for (int i = 0; i < 16; i++) {
        ssize_t n = recv(c->fd, waste, sizeof(waste), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n > 0)
            c->drained += (size_t)n;
        if (n <= 0 || c->drained > LIMIT_HTTP_DRAIN_BYTES) {
            linger_end(c);
            return;
        }
    }
}

/* libmicrohttpd has sent the refusal and our end of the stream, and is about to close its
 * descriptor: ours keeps the connection. */
static bool linger_begin(struct connection *c)
{
    int fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return false;
    if (loop_poll_new(c->server->loop, fd, on_linger, c, &c->poll, NULL) < 0) {
        close(fd);
        return false;
    }
    c->fd = fd;
    loop_poll_set(c->poll, POLL_READ);
    connection_phase(c, PHASE_LINGER);
    return true;
}

void connection_close_lingering(struct http_server *s)
{
    while (s->phases[PHASE_LINGER].head)
        linger_end(s->phases[PHASE_LINGER].head);
}

void connection_notify(void *server, struct MHD_Connection *mhd, void **context,
                       enum MHD_ConnectionNotificationCode what)
{
    struct http_server *s = server;
    (void)mhd;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = s->accepting;
        return;
    }
    struct connection *c = *context;
    *context = NULL;
    if (c == s->accepting)
        s->accepting = NULL;
    if (!c->linger || !linger_begin(c))
        connection_free(c);
}

/* ---- taking connections ---- */

static void refuse_connection(struct http_server *s, int fd)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\n"
                               "Connection: close\r\nContent-Length: 0\r\n\r\n";
    s->refused++;
    ssize_t n = send(fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)n; /* whoever does not get it sees the connection closed */
    close(fd);
}

static void take_connection(struct http_server *s, int fd, const union address *address,
                            socklen_t address_len)
{
    if (s->connections >= s->options.connections_max) {
        /* Somebody who does nothing makes room for the next one. */
        struct connection *oldest = s->phases[PHASE_IDLE].head;
        if (oldest) {
            unlink_phase(oldest);
            shutdown(oldest->fd, SHUT_RDWR);
        }
        if (!oldest || s->connections >= s->options.connections_max + LIMIT_HTTP_ACCEPTS) {
            refuse_connection(s, fd);
            return;
        }
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    struct connection *c = mem_zalloc(sizeof(*c));
    c->server = s;
    c->fd = fd;
    c->phase = PHASE_BUSY;
    c->address = *address;
    s->connections++;
    s->accepting = c;
    enum MHD_Result added = MHD_add_connection(s->daemon, fd, &address->any, address_len);
    bool there = s->accepting != NULL; /* else it was closed again already, and is gone */
    s->accepting = NULL;
    if (there && added == MHD_YES)
        connection_phase(c, PHASE_HEAD);
    else if (there)
        connection_free(c);
}

static void on_listen(void *argument, int events)
{
    (void)events;
    struct http_server *s = argument;
    for (int i = 0; i < LIMIT_HTTP_ACCEPTS; i++) {
        union address address;
        memset(&address, 0, sizeof(address));
        socklen_t len = sizeof(address);
        int fd = accept4(s->listen_fd, &address.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            take_connection(s, fd, &address, len);
            continue;
        }
        if (errno == ECONNABORTED || errno == EINTR)
            continue;
        if ((errno != EMFILE && errno != ENFILE) || s->spare_fd < 0)
            return;
        /* No descriptor is left, and the listening socket stays readable: take it and refuse it
         * with the spare one, or the loop would turn without rest. */
        close(s->spare_fd);
        fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            refuse_connection(s, fd);
        s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return; /* Linux says so also when nobody waits, who may come meanwhile and be served */
    }
}

static int parse_address(const char *host, uint16_t port, union address *out, socklen_t *len,
                         struct err *err)
{
    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, host, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(port);
        *len = sizeof(out->v4);
        return 0;
    }
    if (inet_pton(AF_INET6, host, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(port);
        *len = sizeof(out->v6);
        return 0;
    }
    return err_set(err, ERR_IO, "cannot listen on '%s': not a numeric IP address", host);
}

int connection_listen(struct http_server *s, struct err *err)
{
    const char *host = s->options.host;
    unsigned port = s->options.port;
    union address address;
    socklen_t len;
    int on = 1;
    int rc = parse_address(host, s->options.port, &address, &len, err);
    if (rc < 0)
        return rc;
    s->listen_fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* Linux takes SO_REUSEADDR as: old connections of this port are no obstacle. A listener is. */
    if (s->listen_fd < 0 ||
        setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(s->listen_fd, &address.any, len) < 0 || listen(s->listen_fd, LIMIT_HTTP_BACKLOG) < 0)
        return err_errno(err, ERR_IO, errno,
                         address.any.sa_family == AF_INET6 ? "cannot listen on [%s]:%u"
                                                           : "cannot listen on %s:%u",
                         host, port);
    len = sizeof(address);
    if (getsockname(s->listen_fd, &address.any, &len) < 0)
        return err_errno(err, ERR_IO, errno, "cannot listen on %s:%u", host, port);
    s->port = ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
    s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    rc = loop_poll_new(s->loop, s->listen_fd, on_listen, s, &s->listen_poll, err);
    if (rc == 0)
        loop_poll_set(s->listen_poll, POLL_READ);
    return rc;
}

/* ---- for logs ---- */

const char *http_request_peer(const struct http_request *r, char out[64])
{
    const struct connection *c = ((const struct request *)r)->connection;
    if (!c) {
        snprintf(out, 64, "gone");
        return out;
    }
    const union address *a = &c->address;
    char ip[INET6_ADDRSTRLEN] = "?";
    if (a->any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &a->v6.sin6_addr, ip, sizeof(ip));
    else
        inet_ntop(AF_INET, &a->v4.sin_addr, ip, sizeof(ip));
    bool six = a->any.sa_family == AF_INET6;
    snprintf(out, 64, six ? "[%s]:%u" : "%s:%u", ip, ntohs(six ? a->v6.sin6_port : a->v4.sin_port));
    return out;
}
