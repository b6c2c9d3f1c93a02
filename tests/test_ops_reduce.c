#include "op_table.h"

#define DIMS .dims = op_dims(args, "dim"), .keepdim = op_flag(args, "keepdim")
#define DIM .dim = (int)op_int(args, "dim", TN_ALL_DIMS), .keepdim = op_flag(args, "keepdim")
#define LAST_DIM (int)op_int(args, "dim", -1)
#define REDUCE(X)                                                                                                             \
    X(sum, tn_sum(in[0], DIMS))                                                                                               \
    X(mean, tn_mean(in[0], DIMS))                                                                                             \
    X(prod, tn_prod(in[0], DIMS))                                                                                             \
    X(amax, tn_amax(in[0], DIMS))                                                                                             \
    X(amin, tn_amin(in[0], DIMS))                                                                                             \
    X(any, tn_any(in[0], DIMS))                                                                                               \
    X(all, tn_all(in[0], DIMS))                                                                                               \
    X(logsumexp, tn_logsumexp(in[0], DIMS))                                                                                   \
    X(var, tn_var(in[0], DIMS, .correction = op_number(args, "correction", 1)))                                               \
    X(std, tn_std(in[0], DIMS, .correction = op_number(args, "correction", 1)))                                               \
    X(norm, tn_norm(in[0], DIMS, .p = op_number(args, "p", 2)))                                                               \
    X(max, tn_max(in[0]))                                                                                                     \
    X(min, tn_min(in[0]))                                                                                                     \
    X(max_dim, tn_max(in[0], DIM, .indices = &out[1]))                                                                        \
    X(min_dim, tn_min(in[0], DIM, .indices = &out[1]))                                                                        \
    X(argmax, tn_argmax(in[0], DIM))                                                                                          \
    X(argmin, tn_argmin(in[0], DIM))                                                                                          \
    X(cumsum, tn_cumsum(in[0], LAST_DIM))                                                                                     \
    X(softmax, tn_softmax(in[0], LAST_DIM))                                                                                   \
    X(log_softmax, tn_log_softmax(in[0], LAST_DIM))                                                                           \
    X(sort, tn_sort(in[0], .dim = LAST_DIM, .descending = op_flag(args, "descending"), .indices = &out[1]))                   \
    X(argsort, tn_argsort(in[0], .dim = LAST_DIM, .descending = op_flag(args, "descending")))                                 \
    X(topk, tn_topk(in[0], op_int(args, "k", 1), .dim = LAST_DIM, .largest = op_flag(args, "largest"), .indices = &out[1]))
OP_TABLE(rows, REDUCE);

static void test_wrong_inputs(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3)), *i = tn_ones(TN_SHAPE(2, 3), .dtype = TN_I64), *none = tn_ones(TN_SHAPE(0, 3)), *index;
    check_fails(tn_sum(x, .dim = 2), TN_ERR_INDEX, "sum dim 2 test_ops_reduce.c");
    check_fails(tn_sum(x, .dim = -3), TN_ERR_INDEX, "sum -3");
    check_fails(tn_sum(x, .dims = TN_DIMS(0, -2)), TN_ERR_INDEX, "sum 0 twice");
    check_fails(tn_sum(x, .dim = 1, .dims = TN_DIMS(0)), TN_ERR_ARGUMENT, "sum .dim .dims");
    check_fails(tn_sum(NULL), TN_ERR_ARGUMENT, "sum NULL");
    check_fails(tn_mean(i), TN_ERR_DTYPE, "mean int64 tn_cast");
    check_fails(tn_var(i), TN_ERR_DTYPE, "var int64");
    check_fails(tn_std(i), TN_ERR_DTYPE, "std int64");
    check_fails(tn_norm(i), TN_ERR_DTYPE, "norm int64");
    check_fails(tn_norm(x, .p = (double)NAN), TN_ERR_ARGUMENT, "norm NaN");
    check_fails(tn_logsumexp(x, .dim = 2), TN_ERR_INDEX, "logsumexp 2");
    check_fails(tn_max(none), TN_ERR_SHAPE, "[0, 3] no elements");
    check_fails(tn_min(none, .dim = 0), TN_ERR_SHAPE, "min [0, 3] dim 0");
    check_fails(tn_amax(none), TN_ERR_SHAPE, "amax [0, 3]");
    check_fails(tn_argmin(none), TN_ERR_SHAPE, "argmin [0, 3]");
    check_fails(tn_max(x, .indices = &index), TN_ERR_ARGUMENT, "max .indices .dim argmax");
    check_fails(tn_softmax(i, 0), TN_ERR_DTYPE, "softmax int64");
    check_fails(tn_log_softmax(x, 2), TN_ERR_INDEX, "log_softmax 2");
    check_fails(tn_cumsum(x, 5), TN_ERR_INDEX, "cumsum 5");
    check_fails(tn_sort(x, .dim = 2), TN_ERR_INDEX, "sort 2");
    check_fails(tn_topk(x, 4), TN_ERR_ARGUMENT, "topk 4 [2, 3] dim 1 has 3");
    check_fails(tn_prod(x, .dim = -3), TN_ERR_INDEX, "prod -3");
    check_fails(tn_any(x, .dim = 2), TN_ERR_INDEX, "any 2");
    check_fails(tn_all(NULL), TN_ERR_ARGUMENT, "all NULL");
    check_fails(tn_amin(none, .dim = 0), TN_ERR_SHAPE, "amin [0, 3] dim 0");
    check_fails(tn_max(x, .dim = 2), TN_ERR_INDEX, "max 2");
    check_fails(tn_argmax(x, .dim = -3), TN_ERR_INDEX, "argmax -3");
    check_fails(tn_argsort(x, .dim = 2), TN_ERR_INDEX, "sort 2");
    check_fails(tn_topk(x, -1), TN_ERR_ARGUMENT, "topk -1");
}

