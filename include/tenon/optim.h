/* Tenon: optimisers. One is made over a list of parameters and changes them, in place, by their .grad:
 *
 *     tn_optim *opt = tn_adamw_new(tn_parameters(net), 1e-3, .weight_decay = 0.1);
 *     ...
 *     tn_zero_grad(opt);
 *     tn_check(tn_backward(loss));
 *     tn_clip_grad_norm(tn_parameters(net), 1.0);
 *     tn_check(tn_step(opt));
 *     ...
 *     tn_release(opt);
 *
 * An optimiser shares the parameters (they live at least as long as it does) and keeps its state in their order. Parameters are leaves of
 * f32 or f64. Defaults, names and formulas are those of torch.optim, computed in the parameter's dtype in the same order. Gradients
 * add up over backward passes until tn_zero_grad(): a step may follow any number of small batches. */
#ifndef TENON_OPTIM_H
#define TENON_OPTIM_H

#include <math.h>

#include <tenon/list.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_optim tn_optim;
typedef struct tn_dict tn_dict; /* named tensors: io.h */

/* ---- the methods ------------------------------------------------------------------------------------------------------- */

/* Stochastic gradient descent. In all that follows g is the gradient, negated by .maximize, plus weight_decay p.
 *     b = momentum b + (1 - dampening) g    (b = g at a parameter's first step)
 *     p -= lr b, or lr (g + momentum b) with .nesterov; lr g where momentum is 0
 * tn_sgd_new(params, lr, ...). Errors of this and of all optimisers: params NULL or empty, one that is no leaf,
 * comes twice or is of another dtype (a frozen one is taken, and left as it is until it is thawed); lr <= 0 (PyTorch's default is said at each); an option out of its range (negative, a beta not
 * below 1). Of sgd: nesterov without momentum or with dampening. State: momentum_buffer. PyTorch's lr: 1e-3. */
#define TN_SGD_OPTIONS(X)                                                                                                     \
    X(double, momentum, 0)                                                                                                    \
    X(double, dampening, 0)                                                                                                   \
    X(double, weight_decay, 0)                                                                                                \
    X(bool, nesterov, false)                                                                                                  \
    X(bool, maximize, false)
typedef struct tn_sgd_args {
    size_t size TN_SIZE_(tn_sgd_args);
    TN_SGD_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_list *params TN_ZERO_;
    double lr TN_ZERO_;
} tn_sgd_args;
TN_API tn_optim *tn_sgd_new_with(const tn_sgd_args *args);

/* Adam (Kingma and Ba 2015), at a parameter's step t:
 *     m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g²
 *     p -= lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)
 * .amsgrad takes the largest v so far (Reddi et al. 2018). .decoupled_weight_decay (Loshchilov and Hutter 2019): the decay is
 * p *= 1 - lr weight_decay instead of a part of g. State: step, exp_avg (m), exp_avg_sq (v), max_exp_avg_sq. PyTorch's lr: 1e-3. */
#define TN_ADAM_OPTIONS(X)                                                                                                    \
    X(double, beta1, 0.9)                                                                                                     \
    X(double, beta2, 0.999)                                                                                                   \
    X(double, eps, 1e-8)                                                                                                      \
    X(double, weight_decay, 0)                                                                                                \
    X(bool, amsgrad, false)                                                                                                   \
    X(bool, maximize, false)                                                                                                  \
    X(bool, decoupled_weight_decay, false)
typedef struct tn_adam_args {
    size_t size TN_SIZE_(tn_adam_args);
    TN_ADAM_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_list *params TN_ZERO_;
    double lr TN_ZERO_;
} tn_adam_args;
TN_API tn_optim *tn_adam_new_with(const tn_adam_args *args);

/* Adam with decoupled weight decay, of 1e-2 if none is said. State and lr: Adam's. */
#define TN_ADAMW_OPTIONS(X)                                                                                                   \
    X(double, beta1, 0.9)                                                                                                     \
    X(double, beta2, 0.999)                                                                                                   \
    X(double, eps, 1e-8)                                                                                                      \
    X(double, weight_decay, 1e-2)                                                                                             \
    X(bool, amsgrad, false)                                                                                                   \
    X(bool, maximize, false)
