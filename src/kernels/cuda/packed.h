/* What is multiplied with packed weights (packed.cu), as a device has it: a prepared x, rows in turn. F32 and F16 [n, cols] floats, which is x itself;
 * BF16 [n, (cols + 1) / 2] pairs; of kinds of blocks words of four bytes [n, blocks, 8] (Q8_FINE: 16, the high bytes first), then [n, blocks] scales,
 * sums of a block, and sums of its second half. Those are a row's items. */
#ifndef TN_CUDA_PACKED_H
#define TN_CUDA_PACKED_H

#include "kernels/cuda/cuda.h"

struct tn_packed_x {
    uint32_t *words;
    float *scales;
    int32_t *sums, *late;
    int64_t per_item; /* words of one of `items` */
};
static inline int64_t tn_packed_items(tn_packed_kind kind, int64_t cols)
{
    return tn_packed_in_blocks(kind) ? tn_packed_blocks(cols) : kind == TN_PACKED_BF16 ? (cols + 1) / 2 : cols;
}
TN_DEVICE tn_packed_x tn_packed_x_of(tn_packed_kind kind, int64_t n, int64_t items, const void *prepared)
{
    tn_packed_x x;
    x.per_item = kind == TN_PACKED_F32 || kind == TN_PACKED_F16 || kind == TN_PACKED_BF16 ? 1 : kind == TN_PACKED_Q8_FINE ? 16 : 8;
    x.words = (uint32_t *)prepared;
    x.scales = (float *)(x.words + n * items * x.per_item);
    x.sums = (int32_t *)(x.scales + n * items);
    x.late = x.sums + n * items;
    return x;
}

/* Item e of all, the item'th of its row, whose elements are at(0), ..., at(cols - 1). */
template <class At> TN_DEVICE void tn_packed_prepare(tn_packed_kind kind, int64_t cols, const tn_packed_x &to, int64_t e, int64_t item, At at)
{
    enum { BLOCK = TN_PACKED_BLOCK };
    uint32_t *words = to.words + e * to.per_item;
    if (kind == TN_PACKED_F32 || kind == TN_PACKED_F16) {
        words[0] = tn_f32_bits(at(item));
        return;
    }
    if (kind == TN_PACKED_BF16) {
        const uint32_t low = tn_store_bf16(at(2 * item)).bits, high = 2 * item + 1 < cols ? tn_store_bf16(at(2 * item + 1)).bits : 0;
        words[0] = low | high << 16;
        return;
    }
    const bool fine = kind == TN_PACKED_Q8_FINE;
    const int64_t left = cols - item * BLOCK;
    float v[BLOCK];
    uint32_t most = 0;
    TN_UNROLL
    for (int k = 0; k < BLOCK; k++) { /* magnitudes are in order as whole numbers are */
        v[k] = k < left ? at(item * BLOCK + k) : 0;
        const uint32_t size = tn_f32_bits(v[k]) & 0x7fffffffu;
        most = size > most ? size : most;
    }
    const float max = tn_bits_f32(most), top = fine ? 32512.0f : 127.0f, inverse = max > 0 ? top / max : 0;
    int32_t sum = 0, late = 0;
    TN_UNROLL
    for (int u = 0; u < 8; u++) {
        uint32_t word = 0, low = 0;
        for (int k = 0; k < 4; k++) {
            const int32_t q = (int32_t)(tn_f32_bits(__fadd_rn(__fmul_rn(v[4 * u + k], inverse), 12582912.0f)) - 0x4b400000u); /* 1.5 * 2^23: the nearest */
            sum += q;
            late += u >= 4 ? q : 0;
            word |= ((uint32_t)(fine ? (q + 128) >> 8 : q) & 255) << 8 * k;
            low |= ((uint32_t)q & 255) << 8 * k;
        }
        words[u] = word;
        if (fine)
            words[8 + u] = low;
    }
    to.scales[e] = max < INFINITY ? max / top : NAN;
    to.sums[e] = sum;
    to.late[e] = late;
}

#endif
