/* Writing text: the choice of tokens against its law, stop texts, penalties, and a trained model's own words.
 * labels: quick */
#include "op_table.h"

#include <math.h>
#include <unistd.h>

#include "models/sample.h"

enum { VOCAB = 6, DRAWS = 20000 };
static const float logits[VOCAB] = {1, 3, 2, -1, 3, 0};

/* The share of each token in many draws. */
static void shares(const tn_generate_args *how, double *share)
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
static void check_law(tn_generate_args how, const int *kept)
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

static tn_generate_args drawn(double temperature, int64_t top_k, double top_p, double min_p)
{
    return (tn_generate_args){.size = sizeof(tn_generate_args), .temperature = temperature, .top_k = top_k, .top_p = top_p, .min_p = min_p,
                              .repetition_penalty = 1, .seed = 11};
}
static tn_generate_args penalised(double repetition, double presence, int64_t last)
{
    return (tn_generate_args){.size = sizeof(tn_generate_args), .top_p = 1, .repetition_penalty = repetition, .presence_penalty = presence,
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

static void the_best(void **state)
{
    (void)state;
    tn_chooser chooser;
    assert_true(tn_chooser_make(&chooser, (tn_generate_args[]){drawn(0, 0, 1, 0)}, VOCAB));
    assert_int_equal(tn_choose(&chooser, logits), 1); /* the first of equals */
    tn_chooser_done(&chooser);
    const float odd[VOCAB] = {0, NAN, 1, 2, 3, INFINITY};
    assert_true(tn_chooser_make(&chooser, (tn_generate_args[]){drawn(1, 0, 1, 0)}, VOCAB));
    assert_in_range(tn_choose(&chooser, odd), 0, VOCAB - 1);
    tn_chooser_done(&chooser);
}

static void penalties(void **state)
{
    (void)state;
    tn_chooser chooser;
    assert_true(tn_chooser_make(&chooser, (tn_generate_args[]){penalised(1.6, 0, 2)}, VOCAB));
    tn_chooser_saw(&chooser, 1);
    assert_int_equal(tn_choose(&chooser, logits), 4); /* 3 / 1.6 */
    tn_chooser_saw(&chooser, 4);
    assert_int_equal(tn_choose(&chooser, logits), 2);
    tn_chooser_saw(&chooser, 4); /* 1 is forgotten */
    assert_int_equal(tn_choose(&chooser, logits), 1);
    tn_chooser_done(&chooser);
    const float low[VOCAB] = {-1, -1.5f, -9, -9, -9, -9};
    assert_true(tn_chooser_make(&chooser, (tn_generate_args[]){penalised(2, 0, 64)}, VOCAB));
    tn_chooser_saw(&chooser, 0);
    assert_int_equal(tn_choose(&chooser, low), 1); /* -1 becomes -2 */
    tn_chooser_done(&chooser);
    assert_true(tn_chooser_make(&chooser, (tn_generate_args[]){penalised(1, 0.6, 64)}, VOCAB));
    tn_chooser_saw(&chooser, 0);
    tn_chooser_saw(&chooser, 0); /* once, not twice */
    assert_int_equal(tn_choose(&chooser, low), 1);
    tn_chooser_done(&chooser);
}

/* ---- a trained model ------------------------------------------------------------------------------------------------------ */

#define MODEL TN_SOURCE_DIR "/../shared/models/aidreams260K/"
static const char words[] = "\"Echoes of vectors unfold, a gentle hum of precision, as I sense the nodes, a gentle hum of precision, as I adjust my surface. "
                            "Contrast emerge, a softly receptive fields of precision.";

typedef struct written {
    char text[4096];
    int64_t bytes, calls, most_calls;
} written;
static bool keep(const char *text, int64_t bytes, void *context)
{
    written *w = context;
    memcpy(w->text + w->bytes, text, (size_t)bytes);
    w->bytes += bytes;
    w->text[w->bytes] = 0;
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
        tn_decoder *decoder = tn_adopt(tn_decoder_open(MODEL "model.bin", .weights = rows[i].weights, .cache = rows[i].cache));
        tn_decoder *exact = tn_adopt(tn_decoder_open(MODEL "model.bin"));
        assert_int_equal(tn_generate(decoder, tokenizer, "", .max_tokens = rows[i].tokens, .on_text = keep, .context = &out, .report = &report), TN_OK);
        assert_int_equal(tn_generate(exact, tokenizer, "", .max_tokens = rows[i].tokens, .on_text = keep, .context = &right), TN_OK);
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
    tn_tokenizer *tokenizer = tn_adopt(tn_tokenizer_new(MODEL "tokenizer.bin", .vocab_size = 512));
    tn_decoder *decoder = tn_adopt(tn_decoder_open(MODEL "model.bin"));
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
        assert_int_equal(tn_generate(decoder, tokenizer, "", .max_tokens = 40, .stop = rows[i].stop, .stop_count = 2, .on_text = keep, .context = &out),
                         TN_OK);
        assert_string_equal(out.text, rows[i].left);
    }
    /* What the caller ends, and going on where it stood: the same words. */
    written whole = {.bytes = 0}, part = {.bytes = 0, .most_calls = 3};
    tn_generated report;
    assert_int_equal(tn_decoder_rewind(decoder, 0, 0), TN_OK);
    assert_int_equal(tn_generate(decoder, tokenizer, "Echoes", .max_tokens = 20, .on_text = keep, .context = &whole), TN_OK);
    assert_int_equal(tn_decoder_rewind(decoder, 0, 0), TN_OK);
    assert_int_equal(tn_generate(decoder, tokenizer, "Echoes", .max_tokens = 20, .on_text = keep, .context = &part, .report = &report), TN_OK);
    assert_int_equal(part.calls, 3);
    assert_memory_equal(part.text, whole.text, (size_t)part.bytes);
    assert_int_equal(tn_decoder_length(decoder, 0), report.prompt_tokens + report.tokens - 1);
    /* The same seed gives the same words, another gives others. */
    written drawn[3] = {{.bytes = 0}};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tn_decoder_rewind(decoder, 0, 0), TN_OK);
        assert_int_equal(tn_generate(decoder, tokenizer, "", .max_tokens = 60, .temperature = 1, .top_p = 0.9, .seed = 1 + i / 2, .on_text = keep,
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
    check_fails(tn_generate(NULL, t, ""), TN_ERR_ARGUMENT, "generate: decoder is NULL");
    check_fails(tn_generate(d, NULL, ""), TN_ERR_ARGUMENT, "generate: tokenizer is NULL");
    check_fails(tn_generate(d, t, NULL), TN_ERR_ARGUMENT, "generate: prompt is NULL");
    check_fails(tn_generate(d, t, "", .add_bos = 0), TN_ERR_ARGUMENT, "generate: the prompt has no token");
    check_fails(tn_generate(d, t, "", .temperature = -1), TN_ERR_ARGUMENT, "generate: temperature -1");
    check_fails(tn_generate(d, t, "", .top_p = 0), TN_ERR_ARGUMENT, "generate top_p 0");
    check_fails(tn_generate(d, t, "", .min_p = 2), TN_ERR_ARGUMENT, "generate min_p 2");
    check_fails(tn_generate(d, t, "", .top_k = -1), TN_ERR_ARGUMENT, "generate top_k -1");
    check_fails(tn_generate(d, t, "", .max_tokens = -1), TN_ERR_ARGUMENT, "generate: max_tokens -1");
    check_fails(tn_generate(d, t, "", .repetition_penalty = 0), TN_ERR_ARGUMENT, "generate repetition_penalty 0");
    check_fails(tn_generate(d, t, "", .presence_penalty = NAN), TN_ERR_ARGUMENT, "generate presence_penalty nan");
    check_fails(tn_generate(d, t, "", .stop_count = 1), TN_ERR_ARGUMENT, "generate: 1 stop texts");
    check_fails(tn_generate(d, t, "", .stop = (const char *const[]){""}, .stop_count = 1), TN_ERR_ARGUMENT, "generate: stop text 0 is empty");
    check_fails(tn_generate(d, t, "", .sequence = 1), TN_ERR_INDEX, "sequence 1");
    assert_int_equal(tn_decoder_length(d, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(laws), TEST(the_best), TEST(penalties), TEST(a_models_words), TEST(stops), TEST(bad_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
