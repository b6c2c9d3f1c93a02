/* Softmax, cross-entropy, rotary embedding: a block for a row, which it keeps in registers where they hold it, or a thread for a column. */
#include "kernels/cuda/rows.h"

#include <optional>

/* ---- softmax --------------------------------------------------------------------------------------------------------------- */

template <class T> TN_DEVICE T greatest(T a, T b) { return a != a || a > b ? a : b; } /* NaN, of either, goes through */
template <class T> __device__ static T block_greatest(T mine)
{
    return tn_over_block(mine, [](T a, T b) { return greatest(a, b); });
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
        max = greatest(max, (T)tn_load(x[j * l.step]));
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
    row::each(s.n, [&](int i, int k) { max = greatest(max, x.v[i][k]); });
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
/* Whether a row has no part in the loss; `first`, the thread that speaks for it, leaves what that comes to. */
template <class S> TN_DEVICE bool skips(const tn_cross_entropy_rows &c, int64_t row, bool first, tn_cuda_flag *flag)
{
    const int64_t target = c.target[row];
    const bool ignored = target == c.ignore_index, wrong = !ignored && (target < 0 || target >= c.classes);
    if (first && wrong)
        tn_cuda_raise(flag, TN_WRONG_TARGET, target, c.classes, row);
    if (first && (ignored || wrong)) {
        c.stats[2 * row] = c.stats[2 * row + 1] = 0;
        if (c.reduction == 0)
            ((S *)c.loss)[row] = tn_store<S>(0);
    }
    return ignored || wrong;
}
/* What another comes to, given its greatest, the log of the sum of exp(x - greatest), and the weighted losses of all classes. */
template <class S> TN_DEVICE row_loss leave_loss(const tn_cross_entropy_rows &c, int64_t row, bool first, double max, double log_sum, double smooth)
{
    const int64_t target = c.target[row];
    row_loss all = {0, class_weight<S>(c, target)};
    all.loss = all.weight * (max - (double)tn_load(((const S *)c.x)[row * c.classes + target]) + log_sum);
    if (c.smoothing != 0)
        all.loss = (1 - c.smoothing) * all.loss + c.smoothing / (double)c.classes * smooth;
    if (first) {
        c.stats[2 * row] = max;
        c.stats[2 * row + 1] = log_sum;
        if (c.reduction == 0)
            ((S *)c.loss)[row] = tn_store<S>(all.loss);
    }
    return all;
}
/* By all of a block's threads, or, not `block`, by the one that calls it. */
template <class S> TN_DEVICE row_loss loss_of(const tn_cross_entropy_rows &c, int64_t row, bool block, tn_cuda_flag *flag)
{
    typedef typename tn_work<S>::T T;
    const int64_t first = block ? threadIdx.x : 0, step = block ? blockDim.x : 1;
    const S *x = (const S *)c.x + row * c.classes;
    if (skips<S>(c, row, first == 0, flag))
        return {0, 0};
    T max = -(T)INFINITY;
    for (int64_t j = first; j < c.classes; j += step)
        max = greatest(max, (T)tn_load(x[j]));
    max = block ? block_greatest(max) : max;
    double sum = 0, smooth = 0;
    for (int64_t j = first; j < c.classes; j += step)
        sum += (double)tn_exp_(tn_load(x[j]) - max);
    const double log_sum = log(block ? tn_block_sum(sum) : sum);
    for (int64_t j = first; j < c.classes && c.smoothing != 0; j += step)
        smooth += class_weight<S>(c, j) * ((double)(max - tn_load(x[j])) + log_sum);
    smooth = block ? tn_block_sum(smooth) : smooth;
    return leave_loss<S>(c, row, first == 0, (double)max, log_sum, smooth);
}

/* A block for a row. */
template <class S> TN_KERNEL loss_kernel(tn_cross_entropy_rows c, row_loss *rows, tn_cuda_flag *flag)
{
    const row_loss own = loss_of<S>(c, blockIdx.x, true, flag);
    if (threadIdx.x == 0)
        rows[blockIdx.x] = own;
}

template <class S, int V> TN_KERNEL loss_kept_kernel(tn_cross_entropy_rows c, row_loss *rows, tn_cuda_flag *flag)
{
    typedef typename tn_work<S>::T T;
    typedef kept_row<S, V> row;
    if (skips<S>(c, blockIdx.x, threadIdx.x == 0, flag)) {
        if (threadIdx.x == 0)
            rows[blockIdx.x] = {0, 0};
        return;
    }
    row x;
    x.load((const S *)c.x + (int64_t)blockIdx.x * c.classes, c.classes);
    T max = -(T)INFINITY;
    row::each(c.classes, [&](int i, int k) { max = greatest(max, x.v[i][k]); });
    max = block_greatest(max);
    double sum = 0, smooth = 0;
    row::each(c.classes, [&](int i, int k) { sum += (double)tn_exp_(x.v[i][k] - max); });
    const double log_sum = log(tn_block_sum(sum));
    if (c.smoothing != 0) {
        row::each(c.classes, [&](int i, int k) { smooth += class_weight<S>(c, row::place(i) + k) * ((double)(max - x.v[i][k]) + log_sum); });
        smooth = tn_block_sum(smooth);
    }
    const row_loss own = leave_loss<S>(c, blockIdx.x, threadIdx.x == 0, (double)max, log_sum, smooth);
    if (threadIdx.x == 0)
        rows[blockIdx.x] = own;
}

/* One block: what the rows come to; where rows is NULL each thread finds those of its own. */
template <class S> TN_KERNEL loss_sum_kernel(tn_cross_entropy_rows c, const row_loss *rows, tn_cuda_flag *flag)
{
    double sum = 0, total = 0;
    TN_UNROLL_BY(8)
    for (int64_t row = threadIdx.x; row < c.rows && rows; row += blockDim.x) {
        sum += rows[row].loss;
        total += rows[row].weight;
    }
    for (int64_t row = threadIdx.x; row < c.rows && !rows; row += blockDim.x) {
        const row_loss own = loss_of<S>(c, row, false, flag);
        sum += own.loss;
        total += own.weight;
    }
    sum = tn_block_sum(sum);
    total = tn_block_sum(total);
    if (threadIdx.x == 0) {
        c.stats[2 * c.rows] = total;
        if (c.reduction != 0)
            *(S *)c.loss = tn_store<S>(c.reduction == 1 ? sum / total : sum);
    }
}

/* A block for a row: in registers where they hold it. */
template <class S> static void loss_launch(const tn_cross_entropy_rows *c, row_loss *rows)
{
    const int kept = threads_that_keep(c->classes, sizeof(S), (uintptr_t)c->x, 8);
    if (!kept)
        TN_LAUNCH(loss_kernel<S>, c->rows, tn_threads(c->classes / 2), *c, rows, tn_cuda_flag_of_device());
    else
        WITH_PACKS(tn_blocks(c->classes * (int64_t)sizeof(S) / 16, kept),
                   TN_LAUNCH((loss_kept_kernel<S, V>), c->rows, kept, *c, rows, tn_cuda_flag_of_device()));
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
            loss_launch<S>(c, rows);
        TN_LAUNCH(loss_sum_kernel<S>, 1, tn_threads(few ? c->rows : c->rows / 2), *c, rows, tn_cuda_flag_of_device());
    })
    return tn_cuda_status("cross_entropy");
}

