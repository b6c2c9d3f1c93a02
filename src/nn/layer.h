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

/* The table of a layer of one output, named `name`: struct `kind` and kind_describe; `result` is what module_ makes of in_, of n_in_ inputs, which
 * it checks itself where inputs is -1. LAYER_NAMED: of one input, by kind_forward. */
#define LAYER_CALLED(name, kind, inputs, result)                                                                              \
    TN_MODULE_THUNK_(name, out_[0] = result; return tn_last_status()) = {                                                     \
        sizeof(tn_module_type), #name, sizeof(kind), inputs, 1, name##_thunk_, NULL, NULL, kind##_describe,                   \
    }
#define LAYER_NAMED(name, kind) LAYER_CALLED(name, kind, 1, kind##_forward((kind *)(void *)module_, in_[0]))
#define LAYER(kind) LAYER_NAMED(kind, kind)

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

/* ", kernel=3x3", or ", kernel=3" of one dim. */
static inline void tn_put_pair(tn_text_out *out, const char *name, tn_pair pair, int dims)
{
    tn_put(out, "%s%s=", out->length ? ", " : "", name);
    if (dims == 2)
        tn_put(out, "%lldx", (long long)pair.h);
    tn_put(out, "%lld", (long long)pair.w);
}

#endif
