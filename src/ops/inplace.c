/* Operators that write into their first operand. */
#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/create.h"
#include "ops/elementwise.h"

#define N(value) tn_scalar_f64(value)

/* Whether x may be written: it is there, each of its elements has a place of its own, and autograd allows it. */
static bool writable(const char *op, const tn_tensor *x, tn_tensor *const *inputs, int count)
{
    if (!tn_ready(op, "x", x))
        return false;
    for (int d = 0; d < x->ndim; d++)
        if (x->strides[d] == 0 && x->sizes[d] > 1) {
            tn_fail(TN_ERR_ARGUMENT, "%s: x %s was expanded along dim %d, so that several of its elements are one: tn_clone it first", op,
                    tn_text(x), d);
            return false;
        }
    return tn_inplace_check(op, x, inputs, count);
}

/* Whether writing x[i] changes no element of other but other[i]. */
static bool independent(const tn_tensor *x, const tn_tensor *other)
{
    if (x->storage != other->storage)
        return true;
    if (x->offset != other->offset || x->dtype != other->dtype || !tn_same_shape(x, other))
        return false;
    for (int d = 0; d < x->ndim; d++)
        if (x->strides[d] != other->strides[d])
            return false;
    return true;
}

/* `other` as it was before the write: a copy, where it reads x's storage otherwise than x itself. A reference of the caller's. */
static tn_tensor *apart(const tn_tensor *x, const tn_tensor *other)
{
    if (independent(x, other))
        return tn_retain(other);
    tn_tensor *copy = tn_new_owned("copy", tn_shape_of(other), (tn_dtype)other->dtype, other->storage->device);
    if (copy && !tn_cast_into(copy, other)) {
        tn_release(copy);
        return NULL;
    }
    return copy;
}

/* Whether other broadcasts to x's shape and its dtype's kind goes into x's. */
static bool fits(const char *op, const tn_tensor *x, const tn_tensor *other, tn_dtype result)
{
    tn_shape shape;
    if (!tn_devices_agree(op, x, other) || !tn_broadcast_shapes(op, x, other, &shape))
        return false;
    if (!tn_shape_equal(shape, tn_shape_of(x))) {
        tn_fail(TN_ERR_SHAPE, "%s: x is %s and the result would be %s: x cannot grow", op, tn_text(x), tn_shape_text(shape));
        return false;
    }
    bool x_floats = tn_dtype_is_float((tn_dtype)x->dtype);
    if ((tn_dtype_is_float(result) && !x_floats) || (x->dtype == TN_BOOL && result != TN_BOOL)) {
        tn_fail(TN_ERR_DTYPE, "%s: the result is %s, which x, %s, cannot hold: use the operator that gives a new tensor", op,
                tn_dtype_name(result), tn_dtype_name((tn_dtype)x->dtype));
        return false;
    }
    return true;
}

/* x = op(x, other), computed in dtype `result`. */
static bool write(tn_binary_op op, tn_dtype result, tn_tensor *x, const tn_tensor *other)
{
    tn_tensor *operand = apart(x, other), *wide = NULL;
    bool good = operand != NULL;
    if (good && result == (tn_dtype)x->dtype) {
        good = tn_binary_into(op, result, x, x, operand);
    } else if (good) {
        wide = tn_new_owned("in place", tn_shape_of(x), result, x->storage->device);
        good = wide && tn_binary_into(op, result, wide, x, operand) && tn_cast_into(x, wide);
    }
    tn_release(wide);
    tn_release(operand);
    return good;
}

static tn_tensor *binary_(const char *name, tn_binary_op op, tn_tensor *x, tn_tensor *other, tn_backward_fn backward, tn_tensor *save[2])
{
    tn_dtype result = tn_result_dtype(x, other);
    if (op == TN_BINARY_DIV && !tn_dtype_is_float(result))
        result = tn_get_default_dtype();
    if (op == TN_BINARY_SUB && result == TN_BOOL)
        return tn_fail(TN_ERR_DTYPE, "%s: both operands are bool, and numbers are needed", name);
    if (!fits(name, x, other, result) || !write(op, result, x, other))
        return NULL;
    return tn_record_inplace(x, name, backward, TN_INPUTS(other), save, 2, TN_NO_ATTR);
}

static bool begin(const char *name, tn_tensor *x, tn_tensor *other)
{
    return tn_ready(name, "x", x) && tn_ready(name, "other", other) && writable(name, x, &other, 1);
}
static bool recorded(const tn_tensor *x) { return !tn_this.no_grad && tn_tracks(x); }

/* ---- arithmetic ----------------------------------------------------------------------------------------------------------- */

static void add_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = tn_wants(node, 0) ? tn_fit(node, 0, dy[0]) : NULL;
    dx[1] = tn_wants(node, 1) ? tn_fit(node, 1, dy[0]) : NULL;
}
tn_tensor *tn_add_(tn_tensor *x, tn_operand other)
{
    return begin("add_", x, other) ? binary_("add_", TN_BINARY_ADD, x, other, add_backward, (tn_tensor *[2]){NULL}) : NULL;
}

