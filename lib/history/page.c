/*
 * A history as a page: a row for each process, a bar for each operation from its call to its
 * return. Complete in itself: no scripts, nothing from elsewhere; a policy in its head sees to it.
 * Bars stand by the order of events, not by the clock, so that what matters is not crowded into a
 * pixel.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/history/check_internal.h"
#include "lib/history/proof.h"

enum { BARS_MAX = 2000, EVENT_PX = 18, ROW_PX = 30, LABEL_PX = 110, TEXT_BYTES = 1 << 16 };

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
    "style-src 'unsafe-inline'\">\n<title>";

static const char style[] =
    "</title>\n<style>\n"
    "body{font:14px/1.4 sans-serif;margin:16px;color:#222;background:#fff}\n"
    ".time{position:relative;border-top:1px solid #ccc}\n"
    ".scroll{overflow-x:auto;padding-bottom:90px}\n"
    ".row{position:absolute;left:0;right:0;height:30px;border-bottom:1px solid #eee}\n"
    ".row b{position:sticky;left:0;background:#fff;padding:0 6px;font-weight:normal;color:#666;"
    "line-height:30px;z-index:2}\n"
    ".op{position:absolute;height:22px;box-sizing:border-box;border:1px solid "
    "#999;border-radius:3px;"
    "background:#e4e4e4;font-size:12px;line-height:20px;padding:0 3px;cursor:default}\n"
    ".op>i{display:block;overflow:hidden;white-space:nowrap;font-style:normal}\n"
    ".fits{background:#d3ecd3;border-color:#5a9a5a}\n"
    ".unknown{border-right:3px dashed #999}\n"
    ".shows{border:2px solid #b00;line-height:18px}\n"
    ".impossible{background:#e02020;border-color:#800;color:#fff}\n"
    ".op>span{display:none;position:fixed;bottom:12px;left:16px;max-width:90%;z-index:9;"
    "background:#222;color:#fff;padding:6px 8px;border-radius:4px;white-space:pre-wrap;"
    "line-height:1.4}\n"
    ".op:hover,.op:focus{z-index:8}\n.op:hover>span,.op:focus>span{display:block}\n"
    ".end{position:absolute;top:0;bottom:0;border-left:2px dashed #b00}\n"
    ".legend span{display:inline-block;position:static;margin-right:14px}\n"
    "</style></head><body>\n";

struct page {
    const struct history_part *part;
    const struct history_proof *proof; /* NULL: nothing is violated */
    uint32_t *ops;                     /* those that are shown, in the order of their calls */
    uint32_t count;
    uint64_t *positions; /* of the shown events, sorted */
    uint32_t position_count;
    uint64_t *processes; /* sorted: a row each */
    uint32_t process_count;
    struct buf text; /* of one operation */
    struct buf *out;
    int code; /* of the first thing that did not fit */
};

static const struct history_operation *operation(const struct page *g, uint32_t i)
{
    return &g->part->history->operations[g->ops[i]];
}

/* ---- writing ---- */

static void put(struct page *g, const char *text)
{
    if (g->code == 0)
        g->code = buf_append_str(g->out, text);
}

__attribute__((format(printf, 2, 3))) static void putf(struct page *g, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    put(g, text);
}

/* What is not UTF-8 is shown as question marks. */
static void put_escaped(struct page *g, const char *text)
{
    bool valid = utf8_valid(text, strlen(text));
    for (; *text; text++) {
        switch (*text) {
        case '&': put(g, "&amp;"); break;
        case '<': put(g, "&lt;"); break;
        case '>': put(g, "&gt;"); break;
        case '"': put(g, "&quot;"); break;
        case '\'': put(g, "&#39;"); break;
        default:
            if (g->code == 0)
                g->code = buf_append_byte(g->out, (uint8_t)*text < 0x80 || valid ? (uint8_t)*text
                                                                                 : (uint8_t)'?');
        }
    }
}

/* ---- what is shown ---- */

static bool in_proof(const struct page *g, uint32_t op)
{
    uint32_t low = 0, high = g->proof ? g->proof->count : 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (g->proof->ops[middle] < op)
            low = middle + 1;
        else
            high = middle;
    }
    return g->proof && low < g->proof->count && g->proof->ops[low] == op;
}

