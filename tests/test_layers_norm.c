#include "layer_table.h"

#include <stdlib.h>
#include <unistd.h>

static bool yes(const op_args *args, const char *name) { return !op_has(args, name) || op_flag(args, name); }

#define BATCH                                                                                                                 \
    op_int(args, "features", 0), .momentum = op_number(args, "momentum", 0.1), .cumulative = op_flag(args, "cumulative"),     \
        .eps = op_number(args, "eps", 1e-5), .affine = yes(args, "affine"), .track_running_stats = yes(args, "track")

#define NORMS(X)                                                                                                              \
    X(batch_norm1d, NULL, tn_batch_norm1d_new(BATCH))                                                                         \
    X(batch_norm2d, NULL, tn_batch_norm2d_new(BATCH))                                                                         \
    X(layer_norm, NULL, tn_layer_norm_new(op_shape(args, "shape"), .eps = op_number(args, "eps", 1e-5),                       \
                                          .elementwise_affine = yes(args, "affine"), .bias = yes(args, "bias")))              \
    X(rms_norm, NULL, tn_rms_norm_new(op_shape(args, "shape"), .eps = op_number(args, "eps", -1),                             \
                                      .elementwise_affine = yes(args, "affine")))                                             \
    X(group_norm, NULL, tn_group_norm_new(op_int(args, "groups", 0), op_int(args, "channels", 0),                             \
                                          .eps = op_number(args, "eps", 1e-5), .affine = yes(args, "affine")))
LAYER_TABLE(rows, NORMS);

static void test_operator_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3, 4)), *three = tn_ones(TN_SHAPE(3)), *two = tn_ones(TN_SHAPE(2));
    check_fails(tn_batch_norm(NULL), TN_ERR_ARGUMENT, "batch_norm: x is NULL");
    check_fails(tn_batch_norm(x), TN_ERR_ARGUMENT, "batch_norm: running_mean running_var needed");
    check_fails(tn_batch_norm(x, three, two), TN_ERR_SHAPE, "batch_norm: [2, 3, 4] running_var [2] must be [3]");
    check_fails(tn_batch_norm(x, NULL, NULL, two, .training = true), TN_ERR_SHAPE, "weight is [2]: it must be [3]");
    check_fails(tn_batch_norm(x, NULL, NULL, three, two, .training = true), TN_ERR_SHAPE, "bias is [2]: it must be [3]");
    check_fails(tn_batch_norm(x, NULL, NULL, tn_cast(three, TN_F64), .training = true), TN_ERR_DTYPE, "float32 weight float64");
    check_fails(tn_batch_norm(tn_ones(TN_SHAPE(1, 3)), NULL, NULL, .training = true), TN_ERR_SHAPE, "[1, 3] one value variance");
    check_fails(tn_batch_norm(three, .training = true), TN_ERR_SHAPE, "batch_norm: x is [3] [n, c]");
    check_fails(tn_batch_norm(tn_cast(x, TN_I64), .training = true), TN_ERR_DTYPE, "batch_norm: int64");
    check_fails(tn_batch_norm(x, .training = true, .residual = three), TN_ERR_SHAPE, "residual is [3]: it must be [2, 3, 4]");
    check_fails(tn_batch_norm(x, .training = true, .residual = tn_cast(x, TN_F64)), TN_ERR_DTYPE, "float32 residual float64");
    check_fails(tn_batch_norm(x, .training = true, .activation = (tn_activation)7), TN_ERR_ARGUMENT, "batch_norm: activation 7");
    check_fails(tn_layer_norm(x, TN_SHAPE(3)), TN_ERR_SHAPE, "layer_norm: [2, 3, 4] last dims [3]");
    check_fails(tn_layer_norm(x, TN_SHAPE(4), three), TN_ERR_SHAPE, "layer_norm: weight is [3] must be [4]");
    check_fails(tn_layer_norm(x, TN_SCALAR), TN_ERR_SHAPE, "layer_norm: at least one");
    check_fails(tn_layer_norm(x, TN_SHAPE(1, 2, 3, 4)), TN_ERR_SHAPE, "layer_norm: [1, 2, 3, 4]");
    check_fails(tn_rms_norm(x, TN_SHAPE(4), three), TN_ERR_SHAPE, "rms_norm: weight");
    check_fails(tn_rms_norm(NULL, TN_SHAPE(4)), TN_ERR_ARGUMENT, "rms_norm: x is NULL");
    check_fails(tn_group_norm(x, 2), TN_ERR_ARGUMENT, "group_norm: [2, 3, 4] groups is 2 divide 3");
    check_fails(tn_group_norm(x, 0), TN_ERR_ARGUMENT, "group_norm: groups is 0");
    check_fails(tn_group_norm(x, 3, two), TN_ERR_SHAPE, "group_norm: weight is [2]");
}

