/* Tenon: automatic differentiation. Operators on tensors that require a gradient record a graph; backward walks it. */
#ifndef TENON_AUTOGRAD_H
#define TENON_AUTOGRAD_H

#include <tenon/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- grad mode, per thread ---------------------------------------------------------------------------------------------- */

typedef struct tn_grad_mode {
    bool former;
} tn_grad_mode;
TN_API bool tn_grad_enabled(void);
/* Switches recording on or off; tn_grad_mode_restore brings back what was before. */
TN_API tn_grad_mode tn_grad_mode_set(bool enabled);
TN_API void tn_grad_mode_restore(tn_grad_mode *mode);
/* Declarations: no recording, or recording, to the end of the enclosing block. */
#define TN_NO_GRAD TN_CLEANUP_(tn_grad_mode_restore) tn_grad_mode TN_UNIQUE_(tn_no_grad_at_) = tn_grad_mode_set(false)
#define TN_ENABLE_GRAD TN_CLEANUP_(tn_grad_mode_restore) tn_grad_mode TN_UNIQUE_(tn_grad_at_) = tn_grad_mode_set(true)

/* ---- anomaly detection, per thread -------------------------------------------------------------------------------------- */

/* While on, the first operator whose result has a NaN is an error (TN_ERR_STATE), and the first whose backward gives a gradient with one
 * (TN_ERR_GRAD, no .grad has changed): the message names the operator, the element, and an input or a given gradient that had one before. Each
 * result is read once more and waited for, so this is for looking for a fault. Off at first; returns what was before. */
TN_API bool tn_set_detect_anomaly(bool on);

/* ---- gradients ---------------------------------------------------------------------------------------------------------- */

/* Asks for a gradient of a leaf of floating dtype, or stops asking. A non-leaf is TN_ERR_STATE: detach it first. */
TN_API tn_status tn_set_requires_grad(tn_tensor *x, bool requires_grad);
/* The accumulated gradient: NULL before backward and after zero_grad. It belongs to x; retain it to keep it. */
TN_API tn_tensor *tn_grad(const tn_tensor *x);
/* Replaces .grad (NULL clears it). Shape, dtype and device must be x's. Shares grad. */
TN_API tn_status tn_set_grad(tn_tensor *x, tn_tensor *grad);
/* Keeps .grad of a non-leaf too. */
TN_API tn_status tn_retain_grad(tn_tensor *x);

#define TN_BACKWARD_OPTIONS(X)                                                                                                \
    X(tn_tensor *, grad, NULL)      /* d(something)/dx; may be left out only where x has one element */                       \
    X(bool, retain_graph, false)    /* keep what forward saved, for another backward */
