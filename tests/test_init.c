/* Initialisers that test_layers.c has not: the truncated normal law, orthogonal matrices.
 * labels: quick */
#include "cases.h"

#include <stdlib.h>

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double upper_tail(double x) { return erfc(x / sqrt(2)) / 2; }

/* Kolmogorov's distance to the law must be below what chance gives once in a thousand. */
static void follows_truncated(tn_tensor *x, double mean, double std, double a, double b)
{
    check_good();
    int64_t n = tn_numel(x);
    double *values = test_malloc((size_t)n * sizeof *values), most = 0, from = (a - mean) / std, to = (b - mean) / std;
    assert_int_equal(tn_to_doubles(tn_detach(x), values, n), TN_OK);
    qsort(values, (size_t)n, sizeof *values, by_size);
    assert_true(values[0] >= a && values[n - 1] <= b);
    for (int64_t i = 0; i < n; i++) {
        double z = (values[i] - mean) / std; /* from the side where the tail's digits are */
        double due = from > 0 ? 1 - (upper_tail(z) - upper_tail(to)) / (upper_tail(from) - upper_tail(to))
                              : (upper_tail(-z) - upper_tail(-from)) / (upper_tail(-to) - upper_tail(-from));
        most = fmax(most, fmax(fabs(due - (double)i / (double)n), fabs(due - (double)(i + 1) / (double)n)));
    }
    test_free(values);
    if (!(most < 1.95 / sqrt((double)n)))
        fail_msg("mean %g, std %g, %g to %g: the distance from the law is %g", mean, std, a, b, most);
}

static void test_truncated_normal(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(18);
    tn_tensor *w = tn_empty(TN_SHAPE(40, 500), .dtype = TN_F64, .requires_grad = true);
    follows_truncated(tn_init_trunc_normal(w), 0, 1, -2, 2);
    follows_truncated(tn_init_trunc_normal(w, .std = 0.02), 0, 0.02, -2, 2);
    follows_truncated(tn_init_trunc_normal(w, .mean = 3, .std = 5, .a = -1, .b = 2.5), 3, 5, -1, 2.5);
    follows_truncated(tn_init_trunc_normal(w, .a = 9, .b = 9.5), 0, 1, 9, 9.5);
    follows_truncated(tn_init_trunc_normal(w, .a = -9.5, .b = -9), 0, 1, -9.5, -9);
    follows_truncated(tn_init_trunc_normal(w, .mean = 1, .a = -(double)INFINITY, .b = 1), 1, 1, -(double)INFINITY, 1);
    follows_truncated(tn_init_trunc_normal(w, .a = 8, .b = (double)INFINITY), 0, 1, 8, (double)INFINITY);
    tn_tensor *once = tn_init_trunc_normal(tn_empty(TN_SHAPE(300))), *half = tn_empty(TN_SHAPE(300), .dtype = TN_F16);
    assert_true(tn_item(tn_max(tn_abs(once))) <= 2);
    tn_manual_seed(3);
    tn_tensor *first = tn_clone(tn_init_trunc_normal(half));
    tn_manual_seed(3);
    assert_true(tn_equal(first, tn_init_trunc_normal(half)));
    assert_int_equal(tn_numel(tn_init_trunc_normal(tn_empty(TN_SHAPE(0, 3)))), 0);
    assert_null(tn_init_trunc_normal(w, .std = 0));
    check_error(TN_ERR_ARGUMENT, "std 0: both must be finite");
    assert_null(tn_init_trunc_normal(w, .a = 2));
    check_error(TN_ERR_ARGUMENT, "a must be below b");
    assert_null(tn_init_trunc_normal(tn_zeros(TN_SHAPE(3), .dtype = TN_I32)));
    check_error(TN_ERR_DTYPE, "init_trunc_normal: x is int32");
}

/* The products of rows (of columns, where they are fewer) are gain^2 and 0. */
static void check_orthogonal(tn_tensor *x, double gain, double tolerance)
{
    check_good();
    int64_t rows = tn_size(x, 0);
    x = tn_reshape(tn_cast(tn_detach(x), TN_F64), TN_SHAPE(rows, -1));
    if (tn_size(x, 1) < rows)
        x = tn_transpose(x, 0, 1);
    tn_tensor *error = tn_sub(tn_matmul(x, tn_transpose(x, 0, 1)), tn_mul(tn_eye(tn_size(x, 0), .dtype = TN_F64), gain * gain));
    assert_true(tn_item(tn_max(tn_abs(error))) < tolerance);
}

static void test_orthogonal(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(19);
    check_orthogonal(tn_init_orthogonal(tn_empty(TN_SHAPE(70, 70), .dtype = TN_F64)), 1, 1e-14);
    check_orthogonal(tn_init_orthogonal(tn_empty(TN_SHAPE(33, 120), .dtype = TN_F64), .gain = 3), 3, 1e-13);
    check_orthogonal(tn_init_orthogonal(tn_empty(TN_SHAPE(120, 33), .dtype = TN_F64), .gain = -0.5), 0.5, 1e-14);
    check_orthogonal(tn_init_orthogonal(tn_empty(TN_SHAPE(8, 3, 3, 5), .requires_grad = true)), 1, 1e-6);
    check_orthogonal(tn_init_orthogonal(tn_transpose(tn_empty(TN_SHAPE(9, 20)), 0, 1)), 1, 1e-6);
    check_orthogonal(tn_init_orthogonal(tn_empty(TN_SHAPE(1, 1), .dtype = TN_F64)), 1, 1e-15);
    assert_int_equal(tn_numel(tn_init_orthogonal(tn_empty(TN_SHAPE(0, 3)))), 0);
    assert_null(tn_init_orthogonal(tn_empty(TN_SHAPE(3))));
    check_error(TN_ERR_SHAPE, "init_orthogonal: x is [3]");
    assert_null(tn_init_orthogonal(tn_zeros(TN_SHAPE(3, 3), .dtype = TN_I64)));
    check_error(TN_ERR_DTYPE, "init_orthogonal: x is int64");
    /* Uniform on the group: the trace has mean 0 and variance 1, and every element variance 1/3. */
    enum { DRAWS = 3000 };
    double trace = 0, square = 0, corner = 0;
    for (int i = 0; i < DRAWS; i++) {
        TN_SCOPE;
        tn_tensor *q = tn_init_orthogonal(tn_empty(TN_SHAPE(3, 3), .dtype = TN_F64));
        double t = tn_at(q, TN_SHAPE(0, 0)) + tn_at(q, TN_SHAPE(1, 1)) + tn_at(q, TN_SHAPE(2, 2));
        trace += t / DRAWS, square += t * t / DRAWS, corner += tn_at(q, TN_SHAPE(2, 2)) * tn_at(q, TN_SHAPE(2, 2)) / DRAWS;
    }
    assert_true(fabs(trace) < 5 / sqrt(DRAWS) && fabs(square - 1) < 0.15 && fabs(corner - 1. / 3) < 0.03);
}

int main(void)
{
    case_use_device();
    const struct CMUnitTest tests[] = {TEST(test_truncated_normal), TEST(test_orthogonal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
