/* A Llama's weights wherever they lie, a mapped file of any kind or a module's parameters, under the names of transformers' state_dict. What
 * decoding, loading, converting and inspecting stand on. */
#ifndef TN_MODELS_WEIGHTS_H
#define TN_MODELS_WEIGHTS_H

#include <tenon/gguf.h>
#include <tenon/io.h>
#include <tenon/llama.h>
#include <tenon/tokenizer.h>

#include "core/core.h"

/* Every weight that a model can have: X(what it is, our name, GGUF's name, rows, columns, whether this configuration has it). Those of a layer
 * have "model.layers.N." and "blk.N." before their names. Rows and columns are sizes of the configuration; a vector has no columns. */
#define TN_WEIGHT_LIST(X)                                                                                                     \
    X(EMBED, "model.embed_tokens.weight", "token_embd.weight", VOCAB, HIDDEN, true)                                           \
    X(INPUT_NORM, "input_layernorm.weight", "attn_norm.weight", HIDDEN, NONE, true)                                           \
    X(Q, "self_attn.q_proj.weight", "attn_q.weight", QUERIES, HIDDEN, true)                                                   \
    X(Q_BIAS, "self_attn.q_proj.bias", "attn_q.bias", QUERIES, NONE, c->attention_bias)                                       \
    X(K, "self_attn.k_proj.weight", "attn_k.weight", KEYS, HIDDEN, true)                                                      \
    X(K_BIAS, "self_attn.k_proj.bias", "attn_k.bias", KEYS, NONE, c->attention_bias)                                          \
    X(V, "self_attn.v_proj.weight", "attn_v.weight", KEYS, HIDDEN, true)                                                      \
    X(V_BIAS, "self_attn.v_proj.bias", "attn_v.bias", KEYS, NONE, c->attention_bias)                                          \
    X(O, "self_attn.o_proj.weight", "attn_output.weight", HIDDEN, QUERIES, true)                                              \
    X(Q_NORM, "self_attn.q_norm.weight", "attn_q_norm.weight", HEAD, NONE, c->qk_norm)                                        \
    X(K_NORM, "self_attn.k_norm.weight", "attn_k_norm.weight", HEAD, NONE, c->qk_norm)                                        \
    X(GATE, "mlp.gate_proj.weight", "ffn_gate.weight", INTERMEDIATE, HIDDEN, true)                                            \
    X(UP, "mlp.up_proj.weight", "ffn_up.weight", INTERMEDIATE, HIDDEN, true)                                                  \
    X(DOWN, "mlp.down_proj.weight", "ffn_down.weight", HIDDEN, INTERMEDIATE, true)                                            \
    X(POST_NORM, "post_attention_layernorm.weight", "ffn_norm.weight", HIDDEN, NONE, true)                                    \
    X(NORM, "model.norm.weight", "output_norm.weight", HIDDEN, NONE, true)                                                    \
    X(LM_HEAD, "lm_head.weight", "output.weight", VOCAB, HIDDEN, !c->tie_word_embeddings)
typedef enum tn_weight_kind {
#define TN_WEIGHT_ENUM_(kind, ours, gguf, rows, columns, there) TN_WEIGHT_##kind,
    TN_WEIGHT_LIST(TN_WEIGHT_ENUM_)
#undef TN_WEIGHT_ENUM_
    TN_WEIGHT_KINDS
} tn_weight_kind;

typedef struct tn_weight {
    char name[64];     /* "model.layers.0.self_attn.q_proj.weight" */
    tn_blocks blocks;  /* [out, in], or [size] of a norm and a bias; in memory that the owner keeps */
    int64_t group;     /* above 0, of llama2.c's int8: the blocks are I8, and behind them is a scale, f32 at any alignment, for each so many elements */
    int64_t interleaved_heads; /* above 0, of q_proj and k_proj: so many heads whose rows are (2j, 2j + 1) where ours are (j, j + head_dim / 2) */
    tn_weight_kind kind;
    int64_t layer; /* 0 of what is no layer's */
} tn_weight;

/* An object; the caller's. */
typedef struct tn_weights {
    tn_object base;
    tn_llama_args config; /* .rope_interleaved is false: the rows' order says it; .rope_freqs is the field below */
    tn_weight *weights;   /* [count] */
    int64_t count;
    tn_tensor *rope_freqs; /* f32 [head_dim / 2], what a GGUF file divides the frequencies by; or NULL */
    void *owner;           /* the object that the blocks lie in: a dict, a GGUF file, a module */
    tn_gguf *gguf;         /* the owner, where that is a GGUF file; else NULL */
    const char *format;    /* "GGUF" */
    int64_t place[TN_WEIGHT_KINDS], per_layer; /* tn_weights_at()'s: where a kind's first stands, -1 of none */
} tn_weights;

