/* Initialisers. */
#include <math.h>

#include "nn/module.h"

typedef tn_tensor *(*random_fill)(const tn_uniform_args *args);

static tn_tensor *fill_random(const char *op, tn_tensor *x, random_fill fill, double a, double b)
{
    if (!tn_ready(op, "x", x))
        return NULL;
    if (!tn_dtype_is_float((tn_dtype)x->dtype))
        return tn_fail(TN_ERR_DTYPE, "%s: x is %s, and only floating tensors are initialised so", op, tn_dtype_name((tn_dtype)x->dtype));
    TN_SCOPE;
    tn_uniform_args args = {.size = sizeof args, .dtype = (tn_dtype)x->dtype, .device = &x->storage->device, .shape = tn_shape_of(x),
                            .a = a, .b = b};
    const tn_tensor *values = fill(&args);
    return values && tn_overwrite(x, values) == TN_OK ? x : NULL;
}

tn_tensor *tn_init_uniform(tn_tensor *x, double low, double high)
{
    return fill_random("init_uniform", x, tn_uniform_with, low, high);
}

tn_tensor *tn_init_normal(tn_tensor *x, double mean, double std) { return fill_random("init_normal", x, tn_normal_with, mean, std); }

tn_tensor *tn_init_constant(tn_tensor *x, double value)
{
    if (!tn_ready("init_constant", "x", x))
        return NULL;
    TN_SCOPE;
    const tn_tensor *scalar = tn_scalar_f64(value);
    return scalar && tn_overwrite(x, scalar) == TN_OK ? x : NULL;
}

tn_tensor *tn_init_zeros(tn_tensor *x) { return tn_init_constant(x, 0); }
tn_tensor *tn_init_ones(tn_tensor *x) { return tn_init_constant(x, 1); }

double tn_init_gain(tn_nonlinearity nonlinearity, double a)
{
    switch (nonlinearity) {
    case TN_NONLINEARITY_LEAKY_RELU: return sqrt(2 / (1 + a * a));
    case TN_NONLINEARITY_RELU: return sqrt(2);
    case TN_NONLINEARITY_LINEAR: return 1;
    case TN_NONLINEARITY_TANH: return 5. / 3;
    case TN_NONLINEARITY_SELU: return 3. / 4;
    }
    tn_fail(TN_ERR_ARGUMENT, "init_gain: %d is none of tn_nonlinearity", (int)nonlinearity);
    return NAN;
}

/* Fan in and out of a weight; false with an error. */
static bool fans(const char *op, const tn_tensor *x, double *in, double *out)
{
    if (!tn_ready(op, "x", x))
        return false;
    if (x->ndim < 2) {
        tn_fail(TN_ERR_SHAPE, "%s: x is %s: a weight [out, in, ...] is needed", op, tn_text(x));
        return false;
    }
    double receptive = 1;
    for (int d = 2; d < x->ndim; d++)
        receptive *= (double)x->sizes[d];
    *in = (double)x->sizes[1] * receptive;
    *out = (double)x->sizes[0] * receptive;
    return true;
}

/* Values of that standard deviation; a weight without elements is left as it is. */
static tn_tensor *spread(const char *op, tn_tensor *x, double std, bool normal)
{
    if (!x->numel || tn_failing())
        return tn_failing() ? NULL : x;
    return normal ? fill_random(op, x, tn_normal_with, 0, std) : fill_random(op, x, tn_uniform_with, -sqrt(3) * std, sqrt(3) * std);
}

static tn_tensor *kaiming(const char *op, const tn_kaiming_args *args, bool normal)
{
    double in, out;
    if (!fans(op, args->x, &in, &out))
        return NULL;
    return spread(op, args->x, tn_init_gain(args->nonlinearity, args->a) / sqrt(args->mode == TN_FAN_OUT ? out : in), normal);
}

tn_tensor *tn_init_kaiming_uniform_with(const tn_kaiming_args *args)
{
    TN_KNOWN(tn_kaiming_args, args);
    return kaiming("init_kaiming_uniform", args, false);
}
tn_tensor *tn_init_kaiming_normal_with(const tn_kaiming_args *args)
{
    TN_KNOWN(tn_kaiming_args, args);
    return kaiming("init_kaiming_normal", args, true);
}

static tn_tensor *xavier(const char *op, const tn_xavier_args *args, bool normal)
{
    double in, out;
    return fans(op, args->x, &in, &out) ? spread(op, args->x, args->gain * sqrt(2 / (in + out)), normal) : NULL;
}

tn_tensor *tn_init_xavier_uniform_with(const tn_xavier_args *args)
{
    TN_KNOWN(tn_xavier_args, args);
    return xavier("init_xavier_uniform", args, false);
}
tn_tensor *tn_init_xavier_normal_with(const tn_xavier_args *args)
{
    TN_KNOWN(tn_xavier_args, args);
    return xavier("init_xavier_normal", args, true);
}
