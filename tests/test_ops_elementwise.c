/* The elementwise operators against PyTorch, and what its values do not show: messages, dtypes, layouts, writing in place. */
#include "op_table.h"

#include "kernels/floats16.h"
#include "kernels/kernels.h"

/* The first three inputs, and an argument as a number. */
#define A in[0]
#define B in[1]
#define ARG(name) op_number(args, name, 0)
#define BOUND(name, missing) (op_has(args, name) ? op_number(args, name, 0) : missing)

static tn_tensor *clamp(tn_tensor *x, const op_args *args)
{
    return tn_clamp(x, .min = BOUND("min", -INFINITY), .max = BOUND("max", INFINITY));
}

#define ELEMENTWISE(X)                                                                                                        \
    X(exp, tn_exp(A)) X(expm1, tn_expm1(A)) X(log, tn_log(A)) X(log1p, tn_log1p(A)) X(log2, tn_log2(A)) X(sqrt, tn_sqrt(A))    \
    X(rsqrt, tn_rsqrt(A)) X(reciprocal, tn_reciprocal(A)) X(sin, tn_sin(A)) X(cos, tn_cos(A)) X(tanh, tn_tanh(A))              \
    X(erf, tn_erf(A)) X(sigmoid, tn_sigmoid(A)) X(neg, tn_neg(A)) X(abs, tn_abs(A)) X(sign, tn_sign(A))                        \
    X(square, tn_square(A)) X(floor, tn_floor(A)) X(ceil, tn_ceil(A)) X(round, tn_round(A)) X(relu, tn_relu(A))                \
    X(leaky_relu, tn_leaky_relu(A, .negative_slope = BOUND("negative_slope", 0.01)))                                          \
    X(elu, tn_elu(A, .alpha = BOUND("alpha", 1)))                                                                             \
    X(gelu, tn_gelu(A, .tanh = op_has(args, "approximate"))) X(silu, tn_silu(A))                                              \
    X(softplus, tn_softplus(A, .beta = BOUND("beta", 1), .threshold = BOUND("threshold", 20))) X(mish, tn_mish(A))             \
    X(hardswish, tn_hardswish(A)) X(clamp, clamp(A, args))                                                                    \
    X(isnan, tn_isnan(A)) X(isinf, tn_isinf(A)) X(logical_not, tn_logical_not(A))                                             \
    X(add, tn_add(A, B)) X(sub, tn_sub(A, B)) X(mul, tn_mul(A, B)) X(div, tn_div(A, B)) X(pow, tn_pow(A, B))                   \
    X(remainder, tn_remainder(A, B)) X(maximum, tn_maximum(A, B)) X(minimum, tn_minimum(A, B))                                \
    X(eq, tn_eq(A, B)) X(ne, tn_ne(A, B)) X(lt, tn_lt(A, B)) X(le, tn_le(A, B)) X(gt, tn_gt(A, B)) X(ge, tn_ge(A, B))          \
    X(logical_and, tn_logical_and(A, B)) X(logical_or, tn_logical_or(A, B)) X(logical_xor, tn_logical_xor(A, B))              \
    X(sub_self, tn_sub(A, A)) X(mul_self, tn_mul(A, A)) X(div_self, tn_div(A, A)) X(pow_self, tn_pow(A, A))                    \
    X(maximum_self, tn_maximum(A, A)) X(where, tn_where(A, B, in[2])) X(where_number, tn_where(A, B, 0.5))                    \
    X(masked_fill, tn_masked_fill(A, B, ARG("value"))) X(lerp, tn_lerp(A, B, in[2]))                                          \
    X(lerp_number, tn_lerp(A, B, ARG("weight"))) X(cast, tn_cast(A, op_dtype(args, "dtype")))                                 \
    X(pow_number, tn_pow(A, number(args, "exponent"))) X(number_pow, tn_pow(number(args, "base"), A))                         \
    X(plus_number, tn_add(A, number(args, "other"))) X(times_number, tn_mul(A, number(args, "other")))                        \
    X(add_, tn_add_(tn_mul(A, 1), B)) X(sub_, tn_sub_(tn_mul(A, 1), B)) X(mul_, tn_mul_(tn_mul(A, 1), B))                     \
    X(div_, tn_div_(tn_mul(A, 1), B)) X(copy_, tn_copy_(tn_mul(A, 1), B)) X(fill_, tn_fill_(tn_mul(A, 1), ARG("value")))      \
    X(over_number, tn_div(A, number(args, "other"))) X(number_minus, tn_sub(number(args, "other"), A))

