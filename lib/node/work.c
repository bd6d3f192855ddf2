#include "lib/node/work.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>

#include "lib/base/mem.h"

/* ---- what comes back ---- */

struct done_queue {
    pthread_mutex_t mutex;
    struct work_list list;
    struct loop_wake *wake;
};

void done_run(struct done_queue *q)
{
    struct work_list list = STAILQ_HEAD_INITIALIZER(list);
    struct work *w;

    pthread_mutex_lock(&q->mutex);
    STAILQ_CONCAT(&list, &q->list);
    pthread_mutex_unlock(&q->mutex);
    while ((w = STAILQ_FIRST(&list)) != NULL) {
        STAILQ_REMOVE_HEAD(&list, link);
        w->done(w);
    }
}

static void done_woken(void *argument)
{
    done_run(argument);
}

int done_queue_new(struct loop *l, struct done_queue **out, struct err *err)
{
    struct done_queue *q = mem_zalloc(sizeof *q);

    pthread_mutex_init(&q->mutex, NULL);
    STAILQ_INIT(&q->list);
    q->wake = loop_wake_new(l, done_woken, q);
    if (!q->wake) {
        mem_free(q);
        return err_set(err, ERR_INTERNAL, "no wake-up for the loop could be made");
    }
    *out = q;
    return 0;
}

void done_queue_free(struct done_queue *q)
{
    if (!q) {
        return;
    }
    done_run(q);
    loop_wake_free(q->wake);
    pthread_mutex_destroy(&q->mutex);
    mem_free(q);
}

void done_post(struct done_queue *q, struct work_list *finished)
{
    bool was_empty;

    if (STAILQ_EMPTY(finished)) {
        return;
    }
    pthread_mutex_lock(&q->mutex);
    was_empty = STAILQ_EMPTY(&q->list);
    STAILQ_CONCAT(&q->list, finished);
    pthread_mutex_unlock(&q->mutex);
    if (was_empty) {
        loop_wake_send(q->wake);
    }
}

void done_post_one(struct done_queue *q, struct work *w)
{
    struct work_list one = STAILQ_HEAD_INITIALIZER(one);

    STAILQ_INSERT_TAIL(&one, w, link);
    done_post(q, &one);
}

/* ---- a worker ---- */

struct worker {
    struct worker_options options;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t more;
    struct work_list queue;
    bool stopping;
    struct work_list posted; /* the loop's: not handed over yet */
};

static void *worker_main(void *argument)
{
    struct worker *w = argument;
    bool again = false;

    for (;;) {
        struct work_list list = STAILQ_HEAD_INITIALIZER(list);
        bool stop;

        pthread_mutex_lock(&w->mutex);
        while (STAILQ_EMPTY(&w->queue) && !w->stopping && !again) {
            pthread_cond_wait(&w->more, &w->mutex);
        }
        STAILQ_CONCAT(&list, &w->queue);
        stop = w->stopping;
        pthread_mutex_unlock(&w->mutex);
        if (STAILQ_EMPTY(&list) && stop) {
            return NULL;
        }
        again = w->options.batch(w->options.self, &list);
    }
}

int worker_start(const struct worker_options *options, struct worker **out, struct err *err)
{
    struct worker *w = mem_zalloc(sizeof *w);
    sigset_t all, before;
    int failed;

    w->options = *options;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->more, NULL);
    STAILQ_INIT(&w->queue);
    STAILQ_INIT(&w->posted);
    sigfillset(&all); /* signals are the loop's business */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&w->thread, NULL, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        mem_free(w);
        return err_errno(err, ERR_INTERNAL, failed, "thread %s could not be started",
                         options->name);
    }
    pthread_setname_np(w->thread, options->name);
    *out = w;
    return 0;
}

void worker_post(struct worker *w, struct work *work)
{
    STAILQ_INSERT_TAIL(&w->posted, work, link);
}

void worker_flush(struct worker *w)
{
    if (STAILQ_EMPTY(&w->posted)) {
        return;
    }
    pthread_mutex_lock(&w->mutex);
    STAILQ_CONCAT(&w->queue, &w->posted);
    pthread_mutex_unlock(&w->mutex);
    pthread_cond_signal(&w->more);
}

void worker_stop(struct worker *w)
{
    if (!w) {
        return;
    }
    worker_flush(w);
    pthread_mutex_lock(&w->mutex);
    w->stopping = true;
    pthread_mutex_unlock(&w->mutex);
    pthread_cond_signal(&w->more);
    pthread_join(w->thread, NULL);
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->more);
    mem_free(w);
}
