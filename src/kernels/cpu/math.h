/* Functions of one float without branches, so that a loop over them becomes a loop over vectors on every instruction set: no table, no
 * call, every special case a select. Polynomials are minimax fits in relative error. double is the C library's.
 *
 * Errors in units in the last place (ulp) over the whole range, denormals included, these functions', math_avx2.h's and math_avx512.h's: sqrt and 1 / x 0.5,
 * log 1, exp and log1p 1.1, erf 1.3, log2, 1 / sqrt(x) and tanh 1.5, expm1, sin and cos 1.6, sigmoid 2.2. What elementwise.h makes of them: ELU
 * 0.9, softplus 1.5, mish 2.8, SiLU 3; GELU 6, with tanh 1.3, and hardswish 1.1 of their argument. Slopes: sigmoid's 1.1; tanh's 0.5, GELU's 1.4,
 * with tanh 5, SiLU's 9 of 1. tests/test_math_ulp.c has all of these bounds.
 *
 * tn_exp_(x) and the others take float or double and give the same; the expressions of elementwise.h are written with them. */
#ifndef TN_CPU_MATH_H
#define TN_CPU_MATH_H

#include <math.h>
#include <stdint.h>

#include "kernels/cpu/cpu.h"

#define TN_INLINE_ static inline __attribute__((always_inline, unused))

/* ---- float ---------------------------------------------------------------------------------------------------------------- */

#define TN_ROUNDER_ 12582912.0f /* 1.5 * 2^23: what is added to it loses its fraction, to even, and leaves the integer in its low bits */
#define TN_LN2_HI_ 0.693138123f
#define TN_LN2_LO_ 9.05800061e-6f /* HI + LO is ln 2; HI has 12 bits to spare, so that n * HI is exact */

TN_INLINE_ float tn_abs_f32_(float x) { return tn_bits_f32(tn_f32_bits(x) & 0x7fffffffu); }
TN_INLINE_ float tn_copysign_f32_(float x, float sign)
{
    return tn_bits_f32((tn_f32_bits(x) & 0x7fffffffu) | (tn_f32_bits(sign) & 0x80000000u));
}
TN_INLINE_ float tn_pow2_f32_(int32_t n) { return tn_bits_f32((uint32_t)(n + 127) << 23); } /* -126 <= n <= 127 */

/* x = n ln 2 + r with |r| <= ln 2 / 2; |x| <= 104. NaN gives NaN in r. */
TN_INLINE_ float tn_split_exp_(float x, int32_t *n)
{
    float t = x * 1.44269504f + TN_ROUNDER_;
    *n = (int32_t)(tn_f32_bits(t) - tn_f32_bits(TN_ROUNDER_));
    t -= TN_ROUNDER_;
    return x - t * TN_LN2_HI_ - t * TN_LN2_LO_;
}

/* exp(r), |r| <= log(2) / 2 */
TN_INLINE_ float tn_exp_poly_(float r)
{
    float p = 1.39464702e-3f;
    p = p * r + 8.36659819e-3f;
    p = p * r + 4.16662819e-2f;
    p = p * r + 1.66665429e-1f;
    p = p * r + 0.5f;
    return p * (r * r) + r + 1.0f;
}

TN_INLINE_ float tn_exp_f32_(float x)
{
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    int32_t n;
    float r = tn_split_exp_(x, &n);
    int32_t half = n >> 1; /* twice half of the exponent: 2^n itself may be too large or too small for a float */
    return tn_exp_poly_(r) * tn_pow2_f32_(half) * tn_pow2_f32_(n - half);
}

/* exp(x) and 2^x for x <= 0, in half the time: one factor makes the power of two, which is 0 for what lies below 2^-126.5, and the bits of
 * the rounder itself are shifted out. */
