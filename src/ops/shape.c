/* Views, and copies that change no element. */
#include "ops/shape.h"

#include <tenon/ops.h>

#include "autograd/node.h"
#include "core/loop.h"
#include "kernels/device.h"
#include "ops/broadcast.h"
#include "ops/create.h"

/* ---- reshape ------------------------------------------------------------------------------------------------------------ */

static void reshape_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = tn_reshape(dy[0], *(const tn_shape *)tn_node_attr(node));
}

/* A view that has x's elements in row-major order; strides are the caller's. */
static tn_tensor *reshaped(const char *name, tn_tensor *x, tn_shape shape, const int64_t *strides)
{
    tn_shape former = tn_shape_of(x);
    tn_tensor *y = tn_view_of(x, shape.ndim, shape.sizes, strides, x->offset);
    return tn_record(y, name, reshape_backward, TN_INPUTS(x), TN_NO_SAVED, TN_ATTR(former));
}

/* Works out a size of -1 and checks that the number of elements stays. */
static bool fit_shape(const char *op, const tn_tensor *x, tn_shape *shape)
{
    int64_t known = 1;
    int inferred = -1;
    bool good = shape->ndim >= 0 && shape->ndim <= TN_MAX_DIMS;
    for (int i = 0; good && i < shape->ndim; i++) {
        if (shape->sizes[i] == -1 && inferred < 0)
            inferred = i;
        else
            good = shape->sizes[i] >= 0 && !__builtin_mul_overflow(known, shape->sizes[i], &known);
    }
    if (good && inferred >= 0) {
        if (known == 0 || x->numel % known) {
            tn_fail(TN_ERR_SHAPE, "%s: x is %s: no size in the place of -1 makes %s of its %lld elements", op, tn_text(x),
                    tn_shape_text(*shape), (long long)x->numel);
            return false;
        }
        shape->sizes[inferred] = x->numel / known;
        return true;
    }
    if (good && known == x->numel)
        return true;
    tn_fail(TN_ERR_SHAPE, "%s: x is %s with %lld elements, which do not make %s%s", op, tn_text(x), (long long)x->numel,
            tn_shape_text(*shape), good ? "" : ": at most 8 sizes, one of them -1, the others not negative");
    return false;
}

/* The strides that give x another shape without a copy; false where there are none. Runs of x's dims that lie dense within one another are
 * cut anew into runs of the new shape's, from the last on. */
static bool strides_for(const tn_tensor *x, tn_shape shape, int64_t *strides)
{
    if (x->numel == 0 || tn_has(x, TN_FLAG_CONTIGUOUS)) {
        for (int64_t i = shape.ndim - 1, step = 1; i >= 0; i--) {
            strides[i] = step;
            step *= shape.sizes[i] > 0 ? shape.sizes[i] : 1;
        }
        return true;
    }
    int to = shape.ndim - 1;
    int64_t base = x->ndim ? x->strides[x->ndim - 1] : 1, run = 1;
    for (int d = x->ndim - 1; d >= 0; d--) {
        run *= x->sizes[d];
        if (d > 0 && (x->sizes[d - 1] == 1 || x->strides[d - 1] == run * base))
            continue;
        int64_t cut = 1;
        while (to >= 0 && (cut < run || shape.sizes[to] == 1)) {
            strides[to] = cut * base;
            cut *= shape.sizes[to--];
        }
        if (cut != run)
            return false;
        if (d > 0) {
            base = x->strides[d - 1];
            run = 1;
        }
    }
    return to == -1;
}

tn_tensor *tn_reshape(tn_tensor *x, tn_shape shape)
{
    int64_t strides[TN_MAX_DIMS];
    if (!tn_ready("reshape", "x", x) || !fit_shape("reshape", x, &shape))
        return NULL;
    if (tn_shape_equal(tn_shape_of(x), shape))
        return x;
    if (!strides_for(x, shape, strides)) {
        x = tn_clone(x);
        if (!x)
            return NULL;
        strides_for(x, shape, strides);
    }
    return reshaped("reshape", x, shape, strides);
}

