/* What every file of CUDA kernels begins with: the runtime, launches, elements of any dtype, sums over a block. Compiled by nvcc; and as C++
 * by the host's compiler over tests/cuda/cuda_on_cpu.h, an emulation by which the same sources are tested where no GPU is. */
#ifndef TN_CUDA_H
#define TN_CUDA_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef __CUDACC__
#include <cuda_runtime.h>
/* kernel over grid blocks of block threads, on the device in use, after what was asked for before. */
#define TN_LAUNCH(kernel, grid, block, ...) (kernel)<<<(unsigned)(grid), (unsigned)(block), 0, tn_cuda_stream()>>>(__VA_ARGS__)
#else
#include "cuda_on_cpu.h"
#endif

#include "kernels/device.h"
#include "kernels/floats16.h"

#ifdef __CUDACC__
#define TN_PRAGMA_(text) _Pragma(#text)
#define TN_UNROLL TN_PRAGMA_(unroll)
#define TN_UNROLL_BY(n) TN_PRAGMA_(unroll n)
#else
#define TN_UNROLL
#define TN_UNROLL_BY(n)
#endif
#define TN_KERNEL static __global__ void
#define TN_DEVICE static __device__ __forceinline__

/* ---- backend.cu ------------------------------------------------------------------------------------------------------------ */

#define TN_CUDA_SLOT_(slot, parameters, names) tn_status tn_cuda_##slot parameters;
TN_KERNEL_LIST(TN_CUDA_SLOT_)
#undef TN_CUDA_SLOT_

/* The library's tn_fail(). */
extern void *(*tn_cuda_fail)(tn_status status, const char *format, ...);
cudaStream_t tn_cuda_stream();
int tn_cuda_device();
bool tn_cuda_tf32(); /* products of f32 may round their operands to TF32 */
/* Of the launches since the last call: TN_OK, or TN_ERR_DEVICE with what CUDA said. */
tn_status tn_cuda_status(const char *op);
/* Raises what a library said. */
tn_status tn_cuda_library_failed(const char *op, const char *what);
/* Memory for a kernel's own use on the device in use, given back when the object ends: what was launched by then may use it. */
struct tn_cuda_scratch {
    explicit tn_cuda_scratch(size_t bytes);
    ~tn_cuda_scratch();
    tn_cuda_scratch(const tn_cuda_scratch &) = delete;
    void *data; /* NULL, with an error: no memory */
    size_t bytes;
};
/* Whether this thread captures a graph from the device in use: launches are recorded, and nothing is computed. */
bool tn_cuda_capturing();
/* During a capture: memory of the graph on the device, which each replay begins by filling from *host, where bytes are copied now. NULL: no memory. */
void *tn_cuda_cell(const void *bytes, size_t size, void **host);
/* During a capture: parts of cells that a replay gets anew from the optimisers, in the order of their items. */
void tn_cuda_replays_scalars(tn_step_scalars *const *scalars, int count);
/* What a kernel that draws has in the place of its seed, and adds to its offset, when it is replayed; NULL where nothing is captured. */
struct tn_cuda_draws {
    uint64_t seed, offset;
};
const tn_cuda_draws *tn_cuda_draws_of_replay();
/* bytes of the device brought to the CPU; waits. */
tn_status tn_cuda_fetch(void *to, const void *from, size_t bytes);

/* What a kernel found wrong, told at the next synchronisation: the first writer's. It lies in the CPU's memory, where kernels write it. */
enum tn_cuda_wrong { TN_WRONG_NONE, TN_WRONG_INDEX, TN_WRONG_TARGET };
struct tn_cuda_flag {
    int what;
    long long value, size, place;
};
tn_cuda_flag *tn_cuda_flag_of_device();
TN_DEVICE void tn_cuda_raise(tn_cuda_flag *flag, int what, int64_t value, int64_t size, int64_t place)
{
    if (atomicCAS(&flag->what, TN_WRONG_NONE, what) == TN_WRONG_NONE) {
        flag->value = value;
        flag->size = size;
        flag->place = place;
    }
}

/* ---- sizes ----------------------------------------------------------------------------------------------------------------- */

enum { TN_THREADS = 256 };
TN_HD static inline int64_t tn_blocks(int64_t n, int64_t each) { return (n + each - 1) / each; }
/* Threads of a block for so much work: a power of two, from 32. */
static inline int tn_threads(int64_t work)
{
    int threads = 32;
    while (threads < TN_THREADS && threads < work)
        threads *= 2;
    return threads;
}
/* The power of two from n on. */
static inline int64_t tn_power(int64_t n)
{
    int64_t power = 1;
    while (power < n)
        power *= 2;
    return power;
}
TN_HD static inline int64_t tn_quotient(int64_t a, int64_t b) /* a division of 32 bits is several times faster */
{
    return a <= INT32_MAX && b <= INT32_MAX ? (int64_t)((uint32_t)a / (uint32_t)b) : a / b;
}
/* A grid of threads of which each does one of n things. */
#define TN_LAUNCH_EACH(kernel, n, ...) TN_LAUNCH(kernel, tn_blocks((n), tn_threads(n)), tn_threads(n), __VA_ARGS__)
TN_DEVICE int64_t tn_this_thread() { return (int64_t)blockIdx.x * blockDim.x + threadIdx.x; }

