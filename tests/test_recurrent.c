/* Recurrent layers beside the table of test_layers_recurrent.c: names, laws, dropout, packing, threads, instruction sets, messages.
 * labels: isa, quick */
#include "cases.h"

#include <stdio.h>

#include "kernels/kernels.h"
#include "ulp.h"

static tn_tensor *randn(tn_shape shape) { return tn_randn(shape); }

static void check_same(const tn_tensor *a, const tn_tensor *b)
{
    check_good();
    assert_true(tn_equal(a, b));
}

/* ---- modules ------------------------------------------------------------------------------------------------------------ */

static void test_names(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *net = tn_adopt(tn_lstm_new(3, 5, .num_layers = 2, .bidirectional = true));
    const char *const names[] = {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse",
                                 "bias_ih_l0_reverse", "bias_hh_l0_reverse", "weight_ih_l1", "weight_hh_l1"};
    check_good();
    assert_int_equal(tn_list_count(tn_parameters(net)), 16);
    for (int i = 0; i < 10; i++)
        assert_ptr_equal(tn_list_at(tn_parameters(net), i), tn_parameter(net, names[i]));
    check_shape(tn_parameter(net, "weight_ih_l0"), 20, 3);
    check_shape(tn_parameter(net, "weight_hh_l0_reverse"), 20, 5);
    check_shape(tn_parameter(net, "weight_ih_l1"), 20, 10);
    check_shape(tn_parameter(net, "bias_hh_l1_reverse"), 20);
    tn_module *projected = tn_adopt(tn_lstm_new(3, 5, .proj_size = 2, .num_layers = 2, .bidirectional = true));
    assert_ptr_equal(tn_list_at(tn_parameters(projected), 4), tn_parameter(projected, "weight_hr_l0"));
    assert_ptr_equal(tn_list_at(tn_parameters(projected), 19), tn_parameter(projected, "weight_hr_l1_reverse"));
    check_shape(tn_parameter(projected, "weight_hr_l0"), 2, 5);
    check_shape(tn_parameter(projected, "weight_hh_l1"), 20, 2);
    check_shape(tn_parameter(projected, "weight_ih_l1_reverse"), 20, 4);
    tn_module *cell = tn_adopt(tn_gru_cell_new(3, 4));
    check_shape(tn_parameter(cell, "weight_ih"), 12, 3);
    check_shape(tn_parameter(cell, "weight_hh"), 12, 4);
    check_shape(tn_parameter(cell, "bias_ih"), 12);
    check_shape(tn_parameter(cell, "bias_hh"), 12);
}

/* Uniform on ±1/sqrt(hidden), the biases too, and no two tensors alike. */
static void test_law(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(4);
    tn_module *net = tn_adopt(tn_gru_new(50, 64, .num_layers = 2));
    const tn_list *params = tn_parameters(net);
    for (int64_t i = 0; i < tn_list_count(params); i++) {
        tn_tensor *p = tn_detach(tn_list_at(params, i));
        double most = tn_item(tn_max(tn_abs(p))), spread = tn_item(tn_std(p));
        assert_true(most <= 0.125 && most > 0.12);
        assert_true(fabs(spread * sqrt(3) / 0.125 - 1) < 0.1);
        if (i > 3)
            assert_false(tn_ndim(p) == 1 && tn_equal(p, tn_detach(tn_list_at(params, i - 1))));
    }
}

static void test_copies(void **state)
{
    (void)state;
    TN_SCOPE;
    char text[2048];
    tn_module *net = tn_adopt(tn_lstm_new(3, 4, .num_layers = 2, .batch_first = true, .dropout = 0.25, .bidirectional = true, .bias = false));
    tn_module *copy = tn_module_clone(net), *other = tn_adopt(tn_lstm_new(3, 4, .num_layers = 2, .batch_first = true, .bidirectional = true,
                                                                          .bias = false));
    tn_tensor *x = randn(TN_SHAPE(2, 5, 3));
    tn_train(net, false);
    tn_train(copy, false);
    check_same(tn_call(net, x), tn_call(copy, x));
    assert_int_equal(tn_load_state_dict(other, tn_state_dict(net)), TN_OK);
    check_same(tn_call(net, x), tn_call(other, x)); /* without dropout: in training too */
    tn_format_summary(net, x, text, sizeof text);
    assert_non_null(strstr(text, "lstm(3, 4, num_layers=2, bias=False, batch_first=True, dropout=0.25, bidirectional=True)"));
    assert_non_null(strstr(text, "[2, 5, 8]"));
    tn_format_summary(tn_adopt(tn_lstm_new(3, 4, .proj_size = 2)), x, text, sizeof text);
    assert_non_null(strstr(text, "lstm(3, 4, proj_size=2)"));
    assert_non_null(strstr(text, "[2, 5, 2]"));
}

