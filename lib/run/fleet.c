/* Processes of a local cluster; see fleet.h. */
#include "lib/run/fleet.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/client/client.h"

enum {
    ARGUMENTS_MAX = 32,
    ARGUMENT_BYTES = 4096,
    READY_TRY_MS = 500, /* for one reply of /readyz */
    READY_PAUSE_MS = 20,
};

/* ---- life ---- */

static int add_endpoints(struct fleet *c, const char *list, struct err *err)
{
    for (const char *from = list; *from;) {
        size_t len = strcspn(from, ",");
        if (c->count == FLEET_NODES_MAX)
            return err_set(err, ERR_USAGE, "--endpoints: more than %d", FLEET_NODES_MAX);
        struct member *m = &c->members[c->count];
        const char *scheme = memmem(from, len, "://", 3) ? "" : "http://";
        *m = (struct member){.place = c->count, .state = MEMBER_RUNS, .votes = true, .pidfd = -1};
        snprintf(m->name, sizeof(m->name), "endpoint%u", c->count + 1);
        if (snprintf(m->url, sizeof(m->url), "%s%.*s", scheme, (int)len, from) >=
            (int)sizeof(m->url))
            return err_set(err, ERR_USAGE, "--endpoints: '%.*s' is too long", (int)len, from);
        c->count++;
        from += len + (from[len] == ',');
    }
    return c->count > 0 ? 0 : err_set(err, ERR_USAGE, "--endpoints: none is given");
}

int fleet_init(struct fleet *c, const char *program, const char *dir, const char *endpoints,
               struct err *err)
{
    sigset_t set;
    memset(c, 0, sizeof(*c));
    pthread_mutex_init(&c->lock, NULL);
    c->program = endpoints ? NULL : program;
    c->dir = dir;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    c->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (c->signals < 0)
        return err_errno(err, ERR_IO, errno, "signalfd");
    if (!endpoints)
        return 0;
    int code = add_endpoints(c, endpoints, err);
    c->first_count = c->count;
    return code;
}

void fleet_release(struct fleet *c)
{
    for (unsigned i = 0; i < c->count; i++)
        member_end(c, &c->members[i], SIGKILL, 0);
    if (c->signals >= 0)
        close(c->signals);
    pthread_mutex_destroy(&c->lock);
}

static void set_state(struct fleet *c, struct member *m, enum member_state state)
{
    pthread_mutex_lock(&c->lock);
    m->state = state;
    pthread_mutex_unlock(&c->lock);
}

bool member_answers(const struct member *m)
{
    return m->state == MEMBER_RUNS;
}

/* ---- starting ---- */

struct arguments {
    char *list[ARGUMENTS_MAX + 1];
    unsigned count;
};

__attribute__((format(printf, 2, 3))) static void add_argument(struct arguments *a, const char *fmt,
                                                               ...)
{
    char text[ARGUMENT_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    ASSERT(len >= 0 && len < ARGUMENT_BYTES && a->count < ARGUMENTS_MAX);
    a->list[a->count++] = mem_strdup(text);
    a->list[a->count] = NULL;
}

static void first_members(const struct fleet *c, struct buf *out)
{
    buf_init(out, ARGUMENT_BYTES);
    for (unsigned i = 0; i < c->first_count; i++)
        ASSERT(buf_printf(out, "%s%s=%s", i ? "," : "", c->members[i].name,
                          c->members[i].peer_url) == 0);
}

static void make_arguments(const struct fleet *c, const struct member *m, struct arguments *a)
{
    struct buf list;
    a->count = 0;
    add_argument(a, "%s", c->program);
    add_argument(a, "--node-id");
    add_argument(a, "%s", m->name);
    add_argument(a, "--port");
    add_argument(a, "%u", m->port);
    add_argument(a, "--advertise");
    add_argument(a, "%s", m->peer_url);
    add_argument(a, "--data-dir");
    add_argument(a, "%s/%s.raftkv", c->dir, m->name);
    if (c->trailing_entries) {
        add_argument(a, "--trailing-entries");
        add_argument(a, "%" PRIu32, c->trailing_entries);
    }
    if (c->faults)
        add_argument(a, "--enable-faults");
    if (m->joins) {
        add_argument(a, "--standby");
        return;
    }
    first_members(c, &list);
    add_argument(a, "--cluster");
    add_argument(a, "%s", (const char *)list.data);
    buf_release(&list);
}

/* In the child: only what may be called after fork in a process of several threads. */
_Noreturn static void become(const struct arguments *a, pid_t parent, int in, int out)
{
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0); /* a terminal's ^C is for us: nodes are stopped in order */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(126);
    if (dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(out, 2) == 2)
        execv(a->list[0], a->list);
    _exit(127);
}

static int spawn(struct member *m, const struct arguments *a, const char *log, struct err *err)
{
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    pid_t parent = getpid();
    if (in < 0 || out < 0) {
        err_errno(err, ERR_IO, errno, "%s", log);
        close(in);
        close(out);
        return ERR_IO;
    }
    m->pid = fork();
    if (m->pid == 0)
        become(a, parent, in, out);
    int saved = errno;
    close(in);
    close(out);
    if (m->pid < 0)
        return err_errno(err, ERR_IO, saved, "cannot start a process");
    m->pidfd = (int)syscall(SYS_pidfd_open, m->pid, 0);
    return m->pidfd >= 0 ? 0 : err_errno(err, ERR_IO, errno, "pidfd_open");
}

