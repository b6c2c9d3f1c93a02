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
enum { ITEMS = 20, EACH = 32 }; /* bytes of an array to each thread */
struct items {
    int count;
    tn_step_item item[ITEMS];
    int64_t block[ITEMS + 1]; /* the first block of each, and the end */
};

#define TO(name) (T)c.name,
#define UPDATES(X)                                                                                                            \
    X(SGD, sgd) X(ADAM, adam) X(RMSPROP, rmsprop) X(ADADELTA, adadelta) X(ADAMAX, adamax) X(LION, lion) X(MUON, muon) X(SCALE, scale) \
    X(CLAMP, clamp) X(LERP, lerp) X(SWAP, swap)
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
#define UPDATE(OP, name)                                                                                                      \
    if constexpr (op == TN_STEP_##OP) {                                                                                       \
        if constexpr (std::is_same<T, float>::value)                                                                          \
            return name##_f32(k, w, x, m0, m1, m2, states);                                                                   \
        else                                                                                                                  \
            return name##_f64(k, w, x, m0, m1, m2, states);                                                                   \
    }
template <tn_step_op op, class T, class Scalars>
TN_DEVICE T update(const Scalars &k, T w, T x, T *m0, T *m1, T *m2, int states)
{
    UPDATES(UPDATE)
}

/* What a thread has of an item: packs of COUNT elements side by side, a block's threads apart, of which the first begins at element `first`. `whole`: all
 * of them are there. */
template <class T, int COUNT, bool whole> struct share {
    enum { PACKS = EACH / (int)sizeof(T) / COUNT };
    struct alignas(COUNT * sizeof(T)) pack { T v[COUNT]; };
    typedef pack packs[PACKS];
    int64_t first, n;

    __device__ int64_t place(int i) const { return first + i * TN_THREADS * COUNT; }
    __device__ void get(const void *from, packs v) const
    {
        TN_UNROLL
        for (int i = 0; i < PACKS; i++)
            v[i] = from && (whole || place(i) < n) ? *(const pack *)((const T *)from + place(i)) : pack();
    }
    __device__ void put(void *to, const packs v) const
    {
        TN_UNROLL
        for (int i = 0; i < PACKS; i++)
            if (to && (whole || place(i) < n))
                *(pack *)((T *)to + place(i)) = v[i];
    }
};
template <tn_step_op op, class T, int COUNT, bool whole> TN_DEVICE void step_share(const tn_step_item &item, int64_t block)
{
    typedef share<T, COUNT, whole> mine;
    const mine own = {block * TN_THREADS * (EACH / (int)sizeof(T)) + threadIdx.x * COUNT, item.n};
    typename mine::packs w, x, a, b, c;
    own.get(item.p, w);
    own.get(item.g, x);
    own.get(item.state[0], a);
    own.get(item.state[1], b);
    own.get(item.state[2], c);
    const auto k = scalars_of(item.c, (T)0);
    const int states = (item.state[0] ? 1 : 0) | (item.state[1] ? 2 : 0) | (item.state[2] ? 4 : 0);
    TN_UNROLL
    for (int i = 0; i < mine::PACKS; i++) {
        TN_UNROLL
        for (int j = 0; j < COUNT; j++) {
            T &v = w[i].v[j];
            v *= k.shrink;
            v = update<op>(k, v, k.sign * x[i].v[j] + k.decay * v, &a[i].v[j], &b[i].v[j], &c[i].v[j], states);
        }
    }
    own.put(item.p, w);
    own.put(item.state[0], a);
    if (op != TN_STEP_MUON)
        own.put(item.state[1], b);
    own.put(item.state[2], c);
}

/* 16 bytes at a time where the block has all that it can take, from multiples of that. */
template <tn_step_op op, class T> TN_DEVICE void step(const items &all)
{
    int which = 0;
    while (which + 1 < all.count && all.block[which + 1] <= blockIdx.x)
        which++;
    const tn_step_item &item = all.item[which];
    const int64_t block = blockIdx.x - all.block[which];
    uintptr_t places = (uintptr_t)item.p | (uintptr_t)item.g;
    for (int s = 0; s < TN_STEP_STATES; s++)
        places |= (uintptr_t)item.state[s];
    if (places % 16 == 0 && (block + 1) * TN_THREADS * (EACH / (int)sizeof(T)) <= item.n)
        step_share<op, T, 16 / sizeof(T), true>(item, block);
    else
        step_share<op, T, 1, false>(item, block);
}

template <tn_step_op op, class T> TN_KERNEL step_kernel(items all) { step<op, T>(all); }
/* The same of a replayed graph, whose scalars change. */
template <tn_step_op op, class T> TN_KERNEL step_kernel_at(const items *all) { step<op, T>(*all); }

/* `there`: where a replayed graph has the items, else NULL. */
template <class T> static void launch(const items &all, const items *there, tn_step_op op)
{
#define LAUNCH(OP, name)                                                                                                      \
    case TN_STEP_##OP:                                                                                                        \
        if (there)                                                                                                            \
            TN_LAUNCH((step_kernel_at<TN_STEP_##OP, T>), all.block[all.count], TN_THREADS, there);                            \
        else                                                                                                                  \
            TN_LAUNCH((step_kernel<TN_STEP_##OP, T>), all.block[all.count], TN_THREADS, all);                                 \
        break;
    switch (op) {
        UPDATES(LAUNCH)
    default:;
    }
}

/* scalars: where a replay has those of item k of the list, `places` of all's items; NULL where nothing is captured. */
template <class T> static bool capture(const items &all, tn_step_op op, const int *places, tn_step_scalars **scalars)
{
    void *host = NULL;
    const items *there = (const items *)tn_cuda_cell(&all, sizeof all, &host);
    if (!there)
        return false;
    for (int i = 0; i < all.count; i++)
        scalars[places[i]] = &((items *)host)->item[i].c;
    launch<T>(all, there, op);
    return true;
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
                    wide ? launch<double>(all, NULL, op) : launch<float>(all, NULL, op);
                else if (!(wide ? capture<double>(all, op, places, scalars.data()) : capture<float>(all, op, places, scalars.data())))
                    return TN_ERR_MEMORY;
                all.count = 0;
            }
            if (i == count || list[i].dtype != dtype || list[i].n == 0)
                continue;
            places[all.count] = i;
            all.item[all.count] = list[i];
            all.block[all.count + 1] = all.block[all.count] + tn_blocks(list[i].n, TN_THREADS * EACH / (wide ? 8 : 4));
            all.count++;
        }
    }
    if (captured)
        tn_cuda_replays_scalars(scalars.data(), count);
    return tn_cuda_status("optim_step");
}
