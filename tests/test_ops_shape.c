#include "op_table.h"

static tn_tensor *split_sizes(tn_tensor *x, tn_shape sizes, int dim, tn_tensor **out)
{
    return tn_split_sizes(x, sizes.sizes, sizes.ndim, dim, out) ? out[0] : NULL;
}

static tn_tensor *pad(tn_tensor *x, const op_args *args)
{
    const char *mode = op_text(args, "mode", "constant");
    return tn_pad(x, op_shape(args, "pads"), .value = op_number(args, "value", 0),
                  .mode = mode[0] == 'c' ? TN_PAD_CONSTANT : mode[2] == 'f' ? TN_PAD_REFLECT : TN_PAD_REPLICATE);
}

#define INT(name) (int)op_int(args, name, 0)
#define SHAPE(X)                                                                                                              \
    X(reshape, tn_reshape(in[0], op_shape(args, "shape")))                                                                    \
    X(transposed_reshape, tn_reshape(tn_transpose(in[0], 0, 1), op_shape(args, "shape")))                                     \
    X(flatten, tn_flatten(in[0], INT("start"), INT("end")))                                                                   \
    X(transpose, tn_transpose(in[0], INT("a"), INT("b")))                                                                     \
    X(swapaxes, tn_swapaxes(in[0], INT("a"), INT("b")))                                                                       \
    X(permute, tn_permute(in[0], op_dims(args, "dims")))                                                                      \
    X(squeeze, tn_squeeze(in[0], INT("dim")))                                                                                 \
    X(squeeze_all, tn_squeeze(in[0], TN_ALL_DIMS))                                                                            \
    X(unsqueeze, tn_unsqueeze(in[0], INT("dim")))                                                                             \
    X(expand, tn_expand(in[0], op_shape(args, "shape")))                                                                      \
    X(narrow, tn_narrow(in[0], INT("dim"), op_int(args, "start", 0), op_int(args, "length", 0)))                              \
    X(select, tn_select(in[0], INT("dim"), op_int(args, "index", 0)))                                                         \
    X(contiguous, tn_contiguous(tn_transpose(in[0], 0, 1)))                                                                   \
    X(clone, tn_clone(tn_permute(in[0], TN_DIMS(2, 0, 1))))                                                                   \
    X(repeat, tn_repeat(in[0], op_shape(args, "times")))                                                                      \
    X(flip, tn_flip(in[0], op_dims(args, "dims")))                                                                            \
    X(roll, tn_roll(in[0], op_int(args, "shift", 0), INT("dim")))                                                             \
    X(roll_all, tn_roll(in[0], op_int(args, "shift", 0), TN_ALL_DIMS))                                                        \
    X(tril, tn_tril(in[0], op_int(args, "diagonal", 0)))                                                                      \
    X(triu, tn_triu(in[0], op_int(args, "diagonal", 0)))                                                                      \
    X(pad, pad(in[0], args))                                                                                                  \
    X(concat, tn_concat(in, args->count, INT("dim")))                                                                         \
    X(stack, tn_stack(in, args->count, INT("dim")))                                                                           \
    X(split, tn_split(in[0], op_int(args, "size", 1), INT("dim"), out, 8) ? out[0] : NULL)                                    \
    X(split_sizes, split_sizes(in[0], op_shape(args, "sizes"), INT("dim"), out))                                              \
    X(chunk, tn_chunk(in[0], INT("chunks"), INT("dim"), out) ? out[0] : NULL)                                                 \
    X(unbind, tn_unbind(in[0], INT("dim"), out, 8) ? out[0] : NULL)                                                           \
    X(vsplit, tn_vsplit(in[0], INT("sections"), out) ? out[0] : NULL)                                                         \
    X(hsplit, tn_hsplit(in[0], INT("sections"), out) ? out[0] : NULL)                                                         \
    X(dsplit, tn_dsplit(in[0], INT("sections"), out) ? out[0] : NULL)
OP_TABLE(rows, SHAPE);