/* A file or a folder of any kind that llama.h names. Checked: each weight that the configuration asks for is there once, of its shape. Errors name op. */
tn_weights *tn_weights_open(const char *op, const char *path);
/* The same for listing: of types too that no numbers are made of, which tn_weights_open() refuses. */
tn_weights *tn_weights_list(const char *op, const char *path);
/* What a file is by its first bytes; llama2.c's have none that tell. OTHER with an error that names op where it cannot be read. */
typedef enum tn_file_kind { TN_FILE_GGUF, TN_FILE_ZIP, TN_FILE_SAFETENSORS, TN_FILE_OTHER } tn_file_kind;
tn_file_kind tn_file_kind_of(const char *op, const char *path);
/* The scope's, of a file of tn_llama_save_tuned(); NULL of another, with an error where that cannot be read. */
tn_dict *tn_tuned_list(const char *op, const char *path);
/* Writes what that holds, as tn_llama_inspect() does. */
size_t tn_tuned_inspect(const tn_dict *dict, const char *path, char *text, size_t size);
/* A llama module's parameters, shared; weights with LoRA's parts are merged copies. */
tn_weights *tn_weights_of(void *llama);
/* By name; NULL with TN_ERR_FORMAT where there is none. */
const tn_weight *tn_weights_find(const tn_weights *weights, const char *name);
/* By what it is; NULL, without an error, where this model has none. */
tn_weight *tn_weights_at(const tn_weights *weights, tn_weight_kind kind, int64_t layer);
/* The blocks of our row `row` (of a norm or a bias: all of it is row 0, which only tn_weight_floats() puts into our order). */
const void *tn_weight_row(const tn_weight *weight, int64_t row);
/* That row as floats [in]. */
tn_status tn_weight_floats(const tn_weight *weight, int64_t row, float *out);
/* That row of int8 in groups as Q8_0's blocks, scales rounded to f16; false where they would not be those numbers. */
bool tn_weight_row_q8(const tn_weight *weight, int64_t row, uint8_t *blocks);
/* All of it, rows in our order or, where heads is above 0, in pairs (2j, 2j + 1) of so many heads: as it lies in the weights' owner, or moved into a
 * tensor of the scope. *owner keeps it; NULL with an error. Not of int8 in groups. */
tn_blocks tn_weight_blocks(const tn_weights *weights, const tn_weight *weight, int64_t heads, void **owner);
/* The same as f32, f16 or bf16 on the CPU, without a copy where that is how it lies. */
tn_tensor *tn_weight_tensor(const tn_weights *weights, const tn_weight *weight, int64_t heads, tn_dtype dtype);
/* Heads of what is turned by its position: q_proj's or k_proj's; 0 of all others. */
int64_t tn_weight_heads(const tn_weights *weights, const tn_weight *weight);
/* f32, f16 or bf16 where the type is that; else TN_DTYPE_DEFAULT. */
tn_dtype tn_quant_dtype(tn_quant type);
/* "model.layers.3.mlp.up_proj.weight" or "blk.3.ffn_up.weight". */
void tn_weight_name(tn_weight_kind kind, int64_t layer, bool gguf, char name[64]);

/* A configuration with what the header says where nothing is said. */
static inline tn_llama_args tn_llama_defaults(void)
{
#define TN_LLAMA_DEFAULT_(type, name, value) .name = value,
    return (tn_llama_args){.size = sizeof(tn_llama_args), TN_LLAMA_OPTIONS(TN_LLAMA_DEFAULT_)};
#undef TN_LLAMA_DEFAULT_
}
/* How many tokens a layer sees; 0: all. */
static inline int64_t tn_llama_window(const tn_llama_args *c, int64_t layer)
{
    return layer < 256 && c->full_layers.bits[layer / 64] >> layer % 64 & 1 ? 0 : c->sliding_window;
}
/* llama.c: whether some layers have the window and others not. */
bool tn_llama_mixed(const tn_llama_args *config);
/* llama.c: what was 0 computed; false with an error of that status where sizes are missing or do not fit. */
bool tn_llama_completed(const char *op, tn_status status, tn_llama_args *config);

/* ---- what the formats share ----------------------------------------------------------------------------------------------------- */

/* A reader of one format: what it is about, for messages. */
typedef struct tn_weights_source {
    const char *op, *path;
} tn_weights_source;
#define TN_WEIGHTS_BAD(source, ...) tn_weights_fail(source, TN_ERR_FORMAT, __VA_ARGS__)
/* Raises an error that names the file; NULL. */
void *tn_weights_fail(tn_weights_source source, tn_status status, const char *format, ...) TN_PRINTF(3, 4);

