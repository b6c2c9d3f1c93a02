/* Padding. */
#include <tenon/ops.h>

#include "autograd/node.h"
#include "core/loop.h"
#include "ops/create.h"
#include "ops/shape.h"

/* The constant mode: x's part that stays, and where it stands in the result. Its gradient is taken from there and put back. */
typedef struct pad_attr {
    tn_slice kept, placed;
} pad_attr;

static void pad_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const pad_attr *attr = tn_node_attr(node);
    tn_shape shape = {.ndim = attr->kept.whole.ndim};
    for (int d = 0; d < shape.ndim; d++)
        shape.sizes[d] = attr->kept.size[d];
    tn_tensor *part = tn_slice_view("slice", dy[0], &attr->placed, shape);
    dx[0] = part ? tn_slice_embed(part, &attr->kept) : NULL;
}

static tn_tensor *pad_constant(tn_tensor *x, const int64_t *before, const int64_t *after, double value)
{
    pad_attr attr = {.kept = tn_slice_of(x)};
    tn_shape shape = tn_shape_of(x);
    for (int d = 0; d < x->ndim; d++) {
        int64_t taken = (before[d] < 0 ? -before[d] : 0) + (after[d] < 0 ? -after[d] : 0);
        shape.sizes[d] += before[d] + after[d];
        if (taken > x->sizes[d])
            return tn_fail(TN_ERR_SHAPE, "pad: dim %d of %s has fewer places than the pads %lld and %lld take away", d, tn_text(x),
                           (long long)before[d], (long long)after[d]);
    }
    tn_tensor *y = tn_new("pad", shape, (tn_dtype)x->dtype, x->storage->device);
    if (!y || !tn_fill_raw(y, value))
        return NULL;
    attr.placed = tn_slice_of(y);
    for (int d = 0; d < x->ndim; d++) {
        int64_t cut = before[d] < 0 ? -before[d] : 0, end = after[d] < 0 ? -after[d] : 0;
        attr.kept.start[d] = cut;
        attr.placed.start[d] = before[d] > 0 ? before[d] : 0;
        attr.kept.size[d] = attr.placed.size[d] = x->sizes[d] - cut - end;
    }
    tn_tensor from = tn_slice_raw(x, &attr.kept), to = tn_slice_raw(y, &attr.placed);
    if (!tn_copy_raw(&to, &from))
        return NULL;
    return tn_record(y, "pad", pad_backward, TN_INPUTS(x), TN_NO_SAVED, TN_ATTR(attr));
}

/* The places of a dim of `size` that its padded form shows, in order. */
static tn_tensor *places(tn_pad_mode mode, int64_t size, int64_t before, int64_t after)
{
    tn_tensor *index = tn_new("pad", TN_SHAPE(before + size + after), TN_I64, (tn_device_id){TN_CPU, 0});
    if (!index)
        return NULL;
    int64_t *at = (int64_t *)tn_ptr(index);
    for (int64_t i = 0; i < index->numel; i++) {
        int64_t k = i - before;
        if (mode == TN_PAD_REPLICATE)
            at[i] = k < 0 ? 0 : k >= size ? size - 1 : k;
        else
            at[i] = k < 0 ? -k : k >= size ? 2 * (size - 1) - k : k;
    }
    return index;
}

static tn_tensor *pad_by_places(tn_tensor *x, tn_pad_mode mode, const int64_t *before, const int64_t *after)
{
    TN_SCOPE;
    tn_tensor *y = x;
    for (int d = x->ndim - 1; d >= 0 && y; d--) {
        int64_t size = x->sizes[d], most = mode == TN_PAD_REFLECT ? size - 1 : INT64_MAX / 4;
        if (before[d] == 0 && after[d] == 0)
            continue;
        if (before[d] < 0 || after[d] < 0 || before[d] > most || after[d] > most || size == 0)
            return tn_fail(TN_ERR_SHAPE, "pad: pads %lld and %lld of dim %d of %s: %s", (long long)before[d], (long long)after[d], d,
                           tn_text(x), mode == TN_PAD_REFLECT ? "to reflect, they must not be negative and be less than the size"
                                                              : "to replicate, they must not be negative and x not be empty");
        tn_tensor *index = places(mode, size, before[d], after[d]);
        y = index ? tn_index_select(y, d, tn_to(index, x->storage->device)) : NULL;
    }
    return tn_pass(y == x ? tn_clone(x) : y);
}

tn_tensor *tn_pad_with(const tn_pad_args *args)
{
    TN_KNOWN(tn_pad_args, args);
    tn_tensor *x = args->x;
    tn_shape pads = args->pads;
    int64_t before[TN_MAX_DIMS] = {0}, after[TN_MAX_DIMS] = {0};
    if (!tn_ready("pad", "x", x))
        return NULL;
    if (pads.ndim < 0 || pads.ndim % 2 || pads.ndim / 2 > x->ndim)
        return tn_fail(TN_ERR_ARGUMENT, "pad: %s are no pads for %s: give a pair (before, after) for each dim from the last on, at most 4 pairs",
                       tn_shape_text(pads), tn_text(x));
    for (int i = 0; i < pads.ndim / 2; i++) {
        int64_t most = INT64_MAX / 8;
        before[x->ndim - 1 - i] = pads.sizes[2 * i];
        after[x->ndim - 1 - i] = pads.sizes[2 * i + 1];
        if (pads.sizes[2 * i] > most || pads.sizes[2 * i + 1] > most || pads.sizes[2 * i] < -most || pads.sizes[2 * i + 1] < -most)
            return tn_fail(TN_ERR_ARGUMENT, "pad: the pads %s are beyond any tensor", tn_shape_text(pads));
    }
    switch (args->mode) {
    case TN_PAD_CONSTANT: return tn_number_fits("pad", args->value, (tn_dtype)x->dtype) ? pad_constant(x, before, after, args->value) : NULL;
    case TN_PAD_REFLECT:
    case TN_PAD_REPLICATE: return pad_by_places(x, args->mode, before, after);
    }
    return tn_fail(TN_ERR_ARGUMENT, "pad: mode %d is unknown", (int)args->mode);
}
