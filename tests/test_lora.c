/* LoRA: what a layer computes with it, what trains and what stays, and weights that take it in. */
#include "op_table.h"

#include <tenon/nn.h>
#include <tenon/optim.h>

#include "core/core.h"

static tn_module *network(void)
{
    tn_manual_seed(5);
    return tn_adopt(tn_sequential_new(tn_linear_new(6, 8, .activation = TN_ACTIVATION_RELU), tn_linear_new(8, 4, .bias = false)));
}

static void adds_and_merges(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *net = network();
    tn_tensor *x = tn_randn(TN_SHAPE(3, 6)), *before = tn_call(net, x);
    assert_int_equal(tn_add_lora(net, .rank = 2, .alpha = 6), TN_OK);
    assert_true(tn_equal(tn_call(net, x), before)); /* B is zeros */
    tn_tensor *a = tn_parameter(net, "0.lora_A"), *b = tn_parameter(net, "0.lora_B"), *a1 = tn_parameter(net, "1.lora_A"), *b1 = tn_parameter(net, "1.lora_B");
    tn_init_uniform(b, -1, 1);
    tn_init_uniform(b1, -1, 1);
    {
        TN_NO_GRAD;
        tn_tensor *w = tn_parameter(net, "0.weight"), *w1 = tn_parameter(net, "1.weight");
        tn_tensor *whole = tn_add(w, tn_mul(tn_matmul(b, a), 3)), *whole1 = tn_add(w1, tn_mul(tn_matmul(b1, a1), 3));
        tn_tensor *h = tn_relu(tn_add(tn_matmul(x, tn_transpose(whole, 0, 1)), tn_parameter(net, "0.bias")));
        tn_tensor *y = tn_matmul(h, tn_transpose(whole1, 0, 1));
        assert_true(tn_allclose(tn_call(net, x), y, 1e-5, 1e-6, false));
        assert_false(tn_allclose(y, before, 1e-2, 1e-2, false));
        assert_int_equal(tn_merge_lora(net), TN_OK);
        assert_true(tn_allclose(tn_call(net, x), y, 1e-5, 1e-6, false));
        assert_true(tn_allclose(w, whole, 1e-6, 1e-7, false));
        assert_true(tn_equal(b1, tn_zeros_like(b1)));
    }
    check_good();
}

static void trains_only_them(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *net = network();
    assert_int_equal(tn_add_lora(net, .targets = "x,1"), TN_OK);
    assert_false(tn_dict_find(tn_state_dict(net), "1.lora_B") < 0);
    assert_true(tn_dict_find(tn_state_dict(net), "0.lora_A") < 0);
    assert_int_equal(tn_add_lora(net, .rank = 3, .targets = "0"), TN_OK); /* the other keeps its rank */
    assert_int_equal(tn_size(tn_parameter(net, "1.lora_A"), 0), 8);
    assert_true(tn_requires_grad(tn_parameter(net, "1.lora_A")));
    tn_tensor *weight = tn_clone(tn_parameter(net, "0.weight"));
    tn_optim *opt = tn_adopt(tn_sgd_new(tn_parameters(net), 0.1));
    for (int step = 0; step < 2; step++) {
        tn_zero_grad(opt);
        assert_int_equal(tn_backward(tn_sum(tn_call(net, tn_ones(TN_SHAPE(2, 6))))), TN_OK);
        assert_int_equal(tn_step(opt), TN_OK);
    }
    assert_null(tn_grad(tn_parameter(net, "0.weight")));
    assert_true(tn_equal(tn_parameter(net, "0.weight"), weight));
    assert_false(tn_equal(tn_parameter(net, "1.lora_B"), tn_zeros(TN_SHAPE(4, 8))));
    tn_module *copy = tn_module_clone(net);
    assert_true(tn_equal(tn_call(copy, tn_ones(TN_SHAPE(2, 6))), tn_call(net, tn_ones(TN_SHAPE(2, 6)))));
    check_good();
}

static void bad_inputs(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *net = network();
    check_fails(tn_add_lora(NULL), TN_ERR_ARGUMENT, "add_lora NULL");
    check_fails(tn_add_lora(net, .rank = 0), TN_ERR_ARGUMENT, "add_lora: rank is 0");
    check_fails(tn_add_lora(net, .alpha = INFINITY), TN_ERR_ARGUMENT, "add_lora alpha inf");
    check_fails(tn_add_lora(net, .targets = "q_proj"), TN_ERR_ARGUMENT, "add_lora: sequential has no linear layer named q_proj");
    check_fails(tn_merge_lora(NULL), TN_ERR_ARGUMENT, "merge_lora NULL");
    assert_true(tn_requires_grad(tn_parameter(net, "0.weight")));
}

int main(void)
{
    case_use_device();
    const struct CMUnitTest tests[] = {TEST(adds_and_merges), TEST(trains_only_them), TEST(bad_inputs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
