/* Convolution. It is linear in x and in weight, and so are its gradients, each in its two operands: the three products
 *
 *     forward(x, weight) -> y        input_grad(dy, weight) -> dx        weight_grad(dy, x) -> dw
 *
 * are closed under differentiation, so that derivatives of any order run on the same kernels. */
#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/product.h"
#include "ops/relu_mask.h"
#include "ops/window.h"

/* A convolution's geometry: the node's attribute. Its pointers are set for each call. */
static tn_tensor *forward(tn_tensor *x, tn_tensor *weight, tn_tensor *bias, const tn_conv *geometry);
static tn_tensor *input_grad(tn_tensor *dy, tn_tensor *weight, const tn_conv *geometry);
static tn_tensor *weight_grad(tn_tensor *dy, tn_tensor *x, const tn_conv *geometry);

static tn_shape x_shape(const tn_conv *c) { return TN_SHAPE(c->n, c->c_in, c->h, c->w); }
static tn_shape y_shape(const tn_conv *c) { return TN_SHAPE(c->n, c->c_out, c->oh, c->ow); }
static tn_shape weight_shape(const tn_conv *c) { return TN_SHAPE(c->c_out, c->c_in / c->groups, c->kh, c->kw); }

/* dy's way through the ReLU behind the convolution, as the kernel goes it; y NULL: there is none. */
typedef struct through_relu {
    const tn_tensor *y;
    tn_tensor *slope;
} through_relu;

/* The gradients that are asked for, in one call of the kernel. */
static bool gradients(const tn_conv *geometry, tn_tensor *x, tn_tensor *weight, tn_tensor *dy, through_relu relu, tn_tensor *dx, tn_tensor *dw,
                      tn_tensor *db)
{
    if (tn_failing() || !dy)
        return false;
    tn_conv_grad grad = {.conv = *geometry, .dx = dx ? tn_ptr(dx) : NULL, .dw = dw ? tn_ptr(dw) : NULL,
                         .db = db ? tn_ptr(db) : NULL, .relu = relu.y ? tn_ptr(relu.y) : NULL,
                         .slope = relu.y ? tn_ptr(relu.slope) : NULL};
    const tn_tensor *taken = tn_multiplied(x), *taps = tn_multiplied(weight), *given = tn_multiplied(dy);
    if (tn_failing())
        return false;
    grad.conv.x = taken ? tn_ptr(taken) : NULL;
    grad.conv.weight = taps ? tn_ptr(taps) : NULL;
    grad.dy = tn_ptr(given);
    grad.conv.rounded = tn_rounds_to_bf16();
    return tn_kernels_for(dy)->conv_backward((tn_dtype)dy->dtype, &grad) == TN_OK;
}

static tn_tensor *like(const tn_tensor *x, tn_shape shape) { return tn_new("conv2d", shape, (tn_dtype)x->dtype, x->storage->device); }

static void input_grad_backward(tn_node *node, tn_tensor *const *g, tn_tensor **d)
{
    const tn_conv *c = tn_node_attr(node);
    if (tn_wants(node, 0))
        d[0] = forward(g[0], tn_node_saved(node, 1), NULL, c);
    if (tn_wants(node, 1))
        d[1] = weight_grad(tn_node_saved(node, 0), g[0], c);
}

static tn_tensor *input_grad(tn_tensor *dy, tn_tensor *weight, const tn_conv *geometry)
{
    dy = tn_contiguous(dy);
    weight = tn_contiguous(weight);
    if (!dy || !weight)
        return NULL;
    tn_tensor *dx = like(dy, x_shape(geometry));
    if (!dx || !gradients(geometry, NULL, weight, dy, (through_relu){.y = NULL, .slope = NULL}, dx, NULL, NULL))
        return NULL;
    return tn_record(dx, "conv2d_input_grad", input_grad_backward, TN_INPUTS(dy, weight), TN_SAVED(dy, weight), TN_ATTR(*geometry));
}

