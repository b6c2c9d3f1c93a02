/* Tenon: learning rate schedules. One changes the rates of an optimiser's groups, by the laws and defaults of torch.optim.lr_scheduler:
 *
 *     tn_schedule *schedule = tn_cosine_annealing_lr_new(opt, epochs);
 *     for (int epoch = 0; epoch < epochs; epoch++) {
 *         ... steps of opt ...
 *         tn_check(tn_schedule_step(schedule));
 *     }
 *     tn_release(schedule);
 *
 * Making one sets the rates of epoch 0, each step those of the next. e is the epoch below, base a group's rate when the first schedule
 * over the optimiser was made. As in PyTorch the laws marked * multiply the rate that the group has, so that they can be chained; the
 * others set it. A schedule shares the optimiser, whose groups must then stay as they are.
 *
 * Errors of making one: the optimiser NULL, an argument out of its range: finite and not negative, and what else is said. */
#ifndef TENON_SCHEDULE_H
#define TENON_SCHEDULE_H

#include <tenon/optim.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_schedule tn_schedule;

/* Goes to the next epoch. Of tn_reduce_lr_on_plateau, which needs the measure, it is TN_ERR_STATE. On failure nothing has changed. */
TN_API tn_status tn_schedule_step(tn_schedule *schedule) TN_MUST_CHECK;
/* The same with a measure, which the others pass over. */
TN_API tn_status tn_schedule_step_metric(tn_schedule *schedule, double metric) TN_MUST_CHECK;
/* How many steps were made; -1 for NULL. */
TN_API int64_t tn_last_epoch(const tn_schedule *schedule);

/* What a resumed run needs, by PyTorch's names: "last_epoch", "base_lrs" and what else the law counts; of a composed one
 * "_schedulers.0.last_epoch" and so on. The note "law" says which it is
 * (an NPZ file keeps no notes). The rates themselves are in the optimiser's state. */
TN_API tn_dict *tn_schedule_state_dict(const tn_schedule *schedule);
/* Takes it back, in a schedule made with the same arguments; PyTorch's state (tn_load_pt()) too, of which the arguments, by which its law is
 * told, are passed by. A state of another law, or a name that is missing or no part of it, is an error; on failure nothing has changed. */
TN_API tn_status tn_load_schedule_state(tn_schedule *schedule, const tn_dict *dict);

/* ---- the laws ---------------------------------------------------------------------------------------------------------- */

/* * Times gamma each step_size (above 0) epochs: tn_step_lr_new(opt, 30, .gamma = 0.1). */
#define TN_GAMMA_OPTIONS(X) X(double, gamma, 0.1)
typedef struct tn_step_lr_args {
    size_t size TN_SIZE_(tn_step_lr_args);
    TN_GAMMA_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_optim *optim TN_ZERO_;
    int64_t step_size TN_ZERO_;
} tn_step_lr_args;
TN_API tn_schedule *tn_step_lr_new_with(const tn_step_lr_args *args);

/* * Times gamma at each of the epochs given, twice where one is given twice: tn_multi_step_lr_new(opt, (int64_t[]){30, 80}, 2). */
typedef struct tn_multi_step_lr_args {
    size_t size TN_SIZE_(tn_multi_step_lr_args);
    TN_GAMMA_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_optim *optim TN_ZERO_;
    const int64_t *milestones TN_ZERO_; /* [count], copied */
    int count TN_ZERO_;
} tn_multi_step_lr_args;
TN_API tn_schedule *tn_multi_step_lr_new_with(const tn_multi_step_lr_args *args);

/* * Times gamma each epoch. */
TN_API tn_schedule *tn_exponential_lr_new(tn_optim *optim, double gamma);

/* * Times factor (0 ... 1) until epoch total_iters: tn_constant_lr_new(opt, .factor = 0.5, .total_iters = 4). A total_iters of 0, in this and
 * the next two, is PyTorch's: the rates of epoch 0 stay, but where one takes over in a sequence this law gives the base rate, and the next
 * two, which would divide by it, TN_ERR_ARGUMENT. */
#define TN_CONSTANT_LR_OPTIONS(X)                                                                                             \
    X(double, factor, 1.0 / 3)                                                                                                \
    X(int64_t, total_iters, 5)
typedef struct tn_constant_lr_args {
    size_t size TN_SIZE_(tn_constant_lr_args);
    TN_CONSTANT_LR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_optim *optim TN_ZERO_;
} tn_constant_lr_args;
TN_API tn_schedule *tn_constant_lr_new_with(const tn_constant_lr_args *args);

