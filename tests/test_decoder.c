/* A decoder beside the module that it was made of: whole prompts, token by token, batches, every kind of weights and of cache.
 * labels: isa, threads, quick */
#include "op_table.h"

#include <math.h>

#include <tenon/decoder.h>

#include "core/core.h"
#include "models/decoder.h"

enum { VOCAB = 50, LENGTH = 21 };
#define SIZES .vocab_size = VOCAB, .hidden_size = 48, .intermediate_size = 80, .num_hidden_layers = 2, .initializer_range = 0.3

static tn_module *configured(int which)
{
    switch (which) {
    case 0: return tn_llama_new(SIZES, .num_attention_heads = 6);
    case 1: return tn_llama_new(SIZES, .num_attention_heads = 6, .num_key_value_heads = 2, .tie_word_embeddings = true);
    case 2: return tn_llama_new(SIZES, .num_attention_heads = 6, .num_key_value_heads = 1, .rope_interleaved = true);
    case 3: return tn_llama_new(SIZES, .num_attention_heads = 4, .head_dim = 16, .rope_factor = 8, .rope_original_length = 24, .rope_theta = 5000);
    case 4: return tn_llama_new(SIZES, .num_attention_heads = 4, .num_key_value_heads = 2, .attention_bias = true);
    case 5: return tn_llama_new(SIZES, .num_attention_heads = 4, .num_key_value_heads = 2, .qk_norm = true, .head_dim = 24);
    case 6: return tn_llama_new(SIZES, .num_attention_heads = 4, .sliding_window = 5);
    case 7: return tn_llama_new(SIZES, .num_attention_heads = 4, .num_key_value_heads = 2, .sliding_window = 5, .full_layers = {{1}});
    default: return NULL;
    }
}

/* Biases and norms are not what they begin as, so that one that is left out shows. */
static tn_module *model_of(int which)
{
    tn_manual_seed((uint64_t)which + 1);
    tn_module *llama = configured(which);
    if (!llama)
        return NULL;
    TN_NO_GRAD;
    const tn_dict *all = tn_named_parameters(llama);
    for (int64_t i = 0; i < tn_dict_count(all); i++)
        if (tn_ndim(tn_dict_tensor(all, i)) == 1)
            tn_init_uniform(tn_dict_tensor(all, i), 0.5, 1.5);
    return tn_adopt(llama);
}

static int64_t tokens[LENGTH];
static void fill_tokens(void)
{
    for (int i = 0; i < LENGTH; i++)
        tokens[i] = (i * i * 7 + 3 * i + 1) % VOCAB;
}

static tn_tensor *here(tn_tensor *x) { return tn_to(x, (tn_device_id){TN_CPU, 0}); }

/* The module's logits of all tokens [LENGTH, VOCAB]. */
static const float *expected(tn_module *llama)
{
    TN_NO_GRAD;
    tn_tensor *ids = tn_to(tn_from_ints(tokens, TN_SHAPE(LENGTH)), tn_get_default_device());
    return tn_data(here(tn_contiguous(tn_call(llama, ids))));
}

/* The largest difference, in parts of the largest logit. */
static double difference(const float *a, const float *b, int64_t count)
{
    double most = 0, worst = 0;
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)b[i]));
        worst = fmax(worst, isfinite(a[i]) ? fabs((double)a[i] - (double)b[i]) : INFINITY);
    }
    return worst / most;
}

/* The root of the squared differences' share of the squares. */
static double distance(const float *a, const float *b, int64_t count)
{
    double off = 0, all = 0;
    for (int64_t i = 0; i < count; i++) {
        off += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)b[i] * b[i];
    }
    return sqrt(off / all);
}

