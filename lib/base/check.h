/*
 * Assertions that stay on in every build. They check our own code, never the network, the disk or
 * the user. A failing one prints expression and place, calls the hook and aborts.
 */
#ifndef RAFTKV_BASE_CHECK_H
#define RAFTKV_BASE_CHECK_H

_Noreturn void check_failed(const char *expression, const char *file, int line);
/* At most one; called before the abort with the line that was printed. It may leave by longjmp, as
 * the simulator's does. */
void check_set_hook(void (*hook)(void *argument, const char *text), void *argument);

#define ASSERT(expression) ((expression) ? (void)0 : check_failed(#expression, __FILE__, __LINE__))

#endif
