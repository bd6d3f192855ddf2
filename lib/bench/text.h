/* Figures as people read them. */
#ifndef RAFTKV_BENCH_TEXT_H
#define RAFTKV_BENCH_TEXT_H

#include <stddef.h>

enum { TEXT_LATENCY_BYTES = 32 };

/* "87us", "1.23ms", "4.56s": three digits. */
void text_latency(double us, char *out, size_t bytes);

#endif
