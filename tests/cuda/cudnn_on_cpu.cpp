/* A stand-in for cuDNN's backend API: what is in kernels/cuda/cudnn.h. Its engines are, best first:
 *   0 not deterministic, and wrong        1 on tensor cores: rounds to TF32     2 whose plans cannot be made
 *   3 that wants 1 GiB                    4 right                               5 right, of the mode FALLBACK
 * but for 105 output channels, for which mode A has 0 and 1 alone, and for 107, for which nobody has any.
 *
 * Where TENON_CUDNN_REAL names the real library, all descriptors are made there too, for an H100, which it plans for without having one: it
 * is then who names engines, their notes and what memory they want. A descriptor that it does not take is deadly, and so is a graph for which
 * it had no plan that ran. The loops still compute. */
#include "library_on_cpu.h"
#include "kernels/cuda/cudnn.h"

#include <map>
#include <set>
#include <vector>

enum { TN_CUDNN_NUMBERS(TN_NUMBER) };
struct attribute {
    int type;
    std::vector<char> bytes;
};
struct descriptor {
    int type;
    bool finished;
    std::map<int, attribute> attributes;
    descriptor *graph; /* of what heuristics made: engine configurations, engines */
    int engine;
    void *real;
};
#define CHECK(condition)                                                                                                      \
    if (!(condition))                                                                                                         \
    die("cuDNN", #condition)

/* The channels of an output whose plan fails when it runs. */
enum { FAILING = 109 };
static int made, asked, ran, engine; /* descriptors that live; searches; plans run; the last one's engine */
EXPORTED int cudnn_on_cpu_made(void) { return made; }
EXPORTED int cudnn_on_cpu_asked(void) { return asked; }
EXPORTED int cudnn_on_cpu_ran(void) { return ran; }
EXPORTED int cudnn_on_cpu_engine(void) { return engine; }

/* ---- the real library ------------------------------------------------------------------------------------------------------- */

static struct { TN_CUDNN_FUNCTIONS(TN_FUNCTION) } real;
static bool with_real;
static void *h100; /* a device's properties */
static struct searched {
    std::set<const descriptor *> graphs; /* for which nothing has run yet */
    ~searched() { CHECK(!with_real || graphs.empty()); }
} unplanned;
enum { DEVICEPROP_DESCRIPTOR = 38, TYPE_CHAR = 24, ENGINEHEUR_DEVICEPROP = 204, EXECUTION_PLAN_DEVICEPROP = 407, DEVICEPROP_JSON = 2702 };

static void open_real(const char *path)
{
    static const char text[] =
        "{\"deviceVer\": 900, \"driverVer\": 13000, \"cudaDeviceId\": 0, \"deviceName\": \"NVIDIA H100 80GB HBM3\", \"multiProcessorCount\": 132, "
        "\"maxGridSize\": [2147483647, 65535, 65535], \"maxBlockSize\": [1024, 1024, 64], \"regsPerBlock\": 65536, \"warpSize\": 32, "
        "\"maxSharedMemoryPerBlock\": 49152, \"maxSharedMemoryPerBlockOptin\": 232448, \"reservedSharedMemoryPerBlock\": 1024, "
        "\"maxRegistersPerSM\": 65536, \"maxCtasPerSM\": 32, \"maxThreadsPerBlock\": 1024, \"maxThreadsPerSM\": 2048, \"pciDeviceId\": 9008, "
        "\"isTccDriver\": 0, \"supportCoopLaunch\": 1, \"totalGlobalMem\": 85000000000, \"smClockRateKHz\": 1980000, "
        "\"memClockRateKHz\": 2619000, \"l2CacheSize\": 52428800}";
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        die("cuDNN", dlerror());
#define FIND(returns, name, parameters)                                                                                       \
    real.name = (decltype(real.name))dlsym(library, #name);                                                                   \
    CHECK(real.name);
    TN_CUDNN_FUNCTIONS(FIND)
    if (real.cudnnBackendCreateDescriptor(DEVICEPROP_DESCRIPTOR, &h100) ||
        real.cudnnBackendSetAttribute(h100, DEVICEPROP_JSON, TYPE_CHAR, sizeof text - 1, text) || real.cudnnBackendFinalize(h100)) {
        printf("skipped: cuDNN %zu plans for no device but one that is there\n", real.cudnnGetVersion());
        exit(77);
    }
    with_real = true;
}

/* An attribute set there too: a device's properties are what is given for a handle. */
static void set_real(const descriptor *d, int name, int type, int64_t count, const void *elements)
{
    std::vector<void *> others;
    for (int64_t i = 0; type == CUDNN_TYPE_BACKEND_DESCRIPTOR && i < count; i++)
        others.push_back(((descriptor *const *)elements)[i]->real);
    if (type != CUDNN_TYPE_HANDLE)
        CHECK(!real.cudnnBackendSetAttribute(d->real, name, type, count, others.empty() ? elements : others.data()));
}

static int finish_real(const descriptor *d)
{
    const int device = d->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR       ? ENGINEHEUR_DEVICEPROP
                       : d->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR ? EXECUTION_PLAN_DEVICEPROP
                                                                            : 0;
    CHECK(!device || !real.cudnnBackendSetAttribute(d->real, device, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &h100));
    const int error = real.cudnnBackendFinalize(d->real);
    if (error && !device)
        die("cuDNN", real.cudnnGetErrorString(error));
    return error;
}

static size_t size_of(int type)
{
    return type == CUDNN_TYPE_BOOLEAN ? 1 : type == CUDNN_TYPE_HANDLE || type == CUDNN_TYPE_INT64 || type == CUDNN_TYPE_VOID_PTR ||
           type == CUDNN_TYPE_BACKEND_DESCRIPTOR ? 8 : 4;
}
template <class T> static std::vector<T> all(const descriptor *d, int name, size_t count)
{
    const auto found = d->attributes.find(name);
    std::vector<T> values;
    CHECK(found != d->attributes.end());
    CHECK(size_of(found->second.type) == sizeof(T));
    values.resize(found->second.bytes.size() / sizeof(T));
    memcpy(values.data(), found->second.bytes.data(), found->second.bytes.size());
    CHECK(count == 0 || values.size() == count);
    return values;
}
template <class T> static T one(const descriptor *d, int name) { return all<T>(d, name, 1)[0]; }
static descriptor *part(const descriptor *d, int name, int type)
{
    descriptor *other = one<descriptor *>(d, name);
    CHECK(other->finished && other->type == type);
    return other;
}

/* ---- what a graph says ------------------------------------------------------------------------------------------------------ */

struct tensor {
    int64_t id, sizes[4], strides[4], alignment;
    bool is_virtual;
    int64_t at(int64_t a, int64_t b, int64_t c, int64_t d) const
    {
        return (sizes[0] == 1 ? 0 : a * strides[0]) + (sizes[1] == 1 ? 0 : b * strides[1]) + (sizes[2] == 1 ? 0 : c * strides[2]) +
               (sizes[3] == 1 ? 0 : d * strides[3]);
    }
};
static tensor tensor_of(const descriptor *operation, int name)
{
    const descriptor *d = part(operation, name, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    tensor t = {one<int64_t>(d, CUDNN_ATTR_TENSOR_UNIQUE_ID), {}, {}, one<int64_t>(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT),
                one<char>(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL) != 0};
    memcpy(t.sizes, all<int64_t>(d, CUDNN_ATTR_TENSOR_DIMENSIONS, 4).data(), sizeof t.sizes);
    memcpy(t.strides, all<int64_t>(d, CUDNN_ATTR_TENSOR_STRIDES, 4).data(), sizeof t.strides);
    CHECK(one<int>(d, CUDNN_ATTR_TENSOR_DATA_TYPE) == CUDNN_DATA_FLOAT);
    return t;
}

struct convolution { /* the numbers of its attributes, by its kind */
    int conv, x, weight, y, alpha, beta;
};
static const std::map<int, convolution> kinds = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, {702, 704, 703, 705, 700, 701}},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, {708, 710, 709, 711, 706, 707}},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, {714, 716, 715, 717, 712, 713}}};