/* dx = g (softmax(x) ((1 - s) w[t] + s/c sum of w) - (1 - s) w[t] [j = t] - s/c w[j]): a row's constants, found by all of its block's threads. */
template <class S> struct loss_slope {
    typedef typename tn_work<S>::T T;
    int64_t target;
    bool skipped;
    double g, share, own;
    T max, shift, scale;

    __device__ explicit loss_slope(const tn_cross_entropy_rows &c)
    {
        const int64_t row = blockIdx.x;
        target = c.target[row];
        skipped = target == c.ignore_index || target < 0 || target >= c.classes;
        share = c.smoothing / (double)c.classes;
        double all = 0;
        for (int64_t j = threadIdx.x; j < c.classes && share != 0; j += blockDim.x)
            all += class_weight<S>(c, j);
        if (share != 0)
            all = tn_block_sum(all);
        g = c.grad ? (double)tn_load(((const S *)c.grad)[c.reduction == 0 ? row : 0]) : 1;
        if (c.reduction == 1)
            g /= c.stats[2 * c.rows];
        own = skipped ? 0 : (1 - c.smoothing) * class_weight<S>(c, target);
        max = (T)c.stats[2 * row];
        shift = (T)c.stats[2 * row + 1];
        scale = (T)(g * (own + share * all));
    }
    __device__ T at(const tn_cross_entropy_rows &c, int64_t j, T x) const
    {
        T v = tn_exp_(x - max - shift) * scale;
        if (share != 0)
            v -= (T)(g * share * class_weight<S>(c, j));
        return j == target ? v - (T)(g * own) : v;
    }
};
template <class S> TN_KERNEL loss_backward_kernel(tn_cross_entropy_rows c)
{
    typedef typename tn_work<S>::T T;
    const loss_slope<S> slope(c);
    const S *x = (const S *)c.x + blockIdx.x * c.classes;
    S *dx = (S *)c.dx + blockIdx.x * c.classes;
    for (int64_t j = threadIdx.x; j < c.classes; j += blockDim.x)
        dx[j] = tn_store<S>(slope.skipped ? (T)0 : slope.at(c, j, tn_load(x[j])));
}
template <class S, int V> TN_KERNEL loss_backward_kept_kernel(tn_cross_entropy_rows c)
{
    typedef typename tn_work<S>::T T;
    typedef kept_row<S, V> row;
    const int64_t at = (int64_t)blockIdx.x * c.classes;
    const loss_slope<S> slope(c);
    row x;
    if (!slope.skipped)
        x.load((const S *)c.x + at, c.classes);
    row::each(c.classes, [&](int i, int k) { x.v[i][k] = slope.skipped ? (T)0 : slope.at(c, row::place(i) + k, x.v[i][k]); });
    x.store((S *)c.dx + at, c.classes);
}

