/* What goes beside an optimiser: clipping, a moving average of weights, the random state as a tensor.
 * labels: isa, quick */
#include <float.h>
#include <stdlib.h>

#include "op_table.h"

static tn_tensor *there(tn_tensor *x) { return tn_to(x, tn_get_default_device()); }

static tn_tensor *with_grad(tn_tensor *x, tn_tensor *grad)
{
    assert_int_equal(tn_set_requires_grad(x, true), TN_OK);
    assert_int_equal(tn_set_grad(x, grad), TN_OK);
    return x;
}

/* Gradients 3, 4 (f32), 12 (f64, transposed), and a parameter that has none: norm 13. */
static tn_list *three(void)
{
    return TN_LIST(with_grad(tn_zeros(TN_SHAPE(2)), there(tn_from_floats(((float[]){3, -4}), TN_SHAPE(2)))),
                   with_grad(tn_transpose(tn_zeros(TN_SHAPE(2, 3), .dtype = TN_F64), 0, 1),
                             tn_transpose(there(tn_from_doubles(((double[]){0, 12, 0, 0, 0, 0}), TN_SHAPE(2, 3))), 0, 1)),
                   tn_zeros(TN_SHAPE(1), .requires_grad = true));
}

static void test_clip_norm(void **state)
{
    (void)state;
    TN_SCOPE;
    const tn_list *params = three();
    tn_tensor *a = tn_grad(tn_list_at(params, 0)), *b = tn_grad(tn_list_at(params, 1));
    assert_true(fabs(tn_clip_grad_norm(params, 26) - 13) < 1e-12);
    check_values(a, 0, 3, -4); /* within: as they were */
    double scale = 6.5 / (13 + 1e-6);
    assert_true(fabs(tn_clip_grad_norm(params, 6.5) - 13) < 1e-12);
    check_values(a, 1e-7, 3 * scale, -4 * scale);
    check_values(tn_contiguous(b), 1e-15, 0, 0, 12 * scale, 0, 0, 0);
    assert_false(tn_is_contiguous(b)); /* in place */
    params = three();
    assert_true(fabs(tn_clip_grad_norm(params, 1, .norm_type = 1) - 19) < 1e-12);
    check_values(tn_grad(tn_list_at(params, 0)), 1e-7, 3 / (19 + 1e-6), -4 / (19 + 1e-6));
    params = three();
    assert_true(tn_clip_grad_norm(params, 100, .norm_type = INFINITY) == 12);
    assert_true(tn_clip_grad_norm(TN_LIST(tn_list_at(params, 2)), 1) == 0);
    /* One element at several places is one. */
    tn_tensor *e = with_grad(tn_zeros(TN_SHAPE(4)), tn_expand(tn_full(TN_SHAPE(1), 2), TN_SHAPE(4)));
    assert_true(tn_clip_grad_norm(TN_LIST(e), 1) == 4);
    check_values(tn_grad(e), 1e-6, 0.5, 0.5, 0.5, 0.5);
}

static void test_clip_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    const tn_list *params = three();
    tn_tensor *bad = with_grad(tn_zeros(TN_SHAPE(2)), there(tn_from_floats(((float[]){INFINITY, 1}), TN_SHAPE(2))));
    assert_true(isnan(tn_clip_grad_norm(TN_LIST(bad), 1, .error_if_nonfinite = true)));
    check_error(TN_ERR_ARGUMENT, "clip_grad_norm: the gradients' norm of order 2 is inf");
    check_values(tn_grad(bad), 0, INFINITY, 1);
    assert_true(tn_clip_grad_norm(TN_LIST(bad), 1) == INFINITY);
    check_values(tn_grad(bad), 0, NAN, 0); /* PyTorch's */
    assert_true(isnan(tn_clip_grad_norm(NULL, 1)));
    check_error(TN_ERR_ARGUMENT, "clip_grad_norm: params is NULL");
    assert_true(isnan(tn_clip_grad_norm(params, -1)));
    check_error(TN_ERR_ARGUMENT, "clip_grad_norm: max_norm is -1");
    assert_int_equal(tn_clip_grad_value(params, NAN), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "clip_grad_value: clip_value is nan");
    tn_tensor *half = with_grad(tn_zeros(TN_SHAPE(2), .dtype = TN_F16), tn_ones(TN_SHAPE(2), .dtype = TN_F16));
    assert_int_equal(tn_clip_grad_value(TN_LIST(half), 1), TN_ERR_DTYPE);
    check_error(TN_ERR_DTYPE, "the gradient of parameter 0 is float16");
}