tn_tensor *tn_view(tn_tensor *x, tn_shape shape)
{
    int64_t strides[TN_MAX_DIMS];
    if (!tn_ready("view", "x", x) || !fit_shape("view", x, &shape))
        return NULL;
    if (!strides_for(x, shape, strides))
        return tn_fail(TN_ERR_STATE, "view: x is %s and its strides allow no view %s: use tn_reshape, which copies", tn_text(x),
                       tn_shape_text(shape));
    return reshaped("view", x, shape, strides);
}

tn_tensor *tn_flatten(tn_tensor *x, int start, int end)
{
    if (!tn_ready("flatten", "x", x))
        return NULL;
    int first = tn_wrap_dim("flatten", start, x->ndim), last = first < 0 ? -1 : tn_wrap_dim("flatten", end, x->ndim);
    if (last < 0)
        return NULL;
    if (first > last)
        return tn_fail(TN_ERR_INDEX, "flatten: start is dim %d and end is dim %d of %s: start must not come after end", first, last, tn_text(x));
    if (first == last && x->ndim > 0)
        return x;
    tn_shape shape = {.ndim = x->ndim == 0 ? 1 : x->ndim - (last - first)};
    int64_t run = 1;
    for (int d = 0, to = 0; d < x->ndim; d++) {
        run *= x->sizes[d];
        if (d >= first && d < last)
            continue;
        shape.sizes[to++] = run;
        run = 1;
    }
    if (x->ndim == 0)
        shape.sizes[0] = 1;
    return tn_reshape(x, shape);
}

tn_tensor *tn_squeeze(tn_tensor *x, int dim)
{
    if (!tn_ready("squeeze", "x", x))
        return NULL;
    int only = dim == TN_ALL_DIMS ? -1 : tn_wrap_dim("squeeze", dim, x->ndim);
    if (tn_failing())
        return NULL;
    tn_shape shape = {0};
    int64_t strides[TN_MAX_DIMS];
    for (int d = 0; d < x->ndim; d++)
        if (x->sizes[d] != 1 || (only >= 0 && d != only)) {
            strides[shape.ndim] = x->strides[d];
            shape.sizes[shape.ndim++] = x->sizes[d];
        }
    return reshaped("squeeze", x, shape, strides);
}

tn_tensor *tn_unsqueeze(tn_tensor *x, int dim)
{
    if (!tn_ready("unsqueeze", "x", x))
        return NULL;
    if (x->ndim == TN_MAX_DIMS)
        return tn_fail(TN_ERR_SHAPE, "unsqueeze: x is %s, and a tensor has at most %d dimensions", tn_text(x), TN_MAX_DIMS);
    int at = tn_wrap_dim("unsqueeze", dim, x->ndim + 1);
    if (at < 0)
        return NULL;
    tn_shape shape = {.ndim = x->ndim + 1};
    int64_t strides[TN_MAX_DIMS];
    for (int d = 0; d < shape.ndim; d++) {
        int from = d < at ? d : d - 1;
        shape.sizes[d] = d == at ? 1 : x->sizes[from];
        strides[d] = d != at ? x->strides[from] : at < x->ndim ? x->sizes[at] * x->strides[at] : 1;
    }
    return reshaped("unsqueeze", x, shape, strides);
}

/* ---- permutations ------------------------------------------------------------------------------------------------------- */

static void permute_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = tn_permute(dy[0], *(const tn_dims *)tn_node_attr(node));
}

/* order[i] is the dim of x that becomes dim i. */
static tn_tensor *permuted(const char *name, tn_tensor *x, const int *order)
{
    tn_dims inverse = {.count = x->ndim};
    int64_t sizes[TN_MAX_DIMS], strides[TN_MAX_DIMS];
    for (int i = 0; i < x->ndim; i++) {
        inverse.dim[order[i]] = i;
        sizes[i] = x->sizes[order[i]];
        strides[i] = x->strides[order[i]];
    }
    tn_tensor *y = tn_view_of(x, x->ndim, sizes, strides, x->offset);
    return tn_record(y, name, permute_backward, TN_INPUTS(x), TN_NO_SAVED, TN_ATTR(inverse));
}

