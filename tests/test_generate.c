/* Writing text: the choice of tokens against its law, stop texts, penalties, and a trained model's own words.
 * labels: quick, threads */
#include "op_table.h"

#include <math.h>
#include <unistd.h>

#include "models/sample.h"

enum { VOCAB = 6, DRAWS = 20000 };
static const float logits[VOCAB] = {1, 3, 2, -1, 3, 0};

/* The share of each token in many draws. */
static void shares(const tn_llama_generate_args *how, double *share)
{
    tn_chooser chooser;
    assert_true(tn_chooser_make(&chooser, how, VOCAB));
    for (int t = 0; t < VOCAB; t++)
        share[t] = 0;
    for (int i = 0; i < DRAWS; i++)
        share[tn_choose(&chooser, logits)] += 1. / DRAWS;
    tn_chooser_done(&chooser);
}

/* Where `kept` has a 1, the softmax of logits / temperature among those. */
static void check_law(tn_llama_generate_args how, const int *kept)
{
    double share[VOCAB], sum = 0;
    shares(&how, share);
    for (int t = 0; t < VOCAB; t++)
        sum += kept[t] * exp(logits[t] / how.temperature);
    for (int t = 0; t < VOCAB; t++) {
        const double p = kept[t] * exp(logits[t] / how.temperature) / sum;
        if (!(fabs(share[t] - p) <= 4 * sqrt(p * (1 - p) / DRAWS) + 1e-12))
            fail_msg("token %d: %g of the draws, %g were due", t, share[t], p);
    }
}

static tn_llama_generate_args drawn(double temperature, int64_t top_k, double top_p, double min_p)
{
    return (tn_llama_generate_args){.size = sizeof(tn_llama_generate_args), .temperature = temperature, .top_k = top_k, .top_p = top_p, .min_p = min_p,
                              .repetition_penalty = 1, .seed = 11};
}
static tn_llama_generate_args penalised(double repetition, double presence, int64_t last)
{
    return (tn_llama_generate_args){.size = sizeof(tn_llama_generate_args), .top_p = 1, .repetition_penalty = repetition, .presence_penalty = presence,
                              .penalty_last = last, .seed = 11};
}

static void laws(void **state)
{
    (void)state;
    check_law(drawn(1, 0, 1, 0), (const int[]){1, 1, 1, 1, 1, 1});
    check_law(drawn(2.5, 0, 1, 0), (const int[]){1, 1, 1, 1, 1, 1});
    check_law(drawn(1, 3, 1, 0), (const int[]){0, 1, 1, 0, 1, 0});
    check_law(drawn(1, 1, 1, 0), (const int[]){0, 1, 0, 0, 0, 0});
    check_law(drawn(1, 99, 1, 0), (const int[]){1, 1, 1, 1, 1, 1});
    check_law(drawn(1, 0, 0.8, 0), (const int[]){0, 1, 1, 0, 1, 0}); /* 0.390 + 0.390 + 0.144 */
    check_law(drawn(1, 0, 0.77, 0), (const int[]){0, 1, 0, 0, 1, 0});
    check_law(drawn(1, 0, 0.92, 0), (const int[]){0, 1, 1, 0, 1, 0});
    check_law(drawn(1, 0, 1, 0.2), (const int[]){0, 1, 1, 0, 1, 0}); /* exp(-1), not exp(-2) */
    check_law(drawn(1, 5, 0.999, 0.1), (const int[]){1, 1, 1, 0, 1, 0});
    check_law(drawn(1, 0, 1e-9, 0), (const int[]){0, 1, 0, 0, 0, 0});
}

/* Who stays when top_k, top_p and min_p cut one after the other, found by looking for the best again and again. */
static void keep_by_hand(const tn_llama_generate_args *how, int *kept)
{
    double p[VOCAB], sum = 0, reached = 0;
    int order[VOCAB], most = how->top_k ? (int)how->top_k : VOCAB;
    for (int t = 0; t < VOCAB; t++) {
        p[t] = exp(logits[t] / how->temperature);
        kept[t] = 0;
    }
    for (int i = 0; i < most; i++) {
        order[i] = -1;
        for (int t = 0; t < VOCAB; t++)
            if (!kept[t] && (order[i] < 0 || p[t] > p[order[i]]))
                order[i] = t;
        kept[order[i]] = 1;
        sum += p[order[i]];
    }
    for (int i = 0; i < most; i++) {
        kept[order[i]] = i == 0 || (reached < how->top_p * sum && p[order[i]] >= how->min_p * p[order[0]]);
        reached += p[order[i]];
    }
}

static void mixtures(void **state)
{
    (void)state;
    const double temperatures[] = {0.5, 1, 3}, top_ps[] = {1, 0.93, 0.6}, min_ps[] = {0, 0.04, 0.3};
    for (int i = 0; i < 81; i++) {
        const tn_llama_generate_args how = drawn(temperatures[i % 3], 2 * (i / 3 % 3), top_ps[i / 9 % 3], min_ps[i / 27]);
        int kept[VOCAB];
        keep_by_hand(&how, kept);
        check_law(how, kept);
    }
}

