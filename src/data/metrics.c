/* Metrics: written in tensor ops, in f64 where numbers are divided. */
#include <tenon/metrics.h>

#include "core/core.h"

static tn_tensor *total(tn_tensor *x, int dim)
{
    return tn_sum_with(&(tn_reduce_args){.size = sizeof(tn_reduce_args), .dim = dim, .x = x});
}

/* The classes that x stands for, of target's shape; NULL with an error. */
static tn_tensor *classes_of(const char *op, tn_tensor *x, const tn_tensor *target)
{
    if (!tn_ready(op, "x", x) || !tn_ready(op, "target", target))
        return NULL;
    if (tn_dtype_is_float((tn_dtype)target->dtype))
        return tn_fail(TN_ERR_DTYPE, "%s: target is %s: classes are integers", op, tn_dtype_name((tn_dtype)target->dtype));
    tn_tensor *classes = x;
    if (tn_dtype_is_float((tn_dtype)x->dtype)) {
        if (x->ndim == 0 || x->sizes[x->ndim > 1] == 0)
            return tn_fail(TN_ERR_SHAPE, "%s: x is %s: scores must be [n, classes], [classes] or [n, classes, ...]", op, tn_text(x));
        classes = tn_argmax_with(&(tn_arg_args){.size = sizeof(tn_arg_args), .dim = x->ndim > 1, .x = x});
    }
    if (classes && !tn_same_shape(classes, target))
        return tn_fail(TN_ERR_SHAPE, "%s: x is %s %s and target is %s: it must be %s", op, tn_dtype_name((tn_dtype)x->dtype), tn_text(x),
                       tn_text(target), tn_text(classes));
    return classes;
}

double tn_accuracy_with(const tn_metric_args *args)
{
    TN_KNOWN(tn_metric_args, args);
    TN_SCOPE;
    TN_NO_GRAD;
    tn_tensor *classes = classes_of("accuracy", args->x, args->target);
    if (!classes)
        return NAN;
    tn_tensor *counts = tn_ne(args->target, tn_scalar_i64(args->ignore_index));
    tn_tensor *right = tn_logical_and(tn_eq(classes, args->target), counts);
    return tn_item(tn_div(tn_cast(total(right, TN_ALL_DIMS), TN_F64), total(counts, TN_ALL_DIMS)));
}

double tn_perplexity_with(const tn_metric_args *args)
{
    TN_KNOWN(tn_metric_args, args);
    TN_SCOPE;
    TN_NO_GRAD;
    tn_tensor *x = args->x;
    if (!tn_ready("perplexity", "x", x))
        return NAN;
    if (x->dtype == TN_F16 || x->dtype == TN_BF16)
        x = tn_cast(x, TN_F32);
    tn_cross_entropy_args mean = {.size = sizeof mean, .ignore_index = args->ignore_index, .reduction = TN_MEAN, .logits = x,
                                  .target = args->target};
    double loss = tn_item(tn_cross_entropy_with(&mean));
    tn_fail_within("perplexity");
    return exp(loss);
}

/* All of x is from 0 to classes - 1; else an error. */
static bool in_range(const char *name, tn_tensor *x, int64_t classes)
{
    if (!x || !x->numel)
        return !tn_failing();
    tn_extreme_args all = {.size = sizeof all, .dim = TN_ALL_DIMS, .x = x};
    int64_t low = tn_item_i64(tn_min_with(&all)), high = tn_item_i64(tn_max_with(&all));
    if (!tn_failing() && (low < 0 || high >= classes))
        tn_fail(TN_ERR_INDEX, "confusion_matrix: %s has class %lld: with %lld classes they are 0 to %lld", name,
                (long long)(low < 0 ? low : high), (long long)classes, (long long)classes - 1);
    return !tn_failing();
}

tn_tensor *tn_confusion_matrix_with(const tn_confusion_matrix_args *args)
{
    TN_KNOWN(tn_confusion_matrix_args, args);
    int64_t n = args->classes;
    TN_SCOPE;
    TN_NO_GRAD;
    tn_tensor *classes = classes_of("confusion_matrix", args->x, args->target);
    if (!classes)
        return NULL;
    if (n < 1)
        return tn_fail(TN_ERR_ARGUMENT, "confusion_matrix: %lld classes: give 1 or more", (long long)n);
    tn_tensor *counts = tn_ne(args->target, tn_scalar_i64(args->ignore_index));
    tn_tensor *target = tn_cast(tn_masked_select(args->target, counts), TN_I64), *found = tn_cast(tn_masked_select(classes, counts), TN_I64);
    if (!in_range("target", target, n) || !in_range("x", found, n))
        return NULL;
    tn_shape_args square = {.size = sizeof square, .dtype = TN_I64, .device = &target->storage->device, .shape = TN_SHAPE(n, n)};
    tn_tensor *zeros = tn_flatten(tn_zeros_with(&square), 0, -1), *places = tn_add(tn_mul(target, tn_scalar_i64(n)), found);
    return tn_pass(tn_reshape(tn_scatter_add(zeros, 0, places, tn_scalar_i64(1)), square.shape));
}

