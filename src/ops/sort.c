/* Sorting and the k first. The kernel sorts rows: another dim is moved to the end and back. */
#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/reduction.h"

/* Each gradient goes where its element came from. */
typedef struct sort_attr {
    tn_shape shape;
    int dim;
} sort_attr;

static void sort_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const sort_attr *how = tn_node_attr(node);
    tn_shape_args zeros = {.size = sizeof zeros, .dtype = (tn_dtype)dy[0]->dtype, .device = &dy[0]->storage->device, .shape = how->shape};
    dx[0] = tn_scatter_add(tn_zeros_with(&zeros), how->dim, tn_node_saved(node, 0), dy[0]);
}

/* The k first of each row of x, whose last dim is sorted; without history. */
static tn_tensor *sort_rows(const char *op, tn_tensor *x, int64_t k, bool descending, tn_tensor **indices)
{
    tn_tensor *packed = tn_packed(x);
    if (!packed)
        return NULL;
    tn_shape shape = tn_shape_of(packed);
    int last = shape.ndim - 1;
    if (last >= 0)
        shape.sizes[last] = k;
    tn_tensor *y = tn_new(op, shape, (tn_dtype)x->dtype, x->storage->device), *index = tn_new(op, shape, TN_I64, x->storage->device);
    if (!y || !index)
        return NULL;
    tn_sort_rows rows = {.rows = 1, .n = last >= 0 ? x->sizes[last] : 1, .k = k, .descending = descending,
                         .x = tn_ptr(packed), .values = tn_ptr(y), .indices = (int64_t *)(void *)tn_ptr(index)};
    for (int d = 0; d < last; d++)
        rows.rows *= x->sizes[d];
    if (y->numel > 0 && tn_kernels_for(x)->sort((tn_dtype)x->dtype, &rows) != TN_OK)
        return NULL;
    *indices = index;
    return y;
}

/* x is ready, dim and k are right. */
static tn_tensor *sorted(const char *op, tn_tensor *x, int dim, int64_t k, bool descending, tn_tensor **indices)
{
    TN_SCOPE;
    tn_tensor *y = NULL, *index = NULL;
    {
        TN_NO_GRAD;
        int last = x->ndim - 1;
        bool moved = last >= 0 && dim != last;
        tn_tensor *rows = moved ? tn_transpose(x, dim, last) : x;
        y = rows ? sort_rows(op, rows, k, descending, &index) : NULL;
        if (moved) {
            y = y ? tn_contiguous(tn_transpose(y, dim, last)) : NULL;
            index = y ? tn_contiguous(tn_transpose(index, dim, last)) : NULL;
        }
    }
    sort_attr how = {tn_shape_of(x), dim};
    y = index ? tn_record(y, op, sort_backward, TN_INPUTS(x), TN_SAVED(index), TN_ATTR(how)) : NULL;
    if (y && indices)
        *indices = tn_pass(index);
    return tn_pass(y);
}

tn_tensor *tn_sort_with(const tn_sort_args *args)
{
    TN_KNOWN(tn_sort_args, args);
    int dim = tn_ready("sort", "x", args->x) ? tn_wrap_dim("sort", args->dim, args->x->ndim) : -1;
    if (dim < 0)
        return NULL;
    int64_t n = args->x->ndim ? args->x->sizes[dim] : 1;
    return sorted("sort", args->x, dim, n, args->descending, args->indices);
}

tn_tensor *tn_argsort_with(const tn_sort_args *args)
{
    TN_KNOWN(tn_sort_args, args);
    TN_NO_GRAD;
    tn_tensor *indices = NULL;
    tn_sort_args with = *args;
    with.indices = &indices;
    tn_tensor *values = tn_sort_with(&with);
    if (values && args->indices)
        *args->indices = indices;
    return values ? indices : NULL;
}

tn_tensor *tn_topk_with(const tn_topk_args *args)
{
    TN_KNOWN(tn_topk_args, args);
    int dim = tn_ready("topk", "x", args->x) ? tn_wrap_dim("topk", args->dim, args->x->ndim) : -1;
    if (dim < 0)
        return NULL;
    int64_t n = args->x->ndim ? args->x->sizes[dim] : 1;
    if (args->k < 0 || args->k > n || (args->x->ndim == 0 && args->k == 0))
        return tn_fail(TN_ERR_ARGUMENT, "topk: k is %lld, but x is %s: dim %d has %lld elements", (long long)args->k, tn_text(args->x),
                       dim, (long long)n);
    return sorted("topk", args->x, dim, args->k, args->largest, args->indices);
}
