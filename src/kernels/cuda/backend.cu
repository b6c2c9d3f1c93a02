/* Devices, their memory, copies, streams, graphs, and the table of kernels. Each device has one stream of its own, on which everything runs in the
 * order in which it was asked for, unless a thread has chosen another; memory comes from CUDA's stream-ordered pools. */
#include "kernels/cuda/libraries.h"

#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

enum { DEVICES_MAX = 16, STAGES = 4 };
static const size_t STAGE_BYTES = (size_t)4 << 20, SMALL_COPY = (size_t)64 << 10;
static const int64_t KEPT_MOST = (int64_t)64 << 20;

/* Pinned memory that copies to the device go through. */
struct stage {
    char *data;
    cudaEvent_t copied; /* until then it is in use */
};
struct device {
    cudaStream_t stream;
    cudaMemPool_t pool;
    tn_cuda_flag *flag;
    bool made;
    int64_t in_use, peak, limit, allocations;
    std::map<std::pair<cudaStream_t, int64_t>, std::vector<void *>> kept; /* let go in a stream's order, by size: the pool takes ten times as long */
    int64_t kept_bytes;
    std::mutex staging; /* of what follows */
    stage stages[STAGES];
    int next_stage;
};
static device devices[DEVICES_MAX];
static std::mutex devices_lock;
static thread_local int current;
static thread_local cudaStream_t chosen_streams[DEVICES_MAX]; /* the thread's own choices; NULL: the device's */

/* What a capture leaves: the graph, and memory that stays its own as long as it may be replayed. */
struct cell {
    void *on_device;
    std::unique_ptr<char[]> bytes;
    size_t size;
};
struct graph {
    int device;
    cudaStream_t stream, before; /* the one that it is captured from, and the thread's choice before */
    cudaGraphExec_t exec;
    std::map<void *, int64_t> blocks;            /* by their sizes */
    std::multimap<int64_t, void *> unused;       /* those that were let go */
    std::vector<std::pair<void *, size_t>> held; /* older memory that was let go meanwhile: replays use it */
    std::vector<cell> cells;                     /* what a replay begins with writing */
    std::vector<tn_step_scalars *> scalars;      /* in them, of the optimisers' items in turn */
    tn_cuda_draws *draws;                        /* in them; NULL: nothing is drawn */
    const tn_cuda_draws *draws_there;            /* on the device */
};
static thread_local graph *capturing;
/* Of each such block; under devices_lock. Tensors may be released when static objects are gone already: it stays. */
static std::map<void *, graph *> &graph_of = *new std::map<void *, graph *>;

void *(*tn_cuda_fail)(tn_status status, const char *format, ...);
static const int *tf32;

