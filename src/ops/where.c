/* Operators of three operands, and casts. */
#include <math.h>

#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/elementwise.h"

#define N(value) tn_scalar_f64(value)

/* y = op(x, a, b), all broadcast to y; x is not converted for WHERE, the others become y's dtype. */
static bool ternary_into(tn_ternary_op op, tn_tensor *y, tn_tensor *x, tn_tensor *a, tn_tensor *b)
{
    tn_dtype dtype = (tn_dtype)y->dtype;
    if (op == TN_TERNARY_LERP && tn_number_is_fine(b, dtype)) {
        tn_tensor *wide = tn_new_owned("wide", tn_shape_of(y), TN_F32, y->storage->device);
        bool good = wide && ternary_into(op, wide, x, a, b) && tn_cast_into(y, wide);
        tn_release(wide);
        return good;
    }
    tn_tensor *in[3] = {op == TN_TERNARY_WHERE ? tn_retain(x) : tn_operand_as(x, dtype), tn_operand_as(a, dtype), tn_operand_as(b, dtype)};
    tn_loop loop;
    bool good = in[0] && in[1] && in[2];
    if (good && tn_loop_make(&loop, y, (const tn_tensor *const *)in, 3))
        good = tn_kernels_for(y)->ternary(op, dtype, &loop) == TN_OK;
    for (int k = 0; k < 3; k++)
        tn_release(in[k]);
    return good;
}

/* The shape that all three broadcast to. */
static bool common_shape(const char *op, const tn_tensor *a, const tn_tensor *b, const tn_tensor *c, tn_shape *shape)
{
    tn_shape ab;
    if (!tn_broadcast_shapes(op, a, b, &ab))
        return false;
    tn_tensor both = {.ndim = (uint8_t)ab.ndim}; /* of which only the shape is looked at */
    for (int d = 0; d < ab.ndim; d++)
        both.sizes[d] = ab.sizes[d];
    return tn_broadcast_shapes(op, &both, c, shape);
}

static bool is_mask(const char *op, const char *argument, const tn_tensor *mask)
{
    if (mask->dtype == TN_BOOL)
        return true;
    tn_fail(TN_ERR_DTYPE, "%s: %s is %s, and bool is needed: make it by a comparison or tn_cast", op, argument,
            tn_dtype_name((tn_dtype)mask->dtype));
    return false;
}

/* ---- where ---------------------------------------------------------------------------------------------------------------- */

static void where_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    tn_tensor *condition = tn_node_saved(node, 0);
    if (!tn_failing() && tn_wants(node, 0))
        dx[0] = tn_fit(node, 0, tn_where(condition, dy[0], N(0)));
    if (!tn_failing() && tn_wants(node, 1))
        dx[1] = tn_fit(node, 1, tn_where(condition, N(0), dy[0]));
}

tn_tensor *tn_where(tn_tensor *condition, tn_operand a, tn_operand b)
{
    tn_shape shape;
    if (!tn_ready("where", "condition", condition) || !tn_ready("where", "a", a) || !tn_ready("where", "b", b) ||
        !is_mask("where", "condition", condition) || !common_shape("where", condition, a, b, &shape) ||
        !tn_devices_agree("where", a, b) || !tn_devices_agree("where", condition, tn_has(a, TN_FLAG_WRAPPED) ? b : a))
        return NULL;
    tn_dtype dtype = tn_result_dtype(a, b);
    tn_tensor *y = tn_new_like("where", shape, dtype, condition);
    if (!y || !ternary_into(TN_TERNARY_WHERE, y, condition, a, b))
        return NULL;
    return tn_record(y, "where", where_backward, TN_INPUTS(a, b), TN_SAVED(condition), TN_NO_ATTR);
}

static void masked_fill_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = tn_masked_fill(dy[0], tn_node_saved(node, 0), 0);
}

