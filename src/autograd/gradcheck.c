/* Gradients against central differences, in f64. */
#include <math.h>

#include <tenon/ops.h>

#include "autograd/node.h"

typedef tn_tensor *(*checked_function)(tn_tensor *const *, int, void *);

/* sum(f(inputs) * weights): the weights differ by element, so that no error hides in a sum. */
static tn_tensor *weighted(const tn_gradcheck_args *args)
{
    tn_tensor *y = args->function(args->inputs, args->count, args->context);
    if (!tn_ready("gradcheck", "the function's result", y))
        return NULL;
    tn_tensor *weights = tn_new("gradcheck", tn_shape_of(y), TN_F64, y->storage->device);
    if (!weights)
        return NULL;
    double *w = (double *)tn_ptr(weights);
    for (int64_t i = 0; i < weights->numel; i++)
        w[i] = 0.5 + fmod(0.618033988749895 * (double)(i + 1), 1.0);
    tn_reduce_args all = {.size = sizeof all, .dim = TN_ALL_DIMS, .x = tn_mul(y, weights)};
    return tn_sum_with(&all);
}

static double value(const tn_gradcheck_args *args)
{
    TN_SCOPE;
    TN_NO_GRAD;
    return tn_item(weighted(args));
}

/* An element of an input that is moved, and what it was. */
typedef struct moved {
    double *at, kept;
} moved;
static void put_back(moved *m) { *m->at = m->kept; }

static bool check_input(const tn_gradcheck_args *args, int k, const tn_tensor *analytic)
{
    tn_tensor *x = args->inputs[k];
    double *data = (double *)tn_ptr(x);
    const double *gradient = (const double *)tn_ptr(analytic);
    for (int64_t i = 0; i < x->numel; i++) {
        TN_CLEANUP_(put_back) moved element = {&data[i], data[i]};
        data[i] = element.kept + args->eps;
        double above = value(args);
        data[i] = element.kept - args->eps;
        double below = value(args);
        double numeric = (above - below) / (2 * args->eps);
        if (tn_failing())
            return false;
        if (!(fabs(gradient[i] - numeric) <= args->atol + args->rtol * fabs(numeric))) {
            tn_fail(TN_ERR_GRAD, "gradcheck: input %d, element %lld: backward gives %.10g, differences give %.10g", k, (long long)i,
                    gradient[i], numeric);
            return false;
        }
    }
    return true;
}

/* The gradient itself as a function of the inputs: the sum of d(weighted)/d(input), each weighted in turn. */
static tn_tensor *gradient_sum(tn_tensor *const *inputs, int count, void *context)
{
    const tn_gradcheck_args *args = context;
    TN_ENABLE_GRAD;
    tn_tensor *y = weighted(args), *sum = NULL;
    for (int k = 0; k < count && !tn_failing(); k++) {
        if (!tn_tracks(inputs[k]))
            continue;
        tn_grad_of_args grad = {.size = sizeof grad, .create_graph = true, .allow_unused = true, .output = y, .input = inputs[k]};
        tn_tensor *g = tn_grad_of_with(&grad);
        if (!g)
            continue;
        tn_reduce_args all = {.size = sizeof all, .dim = TN_ALL_DIMS, .x = tn_mul(g, g)};
        g = tn_sum_with(&all);
        sum = sum ? tn_add(sum, g) : g;
    }
    return sum;
}

static bool check_first(const tn_gradcheck_args *args)
{
    TN_SCOPE;
    TN_ENABLE_GRAD;
    tn_tensor *y = weighted(args);
    for (int k = 0; k < args->count && !tn_failing(); k++) {
        TN_SCOPE;
        if (!tn_tracks(args->inputs[k]))
            continue;
        tn_grad_of_args grad = {.size = sizeof grad, .retain_graph = true, .allow_unused = true, .output = y, .input = args->inputs[k]};
        tn_tensor *g = tn_tracks(y) ? tn_grad_of_with(&grad) : NULL;
        tn_like_args zeros = {.size = sizeof zeros, .dtype = TN_DTYPE_DEFAULT, .x = args->inputs[k]};
        g = g ? tn_contiguous(g) : tn_zeros_like_with(&zeros);
        if (!g || !check_input(args, k, g))
            return false;
    }
    return !tn_failing();
}

tn_status tn_gradcheck_with(const tn_gradcheck_args *args)
{
    TN_KNOWN(tn_gradcheck_args, args);
    if (tn_failing())
        return tn_last_status();
    if (!args->function || !args->inputs || args->count < 1)
        tn_fail(TN_ERR_ARGUMENT, "gradcheck: a function and its inputs must be given");
    bool any = false;
    for (int k = 0; k < args->count && !tn_failing(); k++) {
        const tn_tensor *x = args->inputs[k];
        any = any || (x && tn_tracks(x));
        if (tn_ready("gradcheck", "an input", x) && tn_tracks(x) &&
            (x->dtype != TN_F64 || !tn_has(x, TN_FLAG_CONTIGUOUS) || x->storage->device.type != TN_CPU))
            tn_fail(TN_ERR_DTYPE, "gradcheck: input %d must be contiguous float64 on the CPU", k);
    }
    if (!any)
        tn_fail(TN_ERR_ARGUMENT, "gradcheck: no input requires a gradient: there is nothing to check");
    if (!tn_failing() && check_first(args) && args->second) {
        tn_gradcheck_args second = *args;
        second.function = gradient_sum;
        second.context = (void *)(uintptr_t)args;
        second.second = false;
        check_first(&second);
    }
    return tn_last_status();
}
