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

/* How many windows of each direction the image has; false with an error where an option is out of its range or none fits. `half`: padding
 * may be at most half a window. */
bool tn_window_count(const char *op, const tn_window *window, bool half, const tn_tensor *x, int64_t h, int64_t w, tn_pair *count);

/* x as [n, c, h, w] from [c, h, w] (dims 2) or as [n, c, 1, l] from [n, c, l] or [c, l] (dims 1); false with an error on another rank. */
bool tn_images(const char *op, tn_tensor **x, int dims);
/* y, a result of tn_images()' x, with the dims that `like` had. */
tn_tensor *tn_images_back(tn_tensor *y, const tn_tensor *like, int dims);

/* The dtype to compute x in: f32 for 16-bit floats. */
static inline tn_dtype tn_compute_dtype(const tn_tensor *x)
{
    return x->dtype == TN_F16 || x->dtype == TN_BF16 ? TN_F32 : (tn_dtype)x->dtype;
}
/* x in that dtype: itself where it has it. */
static inline tn_tensor *tn_as_dtype(tn_tensor *x, tn_dtype dtype) { return x && x->dtype != dtype ? tn_cast(x, dtype) : x; }

#endif
