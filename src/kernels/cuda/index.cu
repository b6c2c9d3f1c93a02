/* Gathering and scattering by byte offsets, and masks. */
#include "kernels/cuda/sort.h"

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

/* The same of rows that lie side by side: 16 bytes at a time where an offset allows it, else S by S. */
template <class S> TN_KERNEL gather_rows_kernel(tn_cuda_loop loop)
{
    const int64_t i = tn_this_thread();
    if (i >= loop.n)
        return;
    int64_t at[3];
    tn_places<3>(loop, i, at);
    char *to = loop.data[0] + at[0];
    const char *from = loop.data[1] + at[1] + *(const int64_t *)(loop.data[2] + at[2]);
    if ((uintptr_t)from % sizeof(tn_cuda_pack) == 0)
        *(tn_cuda_pack *)to = *(const tn_cuda_pack *)from;
    else
        for (size_t b = 0; b < sizeof(tn_cuda_pack); b += sizeof(S))
            *(S *)(to + b) = *(const S *)(from + b);
}

tn_status tn_cuda_gather(size_t element, const tn_loop *from)
{
    const size_t sizes[3] = {element, element, sizeof(int64_t)};
    tn_cuda_loop loop = tn_cuda_loop_of(from, sizes);
    if (loop.ndim > 0 && loop.strides[2][loop.ndim - 1] == 0 && tn_cuda_widen(&loop, 2, element))
        TN_FOR_SIZE(element, TN_LAUNCH_EACH(gather_rows_kernel<S>, loop.n, loop))
    else
        TN_FOR_SIZE(element, TN_LAUNCH_EACH(gather_kernel<S>, loop.n, loop))
    return tn_cuda_status("gather");
}

/* What values come to in one place: a sum, a last one. */
template <class S> struct gathered {
    typedef typename tn_work<S>::T T;
    typedef typename std::conditional<std::is_integral<S>::value, uint64_t, T>::type A;
    __device__ static A of(S x) { return (A)tn_load(x); }
    __device__ static void put(S *target, A sum, bool add)
    {
        if constexpr (std::is_same<S, bool>::value)
            *target = sum != 0 || (add && *target);
        else if constexpr (std::is_integral<S>::value)
            *target = (S)(add ? (uint64_t)*target + sum : sum);
        else
            *target = tn_store<S>(add ? tn_load(*target) + sum : sum);
    }
};

/* For few steps: a thread has one place along the dims that walk the target itself, whose places are distinct elements whatever the offsets say, and
 * goes through the others in order: each element gets its values in one order, always. The loop's first `lanes` dims are those of the threads. */
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
        gathered<S>::put((S *)(loop.data[1] + to + *(const int64_t *)(loop.data[2] + at)), gathered<S>::of(tn_element<S>(loop, 0, from)), add);
    }
}

/* For many: what goes to one element of the target is brought together by a stable sort, and added up in the order in which it stands. The loop's
 * first `lanes` dims walk the target and share their offsets; the others, `keys` places of them, are sorted by where they go. */
struct spread {
    tn_cuda_loop loop;
    int lanes;
    int64_t width, keys;    /* places along the lanes; the others */
    const int64_t *to, *of; /* [keys]: bytes from the target's start, ascending; which place goes there */
    void *parts;            /* A[keys / CHUNK + 1, width] */
    bool add;
};
enum { CHUNK = 64 }; /* so many are added up by one thread; it depends on the shape alone */

/* Byte offset of place i of the dims first ... end in operand k. */
TN_DEVICE int64_t offset_in(const tn_cuda_loop &loop, int k, int first, int end, int64_t i)
{
    int64_t offset = 0;
    for (int d = end - 1; d >= first; d--) {
        const int64_t rest = d == first ? 0 : tn_quotient(i, loop.sizes[d]);
        offset += (i - rest * loop.sizes[d]) * loop.strides[k][d];
        i = rest;
    }
    return offset;
}
TN_KERNEL spread_keys_kernel(spread s, int64_t *to, int64_t *of)
{
    const int64_t i = tn_this_thread();
    if (i >= s.keys)
        return;
    to[i] = offset_in(s.loop, 1, s.lanes, s.loop.ndim, i) + *(const int64_t *)(s.loop.data[2] + offset_in(s.loop, 2, s.lanes, s.loop.ndim, i));
    of[i] = i;
}

