/* Schedules: the object, its steps, its state. */
#include "optim/schedule.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "optim/named.h"

static void schedule_free(void *self)
{
    tn_schedule *s = self;
    size_t size = (size_t)s->groups * sizeof(double);
    double *const arrays[] = {s->base_lrs, s->spare, s->rates, s->momenta, s->low, s->high};
    for (int i = 0; i < TN_COUNT(arrays); i++)
        tn_free(arrays[i], size);
    for (int i = 0; i < s->schedule_count; i++)
        tn_release(s->schedules[i]);
    tn_free(s->milestones, (size_t)s->milestone_count * sizeof *s->milestones);
    tn_free(s->schedules, (size_t)s->schedule_count * sizeof(void *));
    tn_release(s->optim);
}

static const tn_class schedule_class = {"schedule", sizeof(tn_schedule), schedule_free};

/* ---- making ------------------------------------------------------------------------------------------------------------- */

tn_schedule *tn_schedule_make(const tn_law *law, tn_optim *o)
{
    if (tn_failing())
        return NULL;
    if (!o)
        return tn_fail(TN_ERR_ARGUMENT, "%s: the optimiser is NULL", law->name);
    tn_schedule *s = tn_object_new(&schedule_class);
    if (!s)
        return NULL;
    s->law = law;
    s->optim = tn_retain(o);
    s->groups = o->group_count;
    double **const arrays[] = {&s->base_lrs, &s->spare, &s->rates, &s->momenta};
    for (int i = 0; i < TN_COUNT(arrays); i++)
        *arrays[i] = tn_alloc((size_t)s->groups * sizeof(double));
    return s;
}

bool tn_schedule_must(bool holds, const tn_law *law, const char *what, double value, const char *rule)
{
    if (!holds)
        tn_fail(TN_ERR_ARGUMENT, "%s: %s is %g: %s", law->name, what, value, rule);
    return holds;
}

void *tn_schedule_copy(const void *numbers, int64_t n)
{
    void *copy = tn_alloc((size_t)n * 8);
    return copy ? memcpy(copy, numbers, (size_t)n * 8) : NULL;
}

/* ---- steps -------------------------------------------------------------------------------------------------------------- */

/* What is cycled as the momentum; NULL where the method has none. */
static const tn_option *momentum_of(const tn_optim *o)
{
    const tn_option *beta1 = tn_option_find(o->method, "beta1");
    return beta1 ? beta1 : tn_option_find(o->method, "momentum");
}

static void set_rates(tn_schedule *s, bool anew)
{
    const tn_option *momentum = s->cycles ? momentum_of(s->optim) : NULL;
    if (s->cycles && !momentum)
        tn_fail(TN_ERR_ARGUMENT, "%s: %s has no momentum to cycle: .cycle_momentum = false leaves it", s->law->name,
                s->optim->method->name);
    s->anew = anew;
    for (int g = 0; g < s->groups && !tn_failing(); g++) {
        double lr = s->law->rate(s, g, anew ? s->base_lrs[g] : tn_group_lr(s->optim, g));
        if (!tn_schedule_must(isfinite(lr) && lr >= 0, s->law, "a learning rate", lr, "0 or more is needed"))
            return;
        tn_group_set_lr(s->optim, g, lr);
        if (momentum)
            tn_option_set(s->optim->groups[g].args, momentum, s->law->momentum(s));
    }
}

void tn_schedule_begin(tn_schedule *s, bool anew)
{
    s->now.last_epoch = 0;
    if (s->law->begin)
        s->law->begin(s, anew);
    if (s->law->rate)
        set_rates(s, anew);
}

void tn_schedule_advance(tn_schedule *s)
{
    s->now.last_epoch++;
    if (s->law->advance)
        s->law->advance(s);
    if (s->law->rate)
        set_rates(s, false);
}

static void remember(tn_schedule *s)
{
    s->other = s->now;
    for (int i = 0; i < s->schedule_count; i++)
        remember(s->schedules[i]);
}

static void take_back(tn_schedule *s)
{
    s->now = s->other;
    for (int i = 0; i < s->schedule_count; i++)
        take_back(s->schedules[i]);
}

