/* Vectors of the instruction set that a file is compiled for, by the compilers' vector extension: no intrinsics, so that one source
 * serves SSE2, AVX2, AVX-512 and NEON. */
#ifndef TN_CPU_VECTOR_H
#define TN_CPU_VECTOR_H

#include <stdint.h>

#if defined(__AVX512F__)
#define TN_VECTOR_BYTES 64
#elif defined(__AVX__)
#define TN_VECTOR_BYTES 32
#else
#define TN_VECTOR_BYTES 16
#endif

#if defined(__clang__)
#define TN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TN_UNROLL _Pragma("GCC unroll 32")
#endif
#define TN_INLINE static inline __attribute__((always_inline))

#endif
