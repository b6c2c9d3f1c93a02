/* Batch, layer, RMS and group norm: four readings of x as [n, c, s], of which the kernels see no more (tn_norm). */
#include <float.h>

#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/create.h"
#include "ops/reduction.h"
#include "ops/relu_mask.h"
#include "ops/window.h"

/* The node's attribute is a tn_norm, whose pointers are set for each call. */

static int64_t pool_count(const tn_norm *f) { return f->batch ? f->c : f->n * f->groups; }

/* The kernel's operands; statistics is [3, pools]: means, 1 / standard deviations, variances. */
static tn_norm operands(const tn_norm *form, const tn_tensor *x, const tn_tensor *weight, const tn_tensor *statistics)
{
    tn_norm f = *form;
    f.x = tn_ptr(x);
    f.weight = weight ? tn_ptr(weight) : NULL;
    f.mean = (double *)(void *)tn_ptr(statistics);
    f.rstd = f.mean + pool_count(form);
    f.var = f.rstd + pool_count(form);
    return f;
}

/* ---- the gradient in tensor ops, to be differentiated in its turn ---------------------------------------------------------- */

static tn_tensor *mean_over(tn_tensor *x, tn_dims dims)
{
    return tn_mean_with(&(tn_reduce_args){.size = sizeof(tn_reduce_args), .dims = dims, .dim = TN_ALL_DIMS, .keepdim = true, .x = x});
}

static tn_tensor *sum_over(tn_tensor *x, tn_dims dims, tn_shape shape)
{
    return tn_reshape(tn_sum_with(&(tn_reduce_args){.size = sizeof(tn_reduce_args), .dims = dims, .dim = TN_ALL_DIMS, .x = x}), shape);
}

/* A row of the statistics along the channels of the view, of x's dtype. */
static tn_tensor *given_row(tn_tensor *statistics, int64_t row, tn_shape channels, const tn_tensor *x)
{
    return tn_cast(tn_reshape(tn_select(statistics, 0, row), channels), (tn_dtype)x->dtype);
}

static void composed(tn_node *node, tn_tensor *dy, tn_tensor *x, tn_tensor *weight, tn_tensor *statistics, tn_tensor **d)
{
    const tn_norm *f = tn_node_attr(node);
    const tn_shape shape = tn_shape_of(x), c = TN_SHAPE(f->c);
    const tn_shape view = f->batch ? TN_SHAPE(f->n, f->c, f->s) : TN_SHAPE(f->n, f->groups, f->c / f->groups, f->s);
    const tn_shape channels = f->batch ? TN_SHAPE(1, f->c, 1) : TN_SHAPE(1, f->groups, f->c / f->groups, 1);
    const tn_dims pool = f->batch ? TN_DIMS(0, 2) : TN_DIMS(2, 3), others = f->batch ? TN_DIMS(0, 2) : TN_DIMS(0, 3);
    x = tn_reshape(tn_as_dtype(x, tn_compute_dtype(x)), view);
    dy = tn_reshape(tn_as_dtype(dy, tn_compute_dtype(dy)), view);
    tn_tensor *centred = f->given    ? tn_sub(x, given_row(statistics, 0, channels, x))
                         : f->centre ? tn_sub(x, mean_over(x, pool))
                                     : x;
    tn_tensor *rstd = f->given ? given_row(statistics, 1, channels, x)
                               : tn_rsqrt(tn_add(mean_over(tn_square(centred), pool), tn_scalar_f64(f->eps)));
    tn_tensor *y = tn_mul(centred, rstd);
    if (tn_wants(node, 0)) {
        tn_tensor *g = weight ? tn_mul(dy, tn_reshape(weight, channels)) : dy, *slope = g;
        if (!f->given)
            slope = tn_sub(f->centre ? tn_sub(g, mean_over(g, pool)) : g, tn_mul(y, mean_over(tn_mul(g, y), pool)));
        d[0] = tn_reshape(tn_mul(slope, rstd), shape);
    }
    if (tn_wants(node, 1))
        d[1] = sum_over(tn_mul(dy, y), others, c);
    if (tn_wants(node, 2))
        d[2] = sum_over(dy, others, c);
}

/* ---- the operator ------------------------------------------------------------------------------------------------------------ */

