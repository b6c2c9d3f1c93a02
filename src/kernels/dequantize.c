/* Quantised blocks to floats: each format's block as its bytes lie. This file is built without contraction: d * q - m is two roundings. */
#include "kernels/blocks.h"

#include "core/core.h"
#include "kernels/cpu/cpu.h"

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

ROW(Q4_1, 32, 20, {
    const float d = half(b), m = half(b + 2);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)(b[4 + i] & 15) + m;
        y[16 + i] = d * (float)(b[4 + i] >> 4) + m;
    }
})

/* The fifth bits of all elements stand in a word before the nibbles. */
ROW(Q5_0, 32, 22, {
    const float d = half(b);
    const uint32_t high = le32(b + 2);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)((int)(b[6 + i] & 15) + (int)((high >> i & 1) << 4) - 16);
        y[16 + i] = d * (float)((int)(b[6 + i] >> 4) + (int)((high >> (16 + i) & 1) << 4) - 16);
    }
})

ROW(Q5_1, 32, 24, {
    const float d = half(b), m = half(b + 2);
    const uint32_t high = le32(b + 4);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)((int)(b[8 + i] & 15) + (int)((high >> i & 1) << 4)) + m;
        y[16 + i] = d * (float)((int)(b[8 + i] >> 4) + (int)((high >> (16 + i) & 1) << 4)) + m;
    }
})

/* IQ4_NL's sixteen levels, closer together near 0. */
static const int8_t levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/* The numbers of four bits of MXFP4 (e2m1), doubled. */
static const int8_t e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static void of_table(const int8_t table[16], float d, const uint8_t *q, float *y)
{
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)table[q[i] & 15];
        y[16 + i] = d * (float)table[q[i] >> 4];
    }
}

ROW(IQ4_NL, 32, 18, of_table(levels, half(b), b + 2, y);)

/* The scale is a power of two: half of 2^(e - 127), denormal for e of 0 and 1. */
ROW(MXFP4, 32, 17, of_table(e2m1, tn_bits_f32(*b < 2 ? 0x200000u << *b : (uint32_t)(*b - 1) << 23), b + 1, y);)

/* ---- 256 elements, in groups with a scale of few bits each ---------------------------------------------------------------------- */

/* Group j of 16 of 16 elements in Q2_K, Q3_K and Q6_K: the 2 bits of byte i of a run of 32 are element i, 32 + i, 64 + i and 96 + i. */
static const uint8_t *two_bits(const uint8_t *b, int j) { return b + j / 8 * 32 + j % 2 * 16; }
static int two_shift(int j) { return j % 8 / 2 * 2; }

/* 16 bytes of scales and minima, 64 of quants, d, dmin. */
ROW(Q2_K, 256, 84, {
    for (int j = 0; j < 16; j++) {
        const float d = half(b + 80) * (float)(b[j] & 15), m = half(b + 82) * (float)(b[j] >> 4);
        const uint8_t *q = two_bits(b + 16, j);
        for (int i = 0; i < 16; i++)
            y[16 * j + i] = d * (float)(q[i] >> two_shift(j) & 3) - m;
    }
})

/* 32 bytes of third bits (one bit in each for each 32 elements), 64 of quants, 12 of scales, d. */
ROW(Q3_K, 256, 110, {
    const uint8_t *s = b + 96;
    for (int j = 0; j < 16; j++) {
        const int scale = (s[j % 8] >> j / 8 * 4 & 15) | (s[8 + j % 4] >> j / 4 * 2 & 3) << 4;
        const float d = half(b + 108) * (float)(scale - 32);
        const uint8_t *q = two_bits(b + 32, j);
        for (int i = 0; i < 16; i++)
            y[16 * j + i] = d * (float)((q[i] >> two_shift(j) & 3) + (b[j % 2 * 16 + i] >> j / 2 & 1) * 4 - 4);
    }
})

/* The scale and the minimum, 6 bits each, of group j of 8 in Q4_K's and Q5_K's 12 bytes. */
static int k_scale(const uint8_t *s, int j) { return j < 4 ? s[j] & 63 : (s[4 + j] & 15) | s[j - 4] >> 6 << 4; }
static int k_min(const uint8_t *s, int j) { return j < 4 ? s[4 + j] & 63 : s[4 + j] >> 4 | s[j] >> 6 << 4; }

/* d, dmin, 12 bytes of scales, 128 of quants: 32 bytes have two groups of 32. */
ROW(Q4_K, 256, 144, {
    for (int j = 0; j < 8; j++) {
        const float d = half(b) * (float)k_scale(b + 4, j), m = half(b + 2) * (float)k_min(b + 4, j);
        for (int i = 0; i < 32; i++)
            y[j * 32 + i] = d * (float)(b[16 + j / 2 * 32 + i] >> j % 2 * 4 & 15) - m;
    }
})

/* The same with 32 bytes of fifth bits before the quants: one bit in each for each group. */
ROW(Q5_K, 256, 176, {
    for (int j = 0; j < 8; j++) {
        const float d = half(b) * (float)k_scale(b + 4, j), m = half(b + 2) * (float)k_min(b + 4, j);
        for (int i = 0; i < 32; i++)
            y[j * 32 + i] = d * (float)((b[48 + j / 2 * 32 + i] >> j % 2 * 4 & 15) | (b[16 + i] >> j & 1) << 4) - m;
    }
})

/* 128 bytes of low nibbles (64 have two halves of 64 elements), 64 of upper two bits, 16 scales, d. */
ROW(Q6_K, 256, 210, {
    for (int j = 0; j < 16; j++) {
        const float d = half(b + 208) * (float)(int8_t)b[192 + j];
        const uint8_t *low = b + j / 8 * 64 + j % 4 * 16, *high = two_bits(b + 128, j);
        for (int i = 0; i < 16; i++)
            y[16 * j + i] = d * (float)((low[i] >> j % 8 / 4 * 4 & 15) + (high[i] >> two_shift(j) & 3) * 16 - 32);
    }
})

/* d, a word of the scales' upper two bits, 4 bytes of their nibbles, 128 of quants: 16 bytes a group of 32. */
ROW(IQ4_XS, 256, 136, {
    for (int j = 0; j < 8; j++) {
        const int scale = (b[4 + j / 2] >> j % 2 * 4 & 15) | (le16(b + 2) >> 2 * j & 3) << 4;
        of_table(levels, half(b) * (float)(scale - 32), b + 8 + 16 * j, y + 32 * j);
    }
})

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
