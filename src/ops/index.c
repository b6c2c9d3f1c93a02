/* x[...] and x[...] = value. */
#include <tenon/ops.h>

#include "autograd/node.h"
#include "core/loop.h"
#include "ops/broadcast.h"
#include "ops/create.h"
#include "ops/index.h"
#include "ops/shape.h"

/* ---- what the items say -------------------------------------------------------------------------------------------------- */

/* The items read against x: first a slice of it, of the given shape (dims dropped and added), then tensors that index dims of that. */
typedef struct plan {
    const char *op;
    tn_slice slice;
    tn_shape shape;
    tn_tensor *tensor[TN_MAX_DIMS]; /* what indexes dim d of the shape, or NULL; a mask stands at the first of its dims */
    int tensors;
} plan;

/* How many of x's dims an item takes. */
static int dims_taken(const tn_index_item *item)
{
    if (item->kind == TN_INDEX_TENSOR)
        return item->tensor && item->tensor->dtype == TN_BOOL ? item->tensor->ndim : 1;
    return item->kind == TN_INDEX_RANGE || item->kind == TN_INDEX_INT;
}

/* Clamps a range as Python does and puts it into dim d of the slice; false with an error. */
static bool take_range(plan *p, int d, const tn_index_item *item)
{
    int64_t size = p->slice.whole.sizes[d], start = item->start, stop = item->stop;
    if (item->step < 1) {
        tn_fail(TN_ERR_ARGUMENT, "%s: a range of dim %d has step %lld: steps are positive; tn_flip turns a dim round", p->op, d,
                (long long)item->step);
        return false;
    }
    start = start < 0 ? start + size : start;
    stop = stop < 0 ? stop + size : stop;
    start = start < 0 ? 0 : start > size ? size : start;
    stop = stop < start ? start : stop > size ? size : stop;
    p->slice.start[d] = start;
    p->slice.step[d] = item->step;
    p->slice.size[d] = (stop - start) / item->step + ((stop - start) % item->step != 0);
    return true;
}

static bool take_int(plan *p, int d, int64_t index)
{
    int64_t size = p->slice.whole.sizes[d], at = index < 0 ? index + size : index;
    if (at < 0 || at >= size) {
        tn_fail(TN_ERR_INDEX, "%s: index %lld is out of range for dim %d of size %lld", p->op, (long long)index, d, (long long)size);
        return false;
    }
    p->slice.start[d] = at;
    p->slice.size[d] = 1;
    return true;
}

static bool take_tensor(plan *p, const tn_tensor *x, int d, tn_tensor *index, int count)
{
    if (tn_dtype_is_float((tn_dtype)index->dtype)) {
        tn_fail(TN_ERR_DTYPE, "%s: an index tensor is %s: give integers, or a bool mask", p->op, tn_dtype_name((tn_dtype)index->dtype));
        return false;
    }
    for (int k = 0; index->dtype == TN_BOOL && k < count; k++)
        if (index->sizes[k] != x->sizes[d + k]) {
            tn_fail(TN_ERR_SHAPE, "%s: the mask %s stands for dims of x (%s) from dim %d on, and does not have their sizes", p->op,
                    tn_text(index), tn_text(x), d);
            return false;
        }
    p->tensor[p->shape.ndim] = index;
    p->tensors++;
    return true;
}

/* One more dim of the result; false when there is no room. */
static bool push_dim(plan *p, int64_t size)
{
    if (p->shape.ndim < TN_MAX_DIMS) {
        p->shape.sizes[p->shape.ndim++] = size;
        return true;
    }
    tn_fail(TN_ERR_SHAPE, "%s: the result would have more than %d dimensions", p->op, TN_MAX_DIMS);
    return false;
}

