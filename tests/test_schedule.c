/* Schedules: 200 steps beside PyTorch's, states, and bad input.
 * labels: quick */
#include <stdio.h>
#include <unistd.h>

#include "op_table.h"
#include "reference/schedule.h"

enum { STEPS = 200 };
enum { RATE, RATE_1, MOMENTUM }; /* of the first group, of the second, the first's momentum */

static tn_optim *over_two(tn_optim *opt, tn_tensor *second)
{
    assert_int_equal(tn_add_param_group(opt, TN_LIST(second), .lr = 0.3), TN_OK);
    return opt;
}
static tn_tensor *param(void) { return tn_zeros(TN_SHAPE(1), .requires_grad = true); }
static tn_optim *sgd(void) { return over_two(tn_sgd_new(TN_LIST(param()), 0.1, .momentum = 0.9), param()); }
static tn_optim *adam(void) { return over_two(tn_adam_new(TN_LIST(param()), 0.1), param()); }

static double metric(int e) { return fmax(0.2, 1 - e / 60.) + 0.05 * op_fill(77, e, 0, 1); }

static void go(tn_schedule *s, int e, int sign)
{
    assert_int_equal(sign ? tn_schedule_step_metric(s, sign * metric(e)) : tn_schedule_step(s), TN_OK);
}

/* Compares what a run came to with a table of pairs, value and how often. */
static void check_table(const double *is, const double *table, size_t size, double factor, const char *name)
{
    size_t at = 0;
    for (size_t i = 0; i < size; i += 2)
        for (int k = 0; k < (int)table[i + 1]; k++, at++)
            if (!(fabs(is[at] - factor * table[i]) <= 1e-7 * fabs(factor * table[i]) + 1e-16))
                fail_msg("%s: epoch %d: %.12g, %.12g was due", name, (int)at, is[at], factor * table[i]);
    assert_int_equal(at, STEPS + 1);
}

typedef struct run {
    double is[3][STEPS + 1];
} run;

/* Gives what PyTorch saved in the middle of the run of that name; false where no .pt can be read. */
static bool load_pytorch(tn_optim *opt, tn_schedule *s, const char *name)
{
#ifdef TENON_HAVE_ZIP
    TN_SCOPE;
    const tn_dict *all = tn_load_pt(TN_SOURCE_DIR "/tests/reference/files/schedule.pt");
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s.schedule.", name);
    if (tn_load_schedule_state(s, tn_dict_part(all, prefix)) != TN_OK)
        fail_msg("%s: %s", name, tn_last_error());
    snprintf(prefix, sizeof prefix, "%s.optim.", name);
    assert_int_equal(tn_load_optim_state(opt, tn_dict_part(all, prefix)), TN_OK);
    return true;
#else
    print_message("skipped: no libzip in this build to read PyTorch's state of %s with\n", name);
    return opt == NULL || s == NULL || name == NULL;
#endif
}

enum { RUNS = 3 };
/* Steps to the end, and twice from the middle, from the state of the first and from PyTorch's; all come to the same. Takes all six. sign:
 * of the measure, 0 where there is none. */
