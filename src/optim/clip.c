/* Gradient clipping. */
#include <math.h>

#include <tenon/ops.h>

#include "optim/optim.h"
#include "optim/sweep.h"

/* Runs an op over all gradients. */
static tn_status over_grads(const tn_list *params, tn_step_op op, tn_step_scalars c)
{
    TN_SCOPE;
    TN_NO_GRAD;
    tn_sweep sweep;
    bool good = tn_sweep_begin(&sweep, tn_list_count(params));
    for (int64_t i = 0; good && i < tn_list_count(params); i++) {
        tn_tensor *grad = tn_list_at(params, i)->grad;
        tn_step_item *item = grad ? tn_sweep_add(&sweep, grad, NULL) : NULL;
        good = item || !grad;
        if (item)
            item->c = c;
    }
    if (good)
        tn_sweep_run(&sweep, op);
    tn_sweep_end(&sweep);
    return tn_last_status();
}

/* Whether every gradient can be clipped, a number to clip by given. */
static bool ready(const char *op, const tn_list *params, const char *what, double most)
{
    if (tn_failing())
        return false;
    if (!params)
        tn_fail(TN_ERR_ARGUMENT, "%s: params is NULL", op);
    else if (!(most >= 0))
        tn_fail(TN_ERR_ARGUMENT, "%s: %s is %g: 0 or more is needed", op, what, most);
    for (int64_t i = 0; i < tn_list_count(params) && !tn_failing(); i++) {
        const tn_tensor *grad = tn_list_at(params, i)->grad;
        if (grad && grad->dtype != TN_F32 && grad->dtype != TN_F64)
            tn_fail(TN_ERR_DTYPE, "%s: the gradient of parameter %lld is %s: float32 or float64 is needed", op, (long long)i,
                    tn_dtype_name((tn_dtype)grad->dtype));
    }
    return !tn_failing();
}

/* The norm of all gradients' norms; NaN with an error. */
static double total_norm(const tn_list *params, double p)
{
    TN_SCOPE;
    TN_NO_GRAD;
    int64_t count = 0;
    tn_tensor *norms = tn_new("clip_grad_norm", TN_SHAPE(tn_list_count(params)), TN_F64, (tn_device_id){TN_CPU, 0});
    for (int64_t i = 0; i < tn_list_count(params) && !tn_failing(); i++) {
        TN_SCOPE;
        tn_norm_args args = {.size = sizeof args, TN_REDUCE_OPTIONS(TN_DEFAULT_) .p = p, .x = tn_list_at(params, i)->grad};
        if (args.x)
            ((double *)(void *)tn_ptr(norms))[count++] = tn_item(tn_norm_with(&args));
    }
    if (tn_failing() || !count)
        return tn_failing() ? NAN : 0;
    tn_norm_args args = {.size = sizeof args, TN_REDUCE_OPTIONS(TN_DEFAULT_) .p = p, .x = tn_view_of(norms, 1, &count, &(int64_t){1}, 0)};
    return tn_item(tn_norm_with(&args));
}

double tn_clip_grad_norm_with(const tn_clip_args *args)
{
    TN_KNOWN(tn_clip_args, args);
    if (!ready("clip_grad_norm", args->params, "max_norm", args->max_norm))
        return NAN;
    double norm = total_norm(args->params, args->norm_type), scale = args->max_norm / (norm + 1e-6);
    if (tn_failing())
        return NAN;
    if (args->error_if_nonfinite && !isfinite(norm)) {
        tn_fail(TN_ERR_ARGUMENT, "clip_grad_norm: the gradients' norm of order %g is %g: it cannot be clipped", args->norm_type, norm);
        return NAN;
    }
    if (!(scale >= 1) && over_grads(args->params, TN_STEP_SCALE, (tn_step_scalars){.sign = 1, .shrink = scale}) != TN_OK)
        return NAN;
    return norm;
}

tn_status tn_clip_grad_value(const tn_list *params, double clip_value)
{
    if (!ready("clip_grad_value", params, "clip_value", clip_value))
        return tn_last_status();
    return over_grads(params, TN_STEP_CLAMP, (tn_step_scalars){.sign = 1, .shrink = 1, .rate = clip_value});
}
