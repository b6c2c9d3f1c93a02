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

/* What tn_wide_vector_() and tn_narrow_vector_() read and write, as many lanes as the instruction set has. */
typedef float tn_vector_f32_ __attribute__((vector_size(TN_VECTOR_BYTES), aligned(4), may_alias));

#if defined(__AVX512F__)
/* The first `lanes` of 16 at x, the others 0. */
static inline __m512 tn_wide_(__mmask16 lanes, const tn_bf16 *x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, x)), 16));
}

/* x, a result of arithmetic, so that no NaN signals, rounded to the upper half of each lane as tn_store_bf16() rounds; denormal numbers too, which the
 * instruction for it would drop. */
static inline __m512i tn_rounded_v_(__m512 x)
{
    const __m512i u = _mm512_castps_si512(x);
    const __mmask16 number = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), odd = _mm512_mask_test_epi32_mask(number, u, _mm512_set1_epi32(0x10000));
    const __m512i up = _mm512_mask_add_epi32(u, number, u, _mm512_set1_epi32(0x7fff));
    return _mm512_mask_add_epi32(up, odd, up, _mm512_set1_epi32(1));
}
static inline void tn_narrow_(tn_bf16 *to, __mmask16 lanes, __m512 x)
{
    const __m512i upper = _mm512_set_epi16(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    _mm256_mask_storeu_epi16(to, lanes, _mm512_castsi512_si256(_mm512_permutexvar_epi16(upper, tn_rounded_v_(x))));
}
static inline tn_vector_f32_ tn_wide_vector_(const tn_bf16 *x) { return (tn_vector_f32_)tn_wide_(0xffff, x); }
static inline void tn_narrow_vector_(tn_bf16 *to, tn_vector_f32_ x) { tn_narrow_(to, 0xffff, (__m512)x); }

/* Where order does not matter, or is kept by what follows: the first n of 32 at x as sixteen pairs, the others 0; the even ones and the odd; pairs of them. */
static inline __mmask32 tn_first32_(int64_t n) { return n >= 32 ? 0xffffffffu : n > 0 ? (1u << n) - 1 : 0; }
static inline __m512i tn_pairs_at_(const tn_bf16 *x, int64_t n)
{
    return n >= 32 ? _mm512_loadu_si512(x) : _mm512_maskz_loadu_epi16(tn_first32_(n), x);
}
static inline __m512 tn_lows_(__m512i pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
static inline __m512 tn_highs_(__m512i pairs) { return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000u))); }
static inline void tn_store_pairs_(tn_bf16 *to, int64_t n, __m512 lows, __m512 highs)
{
    const __m512i low = _mm512_srli_epi32(tn_rounded_v_(lows), 16), high = _mm512_and_si512(tn_rounded_v_(highs), _mm512_set1_epi32((int)0xffff0000u));
    if (n >= 32)
        _mm512_storeu_si512(to, _mm512_or_si512(low, high));
    else
        _mm512_mask_storeu_epi16(to, tn_first32_(n), _mm512_or_si512(low, high));
}

/* In order: the first of 32 at x as lanes says, the others 0, one load for two vectors; and two vectors of results of arithmetic. */
static inline void tn_wide_pair_(__mmask32 lanes, const tn_bf16 *x, __m512 v[2])
{
    const __m512i all = _mm512_maskz_loadu_epi16(lanes, x);
    const __m512i first = _mm512_slli_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), 16);
    v[0] = _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, first, all));
    v[1] = _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, _mm512_add_epi32(first, _mm512_set1_epi32(0x100000)), all));
}
static inline void tn_narrow_pair_(tn_bf16 *to, __mmask32 lanes, const __m512 x[2])
{
    const __m512i fours = _mm512_set_epi32(60, 56, 52, 48, 44, 40, 36, 32, 28, 24, 20, 16, 12, 8, 4, 0);
    const __m512i upper = _mm512_add_epi32(_mm512_or_si512(fours, _mm512_slli_epi32(fours, 16)), _mm512_set1_epi32(0x30001)); /* words 1, 3, ... */
    _mm512_mask_storeu_epi16(to, lanes, _mm512_permutex2var_epi16(tn_rounded_v_(x[0]), upper, tn_rounded_v_(x[1])));
}

