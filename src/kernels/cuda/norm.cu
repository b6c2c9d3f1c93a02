/* Normalisation: of rows that a block keeps in registers (layer and RMS norm), of pools of a sample's channels (a block for each), and of whole channels
 * (batch norm: sums over parts of them, then element by element). */
#include "kernels/cuda/rows.h"

/* Sums of g and of g x^ over what shares them, or of other pairs. */
struct two_sums {
    double g, gx;
};
TN_DEVICE two_sums added(const two_sums &a, const two_sums &b) { return {a.g + b.g, a.gx + b.gx}; }
TN_DEVICE two_sums block_sums(two_sums mine)
{
    return tn_over_block(mine, [](const two_sums &a, const two_sums &b) { return added(a, b); });
}

/* ---- pools of one sample ----------------------------------------------------------------------------------------------------- */

TN_HD static inline int64_t pool_size(const tn_norm &f) { return f.c / f.groups * f.s; }
/* Of element e of a pool. */
TN_DEVICE int64_t channel_of(const tn_norm &f, int64_t pool, int64_t e)
{
    const int64_t group = pool - tn_quotient(pool, f.groups) * f.groups;
    return group * tn_quotient(f.c, f.groups) + tn_quotient(e, f.s);
}

/* A block for a pool: twice over its elements for the mean and the squares about it, once more for the result. */
template <class S> TN_KERNEL pool_kernel(tn_norm f)
{
    const int64_t pool = blockIdx.x, size = pool_size(f);
    const S *x = (const S *)f.x + pool * size, *weight = (const S *)f.weight, *bias = (const S *)f.bias;
    S *y = (S *)f.y + pool * size;
    double mean = 0, var = 0;
    for (int64_t e = threadIdx.x; e < size && f.centre; e += blockDim.x)
        mean += (double)x[e];
    mean = tn_block_sum(mean) / (double)size;
    for (int64_t e = threadIdx.x; e < size; e += blockDim.x) {
        const double away = (double)x[e] - mean;
        var += away * away;
    }
    var = tn_block_sum(var) / (double)size;
    const double rstd = 1 / sqrt(var + f.eps);
    if (threadIdx.x == 0) {
        f.mean[pool] = mean;
        f.var[pool] = var;
        f.rstd[pool] = rstd;
    }
    for (int64_t e = threadIdx.x; e < size; e += blockDim.x) {
        const int64_t channel = channel_of(f, pool, e);
        const S scale = (S)rstd * (weight ? weight[channel] : (S)1), shift = bias ? bias[channel] : (S)0;
        y[e] = (x[e] - (S)mean) * scale + shift;
    }
}

template <class S> TN_KERNEL pool_dx_kernel(tn_norm f)
{
    const int64_t pool = blockIdx.x, size = pool_size(f);
    const S *x = (const S *)f.x + pool * size, *dy = (const S *)f.dy + pool * size, *weight = (const S *)f.weight;
    S *dx = (S *)f.dx + pool * size;
    const double mean = f.mean[pool], rstd = f.rstd[pool];
    two_sums sums = {0, 0};
    for (int64_t e = threadIdx.x; e < size; e += blockDim.x) {
        const double g = (double)dy[e] * (weight ? (double)weight[channel_of(f, pool, e)] : 1);
        sums = added(sums, {g, g * ((double)x[e] - mean) * rstd});
    }
    sums = block_sums(sums);
    const double of_g = f.centre ? sums.g / (double)size : 0, of_gx = sums.gx / (double)size;
    for (int64_t e = threadIdx.x; e < size; e += blockDim.x) {
        const double g = (double)dy[e] * (weight ? (double)weight[channel_of(f, pool, e)] : 1);
        dx[e] = (S)(rstd * (g - of_g - ((double)x[e] - mean) * rstd * of_gx));
    }
}

/* ---- rows in registers ------------------------------------------------------------------------------------------------------- */

