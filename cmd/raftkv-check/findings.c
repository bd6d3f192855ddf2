/* See findings.h. */
#include "cmd/raftkv-check/findings.h"

#include <stdio.h>

#include "cmd/raftkv-check/check.h"

static void print_finding(void *self, enum finding kind, const char *text)
{
    struct findings *f = self;
    switch (kind) {
    case FINDING_FACT: printf("%s\n", text); break;
    case FINDING_NOTE: printf("note: %s\n", text); break;
    case FINDING_WRONG:
        f->wrong++;
        printf("WRONG: %s\n", text);
        break;
    case FINDING_UNKNOWN:
        f->unknown++;
        printf("unknown: %s\n", text);
        break;
    }
}

void findings_init(struct findings *f)
{
    *f = (struct findings){.sink = {.tell = print_finding, .self = f}};
}

int findings_result(const struct findings *f)
{
    if (f->wrong > 0) {
        printf("result: something is wrong, see %lu line%s above\n", f->wrong,
               f->wrong == 1 ? "" : "s");
        return EXIT_VIOLATED;
    }
    if (f->unknown > 0) {
        printf("result: inconclusive, nothing is wrong with what could be looked at\n");
        return EXIT_INCONCLUSIVE;
    }
    printf("result: nothing is wrong\n");
    return EXIT_DONE;
}
