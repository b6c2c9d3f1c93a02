/* Functions of math.h for several vectors of eight floats, by the same formulas. Every step is done for all vectors before the next: of one
 * vector after another so few chains of multiplications fit into the processor's window that it waits for them. Clamps are minima and maxima, where
 * gcc computes a clamped argument's result ahead and blends it. */
#ifndef TN_MATH_AVX2_H
#define TN_MATH_AVX2_H

#if defined(__AVX2__) && !defined(__AVX512F__)
#define TN_EIGHTS_
#include <immintrin.h>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/math.h"
#include "kernels/cpu/vector.h"

typedef float tn_eight_ __attribute__((vector_size(32)));
typedef uint32_t tn_eight_u32_ __attribute__((vector_size(32)));
enum { TN_EIGHTS_AT_ONCE_ = 4 };
#define TN_ALL_EIGHT_(x) _mm256_set1_ps(x)
#define TN_EACH_EIGHT_(i, n)                                                                                                  \
    TN_UNROLL                                                                                                                 \
    for (int i = 0; i < (n); i++)

TN_INLINE_ void tn_load_eights_(int count, const float *x, tn_eight_ *v)
{
    TN_EACH_EIGHT_(i, count) v[i] = *(const tn_lanes8_ *)(x + 8 * i);
}
TN_INLINE_ void tn_store_eights_(int count, float *y, const tn_eight_ *v)
{
    TN_EACH_EIGHT_(i, count) *(tn_lanes8_ *)(y + 8 * i) = v[i];
}
/* These lanes alone, the others being 0. */
TN_INLINE_ tn_eight_ tn_load_first_(const float *x, __m256i lanes) { return (tn_eight_)_mm256_maskload_ps(x, lanes); }
TN_INLINE_ void tn_store_first_(float *y, __m256i lanes, tn_eight_ v) { _mm256_maskstore_ps(y, lanes, (__m256)v); }

/* Of a NaN in x they give it. */
TN_INLINE_ tn_eight_ tn_at_least_(float least, tn_eight_ x) { return (tn_eight_)_mm256_max_ps(TN_ALL_EIGHT_(least), (__m256)x); }
TN_INLINE_ tn_eight_ tn_at_most_(float most, tn_eight_ x) { return (tn_eight_)_mm256_min_ps(TN_ALL_EIGHT_(most), (__m256)x); }
/* below where x has the sign of negatives, else rest. */
TN_INLINE_ tn_eight_ tn_below_0_(tn_eight_ x, tn_eight_ below, tn_eight_ rest)
{
    return (tn_eight_)_mm256_blendv_ps((__m256)rest, (__m256)below, (__m256)x);
}

/* x = n ln 2 + r becomes exp(r); t has n + bias in its low bits, for rounder is tn_exp_f32_'s and so much more. */
TN_INLINE_ void tn_split_exps_(int count, tn_eight_ *x, tn_eight_ *t, float rounder)
{
    tn_eight_ r[TN_EIGHTS_AT_ONCE_], p[TN_EIGHTS_AT_ONCE_];
    TN_EACH_EIGHT_(i, count) t[i] = x[i] * 1.44269504f + rounder;
    TN_EACH_EIGHT_(i, count) r[i] = x[i] - (t[i] - rounder) * TN_LN2_HI_;
    TN_EACH_EIGHT_(i, count) r[i] = r[i] - (t[i] - rounder) * TN_LN2_LO_;
    TN_EACH_EIGHT_(i, count) p[i] = r[i] * 1.39464702e-3f + 8.36659819e-3f;
    TN_EACH_EIGHT_(i, count) p[i] = p[i] * r[i] + 4.16662819e-2f;
    TN_EACH_EIGHT_(i, count) p[i] = p[i] * r[i] + 1.66665429e-1f;
    TN_EACH_EIGHT_(i, count) p[i] = p[i] * r[i] + 0.5f;
    TN_EACH_EIGHT_(i, count) p[i] = p[i] * (r[i] * r[i]) + r[i];
    TN_EACH_EIGHT_(i, count) x[i] = p[i] + 1.0f;
}

