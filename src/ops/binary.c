/* Operators of two tensors or numbers: what each is for, its kernel, its gradients. */
#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/elementwise.h"

static bool recorded(const tn_tensor *x) { return !tn_this.no_grad && tn_tracks(x); }
static bool is_float(tn_dtype dtype) { return tn_dtype_is_float(dtype); }
#define N(value) tn_scalar_f64(value)

/* What dtypes an operator is for, and gives. */
typedef enum takes {
    TAKES_ALL,     /* the promoted dtype */
    TAKES_NUMBERS, /* the same; bool with bool is refused */
    TAKES_FLOATS,  /* integers become the default dtype */
    GIVES_BOOL,
} takes;

/* Alike and contiguous, of floats: nothing to promote, broadcast or convert. */
static bool plain(const tn_tensor *a, const tn_tensor *b)
{
    return a->dtype == b->dtype && a->dtype <= TN_BF16 && (a->flags & b->flags & TN_FLAG_CONTIGUOUS) &&
           !((a->flags | b->flags) & TN_FLAG_WRAPPED) && tn_same_shape(a, b) &&
           tn_same_device(a->storage->device, b->storage->device);
}

static tn_tensor *plain_binary(const char *name, tn_binary_op op, const tn_tensor *a, const tn_tensor *b)
{
    tn_tensor *y = tn_new(name, tn_shape_of(a), (tn_dtype)a->dtype, a->storage->device);
    if (!y || y->numel == 0)
        return y;
    int64_t item = (int64_t)tn_item_size(a);
    tn_loop loop;
    loop.ndim = 1;
    loop.operands = 3;
    loop.on_cpu = 0;
    loop.sizes[0] = y->numel;
    loop.strides[0][0] = loop.strides[1][0] = loop.strides[2][0] = item;
    loop.data[0] = tn_ptr(y);
    loop.data[1] = tn_ptr(a);
    loop.data[2] = tn_ptr(b);
    return tn_kernels_for(y)->binary(op, (tn_dtype)a->dtype, &loop) == TN_OK ? y : NULL;
}

static tn_tensor *binary(const char *name, tn_binary_op op, const tn_tensor *a, const tn_tensor *b, takes what)
{
    if (!tn_ready(name, "a", a) || !tn_ready(name, "b", b))
        return NULL;
    if (TN_LIKELY(what != GIVES_BOOL && plain(a, b)))
        return plain_binary(name, op, a, b);
    tn_dtype dtype = tn_result_dtype(a, b);
    if (!tn_devices_agree(name, a, b))
        return NULL;
    if (what == TAKES_FLOATS && !is_float(dtype))
        dtype = tn_get_default_dtype();
    if (what == TAKES_NUMBERS && dtype == TN_BOOL)
        return tn_fail(TN_ERR_DTYPE, "%s: both operands are bool, and numbers are needed: tn_cast them, or use a logical operator", name);
    return tn_binary_raw(name, op, dtype, what == GIVES_BOOL ? TN_BOOL : dtype, a, b);
}

/* Gives y its history; what b's gradient needs is saved only where b asks for one, and so on. */
static tn_tensor *record(const char *name, tn_tensor *y, tn_tensor *a, tn_tensor *b, tn_backward_fn backward, tn_tensor *save_a,
                         tn_tensor *save_b)
{
    return tn_record(y, name, backward, TN_INPUTS(a, b), TN_SAVED(save_a, save_b), TN_NO_ATTR);
}
static tn_tensor *if_recorded(tn_tensor *other, tn_tensor *x) { return recorded(other) ? x : NULL; }

/* A rule: the gradients of a and of b, each computed only where wanted, as expressions in dy and the saved a, b (and y, where saved). */
#define RULE(name, gradient_of_a, gradient_of_b)                                                                              \
    static void name##_backward(tn_node *node, tn_tensor *const *dys, tn_tensor **dx)                                         \
    {                                                                                                                         \
        tn_tensor *dy = dys[0], *a = node->saved_count > 0 ? tn_node_saved(node, 0) : NULL;                                   \
        tn_tensor *b = node->saved_count > 1 ? tn_node_saved(node, 1) : NULL;                                                 \
        (void)a, (void)b, (void)dy;                                                                                           \
        if (!tn_failing() && tn_wants(node, 0))                                                                               \
            dx[0] = tn_fit(node, 0, gradient_of_a);                                                                           \
        if (!tn_failing() && tn_wants(node, 1))                                                                               \
            dx[1] = tn_fit(node, 1, gradient_of_b);                                                                           \
    }

/* ---- arithmetic ----------------------------------------------------------------------------------------------------------- */

RULE(add, dy, dy)
tn_tensor *tn_add(tn_operand a, tn_operand b)
{
    return record("add", binary("add", TN_BINARY_ADD, a, b, TAKES_ALL), a, b, add_backward, NULL, NULL);
}

RULE(sub, dy, tn_neg(dy))
tn_tensor *tn_sub(tn_operand a, tn_operand b)
{
    return record("sub", binary("sub", TN_BINARY_SUB, a, b, TAKES_NUMBERS), a, b, sub_backward, NULL, NULL);
}

