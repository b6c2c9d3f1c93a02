/* A moving average of weights. */
#include <math.h>
#include <stdio.h>

#include <tenon/ops.h>

#include "core/loop.h"
#include "kernels/graph.h"
#include "optim/named.h"
#include "optim/optim.h"
#include "optim/sweep.h"

struct tn_ema {
    tn_object base;
    double decay;
    int64_t n_averaged; /* updates so far */
    bool swapped;       /* the parameters hold the averages, and `averages` holds them */
    int64_t count;
    tn_tensor **params, **averages; /* [count]; averages are contiguous */
};

static void ema_free(void *self)
{
    tn_ema *e = self;
    for (int64_t i = 0; e->averages && i < e->count; i++) {
        tn_release(e->params[i]);
        tn_release(e->averages[i]);
    }
    tn_free(e->params, (size_t)e->count * sizeof *e->params);
    tn_free(e->averages, (size_t)e->count * sizeof *e->averages);
}

static const tn_class ema_class = {"ema", sizeof(tn_ema), ema_free};

static bool take_params(tn_ema *e, const tn_list *params)
{
    e->count = tn_list_count(params);
    e->params = tn_alloc_zero((size_t)e->count * sizeof *e->params);
    e->averages = e->params ? tn_alloc_zero((size_t)e->count * sizeof *e->averages) : NULL;
    for (int64_t i = 0; e->averages && i < e->count; i++) {
        tn_tensor *x = tn_list_at(params, i);
        if (x->dtype != TN_F32 && x->dtype != TN_F64) {
            tn_fail(TN_ERR_DTYPE, "ema: parameter %lld is %s: float32 or float64 is needed", (long long)i,
                    tn_dtype_name((tn_dtype)x->dtype));
            return false;
        }
        e->params[i] = tn_retain(x);
        e->averages[i] = tn_new_owned("ema", tn_shape_of(x), (tn_dtype)x->dtype, x->storage->device);
        if (!e->averages[i] || tn_overwrite(e->averages[i], x) != TN_OK)
            return false;
    }
    return e->averages != NULL;
}

tn_ema *tn_ema_new(const tn_list *params, double decay)
{
    if (tn_failing())
        return NULL;
    if (!tn_list_count(params))
        return tn_fail(TN_ERR_ARGUMENT, "ema: params is %s: there is nothing to average", params ? "an empty list" : "NULL");
    if (!(decay >= 0 && decay <= 1))
        return tn_fail(TN_ERR_ARGUMENT, "ema: decay is %g: it must be from 0 to 1", decay);
    tn_ema *e = tn_object_new(&ema_class);
    if (e && take_params(e, params)) {
        e->decay = decay;
        return e;
    }
    tn_release(e);
    return NULL;
}

static bool ready(const char *op, const tn_ema *e)
{
    if (tn_failing())
        return false;
    if (!e)
        tn_fail(TN_ERR_ARGUMENT, "%s: the average is NULL", op);
    for (int64_t i = 0; e && i < e->count && !tn_failing(); i++)
        if (e->params[i]->dtype != e->averages[i]->dtype)
            tn_fail(TN_ERR_DTYPE, "%s: parameter %lld is %s now and was %s: make a new average after a cast", op, (long long)i,
                    tn_dtype_name((tn_dtype)e->params[i]->dtype), tn_dtype_name((tn_dtype)e->averages[i]->dtype));
    return !tn_failing();
}

/* Runs an op over all pairs: LERP changes the averages by the parameters, SWAP exchanges both. */
static bool over_pairs(const tn_ema *e, tn_step_op op, double rate)
{
    TN_SCOPE;
    TN_NO_GRAD;
    tn_sweep sweep;
    bool good = tn_sweep_begin(&sweep, e->count);
    for (int64_t i = 0; good && i < e->count; i++) {
        bool swap = op == TN_STEP_SWAP;
        tn_step_item *item = swap ? tn_sweep_add(&sweep, e->params[i], NULL) : tn_sweep_add(&sweep, e->averages[i], e->params[i]);
        good = item != NULL;
        if (good) {
            item->c.rate = rate;
            item->state[0] = swap ? tn_ptr(e->averages[i]) : NULL;
        }
    }
    good = good && tn_sweep_run(&sweep, op) == TN_OK;
    tn_sweep_end(&sweep);
    return good;
}

