#include "op_table.h"

#include <stdlib.h>

#include "core/core.h"
#include "ops/random.h"
#include "ulp.h"

#define OPTIONS                                                                                                               \
    .is_causal = op_flag(args, "is_causal"), .scale = op_number(args, "scale", 0), .enable_gqa = op_flag(args, "enable_gqa")

static tn_tensor *tables(tn_tensor *positions, const op_args *args, tn_dtype dtype, tn_tensor **sin)
{
    return tn_rope_tables(positions, op_int(args, "dim", 0), sin, .base = op_number(args, "base", 10000), .factor = op_number(args, "factor", 1),
                          .original_length = op_number(args, "original_length", 0), .low_freq_factor = op_number(args, "low_freq_factor", 1),
                          .high_freq_factor = op_number(args, "high_freq_factor", 4), .dtype = dtype);
}

static tn_tensor *rope(tn_tensor *x, tn_tensor *positions, const op_args *args)
{
    tn_tensor *sin, *cos = tables(positions, args, tn_dtype_of(x), &sin);
    return tn_rope(x, cos, sin, .interleaved = op_flag(args, "interleaved"));
}

static tn_tensor *cosines(tn_tensor *positions, const op_args *args)
{
    tn_tensor *sin, *cos = tables(positions, args, TN_F64, &sin), *one = tn_add(tn_square(cos), tn_square(sin));
    return tn_allclose(one, tn_ones_like(one), 1e-12, 0, false) ? cos : NULL;
}

#define ATTENTION(X)                                                                                                          \
    X(attend, tn_scaled_dot_product_attention(in[0], in[1], in[2], OPTIONS))                                                  \
    X(attend_masked, tn_scaled_dot_product_attention(in[0], in[1], in[2], OPTIONS, .attn_mask = in[3]))                       \
    X(attend_fixed, tn_scaled_dot_product_attention(in[0], in[1], in[2], OPTIONS, .attn_mask = in[3]))                        \
    X(rope, rope(in[0], in[1], args))                                                                                         \
    X(rope_tables, cosines(in[0], args))
OP_TABLE(rows, ATTENTION);

