/* Windows of images as columns, and columns added up into images: each is the other's gradient. */
#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/window.h"

static tn_tensor *unfold(tn_tensor *x, const tn_conv *c);

static void fold_backward(tn_node *node, tn_tensor *const *g, tn_tensor **d) { d[0] = unfold(g[0], tn_node_attr(node)); }

static tn_tensor *fold(tn_tensor *columns, const tn_conv *c)
{
    columns = tn_contiguous(columns);
    if (!columns)
        return NULL;
    tn_tensor *x = tn_new("fold", TN_SHAPE(c->n, c->c_in, c->h, c->w), (tn_dtype)columns->dtype, columns->storage->device);
    if (!x || tn_kernels_for(x)->fold((tn_dtype)x->dtype, c, tn_ptr(columns), tn_ptr(x)) != TN_OK)
        return NULL;
    return tn_record(x, "fold", fold_backward, TN_INPUTS(columns), TN_NO_SAVED, TN_ATTR(*c));
}

static void unfold_backward(tn_node *node, tn_tensor *const *g, tn_tensor **d)
{
    tn_dtype dtype = g[0] ? (tn_dtype)g[0]->dtype : TN_F32;
    d[0] = g[0] ? tn_as_dtype(fold(tn_as_dtype(g[0], tn_compute_dtype(g[0])), tn_node_attr(node)), dtype) : NULL;
}

static tn_tensor *unfold(tn_tensor *x, const tn_conv *c)
{
    x = tn_contiguous(x);
    if (!x)
        return NULL;
    tn_shape shape = TN_SHAPE(c->n, c->c_in * c->kh * c->kw, c->oh * c->ow);
    tn_tensor *columns = tn_new("unfold", shape, (tn_dtype)x->dtype, x->storage->device);
    if (!columns || tn_kernels_for(columns)->unfold((tn_dtype)x->dtype, c, tn_ptr(x), tn_ptr(columns)) != TN_OK)
        return NULL;
    return tn_record(columns, "unfold", unfold_backward, TN_INPUTS(x), TN_NO_SAVED, TN_ATTR(*c));
}

static tn_conv conv_of(const tn_window *w, int64_t n, int64_t channels, int64_t h, int64_t width, tn_pair count)
{
    return (tn_conv){.n = n, .c_in = channels, .h = h, .w = width, .kh = w->kernel.h, .kw = w->kernel.w, .oh = count.h, .ow = count.w,
                     .stride_h = w->stride.h, .stride_w = w->stride.w, .pad_h = w->padding.h, .pad_w = w->padding.w,
                     .dil_h = w->dilation.h, .dil_w = w->dilation.w, .groups = 1};
}

static tn_tensor *unfold_images(const char *op, tn_tensor *x, const tn_window *w, int dims)
{
    tn_tensor *image = x;
    tn_pair count;
    if (!tn_images(op, &image, dims) || !tn_window_count(op, w, false, x, image->sizes[2], image->sizes[3], &count))
        return NULL;
    tn_conv c = conv_of(w, image->sizes[0], image->sizes[1], image->sizes[2], image->sizes[3], count);
    tn_tensor *columns = unfold(image, &c);
    return columns && x->ndim == dims + 1 ? tn_reshape(columns, TN_SHAPE(columns->sizes[1], columns->sizes[2])) : columns;
}

/* The images [h, width] that columns of shape [n, c kh kw, windows] or [c kh kw, windows] lay in. */
static tn_tensor *fold_columns(const char *op, tn_tensor *x, const tn_window *w, int64_t h, int64_t width, int dims)
{
    tn_pair count;
    if (!tn_ready(op, "x", x))
        return NULL;
    if (x->ndim != 2 && x->ndim != 3)
        return tn_fail(TN_ERR_SHAPE, "%s: x is %s: it must be [n, c * kernel, windows], or [c * kernel, windows] without a batch", op,
                       tn_text(x));
    if (!tn_dtype_is_float((tn_dtype)x->dtype))
        return tn_fail(TN_ERR_DTYPE, "%s: x is %s: it must be of a floating dtype: tn_cast it", op, tn_dtype_name((tn_dtype)x->dtype));
    if (h > INT64_MAX / 4 || width > INT64_MAX / 4)
        return tn_fail(TN_ERR_SHAPE, "%s: an image of %lld x %lld is beyond any tensor", op, (long long)h, (long long)width);
    if (!tn_window_count(op, w, false, x, h, width, &count))
        return NULL;
    int64_t n = x->ndim == 3 ? x->sizes[0] : 1, rows = x->sizes[x->ndim - 2], taps = w->kernel.h * w->kernel.w, windows;
    if (__builtin_mul_overflow(count.h, count.w, &windows) || rows % taps || x->sizes[x->ndim - 1] != windows)
        return tn_fail(TN_ERR_SHAPE, "%s: x is %s: an image of %lld x %lld has %lld x %lld windows of %lld elements: x must be "
                       "[n, c * %lld, %lld]", op, tn_text(x), (long long)h, (long long)width, (long long)count.h, (long long)count.w,
                       (long long)taps, (long long)taps, (long long)windows);
    tn_conv c = conv_of(w, n, rows / taps, h, width, count);
    tn_tensor *columns = x->ndim == 3 ? x : tn_reshape(x, TN_SHAPE(1, rows, x->sizes[1]));
    tn_tensor *y = tn_as_dtype(fold(tn_as_dtype(columns, tn_compute_dtype(x)), &c), (tn_dtype)x->dtype);
    if (!y || (x->ndim == 3 && dims == 2))
        return y;
    if (dims == 2)
        return tn_reshape(y, TN_SHAPE(c.c_in, h, width));
    return x->ndim == 3 ? tn_reshape(y, TN_SHAPE(n, c.c_in, width)) : tn_reshape(y, TN_SHAPE(c.c_in, width));
}

tn_tensor *tn_unfold_with(const tn_unfold_args *args)
{
    TN_KNOWN(tn_unfold_args, args);
    tn_window w = {tn_pair_or(args->kernel_hw, args->kernel), tn_pair_or(args->stride_hw, args->stride),
                   tn_pair_or(args->padding_hw, args->padding), tn_pair_or(args->dilation_hw, args->dilation), false};
    return unfold_images("unfold", args->x, &w, 2);
}

tn_tensor *tn_fold_with(const tn_fold_args *args)
{
    TN_KNOWN(tn_fold_args, args);
    tn_window w = {tn_pair_or(args->kernel_hw, args->kernel), tn_pair_or(args->stride_hw, args->stride),
                   tn_pair_or(args->padding_hw, args->padding), tn_pair_or(args->dilation_hw, args->dilation), false};
    return fold_columns("fold", args->x, &w, args->h, args->w, 2);
}

tn_tensor *tn_unfold1d_with(const tn_unfold1d_args *args)
{
    TN_KNOWN(tn_unfold1d_args, args);
    tn_window w = {{1, args->kernel}, {1, args->stride}, {0, args->padding}, {1, args->dilation}, false};
    return unfold_images("unfold1d", args->x, &w, 1);
}

tn_tensor *tn_fold1d_with(const tn_fold1d_args *args)
{
    TN_KNOWN(tn_fold1d_args, args);
    tn_window w = {{1, args->kernel}, {1, args->stride}, {0, args->padding}, {1, args->dilation}, false};
    return fold_columns("fold1d", args->x, &w, 1, args->length, 1);
}