/* The smallest set, and then what is nearest before the moment, and a few behind it. */
static void choose(struct page *g)
{
    const struct history_part *p = g->part;
    uint32_t until = g->proof ? g->proof->until : HISTORY_NEVER;
    uint32_t behind = 0, room = BARS_MAX, first_behind = p->count;
    bool *chosen = mem_calloc(p->count + UINT64_C(1), sizeof(*chosen));
    for (uint32_t i = p->count; i > 0 && room > 0; i--)
        if (in_proof(g, p->ops[i - 1]) && room > BARS_MAX / 2) {
            chosen[i - 1] = true;
            room--;
        }
    while (first_behind > 0 && p->history->operations[p->ops[first_behind - 1]].call >= until)
        first_behind--;
    for (uint32_t i = first_behind; i < p->count && behind < BARS_MAX / 10 && room > 0; i++) {
        chosen[i] = true;
        behind++;
        room--;
    }
    for (uint32_t i = first_behind; i > 0 && room > 0; i--)
        if (!chosen[i - 1]) {
            chosen[i - 1] = true;
            room--;
        }
    g->ops = mem_alloc((p->count + UINT64_C(1)) * sizeof(*g->ops));
    for (uint32_t i = 0; i < p->count; i++)
        if (chosen[i])
            g->ops[g->count++] = p->ops[i];
    mem_free(chosen);
}

static uint32_t sort_unique(uint64_t *numbers, uint32_t count)
{
    uint64_t *spare = mem_alloc((count + UINT64_C(1)) * sizeof(*spare));
    uint32_t n = 0;
    sort_numbers(numbers, spare, count);
    for (uint32_t i = 0; i < count; i++)
        if (n == 0 || numbers[n - 1] != numbers[i])
            numbers[n++] = numbers[i];
    mem_free(spare);
    return n;
}

static void lay_out(struct page *g)
{
    g->positions = mem_alloc((g->count * UINT64_C(2) + 1) * sizeof(*g->positions));
    g->processes = mem_alloc((g->count + UINT64_C(1)) * sizeof(*g->processes));
    for (uint32_t i = 0; i < g->count; i++) {
        const struct history_operation *op = operation(g, i);
        g->positions[g->position_count++] = op->call;
        if (op->ret != HISTORY_NEVER)
            g->positions[g->position_count++] = op->ret;
        g->processes[g->process_count++] = op->process;
    }
    g->position_count = sort_unique(g->positions, g->position_count);
    g->process_count = sort_unique(g->processes, g->process_count);
}

/* How many of the sorted numbers are smaller. */
static uint32_t rank_of(const uint64_t *numbers, uint32_t count, uint64_t n)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (numbers[middle] < n)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- bars ---- */

static uint32_t x_of(const struct page *g, uint32_t position)
{
    return LABEL_PX + rank_of(g->positions, g->position_count, position) * EVENT_PX;
}

static void put_details(struct page *g, const struct history_operation *op)
{
    buf_clear(&g->text);
    if (history_operation_text(g->part->history, op, &g->text) != 0)
        (void)buf_append_str(&g->text, "…");
    put(g, "<span>");
    put_escaped(g, (const char *)g->text.data);
    putf(g, "\nprocess %" PRIu32 ", called in line %" PRIu32, op->process, op->call_line);
    if (op->call_ns)
        putf(g, " at %" PRIu64 " ns", op->call_ns);
    if (op->outcome == HISTORY_UNKNOWN)
        put(g, "\nnever returned, or did not know");
    else
        putf(g, "\nreturned in line %" PRIu32, op->return_line);
    if (op->outcome != HISTORY_UNKNOWN && op->return_ns)
        putf(g, " at %" PRIu64 " ns", op->return_ns);
    put(g, "</span>");
}