static void the_best(void **state)
{
    (void)state;
    tn_chooser chooser;
    assert_true(tn_chooser_make(&chooser, (tn_llama_generate_args[]){drawn(0, 0, 1, 0)}, VOCAB));
    assert_int_equal(tn_choose(&chooser, logits), 1); /* the first of equals */
    tn_chooser_done(&chooser);
    const float odd[VOCAB] = {0, NAN, 1, 2, 3, INFINITY};
    assert_true(tn_chooser_make(&chooser, (tn_llama_generate_args[]){drawn(1, 0, 1, 0)}, VOCAB));
    assert_in_range(tn_choose(&chooser, odd), 0, VOCAB - 1);
    tn_chooser_done(&chooser);
}

static void penalties(void **state)
{
    (void)state;
    tn_chooser chooser;
    assert_true(tn_chooser_make(&chooser, (tn_llama_generate_args[]){penalised(1.6, 0, 2)}, VOCAB));
    tn_chooser_saw(&chooser, 1);
    assert_int_equal(tn_choose(&chooser, logits), 4); /* 3 / 1.6 */
    tn_chooser_saw(&chooser, 4);
    assert_int_equal(tn_choose(&chooser, logits), 2);
    tn_chooser_saw(&chooser, 4); /* 1 is forgotten */
    assert_int_equal(tn_choose(&chooser, logits), 1);
    tn_chooser_done(&chooser);
    const float low[VOCAB] = {-1, -1.5f, -9, -9, -9, -9};
    assert_true(tn_chooser_make(&chooser, (tn_llama_generate_args[]){penalised(2, 0, 64)}, VOCAB));
    tn_chooser_saw(&chooser, 0);
    assert_int_equal(tn_choose(&chooser, low), 1); /* -1 becomes -2 */
    tn_chooser_done(&chooser);
    assert_true(tn_chooser_make(&chooser, (tn_llama_generate_args[]){penalised(1, 0.6, 64)}, VOCAB));
    tn_chooser_saw(&chooser, 0);
    tn_chooser_saw(&chooser, 0); /* once, not twice */
    assert_int_equal(tn_choose(&chooser, low), 1);
    tn_chooser_done(&chooser);
}

/* ---- models that need no file --------------------------------------------------------------------------------------------- */

/* llama2.c's 400 tokens: 1 and 2 begin and end, 3 + b is byte b. The models are padded to 408. */
#define TOKENIZER TN_SOURCE_DIR "/tests/reference/tokenizers/llama2c.bin"
enum { TOKENS = 408 };

static tn_module *model_new(double range)
{
    tn_manual_seed(3);
    return tn_llama_new(.vocab_size = TOKENS, .hidden_size = TOKENS, .intermediate_size = 32, .num_hidden_layers = 1, .num_attention_heads = 4,
                        .num_key_value_heads = 1, .max_position_embeddings = 64, .initializer_range = range);
}

/* A model that writes the tokens of a script, each there once, behind the beginning's: the embedding is the unit matrix and the head says what comes
 * next. */
static tn_decoder *scripted(const int64_t *script, int count, int64_t sequences)
{
    TN_SCOPE;
    tn_module *llama = tn_adopt(model_new(0));
    assert_int_equal(tn_module_to(llama, (tn_device_id){TN_CPU, 0}), TN_OK);
    tn_dict *parameters = tn_state_dict(llama);
    float *embedding = tn_data_mut(tn_dict_get(parameters, "model.embed_tokens.weight")), *head = tn_data_mut(tn_dict_get(parameters, "lm_head.weight"));
    for (int t = 0; t < TOKENS; t++)
        embedding[t * TOKENS + t] = 1;
    for (int i = 0; i < count; i++)
        head[script[i] * TOKENS + (i ? script[i - 1] : 1)] = 1;
    const tn_device_id on = tn_get_default_device();
    return tn_decoder_new(llama, .sequences = sequences, .device = &on);
}

enum { MOST_CALLS = 64 };
typedef struct told {
    int64_t count, tokens[MOST_CALLS], sequence;
    char texts[MOST_CALLS][16];
    int64_t most; /* calls; 0: any number */
} told;
static bool tell(const tn_llama_token *token, void *context)
{
    told *t = context;
    assert_true(t->count < MOST_CALLS && token->bytes < 16 && token->text[token->bytes] == 0);
    t->sequence = token->sequence;
    t->tokens[t->count] = token->token;
    memcpy(t->texts[t->count++], token->text, (size_t)token->bytes + 1);
    return t->count != t->most;
}