static void prompts_and_tokens(void **state)
{
    (void)state;
    fill_tokens();
    for (int which = case_slow_device() ? 4 : 0;; which++) {
        TN_SCOPE;
        tn_module *llama = model_of(which);
        if (!llama)
            break;
        const float *right = expected(llama);
        tn_decoder *whole = tn_adopt(tn_decoder_new(llama, .sequences = 2)), *single = tn_adopt(tn_decoder_new(llama));
        assert_true(difference(tn_decoder_feed_all(whole, 0, tokens, LENGTH), right, LENGTH * VOCAB) < 1e-5);
        for (int from = 0, i = 0; from < LENGTH; i++) { /* in pieces, some of which are longer than the window */
            static const int pieces[] = {3, 1, 6, 7, 1, 2, 1};
            from += pieces[i];
            assert_true(difference(tn_decoder_feed(whole, 1, tokens + from - pieces[i], pieces[i]), right + (from - 1) * VOCAB, VOCAB) < 1e-5);
        }
        for (int i = 0; i < LENGTH; i++)
            assert_true(difference(tn_decoder_feed(single, 0, tokens + i, 1), right + i * VOCAB, VOCAB) < 1e-5);
        assert_int_equal(tn_decoder_length(single, 0), LENGTH);
        if (tn_llama_config(llama)->sliding_window == 0) { /* taken back and read again in two pieces */
            assert_int_equal(tn_decoder_rewind(single, 0, 4), TN_OK);
            assert_non_null(tn_decoder_feed(single, 0, tokens + 4, 9));
            assert_true(difference(tn_decoder_feed(single, 0, tokens + 13, 8), right + (LENGTH - 1) * VOCAB, VOCAB) < 1e-5);
        }
        check_good();
    }
}

/* Sequences of unequal lengths, one token each at a time, are as each by itself, to the bit. */
static void batches(void **state)
{
    (void)state;
    case_skip_slow_device();
    fill_tokens();
    for (int kind = 0; kind < 4; kind++) {
        TN_SCOPE;
        const tn_quant kinds[] = {TN_QUANT_F32, TN_QUANT_BF16, TN_QUANT_Q8_0, TN_QUANT_Q4_0};
        tn_module *llama = model_of(1);
        tn_decoder *many = tn_adopt(tn_decoder_new(llama, .sequences = 5, .weights = kinds[kind]));
        tn_decoder *one = tn_adopt(tn_decoder_new(llama, .weights = kinds[kind]));
        const int64_t order[5] = {3, 0, 4, 1, 2};
        int64_t next[5];
        float alone[VOCAB];
        for (int64_t s = 0; s < 5; s++)
            assert_non_null(tn_decoder_feed(many, s, tokens, 2 * s + 1));
        for (int turn = 0; turn < 3; turn++) {
            for (int i = 0; i < 5; i++)
                next[i] = tokens[2 * order[i] + 1 + turn];
            const float *together = tn_decoder_step(many, order, next, 5);
            assert_non_null(together);
            for (int i = 0; i < 5; i++) {
                assert_int_equal(tn_decoder_rewind(one, 0, 0), TN_OK);
                assert_non_null(tn_decoder_feed(one, 0, tokens, 2 * order[i] + 1));
                for (int t = 0; t <= turn; t++)
                    memcpy(alone, tn_decoder_feed(one, 0, tokens + 2 * order[i] + 1 + t, 1), sizeof alone);
                assert_true(difference(together + i * VOCAB, alone, VOCAB) < 1e-6);
            }
        }
        check_good();
    }
}

/* Each matrix of the model as it is after quantising. */
static void round_weights(tn_module *llama, tn_quant type)
{
    TN_NO_GRAD;
    const tn_dict *all = tn_named_parameters(llama);
    for (int64_t i = 0; i < tn_dict_count(all); i++) {
        tn_tensor *w = tn_dict_tensor(all, i);
        if (tn_ndim(w) != 2)
            continue;
        const tn_shape shape = TN_SHAPE(tn_size(w, 0), tn_size(w, 1));
        const size_t bytes = (size_t)tn_blocks_bytes(type, shape);
        void *blocks = tn_alloc(bytes);
        assert_int_equal(tn_quantize(here(w), type, blocks, bytes), TN_OK);
        tn_copy_(w, tn_dequantize((tn_blocks){type, shape, blocks, bytes}, TN_F32));
        tn_free(blocks, bytes);
    }
}

