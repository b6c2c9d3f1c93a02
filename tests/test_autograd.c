/* The walk: accumulation, graphs kept and released, hooks, versions, second derivatives, operators of one's own, long graphs. */
#include "check.h"

static tn_tensor *leaf(double value) { return tn_full(TN_SHAPE(1), value, .dtype = TN_F64, .requires_grad = true); }

static void test_the_readme_example(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_from_floats(((float[]){1, 2, 3}), TN_SHAPE(3), .requires_grad = true);
    assert_int_equal(tn_backward(tn_sum(tn_add(tn_log(x), x))), TN_OK);
    check_values(tn_grad(x), 1e-6, 2, 1.5, 4.0 / 3);
}

static void test_gradients_accumulate(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = leaf(3);
    assert_null(tn_grad(x));
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(tn_backward(tn_mul(x, x)), TN_OK);
        check_values(tn_grad(x), 0, 6 * i);
    }
    tn_tensor *held = tn_retain(tn_grad(x)); /* who holds .grad does not see it change */
    assert_int_equal(tn_backward(tn_mul(x, 2)), TN_OK);
    check_values(held, 0, 18);
    check_values(tn_grad(x), 0, 20);
    tn_release(held);
    assert_int_equal(tn_set_grad(x, NULL), TN_OK);
    assert_null(tn_grad(x));
}

static void test_a_diamond(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = leaf(2), *y = tn_mul(x, 3), *z = tn_add(tn_mul(y, y), tn_add(y, x));
    assert_int_equal(tn_backward(z), TN_OK);
    check_values(tn_grad(x), 0, 2 * 9 * 2 + 3 + 1);
}

static void test_both_sides(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = leaf(3);
    tn_tensor *results[] = {tn_sub(x, x), tn_mul(x, x), tn_div(x, x), tn_maximum(x, x), tn_pow(x, x)};
    const double due[] = {0, 6, 0, 1, 27 * (log(3) + 1)};
    for (int i = 0; i < 5; i++)
        check_values(tn_grad_of(results[i], x), 1e-12, due[i]);
    tn_tensor *m = tn_from_doubles(((double[]){1, 2, 3, 4}), TN_SHAPE(2, 2), .requires_grad = true);
    check_values(tn_grad_of(tn_sum(tn_matmul(m, m)), m), 1e-12, 7, 11, 9, 13);
}

static void test_backward_needs_a_gradient_for_many(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(3), .requires_grad = true), *y = tn_mul(x, 2);
    assert_int_equal(tn_backward(y), TN_ERR_GRAD);
    check_error(TN_ERR_GRAD, "not a single number");
    assert_int_equal(tn_backward(y, .grad = tn_ones(TN_SHAPE(2))), TN_ERR_SHAPE);
    check_error(TN_ERR_SHAPE, "[2]");
    assert_int_equal(tn_backward(y, .grad = tn_ones(TN_SHAPE(3), .dtype = TN_F64)), TN_ERR_DTYPE);
    check_error(TN_ERR_DTYPE, "float64");
    assert_null(tn_grad(x));
    assert_int_equal(tn_backward(y, .grad = tn_arange(0, 3, .dtype = TN_F32)), TN_OK);
    check_values(tn_grad(x), 0, 0, 2, 4);
}

static void test_a_graph_is_released_or_kept(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = leaf(2), *y = tn_mul(x, x);
    assert_int_equal(tn_backward(y, .retain_graph = true), TN_OK);
    assert_int_equal(tn_backward(y), TN_OK);
    check_values(tn_grad(x), 0, 8);
    assert_int_equal(tn_backward(y), TN_ERR_GRAD);
    check_error(TN_ERR_GRAD, "retain_graph");
    check_values(tn_grad(x), 0, 8); /* nothing was added */
    assert_int_equal(tn_backward(tn_mul(x, x)), TN_OK); /* an error leaves later walks whole */
    check_values(tn_grad(x), 0, 12);
}

static void test_no_grad_and_enable_grad(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = leaf(2);
    {
        TN_NO_GRAD;
        assert_false(tn_requires_grad(tn_mul(x, x)));
        {
            TN_ENABLE_GRAD;
            assert_true(tn_requires_grad(tn_mul(x, x)));
        }
        assert_false(tn_grad_enabled());
    }
    assert_true(tn_grad_enabled());
    assert_int_equal(tn_backward(tn_detach(tn_mul(x, x))), TN_ERR_GRAD);
    check_error(TN_ERR_GRAD, "detached");
}