tn_tensor *tn_permute(tn_tensor *x, tn_dims dims)
{
    if (!tn_ready("permute", "x", x))
        return NULL;
    if (dims.count != x->ndim)
        return tn_fail(TN_ERR_SHAPE, "permute: %d dims are named, and x is %s: name each of its %d once", dims.count, tn_text(x), x->ndim);
    uint32_t seen;
    if (!tn_dims_mask("permute", dims, x->ndim, &seen))
        return NULL;
    int order[TN_MAX_DIMS];
    for (int i = 0; i < x->ndim; i++)
        order[i] = dims.dim[i] < 0 ? dims.dim[i] + x->ndim : dims.dim[i];
    return permuted("permute", x, order);
}

static tn_tensor *swapped(const char *name, tn_tensor *x, int dim0, int dim1)
{
    if (!tn_ready(name, "x", x))
        return NULL;
    int a = tn_wrap_dim(name, dim0, x->ndim), b = a < 0 ? -1 : tn_wrap_dim(name, dim1, x->ndim);
    if (b < 0)
        return NULL;
    int order[TN_MAX_DIMS];
    for (int i = 0; i < TN_MAX_DIMS; i++)
        order[i] = i == a ? b : i == b ? a : i;
    return permuted(name, x, order);
}

tn_tensor *tn_transpose(tn_tensor *x, int dim0, int dim1) { return swapped("transpose", x, dim0, dim1); }
tn_tensor *tn_swapaxes(tn_tensor *x, int dim0, int dim1) { return swapped("swapaxes", x, dim0, dim1); }

/* ---- expand ------------------------------------------------------------------------------------------------------------- */

static void expand_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = tn_sum_to_shape(dy[0], *(const tn_shape *)tn_node_attr(node));
}

tn_tensor *tn_expand(tn_tensor *x, tn_shape shape)
{
    if (!tn_ready("expand", "x", x))
        return NULL;
    if (tn_shape_equal(tn_shape_of(x), shape))
        return x;
    int extra = shape.ndim - x->ndim;
    int64_t strides[TN_MAX_DIMS], numel;
    if (extra < 0)
        return tn_fail(TN_ERR_SHAPE, "expand: x is %s, which has more dimensions than %s", tn_text(x), tn_shape_text(shape));
    for (int i = 0; i < shape.ndim; i++) {
        int64_t size = i < extra ? 1 : x->sizes[i - extra], stride = i < extra ? 0 : x->strides[i - extra];
        if (shape.sizes[i] == -1 && i >= extra)
            shape.sizes[i] = size;
        if (shape.sizes[i] != size && size != 1)
            return tn_fail(TN_ERR_SHAPE, "expand: x is %s and the shape is %s: dim %d has size %lld, and only size 1 can be expanded",
                           tn_text(x), tn_shape_text(shape), i, (long long)size);
        strides[i] = shape.sizes[i] == size && i >= extra ? stride : 0;
    }
    if (!tn_shape_check("expand", shape, &numel))
        return NULL;
    tn_shape former = tn_shape_of(x);
    tn_tensor *y = tn_view_of(x, shape.ndim, shape.sizes, strides, x->offset);
    return tn_record(y, "expand", expand_backward, TN_INPUTS(x), TN_NO_SAVED, TN_ATTR(former));
}

/* ---- copies ------------------------------------------------------------------------------------------------------------- */

static void pass_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    (void)node;
    dx[0] = dy[0];
}

static tn_tensor *copied(const char *name, tn_tensor *x)
{
    tn_tensor *y = tn_new(name, tn_shape_of(x), (tn_dtype)x->dtype, x->storage->device);
    if (!y || !tn_copy_raw(y, x))
        return NULL;
    return tn_record(y, name, pass_backward, TN_INPUTS(x), TN_NO_SAVED, TN_NO_ATTR);
}

tn_tensor *tn_clone(tn_tensor *x) { return tn_ready("clone", "x", x) ? copied("clone", x) : NULL; }

tn_tensor *tn_contiguous(tn_tensor *x)
{
    if (!tn_ready("contiguous", "x", x))
        return NULL;
    return tn_has(x, TN_FLAG_CONTIGUOUS) ? x : copied("contiguous", x);
}

tn_tensor *tn_detach(tn_tensor *x)
{
    return tn_ready("detach", "x", x) ? tn_view_of(x, x->ndim, x->sizes, x->strides, x->offset) : NULL;
}