template <class S, int V> TN_KERNEL norm_kept_kernel(tn_norm f)
{
    typedef kept_row<S, V> row;
    const int64_t at = (int64_t)blockIdx.x * f.c;
    row x, weight, bias;
    x.load((const S *)f.x + at, f.c);
    double mean = 0, var = 0;
    if (f.centre) {
        row::each(f.c, [&](int i, int k) { mean += (double)x.v[i][k]; });
        mean = tn_block_sum(mean) / (double)f.c;
    }
    row::each(f.c, [&](int i, int k) {
        const double away = (double)x.v[i][k] - mean;
        var += away * away;
    });
    var = tn_block_sum(var) / (double)f.c;
    const double rstd = 1 / sqrt(var + f.eps);
    if (threadIdx.x == 0) {
        f.mean[blockIdx.x] = mean;
        f.var[blockIdx.x] = var;
        f.rstd[blockIdx.x] = rstd;
    }
    if (f.weight)
        weight.load((const S *)f.weight, f.c);
    if (f.bias)
        bias.load((const S *)f.bias, f.c);
    row::each(f.c, [&](int i, int k) {
        const S scale = (S)rstd * (f.weight ? weight.v[i][k] : (S)1);
        x.v[i][k] = (x.v[i][k] - (S)mean) * scale + (f.bias ? bias.v[i][k] : (S)0);
    });
    x.store((S *)f.y + at, f.c);
}

/* dx of the rows blockIdx, blockIdx + gridDim ..., and what the block's rows add to the gradients of weight and bias: parts[block, c]. */
template <class S> struct pair {
    S g, gx;
};
template <class S, int V> TN_KERNEL norm_kept_backward_kernel(tn_norm f, pair<S> *parts)
{
    typedef kept_row<S, V> row;
    row weight;
    pair<S> own[V][row::COUNT] = {};
    if (f.weight)
        weight.load((const S *)f.weight, f.c);
    for (int64_t r = blockIdx.x; r < f.n; r += gridDim.x) {
        const double mean = f.mean[r], rstd = f.rstd[r];
        row x, g;
        x.load((const S *)f.x + r * f.c, f.c);
        g.load((const S *)f.dy + r * f.c, f.c);
        two_sums sums = {0, 0};
        row::each(f.c, [&](int i, int k) {
            const double of_x = ((double)x.v[i][k] - mean) * rstd, of_y = (double)g.v[i][k] * (f.weight ? (double)weight.v[i][k] : 1);
            own[i][k].g += g.v[i][k];
            own[i][k].gx += g.v[i][k] * (S)of_x;
            sums.g += of_y;
            sums.gx += of_y * of_x;
        });
        if (!f.dx)
            continue;
        sums = block_sums(sums);
        const double of_g = f.centre ? sums.g / (double)f.c : 0, of_gx = sums.gx / (double)f.c;
        row::each(f.c, [&](int i, int k) {
            const double of_x = ((double)x.v[i][k] - mean) * rstd, of_y = (double)g.v[i][k] * (f.weight ? (double)weight.v[i][k] : 1);
            g.v[i][k] = (S)(rstd * (of_y - of_g - of_x * of_gx));
        });
        g.store((S *)f.dx + r * f.c, f.c);
    }
    if (parts)
        row::each(f.c, [&](int i, int k) { parts[blockIdx.x * f.c + row::place(i) + k] = own[i][k]; });
}

/* Threads for the kernels above; 0: they are for others. */
template <class S> static int norm_keeps(const tn_norm *f, uintptr_t places)
{
    return !f->batch && f->groups == 1 && f->s == 1 ? threads_that_keep(f->c, sizeof(S), places | (uintptr_t)f->weight | (uintptr_t)f->bias, 4) : 0;
}

/* ---- over channels ------------------------------------------------------------------------------------------------------------ */