/* ---- elements -------------------------------------------------------------------------------------------------------------- */

/* What an element of S is computed in: float for the 16-bit floats, int32_t for what is smaller. */
template <class S> struct tn_work { typedef int32_t T; };
template <> struct tn_work<float> { typedef float T; };
template <> struct tn_work<double> { typedef double T; };
template <> struct tn_work<tn_f16> { typedef float T; };
template <> struct tn_work<tn_bf16> { typedef float T; };
template <> struct tn_work<int64_t> { typedef int64_t T; };
/* T, and for integers its unsigned twin, in which arithmetic wraps. */
template <class T> struct tn_wrapping { typedef T U; };
template <> struct tn_wrapping<int32_t> { typedef uint32_t U; };
template <> struct tn_wrapping<int64_t> { typedef uint64_t U; };

template <class S> TN_DEVICE typename tn_work<S>::T tn_load(S x) { return (typename tn_work<S>::T)x; }
template <> __device__ __forceinline__ float tn_load<tn_f16>(tn_f16 x) { return tn_load_f16(x); }
template <> __device__ __forceinline__ float tn_load<tn_bf16>(tn_bf16 x) { return tn_load_bf16(x); }
template <class S, class T> TN_DEVICE S tn_store(T x)
{
    if constexpr (std::is_same<S, tn_f16>::value)
        return tn_store_f16((float)x);
    else if constexpr (std::is_same<S, tn_bf16>::value)
        return tn_store_bf16((float)x);
    else if constexpr (std::is_same<S, bool>::value)
        return x != 0;
    else
        return (S)x;
}
template <class S> TN_DEVICE S tn_from_bits(uint64_t bits)
{
    S x = {};
    memcpy(&x, &bits, sizeof x < sizeof bits ? sizeof x : sizeof bits);
    return x;
}

/* Statements with S the type of the dtype's elements. */
#define TN_FOR_FLOAT_(DTYPE, type, ...)                                                                                       \
    case DTYPE: {                                                                                                             \
        typedef type S;                                                                                                       \
        __VA_ARGS__;                                                                                                          \
    } break;
#define TN_FOR_FLOAT(dtype, ...)                                                                                              \
    switch (dtype) {                                                                                                          \
        TN_FOR_FLOAT_(TN_F64, double, __VA_ARGS__)                                                                            \
        TN_FOR_FLOAT_(TN_F16, tn_f16, __VA_ARGS__)                                                                            \
        TN_FOR_FLOAT_(TN_BF16, tn_bf16, __VA_ARGS__)                                                                          \
    default: {                                                                                                                \
        typedef float S;                                                                                                      \
        __VA_ARGS__;                                                                                                          \
    }                                                                                                                         \
    }
#define TN_FOR_DTYPE(dtype, ...)                                                                                              \
    switch (dtype) {                                                                                                          \
        TN_FOR_FLOAT_(TN_F32, float, __VA_ARGS__)                                                                             \
        TN_FOR_FLOAT_(TN_F64, double, __VA_ARGS__)                                                                            \
        TN_FOR_FLOAT_(TN_F16, tn_f16, __VA_ARGS__)                                                                            \
        TN_FOR_FLOAT_(TN_BF16, tn_bf16, __VA_ARGS__)                                                                          \
        TN_FOR_FLOAT_(TN_I64, int64_t, __VA_ARGS__)                                                                           \
        TN_FOR_FLOAT_(TN_I32, int32_t, __VA_ARGS__)                                                                           \
        TN_FOR_FLOAT_(TN_I16, int16_t, __VA_ARGS__)                                                                           \
        TN_FOR_FLOAT_(TN_I8, int8_t, __VA_ARGS__)                                                                             \
        TN_FOR_FLOAT_(TN_U8, uint8_t, __VA_ARGS__)                                                                            \
    default: {                                                                                                                \
        typedef bool S;                                                                                                       \
        __VA_ARGS__;                                                                                                          \
    }                                                                                                                         \
    }
/* The same by an element's size, whatever it is. */
#define TN_FOR_SIZE(size, ...)                                                                                                \
    switch (size) {                                                                                                           \
        TN_FOR_FLOAT_(1, uint8_t, __VA_ARGS__)                                                                                \
        TN_FOR_FLOAT_(2, uint16_t, __VA_ARGS__)                                                                               \
        TN_FOR_FLOAT_(4, uint32_t, __VA_ARGS__)                                                                               \
    default: {                                                                                                                \
        typedef uint64_t S;                                                                                                   \
        __VA_ARGS__;                                                                                                          \
    }                                                                                                                         \
    }
