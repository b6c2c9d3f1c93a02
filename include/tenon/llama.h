/* Tenon: Llama, the language model, and its kin: Llama 1 to 3.2, Mistral, Qwen 2 and 3, SmolLM, by their configurations.
 *
 *     tn_module *llama = tn_llama_new(.vocab_size = 32000, .hidden_size = 288, .intermediate_size = 768, .num_hidden_layers = 6,
 *                                     .num_attention_heads = 6, .tie_word_embeddings = true);
 *     tn_tensor *logits = tn_call(llama, tokens);                   tokens [n, l] give [n, l, 32000]
 *     tn_tensor *loss = tn_cross_entropy(tn_reshape(logits, TN_SHAPE(-1, 32000)), tn_flatten(targets, 0, 1));
 *
 * It is a module like any other: it trains under autograd, and its state_dict has the names of PyTorch's transformers library. */
#ifndef TENON_LLAMA_H
#define TENON_LLAMA_H

#include <tenon/nn.h>
#include <tenon/quant.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Some of the first 256 layers: layer i is bit i % 64 of bits[i / 64]; {{3}} are the first two. */
typedef struct tn_layer_set {
    uint64_t bits[4];
} tn_layer_set;

/* Names, and what they default to, are those of transformers' config.json; what defaults to 0 there is computed or must be given. */
#define TN_LLAMA_OPTIONS(X)                                                                                                   \
    X(int64_t, vocab_size, 0)                                                                                                 \
    X(int64_t, hidden_size, 0)                                                                                                \
    X(int64_t, intermediate_size, 0)                                                                                          \
    X(int64_t, num_hidden_layers, 0)                                                                                          \
    X(int64_t, num_attention_heads, 0)                                                                                        \
    X(int64_t, num_key_value_heads, 0) /* a divisor of the former; 0: as many */                                              \
    X(int64_t, head_dim, 0)            /* even; 0: hidden_size / num_attention_heads */                                       \
    X(int64_t, max_position_embeddings, 2048)                                                                                 \
    X(double, rms_norm_eps, 1e-5)                                                                                             \
    X(double, rope_theta, 10000)                                                                                              \
    X(bool, rope_interleaved, false) /* pairs (2j, 2j + 1), as in llama2.c's files, not (j, j + head_dim / 2) */               \
    X(double, rope_factor, 1)        /* what stretches the positions, see tn_rope_tables(): Llama 3.1's with .rope_original_length */ \
    X(double, rope_original_length, 0)                                                                                        \
    X(double, rope_low_freq_factor, 1)                                                                                        \
    X(double, rope_high_freq_factor, 4)                                                                                       \
    X(bool, tie_word_embeddings, false) /* the head is the embedding's weight */                                              \
    X(bool, attention_bias, false)      /* of q_proj, k_proj and v_proj: Qwen 2 */                                            \
    X(bool, qk_norm, false)             /* an RMS norm of each head's queries and keys: Qwen 3 */                             \
    X(int64_t, sliding_window, 0)       /* a token sees itself and so many less one before it: Mistral; 0: all */             \
    X(double, initializer_range, 0.02)                                                                                        \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)                                                                                      \
    X(const tn_tensor *, rope_freqs, NULL) /* [head_dim / 2], what the frequencies are divided by one by one; copied */ \
    X(tn_layer_set, full_layers, {{0}}) /* those without the window: Qwen's max_window_layers and layer_types */
typedef struct tn_llama_args {
    size_t size TN_SIZE_(tn_llama_args);
    TN_LLAMA_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
} tn_llama_args;
/* A model with random weights, normal with deviation initializer_range (ones in the norms, zeros in the biases), the caller's. Takes tokens
 * [l] or [n, l], integers, gives logits [l, vocab_size] or [n, l, vocab_size]. Each layer (Touvron et al. 2023) adds to its input
 * o_proj of the causal attention of the RMS-normed input with rotary embedding, and then down_proj(silu(gate_proj) * up_proj) of the normed
 * sum. Parameters model.embed_tokens.weight, model.layers.N.{input_layernorm, self_attn.{q,k,v,o}_proj, self_attn.{q,k}_norm,
 * post_attention_layernorm, mlp.{gate,up,down}_proj}.weight, model.norm.weight, lm_head.weight. Sizes that are not given or do not fit are
 * TN_ERR_ARGUMENT; more than max_position_embeddings tokens TN_ERR_SHAPE. */