/* ---- of a confusion matrix -------------------------------------------------------------------------------------------------- */

/* What the matrix says of each class, f64 [classes]: right, predicted, there in truth. */
typedef struct class_counts {
    tn_tensor *right, *predicted, *actual;
} class_counts;

static bool count(const char *op, tn_tensor *confusion, class_counts *c)
{
    if (!tn_ready(op, "confusion", confusion))
        return false;
    if (confusion->ndim != 2 || confusion->sizes[0] != confusion->sizes[1] || confusion->numel == 0) {
        tn_fail(TN_ERR_SHAPE, "%s: confusion is %s: it must be a matrix [classes, classes] of tn_confusion_matrix()", op, tn_text(confusion));
        return false;
    }
    tn_tensor *m = tn_cast(confusion, TN_F64);
    tn_eye_args eye = {.size = sizeof eye, .dtype = TN_F64, .device = &confusion->storage->device, .rows = confusion->sizes[0]};
    *c = (class_counts){total(tn_mul(m, tn_eye_with(&eye)), 1), total(m, 0), total(m, 1)};
    return !tn_failing();
}

/* above / below, 0 where below is 0. */
static tn_tensor *share(tn_tensor *above, tn_tensor *below)
{
    tn_tensor *none = tn_eq(below, tn_scalar_f64(0));
    return tn_masked_fill(tn_div(above, below), none, 0);
}

static tn_tensor *averaged(const char *op, const class_counts *c, tn_tensor *above, tn_tensor *below, tn_average average)
{
    switch (average) {
    case TN_PER_CLASS: return share(above, below);
    case TN_MICRO: return share(total(above, TN_ALL_DIMS), total(below, TN_ALL_DIMS));
    case TN_MACRO: {
        tn_tensor *occurs = tn_gt(tn_add(c->predicted, c->actual), tn_scalar_f64(0));
        return share(total(share(above, below), TN_ALL_DIMS), tn_cast(total(occurs, TN_ALL_DIMS), TN_F64));
    }
    }
    return tn_fail(TN_ERR_ARGUMENT, "%s: average is %d: TN_PER_CLASS, TN_MACRO or TN_MICRO", op, (int)average);
}

tn_tensor *tn_precision(tn_tensor *confusion, tn_average average)
{
    TN_SCOPE;
    TN_NO_GRAD;
    class_counts c;
    return count("precision", confusion, &c) ? tn_pass(averaged("precision", &c, c.right, c.predicted, average)) : NULL;
}

tn_tensor *tn_recall(tn_tensor *confusion, tn_average average)
{
    TN_SCOPE;
    TN_NO_GRAD;
    class_counts c;
    return count("recall", confusion, &c) ? tn_pass(averaged("recall", &c, c.right, c.actual, average)) : NULL;
}

tn_tensor *tn_f1(tn_tensor *confusion, tn_average average)
{
    TN_SCOPE;
    TN_NO_GRAD;
    class_counts c;
    if (!count("f1", confusion, &c))
        return NULL;
    return tn_pass(averaged("f1", &c, tn_add(c.right, c.right), tn_add(c.predicted, c.actual), average));
}

double tn_matthews_corrcoef(tn_tensor *confusion)
{
    TN_SCOPE;
    TN_NO_GRAD;
    class_counts c;
    if (!count("matthews_corrcoef", confusion, &c))
        return NAN;
    double all = tn_item(total(c.actual, TN_ALL_DIMS)), right = tn_item(total(c.right, TN_ALL_DIMS));
    double both = tn_item(tn_dot(c.predicted, c.actual));
    double spread = (all * all - tn_item(tn_dot(c.predicted, c.predicted))) * (all * all - tn_item(tn_dot(c.actual, c.actual)));
    return tn_failing() ? NAN : spread == 0 ? 0 : (right * all - both) / sqrt(spread);
}