static void weight_grad_backward(tn_node *node, tn_tensor *const *g, tn_tensor **d)
{
    const tn_conv *c = tn_node_attr(node);
    if (tn_wants(node, 0))
        d[0] = forward(tn_node_saved(node, 1), g[0], NULL, c);
    if (tn_wants(node, 1))
        d[1] = input_grad(tn_node_saved(node, 0), g[0], c);
}

static tn_tensor *weight_grad(tn_tensor *dy, tn_tensor *x, const tn_conv *geometry)
{
    dy = tn_contiguous(dy);
    x = tn_contiguous(x);
    if (!dy || !x)
        return NULL;
    tn_tensor *dw = like(dy, weight_shape(geometry));
    if (!dw || !gradients(geometry, x, NULL, dy, (through_relu){.y = NULL, .slope = NULL}, NULL, dw, NULL))
        return NULL;
    return tn_record(dw, "conv2d_weight_grad", weight_grad_backward, TN_INPUTS(dy, x), TN_SAVED(dy, x), TN_ATTR(*geometry));
}

static void conv_backward(tn_node *node, tn_tensor *const *g, tn_tensor **d)
{
    const tn_conv *c = tn_node_attr(node);
    tn_tensor *x = tn_node_saved(node, 0), *weight = tn_node_saved(node, 1), *y = tn_node_saved(node, 2);
    if (tn_failing())
        return;
    /* Where what is multiplied is rounded on its way to the kernel, the ReLU comes before that. */
    const bool within = y && !tn_grad_enabled() && tn_this.autocast != TN_F16 && g[0]->dtype == y->dtype;
    tn_tensor *dy = y && !within ? tn_relu_mask(g[0], y) : g[0];
    if (tn_grad_enabled()) { /* the gradients are to be differentiated in their turn */
        if (tn_wants(node, 0))
            d[0] = input_grad(dy, weight, c);
        if (tn_wants(node, 1))
            d[1] = weight_grad(dy, x, c);
        if (tn_wants(node, 2))
            d[2] = tn_sum_with(&(tn_reduce_args){.size = sizeof(tn_reduce_args), .dims = TN_DIMS(0, 2, 3), .dim = TN_ALL_DIMS, .x = dy});
        return;
    }
    dy = tn_contiguous(dy);
    if (!dy)
        return;
    const bool own = dy != g[0] || tn_may_overwrite(dy);
    const through_relu relu = {within ? y : NULL, within && !own ? like(dy, y_shape(c)) : dy};
    d[0] = tn_wants(node, 0) ? like(dy, x_shape(c)) : NULL;
    d[1] = tn_wants(node, 1) ? like(dy, weight_shape(c)) : NULL;
    d[2] = tn_wants(node, 2) ? like(dy, TN_SHAPE(c->c_out)) : NULL;
    if (!tn_failing() && gradients(c, x, weight, dy, relu, d[0], d[1], d[2]) && relu.y)
        tn_storage_touch(relu.slope->storage);
}

static tn_tensor *forward(tn_tensor *x, tn_tensor *weight, tn_tensor *bias, const tn_conv *geometry)
{
    x = tn_contiguous(x);
    weight = tn_contiguous(weight);
    bias = bias ? tn_contiguous(bias) : NULL;
    if (tn_failing() || !x || !weight)
        return NULL;
    tn_tensor *y = like(x, y_shape(geometry));
    if (!y)
        return NULL;
    tn_conv c = *geometry;
    const tn_tensor *taken = tn_multiplied(x), *taps = tn_multiplied(weight);
    if (!taken || !taps)
        return NULL;
    c.x = tn_ptr(taken), c.weight = tn_ptr(taps), c.bias = bias ? tn_ptr(bias) : NULL, c.y = tn_ptr(y), c.rounded = tn_rounds_to_bf16();
    if (tn_kernels_for(y)->conv_forward((tn_dtype)y->dtype, &c) != TN_OK)
        return NULL;
    c = *geometry;
    c.activation = 0; /* what the node's own products are to do */
    return tn_record(y, "conv2d", conv_backward, TN_INPUTS(x, weight, bias), TN_SAVED(x, weight, geometry->activation ? y : NULL),
                     TN_ATTR(c));
}