/* Lanes of one thread: N of them, a share of the width apart. */
template <class S, int N> struct strand {
    typename gathered<S>::A sum[N];
    int64_t lane[N], near[N];

    __device__ strand(const spread &s, int64_t first)
    {
        TN_UNROLL
        for (int k = 0; k < N; k++) {
            lane[k] = first + k * (s.width / N);
            near[k] = offset_in(s.loop, 0, 0, s.lanes, lane[k]);
        }
    }
    /* The sums of the values from key i on, to the end of the chunk or of those that go to one place; the last of them instead where nothing is added. */
    __device__ void chunk(const spread &s, int64_t i)
    {
        const int64_t to = s.to[i], end = (i / CHUNK + 1) * CHUNK < s.keys ? (i / CHUNK + 1) * CHUNK : s.keys;
        TN_UNROLL
        for (int k = 0; k < N; k++)
            sum[k] = 0;
        for (; i < end && s.to[i] == to; i++) {
            const int64_t from = offset_in(s.loop, 0, s.lanes, s.loop.ndim, s.of[i]);
            TN_UNROLL
            for (int k = 0; k < N; k++)
                merge(s, k, gathered<S>::of(tn_element<S>(s.loop, 0, near[k] + from)));
        }
    }
    __device__ void merge(const spread &s, int k, typename gathered<S>::A value) { sum[k] = s.add ? sum[k] + value : value; }
};
/* A thread for some lanes of a chunk that begins amid those of one place. */
template <class S, int N> TN_KERNEL spread_parts_kernel(spread s)
{
    const int64_t e = tn_this_thread(), each = s.width / N, chunk = tn_quotient(e, each) + 1, i = chunk * CHUNK;
    if (i >= s.keys || s.to[i] != s.to[i - 1])
        return;
    strand<S, N> own(s, e - (chunk - 1) * each);
    own.chunk(s, i);
    TN_UNROLL
    for (int k = 0; k < N; k++)
        ((typename gathered<S>::A *)s.parts)[chunk * s.width + own.lane[k]] = own.sum[k];
}
/* A thread for some lanes of a key: the first of those that go to one place has the work. */
template <class S, int N> TN_KERNEL spread_kernel(spread s)
{
    const int64_t e = tn_this_thread(), each = s.width / N, i = tn_quotient(e, each);
    if (i >= s.keys || (i > 0 && s.to[i] == s.to[i - 1]))
        return;
    const int64_t to = s.to[i];
    strand<S, N> own(s, e - i * each);
    own.chunk(s, i);
    for (int64_t chunk = i / CHUNK + 1; chunk * CHUNK < s.keys && s.to[chunk * CHUNK] == to; chunk++)
        for (int k = 0; k < N; k++)
            own.merge(s, k, ((const typename gathered<S>::A *)s.parts)[chunk * s.width + own.lane[k]]);
    TN_UNROLL
    for (int k = 0; k < N; k++)
        gathered<S>::put((S *)(s.loop.data[1] + to + offset_in(s.loop, 1, 0, s.lanes, own.lane[k])), own.sum[k], s.add);
}
template <class S, int N> static void spread_by(const spread &s)
{
    auto parts = spread_parts_kernel<S, N>, sums = spread_kernel<S, N>;
    if (s.keys > CHUNK)
        TN_LAUNCH_EACH(parts, (s.keys - 1) / CHUNK * (s.width / N), s);
    TN_LAUNCH_EACH(sums, s.loop.n / N, s);
}

/* from's dims in another order: first those of which `first` has a bit. */
static tn_loop reordered(const tn_loop *from, unsigned first, int64_t *count, int *dims)
{
    tn_loop to = *from;
    int at = 0;
    *count = 1;
    *dims = 0;
    for (int turn = 1; turn >= 0; turn--)
        for (int d = 0; d < from->ndim; d++)
            if ((int)(first >> d & 1) == turn) {
                to.sizes[at] = from->sizes[d];
                for (int k = 0; k < 3; k++)
                    to.strides[k][at] = from->strides[k][d];
                *count *= turn ? from->sizes[d] : 1;
                *dims += turn;
                at++;
            }
    return to;
}

template <class S> static tn_status spread_all(const tn_loop *from, unsigned shared, bool add, const size_t *sizes)
{
    spread s = {};
    const tn_loop ordered = reordered(from, shared, &s.width, &s.lanes);
    s.loop = tn_cuda_loop_of(&ordered, sizes);
    s.keys = s.loop.n / s.width;
    s.add = add;
    tn_cuda_sorted<int64_t> sorted(1, s.keys);
    tn_cuda_scratch parts((size_t)((s.keys / CHUNK + 1) * s.width) * sizeof(typename gathered<S>::A));
    if (!sorted.good() || !parts.data)
        return TN_ERR_MEMORY;
    s.parts = parts.data;
    TN_LAUNCH_EACH(spread_keys_kernel, s.keys, s, sorted.values, sorted.indices);
    sorted.sort(false);
    s.to = sorted.values;
    s.of = sorted.indices;
    if (s.width % 4 == 0)
        spread_by<S, 4>(s);
    else
        spread_by<S, 1>(s);
    return TN_OK;
}

