/* A Llama's weights wherever they lie, a mapped file of any kind or a module's parameters, under the names of transformers' state_dict. What
 * decoding, loading, converting and inspecting stand on. */
#ifndef TN_MODELS_WEIGHTS_H
#define TN_MODELS_WEIGHTS_H

#include <tenon/llama.h>
#include <tenon/quant.h>

#include "core/core.h"

typedef struct tn_weight {
    char name[64];     /* "model.layers.0.self_attn.q_proj.weight" */
    tn_blocks blocks;  /* [out, in], or [size] of a norm and a bias; in memory that the owner keeps */
    int64_t interleaved_heads; /* above 0, of q_proj and k_proj: so many heads whose rows are (2j, 2j + 1) where ours are (j, j + head_dim / 2) */
} tn_weight;

/* An object; the caller's. */
typedef struct tn_weights {
    tn_object base;
    tn_llama_args config; /* .rope_interleaved is false: the rows' order says it */
    tn_weight *weights;   /* [count] */
    int64_t count;
    tn_tensor *rope_freqs; /* f32 [head_dim / 2], what a GGUF file divides the frequencies by; or NULL */
    void *owner;           /* the object that the blocks lie in: a dict, a GGUF file, a module */
} tn_weights;

/* A file or a folder of any kind that llama.h names. Checked: each weight that the configuration asks for is there once, of its shape. */
tn_weights *tn_weights_open(const char *path);
/* A llama module's parameters, shared. */
tn_weights *tn_weights_of(void *llama);
/* By name; NULL with TN_ERR_FORMAT where there is none. */
const tn_weight *tn_weights_find(const tn_weights *weights, const char *name);
/* The blocks of our row `row` (of a norm or a bias: all of it is row 0). */
const void *tn_weight_row(const tn_weight *weight, int64_t row);
/* That row as floats [in]. */
tn_status tn_weight_floats(const tn_weight *weight, int64_t row, float *out);

#endif
