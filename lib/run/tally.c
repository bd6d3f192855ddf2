/* End checks by elements; see tally.h. */
#include "lib/run/tally.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"

enum tally_added { TALLY_UNKNOWN, TALLY_ACKNOWLEDGED, TALLY_FAILED };

void tally_init(struct tally *t)
{
    memset(t, 0, sizeof(*t));
    pthread_mutex_init(&t->lock, NULL);
}

void tally_release(struct tally *t)
{
    mem_free(t->elements);
    pthread_mutex_destroy(&t->lock);
}

__attribute__((format(printf, 2, 3))) static void violated(struct tally *t, const char *fmt, ...)
{
    va_list ap;
    if (t->why[0])
        return;
    va_start(ap, fmt);
    vsnprintf(t->why, sizeof(t->why), fmt, ap);
    va_end(ap);
}

uint32_t tally_new(struct tally *t, uint32_t group)
{
    pthread_mutex_lock(&t->lock);
    if (t->count == t->room) {
        t->room = t->room * 2 + 1024;
        t->elements = mem_realloc(t->elements, t->room * sizeof(t->elements[0]));
    }
    uint32_t number = t->count++;
    t->elements[number] = (struct tally_element){.group = group, .added = TALLY_UNKNOWN};
    pthread_mutex_unlock(&t->lock);
    return number;
}

uint32_t tally_count(struct tally *t)
{
    pthread_mutex_lock(&t->lock);
    uint32_t count = t->count;
    pthread_mutex_unlock(&t->lock);
    return count;
}

void tally_told(struct tally *t, uint32_t number, enum record_end end)
{
    static const uint8_t added[] = {TALLY_ACKNOWLEDGED, TALLY_FAILED, TALLY_UNKNOWN};
    pthread_mutex_lock(&t->lock);
    ASSERT(number < t->count);
    t->elements[number].added = added[end];
    pthread_mutex_unlock(&t->lock);
}

void tally_seen(struct tally *t, uint32_t group, uint32_t number)
{
    pthread_mutex_lock(&t->lock);
    struct tally_element *e = number < t->count ? &t->elements[number] : NULL;
    if (!e || e->group != group)
        violated(t, "element %" PRIu32 " was never added there", number);
    else if (e->seen < 2)
        e->seen++;
    pthread_mutex_unlock(&t->lock);
}

void tally_seen_list(struct tally *t, uint32_t group, struct slice text)
{
    uint64_t number = 0;
    bool digits = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t ch = text.data[i];
        if (ch >= '0' && ch <= '9' && number <= UINT32_MAX) {
            number = number * 10 + (uint64_t)(ch - '0');
            digits = true;
        } else if (ch == ',' && digits && number < UINT32_MAX) {
            tally_seen(t, group, (uint32_t)number);
            number = 0;
            digits = false;
        } else {
            violated(t, "at byte %zu of a list stands what no append has written", i);
            return;
        }
    }
    if (digits)
        violated(t, "a list ends within an element");
}

bool tally_judge(struct tally *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        const struct tally_element *e = &t->elements[i];
        t->acknowledged += e->added == TALLY_ACKNOWLEDGED;
        t->failed += e->added == TALLY_FAILED;
        t->unknown += e->added == TALLY_UNKNOWN;
        t->unknown_applied += e->added == TALLY_UNKNOWN && e->seen > 0;
        if (e->added == TALLY_ACKNOWLEDGED && e->seen == 0)
            violated(t, "element %" PRIu32 " was acknowledged, and is lost", i);
        if (e->added == TALLY_FAILED && e->seen > 0)
            violated(t, "element %" PRIu32 " was refused, and is there", i);
        if (e->seen > 1)
            violated(t, "element %" PRIu32 " is there more than once", i);
    }
    return !t->why[0];
}
