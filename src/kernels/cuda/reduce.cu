/* Reductions over any dims, and running sums. An element is added to its thread's part in f64 or i64; a result's inputs are cut in chunks so
 * that few results keep the device busy too. All cuts depend on the shape alone, and parts are merged in the order of their elements. */
#include "kernels/cuda/cuda.h"

#include <optional>

/* What some of the inputs amount to: VAR keeps the sum of squares about the mean in value and the mean in second, LOGSUMEXP the sum of
 * exp(x - max) in value and max in second. A is double or int64_t. */
template <class A> struct part {
    A value;
    double second;
    int64_t index, count;
};

struct plan {
    tn_reduction r;
    tn_reduce_op op;
    int dtype;
    int64_t outer, inner; /* results; inputs of each */
    int64_t chunk, chunks;
    void *parts; /* part[chunks, outer], where chunks > 1 */
};

TN_DEVICE bool is_nan(double x) { return x != x; }
TN_DEVICE bool is_nan(int64_t) { return false; }
TN_DEVICE bool is_inf(double x) { return x == (double)INFINITY || x == -(double)INFINITY; }

TN_DEVICE double added(double a, double b) { return a + b; }
TN_DEVICE int64_t added(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); } /* wraps */

template <class A> TN_DEVICE part<A> nothing(tn_reduce_op op)
{
    part<A> s;
    s.value = op == TN_REDUCE_PROD || op == TN_REDUCE_ALL ? 1 : 0;
    s.second = op == TN_REDUCE_LOGSUMEXP ? -(double)INFINITY : 0;
    s.index = s.count = 0;
    return s;
}

/* a followed by b, whose index counts from b's start. */
template <class A> TN_DEVICE part<A> merged(tn_reduce_op op, double p, part<A> a, const part<A> &b)
{
    if (b.count == 0)
        return a;
    if (a.count == 0)
        return b;
    const bool max = op == TN_REDUCE_MAX || op == TN_REDUCE_ARGMAX;
    switch (op) {
    case TN_REDUCE_PROD: a.value *= b.value; break;
    case TN_REDUCE_ANY: a.value = a.value != 0 || b.value != 0; break;
    case TN_REDUCE_ALL: a.value = a.value != 0 && b.value != 0; break;
    case TN_REDUCE_MAX:
    case TN_REDUCE_MIN:
    case TN_REDUCE_ARGMAX:
    case TN_REDUCE_ARGMIN:
        if (!is_nan(a.value) && (is_nan(b.value) || (max ? b.value > a.value : b.value < a.value))) {
            a.value = b.value;
            a.index = a.count + b.index;
        }
        break;
    case TN_REDUCE_VAR:
    case TN_REDUCE_STD: {
        const double n = (double)(a.count + b.count), delta = b.second - a.second;
        a.value += b.value + (A)(delta * delta * ((double)a.count * (double)b.count / n));
        a.second += delta * ((double)b.count / n);
        break;
    }
    case TN_REDUCE_LOGSUMEXP: {
        const double top = a.second > b.second || is_nan(a.second) ? a.second : b.second, pivot = is_inf(top) ? 0 : top;
        if (top != -(double)INFINITY)
            a.value = (A)((a.value > 0 ? a.value * exp(a.second - pivot) : 0) + (b.value > 0 ? b.value * exp(b.second - pivot) : 0));
        a.second = top;
        break;
    }
    case TN_REDUCE_NORM:
        if (!is_inf(p) || is_nan(a.value) || is_nan(b.value))
            a.value += b.value;
        else if (p > 0 ? b.value > a.value : b.value < a.value)
            a.value = b.value;
        break;
    default: a.value = added(a.value, b.value);
    }
    a.count += b.count;
    return a;
}

