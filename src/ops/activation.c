/* Activations made of other operators, which give them their gradients. */
#include <tenon/ops.h>

#include "core/core.h"
#include "ops/reduction.h"

#define N(value) tn_scalar_f64(value)

static bool good(const char *op, const tn_tensor *x) { return tn_ready(op, "x", x) && tn_floats_only(op, x); }

static tn_tensor *between(tn_tensor *x, double low, double high)
{
    return tn_clamp_with(&(tn_clamp_args){.size = sizeof(tn_clamp_args), .min = low, .max = high, .x = x});
}
static tn_tensor *elu(tn_tensor *x, double alpha)
{
    return tn_elu_with(&(tn_elu_args){.size = sizeof(tn_elu_args), .alpha = alpha, .x = x});
}

/* Runs `body`, whose temporaries go at once where backward does not need them. */
#define ACTIVATION(name, body)                                                                                                \
    tn_tensor *tn_##name(tn_tensor *x)                                                                                        \
    {                                                                                                                         \
        if (!good(#name, x))                                                                                                  \
            return NULL;                                                                                                      \
        TN_SCOPE;                                                                                                             \
        return tn_pass(body);                                                                                                 \
    }
ACTIVATION(selu, tn_mul(elu(x, 1.6732632423543772848170429916717), N(1.0507009873554804934193349852946)))
ACTIVATION(hardsigmoid, between(tn_add(tn_mul(x, N(1. / 6)), N(0.5)), 0, 1))
ACTIVATION(softsign, tn_div(x, tn_add(tn_abs(x), N(1))))
ACTIVATION(tanhshrink, tn_sub(x, tn_tanh(x)))
/* 0 - softplus(-x), so that it ends in 0 and not in -0; beyond 40 softplus is x to the last bit of a double. */
ACTIVATION(log_sigmoid, tn_sub(N(0), tn_softplus_with(&(tn_softplus_args){.size = sizeof(tn_softplus_args), .beta = 1, .threshold = 40,
                                                                          .x = tn_neg(x)})))
/* PyTorch's slope at the bounds is 0, and so is clamp's. */
ACTIVATION(relu6, between(x, 0, 6))

tn_tensor *tn_hardtanh_with(const tn_hardtanh_args *a)
{
    TN_KNOWN(tn_hardtanh_args, a);
    if (!good("hardtanh", a->x))
        return NULL;
    if (!(a->min_val < a->max_val))
        return tn_fail(TN_ERR_ARGUMENT, "hardtanh: min_val is %g and max_val %g: the one must be below the other", a->min_val, a->max_val);
    return between(a->x, a->min_val, a->max_val);
}

tn_tensor *tn_celu_with(const tn_celu_args *a)
{
    TN_KNOWN(tn_celu_args, a);
    if (!good("celu", a->x))
        return NULL;
    if (!(a->alpha > 0))
        return tn_fail(TN_ERR_ARGUMENT, "celu: alpha is %g: it must be positive", a->alpha);
    TN_SCOPE;
    return tn_pass(tn_mul(elu(tn_div(a->x, N(a->alpha)), 1), N(a->alpha)));
}

/* |x| <= lambd, which NaN is not: it goes through */
static tn_tensor *within(tn_tensor *x, double lambd) { return tn_le(tn_abs(x), N(lambd)); }

tn_tensor *tn_hardshrink_with(const tn_shrink_args *a)
{
    TN_KNOWN(tn_shrink_args, a);
    if (!good("hardshrink", a->x))
        return NULL;
    TN_SCOPE;
    return tn_pass(tn_where(within(a->x, a->lambd), N(0), a->x));
}

tn_tensor *tn_softshrink_with(const tn_shrink_args *a)
{
    TN_KNOWN(tn_shrink_args, a);
    if (!good("softshrink", a->x))
        return NULL;
    if (!(a->lambd >= 0))
        return tn_fail(TN_ERR_ARGUMENT, "softshrink: lambd is %g: it must not be negative", a->lambd);
    TN_SCOPE;
    return tn_pass(tn_where(within(a->x, a->lambd), N(0), tn_sub(a->x, tn_mul(tn_sign(a->x), N(a->lambd)))));
}

tn_tensor *tn_threshold(tn_tensor *x, double threshold, double value)
{
    if (!good("threshold", x))
        return NULL;
    TN_SCOPE;
    return tn_pass(tn_where(tn_gt(x, N(threshold)), x, N(value)));
}

tn_tensor *tn_prelu(tn_tensor *x, tn_tensor *weight)
{
    if (!good("prelu", x) || !tn_ready("prelu", "weight", weight) || !tn_devices_agree("prelu", x, weight))
        return NULL;
    const int64_t channels = x->ndim > 1 ? x->sizes[1] : 1;
    if (weight->dtype != x->dtype)
        return tn_fail(TN_ERR_DTYPE, "prelu: x is %s and weight is %s: both must be of one dtype: tn_cast one of them",
                       tn_dtype_name((tn_dtype)x->dtype), tn_dtype_name((tn_dtype)weight->dtype));
    if (weight->ndim > 1 || (weight->numel != 1 && weight->numel != channels))
        return tn_fail(TN_ERR_SHAPE, "prelu: x is %s and weight is %s: it must be [1] or, for each channel, [%lld]", tn_text(x),
                       tn_text(weight), (long long)channels);
    TN_SCOPE;
    tn_shape along = {.ndim = x->ndim > 1 ? x->ndim : 1};
    for (int d = 0; d < along.ndim; d++)
        along.sizes[d] = d == 1 ? weight->numel : 1;
    tn_tensor *slope = tn_reshape(weight, x->ndim == 0 ? TN_SCALAR : along);
    return tn_pass(tn_where(tn_gt(x, N(0)), x, tn_mul(x, slope)));
}

tn_tensor *tn_glu(tn_tensor *x, int dim)
{
    if (!good("glu", x) || (dim = tn_wrap_dim("glu", dim, x->ndim)) < 0)
        return NULL;
    if (x->ndim == 0 || x->sizes[dim] % 2)
        return tn_fail(TN_ERR_SHAPE, "glu: x is %s: dim %d is to be halved, and its size must be even", tn_text(x), dim);
    TN_SCOPE;
    const int64_t half = x->sizes[dim] / 2;
    return tn_pass(tn_mul(tn_narrow(x, dim, 0, half), tn_sigmoid(tn_narrow(x, dim, half, half))));
}

tn_tensor *tn_softmin(tn_tensor *x, int dim)
{
    if (!good("softmin", x))
        return NULL;
    TN_SCOPE;
    return tn_pass(tn_softmax(tn_neg(x), dim));
}