static void test_grad_of_leaves_grad_alone(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = leaf(2), *w = leaf(5), *h = tn_mul(x, w), *y = tn_mul(h, h);
    check_values(tn_grad_of(y, x, .retain_graph = true), 0, 100);
    check_values(tn_grad_of(y, h, .retain_graph = true), 0, 20);
    assert_null(tn_grad(x));
    assert_null(tn_grad_of(y, leaf(1), .retain_graph = true));
    check_error(TN_ERR_GRAD, "no output depends on input 0");
    assert_null(tn_grad_of(y, leaf(1), .retain_graph = true, .allow_unused = true));
    check_good();
    tn_tensor *inputs[] = {w, x}, *results[2];
    assert_int_equal(tn_grads_of(&y, 1, inputs, 2, results), TN_OK);
    check_values(results[0], 0, 40);
    check_values(results[1], 0, 100);
}

static void test_second_derivatives(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = leaf(2), *y = tn_mul(tn_mul(x, x), x);
    tn_tensor *g = tn_grad_of(y, x, .create_graph = true);
    check_values(g, 0, 12);
    tn_tensor *gg = tn_grad_of(g, x, .create_graph = true);
    check_values(gg, 0, 12);
    check_values(tn_grad_of(gg, x), 0, 6);
    tn_tensor *e = tn_exp(x); /* a saved output, tied to its node again */
    g = tn_grad_of(e, x, .create_graph = true);
    check_values(tn_grad_of(g, x), 1e-14, exp(2));
    tn_tensor *s = tn_sigmoid(x);
    g = tn_grad_of(s, x, .create_graph = true);
    double p = 1 / (1 + exp(-2));
    check_values(tn_grad_of(g, x), 1e-13, p * (1 - p) * (1 - 2 * p));
}

static tn_tensor *double_it(tn_tensor *grad, void *context)
{
    ++*(int *)context;
    return tn_mul(grad, 2);
}
static tn_tensor *look(tn_tensor *grad, void *context)
{
    *(double *)context = tn_item(grad);
    return NULL;
}
static tn_tensor *fail_hook(tn_tensor *grad, void *context)
{
    (void)grad;
    (void)context;
    return tn_fail(TN_ERR_ARGUMENT, "the hook's own error");
}

static tn_tensor *never(tn_tensor *grad, void *context)
{
    (void)grad, (void)context;
    fail_msg("a hook that was taken out runs");
    return NULL;
}

static void test_hooks(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = leaf(3), *y = tn_mul(x, x);
    int calls = 0;
    double seen = 0;
    assert_int_equal(tn_add_hook(y, double_it, &calls), TN_OK);
    assert_int_equal(tn_add_hook(x, double_it, &calls), TN_OK);
    assert_int_equal(tn_add_hook(x, look, &seen), TN_OK);
    assert_int_equal(tn_retain_grad(y), TN_OK);
    assert_int_equal(tn_backward(y), TN_OK);
    assert_int_equal(calls, 2);
    check_values(tn_grad(x), 0, 24);
    check_values(tn_grad(y), 0, 2);
    assert_true(seen == 24);
    assert_int_equal(tn_remove_hook(x, double_it, &calls), TN_OK);
    assert_int_equal(tn_backward(tn_mul(x, 1)), TN_OK);
    check_values(tn_grad(x), 0, 25);
    assert_int_equal(tn_add_hook(x, fail_hook, NULL), TN_OK);
    assert_int_equal(tn_backward(tn_mul(x, 1)), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "the hook's own error");
    check_values(tn_grad(x), 0, 25);
    assert_int_equal(tn_add_hook(tn_ones(TN_SHAPE(1)), look, &seen), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "does not require");
}

static tn_tensor *once(tn_tensor *grad, void *context)
{
    tn_tensor **of = context; /* of[0] has the hook, of[1] counts */
    ((double *)tn_data_mut(of[1]))[0]++;
    assert_int_equal(tn_remove_hook(of[0], once, context), TN_OK);
    assert_int_equal(tn_remove_hook(of[0], never, NULL), TN_OK);
    return tn_mul(grad, 2);
}

