/*
 * The ring of the last decisions, and their sentences (trace_table.h).
 */
#include <string.h>

#include "lib/raft/raft_internal.h"

void raft_trace_add(struct raft *r, enum raft_decision decision, raft_id peer, uint64_t a,
                    uint64_t b, uint64_t c, uint64_t d)
{
    struct raft_trace *t = &r->traces[r->trace_number % RAFT_TRACE_MAX];
    t->number = ++r->trace_number;
    t->now_us = r->now_us;
    t->decision = (uint16_t)decision;
    t->term = r->term;
    t->peer = peer;
    t->a = a;
    t->b = b;
    t->c = c;
    t->d = d;
}

uint32_t raft_trace_read(const struct raft *r, uint64_t after, struct raft_trace *out, uint32_t max)
{
    uint64_t newest = r->trace_number;
    uint64_t first = newest > RAFT_TRACE_MAX ? newest - RAFT_TRACE_MAX + 1 : 1;
    if (first <= after)
        first = after + 1;
    if (first > newest)
        return 0;
    if (newest - first + 1 > max)
        first = newest - max + 1;
    uint32_t count = 0;
    for (uint64_t number = first; number <= newest; number++)
        out[count++] = r->traces[(number - 1) % RAFT_TRACE_MAX];
    return count;
}

/* ---- sentences ---- */

static const char *const sentences[] = {"nothing",
#define SENTENCE_(name, sentence) sentence,
                                        RAFT_TRACE_TABLE(SENTENCE_)
#undef SENTENCE_
};

struct text {
    char *out;
    size_t size, len;
    const char *(*name)(void *, raft_id);
    void *name_argument;
};

static void put(struct text *t, char c)
{
    if (t->len + 1 < t->size)
        t->out[t->len] = c;
    t->len++;
}

static void put_string(struct text *t, const char *s)
{
    while (*s)
        put(t, *s++);
}

static void put_number(struct text *t, uint64_t v, unsigned base, unsigned digits_min)
{
    char digits[24];
    unsigned count = 0;
    do {
        digits[count++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v > 0 || count < digits_min);
    while (count > 0)
        put(t, digits[--count]);
}

static void put_member(struct text *t, raft_id id)
{
    const char *name = t->name && id != 0 ? t->name(t->name_argument, id) : NULL;
    if (id == 0)
        put_string(t, "nobody");
    else if (name)
        put_string(t, name);
    else
        put_number(t, id, 16, 16);
}

static uint64_t argument(const struct raft_trace *trace, char letter)
{
    switch (letter) {
    case 'a': return trace->a;
    case 'b': return trace->b;
    case 'c': return trace->c;
    case 'd': return trace->d;
    default: return trace->term; /* t */
    }
}

/* What stands between braces, `at` behind the opening one. */
static void put_field(struct text *t, const struct raft_trace *trace, const char *at)
{
    if (at[0] == 'p')
        put_member(t, trace->peer);
    else if (at[1] == '}')
        put_number(t, argument(trace, at[0]), 10, 1);
    else if (at[0] == 'i')
        put_member(t, argument(trace, at[1]));
    else if (at[0] == 'm')
        put_string(t, raft_message_name((enum raft_message_type)argument(trace, at[1])));
    else
        put_string(t, raft_state_name((enum raft_state)argument(trace, at[1])));
}

static const char *skip_field(const char *at)
{
    while (*at != '}')
        at++;
    return at + 1;
}

/* {?a:yes|no}: copies the text chosen, whose fields are filled in, and skips the other. */
static const char *put_choice(struct text *t, const struct raft_trace *trace, const char *at)
{
    bool yes = argument(trace, at[0]) != 0, in_first = true;
    at += 2;
    while (*at != '}') {
        if (*at == '|') {
            in_first = false;
            at++;
        } else if (*at == '{') {
            if (in_first == yes)
                put_field(t, trace, at + 1);
            at = skip_field(at);
        } else {
            if (in_first == yes)
                put(t, *at);
            at++;
        }
    }
    return at + 1;
}

size_t raft_trace_format(const struct raft_trace *t, char *out, size_t out_bytes,
                         const char *(*name)(void *, raft_id), void *name_argument)
{
    struct text text = {
        .out = out, .size = out_bytes, .name = name, .name_argument = name_argument};
    const char *at = t->decision < TRACE_DECISIONS ? sentences[t->decision] : "unknown decision";
    while (*at) {
        if (*at != '{') {
            put(&text, *at++);
        } else if (at[1] == '?') {
            at = put_choice(&text, t, at + 2);
        } else {
            put_field(&text, t, at + 1);
            at = skip_field(at);
        }
    }
    if (out_bytes > 0)
        out[text.len < out_bytes ? text.len : out_bytes - 1] = '\0';
    return text.len;
}
