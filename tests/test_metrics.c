/* Metrics against their definitions, which tests/reference/make_metrics.py computes item by item. */
#include "op_table.h"

#include <tenon/metrics.h>

#include "reference/metrics.h"

static tn_tensor *target(void) { return tn_from_ints(target_of, TN_SHAPE(N)); }
static tn_tensor *found(void) { return tn_from_ints(found_of, TN_SHAPE(N)); }
static void due(tn_tensor *x, double tolerance, const double *values, int64_t count) { check_values_(x, tolerance, values, count, __FILE__, __LINE__); }

static void test_confusion(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *m = tn_confusion_matrix(found(), target(), CLASSES);
    assert_int_equal(tn_dtype_of(m), TN_I64);
    due(tn_flatten(m, 0, -1), 0, confusion_due, CLASSES * CLASSES);
    assert_true(fabs(tn_accuracy(found(), target()) - accuracy_due[0]) < 1e-15);
    /* Scores whose greatest is the class, of one row, of rows, and with dims behind the classes. */
    tn_tensor *scores = tn_mul(tn_one_hot(found(), CLASSES), 0.5), *deep = tn_transpose(tn_reshape(scores, TN_SHAPE(10, 6, CLASSES)), 1, 2);
    assert_true(tn_equal(tn_confusion_matrix(scores, target(), CLASSES), m));
    assert_true(tn_equal(tn_confusion_matrix(deep, tn_reshape(target(), TN_SHAPE(10, 6)), CLASSES), m));
    assert_true(fabs(tn_accuracy(deep, tn_reshape(target(), TN_SHAPE(10, 6))) - accuracy_due[0]) < 1e-15);
    assert_true(tn_accuracy(tn_select(scores, 0, 0), tn_select(found(), 0, 0)) == 1);
    /* Another dtype, another value to ignore, no items at all. */
    tn_tensor *bytes = tn_from_ints(((int64_t[]){0, 1, 255}), TN_SHAPE(3), .dtype = TN_U8);
    check_values(tn_flatten(tn_confusion_matrix(tn_zeros(TN_SHAPE(3), .dtype = TN_I32), bytes, 2, .ignore_index = 255), 0, -1), 0, 1, 0, 1, 0);
    assert_true(tn_accuracy(bytes, bytes, .ignore_index = 255) == 1);
    check_values(tn_flatten(tn_confusion_matrix(tn_zeros(TN_SHAPE(0, 2)), tn_zeros(TN_SHAPE(0), .dtype = TN_I64), 2), 0, -1), 0, 0, 0, 0, 0);
    assert_true(isnan(tn_accuracy(tn_zeros(TN_SHAPE(0, 2)), tn_zeros(TN_SHAPE(0), .dtype = TN_I64))));
    check_good();
}

static void test_averages(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *m = tn_confusion_matrix(found(), target(), CLASSES), *halves[] = {NULL, NULL}, *none = tn_zeros(TN_SHAPE(2, 2));
    tn_tensor *(*const functions[])(tn_tensor *, tn_average) = {tn_precision, tn_recall, tn_f1};
    const double *const classes[] = {precision_due, recall_due, f1_due};
    for (int k = 0; k < 3; k++) {
        due(functions[k](m, TN_PER_CLASS), 1e-15, classes[k], CLASSES);
        check_values(functions[k](m, TN_MACRO), 1e-15, macro_due[k]);
        check_values(functions[k](m, TN_MICRO), 1e-15, accuracy_due[0]);
        check_values(functions[k](none, TN_MACRO), 0, 0);
        check_values(functions[k](none, TN_MICRO), 0, 0);
    }
    /* A class of no target and no prediction does not count. */
    check_values(tn_f1(tn_confusion_matrix(found(), target(), CLASSES + 3), TN_MACRO), 1e-15, macro_due[2]);
    assert_true(fabs(tn_matthews_corrcoef(m) - matthews_due[0]) < 1e-14);
    tn_tensor *zero = tn_cast(tn_eq(found(), 0), TN_I64), *due_zero = tn_where(tn_lt(target(), 0), target(), tn_cast(tn_eq(target(), 0), TN_I64));
    assert_true(fabs(tn_matthews_corrcoef(tn_confusion_matrix(zero, due_zero, 2)) - matthews_due[1]) < 1e-14);
    assert_true(tn_matthews_corrcoef(tn_eye(3)) == 1 && tn_matthews_corrcoef(none) == 0);
    assert_true(tn_matthews_corrcoef(tn_from_ints(((int64_t[]){5, 0, 3, 0}), TN_SHAPE(2, 2))) == 0);
    /* Batches add up. */
    for (int k = 0; k < 2; k++)
        halves[k] = tn_confusion_matrix(tn_narrow(found(), 0, 25 * k, k ? N - 25 : 25), tn_narrow(target(), 0, 25 * k, k ? N - 25 : 25), CLASSES);
    assert_true(tn_equal(tn_add(halves[0], halves[1]), m));
}