TN_INLINE_ float tn_exp_minus_f32_(float x)
{
    float y = x < -88.0f ? -88.0f : x, t = y * 1.44269504f + TN_ROUNDER_, n = t - TN_ROUNDER_;
    float r = y - n * TN_LN2_HI_ - n * TN_LN2_LO_;
    return tn_exp_poly_(r) * tn_bits_f32((tn_f32_bits(t) << 23) + 0x3f800000u);
}
TN_INLINE_ float tn_exp2_minus_f32_(float x)
{
    float y = x < -127.0f ? -127.0f : x, t = y + TN_ROUNDER_, r = y - (t - TN_ROUNDER_);
    float p = 1.32647273e-3f;
    p = p * r + 9.67151299e-3f;
    p = p * r + 5.55073358e-2f;
    p = p * r + 2.40222424e-1f;
    p = p * r + 6.93147004e-1f;
    p = p * r + 1.0f;
    return p * tn_bits_f32((tn_f32_bits(t) << 23) + 0x3f800000u);
}

TN_INLINE_ float tn_expm1_f32_(float x)
{
    float y = x > 89.0f ? 89.0f : x;
    y = y < -20.0f ? -20.0f : y;
    int32_t n;
    float r = tn_split_exp_(y, &n);
    float p = 1.99136001e-4f;
    p = p * r + 1.39410252e-3f;
    p = p * r + 8.33327410e-3f;
    p = p * r + 4.16663546e-2f;
    p = p * r + 1.66666668e-1f;
    p = p * r + 0.5f;
    p = p * (r * r) + r;
    float s = tn_pow2_f32_(n - 1); /* half of 2^n, for n up to 128 */
    y = 2.0f * (s * p + (s - 0.5f));
    return tn_abs_f32_(x) < 5e-8f ? x : y;
}

/* x = m 2^e with sqrt(1/2) <= m < sqrt(2); x > 0 and normal. Gives m - 1, exact. */
TN_INLINE_ float tn_split_log_(float x, float *e)
{
    uint32_t u = tn_f32_bits(x) - 0x3f3504f3u;
    *e = (float)((int32_t)u >> 23);
    return tn_bits_f32((u & 0x7fffffu) + 0x3f3504f3u) - 1.0f;
}
/* (log(1 + f) - f + f^2 / 2) / f^3 */
TN_INLINE_ float tn_log_poly_(float f)
{
    float p = 6.91476738e-2f;
    p = p * f - 1.17925584e-1f;
    p = p * f + 1.18745970e-1f;
    p = p * f - 1.23840484e-1f;
    p = p * f + 1.42184365e-1f;
    p = p * f - 1.66692581e-1f;
    p = p * f + 2.00022352e-1f;
    p = p * f - 2.49999870e-1f;
    return p * f + 3.33333103e-1f;
}
/* What a logarithm gives outside its domain: of 0, of negatives, of infinity and NaN. */
TN_INLINE_ float tn_log_special_(float x, float y)
{
    y = x < INFINITY ? y : x;
    y = x == 0 ? -INFINITY : y;
    return x < 0 ? NAN : y;
}

TN_INLINE_ float tn_log_f32_(float x)
{
    bool tiny = x < 0x1p-126f;
    float e, f = tn_split_log_(tiny ? x * 0x1p23f : x, &e);
    e = tiny ? e - 23.0f : e;
    float q = f * f, tail = e * TN_LN2_LO_ + q * (f * tn_log_poly_(f) - 0.5f);
    return tn_log_special_(x, e * TN_LN2_HI_ + (f + tail));
}

TN_INLINE_ float tn_log2_f32_(float x)
{
    bool tiny = x < 0x1p-126f;
    float e, f = tn_split_log_(tiny ? x * 0x1p23f : x, &e);
    e = tiny ? e - 23.0f : e;
    float tail = f * f * (f * tn_log_poly_(f) - 0.5f);
    float y = tail * 0.442695041f + f * 0.442695041f + tail + f; /* log2(e) - 1: the 1 is exact */
    return tn_log_special_(x, e + y);
}

TN_INLINE_ float tn_log1p_f32_(float x)
{
    float u = 1.0f + x, e, f = tn_split_log_(u, &e);
    float lost = (x > 1.0f ? 1.0f - (u - x) : x - (u - 1.0f)) / u; /* what rounding u took off, to first order */
    bool near = e == 0;
    f = near ? x : f;
    lost = near ? 0.0f : lost;
    float q = f * f, tail = e * TN_LN2_LO_ + lost + q * (f * tn_log_poly_(f) - 0.5f);
    float y = tn_log_special_(u, e * TN_LN2_HI_ + (f + tail));
    return x == 0 ? x : y;
}

