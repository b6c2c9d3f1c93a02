/* Tenon: convolution, pooling, and the unfolding of windows into columns. Images are [n, c, h, w], or [c, h, w] for one without a batch
 * dim; signals are [n, c, l] or [c, l]. f16 and bf16 are computed in f32. Meanings and defaults are PyTorch's.
 *
 * An option like .stride says both height and width; .stride_hw = {2, 1} says each and goes before .stride (a pair of zeros is "not
 * said"). Sizes that do not fit are TN_ERR_SHAPE, options out of their range TN_ERR_ARGUMENT; messages name shapes and what would fit. */
#ifndef TENON_OPS_CONV_H
#define TENON_OPS_CONV_H

#include <tenon/autograd.h>
#include <tenon/ops/matmul.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- convolution -------------------------------------------------------------------------------------------------------- */

#define TN_CONV2D_OPTIONS(X)                                                                                                  \
    X(int64_t, stride, 1)                                                                                                     \
    X(tn_pair, stride_hw, TN_NONE_)                                                                                           \
    X(int64_t, padding, 0)                                                                                                    \
    X(tn_pair, padding_hw, TN_NONE_)                                                                                          \
    X(int64_t, dilation, 1)                                                                                                   \
    X(tn_pair, dilation_hw, TN_NONE_)                                                                                         \
    X(int64_t, groups, 1)                                                                                                     \
    X(tn_activation, activation, TN_ACTIVATION_NONE)
typedef struct tn_conv2d_args { /* tn_conv2d(x, weight, bias, .padding = 1, .activation = TN_ACTIVATION_RELU) */
    size_t size TN_SIZE_(tn_conv2d_args);
    TN_CONV2D_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *weight TN_ZERO_, *bias TN_ZERO_;
} tn_conv2d_args;
/* Cross-correlation: x is [n, in, h, w], weight [out, in / groups, kh, kw], bias [out] or NULL; the result is [n, out, oh, ow] with
 * oh = (h + 2 padding - dilation (kh - 1) - 1) / stride + 1, rounded down:
 * y[n, o, i, j] = activation(bias[o] + sum over c, p, q of weight[o, c, p, q] x[n, c, i stride + p dilation - padding, ...]). All must
 * be of one floating dtype (TN_ERR_DTYPE). Group g of the outputs sees group g of the inputs alone; groups = in is depthwise. */
TN_API tn_tensor *tn_conv2d_with(const tn_conv2d_args *args);

#define TN_CONV1D_OPTIONS(X)                                                                                                  \
    X(int64_t, stride, 1)                                                                                                     \
    X(int64_t, padding, 0)                                                                                                    \
    X(int64_t, dilation, 1)                                                                                                   \
    X(int64_t, groups, 1)                                                                                                     \
    X(tn_activation, activation, TN_ACTIVATION_NONE)
typedef struct tn_conv1d_args { /* tn_conv1d(x, weight, bias, .padding = 1) */
    size_t size TN_SIZE_(tn_conv1d_args);
    TN_CONV1D_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *weight TN_ZERO_, *bias TN_ZERO_;
} tn_conv1d_args;
/* The same over one dim: x is [n, in, l], weight [out, in / groups, k], the result [n, out, ol]. */
TN_API tn_tensor *tn_conv1d_with(const tn_conv1d_args *args);

#define TN_CONV_TRANSPOSE2D_OPTIONS(X)                                                                                        \
    X(int64_t, stride, 1)                                                                                                     \
    X(tn_pair, stride_hw, TN_NONE_)                                                                                           \
    X(int64_t, padding, 0)                                                                                                    \
    X(tn_pair, padding_hw, TN_NONE_)                                                                                          \
    X(int64_t, output_padding, 0)                                                                                             \
    X(tn_pair, output_padding_hw, TN_NONE_)                                                                                   \
    X(int64_t, dilation, 1)                                                                                                   \
    X(tn_pair, dilation_hw, TN_NONE_)                                                                                         \
    X(int64_t, groups, 1)
typedef struct tn_conv_transpose2d_args { /* tn_conv_transpose2d(x, weight, bias, .stride = 2) */
    size_t size TN_SIZE_(tn_conv_transpose2d_args);
    TN_CONV_TRANSPOSE2D_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *weight TN_ZERO_, *bias TN_ZERO_;
} tn_conv_transpose2d_args;
/* The adjoint of a convolution (its gradient with respect to its input), plus a bias: x is [n, in, h, w], weight [in, out / groups, kh, kw],
 * bias [out] or NULL; the result is [n, out, oh, ow] with oh = (h - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1.
 * .output_padding (smaller than the stride or the dilation) says which of the sizes that the convolution would have made h of is meant. */