static void to_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = tn_to(dy[0], *(const tn_device_id *)tn_node_attr(node));
}

tn_tensor *tn_to(tn_tensor *x, tn_device_id device)
{
    if (!tn_ready("to", "x", x))
        return NULL;
    if (tn_same_device(x->storage->device, device))
        return x;
    if (device.type != TN_CPU && !tn_backend_for("to", device))
        return NULL;
    tn_tensor *dense = tn_contiguous(x), *y = dense ? tn_new("to", tn_shape_of(x), (tn_dtype)x->dtype, device) : NULL;
    if (!y || tn_copy_across(y, dense) != TN_OK)
        return NULL;
    return tn_record(y, "to", to_backward, TN_INPUTS(x), TN_NO_SAVED, TN_ATTR(x->storage->device));
}

/* One dim at a time, from the last: x[..., None, ...] expanded and made one dim again. */
tn_tensor *tn_repeat(tn_tensor *x, tn_shape times)
{
    int64_t numel;
    if (!tn_ready("repeat", "x", x) || !tn_shape_check("repeat", times, &numel))
        return NULL;
    if (times.ndim < x->ndim)
        return tn_fail(TN_ERR_SHAPE, "repeat: x is %s and times is %s: it needs a number for each of x's dimensions", tn_text(x),
                       tn_shape_text(times));
    tn_shape shape = {.ndim = times.ndim};
    int extra = times.ndim - x->ndim;
    for (int d = 0; d < times.ndim; d++)
        shape.sizes[d] = d < extra ? 1 : x->sizes[d - extra];
    tn_tensor *y = tn_reshape(x, shape);
    for (int d = times.ndim - 1; d >= 0 && y; d--) {
        if (times.sizes[d] == 1)
            continue;
        tn_shape cut = {.ndim = 3}, wide; /* [before, times, from d on] */
        cut.sizes[0] = cut.sizes[1] = cut.sizes[2] = 1;
        for (int i = 0; i < times.ndim; i++)
            cut.sizes[i < d ? 0 : 2] *= shape.sizes[i];
        wide = cut;
        wide.sizes[1] = times.sizes[d];
        shape.sizes[d] *= times.sizes[d];
        y = tn_reshape(tn_expand(tn_reshape(y, cut), wide), shape);
    }
    return y == x ? tn_clone(x) : y;
}

/* ---- flip and roll ------------------------------------------------------------------------------------------------------ */

static void flip_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = tn_flip(dy[0], *(const tn_dims *)tn_node_attr(node));
}

tn_tensor *tn_flip(tn_tensor *x, tn_dims dims)
{
    uint32_t mask;
    if (!tn_ready("flip", "x", x) || !tn_dims_mask("flip", dims, x->ndim, &mask))
        return NULL;
    tn_tensor *y = tn_new("flip", tn_shape_of(x), (tn_dtype)x->dtype, x->storage->device);
    tn_tensor turned = *x; /* walked from the last place back; only the kernel sees it */
    turned.flags = 0;
    for (int d = 0; d < x->ndim; d++)
        if (mask & 1u << d && x->sizes[d] > 0) {
            turned.offset += (x->sizes[d] - 1) * x->strides[d];
            turned.strides[d] = -x->strides[d];
        }
    if (!y || !tn_copy_raw(y, &turned))
        return NULL;
    return tn_record(y, "flip", flip_backward, TN_INPUTS(x), TN_NO_SAVED, TN_ATTR(dims));
}

tn_tensor *tn_roll(tn_tensor *x, int64_t shift, int dim)
{
    if (!tn_ready("roll", "x", x))
        return NULL;
    if (dim == TN_ALL_DIMS)
        return tn_reshape(tn_roll(tn_reshape(x, TN_SHAPE(x->numel)), shift, 0), tn_shape_of(x));
    int d = tn_wrap_dim("roll", dim, x->ndim);
    if (d < 0)
        return NULL;
    int64_t size = x->ndim ? x->sizes[d] : 1, by = size ? (shift % size + size) % size : 0;
    if (by == 0)
        return tn_clone(x);
    return tn_concat((tn_tensor *[]){tn_narrow(x, d, size - by, by), tn_narrow(x, d, 0, size - by)}, 2, d);
}