static void test_wrong_inputs(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *q = tn_ones(TN_SHAPE(2, 4, 5, 6)), *k = tn_ones(TN_SHAPE(2, 4, 7, 6)), *two = tn_ones(TN_SHAPE(2, 2, 7, 6)), *sin;
    tn_tensor *three = tn_ones(TN_SHAPE(2, 3, 7, 6)), *table = tn_ones(TN_SHAPE(5, 3)), *whole = tn_cast(q, TN_I64);
    check_fails(tn_scaled_dot_product_attention(NULL, k, k), TN_ERR_ARGUMENT, "scaled_dot_product_attention: q is NULL");
    check_fails(tn_scaled_dot_product_attention(q, NULL, k), TN_ERR_ARGUMENT, "scaled_dot_product_attention: k is NULL");
    check_fails(tn_scaled_dot_product_attention(q, k, NULL), TN_ERR_ARGUMENT, "scaled_dot_product_attention: v is NULL");
    check_fails(tn_scaled_dot_product_attention(whole, whole, whole), TN_ERR_DTYPE, "int64");
    check_fails(tn_scaled_dot_product_attention(q, tn_cast(k, TN_F64), k), TN_ERR_DTYPE, "q is float32 k is float64");
    check_fails(tn_scaled_dot_product_attention(q, k, tn_cast(k, TN_F16)), TN_ERR_DTYPE, "q is float32 v is float16");
    check_fails(tn_scaled_dot_product_attention(tn_ones(TN_SHAPE(3)), k, k), TN_ERR_SHAPE, "q is [3] [..., heads, l, e]");
    check_fails(tn_scaled_dot_product_attention(q, tn_ones(TN_SHAPE(4, 7, 6)), k), TN_ERR_SHAPE, "k is [4, 7, 6] same dims");
    check_fails(tn_scaled_dot_product_attention(q, tn_ones(TN_SHAPE(3, 4, 7, 6)), k), TN_ERR_SHAPE, "k is [3, 4, 7, 6] same dims");
    check_fails(tn_scaled_dot_product_attention(q, two, two), TN_ERR_SHAPE, "4 heads and 2: .enable_gqa");
    check_fails(tn_scaled_dot_product_attention(q, three, three, .enable_gqa = true), TN_ERR_SHAPE, "4 heads a multiple of the 3");
    check_fails(tn_scaled_dot_product_attention(q, k, two, .enable_gqa = true), TN_ERR_SHAPE, "k is [2, 4, 7, 6] v is [2, 2, 7, 6]");
    check_fails(tn_scaled_dot_product_attention(q, tn_ones(TN_SHAPE(2, 4, 7, 5)), k), TN_ERR_SHAPE, "[..., s, e]");
    check_fails(tn_scaled_dot_product_attention(q, k, tn_ones(TN_SHAPE(2, 4, 6, 6))), TN_ERR_SHAPE, "[..., s, ev]");
    check_fails(tn_scaled_dot_product_attention(q, k, k, .dropout_p = 1.5), TN_ERR_ARGUMENT, "dropout_p is 1.5");
    check_fails(tn_scaled_dot_product_attention(q, k, k, .scale = (double)NAN), TN_ERR_ARGUMENT, "scale is");
    check_fails(tn_scaled_dot_product_attention(q, k, k, .attn_mask = tn_ones(TN_SHAPE(5, 6))), TN_ERR_SHAPE,
                "attn_mask is [5, 6] [2, 4, 5, 7]");
    check_fails(tn_scaled_dot_product_attention(q, k, k, .attn_mask = tn_ones(TN_SHAPE(1, 2, 4, 5, 7))), TN_ERR_SHAPE, "attn_mask broadcast");
    check_fails(tn_scaled_dot_product_attention(q, k, k, .attn_mask = tn_ones(TN_SHAPE(5, 7), .dtype = TN_F64)), TN_ERR_DTYPE,
                "attn_mask is float64 q is float32");
    check_fails(tn_rope(NULL, table, table), TN_ERR_ARGUMENT, "rope: x is NULL");
    check_fails(tn_rope(q, NULL, table), TN_ERR_ARGUMENT, "rope: cos is NULL");
    check_fails(tn_rope(q, table, NULL), TN_ERR_ARGUMENT, "rope: sin is NULL");
    check_fails(tn_rope(whole, table, table), TN_ERR_DTYPE, "rope int64");
    check_fails(tn_rope(tn_ones(TN_SHAPE(3)), table, table), TN_ERR_SHAPE, "rope: x is [3]");
    check_fails(tn_rope(q, tn_ones(TN_SHAPE(5, 4)), table), TN_ERR_SHAPE, "rope: cos is [5, 4] [l, r]");
    check_fails(tn_rope(q, tn_ones(TN_SHAPE(1, 3)), table), TN_ERR_SHAPE, "rope: cos is [1, 3]");
    check_fails(tn_rope(q, table, tn_ones(TN_SHAPE(5, 2))), TN_ERR_SHAPE, "rope: sin is [5, 2] alike");
    check_fails(tn_rope(q, tn_ones(TN_SHAPE(5, 3), .requires_grad = true), table), TN_ERR_GRAD, "rope: cos requires a gradient");
    check_fails(tn_rope_tables(NULL, 4, &sin), TN_ERR_ARGUMENT, "rope_tables: positions is NULL");
    check_fails(tn_rope_tables(table, 3, &sin), TN_ERR_ARGUMENT, "rope_tables: dim is 3");
    check_fails(tn_rope_tables(table, 4, NULL), TN_ERR_ARGUMENT, "rope_tables: sin NULL");
    check_fails(tn_rope_tables(table, 4, &sin, .base = 0), TN_ERR_ARGUMENT, "base 0");
    check_fails(tn_rope_tables(table, 4, &sin, .low_freq_factor = 4), TN_ERR_ARGUMENT, "low_freq_factor 4");
    check_fails(tn_rope_tables(table, 4, &sin, .freq_factors = tn_ones(TN_SHAPE(3))), TN_ERR_SHAPE, "3");
    check_fails(tn_rope_tables(table, 4, &sin, .freq_factors = tn_zeros(TN_SHAPE(2))), TN_ERR_ARGUMENT, "freq_factors 0 positive");
}