/* What an element at `at`, of channel and pool, adds to its channel's sums, and what those come to. */
template <class S> struct of_gradients {
    two_sums *all; /* [c], or NULL */

    __device__ two_sums of(const tn_norm &f, int64_t at, int64_t, int64_t pool) const
    {
        const double g = (double)((const S *)f.dy)[at];
        return {g, g * ((double)((const S *)f.x)[at] - f.mean[pool]) * f.rstd[pool]};
    }
    __device__ void finish(const tn_norm &f, int64_t channel, const two_sums &sums) const
    {
        if (all)
            all[channel] = sums;
        if (f.dweight)
            ((S *)f.dweight)[channel] = (S)sums.gx;
        if (f.dbias)
            ((S *)f.dbias)[channel] = (S)sums.g;
    }
};
/* The values and their squares, as far as they are from the channel's first. */
template <class S> struct of_values {
    __device__ static double first(const tn_norm &f, int64_t channel) { return (double)((const S *)f.x)[channel * f.s]; }
    __device__ two_sums of(const tn_norm &f, int64_t at, int64_t channel, int64_t) const
    {
        const double away = (double)((const S *)f.x)[at] - first(f, channel);
        return {away, away * away};
    }
    __device__ void finish(const tn_norm &f, int64_t channel, const two_sums &sums) const
    {
        if (!f.given) {
            const double n = (double)(f.n * f.s), mean = sums.g / n, var = sums.gx / n - mean * mean;
            f.mean[channel] = first(f, channel) + mean;
            f.var[channel] = var < 0 ? 0 : var;
        }
        f.rstd[channel] = 1 / sqrt(f.var[channel] + f.eps);
    }
};

/* A block has `lanes` channels side by side, and blockDim / lanes rows at a time of its share of the rows: parts[splits, c]. */
template <class S, class Of> TN_KERNEL channels_kernel(tn_norm f, Of what, int lanes, int64_t share, int64_t splits, two_sums *parts)
{
    __shared__ two_sums sums[TN_THREADS];
    const int lane = threadIdx.x % lanes, row = threadIdx.x / lanes, rows = blockDim.x / lanes;
    const int64_t split = blockIdx.x % splits, channel = blockIdx.x / splits * lanes + lane;
    const int64_t end = (split + 1) * share < f.n * f.s ? (split + 1) * share : f.n * f.s, group = tn_quotient(channel, f.c / f.groups);
    two_sums mine = {0, 0};
    TN_UNROLL_BY(4)
    for (int64_t e = split * share + row; e < end && channel < f.c; e += rows) {
        const int64_t sample = f.s == 1 ? e : tn_quotient(e, f.s), at = (sample * f.c + channel) * f.s + e - sample * f.s;
        mine = added(mine, what.of(f, at, channel, f.batch ? channel : sample * f.groups + group));
    }
    sums[threadIdx.x] = mine;
    __syncthreads();
    if (row != 0 || channel >= f.c)
        return;
    for (int k = 1; k < rows; k++)
        mine = added(mine, sums[k * lanes + lane]);
    parts[split * f.c + channel] = mine;
}
/* Columns of parts[splits, c]: LANES side by side, a block's other threads above each other. */
enum { LANES = 8 };
template <class P, class Of> TN_KERNEL join_kernel(tn_norm f, Of what, int64_t splits, const P *parts)
{
    __shared__ two_sums sums[TN_THREADS];
    const int64_t channel = blockIdx.x * (int64_t)LANES + threadIdx.x % LANES;
    const int row = threadIdx.x / LANES, rows = blockDim.x / LANES;
    two_sums mine = {0, 0};
    TN_UNROLL_BY(4)
    for (int64_t split = row; split < splits && channel < f.c; split += rows)
        mine = added(mine, {(double)parts[split * f.c + channel].g, (double)parts[split * f.c + channel].gx});
    sums[threadIdx.x] = mine;
    __syncthreads();
    if (row != 0 || channel >= f.c)
        return;
    for (int k = 1; k < rows; k++)
        mine = added(mine, sums[k * LANES + threadIdx.x]);
    what.finish(f, channel, mine);
}
template <class P, class Of> static void join(const tn_norm *f, const Of &what, int64_t splits, const P *parts)
{
    auto kernel = join_kernel<P, Of>;
    TN_LAUNCH(kernel, tn_blocks(f->c, LANES), TN_THREADS, *f, what, splits, parts);
}