TN_API tn_module *tn_llama_new_with(const tn_llama_args *args);
/* What a model was made with, everything computed that was 0; lent by the model; .rope_freqs is NULL here. NULL and TN_ERR_ARGUMENT for another
 * module. */
TN_API const tn_llama_args *tn_llama_config(const void *llama);
/* Its .rope_freqs, f32 [head_dim / 2]; NULL, without an error, where it has none. */
TN_API tn_tensor *tn_llama_rope_freqs(const void *llama);

/* ---- files ---------------------------------------------------------------------------------------------------------------- */

/* tn_llama_load("stories15M/", .dtype = TN_BF16): a model of a file or a folder, the caller's, f32 unless said. Read are
 * - llama2.c's checkpoints, versions 0, 1 and 2;
 * - the npz of llama3.np and PyDyNet; how many heads it does not tell: a config.json beside it does, or it is stories15M's;
 * - folders of transformers: config.json (llama, mistral, qwen2, qwen3), model.safetensors or shards with their index;
 * - GGUF (llama, qwen2, qwen3), split ones by their first file;
 * - a state_dict with transformers' names by itself, of tn_save_safetensors() or torch.save(), and a config.json beside it;
 * - what tn_llama_save() writes.
 * Rows of q_proj and k_proj are put into the order of .rope_interleaved = false; blocks become floats. TN_ERR_FORMAT names what is missing,
 * there twice or of another shape than the configuration asks for, TN_ERR_UNSUPPORTED what the module has not. */
#define TN_LLAMA_LOAD_OPTIONS(X) X(tn_dtype, dtype, TN_F32)
typedef struct tn_llama_load_args {
    size_t size TN_SIZE_(tn_llama_load_args);
    TN_LLAMA_LOAD_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const char *path TN_ZERO_;
} tn_llama_load_args;
TN_API tn_module *tn_llama_load_with(const tn_llama_load_args *args);
/* Writes a llama of f32, f16 or bf16 (others are TN_ERR_DTYPE) so that tn_llama_load() gives it back, bit for bit: to a path that ends in
 * - .safetensors: tensors with the names of transformers, the configuration as config.json in a note; .npz: for llama3.np and PyDyNet, the same
 *   in an array of bytes (bf16 becomes f32);
 * - .gguf: for llama.cpp, without a tokeniser; a window, of some layers or all, is written, and its llama, qwen2 and qwen3 pass it over;
 * - .bin: a llama2.c checkpoint, version 0 (f32); TN_ERR_UNSUPPORTED where its programs could not run the model;
 * - anything else: a folder, made where there is none, of config.json and model.safetensors, which transformers reads. A window in some layers alone
 *   only Qwen's models have there, others are TN_ERR_UNSUPPORTED, in the first two kinds of file too.
 * Ways and errors as tn_save_safetensors(). Rows of q_proj and k_proj are put into the order that the target has. LoRA's parts are merged into the
 * weights that are written. */
TN_API tn_status tn_llama_save(void *llama, const char *path) TN_MUST_CHECK;

/* ---- fine-tuning ----------------------------------------------------------------------------------------------------------- */

/* tn_llama_save_tuned(llama, "poet.safetensors", .model = "stories15M.bin"): what training changed, without the rest of the model. Written are the
 * parameters that require a gradient, and LoRA's, by their names; and as notes "config", the model's sizes, "lora_alpha" and, where all are of one
 * rank, "lora_rank", and "base", sums over the matrices that were not tuned, by which the model is known again. TN_ERR_ARGUMENT where nothing trains, TN_ERR_UNSUPPORTED where two layers have another alpha. Ways as tn_save_safetensors(). */
