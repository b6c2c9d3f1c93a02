/* Devices, their memory, copies, and the table of kernels. Each device has one stream, on which everything runs in the order in which it
 * was asked for; memory comes from CUDA's stream-ordered pools. */
#include "kernels/cuda/libraries.h"

#include <cstdio>
#include <mutex>

enum { DEVICES_MAX = 16 };

struct device {
    cudaStream_t stream;
    cudaMemPool_t pool;
    tn_cuda_flag *flag;
    bool made;
    int64_t in_use, peak, limit, allocations;
};
static device devices[DEVICES_MAX];
static std::mutex devices_lock;
static thread_local int current;

void *(*tn_cuda_fail)(tn_status status, const char *format, ...);
static const int *tf32;

static tn_status failed(const char *what, cudaError_t error)
{
    tn_cuda_fail(TN_ERR_DEVICE, "%s: cuda:%d: %s", what, current, cudaGetErrorString(error));
    return TN_ERR_DEVICE;
}

/* The device's stream, pool and flag, made once; the lock is held. */
static bool make(device *d, int index)
{
    if (d->made)
        return true;
    uint64_t keep_all = UINT64_MAX;
    cudaError_t error = cudaSetDevice(index);
    error = error ? error : cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking);
    error = error ? error : cudaDeviceGetDefaultMemPool(&d->pool, index);
    error = error ? error : cudaMemPoolSetAttribute(d->pool, cudaMemPoolAttrReleaseThreshold, &keep_all);
    error = error ? error : cudaHostAlloc((void **)&d->flag, sizeof *d->flag, cudaHostAllocMapped | cudaHostAllocPortable);
    if (error)
        return failed("device", error), false;
    memset(d->flag, 0, sizeof *d->flag);
    d->limit = INT64_MAX;
    return d->made = true;
}

static tn_status use(int index)
{
    static thread_local bool chosen;
    device *d = &devices[index];
    if (chosen && current == index && __atomic_load_n(&d->made, __ATOMIC_ACQUIRE))
        return TN_OK;
    std::lock_guard<std::mutex> hold(devices_lock);
    current = index;
    if (!make(d, index))
        return TN_ERR_DEVICE;
    cudaError_t error = cudaSetDevice(index);
    chosen = error == cudaSuccess;
    return error ? failed("device", error) : TN_OK;
}

cudaStream_t tn_cuda_stream() { return devices[current].stream; }
int tn_cuda_device() { return current; }
bool tn_cuda_tf32() { return __atomic_load_n(tf32, __ATOMIC_RELAXED); }
tn_cuda_flag *tn_cuda_flag_of_device() { return devices[current].flag; }
tn_status tn_cuda_status(const char *op)
{
    cudaError_t error = cudaGetLastError();
    return error ? failed(op, error) : TN_OK;
}
tn_status tn_cuda_library_failed(const char *op, const char *what)
{
    tn_cuda_fail(TN_ERR_DEVICE, "%s: cuda:%d: %s", op, current, what);
    return TN_ERR_DEVICE;
}

/* ---- memory ---------------------------------------------------------------------------------------------------------------- */

static int64_t rounded(size_t bytes) { return (int64_t)((bytes + 255) / 256 + (bytes == 0)) * 256; }

static void *alloc(int index, size_t bytes)
{
    if (use(index) != TN_OK)
        return NULL;
    device *d = &devices[index];
    const int64_t size = rounded(bytes);
    void *memory = NULL;
    cudaError_t error = cudaErrorMemoryAllocation;
    std::lock_guard<std::mutex> hold(devices_lock);
    if (size <= d->limit - d->in_use) {
        error = cudaMallocAsync(&memory, bytes ? bytes : 1, d->stream);
        if (error) { /* what the pool keeps in pieces may be whole when it is given back */
            cudaGetLastError();
            cudaStreamSynchronize(d->stream);
            cudaMemPoolTrimTo(d->pool, 0);
            error = cudaMallocAsync(&memory, bytes ? bytes : 1, d->stream);
        }
    }
    if (error) {
        cudaGetLastError();
        return tn_cuda_fail(TN_ERR_MEMORY, "out of memory on cuda:%d: %zu bytes asked for, %lld in use", index, bytes, (long long)d->in_use);
    }
    d->allocations++;
    d->in_use += size;
    d->peak = d->in_use > d->peak ? d->in_use : d->peak;
    return memory;
}

