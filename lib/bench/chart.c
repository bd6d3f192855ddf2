/* Curves as inline SVG. Colours and fonts are the page's: classes l0 … l7. */
#include "lib/bench/chart.h"

#include <math.h>

#include "lib/base/html.h"

enum {
    WIDTH = 1000,
    HEIGHT = 280,
    LEFT = 70,
    TOP = 24,
    BOTTOM = 24,
    LEGEND = 150, /* width of an entry */
    LABEL_BYTES = 32,
    Y_TICKS = 4,
};

static double x_of(const struct chart *c, double x)
{
    return LEFT + x / c->x_max * (WIDTH - LEFT);
}

static double y_of(const struct chart *c, double y)
{
    double part = y / c->y_max;
    if (c->y_log)
        part = y <= c->y_min ? 0 : log(y / c->y_min) / log(c->y_max / c->y_min);
    return HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP);
}

static void put_tick(FILE *out, double x, double y, const char *anchor, const char *label)
{
    fprintf(out, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    html_put(out, label);
    fputs("</text>\n", out);
}

static void put_y_axis(FILE *out, const struct chart *c)
{
    char label[LABEL_BYTES];
    double decades = c->y_log ? log10(c->y_max / c->y_min) : Y_TICKS;
    for (int i = 0; i <= (int)(decades + 0.5); i++) {
        double y = c->y_log ? c->y_min * pow(10, i) : c->y_max * i / Y_TICKS;
        c->y_label(y, label, sizeof(label));
        put_tick(out, LEFT - 6, y_of(c, y) + 4, "end", label);
        fprintf(out, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", LEFT, WIDTH,
                y_of(c, y), y_of(c, y));
    }
}

static void put_x_axis(FILE *out, const struct chart *c)
{
    char label[LABEL_BYTES];
    for (unsigned i = 0; i <= c->x_ticks; i++) {
        double x = c->x_max * i / c->x_ticks;
        c->x_label(x, label, sizeof(label));
        put_tick(out, x_of(c, x), HEIGHT - 6,
                 i == 0            ? "start"
                 : i == c->x_ticks ? "end"
                                   : "middle",
                 label);
    }
}

static void put_line(FILE *out, const struct chart *c, unsigned which)
{
    const struct chart_line *line = &c->lines[which];
    fprintf(out, "<polyline class=\"l%u\" points=\"", which);
    for (size_t i = 0; i < line->count; i++)
        fprintf(out, "%.1f,%.1f ", x_of(c, line->points[i].x), y_of(c, line->points[i].y));
    fputs("\"><title>", out);
    html_put(out, line->name);
    fprintf(out, "</title></polyline><text class=\"name l%u\" x=\"%d\" y=\"14\">", which,
            LEFT + (int)which * LEGEND);
    html_put(out, line->name);
    fputs("</text>\n", out);
}

void chart_put(FILE *out, const struct chart *c)
{
    fputs("<h2>", out);
    html_put(out, c->title);
    fprintf(out, "</h2>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    html_put(out, c->title);
    fputs("\">\n", out);
    if (c->band_to > c->band_from)
        fprintf(out,
                "<rect class=\"band\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"><title>"
                "measured</title></rect>\n",
                x_of(c, c->band_from), TOP, x_of(c, c->band_to) - x_of(c, c->band_from),
                HEIGHT - TOP - BOTTOM);
    put_y_axis(out, c);
    put_x_axis(out, c);
    for (unsigned i = 0; i < c->line_count; i++)
        put_line(out, c, i);
    fputs("</svg>\n", out);
}
