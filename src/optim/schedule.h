/* Schedules as this room sees them: a law (laws.c) and the object that follows it (schedule.c). */
#ifndef TN_SCHEDULE_H
#define TN_SCHEDULE_H

#include <tenon/schedule.h>

#include "optim/optim.h"

enum { TN_LAW_NUMBERS = 3, TN_LAW_FIELDS = 8 };

/* A law declares what is its own. last_epoch is counted before rate, momentum and advance are called. */
typedef struct tn_law {
    const char *name;
    /* Group g's rate, from the rate that it has; NaN with an error. NULL: begin and advance set the rates, and there are no base rates. */
    double (*rate)(const tn_schedule *s, int g, double lr);
    double (*momentum)(const tn_schedule *s);         /* that of all groups, where s->cycles */
    const char *numbers[TN_LAW_NUMBERS];              /* what it counts besides last_epoch, by their names in a file */
    const char *fields[TN_LAW_FIELDS];                /* what PyTorch's state has besides, and by the first of which it is told */
    void (*begin)(tn_schedule *s, bool anew);         /* sets the numbers for epoch 0; anew: of a schedule that takes over; NULL: nothing */
    void (*advance)(tn_schedule *s);                  /* brings them to last_epoch; NULL: nothing */
    bool measured;                                    /* each step takes a measure */
} tn_law;

/* What a step changes. */
typedef struct tn_moment {
    int64_t last_epoch;
    double number[TN_LAW_NUMBERS];
} tn_moment;

struct tn_schedule {
    tn_object base;
    const tn_law *law;
    tn_optim *optim;
    int groups;
    tn_moment now, other;        /* other: before the step, or what a file says */
    double metric;               /* of the step under way */
    bool cycles;                 /* momentum too */
    bool anew;                   /* the rates under way are those with which it takes over in a sequence */
    double *base_lrs;            /* [groups] */
    double *spare;               /* [groups]: base rates as a file has them */
    double *rates, *momenta;     /* [groups]: those from before the step */
    double *low, *high;          /* [groups]: per group arguments, where the law has them */
    int64_t *milestones;         /* [milestone_count] */
    tn_schedule **schedules;     /* [schedule_count] */
    int milestone_count, schedule_count;
    union {
        tn_step_lr_args step_lr;
        tn_multi_step_lr_args multi_step_lr;
        double gamma;
        tn_constant_lr_args constant_lr;
        tn_linear_lr_args linear_lr;
        tn_polynomial_lr_args polynomial_lr;
        tn_cosine_annealing_lr_args cosine_annealing_lr;
        tn_cosine_annealing_warm_restarts_args cosine_annealing_warm_restarts;
        tn_one_cycle_lr_args one_cycle_lr;
        tn_cyclic_lr_args cyclic_lr;
        tn_reduce_lr_on_plateau_args reduce_lr_on_plateau;
        struct {
            tn_lr_lambda lambda;
            void *context;
        } lambda_lr;
    } args;
};

/* A schedule over the optimiser, owned by the caller, its arguments still to be set; NULL with an error. */
tn_schedule *tn_schedule_make(const tn_law *law, tn_optim *optim);
/* Begins epoch 0 and gives s; on failure, and where an error sticks, releases it and gives NULL. */
tn_schedule *tn_schedule_start(tn_schedule *s);
/* Epoch 0; anew: from the base rates, else from those that the groups have. */
void tn_schedule_begin(tn_schedule *s, bool anew);
/* The next epoch. Both raise an error and may leave half of it done. */
void tn_schedule_advance(tn_schedule *s);
/* Raises "law: what is value: rule" unless it holds; gives holds. */
bool tn_schedule_must(bool holds, const tn_law *law, const char *what, double value, const char *rule);
/* A copy of n numbers of 8 bytes that the schedule will free; NULL with an error. */
void *tn_schedule_copy(const void *numbers, int64_t n);

static inline double tn_group_lr(const tn_optim *o, int g) { return tn_option_get(o->groups[g].args, &o->method->options[0]); }
static inline void tn_group_set_lr(tn_optim *o, int g, double lr) { tn_option_set(o->groups[g].args, &o->method->options[0], lr); }

#endif
