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

/* A division of n, 0 <= n, by one number again and again: of 32 bits by a multiplication and a shift (Granlund and Montgomery 1994). */
template <class I> struct tn_divisor {
    I by;
    TN_HD I of(I n) const { return n / by; }
};
template <> struct tn_divisor<int32_t> {
    int32_t by;
    uint32_t multiplier, shift;
    TN_HD int32_t of(int32_t n) const { return (int32_t)((uint32_t)(((uint64_t)(uint32_t)n * multiplier >> 32) + (uint32_t)n) >> shift); }
};
template <class I> static inline tn_divisor<I> tn_divisor_of(int64_t by)
{
    by = by > 0 ? by : 1; /* an empty plane, of which nothing is read */
    if constexpr (sizeof(I) == 4) {
        uint32_t shift = 0;
        while (((int64_t)1 << shift) < by)
            shift++;
        return {(I)by, (uint32_t)((((uint64_t)1 << 32) * (((uint64_t)1 << shift) - (uint64_t)by)) / (uint64_t)by + 1), shift};
    } else
        return {(I)by};
}

#endif
