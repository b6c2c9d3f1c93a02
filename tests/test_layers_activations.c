#include "layer_table.h"

#define A(name) op_number(args, name, 0)
#define I(name) (int)op_int(args, name, 0)

#define PLAIN(X)                                                                                                              \
    X(relu, NULL, tn_relu_new())                                                                                              \
    X(silu, NULL, tn_silu_new())                                                                                              \
    X(mish, NULL, tn_mish_new())                                                                                              \
    X(hardswish, NULL, tn_hardswish_new())                                                                                    \
    X(sigmoid, NULL, tn_sigmoid_new())                                                                                        \
    X(tanh, NULL, tn_tanh_new())                                                                                              \
    X(relu6, NULL, tn_relu6_new())                                                                                            \
    X(selu, NULL, tn_selu_new())                                                                                              \
    X(log_sigmoid, NULL, tn_log_sigmoid_new())                                                                                \
    X(hardsigmoid, NULL, tn_hardsigmoid_new())                                                                                \
    X(softsign, NULL, tn_softsign_new())                                                                                      \
    X(tanhshrink, NULL, tn_tanhshrink_new())                                                                                  \
    X(flatten, NULL, tn_flatten_new())                                                                                        \
    X(identity, NULL, tn_identity_new())
#define ACTIVATIONS(X)                                                                                                        \
    PLAIN(X)                                                                                                                  \
    X(leaky_relu, NULL, tn_leaky_relu_new(A("negative_slope")))                                                               \
    X(elu, NULL, tn_elu_new(A("alpha")))                                                                                      \
    X(gelu, NULL, tn_gelu_new(op_flag(args, "tanh")))                                                                         \
    X(softplus, NULL, tn_softplus_new(A("beta"), A("threshold")))                                                             \
    X(softmax, NULL, tn_softmax_new(I("dim")))                                                                                \
    X(log_softmax, NULL, tn_log_softmax_new(I("dim")))                                                                        \
    X(softmin, NULL, tn_softmin_new(I("dim")))                                                                                \
    X(hardtanh, NULL, tn_hardtanh_new(A("low"), A("high")))                                                                   \
    X(celu, NULL, tn_celu_new(A("alpha")))                                                                                    \
    X(hardshrink, NULL, tn_hardshrink_new(A("lambd")))                                                                        \
    X(softshrink, NULL, tn_softshrink_new(A("lambd")))                                                                        \
    X(threshold, NULL, tn_threshold_new(A("threshold"), A("value")))                                                          \
    X(glu, NULL, tn_glu_new(I("dim")))                                                                                        \
    X(prelu, NULL, tn_prelu_new(I("count"), 0.25))                                                                            \
    X(dropout, NULL, tn_dropout_new(A("p")))
LAYER_TABLE(rows, ACTIVATIONS);

static void test_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3)), *whole = tn_ones(TN_SHAPE(2), .dtype = TN_I64);
    tn_tensor *(*const plain[])(tn_tensor *) = {tn_relu6, tn_selu, tn_log_sigmoid, tn_hardsigmoid, tn_softsign, tn_tanhshrink};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        check_fails(plain[i](whole), TN_ERR_DTYPE, "int64");
        check_fails(plain[i](NULL), TN_ERR_ARGUMENT, "x is NULL");
    }
    check_fails(tn_hardtanh(x, .min_val = 1, .max_val = 1), TN_ERR_ARGUMENT, "hardtanh: min_val is 1");
    check_fails(tn_hardtanh(whole), TN_ERR_DTYPE, "hardtanh: int64");
    check_fails(tn_celu(x, .alpha = 0), TN_ERR_ARGUMENT, "celu: alpha is 0");
    check_fails(tn_celu(whole), TN_ERR_DTYPE, "celu: int64");
    check_fails(tn_hardshrink(whole), TN_ERR_DTYPE, "hardshrink: int64");
    check_fails(tn_softshrink(x, .lambd = -1), TN_ERR_ARGUMENT, "softshrink: lambd is -1");
    check_fails(tn_softshrink(NULL), TN_ERR_ARGUMENT, "softshrink: x is NULL");
    check_fails(tn_threshold(whole, 1, 2), TN_ERR_DTYPE, "threshold: int64");
    check_fails(tn_glu(x, -1), TN_ERR_SHAPE, "glu: [2, 3] dim 1 even");
    check_fails(tn_glu(tn_ones(TN_SCALAR), 0), TN_ERR_SHAPE, "glu: []");
    check_fails(tn_glu(x, 2), TN_ERR_INDEX, "glu: 2");
    check_fails(tn_softmin(whole, 0), TN_ERR_DTYPE, "softmin: int64");
    check_fails(tn_prelu(x, tn_ones(TN_SHAPE(2))), TN_ERR_SHAPE, "prelu: [2, 3] weight is [2] [1] [3]");
    check_fails(tn_prelu(x, tn_ones(TN_SHAPE(3), .dtype = TN_F64)), TN_ERR_DTYPE, "prelu: float32 float64");
    check_fails(tn_prelu(x, NULL), TN_ERR_ARGUMENT, "prelu: weight is NULL");
    check_fails(tn_prelu_new(0, 0.25), TN_ERR_ARGUMENT, "prelu_new: 0 weights");
}

static void test_forms(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *one = tn_prelu(tn_full(TN_SCALAR, -2), tn_full(TN_SHAPE(1), 0.5));
    assert_int_equal(tn_ndim(one), 0);
    check_values(one, 0, -1);
    const float *ends = tn_data(tn_log_sigmoid(tn_from_floats((float[]){200, INFINITY, -INFINITY}, TN_SHAPE(3))));
    assert_true(ends[0] == 0 && !signbit(ends[0]) && ends[1] == 0 && !signbit(ends[1]) && ends[2] == -INFINITY); /* as PyTorch's */
    tn_module *net = tn_sequential_new(tn_prelu_new(3, 0.25), tn_hardtanh_new(-2, 2));
    check_values(tn_parameter(net, "0.weight"), 0, 0.25, 0.25, 0.25);
    char text[512];
    assert_true(tn_format_summary(net, tn_ones(TN_SHAPE(2, 3)), text, sizeof text));
    assert_non_null(strstr(text, "prelu(3)"));
    assert_non_null(strstr(text, "hardtanh(-2, 2)"));
    tn_release(net);
    check_good();
}

int main(void)
{
    const struct CMUnitTest tests[] = {LAYER_TABLE_TESTS, TEST(test_errors), TEST(test_forms)};
    return layer_table_load("activations", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