static void release(int index, void *memory, size_t bytes)
{
    device *d = &devices[index];
    std::lock_guard<std::mutex> hold(devices_lock);
    cudaFreeAsync(memory, d->stream);
    d->in_use -= rounded(bytes);
}

tn_cuda_scratch::tn_cuda_scratch(size_t size) : data(alloc(current, size)), bytes(size) {}
tn_cuda_scratch::~tn_cuda_scratch()
{
    if (data)
        release(current, data, bytes);
}

static tn_memory_stats stats(int index)
{
    device *d = &devices[index];
    uint64_t reserved = 0;
    tn_memory_stats s = {};
    if (use(index) != TN_OK)
        return s;
    cudaMemPoolGetAttribute(d->pool, cudaMemPoolAttrReservedMemCurrent, &reserved);
    std::lock_guard<std::mutex> hold(devices_lock);
    s.in_use = d->in_use;
    s.peak = d->peak;
    s.cached = (int64_t)reserved > d->in_use ? (int64_t)reserved - d->in_use : 0;
    s.limit = d->limit;
    s.allocations = d->allocations;
    return s;
}

static void set_limit(int index, int64_t bytes)
{
    if (use(index) == TN_OK)
        devices[index].limit = bytes;
}

static void trim(int index)
{
    if (use(index) != TN_OK)
        return;
    cudaStreamSynchronize(devices[index].stream);
    cudaMemPoolTrimTo(devices[index].pool, 0);
}

/* ---- waiting and copying ---------------------------------------------------------------------------------------------------- */

/* Raises what a kernel found wrong, once. */
static tn_status tell(int index)
{
    tn_cuda_flag *flag = devices[index].flag;
    const tn_cuda_flag wrong = *flag; /* which nobody writes now: the stream has been waited for */
    if (wrong.what == TN_WRONG_NONE)
        return TN_OK;
    flag->what = TN_WRONG_NONE;
    if (wrong.what == TN_WRONG_TARGET)
        tn_cuda_fail(TN_ERR_INDEX, "cross_entropy: target number %lld is %lld, but there are %lld classes (told by cuda:%d at a later call)",
                     wrong.place, wrong.value, wrong.size, index);
    else
        tn_cuda_fail(TN_ERR_INDEX, "index %lld is out of range for a dim of size %lld (told by cuda:%d at a later call)", wrong.value, wrong.size, index);
    return TN_ERR_INDEX;
}

static tn_status synchronize(int index)
{
    if (use(index) != TN_OK)
        return TN_ERR_DEVICE;
    cudaError_t error = cudaStreamSynchronize(devices[index].stream);
    return error ? failed("synchronize", error) : tell(index);
}

static tn_status copy(void *to, int to_device, const void *from, int from_device, size_t bytes)
{
    const int here = from_device == TN_ON_CPU ? to_device : from_device;
    if (use(here) != TN_OK)
        return TN_ERR_DEVICE;
    cudaStream_t stream = devices[here].stream;
    cudaError_t error;
    if (from_device == TN_ON_CPU) {
        error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream);
    } else if (to_device == TN_ON_CPU) {
        error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream);
        return error ? failed("copy", error) : synchronize(here);
    } else { /* the other device's work on the memory must be done, and none may begin before the copy is */
        if (synchronize(to_device) != TN_OK || use(here) != TN_OK)
            return TN_ERR_DEVICE;
        error = cudaMemcpyPeerAsync(to, to_device, from, from_device, bytes, stream);
        return error ? failed("copy", error) : synchronize(here);
    }
    return error ? failed("copy", error) : TN_OK;
}

