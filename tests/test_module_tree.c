/* Modules: names, modes, copies, sharing, state by name, calls and their errors.
 * labels: quick */
#include "check.h"

typedef struct {
    tn_module base;
    tn_module *inner, *head;
    tn_tensor *scale, *mean;
    double factor; /* a plain field: copied with the module */
} net;

static tn_tensor *net_forward(net *self, tn_tensor *x)
{
    return tn_mul(tn_mul(tn_call(self->head, tn_call(self->inner, x)), self->scale), self->factor);
}
TN_MODULE(net, net_forward);

static net *net_new(void)
{
    net *self = TN_NEW(net);
    TN_CHILD(self, inner, tn_sequential_new(tn_linear_new(3, 4), tn_relu_new(), tn_dropout_new(0.5)));
    TN_CHILD(self, head, tn_linear_new(4, 2, .bias = false));
    TN_PARAM(self, scale, tn_full(TN_SHAPE(1), 2));
    TN_BUFFER(self, mean, tn_zeros(TN_SHAPE(2)));
    if (self)
        self->factor = 3;
    return self;
}

static void test_names(void **state)
{
    (void)state;
    TN_SCOPE;
    net *n = net_new();
    check_good();
    const char *const names[] = {"scale", "inner.0.weight", "inner.0.bias", "head.weight"};
    tn_dict *dict = tn_named_parameters(n);
    assert_int_equal(tn_dict_count(dict), 4);
    assert_int_equal(tn_list_count(tn_parameters(n)), 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(tn_dict_name(dict, i), names[i]);
        assert_ptr_equal(tn_list_at(tn_parameters(n), i), tn_parameter(n, names[i]));
        assert_true(tn_requires_grad(tn_parameter(n, names[i])));
    }
    assert_int_equal(tn_num_parameters(n), 1 + 12 + 4 + 8);
    assert_int_equal(tn_dict_count(tn_named_buffers(n)), 1);
    assert_int_equal(tn_dict_count(tn_state_dict(n)), 5);
    assert_ptr_equal(tn_child(n, "inner.1"), tn_child_at(n->inner, -2));
    assert_string_equal(tn_child_name(n, 1), "head");
    assert_null(tn_parameter(n, "inner.7.weight"));
    check_error(TN_ERR_ARGUMENT, "net has no parameter or buffer \"inner.7.weight\"");
    assert_null(tn_child(n, "scale"));
    check_error(TN_ERR_ARGUMENT, "no child \"scale\"");
    assert_null(tn_child_at(n, 2));
    check_error(TN_ERR_INDEX, "out of range");
    tn_release(n);
}

static void test_modes(void **state)
{
    (void)state;
    TN_SCOPE;
    net *n = net_new(), *other = net_new();
    tn_train(n->inner, false);
    assert_true(tn_is_training(n) && tn_is_training(n->head) && tn_is_training(other->inner));
    assert_false(tn_is_training(tn_child(n, "inner.2")));
    tn_freeze(n->inner, true);
    assert_false(tn_requires_grad(tn_parameter(n, "inner.0.bias")));
    tn_tensor *y = tn_call(n, tn_ones(TN_SHAPE(5, 3)));
    check_shape(y, 5, 2);
    assert_int_equal(tn_backward(tn_sum(y)), TN_OK);
    assert_null(tn_grad(tn_parameter(n, "inner.0.weight")));
    assert_non_null(tn_grad(tn_parameter(n, "head.weight")));
    tn_freeze(n, false);
    assert_true(tn_requires_grad(tn_parameter(n, "inner.0.bias")));
    tn_release(n);
    tn_release(other);
}

static void test_clone(void **state)
{
    (void)state;
    TN_SCOPE;
    net *n = net_new();
    TN_PARAM(n, mean, n->scale); /* one tensor under two names, and a name that had a buffer */
    assert_int_equal(tn_num_parameters(n), 1 + 12 + 4 + 8);
    assert_int_equal(tn_dict_count(tn_state_dict(n)), 5);
    tn_train(n, false);
    net *copy = tn_module_clone(n);
    check_good();
    assert_ptr_equal(copy->scale, copy->mean);
    assert_ptr_not_equal(copy->scale, n->scale);
    assert_ptr_equal(tn_child(copy, "inner"), copy->inner);
    assert_true(copy->factor == 3 && !tn_is_training(copy));
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3));
    assert_true(tn_equal(tn_call(n, x), tn_call(copy, x)));
    tn_init_constant(tn_parameter(n, "head.weight"), 1);
    assert_false(tn_equal(tn_call(n, x), tn_call(copy, x)));

    tn_tensor *weight = tn_parameter(n, "head.weight");
    assert_int_equal(tn_module_to_dtype(n, TN_F64), TN_OK);
    assert_ptr_equal(weight, tn_parameter(n, "head.weight"));
    assert_int_equal(tn_dtype_of(weight), TN_F64);
    check_values(weight, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    assert_int_equal(tn_dtype_of(tn_call(n, tn_ones(TN_SHAPE(2, 3), .dtype = TN_F64))), TN_F64);
    assert_int_equal(tn_module_to_dtype(n, TN_I64), TN_ERR_DTYPE);
    check_error(TN_ERR_DTYPE, "parameters are floating");
    tn_release(n);
}

