/* Windows of 2 x 2 with stride 2 over planes of float and of bfloat16, by vectors of LANES outputs. A vector is two halves, each a piece of a row:
 * of one row, or of two where rows are short. The last piece of a row begins earlier, over what the one before made; a row shorter than a piece
 * reaches into the next, which is made after it. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vector.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define FROM_2(f, i) f(i), f((i) + 1)
#define FROM_4(f, i) FROM_2(f, i), FROM_2(f, (i) + 2)
#define FROM_8(f, i) FROM_4(f, i), FROM_4(f, (i) + 4)
#define FROM_16(f, i) FROM_8(f, i), FROM_8(f, (i) + 8)
#if TN_VECTOR_BYTES == 64
#define LANES 16
#define ALL FROM_16
#define SOME FROM_8
#elif TN_VECTOR_BYTES == 32
#define LANES 8
#define ALL FROM_8
#define SOME FROM_4
#else
#define LANES 4
#define ALL FROM_4
#define SOME FROM_2
#endif
enum { HALF = LANES / 2 };
#define SAME(i) (i)
/* The lane of output i of floats, and the output in lane i: on AVX2 each 16 bytes hold two outputs of both pieces, so that columns are parted and
 * joined by shuffles within 16 bytes, one instruction each. */
#if LANES == 8
#define PLACE(i) ((i) % 2 + (i) / 2 % 2 * 4 + (i) / 4 * 2)
#else
#define PLACE(i) (i)
#endif
#define EVEN(i) (2 * PLACE(i))
#define ODD(i) (2 * PLACE(i) + 1)
#define ZIP(i) (PLACE((i) / 2) + (i) % 2 * LANES)

#define VECTOR(name, type, n) typedef type name __attribute__((vector_size((n) * sizeof(type)), aligned(sizeof(type)), may_alias))
VECTOR(floats, float, LANES);
VECTOR(words, uint32_t, LANES);
VECTOR(shorts, uint16_t, LANES);
VECTOR(bytes, uint8_t, LANES);
VECTOR(half_floats, float, HALF);
VECTOR(half_shorts, uint16_t, HALF);
VECTOR(half_bytes, uint8_t, HALF);
#undef VECTOR
typedef uint32_t half_words __attribute__((vector_size(HALF * 4), aligned(2), may_alias)); /* pairs of bfloat16 */

static bool is_2x2(const tn_pool *p)
{
    return p->kh == 2 && p->kw == 2 && p->stride_h == 2 && p->stride_w == 2 && p->pad_h == 0 && p->pad_w == 0 && p->dil_h == 1 &&
           p->dil_w == 1 && 2 * p->oh <= p->h && 2 * p->ow <= p->w && (p->ow >= HALF || (2 * p->ow >= HALF && p->oh > 1));
}

/* What a plane's loop needs: the inputs and outputs of a row, rows of outputs, what an average divides by. A copy, which no store can change. */
typedef struct {
    int64_t w, n, rows;
    float divisor;
} plane_2x2;

static inline plane_2x2 plane_of(const tn_pool *p) { return (plane_2x2){p->w, p->ow, p->oh, (float)(p->divisor ? p->divisor : 4)}; }

/* Where two pieces begin in a plane's outputs and in its inputs. */
typedef struct {
    int64_t out_a, out_b, in_a, in_b;
} pieces;

static inline pieces pieces_at(plane_2x2 p, int64_t ya, int64_t xa, int64_t yb, int64_t xb)
{
    return (pieces){ya * p.n + xa, yb * p.n + xb, 2 * (ya * p.w + xa), 2 * (yb * p.w + xb)};
}
/* The rows that pieces make: not the last one where it is short, which ends with its piece instead: last_of(). */
static inline int64_t rows_of(plane_2x2 p) { return p.n < HALF ? p.rows - 1 : p.rows; }
static inline pieces last_of(plane_2x2 p) { return pieces_at(p, p.rows - 1, p.n - HALF, p.rows - 1, p.n - HALF); }
/* Those from row y and, where there are more than one to a row, output x on; the last ones may be the same. */
static inline pieces pieces_from(plane_2x2 p, int64_t y, int64_t x)
{
    if (p.n <= HALF)
        return pieces_at(p, y, 0, tn_min_i64(y + 1, rows_of(p) - 1), 0);
    return pieces_at(p, y, tn_min_i64(x, p.n - HALF), y, tn_min_i64(x + HALF, p.n - HALF));
}