tn_tensor *tn_masked_fill(tn_tensor *x, tn_tensor *mask, double value)
{
    tn_shape shape;
    if (!tn_ready("masked_fill", "x", x) || !tn_ready("masked_fill", "mask", mask) || !is_mask("masked_fill", "mask", mask) ||
        !tn_devices_agree("masked_fill", x, mask) || !tn_broadcast_shapes("masked_fill", x, mask, &shape))
        return NULL;
    if (!tn_shape_equal(shape, tn_shape_of(x)))
        return tn_fail(TN_ERR_SHAPE, "masked_fill: mask %s must broadcast to x %s", tn_text(mask), tn_text(x));
    if (!tn_number_fits("masked_fill", value, (tn_dtype)x->dtype))
        return NULL;
    tn_tensor *y = tn_new_like("masked_fill", shape, (tn_dtype)x->dtype, x), *number = tn_scalar_f64(value);
    if (!y || !number || !ternary_into(TN_TERNARY_WHERE, y, mask, number, x))
        return NULL;
    return tn_record(y, "masked_fill", masked_fill_backward, TN_INPUTS(x), TN_SAVED(mask), TN_NO_ATTR);
}

/* ---- lerp ----------------------------------------------------------------------------------------------------------------- */

static void lerp_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    tn_tensor *start = tn_node_saved(node, 0), *end = tn_node_saved(node, 1), *weight = tn_node_saved(node, 2);
    if (!tn_failing() && tn_wants(node, 0))
        dx[0] = tn_fit(node, 0, tn_sub(dy[0], tn_mul(dy[0], weight)));
    if (!tn_failing() && tn_wants(node, 1))
        dx[1] = tn_fit(node, 1, tn_mul(dy[0], weight));
    if (!tn_failing() && tn_wants(node, 2))
        dx[2] = tn_fit(node, 2, tn_mul(dy[0], tn_sub(end, start)));
}

tn_tensor *tn_lerp(tn_tensor *start, tn_tensor *end, tn_operand weight)
{
    tn_shape shape;
    if (!tn_ready("lerp", "start", start) || !tn_ready("lerp", "end", end) || !tn_ready("lerp", "weight", weight) ||
        !tn_devices_agree("lerp", start, end) || !tn_devices_agree("lerp", start, weight) ||
        !common_shape("lerp", start, end, weight, &shape))
        return NULL;
    if (start->dtype != end->dtype || !tn_dtype_is_float((tn_dtype)start->dtype) ||
        !(tn_has(weight, TN_FLAG_WRAPPED) || weight->dtype == start->dtype))
        return tn_fail(TN_ERR_DTYPE, "lerp: start is %s, end %s and weight %s: floats of one dtype are needed",
                       tn_dtype_name((tn_dtype)start->dtype), tn_dtype_name((tn_dtype)end->dtype),
                       tn_dtype_name((tn_dtype)weight->dtype));
    tn_tensor *y = tn_new_like("lerp", shape, (tn_dtype)start->dtype, start);
    if (!y || !ternary_into(TN_TERNARY_LERP, y, start, end, weight))
        return NULL;
    return tn_record(y, "lerp", lerp_backward, TN_INPUTS(start, end, weight), TN_SAVED(start, end, weight), TN_NO_ATTR);
}

/* ---- cast ----------------------------------------------------------------------------------------------------------------- */

static void cast_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx) { dx[0] = tn_fit(node, 0, dy[0]); }

tn_tensor *tn_cast(tn_tensor *x, tn_dtype dtype)
{
    if (!tn_ready("cast", "x", x))
        return NULL;
    if ((unsigned)dtype >= TN_DTYPE_COUNT)
        return tn_fail(TN_ERR_DTYPE, "cast: %d is no dtype", (int)dtype);
    if (x->dtype == dtype)
        return x;
    tn_tensor *y = tn_new_like("cast", tn_shape_of(x), dtype, x);
    if (!y || !tn_cast_into(y, x))
        return NULL;
    return tn_record(y, "cast", cast_backward, TN_INPUTS(x), TN_NO_SAVED, TN_NO_ATTR);
}
