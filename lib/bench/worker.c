/*
 * A thread of the load: it begins what is due, as long as there are clients for it, and counts what
 * ends.
 */
#include <string.h>
#include <sys/resource.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/bench/bench_internal.h"

enum {
    PAUSE_US = 10000,  /* of a client whose operation failed */
    LOOK_US = 100000,  /* so often an interruption is looked for */
    BEGIN_AT_ONCE = 64 /* requests begun before replies are looked for */
};

static const uint64_t WEYL = UINT64_C(0x9e3779b97f4a7c15);

/* ---- counting ---- */

static uint64_t own_cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_THREAD, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static bool is_measured(const struct phase *p, uint64_t begun_us)
{
    return begun_us >= p->from_us && begun_us < p->to_us;
}

static void count(struct worker *w, uint64_t begun_us, const struct figures_end *end)
{
    bool measured = is_measured(w->phase, begun_us);
    pthread_mutex_lock(&w->lock);
    figures_second_add(&w->second, end);
    if (measured)
        figures_add(&w->figures, end);
    pthread_mutex_unlock(&w->lock);
    if (!measured && end->begun && end->code == 0)
        w->excluded++;
}

static void rest(struct worker *w, struct bench_client *c, uint64_t until_us)
{
    c->paused_until_us = until_us;
    c->next_paused = NULL;
    *w->paused_end = c;
    w->paused_end = &c->next_paused;
}

void worker_ended(struct worker *w, struct bench_client *c, struct figures_end *end, bool pause)
{
    end->late = c->begun_us + end->latency_us >= w->phase->to_us;
    count(w, c->begun_us, end);
    if (pause)
        rest(w, c, clock_now_us() + PAUSE_US);
    else
        w->idle[w->idle_count++] = c;
}

static void wake_rested(struct worker *w, uint64_t now_us)
{
    while (w->paused && w->paused->paused_until_us <= now_us) {
        w->idle[w->idle_count++] = w->paused;
        w->paused = w->paused->next_paused;
    }
    if (!w->paused)
        w->paused_end = &w->paused;
}

/* ---- beginning ---- */

/* One more operation, if there are any left of a given number. */
static bool take_one(struct phase *p)
{
    return p->count == 0 || atomic_fetch_add(&p->begun, 1) < p->count;
}

static void next_arrival(struct worker *w)
{
    struct phase *p = w->phase;
    uint64_t due_us = p->began_us + arrivals_next(&w->arrivals);
    w->due_us = due_us < p->to_us && take_one(p) ? due_us : UINT64_MAX;
    if (w->due_us != UINT64_MAX && w->due_us >= p->from_us)
        w->due++;
}

static bool begin_due(struct worker *w, uint64_t now_us)
{
    if (w->due_us > now_us)
        return false;
    uint64_t due_us = w->due_us;
    if (is_measured(w->phase, due_us) && now_us < w->phase->to_us)
        w->begun++;
    next_arrival(w);
    bench_client_begin(w->idle[--w->idle_count], due_us);
    return true;
}

/* Closed loop: `due_us` UINT64_MAX says that it is over. */
static bool begin_free(struct worker *w, uint64_t now_us)
{
    if (w->due_us == UINT64_MAX)
        return false;
    if (now_us >= w->phase->to_us || !take_one(w->phase)) {
        w->due_us = UINT64_MAX;
        return false;
    }
    bench_client_begin(w->idle[--w->idle_count], now_us);
    return true;
}

static void begin_all(struct worker *w)
{
    bool open = w->phase->rate > 0;
    for (unsigned i = 0; i < BEGIN_AT_ONCE && w->idle_count > 0; i++) {
        uint64_t now_us = clock_now_us();
        if (!(open ? begin_due(w, now_us) : begin_free(w, now_us)))
            return;
    }
}

