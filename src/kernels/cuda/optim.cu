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

template <class T> TN_DEVICE void step(const items &all, tn_step_op op)
{
    int which = 0;
    while (which + 1 < all.count && all.block[which + 1] <= blockIdx.x)
        which++;
    const tn_step_item &item = all.item[which];
    const auto k = scalars_of(item.c, (T)0);
    T *p = (T *)item.p, *m0 = (T *)item.state[0], *m1 = (T *)item.state[1], *m2 = (T *)item.state[2];
    const T *g = (const T *)item.g;
    const int states = (m0 ? 1 : 0) | (m1 ? 2 : 0) | (m2 ? 4 : 0);
    for (int j = 0; j < EACH; j++) {
        const int64_t i = (blockIdx.x - all.block[which]) * TN_THREADS * EACH + j * TN_THREADS + threadIdx.x;
        if (i >= item.n)
            return;
        const T w = p[i] * k.shrink, x = (g ? k.sign * g[i] : 0) + k.decay * w;
        T a = m0 ? m0[i] : 0, b = m1 ? m1[i] : 0, c = m2 ? m2[i] : 0;
        p[i] = update(op, k, w, x, &a, &b, &c, states);
        if (m0)
            m0[i] = a;
        if (m1 && op != TN_STEP_MUON)
            m1[i] = b;
        if (m2)
            m2[i] = c;
    }
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