/* One element as a part. */
template <class A> TN_DEVICE part<A> part_of(tn_reduce_op op, double p, A x)
{
    part<A> s = {x, 0, 0, 1};
    if (op == TN_REDUCE_ANY || op == TN_REDUCE_ALL)
        s.value = x != 0;
    if constexpr (std::is_same<A, double>::value) {
        if (op == TN_REDUCE_VAR || op == TN_REDUCE_STD) {
            s.second = x;
            s.value = is_nan(x) || is_inf(x) ? NAN : 0;
        } else if (op == TN_REDUCE_LOGSUMEXP) {
            s.second = x;
            s.value = x == -INFINITY ? 0 : is_nan(x) || is_inf(x) ? x : 1;
        } else if (op == TN_REDUCE_NORM) {
            const double size = fabs(x);
            s.value = p == 0 ? (x != 0 ? 1 : 0) : p == 1 || is_inf(p) ? size : p == 2 ? size * size : pow(size, p);
        }
    }
    return s;
}

TN_DEVICE int64_t offset_of(int ndim, const int64_t *sizes, const int64_t *strides, int64_t i)
{
    int64_t offset = 0;
    for (int d = ndim - 1; d > 0; d--) {
        offset += i % sizes[d] * strides[d];
        i /= sizes[d];
    }
    return ndim > 0 ? offset + i * strides[0] : 0;
}

/* The elements begin, begin + step, ... below end of a result. */
template <class S, class A> TN_DEVICE part<A> run(const plan &p, int64_t result, int64_t begin, int64_t end, int64_t step)
{
    const tn_reduction &r = p.r;
    const char *in = r.in + offset_of(r.outer_ndim, r.outer_sizes, r.outer_strides, result);
    part<A> s = nothing<A>(p.op);
    const bool plain = p.op == TN_REDUCE_SUM || p.op == TN_REDUCE_MEAN;
    if (plain && r.inner_ndim == 1) {
        TN_UNROLL_BY(8)
        for (int64_t i = begin; i < end; i += step)
            s.value = added(s.value, (A)tn_load(*(const S *)(in + i * r.inner_strides[0])));
        s.count = end - begin;
        return s;
    }
    for (int64_t i = begin; i < end; i += step) {
        const A x = (A)tn_load(*(const S *)(in + (r.inner_ndim == 1 ? i * r.inner_strides[0] : offset_of(r.inner_ndim, r.inner_sizes, r.inner_strides, i))));
        if (plain) {
            s.value = added(s.value, x);
            s.count++;
        } else {
            s = merged(p.op, r.param, s, part_of(p.op, r.param, x));
        }
    }
    return s;
}

template <class S, class A> TN_DEVICE void finish(const plan &p, int64_t result, const part<A> &s)
{
    const tn_reduction &r = p.r;
    if (r.index)
        *(int64_t *)(r.index + offset_of(r.outer_ndim, r.outer_sizes, r.index_strides, result)) = s.index;
    if (!r.out)
        return;
    char *out = r.out + offset_of(r.outer_ndim, r.outer_sizes, r.out_strides, result);
    const double count = (double)p.inner;
    if (p.op == TN_REDUCE_ANY || p.op == TN_REDUCE_ALL) {
        *(bool *)out = s.value != 0;
        return;
    }
    if constexpr (std::is_same<A, int64_t>::value) {
        if (p.op == TN_REDUCE_SUM || p.op == TN_REDUCE_PROD)
            *(int64_t *)out = s.value;
        else
            *(S *)out = tn_store<S>(s.value);
    } else {
        double v = s.value;
        switch (p.op) {
        case TN_REDUCE_MEAN: v /= count; break;
        case TN_REDUCE_VAR:
        case TN_REDUCE_STD:
            v = p.inner == 0 ? NAN : v / (count > r.param ? count - r.param : 0);
            v = p.op == TN_REDUCE_STD ? sqrt(v) : v;
            break;
        case TN_REDUCE_NORM: v = r.param == 2 ? sqrt(v) : r.param == 0 || r.param == 1 || is_inf(r.param) ? v : pow(v, 1 / r.param); break;
        case TN_REDUCE_LOGSUMEXP: v = log(v) + (is_inf(s.second) ? 0 : s.second); break;
        default:;
        }
        *(S *)out = tn_store<S>(v);
    }
}

