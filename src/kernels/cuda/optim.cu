/* The optimisers' updates: many tensors in one launch. */
#include "kernels/cuda/cuda.h"

#include <vector>

#define INLINE __device__ static __forceinline__
#define UNUSED __attribute__((unused))
#define T float
#define NAME(x) x##_f32
#define SQRT sqrtf
#include "kernels/optim_updates.h"
#undef T
#undef NAME
#undef SQRT
#define T double
#define NAME(x) x##_f64
#define SQRT sqrt
#include "kernels/optim_updates.h"
#undef T
#undef NAME
#undef SQRT

/* Of one dtype; what a launch takes by value. */
enum { ITEMS = 20, EACH = 4 };
struct items {
    int count;
    tn_step_item item[ITEMS];
    int64_t block[ITEMS + 1]; /* the first block of each, and the end */
};

#define TO(name) (T)c.name,
#define UPDATES(X)                                                                                                            \
    X(SGD, sgd) X(ADAM, adam) X(RMSPROP, rmsprop) X(ADADELTA, adadelta) X(ADAMAX, adamax) X(LION, lion) X(MUON, muon) X(SCALE, scale) \
    X(CLAMP, clamp) X(LERP, lerp) X(SWAP, swap)
#define CASE_F32(OP, name) case TN_STEP_##OP: return name##_f32(k, w, x, m0, m1, m2, states);
#define CASE_F64(OP, name) case TN_STEP_##OP: return name##_f64(k, w, x, m0, m1, m2, states);
TN_DEVICE scalars_f32 scalars_of(const tn_step_scalars &c, float)
{
    typedef float T;
    const scalars_f32 k = {TN_STEP_SCALARS(TO)};
    return k;
}
TN_DEVICE scalars_f64 scalars_of(const tn_step_scalars &c, double)
{
    typedef double T;
    const scalars_f64 k = {TN_STEP_SCALARS(TO)};
    return k;
}
TN_DEVICE float update(tn_step_op op, const scalars_f32 &k, float w, float x, float *m0, float *m1, float *m2, int states)
{
    switch (op) {
        UPDATES(CASE_F32)
    default: return w;
    }
}
TN_DEVICE double update(tn_step_op op, const scalars_f64 &k, double w, double x, double *m0, double *m1, double *m2, int states)
{
    switch (op) {
        UPDATES(CASE_F64)
    default: return w;
    }
}

/* A thread's EACH elements of one array, side by side: 16 bytes at a time where all of them are there and begin at a multiple of that. */
template <class T> struct alignas(16) pack { T v[16 / sizeof(T)]; };
template <class T> TN_DEVICE void get(const T *from, int count, bool whole, T *v)
{
    constexpr int COUNT = 16 / sizeof(T);
    TN_UNROLL
    for (int j = 0; j < EACH && from && whole; j += COUNT) {
        const pack<T> p = *(const pack<T> *)(from + j);
        TN_UNROLL
        for (int i = 0; i < COUNT; i++)
            v[j + i] = p.v[i];
    }
    TN_UNROLL
    for (int j = 0; j < EACH; j++)
        if (!from)
            v[j] = 0;
        else if (!whole && j < count)
            v[j] = from[j];
}
template <class T> TN_DEVICE void put(T *to, int count, bool whole, const T *v)
{
    constexpr int COUNT = 16 / sizeof(T);
    TN_UNROLL
    for (int j = 0; j < EACH && to && whole; j += COUNT) {
        pack<T> p;
        TN_UNROLL
        for (int i = 0; i < COUNT; i++)
            p.v[i] = v[j + i];
        *(pack<T> *)(to + j) = p;
    }
    TN_UNROLL
    for (int j = 0; j < EACH; j++)
        if (to && !whole && j < count)
            to[j] = v[j];
}

