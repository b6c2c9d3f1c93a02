/* Matrix products. f32 and f64 by the packed kernel of gemm_template.h, f32 also with operands rounded to bf16, the 16-bit floats through
 * f32, integers by plain loops.
 *
 * An f32 result lies within 1 + sqrt(k) ulp of the exact one, in ulp of the sum of its terms' magnitudes (Higham and Mary 2019), and within 1 + k / 5
 * where all terms are alike and so all sums rounded the same way; k counts as 512 at most but in products of one row or column. That is of what the
 * operands are, or, where they are rounded, of what rounding made them. tests/test_gemm.c has these bounds. */
#include <string.h>
#include <unistd.h>

#include "core/parallel.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/past.h"
#include "kernels/cpu/pairs.h"

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { SMALL_SCRATCH = 16384 }; /* bytes of scratch that lie on the stack */

enum { TOGETHER = 48 }; /* rows of a packed at once where they lie side by side: whole lines, and whole panels */
enum { STRIP_PANELS = 4 }; /* of b, at most, where a goes by strips of TOGETHER rows */
enum { STRIP = 1024 }; /* of a vector by a matrix: columns whose sums stay in the first cache */

/* Bytes of the second-level cache. Asking the system is slow in a virtual machine, so once. */
static int64_t second_cache(void)
{
    static int64_t known;
    int64_t bytes = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (bytes)
        return bytes;
#ifdef _SC_LEVEL2_CACHE_SIZE
    bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
    bytes = bytes < 256 << 10 ? 256 << 10 : bytes > 4 << 20 ? 4 << 20 : bytes;
    __atomic_store_n(&known, bytes, __ATOMIC_RELAXED);
    return bytes;
}

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, MR = 12, NV = 2 };
#define FMA_F32(a, b, c) ((vec_f32)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define FMA_F64(a, b, c) ((vec_f64)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#define ONE_F32(a, b, c) __builtin_fmaf(a, b, c)
#define ONE_F64(a, b, c) __builtin_fma(a, b, c)
#define SPLAT_F32(x) ((vec_f32)_mm512_set1_ps(x))
#define SPLAT_F64(x) ((vec_f64)_mm512_set1_pd(x))
#define STORE_PAST(to, x) _mm512_stream_si512((__m512i *)(void *)(to), (__m512i)(x))
#define FENCE_PAST() _mm_sfence()
#elif defined(__AVX2__) && defined(__FMA__)
enum { VECTOR_BYTES = 32, MR = 6, NV = 2 };
#define FMA_F32(a, b, c) ((vec_f32)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define FMA_F64(a, b, c) ((vec_f64)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#define ONE_F32(a, b, c) __builtin_fmaf(a, b, c)
#define ONE_F64(a, b, c) __builtin_fma(a, b, c)
#define SPLAT_F32(x) ((vec_f32)_mm256_set1_ps(x))
#define SPLAT_F64(x) ((vec_f64)_mm256_set1_pd(x))
#elif defined(__aarch64__)
enum { VECTOR_BYTES = 16, MR = 6, NV = 4 };
#define FMA_F32(a, b, c) ((vec_f32)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define FMA_F64(a, b, c) ((vec_f64)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b)))
#define ONE_F32(a, b, c) __builtin_fmaf(a, b, c)
#define ONE_F64(a, b, c) __builtin_fma(a, b, c)
#define SPLAT_F32(x) ((vec_f32)vdupq_n_f32(x))
#define SPLAT_F64(x) ((vec_f64)vdupq_n_f64(x))
#else
enum { VECTOR_BYTES = 16, MR = 6, NV = 2 };
#define FMA_F32(a, b, c) ((a) * (b) + (c))
#define FMA_F64(a, b, c) ((a) * (b) + (c))
#define ONE_F32 FMA_F32
#define ONE_F64 FMA_F64
#define SPLAT_F32(x) ((vec_f32){(x), (x), (x), (x)})
#define SPLAT_F64(x) ((vec_f64){(x), (x)})
#endif

