/* Convolutions as modules, plain and transposed, of one dim and of two: one struct for the four. */
#include <math.h>

#include "nn/layer.h"
#include "ops/window.h"

typedef struct conv {
    tn_module base;
    tn_tensor *weight, *bias; /* [out, in / groups, kernel...], transposed [in, out / groups, kernel...]; [out] or NULL */
    tn_conv_options options;
    int dims;
    bool transposed;
} conv;

static tn_tensor *conv_forward(conv *self, tn_tensor *x)
{
    const char *op = self->base.type->name;
    return (self->transposed ? tn_convolve_transposed : tn_convolve)(op, x, self->weight, self->bias, &self->options, self->dims);
}

static size_t conv_describe(const tn_module *module, char *text, size_t size)
{
    const conv *self = (const conv *)(const void *)module;
    const tn_conv_options *o = &self->options;
    const int64_t first = self->weight->sizes[0], second = self->weight->sizes[1] * o->groups;
    tn_text_out out = {text, size, 0};
    tn_put(&out, "%lld, %lld", (long long)(self->transposed ? first : second), (long long)(self->transposed ? second : first));
    tn_put_pair(&out, "kernel", o->window.kernel, self->dims);
    tn_put_pair(&out, "stride", o->window.stride, self->dims);
    tn_put_pair(&out, "padding", o->window.padding, self->dims);
    if (o->window.dilation.h != 1 || o->window.dilation.w != 1)
        tn_put_pair(&out, "dilation", o->window.dilation, self->dims);
    if (o->output_padding.h || o->output_padding.w)
        tn_put_pair(&out, "output_padding", o->output_padding, self->dims);
    if (o->groups != 1)
        tn_put(&out, ", groups=%lld", (long long)o->groups);
    tn_put(&out, "%s%s", tn_bias_text(self->bias), tn_activation_text(o->activation));
    return out.length;
}
LAYER_NAMED(conv1d, conv);
LAYER_NAMED(conv2d, conv);
LAYER_NAMED(conv_transpose1d, conv);
LAYER_NAMED(conv_transpose2d, conv);

static bool options_fit(const char *name, int64_t in, int64_t out, const tn_conv_options *o)
{
    const tn_window *w = &o->window;
    const tn_pair kernel = w->kernel;
    if (tn_failing())
        return false;
    if (in < 1 || out < 1 || kernel.h < 1 || kernel.w < 1)
        tn_fail(TN_ERR_ARGUMENT, "%s_new: %lld channels in, %lld out, kernel %lldx%lld: all must be at least 1", name, (long long)in,
                (long long)out, (long long)kernel.h, (long long)kernel.w);
    else if (w->stride.h < 1 || w->stride.w < 1 || w->dilation.h < 1 || w->dilation.w < 1 || w->padding.h < 0 || w->padding.w < 0)
        tn_fail(TN_ERR_ARGUMENT, "%s_new: strides and dilations must be at least 1, and padding not negative", name);
    else if (o->groups < 1 || in % o->groups || out % o->groups)
        tn_fail(TN_ERR_ARGUMENT, "%s_new: %lld groups do not divide both %lld channels in and %lld out", name, (long long)o->groups,
                (long long)in, (long long)out);
    return !tn_failing();
}

/* PyTorch's law: weight and bias uniform on ±1/√(weight's second size times the kernel's). */
static tn_module *conv_new(const tn_module_type *type, int64_t in, int64_t out, const tn_conv_options *o, int dims, bool has_bias,
                           tn_dtype dtype)
{
    if (!options_fit(type->name, in, out, o))
        return NULL;
    TN_SCOPE;
    conv *self = tn_module_new(type);
    if (!self)
        return NULL;
    const tn_pair kernel = o->window.kernel;
    self->options = *o;
    self->dims = dims;
    self->transposed = type == &conv_transpose1d_module || type == &conv_transpose2d_module;
    const int64_t first = self->transposed ? in : out, second = (self->transposed ? out : in) / o->groups;
    const double bound = 1 / sqrt((double)second * (double)kernel.h * (double)kernel.w);
    UNIFORM_PARAM(self, weight, dims == 1 ? TN_SHAPE(first, second, kernel.w) : TN_SHAPE(first, second, kernel.h, kernel.w), bound, dtype);
    if (has_bias)
        UNIFORM_PARAM(self, bias, TN_SHAPE(out), bound, dtype);
    return tn_finished(self);
}

/* The window of an options struct: of two dims by pairs, of one with a height of 1. */
#define WINDOW_2D(a)                                                                                                          \
    {                                                                                                                         \
        .kernel = tn_pair_or((a)->kernel_hw, (a)->kernel), .stride = tn_pair_or((a)->stride_hw, (a)->stride),                 \
        .padding = tn_pair_or((a)->padding_hw, (a)->padding), .dilation = tn_pair_or((a)->dilation_hw, (a)->dilation)         \
    }
#define WINDOW_1D(a)                                                                                                          \
    {                                                                                                                         \
        .kernel = {1, (a)->kernel}, .stride = {1, (a)->stride}, .padding = {0, (a)->padding}, .dilation = {1, (a)->dilation}  \
    }

tn_module *tn_conv2d_new_with(const tn_conv2d_layer_args *a)
{
    TN_KNOWN(tn_conv2d_layer_args, a);
    tn_conv_options o = {.window = WINDOW_2D(a), .groups = a->groups, .activation = a->activation};
    return conv_new(&conv2d_module, a->in_channels, a->out_channels, &o, 2, a->bias, a->dtype);
}

tn_module *tn_conv1d_new_with(const tn_conv1d_layer_args *a)
{
    TN_KNOWN(tn_conv1d_layer_args, a);
    tn_conv_options o = {.window = WINDOW_1D(a), .groups = a->groups, .activation = a->activation};
    return conv_new(&conv1d_module, a->in_channels, a->out_channels, &o, 1, a->bias, a->dtype);
}

tn_module *tn_conv_transpose2d_new_with(const tn_conv_transpose2d_layer_args *a)
{
    TN_KNOWN(tn_conv_transpose2d_layer_args, a);
    tn_conv_options o = {.window = WINDOW_2D(a), .groups = a->groups, .output_padding = tn_pair_or(a->output_padding_hw, a->output_padding)};
    return conv_new(&conv_transpose2d_module, a->in_channels, a->out_channels, &o, 2, a->bias, a->dtype);
}

tn_module *tn_conv_transpose1d_new_with(const tn_conv_transpose1d_layer_args *a)
{
    TN_KNOWN(tn_conv_transpose1d_layer_args, a);
    tn_conv_options o = {.window = WINDOW_1D(a), .groups = a->groups, .output_padding = {0, a->output_padding}};
    return conv_new(&conv_transpose1d_module, a->in_channels, a->out_channels, &o, 1, a->bias, a->dtype);
}
