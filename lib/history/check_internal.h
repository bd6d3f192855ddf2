/* What the checkers have in common. */
#ifndef RAFTKV_HISTORY_CHECK_INTERNAL_H
#define RAFTKV_HISTORY_CHECK_INTERNAL_H

#include "lib/history/check.h"

/* The run of `keys`, which are in the order of their bytes, that begins with a prefix. */
void keys_with_prefix(const struct history *h, const uint32_t *keys, uint32_t count,
                      uint32_t prefix, uint32_t *from, uint32_t *to);
/* Sorts numbers; `spare` has room for as many. */
void sort_numbers(uint64_t *numbers, uint64_t *spare, uint32_t count);
/* What the operations of a part that return are, as return << 32 | place in the part, sorted. */
uint64_t *part_returns(const struct history_part *p, uint32_t *count); /* mem_free */
/* Writes `why` and returns the verdict. */
enum history_verdict verdict_why(char *why, enum history_verdict verdict, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
