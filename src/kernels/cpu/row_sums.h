/* On AVX-512, of rows of f32 or bfloat16, a group of them at a time: each row's greatest element and the sum of its exponentials, which logarithms need
 * and nothing more. Each row's greatest is found beside the exponentials of the group before, so that no row's end is waited for. */
#ifndef TN_ROW_SUMS_H
#define TN_ROW_SUMS_H
#if defined(__AVX512F__)

#include <string.h>

#include "kernels/cpu/math.h"
#include "kernels/cpu/math_avx512.h"
#include "kernels/cpu/wide.h"

/* Rows of a group at most; elements of a group, of which f64 sums take over, and that are fetched ahead. */
enum { SUMS_GROUP = 16, SUMS_SHORT = 2048, SUMS_BLOCK = 1024, SUMS_AHEAD = 4096 };

/* 32 elements from the i-th on as two vectors: of f32 one after the other, of bfloat16 the even ones and the odd. Of n at most, the others being 0 and
 * not among the lanes. */
typedef struct two_vectors {
    __m512 v[2];
    __mmask16 lanes[2];
} two_vectors;
TN_INLINE two_vectors two_vectors_of(bool bf16, const void *x, int64_t i, int64_t n)
{
    two_vectors t = {.lanes = {0xffff, 0xffff}};
    if (n < 32) {
        t.lanes[0] = tn_first_(bf16 ? (n + 1) / 2 : n);
        t.lanes[1] = tn_first_(bf16 ? n / 2 : n - 16);
    }
    if (bf16) {
        const __m512i pairs = tn_pairs_at_((const tn_bf16 *)x + i, n);
        t.v[0] = tn_lows_(pairs);
        t.v[1] = tn_highs_(pairs);
    } else {
        t.v[0] = _mm512_maskz_loadu_ps(t.lanes[0], (const float *)x + i);
        t.v[1] = _mm512_maskz_loadu_ps(t.lanes[1], (const float *)x + i + 16);
    }
    return t;
}

TN_INLINE void two_vectors_to(bool bf16, const two_vectors *t, void *y, int64_t i, int64_t n)
{
    if (bf16) {
        tn_store_pairs_((tn_bf16 *)y + i, n, t->v[0], t->v[1]);
    } else if (n >= 32) {
        _mm512_storeu_ps((float *)y + i, t->v[0]);
        _mm512_storeu_ps((float *)y + i + 16, t->v[1]);
    } else {
        _mm512_mask_storeu_ps((float *)y + i, t->lanes[0], t->v[0]);
        _mm512_mask_storeu_ps((float *)y + i + 16, t->lanes[1], t->v[1]);
    }
}
TN_INLINE void fetch_two(bool bf16, const void *x, int64_t i)
{
    __builtin_prefetch((const char *)x + i * (bf16 ? 2 : 4));
    if (!bf16)
        __builtin_prefetch((const float *)x + i + 16);
}

/* Adds exp(x - max) to sum and takes the greatest of next, 32 elements of each, n at most. NaN is passed over: its exponential makes the row NaN. */
TN_INLINE void exp_sum_step(bool bf16, const void *x, const void *next, int64_t i, int64_t n, __m512 max, __m512 *sum, __m512 *greatest)
{
    const two_vectors now = two_vectors_of(bf16, x, i, n), then = two_vectors_of(bf16, next, i, n);
    fetch_two(bf16, next, i + SUMS_AHEAD);
    TN_UNROLL for (int k = 0; k < 2; k++) {
        const __m512 e = tn_exp_minus_v_(_mm512_sub_ps(now.v[k], max));
        sum[k] = _mm512_mask_add_ps(sum[k], now.lanes[k], sum[k], e);
        greatest[k] = _mm512_mask_max_ps(greatest[k], then.lanes[k], then.v[k], greatest[k]);
    }
}
/* The lanes of the sum of exp(x - max), n elements; returns those of next's greatest. */
TN_INLINE __m512 exp_sum_row(bool bf16, const void *x, const void *next, float max, int64_t n, __m512 *sum)
{
    const __m512 shift = _mm512_set1_ps(max), none = _mm512_set1_ps(-HUGE_VALF);
    __m512 greatest[2] = {none, none}, s[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    __m512d total = _mm512_setzero_pd();
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        exp_sum_step(bf16, x, next, i, 32, shift, s, greatest);
        if (i % SUMS_BLOCK == SUMS_BLOCK - 32) {
            const __m512 both = _mm512_add_ps(s[0], s[1]);
            total = _mm512_add_pd(total, _mm512_cvtps_pd(_mm512_castps512_ps256(both)));
            total = _mm512_add_pd(total, _mm512_cvtps_pd(_mm512_extractf32x8_ps(both, 1)));
            s[0] = s[1] = _mm512_setzero_ps();
        }
    }
    if (i < n)
        exp_sum_step(bf16, x, next, i, n - i, shift, s, greatest);
    *sum = _mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_zextps256_ps512(_mm512_cvtpd_ps(total)));
    return _mm512_max_ps(greatest[0], greatest[1]);
}

