/* Gathering and scattering by byte offsets, masks, and sorting. */
#include "kernels/cuda/cuda.h"

/* ---- offsets --------------------------------------------------------------------------------------------------------------- */

struct terms {
    int count;
    bool wrap;
    const int64_t *index[TN_MAX_DIMS];
    int64_t sizes[TN_MAX_DIMS], strides[TN_MAX_DIMS];
};

/* One out of range is told later and counts as 0 here. */
TN_KERNEL offsets_kernel(int64_t n, terms t, int64_t *out, tn_cuda_flag *flag)
{
    const int64_t i = tn_this_thread();
    int64_t at = 0;
    if (i >= n)
        return;
    for (int k = 0; k < t.count; k++) {
        const int64_t index = t.index[k][i], size = t.sizes[k], place = index < 0 && t.wrap ? index + size : index;
        if (place < 0 || place >= size)
            tn_cuda_raise(flag, TN_WRONG_INDEX, index, size, i);
        else
            at += place * t.strides[k];
    }
    out[i] = at;
}

tn_status tn_cuda_offsets(tn_offsets *offsets)
{
    terms t = {offsets->count, offsets->wrap, {}, {}, {}};
    for (int k = 0; k < offsets->count; k++) {
        t.index[k] = offsets->index[k];
        t.sizes[k] = offsets->sizes[k];
        t.strides[k] = offsets->strides[k];
    }
    if (offsets->n > 0)
        TN_LAUNCH_EACH(offsets_kernel, offsets->n, offsets->n, t, offsets->out, tn_cuda_flag_of_device());
    return tn_cuda_status("offsets");
}

/* ---- gather, scatter ------------------------------------------------------------------------------------------------------- */

template <class S> TN_KERNEL gather_kernel(tn_cuda_loop loop)
{
    const int64_t i = tn_this_thread();
    if (i >= loop.n)
        return;
    int64_t at[3];
    tn_places<3>(loop, i, at);
    *(S *)(loop.data[0] + at[0]) = *(const S *)(loop.data[1] + at[1] + *(const int64_t *)(loop.data[2] + at[2]));
}

tn_status tn_cuda_gather(size_t element, const tn_loop *from)
{
    const size_t sizes[3] = {element, element, sizeof(int64_t)};
    const tn_cuda_loop loop = tn_cuda_loop_of(from, sizes);
    TN_FOR_SIZE(element, TN_LAUNCH_EACH(gather_kernel<S>, loop.n, loop))
    return tn_cuda_status("gather");
}

/* A thread has one place along the dims that walk the target itself, whose places are distinct elements whatever the offsets say, and goes
 * through the others in order: each element gets its values in one order, always. The loop's first `lanes` dims are those of the threads. */
template <class S> TN_KERNEL scatter_kernel(tn_cuda_loop loop, int lanes, bool add)
{
    int64_t lane = tn_this_thread(), threads = 1, steps = 1, near = 0, far = 0, offset = 0;
    for (int d = 0; d < loop.ndim; d++)
        (d < lanes ? threads : steps) *= loop.sizes[d];
    if (lane >= threads)
        return;
    for (int d = lanes - 1; d >= 0; d--) {
        const int64_t place = lane % loop.sizes[d];
        lane /= loop.sizes[d];
        near += place * loop.strides[0][d];
        far += place * loop.strides[1][d];
        offset += place * loop.strides[2][d];
    }
    for (int64_t step = 0; step < steps; step++) {
        int64_t rest = step, to = far, from = near, at = offset;
        for (int d = loop.ndim - 1; d >= lanes; d--) {
            const int64_t place = rest % loop.sizes[d];
            rest /= loop.sizes[d];
            from += place * loop.strides[0][d];
            to += place * loop.strides[1][d];
            at += place * loop.strides[2][d];
        }
        S *target = (S *)(loop.data[1] + to + *(const int64_t *)(loop.data[2] + at));
        const S value = tn_element<S>(loop, 0, from);
        if constexpr (std::is_integral<S>::value)
            *target = !add ? value : std::is_same<S, bool>::value ? (S)(*target || value) : (S)((uint64_t)*target + (uint64_t)value);
        else
            *target = add ? tn_store<S>(tn_load(*target) + tn_load(value)) : value;
    }
}

