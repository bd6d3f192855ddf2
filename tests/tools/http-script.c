/*
 * A scripted HTTP server for end-to-end tests of clients: http-script ACT STATUS BODY [ACT STATUS
 * BODY]… prints its URL and plays a step a request (see tests/support/fake_node.h), the last one
 * again and again, until SIGTERM. ACT: reply, stranger, close, reset, silent, cut.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "tests/support/fake_node.h"

enum { STEPS = 200 };

static enum fake_act act_of(const char *word)
{
    static const struct {
        const char *word;
        enum fake_act act;
    } acts[] = {{"reply", FAKE_REPLY}, {"stranger", FAKE_STRANGER}, {"close", FAKE_CLOSE},
                {"reset", FAKE_RESET}, {"silent", FAKE_SILENT},     {"cut", FAKE_CUT}};
    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
        if (strcmp(acts[i].word, word) == 0)
            return acts[i].act;
    fprintf(stderr, "http-script: unknown act '%s'\n", word);
    exit(2);
}

int main(int argc, char **argv)
{
    sigset_t signals;
    int signum;
    int count = (argc - 1) / 3;
    if (count < 1 || count > STEPS || (argc - 1) % 3 != 0) {
        fputs("usage: http-script ACT STATUS BODY [ACT STATUS BODY]...\n", stderr);
        return 2;
    }
    struct fake_step *steps = mem_calloc(STEPS, sizeof(*steps));
    for (int i = 0; i < STEPS; i++) {
        char **from = argv + 1 + (i < count ? i : count - 1) * 3;
        steps[i].act = act_of(from[0]);
        steps[i].status = (int)strtol(from[1], NULL, 10);
        steps[i].headers = "ETag: \"42\"\r\n";
        steps[i].body = from[2];
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    struct fake_node *node = fake_node_start(steps, STEPS);
    puts(fake_node_url(node));
    fflush(stdout);
    sigwait(&signals, &signum);
    fake_node_stop(node);
    mem_free(steps);
    return 0;
}
