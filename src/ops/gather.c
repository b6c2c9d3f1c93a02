/* Gathering and scattering: the walk, its adjoint, and the operators along one dim. */
#include <tenon/ops.h>

#include "autograd/node.h"
#include "core/loop.h"
#include "ops/broadcast.h"
#include "ops/create.h"
#include "ops/index.h"
#include "ops/shape.h"

#include <string.h>

/* ---- the walk ----------------------------------------------------------------------------------------------------------- */

/* Byte offsets of the walk's places within x, one for each place of the index tensors; owned by the caller. */
static tn_tensor *offsets_in(const tn_tensor *x, const tn_walk *walk)
{
    const tn_tensor *first = walk->index[0];
    tn_tensor *out = tn_new_owned(walk->op, tn_shape_of(first), TN_I64, x->storage->device);
    if (!out)
        return NULL;
    tn_offsets offsets = {.n = first->numel, .count = walk->count, .out = (int64_t *)tn_ptr(out), .wrap = walk->wrap};
    for (int k = 0; k < walk->count; k++) {
        offsets.index[k] = (const int64_t *)tn_ptr(walk->index[k]);
        offsets.sizes[k] = x->sizes[walk->dim[k]];
        offsets.strides[k] = x->strides[walk->dim[k]] * (int64_t)tn_item_size(x);
    }
    tn_status status = tn_kernels_for(x)->offsets(&offsets);
    if (status == TN_OK)
        return out;
    if (status == TN_ERR_INDEX && !tn_failing()) {
        int d = walk->dim[offsets.bad_term];
        tn_fail(TN_ERR_INDEX, "%s: index %lld is out of range for dim %d of size %lld", walk->op, (long long)offsets.bad_index, d,
                (long long)x->sizes[d]);
    }
    tn_release(out);
    return NULL;
}

/* The loop of `dense` over x and the offsets. Neither x's view nor the offsets' is ever a tensor that someone could hold. */
static bool walk_loop(tn_loop *loop, const tn_tensor *dense, const tn_tensor *x, const tn_tensor *offsets, const tn_walk *walk)
{
    tn_tensor far = *x, at = *offsets;
    far.ndim = at.ndim = (uint8_t)walk->shape.ndim;
    far.flags = at.flags = 0;
    far.numel = at.numel = dense->numel;
    for (int d = 0; d < walk->shape.ndim; d++) {
        far.sizes[d] = at.sizes[d] = walk->shape.sizes[d];
        far.strides[d] = walk->walk[d] < 0 ? 0 : x->strides[walk->walk[d]];
        at.strides[d] = walk->along[d] < 0 ? 0 : offsets->strides[walk->along[d]];
    }
    return tn_loop_make(loop, dense, (const tn_tensor *const[]){&far, &at}, 2);
}

/* A walk as a node keeps it: the index tensors are among what is saved. */
static tn_walk recalled(tn_node *node)
{
    tn_walk walk = *(const tn_walk *)tn_node_attr(node);
    for (int k = 0; k < walk.count; k++)
        walk.index[k] = tn_node_saved(node, k);
    return walk;
}

typedef struct gather_attr {
    tn_walk walk;
    tn_shape shape; /* of the indexed tensor */
} gather_attr;

static void gather_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    tn_walk walk = recalled(node);
    const gather_attr *attr = tn_node_attr(node);
    if (!tn_failing())
        dx[0] = tn_walk_scatter(tn_zeros_of(walk.op, attr->shape, dy[0]), &walk, dy[0], true);
}

tn_tensor *tn_walk_gather(tn_tensor *x, const tn_walk *walk)
{
    tn_tensor *y = tn_new(walk->op, walk->shape, (tn_dtype)x->dtype, x->storage->device);
    tn_tensor *offsets = y ? offsets_in(x, walk) : NULL;
    tn_loop loop;
    bool done = offsets && (!walk_loop(&loop, y, x, offsets, walk) || tn_kernels_for(x)->gather(tn_item_size(x), &loop) == TN_OK);
    tn_release(offsets);
    if (!done)
        return NULL;
    gather_attr attr = {*walk, tn_shape_of(x)};
    return tn_record(y, walk->op, gather_backward, TN_INPUTS(x), walk->index, walk->count, TN_ATTR(attr));
}

