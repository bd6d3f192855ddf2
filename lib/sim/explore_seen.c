/*
 * Fingerprints of the states seen: 16 bytes a slot: 96 bits of fingerprint and the slot of the
 * state it was first reached from. Threads add at the same time: who puts the first half into a
 * free slot owns it, others wait for its second half. It grows while nobody adds; slots have other
 * numbers then.
 */
#include <string.h>
#include <sys/mman.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/sim/explore_internal.h"

struct seen_slot {
    atomic_uint_fast64_t hi; /* 0: free */
    atomic_uint_fast64_t
        rest; /* 32 bits of the fingerprint, then the parent's slot + 1; 0: not yet */
};

#define NO_PARENT_BITS UINT64_C(0xffffffff)

void seen_init(struct seen *s, uint64_t slots)
{
    memset(s, 0, sizeof(*s));
    ASSERT((slots & (slots - 1)) == 0 && slots < NO_PARENT_BITS);
    s->count = slots;
    s->used_max = slots - slots / 8;
    size_t bytes = slots * sizeof(s->slots[0]);
    s->slots = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT(s->slots != MAP_FAILED);
    (void)madvise(s->slots, bytes, MADV_HUGEPAGE);
}

void seen_release(struct seen *s)
{
    if (s->slots)
        munmap(s->slots, s->count * sizeof(s->slots[0]));
    s->slots = NULL;
}

static uint64_t first_half(struct fingerprint f)
{
    return f.hi != 0 ? f.hi : 1;
}

void seen_prefetch(const struct seen *s, struct fingerprint f)
{
    __builtin_prefetch(&s->slots[first_half(f) & (s->count - 1)], 1);
}

static uint64_t wait_rest(const struct seen_slot *slot)
{
    uint64_t rest;
    do
        rest = atomic_load_explicit(&slot->rest, memory_order_acquire);
    while (rest == 0);
    return rest;
}

/* Of those that come when it is full, one more goes in by each thread, and counts as not added. */
static enum seen_result own_slot(struct seen *s, struct seen_slot *slot, uint64_t rest)
{
    atomic_store_explicit(&slot->rest, rest, memory_order_release);
    if (atomic_fetch_add_explicit(&s->used, 1, memory_order_relaxed) < s->used_max)
        return SEEN_NEW;
    atomic_fetch_sub_explicit(&s->used, 1, memory_order_relaxed);
    return SEEN_FULL;
}

enum seen_result seen_add(struct seen *s, struct fingerprint f, uint32_t parent, uint32_t *slot)
{
    uint64_t hi = first_half(f), low = f.lo & 0xffffffff;
    for (uint64_t at = hi;; at++) {
        struct seen_slot *there = &s->slots[at & (s->count - 1)];
        uint64_t other = atomic_load_explicit(&there->hi, memory_order_relaxed);
        if (other == 0) {
            if (atomic_load_explicit(&s->used, memory_order_relaxed) >= s->used_max)
                return SEEN_FULL;
            if (atomic_compare_exchange_strong_explicit(
                    &there->hi, &other, hi, memory_order_relaxed, memory_order_relaxed)) {
                uint64_t link = parent == SEEN_NO_PARENT ? NO_PARENT_BITS : parent + 1u;
                *slot = (uint32_t)(at & (s->count - 1));
                return own_slot(s, there, low << 32 | link);
            }
        }
        if (other == hi && wait_rest(there) >> 32 == low)
            return SEEN_OLD;
    }
}

uint32_t seen_parent(const struct seen *s, uint32_t slot)
{
    uint64_t link = wait_rest(&s->slots[slot]) & 0xffffffff;
    return link == NO_PARENT_BITS ? SEEN_NO_PARENT : (uint32_t)(link - 1);
}

bool seen_is(const struct seen *s, uint32_t slot, struct fingerprint f)
{
    const struct seen_slot *there = &s->slots[slot];
    return atomic_load_explicit(&there->hi, memory_order_relaxed) == first_half(f) &&
           wait_rest(there) >> 32 == (f.lo & 0xffffffff);
}

/* ---- growing ---- */

/* Takes over `from`, whose slots have other numbers here. */
static uint32_t *move(struct seen *s, const struct seen *from)
{
    uint32_t *moved = mem_calloc(from->count, sizeof(*moved));
    for (uint64_t i = 0; i < from->count; i++) {
        uint64_t hi = atomic_load_explicit(&from->slots[i].hi, memory_order_relaxed);
        if (hi == 0)
            continue;
        uint64_t at = hi & (s->count - 1);
        while (atomic_load_explicit(&s->slots[at].hi, memory_order_relaxed) != 0)
            at = (at + 1) & (s->count - 1);
        atomic_store_explicit(&s->slots[at].hi, hi, memory_order_relaxed);
        atomic_store_explicit(&s->slots[at].rest,
                              atomic_load_explicit(&from->slots[i].rest, memory_order_relaxed),
                              memory_order_relaxed);
        moved[i] = (uint32_t)at;
    }
    return moved;
}

static void link_parents(struct seen *s, const uint32_t *moved)
{
    for (uint64_t i = 0; i < s->count; i++) {
        uint64_t rest = atomic_load_explicit(&s->slots[i].rest, memory_order_relaxed);
        uint64_t link = rest & NO_PARENT_BITS;
        if (rest == 0 || link == NO_PARENT_BITS)
            continue;
        rest = (rest & ~NO_PARENT_BITS) | (moved[link - 1] + UINT64_C(1));
        atomic_store_explicit(&s->slots[i].rest, rest, memory_order_relaxed);
    }
}

uint32_t *seen_grow(struct seen *s)
{
    struct seen old = *s;
    seen_init(s, 2 * old.count);
    uint32_t *moved = move(s, &old);
    link_parents(s, moved);
    atomic_store(&s->used, atomic_load(&old.used));
    seen_release(&old);
    return moved;
}
