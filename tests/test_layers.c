/* Layers as modules: each is its operator with the options that it was given; their first weights, their lists, their table, and their
 * weights from files of other dtypes.
 * labels: quick */
#include "cases.h"

#include <stdio.h>
#include <unistd.h>

/* Both are the same to the last bit, and neither failed. Takes the module. */
static void same(tn_module *layer, tn_tensor *x, tn_tensor *due, const char *file, int line)
{
    tn_tensor *y = tn_call(layer, x);
    if (!y || !due || !tn_equal(y, due))
        fail_msg("%s:%d: the module and its operator differ: %s", file, line, tn_last_error() ? tn_last_error() : "other numbers");
    tn_release(layer);
}
#define SAME(layer, x, due) same((layer), (x), (due), __FILE__, __LINE__)

static void test_activations(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_linspace(-4, 4, 33, .dtype = TN_F64), *rows = tn_reshape(tn_linspace(-2, 3, 12), TN_SHAPE(3, 4));
    SAME(tn_relu_new(), x, tn_relu(x));
    SAME(tn_leaky_relu_new(0.2), x, tn_leaky_relu(x, .negative_slope = 0.2));
    SAME(tn_elu_new(0.5), x, tn_elu(x, .alpha = 0.5));
    SAME(tn_gelu_new(false), x, tn_gelu(x));
    SAME(tn_gelu_new(true), x, tn_gelu(x, .tanh = true));
    SAME(tn_silu_new(), x, tn_silu(x));
    SAME(tn_mish_new(), x, tn_mish(x));
    SAME(tn_hardswish_new(), x, tn_hardswish(x));
    SAME(tn_softplus_new(2, 3), x, tn_softplus(x, .beta = 2, .threshold = 3));
    SAME(tn_sigmoid_new(), x, tn_sigmoid(x));
    SAME(tn_tanh_new(), x, tn_tanh(x));
    SAME(tn_softmax_new(0), rows, tn_softmax(rows, 0));
    SAME(tn_log_softmax_new(-1), rows, tn_log_softmax(rows, 1));
    SAME(tn_identity_new(), x, x);
    SAME(tn_flatten_new(), tn_reshape(rows, TN_SHAPE(3, 2, 2)), rows);
    SAME(tn_flatten_new(.start_dim = 0, .end_dim = 1), tn_reshape(rows, TN_SHAPE(3, 2, 2)), tn_reshape(rows, TN_SHAPE(6, 2)));
}

static void test_convolution(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_randn(TN_SHAPE(2, 4, 9, 11));
    tn_module *conv = tn_conv2d_new(4, 6, 0, .kernel_hw = {3, 2}, .stride_hw = {2, 1}, .padding_hw = {1, 2}, .dilation_hw = {2, 3}, .groups = 2);
    tn_tensor *w = tn_parameter(conv, "weight"), *b = tn_parameter(conv, "bias");
    check_shape(w, 6, 2, 3, 2);
    check_shape(b, 6);
    SAME(conv, x, tn_conv2d(x, w, b, .stride_hw = {2, 1}, .padding_hw = {1, 2}, .dilation_hw = {2, 3}, .groups = 2));
    conv = tn_conv2d_new(4, 3, 3, .stride = 2, .padding = 2, .dilation = 2, .bias = false, .activation = TN_ACTIVATION_RELU, .dtype = TN_F64);
    x = tn_cast(x, TN_F64);
    w = tn_parameter(conv, "weight");
    assert_int_equal(tn_dict_count(tn_named_parameters(conv)), 1);
    SAME(conv, x, tn_relu(tn_conv2d(x, w, NULL, .stride = 2, .padding = 2, .dilation = 2)));
}

