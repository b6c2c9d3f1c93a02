/* Floats rounded to bf16 for the instruction that multiplies neighbouring ones as pairs and adds both products to a float's sum (AVX512-BF16).
 * A pair lies in the bits of a float, the first in the lower half. */
#ifndef TN_CPU_PAIRS_H
#define TN_CPU_PAIRS_H

#include "kernels/cpu/cpu.h"

static inline float tn_pair_of(float low, float high)
{
    return tn_bits_f32(tn_store_bf16(low).bits | (uint32_t)tn_store_bf16(high).bits << 16);
}

#if defined(__AVX512F__)
#include <immintrin.h>

/* Of functions that multiply or make pairs: to be called where this processor has the instruction. */
#define TN_PAIRS __attribute__((target("avx512bf16")))
static inline bool tn_has_pairs(void) { return __builtin_cpu_supports("avx512bf16"); }

TN_PAIRS static inline __attribute__((always_inline)) __m512 tn_pairs_of(__m512 low, __m512 high)
{
    static const uint16_t order[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return (__m512)_mm512_permutexvar_epi16(_mm512_loadu_si512(order), (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/* to[0 ... n) = x[0 ... n), rounded. */
TN_PAIRS static inline void tn_halve(uint16_t *to, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 32) {
        const __mmask32 lanes = n - i >= 32 ? ~(__mmask32)0 : ((__mmask32)1 << (n - i)) - 1;
        const __m512 low = _mm512_maskz_loadu_ps((__mmask16)lanes, x + i), high = _mm512_maskz_loadu_ps((__mmask16)(lanes >> 16), x + i + 16);
        _mm512_mask_storeu_epi16(to + i, lanes, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}
#else
static inline bool tn_has_pairs(void) { return false; }
#endif

#endif
