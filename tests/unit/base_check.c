/* A failing assertion says where, runs the hook once and aborts; so does memory that is not there.
 */
#include "lib/base/check.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "tests/unit/tap.h"

static void hook(void *argument, const char *said)
{
    const char *text = argument;
    if (strncmp(said, "assertion failed: ", 18) != 0 ||
        write(STDERR_FILENO, text, strlen(text)) < 0)
        _exit(3);
    bool hook_is_sound = false;
    ASSERT(hook_is_sound);
}

static void fail_plainly(void)
{
    ASSERT(1 + 1 == 3);
}

static void fail_with_hook(void)
{
    static char text[] = "the hook ran\n";
    check_set_hook(hook, text);
    bool happy = false;
    ASSERT(happy);
}

/* More than any address space: the allocator says no (a sanitizer's would abort by itself). */
static void fail_memory(void)
{
    volatile size_t huge = PTRDIFF_MAX / 2;
    mem_free(mem_alloc(huge));
}

/* Runs `body` in a process of its own; its stderr into `out`. Returns the signal that ended it, or
 * minus its exit status. */
static int run(void (*body)(void), char *out, size_t out_bytes)
{
    int fds[2];
    must(pipe(fds) == 0);
    fflush(stdout);
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        body();
        _exit(0);
    }
    close(fds[1]);
    size_t len = 0;
    ssize_t n;
    while (len < out_bytes - 1 && (n = read(fds[0], out + len, out_bytes - 1 - len)) > 0)
        len += (size_t)n;
    out[len] = '\0';
    close(fds[0]);
    int status;
    must(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

int main(void)
{
    char text[4096];
    is_i64(run(fail_plainly, text, sizeof(text)), SIGABRT, "a failed assertion aborts");
    has_str(text, "1 + 1 == 3", "… naming the expression");
    has_str(text, "base_check.c:", "… and the place");

    is_i64(run(fail_with_hook, text, sizeof(text)), SIGABRT, "with a hook it aborts too");
    has_str(text, "failed: happy", "… naming the expression");
    has_str(text, "the hook ran\n", "… running the hook");
    has_str(text, "failed: hook_is_sound", "… whose own failure ends it");
    const char *first = strstr(text, "the hook ran");
    ok(first && !strstr(first + 1, "the hook ran"), "… once");

    int ended = run(fail_memory, text, sizeof(text));
    ok(ended != 0, "no memory is the end (abort; a sanitizer may exit with an error instead)");

    char *copy = mem_strdup("abc");
    is_str(copy, "abc", "mem_strdup");
    copy = mem_realloc(copy, 100);
    is_str(copy, "abc", "mem_realloc keeps the bytes");
    mem_free(copy);
    mem_free(NULL);
    mem_free(mem_dup(NULL, 0));
    uint8_t *zeros = mem_calloc(10, 10);
    uint8_t sum = 0;
    for (int i = 0; i < 100; i++)
        sum |= zeros[i];
    is_u64(sum, 0, "mem_calloc zeroes");
    mem_free(zeros);
    mem_free(mem_zalloc(0));
    mem_free(mem_calloc(0, 8));

    uint64_t us = clock_now_us(), ns = clock_now_ns();
    ok(ns / 1000 >= us && ns / 1000 - us < 10000000, "micro- and nanoseconds are one clock");
    ok(clock_now_ns() >= ns, "it does not go back");
    ok(clock_wall_ms() > UINT64_C(1700000000000), "the wall clock is in milliseconds since 1970");
    return done();
}
