/* The loop: timers that are never early, wake-ups from threads, hooks in order, signals. */
#include "lib/net/loop.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/net/private.h"
#include "tests/unit/tap.h"

enum { TIMERS = 50, WAKERS = 4, SENDS = 2000 };

struct fixture {
    struct loop *loop;
    struct loop_timer *timers[TIMERS];
    uint64_t due_us[TIMERS];
    unsigned fired, early, turns, expected_order;
    bool order_kept;
    unsigned turns_at_fire;
};

static struct fixture f;

static void begin(void)
{
    f = (struct fixture){.order_kept = true};
    must(loop_new(&f.loop, NULL) == 0);
}

static void stop(void *argument)
{
    (void)argument;
    loop_stop(f.loop);
}

/* ---- timers ---- */

static void on_fire(void *argument)
{
    uint64_t *due_us = argument;
    if (clock_now_us() < *due_us)
        f.early++;
    if (loop_now_us(f.loop) < *due_us)
        f.early++;
    if (++f.fired == TIMERS)
        loop_stop(f.loop);
}

static void test_timers(void)
{
    begin();
    uint64_t now_us = clock_now_us();
    for (unsigned i = 0; i < TIMERS; i++) {
        f.due_us[i] = now_us + 777 * ((i * 37) % TIMERS);
        f.timers[i] = loop_timer_new(f.loop, on_fire, &f.due_us[i]);
        loop_timer_at(f.timers[i], now_us + 3000000);
        loop_timer_at(f.timers[i], UINT64_MAX);
        loop_timer_at(f.timers[i], f.due_us[i]);
    }
    loop_run(f.loop);
    uint64_t took_us = clock_now_us() - now_us;
    is_u64(f.fired, TIMERS, "each fired once");
    is_u64(f.early, 0, "none was early");
    ok(took_us < 3000000, "replacing a later time by an earlier one works (%llu us)",
       (unsigned long long)took_us);
    for (unsigned i = 0; i < TIMERS; i++)
        loop_timer_free(f.timers[i]);
    loop_free(f.loop);
}

static void on_never(void *argument)
{
    (void)argument;
    f.fired++;
}

static void test_timer_off(void)
{
    begin();
    uint64_t now_us = clock_now_us();
    struct loop_timer *off = loop_timer_new(f.loop, on_never, NULL);
    struct loop_timer *end = loop_timer_new(f.loop, stop, NULL);
    loop_timer_at(off, now_us + 1000);
    loop_timer_at(off, UINT64_MAX);
    loop_timer_at(end, now_us + 20000);
    loop_run(f.loop);
    is_u64(f.fired, 0, "a timer put off does not fire");
    loop_timer_at(off, now_us + 1000);
    loop_timer_at(off, now_us + UINT64_C(3600) * 1000000);
    loop_timer_at(end, clock_now_us() + 20000);
    loop_run(f.loop);
    is_u64(f.fired, 0, "nor one moved to later");
    loop_timer_at(off, 0);
    loop_timer_at(end, clock_now_us() + 20000);
    is_u64(f.fired, 0, "a time in the past is not handled inside the call");
    loop_run(f.loop);
    is_u64(f.fired, 1, "but soon, and once");
    loop_timer_free(off);
    loop_timer_free(end);
    loop_free(f.loop);
}

/* What a timer causes is handed out before the loop waits again: without that, the wait of this
 * test would last until the second timer. */
static void on_count_turn(void *argument)
{
    (void)argument;
    f.turns++;
    if (f.fired && f.turns_at_fire == 0) {
        f.turns_at_fire = f.turns;
        loop_stop(f.loop);
    }
}

static void test_hook_after_timer(void)
{
    begin();
    loop_every_turn(f.loop, on_count_turn, NULL);
    struct loop_timer *first = loop_timer_new(f.loop, on_never, NULL);
    struct loop_timer *late = loop_timer_new(f.loop, stop, NULL);
    uint64_t now_us = clock_now_us();
    loop_timer_at(first, now_us + 5000);
    loop_timer_at(late, now_us + 5000000);
    loop_run(f.loop);
    ok(f.turns_at_fire > 0 && clock_now_us() - now_us < 4000000,
       "the hook of the turn ran at once after the timer");
    loop_timer_free(first);
    loop_timer_free(late);
    loop_free(f.loop);
}

/* ---- hooks ---- */

static void on_stage(void *argument)
{
    unsigned stage = *(unsigned *)argument;
    if (stage != f.expected_order)
        f.order_kept = false;
    f.expected_order = (f.expected_order + 1) % 3;
    if (stage == 2 && ++f.turns < 5)
        loop_again(f.loop);
    else if (stage == 2)
        loop_stop(f.loop);
}

