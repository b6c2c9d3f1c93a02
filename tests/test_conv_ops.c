/* Convolution, pooling and unfolding as operators: what forms they take, second derivatives, what they refuse.
 * labels: isa, quick */
#include "check.h"

static tn_tensor *input(tn_shape shape, uint64_t seed)
{
    tn_manual_seed(seed);
    return tn_randn(shape, .dtype = TN_F64, .requires_grad = true);
}

typedef struct {
    int64_t stride, padding, dilation, groups;
    tn_activation activation;
} form;

static tn_tensor *conv_of(tn_tensor *const *in, int count, void *context)
{
    const form *f = context;
    return tn_conv2d(in[0], in[1], count > 2 ? in[2] : NULL, .stride = f->stride, .padding = f->padding, .dilation = f->dilation,
                     .groups = f->groups, .activation = f->activation);
}

static void test_conv_gradients(void **state)
{
    (void)state;
    TN_SCOPE;
    form forms[] = {{1, 1, 1, 1, TN_ACTIVATION_NONE}, {2, 1, 1, 2, TN_ACTIVATION_NONE}, {1, 2, 2, 1, TN_ACTIVATION_NONE},
                    {2, 0, 1, 2, TN_ACTIVATION_RELU}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        tn_tensor *in[] = {input(TN_SHAPE(2, 2, 5, 6), 1), input(TN_SHAPE(4, 2 / forms[i].groups, 3, 2), 2), input(TN_SHAPE(4), 3)};
        assert_int_equal(tn_gradcheck(conv_of, &forms[i], in, 3, .second = true), TN_OK);
        assert_int_equal(tn_gradcheck(conv_of, &forms[i], in, 2, .second = true), TN_OK);
    }
    check_good();
}

static tn_tensor *max_of(tn_tensor *const *in, int count, void *context)
{
    (void)count, (void)context;
    return tn_square(tn_max_pool2d(in[0], 3, .stride = 2, .padding = 1));
}
static tn_tensor *max_1d_of(tn_tensor *const *in, int count, void *context)
{
    (void)count, (void)context;
    return tn_square(tn_max_pool1d(in[0], 2));
}
static tn_tensor *average_of(tn_tensor *const *in, int count, void *context)
{
    (void)count, (void)context;
    return tn_square(tn_avg_pool2d(in[0], 3, .stride_hw = {2, 1}, .padding = 1, .ceil_mode = true, .count_include_pad = false));
}
static tn_tensor *unfold_of(tn_tensor *const *in, int count, void *context)
{
    (void)count, (void)context;
    return tn_square(tn_unfold(in[0], 2, .padding = 1, .stride_hw = {1, 2}));
}
static tn_tensor *fold_of(tn_tensor *const *in, int count, void *context)
{
    (void)count, (void)context;
    return tn_square(tn_fold(in[0], 4, 5, 2));
}
static tn_tensor *conv_1d_of(tn_tensor *const *in, int count, void *context)
{
    (void)count, (void)context;
    return tn_conv1d(in[0], in[1], NULL, .stride = 2, .padding = 1);
}

static void test_window_gradients(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *image[] = {input(TN_SHAPE(2, 2, 5, 6), 4)}, *one[] = {input(TN_SHAPE(2, 4, 5), 5)}, *columns[] = {input(TN_SHAPE(2, 8, 12), 6)};
    tn_tensor *signal[] = {input(TN_SHAPE(2, 3, 7), 7), input(TN_SHAPE(4, 3, 3), 8)};
    assert_int_equal(tn_gradcheck(max_of, NULL, image, 1, .second = true), TN_OK);
    assert_int_equal(tn_gradcheck(max_of, NULL, one, 1, .second = true), TN_OK);
    assert_int_equal(tn_gradcheck(max_1d_of, NULL, signal, 1, .second = true), TN_OK);
    assert_int_equal(tn_gradcheck(average_of, NULL, image, 1, .second = true), TN_OK);
    assert_int_equal(tn_gradcheck(unfold_of, NULL, image, 1, .second = true), TN_OK);
    assert_int_equal(tn_gradcheck(fold_of, NULL, columns, 1, .second = true), TN_OK);
    assert_int_equal(tn_gradcheck(conv_1d_of, NULL, signal, 2, .second = true), TN_OK);
    check_good();
}

