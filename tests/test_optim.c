/* Optimisers: 50 steps beside PyTorch's on the same gradients, and the rules of tn_step.
 * labels: isa, quick */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernels/kernels.h"
#include "op_table.h"
#include "reference/optim.h"

enum { PARAMS = 3, STEPS = 50, EVERY = 4 }; /* of the first parameter every fourth element is compared */

static tn_tensor *filled(uint32_t seed, tn_shape shape, double low, double high, tn_dtype dtype)
{
    tn_tensor *x = tn_zeros(shape, .dtype = TN_F64, .device = &(tn_device_id){TN_CPU, 0});
    double *data = tn_data_mut(x);
    for (int64_t i = 0; i < tn_numel(x); i++)
        data[i] = op_fill(seed, i, low, high);
    return tn_to(dtype == TN_F64 ? x : tn_cast(x, dtype), tn_get_default_device());
}

static tn_list *make_params(tn_dtype dtype, bool matrices)
{
    const tn_shape shapes[PARAMS] = {TN_SHAPE(5, 7), matrices ? TN_SHAPE(3, 1) : TN_SHAPE(3), matrices ? TN_SHAPE(2, 2) : TN_SHAPE(1)};
    tn_tensor *p[PARAMS];
    for (int i = 0; i < PARAMS; i++) {
        p[i] = filled((uint32_t)(100 + i), shapes[i], -1, 1, dtype);
        assert_int_equal(tn_set_requires_grad(p[i], true), TN_OK);
    }
    return tn_list_from(p, PARAMS);
}

static void set_grads(const tn_list *params, int t)
{
    for (int i = 0; i < PARAMS; i++) {
        TN_SCOPE;
        tn_tensor *p = tn_list_at(params, i);
        tn_tensor *g = i == 2 && t % 3 == 1 ? NULL : filled((uint32_t)(1000 * t + i), tn_shape_of(p), -1, 2, tn_dtype_of(p));
        assert_int_equal(tn_set_grad(p, g), TN_OK);
    }
}

static void steps(tn_optim *opt, const tn_list *params, int from, int to)
{
    for (int t = from; t < to; t++) {
        set_grads(params, t);
        assert_int_equal(tn_step(opt), TN_OK);
    }
}

/* Runs the steps up to 50 and compares with what PyTorch came to. Takes the optimiser. */
static void compare(tn_optim *opt, const tn_list *params, int from, double tolerance, const double *expected, const char *name)
{
    check_good();
    steps(opt, params, from, STEPS);
    print_message("         %s, %s\n", name, tn_dtype_name(tn_dtype_of(tn_list_at(params, 0))));
    for (int i = 0; i < PARAMS; i++) {
        const tn_tensor *p = tn_list_at(params, i);
        double values[35];
        assert_int_equal(tn_to_doubles(p, values, tn_numel(p)), TN_OK);
        for (int64_t k = 0; k < tn_numel(p); k += i ? 1 : EVERY, expected++)
            if (!(fabs(values[k] - *expected) <= tolerance * (1 + fabs(*expected))))
                fail_msg("parameter %d, element %d is %.17g, %.17g was due", i, (int)k, values[k], *expected);
    }
    tn_zero_grad(opt);
    assert_null(tn_grad(tn_list_at(params, 0)));
    tn_release(opt);
}

#define COMPARE_(name, matrices, tolerance64, tolerance32, constructor)                                                       \
    for (int pass_ = 0; pass_ < 2; pass_++) {                                                                                 \
        TN_SCOPE;                                                                                                             \
        const tn_list *params = make_params(pass_ ? TN_F32 : TN_F64, matrices);                                               \
        compare(constructor, params, 0, pass_ ? tolerance32 : tolerance64, pass_ ? name##_f32 : name##_f64, #name);              \
    }
#define COMPARE(name, constructor) COMPARE_(name, false, 1e-13, 1e-6, constructor)

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
    COMPARE(adamw, tn_adamw_new(params, 0.02));
    COMPARE(adamw, tn_adam_new(params, 0.02, .weight_decay = 0.01, .decoupled_weight_decay = true));
    COMPARE(adamw_options, tn_adamw_new(params, 0.02, .weight_decay = 0.1, .beta1 = 0.7, .beta2 = 0.9, .amsgrad = true, .maximize = true));
    COMPARE(nadam, tn_nadam_new(params, 0.01));
    COMPARE(nadam_options, tn_nadam_new(params, 0.02, .beta1 = 0.8, .beta2 = 0.95, .weight_decay = 0.1, .momentum_decay = 0.05,
                                        .maximize = true));
    COMPARE(nadam_decoupled, tn_nadam_new(params, 0.02, .weight_decay = 0.1, .decoupled_weight_decay = true));
    COMPARE(radam, tn_radam_new(params, 0.02));
    COMPARE(radam_options, tn_radam_new(params, 0.02, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-5, .weight_decay = 0.1, .maximize = true));
    COMPARE(radam_decoupled, tn_radam_new(params, 0.02, .weight_decay = 0.1, .decoupled_weight_decay = true));
    COMPARE(adamax, tn_adamax_new(params, 0.01));
    COMPARE(adamax_options, tn_adamax_new(params, 0.02, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3, .weight_decay = 0.1, .maximize = true));
}