/* ---- the operators -------------------------------------------------------------------------------------------------------- */

/* Both there, of one floating dtype and one device. */
static bool operand_fits(const char *op, const tn_tensor *x, const char *name, const tn_tensor *other)
{
    if (!tn_ready(op, name, other) || !tn_devices_agree(op, x, other))
        return false;
    if (x->dtype == other->dtype && tn_dtype_is_float((tn_dtype)x->dtype))
        return true;
    tn_fail(TN_ERR_DTYPE, "%s: x is %s and %s is %s: both must be of one floating dtype: tn_cast one of them", op,
            tn_dtype_name((tn_dtype)x->dtype), name, tn_dtype_name((tn_dtype)other->dtype));
    return false;
}

static bool channels_fit(const char *op, const tn_conv_options *o, const tn_tensor *x, const tn_tensor *weight, const tn_tensor *bias, int dims)
{
    int64_t in = x->sizes[x->ndim - dims - 1], groups = o->groups;
    if (weight->ndim != dims + 2)
        tn_fail(TN_ERR_SHAPE, "%s: weight is %s: it must be %s", op, tn_text(weight),
                dims == 2 ? "[out, in / groups, kh, kw]" : "[out, in / groups, k]");
    else if (groups < 1 || in % groups || weight->sizes[0] % groups)
        tn_fail(TN_ERR_SHAPE, "%s: x is %s and weight is %s: groups is %lld, which must divide both the %lld channels in and the %lld out",
                op, tn_text(x), tn_text(weight), (long long)groups, (long long)in, (long long)weight->sizes[0]);
    else if (weight->sizes[1] * groups != in)
        tn_fail(TN_ERR_SHAPE, "%s: x is %s and weight is %s: with %lld group%s, weight takes %lld channels and x has %lld%s", op, tn_text(x),
                tn_text(weight), (long long)groups, groups == 1 ? "" : "s", (long long)(weight->sizes[1] * groups), (long long)in,
                x->ndim == 3 && weight->ndim == 4 && weight->sizes[1] == 1
                    ? " (x is taken as one image, [channels, h, w]: tn_unsqueeze(x, 1) gives each of several a channel)" : "");
    else if (bias && (bias->ndim != 1 || bias->sizes[0] != weight->sizes[0]))
        tn_fail(TN_ERR_SHAPE, "%s: weight is %s and bias is %s: bias must be [%lld]", op, tn_text(weight), tn_text(bias),
                (long long)weight->sizes[0]);
    else if ((unsigned)o->activation > TN_ACTIVATION_RELU)
        tn_fail(TN_ERR_ARGUMENT, "%s: activation %d is none of tn_activation", op, (int)o->activation);
    return !tn_failing();
}