/* A whole number is a C int, another a double, as they would stand in a program. */
static tn_tensor *number(const op_args *args, const char *name)
{
    double value = op_number(args, name, 0);
    return value == floor(value) ? tn_scalar_i64((int64_t)value) : tn_scalar_f64(value);
}
OP_TABLE(rows, ELEMENTWISE);

static void test_wrong_inputs(void **state)
{
    (void)state;
    tn_tensor *a = tn_ones(TN_SHAPE(2, 3)), *b = tn_ones(TN_SHAPE(4)), *i = tn_ones(TN_SHAPE(3), .dtype = TN_I64);
    tn_tensor *mask = tn_ones(TN_SHAPE(3), .dtype = TN_BOOL);
    check_fails(tn_add(a, b), TN_ERR_SHAPE, "add [2, 3] [4] test_ops_elementwise.c");
    check_fails(tn_add(a, NULL), TN_ERR_ARGUMENT, "add NULL");
    check_fails(tn_exp(NULL), TN_ERR_ARGUMENT, "exp NULL");
    check_fails(tn_where(mask, a, b), TN_ERR_SHAPE, "where [2, 3] [4]");
    check_fails(tn_where(i, a, 0), TN_ERR_DTYPE, "where condition int64 bool");
    check_fails(tn_masked_fill(a, i, 0), TN_ERR_DTYPE, "masked_fill mask int64 bool");
    check_fails(tn_masked_fill(i, tn_gt(a, 0), 0), TN_ERR_SHAPE, "masked_fill [2, 3] [3]");
    check_fails(tn_masked_fill(i, mask, -(double)INFINITY), TN_ERR_DTYPE, "masked_fill -inf int64 tn_cast");
    check_fails(tn_sub(mask, mask), TN_ERR_DTYPE, "sub bool");
    check_fails(tn_neg(mask), TN_ERR_DTYPE, "neg bool logical_not");
    check_fails(tn_gelu(i), TN_ERR_DTYPE, "gelu int64 cast");
    check_fails(tn_lerp(i, i, 0.5), TN_ERR_DTYPE, "lerp int64");
    check_fails(tn_pow(i, -1), TN_ERR_ARGUMENT, "pow int64 -1");
    check_fails(tn_remainder(i, 0), TN_ERR_ARGUMENT, "remainder 0");
    check_fails(tn_clamp(a), TN_ERR_ARGUMENT, "clamp .min .max");
    check_fails(tn_softplus(a, .beta = 0), TN_ERR_ARGUMENT, "softplus .beta");
    check_fails(tn_cast(a, (tn_dtype)77), TN_ERR_DTYPE, "cast 77");
    check_fails(tn_add_(b, a), TN_ERR_SHAPE, "add_ [4] [2, 3]");
    check_fails(tn_add_(tn_ones(TN_SHAPE(3)), a), TN_ERR_SHAPE, "add_ [3] [2, 3] grow");
    check_fails(tn_add_(i, 2.5), TN_ERR_DTYPE, "add_ float32 int64");
    check_fails(tn_div_(i, 2), TN_ERR_DTYPE, "div_ float32 int64");
    check_fails(tn_add_(mask, 1), TN_ERR_DTYPE, "add_ int64 bool");
    check_fails(tn_copy_(b, a), TN_ERR_SHAPE, "copy_ [2, 3] [4]");
    check_fails(tn_fill_(tn_expand(tn_ones(TN_SHAPE(1)), TN_SHAPE(4)), 1), TN_ERR_ARGUMENT, "fill_ expanded clone");
}