static void test_layer_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3, 4));
    check_fails(tn_batch_norm1d_new(0), TN_ERR_ARGUMENT, "batch_norm1d_new: 0 features");
    check_fails(tn_layer_norm_new(TN_SCALAR), TN_ERR_ARGUMENT, "layer_norm_new: 0 dims");
    check_fails(tn_group_norm_new(2, 3), TN_ERR_ARGUMENT, "group_norm_new: 2 groups 3 channels");
    check_fails(tn_group_norm_new(0, 3), TN_ERR_ARGUMENT, "group_norm_new: 0 groups");
    check_fails(tn_call(tn_adopt(tn_batch_norm2d_new(3)), x), TN_ERR_SHAPE, "batch_norm2d: [2, 3, 4] [n, c, h, w]");
    check_fails(tn_call(tn_adopt(tn_batch_norm1d_new(4)), x), TN_ERR_SHAPE, "batch_norm1d: [2, 3, 4] 3 channels layer has 4");
    check_fails(tn_call(tn_adopt(tn_batch_norm1d_new(3)), x, NULL), TN_ERR_ARGUMENT, "batch_norm1d: residual is NULL");
    check_fails(tn_call(tn_adopt(tn_batch_norm1d_new(3)), x, x, x), TN_ERR_ARGUMENT, "batch_norm1d: x and a residual 3 inputs");
    check_fails(tn_call(tn_adopt(tn_group_norm_new(2, 4)), x), TN_ERR_SHAPE, "group_norm: 3 channels layer has 4");
    check_fails(tn_call(tn_adopt(tn_layer_norm_new(TN_SHAPE(3))), x), TN_ERR_SHAPE, "layer_norm: [2, 3, 4] [3]");
}

/* A layer with an activation and a second input is the plain layer, add and ReLU; without the second one, the plain layer and ReLU. */
static void test_endings(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(4);
    tn_module *norm = tn_adopt(tn_batch_norm2d_new(3, .activation = TN_ACTIVATION_RELU)), *plain = tn_adopt(tn_batch_norm2d_new(3));
    tn_tensor *x = tn_randn(TN_SHAPE(2, 3, 5, 4)), *residual = tn_randn(TN_SHAPE(2, 3, 5, 4));
    for (int training = 1; training >= 0; training--) {
        tn_train(norm, training);
        tn_train(plain, training);
        assert_true(tn_equal(tn_call(norm, x, residual), tn_relu(tn_add(tn_call(plain, x), residual))));
        assert_true(tn_equal(tn_call(norm, x), tn_relu(tn_call(plain, x))));
        assert_true(tn_equal(tn_parameter(norm, "running_var"), tn_parameter(plain, "running_var")));
    }
    check_good();
}

