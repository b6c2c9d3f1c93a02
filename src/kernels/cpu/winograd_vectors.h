/* Vectors of floats, their lanes' masks, and what winograd.c does with them, by the widest instructions there are: AVX-512's or AVX2's. */
#include <immintrin.h>

#include "kernels/cpu/lanes.h"

#if defined(__AVX512F__)
#define V(name) _mm512_##name
typedef __m512 vec;
typedef __m512i places;
typedef __mmask16 mask;
enum { LANES = 16 };
TN_INLINE mask first_lanes(int64_t n) { return (mask)((1 << n) - 1); }
TN_INLINE vec keep(mask lanes, vec v) { return _mm512_maskz_mov_ps(lanes, v); }
TN_INLINE void put(float *to, mask lanes, vec v) { _mm512_mask_storeu_ps(to, lanes, v); }
TN_INLINE vec gather(mask lanes, places at, const float *from) { return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), lanes, at, from, 4); }
TN_INLINE bool all_zero(vec v) { return _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_EQ_OQ) == 0xffff; }
TN_INLINE float sum_of(vec v) { return _mm512_reduce_add_ps(v); }
/* Zeros the bytes of a vector from `bytes` on. */
TN_INLINE void clear_beyond(float *at, int64_t bytes) { _mm512_mask_storeu_epi8(at, ~(__mmask64)0 << bytes, _mm512_setzero_si512()); }
#else
#define V(name) _mm256_##name
typedef __m256 vec;
typedef __m256i places;
typedef __m256i mask;
enum { LANES = 8 };
TN_INLINE mask first_lanes(int64_t n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
TN_INLINE vec keep(mask lanes, vec v) { return _mm256_and_ps((vec)lanes, v); }
TN_INLINE void put(float *to, mask lanes, vec v) { _mm256_maskstore_ps(to, lanes, v); }
TN_INLINE vec gather(mask lanes, places at, const float *from) { return _mm256_mask_i32gather_ps(_mm256_setzero_ps(), from, at, (vec)lanes, 4); }
TN_INLINE bool all_zero(vec v) { return _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_EQ_OQ)) == 0xff; }
TN_INLINE float sum_of(vec v) { return tn_fold8_((const tn_lanes8_ *)&v); }
TN_INLINE void clear_beyond(float *at, int64_t bytes) { V(store_ps)(at, keep(first_lanes(bytes / 4), V(load_ps)(at))); }
#endif