/* Between layers, while training, by the seed, and never on the last layer's y. */
static void test_dropout(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *net = tn_adopt(tn_gru_new(3, 8, .num_layers = 2, .dropout = 0.5)), *one = tn_adopt(tn_gru_new(3, 8, .dropout = 0.5));
    tn_tensor *x = randn(TN_SHAPE(4, 3, 3)), *y[3];
    for (int i = 0; i < 3; i++) {
        tn_manual_seed(i < 2 ? 7 : 8);
        y[i] = tn_call(net, x);
    }
    check_same(y[0], y[1]);
    assert_false(tn_equal(y[0], y[2]));
    assert_true(tn_item(tn_min(tn_abs(y[0]))) > 0);
    tn_train(net, false);
    assert_false(tn_equal(tn_call(net, x), y[0]));
    check_same(tn_call(net, x), tn_call(net, x));
    check_same(tn_call(one, x), tn_call(one, x));
}

/* What is asked for and what not. */
static void test_partial_gradients(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *net = tn_adopt(tn_lstm_new(3, 4));
    tn_tensor *x = tn_randn(TN_SHAPE(5, 2, 3), .requires_grad = true), *h_n, *c_n;
    tn_freeze(net, true);
    tn_tensor *y = tn_call_recurrent(net, x, .h_n = &h_n, .c_n = &c_n);
    check_good();
    check_shape(h_n, 1, 2, 4);
    check_same(tn_select(h_n, 0, 0), tn_select(y, 0, -1));
    assert_int_equal(tn_backward(tn_sum(c_n)), TN_OK); /* y and h_n are not used */
    assert_non_null(tn_grad(x));
    assert_null(tn_grad(tn_parameter(net, "weight_hh_l0")));
    assert_true(tn_item(tn_min(tn_abs(tn_grad(x)))) > 0);
    tn_freeze(net, false);
    y = tn_call(net, tn_detach(x));
    assert_int_equal(tn_backward(tn_sum(y), .retain_graph = true), TN_OK);
    tn_tensor *first = tn_clone(tn_grad(tn_parameter(net, "weight_hh_l0")));
    assert_int_equal(tn_backward(tn_sum(y)), TN_OK); /* nothing that was saved has changed */
    check_same(tn_mul(first, 2), tn_grad(tn_parameter(net, "weight_hh_l0")));
    assert_int_equal(tn_backward(tn_sum(y)), TN_ERR_GRAD);
    check_error(TN_ERR_GRAD, "the graph was released");
    y = tn_call(net, tn_detach(x));
    tn_init_zeros(tn_parameter(net, "weight_hh_l0"));
    assert_int_equal(tn_backward(tn_sum(y)), TN_ERR_GRAD);
    check_error(TN_ERR_GRAD, "changed in place since");
    TN_NO_GRAD;
    assert_false(tn_requires_grad(tn_call(net, x)));
}

/* Gradients that can be differentiated, of a layer over what the same layer made: each call's own part must be counted once. */
static tn_tensor *twice(tn_tensor *const *in, int count, void *net)
{
    (void)count;
    return tn_call(net, tn_narrow(tn_call(net, in[0]), 2, 0, 2));
}

