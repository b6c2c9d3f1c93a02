/* A decoder's steps on a CUDA device, recorded as graphs and replayed, beside those that are not: the same bits, whatever the sequences hold by then. */
#include "check.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include <tenon/decoder.h>

#include "core/core.h"

enum { VOCAB = 40, LAYERS = 2, PROMPT = 9, STEPS = 20 };
#define SIZES .vocab_size = VOCAB, .hidden_size = 48, .intermediate_size = 80, .num_hidden_layers = LAYERS, .initializer_range = 0.3, .num_attention_heads = 4

static const tn_device_id cuda0 = {TN_CUDA, 0};

static void needs_device(void)
{
    if (!tn_cuda_available()) {
        print_message("skipped: no CUDA device\n");
        skip();
    }
}

static int64_t token_at(int64_t i) { return (i * i * 7 + 3 * i + 1) % VOCAB; }

static tn_module *model_of(int which)
{
    tn_manual_seed(4);
    return tn_adopt(which == 0   ? tn_llama_new(SIZES, .tie_word_embeddings = true)
                    : which == 1 ? tn_llama_new(SIZES, .num_key_value_heads = 2, .qk_norm = true, .attention_bias = true, .head_dim = 24)
                                 : tn_llama_new(SIZES, .sliding_window = 5, .full_layers = {{1}}));
}

/* Two decoders there of which one records its steps, and what they were given alike. */
typedef struct twins {
    tn_decoder *plain, *recorded;
} twins;

static twins twins_of(tn_module *llama, tn_quant weights, tn_dtype cache, int64_t context)
{
    twins t;
    t.plain = tn_adopt(tn_decoder_new(llama, .weights = weights, .cache = cache, .context = context, .sequences = 4, .device = &cuda0, .capture = false));
    t.recorded = tn_adopt(tn_decoder_new(llama, .weights = weights, .cache = cache, .context = context, .sequences = 4, .device = &cuda0));
    check_good();
    return t;
}

static void same(const float *a, const float *b, int64_t rows)
{
    check_good();
    assert_non_null(a);
    assert_non_null(b);
    for (int64_t i = 0; i < rows * VOCAB; i++)
        assert_true(isfinite(a[i]));
    assert_memory_equal(a, b, (size_t)(rows * VOCAB) * sizeof(float));
}

static void feed(twins t, int64_t sequence, int64_t from, int64_t count)
{
    int64_t tokens[64];
    for (int64_t i = 0; i < count; i++)
        tokens[i] = token_at(from + i);
    same(tn_decoder_feed(t.plain, sequence, tokens, count), tn_decoder_feed(t.recorded, sequence, tokens, count), 1);
}

static void step(twins t, const int64_t *sequences, int64_t count, int64_t at)
{
    int64_t tokens[4];
    for (int64_t i = 0; i < count; i++)
        tokens[i] = token_at(at + 5 * i);
    same(tn_decoder_step(t.plain, sequences, tokens, count), tn_decoder_step(t.recorded, sequences, tokens, count), count);
}

/* How many kernels this process asked the emulated device for; -1 on a real one. */
static long long launches(void)
{
    char path[1000];
    const char *folders = getenv("TENON_CUDA_PATH");
    long long (*count)(void) = NULL;
    snprintf(path, sizeof path, "%.*s/libtenon_cuda.so", (int)strcspn(folders ? folders : "", ":"), folders ? folders : "");
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD), *symbol = library ? dlsym(library, "cuda_on_cpu_launches") : NULL;
    memcpy(&count, &symbol, sizeof count);
    return count ? count() : -1;
}

static long long launches_of_feed(tn_decoder *decoder, int64_t token)
{
    const long long before = launches();
    assert_non_null(tn_decoder_feed(decoder, 0, &token, 1));
    return launches() - before;
}

