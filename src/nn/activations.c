/* Activations as modules: each calls the operator of its name with the arguments that it was made with. */
#include "nn/module.h"

/* A module without arguments. No type has the operator's name: tanh is the C library's. */
typedef struct plain {
    tn_module base;
} plain;
#define PLAIN(kind, result)                                                                                                   \
    TN_MODULE_THUNK_(kind, tn_tensor *x = in_[0]; (void)module_; out_[0] = result; return tn_last_status()) = {               \
        sizeof(tn_module_type), #kind, sizeof(plain), 1, 1, kind##_thunk_, NULL, NULL, NULL};                                 \
    tn_module *tn_##kind##_new(void) { return tn_module_new(&kind##_module); }

PLAIN(identity, x)
PLAIN(relu, tn_relu(x))
PLAIN(silu, tn_silu(x))
PLAIN(mish, tn_mish(x))
PLAIN(hardswish, tn_hardswish(x))
PLAIN(sigmoid, tn_sigmoid(x))
PLAIN(tanh, tn_tanh(x))

/* A module over an operator's own arguments: its args struct without the tensor. */
#define WITH_ARGS(kind)                                                                                                       \
    typedef struct kind {                                                                                                     \
        tn_module base;                                                                                                       \
        tn_##kind##_args args;                                                                                                \
    } kind;                                                                                                                   \
    static tn_tensor *kind##_forward(kind *self, tn_tensor *x)                                                                \
    {                                                                                                                         \
        tn_##kind##_args args = self->args;                                                                                   \
        args.x = x;                                                                                                           \
        return tn_##kind##_with(&args);                                                                                       \
    }                                                                                                                         \
    TN_MODULE(kind, kind##_forward);                                                                                          \
    static tn_module *kind##_of(tn_##kind##_args args)                                                                        \
    {                                                                                                                         \
        kind *self = TN_NEW(kind);                                                                                            \
        if (!self)                                                                                                            \
            return NULL;                                                                                                      \
        self->args = args;                                                                                                    \
        return &self->base;                                                                                                   \
    }

WITH_ARGS(leaky_relu)
WITH_ARGS(elu)
WITH_ARGS(gelu)
WITH_ARGS(softplus)

tn_module *tn_leaky_relu_new(double negative_slope)
{
    return leaky_relu_of((tn_leaky_relu_args){.size = sizeof(tn_leaky_relu_args), .negative_slope = negative_slope});
}
tn_module *tn_elu_new(double alpha) { return elu_of((tn_elu_args){.size = sizeof(tn_elu_args), .alpha = alpha}); }
tn_module *tn_gelu_new(bool tanh_form) { return gelu_of((tn_gelu_args){.size = sizeof(tn_gelu_args), .tanh = tanh_form}); }
tn_module *tn_softplus_new(double beta, double threshold)
{
    return softplus_of((tn_softplus_args){.size = sizeof(tn_softplus_args), .beta = beta, .threshold = threshold});
}

/* A module over one dim. */
#define OVER_DIM(kind)                                                                                                        \
    typedef struct kind {                                                                                                     \
        tn_module base;                                                                                                       \
        int dim;                                                                                                              \
    } kind;                                                                                                                   \
    static tn_tensor *kind##_forward(kind *self, tn_tensor *x) { return tn_##kind(x, self->dim); }                            \
    TN_MODULE(kind, kind##_forward);                                                                                          \
    tn_module *tn_##kind##_new(int dim)                                                                                       \
    {                                                                                                                         \
        kind *self = TN_NEW(kind);                                                                                            \
        if (!self)                                                                                                            \
            return NULL;                                                                                                      \
        self->dim = dim;                                                                                                      \
        return &self->base;                                                                                                   \
    }

OVER_DIM(softmax)
OVER_DIM(log_softmax)
