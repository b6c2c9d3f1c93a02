/* Philox fills: blocks of counters become bits in the first-level cache, then numbers. The arithmetic of normals is written out
 * (no libm), so that compilers, threads and instruction sets agree but for the contraction of products and sums. */
#include "kernels/cpu/cpu.h"

#include <math.h>

#include "kernels/philox.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

enum { BLOCKS = 128, WORDS = 4 * BLOCKS }; /* a piece: its counters and 32-bit words */

#define PI2 6.283185307179586477

/* The compiler forgets what it knows of memory: a product stored before it is never fused with a sum after it. */
#define ROUND_HERE() __asm__ volatile("" ::: "memory")

/* Several blocks at once: each 64-bit lane holds a block's word in its lower half; what the upper half holds, the product ignores. */
#ifdef __SSE2__
#if defined(__AVX512F__)
typedef uint64_t lanes __attribute__((vector_size(64), may_alias));
#define PRODUCT(a, b) (lanes) _mm512_mul_epu32((__m512i)(a), (__m512i)(b))
#define LOWER_PAIRS(a, b) (lanes) _mm512_unpacklo_epi64((__m512i)(a), (__m512i)(b))
#define UPPER_PAIRS(a, b) (lanes) _mm512_unpackhi_epi64((__m512i)(a), (__m512i)(b))
static const lanes block_of_lane = {0, 4, 1, 5, 2, 6, 3, 7};
#elif defined(__AVX2__)
typedef uint64_t lanes __attribute__((vector_size(32), may_alias));
#define PRODUCT(a, b) (lanes) _mm256_mul_epu32((__m256i)(a), (__m256i)(b))
#define LOWER_PAIRS(a, b) (lanes) _mm256_unpacklo_epi64((__m256i)(a), (__m256i)(b))
#define UPPER_PAIRS(a, b) (lanes) _mm256_unpackhi_epi64((__m256i)(a), (__m256i)(b))
static const lanes block_of_lane = {0, 2, 1, 3};
#else
typedef uint64_t lanes __attribute__((vector_size(16), may_alias));
#define PRODUCT(a, b) (lanes) _mm_mul_epu32((__m128i)(a), (__m128i)(b))
#define LOWER_PAIRS(a, b) (lanes) _mm_unpacklo_epi64((__m128i)(a), (__m128i)(b))
#define UPPER_PAIRS(a, b) (lanes) _mm_unpackhi_epi64((__m128i)(a), (__m128i)(b))
static const lanes block_of_lane = {0, 1};
#endif
enum { LANES = sizeof(lanes) / sizeof(uint64_t) };

/* words[4 i ... 4 i + 3] are the block of counter + i; blocks are rounded up to LANES. */
static void philox_words(uint64_t seed, uint64_t counter, int64_t blocks, uint32_t *words)
{
    for (int64_t i = 0; i < blocks; i += LANES) {
        lanes c0 = block_of_lane + (counter + (uint64_t)i), c1 = c0 >> 32, c2 = {0}, c3 = {0};
        uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
        for (int round = 0; round < 10; round++, k0 += TN_PHILOX_W0, k1 += TN_PHILOX_W1) {
            lanes product0 = PRODUCT(c0, (lanes){0} + TN_PHILOX_M0), product1 = PRODUCT(c2, (lanes){0} + TN_PHILOX_M1);
            c0 = product1 >> 32 ^ c1 ^ k0;
            c2 = product0 >> 32 ^ c3 ^ k1;
            c1 = product1;
            c3 = product0;
        }
        lanes first = (c0 & 0xffffffffu) | c1 << 32, second = (c2 & 0xffffffffu) | c3 << 32;
        *(lanes *)(words + 4 * i) = LOWER_PAIRS(first, second);
        *(lanes *)(words + 4 * i + 2 * LANES) = UPPER_PAIRS(first, second);
    }
}
#else
static void philox_words(uint64_t seed, uint64_t counter, int64_t blocks, uint32_t *words)
{
    for (int64_t i = 0; i < blocks; i++) {
        uint64_t at = counter + (uint64_t)i;
        tn_philox((const uint32_t[4]){(uint32_t)at, (uint32_t)(at >> 32), 0, 0},
                  (const uint32_t[2]){(uint32_t)seed, (uint32_t)(seed >> 32)}, words + 4 * i);
    }
}
#endif