static void test_a_hook_that_takes_itself_out(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = leaf(1), *of[] = {x, tn_zeros(TN_SHAPE(1), .dtype = TN_F64)};
    double seen = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tn_add_hook(x, once, of), TN_OK);
        assert_int_equal(tn_add_hook(x, never, NULL), TN_OK); /* taken out by the one before it, before its turn */
        assert_int_equal(tn_add_hook(x, look, &seen), TN_OK);
        assert_int_equal(tn_backward(x), TN_OK);
        assert_true(seen == 2);
        assert_int_equal(tn_backward(x), TN_OK);
        assert_true(seen == 1);
        assert_int_equal(tn_remove_hook(x, look, &seen), TN_OK);
    }
    check_values(tn_grad(x), 0, 9);
    check_values(of[1], 0, 3);
}

static tn_tensor *widen(tn_tensor *grad, void *context)
{
    (void)context;
    return tn_cast(grad, TN_F64);
}

static void test_a_hooks_dtype(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(3), .requires_grad = true), *y = tn_mul(x, 2);
    assert_int_equal(tn_add_hook(y, widen, NULL), TN_OK);
    assert_int_equal(tn_backward(tn_sum(y)), TN_ERR_DTYPE);
    check_error(TN_ERR_DTYPE, "hook: it returned float64 on cpu in place of a gradient float32 on cpu");
    assert_int_equal(tn_add_hook(x, widen, NULL), TN_OK);
    assert_int_equal(tn_backward(tn_sum(x)), TN_ERR_DTYPE);
    check_error(TN_ERR_DTYPE, "float64");
    assert_null(tn_grad(x));
}

/* .grad of a tensor that was written in place is of what it is now; and it may go before the graph does. */
static void test_a_retained_gradient_in_place(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = leaf(1), *y = tn_mul(x, 2), *z;
    assert_int_equal(tn_retain_grad(y), TN_OK);
    tn_mul_(y, 3);
    assert_int_equal(tn_backward(tn_mul(y, 5)), TN_OK);
    check_values(tn_grad(y), 0, 5);
    check_values(tn_grad(x), 0, 30);
    {
        TN_SCOPE;
        tn_tensor *gone = tn_mul(x, 2);
        assert_int_equal(tn_retain_grad(gone), TN_OK);
        tn_add_(gone, 1);
        z = tn_pass(tn_sum(gone));
    }
    for (int i = 0; i < 8; i++) /* what lies where it was */
        tn_ones(TN_SHAPE(7));
    assert_int_equal(tn_backward(z), TN_OK);
    check_values(tn_grad(x), 0, 32);
}

/* A ReLU's rule may write its gradient over the one that it got, and a sum grow in its first term: only where nobody else has them. */
static tn_tensor *keep_it(tn_tensor *grad, void *context)
{
    *(tn_tensor **)context = tn_retain(grad);
    return grad;
}
static void test_gradients_written_over(void **state)
{
    (void)state;
    TN_SCOPE;
    const float values[] = {1, -2, 3, -4}, slopes[] = {5, 6, 7, 8};
    tn_tensor *x = tn_from_floats(values, TN_SHAPE(4), .requires_grad = true), *w = tn_from_floats(slopes, TN_SHAPE(4));
    tn_tensor *other = tn_detach(tn_neg(x));
    assert_int_equal(tn_set_requires_grad(other, true), TN_OK);
    /* the sum gives one gradient to both */
    tn_tensor *y = tn_relu(x), *z = tn_relu(other), *sum = tn_add(y, z), *kept = NULL;
    assert_int_equal(tn_retain_grad(y), TN_OK);
    assert_int_equal(tn_add_hook(sum, keep_it, &kept), TN_OK);
    tn_tensor *given = tn_clone(w);
    assert_int_equal(tn_backward(sum, .grad = given), TN_OK);
    check_values(tn_grad(x), 0, 5, 0, 7, 0);
    check_values(tn_grad(other), 0, 0, 6, 0, 8);
    check_values(tn_grad(y), 0, 5, 6, 7, 8);
    check_values(kept, 0, 5, 6, 7, 8);
    check_values(given, 0, 5, 6, 7, 8);
    tn_release(kept);
    /* what is asked for is seen after the rule has run */
    tn_tensor *middle = tn_relu(x), *inputs[] = {middle, x}, *results[2], *loss = tn_sum(tn_mul(middle, w));
    assert_int_equal(tn_grads_of(&loss, 1, inputs, 2, results), TN_OK);
    check_values(results[0], 0, 5, 6, 7, 8);
    check_values(results[1], 0, 5, 0, 7, 0);
    /* three ways into one: two of them find a sum */
    tn_tensor *h = tn_mul(x, 1), *out = tn_add(tn_add(tn_relu(tn_mul(h, 2)), tn_mul(h, w)), h);
    tn_tensor *held = tn_grad_of(tn_sum(out), x);
    check_values(held, 0, 2 + 5 + 1, 6 + 1, 2 + 7 + 1, 8 + 1);
}

