/* What convolution, pooling and unfolding share: options by pairs, the counts of windows, images with and without a batch dim. */
#ifndef TN_WINDOW_H
#define TN_WINDOW_H

#include <tenon/ops.h>

#include "autograd/node.h"

typedef struct tn_window {
    tn_pair kernel, stride, padding, dilation;
    bool ceil_mode;
} tn_window;

/* The pair, or (both, both) where it was not said. */
static inline tn_pair tn_pair_or(tn_pair pair, int64_t both) { return pair.h || pair.w ? pair : (tn_pair){both, both}; }

/* False, with an error, where an option is out of its range. */
bool tn_window_range(const char *op, const tn_window *window);
/* How many windows of each direction the image has; false with an error where an option is out of its range or none fits. `half`: padding
 * may be at most half a window. */
bool tn_window_count(const char *op, const tn_window *window, bool half, const tn_tensor *x, int64_t h, int64_t w, tn_pair *count);

/* x as [n, c, h, w] from [c, h, w] (dims 2) or as [n, c, 1, l] from [n, c, l] or [c, l] (dims 1); false with an error on another rank. */
bool tn_images(const char *op, tn_tensor **x, int dims);
/* y, a result of tn_images()' x, with the dims that `like` had. */
tn_tensor *tn_images_back(tn_tensor *y, const tn_tensor *like, int dims);

/* What convolutions take beside their tensors. */
typedef struct tn_conv_options {
    tn_window window;       /* its kernel is the weight's */
    tn_pair output_padding; /* of the transposed one */
    int64_t groups;
    tn_activation activation; /* of the plain one */
} tn_conv_options;

/* The operators behind their options structs, which the layers keep in this form; dims is 1 or 2. */
tn_tensor *tn_convolve(const char *op, tn_tensor *x, tn_tensor *weight, tn_tensor *bias, const tn_conv_options *o, int dims);
tn_tensor *tn_convolve_transposed(const char *op, tn_tensor *x, tn_tensor *weight, tn_tensor *bias, const tn_conv_options *o, int dims);
tn_tensor *tn_max_pool_of(const char *op, tn_tensor *x, const tn_window *window, tn_tensor **indices, int dims);
tn_tensor *tn_avg_pool_of(const char *op, tn_tensor *x, const tn_window *window, bool count_include_pad, int64_t divisor, int dims);

/* The dtype to compute x in: f32 for 16-bit floats. */
static inline tn_dtype tn_compute_dtype(const tn_tensor *x)
{
    return x->dtype == TN_F16 || x->dtype == TN_BF16 ? TN_F32 : (tn_dtype)x->dtype;
}
/* x in that dtype: itself where it has it. */
static inline tn_tensor *tn_as_dtype(tn_tensor *x, tn_dtype dtype) { return x && x->dtype != dtype ? tn_cast(x, dtype) : x; }

#endif
