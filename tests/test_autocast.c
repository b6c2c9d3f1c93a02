/* TN_AUTOCAST(TN_BF16): products of f32 round what they multiply, and nothing else changes.  labels: isa */
#include "cases.h"

#include "kernels/kernels.h"

static tn_tensor *rounded(tn_tensor *x) { return tn_cast(tn_cast(x, TN_BF16), TN_F32); }
static double furthest(tn_tensor *a, tn_tensor *b) { return tn_item(tn_max(tn_abs(tn_sub(a, b)))); }

/* A device's library may round less (to TF32, where it is faster) or not at all; its own kernels do not. */
static bool near_either(tn_tensor *is, tn_tensor *rounded, tn_tensor *exact, double most)
{
    return furthest(is, rounded) < most || (case_device() && furthest(is, exact) < fmax(most, 1.5 * furthest(rounded, exact)));
}
/* The same bits; of a device's library, which may sum otherwise where strides are others, the same but for the last ones. */
static bool same(tn_tensor *a, tn_tensor *b) { return case_device() ? tn_allclose(a, b, 1e-5, 1e-5, false) : tn_equal(a, b); }

static void test_a_product_rounds_its_operands(void **state)
{
    (void)state;
    tn_manual_seed(1);
    tn_tensor *a = tn_randn(TN_SHAPE(2, 30, 70)), *b = tn_randn(TN_SHAPE(70, 40)), *w = tn_randn(TN_SHAPE(40, 70));
    tn_tensor *bias = tn_randn(TN_SHAPE(40)), *exact = tn_matmul(a, b), *due = tn_matmul(rounded(a), rounded(b));
    tn_tensor *line = tn_linear(rounded(a), rounded(w), bias), *line_exact = tn_linear(a, w, bias);
    tn_tensor *wide = tn_matmul(tn_cast(a, TN_F64), tn_cast(b, TN_F64));
    TN_AUTOCAST(TN_BF16);
    tn_tensor *is = tn_matmul(a, b);
    assert_int_equal(tn_dtype_of(is), TN_F32);
    assert_true(near_either(is, due, exact, 1e-4));
    assert_true(case_device() || furthest(is, exact) > 1e-3);
    assert_true(near_either(tn_linear(a, w, bias), line, line_exact, 1e-4));
    assert_true(furthest(tn_matmul(tn_cast(a, TN_F64), tn_cast(b, TN_F64)), wide) == 0);
    check_good();
}

static tn_tensor *to_f16(tn_tensor *x) { return tn_cast(tn_cast(x, TN_F16), TN_F32); }

/* TN_AUTOCAST(TN_F16): what is multiplied is as f16 holds it, forward and backward, infinite beyond 65504. */
static void test_f16(void **state)
{
    (void)state;
    tn_manual_seed(6);
    tn_tensor *x = tn_randn(TN_SHAPE(2, 3, 9, 9), .requires_grad = true), *taps = tn_randn(TN_SHAPE(4, 3, 3, 3), .requires_grad = true);
    tn_tensor *a = tn_randn(TN_SHAPE(2, 30, 17)), *w = tn_randn(TN_SHAPE(40, 17), .requires_grad = true), *q = tn_reshape(a, TN_SHAPE(1, 2, 30, 17));
    tn_tensor *wt = tn_transpose(w, 0, 1), *dy = tn_mul(tn_randn(TN_SHAPE(2, 30, 40)), 1e-7);
    tn_tensor *due = tn_matmul(to_f16(a), to_f16(wt)), *line = tn_linear(to_f16(a), to_f16(w), NULL), *image = tn_conv2d(to_f16(x), to_f16(taps), NULL);
    tn_tensor *seen = tn_scaled_dot_product_attention(to_f16(q), to_f16(q), to_f16(q)), *exact = tn_linear(a, w, NULL);
    TN_AUTOCAST(TN_F16);
    assert_true(same(tn_matmul(a, wt), due));
    tn_tensor *y = tn_linear(a, w, NULL), *z = tn_conv2d(x, taps, NULL);
    assert_true(same(y, line) && tn_dtype_of(y) == TN_F32 && furthest(y, exact) > 1e-5);
    assert_true(same(z, image));
    assert_true(same(tn_scaled_dot_product_attention(q, q, q), seen));
    tn_check(tn_backward(tn_sum(z)));
    assert_non_null(tn_grad(x));
    tn_check(tn_backward(y, .grad = dy));
    tn_tensor *dw = tn_matmul(tn_transpose(tn_reshape(dy, TN_SHAPE(60, 40)), 0, 1), tn_reshape(a, TN_SHAPE(60, 17))); /* rounds too */
    assert_true(tn_allclose(tn_grad(w), dw, 1e-5, 1e-12, false) && tn_item(tn_max(tn_abs(dw))) > 0);
    assert_true(isinf(tn_item(tn_matmul(tn_full(TN_SHAPE(1, 1), 65520), tn_ones(TN_SHAPE(1, 1))))));
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
    assert_true((case_device() || far > 1e-4) && far < 0.05);
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
    tn_tensor *dw_exact = tn_matmul(tn_transpose(dy, 0, 1), x);
    assert_true(near_either(tn_grad(x), dx, tn_matmul(dy, w), 1e-4) && near_either(tn_grad(w), dw, dw_exact, 1e-4));
    tn_check(tn_set_grad(w, NULL));
    y = tn_linear(x, w, NULL);
    {
        TN_AUTOCAST(TN_BF16);
        tn_check(tn_backward(y, .grad = dy));
        assert_int_equal(tn_autocast_dtype(), TN_BF16);
    }
    assert_true(furthest(tn_grad(w), dw_exact) < 1e-4);
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
        if (dtype == TN_BF16 || dtype == TN_F16)
            continue;
        tn_autocast_mode mode = tn_autocast_set((tn_dtype)dtype);
        check_error(TN_ERR_DTYPE, "autocast");
        assert_int_equal(tn_autocast_dtype(), TN_F32);
        tn_autocast_restore(&mode);
        tn_clear_error();
    }
}