/* Dropout drops what a random mask of the same seed drops, in backward too, whatever the blocks. */
static void test_dropout(void **state)
{
    (void)state;
    enum { L = 130, S = 301 };
    for (int causal = 0; causal < 2; causal++) {
        TN_SCOPE;
        tn_manual_seed(5);
        tn_tensor *in[3], *ours[3], *theirs[3];
        for (int i = 0; i < 3; i++)
            in[i] = tn_randn(TN_SHAPE(2, 2, i ? S : L, 8), .dtype = TN_F64, .requires_grad = true);
        tn_manual_seed(9);
        tn_tensor *y = tn_scaled_dot_product_attention(in[0], in[1], in[2], .dropout_p = 0.3, .is_causal = causal);
        const tn_random_state after = tn_get_random_state();
        tn_manual_seed(9);
        tn_tensor *keep = tn_random_mask("test", TN_SHAPE(2, 2, L, S), TN_F64, (tn_device_id){TN_CPU, 0}, 0.7, 1 / 0.7);
        tn_tensor *scores = tn_matmul(in[0], tn_transpose(in[1], 2, 3));
        assert_int_equal(after.offset, tn_get_random_state().offset);
        scores = tn_mul(scores, 1 / sqrt(8));
        if (causal)
            scores = tn_masked_fill(scores, tn_logical_not(tn_tril(tn_ones(TN_SHAPE(L, S), .dtype = TN_BOOL), 0)), -(double)INFINITY);
        tn_tensor *z = tn_matmul(tn_mul(tn_softmax(scores, -1), keep), in[2]);
        assert_true(tn_allclose(y, z, 1e-12, 1e-12, false));
        assert_int_equal(tn_grads_of(&y, 1, in, 3, ours, .grads = &z), TN_OK);
        assert_int_equal(tn_grads_of(&z, 1, in, 3, theirs, .grads = &z), TN_OK);
        for (int i = 0; i < 3; i++)
            assert_true(tn_allclose(ours[i], theirs[i], 1e-11, 1e-11, false));
        check_good();
    }
}

/* Gradients with a graph of their own, and without one, are the same; with dropout too. */
static void test_composed(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(3);
    tn_tensor *in[3], *fused[3], *made[3];
    for (int i = 0; i < 3; i++)
        in[i] = tn_randn(TN_SHAPE(2, i ? 2 : 4, i ? 9 : 7, 4), .dtype = TN_F64, .requires_grad = true);
    tn_tensor *y = tn_scaled_dot_product_attention(in[0], in[1], in[2], .enable_gqa = true, .dropout_p = 0.25, .is_causal = true);
    tn_tensor *loss = tn_sum(tn_square(y));
    assert_int_equal(tn_grads_of(&loss, 1, in, 3, fused, .retain_graph = true), TN_OK);
    assert_int_equal(tn_grads_of(&loss, 1, in, 3, made, .create_graph = true), TN_OK);
    for (int i = 0; i < 3; i++)
        assert_true(tn_allclose(fused[i], made[i], 1e-12, 1e-12, false));
    check_good();
}

/* The bits do not depend on the number of threads: with fewer heads than threads backward goes another way. */
static void test_threads(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(4);
    const int before = tn_get_num_threads();
    tn_tensor *in[3], *y[3], *d[3][3];
    for (int i = 0; i < 3; i++)
        in[i] = tn_randn(TN_SHAPE(1, i ? 2 : 4, i ? 530 : 390, 16), .requires_grad = true);
    for (int run = 0; run < 3; run++) {
        assert_int_equal(tn_set_num_threads((int[]){1, 2, 7}[run]), TN_OK);
        y[run] = tn_scaled_dot_product_attention(in[0], in[1], in[2], .enable_gqa = true, .is_causal = true);
        assert_int_equal(tn_grads_of(&y[run], 1, in, 3, d[run], .grads = &y[0]), TN_OK);
        assert_true(tn_equal(y[run], y[0]));
        for (int i = 0; i < 3; i++)
            assert_true(tn_equal(d[run][i], d[0][i]));
    }
    assert_int_equal(tn_set_num_threads(before), TN_OK);
    check_good();
}