/* Every operator names itself: NULL, shapes that do not broadcast, a dtype that it is not for. */
typedef tn_tensor *(*one_fn)(tn_tensor *);
typedef tn_tensor *(*two_fn)(tn_operand, tn_operand);
#define ONE(name) {#name, tn_##name}
#define TWO(name) {#name, tn_##name}
static const struct {
    const char *name;
    one_fn run;
} functions[] = {ONE(exp), ONE(expm1), ONE(log), ONE(log1p), ONE(log2), ONE(sqrt), ONE(rsqrt), ONE(reciprocal), ONE(sin), ONE(cos), ONE(tanh),
                 ONE(erf), ONE(sigmoid), ONE(sign), ONE(square), ONE(isnan), ONE(isinf), ONE(logical_not)},
  numbers[] = {ONE(neg), ONE(abs), ONE(floor), ONE(ceil), ONE(round), ONE(relu)}, activations[] = {ONE(silu), ONE(mish), ONE(hardswish)};
static const struct {
    const char *name;
    two_fn run;
} twos[] = {TWO(add), TWO(sub), TWO(mul), TWO(div), TWO(pow), TWO(remainder), TWO(maximum), TWO(minimum), TWO(eq), TWO(ne), TWO(lt), TWO(le),
            TWO(gt), TWO(ge), TWO(logical_and), TWO(logical_or), TWO(logical_xor), TWO(add_), TWO(sub_), TWO(mul_), TWO(div_), TWO(copy_)};

static void refuses(const char *name, one_fn run, tn_tensor *wrong, tn_status status, const char *word)
{
    char words[64];
    snprintf(words, sizeof words, "%s %s", name, word);
    check_fails(run(wrong), status, words);
}

static void test_every_operator_refuses(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *a = tn_ones(TN_SHAPE(2, 3)), *b = tn_ones(TN_SHAPE(4)), *i = tn_ones(TN_SHAPE(3), .dtype = TN_I64);
    tn_tensor *mask = tn_ones(TN_SHAPE(3), .dtype = TN_BOOL);
    for (size_t k = 0; k < sizeof functions / sizeof *functions; k++)
        refuses(functions[k].name, functions[k].run, NULL, TN_ERR_ARGUMENT, "NULL");
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        refuses(numbers[k].name, numbers[k].run, NULL, TN_ERR_ARGUMENT, "NULL");
        refuses(numbers[k].name, numbers[k].run, mask, TN_ERR_DTYPE, "bool");
    }
    for (size_t k = 0; k < sizeof activations / sizeof *activations; k++) {
        refuses(activations[k].name, activations[k].run, NULL, TN_ERR_ARGUMENT, "NULL");
        refuses(activations[k].name, activations[k].run, i, TN_ERR_DTYPE, "int64");
    }
    for (size_t k = 0; k < sizeof twos / sizeof *twos; k++) {
        char words[64];
        snprintf(words, sizeof words, "%s [2, 3] [4]", twos[k].name);
        check_fails(twos[k].run(a, b), TN_ERR_SHAPE, words);
        snprintf(words, sizeof words, "%s NULL", twos[k].name);
        check_fails(twos[k].run(a, NULL), TN_ERR_ARGUMENT, words);
        check_fails(twos[k].run(NULL, a), TN_ERR_ARGUMENT, words);
    }
    check_fails(tn_leaky_relu(i), TN_ERR_DTYPE, "leaky_relu int64");
    check_fails(tn_elu(mask), TN_ERR_DTYPE, "elu bool");
    check_fails(tn_softplus(i), TN_ERR_DTYPE, "softplus int64");
    check_fails(tn_clamp(NULL, .min = 0), TN_ERR_ARGUMENT, "clamp NULL");
    check_fails(tn_where(mask, NULL, a), TN_ERR_ARGUMENT, "where NULL");
    check_fails(tn_masked_fill(a, NULL, 0), TN_ERR_ARGUMENT, "masked_fill mask NULL");
    check_fails(tn_lerp(a, b, 0.5), TN_ERR_SHAPE, "lerp [2, 3] [4]");
    check_fails(tn_cast(NULL, TN_F32), TN_ERR_ARGUMENT, "cast NULL");
    check_fails(tn_fill_(NULL, 0), TN_ERR_ARGUMENT, "fill_ NULL");
}

