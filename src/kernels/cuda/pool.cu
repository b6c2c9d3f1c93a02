/* Pooling, and columns of windows. A thread makes an element of the result; gradients are gathered: an element adds up, in one order always,
 * what each window that holds it gives. */
#include "kernels/cuda/window.h"

/* A tn_pool for kernels. I is int32_t where all elements can be counted with it: its arithmetic is several times faster. */
template <class I> struct geometry {
    I h, w, oh, ow, kh, kw, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, divisor;
    bool count_include_pad, is_wide;
    tn_divisor<I> plane, row, out_plane, out_row, by_stride_h, by_stride_w; /* of elements of the plane, of the result */

    explicit geometry(const tn_pool &p)
        : h((I)p.h), w((I)p.w), oh((I)p.oh), ow((I)p.ow), kh((I)p.kh), kw((I)p.kw), stride_h((I)p.stride_h), stride_w((I)p.stride_w),
          pad_h((I)p.pad_h), pad_w((I)p.pad_w), dil_h((I)p.dil_h), dil_w((I)p.dil_w), divisor((I)p.divisor),
          count_include_pad(p.count_include_pad), is_wide(p.kh * p.kw > 256), plane(tn_divisor_of<I>(p.h * p.w)), row(tn_divisor_of<I>(p.w)), out_plane(tn_divisor_of<I>(p.oh * p.ow)),
          out_row(tn_divisor_of<I>(p.ow)), by_stride_h(tn_divisor_of<I>(p.stride_h)), by_stride_w(tn_divisor_of<I>(p.stride_w))
    {
    }
};
template <class I> struct point {
    I plane, y, x;
};
template <class I> TN_DEVICE point<I> point_at(I i, const tn_divisor<I> &plane, const tn_divisor<I> &row)
{
    const I in = plane.of(i), rest = i - in * plane.by, y = row.of(rest);
    return {in, y, rest - y * row.by};
}
template <class I> TN_DEVICE I index_at(const geometry<I> &g, const void *index, I i)
{
    return g.is_wide ? (I)((const int32_t *)index)[i] : (I)((const uint8_t *)index)[i];
}
/* Where the tap that won at output o lies in the plane; -1 when outside (a window of padding alone). */
template <class I> TN_DEVICE I position_of(const geometry<I> &g, const point<I> &o, I tap)
{
    const I y = o.y * g.stride_h - g.pad_h + tap / g.kw * g.dil_h, x = o.x * g.stride_w - g.pad_w + tap % g.kw * g.dil_w;
    return y < 0 || y >= g.h || x < 0 || x >= g.w ? -1 : y * g.w + x;
}
/* The outputs first ... last whose windows may hold place i of a dim: with dilation not all of them do. */
template <class I> struct windows {
    I first, last;
};
template <class I> TN_DEVICE windows<I> windows_of(I i, I pad, I kernel, I dil, const tn_divisor<I> &stride, I outputs)
{
    const I end = i + pad, start = end - (kernel - 1) * dil, last = stride.of(end);
    return {start <= 0 ? 0 : stride.of(start + stride.by - 1), last < outputs ? last : outputs - 1};
}
/* The tap at this distance from a window's start; -1: none. */
template <class I> TN_DEVICE I tap_at(I distance, I dil) { return dil == 1 ? distance : distance % dil ? -1 : distance / dil; }

/* ---- max ------------------------------------------------------------------------------------------------------------------- */

template <class T> TN_DEVICE T lowest()
{
    if constexpr (std::is_integral<T>::value)
        return INT64_MIN;
    else
        return -(T)INFINITY;
}

