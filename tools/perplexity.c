/* tenon perplexity: the exponential of the mean negative log-likelihood of a text's tokens. */
#include "command.h"

#include <math.h>

/* -log softmax(logits)[token] */
static double surprise(const float *logits, int64_t vocab, int64_t token)
{
    double most = logits[0], sum = 0;
    for (int64_t i = 1; i < vocab; i++)
        most = logits[i] > most ? logits[i] : most;
    for (int64_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - most);
    return log(sum) + most - (double)logits[token];
}

/* The sum over tokens [1, count) of a window; -1 on error. */
static double judge(tn_decoder *decoder, int64_t vocab, const int64_t *tokens, int64_t count)
{
    enum { TOGETHER = 64 }; /* the logits of so many are kept at once */
    double sum = 0;
    if (tn_decoder_rewind(decoder, 0, 0) != TN_OK)
        return -1;
    for (int64_t at = 0; at + 1 < count; at += TOGETHER) {
        const int64_t n = count - 1 - at < TOGETHER ? count - 1 - at : TOGETHER;
        const float *logits = tn_decoder_feed_all(decoder, 0, tokens + at, n);
        if (!logits)
            return -1;
        for (int64_t i = 0; i < n; i++)
            sum += surprise(logits + i * vocab, vocab, tokens[at + i + 1]);
    }
    return sum;
}

/* Whether the model has all tokens: its logits are read at each. */
static bool are_known(const tn_llama_args *config, const int64_t *id, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (id[i] >= config->vocab_size)
            tn_fail(TN_ERR_INDEX, "the tokenizer gives token %lld, and the model has %lld: it is another model's", (long long)id[i],
                    (long long)config->vocab_size);
    return tn_last_status() == TN_OK;
}

/* Windows of so many tokens, none of them in two, each behind the beginning's token where the tokeniser has one. */
static void measure(const options *o, tn_decoder *decoder, const tn_tokenizer *tokenizer, const char *text, int64_t bytes)
{
    const tn_llama_args *config = tn_decoder_config(decoder);
    const int64_t bos = tn_tokenizer_adds_bos(tokenizer) != 0 ? tn_tokenizer_bos(tokenizer) : -1, most = config->max_position_embeddings;
    const int64_t window = o->window < most ? o->window : most;
    tn_tensor *ids = tn_tokenizer_encode(tokenizer, text, bytes, .add_bos = 0, .add_eos = 0);
    const int64_t *id = ids ? tn_data(ids) : NULL, all = ids ? tn_numel(ids) : 0, step = window - (bos >= 0);
    int64_t *tokens = malloc((size_t)window * sizeof *tokens), judged = 0, windows = 0;
    double sum = 0;
    for (int64_t at = 0; id && tokens && are_known(config, id, all) && at < all && tn_last_status() == TN_OK; at += step) {
        const int64_t n = all - at < step ? all - at : step, first = bos >= 0;
        tokens[0] = bos;
        memcpy(tokens + first, id + at, (size_t)n * sizeof *id);
        if (n + first < 2)
            break;
        sum += judge(decoder, config->vocab_size, tokens, n + first);
        judged += n + first - 1;
        windows++;
    }
    free(tokens);
    if (tn_last_status() == TN_OK && judged == 0)
        tn_fail(TN_ERR_ARGUMENT, "%s: %lld tokens: there is none to foretell", o->words[0], (long long)all);
    if (tn_last_status() == TN_OK)
        printf("perplexity %.4f, %.5f nats a token, %lld tokens in %lld windows of %lld\n", exp(sum / (double)judged), sum / (double)judged,
               (long long)judged, (long long)windows, (long long)window);
}

int perplexity_main(int argc, char **argv)
{
    options o = {COMMAND_DEFAULTS,
                 .about = "Writes the perplexity of a text's tokens (FILE - is standard input), judged in windows that do not overlap.",
                 .takes = MODEL_OPTIONS "w", .arguments = "FILE"};
    TN_SCOPE;
    read_options(&o, argc, argv);
    if (!o.model)
        misused("perplexity", "--model is missing");
    int64_t bytes = 0;
    char *text = read_all(o.words[0], &bytes);
    tn_decoder *decoder = text ? open_decoder(&o) : NULL;
    tn_tokenizer *tokenizer = open_tokenizer(&o, tn_decoder_config(decoder));
    if (tokenizer)
        measure(&o, decoder, tokenizer, text, bytes);
    free(text);
    return done();
}
