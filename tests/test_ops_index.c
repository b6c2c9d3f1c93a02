#include "op_table.h"

/* x with an assignment; x itself may be a leaf. */
#define ASSIGNED(...) tn_assign(tn_clone(in[0]), in[1], __VA_ARGS__)
#define INT(name) (int)op_int(args, name, 0)
#define INDEX(X)                                                                                                              \
    X(basic_0, tn_index(in[0], 1))                                                                                            \
    X(basic_1, tn_index(in[0], TN_RANGE(1, -1), TN_RANGE(0, TN_END, 2)))                                                      \
    X(basic_2, tn_index(in[0], TN_ELLIPSIS, -1))                                                                              \
    X(basic_3, tn_index(in[0], TN_NEW_AXIS, TN_ALL, 1, TN_NEW_AXIS))                                                          \
    X(basic_4, tn_index(in[0], TN_RANGE(-2, 100), TN_RANGE(5, 2), TN_RANGE(1, TN_END)))                                       \
    X(basic_5, tn_index(in[0], 2, 1))                                                                                         \
    X(basic_6, tn_index(in[0], TN_RANGE(1, TN_END, 3), TN_ELLIPSIS, TN_NEW_AXIS, TN_RANGE(0, TN_END, 2)))                     \
    X(tensor_0, tn_index(in[0], in[1]))                                                                                       \
    X(tensor_1, tn_index(in[0], in[1], in[2]))                                                                                \
    X(tensor_2, tn_index(in[0], TN_ALL, in[1]))                                                                               \
    X(tensor_3, tn_index(in[0], in[1], TN_ALL, in[2]))                                                                        \
    X(tensor_4, tn_index(in[0], TN_ALL, in[1], in[2]))                                                                        \
    X(tensor_5, tn_index(in[0], in[1], in[2]))                                                                                \
    X(tensor_6, tn_index(in[0], TN_RANGE(1, TN_END), TN_NEW_AXIS, in[1], 0))                                                  \
    X(tensor_7, tn_index(in[0], in[1]))                                                                                       \
    X(tensor_8, tn_index(in[0], in[1], 1, in[2]))                                                                             \
    X(mask_0, tn_index(in[0], in[1]))                                                                                         \
    X(mask_1, tn_index(in[0], in[1]))                                                                                         \
    X(mask_2, tn_index(in[0], TN_ALL, in[1]))                                                                                 \
    X(mask_3, tn_index(in[0], in[1], in[2]))                                                                                  \
    X(mask_4, tn_index(in[0], TN_RANGE(1, TN_END), in[1]))                                                                    \
    X(mask_5, tn_index(in[0], in[1]))                                                                                         \
    X(masked_select, tn_masked_select(in[0], in[1]))                                                                          \
    X(assign_0, ASSIGNED(1))                                                                                                  \
    X(assign_1, ASSIGNED(TN_RANGE(1, TN_END), TN_RANGE(0, TN_END, 2)))                                                        \
    X(assign_2, ASSIGNED(TN_ELLIPSIS, TN_NEW_AXIS, -1))                                                                       \
    X(assign_3, ASSIGNED(in[2]))                                                                                              \
    X(assign_4, ASSIGNED(in[2]))                                                                                              \
    X(assign_5, ASSIGNED(TN_RANGE(1, TN_END), in[2]))                                                                         \
    X(assign_6, ASSIGNED(in[2], 1))                                                                                           \
    X(gather, tn_gather(in[0], INT("dim"), in[1]))                                                                            \
    X(scatter, tn_scatter(in[0], INT("dim"), in[2], in[1]))                                                                   \
    X(scatter_add, tn_scatter_add(in[0], INT("dim"), in[2], in[1]))                                                           \
    X(index_select, tn_index_select(in[0], INT("dim"), in[1]))                                                                \
    X(index_add, tn_index_add(in[0], INT("dim"), in[2], in[1]))                                                               \
    X(one_hot, tn_one_hot(in[0], op_int(args, "classes", 0)))                                                                 \
    X(nonzero, tn_nonzero(in[0]))
