/* Losses of a prediction and a target of one shape, and of two vectors' angle: compositions of operators, so that second derivatives
 * work. */
#include <tenon/ops.h>

#include "autograd/node.h"
#include "ops/loss.h"
#include "ops/reduction.h"

/* A C number as an operand. */
#define N(value) tn_scalar_f64(value)

static tn_tensor *clamped(tn_tensor *x, double min, double max)
{
    return tn_clamp_with(&(tn_clamp_args){.size = sizeof(tn_clamp_args), .min = min, .max = max, .x = x});
}

/* x and target, floats and numbers of one shape; false with an error. */
static bool pair_fits(const char *op, const tn_tensor *x, const tn_tensor *target)
{
    if (!tn_ready(op, "x", x) || !tn_ready(op, "target", target) || !tn_floats_only(op, x) || !tn_devices_agree(op, x, target))
        return false;
    if (!tn_same_shape(x, target))
        tn_fail(TN_ERR_SHAPE, "%s: x is %s and target is %s: they must have one shape; tn_reshape one of them", op, tn_text(x), tn_text(target));
    return !tn_failing();
}

/* ---- distances -------------------------------------------------------------------------------------------------------------- */

tn_tensor *tn_mse_loss_with(const tn_mse_loss_args *args)
{
    TN_KNOWN(tn_mse_loss_args, args);
    if (!pair_fits("mse_loss", args->x, args->target) || !tn_reduction_known("mse_loss", args->reduction))
        return NULL;
    TN_SCOPE;
    return tn_pass(tn_reduce_losses(tn_square(tn_sub(args->x, args->target)), args->reduction));
}

tn_tensor *tn_l1_loss_with(const tn_mse_loss_args *args)
{
    TN_KNOWN(tn_mse_loss_args, args);
    if (!pair_fits("l1_loss", args->x, args->target) || !tn_reduction_known("l1_loss", args->reduction))
        return NULL;
    TN_SCOPE;
    return tn_pass(tn_reduce_losses(tn_abs(tn_sub(args->x, args->target)), args->reduction));
}

/* With c = d clamped to +-delta: c (d - c / 2), which is d^2 / 2 inside and delta (|d| - delta / 2) outside. */
static tn_tensor *huber(tn_tensor *x, tn_tensor *target, double delta)
{
    tn_tensor *d = tn_sub(x, target), *c = clamped(d, -delta, delta);
    return tn_mul(c, tn_sub(d, tn_mul(c, N(0.5))));
}

tn_tensor *tn_smooth_l1_loss_with(const tn_smooth_l1_loss_args *args)
{
    TN_KNOWN(tn_smooth_l1_loss_args, args);
    if (!pair_fits("smooth_l1_loss", args->x, args->target) || !tn_reduction_known("smooth_l1_loss", args->reduction))
        return NULL;
    if (!(args->beta >= 0 && isfinite(args->beta)))
        return tn_fail(TN_ERR_ARGUMENT, "smooth_l1_loss: .beta is %g: it must be finite and not negative", args->beta);
    TN_SCOPE;
    tn_tensor *losses = args->beta == 0 ? tn_abs(tn_sub(args->x, args->target))
                                        : tn_div(huber(args->x, args->target, args->beta), N(args->beta));
    return tn_pass(tn_reduce_losses(losses, args->reduction));
}

tn_tensor *tn_huber_loss_with(const tn_huber_loss_args *args)
{
    TN_KNOWN(tn_huber_loss_args, args);
    if (!pair_fits("huber_loss", args->x, args->target) || !tn_reduction_known("huber_loss", args->reduction))
        return NULL;
    if (!(args->delta > 0 && isfinite(args->delta)))
        return tn_fail(TN_ERR_ARGUMENT, "huber_loss: .delta is %g: it must be finite and above 0", args->delta);
    TN_SCOPE;
    return tn_pass(tn_reduce_losses(huber(args->x, args->target, args->delta), args->reduction));
}

/* ---- of probabilities ------------------------------------------------------------------------------------------------------- */

/* A weight that is NULL or is broadcast to x's shape. */
static bool weight_fits(const char *op, const char *name, const tn_tensor *x, const tn_tensor *weight)
{
    tn_shape both;
    if (!weight)
        return true;
    if (!tn_ready(op, name, weight) || !tn_devices_agree(op, x, weight))
        return false;
    if (!tn_broadcast_shapes(op, x, weight, &both))
        tn_fail_within("%s", name);
    else if (!tn_shape_equal(both, tn_shape_of(x)))
        tn_fail(TN_ERR_SHAPE, "%s: %s is %s and x is %s: it must broadcast to x's shape", op, name, tn_text(weight), tn_text(x));
    return !tn_failing();
}