/* Beside a module of the rounded weights: what is left is the rounding of each product's input, and of the cache. */
static void narrow_kinds(void **state)
{
    (void)state;
    fill_tokens();
    const struct {
        tn_quant weights;
        tn_dtype cache;
        double least, most;
    } rows[] = {
        {TN_QUANT_F32, TN_BF16, 1e-5, 5e-3}, {TN_QUANT_F32, TN_I8, 1e-5, 1e-2},  {TN_QUANT_BF16, TN_F32, 1e-5, 1e-2},
        {TN_QUANT_Q8_0, TN_F32, 1e-5, 2e-2}, {TN_QUANT_Q8_0, TN_I8, 1e-5, 2e-2}, {TN_QUANT_Q4_0, TN_F32, 1e-5, 2e-2},
    };
    for (int i = 0; i < TN_COUNT(rows); i++) {
        TN_SCOPE;
        tn_manual_seed(3);
        tn_module *llama = tn_adopt(tn_llama_new(SIZES, .hidden_size = 64, .intermediate_size = 96, .initializer_range = 0.1,
                                                 .num_attention_heads = 4, .num_key_value_heads = 2));
        round_weights(llama, rows[i].weights);
        const float *right = expected(llama);
        tn_decoder *decoder = tn_adopt(tn_decoder_new(llama, .weights = rows[i].weights, .cache = rows[i].cache));
        const double off = distance(tn_decoder_feed_all(decoder, 0, tokens, LENGTH), right, LENGTH * VOCAB);
        if (!(off > rows[i].least && off < rows[i].most))
            fail_msg("%s weights, %s cache: %g", tn_quant_name(rows[i].weights), tn_dtype_name(rows[i].cache), off);
        check_good();
    }
}

/* Rows that are no multiple of a block are 16-bit floats in a file of blocks, and in its decoder: in blocks the small elements of down beside
 * large ones, whose inputs are 0 here, would be none. */
static void rows_without_blocks(void **state)
{
    (void)state;
    fill_tokens();
    const tn_quant kinds[] = {TN_QUANT_Q8_0, TN_QUANT_Q4_0};
    for (int kind = 0; kind < TN_COUNT(kinds); kind++) {
        TN_SCOPE;
        tn_manual_seed(3);
        tn_module *llama = tn_adopt(tn_llama_new(SIZES, .hidden_size = 64, .intermediate_size = 84, .num_attention_heads = 4, .initializer_range = 0.1));
        for (int layer = 0; layer < 2; layer++) {
            TN_NO_GRAD;
            char name[64];
            snprintf(name, sizeof name, "model.layers.%d.mlp.down_proj.weight", layer);
            tn_tensor *down = tn_parameter(llama, name);
            snprintf(name, sizeof name, "model.layers.%d.mlp.up_proj.weight", layer);
            tn_tensor *up = tn_parameter(llama, name);
            for (int column = 0; column < 84; column += 7) {
                tn_zero_(tn_select(up, 0, column));
                tn_init_constant(tn_select(down, 1, column), 1000);
            }
            check_good();
        }
        const float *right = expected(llama);
        tn_decoder *decoder = tn_adopt(tn_decoder_new(llama, .weights = kinds[kind], .cache = TN_F32));
        const double off = distance(tn_decoder_feed_all(decoder, 0, tokens, LENGTH), right, LENGTH * VOCAB);
        if (!(off > 1e-5 && off < (kind ? 0.4 : 3e-2)))
            fail_msg("%s weights: %g", tn_quant_name(kinds[kind]), off);
        check_good();
    }
}

/* Where none is said the cache is f32 with F32 weights and bf16 with others. */
static void default_caches(void **state)
{
    (void)state;
    case_skip_slow_device();
    fill_tokens();
    const tn_quant kinds[] = {TN_QUANT_F32, TN_QUANT_BF16, TN_QUANT_Q8_0, TN_QUANT_Q4_0};
    for (int kind = 0; kind < TN_COUNT(kinds); kind++) {
        TN_SCOPE;
        tn_module *llama = model_of(0);
        tn_decoder *own = tn_adopt(tn_decoder_new(llama, .weights = kinds[kind]));
        const float *logits = tn_decoder_feed(own, 0, tokens, LENGTH);
        for (int narrow = 0; narrow < 2; narrow++) {
            tn_decoder *said = tn_adopt(tn_decoder_new(llama, .weights = kinds[kind], .cache = narrow ? TN_BF16 : TN_F32));
            const float *others = tn_decoder_feed(said, 0, tokens, LENGTH);
            check_good();
            assert_int_equal(memcmp(logits, others, VOCAB * sizeof(float)) == 0, narrow == (kind > 0));
        }
    }
}

