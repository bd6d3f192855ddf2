/* Options: every type, every refusal by name, precedence of the sources, and the text of --help. */
#include "lib/base/opt.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "tests/unit/tap.h"

static const char *const modes[] = {"linearizable", "lease", "stale", NULL};

static struct {
    bool verbose, quiet, version;
    const char *host;
    uint64_t port, election_ms, max_bytes, anything;
    int mode;
} v;

static const struct opt options[] = {
    {"verbose", 'v', OPT_FLAG, &v.verbose, NULL, "say more", 0, 0, NULL, NULL},
    {"quiet", 'q', OPT_FLAG, &v.quiet, NULL, "say less", 0, 0, NULL, NULL},
    {"host", 0, OPT_STRING, &v.host, "ADDR", "listen address", 0, 0, NULL, "127.0.0.1"},
    {"port", 'p', OPT_UINT, &v.port, "N", "port to listen on", 1, 65535, NULL, "5001"},
    {"election-timeout", 0, OPT_DURATION, &v.election_ms, "DUR",
     "time without a leader before an election", 10, 60000, NULL, "500ms"},
    {"max-size", 0, OPT_BYTES, &v.max_bytes, "SIZE", "largest value", 1, 16 << 20, NULL, "1MiB"},
    {"anything", 0, OPT_UINT, &v.anything, "N", "no limit", 0, 0, NULL, NULL},
    {"read-mode", 'm', OPT_WORD, &v.mode, NULL, "mode of reads", 0, 0, modes, "linearizable"},
    {"version", 'V', OPT_ASK, &v.version, NULL, "show the version", 0, 0, NULL, NULL},
};

enum { COUNT = sizeof(options) / sizeof(options[0]), ARGS = 16 };

static const struct opt_set set = {
    .program = "raftkv-test",
    .usage = "[options] KEY",
    .summary = "Tests options.",
    .env_prefix = "RAFTKV_TEST_",
    .options = options,
    .option_count = COUNT,
    .footer = "Exit codes: 0 done.",
};

static const char *operands[ARGS];
static int operand_count;
static bool help, seen[COUNT];
static struct err err;

static void defaults(void)
{
    memset(&v, 0, sizeof(v));
    v.host = "127.0.0.1";
    v.port = 5001;
    v.election_ms = 500;
    v.max_bytes = 1 << 20;
    memset(&err, 0, sizeof(err));
}

/* Parses a command line that is given as one string, cut at blanks. */
static int parse(const char *line, bool stop)
{
    static char text[512];
    char *argv[ARGS];
    int argc = 0;
    char *state = NULL;
    must(strlen(line) < sizeof(text));
    strcpy(text, line); /* NOLINT: the length was checked */
    argv[argc++] = text + strlen(line);
    for (char *word = strtok_r(text, " ", &state); word; word = strtok_r(NULL, " ", &state)) {
        must(argc < ARGS);
        argv[argc++] = word;
    }
    defaults();
    return opt_parse(&set, argc, argv, stop, operands, &operand_count, &help, seen, &err);
}

static void good(const char *line)
{
    is_i64(parse(line, false), 0, "good: %s", line);
}

static void bad(const char *line, const char *message)
{
    is_i64(parse(line, false), ERR_USAGE, "bad: %s", line);
    is_str(err.text, message, "… says so");
}

