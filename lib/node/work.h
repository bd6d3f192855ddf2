/*
 * Work between the loop and its threads: a worker takes everything that has queued up meanwhile at
 * once (that is what makes group commit), and what is finished comes back through a queue of the
 * loop's, in the order in which it was finished.
 *
 *   loop     worker_post … worker_flush -> queue of the worker
 *   worker   batch(), done_post            -> queue of the loop
 *   loop     work->done()
 *
 * Nothing here bounds the queues: everything in them was admitted against a limit before (carry).
 */
#ifndef RAFTKV_NODE_WORK_H
#define RAFTKV_NODE_WORK_H

#include <stdbool.h>
#include <sys/queue.h>

#include "lib/base/err.h"
#include "lib/net/loop.h"

struct work {
    STAILQ_ENTRY(work) link;
    int kind;                    /* the worker's own */
    void (*done)(struct work *); /* on the loop's thread; the work is the owner's again */
};
STAILQ_HEAD(work_list, work);

struct done_queue;
int done_queue_new(struct loop *l, struct done_queue **out, struct err *err);
void done_queue_free(struct done_queue *q); /* what is in it is run */
/* Any thread: hands over the whole list, which is empty afterwards. */
void done_post(struct done_queue *q, struct work_list *finished);
void done_post_one(struct done_queue *q, struct work *w);
void done_run(struct done_queue *q); /* loop thread: runs what is there */

struct worker;
struct worker_options {
    const char *name; /* of the thread */
    /* Worker's thread: does all of `list` (may be empty after it asked for more) and posts each
     * work to the done queue. True: call again even if nothing comes. */
    bool (*batch)(void *self, struct work_list *list);
    void *self;
};
int worker_start(const struct worker_options *options, struct worker **out, struct err *err);
void worker_post(struct worker *w,
                 struct work *work); /* loop thread; seen by the worker at worker_flush */
void worker_flush(struct worker *w); /* loop thread, once a turn */
void worker_stop(struct worker *w);  /* flushes, lets it finish what is queued, joins, frees */

#endif