/* The product by hand: unfold and a matrix product. */
static void test_conv_is_unfold_and_matmul(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = input(TN_SHAPE(3, 2, 6, 7), 1), *w = input(TN_SHAPE(5, 2, 3, 3), 2);
    tn_tensor *y = tn_conv2d(x, w, NULL, .padding = 1, .stride = 2);
    tn_tensor *by_hand = tn_matmul(tn_reshape(w, TN_SHAPE(5, 18)), tn_unfold(x, 3, .padding = 1, .stride = 2));
    check_shape(y, 3, 5, 3, 4);
    assert_true(tn_allclose(tn_reshape(y, TN_SHAPE(3, 5, 12)), by_hand, 1e-12, 1e-12, false));
    tn_tensor *single = tn_conv2d(tn_reshape(x, TN_SHAPE(3, 2, 42)), w, NULL);
    assert_null(single);
    check_error(TN_ERR_SHAPE, "conv2d");
}

/* Padding is never the maximum, and its gradient goes to an element of the image (torch: the same numbers). */
static void test_max_pool_padding(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_from_floats(((float[]){-1, -2, -3, -4, -5, -6, -7, -8, NAN}), TN_SHAPE(1, 3, 3), .requires_grad = true), *where;
    tn_tensor *y = tn_max_pool2d(x, 2, .padding = 1, .indices = &where);
    check_values(y, 0, -1, -2, -4, NAN);
    check_values(where, 0, 0, 1, 3, 8);
    assert_int_equal(tn_backward(tn_sum(y)), TN_OK);
    check_values(tn_grad(x), 0, 1, 1, 0, 1, 0, 0, 0, 0, 1);
    tn_tensor *ties = tn_max_pool2d(tn_zeros(TN_SHAPE(1, 2, 2)), 2, .indices = &where);
    check_values(ties, 0, 0);
    check_values(where, 0, 0);
    check_values(tn_max_pool1d(tn_from_ints(((int64_t[]){-5, -9, -3, -4}), TN_SHAPE(1, 4)), 2), 0, -5, -3);
}

static void test_avg_pool_divisors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(1, 1, 3, 3));
    check_values(tn_avg_pool2d(x, 2, .padding = 1), 1e-6, 0.25, 0.5, 0.5, 1);
    check_values(tn_avg_pool2d(x, 2, .padding = 1, .count_include_pad = false), 1e-6, 1, 1, 1, 1);
    check_values(tn_avg_pool2d(x, 2, .ceil_mode = true), 1e-6, 1, 1, 1, 1);
    check_values(tn_avg_pool2d(x, 3, .divisor_override = 3), 1e-6, 3);
}

static void test_empty_and_half(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_zeros(TN_SHAPE(0, 2, 5, 5), .requires_grad = true), *w = tn_ones(TN_SHAPE(3, 2, 3, 3), .requires_grad = true);
    tn_tensor *y = tn_max_pool2d(tn_relu(tn_conv2d(x, w, NULL, .padding = 1)), 2);
    check_shape(y, 0, 3, 2, 2);
    assert_int_equal(tn_backward(tn_sum(y)), TN_OK);
    check_shape(tn_grad(x), 0, 2, 5, 5);
    assert_true(tn_item(tn_sum(tn_abs(tn_grad(w)))) == 0);
    tn_tensor *h = tn_conv2d(tn_ones(TN_SHAPE(1, 2, 3, 3), .dtype = TN_BF16), tn_ones(TN_SHAPE(1, 2, 3, 3), .dtype = TN_BF16), NULL);
    assert_int_equal(tn_dtype_of(h), TN_BF16);
    check_values(h, 0, 18);
}

