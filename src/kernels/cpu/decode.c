/* What decoding does between its products (kernels/decode.h). */
#include <math.h>
#include <string.h>

#include "core/core.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/math.h"
#include "kernels/cpu/packed_vector.h"

tn_status TN_K(decode_norm)(int64_t rows, int64_t n, const float *x, const float *weight, double eps, float *y, tn_packed_kind kind, void *prepared)
{
    for (int64_t row = 0; row < rows; row++) {
        const float *from = x + row * n;
        float *to = y + row * n;
        const float scale = (float)(1 / sqrt((double)dot_f32(from, from, n) / (double)n + eps));
        TN_INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            to[i] = from[i] * scale * weight[i];
    }
    return prepared ? TN_K(packed_input)(kind, rows, n, y, n, prepared, 0, 1) : TN_OK;
}

tn_status TN_K(decode_gate)(int64_t rows, int64_t n, float *gate, const float *up, int64_t row, tn_packed_kind kind, void *prepared)
{
    for (int64_t k = 0; k < rows; k++) {
        float *to = gate + k * row;
        const float *by = up + k * row;
        TN_INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            to[i] = to[i] * tn_sigmoid_f32_(to[i]) * by[i];
    }
    return prepared ? TN_K(packed_input)(kind, rows, n, gate, row, prepared, 0, 1) : TN_OK;
}

static void keep(tn_dtype dtype, int64_t rows, int64_t size, const float *x, void *out, int64_t stride, float *scale, int64_t scale_stride)
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
}

/* A token's heads, of q or of k. */
static void turn(const tn_decode_store *s, float *heads, int64_t count, const float *norm)
{
    const tn_head_rows at = {.data = heads, .head = s->size, .row = count * s->size};
    const tn_rope_rows rows = {.batch = 1, .heads = count, .l = 1, .width = s->size, .half = s->size / 2, .table_rows = 1, .x = at, .y = at,
                               .cos = s->cos, .sin = s->sin};
    if (norm)
        TN_K(decode_norm)(count, s->size, heads, norm, s->eps, heads, TN_PACKED_F32, NULL);
    TN_K(rope)(TN_F32, &rows);
}

