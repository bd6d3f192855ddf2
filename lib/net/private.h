/*
 * What the parts of lib/net use of the loop beyond loop.h: file descriptors, hooks in order, and a
 * turn that does not wait. libuv itself stays in loop.c.
 */
#ifndef RAFTKV_NET_PRIVATE_H
#define RAFTKV_NET_PRIVATE_H

#include <stdbool.h>

#include "lib/net/loop.h"

enum { POLL_READ = 1, POLL_WRITE = 2, POLL_ERROR = 4 };

/*
 * Watches a descriptor, level-triggered. To be freed before the descriptor is closed. POLL_ERROR
 * may be reported unasked; the callback then looks for itself. Setting what is already set costs
 * nothing; a change costs two epoll_ctl.
 */
struct loop_poll;
int loop_poll_new(struct loop *l, int fd, void (*fn)(void *, int), void *argument,
                  struct loop_poll **out, struct err *err);
void loop_poll_set(struct loop_poll *p, int events); /* 0: none */
int loop_poll_events(const struct loop_poll *p);
void loop_poll_free(struct loop_poll *p);

/*
 * A turn ends in three stages: results are brought in (FIRST), what they caused is handed out
 * (TURN: loop_every_turn), what that left behind goes to the sockets (LAST).
 */
enum loop_stage { LOOP_FIRST, LOOP_TURN, LOOP_LAST, LOOP_STAGES };
void loop_hook_add(struct loop *l, enum loop_stage stage, void (*fn)(void *), void *argument);
void loop_hook_remove(struct loop *l, enum loop_stage stage, void (*fn)(void *), void *argument);

/* The next wait returns at once: something is left that no descriptor tells of. */
void loop_again(struct loop *l);

#endif
