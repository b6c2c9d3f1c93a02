/* Floats to quantised blocks. Each format's scales are chosen by least squares: whole numbers q are made by several scales, for each of them
 * the best scale is known in closed form (x and q's regression), and the one that leaves the least squared error is kept. */
#include "kernels/blocks.h"

#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>

enum { STEPS = 8 }; /* scales tried: up to STEPS / 2 in either direction, an STEPS / 2-th of a quantum each */

/* ---- sums over groups of 16 or 32 ----------------------------------------------------------------------------------------------- */

/* Eight sums side by side, so that they are vectors wherever the compiler has them, and the same bits everywhere. */
static float folded(const float lane[8]) { return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7])); }

static float sum(const float *a, int n)
{
    float lane[8] = {0};
    for (int i = 0; i < n; i += 8)
        for (int l = 0; l < 8; l++)
            lane[l] += a[i + l];
    return folded(lane);
}

static float dot(const float *a, const float *b, int n)
{
    float lane[8] = {0};
    for (int i = 0; i < n; i += 8)
        for (int l = 0; l < 8; l++)
            lane[l] += a[i + l] * b[i + l];
    return folded(lane);
}

/* (x + offset) * inverse as whole numbers from low to high, halves to even. */
static void to_whole(const float *x, int n, float offset, float inverse, float low, float high, float *q)
{
    for (int i = 0; i < n; i++) {
        float v = (x[i] + offset) * inverse;
        v = v > low ? v : low;
        v = v < high ? v : high;
        q[i] = v + 0x1.8p23f - 0x1.8p23f;
    }
}

/* The squared error of x as d q - m. */
static float error_of(const float *x, const float *q, int n, float d, float m)
{
    float lane[8] = {0};
    for (int i = 0; i < n; i += 8) {
        for (int l = 0; l < 8; l++) {
            const float e = x[i + l] - (d * q[i + l] - m);
            lane[l] += e * e;
        }
    }
    return folded(lane);
}

static float reciprocal(float d) { return d != 0 ? 1 / d : 0; }
static float bounded(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

static void put16(uint8_t *b, uint16_t bits)
{
    b[0] = (uint8_t)bits;
    b[1] = (uint8_t)(bits >> 8);
}

/* The nearest f16, infinities apart, into b; returns what it stands for. */
static float put_half(uint8_t *b, float d)
{
    const tn_f16 h = tn_store_f16(bounded(d, -65504, 65504));
    put16(b, h.bits);
    return tn_load_f16(h);
}

/* The same of a scale whose multiples reach `most`, `range` of them: among f16's denormals the next one, rather than cut what is farthest from 0. */
static float put_scale(uint8_t *b, float d, float most, float range)
{
    const float h = put_half(b, d);
    return fabsf(h) * (range + 0.5f) < fabsf(most) ? put_half(b, h + copysignf(0x1p-24f, d)) : h;
}

/* ---- one number an element ------------------------------------------------------------------------------------------------------ */

void tn_quantize_F32(const float *x, int64_t n, uint8_t *b)
{
    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = tn_f32_bits(x[i]);
        for (int k = 0; k < 4; k++)
            b[4 * i + k] = (uint8_t)(bits >> 8 * k);
    }
}

void tn_quantize_F16(const float *x, int64_t n, uint8_t *b)
{
    for (int64_t i = 0; i < n; i++)
        put16(b + 2 * i, tn_store_f16(x[i]).bits);
}

void tn_quantize_BF16(const float *x, int64_t n, uint8_t *b)
{
    for (int64_t i = 0; i < n; i++)
        put16(b + 2 * i, tn_store_bf16(x[i]).bits);
}

/* ---- a scale: x is d q ---------------------------------------------------------------------------------------------------------- */

static float largest(const float *x, int n)
{
    float lane[8] = {0}, most = 0;
    for (int i = 0; i < n; i += 8)
        for (int l = 0; l < 8; l++)
            lane[l] = fabsf(x[i + l]) > lane[l] ? fabsf(x[i + l]) : lane[l];
    for (int l = 0; l < 8; l++)
        most = lane[l] > most ? lane[l] : most;
    return most;
}

