/* The optimiser: its groups, its options, its step. What differs between the methods is in methods.c. */
#include "optim/optim.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include <tenon/ops.h>

#include "kernels/graph.h"
#include "optim/sweep.h"

static void optim_free(void *self)
{
    tn_optim *o = self;
    for (int i = 0; i < o->count; i++) {
        tn_release(o->slots[i].param);
        for (int k = 0; k < TN_STEP_STATES; k++)
            tn_release(o->slots[i].state[k]);
    }
    for (int g = 0; g < o->group_count; g++)
        tn_free(o->groups[g].args, o->method->args_size);
    tn_free(o->slots, (size_t)o->count * sizeof *o->slots);
    tn_free(o->groups, (size_t)o->group_count * sizeof *o->groups);
    tn_free(o->defaults, o->method->args_size);
}

static const tn_class optim_class = {"optim", sizeof(tn_optim), optim_free};

/* ---- options ------------------------------------------------------------------------------------------------------------ */

const tn_option *tn_option_find(const tn_method *method, const char *name)
{
    for (const tn_option *option = method->options; option->name; option++)
        if (!strcmp(option->name, name))
            return option;
    return NULL;
}

double tn_option_get(const void *args, const tn_option *option)
{
    const char *at = (const char *)args + option->offset;
    int whole;
    double value;
    switch (option->type) {
    case TN_OPTION_DOUBLE: memcpy(&value, at, sizeof value); return value;
    case TN_OPTION_BOOL: return *(const bool *)at;
    default: memcpy(&whole, at, sizeof whole); return whole;
    }
}

void tn_option_set(void *args, const tn_option *option, double value)
{
    char *at = (char *)args + option->offset;
    int whole = value >= INT_MIN && value <= INT_MAX ? (int)value : 0;
    switch (option->type) {
    case TN_OPTION_DOUBLE: memcpy(at, &value, sizeof value); break;
    case TN_OPTION_BOOL: *(bool *)at = value != 0; break;
    default: memcpy(at, &whole, sizeof whole);
    }
}

/* The range of an option, which is the same in every method that has it. */
static bool value_fits(const char *method, const tn_option *option, double value)
{
    static const char *const any_sign[] = {"dampening", "ns_a", "ns_b", "ns_c"};
    const char *name = option->name;
    bool beta = !strcmp(name, "beta1") || !strcmp(name, "beta2"), rho = !strcmp(name, "rho"), negative = false;
    for (int i = 0; i < TN_COUNT(any_sign); i++)
        negative = negative || !strcmp(name, any_sign[i]);
    if (!isfinite(value) || (value < 0 && !negative))
        tn_fail(TN_ERR_ARGUMENT, "%s: %s is %g: %s is needed", method, name, value, negative ? "a finite number" : "0 or more");
    else if (beta && value >= 1)
        tn_fail(TN_ERR_ARGUMENT, "%s: %s is %g: it must be below 1", method, name, value);
    else if (rho && value > 1)
        tn_fail(TN_ERR_ARGUMENT, "%s: %s is %g: it must be at most 1", method, name, value);
    else if (option->type == TN_OPTION_BOOL && value != 0 && value != 1)
        tn_fail(TN_ERR_ARGUMENT, "%s: %s is %g: 0 or 1 is needed", method, name, value);
    else if (option->type >= TN_OPTION_INT && (value != floor(value) || value > INT32_MAX))
        tn_fail(TN_ERR_ARGUMENT, "%s: %s is %g: a whole number is needed", method, name, value);
    return !tn_failing();
}

bool tn_options_fit(const tn_method *method, const void *args)
{
    for (const tn_option *option = method->options; option->name; option++)
        if (!value_fits(method->name, option, tn_option_get(args, option)))
            return false;
    return !method->check || method->check(args);
}

unsigned tn_states_used(const tn_method *method, const void *args)
{
    unsigned all = 0;
    for (int k = 0; k < TN_STEP_STATES; k++)
        all |= method->states[k] ? 1u << k : 0;
    return method->uses ? method->uses(args) : all;
}

/* A copy of an options struct, without its list of parameters; NULL on no memory. */
static void *copy_args(const tn_method *method, const void *args)
{
    char *copy = tn_alloc(method->args_size);
    if (copy) {
        memcpy(copy, args, method->args_size);
        memset(copy + method->params_offset, 0, sizeof(const tn_list *));
    }
    return copy;
}

