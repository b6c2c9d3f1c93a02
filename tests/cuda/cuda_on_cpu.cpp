#include "cuda_on_cpu.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

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
static std::multimap<size_t, char *> cache; /* freed blocks by size */
static std::map<char *, size_t> blocks;     /* those in use */
static size_t reserved;

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

cudaError_t cudaMallocAsync(void **memory, size_t bytes, cudaStream_t)
{
    opening open;
    const size_t size = rounded(bytes);
    char *block;
    auto found = cache.lower_bound(size);
    if (found != cache.end() && found->first == size) {
        block = found->second;
        cache.erase(found);
    } else {
        if (size > (size_t)(arena + ARENA - next_free))
            return cudaErrorMemoryAllocation;
        block = next_free;
        next_free += size;
        reserved += size;
    }
    memset(block, 0xff, size); /* what is read unwritten is NaN, or -1 */
    blocks[block] = bytes;
    *memory = block;
    return cudaSuccess;
}

cudaError_t cudaFreeAsync(void *memory, cudaStream_t)
{
    opening open;
    auto found = blocks.find((char *)memory);
    if (found == blocks.end())
        die("freed, and not allocated");
    const size_t bytes = found->second, size = rounded(bytes);
    for (size_t i = bytes; i < size; i++)
        if (found->first[i] != (char)0xff)
            die("a kernel wrote beyond an allocation");
    cache.insert({size, found->first});
    blocks.erase(found);
    return cudaSuccess;
}

static void copy(void *to, const void *from, size_t bytes)
{
    opening open;
    memmove(to, from, bytes);
}
static bool on_device(const void *p) { return arena && (const char *)p >= arena && (const char *)p < arena + ARENA; }

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t)
{
    if (on_device(to) != (kind != cudaMemcpyDeviceToHost) || on_device(from) != (kind != cudaMemcpyHostToDevice))
        die("a copy's direction is not its pointers'");
    copy(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemcpyPeerAsync(void *to, int, const void *from, int, size_t bytes, cudaStream_t)
{
    copy(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned) { return (*memory = malloc(bytes)) ? cudaSuccess : cudaErrorMemoryAllocation; }
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
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }

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

void cuda_on_cpu_launch(unsigned grid, unsigned block, const std::function<void()> &kernel)
{
    opening open;
    if (grid == 0 || grid > 2147483647u || block == 0 || block > THREADS_MAX)
        die("a launch of this size is an error");
    gridDim.x = grid;
    blockDim.x = block;
    work = &kernel;
    for (unsigned b = 0; b < grid; b++) {
        blockIdx.x = b;
        run_block();
    }
}

extern "C" __attribute__((visibility("default"))) void cuda_on_cpu_run(void (*work_of)(void *), void *context)
{
    cuda_on_cpu_launch(1, 1, [=] { work_of(context); });
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
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) { return *stream = nullptr, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
