/* What decoding does between its products (kernels/decode.h). */
#include <math.h>
#include <string.h>

#include "core/core.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/math.h"
#include "kernels/cpu/packed_vector.h"

tn_status TN_K(decode_norm)(int64_t n, const float *x, const float *weight, double eps, float *y)
{
    float lane[TN_LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + TN_LANES <= n; i += TN_LANES)
        for (int l = 0; l < TN_LANES; l++)
            lane[l] += x[i + l] * x[i + l];
    for (; i < n; i++)
        rest += x[i] * x[i];
    const float scale = (float)(1 / sqrt((double)(sum_f32(lane, TN_LANES) + rest) / (double)n + eps));
    TN_INDEPENDENT
    for (i = 0; i < n; i++)
        y[i] = x[i] * scale * weight[i];
    return TN_OK;
}

tn_status TN_K(decode_gate)(int64_t n, float *gate, const float *up)
{
    TN_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        gate[i] = gate[i] * tn_sigmoid_f32_(gate[i]) * up[i];
    return TN_OK;
}

tn_status TN_K(decode_store)(tn_dtype dtype, int64_t rows, int64_t size, const float *x, void *out, int64_t stride, float *scale, int64_t scale_stride)
{
    for (int64_t row = 0; row < rows; row++, x += size) {
        if (dtype == TN_F32) {
            memcpy((float *)out + row * stride, x, (size_t)size * sizeof(float));
        } else if (dtype == TN_BF16) {
            tn_bf16 *restrict to = (tn_bf16 *)out + row * stride;
            for (int64_t k = 0; k < size; k++)
                to[k] = tn_store_bf16(x[k]);
        } else {
            int8_t *restrict to = (int8_t *)out + row * stride;
            int32_t most = 0;
            for (int64_t k = 0; k < size; k++) {
                const int32_t magnitude = (int32_t)(tn_f32_bits(x[k]) & 0x7fffffffu);
                most = magnitude > most ? magnitude : most;
            }
            const float max = tn_bits_f32((uint32_t)most), inverse = max > 0 ? 127.0f / max : 0;
            for (int64_t k = 0; k < size; k++) /* adding 1.5 * 2^23 leaves the nearest whole number in the low bits */
                to[k] = (int8_t)(int32_t)(tn_f32_bits(x[k] * inverse + 12582912.0f) - 0x4b400000u);
            scale[row * scale_stride] = max < INFINITY ? max / 127.0f : NAN;
        }
    }
    return TN_OK;
}

tn_status TN_K(decode_argmax)(int64_t n, const float *x, int64_t *index, float *max)
{
    const float most = max_f32(x, n);
    int64_t i = 0;
    *max = most;
    *index = 0;
    if (most == most)
        for (int found = 0; i + TN_LANES <= n; i += TN_LANES) {
            for (int l = 0; l < TN_LANES; l++)
                found |= x[i + l] == most;
            if (found)
                break;
        }
    for (; i < n; i++)
        if (most == most ? x[i] == most : x[i] != x[i]) {
            *index = i;
            break;
        }
    return TN_OK;
}

/* ---- attention: one query of a head ------------------------------------------------------------------------------------------- */

typedef uint16_t narrow_bf16 __attribute__((vector_size(TN_VECTOR_BYTES / 2), aligned(2), may_alias));
typedef int8_t narrow_i8 __attribute__((vector_size(TN_VECTOR_BYTES / 4), aligned(1), may_alias));

TN_INLINE vf load_f32(const void *at) { return *(const vf *)at; }
TN_INLINE vf load_bf16(const void *at) { return (vf)(__builtin_convertvector(*(const narrow_bf16 *)at, vi) << 16); }
TN_INLINE vf load_i8(const void *at) { return floats(__builtin_convertvector(*(const narrow_i8 *)at, vi)); }
TN_INLINE float one_f32(const void *at) { return *(const float *)at; }
TN_INLINE float one_bf16(const void *at) { return tn_load_bf16(*(const tn_bf16 *)at); }
TN_INLINE float one_i8(const void *at) { return *(const int8_t *)at; }

/* The sum of each of LANES vectors, in its lane: step d leaves d vectors, of whose lanes half come from either of two. */
#define OF_(l, d) ((l) & (d) ? LANES + (l) : (l)),
#define TO_(l, d) ((l) & (d) ? LANES + ((l) ^ (d)) : (l) ^ (d)),
#if TN_VECTOR_BYTES == 64
#define EACH_(F, d) F(0, d) F(1, d) F(2, d) F(3, d) F(4, d) F(5, d) F(6, d) F(7, d) F(8, d) F(9, d) F(10, d) F(11, d) F(12, d) F(13, d) F(14, d)
#define LAST_ 15
#elif TN_VECTOR_BYTES == 32
#define EACH_(F, d) F(0, d) F(1, d) F(2, d) F(3, d) F(4, d) F(5, d) F(6, d)
#define LAST_ 7
#else
#define EACH_(F, d) F(0, d) F(1, d) F(2, d)
#define LAST_ 3
#endif
#define HALVE(d)                                                                                                              \
    TN_UNROLL                                                                                                                 \
    for (int i = 0; i < (d); i++) {                                                                                           \
        const vf a = x[i], b = x[i + (d) < LANES ? i + (d) : i];                                                              \
        x[i] = __builtin_shufflevector(a, b, EACH_(OF_, d) LANES + LAST_) + __builtin_shufflevector(a, b, EACH_(TO_, d) LANES + (LAST_ ^ (d)));  \
    }
TN_INLINE vf sums_of(vf *x)
{
#if LANES >= 16
    HALVE(8)
#endif
#if LANES >= 8
    HALVE(4)
#endif
    HALVE(2)
    HALVE(1)
    return x[0];
}