static void test_shared_weights(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *nets[] = {tn_rnn_new(2, 3, .dtype = TN_F64), tn_gru_new(2, 3, .dtype = TN_F64), tn_lstm_new(2, 2, .dtype = TN_F64)};
    for (int i = 0; i < 3; i++) {
        tn_tensor *in[] = {tn_randn(TN_SHAPE(2, 2, 2), .dtype = TN_F64, .requires_grad = true),
                           tn_parameter(nets[i], "weight_hh_l0"), tn_parameter(nets[i], "weight_ih_l0")};
        tn_tensor *const sum[] = {tn_sum(twice(in, 3, nets[i]))};
        tn_tensor *plain[3], *recorded[3];
        assert_int_equal(tn_grads_of(sum, 1, in, 3, plain, .retain_graph = true), TN_OK);
        assert_int_equal(tn_grads_of(sum, 1, in, 3, recorded, .create_graph = true), TN_OK);
        for (int k = 0; k < 3; k++)
            assert_true(tn_allclose(plain[k], recorded[k], 1e-12, 1e-12, false));
        if (!case_device() && tn_gradcheck(twice, nets[i], in, 3, .second = true) != TN_OK)
            fail_msg("%s", tn_last_error());
        tn_release(nets[i]);
    }
}

/* A sequence of 20,000 steps: one node, no recursion, h what a cell gives step by step. */
static void test_long(void **state)
{
    (void)state;
    case_skip_slow_device();
    TN_SCOPE;
    enum { STEPS = 20000 };
    tn_module *net = tn_adopt(tn_gru_new(2, 3)), *cell = tn_adopt(tn_gru_cell_new(2, 3));
    tn_tensor *x = randn(TN_SHAPE(STEPS, 1, 2)), *h_n, *y = tn_call_recurrent(net, x, .h_n = &h_n), *h = NULL;
    assert_int_equal(tn_backward(tn_sum(h_n)), TN_OK);
    assert_true(isfinite(tn_item(tn_sum(tn_grad(tn_parameter(net, "weight_ih_l0"))))));
    const char *const parts[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
    char name[32];
    TN_NO_GRAD;
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s_l0", parts[i]);
        tn_copy_(tn_parameter(cell, parts[i]), tn_parameter(net, name));
    }
    for (int t = 0; t < 10; t++)
        h = tn_call(cell, tn_select(x, 0, t), h);
    check_good();
    assert_true(tn_allclose(h, tn_select(y, 0, 9), 1e-6, 1e-6, false));
}

/* ---- packed sequences --------------------------------------------------------------------------------------------------- */

static void test_packing(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_reshape(tn_arange(0, 24, 1, .dtype = TN_F32), TN_SHAPE(3, 4, 2)); /* 3 sequences of 4 steps */
    tn_tensor *lengths = tn_from_ints((int64_t[]){2, 4, 3}, TN_SHAPE(3)), *back;
    tn_packed_sequence *p = tn_pack_padded_sequence(x, lengths, .batch_first = true, .enforce_sorted = false);
    check_good();
    check_values(p->data, 0, 8, 9, 16, 17, 0, 1, 10, 11, 18, 19, 2, 3, 12, 13, 20, 21, 14, 15);
    check_values(p->batch_sizes, 0, 3, 3, 2, 1);
    check_values(p->sorted_indices, 0, 1, 2, 0);
    check_values(p->unsorted_indices, 0, 2, 0, 1);
    tn_tensor *y = tn_pad_packed_sequence(p, .batch_first = true, .padding_value = -1, .total_length = 5, .lengths = &back);
    check_shape(y, 3, 5, 2);
    check_values(y, 0, 0, 1, 2, 3, -1, -1, -1, -1, -1, -1, 8, 9, 10, 11, 12, 13, 14, 15, -1, -1, 16, 17, 18, 19, 20, 21, -1, -1, -1, -1);
    check_values(back, 0, 2, 4, 3);
    /* Whole numbers, one dim a step, in order: no order is kept. */
    p = tn_pack_padded_sequence(tn_reshape(tn_arange(0, 6, 1, .dtype = TN_I64), TN_SHAPE(3, 2)),
                                tn_from_ints((int64_t[]){3, 1}, TN_SHAPE(2)));
    check_good();
    check_values(p->data, 0, 0, 1, 2, 4);
    assert_null(p->sorted_indices);
    check_values(tn_pad_packed_sequence(p), 0, 0, 1, 2, 0, 4, 0);
    tn_packed_sequence *kept;
    {
        TN_SCOPE;
        kept = tn_keep(tn_pack_padded_sequence(x, lengths, .enforce_sorted = false, .batch_first = true));
    }
    check_values(kept->batch_sizes, 0, 3, 3, 2, 1);
    tn_release(kept);
}