static void norm_backward(tn_node *node, tn_tensor *const *dys, tn_tensor **d)
{
    const tn_norm *form = tn_node_attr(node);
    tn_tensor *x = tn_node_saved(node, 0), *weight = tn_node_saved(node, 1), *statistics = tn_node_saved(node, 2);
    if (tn_failing() || !x || !statistics)
        return;
    tn_tensor *dy = form->activation ? tn_relu_mask(dys[0], tn_node_saved(node, 3)) : dys[0];
    d[3] = tn_wants(node, 3) ? dy : NULL;
    if (!tn_wants(node, 0) && !tn_wants(node, 1) && !tn_wants(node, 2))
        return;
    if (dy && tn_grad_enabled()) {
        composed(node, dy, x, weight, statistics, d);
        return;
    }
    dy = dy ? tn_contiguous(dy) : NULL;
    for (int i = 0; i < 3 && dy; i++)
        if (tn_wants(node, i)) {
            const tn_shape shape = i ? TN_SHAPE(form->c) : tn_shape_of(x);
            const tn_dtype dtype = i ? tn_compute_dtype(x) : (tn_dtype)x->dtype;
            d[i] = x->numel ? tn_new("norm", shape, dtype, x->storage->device) : tn_zeros_of("norm", shape, x);
        }
    if (tn_failing() || !dy || x->numel == 0)
        return;
    tn_norm f = operands(form, x, weight, statistics);
    f.dy = tn_ptr(dy);
    f.dx = d[0] ? tn_ptr(d[0]) : NULL;
    f.dweight = d[1] ? tn_ptr(d[1]) : NULL;
    f.dbias = d[2] ? tn_ptr(d[2]) : NULL;
    tn_kernels_for(x)->norm_backward(tn_compute_dtype(x), &f);
}

/* x of its own shape and any floating dtype, weight and bias [c] or NULL; *statistics is made unless the form's are given. residual is NULL, and
 * the form without an activation, but of the CPU's batch norm of f32 or f64, or of s > 1. */
static tn_tensor *normalise(const char *op, tn_tensor *x, tn_tensor *weight, tn_tensor *bias, tn_tensor *residual, tn_norm *form,
                            tn_tensor **statistics)
{
    const tn_dtype dtype = tn_compute_dtype(x), own = (tn_dtype)x->dtype;
    const bool rows = !form->batch && form->groups == 1 && form->c <= TN_NORM_HELD, fits = form->s > 1 || rows;
    const tn_tensor *whole = x;
    form->held = own != dtype && fits && x->storage->device.type == TN_CPU ? own : 0;
    x = tn_contiguous(form->held ? x : tn_as_dtype(x, dtype));
    weight = weight ? tn_contiguous(tn_as_dtype(weight, dtype)) : NULL;
    bias = bias ? tn_contiguous(tn_as_dtype(bias, dtype)) : NULL;
    residual = residual ? tn_contiguous(residual) : NULL;
    if (!*statistics)
        *statistics = tn_new(op, TN_SHAPE(3, pool_count(form)), TN_F64, whole->storage->device);
    tn_tensor *y = tn_failing() ? NULL : tn_new(op, tn_shape_of(x), (tn_dtype)x->dtype, x->storage->device);
    if (!y)
        return NULL;
    tn_norm f = operands(form, x, weight, *statistics);
    f.bias = bias ? tn_ptr(bias) : NULL;
    f.residual = residual ? tn_ptr(residual) : NULL;
    f.y = tn_ptr(y);
    if (x->numel && tn_kernels_for(x)->norm(dtype, &f) != TN_OK)
        return NULL;
    y = tn_record(y, op, norm_backward, TN_INPUTS(x, weight, bias, residual),
                  TN_SAVED(x, weight, *statistics, form->activation ? y : NULL), TN_ATTR(*form));
    return tn_as_dtype(y, (tn_dtype)whole->dtype);
}

/* ---- checks ------------------------------------------------------------------------------------------------------------------ */

