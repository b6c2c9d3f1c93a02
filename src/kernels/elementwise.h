/* The elementwise operators: one list from which the enums, the CPU's loops for every dtype, the CUDA kernels and the tests derive.
 * A scalar expression is written once, over T and the functions of cpu/math.h. T is the type that is computed in: float (16-bit floats
 * too), double, int32_t (what is smaller too) or int64_t; U is T, or for integers its unsigned twin, in which arithmetic wraps. */
#ifndef TN_ELEMENTWISE_H
#define TN_ELEMENTWISE_H

/* X(NAME, expression in x): floats in and out. p is the operator's parameters (a slope, a bound), of type T. */
#define TN_UNARY_FLOAT_LIST(X)                                                                                                \
    X(EXP, tn_exp_(x))                                                                                                        \
    X(EXPM1, tn_expm1_(x))                                                                                                    \
    X(LOG, tn_log_(x))                                                                                                        \
    X(LOG1P, tn_log1p_(x))                                                                                                    \
    X(LOG2, tn_log2_(x))                                                                                                      \
    X(SQRT, tn_sqrt_(x))                                                                                                      \
    X(RSQRT, (T)1 / tn_sqrt_(x))                                                                                              \
    X(RECIPROCAL, (T)1 / x)                                                                                                   \
    X(SIN, tn_sin_(x))                                                                                                        \
    X(COS, tn_cos_(x))                                                                                                        \
    X(TANH, tn_tanh_(x))                                                                                                      \
    X(ERF, tn_erf_(x))                                                                                                        \
    X(SIGMOID, tn_sigmoid_(x))                                                                                                \
    X(LEAKY_RELU, x > 0 ? x : x * p[0])                                                                                       \
    X(ELU, x > 0 ? x : p[0] * tn_expm1_(x))                                                                                   \
    X(GELU, x * tn_normal_cdf_(x))                                                                                            \
    X(GELU_TANH, x * (T)0.5 * ((T)1 + tn_tanh_((T)0.79788456080286535588 * (x + (T)0.044715 * x * x * x))))                   \
    X(SILU, x * tn_sigmoid_(x))                                                                                               \
    X(SOFTPLUS, x * p[0] > p[1] ? x : tn_log1p_(tn_exp_(x * p[0])) / p[0])                                                    \
    X(MISH, x * tn_tanh_(x > (T)20 ? x : tn_log1p_(tn_exp_(x))))                                                              \
    X(HARDSWISH, x >= (T)3 ? x : x * (x <= (T)-3 ? (T)0 : x + (T)3) / (T)6) /* of -infinity NaN, as in PyTorch */

/* Floats and integers alike. */
#define TN_UNARY_NUMBER_LIST(X)                                                                                               \
    X(NEG, (T)-(U)x)                                                                                                          \
    X(ABS, x < 0 ? (T)-(U)x : x + 0)                                                                                          \
    X(SIGN, (T)((x > 0) - (x < 0)))                                                                                           \
    X(SQUARE, (T)((U)x * (U)x))                                                                                               \
    X(RELU, x < 0 ? 0 : x)                                                                                                    \
    X(CLAMP, (x < p[0] ? p[0] : x) > p[1] ? p[1] : x < p[0] ? p[0] : x)

/* Floats; integers give a copy. */
#define TN_UNARY_ROUND_LIST(X)                                                                                                \
    X(FLOOR, tn_floor_(x))                                                                                                    \
    X(CEIL, tn_ceil_(x))                                                                                                      \
    X(ROUND, tn_round_(x)) /* halves to even */

/* Any dtype in, bool out. */
#define TN_UNARY_TEST_LIST(X)                                                                                                 \
    X(ISNAN, tn_isnan_(x))                                                                                                    \
    X(ISINF, tn_isinf_(x))                                                                                                    \
    X(LOGICAL_NOT, !x)

/* X(NAME, expression in a and b): both of one dtype, the result too. */
#define TN_BINARY_NUMBER_LIST(X)                                                                                              \
    X(ADD, (T)((U)a + (U)b))                                                                                                  \
    X(SUB, (T)((U)a - (U)b))                                                                                                  \
    X(MUL, (T)((U)a * (U)b))                                                                                                  \
    X(POW, tn_pow_(a, b))                                                                                                     \
    X(REMAINDER, tn_remainder_(a, b)) /* the sign of b */                                                                     \
    X(MAXIMUM, ((a > b) | tn_isnan_(a)) ? a : b) /* NaN, of either, goes through */                                           \
    X(MINIMUM, ((a < b) | tn_isnan_(a)) ? a : b)

/* Floats only. SWIGLU gates b by SiLU of a; the *_BACKWARD ones are fused gradients: a is the gradient of the result, b what forward saved. */
#define TN_BINARY_FLOAT_LIST(X)                                                                                               \
    X(DIV, a / b)                                                                                                             \
    X(SWIGLU, a * tn_sigmoid_(a) * b)                                                                                         \
    X(RELU_BACKWARD, b <= 0 ? 0 : a) /* through NaN, as through what is positive */                                            \
    X(SIGMOID_BACKWARD, a * b * ((T)1 - b))                                                                                   \
    X(TANH_BACKWARD, a * ((T)1 - b * b))                                                                                      \
    X(GELU_BACKWARD, a * tn_gelu_slope_(b))                                                                                   \
    X(GELU_TANH_BACKWARD, a * tn_gelu_tanh_slope_(b))                                                                         \
    X(SILU_BACKWARD, a * tn_silu_slope_(b))

/* Any dtype in, bool out. */
#define TN_BINARY_TEST_LIST(X)                                                                                                \
    X(EQ, a == b)                                                                                                             \
    X(NE, a != b)                                                                                                             \
    X(LT, a < b)                                                                                                              \
    X(LE, a <= b)                                                                                                             \
    X(GT, a > b)                                                                                                              \
    X(GE, a >= b)                                                                                                             \
    X(LOGICAL_AND, (a != 0) & (b != 0))                                                                                       \
    X(LOGICAL_OR, (a != 0) | (b != 0))                                                                                        \
    X(LOGICAL_XOR, (a != 0) != (b != 0))

#define TN_UNARY_LIST(X) TN_UNARY_FLOAT_LIST(X) TN_UNARY_NUMBER_LIST(X) TN_UNARY_ROUND_LIST(X) TN_UNARY_TEST_LIST(X)
#define TN_BINARY_LIST(X) TN_BINARY_NUMBER_LIST(X) TN_BINARY_FLOAT_LIST(X) TN_BINARY_TEST_LIST(X)

#define TN_UNARY_ENUM_(NAME, expression) TN_UNARY_##NAME,
#define TN_BINARY_ENUM_(NAME, expression) TN_BINARY_##NAME,
typedef enum tn_unary_op { TN_UNARY_NONE, TN_UNARY_LIST(TN_UNARY_ENUM_) TN_UNARY_COUNT } tn_unary_op;
typedef enum tn_binary_op { TN_BINARY_LIST(TN_BINARY_ENUM_) TN_BINARY_COUNT } tn_binary_op;
#undef TN_UNARY_ENUM_
#undef TN_BINARY_ENUM_

/* Three inputs of which the first is bool for WHERE (x ? a : b); LERP is a + w (b - a), the operands being (a, b, w). */
typedef enum tn_ternary_op { TN_TERNARY_WHERE, TN_TERNARY_LERP, TN_TERNARY_COUNT } tn_ternary_op;

#endif
