/* What a run found, as text and as JSON; see run.h. */
#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/json/api.h"
#include "lib/run/run.h"

enum { ROW_SECONDS = 60 };

static const char *const verdict_texts[] = {"ok", "VIOLATED", "inconclusive"};

/* A digit a second: tenths of it in which something was answered, 9 for all but one, * for all. */
static void print_seconds(FILE *out, const struct run_report *r)
{
    size_t count = (size_t)(r->measured_us / 1000000);
    for (size_t i = 0; i < count; i++) {
        unsigned slots = stats_slots(&r->stats, i);
        if (i % ROW_SECONDS == 0)
            fprintf(out, i ? "\n               " : "per second     ");
        fputc(slots >= STATS_SLOTS_A_SECOND ? '*' : (char)('0' + slots), out);
    }
    if (count > 0)
        fprintf(out, "   (tenths with an answer, *: all)\n");
}

static void print_event(FILE *out, const struct run_event *e)
{
    fprintf(out, "  %6.1f s  %5.1f s  %-18s gap %4" PRIu64 " ms, ", (double)e->from_us / 1e6,
            (double)(e->to_us - e->from_us) / 1e6, e->name, e->gap_us / 1000);
    if (e->leader_us > 0)
        fprintf(out, "new leader %4" PRIu64 " ms", e->leader_us / 1000);
    else
        fprintf(out, "same leader       ");
    fprintf(out, "  %s\n", e->text);
}

static void print_found(FILE *out, const struct run_report *r)
{
    if (r->history[0])
        fprintf(out, "history        %s\n", r->history);
    if (r->workload[0])
        fprintf(out, "end check      %s\n", r->workload);
    if (r->replicas[0])
        fprintf(out, "replicas       %s\n", r->replicas);
    if (r->proxied)
        fprintf(out,
                "links          %" PRIu64 " connections, %" PRIu64 " MiB, %" PRIu64
                " pieces late, %" PRIu64 " resets\n",
                r->proxy.connections, r->proxy.bytes >> 20, r->proxy.held, r->proxy.resets);
}

void run_print_text(FILE *out, const struct run_options *o, const struct run_report *r)
{
    const uint64_t *totals = r->stats.totals;
    double seconds = (double)r->measured_us / 1e6;
    if (r->event_count > 0)
        fprintf(out, "faults         at, for, what\n");
    for (uint32_t i = 0; i < r->event_count; i++)
        print_event(out, &r->events[i]);
    if (seconds > 0)
        fprintf(out,
                "operations     %" PRIu64 " done, %" PRIu64 " with a condition that did not hold, "
                "%" PRIu64 " failed, %" PRIu64 " unknown; %.0f/s\n",
                totals[STATS_OK], totals[STATS_UNMET], totals[STATS_FAILED], totals[STATS_UNKNOWN],
                (double)(totals[STATS_OK] + totals[STATS_UNMET]) / seconds);
    if (seconds > 0)
        fprintf(out,
                "availability   %.1f %% of tenths of a second, longest gap %" PRIu64 " ms, %" PRIu64
                " ms after healing\n",
                stats_availability(&r->stats, r->measured_us),
                stats_longest_gap_us(&r->stats, 0, UINT64_MAX) / 1000, r->recovery_us / 1000);
    print_seconds(out, r);
    print_found(out, r);
    fprintf(out, "result         %s%s%s\n", verdict_texts[r->verdict], r->why[0] ? ": " : "",
            r->why);
    if (r->dir[0])
        fprintf(out, "kept in        %s\n", r->dir);
    if (r->verdict == RUN_VIOLATED)
        fprintf(out, "The same schedule of faults again: --seed %" PRIu64 "\n", o->seed);
}

/* ---- JSON ---- */

static void put_text(FILE *out, const char *name, const char *text)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    /* Log lines and error texts may bear anything: what is no UTF-8 is not said. */
    if (json_quote(slice_str(text), &b) != 0) {
        buf_clear(&b);
        ASSERT(buf_append_str(&b, "\"?\"") == 0);
    }
    fprintf(out, "\"%s\":%s", name, (const char *)b.data);
    buf_release(&b);
}

static void put_events(FILE *out, const struct run_report *r)
{
    fprintf(out, "\"faults\":[");
    for (uint32_t i = 0; i < r->event_count; i++) {
        const struct run_event *e = &r->events[i];
        fprintf(out, "%s{", i ? "," : "");
        put_text(out, "name", e->name);
        fputc(',', out);
        put_text(out, "text", e->text);
        fprintf(out,
                ",\"from_ms\":%" PRIu64 ",\"to_ms\":%" PRIu64 ",\"gap_ms\":%" PRIu64
                ",\"new_leader_ms\":",
                e->from_us / 1000, e->to_us / 1000, e->gap_us / 1000);
        if (e->leader_us > 0)
            fprintf(out, "%" PRIu64 "}", e->leader_us / 1000);
        else
            fprintf(out, "null}");
    }
    fprintf(out, "],\"seconds\":[");
    for (size_t i = 0; i < r->stats.second_count; i++) {
        const uint32_t *c = r->stats.seconds[i].counts;
        fprintf(out, "%s[%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 "]", i ? "," : "",
                c[STATS_OK], c[STATS_UNMET], c[STATS_FAILED], c[STATS_UNKNOWN]);
    }
    fputc(']', out);
}

void run_print_json(FILE *out, const struct run_options *o, const struct run_report *r)
{
    const uint64_t *totals = r->stats.totals;
    fprintf(out, "{\"seed\":%" PRIu64 ",\"nodes\":%" PRIu32 ",", o->seed,
            o->endpoints ? 0 : o->nodes);
    put_text(out, "workload", o->workload->name);
    fprintf(out, ",\"fault_sets\":[");
    for (unsigned i = 0; i < o->set_count; i++)
        fprintf(out, "%s\"%s\"", i ? "," : "", o->sets[i].name);
    fprintf(out,
            "],\"clients\":%" PRIu32 ",\"keys\":%" PRIu32 ",\"rate\":%" PRIu32
            ",\"seconds_measured\":%.1f,\"operations\":%" PRIu64 ",\"done\":%" PRIu64
            ",\"unmet\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"unknown\":%" PRIu64
            ",\"availability\":%.2f,\"longest_gap_ms\":%" PRIu64 ",\"recovery_ms\":%" PRIu64 ",",
            o->clients, o->keys, o->rate, (double)r->measured_us / 1e6,
            totals[STATS_OK] + totals[STATS_UNMET] + totals[STATS_FAILED] + totals[STATS_UNKNOWN],
            totals[STATS_OK], totals[STATS_UNMET], totals[STATS_FAILED], totals[STATS_UNKNOWN],
            stats_availability(&r->stats, r->measured_us),
            stats_longest_gap_us(&r->stats, 0, UINT64_MAX) / 1000, r->recovery_us / 1000);
    put_text(out, "history", r->history);
    fputc(',', out);
    put_text(out, "end_check", r->workload);
    fputc(',', out);
    put_text(out, "replicas", r->replicas);
    fputc(',', out);
    put_text(out, "why", r->why);
    fprintf(out, ",\"result\":\"%s\",", run_verdict_word(r->verdict));
    put_events(out, r);
    fprintf(out, "}\n");
}