RULE(mul, tn_mul(dy, b), tn_mul(dy, a))
tn_tensor *tn_mul(tn_operand a, tn_operand b)
{
    tn_tensor *y = binary("mul", TN_BINARY_MUL, a, b, TAKES_ALL);
    return y ? record("mul", y, a, b, mul_backward, if_recorded(b, a), if_recorded(a, b)) : NULL;
}

RULE(div, tn_div(dy, b), tn_neg(tn_div(tn_mul(dy, tn_div(a, b)), b)))
tn_tensor *tn_div(tn_operand a, tn_operand b)
{
    tn_tensor *y = binary("div", TN_BINARY_DIV, a, b, TAKES_FLOATS);
    return y ? record("div", y, a, b, div_backward, if_recorded(b, a), b) : NULL;
}

/* The gradient of b is the operator itself; a is kept, and not silu(a) beside it. */
RULE(swiglu_apart, tn_silu_gradient(tn_mul(dy, b), a), tn_swiglu(a, dy))

/* Both in one pass where nothing is broadcast, converted or recorded: half the memory, and silu's exponentials once. */
static void swiglu_backward(tn_node *node, tn_tensor *const *dys, tn_tensor **dx)
{
    tn_tensor *dy = dys[0], *gate = tn_node_saved(node, 0), *up = tn_node_saved(node, 1);
    const bool both = gate && up && tn_wants(node, 0) && tn_wants(node, 1) && !tn_grad_enabled();
    if (!both || !plain(dy, gate) || !plain(dy, up) || (dy->dtype != TN_F32 && dy->dtype != TN_F64)) {
        swiglu_apart_backward(node, dys, dx);
        return;
    }
    const bool in_place = tn_may_overwrite(dy);
    tn_tensor *dgate = tn_new("swiglu_backward", tn_shape_of(dy), (tn_dtype)dy->dtype, dy->storage->device);
    tn_tensor *dup = in_place ? dy : tn_new("swiglu_backward", tn_shape_of(dy), (tn_dtype)dy->dtype, dy->storage->device);
    if (!dgate || !dup || tn_kernels_for(dy)->swiglu_backward((tn_dtype)dy->dtype, dy->numel, tn_ptr(dy), tn_ptr(gate), tn_ptr(up),
                                                              tn_ptr(dgate), tn_ptr(dup)) != TN_OK)
        return;
    if (in_place)
        tn_storage_touch(dy->storage);
    dx[0] = dgate;
    dx[1] = dup;
}

tn_tensor *tn_swiglu(tn_tensor *gate, tn_tensor *up)
{
    tn_tensor *y = binary("swiglu", TN_BINARY_SWIGLU, gate, up, TAKES_FLOATS);
    return y ? record("swiglu", y, gate, up, swiglu_backward, gate, if_recorded(gate, up)) : NULL;
}

/* ---- pow, remainder ------------------------------------------------------------------------------------------------------- */

/* Whether an integer tensor has an element for which the test (a comparison with 0) holds. */
static bool any(tn_tensor *x, tn_binary_op comparison)
{
    tn_tensor *found = tn_binary_raw("test", comparison, (tn_dtype)x->dtype, TN_BOOL, x, tn_scalar_i64(0));
    bool result = false;
    found = found ? tn_to(tn_contiguous(found), (tn_device_id){TN_CPU, 0}) : NULL;
    if (!found)
        return false;
    const bool *values = (const bool *)tn_ptr(found);
    for (int64_t i = 0; i < found->numel; i++)
        result = result || values[i];
    return result;
}

/* 0 where b is 0, also where a to the b - 1 is infinite. */
static tn_tensor *pow_slope_a(tn_tensor *a, tn_tensor *b)
{
    return tn_where(tn_eq(b, N(0)), N(0), tn_mul(b, tn_pow(a, tn_sub(b, N(1)))));
}
/* 0 where a is 0 and b is not negative, although log(0) is infinite. */
static tn_tensor *pow_slope_b(tn_tensor *a, tn_tensor *b)
{
    tn_tensor *edge = tn_logical_and(tn_eq(a, N(0)), tn_ge(b, N(0)));
    return tn_where(edge, N(0), tn_mul(tn_pow(a, b), tn_log(a)));
}
/* Integers and numbers compute in dy's dtype and on its device, not in the default one. */
RULE(pow, tn_mul(dy, pow_slope_a(a, tn_cast(b, (tn_dtype)dy->dtype))),
     tn_mul(dy, pow_slope_b(tn_to(tn_cast(a, (tn_dtype)dy->dtype), dy->storage->device), b)))

/* A number as exponent: no tensor for it in the gradient. */
static void pow_number_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    double exponent = *(const double *)tn_node_attr(node);
    tn_tensor *x = tn_node_saved(node, 0);
    if (tn_failing())
        return;
    tn_tensor *slope = exponent == 0 ? tn_scalar_f64(0) : tn_mul(tn_pow(x, N(exponent - 1)), N(exponent));
    dx[0] = tn_fit(node, 0, tn_mul(dy[0], slope));
}