/* A result's bits depend neither on the number of threads nor on the run. */
static void test_same_bits(void **state)
{
    (void)state;
    TN_SCOPE;
    int threads = tn_get_num_threads(), less = test_emulated() ? 10 : 1;
    tn_manual_seed(3);
    static const int shapes[][2] = {{3000000, 1}, {1, 3000000}, {100000, 30}, {30, 100000}, {1000, 1000}};
    for (int i = 0; i < 5; i++) {
        TN_SCOPE;
        const int rows = shapes[i][0] / (shapes[i][0] > 1000 ? less : 1), columns = shapes[i][1] / (shapes[i][1] > 1000 ? less : 1);
        tn_tensor *x = tn_randn(TN_SHAPE(rows, columns)), *results[2][6];
        for (int k = 0; k < 2; k++) {
            assert_int_equal(tn_set_num_threads(1 + k), TN_OK);
            tn_tensor *all[] = {tn_sum(x), tn_sum(x, .dim = 0), tn_var(x, .dim = 0), tn_norm(x), tn_logsumexp(x, .dim = 1), tn_softmax(x, 1)};
            memcpy(results[k], all, sizeof all);
        }
        for (int k = 0; k < 6; k++) {
            check_good();
            assert_memory_equal(tn_data(results[0][k]), tn_data(results[1][k]), (size_t)tn_numel(results[0][k]) * 4);
        }
    }
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
}

/* The second derivative of a product whose inputs hold zeros: d2(abc)/da db = c. */
static void test_prod_twice(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_from_doubles(((double[]){0, 2, 5}), TN_SHAPE(3), .requires_grad = true);
    tn_tensor *g = tn_grad_of(tn_prod(x), x, .create_graph = true);
    check_values(g, 0, 10, 0, 0);
    tn_tensor *second = tn_grad_of(tn_sum(tn_mul(g, tn_from_doubles(((double[]){0, 1, 0}), TN_SHAPE(3)))), x);
    check_values(second, 0, 5, 0, 0);
}

/* Where PyTorch gives NaN for a row that is all -inf, the gradient here is 0: nothing moves. */
static void test_logsumexp_of_nothing(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_full(TN_SHAPE(2, 2), -(double)INFINITY, .requires_grad = true);
    tn_tensor *y = tn_logsumexp(x, .dim = 1);
    assert_true(tn_at(y, TN_SHAPE(0)) == -HUGE_VAL);
    check_values(tn_grad_of(tn_sum(y), x), 0, 0, 0, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {OP_TABLE_TESTS, TEST(test_wrong_inputs), TEST(test_same_bits), TEST(test_prod_twice),
                                       TEST(test_logsumexp_of_nothing)};
    return op_table_load("reduce", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
