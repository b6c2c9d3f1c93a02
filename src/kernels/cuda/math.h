/* The functions of elementwise.h's expressions, as CUDA has them; beside cpu/math.h. */
#ifndef TN_CUDA_MATH_H
#define TN_CUDA_MATH_H

#include "kernels/cuda/cuda.h"

#define TN_INLINE_ __device__ static __forceinline__
#define TN_FUNCTION_(name, f32, f64)                                                                                          \
    TN_INLINE_ float name(float x) { return f32(x); }                                                                         \
    TN_INLINE_ double name(double x) { return f64(x); }
TN_FUNCTION_(tn_exp_, expf, exp)
TN_FUNCTION_(tn_expm1_, expm1f, expm1)
TN_FUNCTION_(tn_log_, logf, log)
TN_FUNCTION_(tn_log1p_, log1pf, log1p)
TN_FUNCTION_(tn_log2_, log2f, log2)
TN_FUNCTION_(tn_sqrt_, sqrtf, sqrt)
TN_FUNCTION_(tn_sin_, sinf, sin)
TN_FUNCTION_(tn_cos_, cosf, cos)
TN_FUNCTION_(tn_tanh_, tanhf, tanh)
TN_FUNCTION_(tn_erf_, erff, erf)
TN_FUNCTION_(tn_floor_, floorf, floor)
TN_FUNCTION_(tn_ceil_, ceilf, ceil)
TN_FUNCTION_(tn_round_, rintf, rint)
#undef TN_FUNCTION_
TN_INLINE_ float tn_exp2_minus_(float x) { return exp2f(x); }
TN_INLINE_ double tn_exp2_minus_(double x) { return exp2(x); }
TN_INLINE_ float tn_normal_cdf_(float x) { return 0.5f * erfcf(-0.70710678118654752440f * x); }
TN_INLINE_ double tn_normal_cdf_(double x) { return 0.5 * erfc(-0.70710678118654752440 * x); }
template <class T> TN_INLINE_ T tn_sigmoid_(T x)
{
    T e = tn_exp_(x < 0 ? x : -x);
    return (x < 0 ? e : (T)1) / ((T)1 + e);
}

/* Rounding leaves integers as they are; they are never NaN or infinite. */
#define TN_SAME_(name)                                                                                                        \
    TN_INLINE_ int32_t name(int32_t x) { return x; }                                                                          \
    TN_INLINE_ int64_t name(int64_t x) { return x; }
TN_SAME_(tn_floor_)
TN_SAME_(tn_ceil_)
TN_SAME_(tn_round_)
#undef TN_SAME_
template <class T> TN_INLINE_ bool tn_isnan_(T x)
{
    if constexpr (std::is_floating_point<T>::value)
        return x != x;
    return false;
}
template <class T> TN_INLINE_ bool tn_isinf_(T x)
{
    if constexpr (std::is_floating_point<T>::value)
        return x == (T)INFINITY || x == -(T)INFINITY;
    return false;
}

#include "kernels/scalar.h"

TN_INLINE_ float tn_pow_(float a, float b) { return powf(a, b); }
TN_INLINE_ double tn_pow_(double a, double b) { return pow(a, b); }
TN_INLINE_ int64_t tn_pow_(int64_t a, int64_t b) { return tn_pow_i64_(a, b); }
TN_INLINE_ int32_t tn_pow_(int32_t a, int32_t b) { return (int32_t)tn_pow_i64_(a, b); }
TN_INLINE_ float tn_remainder_(float a, float b) { return tn_remainder_f32_(a, b); }
TN_INLINE_ double tn_remainder_(double a, double b) { return tn_remainder_f64_(a, b); }
TN_INLINE_ int64_t tn_remainder_(int64_t a, int64_t b) { return tn_remainder_i64_(a, b); }
TN_INLINE_ int32_t tn_remainder_(int32_t a, int32_t b) { return (int32_t)tn_remainder_i64_(a, b); }
#define TN_SLOPE_(name)                                                                                                       \
    TN_INLINE_ float name(float x) { return name##f32_(x); }                                                                  \
    TN_INLINE_ double name(double x) { return name##f64_(x); }
TN_SLOPE_(tn_gelu_slope_)
TN_SLOPE_(tn_gelu_tanh_slope_)
TN_SLOPE_(tn_silu_slope_)
#undef TN_SLOPE_

#endif