template <class S, class A> TN_DEVICE void leave(const plan &p, int64_t result, int64_t chunk, const part<A> &s)
{
    if (p.chunks == 1)
        finish<S, A>(p, result, s);
    else
        ((part<A> *)p.parts)[chunk * p.outer + result] = s;
}
TN_DEVICE int64_t end_of(const plan &p, int64_t chunk) { return (chunk + 1) * p.chunk < p.inner ? (chunk + 1) * p.chunk : p.inner; }

/* A block's `lanes` results lie side by side, each has a column of the block's threads, and each of those a stretch of begin ... end. The column's
 * parts in its first thread, merged in order. */
template <class A, class Stretch> TN_DEVICE part<A> by_columns(const plan &p, int lanes, int64_t begin, int64_t end, Stretch stretch)
{
    __shared__ part<A> parts[TN_THREADS];
    const int row = threadIdx.x / lanes, rows = blockDim.x / lanes;
    const int64_t share = tn_blocks(end - begin, rows), from = begin + row * share < end ? begin + row * share : end;
    parts[threadIdx.x] = stretch(from, from + share < end ? from + share : end);
    for (int step = 1; step < rows; step *= 2) {
        __syncthreads();
        if (row % (2 * step) == 0 && row + step < rows)
            parts[threadIdx.x] = merged(p.op, p.r.param, parts[threadIdx.x], parts[threadIdx.x + step * lanes]);
    }
    return parts[threadIdx.x];
}

template <class S, class A> TN_KERNEL columns_kernel(plan p, int lanes)
{
    const int64_t blocks = tn_blocks(p.outer, lanes), chunk = blockIdx.x / blocks, result = blockIdx.x % blocks * lanes + threadIdx.x % lanes;
    const part<A> s = by_columns<A>(p, lanes, chunk * p.chunk, end_of(p, chunk), [&](int64_t begin, int64_t end) {
        return result < p.outer ? run<S, A>(p, result, begin, end, 1) : nothing<A>(p.op);
    });
    if ((int)threadIdx.x < lanes && result < p.outer)
        leave<S, A>(p, result, chunk, s);
}

/* A block for each. Its threads take turns element by element, but where the order shows they have a stretch each. */
template <class S, class A> TN_KERNEL by_blocks(plan p)
{
    const int64_t result = blockIdx.x / p.chunks, chunk = blockIdx.x % p.chunks, begin = chunk * p.chunk, end = end_of(p, chunk);
    const bool ordered = p.op == TN_REDUCE_ARGMAX || p.op == TN_REDUCE_ARGMIN;
    const int64_t share = tn_blocks(end - begin, blockDim.x), from = begin + threadIdx.x * (ordered ? share : 1);
    part<A> s = run<S, A>(p, result, from, ordered && from + share < end ? from + share : end, ordered ? 1 : blockDim.x);
    const tn_reduce_op op = p.op;
    const double param = p.r.param;
    s = tn_over_block(s, [op, param](const part<A> &a, const part<A> &b) { return merged(op, param, a, b); });
    if (threadIdx.x == 0)
        leave<S, A>(p, result, chunk, s);
}

template <class S, class A> TN_KERNEL merge_chunks(plan p, int lanes)
{
    const int64_t result = blockIdx.x * (int64_t)lanes + threadIdx.x % lanes;
    const part<A> s = by_columns<A>(p, lanes, 0, p.chunks, [&](int64_t begin, int64_t end) {
        part<A> all = nothing<A>(p.op);
        for (int64_t chunk = begin; chunk < end && result < p.outer; chunk++)
            all = merged(p.op, p.r.param, all, ((const part<A> *)p.parts)[chunk * p.outer + result]);
        return all;
    });
    if ((int)threadIdx.x < lanes && result < p.outer)
        finish<S, A>(p, result, s);
}

