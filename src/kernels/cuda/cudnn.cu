/* Convolutions of f32 by cuDNN's graphs: what is to be computed is described by descriptors, the library names engines for it, best first
 * by its own estimate (the finer one of two: its choice for LeNet's steps is a quarter faster), and the first that gives the same bits every time, and f32's precision, is made a plan of. */
#include "kernels/cuda/libraries.h"
#include "kernels/cuda/cudnn.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

enum { TN_CUDNN_NUMBERS(TN_NUMBER) };
static struct { TN_CUDNN_FUNCTIONS(TN_FUNCTION) } dnn;

static bool there;
static char text[400];
static std::once_flag opened;
static void *handles[TN_CUDA_DEVICES];

static bool opens(const char *file, char *why, size_t size)
{
    static const char *const names[] = {TN_CUDNN_FUNCTIONS(TN_NAME)};
    if (!tn_cuda_open(file, names, &dnn, why, size))
        return false;
    if (dnn.cudnnGetVersion() < 90100)
        return snprintf(why, size, "%s is older than 9.1", file), false;
    void *any = NULL;
    int error = dnn.cudnnCreate(&handles[tn_cuda_device()]);
    error = error ? error : dnn.cudnnBackendCreateDescriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR, &any); /* which another file has */
    if (error)
        return snprintf(why, size, "%s: %s", file, dnn.cudnnGetErrorString(error)), false;
    dnn.cudnnBackendDestroyDescriptor(any);
    return true;
}

