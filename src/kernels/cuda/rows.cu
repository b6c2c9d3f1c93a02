/* Softmax, cross-entropy, rotary embedding: a block for a row, which it keeps in registers where they hold it, or a thread for a column. */
#include "kernels/cuda/rows.h"

#include <optional>

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

template <class S, int V> TN_KERNEL softmax_kept_kernel(tn_softmax_rows s)
{
    typedef typename tn_work<S>::T T;
    typedef kept_row<S, V> row;
    row x;
    x.load((const S *)s.x + (int64_t)blockIdx.x * s.n, s.n);
    T max = -(T)INFINITY;
    row::each(s.n, [&](int i, int k) { max = (T)greatest(max, x.v[i][k]); });
    max = block_greatest(max);
    double sum = 0;
    row::each(s.n, [&](int i, int k) {
        const T v = x.v[i][k] - max, e = tn_exp_(v);
        sum += (double)e;
        x.v[i][k] = s.log ? v : e;
    });
    sum = tn_block_sum(sum);
    const T shift = (T)log(sum), scale = (T)(1 / sum);
    row::each(s.n, [&](int i, int k) { x.v[i][k] = s.log ? x.v[i][k] - shift : x.v[i][k] * scale; });
    x.store((S *)s.y + (int64_t)blockIdx.x * s.n, s.n);
}

template <class S, int V> TN_KERNEL softmax_backward_kept_kernel(tn_softmax_rows s)
{
    typedef typename tn_work<S>::T T;
    typedef kept_row<S, V> row;
    const int64_t at = (int64_t)blockIdx.x * s.n;
    row y, g;
    y.load((const S *)s.x + at, s.n);
    g.load((const S *)s.dy + at, s.n);
    double sum = 0;
    row::each(s.n, [&](int i, int k) { sum += (double)g.v[i][k] * (s.log ? 1 : (double)y.v[i][k]); });
    sum = tn_block_sum(sum);
    row::each(s.n, [&](int i, int k) {
        const T p = y.v[i][k];
        g.v[i][k] = s.log ? g.v[i][k] - tn_exp_(p) * (T)sum : (g.v[i][k] - (T)sum) * p;
    });
    g.store((S *)s.y + at, s.n);
}

template <class S> static void softmax_launch(const tn_softmax_rows *s, bool backward)
{
    const int64_t lines = s->outer * s->inner;
    const bool block = s->inner == 1 && s->n > 16;
    const int kept = block ? threads_that_keep(s->n, sizeof(S), (uintptr_t)s->x | (uintptr_t)s->y | (backward ? (uintptr_t)s->dy : 0), backward ? 4 : 8) : 0;
    if (kept) {
        WITH_PACKS(tn_blocks(s->n * (int64_t)sizeof(S) / 16, kept), {
            auto kernel = backward ? softmax_backward_kept_kernel<S, V> : softmax_kept_kernel<S, V>;
            TN_LAUNCH(kernel, lines, kept, *s);
        });
        return;
    }
    const int threads = block ? tn_threads(s->n / 2) : tn_threads(lines);
    auto kernel = backward ? softmax_backward_kernel<S> : softmax_kernel<S>;
    TN_LAUNCH(kernel, block ? lines : tn_blocks(lines, threads), threads, *s, block);
}

static tn_status softmax(const char *op, tn_dtype dtype, const tn_softmax_rows *s, bool backward)
{
    if (s->outer * s->inner > 0 && s->n > 0)
        TN_FOR_FLOAT(dtype, softmax_launch<S>(s, backward))
    return tn_cuda_status(op);
}

tn_status tn_cuda_softmax(tn_dtype dtype, const tn_softmax_rows *s) { return softmax("softmax", dtype, s, false); }
tn_status tn_cuda_softmax_backward(tn_dtype dtype, const tn_softmax_rows *s) { return softmax("softmax_backward", dtype, s, true); }

/* ---- cross-entropy --------------------------------------------------------------------------------------------------------- */

template <class S> TN_DEVICE double class_weight(const tn_cross_entropy_rows &c, int64_t i)
{
    return c.weight ? (double)tn_load(((const S *)c.weight)[i]) : 1;
}