TN_API tn_tensor *tn_conv_transpose2d_with(const tn_conv_transpose2d_args *args);

#define TN_CONV_TRANSPOSE1D_OPTIONS(X)                                                                                        \
    X(int64_t, stride, 1)                                                                                                     \
    X(int64_t, padding, 0)                                                                                                    \
    X(int64_t, output_padding, 0)                                                                                             \
    X(int64_t, dilation, 1)                                                                                                   \
    X(int64_t, groups, 1)
typedef struct tn_conv_transpose1d_args { /* tn_conv_transpose1d(x, weight, bias, .stride = 2) */
    size_t size TN_SIZE_(tn_conv_transpose1d_args);
    TN_CONV_TRANSPOSE1D_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *weight TN_ZERO_, *bias TN_ZERO_;
} tn_conv_transpose1d_args;
/* The same over one dim: x is [n, in, l], weight [in, out / groups, k]. */
TN_API tn_tensor *tn_conv_transpose1d_with(const tn_conv_transpose1d_args *args);

/* ---- pooling ------------------------------------------------------------------------------------------------------------ */

#define TN_MAX_POOL2D_OPTIONS(X)                                                                                              \
    X(tn_pair, kernel_hw, TN_NONE_)                                                                                           \
    X(int64_t, stride, 0) /* 0: the kernel */                                                                                 \
    X(tn_pair, stride_hw, TN_NONE_)                                                                                           \
    X(int64_t, padding, 0)                                                                                                    \
    X(tn_pair, padding_hw, TN_NONE_)                                                                                          \
    X(int64_t, dilation, 1)                                                                                                   \
    X(tn_pair, dilation_hw, TN_NONE_)                                                                                         \
    X(bool, ceil_mode, false)                                                                                                 \
    X(tn_tensor **, indices, NULL)
typedef struct tn_max_pool2d_args { /* tn_max_pool2d(x, 2), tn_max_pool2d(x, 3, .stride = 2, .padding = 1) */
    size_t size TN_SIZE_(tn_max_pool2d_args);
    TN_MAX_POOL2D_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
    int64_t kernel TN_ZERO_;
} tn_max_pool2d_args;
/* The largest of each window. Padding (at most half a window) is never chosen, a NaN always is, of equals the first; the gradient goes
 * to what was chosen. With .ceil_mode windows may begin inside and end outside. .indices, unless NULL, receives where in its plane each
 * result came from, y * w + x, as i64. Floats and integers. */
TN_API tn_tensor *tn_max_pool2d_with(const tn_max_pool2d_args *args);

#define TN_MAX_POOL1D_OPTIONS(X)                                                                                              \
    X(int64_t, stride, 0) /* 0: the kernel */                                                                                 \
    X(int64_t, padding, 0)                                                                                                    \
    X(int64_t, dilation, 1)                                                                                                   \
    X(bool, ceil_mode, false)                                                                                                 \
    X(tn_tensor **, indices, NULL)
typedef struct tn_max_pool1d_args { /* tn_max_pool1d(x, 2) */
    size_t size TN_SIZE_(tn_max_pool1d_args);
    TN_MAX_POOL1D_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
    int64_t kernel TN_ZERO_;
} tn_max_pool1d_args;
/* The same over the last dim of [n, c, l] or [c, l]. */
TN_API tn_tensor *tn_max_pool1d_with(const tn_max_pool1d_args *args);

#define TN_AVG_POOL2D_OPTIONS(X)                                                                                              \
    X(tn_pair, kernel_hw, TN_NONE_)                                                                                           \
    X(int64_t, stride, 0) /* 0: the kernel */                                                                                 \
    X(tn_pair, stride_hw, TN_NONE_)                                                                                           \
    X(int64_t, padding, 0)                                                                                                    \
    X(tn_pair, padding_hw, TN_NONE_)                                                                                          \
    X(bool, ceil_mode, false)                                                                                                 \
    X(bool, count_include_pad, true) /* padding's zeros count among what a sum is divided by */                               \
    X(int64_t, divisor_override, 0)  /* what every sum is divided by; 0: the window's elements */
typedef struct tn_avg_pool2d_args { /* tn_avg_pool2d(x, 2) */
    size_t size TN_SIZE_(tn_avg_pool2d_args);
    TN_AVG_POOL2D_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
    int64_t kernel TN_ZERO_;
} tn_avg_pool2d_args;
/* The mean of each window, padding being zeros (at most half a window). Floats. */
TN_API tn_tensor *tn_avg_pool2d_with(const tn_avg_pool2d_args *args);