/* Backward of a layer with a ReLU holds the gradient of its result, and no second one that is masked. */
static void test_the_memory_of_backward(void **state)
{
    (void)state;
    TN_SCOPE;
    enum { ROWS = 4096, WIDE = 256, BYTES = ROWS * WIDE * 4 };
    tn_tensor *x = tn_ones(TN_SHAPE(ROWS, 2)), *w1 = tn_ones(TN_SHAPE(WIDE, 2), .requires_grad = true), *w2 = tn_ones(TN_SHAPE(2, WIDE), .requires_grad = true);
    tn_tensor *loss = tn_sum(tn_linear(tn_linear(x, w1, .activation = TN_ACTIVATION_RELU), w2));
    tn_memory_reset_peak();
    const int64_t before = tn_get_memory_stats().in_use;
    assert_int_equal(tn_backward(loss), TN_OK);
    assert_true(tn_get_memory_stats().peak - before < BYTES * 3 / 2);
}

static void test_a_saved_tensor_that_was_changed(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = leaf(2), *h = tn_mul(x, 1), *y = tn_mul(h, h);
    assert_non_null(tn_add_(h, 1));
    assert_int_equal(tn_backward(y), TN_ERR_GRAD);
    check_error(TN_ERR_GRAD, "changed in place");
    tn_tensor *z = tn_exp(x);
    ((double *)tn_data_mut(z))[0] = 1;
    assert_int_equal(tn_backward(z), TN_ERR_GRAD);
    check_error(TN_ERR_GRAD, "backward of exp");
    assert_null(tn_grad(x));
}

static void test_in_place_rules(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(4), .requires_grad = true), *plain = tn_zeros(TN_SHAPE(4));
    assert_null(tn_add_(x, 1));
    check_error(TN_ERR_GRAD, "leaf");
    {
        TN_NO_GRAD;
        assert_ptr_equal(tn_add_(x, 1), x);
    }
    check_values(x, 0, 2, 2, 2, 2);
    assert_ptr_equal(tn_add_(plain, tn_mul(x, x)), plain); /* becomes a result */
    assert_true(tn_requires_grad(plain));
    assert_int_equal(tn_backward(tn_sum(plain)), TN_OK);
    check_values(tn_grad(x), 0, 4, 4, 4, 4);
    tn_tensor *h = tn_mul(x, 1), *view = tn_reshape(h, TN_SHAPE(2, 2));
    assert_null(tn_mul_(h, 2));
    check_error(TN_ERR_GRAD, "view");
    assert_null(tn_mul_(view, 2));
    check_error(TN_ERR_GRAD, "clone");
}

static void test_requires_grad_rules(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = leaf(1);
    assert_int_equal(tn_set_requires_grad(tn_mul(x, 2), false), TN_ERR_STATE);
    check_error(TN_ERR_STATE, "detach");
    assert_int_equal(tn_set_requires_grad(tn_arange(0, 3), true), TN_ERR_DTYPE);
    check_error(TN_ERR_DTYPE, "int64");
    assert_int_equal(tn_set_grad(x, tn_ones(TN_SHAPE(2), .dtype = TN_F64)), TN_ERR_SHAPE);
    check_error(TN_ERR_SHAPE, "[2]");
    assert_int_equal(tn_set_requires_grad(x, false), TN_OK);
    assert_int_equal(tn_backward(x), TN_ERR_GRAD);
    check_error(TN_ERR_GRAD, "requires a gradient");
    tn_tensor *y = leaf(1);
    assert_int_equal(tn_backward(y), TN_OK); /* a leaf itself */
    check_values(tn_grad(y), 0, 1);
}

