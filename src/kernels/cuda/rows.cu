/* Softmax, cross-entropy, normalisation, rotary embedding: a block for a row, or a thread for a column. */
#include "kernels/cuda/math.h"

/* ---- softmax --------------------------------------------------------------------------------------------------------------- */

TN_DEVICE double greatest(double a, double b) { return a != a || a > b ? a : b; } /* NaN, of either, goes through */
template <class T> __device__ static T block_greatest(T mine)
{
    return tn_over_block(mine, [](T a, T b) { return (T)greatest((double)a, (double)b); });
}

/* Line i of [outer, n, inner] over n, `step` elements apart. */
struct line {
    int64_t at, step;
};
TN_DEVICE line line_of(const tn_softmax_rows &s, int64_t i)
{
    const line l = {i / s.inner * s.n * s.inner + i % s.inner, s.inner};
    return l;
}

/* Where `block`, a block's threads share a line; else each thread has one. */
template <class S> TN_KERNEL softmax_kernel(tn_softmax_rows s, bool block)
{
    typedef typename tn_work<S>::T T;
    const int64_t i = block ? (int64_t)blockIdx.x : tn_this_thread(), first = block ? threadIdx.x : 0, step = block ? blockDim.x : 1;
    if (i >= s.outer * s.inner)
        return;
    const line l = line_of(s, i);
    const S *x = (const S *)s.x + l.at;
    S *y = (S *)s.y + l.at;
    T max = -(T)INFINITY;
    for (int64_t j = first; j < s.n; j += step)
        max = (T)greatest(max, tn_load(x[j * l.step]));
    max = block ? block_greatest(max) : max;
    double sum = 0;
    for (int64_t j = first; j < s.n; j += step)
        sum += (double)tn_exp_(tn_load(x[j * l.step]) - max);
    sum = block ? tn_block_sum(sum) : sum;
    const T shift = (T)log(sum), scale = (T)(1 / sum);
    for (int64_t j = first; j < s.n; j += step) {
        const T v = tn_load(x[j * l.step]) - max;
        y[j * l.step] = tn_store<S>(s.log ? v - shift : tn_exp_(v) * scale);
    }
}

/* softmax: dx = y (dy - sum of dy y); its log: dx = dy - exp(y) (sum of dy). */
template <class S> TN_KERNEL softmax_backward_kernel(tn_softmax_rows s, bool block)
{
    typedef typename tn_work<S>::T T;
    const int64_t i = block ? (int64_t)blockIdx.x : tn_this_thread(), first = block ? threadIdx.x : 0, step = block ? blockDim.x : 1;
    if (i >= s.outer * s.inner)
        return;
    const line l = line_of(s, i);
    const S *y = (const S *)s.x + l.at, *dy = (const S *)s.dy + l.at;
    S *dx = (S *)s.y + l.at;
    double sum = 0;
    for (int64_t j = first; j < s.n; j += step)
        sum += (double)tn_load(dy[j * l.step]) * (s.log ? 1 : (double)tn_load(y[j * l.step]));
    sum = block ? tn_block_sum(sum) : sum;
    for (int64_t j = first; j < s.n; j += step) {
        const T g = tn_load(dy[j * l.step]), p = tn_load(y[j * l.step]);
        dx[j * l.step] = tn_store<S>(s.log ? g - tn_exp_(p) * (T)sum : (g - (T)sum) * p);
    }
}

static tn_status softmax(const char *op, tn_dtype dtype, const tn_softmax_rows *s, bool backward)
{
    const int64_t lines = s->outer * s->inner;
    const bool block = s->inner == 1 && s->n > 16;
    const int threads = block ? tn_threads(s->n / 2) : tn_threads(lines);
    if (lines > 0 && s->n > 0)
        TN_FOR_FLOAT(dtype, {
            auto kernel = backward ? softmax_backward_kernel<S> : softmax_kernel<S>;
            TN_LAUNCH(kernel, block ? lines : tn_blocks(lines, threads), threads, *s, block);
        })
    return tn_cuda_status(op);
}

tn_status tn_cuda_softmax(tn_dtype dtype, const tn_softmax_rows *s) { return softmax("softmax", dtype, s, false); }
tn_status tn_cuda_softmax_backward(tn_dtype dtype, const tn_softmax_rows *s) { return softmax("softmax_backward", dtype, s, true); }

/* ---- cross-entropy --------------------------------------------------------------------------------------------------------- */

