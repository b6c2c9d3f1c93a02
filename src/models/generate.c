/* Writing text: tokens of prompts in, tokens out, until something says stop. */
#include <tenon/generate.h>

#include <string.h>
#include <time.h>

#include "models/decoder.h"
#include "models/sample.h"
#include "text/text.h"

enum {
    MOST = 256,     /* sequences at a time, tn_decoder_step()'s */
    RESERVED = 4096, /* tokens that the cache gets room for at once, though none may be the last */
};

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* A sequence that is written. */
typedef struct writer {
    tn_llama_generate_args a;
    tn_chooser chooser;
    tn_text_stream *stream;
    char *held; /* [bytes] of text, closed by a 0, that may be the beginning of a stop text */
    int64_t bytes, capacity;
    int64_t token; /* the last one drawn */
    bool ended;
    tn_generated done;
} writer;

/* ---- text on its way to the caller ---------------------------------------------------------------------------------------- */

/* How many of the held bytes come before the first stop text that is whole, or else before one that may become whole. */
static int64_t before_stop(const writer *w, bool *whole)
{
    int64_t first = w->bytes;
    *whole = false;
    for (int64_t s = 0; s < w->a.stop_count; s++) {
        const char *stop = w->a.stop[s];
        const int64_t length = (int64_t)strlen(stop);
        for (int64_t at = 0; at < w->bytes; at++) {
            const int64_t left = w->bytes - at;
            if (memcmp(w->held + at, stop, (size_t)(left < length ? left : length)) != 0)
                continue;
            const bool is_whole = left >= length;
            if (is_whole > *whole || (is_whole == *whole && at < first)) {
                first = at;
                *whole = is_whole;
            }
            break;
        }
    }
    return first;
}

static void hold(writer *w, const char *text, int64_t bytes)
{
    if (!text)
        return;
    if (w->bytes + bytes >= w->capacity) {
        const int64_t capacity = 2 * (w->bytes + bytes) + 1;
        char *held = tn_alloc((size_t)capacity);
        if (!held)
            return;
        memcpy(held, w->held, (size_t)w->bytes);
        tn_free(w->held, (size_t)w->capacity);
        w->held = held;
        w->capacity = capacity;
    }
    memcpy(w->held + w->bytes, text, (size_t)bytes);
    w->bytes += bytes;
}

/* Gives the caller the token, with all of the text that it can have; false where it has enough. */
static bool give(writer *w, int64_t bytes)
{
    const char next = w->held[bytes];
    w->held[bytes] = 0;
    const tn_llama_token given = {w->a.sequence, w->token, w->held, bytes};
    const bool more = !w->a.on_token || w->a.on_token(&given, w->a.context);
    w->held[bytes] = next;
    memmove(w->held, w->held + bytes, (size_t)(w->bytes - bytes));
    w->bytes -= bytes;
    return more;
}

/* ---- one token ------------------------------------------------------------------------------------------------------------ */

static void draw(writer *w, const float *logits)
{
    int64_t bytes = 0;
    bool stopped;
    const int64_t token = w->token = tn_choose(&w->chooser, logits);
    const bool closing = tn_ends_text(w->a.tokenizer, token) || token == w->a.eos;
    w->ended = ++w->done.tokens == w->a.max_tokens || closing;
    if (!closing) {
        tn_chooser_saw(&w->chooser, token);
        const bool padding = token >= tn_tokenizer_vocab_size(w->a.tokenizer); /* a model may have more tokens than there are */
        const char *text = padding ? "" : tn_text_stream_push(w->stream, token, &bytes);
        hold(w, text, bytes);
    }
    if (w->ended) {
        const char *text = tn_text_stream_end(w->stream, &bytes);
        hold(w, text, bytes);
    }
    const int64_t before = before_stop(w, &stopped);
    if (!tn_failing() && !give(w, w->ended && !stopped ? w->bytes : before))
        w->ended = true;
    w->ended |= stopped || tn_failing();
}

/* ---- beginning ------------------------------------------------------------------------------------------------------------ */

/* Whether they can belong together: a few added tokens may be more than the model has, and models are padded. */
static bool fit_together(tn_decoder *decoder, const tn_tokenizer *tokenizer)
{
    enum { ADDED = 256 };
    const tn_llama_args *config = tn_decoder_config(decoder);
    const int64_t tokens = config ? tn_tokenizer_vocab_size(tokenizer) : 0;
    if (tokens > 0 && tokens > config->vocab_size + ADDED)
        tn_fail(TN_ERR_ARGUMENT, "llama_generate: the tokenizer has %lld tokens and the model %lld: it is another model's", (long long)tokens,
                (long long)config->vocab_size);
    return !tn_failing();
}

