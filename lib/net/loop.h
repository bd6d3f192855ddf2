/*
 * The event loop of one thread: timers, wake-ups from other threads, signals, and two hooks a turn.
 * A cover over libuv.
 */
#ifndef RAFTKV_NET_LOOP_H
#define RAFTKV_NET_LOOP_H

#include <stdint.h>

#include "lib/base/err.h"

struct loop;
struct loop_timer;
struct loop_wake;

int loop_new(struct loop **out, struct err *err);
void loop_free(struct loop *l); /* everything made on it has been freed */
void loop_run(struct loop *l);  /* until loop_stop */
void loop_stop(struct loop *l);

/* Time as read at the beginning of this turn and after each wait (CLOCK_BOOTTIME, µs): cheap. Where
 * a decision needs it exact, call clock_now_us. */
uint64_t loop_now_us(const struct loop *l);

struct loop_timer *loop_timer_new(struct loop *l, void (*fn)(void *), void *argument);
void loop_timer_at(struct loop_timer *t,
                   uint64_t when_us); /* once, CLOCK_BOOTTIME; UINT64_MAX: off; replaces; 1 ms
                                         granular, never early */
void loop_timer_free(struct loop_timer *t);

/* Any thread may send; the function runs on the loop's thread, once for any number of sends before
 * it. */
struct loop_wake *loop_wake_new(struct loop *l, void (*fn)(void *), void *argument);
void loop_wake_send(struct loop_wake *w);
void loop_wake_free(struct loop_wake *w);

/* Runs at the end of every turn, after all events of it were handled: the place for handing out
 * what they caused. May be set up to four times. */
void loop_every_turn(struct loop *l, void (*fn)(void *), void *argument);

/* SIGTERM and SIGINT. */
int loop_on_signal(struct loop *l, int signum, void (*fn)(void *, int), void *argument,
                   struct err *err);

#endif