static void test_types(void)
{
    good("");
    ok(!help && operand_count == 0 && !seen[0], "nothing given, nothing seen");
    is_u64(v.port, 5001, "defaults are left alone");

    good("--verbose --host 0.0.0.0 --port 80 --election-timeout 2s --max-size 10KiB "
         "--read-mode stale k");
    ok(v.verbose && !v.quiet, "flag");
    is_str(v.host, "0.0.0.0", "string");
    is_u64(v.port, 80, "number");
    is_u64(v.election_ms, 2000, "duration");
    is_u64(v.max_bytes, 10240, "size");
    is_i64(v.mode, 2, "word");
    ok(operand_count == 1 && strcmp(operands[0], "k") == 0, "operand");
    ok(seen[0] && !seen[1] && seen[2] && seen[7], "seen");

    good("--host=a=b --port=65535 --election-timeout=10ms");
    is_str(v.host, "a=b", "value behind the first =");
    is_u64(v.port, 65535, "largest number");
    is_u64(v.election_ms, 10, "smallest duration");
    good("--host=");
    is_str(v.host, "", "empty string");
    good("--host --port");
    is_str(v.host, "--port", "a value may look like an option");
    good("-p80 -vq -m lease");
    ok(v.port == 80 && v.verbose && v.quiet && v.mode == 1, "letters");
    good("-vp 81");
    ok(v.verbose && v.port == 81, "a cluster of letters that ends with a value");
    good("--port 1 --port 2");
    is_u64(v.port, 2, "the last one counts");
    good("--anything 18446744073709551615");
    ok(v.anything == UINT64_MAX, "largest of all numbers");

    good("a --verbose b - -- --quiet c");
    ok(operand_count == 5 && v.verbose && !v.quiet, "options between operands");
    is_str(operands[2], "-", "a dash is an operand");
    is_str(operands[3], "--quiet", "all behind -- are operands");
    is_i64(parse("--verbose put --quiet -x", true), 0, "stop at the first operand");
    ok(operand_count == 3 && v.verbose && !v.quiet, "… the rest belongs to the subcommand");
    is_str(operands[1], "--quiet", "… as it is");

    good("--help --nonsense");
    ok(help, "--help ends the judging");
    good("-h");
    ok(help, "-h too");
    good("-vh");
    ok(help && v.verbose, "-h in a cluster");
    good("-- --help");
    ok(!help, "but not as an operand");
}

static void test_refusals(void)
{
    bad("--nonsense", "unknown option '--nonsense' (see raftkv-test --help)");
    bad("--nonsense=3", "unknown option '--nonsense=3' (see raftkv-test --help)");
    bad("--por 3", "unknown option '--por' (see raftkv-test --help)");
    bad("--help=3", "unknown option '--help=3' (see raftkv-test --help)");
    bad("-x", "unknown option '-x' (see raftkv-test --help)");
    bad("-vx", "unknown option '-x' (see raftkv-test --help)");
    bad("-xv", "unknown option '-xv' (see raftkv-test --help)");
#define LONG "-0123456789-0123456789-0123456789-0123456789-0123456789-01234567"
    bad("-" LONG, "unknown option '-"
                  "-0123456789-0123456789-0123456789-0123456789-0123456789-0123456"
                  "…' (see raftkv-test --help)");
    bad("--port " LONG, "--port: '" LONG "' is no whole number from 1 to 65535");
    bad("--port " LONG "8", "--port: '" LONG "…' is no whole number from 1 to 65535");
#undef LONG
    bad("--port", "--port needs a value (N)");
    bad("--read-mode", "--read-mode needs a value (VALUE)");
    bad("-p", "-p needs a value (N)");
    bad("--verbose=true", "--verbose takes no value");
    bad("--port 0", "--port: '0' is no whole number from 1 to 65535");
    bad("--port 65536", "--port: '65536' is no whole number from 1 to 65535");
    bad("--port=", "--port: '' is no whole number from 1 to 65535");
    bad("--port 0x10", "--port: '0x10' is no whole number from 1 to 65535");
    bad("--port -1", "--port: '-1' is no whole number from 1 to 65535");
    bad("-p +1", "-p: '+1' is no whole number from 1 to 65535");
    bad("--anything 18446744073709551616", "--anything: '18446744073709551616' is no whole number");
    bad("--election-timeout 500",
        "--election-timeout: '500' is no duration (such as 500ms, 5s, 2m, 1h) from 10ms to 1m");
    bad("--election-timeout 0",
        "--election-timeout: '0' is no duration (such as 500ms, 5s, 2m, 1h) from 10ms to 1m");
    bad("--election-timeout 61s",
        "--election-timeout: '61s' is no duration (such as 500ms, 5s, 2m, 1h) from 10ms to 1m");
    bad("--max-size 17MiB",
        "--max-size: '17MiB' is no size (such as 64, 10KiB, 1MiB, 2GiB) from 1 to 16MiB");
    bad("--max-size 1mb",
        "--max-size: '1mb' is no size (such as 64, 10KiB, 1MiB, 2GiB) from 1 to 16MiB");
    bad("--read-mode fast", "--read-mode: 'fast' is none of linearizable, lease, stale");
    bad("--read-mode Stale", "--read-mode: 'Stale' is none of linearizable, lease, stale");

    char line[400] = "--";
    memset(line + 2, 'x', 300);
    is_i64(parse(line, false), ERR_USAGE, "a very long option");
    ok(strlen(err.text) < 120, "… is cut in the message");
    memcpy(line, "--port=", 7);
    is_i64(parse(line, false), ERR_USAGE, "a very long value");
    ok(strlen(err.text) < 160, "… is cut in the message");
}