/* A row's loss, and its part in what MEAN divides by. */
struct row_loss {
    double loss, weight;
};
/* By all of a block's threads, or, not `block`, by the one that calls it. */
template <class S> TN_DEVICE row_loss loss_of(const tn_cross_entropy_rows &c, int64_t row, bool block, tn_cuda_flag *flag)
{
    typedef typename tn_work<S>::T T;
    const int64_t target = c.target[row], first = block ? threadIdx.x : 0, step = block ? blockDim.x : 1;
    const S *x = (const S *)c.x + row * c.classes;
    const bool ignored = target == c.ignore_index, wrong = !ignored && (target < 0 || target >= c.classes);
    row_loss all = {0, 0};
    if (first == 0 && wrong)
        tn_cuda_raise(flag, TN_WRONG_TARGET, target, c.classes, row);
    if (ignored || wrong) {
        if (first == 0)
            c.stats[2 * row] = c.stats[2 * row + 1] = 0;
        return all;
    }
    T max = -(T)INFINITY;
    for (int64_t j = first; j < c.classes; j += step)
        max = (T)greatest(max, tn_load(x[j]));
    max = block ? block_greatest(max) : max;
    double sum = 0, smooth = 0;
    for (int64_t j = first; j < c.classes; j += step)
        sum += (double)tn_exp_(tn_load(x[j]) - max);
    const double log_sum = log(block ? tn_block_sum(sum) : sum);
    for (int64_t j = first; j < c.classes && c.smoothing != 0; j += step)
        smooth += class_weight<S>(c, j) * ((double)(max - tn_load(x[j])) + log_sum);
    smooth = block ? tn_block_sum(smooth) : smooth;
    if (first == 0) {
        c.stats[2 * row] = (double)max;
        c.stats[2 * row + 1] = log_sum;
    }
    all.weight = class_weight<S>(c, target);
    all.loss = all.weight * ((double)max - (double)tn_load(x[target]) + log_sum);
    if (c.smoothing != 0)
        all.loss = (1 - c.smoothing) * all.loss + c.smoothing / (double)c.classes * smooth;
    return all;
}

/* A block for a row. */
template <class S> TN_KERNEL loss_kernel(tn_cross_entropy_rows c, row_loss *rows, tn_cuda_flag *flag)
{
    const row_loss own = loss_of<S>(c, blockIdx.x, true, flag);
    if (threadIdx.x == 0)
        rows[blockIdx.x] = own;
}

/* One block: what the rows come to; where rows is NULL each thread finds those of its own. */
template <class S> TN_KERNEL loss_sum_kernel(tn_cross_entropy_rows c, const row_loss *rows, tn_cuda_flag *flag)
{
    double sum = 0, total = 0;
    for (int64_t row = threadIdx.x; row < c.rows; row += blockDim.x) {
        const row_loss own = rows ? rows[row] : loss_of<S>(c, row, false, flag);
        sum += own.loss;
        total += own.weight;
        if (c.reduction == 0)
            ((S *)c.loss)[row] = tn_store<S>(own.loss);
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
    enum { FEW_ROWS = 4 * TN_THREADS, FEW_CLASSES = 32 }; /* which one block has done before a second kernel would begin */
    const bool few = c->rows <= FEW_ROWS && c->classes <= FEW_CLASSES;
    std::optional<tn_cuda_scratch> scratch;
    if (!few && !scratch.emplace((size_t)c->rows * sizeof(row_loss)).data)
        return TN_ERR_MEMORY;
    row_loss *rows = scratch ? (row_loss *)scratch->data : NULL;
    TN_FOR_FLOAT(dtype, {
        if (rows && c->rows > 0)
            TN_LAUNCH(loss_kernel<S>, c->rows, tn_threads(c->classes / 2), *c, rows, tn_cuda_flag_of_device());
        TN_LAUNCH(loss_sum_kernel<S>, 1, tn_threads(few ? c->rows : c->rows / 2), *c, rows, tn_cuda_flag_of_device());
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
    double g = c.grad ? (double)tn_load(((const S *)c.grad)[c.reduction == 0 ? row : 0]) : 1;
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
