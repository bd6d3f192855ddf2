/* A scripted HTTP server for tests of clients; see fake_node.h. */
#include "tests/support/fake_node.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "tests/unit/tap.h"

enum { CONNECTIONS_MAX = 32, REQUESTS_MAX = 256, INPUT_MAX = 64 << 20 };

struct connection {
    int fd;
    unsigned number;
    bool silent; /* answers no more; only its end is awaited */
    char *input;
    size_t len, cap;
};

struct fake_node {
    const struct fake_step *steps;
    size_t step_count, step;
    int listen_fd, stop_fd;
    char url[64];
    pthread_t thread;
    struct connection connections[CONNECTIONS_MAX];
    unsigned accepted;
    pthread_mutex_t lock; /* requests */
    struct fake_request requests[REQUESTS_MAX];
    unsigned request_count;
};

static int listen_anywhere(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0);
    must(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    must(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    *port = ntohs(address.sin_port);
    return fd;
}

const char *fake_refusing_url(void)
{
    /* Bound and never listened on: connections are refused, and the port is taken. */
    static char url[64];
    if (!url[0]) {
        uint16_t port;
        listen_anywhere(&port);
        snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)port);
    }
    return url;
}

static void end_connection(struct connection *c, bool reset)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(c->fd);
    free(c->input);
    memset(c, 0, sizeof(*c));
    c->fd = -1;
}

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        data += n;
        len -= (size_t)n;
    }
}

static void send_reply(struct connection *c, const struct fake_step *step)
{
    const char *body = step->body ? step->body : "";
    size_t len = strlen(body);
    char *text;
    int n = asprintf(&text, "HTTP/1.1 %d Status\r\nContent-Length: %zu\r\n%s%s%s\r\n%s",
                     step->status ? step->status : 200, step->act == FAKE_CUT ? len + 10 : len,
                     step->act == FAKE_STRANGER ? "" : "RaftKV-Node: fake\r\n",
                     step->act == FAKE_REPLY_CLOSE ? "Connection: close\r\n" : "",
                     step->headers ? step->headers : "", body);
    must(n > 0);
    send_all(c->fd, text, (size_t)n);
    free(text);
}

static void play(struct fake_node *n, struct connection *c)
{
    static const struct fake_step beyond = {.act = FAKE_REPLY_CLOSE, .status = 500};
    const struct fake_step *step = n->step < n->step_count ? &n->steps[n->step++] : &beyond;
    switch (step->act) {
    case FAKE_REPLY:
    case FAKE_STRANGER: send_reply(c, step); return;
    case FAKE_REPLY_CLOSE:
    case FAKE_CUT: send_reply(c, step); break;
    case FAKE_GARBAGE: send_all(c->fd, step->body, strlen(step->body)); break;
    case FAKE_CLOSE: break;
    case FAKE_RESET:
    case FAKE_RESET_BEFORE: end_connection(c, true); return;
    case FAKE_SILENT: c->silent = true; return;
    }
    end_connection(c, false);
}

static const char *find_header(const char *head, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, len) == 0 && line[len] == ':')
            return line + len + 1 + strspn(line + len + 1, " ");
    }
    return NULL;
}

/* Takes one whole request out of the input; false if there is none yet. */
static bool take_request(struct fake_node *n, struct connection *c)
{
    char *end = c->len > 0 ? memmem(c->input, c->len, "\r\n\r\n", 4) : NULL;
    if (!end)
        return false;
    size_t head_len = (size_t)(end - c->input) + 4;
    char *head = mem_alloc(head_len + 1);
    memcpy(head, c->input, head_len);
    head[head_len] = '\0';
    const char *length = find_header(head, "Content-Length");
    size_t body_len = length ? strtoul(length, NULL, 10) : 0;
    if (c->len < head_len + body_len) {
        mem_free(head);
        return false;
    }
    pthread_mutex_lock(&n->lock);
    must(n->request_count < REQUESTS_MAX);
    struct fake_request *r = &n->requests[n->request_count++];
    must(sscanf(head, "%15s %511s", r->method, r->target) == 2);
    r->headers = head;
    r->body = mem_dup(c->input + head_len, body_len + 1);
    r->body_len = body_len;
    r->connection = c->number;
    pthread_mutex_unlock(&n->lock);
    c->len -= head_len + body_len;
    memmove(c->input, c->input + head_len + body_len, c->len + 1);
    return true;
}

