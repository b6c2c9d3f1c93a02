/* Tenon: reductions, scans, softmax, sorting. */
#ifndef TENON_OPS_REDUCE_H
#define TENON_OPS_REDUCE_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a reduction goes over: .dim for one dim, .dims = TN_DIMS(0, 2) for several, neither for all. */
enum { TN_ALL_DIMS = INT32_MIN };
#define TN_REDUCE_OPTIONS(X)                                                                                                  \
    X(int, dim, TN_ALL_DIMS)                                                                                                  \
    X(tn_dims, dims, TN_NONE_)                                                                                                \
    X(bool, keepdim, false) /* reduced dims stay, with size 1 */
typedef struct tn_reduce_args { /* tn_sum(x, .dim = 1, .keepdim = true) */
    size_t size TN_SIZE_(tn_reduce_args);
    TN_REDUCE_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_reduce_args;
/* The sum; integers and bool give i64. */
TN_API tn_tensor *tn_sum_with(const tn_reduce_args *args);

#ifdef __cplusplus
}
#endif

#endif
