/* What is done to images before a network sees them. */
#include "data/dataset.h"

#include <tenon/image.h>
#include <tenon/ops.h>

#include <math.h>
#include <string.h>

static bool is_image(const char *op, const tn_tensor *x)
{
    if (tn_ready(op, "x", x) && x->ndim != 3 && x->ndim != 4)
        tn_fail(TN_ERR_SHAPE, "%s: x is %s: right is an image [c, h, w] or a batch [n, c, h, w]", op, tn_text(x));
    return !tn_failing();
}

tn_tensor *tn_image_to_float(tn_tensor *x)
{
    if (!is_image("image_to_float", x))
        return NULL;
    if (tn_dtype_is_float((tn_dtype)x->dtype))
        return tn_cast(x, tn_get_default_dtype());
    tn_tensor *y = tn_cast(x, tn_get_default_dtype());
    return x->dtype == TN_U8 ? tn_div(y, tn_scalar_i64(255)) : y;
}

/* [channels, 1, 1] of x's dtype and device. */
static tn_tensor *by_channel(const tn_tensor *x, const double *values, int channels)
{
    tn_from_args args = {.size = sizeof args, .dtype = (tn_dtype)x->dtype, .device = &x->storage->device, .data = values,
                         .shape = TN_SHAPE(channels, 1, 1)};
    return tn_from_doubles_with(&args);
}

tn_tensor *tn_image_normalize(tn_tensor *x, const double *mean, const double *std, int channels)
{
    if (!is_image("image_normalize", x))
        return NULL;
    if (!mean || !std)
        return tn_fail(TN_ERR_ARGUMENT, "image_normalize: %s is NULL", mean ? "std" : "mean");
    if (!tn_dtype_is_float((tn_dtype)x->dtype))
        return tn_fail(TN_ERR_DTYPE, "image_normalize: x is of %s: make floats of it first (tn_image_to_float)",
                       tn_dtype_name((tn_dtype)x->dtype));
    if (channels != 1 && channels != x->sizes[x->ndim - 3])
        return tn_fail(TN_ERR_SHAPE, "image_normalize: %d means for x of %s: one, or one for each of its channels", channels, tn_text(x));
    for (int k = 0; k < channels; k++)
        if (!(std[k] != 0))
            return tn_fail(TN_ERR_ARGUMENT, "image_normalize: std[%d] is %g", k, std[k]);
    return tn_div(tn_sub(x, by_channel(x, mean, channels)), by_channel(x, std, channels));
}

/* ---- crops -------------------------------------------------------------------------------------------------------------- */

static tn_tensor *padded(tn_tensor *x, int64_t left, int64_t right, int64_t top, int64_t bottom, double value)
{
    if (!left && !right && !top && !bottom)
        return x;
    tn_pad_args args = {.size = sizeof args, .value = value, .x = x, .pads = TN_SHAPE(left, right, top, bottom)};
    return tn_pad_with(&args);
}

static bool crop_fits(const char *op, const tn_tensor *x, int64_t h, int64_t w)
{
    if (is_image(op, x) && (h < 1 || w < 1))
        tn_fail(TN_ERR_ARGUMENT, "%s: %lld by %lld pixels: 1 or more are needed", op, (long long)h, (long long)w);
    return !tn_failing();
}

/* round(n / 2), a half to the even number, as Python rounds. */
static int64_t rounded_half(int64_t n) { return n / 2 + (n % 4 == 3); }

tn_tensor *tn_image_center_crop(tn_tensor *x, int64_t h, int64_t w)
{
    if (!crop_fits("image_center_crop", x, h, w))
        return NULL;
    int64_t more_h = h - x->sizes[x->ndim - 2], more_w = w - x->sizes[x->ndim - 1];
    more_h = more_h > 0 ? more_h : 0;
    more_w = more_w > 0 ? more_w : 0;
    x = padded(x, more_w / 2, more_w - more_w / 2, more_h / 2, more_h - more_h / 2, 0);
    if (!x)
        return NULL;
    x = tn_narrow(x, -2, rounded_half(x->sizes[x->ndim - 2] - h), h);
    return tn_narrow(x, -1, x ? rounded_half(x->sizes[x->ndim - 1] - w) : 0, w);
}

