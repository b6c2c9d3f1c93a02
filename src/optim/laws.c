/* The laws of schedules: torch.optim.lr_scheduler's, in its own (chained) form, so that they compose as there. */
#include <math.h>

#include "optim/schedule.h"

static const double pi = 3.14159265358979323846;

/* A new schedule of a law with a copy of its arguments. */
#define MAKE(kind)                                                                                                            \
    TN_KNOWN(tn_##kind##_args, args);                                                                                         \
    tn_schedule *s = tn_schedule_make(&kind##_law, args->optim);                                                              \
    if (s)                                                                                                                    \
        s->args.kind = *args;
/* A rule for one of its arguments; further ones are not looked at once an error sticks. */
#define MUST(kind, condition, name, rule)                                                                                     \
    (void)(s && tn_schedule_must((condition), &kind##_law, #name, (double)args->name, rule))

/* ---- factors ------------------------------------------------------------------------------------------------------------ */

static double step_lr_rate(const tn_schedule *s, int g, double lr)
{
    (void)g;
    const tn_step_lr_args *a = &s->args.step_lr;
    int64_t e = s->now.last_epoch;
    return e == 0 || e % a->step_size != 0 ? lr : lr * a->gamma;
}
static const tn_law step_lr_law = {.name = "step_lr", .rate = step_lr_rate, .fields = {"step_size", "gamma"}};

tn_schedule *tn_step_lr_new_with(const tn_step_lr_args *args)
{
    MAKE(step_lr)
    MUST(step_lr, args->step_size > 0, step_size, "it must be above 0");
    MUST(step_lr, args->gamma >= 0 && isfinite(args->gamma), gamma, "0 or more is needed");
    return tn_schedule_start(s);
}

static double multi_step_lr_rate(const tn_schedule *s, int g, double lr)
{
    (void)g;
    int times = 0;
    for (int i = 0; i < s->milestone_count; i++)
        times += s->milestones[i] == s->now.last_epoch;
    return times ? lr * pow(s->args.multi_step_lr.gamma, times) : lr;
}
static const tn_law multi_step_lr_law = {.name = "multi_step_lr", .rate = multi_step_lr_rate, .fields = {"milestones", "gamma"}};

tn_schedule *tn_multi_step_lr_new_with(const tn_multi_step_lr_args *args)
{
    MAKE(multi_step_lr)
    MUST(multi_step_lr, args->count >= 0 && (args->count == 0 || args->milestones), count, "so many milestones are needed");
    MUST(multi_step_lr, args->gamma >= 0 && isfinite(args->gamma), gamma, "0 or more is needed");
    if (s && !tn_failing()) {
        s->milestones = tn_schedule_copy(args->milestones, args->count);
        s->milestone_count = s->milestones ? args->count : 0;
    }
    return tn_schedule_start(s);
}

static double exponential_lr_rate(const tn_schedule *s, int g, double lr)
{
    (void)g;
    return s->now.last_epoch ? lr * s->args.gamma : lr;
}
static const tn_law exponential_lr_law = {.name = "exponential_lr", .rate = exponential_lr_rate, .fields = {"gamma"}};

tn_schedule *tn_exponential_lr_new(tn_optim *optim, double gamma)
{
    tn_schedule *s = tn_schedule_make(&exponential_lr_law, optim);
    if (s && tn_schedule_must(gamma >= 0 && isfinite(gamma), s->law, "gamma", gamma, "0 or more is needed"))
        s->args.gamma = gamma;
    return tn_schedule_start(s);
}

static double constant_lr_rate(const tn_schedule *s, int g, double lr)
{
    (void)g;
    const tn_constant_lr_args *a = &s->args.constant_lr;
    int64_t e = s->now.last_epoch;
    if (e == 0)
        return s->anew && a->total_iters == 0 ? lr : lr * a->factor;
    return e == a->total_iters ? lr * (1 / a->factor) : lr;
}
static const tn_law constant_lr_law = {.name = "constant_lr", .rate = constant_lr_rate, .fields = {"factor", "total_iters"}};

tn_schedule *tn_constant_lr_new_with(const tn_constant_lr_args *args)
{
    MAKE(constant_lr)
    MUST(constant_lr, args->factor > 0 && args->factor <= 1, factor, "it must be above 0 and at most 1");
    MUST(constant_lr, args->total_iters >= 0, total_iters, "0 or more is needed");
    return tn_schedule_start(s);
}

/* Whether a schedule over n epochs may begin: over none it takes over from no other, where PyTorch divides by n. False with an error. */
static bool may_begin(const tn_schedule *s, int64_t n)
{
    return n > 0 || !s->anew || tn_schedule_must(false, s->law, "total_iters", (double)n, "to take over in a sequence it must be above 0");
}

static double linear_lr_rate(const tn_schedule *s, int g, double lr)
{
    (void)g;
    const tn_linear_lr_args *a = &s->args.linear_lr;
    int64_t e = s->now.last_epoch;
    double rise = a->end_factor - a->start_factor;
    if (e == 0)
        return may_begin(s, a->total_iters) ? lr * a->start_factor : NAN;
    return e > a->total_iters ? lr : lr * (1 + rise / ((double)a->total_iters * a->start_factor + (double)(e - 1) * rise));
}
static const tn_law linear_lr_law = {.name = "linear_lr", .rate = linear_lr_rate, .fields = {"start_factor", "end_factor", "total_iters"}};

tn_schedule *tn_linear_lr_new_with(const tn_linear_lr_args *args)
{
    MAKE(linear_lr)
    MUST(linear_lr, args->start_factor > 0 && args->start_factor <= 1, start_factor, "it must be above 0 and at most 1");
    MUST(linear_lr, args->end_factor >= 0 && args->end_factor <= 1, end_factor, "it must be from 0 to 1");
    MUST(linear_lr, args->total_iters >= 0, total_iters, "0 or more is needed");
    return tn_schedule_start(s);
}

static double polynomial_lr_rate(const tn_schedule *s, int g, double lr)
{
    (void)g;
    const tn_polynomial_lr_args *a = &s->args.polynomial_lr;
    double e = (double)s->now.last_epoch, n = (double)a->total_iters;
    if (e == 0)
        return may_begin(s, a->total_iters) ? lr : NAN;
    return e > n ? lr : lr * pow((1 - e / n) / (1 - (e - 1) / n), a->power);
}
static const tn_law polynomial_lr_law = {.name = "polynomial_lr", .rate = polynomial_lr_rate, .fields = {"power", "total_iters"}};

tn_schedule *tn_polynomial_lr_new_with(const tn_polynomial_lr_args *args)
{
    MAKE(polynomial_lr)
    MUST(polynomial_lr, args->total_iters >= 0, total_iters, "0 or more is needed");
    MUST(polynomial_lr, args->power >= 0 && isfinite(args->power), power, "0 or more is needed");
    return tn_schedule_start(s);
}

/* ---- cosines ------------------------------------------------------------------------------------------------------------ */

static double cosine_annealing_lr_rate(const tn_schedule *s, int g, double lr)
{
    const tn_cosine_annealing_lr_args *a = &s->args.cosine_annealing_lr;
    int64_t e = s->now.last_epoch;
    double n = (double)a->T_max;
    if (e == 0)
        return lr;
    if ((e - 1 - a->T_max) % (2 * a->T_max) == 0) /* out of the trough, where the ratio below is 0 / 0 */
        return lr + (s->base_lrs[g] - a->eta_min) * (1 - cos(pi / n)) / 2;
    return (1 + cos(pi * (double)e / n)) / (1 + cos(pi * (double)(e - 1) / n)) * (lr - a->eta_min) + a->eta_min;
}
static const tn_law cosine_annealing_lr_law = {.name = "cosine_annealing_lr", .rate = cosine_annealing_lr_rate,
    .fields = {"T_max", "eta_min"}};

tn_schedule *tn_cosine_annealing_lr_new_with(const tn_cosine_annealing_lr_args *args)
{
    MAKE(cosine_annealing_lr)
    MUST(cosine_annealing_lr, args->T_max > 0, T_max, "it must be above 0");
    MUST(cosine_annealing_lr, args->eta_min >= 0 && isfinite(args->eta_min), eta_min, "0 or more is needed");
    return tn_schedule_start(s);
}

/* Its numbers: T_cur epochs into a stretch of T_i. */
static void warm_restarts_begin(tn_schedule *s, bool anew)
{
    (void)anew;
    s->now.number[0] = 0;
    s->now.number[1] = (double)s->args.cosine_annealing_warm_restarts.T_0;
}

static void warm_restarts_advance(tn_schedule *s)
{
    double *at = &s->now.number[0], *of = &s->now.number[1];
    if (++*at >= *of) {
        *at = 0;
        *of *= (double)s->args.cosine_annealing_warm_restarts.T_mult;
    }
}

static double warm_restarts_rate(const tn_schedule *s, int g, double lr)
{
    (void)lr;
    double low = s->args.cosine_annealing_warm_restarts.eta_min;
    return low + (s->base_lrs[g] - low) * (1 + cos(pi * s->now.number[0] / s->now.number[1])) / 2;
}
static const tn_law cosine_annealing_warm_restarts_law = {.name = "cosine_annealing_warm_restarts", .rate = warm_restarts_rate,
    .numbers = {"T_cur", "T_i"}, .fields = {"T_0", "T_mult", "eta_min"}, .begin = warm_restarts_begin, .advance = warm_restarts_advance};

tn_schedule *tn_cosine_annealing_warm_restarts_new_with(const tn_cosine_annealing_warm_restarts_args *args)
{
    MAKE(cosine_annealing_warm_restarts)
    MUST(cosine_annealing_warm_restarts, args->T_0 > 0, T_0, "it must be above 0");
    MUST(cosine_annealing_warm_restarts, args->T_mult > 0, T_mult, "it must be above 0");
    MUST(cosine_annealing_warm_restarts, args->eta_min >= 0 && isfinite(args->eta_min), eta_min, "0 or more is needed");
    return tn_schedule_start(s);
}

/* ---- cycles ------------------------------------------------------------------------------------------------------------- */

/* One number for each group: the array's, or the same for all. */
static double *per_group(const tn_schedule *s, const char *what, const double *each, double all)
{
    double *numbers = s && !tn_failing() ? tn_alloc((size_t)s->groups * sizeof *numbers) : NULL;
    for (int g = 0; numbers && g < s->groups; g++) {
        numbers[g] = each ? each[g] : all;
        tn_schedule_must(numbers[g] >= 0 && isfinite(numbers[g]), s->law, what, numbers[g], "0 or more is needed");
    }
    return numbers;
}

static double anneal(tn_anneal by, double start, double end, double part)
{
    return by == TN_ANNEAL_COS ? end + (start - end) / 2 * (cos(pi * part) + 1) : (end - start) * part + start;
}

/* Where the epoch is: in phase 0 (up), 1 (down) or 2 (out), and which part of it has passed. */
static int one_cycle_phase(const tn_schedule *s, double *part)
{
    const tn_one_cycle_lr_args *a = &s->args.one_cycle_lr;
    double n = (double)a->total_steps, e = (double)s->now.last_epoch, start = 0;
    const double three[] = {a->pct_start * n - 1, 2 * a->pct_start * n - 2, n - 1}, two[] = {a->pct_start * n - 1, n - 1};
    int phases = a->three_phase ? 3 : 2, i = 0;
    const double *ends = a->three_phase ? three : two;
    while (i < phases - 1 && e > ends[i])
        start = ends[i++];
    *part = ends[i] == start ? 1 : (e - start) / (ends[i] - start);
    return i;
}

static double one_cycle_lr_rate(const tn_schedule *s, int g, double lr)
{
    (void)lr;
    const tn_one_cycle_lr_args *a = &s->args.one_cycle_lr;
    if (s->now.last_epoch > a->total_steps) {
        tn_fail(TN_ERR_STATE, "one_cycle_lr: step %lld of %lld: the cycle is over", (long long)s->now.last_epoch,
                (long long)a->total_steps);
        return NAN;
    }
    double part, top = s->high[g], begin = top / a->div_factor, end = begin / a->final_div_factor;
    int phase = one_cycle_phase(s, &part);
    if (phase == 0)
        return anneal(a->anneal_strategy, begin, top, part);
    if (a->three_phase)
        return phase == 1 ? anneal(a->anneal_strategy, top, begin, part) : anneal(a->anneal_strategy, begin, end, part);
    return anneal(a->anneal_strategy, top, end, part);
}

static double one_cycle_lr_momentum(const tn_schedule *s)
{
    const tn_one_cycle_lr_args *a = &s->args.one_cycle_lr;
    double part;
    int phase = one_cycle_phase(s, &part);
    if (phase == 2)
        return a->max_momentum;
    return phase == 0 ? anneal(a->anneal_strategy, a->max_momentum, a->base_momentum, part)
                      : anneal(a->anneal_strategy, a->base_momentum, a->max_momentum, part);
}
static const tn_law one_cycle_lr_law = {.name = "one_cycle_lr", .rate = one_cycle_lr_rate, .momentum = one_cycle_lr_momentum,
    .fields = {"total_steps", "_schedule_phases", "cycle_momentum", "use_beta1"}};

tn_schedule *tn_one_cycle_lr_new_with(const tn_one_cycle_lr_args *args)
{
    MAKE(one_cycle_lr)
    MUST(one_cycle_lr, args->total_steps > 0, total_steps, "it must be above 0");
    MUST(one_cycle_lr, args->pct_start >= 0 && args->pct_start <= 1, pct_start, "it must be from 0 to 1");
    MUST(one_cycle_lr, args->base_momentum >= 0 && args->base_momentum < 1, base_momentum, "it must be below 1");
    MUST(one_cycle_lr, args->max_momentum >= 0 && args->max_momentum < 1, max_momentum, "it must be below 1");
    MUST(one_cycle_lr, args->div_factor > 0 && isfinite(args->div_factor), div_factor, "it must be above 0");
    MUST(one_cycle_lr, args->final_div_factor > 0 && isfinite(args->final_div_factor), final_div_factor, "it must be above 0");
    double *high = per_group(s, "max_lr", args->max_lrs, args->max_lr);
    if (!high)
        return tn_schedule_start(s);
    s->high = high;
    s->cycles = args->cycle_momentum;
    for (int g = 0; g < s->groups && !tn_failing(); g++)
        s->optim->groups[g].initial_lr = high[g] / args->div_factor;
    return tn_schedule_start(s);
}

/* The height, of the full one, at the epoch. */
static double cyclic_height(const tn_schedule *s)
{
    const tn_cyclic_lr_args *a = &s->args.cyclic_lr;
    double up = (double)a->step_size_up, n = up + (double)(a->step_size_down ? a->step_size_down : a->step_size_up);
    double e = (double)s->now.last_epoch;
    double ratio = up / n, cycle = floor(1 + e / n), x = 1 + e / n - cycle;
    double height = x <= ratio ? x / ratio : (x - 1) / (ratio - 1);
    switch (a->mode) {
    case TN_CYCLIC_TRIANGULAR2: return height / pow(2, cycle - 1);
    case TN_CYCLIC_EXP_RANGE: return height * pow(a->gamma, e);
    default: return height;
    }
}

static double cyclic_lr_rate(const tn_schedule *s, int g, double lr)
{
    (void)lr;
    return s->low[g] + (s->high[g] - s->low[g]) * cyclic_height(s);
}

static double cyclic_lr_momentum(const tn_schedule *s)
{
    const tn_cyclic_lr_args *a = &s->args.cyclic_lr;
    return a->max_momentum - (a->max_momentum - a->base_momentum) * cyclic_height(s);
}
static const tn_law cyclic_lr_law = {.name = "cyclic_lr", .rate = cyclic_lr_rate, .momentum = cyclic_lr_momentum,
    .fields = {"step_ratio", "total_size", "max_lrs", "gamma", "cycle_momentum", "use_beta1", "base_momentums", "max_momentums"}};

tn_schedule *tn_cyclic_lr_new_with(const tn_cyclic_lr_args *args)
{
    MAKE(cyclic_lr)
    MUST(cyclic_lr, args->step_size_up > 0, step_size_up, "it must be above 0");
    MUST(cyclic_lr, args->step_size_down >= 0, step_size_down, "0 or more is needed");
    MUST(cyclic_lr, args->mode >= TN_CYCLIC_TRIANGULAR && args->mode <= TN_CYCLIC_EXP_RANGE, mode, "it is none of tn_cyclic_mode");
    MUST(cyclic_lr, args->gamma >= 0 && isfinite(args->gamma), gamma, "0 or more is needed");
    MUST(cyclic_lr, args->base_momentum >= 0 && args->base_momentum < 1, base_momentum, "it must be below 1");
    MUST(cyclic_lr, args->max_momentum >= 0 && args->max_momentum < 1, max_momentum, "it must be below 1");
    double *low = per_group(s, "base_lr", args->base_lrs, args->base_lr);
    if (low)
        s->low = low;
    double *high = per_group(s, "max_lr", args->max_lrs, args->max_lr);
    if (high) {
        s->high = high;
        s->cycles = args->cycle_momentum;
        for (int g = 0; g < s->groups && !tn_failing(); g++)
            if (isnan(s->optim->groups[g].initial_lr))
                s->optim->groups[g].initial_lr = low[g];
    }
    return tn_schedule_start(s);
}

/* ---- by a measure ------------------------------------------------------------------------------------------------------- */

/* Its numbers: best, num_bad_epochs, cooldown_counter. */
static void plateau_begin(tn_schedule *s, bool anew)
{
    (void)anew;
    s->now.number[0] = s->args.reduce_lr_on_plateau.mode == TN_PLATEAU_MIN ? INFINITY : -INFINITY;
    s->now.number[1] = s->now.number[2] = 0;
}

static bool plateau_better(const tn_reduce_lr_on_plateau_args *a, double x, double best)
{
    bool relative = a->threshold_mode == TN_PLATEAU_REL;
    if (a->mode == TN_PLATEAU_MIN)
        return x < (relative ? best * (1 - a->threshold) : best - a->threshold);
    return x > (relative ? best * (1 + a->threshold) : best + a->threshold);
}

static void plateau_advance(tn_schedule *s)
{
    const tn_reduce_lr_on_plateau_args *a = &s->args.reduce_lr_on_plateau;
    double *best = &s->now.number[0], *bad = &s->now.number[1], *cooldown = &s->now.number[2];
    if (plateau_better(a, s->metric, *best)) {
        *best = s->metric;
        *bad = 0;
    } else {
        ++*bad;
    }
    if (*cooldown > 0) {
        --*cooldown;
        *bad = 0;
    }
    if (*bad <= (double)a->patience)
        return;
    *cooldown = (double)a->cooldown;
    *bad = 0;
    for (int g = 0; g < s->groups; g++) {
        double lr = tn_group_lr(s->optim, g), less = fmax(lr * a->factor, s->low[g]);
        if (lr - less > a->eps)
            tn_group_set_lr(s->optim, g, less);
    }
}
static const tn_law reduce_lr_on_plateau_law = {.name = "reduce_lr_on_plateau", .numbers = {"best", "num_bad_epochs", "cooldown_counter"},
    .fields = {"patience", "factor", "threshold", "cooldown", "eps", "min_lrs", "default_min_lr", "mode_worse"},
    .begin = plateau_begin, .advance = plateau_advance, .measured = true};

tn_schedule *tn_reduce_lr_on_plateau_new_with(const tn_reduce_lr_on_plateau_args *args)
{
    MAKE(reduce_lr_on_plateau)
    MUST(reduce_lr_on_plateau, args->factor >= 0 && args->factor < 1, factor, "it must be below 1");
    MUST(reduce_lr_on_plateau, args->patience >= 0, patience, "0 or more is needed");
    MUST(reduce_lr_on_plateau, args->cooldown >= 0, cooldown, "0 or more is needed");
    MUST(reduce_lr_on_plateau, args->threshold >= 0 && isfinite(args->threshold), threshold, "0 or more is needed");
    MUST(reduce_lr_on_plateau, args->eps >= 0 && isfinite(args->eps), eps, "0 or more is needed");
    double *low = per_group(s, "min_lr", args->min_lrs, args->min_lr);
    if (low)
        s->low = low;
    return tn_schedule_start(s);
}

/* ---- the caller's ------------------------------------------------------------------------------------------------------- */

static double lambda_lr_rate(const tn_schedule *s, int g, double lr)
{
    (void)lr;
    return s->base_lrs[g] * s->args.lambda_lr.lambda(s->now.last_epoch, g, s->args.lambda_lr.context);
}
static const tn_law lambda_lr_law = {.name = "lambda_lr", .rate = lambda_lr_rate};

tn_schedule *tn_lambda_lr_new(tn_optim *optim, tn_lr_lambda lambda, void *context)
{
    tn_schedule *s = tn_schedule_make(&lambda_lr_law, optim);
    if (s && !lambda)
        tn_fail(TN_ERR_ARGUMENT, "lambda_lr: the function is NULL");
    if (s) {
        s->args.lambda_lr.lambda = lambda;
        s->args.lambda_lr.context = context;
    }
    return tn_schedule_start(s);
}

/* ---- composed ----------------------------------------------------------------------------------------------------------- */

static void chained_begin(tn_schedule *s, bool anew)
{
    for (int i = 0; i < s->schedule_count && !tn_failing(); i++)
        tn_schedule_begin(s->schedules[i], anew && i == 0);
}

static void chained_advance(tn_schedule *s)
{
    for (int i = 0; i < s->schedule_count && !tn_failing(); i++)
        tn_schedule_advance(s->schedules[i]);
}
static const tn_law chained_lr_law = {.name = "chained_lr", .begin = chained_begin, .advance = chained_advance};

/* Which schedule has the epoch. */
static int sequential_turn(const tn_schedule *s)
{
    int i = 0;
    while (i < s->milestone_count && s->milestones[i] <= s->now.last_epoch)
        i++;
    return i;
}

static void sequential_begin(tn_schedule *s, bool anew)
{
    for (int g = 0; !anew && g < s->groups; g++) /* what the schedules did when they were made is undone */
        tn_group_set_lr(s->optim, g, s->optim->groups[g].initial_lr);
    tn_schedule_begin(s->schedules[sequential_turn(s)], anew);
}

static void sequential_advance(tn_schedule *s)
{
    int i = sequential_turn(s);
    if (i > 0 && s->milestones[i - 1] == s->now.last_epoch)
        tn_schedule_begin(s->schedules[i], true);
    else
        tn_schedule_advance(s->schedules[i]);
}
static const tn_law sequential_lr_law = {.name = "sequential_lr", .fields = {"_milestones"}, .begin = sequential_begin,
    .advance = sequential_advance};

/* A composed schedule that holds these; their references are taken, on failure too. */
static tn_schedule *compose(const tn_law *law, tn_optim *optim, tn_schedule *const *schedules, int count)
{
    tn_schedule *s = tn_schedule_make(law, optim);
    if (s && (count < 1 || !schedules))
        tn_fail(TN_ERR_ARGUMENT, "%s: %d schedules: at least one is needed", law->name, schedules ? count : 0);
    for (int i = 0; s && schedules && i < count && !tn_failing(); i++)
        if (!schedules[i])
            tn_fail(TN_ERR_ARGUMENT, "%s: schedule %d is NULL", law->name, i);
        else if (schedules[i]->optim != optim)
            tn_fail(TN_ERR_ARGUMENT, "%s: schedule %d, %s, is over another optimiser", law->name, i, schedules[i]->law->name);
        else if (schedules[i]->law->measured)
            tn_fail(TN_ERR_ARGUMENT, "%s: schedule %d, %s, needs a measure at each step", law->name, i, schedules[i]->law->name);
    s = s && tn_failing() ? tn_schedule_start(s) : s;
    if (s)
        s->schedules = tn_schedule_copy(schedules, count);
    if (s && s->schedules)
        s->schedule_count = count;
    for (int i = 0; schedules && i < count && !(s && s->schedules); i++)
        tn_release(schedules[i]);
    return s;
}

tn_schedule *tn_sequential_lr_new(tn_optim *optim, tn_schedule *const *schedules, int count, const int64_t *milestones)
{
    tn_schedule *s = compose(&sequential_lr_law, optim, schedules, count);
    if (s && count > 1 && !milestones)
        tn_fail(TN_ERR_ARGUMENT, "sequential_lr: milestones is NULL, and %d are needed", count - 1);
    for (int i = 0; s && i < count - 1 && !tn_failing(); i++)
        tn_schedule_must(milestones[i] >= (i ? milestones[i - 1] : 0), s->law, "a milestone", (double)milestones[i],
                         "they must ascend from 0");
    if (s && !tn_failing() && count > 1) {
        s->milestones = tn_schedule_copy(milestones, count - 1);
        s->milestone_count = s->milestones ? count - 1 : 0;
    }
    return tn_schedule_start(s);
}

tn_schedule *tn_chained_lr_new(tn_optim *optim, tn_schedule *const *schedules, int count)
{
    tn_schedule *s = compose(&chained_lr_law, optim, schedules, count);
    return s && tn_failing() ? tn_schedule_start(s) : s; /* the schedules began when they were made */
}
