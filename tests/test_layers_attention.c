#include "layer_table.h"

#include "core/core.h"

static bool yes(const op_args *args, const char *name) { return !op_has(args, name) || op_flag(args, name); }

#define ATTENTION                                                                                                             \
    tn_multihead_attention_new(op_int(args, "embed_dim", 0), op_int(args, "num_heads", 0), .bias = yes(args, "bias"),         \
                               .kdim = op_int(args, "kdim", 0), .vdim = op_int(args, "vdim", 0),                              \
                               .batch_first = op_flag(args, "batch_first"), .is_causal = op_flag(args, "is_causal"),                       \
                               .add_bias_kv = op_flag(args, "add_bias_kv"), .add_zero_attn = op_flag(args, "add_zero_attn"),  \
                               .average_attn_weights = yes(args, "average_attn_weights"))
#define LAYER                                                                                                                 \
    op_int(args, "d_model", 0), op_int(args, "nhead", 0), .dim_feedforward = op_int(args, "dim_feedforward", 0), .dropout = 0, \
        .activation = !strcmp(op_text(args, "activation", "relu"), "gelu") ? TN_TRANSFORMER_GELU : TN_TRANSFORMER_RELU,       \
        .layer_norm_eps = op_number(args, "eps", 1e-5), .batch_first = op_flag(args, "batch_first"),                          \
        .norm_first = op_flag(args, "norm_first"), .bias = yes(args, "bias"), .is_causal = op_flag(args, "is_causal")

static void *norm_of(const op_args *args) { return op_flag(args, "norm") ? tn_layer_norm_new(TN_SHAPE(op_int(args, "d_model", 0))) : NULL; }

#define LAYERS(X)                                                                                                             \
    X(attention, NULL, ATTENTION)                                                                                             \
    X(attention_seen, NULL, ATTENTION)                                                                                        \
    X(attention_alone, NULL, ATTENTION)                                                                                       \
    X(encoder_layer, NULL, tn_transformer_encoder_layer_new(LAYER))                                                           \
    X(decoder_layer, NULL, tn_transformer_decoder_layer_new(LAYER))                                                           \
    X(encoder, NULL, tn_transformer_encoder_new(tn_transformer_encoder_layer_new(LAYER), (int)op_int(args, "num_layers", 0),  \
                                                .norm = norm_of(args)))                                                       \
    X(decoder, NULL, tn_transformer_decoder_new(tn_transformer_decoder_layer_new(LAYER), (int)op_int(args, "num_layers", 0),  \
                                                .norm = norm_of(args)))
LAYER_TABLE(rows, LAYERS);

static void test_making_errors(void **state)
{
    (void)state;
    check_fails(tn_multihead_attention_new(6, 4), TN_ERR_ARGUMENT, "multihead_attention: embed_dim is 6 num_heads 4 divide");
    check_fails(tn_multihead_attention_new(0, 1), TN_ERR_ARGUMENT, "multihead_attention: embed_dim is 0");
    check_fails(tn_multihead_attention_new(6, 2, .vdim = -1), TN_ERR_ARGUMENT, "multihead_attention: vdim -1");
    check_fails(tn_multihead_attention_new(6, 2, .dropout = 2), TN_ERR_ARGUMENT, "multihead_attention: dropout is 2");
    check_fails(tn_transformer_encoder_layer_new(6, 4), TN_ERR_ARGUMENT, "transformer_encoder_layer: d_model is 6 nhead 4");
    check_fails(tn_transformer_decoder_layer_new(6, 2, .dim_feedforward = 0), TN_ERR_ARGUMENT, "transformer_decoder_layer: dim_feedforward 0");
    check_fails(tn_transformer_encoder_layer_new(6, 2, .activation = (tn_transformer_activation)9), TN_ERR_ARGUMENT, "activation 9");
    check_fails(tn_transformer_encoder_layer_new(6, 2, .dropout = -1), TN_ERR_ARGUMENT, "transformer_encoder_layer: dropout is -1");
    check_fails(tn_transformer_encoder_new(tn_transformer_encoder_layer_new(6, 2), 0), TN_ERR_ARGUMENT, "transformer_encoder: num_layers is 0");
    check_fails(tn_transformer_decoder_new(NULL, 2), TN_ERR_ARGUMENT, "transformer_decoder NULL");
    check_fails(tn_transformer_encoder_new(tn_transformer_encoder_layer_new(6, 4), 2, .norm = tn_identity_new()), TN_ERR_ARGUMENT,
                "transformer_encoder_layer: d_model is 6");
}