typedef struct tn_adamw_args {
    size_t size TN_SIZE_(tn_adamw_args);
    TN_ADAMW_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_list *params TN_ZERO_;
    double lr TN_ZERO_;
} tn_adamw_args;
TN_API tn_optim *tn_adamw_new_with(const tn_adamw_args *args);

/* Adam with Nesterov's momentum (Dozat 2016). With mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2) and M_t the product of mu_1 ... mu_t:
 *     p -= lr ((1 - mu_t) / (1 - M_t) g + mu_t+1 / (1 - M_t+1) m) / (sqrt(v / (1 - beta2^t)) + eps)
 * State: step, mu_product (M), exp_avg, exp_avg_sq. PyTorch's lr: 2e-3. */
#define TN_NADAM_OPTIONS(X)                                                                                                   \
    X(double, beta1, 0.9)                                                                                                     \
    X(double, beta2, 0.999)                                                                                                   \
    X(double, eps, 1e-8)                                                                                                      \
    X(double, weight_decay, 0)                                                                                                \
    X(double, momentum_decay, 4e-3)                                                                                           \
    X(bool, decoupled_weight_decay, false)                                                                                    \
    X(bool, maximize, false)
typedef struct tn_nadam_args {
    size_t size TN_SIZE_(tn_nadam_args);
    TN_NADAM_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_list *params TN_ZERO_;
    double lr TN_ZERO_;
} tn_nadam_args;
TN_API tn_optim *tn_nadam_new_with(const tn_nadam_args *args);

/* Rectified Adam (Liu et al. 2020). With r = 2 / (1 - beta2) - 1 and r_t = r - 2 t beta2^t / (1 - beta2^t):
 *     p -= lr m / (1 - beta1^t) times, where r_t > 5, sqrt((r_t - 4) (r_t - 2) r / ((r - 4) (r - 2) r_t) (1 - beta2^t)) / (sqrt(v) + eps)
 * State: step, exp_avg, exp_avg_sq. PyTorch's lr: 1e-3. */
#define TN_RADAM_OPTIONS(X)                                                                                                   \
    X(double, beta1, 0.9)                                                                                                     \
    X(double, beta2, 0.999)                                                                                                   \
    X(double, eps, 1e-8)                                                                                                      \
    X(double, weight_decay, 0)                                                                                                \
    X(bool, decoupled_weight_decay, false)                                                                                    \
    X(bool, maximize, false)
typedef struct tn_radam_args {
    size_t size TN_SIZE_(tn_radam_args);
    TN_RADAM_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_list *params TN_ZERO_;
    double lr TN_ZERO_;
} tn_radam_args;
TN_API tn_optim *tn_radam_new_with(const tn_radam_args *args);

/* Adam by the greatest gradient (Kingma and Ba 2015): u = max(beta2 u, |g| + eps), p -= lr / (1 - beta1^t) m / u.
 * State: step, exp_avg (m), exp_inf (u). PyTorch's lr: 2e-3. */
#define TN_ADAMAX_OPTIONS(X)                                                                                                  \
    X(double, beta1, 0.9)                                                                                                     \
    X(double, beta2, 0.999)                                                                                                   \
    X(double, eps, 1e-8)                                                                                                      \
    X(double, weight_decay, 0)                                                                                                \
    X(bool, maximize, false)
typedef struct tn_adamax_args {
    size_t size TN_SIZE_(tn_adamax_args);
    TN_ADAMAX_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_list *params TN_ZERO_;
    double lr TN_ZERO_;
} tn_adamax_args;
TN_API tn_optim *tn_adamax_new_with(const tn_adamax_args *args);

/* Adagrad (Duchi et al. 2011): s += g², p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps); s begins as initial_accumulator_value.
 * State: step, sum (s). PyTorch's lr: 1e-2. */
#define TN_ADAGRAD_OPTIONS(X)                                                                                                 \
    X(double, lr_decay, 0)                                                                                                    \
    X(double, weight_decay, 0)                                                                                                \
    X(double, initial_accumulator_value, 0)                                                                                   \
    X(double, eps, 1e-10)                                                                                                     \
    X(bool, maximize, false)