/* A context that is too short forgets its oldest tokens: as a sliding window of that length. */
static void rolling(void **state)
{
    (void)state;
    fill_tokens();
    TN_SCOPE;
    tn_module *llama = model_of(6);
    const float *right = expected(llama);
    tn_manual_seed(7);
    tn_module *wide = tn_adopt(tn_llama_new(SIZES, .num_attention_heads = 4));
    assert_int_equal(tn_load_state_dict(wide, tn_state_dict(llama)), TN_OK);
    tn_decoder *decoder = tn_adopt(tn_decoder_new(wide, .context = 5));
    for (int i = 0; i < LENGTH; i++)
        assert_true(difference(tn_decoder_feed(decoder, 0, tokens + i, 1), right + i * VOCAB, VOCAB) < 1e-5);
    check_fails(tn_decoder_rewind(decoder, 0, 7), TN_ERR_STATE, "decoder_rewind: length 7 21 tokens last 5");
    assert_int_equal(tn_decoder_rewind(decoder, 0, 0), TN_OK);
    assert_true(difference(tn_decoder_feed(decoder, 0, tokens, LENGTH), right + (LENGTH - 1) * VOCAB, VOCAB) < 1e-5);
    check_good();
}

/* Prompts longer than a pass. */
static void long_prompts(void **state)
{
    (void)state;
    case_skip_slow_device();
    TN_SCOPE;
    TN_NO_GRAD;
    tn_module *llama = model_of(1);
    tn_tensor *ids = tn_randint(TN_SHAPE(600), 0, VOCAB);
    const float *right = tn_data(here(tn_contiguous(tn_select(tn_call(llama, ids), 0, -1))));
    tn_decoder *decoder = tn_adopt(tn_decoder_new(llama));
    assert_true(difference(tn_decoder_feed(decoder, 0, tn_data(here(ids)), 600), right, VOCAB) < 1e-5);
    check_good();
}

/* Prompts longer than the window, whose rows look at many of the cache before them, beside one token at a time. */
static void long_windows(void **state)
{
    (void)state;
    case_skip_slow_device();
    const tn_dtype caches[] = {TN_F32, TN_BF16, TN_I8};
    for (int i = 0; i < TN_COUNT(caches); i++) {
        TN_SCOPE;
        TN_NO_GRAD;
        tn_manual_seed(5);
        tn_module *llama = tn_adopt(tn_llama_new(SIZES, .num_attention_heads = 4, .num_key_value_heads = 2, .sliding_window = 100, .full_layers = {{2}}));
        const int64_t *ids = tn_data(here(tn_randint(TN_SHAPE(330), 0, VOCAB)));
        tn_decoder *whole = tn_adopt(tn_decoder_new(llama, .cache = caches[i])), *single = tn_adopt(tn_decoder_new(llama, .cache = caches[i]));
        const float *right = NULL;
        for (int k = 0; k < 330; k++)
            right = tn_decoder_feed(single, 0, ids + k, 1);
        assert_true(difference(tn_decoder_feed(whole, 0, ids, 330), right, VOCAB) < 1e-5);
        check_good();
    }
}

/* However many threads share the heads: one or two of keys and values, more of queries. */
static void same_bits(void **state)
{
    (void)state;
    case_skip_slow_device();
    fill_tokens();
    const int threads = tn_get_num_threads();
    static const int models[] = {2, 3, 4, 7};
    for (int model = 0; model < TN_COUNT(models); model++)
        for (int most = 1; most <= 4; most++) {
            TN_SCOPE;
            static float first[(LENGTH + 2) * VOCAB];
            float got[(LENGTH + 2) * VOCAB];
            assert_int_equal(tn_set_num_threads(most), TN_OK);
            tn_decoder *decoder = tn_adopt(tn_decoder_new(model_of(models[model]), .weights = TN_QUANT_Q8_0, .sequences = 2));
            const float *logits = tn_decoder_feed_all(decoder, 0, tokens, LENGTH);
            assert_non_null(logits);
            memcpy(got, logits, LENGTH * VOCAB * sizeof *got);
            assert_non_null(tn_decoder_feed(decoder, 1, tokens, 7));
            assert_non_null(logits = tn_decoder_step(decoder, (int64_t[]){1, 0}, tokens, 2));
            memcpy(got + LENGTH * VOCAB, logits, 2 * VOCAB * sizeof *got);
            if (most == 1)
                memcpy(first, got, sizeof first);
            assert_memory_equal(first, got, sizeof first);
        }
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
}

