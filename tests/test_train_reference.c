/* The MLP, one with batch norm, the LeNet, an LSTM, a GRU and a transformer trained from the same weights and batches as by PyTorch: the loss of
 * every step, and what the trained network says in eval mode. */
#include "op_table.h"
#include "reference/train.h"

static void fill(tn_tensor *x, uint32_t seed, double low, double high)
{
    TN_SCOPE;
    tn_tensor *values = tn_empty(tn_shape_of(x), .dtype = TN_F64, .device = &(tn_device_id){TN_CPU, 0});
    double *data = tn_data_mut(values);
    for (int64_t i = 0; i < tn_numel(x); i++)
        data[i] = op_fill(seed, i, low, high);
    TN_NO_GRAD;
    tn_tensor *target = tn_detach(x);
    tn_copy_(target, values);
    check_good();
}

static void set_weights(tn_module *net)
{
    const tn_list *params = tn_parameters(net);
    for (int64_t k = 0; k < tn_list_count(params); k++) {
        tn_tensor *p = tn_list_at(params, k);
        double bound = 1 / sqrt(tn_ndim(p) > 1 ? (double)(tn_numel(p) / tn_size(p, 0)) : 100.);
        fill(p, (uint32_t)(10 + k), -bound, bound);
    }
}

static tn_tensor *images(int t, int batch, tn_dtype dtype)
{
    tn_tensor *x = tn_empty(TN_SHAPE(batch, 1, 28, 28), .dtype = dtype);
    fill(x, (uint32_t)(500 + t % 10), 0, 1);
    return x;
}

/* expected: the losses of the steps, then the ten outputs, which a run of fewer steps leaves. Takes the network. */
static void train(tn_module *net, int batch, tn_dtype dtype, const double *expected, int steps, double tolerance)
{
    TN_SCOPE;
    if (case_slow_device() && dtype == TN_F64) {
        tn_release(net);
        return;
    }
    assert_int_equal(tn_module_to_dtype(net, dtype), TN_OK);
    set_weights(net);
    tn_optim *opt = tn_adam_new(tn_parameters(net), 1e-3);
    const int taken = case_slow_device() ? 2 : test_quickly() ? 10 : steps;
    for (int t = 0; t < taken; t++) {
        TN_SCOPE;
        int64_t labels[16];
        for (int i = 0; i < batch; i++)
            labels[i] = (i * 7 + t % 10 * 3) % 10;
        tn_tensor *loss = tn_cross_entropy(tn_call(net, images(t, batch, dtype)), tn_to(tn_from_ints(labels, TN_SHAPE(batch)), tn_get_default_device()));
        tn_zero_grad(opt);
        assert_int_equal(tn_backward(loss), TN_OK);
        assert_int_equal(tn_step(opt), TN_OK);
        double value = tn_item(loss);
        if (!(fabs(value - expected[t]) <= tolerance * fabs(expected[t])))
            fail_msg("step %d: the loss is %.17g, and PyTorch's %.17g", t, value, expected[t]);
    }
    tn_train(net, false);
    tn_tensor *y = tn_call(net, images(0, batch, dtype));
    for (int i = 0; i < 10 && taken == steps; i++) {
        double value = tn_at(y, TN_SHAPE(0, i)), due = expected[steps + i];
        if (!(fabs(value - due) <= tolerance * (1 + fabs(due))))
            fail_msg("output %d in eval mode is %.17g, and PyTorch's %.17g", i, value, due);
    }
    tn_release(opt);
    tn_release(net);
}

static tn_module *mlp_new(void)
{
    return tn_sequential_new(tn_flatten_new(), tn_linear_new(784, 1024), tn_relu_new(), tn_linear_new(1024, 1024), tn_relu_new(),
                             tn_linear_new(1024, 10));
}

static tn_module *norm_new(void)
{
    return tn_sequential_new(tn_flatten_new(), tn_linear_new(784, 256, .bias = false), tn_batch_norm1d_new(256), tn_relu_new(),
                             tn_linear_new(256, 64, .bias = false), tn_batch_norm1d_new(64), tn_relu_new(), tn_linear_new(64, 10));
}

static tn_module *lenet_new(void)
{
    return tn_sequential_new(tn_conv2d_new(1, 20, 3, .padding = 1), tn_relu_new(), tn_max_pool2d_new(2),
                             tn_conv2d_new(20, 50, 3, .padding = 1), tn_relu_new(), tn_max_pool2d_new(2), tn_flatten_new(),
                             tn_linear_new(2450, 500), tn_relu_new(), tn_linear_new(500, 10));
}

/* The same with what can be fused, fused: the numbers are the same. */
static tn_module *fused_new(void)
{
    return tn_sequential_new(tn_conv2d_new(1, 20, 3, .padding = 1, .activation = TN_ACTIVATION_RELU), tn_max_pool2d_new(2),
                             tn_conv2d_new(20, 50, 3, .padding = 1, .activation = TN_ACTIVATION_RELU), tn_max_pool2d_new(2),
                             tn_flatten_new(), tn_linear_new(2450, 500, .activation = TN_ACTIVATION_RELU), tn_linear_new(500, 10));
}

/* Reads an image row by row; the last step's h decides. */
typedef struct rows {
    tn_module base;
    tn_module *recurrent, *fc;
} rows;

static tn_tensor *rows_forward(rows *net, tn_tensor *x)
{
    return tn_call(net->fc, tn_select(tn_call(net->recurrent, tn_squeeze(x, 1)), 1, -1));
}
TN_MODULE(rows, rows_forward);

static tn_module *rows_new(tn_module *recurrent, int64_t outputs)
{
    rows *net = TN_NEW(rows);
    TN_CHILD(net, recurrent, recurrent);
    TN_CHILD(net, fc, tn_linear_new(outputs, 10));
    return &net->base;
}

