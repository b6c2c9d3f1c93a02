/* Optimisers as this room sees them: what a method is (methods.c), and the object that steps by it (optim.c). */
#ifndef TN_OPTIM_H
#define TN_OPTIM_H

#include <tenon/optim.h>

#include "core/core.h"
#include "kernels/kernels.h"

/* An option of a method: a field of its options struct, by which it is read and written as a double. */
typedef struct tn_option {
    const char *name;
    size_t offset;
    enum { TN_OPTION_DOUBLE, TN_OPTION_BOOL, TN_OPTION_INT, TN_OPTION_ADJUST_LR } type; /* the last: an int that files name by a word */
} tn_option;

/* How far a parameter came. */
typedef struct tn_slot_steps {
    int64_t step;
    double mu_product; /* NAdam's */
    unsigned begun;    /* a bit for each state that a step has written */
} tn_slot_steps;

/* A method declares what is its own; making, groups, options, steps and files follow from it. `args` is its options struct. */
typedef struct tn_method {
    const char *name;
    tn_step_op op;
    size_t args_size, params_offset;         /* of the options struct, and its field params */
    const tn_option *options;                /* lr first; ends with a NULL name */
    const char *states[TN_STEP_STATES];      /* the state tensors' names in a file, in the op's order */
    bool step, mu_product;                   /* these numbers are part of a parameter's state too */
    const char *always;                      /* an option of PyTorch's method that here is always true, or NULL */
    unsigned (*uses)(const void *args);      /* a bit for each state in use; NULL: all that have a name */
    bool (*check)(const void *args);         /* what ranges do not say; false with an error; NULL: nothing */
    double (*start)(const void *args);       /* what the states begin as; NULL: 0 */
    /* The scalars of the step that leads to `now`, whose step is counted and whose mu_product is to be brought up to date. They come as
     * 0 but for sign and shrink, which are 1. */
    void (*scalars)(const void *args, tn_slot_steps *now, tn_step_scalars *c);
    /* A tensor of the scope like the parameter, from its gradient and its first state, for the op's state 1. NULL: none is needed. */
    tn_tensor *(*direction)(const void *args, tn_tensor *grad, tn_tensor *state);
} tn_method;

/* What belongs to one parameter. */
typedef struct tn_slot {
    tn_tensor *param;
    tn_tensor *state[TN_STEP_STATES]; /* contiguous; NULL until the first step, and where the method has none */
    tn_slot_steps now, next;          /* next: after the step under way */
} tn_slot;

typedef struct tn_group {
    void *args;        /* the options struct, params NULL */
    int first, count;  /* its slots */
    double initial_lr; /* what schedules start from; NaN until there is one */
} tn_group;

struct tn_optim {
    tn_object base;
    const tn_method *method;
    void *defaults; /* as it was made: what groups inherit */
    tn_group *groups;
    tn_slot *slots;
    int group_count, count;
};

/* The constructor of every method: an optimiser of one group. */
tn_optim *tn_optim_make(const tn_method *method, const void *args);
/* The option of that name, or NULL; no error. */
const tn_option *tn_option_find(const tn_method *method, const char *name);
double tn_option_get(const void *args, const tn_option *option);
void tn_option_set(void *args, const tn_option *option, double value);
/* Whether a whole options struct is in its ranges; false with an error that names the method. */
bool tn_options_fit(const tn_method *method, const void *args);
/* A bit for each state tensor that a parameter with these options has. */
unsigned tn_states_used(const tn_method *method, const void *args);

#endif