/* ---- groups ------------------------------------------------------------------------------------------------------------- */

/* Whether x can be parameter i after those before it. */
static bool param_fits(const tn_method *method, const tn_slot *slots, int i, const tn_tensor *x)
{
    const char *name = method->name;
    if (x->grad_fn)
        tn_fail(TN_ERR_ARGUMENT, "%s: parameter %d, %s, is the result of an operator: it would never change", name, i, tn_text(x));
    else if (x->dtype != TN_F32 && x->dtype != TN_F64)
        tn_fail(TN_ERR_DTYPE, "%s: parameter %d is %s: float32 or float64 is needed", name, i, tn_dtype_name((tn_dtype)x->dtype));
    else if (method->direction && x->ndim != 2)
        tn_fail(TN_ERR_SHAPE, "%s: parameter %d is %s: it takes matrices alone; give the others to adamw", name, i, tn_text(x));
    for (int j = 0; j < i; j++)
        if (slots[j].param == x)
            tn_fail(TN_ERR_ARGUMENT, "%s: parameters %d and %d are the same tensor", name, j, i);
    return !tn_failing();
}

/* An array of count + more elements with the first ones copied and the others cleared; NULL on no memory. */
static void *grown(const void *old, int count, int64_t more, size_t element)
{
    char *array = tn_alloc_zero(((size_t)count + (size_t)more) * element);
    if (array && count)
        memcpy(array, old, (size_t)count * element);
    return array;
}

static void take_group(tn_optim *o, tn_group *groups, tn_slot *slots, void *args, int more)
{
    groups[o->group_count] = (tn_group){.args = args, .first = o->count, .count = more, .initial_lr = NAN};
    for (int i = o->count; i < o->count + more; i++) {
        tn_retain(slots[i].param);
        slots[i].now.mu_product = 1;
    }
    tn_free(o->groups, (size_t)o->group_count * sizeof *groups);
    tn_free(o->slots, (size_t)o->count * sizeof *slots);
    o->groups = groups;
    o->slots = slots;
    o->group_count++;
    o->count += more;
}

static bool has_params(const tn_method *method, const tn_list *params, int already)
{
    int64_t count = tn_list_count(params);
    if (!count)
        tn_fail(TN_ERR_ARGUMENT, "%s: params is %s: there is nothing to train", method->name, params ? "an empty list" : "NULL");
    else if (count > INT32_MAX - already)
        tn_fail(TN_ERR_ARGUMENT, "%s: %lld parameters are too many", method->name, (long long)count);
    return !tn_failing();
}

/* Adds a group of these, of which there are some, with a copy of these options, which fit. */
static tn_status add_group(tn_optim *o, const tn_list *params, const void *options)
{
    int64_t more = tn_list_count(params);
    tn_group *groups = grown(o->groups, o->group_count, 1, sizeof *groups);
    tn_slot *slots = groups ? grown(o->slots, o->count, more, sizeof *slots) : NULL;
    void *args = slots ? copy_args(o->method, options) : NULL;
    bool good = args != NULL;
    for (int i = 0; good && i < (int)more; i++) {
        tn_tensor *x = tn_list_at(params, i);
        good = x && param_fits(o->method, slots, o->count + i, x);
        slots[o->count + i].param = x;
    }
    if (good) {
        take_group(o, groups, slots, args, (int)more);
        return TN_OK;
    }
    tn_free(args, o->method->args_size);
    tn_free(slots, ((size_t)o->count + (size_t)more) * sizeof *slots);
    tn_free(groups, ((size_t)o->group_count + 1) * sizeof *groups);
    return tn_last_status();
}

tn_optim *tn_optim_make(const tn_method *method, const void *args)
{
    const tn_list *params = NULL;
    memcpy(&params, (const char *)args + method->params_offset, sizeof params);
    if (tn_failing() || !has_params(method, params, 0))
        return NULL;
    double lr = tn_option_get(args, &method->options[0]);
    if (lr <= 0)
        return tn_fail(TN_ERR_ARGUMENT, "%s: lr is %g: it must be above 0 (tn_set_lr takes 0 too)", method->name, lr);
    if (!tn_options_fit(method, args))
        return NULL;
    tn_optim *o = tn_object_new(&optim_class);
    if (!o)
        return NULL;
    o->method = method;
    o->defaults = copy_args(method, args);
    if (o->defaults && add_group(o, params, o->defaults) == TN_OK)
        return o;
    tn_release(o);
    return NULL;
}