OP_TABLE(rows, INDEX);

/* Slices are views; a place that an index names twice gets both gradients. */
static void views_and_repeats(void **state)
{
    (void)state;
    tn_tensor *x = tn_arange(0, 12, .dtype = TN_F32), *m = tn_reshape(x, TN_SHAPE(3, 4));
    tn_tensor *v = tn_index(m, TN_RANGE(0, TN_END, 2), 1);
    assert_true(tn_shares_storage(x, v));
    check_values(v, 0, 1, 9);
    tn_tensor *w = tn_ones(TN_SHAPE(3), .requires_grad = true);
    assert_int_equal(tn_backward(tn_sum(tn_index(w, tn_from_ints((int64_t[]){1, 1, 1, -1}, TN_SHAPE(4))))), TN_OK);
    check_values(tn_grad(w), 0, 0, 3, 1);
    tn_index_item items[] = {tn_item_int_(1), TN_RANGE(0, 2)};
    check_values(tn_index_at(m, tn_make_items(2, items)), 0, 4, 5);
    check_good();
}

static void assignment_in_place(void **state)
{
    (void)state;
    tn_tensor *x = tn_zeros(TN_SHAPE(2, 3), .dtype = TN_I32), *mask = tn_from_ints((int64_t[]){1, 0, 0, 0, 1, 1}, TN_SHAPE(2, 3), .dtype = TN_BOOL);
    uint64_t version = tn_version_of(x);
    assert_ptr_equal(tn_assign(x, 7, mask), x);
    check_values(x, 0, 7, 0, 0, 0, 7, 7);
    assert_true(tn_version_of(x) > version);
    assert_non_null(tn_assign(x, 2.9, TN_ALL, 1));
    check_values(x, 0, 7, 2, 0, 0, 2, 7);
    assert_non_null(tn_assign(x, tn_arange(0, 3), -1));
    check_values(x, 0, 7, 2, 0, 0, 1, 2);
    assert_non_null(tn_assign(tn_transpose(x, 0, 1), tn_from_ints((int64_t[]){8, 9}, TN_SHAPE(2)), 0)); /* through a view */
    check_values(x, 0, 8, 2, 0, 9, 1, 2);
    tn_tensor *z = tn_reshape(tn_arange(0, 4), TN_SHAPE(2, 2));
    assert_non_null(tn_assign(z, tn_transpose(z, 0, 1), TN_ALL)); /* reads what it writes */
    check_values(z, 0, 0, 2, 1, 3);
    assert_non_null(tn_assign(z, tn_index(z, TN_ALL, 0), 0));
    check_values(z, 0, 0, 1, 1, 3);
    assert_non_null(tn_assign(z, tn_index(z, 0), tn_from_ints((int64_t[]){1, 0}, TN_SHAPE(2)), 0));
    check_values(z, 0, 1, 1, 0, 3);
    assert_non_null(tn_assign(x, tn_ones(TN_SHAPE(1, 1, 3)), 0)); /* dims of size 1 in front do not matter */
    assert_non_null(tn_assign(x, tn_full(TN_SHAPE(1, 1, 3), 4), tn_from_ints((int64_t[]){1}, TN_SHAPE(1))));
    check_values(x, 0, 1, 1, 1, 4, 4, 4);
    check_good();

    tn_tensor *leaf = tn_ones(TN_SHAPE(3), .requires_grad = true), *y = tn_mul(leaf, 2), *view = tn_index(y, TN_RANGE(0, 2));
    check_fails(tn_assign(leaf, 0, 1), TN_ERR_GRAD, "assign leaf");
    check_fails(tn_assign(y, 0, 1), TN_ERR_GRAD, "assign view clone");
    check_fails(tn_assign(view, 0, 1), TN_ERR_GRAD, "assign view clone");
    {
        TN_NO_GRAD;
        assert_non_null(tn_assign(leaf, 5, 1));
        check_values(leaf, 0, 1, 5, 1);
    }
    check_fails(tn_assign(tn_expand(tn_zeros(TN_SHAPE(1)), TN_SHAPE(3)), 1, 0), TN_ERR_STATE, "assign expanded clone");
}

