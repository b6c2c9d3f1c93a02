/* Sums, products' sums and extremes of contiguous elements. Loops over TN_LANES are those that compilers make vectors of; the lanes are the same on
 * every instruction set, and so are the bits. */
#ifndef TN_LANES_H
#define TN_LANES_H

#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vector.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

enum { TN_LANES = 32 };
#define TN_IS_NAN(x) ((x) != (x))

/* Halves the lanes until lane[0] holds them all; step is what becomes of lane[l] and of lane[m], which is dropped. Widths are constants,
 * so that each halving is a few instructions. */
#define TN_HALVE_(width, step)                                                                                                \
    for (int l = 0, m = width; l < width; l++, m++)                                                                           \
        step;
#define TN_FOLD_(step) TN_HALVE_(16, step) TN_HALVE_(8, step) TN_HALVE_(4, step) TN_HALVE_(2, step) TN_HALVE_(1, step)

/* The same for sums of floats, of which gcc makes no vectors by itself. */
typedef float tn_lanes4_ __attribute__((vector_size(16), aligned(4), may_alias));
typedef float tn_lanes8_ __attribute__((vector_size(32), aligned(4), may_alias));
typedef float tn_lanes16_ __attribute__((vector_size(64), aligned(4), may_alias));
static inline float tn_fold8_(const tn_lanes8_ *v)
{
    tn_lanes4_ s = __builtin_shufflevector(*v, *v, 0, 1, 2, 3) + __builtin_shufflevector(*v, *v, 4, 5, 6, 7);
    s += __builtin_shufflevector(s, s, 2, 3, 2, 3);
    return s[0] + s[1];
}
static inline float tn_fold16_(const tn_lanes16_ *v)
{
    const tn_lanes8_ s = __builtin_shufflevector(*v, *v, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(*v, *v, 8, 9, 10, 11, 12, 13, 14, 15);
    return tn_fold8_(&s);
}
static inline float tn_fold_f32(const float *lane)
{
    const tn_lanes16_ s = *(const tn_lanes16_ *)lane + *(const tn_lanes16_ *)(lane + 16);
    return tn_fold16_(&s);
}
#define TN_FOLD_WITH_(T)                                                                                                      \
    static inline T tn_fold_##T(T *lane)                                                                                      \
    {                                                                                                                         \
        TN_FOLD_(lane[l] += lane[m])                                                                                          \
        return lane[0];                                                                                                       \
    }
TN_FOLD_WITH_(double)
TN_FOLD_WITH_(uint64_t)
#undef TN_FOLD_WITH_

/* U: T, unsigned where it is an integer, so that sums wrap. */
#define TN_LANES_SUM_(T, U, suffix, fold)                                                                                           \
    static inline T sum_##suffix(const T *x, int64_t n)                                                                       \
    {                                                                                                                         \
        U lane[TN_LANES] = {0};                                                                                               \
        int64_t i = 0;                                                                                                        \
        for (; i + TN_LANES <= n; i += TN_LANES)                                                                              \
            for (int l = 0; l < TN_LANES; l++)                                                                                \
                lane[l] += (U)x[i + l];                                                                                       \
        for (int l = 0; i + l < n; l++)                                                                                       \
            lane[l] += (U)x[i + l];                                                                                           \
        return (T)fold(lane);                                                                                                 \
    }
#if defined(__AVX512F__)
/* The first n lanes. */
static inline __mmask16 tn_first_(int64_t n) { return (__mmask16)(n >= 16 ? 0xffff : n > 0 ? (1 << n) - 1 : 0); }
/* Sixteen vectors' sums or extremes, one to a lane. */
#define TN_EACH_(name, both)                                                                                                  \
    static inline __m512 name(const __m512 *v)                                                                                \
    {                                                                                                                         \
        __m512 a[8], b[4], c[2];                                                                                              \
        TN_UNROLL for (int i = 0; i < 8; i++)                                                                                 \
            a[i] = both(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));              \
        TN_UNROLL for (int i = 0; i < 4; i++) {                                                                               \
            const __m512d p = _mm512_castps_pd(a[2 * i]), q = _mm512_castps_pd(a[2 * i + 1]);                                 \
            b[i] = both(_mm512_castpd_ps(_mm512_unpacklo_pd(p, q)), _mm512_castpd_ps(_mm512_unpackhi_pd(p, q)));              \
        }                                                                                                                     \
        TN_UNROLL for (int i = 0; i < 2; i++)                                                                                 \
            c[i] = both(_mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0x88), _mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0xdd)); \
        return both(_mm512_shuffle_f32x4(c[0], c[1], 0x88), _mm512_shuffle_f32x4(c[0], c[1], 0xdd));                          \
    }