static tn_status failed(const char *what, cudaError_t error)
{
    tn_cuda_fail(TN_ERR_DEVICE, "%s: cuda:%d: %s", what, current, cudaGetErrorString(error));
    cudaGetLastError(); /* it is told: the next launch is not what failed */
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
    for (stage &s : d->stages) {
        error = error ? error : cudaHostAlloc((void **)&s.data, STAGE_BYTES, cudaHostAllocPortable);
        error = error ? error : cudaEventCreate(&s.copied);
    }
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

static cudaStream_t stream_of(int index) { return chosen_streams[index] ? chosen_streams[index] : devices[index].stream; }
cudaStream_t tn_cuda_stream() { return stream_of(current); }
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

/* The graph that this thread captures from the device, or NULL. */
static graph *captured_on(int index) { return capturing && capturing->device == index ? capturing : NULL; }

static int64_t reserved(const device *d)
{
    uint64_t bytes = 0;
    cudaMemPoolGetAttribute(d->pool, cudaMemPoolAttrReservedMemCurrent, &bytes);
    return (int64_t)bytes;
}

/* Back to the pool goes what was kept of a stream, or of all. The lock is held. */
static void unkeep(device *d, cudaStream_t stream, bool all)
{
    for (auto list = d->kept.begin(); list != d->kept.end();) {
        if (!all && list->first.first != stream) {
            ++list;
            continue;
        }
        for (void *memory : list->second)
            cudaFreeAsync(memory, list->first.first);
        d->kept_bytes -= list->first.second * (int64_t)list->second.size();
        list = d->kept.erase(list);
    }
}

/* To the device goes what nobody uses, when the stream is done. The lock is held. */
static void give_back(device *d, cudaStream_t stream)
{
    unkeep(d, NULL, true);
    cudaStreamSynchronize(stream);
    cudaMemPoolTrimTo(d->pool, 0);
}

/* In the stream's order; NULL where there is none. The lock is held. */
static void *take(device *d, cudaStream_t stream, int64_t size)
{
    void *memory = NULL;
    if (size > d->limit - d->in_use)
        return NULL;
    auto list = d->kept.find({stream, size});
    if (list != d->kept.end() && !list->second.empty()) {
        memory = list->second.back();
        list->second.pop_back();
        d->kept_bytes -= size;
        return memory;
    }
    if (d->limit != INT64_MAX && size > d->limit - reserved(d)) /* which counts what is kept */
        give_back(d, stream);
    if (cudaMallocAsync(&memory, (size_t)size, stream)) { /* what the pool keeps in pieces may be whole when it is given back */
        cudaGetLastError();
        give_back(d, stream);
        if (cudaMallocAsync(&memory, (size_t)size, stream))
            memory = NULL;
        cudaGetLastError();
    }
    return memory;
}

/* Until somebody takes as much in the same stream; all goes back where it became much, as with shapes that change. The lock is held. */
static void keep(device *d, cudaStream_t stream, void *memory, int64_t size)
{
    if (size > KEPT_MOST / 16) {
        cudaFreeAsync(memory, stream);
        return;
    }
    if (d->kept_bytes + size > KEPT_MOST)
        unkeep(d, NULL, true);
    d->kept[{stream, size}].push_back(memory);
    d->kept_bytes += size;
}

/* During a capture memory is the graph's: what it let go of first, in whose order nobody stands between. */
static void *of_graph(graph *g, device *d, size_t bytes)
{
    auto found = g->unused.find(rounded(bytes));
    void *memory = found != g->unused.end() ? found->second : take(d, d->stream, rounded(bytes));
    if (found != g->unused.end())
        g->unused.erase(found);
    if (memory) {
        g->blocks[memory] = rounded(bytes);
        graph_of[memory] = g;
    }
    return memory;
}

static void *alloc(int index, size_t bytes)
{
    if (use(index) != TN_OK)
        return NULL;
    device *d = &devices[index];
    std::lock_guard<std::mutex> hold(devices_lock);
    graph *g = captured_on(index);
    void *memory = g ? of_graph(g, d, bytes) : take(d, stream_of(index), rounded(bytes));
    if (!memory)
        return tn_cuda_fail(TN_ERR_MEMORY, "out of memory on cuda:%d: %zu bytes asked for, %lld in use", index, bytes, (long long)d->in_use);
    d->allocations++;
    d->in_use += rounded(bytes);
    d->peak = d->in_use > d->peak ? d->in_use : d->peak;
    return memory;
}

static void release(int index, void *memory, size_t bytes)
{
    device *d = &devices[index];
    std::lock_guard<std::mutex> hold(devices_lock);
    graph *g = captured_on(index);
    auto owner = graph_of.find(memory);
    if (owner == graph_of.end() && g) {
        g->held.push_back({memory, bytes});
        return;
    }
    d->in_use -= rounded(bytes);
    if (owner != graph_of.end())
        owner->second->unused.insert({rounded(bytes), memory});
    else
        keep(d, stream_of(index), memory, rounded(bytes));
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
    tn_memory_stats s = {};
    if (use(index) != TN_OK)
        return s;
    std::lock_guard<std::mutex> hold(devices_lock);
    const int64_t all = reserved(d);
    s.in_use = d->in_use;
    s.peak = d->peak;
    s.cached = all > d->in_use ? all - d->in_use : 0;
    s.limit = d->limit;
    s.allocations = d->allocations;
    return s;
}

static void reset_peak(int index)
{
    std::lock_guard<std::mutex> hold(devices_lock);
    devices[index].peak = devices[index].in_use;
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
    std::lock_guard<std::mutex> hold(devices_lock);
    unkeep(&devices[index], NULL, true);
    cudaDeviceSynchronize();
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

/* use(), and TN_ERR_STATE while the thread captures from the device. */
static tn_status ready(int index, const char *what)
{
    if (captured_on(index)) {
        tn_cuda_fail(TN_ERR_STATE, "%s while a graph is captured from cuda:%d: nothing is computed before its replay", what, index);
        return TN_ERR_STATE;
    }
    return use(index);
}

static tn_status synchronize(int index)
{
    const tn_status status = ready(index, "the device is waited for");
    if (status != TN_OK)
        return status;
    cudaError_t error = cudaDeviceSynchronize();
    return error ? failed("synchronize", error) : tell(index);
}

/* Large copies go through pinned memory, piece by piece: the device takes them from there when it is their turn. */
static cudaError_t copy_in(device *d, char *to, const char *from, size_t bytes, cudaStream_t stream)
{
    if (bytes <= SMALL_COPY) /* which CUDA itself puts aside */
        return cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream);
    std::lock_guard<std::mutex> hold(d->staging);
    cudaError_t error = cudaSuccess;
    for (size_t piece; bytes && !error; to += piece, from += piece, bytes -= piece) {
        stage *s = &d->stages[d->next_stage++ % STAGES];
        piece = bytes < STAGE_BYTES ? bytes : STAGE_BYTES;
        error = cudaEventSynchronize(s->copied);
        if (error)
            break;
        memcpy(s->data, from, piece);
        error = cudaMemcpyAsync(to, s->data, piece, cudaMemcpyHostToDevice, stream);
        error = error ? error : cudaEventRecord(s->copied, stream);
    }
    return error;
}

static tn_status copy(void *to, int to_device, const void *from, int from_device, size_t bytes)
{
    const int here = from_device == TN_ON_CPU ? to_device : from_device;
    const tn_status status = ready(here, to_device == TN_ON_CPU ? "numbers are read" : "numbers are brought from elsewhere");
    if (status != TN_OK)
        return status;
    cudaStream_t stream = stream_of(here);
    cudaError_t error;
    if (from_device == TN_ON_CPU) {
        error = copy_in(&devices[here], (char *)to, (const char *)from, bytes, stream);
    } else if (to_device == TN_ON_CPU) {
        error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream);
        error = error ? error : cudaStreamSynchronize(stream);
        return error ? failed("copy", error) : tell(here);
    } else { /* the other device's work on the memory must be done, and none may begin before the copy is */
        if (synchronize(to_device) != TN_OK || use(here) != TN_OK)
            return TN_ERR_DEVICE;
        error = cudaMemcpyPeerAsync(to, to_device, from, from_device, bytes, stream);
        error = error ? error : cudaStreamSynchronize(stream);
    }
    return error ? failed("copy", error) : TN_OK;
}

