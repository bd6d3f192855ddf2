/* Curves as inline SVG: axes, lines, a legend. */
#ifndef RAFTKV_BENCH_CHART_H
#define RAFTKV_BENCH_CHART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { CHART_LINES = 8 };

struct chart_point {
    double x, y;
};

struct chart_line {
    const char *name;
    const struct chart_point *points; /* in the order of x; borrowed */
    size_t count;
};

struct chart {
    const char *title;
    double x_max, y_max; /* from 0; larger than that */
    bool y_log;          /* from y_min on, logarithmic */
    double y_min;        /* > 0; of y_log */
    unsigned x_ticks;    /* distances; the labels are x_label's */
    void (*x_label)(double x, char *out, size_t bytes);
    void (*y_label)(double y, char *out, size_t bytes);
    double band_from, band_to; /* the part that counts; equal: none is marked */
    struct chart_line lines[CHART_LINES];
    unsigned line_count;
};

void chart_put(FILE *out, const struct chart *c);

#endif