static void test_numbers_do_not_promote(void **state)
{
    (void)state;
    TN_SCOPE;
    static const tn_dtype floats[] = {TN_F32, TN_F64, TN_F16, TN_BF16}, integers[] = {TN_I64, TN_I32, TN_I16, TN_I8, TN_U8};
    for (int k = 0; k < 4; k++) {
        tn_tensor *x = tn_ones(TN_SHAPE(2), .dtype = floats[k]);
        assert_int_equal(tn_dtype_of(tn_mul(x, 2.5)), floats[k]);
        assert_int_equal(tn_dtype_of(tn_pow(2, x)), floats[k]);
        assert_int_equal(tn_dtype_of(tn_sub(true, x)), floats[k]);
        check_values(tn_sub(1.5, x), 0, 0.5, 0.5);
    }
    for (int k = 0; k < 5; k++) {
        tn_tensor *x = tn_full(TN_SHAPE(2), 7, .dtype = integers[k]);
        assert_int_equal(tn_dtype_of(tn_mul(x, 2)), integers[k]);
        assert_int_equal(tn_dtype_of(tn_mul(x, 2.0)), TN_F32);
        assert_int_equal(tn_dtype_of(tn_div(x, 2)), TN_F32);
        check_values(tn_sub(10, x), 0, 3, 3);
        check_values(tn_remainder(x, 4), 0, 3, 3);
    }
    check_good();
}

/* A number that a 16-bit float cannot hold is not rounded before it is used: what PyTorch gives, to the bit. */
static void test_numbers_keep_their_digits(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *b = tn_full(TN_SHAPE(1), 9, .dtype = TN_BF16), *h = tn_full(TN_SHAPE(1), 3, .dtype = TN_F16), *y = tn_clone(b);
    check_values(tn_mul(b, 0.1), 0, 0.8984375);
    check_values(tn_mul(0.7, b), 0, 6.3125);
    check_values(tn_mul(h, 0.1), 0, 0.300048828125);
    check_values(tn_mul_(y, 1.1), 0, 9.875);
    check_values(tn_div(tn_full(TN_SHAPE(1), 13, .dtype = TN_BF16), 0.7), 0, 18.625);
    check_values(tn_lerp(tn_zeros_like(b), b, 0.7), 0, 6.3125);
    assert_int_equal(tn_dtype_of(tn_mul(b, 0.1)), TN_BF16);
}

