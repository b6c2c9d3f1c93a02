/* Errors of floats in units in the last place, by which the kernels' bounds are stated. */
#ifndef TN_TESTS_ULP_H
#define TN_TESTS_ULP_H

#include <math.h>

/* The unit of a float as large as x; denormals have that of the smallest normal. */
static inline double ulp_of(double x)
{
    int exponent;
    frexp(x, &exponent);
    return ldexp(1, (x == 0 || exponent < -125 ? -125 : exponent) - 24);
}

/* How far y is from the exact value, in units of a float as large as `size`: the value itself, or, where terms may cancel, the sum of
 * their magnitudes. Infinities and NaN are what they should be or infinitely far off. */
static inline double ulps_of(float y, double exact, double size)
{
    float nearest = (float)exact;
    if (isnan(exact) || isnan(y))
        return isnan(exact) && isnan(y) ? 0 : INFINITY;
    if (isinf(nearest) || isinf(y))
        return y == nearest ? 0 : INFINITY;
    return fabs((double)y - exact) / ulp_of(size);
}

/* Of the value itself; a zero has its sign. */
static inline double ulps(float y, double exact)
{
    if ((float)exact == 0 && y == 0)
        return signbit((float)exact) == signbit(y) ? 0 : INFINITY;
    return ulps_of(y, exact, exact);
}

#endif
