/* Losses of classes: cross-entropy (fused for class indices), negative log-likelihood. */
#include "ops/loss.h"

#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/reduction.h"

tn_tensor *tn_reduce_losses(tn_tensor *losses, tn_loss_reduction reduction)
{
    tn_reduce_args all = {.size = sizeof all, .dim = TN_ALL_DIMS, .x = losses};
    return reduction == TN_NONE ? losses : reduction == TN_MEAN ? tn_mean_with(&all) : tn_sum_with(&all);
}

bool tn_reduction_known(const char *op, tn_loss_reduction reduction)
{
    if (reduction == TN_NONE || reduction == TN_MEAN || reduction == TN_SUM)
        return true;
    tn_fail(TN_ERR_ARGUMENT, "%s: reduction is %d: TN_NONE, TN_MEAN or TN_SUM", op, (int)reduction);
    return false;
}

/* ---- rows of classes ------------------------------------------------------------------------------------------------------- */

/* x, [c], [n, c] or [n, c, d1, ...], as [rows, c]. */
static tn_tensor *class_rows(tn_tensor *x)
{
    if (!x || x->ndim == 2)
        return x;
    if (x->ndim == 1)
        return tn_reshape(x, TN_SHAPE(1, x->sizes[0]));
    tn_dims order = {.count = x->ndim};
    for (int d = 1; d < x->ndim; d++)
        order.dim[d] = d + 1;
    order.dim[x->ndim - 1] = 1;
    int64_t classes = x->sizes[1], outer = x->sizes[0], inner = 1;
    for (int d = 2; d < x->ndim; d++)
        inner *= x->sizes[d];
    return tn_reshape(tn_permute(x, order), TN_SHAPE(outer * inner, classes));
}

/* What x's shape leaves when the classes go. */
static tn_shape without_classes(const tn_tensor *x)
{
    tn_shape shape = {.ndim = x->ndim - 1};
    for (int d = 0; d < shape.ndim; d++)
        shape.sizes[d] = x->sizes[d == 0 ? 0 : d + 1];
    return shape;
}

/* Floats with classes, and weights for each class. */
static bool classes_fit(const char *op, const char *name, const tn_tensor *x, const tn_tensor *weight)
{
    int64_t classes = x->ndim > 0 ? x->sizes[x->ndim == 1 ? 0 : 1] : 0;
    if (!tn_dtype_is_float((tn_dtype)x->dtype))
        tn_fail(TN_ERR_DTYPE, "%s: %s is %s: it must be of a floating dtype", op, name, tn_dtype_name((tn_dtype)x->dtype));
    else if (x->ndim == 0 || classes == 0)
        tn_fail(TN_ERR_SHAPE, "%s: %s is %s: it must be [n, classes], [classes] or [n, classes, ...]", op, name, tn_text(x));
    else if (weight && (weight->ndim != 1 || weight->sizes[0] != classes || weight->dtype != x->dtype))
        tn_fail(TN_ERR_SHAPE, "%s: weight is %s %s: it must be [%lld] %s, one for each class", op, tn_text(weight),
                tn_dtype_name((tn_dtype)weight->dtype), (long long)classes, tn_dtype_name((tn_dtype)x->dtype));
    return !tn_failing();
}

/* Indices, of the shape that x's classes leave. */
static bool indices_fit(const char *op, const char *name, const tn_tensor *x, const tn_tensor *target)
{
    if (!tn_devices_agree(op, x, target))
        return false;
    if (tn_dtype_is_float((tn_dtype)target->dtype) || target->dtype == TN_BOOL)
        tn_fail(TN_ERR_DTYPE, "%s: target is %s: class indices are integers: tn_cast(target, TN_I64)", op,
                tn_dtype_name((tn_dtype)target->dtype));
    else if (!tn_shape_equal(tn_shape_of(target), without_classes(x)))
        tn_fail(TN_ERR_SHAPE, "%s: %s is %s and target is %s %s: class indices must be %s%s", op, name, tn_text(x),
                tn_dtype_name((tn_dtype)target->dtype), tn_text(target), tn_shape_text(without_classes(x)),
                tn_same_shape(x, target) ? "; probabilities must be of a floating dtype" : "");
    return !tn_failing();
}

