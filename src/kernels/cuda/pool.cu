/* Pooling, and columns of windows. A thread makes an element of the result; gradients are gathered: an element adds up, in one order always,
 * what each window that holds it gives. */
#include "kernels/cuda/window.h"

TN_DEVICE bool is_wide(const tn_pool &p) { return p.kh * p.kw > 256; }
TN_DEVICE int64_t index_at(const tn_pool &p, const void *index, int64_t i)
{
    return is_wide(p) ? (int64_t)((const int32_t *)index)[i] : (int64_t)((const uint8_t *)index)[i];
}
/* Where tap `at` of output (oy, ox) lies in the plane; -1 when outside (a window of padding alone). */
TN_DEVICE int64_t position_of(const tn_pool &p, int64_t oy, int64_t ox, int64_t at)
{
    const int64_t y = tn_place(oy, p.stride_h, p.pad_h, at / p.kw, p.dil_h), x = tn_place(ox, p.stride_w, p.pad_w, at % p.kw, p.dil_w);
    return y < 0 || y >= p.h || x < 0 || x >= p.w ? -1 : y * p.w + x;
}

/* ---- max ------------------------------------------------------------------------------------------------------------------- */

template <class S> TN_DEVICE S lowest()
{
    if constexpr (std::is_integral<S>::value)
        return INT64_MIN;
    else
        return -(S)INFINITY;
}

template <class S> TN_KERNEL max_kernel(tn_pool p, const S *x, S *y, void *index)
{
    const int64_t i = tn_this_thread(), plane = i / (p.oh * p.ow), oy = i / p.ow % p.oh, ox = i % p.ow;
    if (plane >= p.planes)
        return;
    S best = lowest<S>();
    int64_t won = -1;
    for (int64_t tap = 0; tap < p.kh * p.kw; tap++) {
        const int64_t at = position_of(p, oy, ox, tap);
        if (at < 0)
            continue;
        const S v = x[plane * p.h * p.w + at];
        const bool more = v > best || v != v;
        won = won < 0 || more ? tap : won;
        best = more ? v : best;
    }
    won = won < 0 ? 0 : won;
    y[i] = best;
    if (index && is_wide(p))
        ((int32_t *)index)[i] = (int32_t)won;
    else if (index)
        ((uint8_t *)index)[i] = (uint8_t)won;
}

template <class S> TN_KERNEL max_backward_kernel(tn_pool p, const S *dy, const void *index, S *dx)
{
    const int64_t i = tn_this_thread(), plane = i / (p.h * p.w), y = i / p.w % p.h, x = i % p.w;
    if (plane >= p.planes)
        return;
    S sum = 0;
    for (int64_t tap = p.kh * p.kw - 1; tap >= 0; tap--) { /* the first windows first */
        const int64_t oy = tn_output(y, p.stride_h, p.pad_h, tap / p.kw, p.dil_h, p.oh), ox = tn_output(x, p.stride_w, p.pad_w, tap % p.kw, p.dil_w, p.ow);
        const int64_t o = (plane * p.oh + oy) * p.ow + ox;
        if (oy >= 0 && ox >= 0 && index_at(p, index, o) == tap)
            sum += dy[o];
    }
    dx[i] = sum;
}

template <class S> TN_KERNEL take_kernel(tn_pool p, const S *x, const void *index, S *y)
{
    const int64_t i = tn_this_thread(), plane = i / (p.oh * p.ow);
    if (plane >= p.planes)
        return;
    const int64_t at = position_of(p, i / p.ow % p.oh, i % p.ow, index_at(p, index, i));
    y[i] = at < 0 ? 0 : x[plane * p.h * p.w + at];
}

TN_KERNEL where_kernel(tn_pool p, const void *index, int64_t *where)
{
    const int64_t i = tn_this_thread();
    if (i >= p.planes * p.oh * p.ow)
        return;
    const int64_t at = position_of(p, i / p.ow % p.oh, i % p.ow, index_at(p, index, i));
    where[i] = at < 0 ? 0 : at;
}

/* Statements with S float or double, for n > 0 elements. */
#define FOR_WIDTH(dtype, n, ...)                                                                                              \
    if ((n) > 0) {                                                                                                            \
        if ((dtype) == TN_F64) {                                                                                              \
            typedef double S;                                                                                                 \
            __VA_ARGS__;                                                                                                      \
        } else {                                                                                                              \
            typedef float S;                                                                                                  \
            __VA_ARGS__;                                                                                                      \
        }                                                                                                                     \
    }
static int64_t outputs(const tn_pool *p) { return p->planes * p->oh * p->ow; }
static int64_t inputs(const tn_pool *p) { return p->planes * p->h * p->w; }