static void follow(run *r, tn_optim *const *opt, tn_schedule *const *s, int sign, const char *name)
{
    bool pytorch = false;
    check_good();
    bool adam = tn_dict_find(tn_optim_state_dict(opt[0]), "param_groups.0.betas") >= 0;
    const char *momentum = adam ? "beta1" : "momentum";
    char path[64];
    snprintf(path, sizeof path, "/tmp/tenon-schedule-%ld.safetensors", (long)getpid());
    for (int e = 0; e <= STEPS; e++) {
        TN_SCOPE;
        if (e)
            go(s[0], e - 1, sign);
        for (int i = 1; e > 97 && i < 2 + pytorch; i++)
            go(s[i], e - 1, sign);
        r->is[RATE][e] = tn_get_group_option(opt[0], 0, "lr");
        r->is[RATE_1][e] = tn_get_group_option(opt[0], 1, "lr");
        r->is[MOMENTUM][e] = tn_get_group_option(opt[0], 0, momentum);
        if (e == 97) {
            assert_int_equal(tn_load_schedule_state(s[1], through_a_file(tn_schedule_state_dict(s[0]), path)), TN_OK);
            assert_int_equal(tn_load_optim_state(opt[1], tn_optim_state_dict(opt[0])), TN_OK);
            pytorch = load_pytorch(opt[2], s[2], name);
        }
    }
    assert_int_equal(tn_last_epoch(s[0]), STEPS);
    assert_int_equal(tn_last_epoch(s[1]), STEPS);
    assert_true(tn_get_group_option(opt[1], 0, "lr") == r->is[RATE][STEPS] && tn_get_group_option(opt[1], 1, "lr") == r->is[RATE_1][STEPS]);
    assert_true(tn_get_group_option(opt[1], 0, momentum) == r->is[MOMENTUM][STEPS]);
    const double *of[] = {r->is[RATE], r->is[RATE_1], r->is[MOMENTUM]};
    for (int i = 0; pytorch && i < 3; i++) {
        double is = tn_get_group_option(opt[2], i == RATE_1, i == MOMENTUM ? momentum : "lr");
        if (tn_last_epoch(s[2]) != STEPS || !(fabs(is - of[i][STEPS]) <= 1e-12 * of[i][STEPS] + 1e-16))
            fail_msg("%s: from PyTorch's state %.17g (%d) after epoch %lld, %.17g was due", name, is, i, (long long)tn_last_epoch(s[2]),
                     of[i][STEPS]);
    }
    remove(path);
    for (int i = 0; i < RUNS; i++) {
        tn_release(s[i]);
        tn_release(opt[i]);
    }
}