/* All weights of a configuration, which is completed and checked, by name and shape, without data yet; at most `most` of them, a small multiple
 * of what the file has: nothing is allocated on its word alone. interleaved: q_proj's and k_proj's rows are so. Owned by the caller. */
tn_weights *tn_weights_new(tn_weights_source source, const tn_llama_args *config, int64_t most, bool interleaved);
/* The weight lies in a tensor that the owner keeps: false with an error where its shape or dtype does not fit. */
bool tn_weight_lies_in(tn_weights_source source, tn_weight *weight, const tn_tensor *x);
/* Weights of that configuration in a dict under our names, which becomes the owner; NULL with an error. What the model does not have must not be
 * there, but for a tied model's head and old files' inv_freq. */
tn_weights *tn_weights_of_dict(tn_weights_source source, const tn_llama_args *config, tn_tensor *rope_freqs, tn_dict *dict, bool interleaved,
                               const char *format);
/* Keeps rope_freqs, unless NULL, which must be of head_dim / 2 positive numbers; false with an error. */
bool tn_weights_keep_freqs(tn_weights_source source, tn_weights *weights, tn_tensor *rope_freqs);

/* The formats. Each gives what the caller owns, NULL with an error. */
tn_weights *tn_weights_llama2(tn_weights_source source);
tn_weights *tn_weights_npz(tn_weights_source source);
tn_weights *tn_weights_pt(tn_weights_source source);
tn_weights *tn_weights_folder(tn_weights_source source);
tn_weights *tn_weights_safetensors(tn_weights_source source);
tn_weights *tn_weights_gguf(tn_weights_source source);

/* A configuration, and what it says of the frequencies: f32 [head_dim / 2], the scope's, or NULL. */
typedef struct tn_llama_config_text {
    tn_llama_args config;
    tn_tensor *rope_freqs;
} tn_llama_config_text;
/* transformers' config.json as text [length]; false with an error. */
bool tn_llama_config_parse(tn_weights_source source, const char *text, size_t length, tn_llama_config_text *out);
/* The same of the file config.json in the folder that path is, or lies in. *found is false, without an error, where there is none. */
bool tn_llama_config_read(tn_weights_source source, bool is_folder, bool *found, tn_llama_config_text *out);
/* Writes it as transformers reads it, at most size bytes with the closing 0; returns the length that it would need. */
size_t tn_llama_config_write(const tn_weights *weights, tn_dtype dtype, char *text, size_t size);

/* What is to be written where. */
typedef struct tn_weights_target {
    const char *op, *path;
    tn_quant type; /* NONE: as it is */
    int llama2_version;
    tn_llama_report report;
    void *context;
    const char *in, *tokenizer; /* where the weights are from; the tokeniser's file. NULL: none is known */
} tn_weights_target;
/* The report gets a line, if there is one. */
void tn_weights_report(const tn_weights_target *target, const char *format, ...) TN_PRINTF(2, 3);
tn_status tn_weights_save_gguf(const tn_weights *weights, const tn_weights_target *target);
tn_status tn_weights_save_llama2(const tn_weights *weights, const tn_weights_target *target);

/* Where the tokeniser, and what belongs to it, is taken from: the named model, a folder or a GGUF file, or else the source. */
const char *tn_weights_home(const tn_weights_target *target);
/* The tokeniser that goes with the weights, the scope's: the named one or the source's. NULL with an error, also where the model has fewer tokens. */
tn_tokenizer *tn_weights_tokenizer(const tn_weights *weights, const tn_weights_target *target);
/* What was only found and cannot be taken along is reported, and its error cleared; false where it is memory that lacks. */
bool tn_weights_passed_over(const tn_weights_target *target, const char *what);
/* The target is a folder: a file of it; what there is of a tokeniser, a chat template and what ends a text. False with an error. */
bool tn_folder_write(const tn_weights_target *target, const char *name, const char *text, size_t size);
bool tn_folder_tokens(const tn_weights *weights, const tn_weights_target *target);

/* The name under which a file of tensors alone, safetensors or npz, holds its config.json: a note or an array of bytes. */
#define TN_WEIGHTS_CONFIG "config.json"
/* Notes in a file of tn_llama_save_tuned(): the sizes of the model that was tuned, where it lies, and sums of its values that were not tuned. */
#define TN_TUNED_SIZES "config"
#define TN_TUNED_MODEL "model"
#define TN_TUNED_BASE "base"

#endif