tn_tensor *tn_image_random_crop_with(const tn_random_crop_args *args)
{
    TN_KNOWN(tn_random_crop_args, args);
    tn_tensor *x = args->x;
    int64_t h = args->h, w = args->w, pad = args->padding;
    if (!crop_fits("image_random_crop", x, h, w))
        return NULL;
    if (pad < 0)
        return tn_fail(TN_ERR_ARGUMENT, "image_random_crop: padding is %lld", (long long)pad);
    x = padded(x, pad, pad, pad, pad, args->fill);
    if (!x)
        return NULL;
    int64_t more_h = x->sizes[x->ndim - 2] - h, more_w = x->sizes[x->ndim - 1] - w;
    if (more_h < 0 || more_w < 0)
        return tn_fail(TN_ERR_SHAPE, "image_random_crop: %lld by %lld pixels of x %s, of which %lld on each side are padding", (long long)h,
                       (long long)w, tn_text(x), (long long)pad);
    int64_t top = (int64_t)tn_random_below((uint64_t)more_h + 1);
    int64_t left = (int64_t)tn_random_below((uint64_t)more_w + 1);
    return tn_narrow(tn_narrow(x, -2, top, h), -1, left, w);
}

/* ---- flips -------------------------------------------------------------------------------------------------------------- */

tn_tensor *tn_image_flip(tn_tensor *x) { return is_image("image_flip", x) ? tn_flip(x, TN_DIMS(-1)) : NULL; }

tn_tensor *tn_image_random_flip(tn_tensor *x, double p)
{
    if (!is_image("image_random_flip", x))
        return NULL;
    if (!(p >= 0 && p <= 1))
        return tn_fail(TN_ERR_ARGUMENT, "image_random_flip: p is %g, not between 0 and 1", p);
    return tn_random_unit() < p ? tn_flip(x, TN_DIMS(-1)) : x;
}

/* ---- resizing ----------------------------------------------------------------------------------------------------------- */

/* Which inputs make each output along one dimension: output i is the sum over k < count[i] of weight[i * most + k] * input[start[i] + k]. */
typedef struct taps {
    int64_t n, most;
    int64_t *start, *count; /* [n] */
    double *weight;         /* [n, most] */
    size_t bytes;           /* of all three, which begin at start */
} taps;

/* PyTorch's two: with antialias a triangle as wide as an output pixel covers, else the two neighbours of its middle, the border repeated. */
static void fill_taps(taps *t, int64_t size, bool antialias)
{
    double scale = (double)size / (double)t->n, support = antialias && scale > 1 ? scale : 1;
    for (int64_t i = 0; i < t->n; i++) {
        double center = scale * ((double)i + 0.5), *weight = t->weight + i * t->most, sum = 0;
        if (!antialias) {
            double at = center - 0.5 > 0 ? center - 0.5 : 0;
            t->start[i] = (int64_t)at < size - 1 ? (int64_t)at : size - 1;
            t->count[i] = t->start[i] + 1 < size ? 2 : 1;
            weight[1] = t->count[i] == 2 ? at - (double)t->start[i] : 0;
            weight[0] = 1 - weight[1];
            continue;
        }
        int64_t first = (int64_t)(center - support + 0.5), end = (int64_t)(center + support + 0.5);
        first = first > 0 ? first : 0;
        end = end < size ? end : size;
        t->start[i] = first;
        t->count[i] = end - first < t->most ? end - first : t->most;
        for (int64_t k = 0; k < t->count[i]; k++) {
            double away = fabs(((double)(k + first) - center + 0.5) / support);
            sum += weight[k] = away < 1 ? 1 - away : 0;
        }
        for (int64_t k = 0; k < t->count[i]; k++)
            weight[k] /= sum;
    }
}

static bool make_taps(taps *t, int64_t size, int64_t n, bool antialias)
{
    double scale = (double)size / (double)n;
    *t = (taps){.n = n, .most = antialias && scale > 1 ? 2 * (int64_t)ceil(scale) + 1 : 3};
    t->bytes = (size_t)n * (2 * sizeof *t->start + (size_t)t->most * sizeof *t->weight);
    t->start = tn_alloc(t->bytes);
    if (!t->start)
        return false;
    t->count = t->start + n;
    t->weight = (double *)(void *)(t->count + n);
    fill_taps(t, size, antialias);
    return true;
}

