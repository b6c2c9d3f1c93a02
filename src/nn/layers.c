/* Layers with parameters, pooling, dropout and flatten. Each is its operator with arguments that it remembers. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "nn/module.h"
#include "ops/window.h"

/* A module of one input and one output whose arguments tn_summary() shows. */
#define LAYER(kind)                                                                                                           \
    TN_MODULE_THUNK_(kind, out_[0] = kind##_forward((kind *)(void *)module_, in_[0]); return tn_last_status()) = {            \
        sizeof(tn_module_type), #kind, sizeof(kind), 1, 1, kind##_thunk_, NULL, NULL, kind##_describe}

static size_t text(char *out, size_t size, const char *format, ...) TN_PRINTF(3, 4);
static size_t text(char *out, size_t size, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int length = vsnprintf(out, size, format, list);
    va_end(list);
    return length > 0 ? (size_t)length : 0;
}

/* A parameter of the shape, uniform on ±bound, the scope's: PyTorch's law for linear and convolution is bound = 1/√fan in. */
static tn_tensor *uniform_parameter(tn_shape shape, tn_dtype dtype, double bound)
{
    tn_uniform_args args = {.size = sizeof args, .dtype = dtype, .shape = shape, .a = -bound, .b = bound};
    return tn_uniform_with(&args);
}

/* module where all went well, else NULL, module released. */
static tn_module *finished(tn_module *module)
{
    if (!tn_failing())
        return module;
    tn_release(module);
    return NULL;
}

/* ---- linear ------------------------------------------------------------------------------------------------------------- */

typedef struct linear {
    tn_module base;
    tn_tensor *weight, *bias; /* [out, in], [out] or NULL */
    tn_activation activation;
} linear;

static tn_tensor *linear_forward(linear *self, tn_tensor *x)
{
    tn_linear_op_args args = {.size = sizeof args, .activation = self->activation, .x = x, .weight = self->weight, .bias = self->bias};
    return tn_linear_with(&args);
}

static size_t linear_describe(const tn_module *module, char *out, size_t size)
{
    const linear *self = (const linear *)(const void *)module;
    return text(out, size, "%lld, %lld%s", (long long)self->weight->sizes[1], (long long)self->weight->sizes[0],
                self->bias ? "" : ", bias=False");
}
LAYER(linear);

tn_module *tn_linear_new_with(const tn_linear_layer_args *args)
{
    if (tn_failing())
        return NULL;
    if (args->in_features < 1 || args->out_features < 1)
        return tn_fail(TN_ERR_ARGUMENT, "linear_new: %lld inputs and %lld outputs: both must be at least 1", (long long)args->in_features,
                       (long long)args->out_features);
    TN_SCOPE;
    linear *self = TN_NEW(linear);
    double bound = 1 / sqrt((double)args->in_features);
    if (!self)
        return NULL;
    self->activation = args->activation;
    TN_PARAM(self, weight, uniform_parameter(TN_SHAPE(args->out_features, args->in_features), args->dtype, bound));
    if (args->bias)
        TN_PARAM(self, bias, uniform_parameter(TN_SHAPE(args->out_features), args->dtype, bound));
    return finished(&self->base);
}

/* ---- convolution -------------------------------------------------------------------------------------------------------- */

typedef struct conv2d {
    tn_module base;
    tn_tensor *weight, *bias; /* [out, in / groups, kh, kw], [out] or NULL */
    tn_conv2d_args args;      /* of the operator, without its tensors */
} conv2d;

static tn_tensor *conv2d_forward(conv2d *self, tn_tensor *x)
{
    tn_conv2d_args args = self->args;
    args.x = x;
    args.weight = self->weight;
    args.bias = self->bias;
    return tn_conv2d_with(&args);
}

static size_t conv2d_describe(const tn_module *module, char *out, size_t size)
{
    const conv2d *self = (const conv2d *)(const void *)module;
    const tn_pair stride = tn_pair_or(self->args.stride_hw, self->args.stride), pad = tn_pair_or(self->args.padding_hw, self->args.padding);
    const int64_t *w = self->weight->sizes;
    return text(out, size, "%lld, %lld, kernel=%lldx%lld, stride=%lldx%lld, padding=%lldx%lld%s", (long long)(w[1] * self->args.groups),
                (long long)w[0], (long long)w[2], (long long)w[3], (long long)stride.h, (long long)stride.w, (long long)pad.h,
                (long long)pad.w, self->bias ? "" : ", bias=False");
}
LAYER(conv2d);

static bool conv2d_fits(const tn_conv2d_layer_args *a, tn_pair kernel)
{
    const tn_pair stride = tn_pair_or(a->stride_hw, a->stride), dilation = tn_pair_or(a->dilation_hw, a->dilation);
    if (a->in_channels < 1 || a->out_channels < 1 || kernel.h < 1 || kernel.w < 1)
        tn_fail(TN_ERR_ARGUMENT, "conv2d_new: %lld channels in, %lld out, kernel %lldx%lld: all must be at least 1",
                (long long)a->in_channels, (long long)a->out_channels, (long long)kernel.h, (long long)kernel.w);
    else if (stride.h < 1 || stride.w < 1 || dilation.h < 1 || dilation.w < 1 || a->padding < 0 || a->padding_hw.h < 0 ||
             a->padding_hw.w < 0)
        tn_fail(TN_ERR_ARGUMENT, "conv2d_new: strides and dilations must be at least 1, and padding not negative");
    else if (a->groups < 1 || a->in_channels % a->groups || a->out_channels % a->groups)
        tn_fail(TN_ERR_ARGUMENT, "conv2d_new: %lld groups divide neither or only one of %lld channels in and %lld out",
                (long long)a->groups, (long long)a->in_channels, (long long)a->out_channels);
    return !tn_failing();
}

tn_module *tn_conv2d_new_with(const tn_conv2d_layer_args *a)
{
    const tn_pair kernel = tn_pair_or(a->kernel_hw, a->kernel);
    if (tn_failing() || !conv2d_fits(a, kernel))
        return NULL;
    TN_SCOPE;
    conv2d *self = TN_NEW(conv2d);
    const int64_t in = a->in_channels / a->groups;
    const double bound = 1 / sqrt((double)(in * kernel.h * kernel.w));
    if (!self)
        return NULL;
    self->args = (tn_conv2d_args){.size = sizeof self->args, .stride = a->stride, .stride_hw = a->stride_hw, .padding = a->padding,
                                  .padding_hw = a->padding_hw, .dilation = a->dilation, .dilation_hw = a->dilation_hw,
                                  .groups = a->groups, .activation = a->activation};
    TN_PARAM(self, weight, uniform_parameter(TN_SHAPE(a->out_channels, in, kernel.h, kernel.w), a->dtype, bound));
    if (a->bias)
        TN_PARAM(self, bias, uniform_parameter(TN_SHAPE(a->out_channels), a->dtype, bound));
    return finished(&self->base);
}

/* ---- pooling ------------------------------------------------------------------------------------------------------------ */

static size_t describe_pool(char *out, size_t size, tn_pair kernel, tn_pair stride, tn_pair pad)
{
    stride = stride.h || stride.w ? stride : kernel;
    return text(out, size, "kernel=%lldx%lld, stride=%lldx%lld, padding=%lldx%lld", (long long)kernel.h, (long long)kernel.w,
                (long long)stride.h, (long long)stride.w, (long long)pad.h, (long long)pad.w);
}

typedef struct max_pool2d {
    tn_module base;
    tn_max_pool2d_args args; /* of the operator, without its tensor */
} max_pool2d;

static tn_tensor *max_pool2d_forward(max_pool2d *self, tn_tensor *x)
{
    tn_max_pool2d_args args = self->args;
    args.x = x;
    return tn_max_pool2d_with(&args);
}

static size_t max_pool2d_describe(const tn_module *module, char *out, size_t size)
{
    const tn_max_pool2d_args *a = &((const max_pool2d *)(const void *)module)->args;
    return describe_pool(out, size, tn_pair_or(a->kernel_hw, a->kernel), tn_pair_or(a->stride_hw, a->stride),
                         tn_pair_or(a->padding_hw, a->padding));
}
LAYER(max_pool2d);

tn_module *tn_max_pool2d_new_with(const tn_max_pool2d_layer_args *a)
{
    max_pool2d *self = TN_NEW(max_pool2d);
    if (!self)
        return NULL;
    self->args = (tn_max_pool2d_args){.size = sizeof self->args, .kernel_hw = a->kernel_hw, .stride = a->stride, .stride_hw = a->stride_hw,
                                      .padding = a->padding, .padding_hw = a->padding_hw, .dilation = a->dilation,
                                      .dilation_hw = a->dilation_hw, .kernel = a->kernel};
    return &self->base;
}

typedef struct avg_pool2d {
    tn_module base;
    tn_avg_pool2d_args args; /* of the operator, without its tensor */
} avg_pool2d;

static tn_tensor *avg_pool2d_forward(avg_pool2d *self, tn_tensor *x)
{
    tn_avg_pool2d_args args = self->args;
    args.x = x;
    return tn_avg_pool2d_with(&args);
}

static size_t avg_pool2d_describe(const tn_module *module, char *out, size_t size)
{
    const tn_avg_pool2d_args *a = &((const avg_pool2d *)(const void *)module)->args;
    return describe_pool(out, size, tn_pair_or(a->kernel_hw, a->kernel), tn_pair_or(a->stride_hw, a->stride),
                         tn_pair_or(a->padding_hw, a->padding));
}
LAYER(avg_pool2d);

tn_module *tn_avg_pool2d_new_with(const tn_avg_pool2d_layer_args *a)
{
    avg_pool2d *self = TN_NEW(avg_pool2d);
    if (!self)
        return NULL;
    self->args = (tn_avg_pool2d_args){.size = sizeof self->args, .kernel_hw = a->kernel_hw, .stride = a->stride, .stride_hw = a->stride_hw,
                                      .padding = a->padding, .padding_hw = a->padding_hw, .count_include_pad = a->count_include_pad,
                                      .kernel = a->kernel};
    return &self->base;
}

/* ---- dropout, flatten, identity ------------------------------------------------------------------------------------------ */

static bool is_probability(const char *op, double p)
{
    if (!tn_failing() && !(p >= 0 && p <= 1))
        tn_fail(TN_ERR_ARGUMENT, "%s: p is %g, and a probability lies between 0 and 1", op, p);
    return !tn_failing();
}

tn_tensor *tn_dropout(tn_tensor *x, double p, bool training)
{
    if (!tn_ready("dropout", "x", x) || !is_probability("dropout", p))
        return NULL;
    if (!tn_dtype_is_float((tn_dtype)x->dtype))
        return tn_fail(TN_ERR_DTYPE, "dropout: x is %s: it must be of a floating dtype", tn_dtype_name((tn_dtype)x->dtype));
    if (!training || p == 0)
        return x;
    if (p == 1)
        return tn_mul(x, tn_scalar_f64(0));
    tn_tensor *mask; /* 1 / (1 - p) where kept, else 0 */
    {
        TN_NO_GRAD;
        tn_like_args keep = {.size = sizeof keep, .dtype = TN_DTYPE_DEFAULT, .x = x, .value = 1 - p};
        mask = tn_bernoulli(tn_full_like_with(&keep));
        mask = tn_mul_(mask, tn_scalar_f64(1 / (1 - p)));
    }
    return tn_mul(x, mask);
}

typedef struct dropout {
    tn_module base;
    double p;
} dropout;
static tn_tensor *dropout_forward(dropout *self, tn_tensor *x) { return tn_dropout(x, self->p, self->base.training); }
static size_t dropout_describe(const tn_module *module, char *out, size_t size)
{
    return text(out, size, "p=%g", ((const dropout *)(const void *)module)->p);
}
LAYER(dropout);

tn_module *tn_dropout_new(double p)
{
    dropout *self = is_probability("dropout_new", p) ? TN_NEW(dropout) : NULL;
    if (!self)
        return NULL;
    self->p = p;
    return &self->base;
}

typedef struct flatten {
    tn_module base;
    int start_dim, end_dim;
} flatten;
static tn_tensor *flatten_forward(flatten *self, tn_tensor *x) { return tn_flatten(x, self->start_dim, self->end_dim); }
static size_t flatten_describe(const tn_module *module, char *out, size_t size)
{
    const flatten *self = (const flatten *)(const void *)module;
    return text(out, size, "dims %d to %d", self->start_dim, self->end_dim);
}
LAYER(flatten);

tn_module *tn_flatten_new_with(const tn_flatten_layer_args *args)
{
    flatten *self = TN_NEW(flatten);
    if (!self)
        return NULL;
    self->start_dim = args->start_dim;
    self->end_dim = args->end_dim;
    return &self->base;
}