static void sub_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = tn_wants(node, 0) ? tn_fit(node, 0, dy[0]) : NULL;
    dx[1] = tn_wants(node, 1) ? tn_fit(node, 1, tn_neg(dy[0])) : NULL;
}
tn_tensor *tn_sub_(tn_tensor *x, tn_operand other)
{
    return begin("sub_", x, other) ? binary_("sub_", TN_BINARY_SUB, x, other, sub_backward, (tn_tensor *[2]){NULL}) : NULL;
}

/* What x and other were is needed for each other's gradient: a copy of what the write changes, with its history, so that the gradient can be
 * differentiated again. */
static bool save_operands(tn_tensor *x, tn_tensor *other, tn_tensor *save[2])
{
    bool aliased = x->storage == other->storage;
    if (recorded(other))
        save[0] = tn_clone(x);
    if (recorded(x) || recorded(other))
        save[1] = aliased ? tn_clone(other) : other;
    return !tn_failing();
}

static void mul_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    tn_tensor *x = tn_node_saved(node, 0), *other = tn_node_saved(node, 1);
    if (!tn_failing() && tn_wants(node, 0))
        dx[0] = tn_fit(node, 0, tn_mul(dy[0], other));
    if (!tn_failing() && tn_wants(node, 1))
        dx[1] = tn_fit(node, 1, tn_mul(dy[0], x));
}
tn_tensor *tn_mul_(tn_tensor *x, tn_operand other)
{
    tn_tensor *save[2] = {NULL};
    return begin("mul_", x, other) && save_operands(x, other, save) ? binary_("mul_", TN_BINARY_MUL, x, other, mul_backward, save) : NULL;
}

static void div_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    tn_tensor *x = tn_node_saved(node, 0), *other = tn_node_saved(node, 1);
    if (!tn_failing() && tn_wants(node, 0))
        dx[0] = tn_fit(node, 0, tn_div(dy[0], other));
    if (!tn_failing() && tn_wants(node, 1))
        dx[1] = tn_fit(node, 1, tn_neg(tn_div(tn_mul(dy[0], tn_div(x, other)), other)));
}
tn_tensor *tn_div_(tn_tensor *x, tn_operand other)
{
    tn_tensor *save[2] = {NULL};
    return begin("div_", x, other) && save_operands(x, other, save) ? binary_("div_", TN_BINARY_DIV, x, other, div_backward, save) : NULL;
}

/* ---- fill, copy ----------------------------------------------------------------------------------------------------------- */

/* What x was no longer matters. */
static void fill_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx) { dx[0] = tn_wants(node, 0) ? tn_zeros_of("zeros", tn_shape_of(dy[0]), dy[0]) : NULL; }

static tn_tensor *fill(const char *name, tn_tensor *x, double value)
{
    if (!writable(name, x, NULL, 0) || !tn_number_fits(name, value, (tn_dtype)x->dtype))
        return NULL;
    tn_tensor *number = tn_scalar_f64(value), *element = number ? tn_operand_as(number, (tn_dtype)x->dtype) : NULL;
    if (!element)
        return NULL;
    tn_loop loop;
    bool good = !tn_loop_make(&loop, x, NULL, 0) || tn_kernels_for(x)->fill(tn_item_size(x), tn_ptr(element), &loop) == TN_OK;
    tn_release(element);
    return good ? tn_record_inplace(x, name, fill_backward, NULL, 0, TN_NO_SAVED, TN_NO_ATTR) : NULL;
}
tn_tensor *tn_fill_(tn_tensor *x, double value) { return fill("fill_", x, value); }
tn_tensor *tn_zero_(tn_tensor *x) { return fill("zero_", x, 0); }

static void copy_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = tn_wants(node, 0) ? tn_zeros_of("zeros", tn_shape_of(dy[0]), dy[0]) : NULL;
    dx[1] = tn_wants(node, 1) ? tn_fit(node, 1, dy[0]) : NULL;
}
tn_tensor *tn_copy_(tn_tensor *x, tn_operand source)
{
    tn_shape shape;
    if (!tn_ready("copy_", "x", x) || !tn_ready("copy_", "source", source))
        return NULL;
    if (!tn_has(source, TN_FLAG_WRAPPED) && !(source = tn_to(source, x->storage->device)))
        return NULL;
    if (!writable("copy_", x, &source, 1) || !tn_broadcast_shapes("copy_", x, source, &shape))
        return NULL;
    if (!tn_shape_equal(shape, tn_shape_of(x)))
        return tn_fail(TN_ERR_SHAPE, "copy_: source %s must broadcast to x %s", tn_text(source), tn_text(x));
    tn_tensor *from = apart(x, source);
    bool good = from && tn_cast_into(x, from);
    tn_release(from);
    return good ? tn_record_inplace(x, "copy_", copy_backward, TN_INPUTS(source), TN_NO_SAVED, TN_NO_ATTR) : NULL;
}
