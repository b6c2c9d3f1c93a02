/* The loops of optim.c for one type: T, NAME(x) and SQRT are set. Included once a type. */

#define INLINE static inline __attribute__((always_inline))
#define UNUSED __attribute__((unused))

#include "kernels/optim_updates.h"

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
#undef UNUSED
#undef INLINE
#undef T
#undef NAME
#undef SQRT