static void test_integer_corners(void **state)
{
    (void)state;
    TN_SCOPE;
    const int64_t least[] = {INT64_MIN, INT32_MIN, INT16_MIN, INT8_MIN};
    const tn_dtype dtypes[] = {TN_I64, TN_I32, TN_I16, TN_I8};
    for (int k = 0; k < 4; k++) {
        tn_tensor *x = tn_from_ints(&least[k], TN_SHAPE(1), .dtype = dtypes[k]);
        assert_int_equal(tn_item_i64(tn_neg(x)), least[k]);
        assert_int_equal(tn_item_i64(tn_abs(x)), least[k]);
        assert_int_equal(tn_item_i64(tn_remainder(x, -1)), 0);
        assert_int_equal(tn_item_i64(tn_sub(x, 1)), -(least[k] + 1));
        assert_int_equal(tn_item_i64(tn_square(x)), 0);
    }
    const double wild[] = {NAN, INFINITY, -INFINITY, 1e20, -1e20, 300.7, -1.5, 0.25};
    tn_tensor *x = tn_from_doubles(wild, TN_SHAPE(8));
    check_values(tn_cast(x, TN_I32), 0, 0, INT32_MAX, INT32_MIN, INT32_MAX, INT32_MIN, 300, -1, 0);
    check_values(tn_cast(tn_cast(x, TN_F32), TN_I32), 0, 0, INT32_MAX, INT32_MIN, INT32_MAX, INT32_MIN, 300, -1, 0);
    assert_int_equal(tn_item_i64(tn_cast(tn_full(TN_SCALAR, 1e20), TN_I64)), INT64_MAX);
    assert_int_equal(tn_item_i64(tn_cast(tn_full(TN_SCALAR, -1e20), TN_I64)), INT64_MIN);
    check_values(tn_cast(x, TN_BOOL), 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const int64_t big = ((int64_t)1 << 62) + 1;
    assert_int_equal(tn_item_i64(tn_maximum(tn_from_ints(&big, TN_SHAPE(1)), 5)), big);
    assert_int_equal(tn_item_i64(tn_add(tn_from_ints(&big, TN_SHAPE(1)), 1)), big + 1);
    check_good();
}

static void test_layout_follows_the_inputs(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_reshape(tn_arange(0, 24, .dtype = TN_F32), TN_SHAPE(2, 3, 4)), *t = tn_permute(x, TN_DIMS(2, 0, 1));
    tn_tensor *results[] = {tn_exp(t), tn_add(t, 1), tn_mul(t, t), tn_gt(t, 3), tn_cast(t, TN_F64), tn_where(tn_gt(t, 3), t, 0)};
    for (int k = 0; k < 6; k++)
        for (int d = 0; d < 3; d++)
            assert_int_equal(tn_stride(results[k], d), tn_stride(t, d));
    check_values(tn_add(tn_select(t, 0, 1), tn_transpose(tn_ones(TN_SHAPE(3, 2)), 0, 1)), 0, 2, 6, 10, 14, 18, 22);
    assert_true(tn_is_contiguous(tn_add(t, tn_contiguous(t))) || tn_stride(tn_add(t, tn_contiguous(t)), 0) == 1);
    tn_tensor *gaps = tn_select(tn_reshape(x, TN_SHAPE(12, 2)), 1, 0);
    assert_true(tn_is_contiguous(tn_neg(gaps)));
    check_values(tn_neg(gaps), 0, 0, -2, -4, -6, -8, -10, -12, -14, -16, -18, -20, -22);
}

/* Every pair of layouts at sizes around those of the kernels' pieces. */
static void test_sizes_and_strides(void **state)
{
    (void)state;
    const int64_t sizes[] = {1, 2, 7, 255, 256, 257, 511, 513, 1030};
    for (int s = 0; s < 9; s++)
        for (int r = 0; r < 3; r++) {
            TN_SCOPE;
            int64_t n = sizes[s], m = sizes[r + 1];
            tn_tensor *a = tn_reshape(tn_arange(0, (double)(n * m), .dtype = TN_F32), TN_SHAPE(n, m));
            tn_tensor *b = tn_transpose(tn_reshape(tn_arange(0, (double)(n * m), .dtype = TN_I16), TN_SHAPE(m, n)), 0, 1);
            tn_tensor *sum = tn_contiguous(tn_sub(a, b));
            const float *values = tn_data(sum);
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < m; j++)
                    if (values[i * m + j] != (float)(i * m + j) - (float)(int16_t)(j * n + i))
                        fail_msg("[%d, %d] at %d, %d: %g", (int)n, (int)m, (int)i, (int)j, (double)values[i * m + j]);
        }
}

static void test_threads_give_the_same_bits(void **state)
{
    (void)state;
    TN_SCOPE;
    int threads = tn_get_num_threads();
    tn_tensor *x = tn_linspace(-4, 4, 300001), *row = tn_linspace(1, 2, 301), *one, *two, *wide;
    tn_tensor *grid = tn_reshape(tn_linspace(-1, 1, 301 * 997), TN_SHAPE(997, 301));
    assert_int_equal(tn_set_num_threads(1), TN_OK);
    one = tn_gelu(x);
    two = tn_mul(tn_transpose(grid, 0, 1), tn_reshape(row, TN_SHAPE(301, 1)));
    assert_int_equal(tn_set_num_threads(2), TN_OK);
    assert_true(tn_equal(one, tn_gelu(x)));
    wide = tn_mul(tn_transpose(grid, 0, 1), tn_reshape(row, TN_SHAPE(301, 1)));
    assert_true(tn_equal(two, wide));
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
}

static void check_rounded(const char *name, const tn_tensor *got, tn_tensor *exact)
{
    const tn_bf16 *y = tn_data(got), *want = tn_data(tn_cast(exact, TN_BF16));
    check_good();
    for (int64_t i = 0; i < tn_numel(exact); i++)
        if (y[i].bits != want[i].bits)
            fail_msg("%s at %lld: %04x for %04x", name, (long long)i, y[i].bits, want[i].bits);
}