/* Puts the options that were said into the group's copy of the method's. */
static bool take_options(const tn_method *method, void *options, const tn_group_args *args)
{
#define ROW(type, name, value) {#name, offsetof(tn_group_args, name), TN_OPTION_DOUBLE},
    static const tn_option said[] = {TN_GROUP_OPTIONS(ROW)};
#undef ROW
    for (int i = 0; i < TN_COUNT(said); i++) {
        double value = tn_option_get(args, &said[i]);
        if (isnan(value))
            continue;
        const tn_option *option = tn_option_find(method, said[i].name);
        if (!option)
            tn_fail(TN_ERR_ARGUMENT, "add_param_group: %s has no option %s", method->name, said[i].name);
        else if (value_fits(method->name, option, value))
            tn_option_set(options, option, value);
    }
    return !tn_failing() && tn_options_fit(method, options);
}

tn_status tn_add_param_group_with(const tn_group_args *args)
{
    TN_KNOWN(tn_group_args, args);
    if (tn_failing())
        return tn_last_status();
    tn_optim *o = args->optim;
    if (!o) {
        tn_fail(TN_ERR_ARGUMENT, "add_param_group: the optimiser is NULL");
        return TN_ERR_ARGUMENT;
    }
    void *options = has_params(o->method, args->params, o->count) ? copy_args(o->method, o->defaults) : NULL;
    if (options && take_options(o->method, options, args))
        add_group(o, args->params, options);
    tn_free(options, o->method->args_size);
    return tn_last_status();
}

int tn_num_param_groups(const tn_optim *o) { return o ? o->group_count : 0; }

static const tn_option *group_option(const char *op, const tn_optim *o, int group, const char *name)
{
    if (tn_failing())
        return NULL;
    if (!o || !name)
        return tn_fail(TN_ERR_ARGUMENT, "%s: the %s is NULL", op, o ? "option" : "optimiser");
    if (group < 0 || group >= o->group_count)
        return tn_fail(TN_ERR_INDEX, "%s: group %d is out of range for %d", op, group, o->group_count);
    const tn_option *option = tn_option_find(o->method, name);
    return option ? option : tn_fail(TN_ERR_ARGUMENT, "%s: %s has no option %s", op, o->method->name, name);
}

double tn_get_group_option(const tn_optim *o, int group, const char *name)
{
    const tn_option *option = group_option("get_group_option", o, group, name);
    return option ? tn_option_get(o->groups[group].args, option) : NAN;
}

tn_status tn_set_group_option(tn_optim *o, int group, const char *name, double value)
{
    const tn_option *option = group_option("set_group_option", o, group, name);
    if (!option || !value_fits(o->method->name, option, value))
        return tn_last_status();
    void *args = o->groups[group].args;
    double before = tn_option_get(args, option);
    tn_option_set(args, option, value);
    if (!tn_options_fit(o->method, args))
        tn_option_set(args, option, before);
    return tn_last_status();
}

double tn_get_lr(const tn_optim *o) { return o ? tn_option_get(o->groups[0].args, &o->method->options[0]) : NAN; }

tn_status tn_set_lr(tn_optim *o, double lr)
{
    if (tn_failing())
        return tn_last_status();
    if (!o)
        tn_fail(TN_ERR_ARGUMENT, "set_lr: the optimiser is NULL");
    else if (value_fits(o->method->name, &o->method->options[0], lr))
        for (int g = 0; g < o->group_count; g++)
            tn_option_set(o->groups[g].args, &o->method->options[0], lr);
    return tn_last_status();
}

/* ---- a step ------------------------------------------------------------------------------------------------------------- */

