/* Optimisers. A step first makes everything that it needs and then runs one kernel over all parameters of a dtype. */
#include <tenon/optim.h>

#include <math.h>
#include <string.h>

#include <tenon/ops.h>

#include "core/loop.h"

/* What belongs to one parameter. */
typedef struct slot {
    tn_tensor *param;
    tn_tensor *m, *v, *v_max; /* contiguous; NULL until the first step, and where the method has none */
    int64_t steps;
} slot;

typedef struct work {
    tn_tensor *dense; /* the parameter, or a contiguous copy to be written back */
    int slot;
} work;

struct tn_optim {
    tn_object base;
    const char *name;
    double lr;
    bool adam;
    tn_sgd_step sgd_step; /* lr apart, what the kernels take */
    tn_adam_step adam_step;
    bool amsgrad, decoupled;
    int count;
    slot *slots;         /* [count] */
    tn_step_item *items; /* [count], of the step under way */
    work *works;         /* [count], beside items */
};

static void optim_free(void *self)
{
    tn_optim *o = self;
    for (int i = 0; o->slots && i < o->count; i++) {
        tn_release(o->slots[i].param);
        tn_release(o->slots[i].m);
        tn_release(o->slots[i].v);
        tn_release(o->slots[i].v_max);
    }
    tn_free(o->slots, (size_t)o->count * sizeof *o->slots);
    tn_free(o->items, (size_t)o->count * sizeof *o->items);
    tn_free(o->works, (size_t)o->count * sizeof *o->works);
}

static const tn_class optim_class = {"optim", sizeof(tn_optim), optim_free};

/* ---- making ------------------------------------------------------------------------------------------------------------- */

static bool param_fits(const char *name, const slot *slots, int i, const tn_tensor *x)
{
    if (x->grad_fn || !tn_has(x, TN_FLAG_REQUIRES_GRAD))
        tn_fail(TN_ERR_ARGUMENT, "%s: parameter %d, %s, %s: it would never change", name, i, tn_text(x),
                x->grad_fn ? "is the result of an operator" : "requires no gradient");
    else if (x->dtype != TN_F32 && x->dtype != TN_F64)
        tn_fail(TN_ERR_DTYPE, "%s: parameter %d is %s: float32 or float64 is needed", name, i, tn_dtype_name((tn_dtype)x->dtype));
    for (int j = 0; j < i; j++)
        if (slots[j].param == x)
            tn_fail(TN_ERR_ARGUMENT, "%s: parameters %d and %d are the same tensor", name, j, i);
    return !tn_failing();
}

static bool fill_slots(tn_optim *o, const tn_list *params)
{
    size_t count = (size_t)tn_list_count(params);
    o->slots = tn_alloc_zero(count * sizeof *o->slots);
    o->count = (int)count;
    o->items = o->slots ? tn_alloc(count * sizeof *o->items) : NULL;
    o->works = o->items ? tn_alloc(count * sizeof *o->works) : NULL;
    for (int i = 0; o->works && i < o->count; i++) {
        tn_tensor *x = tn_list_at(params, i);
        if (!x || !param_fits(o->name, o->slots, i, x))
            return false;
        o->slots[i].param = tn_retain(x);
    }
    return o->works != NULL;
}

static bool positive(const char *name, const char *what, double value)
{
    if (value >= 0 && isfinite(value))
        return true;
    tn_fail(TN_ERR_ARGUMENT, "%s: %s is %g: 0 or more is needed", name, what, value);
    return false;
}

static tn_optim *optim_new(const char *name, const tn_list *params, double lr)
{
    if (tn_failing())
        return NULL;
    if (!tn_list_count(params) || tn_list_count(params) > INT32_MAX)
        return tn_fail(TN_ERR_ARGUMENT, "%s: params is %s: there is nothing to train", name, params ? "an empty list" : "NULL");
    if (!(lr > 0) || !isfinite(lr))
        return tn_fail(TN_ERR_ARGUMENT, "%s: lr is %g: it must be above 0 (tn_set_lr takes 0 too)", name, lr);
    tn_optim *o = tn_object_new(&optim_class);
    if (!o)
        return NULL;
    o->name = name;
    o->lr = lr;
    if (fill_slots(o, params))
        return o;
    tn_release(o);
    return NULL;
}

tn_optim *tn_sgd_new_with(const tn_sgd_args *a)
{
    TN_KNOWN(tn_sgd_args, a);
    if (tn_failing() || !positive("sgd", "momentum", a->momentum) || !positive("sgd", "weight_decay", a->weight_decay))
        return NULL;
    if (a->nesterov && (a->momentum == 0 || a->dampening != 0))
        return tn_fail(TN_ERR_ARGUMENT, "sgd: nesterov needs a momentum above 0 and no dampening, not %g and %g", a->momentum, a->dampening);
    tn_optim *o = optim_new("sgd", a->params, a->lr);
    if (o)
        o->sgd_step = (tn_sgd_step){0, a->momentum, a->dampening, a->weight_decay, a->nesterov, a->maximize};
    return o;
}

