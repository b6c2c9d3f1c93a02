/* Anomaly detection: the operator that made the first NaN is named, forward and backward, and nothing else is. */
#include "op_table.h"

#include <pthread.h>

static void test_forward(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_from_floats(((float[]){4, 1, -1, -2}), TN_SHAPE(2, 2), .requires_grad = true), *plain = tn_detach(x);
    assert_true(isnan(tn_item(tn_sum(tn_log(x))))); /* off at first */
    assert_false(tn_set_detect_anomaly(true));
    check_fails(tn_mul(tn_log(tn_mul(x, 1)), 2), TN_ERR_STATE, "log: forward element 2 [2, 2] test_anomaly.c");
    check_fails(tn_log(plain), TN_ERR_STATE, "log: forward");
    check_fails(tn_div(tn_zeros(TN_SHAPE(3)), 0), TN_ERR_STATE, "div: forward [3]");
    check_fails(tn_pow(plain, 0.5), TN_ERR_STATE, "pow: forward");
    check_fails(tn_div_(tn_zeros(TN_SHAPE(2)), 0), TN_ERR_STATE, "div_: forward");
    check_fails(tn_mean(tn_zeros(TN_SHAPE(0))), TN_ERR_STATE, "mean: forward");
    check_fails(tn_softmax(tn_full(TN_SHAPE(2), -(double)INFINITY), 0), TN_ERR_STATE, "softmax: forward");
    check_fails(tn_matmul(tn_full(TN_SHAPE(2, 1), (double)INFINITY), tn_zeros(TN_SHAPE(1, 3))), TN_ERR_STATE, "matmul: forward [2, 3]");
    {
        TN_NO_GRAD;
        check_fails(tn_sqrt(x), TN_ERR_STATE, "sqrt: forward");
    }
    tn_tensor *nan = tn_full(TN_SHAPE(3), NAN);
    check_fails(tn_add(tn_zeros(TN_SHAPE(2, 3)), nan), TN_ERR_STATE, "add: forward [2, 3] input 1, [3], had one already");
    /* Infinities, integers and what has no numbers are sound. */
    tn_exp(tn_full(TN_SHAPE(3), 1000));
    tn_isnan(nan);
    tn_mul(tn_ones(TN_SHAPE(2), .dtype = TN_I64), 3);
    tn_add(tn_zeros(TN_SHAPE(0, 2)), 1);
    check_good();
    assert_true(tn_set_detect_anomaly(false));
    assert_non_null(tn_log(plain));
}

static void two_results(tn_context *context, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    (void)context, (void)n_in, (void)n_out;
    out[0] = tn_mul(in[0], 2);
    out[1] = tn_full(TN_SHAPE(2), tn_item(in[0]) > 100 ? NAN : 0); /* no operator saw it */
}
static void nan_back(tn_context *context, tn_tensor *const *grad_out, int n_out, tn_tensor **grad_in, int n_in)
{
    (void)context, (void)n_out, (void)n_in;
    grad_in[0] = tn_mul(tn_sum(grad_out[0]), tn_log(tn_full(TN_SCALAR, -1)));
}

static void test_backward(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_from_doubles(((double[]){4, 0}), TN_SHAPE(2), .requires_grad = true);
    tn_set_detect_anomaly(true);
    tn_tensor *y = tn_sum(tn_mul(tn_sqrt(x), 0)); /* 0 / (2 sqrt(0)) */
    check_fails(tn_backward(y), TN_ERR_GRAD, "backward of sqrt result is [2] element 1 input 0 test_anomaly.c");
    assert_null(tn_grad(x));
    check_fails(tn_grad_of(tn_sum(tn_mul(tn_sqrt(x), 0)), x, .create_graph = true), TN_ERR_GRAD, "backward of sqrt");
    check_fails(tn_backward(tn_mul(x, 3), .grad = tn_full(TN_SHAPE(2), NAN, .dtype = TN_F64)), TN_ERR_GRAD, "backward of mul that it was given had one");
    assert_true(tn_set_detect_anomaly(true)); /* as it was after each walk */
    /* A gradient that nobody asked for may be what it will. */
    tn_tensor *z = tn_ones(TN_SHAPE(2), .dtype = TN_F64, .requires_grad = true);
    check_values(tn_grad_of(tn_sum(tn_mul(tn_add(tn_sqrt(x), z), 0)), z), 0, 0, 0);
    /* Operators of one's own: its name, not that of what its rule is made of. */
    const tn_function function = {"my_own", two_results, nan_back};
    tn_tensor *in[] = {tn_full(TN_SCALAR, 1.5, .requires_grad = true)}, *bad[] = {tn_full(TN_SCALAR, 200, .requires_grad = true)}, *out[2];
    assert_int_equal(tn_apply_n(&function, NULL, 0, in, 1, out, 2), TN_OK);
    check_fails(tn_backward(out[0]), TN_ERR_GRAD, "backward of my_own");
    check_fails(tn_apply_n(&function, NULL, 0, bad, 1, out, 2), TN_ERR_STATE, "my_own: forward element 0 of its result [2]");
    tn_set_detect_anomaly(false);
    assert_int_equal(tn_backward(tn_sum(tn_mul(tn_sqrt(x), 0))), TN_OK);
    check_values(tn_grad(x), 0, 0, NAN);
}

static void *elsewhere(void *result)
{
    TN_SCOPE;
    *(bool *)result = tn_log(tn_full(TN_SHAPE(2), -1)) != NULL;
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    bool worked = false;
    pthread_t thread;
    tn_set_detect_anomaly(true);
    assert_int_equal(pthread_create(&thread, NULL, elsewhere, &worked), 0);
    pthread_join(thread, NULL);
    tn_set_detect_anomaly(false);
    assert_true(worked);
}

/* A step of training in which nothing is wrong says nothing, and gives the same bits. */
static void test_nothing_wrong(void **state)
{
    (void)state;
    tn_tensor *grads[2];
    for (int on = 0; on < 2; on++) {
        TN_SCOPE;
        tn_manual_seed(9);
        tn_set_detect_anomaly(on);
        tn_module *net = tn_sequential_new(tn_conv2d_new(1, 4, 3), tn_relu_new(), tn_flatten_new(), tn_linear_new(64, 5));
        tn_tensor *x = tn_randn(TN_SHAPE(3, 1, 6, 6)), *t = tn_from_ints(((int64_t[]){0, -100, 4}), TN_SHAPE(3));
        assert_int_equal(tn_backward(tn_add(tn_cross_entropy(tn_call(net, x), t), tn_mean(tn_binary_cross_entropy_with_logits(tn_call(net, x), tn_zeros(TN_SHAPE(3, 5)))))), TN_OK);
        grads[on] = tn_retain(tn_grad(tn_parameter(net, "0.weight")));
        tn_set_detect_anomaly(false);
        tn_release(net);
        check_good();
    }
    assert_true(tn_equal(grads[0], grads[1]));
    tn_release(grads[0]);
    tn_release(grads[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_forward), TEST(test_backward), TEST(test_threads), TEST(test_nothing_wrong)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