template <class S, class I> TN_KERNEL max_kernel(geometry<I> g, I n, const S *x, S *y, void *index)
{
    const I i = (I)tn_this_thread();
    if (i >= n)
        return;
    const point<I> o = point_at(i, g.out_plane, g.out_row);
    const S *plane = x + (int64_t)o.plane * g.plane.by;
    typename tn_work<S>::T best = lowest<typename tn_work<S>::T>();
    I won = -1, tap = 0;
    for (I ky = 0, py = o.y * g.stride_h - g.pad_h; ky < g.kh; ky++, py += g.dil_h)
        for (I kx = 0, px = o.x * g.stride_w - g.pad_w; kx < g.kw; kx++, px += g.dil_w, tap++) {
            if (py < 0 || py >= g.h || px < 0 || px >= g.w)
                continue;
            const typename tn_work<S>::T v = tn_load(plane[py * g.w + px]);
            const bool more = v > best || v != v;
            won = won < 0 || more ? tap : won;
            best = more ? v : best;
        }
    won = won < 0 ? 0 : won;
    y[i] = tn_store<S>(best);
    if (index && g.is_wide)
        ((int32_t *)index)[i] = (int32_t)won;
    else if (index)
        ((uint8_t *)index)[i] = (uint8_t)won;
}

template <class S, class I> TN_KERNEL max_backward_kernel(geometry<I> g, I n, const S *dy, const void *index, S *dx)
{
    const I i = (I)tn_this_thread();
    if (i >= n)
        return;
    const point<I> at = point_at(i, g.plane, g.row);
    const windows<I> rows = windows_of(at.y, g.pad_h, g.kh, g.dil_h, g.by_stride_h, g.oh);
    const windows<I> columns = windows_of(at.x, g.pad_w, g.kw, g.dil_w, g.by_stride_w, g.ow);
    typename tn_work<S>::T sum = 0;
    for (I oy = rows.first; oy <= rows.last; oy++) {
        const I ty = tap_at(at.y + g.pad_h - oy * g.stride_h, g.dil_h);
        for (I ox = columns.first; ox <= columns.last; ox++) {
            const I tx = tap_at(at.x + g.pad_w - ox * g.stride_w, g.dil_w), o = (at.plane * g.oh + oy) * g.ow + ox;
            if (ty >= 0 && tx >= 0 && index_at(g, index, o) == ty * g.kw + tx)
                sum += tn_load(dy[o]);
        }
    }
    dx[i] = tn_store<S>(sum);
}

template <class S, class I> TN_KERNEL take_kernel(geometry<I> g, I n, const S *x, const void *index, S *y)
{
    const I i = (I)tn_this_thread();
    if (i >= n)
        return;
    const point<I> o = point_at(i, g.out_plane, g.out_row);
    const I at = position_of(g, o, index_at(g, index, i));
    y[i] = at < 0 ? S{} : x[(int64_t)o.plane * g.plane.by + at];
}

template <class S, class I> TN_KERNEL where_kernel(geometry<I> g, I n, const void *index, S *where)
{
    const I i = (I)tn_this_thread();
    if (i >= n)
        return;
    const I at = position_of(g, point_at(i, g.out_plane, g.out_row), index_at(g, index, i));
    where[i] = at < 0 ? 0 : at;
}

/* kernel<S, I>(geometry, n, ...) for each of n elements, if there are any. */
#define RUN(kernel, S, p, n, ...)                                                                                             \
    do {                                                                                                                      \
        if ((n) > 0 && is_narrow(p))                                                                                          \
            TN_LAUNCH_EACH((kernel<S, int32_t>), (n), geometry<int32_t>(*(p)), (int32_t)(n), __VA_ARGS__);                    \
        else if ((n) > 0)                                                                                                     \
            TN_LAUNCH_EACH((kernel<S, int64_t>), (n), geometry<int64_t>(*(p)), (int64_t)(n), __VA_ARGS__);                    \
    } while (0)
static int64_t outputs(const tn_pool *p) { return p->planes * p->oh * p->ow; }
static int64_t inputs(const tn_pool *p) { return p->planes * p->h * p->w; }
/* With what windows reach beyond the plane, and a block's threads beyond the last element. */
static bool is_narrow(const tn_pool *p)
{
    const int64_t reach_h = p->h + 2 * p->pad_h + p->kh * p->dil_h + p->stride_h, reach_w = p->w + 2 * p->pad_w + p->kw * p->dil_w + p->stride_w;
    return (inputs(p) > outputs(p) ? inputs(p) : outputs(p)) < INT32_MAX - TN_THREADS && reach_h < INT32_MAX / reach_w && p->divisor < INT32_MAX;
}