template <class S> TN_DEVICE double class_weight(const tn_cross_entropy_rows &c, int64_t i)
{
    return c.weight ? (double)tn_load(((const S *)c.weight)[i]) : 1;
}

/* A block for a row: its loss, and its part in what MEAN divides by, to losses and weights. */
template <class S> TN_KERNEL loss_kernel(tn_cross_entropy_rows c, double *losses, double *weights, tn_cuda_flag *flag)
{
    typedef typename tn_work<S>::T T;
    const int64_t row = blockIdx.x, target = c.target[row];
    const S *x = (const S *)c.x + row * c.classes;
    const bool ignored = target == c.ignore_index, wrong = !ignored && (target < 0 || target >= c.classes);
    if (threadIdx.x == 0 && wrong)
        tn_cuda_raise(flag, TN_WRONG_TARGET, target, c.classes, row);
    if (ignored || wrong) {
        if (threadIdx.x == 0)
            losses[row] = weights[row] = c.stats[2 * row] = c.stats[2 * row + 1] = 0;
        return;
    }
    T max = -(T)INFINITY;
    for (int64_t j = threadIdx.x; j < c.classes; j += blockDim.x)
        max = (T)greatest(max, tn_load(x[j]));
    max = block_greatest(max);
    double sum = 0, smooth = 0;
    for (int64_t j = threadIdx.x; j < c.classes; j += blockDim.x)
        sum += (double)tn_exp_(tn_load(x[j]) - max);
    const double log_sum = log(tn_block_sum(sum));
    for (int64_t j = threadIdx.x; j < c.classes && c.smoothing != 0; j += blockDim.x)
        smooth += class_weight<S>(c, j) * ((double)(max - tn_load(x[j])) + log_sum);
    smooth = tn_block_sum(smooth);
    if (threadIdx.x == 0) {
        const double loss = class_weight<S>(c, target) * ((double)max - (double)tn_load(x[target]) + log_sum);
        losses[row] = c.smoothing == 0 ? loss : (1 - c.smoothing) * loss + c.smoothing / (double)c.classes * smooth;
        weights[row] = class_weight<S>(c, target);
        c.stats[2 * row] = (double)max;
        c.stats[2 * row + 1] = log_sum;
    }
}

/* One block. */
template <class S> TN_KERNEL loss_sum_kernel(tn_cross_entropy_rows c, const double *losses, const double *weights)
{
    double sum = 0, total = 0;
    for (int64_t row = threadIdx.x; row < c.rows; row += blockDim.x) {
        sum += losses[row];
        total += weights[row];
        if (c.reduction == 0)
            ((S *)c.loss)[row] = tn_store<S>(losses[row]);
    }
    sum = tn_block_sum(sum);
    total = tn_block_sum(total);
    if (threadIdx.x == 0) {
        c.stats[2 * c.rows] = total;
        if (c.reduction != 0)
            *(S *)c.loss = tn_store<S>(c.reduction == 1 ? sum / total : sum);
    }
}

tn_status tn_cuda_cross_entropy(tn_dtype dtype, const tn_cross_entropy_rows *c)
{
    tn_cuda_scratch scratch((size_t)(2 * c->rows) * sizeof(double));
    double *losses = (double *)scratch.data;
    if (!losses)
        return TN_ERR_MEMORY;
    TN_FOR_FLOAT(dtype, {
        if (c->rows > 0)
            TN_LAUNCH(loss_kernel<S>, c->rows, tn_threads(c->classes / 2), *c, losses, losses + c->rows, tn_cuda_flag_of_device());
        TN_LAUNCH(loss_sum_kernel<S>, 1, tn_threads(c->rows / 2), *c, losses, losses + c->rows);
    })
    return tn_cuda_status("cross_entropy");
}

/* dx = g (softmax(x) ((1 - s) w[t] + s/c sum of w) - (1 - s) w[t] [j = t] - s/c w[j]). */
template <class S> TN_KERNEL loss_backward_kernel(tn_cross_entropy_rows c)
{
    typedef typename tn_work<S>::T T;
    const int64_t row = blockIdx.x, target = c.target[row], n = c.classes;
    const S *x = (const S *)c.x + row * n;
    S *dx = (S *)c.dx + row * n;
    const double share = c.smoothing / (double)n;
    double all = 0;
    for (int64_t j = threadIdx.x; j < n && share != 0; j += blockDim.x)
        all += class_weight<S>(c, j);
    all = tn_block_sum(all);
    const bool skipped = target == c.ignore_index || target < 0 || target >= n;
    double g = (double)tn_load(((const S *)c.grad)[c.reduction == 0 ? row : 0]);
    if (c.reduction == 1)
        g /= c.stats[2 * c.rows];
    const double own = skipped ? 0 : (1 - c.smoothing) * class_weight<S>(c, target);
    const T max = (T)c.stats[2 * row], shift = (T)c.stats[2 * row + 1], scale = (T)(g * (own + share * all));
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
        T v = 0;
        if (!skipped) {
            v = tn_exp_(tn_load(x[j]) - max - shift) * scale;
            if (share != 0)
                v -= (T)(g * share * class_weight<S>(c, j));
            if (j == target)
                v -= (T)(g * own);
        }
        dx[j] = tn_store<S>(v);
    }
}

