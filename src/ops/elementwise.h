/* What the elementwise operators share: running a kernel over tensors, without history, and rules that many of them use. */
#ifndef TN_OPS_ELEMENTWISE_H
#define TN_OPS_ELEMENTWISE_H

#include "autograd/node.h"
#include "kernels/kernels.h"

/* The scope's new tensor for an elementwise result of the shape: dense in the order of memory of `like`, where that has the shape and is
 * dense, else contiguous. */
tn_tensor *tn_new_like(const char *op, tn_shape shape, tn_dtype dtype, const tn_tensor *like);
/* x as an operand of dtype: x itself, or a converted copy. Either way a reference of the caller's. NULL on no memory. */
tn_tensor *tn_operand_as(const tn_tensor *x, tn_dtype dtype);

/* Whether x is a C number that dtype, a 16-bit float, would round: x * 0.1 must not become x * 0.1001, so it is computed in f32. */
bool tn_number_is_fine(const tn_tensor *x, tn_dtype dtype);

/* op(x) in dtype (x is converted first); the result is of dtype or, for a test, bool. */
tn_tensor *tn_unary_raw(const char *name, tn_unary_op op, tn_dtype dtype, const double *param, const tn_tensor *x);
/* op(a, b) in dtype, broadcast; the same. `result` is dtype or TN_BOOL. Arithmetic takes a number that dtype would round as it stands. */
tn_tensor *tn_binary_raw(const char *name, tn_binary_op op, tn_dtype dtype, tn_dtype result, const tn_tensor *a, const tn_tensor *b);
/* out = op(a, b) in out's dtype, out having the shape; out may be a. False with an error. */
bool tn_binary_into(tn_binary_op op, tn_dtype dtype, tn_tensor *out, const tn_tensor *a, const tn_tensor *b);
/* out = x converted and broadcast; without history. False with an error. */
bool tn_cast_into(tn_tensor *out, const tn_tensor *x);

/* dy silu'(x), differentiable. NULL on error. */
tn_tensor *tn_silu_gradient(tn_tensor *dy, tn_tensor *x);

/* A gradient brought to input i's shape and dtype: summed where the input was broadcast. NULL stays NULL. */
tn_tensor *tn_fit(const tn_node *node, int i, tn_tensor *grad);

#endif
