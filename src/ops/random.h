/* Random tensors for the library's own use. */
#ifndef TN_OPS_RANDOM_H
#define TN_OPS_RANDOM_H

#include "core/core.h"

/* A tensor whose elements are `value` with probability p, else 0: dropout's mask, scaled. Owned by the scope. */
tn_tensor *tn_random_mask(const char *op, tn_shape shape, tn_dtype dtype, tn_device_id device, double p, double value);

#endif