TN_INLINE float greatest_of_row(bool bf16, const void *x, int64_t n)
{
    __m512 greatest = _mm512_set1_ps(-HUGE_VALF);
    for (int64_t i = 0; i < n; i += 32) {
        const two_vectors now = two_vectors_of(bf16, x, i, n - i);
        TN_UNROLL for (int k = 0; k < 2; k++)
            greatest = _mm512_mask_max_ps(greatest, now.lanes[k], now.v[k], greatest);
    }
    return _mm512_reduce_max_ps(greatest);
}

/* Where the rows are, and what the group that row_sums_next() came to amounts to. */
typedef struct row_sums {
    bool bf16;             /* else f32 */
    const char *x;         /* [.., n] */
    int64_t n, stride, at, end; /* elements and bytes of a row; the rows yet to come */
    const int64_t *target; /* [..]: rows where it is ignore are passed over; NULL: none is */
    int64_t ignore, rows, coming;
    int64_t row[SUMS_GROUP], next[SUMS_GROUP];
    float max[SUMS_GROUP], sum[SUMS_GROUP], next_max[SUMS_GROUP];
} row_sums;

static void row_sums_take(row_sums *s)
{
    const int64_t group = tn_max_i64(1, tn_min_i64(SUMS_GROUP, SUMS_SHORT / tn_max_i64(1, s->n)));
    for (s->coming = 0; s->at < s->end && s->coming < group; s->at++)
        if (!s->target || s->target[s->at] != s->ignore)
            s->next[s->coming++] = s->at;
}
static row_sums row_sums_of(bool bf16, const void *x, int64_t n, int64_t begin, int64_t end, const int64_t *target, int64_t ignore)
{
    row_sums s = {.bf16 = bf16, .x = x, .n = n, .stride = n * (bf16 ? 2 : 4), .at = begin, .end = end, .target = target, .ignore = ignore};
    row_sums_take(&s);
    for (int64_t j = 0; j < s.coming; j++)
        s.next_max[j] = bf16 ? greatest_of_row(true, s.x + s.next[j] * s.stride, n) : greatest_of_row(false, s.x + s.next[j] * s.stride, n);
    return s;
}
TN_INLINE void row_sums_step(bool bf16, row_sums *s)
{
    __m512 greatest[SUMS_GROUP] = {{0}}, sum[SUMS_GROUP] = {{0}};
    for (int64_t j = 0; j < s->rows; j++) {
        const char *x = s->x + s->row[j] * s->stride, *next = j < s->coming ? s->x + s->next[j] * s->stride : x;
        greatest[j] = exp_sum_row(bf16, x, next, s->max[j], s->n, &sum[j]);
    }
    _mm512_storeu_ps(s->next_max, tn_max_each_(greatest));
    _mm512_storeu_ps(s->sum, tn_sum_each_(sum));
}
/* Comes to the next group; false where there is none. */
static bool row_sums_next(row_sums *s)
{
    s->rows = s->coming;
    memcpy(s->row, s->next, sizeof s->row);
    memcpy(s->max, s->next_max, sizeof s->max);
    row_sums_take(s);
    s->bf16 ? row_sums_step(true, s) : row_sums_step(false, s);
    return s->rows > 0;
}

#endif
#endif