/* ln x for 0 < x <= 1: Cephes' logf, and fdlibm's log. */
static inline float log_f32(float x)
{
    uint32_t u = tn_f32_bits(x) - 0x3f3504f3u; /* sqrt(1/2) */
    float e = (float)((int32_t)u >> 23), f = tn_bits_f32((u & 0x7fffffu) + 0x3f3504f3u) - 1.0f, z = f * f;
    float y = 7.0376836292e-2f * f - 1.1514610310e-1f;
    y = y * f + 1.1676998740e-1f;
    y = y * f - 1.2420140846e-1f;
    y = y * f + 1.4249322787e-1f;
    y = y * f - 1.6668057665e-1f;
    y = y * f + 2.0000714765e-1f;
    y = y * f - 2.4999993993e-1f;
    y = y * f + 3.3333331174e-1f;
    y = y * f * z + e * -2.12194440e-4f - 0.5f * z;
    return f + y + e * 0.693359375f;
}
static inline double log_f64(double x)
{
    union { double f; uint64_t u; } v = {x};
    uint32_t high = (uint32_t)(v.u >> 32) - 0x3fe6a09eu;
    double k = (double)((int32_t)high >> 20);
    v.u = (uint64_t)((high & 0xfffffu) + 0x3fe6a09eu) << 32 | (v.u & 0xffffffffu);
    double f = v.f - 1.0, half = 0.5 * f * f, s = f / (2.0 + f), z = s * s, w = z * z;
    double odd = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    double even = w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01));
    double r = odd + z * (6.666666666666735130e-01 + even);
    return k * 6.93147180369123816490e-01 - ((half - (s * (half + r) + k * 1.90821492927058770002e-10)) - f);
}

/* Box and Muller (1958): two uniforms make two independent normals. The angle is 2 pi times the second, whose nearest quarter of a turn
 * is taken off exactly, in integers, before the polynomials for sine and cosine on [-pi/4, pi/4]. */
static void normals_f32(const uint32_t *restrict words, int64_t pairs, float *restrict out)
{
    for (int64_t i = 0; i < pairs; i++) {
        float u = (float)(int32_t)(words[2 * i] >> 1) * 0x1p-31f + 0x1p-32f;
        int32_t turn = (int32_t)(words[2 * i + 1] >> 2), quarter = (turn + (1 << 27)) >> 28;
        float t = (float)(turn - quarter * (1 << 28)) * (float)(PI2 * 0x1p-30), z = t * t;
        float radius = sqrtf(-2.0f * log_f32(u));
        float sine = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * t + t;
        float cosine = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
        float c = quarter & 1 ? sine : cosine, s = quarter & 1 ? cosine : sine;
        out[2 * i] = radius * ((quarter + 1) & 2 ? -c : c);
        out[2 * i + 1] = radius * (quarter & 2 ? -s : s);
    }
}
static void normals_f64(const uint32_t *restrict words, int64_t pairs, double *restrict out)
{
    for (int64_t i = 0; i < pairs; i++) {
        const uint32_t *w = words + 4 * i;
        double u = 1.0 - ((double)w[0] * 0x1p-32 + (double)(w[1] >> 11) * 0x1p-53);
        int32_t turn = (int32_t)(w[2] >> 2), quarter = (turn + (1 << 27)) >> 28;
        double fraction = (double)(turn - quarter * (1 << 28)) * 0x1p-30 + (double)((w[2] & 3) << 21 | w[3] >> 11) * 0x1p-53;
        double t = fraction * PI2, z = t * t, radius = sqrt(-2.0 * log_f64(u));
        double sine = 1.58969099521155010221e-10 * z - 2.50507602534068634195e-08;
        sine = ((sine * z + 2.75573137070700676789e-06) * z - 1.98412698298579493134e-04) * z + 8.33333333332248946124e-03;
        sine = (sine * z - 1.66666666666666324348e-01) * z * t + t;
        double cosine = -1.13596475577881948265e-11 * z + 2.08757232129817482790e-09;
        cosine = ((cosine * z - 2.75573143513906633035e-07) * z + 2.48015872894767294178e-05) * z - 1.38888888888741095749e-03;
        cosine = (cosine * z + 4.16666666666666019037e-02) * z * z - 0.5 * z + 1.0;
        double c = quarter & 1 ? sine : cosine, s = quarter & 1 ? cosine : sine;
        out[2 * i] = radius * ((quarter + 1) & 2 ? -c : c);
        out[2 * i + 1] = radius * (quarter & 2 ? -s : s);
    }
}

