/* Quantised blocks to floats: each format's block as its bytes lie. This file is built without contraction: d * q - m is two roundings. */
#include "kernels/blocks.h"

#include "core/core.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vector.h"

static uint16_t le16(const uint8_t *b) { return (uint16_t)(b[0] | b[1] << 8); }
static uint32_t le32(const uint8_t *b) { return (uint32_t)le16(b) | (uint32_t)le16(b + 2) << 16; }
static float half(const uint8_t *b) { return tn_load_f16((tn_f16){le16(b)}); }

/* A function of n blocks from one of a block. */
#define ROW(name, block_elements, block_bytes, ...)                                                                           \
    static void dequantize_##name(const uint8_t *b, int64_t n, float *y)                                                      \
    {                                                                                                                         \
        for (; n > 0; n--, b += (block_bytes), y += (block_elements))                                                         \
            __VA_ARGS__                                                                                                       \
    }

ROW(F32, 1, 4, *y = tn_bits_f32(le32(b));)
ROW(F16, 1, 2, *y = half(b);)
ROW(BF16, 1, 2, *y = tn_load_bf16((tn_bf16){le16(b)});)

/* ---- 32 elements: element i has the low nibble of byte i, element 16 + i the high one ------------------------------------------ */

ROW(Q8_0, 32, 34, {
    const float d = half(b);
    for (int i = 0; i < 32; i++)
        y[i] = (float)(int8_t)b[2 + i] * d;
})

ROW(Q4_0, 32, 18, {
    const float d = half(b);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)((b[2 + i] & 15) - 8);
        y[16 + i] = d * (float)((b[2 + i] >> 4) - 8);
    }
})

/* ---- formats of few bits, by their levels (kernels/levels.h) ---------------------------------------------------------------------- */

TN_INLINE void floats_of(tn_level_form f, const tn_levels *l, float *y)
{
    const uint8_t *table = tn_level_tables[f.table];
    for (int g = 0; g < f.block / f.group; g++) {
        const float d = l->d * (float)l->scale[g], m = f.min ? l->dmin * (float)l->min[g] : 0;
        for (int i = g * f.group; i < (g + 1) * f.group; i++) {
            const float product = d * (float)((f.table ? table[l->level[i]] : l->level[i]) - f.zero);
            y[i] = f.min ? product - m : product;
        }
    }
}

void tn_levels_floats(tn_level_form f, const tn_levels *l, float *y) { floats_of(f, l, y); }

