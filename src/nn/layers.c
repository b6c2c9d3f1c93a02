/* Linear, Dropout, Flatten, Identity. */
#include <math.h>

#include "nn/linear.h"
#include "ops/random.h"

/* ---- linear ------------------------------------------------------------------------------------------------------------- */

static tn_tensor *linear_forward(linear *self, tn_tensor *x)
{
    tn_linear_op_args args = {.size = sizeof args, .activation = self->activation, .x = x, .weight = self->weight, .bias = self->bias};
    if (!self->lora_A)
        return tn_linear_with(&args);
    args.activation = TN_ACTIVATION_NONE;
    tn_tensor *y = tn_linear_with(&args);
    y = y ? tn_add(y, tn_lora_part(self, x)) : NULL;
    return self->activation == TN_ACTIVATION_RELU ? tn_relu(y) : y;
}

static size_t linear_describe(const tn_module *module, char *text, size_t size)
{
    const linear *self = (const linear *)(const void *)module;
    tn_text_out out = {text, size, 0};
    tn_put(&out, "%lld, %lld%s%s", (long long)self->weight->sizes[1], (long long)self->weight->sizes[0], tn_bias_text(self->bias),
           tn_activation_text(self->activation));
    return out.length;
}

TN_MODULE_THUNK_(linear, out_[0] = linear_forward((linear *)(void *)module_, in_[0]); return tn_last_status()) = {
    sizeof(tn_module_type), "linear", sizeof(linear), 1, 1, linear_thunk_, NULL, NULL, linear_describe,
};
const tn_module_type *const tn_linear_type = &linear_module;

tn_module *tn_linear_new_with(const tn_linear_layer_args *a)
{
    TN_KNOWN(tn_linear_layer_args, a);
    if (tn_failing())
        return NULL;
    if (a->in_features < 1 || a->out_features < 1)
        return tn_fail(TN_ERR_ARGUMENT, "linear: in_features is %lld and out_features %lld: both must be given, 1 or more",
                       (long long)a->in_features, (long long)a->out_features);
    TN_SCOPE;
    linear *self = TN_NEW(linear);
    double bound = 1 / sqrt((double)a->in_features);
    if (!self)
        return NULL;
    self->activation = a->activation;
    UNIFORM_PARAM(self, weight, TN_SHAPE(a->out_features, a->in_features), bound, a->dtype);
    if (a->bias)
        UNIFORM_PARAM(self, bias, TN_SHAPE(a->out_features), bound, a->dtype);
    return tn_finished(self);
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
    tn_tensor *scale = tn_random_mask("dropout", tn_shape_of(x), (tn_dtype)x->dtype, x->storage->device, 1 - p, 1 / (1 - p));
    return tn_pass(scale ? tn_mul(x, scale) : NULL);
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
    TN_KNOWN(tn_flatten_layer_args, a);
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
