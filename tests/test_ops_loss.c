#include "op_table.h"

static tn_loss_reduction reduction_of(const op_args *args)
{
    const char *name = op_text(args, "reduction", "mean");
    return !strcmp(name, "none") ? TN_NONE : !strcmp(name, "sum") ? TN_SUM : TN_MEAN;
}

#define CLASSES .ignore_index = op_int(args, "ignore_index", -100), .reduction = reduction_of(args)
#define SMOOTHING .label_smoothing = op_number(args, "label_smoothing", 0)
#define LOSS(X)                                                                                                               \
    X(cross_entropy, tn_cross_entropy(in[0], in[1], CLASSES, SMOOTHING))                                                      \
    X(cross_entropy_weighted, tn_cross_entropy(in[0], in[1], CLASSES, SMOOTHING, .weight = in[2]))                            \
    X(nll_loss, tn_nll_loss(in[0], in[1], CLASSES))                                                                           \
    X(nll_loss_weighted, tn_nll_loss(in[0], in[1], CLASSES, .weight = in[2]))                                                 \
    X(mse_loss, tn_mse_loss(in[0], in[1], .reduction = reduction_of(args)))
OP_TABLE(rows, LOSS);

static void test_wrong_inputs(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_zeros(TN_SHAPE(3, 4)), *t = tn_from_ints(((int64_t[]){0, 7, 1}), TN_SHAPE(3)), *i = tn_zeros(TN_SHAPE(3), .dtype = TN_I64);
    check_fails(tn_cross_entropy(x, t), TN_ERR_INDEX, "cross_entropy number 1 is 7 4 classes test_ops_loss.c");
    check_fails(tn_nll_loss(x, t), TN_ERR_INDEX, "nll_loss number 1 is 7 4 classes");
    check_fails(tn_cross_entropy(x, tn_sub(i, 1)), TN_ERR_INDEX, "number 0 is -1");
    check_fails(tn_cross_entropy(x, tn_zeros(TN_SHAPE(2), .dtype = TN_I64)), TN_ERR_SHAPE, "[3, 4] [2] must be [3]");
    check_fails(tn_cross_entropy(x, tn_zeros(TN_SHAPE(3))), TN_ERR_DTYPE, "float32 integers");
    check_fails(tn_cross_entropy(x, tn_zeros(TN_SHAPE(3, 4), .dtype = TN_F64)), TN_ERR_DTYPE, "float32 float64");
    check_fails(tn_cross_entropy(i, i), TN_ERR_DTYPE, "logits int64");
    check_fails(tn_cross_entropy(tn_zeros(TN_SCALAR), tn_zeros(TN_SCALAR, .dtype = TN_I64)), TN_ERR_SHAPE, "[classes]");
    check_fails(tn_cross_entropy(x, i, .weight = tn_ones(TN_SHAPE(3))), TN_ERR_SHAPE, "weight [3] [4]");
    check_fails(tn_cross_entropy(x, x, .weight = tn_ones(TN_SHAPE(1))), TN_ERR_SHAPE, "weight [1] [4]");
    check_fails(tn_cross_entropy(x, x, .weight = tn_ones(TN_SHAPE(3, 4))), TN_ERR_SHAPE, "weight [3, 4] [4]");
    check_fails(tn_cross_entropy(x, x, .weight = tn_ones(TN_SHAPE(4), .dtype = TN_F64)), TN_ERR_SHAPE, "float64 float32");
    check_fails(tn_cross_entropy(tn_zeros(TN_SHAPE(3, 0)), tn_zeros(TN_SHAPE(3, 0))), TN_ERR_SHAPE, "[3, 0] [n, classes]");
    check_fails(tn_cross_entropy(tn_zeros(TN_SCALAR), tn_zeros(TN_SCALAR)), TN_ERR_SHAPE, "[classes]");
    check_fails(tn_cross_entropy(x, i, .label_smoothing = 1.5), TN_ERR_ARGUMENT, "label_smoothing 1.5");
    check_fails(tn_cross_entropy(x, i, .reduction = (tn_loss_reduction)7), TN_ERR_ARGUMENT, "reduction 7");
    check_fails(tn_cross_entropy(x, NULL), TN_ERR_ARGUMENT, "target NULL");
    check_fails(tn_mse_loss(x, tn_zeros(TN_SHAPE(4))), TN_ERR_SHAPE, "mse_loss [3, 4] [4]");
    check_fails(tn_mse_loss(i, i), TN_ERR_DTYPE, "mse_loss int64");
}

/* An ignored row of -inf neither changes the loss nor spoils a gradient. */
static void test_ignored_row(void **state)
{
    (void)state;
    TN_SCOPE;
    const double inf = (double)INFINITY;
    tn_tensor *x = tn_from_doubles(((double[]){-inf, -inf, 0, 0}), TN_SHAPE(2, 2), .requires_grad = true);
    tn_tensor *loss = tn_cross_entropy(x, tn_from_ints(((int64_t[]){-100, 0}), TN_SHAPE(2)));
    check_values(loss, 1e-15, log(2));
    check_values(tn_grad_of(loss, x), 1e-15, 0, 0, -0.5, 0.5);
}

/* Where all are ignored the mean is NaN, and the gradient is 0: a step changes nothing. */
static void test_all_ignored(void **state)
{
    (void)state;
    TN_SCOPE;
    const double inf = (double)INFINITY;
    tn_tensor *x = tn_from_doubles(((double[]){-inf, -inf, 1, 2}), TN_SHAPE(2, 2), .requires_grad = true);
    tn_tensor *t = tn_from_ints(((int64_t[]){-100, -100}), TN_SHAPE(2));
    tn_tensor *losses[] = {tn_cross_entropy(x, t), tn_nll_loss(x, t)};
    for (int k = 0; k < 2; k++) {
        check_values(losses[k], 0, NAN);
        check_values(tn_grad_of(losses[k], x, .create_graph = true), 0, 0, 0, 0, 0);
        check_values(tn_grad_of(losses[k], x), 0, 0, 0, 0, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {OP_TABLE_TESTS, TEST(test_wrong_inputs), TEST(test_ignored_row), TEST(test_all_ignored)};
    return op_table_load("loss", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