tn_status tn_cuda_fetch(void *to, const void *from, size_t bytes) { return copy(to, TN_ON_CPU, from, current, bytes); }

/* ---- the table -------------------------------------------------------------------------------------------------------------- */

/* What is not written yet says so. */
#define NOT_YET(X)                                                                                                            \
    X(ctc, (tn_dtype, const tn_ctc *))                                                                                        \
    X(rnn_forward, (tn_dtype, const tn_rnn *))                                                                                \
    X(rnn_backward, (tn_dtype, const tn_rnn_grad *))                                                                          \
    X(packed_pack, (const tn_packed_matrix *, int64_t, int64_t, const float *, int64_t))                                      \
    X(packed_pack_blocks, (const tn_packed_matrix *, int64_t, int64_t, const void *))                                         \
    X(packed_unpack, (const tn_packed_matrix *, int64_t, float *))                                                            \
    X(packed_input, (tn_packed_kind, int64_t, int64_t, const float *, int64_t, void *, int, int))                             \
    X(packed_product, (const tn_packed_matrix *, int64_t, const void *, float *, int64_t, bool, int, int))                    \
    X(decode_norm, (int64_t, const float *, const float *, double, float *))                                                  \
    X(decode_gate, (int64_t, float *, const float *))                                                                         \
    X(decode_store, (tn_dtype, int64_t, int64_t, const float *, void *, int64_t, float *, int64_t))                           \
    X(decode_attention, (const tn_decode_attention *, int, int))                                                              \
    X(decode_argmax, (int64_t, const float *, int64_t *, float *))
#define MISSING(slot, parameters)                                                                                             \
    tn_status tn_cuda_##slot parameters                                                                                       \
    {                                                                                                                         \
        tn_cuda_fail(TN_ERR_UNSUPPORTED, #slot " is not on CUDA yet: bring the tensors to the CPU by tn_to");                 \
        return TN_ERR_UNSUPPORTED;                                                                                            \
    }
NOT_YET(MISSING)

static const tn_kernels kernels = {
    "cuda",
#define ENTRY(slot, parameters, names) tn_cuda_##slot,
    TN_KERNEL_LIST(ENTRY)
#undef ENTRY
};

static const char *libraries() /* called once */
{
    static char text[1000];
    if (use(current) != TN_OK)
        return "";
    snprintf(text, sizeof text, "%s; %s", tn_cublaslt_text(), tn_cudnn_text());
    return text;
}

#ifdef __CUDACC__
#define EXPORTED extern "C" __attribute__((visibility("default")))
#else
#define EXPORTED extern "C" __attribute__((visibility("default")))
#endif

EXPORTED const tn_backend *tn_cuda_backend(const tn_host *host)
{
    static tn_backend backend;
    static char name[64], why[160];
    int count = 0, runtime = 0, driver = 0;
    tn_cuda_fail = host->fail;
    tf32 = host->tf32;
    cudaError_t error = cudaGetDeviceCount(&count);
    cudaRuntimeGetVersion(&runtime);
    cudaDriverGetVersion(&driver);
    if (error) {
        cudaGetLastError();
        count = 0;
    }
#ifdef TN_CUDA_EMULATED
    snprintf(name, sizeof name, "CUDA emulated on the CPU, for tests: no GPU");
    fprintf(stderr, "%s\n", name);
#else
    snprintf(name, sizeof name, "CUDA %d.%d", runtime / 1000, runtime % 1000 / 10);
#endif
    if (!count)
        snprintf(why, sizeof why, driver ? "%s (the driver is of CUDA %d.%d, this build of %d.%d)" : "no NVIDIA driver (libcuda.so.1)",
                 error ? cudaGetErrorString(error) : "no GPU", driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    backend = {TN_BACKEND_BUILD, name, count < DEVICES_MAX ? count : DEVICES_MAX, count ? NULL : why, &kernels, use, alloc, release, copy,
               synchronize, stats, set_limit, trim, libraries};
    return &backend;
}
