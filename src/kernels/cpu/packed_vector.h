/* What the packed weights' kernels are written with: vectors of the instruction set, of which a unit of 16 rows takes NV, and the steps that
 * differ between processors. */
#ifndef TN_PACKED_VECTOR_H
#define TN_PACKED_VECTOR_H

#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vector.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LANES (TN_VECTOR_BYTES / 4)
#define NV (TN_PACKED_ROWS / LANES)

typedef float vf __attribute__((vector_size(TN_VECTOR_BYTES), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(TN_VECTOR_BYTES), aligned(4), may_alias));

/* Most rows of x at once (with F32 and BF16; with Q8 and Q4, whose whole numbers need registers beside the sums), and panels of W. OF_PAIRS: whole
 * numbers are multiplied as pairs of 16 bits, as which x is prepared, and with BF16 x is floats: nothing here sums products of bytes or bf16 in 32 bits.
 * OF_BYTES: bytes have products with sums in 16 bits, for levels of so few bits that they have room. */
#if defined(__AVX512F__)
#define OF_PAIRS 0
#define OF_BYTES 0
enum { WIDE = 12, NARROW = 6, PANELS = 2, STREAMS = 4 };
#elif defined(__AVX2__) && defined(__FMA__)
#define OF_PAIRS 1
#define OF_BYTES 1
enum { WIDE = 6, NARROW = 6, PANELS = 1, STREAMS = 4 };
#else
#define OF_PAIRS 1
#define OF_BYTES 0
enum { WIDE = 2, NARROW = 4, PANELS = 1, STREAMS = 2 };
#endif
/* Units that are summed before a sum goes to y, at most: PANELS of W of them stay in the second cache. Whole blocks. */
enum { CHUNK = 512 };

#if defined(__AVX512F__)
TN_INLINE vf splat(float x) { return (vf)_mm512_set1_ps(x); }
TN_INLINE vi splat_i32(int32_t x) { return (vi)_mm512_set1_epi32(x); }
TN_INLINE vf fma_(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
TN_INLINE vf larger(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); } /* b where one is NaN */
TN_INLINE vi larger_whole(vi a, vi b) { return (vi)_mm512_max_epi32((__m512i)a, (__m512i)b); }
TN_INLINE vf floats(vi x) { return (vf)_mm512_cvtepi32_ps((__m512i)x); }
TN_INLINE vf halves(const uint16_t *x) { return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)x)); }
TN_INLINE vi pairs(vi a, vi b) { return (vi)_mm512_madd_epi16((__m512i)a, (__m512i)b); }
TN_INLINE vi signed_bytes(const int8_t *x) { return (vi)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)x)); }
#elif defined(__AVX2__) && defined(__FMA__)
TN_INLINE vf splat(float x) { return (vf)_mm256_set1_ps(x); }
TN_INLINE vi splat_i32(int32_t x) { return (vi)_mm256_set1_epi32(x); }
TN_INLINE vf fma_(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
TN_INLINE vf larger(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
TN_INLINE vi larger_whole(vi a, vi b) { return (vi)_mm256_max_epi32((__m256i)a, (__m256i)b); }
TN_INLINE vf floats(vi x) { return (vf)_mm256_cvtepi32_ps((__m256i)x); }
TN_INLINE vf halves(const uint16_t *x) { return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)x)); }
TN_INLINE vi pairs(vi a, vi b) { return (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
TN_INLINE vi signed_bytes(const int8_t *x) { return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)x)); }
#else
TN_INLINE vf splat(float x) { return (vf){x, x, x, x}; }
TN_INLINE vi splat_i32(int32_t x) { return (vi){x, x, x, x}; }
TN_INLINE vf fma_(vf a, vf b, vf c) { return a * b + c; }
TN_INLINE vf larger(vf a, vf b)
{
    const vi mask = a > b;
    return (vf)(((vi)a & mask) | ((vi)b & ~mask));
}
TN_INLINE vi larger_whole(vi a, vi b) { return (a & (vi)(a > b)) | (b & ~(vi)(a > b)); }
TN_INLINE vf floats(vi x) { return (vf){(float)x[0], (float)x[1], (float)x[2], (float)x[3]}; }
TN_INLINE vf halves(const uint16_t *x)
{
    return (vf){tn_load_f16((tn_f16){x[0]}), tn_load_f16((tn_f16){x[1]}), tn_load_f16((tn_f16){x[2]}), tn_load_f16((tn_f16){x[3]})};
}
TN_INLINE vi signed_bytes(const int8_t *x) { return (vi){x[0], x[1], x[2], x[3]}; }
#if defined(__SSE2__)
TN_INLINE vi pairs(vi a, vi b) { return (vi)_mm_madd_epi16((__m128i)a, (__m128i)b); }
#else
TN_INLINE vi pairs(vi a, vi b) { return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16); } /* of 16-bit halves, signed */
#endif
#endif