static void test_packing_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_zeros(TN_SHAPE(3, 2, 4));
#define LENGTHS(...) tn_from_ints((int64_t[]){__VA_ARGS__}, TN_SHAPE((int64_t)(sizeof((int64_t[]){__VA_ARGS__}) / 8)))
    assert_null(tn_pack_padded_sequence(x, LENGTHS(1, 3)));
    check_error(TN_ERR_ARGUMENT, "lengths[1] is 3, more than the one before: with .enforce_sorted = false");
    assert_null(tn_pack_padded_sequence(x, LENGTHS(4, 3)));
    check_error(TN_ERR_ARGUMENT, "lengths[0] is 4: 1 to the 3 steps of x are possible");
    assert_null(tn_pack_padded_sequence(x, LENGTHS(3, 0)));
    check_error(TN_ERR_ARGUMENT, "lengths[1] is 0");
    assert_null(tn_pack_padded_sequence(x, LENGTHS(3, 2, 1)));
    check_error(TN_ERR_SHAPE, "x is [3, 2, 4] and lengths [3]");
    assert_null(tn_pack_padded_sequence(x, tn_ones(TN_SHAPE(2))));
    check_error(TN_ERR_DTYPE, "lengths is float32: integers are needed");
    assert_null(tn_pack_padded_sequence(tn_zeros(TN_SHAPE(3)), LENGTHS(1)));
    check_error(TN_ERR_SHAPE, "x is [3]: steps and batch are needed");
    tn_packed_sequence *p = tn_pack_padded_sequence(x, LENGTHS(3, 2));
    assert_null(tn_pad_packed_sequence(p, .total_length = 2));
    check_error(TN_ERR_ARGUMENT, "total_length is 2, and the longest sequence has 3 steps");
    assert_null(tn_pad_packed_sequence(NULL));
    check_error(TN_ERR_ARGUMENT, "packed is NULL");
    tn_packed_sequence bad = *p; /* a struct of the caller's own, whose parts do not fit */
    bad.data = tn_zeros(TN_SHAPE(4, 4));
    assert_null(tn_pad_packed_sequence(&bad));
    check_error(TN_ERR_ARGUMENT, "do not fit data, [4, 4]");
    tn_module *gru = tn_adopt(tn_gru_new(4, 2));
    assert_null(tn_call_packed(gru, &bad));
    check_error(TN_ERR_ARGUMENT, "gru: batch_sizes must be positive, not rise, and sum to x's 4 rows");
    assert_null(tn_call_packed(gru, NULL));
    check_error(TN_ERR_ARGUMENT, "call_packed: packed is NULL");
    bad.data = NULL;
    assert_null(tn_call_packed(gru, &bad));
    check_error(TN_ERR_ARGUMENT, "call_packed: packed has no data");
    bad = (tn_packed_sequence){.data = x, .batch_sizes = tn_zeros(TN_SHAPE(2))};
    assert_null(tn_pad_packed_sequence(&bad));
    check_error(TN_ERR_ARGUMENT, "packed's batch_sizes, [2], must be contiguous int64");
    bad = *p;
    bad.sorted_indices = bad.unsorted_indices = LENGTHS(0, 1, 2);
    assert_null(tn_pad_packed_sequence(&bad));
    check_error(TN_ERR_ARGUMENT, "packed's sorted_indices, [3], must be contiguous int64 [batch]");
    bad.sorted_indices = bad.unsorted_indices = LENGTHS(0, 2);
    assert_null(tn_pad_packed_sequence(&bad));
    check_error(TN_ERR_ARGUMENT, "do not fit data");
    bad = *p;
    bad.data = x;
    assert_null(tn_call_packed(gru, &bad));
    check_error(TN_ERR_SHAPE, "gru: x is [3, 2, 4]: [rows, input_size]");
    assert_null(tn_call_packed(tn_adopt(tn_gru_cell_new(4, 2)), p));
    check_error(TN_ERR_ARGUMENT, "gru_cell takes one step");
#undef LENGTHS
}

/* ---- errors ------------------------------------------------------------------------------------------------------------- */

