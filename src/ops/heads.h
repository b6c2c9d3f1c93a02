/* Tensors [batch, heads, rows, width] as the kernels of attention and rotary embedding take them and give them. */
#ifndef TN_HEADS_H
#define TN_HEADS_H

#include "core/core.h"
#include "kernels/kernels.h"

/* x [batch, heads, rows, width], its last dim dense or, of a mask, told apart. */
static inline tn_head_rows tn_heads_of(const tn_tensor *x) { return (tn_head_rows){tn_ptr(x), x->strides[0], x->strides[1], x->strides[2]}; }

/* A new one of x's sizes but the width: with a row's heads side by side where x has them so, as where a projection was split into heads (what
 * transposes and joins them again then copies nothing), else contiguous. */
static inline tn_tensor *tn_new_heads(const char *op, const tn_tensor *x, int64_t width)
{
    const int64_t heads = x->sizes[1], rows = x->sizes[2], strides[] = {heads * rows * width, width, heads * width, 1};
    tn_tensor *y = tn_new(op, TN_SHAPE(x->sizes[0], heads, rows, width), (tn_dtype)x->dtype, x->storage->device);
    if (!y || x->strides[2] <= x->strides[1])
        return y;
    tn_storage_retain(y->storage);
    return tn_over_storage_strided(y->storage, tn_shape_of(y), strides, 0, (tn_dtype)y->dtype);
}

#endif