static void test_squares(void **state)
{
    (void)state;
    COMPARE(adagrad, tn_adagrad_new(params, 0.1));
    COMPARE(adagrad_options, tn_adagrad_new(params, 0.1, .lr_decay = 0.02, .weight_decay = 0.1, .initial_accumulator_value = 0.5,
                                            .eps = 1e-4, .maximize = true));
    COMPARE(adadelta, tn_adadelta_new(params, 1));
    COMPARE(adadelta_options, tn_adadelta_new(params, 2, .rho = 0.8, .eps = 1e-3, .weight_decay = 0.1, .maximize = true));
    COMPARE(rmsprop, tn_rmsprop_new(params, 0.01));
    COMPARE(rmsprop_momentum, tn_rmsprop_new(params, 0.01, .alpha = 0.9, .momentum = 0.8, .weight_decay = 0.1));
    COMPARE(rmsprop_centered, tn_rmsprop_new(params, 0.01, .eps = 1e-3, .centered = true, .maximize = true));
    COMPARE(rmsprop_all, tn_rmsprop_new(params, 0.01, .alpha = 0.95, .momentum = 0.5, .centered = true, .weight_decay = 0.1));
}

static void test_directions(void **state)
{
    (void)state;
    COMPARE(lion, tn_lion_new(params, 0.01));
    COMPARE(lion_options, tn_lion_new(params, 0.01, .beta1 = 0.8, .beta2 = 0.95, .weight_decay = 0.3, .maximize = true));
    COMPARE_(muon, true, 1e-2, 1e-2, tn_muon_new(params, 0.02)); /* PyTorch's iterates in bfloat16 */
    COMPARE_(muon_options, true, 1e-2, 1e-2, tn_muon_new(params, 0.02, .weight_decay = 0.3, .momentum = 0.8, .nesterov = false,
                                                         .ns_steps = 3, .adjust_lr_fn = TN_ADJUST_MATCH_RMS_ADAMW));
    COMPARE_(muon_exact, true, 1e-11, 1e-5, tn_muon_new(params, 0.02));
    COMPARE_(muon_exact_options, true, 1e-11, 1e-5, tn_muon_new(params, 0.02, .weight_decay = 0.3, .momentum = 0.8, .ns_a = 3, .ns_b = -4,
        .ns_c = 2, .ns_steps = 3, .adjust_lr_fn = TN_ADJUST_SPECTRAL_UNCLAMPED));
}

static tn_optim *two_groups(const tn_list *params)
{
    tn_optim *opt = tn_adam_new(TN_LIST(tn_list_at(params, 0)), 0.01, .weight_decay = 0.1);
    const tn_list *others = TN_LIST(tn_list_at(params, 1), tn_list_at(params, 2));
    assert_int_equal(tn_add_param_group(opt, others, .lr = 0.05, .beta1 = 0.5, .beta2 = 0.9, .maximize = true), TN_OK);
    return opt;
}