/* sum_f32() of what x holds: the even lanes' and the odd lanes' sums are put in order at the end. What follows x is fetched. */
static inline float sum_bf16(const tn_bf16 *x, int64_t n)
{
    enum { AHEAD_OF_SUM = 2048 };
    __m512 even = _mm512_setzero_ps(), odd = even;
    int64_t i = 0;
    for (; i + TN_LANES <= n; i += TN_LANES) {
        const __m512i pairs = tn_pairs_at_(x + i, TN_LANES);
        __builtin_prefetch(x + i + AHEAD_OF_SUM);
        even = _mm512_add_ps(even, tn_lows_(pairs));
        odd = _mm512_add_ps(odd, tn_highs_(pairs));
    }
    const __m512i rest = tn_pairs_at_(x + i, n - i);
    even = _mm512_add_ps(even, tn_lows_(rest));
    odd = _mm512_add_ps(odd, tn_highs_(rest));
    const __m512i first = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0), second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    const __m512 a = _mm512_add_ps(_mm512_permutex2var_ps(even, first, odd), _mm512_permutex2var_ps(even, second, odd));
    return tn_fold16_((const tn_lanes16_ *)&a);
}
#else
#if defined(__AVX2__) /* for which gcc 12 takes thrice as many instructions from what the others have */
static inline tn_vector_f32_ tn_wide_vector_(const tn_bf16 *x)
{
    return (tn_vector_f32_)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i_u *)x)), 16);
}
static inline void tn_narrow_vector_(tn_bf16 *to, tn_vector_f32_ x) /* of arithmetic, so that no NaN signals */
{
    const __m256i u = _mm256_castps_si256((__m256)x), number = _mm256_castps_si256(_mm256_cmp_ps((__m256)x, (__m256)x, _CMP_ORD_Q));
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_and_si256(_mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)), number);
    const __m256i words = _mm256_srli_epi32(_mm256_add_epi32(u, up), 16);
    _mm_storeu_si128((__m128i_u *)to, _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}

/* sum_f32() of what x holds, in pairs: the even lanes' and the odd lanes' sums are put in order at the end. What follows x is fetched. */
static inline float sum_bf16(const tn_bf16 *x, int64_t n)
{
    enum { AHEAD_OF_SUM = 2048 };
    __m256 even[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, odd[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    float lane[TN_LANES];
    int64_t i = 0;
    for (; i + TN_LANES <= n; i += TN_LANES) {
        __builtin_prefetch(x + i + AHEAD_OF_SUM);
        TN_UNROLL for (int k = 0; k < 2; k++) {
            const __m256i pairs = _mm256_loadu_si256((const __m256i_u *)(x + i + 16 * k));
            even[k] = _mm256_add_ps(even[k], _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)));
            odd[k] = _mm256_add_ps(odd[k], _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000u))));
        }
    }
    TN_UNROLL for (int k = 0; k < 2; k++) {
        const __m256 low = _mm256_unpacklo_ps(even[k], odd[k]), high = _mm256_unpackhi_ps(even[k], odd[k]);
        _mm256_storeu_ps(lane + 16 * k, _mm256_permute2f128_ps(low, high, 0x20));
        _mm256_storeu_ps(lane + 16 * k + 8, _mm256_permute2f128_ps(low, high, 0x31));
    }
    for (int l = 0; i + l < n; l++)
        lane[l] += tn_load_bf16(x[i + l]);
    return tn_fold_f32(lane);
}
#else
typedef uint32_t tn_vector_u32_ __attribute__((vector_size(TN_VECTOR_BYTES)));
typedef uint16_t tn_vector_u16_ __attribute__((vector_size(TN_VECTOR_BYTES / 2), aligned(2), may_alias));
static inline tn_vector_f32_ tn_wide_vector_(const tn_bf16 *x)
{
    return (tn_vector_f32_)(__builtin_convertvector(*(const tn_vector_u16_ *)x, tn_vector_u32_) << 16);
}
static inline void tn_narrow_vector_(tn_bf16 *to, tn_vector_f32_ x)
{
    const tn_vector_u32_ u = (tn_vector_u32_)x, nan = (tn_vector_u32_)(x != x), up = u + 0x7fff + (u >> 16 & 1);
    *(tn_vector_u16_ *)to = __builtin_convertvector(((up & ~nan) | ((u | 0x400000) & nan)) >> 16, tn_vector_u16_);
}

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

#endif