static inline size_t tn_cuda_size(tn_dtype dtype)
{
#define TN_SIZE_OF_(name, type, text) sizeof(type),
    static const uint8_t sizes[] = {TN_DTYPE_LIST(TN_SIZE_OF_)};
#undef TN_SIZE_OF_
    return sizes[dtype];
}

/* ---- loops ----------------------------------------------------------------------------------------------------------------- */

/* A tn_loop as kernels take it: by value, and with the values of operands that are one element in the CPU's memory. */
struct tn_cuda_loop {
    int ndim, on_cpu;
    int64_t n;
    int64_t sizes[TN_MAX_DIMS];
    int64_t strides[TN_LOOP_OPERANDS][TN_MAX_DIMS];
    char *data[TN_LOOP_OPERANDS];
    uint64_t value[TN_LOOP_OPERANDS];
};
/* sizes: bytes of each operand's element. */
static inline tn_cuda_loop tn_cuda_loop_of(const tn_loop *from, const size_t *sizes)
{
    tn_cuda_loop loop;
    memset(&loop, 0, sizeof loop);
    loop.ndim = from->ndim;
    loop.on_cpu = from->on_cpu;
    loop.n = 1;
    for (int d = 0; d < from->ndim; d++)
        loop.n *= loop.sizes[d] = from->sizes[d];
    for (int k = 0; k < from->operands; k++) {
        for (int d = 0; d < from->ndim; d++)
            loop.strides[k][d] = from->strides[k][d];
        loop.data[k] = from->data[k];
        if (from->on_cpu >> k & 1)
            memcpy(&loop.value[k], from->data[k], sizes[k]);
    }
    return loop;
}

/* The loop over 16 bytes at a time, where the first operands' last dims are dense and all begin at multiples of 16. */
struct alignas(16) tn_cuda_pack { uint64_t v[2]; };
static inline bool tn_cuda_widen(tn_cuda_loop *loop, int operands, size_t element)
{
    const int last = loop->ndim - 1;
    bool wide = loop->ndim > 0 && loop->n > 0 && loop->sizes[last] * (int64_t)element % 16 == 0;
    for (int k = 0; k < operands && wide; k++) {
        wide = !(loop->on_cpu >> k & 1) && loop->strides[k][last] == (int64_t)element && (uintptr_t)loop->data[k] % 16 == 0;
        for (int d = 0; d < last; d++)
            wide = wide && loop->strides[k][d] % 16 == 0;
    }
    if (!wide)
        return false;
    const int64_t packs = loop->sizes[last] * (int64_t)element / 16;
    loop->n = loop->n / loop->sizes[last] * packs;
    loop->sizes[last] = packs;
    for (int k = 0; k < operands; k++)
        loop->strides[k][last] = 16;
    return true;
}

/* Byte offsets of element i in the first K operands. */
template <int K> TN_DEVICE void tn_places(const tn_cuda_loop &loop, int64_t i, int64_t *at)
{
    if (loop.ndim == 1) {
        TN_UNROLL
        for (int k = 0; k < K; k++)
            at[k] = i * loop.strides[k][0];
        return;
    }
    TN_UNROLL
    for (int k = 0; k < K; k++)
        at[k] = 0;
    const bool narrow = loop.n <= INT32_MAX;
    for (int d = loop.ndim - 1; d >= 0; d--) {
        int64_t rest = 0, place = i;
        if (d > 0 && narrow) { /* a division of 32 bits is several times faster */
            rest = (uint32_t)i / (uint32_t)loop.sizes[d];
            place = (uint32_t)i - (uint32_t)rest * (uint32_t)loop.sizes[d];
        } else if (d > 0) {
            rest = i / loop.sizes[d];
            place = i - rest * loop.sizes[d];
        }
        TN_UNROLL
        for (int k = 0; k < K; k++)
            at[k] += place * loop.strides[k][d];
        i = rest;
    }
}
template <class S> TN_DEVICE S tn_element(const tn_cuda_loop &loop, int k, int64_t at)
{
    return loop.on_cpu >> k & 1 ? tn_from_bits<S>(loop.value[k]) : *(const S *)(loop.data[k] + at);
}

/* ---- over a block ---------------------------------------------------------------------------------------------------------- */

/* What all threads' parts come to by merge(a, b), a before b, in the same order always; every thread gets it. P is plain data. */
template <class P, class Merge> __device__ P tn_over_block(P mine, Merge merge)
{
    __shared__ P parts[TN_THREADS];
    const int t = threadIdx.x, threads = blockDim.x;
    parts[t] = mine;
    __syncthreads();
    for (int step = 1; step < threads; step *= 2) { /* neighbours first: the order of the elements is kept */
        if ((t & (2 * step - 1)) == 0 && t + step < threads)
            parts[t] = merge(parts[t], parts[t + step]);
        __syncthreads();
    }
    const P all = parts[0];
    __syncthreads();
    return all;
}
__device__ static inline double tn_block_sum(double mine)
{
    return tn_over_block(mine, [](double a, double b) { return a + b; });
}

#endif
