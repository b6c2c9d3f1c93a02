/* Matrix products. f32 and f64 by the packed kernel of gemm_template.h, the 16-bit floats through f32, integers by
 * plain loops. */
#include <string.h>
#include <unistd.h>

#include "core/parallel.h"
#include "kernels/cpu/cpu.h"

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

/* Products of fewer multiplications than this are not worth a second thread; and scratch of so many bytes lies on the
 * stack. */
#define WORK_OF_A_THREAD 1e6
enum { SMALL_SCRATCH = 16384 };
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
#define SPLAT_F32(x) ((vec_f32)_mm512_set1_ps(x))
#define SPLAT_F64(x) ((vec_f64)_mm512_set1_pd(x))
#elif defined(__AVX2__) && defined(__FMA__)
enum { VECTOR_BYTES = 32, MR = 6, NV = 2 };
#define FMA_F32(a, b, c) ((vec_f32)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define FMA_F64(a, b, c) ((vec_f64)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#define SPLAT_F32(x) ((vec_f32)_mm256_set1_ps(x))
#define SPLAT_F64(x) ((vec_f64)_mm256_set1_pd(x))
#elif defined(__aarch64__)
enum { VECTOR_BYTES = 16, MR = 6, NV = 4 };
#define FMA_F32(a, b, c) ((vec_f32)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define FMA_F64(a, b, c) ((vec_f64)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b)))
#define SPLAT_F32(x) ((vec_f32)vdupq_n_f32(x))
#define SPLAT_F64(x) ((vec_f64)vdupq_n_f64(x))
#else
enum { VECTOR_BYTES = 16, MR = 6, NV = 2 };
#define FMA_F32(a, b, c) ((a) * (b) + (c))
#define FMA_F64(a, b, c) ((a) * (b) + (c))
#define SPLAT_F32(x) ((vec_f32){(x), (x), (x), (x)})
#define SPLAT_F64(x) ((vec_f64){(x), (x)})
#endif

/* KC makes a panel of b 32 KiB or less. */
#define T float
#define NAME(x) x##_f32
#define LANES (VECTOR_BYTES / 4)
#define KC (VECTOR_BYTES == 64 ? 256 : 512)
#define FMA FMA_F32
#define SPLAT SPLAT_F32
#include "kernels/cpu/gemm_template.h"
#undef T
#undef NAME
#undef LANES
#undef KC
#undef FMA
#undef SPLAT

#define T double
#define NAME(x) x##_f64
#define LANES (VECTOR_BYTES / 8)
#define KC 256
#define FMA FMA_F64
#define SPLAT SPLAT_F64
#include "kernels/cpu/gemm_template.h"

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
    const int64_t row_work = gemm->n * gemm->k + 1, grain = 1 + (int64_t)WORK_OF_A_THREAD / row_work;
    tn_gemm copy = *gemm;
    if (gemm->m > 0 && gemm->n > 0)
        tn_parallel_for(gemm->batch * gemm->m, grain, rows, &copy);
    return TN_OK;
}

tn_status TN_K(gemm)(tn_dtype dtype, const tn_gemm *gemm)
{
    switch (dtype) {
    case TN_F32: return gemm_f32(gemm);
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

size_t TN_K(gemm_packed_bytes)(tn_dtype dtype, const tn_gemm *gemm)
{
    return dtype == TN_F64 ? packed_bytes_f64(gemm) : packed_bytes_f32(gemm);
}

size_t TN_K(gemm_scratch_bytes)(tn_dtype dtype, const tn_gemm *gemm, int64_t rows)
{
    return dtype == TN_F64 ? scratch_bytes_f64(gemm, rows) : scratch_bytes_f32(gemm, rows);
}

void TN_K(gemm_pack)(tn_dtype dtype, const tn_gemm *gemm, void *packed)
{
    if (dtype == TN_F64)
        pack_whole_f64(gemm, packed);
    else
        pack_whole_f32(gemm, packed);
}
