/* The end of a process whose own code is wrong. */
#include "lib/base/check.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void (*hook_function)(void *, const char *);
static void *hook_argument;
static atomic_flag hook_ran = ATOMIC_FLAG_INIT;

void check_set_hook(void (*hook)(void *argument, const char *text), void *argument)
{
    atomic_flag_clear(&hook_ran);
    hook_argument = argument;
    hook_function = hook;
}

void check_failed(const char *expression, const char *file, int line)
{
    /* Not through the log: its queue may be what is broken, and its thread may never run again. */
    char text[512];
    int len =
        snprintf(text, sizeof(text), "assertion failed: %s (%s:%d)\n", expression, file, line);
    size_t left = len < 0 ? 0 : strnlen(text, sizeof(text));
    if (left && write(STDERR_FILENO, text, left) < 0)
        abort();
    /* A hook that fails an assertion itself must not run again. */
    if (hook_function && !atomic_flag_test_and_set(&hook_ran))
        hook_function(hook_argument, text);
    abort();
}
