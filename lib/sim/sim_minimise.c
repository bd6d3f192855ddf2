/*
 * A smaller run that still fails: delta debugging (Zeller and Hildebrandt, 2002) over the faults,
 * then traits and clients one by one. Each part of the simulator draws from a generator of its own,
 * so most of a run stays as it was when something is left out.
 */
#include <string.h>

#include "lib/base/check.h"
#include "lib/sim/sim_internal.h"

struct search {
    struct sim_setup *best;
    struct sim_result *result;
    bool (*run)(void *, const struct sim_setup *, struct sim_result *);
    void *argument;
    uint32_t runs;
    bool over;
};

/* Whether this smaller run fails too; then it is the best. */
static bool try(struct search *f, const struct sim_setup *smaller)
{
    static struct sim_result result;
    if (f->over)
        return false;
    f->runs++;
    if (!f->run(f->argument, smaller, &result)) {
        f->over = true;
        return false;
    }
    if (!result.violated)
        return false;
    *f->best = *smaller;
    *f->result = result;
    return true;
}

/* What comes after the failure has no part in it; but a lack of progress shows only at the end. */
static bool cut_time(struct search *f)
{
    struct sim_setup s = *f->best;
    uint64_t until_us = (f->result->virtual_us / 1000 + 1) * 1000;
    if (s.until_us == until_us)
        return false;
    s.until_us = until_us;
    return try(f, &s);
}

static uint32_t kept(uint64_t faults, uint32_t *list)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < SIM_FAULTS_MAX; i++)
        if (faults >> i & 1)
            list[count++] = i;
    return count;
}

/* Without `chunk` of them from the one at `from` on. */
static bool without_faults(struct search *f, uint32_t from, uint32_t chunk)
{
    uint32_t list[SIM_FAULTS_MAX], count = kept(f->best->faults_kept, list);
    struct sim_setup s = *f->best;
    for (uint32_t i = from; i < from + chunk && i < count; i++)
        s.faults_kept &= ~((uint64_t)1 << list[i]);
    return try(f, &s);
}

static void fewer_faults(struct search *f)
{
    uint32_t list[SIM_FAULTS_MAX], chunk = kept(f->best->faults_kept, list);
    while (chunk > 0) {
        uint32_t from = 0;
        while (from < kept(f->best->faults_kept, list))
            if (!without_faults(f, from, chunk))
                from += chunk;
        chunk = chunk > 1 ? (chunk + 1) / 2 : 0;
    }
}

static void fewer_traits(struct search *f)
{
    struct sim_plan p;
    sim_plan_make(&p, f->best);
    for (uint32_t i = 0; i < SIM_TRAITS; i++) {
        struct sim_setup s = *f->best;
        s.without |= (uint64_t)1 << i;
        if (p.traits >> i & 1)
            try(f, &s);
    }
}

static void fewer_clients(struct search *f)
{
    struct sim_plan p;
    sim_plan_make(&p, f->best);
    for (uint32_t clients = 1; clients < p.clients; clients *= 2) {
        struct sim_setup s = *f->best;
        s.clients = clients;
        if (try(f, &s))
            return;
    }
}

uint32_t sim_minimise(struct sim_setup *setup, struct sim_result *result,
                      bool (*run)(void *argument, const struct sim_setup *, struct sim_result *),
                      void *argument)
{
    struct search f = {.best = setup, .result = result, .run = run, .argument = argument};
    uint32_t count = sim_fault_count(setup);
    if (!setup->fewer_faults) {
        setup->fewer_faults = true;
        setup->faults_kept = count == SIM_FAULTS_MAX ? UINT64_MAX : ((uint64_t)1 << count) - 1;
    }
    ASSERT(result->violated);
    cut_time(&f);
    fewer_faults(&f);
    fewer_clients(&f);
    fewer_traits(&f);
    fewer_faults(&f);
    cut_time(&f);
    return f.runs;
}