/* What was due and found no client until so long after the end. */
static void count_not_begun(struct worker *w)
{
    for (; w->due_us != UINT64_MAX; next_arrival(w)) {
        bool insert;
        struct figures_end end = {.op = bench_workload_draw(w->phase->workload, &w->prng, &insert),
                                  .begun = false};
        count(w, w->due_us, &end);
    }
}

/* ---- the thread ---- */

static uint64_t wait_until(const struct worker *w, uint64_t now_us)
{
    uint64_t until_us = now_us + LOOK_US;
    if (w->idle_count > 0 && w->due_us != UINT64_MAX) {
        if (w->phase->rate <= 0)
            return 0;
        until_us = w->due_us < until_us ? w->due_us : until_us;
    }
    if (w->paused && w->paused->paused_until_us < until_us)
        until_us = w->paused->paused_until_us;
    return until_us;
}

static void note_cpu(struct worker *w, uint64_t now_us)
{
    if (w->wall_from_us == 0 && now_us >= w->phase->from_us) {
        w->wall_from_us = now_us;
        w->cpu_from_us = own_cpu_us();
    }
    if (w->wall_to_us == 0 && w->wall_from_us != 0 &&
        (now_us >= w->phase->to_us || w->due_us == UINT64_MAX)) {
        w->wall_to_us = now_us;
        w->cpu_to_us = own_cpu_us();
    }
}

/* Clients of a closed loop come one after the other over the ramp. */
static void put_to_work(struct worker *w)
{
    const struct phase *p = w->phase;
    uint64_t all = p->options->clients;
    for (unsigned i = 0; i < w->client_count; i++) {
        struct bench_client *c = &w->clients[i];
        if (p->rate > 0 || p->ramp_us == 0)
            w->idle[w->idle_count++] = c;
        else
            rest(w, c, p->began_us + p->ramp_us * c->number / all);
    }
}

static void run_load(struct worker *w)
{
    struct phase *p = w->phase;
    uint64_t drained_us =
        p->to_us == UINT64_MAX ? UINT64_MAX : p->to_us + (uint64_t)p->options->timeout_ms * 1000;
    put_to_work(w);
    w->due_us = 0;
    if (p->rate > 0)
        next_arrival(w);
    for (;;) {
        uint64_t now_us = clock_now_us();
        note_cpu(w, now_us);
        if (atomic_load_explicit(&p->stop, memory_order_relaxed))
            break;
        if (p->rate > 0 && now_us >= drained_us)
            count_not_begun(w);
        wake_rested(w, now_us);
        begin_all(w);
        if (w->due_us == UINT64_MAX && channel_pending(w->channel) == 0)
            break;
        channel_turn(w->channel, wait_until(w, clock_now_us()));
    }
}

static void give_up(struct worker *w)
{
    bool *busy = mem_calloc(w->client_count, sizeof(*busy));
    memset(busy, true, w->client_count);
    for (unsigned i = 0; i < w->idle_count; i++)
        busy[w->idle[i] - w->clients] = false;
    for (struct bench_client *c = w->paused; c; c = c->next_paused)
        busy[c - w->clients] = false;
    for (unsigned i = 0; i < w->client_count; i++)
        if (busy[i])
            bench_client_give_up(&w->clients[i]);
    mem_free(busy);
}

static void *run_worker(void *argument)
{
    struct worker *w = argument;
    struct phase *p = w->phase;
    run_load(w);
    give_up(w);
    uint64_t now_us = clock_now_us(), last_us = atomic_load(&p->last_us);
    while (last_us < now_us && !atomic_compare_exchange_weak(&p->last_us, &last_us, now_us))
        continue;
    atomic_fetch_sub(&p->threads_running, 1);
    return NULL;
}

/* ---- all threads ---- */

/* The part of `all` that thread `number` of `threads` gets. */
static unsigned share(unsigned all, unsigned number, unsigned threads)
{
    return all / threads + (number < all % threads);
}