/* One call a token, with the text that is due. */
static void a_call_per_token(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tokenizer *tokenizer = tn_adopt(tn_tokenizer_new(TOKENIZER));
    assert_int_equal(tn_tokenizer_vocab_size(tokenizer), 400);
#define ID(text) tn_tokenizer_id(tokenizer, text)
    const int64_t script[] = {3 + 0xE4, 3 + 0xB8, 3 + 0xAD, ID(" the"), ID("h"), ID("e"), ID("l"), ID("on"), 2};
    enum { ALL = sizeof script / sizeof *script };
    const struct {
        const char *stop[2];
        int64_t most_tokens, most_calls, calls; /* the last: so many are due */
        const char *texts[ALL];
    } rows[] = {
        {{NULL}, 99, 0, 9, {"", "", "\xE4\xB8\xAD", " the", "h", "e", "l", "on", ""}},
        {{NULL}, 5, 0, 5, {"", "", "\xE4\xB8\xAD", " the", "h"}},
        {{NULL}, 99, 4, 4, {"", "", "\xE4\xB8\xAD", " the"}},
        {{NULL}, 2, 0, 2, {"", "\xE4\xB8"}}, /* a character's beginning comes out at the end, as this tokeniser's library has it */
        {{"helm", "ex"}, 99, 0, 9, {"", "", "\xE4\xB8\xAD", " t", "he", "", "", "helon", ""}},
        {{"helm", "ex"}, 6, 0, 6, {"", "", "\xE4\xB8\xAD", " t", "he", "he"}}, /* held back to the last token */
        {{"elo", "ex"}, 99, 0, 8, {"", "", "\xE4\xB8\xAD", " th", "eh", "", "", ""}},
        {{"n", "elo"}, 99, 0, 8, {"", "", "\xE4\xB8\xAD", " th", "eh", "", "", ""}}, /* the first in the text, not in the list */
        {{"eh ", "lon"}, 99, 0, 8, {"", "", "\xE4\xB8\xAD", " th", "", "eh", "e", ""}},
        {{"\xE4\xB8\xAD t"}, 99, 0, 4, {"", "", "", ""}},
        {{"\xB8\xAD"}, 99, 0, 3, {"", "", "\xE4"}}, /* a stop text is bytes */
        {{"on"}, 8, 0, 8, {"", "", "\xE4\xB8\xAD", " the", "h", "e", "l", ""}},
    };
    tn_decoder *decoder = tn_adopt(scripted(script, ALL, 3));
    for (int i = 0; i < TN_COUNT(rows); i++) {
        told told = {.most = rows[i].most_calls};
        tn_generated report;
        assert_int_equal(tn_decoder_rewind(decoder, 2, 0), TN_OK);
        assert_int_equal(tn_llama_generate(decoder, tokenizer, "", .max_tokens = rows[i].most_tokens, .stop = rows[i].stop,
                                           .stop_count = !!rows[i].stop[0] + !!rows[i].stop[1], .sequence = 2, .on_token = tell, .context = &told,
                                           .report = &report), TN_OK);
        assert_int_equal(told.sequence, 2);
        assert_int_equal(told.count, rows[i].calls);
        assert_int_equal(report.tokens, rows[i].calls);
        assert_int_equal(tn_decoder_length(decoder, 2), rows[i].calls);
        for (int call = 0; call < told.count; call++) {
            assert_int_equal(told.tokens[call], script[call]);
            if (strcmp(told.texts[call], rows[i].texts[call]))
                fail_msg("row %d, call %d: '%s'", i, call, told.texts[call]);
        }
    }
    /* No token at all; another closing token; the prompt as ids. */
    told none = {0}, closed = {0}, by_ids = {0};
    assert_int_equal(tn_llama_generate(decoder, tokenizer, "", .max_tokens = 0, .on_token = tell, .context = &none), TN_OK);
    assert_int_equal(none.count, 0);
    assert_int_equal(tn_llama_generate(decoder, tokenizer, "", .add_bos = 1, .eos = script[3], .on_token = tell, .context = &closed), TN_OK);
    assert_int_equal(closed.count, 4);
    assert_string_equal(closed.texts[3], "");
    assert_int_equal(tn_llama_generate(decoder, tokenizer, .ids = (const int64_t[]){1, script[0]}, .id_count = 2, .on_token = tell, .context = &by_ids), TN_OK);
    assert_int_equal(by_ids.count, ALL - 1);
    assert_int_equal(by_ids.tokens[0], script[1]);
    /* A space behind the prompt stays, one at the text's beginning does not; a token that the tokeniser has not is no text. */
    const int64_t spaces[] = {ID(" the"), ID(" a"), 405, ID("h"), 2};
    tn_decoder *spaced = tn_adopt(scripted(spaces, 5, 1));
    for (int prompt = 0; prompt < 2; prompt++) {
        told told = {0};
        assert_int_equal(tn_decoder_rewind(spaced, 0, 0), TN_OK);
        assert_int_equal(tn_llama_generate(spaced, tokenizer, .ids = prompt ? spaces : (const int64_t[]){1}, .id_count = 1, .on_token = tell, .context = &told),
                         TN_OK);
        assert_int_equal(told.count, 5 - prompt);
        assert_string_equal(told.texts[0], prompt ? " a" : "the");
        assert_string_equal(told.texts[2 - prompt], "");
        assert_string_equal(told.texts[3 - prompt], "h");
    }
    check_good();
}