static tn_module *lstm_new(void)
{
    return rows_new(tn_lstm_new(28, 24, .num_layers = 2, .bidirectional = true, .batch_first = true), 48);
}

static tn_module *gru_new(void) { return rows_new(tn_gru_new(28, 40, .batch_first = true), 40); }

/* Reads an image as a sequence of rows; the mean of what an encoder makes of them decides. */
typedef struct encoded {
    tn_module base;
    tn_module *embed, *fc, *encoder;
} encoded;

static tn_tensor *encoded_forward(encoded *net, tn_tensor *x)
{
    return tn_call(net->fc, tn_mean(tn_call(net->encoder, tn_call(net->embed, tn_squeeze(x, 1))), .dim = 1));
}
TN_MODULE(encoded, encoded_forward);

static tn_module *encoder_new(void)
{
    encoded *net = TN_NEW(encoded);
    tn_module *layer = tn_transformer_encoder_layer_new(32, 4, .dim_feedforward = 48, .dropout = 0, .batch_first = true, .norm_first = true,
                                                        .activation = TN_TRANSFORMER_GELU);
    TN_CHILD(net, embed, tn_linear_new(28, 32));
    TN_CHILD(net, fc, tn_linear_new(32, 10));
    TN_CHILD(net, encoder, tn_transformer_encoder_new(layer, 2, .norm = tn_layer_norm_new(TN_SHAPE(32))));
    return &net->base;
}

static void test_mlp(void **state)
{
    (void)state;
    train(mlp_new(), 8, TN_F64, mlp_f64, 100, 1e-9);
    train(mlp_new(), 8, TN_F32, mlp_f32, 20, 1e-4);
}

static void test_norm(void **state)
{
    (void)state;
    train(norm_new(), 8, TN_F64, norm_f64, 100, 1e-9);
    train(norm_new(), 8, TN_F32, norm_f32, 20, 5e-4); /* images changed by some ulp alone end 1.4e-4 away in one run of eight: a ReLU takes the other side */
}

static void test_lenet(void **state)
{
    (void)state;
    train(lenet_new(), 4, TN_F64, lenet_f64, 100, 1e-9);
    train(lenet_new(), 4, TN_F32, lenet_f32, 20, 1e-4);
}

static void test_fused(void **state)
{
    (void)state;
    case_skip_slow_device();
    train(fused_new(), 4, TN_F64, lenet_f64, 100, 1e-9);
}

static void test_lstm(void **state)
{
    (void)state;
    train(lstm_new(), 8, TN_F64, lstm_f64, 100, 1e-9);
    train(lstm_new(), 8, TN_F32, lstm_f32, 20, 1e-4);
}

static void test_gru(void **state)
{
    (void)state;
    train(gru_new(), 8, TN_F64, gru_f64, 100, 1e-9);
    train(gru_new(), 8, TN_F32, gru_f32, 20, 1e-4);
}

static void test_encoder(void **state)
{
    (void)state;
    train(encoder_new(), 8, TN_F64, encoder_f64, 100, 1e-9);
    train(encoder_new(), 8, TN_F32, encoder_f32, 20, 1e-4);
}

/* Weights after five steps with dropout, from a seed, on so many threads: one list, owned by the scope. */
static const tn_dict *trained(tn_module *net, int threads)
{
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
    tn_optim *opt = tn_adam_new(tn_parameters(net), 1e-3);
    tn_tensor *labels, *x = tn_reshape(tn_div(tn_draw_digits(32, &labels), 255.), TN_SHAPE(32, 1, 28, 28));
    const tn_device_id on = tn_get_default_device();
    tn_loader *loader = tn_loader_new(tn_tensor_dataset_new(x, labels), .batch_size = 16, .shuffle = true, .workers = threads - 1, .device = &on);
    for (int epoch = 0; epoch < (test_quickly() ? 1 : 3); epoch++)
        TN_FOREACH_BATCH(batch, loader) {
            tn_tensor *loss = tn_cross_entropy(tn_dropout(tn_call(net, batch->x), 0.1, true), batch->y);
            tn_zero_grad(opt);
            assert_int_equal(tn_backward(loss), TN_OK);
            assert_int_equal(tn_step(opt), TN_OK);
        }
    tn_dict *dict = tn_state_dict(tn_adopt(net));
    check_good();
    tn_release(loader);
    tn_release(opt);
    return dict;
}

/* The same seed and thread count: the same bits. Another seed: others. */
static void test_the_same_bits_twice(void **state)
{
    (void)state;
    case_skip_slow_device();
    int before = tn_get_num_threads();
    for (int threads = 1; threads <= 2; threads++)
        for (int conv = 0; conv < 2; conv++) {
            TN_SCOPE;
            const tn_dict *runs[3];
            for (int i = 0; i < 3; i++) {
                tn_manual_seed(i < 2 ? 11 : 12);
                runs[i] = trained(conv ? lenet_new() : mlp_new(), threads);
            }
            for (int64_t k = 0; k < tn_dict_count(runs[0]); k++) {
                tn_tensor *a = tn_dict_tensor(runs[0], k);
                assert_true(tn_equal(a, tn_dict_tensor(runs[1], k)));
                assert_false(tn_equal(a, tn_dict_tensor(runs[2], k)));
            }
        }
    assert_int_equal(tn_set_num_threads(before), TN_OK);
}

int main(void)
{
    case_use_device();
    const struct CMUnitTest tests[] = {
        TEST(test_mlp), TEST(test_norm), TEST(test_lenet), TEST(test_fused), TEST(test_lstm), TEST(test_gru), TEST(test_encoder), TEST(test_the_same_bits_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