static void test_clip_value(void **state)
{
    (void)state;
    TN_SCOPE;
    const tn_list *params = three();
    tn_tensor *grad = tn_grad(tn_list_at(params, 0));
    uint64_t version = tn_version_of(grad);
    assert_int_equal(tn_clip_grad_value(params, 3.5), TN_OK);
    check_values(grad, 0, 3, -3.5);
    check_values(tn_contiguous(tn_grad(tn_list_at(params, 1))), 0, 0, 0, 3.5, 0, 0, 0);
    assert_true(tn_version_of(grad) > version);
    tn_tensor *bad = with_grad(tn_zeros(TN_SHAPE(2)), there(tn_from_floats(((float[]){NAN, -INFINITY}), TN_SHAPE(2))));
    assert_int_equal(tn_clip_grad_value(TN_LIST(bad), 1), TN_OK);
    check_values(tn_grad(bad), 0, NAN, -1);
}

/* By hand: p goes 1, 2, 4, and decay is 0.75. */
static void test_ema(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *p = tn_ones(TN_SHAPE(2), .requires_grad = true), *q = tn_transpose(tn_ones(TN_SHAPE(2, 3), .dtype = TN_F64), 0, 1);
    tn_ema *ema = tn_ema_new(TN_LIST(p, q), 0.75), *second = tn_ema_new(TN_LIST(p, q), 0.75);
    const double values[] = {1, 2, 4};
    for (int i = 0; i < 3; i++) {
        tn_init_constant(p, values[i]);
        tn_init_constant(q, values[i]);
        assert_int_equal(tn_ema_update(ema), TN_OK); /* 1, 1.25, 1.9375 */
    }
    tn_tensor *average = tn_dict_get(tn_ema_state_dict(ema), "1");
    check_values(average, 1e-15, 1.9375, 1.9375, 1.9375, 1.9375, 1.9375, 1.9375);
    uint64_t version = tn_version_of(p);
    assert_int_equal(tn_ema_swap(ema), TN_OK);
    check_values(p, 1e-7, 1.9375, 1.9375);
    check_values(tn_contiguous(q), 1e-15, 1.9375, 1.9375, 1.9375, 1.9375, 1.9375, 1.9375);
    assert_true(tn_version_of(p) > version);
    assert_int_equal(tn_ema_update(ema), TN_ERR_STATE);
    check_error(TN_ERR_STATE, "the parameters hold the averages");
    assert_int_equal(tn_ema_copy_to(ema), TN_ERR_STATE);
    check_error(TN_ERR_STATE, "the parameters hold the averages already");
    assert_int_equal(tn_ema_swap(ema), TN_OK);
    check_values(p, 0, 4, 4);
    check_values(tn_contiguous(q), 0, 4, 4, 4, 4, 4, 4);

    /* Loaded into another, both go on alike. */
    assert_int_equal(tn_load_ema_state(second, tn_ema_state_dict(ema)), TN_OK);
    assert_int_equal(tn_ema_update(ema), TN_OK);
    assert_int_equal(tn_ema_update(second), TN_OK);
    const tn_dict *one = tn_ema_state_dict(ema), *two = tn_ema_state_dict(second);
    assert_int_equal(tn_dict_count(one), 4);
    for (int64_t i = 0; i < 4; i++)
        assert_true(tn_equal(tn_dict_tensor(one, i), tn_dict_get(two, tn_dict_name(one, i))));
    check_values(tn_dict_get(one, "n_averaged"), 0, 4);
    assert_int_equal(tn_ema_copy_to(ema), TN_OK);
    check_values(p, 1e-7, 2.453125, 2.453125);
    tn_release(ema);
    tn_release(second);
}

static void test_ema_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *p = tn_ones(TN_SHAPE(2));
    assert_null(tn_ema_new(NULL, 0.5));
    check_error(TN_ERR_ARGUMENT, "ema: params is NULL");
    assert_null(tn_ema_new(TN_LIST(p), 1.5));
    check_error(TN_ERR_ARGUMENT, "decay is 1.5");
    assert_null(tn_ema_new(TN_LIST(tn_ones(TN_SHAPE(1), .dtype = TN_I64)), 0.5));
    check_error(TN_ERR_DTYPE, "ema: parameter 0 is int64");
    assert_int_equal(tn_ema_update(NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "ema_update: the average is NULL");
    tn_ema *ema = tn_ema_new(TN_LIST(p), 0.5);
    tn_dict *dict = tn_ema_state_dict(ema);
    assert_int_equal(tn_dict_set(dict, "0", tn_ones(TN_SHAPE(3))), TN_OK);
    assert_int_equal(tn_load_ema_state(ema, dict), TN_ERR_SHAPE);
    check_error(TN_ERR_SHAPE, "\"0\" is [3] and its parameter is [2]");
    dict = tn_ema_state_dict(ema);
    assert_int_equal(tn_dict_set(dict, "1", tn_ones(TN_SHAPE(2))), TN_OK);
    assert_int_equal(tn_load_ema_state(ema, dict), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"1\" is no part");
    dict = tn_ema_state_dict(ema);
    assert_int_equal(tn_dict_set(dict, "n_averaged", tn_full(TN_SCALAR, -1, .dtype = TN_I64)), TN_OK);
    assert_int_equal(tn_load_ema_state(ema, dict), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"n_averaged\" is -1: a whole number");
    dict = tn_adopt(tn_dict_new());
    assert_int_equal(tn_load_ema_state(ema, dict), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"n_averaged\" is missing");
    tn_release(ema);
}

