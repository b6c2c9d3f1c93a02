/* CUDA's runtime on the CPU, as much of it as src/kernels/cuda uses: an emulation for tests, by which the same sources run where no GPU is.
 * Blocks run one after the other; the threads of a block are fibers that take turns at __syncthreads(). What it can find: wrong indices,
 * strides, sums and sizes; the CPU touching the device's memory (its pages are closed but while a kernel or a copy runs);
 * writes beyond an allocation; reads of what was never written (it is NaN). What it cannot: races between blocks, alignment, speed. */
#ifndef CUDA_ON_CPU_H
#define CUDA_ON_CPU_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static

struct cuda_on_cpu_index { unsigned x; };
extern cuda_on_cpu_index blockIdx, threadIdx, blockDim, gridDim;
void __syncthreads();
void cuda_on_cpu_launch(unsigned grid, unsigned block, const std::function<void()> &kernel);
/* For the libraries in cublaslt_on_cpu.cpp and cudnn_on_cpu.cpp, which find it by its name: a kernel of one thread. */
extern "C" void cuda_on_cpu_run(void (*work)(void *), void *context);
#define TN_LAUNCH(kernel, grid, block, ...)                                                                                   \
    cuda_on_cpu_launch((unsigned)(grid), (unsigned)(block), [&] {                                                             \
        auto kernel_ = (kernel);                                                                                              \
        kernel_(__VA_ARGS__);                                                                                                 \
    })

inline int atomicCAS(int *at, int expected, int value)
{
    const int old = *at;
    *at = old == expected ? value : old;
    return old;
}
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline void sincospif(float x, float *s, float *c) { *s = (float)sin(M_PI * (double)x), *c = (float)cos(M_PI * (double)x); }
inline void sincospi(double x, double *s, double *c) { *s = sin(M_PI * x), *c = cos(M_PI * x); }

/* ---- the runtime ----------------------------------------------------------------------------------------------------------- */

enum cudaError_t { cudaSuccess, cudaErrorInvalidValue, cudaErrorMemoryAllocation };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum { cudaStreamNonBlocking = 1, cudaHostAllocMapped = 2, cudaHostAllocPortable = 1 };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold, cudaMemPoolAttrReservedMemCurrent };
typedef struct cuda_on_cpu_stream *cudaStream_t;
typedef struct cuda_on_cpu_pool *cudaMemPool_t;

cudaError_t cudaGetDeviceCount(int *count); /* TENON_CUDA_EMULATED_DEVICES, or 1 */
cudaError_t cudaSetDevice(int device);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaDriverGetVersion(int *version);
const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned flags);
cudaError_t cudaMallocAsync(void **memory, size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void *memory, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device, size_t bytes, cudaStream_t stream);
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void *value);
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void *value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes);

#define TN_CUDA_EMULATED 1

#endif