static void test_input_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *m = tn_adopt(tn_multihead_attention_new(6, 2));
    tn_module *layer = tn_adopt(tn_transformer_encoder_layer_new(6, 2, .dim_feedforward = 4));
    tn_module *decoder = tn_adopt(tn_transformer_decoder_layer_new(6, 2, .dim_feedforward = 4));
    tn_tensor *x = tn_ones(TN_SHAPE(3, 2, 6)), *y = tn_ones(TN_SHAPE(4, 2, 6)), *out[3], *flag = tn_ones(TN_SHAPE(2, 3), .dtype = TN_BOOL);
    check_fails(tn_call(m, NULL), TN_ERR_ARGUMENT, "multihead_attention: query is NULL");
    check_fails(tn_call(m, x, NULL), TN_ERR_ARGUMENT, "multihead_attention: key is NULL");
    check_fails(tn_call(m, x, x, x, NULL, NULL, NULL), TN_ERR_ARGUMENT, "multihead_attention: 6 inputs");
    check_fails(tn_call_n(m, &x, 1, out, 3), TN_ERR_ARGUMENT, "2 outputs 3");
    check_fails(tn_call(m, tn_ones(TN_SHAPE(6))), TN_ERR_SHAPE, "query is [6] [length, batch, features]");
    check_fails(tn_call(m, x, x, y), TN_ERR_SHAPE, "key is [3, 2, 6] value is [4, 2, 6] as many keys as values");
    check_fails(tn_call(m, x, tn_ones(TN_SHAPE(4, 1, 6))), TN_ERR_SHAPE, "one batch");
    check_fails(tn_call(m, tn_ones(TN_SHAPE(3, 2, 5))), TN_ERR_SHAPE, "linear: [3, 2, 5]");
    check_fails(tn_call(m, x, y, y, tn_ones(TN_SHAPE(2, 3))), TN_ERR_SHAPE, "key_padding_mask is [2, 3]: it must be [2, 4]");
    check_fails(tn_call(m, x, y, y, NULL, tn_ones(TN_SHAPE(2, 3, 4))), TN_ERR_SHAPE, "attn_mask is [2, 3, 4]: [3, 4] or [4, 3, 4]");
    check_fails(tn_call(m, x, x, x, tn_cast(flag, TN_I64)), TN_ERR_DTYPE, "key_padding_mask is int64 bool");
    check_fails(tn_call(m, x, x, x, NULL, tn_ones(TN_SHAPE(3, 3), .dtype = TN_I32)), TN_ERR_DTYPE, "attn_mask is int32 bool");
    check_fails(tn_call(layer, NULL), TN_ERR_ARGUMENT, "transformer_encoder_layer: src is NULL");
    check_fails(tn_call(layer, x, NULL, NULL, NULL), TN_ERR_ARGUMENT, "transformer_encoder_layer: 4 inputs 1 to 3");
    check_fails(tn_call(decoder, x), TN_ERR_ARGUMENT, "transformer_decoder_layer: 1 inputs 2 to 6");
    check_fails(tn_call(decoder, x, NULL), TN_ERR_ARGUMENT, "transformer_decoder_layer: memory is NULL");
    tn_module *encoder = tn_adopt(tn_transformer_encoder_new(tn_transformer_encoder_layer_new(6, 2, .dim_feedforward = 4), 2));
    check_fails(tn_call(encoder, tn_ones(TN_SHAPE(3, 2, 5))), TN_ERR_SHAPE, "transformer_encoder, layer 0: linear");
    check_fails(tn_call(encoder, x, NULL, NULL, NULL, NULL, NULL, NULL), TN_ERR_ARGUMENT, "transformer_encoder: 7 inputs");
}

/* New weights follow PyTorch's laws; an encoder's layers begin alike and are of their own. */
static void test_first_weights(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(2);
    tn_module *net = tn_adopt(tn_transformer_encoder_new(tn_transformer_encoder_layer_new(64, 4, .dim_feedforward = 16), 2,
                                                         .norm = tn_layer_norm_new(TN_SHAPE(64))));
    const double bounds[] = {sqrt(6.0 / 256), 1 / 8.0, 1 / 8.0, 1 / 4.0};
    const char *const names[] = {"layers.0.self_attn.in_proj_weight", "layers.0.self_attn.out_proj.weight", "layers.0.linear1.weight",
                                 "layers.0.linear2.weight"};
    for (int i = 0; i < 4; i++) {
        const double largest = tn_item(tn_amax(tn_abs(tn_parameter(net, names[i]))));
        assert_true(largest <= bounds[i] && largest > 0.95 * bounds[i]);
    }
    assert_true(tn_item(tn_amax(tn_abs(tn_parameter(net, "layers.0.self_attn.in_proj_bias")))) == 0);
    assert_true(tn_item(tn_amax(tn_abs(tn_parameter(net, "layers.0.self_attn.out_proj.bias")))) == 0);
    tn_tensor *first = tn_parameter(net, "layers.0.linear1.weight"), *second = tn_parameter(net, "layers.1.linear1.weight");
    assert_true(first != second && tn_equal(first, second));
    assert_int_equal(tn_list_count(tn_parameters(net)), 2 * 12 + 2);
    tn_module *own = tn_adopt(tn_multihead_attention_new(1024, 2, .add_bias_kv = true));
    assert_int_equal(tn_list_count(tn_parameters(own)), 6);
    for (int i = 0; i < 2; i++) { /* normal, of the deviation 1 / sqrt(1024) */
        tn_tensor *row = tn_parameter(own, i ? "bias_v" : "bias_k");
        check_shape(row, 1, 1, 1024);
        assert_true(fabs(tn_item(tn_std(row)) * 32 - 1) < 0.1 && fabs(tn_item(tn_mean(row))) < 0.005);
    }
    check_good();
}