static void test_rng_state(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(UINT64_MAX - 5); /* all 64 bits come back */
    tn_rand(TN_SHAPE(7));
    tn_tensor *kept = tn_get_rng_state(), *first = tn_randn(TN_SHAPE(50));
    assert_false(tn_equal(first, tn_randn(TN_SHAPE(50))));
    assert_int_equal(tn_set_rng_state(kept), TN_OK);
    assert_true(tn_equal(first, tn_randn(TN_SHAPE(50))));
    assert_true(tn_get_random_state().seed == UINT64_MAX - 5);
    assert_int_equal(tn_set_rng_state(tn_zeros(TN_SHAPE(3), .dtype = TN_I64)), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "set_rng_state: state is [3] of int64");
    assert_int_equal(tn_set_rng_state(tn_zeros(TN_SHAPE(2))), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "of float32");
    assert_int_equal(tn_set_rng_state(NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "state is NULL");
}

/* An allocator that gives `left` blocks and then none. */
static int64_t left;
static void *give(size_t size, void *context)
{
    (void)context;
    return left-- > 0 ? aligned_alloc(64, (size + 63) / 64 * 64) : NULL;
}
static void take(void *memory, size_t size, void *context)
{
    (void)size, (void)context;
    free(memory);
}

/* Without memory anywhere nothing has changed. */
static void test_no_memory(void **state)
{
    (void)state;
    left = INT64_MAX;
    const tn_allocator allocator = {give, take, NULL};
    assert_int_equal(tn_set_allocator(&allocator), TN_OK);
    TN_SCOPE;
    tn_list *params = three();
    tn_optim *opt = tn_adam_new(params, 0.1);
    assert_int_equal(tn_step(opt), TN_OK);
    tn_ema *ema = tn_ema_new(params, 0.5);
    assert_int_equal(tn_ema_update(ema), TN_OK);
    assert_int_equal(tn_step(opt), TN_OK);
    tn_tensor *p = tn_list_at(params, 0), *grad = tn_grad(p), *at = tn_clone(tn_detach(p));
    const tn_dict *average = tn_ema_state_dict(ema), *kept = tn_optim_state_dict(opt);
    tn_tensor *a = tn_clone(tn_dict_get(average, "0")), *m = tn_clone(tn_dict_get(kept, "state.0.exp_avg"));
    int failures = 0;
    for (int what = 0; what < 5; what++)
        for (int64_t n = 0;; n++, failures++) {
            TN_SCOPE;
            left = n;
            tn_status status = what == 0 ? tn_clip_grad_value(params, 1) : what == 1 ? (tn_clip_grad_norm(params, 1e-3), tn_last_status())
                             : what == 2 ? tn_ema_swap(ema) : what == 3 ? tn_load_optim_state(opt, kept) : tn_load_ema_state(ema, average);
            left = INT64_MAX;
            if (status == TN_OK)
                break;
            check_error(TN_ERR_MEMORY, "memory");
            if (what == 0)
                check_values(grad, 0, 3, -4);
            if (what == 1)
                check_values(grad, 0, 1, -1);
            if (what <= 2)
                assert_true(tn_equal(p, at));
            assert_true(tn_equal(tn_dict_get(tn_optim_state_dict(opt), "state.0.exp_avg"), m));
            assert_true(what > 2 || tn_equal(tn_dict_get(tn_ema_state_dict(ema), "0"), a));
        }
    assert_true(failures > 20);
    tn_release(ema);
    tn_release(opt);
}

/* The numbers are those of torch.amp.GradScaler("cpu", init_scale=4, growth_interval=2) with SGD. */
static void test_grad_scaler(void **state)
{
    (void)state;
    TN_SCOPE;
    static const double scales[] = {4, 8, 4, 4, 8, 8}, first[] = {0.5, 0, 0, -0.5, -1, -1.5};
    tn_tensor *w = there(tn_from_floats(((float[]){1, 2}), TN_SHAPE(2)));
    assert_int_equal(tn_set_requires_grad(w, true), TN_OK);
    tn_optim *opt = tn_adopt(tn_sgd_new(TN_LIST(w), 0.5));
    tn_grad_scaler *scaler = tn_adopt(tn_grad_scaler_new(.init_scale = 4, .growth_interval = 2));
    for (int i = 0; i < 6; i++) {
        TN_SCOPE;
        tn_tensor *loss = tn_sum(tn_mul(w, there(tn_from_floats(((float[]){i == 2 ? INFINITY : 1, 1}), TN_SHAPE(2)))));
        tn_zero_grad(opt);
        assert_int_equal(tn_backward(tn_grad_scaler_scale(scaler, loss)), TN_OK);
        if (i == 4) {
            assert_int_equal(tn_grad_scaler_unscale(scaler, opt), TN_OK);
            check_values(tn_grad(w), 0, 1, 1);
            assert_int_equal(tn_grad_scaler_unscale(scaler, opt), TN_ERR_STATE);
            check_error(TN_ERR_STATE, "was unscaled already");
        }
        assert_int_equal(tn_grad_scaler_step(scaler, opt), TN_OK);
        if (i == 4) {
            assert_int_equal(tn_grad_scaler_step(scaler, opt), TN_ERR_STATE);
            check_error(TN_ERR_STATE, "has stepped already");
        }
        assert_int_equal(tn_grad_scaler_update(scaler), TN_OK);
        assert_true(tn_get_grad_scale(scaler) == scales[i]);
        check_values(w, 0, first[i], i == 0 ? 1.5 : first[i] + 1);
    }
    assert_int_equal(tn_grad_scaler_update(scaler), TN_ERR_STATE);
    check_error(TN_ERR_STATE, "no optimiser was unscaled");
    tn_dict *saved = tn_grad_scaler_state_dict(scaler);
    assert_int_equal(tn_item_i64(tn_dict_get(saved, "_growth_tracker")), 1);
    tn_grad_scaler *other = tn_adopt(tn_grad_scaler_new());
    assert_true(tn_get_grad_scale(other) == 65536);
    assert_int_equal(tn_load_grad_scaler_state(other, saved), TN_OK);
    assert_true(tn_get_grad_scale(other) == 8);
    assert_int_equal(tn_dict_set(saved, "growth_factor", tn_full(TN_SCALAR, 0.5)), TN_OK);
    assert_int_equal(tn_load_grad_scaler_state(other, saved), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "load_grad_scaler_state: the scale 8 ");
    assert_null(tn_grad_scaler_new(.backoff_factor = 1));
    check_error(TN_ERR_ARGUMENT, "backoff_factor 1 between 0 and 1");
    tn_grad_scaler *off = tn_adopt(tn_grad_scaler_new(.enabled = false));
    assert_ptr_equal(tn_grad_scaler_scale(off, w), w);
    assert_true(tn_grad_scaler_step(off, opt) == TN_OK && tn_grad_scaler_update(off) == TN_OK && tn_get_grad_scale(off) == 1);
    check_values(w, 0, -2, -1);
}

/* However many steps were left out, what then is finite is a step as any other. */
static void test_grad_scaler_at_its_least(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *w = tn_from_floats(((float[]){1, 2}), TN_SHAPE(2), .requires_grad = true);
    tn_optim *opt = tn_adopt(tn_sgd_new(TN_LIST(w), 0.5));
    tn_grad_scaler *scaler = tn_adopt(tn_grad_scaler_new(.init_scale = 8 * FLT_MIN));
    for (int i = 0; i < 32; i++) {
        TN_SCOPE;
        tn_tensor *loss = tn_sum(tn_mul(w, tn_from_floats(((float[]){i < 31 ? INFINITY : 1, 1}), TN_SHAPE(2))));
        tn_zero_grad(opt);
        assert_int_equal(tn_backward(tn_grad_scaler_scale(scaler, loss)), TN_OK);
        assert_int_equal(tn_grad_scaler_step(scaler, opt), TN_OK);
        assert_int_equal(tn_grad_scaler_update(scaler), TN_OK);
    }
    assert_true(tn_get_grad_scale(scaler) == (double)FLT_MIN);
    check_values(w, 0, 0.5, 1.5);
    assert_int_equal(tn_load_grad_scaler_state(scaler, tn_grad_scaler_state_dict(scaler)), TN_OK);
    assert_null(tn_grad_scaler_new(.init_scale = 1e39));
    check_error(TN_ERR_ARGUMENT, "the scale 1e+39 must be from");
}

static int restore_allocator(void **state)
{
    int failed = end_test(state);
    return failed || tn_set_allocator(NULL) != TN_OK;
}

int main(void)
{
    case_use_device();
    const struct CMUnitTest tests[] = {
        TEST(test_clip_norm), TEST(test_clip_errors), TEST(test_clip_value), TEST(test_ema), TEST(test_ema_errors), TEST(test_rng_state),
        TEST(test_grad_scaler), TEST(test_grad_scaler_at_its_least),
        cmocka_unit_test_setup_teardown(test_no_memory, begin_test, restore_allocator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
