/* What layers with parameters share. */
#ifndef TN_LAYER_H
#define TN_LAYER_H

#include "nn/module.h"

/* A parameter uniform on ±bound, given to the module under the field's name. */
#define UNIFORM_PARAM(module, field, shape_, bound, dtype_)                                                                   \
    do {                                                                                                                      \
        tn_uniform_args args_ = {.size = sizeof args_, .shape = shape_, .a = -(bound), .b = (bound), .dtype = dtype_};        \
        TN_PARAM(module, field, tn_uniform_with(&args_));                                                                     \
    } while (0)

/* The module, or NULL, with it released, when making it failed. */
static inline tn_module *tn_finished(void *module)
{
    if (!tn_failing())
        return module;
    tn_release(module);
    return NULL;
}

static inline const char *tn_bias_text(const tn_tensor *bias) { return bias ? "" : ", bias=False"; }
static inline const char *tn_activation_text(tn_activation activation)
{
    return activation == TN_ACTIVATION_RELU ? ", activation=relu" : "";
}

#endif