static bool read_items(plan *p, const tn_tensor *x, tn_index_items items)
{
    int taken = 0, ellipses = 0;
    p->slice = tn_slice_of(x);
    for (int i = 0; i < items.count; i++) {
        const tn_index_item *item = &items.items[i];
        if (item->kind == TN_INDEX_TENSOR && !tn_ready(p->op, "an index tensor", item->tensor))
            return false;
        if (item->kind == TN_INDEX_TENSOR && item->tensor->dtype == TN_BOOL && item->tensor->ndim == 0) {
            tn_fail(TN_ERR_SHAPE, "%s: a mask of rank 0 stands for no dim: use tn_where", p->op);
            return false;
        }
        taken += dims_taken(item);
        ellipses += item->kind == TN_INDEX_ELLIPSIS;
    }
    if (taken > x->ndim || ellipses > 1) {
        tn_fail(TN_ERR_INDEX, taken > x->ndim ? "%s: the items take %d dims, and x is %s" : "%s: more than one ellipsis (%d dims, x is %s)",
                p->op, taken, tn_text(x));
        return false;
    }
    for (int i = 0, d = 0; i <= items.count; i++) {
        static const tn_index_item rest = {.kind = TN_INDEX_ELLIPSIS};
        const tn_index_item *item = i < items.count ? &items.items[i] : &rest;
        int count = dims_taken(item);
        if (item->kind == TN_INDEX_ELLIPSIS)
            count = i < items.count ? x->ndim - taken : x->ndim - d;
        if ((item->kind == TN_INDEX_RANGE && !take_range(p, d, item)) || (item->kind == TN_INDEX_INT && !take_int(p, d, item->start)) ||
            (item->kind == TN_INDEX_TENSOR && !take_tensor(p, x, d, item->tensor, count)) ||
            (item->kind == TN_INDEX_NEW_AXIS && !push_dim(p, 1)))
            return false;
        for (int k = 0; k < count; k++)
            if (item->kind != TN_INDEX_INT && !push_dim(p, p->slice.size[d + k]))
                return false;
        d += count;
    }
    return true;
}

/* ---- indexing by tensors ------------------------------------------------------------------------------------------------- */

/* The plan's tensors as i64 index tensors of dims; a mask becomes the coordinates of its true elements, one tensor for each of its dims. */
static bool index_tensors(const plan *p, const tn_tensor *x, tn_walk *walk)
{
    for (int d = 0; d < p->shape.ndim; d++) {
        tn_tensor *index = p->tensor[d];
        if (index && index->dtype == TN_BOOL) {
            if (!tn_devices_agree(p->op, x, index))
                return false;
            tn_tensor *at = tn_true_positions(p->op, index);
            tn_tensor *all = at ? tn_new(p->op, TN_SHAPE(index->ndim, at->numel), TN_I64, x->storage->device) : NULL;
            if (!all || tn_kernels_for(x)->unravel(at->numel, (const int64_t *)tn_ptr(at), index->ndim, index->sizes, 1, at->numel,
                                                   (int64_t *)tn_ptr(all)) != TN_OK)
                return false;
            for (int k = 0; k < index->ndim; k++) {
                walk->dim[walk->count] = d + k;
                walk->index[walk->count++] = tn_select(all, 0, k);
            }
        } else if (index) {
            walk->dim[walk->count] = d;
            walk->index[walk->count++] = tn_walk_index(p->op, x, index);
        }
    }
    return !tn_failing();
}

/* The index tensors broadcast to one shape. */
static bool broadcast_indices(tn_walk *walk, tn_shape *shape)
{
    *shape = tn_shape_of(walk->index[0]);
    for (int k = 1; k < walk->count; k++) {
        tn_tensor common = {.ndim = (uint8_t)shape->ndim};
        for (int i = 0; i < shape->ndim; i++)
            common.sizes[i] = shape->sizes[i];
        if (!tn_broadcast_shapes(walk->op, &common, walk->index[k], shape))
            return false;
    }
    for (int k = 0; k < walk->count; k++)
        walk->index[k] = tn_contiguous(tn_expand(walk->index[k], *shape));
    return !tn_failing();
}

/* Where the index tensors' dims stand in the result: in the place of the first dim that is indexed, or in front where a dim that is not lies
 * between two that are. */
