#include "cuda_on_cpu.h"

#include <chrono>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <ucontext.h>

cuda_on_cpu_index blockIdx, threadIdx, blockDim, gridDim;

[[noreturn]] static void die(const char *what)
{
    fprintf(stderr, "CUDA emulated on the CPU: %s\n", what);
    abort();
}

/* ---- memory: one range of addresses, open only while a kernel or a copy runs: by a protection key, where the machine has them; else by
 * the system, which takes its time, and which TENON_CUDA_OPEN spares ------------------------------------------------------------- */

static const size_t ARENA = (size_t)1 << 32, GUARD = 256;
static std::recursive_mutex lock;
static char *arena, *next_free;
static int opened, key;
static bool by_system;
/* Freed blocks by size: those that all may have, and those that a stream may have which frees them later in its order. */
static std::multimap<size_t, char *> cache, spare; /* spare: given back to the system, their addresses may be taken again */
static std::map<char *, size_t> blocks;            /* those in use */
static size_t reserved;

typedef std::lock_guard<std::recursive_mutex> holding;
struct opening { /* the pages may be touched by this thread while it lives */
    std::lock_guard<std::recursive_mutex> hold{lock};
    opening()
    {
        if (!arena) {
            arena = (char *)mmap(nullptr, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (arena == MAP_FAILED)
                die("no range of addresses");
            next_free = arena;
            key = pkey_alloc(0, PKEY_DISABLE_ACCESS);
            if (key > 0)
                pkey_mprotect(arena, ARENA, PROT_READ | PROT_WRITE, key);
            by_system = key <= 0 && !getenv("TENON_CUDA_OPEN");
        }
        if (opened++ == 0 && key > 0)
            pkey_set(key, 0);
        else if (opened == 1 && by_system && next_free > arena)
            mprotect(arena, (size_t)(next_free - arena), PROT_READ | PROT_WRITE);
    }
    ~opening()
    {
        if (--opened == 0 && key > 0)
            pkey_set(key, PKEY_DISABLE_ACCESS);
        else if (opened == 0 && by_system && next_free > arena)
            mprotect(arena, (size_t)(next_free - arena), PROT_NONE);
    }
};

static size_t rounded(size_t bytes) { return (bytes + 4095 + GUARD) / 4096 * 4096; }

/* ---- streams: work waits until somebody waits for it ----------------------------------------------------------------------- */

typedef std::function<void()> task;
struct cuda_on_cpu_graph {
    std::vector<task> tasks;
};
struct cuda_on_cpu_stream {
    std::deque<task> waiting;
    std::multimap<size_t, char *> freed; /* once what waits is done; until then the stream's own */
    cuda_on_cpu_graph *captured = nullptr;
};
struct cuda_on_cpu_event {
    uint64_t asked = 0, done = 0; /* how often it was recorded, and reached */
    cuda_on_cpu_stream *stream = nullptr;
    std::chrono::steady_clock::time_point at;
};
static std::set<cuda_on_cpu_stream *> streams;

static void put(cudaStream_t stream, task t)
{
    if (stream->captured)
        stream->captured->tasks.push_back(std::move(t));
    else
        stream->waiting.push_back(std::move(t));
}

static void run_one(cudaStream_t stream)
{
    task t = std::move(stream->waiting.front());
    stream->waiting.pop_front();
    t();
}

static void run_all(cudaStream_t stream)
{
    if (!stream->waiting.empty()) {
        opening open;
        while (!stream->waiting.empty())
            run_one(stream);
    }
    cache.insert(stream->freed.begin(), stream->freed.end());
    stream->freed.clear();
}

static void reach(cudaEvent_t event, uint64_t time)
{
    if (event->done >= time)
        return;
    opening open;
    while (event->done < time) {
        if (event->stream->waiting.empty())
            die("two streams wait for each other");
        run_one(event->stream);
    }
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    holding hold(lock);
    streams.insert(*stream = new cuda_on_cpu_stream);
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    holding hold(lock);
    run_all(stream);
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    holding hold(lock);
    if (stream->captured)
        die("a stream is waited for while it is captured");
    run_all(stream);
    return cudaSuccess;
}
static cudaError_t last_error; /* which cudaGetLastError() tells once more */
cudaError_t cudaStreamQuery(cudaStream_t stream) { return stream->waiting.empty() ? cudaSuccess : last_error = cudaErrorNotReady; }
cudaError_t cudaDeviceSynchronize()
{
    holding hold(lock);
    for (cudaStream_t stream : streams)
        run_all(stream);
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *event) { return *event = new cuda_on_cpu_event, cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    holding hold(lock);
    reach(event, event->asked);
    delete event;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    holding hold(lock);
    reach(event, event->asked);
    const uint64_t time = ++event->asked;
    event->stream = stream;
    put(stream, [=] {
        event->done = time;
        event->at = std::chrono::steady_clock::now();
    });
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    holding hold(lock);
    const uint64_t time = event->asked;
    put(stream, [=] { reach(event, time); });
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    holding hold(lock);
    reach(event, event->asked);
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) { return event->done == event->asked ? cudaSuccess : last_error = cudaErrorNotReady; }
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    if (!start->done || !end->done)
        return cudaErrorNotReady;
    *milliseconds = std::chrono::duration<float, std::milli>(end->at - start->at).count();
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    if (getenv("TENON_CUDA_EMULATED_NO_CAPTURE"))
        return last_error = cudaErrorInvalidValue;
    return stream->captured = new cuda_on_cpu_graph, cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    *graph = stream->captured;
    stream->captured = nullptr;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) { return *exec = new cuda_on_cpu_graph(*graph), cudaSuccess; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    holding hold(lock);
    for (const task &t : exec->tasks)
        put(stream, t);
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return delete exec, cudaSuccess; }