static void test_pooling(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_randn(TN_SHAPE(2, 3, 10, 12));
    SAME(tn_max_pool2d_new(3), x, tn_max_pool2d(x, 3));
    SAME(tn_max_pool2d_new(3, .stride = 2, .padding = 1, .dilation = 2), x, tn_max_pool2d(x, 3, .stride = 2, .padding = 1, .dilation = 2));
    tn_tensor *due = tn_max_pool2d(x, 0, .kernel_hw = {2, 3}, .stride_hw = {3, 4}, .padding_hw = {1, 0}, .dilation_hw = {1, 2}, .ceil_mode = true);
    SAME(tn_max_pool2d_new(0, .kernel_hw = {2, 3}, .stride_hw = {3, 4}, .padding_hw = {1, 0}, .dilation_hw = {1, 2}, .ceil_mode = true), x, due);
    check_shape(tn_max_pool2d(x, 3, .stride = 4, .ceil_mode = true), 2, 3, 3, 3);
    SAME(tn_max_pool2d_new(3, .stride = 4, .ceil_mode = true), x, tn_max_pool2d(x, 3, .stride = 4, .ceil_mode = true));
    SAME(tn_avg_pool2d_new(3), x, tn_avg_pool2d(x, 3));
    SAME(tn_avg_pool2d_new(2, .stride = 3, .padding = 1), x, tn_avg_pool2d(x, 2, .stride = 3, .padding = 1));
    SAME(tn_avg_pool2d_new(3, .stride = 4, .ceil_mode = true), x, tn_avg_pool2d(x, 3, .stride = 4, .ceil_mode = true));
    due = tn_avg_pool2d(x, 0, .kernel_hw = {2, 3}, .stride_hw = {2, 1}, .padding_hw = {1, 1}, .count_include_pad = false);
    SAME(tn_avg_pool2d_new(0, .kernel_hw = {2, 3}, .stride_hw = {2, 1}, .padding_hw = {1, 1}, .count_include_pad = false), x, due);
}

static void test_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    assert_null(tn_conv2d_new(4, 6, 3, .groups = 4));
    check_error(TN_ERR_ARGUMENT, "4 groups");
    assert_null(tn_conv2d_new(4, 6, 0));
    check_error(TN_ERR_ARGUMENT, "kernel 0x0");
    assert_null(tn_conv2d_new(4, 6, 3, .stride_hw = {1, 0}));
    check_error(TN_ERR_ARGUMENT, "at least 1");
    assert_null(tn_conv2d_new(4, 6, INT64_MAX / 2));
    check_error(TN_ERR_SHAPE, "more elements than can be counted");
    assert_null(tn_linear_new(3, 4, .dtype = TN_I64));
    check_error(TN_ERR_DTYPE, "int64");
}

/* ---- first weights ------------------------------------------------------------------------------------------------------ */

/* Of a uniform law on ±bound, or a normal one of that deviation where bound is 0: range, mean, variance and kurtosis. */
static void follows(tn_tensor *x, double bound, double std)
{
    check_good();
    int64_t n = tn_numel(x);
    tn_tensor *wide = tn_cast(tn_detach(x), TN_F64);
    double variance = bound > 0 ? bound * bound / 3 : std * std, mean = tn_item(tn_mean(wide)), most = tn_item(tn_max(tn_abs(wide)));
    double second = tn_item(tn_mean(tn_square(wide))), fourth = tn_item(tn_mean(tn_square(tn_square(wide))));
    double kurtosis = bound > 0 ? 1.8 : 3, error = 5 / sqrt((double)n);
    if (!(fabs(mean) < error * sqrt(variance)) || !(fabs(second / variance - 1) < error * sqrt(kurtosis - 1)) ||
        !(fabs(fourth / second / second - kurtosis) < 20 * error) || !(bound > 0 ? most <= bound && most > bound * (1 - 12.0 / (double)n) : most > 3 * std))
        fail_msg("mean %g, variance %g (%g was due), kurtosis %g (%g), at most %g", mean, second, variance, fourth / second / second, kurtosis, most);
}

