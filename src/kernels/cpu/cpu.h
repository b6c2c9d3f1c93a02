/* The CPU's kernels. Every file of this folder is compiled once for each instruction set, which TN_ISA names (portable, avx2, avx512):
 * a function with external linkage is named TN_K(name), so that all of them live in one library, and table.c gathers them. */
#ifndef TN_CPU_H
#define TN_CPU_H

#include "core/parallel.h"
#include "kernels/floats16.h"
#include "kernels/kernels.h"

#ifndef TN_ISA
#define TN_ISA portable
#endif
#define TN_K3_(isa, name) tn_##isa##_##name
#define TN_K2_(isa, name) TN_K3_(isa, name)
#define TN_K(name) TN_K2_(TN_ISA, name)

#define TN_KERNEL_PROTOTYPE_(slot, parameters, names) tn_status TN_K(slot) parameters;
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

/* Multiplications that are about what another thread costs to be woken and met; and how many threads are worth having for so many. */
enum { TN_WORK_OF_A_THREAD = 1000000 };
static inline int64_t tn_workers_for(int64_t multiplications)
{
    const int64_t worth = multiplications / TN_WORK_OF_A_THREAD, width = worth > 1 ? tn_parallel_width() : 1;
    return width > 1 && worth < width ? worth : width;
}

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

#endif