/* ---- memory and copies in a stream's order ---------------------------------------------------------------------------------- */

static char *taken(std::multimap<size_t, char *> &from, size_t size)
{
    auto found = from.find(size);
    if (found == from.end())
        return nullptr;
    char *block = found->second;
    from.erase(found);
    return block;
}

cudaError_t cudaMallocAsync(void **memory, size_t bytes, cudaStream_t stream)
{
    holding hold(lock);
    if (!arena)
        opening first;
    if (stream->captured)
        die("memory is asked for while the stream is captured");
    const size_t size = rounded(bytes);
    char *block = taken(stream->freed, size);
    block = block ? block : taken(cache, size);
    if (!block) {
        block = taken(spare, size);
        if (!block && size > (size_t)(arena + ARENA - next_free))
            return cudaErrorMemoryAllocation;
        if (!block) {
            block = next_free;
            next_free += size;
        }
        reserved += size;
    }
    put(stream, [=] { memset(block, 0xff, size); }); /* what is read unwritten is NaN, or -1 */
    blocks[block] = bytes;
    *memory = block;
    return cudaSuccess;
}

cudaError_t cudaFreeAsync(void *memory, cudaStream_t stream)
{
    holding hold(lock);
    if (stream->captured)
        die("memory is freed while the stream is captured");
    auto found = blocks.find((char *)memory);
    if (found == blocks.end())
        die("freed, and not allocated");
    char *block = found->first;
    const size_t bytes = found->second, size = rounded(bytes);
    put(stream, [=] {
        for (size_t i = bytes; i < size; i++)
            if (block[i] != (char)0xff)
                die("a kernel wrote beyond an allocation");
        memset(block, 0xfe, bytes);
    });
    stream->freed.insert({size, block});
    blocks.erase(found);
    return cudaSuccess;
}

static bool on_device(const void *p) { return arena && (const char *)p >= arena && (const char *)p < arena + ARENA; }
static std::map<const char *, size_t> pinned;
static bool is_pinned(const void *p)
{
    auto after = pinned.upper_bound((const char *)p);
    return after != pinned.begin() && (const char *)p < (--after)->first + after->second;
}

