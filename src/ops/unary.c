/* Operators of one tensor: what each is for, its kernel, its gradient. */
#include <tenon/ops.h>

#include "ops/create.h"
#include "ops/elementwise.h"
#include "ops/relu_mask.h"

static bool is_float(const tn_tensor *x) { return tn_dtype_is_float((tn_dtype)x->dtype); }

/* What a node keeps of forward. */
typedef enum keeps { KEEPS_NOTHING, KEEPS_X, KEEPS_Y } keeps;
enum { PARAMS = 2 };

static tn_tensor *finish(const char *name, tn_tensor *x, tn_tensor *y, tn_backward_fn backward, keeps what, const double *param)
{
    if (!y || !backward)
        return y;
    tn_tensor *saved = what == KEEPS_X ? x : y;
    return tn_record(y, name, backward, TN_INPUTS(x), &saved, what == KEEPS_NOTHING ? 0 : 1, param, param ? PARAMS * sizeof *param : 0);
}

/* A function of floats; integers and bool are first converted to the default dtype. */
static tn_tensor *function(const char *name, tn_unary_op op, tn_tensor *x, tn_backward_fn backward, keeps what)
{
    if (!tn_ready(name, "x", x))
        return NULL;
    tn_dtype dtype = is_float(x) ? (tn_dtype)x->dtype : tn_get_default_dtype();
    return finish(name, x, tn_unary_raw(name, op, dtype, NULL, x), backward, what, NULL);
}

/* An activation: floats only. */
static tn_tensor *activation(const char *name, tn_unary_op op, tn_tensor *x, const double *param, tn_backward_fn backward, keeps what)
{
    if (!tn_ready(name, "x", x))
        return NULL;
    if (!is_float(x))
        return tn_fail(TN_ERR_DTYPE, "%s: x is %s, and floats are needed: tn_cast it first", name, tn_dtype_name((tn_dtype)x->dtype));
    return finish(name, x, tn_unary_raw(name, op, (tn_dtype)x->dtype, param, x), backward, what, param);
}

/* An operator of numbers that keeps their dtype. */
static tn_tensor *number(const char *name, tn_unary_op op, tn_tensor *x, const double *param, tn_backward_fn backward, keeps what)
{
    if (!tn_ready(name, "x", x))
        return NULL;
    if (x->dtype == TN_BOOL)
        return tn_fail(TN_ERR_DTYPE, "%s: x is bool, and numbers are needed: tn_logical_not negates, tn_cast converts", name);
    return finish(name, x, tn_unary_raw(name, op, (tn_dtype)x->dtype, param, x), backward, what, param);
}

/* A rule that gives y's gradient as an expression in dy, the node's saved tensor v and its parameters p. */
#define RULE(name, expression)                                                                                                \
    static void name##_backward(tn_node *node, tn_tensor *const *dys, tn_tensor **dx)                                         \
    {                                                                                                                         \
        tn_tensor *dy = dys[0], *v = node->saved_count ? tn_node_saved(node, 0) : NULL;                                       \
        const double *p = tn_node_attr(node);                                                                                 \
        (void)v, (void)p;                                                                                                     \
        if (!tn_failing())                                                                                                    \
            dx[0] = expression;                                                                                               \
    }
/* A C number as an operand. */
#define N(value) tn_scalar_f64(value)

/* dy times a slope that a kernel computes from v, where no history is asked for; else NULL, without an error. */
static tn_tensor *fused(tn_binary_op op, tn_tensor *dy, tn_tensor *v)
{
    if (tn_grad_enabled())
        return NULL;
    return tn_binary_raw("backward", op, (tn_dtype)dy->dtype, (tn_dtype)dy->dtype, dy, v);
}

/* ---- numbers -------------------------------------------------------------------------------------------------------------- */

RULE(neg, tn_neg(dy))
tn_tensor *tn_neg(tn_tensor *x) { return number("neg", TN_UNARY_NEG, x, NULL, neg_backward, KEEPS_NOTHING); }

RULE(abs, tn_mul(dy, tn_sign(v)))
tn_tensor *tn_abs(tn_tensor *x) { return number("abs", TN_UNARY_ABS, x, NULL, abs_backward, KEEPS_X); }