static void test_state_dict(void **state)
{
    (void)state;
    TN_SCOPE;
    net *a = net_new(), *b = net_new();
    assert_int_equal(tn_load_state_dict(b, tn_state_dict(a)), TN_OK);
    assert_true(tn_equal(tn_parameter(a, "inner.0.weight"), tn_parameter(b, "inner.0.weight")));
    tn_dict *part = tn_adopt(tn_dict_new());
    assert_int_equal(tn_dict_set(part, "scale", tn_full(TN_SHAPE(1), 7)), TN_OK);
    assert_int_equal(tn_dict_set(part, "fc.bias", tn_ones(TN_SHAPE(1))), TN_OK);
    assert_int_equal(tn_load_state_dict(b, part), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "missing: mean, inner.0.weight, inner.0.bias, head.weight; unexpected: fc.bias");
    check_values(b->scale, 0, 2);
    char report[128];
    assert_int_equal(tn_load_state_dict(b, part, .strict = false, .report = report, .report_size = sizeof report), TN_OK);
    assert_string_equal(report, "missing: mean, inner.0.weight, inner.0.bias, head.weight; unexpected: fc.bias");
    check_values(b->scale, 0, 7);
    assert_int_equal(tn_dict_set(part, "mean", tn_ones(TN_SHAPE(3))), TN_OK);
    assert_int_equal(tn_load_state_dict(b, part, .strict = false), TN_ERR_SHAPE);
    check_error(TN_ERR_SHAPE, "\"mean\" is [2] in the module and [3] in the dict");
    tn_release(a);
    tn_release(b);
}

static void hook(tn_module *module, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out, void *context)
{
    (void)module, (void)in, (void)n_in, (void)n_out;
    *(int *)context += 1;
    out[0] = tn_neg(out[0]);
}

static int64_t own_handle;
static void once(tn_module *module, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out, void *context)
{
    (void)in, (void)n_in, (void)out, (void)n_out;
    *(int *)context += 10;
    tn_remove_forward_hook(module, own_handle);
}

static tn_status swap_forward(net *self, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    (void)self;
    for (int i = 0; i < n_out; i++)
        out[i] = in[n_in - 1 - i];
    return TN_OK;
}
typedef net swap;
TN_MODULE_N(swap, swap_forward);
static tn_tensor *nothing_forward(net *self, tn_tensor *x, tn_tensor *y)
{
    (void)self, (void)x, (void)y;
    return NULL;
}
typedef net nothing;
TN_MODULE2(nothing, nothing_forward);

static void test_calls(void **state)
{
    (void)state;
    TN_SCOPE;
    net *n = net_new();
    tn_train(n, false);
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3)), *y = tn_call(n, x), *out[2];
    int calls = 0;
    int64_t handle = tn_add_forward_hook(n->head, hook, &calls);
    assert_true(tn_allclose(tn_call(n, x), tn_neg(y), 0, 0, false));
    tn_remove_forward_hook(n->head, handle);
    assert_true(tn_equal(tn_call(n, x), y) && calls == 1);

    own_handle = tn_add_forward_hook(n, once, &calls); /* takes itself out; the next one has its turn all the same */
    handle = tn_add_forward_hook(n, hook, &calls);
    assert_true(tn_allclose(tn_call(n, x), tn_neg(y), 0, 0, false) && calls == 12);
    assert_true(tn_allclose(tn_call(n, x), tn_neg(y), 0, 0, false) && calls == 13);
    tn_remove_forward_hook(n, handle);

    swap *s = TN_NEW(swap);
    assert_int_equal(tn_call_n(s, (tn_tensor *[]){x, y}, 2, out, 2), TN_OK);
    assert_true(out[0] == y && out[1] == x);
    nothing *none = TN_NEW(nothing);
    assert_null(tn_call(none, x, y));
    check_error(TN_ERR_STATE, "nothing: forward left output 0 NULL");
    assert_null(tn_call(n, x, y));
    check_error(TN_ERR_ARGUMENT, "net: forward takes 1 input, and 2 were given");
    assert_null(tn_call(x, x));
    check_error(TN_ERR_ARGUMENT, "the pointer is no module");
    assert_null(tn_call(NULL, x));
    check_error(TN_ERR_ARGUMENT, "the module is NULL");
    assert_null(tn_call(n, tn_ones(TN_SHAPE(2, 5))));
    check_error(TN_ERR_SHAPE, "linear: x is [2, 5]");
    tn_release(n);
    tn_release(s);
    tn_release(none);
}

