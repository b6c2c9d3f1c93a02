/* Sums, products' sums and extremes of contiguous elements. Loops over TN_LANES are those that compilers make vectors of; the lanes are the same on
 * every instruction set, and so are the bits. */
#ifndef TN_LANES_H
#define TN_LANES_H

#include <math.h>

#include "kernels/cpu/cpu.h"

enum { TN_LANES = 32 };
#define TN_IS_NAN(x) ((x) != (x))

/* Halves the lanes until lane[0] holds them all; step is what becomes of lane[l] and of lane[m], which is dropped. Widths are constants,
 * so that each halving is a few instructions. */
#define TN_HALVE_(width, step)                                                                                                \
    for (int l = 0, m = width; l < width; l++, m++)                                                                           \
        step;
#define TN_FOLD_(step) TN_HALVE_(16, step) TN_HALVE_(8, step) TN_HALVE_(4, step) TN_HALVE_(2, step) TN_HALVE_(1, step)

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
        if (n >= TN_LANES) {                                                                                                  \
            TN_FOLD_(lane[l] += lane[m])                                                                                      \
        }                                                                                                                     \
        return (T)(lane[0] + rest);                                                                                           \
    }
TN_LANES_SUM_(float, float, f32)
TN_LANES_SUM_(double, double, f64)
TN_LANES_SUM_(int64_t, uint64_t, i64)

#define TN_LANES_DOT_(T, suffix)                                                                                              \
    static inline T dot_##suffix(const T *x, const T *y, int64_t n)                                                           \
    {                                                                                                                         \
        T lane[TN_LANES] = {0}, rest = 0;                                                                                     \
        int64_t i = 0;                                                                                                        \
        for (; i + TN_LANES <= n; i += TN_LANES)                                                                              \
            for (int l = 0; l < TN_LANES; l++)                                                                                \
                lane[l] += x[i + l] * y[i + l];                                                                               \
        for (; i < n; i++)                                                                                                    \
            rest += x[i] * y[i];                                                                                              \
        return sum_##suffix(lane, n < TN_LANES ? 0 : TN_LANES) + rest;                                                        \
    }
TN_LANES_DOT_(float, f32)
TN_LANES_DOT_(double, f64)

/* The extreme of all x; NaN beats everything. */
#define TN_LANES_EXTREME_(T, name, beats, start)                                                                              \
    static inline T name(const T *x, int64_t n)                                                                               \
    {                                                                                                                         \
        T lane[TN_LANES], best = start;                                                                                       \
        int64_t i = 0;                                                                                                        \
        for (int l = 0; l < TN_LANES; l++)                                                                                    \
            lane[l] = start;                                                                                                  \
        for (; i + TN_LANES <= n; i += TN_LANES)                                                                              \
            for (int l = 0; l < TN_LANES; l++)                                                                                \
                lane[l] = beats(x[i + l], lane[l]) ? x[i + l] : lane[l];                                                      \
        for (; i < n; i++)                                                                                                    \
            best = beats(x[i], best) ? x[i] : best;                                                                           \
        if (n >= TN_LANES) {                                                                                                  \
            TN_FOLD_(lane[l] = beats(lane[m], lane[l]) ? lane[m] : lane[l])                                                   \
            best = beats(lane[0], best) ? lane[0] : best;                                                                     \
        }                                                                                                                     \
        return best;                                                                                                          \
    }
#define TN_GREATER_(a, b) ((a) > (b) || TN_IS_NAN(a))
#define TN_LESS_(a, b) ((a) < (b) || TN_IS_NAN(a))
#define TN_GREATER_NUMBER_(a, b) ((a) > (b))
TN_LANES_EXTREME_(float, max_f32, TN_GREATER_, -HUGE_VALF)
TN_LANES_EXTREME_(double, max_f64, TN_GREATER_, -HUGE_VAL)
TN_LANES_EXTREME_(int64_t, max_i64, TN_GREATER_, INT64_MIN)
TN_LANES_EXTREME_(float, min_f32, TN_LESS_, HUGE_VALF)
TN_LANES_EXTREME_(double, min_f64, TN_LESS_, HUGE_VAL)
TN_LANES_EXTREME_(int64_t, min_i64, TN_LESS_, INT64_MAX)
/* The greatest that is not NaN; -infinity where there is none. */
TN_LANES_EXTREME_(float, max_number_f32, TN_GREATER_NUMBER_, -HUGE_VALF)
TN_LANES_EXTREME_(double, max_number_f64, TN_GREATER_NUMBER_, -HUGE_VAL)

#endif