RULE(flat, tn_zeros_of("zeros", tn_shape_of(dy), dy))
tn_tensor *tn_sign(tn_tensor *x)
{
    if (x && x->dtype == TN_BOOL)
        return tn_clone(x);
    return number("sign", TN_UNARY_SIGN, x, NULL, flat_backward, KEEPS_NOTHING);
}
tn_tensor *tn_floor(tn_tensor *x) { return number("floor", TN_UNARY_FLOOR, x, NULL, flat_backward, KEEPS_NOTHING); }
tn_tensor *tn_ceil(tn_tensor *x) { return number("ceil", TN_UNARY_CEIL, x, NULL, flat_backward, KEEPS_NOTHING); }
tn_tensor *tn_round(tn_tensor *x) { return number("round", TN_UNARY_ROUND, x, NULL, flat_backward, KEEPS_NOTHING); }

RULE(square, tn_mul(dy, tn_mul(v, N(2))))
tn_tensor *tn_square(tn_tensor *x)
{
    if (x && x->dtype == TN_BOOL)
        x = tn_cast(x, TN_I64);
    return number("square", TN_UNARY_SQUARE, x, NULL, square_backward, KEEPS_X);
}

RULE(relu, tn_relu_mask(dy, v))
tn_tensor *tn_relu(tn_tensor *x) { return number("relu", TN_UNARY_RELU, x, NULL, relu_backward, KEEPS_Y); }

/* Inside the bounds that were given; at a bound itself the slope is 0. */
static tn_tensor *inside(tn_tensor *x, const double *p)
{
    tn_tensor *above = p[0] == -INFINITY ? NULL : tn_gt(x, N(p[0])), *below = p[1] == INFINITY ? NULL : tn_lt(x, N(p[1]));
    return above && below ? tn_logical_and(above, below) : above ? above : below;
}
RULE(clamp, tn_where(inside(v, p), dy, N(0)))
tn_tensor *tn_clamp_with(const tn_clamp_args *args)
{
    TN_KNOWN(tn_clamp_args, args);
    tn_tensor *x = args->x;
    if (!tn_ready("clamp", "x", x))
        return NULL;
    const double p[PARAMS] = {args->min, args->max};
    if (p[0] == -INFINITY && p[1] == INFINITY)
        return tn_fail(TN_ERR_ARGUMENT, "clamp: give .min or .max, or both");
    bool whole = (isinf(p[0]) || floor(p[0]) == p[0]) && (isinf(p[1]) || floor(p[1]) == p[1]);
    tn_dtype dtype = is_float(x) ? (tn_dtype)x->dtype : !whole ? tn_get_default_dtype() : x->dtype == TN_BOOL ? TN_I64 : (tn_dtype)x->dtype;
    tn_tensor *y = isnan(p[0]) || isnan(p[1]) ? tn_binary_raw("clamp", TN_BINARY_ADD, dtype, dtype, x, N(NAN))
                                              : tn_unary_raw("clamp", TN_UNARY_CLAMP, dtype, p, x);
    return finish("clamp", x, y, clamp_backward, KEEPS_X, p);
}

/* ---- functions ------------------------------------------------------------------------------------------------------------ */

RULE(exp, tn_mul(dy, v))
tn_tensor *tn_exp(tn_tensor *x) { return function("exp", TN_UNARY_EXP, x, exp_backward, KEEPS_Y); }

RULE(expm1, tn_mul(dy, tn_add(v, N(1))))
tn_tensor *tn_expm1(tn_tensor *x) { return function("expm1", TN_UNARY_EXPM1, x, expm1_backward, KEEPS_Y); }

RULE(log, tn_div(dy, v))
tn_tensor *tn_log(tn_tensor *x) { return function("log", TN_UNARY_LOG, x, log_backward, KEEPS_X); }

RULE(log1p, tn_div(dy, tn_add(v, N(1))))
tn_tensor *tn_log1p(tn_tensor *x) { return function("log1p", TN_UNARY_LOG1P, x, log1p_backward, KEEPS_X); }

RULE(log2, tn_div(dy, tn_mul(v, N(0.69314718055994530942))))
tn_tensor *tn_log2(tn_tensor *x) { return function("log2", TN_UNARY_LOG2, x, log2_backward, KEEPS_X); }

RULE(sqrt, tn_div(dy, tn_mul(v, N(2))))
tn_tensor *tn_sqrt(tn_tensor *x) { return function("sqrt", TN_UNARY_SQRT, x, sqrt_backward, KEEPS_Y); }

RULE(rsqrt, tn_mul(dy, tn_mul(tn_mul(tn_square(v), v), N(-0.5))))
tn_tensor *tn_rsqrt(tn_tensor *x) { return function("rsqrt", TN_UNARY_RSQRT, x, rsqrt_backward, KEEPS_Y); }

