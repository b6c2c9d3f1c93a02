/* Functions that elementwise.h's expressions use and that are written in terms of others: included once those are there, by cpu/math.h and by
 * cuda/math.h. TN_INLINE_ says what stands before a function. */
#ifndef TN_SCALAR_H
#define TN_SCALAR_H

/* Integers: a power wraps; of a negative exponent only 1 and -1 have an integer power. A remainder by 0 is 0 (the operator refuses it
 * before). */
TN_INLINE_ int64_t tn_pow_i64_(int64_t a, int64_t b)
{
    if (b < 0)
        return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
    uint64_t result = 1, base = (uint64_t)a;
    for (; b > 0; b >>= 1, base *= base)
        result = b & 1 ? result * base : result;
    return (int64_t)result;
}
TN_INLINE_ int64_t tn_remainder_i64_(int64_t a, int64_t b)
{
    if (b == 0 || b == -1)
        return 0;
    int64_t r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
TN_INLINE_ float tn_remainder_f32_(float a, float b)
{
    float r = fmodf(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
TN_INLINE_ double tn_remainder_f64_(double a, double b)
{
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/* Slopes of the activations, for fused gradients. */
#define TN_SLOPES_(T, suffix)                                                                                                 \
    TN_INLINE_ T tn_gelu_slope_##suffix(T x)                                                                                  \
    {                                                                                                                         \
        return tn_normal_cdf_(x) + x * (T)0.39894228040143267794 * tn_exp2_minus_(x * x * (T)-0.72134752044448170368);        \
    }                                                                                                                         \
    TN_INLINE_ T tn_gelu_tanh_slope_##suffix(T x)                                                                             \
    {                                                                                                                         \
        T q = x * x, t = tn_tanh_((T)0.79788456080286535588 * (x + (T)0.044715 * x * q));                                     \
        return (T)0.5 * ((T)1 + t + x * ((T)1 - t * t) * (T)0.79788456080286535588 * ((T)1 + (T)0.134145 * q));               \
    }                                                                                                                         \
    TN_INLINE_ T tn_silu_slope_##suffix(T x)                                                                                  \
    {                                                                                                                         \
        T s = tn_sigmoid_(x);                                                                                                 \
        return s * ((T)1 + x * ((T)1 - s));                                                                                   \
    }
TN_SLOPES_(float, f32_)
TN_SLOPES_(double, f64_)
#undef TN_SLOPES_

#endif
