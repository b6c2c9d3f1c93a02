/* Tenon: shapes, views, joining and splitting. */
#ifndef TENON_OPS_SHAPE_H
#define TENON_OPS_SHAPE_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* x itself where it is contiguous, else a contiguous copy. */
TN_API tn_tensor *tn_contiguous(tn_tensor *x);

#ifdef __cplusplus
}
#endif

#endif
