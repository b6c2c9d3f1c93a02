/* What decoding does between its products, on tokens' rows of f32: raw pointers, no parallel region, no allocation. Beside kernels/packed.h;
 * the rotary embedding of a token's heads is the slot rope (rows: the heads, table_rows: 1). */
#ifndef TN_KERNELS_DECODE_H
#define TN_KERNELS_DECODE_H

#include <stdint.h>

#include <tenon/tensor.h>

/* Queries of each head over a cache of keys and values: y = softmax(scale q k') v. Element d of row j of key/value head g is
 * k[g * head + j * row + d]; its dtype is f32, bf16 or i8 (times the row's scale, k_scale[g * scale_head + j]). Head h reads head
 * h / (heads / kv_heads). With one row the order of the cache's rows is free, so it may roll. Several are a sequence's, in order, and the last in
 * the cache are theirs: query i sees the first length - rows + 1 + i, or of those the last `window`. */
typedef struct tn_decode_attention {
    int64_t rows, heads, kv_heads, size, length; /* rows: of q, at least 1; size: of a head; length: rows of the cache, at least `rows` */
    int64_t window; /* with several rows: how many a query sees at most; 0: all */
    double scale;
    const float *q; /* [rows, heads, size], rows q_row apart */
    int64_t q_row, y_row;
    tn_dtype dtype;
    const void *k, *v;
    int64_t head, row;             /* strides of k and of v, in elements */
    int64_t ahead;                 /* with one row: from k to the keys of the next call, which are fetched meanwhile; 0: none */
    const float *k_scale, *v_scale; /* i8 only */
    int64_t scale_head;
    float *scratch; /* one row: [heads, length rounded up to 16]; else tn_decode_tiles_floats() for each thread. Aligned to 64 */
    float *y;       /* [rows, heads, size], rows y_row apart */
} tn_decode_attention;

/* Several rows go by tiles: so many queries (rows of each head of a group) at a time over blocks of so many rows of the cache. */
enum { TN_DECODE_QUERIES = 192, TN_DECODE_KEYS = 64, TN_DECODE_TALL = 6 };
/* A block of keys and one of values; a tile of scores; the queries' sums so far, of v and (16 lanes) of 1, and their largest. */
static inline int64_t tn_decode_tiles_floats(int64_t size)
{
    const int64_t wide = (size + 15) / 16 * 16;
    return 2 * TN_DECODE_KEYS * wide + TN_DECODE_TALL * TN_DECODE_KEYS + TN_DECODE_QUERIES * (wide + 16 + 1);
}

/* The slots, for TN_KERNEL_LIST.
 *   decode_norm: y = x weight / sqrt(mean of x x + eps), [n].
 *   decode_gate: gate = silu(gate) up, [n]: SwiGLU.
 *   decode_store: rows of the cache from x [rows, size]: row i goes to out + i * stride elements of dtype; i8 writes scale[i * scale_stride] too
 *   (largest magnitude / 127).
 *   decode_attention: threads share the heads; with several rows the key/value heads.
 *   decode_argmax: the first of the largest of x [n], and its value; NaN counts as largest. */
#define TN_DECODE_KERNEL_LIST(X)                                                                                              \
    X(decode_norm, (int64_t n, const float *x, const float *weight, double eps, float *y), (n, x, weight, eps, y))            \
    X(decode_gate, (int64_t n, float *gate, const float *up), (n, gate, up))                                                  \
    X(decode_store, (tn_dtype dtype, int64_t rows, int64_t size, const float *x, void *out, int64_t stride, float *scale, int64_t scale_stride), \
      (dtype, rows, size, x, out, stride, scale, scale_stride))                                                               \
    X(decode_attention, (const tn_decode_attention *attention, int thread, int threads), (attention, thread, threads))        \
    X(decode_argmax, (int64_t n, const float *x, int64_t *index, float *max), (n, x, index, max))

#endif