tn_status tn_cuda_max_pool(tn_dtype dtype, const tn_pool *p, const void *x, void *y, void *index)
{
    if (dtype == TN_I64 && outputs(p) > 0)
        TN_LAUNCH_EACH(max_kernel<int64_t>, outputs(p), *p, (const int64_t *)x, (int64_t *)y, index);
    else
        FOR_WIDTH(dtype, outputs(p), TN_LAUNCH_EACH(max_kernel<S>, outputs(p), *p, (const S *)x, (S *)y, index))
    return tn_cuda_status("max_pool");
}
tn_status tn_cuda_max_pool_backward(tn_dtype dtype, const tn_pool *p, const void *dy, const void *index, void *dx)
{
    if (dtype == TN_I64 && inputs(p) > 0)
        TN_LAUNCH_EACH(max_backward_kernel<int64_t>, inputs(p), *p, (const int64_t *)dy, index, (int64_t *)dx);
    else
        FOR_WIDTH(dtype, inputs(p), TN_LAUNCH_EACH(max_backward_kernel<S>, inputs(p), *p, (const S *)dy, index, (S *)dx))
    return tn_cuda_status("max_pool_backward");
}
tn_status tn_cuda_max_pool_take(tn_dtype dtype, const tn_pool *p, const void *x, const void *index, void *y)
{
    FOR_WIDTH(dtype, outputs(p), TN_LAUNCH_EACH(take_kernel<S>, outputs(p), *p, (const S *)x, index, (S *)y))
    return tn_cuda_status("max_pool_take");
}
tn_status tn_cuda_max_pool_where(const tn_pool *p, const void *index, int64_t *where)
{
    if (outputs(p) > 0)
        TN_LAUNCH_EACH(where_kernel, outputs(p), *p, index, where);
    return tn_cuda_status("max_pool_where");
}

/* ---- average --------------------------------------------------------------------------------------------------------------- */

TN_DEVICE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
TN_DEVICE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
/* What an average divides by: the window, cut to the padded plane or to the plane. */
TN_DEVICE int64_t divisor_of(const tn_pool &p, int64_t oy, int64_t ox)
{
    if (p.divisor)
        return p.divisor;
    const int64_t y = oy * p.stride_h - p.pad_h, x = ox * p.stride_w - p.pad_w;
    const int64_t y1 = least(y + p.kh, p.h + p.pad_h), x1 = least(x + p.kw, p.w + p.pad_w);
    if (p.count_include_pad)
        return (y1 - y) * (x1 - x);
    return (least(y1, p.h) - most(y, 0)) * (least(x1, p.w) - most(x, 0));
}

template <class S> TN_KERNEL average_kernel(tn_pool p, const S *x, S *y)
{
    const int64_t i = tn_this_thread(), plane = i / (p.oh * p.ow), oy = i / p.ow % p.oh, ox = i % p.ow;
    if (plane >= p.planes)
        return;
    S sum = 0;
    for (int64_t tap = 0; tap < p.kh * p.kw; tap++) {
        const int64_t at = position_of(p, oy, ox, tap);
        sum += at < 0 ? 0 : x[plane * p.h * p.w + at];
    }
    y[i] = sum / (S)divisor_of(p, oy, ox);
}

template <class S> TN_KERNEL average_backward_kernel(tn_pool p, const S *dy, S *dx)
{
    const int64_t i = tn_this_thread(), plane = i / (p.h * p.w), y = i / p.w % p.h, x = i % p.w;
    if (plane >= p.planes)
        return;
    S sum = 0;
    for (int64_t tap = p.kh * p.kw - 1; tap >= 0; tap--) {
        const int64_t oy = tn_output(y, p.stride_h, p.pad_h, tap / p.kw, p.dil_h, p.oh), ox = tn_output(x, p.stride_w, p.pad_w, tap % p.kw, p.dil_w, p.ow);
        if (oy >= 0 && ox >= 0)
            sum += dy[(plane * p.oh + oy) * p.ow + ox] / (S)divisor_of(p, oy, ox);
    }
    dx[i] = sum;
}

tn_status tn_cuda_avg_pool(tn_dtype dtype, const tn_pool *p, const void *x, void *y)
{
    FOR_WIDTH(dtype, outputs(p), TN_LAUNCH_EACH(average_kernel<S>, outputs(p), *p, (const S *)x, (S *)y))
    return tn_cuda_status("avg_pool");
}
tn_status tn_cuda_avg_pool_backward(tn_dtype dtype, const tn_pool *p, const void *dy, void *dx)
{
    FOR_WIDTH(dtype, inputs(p), TN_LAUNCH_EACH(average_backward_kernel<S>, inputs(p), *p, (const S *)dy, (S *)dx))
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
    FOR_WIDTH(dtype, n, TN_LAUNCH_EACH(fold_kernel<S>, n, *c, (const S *)columns, (S *)x))
    return tn_cuda_status("fold");
}
