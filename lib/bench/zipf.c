/*
 * Rejection-inversion: 1 / x^exponent is integrated as if x were continuous, a point of that area
 * is drawn evenly, and the number nearest to it is taken if the point lies under that number's own
 * bar; see zipf.h.
 */
#include "lib/bench/zipf.h"

#include <math.h>

#include "lib/base/check.h"

static const double SMALL = 1e-8;

/* (exp(x) - 1) / x, and log(1 + x) / x, near 0 too. */
static double expm1_by(double x)
{
    return fabs(x) > SMALL ? expm1(x) / x : 1 + x / 2;
}

static double log1p_by(double x)
{
    return fabs(x) > SMALL ? log1p(x) / x : 1 - x / 2;
}

static double height(const struct zipf *z, double x)
{
    return exp(-z->exponent * log(x));
}

static double integral(const struct zipf *z, double x)
{
    double l = log(x);
    return expm1_by((1 - z->exponent) * l) * l;
}

static double integral_inverse(const struct zipf *z, double y)
{
    double t = y * (1 - z->exponent);
    return exp(log1p_by(t < -1 ? -1 : t) * y);
}

void zipf_grow(struct zipf *z, uint64_t n)
{
    ASSERT(n > 0);
    z->n = n;
    z->integral_last = integral(z, (double)n + 0.5);
}

void zipf_init(struct zipf *z, uint64_t n, double exponent)
{
    ASSERT(exponent > 0);
    z->exponent = exponent;
    z->integral_first = integral(z, 1.5) - 1;
    z->shortcut = 2 - integral_inverse(z, integral(z, 2.5) - height(z, 2));
    zipf_grow(z, n);
}

uint64_t zipf_draw(const struct zipf *z, struct prng *p)
{
    for (;;) {
        double even = (double)(prng_next(p) >> 11) * 0x1p-53;
        double u = z->integral_last + even * (z->integral_first - z->integral_last);
        double x = integral_inverse(z, u);
        double k = floor(x + 0.5);
        if (k < 1)
            k = 1;
        if (k > (double)z->n)
            k = (double)z->n;
        if (k - x <= z->shortcut || u >= integral(z, k + 0.5) - height(z, k))
            return (uint64_t)k;
    }
}