/* From pinned memory, which is read when it is the copy's turn, and within a device; other memory of the CPU is read or written before it returns. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    holding hold(lock);
    if (on_device(to) != (kind != cudaMemcpyDeviceToHost) || on_device(from) != (kind != cudaMemcpyHostToDevice))
        die("a copy's direction is not its pointers'");
    if (kind == cudaMemcpyDeviceToHost) {
        if (stream->captured)
            die("numbers are brought to the CPU while the stream is captured");
        run_all(stream);
        opening open;
        memmove(to, from, bytes);
    } else if (kind == cudaMemcpyHostToDevice && !is_pinned(from)) {
        const std::string all((const char *)from, bytes);
        put(stream, [=] { memcpy(to, all.data(), bytes); });
    } else {
        put(stream, [=] { memmove(to, from, bytes); });
    }
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    holding hold(lock);
    if (!on_device(to))
        die("bytes are set elsewhere");
    put(stream, [=] { memset(to, value, bytes); });
    return cudaSuccess;
}
cudaError_t cudaMemcpyPeerAsync(void *to, int, const void *from, int, size_t bytes, cudaStream_t stream)
{
    if (getenv("TENON_CUDA_EMULATED_NO_PEER_COPY"))
        return last_error = cudaErrorInvalidValue;
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}
cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned)
{
    holding hold(lock);
    if (!(*memory = malloc(bytes)))
        return cudaErrorMemoryAllocation;
    pinned[(const char *)*memory] = bytes;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int)
{
    *pool = nullptr;
    return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *) { return cudaSuccess; }
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *value)
{
    *(uint64_t *)value = reserved;
    return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t)
{
    holding hold(lock);
    for (auto &block : cache)
        reserved -= block.first;
    spare.insert(cache.begin(), cache.end());
    cache.clear();
    return cudaSuccess;
}

/* ---- kernels ---------------------------------------------------------------------------------------------------------------- */

enum { THREADS_MAX = 1024, STACK = 1 << 16 };
struct fiber {
    jmp_buf at;
    bool started, done;
};
static fiber fibers[THREADS_MAX];
static jmp_buf scheduler;
static fiber *running;
static const std::function<void()> *work;

static void fiber_main()
{
    for (;;) {
        fiber *self = running;
        (*work)();
        self->done = true;
        if (!_setjmp(self->at))
            _longjmp(scheduler, 1);
    }
}

/* On until the fiber's next __syncthreads() or its end. */
static void resume(fiber *f)
{
    running = f;
    if (_setjmp(scheduler))
        return;
    if (f->started)
        _longjmp(f->at, 1);
    f->started = true;
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = malloc(STACK);
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, fiber_main, 0);
    setcontext(&context);
}

void __syncthreads()
{
    if (!_setjmp(running->at))
        _longjmp(scheduler, 1);
}

int __syncthreads_or(int predicate)
{
    static bool any;
    any = any || predicate;
    __syncthreads();
    const int all = any;
    __syncthreads();
    any = false;
    __syncthreads();
    return all;
}

static void run_block()
{
    for (unsigned t = 0; t < blockDim.x; t++)
        fibers[t].done = false;
    for (bool left = true; left;) {
        unsigned waiting = 0;
        for (unsigned t = 0; t < blockDim.x; t++) {
            if (fibers[t].done)
                continue;
            threadIdx.x = t;
            resume(&fibers[t]);
            waiting += !fibers[t].done;
        }
        if (waiting && waiting != blockDim.x)
            die("some threads of a block wait at __syncthreads() and some have ended");
        left = waiting > 0;
    }
}

static long long launches;
extern "C" __attribute__((visibility("default"))) long long cuda_on_cpu_launches() { return launches; }

void cuda_on_cpu_launch(unsigned grid, unsigned block, cudaStream_t stream, std::function<void()> kernel)
{
    holding hold(lock);
    launches++;
    if (grid == 0 || grid > 2147483647u || block == 0 || block > THREADS_MAX)
        die("a launch of this size is an error");
    put(stream, [=] {
        gridDim.x = grid;
        blockDim.x = block;
        work = &kernel;
        for (unsigned b = 0; b < grid; b++) {
            blockIdx.x = b;
            run_block();
        }
    });
}

/* For what is no kernel of ours, a task: into the graph where the stream is captured, else all that waits, and then this, at once. */
extern "C" __attribute__((visibility("default"))) void cuda_on_cpu_run(cudaStream_t stream, const void *work_of)
{
    opening open;
    const task &t = *(const task *)work_of;
    if (stream->captured)
        return put(stream, t);
    cudaDeviceSynchronize();
    t();
}

/* ---- the rest --------------------------------------------------------------------------------------------------------------- */

cudaError_t cudaGetDeviceCount(int *count)
{
    const char *devices = getenv("TENON_CUDA_EMULATED_DEVICES");
    *count = devices ? atoi(devices) : 1;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { return *version = 0, cudaSuccess; }
cudaError_t cudaDriverGetVersion(int *version) { return *version = 0, cudaSuccess; }
const char *cudaGetErrorString(cudaError_t error) { return error == cudaErrorMemoryAllocation ? "out of memory" : "emulated error"; }
cudaError_t cudaGetLastError()
{
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}