/* * Times a factor that goes from start_factor (above 0, at most 1) to end_factor (0 ... 1) by equal steps in total_iters epochs. */
#define TN_LINEAR_LR_OPTIONS(X)                                                                                               \
    X(double, start_factor, 1.0 / 3)                                                                                          \
    X(double, end_factor, 1)                                                                                                  \
    X(int64_t, total_iters, 5)
typedef struct tn_linear_lr_args {
    size_t size TN_SIZE_(tn_linear_lr_args);
    TN_LINEAR_LR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_optim *optim TN_ZERO_;
} tn_linear_lr_args;
TN_API tn_schedule *tn_linear_lr_new_with(const tn_linear_lr_args *args);

/* * base (1 - e / total_iters)^power, 0 from epoch total_iters on. */
#define TN_POLYNOMIAL_LR_OPTIONS(X)                                                                                           \
    X(int64_t, total_iters, 5)                                                                                                \
    X(double, power, 1)
typedef struct tn_polynomial_lr_args {
    size_t size TN_SIZE_(tn_polynomial_lr_args);
    TN_POLYNOMIAL_LR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_optim *optim TN_ZERO_;
} tn_polynomial_lr_args;
TN_API tn_schedule *tn_polynomial_lr_new_with(const tn_polynomial_lr_args *args);

/* * eta_min + (base - eta_min) (1 + cos(pi e / T_max)) / 2 (Loshchilov and Hutter 2017), T_max above 0. */
#define TN_COSINE_ANNEALING_LR_OPTIONS(X) X(double, eta_min, 0)
typedef struct tn_cosine_annealing_lr_args {
    size_t size TN_SIZE_(tn_cosine_annealing_lr_args);
    TN_COSINE_ANNEALING_LR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_optim *optim TN_ZERO_;
    int64_t T_max TN_ZERO_;
} tn_cosine_annealing_lr_args;
TN_API tn_schedule *tn_cosine_annealing_lr_new_with(const tn_cosine_annealing_lr_args *args);

/* The same over T_0 epochs and again from the start, each time over T_mult times as many; both above 0. */
#define TN_COSINE_ANNEALING_WARM_RESTARTS_OPTIONS(X)                                                                          \
    X(int64_t, T_mult, 1)                                                                                                     \
    X(double, eta_min, 0)
typedef struct tn_cosine_annealing_warm_restarts_args {
    size_t size TN_SIZE_(tn_cosine_annealing_warm_restarts_args);
    TN_COSINE_ANNEALING_WARM_RESTARTS_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_optim *optim TN_ZERO_;
    int64_t T_0 TN_ZERO_;
} tn_cosine_annealing_warm_restarts_args;
TN_API tn_schedule *tn_cosine_annealing_warm_restarts_new_with(const tn_cosine_annealing_warm_restarts_args *args);

/* One cycle (Smith and Topin 2018), stepped after each batch, at most total_steps times (a further step is TN_ERR_STATE): from
 * max_lr / div_factor up to max_lr over pct_start (0 ... 1) of the steps, then down to the start over final_div_factor; with .three_phase
 * first back to the start as slowly as up. .cycle_momentum takes the momentum, or beta1, the other way, from max_momentum to base_momentum
 * and back; with a method that has neither it is an error. .max_lrs [groups] instead of max_lr. tn_one_cycle_lr_new(opt, 0.1, steps). */
typedef enum tn_anneal { TN_ANNEAL_COS, TN_ANNEAL_LINEAR } tn_anneal;
#define TN_ONE_CYCLE_LR_OPTIONS(X)                                                                                            \
    X(double, pct_start, 0.3)                                                                                                 \
    X(tn_anneal, anneal_strategy, TN_ANNEAL_COS)                                                                              \
    X(bool, cycle_momentum, true)                                                                                             \
    X(double, base_momentum, 0.85)                                                                                            \
    X(double, max_momentum, 0.95)                                                                                             \
    X(double, div_factor, 25)                                                                                                 \
    X(double, final_div_factor, 1e4)                                                                                          \
    X(bool, three_phase, false)                                                                                               \
    X(const double *, max_lrs, NULL)
typedef struct tn_one_cycle_lr_args {
    size_t size TN_SIZE_(tn_one_cycle_lr_args);
    TN_ONE_CYCLE_LR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_optim *optim TN_ZERO_;
    double max_lr TN_ZERO_;
    int64_t total_steps TN_ZERO_; /* above 0 */
} tn_one_cycle_lr_args;
TN_API tn_schedule *tn_one_cycle_lr_new_with(const tn_one_cycle_lr_args *args);