/* One plane: across first, into rows [h, across->n], then down, a row of sums at a time, which is the one behind them. u8 goes by f32. */
#define RESIZE_PLANE(name, type, sum_type, rounded)                                                                           \
    static void name(const type *x, int64_t h, int64_t w, const taps *down, const taps *across, sum_type *rows, type *y)      \
    {                                                                                                                         \
        int64_t n = across->n;                                                                                                \
        for (int64_t i = 0; i < h; i++)                                                                                       \
            for (int64_t j = 0; j < n; j++) {                                                                                 \
                const double *weight = across->weight + j * across->most;                                                     \
                const type *from = x + i * w + across->start[j];                                                              \
                sum_type sum = 0;                                                                                             \
                for (int64_t k = 0; k < across->count[j]; k++)                                                                \
                    sum += (sum_type)weight[k] * (sum_type)from[k];                                                           \
                rows[i * n + j] = sum;                                                                                        \
            }                                                                                                                 \
        sum_type *sum = rows + h * n;                                                                                         \
        for (int64_t i = 0; i < down->n; i++, y += n) {                                                                       \
            memset(sum, 0, (size_t)n * sizeof *sum);                                                                          \
            for (int64_t k = 0; k < down->count[i]; k++) {                                                                    \
                sum_type weight = (sum_type)down->weight[i * down->most + k];                                                 \
                const sum_type *from = rows + (down->start[i] + k) * n;                                                       \
                for (int64_t j = 0; j < n; j++)                                                                               \
                    sum[j] += weight * from[j];                                                                               \
            }                                                                                                                 \
            for (int64_t j = 0; j < n; j++)                                                                                   \
                y[j] = (type)rounded(sum[j]);                                                                                 \
        }                                                                                                                     \
    }
/* A half to the even number, as torch.round. */
static float byte_of(float v) { return v <= 0 ? 0 : v >= 255 ? 255 : nearbyintf(v); }
RESIZE_PLANE(resize_u8, uint8_t, float, byte_of)
RESIZE_PLANE(resize_f32, float, float, )
RESIZE_PLANE(resize_f64, double, double, )

static void resize_planes(const tn_tensor *x, const taps *down, const taps *across, void *rows, tn_tensor *y)
{
    int64_t h = x->sizes[x->ndim - 2], w = x->sizes[x->ndim - 1], planes = x->numel / (h * w);
    for (int64_t p = 0; p < planes; p++) {
        const void *from = tn_ptr(x) + (size_t)(p * h * w) * tn_item_size(x);
        void *to = tn_ptr(y) + (size_t)(p * down->n * across->n) * tn_item_size(y);
        if (x->dtype == TN_U8)
            resize_u8(from, h, w, down, across, rows, to);
        else if (x->dtype == TN_F32)
            resize_f32(from, h, w, down, across, rows, to);
        else
            resize_f64(from, h, w, down, across, rows, to);
    }
}

tn_tensor *tn_image_resize_with(const tn_image_resize_args *args)
{
    TN_KNOWN(tn_image_resize_args, args);
    const tn_tensor *x = args->x;
    if (!crop_fits("image_resize", x, args->h, args->w))
        return NULL;
    if (x->storage->device.type != TN_CPU)
        return tn_fail(TN_ERR_DEVICE, "image_resize: x is on %s: images are resized on the CPU", tn_device_text(x->storage->device));
    if (x->dtype != TN_U8 && x->dtype != TN_F32 && x->dtype != TN_F64)
        return tn_fail(TN_ERR_DTYPE, "image_resize: x is of %s: right are uint8, float32 and float64", tn_dtype_name((tn_dtype)x->dtype));
    if (x->numel == 0)
        return tn_fail(TN_ERR_SHAPE, "image_resize: x is %s: there is nothing to resize", tn_text(x));
    if (tn_tracks(x) && !tn_this.no_grad)
        return tn_fail(TN_ERR_GRAD, "image_resize: x requires a gradient, and none flows through a resize: detach it first");
    TN_SCOPE;
    tn_shape shape = tn_shape_of(x);
    shape.sizes[x->ndim - 2] = args->h;
    shape.sizes[x->ndim - 1] = args->w;
    tn_tensor *y = tn_new("image_resize", shape, (tn_dtype)x->dtype, x->storage->device);
    tn_tensor *rows = tn_new("image_resize", TN_SHAPE(x->sizes[x->ndim - 2] + 1, args->w),
                             x->dtype == TN_F64 ? TN_F64 : TN_F32, x->storage->device);
    x = rows ? tn_contiguous((tn_tensor *)(uintptr_t)x) : NULL;
    taps down = {0}, across = {0};
    if (x && make_taps(&down, x->sizes[x->ndim - 2], args->h, args->antialias) &&
        make_taps(&across, x->sizes[x->ndim - 1], args->w, args->antialias))
        resize_planes(x, &down, &across, tn_ptr(rows), y);
    tn_free(down.start, down.bytes);
    tn_free(across.start, across.bytes);
    return tn_failing() ? NULL : tn_pass(y);
}
