/* Max and average pooling. Max pooling chooses, then takes what was chosen: taking and its adjoint, scattering, are each other's
 * gradients; so are averaging and its adjoint. */
#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/window.h"

static tn_tensor *like(const char *op, const tn_tensor *x, int64_t h, int64_t w, tn_dtype dtype)
{
    return tn_new(op, TN_SHAPE(x->sizes[0], x->sizes[1], h, w), dtype, x->storage->device);
}

/* ---- max ------------------------------------------------------------------------------------------------------------------ */

static tn_tensor *take(tn_tensor *x, tn_tensor *index, const tn_pool *pool);

static void scatter_backward(tn_node *node, tn_tensor *const *g, tn_tensor **d)
{
    d[0] = take(g[0], tn_node_saved(node, 0), tn_node_attr(node));
}

/* dy, each at the place that its index names, [n, c, h, w]. */
static tn_tensor *scatter(tn_tensor *dy, tn_tensor *index, const tn_pool *pool)
{
    dy = tn_contiguous(dy);
    if (!dy || !index)
        return NULL;
    tn_tensor *dx = like("max_pool2d", dy, pool->h, pool->w, (tn_dtype)dy->dtype);
    if (!dx || tn_kernels_for(dx)->max_pool_backward((tn_dtype)dx->dtype, pool, tn_ptr(dy), tn_ptr(index), tn_ptr(dx)) != TN_OK)
        return NULL;
    return tn_record(dx, "max_pool2d_grad", scatter_backward, TN_INPUTS(dy), TN_SAVED(index), TN_ATTR(*pool));
}

static void take_backward(tn_node *node, tn_tensor *const *g, tn_tensor **d)
{
    d[0] = scatter(g[0], tn_node_saved(node, 0), tn_node_attr(node));
}

/* The elements of x, [n, c, h, w], that the indices name. */
static tn_tensor *take(tn_tensor *x, tn_tensor *index, const tn_pool *pool)
{
    x = tn_contiguous(x);
    if (!x || !index)
        return NULL;
    tn_tensor *y = like("max_pool2d", x, pool->oh, pool->ow, (tn_dtype)x->dtype);
    if (!y || tn_kernels_for(y)->max_pool_take((tn_dtype)y->dtype, pool, tn_ptr(x), tn_ptr(index), tn_ptr(y)) != TN_OK)
        return NULL;
    return tn_record(y, "max_pool2d_take", take_backward, TN_INPUTS(x), TN_SAVED(index), TN_ATTR(*pool));
}

/* x is an image of a dtype that the kernel has; *indices, unless indices is NULL, becomes the positions as i64. */
static tn_tensor *max_pool(tn_tensor *x, const tn_pool *pool, tn_tensor **indices)
{
    x = tn_contiguous(x);
    if (!x)
        return NULL;
    tn_tensor *y = like("max_pool2d", x, pool->oh, pool->ow, (tn_dtype)x->dtype), *index = NULL;
    if (indices || tn_recording(TN_INPUTS(x)))
        index = like("max_pool2d", x, pool->oh, pool->ow, pool->kh * pool->kw > 256 ? TN_I32 : TN_U8);
    if (tn_failing())
        return NULL;
    const tn_kernels *kernels = tn_kernels_for(y);
    if (kernels->max_pool((tn_dtype)y->dtype, pool, tn_ptr(x), tn_ptr(y), index ? tn_ptr(index) : NULL) != TN_OK)
        return NULL;
    if (indices) {
        *indices = like("max_pool2d", x, pool->oh, pool->ow, TN_I64);
        if (!*indices || kernels->max_pool_where(pool, tn_ptr(index), (int64_t *)(void *)tn_ptr(*indices)) != TN_OK)
            return NULL;
    }
    return tn_record(y, "max_pool2d", take_backward, TN_INPUTS(x), TN_SAVED(index), TN_ATTR(*pool));
}

/* ---- average -------------------------------------------------------------------------------------------------------------- */

static tn_tensor *average(tn_tensor *x, const tn_pool *pool);

static void average_grad_backward(tn_node *node, tn_tensor *const *g, tn_tensor **d) { d[0] = average(g[0], tn_node_attr(node)); }

