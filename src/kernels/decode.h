/* What decoding does between its products, on tokens' rows of f32: raw pointers, no parallel region, no allocation. Beside kernels/packed.h.
 *
 * On a device nothing that differs from step to step is an argument: a step is recorded there once and replayed. Which sequence each row is of,
 * and how many tokens of it came before, stand in arrays of its memory, which each step begins with filling. */
#ifndef TN_KERNELS_DECODE_H
#define TN_KERNELS_DECODE_H

#include <stdint.h>

#include <tenon/tensor.h>

#include "kernels/packed.h"

/* Tokens' heads of q, k and v, as a product of them left them: those of q and k are normed where the model does so, and turned by the token's
 * place, and k's and v's go to the cache; i8 has a scale a row, its largest magnitude / 127. On the CPU rows is 1, and keys and values are where
 * the first head's row goes. */
typedef struct tn_decode_store {
    int64_t rows, heads, kv_heads, size; /* tokens; heads of q, and of k and of v; elements of one */
    float *q, *k; /* turned in place */
    const float *v;
    int64_t row;                   /* from a token's heads to the next one's, which are dense */
    const float *q_norm, *k_norm;  /* [size], or NULL */
    double eps;
    const float *cos, *sin;        /* [rows, size / 2] */
    tn_dtype dtype;                /* of the cache: f32, bf16 or i8 */
    void *keys, *values;
    int64_t head;                  /* strides from a head to the next one: elements, and of the scales */
    float *key_scales, *value_scales; /* i8 only */
    int64_t scale_head;
    const int64_t *sequences, *positions; /* [rows], a device's: keys and values are its whole cache's, in which a sequence's heads follow the former one's, */
    int64_t window;                       /* and a token's row is its position % window */
} tn_decode_store;

/* Queries of each head over a cache of keys and values: y = softmax(scale q k') v. Element d of row j of key/value head g is
 * k[g * head + j * row + d]; its dtype is f32, bf16 or i8 (times the row's scale, k_scale[g * scale_head + j]). Head h reads head
 * h / (heads / kv_heads). With one row the order of the cache's rows is free, so it may roll. Several are a sequence's, in order, and the last in
 * the cache are theirs: query i sees the first length - rows + 1 + i, or of those the last `window`. On a device query i sees, of the cache of
 * sequence sequences[i], all rows up to its position's, at most `window`; k and v are then sequence 0's, and length says nothing. */
typedef struct tn_decode_attention {
    int64_t rows, heads, kv_heads, size, length; /* rows: of q, at least 1; size: of a head; length: rows of the cache, at least `rows` */
    int64_t window; /* with several rows: how many a query sees at most; 0: all */
    double scale;
    const float *q; /* [rows, heads, size], rows q_row apart */
    int64_t q_row, y_row;
    tn_dtype dtype;
    const void *k, *v;
    int64_t head, row;             /* strides of k and of v, in elements */
    int64_t ahead;                 /* with one row: from the last head's keys to those of the next call, which are fetched meanwhile; 0: none */
    const float *k_scale, *v_scale; /* i8 only */
    int64_t scale_head;
    float *scratch; /* for each thread, of one row length rounded up to 16, else tn_decode_tiles_floats(). Aligned to 64 */
    float *y;       /* [rows, heads, size], rows y_row apart */
    const int64_t *sequences, *positions; /* [rows], a device's */
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
 *   decode_norm: y = x weight / sqrt(mean of a row's x x + eps), dense [rows, n]. Where prepared is not NULL it becomes what packed_input() makes of
 *   y for weights of that kind; y then is the kernel's own.
 *   decode_gate: gate = silu(gate) up, [rows, n], rows `row` apart: SwiGLU. prepared likewise.
 *   decode_store: above.
 *   decode_attention: threads share the heads; with several rows the key/value heads.
 *   decode_argmax: the first of the largest of x [n], and its value; NaN counts as largest. index and max are on the CPU. */
#define TN_DECODE_KERNEL_LIST(X)                                                                                              \
    X(decode_norm, (int64_t rows, int64_t n, const float *x, const float *weight, double eps, float *y, tn_packed_kind kind, void *prepared), \
      (rows, n, x, weight, eps, y, kind, prepared))                                                                           \
    X(decode_gate, (int64_t rows, int64_t n, float *gate, const float *up, int64_t row, tn_packed_kind kind, void *prepared), \
      (rows, n, gate, up, row, kind, prepared))                                                                               \
    X(decode_store, (const tn_decode_store *store), (store))                                                                  \
    X(decode_attention, (const tn_decode_attention *attention, int thread, int threads), (attention, thread, threads))        \
    X(decode_argmax, (int64_t n, const float *x, int64_t *index, float *max), (n, x, index, max))

#endif