/* Token after token, the cache growing, every kind of weights. */
static void growing_caches(void **state)
{
    (void)state;
    needs_device();
    static const struct {
        int model;
        tn_quant weights;
        tn_dtype cache;
    } rows[] = {{0, TN_QUANT_F32, TN_F32}, {1, TN_QUANT_F32, TN_BF16}, {0, TN_QUANT_BF16, TN_BF16}, {1, TN_QUANT_Q8_0, TN_I8}, {2, TN_QUANT_F16, TN_F32}};
    for (int r = 0; r < TN_COUNT(rows); r++) {
        TN_SCOPE;
        const twins t = twins_of(model_of(rows[r].model), rows[r].weights, rows[r].cache, 0);
        feed(t, 0, 0, PROMPT);
        for (int64_t i = 0; i < STEPS; i++)
            feed(t, 0, PROMPT + i, 1);
        assert_int_equal(tn_decoder_length(t.recorded, 0), PROMPT + STEPS);
    }
}

/* Nothing but one graph is asked for; and without it no more kernels for four sequences than for one. */
static void few_launches(void **state)
{
    (void)state;
    needs_device();
    if (launches() < 0)
        skip();
    TN_SCOPE;
    const twins t = twins_of(model_of(0), TN_QUANT_F32, TN_F32, 0);
    const int64_t all[] = {0, 1, 2, 3}, tokens[] = {1, 2, 3, 4};
    assert_int_equal(launches_of_feed(t.plain, 3), 9 * LAYERS + 3);
    const long long before = launches();
    assert_non_null(tn_decoder_step(t.plain, all, tokens, 4));
    assert_int_equal(launches() - before, 9 * LAYERS + 3);
    assert_int_equal(launches_of_feed(t.recorded, 3), 9 * LAYERS + 3); /* as usual */
    assert_int_equal(launches_of_feed(t.recorded, 5), 9 * LAYERS + 3); /* recorded */
    for (int i = 0; i < 3; i++)
        assert_int_equal(launches_of_feed(t.recorded, 7 + i), 0);
    check_good();
}

/* Sequences of unequal lengths together, others and fewer of them by turns. */
static void unequal_batches(void **state)
{
    (void)state;
    needs_device();
    TN_SCOPE;
    const twins t = twins_of(model_of(1), TN_QUANT_F32, TN_F32, 0);
    static const int64_t orders[][4] = {{0, 1, 2, 3}, {3, 0, 2, 1}, {1, 3, 0, 2}};
    for (int64_t s = 0; s < 4; s++)
        feed(t, s, 11 * s, 1 + 4 * s);
    for (int64_t i = 0; i < STEPS; i++)
        step(t, orders[i % 3], i < 6 ? 4 : 2 + i / 3 % 3, 60 + i);
}

/* Contexts that are too short, and a sliding window in one of two layers: their caches roll. */
static void rolling_windows(void **state)
{
    (void)state;
    needs_device();
    static const tn_dtype caches[] = {TN_F32, TN_I8};
    for (int r = 0; r < TN_COUNT(caches); r++) {
        TN_SCOPE;
        const twins t = twins_of(model_of(2), TN_QUANT_F32, caches[r], 7);
        feed(t, 1, 0, 3);
        for (int64_t i = 0; i < STEPS; i++)
            feed(t, 1, 3 + i, 1);
        feed(t, 1, 30, PROMPT); /* more than is remembered, at once */
        feed(t, 1, 50, 1);
        feed(t, 1, 51, 1);
        for (int64_t i = 0; i < 10; i += 2) { /* pairs, which go one after the other from where they roll: no step */
            const int64_t tokens[] = {token_at(i), token_at(i + 1)};
            same(tn_decoder_feed_all(t.plain, 2, tokens, 2), tn_decoder_feed_all(t.recorded, 2, tokens, 2), 2);
        }
    }
}

