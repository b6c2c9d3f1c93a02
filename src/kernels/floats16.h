/* 16-bit floats to and from f32, for the CPU and for CUDA. */
#ifndef TN_FLOATS16_H
#define TN_FLOATS16_H

#include <stdint.h>

#include <tenon/tensor.h>

/* Before a function that CUDA's kernels call too. */
#ifdef __CUDACC__
#define TN_HD __host__ __device__
#else
#define TN_HD
#endif

/* 16-bit floats: loads are exact, stores round to nearest, halves to even; NaN stays NaN. Without branches, so that loops over them
 * become vectors (and one instruction each where the processor has it). */
TN_HD static inline float tn_bits_f32(uint32_t bits)
{
    union { uint32_t u; float f; } v;
    v.u = bits;
    return v.f;
}
TN_HD static inline uint32_t tn_f32_bits(float value)
{
    union { float f; uint32_t u; } v;
    v.f = value;
    return v.u;
}
TN_HD static inline float tn_load_bf16(tn_bf16 x) { return tn_bits_f32((uint32_t)x.bits << 16); }
TN_HD static inline tn_bf16 tn_store_bf16(float x)
{
    uint32_t u = tn_f32_bits(x), rounded = (u + 0x7fffu + (u >> 16 & 1)) >> 16, nan = u >> 16 | 0x40;
    tn_bf16 y;
    y.bits = (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
    return y;
}
TN_HD static inline float tn_load_f16(tn_f16 x)
{
    uint32_t h = x.bits, sign = (h & 0x8000u) << 16, rest = (h & 0x7fffu) << 13;
    float normal = tn_bits_f32(rest + 0x38000000u), special = tn_bits_f32(rest | 0x7f800000u);
    float tiny = (float)(int32_t)(h & 0x3ffu) * 0x1p-24f;
    float value = (h & 0x7c00u) == 0x7c00u ? special : (h & 0x7c00u) ? normal : tiny;
    return tn_bits_f32(tn_f32_bits(value) | sign);
}
TN_HD static inline tn_f16 tn_store_f16(float x)
{
    uint32_t u = tn_f32_bits(x), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    uint32_t normal = (a - 0x38000000u + 0xfffu + (a >> 13 & 1)) >> 13;
    uint32_t tiny = tn_f32_bits(tn_bits_f32(a) + 0.5f) - 0x3f000000u; /* adding 0.5 leaves units of 2^-24, rounded to even */
    uint32_t special = a > 0x7f800000u ? (0x7e00u | (a >> 13 & 0x3ffu)) : 0x7c00u;
    uint32_t half = a >= 0x477ff000u ? special : a < 0x38800000u ? tiny : normal;
    tn_f16 y;
    y.bits = (uint16_t)(half | sign);
    return y;
}

#endif
