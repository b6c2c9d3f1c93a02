/* CUDA's runtime on the CPU, as much of it as src/kernels/cuda uses: an emulation for tests, by which the same sources run where no GPU is.
 * Blocks run one after the other; the threads of a block are fibers that take turns at __syncthreads(). What it can find: wrong indices,
 * strides, sums and sizes; the CPU touching the device's memory (its pages are closed but while a kernel or a copy runs);
 * writes beyond an allocation; reads of what was never written (it is NaN). Work on a stream waits until somebody waits for it, so that what one
 * stream does without waiting for another comes too early here always. What it cannot find: races between blocks, alignment, speed. */
#ifndef CUDA_ON_CPU_H
#define CUDA_ON_CPU_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <tuple>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static

struct cuda_on_cpu_index { unsigned x; };
extern cuda_on_cpu_index blockIdx, threadIdx, blockDim, gridDim;
void __syncthreads();
int __syncthreads_or(int predicate);
/* For the libraries in cublaslt_on_cpu.cpp and cudnn_on_cpu.cpp, which find it by its name; work is a std::function<void()>. */
extern "C" void cuda_on_cpu_run(struct cuda_on_cpu_stream *stream, const void *work);
/* How many kernels were launched by now, those of replayed graphs not counted; tests find it by its name. */
extern "C" long long cuda_on_cpu_launches();
void cuda_on_cpu_launch(unsigned grid, unsigned block, struct cuda_on_cpu_stream *stream, std::function<void()> kernel);
/* The arguments become the kernel's parameters now, as in CUDA. */
template <class... P, class... A>
void cuda_on_cpu_call(unsigned grid, unsigned block, struct cuda_on_cpu_stream *stream, void (*kernel)(P...), const A &...arguments)
{
    std::tuple<P...> parameters(arguments...);
    cuda_on_cpu_launch(grid, block, stream, [kernel, parameters] { std::apply(kernel, parameters); });
}
#define TN_LAUNCH(kernel, grid, block, ...) cuda_on_cpu_call((unsigned)(grid), (unsigned)(block), tn_cuda_stream(), kernel, __VA_ARGS__)

inline int atomicCAS(int *at, int expected, int value)
{
    const int old = *at;
    *at = old == expected ? value : old;
    return old;
}
inline int __dp4a(int a, int b, int sum)
{
    for (int k = 0; k < 32; k += 8)
        sum += (int8_t)(a >> k) * (int8_t)(b >> k);
    return sum;
}
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline void sincospif(float x, float *s, float *c) { *s = (float)sin(M_PI * (double)x), *c = (float)cos(M_PI * (double)x); }
inline void sincospi(double x, double *s, double *c) { *s = sin(M_PI * x), *c = cos(M_PI * x); }

/* ---- the runtime ----------------------------------------------------------------------------------------------------------- */

enum cudaError_t { cudaSuccess, cudaErrorInvalidValue, cudaErrorMemoryAllocation, cudaErrorNotReady };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum { cudaStreamNonBlocking = 1, cudaHostAllocMapped = 2, cudaHostAllocPortable = 1 };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold, cudaMemPoolAttrReservedMemCurrent };
enum cudaStreamCaptureMode { cudaStreamCaptureModeRelaxed = 2 };
typedef struct cuda_on_cpu_stream *cudaStream_t;
typedef struct cuda_on_cpu_event *cudaEvent_t;
typedef struct cuda_on_cpu_graph *cudaGraph_t, *cudaGraphExec_t;
typedef struct cuda_on_cpu_pool *cudaMemPool_t;

cudaError_t cudaGetDeviceCount(int *count); /* TENON_CUDA_EMULATED_DEVICES, or 1 */
cudaError_t cudaSetDevice(int device);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaDriverGetVersion(int *version);
const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode); /* refused where TENON_CUDA_EMULATED_NO_CAPTURE is set */
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned flags);
cudaError_t cudaMallocAsync(void **memory, size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void *memory, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream);
/* refused where TENON_CUDA_EMULATED_NO_PEER_COPY is set */
cudaError_t cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device, size_t bytes, cudaStream_t stream);
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void *value);
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void *value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes);

#define TN_CUDA_EMULATED 1

#endif
