/*
 * Assertions that stay on in every build. They check our own code, never the network, the disk or
 * the user. A failing one prints expression and place, calls the hook (which prints the trace ring)
 * and aborts.
 */
#ifndef RAFTKV_BASE_CHECK_H
#define RAFTKV_BASE_CHECK_H

_Noreturn void check_failed(const char *expression, const char *file, int line);
void check_set_hook(void (*hook)(void *), void *argument); /* at most one; called before abort */

#define ASSERT(expression) ((expression) ? (void)0 : check_failed(#expression, __FILE__, __LINE__))

#endif