/* exp(x) for |x| <= 88, 0 where that is below 2^-126.5: one factor makes the power of two. */
TN_INLINE_ void tn_exps_within_(int count, tn_eight_ *x)
{
    tn_eight_ t[TN_EIGHTS_AT_ONCE_];
    tn_split_exps_(count, x, t, TN_ROUNDER_ + 127);
    TN_EACH_EIGHT_(i, count) x[i] = x[i] * (tn_eight_)((tn_eight_u32_)t[i] << 23);
}
/* For x <= 0, as tn_exp_minus_f32_. */
TN_INLINE_ void tn_exps_minus_(int count, tn_eight_ *x)
{
    TN_EACH_EIGHT_(i, count) x[i] = tn_at_least_(-88.0f, x[i]);
    tn_exps_within_(count, x);
}

/* exp(x) for x <= 89: both factors' exponents have their bias from t. */
TN_INLINE_ void tn_exps_below_(int count, tn_eight_ *x)
{
    tn_eight_ t[TN_EIGHTS_AT_ONCE_];
    TN_EACH_EIGHT_(i, count) x[i] = tn_at_least_(-104.0f, x[i]);
    tn_split_exps_(count, x, t, TN_ROUNDER_ + 254);
    TN_EACH_EIGHT_(i, count)
    {
        const tn_eight_u32_ n = (tn_eight_u32_)t[i], half = n >> 1;
        x[i] = x[i] * (tn_eight_)(half << 23) * (tn_eight_)((n - half) << 23);
    }
}
TN_INLINE_ void tn_exps_(int count, tn_eight_ *x)
{
    TN_EACH_EIGHT_(i, count) x[i] = tn_at_most_(89.0f, x[i]);
    tn_exps_below_(count, x);
}

TN_INLINE_ void tn_sigmoids_(int count, tn_eight_ *x)
{
    tn_eight_ e[TN_EIGHTS_AT_ONCE_];
    TN_EACH_EIGHT_(i, count) e[i] = (tn_eight_)((tn_eight_u32_)x[i] | 0x80000000u);
    tn_exps_below_(count, e);
    TN_EACH_EIGHT_(i, count) x[i] = tn_below_0_(x[i], e[i], (tn_eight_)TN_ALL_EIGHT_(1.0f)) / (1.0f + e[i]);
}
TN_INLINE_ void tn_silus_(int count, tn_eight_ *x)
{
    tn_eight_ s[TN_EIGHTS_AT_ONCE_];
    TN_EACH_EIGHT_(i, count) s[i] = x[i];
    tn_sigmoids_(count, s);
    TN_EACH_EIGHT_(i, count) x[i] = x[i] * s[i];
}

TN_INLINE_ void tn_tanhs_(int count, tn_eight_ *x)
{
    static const float c[] = {-8.17385968e-3f, 2.16993202e-2f, -5.39465200e-2f, 1.33332042e-1f, -3.33333308e-1f};
    tn_eight_ a[TN_EIGHTS_AT_ONCE_], q[TN_EIGHTS_AT_ONCE_], near[TN_EIGHTS_AT_ONCE_], far[TN_EIGHTS_AT_ONCE_];
    TN_EACH_EIGHT_(i, count) a[i] = (tn_eight_)((tn_eight_u32_)x[i] & 0x7fffffffu);
    TN_EACH_EIGHT_(i, count) far[i] = tn_at_most_(80.0f, a[i] + a[i]);
    tn_exps_within_(count, far);
    TN_EACH_EIGHT_(i, count) q[i] = x[i] * x[i];
    TN_EACH_EIGHT_(i, count) near[i] = q[i] * 2.13962072e-3f + c[0];
    TN_EACH_EIGHT_(k, 4)
    TN_EACH_EIGHT_(i, count) near[i] = near[i] * q[i] + c[k + 1];
    TN_EACH_EIGHT_(i, count) near[i] = near[i] * q[i] * a[i] + a[i];
    TN_EACH_EIGHT_(i, count) far[i] = 1.0f - 2.0f / (far[i] + 1.0f);
    TN_EACH_EIGHT_(i, count)
    {
        const tn_eight_u32_ size = (tn_eight_u32_)tn_below_0_(a[i] - 0.625f, near[i], far[i]);
        x[i] = (tn_eight_)(((tn_eight_u32_)x[i] & 0x80000000u) | (size & 0x7fffffffu));
    }
}
/* GELU by a tanh. */
TN_INLINE_ void tn_gelus_tanh_(int count, tn_eight_ *x)
{
    tn_eight_ t[TN_EIGHTS_AT_ONCE_];
    TN_EACH_EIGHT_(i, count) t[i] = 0.797884561f * (x[i] + 0.044715f * x[i] * x[i] * x[i]);
    tn_tanhs_(count, t);
    TN_EACH_EIGHT_(i, count) x[i] = x[i] * 0.5f * (1.0f + t[i]);
}

