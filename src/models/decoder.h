/* A decoder's parts, for decoder.c that runs it and decoder_pack.c that makes it. */
#ifndef TN_MODELS_DECODER_H
#define TN_MODELS_DECODER_H

#include <tenon/decoder.h>

#include "core/core.h"
#include "kernels/packed.h"

typedef struct tn_decoder_layer {
    tn_packed_matrix qkv;            /* the three projections' rows one after the other: [(heads + 2 kv_heads) head_dim, hidden] */
    tn_packed_matrix out, gate, up, down;
    float *input_norm, *post_norm;   /* [hidden] */
    float *q_norm, *k_norm;          /* [head_dim], or NULL */
    char *keys, *values;              /* [sequences, kv_heads, capacity, head_dim] of the cache's dtype */
    float *key_scales, *value_scales; /* [sequences, kv_heads, capacity] of i8; else NULL */
} tn_decoder_layer;

struct tn_decoder {
    tn_object base;
    tn_llama_args config;
    tn_dtype cache;
    int64_t sequences, capacity; /* capacity: rows of a sequence's cache */
    int64_t *lengths;            /* [sequences] tokens given */
    tn_packed_matrix embedding, head; /* head.data is embedding.data where they are tied */
    float *norm;                      /* [hidden] */
    double *frequencies;              /* [head_dim / 2] */
    tn_decoder_layer *layers;
    char *block; /* all weights, norms and frequencies */
    size_t block_bytes;
    char *caches; /* all caches */
    size_t cache_bytes;
    char *scratch; /* what a pass over `rows` rows needs */
    size_t scratch_bytes;
    int64_t scratch_rows, scratch_outs;
    int scratch_threads;
    float *logits;
};

/* Takes bytes at *at of a block, aligned to 64; NULL while the block is only measured. */
static inline void *tn_taken(char *block, size_t *at, size_t bytes)
{
    char *part = block ? block + *at : NULL;
    *at += (bytes + 63) / 64 * 64;
    return part;
}

/* Fills a decoder that has its config, cache, sequences and capacity with the model's weights. */
struct tn_weights;
tn_status tn_decoder_pack(tn_decoder *decoder, const struct tn_weights *weights, tn_packed_kind kind);

#endif