TN_EACH_(tn_sum_each_, _mm512_add_ps)
TN_EACH_(tn_max_each_, _mm512_max_ps)
static inline float sum_f32(const float *x, int64_t n)
{
    __m512 a = _mm512_setzero_ps(), b = a;
    int64_t i = 0;
    for (; i + TN_LANES <= n; i += TN_LANES) {
        a = _mm512_add_ps(a, _mm512_loadu_ps(x + i));
        b = _mm512_add_ps(b, _mm512_loadu_ps(x + i + 16));
    }
    a = _mm512_add_ps(a, _mm512_maskz_loadu_ps(tn_first_(n - i), x + i));
    b = _mm512_add_ps(b, _mm512_maskz_loadu_ps(tn_first_(n - i - 16), x + i + 16));
    a = _mm512_add_ps(a, b);
    return tn_fold16_((const tn_lanes16_ *)&a);
}
#elif defined(__AVX2__)
/* Here by vectors: gcc keeps such an array of lanes in memory, and each step waits for the store of the one before. */
/* The first n of eight lanes. */
static inline __m256i tn_first_eight_(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n < 8 ? n : 8)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
/* The first n of eight elements at x, the others those of `none`. */
static inline __m256 tn_first8_(const float *x, int64_t n, __m256 none)
{
    const __m256i lanes = tn_first_eight_(n);
    return _mm256_blendv_ps(none, _mm256_maskload_ps(x, lanes), _mm256_castsi256_ps(lanes));
}
static inline float sum_f32(const float *x, int64_t n)
{
    const __m256 none = _mm256_setzero_ps();
    __m256 v[4] = {none, none, none, none};
    int64_t i = 0;
    for (; i + TN_LANES <= n; i += TN_LANES)
        TN_UNROLL for (int k = 0; k < 4; k++)
            v[k] = _mm256_add_ps(v[k], _mm256_loadu_ps(x + i + 8 * k));
    if (i < n)
        TN_UNROLL for (int k = 0; k < 4; k++)
            v[k] = _mm256_add_ps(v[k], tn_first8_(x + i + 8 * k, n - i - 8 * k, none));
    v[0] = _mm256_add_ps(_mm256_add_ps(v[0], v[2]), _mm256_add_ps(v[1], v[3]));
    return tn_fold8_((const tn_lanes8_ *)&v[0]);
}
#else
TN_LANES_SUM_(float, float, f32, tn_fold_f32)
#endif
TN_LANES_SUM_(double, double, f64, tn_fold_double)
TN_LANES_SUM_(int64_t, uint64_t, i64, tn_fold_uint64_t)

#define TN_LANES_DOT_(T, suffix)                                                                                              \
    static inline T dot_##suffix(const T *x, const T *y, int64_t n)                                                           \
    {                                                                                                                         \
        T lane[TN_LANES] = {0}, rest = 0;                                                                                     \
        int64_t i = 0;                                                                                                        \
        for (; i + TN_LANES <= n; i += TN_LANES)                                                                              \
            for (int l = 0; l < TN_LANES; l++)                                                                                \
                lane[l] += x[i + l] * y[i + l];                                                                               \
        for (; i < n; i++)                                                                                                    \
            rest += x[i] * y[i];                                                                                              \
        return sum_##suffix(lane, n < TN_LANES ? 0 : TN_LANES) + rest;                                                        \
    }
#if defined(__AVX2__) && defined(__FMA__) && !defined(__AVX512F__)
static inline float dot_f32(const float *x, const float *y, int64_t n)
{
    const __m256 none = _mm256_setzero_ps();
    __m256 v[4] = {none, none, none, none};
    int64_t i = 0;
    for (; i + TN_LANES <= n; i += TN_LANES)
        TN_UNROLL for (int k = 0; k < 4; k++)
            v[k] = _mm256_fmadd_ps(_mm256_loadu_ps(x + i + 8 * k), _mm256_loadu_ps(y + i + 8 * k), v[k]);
    float rest = 0;
    for (; i < n; i++)
        rest += x[i] * y[i];
    v[0] = _mm256_add_ps(_mm256_add_ps(v[0], v[2]), _mm256_add_ps(v[1], v[3]));
    return tn_fold8_((const tn_lanes8_ *)&v[0]) + rest;
}
#else
TN_LANES_DOT_(float, f32)
#endif
TN_LANES_DOT_(double, f64)