static bool plan_walk(const plan *p, const tn_tensor *x, tn_walk *walk)
{
    tn_shape common;
    *walk = (tn_walk){.op = p->op, .wrap = true};
    if (!index_tensors(p, x, walk) || !broadcast_indices(walk, &common))
        return false;
    int first = walk->dim[0], last = walk->dim[walk->count - 1];
    int at = last - first + 1 == walk->count ? first : 0;
    uint32_t indexed = 0;
    for (int k = 0; k < walk->count; k++)
        indexed |= 1u << walk->dim[k];
    if (p->shape.ndim - walk->count + common.ndim > TN_MAX_DIMS) {
        tn_fail(TN_ERR_SHAPE, "%s: the result would have more than %d dimensions", p->op, TN_MAX_DIMS);
        return false;
    }
    for (int d = 0, to = 0; d <= p->shape.ndim; d++) {
        for (int k = 0; d == at && k < common.ndim; k++, to++) {
            walk->walk[to] = -1;
            walk->along[to] = (int8_t)k;
            walk->shape.sizes[to] = common.sizes[k];
        }
        if (d < p->shape.ndim && !(indexed & 1u << d)) {
            walk->walk[to] = (int8_t)d;
            walk->along[to] = -1;
            walk->shape.sizes[to++] = p->shape.sizes[d];
        }
        walk->shape.ndim = to;
    }
    return true;
}

/* One mask and nothing else by tensors: its dims made one, which its true positions then index. */
static tn_tensor *index_by_mask(const plan *p, tn_tensor *x, int d)
{
    tn_tensor *mask = p->tensor[d];
    tn_shape shape = {.ndim = x->ndim - mask->ndim + 1};
    for (int i = 0; i < shape.ndim; i++)
        shape.sizes[i] = i == d ? mask->numel : x->sizes[i < d ? i : i + mask->ndim - 1];
    tn_tensor *at = tn_devices_agree(p->op, x, mask) ? tn_true_positions(p->op, mask) : NULL;
    return at ? tn_index_select(tn_reshape(x, shape), d, at) : NULL;
}

static bool all_of(const tn_slice *slice)
{
    for (int d = 0; d < slice->whole.ndim; d++)
        if (slice->size[d] != slice->whole.sizes[d])
            return false;
    return true;
}

tn_tensor *tn_index_at(tn_tensor *x, tn_index_items items)
{
    plan p = {.op = "index"};
    tn_walk walk;
    if (!tn_ready("index", "x", x) || !read_items(&p, x, items))
        return NULL;
    if (p.tensors == 0)
        return tn_slice_view("slice", x, &p.slice, p.shape);
    TN_SCOPE;
    tn_tensor *part = all_of(&p.slice) && p.shape.ndim == x->ndim ? x : tn_slice_view("slice", x, &p.slice, p.shape);
    if (!part)
        return NULL;
    for (int d = 0; p.tensors == 1 && d < p.shape.ndim; d++)
        if (p.tensor[d] && p.tensor[d]->dtype == TN_BOOL)
            return tn_pass(index_by_mask(&p, part, d));
    return tn_pass(plan_walk(&p, part, &walk) ? tn_walk_gather(part, &walk) : NULL);
}

/* ---- assignment ---------------------------------------------------------------------------------------------------------- */

typedef struct assign_attr {
    tn_slice slice;
    tn_shape shape;
} assign_attr;

/* The kernel's part: value, of the shape, into the slice whose dims of size 1 the shape may lack or add to. */
static bool fill_slice(tn_tensor *x, const tn_slice *slice, tn_shape shape, const tn_tensor *value)
{
    tn_tensor place = tn_slice_raw(x, slice), from = *value;
    from.ndim = place.ndim;
    from.flags = 0;
    for (int d = 0, to = 0; d < place.ndim; d++) {
        from.sizes[d] = place.sizes[d];
        from.strides[d] = 0;
        if (place.sizes[d] == 1)
            continue;
        while (shape.sizes[to] == 1)
            to++;
        from.strides[d] = value->strides[to++];
    }
    return tn_copy_raw(&place, &from);
}

static void assign_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx);

