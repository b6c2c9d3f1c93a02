/* Tenon: normalisation layers, each the operator of its name (ops/norm.h). weight begins as ones, bias as zeros. */
#ifndef TENON_NN_NORM_H
#define TENON_NN_NORM_H

#include <tenon/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Batch norm of x [n, c] or [n, c, l], and of x [n, c, h, w]. Parameters weight and bias [c] (with .affine); buffers running_mean, running_var
 * [c] and num_batches_tracked, an i64 of rank 0 (with .track_running_stats). In training the batch's statistics are used, and the running
 * ones move by .momentum toward them; in evaluation the running ones are used, or without them the batch's again. .cumulative in the
 * place of .momentum keeps the plain average of all batches (PyTorch's momentum=None). tn_batch_norm1d_new(features, ...).
 * .activation is applied to the result, to which a second input, tn_call(norm, x, residual), is added before: as tn_batch_norm()'s. */
#define TN_BATCH_NORM_LAYER_OPTIONS(X)                                                                                        \
    X(double, momentum, 0.1)                                                                                                  \
    X(bool, cumulative, false)                                                                                                \
    X(double, eps, 1e-5)                                                                                                      \
    X(bool, affine, true)                                                                                                     \
    X(bool, track_running_stats, true)                                                                                        \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)                                                                                      \
    X(tn_activation, activation, TN_ACTIVATION_NONE)
typedef struct tn_batch_norm_layer_args {
    size_t size TN_SIZE_(tn_batch_norm_layer_args);
    TN_BATCH_NORM_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t features TN_ZERO_;
} tn_batch_norm_layer_args;
TN_API tn_module *tn_batch_norm1d_new_with(const tn_batch_norm_layer_args *args);
TN_API tn_module *tn_batch_norm2d_new_with(const tn_batch_norm_layer_args *args);

/* Layer norm over the last dims of x, which are `shape`. Parameters weight and, unless .bias = false, bias of that shape (with
 * .elementwise_affine). tn_layer_norm_new(TN_SHAPE(512), ...). */
#define TN_LAYER_NORM_LAYER_OPTIONS(X)                                                                                        \
    X(double, eps, 1e-5)                                                                                                      \
    X(bool, elementwise_affine, true)                                                                                         \
    X(bool, bias, true)                                                                                                       \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)
typedef struct tn_layer_norm_layer_args {
    size_t size TN_SIZE_(tn_layer_norm_layer_args);
    TN_LAYER_NORM_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_shape shape;
} tn_layer_norm_layer_args;
TN_API tn_module *tn_layer_norm_new_with(const tn_layer_norm_layer_args *args);

/* RMS norm over the last dims of x, which are `shape`. Parameter weight (with .elementwise_affine). A negative .eps is x's dtype's own
 * epsilon. tn_rms_norm_new(TN_SHAPE(512), .eps = 1e-5). */
#define TN_RMS_NORM_LAYER_OPTIONS(X)                                                                                          \
    X(double, eps, -1)                                                                                                        \
    X(bool, elementwise_affine, true)                                                                                         \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)
typedef struct tn_rms_norm_layer_args {
    size_t size TN_SIZE_(tn_rms_norm_layer_args);
    TN_RMS_NORM_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_shape shape;
} tn_rms_norm_layer_args;
TN_API tn_module *tn_rms_norm_new_with(const tn_rms_norm_layer_args *args);

/* Group norm of x [n, channels, ...]. Parameters weight and bias [channels] (with .affine). tn_group_norm_new(groups, channels, ...). */
#define TN_GROUP_NORM_LAYER_OPTIONS(X)                                                                                        \
    X(double, eps, 1e-5)                                                                                                      \
    X(bool, affine, true)                                                                                                     \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)
typedef struct tn_group_norm_layer_args {
    size_t size TN_SIZE_(tn_group_norm_layer_args);
    TN_GROUP_NORM_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t groups TN_ZERO_, channels TN_ZERO_;
} tn_group_norm_layer_args;
TN_API tn_module *tn_group_norm_new_with(const tn_group_norm_layer_args *args);

#ifdef __cplusplus
}
#endif

#endif
