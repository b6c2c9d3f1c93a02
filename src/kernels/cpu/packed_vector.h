/* What the packed weights' kernels are written with: vectors of the instruction set, of which a unit of 16 rows takes NV, and the steps that
 * differ between processors. */
#ifndef TN_PACKED_VECTOR_H
#define TN_PACKED_VECTOR_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vector.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LANES (TN_VECTOR_BYTES / 4)
#define NV (TN_PACKED_ROWS / LANES)

typedef float vf __attribute__((vector_size(TN_VECTOR_BYTES), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(TN_VECTOR_BYTES), aligned(4), may_alias));

/* Most rows of x at once (with F32 and BF16; with Q8 and Q4, whose whole numbers need registers beside the sums), and panels of W. */
#if defined(__AVX512F__)
enum { WIDE = 12, NARROW = 6, PANELS = 2, STREAMS = 4 };
#elif defined(__AVX2__) && defined(__FMA__)
enum { WIDE = 6, NARROW = 2, PANELS = 1, STREAMS = 4 };
#else
enum { WIDE = 2, NARROW = 2, PANELS = 1, STREAMS = 2 };
#endif
/* Units that are summed before a sum goes to y, at most: PANELS of W of them stay in the first cache. Whole blocks. */
enum { CHUNK = 192 };

#if defined(__AVX512F__)
TN_INLINE vf splat(float x) { return (vf)_mm512_set1_ps(x); }
TN_INLINE vi splat_i32(int32_t x) { return (vi)_mm512_set1_epi32(x); }
TN_INLINE vf fma_(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
TN_INLINE vf floats(vi x) { return (vf)_mm512_cvtepi32_ps((__m512i)x); }
TN_INLINE vf halves(const uint16_t *x) { return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)x)); }
TN_INLINE vi pairs(vi a, vi b) { return (vi)_mm512_madd_epi16((__m512i)a, (__m512i)b); }
#elif defined(__AVX2__) && defined(__FMA__)
TN_INLINE vf splat(float x) { return (vf)_mm256_set1_ps(x); }
TN_INLINE vi splat_i32(int32_t x) { return (vi)_mm256_set1_epi32(x); }
TN_INLINE vf fma_(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
TN_INLINE vf floats(vi x) { return (vf)_mm256_cvtepi32_ps((__m256i)x); }
TN_INLINE vf halves(const uint16_t *x) { return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)x)); }
TN_INLINE vi pairs(vi a, vi b) { return (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
#else
TN_INLINE vf splat(float x) { return (vf){x, x, x, x}; }
TN_INLINE vi splat_i32(int32_t x) { return (vi){x, x, x, x}; }
TN_INLINE vf fma_(vf a, vf b, vf c) { return a * b + c; }
TN_INLINE vf floats(vi x) { return (vf){(float)x[0], (float)x[1], (float)x[2], (float)x[3]}; }
TN_INLINE vf halves(const uint16_t *x)
{
    return (vf){tn_load_f16((tn_f16){x[0]}), tn_load_f16((tn_f16){x[1]}), tn_load_f16((tn_f16){x[2]}), tn_load_f16((tn_f16){x[3]})};
}
#if defined(__SSE2__)
TN_INLINE vi pairs(vi a, vi b) { return (vi)_mm_madd_epi16((__m128i)a, (__m128i)b); }
#else
TN_INLINE vi pairs(vi a, vi b) { return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16); } /* of 16-bit halves, signed */
#endif
#endif

/* sum + the products of 4 bytes: w's without a sign, x's with. */
TN_INLINE vi bytes_plain(vi sum, vi w, vi x)
{
    typedef uint16_t vu16 __attribute__((vector_size(TN_VECTOR_BYTES), aligned(4), may_alias));
    typedef int16_t vs16 __attribute__((vector_size(TN_VECTOR_BYTES), aligned(4), may_alias));
    const vi even = w & 0x00ff00ff, odd = (vi)((vu16)w >> 8);
    return sum + pairs(even, (vi)((vs16)((vu16)x << 8) >> 8)) + pairs(odd, (vi)((vs16)x >> 8));
}
/* sum + the products of pairs of bf16. */
TN_INLINE vf halfs_plain(vf sum, vi w, vi x)
{
    const int32_t high = (int32_t)0xffff0000;
    sum = fma_((vf)(w << 16), (vf)(x << 16), sum);
    return fma_((vf)(w & high), (vf)(x & high), sum);
}
TN_INLINE vf floats_step(vf sum, vi w, vi x) { return fma_((vf)w, (vf)x, sum); }

#endif