static void test_making_errors(void **state)
{
    (void)state;
    assert_null(tn_lstm_new(3, 0));
    check_error(TN_ERR_ARGUMENT, "lstm: input_size 3, hidden_size 0 and num_layers 1");
    assert_null(tn_rnn_new(3, 2, .num_layers = 0));
    check_error(TN_ERR_ARGUMENT, "rnn: input_size 3, hidden_size 2 and num_layers 0");
    assert_null(tn_gru_new(3, 2, .dropout = 1.5));
    check_error(TN_ERR_ARGUMENT, "gru: dropout is 1.5: a probability");
    assert_null(tn_rnn_new(3, 2, .nonlinearity = (tn_rnn_nonlinearity)5));
    check_error(TN_ERR_ARGUMENT, "rnn: nonlinearity 5 is neither");
    assert_null(tn_gru_cell_new(0, 2));
    check_error(TN_ERR_ARGUMENT, "gru_cell: input_size 0");
    assert_null(tn_lstm_new(3, 2, .proj_size = 2));
    check_error(TN_ERR_ARGUMENT, "lstm: proj_size is 2: less than hidden_size, 2, is needed, or 0");
    assert_null(tn_lstm_new(3, 2, .proj_size = -1));
    check_error(TN_ERR_ARGUMENT, "lstm: proj_size is -1");
    assert_null(tn_lstm_new_with(NULL));
    check_error(TN_ERR_ARGUMENT, "the struct is NULL");
}

static void test_calling_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *lstm = tn_adopt(tn_lstm_new(3, 4, .bidirectional = true)), *gru = tn_adopt(tn_gru_new(3, 4, .batch_first = true));
    tn_tensor *x = tn_zeros(TN_SHAPE(5, 2, 3)), *h = tn_zeros(TN_SHAPE(2, 2, 4)), *out[4], *unset = x;
    assert_null(tn_call(lstm, tn_zeros(TN_SHAPE(5, 2, 4))));
    check_error(TN_ERR_SHAPE, "lstm: x's last size is 4, and input_size is 3");
    assert_null(tn_call(lstm, tn_zeros(TN_SHAPE(3))));
    check_error(TN_ERR_SHAPE, "lstm: x is [3]: [steps, batch, input_size] or [steps, input_size] is needed");
    assert_null(tn_call(gru, tn_zeros(TN_SHAPE(1, 2, 3, 3))));
    check_error(TN_ERR_SHAPE, "gru: x is [1, 2, 3, 3]: [batch, steps, input_size]");
    assert_null(tn_call(lstm, tn_zeros(TN_SHAPE(0, 2, 3))));
    check_error(TN_ERR_SHAPE, "lstm: the sequences have no step");
    assert_null(tn_call(lstm, x, h));
    check_error(TN_ERR_ARGUMENT, "lstm: h0 and c0 are the state together");
    assert_null(tn_call_recurrent(lstm, x, .c0 = h, .h_n = &unset));
    assert_null(unset);
    check_error(TN_ERR_ARGUMENT, "lstm: h0 and c0 are the state together");
    assert_null(tn_call(lstm, x, tn_zeros(TN_SHAPE(1, 2, 4)), h));
    check_error(TN_ERR_SHAPE, "lstm: h0 is [1, 2, 4] and must be [2, 2, 4]: layers and directions, batch, hidden_size");
    assert_null(tn_call(lstm, x, h, tn_zeros(TN_SHAPE(2, 2, 3))));
    check_error(TN_ERR_SHAPE, "lstm: c0 is [2, 2, 3] and must be [2, 2, 4]");
    tn_module *projected = tn_adopt(tn_lstm_new(3, 4, .proj_size = 2));
    assert_null(tn_call(projected, x, tn_zeros(TN_SHAPE(1, 2, 4)), tn_zeros(TN_SHAPE(1, 2, 4))));
    check_error(TN_ERR_SHAPE, "lstm: h0 is [1, 2, 4] and must be [1, 2, 2]: layers and directions, batch, proj_size");
    assert_null(tn_call(projected, x, tn_zeros(TN_SHAPE(1, 2, 2)), tn_zeros(TN_SHAPE(1, 2, 2))));
    check_error(TN_ERR_SHAPE, "lstm: c0 is [1, 2, 2] and must be [1, 2, 4]: layers and directions, batch, hidden_size");
    assert_null(tn_call(projected, x, tn_zeros(TN_SHAPE(1, 2, 2), .dtype = TN_F64), tn_zeros(TN_SHAPE(1, 2, 4))));
    check_error(TN_ERR_DTYPE, "lstm: h0 is float64 and the weights are float32");
    assert_null(tn_call(gru, tn_zeros(TN_SHAPE(5, 3)), tn_zeros(TN_SHAPE(1, 2, 4))));
    check_error(TN_ERR_SHAPE, "gru: h0 is [1, 2, 4] and must be [1, 4], as x is one sequence");
    assert_null(tn_call(lstm, tn_cast(x, TN_F64)));
    check_error(TN_ERR_DTYPE, "lstm: x is float64 and the weights are float32");
    assert_null(tn_call(lstm, x, tn_cast(h, TN_F64), h));
    check_error(TN_ERR_DTYPE, "lstm: h0 is float64 and the weights are float32");
    assert_int_equal(tn_call_n(lstm, &x, 1, out, 4), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "lstm: it takes 1 to 6 inputs and gives 3, and there are 1 and 4");
    assert_null(tn_call(lstm, NULL));
    check_error(TN_ERR_ARGUMENT, "lstm: x is NULL");
    assert_null(tn_call_recurrent(gru, x, .c0 = h));
    check_error(TN_ERR_ARGUMENT, "gru: c0 and c_n are of an LSTM");
    assert_null(tn_call_recurrent(tn_adopt(tn_relu_new()), x));
    check_error(TN_ERR_ARGUMENT, "call_recurrent: the module is relu, not a recurrent layer");
    assert_int_equal(tn_module_to_dtype(gru, TN_BF16), TN_OK);
    assert_null(tn_call(gru, tn_cast(x, TN_BF16)));
    check_error(TN_ERR_DTYPE, "gru: the weights are bfloat16: recurrent layers run in float32 and float64");
}