/* ---- errors ---------------------------------------------------------------------------------------------------------------- */

typedef struct exact {
    tn_tensor *is, *size; /* the value, and the sum of its terms' magnitudes */
} exact;

static exact product(exact a, exact b) { return (exact){tn_matmul(a.is, b.is), tn_matmul(a.size, b.size)}; }
static exact turned(exact a) { return (exact){tn_transpose(a.is, -2, -1), tn_transpose(a.size, -2, -1)}; }
static exact times(exact a, double scale) { return (exact){tn_mul(a.is, scale), tn_mul(a.size, fabs(scale))}; }
static exact of(tn_tensor *x)
{
    tn_tensor *wide = tn_cast(tn_detach(x), TN_F64);
    return (exact){wide, tn_abs(wide)};
}
/* Summed over the heads that share one of k and v. */
static exact shared(exact a) { return (exact){tn_sum(a.is, .dim = 1, .keepdim = true), tn_sum(a.size, .dim = 1, .keepdim = true)}; }

/* y and the gradients of q, k and v, [2, heads, l, e] and [2, 1, s, e], in f64. A score is an exponent: what it is off by, which its own terms
 * measure, all that it weighs is off by. */
static void find_exact(tn_tensor *const *in, tn_tensor *dy_, bool causal, exact *out)
{
    const exact q = of(in[0]), k = of(in[1]), v = of(in[2]), dy = of(dy_);
    const double scale = 1 / sqrt((double)tn_size(in[0], 3));
    exact scores = times(product(q, turned(k)), scale), p, ds, dp = product(dy, turned(v));
    if (causal) {
        tn_tensor *hidden = tn_logical_not(tn_tril(tn_ones(TN_SHAPE(tn_size(q.is, 2), tn_size(k.is, 2)), .dtype = TN_BOOL), 0));
        scores.is = tn_masked_fill(scores.is, hidden, -(double)INFINITY), scores.size = tn_masked_fill(scores.size, hidden, 0);
    }
    p.is = tn_softmax(scores.is, -1);
    p.size = tn_mul(p.is, tn_add(tn_max(scores.size, .dim = -1, .keepdim = true), 1));
    ds.is = tn_mul(p.is, tn_sub(dp.is, tn_sum(tn_mul(p.is, dp.is), .dim = -1, .keepdim = true)));
    ds.size = tn_mul(p.size, tn_add(dp.size, tn_sum(tn_mul(p.is, dp.size), .dim = -1, .keepdim = true)));
    out[0] = product(p, v);
    out[1] = times(product(ds, k), scale);
    out[2] = times(shared(product(turned(ds), q)), scale);
    out[3] = shared(product(turned(p), dy));
}

/* `most`: in ulp of the sizes. */
static void within(tn_tensor *y, exact due, double most, const char *what)
{
    const float *is = tn_data(tn_contiguous(y));
    const double *right = tn_data(tn_contiguous(due.is)), *size = tn_data(tn_contiguous(due.size));
    check_good();
    for (int64_t i = 0; i < tn_numel(y); i++) {
        const double off = ulps_of(is[i], right[i], size[i]);
        if (!(off <= most))
            fail_msg("%s[%lld] is %a, %a was due: %.3g ulp", what, (long long)i, (double)is[i], right[i], off);
    }
}

/* The bounds of attention.c: heads of whole vectors and others, rows and columns that fill no tile; scores near each other and far apart, values far
 * from 0; float32, and products rounded to bf16 of inputs that are bf16. */