#ifndef STORE_PAST
#define STORE_PAST(to, x) (*(__typeof__(x) *)(to) = (x))
#define FENCE_PAST() (void)0
#endif

typedef float vec_f32 __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef float vec4_f32 __attribute__((vector_size(16), aligned(4), may_alias));
typedef double vec_f64 __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));
typedef double vec4_f64 __attribute__((vector_size(32), aligned(8), may_alias));

/* LINE elements are a line of cache. Longer passes write c more seldom. DEEP makes a panel of b 48 KiB with vectors of 64 bytes and 32 KiB with those
 * of 16, which come from the second cache in time. With those of 32 bytes it makes it 18 KiB, which stays in a first cache of 32 with two panels of
 * a. */
enum { DEEP = VECTOR_BYTES == 64 ? 384 : VECTOR_BYTES == 32 ? 288 : 512 };
#define T float
#define V vec_f32
#define V4 vec4_f32
#define NAME(x) x##_f32
#define LINE 16
#define LANES (VECTOR_BYTES / 4)
#define KC DEEP
#define FMA FMA_F32
#define ONE ONE_F32
#define SPLAT SPLAT_F32
#define STEP FMA
#define DEPTH 1
#define TARGET
#if defined(__AVX2__) && defined(__FMA__) && !defined(__AVX512F__)
#include "kernels/cpu/gemm_lines.h"
#define LINES lines_f32
#endif
#include "kernels/cpu/gemm_template.h"
#include "kernels/cpu/gemm_thin.h"
#include "kernels/cpu/gemm_outer.h"

/* ---- floats that are rounded to bf16 as they are packed (tn_gemm's rounded) ---------------------------------------- */

/* For processors without products of bf16: the same numbers, multiplied as floats. */
static void pack_rounded(float *restrict dst, int width, const float *restrict src, int count, int64_t k, int64_t across, int64_t along)
{
    pack_f32(dst, width, src, count, k, across, along);
    for (int64_t i = 0; i < (count > width ? count : width) * k; i++)
        dst[i] = tn_load_bf16(tn_store_bf16(dst[i]));
}
#define NAME(x) x##_rounded
#define KC DEEP
#define STEP FMA
#define DEPTH 1
#define TARGET
#define PACK pack_rounded
#include "kernels/cpu/gemm_template.h"

#if defined(__AVX512F__)
#define TARGET TN_PAIRS

/* Four rows of contiguous k, side by side as units; zeros for those of `rows` that are not there. */
TARGET static inline void pack4_bf16(float *restrict dst, int width, const float *restrict src, int rows, int64_t k, int64_t across)
{
    const __m512i first = _mm512_setr_epi32(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27); /* of two rows' units and two others' */
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(4));
    for (int64_t p = 0; p < k; p += 16) {
        const int64_t left = k - p;
        const __mmask16 lanes = (__mmask16)(left >= 16 ? 0xffff : (1u << left) - 1);
        __m512 r[4];
        UNROLL
        for (int i = 0; i < 4; i++)
            r[i] = _mm512_maskz_loadu_ps(i < rows ? lanes : 0, src + (i < rows ? i : 0) * across + p);
        const __m512i r01 = (__m512i)_mm512_cvtne2ps_pbh(r[1], r[0]), r23 = (__m512i)_mm512_cvtne2ps_pbh(r[3], r[2]);
        const __m512i steps[2] = {_mm512_permutex2var_epi32(r01, first, r23), _mm512_permutex2var_epi32(r01, second, r23)};
        if (left >= 15) {
            UNROLL
            for (int q = 0; q < 8; q++, dst += width)
                *(vec4_f32 *)dst = ((const vec4_f32 *)steps)[q];
        } else {
            for (int q = 0; q < (left + 1) / 2; q++, dst += width)
                *(vec4_f32 *)dst = ((const vec4_f32 *)steps)[q];
        }
    }
}