static void test_broadcasting_backward(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *a = tn_ones(TN_SHAPE(2, 1, 3), .requires_grad = true), *b = tn_full(TN_SHAPE(4, 1), 2, .requires_grad = true);
    tn_tensor *c = tn_full(TN_SCALAR, 3, .requires_grad = true);
    tn_tensor *y = tn_mul(tn_mul(a, b), c);
    check_shape(y, 2, 4, 3);
    assert_int_equal(tn_backward(tn_sum(y)), TN_OK);
    check_shape(tn_grad(a), 2, 1, 3);
    check_values(tn_grad(a), 0, 24, 24, 24, 24, 24, 24);
    check_values(tn_grad(b), 0, 18, 18, 18, 18);
    check_values(tn_grad(c), 0, 48);
}

/* ---- operators of one's own --------------------------------------------------------------------------------------------- */

static void cube_forward(tn_context *c, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    assert_int_equal(n_in + n_out, 2);
    assert_false(tn_grad_enabled());
    assert_true(*(const double *)tn_context_data(c) == 4);
    out[0] = tn_mul(tn_mul(in[0], tn_mul(in[0], in[0])), *(const double *)tn_context_data(c));
    tn_save(c, in[0]);
    tn_save(c, out[0]);
}
static void cube_backward(tn_context *c, tn_tensor *const *dy, int n_out, tn_tensor **dx, int n_in)
{
    assert_int_equal(n_in + n_out, 2);
    assert_true(tn_needs_grad(c, 0));
    tn_tensor *x = tn_saved(c, 0);
    assert_non_null(tn_saved(c, 1));
    dx[0] = tn_mul(dy[0], tn_mul(tn_mul(x, x), 3 * *(const double *)tn_context_data(c)));
}
static const tn_function cube = {"cube", cube_forward, cube_backward};

static tn_tensor *call_cube(tn_tensor *const *in, int count, void *context)
{
    return tn_apply(&cube, context, sizeof(double), in, count);
}

static void wrong_backward(tn_context *c, tn_tensor *const *dy, int n_out, tn_tensor **dx, int n_in)
{
    (void)c;
    (void)n_out;
    (void)n_in;
    dx[0] = tn_mul(dy[0], 2);
}
static const tn_function wrong = {"wrong", cube_forward, wrong_backward};
static tn_tensor *call_wrong(tn_tensor *const *in, int count, void *context)
{
    return tn_apply(&wrong, context, sizeof(double), in, count);
}

/* Right but for the last element of three. */
static void nearly_backward(tn_context *c, tn_tensor *const *dy, int n_out, tn_tensor **dx, int n_in)
{
    cube_backward(c, dy, n_out, dx, n_in);
    dx[0] = tn_mul(dx[0], tn_from_doubles(((double[]){1, 1, 1.01}), TN_SHAPE(3)));
}
static const tn_function nearly = {"nearly", cube_forward, nearly_backward};
static tn_tensor *call_nearly(tn_tensor *const *in, int count, void *context)
{
    (void)count;
    return tn_apply(&nearly, context, sizeof(double), &in[1], 1);
}

static void misshapen_backward(tn_context *c, tn_tensor *const *dy, int n_out, tn_tensor **dx, int n_in)
{
    (void)c;
    (void)n_out;
    (void)n_in;
    (void)dy;
    dx[0] = tn_ones(TN_SHAPE(7), .dtype = TN_F64);
}
static const tn_function misshapen = {"misshapen", cube_forward, misshapen_backward};

static tn_tensor *call_swiglu(tn_tensor *const *in, int count, void *unused)
{
    (void)count;
    (void)unused;
    return tn_swiglu(in[0], in[1]);
}

