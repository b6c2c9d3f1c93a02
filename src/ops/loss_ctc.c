/* Connectionist temporal classification: the kernel gives losses and their gradients in one go. */
#include <tenon/ops.h>

#include "autograd/node.h"
#include "core/loop.h"
#include "ops/loss.h"
#include "ops/reduction.h"

static const char *const op = "ctc_loss";

/* What the kernel reads, dense i64, where log_probs is: targets [batch, longest] or [sum of lengths], where each begins, the lengths [batch]. */
typedef struct labels {
    tn_tensor *targets, *starts, *input_lengths, *target_lengths;
    int64_t longest;
} labels;

static int64_t *numbers(const tn_tensor *x) { return (int64_t *)(void *)tn_ptr(x); }

static tn_tensor *integers(const char *name, tn_tensor *x)
{
    if (!tn_ready(op, name, x))
        return NULL;
    if (tn_dtype_is_float((tn_dtype)x->dtype) || x->dtype == TN_BOOL)
        return tn_fail(TN_ERR_DTYPE, "%s: %s is %s: integers are needed", op, name, tn_dtype_name((tn_dtype)x->dtype));
    return tn_packed(tn_to(tn_cast(x, TN_I64), (tn_device_id){TN_CPU, 0})); /* they are looked at one by one */
}

/* One for each of the batch, 0 ... most. */
static tn_tensor *lengths(const char *name, tn_tensor *x, int64_t batch, int64_t most)
{
    tn_tensor *all = integers(name, x);
    if (!all)
        return NULL;
    if (all->ndim > 1 || all->numel != batch)
        return tn_fail(TN_ERR_SHAPE, "%s: %s is %s: it must be [%lld], one for each sequence", op, name, tn_text(x), (long long)batch);
    for (int64_t n = 0; n < batch; n++) {
        long long length = (long long)numbers(all)[n];
        if (length < 0 || length > most)
            return tn_fail(TN_ERR_ARGUMENT, "%s: number %lld of %s is %lld: it must be 0 to %lld", op, (long long)n, name, length, (long long)most);
    }
    return all;
}

/* Where each target begins, and that its labels are labels. */
static bool targets_fit(labels *l, int64_t batch, int64_t classes, int64_t blank)
{
    bool padded = l->targets->ndim == 2;
    int64_t start = 0;
    for (int64_t n = 0; n < batch; n++) {
        int64_t length = numbers(l->target_lengths)[n];
        numbers(l->starts)[n] = start;
        if (!padded && start + length > l->targets->numel) {
            tn_fail(TN_ERR_SHAPE, "%s: targets is %s, and the target lengths add up to more", op, tn_text(l->targets));
            return false;
        }
        for (int64_t i = start; i < start + length; i++) {
            long long label = (long long)numbers(l->targets)[i];
            if (label >= 0 && label < classes && label != blank)
                continue;
            tn_fail(TN_ERR_INDEX, "%s: label %lld of target %lld is %lld: labels are 0 to %lld without the blank, %lld", op,
                    (long long)(i - start), (long long)n, label, (long long)classes - 1, (long long)blank);
            return false;
        }
        l->longest = length > l->longest ? length : l->longest;
        start += padded ? l->targets->sizes[1] : length;
    }
    if (!padded && start != l->targets->numel)
        tn_fail(TN_ERR_SHAPE, "%s: targets is %s, and the target lengths add up to %lld", op, tn_text(l->targets), (long long)start);
    return !tn_failing();
}

/* x is [time, batch, classes]. */
static bool labels_of(const tn_ctc_loss_args *args, const tn_tensor *x, labels *l)
{
    int64_t batch = x->sizes[1];
    l->targets = integers("targets", args->targets);
    if (!l->targets)
        return false;
    if (l->targets->ndim != 1 && (l->targets->ndim != 2 || l->targets->sizes[0] != batch)) {
        tn_fail(TN_ERR_SHAPE, "%s: targets is %s: it must be [%lld, longest] or one row of all", op, tn_text(l->targets), (long long)batch);
        return false;
    }
    l->input_lengths = lengths("input_lengths", args->input_lengths, batch, x->sizes[0]);
    l->target_lengths = lengths("target_lengths", args->target_lengths, batch, l->targets->sizes[l->targets->ndim - 1]);
    l->starts = tn_new(op, TN_SHAPE(batch), TN_I64, (tn_device_id){TN_CPU, 0});
    if (tn_failing() || !targets_fit(l, batch, x->sizes[2], args->blank))
        return false;
    tn_tensor **all[] = {&l->targets, &l->starts, &l->input_lengths, &l->target_lengths};
    for (int i = 0; i < TN_COUNT(all); i++)
        *all[i] = tn_to(*all[i], x->storage->device);
    return !tn_failing();
}

