/* Tenon: losses. */
#ifndef TENON_OPS_LOSS_H
#define TENON_OPS_LOSS_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What becomes of the losses of the rows: each as it is, their mean, their sum. */
typedef enum tn_loss_reduction { TN_NONE, TN_MEAN, TN_SUM } tn_loss_reduction;

#define TN_CROSS_ENTROPY_OPTIONS(X)                                                                                           \
    X(tn_tensor *, weight, NULL) /* [c]: each class's weight, of the logits' dtype */                                         \
    X(int64_t, ignore_index, -100) /* targets of this value count for nothing */                                             \
    X(double, label_smoothing, 0) /* this share of each target goes to all classes evenly */                                 \
    X(tn_loss_reduction, reduction, TN_MEAN)
typedef struct tn_cross_entropy_args { /* tn_cross_entropy(logits, target, .label_smoothing = 0.1) */
    size_t size TN_SIZE_(tn_cross_entropy_args);
    TN_CROSS_ENTROPY_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *logits TN_ZERO_, *target TN_ZERO_;
} tn_cross_entropy_args;
/* -log softmax(logits)[target], the classes being dim 1 (dim 0 of [c]): logits [n, c], [c] or [n, c, d1, ...].
 *
 * target holds class indices of any integer dtype, [n], [] or [n, d1, ...] (one outside of 0 ... c-1 that is not ignore_index is
 * TN_ERR_INDEX, which names its place); or class probabilities, of the logits' shape and dtype. The mean is weighted: the sum divided by the
 * sum of the targets' weights (by n d1 ... for probabilities); NaN where all are ignored. No row overflows, however far apart its logits. */
TN_API tn_tensor *tn_cross_entropy_with(const tn_cross_entropy_args *args);

#define TN_NLL_OPTIONS(X)                                                                                                     \
    X(tn_tensor *, weight, NULL)                                                                                              \
    X(int64_t, ignore_index, -100)                                                                                            \
    X(tn_loss_reduction, reduction, TN_MEAN)
typedef struct tn_nll_loss_args { /* tn_nll_loss(tn_log_softmax(logits, 1), target) */
    size_t size TN_SIZE_(tn_nll_loss_args);
    TN_NLL_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *log_probs TN_ZERO_, *target TN_ZERO_;
} tn_nll_loss_args;
/* -log_probs[target], with shapes, weights and mean as of tn_cross_entropy with class indices. */
TN_API tn_tensor *tn_nll_loss_with(const tn_nll_loss_args *args);

#define TN_MSE_OPTIONS(X) X(tn_loss_reduction, reduction, TN_MEAN)
typedef struct tn_mse_loss_args { /* tn_mse_loss(prediction, target) */
    size_t size TN_SIZE_(tn_mse_loss_args);
    TN_MSE_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *target TN_ZERO_;
} tn_mse_loss_args;
/* (x - target)^2 of floats of one shape: a broadcast here is an error in most programs, and TN_ERR_SHAPE. */
TN_API tn_tensor *tn_mse_loss_with(const tn_mse_loss_args *args);

#ifdef __cplusplus
}
#endif

#endif