/* Makes the states in use that are not there yet. */
static bool need_states(const tn_method *method, const void *args, unsigned used, tn_slot *s)
{
    const tn_tensor *x = s->param;
    for (int k = 0; k < TN_STEP_STATES; k++) {
        const tn_tensor *state = s->state[k];
        if (state && state->dtype != x->dtype) {
            tn_fail(TN_ERR_DTYPE, "step: a parameter is %s now and was %s at the first step: make a new optimiser after a cast",
                    tn_dtype_name((tn_dtype)x->dtype), tn_dtype_name((tn_dtype)state->dtype));
            return false;
        }
        if (state && !tn_same_device(state->storage->device, x->storage->device)) {
            tn_fail(TN_ERR_DEVICE, "step: a parameter is on %s now and was on %s at the first step: move the model before it",
                    tn_device_text(x->storage->device), tn_device_text(state->storage->device));
            return false;
        }
        if (state || !(used >> k & 1))
            continue;
        if (tn_captures(x->storage->device)) {
            tn_fail(TN_ERR_STATE, "step: an optimiser's first step makes its states: take one before a graph is captured");
            return false;
        }
        tn_shape_args like = {.size = sizeof like, .dtype = (tn_dtype)x->dtype, .device = &x->storage->device, .shape = tn_shape_of(x),
                              .value = method->start ? method->start(args) : 0};
        s->state[k] = tn_keep(tn_full_with(&like));
        if (!s->state[k])
            return false;
    }
    return true;
}

/* Lays out one parameter's update. */
static bool add_slot(tn_sweep *sweep, const tn_method *method, const void *args, tn_slot *s)
{
    unsigned used = tn_states_used(method, args);
    tn_step_item *item = tn_sweep_add(sweep, s->param, s->param->grad);
    if (!item || !need_states(method, args, used, s))
        return false;
    for (int k = 0; k < TN_STEP_STATES; k++)
        item->state[k] = used >> k & 1 ? tn_ptr(s->state[k]) : NULL;
    if (method->direction) {
        tn_tensor *direction = method->direction(args, s->param->grad, s->state[0]);
        if (!direction)
            return false;
        item->state[1] = tn_ptr(direction);
    }
    s->next = s->now;
    s->next.step++;
    method->scalars(args, &s->next, &item->c);
    s->next.begun |= used;
    return true;
}

/* A replayed graph's step of the parameters at places. */
static void step_again(void *object, const int *places, int count, tn_step_scalars *scalars)
{
    tn_optim *o = object;
    for (int i = 0; i < count; i++) {
        tn_slot *s = &o->slots[places[i]];
        const tn_group *group = o->groups;
        while (places[i] >= group->first + group->count)
            group++;
        scalars[i] = (tn_step_scalars){.sign = 1, .shrink = 1};
        s->now.step++;
        o->method->scalars(group->args, &s->now, &scalars[i]);
        s->now.begun |= tn_states_used(o->method, group->args);
    }
}

/* The step was recorded, not done. */
static void note_captured(tn_optim *o)
{
    int count = 0, *places = tn_alloc((size_t)o->count * sizeof *places);
    for (int i = 0; places && i < o->count; i++)
        if (o->slots[i].param->grad)
            places[count++] = i;
    if (places)
        (void)!tn_capture_step(o, step_again, places, count);
    tn_free(places, (size_t)o->count * sizeof *places);
}

static void step(tn_optim *o, tn_sweep *sweep)
{
    for (int g = 0; g < o->group_count; g++) {
        const tn_group *group = &o->groups[g];
        for (int i = group->first; i < group->first + group->count; i++)
            if (o->slots[i].param->grad && !add_slot(sweep, o->method, group->args, &o->slots[i]))
                return;
    }
    if (tn_sweep_run(sweep, o->method->op) != TN_OK)
        return;
    if (sweep->count && tn_captures(sweep->targets[0]->storage->device)) {
        note_captured(o);
        return;
    }
    for (int i = 0; i < o->count; i++)
        if (o->slots[i].param->grad)
            o->slots[i].now = o->slots[i].next;
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
    tn_sweep sweep;
    if (tn_sweep_begin(&sweep, o->count))
        step(o, &sweep);
    tn_sweep_end(&sweep);
    return tn_last_status();
}

void tn_zero_grad(tn_optim *o)
{
    for (int i = 0; o && i < o->count; i++) {
        tn_release(o->slots[i].param->grad);
        o->slots[i].param->grad = NULL;
    }
}