static void test_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    net *n = net_new();
    TN_CHILD(n, head, tn_linear_new(-1, 2)); /* making the child failed: that error stays */
    check_error(TN_ERR_ARGUMENT, "linear: in_features is -1 and out_features 2");
    TN_CHILD(n, head, tn_retain(n));
    check_error(TN_ERR_ARGUMENT, "could never be freed");
    tn_add_child(n, "a.b", tn_relu_new());
    check_error(TN_ERR_ARGUMENT, "is no name");
    net *none = NULL;
    TN_CHILD(none, head, tn_relu_new());
    check_error(TN_ERR_ARGUMENT, "the module is NULL");
    TN_PARAM(n, scale, tn_ones(TN_SHAPE(1), .dtype = TN_I64));
    check_error(TN_ERR_DTYPE, "");
    TN_PARAM(n, scale, tn_mul(n->scale, 2));
    check_error(TN_ERR_STATE, "tn_detach() it first");
    assert_null(tn_sequential_new(tn_relu_new(), NULL, tn_relu_new()));
    check_error(TN_ERR_ARGUMENT, "sequential: child 1 is NULL");
    assert_null(tn_dropout_new(1.5));
    check_error(TN_ERR_ARGUMENT, "dropout: p is 1.5");
    tn_release(n);
}

/* Bounds and moments of the initialisers, and what dropout keeps. */
static void test_laws(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(3);
    tn_module *layer = tn_linear_new(100, 400);
    double bound = tn_item(tn_max(tn_abs(tn_parameter(layer, "weight"))));
    assert_true(bound <= 0.1 && bound > 0.0999);
    assert_true(tn_item(tn_max(tn_abs(tn_parameter(layer, "bias")))) <= 0.1);
    tn_tensor *w = tn_empty(TN_SHAPE(200, 50, 2));
    assert_true(fabs(tn_item(tn_std(tn_init_kaiming_normal(w, .nonlinearity = TN_NONLINEARITY_RELU))) / sqrt(2. / 100) - 1) < 0.02);
    assert_true(fabs(tn_item(tn_std(tn_init_kaiming_uniform(w, .mode = TN_FAN_OUT))) / sqrt(2. / 400) - 1) < 0.02);
    assert_true(fabs(tn_item(tn_std(tn_init_xavier_uniform(w, .gain = 2))) / (2 * sqrt(2. / 500)) - 1) < 0.02);
    assert_null(tn_init_xavier_normal(tn_empty(TN_SHAPE(3))));
    check_error(TN_ERR_SHAPE, "x is [3]");
    tn_tensor *x = tn_ones(TN_SHAPE(10000)), *y = tn_dropout(x, 0.25, true);
    assert_true(fabs(tn_item(tn_mean(y)) - 1) < 0.02);
    assert_true(fabs(tn_item(tn_max(y)) - 4. / 3) < 1e-6);
    assert_ptr_equal(tn_dropout(x, 0.25, false), x);
    assert_true(tn_item(tn_sum(tn_dropout(x, 1, true))) == 0);
    tn_release(layer);
}

static void test_summary(void **state)
{
    (void)state;
    TN_SCOPE;
    net *n = net_new();
    char text[2048];
    size_t length = tn_format_summary(n, tn_ones(TN_SHAPE(6, 3)), text, sizeof text);
    check_good();
    assert_int_equal(length, strlen(text));
    assert_non_null(strstr(text, "    0 linear(3, 4)"));
    assert_non_null(strstr(text, "  head linear(4, 2, bias=False)"));
    assert_non_null(strstr(text, "[6, 2]"));
    assert_non_null(strstr(text, "Total: 25 parameters, 25 of them trainable"));
    assert_true(tn_is_training(tn_child(n, "inner.2")));
    tn_release(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_names), TEST(test_modes), TEST(test_clone), TEST(test_state_dict),
        TEST(test_calls), TEST(test_errors), TEST(test_laws), TEST(test_summary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
