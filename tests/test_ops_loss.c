#include "op_table.h"

static tn_loss_reduction reduction_of(const op_args *args)
{
    const char *name = op_text(args, "reduction", "mean");
    return !strcmp(name, "none") ? TN_NONE : !strcmp(name, "sum") ? TN_SUM : !strcmp(name, "mean") ? TN_MEAN : TN_BATCHMEAN;
}

#define REDUCTION .reduction = reduction_of(args)
#define CLASSES .ignore_index = op_int(args, "ignore_index", -100), REDUCTION
#define SMOOTHING .label_smoothing = op_number(args, "label_smoothing", 0)
#define LOSS(X)                                                                                                               \
    X(cross_entropy, tn_cross_entropy(in[0], in[1], CLASSES, SMOOTHING))                                                      \
    X(cross_entropy_weighted, tn_cross_entropy(in[0], in[1], CLASSES, SMOOTHING, .weight = in[2]))                            \
    X(nll_loss, tn_nll_loss(in[0], in[1], CLASSES))                                                                           \
    X(nll_loss_weighted, tn_nll_loss(in[0], in[1], CLASSES, .weight = in[2]))                                                 \
    X(mse_loss, tn_mse_loss(in[0], in[1], REDUCTION))                                                                         \
    X(l1_loss, tn_l1_loss(in[0], in[1], REDUCTION))                                                                           \
    X(smooth_l1_loss, tn_smooth_l1_loss(in[0], in[1], .beta = op_number(args, "beta", 1), REDUCTION))                         \
    X(huber_loss, tn_huber_loss(in[0], in[1], .delta = op_number(args, "delta", 1), REDUCTION))                               \
    X(binary_cross_entropy, tn_binary_cross_entropy(in[0], in[1], REDUCTION))                                                 \
    X(binary_cross_entropy_constant, tn_binary_cross_entropy(in[0], in[1], REDUCTION))                                        \
    X(binary_cross_entropy_weighted, tn_binary_cross_entropy(in[0], in[1], REDUCTION, .weight = in[2]))                       \
    X(binary_cross_entropy_with_logits, tn_binary_cross_entropy_with_logits(in[0], in[1], REDUCTION))                         \
    X(binary_cross_entropy_with_logits_weighted,                                                                              \
      tn_binary_cross_entropy_with_logits(in[0], in[1], REDUCTION, .weight = in[2]))                                          \
    X(binary_cross_entropy_with_logits_pos,                                                                                   \
      tn_binary_cross_entropy_with_logits(in[0], in[1], REDUCTION, .pos_weight = in[2]))                                      \
    X(binary_cross_entropy_with_logits_both,                                                                                  \
      tn_binary_cross_entropy_with_logits(in[0], in[1], REDUCTION, .weight = in[2], .pos_weight = in[3]))                     \
    X(kl_div, tn_kl_div(in[0], in[1], .log_target = op_flag(args, "log_target"), REDUCTION))                                  \
    X(kl_div_constant, tn_kl_div(in[0], in[1], REDUCTION))                                                                    \
    X(cosine_similarity,                                                                                                      \
      tn_cosine_similarity(in[0], in[1], .dim = (int)op_int(args, "dim", 1), .eps = op_number(args, "eps", 1e-8)))            \
    X(cosine_embedding_loss, tn_cosine_embedding_loss(in[0], in[1], in[2], .margin = op_number(args, "margin", 0), REDUCTION)) \
    X(ctc_loss, tn_ctc_loss(tn_log_softmax(in[0], -1), in[1], in[2], in[3], .blank = op_int(args, "blank", 0), REDUCTION,     \
                            .zero_infinity = op_flag(args, "zero_infinity")))
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