static void no_second_derivative(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    (void)node, (void)dy, (void)dx;
    tn_fail(TN_ERR_GRAD, "%s: its gradient has no derivative with respect to log_probs", op);
}

/* Saved: log_probs, each loss's gradient. */
static void ctc_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    tn_tensor *x = tn_node_saved(node, 0), *slope = tn_node_saved(node, 1);
    if (tn_failing())
        return;
    if (tn_grad_enabled()) /* the slope is a function of log_probs too */
        slope = tn_record(tn_detach(slope), "ctc_loss_backward", no_second_derivative, TN_INPUTS(x), TN_NO_SAVED, TN_NO_ATTR);
    dx[0] = slope ? tn_mul(slope, tn_reshape(dy[0], TN_SHAPE(1, -1, 1))) : NULL;
}

/* The losses of [time, batch, classes]: [batch]. */
static tn_tensor *ctc_losses(tn_tensor *x, const labels *l, int64_t blank, bool zero_infinity)
{
    tn_tensor *packed = tn_packed(x), *slope = NULL, *loss = tn_new(op, TN_SHAPE(x->sizes[1]), (tn_dtype)x->dtype, x->storage->device);
    if (tn_recording(TN_INPUTS(x)))
        slope = tn_new(op, tn_shape_of(x), (tn_dtype)x->dtype, x->storage->device);
    if (tn_failing())
        return NULL;
    tn_ctc ctc = {.time = x->sizes[0], .batch = x->sizes[1], .classes = x->sizes[2], .blank = blank, .longest = l->longest,
                  .zero_infinity = zero_infinity, .x = tn_ptr(packed), .targets = numbers(l->targets), .starts = numbers(l->starts),
                  .input_lengths = numbers(l->input_lengths), .target_lengths = numbers(l->target_lengths), .loss = tn_ptr(loss),
                  .dx = slope ? tn_ptr(slope) : NULL};
    if (tn_kernels_for(x)->ctc((tn_dtype)x->dtype, &ctc) != TN_OK)
        return NULL;
    return tn_record(loss, op, ctc_backward, TN_INPUTS(x), TN_SAVED(x, slope), TN_NO_ATTR);
}

tn_tensor *tn_ctc_loss_with(const tn_ctc_loss_args *args)
{
    TN_KNOWN(tn_ctc_loss_args, args);
    tn_tensor *x = args->log_probs;
    if (!tn_ready(op, "log_probs", x) || !tn_reduction_known(op, args->reduction))
        return NULL;
    if (x->dtype != TN_F32 && x->dtype != TN_F64)
        return tn_fail(TN_ERR_DTYPE, "%s: log_probs is %s: it must be float32 or float64", op, tn_dtype_name((tn_dtype)x->dtype));
    if (x->ndim < 2 || x->ndim > 3)
        return tn_fail(TN_ERR_SHAPE, "%s: log_probs is %s: it must be [time, n, classes] or [time, classes]", op, tn_text(x));
    if (args->blank < 0 || args->blank >= x->sizes[x->ndim - 1])
        return tn_fail(TN_ERR_ARGUMENT, "%s: .blank is %lld and log_probs is %s: it must be one of the classes", op, (long long)args->blank,
                       tn_text(x));
    TN_SCOPE;
    bool single = x->ndim == 2;
    if (single)
        x = tn_unsqueeze(x, 1);
    labels l = {.longest = 0};
    if (!x || !labels_of(args, x, &l))
        return NULL;
    tn_tensor *losses = ctc_losses(x, &l, args->blank, args->zero_infinity);
    if (single && losses)
        losses = tn_reshape(losses, TN_SCALAR);
    if (args->reduction == TN_MEAN) {
        tn_clamp_args least = {.size = sizeof least, .min = 1, .max = INFINITY, .x = tn_cast(l.target_lengths, (tn_dtype)x->dtype)};
        losses = tn_div(losses, single ? tn_reshape(tn_clamp_with(&least), TN_SCALAR) : tn_clamp_with(&least));
    }
    return tn_pass(tn_reduce_losses(losses, args->reduction));
}
