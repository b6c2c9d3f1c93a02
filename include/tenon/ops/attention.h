/* Tenon: attention and rotary embedding. Floats; f16 and bf16 are computed in f32. All tensors of a call are of one device (TN_ERR_DEVICE)
 * and, but for boolean masks, of one dtype (TN_ERR_DTYPE). Sizes that do not fit are TN_ERR_SHAPE. */
#ifndef TENON_OPS_ATTENTION_H
#define TENON_OPS_ATTENTION_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TN_ATTENTION_OPTIONS(X)                                                                                               \
    X(tn_tensor *, attn_mask, NULL)                                                                                           \
    X(double, dropout_p, 0)                                                                                                   \
    X(bool, is_causal, false)                                                                                                 \
    X(double, scale, 0) /* 0: 1 / sqrt(e) */                                                                                  \
    X(bool, enable_gqa, false)
typedef struct tn_attention_args { /* tn_scaled_dot_product_attention(q, k, v, .is_causal = true) */
    size_t size TN_SIZE_(tn_attention_args);
    TN_ATTENTION_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *q TN_ZERO_, *k TN_ZERO_, *v TN_ZERO_;
} tn_attention_args;
/* softmax(scale q kᵀ + mask) v (Vaswani et al. 2017): q [..., heads, l, e], k [..., heads, s, e], v [..., heads, s, ev] give
 * [..., heads, l, ev]. Heads may be missing, and the dims before them may be 1 in k and v. The scores are never whole in memory, in backward neither (Dao et al.
 * 2022): memory grows with l and s, not with their product.
 * .attn_mask broadcasts to [..., heads, l, s]: bool, true where a row may look, or of q's dtype and added to the scores. .is_causal: row i
 * looks at columns 0 to i (both may be given). A row that may look nowhere gives zeros. .dropout_p: so much of the softmax is dropped and
 * the rest scaled up, whenever it is not 0. .enable_gqa: k and v have fewer heads, a divisor of q's; head h uses theirs
 * h / (heads / theirs).
 * Where the heads of a row lie side by side in q, split from a projection [batch, l, heads * e] and transposed, they do in the result, and joining
 * them again copies nothing; else, and of 16-bit floats, the result is contiguous.
 * What needs the scores whole, and so memory for them: the gradient of a float mask, and gradients of gradients. */
TN_API tn_tensor *tn_scaled_dot_product_attention_with(const tn_attention_args *args);

#define TN_ROPE_OPTIONS(X) X(bool, interleaved, false)
typedef struct tn_rope_args { /* tn_rope(x, cos, sin) */
    size_t size TN_SIZE_(tn_rope_args);
    TN_ROPE_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *cos TN_ZERO_, *sin TN_ZERO_;
} tn_rope_args;
/* Rotary embedding (Su et al. 2021): x [..., l, e], cos and sin [l, r], or [..., l, r] that broadcast to x's leading dims; the first 2r
 * elements of each row turn in pairs by the angle of cos and sin, those after them stay. The pairs are (j, j + r), as in the Llama models'
 * PyTorch files, or with .interleaved (2j, 2j + 1), as in the first Llama's own. No gradient flows to the tables: TN_ERR_GRAD where they
 * require one. Where x is [batch, heads, l, e] and a row's heads lie side by side, they do in the
 * result; else it is contiguous. */
TN_API tn_tensor *tn_rope_with(const tn_rope_args *args);

#define TN_ROPE_TABLES_OPTIONS(X)                                                                                             \
    X(double, base, 10000)                                                                                                    \
    X(double, factor, 1)                                                                                                      \
    X(double, original_length, 0)                                                                                             \
    X(double, low_freq_factor, 1)                                                                                             \
    X(double, high_freq_factor, 4)                                                                                            \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)                                                                                      \
    X(const tn_tensor *, freq_factors, NULL)
typedef struct tn_rope_tables_args { /* cos = tn_rope_tables(tn_arange(0, length), 64, &sin, .base = 500000) */
    size_t size TN_SIZE_(tn_rope_tables_args);
    TN_ROPE_TABLES_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *positions TN_ZERO_;
    int64_t dim TN_ZERO_;
    tn_tensor **sin TN_ZERO_;
} tn_rope_tables_args;
/* The tables for tn_rope: the cosines and, through sin, the sines of position * base^(-2j / dim) for j < dim / 2; positions [...] give
 * [..., dim / 2]. dim is even, what is turned of a row. .factor > 1 stretches the positions: all frequencies are divided by it; with
 * .original_length, as in Llama 3.1, only those whose waves are longer than original_length / low_freq_factor, those shorter than
 * original_length / high_freq_factor stay, and the ones between go over smoothly. .freq_factors [dim / 2] divide the frequencies one by one, as
 * a GGUF file's rope_freqs does. Angles are computed in f64. */
TN_API tn_tensor *tn_rope_tables_with(const tn_rope_tables_args *args);

#ifdef __cplusplus
}
#endif

#endif