tn_status tn_cuda_max_pool(tn_dtype dtype, const tn_pool *p, const void *x, void *y, void *index)
{
    if (dtype == TN_I64)
        RUN(max_kernel, int64_t, p, outputs(p), (const int64_t *)x, (int64_t *)y, index);
    else
        TN_FOR_FLOAT(dtype, RUN(max_kernel, S, p, outputs(p), (const S *)x, (S *)y, index))
    return tn_cuda_status("max_pool");
}
tn_status tn_cuda_max_pool_backward(tn_dtype dtype, const tn_pool *p, const void *dy, const void *index, void *dx)
{
    if (dtype == TN_I64)
        RUN(max_backward_kernel, int64_t, p, inputs(p), (const int64_t *)dy, index, (int64_t *)dx);
    else
        TN_FOR_FLOAT(dtype, RUN(max_backward_kernel, S, p, inputs(p), (const S *)dy, index, (S *)dx))
    return tn_cuda_status("max_pool_backward");
}
tn_status tn_cuda_max_pool_take(tn_dtype dtype, const tn_pool *p, const void *x, const void *index, void *y)
{
    TN_FOR_FLOAT(dtype, RUN(take_kernel, S, p, outputs(p), (const S *)x, index, (S *)y))
    return tn_cuda_status("max_pool_take");
}
tn_status tn_cuda_max_pool_where(const tn_pool *p, const void *index, int64_t *where)
{
    RUN(where_kernel, int64_t, p, outputs(p), index, where);
    return tn_cuda_status("max_pool_where");
}

/* ---- average --------------------------------------------------------------------------------------------------------------- */

template <class I> TN_DEVICE I least(I a, I b) { return a < b ? a : b; }
template <class I> TN_DEVICE I most(I a, I b) { return a > b ? a : b; }
/* What an average divides by: the window, cut to the padded plane or to the plane. */
template <class I> TN_DEVICE I divisor_of(const geometry<I> &g, I oy, I ox)
{
    if (g.divisor)
        return g.divisor;
    const I y = oy * g.stride_h - g.pad_h, x = ox * g.stride_w - g.pad_w;
    const I y1 = least(y + g.kh, g.h + g.pad_h), x1 = least(x + g.kw, g.w + g.pad_w);
    if (g.count_include_pad)
        return (y1 - y) * (x1 - x);
    return (least(y1, g.h) - most(y, (I)0)) * (least(x1, g.w) - most(x, (I)0));
}

template <class S, class I> TN_KERNEL average_kernel(geometry<I> g, I n, const S *x, S *y)
{
    const I i = (I)tn_this_thread();
    if (i >= n)
        return;
    const point<I> o = point_at(i, g.out_plane, g.out_row);
    const S *plane = x + (int64_t)o.plane * g.plane.by;
    typename tn_work<S>::T sum = 0;
    for (I ky = 0, py = o.y * g.stride_h - g.pad_h; ky < g.kh; ky++, py += g.dil_h)
        for (I kx = 0, px = o.x * g.stride_w - g.pad_w; kx < g.kw; kx++, px += g.dil_w)
            sum += py < 0 || py >= g.h || px < 0 || px >= g.w ? 0 : tn_load(plane[py * g.w + px]);
    y[i] = tn_store<S>(sum / (typename tn_work<S>::T)divisor_of(g, o.y, o.x));
}