/* sin and cos are right up to TN_TRIG_LIMIT_; beyond it whoever loops over them asks the C library (infinities among them). */
#define TN_TRIG_LIMIT_ 1e6f
TN_INLINE_ float tn_trig_f32_(float x, uint32_t quarter)
{
    double t = (double)x * 0.63661977236758134 + 0x1.8p52;
    union { double d; uint64_t u; } bits = {t};
    uint32_t n = (uint32_t)bits.u + quarter;
    t -= 0x1.8p52;
    float r = (float)((double)x - t * 1.57079632673412561417 - t * 6.07710050650619224932e-11), q = r * r;
    float s = 2.71804768e-6f;
    s = s * q - 1.98393045e-4f;
    s = s * q + 8.33332928e-3f;
    s = s * q - 1.66666666e-1f;
    s = s * q * r + r;
    float c = 2.43896354e-5f;
    c = c * q - 1.38867553e-3f;
    c = c * q + 4.16666231e-2f;
    c = c * q * q - 0.5f * q + 1.0f;
    float y = n & 1 ? c : s;
    return tn_bits_f32(tn_f32_bits(y) ^ (n & 2) << 30);
}
TN_INLINE_ float tn_sin_f32_(float x) { return x == 0 ? x : tn_trig_f32_(x, 0); }
TN_INLINE_ float tn_cos_f32_(float x) { return tn_trig_f32_(x, 1); }

TN_INLINE_ float tn_tanh_f32_(float x)
{
    float a = tn_abs_f32_(x), q = x * x;
    float p = 2.13962072e-3f;
    p = p * q - 8.17385968e-3f;
    p = p * q + 2.16993202e-2f;
    p = p * q - 5.39465200e-2f;
    p = p * q + 1.33332042e-1f;
    p = p * q - 3.33333308e-1f;
    float near = p * q * a + a, far = 1.0f - 2.0f / (tn_exp_f32_(2.0f * a) + 1.0f);
    return tn_copysign_f32_(a < 0.625f ? near : far, x);
}

TN_INLINE_ float tn_erf_f32_(float x)
{
    float a = tn_abs_f32_(x), q = x * x;
    float p = 8.34537507e-5f;
    p = p * q - 8.13747958e-4f;
    p = p * q + 5.20063882e-3f;
    p = p * q - 2.68592731e-2f;
    p = p * q + 1.12836940e-1f;
    p = p * q - 3.76126337e-1f;
    p = p * q + 1.28379167e-1f;
    float near = p * a + a;
    float t = a > 4.0f ? 4.0f : a; /* erf(4) is 1 in float */
    float u = 1.12314655e-5f;      /* -log(1 - erf(t)) / t, less 1 */
    u = u * t - 3.22805392e-4f;
    u = u * t + 3.64246502e-3f;
    u = u * t - 2.37620751e-2f;
    u = u * t + 1.06236891e-1f;
    u = u * t + 6.35151309e-1f;
    u = u * t + 1.28648492e-1f;
    float far = 1.0f - tn_exp_f32_(-(u * t + t));
    return tn_copysign_f32_(a < 0.92f ? near : far, x);
}

/* How much of a standard normal distribution lies below x: its absolute error is what counts, of that some 1e-7. */
TN_INLINE_ float tn_normal_cdf_f32_(float x)
{
    float a = tn_abs_f32_(x);
    float p = 2.83491272e-6f; /* -log2(cdf(-a)); beyond 5.8, where it was fit, it goes on growing */
    p = p * a - 3.93776897e-5f;
    p = p * a + 1.86180245e-4f;
    p = p * a + 1.36936374e-4f;
    p = p * a - 7.06342002e-3f;
    p = p * a + 5.24961799e-2f;
    p = p * a + 4.59208190e-1f;
    p = p * a + 1.15110517f;
    p = p * a + 1.0f;
    float below = tn_exp2_minus_f32_(-p);
    return x < 0 ? below : 1.0f - below;
}

TN_INLINE_ float tn_sigmoid_f32_(float x)
{
    float e = tn_exp_f32_(-tn_abs_f32_(x));
    return (x < 0 ? e : 1.0f) / (1.0f + e);
}

/* ---- double ----------------------------------------------------------------------------------------------------------------- */

