/* What the reductions of reduce.c and statistics.c share. */
#ifndef TN_REDUCTION_H
#define TN_REDUCTION_H

#include "autograd/node.h"
#include "kernels/kernels.h"

/* What a reduction does, kept for its backward: the input's shape and the dims that went. */
typedef struct tn_reduced {
    tn_shape shape;
    uint32_t mask;
    double param; /* of var, std, norm */
} tn_reduced;

/* x and the dims of an options struct, checked; false with an error. */
bool tn_reduce_begin(const char *op, tn_tensor *x, int dim, tn_dims dims, double param, tn_reduced *how);
/* False, with an error, where x is not of a floating dtype. */
bool tn_floats_only(const char *op, const tn_tensor *x);
/* The reduction of x without history. indices, unless NULL, takes the positions (ARGMAX and ARGMIN); of those two the values are computed
 * only where asked for. */
tn_tensor *tn_reduce_run(const char *op, tn_reduce_op kind, tn_tensor *x, const tn_reduced *how, bool keepdim, bool values,
                         tn_tensor **indices);
/* A reduced tensor with its dims back, of size 1. */
tn_tensor *tn_kept(tn_tensor *y, const tn_reduced *how);
/* x summed over the same dims, which stay with size 1. */
tn_tensor *tn_sum_kept(tn_tensor *x, const tn_reduced *how);
tn_tensor *tn_mean_kept(tn_tensor *x, const tn_reduced *how);
/* How many inputs each result has. */
int64_t tn_reduced_count(const tn_reduced *how);

/* x as dense rows for a kernel, without history: itself where it is contiguous. */
tn_tensor *tn_packed(tn_tensor *x);
/* x's sizes about dim: [outer, n, inner]. */
void tn_around(const tn_tensor *x, int dim, int64_t *outer, int64_t *n, int64_t *inner);

#endif
