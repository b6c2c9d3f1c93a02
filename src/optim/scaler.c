/* A scale for gradients that pass through f16, as torch.amp.GradScaler. */
#include <float.h>
#include <math.h>
#include <string.h>

#include <tenon/ops.h>

#include "optim/named.h"
#include "optim/optim.h"
#include "optim/sweep.h"

/* An optimiser since the last update. */
typedef struct round_of {
    tn_optim *optim; /* retained */
    bool infinite, stepped;
} round_of;

struct tn_grad_scaler {
    tn_object base;
    tn_grad_scaler_args args;
    double scale;
    int64_t tracker; /* updates in turn without infinities */
    round_of *rounds; /* [count], of the optimisers that were unscaled */
    int count;
};

static void forget(tn_grad_scaler *s)
{
    for (int i = 0; i < s->count; i++)
        tn_release(s->rounds[i].optim);
    tn_free(s->rounds, (size_t)s->count * sizeof *s->rounds);
    s->rounds = NULL;
    s->count = 0;
}

static void scaler_free(void *self) { forget(self); }
static const tn_class scaler_class = {"grad_scaler", sizeof(tn_grad_scaler), scaler_free};

static bool options_fit(const char *op, const tn_grad_scaler_args *a)
{
    if (tn_failing())
        return false;
    if (!(a->init_scale >= FLT_MIN && a->init_scale <= FLT_MAX) || !(a->growth_factor > 1) || !(a->backoff_factor > 0 && a->backoff_factor < 1) ||
        a->growth_interval < 1)
        tn_fail(TN_ERR_ARGUMENT, "%s: the scale %g must be from 2^-126 to 2^128, growth_interval %lld above 0, growth_factor %g above 1, backoff_factor "
                "%g between 0 and 1", op, a->init_scale, (long long)a->growth_interval, a->growth_factor, a->backoff_factor);
    return !tn_failing();
}

tn_grad_scaler *tn_grad_scaler_new_with(const tn_grad_scaler_args *args)
{
    TN_KNOWN(tn_grad_scaler_args, args);
    tn_grad_scaler *s = options_fit("grad_scaler_new", args) ? tn_object_new(&scaler_class) : NULL;
    if (s) {
        s->args = *args;
        s->scale = args->init_scale;
    }
    return s;
}

static bool is_scaler(const char *op, const tn_grad_scaler *s)
{
    if (!tn_failing() && (!s || s->base.cls != &scaler_class))
        tn_fail(TN_ERR_ARGUMENT, "%s: scaler is %s", op, s ? "no grad_scaler" : "NULL");
    return !tn_failing();
}

double tn_get_grad_scale(const tn_grad_scaler *s)
{
    return !is_scaler("get_grad_scale", s) ? NAN : s->args.enabled ? s->scale : 1;
}

tn_tensor *tn_grad_scaler_scale(tn_grad_scaler *s, tn_tensor *loss)
{
    if (!is_scaler("grad_scaler_scale", s) || !tn_ready("grad_scaler_scale", "loss", loss))
        return NULL;
    return s->args.enabled ? tn_mul(loss, tn_scalar_f64(s->scale)) : loss;
}

static round_of *round_find(const tn_grad_scaler *s, const tn_optim *o)
{
    for (int i = 0; i < s->count; i++)
        if (s->rounds[i].optim == o)
            return &s->rounds[i];
    return NULL;
}

/* Whether a gradient has an infinity or NaN, times which 0 is NaN. One number comes from the device for all of them. */
static bool has_infinity(const tn_optim *o)
{
    tn_tensor *sum = NULL;
    for (int i = 0; i < o->count && !tn_failing(); i++) {
        const tn_reduce_args all = {.size = sizeof all, TN_REDUCE_OPTIONS(TN_DEFAULT_) .x = o->slots[i].param->grad
                                                                ? tn_mul(o->slots[i].param->grad, tn_scalar_f64(0)) : NULL};
        if (all.x)
            sum = sum ? tn_add(sum, tn_sum_with(&all)) : tn_sum_with(&all);
    }
    return sum && !isfinite(tn_item(sum));
}

static void divide(const tn_optim *o, double scale)
{
    tn_sweep sweep;
    bool good = tn_sweep_begin(&sweep, o->count);
    for (int i = 0; good && i < o->count; i++) {
        tn_step_item *item = o->slots[i].param->grad ? tn_sweep_add(&sweep, o->slots[i].param->grad, NULL) : NULL;
        if (item)
            item->c.shrink = 1 / scale;
        good = !tn_failing();
    }
    if (good)
        tn_sweep_run(&sweep, TN_STEP_SCALE);
    tn_sweep_end(&sweep);
}

