#include "layer_table.h"

#include <tenon/llama.h>

#include "core/core.h"

static int64_t whole(const op_args *args, const char *name) { return op_int(args, name, 0); }

#define LLAMA                                                                                                                 \
    tn_llama_new(.vocab_size = whole(args, "vocab_size"), .hidden_size = whole(args, "hidden_size"),                          \
                 .intermediate_size = whole(args, "intermediate_size"), .num_hidden_layers = whole(args, "num_hidden_layers"), \
                 .num_attention_heads = whole(args, "num_attention_heads"), .num_key_value_heads = whole(args, "num_key_value_heads"), \
                 .head_dim = whole(args, "head_dim"), .rms_norm_eps = op_number(args, "rms_norm_eps", 1e-5),                  \
                 .rope_theta = op_number(args, "rope_theta", 10000), .rope_interleaved = op_flag(args, "rope_interleaved"),   \
                 .rope_factor = op_number(args, "rope_factor", 1), .rope_original_length = op_number(args, "rope_original_length", 0), \
                 .tie_word_embeddings = op_flag(args, "tie_word_embeddings"), .attention_bias = op_flag(args, "attention_bias"), \
                 .qk_norm = op_flag(args, "qk_norm"), .sliding_window = whole(args, "sliding_window"), \
                 .full_layers = {{(uint64_t)whole(args, "full_layers")}})
#define LAYERS(X) X(llama, NULL, LLAMA)
LAYER_TABLE(rows, LAYERS);

#define SMALL .vocab_size = 7, .hidden_size = 8, .intermediate_size = 10, .num_hidden_layers = 2, .num_attention_heads = 4

static void test_making_errors(void **state)
{
    (void)state;
    check_fails(tn_llama_new(), TN_ERR_ARGUMENT, "llama: vocab_size is 0: it must be given");
    check_fails(tn_llama_new(SMALL, .hidden_size = 9), TN_ERR_ARGUMENT, "llama: head_dim is 0");
    check_fails(tn_llama_new(SMALL, .head_dim = 3), TN_ERR_ARGUMENT, "llama: num_attention_heads is 4 head_dim 3 even");
    check_fails(tn_llama_new(SMALL, .num_key_value_heads = 3), TN_ERR_ARGUMENT, "llama: num_attention_heads is 4 num_key_value_heads 3 multiple");
    check_fails(tn_llama_new(SMALL, .num_key_value_heads = -1), TN_ERR_ARGUMENT, "llama: num_key_value_heads is -1");
    check_fails(tn_llama_new(SMALL, .sliding_window = -1), TN_ERR_ARGUMENT, "llama: sliding_window -1");
    check_fails(tn_llama_new(SMALL, .rms_norm_eps = 0), TN_ERR_ARGUMENT, "llama: rms_norm_eps 0 positive");
    check_fails(tn_llama_new(SMALL, .rope_factor = 0), TN_ERR_ARGUMENT, "llama: rope_factor 0");
}

static void test_calling_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *llama = tn_adopt(tn_llama_new(SMALL, .max_position_embeddings = 6)), *other = tn_adopt(tn_relu_new());
    check_fails(tn_call(llama, NULL), TN_ERR_ARGUMENT, "llama: tokens is NULL");
    check_fails(tn_call(llama, tn_zeros(TN_SHAPE(1, 1, 1), .dtype = TN_I64)), TN_ERR_SHAPE, "llama: tokens is [1, 1, 1]");
    check_fails(tn_call(llama, tn_zeros(TN_SHAPE(7), .dtype = TN_I64)), TN_ERR_SHAPE, "llama: tokens is [7] 6 positions");
    check_fails(tn_call(llama, tn_full(TN_SHAPE(2), 7, .dtype = TN_I64)), TN_ERR_INDEX, "embedding 7");
    check_fails(tn_call(llama, tn_ones(TN_SHAPE(2))), TN_ERR_DTYPE, "embedding float32");
    tn_module *model = tn_child(llama, "model"), *layer = tn_child(llama, "model.layers.1");
    check_fails(tn_call(model, tn_zeros(TN_SCALAR, .dtype = TN_I64)), TN_ERR_SHAPE, "llama: tokens is []");
    check_fails(tn_call(layer, tn_ones(TN_SHAPE(1, 2, 8))), TN_ERR_ARGUMENT, "llama_layer: 1 inputs");
    check_fails(tn_call(layer, tn_ones(TN_SHAPE(2, 8)), NULL, NULL, NULL), TN_ERR_SHAPE, "llama_layer: x is [2, 8]");
    check_fails(tn_call(tn_child(layer, "self_attn"), tn_ones(TN_SHAPE(1, 2, 8)), NULL, NULL, NULL), TN_ERR_ARGUMENT, "rope: cos is NULL");
    check_fails(tn_llama_config(other), TN_ERR_ARGUMENT, "llama_config: relu is no llama");
    check_fails(tn_llama_config(NULL), TN_ERR_ARGUMENT, "llama_config NULL");
}

static void test_config(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *llama = tn_adopt(tn_llama_new(SMALL, .tie_word_embeddings = true));
    const tn_llama_args *c = tn_llama_config(llama), *copied = tn_llama_config(tn_module_clone(llama));
    assert_int_equal(c->num_key_value_heads, 4);
    assert_int_equal(c->head_dim, 2);
    assert_int_equal(copied->vocab_size, 7);
    assert_ptr_not_equal(c, copied);
    assert_int_equal(tn_num_parameters(llama), 7 * 8 + 2 * (4 * 8 * 8 + 3 * 8 * 10 + 2 * 8) + 8);
    char text[8000];
    assert_true(tn_format_summary(llama, tn_zeros(TN_SHAPE(1, 3), .dtype = TN_I64), text, sizeof text) > 0);
    assert_non_null(strstr(text, "vocab_size=7, hidden_size=8"));
}

/* What comes later changes no logits before it. */
static void test_causal(void **state)
{
    (void)state;
    TN_SCOPE;
    TN_NO_GRAD;
    tn_manual_seed(1);
    tn_module *llama = tn_adopt(tn_llama_new(SMALL, .initializer_range = 0.5));
    tn_tensor *tokens = tn_randint(TN_SHAPE(2, 12), 0, 7), *all = tn_call(llama, tokens);
    tn_tensor *part = tn_call(llama, tn_narrow(tokens, 1, 0, 5));
    assert_true(tn_allclose(part, tn_narrow(all, 1, 0, 5), 1e-5, 1e-6, false));
    assert_false(tn_allclose(tn_narrow(all, 1, 0, 5), tn_narrow(all, 1, 1, 5), 1e-5, 1e-6, false));
}

int main(void)
{
    if (!layer_table_load("llama", rows))
        return 1;
    const struct CMUnitTest tests[] = {
        LAYER_TABLE_TESTS, TEST(test_making_errors), TEST(test_calling_errors), TEST(test_config), TEST(test_causal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