/* Texts one after another from one decoder, longer ones for which it takes other memory, and ones that go on from what was taken back. */
static void many_generations(void **state)
{
    (void)state;
    needs_device();
    const int64_t before = tn_get_device_memory_stats(cuda0).in_use;
    {
        TN_SCOPE;
        const twins t = twins_of(model_of(0), TN_QUANT_BF16, TN_F32, 0);
        static const int64_t kept[] = {0, 0, 3, 0}, prompts[] = {2, 40, 5, 64};
        for (int text = 0; text < TN_COUNT(kept); text++) {
            assert_int_equal(tn_decoder_rewind(t.plain, 2, kept[text]), TN_OK);
            assert_int_equal(tn_decoder_rewind(t.recorded, 2, kept[text]), TN_OK);
            feed(t, 2, 13 * text, prompts[text]);
            for (int64_t i = 0; i < 6; i++)
                feed(t, 2, 13 * text + prompts[text] + i, 1);
        }
        if (launches() >= 0) /* more sequences than before take other memory as well: what was recorded of the old is not replayed */
            assert_int_equal(launches_of_feed(t.recorded, 1), 0);
        step(t, (int64_t[]){2, 1, 3}, 3, 7);
        feed(t, 2, 3, 1);
    }
    assert_int_equal(tn_get_device_memory_stats(cuda0).in_use, before);
}

/* A cache that cannot be moved to a larger block stays what it is, and so do the recorded steps over it; the larger one is given back. */
static void caches_that_stay(void **state)
{
    (void)state;
    needs_device();
    if (launches() < 0) /* on the emulated device alone such a copy can be made to fail */
        skip();
    enum { ROOM = 1024 }; /* which the model's context has and the first cache has not */
    TN_SCOPE;
    const twins t = twins_of(model_of(0), TN_QUANT_F32, TN_I8, 0);
    feed(t, 0, 0, PROMPT);
    for (int64_t i = 0; i < 3; i++)
        feed(t, 0, PROMPT + i, 1);
    const int64_t before = tn_get_device_memory_stats(cuda0).in_use;
    assert_int_equal(setenv("TENON_CUDA_EMULATED_NO_PEER_COPY", "1", 1), 0);
    const tn_status status = tn_decoder_reserve(t.recorded, ROOM);
    assert_int_equal(unsetenv("TENON_CUDA_EMULATED_NO_PEER_COPY"), 0);
    assert_int_equal(status, TN_ERR_DEVICE);
    check_error(TN_ERR_DEVICE, "copy: cuda:0");
    assert_int_equal(tn_get_device_memory_stats(cuda0).in_use, before);
    assert_int_equal(launches_of_feed(t.recorded, 1), 0);
    assert_int_equal(tn_decoder_rewind(t.recorded, 0, PROMPT + 3), TN_OK);
    feed(t, 0, PROMPT + 3, 1);
    assert_int_equal(tn_decoder_reserve(t.recorded, ROOM), TN_OK);
    assert_true(tn_get_device_memory_stats(cuda0).in_use > before);
    feed(t, 0, PROMPT + 4, 1);
}

/* Where recording is refused steps are done as they were; within a caller's own graph they are an error. */
static void refused(void **state)
{
    (void)state;
    needs_device();
    TN_SCOPE;
    const twins t = twins_of(model_of(0), TN_QUANT_F32, TN_F32, 0);
    assert_int_equal(setenv("TENON_CUDA_EMULATED_NO_CAPTURE", "1", 1), 0);
    for (int64_t i = 0; i < 5; i++)
        feed(t, 0, i, 1);
    assert_int_equal(unsetenv("TENON_CUDA_EMULATED_NO_CAPTURE"), 0);
    feed(t, 0, 5, 1);
    if (launches() >= 0) { /* it is not asked for again */
        assert_int_equal(launches_of_feed(t.recorded, 1), 9 * LAYERS + 3);
        assert_int_equal(launches_of_feed(t.plain, 1), 9 * LAYERS + 3);
    }
    tn_graph *graph = tn_adopt(tn_graph_new(cuda0));
    {
        const int64_t token = 1;
        TN_CAPTURE(graph);
        assert_null(tn_decoder_feed(t.plain, 0, &token, 1));
        check_error(TN_ERR_STATE, "decoder: while a graph is captured from cuda:0");
    }
    assert_int_equal(tn_decoder_length(t.plain, 0), tn_decoder_length(t.recorded, 0));
    feed(t, 0, 6, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(growing_caches), TEST(few_launches), TEST(unequal_batches), TEST(rolling_windows), TEST(many_generations), TEST(caches_that_stay), TEST(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