/* The element that is farthest from 0, the first of several. */
static float farthest(const float *x, int n)
{
    const float most = largest(x, n);
    int i = 0;
    while (i < n - 1 && fabsf(x[i]) != most)
        i++;
    return most > 0 ? x[i] : 0;
}

/* The bytes of llama.cpp's, whose q are of the scale before it is rounded, halves away from 0. Where an f16 of that size has few bits the
 * error is that of the scale, and q are of the scale as it is stored. */
void tn_quantize_Q8_0(const float *x, int64_t n, uint8_t *b)
{
    for (; n > 0; n--, x += 32, b += 34) {
        const float most = largest(x, 32), d = most / 127;
        const float stored = put_scale(b, d, most, 127), inverse = reciprocal(d < 0x1p-14f ? stored : d);
        float q[32];
        to_whole(x, 32, 0, inverse, -127, 127, q);
        for (int i = 0; i < 32; i++) {
            const float left = x[i] * inverse - q[i]; /* .5 where a half went to an even number */
            const int up = (left == 0.5f) & (q[i] >= 0), down = (left == -0.5f) & (q[i] <= 0);
            b[2 + i] = (uint8_t)((int)q[i] + up - down);
        }
    }
}

/* The d of least error for n (up to 32) elements as d q, q from -range to range - 1. The farthest one, most, goes to about -range. */
static float best_scale(const float *x, int n, float most, float range)
{
    float best = -1, d = 0, q[32];
    if (fabsf(most) < 0x1p-26f) /* below half of the smallest f16: the block is of zeros */
        return 0;
    for (int k = -STEPS / 2; k <= STEPS / 2 + 1; k++) { /* the last turn goes on from the best scale so far */
        const float inverse = k <= STEPS / 2 ? -(range + (float)k * (2.0f / STEPS)) / most : reciprocal(d);
        to_whole(x, n, 0, inverse, -range, range - 1, q);
        const float xq = dot(x, q, n), qq = dot(q, q, n);
        if (qq > 0 && xq * xq > best * qq) {
            best = xq * xq / qq;
            d = xq / qq;
        }
    }
    return d;
}

void tn_quantize_Q4_0(const float *x, int64_t n, uint8_t *b)
{
    for (; n > 0; n--, x += 32, b += 18) {
        const float most = farthest(x, 32);
        float q[32];
        to_whole(x, 32, 0, reciprocal(put_scale(b, best_scale(x, 32, most, 8), most, 8)), -8, 7, q);
        for (int i = 0; i < 16; i++)
            b[2 + i] = (uint8_t)((int)q[i] + 8 + ((int)q[16 + i] + 8) * 16);
    }
}

void tn_quantize_Q5_0(const float *x, int64_t n, uint8_t *b)
{
    for (; n > 0; n--, x += 32, b += 22) {
        const float most = farthest(x, 32);
        float q[32];
        to_whole(x, 32, 0, reciprocal(put_scale(b, best_scale(x, 32, most, 16), most, 16)), -16, 15, q);
        memset(b + 2, 0, 4);
        for (int i = 0; i < 16; i++)
            b[6 + i] = (uint8_t)(((int)q[i] + 16) % 16 + ((int)q[16 + i] + 16) % 16 * 16);
        for (int i = 0; i < 32; i++)
            b[2 + i / 8] |= (uint8_t)(((int)q[i] + 16) / 16 << i % 8);
    }
}

/* ---- Q6_K: 16 groups of 16, x is d s q with s of 8 bits ------------------------------------------------------------------------- */

enum { ROUNDS = 2 }; /* how often a block's scale is fitted to what its groups made of the last one */

typedef struct q6_k {
    float error, s[16], q[256];
} q6_k;

/* The whole s near `wanted` of least error for 16 elements as d s q, q from -32 to 31; returns the error. */
static float best_multiple(const float *x, float d, float wanted, float *s, float *q)
{
    float best = INFINITY, tried[16];
    for (int k = -1; k <= 1; k++) {
        const float si = bounded(nearbyintf(wanted) + (float)k, -128, 127);
        to_whole(x, 16, 0, reciprocal(d * si), -32, 31, tried);
        const float error = error_of(x, tried, 16, d * si, 0);
        if (error < best) {
            best = error;
            *s = si;
            memcpy(q, tried, sizeof tried);
        }
    }
    return best;
}