/* A parameter, or a statistic, that may be NULL. */
static bool parameter_fits(const char *op, const tn_tensor *x, const char *name, const tn_tensor *p, tn_shape shape)
{
    if (tn_failing() || !p)
        return !tn_failing();
    if (!tn_devices_agree(op, x, p))
        return false;
    if (p->dtype != x->dtype)
        tn_fail(TN_ERR_DTYPE, "%s: x is %s and %s is %s: both must be of one dtype: tn_cast one of them", op,
                tn_dtype_name((tn_dtype)x->dtype), name, tn_dtype_name((tn_dtype)p->dtype));
    else if (!tn_shape_equal(tn_shape_of(p), shape))
        tn_fail(TN_ERR_SHAPE, "%s: x is %s and %s is %s: it must be %s", op, tn_text(x), name, tn_text(p), tn_shape_text(shape));
    return !tn_failing();
}

/* x, [n, c, ...], as [n, c, s]. */
static bool channels_of(const char *op, tn_tensor *x, tn_norm *form)
{
    if (!tn_ready(op, "x", x) || !tn_floats_only(op, x))
        return false;
    if (x->ndim < 2) {
        tn_fail(TN_ERR_SHAPE, "%s: x is %s: it must be [n, c] or [n, c, ...]", op, tn_text(x));
        return false;
    }
    form->n = x->sizes[0];
    form->c = x->sizes[1];
    form->s = 1;
    for (int d = 2; d < x->ndim; d++)
        form->s *= x->sizes[d];
    return true;
}

/* x, [..., shape], as n rows of c. */
static bool rows_of(const char *op, tn_tensor *x, tn_shape shape, tn_norm *form)
{
    if (!tn_ready(op, "x", x) || !tn_floats_only(op, x))
        return false;
    bool fits = shape.ndim > 0 && shape.ndim <= x->ndim;
    *form = (tn_norm){.n = 1, .c = 1, .s = 1, .groups = 1, .centre = form->centre, .eps = form->eps};
    for (int d = 0; d < x->ndim && fits; d++) {
        const int own = d - (x->ndim - shape.ndim);
        fits = own < 0 || shape.sizes[own] == x->sizes[d];
        *(own < 0 ? &form->n : &form->c) *= x->sizes[d];
    }
    if (!fits)
        tn_fail(TN_ERR_SHAPE, "%s: x is %s, and its last dims are to be %s, at least one", op, tn_text(x), tn_shape_text(shape));
    return fits;
}

/* ---- batch norm -------------------------------------------------------------------------------------------------------------- */

/* r moves to (1 - momentum) r + momentum value, in f64. */
static bool move_running(tn_tensor *running, tn_tensor *value, double momentum)
{
    if (!running)
        return true;
    tn_tensor *kept = tn_mul(tn_cast(running, TN_F64), tn_scalar_f64(1 - momentum));
    tn_tensor *moved = tn_add(kept, tn_mul(value, tn_scalar_f64(momentum)));
    return moved && tn_overwrite(running, moved) == TN_OK;
}

/* Whether what batch norm adds to its result, and its activation, can be. */
static bool ending_fits(const char *op, const tn_tensor *x, const tn_batch_norm_args *a)
{
    if (!parameter_fits(op, x, "residual", a->residual, tn_shape_of(x)))
        return false;
    if ((unsigned)a->activation > TN_ACTIVATION_RELU)
        tn_fail(TN_ERR_ARGUMENT, "%s: activation %d is none of tn_activation", op, (int)a->activation);
    return !tn_failing();
}

