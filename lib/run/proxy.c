/* The proxy's thread, its ports and links; see proxy.h. */
#include "lib/run/proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/run/proxy_internal.h"

enum {
    PORT_FIRST = 10240, /* ports of connections begin at 32768 */
    PORT_COUNT = 9000,
    PORT_TRIES = 200,
    EVENTS_A_TURN = 64,
    BACKLOG = 128,
};

/* ---- ports ---- */

static int bind_port(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

uint16_t free_port(void)
{
    static atomic_bool given[PORT_COUNT]; /* to be bound later, perhaps */
    for (int i = 0; i < PORT_TRIES; i++) {
        uint64_t which = random_id() % PORT_COUNT;
        uint16_t port = (uint16_t)(PORT_FIRST + which);
        int fd = bind_port(port);
        if (fd < 0)
            continue;
        if (atomic_exchange(&given[which], true)) {
            close(fd);
            continue;
        }
        close(fd);
        return port;
    }
    return 0;
}

static int listen_for(struct proxy *p, struct proxy_node *n, struct err *err)
{
    n->listening.fd = bind_port(n->port);
    if (n->listening.fd < 0)
        return err_errno(err, ERR_IO, errno, "cannot listen on port %u", n->port);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &n->listening};
    ASSERT(epoll_ctl(p->epoll, EPOLL_CTL_ADD, n->listening.fd, &event) == 0);
    return 0;
}

/* ---- the thread ---- */

static void handle(struct proxy *p, const struct epoll_event *event)
{
    struct watch *w = event->data.ptr;
    uint64_t count;
    if (!w)
        while (read(p->wake, &count, sizeof(count)) > 0)
            continue;
    else if (w->connection)
        connection_event(p, w->connection, w->side, event->events);
    else if (w->fd >= 0)
        connection_accept(p, w->side);
}

/* Every connection is looked at: there are some hundred, and links change under all of them. */
static uint64_t pump_all(struct proxy *p)
{
    uint64_t next = UINT64_MAX;
    for (struct connection *c = p->connections; c; c = c->next) {
        if (p->healed && !c->closed)
            connection_healed(p, c);
        uint64_t due = c->closed ? UINT64_MAX : connection_pump(p, c);
        next = due < next ? due : next;
    }
    p->healed = false;
    connections_sweep(p);
    return next;
}

static int wait_ms(uint64_t next_us)
{
    uint64_t now = clock_now_us();
    if (next_us == UINT64_MAX)
        return -1;
    return next_us <= now ? 0 : (int)((next_us - now + 999) / 1000);
}

static void *run_proxy(void *argument)
{
    struct proxy *p = argument;
    struct epoll_event events[EVENTS_A_TURN];
    uint64_t next = UINT64_MAX;
    for (;;) {
        int count = epoll_wait(p->epoll, events, EVENTS_A_TURN, wait_ms(next));
        pthread_mutex_lock(&p->lock);
        if (p->stop)
            break;
        for (int i = 0; i < count; i++)
            handle(p, &events[i]);
        next = pump_all(p);
        pthread_mutex_unlock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void wake(struct proxy *p)
{
    uint64_t one = 1;
    ASSERT(write(p->wake, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN);
}

/* ---- life ---- */

int proxy_new(uint64_t seed, struct proxy **out, struct err *err)
{
    struct proxy *p = mem_zalloc(sizeof(*p));
    prng_seed(&p->prng, seed);
    pthread_mutex_init(&p->lock, NULL);
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    int errnum = 0;
    if (p->epoll < 0 || p->wake < 0 || epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->wake, &event) != 0)
        errnum = errno;
    if (errnum == 0)
        errnum = pthread_create(&p->thread, NULL, run_proxy, p);
    if (errnum != 0) {
        err_errno(err, ERR_IO, errnum, "cannot make the proxy");
        close(p->epoll);
        close(p->wake);
        pthread_mutex_destroy(&p->lock);
        mem_free(p);
        return ERR_IO;
    }
    *out = p;
    return 0;
}

void proxy_free(struct proxy *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_mutex_unlock(&p->lock);
    wake(p);
    pthread_join(p->thread, NULL);
    for (struct connection *c = p->connections; c; c = c->next)
        connection_close(p, c, false);
    connections_sweep(p);
    for (unsigned i = 0; i < p->node_count; i++)
        if (p->nodes[i].listening.fd >= 0)
            close(p->nodes[i].listening.fd);
    close(p->epoll);
    close(p->wake);
    pthread_mutex_destroy(&p->lock);
    mem_free(p);
}

/* ---- nodes and links ---- */

int proxy_add(struct proxy *p, const char *name, uint16_t target, unsigned *place, uint16_t *port,
              struct err *err)
{
    int code;
    pthread_mutex_lock(&p->lock);
    ASSERT(p->node_count < PROXY_NODES_MAX);
    struct proxy_node *n = &p->nodes[p->node_count];
    snprintf(n->name, sizeof(n->name), "%s", name);
    n->target = target;
    n->listening = (struct watch){.side = p->node_count, .fd = -1};
    do
        n->port = free_port();
    while (n->port == target);
    code = n->port == 0 ? err_set(err, ERR_IO, "no port is free") : listen_for(p, n, err);
    *place = p->node_count;
    *port = n->port;
    if (code == 0)
        p->node_count++;
    pthread_mutex_unlock(&p->lock);
    return code;
}

int proxy_open(struct proxy *p, unsigned place, bool open, struct err *err)
{
    int code = 0;
    pthread_mutex_lock(&p->lock);
    ASSERT(place < p->node_count);
    struct proxy_node *n = &p->nodes[place];
    if (open && n->listening.fd < 0) {
        code = listen_for(p, n, err);
    } else if (!open && n->listening.fd >= 0) {
        close(n->listening.fd);
        n->listening.fd = -1;
    }
    pthread_mutex_unlock(&p->lock);
    return code;
}

void proxy_set(struct proxy *p, unsigned from, unsigned to, const struct proxy_link *link)
{
    ASSERT(from < PROXY_NODES_MAX && to < PROXY_NODES_MAX);
    pthread_mutex_lock(&p->lock);
    p->healed = p->healed || (p->links[from][to].cut && !link->cut);
    p->links[from][to] = *link;
    pthread_mutex_unlock(&p->lock);
    wake(p);
}

struct proxy_link proxy_get(struct proxy *p, unsigned from, unsigned to)
{
    ASSERT(from < PROXY_NODES_MAX && to < PROXY_NODES_MAX);
    pthread_mutex_lock(&p->lock);
    struct proxy_link link = p->links[from][to];
    pthread_mutex_unlock(&p->lock);
    return link;
}

void proxy_heal(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    memset(p->links, 0, sizeof(p->links));
    memset(p->busy_until_us, 0, sizeof(p->busy_until_us));
    p->healed = true;
    pthread_mutex_unlock(&p->lock);
    wake(p);
}

void proxy_figures(struct proxy *p, struct proxy_figures *figures)
{
    pthread_mutex_lock(&p->lock);
    *figures = p->figures;
    pthread_mutex_unlock(&p->lock);
}
