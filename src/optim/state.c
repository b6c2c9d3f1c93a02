/* An optimiser's state as named tensors, and back. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "optim/named.h"
#include "optim/optim.h"

/* ---- options as a file has them ------------------------------------------------------------------------------------------- */

enum { TOGETHER = 3 };

/* PyTorch's tuples are options one by one here. Gives how many of them, from this one on, stand under one name, and the name. */
static int together(const tn_option *option, const char **name)
{
    static const struct {
        const char *first, *name;
        int count;
    } tuples[] = {{"beta1", "betas", 2}, {"ns_a", "ns_coefficients", TOGETHER}};
    *name = option->name;
    for (int i = 0; i < TN_COUNT(tuples); i++)
        if (!strcmp(option->name, tuples[i].first)) {
            *name = tuples[i].name;
            return tuples[i].count;
        }
    return 1;
}

static const char *const adjustments[] = {"original", "match_rms_adamw", "spectral_unclamped"}; /* in the order of tn_adjust_lr */
/* Of PyTorch's groups: how it computes, and what its OneCycleLR and CyclicLR keep there. */
static const char *const passed_by[] = {"foreach", "fused", "capturable", "differentiable", "max_lr", "min_lr", "max_momentum", "base_momentum"};

/* ---- out ---------------------------------------------------------------------------------------------------------------- */

static bool put_slot(tn_dict *dict, const tn_method *method, const tn_slot *s, int i)
{
    double step = (double)s->now.step;
    if (!s->now.begun && !s->now.step)
        return true;
    for (int k = 0; k < TN_STEP_STATES; k++)
        if (s->now.begun >> k & 1 && !tn_named_put(dict, s->state[k], "state.%d.%s", i, method->states[k]))
            return false;
    return (!method->step || tn_named_put_double(dict, &step, TN_NAMED_SCALAR, "state.%d.step", i)) &&
           (!method->mu_product || tn_named_put_double(dict, &s->now.mu_product, TN_NAMED_SCALAR, "state.%d.mu_product", i));
}

/* The numbers of a group's parameters; NULL on no memory. */
static int64_t *members(const tn_group *group)
{
    int64_t *numbers = tn_alloc((size_t)group->count * sizeof *numbers);
    for (int i = 0; numbers && i < group->count; i++)
        numbers[i] = group->first + i;
    return numbers;
}

/* One option, or `count` of them together. */
static bool put_option(tn_dict *dict, const void *args, const tn_option *option, int count, const char *name, int g)
{
    double values[TOGETHER];
    for (int k = 0; k < count; k++)
        values[k] = tn_option_get(args, &option[k]);
    int64_t whole = option->type == TN_OPTION_DOUBLE ? 0 : (int64_t)values[0];
    switch (option->type) {
    case TN_OPTION_BOOL: return tn_named_put_bool(dict, whole != 0, "param_groups.%d.%s", g, name);
    case TN_OPTION_INT: return tn_named_put_int(dict, &whole, TN_NAMED_SCALAR, "param_groups.%d.%s", g, name);
    case TN_OPTION_ADJUST_LR: return tn_named_put_note(dict, adjustments[whole], "param_groups.%d.%s", g, name);
    default: return tn_named_put_double(dict, values, count > 1 ? count : TN_NAMED_SCALAR, "param_groups.%d.%s", g, name);
    }
}

static bool put_group(tn_dict *dict, const tn_method *method, const tn_group *group, int g)
{
    const char *name;
    int count;
    for (const tn_option *option = method->options; option->name; option += count) {
        count = together(option, &name);
        if (!put_option(dict, group->args, option, count, name, g))
            return false;
    }
    if (method->always && !tn_named_put_bool(dict, true, "param_groups.%d.%s", g, method->always))
        return false;
    if (!isnan(group->initial_lr) &&
        !tn_named_put_double(dict, &group->initial_lr, TN_NAMED_SCALAR, "param_groups.%d.initial_lr", g))
        return false;
    int64_t *numbers = members(group);
    bool good = numbers && tn_named_put_int(dict, numbers, group->count, "param_groups.%d.params", g);
    tn_free(numbers, (size_t)group->count * sizeof *numbers);
    return good;
}