static void scatter_add_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = dy[0];
    if (!tn_wants(node, 1))
        return;
    tn_walk walk = recalled(node);
    dx[1] = tn_failing() ? NULL : tn_walk_gather(dy[0], &walk);
}

static void scatter_set_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    tn_walk walk = recalled(node);
    if (tn_failing())
        return;
    if (tn_wants(node, 0))
        dx[0] = tn_walk_scatter(tn_clone(dy[0]), &walk, tn_zeros_of(walk.op, TN_SCALAR, dy[0]), false);
    if (tn_wants(node, 1))
        dx[1] = tn_walk_gather(dy[0], &walk);
}

tn_tensor *tn_walk_scatter(tn_tensor *x, const tn_walk *walk, tn_tensor *values, bool add)
{
    if (!tn_ready(walk->op, "x", x) || !tn_ready(walk->op, "value", values) || !tn_devices_agree(walk->op, x, values))
        return NULL;
    if (!tn_inplace_check(walk->op, x, TN_INPUTS(values)))
        return NULL;
    if (values->dtype != x->dtype)
        values = tn_cast(values, (tn_dtype)x->dtype);
    values = values ? tn_expand(values, walk->shape) : NULL;
    tn_tensor *offsets = values ? offsets_in(x, walk) : NULL;
    tn_loop loop;
    bool done = offsets && (!walk_loop(&loop, values, x, offsets, walk) ||
                            tn_kernels_for(x)->scatter((tn_dtype)x->dtype, add, &loop) == TN_OK);
    tn_release(offsets);
    if (!done)
        return NULL;
    return tn_record_inplace(x, walk->op, add ? scatter_add_backward : scatter_set_backward, TN_INPUTS(values), walk->index, walk->count,
                             TN_ATTR(*walk));
}

tn_tensor *tn_walk_index(const char *op, const tn_tensor *x, tn_tensor *index)
{
    if (!tn_ready(op, "index", index))
        return NULL;
    if (tn_dtype_is_float((tn_dtype)index->dtype) || index->dtype == TN_BOOL)
        return tn_fail(TN_ERR_DTYPE, "%s: index is %s: indices are integers", op, tn_dtype_name((tn_dtype)index->dtype));
    if (!tn_devices_agree(op, x, index))
        return NULL;
    return tn_contiguous(index->dtype == TN_I64 ? index : tn_cast(index, TN_I64));
}

/* ---- along one dim ------------------------------------------------------------------------------------------------------ */

/* One index tensor, of the result's rank, that walks with it; x's other dims walk too. Tensors of rank 0 count as [1] here. */
static bool plan_gather(tn_walk *walk, const char *op, tn_tensor **x, int dim, tn_tensor **index)
{
    if (!tn_ready(op, "x", *x) || !tn_ready(op, "index", *index))
        return false;
    int d = tn_wrap_dim(op, dim, (*x)->ndim);
    if (d < 0)
        return false;
    *index = tn_walk_index(op, *x, *index);
    if ((*x)->ndim == 0)
        *x = tn_reshape(*x, TN_SHAPE(1));
    if (*index && (*index)->ndim == 0)
        *index = tn_reshape(*index, TN_SHAPE(1));
    if (!*x || !*index)
        return false;
    bool fits = (*index)->ndim == (*x)->ndim;
    for (int i = 0; fits && i < (*x)->ndim && (*index)->numel; i++)
        fits = i == d || (*index)->sizes[i] <= (*x)->sizes[i];
    if (!fits) {
        tn_fail(TN_ERR_SHAPE, "%s: index is %s and x is %s: both need the same rank, and but for dim %d index must nowhere be larger", op,
                tn_text(*index), tn_text(*x), d);
        return false;
    }
    *walk = (tn_walk){.op = op, .count = 1, .index = {*index}, .dim = {d}, .shape = tn_shape_of(*index)};
    for (int i = 0; i < (*x)->ndim; i++) {
        walk->walk[i] = (int8_t)(i == d ? -1 : i);
        walk->along[i] = (int8_t)i;
    }
    return true;
}

