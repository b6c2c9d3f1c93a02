/* Exponentials of a row and their sum in one pass, as softmax takes them. */
#ifndef TN_EXP_SUM_H
#define TN_EXP_SUM_H

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/math.h"
#include "kernels/cpu/math_avx512.h"

/* y = exp(x - max), n elements, and its sum; where ahead is not 0, what lies so many elements on comes in meanwhile. */
static inline float exp_sum_f32(const float *x, float max, float *y, int64_t n, int64_t ahead)
{
#if defined(__AVX512F__)
    __m512 sum = _mm512_setzero_ps();
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512 e = tn_exp_minus_v_(_mm512_sub_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(max)));
        if (ahead > 0)
            __builtin_prefetch(x + i + ahead);
        _mm512_storeu_ps(y + i, e);
        sum = _mm512_add_ps(sum, e);
    }
    if (i < n) { /* apart: what a masked store wrote is slow to be read again */
        const __mmask16 lanes = tn_first_(n - i);
        const __m512 e = tn_exp_minus_v_(_mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, x + i), _mm512_set1_ps(max)));
        _mm512_mask_storeu_ps(y + i, lanes, e);
        sum = _mm512_mask_add_ps(sum, lanes, sum, e);
    }
    return tn_fold16_((const tn_lanes16_ *)&sum);
#else
    (void)ahead;
    TN_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = tn_exp_minus_(x[i] - max);
    return sum_f32(y, n);
#endif
}
static inline double exp_sum_f64(const double *x, double max, double *y, int64_t n, int64_t ahead)
{
    (void)ahead;
    TN_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = exp(x[i] - max);
    return sum_f64(y, n);
}

#endif
