/*
 * Runs of the simulator in processes of their own, which may die or never end: one alone, or many,
 * several at a time, that count in memory which all of them share.
 */
#include "cmd/raftkv-check/sim_jobs.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/raftkv-check/check.h"
#include "lib/base/clock.h"

enum {
    SECOND_MS = 1000,
    RUN_LIMIT_MS = 120000, /* of one run in real time: one takes well under a second */
    EXIT_NOT_RUN = 75,     /* of a process that could not do what it is for */
};

struct worker {
    pid_t pid;
    uint64_t seed; /* that it runs now; 0: none */
    uint64_t since_ms;
    bool violated;
    struct sim_totals totals;
};

struct shared {
    _Atomic uint64_t next;
    _Atomic bool stop;
    uint64_t last, deadline_ms; /* 0: none */
    struct sim_result result;   /* of a run alone */
    struct worker workers[SIM_JOBS_MAX];
};

static struct shared *shared;
static struct err failure;

static void add(struct sim_totals *t, const struct sim_totals *more)
{
    uint64_t *to = (uint64_t *)t;
    const uint64_t *from = (const uint64_t *)more;
    for (size_t i = 0; i < sizeof(*t) / sizeof(uint64_t); i++)
        to[i] += from[i];
}

void sim_totals_add(struct sim_totals *t, const struct sim_result *r)
{
    struct sim_totals one = {.seeds = 1,
                             .steps = r->steps,
                             .events = r->events,
                             .virtual_us = r->virtual_us,
                             .elections = r->elections,
                             .installs = r->installs,
                             .changes = r->changes,
                             .transfers = r->transfers,
                             .writes = r->writes,
                             .reads = r->reads,
                             .scans = r->scans,
                             .unknown = r->unknown,
                             .refused = r->refused,
                             .replayed = r->replayed};
    memcpy(one.faults, r->faults, sizeof(one.faults));
    add(t, &one);
}

struct sim_totals sim_jobs_totals(void)
{
    struct sim_totals t = {0};
    for (size_t i = 0; i < SIM_JOBS_MAX; i++)
        add(&t, &shared->workers[i].totals);
    return t;
}

int sim_jobs_init(struct err *err)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return shared != MAP_FAILED ? 0 : err_errno(err, ERR_IO, errno, "memory to share");
}

const struct err *sim_jobs_error(void)
{
    return &failure;
}

/* ---- one run ---- */

