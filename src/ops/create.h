/* What the families that make tensors share. */
#ifndef TN_OPS_CREATE_H
#define TN_OPS_CREATE_H

#include "core/core.h"

/* A new tensor by the options of a creation function, not cleared; NULL with an error where dtype is unknown, or cannot require a gradient. */
tn_tensor *tn_create(const char *op, tn_shape shape, tn_dtype dtype, const tn_device_id *device, bool requires_grad);
/* The same for a _like form: what is not said is x's. */
tn_tensor *tn_create_like(const char *op, const tn_like_args *args);
/* Sets all elements, through any strides; no history, no version. False on failure. */
bool tn_fill_raw(const tn_tensor *x, double value);
/* Copies from into to, broadcast and converted; no history, no version. False on failure. */
bool tn_copy_raw(const tn_tensor *to, const tn_tensor *from);
/* Zeros of a shape, of like's dtype and device. */
tn_tensor *tn_zeros_of(const char *op, tn_shape shape, const tn_tensor *like);

#endif