static void put_bar(struct page *g, uint32_t i)
{
    const struct history_operation *op = operation(g, i);
    bool unknown = op->ret == HISTORY_NEVER;
    uint32_t until = g->proof ? g->proof->until : HISTORY_NEVER;
    uint32_t x = x_of(g, op->call);
    uint32_t end = unknown ? LABEL_PX + (g->position_count + 1) * EVENT_PX : x_of(g, op->ret);
    uint32_t row = rank_of(g->processes, g->process_count, op->process);
    bool impossible = g->proof && g->ops[i] == g->proof->breaks;
    bool fits = !impossible && (unknown ? op->call : op->ret) < until;
    putf(g,
         "<div class=\"op%s%s%s%s\" tabindex=\"0\" data-line=\"%" PRIu32 "\" style=\"left:%" PRIu32
         "px;width:%" PRIu32 "px;top:%" PRIu32 "px\"><i>",
         unknown ? " unknown" : "", fits ? " fits" : "", in_proof(g, g->ops[i]) ? " shows" : "",
         impossible ? " impossible" : "", op->call_line, x, end > x ? end - x : EVENT_PX / 2,
         row * ROW_PX + 4);
    put(g, history_kind_name(op->kind));
    put(g, "</i>");
    put_details(g, op);
    put(g, "</div>\n");
}

static void put_time_line(struct page *g)
{
    uint32_t width = LABEL_PX + (g->position_count + 3) * EVENT_PX;
    putf(g,
         "<div class=\"scroll\"><div class=\"time\" style=\"height:%" PRIu32 "px;width:%" PRIu32
         "px\">\n",
         g->process_count * ROW_PX, width);
    for (uint32_t row = 0; row < g->process_count; row++)
        putf(g, "<div class=\"row\" style=\"top:%" PRIu32 "px\"><b>process %" PRIu64 "</b></div>\n",
             row * ROW_PX, g->processes[row]);
    if (g->proof && g->proof->breaks != HISTORY_NO_ID)
        putf(g, "<div class=\"end\" style=\"left:%" PRIu32 "px\"></div>\n",
             x_of(g, g->proof->until - 1));
    for (uint32_t i = 0; i < g->count; i++)
        put_bar(g, i);
    put(g, "</div></div>\n");
}

/* ---- around them ---- */

static void put_summary(struct page *g, const struct history_report *report, const char *title)
{
    put(g, "<h1>");
    put_escaped(g, title);
    put(g, "</h1>\n<p id=\"result\">");
    buf_clear(&g->text);
    (void)history_part_text(g->part, &g->text);
    put_escaped(g, (const char *)g->text.data);
    switch (report->verdict) {
    case VERDICT_VIOLATED:
        putf(g, ": not linearizable, by %s: ", history_method_name(report->method));
        put_escaped(g, report->why);
        break;
    case VERDICT_LINEARIZABLE: put(g, ": linearizable, as is the whole history"); break;
    default: put(g, ": inconclusive, nothing is violated so far"); break;
    }
    putf(g, "</p>\n<p>%" PRIu32 " of its %" PRIu32 " operations are shown. ", g->count,
         g->part->count);
    if (g->proof && g->proof->breaks != HISTORY_NO_ID)
        put(g, "The dashed line ends the longest prefix that is linearizable: with the return that "
               "stands there it is no longer.");
    put(g, "</p>\n<p class=\"legend\"><span class=\"op fits\">in the linearizable prefix</span>");
    if (g->proof)
        put(g, "<span class=\"op impossible\">its return is impossible</span>"
               "<span class=\"op shows\">of the smallest set that shows it</span>"
               "<span class=\"op\">not over at that moment</span>");
    put(g, "<span class=\"op unknown\">outcome unknown</span></p>\n");
}

int history_page(const struct history_part *p, const struct history_report *report,
                 const struct history_proof *proof, const char *title, struct buf *out)
{
    struct page g = {.part = p, .proof = proof, .out = out};
    buf_init(&g.text, TEXT_BYTES);
    choose(&g);
    lay_out(&g);
    put(&g, head);
    put_escaped(&g, title);
    put(&g, style);
    put_summary(&g, report, title);
    put_time_line(&g);
    put(&g, "</body></html>\n");
    buf_release(&g.text);
    mem_free(g.ops);
    mem_free(g.positions);
    mem_free(g.processes);
    return g.code;
}