tn_status tn_cuda_scatter(tn_dtype dtype, bool add, const tn_loop *from)
{
    enum { FEW = 16 };
    const size_t sizes[3] = {tn_cuda_size(dtype), tn_cuda_size(dtype), sizeof(int64_t)};
    unsigned walking = 0, shared = 0;
    int lanes;
    int64_t threads, all = 1;
    for (int d = 0; d < from->ndim; d++) {
        all *= from->sizes[d];
        walking |= from->strides[1][d] != 0 ? 1u << d : 0;
        shared |= from->strides[1][d] != 0 && from->strides[2][d] == 0 ? 1u << d : 0;
    }
    const tn_loop ordered = reordered(from, walking, &threads, &lanes);
    tn_status status = TN_OK;
    if (all / threads > FEW) {
        TN_FOR_DTYPE(dtype, status = spread_all<S>(from, shared, add, sizes))
    } else {
        const tn_cuda_loop loop = tn_cuda_loop_of(&ordered, sizes);
        TN_FOR_DTYPE(dtype, TN_LAUNCH_EACH(scatter_kernel<S>, threads, loop, lanes, add))
    }
    return status == TN_OK ? tn_cuda_status("scatter") : status;
}

/* ---- masks ----------------------------------------------------------------------------------------------------------------- */

/* A block for a chunk of the mask: each of its threads counts, then writes, its share, in order. counts are those of the chunks, then where each
 * begins in out. */
enum { MASK_CHUNK = 4096 };
TN_KERNEL positions_kernel(int64_t n, const bool *mask, int64_t *counts, int64_t *out)
{
    __shared__ int own[TN_THREADS];
    const int64_t share = MASK_CHUNK / TN_THREADS, begin = (int64_t)blockIdx.x * MASK_CHUNK + threadIdx.x * share, end = begin + share < n ? begin + share : n;
    int found = 0, before = 0;
    for (int64_t i = begin; i < end; i++)
        found += mask[i];
    own[threadIdx.x] = found;
    __syncthreads();
    for (int k = 0; k < (int)threadIdx.x; k++)
        before += own[k];
    if (!out && threadIdx.x == TN_THREADS - 1)
        counts[blockIdx.x] = before + found;
    for (int64_t i = begin, at = out ? counts[blockIdx.x] + before : 0; i < end && out; i++)
        if (mask[i])
            out[at++] = i;
}
/* One block: the sum of all before each chunk, and after them that of all. */
TN_KERNEL positions_starts_kernel(int64_t chunks, int64_t *counts)
{
    __shared__ int64_t sums[TN_THREADS];
    const int t = threadIdx.x;
    const int64_t share = tn_blocks(chunks, TN_THREADS), begin = t * share, end = begin + share < chunks ? begin + share : chunks;
    int64_t sum = 0, before = 0;
    for (int64_t i = begin; i < end; i++)
        sum += counts[i];
    sums[t] = sum;
    __syncthreads();
    for (int k = 0; k < t; k++)
        before += sums[k];
    for (int64_t i = begin; i < end; i++) {
        const int64_t own = counts[i];
        counts[i] = before;
        before += own;
    }
    if (t == TN_THREADS - 1)
        counts[chunks] = before;
}

tn_status tn_cuda_positions(int64_t n, const bool *mask, int64_t *out, int64_t *count)
{
    const int64_t chunks = tn_blocks(n, MASK_CHUNK);
    tn_cuda_scratch scratch((size_t)(chunks + 1) * sizeof(int64_t));
    int64_t *counts = (int64_t *)scratch.data;
    if (!counts)
        return TN_ERR_MEMORY;
    if (n > 0)
        TN_LAUNCH(positions_kernel, chunks, TN_THREADS, n, mask, counts, (int64_t *)NULL);
    TN_LAUNCH(positions_starts_kernel, 1, TN_THREADS, chunks, counts);
    if (n > 0 && out)
        TN_LAUNCH(positions_kernel, chunks, TN_THREADS, n, mask, counts, out);
    const tn_status status = tn_cuda_status("positions");
    return status == TN_OK ? tn_cuda_fetch(count, counts + chunks, sizeof *count) : status;
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