/* ---- choosing: instructions that the compilers do not find in the plain text ---------------------------------------------------------- */

/* The greatest of four as their loop finds it: the first of equals, NaN where one is, and then the last one. */
TN_INLINE floats greatest_at(const floats tap[4], words *at)
{
    floats best = tap[0];
    *at = (words){0};
    TN_UNROLL for (unsigned i = 1; i < 4; i++) {
#if defined(__AVX512F__)
        const __m512 x = (__m512)tap[i];
        const __mmask16 more = _mm512_cmp_ps_mask(x, (__m512)best, _CMP_GT_OQ) | _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
        best = (floats)_mm512_mask_mov_ps((__m512)best, more, x);
        *at = (words)_mm512_mask_mov_epi32((__m512i)*at, more, _mm512_set1_epi32((int)i));
#elif defined(__AVX2__)
        const __m256 x = (__m256)tap[i], more = _mm256_or_ps(_mm256_cmp_ps(x, (__m256)best, _CMP_GT_OQ), _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
        best = (floats)_mm256_blendv_ps((__m256)best, x, more);
        *at = (words)_mm256_blendv_ps((__m256)*at, _mm256_castsi256_ps(_mm256_set1_epi32((int)i)), more);
#else
        const words more = (words)((tap[i] > best) | (tap[i] != tap[i]));
        best = (floats)((more & (words)tap[i]) | (~more & (words)best));
        *at = (more & i) | (~more & *at);
#endif
    }
    return best;
}
/* The same without its place. */
TN_INLINE floats greatest(const floats tap[4])
{
#if defined(__AVX512F__) /* the instruction for the greater of two forgets a NaN on its left */
    const __mmask16 nan = _mm512_cmp_ps_mask((__m512)tap[0], (__m512)tap[1], _CMP_UNORD_Q) | _mm512_cmp_ps_mask((__m512)tap[2], (__m512)tap[3], _CMP_UNORD_Q);
    const __m512 top = _mm512_max_ps((__m512)tap[1], (__m512)tap[0]), bottom = _mm512_max_ps((__m512)tap[3], (__m512)tap[2]);
    return (floats)_mm512_mask_mov_ps(_mm512_max_ps(bottom, top), nan, _mm512_set1_ps(NAN));
#else
    words at;
    return greatest_at(tap, &at);
#endif
}
/* v where `at` is i, else 0. */
TN_INLINE words where_at(words v, words at, unsigned i)
{
#if defined(__AVX512F__)
    return (words)_mm512_maskz_mov_epi32(_mm512_cmpeq_epi32_mask((__m512i)at, _mm512_set1_epi32((int)i)), (__m512i)v);
#else
    return v & (words)(at == i);
#endif
}

/* An index of eight bits for each lane, to two places and from them. */
TN_INLINE void put_index(words at, uint8_t *a, uint8_t *b)
{
#if defined(__AVX2__) && !defined(__AVX512F__)
    const __m256i low = _mm256_shuffle_epi8((__m256i)at, _mm256_set1_epi32(0x0c080400));
    *(half_bytes *)a = (half_bytes)_mm_cvtsi128_si32(_mm256_castsi256_si128(low));
    *(half_bytes *)b = (half_bytes)_mm_cvtsi128_si32(_mm256_extracti128_si256(low, 1));
#else
    const bytes each = __builtin_convertvector(at, bytes);
    *(half_bytes *)a = __builtin_shufflevector(each, each, SOME(SAME, 0));
    *(half_bytes *)b = __builtin_shufflevector(each, each, SOME(SAME, HALF));
#endif
}
TN_INLINE words get_index(const uint8_t *a, const uint8_t *b)
{
#if defined(__AVX2__) && !defined(__AVX512F__)
    return (words)_mm256_cvtepu8_epi32(_mm_insert_epi32(_mm_cvtsi32_si128((int)*(const half_bytes *)a), (int)*(const half_bytes *)b, 1));
#else
    const bytes each = __builtin_shufflevector(*(const half_bytes *)a, *(const half_bytes *)b, ALL(SAME, 0));
    return __builtin_convertvector(each, words);
#endif
}

/* ---- float ------------------------------------------------------------------------------------------------------------------ */

/* The even and the odd columns of two pieces. */
TN_INLINE void split_f32(const float *a, const float *b, floats *even, floats *odd)
{
    const floats l = *(const floats *)a, h = *(const floats *)b;
    *even = __builtin_shufflevector(l, h, ALL(EVEN, 0));
    *odd = __builtin_shufflevector(l, h, ALL(ODD, 0));
}
/* Back to the columns of each piece. */
TN_INLINE void join_f32(words even, words odd, words *a, words *b)
{
    *a = __builtin_shufflevector(even, odd, ALL(ZIP, 0));
    *b = __builtin_shufflevector(even, odd, ALL(ZIP, LANES));
}
TN_INLINE floats get_f32(const float *a, const float *b)
{
    return __builtin_shufflevector(*(const half_floats *)a, *(const half_floats *)b, ALL(PLACE, 0));
}
TN_INLINE void put_f32(floats v, float *a, float *b)
{
    *(half_floats *)a = __builtin_shufflevector(v, v, SOME(PLACE, 0));
    *(half_floats *)b = __builtin_shufflevector(v, v, SOME(PLACE, HALF));
}
/* From the order of outputs to the lanes of floats, or back: PLACE is its own inverse. */
TN_INLINE words placed_f32(words v) { return __builtin_shufflevector(v, v, ALL(PLACE, 0)); }
TN_INLINE floats rounded_f32(floats v) { return v; }

/* ---- bfloat16: two columns are a word, each the upper half of a float ---------------------------------------------------------- */

TN_INLINE void split_bf16(const tn_bf16 *a, const tn_bf16 *b, floats *even, floats *odd)
{
    const words w = __builtin_shufflevector(*(const half_words *)a, *(const half_words *)b, ALL(SAME, 0));
    *even = (floats)(w << 16);
    *odd = (floats)(w & 0xffff0000u);
}
TN_INLINE void join_bf16(words even, words odd, half_words *a, half_words *b)
{
    const words w = even >> 16 | (odd & 0xffff0000u);
    *a = __builtin_shufflevector(w, w, SOME(SAME, 0));
    *b = __builtin_shufflevector(w, w, SOME(SAME, HALF));
}
TN_INLINE floats get_bf16(const tn_bf16 *a, const tn_bf16 *b)
{
    const shorts s = __builtin_shufflevector(*(const half_shorts *)a, *(const half_shorts *)b, ALL(SAME, 0));
    return (floats)(__builtin_convertvector(s, words) << 16);
}
TN_INLINE void put_bf16(floats v, tn_bf16 *a, tn_bf16 *b)
{
    const shorts s = __builtin_convertvector((words)v >> 16, shorts);
    *(half_shorts *)a = __builtin_shufflevector(s, s, SOME(SAME, 0));
    *(half_shorts *)b = __builtin_shufflevector(s, s, SOME(SAME, HALF));
}
TN_INLINE words placed_bf16(words v) { return v; }
/* As tn_store_bf16() rounds. */
TN_INLINE floats rounded_bf16(floats v)
{
    const words u = (words)v, is_nan = (words)(v != v);
    return (floats)((is_nan & (u | 0x400000u)) | (~is_nan & (u + 0x7fffu + (u >> 16 & 1))));
}

#define E float
#define COLUMNS words
#define N(name) name##_f32
#include "kernels/cpu/pool_2x2_body.h"
#undef E
#undef COLUMNS
#undef N
#define E tn_bf16
#define COLUMNS half_words
#define N(name) name##_bf16
#include "kernels/cpu/pool_2x2_body.h"
#undef E
#undef COLUMNS
#undef N