/* Its gradients in one pass: of what no buffer holds at once, dy being the walk's own (which may be written) or held by someone, contiguous or not. */
static void check_swiglu_gradients(tn_dtype dtype, bool held, bool strided)
{
    TN_SCOPE;
    const double tolerance = dtype == TN_F64 ? 1e-12 : 1e-5;
    const tn_shape shape = strided ? TN_SHAPE(2011, 27) : TN_SHAPE(27, 2011);
    tn_tensor *in[2] = {tn_mul(tn_randn(shape, .dtype = dtype), tn_scalar_f64(3)), tn_randn(shape, .dtype = dtype)}, *d[2], *expected[2];
    tn_tensor *weight = tn_randn(TN_SHAPE(27, 2011), .dtype = dtype), *x[2];
    for (int k = 0; k < 2; k++) {
        assert_int_equal(tn_set_requires_grad(in[k], true), TN_OK);
        x[k] = strided ? tn_transpose(in[k], 0, 1) : in[k];
    }
    tn_tensor *y = tn_swiglu(x[0], x[1]), *z = tn_mul(tn_silu(x[0]), x[1]);
    tn_tensor *loss = held ? y : tn_mul(y, weight), *other = held ? z : tn_mul(z, weight);
    tn_tensor *dy = held ? weight : tn_ones_like(y), *before = tn_clone(dy);
    assert_int_equal(tn_grads_of(&loss, 1, in, 2, d, .grads = &dy, .retain_graph = true), TN_OK);
    assert_int_equal(tn_grads_of(&other, 1, in, 2, expected, .grads = &dy), TN_OK);
    assert_true(tn_equal(dy, before));
    for (int k = 0; k < 2; k++)
        assert_true(tn_allclose(d[k], expected[k], tolerance, tolerance, false));
}

/* The same bits on any number of threads, gates whose exponential is no float among the others. */
static void check_swiglu_threads(void)
{
    TN_SCOPE;
    const int threads = tn_get_num_threads();
    tn_tensor *gate = tn_randn(TN_SHAPE(54297)), *up = tn_randn(TN_SHAPE(54297)), *d[2][2];
    for (int64_t i = 0; i < tn_numel(gate); i += 40)
        ((float *)tn_data_mut(gate))[i] = i % 80 ? 100 : -100;
    tn_tensor *in[2] = {gate, up};
    assert_int_equal(tn_set_requires_grad(gate, true) | tn_set_requires_grad(up, true), TN_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tn_set_num_threads(i ? 3 : 1), TN_OK);
        tn_tensor *y = tn_swiglu(gate, up), *dy = tn_ones_like(y);
        assert_int_equal(tn_grads_of(&y, 1, in, 2, d[i], .grads = &dy), TN_OK);
    }
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
    assert_true(tn_equal(d[0][0], d[1][0]) && tn_equal(d[0][1], d[1][1]));
}

/* It is silu(gate) up, its gradients too, broadcast or not, and takes what operators of floats take. */
static void test_swiglu(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        TN_SCOPE;
        const tn_shape one = i < 3 ? TN_SHAPE(5, 37) : i == 3 ? TN_SHAPE(5, 1) : TN_SHAPE(37), other = i < 4 ? TN_SHAPE(5, 37) : TN_SHAPE(5, 1);
        tn_tensor *in[2] = {tn_mul(tn_randn(one), tn_scalar_f64(3)), tn_randn(other)}, *d[2], *expected[2];
        for (int k = 0; k < 2; k++)
            if (i % 3 != 1 - k)
                assert_int_equal(tn_set_requires_grad(in[k], true), TN_OK);
        tn_tensor *y = tn_swiglu(in[0], in[1]), *z = tn_mul(tn_silu(in[0]), in[1]);
        assert_true(tn_allclose(y, z, 1e-6, 1e-7, false));
        const int first = i % 3 == 1, count = 1 + (i % 3 == 2);
        tn_tensor *dy = tn_randn_like(y);
        assert_int_equal(tn_grads_of(&y, 1, in + first, count, d, .grads = &dy), TN_OK);
        assert_int_equal(tn_grads_of(&z, 1, in + first, count, expected, .grads = &dy), TN_OK);
        for (int k = 0; k < count; k++)
            assert_true(tn_allclose(d[k], expected[k], 1e-5, 1e-6, false));
    }
    for (int i = 0; i < 8; i++)
        check_swiglu_gradients(i & 1 ? TN_F64 : TN_F32, i & 2, i & 4);
    check_swiglu_threads();
    TN_SCOPE;
    tn_tensor *in[2] = {tn_randn(TN_SHAPE(7), .dtype = TN_F64, .requires_grad = true), tn_randn(TN_SHAPE(7), .dtype = TN_F64, .requires_grad = true)};
    assert_int_equal(tn_gradcheck(call_swiglu, NULL, in, 2, .second = true), TN_OK);
    assert_int_equal(tn_dtype_of(tn_swiglu(tn_arange(3), tn_ones(TN_SHAPE(3), .dtype = TN_BF16))), TN_BF16);
    assert_null(tn_swiglu(tn_ones(TN_SHAPE(2)), tn_ones(TN_SHAPE(3))));
    check_error(TN_ERR_SHAPE, "swiglu: shapes [2] and [3] do not broadcast");
}