static void test_error(void **state)
{
    (void)state;
    tn_manual_seed(7);
    for (int i = 0; i < 48; i++) {
        TN_SCOPE;
        const int hard = i / 8 % 3;
        const bool causal = i % 2, rounded = i >= 24;
        tn_tensor *in[4], *d[3];
        for (int k = 0; k < 4; k++) {
            const int rows = (int[]){150, 49, 150, 97}[i / 2 % 4], columns = (int[]){103, 1300, 103, 520}[i / 2 % 4];
            const tn_shape shape = TN_SHAPE(2, k % 3 ? 1 : 2, k % 3 ? columns : rows, (int[]){16, 48, 64, 20}[i / 2 % 4]);
            tn_tensor *x = tn_mul(tn_randn(shape), k < 2 && hard ? (hard == 1 ? 3 : 0.1) : 1);
            x = hard < 2 ? x : k == 1 ? tn_add(x, 1) : k == 2 ? tn_add(x, 100) : x;
            in[k] = tn_detach(rounded ? tn_cast(tn_cast(x, TN_BF16), TN_F32) : x);
            assert_int_equal(tn_set_requires_grad(in[k], k < 3), TN_OK);
        }
        TN_AUTOCAST(rounded ? TN_BF16 : TN_F32);
        tn_tensor *y = tn_scaled_dot_product_attention(in[0], in[1], in[2], .is_causal = causal, .enable_gqa = true);
        exact due[4];
        assert_int_equal(tn_grads_of(&y, 1, in, 3, d, .grads = &in[3]), TN_OK);
        find_exact(in, in[3], causal, due);
        const double *most = rounded ? (double[]){0x1p14, 0x1p12, 0x1p10, 0.4 * 0x1p16} : (double[]){11, 1.5, 1, 4};
        within(y, due[0], most[0], "y");
        within(d[0], due[1], most[1], "dq");
        within(d[1], due[2], most[2], "dk");
        within(d[2], due[3], most[3], "dv");
    }
    check_good();
}

/* Under autocast products take all they multiply as bf16 has it: the inputs; probabilities of two columns, exp(-1/4) and 1, and of the gradients' too,
 * 0.437823 and slopes of 3.94385. */
static void test_rounded(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(8);
    TN_AUTOCAST(TN_BF16);
    tn_tensor *y[2], *in[2][4], *d[2][3];
    for (int k = 0; k < 4; k++) {
        in[0][k] = tn_randn(TN_SHAPE(2, 2, k % 3 ? 301 : 50, 48));
        in[1][k] = tn_detach(tn_cast(tn_cast(in[0][k], TN_BF16), TN_F32));
    }
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 3; k++)
            assert_int_equal(tn_set_requires_grad(in[i][k], true), TN_OK);
        y[i] = tn_scaled_dot_product_attention(in[i][0], in[i][1], in[i][2]);
        assert_int_equal(tn_grads_of(&y[i], 1, in[i], 3, d[i], .grads = &in[i][3]), TN_OK);
    }
    assert_true(tn_equal(y[0], y[1]) && tn_equal(d[0][2], d[1][2]));
    tn_tensor *zeros = tn_zeros(TN_SHAPE(1, 1, 1, 16)), *ones = tn_ones(TN_SHAPE(1, 1, 8, 16)), *row = tn_narrow(ones, 2, 0, 1);
    tn_tensor *few[] = {tn_add(ones, 0), tn_concat((tn_tensor *[]){zeros, tn_mul(row, -1. / 64)}, 2, 2), tn_concat((tn_tensor *[]){zeros, row}, 2, 2)};
    for (int k = 0; k < 3; k++)
        assert_int_equal(tn_set_requires_grad(few[k], true), TN_OK);
    tn_tensor *of = tn_scaled_dot_product_attention(few[0], few[1], few[2], .scale = 1);
    assert_int_equal(tn_grads_of(&of, 1, few, 3, d[0], .grads = &ones), TN_OK);
    check_values(tn_narrow(tn_narrow(of, 2, 0, 1), 3, 0, 1), 1e-6, 0.4370043);
    check_values(tn_narrow(tn_narrow(d[0][0], 2, 0, 1), 3, 0, 1), 1e-6, -3.9375 / 64);
    check_values(tn_narrow(tn_narrow(d[0][1], 2, 1, 1), 3, 0, 1), 1e-6, 31.5);
    check_values(tn_narrow(tn_narrow(d[0][2], 2, 1, 1), 3, 0, 1), 1e-6, 3.5);
    check_good();
}