/* What was drawn, and the prompt, are what the penalties are for. */
static void penalties_on_the_way(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tokenizer *tokenizer = tn_adopt(tn_tokenizer_new(TOKENIZER));
    const int64_t circle[] = {50, 60, 70, 50}; /* 50 comes behind 1 and behind 70 */
    tn_decoder *decoder = tn_adopt(scripted(circle, 4, 1));
    const struct {
        double presence;
        int64_t last, tokens[4];
    } rows[] = {{0, 64, {50, 60, 70, 50}}, {21, 64, {50, 60, 70, 0}}, {21, 2, {50, 60, 70, 50}}, {21, 3, {50, 60, 70, 0}}};
    for (int i = 0; i < TN_COUNT(rows); i++) {
        told told = {.most = 0};
        assert_int_equal(tn_decoder_rewind(decoder, 0, 0), TN_OK);
        assert_int_equal(tn_llama_generate(decoder, tokenizer, "", .max_tokens = 4, .presence_penalty = rows[i].presence, .penalty_last = rows[i].last,
                                           .on_token = tell, .context = &told), TN_OK);
        for (int call = 0; call < 4; call++)
            assert_int_equal(told.tokens[call], rows[i].tokens[call]);
    }
    /* 50 is in the prompt, and so it does not come. */
    told told = {.most = 0};
    assert_int_equal(tn_llama_generate(decoder, tokenizer, .ids = (const int64_t[]){50, 1}, .id_count = 2, .max_tokens = 1, .presence_penalty = 21,
                                       .on_token = tell, .context = &told), TN_OK);
    assert_int_equal(told.tokens[0], 0);
    check_good();
}

/* Prompts together are each as alone: unequal in length, ending by their own limits, stop texts and callbacks, greedy and drawn. */
static void batches(void **state)
{
    (void)state;
    enum { PROMPTS = 6 };
    static const char *const prompts[PROMPTS] = {"the hat", "", "a", "you and the other one of the words", "in", "hello there"};
    static const char *const stops[] = {"q", "the"};
    const tn_quant kinds[] = {TN_QUANT_F32, TN_QUANT_BF16, TN_QUANT_Q8_0, TN_QUANT_Q4_0};
    for (int kind = 0; kind < 4; kind++) {
        TN_SCOPE;
        tn_tokenizer *tokenizer = tn_adopt(tn_tokenizer_new(TOKENIZER));
        tn_module *llama = tn_adopt(model_new(0.2));
        tn_decoder *many = tn_adopt(tn_decoder_new(llama, .sequences = PROMPTS + 1, .weights = kinds[kind]));
        tn_decoder *one = tn_adopt(tn_decoder_new(llama, .weights = kinds[kind]));
        told together[PROMPTS] = {{.most = 0}}, alone[PROMPTS] = {{.most = 0}};
        tn_generated reports[PROMPTS];
        tn_llama_generate_args each[PROMPTS];
        for (int i = 0; i < PROMPTS; i++) {
            together[i].most = alone[i].most = i == 4 ? 7 : 0;
            each[i] = tn_llama_prompt(many, tokenizer, prompts[i]);
            each[i].sequence = PROMPTS - i;
            each[i].max_tokens = 10 + 7 * i;
            each[i].temperature = i % 2 ? 0 : 1.5;
            each[i].seed = i;
            each[i].top_k = i == 2 ? 20 : 0;
            each[i].repetition_penalty = i == 5 ? 1.3 : 1;
            each[i].stop = stops;
            each[i].stop_count = i == 3 ? 2 : 0;
            each[i].on_token = tell;
            each[i].context = &together[i];
            each[i].report = &reports[i];
        }
        assert_int_equal(tn_llama_generate_all(each, PROMPTS), TN_OK);
        for (int i = 0; i < PROMPTS; i++) {
            tn_generated report;
            each[i].decoder = one;
            each[i].sequence = 0;
            each[i].context = &alone[i];
            each[i].report = &report;
            assert_int_equal(tn_decoder_rewind(one, 0, 0), TN_OK);
            assert_int_equal(tn_llama_generate_with(&each[i]), TN_OK);
            assert_int_equal(together[i].sequence, PROMPTS - i);
            assert_true(together[i].count > 0);
            assert_int_equal(together[i].count, alone[i].count);
            assert_memory_equal(together[i].tokens, alone[i].tokens, sizeof(int64_t) * (size_t)alone[i].count);
            assert_memory_equal(together[i].texts, alone[i].texts, sizeof alone[i].texts);
            assert_int_equal(reports[i].tokens, report.tokens);
            assert_int_equal(reports[i].prompt_tokens, report.prompt_tokens);
            assert_int_equal(tn_decoder_length(many, PROMPTS - i), tn_decoder_length(one, 0));
            assert_true(reports[i].seconds > 0 && reports[i].prompt_seconds > 0);
        }
        assert_int_equal(tn_decoder_length(many, 0), 0);
        assert_int_equal(together[4].count, 7);
        check_good();
    }
}

