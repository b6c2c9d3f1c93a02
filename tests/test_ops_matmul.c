#include "op_table.h"

#define MATMUL(X)                                                                                                      \
    X(matmul, tn_matmul(in[0], in[1]))                                                                                 \
    X(mm, tn_mm(in[0], in[1]))                                                                                         \
    X(bmm, tn_bmm(in[0], in[1]))                                                                                       \
    X(mv, tn_mv(in[0], in[1]))                                                                                         \
    X(dot, tn_dot(in[0], in[1]))                                                                                       \
    X(outer, tn_outer(in[0], in[1]))                                                                                   \
    X(addmm, tn_addmm(in[0], in[1], in[2], .beta = op_number(args, "beta", 1), .alpha = op_number(args, "alpha", 1)))  \
    X(linear, tn_linear(in[0], in[1], args->count > 2 ? in[2] : NULL))                                                 \
    X(linear_relu, tn_linear(in[0], in[1], args->count > 2 ? in[2] : NULL, .activation = TN_ACTIVATION_RELU))          \
    X(einsum, tn_einsum(op_text(args, "equation", ""), in, args->count))
OP_TABLE(rows, MATMUL);

/* One tensor on both sides: d sum(w * (x @ x)) has a part from each. */
static void test_same_tensor_twice(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_from_floats((float[]){1, 2, 3, 4}, TN_SHAPE(2, 2), .requires_grad = true);
    check_good();
    assert_int_equal(tn_backward(tn_sum(tn_matmul(x, x))), TN_OK);
    check_values(tn_grad(x), 1e-6, 7, 11, 9, 13);
    tn_tensor *v = tn_from_floats((float[]){1, -2, 3}, TN_SHAPE(3), .requires_grad = true);
    assert_int_equal(tn_backward(tn_dot(v, v)), TN_OK);
    check_values(tn_grad(v), 1e-6, 2, -4, 6);
    tn_tensor *w = tn_from_floats((float[]){1, 2, 3, 4}, TN_SHAPE(2, 2), .requires_grad = true);
    assert_int_equal(tn_backward(tn_sum(tn_linear(w, w, NULL))), TN_OK); /* sum of w w' */
    check_values(tn_grad(w), 1e-6, 8, 12, 8, 12);
    tn_tensor *e = tn_from_floats((float[]){1, 2, 3, 4}, TN_SHAPE(2, 2), .requires_grad = true);
    assert_int_equal(tn_backward(tn_einsum("ij,ji->", (tn_tensor *[]){e, e}, 2)), TN_OK);
    check_values(tn_grad(e), 1e-6, 2, 6, 4, 8);
}

/* The second derivative of sum((x @ x)^2)/2 by create_graph, against what finite differences of the gradient give. */
static tn_tensor *square_sum(tn_tensor *const *in, int count, void *context)
{
    (void)count, (void)context;
    tn_tensor *y = tn_matmul(in[0], in[0]);
    return tn_sum(tn_mul(y, y));
}

static tn_tensor *two_layers(tn_tensor *const *in, int count, void *context)
{
    (void)count, (void)context;
    return tn_sum(
        tn_mul(tn_linear(tn_linear(in[0], in[1], in[2], .activation = TN_ACTIVATION_RELU), in[3], NULL), 0.5));
}

static void test_second_derivatives(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(1);
    tn_tensor *x = tn_randn(TN_SHAPE(3, 3), .dtype = TN_F64, .requires_grad = true);
    if (tn_gradcheck(square_sum, NULL, &x, 1, .second = true) != TN_OK)
        fail_msg("%s", tn_last_error());
    tn_tensor *in[4] = {x, tn_randn(TN_SHAPE(4, 3), .dtype = TN_F64, .requires_grad = true)};
    in[2] = tn_randn(TN_SHAPE(4), .dtype = TN_F64, .requires_grad = true);
    in[3] = tn_randn(TN_SHAPE(2, 4), .dtype = TN_F64, .requires_grad = true);
    if (tn_gradcheck(two_layers, NULL, in, 4, .second = true) != TN_OK)
        fail_msg("%s", tn_last_error());
}

/* Only what is asked for has a gradient, and the fused layer is the unfused one to the bit. */
static void test_linear_parts(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(2);
    tn_tensor *x = tn_randn(TN_SHAPE(5, 7)), *w = tn_randn(TN_SHAPE(3, 7), .requires_grad = true),
              *b = tn_randn(TN_SHAPE(3));
    tn_tensor *y = tn_linear(x, w, b, .activation = TN_ACTIVATION_RELU);
    assert_true(tn_equal(y, tn_relu(tn_linear(x, w, b))));
    assert_true(tn_allclose(y, tn_relu(tn_add(tn_matmul(x, tn_transpose(w, 0, 1)), b)), 1e-6, 1e-6, false));
    assert_int_equal(tn_backward(tn_sum(y)), TN_OK);
    assert_null(tn_grad(x));
    assert_null(tn_grad(b));
    check_shape(tn_grad(w), 3, 7);
    tn_tensor *nan = tn_from_floats((float[]){NAN, -1}, TN_SHAPE(2, 1));
    tn_tensor *one = tn_ones(TN_SHAPE(1, 1));
    check_values(tn_linear(nan, one, NULL, .activation = TN_ACTIVATION_RELU), 0, NAN, 0);
}