tn_dict *tn_optim_state_dict(const tn_optim *o)
{
    if (tn_failing())
        return NULL;
    if (!o)
        return tn_fail(TN_ERR_ARGUMENT, "optim_state_dict: the optimiser is NULL");
    tn_dict *dict = tn_adopt(tn_dict_new());
    for (int i = 0; dict && i < o->count; i++)
        dict = put_slot(dict, o->method, &o->slots[i], i) ? dict : NULL;
    for (int g = 0; dict && g < o->group_count; g++)
        dict = put_group(dict, o->method, &o->groups[g], g) ? dict : NULL;
    return dict;
}

/* ---- in: all is read aside, then takes the place of what is there ---------------------------------------------------------- */

typedef struct aside {
    tn_slot *slots;     /* [count]: states and progress alone */
    char *args;         /* [group_count] options structs */
    double *initial_lr; /* [group_count] */
} aside;

static bool aside_begin(aside *a, const tn_optim *o)
{
    a->slots = tn_alloc_zero((size_t)o->count * sizeof *a->slots);
    a->args = a->slots ? tn_alloc((size_t)o->group_count * o->method->args_size) : NULL;
    a->initial_lr = a->args ? tn_alloc((size_t)o->group_count * sizeof *a->initial_lr) : NULL;
    return a->initial_lr != NULL;
}

static void aside_end(aside *a, const tn_optim *o)
{
    for (int i = 0; a->slots && i < o->count; i++)
        for (int k = 0; k < TN_STEP_STATES; k++)
            tn_release(a->slots[i].state[k]);
    tn_free(a->slots, (size_t)o->count * sizeof *a->slots);
    tn_free(a->args, (size_t)o->group_count * o->method->args_size);
    tn_free(a->initial_lr, (size_t)o->group_count * sizeof *a->initial_lr);
}

static bool same_members(tn_named *in, const tn_group *group, int g)
{
    int64_t *due = members(group), *read = due ? tn_alloc((size_t)group->count * sizeof *read) : NULL;
    bool good = read && tn_named_get_int(in, read, group->count, "param_groups.%d.params", g);
    if (good && memcmp(due, read, (size_t)group->count * sizeof *read) != 0)
        tn_fail(TN_ERR_ARGUMENT, "%s: the parameters of group %d are others: the groups were made in another order", in->op, g);
    tn_free(read, (size_t)group->count * sizeof *read);
    tn_free(due, (size_t)group->count * sizeof *due);
    return good && !tn_failing();
}

/* The word's place among the adjustments; without a word, PyTorch's None, it is the first. False with an error. */
static bool get_adjustment(const tn_named *in, double *value, const char *name, int g)
{
    const char *word = tn_named_note(in, "param_groups.%d.%s", g, name);
    for (*value = 0; word && *value < TN_COUNT(adjustments); ++*value)
        if (!strcmp(word, adjustments[(int)*value]))
            return true;
    if (word)
        tn_fail(TN_ERR_ARGUMENT, "%s: \"param_groups.%d.%s\" is \"%s\": no such value is possible", in->op, g, name, word);
    return !word;
}

/* One option, or `count` of them together; a switch that is not there is off, as those are that PyTorch had not yet. */
static bool get_option(tn_named *in, void *args, const tn_option *option, int count, const char *name, int g)
{
    double values[TOGETHER] = {0};
    bool good = true;
    if (option->type == TN_OPTION_ADJUST_LR)
        good = get_adjustment(in, values, name, g);
    else if (option->type != TN_OPTION_BOOL || tn_named_find(in, "param_groups.%d.%s", g, name))
        good = tn_named_get_double(in, values, count > 1 ? count : TN_NAMED_SCALAR, "param_groups.%d.%s", g, name);
    for (int k = 0; good && k < count; k++) {
        tn_option_set(args, &option[k], values[k]);
        good = tn_option_get(args, &option[k]) == values[k];
        if (!good)
            tn_fail(TN_ERR_ARGUMENT, "%s: \"param_groups.%d.%s\" is %g: no such value is possible", in->op, g, name, values[k]);
    }
    return good;
}

/* What of PyTorch's groups is no option here. */
static bool get_others(tn_named *in, const tn_method *method, int g)
{
    double on = 1;
    for (int i = 0; i < TN_COUNT(passed_by); i++)
        tn_named_find(in, "param_groups.%d.%s", g, passed_by[i]);
    if (method->always && tn_named_find(in, "param_groups.%d.%s", g, method->always) &&
        !tn_named_get_double(in, &on, TN_NAMED_SCALAR, "param_groups.%d.%s", g, method->always))
        return false;
    if (on != 1)
        tn_fail(TN_ERR_ARGUMENT, "%s: \"param_groups.%d.%s\" is %g: of %s it is always 1", in->op, g, method->always, on, method->name);
    return on == 1;
}