static bool has_f28(void)
{
#ifdef TENON_HAVE_AVX512
    return tn_get_default_device().type == TN_CPU && strcmp(tn_cpu_isa(), "avx512") == 0 && __builtin_cpu_supports("avx512vbmi");
#else
    return false;
#endif
}

static void check_f28(const tn_decoder *d)
{
    const tn_packed_matrix *const ends[] = {&d->embedding, &d->head};
    for (int i = 0; i < 2; i++)
        assert_int_equal(ends[i]->aside != NULL, has_f28());
    for (int64_t i = 0; i < d->config.num_hidden_layers; i++) {
        const tn_decoder_layer *l = &d->layers[i];
        const tn_packed_matrix *const all[] = {&l->qkv[0], &l->out, &l->gate, &l->up, &l->down};
        for (int k = 0; k < TN_COUNT(all); k++)
            assert_int_equal(all[k]->aside != NULL, has_f28());
    }
    assert_int_equal(d->aside != NULL, has_f28());
    assert_true(d->aside_bytes * 10 <= d->block_bytes); /* floats' own memory, and no tenth more */
}

/* F32 in 28 bits, as large models have it, by plain floats: a prompt, two sequences' tokens and one's, on one thread and two. */
static void f32_in_28_bits(void **state)
{
    (void)state;
    case_skip_slow_device();
    fill_tokens();
    const int threads = tn_get_num_threads();
    const size_t from = tn_decoder_f28_from;
    for (int which = 0; which < 8; which++)
        for (int most = 1; most <= 2; most++) {
            TN_SCOPE;
            tn_decoder *decoders[2];
            assert_int_equal(tn_set_num_threads(most), TN_OK);
            for (int i = 0; i < 2; i++) {
                tn_decoder_f28_from = i ? 0 : from;
                assert_non_null(decoders[i] = tn_adopt(tn_decoder_new(model_of(which), .weights = TN_QUANT_F32, .sequences = 2)));
            }
            tn_decoder_f28_from = from;
            assert_null(decoders[0]->aside);
            check_f28(decoders[1]);
            const float *plain = tn_decoder_feed_all(decoders[0], 0, tokens, LENGTH), *logits = tn_decoder_feed_all(decoders[1], 0, tokens, LENGTH);
            assert_memory_equal(logits, plain, LENGTH * VOCAB * sizeof *logits);
            for (int i = 0; i < 2; i++)
                assert_non_null(tn_decoder_feed(decoders[i], 1, tokens, 7));
            for (int count = 1; count <= 2; count++) {
                plain = tn_decoder_step(decoders[0], (int64_t[]){1, 0}, tokens, count);
                logits = tn_decoder_step(decoders[1], (int64_t[]){1, 0}, tokens, count);
                assert_memory_equal(logits, plain, (size_t)count * VOCAB * sizeof *logits);
            }
        }
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
}

