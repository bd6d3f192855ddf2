/*
 * Whether all members came to the same state: their digests at one index, once nobody writes any
 * more; see run.h. Each flushes what it has within two seconds, and then tells a digest of all that
 * it applied.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/opt.h"
#include "lib/client/client.h"
#include "lib/json/walk.h"
#include "lib/run/run_internal.h"

enum { AGREE_MS = 25000, ASK_MS = 1000, AGAIN_MS = 100, DIGEST_BYTES = 40 };

struct replica {
    const struct member *member;
    uint64_t commit, applied, digest_index;
    char digest[DIGEST_BYTES];
};

static void take_number(struct slice text, uint64_t *number)
{
    char word[24];
    if (text.len >= sizeof(word))
        return;
    memcpy(word, text.data, text.len);
    word[text.len] = '\0';
    if (opt_parse_uint(word, number) != 0)
        *number = 0;
}

static int read_member(void *argument, const char *path, struct slice text)
{
    struct replica *r = argument;
    if (strcmp(path, "index.commit") == 0)
        take_number(text, &r->commit);
    else if (strcmp(path, "index.applied") == 0)
        take_number(text, &r->applied);
    else if (strcmp(path, "digest.index") == 0)
        take_number(text, &r->digest_index);
    else if (strcmp(path, "digest.value") == 0)
        snprintf(r->digest, sizeof(r->digest), "%.*s", (int)text.len, (const char *)text.data);
    return 0;
}

static bool ask(struct replica *r)
{
    struct client_options options = {.endpoints = r->member->url, .timeout_ms = ASK_MS};
    struct client *client;
    struct client_reply reply;
    if (client_new(&options, &client, NULL) != 0)
        return false;
    client_reply_init(&reply);
    bool good = client_read_from(client, 0, "/node", &reply, NULL) == 0 && reply.status == 200 &&
                json_walk(slice_of(reply.body.data, reply.body.len), read_member, r, NULL) == 0;
    client_reply_release(&reply);
    client_free(client);
    return good;
}

/* The members' digests: true when all stand at one index, which is all that is committed. */
static bool ask_all(struct run *r, struct replica *replicas, unsigned *count)
{
    bool settled = true;
    *count = 0;
    for (unsigned i = 0; i < r->fleet.count; i++) {
        const struct member *m = &r->fleet.members[i];
        if (!m->votes || m->state == MEMBER_GONE)
            continue;
        struct replica *one = &replicas[(*count)++];
        *one = (struct replica){.member = m};
        settled = ask(one) && settled && one->applied == one->commit &&
                  one->digest_index == one->applied && one->applied == replicas[0].applied;
    }
    return settled && *count > 0;
}

void run_compare(struct run *r)
{
    struct replica replicas[FLEET_NODES_MAX];
    unsigned count = 0;
    uint64_t until = clock_now_us() + (uint64_t)AGREE_MS * 1000;
    r->fault = "comparing";
    while (!ask_all(r, replicas, &count)) {
        if (clock_now_us() >= until) {
            run_judge(r->report, RUN_INCONCLUSIVE, "the members did not come to one index in %d s",
                      AGREE_MS / 1000);
            return;
        }
        if (!run_wait(r, clock_now_us() + AGAIN_MS * 1000, NULL, 0))
            return;
    }
    for (unsigned i = 1; i < count; i++)
        if (strcmp(replicas[i].digest, replicas[0].digest) != 0) {
            run_judge(r->report, RUN_VIOLATED,
                      "the states of %s and %s differ at index %" PRIu64 ": digests %s and %s",
                      replicas[0].member->name, replicas[i].member->name, replicas[0].applied,
                      replicas[0].digest, replicas[i].digest);
            return;
        }
    snprintf(r->report->replicas, sizeof(r->report->replicas),
             "%u equal at index %" PRIu64 " (digest %.8s…)", count, replicas[0].applied,
             replicas[0].digest);
}