#define LENGTH(table) (sizeof(table) / sizeof *(table))
/* A schedule over `optim`, `o`; the second group's rates are `factor` times the first's. */
#define FOLLOW(name, optim, sign, constructor)                                                                                \
    run r;                                                                                                                    \
    TN_SCOPE;                                                                                                                 \
    tn_optim *o, *opt[RUNS];                                                                                                  \
    tn_schedule *s[RUNS];                                                                                                     \
    for (int i = 0; i < RUNS; i++) {                                                                                          \
        opt[i] = o = (optim);                                                                                                 \
        s[i] = constructor;                                                                                                   \
    }                                                                                                                         \
    follow(&r, opt, s, sign, #name);                                                                                               \
    check_table(r.is[RATE], name, LENGTH(name), 1, #name)
#define SCHEDULE(name, optim, sign, factor, constructor)                                                                      \
    {                                                                                                                         \
        FOLLOW(name, optim, sign, constructor);                                                                               \
        check_table(r.is[RATE_1], name, LENGTH(name), factor, #name ", the second group");                                    \
    }
/* Whose second group has a table of its own. */
#define SCHEDULE_1(name, optim, sign, constructor)                                                                            \
    {                                                                                                                         \
        FOLLOW(name, optim, sign, constructor);                                                                               \
        check_table(r.is[RATE_1], name##_1, LENGTH(name##_1), 1, #name "_1");                                                 \
    }

static void test_factors(void **state)
{
    (void)state;
    SCHEDULE(step, sgd(), 0, 3, tn_step_lr_new(o, 30, .gamma = 0.5));
    SCHEDULE(multi_step, sgd(), 0, 3, tn_multi_step_lr_new(o, ((int64_t[]){60, 10, 60, 120}), 4, .gamma = 0.3));
    SCHEDULE(exponential, sgd(), 0, 3, tn_exponential_lr_new(o, 0.98));
    SCHEDULE(constant, sgd(), 0, 3, tn_constant_lr_new(o));
    SCHEDULE(constant_options, sgd(), 0, 3, tn_constant_lr_new(o, .factor = 0.25, .total_iters = 50));
    SCHEDULE(linear, sgd(), 0, 3, tn_linear_lr_new(o));
    SCHEDULE(linear_options, sgd(), 0, 3, tn_linear_lr_new(o, .start_factor = 0.1, .end_factor = 0.6, .total_iters = 120));
    SCHEDULE(polynomial, sgd(), 0, 3, tn_polynomial_lr_new(o, .total_iters = 150));
    SCHEDULE(polynomial_options, sgd(), 0, 3, tn_polynomial_lr_new(o, .total_iters = 220, .power = 2.5));
    SCHEDULE(constant_0, sgd(), 0, 3, tn_constant_lr_new(o, .factor = 0.25, .total_iters = 0));
    SCHEDULE(linear_0, sgd(), 0, 3, tn_linear_lr_new(o, .start_factor = 0.1, .end_factor = 0.6, .total_iters = 0));
    SCHEDULE(polynomial_0, sgd(), 0, 3, tn_polynomial_lr_new(o, .total_iters = 0));
}

static void test_cosines(void **state)
{
    (void)state;
    SCHEDULE(cosine, sgd(), 0, 3, tn_cosine_annealing_lr_new(o, 60));
    SCHEDULE_1(cosine_options, sgd(), 0, tn_cosine_annealing_lr_new(o, 37, .eta_min = 0.004));
    SCHEDULE(restarts, sgd(), 0, 3, tn_cosine_annealing_warm_restarts_new(o, 40));
    SCHEDULE_1(restarts_options, sgd(), 0, tn_cosine_annealing_warm_restarts_new(o, 10, .T_mult = 2, .eta_min = 0.002));
}

static void test_cycles(void **state)
{
    (void)state;
    {
        FOLLOW(one_cycle, sgd(), 0, tn_one_cycle_lr_new(o, 0.5, 200));
        check_table(r.is[MOMENTUM], one_cycle_m, LENGTH(one_cycle_m), 1, "one_cycle's momentum");
    }
    {
        FOLLOW(one_cycle_options, adam(), 0, tn_one_cycle_lr_new(o, 0, 201, .pct_start = 0.4, .anneal_strategy = TN_ANNEAL_LINEAR,
            .base_momentum = 0.6, .max_momentum = 0.8, .div_factor = 10, .final_div_factor = 100, .three_phase = true,
            .max_lrs = ((double[]){0.5, 0.7})));
        check_table(r.is[RATE_1], one_cycle_options_1, LENGTH(one_cycle_options_1), 1, "one_cycle_options, the second group");
        check_table(r.is[MOMENTUM], one_cycle_options_m, LENGTH(one_cycle_options_m), 1, "one_cycle_options, beta1");
    }
    {
        FOLLOW(cyclic, sgd(), 0, tn_cyclic_lr_new(o, 0.01, 0.1, .step_size_up = 15));
        check_table(r.is[MOMENTUM], cyclic_m, LENGTH(cyclic_m), 1, "cyclic's momentum");
    }
    {
        FOLLOW(cyclic_options, adam(), 0, tn_cyclic_lr_new(o, 0, 0, .base_lrs = ((double[]){0.01, 0.02}), .max_lrs = ((double[]){0.1, 0.3}),
            .step_size_up = 10, .step_size_down = 25, .mode = TN_CYCLIC_TRIANGULAR2, .base_momentum = 0.5, .max_momentum = 0.7));
        check_table(r.is[RATE_1], cyclic_options_1, LENGTH(cyclic_options_1), 1, "cyclic_options, the second group");
        check_table(r.is[MOMENTUM], cyclic_options_m, LENGTH(cyclic_options_m), 1, "cyclic_options, beta1");
    }
    SCHEDULE(cyclic_exp, sgd(), 0, 1, tn_cyclic_lr_new(o, 0.01, 0.1, .step_size_up = 12, .mode = TN_CYCLIC_EXP_RANGE, .gamma = 0.99,
        .cycle_momentum = false));
}

static double by_group(int64_t epoch, int group, void *context) { return (group + 1) * pow(*(double *)context, (double)epoch); }

static void test_others(void **state)
{
    (void)state;
    double base = 0.95;
    SCHEDULE(plateau, sgd(), 1, 3, tn_reduce_lr_on_plateau_new(o, .factor = 0.5, .patience = 3, .cooldown = 4));
    SCHEDULE_1(plateau_options, sgd(), -1, tn_reduce_lr_on_plateau_new(o, .mode = TN_PLATEAU_MAX, .factor = 0.7, .patience = 6,
        .threshold = 0.01, .threshold_mode = TN_PLATEAU_ABS, .min_lrs = ((double[]){0.003, 0.02}), .eps = 1e-4));
    SCHEDULE_1(lambda, sgd(), 0, tn_lambda_lr_new(o, by_group, &base));
}

static void test_composed(void **state)
{
    (void)state;
#define LIST_OF(...) ((tn_schedule *[]){__VA_ARGS__})
    SCHEDULE(sequential, sgd(), 0, 3, tn_sequential_lr_new(o, LIST_OF(tn_linear_lr_new(o, .start_factor = 0.1, .total_iters = 10),
        tn_cosine_annealing_lr_new(o, 60), tn_exponential_lr_new(o, 0.97)), 3, ((int64_t[]){10, 90})));
    SCHEDULE(sequential_restarts, sgd(), 0, 3, tn_sequential_lr_new(o, LIST_OF(tn_constant_lr_new(o), tn_step_lr_new(o, 7),
        tn_cosine_annealing_warm_restarts_new(o, 20, .T_mult = 2)), 3, ((int64_t[]){20, 41})));
    SCHEDULE(sequential_0, sgd(), 0, 3, tn_sequential_lr_new(o, LIST_OF(tn_linear_lr_new(o, .start_factor = 0.1, .total_iters = 0),
        tn_constant_lr_new(o, .factor = 0.25, .total_iters = 0), tn_exponential_lr_new(o, 0.97)), 3, ((int64_t[]){10, 90})));
    SCHEDULE(sequential_late, sgd(), 0, 3, tn_sequential_lr_new(o, LIST_OF(tn_constant_lr_new(o, .factor = 0.5, .total_iters = 20),
        tn_step_lr_new(o, 7)), 2, &(int64_t){150}));
    SCHEDULE(chained, sgd(), 0, 3, tn_chained_lr_new(o, LIST_OF(tn_constant_lr_new(o, .factor = 0.3, .total_iters = 20),
        tn_exponential_lr_new(o, 0.99)), 2));
    SCHEDULE(chained_three, sgd(), 0, 3, tn_chained_lr_new(o, LIST_OF(tn_linear_lr_new(o, .total_iters = 50),
        tn_multi_step_lr_new(o, (&(int64_t){70}), 1), tn_cosine_annealing_lr_new(o, 250)), 3));
    SCHEDULE(chained_sequential, sgd(), 0, 3, tn_chained_lr_new(o, LIST_OF(tn_sequential_lr_new(o, LIST_OF(tn_constant_lr_new(o),
        tn_exponential_lr_new(o, 0.9)), 2, &(int64_t){30}), tn_exponential_lr_new(o, 0.995)), 2));
    /* A chain as the first of a sequence begins with it. */
    TN_SCOPE;
    tn_optim *o = sgd();
    tn_schedule *two = tn_chained_lr_new(o, LIST_OF(tn_constant_lr_new(o), tn_constant_lr_new(o, .factor = 0.5)), 2);
    tn_schedule *s = tn_sequential_lr_new(o, LIST_OF(two, tn_exponential_lr_new(o, 0.9)), 2, &(int64_t){2});
    assert_true(fabs(tn_get_lr(o) - 0.1 / 6) < 1e-15);
    for (int e = 0; e < 3; e++)
        assert_int_equal(tn_schedule_step(s), TN_OK);
    assert_true(fabs(tn_get_lr(o) - 0.09) < 1e-15);
    assert_true(tn_dict_find(tn_schedule_state_dict(s), "_schedulers.0._schedulers.1.last_epoch") >= 0);
    tn_release(s);
    tn_release(o);
}

static tn_dict *tensors_of(const tn_dict *dict)
{
    tn_dict *tensors = tn_adopt(tn_dict_new());
    for (int64_t i = 0; i < tn_dict_count(dict); i++)
        assert_int_equal(tn_dict_set(tensors, tn_dict_name(dict, i), tn_dict_tensor(dict, i)), TN_OK);
    return tensors;
}

/* A state loads into its own law and no other: ours, and, as a PyTorch's has them, the names without the note. */
static void test_other_laws(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_optim *o = sgd();
    double base = 0.95;
    tn_schedule *laws[] = {
        tn_step_lr_new(o, 30), tn_multi_step_lr_new(o, &(int64_t){3}, 1), tn_exponential_lr_new(o, 0.98), tn_constant_lr_new(o),
        tn_linear_lr_new(o), tn_polynomial_lr_new(o), tn_cosine_annealing_lr_new(o, 60), tn_cosine_annealing_warm_restarts_new(o, 40),
        tn_one_cycle_lr_new(o, 0.5, 200), tn_cyclic_lr_new(o, 0.01, 0.1), tn_reduce_lr_on_plateau_new(o), tn_lambda_lr_new(o, by_group, &base),
        tn_sequential_lr_new(o, LIST_OF(tn_constant_lr_new(o), tn_exponential_lr_new(o, 0.9)), 2, &(int64_t){30}),
        tn_chained_lr_new(o, LIST_OF(tn_constant_lr_new(o), tn_exponential_lr_new(o, 0.9)), 2)};
    static const char *const saved[LENGTH(laws)] = {"step", "multi_step", "exponential", "constant", "linear", "polynomial", "cosine", "restarts",
        "one_cycle", "cyclic", "plateau", "lambda", "sequential", "chained"};
    const tn_dict *pytorch = NULL;
#ifdef TENON_HAVE_ZIP
    pytorch = tn_load_pt(TN_SOURCE_DIR "/tests/reference/files/schedule.pt");
#endif
    check_good();
    for (size_t i = 0; i < LENGTH(laws) * LENGTH(laws); i++) {
        TN_SCOPE;
        size_t from = i / LENGTH(laws), to = i % LENGTH(laws);
        char prefix[64];
        snprintf(prefix, sizeof prefix, "%s.schedule.", saved[from]);
        if (tn_load_schedule_state(laws[to], tn_schedule_state_dict(laws[from])) != (from == to ? TN_OK : TN_ERR_ARGUMENT))
            fail_msg("the state of %s into %s: %s", saved[from], saved[to], tn_last_error());
        if (from != to)
            check_error(TN_ERR_ARGUMENT, "\"law\" is \"");
        if (pytorch && from != to && tn_load_schedule_state(laws[to], tn_dict_part(pytorch, prefix)) != TN_ERR_ARGUMENT)
            fail_msg("PyTorch's state of %s into %s: no error", saved[from], saved[to]);
        tn_clear_error();
    }
    assert_int_equal(tn_load_schedule_state(laws[0], tn_schedule_state_dict(laws[8])), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"law\" is \"one_cycle_lr\", and this schedule is step_lr");
    assert_int_equal(tn_load_schedule_state(laws[0], tensors_of(tn_schedule_state_dict(laws[0]))), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "this is no state of step_lr: neither a note \"law\" nor PyTorch's \"step_size\" is there");
    /* Within a composed one too. */
    tn_schedule *two = tn_chained_lr_new(o, LIST_OF(tn_constant_lr_new(o), tn_linear_lr_new(o)), 2);
    assert_int_equal(tn_load_schedule_state(two, tn_schedule_state_dict(laws[13])), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"_schedulers.1.law\" is \"exponential_lr\", and this schedule is linear_lr");
    tn_release(two);
    for (size_t i = 0; i < LENGTH(laws); i++)
        tn_release(laws[i]);
    tn_release(o);
}

static double bad_later(int64_t epoch, int group, void *context)
{
    (void)context;
    return epoch == 2 && group == 1 ? NAN : 0.5;
}

/* Bad input, and that nothing has changed then. */
static void test_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_optim *o = sgd(), *other = sgd(), *ada = tn_adagrad_new(TN_LIST(param()), 0.1);
#define FAILS(constructor, message)                                                                                           \
    assert_null(constructor);                                                                                                 \
    check_error(TN_ERR_ARGUMENT, message)
    FAILS(tn_exponential_lr_new(NULL, 0.9), "exponential_lr: the optimiser is NULL");
    FAILS(tn_exponential_lr_new(o, -1), "exponential_lr: gamma is -1");
    FAILS(tn_step_lr_new(o), "step_lr: step_size is 0: it must be above 0");
    FAILS(tn_multi_step_lr_new(o, NULL, 2), "multi_step_lr: count is 2: so many milestones");
    FAILS(tn_constant_lr_new(o, .factor = 1.5), "factor is 1.5: it must be above 0 and at most 1");
    FAILS(tn_linear_lr_new(o, .start_factor = 0), "start_factor is 0");
    FAILS(tn_linear_lr_new(o, .end_factor = -1), "end_factor is -1");
    FAILS(tn_constant_lr_new(o, .total_iters = -1), "constant_lr: total_iters is -1: 0 or more is needed");
    FAILS(tn_linear_lr_new(o, .total_iters = -1), "linear_lr: total_iters is -1: 0 or more is needed");
    FAILS(tn_polynomial_lr_new(o, .total_iters = -1), "polynomial_lr: total_iters is -1: 0 or more is needed");
    FAILS(tn_cosine_annealing_lr_new(o, -5), "T_max is -5");
    FAILS(tn_cosine_annealing_warm_restarts_new(o, 5, .T_mult = 0), "T_mult is 0");
    FAILS(tn_one_cycle_lr_new(o, 0.1), "total_steps is 0");
    FAILS(tn_one_cycle_lr_new(o, -1, 10), "max_lr is -1");
    FAILS(tn_one_cycle_lr_new(o, 1, 10, .pct_start = 2), "pct_start is 2");
    FAILS(tn_one_cycle_lr_new(o, 1, 10, .max_momentum = 1), "max_momentum is 1");
    FAILS(tn_one_cycle_lr_new(ada, 1, 10), "adagrad has no momentum to cycle");
    FAILS(tn_cyclic_lr_new(o, 0.1, 1, .step_size_up = 0), "step_size_up is 0");
    FAILS(tn_cyclic_lr_new(o, 0.1, 1, .mode = (tn_cyclic_mode)7), "mode is 7");
    FAILS(tn_reduce_lr_on_plateau_new(o, .factor = 1), "factor is 1: it must be below 1");
    FAILS(tn_reduce_lr_on_plateau_new(o, .patience = -1), "patience is -1");
    FAILS(tn_lambda_lr_new(o, NULL, NULL), "lambda_lr: the function is NULL");
    FAILS(tn_chained_lr_new(o, NULL, 0), "chained_lr: 0 schedules");
    FAILS(tn_chained_lr_new(o, LIST_OF(tn_exponential_lr_new(o, 0.9), tn_exponential_lr_new(other, 0.9)), 2),
          "schedule 1, exponential_lr, is over another");
    FAILS(tn_chained_lr_new(o, LIST_OF(tn_exponential_lr_new(o, 0.9), tn_exponential_lr_new(o, -2)), 2), "gamma is -2");
    FAILS(tn_chained_lr_new(o, LIST_OF(tn_reduce_lr_on_plateau_new(o)), 1), "reduce_lr_on_plateau, needs a measure");
    FAILS(tn_sequential_lr_new(o, LIST_OF(tn_exponential_lr_new(o, 0.9), tn_exponential_lr_new(o, 0.9)), 2, NULL), "milestones is NULL");
    FAILS(tn_sequential_lr_new(o, LIST_OF(tn_exponential_lr_new(o, 0.9), tn_exponential_lr_new(o, 0.9)), 2, &(int64_t){-1}),
          "a milestone is -1");

    tn_schedule *plateau = tn_reduce_lr_on_plateau_new(o);
    tn_schedule *lambda = tn_chained_lr_new(o, LIST_OF(tn_exponential_lr_new(o, 0.5), tn_lambda_lr_new(o, bad_later, NULL)), 2);
    assert_int_equal(tn_schedule_step(plateau), TN_ERR_STATE);
    check_error(TN_ERR_STATE, "reduce_lr_on_plateau waits for a measure");
    assert_int_equal(tn_schedule_step(lambda), TN_OK);
    double lr = tn_get_lr(o);
    assert_int_equal(tn_schedule_step(lambda), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "lambda_lr: a learning rate is nan");
    assert_true(tn_get_lr(o) == lr && tn_last_epoch(lambda) == 1);
    check_values(tn_dict_get(tn_schedule_state_dict(lambda), "_schedulers.0.last_epoch"), 0, 1);

    for (int law = 0; law < 2; law++) { /* of no epochs, where PyTorch divides by 0 */
        tn_optim *third = sgd();
        tn_schedule *none = law ? tn_linear_lr_new(third, .total_iters = 0) : tn_polynomial_lr_new(third, .total_iters = 0);
        tn_schedule *sequence = tn_sequential_lr_new(third, LIST_OF(tn_exponential_lr_new(third, 0.5), none), 2, &(int64_t){1});
        assert_int_equal(tn_schedule_step(sequence), TN_ERR_ARGUMENT);
        check_error(TN_ERR_ARGUMENT, "_lr: total_iters is 0: to take over in a sequence it must be above 0");
        assert_true(tn_get_lr(third) == 0.1 && tn_last_epoch(sequence) == 0);
        tn_release(sequence);
        tn_release(third);
    }

    tn_schedule *cycle = tn_one_cycle_lr_new(other, 0.1, 2);
    assert_int_equal(tn_schedule_step(cycle), TN_OK);
    assert_int_equal(tn_schedule_step(cycle), TN_OK);
    double momentum = tn_get_group_option(other, 0, "momentum");
    assert_int_equal(tn_schedule_step(cycle), TN_ERR_STATE);
    check_error(TN_ERR_STATE, "step 3 of 2: the cycle is over");
    assert_true(tn_get_group_option(other, 0, "momentum") == momentum && tn_last_epoch(cycle) == 2);

    tn_dict *dict = tn_schedule_state_dict(cycle);
    assert_int_equal(tn_dict_set(dict, "T_cur", tn_ones(TN_SCALAR)), TN_OK);
    assert_int_equal(tn_load_schedule_state(cycle, dict), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"T_cur\" is no part of the state of this one_cycle_lr");
    dict = tn_schedule_state_dict(cycle);
    assert_int_equal(tn_dict_set(dict, "last_epoch", tn_full(TN_SCALAR, -1)), TN_OK);
    assert_int_equal(tn_load_schedule_state(cycle, dict), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"last_epoch\" is -1: a whole number");
    assert_int_equal(tn_dict_set(dict, "last_epoch", tn_from_ints((int64_t[]){INT64_MAX}, TN_SCALAR)), TN_OK);
    assert_int_equal(tn_load_schedule_state(cycle, dict), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"last_epoch\" is 9.22337e+18: a whole number");
    assert_int_equal(tn_last_epoch(cycle), 2);

    assert_int_equal(tn_add_param_group(o, TN_LIST(param())), TN_OK);
    assert_int_equal(tn_schedule_step(lambda), TN_ERR_STATE);
    check_error(TN_ERR_STATE, "the optimiser has 3 groups now and had 2 when chained_lr was made");
    assert_int_equal(tn_schedule_step(NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "the schedule is NULL");
    assert_int_equal(tn_last_epoch(NULL), -1);
    check_error(TN_ERR_ARGUMENT, "the schedule is NULL");
    void *owned[] = {plateau, lambda, cycle, o, other, ada};
    for (int i = 0; i < 6; i++)
        tn_release(owned[i]);
}

int main(void)
{
    case_use_device();
    const struct CMUnitTest tests[] = {TEST(test_factors), TEST(test_cosines), TEST(test_cycles), TEST(test_others), TEST(test_composed),
                                       TEST(test_other_laws), TEST(test_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