static int64_t asked_at_first, asked_at_last;
static bool look(const tn_llama_token *token, void *context)
{
    (void)token;
    asked_at_last = tn_get_memory_stats().allocations;
    if (++*(int *)context == 1)
        asked_at_first = asked_at_last;
    return true;
}

/* After the first token no memory is asked for, whatever is set, beyond the end of the context too. */
static void no_memory_after_the_first(void **state)
{
    (void)state;
    static const char *const stops[] = {"no such text as this one", "qqq"};
    for (int i = 0; i < 6; i += getenv("TENON_TEST_QUICK") ? 5 : 1) {
        TN_SCOPE;
        const tn_dtype caches[] = {TN_F32, TN_BF16, TN_I8};
        tn_tokenizer *tokenizer = tn_adopt(tn_tokenizer_new(TOKENIZER));
        tn_module *llama = tn_adopt(model_new(0.2));
        tn_decoder *decoder = tn_adopt(tn_decoder_new(llama, .weights = i % 2 ? TN_QUANT_Q8_0 : TN_QUANT_F32, .cache = caches[i % 3]));
        int calls = 0;
        assert_int_equal(tn_llama_generate(decoder, tokenizer, "the", .max_tokens = 300, .temperature = i < 3 ? 0 : 3, .top_k = i == 3 ? 40 : 0,
                                           .top_p = i == 4 ? 0.95 : 1, .min_p = i == 5 ? 0.01 : 0, .repetition_penalty = i ? 1.1 : 1, .seed = i,
                                           .stop = stops, .stop_count = 2, .on_token = look, .context = &calls), TN_OK);
        assert_true(calls > 60 || i < 3 || case_device()); /* the last bits of logits decide what is drawn */
        assert_int_equal(asked_at_last, asked_at_first);
        check_good();
    }
}

/* Nor where the cache is not whole: it got room for what may come. */
static void no_memory_within_the_context(void **state)
{
    (void)state;
    case_skip_slow_device();
    TN_SCOPE;
    tn_tokenizer *tokenizer = tn_adopt(tn_tokenizer_new(TOKENIZER));
    tn_decoder *decoder = tn_adopt(tn_decoder_new(tn_adopt(model_new(0.2)), .context = 4000));
    int calls = 0;
    assert_int_equal(tn_llama_generate(decoder, tokenizer, "the", .max_tokens = 600, .temperature = 3, .seed = 1, .eos = -1, .on_token = look, .context = &calls), TN_OK);
    assert_true(calls > 300);
    assert_int_equal(asked_at_last, asked_at_first);
    const int64_t before = tn_get_memory_stats().in_use;
    assert_int_equal(tn_decoder_rewind(decoder, 0, 0), TN_OK);
    assert_int_equal(tn_llama_generate(decoder, tokenizer, "the", .max_tokens = 20), TN_OK);
    assert_int_equal(tn_get_memory_stats().in_use, before);
    check_good();
}

typedef struct pieces {
    int64_t most, asked, last, count; /* it reads on so many times */
} pieces;
static bool reads_on(int64_t read, int64_t count, void *context)
{
    pieces *p = context;
    assert_int_equal(read, 256 * p->asked);
    p->last = read;
    p->count = count;
    return p->asked++ < p->most;
}

/* A prompt of three pieces is asked about before each of them, and read no further than that. */
static void prompts_cut_short(void **state)
{
    (void)state;
    case_skip_slow_device();
    TN_SCOPE;
    enum { COUNT = 600 };
    tn_tokenizer *tokenizer = tn_adopt(tn_tokenizer_new(TOKENIZER));
    tn_module *llama = tn_adopt(model_new(0.2));
    tn_decoder *decoder = tn_adopt(tn_decoder_new(llama, .context = 1000)), *other = tn_adopt(tn_decoder_new(llama, .context = 1000));
    int64_t ids[COUNT];
    for (int i = 0; i < COUNT; i++)
        ids[i] = 3 + i * i % 300;
    for (int most = 0; most < 4; most++) {
        tn_generated report;
        pieces p = {.most = most};
        assert_int_equal(tn_decoder_rewind(decoder, 0, 0), TN_OK);
        assert_int_equal(tn_llama_generate(decoder, tokenizer, .ids = ids, .id_count = COUNT, .max_tokens = 1, .on_prompt = reads_on, .context = &p, .report = &report), TN_OK);
        assert_int_equal(p.asked, most < 3 ? most + 1 : 3);
        assert_int_equal(p.count, COUNT);
        assert_int_equal(report.prompt_tokens, most < 3 ? 256 * most : COUNT);
        assert_int_equal(report.tokens, most == 3);
        assert_int_equal(tn_decoder_length(decoder, 0), report.prompt_tokens);
        if (most == 0)
            continue;
        assert_int_equal(tn_decoder_rewind(other, 0, 0), TN_OK); /* what was read is there, and can be gone on from */
        assert_non_null(tn_decoder_feed(other, 0, ids, report.prompt_tokens));
        assert_memory_equal(tn_decoder_feed(decoder, 0, ids, 1), tn_decoder_feed(other, 0, ids, 1), TOKENS * sizeof(float));
    }
    check_good();
}