static void test_units(void)
{
    static const struct {
        const char *text;
        int64_t ms, bytes; /* -1: refused */
    } cases[] = {
        {"0", 0, 0},
        {"00", -1, 0},
        {"5", -1, 5},
        {"5ms", 5, -1},
        {"5s", 5000, -1},
        {"2m", 120000, -1},
        {"1h", 3600000, -1},
        {"5 s", -1, -1},
        {"5S", -1, -1},
        {"1.5s", -1, -1},
        {"s", -1, -1},
        {"", -1, -1},
        {"-5s", -1, -1},
        {" 5s", -1, -1},
        {"64", -1, 64},
        {"64B", -1, 64},
        {"10KiB", -1, 10240},
        {"1MiB", -1, 1 << 20},
        {"2GiB", -1, 2147483648},
        {"1TiB", -1, 1099511627776},
        {"1kib", -1, -1},
        {"1K", -1, -1},
        {"1h30m", -1, -1},
        {"18446744073709551615h", -1, -1},
        {"18446744073709551615KiB", -1, -1},
        {"99999999999999999999ms", -1, -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t value = 7;
        int rc = opt_parse_duration(cases[i].text, &value);
        ok(cases[i].ms < 0 ? rc == ERR_BAD_REQUEST && value == 7
                           : rc == 0 && value == (uint64_t)cases[i].ms,
           "duration '%s'", cases[i].text);
        value = 7;
        rc = opt_parse_bytes(cases[i].text, &value);
        ok(cases[i].bytes < 0 ? rc == ERR_BAD_REQUEST && value == 7
                              : rc == 0 && value == (uint64_t)cases[i].bytes,
           "size '%s'", cases[i].text);
    }
}

/* As a program does it: flags, then the environment, then the file for what is not seen yet. */
static int all_sources(const char *line, const char *file_port)
{
    int rc = parse(line, false);
    if (rc == 0)
        rc = opt_environment(&set, seen, &err);
    if (rc == 0 && file_port && !seen[opt_find(&set, "port") - options])
        rc = opt_assign(&set, "port", file_port, "node.json", &err);
    return rc;
}

static void test_sources(void)
{
    is_i64(all_sources("", "1"), 0, "only the file");
    is_u64(v.port, 1, "… counts then");
    setenv("RAFTKV_TEST_PORT", "2", 1);
    is_i64(all_sources("", "1"), 0, "environment and file");
    is_u64(v.port, 2, "environment beats file");
    is_i64(all_sources("--port 3", "1"), 0, "all three");
    is_u64(v.port, 3, "flag beats environment");
    setenv("RAFTKV_TEST_PORT", "none", 1);
    is_i64(all_sources("--port 3", "1"), 0,
           "a bad variable that a flag overrides is not looked at");
    is_i64(all_sources("", "1"), ERR_USAGE, "… otherwise refused");
    is_str(err.text, "RAFTKV_TEST_PORT: 'none' is no whole number from 1 to 65535",
           "… naming the variable");
    setenv("RAFTKV_TEST_PORT", "", 1);
    is_i64(all_sources("", NULL), ERR_USAGE, "an empty variable is a value");
    unsetenv("RAFTKV_TEST_PORT");

    setenv("RAFTKV_TEST_VERSION", "1.2.3", 1);
    is_i64(all_sources("", NULL), 0, "what asks for something stands on the command line alone");
    ok(!v.version, "… so a variable of its name means something else");
    unsetenv("RAFTKV_TEST_VERSION");
    is_i64(opt_assign(&set, "version", "true", "node.json", &err), ERR_USAGE,
           "… and not in a file");
    is_str(err.text, "node.json: unknown option 'version'", "… where it is unknown");
    ok(parse("--version", false) == 0 && v.version, "--version");
    ok(parse("-vV", false) == 0 && v.version && v.verbose, "… behind another letter");
    is_i64(parse("--version=1", false), ERR_USAGE, "… takes no value");

    setenv("RAFTKV_TEST_READ_MODE", "lease", 1);
    setenv("RAFTKV_TEST_VERBOSE", "true", 1);
    setenv("RAFTKV_TEST_QUIET", "0", 1);
    setenv("RAFTKV_TEST_HOST", "from-environment", 1);
    is_i64(all_sources("", NULL), 0, "dashes are underscores");
    is_i64(v.mode, 1, "word from the environment");
    ok(v.verbose && !v.quiet, "flags from the environment");
    setenv("RAFTKV_TEST_HOST", "changed", 1);
    is_str(v.host, "from-environment", "string outlives its variable");
    ok(seen[0] && seen[1] && seen[2] && seen[7], "seen");
    setenv("RAFTKV_TEST_VERBOSE", "perhaps", 1);
    is_i64(all_sources("", NULL), ERR_USAGE, "a flag is true or false");
    is_str(err.text, "RAFTKV_TEST_VERBOSE: 'perhaps' is neither true nor false", "… says so");
    unsetenv("RAFTKV_TEST_VERBOSE");
    unsetenv("RAFTKV_TEST_QUIET");
    unsetenv("RAFTKV_TEST_HOST");
    unsetenv("RAFTKV_TEST_READ_MODE");

    char text[] = "temporary";
    is_i64(opt_assign(&set, "host", text, "node.json", &err), 0, "a string from a file");
    memset(text, 'x', sizeof(text) - 1);
    is_str(v.host, "temporary", "… is kept");
    is_i64(opt_assign(&set, "verbose", "true", "node.json", &err), 0, "a flag from a file");
    is_i64(opt_assign(&set, "colour", "red", "node.json", &err), ERR_USAGE, "an unknown name");
    is_str(err.text, "node.json: unknown option 'colour'", "… says where");
    is_i64(opt_assign(&set, "port", "x", "node.json", &err), ERR_USAGE, "a bad value");
    is_str(err.text, "node.json: port: 'x' is no whole number from 1 to 65535", "… says where");
    is_i64(opt_assign(&set, "port", "x", "node.json", NULL), ERR_USAGE, "nobody asks for the text");
}

static void test_help(void)
{
    char *text = opt_help(&set);
    is_str(text,
           "Usage: raftkv-test [options] KEY\n"
           "Tests options.\n"
           "\n"
           "Options:\n"
           "  -v, --verbose                 say more\n"
           "  -q, --quiet                   say less\n"
           "      --host ADDR               listen address (default: 127.0.0.1)\n"
           "  -p, --port N                  port to listen on (default: 5001)\n"
           "      --election-timeout DUR    time without a leader before an election (default: "
           "500ms)\n"
           "      --max-size SIZE           largest value (default: 1MiB)\n"
           "      --anything N              no limit\n"
           "  -m, --read-mode linearizable|lease|stale\n"
           "                                mode of reads (default: linearizable)\n"
           "  -V, --version                 show the version\n"
           "  -h, --help                    show this help\n"
           "\n"
           "Exit codes: 0 done.\n",
           "--help");
    mem_free(text);
}

int main(void)
{
    test_types();
    test_refusals();
    test_units();
    test_sources();
    test_help();
    return done();
}