/* A convolution of 3 x 3 rounds its tiles, which is off by no more than rounded operands may be, where that is faster, and else nothing; the
 * bias's gradient is a sum and not rounded. */
static void test_convolution_rounds(void **state)
{
    (void)state;
    tn_manual_seed(5);
    tn_tensor *in[] = {tn_randn(TN_SHAPE(3, 24, 13, 16), .requires_grad = true), tn_randn(TN_SHAPE(10, 24, 3, 3), .requires_grad = true),
                       tn_randn(TN_SHAPE(10), .requires_grad = true)};
    tn_tensor *dy = tn_randn(TN_SHAPE(3, 10, 13, 16)), *results[2][4], *sizes[4];
    for (int run = 0; run < 3; run++) { /* of absolute values last: the sum of the terms' sizes */
        TN_AUTOCAST(run == 1 ? TN_BF16 : TN_F32);
        tn_tensor *x[3], **to = run == 2 ? sizes : results[run];
        for (int i = 0; i < 3; i++) {
            x[i] = run == 2 ? tn_detach(tn_abs(in[i])) : in[i];
            tn_check(tn_set_requires_grad(x[i], true));
            tn_check(tn_set_grad(x[i], NULL));
        }
        to[0] = tn_conv2d(x[0], x[1], x[2], .padding = 1);
        tn_check(tn_backward(to[0], .grad = run == 2 ? tn_abs(dy) : dy));
        for (int i = 0; i < 3; i++)
            to[i + 1] = tn_clone(tn_grad(x[i]));
        check_good();
    }
    for (int i = 0; i < 4; i++) {
        const double off = tn_item(tn_max(tn_div(tn_abs(tn_sub(results[1][i], results[0][i])), sizes[i])));
        assert_true(off < (i < 3 ? 0x1p-8 : 1e-6));
        assert_true(case_device() || (tn_has_bf16_products() && i < 3 ? off > 0x1p-14 : off < 1e-6));
    }
    check_good();
}