template <class S> static void loss_backward_launch(const tn_cross_entropy_rows *c)
{
    const int kept = threads_that_keep(c->classes, sizeof(S), (uintptr_t)c->x | (uintptr_t)c->dx, 8);
    if (!kept)
        TN_LAUNCH(loss_backward_kernel<S>, c->rows, tn_threads(c->classes / 2), *c);
    else
        WITH_PACKS(tn_blocks(c->classes * (int64_t)sizeof(S) / 16, kept), TN_LAUNCH((loss_backward_kept_kernel<S, V>), c->rows, kept, *c));
}

tn_status tn_cuda_cross_entropy_backward(tn_dtype dtype, const tn_cross_entropy_rows *c)
{
    if (c->rows > 0 && c->classes > 0)
        TN_FOR_FLOAT(dtype, loss_backward_launch<S>(c))
    return tn_cuda_status("cross_entropy_backward");
}

/* ---- rotary embedding ------------------------------------------------------------------------------------------------------ */

/* A thread has a pair, or an element that is copied; x and y may be one. */
template <class S> TN_KERNEL rope_kernel(tn_rope_rows r)
{
    const int64_t each = r.width - r.half, e = tn_this_thread(), row = e / each, i = e % each;
    const int64_t l = row % r.l, head = row / r.l % r.heads, batch = row / r.l / r.heads;
    if (batch >= r.batch)
        return;
    const S *x = (const S *)r.x.data + batch * r.x.batch + head * r.x.head + l * r.x.row;
    S *y = (S *)r.y.data + batch * r.y.batch + head * r.y.head + l * r.y.row;
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
    const int64_t n = r->batch * r->heads * r->l * (r->width - r->half);
    if (n > 0 && dtype == TN_F64)
        TN_LAUNCH_EACH(rope_kernel<double>, n, *r);
    else if (n > 0)
        TN_LAUNCH_EACH(rope_kernel<float>, n, *r);
    return tn_cuda_status("rope");
}
