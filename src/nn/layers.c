/* Layers with parameters or a mode: Linear, Conv2d, pooling, Dropout, Flatten, Identity. */
#include <math.h>

#include "nn/module.h"

/* A parameter uniform on ±bound, given to the module under the field's name. */
#define UNIFORM_PARAM(module, field, shape_, bound, dtype_)                                                                   \
    do {                                                                                                                      \
        tn_uniform_args args_ = {.size = sizeof args_, .shape = shape_, .a = -(bound), .b = (bound), .dtype = dtype_};        \
        TN_PARAM(module, field, tn_uniform_with(&args_));                                                                     \
    } while (0)

/* The module, or NULL, with it released, when making it failed. */
static tn_module *finished(void *module)
{
    if (!tn_failing())
        return module;
    tn_release(module);
    return NULL;
}

static const char *bias_text(const tn_tensor *bias) { return bias ? "" : ", bias=False"; }

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

static size_t linear_describe(const tn_module *module, char *text, size_t size)
{
    const linear *self = (const linear *)(const void *)module;
    tn_text_out out = {text, size, 0};
    tn_put(&out, "%lld, %lld%s%s", (long long)self->weight->sizes[1], (long long)self->weight->sizes[0], bias_text(self->bias),
           self->activation == TN_ACTIVATION_RELU ? ", activation=relu" : "");
    return out.length;
}

TN_MODULE_THUNK_(linear, out_[0] = linear_forward((linear *)(void *)module_, in_[0]); return tn_last_status()) = {
    sizeof(tn_module_type), "linear", sizeof(linear), 1, 1, linear_thunk_, NULL, NULL, linear_describe,
};

tn_module *tn_linear_new_with(const tn_linear_layer_args *a)
{
    if (tn_failing())
        return NULL;
    if (a->in_features < 0 || a->out_features < 0)
        return tn_fail(TN_ERR_ARGUMENT, "linear: %lld and %lld are no numbers of features", (long long)a->in_features, (long long)a->out_features);
    TN_SCOPE;
    linear *self = TN_NEW(linear);
    double bound = a->in_features ? 1 / sqrt((double)a->in_features) : 0;
    if (!self)
        return NULL;
    self->activation = a->activation;
    UNIFORM_PARAM(self, weight, TN_SHAPE(a->out_features, a->in_features), bound, a->dtype);
    if (a->bias)
        UNIFORM_PARAM(self, bias, TN_SHAPE(a->out_features), bound, a->dtype);
    return finished(self);
}

/* ---- convolution -------------------------------------------------------------------------------------------------------- */

typedef struct conv2d {
    tn_module base;
    tn_tensor *weight, *bias; /* [out, in / groups, kh, kw], [out] or NULL */
    int64_t in_channels;
    tn_conv2d_args args;
} conv2d;

static tn_tensor *conv2d_forward(conv2d *self, tn_tensor *x)
{
    tn_conv2d_args args = self->args;
    args.x = x;
    args.weight = self->weight;
    args.bias = self->bias;
    return tn_conv2d_with(&args);
}

static void put_pair(tn_text_out *out, const char *name, int64_t both, tn_pair each, int64_t usual)
{
    if (each.h || each.w)
        tn_put(out, ", %s=(%lld, %lld)", name, (long long)each.h, (long long)each.w);
    else if (both != usual)
        tn_put(out, ", %s=%lld", name, (long long)both);
}

static size_t conv2d_describe(const tn_module *module, char *text, size_t size)
{
    const conv2d *self = (const conv2d *)(const void *)module;
    const int64_t *sizes = self->weight->sizes;
    tn_text_out out = {text, size, 0};
    tn_put(&out, "%lld, %lld, ", (long long)self->in_channels, (long long)sizes[0]);
    tn_put(&out, sizes[2] == sizes[3] ? "%lld" : "(%lld, %lld)", (long long)sizes[2], (long long)sizes[3]);
    put_pair(&out, "stride", self->args.stride, self->args.stride_hw, 1);
    put_pair(&out, "padding", self->args.padding, self->args.padding_hw, 0);
    put_pair(&out, "dilation", self->args.dilation, self->args.dilation_hw, 1);
    if (self->args.groups != 1)
        tn_put(&out, ", groups=%lld", (long long)self->args.groups);
    tn_put(&out, "%s%s", bias_text(self->bias), self->args.activation == TN_ACTIVATION_RELU ? ", activation=relu" : "");
    return out.length;
}