template <class S, class I> TN_KERNEL average_backward_kernel(geometry<I> g, I n, const S *dy, S *dx)
{
    const I i = (I)tn_this_thread();
    if (i >= n)
        return;
    const point<I> at = point_at(i, g.plane, g.row);
    const windows<I> rows = windows_of(at.y, g.pad_h, g.kh, g.dil_h, g.by_stride_h, g.oh);
    const windows<I> columns = windows_of(at.x, g.pad_w, g.kw, g.dil_w, g.by_stride_w, g.ow);
    typename tn_work<S>::T sum = 0;
    for (I oy = rows.first; oy <= rows.last; oy++)
        for (I ox = columns.first; ox <= columns.last; ox++)
            if (tap_at(at.y + g.pad_h - oy * g.stride_h, g.dil_h) >= 0 && tap_at(at.x + g.pad_w - ox * g.stride_w, g.dil_w) >= 0)
                sum += tn_load(dy[(at.plane * g.oh + oy) * g.ow + ox]) / (typename tn_work<S>::T)divisor_of(g, oy, ox);
    dx[i] = tn_store<S>(sum);
}

tn_status tn_cuda_avg_pool(tn_dtype dtype, const tn_pool *p, const void *x, void *y)
{
    TN_FOR_FLOAT(dtype, RUN(average_kernel, S, p, outputs(p), (const S *)x, (S *)y))
    return tn_cuda_status("avg_pool");
}
tn_status tn_cuda_avg_pool_backward(tn_dtype dtype, const tn_pool *p, const void *dy, void *dx)
{
    TN_FOR_FLOAT(dtype, RUN(average_backward_kernel, S, p, inputs(p), (const S *)dy, (S *)dx))
    return tn_cuda_status("avg_pool_backward");
}

/* ---- columns --------------------------------------------------------------------------------------------------------------- */

template <class S> TN_KERNEL unfold_kernel(tn_conv c, const S *x, S *columns)
{
    const int64_t i = tn_this_thread(), plane = i / (c.kh * c.kw * c.oh * c.ow), tap = i / (c.oh * c.ow) % (c.kh * c.kw);
    if (plane >= c.n * c.c_in)
        return;
    const int64_t py = tn_place(i / c.ow % c.oh, c.stride_h, c.pad_h, tap / c.kw, c.dil_h), px = tn_place(i % c.ow, c.stride_w, c.pad_w, tap % c.kw, c.dil_w);
    columns[i] = py < 0 || py >= c.h || px < 0 || px >= c.w ? (S)0 : x[(plane * c.h + py) * c.w + px];
}

template <class S> TN_KERNEL fold_kernel(tn_conv c, const S *columns, S *x)
{
    const int64_t i = tn_this_thread(), plane = i / (c.h * c.w);
    if (plane >= c.n * c.c_in)
        return;
    S sum = 0;
    for (int64_t tap = 0; tap < c.kh * c.kw; tap++) {
        const int64_t oy = tn_output(i / c.w % c.h, c.stride_h, c.pad_h, tap / c.kw, c.dil_h, c.oh), ox = tn_output(i % c.w, c.stride_w, c.pad_w, tap % c.kw, c.dil_w, c.ow);
        if (oy >= 0 && ox >= 0)
            sum += columns[((plane * c.kh * c.kw + tap) * c.oh + oy) * c.ow + ox];
    }
    x[i] = sum;
}

tn_status tn_cuda_unfold(tn_dtype dtype, const tn_conv *c, const void *x, void *columns)
{
    const int64_t n = c->n * c->c_in * c->kh * c->kw * c->oh * c->ow;
    if (n > 0)
        TN_FOR_SIZE(tn_cuda_size(dtype), TN_LAUNCH_EACH(unfold_kernel<S>, n, *c, (const S *)x, (S *)columns))
    return tn_cuda_status("unfold");
}
tn_status tn_cuda_fold(tn_dtype dtype, const tn_conv *c, const void *columns, void *x)
{
    const int64_t n = c->n * c->c_in * c->h * c->w;
    if (n > 0 && dtype == TN_F64)
        TN_LAUNCH_EACH(fold_kernel<double>, n, *c, (const double *)columns, (double *)x);
    else if (n > 0)
        TN_LAUNCH_EACH(fold_kernel<float>, n, *c, (const float *)columns, (float *)x);
    return tn_cuda_status("fold");
}
