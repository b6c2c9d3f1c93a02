/* Tenon: decoding. A Llama's weights packed for the processor or a GPU, and a cache of the keys and values of what was read: each token costs one pass
 * over the weights.
 *
 *     tn_decoder *decoder = tn_decoder_new(llama, .weights = TN_QUANT_Q8_0);
 *     const float *logits = tn_decoder_feed(decoder, 0, prompt, count);            of the token after the prompt
 *     while ((token = best(logits)) != eos)
 *         logits = tn_decoder_feed(decoder, 0, &token, 1);
 *
 * A decoder belongs to one thread at a time. */
#ifndef TENON_DECODER_H
#define TENON_DECODER_H

#include <tenon/llama.h>
#include <tenon/quant.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_decoder tn_decoder;
#define TN_DECODER_OPTIONS(X)                                                                                                 \
    X(tn_quant, weights, TN_QUANT_NONE) /* F32, F16, BF16, Q8_0 or Q4_0; NONE: each as it is, in at most 1.1 times its bytes, \
                                           * without loss but that the scales of llama2.c's int8 become f16, as Q8_0 has them */ \
    X(tn_dtype, cache, TN_DTYPE_DEFAULT) /* of keys and values: f32, bf16 or i8; default: f32 with F32 and F16 weights, else bf16 */ \
    X(int64_t, context, 0)              /* tokens that a sequence remembers; 0: max_position_embeddings */                    \
    X(int64_t, sequences, 1)            /* so many, each with a cache of its own */                                           \
    X(const tn_device_id *, device, NULL) /* where it runs, logits coming back to the CPU; NULL: where the module is, and of a file the CPU */ \
    X(bool, capture, true)              /* on a CUDA device: steps of one token a sequence are recorded as graphs and replayed */
typedef struct tn_decoder_args {
    size_t size TN_SIZE_(tn_decoder_args);
    TN_DECODER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    void *llama TN_ZERO_;
} tn_decoder_args;
/* A decoder of a module's weights as they are now, LoRA's parts merged into them; the module is not needed afterwards. The norms stay f32. A
 * sequence longer than .context, or than the model's sliding_window, forgets its oldest token with each new one. The cache
 * begins with the first tokens, has room for as many of each sequence as the longest one needs, at least 256, and when that is full is made anew
 * with room for twice as many. */
TN_API tn_decoder *tn_decoder_new_with(const tn_decoder_args *args);

#define TN_DECODER_OPEN_OPTIONS(X)                                                                                            \
    TN_DECODER_OPTIONS(X)                                                                                                     \
    X(const char *, tuned, NULL) /* what tn_llama_save_tuned() wrote of this model */
typedef struct tn_decoder_open_args {
    size_t size TN_SIZE_(tn_decoder_open_args);
    TN_DECODER_OPEN_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const char *path TN_ZERO_;
} tn_decoder_open_args;
/* The same of a model's file or folder, of any kind that tn_llama_load() reads, without the module between: tn_decoder_open("model.gguf"). With
 * .tuned it is that model with tn_llama_load_tuned(), in f32 while it is put together. */
TN_API tn_decoder *tn_decoder_open_with(const tn_decoder_open_args *args);

/* The model's configuration, lent; NULL on error. */
TN_API const tn_llama_args *tn_decoder_config(const tn_decoder *decoder);
/* Appends tokens [count], at least 1, to a sequence: the logits [vocab_size] of what comes next, lent until the decoder's next call. NULL on error
 * (TN_ERR_INDEX: no such sequence or token), and then nothing was appended. */
TN_API const float *tn_decoder_feed(tn_decoder *decoder, int64_t sequence, const int64_t *tokens, int64_t count);
/* The same of at most 256 tokens, with the logits after each of them: [count, vocab_size]. */
TN_API const float *tn_decoder_feed_all(tn_decoder *decoder, int64_t sequence, const int64_t *tokens, int64_t count);
/* One token for each of count sequences, at most 256 and none twice: logits [count, vocab_size]. The weights are read once for all. On a CUDA device
 * the second of two such steps in turn of as many sequences, tn_decoder_feed() of one token being one, is recorded, and those that follow replay it;
 * where recording is refused they are done as the first. While the caller captures a graph from that device these calls are TN_ERR_STATE, and
 * a decoder is not to be released. */
TN_API const float *tn_decoder_step(tn_decoder *decoder, const int64_t *sequences, const int64_t *tokens, int64_t count);
/* How many tokens a sequence was given; -1 on error. */
TN_API int64_t tn_decoder_length(const tn_decoder *decoder, int64_t sequence);
/* Takes back all but the first length tokens. TN_ERR_STATE where those were forgotten since. */
TN_API tn_status tn_decoder_rewind(tn_decoder *decoder, int64_t sequence, int64_t length);

/* Makes room in the cache for so many tokens of each sequence, at most the context: up to there no call that follows one like it takes memory. */
TN_API tn_status tn_decoder_reserve(tn_decoder *decoder, int64_t tokens);

#ifdef __cplusplus
}
#endif

#endif
