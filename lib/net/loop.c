/*
 * The event loop over libuv.
 *
 * A turn of libuv is: timers, wait, events, check. Timers of the next turn come before its wait, so
 * what they caused must be handed out before it (prepare), or it would lie until the next event.
 */
#include "lib/net/loop.h"

#include <errno.h>
#include <string.h>
#include <uv.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/net/private.h"

enum {
    HOOKS_MAX = 8, /* of one stage */
    /* libuv's clock stands still while the machine sleeps, CLOCK_BOOTTIME does not: no timer waits
     * longer than this without looking at the latter. */
    TIMER_LOOK_US = 1000000,
};

struct hook {
    void (*fn)(void *);
    void *argument;
};

struct clock_cache {
    uint64_t now_us;
    bool stale;
};

struct loop {
    uv_loop_t uv;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    struct hook hooks[LOOP_STAGES][HOOKS_MAX];
    struct clock_cache *clock;
    struct loop_signal *signals;
    bool timers_ran; /* since the hooks ran last */
    bool stopped;
};

struct loop_timer {
    uv_timer_t uv;
    struct loop *loop;
    void (*fn)(void *);
    void *argument;
    uint64_t when_us;
    uint64_t armed_us; /* libuv calls then, or a little earlier; UINT64_MAX: not at all */
};

struct loop_wake {
    uv_async_t uv;
    void (*fn)(void *);
    void *argument;
};

struct loop_signal {
    uv_signal_t uv;
    void (*fn)(void *, int);
    void *argument;
    struct loop_signal *next;
};

struct loop_poll {
    uv_poll_t uv;
    void (*fn)(void *, int);
    void *argument;
    int events;
};

static uint64_t clock_refresh(struct clock_cache *c)
{
    c->now_us = clock_now_us();
    c->stale = false;
    return c->now_us;
}

uint64_t loop_now_us(const struct loop *l)
{
    return l->clock->stale ? clock_refresh(l->clock) : l->clock->now_us;
}

static void run_hooks(struct loop *l)
{
    l->timers_ran = false;
    for (int stage = 0; stage < LOOP_STAGES; stage++)
        for (int i = 0; i < HOOKS_MAX; i++) {
            struct hook *h = &l->hooks[stage][i];
            if (h->fn)
                h->fn(h->argument);
        }
}

static void on_prepare(uv_prepare_t *handle)
{
    struct loop *l = handle->data;
    if (l->timers_ran)
        run_hooks(l);
    l->clock->stale = true;
}

static void on_check(uv_check_t *handle)
{
    struct loop *l = handle->data;
    uv_idle_stop(&l->idle);
    run_hooks(l);
    l->clock->stale = true;
}

static void on_idle(uv_idle_t *handle)
{
    (void)handle; /* that it is active is all: the wait does not wait */
}

int loop_new(struct loop **out, struct err *err)
{
    struct loop *l = mem_zalloc(sizeof(*l));
    int rc = uv_loop_init(&l->uv);
    if (rc < 0) {
        mem_free(l);
        return err_set(err, ERR_IO, "cannot make an event loop: %s", uv_strerror(rc));
    }
    l->clock = mem_alloc(sizeof(*l->clock));
    clock_refresh(l->clock);
    uv_prepare_init(&l->uv, &l->prepare);
    uv_check_init(&l->uv, &l->check);
    uv_idle_init(&l->uv, &l->idle);
    l->prepare.data = l;
    l->check.data = l;
    uv_prepare_start(&l->prepare, on_prepare);
    uv_check_start(&l->check, on_check);
    *out = l;
    return 0;
}

void loop_run(struct loop *l)
{
    l->stopped = false;
    l->clock->stale = true;
    while (!l->stopped)
        uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *l)
{
    l->stopped = true;
    uv_stop(&l->uv);
}

static void free_handle(uv_handle_t *handle)
{
    mem_free(handle); /* it is the first member of what was allocated */
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    for (struct loop_signal *s = l->signals, *next; s; s = next) {
        next = s->next;
        uv_close((uv_handle_t *)&s->uv, free_handle);
    }
    uv_close((uv_handle_t *)&l->prepare, NULL);
    uv_close((uv_handle_t *)&l->check, NULL);
    uv_close((uv_handle_t *)&l->idle, NULL);
    uv_run(&l->uv, UV_RUN_NOWAIT); /* libuv frees what was closed only in a turn */
    int rc = uv_loop_close(&l->uv);
    ASSERT(rc == 0); /* else something made on the loop was not freed */
    mem_free(l->clock);
    mem_free(l);
}

/* ---- timers ---- */

static void on_timer(uv_timer_t *handle);

static void arm(struct loop_timer *t, uint64_t now_us)
{
    uint64_t delay_us = t->when_us > now_us ? t->when_us - now_us : 0;
    if (delay_us > TIMER_LOOK_US)
        delay_us = TIMER_LOOK_US;
    t->armed_us = now_us + delay_us;
    uv_timer_start(&t->uv, on_timer, (clock_real_us(delay_us) + 999) / 1000, 0);
}

static void on_timer(uv_timer_t *handle)
{
    struct loop_timer *t = handle->data;
    struct loop *l = t->loop;
    t->armed_us = UINT64_MAX;
    if (t->when_us == UINT64_MAX)
        return;
    uint64_t now_us = clock_refresh(l->clock);
    if (now_us < t->when_us) {
        arm(t, now_us);
        return;
    }
    t->when_us = UINT64_MAX;
    l->timers_ran = true;
    t->fn(t->argument);
}

