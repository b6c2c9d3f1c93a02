/* Convolution. It is linear in x and in weight, and so are its gradients, each in its two operands: the three products
 *
 *     forward(x, weight) -> y        input_grad(dy, weight) -> dx        weight_grad(dy, x) -> dw
 *
 * are closed under differentiation, so that derivatives of any order run on the same kernels. */
#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/relu_mask.h"
#include "ops/window.h"

/* A convolution's geometry: the node's attribute. Its pointers are set for each call. */
static tn_tensor *forward(tn_tensor *x, tn_tensor *weight, tn_tensor *bias, const tn_conv *geometry);
static tn_tensor *input_grad(tn_tensor *dy, tn_tensor *weight, const tn_conv *geometry);
static tn_tensor *weight_grad(tn_tensor *dy, tn_tensor *x, const tn_conv *geometry);

static tn_shape x_shape(const tn_conv *c) { return TN_SHAPE(c->n, c->c_in, c->h, c->w); }
static tn_shape y_shape(const tn_conv *c) { return TN_SHAPE(c->n, c->c_out, c->oh, c->ow); }
static tn_shape weight_shape(const tn_conv *c) { return TN_SHAPE(c->c_out, c->c_in / c->groups, c->kh, c->kw); }

/* The gradients that are asked for, in one call of the kernel. */
static bool gradients(const tn_conv *geometry, tn_tensor *x, tn_tensor *weight, tn_tensor *dy, tn_tensor *dx, tn_tensor *dw, tn_tensor *db)
{
    if (tn_failing() || !dy)
        return false;
    tn_conv_grad grad = {.conv = *geometry, .dy = tn_ptr(dy), .dx = dx ? tn_ptr(dx) : NULL, .dw = dw ? tn_ptr(dw) : NULL,
                         .db = db ? tn_ptr(db) : NULL};
    grad.conv.x = x ? tn_ptr(x) : NULL;
    grad.conv.weight = weight ? tn_ptr(weight) : NULL;
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
    if (!dx || !gradients(geometry, NULL, weight, dy, dx, NULL, NULL))
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
    if (!dw || !gradients(geometry, x, NULL, dy, NULL, dw, NULL))
        return NULL;
    return tn_record(dw, "conv2d_weight_grad", weight_grad_backward, TN_INPUTS(dy, x), TN_SAVED(dy, x), TN_ATTR(*geometry));
}

static void conv_backward(tn_node *node, tn_tensor *const *g, tn_tensor **d)
{
    const tn_conv *c = tn_node_attr(node);
    tn_tensor *x = tn_node_saved(node, 0), *weight = tn_node_saved(node, 1), *y = tn_node_saved(node, 2);
    if (tn_failing())
        return;
    tn_tensor *dy = y ? tn_relu_mask(g[0], y) : g[0];
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
    d[0] = tn_wants(node, 0) ? like(dy, x_shape(c)) : NULL;
    d[1] = tn_wants(node, 1) ? like(dy, weight_shape(c)) : NULL;
    d[2] = tn_wants(node, 2) ? like(dy, TN_SHAPE(c->c_out)) : NULL;
    gradients(c, x, weight, dy, d[0], d[1], d[2]);
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
    c.x = tn_ptr(x), c.weight = tn_ptr(weight), c.bias = bias ? tn_ptr(bias) : NULL, c.y = tn_ptr(y);
    if (tn_kernels_for(y)->conv_forward((tn_dtype)y->dtype, &c) != TN_OK)
        return NULL;
    c = *geometry;
    c.activation = 0; /* what the node's own products are to do */
    return tn_record(y, "conv2d", conv_backward, TN_INPUTS(x, weight, bias), TN_SAVED(x, weight, geometry->activation ? y : NULL),
                     TN_ATTR(c));
}

/* ---- the operators -------------------------------------------------------------------------------------------------------- */

typedef struct {
    tn_window window;
    int64_t groups;
    tn_activation activation;
} options;

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

static bool channels_fit(const char *op, const options *o, const tn_tensor *x, const tn_tensor *weight, const tn_tensor *bias, int dims)
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

static tn_tensor *convolve(const char *op, tn_tensor *x, tn_tensor *weight, tn_tensor *bias, const options *o, int dims)
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

tn_tensor *tn_conv2d_with(const tn_conv2d_args *args)
{
    TN_KNOWN(tn_conv2d_args, args);
    options o = {.groups = args->groups, .activation = args->activation};
    o.window.stride = tn_pair_or(args->stride_hw, args->stride);
    o.window.padding = tn_pair_or(args->padding_hw, args->padding);
    o.window.dilation = tn_pair_or(args->dilation_hw, args->dilation);
    return convolve("conv2d", args->x, args->weight, args->bias, &o, 2);
}

tn_tensor *tn_conv1d_with(const tn_conv1d_args *args)
{
    TN_KNOWN(tn_conv1d_args, args);
    options o = {.groups = args->groups, .activation = args->activation};
    o.window = (tn_window){.stride = {1, args->stride}, .padding = {0, args->padding}, .dilation = {1, args->dilation}};
    return convolve("conv1d", args->x, args->weight, args->bias, &o, 1);
}