static void pack_q6_k(const q6_k *block, uint8_t *b)
{
    memset(b, 0, 192);
    for (int i = 0; i < 256; i++) {
        const int level = (int)block->q[i] + 32;
        b[i / 128 * 64 + i % 64] |= (uint8_t)((level & 15) << i % 128 / 64 * 4);
        b[128 + i / 128 * 32 + i % 32] |= (uint8_t)(level >> 4 << i % 128 / 32 * 2);
    }
    for (int j = 0; j < 16; j++)
        b[192 + j] = (uint8_t)(int8_t)block->s[j];
}

void tn_quantize_Q6_K(const float *x, int64_t n, uint8_t *b)
{
    for (; n > 0; n--, x += 256, b += 210) {
        float scale[16];
        q6_k best = {.error = INFINITY}, tried;
        uint8_t half[2];
        for (int j = 0; j < 16; j++)
            scale[j] = best_scale(x + 16 * j, 16, farthest(x + 16 * j, 16), 32);
        const float most = farthest(scale, 16);
        float d = put_scale(half, most / -128, most, 128);
        for (int round = 0; round <= ROUNDS; round++) {
            double xa = 0, aa = 0; /* the regression of x on s q */
            tried.error = 0;
            for (int j = 0; j < 16; j++) {
                float *q = tried.q + 16 * j, *s = &tried.s[j];
                tried.error += best_multiple(x + 16 * j, d, scale[j] * reciprocal(d), s, q);
                xa += (double)(*s * dot(x + 16 * j, q, 16));
                aa += (double)(*s * *s * dot(q, q, 16));
            }
            if (tried.error < best.error) {
                best = tried;
                memcpy(b + 208, half, 2);
            }
            d = aa > 0 ? put_half(half, (float)(xa / aa)) : d;
        }
        pack_q6_k(&best, b);
    }
}

/* ---- Q4_K: 8 groups of 32, x is d s q - dmin t with s and t of 6 bits, all not below 0 ------------------------------------------- */

typedef struct line { /* x is scale q - min */
    float scale, min;
} line;

/* The regression of n elements x on q, min not below 0; returns by how much it is better than nothing: sum of x x less that of the errors. */
static float fit(const float *x, const float *q, int n, float sum_x, line *out)
{
    const float sq = sum(q, n), qq = dot(q, q, n), xq = dot(x, q, n), det = (float)n * qq - sq * sq;
    out->scale = det > 0 ? ((float)n * xq - sum_x * sq) / det : 0;
    out->min = det > 0 ? (sq * xq - qq * sum_x) / det : -sum_x / (float)n;
    if (out->min < 0 || out->scale < 0)
        *out = out->min < 0 ? (line){qq > 0 && xq > 0 ? xq / qq : 0, 0} : (line){0, sum_x < 0 ? -sum_x / (float)n : 0};
    return out->scale * xq - out->min * sum_x;
}

