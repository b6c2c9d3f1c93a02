/* Writing text: tokens of the prompt in, tokens out, until something says stop. */
#include <tenon/generate.h>

#include <string.h>
#include <time.h>

#include "models/sample.h"

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- text on its way to the caller ---------------------------------------------------------------------------------------- */

/* Text is held back while it may be the beginning of a stop text. */
typedef struct outlet {
    const tn_generate_args *a;
    char *held;
    int64_t bytes, capacity;
    bool closed; /* a stop text came, or the caller has enough */
} outlet;

static void give(outlet *o, int64_t bytes)
{
    if (bytes && o->a->on_text && !o->a->on_text(o->held, bytes, o->a->context))
        o->closed = true;
    memmove(o->held, o->held + bytes, (size_t)(o->bytes - bytes));
    o->bytes -= bytes;
}

/* How many of the held bytes come before the first stop text that is whole, or else before one that may become whole. */
static int64_t before_stop(const outlet *o, bool *whole)
{
    int64_t first = o->bytes;
    *whole = false;
    for (int64_t s = 0; s < o->a->stop_count; s++) {
        const char *stop = o->a->stop[s];
        const int64_t length = (int64_t)strlen(stop);
        for (int64_t at = 0; at < o->bytes; at++) {
            const int64_t left = o->bytes - at;
            if (memcmp(o->held + at, stop, (size_t)(left < length ? left : length)) != 0)
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

static bool put(outlet *o, const char *text, int64_t bytes)
{
    if (!text)
        return false;
    if (o->bytes + bytes > o->capacity) {
        const int64_t capacity = 2 * (o->bytes + bytes) + 64;
        char *held = tn_alloc((size_t)capacity);
        if (!held)
            return false;
        if (o->bytes)
            memcpy(held, o->held, (size_t)o->bytes);
        tn_free(o->held, (size_t)o->capacity);
        o->held = held;
        o->capacity = capacity;
    }
    memcpy(o->held + o->bytes, text, (size_t)bytes);
    o->bytes += bytes;
    bool whole;
    const int64_t fine = before_stop(o, &whole);
    give(o, fine);
    if (whole) {
        o->bytes = 0;
        o->closed = true;
    }
    return true;
}

/* ---- the loop ------------------------------------------------------------------------------------------------------------- */

static bool options_fit(const tn_generate_args *a)
{
    if (tn_failing())
        return false;
    if (!a->decoder || !a->tokenizer || !a->prompt)
        tn_fail(TN_ERR_ARGUMENT, "generate: %s is NULL", !a->decoder ? "decoder" : !a->tokenizer ? "tokenizer" : "prompt");
    else if (a->max_tokens < 0 || a->top_k < 0 || a->penalty_last < 0 || a->penalty_last > INT32_MAX)
        tn_fail(TN_ERR_ARGUMENT, "generate: max_tokens %lld, top_k %lld and penalty_last %lld must not be negative", (long long)a->max_tokens,
                (long long)a->top_k, (long long)a->penalty_last);
    else if (!(a->temperature >= 0) || !(a->top_p > 0 && a->top_p <= 1) || !(a->min_p >= 0 && a->min_p <= 1) || !(a->repetition_penalty > 0) ||
             a->presence_penalty != a->presence_penalty)
        tn_fail(TN_ERR_ARGUMENT, "generate: temperature %g must not be negative, top_p %g be above 0 and at most 1, min_p %g from 0 to 1, "
                "repetition_penalty %g above 0, presence_penalty %g a number", a->temperature, a->top_p, a->min_p, a->repetition_penalty,
                a->presence_penalty);
    else if (a->stop_count < 0 || (a->stop_count && !a->stop))
        tn_fail(TN_ERR_ARGUMENT, "generate: %lld stop texts at %p", (long long)a->stop_count, (const void *)a->stop);
    for (int64_t i = 0; i < a->stop_count && !tn_failing(); i++)
        if (!a->stop[i] || !*a->stop[i])
            tn_fail(TN_ERR_ARGUMENT, "generate: stop text %lld is %s", (long long)i, a->stop[i] ? "empty" : "NULL");
    return !tn_failing();
}

/* Draws tokens after `logits` until something ends it. */
static void write_on(const tn_generate_args *a, tn_chooser *chooser, tn_text_stream *stream, outlet *out, const float *logits, tn_generated *done)
{
    const int64_t eos = tn_tokenizer_eos(a->tokenizer);
    while (logits && !out->closed && done->tokens < a->max_tokens) {
        const int64_t token = tn_choose(chooser, logits);
        int64_t bytes;
        done->tokens++;
        if (token == eos || token == a->eos)
            break;
        tn_chooser_saw(chooser, token);
        const char *text = tn_text_stream_push(stream, token, &bytes);
        if (!put(out, text, bytes) || out->closed || done->tokens == a->max_tokens)
            break;
        logits = tn_decoder_feed(a->decoder, a->sequence, &token, 1);
    }
    if (!out->closed && !tn_failing()) {
        int64_t bytes;
        const char *text = tn_text_stream_end(stream, &bytes);
        if (put(out, text, bytes) && !out->closed)
            give(out, out->bytes);
    }
}

static const float *read_prompt(const tn_generate_args *a, tn_chooser *chooser, tn_generated *done)
{
    int bos = a->add_bos;
    if (bos < 0)
        bos = tn_decoder_length(a->decoder, a->sequence) == 0 && tn_tokenizer_bos(a->tokenizer) >= 0 && tn_tokenizer_adds_bos(a->tokenizer) != 0;
    const tn_tokenizer_encode_args encode = {.size = sizeof encode, .add_bos = bos, .add_eos = 0, .allow_special = a->allow_special,
                                             .tokenizer = a->tokenizer, .text = a->prompt, .bytes = (int64_t)strlen(a->prompt)};
    tn_tensor *ids = tn_tokenizer_encode_with(&encode);
    if (!ids)
        return NULL;
    if (!ids->numel)
        return tn_fail(TN_ERR_ARGUMENT, "generate: the prompt has no token: there is nothing to go on from");
    const int64_t *tokens = (const int64_t *)(const void *)tn_ptr(ids);
    for (int64_t i = 0; i < ids->numel; i++)
        tn_chooser_saw(chooser, tokens[i]);
    done->prompt_tokens = ids->numel;
    return tn_decoder_feed(a->decoder, a->sequence, tokens, ids->numel);
}

tn_status tn_generate_with(const tn_generate_args *a)
{
    TN_KNOWN(tn_generate_args, a);
    tn_generated done = {0};
    const tn_llama_args *config = options_fit(a) ? tn_decoder_config(a->decoder) : NULL;
    if (config && tn_tokenizer_vocab_size(a->tokenizer) > 0) {
        TN_SCOPE;
        tn_chooser chooser;
        outlet out = {.a = a};
        const tn_text_stream_args streaming = {.size = sizeof streaming, .skip_special = true, .tokenizer = a->tokenizer};
        tn_text_stream *stream = tn_adopt(tn_text_stream_new_with(&streaming));
        const double start = seconds_now();
        const float *logits = tn_chooser_make(&chooser, a, config->vocab_size) && stream ? read_prompt(a, &chooser, &done) : NULL;
        done.prompt_seconds = seconds_now() - start;
        write_on(a, &chooser, stream, &out, logits, &done);
        done.seconds = seconds_now() - start - done.prompt_seconds;
        tn_chooser_done(&chooser);
        tn_free(out.held, (size_t)out.capacity);
    }
    if (a->report)
        *a->report = done;
    return tn_last_status();
}