/* ---- sums of what lies side by side ---------------------------------------------------------------------------------------- */

enum { AHEAD = 8 }; /* loads of a thread before the first is used */
template <class S, int COUNT> struct alignas(COUNT * sizeof(S)) pack { S v[COUNT]; };

/* Leaves the sum of the values of a block's threads that are `apart`, 2 apart, ... below `all` (powers of two), from t on. */
template <class A> TN_DEVICE void sum_threads(A *values, int t, int apart, int all)
{
    for (int step = all / 2; step >= apart; step /= 2) {
        __syncthreads();
        if (t < step)
            values[0] = added(values[0], values[step]);
    }
}
template <class S, class A> TN_DEVICE void leave_sum(const plan &p, int64_t result, int64_t chunk, A sum)
{
    if (p.chunks > 1) {
        ((A *)p.parts)[chunk * p.outer + result] = sum;
        return;
    }
    part<A> s = {sum, 0, 0, p.inner};
    finish<S, A>(p, result, s);
}

/* Of dense rows: `lanes` threads for each chunk of a row, which take 16 bytes at a time from the first place that is a multiple of that. */
template <class S, class A> TN_KERNEL row_sums_kernel(plan p, int lanes)
{
    constexpr int COUNT = 16 / sizeof(S);
    typedef pack<S, COUNT> pack;
    __shared__ A values[TN_THREADS];
    const int t = threadIdx.x % lanes;
    const int64_t piece = (int64_t)blockIdx.x * (blockDim.x / lanes) + threadIdx.x / lanes, result = piece / p.chunks, chunk = piece % p.chunks;
    A sum = 0;
    if (result < p.outer) {
        const S *in = (const S *)(p.r.in + offset_of(p.r.outer_ndim, p.r.outer_sizes, p.r.outer_strides, result));
        const int64_t begin = chunk * p.chunk, end = end_of(p, chunk);
        const int64_t before = (16 - (int64_t)((uintptr_t)(in + begin) % 16)) % 16 / (int64_t)sizeof(S), first = begin + before < end ? begin + before : end;
        const int64_t packs = (end - first) / COUNT, after = first + packs * COUNT;
        A sums[COUNT] = {};
        for (int64_t i = t; i < packs; i += AHEAD * lanes) {
            pack x[AHEAD];
            TN_UNROLL
            for (int k = 0; k < AHEAD; k++)
                x[k] = i + k * lanes < packs ? *(const pack *)(in + first + (i + k * lanes) * COUNT) : pack();
            TN_UNROLL
            for (int k = 0; k < AHEAD * COUNT; k++)
                sums[k % COUNT] = added(sums[k % COUNT], (A)tn_load(x[k / COUNT].v[k % COUNT]));
        }
        for (int k = 0; k < COUNT; k++)
            sum = added(sum, sums[k]);
        for (int64_t i = begin + t; i < first; i += lanes)
            sum = added(sum, (A)tn_load(in[i]));
        for (int64_t i = after + t; i < end; i += lanes)
            sum = added(sum, (A)tn_load(in[i]));
    }
    values[threadIdx.x] = sum;
    sum_threads(values + threadIdx.x, t, 1, lanes);
    if (t == 0 && result < p.outer)
        leave_sum<S>(p, result, chunk, values[threadIdx.x]);
}