/* Sums over rows, in the order of the indices, and rows that are put: the same bits on any number of threads, whether rows are met alike,
 * in turn, at the table's ends alone, or mostly one of them. */
static void scatter_on_threads(void **state)
{
    (void)state;
    enum { N = 5000, ROWS = 700, DIM = 110, WAYS = 5 };
    static int64_t at[N], once[ROWS];
    static float due[ROWS * DIM];
    const int threads = tn_get_num_threads();
    tn_tensor *source = case_filled(TN_SHAPE(N, DIM), TN_F32, 3, -1, 1);
    const float *from = tn_data(source);
    for (int way = 0; way < WAYS; way++) {
        memset(due, 0, sizeof due);
        for (int i = 0; i < N; i++) {
            const int any = (int)op_fill(4, i, 0, ROWS), ways[WAYS] = {any, i * 7 % ROWS, i % 3 ? ROWS - 1 : 0, i % 5 ? 350 : any, i % ROWS / 4 + 80};
            at[i] = ways[way];
            for (int j = 0; j < DIM; j++)
                due[at[i] * DIM + j] += from[i * DIM + j];
        }
        tn_tensor *index = tn_from_ints(at, TN_SHAPE(N)), *x = tn_zeros(TN_SHAPE(ROWS, DIM)), *sum = tn_from_floats(due, TN_SHAPE(ROWS, DIM));
        assert_int_equal(tn_set_num_threads(1), TN_OK);
        tn_tensor *half = tn_index_add(tn_cast(x, TN_BF16), 0, index, tn_cast(source, TN_BF16));
        for (int n = 1; n <= 100; n = 2 * n + n / 2) {
            assert_int_equal(tn_set_num_threads(n), TN_OK);
            assert_true(tn_equal(tn_index_add(x, 0, index, source), sum));
            assert_true(tn_equal(tn_index_add(tn_cast(x, TN_BF16), 0, index, tn_cast(source, TN_BF16)), half));
        }
    }
    for (int i = 0; i < ROWS; i++)
        once[i] = i * 11 % ROWS;
    tn_tensor *places = tn_from_ints(once, TN_SHAPE(ROWS)), *rows = tn_index(source, TN_RANGE(0, ROWS)), *put = tn_full(TN_SHAPE(ROWS, DIM), 7);
    assert_int_equal(tn_set_num_threads(3), TN_OK);
    assert_true(tn_equal(tn_index(tn_assign(put, rows, places), places), rows));
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
    check_good();
}

/* Whole rows, many of them: short ones, and longer than what is fetched ahead. */
static void gathered_rows(void **state)
{
    (void)state;
    for (int dim = 1; dim < 3000; dim = 3 * dim + 2) {
        int64_t at[100];
        for (int i = 0; i < 100; i++)
            at[i] = i * 5 % 7;
        tn_tensor *x = tn_randn(TN_SHAPE(7, dim)), *y = tn_index_select(x, 0, tn_from_ints(at, TN_SHAPE(100)));
        for (int i = 0; i < 100; i++)
            assert_true(tn_equal(tn_index(y, i), tn_index(x, (int)at[i])));
    }
    check_good();
}