/* PyTorch's: kaiming_uniform_(a = sqrt(5)) of the weight, which is uniform on ±1/sqrt(fan in), as the bias is. */
static void test_default_weights(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(17);
    tn_module *linear = tn_linear_new(64, 300), *conv = tn_conv2d_new(12, 200, 0, .kernel_hw = {3, 5}, .groups = 4);
    follows(tn_parameter(linear, "weight"), 1 / sqrt(64), 0);
    follows(tn_parameter(linear, "bias"), 1 / sqrt(64), 0);
    follows(tn_parameter(conv, "weight"), 1 / sqrt(3 * 3 * 5), 0);
    follows(tn_parameter(conv, "bias"), 1 / sqrt(3 * 3 * 5), 0);
    tn_release(linear);
    tn_release(conv);
    tn_tensor *w = tn_empty(TN_SHAPE(40, 30, 3, 5), .requires_grad = true);
    const double in = 30 * 15, out = 40 * 15;
    follows(tn_init_kaiming_uniform(w), sqrt(3) * sqrt(2 / in), 0);
    follows(tn_init_kaiming_uniform(w, .a = sqrt(5)), 1 / sqrt(in), 0);
    follows(tn_init_kaiming_uniform(w, .mode = TN_FAN_OUT, .nonlinearity = TN_NONLINEARITY_LINEAR), sqrt(3 / out), 0);
    follows(tn_init_kaiming_normal(w, .nonlinearity = TN_NONLINEARITY_RELU), 0, sqrt(2 / in));
    follows(tn_init_kaiming_normal(w, .mode = TN_FAN_OUT, .nonlinearity = TN_NONLINEARITY_TANH), 0, 5. / 3 / sqrt(out));
    follows(tn_init_kaiming_normal(w, .nonlinearity = TN_NONLINEARITY_SELU), 0, 0.75 / sqrt(in));
    follows(tn_init_xavier_uniform(w), sqrt(6 / (in + out)), 0);
    follows(tn_init_xavier_normal(w, .gain = 3), 0, 3 * sqrt(2 / (in + out)));
    follows(tn_init_uniform(w, -2, 2), 2, 0);
    follows(tn_init_normal(w, 0, 4), 0, 4);
    assert_true(tn_is_leaf(w) && tn_requires_grad(w));
    check_values(tn_init_ones(tn_empty(TN_SHAPE(2))), 0, 1, 1);
    check_values(tn_init_zeros(tn_empty(TN_SHAPE(2))), 0, 0, 0);
    check_values(tn_init_constant(tn_empty(TN_SHAPE(2)), -3), 0, -3, -3);
}

/* ---- lists -------------------------------------------------------------------------------------------------------------- */

