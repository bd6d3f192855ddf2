/*
 * What a seed draws: sizes, speeds, chances, and the faults with their times. Swarm testing (Groce
 * and others, 2012): each run leaves out some kinds of faults and some of what goes on all the
 * time, since much of what is wrong shows only where something else is absent.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/sim/sim_internal.h"

static const char *const fault_words[] = {
#define WORD_(id, word, sentence) word,
    SIM_FAULT_TABLE(WORD_)
#undef WORD_
};

static const char *const fault_sentences[] = {
#define SENTENCE_(id, word, sentence) sentence,
    SIM_FAULT_TABLE(SENTENCE_)
#undef SENTENCE_
};

static const char *const trait_words[] = {
#define WORD_(id, word, sentence) word,
    SIM_TRAIT_TABLE(WORD_)
#undef WORD_
};

static const char *const trait_sentences[] = {
#define SENTENCE_(id, word, sentence) sentence,
    SIM_TRAIT_TABLE(SENTENCE_)
#undef SENTENCE_
};

const char *sim_fault_word(enum sim_fault_kind kind)
{
    ASSERT(kind < SIM_FAULT_KINDS);
    return fault_words[kind];
}

const char *sim_trait_word(enum sim_trait trait)
{
    ASSERT(trait < SIM_TRAITS);
    return trait_words[trait];
}

/* One of several, each as likely. */
#define ONE_OF(p, ...)                                                                             \
    one_of(p, (const uint64_t[]){__VA_ARGS__},                                                     \
           sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static uint64_t one_of(struct prng *p, const uint64_t *values, size_t count)
{
    return values[prng_below(p, count)];
}

static void draw_core(struct sim_plan *p, struct prng *g)
{
    p->election_us = ONE_OF(g, 150000, 300000, 500000);
    p->heartbeat_us = p->election_us / ONE_OF(g, 4, 6, 10);
    p->inflight = (uint32_t)ONE_OF(g, 1, 2, 8, 64);
    p->append_entries = (uint32_t)ONE_OF(g, 1, 3, 20, 1000);
    p->uncommitted = (uint32_t)ONE_OF(g, 20, 1000, 65536);
    p->append_bytes = ONE_OF(g, 200, 1000, 1 << 20);
    p->wire_inflight = (uint32_t)ONE_OF(g, 1, 3, 8);
    p->cache_bytes = ONE_OF(g, 0, 1000, 1 << 20);
    p->apply_ahead_bytes = ONE_OF(g, 1, 2000, 1 << 20);
    p->pending_writes = (uint32_t)ONE_OF(g, 3, 1000);
    p->pending_reads = (uint32_t)ONE_OF(g, 3, 1000);
    p->sending_bytes = ONE_OF(g, 3000, 1 << 20);
    p->trailing = ONE_OF(g, 0, 0, 10, 100);
}

static void draw_speeds(struct sim_plan *p, struct prng *g)
{
    p->link_min_us = ONE_OF(g, 50, 500, 5000);
    p->link_range_us = ONE_OF(g, 100, 1000, 20000);
    p->link_slow = (uint32_t)ONE_OF(g, 2, 20, 100);
    p->link_slow_us = ONE_OF(g, 50000, 400000, 1500000);
    p->loss = (uint32_t)ONE_OF(g, 1, 10, 50);
    p->duplicate = (uint32_t)ONE_OF(g, 1, 10, 100);
    p->disk_min_us = ONE_OF(g, 50, 500, 5000);
    p->disk_range_us = ONE_OF(g, 100, 2000, 20000);
    p->disk_slow = (uint32_t)ONE_OF(g, 2, 20);
    p->disk_slow_us = ONE_OF(g, 50000, 500000);
    p->state_range_us = ONE_OF(g, 20, 500, 20000);
    p->turn_range_us = ONE_OF(g, 0, 100, 2000);
    /* Logs are cut every 10 to 100 entries or so in many runs: most of what goes wrong with
     * snapshots needs many of them. */
    p->flush_us = ONE_OF(g, 30000, 200000, 1000000);
    p->memtable_rows = (uint32_t)ONE_OF(g, 1, 8, 1000);
    p->index_stride = (uint32_t)ONE_OF(g, 16, 64, 256);
    p->drift_ppm = (uint32_t)ONE_OF(g, 100, 4000);
}

static void draw_clients(struct sim_plan *p, struct prng *g)
{
    p->clients = 1 + (uint32_t)prng_below(g, 10);
    p->keys = 1 + (uint32_t)prng_below(g, SIM_KEYS_MAX);
    p->think_us = ONE_OF(g, 2000, 20000, 100000);
    p->timeout_us = ONE_OF(g, 300000, 1000000, 3000000);
    p->tries = 1 + (uint32_t)prng_below(g, 6);
    p->value_bytes = (uint32_t)ONE_OF(g, 0, 20, 600);
    p->read_share = (uint32_t)ONE_OF(g, 200, 500, 800);
    p->scan_share = (uint32_t)ONE_OF(g, 50, 300);
    p->condition_share = (uint32_t)ONE_OF(g, 100, 500);
    p->session_share = (uint32_t)ONE_OF(g, 500, 900, 1000);
    p->session_ttl_ms = ONE_OF(g, 40000, 3600000);
}

/* Kinds that are drawn at all in this run: each with a half chance, and at least one. */
static void draw_faults(struct sim_plan *p, struct prng *g)
{
    uint32_t kinds[SIM_FAULT_KINDS], kind_count = 0;
    uint64_t mean_us = ONE_OF(g, 300000, 700000, 1500000, 4000000);
    uint64_t at_us = SIM_START_US + 3 * p->election_us;
    uint64_t long_us = ONE_OF(g, 500000, 2000000, 5000000);
    for (uint32_t i = 0; i < SIM_FAULT_KINDS; i++)
        if (prng_chance(g, 1, 2))
            kinds[kind_count++] = i;
    if (kind_count == 0)
        kinds[kind_count++] = (uint32_t)prng_below(g, SIM_FAULT_KINDS);
    while (p->fault_count < SIM_FAULTS_MAX) {
        struct sim_fault *f = &p->faults[p->fault_count];
        at_us += prng_below(g, 2 * mean_us);
        if (at_us >= SIM_START_US + p->chaos_us)
            return;
        f->at_us = at_us;
        f->for_us = 1000 + prng_below(g, prng_chance(g, 1, 4) ? 20000 : long_us);
        f->kind = (enum sim_fault_kind)kinds[prng_below(g, kind_count)];
        f->pick = prng_next(g);
        p->power_fails |= f->kind == SIM_POWER || f->kind == SIM_POWER_ALL;
        p->fault_count++;
    }
}

static void draw_trait(struct sim_plan *p, struct prng *g, const struct sim_setup *setup,
                       uint32_t trait)
{
    bool on = trait == SIM_WITH_CODEC ? prng_chance(g, 1, 32) : prng_chance(g, 3, 4);
    if (on && !(setup->without >> trait & 1))
        p->traits |= 1u << trait;
}

void sim_plan_make(struct sim_plan *p, const struct sim_setup *setup)
{
    struct prng g;
    memset(p, 0, sizeof(*p));
    prng_seed(&g, setup->seed);
    p->voters = (uint32_t)ONE_OF(&g, 1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 7);
    if (setup->voters > 0)
        p->voters = setup->voters;
    p->chaos_us = 1000000 * ONE_OF(&g, 10, 20, 40);
    draw_core(p, &g);
    draw_speeds(p, &g);
    draw_clients(p, &g);
    for (uint32_t i = 0; i < SIM_WITH_BATCHES; i++)
        draw_trait(p, &g, setup, i);
    draw_faults(p, &g);
    draw_trait(p, &g, setup, SIM_WITH_BATCHES); /* last: seeds keep the faults that they had */
    if (setup->clients > 0 && setup->clients < p->clients)
        p->clients = setup->clients;
}

/* ---- for people ---- */

uint32_t sim_fault_count(const struct sim_setup *setup)
{
    struct sim_plan p;
    sim_plan_make(&p, setup);
    return p.fault_count;
}

void sim_fault_text(const struct sim_setup *setup, uint32_t fault, char *out, size_t bytes)
{
    struct sim_plan p;
    sim_plan_make(&p, setup);
    ASSERT(fault < p.fault_count);
    const struct sim_fault *f = &p.faults[fault];
    uint64_t at_ms = (f->at_us - SIM_START_US) / 1000, for_ms = f->for_us / 1000;
    snprintf(out, bytes, "%2u  at %" PRIu64 ".%03" PRIu64 " s, for %" PRIu64 ".%03" PRIu64 " s: %s",
             fault, at_ms / 1000, at_ms % 1000, for_ms / 1000, for_ms % 1000,
             fault_sentences[f->kind]);
}

size_t sim_describe(const struct sim_setup *setup, char *out, size_t bytes)
{
    struct sim_plan p;
    size_t len = 0;
    sim_plan_make(&p, setup);
#define LINE(...)                                                                                  \
    len += (size_t)snprintf(len < bytes ? out + len : NULL, len < bytes ? bytes - len : 0,         \
                            __VA_ARGS__)
    LINE("%u voters, %u clients on %u keys, %" PRIu64 " s of faults, %u of them\n", p.voters,
         p.clients, p.keys, p.chaos_us / 1000000, p.fault_count);
    LINE("election time-out %" PRIu64 " ms, heartbeat %" PRIu64 " ms; links %" PRIu64 " to %" PRIu64
         " us; disks %" PRIu64 " to %" PRIu64 " us\n",
         p.election_us / 1000, p.heartbeat_us / 1000, p.link_min_us,
         p.link_min_us + p.link_range_us, p.disk_min_us, p.disk_min_us + p.disk_range_us);
    LINE("appends of %u entries or %" PRIu64
         " bytes, %u on the wire, %u in the core; flushed every "
         "%" PRIu64 " ms or %u rows, %" PRIu64 " entries kept\n",
         p.append_entries, p.append_bytes, p.wire_inflight, p.inflight, p.flush_us / 1000,
         p.memtable_rows, p.trailing);
    for (uint32_t i = 0; i < SIM_TRAITS; i++)
        if (p.traits >> i & 1)
            LINE("%s%s", trait_sentences[i], p.traits >> i >> 1 ? ", " : "\n");
#undef LINE
    return len;
}