bool tn_cudnn_is_there()
{
    std::call_once(opened, [] {
        char why[300];
        there = opens("libcudnn.so.9", why, sizeof why);
        const int version = there ? (int)dnn.cudnnGetVersion() : 0;
        if (there)
            snprintf(text, sizeof text, "cuDNN %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
        else
            snprintf(text, sizeof text, "no cuDNN, convolutions and recurrent layers run by kernels of our own: %s", why);
    });
    return there;
}

const char *tn_cudnn_text() { return tn_cudnn_is_there(), text; }
const char *tn_cudnn_error(int error) { return dnn.cudnnGetErrorString(error); }

std::mutex tn_cudnn_lock;

int tn_cudnn_handle(void **handle)
{
    void **own = &handles[tn_cuda_device()];
    const int error = *own ? CUDNN_STATUS_SUCCESS : dnn.cudnnCreate(own);
    *handle = *own;
    return error ? error : dnn.cudnnSetStream(*own, tn_cuda_stream());
}

/* ---- descriptors ------------------------------------------------------------------------------------------------------------ */

/* Descriptors that live and end together; after an error, making more does nothing. */
struct descriptors {
    std::vector<void *> all;
    int error = CUDNN_STATUS_SUCCESS;

    descriptors() = default;
    descriptors(const descriptors &) = delete;
    ~descriptors()
    {
        for (auto each = all.rbegin(); each != all.rend(); ++each)
            dnn.cudnnBackendDestroyDescriptor(*each);
    }
    void *make(int type)
    {
        void *made = NULL;
        error = error ? error : dnn.cudnnBackendCreateDescriptor(type, &made);
        if (made)
            all.push_back(made);
        return made;
    }
    void set(void *descriptor, int name, int type, int64_t count, const void *elements)
    {
        error = error ? error : dnn.cudnnBackendSetAttribute(descriptor, name, type, count, elements);
    }
    void set(void *descriptor, int name, int type, int value) { set(descriptor, name, type, 1, &value); }
    void set(void *descriptor, int name, void *other) { set(descriptor, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &other); }
    void set(void *descriptor, int name, std::initializer_list<int64_t> values)
    {
        set(descriptor, name, CUDNN_TYPE_INT64, (int64_t)values.size(), values.begin());
    }
    void *finish(void *descriptor)
    {
        error = error ? error : dnn.cudnnBackendFinalize(descriptor);
        return descriptor;
    }
    /* One of theirs, to live with these. */
    void take(descriptors *from, void *descriptor)
    {
        from->all.erase(std::find(from->all.begin(), from->all.end(), descriptor));
        all.push_back(descriptor);
    }
};

/* The tensors' names in a graph. */
enum { ID_X = 1, ID_WEIGHT, ID_Y, ID_BIAS, ID_INNER };

/* Dense [a, b, c, d] of f32; virtual ones lie nowhere. */
static void *tensor(descriptors *g, int64_t id, int64_t alignment, bool is_virtual, int64_t a, int64_t b, int64_t c, int64_t d)
{
    void *t = g->make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    g->set(t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
    g->set(t, CUDNN_ATTR_TENSOR_DIMENSIONS, {a, b, c, d});
    g->set(t, CUDNN_ATTR_TENSOR_STRIDES, {b * c * d, c * d, d, 1});
    g->set(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, {id});
    g->set(t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {alignment});
    g->set(t, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    return g->finish(t);
}

/* y = mode(x, b), b broadcast, or NULL. */
static void *pointwise(descriptors *g, int mode, void *x, void *b, void *y)
{
    void *how = g->make(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    g->set(how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode);
    g->set(how, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
    if (mode == CUDNN_POINTWISE_RELU_FWD)
        g->set(how, CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, CUDNN_TYPE_NAN_PROPOGATION, CUDNN_PROPAGATE_NAN);
    g->finish(how);
    void *operation = g->make(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    g->set(operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
    g->set(operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b)
        g->set(operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    g->set(operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    return g->finish(operation);
}

/* ---- plans ------------------------------------------------------------------------------------------------------------------ */

namespace { /* other files have keys and plans of other kinds */
/* What a plan is made of. */
struct key {
    int64_t device, kind, rounds, bias, relu;
    int64_t n, c_in, h, w, c_out, kh, kw, oh, ow, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, groups;
    int64_t align_x, align_weight, align_y, align_bias;
};
struct plan {
    descriptors made;
    void *ready = NULL; /* the execution plan; NULL: no engine will do */
    int64_t workspace = 0;
    std::optional<descriptors> packed; /* the last call's pointers, as the library takes them: a loop's steps have the same ones */
    void *pack = NULL;
    std::array<const void *, 5> pointers;
};
} // namespace
static std::unordered_map<key, std::unique_ptr<plan>, tn_cuda_hash<key>, tn_cuda_same<key>> plans;
enum : int64_t { WORKSPACE = 256 << 20 }; /* an engine that wants more is passed over */

/* The convolution's operation, by the attributes' names of its kind. */
static void *convolution(descriptors *g, const key &k, void *x, void *weight, void *y)
{
    static const struct { int type, conv, x, weight, y, alpha, beta; } kinds[] = {
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}};
    const auto &of = kinds[k.kind];
    const float one = 1, zero = 0;
    void *how = g->make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    g->set(how, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
    g->set(how, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION);
    g->set(how, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, {2});
    g->set(how, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, {k.pad_h, k.pad_w});
    g->set(how, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, {k.pad_h, k.pad_w});
    g->set(how, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, {k.stride_h, k.stride_w});
    g->set(how, CUDNN_ATTR_CONVOLUTION_DILATIONS, {k.dil_h, k.dil_w});
    g->finish(how);
    void *operation = g->make(of.type);
    g->set(operation, of.conv, how);
    g->set(operation, of.x, x);
    g->set(operation, of.weight, weight);
    g->set(operation, of.y, y);
    g->set(operation, of.alpha, CUDNN_TYPE_FLOAT, 1, &one);
    g->set(operation, of.beta, CUDNN_TYPE_FLOAT, 1, &zero);
    return g->finish(operation);
}

/* The convolution and, of forward, its bias and ReLU, in one. Groups are what the weight's channels say. */
static void *graph_of(descriptors *g, const key &k)
{
    std::vector<void *> operations;
    int64_t inner = ID_INNER;
    void *x = tensor(g, ID_X, k.align_x, false, k.n, k.c_in, k.h, k.w);
    void *weight = tensor(g, ID_WEIGHT, k.align_weight, false, k.c_out, k.c_in / k.groups, k.kh, k.kw);
    const auto result = [&](bool last) { return tensor(g, last ? (int64_t)ID_Y : inner++, k.align_y, !last, k.n, k.c_out, k.oh, k.ow); };
    void *y = result(!k.bias && !k.relu);
    operations.push_back(convolution(g, k, x, weight, y));
    if (k.bias) {
        void *bias = tensor(g, ID_BIAS, k.align_bias, false, 1, k.c_out, 1, 1), *sum = result(!k.relu);
        operations.push_back(pointwise(g, CUDNN_POINTWISE_ADD, y, bias, sum));
        y = sum;
    }
    if (k.relu)
        operations.push_back(pointwise(g, CUDNN_POINTWISE_RELU_FWD, y, NULL, result(true)));
    void *graph = g->make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    g->set(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, (int64_t)operations.size(), operations.data());
    g->set(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handles[k.device]);
    return g->finish(graph);
}

/* Whether an engine may be taken: its bits must be the same every time, and its products f32's unless they may be rounded. */
static bool will_do(void *config, const key &k)
{
    enum { NOTES = 16 };
    descriptors own;
    int notes[NOTES];
    int64_t count = 0;
    void *engine = own.make(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    if (own.error || dnn.cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &engine) ||
        dnn.cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, NOTES, &count, notes) || count > NOTES)
        return false;
    for (int64_t i = 0; i < count; i++)
        if (notes[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC || notes[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS ||
            notes[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION || (notes[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE && !k.rounds))
            return false;
    return true;
}

/* The plan of one engine's configuration; false: it is not made, or wants too much memory. */
static bool make_ready(plan *p, descriptors *search, void *config, const key &k)
{
    descriptors own;
    int64_t count = 0;
    void *ready = own.make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    own.set(ready, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
    own.set(ready, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handles[k.device]);
    own.finish(ready);
    if (own.error || dnn.cudnnBackendGetAttribute(ready, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count, &p->workspace) ||
        p->workspace > WORKSPACE)
        return false;
    p->made.take(search, config);
    p->made.take(&own, ready);
    p->ready = ready;
    return true;
}

/* The first of the mode's engines that will do and can. */
static void choose(plan *p, void *graph, int mode, const key &k)
{
    descriptors search;
    int64_t count = 0;
    void *heuristics = search.make(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    search.set(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    search.set(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
    search.finish(heuristics);
    if (search.error || dnn.cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, NULL))
        return;
    std::vector<void *> configs((size_t)count);
    for (void *&config : configs)
        config = search.make(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (search.error ||
        dnn.cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &count, configs.data()))
        return;
    for (int64_t i = 0; i < count && !p->ready; i++)
        if (will_do(configs[(size_t)i], k))
            make_ready(p, &search, configs[(size_t)i], k);
}

static std::unique_ptr<plan> make(const key &k)
{
    std::unique_ptr<plan> p(new plan);
    void *graph = graph_of(&p->made, k);
    for (int mode : {CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK})
        if (!p->made.error && !p->ready)
            choose(p.get(), graph, mode, k);
    return p;
}

static plan *plan_of(const key &k)
{
    auto found = plans.find(k);
    if (found != plans.end())
        return found->second.get();
    if (plans.size() >= TN_CUDA_PLANS)
        plans.clear();
    return plans.emplace(k, make(k)).first->second.get();
}

/* ---- convolutions ----------------------------------------------------------------------------------------------------------- */

static int pack(const key &k, plan *p, const std::array<const void *, 5> &pointers)
{
    const int64_t ids[] = {ID_X, ID_WEIGHT, ID_Y, ID_BIAS}, count = k.bias ? 4 : 3;
    descriptors &own = p->packed.emplace();
    p->pack = own.make(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    own.set(p->pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, ids);
    own.set(p->pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointers.data());
    own.set(p->pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &pointers[4]);
    own.finish(p->pack);
    p->pointers = pointers;
    return own.error;
}

static int run(const key &k, plan *p, const tn_cudnn_data &data, const void *workspace)
{
    const std::array<const void *, 5> pointers = {data.x, data.weight, data.y, data.bias, workspace};
    const bool same = p->packed && !p->packed->error && p->pointers == pointers;
    const int error = same ? CUDNN_STATUS_SUCCESS : pack(k, p, pointers);
    return error ? error : dnn.cudnnBackendExecute(handles[k.device], p->ready, p->pack);
}

/* Whether y is as long as windows fit into x: a transposed convolution's may be shorter, by an output_padding of a stride or more. */
static bool fits(int64_t in, int64_t pad, int64_t kernel, int64_t dil, int64_t stride, int64_t out)
{
    return (in + 2 * pad - dil * (kernel - 1) - 1) / stride + 1 == out;
}

bool tn_cudnn_conv(tn_cudnn_kind kind, const tn_conv *c, const tn_cudnn_data &data, tn_status *status)
{
    const char *op = kind == TN_CUDNN_FORWARD ? "conv_forward" : "conv_backward";
    const bool whole = fits(c->h, c->pad_h, c->kh, c->dil_h, c->stride_h, c->oh) && fits(c->w, c->pad_w, c->kw, c->dil_w, c->stride_w, c->ow);
    const bool empty = !c->n || !c->c_in || !c->h || !c->w || !c->c_out || !c->kh || !c->kw || !c->oh || !c->ow;
    if (empty || !whole || !tn_cudnn_is_there())
        return false;
    const key k = {tn_cuda_device(), kind, c->rounded || tn_cuda_tf32(), data.bias != NULL,
                   kind == TN_CUDNN_FORWARD && c->activation == TN_UNARY_RELU, c->n, c->c_in, c->h, c->w, c->c_out, c->kh, c->kw, c->oh, c->ow,
                   c->stride_h, c->stride_w, c->pad_h, c->pad_w, c->dil_h, c->dil_w, c->groups, tn_cuda_alignment(data.x, 16), tn_cuda_alignment(data.weight, 16), tn_cuda_alignment(data.y, 16),
                   data.bias ? tn_cuda_alignment(data.bias, 16) : 0};
    std::lock_guard<std::mutex> hold(tn_cudnn_lock);
    void *handle = NULL;
    int error = tn_cudnn_handle(&handle);
    if (error)
        return *status = tn_cuda_library_failed(op, dnn.cudnnGetErrorString(error)), true;
    plan *p = plan_of(k);
    if (!p->ready)
        return false;
    std::optional<tn_cuda_scratch> workspace;
    if (p->workspace && !workspace.emplace((size_t)p->workspace).data)
        return *status = TN_ERR_MEMORY, true;
    error = run(k, p, data, workspace ? workspace->data : NULL);
    *status = error ? tn_cuda_library_failed(op, dnn.cudnnGetErrorString(error)) : tn_cuda_status(op);
    return true;
}