/* x of these sizes with its dims in another order, made dense and copied back into a view of that order, byte by byte. */
static void check_permuted(tn_dtype dtype, tn_shape sizes, tn_dims dims)
{
    tn_tensor *x = tn_cast(tn_randint(sizes, 0, 251), dtype), *back = tn_zeros(sizes, .dtype = dtype);
    tn_tensor *view = tn_permute(x, dims), *y = tn_contiguous(view);
    const size_t size = tn_dtype_size(dtype);
    for (int64_t i = 0; i < tn_numel(x); i++) {
        int64_t rest = i, at = 0;
        for (int d = 2; d >= 0; d--) {
            at += rest % tn_size(view, d) * tn_stride(view, d);
            rest /= tn_size(view, d);
        }
        assert_memory_equal((const char *)tn_data(y) + (size_t)i * size, (const char *)tn_data(x) + (size_t)at * size, size);
    }
    tn_copy_(tn_permute(back, dims), y);
    assert_memory_equal(tn_data(back), tn_data(x), (size_t)tn_numel(x) * size);
}

/* Elements of 1, 2, 4 and 8 bytes; sizes less than a tile of the kernel, of some tiles, and of some blocks and a rest; rows of the result that lie
 * a power of two apart, which the kernel takes by way of buffers; rows of the source that lie a multiple of 512 bytes apart, by tiles of whole lines. */
static void transposed_copies(void **state)
{
    (void)state;
    const tn_dtype dtypes[] = {TN_U8, TN_I16, TN_F32, TN_I64};
    const int64_t sizes[][3] = {{2, 3, 5}, {1, 16, 32}, {3, 17, 70}, {2, 131, 65}, {70, 2, 67}, {2, 4096, 70}, {1, 4096, 85}, {110, 16, 48}};
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            tn_shape shape = tn_make_shape(3, sizes[j]);
            check_permuted(dtypes[i], shape, TN_DIMS(0, 2, 1));
            check_permuted(dtypes[i], shape, TN_DIMS(1, 2, 0));
            check_permuted(dtypes[i], shape, TN_DIMS(2, 1, 0));
        }
    }
}

/* So much that the kernel stores past the caches, into rows that begin with a line of memory, do not end with one, and have a gap after them. */
static void transposed_past_the_caches(void **state)
{
    (void)state;
    enum { ROWS = 1030, COLS = 4101, ROW = 4160 };
    tn_tensor *x = tn_reshape(tn_arange(0, ROWS * COLS, .dtype = TN_I32), TN_SHAPE(COLS, ROWS));
    tn_tensor *y = tn_full(TN_SHAPE(ROWS, ROW), -1, .dtype = TN_I32);
    assert_non_null(tn_copy_(tn_narrow(y, 1, 0, COLS), tn_transpose(x, 0, 1)));
    const int32_t *at = tn_data(y);
    for (int32_t r = 0; r < ROWS; r++)
        for (int32_t c = 0; c < ROW; c++)
            if (at[r * ROW + c] != (c < COLS ? c * ROWS + r : -1))
                fail_msg("row %d, column %d: %d", r, c, at[r * ROW + c]);
    check_good();
}

/* What is a view shares storage; what need not copy does not. */
static void views_share(void **state)
{
    (void)state;
    tn_tensor *x = tn_arange(0, 24, .dtype = TN_F32), *m = tn_reshape(x, TN_SHAPE(2, 3, 4)), *t = tn_transpose(m, 0, 2);
    assert_true(tn_shares_storage(x, m) && tn_shares_storage(x, t));
    assert_true(tn_shares_storage(t, tn_unsqueeze(t, 1)) && tn_shares_storage(t, tn_squeeze(t, TN_ALL_DIMS)));
    assert_true(tn_shares_storage(x, tn_reshape(tn_narrow(m, 0, 1, 1), TN_SHAPE(2, 6))));
    assert_true(tn_shares_storage(x, tn_view(tn_select(m, 1, 1), TN_SHAPE(2, 2, 2))));
    assert_true(tn_shares_storage(x, tn_expand(tn_select(m, 1, 0), TN_SHAPE(5, 2, 4))));
    assert_false(tn_shares_storage(t, tn_reshape(t, TN_SHAPE(24))));
    assert_false(tn_shares_storage(x, tn_clone(x)));
    assert_ptr_equal(tn_contiguous(x), x);
    assert_ptr_equal(tn_to(x, tn_device("cpu")), x);
    assert_int_equal(tn_stride(t, 0), 1);
    assert_int_equal(tn_stride(tn_expand(x, TN_SHAPE(3, 24)), 0), 0);
    tn_tensor *part[4];
    assert_int_equal(tn_chunk(x, 4, 0, part), 4);
    ((float *)tn_data_mut(part[3]))[0] = 100;
    assert_int_equal(tn_at(x, TN_SHAPE(18)), 100);
    assert_int_equal(tn_chunk(tn_zeros(TN_SHAPE(5)), 4, 0, part), 3);
    assert_null(part[3]);
    tn_tensor *h = tn_zeros(TN_SHAPE(0), .dtype = TN_F16, .requires_grad = true); /* skipped, its gradient still of its dtype */
    tn_tensor *joined = tn_concat(TN_TENSORS(h, tn_ones(TN_SHAPE(2, 2))), 0);
    assert_int_equal(tn_dtype_of(tn_grad_of(tn_sum(joined), h)), TN_F16);
    tn_tensor *w = tn_ones(TN_SHAPE(2), .requires_grad = true);
    assert_false(tn_requires_grad(tn_detach(tn_mul(w, 2))));
    check_good();
}