static void test_wrong_pairs(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_full(TN_SHAPE(3, 4), 0.5), *i = tn_zeros(TN_SHAPE(3, 4), .dtype = TN_I64), *row = tn_zeros(TN_SHAPE(4));
    tn_tensor *three = tn_ones(TN_SHAPE(3)), *deep = tn_ones(TN_SHAPE(2, 3, 4));
#define WRONG_PAIR(name)                                                                                                      \
    check_fails(tn_##name(x, row), TN_ERR_SHAPE, #name " [3, 4] [4] one shape test_ops_loss.c");                              \
    check_fails(tn_##name(i, x), TN_ERR_DTYPE, #name " int64");                                                               \
    check_fails(tn_##name(x, NULL), TN_ERR_ARGUMENT, #name " target NULL");                                                   \
    check_fails(tn_##name(x, x, .reduction = (tn_loss_reduction)9), TN_ERR_ARGUMENT, #name " reduction 9")
    WRONG_PAIR(mse_loss);
    WRONG_PAIR(l1_loss);
    WRONG_PAIR(smooth_l1_loss);
    WRONG_PAIR(huber_loss);
    WRONG_PAIR(binary_cross_entropy);
    WRONG_PAIR(binary_cross_entropy_with_logits);
    WRONG_PAIR(kl_div);
    check_fails(tn_mse_loss(x, x, .reduction = TN_BATCHMEAN), TN_ERR_ARGUMENT, "mse_loss reduction 3");
    check_fails(tn_kl_div(tn_zeros(TN_SCALAR), tn_zeros(TN_SCALAR), .reduction = TN_BATCHMEAN), TN_ERR_SHAPE, "kl_div [] dim 0");
    check_fails(tn_smooth_l1_loss(x, x, .beta = -1), TN_ERR_ARGUMENT, "smooth_l1_loss .beta -1");
    check_fails(tn_smooth_l1_loss(x, x, .beta = NAN), TN_ERR_ARGUMENT, "smooth_l1_loss .beta nan");
    check_fails(tn_huber_loss(x, x, .delta = 0), TN_ERR_ARGUMENT, "huber_loss .delta 0 above 0");
    check_fails(tn_binary_cross_entropy(tn_full(TN_SHAPE(2), 1.5), tn_ones(TN_SHAPE(2))), TN_ERR_ARGUMENT, "probability tn_sigmoid");
    check_fails(tn_binary_cross_entropy(tn_full(TN_SHAPE(2), NAN), tn_ones(TN_SHAPE(2))), TN_ERR_ARGUMENT, "no probability");
    check_fails(tn_binary_cross_entropy(x, x, .weight = three), TN_ERR_SHAPE, "weight [3, 4] [3]");
    check_fails(tn_binary_cross_entropy(x, x, .weight = deep), TN_ERR_SHAPE, "weight [2, 3, 4] x [3, 4]");
    check_fails(tn_binary_cross_entropy_with_logits(x, x, .weight = three), TN_ERR_SHAPE, "weight [3, 4] [3]");
    check_fails(tn_binary_cross_entropy_with_logits(x, x, .pos_weight = deep), TN_ERR_SHAPE, "pos_weight [2, 3, 4]");
    check_fails(tn_cosine_similarity(x, three), TN_ERR_SHAPE, "cosine_similarity [3, 4] [3]");
    check_fails(tn_cosine_similarity(x, i), TN_ERR_DTYPE, "cosine_similarity int64");
    check_fails(tn_cosine_similarity(x, x, .dim = 2), TN_ERR_INDEX, "cosine_similarity 2");
    check_fails(tn_cosine_similarity(x, x, .eps = -1), TN_ERR_ARGUMENT, "cosine_similarity .eps -1");
    check_fails(tn_cosine_embedding_loss(x, x, row), TN_ERR_SHAPE, "cosine_embedding_loss [3, 4] [4] [n, d]");
    check_fails(tn_cosine_embedding_loss(x, row, three), TN_ERR_SHAPE, "x1 [3, 4] x2 [4]");
    check_fails(tn_cosine_embedding_loss(deep, deep, x), TN_ERR_SHAPE, "[2, 3, 4]");
    check_fails(tn_cosine_embedding_loss(i, i, three), TN_ERR_DTYPE, "int64");
    check_fails(tn_cosine_embedding_loss(x, x, three, .reduction = TN_BATCHMEAN), TN_ERR_ARGUMENT, "reduction 3");
}

/* Both ends keep all their digits: PyTorch's formula, a difference, keeps those of one. */
static void test_confident_logits(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_from_doubles(((double[]){30, -30, 100, -100}), TN_SHAPE(4), .requires_grad = true);
    tn_tensor *t = tn_from_doubles(((double[]){1, 0, 1, 0}), TN_SHAPE(4));
    tn_tensor *due = tn_from_doubles(((double[]){exp(-30), exp(-30), exp(-100), exp(-100)}), TN_SHAPE(4));
    tn_tensor *slope = tn_mul(due, tn_from_doubles(((double[]){-1, 1, -1, 1}), TN_SHAPE(4)));
    tn_tensor *loss = tn_binary_cross_entropy_with_logits(x, t, .reduction = TN_NONE);
    check_values(tn_div(loss, due), 1e-12, 1, 1, 1, 1);
    check_values(tn_div(tn_grad_of(tn_sum(loss), x), slope), 1e-12, 1, 1, 1, 1);
}

/* backward() of the loss itself makes no ones: that they are as if there, also for who asks for the loss's own gradient. */
static void test_loss_that_backward_begins_with(void **state)
{
    (void)state;
    const char *device = getenv("TENON_TEST_DEVICE");
    const tn_device_id there = tn_device(device ? device : "cpu");
    for (int way = 0; way < 3; way++) {
        TN_SCOPE;
        tn_tensor *x = tn_to(tn_reshape(tn_linspace(-1, 2, way == TN_NONE ? 3 : 12), TN_SHAPE(-1, 3)), there);
        tn_tensor *t = tn_to(tn_from_ints(((int64_t[]){2, 0, 1, 0}), TN_SHAPE(way == TN_NONE ? 1 : 4)), there), *slopes[3];
        assert_int_equal(tn_set_requires_grad(x, true), TN_OK);
        for (int i = 0; i < 3; i++) { /* nothing looks; the loss's own gradient is kept; one is given */
            tn_tensor *loss = tn_cross_entropy(x, t, .reduction = (tn_loss_reduction)way), *one = tn_ones_like(loss);
            if (i == 1)
                assert_int_equal(tn_retain_grad(loss), TN_OK);
            assert_int_equal(i == 2 ? tn_backward(loss, .grad = one) : tn_backward(loss), TN_OK);
            if (i == 1)
                check_values(tn_grad(loss), 0, 1);
            slopes[i] = tn_to(tn_clone(tn_grad(x)), tn_device("cpu"));
            assert_int_equal(tn_set_grad(x, NULL), TN_OK);
        }
        assert_true(tn_item(tn_sum(tn_abs(slopes[0]))) > 0.1);
        assert_true(tn_equal(slopes[0], slopes[2]) && tn_equal(slopes[1], slopes[2]));
        check_good();
    }
}

/* ---- CTC -------------------------------------------------------------------------------------------------------------------- */

static tn_tensor *ctc_of(tn_tensor *const *in, int count, void *context)
{
    (void)count;
    tn_tensor *const *labels = context;
    return tn_ctc_loss(in[0], labels[0], labels[1], labels[2], .reduction = TN_SUM);
}

/* The gradient of log_probs as they stand, whatever they sum to; no second one. */
static void test_ctc_gradient(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *labels[] = {tn_from_ints(((int64_t[]){1, 1, 2, 0, 2, 1}), TN_SHAPE(2, 3)), tn_from_ints(((int64_t[]){5, 4}), TN_SHAPE(2)),
                           tn_from_ints(((int64_t[]){3, 0}), TN_SHAPE(2))};
    tn_manual_seed(5);
    tn_tensor *x = tn_randn(TN_SHAPE(5, 2, 3), .dtype = TN_F64, .requires_grad = true);
    assert_int_equal(tn_gradcheck(ctc_of, labels, &x, 1, .eps = 1e-5, .atol = 1e-8, .rtol = 1e-7), TN_OK);
    tn_tensor *slope = tn_grad_of(ctc_of(&x, 1, labels), x, .create_graph = true);
    check_good();
    check_fails(tn_grad_of(tn_sum(tn_square(slope)), x), TN_ERR_GRAD, "ctc_loss no derivative");
}

/* Against a count of all alignments by hand: two steps, one label. */
static void test_ctc_by_hand(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_log(tn_from_doubles(((double[]){0.6, 0.4, 0.3, 0.7}), TN_SHAPE(2, 2)));
    tn_tensor *label = tn_ones(TN_SHAPE(1), .dtype = TN_I32), *two = tn_full(TN_SCALAR, 2, .dtype = TN_I64), *one = tn_ones(TN_SCALAR, .dtype = TN_U8);
    check_values(tn_ctc_loss(x, label, two, one), 1e-15, -log(0.4 * 0.7 + 0.6 * 0.7 + 0.4 * 0.3));
    check_values(tn_ctc_loss(x, tn_zeros(TN_SHAPE(0), .dtype = TN_I64), two, tn_zeros(TN_SCALAR, .dtype = TN_I64)), 1e-15, -log(0.6 * 0.3));
}

/* A target too long for its input beside one that fits and an input of no steps: what PyTorch gives for each. */
static void test_ctc_infinite(void **state)
{
    (void)state;
    TN_SCOPE;
    static const double logits[] = {0.5, -1, 0.25, 1, 0, -0.5, 0, 0.75, 0.5}; /* [3 steps, 3 classes] */
    tn_tensor *one = tn_from_doubles(logits, TN_SHAPE(3, 1, 3)), *x = tn_clone(tn_expand(one, TN_SHAPE(3, 3, 3)));
    tn_tensor *targets = tn_from_ints(((int64_t[]){1, 1, 1, 2, 1, 0}), TN_SHAPE(3, 2));
    tn_tensor *in = tn_from_ints(((int64_t[]){2, 3, 0}), TN_SHAPE(3)), *out = tn_from_ints(((int64_t[]){2, 1, 1}), TN_SHAPE(3));
    assert_int_equal(tn_set_requires_grad(x, true), TN_OK);
    for (int zero = 0; zero < 2; zero++) {
        tn_tensor *loss = tn_ctc_loss(tn_log_softmax(x, 2), targets, in, out, .reduction = TN_NONE, .zero_infinity = zero);
        assert_true(tn_at(loss, TN_SHAPE(0)) == (zero ? 0 : INFINITY) && tn_at(loss, TN_SHAPE(2)) == (zero ? 0 : INFINITY));
        assert_true(isfinite(tn_at(loss, TN_SHAPE(1))) && tn_at(loss, TN_SHAPE(1)) > 0);
        tn_tensor *slope = tn_grad_of(tn_sum(loss), x);
        check_good();
        for (int i = 0; i < 27; i++) {
            int t = i / 9, n = i / 3 % 3;
            double is = tn_at(slope, TN_SHAPE(t, n, i % 3));
            bool good = n == 1 ? isfinite(is) && is != 0 : n == 0 && t < 2 && !zero ? isnan(is) : is == 0;
            if (!good)
                fail_msg("zero_infinity %d: step %d, sequence %d, class %d: %g", zero, t, n, i % 3, is);
        }
    }
}

static void test_ctc_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_zeros(TN_SHAPE(4, 2, 3)), *t = tn_from_ints(((int64_t[]){1, 2, 2, 7}), TN_SHAPE(2, 2)), *row = tn_ones(TN_SHAPE(3), .dtype = TN_I64);
    tn_tensor *in = tn_from_ints(((int64_t[]){4, 3}), TN_SHAPE(2)), *out = tn_from_ints(((int64_t[]){2, 1}), TN_SHAPE(2));
    tn_tensor *two = tn_from_ints(((int64_t[]){2, 2}), TN_SHAPE(2)), *many = tn_from_ints(((int64_t[]){5, 3}), TN_SHAPE(2));
    check_values(tn_ctc_loss(x, t, in, out, .reduction = TN_SUM), 1e-6, -log(15) - log(6));
    check_fails(tn_ctc_loss(x, t, in, two), TN_ERR_INDEX, "ctc_loss label 1 of target 1 is 7 blank, 0 test_ops_loss.c");
    check_fails(tn_ctc_loss(x, t, in, out, .blank = 2), TN_ERR_INDEX, "label 1 of target 0 is 2 blank, 2");
    check_fails(tn_ctc_loss(x, t, in, out, .blank = 3), TN_ERR_ARGUMENT, ".blank 3 [4, 2, 3]");
    check_fails(tn_ctc_loss(x, t, in, out, .blank = -1), TN_ERR_ARGUMENT, ".blank -1");
    check_fails(tn_ctc_loss(x, t, many, out), TN_ERR_ARGUMENT, "number 0 of input_lengths is 5 0 to 4");
    check_fails(tn_ctc_loss(x, t, in, many), TN_ERR_ARGUMENT, "number 0 of target_lengths is 5 0 to 2");
    check_fails(tn_ctc_loss(x, t, in, tn_neg(out)), TN_ERR_ARGUMENT, "target_lengths is -2");
    check_fails(tn_ctc_loss(x, t, in, row), TN_ERR_SHAPE, "target_lengths is [3] [2] each sequence");
    check_fails(tn_ctc_loss(x, t, tn_ones(TN_SHAPE(2)), out), TN_ERR_DTYPE, "input_lengths float32 integers");
    check_fails(tn_ctc_loss(x, tn_ones(TN_SHAPE(2, 2)), in, out), TN_ERR_DTYPE, "targets float32 integers");
    check_fails(tn_ctc_loss(x, tn_ones(TN_SHAPE(3, 2), .dtype = TN_I64), in, out), TN_ERR_SHAPE, "targets [3, 2] [2, longest]");
    check_fails(tn_ctc_loss(x, tn_ones(TN_SCALAR, .dtype = TN_I64), in, out), TN_ERR_SHAPE, "targets [] [2, longest]");
    check_fails(tn_ctc_loss(x, row, in, two), TN_ERR_SHAPE, "targets [3] more");
    check_fails(tn_ctc_loss(x, row, in, tn_from_ints(((int64_t[]){1, 1}), TN_SHAPE(2))), TN_ERR_SHAPE, "targets [3] add up to 2");
    check_fails(tn_ctc_loss(tn_cast(x, TN_BF16), t, in, out), TN_ERR_DTYPE, "log_probs bfloat16 float32");
    check_fails(tn_ctc_loss(tn_zeros(TN_SHAPE(3)), t, in, out), TN_ERR_SHAPE, "log_probs [3] [time, n, classes]");
    check_fails(tn_ctc_loss(x, t, in, out, .reduction = TN_BATCHMEAN), TN_ERR_ARGUMENT, "ctc_loss reduction 3");
    check_fails(tn_ctc_loss(x, t, NULL, out), TN_ERR_ARGUMENT, "input_lengths NULL");
}

/* ---- of classes ------------------------------------------------------------------------------------------------------------- */

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
    const struct CMUnitTest tests[] = {OP_TABLE_TESTS, TEST(test_wrong_inputs), TEST(test_wrong_pairs), TEST(test_confident_logits),
                                       TEST(test_loss_that_backward_begins_with),
                                       TEST(test_ctc_gradient), TEST(test_ctc_by_hand), TEST(test_ctc_infinite), TEST(test_ctc_errors), TEST(test_ignored_row), TEST(test_all_ignored)};
    return op_table_load("loss", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
