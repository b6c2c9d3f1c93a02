/* The methods: for each its options, its states, and the scalars of a step. The updates themselves are kernels/cpu/optim_loops.h. */
#include <math.h>

#include <tenon/ops.h>

#include "optim/optim.h"

/* Defines tn_<name>_new_with and the method behind it; what follows the op sets fields of tn_method. */
#define TYPE_(type) _Generic((type)0, double: TN_OPTION_DOUBLE, bool: TN_OPTION_BOOL, tn_adjust_lr: TN_OPTION_ADJUST_LR, int: TN_OPTION_INT)
#define METHOD(kind, LIST, OP, ...)                                                                                           \
    static const tn_option kind##_options[] = {                                                                               \
        {"lr", offsetof(tn_##kind##_args, lr), TN_OPTION_DOUBLE}, LIST(kind##_OPTION_){NULL, 0, TN_OPTION_DOUBLE}};           \
    static const tn_method kind##_method = {.name = #kind, .op = TN_STEP_##OP, .args_size = sizeof(tn_##kind##_args),         \
        .params_offset = offsetof(tn_##kind##_args, params), .options = kind##_options, .scalars = kind##_scalars, __VA_ARGS__}; \
    tn_optim *tn_##kind##_new_with(const tn_##kind##_args *args)                                                              \
    {                                                                                                                         \
        TN_KNOWN(tn_##kind##_args, args);                                                                                     \
        return tn_optim_make(&kind##_method, args);                                                                           \
    }
#define OPTION_(kind, type, name) {#name, offsetof(tn_##kind##_args, name), TYPE_(type)},

/* ---- SGD ---------------------------------------------------------------------------------------------------------------- */

static unsigned sgd_uses(const void *args) { return ((const tn_sgd_args *)args)->momentum != 0; }

static bool sgd_check(const void *args)
{
    const tn_sgd_args *a = args;
    if (!a->nesterov || (a->momentum > 0 && a->dampening == 0))
        return true;
    tn_fail(TN_ERR_ARGUMENT, "sgd: nesterov needs a momentum above 0 and no dampening, not %g and %g", a->momentum, a->dampening);
    return false;
}

static void sgd_scalars(const void *args, tn_slot_steps *now, tn_step_scalars *c)
{
    const tn_sgd_args *a = args;
    bool first = !(now->begun & 1);
    c->decay = a->weight_decay;
    c->sign = a->maximize ? -1 : 1;
    c->rate = a->lr;
    c->keep1 = first ? 0 : a->momentum;
    c->take1 = first ? 1 : 1 - a->dampening;
    c->ahead = a->nesterov ? 1 : 0;
    c->scale = a->nesterov ? a->momentum : 1;
}
#define sgd_OPTION_(type, name, value) OPTION_(sgd, type, name)
METHOD(sgd, TN_SGD_OPTIONS, SGD, .states = {"momentum_buffer"}, .uses = sgd_uses, .check = sgd_check)

/* ---- Adam and its kin --------------------------------------------------------------------------------------------------- */

#define ADAM_STATES .states = {"exp_avg", "exp_avg_sq"}, .step = true

/* What Adam, NAdam, RAdam and Adamax have in common. */
static void moments(tn_step_scalars *c, double beta1, double beta2, double eps, bool maximize)
{
    c->sign = maximize ? -1 : 1;
    c->take1 = 1 - beta1;
    c->keep2 = beta2;
    c->take2 = 1 - beta2;
    c->scale = 1;
    c->eps = eps;
}

static void decay(tn_step_scalars *c, double lr, double weight_decay, bool decoupled)
{
    c->shrink = decoupled ? 1 - lr * weight_decay : 1;
    c->decay = decoupled ? 0 : weight_decay;
}

static unsigned adam_uses(const void *args) { return ((const tn_adam_args *)args)->amsgrad ? 7 : 3; }

static void adam_scalars(const void *args, tn_slot_steps *now, tn_step_scalars *c)
{
    const tn_adam_args *a = args;
    double t = (double)now->step;
    moments(c, a->beta1, a->beta2, a->eps, a->maximize);
    decay(c, a->lr, a->weight_decay, a->decoupled_weight_decay);
    c->rate = a->lr / (1 - pow(a->beta1, t));
    c->scale = 1 / sqrt(1 - pow(a->beta2, t));
}
#define adam_OPTION_(type, name, value) OPTION_(adam, type, name)
METHOD(adam, TN_ADAM_OPTIONS, ADAM, .states = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}, .step = true, .uses = adam_uses)

static unsigned adamw_uses(const void *args) { return ((const tn_adamw_args *)args)->amsgrad ? 7 : 3; }

static void adamw_scalars(const void *args, tn_slot_steps *now, tn_step_scalars *c)
{
    const tn_adamw_args *a = args;
    const tn_adam_args adam = {.beta1 = a->beta1, .beta2 = a->beta2, .eps = a->eps, .weight_decay = a->weight_decay,
                               .maximize = a->maximize, .decoupled_weight_decay = true, .lr = a->lr};
    adam_scalars(&adam, now, c);
}
#define adamw_OPTION_(type, name, value) OPTION_(adamw, type, name)
METHOD(adamw, TN_ADAMW_OPTIONS, ADAM, .states = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}, .step = true, .uses = adamw_uses,
       .always = "decoupled_weight_decay")

static double nadam_mu(const tn_nadam_args *a, double t) { return a->beta1 * (1 - 0.5 * pow(0.96, t * a->momentum_decay)); }

static void nadam_scalars(const void *args, tn_slot_steps *now, tn_step_scalars *c)
{
    const tn_nadam_args *a = args;
    double t = (double)now->step, mu = nadam_mu(a, t), mu_next = nadam_mu(a, t + 1);
    now->mu_product *= mu;
    moments(c, a->beta1, a->beta2, a->eps, a->maximize);
    decay(c, a->lr, a->weight_decay, a->decoupled_weight_decay);
    c->rate = a->lr * mu_next / (1 - now->mu_product * mu_next);
    c->ahead = a->lr * (1 - mu) / (1 - now->mu_product);
    c->scale = 1 / sqrt(1 - pow(a->beta2, t));
}
#define nadam_OPTION_(type, name, value) OPTION_(nadam, type, name)
METHOD(nadam, TN_NADAM_OPTIONS, ADAM, ADAM_STATES, .mu_product = true)

static void radam_scalars(const void *args, tn_slot_steps *now, tn_step_scalars *c)
{
    const tn_radam_args *a = args;
    double t = (double)now->step, correction2 = 1 - pow(a->beta2, t);
    double r = 2 / (1 - a->beta2) - 1, rt = r - 2 * t * pow(a->beta2, t) / correction2;
    moments(c, a->beta1, a->beta2, a->eps, a->maximize);
    decay(c, a->lr, a->weight_decay, a->decoupled_weight_decay);
    c->rate = a->lr / (1 - pow(a->beta1, t));
    if (rt > 5) {
        c->rate *= sqrt(correction2) * sqrt((rt - 4) * (rt - 2) * r / ((r - 4) * (r - 2) * rt));
    } else { /* by the mean alone: the denominator is 1 */
        c->scale = 0;
        c->eps = 1;
    }
}
#define radam_OPTION_(type, name, value) OPTION_(radam, type, name)
METHOD(radam, TN_RADAM_OPTIONS, ADAM, ADAM_STATES)

static void adamax_scalars(const void *args, tn_slot_steps *now, tn_step_scalars *c)
{
    const tn_adamax_args *a = args;
    moments(c, a->beta1, a->beta2, a->eps, a->maximize);
    c->decay = a->weight_decay;
    c->rate = a->lr / (1 - pow(a->beta1, (double)now->step));
}
#define adamax_OPTION_(type, name, value) OPTION_(adamax, type, name)
METHOD(adamax, TN_ADAMAX_OPTIONS, ADAMAX, .states = {"exp_avg", "exp_inf"}, .step = true)

/* ---- by the squares' sum or mean ---------------------------------------------------------------------------------------- */

static double adagrad_start(const void *args) { return ((const tn_adagrad_args *)args)->initial_accumulator_value; }

static void adagrad_scalars(const void *args, tn_slot_steps *now, tn_step_scalars *c)
{
    const tn_adagrad_args *a = args;
    c->sign = a->maximize ? -1 : 1;
    c->decay = a->weight_decay;
    c->rate = a->lr / (1 + (double)(now->step - 1) * a->lr_decay);
    c->keep2 = c->take2 = 1;
    c->eps = a->eps;
}
#define adagrad_OPTION_(type, name, value) OPTION_(adagrad, type, name)
METHOD(adagrad, TN_ADAGRAD_OPTIONS, RMSPROP, .states = {"sum"}, .step = true, .start = adagrad_start)

static void adadelta_scalars(const void *args, tn_slot_steps *now, tn_step_scalars *c)
{
    (void)now;
    const tn_adadelta_args *a = args;
    c->sign = a->maximize ? -1 : 1;
    c->decay = a->weight_decay;
    c->rate = a->lr;
    c->keep2 = a->rho;
    c->take2 = 1 - a->rho;
    c->eps = a->eps;
}
#define adadelta_OPTION_(type, name, value) OPTION_(adadelta, type, name)
METHOD(adadelta, TN_ADADELTA_OPTIONS, ADADELTA, .states = {"square_avg", "acc_delta"}, .step = true)

static unsigned rmsprop_uses(const void *args)
{
    const tn_rmsprop_args *a = args;
    return 1u | (a->momentum > 0 ? 2u : 0) | (a->centered ? 4u : 0);
}

static void rmsprop_scalars(const void *args, tn_slot_steps *now, tn_step_scalars *c)
{
    (void)now;
    const tn_rmsprop_args *a = args;
    c->sign = a->maximize ? -1 : 1;
    c->decay = a->weight_decay;
    c->rate = a->lr;
    c->keep1 = a->momentum;
    c->keep2 = a->alpha;
    c->take2 = 1 - a->alpha;
    c->eps = a->eps;
}
#define rmsprop_OPTION_(type, name, value) OPTION_(rmsprop, type, name)
METHOD(rmsprop, TN_RMSPROP_OPTIONS, RMSPROP, .states = {"square_avg", "momentum_buffer", "grad_avg"}, .step = true, .uses = rmsprop_uses)

/* ---- by the momentum's direction ---------------------------------------------------------------------------------------- */

static void lion_scalars(const void *args, tn_slot_steps *now, tn_step_scalars *c)
{
    (void)now;
    const tn_lion_args *a = args;
    c->sign = a->maximize ? -1 : 1;
    c->shrink = 1 - a->lr * a->weight_decay;
    c->rate = a->lr;
    c->keep1 = a->beta1;
    c->take1 = 1 - a->beta1;
    c->keep2 = a->beta2;
    c->take2 = 1 - a->beta2;
}
#define lion_OPTION_(type, name, value) OPTION_(lion, type, name)
METHOD(lion, TN_LION_OPTIONS, LION, .states = {"exp_avg"})

static bool muon_check(const void *args)
{
    const tn_muon_args *a = args;
    if (a->ns_steps >= 100 || a->ns_steps < 0)
        tn_fail(TN_ERR_ARGUMENT, "muon: ns_steps is %d: it must be from 0 to 99", a->ns_steps);
    else if (a->adjust_lr_fn < TN_ADJUST_ORIGINAL || a->adjust_lr_fn > TN_ADJUST_SPECTRAL_UNCLAMPED)
        tn_fail(TN_ERR_ARGUMENT, "muon: adjust_lr_fn is %d and none of tn_adjust_lr", (int)a->adjust_lr_fn);
    return !tn_failing();
}

static double muon_adjust(const tn_muon_args *a, const tn_tensor *x)
{
    double m = (double)x->sizes[0], n = (double)x->sizes[1];
    if (a->adjust_lr_fn == TN_ADJUST_MATCH_RMS_ADAMW)
        return 0.2 * sqrt(fmax(m, n));
    return sqrt(a->adjust_lr_fn == TN_ADJUST_ORIGINAL ? fmax(1, m / n) : m / n);
}

#define N(value) tn_scalar_f64(value)

/* One turn of the iteration: x [rows, cols], rows <= cols. */
static tn_tensor *newton_schulz(const tn_muon_args *a, tn_tensor *x)
{
    TN_SCOPE;
    tn_tensor *gram = tn_matmul(x, tn_transpose(x, 0, 1)); /* [rows, rows] */
    tn_tensor *factor = tn_add(tn_mul(gram, N(a->ns_b)), tn_mul(tn_matmul(gram, gram), N(a->ns_c)));
    return tn_pass(tn_add(tn_mul(x, N(a->ns_a)), tn_matmul(factor, x)));
}

static tn_tensor *muon_direction(const void *args, tn_tensor *grad, tn_tensor *state)
{
    const tn_muon_args *a = args;
    tn_tensor *x = tn_lerp(state, grad, N(1 - a->momentum));
    x = a->nesterov ? tn_lerp(grad, x, N(a->momentum)) : x;
    bool tall = x && x->sizes[0] > x->sizes[1];
    x = tall ? tn_transpose(x, 0, 1) : x;
    tn_norm_args all = {.size = sizeof all, TN_REDUCE_OPTIONS(TN_DEFAULT_) TN_NORM_OPTIONS(TN_DEFAULT_).x = x};
    double norm = tn_item(tn_norm_with(&all));
    x = tn_div(x, N(norm < a->eps ? a->eps : norm));
    for (int i = 0; i < a->ns_steps; i++)
        x = newton_schulz(a, x);
    x = x ? tn_mul(x, N(muon_adjust(a, grad))) : NULL;
    return tn_contiguous(tall && x ? tn_transpose(x, 0, 1) : x);
}

static void muon_scalars(const void *args, tn_slot_steps *now, tn_step_scalars *c)
{
    (void)now;
    const tn_muon_args *a = args;
    c->shrink = 1 - a->lr * a->weight_decay;
    c->rate = a->lr;
    c->take1 = 1 - a->momentum;
}
#define muon_OPTION_(type, name, value) OPTION_(muon, type, name)
METHOD(muon, TN_MUON_OPTIONS, MUON, .states = {"momentum_buffer"}, .check = muon_check, .direction = muon_direction)