/* ---- cross-entropy of class indices ----------------------------------------------------------------------------------------- */

typedef struct loss_attr {
    int64_t ignore_index;
    double smoothing;
    int reduction;
} loss_attr;

static tn_cross_entropy_rows rows_of(const tn_tensor *x, const tn_tensor *target, const tn_tensor *weight, const tn_tensor *stats,
                                     const loss_attr *how)
{
    return (tn_cross_entropy_rows){.rows = x->sizes[0], .classes = x->sizes[1], .x = tn_ptr(x),
                                   .target = (const int64_t *)(void *)tn_ptr(target), .weight = weight ? tn_ptr(weight) : NULL,
                                   .ignore_index = how->ignore_index, .smoothing = how->smoothing, .reduction = how->reduction,
                                   .stats = (double *)(void *)tn_ptr(stats)};
}

/* What a row's targets are, weighted: [rows, c]. It depends on nothing that has a gradient. target and skip are [rows, 1]. */
static tn_tensor *weighted_targets(const tn_tensor *x, tn_tensor *target, tn_tensor *skip, tn_tensor *weight, const loss_attr *how)
{
    TN_NO_GRAD;
    tn_tensor *where = tn_masked_fill(target, skip, 0);
    tn_like_args like = {.size = sizeof like, .dtype = TN_DTYPE_DEFAULT, .x = x};
    tn_tensor *hit = tn_scatter(tn_zeros_like_with(&like), 1, where, tn_scalar_f64(1 - how->smoothing));
    tn_tensor *all = tn_add(hit, tn_scalar_f64(how->smoothing / (double)x->sizes[1]));
    return tn_masked_fill(weight ? tn_mul(all, weight) : all, skip, 0);
}

/* The same in tensor ops, so that it can be differentiated: g (softmax(x) * sum of q - q), q the weighted targets. */
static tn_tensor *slope_composite(tn_tensor *x, tn_tensor *target, tn_tensor *weight, tn_tensor *g, double total, const loss_attr *how)
{
    target = tn_reshape(target, TN_SHAPE(x->sizes[0], 1));
    tn_tensor *skip = tn_eq(target, tn_scalar_i64(how->ignore_index)), *q = weighted_targets(x, target, skip, weight, how);
    tn_reduce_args sum = {.size = sizeof sum, .dim = 1, .keepdim = true, .x = q};
    /* A smoothed row's targets add up to (1 - s) w[t] + s/c * the sum of w, as in the kernel. */
    tn_tensor *slope = tn_sub(tn_mul(tn_softmax(x, 1), tn_sum_with(&sum)), q);
    if (how->reduction == TN_MEAN)
        g = tn_div(g, tn_scalar_f64(total));
    else if (how->reduction == TN_NONE)
        g = tn_reshape(g, TN_SHAPE(x->sizes[0], 1));
    /* An ignored row has no part in it, also where all are ignored and the mean divides by 0. */
    return tn_masked_fill(tn_mul(slope, g), skip, 0);
}

static void cross_entropy_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const loss_attr *how = tn_node_attr(node);
    tn_tensor *x = tn_node_saved(node, 0), *target = tn_node_saved(node, 1), *weight = tn_node_saved(node, 2);
    tn_tensor *stats = tn_node_saved(node, 3);
    if (tn_failing() || !x || !stats)
        return;
    if (tn_grad_enabled()) {
        double total = tn_item(tn_select(stats, 0, stats->sizes[0] - 1));
        dx[0] = slope_composite(x, target, weight, dy[0], total, how);
        return;
    }
    tn_tensor *packed = tn_packed(x), *grad = dy[0] ? tn_packed(dy[0]) : NULL;
    tn_tensor *slope = tn_new("cross_entropy", tn_shape_of(x), (tn_dtype)x->dtype, x->storage->device);
    if (!packed || (dy[0] && !grad) || !slope)
        return;
    tn_cross_entropy_rows rows = rows_of(packed, target, weight, stats, how);
    rows.grad = grad ? tn_ptr(grad) : NULL;
    rows.dx = tn_ptr(slope);
    if (tn_kernels_for(x)->cross_entropy_backward((tn_dtype)x->dtype, &rows) == TN_OK)
        dx[0] = slope;
}