/* PyTorch's names, in a file and back; evaluation changes nothing. */
static void test_state(void **state)
{
    (void)state;
    TN_SCOPE;
    char path[] = "/tmp/tenon-norm-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    tn_module *net = tn_sequential_new(tn_batch_norm1d_new(2), tn_layer_norm_new(TN_SHAPE(2))), *other = NULL;
    tn_tensor *x = tn_from_floats((float[]){1, 2, 3, 6}, TN_SHAPE(2, 2));
    tn_call(net, x);
    tn_call(net, x);
    const char *const names[] = {"0.weight", "0.bias", "0.running_mean", "0.running_var", "0.num_batches_tracked", "1.weight", "1.bias"};
    const tn_dict *dict = tn_state_dict(net);
    assert_int_equal(tn_dict_count(dict), 7);
    for (int i = 0; i < 7; i++)
        assert_string_equal(tn_dict_name(dict, i), names[i]);
    check_values(tn_dict_get(dict, "0.running_mean"), 1e-6, 0.19 * 2, 0.19 * 4);
    check_values(tn_dict_get(dict, "0.running_var"), 1e-6, 0.81 + 0.19 * 2, 0.81 + 0.19 * 8);
    assert_int_equal(tn_item_i64(tn_dict_get(dict, "0.num_batches_tracked")), 2);
    assert_int_equal(tn_save_module(net, path), TN_OK);
    other = tn_sequential_new(tn_batch_norm1d_new(2), tn_layer_norm_new(TN_SHAPE(2)));
    assert_int_equal(tn_load_module(other, path), TN_OK);
    tn_train(net, false);
    tn_train(other, false);
    assert_true(tn_equal(tn_call(net, x), tn_call(other, x)));
    for (int i = 0; i < 7; i++)
        assert_true(tn_equal(tn_dict_get(dict, names[i]), tn_parameter(other, names[i])));
    assert_int_equal(tn_list_count(tn_parameters(net)), 4);
    tn_release(net);
    tn_release(other);
    unlink(path);
    check_good();
}

/* 16-bit floats are computed in f32: the result is that of f32, rounded once. */
static void test_half(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(3);
    tn_dtype halves[] = {TN_F16, TN_BF16};
    for (int i = 0; i < 2; i++) {
        tn_tensor *x = tn_cast(tn_randn(TN_SHAPE(4, 6)), halves[i]), *w = tn_cast(tn_randn(TN_SHAPE(6)), halves[i]);
        tn_tensor *x32 = tn_cast(x, TN_F32), *w32 = tn_cast(w, TN_F32), *mean = tn_zeros(TN_SHAPE(6), .dtype = halves[i]);
        assert_true(tn_equal(tn_layer_norm(x, TN_SHAPE(6), w, w), tn_cast(tn_layer_norm(x32, TN_SHAPE(6), w32, w32), halves[i])));
        assert_true(tn_equal(tn_rms_norm(x, TN_SHAPE(6), w), tn_cast(tn_rms_norm(x32, TN_SHAPE(6), w32, .eps = i ? 0x1p-7 : 0x1p-10), halves[i])));
        assert_true(tn_equal(tn_batch_norm(x, mean, NULL, w, w, .training = true),
                             tn_cast(tn_batch_norm(x32, NULL, NULL, w32, w32, .training = true), halves[i])));
        assert_int_equal(tn_dtype_of(mean), halves[i]);
        assert_true(tn_item(tn_amax(tn_abs(mean))) > 0);
    }
    check_good();
}

static void test_epsilon(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_from_doubles((double[]){1e-4, -2e-4, 3e-4}, TN_SHAPE(3));
    for (int i = 0; i < 2; i++) {
        tn_tensor *y = tn_cast(x, i ? TN_F32 : TN_F64);
        assert_true(tn_equal(tn_rms_norm(y, TN_SHAPE(3)), tn_rms_norm(y, TN_SHAPE(3), .eps = i ? 0x1p-23 : 0x1p-52)));
    }
    check_good();
}

int main(void)
{
    const struct CMUnitTest tests[] = {LAYER_TABLE_TESTS, TEST(test_operator_errors), TEST(test_layer_errors), TEST(test_endings), TEST(test_state),
                                       TEST(test_half), TEST(test_epsilon)};
    return layer_table_load("norm", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
