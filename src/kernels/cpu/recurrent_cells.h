/* Vectors of floats for recurrent_small.c, and the gates' functions of them. */
#ifndef TN_RECURRENT_CELLS_H
#define TN_RECURRENT_CELLS_H

#include <string.h>

#include "kernels/cpu/math.h"
#include "kernels/cpu/past.h"
#include "kernels/cpu/vector.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

typedef float vec __attribute__((vector_size(TN_VECTOR_BYTES)));
typedef int32_t vec_i32 __attribute__((vector_size(TN_VECTOR_BYTES)));
typedef float vec_anywhere __attribute__((vector_size(TN_VECTOR_BYTES), aligned(4), may_alias)); /* loaded and stored */
enum { LANES = TN_VECTOR_BYTES / 4 };
#define AT(p) (*(vec_anywhere *)(p))
#define AT_CONST(p) (*(const vec_anywhere *)(p))

/* The first n lanes, none where n is below 1; the others are 0, or are not written. */
TN_INLINE vec load_part(const float *p, int64_t n)
{
    if (n >= LANES)
        return AT_CONST(p);
    vec v = {0};
    if (n > 0)
        memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}
TN_INLINE void store_part(float *p, vec v, int64_t n)
{
    if (n >= LANES)
        AT(p) = v;
    else if (n > 0)
        memcpy(p, &v, (size_t)n * sizeof *p);
}

/* Of a NaN in x they give it. */
#if defined(__AVX512F__)
TN_INLINE vec at_least(float least, vec x) { return (vec)_mm512_max_ps(_mm512_set1_ps(least), (__m512)x); }
TN_INLINE vec at_most(float most, vec x) { return (vec)_mm512_min_ps(_mm512_set1_ps(most), (__m512)x); }
#elif defined(__AVX__)
TN_INLINE vec at_least(float least, vec x) { return (vec)_mm256_max_ps(_mm256_set1_ps(least), (__m256)x); }
TN_INLINE vec at_most(float most, vec x) { return (vec)_mm256_min_ps(_mm256_set1_ps(most), (__m256)x); }
#elif defined(__SSE2__)
TN_INLINE vec at_least(float least, vec x) { return (vec)_mm_max_ps(_mm_set1_ps(least), (__m128)x); }
TN_INLINE vec at_most(float most, vec x) { return (vec)_mm_min_ps(_mm_set1_ps(most), (__m128)x); }
#else
TN_INLINE vec at_least(float least, vec x)
{
    const vec limit = (vec){0} + least;
    const vec_i32 below = x < limit;
    return (vec)(((vec_i32)limit & below) | ((vec_i32)x & ~below));
}
TN_INLINE vec at_most(float most, vec x) { return -at_least(-most, -x); }
#endif

/* Past the caches; p lies at a whole vector. tn_fence_past() comes before another thread reads it. */
#if defined(__AVX512F__)
TN_INLINE void store_past(float *p, vec v) { _mm512_stream_ps(p, (__m512)v); }
#elif defined(__AVX__)
TN_INLINE void store_past(float *p, vec v) { _mm256_stream_ps(p, (__m256)v); }
#elif defined(__SSE2__)
TN_INLINE void store_past(float *p, vec v) { _mm_stream_ps(p, (__m128)v); }
#else
TN_INLINE void store_past(float *p, vec v) { AT(p) = v; }
#endif

/* Sequences whose sums stay in registers. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define ROWS 6
#elif defined(__AVX__)
#define ROWS 4
#else
#define ROWS 3
#endif
/* The same of sums of so many vectors each: with 16 registers there must be some left for what is multiplied. */
#define ROWS_OF(wide) (ROWS == 4 && (wide) == 4 ? 3 : ROWS)
/* Whether a step's formulas come after the products of all its sequences: with 16 registers those of one block were a chain for whose end the next
 * block's products waited. */
enum { APART = ROWS == 4 };

/* The gates' functions take one vector of each of some rows, and every step of a formula for all rows before the next: of one row after another so
 * few chains of multiplications fit into the processor's window that it waits for them. */
#define EACH(i, rows)                                                                                                         \
    TN_UNROLL                                                                                                                 \
    for (int i = 0; i < (rows); i++)

/* s = 2^n and q = exp(r) - 1, where n ln 2 + r = x, |r| <= ln 2 / 2 and |n| <= 126: exp(x) = s + s q. */
TN_INLINE void split_exps(int rows, const vec *x, vec *s, vec *q)
{
    vec t[ROWS], r[ROWS], p[ROWS];
    EACH(i, rows) t[i] = x[i] * 1.44269504f + TN_ROUNDER_;
    EACH(i, rows) r[i] = x[i] - (t[i] - TN_ROUNDER_) * TN_LN2_HI_;
    EACH(i, rows) r[i] = r[i] - (t[i] - TN_ROUNDER_) * TN_LN2_LO_;
    EACH(i, rows) p[i] = r[i] * 1.38825073e-3f + 8.36659595e-3f;
    EACH(i, rows) p[i] = p[i] * r[i] + 4.16672006e-2f;
    EACH(i, rows) p[i] = p[i] * r[i] + 1.66665435e-1f;
    EACH(i, rows) p[i] = p[i] * r[i] + 4.99999970e-1f;
    EACH(i, rows) q[i] = p[i] * (r[i] * r[i]) + r[i];
    EACH(i, rows) s[i] = (vec)(((vec_i32)t[i] << 23) + (127 << 23)); /* the rounder leaves n in t's low bits */
}

/* Of either at most 4 units in the last place off for |x| <= 87 (tests/test_recurrent.c measures it); below, sigmoid is sigmoid(-87), 1.6e-38. A
 * division is faster than an estimate and a step of Newton's: the multiplications around it wait for nothing. */
TN_INLINE void sigmoids(int rows, vec *x)
{
    vec s[ROWS], q[ROWS];
    EACH(i, rows) x[i] = -at_most(87.0f, at_least(-87.0f, x[i]));
    split_exps(rows, x, s, q);
    EACH(i, rows) x[i] = 1.0f / (s[i] * q[i] + (s[i] + 1.0f));
}
TN_INLINE void hyperbolic_tangents(int rows, vec *x)
{
    vec s[ROWS], q[ROWS], e[ROWS]; /* exp(2x) - 1 */
    EACH(i, rows) x[i] = at_most(10.0f, at_least(-10.0f, x[i]));
    EACH(i, rows) x[i] = x[i] + x[i];
    split_exps(rows, x, s, q);
    EACH(i, rows) e[i] = s[i] * q[i] + (s[i] - 1.0f);
    EACH(i, rows) x[i] = e[i] / (e[i] + 2.0f);
}

#endif