/* x's slice = value, which broadcasts to the shape; in place. */
static tn_tensor *assign_slice(tn_tensor *x, const tn_slice *slice, tn_shape shape, tn_tensor *value)
{
    assign_attr attr = {*slice, shape};
    if (!tn_inplace_check("assign", x, TN_INPUTS(value)))
        return NULL;
    if (value->dtype != x->dtype)
        value = tn_cast(value, (tn_dtype)x->dtype);
    value = value ? tn_expand(value, shape) : NULL;
    if (!value || !fill_slice(x, slice, shape, value))
        return NULL;
    return tn_record_inplace(x, "assign", assign_backward, TN_INPUTS(value), TN_NO_SAVED, TN_ATTR(attr));
}

static void assign_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const assign_attr *attr = tn_node_attr(node);
    if (tn_wants(node, 0)) {
        tn_tensor *rest = tn_clone(dy[0]), *zero = tn_zeros_of("assign", TN_SCALAR, dy[0]);
        dx[0] = rest && zero ? assign_slice(rest, &attr->slice, attr->shape, zero) : NULL;
    }
    if (tn_wants(node, 1))
        dx[1] = tn_slice_view("slice", dy[0], &attr->slice, attr->shape);
}

static bool writable(const tn_tensor *x)
{
    for (int d = 0; d < x->ndim; d++)
        if (x->strides[d] == 0 && x->sizes[d] > 1) {
            tn_fail(TN_ERR_STATE, "assign: x is %s, expanded along dim %d, so that its elements share memory: clone it first", tn_text(x), d);
            return false;
        }
    return true;
}

/* value as a place of the shape takes it: without dims of size 1 in front that the place lacks, and apart from x's memory, which changes while
 * it is read. NULL with an error where it does not broadcast. */
static tn_tensor *fitting(const tn_tensor *x, tn_tensor *value, tn_shape shape)
{
    const tn_tensor *given = value;
    if (value->storage == x->storage)
        value = tn_clone(value);
    while (value && value->ndim > shape.ndim && value->sizes[0] == 1)
        value = tn_select(value, 0, 0);
    bool fits = value && value->ndim <= shape.ndim;
    for (int d = 0; fits && d < value->ndim; d++)
        fits = value->sizes[d] == 1 || value->sizes[d] == shape.sizes[shape.ndim - value->ndim + d];
    if (!fits)
        return tn_fail(TN_ERR_SHAPE, "assign: value is %s and the place in x is %s: value must broadcast to it", tn_text(given),
                       tn_shape_text(shape));
    return value;
}

/* The view goes at once: while it lived, writing into x would be refused. */
static tn_tensor *slice_copy(tn_tensor *x, const plan *p)
{
    TN_SCOPE;
    tn_tensor *part = tn_slice_view("slice", x, &p->slice, p->shape);
    return tn_pass(part ? tn_clone(part) : NULL);
}

/* A slice that is indexed further is copied, written into, and put back whole. */
static tn_tensor *assign_walk(const plan *p, tn_tensor *x, tn_tensor *value)
{
    tn_walk walk;
    if (all_of(&p->slice) && p->shape.ndim == x->ndim) {
        value = plan_walk(p, x, &walk) ? fitting(x, value, walk.shape) : NULL;
        return value ? tn_walk_scatter(x, &walk, value, false) : NULL;
    }
    tn_tensor *part = slice_copy(x, p);
    value = part && plan_walk(p, part, &walk) ? fitting(x, value, walk.shape) : NULL;
    if (!value || !tn_walk_scatter(part, &walk, value, false))
        return NULL;
    return assign_slice(x, &p->slice, p->shape, part);
}

tn_tensor *(tn_assign_at)(tn_tensor *x, tn_operand value, tn_index_items items)
{
    TN_SCOPE;
    plan p = {.op = "assign"};
    if (!tn_ready("assign", "x", x) || !tn_ready("assign", "value", value) || !writable(x) || !read_items(&p, x, items) ||
        !tn_devices_agree("assign", x, value))
        return NULL;
    if (p.tensors > 0)
        return assign_walk(&p, x, value);
    value = fitting(x, value, p.shape);
    return value ? assign_slice(x, &p.slice, p.shape, value) : NULL;
}