TARGET static void pack_bf16(float *restrict dst, int width, const float *restrict src, int count, int64_t k, int64_t across, int64_t along)
{
    if (across == 1) {
        const int columns = count < width ? count : width; /* of each panel */
        for (int64_t p = 0; p < k; p += 2)
            for (int at = 0; at < count; at += width)
                for (int i = 0; i < width; i += 16) {
                    const int have = columns - i, room = width - i;
                    const __mmask16 lanes = (__mmask16)(have >= 16 ? 0xffff : have > 0 ? (1u << have) - 1 : 0);
                    const float *low = src + p * along + at + i;
                    const __m512 high = p + 1 == k ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(lanes, low + along);
                    _mm512_mask_storeu_ps(dst + at * ((k + 1) / 2) + p / 2 * width + i, (__mmask16)(room >= 16 ? 0xffff : (1u << room) - 1),
                                          tn_pairs_of(_mm512_maskz_loadu_ps(lanes, low), high));
                }
        return;
    }
    if (along == 1) {
        for (int i = 0; i < width; i += 4)
            pack4_bf16(dst + i, width, src + (i < count ? i : 0) * across, count - i, k, across);
        return;
    }
    for (int64_t p = 0; p < k; p += 2)
        for (int r = 0; r < width; r++)
            dst[p / 2 * width + r] = r < count ? tn_pair_of(src[r * across + p * along], p + 1 < k ? src[r * across + (p + 1) * along] : 0) : 0;
}
#define NAME(x) x##_bf16
#define KC 512
#define STEP(a, b, c) ((vec_f32)_mm512_dpbf16_ps((__m512)(c), (__m512bh)(a), (__m512bh)(b)))
#define DEPTH 2
#define PACK pack_bf16
#include "kernels/cpu/gemm_template.h"
#endif

#undef T
#undef V
#undef V4
#undef LINE
#undef LANES
#undef FMA
#undef ONE
#undef SPLAT

#define T double
#define V vec_f64
#define V4 vec4_f64
#define NAME(x) x##_f64
#define LINE 8
#define LANES (VECTOR_BYTES / 8)
#define KC 256
#define FMA FMA_F64
#define ONE ONE_F64
#define SPLAT SPLAT_F64
#define STEP FMA
#define DEPTH 1
#define TARGET
#include "kernels/cpu/gemm_template.h"

/* What a product of floats and its packing are done by. */
typedef struct floats {
    tn_status (*gemm)(const tn_gemm *gemm);
    size_t (*packed_bytes)(const tn_gemm *gemm);
    size_t (*scratch_bytes)(const tn_gemm *gemm, int64_t rows);
    void (*pack)(const tn_gemm *gemm, float *packed);
} floats;
#define FLOATS(name) ((floats){gemm_##name, packed_bytes_##name, scratch_bytes_##name, pack_whole_##name})
static floats floats_of(const tn_gemm *gemm)
{
    if (!gemm->rounded)
        return FLOATS(f32);
#if defined(__AVX512F__)
    if (tn_has_pairs())
        return FLOATS(bf16);
#endif
    return FLOATS(rounded);
}

/* ---- 16-bit floats: converted once, multiplied in float, rounded once -------------------------------------------- */

/* A copy in float of `outer` blocks of a rows x cols matrix of f16 or bf16, row-major and dense. */
static void widen(float *out, tn_dtype dtype, const void *in, int64_t outer, int64_t rows, int64_t cols, int64_t block,
                  int64_t row, int64_t col)
{
    for (int64_t at = 0; at < outer; at++)
        for (int64_t i = 0; i < rows; i++) {
            const int64_t from = at * block + i * row;
            if (dtype == TN_F16)
                for (int64_t j = 0; j < cols; j++)
                    *out++ = tn_load_f16(((const tn_f16 *)in)[from + j * col]);
            else
                for (int64_t j = 0; j < cols; j++)
                    *out++ = tn_load_bf16(((const tn_bf16 *)in)[from + j * col]);
        }
}

