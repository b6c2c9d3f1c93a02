/* Batch, layer, RMS and group norm as modules. */
#include "nn/layer.h"

/* A parameter of one value throughout, given to the module under the field's name. */
#define FILLED_PARAM(module, field, shape_, value_, dtype_)                                                                   \
    do {                                                                                                                      \
        tn_shape_args args_ = {.size = sizeof args_, .shape = shape_, .value = value_, .dtype = dtype_};                      \
        TN_PARAM(module, field, tn_full_with(&args_));                                                                        \
    } while (0)
#define FILLED_BUFFER(module, field, shape_, value_, dtype_)                                                                  \
    do {                                                                                                                      \
        tn_shape_args args_ = {.size = sizeof args_, .shape = shape_, .value = value_, .dtype = dtype_};                      \
        TN_BUFFER(module, field, tn_full_with(&args_));                                                                       \
    } while (0)

/* ---- batch norm ----------------------------------------------------------------------------------------------------------- */

typedef struct batch_norm {
    tn_module base;
    tn_tensor *weight, *bias;             /* [features], or NULL */
    tn_tensor *running_mean, *running_var; /* [features], or NULL */
    tn_tensor *num_batches_tracked;       /* rank 0, or NULL */
    int64_t features;
    int dims; /* of space: 1 or 2 */
    double momentum, eps;
    bool cumulative;
    tn_activation activation;
} batch_norm;

static bool input_fits(const batch_norm *self, const tn_tensor *x)
{
    const char *name = self->base.type->name;
    if (!tn_ready(name, "x", x))
        return false;
    if (self->dims == 1 ? x->ndim != 2 && x->ndim != 3 : x->ndim != 4)
        tn_fail(TN_ERR_SHAPE, "%s: x is %s: it must be %s", name, tn_text(x), self->dims == 1 ? "[n, c] or [n, c, l]" : "[n, c, h, w]");
    else if (x->sizes[1] != self->features)
        tn_fail(TN_ERR_SHAPE, "%s: x is %s and has %lld channels, where the layer has %lld", name, tn_text(x), (long long)x->sizes[1],
                (long long)self->features);
    return !tn_failing();
}

static tn_tensor *batch_norm_forward(batch_norm *self, tn_tensor *const *in, int n_in)
{
    if (n_in != 1 && n_in != 2)
        return tn_fail(TN_ERR_ARGUMENT, "%s: forward takes x and a residual or none, and %d inputs were given", self->base.type->name, n_in);
    tn_tensor *x = in[0], *residual = n_in == 2 ? in[1] : NULL;
    if (!input_fits(self, x) || (n_in == 2 && !tn_ready(self->base.type->name, "residual", residual)))
        return NULL;
    const bool moves = self->base.training && self->num_batches_tracked;
    tn_batch_norm_args args = {.size = sizeof args, .training = self->base.training || !self->running_mean, .momentum = self->momentum,
                               .eps = self->eps, .residual = residual, .activation = self->activation, .x = x, .running_mean = self->running_mean,
                               .running_var = self->running_var, .weight = self->weight, .bias = self->bias};
    if (moves && self->cumulative)
        args.momentum = 1 / (double)(tn_item_i64(self->num_batches_tracked) + 1);
    tn_tensor *y = tn_batch_norm_with(&args);
    if (y && moves) {
        TN_NO_GRAD;
        tn_add_(self->num_batches_tracked, tn_scalar_i64(1));
    }
    return y;
}

static size_t batch_norm_describe(const tn_module *module, char *text, size_t size)
{
    const batch_norm *self = (const batch_norm *)(const void *)module;
    tn_text_out out = {text, size, 0};
    tn_put(&out, "%lld, eps=%g, ", (long long)self->features, self->eps);
    if (self->cumulative)
        tn_put(&out, "cumulative");
    else
        tn_put(&out, "momentum=%g", self->momentum);
    tn_put(&out, "%s%s%s", self->weight ? "" : ", affine=False", self->running_mean ? "" : ", track_running_stats=False",
           tn_activation_text(self->activation));
    return out.length;
}

LAYER_CALLED(batch_norm1d, batch_norm, -1, batch_norm_forward((batch_norm *)(void *)module_, in_, n_in_));
LAYER_CALLED(batch_norm2d, batch_norm, -1, batch_norm_forward((batch_norm *)(void *)module_, in_, n_in_));

static bool at_least_one(const char *name, const char *what, int64_t value)
{
    if (!tn_failing() && value < 1)
        tn_fail(TN_ERR_ARGUMENT, "%s_new: %lld %s: at least 1 is needed", name, (long long)value, what);
    return !tn_failing();
}

static tn_module *batch_norm_new(const tn_module_type *type, const tn_batch_norm_layer_args *a, int dims)
{
    if (!at_least_one(type->name, "features", a->features))
        return NULL;
    TN_SCOPE;
    batch_norm *self = tn_module_new(type);
    if (!self)
        return NULL;
    const tn_shape c = TN_SHAPE(a->features);
    self->features = a->features;
    self->dims = dims;
    self->momentum = a->momentum;
    self->cumulative = a->cumulative;
    self->activation = a->activation;
    self->eps = a->eps;
    if (a->affine) {
        FILLED_PARAM(self, weight, c, 1, a->dtype);
        FILLED_PARAM(self, bias, c, 0, a->dtype);
    }
    if (a->track_running_stats) {
        FILLED_BUFFER(self, running_mean, c, 0, a->dtype);
        FILLED_BUFFER(self, running_var, c, 1, a->dtype);
        FILLED_BUFFER(self, num_batches_tracked, TN_SCALAR, 0, TN_I64);
    }
    return tn_finished(self);
}