static void read_from(struct fake_node *n, struct connection *c)
{
    if (c->len + (64 << 10) + 1 > c->cap) {
        c->cap = c->cap * 2 + (128 << 10);
        must(c->cap < INPUT_MAX);
        c->input = realloc(c->input, c->cap);
        must(c->input);
    }
    ssize_t got = recv(c->fd, c->input + c->len, 64 << 10, 0);
    if (got <= 0) {
        end_connection(c, false);
        return;
    }
    c->len += (size_t)got;
    c->input[c->len] = '\0';
    while (c->fd >= 0 && !c->silent && take_request(n, c))
        play(n, c);
}

static void accept_one(struct fake_node *n)
{
    int fd = accept4(n->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &n->connections[i];
        if (c->fd >= 0)
            continue;
        *c = (struct connection){.fd = fd, .number = ++n->accepted};
        if (n->step < n->step_count && n->steps[n->step].act == FAKE_RESET_BEFORE) {
            /* Once it is on its way: sooner, and it is chance whether the client sends at all. */
            struct pollfd fds[] = {{.fd = n->stop_fd, .events = POLLIN},
                                   {.fd = fd, .events = POLLIN}};
            must(poll(fds, 2, -1) > 0);
            play(n, c);
        }
        return;
    }
    tap_bail("room for a connection", __FILE__, __LINE__);
}

static void *serve(void *argument)
{
    struct fake_node *n = argument;
    for (;;) {
        struct pollfd fds[CONNECTIONS_MAX + 2] = {{.fd = n->stop_fd, .events = POLLIN},
                                                  {.fd = n->listen_fd, .events = POLLIN}};
        for (size_t i = 0; i < CONNECTIONS_MAX; i++)
            fds[i + 2] = (struct pollfd){.fd = n->connections[i].fd, .events = POLLIN};
        must(poll(fds, CONNECTIONS_MAX + 2, -1) > 0);
        if (fds[0].revents)
            return NULL;
        for (size_t i = 0; i < CONNECTIONS_MAX; i++)
            if (fds[i + 2].revents && n->connections[i].fd >= 0)
                read_from(n, &n->connections[i]);
        if (fds[1].revents)
            accept_one(n);
    }
}

struct fake_node *fake_node_start(const struct fake_step *steps, size_t count)
{
    struct fake_node *n = mem_zalloc(sizeof(*n));
    uint16_t port;
    n->steps = steps;
    n->step_count = count;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        n->connections[i].fd = -1;
    n->listen_fd = listen_anywhere(&port);
    must(listen(n->listen_fd, 16) == 0);
    n->stop_fd = eventfd(0, EFD_CLOEXEC);
    must(n->stop_fd >= 0);
    snprintf(n->url, sizeof(n->url), "http://127.0.0.1:%u", (unsigned)port);
    must(pthread_mutex_init(&n->lock, NULL) == 0);
    must(pthread_create(&n->thread, NULL, serve, n) == 0);
    return n;
}

void fake_node_stop(struct fake_node *n)
{
    uint64_t one = 1;
    must(write(n->stop_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
    must(pthread_join(n->thread, NULL) == 0);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (n->connections[i].fd >= 0)
            end_connection(&n->connections[i], false);
    for (unsigned i = 0; i < n->request_count; i++) {
        mem_free(n->requests[i].headers);
        mem_free(n->requests[i].body);
    }
    close(n->listen_fd);
    close(n->stop_fd);
    pthread_mutex_destroy(&n->lock);
    mem_free(n);
}

const char *fake_node_url(const struct fake_node *n)
{
    return n->url;
}

unsigned fake_node_request_count(struct fake_node *n)
{
    pthread_mutex_lock(&n->lock);
    unsigned count = n->request_count;
    pthread_mutex_unlock(&n->lock);
    return count;
}

const struct fake_request *fake_node_request(struct fake_node *n, unsigned i)
{
    pthread_mutex_lock(&n->lock);
    must(i < n->request_count);
    const struct fake_request *r = &n->requests[i];
    pthread_mutex_unlock(&n->lock);
    return r;
}

const char *fake_request_header(const struct fake_request *r, const char *name, char out[256])
{
    const char *value = find_header(r->headers, name);
    size_t len = value ? strcspn(value, "\r") : 0;
    snprintf(out, 256, "%.*s", (int)len, value ? value : "");
    return out;
}