#define TN_AVG_POOL1D_OPTIONS(X)                                                                                              \
    X(int64_t, stride, 0) /* 0: the kernel */                                                                                 \
    X(int64_t, padding, 0)                                                                                                    \
    X(bool, ceil_mode, false)                                                                                                 \
    X(bool, count_include_pad, true)
typedef struct tn_avg_pool1d_args { /* tn_avg_pool1d(x, 2) */
    size_t size TN_SIZE_(tn_avg_pool1d_args);
    TN_AVG_POOL1D_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
    int64_t kernel TN_ZERO_;
} tn_avg_pool1d_args;
/* The same over the last dim of [n, c, l] or [c, l]. */
TN_API tn_tensor *tn_avg_pool1d_with(const tn_avg_pool1d_args *args);

/* x [n, c, h, w] averaged to [n, c, oh, ow] whatever its size: result i is the mean of floor(i h / oh) ... ceil((i + 1) h / oh) - 1. An oh or
 * ow of 0 leaves that dim as it is. Floats; a negative size is TN_ERR_ARGUMENT. */
TN_API tn_tensor *tn_adaptive_avg_pool2d(tn_tensor *x, int64_t oh, int64_t ow);
/* The same over the last dim of [n, c, l] or [c, l]. */
TN_API tn_tensor *tn_adaptive_avg_pool1d(tn_tensor *x, int64_t length);

/* ---- windows as columns (im2col) and back ------------------------------------------------------------------------------- */

#define TN_UNFOLD_OPTIONS(X)                                                                                                  \
    X(tn_pair, kernel_hw, TN_NONE_)                                                                                           \
    X(int64_t, stride, 1)                                                                                                     \
    X(tn_pair, stride_hw, TN_NONE_)                                                                                           \
    X(int64_t, padding, 0)                                                                                                    \
    X(tn_pair, padding_hw, TN_NONE_)                                                                                          \
    X(int64_t, dilation, 1)                                                                                                   \
    X(tn_pair, dilation_hw, TN_NONE_)
typedef struct tn_unfold_args { /* tn_unfold(x, 3, .padding = 1) */
    size_t size TN_SIZE_(tn_unfold_args);
    TN_UNFOLD_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
    int64_t kernel TN_ZERO_;
} tn_unfold_args;
/* Every window of x as a column: [n, c, h, w] becomes [n, c kh kw, windows], torch.nn.functional.unfold. Any dtype. */
TN_API tn_tensor *tn_unfold_with(const tn_unfold_args *args);

typedef struct tn_fold_args { /* tn_fold(columns, 28, 28, 3, .padding = 1) */
    size_t size TN_SIZE_(tn_fold_args);
    TN_UNFOLD_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
    int64_t h TN_ZERO_, w TN_ZERO_, kernel TN_ZERO_;
} tn_fold_args;
/* Columns [n, c kh kw, windows] added up where they lay in images [n, c, h, w], torch.nn.functional.fold: the adjoint of tn_unfold, not its
 * inverse, where windows overlap. Floats. */
TN_API tn_tensor *tn_fold_with(const tn_fold_args *args);

#define TN_UNFOLD1D_OPTIONS(X)                                                                                                \
    X(int64_t, stride, 1)                                                                                                     \
    X(int64_t, padding, 0)                                                                                                    \
    X(int64_t, dilation, 1)
typedef struct tn_unfold1d_args { /* tn_unfold1d(x, 3, .padding = 1) */
    size_t size TN_SIZE_(tn_unfold1d_args);
    TN_UNFOLD1D_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
    int64_t kernel TN_ZERO_;
} tn_unfold1d_args;
/* The same for signals: [n, c, l] becomes [n, c k, windows]. */
TN_API tn_tensor *tn_unfold1d_with(const tn_unfold1d_args *args);

typedef struct tn_fold1d_args { /* tn_fold1d(columns, 100, 3, .padding = 1) */
    size_t size TN_SIZE_(tn_fold1d_args);
    TN_UNFOLD1D_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
    int64_t length TN_ZERO_, kernel TN_ZERO_;
} tn_fold1d_args;
/* Columns [n, c k, windows] added up into [n, c, length]. */
TN_API tn_tensor *tn_fold1d_with(const tn_fold1d_args *args);

#ifdef __cplusplus
}
#endif

#endif