static void test_an_operator_of_ones_own(void **state)
{
    (void)state;
    TN_SCOPE;
    double factor = 4;
    tn_tensor *x = tn_from_doubles(((double[]){1, -2, 0.5}), TN_SHAPE(3), .requires_grad = true);
    tn_tensor *y = call_cube(&x, 1, &factor);
    check_values(y, 0, 4, -32, 0.5);
    assert_int_equal(tn_backward(tn_sum(y)), TN_OK);
    check_values(tn_grad(x), 0, 12, 48, 3);
    assert_int_equal(tn_gradcheck(call_cube, &factor, &x, 1, .second = true), TN_OK);
    assert_int_equal(tn_gradcheck(call_wrong, &factor, &x, 1), TN_ERR_GRAD);
    check_error(TN_ERR_GRAD, "gradcheck: input 0, element 0");
    tn_tensor *both[] = {leaf(1), x};
    assert_int_equal(tn_gradcheck(call_nearly, &factor, both, 2), TN_ERR_GRAD);
    check_error(TN_ERR_GRAD, "gradcheck: input 1, element 2: backward gives");
    assert_int_equal(tn_gradcheck(call_cube, &factor, &(tn_tensor *){tn_ones(TN_SHAPE(3), .requires_grad = true)}, 1), TN_ERR_DTYPE);
    check_error(TN_ERR_DTYPE, "gradcheck: input 0 must be contiguous float64");
    y = tn_sum(tn_apply(&misshapen, &factor, sizeof factor, &x, 1));
    assert_int_equal(tn_backward(y), TN_ERR_SHAPE);
    check_error(TN_ERR_SHAPE, "misshapen: its backward gave [7] as the gradient of input 0, which is");
    assert_null(tn_apply(NULL, NULL, 0, &x, 1));
    check_error(TN_ERR_ARGUMENT, "apply: the function is NULL");
    assert_int_equal(tn_apply_n(&cube, &factor, sizeof factor, &x, 1, NULL, 1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "the place for its results is NULL");
    assert_null(tn_apply(&cube, &factor, sizeof factor, NULL, 1));
    check_error(TN_ERR_ARGUMENT, "the array of inputs is NULL");
}

static void split_forward(tn_context *c, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    (void)c;
    (void)n_in;
    assert_int_equal(n_out, 2);
    out[0] = tn_mul(in[0], 2);
    out[1] = tn_mul(in[0], 3);
}
static void split_backward(tn_context *c, tn_tensor *const *dy, int n_out, tn_tensor **dx, int n_in)
{
    (void)c;
    (void)n_in;
    assert_int_equal(n_out, 2);
    dx[0] = tn_add(tn_mul(dy[0], 2), tn_mul(dy[1], 3));
}

static void test_several_results(void **state)
{
    (void)state;
    TN_SCOPE;
    static const tn_function split = {"split", split_forward, split_backward};
    tn_tensor *x = leaf(1), *out[2];
    assert_int_equal(tn_apply_n(&split, NULL, 0, &x, 1, out, 2), TN_OK);
    check_values(tn_grad_of(out[1], x, .retain_graph = true), 0, 3); /* out[0] got nothing: zeros */
    check_values(tn_grad_of(tn_mul(out[0], out[1]), x), 0, 12);
}

/* y = a b and a + b, of a in f64 and b in f32, computed in f64: each gradient arrives in its input's dtype. */
static void mixed_forward(tn_context *c, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    assert_true(n_in == 2 && n_out == 2);
    tn_tensor *b = tn_cast(in[1], TN_F64);
    out[0] = tn_mul(in[0], b);
    out[1] = tn_add(in[0], b);
    tn_save(c, in[0]);
    tn_save(c, b);
}
static void mixed_backward(tn_context *c, tn_tensor *const *dy, int n_out, tn_tensor **dx, int n_in)
{
    assert_true(n_in == 2 && n_out == 2);
    if (tn_needs_grad(c, 0))
        dx[0] = tn_add(tn_mul(dy[0], tn_saved(c, 1)), dy[1]);
    if (tn_needs_grad(c, 1))
        dx[1] = tn_add(tn_mul(dy[0], tn_saved(c, 0)), dy[1]);
}

static void test_several_inputs_of_several_dtypes(void **state)
{
    (void)state;
    TN_SCOPE;
    static const tn_function mixed = {"mixed", mixed_forward, mixed_backward};
    tn_tensor *a = leaf(3), *b = tn_full(TN_SHAPE(1), 4, .requires_grad = true), *in[] = {a, b}, *out[2];
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(tn_apply_n(&mixed, NULL, 0, in, 2, out, 2), TN_OK);
        assert_int_equal(tn_backward(tn_add(out[0], tn_mul(out[1], 10))), TN_OK);
    }
    check_values(tn_grad(a), 0, 28);
    check_values(tn_grad(b), 0, 26);
    assert_int_equal(tn_dtype_of(tn_grad(b)), TN_F32);
    tn_tensor *m = tn_mul(b, 1); /* and where a result lies below */
    in[1] = m;
    assert_int_equal(tn_apply_n(&mixed, NULL, 0, in, 2, out, 2), TN_OK);
    assert_int_equal(tn_dtype_of(tn_grad_of(out[0], m)), TN_F32);
    check_good();
}

