/* Tenon: attention and transformer layers. nn.h takes this in. Masks say what may not be seen: bool, true where it may not, or floats that
 * are added to the scores (the operator's, ops/attention.h, are the other way round, as PyTorch's are). Inputs may be left off at the end, and
 * those that are masks may be NULL. Sequences are [length, batch, features], or [batch, length, features] with .batch_first, or without a
 * batch [length, features]. PyTorch's .is_causal is an option of the layer here, which needs no mask: row i sees columns 0 to i. */
#ifndef TENON_NN_ATTENTION_H
#define TENON_NN_ATTENTION_H

#include <tenon/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TN_MULTIHEAD_ATTENTION_OPTIONS(X)                                                                                     \
    X(double, dropout, 0)                                                                                                     \
    X(bool, bias, true)                                                                                                       \
    X(int64_t, kdim, 0) /* features of the keys and of the values; 0: embed_dim */                                            \
    X(int64_t, vdim, 0)                                                                                                       \
    X(bool, batch_first, false)                                                                                               \
    X(bool, is_causal, false)                                                                                                 \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)                                                                                      \
    X(bool, add_bias_kv, false)           /* a learnt key and value after the others, which every query sees */               \
    X(bool, add_zero_attn, false)         /* a key and a value of zeros after all, likewise */                                \
    X(bool, average_attn_weights, true)   /* false: the second output is [batch, num_heads, l, s] */
typedef struct tn_multihead_attention_args { /* tn_multihead_attention_new(embed_dim, num_heads, .dropout = 0.1) */
    size_t size TN_SIZE_(tn_multihead_attention_args);
    TN_MULTIHEAD_ATTENTION_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t embed_dim TN_ZERO_, num_heads TN_ZERO_;
} tn_multihead_attention_args;
/* Queries look at keys and take values, in num_heads heads of embed_dim / num_heads (Vaswani et al. 2017):
 *
 *     tn_tensor *y = tn_call(attention, query, key, value, key_padding_mask, attn_mask);
 *
 * with only a query its keys and values are its own. key_padding_mask is [batch, s] ([s] without a batch), attn_mask [l, s] or
 * [batch num_heads, l, s]. y is like query. As a second output (tn_call_n) the layer gives the softmax, averaged over the heads,
 * [batch, l, s] (s counts the keys that the options add); then the scores are whole in memory, and a row that sees nothing is NaN where
 * without them it is zeros, as in PyTorch. .dropout works on the softmax while training.
 * Parameters in_proj_weight [3 embed_dim, embed_dim] (with another .kdim or .vdim q_proj_weight [embed_dim, embed_dim], k_proj_weight
 * [embed_dim, kdim], v_proj_weight [embed_dim, vdim]), Xavier's uniform law; in_proj_bias [3 embed_dim] and out_proj.bias [embed_dim], zeros;
 * out_proj.weight [embed_dim, embed_dim], as of tn_linear_new; with .add_bias_kv bias_k and bias_v [1, 1, embed_dim], Xavier's normal law. */
TN_API tn_module *tn_multihead_attention_new_with(const tn_multihead_attention_args *args);

typedef enum tn_transformer_activation { TN_TRANSFORMER_RELU, TN_TRANSFORMER_GELU } tn_transformer_activation;
#define TN_TRANSFORMER_LAYER_OPTIONS(X)                                                                                       \
    X(int64_t, dim_feedforward, 2048)                                                                                         \
    X(double, dropout, 0.1)                                                                                                   \
    X(tn_transformer_activation, activation, TN_TRANSFORMER_RELU)                                                             \
    X(double, layer_norm_eps, 1e-5)                                                                                           \
    X(bool, batch_first, false)                                                                                               \
    X(bool, norm_first, false) /* norms before each part instead of after its sum with the input */                           \
    X(bool, bias, true)                                                                                                       \
    X(bool, is_causal, false)  /* of the attention to the layer's own sequence */                                             \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)
typedef struct tn_transformer_layer_args { /* tn_transformer_encoder_layer_new(d_model, nhead, .batch_first = true) */
    size_t size TN_SIZE_(tn_transformer_layer_args);
    TN_TRANSFORMER_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t d_model TN_ZERO_, nhead TN_ZERO_;
} tn_transformer_layer_args;
/* tn_call(layer, src, src_mask, src_key_padding_mask): attention and a network of two layers, each added to its input and normalised.
 * Children self_attn, linear1, linear2, norm1 and norm2. */
TN_API tn_module *tn_transformer_encoder_layer_new_with(const tn_transformer_layer_args *args);
/* tn_call(layer, tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask): the same with an attention to memory
 * between the two. Children self_attn, multihead_attn, linear1, linear2, norm1, norm2 and norm3. */
TN_API tn_module *tn_transformer_decoder_layer_new_with(const tn_transformer_layer_args *args);

#define TN_TRANSFORMER_OPTIONS(X) X(void *, norm, NULL) /* a module for the result: tn_layer_norm_new(...); its reference is taken too */
typedef struct tn_transformer_args { /* tn_transformer_encoder_new(layer, 6, .norm = tn_layer_norm_new(TN_SHAPE(512))) */
    size_t size TN_SIZE_(tn_transformer_args);
    TN_TRANSFORMER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    void *layer TN_ZERO_;
    int num_layers TN_ZERO_;
} tn_transformer_args;
/* num_layers layers one after the other, the first the given one, whose reference is taken, on failure too, the others copies of it with
 * the same first weights. Each gets the inputs of tn_call() but the first as they are. Children layers.0, layers.1, ... and norm. */
TN_API tn_module *tn_transformer_encoder_new_with(const tn_transformer_args *args);
TN_API tn_module *tn_transformer_decoder_new_with(const tn_transformer_args *args);

#ifdef __cplusplus
}
#endif

#endif