typedef struct tn_adagrad_args {
    size_t size TN_SIZE_(tn_adagrad_args);
    TN_ADAGRAD_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_list *params TN_ZERO_;
    double lr TN_ZERO_;
} tn_adagrad_args;
TN_API tn_optim *tn_adagrad_new_with(const tn_adagrad_args *args);

/* Adadelta (Zeiler 2012): v = rho v + (1 - rho) g², d = sqrt(a + eps) / sqrt(v + eps) g, a = rho a + (1 - rho) d², p -= lr d.
 * State: step, square_avg (v), acc_delta (a). PyTorch's lr: 1. */
#define TN_ADADELTA_OPTIONS(X)                                                                                                \
    X(double, rho, 0.9)                                                                                                       \
    X(double, eps, 1e-6)                                                                                                      \
    X(double, weight_decay, 0)                                                                                                \
    X(bool, maximize, false)
typedef struct tn_adadelta_args {
    size_t size TN_SIZE_(tn_adadelta_args);
    TN_ADADELTA_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_list *params TN_ZERO_;
    double lr TN_ZERO_;
} tn_adadelta_args;
TN_API tn_optim *tn_adadelta_new_with(const tn_adadelta_args *args);

/* RMSprop (Hinton 2012): v = alpha v + (1 - alpha) g², p -= lr d, d = g / (sqrt(v) + eps). .centered takes the square of g's running mean
 * off v (Graves 2013); .momentum: b = momentum b + d, p -= lr b. State: step, square_avg (v), momentum_buffer (b), grad_avg.
 * PyTorch's lr: 1e-2. */
#define TN_RMSPROP_OPTIONS(X)                                                                                                 \
    X(double, alpha, 0.99)                                                                                                    \
    X(double, eps, 1e-8)                                                                                                      \
    X(double, weight_decay, 0)                                                                                                \
    X(double, momentum, 0)                                                                                                    \
    X(bool, centered, false)                                                                                                  \
    X(bool, maximize, false)
typedef struct tn_rmsprop_args {
    size_t size TN_SIZE_(tn_rmsprop_args);
    TN_RMSPROP_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_list *params TN_ZERO_;
    double lr TN_ZERO_;
} tn_rmsprop_args;
TN_API tn_optim *tn_rmsprop_new_with(const tn_rmsprop_args *args);

/* Lion (Chen et al. 2023, not in PyTorch), g without decay:
 *     p *= 1 - lr weight_decay,  p -= lr sign(beta1 m + (1 - beta1) g),  m = beta2 m + (1 - beta2) g
 * State: exp_avg (m). The paper's lr: 1e-4. */
#define TN_LION_OPTIONS(X)                                                                                                    \
    X(double, beta1, 0.9)                                                                                                     \
    X(double, beta2, 0.99)                                                                                                    \
    X(double, weight_decay, 0)                                                                                                \
    X(bool, maximize, false)
typedef struct tn_lion_args {
    size_t size TN_SIZE_(tn_lion_args);
    TN_LION_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_list *params TN_ZERO_;
    double lr TN_ZERO_;
} tn_lion_args;
TN_API tn_optim *tn_lion_new_with(const tn_lion_args *args);

/* Muon (Jordan et al. 2024), for matrices alone: p *= 1 - lr weight_decay, p -= a lr O. O is the orthogonal matrix next to the momentum, by
 * ns_steps (below 100) of Newton and Schulz's iteration X = ns_a X + (ns_b A + ns_c A²) X, A = X Xᵀ, from an X of norm 1:
 *     b = momentum b + (1 - momentum) g, X from b, or from momentum b + (1 - momentum) g with .nesterov; g without decay
 * a for p [m, n]: sqrt(max(1, m / n)), 0.2 sqrt(max(m, n)), or sqrt(m / n), by adjust_lr_fn. PyTorch iterates in bfloat16, we in p's dtype.
 * State: momentum_buffer. PyTorch's lr: 1e-3. Errors too: a parameter that has not 2 dimensions. */
