/* Optimisers: 50 steps beside PyTorch's on the same gradients, and the rules of tn_step.
 * labels: isa, quick */
#include <stdlib.h>

#include "op_table.h"
#include "reference/optim.h"

enum { PARAMS = 3, STEPS = 50 };
static const int sizes[PARAMS] = {35, 3, 1};

static tn_tensor *filled(uint32_t seed, tn_shape shape, double low, double high, tn_dtype dtype)
{
    tn_tensor *x = tn_zeros(shape, .dtype = TN_F64);
    double *data = tn_data_mut(x);
    for (int64_t i = 0; i < tn_numel(x); i++)
        data[i] = op_fill(seed, i, low, high);
    return dtype == TN_F64 ? x : tn_cast(x, dtype);
}

static tn_shape shape_of(int i) { return i == 0 ? TN_SHAPE(5, 7) : i == 1 ? TN_SHAPE(3) : TN_SHAPE(1); }

static tn_list *make_params(tn_dtype dtype)
{
    tn_tensor *p[PARAMS];
    for (int i = 0; i < PARAMS; i++) {
        p[i] = filled((uint32_t)(100 + i), shape_of(i), -1, 1, dtype);
        assert_int_equal(tn_set_requires_grad(p[i], true), TN_OK);
    }
    return tn_list_from(p, PARAMS);
}

static void set_grads(const tn_list *params, int t, tn_dtype dtype)
{
    for (int i = 0; i < PARAMS; i++) {
        TN_SCOPE;
        tn_tensor *g = i == 2 && t % 3 == 1 ? NULL : filled((uint32_t)(1000 * t + i), shape_of(i), -1, 2, dtype);
        assert_int_equal(tn_set_grad(tn_list_at(params, i), g), TN_OK);
    }
}

/* Runs 50 steps and compares with what PyTorch came to. Takes the optimiser. */
static void compare(tn_optim *opt, const tn_list *params, tn_dtype dtype, const double *expected)
{
    check_good();
    for (int t = 0; t < STEPS; t++) {
        set_grads(params, t, dtype);
        assert_int_equal(tn_step(opt), TN_OK);
    }
    double tolerance = dtype == TN_F64 ? 1e-13 : 2e-6;
    for (int i = 0, at = 0; i < PARAMS; at += sizes[i++])
        check_values_(tn_list_at(params, i), tolerance, expected + at, sizes[i], __FILE__, __LINE__);
    tn_zero_grad(opt);
    assert_null(tn_grad(tn_list_at(params, 0)));
    tn_release(opt);
}