static void average_backward(tn_node *node, tn_tensor *const *g, tn_tensor **d)
{
    const tn_pool *pool = tn_node_attr(node);
    tn_tensor *dy = tn_contiguous(g[0]), *dx = dy ? like("avg_pool2d", dy, pool->h, pool->w, (tn_dtype)dy->dtype) : NULL;
    if (dx && tn_kernels_for(dx)->avg_pool_backward((tn_dtype)dx->dtype, pool, tn_ptr(dy), tn_ptr(dx)) == TN_OK)
        d[0] = tn_record(dx, "avg_pool2d_grad", average_grad_backward, TN_INPUTS(dy), TN_NO_SAVED, TN_ATTR(*pool));
}

static tn_tensor *average(tn_tensor *x, const tn_pool *pool)
{
    x = tn_contiguous(x);
    tn_tensor *y = x ? like("avg_pool2d", x, pool->oh, pool->ow, (tn_dtype)x->dtype) : NULL;
    if (!y || tn_kernels_for(y)->avg_pool((tn_dtype)y->dtype, pool, tn_ptr(x), tn_ptr(y)) != TN_OK)
        return NULL;
    return tn_record(y, "avg_pool2d", average_backward, TN_INPUTS(x), TN_NO_SAVED, TN_ATTR(*pool));
}

/* ---- the operators -------------------------------------------------------------------------------------------------------- */

/* The kernel's sizes for the image x; false with an error. */
static bool pool_of(const char *op, const tn_window *w, const tn_tensor *image, const tn_tensor *x, tn_pool *pool)
{
    tn_pair count;
    if (!tn_window_count(op, w, true, x, image->sizes[2], image->sizes[3], &count))
        return false;
    *pool = (tn_pool){.planes = image->sizes[0] * image->sizes[1], .h = image->sizes[2], .w = image->sizes[3], .oh = count.h,
                      .ow = count.w, .kh = w->kernel.h, .kw = w->kernel.w, .stride_h = w->stride.h, .stride_w = w->stride.w,
                      .pad_h = w->padding.h, .pad_w = w->padding.w, .dil_h = w->dilation.h, .dil_w = w->dilation.w};
    return true;
}

tn_tensor *tn_max_pool_of(const char *op, tn_tensor *x, const tn_window *window, tn_tensor **indices, int dims)
{
    tn_tensor *image = x;
    tn_pool pool;
    if (!tn_images(op, &image, dims) || !pool_of(op, window, image, x, &pool))
        return NULL;
    if (x->dtype == TN_BOOL)
        return tn_fail(TN_ERR_DTYPE, "%s: x is bool, which has no order: tn_cast it", op);
    const tn_dtype dtype = tn_dtype_is_float((tn_dtype)x->dtype) ? (tn_dtype)x->dtype : TN_I64;
    tn_tensor *where = NULL, *y = max_pool(tn_as_dtype(image, dtype), &pool, indices ? &where : NULL);
    if (indices)
        *indices = tn_images_back(where, x, dims);
    return tn_as_dtype(tn_images_back(y, x, dims), (tn_dtype)x->dtype);
}

tn_tensor *tn_avg_pool_of(const char *op, tn_tensor *x, const tn_window *window, bool count_include_pad, int64_t divisor, int dims)
{
    tn_tensor *image = x;
    tn_pool pool;
    if (!tn_images(op, &image, dims) || !pool_of(op, window, image, x, &pool))
        return NULL;
    if (!tn_dtype_is_float((tn_dtype)x->dtype))
        return tn_fail(TN_ERR_DTYPE, "%s: x is %s: it must be of a floating dtype: tn_cast it", op, tn_dtype_name((tn_dtype)x->dtype));
    pool.count_include_pad = count_include_pad;
    pool.divisor = divisor;
    return tn_images_back(average(image, &pool), x, dims);
}

tn_tensor *tn_max_pool2d_with(const tn_max_pool2d_args *args)
{
    TN_KNOWN(tn_max_pool2d_args, args);
    tn_window w = {.kernel = tn_pair_or(args->kernel_hw, args->kernel), .stride = tn_pair_or(args->stride_hw, args->stride),
                   .padding = tn_pair_or(args->padding_hw, args->padding),
                   .dilation = tn_pair_or(args->dilation_hw, args->dilation), .ceil_mode = args->ceil_mode};
    if (!w.stride.h && !w.stride.w)
        w.stride = w.kernel;
    return tn_max_pool_of("max_pool2d", args->x, &w, args->indices, 2);
}

tn_tensor *tn_max_pool1d_with(const tn_max_pool1d_args *args)
{
    TN_KNOWN(tn_max_pool1d_args, args);
    tn_window w = {.kernel = {1, args->kernel}, .stride = {1, args->stride ? args->stride : args->kernel}, .padding = {0, args->padding},
                   .dilation = {1, args->dilation}, .ceil_mode = args->ceil_mode};
    return tn_max_pool_of("max_pool1d", args->x, &w, args->indices, 1);
}