/* ---- long graphs -------------------------------------------------------------------------------------------------------- */

static void test_a_hundred_thousand_steps(void **state)
{
    (void)state;
    tn_scope_clear();
    {
        TN_SCOPE; /* the thread's stack of temporaries is there */
        tn_empty(TN_SHAPE(1));
    }
    tn_memory_stats before = tn_get_memory_stats();
    int64_t live = tn_live_objects();
    {
        TN_SCOPE;
        tn_tensor *x = leaf(1), *h = x;
        for (int t = 0; t < 100000; t++) {
            TN_SCOPE;
            h = tn_pass(tn_add(tn_mul(h, 0.5), x));
        }
        assert_int_equal(tn_backward(h), TN_OK);
        check_values(tn_grad(x), 1e-12, 2);
        h = x;
        for (int t = 0; t < 100000; t++) { /* and one that is freed without backward */
            TN_SCOPE;
            h = tn_pass(tn_mul(h, 1.0));
        }
    }
    assert_int_equal(tn_live_objects(), live);
    assert_int_equal(tn_get_memory_stats().in_use, before.in_use);
}

static void test_forward_without_backward_leaks_nothing(void **state)
{
    (void)state;
    int64_t live = tn_live_objects();
    for (int i = 0; i < 100; i++) {
        TN_SCOPE;
        tn_tensor *x = leaf(1);
        tn_exp(tn_mul(tn_sigmoid(x), x));
    }
    assert_int_equal(tn_live_objects(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_readme_example), TEST(test_gradients_accumulate), TEST(test_a_diamond), TEST(test_both_sides),
        TEST(test_backward_needs_a_gradient_for_many), TEST(test_a_graph_is_released_or_kept), TEST(test_no_grad_and_enable_grad),
        TEST(test_grad_of_leaves_grad_alone), TEST(test_second_derivatives), TEST(test_hooks), TEST(test_a_hook_that_takes_itself_out), TEST(test_a_hooks_dtype), TEST(test_a_retained_gradient_in_place),
        TEST(test_gradients_written_over), TEST(test_the_memory_of_backward), TEST(test_a_saved_tensor_that_was_changed),
        TEST(test_in_place_rules), TEST(test_requires_grad_rules), TEST(test_broadcasting_backward), TEST(test_swiglu), TEST(test_an_operator_of_ones_own),
        TEST(test_several_results), TEST(test_several_inputs_of_several_dtypes), TEST(test_a_hundred_thousand_steps), TEST(test_forward_without_backward_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