static bool captured(const tn_ema *e) { return e->count > 0 && tn_captures(e->params[0]->storage->device); }

/* A replayed graph's update. */
static void update_again(void *object, const int *places, int count, tn_step_scalars *scalars)
{
    (void)places, (void)count, (void)scalars;
    ((tn_ema *)object)->n_averaged++;
}

tn_status tn_ema_update(tn_ema *e)
{
    if (!ready("ema_update", e))
        return tn_last_status();
    if (e->swapped) {
        tn_fail(TN_ERR_STATE, "ema_update: the parameters hold the averages: tn_ema_swap() them back first");
        return TN_ERR_STATE;
    }
    if (e->n_averaged == 0 && captured(e)) {
        tn_fail(TN_ERR_STATE, "ema_update: the first update copies the parameters: make it before a graph is captured");
        return TN_ERR_STATE;
    }
    for (int64_t i = 0; e->n_averaged == 0 && i < e->count; i++)
        tn_overwrite(e->averages[i], e->params[i]);
    if (e->n_averaged > 0 && !over_pairs(e, TN_STEP_LERP, 1 - e->decay))
        return tn_last_status();
    if (captured(e))
        return tn_capture_step(e, update_again, &(int){0}, 0);
    e->n_averaged++;
    return tn_last_status();
}

tn_status tn_ema_copy_to(const tn_ema *e)
{
    if (ready("ema_copy_to", e) && e->swapped)
        tn_fail(TN_ERR_STATE, "ema_copy_to: the parameters hold the averages already");
    for (int64_t i = 0; !tn_failing() && i < e->count; i++)
        tn_overwrite(e->params[i], e->averages[i]);
    return tn_last_status();
}

tn_status tn_ema_swap(tn_ema *e)
{
    if (ready("ema_swap", e) && over_pairs(e, TN_STEP_SWAP, 0))
        e->swapped = !e->swapped;
    return tn_last_status();
}

tn_dict *tn_ema_state_dict(const tn_ema *e)
{
    if (!ready("ema_state_dict", e))
        return NULL;
    tn_dict *dict = tn_adopt(tn_dict_new());
    bool good = dict && tn_named_put_int(dict, &e->n_averaged, TN_NAMED_SCALAR, "n_averaged") &&
                tn_named_put_int(dict, &(int64_t){e->swapped}, TN_NAMED_SCALAR, "swapped");
    for (int64_t i = 0; good && i < e->count; i++)
        good = tn_named_put(dict, e->averages[i], "%lld", (long long)i);
    return good ? dict : NULL;
}

/* Reads the averages aside; false with an error. */
static bool read_averages(const tn_ema *e, tn_named *in, tn_tensor **to)
{
    for (int64_t i = 0; i < e->count; i++) {
        char what[32];
        const tn_tensor *from = tn_named_find(in, "%lld", (long long)i);
        snprintf(what, sizeof what, "\"%lld\"", (long long)i);
        if (!from)
            tn_fail(TN_ERR_ARGUMENT, "%s: %s is missing", in->op, what);
        to[i] = from ? tn_named_copy(in, from, e->averages[i], what) : NULL;
        if (!to[i])
            return false;
    }
    return tn_named_done(in, "average");
}

tn_status tn_load_ema_state(tn_ema *e, const tn_dict *dict)
{
    if (!ready("load_ema_state", e))
        return tn_last_status();
    tn_named in;
    int64_t n_averaged, swapped;
    size_t size = (size_t)e->count * sizeof(tn_tensor *);
    tn_tensor **read = tn_alloc_zero(size);
    if (tn_named_begin(&in, "load_ema_state", dict) && read && tn_named_get_count(&in, &n_averaged, "n_averaged") &&
        tn_named_get_int(&in, &swapped, TN_NAMED_SCALAR, "swapped") && read_averages(e, &in, read)) {
        for (int64_t i = 0; i < e->count; i++) {
            tn_tensor *former = e->averages[i];
            e->averages[i] = read[i];
            read[i] = former;
        }
        e->n_averaged = n_averaged;
        e->swapped = swapped != 0;
    }
    for (int64_t i = 0; read && i < e->count; i++)
        tn_release(read[i]);
    tn_free(read, size);
    tn_named_end(&in);
    return tn_last_status();
}