tn_status tn_cuda_fetch(void *to, const void *from, size_t bytes) { return copy(to, TN_ON_CPU, from, current, bytes); }

/* ---- streams and events ------------------------------------------------------------------------------------------------------ */

static void *stream_new(int index)
{
    cudaStream_t stream = NULL;
    cudaError_t error = use(index) == TN_OK ? cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) : cudaSuccess;
    if (error)
        failed("stream_new", error);
    return stream;
}
static void stream_free(void *stream)
{
    std::lock_guard<std::mutex> hold(devices_lock);
    for (device &d : devices)
        unkeep(&d, (cudaStream_t)stream, false);
    cudaStreamDestroy((cudaStream_t)stream);
}

/* While a graph is captured, which stream comes after it. */
static void *stream_use(int index, void *stream)
{
    graph *g = captured_on(index);
    cudaStream_t *chosen = g ? &g->before : &chosen_streams[index];
    void *former = *chosen;
    *chosen = (cudaStream_t)stream;
    return former;
}

/* What a query said. One that says "not ready" leaves that as CUDA's last error, for which the next launch would be blamed. */
static bool is_done(const char *what, cudaError_t error)
{
    if (error == cudaErrorNotReady)
        cudaGetLastError();
    else if (error)
        failed(what, error);
    return error == cudaSuccess;
}