/* log(x) and log(1 - x), not below -100: their products with 0 stay 0. */
static tn_tensor *log_of(tn_tensor *x) { return clamped(tn_log(x), -100, INFINITY); }
static tn_tensor *log_of_rest(tn_tensor *x) { return clamped(tn_log1p(tn_neg(x)), -100, INFINITY); }

/* (x - t) / (x (1 - x)), which is finite at 0 and 1, where the logarithms' slopes are not. */
static void binary_cross_entropy_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    tn_tensor *x = tn_node_saved(node, 0), *target = tn_node_saved(node, 1);
    if (tn_failing())
        return;
    if (tn_wants(node, 0))
        dx[0] = tn_div(tn_mul(dy[0], tn_sub(x, target)), clamped(tn_mul(tn_sub(N(1), x), x), 1e-12, INFINITY));
    if (tn_wants(node, 1))
        dx[1] = tn_mul(dy[0], tn_sub(log_of_rest(x), log_of(x)));
}

/* Whether all of x is from 0 to 1. */
static bool probabilities(const char *op, tn_tensor *x)
{
    TN_SCOPE;
    TN_NO_GRAD;
    tn_reduce_args all = {.size = sizeof all, .dim = TN_ALL_DIMS, .x = tn_logical_and(tn_ge(x, N(0)), tn_le(x, N(1)))};
    if (!tn_item_i64(tn_all_with(&all)))
        tn_fail(TN_ERR_ARGUMENT, "%s: x has a number that is no probability, from 0 to 1: give tn_sigmoid(x), or logits to "
                                 "tn_binary_cross_entropy_with_logits", op);
    return !tn_failing();
}

tn_tensor *tn_binary_cross_entropy_with(const tn_binary_cross_entropy_args *args)
{
    TN_KNOWN(tn_binary_cross_entropy_args, args);
    const char *op = "binary_cross_entropy";
    tn_tensor *x = args->x, *target = args->target, *losses;
    if (!pair_fits(op, x, target) || !tn_reduction_known(op, args->reduction) || !weight_fits(op, "weight", x, args->weight) ||
        !probabilities(op, x))
        return NULL;
    TN_SCOPE;
    {
        TN_NO_GRAD;
        losses = tn_neg(tn_add(tn_mul(target, log_of(x)), tn_mul(tn_sub(N(1), target), log_of_rest(x))));
    }
    losses = tn_record(losses, op, binary_cross_entropy_backward, TN_INPUTS(x, target), TN_SAVED(x, target), TN_NO_ATTR);
    return tn_pass(tn_reduce_losses(args->weight ? tn_mul(losses, args->weight) : losses, args->reduction));
}

/* log(1 + exp(x)); above 40 that is x to the last bit of f64. */
static tn_tensor *softplus(tn_tensor *x)
{
    return tn_softplus_with(&(tn_softplus_args){.size = sizeof(tn_softplus_args), .beta = 1, .threshold = 40, .x = x});
}

tn_tensor *tn_binary_cross_entropy_with_logits_with(const tn_binary_cross_entropy_with_logits_args *args)
{
    TN_KNOWN(tn_binary_cross_entropy_with_logits_args, args);
    const char *op = "binary_cross_entropy_with_logits";
    tn_tensor *x = args->x, *target = args->target;
    if (!pair_fits(op, x, target) || !tn_reduction_known(op, args->reduction) || !weight_fits(op, "weight", x, args->weight) ||
        !weight_fits(op, "pos_weight", x, args->pos_weight))
        return NULL;
    TN_SCOPE;
    /* Each of the two is exact where it is small: nothing is lost by a difference. */
    tn_tensor *of_true = tn_mul(target, softplus(tn_neg(x))), *of_false = tn_mul(tn_sub(N(1), target), softplus(x));
    tn_tensor *losses = tn_add(args->pos_weight ? tn_mul(of_true, args->pos_weight) : of_true, of_false);
    return tn_pass(tn_reduce_losses(args->weight ? tn_mul(losses, args->weight) : losses, args->reduction));
}