static bool options_fit(const tn_llama_generate_args *a)
{
    if (tn_failing())
        return false;
    if (!a->decoder || !a->tokenizer || (!a->prompt && !a->ids))
        tn_fail(TN_ERR_ARGUMENT, "llama_generate: %s is NULL", !a->decoder ? "decoder" : !a->tokenizer ? "tokenizer" : "prompt");
    else if (a->prompt && a->ids)
        tn_fail(TN_ERR_ARGUMENT, "llama_generate: a prompt and ids: one of them");
    else if (a->max_tokens < 0 || a->top_k < 0 || a->penalty_last < 0 || a->penalty_last > INT32_MAX)
        tn_fail(TN_ERR_ARGUMENT, "llama_generate: max_tokens %lld, top_k %lld and penalty_last %lld must not be negative", (long long)a->max_tokens,
                (long long)a->top_k, (long long)a->penalty_last);
    else if (!(a->temperature >= 0) || !(a->top_p > 0 && a->top_p <= 1) || !(a->min_p >= 0 && a->min_p <= 1) || !(a->repetition_penalty > 0) ||
             a->presence_penalty != a->presence_penalty)
        tn_fail(TN_ERR_ARGUMENT, "llama_generate: temperature %g must not be negative, top_p %g be above 0 and at most 1, min_p %g from 0 to 1, "
                "repetition_penalty %g above 0, presence_penalty %g a number", a->temperature, a->top_p, a->min_p, a->repetition_penalty,
                a->presence_penalty);
    else if (a->stop_count < 0 || (a->stop_count && !a->stop))
        tn_fail(TN_ERR_ARGUMENT, "llama_generate: %lld stop texts at %p", (long long)a->stop_count, (const void *)a->stop);
    for (int64_t i = 0; i < a->stop_count && !tn_failing(); i++)
        if (!a->stop[i] || !*a->stop[i])
            tn_fail(TN_ERR_ARGUMENT, "llama_generate: stop text %lld is %s", (long long)i, a->stop[i] ? "empty" : "NULL");
    return !tn_failing() && fit_together(a->decoder, a->tokenizer);
}

/* Takes all the memory that writing needs; the stream is the scope's. */
static bool make(writer *w)
{
    const tn_llama_args *config = tn_decoder_config(w->a.decoder);
    const tn_text_stream_args streaming = {.size = sizeof streaming, .skip_special = true, .tokenizer = w->a.tokenizer};
    if (!(w->stream = tn_adopt(tn_text_stream_new_with(&streaming))) || !config || !tn_chooser_make(&w->chooser, &w->a, config->vocab_size))
        return false;
    int64_t longest = 0;
    for (int64_t i = 0; i < w->a.stop_count; i++) {
        const int64_t length = (int64_t)strlen(w->a.stop[i]);
        longest = length > longest ? length : longest;
    }
    w->capacity = longest + tn_most_text(w->a.tokenizer) + 1;
    w->held = tn_alloc((size_t)w->capacity);
    return w->held != NULL;
}

static const float *read_tokens(writer *w, const int64_t *tokens, int64_t count)
{
    const int64_t before = tn_decoder_length(w->a.decoder, w->a.sequence), written = w->a.max_tokens < RESERVED ? w->a.max_tokens : RESERVED;
    if (before < 0 || (count > 0 && tn_decoder_reserve(w->a.decoder, before + count + written) != TN_OK))
        return NULL;
    const float *logits = tn_decoder_feed_asking(w->a.decoder, w->a.sequence, tokens, count, w->a.on_prompt, w->a.context);
    w->done.prompt_tokens = tn_failing() ? 0 : tn_decoder_length(w->a.decoder, w->a.sequence) - before;
    for (int64_t i = 0; i < count && logits; i++) {
        tn_chooser_saw(&w->chooser, tokens[i]);
        if (tokens[i] < tn_tokenizer_vocab_size(w->a.tokenizer) && !tn_text_stream_push(w->stream, tokens[i], NULL))
            return NULL; /* pushed, so that what comes is no text's beginning, which some tokenisers strip */
    }
    return logits;
}