/* The extreme of all x; NaN beats everything. */
#define TN_LANES_EXTREME_(T, name, beats, start)                                                                              \
    static inline T name(const T *x, int64_t n)                                                                               \
    {                                                                                                                         \
        T lane[TN_LANES], best = start;                                                                                       \
        int64_t i = 0;                                                                                                        \
        for (int l = 0; l < TN_LANES; l++)                                                                                    \
            lane[l] = start;                                                                                                  \
        for (; i + TN_LANES <= n; i += TN_LANES)                                                                              \
            for (int l = 0; l < TN_LANES; l++)                                                                                \
                lane[l] = beats(x[i + l], lane[l]) ? x[i + l] : lane[l];                                                      \
        for (; i < n; i++)                                                                                                    \
            best = beats(x[i], best) ? x[i] : best;                                                                           \
        if (n >= TN_LANES) {                                                                                                  \
            TN_FOLD_(lane[l] = beats(lane[m], lane[l]) ? lane[m] : lane[l])                                                   \
            best = beats(lane[0], best) ? lane[0] : best;                                                                     \
        }                                                                                                                     \
        return best;                                                                                                          \
    }
#define TN_GREATER_(a, b) ((a) > (b) || TN_IS_NAN(a))
#define TN_LESS_(a, b) ((a) < (b) || TN_IS_NAN(a))
#define TN_GREATER_NUMBER_(a, b) ((a) > (b))
TN_LANES_EXTREME_(float, max_f32, TN_GREATER_, -HUGE_VALF)
TN_LANES_EXTREME_(double, max_f64, TN_GREATER_, -HUGE_VAL)
TN_LANES_EXTREME_(int64_t, max_i64, TN_GREATER_, INT64_MIN)
TN_LANES_EXTREME_(float, min_f32, TN_LESS_, HUGE_VALF)
TN_LANES_EXTREME_(double, min_f64, TN_LESS_, HUGE_VAL)
TN_LANES_EXTREME_(int64_t, min_i64, TN_LESS_, INT64_MAX)
/* The greatest that is not NaN; -infinity where there is none. */
#if defined(__AVX512F__)
static inline float max_number_f32(const float *x, int64_t n)
{
    const __m512 none = _mm512_set1_ps(-HUGE_VALF);
    __m512 a = none, b = none;
    int64_t i = 0;
    for (; i + TN_LANES <= n; i += TN_LANES) {
        a = _mm512_max_ps(_mm512_loadu_ps(x + i), a); /* of a NaN in x it gives a */
        b = _mm512_max_ps(_mm512_loadu_ps(x + i + 16), b);
    }
    a = _mm512_max_ps(_mm512_mask_loadu_ps(none, tn_first_(n - i), x + i), a);
    b = _mm512_max_ps(_mm512_mask_loadu_ps(none, tn_first_(n - i - 16), x + i + 16), b);
    return _mm512_reduce_max_ps(_mm512_max_ps(a, b));
}
#elif defined(__AVX2__)
static inline float max_number_f32(const float *x, int64_t n)
{
    const __m256 none = _mm256_set1_ps(-HUGE_VALF);
    __m256 v[4] = {none, none, none, none};
    int64_t i = 0;
    for (; i + TN_LANES <= n; i += TN_LANES)
        TN_UNROLL for (int k = 0; k < 4; k++)
            v[k] = _mm256_max_ps(_mm256_loadu_ps(x + i + 8 * k), v[k]); /* of a NaN in x it gives v[k] */
    if (i < n)
        TN_UNROLL for (int k = 0; k < 4; k++)
            v[k] = _mm256_max_ps(tn_first8_(x + i + 8 * k, n - i - 8 * k, none), v[k]);
    v[0] = _mm256_max_ps(_mm256_max_ps(v[0], v[1]), _mm256_max_ps(v[2], v[3]));
    __m128 best = _mm_max_ps(_mm256_castps256_ps128(v[0]), _mm256_extractf128_ps(v[0], 1));
    best = _mm_max_ps(best, _mm_movehl_ps(best, best));
    return _mm_cvtss_f32(_mm_max_ss(best, _mm_movehdup_ps(best)));
}
#else
TN_LANES_EXTREME_(float, max_number_f32, TN_GREATER_NUMBER_, -HUGE_VALF)
#endif
TN_LANES_EXTREME_(double, max_number_f64, TN_GREATER_NUMBER_, -HUGE_VAL)

#endif