typedef enum tn_adjust_lr { TN_ADJUST_ORIGINAL, TN_ADJUST_MATCH_RMS_ADAMW, TN_ADJUST_SPECTRAL_UNCLAMPED } tn_adjust_lr;
#define TN_MUON_OPTIONS(X)                                                                                                    \
    X(double, weight_decay, 0.1)                                                                                              \
    X(double, momentum, 0.95)                                                                                                 \
    X(bool, nesterov, true)                                                                                                   \
    X(double, ns_a, 3.4445)                                                                                                   \
    X(double, ns_b, -4.7750)                                                                                                  \
    X(double, ns_c, 2.0315)                                                                                                   \
    X(double, eps, 1e-7)                                                                                                      \
    X(int, ns_steps, 5)                                                                                                       \
    X(tn_adjust_lr, adjust_lr_fn, TN_ADJUST_ORIGINAL)
typedef struct tn_muon_args {
    size_t size TN_SIZE_(tn_muon_args);
    TN_MUON_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_list *params TN_ZERO_;
    double lr TN_ZERO_;
} tn_muon_args;
TN_API tn_optim *tn_muon_new_with(const tn_muon_args *args);

/* ---- parameter groups ---------------------------------------------------------------------------------------------------- */

/* More parameters, with options of their own: tn_add_param_group(opt, params, .lr = 1e-4, .weight_decay = 0). What is not said is what the
 * optimiser was made with. Switches are 0 or 1. Errors: those of making the optimiser, a parameter of another group, an option that the
 * method has not. On failure nothing has changed. */
#define TN_INHERIT NAN
#define TN_GROUP_OPTIONS(X)                                                                                                   \
    X(double, lr, TN_INHERIT)                                                                                                 \
    X(double, momentum, TN_INHERIT)                                                                                           \
    X(double, dampening, TN_INHERIT)                                                                                          \
    X(double, weight_decay, TN_INHERIT)                                                                                       \
    X(double, nesterov, TN_INHERIT)                                                                                           \
    X(double, maximize, TN_INHERIT)                                                                                           \
    X(double, beta1, TN_INHERIT)                                                                                              \
    X(double, beta2, TN_INHERIT)                                                                                              \
    X(double, eps, TN_INHERIT)                                                                                                \
    X(double, amsgrad, TN_INHERIT)                                                                                            \
    X(double, decoupled_weight_decay, TN_INHERIT)                                                                             \
    X(double, momentum_decay, TN_INHERIT)                                                                                     \
    X(double, lr_decay, TN_INHERIT)                                                                                           \
    X(double, initial_accumulator_value, TN_INHERIT)                                                                          \
    X(double, rho, TN_INHERIT)                                                                                                \
    X(double, alpha, TN_INHERIT)                                                                                              \
    X(double, centered, TN_INHERIT)                                                                                           \
    X(double, ns_a, TN_INHERIT)                                                                                               \
    X(double, ns_b, TN_INHERIT)                                                                                               \
    X(double, ns_c, TN_INHERIT)                                                                                               \
    X(double, ns_steps, TN_INHERIT)                                                                                           \
    X(double, adjust_lr_fn, TN_INHERIT)
typedef struct tn_group_args {
    size_t size TN_SIZE_(tn_group_args);
    TN_GROUP_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_optim *optim TN_ZERO_;
    const tn_list *params TN_ZERO_;
} tn_group_args;
TN_API tn_status tn_add_param_group_with(const tn_group_args *args);
TN_API int tn_num_param_groups(const tn_optim *optim); /* 1 at first; 0 for NULL */
/* An option of a group by its name, "lr", "weight_decay"; NaN with TN_ERR_INDEX where there is no such group, TN_ERR_ARGUMENT where the
 * method has no such option. */
TN_API double tn_get_group_option(const tn_optim *optim, int group, const char *option);
/* Changes it from the next step on, within the option's range; an lr may be 0. */
TN_API tn_status tn_set_group_option(tn_optim *optim, int group, const char *option, double value);
/* The learning rate of the first group; NaN for NULL. */
TN_API double tn_get_lr(const tn_optim *optim);
/* Sets that of all groups; any finite value that is not negative. */
TN_API tn_status tn_set_lr(tn_optim *optim, double lr);