tn_tensor *tn_convolve(const char *op, tn_tensor *x, tn_tensor *weight, tn_tensor *bias, const tn_conv_options *o, int dims)
{
    tn_tensor *image = x;
    if (!tn_images(op, &image, dims) || !operand_fits(op, x, "weight", weight) || (bias && !operand_fits(op, x, "bias", bias)) ||
        !channels_fit(op, o, x, weight, bias, dims))
        return NULL;
    if (dims == 1)
        weight = tn_reshape(weight, TN_SHAPE(weight->sizes[0], weight->sizes[1], 1, weight->sizes[2]));
    if (!weight)
        return NULL;
    tn_window window = o->window;
    tn_pair count;
    window.kernel = (tn_pair){weight->sizes[2], weight->sizes[3]};
    if (!tn_window_count(op, &window, false, x, image->sizes[2], image->sizes[3], &count))
        return NULL;
    tn_conv c = {.n = image->sizes[0], .c_in = image->sizes[1], .h = image->sizes[2], .w = image->sizes[3],
                 .c_out = weight->sizes[0], .kh = weight->sizes[2], .kw = weight->sizes[3], .oh = count.h, .ow = count.w,
                 .stride_h = window.stride.h, .stride_w = window.stride.w, .pad_h = window.padding.h, .pad_w = window.padding.w,
                 .dil_h = window.dilation.h, .dil_w = window.dilation.w, .groups = o->groups,
                 .activation = o->activation == TN_ACTIVATION_RELU ? TN_UNARY_RELU : 0};
    tn_dtype dtype = tn_compute_dtype(x);
    tn_tensor *y = forward(tn_as_dtype(image, dtype), tn_as_dtype(weight, dtype), tn_as_dtype(bias, dtype), &c);
    return tn_as_dtype(tn_images_back(y, x, dims), (tn_dtype)x->dtype);
}

/* The convolution that would take the result to x, run backwards: its input gradient. */
static bool transposed_fit(const char *op, const tn_conv_options *o, const tn_tensor *x, const tn_tensor *weight, const tn_tensor *bias,
                           int dims)
{
    int64_t in = x->sizes[x->ndim - dims - 1], groups = o->groups;
    if (weight->ndim != dims + 2)
        tn_fail(TN_ERR_SHAPE, "%s: weight is %s: it must be %s", op, tn_text(weight),
                dims == 2 ? "[in, out / groups, kh, kw]" : "[in, out / groups, k]");
    else if (groups < 1 || in % groups || weight->sizes[0] != in)
        tn_fail(TN_ERR_SHAPE, "%s: x is %s and weight is %s: weight's first size must be x's %lld channels, which groups, %lld, must divide",
                op, tn_text(x), tn_text(weight), (long long)in, (long long)groups);
    else if (bias && (bias->ndim != 1 || bias->sizes[0] != weight->sizes[1] * groups))
        tn_fail(TN_ERR_SHAPE, "%s: weight is %s and bias is %s: bias must be [%lld]", op, tn_text(weight), tn_text(bias),
                (long long)(weight->sizes[1] * groups));
    return !tn_failing();
}

