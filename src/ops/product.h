/* The product of matrices as other operators use it. */
#ifndef TN_PRODUCT_H
#define TN_PRODUCT_H

#include "autograd/node.h"

/* op(a) op(b) over the last two dims, where op transposes (by strides, without a copy) if asked; batch dims broadcast.
 * Shapes and dtypes have been checked. Differentiable any number of times; the name is the node's. NULL when an operand
 * is NULL or an error sticks. */
tn_tensor *tn_product(const char *op, tn_tensor *a, bool a_transposed, tn_tensor *b, bool b_transposed);

#endif