TN_MODULE_THUNK_(conv2d, out_[0] = conv2d_forward((conv2d *)(void *)module_, in_[0]); return tn_last_status()) = {
    sizeof(tn_module_type), "conv2d", sizeof(conv2d), 1, 1, conv2d_thunk_, NULL, NULL, conv2d_describe,
};

tn_module *tn_conv2d_new_with(const tn_conv2d_layer_args *a)
{
    if (tn_failing())
        return NULL;
    int64_t kh = a->kernel_hw.h ? a->kernel_hw.h : a->kernel, kw = a->kernel_hw.w ? a->kernel_hw.w : a->kernel;
    if (a->in_channels < 1 || a->out_channels < 1 || kh < 1 || kw < 1)
        return tn_fail(TN_ERR_ARGUMENT, "conv2d: in, out and kernel are %lld, %lld and %lld x %lld: each must be 1 or more",
                       (long long)a->in_channels, (long long)a->out_channels, (long long)kh, (long long)kw);
    if (a->groups < 1 || a->in_channels % a->groups || a->out_channels % a->groups)
        return tn_fail(TN_ERR_ARGUMENT, "conv2d: groups is %lld: it must divide in and out, %lld and %lld", (long long)a->groups,
                       (long long)a->in_channels, (long long)a->out_channels);
    TN_SCOPE;
    conv2d *self = TN_NEW(conv2d);
    if (!self)
        return NULL;
    self->in_channels = a->in_channels;
    self->args = (tn_conv2d_args){
        .size = sizeof self->args, .stride = a->stride, .stride_hw = a->stride_hw, .padding = a->padding, .padding_hw = a->padding_hw,
        .dilation = a->dilation, .dilation_hw = a->dilation_hw, .groups = a->groups, .activation = a->activation,
    };
    double bound = 1 / sqrt((double)(a->in_channels / a->groups) * (double)kh * (double)kw);
    UNIFORM_PARAM(self, weight, TN_SHAPE(a->out_channels, a->in_channels / a->groups, kh, kw), bound, a->dtype);
    if (a->bias)
        UNIFORM_PARAM(self, bias, TN_SHAPE(a->out_channels), bound, a->dtype);
    return finished(self);
}

/* ---- pooling ------------------------------------------------------------------------------------------------------------ */

typedef struct max_pool2d {
    tn_module base;
    tn_max_pool2d_args args;
} max_pool2d;

static tn_tensor *max_pool2d_forward(max_pool2d *self, tn_tensor *x)
{
    tn_max_pool2d_args args = self->args;
    args.x = x;
    return tn_max_pool2d_with(&args);
}
TN_MODULE(max_pool2d, max_pool2d_forward);

tn_module *tn_max_pool2d_new_with(const tn_max_pool2d_layer_args *a)
{
    max_pool2d *self = TN_NEW(max_pool2d);
    if (self)
        self->args = (tn_max_pool2d_args){
            .size = sizeof self->args, .kernel_hw = a->kernel_hw, .stride = a->stride, .stride_hw = a->stride_hw, .padding = a->padding,
            .padding_hw = a->padding_hw, .dilation = a->dilation, .dilation_hw = a->dilation_hw, .ceil_mode = a->ceil_mode,
            .kernel = a->kernel,
        };
    return (tn_module *)self;
}

typedef struct avg_pool2d {
    tn_module base;
    tn_avg_pool2d_args args;
} avg_pool2d;