static void test_lists(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *list = tn_module_list_new(tn_linear_new(2, 3), tn_linear_new(3, 4));
    assert_int_equal(tn_append(list, tn_linear_new(4, 5)), TN_OK);
    assert_int_equal(tn_num_children(list), 3);
    assert_string_equal(tn_child_name(list, -1), "2");
    assert_int_equal(tn_dict_count(tn_named_parameters(list)), 6);
    assert_int_equal(tn_dict_find(tn_named_parameters(list), "2.weight"), 4);
    tn_tensor *x = tn_ones(TN_SHAPE(1, 2));
    for (int i = 0; i < tn_num_children(list); i++)
        x = tn_call(tn_child_at(list, i), x);
    check_shape(x, 1, 5);
    assert_null(tn_call(list, x));
    check_error(TN_ERR_STATE, "module_list: it has no forward");
    assert_int_equal(tn_append(tn_child_at(list, 0), tn_relu_new()), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "linear is no sequential and no module_list");
    assert_int_equal(tn_append(list, NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "NULL");
    assert_int_equal(tn_num_children(list), 3);
    tn_module *chain = tn_sequential_new_from(NULL, 0); /* the empty chain gives what it gets */
    assert_true(tn_call(chain, x) == x);
    assert_int_equal(tn_append(chain, tn_retain(tn_child_at(list, 1))), TN_OK); /* a layer under two owners */
    tn_release(list);
    check_shape(tn_call(chain, tn_ones(TN_SHAPE(7, 3))), 7, 4);
    tn_release(chain);
}

/* ---- freezing, and the table -------------------------------------------------------------------------------------------- */

static tn_module *lenet_new(void)
{
    return tn_sequential_new(tn_conv2d_new(1, 20, 3, .padding = 1, .activation = TN_ACTIVATION_RELU), tn_max_pool2d_new(2),
                             tn_conv2d_new(20, 50, 3, .stride_hw = {2, 1}, .padding_hw = {1, 0}, .dilation = 2, .groups = 2, .bias = false),
                             tn_flatten_new(), tn_linear_new(3000, 10), tn_dropout_new(0.5));
}

static void test_freezing(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *net = lenet_new();
    tn_optim *opt = tn_sgd_new(tn_parameters(net), 0.1);
    tn_tensor *x = tn_rand(TN_SHAPE(2, 1, 28, 28)), *weight = tn_parameter(net, "0.weight"), *head = tn_parameter(net, "4.weight");
    tn_tensor *before = tn_clone(tn_detach(weight)), *head_before = tn_clone(tn_detach(head));
    assert_int_equal(tn_backward(tn_sum(tn_call(net, x))), TN_OK);
    assert_non_null(tn_grad(weight));
    tn_freeze(tn_child(net, "0"), true);
    assert_null(tn_grad(weight)); /* what a step would still have used */
    tn_zero_grad(opt);
    assert_int_equal(tn_backward(tn_sum(tn_call(net, x))), TN_OK);
    assert_int_equal(tn_step(opt), TN_OK);
    assert_true(tn_equal(weight, before));
    assert_false(tn_equal(head, head_before));
    tn_freeze(net, true);
    assert_false(tn_requires_grad(tn_call(net, x)));
    tn_freeze(net, false);
    assert_int_equal(tn_backward(tn_sum(tn_call(net, x))), TN_OK);
    assert_int_equal(tn_step(opt), TN_OK);
    assert_false(tn_equal(weight, before));
    tn_release(opt);
    tn_release(net);
}

static void test_the_table(void **state)
{
    (void)state;
    TN_SCOPE;
    static const char due[] =
        "Layer                                                                                        Output shape       Parameters\n"
        "sequential                                                                                   [2, 10]                     0\n"
        "  0 conv2d(1, 20, kernel=3x3, stride=1x1, padding=1x1, activation=relu)                      [2, 20, 28, 28]           200\n"
        "  1 max_pool2d(kernel=2x2, stride=2x2, padding=0x0)                                          [2, 20, 14, 14]             0\n"
        "  2 conv2d(20, 50, kernel=3x3, stride=2x1, padding=1x0, dilation=2x2, groups=2, bias=False)  [2, 50, 6, 10]           4500\n"
        "  3 flatten                                                                                  [2, 3000]                   0\n"
        "  4 linear(3000, 10)                                                                         [2, 10]                 30010\n"
        "  5 dropout(0.5)                                                                             [2, 10]                     0\n"
        "Total: 34710 parameters, 30210 of them trainable\n";
    tn_module *net = lenet_new();
    char text[4096];
    tn_freeze(tn_child(net, "2"), true);
    tn_tensor *x = tn_zeros(TN_SHAPE(2, 1, 28, 28));
    size_t length = tn_format_summary(net, x, text, sizeof text);
    check_good();
    assert_string_equal(text, due);
    assert_int_equal(length, strlen(due));
    assert_int_equal(tn_format_summary(net, x, text, 100), strlen(due));
    assert_int_equal(strlen(text), 99);
    assert_int_equal(tn_format_summary(net, x, NULL, 100), strlen(due));
    assert_true(tn_is_training(tn_child(net, "5")));

    assert_int_equal(tn_format_summary(net, tn_zeros(TN_SHAPE(2, 1, 14, 14)), text, sizeof text), 0);
    check_error(TN_ERR_SHAPE, "linear: x is");
    assert_string_equal(text, "");
    assert_true(tn_is_training(tn_child(net, "5"))); /* the modes come back after an error too */
    assert_int_equal(tn_summary(NULL, x), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "summary: the module is NULL");
    tn_release(net);
}

/* ---- files of other dtypes ---------------------------------------------------------------------------------------------- */

/* A file in half precision, whole numbers and f64 loads into a model in f32, as PyTorch's copy_ does; the model's own dtypes stay. */
static void test_a_file_of_other_dtypes(void **state)
{
    (void)state;
#ifndef TENON_HAVE_CJSON
    print_message("skipped: this build is without cJSON\n");
    skip();
#endif
    TN_SCOPE;
    char path[64];
    snprintf(path, sizeof path, "/tmp/tenon-layers-%ld.safetensors", (long)getpid());
    tn_module *net = tn_sequential_new(tn_linear_new(2, 2), tn_linear_new(2, 2));
    tn_tensor *w = tn_from_doubles(((double[]){0.5, -1.25, 3, 4}), TN_SHAPE(2, 2));
    tn_dict *dict = tn_adopt(tn_dict_new());
    int bad = tn_dict_set(dict, "0.weight", tn_transpose(tn_cast(w, TN_F16), 0, 1)) | tn_dict_set(dict, "0.bias", tn_arange(-1, 1)) |
              tn_dict_set(dict, "1.weight", tn_cast(w, TN_BF16)) | tn_dict_set(dict, "1.bias", tn_full(TN_SHAPE(2), 1. / 3, .dtype = TN_F64));
    assert_int_equal(bad, TN_OK);
    assert_int_equal(tn_save_safetensors(dict, path), TN_OK);
    uint64_t version = tn_version_of(tn_parameter(net, "0.weight"));
    assert_int_equal(tn_load_module(net, path), TN_OK);
    check_values(tn_parameter(net, "0.weight"), 0, 0.5, 3, -1.25, 4);
    check_values(tn_parameter(net, "0.bias"), 0, -1, 0);
    check_values(tn_parameter(net, "1.weight"), 0, 0.5, -1.25, 3, 4);
    check_values(tn_parameter(net, "1.bias"), 0, (double)(1.f / 3), (double)(1.f / 3));
    assert_int_equal(tn_dtype_of(tn_parameter(net, "0.weight")), TN_F32);
    assert_true(tn_version_of(tn_parameter(net, "0.weight")) > version);
    tn_module *other = tn_sequential_new(tn_linear_new(2, 2), tn_linear_new(2, 2));
    assert_int_equal(tn_save_module(net, path), TN_OK);
    assert_int_equal(tn_load_module(other, path), TN_OK);
    tn_tensor *x = tn_randn(TN_SHAPE(3, 2));
    assert_true(tn_equal(tn_call(net, x), tn_call(other, x)));
    tn_module *larger = tn_sequential_new(tn_linear_new(2, 2), tn_linear_new(2, 3));
    assert_int_equal(tn_load_module(larger, path), TN_ERR_SHAPE);
    check_error(TN_ERR_SHAPE, "\"1.weight\" is [3, 2] in the module and [2, 2] in the dict");
    assert_false(tn_equal(tn_parameter(larger, "0.weight"), tn_parameter(net, "0.weight"))); /* all or none */
    assert_int_equal(tn_load_module(net, "/nonexistent/x"), TN_ERR_IO);
    check_error(TN_ERR_IO, "/nonexistent/x");
    unlink(path);
    tn_release(net);
    tn_release(other);
    tn_release(larger);
}

int main(void)
{
    case_use_device();
    const struct CMUnitTest tests[] = {
        TEST(test_activations), TEST(test_convolution), TEST(test_pooling), TEST(test_errors), TEST(test_default_weights),
        TEST(test_lists), TEST(test_freezing), TEST(test_the_table), TEST(test_a_file_of_other_dtypes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