/* Its port in the proxy. */
static int open_port(const struct fleet *c, const struct member *m, bool open, struct err *err)
{
    return c->proxy ? proxy_open(c->proxy, m->place, open, err) : 0;
}

int member_start(struct fleet *c, struct member *m, struct err *err)
{
    struct arguments a;
    char log[ARGUMENT_BYTES];
    ASSERT(c->program && m->pid == 0);
    snprintf(log, sizeof(log), "%s/%s.log", c->dir, m->name);
    make_arguments(c, m, &a);
    m->may_end = false;
    int code = open_port(c, m, true, err);
    if (code == 0)
        code = spawn(m, &a, log, err);
    for (unsigned i = 0; i < a.count; i++)
        mem_free(a.list[i]);
    if (code == 0)
        set_state(c, m, MEMBER_RUNS);
    return code;
}

static int make_member(struct fleet *c, bool joins, struct err *err)
{
    struct member *m = &c->members[c->count];
    *m = (struct member){.joins = joins, .votes = !joins, .pidfd = -1, .state = MEMBER_DOWN};
    m->port = free_port();
    if (m->port == 0)
        return err_set(err, ERR_IO, "no port is free");
    snprintf(m->name, sizeof(m->name), "node%u", c->count + 1);
    snprintf(m->url, sizeof(m->url), "http://127.0.0.1:%u", m->port);
    uint16_t peer_port = m->port;
    m->place = c->count;
    int code = c->proxy ? proxy_add(c->proxy, m->name, m->port, &m->place, &peer_port, err) : 0;
    if (code != 0)
        return code;
    ASSERT(m->place == c->count);
    snprintf(m->peer_url, sizeof(m->peer_url), "http://127.0.0.1:%u", peer_port);
    pthread_mutex_lock(&c->lock);
    c->count++;
    pthread_mutex_unlock(&c->lock);
    return 0;
}

int fleet_start(struct fleet *c, unsigned count, struct err *err)
{
    int code = 0;
    for (unsigned i = 0; i < count && code == 0; i++)
        code = make_member(c, false, err);
    c->first_count = count;
    for (unsigned i = 0; i < count && code == 0; i++)
        code = member_start(c, &c->members[i], err);
    return code;
}

struct member *fleet_add(struct fleet *c, struct err *err)
{
    if (c->count == FLEET_NODES_MAX) {
        err_set(err, ERR_OVERLOADED, "there were %d nodes already", FLEET_NODES_MAX);
        return NULL;
    }
    if (make_member(c, true, err) != 0)
        return NULL;
    struct member *m = &c->members[c->count - 1];
    return member_start(c, m, err) == 0 ? m : NULL;
}

