/* Figures as people read them. */
#include "lib/bench/text.h"

#include <stdio.h>

void text_latency(double us, char *out, size_t bytes)
{
    const char *unit = us < 1e3 ? "us" : us < 1e6 ? "ms" : "s";
    double value = us < 1e3 ? us : us < 1e6 ? us / 1e3 : us / 1e6;
    int decimals = us < 1e3 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
    snprintf(out, bytes, "%.*f%s", decimals, value, unit);
}
