/* The activations as modules. */
#include "nn/module.h"

/* Those without a parameter, each the operator of its name. */
#define PLAIN_LIST(X) X(relu) X(silu) X(mish) X(hardswish) X(sigmoid) X(tanh)

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

static tn_tensor *softmax_forward(shaped *self, tn_tensor *x) { return tn_softmax(x, (int)self->a); }
static tn_tensor *log_softmax_forward(shaped *self, tn_tensor *x) { return tn_log_softmax(x, (int)self->a); }

static size_t shaped_describe(const tn_module *module, char *text, size_t size)
{
    const shaped *self = (const shaped *)(const void *)module;
    tn_text_out out = {text, size, 0};
    tn_put(&out, "%g", self->a);
    return out.length;
}

static tn_module *shaped_new(const tn_module_type *type, double a, double b)
{
    shaped *self = tn_module_new(type);
    if (self) {
        self->a = a;
        self->b = b;
    }
    return (tn_module *)self;
}

#define SHAPED(name, parameters, a, b)                                                                                        \
    TN_MODULE_THUNK_(name, out_[0] = name##_forward((shaped *)(void *)module_, in_[0]); return tn_last_status()) = {          \
        sizeof(tn_module_type), #name, sizeof(shaped), 1, 1, name##_thunk_, NULL, NULL, shaped_describe,                      \
    };                                                                                                                        \
    tn_module *tn_##name##_new parameters { return shaped_new(&name##_module, a, b); }
SHAPED(leaky_relu, (double negative_slope), negative_slope, 0)
SHAPED(elu, (double alpha), alpha, 0)
SHAPED(gelu, (bool tanh_form), tanh_form, 0)
SHAPED(softplus, (double beta, double threshold), beta, threshold)
SHAPED(softmax, (int dim), dim, 0)
SHAPED(log_softmax, (int dim), dim, 0)
