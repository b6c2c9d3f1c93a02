/* Tenon: elementwise operators, in place ones, casts. */
#ifndef TENON_OPS_ELEMENTWISE_H
#define TENON_OPS_ELEMENTWISE_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* a + b, broadcast and promoted as in PyTorch. */
TN_API tn_tensor *tn_add(tn_operand a, tn_operand b);
/* a * b, broadcast and promoted. */
TN_API tn_tensor *tn_mul(tn_operand a, tn_operand b);
/* x converted; x itself where it is of the dtype already. */
TN_API tn_tensor *tn_cast(tn_tensor *x, tn_dtype dtype);

#ifdef __cplusplus
}
#endif

#endif
