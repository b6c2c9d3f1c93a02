/* Tenon: shapes, views, joining and splitting. */
#ifndef TENON_OPS_SHAPE_H
#define TENON_OPS_SHAPE_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* x itself where it is contiguous, else a contiguous copy. */
TN_API tn_tensor *tn_contiguous(tn_tensor *x);
/* The same elements in row-major order under another shape; one size may be -1. A view where strides allow it, else a copy. */
TN_API tn_tensor *tn_reshape(tn_tensor *x, tn_shape shape);

#ifdef __cplusplus
}
#endif

#endif
