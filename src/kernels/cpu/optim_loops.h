/* The loops of optim.c for one type: T, NAME(x) and SQRT are set. Included once a type. */

#define INLINE static inline __attribute__((always_inline))
#define UNUSED __attribute__((unused))

typedef struct NAME(scalars) {
#define SCALAR(name) T name;
    TN_STEP_SCALARS(SCALAR)
#undef SCALAR
} NAME(scalars);

/* What one element of p becomes: w, x and the ops are those of kernels.h; `states` has a bit for each state that is there, and is a
 * constant where this is called, so that each set of them has a loop without branches. */
#define UPDATE(name)                                                                                                          \
    INLINE T NAME(name)(UNUSED NAME(scalars) c, T w, UNUSED T x, UNUSED T * m0, UNUSED T * m1, UNUSED T * m2, UNUSED int states)

UPDATE(sgd)
{
    if (states == 0)
        return w - c.rate * x;
    *m0 = c.keep1 * *m0 + c.take1 * x;
    return w - c.rate * (c.ahead * x + c.scale * *m0);
}

UPDATE(adam)
{
    T m = *m0 + c.take1 * (x - *m0), v = c.keep2 * *m1 + c.take2 * x * x;
    *m0 = m;
    *m1 = v;
    if (states & 4)
        *m2 = v = v < *m2 ? *m2 : v;
    return w - (c.rate * m + c.ahead * x) / (SQRT(v) * c.scale + c.eps);
}

UPDATE(rmsprop)
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

UPDATE(adadelta)
{
    T v = c.keep2 * *m0 + c.take2 * x * x, y = SQRT(*m1 + c.eps) / SQRT(v + c.eps) * x;
    *m0 = v;
    *m1 = c.keep2 * *m1 + c.take2 * y * y;
    return w - c.rate * y;
}

UPDATE(adamax)
{
    T m = *m0 + c.take1 * (x - *m0), old = c.keep2 * *m1, now = (x < 0 ? -x : x) + c.eps, v = old >= now ? old : now;
    *m0 = m;
    *m1 = v;
    return w - c.rate * m / v;
}

UPDATE(lion)
{
    T u = c.keep1 * *m0 + c.take1 * x;
    *m0 = c.keep2 * *m0 + c.take2 * x;
    return w - c.rate * (u > 0 ? 1 : u < 0 ? -1 : u); /* 0 and NaN stay */
}

UPDATE(muon)
{
    *m0 = *m0 + c.take1 * (x - *m0);
    return w - c.rate * *m1;
}

UPDATE(scale) { return w; }
UPDATE(clamp) { return w > c.rate ? c.rate : w < -c.rate ? -c.rate : w; }
UPDATE(lerp) { return w + c.rate * (x - w); }

UPDATE(swap)
{
    T other = *m0;
    *m0 = w;
    return other;
}

/* Elements begin ... end of an item, without decay apart. What is absent points to p and is not touched. */
#define PASS(name, states, get_w, get_x)                                                                                      \
    TN_INDEPENDENT                                                                                                            \
    for (int64_t i = begin; i < end; i++) {                                                                                   \
        T w = get_w, x = get_x;                                                                                               \
        p[i] = NAME(name)(c, w, x, m0 + i, m1 + i, m2 + i, states);                                                           \
    }
#define LOOP(OP, name, states)                                                                                                \
    static void NAME(name##_##states)(const tn_step_item *item, int64_t begin, int64_t end)                                   \
    {                                                                                                                         \
        T *p = item->p, *m0 = item->state[0] ? item->state[0] : p, *m1 = item->state[1] ? item->state[1] : p;                 \
        T *m2 = item->state[2] ? item->state[2] : p;                                                                          \
        const T *g = item->g ? item->g : p;                                                                                   \
        const NAME(scalars) c = {TN_STEP_SCALARS(SCALAR)};                                                                    \
        if (c.shrink == 1 && c.decay == 0) {                                                                                  \
            PASS(name, states, p[i], c.sign * g[i])                                                                           \
        } else {                                                                                                              \
            PASS(name, states, p[i] * c.shrink, c.sign * g[i] + c.decay * w)                                                  \
        }                                                                                                                     \
    }
#define SCALAR(name) (T)item->c.name,
STEP_LOOPS(LOOP)
#undef SCALAR

#undef LOOP
#undef PASS
#undef UPDATE
#undef UNUSED
#undef INLINE
#undef T
#undef NAME
#undef SQRT