/* 2^x for x <= 0, as tn_exp2_minus_f32_. */
TN_INLINE_ void tn_exp2s_minus_(int count, tn_eight_ *x)
{
    static const float c[] = {9.67151299e-3f, 5.55073358e-2f, 2.40222424e-1f, 6.93147004e-1f, 1.0f};
    tn_eight_ t[TN_EIGHTS_AT_ONCE_], r[TN_EIGHTS_AT_ONCE_];
    TN_EACH_EIGHT_(i, count) x[i] = tn_at_least_(-127.0f, x[i]);
    TN_EACH_EIGHT_(i, count) t[i] = x[i] + TN_ROUNDER_;
    TN_EACH_EIGHT_(i, count) r[i] = x[i] - (t[i] - TN_ROUNDER_);
    TN_EACH_EIGHT_(i, count) x[i] = r[i] * 1.32647273e-3f + c[0];
    TN_EACH_EIGHT_(k, 4)
    TN_EACH_EIGHT_(i, count) x[i] = x[i] * r[i] + c[k + 1];
    TN_EACH_EIGHT_(i, count) x[i] = x[i] * (tn_eight_)(((tn_eight_u32_)t[i] << 23) + 0x3f800000u); /* not with the bias in t: a tie's even side moves */
}
/* What of a normal distribution lies below x, as tn_normal_cdf_f32_. */
TN_INLINE_ void tn_normal_cdfs_(int count, tn_eight_ *x)
{
    static const float c[] = {-3.93776897e-5f, 1.86180245e-4f, 1.36936374e-4f, -7.06342002e-3f, 5.24961799e-2f, 4.59208190e-1f, 1.15110517f, 1.0f};
    tn_eight_ a[TN_EIGHTS_AT_ONCE_], p[TN_EIGHTS_AT_ONCE_];
    TN_EACH_EIGHT_(i, count) a[i] = (tn_eight_)((tn_eight_u32_)x[i] & 0x7fffffffu);
    TN_EACH_EIGHT_(i, count) p[i] = a[i] * 2.83491272e-6f + c[0];
    TN_EACH_EIGHT_(k, 7)
    TN_EACH_EIGHT_(i, count) p[i] = p[i] * a[i] + c[k + 1];
    TN_EACH_EIGHT_(i, count) p[i] = -p[i];
    tn_exp2s_minus_(count, p);
    TN_EACH_EIGHT_(i, count) x[i] = tn_below_0_(x[i], p[i], 1.0f - p[i]);
}
TN_INLINE_ void tn_gelus_(int count, tn_eight_ *x)
{
    tn_eight_ below[TN_EIGHTS_AT_ONCE_];
    TN_EACH_EIGHT_(i, count) below[i] = x[i];
    tn_normal_cdfs_(count, below);
    TN_EACH_EIGHT_(i, count) x[i] = x[i] * below[i];
}

/* The slopes of scalar.h. */
TN_INLINE_ void tn_gelu_slopes_(int count, tn_eight_ *x)
{
    tn_eight_ below[TN_EIGHTS_AT_ONCE_], e[TN_EIGHTS_AT_ONCE_];
    TN_EACH_EIGHT_(i, count) below[i] = x[i];
    tn_normal_cdfs_(count, below);
    TN_EACH_EIGHT_(i, count) e[i] = x[i] * x[i] * -0.721347520f;
    tn_exp2s_minus_(count, e);
    TN_EACH_EIGHT_(i, count) x[i] = below[i] + x[i] * 0.398942280f * e[i];
}
TN_INLINE_ void tn_silu_slopes_(int count, tn_eight_ *x)
{
    tn_eight_ s[TN_EIGHTS_AT_ONCE_];
    TN_EACH_EIGHT_(i, count) s[i] = x[i];
    tn_sigmoids_(count, s);
    TN_EACH_EIGHT_(i, count) x[i] = s[i] * (1.0f + x[i] * (1.0f - s[i]));
}
#endif

#endif
