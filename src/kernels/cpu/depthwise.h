/* Depthwise convolutions of 3 x 3 taps, float32, which keep the plane's size: without a copy of the plane. */
#ifndef TN_CPU_DEPTHWISE_H
#define TN_CPU_DEPTHWISE_H

#include "kernels/cpu/cpu.h"

/* Whether this is such a convolution, its rows of a vector or more. */
bool TN_K(depthwise_fits)(tn_dtype dtype, const tn_conv *c);

/* y, or, `transposed`, dx of dy. */
void TN_K(depthwise)(const tn_conv *c, bool transposed, const float *in, float *out);
/* dw and db (NULL: not wanted) of dy. */
void TN_K(depthwise_weights)(const tn_conv *c, const float *dy, float *dw, float *db);

#endif