static tn_status stream_synchronize(int index, void *stream)
{
    const tn_status status = ready(index, "a stream is waited for");
    if (status != TN_OK)
        return status;
    cudaError_t error = cudaStreamSynchronize(stream ? (cudaStream_t)stream : stream_of(index));
    return error ? failed("stream_synchronize", error) : tell(index);
}

static bool stream_query(int index, void *stream) { return use(index) == TN_OK && is_done("stream_query", cudaStreamQuery((cudaStream_t)stream)); }

static void *event_new(int index)
{
    cudaEvent_t event = NULL;
    cudaError_t error = use(index) == TN_OK ? cudaEventCreate(&event) : cudaSuccess;
    if (error)
        failed("event_new", error);
    return event;
}
static void event_free(void *event) { cudaEventDestroy((cudaEvent_t)event); }

static tn_status event_record(int index, void *event, void *stream)
{
    const tn_status status = ready(index, "an event is recorded");
    if (status != TN_OK)
        return status;
    cudaError_t error = cudaEventRecord((cudaEvent_t)event, stream ? (cudaStream_t)stream : stream_of(index));
    return error ? failed("event_record", error) : TN_OK;
}

static tn_status event_wait(int index, void *event, void *stream)
{
    const tn_status status = ready(index, "an event is waited for");
    if (status != TN_OK)
        return status;
    cudaError_t error = cudaStreamWaitEvent(stream ? (cudaStream_t)stream : stream_of(index), (cudaEvent_t)event, 0);
    return error ? failed("event_wait", error) : TN_OK;
}

static tn_status event_synchronize(int index, void *event)
{
    const tn_status status = ready(index, "an event is waited for");
    if (status != TN_OK)
        return status;
    cudaError_t error = cudaEventSynchronize((cudaEvent_t)event);
    return error ? failed("event_synchronize", error) : tell(index);
}

static bool event_query(int index, void *event) { return use(index) == TN_OK && is_done("event_query", cudaEventQuery((cudaEvent_t)event)); }

static tn_status event_elapsed(void *start, void *end, double *milliseconds)
{
    float f = 0;
    cudaError_t error = cudaEventSynchronize((cudaEvent_t)end);
    error = error ? error : cudaEventElapsedTime(&f, (cudaEvent_t)start, (cudaEvent_t)end);
    *milliseconds = f;
    return error ? failed("event_elapsed_time", error) : TN_OK;
}

/* ---- graphs ------------------------------------------------------------------------------------------------------------------ */

static void *graph_begin(int index)
{
    if (use(index) != TN_OK)
        return NULL;
    graph *g = new graph();
    g->device = index;
    cudaError_t error = cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking);
    error = error ? error : cudaStreamBeginCapture(g->stream, cudaStreamCaptureModeRelaxed);
    if (error) {
        failed("capture_begin", error);
        if (g->stream)
            cudaStreamDestroy(g->stream);
        delete g;
        return NULL;
    }
    g->before = chosen_streams[index];
    chosen_streams[index] = g->stream;
    capturing = g;
    return g;
}

static tn_status graph_end(void *handle)
{
    graph *g = (graph *)handle;
    cudaGraph_t recorded = NULL;
    chosen_streams[g->device] = g->before;
    capturing = NULL;
    cudaError_t error = cudaStreamEndCapture(g->stream, &recorded);
    error = error ? error : cudaGraphInstantiate(&g->exec, recorded, 0);
    if (recorded)
        cudaGraphDestroy(recorded);
    error = error ? error : cudaStreamSynchronize(devices[g->device].stream); /* its memory is there, whichever stream replays it */
    return error ? failed("capture_end", error) : TN_OK;
}