/* So many rows that each thread has its own: a prompt, its second half after its first, only the last one's logits, and as many sequences' tokens. */
static void same_bits_of_many(void **state)
{
    enum { MANY = 200 };
    (void)state;
    case_skip_slow_device();
    const int threads = tn_get_num_threads();
    static const int models[] = {1, 3, 5};
    static const tn_quant kinds[] = {TN_QUANT_F32, TN_QUANT_BF16, TN_QUANT_Q8_0};
    for (int i = 0; i < 3 * TN_COUNT(models); i++)
        for (int most = 1; most <= 4; most++) {
            TN_SCOPE;
            static float first[(3 * MANY + 1) * VOCAB], got[(3 * MANY + 1) * VOCAB];
            int64_t ids[MANY], order[MANY];
            for (int k = 0; k < MANY; k++)
                ids[k] = (k * k * 7 + 3 * k + 1) % VOCAB, order[k] = (k * 3 + 1) % MANY;
            assert_int_equal(tn_set_num_threads(most), TN_OK);
            tn_decoder *decoder = tn_adopt(tn_decoder_new(model_of(models[i / 3]), .weights = kinds[i % 3], .sequences = MANY));
            for (int part = 0; part < 4; part++) {
                const float *logits = part < 2    ? tn_decoder_feed_all(decoder, 0, ids, MANY)
                                      : part == 2 ? tn_decoder_step(decoder, order, ids, MANY)
                                                  : tn_decoder_feed(decoder, 1, ids, MANY);
                assert_non_null(logits);
                memcpy(got + part * MANY * VOCAB, logits, (part < 3 ? MANY : 1) * VOCAB * sizeof *got);
            }
            if (most == 1)
                memcpy(first, got, sizeof first);
            assert_memory_equal(first, got, sizeof first);
        }
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
}

static void bad_inputs(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *llama = model_of(0), *other = tn_adopt(tn_relu_new());
    tn_decoder *d = tn_adopt(tn_decoder_new(llama, .sequences = 2));
    const int64_t token = 3, high = VOCAB, both[2] = {1, 1}, two[2] = {3, 4};
    check_fails(tn_decoder_new(NULL), TN_ERR_ARGUMENT, "NULL");
    check_fails(tn_decoder_new(other), TN_ERR_ARGUMENT, "relu is no llama");
    check_fails(tn_decoder_new(llama, .weights = TN_QUANT_Q4_K), TN_ERR_UNSUPPORTED, "decoder: weights Q4_K");
    check_fails(tn_decoder_new(llama, .weights = (tn_quant)99), TN_ERR_UNSUPPORTED, "no type");
    check_fails(tn_decoder_new(llama, .cache = TN_F16), TN_ERR_DTYPE, "decoder: the cache float16");
    check_fails(tn_decoder_new(llama, .sequences = 0), TN_ERR_ARGUMENT, "decoder: sequences 0");
    check_fails(tn_decoder_new(llama, .sequences = 1 << 21), TN_ERR_ARGUMENT, "decoder: sequences 2097152");
    check_fails(tn_decoder_new(llama, .context = -1), TN_ERR_ARGUMENT, "decoder: context -1");
    check_fails(tn_decoder_new(llama, .context = INT32_MAX, .sequences = 1 << 20), TN_ERR_MEMORY, "decoder: a cache");
    check_fails(tn_decoder_open("absent.gguf"), TN_ERR_IO, "decoder_open: absent.gguf");
    check_fails(tn_decoder_feed(d, 2, &token, 1), TN_ERR_INDEX, "decoder_feed: sequence 2: the decoder has 2");
    check_fails(tn_decoder_feed(d, 0, &high, 1), TN_ERR_INDEX, "decoder_feed: token 0 is 50");
    check_fails(tn_decoder_feed(d, 0, &token, 0), TN_ERR_ARGUMENT, "decoder_feed: 0 tokens");
    check_fails(tn_decoder_feed(NULL, 0, &token, 1), TN_ERR_ARGUMENT, "decoder_feed: decoder is NULL");
    check_fails(tn_decoder_feed((tn_decoder *)(void *)llama, 0, &token, 1), TN_ERR_ARGUMENT, "decoder_feed: decoder is no decoder");
    check_fails(tn_decoder_step(d, both, two, 2), TN_ERR_ARGUMENT, "decoder_step: sequence 1 is there twice");
    check_fails(tn_decoder_rewind(d, 0, 1), TN_ERR_INDEX, "decoder_rewind: length 1: the sequence has 0");
    check_fails(tn_decoder_reserve(d, -1), TN_ERR_ARGUMENT, "decoder_reserve: -1 tokens");
    check_fails(tn_decoder_length(d, -1), TN_ERR_INDEX, "decoder_length: sequence -1");
    int64_t order[257], zeros[257] = {0};
    for (int i = 0; i < 257; i++)
        order[i] = i;
    tn_decoder *many = tn_adopt(tn_decoder_new(llama, .sequences = 257));
    check_fails(tn_decoder_feed_all(d, 0, zeros, 257), TN_ERR_ARGUMENT, "decoder_feed_all: 257 tokens: at most 256");
    check_fails(tn_decoder_step(many, order, zeros, 257), TN_ERR_ARGUMENT, "decoder_step: 257 sequences: at most 256");
    assert_non_null(tn_decoder_step(many, order + 1, zeros, 256));
    assert_int_equal(tn_decoder_length(many, 0) + tn_decoder_length(d, 0), 0);
}