#define DEQUANTIZE(name, low, high, block_elements, ...)                                                                      \
    static void dequantize_##name(const uint8_t *b, int64_t n, float *y)                                                      \
    {                                                                                                                         \
        for (; n > 0; n--, b += tn_quant_format_of(TN_QUANT_##name)->bytes, y += (block_elements)) {                                \
            tn_levels l;                                                                                                      \
            tn_levels_##name(b, &l);                                                                                          \
            floats_of((tn_level_form){low, high, block_elements, __VA_ARGS__}, &l, y);                                        \
        }                                                                                                                     \
    }
TN_LEVELS_LIST(DEQUANTIZE)

/* A block of 32 that is one group: element i has the low nibble of byte i, element 16 + i the high one; a fifth bit stands in a word. */
TN_INLINE void of_one(float d, float dmin, const uint8_t *q, uint32_t high, tn_levels *l)
{
    l->d = d, l->dmin = dmin;
    l->scale[0] = 1, l->min[0] = -1;
    for (int i = 0; i < 16; i++) {
        l->level[i] = (uint8_t)((q[i] & 15) | (high >> i & 1) << 4);
        l->level[16 + i] = (uint8_t)(q[i] >> 4 | (high >> (16 + i) & 1) << 4);
    }
}

void tn_levels_Q4_1(const uint8_t *b, tn_levels *l) { of_one(half(b), half(b + 2), b + 4, 0, l); }
void tn_levels_Q5_0(const uint8_t *b, tn_levels *l) { of_one(half(b), 0, b + 6, le32(b + 2), l); }
void tn_levels_Q5_1(const uint8_t *b, tn_levels *l) { of_one(half(b), half(b + 2), b + 8, le32(b + 4), l); }
void tn_levels_IQ4_NL(const uint8_t *b, tn_levels *l) { of_one(half(b), 0, b + 2, 0, l); }
/* The scale is a power of two: half of 2^(e - 127), denormal for e of 0 and 1. */
void tn_levels_MXFP4(const uint8_t *b, tn_levels *l)
{
    of_one(tn_bits_f32(*b < 2 ? 0x200000u << *b : (uint32_t)(*b - 1) << 23), 0, b + 1, 0, l);
}

/* ---- 256 elements, in groups with a scale of few bits each ---------------------------------------------------------------------- */

/* Group j of 16 of 16 elements in Q2_K, Q3_K and Q6_K: the 2 bits of byte i of a run of 32 are element i, 32 + i, 64 + i and 96 + i. */
static const uint8_t *two_bits(const uint8_t *b, int j) { return b + j / 8 * 32 + j % 2 * 16; }
static int two_shift(int j) { return j % 8 / 2 * 2; }

/* 16 bytes of scales and minima, 64 of quants, d, dmin. */
void tn_levels_Q2_K(const uint8_t *b, tn_levels *l)
{
    l->d = half(b + 80), l->dmin = half(b + 82);
    for (int j = 0; j < 16; j++) {
        const uint8_t *q = two_bits(b + 16, j);
        l->scale[j] = (int8_t)(b[j] & 15), l->min[j] = (int8_t)(b[j] >> 4);
        for (int i = 0; i < 16; i++)
            l->level[16 * j + i] = q[i] >> two_shift(j) & 3;
    }
}

/* 32 bytes of third bits (one bit in each for each 32 elements), 64 of quants, 12 of scales, d. */
void tn_levels_Q3_K(const uint8_t *b, tn_levels *l)
{
    const uint8_t *s = b + 96;
    l->d = half(b + 108);
    for (int j = 0; j < 16; j++) {
        const uint8_t *q = two_bits(b + 32, j);
        l->scale[j] = (int8_t)(((s[j % 8] >> j / 8 * 4 & 15) | (s[8 + j % 4] >> j / 4 * 2 & 3) << 4) - 32);
        for (int i = 0; i < 16; i++)
            l->level[16 * j + i] = (uint8_t)((q[i] >> two_shift(j) & 3) + (b[j % 2 * 16 + i] >> j / 2 & 1) * 4);
    }
}

/* The scale and the minimum, 6 bits each, of group j of 8 in Q4_K's and Q5_K's 12 bytes. */
static int k_scale(const uint8_t *s, int j) { return j < 4 ? s[j] & 63 : (s[4 + j] & 15) | s[j - 4] >> 6 << 4; }
static int k_min(const uint8_t *s, int j) { return j < 4 ? s[4 + j] & 63 : s[4 + j] >> 4 | s[j] >> 6 << 4; }

/* d, dmin, 12 bytes of scales, in Q5_K 32 of fifth bits (one bit in each for each group), 128 of quants: 32 bytes have two groups of 32. */
TN_INLINE void of_k(const uint8_t *b, const uint8_t *high, const uint8_t *q, tn_levels *l)
{
    l->d = half(b), l->dmin = half(b + 2);
    for (int j = 0; j < 8; j++) {
        l->scale[j] = (int8_t)k_scale(b + 4, j), l->min[j] = (int8_t)k_min(b + 4, j);
        for (int i = 0; i < 32; i++)
            l->level[32 * j + i] = (uint8_t)((q[j / 2 * 32 + i] >> j % 2 * 4 & 15) | (high ? (high[i] >> j & 1) << 4 : 0));
    }
}

void tn_levels_Q4_K(const uint8_t *b, tn_levels *l) { of_k(b, NULL, b + 16, l); }
void tn_levels_Q5_K(const uint8_t *b, tn_levels *l) { of_k(b, b + 16, b + 48, l); }

/* 128 bytes of low nibbles (64 have two halves of 64 elements), 64 of upper two bits, 16 scales, d. */
void tn_levels_Q6_K(const uint8_t *b, tn_levels *l)
{
    l->d = half(b + 208);
    for (int j = 0; j < 16; j++) {
        const uint8_t *low = b + j / 8 * 64 + j % 4 * 16, *high = two_bits(b + 128, j);
        l->scale[j] = (int8_t)b[192 + j];
        for (int i = 0; i < 16; i++)
            l->level[16 * j + i] = (uint8_t)((low[i] >> j % 8 / 4 * 4 & 15) + (high[i] >> two_shift(j) & 3) * 16);
    }
}

/* d, a word of the scales' upper two bits, 4 bytes of their nibbles, 128 of quants: 16 bytes a group of 32. */
void tn_levels_IQ4_XS(const uint8_t *b, tn_levels *l)
{
    l->d = half(b);
    for (int j = 0; j < 8; j++) {
        const uint8_t *q = b + 8 + 16 * j;
        l->scale[j] = (int8_t)(((b[4 + j / 2] >> j % 2 * 4 & 15) | (le16(b + 2) >> 2 * j & 3) << 4) - 32);
        for (int i = 0; i < 16; i++) {
            l->level[32 * j + i] = q[i] & 15;
            l->level[32 * j + 16 + i] = q[i] >> 4;
        }
    }
}

/* ---- the table ------------------------------------------------------------------------------------------------------------------ */

#define QUANTIZER_true(name) tn_quantize_##name
#define QUANTIZER_false(name) NULL
#define FORMAT(name, number, block, bytes, makes) [number] = {#name, block, bytes, dequantize_##name, QUANTIZER_##makes(name)},
#define NAMED(name, number, block, bytes) [number] = {#name, block, bytes, NULL, NULL},
static const tn_quant_format formats[] = {TN_QUANT_LIST(FORMAT) TN_QUANT_NAMED_LIST(NAMED)};

const tn_quant_format *tn_quant_format_of(tn_quant type)
{
    return (int)type >= 0 && (int)type < TN_COUNT(formats) && formats[type].name ? &formats[type] : NULL;
}
