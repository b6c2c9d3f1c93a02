/* Tenon: writing text with a decoder.
 *
 *     static bool show(const tn_llama_token *token, void *context) { return fputs(token->text, stdout) >= 0; }
 *
 *     tn_decoder *decoder = tn_decoder_open("model.bin");
 *     tn_tokenizer *tokenizer = tn_tokenizer_open("model.bin");
 *     tn_check(tn_llama_generate(decoder, tokenizer, "There was a boy", .max_tokens = 200, .on_token = show)); */
#ifndef TENON_GENERATE_H
#define TENON_GENERATE_H

#include <tenon/decoder.h>
#include <tenon/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The tokeniser that belongs to a model's file or folder, the caller's: the GGUF file's own, or tokenizer.json, tokenizer.model (SentencePiece's or
 * tiktoken's), tokenizer.bin or tokenizer.model.np of the folder, that of its own kind first beside a .bin and an .npz. TN_ERR_IO where there is
 * none, which names what was looked for. What ends a text is "eos_token_id" of the generation_config.json or else the config.json beside the model,
 * all of a list; in a GGUF file eot_token_id and eom_token_id too. */
TN_API tn_tokenizer *tn_tokenizer_open(const char *path);

/* What was read and written, and how long each took. */
typedef struct tn_generated {
    int64_t prompt_tokens, tokens; /* tokens: those that were drawn, the closing one too */
    double prompt_seconds, seconds;
} tn_generated;

/* A token that was drawn, and the text that came with it: whole characters, closed by a 0. There is none while a character is not whole yet, or
 * while the text may be the beginning of a stop text; what was held back so comes with a later token, at the latest the last one. */
typedef struct tn_llama_token {
    int64_t sequence; /* of the decoder */
    int64_t token;
    const char *text; /* [bytes], good until the callback returns */
    int64_t bytes;
} tn_llama_token;
/* Called for each token, the closing one too; false ends the writing. */
typedef bool (*tn_token_callback)(const tn_llama_token *token, void *context);

/* Called before each piece of a prompt, of at most 256 tokens: read of its count tokens are read. false ends it, and nothing is written. */
typedef bool (*tn_prompt_callback)(int64_t read, int64_t count, void *context);

/* A token is drawn from the logits in this order: penalties, temperature, then the softmax of the top_k best, of those the fewest whose sum
 * reaches top_p, of those the ones at least min_p as likely as the best. */
#define TN_LLAMA_GENERATE_OPTIONS(X)                                                                                          \
    X(int64_t, max_tokens, 256)                                                                                               \
    X(double, temperature, 0)          /* 0: the best, always (the first of equals) */                                       \
    X(int64_t, top_k, 0)               /* 0: all */                                                                           \
    X(double, top_p, 1)                                                                                                       \
    X(double, min_p, 0)                                                                                                       \
    X(double, repetition_penalty, 1)   /* divides logits above 0 of tokens that were there, multiplies those below (Keskar et al. 2019) */ \
    X(double, presence_penalty, 0)     /* is taken from the logits of tokens that were there */                              \
    X(int64_t, penalty_last, 64)       /* there: among so many last ones, the prompt's too */                                \
    X(int64_t, seed, -1)               /* of the draws; -1: drawn from the thread's random state */                          \
    X(const char *const *, stop, NULL) /* [stop_count] texts that end the writing; they are not given to on_token */          \
    X(int64_t, stop_count, 0)                                                                                                 \
    X(int64_t, eos, -1)                /* a token that ends it beside those that the tokeniser knows */                                  \
    X(int64_t, sequence, 0)            /* of the decoder, which goes on where it stands */                                   \
    X(bool, allow_special, false)      /* the prompt's special tokens are taken as such */                                   \
    X(int, add_bos, -1)                /* 0, 1, or -1: where the sequence is empty and the tokeniser's file does not say no */                 \
    X(const int64_t *, ids, NULL)      /* [id_count] the prompt's tokens, in the place of its text; no bos is put before them */ \
    X(int64_t, id_count, 0)                                                                                                   \
    X(tn_token_callback, on_token, NULL)                                                                                      \
    X(void *, context, NULL)           /* what it gets */                                                                    \
    X(tn_generated *, report, NULL)    /* takes what was done, on failure too */                                              \
    X(tn_prompt_callback, on_prompt, NULL) /* it gets .context too */
typedef struct tn_llama_generate_args {
    size_t size TN_SIZE_(tn_llama_generate_args);
    TN_LLAMA_GENERATE_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_decoder *decoder TN_ZERO_;
    tn_tokenizer *tokenizer TN_ZERO_;
    const char *prompt TN_ZERO_; /* closed by a 0; NULL with .ids */
} tn_llama_generate_args;
/* Reads the prompt and writes on until max_tokens, the end's token, a stop text, or until on_token says false. The decoder's sequence then has the
 * prompt and all that was drawn but the last token, or what was read of the prompt until on_prompt said false. No memory is taken after the first
 * token, but that beyond 4096 of them the decoder's cache may grow. TN_ERR_ARGUMENT: a prompt of no tokens, options out of their range, the
 * tokeniser of a larger model; TN_ERR_INDEX: a token that the model has not. */
TN_API tn_status tn_llama_generate_with(const tn_llama_generate_args *args) TN_MUST_CHECK;

/* What tn_llama_generate() does with a prompt when nothing is said, for tn_llama_generate_all(). */
static inline tn_llama_generate_args tn_llama_prompt(tn_decoder *decoder, tn_tokenizer *tokenizer, const char *prompt)
{
#ifdef __cplusplus
    tn_llama_generate_args args;
#else
    tn_llama_generate_args args = {.size = sizeof args, TN_LLAMA_GENERATE_OPTIONS(TN_DEFAULT_).tn_ = 0};
#endif
    args.decoder = decoder;
    args.tokenizer = tokenizer;
    args.prompt = prompt;
    return args;
}
/* Prompts together, count from 1 to 256, each in a sequence of its own of one decoder: the weights are read once a token for all of them. Each
 * begins, draws and ends by its own options, and has the tokens that it would have alone, but where two are the best within a rounding.
 *     tn_llama_generate_args each[8];
 *     for (int i = 0; i < 8; i++) {
 *         each[i] = tn_llama_prompt(decoder, tokenizer, prompts[i]);
 *         each[i].sequence = i;
 *         each[i].on_token = show;
 *     }
 *     tn_check(tn_llama_generate_all(each, 8));
 * A report's seconds are those of the passes that it took part in. TN_ERR_ARGUMENT: two decoders, or a sequence that is there twice. */
TN_API tn_status tn_llama_generate_all(const tn_llama_generate_args *each, int64_t count) TN_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