/* A mask and causality together; 16-bit floats are computed in f32 and rounded once. */
static void test_both_masks_and_halves(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(6);
    tn_tensor *x = tn_cast(tn_randn(TN_SHAPE(2, 2, 5, 4)), TN_BF16), *wide = tn_cast(x, TN_F32);
    tn_tensor *mask = tn_gt(tn_randn(TN_SHAPE(2, 1, 1, 5)), -0.5), *causal = tn_tril(tn_ones(TN_SHAPE(5, 5), .dtype = TN_BOOL), 0);
    tn_tensor *y = tn_scaled_dot_product_attention(wide, wide, wide, .attn_mask = mask, .is_causal = true);
    assert_true(tn_equal(y, tn_scaled_dot_product_attention(wide, wide, wide, .attn_mask = tn_logical_and(mask, causal))));
    assert_true(tn_equal(tn_scaled_dot_product_attention(x, x, x, .attn_mask = mask, .is_causal = true), tn_cast(y, TN_BF16)));
    tn_tensor *sin, *cos = tn_rope_tables(tn_arange(0, 5), 4, &sin);
    assert_true(tn_equal(tn_rope(x, cos, sin), tn_cast(tn_rope(wide, cos, sin), TN_BF16)));
    tn_tensor *factors = tn_from_floats((float[]){1, 4}, TN_SHAPE(2)), *other = tn_rope_tables(tn_arange(0, 5), 4, &sin, .freq_factors = factors);
    assert_true(tn_equal(tn_narrow(other, 1, 0, 1), tn_narrow(cos, 1, 0, 1)));
    check_values(tn_narrow(other, 1, 1, 1), 1e-6, 1, 0.99999687500163, 0.99998750002604, 0.99997187513184, 0.99995000041667);
    check_good();
}

