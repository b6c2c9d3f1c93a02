/* Tenon: reductions, scans, softmax, sorting. */
#ifndef TENON_OPS_REDUCE_H
#define TENON_OPS_REDUCE_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- reductions --------------------------------------------------------------------------------------------------------- */

/* What a reduction goes over: .dim for one dim, .dims = TN_DIMS(0, 2) for several, neither for all. Reduced dims go, or stay with size 1
 * where .keepdim. A dim out of range is TN_ERR_INDEX, a dtype that has no such operator TN_ERR_DTYPE. f32 and the 16-bit floats are summed
 * in f32 lanes that are emptied into f64 often, and rounded once. */
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
/* The sum; integers and bool give i64. Of nothing: 0. */
TN_API tn_tensor *tn_sum_with(const tn_reduce_args *args);
/* The mean of floats. Of nothing: NaN. */
TN_API tn_tensor *tn_mean_with(const tn_reduce_args *args);
/* The product; integers and bool give i64. Of nothing: 1. Its gradient is right where inputs are 0. */
TN_API tn_tensor *tn_prod_with(const tn_reduce_args *args);
/* The greatest and the least, NaN where one is among the inputs; the gradient is shared out evenly among equals. Of nothing: TN_ERR_SHAPE. */
TN_API tn_tensor *tn_amax_with(const tn_reduce_args *args);
TN_API tn_tensor *tn_amin_with(const tn_reduce_args *args);
/* Whether any, or all, are not 0 (NaN is not 0); bool. Of nothing: false and true. */
TN_API tn_tensor *tn_any_with(const tn_reduce_args *args);
TN_API tn_tensor *tn_all_with(const tn_reduce_args *args);
/* log of the sum of exp(x), without overflow; -inf where all are -inf, and the gradient there is 0. Integers and bool give the default dtype. */
TN_API tn_tensor *tn_logsumexp_with(const tn_reduce_args *args);

#define TN_VAR_OPTIONS(X) X(double, correction, 1) /* the sum of squares about the mean is divided by count - correction */
typedef struct tn_var_args { /* tn_var(x, .dim = 0, .correction = 0) */
    size_t size TN_SIZE_(tn_var_args);
    TN_REDUCE_OPTIONS(TN_FIELD_)
    TN_VAR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_var_args;
/* Variance and standard deviation of floats, in two passes (Chan, Golub and LeVeque 1979). Of one number with the default correction: NaN. */
TN_API tn_tensor *tn_var_with(const tn_var_args *args);
TN_API tn_tensor *tn_std_with(const tn_var_args *args);

#define TN_NORM_OPTIONS(X) X(double, p, 2)
typedef struct tn_norm_args { /* tn_norm(x, .p = 1, .dim = -1) */
    size_t size TN_SIZE_(tn_norm_args);
    TN_REDUCE_OPTIONS(TN_FIELD_)
    TN_NORM_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_norm_args;
/* (sum of |x|^p)^(1/p) of floats; p = INFINITY: the greatest |x|, -INFINITY: the least, 0: how many are not 0. The gradient at 0 is 0. */
TN_API tn_tensor *tn_norm_with(const tn_norm_args *args);

#define TN_EXTREME_OPTIONS(X)                                                                                                 \
    X(int, dim, TN_ALL_DIMS)                                                                                                  \
    X(bool, keepdim, false)                                                                                                   \
    X(tn_tensor **, indices, NULL) /* with .dim: takes where they stand, i64 */
typedef struct tn_extreme_args { /* tn_max(x), tn_max(x, .dim = 1, .indices = &i) */
    size_t size TN_SIZE_(tn_extreme_args);
    TN_EXTREME_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_extreme_args;
/* The greatest and the least of all, or along one dim; the first of equals, NaN before all. Over a dim the gradient goes to the one that
 * .indices names, over all it is shared out evenly. Of nothing: TN_ERR_SHAPE. */
TN_API tn_tensor *tn_max_with(const tn_extreme_args *args);
TN_API tn_tensor *tn_min_with(const tn_extreme_args *args);

#define TN_ARG_OPTIONS(X)                                                                                                     \
    X(int, dim, TN_ALL_DIMS)                                                                                                  \
    X(bool, keepdim, false)
typedef struct tn_arg_args { /* tn_argmax(x, .dim = 1) */
    size_t size TN_SIZE_(tn_arg_args);
    TN_ARG_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_arg_args;
/* Where the greatest and the least stand, i64: along .dim, or in row-major order of all. The first of equals; NaN before all. */
TN_API tn_tensor *tn_argmax_with(const tn_arg_args *args);
TN_API tn_tensor *tn_argmin_with(const tn_arg_args *args);

/* ---- scans and softmax -------------------------------------------------------------------------------------------------- */

/* The running sum along dim, of x's shape; integers and bool give i64. */
TN_API tn_tensor *tn_cumsum(tn_tensor *x, int dim);
/* exp(x) / sum of exp(x) along dim, and its logarithm, without overflow. Floats; NaN where all of a row are -inf. */
TN_API tn_tensor *tn_softmax(tn_tensor *x, int dim);
TN_API tn_tensor *tn_log_softmax(tn_tensor *x, int dim);

/* ---- sorting ------------------------------------------------------------------------------------------------------------ */

#define TN_SORT_OPTIONS(X)                                                                                                    \
    X(int, dim, -1)                                                                                                           \
    X(bool, descending, false)                                                                                                \
    X(tn_tensor **, indices, NULL) /* takes where each stood, i64 */
typedef struct tn_sort_args { /* tn_sort(x, .descending = true, .indices = &i) */
    size_t size TN_SIZE_(tn_sort_args);
    TN_SORT_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_sort_args;
/* The elements along dim in order; equals keep their order, NaN is the greatest. */
TN_API tn_tensor *tn_sort_with(const tn_sort_args *args);
/* Where each stood, i64. */
TN_API tn_tensor *tn_argsort_with(const tn_sort_args *args);

#define TN_TOPK_OPTIONS(X)                                                                                                    \
    X(int, dim, -1)                                                                                                           \
    X(bool, largest, true)                                                                                                    \
    X(tn_tensor **, indices, NULL) /* takes where each stood, i64 */
typedef struct tn_topk_args { /* tn_topk(x, 5, .indices = &i) */
    size_t size TN_SIZE_(tn_topk_args);
    TN_TOPK_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
    int64_t k TN_ZERO_;
} tn_topk_args;
/* The k greatest along dim (the least, where not .largest), in order. k beyond the dim's size is TN_ERR_ARGUMENT. */
TN_API tn_tensor *tn_topk_with(const tn_topk_args *args);

#ifdef __cplusplus
}
#endif

#endif