static void test_cell_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *cell = tn_adopt(tn_rnn_cell_new(3, 4)), *lstm = tn_adopt(tn_lstm_cell_new(3, 4));
    tn_tensor *x = tn_zeros(TN_SHAPE(2, 3));
    assert_null(tn_call(cell, tn_zeros(TN_SHAPE(1, 2, 3))));
    check_error(TN_ERR_SHAPE, "rnn_cell: x is [1, 2, 3]: [batch, input_size] or [input_size] is needed");
    assert_null(tn_call(cell, x, tn_zeros(TN_SHAPE(4))));
    check_error(TN_ERR_SHAPE, "rnn_cell: x is [2, 3] and h0 is [4]: with or without the batch, both");
    assert_null(tn_call(cell, x, tn_zeros(TN_SHAPE(3, 4))));
    check_error(TN_ERR_SHAPE, "rnn_cell: h0 is [3, 4] and must be [2, 4]: batch, hidden_size");
    assert_null(tn_call(lstm, x, tn_zeros(TN_SHAPE(2, 4))));
    check_error(TN_ERR_ARGUMENT, "lstm_cell: h0 and c0 are the state together");
    assert_null(tn_call(lstm, x, tn_zeros(TN_SHAPE(2, 4)), tn_zeros(TN_SHAPE(2, 4)), x));
    check_error(TN_ERR_ARGUMENT, "lstm_cell: it takes 1 to 3 inputs and gives 2, and there are 4 and 1");
    tn_tensor *h = tn_zeros(TN_SHAPE(2, 4)), *c_n;
    tn_tensor *next = tn_call_recurrent(lstm, x, .h0 = h, .c0 = h, .c_n = &c_n);
    check_good();
    check_shape(next, 2, 4);
    check_shape(c_n, 2, 4);
}

/* ---- threads, instruction sets ------------------------------------------------------------------------------------------ */

/* y, h_n and all gradients of a layer, on so many threads. */
static void results_of(tn_module *net, tn_packed_sequence *x, int threads, tn_tensor **out, int *count)
{
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
    tn_packed_sequence *y = tn_call_packed(net, x, .h_n = &out[1]);
    check_good();
    out[0] = y->data;
    const tn_list *params = tn_parameters(net);
    tn_tensor *weights[32];
    const int n = (int)tn_list_count(params);
    for (int i = 0; i < n; i++)
        weights[i] = tn_list_at(params, i);
    tn_tensor *const outputs[] = {tn_sum(tn_square(out[0])), tn_sum(out[1])};
    assert_int_equal(tn_grads_of(outputs, 2, weights, n, out + 2), TN_OK);
    *count = n + 2;
}