static bool get_group(tn_named *in, const tn_method *method, const tn_group *group, int g, void *args, double *initial_lr)
{
    const char *name;
    int count;
    memcpy(args, group->args, method->args_size);
    for (const tn_option *option = method->options; option->name; option += count) {
        count = together(option, &name);
        if (!get_option(in, args, option, count, name, g))
            return false;
    }
    if (!get_others(in, method, g))
        return false;
    *initial_lr = NAN;
    if (tn_named_find(in, "param_groups.%d.initial_lr", g) &&
        !tn_named_get_double(in, initial_lr, TN_NAMED_SCALAR, "param_groups.%d.initial_lr", g))
        return false;
    return tn_options_fit(method, args) && same_members(in, group, g);
}

static bool get_numbers(tn_named *in, const tn_method *method, int i, tn_slot_steps *now)
{
    now->step = 0;
    return (!method->step || tn_named_get_count(in, &now->step, "state.%d.step", i)) &&
           (!method->mu_product || tn_named_get_double(in, &now->mu_product, TN_NAMED_SCALAR, "state.%d.mu_product", i));
}

/* One parameter's state: nothing, as before its first step, or all that its options ask for. */
static bool get_slot(tn_named *in, const tn_method *method, const void *args, const tn_tensor *param, int i, tn_slot *to)
{
    unsigned used = tn_states_used(method, args);
    to->now.mu_product = 1;
    for (int k = 0; k < TN_STEP_STATES; k++) {
        char what[64];
        const tn_tensor *from = used >> k & 1 ? tn_named_find(in, "state.%d.%s", i, method->states[k]) : NULL;
        if (!from)
            continue;
        snprintf(what, sizeof what, "\"state.%d.%s\"", i, method->states[k]);
        to->state[k] = tn_named_copy(in, from, param, what);
        if (!to->state[k])
            return false;
        to->now.begun |= 1u << k;
    }
    bool stepped = to->now.begun || (method->step && tn_named_find(in, "state.%d.step", i));
    for (int k = 0; stepped && k < TN_STEP_STATES; k++)
        if ((used & ~to->now.begun) >> k & 1) {
            tn_fail(TN_ERR_ARGUMENT, "%s: \"state.%d.%s\" is missing", in->op, i, method->states[k]);
            return false;
        }
    return !stepped || get_numbers(in, method, i, &to->now);
}

static void take(tn_optim *o, aside *a)
{
    for (int g = 0; g < o->group_count; g++) {
        memcpy(o->groups[g].args, a->args + (size_t)g * o->method->args_size, o->method->args_size);
        o->groups[g].initial_lr = a->initial_lr[g];
    }
    for (int i = 0; i < o->count; i++) {
        tn_slot *s = &o->slots[i], former = *s;
        memcpy(s->state, a->slots[i].state, sizeof s->state);
        s->now = a->slots[i].now;
        memcpy(a->slots[i].state, former.state, sizeof former.state);
    }
}

tn_status tn_load_optim_state(tn_optim *o, const tn_dict *dict)
{
    if (tn_failing())
        return tn_last_status();
    if (!o) {
        tn_fail(TN_ERR_ARGUMENT, "load_optim_state: the optimiser is NULL");
        return TN_ERR_ARGUMENT;
    }
    tn_named in;
    aside a = {0};
    bool good = tn_named_begin(&in, "load_optim_state", dict) && aside_begin(&a, o);
    for (int g = 0; good && g < o->group_count; g++) {
        const tn_group *group = &o->groups[g];
        char *args = a.args + (size_t)g * o->method->args_size;
        good = get_group(&in, o->method, group, g, args, &a.initial_lr[g]);
        for (int i = group->first; good && i < group->first + group->count; i++)
            good = get_slot(&in, o->method, args, o->slots[i].param, i, &a.slots[i]);
    }
    if (good && tn_named_done(&in, o->method->name))
        take(o, &a);
    aside_end(&a, o);
    tn_named_end(&in);
    return tn_last_status();
}