RULE(reciprocal, tn_neg(tn_mul(dy, tn_square(v))))
tn_tensor *tn_reciprocal(tn_tensor *x) { return function("reciprocal", TN_UNARY_RECIPROCAL, x, reciprocal_backward, KEEPS_Y); }

RULE(sin, tn_mul(dy, tn_cos(v)))
tn_tensor *tn_sin(tn_tensor *x) { return function("sin", TN_UNARY_SIN, x, sin_backward, KEEPS_X); }

RULE(cos, tn_neg(tn_mul(dy, tn_sin(v))))
tn_tensor *tn_cos(tn_tensor *x) { return function("cos", TN_UNARY_COS, x, cos_backward, KEEPS_X); }

static tn_tensor *tanh_slope(tn_tensor *dy, tn_tensor *y) { return tn_mul(dy, tn_sub(N(1), tn_square(y))); }
RULE(tanh, tn_grad_enabled() ? tanh_slope(dy, v) : fused(TN_BINARY_TANH_BACKWARD, dy, v))
tn_tensor *tn_tanh(tn_tensor *x) { return function("tanh", TN_UNARY_TANH, x, tanh_backward, KEEPS_Y); }

/* 2 / sqrt(pi) exp(-x^2) */
RULE(erf, tn_mul(dy, tn_mul(tn_exp(tn_neg(tn_square(v))), N(1.12837916709551257390))))
tn_tensor *tn_erf(tn_tensor *x) { return function("erf", TN_UNARY_ERF, x, erf_backward, KEEPS_X); }

static tn_tensor *sigmoid_slope(tn_tensor *dy, tn_tensor *y) { return tn_mul(dy, tn_mul(y, tn_sub(N(1), y))); }
RULE(sigmoid, tn_grad_enabled() ? sigmoid_slope(dy, v) : fused(TN_BINARY_SIGMOID_BACKWARD, dy, v))
tn_tensor *tn_sigmoid(tn_tensor *x) { return function("sigmoid", TN_UNARY_SIGMOID, x, sigmoid_backward, KEEPS_Y); }

/* ---- activations ---------------------------------------------------------------------------------------------------------- */

RULE(leaky_relu, tn_where(tn_gt(v, N(0)), dy, tn_mul(dy, N(p[0]))))
tn_tensor *tn_leaky_relu_with(const tn_leaky_relu_args *args)
{
    TN_KNOWN(tn_leaky_relu_args, args);
    const double p[PARAMS] = {args->negative_slope};
    return activation("leaky_relu", TN_UNARY_LEAKY_RELU, args->x, p, leaky_relu_backward, KEEPS_X);
}

/* exp where it is not taken must not overflow: its own gradient would be 0 times infinity. */
RULE(elu, tn_where(tn_le(v, N(0)), tn_mul(dy, tn_mul(tn_exp(tn_where(tn_lt(v, N(0)), v, N(0))), N(p[0]))), dy))
tn_tensor *tn_elu_with(const tn_elu_args *args)
{
    TN_KNOWN(tn_elu_args, args);
    const double p[PARAMS] = {args->alpha};
    return activation("elu", TN_UNARY_ELU, args->x, p, elu_backward, KEEPS_X);
}

/* Phi(x) + x phi(x) */
static tn_tensor *gelu_slope(tn_tensor *x)
{
    tn_tensor *cdf = tn_mul(tn_add(tn_erf(tn_mul(x, N(0.70710678118654752440))), N(1)), N(0.5));
    tn_tensor *pdf = tn_mul(tn_exp(tn_mul(tn_square(x), N(-0.5))), N(0.39894228040143267794));
    return tn_add(cdf, tn_mul(x, pdf));
}
/* with t = tanh(u), u = k (x + c x^3): (1 + t + x (1 - t^2) k (1 + 3 c x^2)) / 2 */
static tn_tensor *gelu_tanh_slope(tn_tensor *x)
{
    const double k = 0.79788456080286535588, c = 0.044715;
    tn_tensor *q = tn_square(x), *t = tn_tanh(tn_mul(tn_add(x, tn_mul(tn_mul(x, q), N(c))), N(k)));
    tn_tensor *du = tn_mul(tn_add(tn_mul(q, N(3 * c)), N(1)), N(k));
    return tn_mul(tn_add(tn_add(t, N(1)), tn_mul(tn_mul(x, tn_sub(N(1), tn_square(t))), du)), N(0.5));
}
RULE(gelu, tn_grad_enabled() ? tn_mul(dy, gelu_slope(v)) : fused(TN_BINARY_GELU_BACKWARD, dy, v))
RULE(gelu_tanh, tn_grad_enabled() ? tn_mul(dy, gelu_tanh_slope(v)) : fused(TN_BINARY_GELU_TANH_BACKWARD, dy, v))
tn_tensor *tn_gelu_with(const tn_gelu_args *args)
{
    TN_KNOWN(tn_gelu_args, args);
    if (args->tanh)
        return activation("gelu", TN_UNARY_GELU_TANH, args->x, NULL, gelu_tanh_backward, KEEPS_X);
    return activation("gelu", TN_UNARY_GELU, args->x, NULL, gelu_backward, KEEPS_X);
}