static void run_op(const char *name, bool binary, int op, tn_dtype dtype, void *out, const void *a, const void *b, int64_t n)
{
    const double param[] = {0.75, 2};
    const int64_t size = (int64_t)tn_dtype_size(dtype);
    const tn_loop loop = {.ndim = 1, .operands = binary ? 3 : 2, .sizes = {n}, .strides = {{size}, {size}, {size}},
                          .data = {out, (char *)(uintptr_t)a, (char *)(uintptr_t)b}};
    const tn_kernels *k = tn_kernels_of(TN_CPU);
    if ((binary ? k->binary((tn_binary_op)op, dtype, &loop) : k->unary((tn_unary_op)op, dtype, param, &loop)) != TN_OK)
        fail_msg("%s", name);
}

/* Each operator of the lists, fused gradients too, over bfloat16 and over the same numbers in float. */
static void check_all_rounded(const tn_bf16 *a, const tn_bf16 *b, int64_t n)
{
#define UNARY(NAME, ...) {#NAME, false, TN_UNARY_##NAME},
#define BINARY(NAME, ...) {#NAME, true, TN_BINARY_##NAME},
    static const struct {
        const char *name;
        bool binary;
        int op;
    } all[] = {TN_UNARY_FLOAT_LIST(UNARY) TN_UNARY_NUMBER_LIST(UNARY) TN_UNARY_ROUND_LIST(UNARY) TN_BINARY_NUMBER_LIST(BINARY) TN_BINARY_FLOAT_LIST(BINARY)};
    static float x[1 << 16], y[1 << 16], exact[1 << 16];
    static tn_bf16 got[1 << 16];
    assert_true(n <= 1 << 16);
    for (int64_t i = 0; i < n; i++) {
        x[i] = tn_load_bf16(a[i]);
        y[i] = tn_load_bf16(b[i]);
    }
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        run_op(all[k].name, all[k].binary, all[k].op, TN_BF16, got, a, b, n);
        run_op(all[k].name, all[k].binary, all[k].op, TN_F32, exact, x, y, n);
        for (int64_t i = 0; i < n; i++)
            if (got[i].bits != tn_store_bf16(exact[i]).bits)
                fail_msg("%s(%a, %a): %04x for %04x", all[k].name, (double)x[i], (double)y[i], got[i].bits, tn_store_bf16(exact[i]).bits);
    }
}

/* Every bfloat16, an odd count of them and from places that no word begins at too: as the operator in float, rounded. */
static void test_bfloat16_is_rounded_float(void **state)
{
    (void)state;
    enum { N = 1 << 16, BINARIES = 8 };
    if (case_device()) {
        print_message("skipped: of the CPU's loops\n");
        return;
    }
    static tn_bf16 left[N], right[N];
    for (int i = 0; i < N; i++) {
        left[i].bits = (uint16_t)i;
        right[i].bits = (left[i].bits & 0x7fff) > 0x7f80 ? 0x3f80 : (uint16_t)((unsigned)i * 40503u); /* of two NaNs either may come out */
    }
    for (int from = 0; from < 2; from++) {
        TN_SCOPE;
        tn_tensor *a = tn_narrow(tn_from_memory(left, TN_SHAPE(N), NULL, NULL, .dtype = TN_BF16), 0, from, N - 1);
        tn_tensor *b = tn_narrow(tn_from_memory(right, TN_SHAPE(N), NULL, NULL, .dtype = TN_BF16), 0, from, N - 1);
        tn_tensor *number = tn_full(TN_SHAPE(1), 1.7, .dtype = TN_BF16), *x = tn_cast(a, TN_F32), *y = tn_cast(b, TN_F32);
        for (int k = 0; k < BINARIES; k++) {
            check_rounded(twos[k].name, twos[k].run(a, b), twos[k].run(x, y));
            check_rounded(twos[k].name, twos[k].run(a, number), twos[k].run(x, tn_cast(number, TN_F32)));
        }
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
            check_rounded(numbers[k].name, numbers[k].run(a), numbers[k].run(x));
        check_rounded("clamp", tn_clamp(a, .min = -1, .max = 2), tn_clamp(x, .min = -1, .max = 2));
        check_all_rounded(left + from, right + from, N - 1);
    }
}