/* gcc 12 makes of a conversion of halves, and of so few bytes, several of parts. */
TN_INLINE vf bfloats(const uint16_t *x)
{
#if defined(__AVX512F__)
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)x)), 16);
#elif defined(__AVX2__)
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)x)), 16);
#else
    typedef uint16_t lanes __attribute__((vector_size(LANES * 2), aligned(2), may_alias));
    return (vf)(__builtin_convertvector(*(const lanes *)(const void *)x, vi) << 16);
#endif
}
#if defined(__AVX512F__)
/* The low bytes. */
TN_INLINE void narrowed(vi x, int8_t *to) { _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtepi32_epi8((__m512i)x)); }
#endif
/* Each byte's, below 16, place in the table. */
TN_INLINE vi looked_up(const uint8_t *table, vi bytes)
{
#if defined(__AVX512BW__)
    return (vi)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)table)), (__m512i)bytes);
#elif defined(__AVX2__)
    return (vi)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table)), (__m256i)bytes);
#else
    uint8_t each[TN_VECTOR_BYTES];
    memcpy(each, &bytes, sizeof each);
    for (int i = 0; i < TN_VECTOR_BYTES; i++)
        each[i] = table[each[i]];
    memcpy(&bytes, each, sizeof each);
    return bytes;
#endif
}

/* Steps across lanes: of two vectors d rows apart, half of the lanes come from either. */
#define OF_(l, d) ((l) & (d) ? LANES + (l) : (l)),
#define TO_(l, d) ((l) & (d) ? LANES + ((l) ^ (d)) : (l) ^ (d)),
#define FIRST_(l, d) ((l) & (d) ? LANES + ((l) ^ (d)) : (l)),
#define SECOND_(l, d) ((l) & (d) ? LANES + (l) : (l) ^ (d)),
#define OTHER_(l, d) (l) ^ (d),
#if TN_VECTOR_BYTES == 64
#define EACH_(F, d) F(0, d) F(1, d) F(2, d) F(3, d) F(4, d) F(5, d) F(6, d) F(7, d) F(8, d) F(9, d) F(10, d) F(11, d) F(12, d) F(13, d) F(14, d)
#define LAST_ 15
#define HALVINGS(F) F(8) F(4) F(2) F(1)
#elif TN_VECTOR_BYTES == 32
#define EACH_(F, d) F(0, d) F(1, d) F(2, d) F(3, d) F(4, d) F(5, d) F(6, d)
#define LAST_ 7
#define HALVINGS(F) F(4) F(2) F(1)
#else
#define EACH_(F, d) F(0, d) F(1, d) F(2, d)
#define LAST_ 3
#define HALVINGS(F) F(2) F(1)
#endif

/* What each of LANES vectors comes to, in its lane: step d leaves d vectors. how is a constant. */
enum { OF_SUMS, OF_WHOLE_SUMS, OF_LARGEST_WHOLE };
TN_INLINE vf joined(int how, vf a, vf b)
{
    if (how == OF_SUMS)
        return a + b;
    return how == OF_WHOLE_SUMS ? (vf)((vi)a + (vi)b) : (vf)larger_whole((vi)a, (vi)b);
}
TN_INLINE vf across(int how, vf *x)
{
#define HALVE_(d)                                                                                                             \
    TN_UNROLL                                                                                                                 \
    for (int i = 0; i < (d); i++) {                                                                                           \
        const vf a = x[i], b = x[i + (d) < LANES ? i + (d) : i];                                                              \
        x[i] = joined(how, __builtin_shufflevector(a, b, EACH_(OF_, d) LANES + LAST_),                                        \
                      __builtin_shufflevector(a, b, EACH_(TO_, d) LANES + (LAST_ ^ (d))));                                    \
    }
    HALVINGS(HALVE_)
#undef HALVE_
    return x[0];
}
TN_INLINE vf sums_of(vf *x) { return across(OF_SUMS, x); }
/* LANES vectors, transposed. */
TN_INLINE void transpose(vf *x)
{
#define EXCHANGE_(d)                                                                                                          \
    TN_UNROLL                                                                                                                 \
    for (int i = 0; i < LANES; i++)                                                                                           \
        if (!(i & (d))) {                                                                                                     \
            const vf a = x[i], b = x[i + (d) < LANES ? i + (d) : i];                                                          \
            x[i] = __builtin_shufflevector(a, b, EACH_(FIRST_, d) LANES + (LAST_ ^ (d)));                                     \
            x[i + (d) < LANES ? i + (d) : i] = __builtin_shufflevector(a, b, EACH_(SECOND_, d) LANES + LAST_);                \
        }
    HALVINGS(EXCHANGE_)
#undef EXCHANGE_
}
/* The largest lane; the sum of all. */
TN_INLINE float largest_of(vf x)
{
#define FOLD_(d) x = larger(x, __builtin_shufflevector(x, x, EACH_(OTHER_, d) LAST_ ^ (d)));
    HALVINGS(FOLD_)
#undef FOLD_
    return x[0];
}
TN_INLINE float sum_of(vf x)
{
#define FOLD_(d) x += __builtin_shufflevector(x, x, EACH_(OTHER_, d) LAST_ ^ (d));
    HALVINGS(FOLD_)
#undef FOLD_
    return x[0];
}