/* Between base_lr and max_lr (Smith 2017), up in step_size_up steps and down in step_size_down (0: as many). TRIANGULAR2 halves the height
 * each cycle, EXP_RANGE multiplies it by gamma each step. Momentum as in tn_one_cycle_lr. .base_lrs, .max_lrs [groups] instead of the one
 * number for all. tn_cyclic_lr_new(opt, 1e-3, 1e-1). */
typedef enum tn_cyclic_mode { TN_CYCLIC_TRIANGULAR, TN_CYCLIC_TRIANGULAR2, TN_CYCLIC_EXP_RANGE } tn_cyclic_mode;
#define TN_CYCLIC_LR_OPTIONS(X)                                                                                               \
    X(int64_t, step_size_up, 2000)                                                                                            \
    X(int64_t, step_size_down, 0)                                                                                             \
    X(tn_cyclic_mode, mode, TN_CYCLIC_TRIANGULAR)                                                                             \
    X(double, gamma, 1)                                                                                                       \
    X(bool, cycle_momentum, true)                                                                                             \
    X(double, base_momentum, 0.8)                                                                                             \
    X(double, max_momentum, 0.9)                                                                                              \
    X(const double *, base_lrs, NULL)                                                                                         \
    X(const double *, max_lrs, NULL)
typedef struct tn_cyclic_lr_args {
    size_t size TN_SIZE_(tn_cyclic_lr_args);
    TN_CYCLIC_LR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_optim *optim TN_ZERO_;
    double base_lr TN_ZERO_;
    double max_lr TN_ZERO_;
} tn_cyclic_lr_args;
TN_API tn_schedule *tn_cyclic_lr_new_with(const tn_cyclic_lr_args *args);

/* Times factor (below 1) when the measure has not improved, by threshold (a share of the best, or absolutely), for more than patience
 * epochs; then cooldown epochs do not count. Not below min_lr (or .min_lrs [groups]), and not where it would change by eps or less.
 * tn_reduce_lr_on_plateau_new(opt, .mode = TN_PLATEAU_MAX); step it by tn_schedule_step_metric(). */
typedef enum tn_plateau_mode { TN_PLATEAU_MIN, TN_PLATEAU_MAX } tn_plateau_mode;
typedef enum tn_plateau_threshold { TN_PLATEAU_REL, TN_PLATEAU_ABS } tn_plateau_threshold;
#define TN_REDUCE_LR_ON_PLATEAU_OPTIONS(X)                                                                                    \
    X(tn_plateau_mode, mode, TN_PLATEAU_MIN)                                                                                  \
    X(double, factor, 0.1)                                                                                                    \
    X(int64_t, patience, 10)                                                                                                  \
    X(double, threshold, 1e-4)                                                                                                \
    X(tn_plateau_threshold, threshold_mode, TN_PLATEAU_REL)                                                                   \
    X(int64_t, cooldown, 0)                                                                                                   \
    X(double, min_lr, 0)                                                                                                      \
    X(double, eps, 1e-8)                                                                                                      \
    X(const double *, min_lrs, NULL)
typedef struct tn_reduce_lr_on_plateau_args {
    size_t size TN_SIZE_(tn_reduce_lr_on_plateau_args);
    TN_REDUCE_LR_ON_PLATEAU_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_optim *optim TN_ZERO_;
} tn_reduce_lr_on_plateau_args;
TN_API tn_schedule *tn_reduce_lr_on_plateau_new_with(const tn_reduce_lr_on_plateau_args *args);

/* base times a function of the epoch and the group; what it gives must be finite and not negative. */
typedef double (*tn_lr_lambda)(int64_t epoch, int group, void *context);
TN_API tn_schedule *tn_lambda_lr_new(tn_optim *optim, tn_lr_lambda lambda, void *context);

/* ---- composed ---------------------------------------------------------------------------------------------------------- */

/* One schedule after the other: schedules[i] from epoch milestones[i - 1] on, where it begins anew with the base rates. Takes the
 * references to the schedules, on failure too; they are over one optimiser, and none waits for a measure. milestones [count - 1] ascend.
 *     tn_sequential_lr_new(opt, (tn_schedule *[]){tn_linear_lr_new(opt), tn_exponential_lr_new(opt, 0.9)}, 2, (int64_t[]){5}) */
TN_API tn_schedule *tn_sequential_lr_new(tn_optim *optim, tn_schedule *const *schedules, int count, const int64_t *milestones);
/* All at once: each step steps each. References and errors as above. */
TN_API tn_schedule *tn_chained_lr_new(tn_optim *optim, tn_schedule *const *schedules, int count);

#ifdef __cplusplus
}
#endif

#endif