static void test_hook_order(void)
{
    begin();
    static unsigned stages[] = {0, 1, 2};
    loop_hook_add(f.loop, LOOP_LAST, on_stage, &stages[2]);
    loop_hook_add(f.loop, LOOP_FIRST, on_stage, &stages[0]);
    loop_every_turn(f.loop, on_stage, &stages[1]);
    loop_hook_add(f.loop, LOOP_FIRST, on_never, NULL);
    loop_hook_remove(f.loop, LOOP_FIRST, on_never, NULL);
    loop_again(f.loop);
    loop_run(f.loop);
    ok(f.order_kept, "first, turn, last");
    is_u64(f.turns, 5, "five turns without waiting for anything");
    is_u64(f.fired, 0, "a removed hook does not run");
    loop_free(f.loop);
}

/* ---- wake-ups ---- */

struct wakers {
    struct loop_wake *wake;
    _Atomic unsigned sent;
    unsigned seen, calls;
};

static void on_wake(void *argument)
{
    struct wakers *w = argument;
    w->calls++;
    w->seen = w->sent;
    if (w->seen == WAKERS * SENDS)
        loop_stop(f.loop);
}

static void *waker(void *argument)
{
    struct wakers *w = argument;
    for (int i = 0; i < SENDS; i++) {
        w->sent++;
        loop_wake_send(w->wake);
    }
    return NULL;
}

static void test_wake(void)
{
    begin();
    struct wakers w = {.wake = NULL};
    pthread_t threads[WAKERS];
    w.wake = loop_wake_new(f.loop, on_wake, &w);
    for (int i = 0; i < WAKERS; i++)
        must(pthread_create(&threads[i], NULL, waker, &w) == 0);
    loop_run(f.loop);
    for (int i = 0; i < WAKERS; i++)
        pthread_join(threads[i], NULL);
    is_u64(w.seen, WAKERS * SENDS, "no wake-up is lost");
    ok(w.calls <= WAKERS * SENDS, "several sends may be one call (%u)", w.calls);
    loop_wake_free(w.wake);
    loop_free(f.loop);
}

/* ---- signals, descriptors ---- */

static void on_signal(void *argument, int signum)
{
    *(int *)argument = signum;
    loop_stop(f.loop);
}

static void test_signal(void)
{
    begin();
    int seen = 0;
    must(loop_on_signal(f.loop, SIGTERM, on_signal, &seen, NULL) == 0);
    must(loop_on_signal(f.loop, SIGINT, on_signal, &seen, NULL) == 0);
    raise(SIGTERM);
    loop_run(f.loop);
    is_i64(seen, SIGTERM, "SIGTERM arrives");
    raise(SIGINT);
    loop_run(f.loop);
    is_i64(seen, SIGINT, "SIGINT, too");
    struct err err = {.code = 0};
    is_i64(loop_on_signal(f.loop, SIGKILL, on_signal, &seen, &err), ERR_IO,
           "SIGKILL cannot be had");
    loop_free(f.loop);
}

static void on_poll(void *argument, int events)
{
    *(int *)argument |= events;
    loop_stop(f.loop);
}

static void test_poll(void)
{
    begin();
    int fds[2], seen = 0;
    must(pipe(fds) == 0);
    struct loop_poll *p, *second;
    must(loop_poll_new(f.loop, fds[0], on_poll, &seen, &p, NULL) == 0);
    is_i64(loop_poll_new(f.loop, -1, on_poll, &seen, &second, NULL), ERR_IO, "no descriptor");
    loop_poll_set(p, POLL_READ);
    loop_poll_set(p, POLL_READ);
    must(write(fds[1], "x", 1) == 1);
    loop_run(f.loop);
    is_i64(seen, POLL_READ, "readable");
    loop_poll_set(p, 0);
    is_i64(loop_poll_events(p), 0, "watched no more");
    seen = 0;
    struct loop_timer *end = loop_timer_new(f.loop, stop, NULL);
    loop_timer_at(end, clock_now_us() + 10000);
    loop_run(f.loop);
    is_i64(seen, 0, "nothing reported");
    loop_timer_free(end);
    loop_poll_free(p);
    close(fds[0]);
    close(fds[1]);
    loop_free(f.loop);
}

int main(void)
{
    test_timers();
    test_timer_off();
    test_hook_after_timer();
    test_hook_order();
    test_wake();
    test_signal();
    test_poll();
    return done();
}