template <class T> TN_DEVICE void step(const items &all, tn_step_op op)
{
    int which = 0;
    while (which + 1 < all.count && all.block[which + 1] <= blockIdx.x)
        which++;
    const tn_step_item &item = all.item[which];
    const auto k = scalars_of(item.c, (T)0);
    const int64_t first = ((blockIdx.x - all.block[which]) * TN_THREADS + threadIdx.x) * EACH;
    if (first >= item.n)
        return;
    T *p = (T *)item.p + first, *m[TN_STEP_STATES];
    const T *g = item.g ? (const T *)item.g + first : NULL;
    uintptr_t places = (uintptr_t)p | (uintptr_t)g;
    int states = 0;
    TN_UNROLL
    for (int s = 0; s < TN_STEP_STATES; s++) {
        m[s] = item.state[s] ? (T *)item.state[s] + first : NULL;
        places |= (uintptr_t)m[s];
        states |= m[s] ? 1 << s : 0;
    }
    const int count = item.n - first < EACH ? (int)(item.n - first) : EACH;
    const bool whole = count == EACH && places % 16 == 0;
    T w[EACH] = {}, x[EACH] = {}, a[EACH] = {}, b[EACH] = {}, c[EACH] = {};
    get(p, count, whole, w);
    get(g, count, whole, x);
    get(m[0], count, whole, a);
    get(m[1], count, whole, b);
    get(m[2], count, whole, c);
    TN_UNROLL
    for (int j = 0; j < EACH; j++) {
        w[j] *= k.shrink;
        w[j] = update(op, k, w[j], k.sign * x[j] + k.decay * w[j], &a[j], &b[j], &c[j], states);
    }
    put(p, count, whole, w);
    put(m[0], count, whole, a);
    if (op != TN_STEP_MUON)
        put(m[1], count, whole, b);
    put(m[2], count, whole, c);
}

template <class T> TN_KERNEL step_kernel(items all, tn_step_op op) { step<T>(all, op); }
/* The same of a replayed graph, whose scalars change. */
template <class T> TN_KERNEL step_kernel_at(const items *all, tn_step_op op) { step<T>(*all, op); }

/* scalars: where a replay has those of item k of the list, `places` of all's items; NULL where nothing is captured. */
static bool capture(const items &all, tn_dtype dtype, tn_step_op op, const int *places, tn_step_scalars **scalars)
{
    void *host = NULL;
    const items *there = (const items *)tn_cuda_cell(&all, sizeof all, &host);
    if (!there)
        return false;
    for (int i = 0; i < all.count; i++)
        scalars[places[i]] = &((items *)host)->item[i].c;
    if (dtype == TN_F64)
        TN_LAUNCH(step_kernel_at<double>, all.block[all.count], TN_THREADS, there, op);
    else
        TN_LAUNCH(step_kernel_at<float>, all.block[all.count], TN_THREADS, there, op);
    return true;
}

static void launch(const items &all, tn_dtype dtype, tn_step_op op)
{
    if (dtype == TN_F64)
        TN_LAUNCH(step_kernel<double>, all.block[all.count], TN_THREADS, all, op);
    else
        TN_LAUNCH(step_kernel<float>, all.block[all.count], TN_THREADS, all, op);
}

tn_status tn_cuda_optim_step(tn_step_op op, const tn_step_item *list, int count)
{
    static_assert(sizeof(items) <= 4000, "a launch takes 4 KiB by value");
    for (int i = 0; i < count; i++)
        if (list[i].dtype != TN_F32 && list[i].dtype != TN_F64)
            return tn_cuda_fail(TN_ERR_DTYPE, "optim_step: parameters are float32 or float64"), TN_ERR_DTYPE;
    const bool captured = tn_cuda_capturing();
    static tn_step_scalars nobody; /* of what is empty */
    std::vector<tn_step_scalars *> scalars(captured ? count : 0, &nobody);
    for (int wide = 0; wide < 2; wide++) {
        const tn_dtype dtype = wide ? TN_F64 : TN_F32;
        items all = {};
        int places[ITEMS];
        for (int i = 0; i <= count; i++) {
            if (all.count == ITEMS || (i == count && all.count)) {
                if (!captured)
                    launch(all, dtype, op);
                else if (!capture(all, dtype, op, places, scalars.data()))
                    return TN_ERR_MEMORY;
                all.count = 0;
            }
            if (i == count || list[i].dtype != dtype || list[i].n == 0)
                continue;
            places[all.count] = i;
            all.item[all.count] = list[i];
            all.block[all.count + 1] = all.block[all.count] + tn_blocks(list[i].n, TN_THREADS * EACH);
            all.count++;
        }
    }
    if (captured)
        tn_cuda_replays_scalars(scalars.data(), count);
    return tn_cuda_status("optim_step");
}
