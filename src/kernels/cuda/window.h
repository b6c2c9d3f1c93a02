/* Windows that slide over a dim. */
#ifndef TN_CUDA_WINDOW_H
#define TN_CUDA_WINDOW_H

#include "kernels/cuda/cuda.h"

/* The place that a tap of output o's window has; it may lie before 0 or beyond the end. */
TN_DEVICE int64_t tn_place(int64_t o, int64_t stride, int64_t pad, int64_t tap, int64_t dil) { return o * stride - pad + tap * dil; }
/* The output, of n, whose tap lies at place i; -1 where none does. */
TN_DEVICE int64_t tn_output(int64_t i, int64_t stride, int64_t pad, int64_t tap, int64_t dil, int64_t n)
{
    const int64_t at = i + pad - tap * dil;
    return at < 0 || at % stride != 0 || at / stride >= n ? -1 : at / stride;
}

#endif