struct loop_timer *loop_timer_new(struct loop *l, void (*fn)(void *), void *argument)
{
    struct loop_timer *t = mem_zalloc(sizeof(*t));
    uv_timer_init(&l->uv, &t->uv);
    t->uv.data = t;
    t->loop = l;
    t->fn = fn;
    t->argument = argument;
    t->when_us = UINT64_MAX;
    t->armed_us = UINT64_MAX;
    return t;
}

void loop_timer_at(struct loop_timer *t, uint64_t when_us)
{
    t->when_us = when_us;
    /* Later than armed: the call that comes too early arms it again. A deadline that is moved on at
     * every event costs nothing that way. */
    if (when_us < t->armed_us)
        arm(t, loop_now_us(t->loop));
}

void loop_timer_free(struct loop_timer *t)
{
    if (t)
        uv_close((uv_handle_t *)&t->uv, free_handle);
}

/* ---- wake-ups and signals ---- */

static void on_wake(uv_async_t *handle)
{
    struct loop_wake *w = handle->data;
    w->fn(w->argument);
}

struct loop_wake *loop_wake_new(struct loop *l, void (*fn)(void *), void *argument)
{
    struct loop_wake *w = mem_zalloc(sizeof(*w));
    int rc = uv_async_init(&l->uv, &w->uv, on_wake);
    ASSERT(rc == 0);
    w->uv.data = w;
    w->fn = fn;
    w->argument = argument;
    return w;
}

void loop_wake_send(struct loop_wake *w)
{
    uv_async_send(&w->uv);
}

void loop_wake_free(struct loop_wake *w)
{
    if (w)
        uv_close((uv_handle_t *)&w->uv, free_handle);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct loop_signal *s = handle->data;
    s->fn(s->argument, signum);
}

int loop_on_signal(struct loop *l, int signum, void (*fn)(void *, int), void *argument,
                   struct err *err)
{
    struct loop_signal *s = mem_zalloc(sizeof(*s));
    int rc = uv_signal_init(&l->uv, &s->uv);
    if (rc < 0) {
        mem_free(s);
        return err_set(err, ERR_IO, "cannot watch signals: %s", uv_strerror(rc));
    }
    s->uv.data = s;
    s->fn = fn;
    s->argument = argument;
    rc = uv_signal_start(&s->uv, on_signal, signum);
    if (rc < 0) {
        uv_close((uv_handle_t *)&s->uv, free_handle);
        return err_set(err, ERR_IO, "cannot watch signal %d: %s", signum, uv_strerror(rc));
    }
    s->next = l->signals;
    l->signals = s;
    return 0;
}

/* ---- hooks ---- */

void loop_hook_add(struct loop *l, enum loop_stage stage, void (*fn)(void *), void *argument)
{
    for (int i = 0; i < HOOKS_MAX; i++)
        if (!l->hooks[stage][i].fn) {
            l->hooks[stage][i] = (struct hook){fn, argument};
            return;
        }
    check_failed("a free hook of this stage", __FILE__, __LINE__);
}

void loop_hook_remove(struct loop *l, enum loop_stage stage, void (*fn)(void *), void *argument)
{
    for (int i = 0; i < HOOKS_MAX; i++) {
        struct hook *h = &l->hooks[stage][i];
        if (h->fn == fn && h->argument == argument)
            *h = (struct hook){NULL, NULL};
    }
}

void loop_every_turn(struct loop *l, void (*fn)(void *), void *argument)
{
    loop_hook_add(l, LOOP_TURN, fn, argument);
}

void loop_again(struct loop *l)
{
    uv_idle_start(&l->idle, on_idle);
}

/* ---- descriptors ---- */

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct loop_poll *p = handle->data;
    int seen = 0;
    if (status < 0) {
        /* libuv has stopped watching. */
        p->events = 0;
        seen = POLL_ERROR;
    }
    if (events & (UV_READABLE | UV_DISCONNECT))
        seen |= POLL_READ;
    if (events & UV_WRITABLE)
        seen |= POLL_WRITE;
    p->fn(p->argument, seen);
}

int loop_poll_new(struct loop *l, int fd, void (*fn)(void *, int), void *argument,
                  struct loop_poll **out, struct err *err)
{
    struct loop_poll *p = mem_zalloc(sizeof(*p));
    int rc = uv_poll_init(&l->uv, &p->uv, fd);
    if (rc < 0) {
        mem_free(p);
        return err_set(err, ERR_IO, "cannot watch a descriptor: %s", uv_strerror(rc));
    }
    p->uv.data = p;
    p->fn = fn;
    p->argument = argument;
    *out = p;
    return 0;
}

void loop_poll_set(struct loop_poll *p, int events)
{
    if (p->events == events)
        return;
    p->events = events;
    int uv_events =
        (events & POLL_READ ? UV_READABLE : 0) | (events & POLL_WRITE ? UV_WRITABLE : 0);
    int rc = uv_poll_start(&p->uv, uv_events, on_poll);
    ASSERT(rc == 0);
}

int loop_poll_events(const struct loop_poll *p)
{
    return p->events;
}

void loop_poll_free(struct loop_poll *p)
{
    if (p)
        uv_close((uv_handle_t *)&p->uv, free_handle);
}
