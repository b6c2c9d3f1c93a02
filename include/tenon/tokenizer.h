/* Tenon: text to token ids and back, as the library that made the file does it. */
#ifndef TENON_TOKENIZER_H
#define TENON_TOKENIZER_H

#include <tenon/gguf.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A vocabulary and the rules of its use. Nothing changes it: any number of threads may use one. */
typedef struct tn_tokenizer tn_tokenizer;

#define TN_TOKENIZER_OPTIONS(X)                                                                                               \
    X(int64_t, vocab_size, 0)     /* of a llama2.c file, which does not tell it: the model's; 0: as many as the file holds */  \
    X(const char *, pattern, NULL) /* of a tiktoken file, which does not tell it: "gpt2", "p50k", "p50k_edit", "cl100k", "o200k", "o200k_harmony", "llama3"; \
                                      NULL: by the number of ranks, of which "p50k" and "o200k" have as many as the other two of these names */
typedef struct tn_tokenizer_args { /* tn_tokenizer_new("tokenizer.json"), tn_tokenizer_new("tok512.bin", .vocab_size = 512) */
    size_t size TN_SIZE_(tn_tokenizer_args);
    TN_TOKENIZER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const char *path TN_ZERO_;
} tn_tokenizer_args;
/* A tokeniser of a file, whose content says what it is:
 * - Hugging Face's tokenizer.json, of a BPE model. What it names and Tenon lacks (a normaliser, a model) is TN_ERR_UNSUPPORTED.
 * - SentencePiece's tokenizer.model, BPE or unigram. Rules in its denormalizer_spec are TN_ERR_UNSUPPORTED.
 * - llama2.c's tokenizer.bin; JSON of "tokens" and "scores", as llama3.np and PyDyNet read it.
 * - tiktoken's ranks, with the special tokens of the pattern behind them.
 * JSON needs a build with cJSON. */
TN_API tn_tokenizer *tn_tokenizer_new_with(const tn_tokenizer_args *args);

/* Some bytes, not ended by a 0. */
typedef struct tn_span {
    const char *data;
    int64_t size;
} tn_span;

#define TN_TOKENIZER_GGUF_OPTIONS(X)                                                                                          \
    X(const char *, pre, NULL)         /* tokenizer.ggml.pre of "gpt2", "llama-bpe": see below */                             \
    X(const float *, scores, NULL)     /* [count], of "llama" */                                                              \
    X(const int32_t *, types, NULL)    /* [count]: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; NULL: all normal */ \
    X(const tn_span *, merges, NULL)   /* [merge_count]: two tokens with a space between, best first; of "gpt2" */            \
    X(int64_t, merge_count, 0)                                                                                                \
    X(int64_t, bos, -1)                /* ids; -1: none */                                                                    \
    X(int64_t, eos, -1)                                                                                                       \
    X(int64_t, unk, -1)                                                                                                       \
    X(bool, add_bos, false)            /* what encoding does unless told otherwise */                                         \
    X(bool, add_eos, false)                                                                                                   \
    X(bool, add_space_prefix, true)    /* of "llama" */
typedef struct tn_tokenizer_gguf_args { /* tn_tokenizer_gguf_new("gpt2", tokens, count, .pre = "qwen2", .merges = merges, ...) */
    size_t size TN_SIZE_(tn_tokenizer_gguf_args);
    TN_TOKENIZER_GGUF_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const char *model TN_ZERO_; /* tokenizer.ggml.model: "llama" or "gpt2" */
    const tn_span *tokens TN_ZERO_; /* [count] */
    int64_t count TN_ZERO_;
} tn_tokenizer_gguf_args;
/* A tokeniser of what a GGUF file says, all of which is copied. It does what llama.cpp does, with bytes that are no UTF-8 too: user-defined tokens are
 * found before all else; "llama" has a space behind each token that was found and takes it from a text's first token alone when it decodes, so that
 * one behind the beginning's token stays; "gpt2" shows a character that is none of its letters as "[UNK_BYTE_0x...]", in tokens of up to 64 bytes.
 * What differs, as the models' own tokenizer.json has it: "qwen2" and "deepseek-r1-qwen" compose characters (NFC); an English ending's s is a long s
 * (U+017F) too; "tekken" knows cases and marks beyond ASCII.
 * Names of splitters: gpt-2, llama-bpe, smaug-bpe, qwen2, stablelm2, smollm, tekken, deepseek-coder, seed-coder, minicpm5, ufakzeka, viking and bloom,
 * and those that llama.cpp takes for one of these (llama3, llama-v3, falcon3, pixtral, deepseek-r1-qwen, megrez, starcoder, refact, ...); any other,
 * "default" or none is TN_ERR_UNSUPPORTED. */
TN_API tn_tokenizer *tn_tokenizer_gguf_new_with(const tn_tokenizer_gguf_args *args);
/* Sets a GGUF file's tokenizer.ggml.* to what makes the same ids there, for a model of `count` tokens (0: the tokeniser's own number), those that the
 * tokeniser has not being unused: "llama" of SentencePiece's BPE models without a normaliser, of llama2.c's files (where U+2581 is then a space), and
 * of tokenizer.json in their style whose merges scores can order; "gpt2" of tokenizer.json of byte level and of tiktoken's ranks, by one of the
 * splitters above. llama.cpp reads it. TN_ERR_UNSUPPORTED names what GGUF cannot say: Metaspace, another
 * normaliser or splitter, unigram models, SentencePiece's user-defined tokens, added tokens that overlap so that the leftmost is not the longest,
 * llama3.np's; TN_ERR_ARGUMENT: the tokeniser has more tokens. */