tn_status tn_cuda_cross_entropy_backward(tn_dtype dtype, const tn_cross_entropy_rows *c)
{
    if (c->rows > 0 && c->classes > 0)
        TN_FOR_FLOAT(dtype, TN_LAUNCH(loss_backward_kernel<S>, c->rows, tn_threads(c->classes / 2), *c))
    return tn_cuda_status("cross_entropy_backward");
}

/* ---- normalisation --------------------------------------------------------------------------------------------------------- */

static int64_t pools_of(const tn_norm *f) { return f->batch ? f->c : f->n * f->groups; }

/* Element e of pool `pool`, and its channel. */
struct place {
    int64_t at, channel;
};
TN_DEVICE int64_t pool_size(const tn_norm &f) { return f.batch ? f.n * f.s : f.c / f.groups * f.s; }
TN_DEVICE place place_of(const tn_norm &f, int64_t pool, int64_t e)
{
    place p;
    if (f.batch) {
        p.at = (e / f.s * f.c + pool) * f.s + e % f.s;
        p.channel = pool;
    } else {
        p.at = pool * pool_size(f) + e;
        p.channel = p.at / f.s % f.c;
    }
    return p;
}

/* A block for a pool: twice over its elements for the mean and the squares about it, once more for the result. */
template <class S> TN_KERNEL norm_kernel(tn_norm f)
{
    const int64_t pool = blockIdx.x, size = pool_size(f);
    const S *x = (const S *)f.x, *weight = (const S *)f.weight, *bias = (const S *)f.bias;
    double mean = 0, var = 0;
    if (f.given) {
        mean = f.mean[pool];
        var = f.var[pool];
    } else {
        for (int64_t e = threadIdx.x; e < size && f.centre; e += blockDim.x)
            mean += (double)x[place_of(f, pool, e).at];
        mean = tn_block_sum(mean) / (double)size;
        for (int64_t e = threadIdx.x; e < size; e += blockDim.x) {
            const double away = (double)x[place_of(f, pool, e).at] - mean;
            var += away * away;
        }
        var = tn_block_sum(var) / (double)size;
    }
    const double rstd = 1 / sqrt(var + f.eps);
    __syncthreads(); /* all have read what is given */
    if (threadIdx.x == 0) {
        f.mean[pool] = mean;
        f.var[pool] = var;
        f.rstd[pool] = rstd;
    }
    for (int64_t e = threadIdx.x; e < size; e += blockDim.x) {
        const place p = place_of(f, pool, e);
        const S scale = (S)rstd * (weight ? weight[p.channel] : (S)1), shift = bias ? bias[p.channel] : (S)0;
        ((S *)f.y)[p.at] = (x[p.at] - (S)mean) * scale + shift;
    }
}

/* A block for a pool. */
template <class S> TN_KERNEL norm_dx_kernel(tn_norm f)
{
    const int64_t pool = blockIdx.x, size = pool_size(f);
    const S *x = (const S *)f.x, *dy = (const S *)f.dy, *weight = (const S *)f.weight;
    const double mean = f.mean[pool], rstd = f.rstd[pool];
    double of_g = 0, of_gx = 0;
    for (int64_t e = threadIdx.x; e < size && !f.given; e += blockDim.x) {
        const place p = place_of(f, pool, e);
        const double g = (double)dy[p.at] * (weight ? (double)weight[p.channel] : 1);
        of_g += f.centre ? g : 0;
        of_gx += g * ((double)x[p.at] - mean) * rstd;
    }
    of_g = tn_block_sum(of_g) / (double)size;
    of_gx = tn_block_sum(of_gx) / (double)size;
    for (int64_t e = threadIdx.x; e < size; e += blockDim.x) {
        const place p = place_of(f, pool, e);
        const double g = (double)dy[p.at] * (weight ? (double)weight[p.channel] : 1);
        ((S *)f.dx)[p.at] = (S)(rstd * (g - of_g - ((double)x[p.at] - mean) * rstd * of_gx));
    }
}