static void narrow(const tn_gemm *gemm, tn_dtype dtype, const float *in)
{
    for (int64_t at = 0; at < gemm->batch; at++)
        for (int64_t i = 0; i < gemm->m; i++) {
            const int64_t to = at * gemm->c_batch + i * gemm->c_row;
            if (dtype == TN_F16)
                for (int64_t j = 0; j < gemm->n; j++)
                    ((tn_f16 *)gemm->c)[to + j] = tn_store_f16(*in++);
            else
                for (int64_t j = 0; j < gemm->n; j++)
                    ((tn_bf16 *)gemm->c)[to + j] = tn_store_bf16(*in++);
        }
}

static tn_status gemm_half(tn_dtype dtype, const tn_gemm *gemm)
{
    tn_gemm wide = *gemm;
    /* An operand that the whole batch shares stays one. */
    const int64_t a_count = gemm->a_batch ? gemm->batch : 1, b_count = gemm->b_batch ? gemm->batch : 1;
    const int64_t m = gemm->m, n = gemm->n, k = gemm->k,
                  sizes[] = {a_count * m * k, b_count * k * n, gemm->batch * m * n, n};
    const size_t bytes = (size_t)(sizes[0] + sizes[1] + sizes[2] + sizes[3] + 1) * sizeof(float);
    float *a = tn_alloc(bytes);
    if (!a)
        return TN_ERR_MEMORY;
    float *b = a + sizes[0], *c = b + sizes[1], *bias = c + sizes[2];
    widen(a, dtype, gemm->a, a_count, m, k, gemm->a_batch, gemm->a_row, gemm->a_col);
    widen(b, dtype, gemm->b, b_count, k, n, gemm->b_batch, gemm->b_row, gemm->b_col);
    if (gemm->beta != 0)
        widen(c, dtype, gemm->c, gemm->batch, m, n, gemm->c_batch, gemm->c_row, 1);
    if (gemm->bias)
        widen(bias, dtype, gemm->bias, 1, 1, n, 0, 0, 1);
    wide.a = a, wide.b = b, wide.c = c, wide.bias = gemm->bias ? bias : NULL;
    wide.a_row = k, wide.b_row = n, wide.c_row = n, wide.a_col = wide.b_col = 1;
    wide.a_batch = gemm->a_batch ? m * k : 0, wide.b_batch = gemm->b_batch ? k * n : 0, wide.c_batch = m * n;
    tn_status status = gemm_f32(&wide);
    if (status == TN_OK)
        narrow(gemm, dtype, c);
    tn_free(a, bytes);
    return status;
}

/* ---- integers: modulo their range, as the processor's own -------------------------------------------------------- */

/* Rows begin ... end of all the batch's products, row by row in c itself. U is the unsigned type of T's size. */
#define INTEGER_GEMM(T, U, name)                                                                                       \
    static void name(int64_t begin, int64_t end, void *context)                                                        \
    {                                                                                                                  \
        const tn_gemm *g = context;                                                                                    \
        const U alpha = (U)(int64_t)g->alpha, beta = (U)(int64_t)g->beta;                                              \
        for (int64_t row = begin; row < end; row++) {                                                                  \
            const int64_t at = row / g->m, i = row % g->m;                                                             \
            const U *a = (const U *)g->a + at * g->a_batch + i * g->a_row, *b = (const U *)g->b + at * g->b_batch;     \
            U *c = (U *)g->c + at * g->c_batch + i * g->c_row;                                                         \
            for (int64_t j = 0; j < g->n; j++)                                                                         \
                c[j] = (U)((g->beta != 0 ? (uint64_t)c[j] * beta : 0) + (g->bias ? ((const U *)g->bias)[j] : 0));      \
            for (int64_t p = 0; p < g->k; p++) {                                                                       \
                const U element = (U)((uint64_t)a[p * g->a_col] * alpha);                                              \
                for (int64_t j = 0; j < g->n; j++)                                                                     \
                    c[j] = (U)(c[j] + (uint64_t)element * b[p * g->b_row + j * g->b_col]);                             \
            }                                                                                                          \
            if (g->activation == TN_UNARY_RELU)                                                                        \
                for (int64_t j = 0; j < g->n; j++)                                                                     \
                    c[j] = (T)c[j] < 0 ? 0 : c[j];                                                                     \
        }                                                                                                              \
    }