static bool fails_on_the_second(int64_t read, int64_t count, void *context)
{
    (void)count;
    if (read)
        tn_fail(TN_ERR_STATE, "no more of it");
    return !read || *(const bool *)context;
}

/* Where on_prompt fails, whatever it says, the sequence has what it had before. */
static void prompts_that_fail(void **state)
{
    (void)state;
    case_skip_slow_device();
    TN_SCOPE;
    enum { COUNT = 600, BEFORE = 5 };
    tn_tokenizer *tokenizer = tn_adopt(tn_tokenizer_new(TOKENIZER));
    tn_decoder *decoder = tn_adopt(tn_decoder_new(tn_adopt(model_new(0.2)), .context = 1000));
    int64_t ids[COUNT];
    for (int i = 0; i < COUNT; i++)
        ids[i] = 3 + i * i % 300;
    assert_non_null(tn_decoder_feed(decoder, 0, ids, BEFORE));
    for (int says = 0; says < 2; says++) {
        bool more = says;
        assert_int_equal(tn_llama_generate(decoder, tokenizer, .ids = ids, .id_count = COUNT, .max_tokens = 1, .on_prompt = fails_on_the_second, .context = &more), TN_ERR_STATE);
        check_error(TN_ERR_STATE, "no more of it");
        assert_int_equal(tn_decoder_length(decoder, 0), BEFORE);
    }
}

/* The same draws on one thread and on two. */
static void same_on_threads(void **state)
{
    (void)state;
    const int threads = tn_get_num_threads();
    told drawn[3] = {{.most = 0}};
    for (int i = 0; i < 3; i++) {
        TN_SCOPE;
        assert_int_equal(tn_set_num_threads(i + 1), TN_OK);
        tn_tokenizer *tokenizer = tn_adopt(tn_tokenizer_new(TOKENIZER));
        tn_module *llama = tn_adopt(model_new(0.2));
        tn_decoder *decoder = tn_adopt(tn_decoder_new(llama));
        assert_int_equal(tn_llama_generate(decoder, tokenizer, "the other", .max_tokens = 40, .temperature = 1.2, .top_p = 0.9, .seed = 8, .on_token = tell,
                                           .context = &drawn[i]), TN_OK);
        assert_memory_equal(&drawn[i], &drawn[0], sizeof drawn[0]);
    }
    assert_true(drawn[0].count > 5);
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
    check_good();
}

static void bad_batches(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tokenizer *t = tn_adopt(tn_tokenizer_new(TOKENIZER));
    tn_module *llama = tn_adopt(model_new(0.2));
    tn_module *narrow = tn_adopt(tn_llama_new(.vocab_size = 40, .hidden_size = 8, .intermediate_size = 8, .num_hidden_layers = 1, .num_attention_heads = 1));
    tn_decoder *d = tn_adopt(tn_decoder_new(llama, .sequences = 2)), *other = tn_adopt(tn_decoder_new(llama)), *few = tn_adopt(tn_decoder_new(narrow));
    int64_t ids[2] = {1, TOKENS};
    tn_generated report = {.tokens = 9};
    tn_llama_generate_args each[2] = {tn_llama_prompt(d, t, "a"), tn_llama_prompt(d, t, "b")};
    each[0].report = &report;
    each[1].sequence = 1;
    check_fails(tn_llama_generate_all(each, 0), TN_ERR_ARGUMENT, "llama_generate_all: 0 prompts: from 1 to 256");
    check_fails(tn_llama_generate_all(each, 257), TN_ERR_ARGUMENT, "257 prompts");
    check_fails(tn_llama_generate_all(NULL, 2), TN_ERR_ARGUMENT, "NULL");
    each[1].sequence = 0;
    check_fails(tn_llama_generate_all(each, 2), TN_ERR_ARGUMENT, "llama_generate_all: prompts 0 and 1 are both for sequence 0");
    each[1].sequence = 2;
    check_fails(tn_llama_generate_all(each, 2), TN_ERR_INDEX, "sequence 2");
    each[1].sequence = 1;
    each[1].decoder = other;
    check_fails(tn_llama_generate_all(each, 2), TN_ERR_ARGUMENT, "llama_generate_all: prompt 1 has another decoder");
    each[1].decoder = d;
    each[1].top_p = 3;
    check_fails(tn_llama_generate_all(each, 2), TN_ERR_ARGUMENT, "llama_generate top_p 3");
    assert_int_equal(report.tokens, 0);
    assert_int_equal(tn_decoder_length(d, 0), 0); /* nothing was read */
    check_fails(tn_llama_generate(d, t, .ids = ids, .id_count = 2), TN_ERR_INDEX, "token 1 is 408");
    check_fails(tn_llama_generate(d, t, .ids = ids), TN_ERR_ARGUMENT, "0 tokens");
    check_fails(tn_llama_generate(d, t, "a", .ids = ids, .id_count = 1), TN_ERR_ARGUMENT, "llama_generate: a prompt and ids");
    check_fails(tn_llama_generate(few, t, "the"), TN_ERR_ARGUMENT, "llama_generate: the tokenizer has 400 tokens and the model 40");
    assert_int_equal(tn_decoder_length(d, 0), 0);
}