/* Sums over what is not the channel. A block has `lanes` channels side by side, and blockDim / lanes rows at a time. */
template <class S> TN_KERNEL norm_parameters_kernel(tn_norm f, int lanes)
{
    __shared__ double parts[2][TN_THREADS];
    const S *x = (const S *)f.x, *dy = (const S *)f.dy;
    const int lane = threadIdx.x % lanes, row = threadIdx.x / lanes, rows = blockDim.x / lanes;
    const int64_t channel = (int64_t)blockIdx.x * lanes + lane;
    double of_g = 0, of_gx = 0;
    for (int64_t e = row; e < f.n * f.s && channel < f.c; e += rows) {
        const int64_t sample = e / f.s, at = (sample * f.c + channel) * f.s + e % f.s;
        const int64_t pool = f.batch ? channel : sample * f.groups + channel / (f.c / f.groups);
        of_g += (double)dy[at];
        of_gx += (double)dy[at] * ((double)x[at] - f.mean[pool]) * f.rstd[pool];
    }
    parts[0][threadIdx.x] = of_gx;
    parts[1][threadIdx.x] = of_g;
    __syncthreads();
    if (row != 0 || channel >= f.c)
        return;
    for (int k = 1; k < rows; k++) {
        of_gx += parts[0][k * lanes + lane];
        of_g += parts[1][k * lanes + lane];
    }
    if (f.dweight)
        ((S *)f.dweight)[channel] = (S)of_gx;
    if (f.dbias)
        ((S *)f.dbias)[channel] = (S)of_g;
}

tn_status tn_cuda_norm(tn_dtype dtype, const tn_norm *f)
{
    const int threads = tn_threads((f->batch ? f->n * f->s : f->c / f->groups * f->s) / 2);
    if (dtype == TN_F64)
        TN_LAUNCH(norm_kernel<double>, pools_of(f), threads, *f);
    else
        TN_LAUNCH(norm_kernel<float>, pools_of(f), threads, *f);
    return tn_cuda_status("norm");
}

template <class S> static void norm_backward(const tn_norm *f)
{
    const int threads = tn_threads((f->batch ? f->n * f->s : f->c / f->groups * f->s) / 2), lanes = f->s == 1 ? 32 : 1;
    if (f->dx)
        TN_LAUNCH(norm_dx_kernel<S>, pools_of(f), threads, *f);
    if (f->dweight || f->dbias)
        TN_LAUNCH(norm_parameters_kernel<S>, tn_blocks(f->c, lanes), tn_threads(f->n * f->s * lanes / 2), *f, lanes);
}

tn_status tn_cuda_norm_backward(tn_dtype dtype, const tn_norm *f)
{
    dtype == TN_F64 ? norm_backward<double>(f) : norm_backward<float>(f);
    return tn_cuda_status("norm_backward");
}

/* ---- rotary embedding ------------------------------------------------------------------------------------------------------ */

/* A thread has a pair, or an element that is copied; x and y may be one. */
template <class S> TN_KERNEL rope_kernel(tn_rope_rows r)
{
    const int64_t each = r.width - r.half, e = tn_this_thread(), row = e / each, i = e % each;
    if (row >= r.rows)
        return;
    const S *x = (const S *)r.x + row * r.width;
    S *y = (S *)r.y + row * r.width;
    if (i >= r.half) {
        y[r.half + i] = x[r.half + i];
        return;
    }
    const int64_t at = row % r.table_rows * r.half + i, first = r.interleaved ? 2 * i : i, second = r.interleaved ? 2 * i + 1 : i + r.half;
    const S a = x[first], b = x[second];
    const S c = ((const S *)r.cos)[at], s = r.inverse ? -((const S *)r.sin)[at] : ((const S *)r.sin)[at];
    y[first] = a * c - b * s;
    y[second] = b * c + a * s;
}

tn_status tn_cuda_rope(tn_dtype dtype, const tn_rope_rows *r)
{
    const int64_t n = r->rows * (r->width - r->half);
    if (n > 0 && dtype == TN_F64)
        TN_LAUNCH_EACH(rope_kernel<double>, n, *r);
    else if (n > 0)
        TN_LAUNCH_EACH(rope_kernel<float>, n, *r);
    return tn_cuda_status("rope");
}