/* scores[j] = scale q k[j]; length rounded up to LANES. sums[c] = of p[j] v[j] for a few vectors. The loaders and the width are constants. */
#define ATTENTION(T, suffix)                                                                                                  \
    static void scores_##suffix(const tn_decode_attention *a, const float *q, const T *k, const float *k_scale, float *scores) \
    {                                                                                                                         \
        const float scale = (float)a->scale;                                                                                  \
        for (int64_t j = 0; j < a->length; j += LANES) {                                                                      \
            vf sum[LANES];                                                                                                    \
            for (int l = 0; l < LANES; l++) {                                                                                 \
                const T *row = k + tn_min_i64(j + l, a->length - 1) * a->row;                                                 \
                vf one = splat(0);                                                                                            \
                int64_t d = 0;                                                                                                \
                for (; d + LANES <= a->size; d += LANES)                                                                      \
                    one = fma_(load_##suffix(row + d), *(const vf *)(q + d), one);                                            \
                for (; d < a->size; d++)                                                                                      \
                    one[0] += one_##suffix(row + d) * q[d];                                                                   \
                sum[l] = one;                                                                                                 \
            }                                                                                                                 \
            *(vf *)(scores + j) = sums_of(sum) * splat(scale);                                                                \
        }                                                                                                                     \
        for (int64_t j = 0; k_scale && j < a->length; j++)                                                                    \
            scores[j] *= k_scale[j];                                                                                          \
    }                                                                                                                         \
    TN_INLINE void few_##suffix(int width, const tn_decode_attention *a, const float *p, const T *v, float *y)                \
    {                                                                                                                         \
        vf even[4], odd[4];                                                                                                   \
        TN_UNROLL                                                                                                             \
        for (int c = 0; c < width; c++)                                                                                       \
            even[c] = odd[c] = splat(0);                                                                                      \
        int64_t j = 0;                                                                                                        \
        for (; j + 2 <= a->length; j += 2) {                                                                                  \
            const vf first = splat(p[j]), second = splat(p[j + 1]);                                                           \
            TN_UNROLL                                                                                                         \
            for (int c = 0; c < width; c++) {                                                                                 \
                even[c] = fma_(first, load_##suffix(v + j * a->row + c * LANES), even[c]);                                    \
                odd[c] = fma_(second, load_##suffix(v + (j + 1) * a->row + c * LANES), odd[c]);                               \
            }                                                                                                                 \
        }                                                                                                                     \
        TN_UNROLL                                                                                                             \
        for (int c = 0; c < width; c++) {                                                                                     \
            if (j < a->length)                                                                                                \
                even[c] = fma_(splat(p[j]), load_##suffix(v + j * a->row + c * LANES), even[c]);                              \
            *(vf *)(y + c * LANES) = even[c] + odd[c];                                                                        \
        }                                                                                                                     \
    }                                                                                                                         \
    static void values_##suffix(const tn_decode_attention *a, const float *p, const T *v, float *y)                           \
    {                                                                                                                         \
        int64_t d = 0;                                                                                                        \
        for (; d + 4 * LANES <= a->size; d += 4 * LANES)                                                                      \
            few_##suffix(4, a, p, v + d, y + d);                                                                              \
        for (; d + 3 * LANES <= a->size; d += 3 * LANES)                                                                      \
            few_##suffix(3, a, p, v + d, y + d);                                                                              \
        for (; d + LANES <= a->size; d += LANES)                                                                              \
            few_##suffix(1, a, p, v + d, y + d);                                                                              \
        for (; d < a->size; d++) {                                                                                            \
            float sum = 0;                                                                                                    \
            for (int64_t j = 0; j < a->length; j++)                                                                           \
                sum += p[j] * one_##suffix(v + j * a->row + d);                                                               \
            y[d] = sum;                                                                                                       \
        }                                                                                                                     \
    }                                                                                                                         \
    static void head_##suffix(const tn_decode_attention *a, int64_t h)                                                        \
    {                                                                                                                         \
        const int64_t g = h / (a->heads / a->kv_heads);                                                                       \
        float *scores = a->scores + h * tn_ceil_div(a->length, TN_PACKED_ROWS) * TN_PACKED_ROWS;                              \
        scores_##suffix(a, a->q + h * a->size, (const T *)a->k + g * a->head, a->k_scale ? a->k_scale + g * a->scale_head : NULL, scores); \
        softmax(a->length, scores, a->v_scale ? a->v_scale + g * a->scale_head : NULL);                                       \
        values_##suffix(a, scores, (const T *)a->v + g * a->head, a->y + h * a->size);                                        \
    }

/* And times a row's scale. */
static void softmax(int64_t n, float *x, const float *scale)
{
    const float most = max_f32(x, n);
    TN_INDEPENDENT
    for (int64_t j = 0; j < n; j++)
        x[j] = tn_exp_f32_(x[j] - most);
    const float inverse = 1 / sum_f32(x, n);
    for (int64_t j = 0; j < n; j++)
        x[j] *= inverse;
    for (int64_t j = 0; scale && j < n; j++)
        x[j] *= scale[j];
}

ATTENTION(float, f32)
ATTENTION(tn_bf16, bf16)
ATTENTION(int8_t, i8)
#undef ATTENTION

tn_status TN_K(decode_attention)(const tn_decode_attention *a, int thread, int threads)
{
    for (int64_t h = a->heads * thread / threads; h < a->heads * (thread + 1) / threads; h++)
        (a->dtype == TN_F32 ? head_f32 : a->dtype == TN_BF16 ? head_bf16 : head_i8)(a, h);
    return TN_OK;
}
