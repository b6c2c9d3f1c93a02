/* bfloat16 in float, straight from and to memory: kernels that read much and reckon little spare the way through a buffer. */
#ifndef TN_CPU_WIDE_H
#define TN_CPU_WIDE_H

#include "kernels/cpu/lanes.h"

/* Two numbers of bfloat16 as a word: each is its half of the word alone, so that loops over words become vectors in which nothing changes its
 * lane. tn_pair_() rounds as tn_store_bf16() does. */
typedef uint32_t tn_pair_bf16 __attribute__((may_alias, aligned(2)));
static inline float tn_low_(uint32_t pair) { return tn_bits_f32(pair << 16); }
static inline float tn_high_(uint32_t pair) { return tn_bits_f32(pair & 0xffff0000u); }
static inline uint32_t tn_rounded_(float x)
{
    const uint32_t u = tn_f32_bits(x);
    return x != x ? u | 0x400000u : u + 0x7fffu + (u >> 16 & 1);
}
static inline uint32_t tn_pair_(float low, float high) { return tn_rounded_(low) >> 16 | (tn_rounded_(high) & 0xffff0000u); }

#if defined(__AVX512F__)
/* The first `lanes` of 16 at x, the others 0. */
static inline __m512 tn_wide_(__mmask16 lanes, const tn_bf16 *x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, x)), 16));
}

/* Rounded as tn_store_bf16() rounds, denormal numbers too, which the instruction for it would drop. */
static inline void tn_narrow_(tn_bf16 *to, __mmask16 lanes, __m512 x)
{
    const __m512i u = _mm512_castps_si512(x), odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(_mm512_add_epi32(u, odd), _mm512_set1_epi32(0x7fff));
    const __m512i y = _mm512_mask_or_epi32(up, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), u, _mm512_set1_epi32(0x400000));
    _mm256_mask_storeu_epi16(to, lanes, _mm512_cvtepi32_epi16(_mm512_srli_epi32(y, 16)));
}

/* The first of 32 at x as lanes says, the others 0: one load for two vectors. */
static inline void tn_wide_pair_(__mmask32 lanes, const tn_bf16 *x, __m512 v[2])
{
    const __m512i all = _mm512_maskz_loadu_epi16(lanes, x);
    const __m512i first = _mm512_slli_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), 16);
    v[0] = _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, first, all));
    v[1] = _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, _mm512_add_epi32(first, _mm512_set1_epi32(0x100000)), all));
}

/* x, a result of arithmetic, so that no NaN signals, rounded to the upper half of each lane as tn_narrow_() rounds. */
static inline __m512i tn_rounded_v_(__m512 x)
{
    const __m512i u = _mm512_castps_si512(x);
    const __mmask16 number = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), odd = _mm512_mask_test_epi32_mask(number, u, _mm512_set1_epi32(0x10000));
    const __m512i up = _mm512_mask_add_epi32(u, number, u, _mm512_set1_epi32(0x7fff));
    return _mm512_mask_add_epi32(up, odd, up, _mm512_set1_epi32(1));
}
/* Two vectors of such results. */
static inline void tn_narrow_pair_(tn_bf16 *to, __mmask32 lanes, const __m512 x[2])
{
    const __m512i fours = _mm512_set_epi32(60, 56, 52, 48, 44, 40, 36, 32, 28, 24, 20, 16, 12, 8, 4, 0);
    const __m512i upper = _mm512_add_epi32(_mm512_or_si512(fours, _mm512_slli_epi32(fours, 16)), _mm512_set1_epi32(0x30001)); /* words 1, 3, ... */
    _mm512_mask_storeu_epi16(to, lanes, _mm512_permutex2var_epi16(tn_rounded_v_(x[0]), upper, tn_rounded_v_(x[1])));
}

/* sum_f32() of what x holds. */
static inline float sum_bf16(const tn_bf16 *x, int64_t n)
{
    __m512 a = _mm512_setzero_ps(), b = a;
    int64_t i = 0;
    for (; i + TN_LANES <= n; i += TN_LANES) {
        a = _mm512_add_ps(a, tn_wide_(0xffff, x + i));
        b = _mm512_add_ps(b, tn_wide_(0xffff, x + i + 16));
    }
    a = _mm512_add_ps(a, tn_wide_(tn_first_(n - i), x + i));
    b = _mm512_add_ps(b, tn_wide_(tn_first_(n - i - 16), x + i + 16));
    a = _mm512_add_ps(a, b);
    return tn_fold16_((const tn_lanes16_ *)&a);
}
#else
static inline float sum_bf16(const tn_bf16 *x, int64_t n)
{
    float lane[TN_LANES] = {0};
    int64_t i = 0;
    for (; i + TN_LANES <= n; i += TN_LANES)
        for (int l = 0; l < TN_LANES; l++)
            lane[l] += tn_load_bf16(x[i + l]);
    for (int l = 0; i + l < n; l++)
        lane[l] += tn_load_bf16(x[i + l]);
    return tn_fold_f32(lane);
}
#endif

#endif