/* The same bits on any number of threads, more than there are sequences too. */
static void test_threads(void **state)
{
    (void)state;
    const int former = tn_get_num_threads();
    const struct {
        int64_t batch, steps, hidden;
    } sizes[] = {{5, 4, 96}, {40, 6, 48}, {1, 5, 130}, {3, 3, 150}};
    for (int i = 0; i < 12; i++) {
        TN_SCOPE;
        const int64_t batch = sizes[i / 3].batch, steps = sizes[i / 3].steps, hidden = sizes[i / 3].hidden;
        tn_module *net = tn_adopt(i % 3 == 0   ? tn_lstm_new(7, hidden, .bidirectional = true)
                                  : i % 3 == 1 ? tn_gru_new(7, hidden, .bidirectional = true)
                                               : tn_rnn_new(7, hidden, .bidirectional = true));
        tn_tensor *lengths = tn_add(tn_remainder(tn_arange(0, (double)batch, 1, .dtype = TN_I64), steps), 1);
        tn_packed_sequence *x = tn_pack_padded_sequence(randn(TN_SHAPE(steps, batch, 7)), lengths, .enforce_sorted = false);
        tn_tensor *one[40], *more[40];
        int count;
        results_of(net, x, 1, one, &count);
        for (int threads = 2; threads <= 4; threads++) {
            results_of(net, x, threads, more, &count);
            for (int k = 0; k < count; k++)
                check_same(one[k], more[k]);
        }
    }
    assert_int_equal(tn_set_num_threads(former), TN_OK);
}

extern const tn_kernels tn_portable_kernels;

enum { WALK = 10 };

static void *data(tn_tensor *x) { return tn_data_mut(x); }

/* What a layer of `hidden` over sequences of unlike lengths gives, made of the same numbers whatever the dtype: y, the last states, all
 * gradients. */
static void run_walk(const tn_kernels *kernels, tn_dtype dtype, tn_rnn_kind kind, bool reverse, int64_t in, int64_t hidden, tn_tensor **out)
{
    enum { BATCH = 59, STEPS = 3, ROWS = BATCH + 20 + 4 };
    static const int64_t first[] = {0, BATCH, BATCH + 20, ROWS};
    const int64_t wide = tn_rnn_gates(kind) * hidden;
    tn_manual_seed(9);
#define MADE(...) tn_cast(tn_mul(tn_randn(TN_SHAPE(__VA_ARGS__)), 0.5), dtype)
    tn_tensor *w_ih = MADE(wide, in), *w_hh = MADE(wide, hidden), *b_ih = MADE(wide), *b_hh = MADE(wide), *x = MADE(ROWS, in);
    tn_tensor *h0 = MADE(BATCH, hidden), *c0 = MADE(BATCH, hidden), *dy = MADE(ROWS, 2 * hidden), *saved = MADE(ROWS, tn_rnn_saved(kind, hidden));
    tn_tensor *const made[WALK] = {MADE(ROWS, hidden), tn_clone(h0), tn_clone(c0), MADE(BATCH, hidden), MADE(BATCH, hidden), MADE(ROWS, in),
                                   MADE(wide, in), MADE(wide, hidden), MADE(wide), MADE(wide)};
#undef MADE
    memcpy(out, made, sizeof made);
    const tn_rnn rnn = {.kind = kind, .reverse = reverse, .steps = STEPS, .batch = BATCH, .in = in, .hidden = hidden, .first = first, .x = data(x),
                        .w_ih = data(w_ih), .w_hh = data(w_hh), .b_ih = data(b_ih), .b_hh = data(b_hh),
                        .saved = tn_rnn_saved(kind, hidden) ? data(saved) : NULL, .y = data(out[0]), .h = data(out[1]), .c = data(out[2])};
    assert_int_equal(kernels->rnn_forward(dtype, &rnn), TN_OK);
    tn_rnn_grad grad = {.rnn = rnn, .dy = data(dy), .dy_row = 2 * hidden, .dh = data(out[3]), .dc = kind == TN_RNN_KIND_LSTM ? data(out[4]) : NULL,
                        .dx = data(out[5]), .dw_ih = data(out[6]), .dw_hh = data(out[7]), .db_ih = data(out[8]), .db_hh = data(out[9])};
    grad.rnn.h = data(h0), grad.rnn.c = data(c0);
    assert_int_equal(kernels->rnn_backward(dtype, &grad), TN_OK);
}