tn_optim *tn_adam_new_with(const tn_adam_args *a)
{
    TN_KNOWN(tn_adam_args, a);
    if (tn_failing() || !positive("adam", "eps", a->eps) || !positive("adam", "weight_decay", a->weight_decay) ||
        !positive("adam", "beta1", a->beta1) || !positive("adam", "beta2", a->beta2))
        return NULL;
    if (a->beta1 >= 1 || a->beta2 >= 1)
        return tn_fail(TN_ERR_ARGUMENT, "adam: beta1 and beta2 are %g and %g: both must be below 1", a->beta1, a->beta2);
    tn_optim *o = optim_new("adam", a->params, a->lr);
    if (!o)
        return NULL;
    o->adam = true;
    o->amsgrad = a->amsgrad;
    o->decoupled = a->decoupled_weight_decay;
    o->adam_step = (tn_adam_step){a->beta1, a->beta2, a->eps, a->weight_decay, 1, a->maximize};
    return o;
}

/* ---- a step ------------------------------------------------------------------------------------------------------------- */

/* A moment of x, zeros at first. */
static bool need_moment(tn_tensor **moment, const tn_tensor *x)
{
    if (*moment)
        return true;
    tn_tensor *zeros = tn_new_owned("step", tn_shape_of(x), (tn_dtype)x->dtype, x->storage->device);
    if (zeros)
        memset(tn_ptr(zeros), 0, (size_t)zeros->numel * tn_item_size(zeros));
    *moment = zeros;
    return zeros != NULL;
}

static bool need_moments(const tn_optim *o, slot *s)
{
    if (s->m && s->m->dtype != s->param->dtype) {
        tn_fail(TN_ERR_DTYPE, "step: a parameter is %s now and was %s at the first step: make a new optimiser after a cast",
                tn_dtype_name((tn_dtype)s->param->dtype), tn_dtype_name((tn_dtype)s->m->dtype));
        return false;
    }
    if (!o->adam)
        return o->sgd_step.momentum == 0 || need_moment(&s->m, s->param);
    return need_moment(&s->m, s->param) && need_moment(&s->v, s->param) && (!o->amsgrad || need_moment(&s->v_max, s->param));
}

static void *data_or_null(const tn_tensor *x) { return x ? tn_ptr(x) : NULL; }

/* Lays out the parameters of a dtype that have a gradient, from items[at] on; how many there are, or -1 on failure. */
static int prepare(tn_optim *o, int at, tn_dtype dtype)
{
    int n = 0;
    int64_t start = 0;
    for (int i = 0; i < o->count; i++) {
        slot *s = &o->slots[i];
        if (!s->param->grad || s->param->dtype != dtype)
            continue;
        const tn_tensor *g = tn_contiguous(s->param->grad);
        tn_tensor *dense = g ? tn_contiguous(s->param) : NULL;
        if (!dense || !need_moments(o, s))
            return -1;
        double t = (double)(s->steps + 1);
        o->works[at + n] = (work){dense, i};
        o->items[at + n] = (tn_step_item){
            .n = dense->numel, .start = start, .p = tn_ptr(dense), .g = tn_ptr(g),
            .m = data_or_null(s->m), .v = data_or_null(s->v), .v_max = data_or_null(s->v_max), .first = s->steps == 0,
            .step_size = o->adam ? o->lr / (1 - pow(o->adam_step.beta1, t)) : o->lr,
            .v_scale = o->adam ? sqrt(1 - pow(o->adam_step.beta2, t)) : 1,
        };
        start += dense->numel;
        n++;
    }
    return n;
}

static tn_status update(const tn_optim *o, tn_dtype dtype, const tn_step_item *items, int n)
{
    if (n == 0)
        return TN_OK;
    const tn_kernels *kernels = tn_kernels_for(o->slots[0].param);
    if (!o->adam) {
        tn_sgd_step step = o->sgd_step;
        step.lr = o->lr;
        return kernels->sgd_step(dtype, &step, items, n);
    }
    tn_adam_step step = o->adam_step;
    if (o->decoupled) {
        step.decay = 1 - o->lr * step.weight_decay;
        step.weight_decay = 0;
    }
    return kernels->adam_step(dtype, &step, items, n);
}

tn_status tn_step(tn_optim *o)
{
    if (tn_failing())
        return tn_last_status();
    if (!o) {
        tn_fail(TN_ERR_ARGUMENT, "step: the optimiser is NULL");
        return TN_ERR_ARGUMENT;
    }
    TN_SCOPE;
    TN_NO_GRAD;
    int singles = prepare(o, 0, TN_F32), doubles = singles < 0 ? -1 : prepare(o, singles, TN_F64);
    if (doubles < 0 || update(o, TN_F32, o->items, singles) != TN_OK || update(o, TN_F64, o->items + singles, doubles) != TN_OK)
        return tn_last_status();
    for (int i = 0; i < singles + doubles; i++) {
        slot *s = &o->slots[o->works[i].slot];
        s->steps++;
        if (o->works[i].dense != s->param)
            tn_overwrite(s->param, o->works[i].dense);
        else
            tn_storage_touch(s->param->storage);
    }
    return tn_last_status();
}

void tn_zero_grad(tn_optim *o)
{
    for (int i = 0; o && i < o->count; i++) {
        tn_release(o->slots[i].param->grad);
        o->slots[i].param->grad = NULL;
    }
}

double tn_get_lr(const tn_optim *o) { return o ? o->lr : NAN; }

tn_status tn_set_lr(tn_optim *o, double lr)
{
    if (tn_failing())
        return tn_last_status();
    if (!o)
        tn_fail(TN_ERR_ARGUMENT, "set_lr: the optimiser is NULL");
    else if (positive(o->name, "lr", lr))
        o->lr = lr;
    return tn_last_status();
}