static tn_status graph_replay(void *handle, tn_random_state random, const tn_step_scalars *scalars)
{
    graph *g = (graph *)handle;
    const tn_status status = ready(g->device, "a graph is replayed");
    if (status != TN_OK)
        return status;
    cudaStream_t stream = stream_of(g->device);
    cudaError_t error = cudaSuccess;
    for (size_t i = 0; i < g->scalars.size(); i++)
        *g->scalars[i] = scalars[i];
    if (g->draws)
        *g->draws = {random.seed, random.offset};
    for (const cell &c : g->cells)
        error = error ? error : cudaMemcpyAsync(c.on_device, c.bytes.get(), c.size, cudaMemcpyHostToDevice, stream);
    error = error ? error : cudaGraphLaunch(g->exec, stream);
    return error ? failed("replay", error) : TN_OK;
}

static void graph_free(void *handle)
{
    graph *g = (graph *)handle;
    device *d = &devices[g->device];
    if (use(g->device) != TN_OK)
        return;
    if (cudaDeviceSynchronize() != cudaSuccess) /* while another graph is captured: told when that ends */
        cudaGetLastError();
    if (g->exec)
        cudaGraphExecDestroy(g->exec);
    cudaStreamDestroy(g->stream);
    for (const cell &c : g->cells)
        release(g->device, c.on_device, c.size);
    std::lock_guard<std::mutex> hold(devices_lock);
    for (const auto &block : g->blocks) /* those of living tensors are freed as all others from now on */
        graph_of.erase(block.first);
    for (const auto &block : g->unused)
        cudaFreeAsync(block.second, d->stream);
    for (const auto &older : g->held) {
        d->in_use -= rounded(older.second);
        cudaFreeAsync(older.first, d->stream);
    }
    delete g;
}

bool tn_cuda_capturing() { return captured_on(current) != NULL; }

void *tn_cuda_cell(const void *bytes, size_t size, void **host)
{
    graph *g = captured_on(current);
    std::multimap<int64_t, void *> used; /* into which a replay writes after it has filled the cells: none may be one */
    used.swap(g->unused);
    cell c = {alloc(current, size), std::unique_ptr<char[]>(new char[size]), size};
    used.swap(g->unused);
    if (!c.on_device)
        return NULL;
    memcpy(c.bytes.get(), bytes, size);
    *host = c.bytes.get();
    g->cells.push_back(std::move(c));
    return g->cells.back().on_device;
}

void tn_cuda_replays_scalars(tn_step_scalars *const *scalars, int count)
{
    graph *g = captured_on(current);
    g->scalars.insert(g->scalars.end(), scalars, scalars + count);
}

const tn_cuda_draws *tn_cuda_draws_of_replay()
{
    graph *g = captured_on(current);
    const tn_cuda_draws none = {};
    if (g && !g->draws)
        g->draws_there = (const tn_cuda_draws *)tn_cuda_cell(&none, sizeof none, (void **)&g->draws);
    return g ? g->draws_there : NULL;
}

/* ---- the table -------------------------------------------------------------------------------------------------------------- */

/* Weights are packed by the CPU's kernels and copied: the layout is the same. */
#define OF_THE_CPU(X)                                                                                                            \
    X(packed_pack, (const tn_packed_matrix *, int64_t, int64_t, const float *, int64_t))                                      \
    X(packed_pack_blocks, (const tn_packed_matrix *, int64_t, int64_t, const void *))                                         \
    X(packed_f28, (tn_packed_matrix *, void *))
#define MISSING(slot, parameters)                                                                                             \
    tn_status tn_cuda_##slot parameters                                                                                       \
    {                                                                                                                         \
        tn_cuda_fail(TN_ERR_UNSUPPORTED, #slot ": weights are packed on the CPU, and copied");                 \
        return TN_ERR_UNSUPPORTED;                                                                                            \
    }
OF_THE_CPU(MISSING)

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
    snprintf(text, sizeof text, "%s; %s%s", tn_cublaslt_text(), tn_cudnn_text(), tn_cudnn_rnn_text());
    return text;
}

#define EXPORTED extern "C" __attribute__((visibility("default")))

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
               synchronize, stats, reset_peak, set_limit, trim, stream_new, stream_free, stream_use, stream_synchronize, stream_query, event_new,
               event_free, event_record, event_wait, event_synchronize, event_query, event_elapsed, graph_begin, graph_end, graph_replay,
               graph_free, libraries};
    return &backend;
}