/* Once as many rows as `room` are made for, whether the memory in use has grown by a part of what the whole cache takes: [least, most) sixteenths. */
static bool in_use_grew(int64_t before, int64_t whole, int64_t least, int64_t most)
{
    const int64_t grown = 16 * (tn_get_device_memory_stats(tn_get_default_device()).in_use - before);
    return grown >= least * whole && grown < most * whole;
}

/* The cache of a long context begins small and grows under sequences of unequal lengths, some beyond their window: as one that was made whole, to the bit. */
static void growing(void **state)
{
    (void)state;
    case_skip_slow_device();
    enum { CONTEXT = 1 << 16, COUNT = 600 };
    const tn_dtype caches[] = {TN_F32, TN_BF16, TN_I8};
    for (int i = 0; i < TN_COUNT(caches); i++) {
        TN_SCOPE;
        TN_NO_GRAD;
        tn_manual_seed(5);
        tn_module *llama = tn_adopt(tn_llama_new(SIZES, .num_attention_heads = 4, .num_key_value_heads = 2, .sliding_window = 300, .full_layers = {{2}}));
        const int64_t *ids = tn_data(here(tn_randint(TN_SHAPE(3 * COUNT), 0, VOCAB)));
        const int64_t row = 2 * 2 * (12 * (int64_t)tn_dtype_size(caches[i]) + (i == 2 ? 4 : 0)), all = 3 * CONTEXT * row; /* of one layer */
        tn_decoder *grows = tn_adopt(tn_decoder_new(llama, .cache = caches[i], .context = CONTEXT, .sequences = 3));
        tn_decoder *whole = tn_adopt(tn_decoder_new(llama, .cache = caches[i], .context = CONTEXT, .sequences = 3));
        const int64_t before = tn_get_device_memory_stats(tn_get_default_device()).in_use;
        assert_int_equal(tn_decoder_reserve(whole, INT64_MAX), TN_OK);
        assert_true(in_use_grew(before, all, 16, 17));
        assert_non_null(tn_decoder_feed(whole, 1, ids, 30));
        assert_non_null(tn_decoder_feed(whole, 2, ids + COUNT, 290));
        const int64_t then = tn_get_device_memory_stats(tn_get_default_device()).in_use;
        assert_non_null(tn_decoder_feed(grows, 1, ids, 30));
        assert_true(in_use_grew(then, all, 0, 2));
        assert_non_null(tn_decoder_feed(grows, 2, ids + COUNT, 290)); /* grows while the first holds something */
        for (int k = 30; k < COUNT; k++) {
            const int64_t sequences[] = {2, 1}, next[] = {ids[COUNT + 260 + k], ids[k]};
            const float *one = tn_decoder_step(grows, sequences, next, 2), *other = tn_decoder_step(whole, sequences, next, 2);
            assert_true(one && other);
            assert_memory_equal(one, other, 2 * VOCAB * sizeof(float));
        }
        assert_true(in_use_grew(then, all, 0, 2));
        assert_int_equal(tn_decoder_reserve(grows, CONTEXT / 2), TN_OK);
        assert_true(in_use_grew(then, all, 8, 10));
        assert_memory_equal(tn_decoder_feed(grows, 1, ids, 400), tn_decoder_feed(whole, 1, ids, 400), VOCAB * sizeof(float));
        check_good();
    }
}

int main(void)
{
    case_use_device();
    const struct CMUnitTest tests[] = {
        TEST(prompts_and_tokens), TEST(batches), TEST(narrow_kinds), TEST(rows_without_blocks), TEST(default_caches), TEST(rolling), TEST(long_prompts), TEST(long_windows), TEST(growing), TEST(same_bits), TEST(f32_in_28_bits), TEST(same_bits_of_many), TEST(bad_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
