/* Tenon: optimisers. One is made over a list of parameters and changes them, in place, by their .grad:
 *
 *     tn_optim *opt = tn_adam_new(tn_parameters(net), 1e-3, .weight_decay = 1e-4);
 *     ...
 *     tn_zero_grad(opt);
 *     tn_check(tn_backward(loss));
 *     tn_check(tn_step(opt));
 *     ...
 *     tn_release(opt);
 *
 * An optimiser shares the parameters (they live at least as long as it does) and keeps its moments in their order. Parameters are
 * leaves of f32 or f64. Defaults, names and formulas are those of torch.optim, computed in the parameter's dtype in the same order. */
#ifndef TENON_OPTIM_H
#define TENON_OPTIM_H

#include <tenon/list.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_optim tn_optim;

/* Stochastic gradient descent. With g the gradient (negated by .maximize) plus weight_decay p:
 *     b = momentum b + (1 - dampening) g    (b = g at a parameter's first step)
 *     p -= lr b, or lr (g + momentum b) with .nesterov; lr g where momentum is 0
 * tn_sgd_new(params, lr, ...). Errors: params NULL or empty, one that is no leaf, requires no gradient, comes twice or is of another
 * dtype; lr <= 0; a negative momentum or weight decay; nesterov without momentum or with dampening. */
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

/* Adam (Kingma and Ba 2015). With g the gradient (negated by .maximize) plus weight_decay p, at a parameter's step t:
 *     m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g²
 *     p -= lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)
 * .amsgrad takes the largest v so far (Reddi et al. 2018). .decoupled_weight_decay makes it AdamW (Loshchilov and Hutter 2019): the
 * decay is p *= 1 - lr weight_decay instead of a part of g. tn_adam_new(params, lr, ...); errors as for tn_sgd_new, and a beta outside
 * [0, 1) or a negative eps. */
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

/* One step over every parameter that has a gradient; those without keep their value and their moments, as in PyTorch. Raises the
 * version of each storage that it writes. Records no graph. On failure (no memory, an error that sticks, a parameter cast since its
 * first step) neither a parameter nor a moment has changed. */
TN_API tn_status tn_step(tn_optim *optim) TN_MUST_CHECK;
/* Makes the .grad of every parameter NULL. Works while an error sticks. */
TN_API void tn_zero_grad(tn_optim *optim);
/* The learning rate; NaN for NULL. */
TN_API double tn_get_lr(const tn_optim *optim);
/* Changes it from the next step on; any finite value that is not negative. */
TN_API tn_status tn_set_lr(tn_optim *optim, double lr);

#ifdef __cplusplus
}
#endif

#endif
