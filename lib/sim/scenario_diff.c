/*
 * Scenario files: what was expected against what was decided, line by line.
 */
#include <string.h>

#include "lib/base/mem.h"
#include "lib/sim/scenario_internal.h"

enum { COMPARED_MAX = 2000 }; /* lines of a block; longer ones are shown as they are */

struct lines {
    struct slice *items;
    uint32_t count;
};

static struct lines split(struct slice text)
{
    struct lines lines = {0};
    size_t at = 0;
    for (size_t i = 0; i < text.len; i++)
        lines.count += text.data[i] == '\n';
    lines.items = mem_calloc(lines.count + 1u, sizeof(lines.items[0]));
    for (uint32_t i = 0; i < lines.count; i++) {
        const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
        size_t length = (size_t)(end - (text.data + at));
        lines.items[i] = slice_of(text.data + at, length);
        at += length + 1;
    }
    return lines;
}

static void put(struct buf *out, char mark, struct slice line)
{
    /* A buffer that is full says so at its end. */
    (void)buf_printf(out, "%c   %.*s\n", mark, (int)line.len, (const char *)line.data);
}

static bool equal(struct slice a, struct slice b)
{
    return slice_compare(a, b) == 0;
}

/* longest[i * (b + 1) + k]: of the common lines of a from i on and b from k on. */
static uint16_t *common(const struct lines *a, const struct lines *b)
{
    size_t width = b->count + 1u;
    uint16_t *longest = mem_calloc((a->count + 1u) * width, sizeof(*longest));
    for (uint32_t i = a->count; i-- > 0;) {
        for (uint32_t k = b->count; k-- > 0;) {
            uint16_t *here = &longest[i * width + k];
            uint16_t skip_a = here[width], skip_b = here[1];
            if (equal(a->items[i], b->items[k]))
                *here = (uint16_t)(here[width + 1] + 1);
            else
                *here = skip_a > skip_b ? skip_a : skip_b;
        }
    }
    return longest;
}

static void put_merged(struct buf *out, const struct lines *a, const struct lines *b)
{
    uint16_t *longest = common(a, b);
    size_t width = b->count + 1u;
    uint32_t i = 0, k = 0;
    while (i < a->count || k < b->count) {
        if (i < a->count && k < b->count && equal(a->items[i], b->items[k])) {
            put(out, ' ', a->items[i++]);
            k++;
        } else if (i < a->count &&
                   (k == b->count || longest[(i + 1) * width + k] >= longest[i * width + k + 1])) {
            put(out, '-', a->items[i++]);
        } else {
            put(out, '+', b->items[k++]);
        }
    }
    mem_free(longest);
}

void scenario_diff(struct buf *out, struct slice expected, struct slice actual)
{
    struct lines a = split(expected), b = split(actual);
    if (a.count <= COMPARED_MAX && b.count <= COMPARED_MAX) {
        put_merged(out, &a, &b);
    } else {
        for (uint32_t i = 0; i < a.count; i++)
            put(out, '-', a.items[i]);
        for (uint32_t i = 0; i < b.count; i++)
            put(out, '+', b.items[i]);
    }
    mem_free(a.items);
    mem_free(b.items);
}
