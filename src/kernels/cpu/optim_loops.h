/* The loops of optim.c for one type: T and NAME(x) are set. Included once a type. */

#define INLINE static inline __attribute__((always_inline))

/* Elements begin ... end of a parameter; the flags are constants where this is called, each combination a loop without branches. */
INLINE void NAME(sgd_loop)(const tn_sgd_step *s, const tn_step_item *item, int64_t begin, int64_t end, bool decays, bool momentum)
{
    T *p = item->p, *m = item->m;
    const T *g = item->g;
    const T sign = s->maximize ? -1 : 1, decay = (T)s->weight_decay, lr = (T)s->lr;
    const T keep = item->first ? 0 : (T)s->momentum, take = item->first ? 1 : (T)(1 - s->dampening);
    const T ahead = (T)s->momentum;
    const bool nesterov = s->nesterov;
    TN_INDEPENDENT
    for (int64_t i = begin; i < end; i++) {
        T x = sign * g[i];
        if (decays)
            x += decay * p[i];
        if (momentum) {
            T b = keep * m[i] + take * x;
            m[i] = b;
            x = nesterov ? x + ahead * b : b;
        }
        p[i] -= lr * x;
    }
}

static void NAME(sgd)(const void *step, const tn_step_item *item, int64_t begin, int64_t end)
{
    const tn_sgd_step *s = step;
    if (s->weight_decay != 0 && item->m)
        NAME(sgd_loop)(s, item, begin, end, true, true);
    else if (s->weight_decay != 0)
        NAME(sgd_loop)(s, item, begin, end, true, false);
    else if (item->m)
        NAME(sgd_loop)(s, item, begin, end, false, true);
    else
        NAME(sgd_loop)(s, item, begin, end, false, false);
}

INLINE void NAME(adam_loop)(const tn_adam_step *s, const tn_step_item *item, int64_t begin, int64_t end, bool decays, bool largest)
{
    T *p = item->p, *m = item->m, *v = item->v, *v_max = item->v_max;
    const T *g = item->g;
    const T sign = s->maximize ? -1 : 1, decay = (T)s->weight_decay, shrink = (T)s->decay, eps = (T)s->eps;
    const T take1 = (T)(1 - s->beta1), keep2 = (T)s->beta2, take2 = (T)(1 - s->beta2);
    const T step = (T)item->step_size, scale = (T)(1 / item->v_scale);
    TN_INDEPENDENT
    for (int64_t i = begin; i < end; i++) {
        T w = p[i] * shrink, x = sign * g[i];
        if (decays)
            x += decay * w;
        T a = m[i] + take1 * (x - m[i]), b = keep2 * v[i] + take2 * x * x;
        m[i] = a;
        v[i] = b;
        if (largest)
            v_max[i] = b = b < v_max[i] ? v_max[i] : b;
        p[i] = w - step * a / (SQRT(b) * scale + eps);
    }
}

static void NAME(adam)(const void *step, const tn_step_item *item, int64_t begin, int64_t end)
{
    const tn_adam_step *s = step;
    if (s->weight_decay != 0 && item->v_max)
        NAME(adam_loop)(s, item, begin, end, true, true);
    else if (s->weight_decay != 0)
        NAME(adam_loop)(s, item, begin, end, true, false);
    else if (item->v_max)
        NAME(adam_loop)(s, item, begin, end, false, true);
    else
        NAME(adam_loop)(s, item, begin, end, false, false);
}

#undef INLINE
#undef T
#undef NAME
#undef SQRT
