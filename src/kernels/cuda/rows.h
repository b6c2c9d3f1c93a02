/* Rows that a block keeps in its threads' registers. */
#ifndef TN_CUDA_ROWS_H
#define TN_CUDA_ROWS_H

#include "kernels/cuda/math.h"

/* A block's row of n elements: V times 16 bytes to each thread, pack i of all threads side by side. */
template <class S, int V> struct kept_row {
    typedef typename tn_work<S>::T T;
    enum { COUNT = 16 / sizeof(S) };
    struct alignas(16) pack { S v[COUNT]; };
    T v[V][COUNT];

    __device__ static int64_t place(int i) { return ((int64_t)i * blockDim.x + threadIdx.x) * COUNT; }
    __device__ void load(const S *row, int64_t n)
    {
        TN_UNROLL
        for (int i = 0; i < V; i++)
            if (place(i) < n) {
                const pack p = *(const pack *)(row + place(i));
                TN_UNROLL
                for (int k = 0; k < COUNT; k++)
                    v[i][k] = tn_load(p.v[k]);
            }
    }
    __device__ void store(S *row, int64_t n) const
    {
        TN_UNROLL
        for (int i = 0; i < V; i++)
            if (place(i) < n) {
                pack p;
                TN_UNROLL
                for (int k = 0; k < COUNT; k++)
                    p.v[k] = tn_store<S>(v[i][k]);
                *(pack *)(row + place(i)) = p;
            }
    }
    /* body(i, k) for each element that is the thread's. */
    template <class Body> __device__ static void each(int64_t n, Body body)
    {
        TN_UNROLL
        for (int i = 0; i < V; i++)
            if (place(i) < n) {
                TN_UNROLL
                for (int k = 0; k < COUNT; k++)
                    body(i, k);
            }
    }
};
/* Threads of a block that keeps a row of n elements of so many bytes, at most `most` packs each; 0: it cannot. `places` are the arrays' addresses,
 * or-ed. */
static inline int threads_that_keep(int64_t n, size_t element, uintptr_t places, int most)
{
    const int64_t count = 16 / (int64_t)element;
    return n % count == 0 && places % 16 == 0 && n >= 16 && n <= count * most * TN_THREADS ? tn_threads(tn_blocks(n / count, 4)) : 0;
}
/* Statements with V the packs of a thread. */
#define WITH_PACKS(packs, ...)                                                                                                \
    do {                                                                                                                      \
        if ((packs) <= 1) {                                                                                                   \
            enum { V = 1 };                                                                                                   \
            __VA_ARGS__;                                                                                                      \
        } else if ((packs) <= 2) {                                                                                            \
            enum { V = 2 };                                                                                                   \
            __VA_ARGS__;                                                                                                      \
        } else if ((packs) <= 4) {                                                                                            \
            enum { V = 4 };                                                                                                   \
            __VA_ARGS__;                                                                                                      \
        } else {                                                                                                              \
            enum { V = 8 };                                                                                                   \
            __VA_ARGS__;                                                                                                      \
        }                                                                                                                     \
    } while (0)

#endif
