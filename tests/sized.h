/* Formulas in float64 beside their size: what they give with each term's magnitude in its place, by which a float32 result's error is measured. What
 * goes through a function counts its own value, and its argument's size as often as the function's slope says. */
#ifndef TN_TESTS_SIZED_H
#define TN_TESTS_SIZED_H

#include <math.h>

typedef struct sized {
    double x, size;
} sized;

static inline sized exact(double x) { return (sized){x, fabs(x)}; }
static inline sized plus(sized a, sized b) { return (sized){a.x + b.x, a.size + b.size}; }
static inline sized minus(sized a, sized b) { return (sized){a.x - b.x, a.size + b.size}; }
/* To the first order, for a factor's size may be far above it; with a little of the second, which is left where both are 0. */
static inline sized times(sized a, sized b)
{
    const double a_more = a.size - fabs(a.x), b_more = b.size - fabs(b.x);
    return (sized){a.x * b.x, a.size * fabs(b.x) + fabs(a.x) * b_more + 0x1p-20 * a_more * b_more};
}
static inline sized scaled(double by, sized a) { return times(exact(by), a); }

#endif