tn_tensor *tn_gather(tn_tensor *x, int dim, tn_tensor *index)
{
    TN_SCOPE;
    tn_walk walk;
    tn_tensor *given = index;
    if (!plan_gather(&walk, "gather", &x, dim, &index))
        return NULL;
    tn_tensor *y = tn_walk_gather(x, &walk);
    return tn_pass(y ? tn_reshape(y, tn_shape_of(given)) : NULL);
}

/* The part of source that index walks. */
static tn_tensor *matching(const char *op, tn_tensor *source, const tn_tensor *index)
{
    if (!tn_ready(op, "source", source))
        return NULL;
    if (source->ndim == 0)
        return source;
    bool fits = source->ndim == index->ndim, same = fits;
    tn_slice slice = tn_slice_of(source);
    for (int d = 0; fits && d < index->ndim; d++) {
        fits = source->sizes[d] >= index->sizes[d];
        same = same && source->sizes[d] == index->sizes[d];
        slice.size[d] = index->sizes[d];
    }
    if (!fits)
        return tn_fail(TN_ERR_SHAPE, "%s: source is %s and index is %s: source must have its rank and nowhere be smaller", op,
                       tn_text(source), tn_text(index));
    return same ? source : tn_slice_view("slice", source, &slice, tn_shape_of(index));
}

static tn_tensor *scattered(const char *op, tn_tensor *x, int dim, tn_tensor *index, tn_tensor *source, bool add)
{
    TN_SCOPE;
    tn_walk walk;
    tn_tensor *given = x;
    if (!plan_gather(&walk, op, &x, dim, &index))
        return NULL;
    tn_tensor *values = matching(op, source, index);
    tn_tensor *y = values ? tn_clone(x) : NULL;
    y = y ? tn_walk_scatter(y, &walk, values, add) : NULL;
    return tn_pass(y ? tn_reshape(y, tn_shape_of(given)) : NULL);
}

tn_tensor *(tn_scatter)(tn_tensor *x, int dim, tn_tensor *index, tn_operand source)
{
    return scattered("scatter", x, dim, index, source, false);
}
tn_tensor *(tn_scatter_add)(tn_tensor *x, int dim, tn_tensor *index, tn_operand source)
{
    return scattered("scatter_add", x, dim, index, source, true);
}

/* An index of one dim in the place of x's dim. */
static bool plan_select(tn_walk *walk, const char *op, tn_tensor *x, int dim, tn_tensor *index)
{
    if (!tn_ready(op, "x", x) || !tn_ready(op, "index", index))
        return false;
    int d = tn_wrap_dim(op, dim, x->ndim);
    if (d < 0)
        return false;
    if (index->ndim > 1 || x->ndim == 0) {
        tn_fail(TN_ERR_SHAPE, "%s: index is %s and x is %s: index must have one dim, and x one or more", op, tn_text(index), tn_text(x));
        return false;
    }
    index = tn_walk_index(op, x, index);
    if (!index)
        return false;
    *walk = (tn_walk){.op = op, .count = 1, .index = {index}, .dim = {d}, .shape = tn_shape_of(x)};
    walk->shape.sizes[d] = index->numel;
    for (int i = 0; i < x->ndim; i++) {
        walk->walk[i] = (int8_t)(i == d ? -1 : i);
        walk->along[i] = (int8_t)(i == d && index->ndim ? 0 : -1);
    }
    return true;
}

tn_tensor *tn_index_select(tn_tensor *x, int dim, tn_tensor *index)
{
    tn_walk walk;
    return plan_select(&walk, "index_select", x, dim, index) ? tn_walk_gather(x, &walk) : NULL;
}

tn_tensor *tn_index_add(tn_tensor *x, int dim, tn_tensor *index, tn_tensor *source)
{
    tn_walk walk;
    if (!plan_select(&walk, "index_add", x, dim, index) || !tn_ready("index_add", "source", source))
        return NULL;
    if (!tn_shape_equal(tn_shape_of(source), walk.shape))
        return tn_fail(TN_ERR_SHAPE, "index_add: source is %s, and x and index make %s", tn_text(source), tn_shape_text(walk.shape));
    tn_tensor *y = tn_clone(x);
    return y ? tn_walk_scatter(y, &walk, source, true) : NULL;
}

