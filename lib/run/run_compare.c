/*
 * Whether all members came to the same state, once nobody writes any more: their digests at one
 * index, and their rows. See lib/verify/replicas.h.
 */
#include <inttypes.h>
#include <stdio.h>

#include "lib/base/buf.h"
#include "lib/base/check.h"
#include "lib/run/run_internal.h"
#include "lib/verify/replicas.h"

enum { AGREE_MS = 25000, ENDPOINTS_BYTES = 1 << 16 };

struct comparison {
    struct run_report *report;
    bool equal;
};

static void judge_finding(void *comparison, enum finding kind, const char *text)
{
    struct comparison *c = comparison;
    if (kind == FINDING_FACT || kind == FINDING_NOTE)
        return;
    c->equal = false;
    if (kind == FINDING_WRONG)
        run_judge(c->report, RUN_VIOLATED, "the replicas differ: %s", text);
    else
        run_judge(c->report, RUN_INCONCLUSIVE, "the replicas could not be compared: %s", text);
}

/* The URLs of those that vote, with commas between. */
static unsigned members(const struct run *r, struct buf *endpoints)
{
    unsigned count = 0;
    for (unsigned i = 0; i < r->fleet.count; i++) {
        const struct member *m = &r->fleet.members[i];
        if (!m->votes || m->state == MEMBER_GONE)
            continue;
        ASSERT(buf_printf(endpoints, "%s%s", count > 0 ? "," : "", m->url) == 0);
        count++;
    }
    return count;
}

void run_compare(struct run *r)
{
    struct replicas_agreement agreed = {0};
    struct comparison c = {.report = r->report, .equal = true};
    struct finding_sink sink = {.tell = judge_finding, .self = &c};
    struct buf endpoints;
    char hex[HEX128_BYTES];
    struct err err;
    r->fault = "comparing";
    buf_init(&endpoints, ENDPOINTS_BYTES);
    unsigned count = members(r, &endpoints);
    struct replicas_options how = {.endpoints = (const char *)endpoints.data,
                                   .timeout_ms = AGREE_MS,
                                   .rows = true,
                                   .agreement = &agreed};
    if (count > 1 && verify_replicas(&how, &sink, &err) != 0)
        run_judge(r->report, RUN_INCONCLUSIVE, "the replicas could not be compared: %s", err.text);
    if (agreed.index > 0 && c.equal)
        snprintf(r->report->replicas, sizeof(r->report->replicas),
                 "%u equal at index %" PRIu64 " (digest %.8s…)", count, agreed.index,
                 hex128(agreed.digest, hex));
    buf_release(&endpoints);
}
