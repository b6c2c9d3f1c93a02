/* Tenon: elementwise operators, casts, and the operators that write in place.
 *
 * Operands broadcast, and dtypes promote, as in PyTorch: a C number in the place of a tensor (tn_mul(x, 2)) does not promote x's dtype
 * within its kind; integers in a function of floats give the default dtype. The results' strides follow the inputs': what is given
 * transposed comes out transposed. Errors: shapes that do not broadcast (TN_ERR_SHAPE), a dtype that the operator is not for
 * (TN_ERR_DTYPE), two devices (TN_ERR_DEVICE). */
#ifndef TENON_OPS_ELEMENTWISE_H
#define TENON_OPS_ELEMENTWISE_H

#include <math.h>

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- of one tensor: integers keep their dtype, bool is refused but where said --------------------------------------------- */

TN_API tn_tensor *tn_neg(tn_tensor *x);
/* |x|; its slope at 0 is 0. */
TN_API tn_tensor *tn_abs(tn_tensor *x);
/* -1, 0 or 1; 0 of NaN. Of bool, x. */
TN_API tn_tensor *tn_sign(tn_tensor *x);
/* x * x; of bool, i64. */
TN_API tn_tensor *tn_square(tn_tensor *x);
TN_API tn_tensor *tn_floor(tn_tensor *x);
TN_API tn_tensor *tn_ceil(tn_tensor *x);
/* To the nearest whole number, halves to the even one. */
TN_API tn_tensor *tn_round(tn_tensor *x);
/* max(x, 0); NaN stays NaN, and the gradient passes there; the slope at 0 is 0. */
TN_API tn_tensor *tn_relu(tn_tensor *x);

#define TN_CLAMP_OPTIONS(X)                                                                                                   \
    X(double, min, -INFINITY)                                                                                                 \
    X(double, max, INFINITY)