TN_API tn_status tn_gguf_set_tokenizer(tn_gguf_writer *writer, const tn_tokenizer *tokenizer, int64_t count) TN_MUST_CHECK;

#define TN_TOKENIZER_ENCODE_OPTIONS(X)                                                                                        \
    X(int, add_bos, -1)          /* the beginning's token in front: 0, 1, or -1: as the file says */                          \
    X(int, add_eos, -1)          /* the end's token behind */                                                                 \
    X(bool, allow_special, false) /* special tokens that stand in the text are taken as such; else they are text like any other */
typedef struct tn_tokenizer_encode_args { /* tn_tokenizer_encode(t, "hello", 5), tn_tokenizer_encode(t, chat, size, .allow_special = true) */
    size_t size TN_SIZE_(tn_tokenizer_encode_args);
    TN_TOKENIZER_ENCODE_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_tokenizer *tokenizer TN_ZERO_;
    const char *text TN_ZERO_; /* [bytes], any bytes at all */
    int64_t bytes TN_ZERO_;
} tn_tokenizer_encode_args;
/* The ids of a text's tokens, i64 [n] on the CPU. Bytes that are no UTF-8 are taken as the file's library does: SentencePiece and tokenizers see
 * U+FFFD, tiktoken, llama2.c and its JSON the bytes; of GGUF's, llama.cpp: "llama" the bytes, "gpt2" U+FFFD for each, or what an overlong form means.
 * Special tokens in the text split it, and each part is encoded as a text of its own.
 * O(n log n); texts of up to 2^30 bytes. */
TN_API tn_tensor *tn_tokenizer_encode_with(const tn_tokenizer_encode_args *args);

#define TN_TOKENIZER_DECODE_OPTIONS(X) X(bool, skip_special, true) /* special tokens give no text */
typedef struct tn_tokenizer_decode_args { /* int64_t n = tn_tokenizer_decode(t, ids, text, sizeof text) */
    size_t size TN_SIZE_(tn_tokenizer_decode_args);
    TN_TOKENIZER_DECODE_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_tokenizer *tokenizer TN_ZERO_;
    const tn_tensor *ids TN_ZERO_; /* [n], any integers */
    char *text TN_ZERO_;
    int64_t capacity TN_ZERO_;
} tn_tokenizer_decode_args;
/* The text of ids into text, cut at capacity - 1 bytes and ended by a 0; how many bytes it has uncut, -1 on error. capacity 0 only counts. */
TN_API int64_t tn_tokenizer_decode_with(const tn_tokenizer_decode_args *args);

/* Decoding token by token: text comes as soon as its characters are whole. */
typedef struct tn_text_stream tn_text_stream;
#define TN_TEXT_STREAM_OPTIONS(X) X(bool, skip_special, true)
typedef struct tn_text_stream_args { /* tn_text_stream_new(tokenizer) */
    size_t size TN_SIZE_(tn_text_stream_args);
    TN_TEXT_STREAM_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tokenizer *tokenizer TN_ZERO_; /* shared */
} tn_text_stream_args;
TN_API tn_text_stream *tn_text_stream_new_with(const tn_text_stream_args *args);
/* What the next token adds, "" where its characters are not whole yet; ended by a 0, its bytes in *bytes unless NULL; good until the stream's next
 * call. NULL on error. The parts make what tn_tokenizer_decode() gives, but for byte tokens of tokenizer.json that are no UTF-8: the stream
 * replaces what is wrong, the whole text all of such a run. */
TN_API const char *tn_text_stream_push(tn_text_stream *stream, int64_t id, int64_t *bytes);
/* What was held back, replaced as the library does; the stream begins anew. */
TN_API const char *tn_text_stream_end(tn_text_stream *stream, int64_t *bytes);

TN_API int64_t tn_tokenizer_vocab_size(const tn_tokenizer *tokenizer); /* the largest id + 1; -1 on error */
/* A token as the file writes it ("▁the", "Ġthe"), the tokeniser's, ended by a 0; its bytes in *bytes unless NULL. An id without a token
 * gives "". NULL and TN_ERR_INDEX outside. */
TN_API const char *tn_tokenizer_token(const tn_tokenizer *tokenizer, int64_t id, int64_t *bytes);
/* The id of a token so written, its text ended by a 0; -1 where there is none. */
TN_API int64_t tn_tokenizer_id(const tn_tokenizer *tokenizer, const char *token);
/* Whether the file says that encoding begins with the beginning's token: 1, 0, or -1 where it does not tell (llama2.c's, SentencePiece's,
 * llama3.np's and tiktoken's) and on error. */
TN_API int tn_tokenizer_adds_bos(const tn_tokenizer *tokenizer);
/* Ids of the beginning, the end and the unknown; -1 where the file names none. tokenizer.json names the first two by its template or by their
 * usual texts, "<s>", "<|begin_of_text|>" and "</s>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>"; tn_tokenizer_open() asks the model's
 * files too. */
TN_API int64_t tn_tokenizer_bos(const tn_tokenizer *tokenizer);
TN_API int64_t tn_tokenizer_eos(const tn_tokenizer *tokenizer);
TN_API int64_t tn_tokenizer_unk(const tn_tokenizer *tokenizer);

#ifdef __cplusplus
}
#endif

#endif