/* Without features all scores are 0: a row is the mean of the values. Without values' features there is nothing to compute. */
static void test_no_features(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *none = tn_zeros(TN_SHAPE(2, 3, 0), .requires_grad = true), *v = tn_arange(0, 12, .requires_grad = true, .dtype = TN_F32);
    tn_tensor *y = tn_scaled_dot_product_attention(none, none, tn_reshape(v, TN_SHAPE(2, 3, 2)));
    check_values(y, 1e-6, 2, 3, 2, 3, 2, 3, 8, 9, 8, 9, 8, 9);
    check_values(tn_grad_of(tn_sum(y), v), 1e-6, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1);
    y = tn_scaled_dot_product_attention(tn_reshape(v, TN_SHAPE(2, 3, 2)), tn_reshape(v, TN_SHAPE(2, 3, 2)), none);
    check_shape(y, 2, 3, 0);
    check_values(tn_grad_of(tn_sum(y), v), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
}

/* Heads split from a projection [2, 60, heads * 16]: through rotary embedding and attention, and back from them as gradients, they stay beside one
 * another in memory, and the values are those of heads that lie apart. */
static void test_heads_side_by_side(void **state)
{
    (void)state;
    for (int c = 0; c < 32; c++) { /* causal, heads of k and v, widths of vectors and not, lengths below 8 and above, dtypes */
        TN_SCOPE;
        const int causal = c & 1, kv_heads = c & 2 ? 3 : 1, width = c & 4 ? 16 : 20, l = c & 8 ? 60 : 5;
        const tn_dtype dtype = c & 16 ? TN_F64 : TN_F32;
        tn_tensor *sin, *cos = tn_rope_tables(tn_arange(0, l), 12, &sin, .dtype = dtype), *x[3], *of[2][3], *d[2][3], *y[2];
        tn_tensor *weight = tn_transpose(tn_randn(TN_SHAPE(2, l, 3, width), .dtype = dtype), 1, 2);
        for (int i = 0; i < 3; i++)
            x[i] = tn_randn(TN_SHAPE(2, l, i ? kv_heads : 3, width), .dtype = dtype, .requires_grad = true);
        for (int dense = 0; dense < 2; dense++) {
            for (int i = 0; i < 3; i++) {
                tn_tensor *heads = tn_transpose(x[i], 1, 2);
                heads = dense ? tn_contiguous(heads) : heads;
                of[dense][i] = i < 2 ? tn_rope(heads, cos, sin) : heads;
                assert_int_equal(tn_is_contiguous(tn_transpose(of[dense][i], 1, 2)), !dense || (i && kv_heads == 1));
            }
            y[dense] = tn_scaled_dot_product_attention(of[dense][0], of[dense][1], of[dense][2], .is_causal = causal, .enable_gqa = true);
            assert_int_equal(tn_is_contiguous(tn_transpose(y[dense], 1, 2)), !dense);
            assert_int_equal(tn_grads_of(&y[dense], 1, x, 3, d[dense], .grads = &weight), TN_OK);
        }
        assert_true(tn_equal(y[0], y[1]));
        for (int i = 0; i < 3; i++)
            assert_true(tn_equal(d[0][i], d[1][i]) && tn_is_contiguous(d[0][i]));
        check_good();
    }
}

/* What rotary embedding gives is no view, of any number of dims: it may be written in place, and the gradient is that of the product. */
static void test_rope_in_place(void **state)
{
    (void)state;
    TN_SCOPE;
    const tn_shape shapes[] = {TN_SHAPE(1, 1, 2, 3, 4), TN_SHAPE(1, 2, 3, 4), TN_SHAPE(2, 3, 4), TN_SHAPE(6, 4)};
    tn_tensor *values = tn_randn(TN_SHAPE(24)), *sin, *cos;
    for (int i = 0; i < 4; i++) {
        cos = tn_rope_tables(tn_arange(0, i < 3 ? 3 : 6), 4, &sin);
        tn_tensor *x = tn_clone(tn_reshape(values, shapes[i]));
        assert_int_equal(tn_set_requires_grad(x, true), TN_OK);
        tn_tensor *y = tn_rope(x, cos, sin), *ones = tn_ones_like(y);
        assert_true(tn_equal(tn_mul_(y, 2), tn_mul(tn_rope(tn_detach(x), cos, sin), 2)));
        tn_tensor *back = tn_rope(tn_grad_of(tn_sum(y), x), cos, sin); /* the gradient was turned the other way */
        assert_true(tn_allclose(back, tn_mul(ones, 2), 1e-6, 1e-6, false));
        check_good();
    }
}

/* Bytes at most in use beyond those at the start, forward and backward at length l. */
static int64_t peak(int64_t l, bool causal)
{
    TN_SCOPE;
    tn_tensor *in[3], *d[3];
    for (int i = 0; i < 3; i++)
        in[i] = tn_ones(TN_SHAPE(1, 2, l, 16), .requires_grad = true);
    const int64_t before = tn_get_memory_stats().in_use;
    tn_memory_reset_peak();
    tn_tensor *y = tn_scaled_dot_product_attention(in[0], in[1], in[2], .is_causal = causal);
    assert_int_equal(tn_grads_of(&y, 1, in, 3, d, .grads = &y), TN_OK);
    return tn_get_memory_stats().peak - before;
}

static void test_memory(void **state)
{
    (void)state;
    for (int causal = 0; causal < 2; causal++) {
        const int length = test_emulated() ? 512 : 1024, twice = 2 * length;
        const double small = (double)peak(length, causal), large = (double)peak(twice, causal);
        print_message("peak at %d: %.0f KiB, at %d: %.0f KiB; one matrix of scores would take %d KiB\n", length, small / 1024, twice,
                      large / 1024, twice * twice * 4 / 1024);
        assert_true(large < 2.2 * small);
        assert_true(large < 4.0 * twice * twice);
    }
    check_good();
}

int main(void)
{
    const struct CMUnitTest tests[] = {OP_TABLE_TESTS, TEST(test_wrong_inputs), TEST(test_dropout), TEST(test_composed), TEST(test_threads),
                                       TEST(test_error), TEST(test_rounded), TEST(test_both_masks_and_halves), TEST(test_no_features),
                                       TEST(test_heads_side_by_side), TEST(test_rope_in_place), TEST(test_memory)};
    return op_table_load("attention", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
