/* Variance, standard deviation, norms, logsumexp. */
#include <math.h>

#include <tenon/ops.h>

#include "ops/reduction.h"

/* ---- variance ------------------------------------------------------------------------------------------------------------- */

/* 2 (x - mean) / (n - correction), or half of it. */
static tn_tensor *away(tn_tensor *x, const tn_reduced *how, double factor)
{
    double freedom = fmax(0, (double)tn_reduced_count(how) - how->param);
    return tn_mul(tn_sub(x, tn_mean_kept(x, how)), tn_scalar_f64(factor / freedom));
}

static void var_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const tn_reduced *how = tn_node_attr(node);
    dx[0] = tn_mul(tn_kept(dy[0], how), away(tn_node_saved(node, 0), how, 2));
}

/* Where the deviation is 0 its gradient is said to be 0. */
static void std_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const tn_reduced *how = tn_node_attr(node);
    tn_tensor *y = tn_node_saved(node, 1), *zero = tn_eq(y, tn_scalar_f64(0));
    tn_tensor *g = tn_masked_fill(tn_div(dy[0], tn_masked_fill(y, zero, 1)), zero, 0);
    dx[0] = tn_mul(tn_kept(g, how), away(tn_node_saved(node, 0), how, 1));
}

tn_tensor *tn_var_with(const tn_var_args *args)
{
    TN_KNOWN(tn_var_args, args);
    tn_reduced how;
    if (!tn_reduce_begin("var", args->x, args->dim, args->dims, args->correction, &how) || !tn_floats_only("var", args->x))
        return NULL;
    tn_tensor *y = tn_reduce_run("var", TN_REDUCE_VAR, args->x, &how, args->keepdim, true, NULL);
    return tn_record(y, "var", var_backward, TN_INPUTS(args->x), TN_SAVED(args->x), TN_ATTR(how));
}

tn_tensor *tn_std_with(const tn_var_args *args)
{
    TN_KNOWN(tn_var_args, args);
    tn_reduced how;
    if (!tn_reduce_begin("std", args->x, args->dim, args->dims, args->correction, &how) || !tn_floats_only("std", args->x))
        return NULL;
    tn_tensor *y = tn_reduce_run("std", TN_REDUCE_STD, args->x, &how, args->keepdim, true, NULL);
    return tn_record(y, "std", std_backward, TN_INPUTS(args->x), TN_SAVED(args->x, y), TN_ATTR(how));
}

/* ---- norms ---------------------------------------------------------------------------------------------------------------- */

/* d|x|_p/dx = sign(x) (|x| / |x|_p)^(p-1); of the greatest or least |x|, shared out among equals. 0 where the norm, or for p < 1 x, is 0. */
static void norm_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const tn_reduced *how = tn_node_attr(node);
    tn_tensor *x = tn_node_saved(node, 0), *y = tn_kept(tn_node_saved(node, 1), how), *g = tn_kept(dy[0], how);
    tn_tensor *flat = tn_eq(y, tn_scalar_f64(0));
    double p = how->param;
    if (!flat)
        return;
    if (p == 0) {
        dx[0] = tn_mul(tn_mul(x, tn_scalar_f64(0)), g);
    } else if (p == 1) {
        dx[0] = tn_mul(tn_sign(x), g);
    } else if (isinf(p)) {
        tn_tensor *equal = tn_cast(tn_eq(tn_abs(x), y), (tn_dtype)x->dtype);
        dx[0] = tn_mul(tn_mul(tn_sign(x), equal), tn_div(g, tn_sum_kept(equal, how)));
    } else if (p == 2) {
        dx[0] = tn_mul(x, tn_masked_fill(tn_div(g, tn_masked_fill(y, flat, 1)), flat, 0));
    } else {
        tn_tensor *zero = tn_eq(x, tn_scalar_f64(0)), *power = tn_scalar_f64(p - 1);
        tn_tensor *share = tn_div(tn_abs(tn_masked_fill(x, zero, 1)), tn_masked_fill(y, flat, 1));
        dx[0] = tn_mul(tn_mul(tn_sign(x), tn_masked_fill(tn_pow(share, power), zero, 0)), g);
    }
}

tn_tensor *tn_norm_with(const tn_norm_args *args)
{
    TN_KNOWN(tn_norm_args, args);
    tn_reduced how;
    if (!tn_reduce_begin("norm", args->x, args->dim, args->dims, args->p, &how) || !tn_floats_only("norm", args->x))
        return NULL;
    if (isnan(args->p))
        return tn_fail(TN_ERR_ARGUMENT, "norm: p is NaN");
    tn_tensor *y = tn_reduce_run("norm", TN_REDUCE_NORM, args->x, &how, args->keepdim, true, NULL);
    return tn_record(y, "norm", norm_backward, TN_INPUTS(args->x), TN_SAVED(args->x, y), TN_ATTR(how));
}

/* ---- logsumexp ------------------------------------------------------------------------------------------------------------ */

/* softmax(x); 0 where all are -inf, whose result is -inf too. Beside an infinity the others have none of it, and its own is NaN. */
static void logsumexp_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const tn_reduced *how = tn_node_attr(node);
    tn_tensor *y = tn_kept(tn_node_saved(node, 1), how);
    tn_tensor *greatest = tn_masked_fill(y, tn_eq(y, tn_scalar_f64(-INFINITY)), 0);
    dx[0] = tn_mul(tn_kept(dy[0], how), tn_exp(tn_sub(tn_node_saved(node, 0), greatest)));
}

tn_tensor *tn_logsumexp_with(const tn_reduce_args *args)
{
    TN_KNOWN(tn_reduce_args, args);
    tn_reduced how;
    if (!tn_reduce_begin("logsumexp", args->x, args->dim, args->dims, 0, &how))
        return NULL;
    tn_tensor *x = tn_dtype_is_float((tn_dtype)args->x->dtype) ? args->x : tn_cast(args->x, tn_get_default_dtype());
    tn_tensor *y = x ? tn_reduce_run("logsumexp", TN_REDUCE_LOGSUMEXP, x, &how, args->keepdim, true, NULL) : NULL;
    return tn_record(y, "logsumexp", logsumexp_backward, TN_INPUTS(x), TN_SAVED(x, y), TN_ATTR(how));
}