typedef struct tn_clamp_args { /* tn_clamp(x, .min = 0, .max = 1) */
    size_t size TN_SIZE_(tn_clamp_args);
    TN_CLAMP_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_clamp_args;
/* x between the bounds; max where min > max, NaN where x or a bound is NaN. A fractional bound makes integers floats. The gradient passes
 * where min < x < max. */
TN_API tn_tensor *tn_clamp_with(const tn_clamp_args *args);

/* ---- of one tensor: integers and bool give the default dtype -------------------------------------------------------------- */

TN_API tn_tensor *tn_exp(tn_tensor *x);
/* exp(x) - 1, exact for small x. */
TN_API tn_tensor *tn_expm1(tn_tensor *x);
TN_API tn_tensor *tn_log(tn_tensor *x);
/* log(1 + x), exact for small x. */
TN_API tn_tensor *tn_log1p(tn_tensor *x);
TN_API tn_tensor *tn_log2(tn_tensor *x);
TN_API tn_tensor *tn_sqrt(tn_tensor *x);
/* 1 / sqrt(x). */
TN_API tn_tensor *tn_rsqrt(tn_tensor *x);
/* 1 / x. */
TN_API tn_tensor *tn_reciprocal(tn_tensor *x);
TN_API tn_tensor *tn_sin(tn_tensor *x);
TN_API tn_tensor *tn_cos(tn_tensor *x);
TN_API tn_tensor *tn_tanh(tn_tensor *x);
TN_API tn_tensor *tn_erf(tn_tensor *x);
/* 1 / (1 + exp(-x)). */
TN_API tn_tensor *tn_sigmoid(tn_tensor *x);

/* ---- activations: floats only --------------------------------------------------------------------------------------------- */

#define TN_LEAKY_RELU_OPTIONS(X) X(double, negative_slope, 0.01)
typedef struct tn_leaky_relu_args { /* tn_leaky_relu(x, .negative_slope = 0.2) */
    size_t size TN_SIZE_(tn_leaky_relu_args);
    TN_LEAKY_RELU_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_leaky_relu_args;
/* x where x > 0, else negative_slope x. */
TN_API tn_tensor *tn_leaky_relu_with(const tn_leaky_relu_args *args);

#define TN_ELU_OPTIONS(X) X(double, alpha, 1.0)
typedef struct tn_elu_args { /* tn_elu(x, .alpha = 1.5) */
    size_t size TN_SIZE_(tn_elu_args);
    TN_ELU_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_elu_args;
/* x where x > 0, else alpha (exp(x) - 1) (Clevert et al. 2015). */
TN_API tn_tensor *tn_elu_with(const tn_elu_args *args);

#define TN_GELU_OPTIONS(X) X(bool, tanh, false) /* the approximation by tanh, PyTorch's approximate="tanh" */
typedef struct tn_gelu_args { /* tn_gelu(x), tn_gelu(x, .tanh = true) */
    size_t size TN_SIZE_(tn_gelu_args);
    TN_GELU_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_gelu_args;
/* x Phi(x), Phi being the normal distribution's (Hendrycks and Gimpel 2016). */
TN_API tn_tensor *tn_gelu_with(const tn_gelu_args *args);

#define TN_SOFTPLUS_OPTIONS(X)                                                                                                \
    X(double, beta, 1.0)                                                                                                      \
    X(double, threshold, 20.0) /* where beta x is above it, the result is x */
typedef struct tn_softplus_args { /* tn_softplus(x, .beta = 2) */
    size_t size TN_SIZE_(tn_softplus_args);
    TN_SOFTPLUS_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_softplus_args;
/* log(1 + exp(beta x)) / beta. */
TN_API tn_tensor *tn_softplus_with(const tn_softplus_args *args);
/* x sigmoid(x). */
TN_API tn_tensor *tn_silu(tn_tensor *x);
/* silu(gate) up, broadcast (Shazeer 2020: the gate of Llama's feed-forward layers), in one pass; for backward it keeps the two and nothing else. */
TN_API tn_tensor *tn_swiglu(tn_tensor *gate, tn_tensor *up);
/* x tanh(softplus(x)) (Misra 2019). */
TN_API tn_tensor *tn_mish(tn_tensor *x);
/* x relu6(x + 3) / 6 (Howard et al. 2019). */
TN_API tn_tensor *tn_hardswish(tn_tensor *x);

/* ---- tests: bool out, of any dtype, no gradient --------------------------------------------------------------------------- */

TN_API tn_tensor *tn_isnan(tn_tensor *x);
TN_API tn_tensor *tn_isinf(tn_tensor *x);
TN_API tn_tensor *tn_logical_not(tn_tensor *x);

TN_API tn_tensor *tn_eq(tn_operand a, tn_operand b);
TN_API tn_tensor *tn_ne(tn_operand a, tn_operand b);
TN_API tn_tensor *tn_lt(tn_operand a, tn_operand b);
TN_API tn_tensor *tn_le(tn_operand a, tn_operand b);
TN_API tn_tensor *tn_gt(tn_operand a, tn_operand b);
TN_API tn_tensor *tn_ge(tn_operand a, tn_operand b);
/* Any number but 0 counts as true. */
TN_API tn_tensor *tn_logical_and(tn_operand a, tn_operand b);
TN_API tn_tensor *tn_logical_or(tn_operand a, tn_operand b);
TN_API tn_tensor *tn_logical_xor(tn_operand a, tn_operand b);

/* ---- of two tensors or numbers -------------------------------------------------------------------------------------------- */

/* a + b; of bools, or. */
TN_API tn_tensor *tn_add(tn_operand a, tn_operand b);
/* a - b; not of two bools. */
TN_API tn_tensor *tn_sub(tn_operand a, tn_operand b);
/* a * b; of bools, and. */
TN_API tn_tensor *tn_mul(tn_operand a, tn_operand b);
/* a / b, always of floating dtype. */
TN_API tn_tensor *tn_div(tn_operand a, tn_operand b);
/* a to the b. Integers wrap; an integer to a negative number is TN_ERR_ARGUMENT. d(x**2) at 0 is 0; with respect to b the slope is
 * 0 where a is 0 and b is not negative. */
TN_API tn_tensor *tn_pow(tn_operand a, tn_operand b);
/* a - b floor(a / b), with the sign of b, as Python's %. An integer 0 in b is TN_ERR_ARGUMENT. */
TN_API tn_tensor *tn_remainder(tn_operand a, tn_operand b);
/* The larger; NaN where either is. Equal operands share the gradient in halves. */
TN_API tn_tensor *tn_maximum(tn_operand a, tn_operand b);
TN_API tn_tensor *tn_minimum(tn_operand a, tn_operand b);

/* ---- of three ------------------------------------------------------------------------------------------------------------- */

/* a where condition (bool) is true, else b. */
TN_API tn_tensor *tn_where(tn_tensor *condition, tn_operand a, tn_operand b);
/* x with value where mask (bool, broadcast to x) is true; NaN and infinities are for floats. */
TN_API tn_tensor *tn_masked_fill(tn_tensor *x, tn_tensor *mask, double value);
/* start + weight (end - start); floats of one dtype. */
TN_API tn_tensor *tn_lerp(tn_tensor *start, tn_tensor *end, tn_operand weight);

/* ---- casts ---------------------------------------------------------------------------------------------------------------- */

/* x converted; x itself where it is of the dtype already. Floats go to integers toward zero (what an i32, or for i64 an i64, cannot hold
 * gives its end, NaN gives 0; to smaller integers the low bits remain), and to bool as x != 0. */
TN_API tn_tensor *tn_cast(tn_tensor *x, tn_dtype dtype);

/* ---- in place ------------------------------------------------------------------------------------------------------------- */

/* These write into x and return it. x keeps its dtype: a result of a higher kind is TN_ERR_DTYPE; what is broadcast must come to x's shape.
 * TN_ERR_GRAD where autograd would be wrong: x is a leaf that requires a gradient, or the write is recorded while x shares its storage
 * with a view; TN_ERR_ARGUMENT where x was expanded, so that several of its elements are one. */
TN_API tn_tensor *tn_fill_(tn_tensor *x, double value);
TN_API tn_tensor *tn_zero_(tn_tensor *x);
/* source, converted to x's dtype and brought to its device, over x. */
TN_API tn_tensor *tn_copy_(tn_tensor *x, tn_operand source);
TN_API tn_tensor *tn_add_(tn_tensor *x, tn_operand other);
TN_API tn_tensor *tn_sub_(tn_tensor *x, tn_operand other);
TN_API tn_tensor *tn_mul_(tn_tensor *x, tn_operand other);
TN_API tn_tensor *tn_div_(tn_tensor *x, tn_operand other);

#ifdef __cplusplus
}
#endif

#endif
