/* Exponentials of a row and their sum in one pass, as softmax takes them. */
#ifndef TN_EXP_SUM_H
#define TN_EXP_SUM_H

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/math.h"
#include "kernels/cpu/math_avx2.h"
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
#elif defined(TN_EIGHTS_)
    enum { MANY = TN_EIGHTS_AT_ONCE_ };
    _Static_assert(8 * MANY == TN_LANES, "the sum's lanes are sum_f32's");
    tn_eight_ sum[MANY], e[MANY];
    (void)ahead;
    TN_EACH_EIGHT_(k, MANY) sum[k] = (tn_eight_){0};
    for (; n >= TN_LANES; n -= TN_LANES, x += TN_LANES, y += TN_LANES) {
        tn_load_eights_(MANY, x, e);
        TN_EACH_EIGHT_(k, MANY) e[k] = e[k] - max;
        tn_exps_minus_(MANY, e);
        tn_store_eights_(MANY, y, e);
        TN_EACH_EIGHT_(k, MANY) sum[k] += e[k];
    }
    TN_EACH_EIGHT_(k, MANY)
    if (n > 8 * k) {
        const __m256i lanes = tn_first_eight_(n - 8 * k);
        e[0] = tn_load_first_(x + 8 * k, lanes) - max;
        tn_exps_minus_(1, e);
        tn_store_first_(y + 8 * k, lanes, e[0]);
        sum[k] += (tn_eight_)((__m256i)e[0] & lanes);
    }
    const tn_lanes8_ all = (sum[0] + sum[2]) + (sum[1] + sum[3]);
    return tn_fold8_(&all);
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