/* Begins or advances; on failure nothing has changed. */
static tn_status guarded(tn_schedule *s, void (*move)(tn_schedule *s))
{
    tn_optim *o = s->optim;
    const tn_option *momentum = momentum_of(o);
    remember(s);
    for (int g = 0; g < s->groups; g++) {
        s->rates[g] = tn_group_lr(o, g);
        s->momenta[g] = momentum ? tn_option_get(o->groups[g].args, momentum) : 0;
    }
    move(s);
    if (!tn_failing())
        return TN_OK;
    take_back(s);
    for (int g = 0; g < s->groups; g++) {
        tn_group_set_lr(o, g, s->rates[g]);
        if (momentum)
            tn_option_set(o->groups[g].args, momentum, s->momenta[g]);
    }
    return tn_last_status();
}

static void begin(tn_schedule *s) { tn_schedule_begin(s, false); }

tn_schedule *tn_schedule_start(tn_schedule *s)
{
    if (!s)
        return NULL;
    for (int g = 0; s->law->rate && g < s->groups && !tn_failing(); g++) {
        tn_group *group = &s->optim->groups[g];
        group->initial_lr = isnan(group->initial_lr) ? tn_group_lr(s->optim, g) : group->initial_lr;
        s->base_lrs[g] = group->initial_lr;
    }
    if (!tn_failing() && guarded(s, begin) == TN_OK)
        return s;
    tn_release(s);
    return NULL;
}

static bool ready(const char *op, const tn_schedule *s)
{
    if (tn_failing())
        return false;
    if (!s)
        tn_fail(TN_ERR_ARGUMENT, "%s: the schedule is NULL", op);
    else if (s->groups != s->optim->group_count)
        tn_fail(TN_ERR_STATE, "%s: the optimiser has %d groups now and had %d when %s was made", op, s->optim->group_count, s->groups,
                s->law->name);
    return !tn_failing();
}

tn_status tn_schedule_step(tn_schedule *s)
{
    if (!ready("schedule_step", s))
        return tn_last_status();
    if (!s->law->measured)
        return guarded(s, tn_schedule_advance);
    tn_fail(TN_ERR_STATE, "schedule_step: %s waits for a measure: tn_schedule_step_metric() gives it", s->law->name);
    return TN_ERR_STATE;
}

tn_status tn_schedule_step_metric(tn_schedule *s, double metric)
{
    if (!ready("schedule_step_metric", s))
        return tn_last_status();
    s->metric = metric;
    return guarded(s, tn_schedule_advance);
}

int64_t tn_last_epoch(const tn_schedule *s)
{
    if (!s)
        tn_fail(TN_ERR_ARGUMENT, "last_epoch: the schedule is NULL");
    return s ? s->now.last_epoch : -1;
}

/* ---- state -------------------------------------------------------------------------------------------------------------- */

enum { PREFIX_SIZE = 160 };

/* The names of schedule i begin with this; false with an error when it is too long. */
static bool make_prefix(char *text, const char *prefix, int i)
{
    if (snprintf(text, PREFIX_SIZE, "%s_schedulers.%d.", prefix, i) < PREFIX_SIZE)
        return true;
    tn_fail(TN_ERR_ARGUMENT, "schedule_state_dict: the schedules are nested too deeply");
    return false;
}

static bool put(tn_dict *dict, const tn_schedule *s, const char *prefix)
{
    bool good = tn_named_put_note(dict, s->law->name, "%slaw", prefix) &&
                tn_named_put_int(dict, &s->now.last_epoch, TN_NAMED_SCALAR, "%slast_epoch", prefix) &&
                (!s->law->rate || tn_named_put_double(dict, s->base_lrs, s->groups, "%sbase_lrs", prefix));
    for (int i = 0; good && i < TN_LAW_NUMBERS && s->law->numbers[i]; i++)
        good = tn_named_put_double(dict, &s->now.number[i], TN_NAMED_SCALAR, "%s%s", prefix, s->law->numbers[i]);
    for (int i = 0; good && i < s->schedule_count; i++) {
        char inner[PREFIX_SIZE];
        good = make_prefix(inner, prefix, i) && put(dict, s->schedules[i], inner);
    }
    return good;
}