tn_tensor *tn_one_hot(tn_tensor *x, int64_t classes)
{
    TN_SCOPE;
    if (!tn_ready("one_hot", "x", x))
        return NULL;
    tn_tensor *index = tn_walk_index("one_hot", x, x);
    if (!index || x->ndim == TN_MAX_DIMS)
        return index ? tn_fail(TN_ERR_SHAPE, "one_hot: x is %s: it has no room for another dim", tn_text(x)) : NULL;
    if (classes <= 0) {
        const int64_t *at = tn_data(tn_to(index, (tn_device_id){TN_CPU, 0}));
        for (int64_t i = 0; at && i < index->numel; i++)
            classes = at[i] >= classes ? at[i] + 1 : classes;
        if (index->numel == 0)
            return tn_fail(TN_ERR_ARGUMENT, "one_hot: x is empty: say how many classes there are");
    }
    tn_shape shape = tn_shape_of(x);
    shape.sizes[shape.ndim++] = classes > 0 ? classes : 0;
    tn_tensor *y = tn_zeros_of("one_hot", shape, index), *one = tn_new("one_hot", TN_SCALAR, TN_I64, x->storage->device);
    if (!y || !one || !tn_fill_raw(one, 1))
        return NULL;
    shape.sizes[shape.ndim - 1] = 1;
    return tn_pass(tn_reshape(scattered("one_hot", y, -1, tn_reshape(index, shape), one, false), tn_shape_of(y)));
}

/* ---- masks -------------------------------------------------------------------------------------------------------------- */

tn_tensor *tn_true_positions(const char *op, tn_tensor *mask)
{
    tn_tensor *dense = tn_contiguous(mask);
    int64_t count = 0;
    if (!dense || tn_kernels_for(dense)->positions(dense->numel, (const bool *)tn_ptr(dense), NULL, &count) != TN_OK)
        return NULL;
    tn_tensor *at = tn_new(op, TN_SHAPE(count), TN_I64, mask->storage->device);
    if (!at || tn_kernels_for(dense)->positions(dense->numel, (const bool *)tn_ptr(dense), (int64_t *)tn_ptr(at), &count) != TN_OK)
        return NULL;
    return at;
}

tn_tensor *tn_masked_select(tn_tensor *x, tn_tensor *mask)
{
    tn_shape shape;
    if (!tn_ready("masked_select", "x", x) || !tn_ready("masked_select", "mask", mask))
        return NULL;
    if (mask->dtype != TN_BOOL)
        return tn_fail(TN_ERR_DTYPE, "masked_select: mask is %s: it must be bool", tn_dtype_name((tn_dtype)mask->dtype));
    TN_SCOPE;
    if (!tn_devices_agree("masked_select", x, mask) || !tn_broadcast_shapes("masked_select", x, mask, &shape))
        return NULL;
    tn_tensor *at = tn_true_positions("masked_select", tn_expand(mask, shape)), *flat = tn_reshape(tn_expand(x, shape), TN_SHAPE(-1));
    return tn_pass(at && flat ? tn_index_select(flat, 0, at) : NULL);
}

tn_tensor *tn_nonzero(tn_tensor *x)
{
    TN_SCOPE;
    if (!tn_ready("nonzero", "x", x))
        return NULL;
    tn_tensor *mask = x, *at;
    if (x->dtype != TN_BOOL) {
        mask = tn_new("nonzero", tn_shape_of(x), TN_BOOL, x->storage->device);
        if (!mask || !tn_copy_raw(mask, x))
            return NULL;
    }
    at = tn_true_positions("nonzero", mask);
    tn_tensor *y = at ? tn_new("nonzero", TN_SHAPE(at->numel, x->ndim), TN_I64, x->storage->device) : NULL;
    if (!y || tn_kernels_for(x)->unravel(at->numel, (const int64_t *)tn_ptr(at), x->ndim, x->sizes, x->ndim, 1, (int64_t *)tn_ptr(y)) != TN_OK)
        return NULL;
    return tn_pass(y);
}