/* x = a + b x, rounded twice and kept at or below the bound. */
#define AFFINE(name, T)                                                                                                       \
    static void name(T *x, int64_t n, T a, T b, T below)                                                                      \
    {                                                                                                                         \
        for (int64_t i = 0; i < n; i++)                                                                                       \
            x[i] *= b;                                                                                                        \
        ROUND_HERE();                                                                                                         \
        for (int64_t i = 0; i < n; i++) {                                                                                     \
            T y = x[i] + a;                                                                                                   \
            x[i] = y < below ? y : below;                                                                                     \
        }                                                                                                                     \
    }
AFFINE(affine_f32, float)
AFFINE(affine_f64, double)

/* Floats of 16 bits keep as many bits of a uniform as they have, so that 1 is not reached; rounding does not reach b either. */
static void floats(const tn_random_fill *fill, const uint32_t *words, int64_t n, float *out)
{
    bool normal = fill->kind == TN_RANDOM_NORMAL;
    int bits = fill->dtype == TN_F16 ? 11 : fill->dtype == TN_BF16 ? 8 : 24;
    float unit = bits == 11 ? 0x1p-11f : bits == 8 ? 0x1p-8f : 0x1p-24f;
    if (normal)
        normals_f32(words, (n + 1) / 2, out);
    else
        for (int64_t i = 0; i < n; i++)
            out[i] = (float)(int32_t)(words[i] >> (32 - bits)) * unit;
    float a = (float)fill->a, scale = (float)(normal ? fill->b : fill->b - fill->a);
    if (a != 0.0f || scale != 1.0f)
        affine_f32(out, n, a, scale, normal || !(fill->a < fill->b) ? INFINITY : nextafterf((float)fill->b, a));
}
static void doubles(const tn_random_fill *fill, const uint32_t *words, int64_t n, double *out)
{
    bool normal = fill->kind == TN_RANDOM_NORMAL;
    if (normal)
        normals_f64(words, (n + 1) / 2, out);
    else
        for (int64_t i = 0; i < n; i++)
            out[i] = (double)words[2 * i] * 0x1p-32 + (double)(words[2 * i + 1] >> 11) * 0x1p-53;
    double scale = normal ? fill->b : fill->b - fill->a;
    if (fill->a != 0.0 || scale != 1.0)
        affine_f64(out, n, fill->a, scale, normal || !(fill->a < fill->b) ? (double)INFINITY : nextafter(fill->b, fill->a));
}
static void integers(const tn_random_fill *fill, const uint32_t *words, uint64_t counter, int64_t n, int64_t *out)
{
    bool raw = fill->kind == TN_RANDOM_BITS;
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = (uint64_t)words[2 * i] << 32 | words[2 * i + 1];
        if (!raw)
            bits = tn_philox_below(fill->range, bits, fill->seed, counter + (uint64_t)i / 2, (int)(i & 1)) + (uint64_t)fill->low;
        out[i] = (int64_t)bits;
    }
}