/* ---- steps ------------------------------------------------------------------------------------------------------------- */

/* One step over every parameter that has a gradient; those without keep their value and their state, as in PyTorch. Raises the
 * version of each storage that it writes. Records no graph. On failure (no memory, an error that sticks, a parameter that was cast
 * since the first step) neither a parameter nor its state has changed. */
TN_API tn_status tn_step(tn_optim *optim) TN_MUST_CHECK;
/* Makes the .grad of every parameter NULL. Works while an error sticks. */
TN_API void tn_zero_grad(tn_optim *optim);

/* Scales the gradients so that the norm of all of them, taken as one vector, is at most max_norm: g *= max_norm / (norm + 1e-6) where
 * that is below 1. Gives the norm from before, or NaN with an error. .norm_type: p, INFINITY for the greatest. A norm that is not finite
 * makes the gradients 0 or NaN, as in PyTorch; .error_if_nonfinite makes it TN_ERR_ARGUMENT and leaves them. Parameters without a gradient
 * are passed by. tn_clip_grad_norm(params, max_norm, ...). */
#define TN_CLIP_OPTIONS(X)                                                                                                    \
    X(double, norm_type, 2)                                                                                                   \
    X(bool, error_if_nonfinite, false)
typedef struct tn_clip_args {
    size_t size TN_SIZE_(tn_clip_args);
    TN_CLIP_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_list *params TN_ZERO_;
    double max_norm TN_ZERO_;
} tn_clip_args;
TN_API double tn_clip_grad_norm_with(const tn_clip_args *args);
/* Brings each element of the gradients into -clip_value ... clip_value. */
TN_API tn_status tn_clip_grad_value(const tn_list *params, double clip_value);

/* ---- a scale for gradients of 16 bits -------------------------------------------------------------------------------------- */

/* What torch.amp.GradScaler is, for TN_AUTOCAST(TN_F16): the loss is multiplied by a scale, so that small gradients do not become 0 in f16; a step whose
 * gradients have an infinity or NaN is left out, and the scale made smaller.
 *
 *     tn_check(tn_backward(tn_grad_scaler_scale(scaler, loss)));
 *     tn_check(tn_grad_scaler_unscale(scaler, opt));           only where the gradients are looked at: tn_clip_grad_norm()
 *     tn_check(tn_grad_scaler_step(scaler, opt));
 *     tn_check(tn_grad_scaler_update(scaler));
 */
typedef struct tn_grad_scaler tn_grad_scaler;
#define TN_GRAD_SCALER_OPTIONS(X)                                                                                             \
    X(double, init_scale, 65536)                                                                                              \
    X(double, growth_factor, 2)         /* after growth_interval updates in turn without infinities */                        \
    X(double, backoff_factor, 0.5)      /* after one with */                                                                   \
    X(int64_t, growth_interval, 2000)                                                                                         \
    X(bool, enabled, true)              /* false: nothing is scaled and each step is taken */
typedef struct tn_grad_scaler_args {
    size_t size TN_SIZE_(tn_grad_scaler_args);
    TN_GRAD_SCALER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
} tn_grad_scaler_args;
/* tn_grad_scaler_new(.init_scale = 1024): the caller's. TN_ERR_ARGUMENT: a scale not from 2^-126, below which it never falls, to 2^128, an interval
 * not above 0, a growth_factor not above 1, a backoff_factor not between 0 and 1. */
TN_API tn_grad_scaler *tn_grad_scaler_new_with(const tn_grad_scaler_args *args);
/* loss times the scale; loss itself where it is not enabled. */
TN_API tn_tensor *tn_grad_scaler_scale(tn_grad_scaler *scaler, tn_tensor *loss);
/* Divides the gradients of the optimiser's parameters by the scale, once between updates (TN_ERR_STATE). Waits for the device. */
TN_API tn_status tn_grad_scaler_unscale(tn_grad_scaler *scaler, tn_optim *optim) TN_MUST_CHECK;
/* tn_step(), unscaled before where that was not done, and only where no gradient has an infinity or NaN: whether there was one tells the scale after
 * the update. Once between updates (TN_ERR_STATE). */
