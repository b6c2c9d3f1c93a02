/* Tenon: convolution and pooling layers beside nn.h's conv2d, max_pool2d and avg_pool2d: of one dim, transposed, to a given size. Each is
 * the operator of its name (ops/conv.h), which says what the options mean. */
#ifndef TENON_NN_CONV_H
#define TENON_NN_CONV_H

#include <tenon/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* x [n, in, l] to [n, out, l']. Parameters weight [out, in / groups, kernel] and bias [out], both uniform on ±1/√(in / groups kernel).
 * tn_conv1d_new(in, out, kernel, ...). */
#define TN_CONV1D_LAYER_OPTIONS(X)                                                                                            \
    X(int64_t, stride, 1)                                                                                                     \
    X(int64_t, padding, 0)                                                                                                    \
    X(int64_t, dilation, 1)                                                                                                   \
    X(int64_t, groups, 1)                                                                                                     \
    X(bool, bias, true)                                                                                                       \
    X(tn_activation, activation, TN_ACTIVATION_NONE)                                                                          \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)
typedef struct tn_conv1d_layer_args {
    size_t size TN_SIZE_(tn_conv1d_layer_args);
    TN_CONV1D_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t in_channels TN_ZERO_, out_channels TN_ZERO_, kernel TN_ZERO_;
} tn_conv1d_layer_args;
TN_API tn_module *tn_conv1d_new_with(const tn_conv1d_layer_args *args);

/* x [n, in, h, w] to [n, out, h', w'], h' = (h - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1. Parameters weight
 * [in, out / groups, kernel, kernel] and bias [out], both uniform on ±1/√(out / groups kernel²).
 * tn_conv_transpose2d_new(in, out, kernel, ...). */
#define TN_CONV_TRANSPOSE2D_LAYER_OPTIONS(X)                                                                                  \
    X(tn_pair, kernel_hw, TN_NONE_)                                                                                           \
    X(int64_t, stride, 1)                                                                                                     \
    X(tn_pair, stride_hw, TN_NONE_)                                                                                           \
    X(int64_t, padding, 0)                                                                                                    \
    X(tn_pair, padding_hw, TN_NONE_)                                                                                          \
    X(int64_t, output_padding, 0)                                                                                             \
    X(tn_pair, output_padding_hw, TN_NONE_)                                                                                   \
    X(int64_t, dilation, 1)                                                                                                   \
    X(tn_pair, dilation_hw, TN_NONE_)                                                                                         \
    X(int64_t, groups, 1)                                                                                                     \
    X(bool, bias, true)                                                                                                       \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)
typedef struct tn_conv_transpose2d_layer_args {
    size_t size TN_SIZE_(tn_conv_transpose2d_layer_args);
    TN_CONV_TRANSPOSE2D_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t in_channels TN_ZERO_, out_channels TN_ZERO_, kernel TN_ZERO_;
} tn_conv_transpose2d_layer_args;
TN_API tn_module *tn_conv_transpose2d_new_with(const tn_conv_transpose2d_layer_args *args);

/* The same of one dim: x [n, in, l], weight [in, out / groups, kernel]. */
#define TN_CONV_TRANSPOSE1D_LAYER_OPTIONS(X)                                                                                  \
    X(int64_t, stride, 1)                                                                                                     \
    X(int64_t, padding, 0)                                                                                                    \
    X(int64_t, output_padding, 0)                                                                                             \
    X(int64_t, dilation, 1)                                                                                                   \
    X(int64_t, groups, 1)                                                                                                     \
    X(bool, bias, true)                                                                                                       \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)
typedef struct tn_conv_transpose1d_layer_args {
    size_t size TN_SIZE_(tn_conv_transpose1d_layer_args);
    TN_CONV_TRANSPOSE1D_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t in_channels TN_ZERO_, out_channels TN_ZERO_, kernel TN_ZERO_;
} tn_conv_transpose1d_layer_args;
TN_API tn_module *tn_conv_transpose1d_new_with(const tn_conv_transpose1d_layer_args *args);

/* Pooling of x [n, c, l]; a stride of 0 is the kernel. tn_max_pool1d_new(kernel, ...), tn_avg_pool1d_new(kernel, ...). No parameters. */
#define TN_MAX_POOL1D_LAYER_OPTIONS(X)                                                                                        \
    X(int64_t, stride, 0)                                                                                                     \
    X(int64_t, padding, 0)                                                                                                    \
    X(int64_t, dilation, 1)                                                                                                   \
    X(bool, ceil_mode, false)
typedef struct tn_max_pool1d_layer_args {
    size_t size TN_SIZE_(tn_max_pool1d_layer_args);
    TN_MAX_POOL1D_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t kernel TN_ZERO_;
} tn_max_pool1d_layer_args;
TN_API tn_module *tn_max_pool1d_new_with(const tn_max_pool1d_layer_args *args);

#define TN_AVG_POOL1D_LAYER_OPTIONS(X)                                                                                        \
    X(int64_t, stride, 0)                                                                                                     \
    X(int64_t, padding, 0)                                                                                                    \
    X(bool, ceil_mode, false)                                                                                                 \
    X(bool, count_include_pad, true)
typedef struct tn_avg_pool1d_layer_args {
    size_t size TN_SIZE_(tn_avg_pool1d_layer_args);
    TN_AVG_POOL1D_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t kernel TN_ZERO_;
} tn_avg_pool1d_layer_args;
TN_API tn_module *tn_avg_pool1d_new_with(const tn_avg_pool1d_layer_args *args);

/* Averages of whatever size gives [n, c, oh, ow], or [n, c, length]; 0 leaves a dim as it is. tn_adaptive_avg_pool2d_new(1, 1) is global. */
TN_API tn_module *tn_adaptive_avg_pool2d_new(int64_t oh, int64_t ow);
TN_API tn_module *tn_adaptive_avg_pool1d_new(int64_t length);

#ifdef __cplusplus
}
#endif

#endif