/* Gradients that are made together are those of the parts, whichever are wanted: of few features and of many, of a weight of any strides. */
static void test_linear_gradients(void **state)
{
    (void)state;
    for (int how = 1; how < 16; how++) {
        TN_SCOPE;
        const int64_t in = how & 8 ? 7 : 2;
        tn_tensor *leaves[2][3], *slope = tn_randn(TN_SHAPE(3, 30, 70));
        for (int fused = 0; fused < 2 && how & 7; fused++) {
            tn_manual_seed(4);
            tn_tensor **x = leaves[fused];
            x[0] = tn_randn(TN_SHAPE(3, 30, in), .requires_grad = how & 1);
            x[1] = tn_randn(TN_SHAPE(in, 70), .requires_grad = how & 2);
            x[2] = tn_randn(TN_SHAPE(70), .requires_grad = how & 4);
            tn_tensor *y = fused ? tn_linear(x[0], tn_transpose(x[1], 0, 1), x[2]) : tn_add(tn_matmul(x[0], x[1]), x[2]);
            assert_int_equal(tn_backward(tn_sum(tn_mul(y, slope))), TN_OK);
        }
        for (int i = 0; i < 3 && how & 7; i++) {
            const tn_tensor *due = tn_grad(leaves[0][i]), *is = tn_grad(leaves[1][i]);
            assert_int_equal(due != NULL, is != NULL);
            assert_true(!due || tn_allclose(is, due, 1e-5, 1e-5, false));
        }
    }
}

/* Views of any strides are read where they lie: no memory but the result's is asked for. */
static void test_views_are_not_copied(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(3);
    tn_tensor *x = tn_randn(TN_SHAPE(300, 200)), *w = tn_randn(TN_SHAPE(300, 100));
    tn_tensor *due = tn_matmul(tn_contiguous(tn_transpose(x, 0, 1)), w);
    tn_memory_reset_peak();
    const int64_t before = tn_get_memory_stats().in_use;
    tn_tensor *y = tn_matmul(tn_transpose(x, 0, 1), w);
    const int64_t kept = tn_get_memory_stats().in_use - before;
    assert_true(tn_allclose(y, due, 1e-5, 1e-5, false));
    assert_in_range(kept, 200 * 100 * 4, 200 * 100 * 4 + 4096);
}

static void test_changed_in_place(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(2, 2)), *w = tn_ones(TN_SHAPE(2, 2), .requires_grad = true),
              *y = tn_sum(tn_matmul(x, w));
    assert_non_null(tn_data_mut(x));
    check_fails(tn_backward(y), TN_ERR_GRAD, "matmul changed in place");
}