/* ---- a trained model ------------------------------------------------------------------------------------------------------ */

#define MODEL TN_SOURCE_DIR "/../shared/models/aidreams260K/"
static const char words[] = "\"Echoes of vectors unfold, a gentle hum of precision, as I sense the nodes, a gentle hum of precision, as I adjust my surface. "
                            "Contrast emerge, a softly receptive fields of precision.";

typedef struct written {
    char text[4096];
    int64_t bytes, calls, most_calls;
} written;
static bool keep(const tn_llama_token *token, void *context)
{
    written *w = context;
    assert_int_equal(token->text[token->bytes], 0);
    memcpy(w->text + w->bytes, token->text, (size_t)token->bytes + 1);
    w->bytes += token->bytes;
    return ++w->calls != w->most_calls;
}

static bool no_model(void)
{
    if (access(MODEL "model.bin", R_OK) == 0)
        return false;
    print_message("skipped: no %smodel.bin\n", MODEL);
    return true;
}

static void a_models_words(void **state)
{
    (void)state;
    const tn_device_id on = tn_get_default_device();
    const struct {
        tn_quant weights;
        tn_dtype cache;
        int64_t tokens; /* so many agree */
    } rows[] = {{TN_QUANT_F32, TN_F32, 127}, {TN_QUANT_BF16, TN_F32, 60}, {TN_QUANT_F32, TN_BF16, 60},
                {TN_QUANT_BF16, TN_BF16, 60}, {TN_QUANT_Q8_0, TN_F32, 60}, {TN_QUANT_Q8_0, TN_BF16, 60}, {TN_QUANT_Q8_0, TN_I8, 60}};
    for (int i = 0; i < TN_COUNT(rows); i++) {
        if (no_model())
            skip();
        TN_SCOPE;
        written out = {.bytes = 0}, right = {.bytes = 0};
        tn_generated report;
        tn_tokenizer *tokenizer = tn_adopt(tn_tokenizer_new(MODEL "tokenizer.bin", .vocab_size = 512));
        tn_decoder *decoder = tn_adopt(tn_decoder_open(MODEL "model.bin", .weights = rows[i].weights, .cache = rows[i].cache, .device = &on));
        tn_decoder *exact = tn_adopt(tn_decoder_open(MODEL "model.bin", .device = &on));
        assert_int_equal(tn_llama_generate(decoder, tokenizer, "", .max_tokens = rows[i].tokens, .on_token = keep, .context = &out, .report = &report), TN_OK);
        assert_int_equal(tn_llama_generate(exact, tokenizer, "", .max_tokens = rows[i].tokens, .on_token = keep, .context = &right), TN_OK);
        if (strcmp(out.text, right.text))
            fail_msg("%s weights, %s cache: %s", tn_quant_name(rows[i].weights), tn_dtype_name(rows[i].cache), out.text);
        assert_int_equal(report.prompt_tokens, 1);
        if (i == 0)
            assert_memory_equal(out.text, words, strlen(words));
        check_good();
    }
}