/* x is [rows, c], target [rows] i64. */
static tn_tensor *cross_entropy_rows(tn_tensor *x, tn_tensor *target, tn_tensor *weight, loss_attr how)
{
    tn_tensor *packed = tn_packed(x), *targets = tn_packed(target), *weights = weight ? tn_packed(weight) : NULL;
    if (!packed || !targets || (weight && !weights))
        return NULL;
    tn_tensor *stats = tn_new("cross_entropy", TN_SHAPE(2 * x->sizes[0] + 1), TN_F64, x->storage->device);
    tn_tensor *loss = tn_new("cross_entropy", how.reduction == TN_NONE ? TN_SHAPE(x->sizes[0]) : TN_SCALAR, (tn_dtype)x->dtype,
                             x->storage->device);
    if (!stats || !loss)
        return NULL;
    tn_cross_entropy_rows rows = rows_of(packed, targets, weights, stats, &how);
    rows.loss = tn_ptr(loss);
    if (tn_kernels_for(x)->cross_entropy((tn_dtype)x->dtype, &rows) != TN_OK)
        return NULL;
    loss = tn_record(loss, "cross_entropy", cross_entropy_backward, TN_INPUTS(x), TN_SAVED(x, targets, weights, stats), TN_ATTR(how));
    if (loss && loss->grad_fn)
        loss->grad_fn->takes_one = true;
    return loss;
}

/* ---- cross-entropy of class probabilities ----------------------------------------------------------------------------------- */

static tn_tensor *cross_entropy_probabilities(const tn_cross_entropy_args *args)
{
    tn_tensor *x = args->logits, *target = args->target;
    int classes_dim = x->ndim == 1 ? 0 : 1;
    double smoothing = args->label_smoothing;
    if (target->dtype != x->dtype)
        return tn_fail(TN_ERR_DTYPE, "cross_entropy: logits are %s and target is %s: class probabilities must have the logits' dtype",
                       tn_dtype_name((tn_dtype)x->dtype), tn_dtype_name((tn_dtype)target->dtype));
    if (smoothing != 0)
        target = tn_add(tn_mul(target, tn_scalar_f64(1 - smoothing)), tn_scalar_f64(smoothing / (double)x->sizes[classes_dim]));
    tn_tensor *terms = class_rows(tn_mul(tn_log_softmax(x, classes_dim), target));
    if (args->weight)
        terms = tn_mul(terms, args->weight);
    tn_reduce_args sum = {.size = sizeof sum, .dim = 1, .x = tn_neg(terms)};
    tn_tensor *losses = tn_reduce_losses(tn_sum_with(&sum), args->reduction);
    return args->reduction == TN_NONE ? tn_reshape(losses, without_classes(x)) : losses;
}

tn_tensor *tn_cross_entropy_with(const tn_cross_entropy_args *args)
{
    TN_KNOWN(tn_cross_entropy_args, args);
    tn_tensor *x = args->logits, *target = args->target;
    if (!tn_ready("cross_entropy", "logits", x) || !tn_ready("cross_entropy", "target", target))
        return NULL;
    if (!(args->label_smoothing >= 0 && args->label_smoothing <= 1))
        return tn_fail(TN_ERR_ARGUMENT, "cross_entropy: label_smoothing is %g: it must be between 0 and 1", args->label_smoothing);
    if (!tn_reduction_known("cross_entropy", args->reduction))
        return NULL;
    if (!classes_fit("cross_entropy", "logits", x, args->weight))
        return NULL;
    TN_SCOPE;
    if (tn_dtype_is_float((tn_dtype)target->dtype) && tn_same_shape(x, target))
        return tn_pass(cross_entropy_probabilities(args));
    if (!indices_fit("cross_entropy", "logits", x, target))
        return NULL;
    loss_attr how = {args->ignore_index, args->label_smoothing, (int)args->reduction};
    tn_tensor *rows = class_rows(x), *indices = tn_reshape(tn_cast(target, TN_I64), TN_SHAPE(-1));
    tn_tensor *loss = rows && indices ? cross_entropy_rows(rows, indices, args->weight, how) : NULL;
    return tn_pass(loss && args->reduction == TN_NONE && x->ndim != 2 ? tn_reshape(loss, without_classes(x)) : loss);
}