static void test_wrong_inputs(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *a = tn_ones(TN_SHAPE(2, 3)), *b = tn_ones(TN_SHAPE(4, 5)), *v = tn_ones(TN_SHAPE(3)),
              *s = tn_ones(TN_SCALAR);
    tn_tensor *batch2 = tn_ones(TN_SHAPE(2, 2, 3)), *batch3 = tn_ones(TN_SHAPE(3, 3, 2));
    tn_tensor *wide = tn_ones(TN_SHAPE(3, 4), .dtype = TN_F64), *yes = tn_ones(TN_SHAPE(3, 3), .dtype = TN_BOOL);
    tn_tensor *whole = tn_ones(TN_SHAPE(2, 2), .dtype = TN_I32);
    check_fails(tn_matmul(a, b), TN_ERR_SHAPE,
                "matmul: a [2, 3] b [4, 5]: inner sizes 3 and 4 differ test_ops_matmul.c");
    check_fails(tn_matmul(a, NULL), TN_ERR_ARGUMENT, "matmul b NULL");
    check_fails(tn_matmul(v, b), TN_ERR_SHAPE, "matmul [3] [4, 5] inner 3 4");
    check_fails(tn_matmul(a, s), TN_ERR_SHAPE, "matmul [] dimension tn_mul");
    check_fails(tn_matmul(batch2, batch3), TN_ERR_SHAPE, "batch sizes 2 and 3 do not broadcast");
    check_fails(tn_matmul(a, wide), TN_ERR_DTYPE, "a is float32 and b is float64 tn_cast");
    check_fails(tn_matmul(yes, yes), TN_ERR_DTYPE, "matmul bool");
    check_fails(tn_mm(a, v), TN_ERR_SHAPE, "mm [2, 3] [3] 2 dimensions tn_matmul");
    check_fails(tn_bmm(batch2, batch3), TN_ERR_SHAPE, "bmm batch sizes 2 and 3 differ");
    check_fails(tn_mv(a, b), TN_ERR_SHAPE, "mv [2, 3] [4, 5]");
    check_fails(tn_dot(v, tn_ones(TN_SHAPE(4))), TN_ERR_SHAPE, "dot [3] [4]");
    check_fails(tn_outer(a, v), TN_ERR_SHAPE, "outer [2, 3]");
    check_fails(tn_addmm(v, a, tn_ones(TN_SHAPE(3, 2))), TN_ERR_SHAPE, "addmm c is [3] broadcast to [2, 2]");
    check_fails(tn_addmm(s, a, b), TN_ERR_SHAPE, "addmm [2, 3] [4, 5]");
    check_fails(tn_addmm(whole, whole, whole, .alpha = 0.5), TN_ERR_ARGUMENT, "addmm alpha 0.5 int32 whole");
    check_fails(tn_linear(a, b, NULL), TN_ERR_SHAPE, "linear x [2, 3] weight [4, 5]");
    check_fails(tn_linear(a, tn_ones(TN_SHAPE(4, 3)), v), TN_ERR_SHAPE, "linear bias [3] [4]");
    check_fails(tn_linear(a, tn_ones(TN_SHAPE(4, 3)), NULL, .activation = (tn_activation)7), TN_ERR_ARGUMENT,
                "linear activation 7");
    check_fails(tn_linear(a, tn_cast(b, TN_F64), NULL), TN_ERR_DTYPE, "linear x float32 weight float64");
}

static void test_wrong_equations(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *a = tn_ones(TN_SHAPE(2, 3)),
              *in[] = {a, tn_ones(TN_SHAPE(4, 5)), tn_ones(TN_SHAPE(2, 3), .dtype = TN_F64), NULL};
    check_fails(tn_einsum("ij,jk->ik", in, 2), TN_ERR_SHAPE, "einsum \"ij,jk->ik\" operand 1 [4, 5] 4 3");
    check_fails(tn_einsum("ij,jk->ik", in, 1), TN_ERR_ARGUMENT, "einsum 2 operands 1 given");
    check_fails(tn_einsum("ij->ijk", in, 1), TN_ERR_ARGUMENT, "no operand k");
    check_fails(tn_einsum("ij->ii", in, 1), TN_ERR_ARGUMENT, "names i twice");
    check_fails(tn_einsum("i->i", in, 1), TN_ERR_SHAPE, "operand 0 [2, 3] 1 letter");
    check_fails(tn_einsum("ijk->i", in, 1), TN_ERR_SHAPE, "operand 0 [2, 3] 3 letters");
    check_fails(tn_einsum("i1->i", in, 1), TN_ERR_ARGUMENT, "'1'");
    check_fails(tn_einsum("i.j->i", in, 1), TN_ERR_ARGUMENT, "'.'");
    check_fails(tn_einsum("ii", in, 1), TN_ERR_SHAPE, "operand 0 [2, 3] size 3 size 2");
    check_fails(tn_einsum("ij,ij", (tn_tensor *[]){a, in[2]}, 2), TN_ERR_DTYPE, "einsum float32 float64");
    check_fails(tn_einsum("ij,ij", (tn_tensor *[]){a, NULL}, 2), TN_ERR_ARGUMENT, "einsum NULL");
    check_fails(tn_einsum(NULL, in, 1), TN_ERR_ARGUMENT, "einsum equation");
    check_fails(tn_einsum("", in, 0), TN_ERR_ARGUMENT, "einsum 0 given");
    check_fails(tn_einsum("abcdefghi", in, 1), TN_ERR_ARGUMENT, "more than 8 dimensions");
    tn_tensor *five = tn_ones(TN_SHAPE(1, 1, 1, 1, 1));
    check_values(tn_einsum("abcde,fghij->", (tn_tensor *[]){five, five}, 2), 0,
                 1); /* what is summed at once needs no dim */
    check_fails(tn_einsum("abcde,fghij->abcdefghij", (tn_tensor *[]){five, five}, 2), TN_ERR_ARGUMENT,
                "more than 8 dimensions");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OP_TABLE_TESTS,          TEST(test_same_tensor_twice),    TEST(test_second_derivatives),
        TEST(test_linear_parts), TEST(test_linear_gradients), TEST(test_views_are_not_copied), TEST(test_changed_in_place),
        TEST(test_wrong_inputs), TEST(test_wrong_equations)};
    return op_table_load("matmul", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
