/* The product of matrices as other operators use it. */
#ifndef TN_PRODUCT_H
#define TN_PRODUCT_H

#include "autograd/node.h"

/* op(a) op(b) over the last two dims, where op transposes (by strides, without a copy) if asked; batch dims broadcast.
 * Shapes and dtypes have been checked. Differentiable any number of times; the name is the node's. NULL when an operand
 * is NULL or an error sticks. */
tn_tensor *tn_product(const char *op, tn_tensor *a, bool a_transposed, tn_tensor *b, bool b_transposed);
/* x as a product multiplies it: under TN_AUTOCAST(TN_F16) f32 rounded to f16, a contiguous copy of the scope's. NULL of NULL, and on error. */
const tn_tensor *tn_rounded_to_f16(const tn_tensor *x);
static inline const tn_tensor *tn_multiplied(const tn_tensor *x) { return TN_LIKELY(tn_this.autocast != TN_F16) ? x : tn_rounded_to_f16(x); }

#endif
