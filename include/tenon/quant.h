/* Tenon: quantised blocks. Rows of weights in the formats of GGUF files: blocks of 32 or 256 whole numbers of few bits with a scale.
 *
 * They are no dtype: tn_dequantize() makes a tensor of them, tn_quantize() makes them of a tensor, and what is in between (a GGUF file's
 * mapped bytes, a kernel's packed weights) is described by tn_blocks. */
#ifndef TENON_QUANT_H
#define TENON_QUANT_H

#include <tenon/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, its number in GGUF files, elements of a block, bytes of a block, whether tn_quantize() makes it). Definitions: GGUF's
 * (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md); MXFP4 is the Open Compute Project's Microscaling Formats v1.0. */
#define TN_QUANT_LIST(X)                                                                                                      \
    X(F32, 0, 1, 4, true)                                                                                                     \
    X(F16, 1, 1, 2, true)                                                                                                     \
    X(BF16, 30, 1, 2, true)                                                                                                   \
    X(Q8_0, 8, 32, 34, true)                                                                                                  \
    X(Q4_0, 2, 32, 18, true)                                                                                                  \
    X(Q4_1, 3, 32, 20, false)                                                                                                 \
    X(Q5_0, 6, 32, 22, true)                                                                                                  \
    X(Q5_1, 7, 32, 24, false)                                                                                                 \
    X(Q2_K, 10, 256, 84, false)                                                                                               \
    X(Q3_K, 11, 256, 110, false)                                                                                              \
    X(Q4_K, 12, 256, 144, true)                                                                                               \
    X(Q5_K, 13, 256, 176, false)                                                                                              \
    X(Q6_K, 14, 256, 210, true)                                                                                               \
    X(IQ4_NL, 20, 32, 18, false)                                                                                              \
    X(IQ4_XS, 23, 256, 136, false)                                                                                            \
    X(MXFP4, 39, 32, 17, false)
/* The same of types that are only known by name and size: a file of them is mapped, listed and copied, and nothing is made of their blocks. */
#define TN_QUANT_NAMED_LIST(X)                                                                                                \
    X(Q8_1, 9, 32, 40)                                                                                                        \
    X(Q8_K, 15, 256, 292)                                                                                                     \
    X(IQ2_XXS, 16, 256, 66)                                                                                                   \
    X(IQ2_XS, 17, 256, 74)                                                                                                    \
    X(IQ3_XXS, 18, 256, 98)                                                                                                   \
    X(IQ1_S, 19, 256, 50)                                                                                                     \
    X(IQ3_S, 21, 256, 110)                                                                                                    \
    X(IQ2_S, 22, 256, 82)                                                                                                     \
    X(I8, 24, 1, 1)                                                                                                           \
    X(I16, 25, 1, 2)                                                                                                          \
    X(I32, 26, 1, 4)                                                                                                          \
    X(I64, 27, 1, 8)                                                                                                          \
    X(F64, 28, 1, 8)                                                                                                          \
    X(IQ1_M, 29, 256, 56)                                                                                                     \
    X(TQ1_0, 34, 256, 54)                                                                                                     \
    X(TQ2_0, 35, 256, 66)                                                                                                     \
    X(NVFP4, 40, 64, 36)                                                                                                      \
    X(Q1_0, 41, 128, 18)
typedef enum tn_quant {
#define TN_QUANT_ENUM_(name, number, ...) TN_QUANT_##name = number,
    TN_QUANT_LIST(TN_QUANT_ENUM_)
    TN_QUANT_NAMED_LIST(TN_QUANT_ENUM_)
#undef TN_QUANT_ENUM_
    TN_QUANT_NONE = -1
} tn_quant;

TN_API const char *tn_quant_name(tn_quant type);   /* "Q4_K"; NULL for what is none */
TN_API tn_quant tn_quant_named(const char *name);  /* TN_QUANT_NONE for a name that is none; no error */
TN_API int64_t tn_quant_block(tn_quant type);      /* elements of a block; 0 for what is none */
TN_API size_t tn_quant_block_bytes(tn_quant type); /* bytes of a block; 0 for what is none */
TN_API bool tn_quant_makes(tn_quant type);         /* whether tn_quantize() makes it */
/* The type that rows of so many elements can have where the one asked for has blocks that do not fill them: of 256 Q4_K becomes Q5_0,
 * Q6_K Q8_0 (as llama.cpp has it), and of 32 all become F16. What fits stays. */
TN_API tn_quant tn_quant_for_row(tn_quant type, int64_t columns);

/* Blocks in memory that somebody else owns: rows along the last dimension, each a whole number of blocks, one after the other. */
typedef struct tn_blocks {
    tn_quant type;
    tn_shape shape;
    const void *data;
    size_t size; /* bytes */
} tn_blocks;
/* The bytes of a tensor of this shape. -1 with TN_ERR_SHAPE where the last dimension is no multiple of the block, TN_ERR_ARGUMENT where
 * type is none. */
TN_API int64_t tn_blocks_bytes(tn_quant type, tn_shape shape);
/* The elements as a tensor of f32, f16 or bf16 (rounded from f32) on the CPU; TN_DTYPE_DEFAULT is f32. TN_ERR_ARGUMENT where the size is
 * not that of the shape, TN_ERR_UNSUPPORTED on a type that is only named. */
TN_API tn_tensor *tn_dequantize(tn_blocks blocks, tn_dtype dtype);
/* Writes x (any floating dtype, on the CPU) as blocks of tn_blocks_bytes() bytes, which must be size. Scales are searched for by least
 * squares: the squared error is at most that of llama.cpp's without an importance matrix. TN_ERR_ARGUMENT on an element that is not finite or,
 * where there are scales, beyond 65504; TN_ERR_UNSUPPORTED on a type that is only read. */
TN_API tn_status tn_quantize(const tn_tensor *x, tn_quant type, void *blocks, size_t size) TN_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