static void test_summary(void **state)
{
    (void)state;
    TN_SCOPE;
    char text[4096];
    tn_module *layer = tn_transformer_encoder_layer_new(6, 2, .dim_feedforward = 4, .norm_first = true, .is_causal = true, .batch_first = true);
    tn_module *net = tn_adopt(tn_transformer_encoder_new(layer, 2));
    assert_true(tn_format_summary(net, tn_ones(TN_SHAPE(2, 3, 6)), text, sizeof text) > 0);
    const char *const words[] = {"transformer_encoder_layer(dropout=0.1, activation=relu, norm_first=True)",
                                 "multihead_attention(6, 2, dropout=0.1, batch_first=True, is_causal=True)", "[2, 3, 6]"};
    for (int i = 0; i < 3; i++)
        if (!strstr(text, words[i]))
            fail_msg("no %s in\n%s", words[i], text);
    tn_module *own = tn_adopt(tn_multihead_attention_new(6, 2, .add_bias_kv = true, .add_zero_attn = true));
    assert_true(tn_format_summary(own, tn_ones(TN_SHAPE(3, 2, 6)), text, sizeof text) > 0);
    assert_non_null(strstr(text, "multihead_attention(6, 2, add_bias_kv=True, add_zero_attn=True)"));
    check_good();
}

/* Dropout works while training and not in evaluation; the same seed drops the same. */
static void test_dropout(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *m = tn_adopt(tn_multihead_attention_new(8, 2, .dropout = 0.5, .batch_first = true));
    tn_module *layer = tn_adopt(tn_transformer_encoder_layer_new(8, 2, .dim_feedforward = 16, .dropout = 0.5));
    tn_tensor *x = tn_randn(TN_SHAPE(2, 5, 8)), *out[2];
    void *const both[] = {m, layer};
    for (int i = 0; i < 2; i++) {
        tn_manual_seed(1);
        tn_tensor *y = tn_call(both[i], x), *z = tn_call(both[i], x);
        assert_false(tn_equal(y, z));
        tn_manual_seed(1);
        assert_true(tn_equal(y, tn_call(both[i], x)));
        tn_train(both[i], false);
        assert_true(tn_equal(tn_call(both[i], x), tn_call(both[i], x)));
    }
    tn_train(m, true);
    assert_int_equal(tn_call_n(m, &x, 1, out, 2), TN_OK);
    tn_tensor *sums = tn_sum(out[1], .dim = -1);
    assert_false(tn_allclose(sums, tn_ones_like(sums), 1e-3, 1e-3, false));
    check_good();
}

/* A table of words and the head that reads them out as one tensor under two names: one parameter, whose gradient is the sum of both. */
static void test_tied_weights(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *net = tn_adopt(tn_module_list_new(tn_embedding_new(7, 4), tn_linear_new(4, 7, .bias = false)));
    tn_module *table = tn_child(net, "0"), *head = tn_child(net, "1");
    tn_tensor *words = tn_parameter(table, "weight"), *index = tn_from_ints(((int64_t[]){1, 5, 1}), TN_SHAPE(3));
    assert_int_equal(tn_add_parameter(head, "weight", words), TN_OK);
    assert_int_equal(tn_list_count(tn_parameters(net)), 1);
    assert_int_equal(tn_dict_count(tn_state_dict(net)), 2);
    assert_true(tn_parameter(net, "1.weight") == words);
    tn_tensor *loss = tn_sum(tn_square(tn_call(head, tn_call(table, index))));
    tn_tensor *apart = tn_clone(tn_detach(words)), *other = tn_clone(apart);
    tn_tensor *leaves[] = {tn_detach(apart), tn_detach(other)}, *grads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(tn_set_requires_grad(leaves[i], true), TN_OK);
    tn_tensor *same = tn_sum(tn_square(tn_linear(tn_embedding(index, leaves[0]), leaves[1], NULL)));
    assert_int_equal(tn_grads_of(&same, 1, leaves, 2, grads), TN_OK);
    assert_true(tn_allclose(tn_grad_of(loss, words), tn_add(grads[0], grads[1]), 1e-6, 1e-6, false));
    tn_module *copy = tn_module_clone(net);
    assert_true(tn_parameter(copy, "1.weight") == tn_parameter(copy, "0.weight") && tn_parameter(copy, "1.weight") != words);
    check_good();
}

int main(void)
{
    const struct CMUnitTest tests[] = {LAYER_TABLE_TESTS, TEST(test_making_errors), TEST(test_input_errors), TEST(test_first_weights), TEST(test_summary),
                                       TEST(test_dropout), TEST(test_tied_weights)};
    return layer_table_load("attention", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