static tn_tensor *avg_pool2d_forward(avg_pool2d *self, tn_tensor *x)
{
    tn_avg_pool2d_args args = self->args;
    args.x = x;
    return tn_avg_pool2d_with(&args);
}
TN_MODULE(avg_pool2d, avg_pool2d_forward);

tn_module *tn_avg_pool2d_new_with(const tn_avg_pool2d_layer_args *a)
{
    avg_pool2d *self = TN_NEW(avg_pool2d);
    if (self)
        self->args = (tn_avg_pool2d_args){
            .size = sizeof self->args, .kernel_hw = a->kernel_hw, .stride = a->stride, .stride_hw = a->stride_hw, .padding = a->padding,
            .padding_hw = a->padding_hw, .ceil_mode = a->ceil_mode, .count_include_pad = a->count_include_pad, .kernel = a->kernel,
        };
    return (tn_module *)self;
}

/* ---- dropout, flatten, identity ----------------------------------------------------------------------------------------- */

typedef struct dropout {
    tn_module base;
    double p;
} dropout;

static bool probability(double p)
{
    if (p >= 0 && p <= 1)
        return true;
    tn_fail(TN_ERR_ARGUMENT, "dropout: p is %g: a probability, 0 to 1, is needed", p);
    return false;
}

tn_tensor *tn_dropout(tn_tensor *x, double p, bool training)
{
    if (!tn_ready("dropout", "x", x) || !probability(p))
        return NULL;
    if (!tn_dtype_is_float((tn_dtype)x->dtype))
        return tn_fail(TN_ERR_DTYPE, "dropout: x is %s: a floating tensor is needed", tn_dtype_name((tn_dtype)x->dtype));
    if (!training || p == 0)
        return tn_adopt(tn_retain(x));
    TN_SCOPE;
    tn_shape_args args = {.size = sizeof args, .shape = tn_shape_of(x), .device = &x->storage->device, .dtype = TN_F32};
    tn_tensor *kept = tn_cast(tn_ge(tn_rand_with(&args), tn_scalar_f64(p)), (tn_dtype)x->dtype);
    tn_tensor *scale = p < 1 ? tn_mul(kept, tn_scalar_f64(1 / (1 - p))) : kept;
    return tn_pass(tn_mul(x, scale));
}

static tn_tensor *dropout_forward(dropout *self, tn_tensor *x) { return tn_dropout(x, self->p, self->base.training); }

static size_t dropout_describe(const tn_module *module, char *text, size_t size)
{
    tn_text_out out = {text, size, 0};
    tn_put(&out, "%g", ((const dropout *)(const void *)module)->p);
    return out.length;
}

TN_MODULE_THUNK_(dropout, out_[0] = dropout_forward((dropout *)(void *)module_, in_[0]); return tn_last_status()) = {
    sizeof(tn_module_type), "dropout", sizeof(dropout), 1, 1, dropout_thunk_, NULL, NULL, dropout_describe,
};

tn_module *tn_dropout_new(double p)
{
    dropout *self = tn_failing() || !probability(p) ? NULL : TN_NEW(dropout);
    if (self)
        self->p = p;
    return (tn_module *)self;
}

typedef struct flatten {
    tn_module base;
    int start_dim, end_dim;
} flatten;

static tn_tensor *flatten_forward(flatten *self, tn_tensor *x) { return tn_flatten(x, self->start_dim, self->end_dim); }
TN_MODULE(flatten, flatten_forward);

tn_module *tn_flatten_new_with(const tn_flatten_layer_args *a)
{
    flatten *self = TN_NEW(flatten);
    if (self) {
        self->start_dim = a->start_dim;
        self->end_dim = a->end_dim;
    }
    return (tn_module *)self;
}

typedef struct identity {
    tn_module base;
} identity;

static tn_tensor *identity_forward(identity *self, tn_tensor *x)
{
    (void)self;
    return x;
}
TN_MODULE(identity, identity_forward);
tn_module *tn_identity_new(void) { return (tn_module *)TN_NEW(identity); }
