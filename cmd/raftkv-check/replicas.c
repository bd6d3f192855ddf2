/*
 * raftkv-check replicas: do the nodes of a running cluster have the same state
 * (lib/verify/replicas.h)?
 */
#include <stdio.h>
#include <stdlib.h>

#include "cmd/raftkv-check/check.h"
#include "cmd/raftkv-check/findings.h"
#include "lib/verify/replicas.h"

static const char *endpoints;
static uint64_t timeout_ms = 30000;
static bool rows;

static const struct opt options[] = {
    {"endpoints", 0, OPT_STRING, &endpoints, "URL,URL,…",
     "the nodes to compare; RAFTKV_ENDPOINTS if not given", 0, 0, NULL, NULL},
    {"timeout", 0, OPT_DURATION, &timeout_ms, "DUR", "wait so long for nodes to be comparable", 100,
     UINT64_C(24) * 3600 * 1000, NULL, "30s"},
    {"rows", 0, OPT_FLAG, &rows, NULL, "compare all rows, even if the digests are equal", 0, 0,
     NULL, NULL},
};

static int run(int operand_count, const char *const *operands)
{
    struct findings findings;
    struct err err = {0};
    (void)operand_count;
    (void)operands;
    if (!endpoints)
        endpoints = getenv("RAFTKV_ENDPOINTS");
    if (!endpoints || !*endpoints)
        return command_usage(&replicas_command, "--endpoints URL,URL,… is missing");
    struct replicas_options how = {
        .endpoints = endpoints, .timeout_ms = (uint32_t)timeout_ms, .rows = rows};
    findings_init(&findings);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (verify_replicas(&how, &findings.sink, &err) != 0)
        return command_usage(&replicas_command, "%s", err.text);
    return findings_result(&findings);
}

const struct program_command replicas_command = {
    .name = "replicas",
    .usage = "[options]",
    .summary = "compare the states of nodes that run",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .footer = "Exit codes: 0 the same, 2 usage, 9 something differs, 10 a node could not be "
              "reached, or not\ncompared within --timeout.\n",
    .run = run,
};