/* Of columns that lie side by side, COUNT to a thread: a block's 32 lanes have a chunk of 32 * COUNT columns, of which its rows of threads take turns. */
template <class S, class A, int COUNT> TN_KERNEL column_sums_kernel(plan p)
{
    typedef pack<S, COUNT> pack;
    __shared__ A values[COUNT][TN_THREADS];
    const int64_t blocks = tn_blocks(p.outer, 32 * COUNT), chunk = blockIdx.x / blocks, result = (blockIdx.x % blocks * 32 + threadIdx.x % 32) * COUNT;
    const int64_t rows = blockDim.x / 32, end = end_of(p, chunk), step = p.r.inner_strides[0];
    A sums[COUNT] = {};
    if (result < p.outer) {
        const char *in = p.r.in + offset_of(p.r.outer_ndim, p.r.outer_sizes, p.r.outer_strides, result);
        for (int64_t i = chunk * p.chunk + threadIdx.x / 32; i < end; i += AHEAD * rows) {
            pack x[AHEAD];
            TN_UNROLL
            for (int k = 0; k < AHEAD; k++)
                x[k] = i + k * rows < end ? *(const pack *)(in + (i + k * rows) * step) : pack();
            TN_UNROLL
            for (int k = 0; k < AHEAD * COUNT; k++)
                sums[k % COUNT] = added(sums[k % COUNT], (A)tn_load(x[k / COUNT].v[k % COUNT]));
        }
    }
    TN_UNROLL
    for (int k = 0; k < COUNT; k++) {
        values[k][threadIdx.x] = sums[k];
        sum_threads(values[k] + threadIdx.x, threadIdx.x, 32, blockDim.x);
        if (threadIdx.x < 32 && result < p.outer)
            leave_sum<S>(p, result + k, chunk, values[k][threadIdx.x]);
    }
}

/* The chunks of `lanes` results side by side, of which a block's rows of threads take turns. */
template <class S, class A> TN_KERNEL merge_sums_kernel(plan p, int lanes)
{
    __shared__ A values[TN_THREADS];
    const int64_t result = blockIdx.x * (int64_t)lanes + threadIdx.x % lanes, rows = blockDim.x / lanes;
    A sum = 0;
    TN_UNROLL_BY(8)
    for (int64_t chunk = threadIdx.x / lanes; chunk < p.chunks && result < p.outer; chunk += rows)
        sum = added(sum, ((const A *)p.parts)[chunk * p.outer + result]);
    values[threadIdx.x] = sum;
    sum_threads(values + threadIdx.x, threadIdx.x, lanes, blockDim.x);
    if ((int)threadIdx.x < lanes && result < p.outer) {
        part<A> s = {values[threadIdx.x], 0, 0, p.inner};
        finish<S, A>(p, result, s);
    }
}

/* A block's threads for columns: as many side by side as there are results, up to a warp; above each other no more than have something to do. */
static int lanes_of(const plan &p) { return p.outer >= 32 ? 32 : (int)tn_power(p.outer); }
static int rows_of(const plan &p, int64_t inner, int64_t each)
{
    const int64_t rows = tn_power(tn_blocks(inner, each)), most = TN_THREADS / lanes_of(p);
    return (int)(rows < most ? rows : most);
}