static const float *read_prompt(writer *w)
{
    const tn_llama_generate_args *a = &w->a;
    if (a->ids)
        return read_tokens(w, a->ids, a->id_count);
    int bos = a->add_bos;
    if (bos < 0)
        bos = tn_decoder_length(a->decoder, a->sequence) == 0 && tn_tokenizer_bos(a->tokenizer) >= 0 && tn_tokenizer_adds_bos(a->tokenizer) != 0;
    const tn_tokenizer_encode_args encode = {.size = sizeof encode, .add_bos = bos, .add_eos = 0, .allow_special = a->allow_special,
                                             .tokenizer = a->tokenizer, .text = a->prompt, .bytes = (int64_t)strlen(a->prompt)};
    TN_SCOPE;
    const tn_tensor *ids = tn_tokenizer_encode_with(&encode);
    if (ids && !ids->numel)
        return tn_fail(TN_ERR_ARGUMENT, "llama_generate: the prompt has no token: there is nothing to go on from");
    return ids ? read_tokens(w, (const int64_t *)(const void *)tn_ptr(ids), ids->numel) : NULL;
}

/* Reads the prompt and draws the first token. */
static void begin(writer *w)
{
    const double start = seconds_now();
    const float *logits = make(w) ? read_prompt(w) : NULL;
    w->done.prompt_seconds = seconds_now() - start;
    w->ended = !logits || w->a.max_tokens == 0;
    if (!w->ended)
        draw(w, logits);
    w->done.seconds = seconds_now() - start - w->done.prompt_seconds;
}

/* ---- all tokens ----------------------------------------------------------------------------------------------------------- */

/* One token more of each that has not ended; how many those were. */
static int64_t step(writer *writers, int64_t count)
{
    int64_t live[MOST], sequences[MOST], tokens[MOST], n = 0;
    for (int64_t i = 0; i < count; i++)
        if (!writers[i].ended) {
            live[n] = i;
            sequences[n] = writers[i].a.sequence;
            tokens[n++] = writers[i].token;
        }
    const double start = seconds_now();
    const float *logits = n && !tn_failing() ? tn_decoder_step(writers->a.decoder, sequences, tokens, n) : NULL;
    for (int64_t i = 0; logits && i < n; i++)
        draw(&writers[live[i]], logits + i * tn_decoder_config(writers->a.decoder)->vocab_size);
    const double seconds = seconds_now() - start;
    for (int64_t i = 0; i < n; i++)
        writers[live[i]].done.seconds += seconds;
    return logits ? n : 0;
}

/* What is wrong with them together; each by itself is checked already. */
static bool go_together(const writer *writers, int64_t count)
{
    for (int64_t i = 0; i < count && !tn_failing(); i++) {
        const tn_llama_generate_args *a = &writers[i].a;
        if (a->decoder != writers->a.decoder)
            tn_fail(TN_ERR_ARGUMENT, "llama_generate_all: prompt %lld has another decoder than the first", (long long)i);
        for (int64_t j = 0; j < i; j++)
            if (a->sequence == writers[j].a.sequence)
                tn_fail(TN_ERR_ARGUMENT, "llama_generate_all: prompts %lld and %lld are both for sequence %lld", (long long)j, (long long)i,
                        (long long)a->sequence);
        if (!tn_failing())
            tn_decoder_length(a->decoder, a->sequence);
    }
    return !tn_failing();
}

static void write_all(writer *writers, int64_t count)
{
    TN_SCOPE;
    for (int64_t i = 0; i < count && !tn_failing(); i++)
        begin(&writers[i]);
    while (step(writers, count))
        ;
}

tn_status tn_llama_generate_all(const tn_llama_generate_args *each, int64_t count)
{
    if (count < 1 || count > MOST)
        tn_fail(TN_ERR_ARGUMENT, "llama_generate_all: %lld prompts: from 1 to %d go together", (long long)count, MOST);
    if (tn_failing())
        return tn_last_status();
    writer *writers = tn_alloc_zero(sizeof *writers * (size_t)count);
    bool fit = writers != NULL;
    for (int64_t i = 0; i < count && fit; i++) {
        tn_known_args(&writers[i].a, sizeof writers[i].a, each ? (const char *)each + (size_t)i * each->size : NULL);
        fit = options_fit(&writers[i].a);
    }
    if (fit && go_together(writers, count))
        write_all(writers, count);
    for (int64_t i = 0; i < count && writers; i++) {
        writer *w = &writers[i];
        if (w->a.report)
            *w->a.report = w->done;
        if (w->chooser.how)
            tn_chooser_done(&w->chooser);
        tn_free(w->held, (size_t)w->capacity);
    }
    tn_free(writers, sizeof *writers * (size_t)count);
    return tn_last_status();
}

tn_status tn_llama_generate_with(const tn_llama_generate_args *a)
{
    TN_KNOWN(tn_llama_generate_args, a);
    return tn_llama_generate_all(a, 1);
}
