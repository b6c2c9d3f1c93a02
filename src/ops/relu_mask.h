/* The gradient of a fused ReLU. */
#ifndef TN_RELU_MASK_H
#define TN_RELU_MASK_H

#include "autograd/node.h"

/* dy where y > 0 and 0 elsewhere; y is the saved result of the activation, of dy's shape and dtype. Differentiable in
 * dy. Written into dy itself where that is a gradient which nobody else has. */
tn_tensor *tn_relu_mask(tn_tensor *dy, tn_tensor *y);

#endif