tn_tensor *tn_kl_div_with(const tn_kl_div_args *args)
{
    TN_KNOWN(tn_kl_div_args, args);
    tn_tensor *x = args->x, *target = args->target, *losses;
    bool per_batch = args->reduction == TN_BATCHMEAN;
    if (!pair_fits("kl_div", x, target) || (!per_batch && !tn_reduction_known("kl_div", args->reduction)))
        return NULL;
    if (per_batch && x->ndim == 0)
        return tn_fail(TN_ERR_SHAPE, "kl_div: x is []: TN_BATCHMEAN divides by the size of dim 0, and there is none");
    TN_SCOPE;
    if (args->log_target)
        losses = tn_mul(tn_exp(target), tn_sub(target, x));
    else /* 0 log 0 is 0, and its slope no NaN */
        losses = tn_mul(target, tn_sub(tn_log(tn_masked_fill(target, tn_eq(target, N(0)), 1)), x));
    if (!per_batch)
        return tn_pass(tn_reduce_losses(losses, args->reduction));
    return tn_pass(tn_div(tn_reduce_losses(losses, TN_SUM), N((double)x->sizes[0])));
}

/* ---- of two vectors' angle -------------------------------------------------------------------------------------------------- */

/* x over its length, which counts as at least eps. */
static tn_tensor *unit(tn_tensor *x, int dim, double eps)
{
    tn_norm_args norm = {.size = sizeof norm, .dim = dim, .keepdim = true, .p = 2, .x = x};
    return tn_div(x, clamped(tn_norm_with(&norm), eps, INFINITY));
}

tn_tensor *tn_cosine_similarity_with(const tn_cosine_similarity_args *args)
{
    TN_KNOWN(tn_cosine_similarity_args, args);
    const char *op = "cosine_similarity";
    tn_tensor *x1 = args->x1, *x2 = args->x2;
    tn_shape shape;
    if (!tn_ready(op, "x1", x1) || !tn_ready(op, "x2", x2) || !tn_floats_only(op, x1) || !tn_floats_only(op, x2) ||
        !tn_devices_agree(op, x1, x2) || !tn_broadcast_shapes(op, x1, x2, &shape))
        return NULL;
    if (!(args->eps >= 0))
        return tn_fail(TN_ERR_ARGUMENT, "cosine_similarity: .eps is %g: it must not be negative", args->eps);
    int dim = tn_wrap_dim(op, args->dim, shape.ndim);
    if (dim < 0)
        return NULL;
    TN_SCOPE;
    tn_reduce_args sum = {.size = sizeof sum, .dim = dim};
    sum.x = tn_mul(unit(tn_expand(x1, shape), dim, args->eps), unit(tn_expand(x2, shape), dim, args->eps));
    return tn_pass(tn_sum_with(&sum));
}

tn_tensor *tn_cosine_embedding_loss_with(const tn_cosine_embedding_loss_args *args)
{
    TN_KNOWN(tn_cosine_embedding_loss_args, args);
    const char *op = "cosine_embedding_loss";
    tn_tensor *x1 = args->x1, *x2 = args->x2, *target = args->target;
    if (!tn_ready(op, "x1", x1) || !tn_ready(op, "x2", x2) || !tn_ready(op, "target", target) || !tn_floats_only(op, x1) ||
        !tn_floats_only(op, x2) || !tn_devices_agree(op, x1, x2) || !tn_devices_agree(op, x1, target) ||
        !tn_reduction_known(op, args->reduction))
        return NULL;
    if (!tn_same_shape(x1, x2) || x1->ndim < 1 || x1->ndim > 2 || target->ndim != x1->ndim - 1 ||
        (target->ndim && target->sizes[0] != x1->sizes[0]))
        return tn_fail(TN_ERR_SHAPE, "%s: x1 is %s, x2 %s and target %s: they must be [n, d], [n, d] and [n], or [d], [d] and []", op,
                       tn_text(x1), tn_text(x2), tn_text(target));
    TN_SCOPE;
    const double eps = 1e-12; /* PyTorch's, under the root */
    tn_reduce_args sum = {.size = sizeof sum, .dim = -1, .x = tn_mul(x1, x2)};
    tn_tensor *product = tn_sum_with(&sum);
    sum.x = tn_square(x1);
    tn_tensor *length1 = tn_add(tn_sum_with(&sum), N(eps));
    sum.x = tn_square(x2);
    tn_tensor *length2 = tn_add(tn_sum_with(&sum), N(eps));
    tn_tensor *cosine = tn_div(product, tn_sqrt(tn_mul(length1, length2)));
    tn_tensor *apart = tn_where(tn_eq(target, N(-1)), tn_relu(tn_sub(cosine, N(args->margin))), N(0));
    return tn_pass(tn_reduce_losses(tn_where(tn_eq(target, N(1)), tn_sub(N(1), cosine), apart), args->reduction));
}