template <class S, class Of> static tn_status over_channels(const tn_norm *f, const Of &what)
{
    enum { BUSY = 1024, LEAST = 64 }; /* blocks that keep a device busy; rows that are worth one */
    const int lanes = f->s == 1 ? 32 : 1;
    const int64_t rows = f->n * f->s, blocks = tn_blocks(f->c, lanes), most = BUSY / blocks < rows / LEAST ? BUSY / blocks : rows / LEAST;
    const int64_t share = tn_blocks(rows, most > 1 ? most : 1), splits = tn_blocks(rows, share);
    tn_cuda_scratch scratch((size_t)(splits * f->c) * sizeof(two_sums));
    two_sums *parts = (two_sums *)scratch.data;
    if (!parts)
        return TN_ERR_MEMORY;
    auto kernel = channels_kernel<S, Of>;
    TN_LAUNCH(kernel, blocks * splits, tn_threads(share * lanes / 2), *f, what, lanes, share, splits, parts);
    join(f, what, splits, parts);
    return TN_OK;
}

/* Whole channels' results, or dx from the sums (NULL: mean and var are constants): a thread has EACH elements, and moves them by 16 bytes where `packed`. */
enum { EACH = 4 };
template <class S> struct alignas(16) quad { S v[EACH]; }; /* two times 16 bytes of f64 */
template <class S> TN_DEVICE S batch_element(const tn_norm &f, const two_sums *sums, int64_t channel, S x, S dy)
{
    const S weight = f.weight ? ((const S *)f.weight)[channel] : (S)1;
    const double mean = f.mean[channel], rstd = f.rstd[channel];
    if (!f.dy)
        return (x - (S)mean) * ((S)rstd * weight) + (f.bias ? ((const S *)f.bias)[channel] : (S)0);
    double g = (double)dy;
    if (sums) {
        const double n = (double)(f.n * f.s);
        g -= sums[channel].g / n + ((double)x - mean) * rstd * (sums[channel].gx / n);
    }
    return (S)(rstd * (double)weight * g);
}
template <class S> TN_KERNEL batch_kernel(tn_norm f, const two_sums *sums, bool packed, S *out)
{
    const int64_t first = tn_this_thread() * EACH, all = f.n * f.c * f.s;
    const S *x = (const S *)f.x + first, *dy = f.dy ? (const S *)f.dy + first : x;
    int64_t plane = tn_quotient(first, f.s), channel = plane - tn_quotient(plane, f.c) * f.c;
    const int count = all - first < EACH ? (int)(all - first) : EACH;
    quad<S> of_x = {}, of_dy = {};
    packed = packed && count == EACH;
    if (packed) {
        of_x = *(const quad<S> *)x;
        of_dy = *(const quad<S> *)dy;
    }
    TN_UNROLL
    for (int k = 0; k < EACH; k++)
        if (!packed && k < count) {
            of_x.v[k] = x[k];
            of_dy.v[k] = dy[k];
        }
    TN_UNROLL
    for (int k = 0; k < EACH; k++) {
        if (first + k >= (plane + 1) * f.s) {
            plane++;
            channel = channel + 1 < f.c ? channel + 1 : 0;
        }
        if (k < count)
            of_x.v[k] = batch_element<S>(f, sums, channel, of_x.v[k], of_dy.v[k]);
    }
    if (packed)
        *(quad<S> *)(out + first) = of_x;
    TN_UNROLL
    for (int k = 0; k < EACH; k++)
        if (!packed && k < count)
            out[first + k] = of_x.v[k];
}
template <class S> static void batch(const tn_norm *f, const two_sums *sums, void *out)
{
    const bool packed = ((uintptr_t)f->x | (uintptr_t)f->dy | (uintptr_t)out) % 16 == 0;
    TN_LAUNCH_EACH(batch_kernel<S>, tn_blocks(f->n * f->c * f->s, EACH), *f, sums, packed, (S *)out);
}