/* Whether columns can be read 16 bytes at a time. */
static bool wide_columns(const tn_reduction &r, int64_t element)
{
    bool wide = (uintptr_t)r.in % 16 == 0 && r.inner_strides[0] % 16 == 0 && r.outer_sizes[r.outer_ndim - 1] * element % 16 == 0;
    for (int d = 0; d < r.outer_ndim - 1; d++)
        wide = wide && r.outer_strides[d] % 16 == 0;
    return wide;
}
static void cut(plan *p, int64_t worth, int64_t most)
{
    p->chunks = worth < most ? worth : most;
    p->chunks = p->chunks > 1 ? p->chunks : 1;
    p->chunk = tn_blocks(p->inner, p->chunks);
    p->chunks = p->inner ? tn_blocks(p->inner, p->chunk) : 1;
}
/* Sums of dense rows, or of columns that lie side by side. */
template <class S> static tn_status sum_with(plan p, bool columns)
{
    typedef typename std::conditional<std::is_integral<S>::value, int64_t, double>::type A;
    enum { BUSY = 2048, COLUMN = 512, CHUNK = 16384, WIDE = 16 / sizeof(S) }; /* as in tn_cuda_reduce() */
    const bool wide = columns && wide_columns(p.r, sizeof(S));
    const int64_t blocks = tn_blocks(p.outer, wide ? 32 * WIDE : 32);
    cut(&p, p.inner / (columns ? COLUMN : CHUNK), BUSY / (columns ? blocks : p.outer));
    std::optional<tn_cuda_scratch> scratch;
    if (p.chunks > 1 && !scratch.emplace((size_t)(p.outer * p.chunks) * sizeof(A)).data)
        return TN_ERR_MEMORY;
    p.parts = scratch ? scratch->data : NULL;
    auto row = row_sums_kernel<S, A>;
    auto column = wide ? column_sums_kernel<S, A, WIDE> : column_sums_kernel<S, A, 1>;
    auto merge = merge_sums_kernel<S, A>;
    const int lanes = tn_threads(tn_blocks(p.chunk, AHEAD * WIDE)), across = lanes_of(p);
    const int64_t pieces = p.outer * p.chunks, together = pieces < TN_THREADS / lanes ? tn_power(pieces) : TN_THREADS / lanes;
    if (columns)
        TN_LAUNCH(column, blocks * p.chunks, tn_threads(p.chunk * 32 / AHEAD), p);
    else
        TN_LAUNCH(row, tn_blocks(pieces, together), lanes * together, p, lanes);
    if (p.chunks > 1)
        TN_LAUNCH(merge, tn_blocks(p.outer, across), across * rows_of(p, p.chunks, 1), p, across);
    return tn_cuda_status("reduce");
}

template <class S> static tn_status reduce_with(plan p, bool columns)
{
    typedef typename std::conditional<std::is_integral<S>::value, int64_t, double>::type A;
    std::optional<tn_cuda_scratch> scratch;
    if (p.chunks > 1 && !scratch.emplace((size_t)(p.outer * p.chunks) * sizeof(part<A>)).data)
        return TN_ERR_MEMORY;
    p.parts = scratch ? scratch->data : NULL;
    auto column = columns_kernel<S, A>;
    auto block = by_blocks<S, A>;
    auto merge = merge_chunks<S, A>;
    const int lanes = lanes_of(p);
    if (columns)
        TN_LAUNCH(column, tn_blocks(p.outer, lanes) * p.chunks, lanes * rows_of(p, p.chunk, 4), p, lanes);
    else
        TN_LAUNCH(block, p.outer * p.chunks, tn_threads(p.chunk / 2), p);
    if (p.chunks > 1)
        TN_LAUNCH(merge, tn_blocks(p.outer, lanes), lanes * rows_of(p, p.chunks, 1), p, lanes);
    return tn_cuda_status("reduce");
}

tn_status tn_cuda_reduce(tn_reduce_op op, tn_dtype dtype, const tn_reduction *r)
{
    enum { BUSY = 512, COLUMN = 512, CHUNK = 4096 }; /* blocks that keep a device busy; inputs of a result that are worth one */
    plan p = {*r, op, dtype, 1, 1, 1, 1, NULL};
    for (int d = 0; d < r->outer_ndim; d++)
        p.outer *= r->outer_sizes[d];
    for (int d = 0; d < r->inner_ndim; d++)
        p.inner *= r->inner_sizes[d];
    if (p.outer == 0)
        return TN_OK;
    /* Columns (the results lie side by side, their inputs do not), and few inputs. */
    const int64_t element = (int64_t)tn_cuda_size(dtype);
    const bool side_by_side = r->outer_ndim > 0 && r->inner_ndim > 0 && r->outer_strides[r->outer_ndim - 1] == element &&
                              r->inner_strides[r->inner_ndim - 1] != element && r->outer_sizes[r->outer_ndim - 1] > 1;
    const bool columns = side_by_side || p.inner <= 32;
    tn_status status = TN_OK;
    if ((op == TN_REDUCE_SUM || op == TN_REDUCE_MEAN) && r->inner_ndim == 1 && p.inner > 32 && (side_by_side || r->inner_strides[0] == element)) {
        TN_FOR_DTYPE(dtype, status = sum_with<S>(p, columns))
        return status;
    }
    cut(&p, p.inner / (columns ? COLUMN : CHUNK), BUSY / (columns ? tn_blocks(p.outer, lanes_of(p)) : p.outer));
    TN_FOR_DTYPE(dtype, status = reduce_with<S>(p, columns))
    return status;
}