/* s + x s (1 - s) */
static tn_tensor *silu_slope(tn_tensor *x)
{
    tn_tensor *s = tn_sigmoid(x);
    return tn_mul(s, tn_add(tn_mul(x, tn_sub(N(1), s)), N(1)));
}
tn_tensor *tn_silu_gradient(tn_tensor *dy, tn_tensor *x)
{
    return tn_failing() || !dy ? NULL : tn_grad_enabled() ? tn_mul(dy, silu_slope(x)) : fused(TN_BINARY_SILU_BACKWARD, dy, x);
}
RULE(silu, tn_silu_gradient(dy, v))
tn_tensor *tn_silu(tn_tensor *x) { return activation("silu", TN_UNARY_SILU, x, NULL, silu_backward, KEEPS_X); }

RULE(softplus, tn_where(tn_gt(tn_mul(v, N(p[0])), N(p[1])), dy, tn_mul(dy, tn_sigmoid(tn_mul(v, N(p[0]))))))
tn_tensor *tn_softplus_with(const tn_softplus_args *args)
{
    TN_KNOWN(tn_softplus_args, args);
    const double p[PARAMS] = {args->beta, args->threshold};
    if (!tn_failing() && !(p[0] != 0))
        return tn_fail(TN_ERR_ARGUMENT, "softplus: .beta is %g, and the result is divided by it", p[0]);
    return activation("softplus", TN_UNARY_SOFTPLUS, args->x, p, softplus_backward, KEEPS_X);
}

/* with t = tanh(softplus(x)): t + x (1 - t^2) sigmoid(x) */
static tn_tensor *mish_slope(tn_tensor *x)
{
    tn_tensor *t = tn_tanh(tn_softplus_with(&(tn_softplus_args){.size = sizeof(tn_softplus_args), .beta = 1, .threshold = 20, .x = x}));
    return tn_add(t, tn_mul(tn_mul(x, tn_sub(N(1), tn_square(t))), tn_sigmoid(x)));
}
RULE(mish, tn_mul(dy, mish_slope(v)))
tn_tensor *tn_mish(tn_tensor *x) { return activation("mish", TN_UNARY_MISH, x, NULL, mish_backward, KEEPS_X); }

/* 0 to -3, x / 3 + 1 / 2 to 3, then 1 */
static tn_tensor *hardswish_slope(tn_tensor *x)
{
    tn_tensor *middle = tn_add(tn_mul(x, N(1.0 / 3)), N(0.5));
    return tn_where(tn_ge(x, N(3)), N(1), tn_where(tn_le(x, N(-3)), N(0), middle));
}
RULE(hardswish, tn_mul(dy, hardswish_slope(v)))
tn_tensor *tn_hardswish(tn_tensor *x) { return activation("hardswish", TN_UNARY_HARDSWISH, x, NULL, hardswish_backward, KEEPS_X); }

/* ---- tests ---------------------------------------------------------------------------------------------------------------- */

static tn_tensor *test(const char *name, tn_unary_op op, tn_tensor *x)
{
    return tn_ready(name, "x", x) ? tn_unary_raw(name, op, (tn_dtype)x->dtype, NULL, x) : NULL;
}
tn_tensor *tn_isnan(tn_tensor *x) { return test("isnan", TN_UNARY_ISNAN, x); }
tn_tensor *tn_isinf(tn_tensor *x) { return test("isinf", TN_UNARY_ISINF, x); }
tn_tensor *tn_logical_not(tn_tensor *x) { return test("logical_not", TN_UNARY_LOGICAL_NOT, x); }