static void creation(void **state)
{
    (void)state;
    check_values(tn_arange(5, 0, -2), 0, 5, 3, 1);
    assert_int_equal(tn_dtype_of(tn_arange(0, 5)), TN_I64);
    check_values(tn_arange(0, 1, 0.25), 0, 0, 0.25, 0.5, 0.75);
    check_values(tn_linspace(-1, 1, 5), 0, -1, -0.5, 0, 0.5, 1);
    check_values(tn_linspace(3, 9, 1), 0, 3);
    assert_int_equal(tn_numel(tn_linspace(3, 9, 0)), 0);
    check_values(tn_linspace(0, 1, 4, .dtype = TN_F64), 1e-16, 0, 1 / 3.0, 2 / 3.0, 1);
    check_values(tn_eye(2, 3), 0, 1, 0, 0, 0, 1, 0);
    check_values(tn_eye(2, .dtype = TN_BOOL), 0, 1, 0, 0, 1);
    check_values(tn_full(TN_SHAPE(2), 7.5, .dtype = TN_BF16), 0, 7.5, 7.5);
    check_values(tn_full_like(tn_ones(TN_SHAPE(2), .dtype = TN_I8), -3), 0, -3, -3);
    assert_int_equal(tn_dtype_of(tn_ones_like(tn_ones(TN_SHAPE(2), .dtype = TN_I8))), TN_I8);
    check_values(tn_zeros_like(tn_ones(TN_SHAPE(1, 2)), .dtype = TN_F64), 0, 0, 0);
    check_shape(tn_empty(TN_SHAPE(2, 0, 3)), 2, 0, 3);
    check_values(tn_from_ints((int64_t[]){1, -2}, TN_SHAPE(2), .dtype = TN_F16), 0, 1, -2);
    check_values(tn_from_doubles((double[]){1.5, 2}, TN_SHAPE(2, 1), .requires_grad = true), 0, 1.5, 2);
    check_values(tn_ones(TN_SCALAR), 0, 1);
    check_fails(tn_arange(0, 5, -1), TN_ERR_ARGUMENT, "arange -1");
    check_fails(tn_linspace(0, 5, -1), TN_ERR_ARGUMENT, "linspace -1");
    check_fails(tn_zeros(TN_SHAPE(-2)), TN_ERR_SHAPE, "zeros [-2] negative");
    check_fails(tn_ones(TN_SHAPE(2), .dtype = TN_I64, .requires_grad = true), TN_ERR_DTYPE, "ones floating int64");
    check_fails(tn_from_floats(NULL, TN_SHAPE(2)), TN_ERR_ARGUMENT, "from_floats NULL [2]");
}