/* Recurrent layers of more than 64 units round where that is faster. One step from nothing is a product, by hand; smaller ones do not. */
static void test_recurrence_rounds(void **state)
{
    (void)state;
    tn_manual_seed(6);
    for (int64_t hidden = 32; hidden <= 96; hidden += 64) {
        const bool rounds = case_device() || (hidden > 64 && tn_has_bf16_products());
        tn_module *net = tn_rnn_new(40, hidden, .nonlinearity = TN_RNN_RELU, .batch_first = true), *lstm = tn_lstm_new(40, hidden, .batch_first = true);
        tn_tensor *x = tn_randn(TN_SHAPE(20, 1, 40)), *long_x = tn_randn(TN_SHAPE(20, 9, 40)), *exact[2], *is[2];
        tn_tensor *w = tn_parameter(net, "weight_ih_l0"), *flat = tn_reshape(x, TN_SHAPE(20, 40));
        tn_tensor *bias = tn_add(tn_parameter(net, "bias_ih_l0"), tn_parameter(net, "bias_hh_l0"));
        tn_tensor *due = tn_relu(rounds ? tn_linear(rounded(flat), rounded(w), bias) : tn_linear(flat, w, bias)), *due_exact = tn_relu(tn_linear(flat, w, bias));
        for (int run = 0; run < 2; run++) {
            tn_check(tn_set_grad(tn_parameter(lstm, "weight_hh_l0"), NULL));
            TN_AUTOCAST(run ? TN_BF16 : TN_F32);
            tn_tensor *y = tn_call(net, x);
            assert_true(!run || near_either(tn_reshape(y, TN_SHAPE(20, hidden)), due, due_exact, 1e-5));
            tn_tensor *out = tn_call(lstm, long_x);
            tn_check(tn_backward(tn_sum(tn_select(out, 1, -1))));
            (run ? is : exact)[0] = out, (run ? is : exact)[1] = tn_clone(tn_grad(tn_parameter(lstm, "weight_hh_l0")));
        }
        for (int i = 0; i < 2; i++) {
            const double off = furthest(is[i], exact[i]) / tn_item(tn_max(tn_abs(exact[i])));
            assert_true(case_device() ? off < 0.02 : rounds ? off > 1e-5 && off < 0.02 : off == 0);
        }
        tn_release(net);
        tn_release(lstm);
    }
    check_good();
}

typedef struct {
    tn_module base;
    tn_module *recurrent, *fc;
} sequence;

static tn_tensor *sequence_forward(sequence *net, tn_tensor *x)
{
    return tn_call(net->fc, tn_select(tn_call(net->recurrent, x), 1, -1));
}
TN_MODULE(sequence, sequence_forward);

enum { MLP, LENET, GRU, NETS };
static void *net_of(int kind)
{
    if (kind == MLP)
        return tn_sequential_new(tn_linear_new(40, 64), tn_relu_new(), tn_linear_new(64, 10));
    if (kind == LENET)
        return tn_sequential_new(tn_conv2d_new(1, 8, 3, .padding = 1), tn_relu_new(), tn_max_pool2d_new(2), tn_conv2d_new(8, 16, 3, .padding = 1),
                                 tn_relu_new(), tn_max_pool2d_new(2), tn_flatten_new(), tn_linear_new(16 * 3 * 3, 10));
    sequence *net = TN_NEW(sequence);
    TN_CHILD(net, recurrent, tn_gru_new(8, 72, .batch_first = true));
    TN_CHILD(net, fc, tn_linear_new(72, 10));
    return net;
}

static double trained(int kind, bool autocast, int steps)
{
    static const tn_shape shapes[] = {{2, {128, 40}}, {4, {64, 1, 12, 12}}, {3, {64, 6, 8}}};
    TN_SCOPE;
    tn_manual_seed(4);
    tn_tensor *x = tn_randn(shapes[kind]), *flat = tn_flatten(x, 1, -1);
    tn_tensor *target = tn_argmax(tn_matmul(flat, tn_randn(TN_SHAPE(tn_size(flat, 1), 10))), .dim = 1);
    tn_module *net = net_of(kind);
    tn_optim *opt = tn_adam_new(tn_parameters(net), 1e-3);
    double last = 0;
    TN_AUTOCAST(autocast ? TN_BF16 : TN_F32);
    for (int step = 0; step < steps; step++) {
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
    case_skip_slow_device();
    const int steps = test_quickly() ? 30 : 100;
    for (int kind = 0; kind < NETS; kind++) {
        const double f32 = trained(kind, false, steps), bf16 = trained(kind, true, steps);
        if (!(f32 < (steps < 100 ? 2.2 : 1.2) && (case_device() || bf16 != f32) && fabs(bf16 - f32) < 0.01 * f32))
            fail_msg("network %d: after %d steps the loss is %g in bf16 and %g in f32", kind, steps, bf16, f32);
        assert_true(trained(kind, true, steps) == bf16);
    }
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
    case_use_device();
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_slower_is_said),
        TEST(test_a_product_rounds_its_operands),
        TEST(test_f16),
        TEST(test_attention_rounds),
        TEST(test_backward_runs_as_forward_did),
        TEST(test_the_mode_ends_with_its_block),
        TEST(test_convolution_rounds),
        TEST(test_recurrence_rounds),
        TEST(test_a_loss_falls_as_in_f32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
