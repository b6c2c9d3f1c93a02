/* Convolution and pooling as modules: each is its operator with arguments that it remembers. */
#include <math.h>

#include "nn/layer.h"
#include "ops/window.h"

#define LAYER(kind)                                                                                                           \
    TN_MODULE_THUNK_(kind, out_[0] = kind##_forward((kind *)(void *)module_, in_[0]); return tn_last_status()) = {            \
        sizeof(tn_module_type), #kind, sizeof(kind), 1, 1, kind##_thunk_, NULL, NULL, kind##_describe,                        \
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

static size_t conv2d_describe(const tn_module *module, char *text, size_t size)
{
    const conv2d *self = (const conv2d *)(const void *)module;
    const tn_pair stride = tn_pair_or(self->args.stride_hw, self->args.stride), pad = tn_pair_or(self->args.padding_hw, self->args.padding);
    const int64_t *w = self->weight->sizes;
    tn_text_out out = {text, size, 0};
    const tn_pair dilation = tn_pair_or(self->args.dilation_hw, self->args.dilation);
    tn_put(&out, "%lld, %lld, kernel=%lldx%lld, stride=%lldx%lld, padding=%lldx%lld", (long long)(w[1] * self->args.groups),
                (long long)w[0], (long long)w[2], (long long)w[3], (long long)stride.h, (long long)stride.w, (long long)pad.h,
                (long long)pad.w);
    if (dilation.h != 1 || dilation.w != 1)
        tn_put(&out, ", dilation=%lldx%lld", (long long)dilation.h, (long long)dilation.w);
    if (self->args.groups != 1)
        tn_put(&out, ", groups=%lld", (long long)self->args.groups);
    tn_put(&out, "%s%s", tn_bias_text(self->bias), tn_activation_text(self->args.activation));
    return out.length;
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
    TN_KNOWN(tn_conv2d_layer_args, a);
    const tn_pair kernel = tn_pair_or(a->kernel_hw, a->kernel);
    if (tn_failing() || !conv2d_fits(a, kernel))
        return NULL;
    TN_SCOPE;
    conv2d *self = TN_NEW(conv2d);
    const int64_t in = a->in_channels / a->groups;
    const double bound = 1 / sqrt((double)in * (double)kernel.h * (double)kernel.w);
    if (!self)
        return NULL;
    self->args = (tn_conv2d_args){.size = sizeof self->args, .stride = a->stride, .stride_hw = a->stride_hw, .padding = a->padding,
                                  .padding_hw = a->padding_hw, .dilation = a->dilation, .dilation_hw = a->dilation_hw,
                                  .groups = a->groups, .activation = a->activation};
    UNIFORM_PARAM(self, weight, TN_SHAPE(a->out_channels, in, kernel.h, kernel.w), bound, a->dtype);
    if (a->bias)
        UNIFORM_PARAM(self, bias, TN_SHAPE(a->out_channels), bound, a->dtype);
    return tn_finished(self);
}

/* ---- pooling ------------------------------------------------------------------------------------------------------------ */

static bool pool_fits(const char *name, tn_pair kernel)
{
    if (!tn_failing() && (kernel.h < 1 || kernel.w < 1))
        tn_fail(TN_ERR_ARGUMENT, "%s: the kernel is %lldx%lld: it must be given, 1 or more", name, (long long)kernel.h, (long long)kernel.w);
    return !tn_failing();
}

static size_t describe_pool(char *text, size_t size, tn_pair kernel, tn_pair stride, tn_pair pad)
{
    stride = stride.h || stride.w ? stride : kernel;
    tn_text_out out = {text, size, 0};
    tn_put(&out, "kernel=%lldx%lld, stride=%lldx%lld, padding=%lldx%lld", (long long)kernel.h, (long long)kernel.w,
                (long long)stride.h, (long long)stride.w, (long long)pad.h, (long long)pad.w);
    return out.length;
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

static size_t max_pool2d_describe(const tn_module *module, char *text, size_t size)
{
    const tn_max_pool2d_args *a = &((const max_pool2d *)(const void *)module)->args;
    return describe_pool(text, size, tn_pair_or(a->kernel_hw, a->kernel), tn_pair_or(a->stride_hw, a->stride),
                         tn_pair_or(a->padding_hw, a->padding));
}
LAYER(max_pool2d);

tn_module *tn_max_pool2d_new_with(const tn_max_pool2d_layer_args *a)
{
    TN_KNOWN(tn_max_pool2d_layer_args, a);
    max_pool2d *self = pool_fits("max_pool2d", tn_pair_or(a->kernel_hw, a->kernel)) ? TN_NEW(max_pool2d) : NULL;
    if (!self)
        return NULL;
    self->args = (tn_max_pool2d_args){.size = sizeof self->args, .kernel_hw = a->kernel_hw, .stride = a->stride, .stride_hw = a->stride_hw,
                                      .padding = a->padding, .padding_hw = a->padding_hw, .dilation = a->dilation,
                                      .dilation_hw = a->dilation_hw, .ceil_mode = a->ceil_mode, .kernel = a->kernel};
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

static size_t avg_pool2d_describe(const tn_module *module, char *text, size_t size)
{
    const tn_avg_pool2d_args *a = &((const avg_pool2d *)(const void *)module)->args;
    return describe_pool(text, size, tn_pair_or(a->kernel_hw, a->kernel), tn_pair_or(a->stride_hw, a->stride),
                         tn_pair_or(a->padding_hw, a->padding));
}
LAYER(avg_pool2d);

tn_module *tn_avg_pool2d_new_with(const tn_avg_pool2d_layer_args *a)
{
    TN_KNOWN(tn_avg_pool2d_layer_args, a);
    avg_pool2d *self = pool_fits("avg_pool2d", tn_pair_or(a->kernel_hw, a->kernel)) ? TN_NEW(avg_pool2d) : NULL;
    if (!self)
        return NULL;
    self->args = (tn_avg_pool2d_args){.size = sizeof self->args, .kernel_hw = a->kernel_hw, .stride = a->stride, .stride_hw = a->stride_hw,
                                      .padding = a->padding, .padding_hw = a->padding_hw, .ceil_mode = a->ceil_mode,
                                      .count_include_pad = a->count_include_pad, .kernel = a->kernel};
    return &self->base;
}