/* (n - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1 */
static int64_t transposed_size(int64_t n, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation, int64_t output_padding)
{
    return (n - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1;
}

static bool transposed_window(const char *op, const tn_window *w, tn_pair extra, const tn_tensor *x, tn_pair in, tn_pair *size)
{
    if (!tn_window_range(op, w))
        return false;
    const tn_pair s = w->stride, d = w->dilation;
    if (extra.h < 0 || extra.w < 0 || (extra.h >= s.h && extra.h >= d.h) || (extra.w >= s.w && extra.w >= d.w)) {
        tn_fail(TN_ERR_ARGUMENT, "%s: output_padding is %lld x %lld: it must be smaller than the stride, %lld x %lld, or the dilation, "
                "%lld x %lld", op, (long long)extra.h, (long long)extra.w, (long long)s.h, (long long)s.w, (long long)d.h, (long long)d.w);
        return false;
    }
    *size = (tn_pair){transposed_size(in.h, w->kernel.h, s.h, w->padding.h, d.h, extra.h),
                      transposed_size(in.w, w->kernel.w, s.w, w->padding.w, d.w, extra.w)};
    if (in.h < 1 || in.w < 1 || size->h < 1 || size->w < 1)
        tn_fail(TN_ERR_SHAPE, "%s: x is %s, which makes a result of %lld x %lld: pad less or take a larger kernel", op, tn_text(x),
                (long long)size->h, (long long)size->w);
    return !tn_failing();
}

tn_tensor *tn_convolve_transposed(const char *op, tn_tensor *x, tn_tensor *weight, tn_tensor *bias, const tn_conv_options *o, int dims)
{
    tn_tensor *image = x;
    if (!tn_images(op, &image, dims) || !operand_fits(op, x, "weight", weight) || (bias && !operand_fits(op, x, "bias", bias)) ||
        !transposed_fit(op, o, x, weight, bias, dims))
        return NULL;
    if (dims == 1)
        weight = tn_reshape(weight, TN_SHAPE(weight->sizes[0], weight->sizes[1], 1, weight->sizes[2]));
    if (!weight)
        return NULL;
    tn_window window = o->window;
    tn_pair in = {image->sizes[2], image->sizes[3]}, size;
    window.kernel = (tn_pair){weight->sizes[2], weight->sizes[3]};
    if (!transposed_window(op, &window, o->output_padding, x, in, &size))
        return NULL;
    tn_conv c = {.n = image->sizes[0], .c_in = weight->sizes[1] * o->groups, .h = size.h, .w = size.w, .c_out = weight->sizes[0],
                 .kh = window.kernel.h, .kw = window.kernel.w, .oh = in.h, .ow = in.w, .stride_h = window.stride.h,
                 .stride_w = window.stride.w, .pad_h = window.padding.h, .pad_w = window.padding.w, .dil_h = window.dilation.h,
                 .dil_w = window.dilation.w, .groups = o->groups};
    tn_dtype dtype = tn_compute_dtype(x);
    tn_tensor *y = input_grad(tn_as_dtype(image, dtype), tn_as_dtype(weight, dtype), &c);
    if (y && bias)
        y = tn_add(y, tn_reshape(tn_as_dtype(bias, dtype), TN_SHAPE(1, c.c_in, 1, 1)));
    return tn_as_dtype(tn_images_back(y, x, dims), (tn_dtype)x->dtype);
}

tn_tensor *tn_conv2d_with(const tn_conv2d_args *args)
{
    TN_KNOWN(tn_conv2d_args, args);
    tn_conv_options o = {.groups = args->groups, .activation = args->activation};
    o.window.stride = tn_pair_or(args->stride_hw, args->stride);
    o.window.padding = tn_pair_or(args->padding_hw, args->padding);
    o.window.dilation = tn_pair_or(args->dilation_hw, args->dilation);
    return tn_convolve("conv2d", args->x, args->weight, args->bias, &o, 2);
}

tn_tensor *tn_conv1d_with(const tn_conv1d_args *args)
{
    TN_KNOWN(tn_conv1d_args, args);
    tn_conv_options o = {.groups = args->groups, .activation = args->activation};
    o.window = (tn_window){.stride = {1, args->stride}, .padding = {0, args->padding}, .dilation = {1, args->dilation}};
    return tn_convolve("conv1d", args->x, args->weight, args->bias, &o, 1);
}

tn_tensor *tn_conv_transpose2d_with(const tn_conv_transpose2d_args *args)
{
    TN_KNOWN(tn_conv_transpose2d_args, args);
    tn_conv_options o = {.groups = args->groups, .output_padding = tn_pair_or(args->output_padding_hw, args->output_padding)};
    o.window.stride = tn_pair_or(args->stride_hw, args->stride);
    o.window.padding = tn_pair_or(args->padding_hw, args->padding);
    o.window.dilation = tn_pair_or(args->dilation_hw, args->dilation);
    return tn_convolve_transposed("conv_transpose2d", args->x, args->weight, args->bias, &o, 2);
}

tn_tensor *tn_conv_transpose1d_with(const tn_conv_transpose1d_args *args)
{
    TN_KNOWN(tn_conv_transpose1d_args, args);
    tn_conv_options o = {.groups = args->groups, .output_padding = {0, args->output_padding}};
    o.window = (tn_window){.stride = {1, args->stride}, .padding = {0, args->padding}, .dilation = {1, args->dilation}};
    return tn_convolve_transposed("conv_transpose1d", args->x, args->weight, args->bias, &o, 1);
}
