/* The CPU's kernels. Every file of this folder is compiled once for each instruction set, which TN_ISA names (portable, avx2, avx512):
 * a function with external linkage is named TN_K(name), so that all of them live in one library, and table.c gathers them. */
#ifndef TN_CPU_H
#define TN_CPU_H

#include "core/parallel.h"
#include "kernels/kernels.h"

#ifndef TN_ISA
#define TN_ISA portable
#endif
#define TN_K3_(isa, name) tn_##isa##_##name
#define TN_K2_(isa, name) TN_K3_(isa, name)
#define TN_K(name) TN_K2_(TN_ISA, name)

#define TN_KERNEL_PROTOTYPE_(slot, parameters) tn_status TN_K(slot) parameters;
TN_KERNEL_LIST(TN_KERNEL_PROTOTYPE_)
#undef TN_KERNEL_PROTOTYPE_

extern const tn_kernels TN_K(kernels);

/* Lays b of a product (f32, f64; its n, k, b and b's strides are read) out for tn_gemm's `packed`; so many bytes. */
size_t TN_K(gemm_packed_bytes)(tn_dtype dtype, const tn_gemm *gemm);
void TN_K(gemm_pack)(tn_dtype dtype, const tn_gemm *gemm, void *packed);
/* The scratch of a product with b packed and of at most so many rows. */
size_t TN_K(gemm_scratch_bytes)(tn_dtype dtype, const tn_gemm *gemm, int64_t rows);

/* Elements below which a piece of simple work is not worth a thread. */
enum { TN_GRAIN = 32768 };

static inline int64_t tn_min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t tn_max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t tn_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Before a loop whose steps are independent, also where the result is one of the inputs. */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed" /* a loop that calls the C library stays one of scalars */
#define TN_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define TN_INDEPENDENT _Pragma("GCC ivdep")
#endif

/* 16-bit floats: loads are exact, stores round to nearest, halves to even; NaN stays NaN. Without branches, so that loops over them
 * become vectors (and one instruction each where the processor has it). */
static inline float tn_bits_f32(uint32_t bits)
{
    union { uint32_t u; float f; } v = {bits};
    return v.f;
}
static inline uint32_t tn_f32_bits(float value)
{
    union { float f; uint32_t u; } v = {value};
    return v.u;
}
static inline float tn_load_bf16(tn_bf16 x) { return tn_bits_f32((uint32_t)x.bits << 16); }
static inline tn_bf16 tn_store_bf16(float x)
{
    uint32_t u = tn_f32_bits(x), rounded = (u + 0x7fffu + (u >> 16 & 1)) >> 16, nan = u >> 16 | 0x40;
    return (tn_bf16){(uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded)};
}
static inline float tn_load_f16(tn_f16 x)
{
    uint32_t h = x.bits, sign = (h & 0x8000u) << 16, rest = (h & 0x7fffu) << 13;
    float normal = tn_bits_f32(rest + 0x38000000u), special = tn_bits_f32(rest | 0x7f800000u);
    float tiny = (float)(int32_t)(h & 0x3ffu) * 0x1p-24f;
    float value = (h & 0x7c00u) == 0x7c00u ? special : (h & 0x7c00u) ? normal : tiny;
    return tn_bits_f32(tn_f32_bits(value) | sign);
}
static inline tn_f16 tn_store_f16(float x)
{
    uint32_t u = tn_f32_bits(x), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    uint32_t normal = (a - 0x38000000u + 0xfffu + (a >> 13 & 1)) >> 13;
    uint32_t tiny = tn_f32_bits(tn_bits_f32(a) + 0.5f) - 0x3f000000u; /* adding 0.5 leaves units of 2^-24, rounded to even */
    uint32_t special = a > 0x7f800000u ? (0x7e00u | (a >> 13 & 0x3ffu)) : 0x7c00u;
    uint32_t half = a >= 0x477ff000u ? special : a < 0x38800000u ? tiny : normal;
    return (tn_f16){(uint16_t)(half | sign)};
}

#endif
