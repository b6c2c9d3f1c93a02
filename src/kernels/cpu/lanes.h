/* Sums and extremes of contiguous elements. Loops over TN_LANES are those that compilers make vectors of; the lanes are the same on
 * every instruction set, and so are the bits. */
#ifndef TN_LANES_H
#define TN_LANES_H

#include <math.h>

#include "kernels/cpu/cpu.h"

enum { TN_LANES = 32 };
#define TN_IS_NAN(x) ((x) != (x))

/* U: T, unsigned where it is an integer, so that sums wrap. */
#define TN_LANES_SUM_(T, U, suffix)                                                                                           \
    static inline T sum_##suffix(const T *x, int64_t n)                                                                       \
    {                                                                                                                         \
        U lane[TN_LANES] = {0}, rest = 0;                                                                                     \
        int64_t i = 0;                                                                                                        \
        for (; i + TN_LANES <= n; i += TN_LANES)                                                                              \
            for (int l = 0; l < TN_LANES; l++)                                                                                \
                lane[l] += (U)x[i + l];                                                                                       \
        for (; i < n; i++)                                                                                                    \
            rest += (U)x[i];                                                                                                  \
        for (int width = n < TN_LANES ? 0 : TN_LANES / 2; width > 0; width /= 2)                                              \
            for (int l = 0; l < width; l++)                                                                                   \
                lane[l] += lane[l + width];                                                                                   \
        return (T)(lane[0] + rest);                                                                                           \
    }
TN_LANES_SUM_(float, float, f32)
TN_LANES_SUM_(double, double, f64)
TN_LANES_SUM_(int64_t, uint64_t, i64)

/* The extreme of all x; NaN beats everything. */
#define TN_LANES_EXTREME_(T, name, better, start)                                                                             \
    static inline T name(const T *x, int64_t n)                                                                               \
    {                                                                                                                         \
        T lane[TN_LANES], best = start;                                                                                       \
        int64_t i = 0;                                                                                                        \
        for (int l = 0; l < TN_LANES; l++)                                                                                    \
            lane[l] = start;                                                                                                  \
        for (; i + TN_LANES <= n; i += TN_LANES)                                                                              \
            for (int l = 0; l < TN_LANES; l++)                                                                                \
                lane[l] = x[i + l] better lane[l] || TN_IS_NAN(x[i + l]) ? x[i + l] : lane[l];                                \
        for (; i < n; i++)                                                                                                    \
            best = x[i] better best || TN_IS_NAN(x[i]) ? x[i] : best;                                                         \
        for (int l = 0; l < TN_LANES && n >= TN_LANES; l++)                                                                   \
            best = lane[l] better best || TN_IS_NAN(lane[l]) ? lane[l] : best;                                                \
        return best;                                                                                                          \
    }
TN_LANES_EXTREME_(float, max_f32, >, -HUGE_VALF)
TN_LANES_EXTREME_(double, max_f64, >, -HUGE_VAL)
TN_LANES_EXTREME_(int64_t, max_i64, >, INT64_MIN)
TN_LANES_EXTREME_(float, min_f32, <, HUGE_VALF)
TN_LANES_EXTREME_(double, min_f64, <, HUGE_VAL)
TN_LANES_EXTREME_(int64_t, min_i64, <, INT64_MAX)

#endif