/* A piece's numbers, in the form that holds them, to the dtype of the result. */
#define STORE(type, expression)                                                                                               \
    do {                                                                                                                      \
        type *to_ = (type *)fill->out + at;                                                                                   \
        for (int64_t i = 0; i < n; i++)                                                                                       \
            to_[i] = expression;                                                                                              \
    } while (0)
#define STORE_NUMBERS(from)                                                                                                   \
    switch (fill->dtype) {                                                                                                    \
    case TN_F32: STORE(float, (float)from[i]); break;                                                                         \
    case TN_F64: STORE(double, (double)from[i]); break;                                                                       \
    case TN_F16: STORE(tn_f16, tn_store_f16((float)from[i])); break;                                                          \
    case TN_BF16: STORE(tn_bf16, tn_store_bf16((float)from[i])); break;                                                       \
    case TN_I64: STORE(int64_t, (int64_t)from[i]); break;                                                                     \
    case TN_I32: STORE(int32_t, (int32_t)from[i]); break;                                                                     \
    case TN_I16: STORE(int16_t, (int16_t)from[i]); break;                                                                     \
    case TN_I8: STORE(int8_t, (int8_t)from[i]); break;                                                                        \
    case TN_U8: STORE(uint8_t, (uint8_t)from[i]); break;                                                                      \
    default: STORE(bool, from[i] != 0); break;                                                                                \
    }

/* Elements at ... at + n of the fill, from the words of the block at counter and on. */
static void store_piece(const tn_random_fill *fill, const uint32_t *words, uint64_t counter, int64_t at, int64_t n)
{
    union { float f32[WORDS]; double f64[WORDS / 2]; int64_t i64[WORDS / 2]; } piece;
    if (fill->kind == TN_RANDOM_BERNOULLI) {
        uint32_t below = (uint32_t)ceil(fill->a * 0x1p24);
        float hit = (float)fill->b;
        for (int64_t i = 0; i < n; i++)
            piece.f32[i] = words[i] >> 8 < below ? hit : 0.0f;
        if (fill->dtype == TN_F64)
            STORE(double, words[i] >> 8 < below ? fill->b : 0.0);
        else
            STORE_NUMBERS(piece.f32)
    } else if (fill->kind == TN_RANDOM_INTEGER || fill->kind == TN_RANDOM_BITS) {
        integers(fill, words, counter, n, piece.i64);
        STORE_NUMBERS(piece.i64)
    } else if (fill->dtype == TN_F64) {
        doubles(fill, words, n, piece.f64);
        STORE(double, piece.f64[i]);
    } else {
        floats(fill, words, n, piece.f32);
        STORE_NUMBERS(piece.f32)
    }
}

static void fill_blocks(int64_t begin, int64_t end, void *context)
{
    const tn_random_fill *fill = context;
    uint32_t words[WORDS] __attribute__((aligned(64)));
    int64_t each = tn_random_per_block(fill->kind, fill->dtype);
    for (int64_t block = begin; block < end; block += BLOCKS) {
        int64_t blocks = tn_min_i64(BLOCKS, end - block), at = block * each;
        uint64_t counter = fill->offset + (uint64_t)block;
        philox_words(fill->seed, counter, blocks, words);
        store_piece(fill, words, counter, at, tn_min_i64(blocks * each, fill->n - at));
    }
}

tn_status TN_K(random)(const tn_random_fill *fill)
{
    int64_t blocks = tn_ceil_div(fill->n, tn_random_per_block(fill->kind, fill->dtype));
    tn_parallel_for(blocks, TN_GRAIN / 4, fill_blocks, (void *)(uintptr_t)fill);
    return TN_OK;
}