/* Each way of walking a layer against the portable one of float64, which is the plain one: sizes on both sides of what lies in the cache, and of a
 * vector. Where the portable kernels run, their float32 is the one way there is. */
static void test_instruction_sets(void **state)
{
    (void)state;
    case_cpu_only();
    static const struct {
        int64_t in, hidden;
    } sizes[] = {{5, 37}, {1, 32}, {70, 48}, {3, 7}, {700, 160}};
    const bool portable = strcmp(tn_kernels_of(TN_CPU)->name, tn_portable_kernels.name) == 0;
    for (int i = 0; i < 8 * (int)(sizeof sizes / sizeof *sizes); i++) {
        TN_SCOPE;
        const int size = i / 8;
        if (test_emulated() && sizes[size].in == 700 && i & 1) /* takes long; the other way along the sequence is in the smaller ones */
            continue;
        const tn_rnn_kind kind = (tn_rnn_kind)(i / 2 % 4);
        tn_tensor *plain[WALK], *other[WALK];
        run_walk(&tn_portable_kernels, TN_F64, kind, i & 1, sizes[size].in, sizes[size].hidden, plain);
        for (int way = portable ? 2 : 0; way < 3; way++) {
            const tn_dtype dtype = way == 0 ? TN_F64 : TN_F32;
            const double tolerance = way == 0 ? 1e-12 : 1e-4;
            run_walk(way == 2 ? &tn_portable_kernels : tn_kernels_of(TN_CPU), dtype, kind, i & 1, sizes[size].in, sizes[size].hidden, other);
            for (int k = 0; k < WALK; k++)
                if (!tn_allclose(tn_cast(other[k], TN_F64), plain[k], tolerance, tolerance, false))
                    fail_msg("kind %d, in %d, hidden %d, way %d: array %d differs", (int)kind, (int)sizes[size].in, (int)sizes[size].hidden, way, k);
        }
    }
}

/* The gates' functions, by a cell whose other parts are known: tanh, and sigmoid as what z lets through of h0 = 1 where n is 0. */
static void test_ulp(void **state)
{
    (void)state;
    case_cpu_only();
    TN_SCOPE;
    enum { N = 20000 };
    for (int k = 0; k < 2; k++) {
        tn_module *cell = tn_adopt(k ? tn_gru_cell_new(1, 1, .bias = false) : tn_rnn_cell_new(1, 1, .bias = false));
        TN_NO_GRAD;
        tn_init_zeros(tn_parameter(cell, "weight_hh"));
        tn_init_zeros(tn_parameter(cell, "weight_ih"));
        tn_fill_(tn_narrow(tn_parameter(cell, "weight_ih"), 0, k, 1), 1);
        /* Both signs, 2^-30 to 87. */
        tn_tensor *size = tn_exp(tn_sub(tn_mul(tn_rand(TN_SHAPE(N, 1)), 25.26), 20.794)), *x = tn_mul(size, tn_sign(tn_randn(TN_SHAPE(N, 1))));
        tn_tensor *y = tn_call(cell, x, k ? tn_ones(TN_SHAPE(N, 1)) : NULL);
        check_good();
        const float *in = tn_data(x), *got = tn_data(y);
        double worst = 0;
        for (int i = 0; i < N; i++)
            worst = fmax(worst, ulps(got[i], k ? 1 / (1 + exp(-(double)in[i])) : tanh((double)in[i])));
        assert_true(worst > 0.3 && worst <= 4);
    }
}

int main(void)
{
    case_use_device();
    const struct CMUnitTest tests[] = {
        TEST(test_names), TEST(test_law), TEST(test_copies), TEST(test_dropout), TEST(test_partial_gradients), TEST(test_shared_weights),
        TEST(test_long), TEST(test_packing), TEST(test_packing_errors), TEST(test_making_errors), TEST(test_calling_errors),
        TEST(test_cell_errors), TEST(test_threads), TEST(test_instruction_sets), TEST(test_ulp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