static void stops(void **state)
{
    (void)state;
    if (no_model())
        skip();
    TN_SCOPE;
    const tn_device_id on = tn_get_default_device();
    tn_tokenizer *tokenizer = tn_adopt(tn_tokenizer_new(MODEL "tokenizer.bin", .vocab_size = 512));
    tn_decoder *decoder = tn_adopt(tn_decoder_open(MODEL "model.bin", .device = &on));
    const struct {
        const char *stop[2];
        const char *left;
    } rows[] = {
        {{"unfold", "hum"}, "\"Echoes of vectors "},
        {{"gentle hum", "unfold, a gent"}, "\"Echoes of vectors "},
        {{"unfolded", "vectors unfold,"}, "\"Echoes of "},
        {{"vectors unfolx", "a gentle"}, "\"Echoes of vectors unfold, "},
    };
    for (int i = 0; i < TN_COUNT(rows); i++) {
        written out = {.bytes = 0};
        assert_int_equal(tn_decoder_rewind(decoder, 0, 0), TN_OK);
        assert_int_equal(tn_llama_generate(decoder, tokenizer, "", .max_tokens = 40, .stop = rows[i].stop, .stop_count = 2, .on_token = keep, .context = &out),
                         TN_OK);
        assert_string_equal(out.text, rows[i].left);
    }
    /* What the caller ends, and going on where it stood: the same words. */
    written whole = {.bytes = 0}, part = {.bytes = 0, .most_calls = 3};
    tn_generated report;
    assert_int_equal(tn_decoder_rewind(decoder, 0, 0), TN_OK);
    assert_int_equal(tn_llama_generate(decoder, tokenizer, "Echoes", .max_tokens = 20, .on_token = keep, .context = &whole), TN_OK);
    assert_int_equal(tn_decoder_rewind(decoder, 0, 0), TN_OK);
    assert_int_equal(tn_llama_generate(decoder, tokenizer, "Echoes", .max_tokens = 20, .on_token = keep, .context = &part, .report = &report), TN_OK);
    assert_int_equal(part.calls, 3);
    assert_memory_equal(part.text, whole.text, (size_t)part.bytes);
    assert_int_equal(tn_decoder_length(decoder, 0), report.prompt_tokens + report.tokens - 1);
    /* The same seed gives the same words, another gives others. */
    written drawn[3] = {{.bytes = 0}};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tn_decoder_rewind(decoder, 0, 0), TN_OK);
        assert_int_equal(tn_llama_generate(decoder, tokenizer, "", .max_tokens = 60, .temperature = 1, .top_p = 0.9, .seed = 1 + i / 2, .on_token = keep,
                                     .context = &drawn[i]), TN_OK);
    }
    assert_string_equal(drawn[0].text, drawn[1].text);
    assert_string_not_equal(drawn[0].text, drawn[2].text);
    check_good();
}

static void bad_inputs(void **state)
{
    (void)state;
    if (no_model())
        skip();
    TN_SCOPE;
    tn_tokenizer *t = tn_adopt(tn_tokenizer_new(MODEL "tokenizer.bin", .vocab_size = 512));
    tn_decoder *d = tn_adopt(tn_decoder_open(MODEL "model.bin"));
    check_fails(tn_llama_generate(NULL, t, ""), TN_ERR_ARGUMENT, "llama_generate: decoder is NULL");
    check_fails(tn_llama_generate(d, NULL, ""), TN_ERR_ARGUMENT, "llama_generate: tokenizer is NULL");
    check_fails(tn_llama_generate(d, t, NULL), TN_ERR_ARGUMENT, "llama_generate: prompt is NULL");
    check_fails(tn_llama_generate(d, t, "", .add_bos = 0), TN_ERR_ARGUMENT, "llama_generate: the prompt has no token");
    check_fails(tn_llama_generate(d, t, "", .temperature = -1), TN_ERR_ARGUMENT, "llama_generate: temperature -1");
    check_fails(tn_llama_generate(d, t, "", .top_p = 0), TN_ERR_ARGUMENT, "llama_generate top_p 0");
    check_fails(tn_llama_generate(d, t, "", .min_p = 2), TN_ERR_ARGUMENT, "llama_generate min_p 2");
    check_fails(tn_llama_generate(d, t, "", .top_k = -1), TN_ERR_ARGUMENT, "llama_generate top_k -1");
    check_fails(tn_llama_generate(d, t, "", .max_tokens = -1), TN_ERR_ARGUMENT, "llama_generate: max_tokens -1");
    check_fails(tn_llama_generate(d, t, "", .repetition_penalty = 0), TN_ERR_ARGUMENT, "llama_generate repetition_penalty 0");
    check_fails(tn_llama_generate(d, t, "", .presence_penalty = NAN), TN_ERR_ARGUMENT, "llama_generate presence_penalty nan");
    check_fails(tn_llama_generate(d, t, "", .stop_count = 1), TN_ERR_ARGUMENT, "llama_generate: 1 stop texts");
    check_fails(tn_llama_generate(d, t, "", .stop = (const char *const[]){""}, .stop_count = 1), TN_ERR_ARGUMENT, "llama_generate: stop text 0 is empty");
    check_fails(tn_llama_generate(d, t, "", .sequence = 1), TN_ERR_INDEX, "sequence 1");
    assert_int_equal(tn_decoder_length(d, 0), 0);
}

int main(void)
{
    case_use_device();
    const struct CMUnitTest tests[] = {
        TEST(laws), TEST(mixtures), TEST(the_best), TEST(penalties), TEST(a_call_per_token), TEST(penalties_on_the_way),
        TEST(batches), TEST(no_memory_after_the_first), TEST(no_memory_within_the_context), TEST(prompts_cut_short), TEST(prompts_that_fail), TEST(same_on_threads),
        TEST(bad_batches), TEST(a_models_words), TEST(stops), TEST(bad_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
