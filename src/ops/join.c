/* Concatenation and stacking. */
#include <tenon/ops.h>

#include "autograd/node.h"
#include "ops/create.h"
#include "ops/shape.h"

#include <string.h>

/* What backward needs of each input. */
typedef struct part {
    int64_t size; /* along the dim; -1: an empty 1-D tensor that was skipped */
    tn_dtype dtype;
    int dim;
} part;

static void concat_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const part *parts = tn_node_attr(node);
    int64_t at = 0;
    for (int i = 0; i < node->inputs; i++) {
        int64_t size = parts[i].size;
        if (size < 0) {
            dx[i] = tn_wants(node, i) ? tn_cast(tn_zeros_of("concat", TN_SHAPE(0), dy[0]), parts[i].dtype) : NULL;
            continue;
        }
        if (tn_wants(node, i))
            dx[i] = tn_cast(tn_narrow(dy[0], parts[i].dim, at, size), parts[i].dtype);
        at += size;
    }
}

/* PyTorch takes a tensor of shape [0] among others of any rank, and skips it. */
static bool skipped(const tn_tensor *x) { return x->ndim == 1 && x->sizes[0] == 0; }

/* Fills the parts and the shape and dtype of the result; false with an error. */
static bool plan(tn_tensor *const *tensors, int count, int dim, part *parts, tn_shape *shape, tn_dtype *dtype)
{
    const tn_tensor *first = tensors[0];
    for (int i = 0; i < count; i++)
        if (!skipped(tensors[i])) {
            first = tensors[i];
            break;
        }
    if (first->ndim == 0) {
        tn_fail(TN_ERR_SHAPE, "concat: a tensor of rank 0 cannot be joined along a dim: use tn_stack");
        return false;
    }
    int d = tn_wrap_dim("concat", dim, first->ndim);
    if (d < 0)
        return false;
    *shape = tn_shape_of(first);
    shape->sizes[d] = 0;
    *dtype = (tn_dtype)tensors[0]->dtype;
    for (int i = 0; i < count; i++) {
        const tn_tensor *x = tensors[i];
        bool skip = skipped(x) && first->ndim != 1, fits = skip || x->ndim == first->ndim;
        for (int k = 0; !skip && fits && k < x->ndim; k++)
            fits = k == d || x->sizes[k] == first->sizes[k];
        if (!fits) {
            tn_fail(TN_ERR_SHAPE, "concat: tensor %d is %s and the first is %s: only dim %d may differ", i, tn_text(x), tn_text(first), d);
            return false;
        }
        if (!tn_devices_agree("concat", first, x))
            return false;
        *dtype = tn_promote(*dtype, (tn_dtype)x->dtype);
        parts[i] = (part){skip ? -1 : x->sizes[d], (tn_dtype)x->dtype, d};
        shape->sizes[d] += skip ? 0 : x->sizes[d];
    }
    return true;
}

static tn_tensor *joined(tn_tensor *const *tensors, int count, int dim, part *parts)
{
    tn_shape shape;
    tn_dtype dtype;
    if (!plan(tensors, count, dim, parts, &shape, &dtype))
        return NULL;
    tn_tensor *y = tn_new("concat", shape, dtype, tensors[0]->storage->device);
    if (!y)
        return NULL;
    tn_slice slice = tn_slice_of(y);
    for (int i = 0; i < count; i++) {
        if (parts[i].size < 0)
            continue;
        slice.size[parts[i].dim] = parts[i].size;
        tn_tensor place = tn_slice_raw(y, &slice);
        if (!tn_copy_raw(&place, tensors[i]))
            return NULL;
        slice.start[parts[i].dim] += parts[i].size;
    }
    return tn_record(y, "concat", concat_backward, tensors, count, TN_NO_SAVED, parts, (size_t)count * sizeof *parts);
}

static bool all_ready(const char *op, tn_tensor *const *tensors, int count)
{
    if (tn_failing())
        return false;
    if (!tensors || count < 1) {
        tn_fail(TN_ERR_ARGUMENT, "%s: give one tensor or more", op);
        return false;
    }
    for (int i = 0; i < count; i++)
        if (!tensors[i]) {
            tn_fail(TN_ERR_ARGUMENT, "%s: tensor %d is NULL", op, i);
            return false;
        }
    return true;
}

tn_tensor *tn_concat(tn_tensor *const *tensors, int count, int dim)
{
    if (!all_ready("concat", tensors, count))
        return NULL;
    part few[16], *parts = few;
    size_t bytes = (size_t)count * sizeof *parts;
    if (count > TN_COUNT(few))
        parts = tn_alloc(bytes);
    tn_tensor *y = parts ? joined(tensors, count, dim, parts) : NULL;
    if (parts != few)
        tn_free(parts, bytes);
    return y;
}

tn_tensor *tn_cat(tn_tensor *const *tensors, int count, int dim) { return tn_concat(tensors, count, dim); }

tn_tensor *tn_stack(tn_tensor *const *tensors, int count, int dim)
{
    if (!all_ready("stack", tensors, count))
        return NULL;
    int d = tn_wrap_dim("stack", dim, tensors[0]->ndim + 1);
    size_t bytes = (size_t)count * sizeof *tensors;
    tn_tensor **wide = d < 0 ? NULL : tn_alloc(bytes);
    if (!wide)
        return NULL;
    TN_SCOPE;
    tn_tensor *y = NULL;
    for (int i = 0; i < count; i++) {
        if (!tn_same_shape(tensors[i], tensors[0])) {
            tn_fail(TN_ERR_SHAPE, "stack: tensor %d is %s and the first is %s: the shapes must be equal", i, tn_text(tensors[i]),
                    tn_text(tensors[0]));
            goto done;
        }
        wide[i] = tn_unsqueeze(tensors[i], d);
        if (!wide[i])
            goto done;
    }
    y = tn_concat(wide, count, d);
done:
    tn_free(wide, bytes);
    return tn_pass(y);
}