/* The line of least error for 32 elements, q from 0 to 15. */
static line best_line(const float *x)
{
    const float sum_x = sum(x, 32);
    float low = 0, high = x[0], q[32], best = -1;
    line kept = {0};
    for (int i = 0; i < 32; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    kept.min = -low;
    if (high - low < 0x1p-26f) /* all the same, to what an f16 can tell */
        return kept;
    for (int k = -STEPS / 2; k <= STEPS / 2 + 2; k++) { /* the last two turns go on from the best line so far */
        line tried;
        if (k <= STEPS / 2)
            to_whole(x, 32, -low, (15 + (float)k * (2.0f / STEPS)) / (high - low), 0, 15, q);
        else
            to_whole(x, 32, kept.min, reciprocal(kept.scale), 0, 15, q);
        const float gain = fit(x, q, 32, sum_x, &tried);
        if (gain > best) {
            best = gain;
            kept = tried;
        }
    }
    return kept;
}

typedef struct q4_k {
    float error, s[8], t[8], q[256];
} q4_k;

/* The whole s and t near the line's of least error for 32 elements as d s q - dmin t; returns the error. */
static float best_pair(const float *x, line wanted, float d, float dmin, float *s, float *t, float *q)
{
    const float s0 = nearbyintf(wanted.scale * reciprocal(d)), t0 = nearbyintf(wanted.min * reciprocal(dmin));
    float best = INFINITY, tried[32];
    for (int k = 0; k < 9; k++) {
        const float si = bounded(s0 + (float)(k / 3 - 1), 0, 63), ti = bounded(t0 + (float)(k % 3 - 1), 0, 63);
        to_whole(x, 32, dmin * ti, reciprocal(d * si), 0, 15, tried);
        const float error = error_of(x, tried, 32, d * si, dmin * ti);
        if (error < best) {
            best = error;
            *s = si;
            *t = ti;
            memcpy(q, tried, sizeof tried);
        }
    }
    return best;
}

/* d and dmin by the regression of 256 elements on a = s q and -t; they stay where there is none. */
static void fit_block(const float *x, const q4_k *block, float *d, float *dmin)
{
    const float *q = block->q, *s = block->s, *t = block->t;
    double aa = 0, at = 0, tt = 0, xa = 0, xt = 0;
    for (int j = 0; j < 8; j++) {
        const float *xj = x + 32 * j, *qj = q + 32 * j;
        aa += (double)(s[j] * s[j] * dot(qj, qj, 32));
        at += (double)(s[j] * t[j] * sum(qj, 32));
        tt += (double)(t[j] * t[j] * 32);
        xa += (double)(s[j] * dot(xj, qj, 32));
        xt += (double)(t[j] * sum(xj, 32));
    }
    const double det = aa * tt - at * at;
    if (det > 1e-9 * aa * tt && tt * xa > at * xt && at * xa > aa * xt) {
        *d = (float)((tt * xa - at * xt) / det);
        *dmin = (float)((at * xa - aa * xt) / det);
    } else if (tt == 0 && aa > 0) {
        *d = (float)(xa / aa);
    }
}

static void pack_q4_k(const q4_k *block, uint8_t *b)
{
    for (int j = 0; j < 4; j++) {
        const int s1 = (int)block->s[j], s2 = (int)block->s[4 + j], t1 = (int)block->t[j], t2 = (int)block->t[4 + j];
        b[4 + j] = (uint8_t)(s1 | s2 >> 4 << 6);
        b[8 + j] = (uint8_t)(t1 | t2 >> 4 << 6);
        b[12 + j] = (uint8_t)((s2 & 15) | (t2 & 15) << 4);
    }
    for (int i = 0; i < 128; i++)
        b[16 + i] = (uint8_t)((int)block->q[i / 32 * 64 + i % 32] | (int)block->q[i / 32 * 64 + 32 + i % 32] << 4);
}

void tn_quantize_Q4_K(const float *x, int64_t n, uint8_t *b)
{
    for (; n > 0; n--, x += 256, b += 144) {
        line lines[8];
        q4_k best = {.error = INFINITY}, tried;
        uint8_t halves[4];
        float scale = 0, min = 0;
        for (int j = 0; j < 8; j++) {
            lines[j] = best_line(x + 32 * j);
            scale = lines[j].scale > scale ? lines[j].scale : scale;
            min = lines[j].min > min ? lines[j].min : min;
        }
        float d = put_scale(halves, scale / 63, scale, 63), dmin = put_scale(halves + 2, min / 63, min, 63);
        for (int round = 0; round <= ROUNDS; round++) {
            tried.error = 0;
            for (int j = 0; j < 8; j++)
                tried.error += best_pair(x + 32 * j, lines[j], d, dmin, &tried.s[j], &tried.t[j], tried.q + 32 * j);
            if (tried.error < best.error) {
                best = tried;
                memcpy(b, halves, 4);
            }
            fit_block(x, &tried, &d, &dmin);
            d = put_half(halves, d);
            dmin = put_half(halves + 2, dmin);
        }
        pack_q4_k(&best, b);
    }
}
