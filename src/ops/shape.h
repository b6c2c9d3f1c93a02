/* What the families that view and index share: a slice of every dim at once, as a view and as its adjoint. */
#ifndef TN_OPS_SHAPE_H
#define TN_OPS_SHAPE_H

#include "core/core.h"

/* Place start + i * step of each dim, for i below size. */
typedef struct tn_slice {
    tn_shape whole;                                     /* of the tensor that is sliced */
    int64_t start[TN_MAX_DIMS], step[TN_MAX_DIMS];
    int64_t size[TN_MAX_DIMS];
} tn_slice;

/* All of x. */
tn_slice tn_slice_of(const tn_tensor *x);
/* The view, of the given shape: that of the slice but for dims of size 1, which may be dropped and added. */
tn_tensor *tn_slice_view(const char *name, tn_tensor *x, const tn_slice *slice, tn_shape shape);
/* The slice of x as a tensor on the stack that no one counts, for kernels. */
tn_tensor tn_slice_raw(const tn_tensor *x, const tn_slice *slice);
/* Zeros of the whole shape with x in the slice. */
tn_tensor *tn_slice_embed(tn_tensor *x, const tn_slice *slice);

#endif
