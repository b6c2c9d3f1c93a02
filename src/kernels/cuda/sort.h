/* A stable sort of the rows of a matrix, of any length: a block sorts a tile in its own memory, then runs are merged two by two, each element
 * finding its place by a search in the other run. */
#ifndef TN_CUDA_SORT_H
#define TN_CUDA_SORT_H

#include "kernels/cuda/cuda.h"

enum { TN_SORT_TILE = 512 };

/* Whether a stands before b: NaN is the greatest. */
template <class S> TN_DEVICE bool tn_before(S a_, S b_, bool descending)
{
    const auto a = tn_load(a_), b = tn_load(b_);
    if (descending)
        return a != a ? b == b : a > b;
    return b != b ? a == a : a < b;
}

/* A block sorts n elements of a row from `tile` on; places beyond the end stand last. `size` is a power of two, two elements to a thread. Bitonic. */
template <class S> TN_KERNEL tn_sort_tiles(int64_t n, int64_t tiles, int size, bool descending, S *values, int64_t *indices)
{
    __shared__ S v[TN_SORT_TILE];
    __shared__ int which[TN_SORT_TILE];
    const int64_t at = blockIdx.x / tiles * n, first = blockIdx.x % tiles * size;
    const int count = n - first < size ? (int)(n - first) : size;
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        if (i < count)
            v[i] = values[at + first + i];
        which[i] = i;
    }
    __syncthreads();
    for (int run = 2; run <= size; run *= 2)
        for (int step = run / 2; step > 0; step /= 2) {
            for (int t = threadIdx.x; t < size / 2; t += blockDim.x) {
                const int a = t / step * 2 * step + t % step, b = a + step;
                const bool up = (a & run) == 0;
                const bool wrong = which[a] >= count || which[b] >= count ? which[a] > which[b] /* those beyond the end are in order by it */
                                   : tn_before(v[b], v[a], descending) || (!tn_before(v[a], v[b], descending) && which[b] < which[a]);
                if (wrong == up) {
                    const S value = v[a];
                    const int index = which[a];
                    v[a] = v[b], which[a] = which[b];
                    v[b] = value, which[b] = index;
                }
            }
            __syncthreads();
        }
    const int a = threadIdx.x, b = a + (int)blockDim.x; /* the indices of before are read before the first is written */
    const int64_t of_a = a < count ? indices[at + first + which[a]] : 0, of_b = b < count ? indices[at + first + which[b]] : 0;
    __syncthreads();
    if (a < count) {
        values[at + first + a] = v[a];
        indices[at + first + a] = of_a;
    }
    if (b < count) {
        values[at + first + b] = v[b];
        indices[at + first + b] = of_b;
    }
}

/* Merges runs of `run` elements, two by two. A thread for an element. */
template <class S> TN_KERNEL tn_sort_merge(int64_t rows, int64_t n, int64_t run, bool descending, const S *values, const int64_t *indices, S *to, int64_t *to_indices)
{
    const int64_t e = tn_this_thread(), row = e / n, i = e % n, pair = i / (2 * run) * 2 * run;
    if (row >= rows)
        return;
    const bool left = i < pair + run;
    const S mine = values[e];
    int64_t low = left ? pair + run : pair, high = left ? pair + 2 * run : pair + run;
    low = low < n ? low : n;
    high = high < n ? high : n;
    const int64_t begin = low;
    values += row * n;
    while (low < high) { /* how many of the other run stand before it: of equals the left ones */
        const int64_t middle = low + (high - low) / 2;
        if (left ? tn_before(values[middle], mine, descending) : !tn_before(mine, values[middle], descending))
            low = middle + 1;
        else
            high = middle;
    }
    const int64_t place = row * n + pair + (left ? i - pair : i - pair - run) + low - begin;
    to[place] = mine;
    to_indices[place] = indices[e];
}

/* Room for a sort: fill values and indices, [rows, n] each, then sort() and read them. */
template <class S> struct tn_cuda_sorted {
    int64_t rows, n;
    tn_cuda_scratch memory;
    S *values, *other;
    int64_t *indices, *other_indices;

    tn_cuda_sorted(int64_t r, int64_t each) : rows(r), n(each), memory((size_t)(2 * r * each) * (sizeof(S) + sizeof(int64_t)))
    {
        indices = (int64_t *)memory.data;
        other_indices = indices + rows * n;
        values = (S *)(other_indices + rows * n);
        other = values + rows * n;
    }
    bool good() const { return memory.data != NULL; }
    void sort(bool descending)
    {
        int size = 2;
        while (size < TN_SORT_TILE && size < n)
            size *= 2;
        const int64_t tiles = tn_blocks(n, size);
        if (rows * n > 0)
            TN_LAUNCH(tn_sort_tiles<S>, rows * tiles, tn_threads(size / 2), n, tiles, size, descending, values, indices);
        for (int64_t run = size; run < n; run *= 2) {
            TN_LAUNCH_EACH(tn_sort_merge<S>, rows * n, rows, n, run, descending, values, indices, other, other_indices);
            S *const was = values;
            int64_t *const were = indices;
            values = other, other = was;
            indices = other_indices, other_indices = were;
        }
    }
};

#endif