static void test_groups(void **state)
{
    (void)state;
    COMPARE(groups, two_groups(params));
    TN_SCOPE;
    tn_optim *opt = two_groups(make_params(TN_F64, false));
    assert_int_equal(tn_num_param_groups(opt), 2);
    assert_true(tn_get_group_option(opt, 1, "lr") == 0.05 && tn_get_group_option(opt, 1, "weight_decay") == 0.1);
    assert_true(tn_get_group_option(opt, 0, "maximize") == 0 && tn_get_group_option(opt, 1, "maximize") == 1);
    assert_int_equal(tn_set_group_option(opt, 1, "beta2", 0.5), TN_OK);
    assert_true(tn_get_group_option(opt, 1, "beta2") == 0.5 && tn_get_group_option(opt, 0, "beta2") == 0.999);
    assert_int_equal(tn_set_lr(opt, 3), TN_OK);
    assert_true(tn_get_group_option(opt, 0, "lr") == 3 && tn_get_group_option(opt, 1, "lr") == 3);

    tn_tensor *p = tn_ones(TN_SHAPE(2), .requires_grad = true), *q = tn_ones(TN_SHAPE(2), .requires_grad = true);
    (void)!tn_add_param_group(opt, TN_LIST(p), .momentum = 0.9);
    check_error(TN_ERR_ARGUMENT, "adam has no option momentum");
    (void)!tn_add_param_group(opt, TN_LIST(p), .beta1 = 1);
    check_error(TN_ERR_ARGUMENT, "adam: beta1 is 1: it must be below 1");
    (void)!tn_add_param_group(opt, TN_LIST(p), .amsgrad = 2);
    check_error(TN_ERR_ARGUMENT, "amsgrad is 2: 0 or 1 is needed");
    (void)!tn_add_param_group(opt, TN_LIST(p, q, p));
    check_error(TN_ERR_ARGUMENT, "parameters 3 and 5 are the same tensor");
    (void)!tn_add_param_group(opt, NULL);
    check_error(TN_ERR_ARGUMENT, "params is NULL");
    (void)!tn_add_param_group(NULL, TN_LIST(p));
    check_error(TN_ERR_ARGUMENT, "the optimiser is NULL");
    assert_int_equal(tn_num_param_groups(opt), 2);
    assert_true(isnan(tn_get_group_option(opt, 2, "lr")));
    check_error(TN_ERR_INDEX, "group 2 is out of range for 2");
    assert_true(isnan(tn_get_group_option(opt, 0, "rho")));
    check_error(TN_ERR_ARGUMENT, "adam has no option rho");
    assert_int_equal(tn_set_group_option(opt, 0, "eps", -1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "eps is -1");
    tn_release(opt);
    opt = tn_sgd_new(TN_LIST(p), 0.1, .momentum = 0.9, .nesterov = true);
    assert_int_equal(tn_set_group_option(opt, 0, "momentum", 0), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "nesterov needs a momentum");
    assert_true(tn_get_group_option(opt, 0, "momentum") == 0.9);
    tn_release(opt);
}

/* k small batches, each loss over k, make the step of one large one. */
static void test_accumulation(void **state)
{
    (void)state;
    TN_SCOPE;
    enum { ROWS = 12, PARTS = 4 };
    tn_tensor *x = filled(1, TN_SHAPE(ROWS, 5), -1, 1, TN_F64), *y = filled(2, TN_SHAPE(ROWS, 2), -1, 1, TN_F64), *w[2];
    for (int run = 0; run < 2; run++) {
        w[run] = filled(3, TN_SHAPE(5, 2), -1, 1, TN_F64);
        assert_int_equal(tn_set_requires_grad(w[run], true), TN_OK);
        tn_optim *opt = tn_adamw_new(TN_LIST(w[run]), 0.1);
        int parts = run ? PARTS : 1, rows = ROWS / parts;
        for (int t = 0; t < 5; t++) {
            tn_zero_grad(opt);
            for (int i = 0; i < parts; i++) {
                tn_tensor *xs = tn_narrow(x, 0, i * rows, rows);
                tn_tensor *ys = tn_narrow(y, 0, i * rows, rows);
                assert_int_equal(tn_backward(tn_div(tn_mse_loss(tn_matmul(xs, w[run]), ys), parts)), TN_OK);
            }
            assert_int_equal(tn_step(opt), TN_OK);
        }
        tn_release(opt);
    }
    assert_true(tn_allclose(w[0], w[1], 0, 1e-13, false));
}

/* Each method, with as many states and branches as it has. */
static tn_optim *make_method(int method, const tn_list *params)
{
    switch (method) {
    case 0: return tn_sgd_new(params, 0.05, .momentum = 0.9, .dampening = 0.2, .weight_decay = 0.02);
    case 1: return tn_adam_new(params, 0.02, .amsgrad = true, .weight_decay = 0.1);
    case 2: return tn_adamw_new(params, 0.02);
    case 3: return tn_nadam_new(params, 0.02);
    case 4: return tn_radam_new(params, 0.02);
    case 5: return tn_adamax_new(params, 0.02);
    case 6: return tn_adagrad_new(params, 0.1, .lr_decay = 0.1);
    case 7: return tn_adadelta_new(params, 1);
    case 8: return tn_rmsprop_new(params, 0.01, .centered = true, .momentum = 0.5);
    case 9: return tn_lion_new(params, 0.01);
    default: return tn_muon_new(params, 0.02);
    }
}
enum { METHODS = 11 };

/* One and two threads give the same bits, over parameters of several pieces. */
static void test_threads(void **state)
{
    (void)state;
    case_skip_slow_device();
    int threads = tn_get_num_threads();
    for (int method = 0; method < METHODS; method++) {
        TN_SCOPE;
        tn_tensor *p[2][2];
        for (int run = 0; run < 2; run++) {
            assert_int_equal(tn_set_num_threads(run + 1), TN_OK);
            for (int i = 0; i < 2; i++) {
                p[run][i] = filled((uint32_t)i, i ? TN_SHAPE(7, 3) : TN_SHAPE(31, 1201), -1, 1, TN_F32);
                assert_int_equal(tn_set_requires_grad(p[run][i], true), TN_OK);
                assert_int_equal(tn_set_grad(p[run][i], filled((uint32_t)i + 2, tn_shape_of(p[run][i]), -1, 1, TN_F32)), TN_OK);
            }
            tn_optim *opt = make_method(method, TN_LIST(p[run][0], p[run][1]));
            for (int t = 0; t < 3; t++)
                assert_int_equal(tn_step(opt), TN_OK);
            tn_release(opt);
        }
        assert_true(tn_equal(p[0][0], p[1][0]) && tn_equal(p[0][1], p[1][1]));
    }
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
}

/* Every loop of the processor's table beside the portable one's. */
extern const tn_kernels tn_portable_kernels;
static void test_isa(void **state)
{
    (void)state;
    case_cpu_only();
    enum { N = 1003 };
    static const struct {
        tn_step_op op;
        int states;
    } loops[] = {{TN_STEP_SGD, 0}, {TN_STEP_SGD, 1}, {TN_STEP_ADAM, 3}, {TN_STEP_ADAM, 7}, {TN_STEP_RMSPROP, 1}, {TN_STEP_RMSPROP, 3},
                 {TN_STEP_RMSPROP, 5}, {TN_STEP_RMSPROP, 7}, {TN_STEP_ADADELTA, 3}, {TN_STEP_ADAMAX, 3}, {TN_STEP_LION, 1}, {TN_STEP_MUON, 3},
                 {TN_STEP_SCALE, 0}, {TN_STEP_CLAMP, 0}, {TN_STEP_LERP, 0}, {TN_STEP_SWAP, 1}};
    const tn_kernels *tables[] = {&tn_portable_kernels, tn_kernels_of(TN_CPU)};
    for (int l = 0; l < (int)(sizeof loops / sizeof *loops); l++)
        for (tn_dtype dtype = TN_F32; dtype <= TN_F64; dtype++) {
            TN_SCOPE;
            tn_tensor *p[2][4], *g = filled(9, TN_SHAPE(N), -1, 1, dtype); /* p and its three states */
            for (int run = 0; run < 2; run++) {
                tn_step_item item = {.dtype = dtype, .n = N, .g = tn_data(g),
                                     .c = {-1, 0.01, 0.9, 0.1, 0.3, 0.8, 0.25, 0.95, 0.05, 1.5, 1e-3}};
                for (int k = 0; k < 4; k++) {
                    /* the third small: a mean that is not its square's root, a largest that is not always */
                    p[run][k] = filled((uint32_t)k, TN_SHAPE(N), k == 3 ? 0.2 : k ? 0.5 : -1, k == 3 ? 0.65 : 1, dtype);
                    if (k && loops[l].states >> (k - 1) & 1)
                        item.state[k - 1] = tn_data_mut(p[run][k]);
                }
                item.p = tn_data_mut(p[run][0]);
                assert_int_equal(tables[run]->optim_step(loops[l].op, &item, 1), TN_OK);
            }
            for (int k = 0; k < 4; k++)
                if (!tn_allclose(p[0][k], p[1][k], dtype == TN_F32 ? 1e-5 : 1e-14, dtype == TN_F32 ? 1e-6 : 1e-15, false))
                    fail_msg("op %d with states %d: array %d differs from the portable one", loops[l].op, loops[l].states, k);
        }
}

/* Saved half way and loaded into another, a run comes to the same bits; the file's numbers and names are PyTorch's. */
static void test_state(void **state)
{
    (void)state;
    without_cjson_skip();
    char path[64];
    snprintf(path, sizeof path, "/tmp/tenon-optim-%ld.safetensors", (long)getpid());
    for (int method = 0; method < METHODS; method++)
        for (tn_dtype dtype = TN_F32; dtype <= TN_F64; dtype++) {
            TN_SCOPE;
            const tn_list *params[2] = {make_params(dtype, true), make_params(dtype, true)};
            tn_optim *opt[2] = {make_method(method, params[0]), make_method(method, params[1])};
            assert_int_equal(tn_set_lr(opt[0], 0.03), TN_OK);
            steps(opt[0], params[0], 0, 7);
            assert_int_equal(tn_save_safetensors(tn_optim_state_dict(opt[0]), path), TN_OK);
            for (int i = 0; i < PARAMS; i++)
                tn_copy_(tn_detach(tn_list_at(params[1], i)), tn_detach(tn_list_at(params[0], i)));
            steps(opt[0], params[0], 7, 15);
            assert_int_equal(tn_load_optim_state(opt[1], tn_load_safetensors(path)), TN_OK);
            assert_true(tn_get_lr(opt[1]) == 0.03);
            steps(opt[1], params[1], 7, 15);
            for (int i = 0; i < PARAMS; i++)
                assert_true(tn_equal(tn_list_at(params[0], i), tn_list_at(params[1], i)));
            tn_release(opt[0]);
            tn_release(opt[1]);
        }
    remove(path);
}

static void test_state_names(void **state)
{
    (void)state;
    TN_SCOPE;
    const tn_list *params = make_params(TN_F32, false);
    tn_optim *opt = two_groups(params), *nadam = tn_nadam_new(params, 0.1), *sgd = tn_sgd_new(params, 0.1);
    assert_int_equal(tn_dict_find(tn_optim_state_dict(opt), "state.0.step"), -1); /* before the first step there is none */
    assert_int_equal(tn_set_lr(sgd, 1e300), TN_OK); /* more than any integer holds */
    check_values(tn_dict_get(tn_optim_state_dict(sgd), "param_groups.0.lr"), 0, 1e300);
    assert_int_equal(tn_set_lr(sgd, 0.1), TN_OK);
    steps(opt, params, 0, 2);
    steps(nadam, params, 0, 2);
    const tn_dict *dict = tn_optim_state_dict(opt);
    check_values(tn_dict_get(dict, "state.0.step"), 0, 2);
    check_values(tn_dict_get(dict, "state.2.step"), 0, 1); /* had no gradient in one */
    check_shape(tn_dict_get(dict, "state.0.exp_avg"), 5, 7);
    assert_int_equal(tn_dict_find(dict, "state.0.max_exp_avg_sq"), -1);
    check_values(tn_dict_get(dict, "param_groups.1.params"), 0, 1, 2);
    check_values(tn_dict_get(dict, "param_groups.1.betas"), 0, 0.5, 0.9);
    double mu1 = 0.9 * (1 - 0.5 * pow(0.96, 4e-3)), mu2 = 0.9 * (1 - 0.5 * pow(0.96, 8e-3));
    check_values(tn_dict_get(tn_optim_state_dict(nadam), "state.0.mu_product"), 1e-15, mu1 * mu2);

    /* What does not fit, and that nothing has changed then. */
    steps(opt, params, 2, 3);
    const struct {
        const char *name, *message;
        tn_status status;
        tn_tensor *value;
    } bad[] = {
        {"state.0.square_avg", "\"state.0.square_avg\" is no part of the state of this adam", TN_ERR_ARGUMENT, tn_ones(TN_SHAPE(5, 7))},
        {"state.0.max_exp_avg_sq", "is no part", TN_ERR_ARGUMENT, tn_ones(TN_SHAPE(5, 7))},
        {"state.1.exp_avg", "\"state.1.exp_avg\" is [4] and its parameter is [3]", TN_ERR_SHAPE, tn_ones(TN_SHAPE(4))},
        {"state.1.exp_avg", "is int64: a floating dtype", TN_ERR_DTYPE, tn_ones(TN_SHAPE(3), .dtype = TN_I64)},
        {"state.1.step", "\"state.1.step\" is 1.5: a whole number", TN_ERR_ARGUMENT, tn_full(TN_SCALAR, 1.5)},
        {"state.1.step", "\"state.1.step\" is [2]: 1 number was due", TN_ERR_SHAPE, tn_ones(TN_SHAPE(2))},
        {"param_groups.0.betas", "\"param_groups.0.betas\" is []: 2 numbers were due", TN_ERR_SHAPE, tn_ones(TN_SCALAR)},
        {"param_groups.0.betas", "adam: beta1 is 1: it must be below 1", TN_ERR_ARGUMENT, tn_ones(TN_SHAPE(2))},
        {"param_groups.0.lr", "lr is -1", TN_ERR_ARGUMENT, tn_full(TN_SCALAR, -1)},
        {"state.1.step", "\"state.1.step\" is inf: a whole number", TN_ERR_ARGUMENT, tn_full(TN_SCALAR, INFINITY)},
        {"param_groups.0.lr", "lr is inf", TN_ERR_ARGUMENT, tn_full(TN_SCALAR, INFINITY)},
        {"param_groups.0.maximize", "is 0.5: no such value", TN_ERR_ARGUMENT, tn_full(TN_SCALAR, 0.5)},
        {"param_groups.1.params", "the parameters of group 1 are others", TN_ERR_ARGUMENT, tn_from_ints(((int64_t[]){2, 1}), TN_SHAPE(2))},
        {"param_groups.2.lr", "is no part", TN_ERR_ARGUMENT, tn_ones(TN_SCALAR)},
    };
    for (int i = 0; i < (int)(sizeof bad / sizeof *bad); i++) {
        tn_dict *other = tn_optim_state_dict(opt);
        assert_int_equal(tn_dict_set(other, bad[i].name, bad[i].value), TN_OK);
        assert_int_equal(tn_load_optim_state(opt, other), bad[i].status);
        check_error(bad[i].status, bad[i].message);
        check_values(tn_dict_get(tn_optim_state_dict(opt), "state.1.step"), 0, 3);
        assert_true(tn_get_group_option(opt, 0, "lr") == 0.01);
    }
    tn_dict *partial = tn_adopt(tn_dict_new());
    assert_int_equal(tn_load_optim_state(opt, partial), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"param_groups.0.lr\" is missing");
    dict = tn_optim_state_dict(opt);
    for (int64_t i = 0; i < tn_dict_count(dict); i++)
        if (strcmp(tn_dict_name(dict, i), "state.0.exp_avg_sq") != 0)
            assert_int_equal(tn_dict_set(partial, tn_dict_name(dict, i), tn_dict_tensor(dict, i)), TN_OK);
    assert_int_equal(tn_load_optim_state(opt, partial), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"state.0.exp_avg_sq\" is missing");
    assert_int_equal(tn_load_optim_state(sgd, dict), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"param_groups.0.momentum\" is missing");
    assert_int_equal(tn_load_optim_state(opt, NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "the dict is NULL");
    assert_int_equal(tn_load_optim_state(NULL, dict), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "the optimiser is NULL");
    assert_null(tn_optim_state_dict(NULL));
    check_error(TN_ERR_ARGUMENT, "the optimiser is NULL");
    tn_release(opt);
    tn_release(nadam);
    tn_release(sgd);
}

/* What PyTorch saved after 40 steps, in an optimiser that was made with other options: it goes on as PyTorch did, and its own state has
 * PyTorch's names and numbers. */
static void go_on(const tn_dict *all, const char *name, tn_optim *opt, const tn_list *params, double tolerance, const double *expected)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s.", name);
    tn_dict *part = tn_dict_part(all, prefix), *model = tn_dict_part(part, "model."), *theirs = tn_dict_part(part, "optim.");
    for (int i = 0; i < PARAMS; i++)
        tn_copy_(tn_detach(tn_list_at(params, i)), tn_dict_tensor(model, i));
    assert_int_equal(tn_load_optim_state(opt, theirs), TN_OK);
    const tn_dict *ours = tn_optim_state_dict(opt);
    int64_t others = tn_dict_count(theirs) - tn_dict_count(ours);
    for (int64_t i = 0; i < tn_dict_count(ours); i++)
        if (!tn_allclose(tn_cast(tn_dict_tensor(ours, i), TN_F64), tn_cast(tn_dict_get(theirs, tn_dict_name(ours, i)), TN_F64), 0, 0, false))
            fail_msg("%s: \"%s\" is another", name, tn_dict_name(ours, i));
    for (int64_t i = 0; i < tn_dict_count(theirs); i++) {
        const char *entry = tn_dict_name(theirs, i);
        others -= strstr(entry, ".foreach") || strstr(entry, ".fused") || strstr(entry, ".capturable") || strstr(entry, ".differentiable");
    }
    assert_int_equal(others, 0);
    for (int64_t i = 0; i < tn_dict_note_count(theirs); i++)
        assert_string_equal(tn_dict_note(ours, tn_dict_note_key(theirs, i)), tn_dict_note(theirs, tn_dict_note_key(theirs, i)));
    compare(opt, params, 40, tolerance, expected, name);
}

static void test_state_of_pytorch(void **state)
{
    (void)state;
    without_zip_skip();
    TN_SCOPE;
    const tn_dict *all = tn_load_pt(TN_SOURCE_DIR "/tests/reference/files/optim.pt");
#define GO_ON(name, matrices, tolerance, constructor)                                                                         \
    {                                                                                                                         \
        TN_SCOPE;                                                                                                             \
        const tn_list *params = make_params(TN_F64, matrices);                                                                \
        go_on(all, #name, constructor, params, tolerance, name##_f64);                                                        \
    }
    GO_ON(sgd_nesterov, false, 1e-13, tn_sgd_new(params, 1));
    GO_ON(adam_amsgrad, false, 1e-13, tn_adam_new(params, 1));
    GO_ON(adamw, false, 1e-13, tn_adamw_new(params, 1, .weight_decay = 1));
    GO_ON(nadam_options, false, 1e-13, tn_nadam_new(params, 1));
    GO_ON(radam_options, false, 1e-13, tn_radam_new(params, 1));
    GO_ON(adamax_options, false, 1e-13, tn_adamax_new(params, 1));
    GO_ON(adagrad_options, false, 1e-13, tn_adagrad_new(params, 1));
    GO_ON(adadelta_options, false, 1e-13, tn_adadelta_new(params, 1));
    GO_ON(rmsprop_all, false, 1e-13, tn_rmsprop_new(params, 1));
    GO_ON(muon_exact_options, true, 1e-11, tn_muon_new(params, 1));
    GO_ON(groups, false, 1e-13, two_groups(params));

    const tn_list *params = make_params(TN_F64, false), *matrices = make_params(TN_F64, true);
    tn_optim *adam = two_groups(params), *adamw = tn_adamw_new(params, 1), *muon = tn_muon_new(matrices, 1, .adjust_lr_fn = TN_ADJUST_MATCH_RMS_ADAMW);
    assert_int_equal(tn_load_optim_state(adamw, tn_dict_part(all, "adam_amsgrad.optim.")), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"param_groups.0.decoupled_weight_decay\" is 0: of adamw it is always 1");
    tn_dict *dict = tn_dict_part(all, "muon_exact_options.optim."), *less = tn_adopt(tn_dict_new());
    assert_int_equal(tn_dict_set_note(dict, "param_groups.0.adjust_lr_fn", "other"), TN_OK);
    assert_int_equal(tn_load_optim_state(muon, dict), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"param_groups.0.adjust_lr_fn\" is \"other\": no such value is possible");
    for (int64_t i = 0; i < tn_dict_count(dict); i++) /* its tensors: PyTorch's None is left out */
        assert_int_equal(tn_dict_set(less, tn_dict_name(dict, i), tn_dict_tensor(dict, i)), TN_OK);
    assert_int_equal(tn_load_optim_state(muon, less), TN_OK);
    assert_true(tn_get_group_option(muon, 0, "adjust_lr_fn") == TN_ADJUST_ORIGINAL && tn_get_group_option(muon, 0, "ns_b") == -4);
    /* Group 1 maximizes; a PyTorch that had not the switch saved nothing of it. OneCycleLR keeps its bounds in the groups. */
    dict = tn_dict_part(all, "groups.optim.");
    less = tn_adopt(tn_dict_new());
    for (int64_t i = 0; i < tn_dict_count(dict); i++)
        if (!strstr(tn_dict_name(dict, i), ".maximize"))
            assert_int_equal(tn_dict_set(less, tn_dict_name(dict, i), tn_dict_tensor(dict, i)), TN_OK);
    assert_int_equal(tn_dict_set(less, "param_groups.1.max_momentum", tn_full(TN_SCALAR, 0.95)), TN_OK);
    assert_int_equal(tn_load_optim_state(adam, less), TN_OK);
    assert_true(tn_get_group_option(adam, 1, "maximize") == 0 && tn_get_group_option(adam, 1, "lr") == 0.05);
    tn_release(adam);
    tn_release(adamw);
    tn_release(muon);
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
    assert_null(tn_sgd_new(TN_LIST(p), -1));
    check_error(TN_ERR_ARGUMENT, "lr is -1: it must be above 0");
    assert_null(tn_sgd_new(TN_LIST(p), 0.1, .nesterov = true));
    check_error(TN_ERR_ARGUMENT, "nesterov needs a momentum");
    assert_null(tn_sgd_new(TN_LIST(p), 0.1, .momentum = -1));
    check_error(TN_ERR_ARGUMENT, "momentum is -1");
    assert_null(tn_adam_new(TN_LIST(p), 0.1, .beta2 = 1));
    check_error(TN_ERR_ARGUMENT, "below 1");
    assert_null(tn_adam_new(TN_LIST(p, tn_mul(p, 2)), 0.1));
    check_error(TN_ERR_ARGUMENT, "parameter 1, [2], is the result of an operator");
    tn_tensor *thawed = tn_ones(TN_SHAPE(2), .requires_grad = true);
    tn_optim *both = tn_sgd_new(TN_LIST(thawed, plain), 0.5); /* as in PyTorch: what has no gradient is left as it is */
    tn_check(tn_backward(tn_sum(thawed)));
    tn_check(tn_step(both));
    check_values(plain, 0, 1, 1);
    check_values(thawed, 0, 0.5, 0.5);
    tn_release(both);
    assert_null(tn_adam_new(TN_LIST(p, p), 0.1));
    check_error(TN_ERR_ARGUMENT, "parameters 0 and 1 are the same tensor");
    assert_null(tn_adadelta_new(TN_LIST(p), 1, .rho = 1.5));
    check_error(TN_ERR_ARGUMENT, "adadelta: rho is 1.5: it must be at most 1");
    assert_null(tn_rmsprop_new(TN_LIST(p), 1, .alpha = NAN));
    check_error(TN_ERR_ARGUMENT, "rmsprop: alpha is nan");
    assert_null(tn_muon_new(TN_LIST(p), 1));
    check_error(TN_ERR_SHAPE, "muon: parameter 0 is [2]: it takes matrices alone");
    assert_null(tn_muon_new(TN_LIST(p), 1, .ns_steps = 100));
    check_error(TN_ERR_ARGUMENT, "ns_steps is 100");
    assert_null(tn_muon_new(TN_LIST(p), 1, .adjust_lr_fn = (tn_adjust_lr)3));
    check_error(TN_ERR_ARGUMENT, "none of tn_adjust_lr");
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

/* The same for every method: two steps, each tried again until there is memory, make the bits of two that never failed. */
static void test_no_memory_methods(void **state)
{
    (void)state;
    left = INT64_MAX;
    const tn_allocator allocator = {give, take, NULL};
    assert_int_equal(tn_set_allocator(&allocator), TN_OK);
    for (int method = 0; method < METHODS; method++) {
        TN_SCOPE;
        tn_tensor *p[2], *before = filled(5, TN_SHAPE(4, 3), -1, 1, TN_F64);
        for (int run = 0; run < 2; run++) {
            p[run] = tn_transpose(filled(5, TN_SHAPE(4, 3), -1, 1, TN_F64), 0, 1);
            assert_int_equal(tn_set_requires_grad(p[run], true), TN_OK);
            assert_int_equal(tn_set_grad(p[run], tn_transpose(filled(6, TN_SHAPE(4, 3), -1, 1, TN_F64), 0, 1)), TN_OK);
            tn_optim *opt = make_method(method, TN_LIST(p[run]));
            for (int t = 0; t < 2; t++)
                for (int64_t n = run ? 0 : INT64_MAX;; n++) {
                    left = n;
                    tn_status status = tn_step(opt);
                    left = INT64_MAX;
                    if (status == TN_OK)
                        break;
                    check_error(TN_ERR_MEMORY, "memory");
                    assert_true(t > 0 || tn_equal(tn_transpose(p[run], 0, 1), before));
                }
            tn_release(opt);
        }
        assert_true(tn_equal(p[0], p[1]));
        check_good();
    }
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
        TEST(test_sgd), TEST(test_adam), TEST(test_squares), TEST(test_directions), TEST(test_groups), TEST(test_accumulation),
        TEST(test_threads), TEST(test_isa), TEST(test_state), TEST(test_state_names), TEST(test_state_of_pytorch), TEST(test_layouts),
        TEST(test_errors), TEST(test_a_cast),
        cmocka_unit_test_setup_teardown(test_no_memory, begin_test, restore_allocator),
        cmocka_unit_test_setup_teardown(test_no_memory_methods, begin_test, restore_allocator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