/* ---- running sums ---------------------------------------------------------------------------------------------------------- */

/* A thread for each chunk of each line of [outer, n, inner] over n. First, where there are several, the sum of each but the last goes to starts; then
 * those become what comes before each; then the running sums are written. */
struct lines {
    tn_cumsum_rows r;
    int64_t chunks, chunk; /* of a line; elements of one */
};
template <class S> struct running {
    typedef typename std::conditional<std::is_integral<S>::value, uint64_t, double>::type A;
};
template <class S> TN_KERNEL cumsum_kernel(lines l, typename running<S>::A *starts, bool write)
{
    typedef typename running<S>::A A;
    const tn_cumsum_rows &r = l.r;
    const int64_t e = tn_this_thread(), all = r.outer * r.inner, i = e % all, chunk = e / all;
    if (chunk >= l.chunks)
        return;
    const int64_t at = i / r.inner * r.n * r.inner + i % r.inner, begin = chunk * l.chunk, end = begin + l.chunk < r.n ? begin + l.chunk : r.n;
    A total = write && l.chunks > 1 ? starts[e] : 0;
    for (int64_t j = begin; j < end; j++) {
        const int64_t place = at + (r.reverse ? r.n - 1 - j : j) * r.inner;
        total += (A)tn_load(((const S *)r.x)[place]);
        if (write)
            ((S *)r.y)[place] = tn_store<S>(total);
    }
    if (!write)
        starts[e] = total;
}
/* A thread for each line. */
template <class A> TN_KERNEL cumsum_starts_kernel(int64_t all, int64_t chunks, A *starts)
{
    const int64_t i = tn_this_thread();
    A total = 0;
    for (int64_t chunk = 0; chunk < chunks && i < all; chunk++) {
        const A own = starts[chunk * all + i];
        starts[chunk * all + i] = total;
        total += own;
    }
}

template <class S> static tn_status cumsum(const tn_cumsum_rows *r)
{
    typedef typename running<S>::A A;
    enum { CHUNK = 128, BUSY = 1 << 16 };
    const int64_t all = r->outer * r->inner;
    lines l = {*r, r->n / CHUNK < BUSY / all ? r->n / CHUNK : BUSY / all, r->n};
    l.chunks = l.chunks > 1 ? l.chunks : 1;
    l.chunk = tn_blocks(r->n, l.chunks);
    l.chunks = tn_blocks(r->n, l.chunk);
    std::optional<tn_cuda_scratch> scratch;
    if (l.chunks > 1 && !scratch.emplace((size_t)(all * l.chunks) * sizeof(A)).data)
        return TN_ERR_MEMORY;
    A *starts = scratch ? (A *)scratch->data : NULL;
    if (starts) {
        TN_LAUNCH_EACH(cumsum_kernel<S>, all * l.chunks, l, starts, false);
        TN_LAUNCH_EACH(cumsum_starts_kernel<A>, all, all, l.chunks, starts);
    }
    TN_LAUNCH_EACH(cumsum_kernel<S>, all * l.chunks, l, starts, true);
    return TN_OK;
}

tn_status tn_cuda_cumsum(tn_dtype dtype, const tn_cumsum_rows *r)
{
    tn_status status = TN_OK;
    if (r->outer * r->inner * r->n > 0 && dtype == TN_I64)
        status = cumsum<int64_t>(r);
    else if (r->outer * r->inner * r->n > 0)
        TN_FOR_FLOAT(dtype, status = cumsum<S>(r))
    return status == TN_OK ? tn_cuda_status("cumsum") : status;
}