#define TN_LLAMA_SAVE_TUNED_OPTIONS(X) X(const char *, model, NULL) /* what was tuned, a note for people, "model" */
typedef struct tn_llama_save_tuned_args {
    size_t size TN_SIZE_(tn_llama_save_tuned_args);
    TN_LLAMA_SAVE_TUNED_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    void *llama TN_ZERO_;
    const char *path TN_ZERO_;
} tn_llama_save_tuned_args;
TN_API tn_status tn_llama_save_tuned_with(const tn_llama_save_tuned_args *args) TN_MUST_CHECK;
/* Puts such a file into the model that it was tuned from: linear layers get LoRA's parts where the file has them, its values are copied, and the
 * parameters that the file has are the ones that require a gradient from now on. These change nothing: TN_ERR_ARGUMENT names what the
 * model has not, or says which sizes the file is for, or that the model is another: where matrices that the file has not differ from those it was tuned
 * from by half of their length (the same model in another format, or quantised, is the same; a file without such a note goes with any). TN_ERR_SHAPE
 * is a shape or a rank that differs, TN_ERR_FORMAT half of a LoRA pair or no alpha. */
TN_API tn_status tn_llama_load_tuned(void *llama, const char *path) TN_MUST_CHECK;

/* ---- files into files ------------------------------------------------------------------------------------------------------- */

/* Tells of a weight that is not what was asked for, "blk.0.ffn_down.weight: F16, for its rows of 172 are no multiple of Q8_0's 32", and of a
 * tokeniser that is not written. */
typedef void (*tn_llama_report)(const char *line, void *context);
#define TN_LLAMA_CONVERT_OPTIONS(X)                                                                                           \
    X(tn_quant, type, TN_QUANT_NONE) /* of the matrices; NONE: what they are, or F32 where the target has no such type */     \
    X(int, llama2_version, 0)        /* of a .bin in F32: 0 or 1; one in Q8_0 is version 2 */                                 \
    X(tn_llama_report, report, NULL) /* called during the conversion */                                                       \
    X(void *, context, NULL)                                                                                                  \
    X(const char *, tokenizer, NULL) /* its file, or a folder or GGUF file with one, instead of the source's */
typedef struct tn_llama_convert_args { /* tn_llama_convert("stories15M.bin", "stories15M.gguf", .type = TN_QUANT_Q8_0) */
    size_t size TN_SIZE_(tn_llama_convert_args);
    TN_LLAMA_CONVERT_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const char *in TN_ZERO_;
    const char *out TN_ZERO_;
} tn_llama_convert_args;
/* A file or folder of any kind that tn_llama_load() reads into one of any kind that tn_llama_save() writes. Types: F32, F16 and BF16 everywhere but
 * in .bin (F32, Q8_0) and .npz (F32, F16); in .gguf, where vectors are F32, all that tn_quantize() makes too, with rows that do not fit by
 * tn_quant_for_row() and reported. What has the type already is copied byte for byte. A GGUF source's general.* and tokenizer.* go into a GGUF
 * target. The tokeniser that tn_tokenizer_open() finds, or the named one, goes with the model: into a GGUF file by tn_gguf_set_tokenizer(); into a
 * folder as the file that it is, under the name by which such a one is found, or out of a GGUF file as tokenizer.json, which makes the same ids (of
 * equal scores in the order that transformers gives them). With it go the chat template and the ids that end a text. What was only found and cannot be
 * written is reported; of what is named that is an error, as are more tokens than the model has, and a target that holds no tokeniser
 * (TN_ERR_ARGUMENT). Memory is taken for one weight at a time, where it changes its type or its order of rows. Another type is TN_ERR_UNSUPPORTED, an
 * out that is in TN_ERR_ARGUMENT. */
TN_API tn_status tn_llama_convert_with(const tn_llama_convert_args *args) TN_MUST_CHECK;

/* Writes what such a file holds, its kind, its configuration and its weights with types, shapes and bytes, and a GGUF file's values; or what a file of
 * tn_llama_save_tuned() does; or of any other GGUF file, one of a split model's too, of safetensors, npz, torch.save() and a folder of safetensors why
 * it is no model here, and the values, notes and tensors as they stand in it. At most size bytes with the closing 0; returns the length that it would
 * need, 0 on error. Data of GGUF and safetensors are not read, so that types are listed which quant.h only names, and dtypes that Tenon has not. */
TN_API size_t tn_llama_inspect(const char *path, char *text, size_t size);

#ifdef __cplusplus
}
#endif

#endif