tn_status tn_grad_scaler_unscale(tn_grad_scaler *s, tn_optim *o)
{
    if (!is_scaler("grad_scaler_unscale", s))
        return tn_last_status();
    if (!o)
        tn_fail(TN_ERR_ARGUMENT, "grad_scaler_unscale: optim is NULL");
    else if (s->args.enabled && round_find(s, o))
        tn_fail(TN_ERR_STATE, "grad_scaler_unscale: the optimiser was unscaled already since the last update");
    if (tn_failing() || !s->args.enabled)
        return tn_last_status();
    TN_SCOPE;
    TN_NO_GRAD;
    round_of *rounds = tn_alloc((size_t)(s->count + 1) * sizeof *rounds);
    const bool infinite = rounds && has_infinity(o);
    if (!tn_failing())
        divide(o, s->scale);
    if (tn_failing()) {
        tn_free(rounds, (size_t)(s->count + 1) * sizeof *rounds);
        return tn_last_status();
    }
    if (s->count)
        memcpy(rounds, s->rounds, (size_t)s->count * sizeof *rounds);
    tn_free(s->rounds, (size_t)s->count * sizeof *rounds);
    s->rounds = rounds;
    s->rounds[s->count++] = (round_of){tn_retain(o), infinite, false};
    return TN_OK;
}

tn_status tn_grad_scaler_step(tn_grad_scaler *s, tn_optim *o)
{
    if (!is_scaler("grad_scaler_step", s))
        return tn_last_status();
    if (!s->args.enabled)
        return tn_step(o);
    round_of *round = round_find(s, o);
    if (round && round->stepped)
        tn_fail(TN_ERR_STATE, "grad_scaler_step: the optimiser has stepped already since the last update");
    else if (!round && tn_grad_scaler_unscale(s, o) == TN_OK)
        round = round_find(s, o);
    if (tn_failing() || (!round->infinite && tn_step(o) != TN_OK))
        return tn_last_status();
    round->stepped = true;
    return TN_OK;
}

tn_status tn_grad_scaler_update(tn_grad_scaler *s)
{
    if (!is_scaler("grad_scaler_update", s) || !s->args.enabled)
        return tn_last_status();
    if (!s->count) {
        tn_fail(TN_ERR_STATE, "grad_scaler_update: no optimiser was unscaled or stepped since the last update");
        return TN_ERR_STATE;
    }
    bool infinite = false;
    for (int i = 0; i < s->count; i++)
        infinite |= s->rounds[i].infinite;
    if (infinite) {
        s->scale = fmax(FLT_MIN, (float)(s->scale * s->args.backoff_factor)); /* PyTorch's becomes 0, by which gradients cannot be divided */
        s->tracker = 0;
    } else if (++s->tracker >= s->args.growth_interval) {
        const double grown = (float)(s->scale * s->args.growth_factor); /* PyTorch keeps it as a float, and finite */
        s->scale = isfinite(grown) ? grown : s->scale;
        s->tracker = 0;
    }
    forget(s);
    return TN_OK;
}

tn_dict *tn_grad_scaler_state_dict(const tn_grad_scaler *s)
{
    if (!is_scaler("grad_scaler_state_dict", s))
        return NULL;
    tn_dict *dict = tn_adopt(tn_dict_new());
    const bool good = dict && tn_named_put_double(dict, &s->scale, TN_NAMED_SCALAR, "scale") &&
                      tn_named_put_double(dict, &s->args.growth_factor, TN_NAMED_SCALAR, "growth_factor") &&
                      tn_named_put_double(dict, &s->args.backoff_factor, TN_NAMED_SCALAR, "backoff_factor") &&
                      tn_named_put_int(dict, &s->args.growth_interval, TN_NAMED_SCALAR, "growth_interval") &&
                      tn_named_put_int(dict, &s->tracker, TN_NAMED_SCALAR, "_growth_tracker");
    return good ? dict : NULL;
}

tn_status tn_load_grad_scaler_state(tn_grad_scaler *s, const tn_dict *dict)
{
    if (!is_scaler("load_grad_scaler_state", s))
        return tn_last_status();
    tn_named in;
    tn_grad_scaler_args read = s->args;
    int64_t tracker;
    if (tn_named_begin(&in, "load_grad_scaler_state", dict) && tn_named_get_double(&in, &read.init_scale, TN_NAMED_SCALAR, "scale") &&
        tn_named_get_double(&in, &read.growth_factor, TN_NAMED_SCALAR, "growth_factor") &&
        tn_named_get_double(&in, &read.backoff_factor, TN_NAMED_SCALAR, "backoff_factor") &&
        tn_named_get_count(&in, &read.growth_interval, "growth_interval") && tn_named_get_count(&in, &tracker, "_growth_tracker") &&
        tn_named_done(&in, "grad scaler") && options_fit("load_grad_scaler_state", &read)) {
        s->scale = read.init_scale;
        s->tracker = tracker;
        read.init_scale = s->args.init_scale;
        s->args = read;
    }
    tn_named_end(&in);
    return tn_last_status();
}
