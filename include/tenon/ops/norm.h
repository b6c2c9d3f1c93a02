/* Tenon: normalisation, fused forward and backward. Floats; f16 and bf16 are computed in f32, and statistics kept in f64. All tensors of a
 * call are of one dtype and device (TN_ERR_DTYPE, TN_ERR_DEVICE); weight and bias may be NULL. Sizes that do not fit are TN_ERR_SHAPE.
 * Meanings and defaults are PyTorch's; the variance is that without Bessel's correction. */
#ifndef TENON_OPS_NORM_H
#define TENON_OPS_NORM_H

#include <tenon/autograd.h>
#include <tenon/ops/matmul.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TN_BATCH_NORM_OPTIONS(X)                                                                                              \
    X(bool, training, false)                                                                                                  \
    X(double, momentum, 0.1)                                                                                                  \
    X(double, eps, 1e-5)                                                                                                      \
    X(tn_tensor *, residual, NULL)                                                                                            \
    X(tn_activation, activation, TN_ACTIVATION_NONE)
typedef struct tn_batch_norm_args { /* tn_batch_norm(x, running_mean, running_var, weight, bias, .training = true) */
    size_t size TN_SIZE_(tn_batch_norm_args);
    TN_BATCH_NORM_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *running_mean TN_ZERO_, *running_var TN_ZERO_, *weight TN_ZERO_, *bias TN_ZERO_;
} tn_batch_norm_args;
/* Each channel of x, [n, c] or [n, c, ...], to (x - mean) / sqrt(var + eps) weight + bias (Ioffe and Szegedy 2015). In training mean and var
 * are the batch's, and running_mean and running_var, unless NULL, move by momentum toward them (the variance with Bessel's correction);
 * else they are running_mean and running_var, which must be there. All four are [c]. One value in each channel has no variance:
 * TN_ERR_SHAPE in training. An empty batch moves nothing. .residual, of x's shape, is added to the result and .activation applied to
 * the sum, in the same pass over memory where it can be: the numbers, and gradients, of tn_add() and tn_relu() after it. */
TN_API tn_tensor *tn_batch_norm_with(const tn_batch_norm_args *args);

#define TN_LAYER_NORM_OPTIONS(X) X(double, eps, 1e-5)
typedef struct tn_layer_norm_args { /* tn_layer_norm(x, TN_SHAPE(512), weight, bias) */
    size_t size TN_SIZE_(tn_layer_norm_args);
    TN_LAYER_NORM_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
    tn_shape shape;
    tn_tensor *weight TN_ZERO_, *bias TN_ZERO_;
} tn_layer_norm_args;
/* The last dims of x, which must be `shape`, to (x - mean) / sqrt(var + eps) weight + bias (Ba et al. 2016); weight and bias are of that
 * shape. */
TN_API tn_tensor *tn_layer_norm_with(const tn_layer_norm_args *args);

#define TN_RMS_NORM_OPTIONS(X) X(double, eps, -1) /* negative: the distance from 1 to the next number of x's dtype */
typedef struct tn_rms_norm_args { /* tn_rms_norm(x, TN_SHAPE(512), weight) */
    size_t size TN_SIZE_(tn_rms_norm_args);
    TN_RMS_NORM_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
    tn_shape shape;
    tn_tensor *weight TN_ZERO_;
} tn_rms_norm_args;
/* The last dims of x to x / sqrt(mean of x² + eps) weight (Zhang and Sennrich 2019). */
TN_API tn_tensor *tn_rms_norm_with(const tn_rms_norm_args *args);

#define TN_GROUP_NORM_OPTIONS(X) X(double, eps, 1e-5)
typedef struct tn_group_norm_args { /* tn_group_norm(x, 8, weight, bias) */
    size_t size TN_SIZE_(tn_group_norm_args);
    TN_GROUP_NORM_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
    int64_t groups TN_ZERO_;
    tn_tensor *weight TN_ZERO_, *bias TN_ZERO_;
} tn_group_norm_args;
/* Each sample's c / groups channels of x, [n, c] or [n, c, ...], together to (x - mean) / sqrt(var + eps), then each channel by its weight
 * and bias, [c] (Wu and He 2018). With groups = c it is instance norm. groups must divide c. */
TN_API tn_tensor *tn_group_norm_with(const tn_group_norm_args *args);

#ifdef __cplusplus
}
#endif

#endif
