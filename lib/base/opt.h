/*
 * Command-line options as a table that feeds the parser, `--help` and the check of the man page;
 * environment variables and a configuration file go through the same table (flags beat environment,
 * environment beats file).
 */
#ifndef RAFTKV_BASE_OPT_H
#define RAFTKV_BASE_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

enum opt_type {
    OPT_FLAG,     /* bool, no value */
    OPT_ASK,      /* the same, on the command line only: --version */
    OPT_STRING,   /* const char *, borrowed from argv or kept by the set */
    OPT_UINT,     /* uint64_t, within min … max */
    OPT_DURATION, /* uint64_t milliseconds: "500ms", "5s", "2m", "1h"; within min … max */
    OPT_BYTES,    /* uint64_t: "64", "10KiB", "1MiB", "2GiB"; within min … max */
    OPT_WORD,     /* int: index into `words` */
};

struct opt {
    const char *name; /* "election-timeout", without the dashes */
    char letter;      /* 0: none */
    enum opt_type type;
    void *value;          /* points at the variable of that type; holds the default beforehand */
    const char *argument; /* "DUR", "FILE"; NULL for a flag */
    const char *help;     /* one line, lower case, no full stop */
    uint64_t min, max;    /* OPT_UINT, OPT_DURATION, OPT_BYTES */
    const char *const *words; /* OPT_WORD: NULL-terminated */
    const char *fallback;     /* the default as --help shows it; NULL: none shown */
};

struct opt_set {
    const char *program;    /* "raftkv-node" */
    const char *usage;      /* "[options]" */
    const char *summary;    /* one line */
    const char *env_prefix; /* "RAFTKV_" or NULL: --read-mode is RAFTKV_READ_MODE */
    const struct opt *options;
    size_t option_count;
    const char *footer; /* printed behind the options; NULL: none */
};

/*
 * Parses argv[1…]. Options may stand before and behind operands, "--" ends them, "--name=value" and
 * "--name value" both work. `operands` (room for argc) receives what is left. `help` is set when
 * --help or -h was met; then the rest is not judged. `stop_at_operand`: stop at the first operand
 * (for programs with subcommands). Errors are ERR_USAGE with a line that names the option, the
 * value and what is allowed. `seen` (option_count bools, may be NULL) tells which options were
 * given.
 */
int opt_parse(const struct opt_set *set, int argc, char **argv, bool stop_at_operand,
              const char **operands, int *operand_count, bool *help, bool *seen, struct err *err);
/* Options not `seen` are taken from the environment; marks them seen. */
int opt_environment(const struct opt_set *set, bool *seen, struct err *err);
/* Sets one option by name from text, as from a configuration file; `where` goes into the message.
 */
int opt_assign(const struct opt_set *set, const char *name, const char *text, const char *where,
               struct err *err);
const struct opt *opt_find(const struct opt_set *set, const char *name);
/* The text of --help; the caller frees it with mem_free. */
char *opt_help(const struct opt_set *set);

int opt_parse_uint(const char *text,
                   uint64_t *value); /* decimal digits only; 0 or ERR_BAD_REQUEST */
int opt_parse_duration(const char *text,
                       uint64_t *value_ms); /* a bare number is refused, but for 0 */
int opt_parse_bytes(const char *text, uint64_t *value);

#endif
