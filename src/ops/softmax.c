/* Running sums, softmax and its logarithm. */
#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/reduction.h"

/* ---- cumsum --------------------------------------------------------------------------------------------------------------- */

typedef struct scan {
    int dim;
    bool reverse;
} scan;

static tn_tensor *running_sum(tn_tensor *x, scan how);

static void cumsum_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    scan how = *(const scan *)tn_node_attr(node);
    how.reverse = !how.reverse;
    dx[0] = running_sum(dy[0], how);
}

static tn_tensor *running_sum(tn_tensor *x, scan how)
{
    tn_tensor *packed = tn_packed(x), *y = packed ? tn_new("cumsum", tn_shape_of(x), (tn_dtype)x->dtype, x->storage->device) : NULL;
    if (!y)
        return NULL;
    tn_cumsum_rows rows = {.reverse = how.reverse, .x = tn_ptr(packed), .y = tn_ptr(y)};
    tn_around(x, how.dim, &rows.outer, &rows.n, &rows.inner);
    if (x->numel > 0 && tn_kernels_for(x)->cumsum((tn_dtype)x->dtype, &rows) != TN_OK)
        return NULL;
    return tn_record(y, "cumsum", cumsum_backward, TN_INPUTS(x), TN_NO_SAVED, TN_ATTR(how));
}

tn_tensor *tn_cumsum(tn_tensor *x, int dim)
{
    if (!tn_ready("cumsum", "x", x) || (dim = tn_wrap_dim("cumsum", dim, x->ndim)) < 0)
        return NULL;
    x = tn_dtype_is_float((tn_dtype)x->dtype) ? x : tn_cast(x, TN_I64);
    return x ? running_sum(x, (scan){dim, false}) : NULL;
}

/* ---- softmax -------------------------------------------------------------------------------------------------------------- */

typedef struct softmax_attr {
    int dim;
    bool log;
} softmax_attr;

/* softmax: y (dy - sum of y dy); its logarithm: dy - exp(y) (sum of dy). */
static void softmax_backward(tn_node *node, tn_tensor *const *dys, tn_tensor **dx)
{
    const softmax_attr *how = tn_node_attr(node);
    tn_tensor *y = tn_node_saved(node, 0), *dy = dys[0];
    if (!y)
        return;
    if (tn_grad_enabled()) {
        tn_reduce_args sum = {.size = sizeof sum, .dim = how->dim, .keepdim = true, .x = how->log ? dy : tn_mul(y, dy)};
        tn_tensor *total = tn_sum_with(&sum);
        dx[0] = how->log ? tn_sub(dy, tn_mul(tn_exp(y), total)) : tn_mul(y, tn_sub(dy, total));
        return;
    }
    tn_tensor *packed = tn_packed(dy), *slope = tn_new("softmax", tn_shape_of(y), (tn_dtype)y->dtype, y->storage->device);
    if (!packed || !slope)
        return;
    tn_softmax_rows rows = {.log = how->log, .x = tn_ptr(y), .dy = tn_ptr(packed), .y = tn_ptr(slope)};
    tn_around(y, how->dim, &rows.outer, &rows.n, &rows.inner);
    if (y->numel == 0 || tn_kernels_for(y)->softmax_backward((tn_dtype)y->dtype, &rows) == TN_OK)
        dx[0] = slope;
}

static tn_tensor *softmax(const char *op, tn_tensor *x, softmax_attr how)
{
    if (!tn_ready(op, "x", x) || (how.dim = tn_wrap_dim(op, how.dim, x->ndim)) < 0 || !tn_floats_only(op, x))
        return NULL;
    tn_tensor *packed = tn_packed(x), *y = packed ? tn_new(op, tn_shape_of(x), (tn_dtype)x->dtype, x->storage->device) : NULL;
    if (!y)
        return NULL;
    tn_softmax_rows rows = {.log = how.log, .x = tn_ptr(packed), .y = tn_ptr(y)};
    tn_around(x, how.dim, &rows.outer, &rows.n, &rows.inner);
    if (x->numel > 0 && tn_kernels_for(x)->softmax((tn_dtype)x->dtype, &rows) != TN_OK)
        return NULL;
    return tn_record(y, op, softmax_backward, TN_INPUTS(x), TN_SAVED(y), TN_ATTR(how));
}
tn_tensor *tn_softmax(tn_tensor *x, int dim) { return softmax("softmax", x, (softmax_attr){dim, false}); }
tn_tensor *tn_log_softmax(tn_tensor *x, int dim) { return softmax("log_softmax", x, (softmax_attr){dim, true}); }