/* ---- in place ------------------------------------------------------------------------------------------------------------- */

static void test_in_place_values(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_from_floats(((float[]){1, 2, 3, 4, 5, 6}), TN_SHAPE(2, 3));
    uint64_t version = tn_version_of(x);
    assert_ptr_equal(tn_add_(x, 1), x);
    assert_true(tn_version_of(x) > version);
    check_values(x, 0, 2, 3, 4, 5, 6, 7);
    check_values(tn_mul_(x, tn_from_floats(((float[]){1, 2, 3}), TN_SHAPE(3))), 0, 2, 6, 12, 5, 12, 21);
    check_values(tn_sub_(x, tn_ones(TN_SHAPE(2, 1), .dtype = TN_I64)), 0, 1, 5, 11, 4, 11, 20);
    check_values(tn_div_(x, 2), 0, 0.5, 2.5, 5.5, 2, 5.5, 10);
    check_values(tn_copy_(x, tn_from_ints(((int64_t[]){7, 8, 9}), TN_SHAPE(3))), 0, 7, 8, 9, 7, 8, 9);
    tn_fill_(tn_select(x, 1, 1), 5);
    check_values(x, 0, 7, 5, 9, 7, 5, 9);
    check_values(tn_add_(x, x), 0, 14, 10, 18, 14, 10, 18);
    check_values(tn_zero_(x), 0, 0, 0, 0, 0, 0, 0);
    check_values(tn_fill_(tn_zeros(TN_SHAPE(2), .dtype = TN_I8), 2.7), 0, 2, 2);
    check_values(tn_add_(tn_full(TN_SHAPE(2), 250, .dtype = TN_U8), tn_full(TN_SHAPE(2), 10, .dtype = TN_I64)), 0, 4, 4);
    tn_zero_(tn_empty(TN_SHAPE(0, 3)));
    check_good();
}

static void test_in_place_on_its_own_memory(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_reshape(tn_arange(0, 4, .dtype = TN_F32), TN_SHAPE(2, 2));
    check_values(tn_add_(x, tn_transpose(x, 0, 1)), 0, 0, 3, 3, 6);
    tn_tensor *y = tn_arange(0, 5, .dtype = TN_F32);
    tn_add_(tn_narrow(y, 0, 1, 4), tn_narrow(y, 0, 0, 4));
    check_values(y, 0, 0, 1, 3, 5, 7);
    tn_copy_(tn_narrow(y, 0, 0, 4), tn_narrow(y, 0, 1, 4));
    check_values(y, 0, 1, 3, 5, 7, 7);
}

static void test_in_place_and_gradients(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_from_doubles(((double[]){1, 2, 3}), TN_SHAPE(3), .requires_grad = true);
    tn_tensor *w = tn_from_doubles(((double[]){4, 5, 6}), TN_SHAPE(3), .requires_grad = true);
    check_fails(tn_add_(x, 1), TN_ERR_GRAD, "add_ leaf TN_NO_GRAD");
    tn_tensor *y = tn_mul(x, 2);
    tn_add_(tn_mul_(y, w), 1);                       /* 2 x w + 1 */
    tn_div_(y, w);                                   /* 2 x + 1 / w */
    tn_sub_(y, tn_mul(w, 3));                        /* 2 x + 1 / w - 3 w */
    check_values(tn_grad_of(tn_sum(y), x, .retain_graph = true), 1e-12, 2, 2, 2);
    check_values(tn_grad_of(tn_sum(y), w), 1e-12, -3 - 1.0 / 16, -3 - 1.0 / 25, -3 - 1.0 / 36);
    tn_tensor *z = tn_zeros(TN_SHAPE(2, 3), .dtype = TN_F64);
    tn_copy_(z, tn_mul(x, x));
    check_values(tn_grad_of(tn_sum(z), x), 1e-12, 4, 8, 12);
    tn_tensor *u = tn_mul(x, 2), *square = tn_mul(u, u);
    tn_fill_(u, 0);
    assert_null(tn_grad_of(tn_sum(square), x));
    check_error(TN_ERR_GRAD, "changed in place");
    tn_tensor *v = tn_mul(x, 2), *part = tn_narrow(v, 0, 0, 2);
    check_fails(tn_mul_(v, 2), TN_ERR_GRAD, "mul_ view clone");
    check_fails(tn_mul_(part, 2), TN_ERR_GRAD, "mul_ view clone");
    {
        TN_NO_GRAD;
        tn_sub_(x, tn_full(TN_SHAPE(3), 0.5, .dtype = TN_F64));
        check_values(x, 0, 0.5, 1.5, 2.5);
        assert_true(tn_is_leaf(x));
    }
    tn_tensor *s = tn_mul(x, 1);
    tn_mul_(s, s); /* both sides are one */
    check_values(tn_grad_of(tn_sum(s), x), 1e-12, 1, 3, 5);
}

