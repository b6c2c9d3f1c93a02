/* The activations as modules. */
#include "nn/layer.h"

/* Those without a parameter, each the operator of its name. */
#define PLAIN_LIST(X)                                                                                                         \
    X(relu) X(silu) X(mish) X(hardswish) X(sigmoid) X(tanh) X(relu6) X(selu) X(log_sigmoid) X(hardsigmoid) X(softsign) X(tanhshrink)

#define PLAIN(name)                                                                                                           \
    typedef struct name##_layer {                                                                                             \
        tn_module base;                                                                                                       \
    } name##_layer;                                                                                                           \
    static tn_tensor *name##_forward(name##_layer *self, tn_tensor *x)                                                        \
    {                                                                                                                         \
        (void)self;                                                                                                           \
        return tn_##name(x);                                                                                                  \
    }                                                                                                                         \
    TN_MODULE_THUNK_(name##_layer, out_[0] = name##_forward((name##_layer *)(void *)module_, in_[0]); return tn_last_status()) = {   \
        sizeof(tn_module_type), #name, sizeof(name##_layer), 1, 1, name##_layer_thunk_, NULL, NULL, NULL,                     \
    };                                                                                                                        \
    tn_module *tn_##name##_new(void) { return (tn_module *)TN_NEW(name##_layer); }
PLAIN_LIST(PLAIN)

/* Those with numbers of their own: a and b. */
typedef struct shaped {
    tn_module base;
    double a, b;
    bool two;
} shaped;

static tn_tensor *leaky_relu_forward(shaped *self, tn_tensor *x)
{
    tn_leaky_relu_args args = {.size = sizeof args, .negative_slope = self->a, .x = x};
    return tn_leaky_relu_with(&args);
}

static tn_tensor *elu_forward(shaped *self, tn_tensor *x)
{
    tn_elu_args args = {.size = sizeof args, .alpha = self->a, .x = x};
    return tn_elu_with(&args);
}

static tn_tensor *gelu_forward(shaped *self, tn_tensor *x)
{
    tn_gelu_args args = {.size = sizeof args, .tanh = self->a != 0, .x = x};
    return tn_gelu_with(&args);
}

static tn_tensor *softplus_forward(shaped *self, tn_tensor *x)
{
    tn_softplus_args args = {.size = sizeof args, .beta = self->a, .threshold = self->b, .x = x};
    return tn_softplus_with(&args);
}

static tn_tensor *hardtanh_forward(shaped *self, tn_tensor *x)
{
    tn_hardtanh_args args = {.size = sizeof args, .min_val = self->a, .max_val = self->b, .x = x};
    return tn_hardtanh_with(&args);
}

static tn_tensor *celu_forward(shaped *self, tn_tensor *x)
{
    tn_celu_args args = {.size = sizeof args, .alpha = self->a, .x = x};
    return tn_celu_with(&args);
}

static tn_tensor *hardshrink_forward(shaped *self, tn_tensor *x)
{
    tn_shrink_args args = {.size = sizeof args, .lambd = self->a, .x = x};
    return tn_hardshrink_with(&args);
}

static tn_tensor *softshrink_forward(shaped *self, tn_tensor *x)
{
    tn_shrink_args args = {.size = sizeof args, .lambd = self->a, .x = x};
    return tn_softshrink_with(&args);
}

static tn_tensor *threshold_forward(shaped *self, tn_tensor *x) { return tn_threshold(x, self->a, self->b); }
static tn_tensor *glu_forward(shaped *self, tn_tensor *x) { return tn_glu(x, (int)self->a); }
static tn_tensor *softmin_forward(shaped *self, tn_tensor *x) { return tn_softmin(x, (int)self->a); }
static tn_tensor *softmax_forward(shaped *self, tn_tensor *x) { return tn_softmax(x, (int)self->a); }
static tn_tensor *log_softmax_forward(shaped *self, tn_tensor *x) { return tn_log_softmax(x, (int)self->a); }

static size_t shaped_describe(const tn_module *module, char *text, size_t size)
{
    const shaped *self = (const shaped *)(const void *)module;
    tn_text_out out = {text, size, 0};
    tn_put(&out, "%g", self->a);
    if (self->two)
        tn_put(&out, ", %g", self->b);
    return out.length;
}

static tn_module *shaped_new(const tn_module_type *type, double a, double b, bool two)
{
    shaped *self = tn_module_new(type);
    if (self) {
        self->a = a;
        self->b = b;
        self->two = two;
    }
    return (tn_module *)self;
}

#define SHAPED(name, parameters, a, b, two)                                                                                       \
    TN_MODULE_THUNK_(name, out_[0] = name##_forward((shaped *)(void *)module_, in_[0]); return tn_last_status()) = {          \
        sizeof(tn_module_type), #name, sizeof(shaped), 1, 1, name##_thunk_, NULL, NULL, shaped_describe,                      \
    };                                                                                                                        \
    tn_module *tn_##name##_new parameters { return shaped_new(&name##_module, a, b, two); }
SHAPED(leaky_relu, (double negative_slope), negative_slope, 0, false)
SHAPED(elu, (double alpha), alpha, 0, false)
SHAPED(gelu, (bool tanh_form), tanh_form, 0, false)
SHAPED(softplus, (double beta, double threshold), beta, threshold, true)
SHAPED(softmax, (int dim), dim, 0, false)
SHAPED(log_softmax, (int dim), dim, 0, false)
SHAPED(hardtanh, (double min_val, double max_val), min_val, max_val, true)
SHAPED(celu, (double alpha), alpha, 0, false)
SHAPED(hardshrink, (double lambd), lambd, 0, false)
SHAPED(softshrink, (double lambd), lambd, 0, false)
SHAPED(threshold, (double threshold, double value), threshold, value, true)
SHAPED(glu, (int dim), dim, 0, false)
SHAPED(softmin, (int dim), dim, 0, false)

/* ---- with a parameter ------------------------------------------------------------------------------------------------------ */

typedef struct prelu {
    tn_module base;
    tn_tensor *weight; /* [count] */
} prelu;

static tn_tensor *prelu_forward(prelu *self, tn_tensor *x) { return tn_prelu(x, self->weight); }

static size_t prelu_describe(const tn_module *module, char *text, size_t size)
{
    tn_text_out out = {text, size, 0};
    tn_put(&out, "%lld", (long long)((const prelu *)(const void *)module)->weight->numel);
    return out.length;
}
LAYER(prelu);

tn_module *tn_prelu_new(int64_t count, double initial)
{
    if (!tn_failing() && count < 1)
        tn_fail(TN_ERR_ARGUMENT, "prelu_new: %lld weights: 1, or as many as there are channels", (long long)count);
    TN_SCOPE;
    prelu *self = TN_NEW(prelu);
    tn_shape_args args = {.size = sizeof args, .dtype = TN_DTYPE_DEFAULT, .shape = TN_SHAPE(count), .value = initial};
    TN_PARAM(self, weight, tn_full_with(&args));
    return tn_finished(self);
}