/* ---- negative log-likelihood ------------------------------------------------------------------------------------------------ */

/* Targets are classes or ignore_index: false with an error that names the first that is not. */
static bool targets_in_range(const char *op, tn_tensor *target, int64_t classes, int64_t ignore_index)
{
    TN_SCOPE;
    TN_NO_GRAD;
    tn_tensor *outside = tn_logical_or(tn_lt(target, tn_scalar_i64(0)), tn_ge(target, tn_scalar_i64(classes)));
    tn_tensor *wrong = tn_logical_and(outside, tn_ne(target, tn_scalar_i64(ignore_index)));
    tn_reduce_args any = {.size = sizeof any, .dim = TN_ALL_DIMS, .x = wrong};
    if (!tn_item_i64(tn_any_with(&any)))
        return !tn_failing();
    tn_arg_args first = {.size = sizeof first, .dim = TN_ALL_DIMS, .x = tn_cast(wrong, TN_U8)};
    int64_t row = tn_item_i64(tn_argmax_with(&first));
    long long value = tn_failing() ? 0 : (long long)tn_item_i64(tn_select(target, 0, row));
    tn_fail(TN_ERR_INDEX, "%s: target number %lld is %lld, but there are %lld classes: targets are 0 to %lld, or ignore_index (%lld)", op,
            (long long)row, value, (long long)classes, (long long)classes - 1, (long long)ignore_index);
    return false;
}

tn_tensor *tn_nll_loss_with(const tn_nll_loss_args *args)
{
    TN_KNOWN(tn_nll_loss_args, args);
    tn_tensor *x = args->log_probs, *target = args->target, *weight = args->weight;
    if (!tn_ready("nll_loss", "log_probs", x) || !tn_ready("nll_loss", "target", target) ||
        !tn_reduction_known("nll_loss", args->reduction) || !classes_fit("nll_loss", "log_probs", x, weight) ||
        !indices_fit("nll_loss", "log_probs", x, target))
        return NULL;
    TN_SCOPE;
    tn_tensor *rows = class_rows(x), *index = tn_reshape(tn_cast(target, TN_I64), TN_SHAPE(-1));
    if (!rows || !index || !targets_in_range("nll_loss", index, rows->sizes[1], args->ignore_index))
        return NULL;
    tn_tensor *skip = tn_eq(index, tn_scalar_i64(args->ignore_index)), *safe = tn_masked_fill(index, skip, 0);
    tn_tensor *picked = tn_reshape(tn_gather(rows, 1, tn_reshape(safe, TN_SHAPE(-1, 1))), TN_SHAPE(-1));
    tn_tensor *counts = tn_cast(tn_logical_not(skip), (tn_dtype)x->dtype);
    if (weight)
        counts = tn_mul(counts, tn_index_select(weight, 0, safe));
    /* An ignored row must not bring in what it holds: 0 * -inf is NaN. */
    tn_tensor *losses = tn_neg(tn_mul(tn_masked_fill(picked, skip, 0), counts));
    if (args->reduction == TN_NONE)
        return tn_pass(tn_reshape(losses, without_classes(x)));
    tn_tensor *sum = tn_reduce_losses(losses, TN_SUM);
    return tn_pass(args->reduction == TN_MEAN ? tn_div(sum, tn_reduce_losses(counts, TN_SUM)) : sum);
}
