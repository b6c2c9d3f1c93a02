/* Errors name the caller's file and line; options, numbers as operands, and functions as values. */
#include "check.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
/* "test_sites.c:12" of the line on which it stands. */
#define HERE "test_sites.c:" TEXT(__LINE__) ")"

static void test_a_pointer(void **state)
{
    (void)state;
    tn_tensor *a = tn_zeros(TN_SHAPE(2, 3)), *b = tn_zeros(TN_SHAPE(4, 5));
    assert_null(tn_matmul(a, b)); const char *here = HERE;
    check_error(TN_ERR_SHAPE, here);
}

static void test_the_innermost_of_nested_calls(void **state)
{
    (void)state;
    tn_tensor *a = tn_zeros(TN_SHAPE(2, 3)), *b = tn_zeros(TN_SHAPE(4, 5));
    const char *here;
    tn_tensor *c = tn_matmul(a, a); here = HERE;
    c = tn_add(tn_mul(c, 2), tn_matmul(b, b));
    assert_null(c);
    check_error(TN_ERR_SHAPE, here);
    c = tn_add(tn_zeros(TN_SHAPE(2)), tn_mul(tn_matmul(a, b), 3));
    assert_null(c);
    check_error(TN_ERR_SHAPE, "matmul");
}

static void test_the_first_place_stays(void **state)
{
    (void)state;
    tn_tensor *a = tn_zeros(TN_SHAPE(2, 3));
    tn_tensor *b = tn_matmul(a, a); const char *here = HERE;
    assert_null(tn_add(b, 1));
    assert_true(isnan(tn_item(b)));
    check_error(TN_ERR_SHAPE, here);
}

static void test_results_that_are_no_objects(void **state)
{
    (void)state;
    tn_tensor *a = tn_zeros(TN_SHAPE(2, 3));
    const char *here;
    assert_int_equal(tn_size(a, 2), -1); here = HERE;
    check_error(TN_ERR_INDEX, here);
    assert_true(isnan(tn_item(a))); here = HERE;
    check_error(TN_ERR_SHAPE, here);
    tn_device("gpu9000"); here = HERE;
    check_error(TN_ERR_DEVICE, here);
    assert_int_equal(tn_set_num_threads(-1), TN_ERR_ARGUMENT); here = HERE;
    check_error(TN_ERR_ARGUMENT, here);
    assert_int_equal(tn_backward(a), TN_ERR_GRAD); here = HERE;
    check_error(TN_ERR_GRAD, here);
    assert_null(tn_fail(TN_ERR_ARGUMENT, "mine: %d", 3)); here = HERE;
    check_error(TN_ERR_ARGUMENT, here);
}

static void test_no_error_no_place(void **state)
{
    (void)state;
    tn_tensor *a = tn_zeros(TN_SHAPE(2, 3));
    assert_null(tn_grad(a)); /* NULL that is no error */
    assert_int_equal(tn_item_i64(tn_zeros(TN_SCALAR)), 0);
    check_good();
}

static void test_a_function_as_a_value(void **state)
{
    (void)state;
    tn_tensor *(*product)(tn_tensor *, tn_tensor *) = tn_matmul;
    tn_tensor *a = tn_ones(TN_SHAPE(2, 3)), *b = tn_ones(TN_SHAPE(3, 2));
    check_values(product(a, b), 0, 3, 3, 3, 3);
}

static void test_numbers_as_operands(void **state)
{
    (void)state;
    tn_tensor *a = tn_ones(TN_SHAPE(2), .dtype = TN_F32);
    int64_t wide = 3;
    unsigned char narrow = 4;
    check_values(tn_add(tn_mul(a, 2), 0.5f), 0, 2.5, 2.5);
    check_values(tn_mul(tn_add(wide, a), narrow), 0, 16, 16);
    assert_int_equal(tn_dtype_of(tn_mul(a, 2.5)), TN_F32);
}

static void test_options(void **state)
{
    (void)state;
    tn_tensor *x = tn_full(TN_SHAPE(2, 2), 3, .dtype = TN_F64, .requires_grad = true);
    assert_int_equal(tn_dtype_of(x), TN_F64);
    assert_true(tn_requires_grad(x));
    check_values(x, 0, 3, 3, 3, 3);
    check_shape(tn_sum(x, .dim = 0, .keepdim = true), 1, 2);
    check_shape(tn_sum(x, .dim = 0, .keepdim = false), 2);
    tn_shape_args args = {.size = sizeof args, .dtype = TN_DTYPE_DEFAULT, .shape = TN_SHAPE(2)};
    check_values(tn_ones_with(&args), 0, 1, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_pointer), TEST(test_the_innermost_of_nested_calls), TEST(test_the_first_place_stays),
        TEST(test_results_that_are_no_objects), TEST(test_no_error_no_place), TEST(test_a_function_as_a_value),
        TEST(test_numbers_as_operands), TEST(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