/* Waits for the end of `pid`, whose end of the pipe closes with it; kills it when time is over. */
static int await(pid_t pid, int fd, int limit_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int status = 0;
    if (poll(&p, 1, limit_ms) == 0)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

static void no_core(void)
{
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
}

static void died(struct sim_result *r, int status)
{
    r->violated = true;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        snprintf(r->what, sizeof(r->what), "the run does not end");
    else
        snprintf(r->what, sizeof(r->what), "the run's process died of signal %d",
                 WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

bool sim_jobs_alone(void *argument, const struct sim_setup *setup, struct sim_result *result)
{
    int fds[2];
    (void)argument;
    if (pipe(fds) != 0) {
        err_errno(&failure, ERR_IO, errno, "a pipe");
        return false;
    }
    fflush(stdout);
    memset(&shared->result, 0, sizeof(shared->result));
    pid_t pid = fork();
    if (pid == 0) {
        no_core();
        if (!freopen("/dev/null", "w", stderr))
            _exit(EXIT_NOT_RUN);
        sim_run(setup, &shared->result);
        _exit(setup->trace && ferror(setup->trace_argument) ? EXIT_NOT_RUN : 0);
    }
    if (pid < 0)
        err_errno(&failure, ERR_IO, errno, "a process");
    close(fds[1]);
    int status = pid > 0 ? await(pid, fds[0], RUN_LIMIT_MS) : 0;
    close(fds[0]);
    if (pid < 0)
        return false;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NOT_RUN) {
        err_set(&failure, ERR_IO, "the run's process cannot write the trace");
        return false;
    }
    *result = shared->result;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        died(result, status);
    return true;
}

/* ---- many ---- */

static void work(struct worker *w, const struct sim_setup *setup)
{
    static struct sim_result result;
    struct sim_setup s = *setup;
    no_core();
    for (;;) {
        s.seed = atomic_fetch_add(&shared->next, 1);
        if (s.seed > shared->last || atomic_load(&shared->stop) ||
            (shared->deadline_ms > 0 && clock_now_us() / 1000 >= shared->deadline_ms))
            break;
        w->since_ms = clock_now_us() / 1000;
        w->seed = s.seed;
        sim_run(&s, &result);
        sim_totals_add(&w->totals, &result);
        if (result.violated) {
            w->violated = true;
            atomic_store(&shared->stop, true);
            _exit(0);
        }
        w->seed = 0;
    }
    _exit(0);
}

static void show_progress(uint64_t began_ms)
{
    struct sim_totals t = sim_jobs_totals();
    uint64_t took_ms = clock_now_us() / 1000 - began_ms + 1;
    uint64_t faults = 0;
    for (int i = 0; i < SIM_FAULT_KINDS; i++)
        faults += t.faults[i];
    fprintf(stderr,
            "\r%" PRIu64 " seeds, %" PRIu64 " steps, %" PRIu64 "/s, %.1f virtual hours, %" PRIu64
            " faults ",
            t.seeds, t.steps, t.steps * 1000 / took_ms, (double)t.virtual_us / 3.6e9, faults);
}

/* One that does not end is ended. */
static void look_for_hangs(uint64_t job_count)
{
    for (uint64_t i = 0; i < job_count; i++) {
        const struct worker *w = &shared->workers[i];
        if (w->seed > 0 && clock_now_us() / 1000 > w->since_ms + RUN_LIMIT_MS)
            kill(w->pid, SIGKILL);
    }
}

/* The lowest seed that failed; 0: none did. `whole`: each worker was there, and ended by itself or
 * in a run that counts as failed. */
static uint64_t reap(uint64_t job_count, bool *whole)
{
    uint64_t seed = 0;
    *whole = true;
    for (uint64_t i = 0; i < job_count; i++) {
        struct worker *w = &shared->workers[i];
        int status = 0;
        if (w->pid <= 0) {
            *whole = false;
            continue;
        }
        while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR) {
        }
        bool failed = w->violated || !WIFEXITED(status) || WEXITSTATUS(status) != 0;
        if (failed && w->seed > 0 && (seed == 0 || w->seed < seed))
            seed = w->seed;
        *whole = *whole && (!failed || w->seed > 0);
    }
    return seed;
}

int sim_jobs_many(const struct sim_setup *setup, const struct sim_jobs *jobs, uint64_t *seed,
                  struct err *err)
{
    uint64_t began_ms = clock_now_us() / 1000, job_count = jobs->count;
    int fds[2];
    bool whole;
    if (pipe(fds) != 0)
        return err_errno(err, ERR_IO, errno, "a pipe");
    atomic_store(&shared->next, jobs->first);
    shared->last = jobs->last;
    shared->deadline_ms = jobs->time_ms > 0 ? began_ms + jobs->time_ms : 0;
    fflush(stdout);
    for (uint64_t i = 0; i < job_count; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            close(fds[0]);
            work(&shared->workers[i], setup);
        }
        shared->workers[i].pid = pid;
    }
    close(fds[1]);
    bool live = isatty(STDERR_FILENO);
    struct pollfd p = {.fd = fds[0], .events = POLLIN};
    while (poll(&p, 1, SECOND_MS) <= 0) { /* its other ends close with the last worker */
        look_for_hangs(job_count);
        if (live)
            show_progress(began_ms);
    }
    if (live)
        fputs("\r\033[K", stderr);
    close(fds[0]);
    *seed = reap(job_count, &whole);
    return whole ? 0 : err_set(err, ERR_IO, "a process could not be made, or died between runs");
}