static void wrong_inputs(void **state)
{
    (void)state;
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3)), *out[4];
    check_fails(tn_reshape(x, TN_SHAPE(4, -1)), TN_ERR_SHAPE, "reshape [2, 3] [4, -1] 6 test_ops_shape.c");
    check_fails(tn_reshape(x, TN_SHAPE(5)), TN_ERR_SHAPE, "reshape [2, 3] [5]");
    check_fails(tn_reshape(x, TN_SHAPE(-1, -1)), TN_ERR_SHAPE, "reshape [-1, -1]");
    check_fails(tn_view(tn_transpose(x, 0, 1), TN_SHAPE(6)), TN_ERR_STATE, "view [3, 2] tn_reshape");
    check_fails(tn_transpose(x, 0, 2), TN_ERR_INDEX, "transpose dim 2");
    check_fails(tn_permute(x, TN_DIMS(0, 0)), TN_ERR_INDEX, "permute twice");
    check_fails(tn_permute(x, TN_DIMS(0)), TN_ERR_SHAPE, "permute [2, 3]");
    check_fails(tn_expand(x, TN_SHAPE(4, 3)), TN_ERR_SHAPE, "expand [2, 3] [4, 3] dim 0");
    check_fails(tn_narrow(x, 1, 2, 2), TN_ERR_INDEX, "narrow 2 dim 1 size 3");
    check_fails(tn_select(x, 0, 2), TN_ERR_INDEX, "select index 2 dim 0 size 2");
    check_fails(tn_flatten(x, 1, 0), TN_ERR_INDEX, "flatten 1 0");
    check_fails(tn_concat(TN_TENSORS(x, tn_ones(TN_SHAPE(2, 4))), 0), TN_ERR_SHAPE, "concat tensor 1 [2, 4] [2, 3] dim 0");
    check_fails(tn_concat(TN_TENSORS(x, NULL), 0), TN_ERR_ARGUMENT, "concat tensor 1 NULL");
    check_fails(tn_stack(TN_TENSORS(x, tn_ones(TN_SHAPE(2, 4))), 0), TN_ERR_SHAPE, "stack tensor 1 [2, 4]");
    check_fails(tn_split(x, 1, 1, out, 2), TN_ERR_ARGUMENT, "split 3 pieces room 2");
    check_fails(tn_split_sizes(x, (int64_t[]){1, 1}, 2, 1, out), TN_ERR_SHAPE, "split_sizes add up 3");
    check_fails(tn_hsplit(x, 2, out), TN_ERR_SHAPE, "hsplit size 3");
    check_fails(tn_dsplit(x, 2, out), TN_ERR_INDEX, "dsplit dim 2");
    check_fails(tn_pad(x, TN_SHAPE(1)), TN_ERR_ARGUMENT, "pad pair");
    check_fails(tn_pad(x, TN_SHAPE(3, 0), .mode = TN_PAD_REFLECT), TN_ERR_SHAPE, "pad 3 dim 1 [2, 3] reflect");
    check_fails(tn_pad(x, TN_SHAPE(-2, -2)), TN_ERR_SHAPE, "pad dim 1 [2, 3]");
    check_fails(tn_repeat(x, TN_SHAPE(2)), TN_ERR_SHAPE, "repeat [2, 3] [2]");
    check_fails(tn_tril(tn_ones(TN_SHAPE(3)), 0), TN_ERR_SHAPE, "tril [3] two");
    check_fails(tn_triu(tn_ones(TN_SHAPE(3)), 0), TN_ERR_SHAPE, "triu [3] two");
    check_fails(tn_swapaxes(x, 0, -3), TN_ERR_INDEX, "dim -3");
    check_fails(tn_squeeze(x, 2), TN_ERR_INDEX, "squeeze 2");
    check_fails(tn_unsqueeze(x, 3), TN_ERR_INDEX, "unsqueeze 3");
    check_fails(tn_flip(x, TN_DIMS(0, -2)), TN_ERR_INDEX, "flip 0 twice");
    check_fails(tn_roll(x, 1, 2), TN_ERR_INDEX, "roll 2");
    check_fails(tn_chunk(x, 0, 0, out), TN_ERR_ARGUMENT, "chunk 0 positive");
    check_fails(tn_unbind(x, 0, out, 1), TN_ERR_ARGUMENT, "unbind 2 pieces room 1");
    check_fails(tn_unbind(tn_ones(TN_SHAPE(0)), 0, out, 1), TN_ERR_SHAPE, "unbind [0]");
    check_fails(tn_vsplit(x, 4, out), TN_ERR_SHAPE, "vsplit size 2");
    check_fails(tn_contiguous(NULL), TN_ERR_ARGUMENT, "contiguous NULL");
    check_fails(tn_pad(x, TN_SHAPE(1, 1), .mode = (tn_pad_mode)7), TN_ERR_ARGUMENT, "pad 7");
    check_fails(tn_pad(x, TN_SHAPE(1, 1, 1, 1, 1, 1)), TN_ERR_ARGUMENT, "pad [2, 3]");
    check_fails(tn_clone(NULL), TN_ERR_ARGUMENT, "clone x NULL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {OP_TABLE_TESTS, TEST(views_share), TEST(transposed_copies), TEST(transposed_past_the_caches), TEST(creation),
                                       TEST(wrong_inputs)};
    return op_table_load("shape", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