tn_dict *tn_schedule_state_dict(const tn_schedule *s)
{
    if (!ready("schedule_state_dict", s))
        return NULL;
    tn_dict *dict = tn_adopt(tn_dict_new());
    return dict && put(dict, s, "") ? dict : NULL;
}

/* Whether the state is one of the law: its note says so, or it has what PyTorch's has, which is passed by. False with an error. */
static bool of_its_law(tn_named *in, const tn_schedule *s, const char *prefix)
{
    static const char *const passed_by[] = {"_step_count", "_is_initial", "_get_lr_called_within_step", "_last_lr", "verbose"};
    const char *law = tn_named_note(in, "%slaw", prefix), *const *fields = s->law->fields;
    if (law && strcmp(law, s->law->name) != 0)
        tn_fail(TN_ERR_ARGUMENT, "%s: \"%slaw\" is \"%s\", and this schedule is %s", in->op, prefix, law, s->law->name);
    for (int i = 0; !law && i < TN_COUNT(passed_by); i++)
        tn_named_pass(in, prefix, passed_by[i]);
    for (int i = 0; !law && i < TN_LAW_FIELDS && fields[i]; i++)
        if (!tn_named_pass(in, prefix, fields[i]) && i == 0)
            tn_fail(TN_ERR_ARGUMENT, "%s: this is no state of %s: neither a note \"%slaw\" nor PyTorch's \"%s%s\" is there", in->op,
                    s->law->name, prefix, prefix, fields[i]);
    return !tn_failing();
}

/* In PyTorch's states one whose turn in a sequence has not come is at -1, and a chain is where its first schedule is. */
static bool get_epoch(tn_named *in, tn_schedule *s, const char *prefix)
{
    const tn_tensor *epoch = tn_named_find(in, "%slast_epoch", prefix);
    s->other.last_epoch = s->schedule_count ? s->schedules[0]->other.last_epoch : 0;
    if (epoch ? *prefix && epoch->numel == 1 && tn_item(epoch) == -1 : s->schedule_count)
        return true;
    return tn_named_get_count(in, &s->other.last_epoch, "%slast_epoch", prefix);
}

/* Reads into other and spare. */
static bool get(tn_named *in, tn_schedule *s, const char *prefix)
{
    bool good = of_its_law(in, s, prefix) && (!s->law->rate || tn_named_get_double(in, s->spare, s->groups, "%sbase_lrs", prefix));
    for (int i = 0; good && i < TN_LAW_NUMBERS && s->law->numbers[i]; i++)
        good = tn_named_get_double(in, &s->other.number[i], TN_NAMED_SCALAR, "%s%s", prefix, s->law->numbers[i]);
    for (int g = 0; good && s->law->rate && g < s->groups; g++)
        good = tn_schedule_must(isfinite(s->spare[g]) && s->spare[g] >= 0, s->law, "a base rate", s->spare[g], "0 or more is needed");
    for (int i = 0; good && i < s->schedule_count; i++) {
        char inner[PREFIX_SIZE];
        good = make_prefix(inner, prefix, i) && get(in, s->schedules[i], inner);
    }
    return good && get_epoch(in, s, prefix);
}

static void take(tn_schedule *s)
{
    double *former = s->base_lrs;
    s->now = s->other;
    if (s->law->rate) {
        s->base_lrs = s->spare;
        s->spare = former;
    }
    for (int i = 0; i < s->schedule_count; i++)
        take(s->schedules[i]);
}

tn_status tn_load_schedule_state(tn_schedule *s, const tn_dict *dict)
{
    if (!ready("load_schedule_state", s))
        return tn_last_status();
    tn_named in;
    if (tn_named_begin(&in, "load_schedule_state", dict) && get(&in, s, "") && tn_named_done(&in, s->law->name))
        take(s);
    tn_named_end(&in);
    return tn_last_status();
}