static std::vector<descriptor *> operations_of(const descriptor *graph) { return all<descriptor *>(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, 0); }

/* Dies of a convolution whose sizes do not fit. */
static void check(const descriptor *operation)
{
    const convolution &of = kinds.at(operation->type);
    const descriptor *how = part(operation, of.conv, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    const tensor x = tensor_of(operation, of.x), w = tensor_of(operation, of.weight), y = tensor_of(operation, of.y);
    CHECK(x.sizes[0] == y.sizes[0] && w.sizes[0] == y.sizes[1] && x.sizes[1] % w.sizes[1] == 0 && y.sizes[1] % (x.sizes[1] / w.sizes[1]) == 0);
    CHECK(one<int64_t>(how, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS) == 2 && one<int>(how, CUDNN_ATTR_CONVOLUTION_CONV_MODE) == CUDNN_CROSS_CORRELATION);
    CHECK(one<int>(how, CUDNN_ATTR_CONVOLUTION_COMP_TYPE) == CUDNN_DATA_FLOAT);
    CHECK(one<float>(operation, of.alpha) == 1 && one<float>(operation, of.beta) == 0);
    for (size_t d = 0; d < 2; d++) {
        const int64_t before = all<int64_t>(how, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 2)[d];
        const int64_t after = all<int64_t>(how, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 2)[d];
        const int64_t stride = all<int64_t>(how, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 2)[d];
        const int64_t reach = (w.sizes[2 + d] - 1) * all<int64_t>(how, CUDNN_ATTR_CONVOLUTION_DILATIONS, 2)[d] + 1;
        CHECK(y.sizes[2 + d] == (x.sizes[2 + d] + before + after - reach) / stride + 1);
    }
}

/* ---- descriptors ------------------------------------------------------------------------------------------------------------ */

EXPORTED size_t cudnnGetVersion(void)
{
    const char *version = getenv("TENON_CUDNN_VERSION");
    return version ? (size_t)atoi(version) : 91900;
}
EXPORTED const char *cudnnGetErrorString(int) { return "emulated error"; }
EXPORTED int cudnnCreate(void **handle)
{
    if (const char *path = getenv("TENON_CUDNN_REAL"))
        open_real(path);
    return *handle = calloc(1, sizeof(cudaStream_t)), CUDNN_STATUS_SUCCESS;
}
EXPORTED int cudnnSetStream(void *handle, cudaStream_t stream) { return *(cudaStream_t *)handle = stream, CUDNN_STATUS_SUCCESS; }
EXPORTED int cudnnBackendCreateDescriptor(int type, void **made_one)
{
    if (getenv("TENON_CUDNN_FAILS"))
        return CUDNN_STATUS_NOT_SUPPORTED;
    descriptor *d = new descriptor{type, false, {}, NULL, 0, NULL};
    *made_one = d;
    made++;
    return with_real && type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR ? real.cudnnBackendCreateDescriptor(type, &d->real) : CUDNN_STATUS_SUCCESS;
}
EXPORTED int cudnnBackendDestroyDescriptor(void *of)
{
    descriptor *d = (descriptor *)of;
    if (d->real)
        real.cudnnBackendDestroyDescriptor(d->real);
    return delete d, made--, CUDNN_STATUS_SUCCESS;
}
EXPORTED int cudnnBackendSetAttribute(void *to, int name, int type, int64_t count, const void *elements)
{
    descriptor *d = (descriptor *)to;
    CHECK(!d->finished);
    for (int64_t i = 0; type == CUDNN_TYPE_BACKEND_DESCRIPTOR && i < count; i++)
        CHECK(((descriptor *const *)elements)[i]->finished);
    if (d->real)
        set_real(d, name, type, count, elements);
    d->attributes[name] = {type, std::vector<char>((const char *)elements, (const char *)elements + (size_t)count * size_of(type))};
    return CUDNN_STATUS_SUCCESS;
}
EXPORTED int cudnnBackendFinalize(void *of)
{
    descriptor *d = (descriptor *)of;
    d->finished = true;
    if (kinds.count(d->type))
        check(d);
    if (d->type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)
        CHECK(one<void *>(d, CUDNN_ATTR_OPERATIONGRAPH_HANDLE) && operations_of(d).size() <= 3);
    const int error = d->real ? finish_real(d) : CUDNN_STATUS_SUCCESS;
    if (d->type != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)
        return error;
    const descriptor *config = part(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    d->graph = config->graph, d->engine = config->engine;
    return d->engine == 2 ? CUDNN_STATUS_NOT_SUPPORTED : error;
}

static int results(const descriptor *heuristics, int64_t wanted, int64_t *count, void **configs)
{
    descriptor *graph = part(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    const descriptor *first = operations_of(graph)[0];
    const int64_t channels = tensor_of(first, kinds.at(first->type).y).sizes[1];
    const bool fallback = one<int>(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE) == CUDNN_HEUR_MODE_FALLBACK;
    std::vector<int> engines = {0, 1, 2, 3, 4};
    if (channels == 107)
        engines = {};
    else if (fallback)
        engines = {5};
    else if (channels == 105)
        engines = {0, 1};
    *count = (int64_t)engines.size();
    asked += wanted == 0;
    if (with_real) {
        std::vector<void *> others;
        unplanned.graphs.insert(graph);
        for (int64_t i = 0; i < wanted; i++) {
            descriptor *config = (descriptor *)configs[i];
            config->finished = true, config->graph = graph, config->engine = 6;
            others.push_back(config->real);
        }
        return real.cudnnBackendGetAttribute(heuristics->real, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, wanted, count, others.data());
    }
    for (size_t i = 0; i < engines.size() && (int64_t)i < wanted; i++) {
        descriptor *config = (descriptor *)configs[i];
        CHECK(config->type == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
        config->finished = true, config->graph = graph, config->engine = engines[i];
    }
    return CUDNN_STATUS_SUCCESS;
}

EXPORTED int cudnnBackendGetAttribute(void *of, int name, int type, int64_t wanted, int64_t *count, void *elements)
{
    const descriptor *d = (const descriptor *)of;
    CHECK(d->finished);
    *count = 1;
    if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS && type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        return results(d, wanted, count, (void **)elements);
    if (name == CUDNN_ATTR_ENGINECFG_ENGINE && type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
        descriptor *of_config = *(descriptor **)elements;
        CHECK(wanted == 1 && of_config->type == CUDNN_BACKEND_ENGINE_DESCRIPTOR);
        of_config->finished = true, of_config->graph = d->graph, of_config->engine = d->engine;
        if (with_real)
            return real.cudnnBackendGetAttribute(d->real, name, type, wanted, count, &of_config->real);
    } else if (with_real) {
        return real.cudnnBackendGetAttribute(d->real, name, type, wanted, count, elements);
    } else if (name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE && type == CUDNN_TYPE_NUMERICAL_NOTE) {
        *count = d->engine < 2;
        if (d->engine < 2)
            *(int *)elements = d->engine == 0 ? CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC : CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
    } else if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE && type == CUDNN_TYPE_INT64)
        *(int64_t *)elements = d->engine == 3 ? 1 << 30 : d->engine == 4 ? 1000 : 0;
    else
        return CUDNN_STATUS_BAD_PARAM;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- running ---------------------------------------------------------------------------------------------------------------- */

struct running {
    std::map<int64_t, float *> at; /* tensors by their ids */
    std::map<int64_t, std::vector<float>> inner;
    int bits; /* of a product's operands' fractions; 0: all */

    float *data(const tensor &t)
    {
        if (t.is_virtual) {
            inner[t.id].resize((size_t)(t.sizes[0] * t.sizes[1] * t.sizes[2] * t.sizes[3]));
            return inner[t.id].data();
        }
        CHECK(at.count(t.id) && (uintptr_t)at[t.id] % (size_t)t.alignment == 0);
        return at[t.id];
    }
    float operand(float x) const { return bits ? rounded(x, bits) : x; }

    /* Each product of an element of x, of the weight and of y: what is added to is what the kind says. */
    void convolve(const descriptor *operation)
    {
        const convolution &of = kinds.at(operation->type);
        const descriptor *how = part(operation, of.conv, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
        const tensor x = tensor_of(operation, of.x), w = tensor_of(operation, of.weight), y = tensor_of(operation, of.y);
        const auto pad = all<int64_t>(how, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 2), stride = all<int64_t>(how, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 2);
        const auto dil = all<int64_t>(how, CUDNN_ATTR_CONVOLUTION_DILATIONS, 2);
        const int64_t groups = x.sizes[1] / w.sizes[1], out = w.sizes[0] / groups;
        float *const px = data(x), *const pw = data(w), *const py = data(y);
        const tensor &result = operation->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR         ? y
                               : operation->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR ? x
                                                                                                                 : w;
        std::vector<double> sums((size_t)(result.sizes[0] * result.sizes[1] * result.sizes[2] * result.sizes[3]));
        for (int64_t n = 0; n < y.sizes[0]; n++)
            for (int64_t co = 0; co < y.sizes[1]; co++)
                for (int64_t oy = 0; oy < y.sizes[2]; oy++)
                    for (int64_t ox = 0; ox < y.sizes[3]; ox++)
                        for (int64_t ci = 0; ci < w.sizes[1]; ci++)
                            for (int64_t ky = 0; ky < w.sizes[2]; ky++)
                                for (int64_t kx = 0; kx < w.sizes[3]; kx++) {
                                    const int64_t iy = oy * stride[0] - pad[0] + ky * dil[0], ix = ox * stride[1] - pad[1] + kx * dil[1];
                                    if (iy < 0 || iy >= x.sizes[2] || ix < 0 || ix >= x.sizes[3])
                                        continue;
                                    const int64_t ax = x.at(n, co / out * w.sizes[1] + ci, iy, ix);
                                    const int64_t aw = w.at(co, ci, ky, kx), ay = y.at(n, co, oy, ox);
                                    if (&result == &y)
                                        sums[(size_t)ay] += (double)operand(px[ax]) * operand(pw[aw]);
                                    else if (&result == &x)
                                        sums[(size_t)ax] += (double)operand(py[ay]) * operand(pw[aw]);
                                    else
                                        sums[(size_t)aw] += (double)operand(px[ax]) * operand(py[ay]);
                                }
        float *to_data = data(result);
        for (size_t i = 0; i < sums.size(); i++)
            to_data[i] = (float)sums[i];
    }

    void pointwise(const descriptor *operation)
    {
        const descriptor *how = part(operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
        const bool adds = one<int>(how, CUDNN_ATTR_POINTWISE_MODE) == CUDNN_POINTWISE_ADD;
        const tensor x = tensor_of(operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC), y = tensor_of(operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
        const tensor b = adds ? tensor_of(operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC) : x;
        const float *px = data(x), *pb = data(b);
        float *py = data(y);
        CHECK(adds || one<int>(how, CUDNN_ATTR_POINTWISE_NAN_PROPAGATION) == CUDNN_PROPAGATE_NAN);
        for (int64_t i = 0; i < y.sizes[0]; i++)
            for (int64_t j = 0; j < y.sizes[1]; j++)
                for (int64_t k = 0; k < y.sizes[2]; k++)
                    for (int64_t l = 0; l < y.sizes[3]; l++) {
                        const float v = px[x.at(i, j, k, l)];
                        py[y.at(i, j, k, l)] = adds ? v + pb[b.at(i, j, k, l)] : v < 0 ? 0 : v;
                    }
    }
};

EXPORTED int cudnnBackendExecute(void *handle, void *plan, void *pack)
{
    const descriptor *p = (const descriptor *)plan, *given = (const descriptor *)pack;
    CHECK(p->finished && given->finished && p->engine != 2 && p->engine != 3);
    const descriptor *first = operations_of(p->graph)[0];
    if (tensor_of(first, kinds.at(first->type).y).sizes[1] == FAILING)
        return CUDNN_STATUS_BAD_PARAM;
    const auto ids = all<int64_t>(given, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, 0);
    const auto pointers = all<float *>(given, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, ids.size());
    void *workspace = one<void *>(given, CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
    running r;
    r.bits = p->engine == 1 ? 10 : 0;
    for (size_t i = 0; i < ids.size(); i++)
        r.at[ids[i]] = pointers[i];
    engine = p->engine;
    ran++;
    unplanned.graphs.erase(p->graph);
    on_device(*(cudaStream_t *)handle, [=]() mutable {
        for (const descriptor *operation : operations_of(p->graph))
            kinds.count(operation->type) ? r.convolve(operation) : r.pointwise(operation);
        if (p->engine == 4)
            memset(workspace, 7, 1000);
    });
    return CUDNN_STATUS_SUCCESS;
}