INTEGER_GEMM(int64_t, uint64_t, rows_i64)
INTEGER_GEMM(int32_t, uint32_t, rows_i32)
INTEGER_GEMM(int16_t, uint16_t, rows_i16)
INTEGER_GEMM(int8_t, uint8_t, rows_i8)
#undef INTEGER_GEMM

static void rows_u8(int64_t begin, int64_t end, void *context)
{
    tn_gemm plain = *(const tn_gemm *)context;
    plain.activation = 0; /* no unsigned number is below 0 */
    rows_i8(begin, end, &plain);
}

static tn_status gemm_integer(const tn_gemm *gemm, void (*rows)(int64_t, int64_t, void *))
{
    const int64_t row_work = gemm->n * gemm->k + 1, grain = 1 + TN_WORK_OF_A_THREAD / row_work;
    tn_gemm copy = *gemm;
    if (gemm->m > 0 && gemm->n > 0)
        tn_parallel_for(gemm->batch * gemm->m, grain, rows, &copy);
    return TN_OK;
}

static tn_status product(tn_dtype dtype, const tn_gemm *gemm)
{
    switch (dtype) {
    case TN_F32: return floats_of(gemm).gemm(gemm);
    case TN_F64: return gemm_f64(gemm);
    case TN_F16:
    case TN_BF16: return gemm_half(dtype, gemm);
    case TN_I64: return gemm_integer(gemm, rows_i64);
    case TN_I32: return gemm_integer(gemm, rows_i32);
    case TN_I16: return gemm_integer(gemm, rows_i16);
    case TN_I8: return gemm_integer(gemm, rows_i8);
    case TN_U8: return gemm_integer(gemm, rows_u8);
    default: return tn_fail(TN_ERR_DTYPE, "gemm: no product of %s", tn_dtype_name(dtype)), TN_ERR_DTYPE;
    }
}

tn_status TN_K(gemm)(tn_dtype dtype, const tn_gemm *gemm)
{
    if (dtype == TN_F32 && is_thin(gemm))
        return gemm_thin(gemm);
    if (gemm->beside)
        return tn_gemm_apart(TN_K(gemm), dtype, gemm);
    if (dtype == TN_F32 && is_outer(gemm))
        return gemm_outer(gemm);
    const tn_status status = product(dtype, gemm);
    if (status != TN_OK || !gemm->a_sums)
        return status;
    const tn_reduction sums = tn_gemm_sums(gemm, tn_dtype_size(dtype));
    return TN_K(reduce)(TN_REDUCE_SUM, dtype, &sums);
}

size_t TN_K(gemm_packed_bytes)(tn_dtype dtype, const tn_gemm *gemm)
{
    return dtype == TN_F64 ? packed_bytes_f64(gemm) : floats_of(gemm).packed_bytes(gemm);
}

size_t TN_K(gemm_scratch_bytes)(tn_dtype dtype, const tn_gemm *gemm, int64_t rows)
{
    return dtype == TN_F64 ? scratch_bytes_f64(gemm, rows) : floats_of(gemm).scratch_bytes(gemm, rows);
}

void TN_K(gemm_pack)(tn_dtype dtype, const tn_gemm *gemm, void *packed)
{
    if (dtype == TN_F64)
        pack_whole_f64(gemm, packed);
    else
        floats_of(gemm).pack(gemm, packed);
}