tn_status TN_K(decode_store)(const tn_decode_store *s)
{
    turn(s, s->q, s->heads, s->q_norm);
    turn(s, s->k, s->kv_heads, s->k_norm);
    keep(s->dtype, s->kv_heads, s->size, s->k, s->keys, s->head, s->key_scales, s->scale_head);
    keep(s->dtype, s->kv_heads, s->size, s->v, s->values, s->head, s->value_scales, s->scale_head);
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

TN_INLINE vf load_f32(const void *at) { return *(const vf *)at; }
TN_INLINE vf load_bf16(const void *at) { return bfloats(at); }
TN_INLINE vf load_i8(const void *at) { return floats(signed_bytes(at)); }
TN_INLINE float one_f32(const void *at) { return *(const float *)at; }
TN_INLINE float one_bf16(const void *at) { return tn_load_bf16(*(const tn_bf16 *)at); }
TN_INLINE float one_i8(const void *at) { return *(const int8_t *)at; }

/* Two vectors of elements that follow each other; of bf16 the even ones and the odd ones, which one load has in place but for a shift or a mask. */
typedef struct two {
    vf a, b;
} two;
TN_INLINE two two_f32(const void *at) { return (two){*(const vf *)at, *((const vf *)at + 1)}; }
TN_INLINE two two_i8(const void *at) { return (two){load_i8(at), load_i8((const int8_t *)at + LANES)}; }
TN_INLINE two two_bf16(const void *at)
{
    typedef int32_t pairs_ __attribute__((vector_size(sizeof(vi)), aligned(2), may_alias));
    const vi pairs = *(const pairs_ *)at;
    return (two){(vf)(pairs << 16), (vf)(pairs & (int32_t)0xffff0000)};
}
/* Two vectors of f32 put in that order, and out of it. */
TN_INLINE two ordered_f32(two x) { return x; }
TN_INLINE two ordered_i8(two x) { return x; }
TN_INLINE two ordered_bf16(two x)
{
#define EVEN_(l, d) 2 * (l),
#define ODD_(l, d) 2 * (l) + 1,
    return (two){__builtin_shufflevector(x.a, x.b, EACH_(EVEN_, 0) 2 * LAST_), __builtin_shufflevector(x.a, x.b, EACH_(ODD_, 0) 2 * LAST_ + 1)};
#undef EVEN_
#undef ODD_
}
TN_INLINE two restored_f32(two x) { return x; }
TN_INLINE two restored_i8(two x) { return x; }
TN_INLINE two restored_bf16(two x)
{
#define ZIP_(l, d) ((l) % 2 * LANES + (l) / 2 + (d)),
    return (two){__builtin_shufflevector(x.a, x.b, EACH_(ZIP_, 0) LANES + LAST_ / 2),
                 __builtin_shufflevector(x.a, x.b, EACH_(ZIP_, LANES / 2) LANES + LAST_ / 2 + LANES / 2)};
#undef ZIP_
}

/* scores[j] = scale q k[j]; length rounded up to LANES. sums[c] = of p[j] v[j] for a few vectors. The loaders, the width and, of whole groups of keys,
 * the last are constants. What is read next is fetched meanwhile: v, then the keys of the next call. */
#define ATTENTION(T, suffix)                                                                                                  \
    /* q by the keys 0 ... last of LANES, the last one repeated; half of them at a time, whose places the processor has registers for. */\
    TN_INLINE vf dots_##suffix(int64_t last, int64_t size, int64_t stride, const float *q, const T *k)                        \
    {                                                                                                                         \
        vf sum[LANES];                                                                                                        \
        int64_t d = 0;                                                                                                        \
        TN_UNROLL                                                                                                             \
        for (int half = 0; half < 2; half++) {                                                                                \
            const T *row[LANES / 2];                                                                                          \
            vf *const to = sum + half * (LANES / 2);                                                                          \
            TN_UNROLL                                                                                                         \
            for (int l = 0; l < LANES / 2; l++) {                                                                             \
                row[l] = k + tn_min_i64(half * (LANES / 2) + l, last) * stride;                                               \
                to[l] = splat(0);                                                                                             \
            }                                                                                                                 \
            for (d = 0; d + 2 * LANES <= size; d += 2 * LANES) {                                                              \
                const two left = ordered_##suffix(two_f32(q + d));                                                            \
                TN_UNROLL                                                                                                     \
                for (int l = 0; l < LANES / 2; l++) {                                                                         \
                    const two right = two_##suffix(row[l] + d);                                                               \
                    to[l] = fma_(right.b, left.b, fma_(right.a, left.a, to[l]));                                              \
                }                                                                                                             \
            }                                                                                                                 \
            if (d + LANES <= size) {                                                                                          \
                const vf left = *(const vf *)(q + d);                                                                         \
                TN_UNROLL                                                                                                     \
                for (int l = 0; l < LANES / 2; l++)                                                                           \
                    to[l] = fma_(load_##suffix(row[l] + d), left, to[l]);                                                     \
                d += LANES;                                                                                                   \
            }                                                                                                                 \
        }                                                                                                                     \
        vf dot = sums_of(sum);                                                                                                \
        for (; d < size; d++)                                                                                                 \
            for (int l = 0; l < LANES; l++)                                                                                   \
                dot[l] += one_##suffix(k + tn_min_i64(l, last) * stride + d) * q[d];                                          \
        return dot;                                                                                                           \
    }                                                                                                                         \
    TN_INLINE void scores_of_##suffix(int64_t size, int64_t row, const tn_decode_attention *a, const float *q, const T *k, const T *v, float *scores)\
    {                                                                                                                         \
        const vf scale = splat((float)a->scale);                                                                              \
        const int64_t length = a->length;                                                                                     \
        for (int64_t j = 0; j < length; j += LANES, k += LANES * row, v += LANES * row) {                                     \
            for (int64_t at = 0; at < LANES * row; at += 256 / (int)sizeof(T))                                                \
                TN_UNROLL                                                                                                     \
                for (int line = 0; line < 4; line++)                                                                          \
                    __builtin_prefetch(v + at + line * (64 / (int)sizeof(T)), 0, 3);                                          \
            const vf dot = j + LANES <= length ? dots_##suffix(LANES - 1, size, row, q, k) : dots_##suffix(length - 1 - j, size, row, q, k);\
            *(vf *)(scores + j) = dot * scale;                                                                                \
        }                                                                                                                     \
    }                                                                                                                         \
    static void scores_##suffix(const tn_decode_attention *a, const float *q, const T *k, const T *v, const float *k_scale, float *scores)\
    {                                                                                                                         \
        switch (a->row == a->size ? a->size : 0) { /* what models have: with constants the loops lie flat, and a step of eight prompts takes 5 % less */\
        case 48: scores_of_##suffix(48, 48, a, q, k, v, scores); break;                                                       \
        case 64: scores_of_##suffix(64, 64, a, q, k, v, scores); break;                                                       \
        case 128: scores_of_##suffix(128, 128, a, q, k, v, scores); break;                                                    \
        default: scores_of_##suffix(a->size, a->row, a, q, k, v, scores);                                                     \
        }                                                                                                                     \
        for (int64_t j = 0; k_scale && j < a->length; j++)                                                                    \
            scores[j] *= k_scale[j];                                                                                          \
    }                                                                                                                         \
    TN_INLINE void row_##suffix(int width, float p, const T *v, const T *next, vf *sum)                                       \
    {                                                                                                                         \
        const vf left = splat(p);                                                                                             \
        TN_UNROLL                                                                                                             \
        for (int c = 0; c < width; c += 2) {                                                                                  \
            const two right = c + 1 < width ? two_##suffix(v + c * LANES) : (two){load_##suffix(v + c * LANES), left};        \
            sum[c] = fma_(left, right.a, sum[c]);                                                                             \
            if (c + 1 < width)                                                                                                \
                sum[c + 1] = fma_(left, right.b, sum[c + 1]);                                                                 \
        }                                                                                                                     \
        TN_UNROLL                                                                                                             \
        for (int c = 0; c < width * LANES; c += 64 / (int)sizeof(T))                                                          \
            __builtin_prefetch(next + c, 0, 3);                                                                               \
    }                                                                                                                         \
    TN_INLINE void few_##suffix(int width, const tn_decode_attention *a, const float *p, const T *v, const T *next, float *y) \
    {                                                                                                                         \
        vf sum[2][4];                                                                                                         \
        TN_UNROLL                                                                                                             \
        for (int c = 0; c < width; c++)                                                                                       \
            sum[0][c] = sum[1][c] = splat(0);                                                                                 \
        int64_t j = 0;                                                                                                        \
        for (; j + 2 <= a->length; j += 2, v += 2 * a->row, next += 2 * a->row) {                                             \
            row_##suffix(width, p[j], v, next, sum[0]);                                                                       \
            row_##suffix(width, p[j + 1], v + a->row, next + a->row, sum[1]);                                                 \
        }                                                                                                                     \
        if (j < a->length)                                                                                                    \
            row_##suffix(width, p[j], v, next, sum[0]);                                                                       \
        TN_UNROLL                                                                                                             \
        for (int c = 0; c < width; c += 2) {                                                                                  \
            const vf first = sum[0][c] + sum[1][c];                                                                           \
            if (c + 1 < width) {                                                                                              \
                const two out = restored_##suffix((two){first, sum[0][c + 1] + sum[1][c + 1]});                               \
                *(vf *)(y + c * LANES) = out.a;                                                                               \
                *(vf *)(y + (c + 1) * LANES) = out.b;                                                                         \
            } else {                                                                                                          \
                *(vf *)(y + c * LANES) = first;                                                                               \
            }                                                                                                                 \
        }                                                                                                                     \
    }                                                                                                                         \
    static void values_##suffix(const tn_decode_attention *a, const float *p, const T *v, const T *next, float *y)            \
    {                                                                                                                         \
        int64_t d = 0;                                                                                                        \
        for (; d + 4 * LANES <= a->size; d += 4 * LANES)                                                                      \
            few_##suffix(4, a, p, v + d, next + d, y + d);                                                                    \
        for (; d + 3 * LANES <= a->size; d += 3 * LANES)                                                                      \
            few_##suffix(3, a, p, v + d, next + d, y + d);                                                                    \
        for (; d + LANES <= a->size; d += LANES)                                                                              \
            few_##suffix(1, a, p, v + d, next + d, y + d);                                                                    \
        for (; d < a->size; d++) {                                                                                            \
            float sum = 0;                                                                                                    \
            for (int64_t j = 0; j < a->length; j++)                                                                           \
                sum += p[j] * one_##suffix(v + j * a->row + d);                                                               \
            y[d] = sum;                                                                                                       \
        }                                                                                                                     \
    }                                                                                                                         \
    static void head_##suffix(const tn_decode_attention *a, int64_t h, float *scores)                                         \
    {                                                                                                                         \
        const int64_t group = a->heads / a->kv_heads, g = h / group;                                                          \
        const int64_t next = (h + 1) % group ? 0 : g + 1 < a->kv_heads ? a->head : a->ahead;                                  \
        const T *k = (const T *)a->k + g * a->head, *v = (const T *)a->v + g * a->head;                                       \
        scores_##suffix(a, a->q + h * a->size, k, v, a->k_scale ? a->k_scale + g * a->scale_head : NULL, scores);             \
        softmax(a->length, scores, a->v_scale ? a->v_scale + g * a->scale_head : NULL);                                       \
        values_##suffix(a, scores, v, k + next, a->y + h * a->size);                                                          \
    }

/* And times a row's scale. Of x whole vectors are written. */
static void softmax(int64_t n, float *x, const float *scale)
{
    const int64_t all = tn_ceil_div(n, LANES) * LANES;
    vf top = splat(-INFINITY), sum = splat(0);
    for (int64_t j = n; j < all; j++)
        x[j] = -INFINITY;
    for (int64_t j = 0; j < all; j += LANES)
        top = larger(top, *(const vf *)(x + j));
    const float most = largest_of(top);
    for (int64_t j = 0; j < all; j += LANES) {
        TN_INDEPENDENT
        for (int l = 0; l < LANES; l++)
            x[j + l] = tn_exp_f32_(x[j + l] - most);
        sum += *(const vf *)(x + j);
    }
    const vf inverse = splat(1 / sum_of(sum));
    for (int64_t j = 0; j < all; j += LANES)
        *(vf *)(x + j) *= inverse;
    for (int64_t j = 0; scale && j < n; j++)
        x[j] *= scale[j];
}

ATTENTION(float, f32)
ATTENTION(tn_bf16, bf16)
ATTENTION(int8_t, i8)
#undef ATTENTION

/* ---- attention: many queries of a sequence ------------------------------------------------------------------------------------ */

enum { KEYS = TN_DECODE_KEYS, TALL = TN_DECODE_TALL, QUERIES = TN_DECODE_QUERIES, ACROSS = LANES == 16 ? 4 : 2 };

static int64_t wide_of(const tn_decode_attention *a) { return tn_ceil_div(a->size, TN_PACKED_ROWS) * TN_PACKED_ROWS; }

/* `count` rows of the cache from `first` on: keys times scale, transposed, k [size, KEYS], the last one repeated up to whole vectors; values
 * v [count, wide], with zeros behind. */
#define BLOCK(T, suffix)                                                                                                      \
    static void block_##suffix(const tn_decode_attention *a, int64_t g, int64_t first, int64_t count, float *k, float *v)     \
    {                                                                                                                         \
        const T *keys = (const T *)a->k + g * a->head + first * a->row, *values = (const T *)a->v + g * a->head + first * a->row; \
        const float *k_scale = a->k_scale ? a->k_scale + g * a->scale_head + first : NULL;                                    \
        const float *v_scale = a->v_scale ? a->v_scale + g * a->scale_head + first : NULL;                                    \
        const int64_t wide = wide_of(a);                                                                                      \
        for (int64_t j = 0; j < count; j += LANES) {                                                                          \
            const T *row[LANES];                                                                                              \
            float scale[LANES];                                                                                               \
            for (int l = 0; l < LANES; l++) {                                                                                 \
                const int64_t at = tn_min_i64(j + l, count - 1);                                                              \
                row[l] = keys + at * a->row;                                                                                  \
                scale[l] = (float)a->scale * (k_scale ? k_scale[at] : 1);                                                     \
            }                                                                                                                 \
            int64_t d = 0;                                                                                                    \
            for (; d + LANES <= a->size; d += LANES) {                                                                        \
                vf x[LANES];                                                                                                  \
                TN_UNROLL                                                                                                     \
                for (int l = 0; l < LANES; l++)                                                                               \
                    x[l] = load_##suffix(row[l] + d);                                                                         \
                transpose(x);                                                                                                 \
                TN_UNROLL                                                                                                     \
                for (int l = 0; l < LANES; l++)                                                                               \
                    *(vf *)(k + (d + l) * KEYS + j) = x[l] * *(const vf *)scale;                                              \
            }                                                                                                                 \
            for (; d < a->size; d++)                                                                                          \
                for (int l = 0; l < LANES; l++)                                                                               \
                    k[d * KEYS + j + l] = one_##suffix(row[l] + d) * scale[l];                                                \
        }                                                                                                                     \
        for (int64_t j = 0; j < count; j++, values += a->row, v += wide) {                                                    \
            const float scale = v_scale ? v_scale[j] : 1;                                                                     \
            int64_t d = 0;                                                                                                    \
            for (; d + LANES <= a->size; d += LANES)                                                                          \
                *(vf *)(v + d) = load_##suffix(values + d) * splat(scale);                                                    \
            for (; d < wide; d++)                                                                                             \
                v[d] = d < a->size ? one_##suffix(values + d) * scale : 0;                                                    \
        }                                                                                                                     \
    }
BLOCK(float, f32)
BLOCK(tn_bf16, bf16)
BLOCK(int8_t, i8)
#undef BLOCK

/* c [TALL, across vectors] = (or +=) a b, of rows a[i] [depth]. across is a constant. */
TN_INLINE void tile(int across, int64_t depth, const float *const *a, const float *b, int64_t b_row, float *c, int64_t c_row, bool add)
{
    vf sum[TALL][ACROSS];
    TN_UNROLL
    for (int i = 0; i < TALL; i++)
        TN_UNROLL
        for (int v = 0; v < across; v++)
            sum[i][v] = add ? *(const vf *)(c + i * c_row + v * LANES) : splat(0);
    for (int64_t k = 0; k < depth; k++) {
        vf right[ACROSS];
        TN_UNROLL
        for (int v = 0; v < across; v++)
            right[v] = *(const vf *)(b + k * b_row + v * LANES);
        TN_UNROLL
        for (int i = 0; i < TALL; i++) {
            const vf left = splat(a[i][k]);
            TN_UNROLL
            for (int v = 0; v < across; v++)
                sum[i][v] = fma_(left, right[v], sum[i][v]);
        }
    }
    TN_UNROLL
    for (int i = 0; i < TALL; i++)
        TN_UNROLL
        for (int v = 0; v < across; v++)
            *(vf *)(c + i * c_row + v * LANES) = sum[i][v];
}

static void multiply(int64_t vectors, int64_t depth, const float *const *a, const float *b, int64_t b_row, float *c, int64_t c_row, bool add)
{
    for (; vectors >= ACROSS; vectors -= ACROSS, b += ACROSS * LANES, c += ACROSS * LANES)
        tile(ACROSS, depth, a, b, b_row, c, c_row, add);
    if (ACROSS > 2 && vectors == 3)
        tile(ACROSS > 2 ? 3 : 1, depth, a, b, b_row, c, c_row, add);
    else if (ACROSS > 2 && vectors == 2)
        tile(2, depth, a, b, b_row, c, c_row, add);
    else if (vectors == 1)
        tile(1, depth, a, b, b_row, c, c_row, add);
}

/* So many queries' state. */
typedef struct queries {
    int64_t wide;
    float *k, *v, *p; /* [size, KEYS], [KEYS, wide], [TALL, KEYS] */
    float *y;         /* [QUERIES, wide]: sums of exp(score - most) v */
    float *sum;       /* [QUERIES, LANES]: of exp(score - most) */
    float *most;      /* [QUERIES] */
} queries;

/* The scores of TALL queries from m on become exp(score - most); row i sees the first seen[i] of the block, but for hidden[i] before its window. What
 * y and sum have is shrunk where a larger one came. */
static void soften(const queries *s, int64_t m, int64_t vectors, const int64_t *seen, const int64_t *hidden)
{
    for (int i = 0; i < TALL; i++, m++) {
        float *p = s->p + i * KEYS, *y = s->y + m * s->wide;
        for (int64_t j = tn_max_i64(0, seen[i]); j < vectors * LANES; j++)
            p[j] = -INFINITY;
        for (int64_t j = 0; j < tn_min_i64(hidden[i], vectors * LANES); j++)
            p[j] = -INFINITY;
        vf top = splat(s->most[m]), sum = *(const vf *)(s->sum + m * LANES);
        for (int64_t v = 0; v < vectors; v++)
            top = larger(top, *(const vf *)(p + v * LANES));
        const float most = largest_of(top);
        if (most > s->most[m]) {
            const vf factor = splat(tn_exp_f32_(s->most[m] - most));
            sum *= factor;
            for (int64_t d = 0; d < s->wide; d += LANES)
                *(vf *)(y + d) *= factor;
            s->most[m] = most;
        }
        const float zero = most == -INFINITY ? 0 : most; /* of a query that saw nothing yet */
        for (int64_t v = 0; v < vectors; v++, p += LANES) {
            TN_INDEPENDENT
            for (int l = 0; l < LANES; l++)
                p[l] = tn_exp_f32_(p[l] - zero);
            sum += *(const vf *)p;
        }
        *(vf *)(s->sum + m * LANES) = sum;
    }
}

/* Row of q, and the first element of its head, of query m of a group. */
static int64_t row_of(const tn_decode_attention *a, int64_t m) { return m * a->kv_heads / a->heads; }
static int64_t column_of(const tn_decode_attention *a, int64_t g, int64_t m)
{
    const int64_t group = a->heads / a->kv_heads;
    return (g * group + m % group) * a->size;
}

/* TALL queries from from + m on, the last repeated beyond `count`, and the block of rows from `first` on. */
static void look(const tn_decode_attention *a, const queries *s, int64_t g, int64_t from, int64_t m, int64_t count, int64_t first)
{
    const float *q[TALL], *p[TALL];
    int64_t seen[TALL], hidden[TALL];
    for (int i = 0; i < TALL; i++) {
        const int64_t at = from + tn_min_i64(m + i, count - 1), row = row_of(a, at);
        q[i] = a->q + row * a->q_row + column_of(a, g, at);
        p[i] = s->p + i * KEYS;
        seen[i] = a->length - a->rows + 1 + row - first;
        hidden[i] = a->window ? seen[i] - a->window : 0;
    }
    const int64_t depth = tn_min_i64(KEYS, seen[TALL - 1]), vectors = tn_ceil_div(depth, LANES);
    if (depth <= 0 || hidden[0] >= KEYS)
        return;
    multiply(vectors, a->size, q, s->k, KEYS, s->p, KEYS, false);
    soften(s, m, vectors, seen, hidden);
    multiply(s->wide / LANES, depth, p, s->v, s->wide, s->y + m * s->wide, s->wide, true);
}

/* A key/value head's. */
static void head_rows(const tn_decode_attention *a, int64_t g, float *scratch)
{
    const int64_t all = a->rows * a->heads / a->kv_heads, wide = wide_of(a);
    queries s = {.wide = wide, .k = scratch};
    s.v = s.k + KEYS * wide, s.p = s.v + KEYS * wide, s.y = s.p + TALL * KEYS, s.sum = s.y + QUERIES * wide, s.most = s.sum + QUERIES * LANES;
    for (int64_t from = 0; from < all; from += QUERIES) {
        const int64_t count = tn_min_i64(QUERIES, all - from), length = a->length - a->rows + 1 + row_of(a, from + count - 1);
        const int64_t hidden = a->window ? a->length - a->rows + 1 + row_of(a, from) - a->window : 0; /* from all of these */
        memset(s.y, 0, (size_t)(QUERIES * (wide + LANES)) * sizeof(float)); /* and sum */
        for (int m = 0; m < QUERIES; m++)
            s.most[m] = -INFINITY;
        for (int64_t first = tn_max_i64(0, hidden); first < length; first += KEYS) {
            (a->dtype == TN_F32 ? block_f32 : a->dtype == TN_BF16 ? block_bf16 : block_i8)(a, g, first, tn_min_i64(KEYS, length - first), s.k, s.v);
            for (int64_t m = 0; m < count; m += TALL)
                look(a, &s, g, from, m, count, first);
        }
        for (int64_t m = 0; m < count; m++) {
            float *y = a->y + row_of(a, from + m) * a->y_row + column_of(a, g, from + m), sum = 0;
            for (int l = 0; l < LANES; l++)
                sum += s.sum[m * LANES + l];
            for (int64_t d = 0; d < a->size; d++)
                y[d] = s.y[m * wide + d] / sum;
        }
    }
}

tn_status TN_K(decode_attention)(const tn_decode_attention *a, int thread, int threads)
{
    for (int64_t g = a->kv_heads * thread / threads; a->rows > 1 && g < a->kv_heads * (thread + 1) / threads; g++)
        head_rows(a, g, a->scratch + thread * tn_decode_tiles_floats(a->size));
    float *scores = a->scratch + thread * tn_ceil_div(a->length, TN_PACKED_ROWS) * TN_PACKED_ROWS;
    for (int64_t h = a->heads * thread / threads; a->rows == 1 && h < a->heads * (thread + 1) / threads; h++)
        (a->dtype == TN_F32 ? head_f32 : a->dtype == TN_BF16 ? head_bf16 : head_i8)(a, h, scores);
    return TN_OK;
}