/* ---- slots ------------------------------------------------------------------------------------------------------------------- */

template <class S> static tn_status norm(const tn_norm *f)
{
    if (f->batch) {
        const of_values<S> values;
        const tn_status status = f->given ? (join(f, values, 0, (const two_sums *)NULL), TN_OK) : over_channels<S>(f, values);
        if (status == TN_OK)
            batch<S>(f, NULL, f->y);
        return status;
    }
    const int kept = norm_keeps<S>(f, (uintptr_t)f->x | (uintptr_t)f->y);
    if (!kept)
        TN_LAUNCH(pool_kernel<S>, f->n * f->groups, tn_threads(pool_size(*f) / 2), *f);
    else
        WITH_PACKS(tn_blocks(f->c * (int64_t)sizeof(S) / 16, kept), TN_LAUNCH((norm_kept_kernel<S, V>), f->n, kept, *f));
    return TN_OK;
}

tn_status tn_cuda_norm(tn_dtype dtype, const tn_norm *f)
{
    tn_norm forward = *f;
    forward.dy = NULL;
    const tn_status status = dtype == TN_F64 ? norm<double>(&forward) : norm<float>(&forward);
    return status == TN_OK ? tn_cuda_status("norm") : status;
}

/* Rows that are kept: dx and the gradients of weight and bias in one reading. */
template <class S> static tn_status rows_backward(const tn_norm *f, int threads)
{
    const int64_t busy = 768; /* blocks, each of which leaves sums */
    const bool sums = f->dweight || f->dbias;
    const int64_t blocks = !sums || f->n < busy ? f->n : busy;
    tn_cuda_scratch scratch(sums ? (size_t)(blocks * f->c) * sizeof(pair<S>) : 1);
    pair<S> *parts = (pair<S> *)scratch.data;
    if (!parts)
        return TN_ERR_MEMORY;
    WITH_PACKS(tn_blocks(f->c * (int64_t)sizeof(S) / 16, threads),
               TN_LAUNCH((norm_kept_backward_kernel<S, V>), blocks, threads, *f, sums ? parts : NULL));
    if (sums)
        join(f, of_gradients<S>{NULL}, blocks, (const pair<S> *)parts);
    return TN_OK;
}

template <class S> static tn_status batch_backward(const tn_norm *f)
{
    const bool through = f->dx && !f->given;
    tn_cuda_scratch scratch((size_t)f->c * sizeof(two_sums));
    two_sums *sums = (two_sums *)scratch.data;
    if (!sums)
        return TN_ERR_MEMORY;
    const tn_status status = through || f->dweight || f->dbias ? over_channels<S>(f, of_gradients<S>{sums}) : TN_OK;
    if (status == TN_OK && f->dx)
        batch<S>(f, through ? sums : NULL, f->dx);
    return status;
}

template <class S> static tn_status norm_backward(const tn_norm *f)
{
    if (f->batch)
        return batch_backward<S>(f);
    const int kept = norm_keeps<S>(f, (uintptr_t)f->x | (uintptr_t)f->dy | (uintptr_t)f->dx);
    if (kept)
        return rows_backward<S>(f, kept);
    if (f->dx)
        TN_LAUNCH(pool_dx_kernel<S>, f->n * f->groups, tn_threads(pool_size(*f) / 2), *f);
    return f->dweight || f->dbias ? over_channels<S>(f, of_gradients<S>{NULL}) : TN_OK;
}

tn_status tn_cuda_norm_backward(tn_dtype dtype, const tn_norm *f)
{
    const tn_status status = dtype == TN_F64 ? norm_backward<double>(f) : norm_backward<float>(f);
    return status == TN_OK ? tn_cuda_status("norm_backward") : status;
}