static void test_wrong_inputs(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(1, 3, 4, 4)), *w = tn_ones(TN_SHAPE(2, 3, 5, 5)), *w2 = tn_ones(TN_SHAPE(2, 2, 3, 3));
    assert_null(tn_conv2d(x, w, NULL));
    check_error(TN_ERR_SHAPE, "pad more or take a smaller kernel");
    assert_null(tn_conv2d(x, w2, NULL));
    check_error(TN_ERR_SHAPE, "weight takes 2 channels and x has 3");
    assert_null(tn_conv2d(x, w2, NULL, .groups = 2));
    check_error(TN_ERR_SHAPE, "groups is 2");
    assert_null(tn_conv2d(x, w, NULL, .padding = 1, .stride = 0));
    check_error(TN_ERR_ARGUMENT, "stride");
    assert_null(tn_conv2d(x, w, tn_ones(TN_SHAPE(3)), .padding = 1));
    check_error(TN_ERR_SHAPE, "bias must be [2]");
    assert_null(tn_conv2d(x, tn_cast(w, TN_F64), NULL, .padding = 1));
    check_error(TN_ERR_DTYPE, "float64");
    assert_null(tn_max_pool2d(x, 2, .padding = 2));
    check_error(TN_ERR_ARGUMENT, "at most half of the window");
    assert_null(tn_max_pool2d(x, 2, .stride = INT64_MAX));
    check_error(TN_ERR_ARGUMENT, "stride is 9223372036854775807 x 9223372036854775807: each must be 1 to");
    assert_null(tn_fold(tn_ones(TN_SHAPE(1, 4, 9)), INT64_MAX, 4, 2));
    check_error(TN_ERR_SHAPE, "beyond any tensor");
    assert_null(tn_fold(tn_ones(TN_SHAPE(1, 4, 9)), (int64_t)1 << 40, (int64_t)1 << 40, 2));
    check_error(TN_ERR_SHAPE, "fold");
    assert_null(tn_max_pool2d(x, 0));
    check_error(TN_ERR_ARGUMENT, "kernel");
    assert_null(tn_avg_pool2d(x, 7));
    check_error(TN_ERR_SHAPE, "[1, 3, 4, 4]");
    assert_null(tn_fold(tn_ones(TN_SHAPE(1, 8, 5)), 4, 4, 2));
    check_error(TN_ERR_SHAPE, "[n, c * 4, 9]");
    tn_tensor *line = tn_ones(TN_SHAPE(1, 2, 4));
    assert_null(tn_conv1d(line, tn_ones(TN_SHAPE(3, 2, 5)), NULL));
    check_error(TN_ERR_SHAPE, "conv1d");
    assert_null(tn_conv1d(x, w, NULL));
    check_error(TN_ERR_SHAPE, "conv1d");
    assert_null(tn_max_pool1d(line, 2, .padding = 2));
    check_error(TN_ERR_ARGUMENT, "max_pool1d");
    assert_null(tn_avg_pool1d(tn_ones(TN_SHAPE(4)), 2));
    check_error(TN_ERR_SHAPE, "avg_pool1d");
    assert_null(tn_unfold1d(line, 5));
    check_error(TN_ERR_SHAPE, "unfold1d");
    assert_null(tn_fold1d(tn_ones(TN_SHAPE(1, 5, 3)), 4, 2));
    check_error(TN_ERR_SHAPE, "fold1d");
    assert_null(tn_unfold(NULL, 2));
    check_error(TN_ERR_ARGUMENT, "NULL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_conv_gradients), TEST(test_window_gradients), TEST(test_conv_is_unfold_and_matmul),
                                       TEST(test_max_pool_padding), TEST(test_avg_pool_divisors), TEST(test_empty_and_half),
                                       TEST(test_wrong_inputs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