static int worker_start(struct worker *w, struct phase *p, unsigned number, uint32_t *client,
                        struct err *err)
{
    const struct bench_options *o = p->options;
    unsigned connections = share(o->connections, number, o->threads);
    struct channel_options options = {.connections = connections ? connections : 1,
                                      .timeout_ms = o->timeout_ms,
                                      .cluster = p->targets->cluster,
                                      .done = bench_client_reply};
    w->phase = p;
    w->number = number;
    w->paused_end = &w->paused;
    pthread_mutex_init(&w->lock, NULL);
    prng_seed(&w->prng, o->seed + number * WEYL);
    keys_chooser_init(&w->chooser, p->keys, p->order);
    if (p->rate > 0)
        arrivals_init(&w->arrivals, o->arrivals, p->rate, p->ramp_us, number, o->threads,
                      o->seed ^ (number + 1) * WEYL);
    int code = channel_new(&options, &w->channel, err);
    if (code != 0)
        return code;
    w->client_count = share(o->clients, number, o->threads);
    w->clients = mem_calloc(w->client_count, sizeof(w->clients[0]));
    w->idle = mem_calloc(w->client_count, sizeof(w->idle[0]));
    for (unsigned i = 0; i < w->client_count; i++)
        bench_client_init(&w->clients[i], w, (*client)++);
    return 0;
}

static void worker_release(struct worker *w)
{
    for (unsigned i = 0; i < w->client_count; i++)
        bench_client_release(&w->clients[i]);
    channel_free(w->channel);
    mem_free(w->clients);
    mem_free(w->idle);
    pthread_mutex_destroy(&w->lock);
}

int phase_start(struct phase *p, struct err *err)
{
    unsigned threads = p->options->threads, made = 0;
    uint32_t client = 0;
    int code = 0;
    p->workers = mem_calloc(threads, sizeof(p->workers[0]));
    for (; code == 0 && made < threads; made++)
        code = worker_start(&p->workers[made], p, made, &client, err);
    for (unsigned i = 0; code == 0 && i < threads; i++) {
        int rc = pthread_create(&p->workers[i].thread, NULL, run_worker, &p->workers[i]);
        if (rc == 0) {
            atomic_fetch_add(&p->threads_running, 1);
            continue;
        }
        code = err_errno(err, ERR_IO, rc, "cannot start a thread");
        atomic_store(&p->stop, true);
        for (unsigned j = 0; j < i; j++)
            pthread_join(p->workers[j].thread, NULL);
    }
    if (code != 0) {
        for (unsigned i = 0; i < made; i++)
            worker_release(&p->workers[i]);
        mem_free(p->workers);
        p->workers = NULL;
    }
    return code;
}

void phase_collect(struct phase *p, struct figures_second *second)
{
    for (unsigned i = 0; i < p->options->threads; i++) {
        struct worker *w = &p->workers[i];
        pthread_mutex_lock(&w->lock);
        figures_second_merge(second, &w->second);
        memset(&w->second, 0, sizeof(w->second));
        pthread_mutex_unlock(&w->lock);
    }
}

void phase_end(struct phase *p, struct phase_sum *sum)
{
    memset(sum, 0, sizeof(*sum));
    for (unsigned i = 0; i < p->options->threads; i++) {
        struct worker *w = &p->workers[i];
        pthread_join(w->thread, NULL);
        figures_merge(&sum->figures, &w->figures);
        sum->excluded += w->excluded;
        sum->due += w->due;
        sum->begun += w->begun;
        uint64_t wall_us = w->wall_to_us - w->wall_from_us;
        double cpu = wall_us > 0 ? (double)(w->cpu_to_us - w->cpu_from_us) / (double)wall_us : 0;
        if (w->wall_to_us > 0 && cpu > sum->busiest)
            sum->busiest = cpu;
        worker_release(w);
    }
    mem_free(p->workers);
    p->workers = NULL;
}
