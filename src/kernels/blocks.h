/* Rows of quantised blocks to floats and back. Little endian, byte by byte: nothing is aligned. */
#ifndef TN_BLOCKS_H
#define TN_BLOCKS_H

#include <tenon/quant.h>

#include "kernels/levels.h"

/* y[0 ... n * block - 1] of n blocks, to the bit what the formats' definition says in f32 with every operation rounded. */
typedef void tn_dequantize_row(const uint8_t *blocks, int64_t n, float *y);
/* n blocks of finite x; NULL where the format is only read. */
typedef void tn_quantize_row(const float *x, int64_t n, uint8_t *blocks);

typedef struct tn_quant_format {
    const char *name;
    int64_t block;
    size_t bytes;
    tn_dequantize_row *dequantize; /* NULL of a type that is only named */
    tn_quantize_row *quantize;
} tn_quant_format;
/* NULL where type is none. */
const tn_quant_format *tn_quant_format_of(tn_quant type);

/* quantize.c: what TN_QUANT_LIST says `true` of. */
tn_quantize_row tn_quantize_F32, tn_quantize_F16, tn_quantize_BF16, tn_quantize_Q8_0, tn_quantize_Q4_0, tn_quantize_Q5_0, tn_quantize_Q4_K,
    tn_quantize_Q6_K;

#endif