tn_tensor *tn_avg_pool2d_with(const tn_avg_pool2d_args *args)
{
    TN_KNOWN(tn_avg_pool2d_args, args);
    tn_window w = {.kernel = tn_pair_or(args->kernel_hw, args->kernel), .stride = tn_pair_or(args->stride_hw, args->stride),
                   .padding = tn_pair_or(args->padding_hw, args->padding), .dilation = {1, 1}, .ceil_mode = args->ceil_mode};
    if (!w.stride.h && !w.stride.w)
        w.stride = w.kernel;
    return tn_avg_pool_of("avg_pool2d", args->x, &w, args->count_include_pad, args->divisor_override, 2);
}

tn_tensor *tn_avg_pool1d_with(const tn_avg_pool1d_args *args)
{
    TN_KNOWN(tn_avg_pool1d_args, args);
    tn_window w = {.kernel = {1, args->kernel}, .stride = {1, args->stride ? args->stride : args->kernel}, .padding = {0, args->padding},
                   .dilation = {1, 1}, .ceil_mode = args->ceil_mode};
    return tn_avg_pool_of("avg_pool1d", args->x, &w, args->count_include_pad, 0, 1);
}

/* ---- to a given size ------------------------------------------------------------------------------------------------------ */

/* [out, n]: row i has what element i of the result takes of each of n. */
static tn_tensor *averager(const tn_tensor *x, int64_t n, int64_t out)
{
    tn_tensor *a = tn_new("adaptive_avg_pool", TN_SHAPE(out, n), TN_F64, (tn_device_id){TN_CPU, 0});
    double *row = a ? (double *)(void *)tn_ptr(a) : NULL;
    for (int64_t i = 0; row && i < out; i++, row += n) {
        int64_t begin = i * n / out, end = ((i + 1) * n + out - 1) / out;
        for (int64_t j = 0; j < n; j++)
            row[j] = j >= begin && j < end ? 1 / (double)(end - begin) : 0;
    }
    return a ? tn_to(tn_as_dtype(a, (tn_dtype)x->dtype), x->storage->device) : NULL;
}

/* Where the sizes divide it is average pooling, else a product with what averages on each side. */
static tn_tensor *adaptive(const char *op, tn_tensor *x, tn_pair out, int dims)
{
    tn_tensor *image = x;
    if (!tn_images(op, &image, dims))
        return NULL;
    if (out.h < 0 || out.w < 0)
        return tn_fail(TN_ERR_ARGUMENT, "%s: the result is to be %lld x %lld: sizes are 1 or more, or 0 for x's own", op, (long long)out.h,
                       (long long)out.w);
    int64_t h = image->sizes[2], w = image->sizes[3];
    out = (tn_pair){out.h ? out.h : h, out.w ? out.w : w};
    if (h < 1 || w < 1)
        return tn_fail(TN_ERR_SHAPE, "%s: x is %s: there is nothing to average", op, tn_text(x));
    if (h % out.h == 0 && w % out.w == 0) {
        tn_window window = {.kernel = {h / out.h, w / out.w}, .stride = {h / out.h, w / out.w}, .dilation = {1, 1}};
        return tn_avg_pool_of(op, x, &window, true, 0, dims);
    }
    if (!tn_dtype_is_float((tn_dtype)x->dtype))
        return tn_fail(TN_ERR_DTYPE, "%s: x is %s: it must be of a floating dtype: tn_cast it", op, tn_dtype_name((tn_dtype)x->dtype));
    tn_tensor *y = tn_as_dtype(image, tn_compute_dtype(x));
    if (y && out.h != h)
        y = tn_matmul(averager(y, h, out.h), y);
    if (y && out.w != w)
        y = tn_matmul(y, tn_transpose(averager(y, w, out.w), 0, 1));
    return tn_as_dtype(tn_images_back(y, x, dims), (tn_dtype)x->dtype);
}

tn_tensor *tn_adaptive_avg_pool2d(tn_tensor *x, int64_t oh, int64_t ow) { return adaptive("adaptive_avg_pool2d", x, (tn_pair){oh, ow}, 2); }
tn_tensor *tn_adaptive_avg_pool1d(tn_tensor *x, int64_t length) { return adaptive("adaptive_avg_pool1d", x, (tn_pair){1, length}, 1); }