bool program_has_option(const char *program, const char *option)
{
    int ends[2];
    char text[16384];
    size_t len = 0;
    ssize_t got;
    struct arguments a = {.count = 0};
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    add_argument(&a, "%s", program);
    add_argument(&a, "--help");
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become(&a, parent, open("/dev/null", O_RDONLY | O_CLOEXEC), ends[1]);
    close(ends[1]);
    while (pid > 0 && len < sizeof(text) - 1 &&
           (got = read(ends[0], text + len, sizeof(text) - 1 - len)) > 0)
        len += (size_t)got;
    text[len] = '\0';
    close(ends[0]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    for (unsigned i = 0; i < a.count; i++)
        mem_free(a.list[i]);
    return strstr(text, option) != NULL;
}

/* ---- ending ---- */

void describe_status(int status, char *out, size_t bytes)
{
    if (WIFSIGNALED(status))
        snprintf(out, bytes, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(out, bytes, "exit status %d", WEXITSTATUS(status));
}

static int reap(struct fleet *c, struct member *m)
{
    int status = 0;
    struct err ignored;
    while (waitpid(m->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    close(m->pidfd);
    m->pidfd = -1;
    m->pid = 0;
    if (m->state != MEMBER_GONE)
        set_state(c, m, MEMBER_DOWN);
    open_port(c, m, false, &ignored);
    return status;
}

static bool ended(const struct member *m, uint32_t wait_ms)
{
    struct pollfd p = {.fd = m->pidfd, .events = POLLIN};
    uint64_t until = clock_now_us() + (uint64_t)wait_ms * 1000;
    for (;;) {
        uint64_t now = clock_now_us();
        int left = now >= until ? 0 : (int)((until - now + 999) / 1000);
        int found = poll(&p, 1, left);
        if (found > 0 || (found == 0 && left == 0))
            return found > 0;
    }
}

int member_end(struct fleet *c, struct member *m, int signum, uint32_t wait_ms)
{
    if (m->pid == 0)
        return -1;
    kill(m->pid, signum);
    if (m->state == MEMBER_STOPPED)
        kill(m->pid, SIGCONT);
    if (signum != SIGKILL && !ended(m, wait_ms))
        kill(m->pid, SIGKILL);
    return reap(c, m);
}

void member_stop(struct fleet *c, struct member *m)
{
    if (m->state != MEMBER_RUNS)
        return;
    kill(m->pid, SIGSTOP);
    set_state(c, m, MEMBER_STOPPED);
}

void member_continue(struct fleet *c, struct member *m)
{
    if (m->state != MEMBER_STOPPED)
        return;
    kill(m->pid, SIGCONT);
    set_state(c, m, MEMBER_RUNS);
}

void member_gone(struct fleet *c, struct member *m)
{
    set_state(c, m, MEMBER_GONE);
    m->votes = false;
    member_end(c, m, SIGKILL, 0);
}

/* ---- waiting ---- */

void fleet_fail(struct fleet *c, const char *fmt, ...)
{
    va_list ap;
    if (c->failed)
        return;
    c->failed = true;
    va_start(ap, fmt);
    vsnprintf(c->why, sizeof(c->why), fmt, ap);
    va_end(ap);
}

static void note_end(struct fleet *c, struct member *m)
{
    char text[64];
    bool expected = m->may_end || m->state == MEMBER_GONE;
    describe_status(reap(c, m), text, sizeof(text));
    if (!expected)
        fleet_fail(c, "%s ended by itself: %s", m->name, text);
}

static void look(struct fleet *c, int wait_ms)
{
    struct pollfd polls[FLEET_NODES_MAX + 1] = {{.fd = c->signals, .events = POLLIN}};
    struct member *who[FLEET_NODES_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < c->count; i++)
        if (c->members[i].pid != 0) {
            polls[1 + count].fd = c->members[i].pidfd;
            polls[1 + count].events = POLLIN;
            who[count++] = &c->members[i];
        }
    if (poll(polls, count + 1, wait_ms) <= 0)
        return;
    struct signalfd_siginfo info;
    if (polls[0].revents && read(c->signals, &info, sizeof(info)) > 0)
        c->interrupted = true;
    for (unsigned i = 0; i < count; i++)
        if (polls[1 + i].revents)
            note_end(c, who[i]);
}

bool fleet_wait(struct fleet *c, uint32_t ms)
{
    uint64_t until = clock_now_us() + (uint64_t)ms * 1000;
    for (;;) {
        uint64_t now = clock_now_us();
        look(c, now >= until ? 0 : (int)((until - now + 999) / 1000));
        if (c->interrupted || c->failed)
            return false;
        if (clock_now_us() >= until)
            return true;
    }
}

static bool says_200(const struct member *m, const char *path)
{
    struct client_options options = {.endpoints = m->url, .timeout_ms = READY_TRY_MS};
    struct client *client;
    struct client_reply reply;
    if (client_new(&options, &client, NULL) != 0)
        return false;
    client_reply_init(&reply);
    bool ready = client_read_from(client, 0, path, &reply, NULL) == 0 && reply.status == 200;
    client_reply_release(&reply);
    client_free(client);
    return ready;
}

bool fleet_await_alive(struct fleet *c, const struct member *m, uint32_t ms)
{
    uint64_t until = clock_now_us() + (uint64_t)ms * 1000;
    while (!says_200(m, "/livez"))
        if (clock_now_us() >= until || !fleet_wait(c, READY_PAUSE_MS))
            return false;
    return true;
}

bool fleet_await_ready(struct fleet *c, const struct member *m, uint32_t ms)
{
    uint64_t until = clock_now_us() + (uint64_t)ms * 1000;
    for (unsigned i = 0; i < c->count; i++) {
        const struct member *one = &c->members[i];
        if ((m && m != one) || !member_answers(one))
            continue;
        while (!says_200(one, "/readyz"))
            if (clock_now_us() >= until || !fleet_wait(c, READY_PAUSE_MS))
                return false;
    }
    return true;
}

/* ---- addresses, for any thread ---- */

static unsigned list_members(struct fleet *c, const struct member **list)
{
    unsigned count = 0;
    for (unsigned i = 0; i < c->count; i++)
        if (c->members[i].state != MEMBER_GONE)
            list[count++] = &c->members[i];
    return count;
}

void fleet_urls(struct fleet *c, unsigned first, struct buf *out)
{
    const struct member *list[FLEET_NODES_MAX];
    pthread_mutex_lock(&c->lock);
    unsigned count = list_members(c, list);
    buf_clear(out);
    for (unsigned i = 0; i < count; i++)
        ASSERT(buf_printf(out, "%s%s", i ? "," : "", list[(first + i) % count]->url) == 0);
    pthread_mutex_unlock(&c->lock);
}

void fleet_url(struct fleet *c, unsigned which, struct buf *out)
{
    const struct member *list[FLEET_NODES_MAX];
    pthread_mutex_lock(&c->lock);
    unsigned count = list_members(c, list);
    buf_clear(out);
    if (count > 0)
        ASSERT(buf_append_str(out, list[which % count]->url) == 0);
    pthread_mutex_unlock(&c->lock);
}