#define COMPARE(name, constructor)                                                                                            \
    for (int pass_ = 0; pass_ < 2; pass_++) {                                                                                 \
        TN_SCOPE;                                                                                                             \
        const tn_dtype dtype = pass_ ? TN_F32 : TN_F64;                                                                       \
        const tn_list *params = make_params(dtype);                                                                           \
        compare(constructor, params, dtype, pass_ ? name##_f32 : name##_f64);                                                 \
    }

static void test_sgd(void **state)
{
    (void)state;
    COMPARE(sgd, tn_sgd_new(params, 0.1));
    COMPARE(sgd_decay_maximize, tn_sgd_new(params, 0.1, .weight_decay = 0.01, .maximize = true));
    COMPARE(sgd_momentum, tn_sgd_new(params, 0.05, .momentum = 0.9));
    COMPARE(sgd_dampening, tn_sgd_new(params, 0.05, .momentum = 0.8, .dampening = 0.3, .weight_decay = 0.02));
    COMPARE(sgd_nesterov, tn_sgd_new(params, 0.05, .momentum = 0.9, .nesterov = true, .weight_decay = 0.02));
}

static void test_adam(void **state)
{
    (void)state;
    COMPARE(adam, tn_adam_new(params, 0.01));
    COMPARE(adam_betas, tn_adam_new(params, 0.02, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.05));
    COMPARE(adam_amsgrad, tn_adam_new(params, 0.02, .amsgrad = true, .maximize = true));
    COMPARE(adamw, tn_adam_new(params, 0.02, .weight_decay = 0.1, .decoupled_weight_decay = true));
}

/* Both dtypes in one optimiser, a strided parameter and an expanded gradient. */
static void test_layouts(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *a = tn_full(TN_SHAPE(2), 3, .requires_grad = true), *b = tn_transpose(filled(1, TN_SHAPE(2, 3), 0, 1, TN_F64), 0, 1);
    tn_tensor *before = tn_clone(b);
    assert_int_equal(tn_set_requires_grad(b, true), TN_OK);
    tn_optim *opt = tn_sgd_new(TN_LIST(a, b), 0.5);
    uint64_t version = tn_version_of(a);
    assert_int_equal(tn_set_grad(a, tn_expand(tn_full(TN_SHAPE(1), 2), TN_SHAPE(2))), TN_OK);
    assert_int_equal(tn_set_grad(b, tn_ones(TN_SHAPE(3, 2), .dtype = TN_F64)), TN_OK);
    assert_int_equal(tn_step(opt), TN_OK);
    check_values(a, 0, 2, 2);
    assert_true(tn_version_of(a) > version);
    assert_false(tn_is_contiguous(b));
    assert_true(tn_allclose(b, tn_sub(before, 0.5), 0, 1e-15, false));
    assert_true(tn_get_lr(opt) == 0.5);
    assert_int_equal(tn_set_lr(opt, 0), TN_OK);
    assert_int_equal(tn_step(opt), TN_OK);
    check_values(a, 0, 2, 2);
    tn_release(opt);
}

static void test_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *p = tn_ones(TN_SHAPE(2), .requires_grad = true), *plain = tn_ones(TN_SHAPE(2));
    assert_null(tn_sgd_new(NULL, 0.1));
    check_error(TN_ERR_ARGUMENT, "sgd: params is NULL");
    assert_null(tn_adam_new(tn_list_from(NULL, 0), 0.1));
    check_error(TN_ERR_ARGUMENT, "an empty list");
    assert_null(tn_sgd_new(TN_LIST(p)));
    check_error(TN_ERR_ARGUMENT, "lr is 0");
    assert_null(tn_sgd_new(TN_LIST(p), 0.1, .nesterov = true));
    check_error(TN_ERR_ARGUMENT, "nesterov needs a momentum");
    assert_null(tn_sgd_new(TN_LIST(p), 0.1, .momentum = -1));
    check_error(TN_ERR_ARGUMENT, "momentum is -1");
    assert_null(tn_adam_new(TN_LIST(p), 0.1, .beta2 = 1));
    check_error(TN_ERR_ARGUMENT, "below 1");
    assert_null(tn_adam_new(TN_LIST(p, plain), 0.1));
    check_error(TN_ERR_ARGUMENT, "parameter 1, [2], requires no gradient");
    assert_null(tn_adam_new(TN_LIST(p, p), 0.1));
    check_error(TN_ERR_ARGUMENT, "parameters 0 and 1 are the same tensor");
    assert_int_equal(tn_step(NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "step: the optimiser is NULL");

    tn_optim *opt = tn_adam_new(TN_LIST(p), 0.1);
    assert_int_equal(tn_set_grad(p, plain), TN_OK);
    tn_fail(TN_ERR_STATE, "an earlier error");
    assert_int_equal(tn_step(opt), TN_ERR_STATE); /* an action fails while an error sticks, and changes nothing */
    tn_clear_error();
    check_values(p, 0, 1, 1);
    tn_fail(TN_ERR_STATE, "an earlier error");
    tn_zero_grad(opt);
    tn_clear_error();
    assert_null(tn_grad(p));
    assert_int_equal(tn_set_lr(opt, -1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "lr is -1");
    tn_release(opt);
}

/* Casting a model drops its gradients; moments of the old dtype do not fit the new one. */
static void test_a_cast(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *net = tn_linear_new(2, 2);
    tn_optim *opt = tn_adam_new(tn_parameters(net), 0.1), *plain = tn_sgd_new(tn_parameters(net), 0.1);
    tn_tensor *x = tn_ones(TN_SHAPE(1, 2));
    assert_int_equal(tn_backward(tn_sum(tn_call(net, x))), TN_OK);
    assert_int_equal(tn_step(opt), TN_OK);
    assert_int_equal(tn_module_to_dtype(net, TN_F64), TN_OK);
    assert_null(tn_grad(tn_parameter(net, "weight")));
    assert_int_equal(tn_backward(tn_sum(tn_call(net, tn_cast(x, TN_F64)))), TN_OK);
    tn_tensor *due = tn_sub(tn_detach(tn_parameter(net, "weight")), 0.1);
    assert_int_equal(tn_step(opt), TN_ERR_DTYPE);
    check_error(TN_ERR_DTYPE, "a parameter is float64 now and was float32");
    assert_int_equal(tn_step(plain), TN_OK); /* without moments it goes on */
    assert_true(tn_allclose(tn_parameter(net, "weight"), due, 0, 1e-15, false));
    tn_release(opt);
    tn_release(plain);
    tn_release(net);
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

/* A step that runs out of memory anywhere leaves parameters and moments as they were: the retried run comes to the same numbers. */
static void test_no_memory(void **state)
{
    (void)state;
    left = INT64_MAX;
    const tn_allocator allocator = {give, take, NULL};
    assert_int_equal(tn_set_allocator(&allocator), TN_OK);
    TN_SCOPE;
    tn_tensor *p = tn_transpose(filled(7, TN_SHAPE(4, 3), 0, 1, TN_F64), 0, 1), *q = tn_ones(TN_SHAPE(2), .requires_grad = true);
    assert_int_equal(tn_set_requires_grad(p, true), TN_OK);
    tn_tensor *expected = tn_sub(p, 0.1);
    assert_int_equal(tn_set_grad(p, tn_ones(TN_SHAPE(3, 4), .dtype = TN_F64)), TN_OK);
    assert_int_equal(tn_set_grad(q, tn_expand(tn_ones(TN_SHAPE(1)), TN_SHAPE(2))), TN_OK);
    tn_optim *opt = tn_adam_new(TN_LIST(p, q), 0.1, .eps = 0, .amsgrad = true);
    int64_t failures = 0;
    for (int64_t n = 0;; n++, failures++) {
        left = n;
        tn_status status = tn_step(opt);
        left = INT64_MAX;
        if (status == TN_OK)
            break;
        check_error(TN_ERR_MEMORY, "memory");
        check_values(q, 0, 1, 1);
    }
    assert_true(failures > 3);
    assert_true(tn_allclose(p, expected, 0, 1e-12, false));
    check_values(q, 1e-6, 0.9, 0.9);
    tn_release(opt);
}

static int restore_allocator(void **state)
{
    int failed = end_test(state);
    return failed || tn_set_allocator(NULL) != TN_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sgd), TEST(test_adam), TEST(test_layouts), TEST(test_errors), TEST(test_a_cast),
        cmocka_unit_test_setup_teardown(test_no_memory, begin_test, restore_allocator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