/* Units of F32, or where `pairs` of BF16, of a few rows of x (at most LANES, a constant) side by side: unit u of row i to to[u * to_row + i]. */
TN_INLINE void side_by_side(int width, bool pairs, int64_t cols, const float *x, int64_t x_row, int32_t *to, int64_t to_row)
{
    const int64_t each = pairs ? 2 : 1, units = tn_ceil_div(cols, each);
    int64_t u = 0;
    for (; (u + LANES) * each <= cols; u += LANES) {
        tn_bf16 half[LANES][2 * LANES];
        vf unit[LANES];
        for (int i = 0; i < width && pairs; i++) {
            TN_INDEPENDENT
            for (int k = 0; k < 2 * LANES; k++)
                half[i][k] = tn_store_bf16(x[i * x_row + u * 2 + k]);
        }
        TN_UNROLL
        for (int i = 0; i < LANES; i++)
            unit[i] = i >= width ? splat(0) : pairs ? *(const vf *)(const void *)half[i] : *(const vf *)(x + i * x_row + u);
        if (width == 1) {
            *(vf *)(void *)(to + u) = unit[0];
            continue;
        }
        transpose(unit);
        TN_UNROLL
        for (int k = 0; k < LANES; k++)
            memcpy(to + (u + k) * to_row, &unit[k], (size_t)width * 4);
    }
    for (; u < units; u++)
        for (int i = 0; i < width; i++) {
            const float *row = x + i * x_row + u * each;
            const uint32_t first = tn_store_bf16(row[0]).bits, second = u * 2 + 1 < cols ? tn_store_bf16(row[1]).bits : 0;
            to[u * to_row + i] = (int32_t)(pairs ? first | second << 16 : tn_f32_bits(row[0]));
        }
}

typedef uint16_t vu16 __attribute__((vector_size(TN_VECTOR_BYTES), aligned(4), may_alias));
typedef int16_t vs16 __attribute__((vector_size(TN_VECTOR_BYTES), aligned(4), may_alias));
/* Bytes without a sign as pairs: the first and third of four, the second and fourth. */
TN_INLINE vi even_bytes(vi w) { return w & 0x00ff00ff; }
TN_INLINE vi odd_bytes(vi w) { return (vi)((vu16)w >> 8); }
#if OF_PAIRS
/* x, in a register here: gcc else sums at the end of a block, till when it has no registers, and reads twice what is used twice. */
TN_INLINE vi here(vi x)
{
#if defined(__x86_64__)
    __asm__("" : "+x"(x));
#elif defined(__aarch64__)
    __asm__("" : "+w"(x));
#endif
    return x;
}
/* x; what is read from there is read where it is used, and not once for all of a loop, in more registers than there are. */
TN_INLINE const int32_t *hidden(const int32_t *x)
{
    __asm__("" : "+r"(x));
    return x;
}
/* Products of 4 bytes, w's without a sign, as two sums of two, of 16 bits; where OF_BYTES. */
TN_INLINE vi bytes_in_16_bits(vi w, vi x)
{
#if OF_BYTES
    return (vi)_mm256_maddubs_epi16((__m256i)w, (__m256i)x);
#else
    return w + x;
#endif
}
/* Whole numbers of 16 bits likewise, of twice LANES. */
TN_INLINE vi paired(vi a, vi b)
{
#define PAIR_(l, d) (l) / 2 * 4 + (l) % 2 + (d),
    const vi first = __builtin_shufflevector(a, b, EACH_(PAIR_, 0) LAST_ / 2 * 4 + 1), second = __builtin_shufflevector(a, b, EACH_(PAIR_, 2) LAST_ / 2 * 4 + 3);
#undef PAIR_
    return (first & 0xffff) | second << 16;
}
/* A block's whole numbers as bytes with a sign; where OF_BYTES. */
TN_INLINE void narrowed_block(const vi *q, int8_t *to)
{
#if OF_BYTES
    const __m256i first = _mm256_packs_epi32((__m256i)q[0], (__m256i)q[1]), second = _mm256_packs_epi32((__m256i)q[2], (__m256i)q[3]);
    const __m256i both = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(first, second), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)to, both);
#else
    (void)q, (void)to;
#endif
}
#else
/* sum + the products of 4 bytes: w's without a sign, x's with. */
TN_INLINE vi bytes_plain(vi sum, vi w, vi x)
{
    const vi even = even_bytes(w), odd = odd_bytes(w);
    return sum + pairs(even, (vi)((vs16)((vu16)x << 8) >> 8)) + pairs(odd, (vi)((vs16)x >> 8));
}
/* sum + the products of pairs of bf16. */
TN_INLINE vf halfs_plain(vf sum, vi w, vi x)
{
    const int32_t high = (int32_t)0xffff0000;
    sum = fma_((vf)(w << 16), (vf)(x << 16), sum);
    return fma_((vf)(w & high), (vf)(x & high), sum);
}
#endif
TN_INLINE vf floats_step(vf sum, vi w, vi x) { return fma_((vf)w, (vf)x, sum); }

#endif