tn_module *tn_batch_norm1d_new_with(const tn_batch_norm_layer_args *a)
{
    TN_KNOWN(tn_batch_norm_layer_args, a);
    return batch_norm_new(&batch_norm1d_module, a, 1);
}
tn_module *tn_batch_norm2d_new_with(const tn_batch_norm_layer_args *a)
{
    TN_KNOWN(tn_batch_norm_layer_args, a);
    return batch_norm_new(&batch_norm2d_module, a, 2);
}

/* ---- layer and RMS norm --------------------------------------------------------------------------------------------------- */

typedef struct row_norm {
    tn_module base;
    tn_tensor *weight, *bias; /* of the shape, or NULL */
    tn_shape shape;
    double eps;
} row_norm;

typedef row_norm layer_norm;
typedef row_norm rms_norm;

static tn_tensor *layer_norm_forward(row_norm *self, tn_tensor *x)
{
    tn_layer_norm_args args = {.size = sizeof args, .eps = self->eps, .x = x, .shape = self->shape, .weight = self->weight,
                               .bias = self->bias};
    return tn_layer_norm_with(&args);
}

static tn_tensor *rms_norm_forward(row_norm *self, tn_tensor *x)
{
    tn_rms_norm_args args = {.size = sizeof args, .eps = self->eps, .x = x, .shape = self->shape, .weight = self->weight};
    return tn_rms_norm_with(&args);
}

static size_t layer_norm_describe(const tn_module *module, char *text, size_t size)
{
    const row_norm *self = (const row_norm *)(const void *)module;
    tn_text_out out = {text, size, 0};
    tn_put(&out, "%s", tn_shape_text(self->shape));
    if (self->eps >= 0)
        tn_put(&out, ", eps=%g", self->eps);
    tn_put(&out, "%s", self->weight ? "" : ", elementwise_affine=False");
    return out.length;
}
#define rms_norm_describe layer_norm_describe
LAYER(layer_norm);
LAYER(rms_norm);

static tn_module *row_norm_new(const tn_module_type *type, tn_shape shape, double eps, bool weight, bool bias, tn_dtype dtype)
{
    if (!at_least_one(type->name, "dims to normalise over", shape.ndim))
        return NULL;
    TN_SCOPE;
    row_norm *self = tn_module_new(type);
    if (!self)
        return NULL;
    self->shape = shape;
    self->eps = eps;
    if (weight)
        FILLED_PARAM(self, weight, shape, 1, dtype);
    if (bias)
        FILLED_PARAM(self, bias, shape, 0, dtype);
    return tn_finished(self);
}

tn_module *tn_layer_norm_new_with(const tn_layer_norm_layer_args *a)
{
    TN_KNOWN(tn_layer_norm_layer_args, a);
    return row_norm_new(&layer_norm_module, a->shape, a->eps, a->elementwise_affine, a->elementwise_affine && a->bias, a->dtype);
}

tn_module *tn_rms_norm_new_with(const tn_rms_norm_layer_args *a)
{
    TN_KNOWN(tn_rms_norm_layer_args, a);
    return row_norm_new(&rms_norm_module, a->shape, a->eps, a->elementwise_affine, false, a->dtype);
}

/* ---- group norm ----------------------------------------------------------------------------------------------------------- */

typedef struct group_norm {
    tn_module base;
    tn_tensor *weight, *bias; /* [channels], or NULL */
    int64_t groups, channels;
    double eps;
} group_norm;

static tn_tensor *group_norm_forward(group_norm *self, tn_tensor *x)
{
    if (tn_ready("group_norm", "x", x) && x->ndim > 1 && x->sizes[1] != self->channels)
        return tn_fail(TN_ERR_SHAPE, "group_norm: x is %s and has %lld channels, where the layer has %lld", tn_text(x),
                       (long long)x->sizes[1], (long long)self->channels);
    tn_group_norm_args args = {.size = sizeof args, .eps = self->eps, .x = x, .groups = self->groups, .weight = self->weight,
                               .bias = self->bias};
    return tn_group_norm_with(&args);
}

static size_t group_norm_describe(const tn_module *module, char *text, size_t size)
{
    const group_norm *self = (const group_norm *)(const void *)module;
    tn_text_out out = {text, size, 0};
    tn_put(&out, "%lld, %lld, eps=%g%s", (long long)self->groups, (long long)self->channels, self->eps,
           self->weight ? "" : ", affine=False");
    return out.length;
}
LAYER(group_norm);

tn_module *tn_group_norm_new_with(const tn_group_norm_layer_args *a)
{
    TN_KNOWN(tn_group_norm_layer_args, a);
    if (!at_least_one("group_norm", "groups", a->groups) || !at_least_one("group_norm", "channels", a->channels))
        return NULL;
    if (a->channels % a->groups)
        return tn_fail(TN_ERR_ARGUMENT, "group_norm_new: %lld groups do not divide %lld channels", (long long)a->groups,
                       (long long)a->channels);
    TN_SCOPE;
    group_norm *self = TN_NEW(group_norm);
    if (!self)
        return NULL;
    self->groups = a->groups;
    self->channels = a->channels;
    self->eps = a->eps;
    if (a->affine) {
        FILLED_PARAM(self, weight, TN_SHAPE(a->channels), 1, a->dtype);
        FILLED_PARAM(self, bias, TN_SHAPE(a->channels), 0, a->dtype);
    }
    return tn_finished(self);
}
