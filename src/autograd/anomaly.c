/* Anomaly detection: which operator made the first NaN. */
#include <stdio.h>

#include <tenon/ops.h>

#include "autograd/node.h"

bool tn_set_detect_anomaly(bool on)
{
    bool former = tn_this.detect_anomaly;
    tn_this.detect_anomaly = on;
    return former;
}

/* The row-major number of the first element that is NaN; -1 when there is none, and on error. What it calls gives no floats, and so is not
 * itself examined. */
static int64_t first_nan(const tn_tensor *x)
{
    if (!x || !tn_dtype_is_float((tn_dtype)x->dtype) || x->numel == 0)
        return -1;
    TN_SCOPE;
    tn_tensor *nan = tn_isnan((tn_tensor *)(uintptr_t)x);
    tn_reduce_args any = {.size = sizeof any, .dim = TN_ALL_DIMS, .x = nan};
    if (!tn_item_i64(tn_any_with(&any)))
        return -1;
    tn_arg_args first = {.size = sizeof first, .dim = TN_ALL_DIMS, .x = tn_cast(nan, TN_U8)};
    int64_t place = tn_item_i64(tn_argmax_with(&first));
    return tn_failing() ? -1 : place;
}

bool tn_forward_is_sound(const char *name, tn_tensor *const *ys, int outputs, tn_tensor *const *inputs, int n_inputs)
{
    for (int k = 0; k < outputs; k++) {
        int64_t place = first_nan(ys[k]);
        if (place < 0)
            continue;
        char had[80] = "";
        for (int i = 0; i < n_inputs && !*had; i++)
            if (inputs[i] != ys[k] && first_nan(inputs[i]) >= 0) /* what was written in place is lost */
                snprintf(had, sizeof had, "; its input %d, %s, had one already", i, tn_text(inputs[i]));
        tn_fail(TN_ERR_STATE, "%s: forward gave the first NaN, element %lld of its result %s%s", name, (long long)place, tn_text(ys[k]), had);
        return false;
    }
    return !tn_failing();
}

bool tn_backward_is_sound(const tn_node *node, tn_tensor *const *dy, tn_tensor *const *dx)
{
    for (int i = 0; i < node->inputs; i++) {
        int64_t place = tn_wants(node, i) ? first_nan(dx[i]) : -1;
        if (place < 0)
            continue;
        const char *had = "";
        for (int k = 0; k < node->outputs; k++)
            if (first_nan(dy[k]) >= 0)
                had = "; the gradient that it was given had one already";
        tn_fail(TN_ERR_GRAD, "backward of %s, whose result is %s: it gave the first NaN, element %lld of the gradient %s of input %d%s", node->name,
                tn_shape_text(node->output[0].shape), (long long)place, tn_text(dx[i]), i, had);
        return false;
    }
    return !tn_failing();
}
