/* The optimisers' updates of one element, for one type: T, NAME(x), SQRT, INLINE and UNUSED are set. Included once a type, by the CPU and by CUDA. */

typedef struct NAME(scalars) {
#define SCALAR(name) T name;
    TN_STEP_SCALARS(SCALAR)
#undef SCALAR
} NAME(scalars);

/* What one element of p becomes: w, x and the ops are those of kernels.h; `states` has a bit for each state that is there, and is a
 * constant where this is called, so that each set of them has a loop without branches. */
#define TN_UPDATE(name)                                                                                                       \
    INLINE T NAME(name)(UNUSED NAME(scalars) c, T w, UNUSED T x, UNUSED T * m0, UNUSED T * m1, UNUSED T * m2, UNUSED int states)

TN_UPDATE(sgd)
{
    if (states == 0)
        return w - c.rate * x;
    *m0 = c.keep1 * *m0 + c.take1 * x;
    return w - c.rate * (c.ahead * x + c.scale * *m0);
}

TN_UPDATE(adam)
{
    T m = *m0 + c.take1 * (x - *m0), v = c.keep2 * *m1 + c.take2 * x * x;
    *m0 = m;
    *m1 = v;
    if (states & 4)
        *m2 = v = v < *m2 ? *m2 : v;
    return w - (c.rate * m + c.ahead * x) / (SQRT(v) * c.scale + c.eps);
}

TN_UPDATE(rmsprop)
{
    T v = c.keep2 * *m0 + c.take2 * x * x;
    *m0 = v;
    if (states & 4) {
        T mean = *m2 + c.take2 * (x - *m2);
        *m2 = mean;
        v -= mean * mean;
        v = v < 0 ? 0 : v; /* by rounding */
    }
    T y = x / (SQRT(v) + c.eps);
    if (states & 2)
        *m1 = y = c.keep1 * *m1 + y;
    return w - c.rate * y;
}

TN_UPDATE(adadelta)
{
    T v = c.keep2 * *m0 + c.take2 * x * x, y = SQRT(*m1 + c.eps) / SQRT(v + c.eps) * x;
    *m0 = v;
    *m1 = c.keep2 * *m1 + c.take2 * y * y;
    return w - c.rate * y;
}

TN_UPDATE(adamax)
{
    T m = *m0 + c.take1 * (x - *m0), old = c.keep2 * *m1, now = (x < 0 ? -x : x) + c.eps, v = old >= now ? old : now;
    *m0 = m;
    *m1 = v;
    return w - c.rate * m / v;
}

TN_UPDATE(lion)
{
    T u = c.keep1 * *m0 + c.take1 * x;
    *m0 = c.keep2 * *m0 + c.take2 * x;
    return w - c.rate * (u > 0 ? 1 : u < 0 ? -1 : u); /* 0 and NaN stay */
}

TN_UPDATE(muon)
{
    *m0 = *m0 + c.take1 * (x - *m0);
    return w - c.rate * *m1;
}

TN_UPDATE(scale) { return w; }
TN_UPDATE(clamp) { return w > c.rate ? c.rate : w < -c.rate ? -c.rate : w; }
TN_UPDATE(lerp) { return w + c.rate * (x - w); }

TN_UPDATE(swap)
{
    T other = *m0;
    *m0 = w;
    return other;
}

#undef TN_UPDATE