TN_API tn_status tn_grad_scaler_step(tn_grad_scaler *scaler, tn_optim *optim) TN_MUST_CHECK;
/* Finds the scale of the next round. TN_ERR_STATE where nothing was unscaled since the last one. */
TN_API tn_status tn_grad_scaler_update(tn_grad_scaler *scaler) TN_MUST_CHECK;
/* The scale now, 1 where it is not enabled; NaN on error. */
TN_API double tn_get_grad_scale(const tn_grad_scaler *scaler);
/* PyTorch's "scale", "growth_factor", "backoff_factor", "growth_interval" and "_growth_tracker", of rank 0, and back: on failure (TN_ERR_ARGUMENT)
 * nothing has changed. */
TN_API tn_dict *tn_grad_scaler_state_dict(const tn_grad_scaler *scaler);
TN_API tn_status tn_load_grad_scaler_state(tn_grad_scaler *scaler, const tn_dict *dict);

/* ---- state, as named tensors (io.h) --------------------------------------------------------------------------------------- */

/* All that a resumed run needs, by PyTorch's names: "state.0.exp_avg" for each parameter that was stepped, counted over the groups, and
 * "param_groups.0.lr" for each option: f64, i64 or bool of rank 0, beta1 and beta2 as "betas" [2], ns_a to ns_c as "ns_coefficients" [3],
 * adjust_lr_fn as a note ("match_rms_adamw"); "param_groups.0.params", i64, are the group's parameters. State tensors are shared with the
 * optimiser: save them before the next step. */
TN_API tn_dict *tn_optim_state_dict(const tn_optim *optim);
/* Takes all of it back, in an optimiser made over parameters of the same shapes in the same groups; tensors are converted to the
 * parameters' dtypes. So it takes what PyTorch saved:
 *
 *     torch.save({"model": net.state_dict(), "optim": opt.state_dict()}, "run.pt")
 *
 *     tn_dict *run = tn_load_pt("run.pt");
 *     tn_check(tn_load_state_dict(net, tn_dict_part(run, "model.")));
 *     tn_check(tn_load_optim_state(opt, tn_dict_part(run, "optim.")));
 *
 * What only says how PyTorch computes (foreach, fused, capturable, differentiable) and what its OneCycleLR and CyclicLR keep in groups is
 * passed by; a switch that is missing is off. Errors: another name that is missing, one that the method does not know or does not use, a
 * shape, an option out of its range. On failure nothing has changed. */
TN_API tn_status tn_load_optim_state(tn_optim *optim, const tn_dict *dict);

/* ---- a moving average of weights ------------------------------------------------------------------------------------------ */

/* Keeps, beside parameters, a = decay a + (1 - decay) p: tn_ema_new(tn_parameters(net), 0.999). a is p until the first update, and at
 * it, as in torch.optim.swa_utils. Shares the parameters, of f32 or f64; decay is within 0 ... 1. */
typedef struct tn_ema tn_ema;
TN_API tn_ema *tn_ema_new(const tn_list *params, double decay);
/* Takes the parameters in: once after each step. On failure nothing has changed; so for all that follow. */
TN_API tn_status tn_ema_update(tn_ema *ema);
/* Writes the averages into the parameters. */
TN_API tn_status tn_ema_copy_to(const tn_ema *ema);
/* Exchanges both: validate with the averages between two calls. An update between them is TN_ERR_STATE. */
TN_API tn_status tn_ema_swap(tn_ema *ema);
/* "n_averaged", "swapped" (i64 of rank 0) and the averages, "0", "1", ... in the parameters' order, shared with the object. */
TN_API tn_dict *tn_ema_state_dict(const tn_ema *ema);
TN_API tn_status tn_load_ema_state(tn_ema *ema, const tn_dict *dict);

#ifdef __cplusplus
}
#endif

#endif
