/* A decoder's parts, for decoder.c that holds it, decoder_pass.c that runs it and decoder_pack.c that makes it. */
#ifndef TN_MODELS_DECODER_H
#define TN_MODELS_DECODER_H

#include <tenon/cuda.h>
#include <tenon/generate.h>

#include "core/core.h"
#include "kernels/packed.h"

enum { TN_DECODER_ROWS = 256 }; /* of a pass: longer prompts are read in pieces */

/* Keys and values that were. Position p of a sequence is row p % rows, so that each new one takes the place of the oldest. */
typedef struct tn_decoder_cache {
    int64_t rows;
    char *keys, *values;              /* [sequences, kv_heads, rows, head_dim] of the cache's dtype */
    float *key_scales, *value_scales; /* [sequences, kv_heads, rows] of i8 */
} tn_decoder_cache;

typedef struct tn_decoder_layer {
    tn_packed_matrix qkv[3];         /* the projections: of one kind they are one, q's, k's and v's rows in turn, else three; [..., hidden] */
    int qkv_count;                   /* 1 or 3 */
    tn_packed_matrix out, gate, up, down; /* up lies right behind gate */
    float *input_norm, *post_norm;   /* [hidden] */
    float *q_norm, *k_norm;          /* [head_dim], or NULL */
    int64_t seen;                    /* so many tokens the layer looks at */
    tn_decoder_cache cache;          /* of as many rows, or of the decoder's room where that is less */
} tn_decoder_layer;

struct tn_decoder {
    tn_object base;
    tn_llama_args config;
    tn_dtype cache;
    tn_device_id device;         /* of block, caches and scratch */
    int64_t sequences;
    int64_t least, most;         /* of what the layers see */
    int64_t room;                /* tokens of each sequence that the caches have room for, if so many are seen; 0: there are none yet */
    int64_t *lengths;            /* [sequences] tokens given */
    tn_packed_matrix embedding, head; /* head.data is embedding.data where they are tied */
    float *norm;                      /* [hidden] */
    double *frequencies;              /* [head_dim / 2], on the CPU */
    tn_decoder_layer *layers;
    char *block; /* all weights and norms */
    size_t block_bytes;
    char *aside; /* what matrices of F32 in 28 bits have there; NULL: none is */
    size_t aside_bytes;
    char *caches; /* all caches */
    size_t cache_bytes;
    char *scratch; /* what a pass over `rows` rows needs */
    size_t scratch_bytes;
    int64_t scratch_rows, scratch_outs, scratch_rolled, scratch_room;
    int scratch_threads;
    float *logits;  /* within scratch, or where that is a device's beside it, in `outside` */
    char *outside;  /* of a device: what goes there and comes from there in a pass */
    size_t outside_bytes;
    bool capture;   /* a device's steps of one token each are recorded */
    int64_t stepped; /* of how many sequences the last one was */
    tn_graph *steps[TN_DECODER_ROWS + 1]; /* by that number; NULL: not recorded */
};

/* tn_decoder_feed(), which before each piece asks more(), of whether it goes on. Where it does not: NULL without an error, and the sequence has what
 * was read till then; where more() fails, with its error, and the sequence has what it had before. */
const float *tn_decoder_feed_asking(tn_decoder *decoder, int64_t sequence, const int64_t *tokens, int64_t count, tn_prompt_callback more, void *context);

/* Memory of the decoder's device, aligned to 64; NULL with an error. */
char *tn_decoder_alloc(tn_device_id device, size_t bytes);
void tn_decoder_free(tn_device_id device, char *memory, size_t bytes);

/* Takes bytes at *at of a block, aligned to 64; NULL while the block is only measured. */
static inline void *tn_taken(char *block, size_t *at, size_t bytes)
{
    char *part = block ? block + *at : NULL;
    *at += (bytes + 63) / 64 * 64;
    return part;
}

/* Rows of q, k and v together. */
static inline int64_t tn_decoder_qkv_rows(const tn_decoder *d)
{
    return (d->config.num_attention_heads + 2 * d->config.num_key_value_heads) * d->config.head_dim;
}

/* The kind of packed weights that keeps what such a weight has; TN_PACKED_KINDS where there is none. */
struct tn_weights;
struct tn_weight;
tn_packed_kind tn_decoder_kind_of(tn_quant type);
tn_packed_kind tn_decoder_kind_of_weight(const struct tn_weight *weight);
extern size_t tn_decoder_f28_from; /* bytes of F32's matrices from which they are kept in 28 bits; a test's to lower */
/* Fills a decoder that has its config, cache, sequences and capacity with the model's weights; kind TN_PACKED_KINDS: each of its own. */
tn_status tn_decoder_pack(tn_decoder *decoder, const struct tn_weights *weights, tn_packed_kind kind);

#endif