static void wrong_inputs(void **state)
{
    (void)state;
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3)), *i = tn_from_ints((int64_t[]){0, 3}, TN_SHAPE(2));
    check_fails(tn_index(x, 2), TN_ERR_INDEX, "index 2 dim 0 size 2 test_ops_index.c");
    check_fails(tn_index(x, TN_ALL, -4), TN_ERR_INDEX, "index -4 dim 1 size 3");
    check_fails(tn_index(x, TN_ALL, i), TN_ERR_INDEX, "index 3 dim 1 size 3");
    check_fails(tn_index(x, 0, 0, 0), TN_ERR_INDEX, "index 3 dims [2, 3]");
    check_fails(tn_index(x, TN_ELLIPSIS, TN_ELLIPSIS), TN_ERR_INDEX, "ellipsis");
    check_fails(tn_index(x, TN_RANGE(2, 0, -1)), TN_ERR_ARGUMENT, "index dim 0 step -1 tn_flip");
    check_fails(tn_index(x, tn_ones(TN_SHAPE(2))), TN_ERR_DTYPE, "index float32 integers");
    check_fails(tn_index(x, tn_ones(TN_SHAPE(3), .dtype = TN_BOOL)), TN_ERR_SHAPE, "mask [3] [2, 3] dim 0");
    check_fails(tn_index(x, (tn_tensor *)NULL), TN_ERR_ARGUMENT, "index NULL");
    check_fails(tn_index(x, i, tn_zeros(TN_SHAPE(3), .dtype = TN_I64)), TN_ERR_SHAPE, "index [2] [3] broadcast");
    check_fails(tn_assign(x, tn_ones(TN_SHAPE(4)), 0), TN_ERR_SHAPE, "assign value [4] [3]");
    check_fails(tn_assign(x, tn_ones(TN_SHAPE(2, 3)), 0), TN_ERR_SHAPE, "assign value [2, 3] [3]");
    check_fails(tn_assign(x, tn_ones(TN_SHAPE(3)), tn_ones(TN_SHAPE(2, 3), .dtype = TN_BOOL)), TN_ERR_SHAPE, "assign value [3] [6]");
    check_fails(tn_scatter_add(x, 0, i, x), TN_ERR_SHAPE, "scatter_add [2] [2, 3]");
    check_fails(tn_nonzero(NULL), TN_ERR_ARGUMENT, "nonzero NULL");
    check_fails(tn_assign(x, 1, TN_ALL, i), TN_ERR_INDEX, "assign index 3 dim 1 size 3");
    check_fails(tn_gather(x, 1, i), TN_ERR_SHAPE, "gather index [2] [2, 3]");
    check_fails(tn_gather(x, 0, tn_full(TN_SHAPE(1, 1), 2, .dtype = TN_I64)), TN_ERR_INDEX, "gather index 2 dim 0 size 2");
    check_fails(tn_gather(x, 0, tn_full(TN_SHAPE(1, 1), -1, .dtype = TN_I64)), TN_ERR_INDEX, "gather index -1 dim 0 size 2");
    check_fails(tn_gather(x, 0, x), TN_ERR_DTYPE, "gather float32 integers");
    check_fails(tn_scatter(x, 0, tn_zeros(TN_SHAPE(2, 3), .dtype = TN_I64), tn_ones(TN_SHAPE(1, 3))), TN_ERR_SHAPE, "scatter [1, 3] [2, 3]");
    check_fails(tn_index_select(x, 1, i), TN_ERR_INDEX, "index_select index 3 dim 1 size 3");
    check_fails(tn_index_add(x, 0, i, x), TN_ERR_INDEX, "index_add index 3 dim 0 size 2");
    check_fails(tn_index_add(x, 1, i, x), TN_ERR_SHAPE, "index_add [2, 3] [2, 2]");
    check_fails(tn_masked_select(x, x), TN_ERR_DTYPE, "masked_select float32 bool");
    check_fails(tn_one_hot(i, 2), TN_ERR_INDEX, "one_hot index 3 size 2");
    check_values(x, 0, 1, 1, 1, 1, 1, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {OP_TABLE_TESTS, TEST(views_and_repeats), TEST(assignment_in_place), TEST(scatter_on_threads),
                                       TEST(gathered_rows), TEST(wrong_inputs)};
    return op_table_load("index", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
