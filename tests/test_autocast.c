/* TN_AUTOCAST(TN_BF16): products of f32 round what they multiply, and nothing else changes.  labels: isa, quick */
#include "check.h"

#include "kernels/kernels.h"

static tn_tensor *rounded(tn_tensor *x) { return tn_cast(tn_cast(x, TN_BF16), TN_F32); }
static double furthest(tn_tensor *a, tn_tensor *b) { return tn_item(tn_max(tn_abs(tn_sub(a, b)))); }

static void test_a_product_rounds_its_operands(void **state)
{
    (void)state;
    tn_manual_seed(1);
    tn_tensor *a = tn_randn(TN_SHAPE(2, 30, 70)), *b = tn_randn(TN_SHAPE(70, 40)), *w = tn_randn(TN_SHAPE(40, 70));
    tn_tensor *bias = tn_randn(TN_SHAPE(40)), *exact = tn_matmul(a, b), *due = tn_matmul(rounded(a), rounded(b));
    tn_tensor *line = tn_linear(rounded(a), rounded(w), bias);
    tn_tensor *wide = tn_matmul(tn_cast(a, TN_F64), tn_cast(b, TN_F64));
    TN_AUTOCAST(TN_BF16);
    tn_tensor *is = tn_matmul(a, b);
    assert_int_equal(tn_dtype_of(is), TN_F32);
    assert_true(furthest(is, due) < 1e-4);
    assert_true(furthest(is, exact) > 1e-3);
    assert_true(furthest(tn_linear(a, w, bias), line) < 1e-4);
    assert_true(furthest(tn_matmul(tn_cast(a, TN_F64), tn_cast(b, TN_F64)), wide) == 0);
    check_good();
}

static void test_attention_rounds(void **state)
{
    (void)state;
    tn_manual_seed(2);
    tn_tensor *q = tn_randn(TN_SHAPE(2, 3, 50, 16)), *k = tn_randn(TN_SHAPE(2, 3, 50, 16)), *v = tn_randn(TN_SHAPE(2, 3, 50, 16));
    tn_tensor *exact = tn_scaled_dot_product_attention(q, k, v, .is_causal = true);
    TN_AUTOCAST(TN_BF16);
    tn_tensor *is = tn_scaled_dot_product_attention(q, k, v, .is_causal = true);
    const double far = furthest(is, exact);
    assert_true(far > 1e-4 && far < 0.05);
    check_good();
}

/* Backward rounds where forward did, though it is called elsewhere, and leaves the mode as it was. */
static void test_backward_runs_as_forward_did(void **state)
{
    (void)state;
    tn_manual_seed(3);
    tn_tensor *x = tn_randn(TN_SHAPE(30, 20), .requires_grad = true), *w = tn_randn(TN_SHAPE(25, 20), .requires_grad = true);
    tn_tensor *dy = tn_randn(TN_SHAPE(30, 25)), *y;
    {
        TN_AUTOCAST(TN_BF16);
        y = tn_linear(x, w, NULL);
    }
    tn_check(tn_backward(y, .grad = dy));
    assert_int_equal(tn_autocast_dtype(), TN_F32);
    tn_tensor *dx = tn_matmul(rounded(dy), rounded(w)), *dw = tn_matmul(tn_transpose(rounded(dy), 0, 1), rounded(x));
    assert_int_equal(tn_dtype_of(tn_grad(w)), TN_F32);
    assert_true(furthest(tn_grad(x), dx) < 1e-4 && furthest(tn_grad(w), dw) < 1e-4);
    tn_check(tn_set_grad(w, NULL));
    y = tn_linear(x, w, NULL);
    {
        TN_AUTOCAST(TN_BF16);
        tn_check(tn_backward(y, .grad = dy));
        assert_int_equal(tn_autocast_dtype(), TN_BF16);
    }
    assert_true(furthest(tn_grad(w), tn_matmul(tn_transpose(dy, 0, 1), x)) < 1e-4);
    check_good();
}

static void leaves_early(void)
{
    TN_AUTOCAST(TN_BF16);
    for (int i = 0; i < 3; i++) {
        TN_AUTOCAST(TN_F32);
        assert_int_equal(tn_autocast_dtype(), TN_F32);
        if (i == 1)
            break;
    }
    assert_int_equal(tn_autocast_dtype(), TN_BF16);
}

static void test_the_mode_ends_with_its_block(void **state)
{
    (void)state;
    leaves_early();
    assert_int_equal(tn_autocast_dtype(), TN_F32);
    for (int dtype = TN_F64; dtype < TN_DTYPE_COUNT; dtype++) {
        if (dtype == TN_BF16)
            continue;
        tn_autocast_mode mode = tn_autocast_set((tn_dtype)dtype);
        check_error(TN_ERR_DTYPE, "autocast");
        assert_int_equal(tn_autocast_dtype(), TN_F32);
        tn_autocast_restore(&mode);
        tn_clear_error();
    }
}

static double trained(bool autocast)
{
    TN_SCOPE;
    tn_manual_seed(4);
    tn_tensor *x = tn_randn(TN_SHAPE(128, 40)), *target = tn_argmax(tn_matmul(x, tn_randn(TN_SHAPE(40, 10))), .dim = 1);
    tn_module *net = tn_sequential_new(tn_linear_new(40, 64), tn_relu_new(), tn_linear_new(64, 10));
    tn_optim *opt = tn_adam_new(tn_parameters(net), 1e-3);
    double last = 0;
    TN_AUTOCAST(autocast ? TN_BF16 : TN_F32);
    for (int step = 0; step < 100; step++) {
        TN_SCOPE;
        tn_tensor *loss = tn_cross_entropy(tn_call(net, x), target);
        tn_zero_grad(opt);
        tn_check(tn_backward(loss));
        tn_check(tn_step(opt));
        last = tn_item(loss);
    }
    tn_release(opt);
    tn_release(net);
    check_good();
    return last;
}

static void test_a_loss_falls_as_in_f32(void **state)
{
    (void)state;
    const double f32 = trained(false), bf16 = trained(true);
    assert_true(f32 < 1.2 && bf16 != f32 && fabs(bf16 - f32) < 0.01 * f32);
    assert_true(trained(true) == bf16);
}

static int said;
static void listen(const char *message, void *context)
{
    (void)context;
    said += strstr(message, "bfloat16") != NULL;
}

/* Run first: what is slower is said once in a process. */
static void test_what_is_slower_is_said(void **state)
{
    (void)state;
    tn_set_log_handler(listen, NULL);
    for (int i = 0; i < 2; i++) {
        TN_AUTOCAST(TN_BF16);
    }
    assert_int_equal(said, tn_has_bf16_products() ? 0 : 1);
    tn_set_log_handler(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_slower_is_said),
        TEST(test_a_product_rounds_its_operands),
        TEST(test_attention_rounds),
        TEST(test_backward_runs_as_forward_did),
        TEST(test_the_mode_ends_with_its_block),
        TEST(test_a_loss_falls_as_in_f32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