TN_INLINE_ double tn_exp2_minus_f64_(double x) { return exp(x * 0.69314718055994530942); }
TN_INLINE_ double tn_normal_cdf_f64_(double x) { return 0.5 * (1 + erf(x * 0.70710678118654752440)); }
TN_INLINE_ double tn_sigmoid_f64_(double x)
{
    double e = exp(-fabs(x));
    return (x < 0 ? e : 1.0) / (1.0 + e);
}

/* ---- by type ---------------------------------------------------------------------------------------------------------------- */

#define tn_exp_(x) _Generic((x), float: tn_exp_f32_, double: exp)(x)
#define tn_exp_minus_(x) _Generic((x), float: tn_exp_minus_f32_, double: exp)(x)
#define tn_exp2_minus_(x) _Generic((x), float: tn_exp2_minus_f32_, double: tn_exp2_minus_f64_)(x)
#define tn_normal_cdf_(x) _Generic((x), float: tn_normal_cdf_f32_, double: tn_normal_cdf_f64_)(x)
#define tn_expm1_(x) _Generic((x), float: tn_expm1_f32_, double: expm1)(x)
#define tn_log_(x) _Generic((x), float: tn_log_f32_, double: log)(x)
#define tn_log1p_(x) _Generic((x), float: tn_log1p_f32_, double: log1p)(x)
#define tn_log2_(x) _Generic((x), float: tn_log2_f32_, double: log2)(x)
#define tn_sin_(x) _Generic((x), float: tn_sin_f32_, double: sin)(x)
#define tn_cos_(x) _Generic((x), float: tn_cos_f32_, double: cos)(x)
#define tn_tanh_(x) _Generic((x), float: tn_tanh_f32_, double: tanh)(x)
#define tn_erf_(x) _Generic((x), float: tn_erf_f32_, double: erf)(x)
#define tn_sigmoid_(x) _Generic((x), float: tn_sigmoid_f32_, double: tn_sigmoid_f64_)(x)
#define tn_sqrt_(x) _Generic((x), float: __builtin_sqrtf, double: __builtin_sqrt)(x)
#define tn_floor_(x) _Generic((x), float: __builtin_floorf, double: __builtin_floor)(x)
#define tn_ceil_(x) _Generic((x), float: __builtin_ceilf, double: __builtin_ceil)(x)
#define tn_round_(x) _Generic((x), float: __builtin_rintf, double: __builtin_rint)(x)
#define tn_fmod_(x, y) _Generic((x), float: fmodf, double: fmod)(x, y)

/* Integers are never NaN or infinite: of one type, so that the compiler sees no comparison of an integer with itself. */
TN_INLINE_ bool tn_isnan_f32_(float x) { return x != x; }
TN_INLINE_ bool tn_isnan_f64_(double x) { return x != x; }
TN_INLINE_ bool tn_isinf_f32_(float x) { return tn_abs_f32_(x) == INFINITY; }
TN_INLINE_ bool tn_isinf_f64_(double x) { return fabs(x) == (double)INFINITY; }
TN_INLINE_ bool tn_never_(int64_t x)
{
    (void)x;
    return false;
}
#define tn_isnan_(x) _Generic((x), float: tn_isnan_f32_, double: tn_isnan_f64_, default: tn_never_)(x)
#define tn_isinf_(x) _Generic((x), float: tn_isinf_f32_, double: tn_isinf_f64_, default: tn_never_)(x)

#include "kernels/scalar.h"
#define tn_pow_(a, b) _Generic((a), float: powf, double: pow, default: tn_pow_i64_)(a, b)
#define tn_remainder_(a, b)                                                                                                   \
    _Generic((a), float: tn_remainder_f32_, double: tn_remainder_f64_, default: tn_remainder_i64_)(a, b)

#define tn_gelu_slope_(x) _Generic((x), float: tn_gelu_slope_f32_, double: tn_gelu_slope_f64_)(x)
#define tn_gelu_tanh_slope_(x) _Generic((x), float: tn_gelu_tanh_slope_f32_, double: tn_gelu_tanh_slope_f64_)(x)
#define tn_silu_slope_(x) _Generic((x), float: tn_silu_slope_f32_, double: tn_silu_slope_f64_)(x)

#endif
