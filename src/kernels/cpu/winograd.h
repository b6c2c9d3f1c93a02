/* Convolutions of 3 x 3 taps and stride 1, float32, by tiles of 2 x 2 outputs: 16 multiplications for the 36 of the plain sum. */
#ifndef TN_CPU_WINOGRAD_H
#define TN_CPU_WINOGRAD_H

#include "kernels/cpu/cpu.h"

/* Whether the tiles serve this shape, and pay, on this instruction set. */
bool TN_K(winograd_fits)(tn_dtype dtype, const tn_conv *c);

/* y, or, `transposed`, dx of dy. An infinity or a NaN would spread over its tile: where one comes out, *whole is false and out is to be
 * computed again without tiles. */
tn_status TN_K(winograd)(const tn_conv *c, bool transposed, const float *in, float *out, bool *whole);
/* dw and db of dy; likewise. */
tn_status TN_K(winograd_weights)(const tn_conv *c, const float *dy, float *dw, float *db, bool *whole);

#endif
