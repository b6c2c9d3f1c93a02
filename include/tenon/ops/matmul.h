/* Tenon: products. */
#ifndef TENON_OPS_MATMUL_H
#define TENON_OPS_MATMUL_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The matrix product in all of its cases: 1-D, 2-D, batched, broadcast batches (torch.matmul). */
TN_API tn_tensor *tn_matmul(tn_tensor *a, tn_tensor *b);

#ifdef __cplusplus
}
#endif

#endif