tn_status tn_cuda_scatter(tn_dtype dtype, bool add, const tn_loop *from)
{
    const size_t sizes[3] = {tn_cuda_size(dtype), tn_cuda_size(dtype), sizeof(int64_t)};
    tn_loop sorted = *from;
    int lanes = 0;
    int64_t threads = 1;
    for (int walks = 1; walks >= 0; walks--)
        for (int d = 0, to = walks ? 0 : lanes; d < from->ndim; d++)
            if ((from->strides[1][d] != 0) == (walks == 1)) {
                sorted.sizes[to] = from->sizes[d];
                for (int k = 0; k < 3; k++)
                    sorted.strides[k][to] = from->strides[k][d];
                threads *= walks ? from->sizes[d] : 1;
                lanes += walks;
                to++;
            }
    const tn_cuda_loop loop = tn_cuda_loop_of(&sorted, sizes);
    TN_FOR_DTYPE(dtype, TN_LAUNCH_EACH(scatter_kernel<S>, threads, loop, lanes, add))
    return tn_cuda_status("scatter");
}

/* ---- masks ----------------------------------------------------------------------------------------------------------------- */

/* One block: each thread counts, then writes, its share of the mask, in order. */
TN_KERNEL positions_kernel(int64_t n, const bool *mask, int64_t *out, int64_t *count)
{
    __shared__ int64_t counts[TN_THREADS];
    const int t = threadIdx.x;
    const int64_t share = tn_blocks(n, blockDim.x), begin = t * share, end = begin + share < n ? begin + share : n;
    int64_t found = 0;
    for (int64_t i = begin; i < end; i++)
        found += mask[i];
    counts[t] = found;
    __syncthreads();
    int64_t at = 0;
    for (int k = 0; k < t; k++)
        at += counts[k];
    if (t == (int)blockDim.x - 1)
        *count = at + found;
    for (int64_t i = begin; i < end && out; i++)
        if (mask[i])
            out[at++] = i;
}

tn_status tn_cuda_positions(int64_t n, const bool *mask, int64_t *out, int64_t *count)
{
    tn_cuda_scratch scratch(sizeof(int64_t));
    if (!scratch.data)
        return TN_ERR_MEMORY;
    const int threads = tn_threads(n / 4);
    TN_LAUNCH(positions_kernel, 1, threads, n, mask, out, (int64_t *)scratch.data);
    const tn_status status = tn_cuda_status("positions");
    return status == TN_OK ? tn_cuda_fetch(count, scratch.data, sizeof *count) : status;
}

struct dims { int64_t sizes[TN_MAX_DIMS]; };
TN_KERNEL unravel_kernel(int64_t n, const int64_t *positions, int ndim, dims d_, int64_t row, int64_t column, int64_t *out)
{
    const int64_t i = tn_this_thread();
    if (i >= n)
        return;
    int64_t rest = positions[i];
    for (int d = ndim - 1; d >= 0; d--) {
        out[i * row + d * column] = d == 0 ? rest : rest % d_.sizes[d];
        rest = d == 0 ? 0 : rest / d_.sizes[d];
    }
}

tn_status tn_cuda_unravel(int64_t n, const int64_t *positions, int ndim, const int64_t *sizes, int64_t row, int64_t column, int64_t *out)
{
    dims d = {};
    for (int k = 0; k < ndim; k++)
        d.sizes[k] = sizes[k];
    if (n > 0)
        TN_LAUNCH_EACH(unravel_kernel, n, n, positions, ndim, d, row, column, out);
    return tn_cuda_status("unravel");
}

/* ---- sorting --------------------------------------------------------------------------------------------------------------- */

/* Whether a stands before b: NaN is the greatest. */
template <class S> TN_DEVICE bool before(S a_, S b_, bool descending)
{
    const auto a = tn_load(a_), b = tn_load(b_);
    if (descending)
        return a != a ? b == b : a > b;
    return b != b ? a == a : a < b;
}

/* A thread counts what stands before its element: its place among the sorted. */
template <class S> TN_KERNEL rank_kernel(int64_t rows, int64_t n, int64_t k, bool descending, const S *x, S *values, int64_t *indices)
{
    const int64_t i = tn_this_thread(), row = i / n, own = i % n;
    if (row >= rows)
        return;
    x += row * n;
    const S mine = x[own];
    int64_t place = 0;
    for (int64_t j = 0; j < n && place < k; j++)
        place += before(x[j], mine, descending) || (j < own && !before(mine, x[j], descending));
    if (place < k) {
        values[row * k + place] = mine;
        indices[row * k + place] = own;
    }
}

tn_status tn_cuda_sort(tn_dtype dtype, const tn_sort_rows *r)
{
    if (r->rows > 0 && r->n > 0 && r->k > 0)
        TN_FOR_DTYPE(dtype, TN_LAUNCH_EACH(rank_kernel<S>, r->rows * r->n, r->rows, r->n, r->k, r->descending, (const S *)r->x, (S *)r->values,
                                           r->indices))
    return tn_cuda_status("sort");
}