static void test_slopes_at_corners(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_from_doubles(((double[]){0, -0.0, NAN}), TN_SHAPE(3), .requires_grad = true);
    check_values(tn_grad_of(tn_sum(tn_relu(x)), x), 0, 0, 0, 1);
    check_values(tn_grad_of(tn_sum(tn_abs(x)), x), 0, 0, 0, 0);
    check_values(tn_narrow(tn_grad_of(tn_sum(tn_pow(x, 2)), x), 0, 0, 2), 0, 0, 0);
    check_values(tn_narrow(tn_grad_of(tn_sum(tn_pow(x, 0)), x), 0, 0, 2), 0, 0, 0);
    check_values(tn_narrow(tn_grad_of(tn_sum(tn_clamp(x, .min = 0)), x), 0, 0, 2), 0, 0, 0);
    check_values(tn_relu(x), 0, 0, 0, NAN);
    check_values(tn_sigmoid(tn_cast(x, TN_F32)), 0, 0.5, 0.5, NAN);
    check_values(tn_tanh(tn_cast(x, TN_F32)), 0, 0, 0, NAN);
}

/* Results of 32 MiB and more go past the caches in pieces: each element, those before the first whole line and after the last piece too. */
static void test_large_results(void **state)
{
    (void)state;
    if (case_device() || getenv("TENON_TEST_QUICK")) {
        print_message("skipped: 32 MiB at a time, on the CPU and under no emulator\n");
        return;
    }
    enum { N = (1 << 23) + 533 };
    TN_SCOPE;
    tn_tensor *x = tn_arange(N, .dtype = TN_F32), *to = tn_zeros(TN_SHAPE(N)); /* whole numbers below 2^24: exact */
    assert_int_equal(tn_copy_(tn_narrow(to, 0, 3, N - 8), tn_narrow(x, 0, 1, N - 8)) != NULL, true);
    const tn_tensor *minus = tn_neg(tn_ones(TN_SHAPE(N)));
    const float *sum = tn_data(tn_add(x, 1)), *product = tn_data(tn_mul(x, minus)), *copied = tn_data(to);
    const int32_t *whole = tn_data(tn_cast(x, TN_I32));
    check_good();
    for (int64_t i = 0; i < N; i++) {
        const float copy = i < 3 || i >= N - 5 ? 0 : (float)(i - 2);
        if (sum[i] != (float)(i + 1) || product[i] != (float)-i || copied[i] != copy || whole[i] != i)
            fail_msg("at %lld: %g, %g, %g, %d", (long long)i, (double)sum[i], (double)product[i], (double)copied[i], whole[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {OP_TABLE_TESTS,
                                       TEST(test_wrong_inputs),
                                       TEST(test_every_operator_refuses),
                                       TEST(test_numbers_do_not_promote),
                                       TEST(test_numbers_keep_their_digits),
                                       TEST(test_integer_corners),
                                       TEST(test_layout_follows_the_inputs),
                                       TEST(test_sizes_and_strides),
                                       TEST(test_threads_give_the_same_bits),
                                       TEST(test_bfloat16_is_rounded_float),
                                       TEST(test_in_place_values),
                                       TEST(test_in_place_on_its_own_memory),
                                       TEST(test_in_place_and_gradients),
                                       TEST(test_slopes_at_corners),
                                       TEST(test_large_results)};
    return op_table_load("elementwise", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