/* x to a number that has a quicker way, or to any other. */
static tn_tensor *power(tn_tensor *x, tn_tensor *exponent, double e, tn_dtype dtype)
{
    if (e == 2)
        return tn_unary_raw("pow", TN_UNARY_SQUARE, dtype, NULL, x);
    if (e == 0.5 && is_float(dtype))
        return tn_unary_raw("pow", TN_UNARY_SQRT, dtype, NULL, x);
    if (e == -0.5 && is_float(dtype))
        return tn_unary_raw("pow", TN_UNARY_RSQRT, dtype, NULL, x);
    if (e == -1 && is_float(dtype))
        return tn_unary_raw("pow", TN_UNARY_RECIPROCAL, dtype, NULL, x);
    if (e == 1 && dtype == (tn_dtype)x->dtype)
        return tn_binary_raw("pow", TN_BINARY_MUL, dtype, dtype, x, tn_scalar_i64(1));
    return tn_binary_raw("pow", TN_BINARY_POW, dtype, dtype, x, exponent);
}

tn_tensor *tn_pow(tn_operand a, tn_operand b)
{
    if (!tn_ready("pow", "a", a) || !tn_ready("pow", "b", b) || !tn_devices_agree("pow", a, b))
        return NULL;
    tn_dtype dtype = tn_result_dtype(a, b);
    if (dtype == TN_BOOL)
        return binary("pow", TN_BINARY_POW, a, b, TAKES_NUMBERS);
    if (!tn_has(b, TN_FLAG_WRAPPED)) {
        tn_tensor *y = binary("pow", TN_BINARY_POW, a, b, TAKES_NUMBERS);
        return y ? record("pow", y, a, b, pow_backward, a, b) : NULL;
    }
    double exponent = tn_item(b);
    if (!is_float(dtype) && exponent < 0)
        return tn_fail(TN_ERR_ARGUMENT, "pow: %s to the power %g is no integer: tn_cast a to a float", tn_dtype_name(dtype), exponent);
    tn_tensor *y = power(a, b, exponent, dtype);
    return tn_record(y, "pow", pow_number_backward, TN_INPUTS(a), TN_SAVED(a), TN_ATTR(exponent));
}

/* floor(a / b) as the remainder has it: a / b itself may round up to a whole number (1 / 0.1 is 10, and 1 mod 0.1 is not 0). */
RULE(remainder, dy, tn_neg(tn_mul(dy, tn_round(tn_div(tn_sub(a, tn_remainder(a, b)), b)))))
tn_tensor *tn_remainder(tn_operand a, tn_operand b)
{
    if (!tn_ready("remainder", "a", a) || !tn_ready("remainder", "b", b))
        return NULL;
    if (!is_float(tn_result_dtype(a, b)) && b->dtype != TN_BOOL && any(b, TN_BINARY_EQ))
        return tn_fail(TN_ERR_ARGUMENT, "remainder: b has a 0, and the operands are integers");
    tn_tensor *y = binary("remainder", TN_BINARY_REMAINDER, a, b, TAKES_NUMBERS);
    return y ? record("remainder", y, a, b, remainder_backward, if_recorded(b, a), if_recorded(b, b)) : NULL;
}

/* ---- maximum, minimum ----------------------------------------------------------------------------------------------------- */

/* dy, in halves where the operands are equal, 0 where this one lost. A NaN loses to nobody. */
static tn_tensor *shared(tn_tensor *dy, tn_tensor *a, tn_tensor *b, tn_tensor *lost)
{
    return tn_where(lost, N(0), tn_where(tn_eq(a, b), tn_mul(dy, N(0.5)), dy));
}
RULE(maximum, shared(dy, a, b, tn_lt(a, b)), shared(dy, a, b, tn_gt(a, b)))
tn_tensor *tn_maximum(tn_operand a, tn_operand b)
{
    return record("maximum", binary("maximum", TN_BINARY_MAXIMUM, a, b, TAKES_ALL), a, b, maximum_backward, a, b);
}
RULE(minimum, shared(dy, a, b, tn_gt(a, b)), shared(dy, a, b, tn_lt(a, b)))
tn_tensor *tn_minimum(tn_operand a, tn_operand b)
{
    return record("minimum", binary("minimum", TN_BINARY_MINIMUM, a, b, TAKES_ALL), a, b, minimum_backward, a, b);
}

/* ---- tests ---------------------------------------------------------------------------------------------------------------- */

#define TEST_OP(name, OP)                                                                                                     \
    tn_tensor *tn_##name(tn_operand a, tn_operand b) { return binary(#name, TN_BINARY_##OP, a, b, GIVES_BOOL); }
TEST_OP(eq, EQ)
TEST_OP(ne, NE)
TEST_OP(lt, LT)
TEST_OP(le, LE)
TEST_OP(gt, GT)
TEST_OP(ge, GE)
TEST_OP(logical_and, LOGICAL_AND)
TEST_OP(logical_or, LOGICAL_OR)
TEST_OP(logical_xor, LOGICAL_XOR)