static void test_perplexity(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_from_doubles(logits_of, TN_SHAPE(WORDS, CLASSES)), *words = tn_from_ints(words_of, TN_SHAPE(WORDS));
    assert_true(fabs(tn_perplexity(x, words) - perplexity_due[0]) < 1e-13);
    tn_tensor *deep = tn_transpose(tn_reshape(x, TN_SHAPE(2, 3, CLASSES)), 1, 2);
    assert_true(fabs(tn_perplexity(deep, tn_reshape(words, TN_SHAPE(2, 3))) - perplexity_due[0]) < 1e-13);
    assert_true(fabs(tn_perplexity(tn_zeros(TN_SHAPE(4, 1000), .dtype = TN_F16), tn_zeros(TN_SHAPE(4), .dtype = TN_I64)) - 1000) < 1e-2);
}

static void test_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_zeros(TN_SHAPE(3, 4)), *t = tn_from_ints(((int64_t[]){0, 5, 1}), TN_SHAPE(3)), *classes = tn_zeros(TN_SHAPE(3), .dtype = TN_I64);
    check_fails(tn_confusion_matrix(x, t, 4), TN_ERR_INDEX, "confusion_matrix target class 5 0 to 3 test_metrics.c");
    check_fails(tn_confusion_matrix(t, classes, 4), TN_ERR_INDEX, "confusion_matrix x class 5 0 to 3");
    check_fails(tn_confusion_matrix(tn_sub(classes, 1), classes, 4), TN_ERR_INDEX, "x has class -1");
    check_fails(tn_confusion_matrix(x, classes, 0), TN_ERR_ARGUMENT, "confusion_matrix 0 classes");
    check_fails(tn_confusion_matrix(x, classes, INT64_MAX / 2), TN_ERR_SHAPE, "more elements");
    check_fails(tn_confusion_matrix(x, x, 4), TN_ERR_DTYPE, "target float32");
    check_fails(tn_confusion_matrix(x, tn_zeros(TN_SHAPE(4), .dtype = TN_I64), 4), TN_ERR_SHAPE, "x float32 [3, 4] target [4] must be [3]");
    check_fails(tn_accuracy(tn_zeros(TN_SHAPE(3, 0)), classes) == 0, TN_ERR_SHAPE, "accuracy x [3, 0]");
    check_fails(tn_accuracy(tn_zeros(TN_SCALAR), classes) == 0, TN_ERR_SHAPE, "accuracy x []");
    check_fails(tn_accuracy(NULL, classes) == 0, TN_ERR_ARGUMENT, "accuracy x NULL");
    check_fails(tn_perplexity(x, t) == 0, TN_ERR_INDEX, "perplexity: cross_entropy: number 1 is 5");
    check_fails(tn_f1(x, TN_MACRO), TN_ERR_SHAPE, "f1 [3, 4] [classes, classes]");
    check_fails(tn_precision(tn_eye(2), (tn_average)7), TN_ERR_ARGUMENT, "precision average 7");
    check_fails(tn_recall(NULL, TN_MACRO), TN_ERR_ARGUMENT, "recall confusion NULL");
    check_fails(tn_matthews_corrcoef(classes) == 0, TN_ERR_SHAPE, "matthews_corrcoef [3]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_confusion), TEST(test_averages), TEST(test_perplexity), TEST(test_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