typedef struct tn_backward_args {
    size_t size TN_SIZE_(tn_backward_args);
    TN_BACKWARD_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_backward_args;
/* tn_backward(loss): adds the gradient of x to .grad of every leaf that it depends on. On failure no .grad has changed. */
TN_API tn_status tn_backward_with(const tn_backward_args *args) TN_MUST_CHECK;

#define TN_GRAD_OPTIONS(X)                                                                                                    \
    X(tn_tensor *, grad, NULL)      /* as in tn_backward */                                                                   \
    X(tn_tensor *const *, grads, NULL) /* of tn_grads_of: one for each output, each may be NULL */                            \
    X(bool, retain_graph, false)                                                                                              \
    X(bool, create_graph, false)    /* record the gradients' own computation, for second derivatives; keeps the graph too */  \
    X(bool, allow_unused, false)    /* an input that no output depends on gets NULL instead of an error */
typedef struct tn_grad_of_args { /* tn_grad_of(y, x, .create_graph = true) */
    size_t size TN_SIZE_(tn_grad_of_args);
    TN_GRAD_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *output TN_ZERO_, *input TN_ZERO_;
} tn_grad_of_args;
/* The gradient of output with respect to input; leaves every .grad alone. */
TN_API tn_tensor *tn_grad_of_with(const tn_grad_of_args *args);
typedef struct tn_grads_of_args { /* tn_grads_of(outputs, n, inputs, m, results) */
    size_t size TN_SIZE_(tn_grads_of_args);
    TN_GRAD_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *const *outputs TN_ZERO_;
    int output_count TN_ZERO_;
    tn_tensor *const *inputs TN_ZERO_;
    int input_count TN_ZERO_;
    tn_tensor **results TN_ZERO_; /* [input_count], the scope's */
} tn_grads_of_args;
/* The same for several outputs (their gradients are added) and inputs. */
TN_API tn_status tn_grads_of_with(const tn_grads_of_args *args) TN_MUST_CHECK;

/* A hook gets the whole gradient of x in each backward and may return another in its place, or NULL to leave it. It must not keep grad
 * without tn_retain. Hooks run in the order in which they were added. */
typedef tn_tensor *(*tn_hook)(tn_tensor *grad, void *context);
TN_API tn_status tn_add_hook(tn_tensor *x, tn_hook hook, void *context);
/* Takes out every hook added with this function and context; a hook may take out itself. */
TN_API tn_status tn_remove_hook(tn_tensor *x, tn_hook hook, void *context);

/* ---- operators of one's own --------------------------------------------------------------------------------------------- */

typedef struct tn_context tn_context;
/* forward computes out[0 ... n_out-1] (the scope's) from in[]; it runs without recording. backward gets d/dout (NULL for results of
 * integer dtype alone) and sets grad_in[i], or leaves it NULL where input i has no gradient; one of another floating dtype is cast to the
 * input's. Written in tensor ops it can itself be differentiated. Both raise errors by tn_fail. */
typedef struct tn_function {
    const char *name;
    void (*forward)(tn_context *context, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out);
    void (*backward)(tn_context *context, tn_tensor *const *grad_out, int n_out, tn_tensor **grad_in, int n_in);
} tn_function;
/* Keeps an input or output for backward, which gets it by tn_saved(context, i) in the order of saving (16 at most). */
TN_API tn_status tn_save(tn_context *context, tn_tensor *x);
TN_API tn_tensor *tn_saved(tn_context *context, int i);
/* The bytes given to tn_apply, copied: the operator's own parameters. */
TN_API const void *tn_context_data(const tn_context *context);
/* Whether backward must compute grad_in[i]. */
TN_API bool tn_needs_grad(const tn_context *context, int i);
/* Runs an operator of one result. function must outlive the graph. data (size bytes, may be NULL) is copied. */
TN_API tn_tensor *tn_apply(const tn_function *function, const void *data, size_t size, tn_tensor *const *in, int n_in);
/* The same for several results (8 at most). */
TN_API tn_status tn_apply_n(const tn_function *function, const void *data, size_t size, tn_tensor *const *in, int n_in,
                            tn_tensor **out, int n_out) TN_MUST_CHECK;

/* ---- checking ----------------------------------------------------------------------------------------------------------- */

#define TN_GRADCHECK_OPTIONS(X)                                                                                               \
    X(double, eps, 1e-6)                                                                                                      \
    X(double, atol, 1e-5)                                                                                                     \
    X(double, rtol, 1e-3)                                                                                                     \
    X(bool, second, false) /* check the gradient's gradient too */
typedef struct tn_gradcheck_args { /* tn_gradcheck(function, context, inputs, n) */
    size_t size TN_SIZE_(tn_gradcheck_args);
    TN_GRADCHECK_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *(*function)(tn_tensor *const *inputs, int count, void *context) TN_ZERO_;
    void *context TN_ZERO_;
    tn_tensor *const *inputs TN_ZERO_; /* contiguous f64; those that require a gradient are checked */
    int count TN_ZERO_;
} tn_gradcheck_args;
/* Compares gradients with central differences; on a difference TN_ERR_GRAD names the input, the element and both numbers. */
TN_API tn_status tn_gradcheck_with(const tn_gradcheck_args *args) TN_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