tn_tensor *tn_batch_norm_with(const tn_batch_norm_args *a)
{
    TN_KNOWN(tn_batch_norm_args, a);
    const char *op = "batch_norm";
    tn_tensor *x = a->x, *mean = a->running_mean, *var = a->running_var, *statistics = NULL;
    tn_norm form = {.groups = 1, .batch = true, .centre = true, .given = !a->training, .eps = a->eps};
    if (!channels_of(op, x, &form))
        return NULL;
    const tn_shape c = TN_SHAPE(form.c);
    const int64_t count = form.n * form.s;
    if (!a->training && (!mean || !var))
        return tn_fail(TN_ERR_ARGUMENT, "%s: running_mean and running_var are needed where .training is false", op);
    if (!parameter_fits(op, x, "running_mean", mean, c) || !parameter_fits(op, x, "running_var", var, c) ||
        !parameter_fits(op, x, "weight", a->weight, c) || !parameter_fits(op, x, "bias", a->bias, c) || !ending_fits(op, x, a))
        return NULL;
    if (a->training && count == 1)
        return tn_fail(TN_ERR_SHAPE, "%s: x is %s: one value in each channel has no variance to train with", op, tn_text(x));
    TN_SCOPE;
    if (form.given) {
        TN_NO_GRAD;
        statistics = tn_new(op, TN_SHAPE(3, form.c), TN_F64, x->storage->device);
        if (!statistics || tn_overwrite(tn_select(statistics, 0, 0), mean) || tn_overwrite(tn_select(statistics, 0, 2), var))
            return NULL;
    }
    const bool fused = x->storage->device.type == TN_CPU && (form.s > 1 || tn_compute_dtype(x) == (tn_dtype)x->dtype);
    form.activation = fused && a->activation == TN_ACTIVATION_RELU ? TN_UNARY_RELU : 0;
    tn_tensor *y = normalise(op, x, a->weight, a->bias, fused ? a->residual : NULL, &form, &statistics);
    y = y && !fused && a->residual ? tn_add(y, a->residual) : y;
    y = y && !fused && a->activation == TN_ACTIVATION_RELU ? tn_relu(y) : y;
    if (y && a->training && x->numel) {
        TN_NO_GRAD;
        tn_tensor *unbiased = tn_mul(tn_select(statistics, 0, 2), tn_scalar_f64((double)count / (double)(count - 1)));
        if (!unbiased || !move_running(mean, tn_select(statistics, 0, 0), a->momentum) || !move_running(var, unbiased, a->momentum))
            return NULL;
    }
    return tn_pass(y);
}

/* ---- layer, RMS and group norm ------------------------------------------------------------------------------------------------ */

static tn_tensor *normalise_rows(const char *op, tn_tensor *x, tn_shape shape, tn_tensor *weight, tn_tensor *bias, tn_norm form)
{
    tn_tensor *statistics = NULL;
    if (!rows_of(op, x, shape, &form) || !parameter_fits(op, x, "weight", weight, shape) || !parameter_fits(op, x, "bias", bias, shape))
        return NULL;
    TN_SCOPE;
    const tn_shape c = TN_SHAPE(form.c);
    weight = weight ? tn_reshape(weight, c) : NULL;
    bias = bias ? tn_reshape(bias, c) : NULL;
    return tn_pass(tn_failing() ? NULL : normalise(op, x, weight, bias, NULL, &form, &statistics));
}

tn_tensor *tn_layer_norm_with(const tn_layer_norm_args *a)
{
    TN_KNOWN(tn_layer_norm_args, a);
    return normalise_rows("layer_norm", a->x, a->shape, a->weight, a->bias, (tn_norm){.centre = true, .eps = a->eps});
}

tn_tensor *tn_rms_norm_with(const tn_rms_norm_args *a)
{
    TN_KNOWN(tn_rms_norm_args, a);
    static const double epsilon[] = {[TN_F32] = FLT_EPSILON, [TN_F64] = DBL_EPSILON, [TN_F16] = 0x1p-10, [TN_BF16] = 0x1p-7};
    const double eps = a->eps >= 0 ? a->eps : a->x && a->x->dtype <= TN_BF16 ? epsilon[a->x->dtype] : 0;
    return normalise_rows("rms_norm", a->x, a->shape, a->weight, NULL, (tn_norm){.eps = eps});
}

tn_tensor *tn_group_norm_with(const tn_group_norm_args *a)
{
    TN_KNOWN(tn_group_norm_args, a);
    const char *op = "group_norm";
    tn_tensor *statistics = NULL;
    tn_norm form = {.groups = a->groups, .centre = true, .eps = a->eps};
    if (!channels_of(op, a->x, &form))
        return NULL;
    if (form.groups < 1 || form.c % form.groups)
        return tn_fail(TN_ERR_ARGUMENT, "%s: x is %s and groups is %lld, which must divide its %lld channels", op, tn_text(a->x),
                       (long long)form.groups, (long long)form.c);
    const tn_shape c = TN_SHAPE(form.c);
    if (!parameter_fits(op, a->x, "weight", a->weight, c) || !parameter_fits(op, a->x, "bias", a->bias, c))
        return NULL;
    TN_SCOPE;
    return tn_pass(normalise(op, a->x, a->weight, a->bias, NULL, &form, &statistics));
}
