/* The graph: a node for each operator that was recorded, edges to the nodes and leaves of its inputs.
 *
 * How an operator records itself, at its end:
 *
 *     static void exp_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
 *     {
 *         dx[0] = tn_mul(dy[0], tn_node_saved(node, 0));
 *     }
 *     return tn_record(y, "exp", exp_backward, TN_INPUTS(x), TN_SAVED(y), TN_NO_ATTR);
 *
 * Backward rules are written in tensor ops; dx[i] stays NULL where tn_wants(node, i) is false. An error inside sticks and ends the walk. */
#ifndef TN_NODE_H
#define TN_NODE_H

#include <tenon/autograd.h>

#include "core/core.h"

typedef struct tn_node tn_node;
typedef void (*tn_backward_fn)(tn_node *node, tn_tensor *const *dy, tn_tensor **dx);

typedef struct tn_edge {
    tn_object *target; /* a node, a leaf that requires a gradient, or NULL */
    int32_t output;    /* which output of the node */
} tn_edge;

typedef struct tn_saved_tensor {
    tn_tensor *tensor; /* an input as it is; an output without its history, so that no node owns itself */
    uint64_t version;
    int32_t output; /* which output it is, or -1 */
} tn_saved_tensor;

typedef struct tn_output {
    tn_shape shape;
    tn_dtype dtype;
    tn_device_id device;
    struct tn_hooks *hooks;
    tn_tensor *retained; /* tn_retain_grad: the tensor, not counted; cleared when it goes */
} tn_output;

struct tn_node {
    tn_object base;
    const char *name;
    tn_backward_fn backward;
    int64_t depth; /* 1 + the deepest input's: a walk in falling depth sees every node after all that use it */
    int inputs, outputs, saved_count;
    bool released; /* what forward saved is gone */
    bool takes_one; /* its rule takes a dy that is NULL for ones: the walk that begins here makes none */
    int autocast;  /* the thread's when forward ran; backward runs under it too */
    tn_edge *edges;
    tn_saved_tensor *saved;
    tn_output *output;
    void *attr;
    size_t block_size; /* edges, saved, output and attr lie in one block that begins at edges */
};

#define TN_ARRAY_(...) (tn_tensor *const[]){__VA_ARGS__}, (int)(sizeof((tn_tensor *const[]){__VA_ARGS__}) / sizeof(tn_tensor *))
#define TN_INPUTS(...) TN_ARRAY_(__VA_ARGS__)
#define TN_SAVED(...) TN_ARRAY_(__VA_ARGS__)
#define TN_NO_SAVED NULL, 0
#define TN_ATTR(variable) &(variable), sizeof(variable)
#define TN_NO_ATTR NULL, 0

/* Whether recording is on and one of the inputs (NULLs are skipped) is tracked. */
static inline bool tn_recording(tn_tensor *const *inputs, int count)
{
    if (tn_this.no_grad)
        return false;
    for (int i = 0; i < count; i++)
        if (inputs[i] && tn_tracks(inputs[i]))
            return true;
    return false;
}

tn_tensor *tn_record_(tn_tensor *const *ys, int outputs, const char *name, tn_backward_fn backward, tn_tensor *const *inputs, int n_inputs,
                      tn_tensor *const *saved, int n_saved, const void *attr, size_t attr_size);

/* Gives y its history, if recording; returns y, or NULL on no memory (or when y is NULL). attr is copied. Results of integer dtype get none. */
static inline tn_tensor *tn_record(tn_tensor *y, const char *name, tn_backward_fn backward, tn_tensor *const *inputs, int n_inputs,
                                   tn_tensor *const *saved, int n_saved, const void *attr, size_t attr_size)
{
    if (!y || (!tn_recording(inputs, n_inputs) && TN_LIKELY(!tn_this.detect_anomaly)))
        return y;
    return tn_record_(&y, 1, name, backward, inputs, n_inputs, saved, n_saved, attr, attr_size);
}
/* The same for an operator of several results; dy[i] of one that got no gradient is zeros. False on failure. */
static inline bool tn_record_many(tn_tensor *const *ys, int outputs, const char *name, tn_backward_fn backward, tn_tensor *const *inputs,
                                  int n_inputs, tn_tensor *const *saved, int n_saved, const void *attr, size_t attr_size)
{
    return (!tn_recording(inputs, n_inputs) && TN_LIKELY(!tn_this.detect_anomaly)) ||
           tn_record_(ys, outputs, name, backward, inputs, n_inputs, saved, n_saved, attr, attr_size) != NULL;
}

/* While NaNs are looked for: an error that names the operator `name`, and false, where one of its results, or a wanted gradient that the
 * node's backward gave, has one. */
bool tn_forward_is_sound(const char *name, tn_tensor *const *ys, int outputs, tn_tensor *const *inputs, int n_inputs);
bool tn_backward_is_sound(const tn_node *node, tn_tensor *const *dy, tn_tensor *const *dx);

/* ---- for backward rules ------------------------------------------------------------------------------------------------- */

/* Saved tensor i, the node's or the scope's: NULL, with an error, when it was changed in place or the graph was released; NULL without
 * one where NULL was saved. */
tn_tensor *tn_node_saved(tn_node *node, int i);
static inline const void *tn_node_attr(const tn_node *node) { return node->attr; }
/* Whether anyone asked for the gradient of input i in this walk. */
bool tn_wants(const tn_node *node, int i);
/* Whether the rule may write into the gradient that it was given: nobody else has it, and after the rule it goes. */
bool tn_may_overwrite(const tn_tensor *dy);

/* ---- in place ----------------------------------------------------------------------------------------------------------- */

/* To be called before an operator writes into x: false, with an error that says what to do, where autograd would be wrong: x is a leaf that
 * requires a gradient, or the write is recorded and x is a view or has views. `inputs` are the other operands. */
bool tn_inplace_check(const char *op, const tn_tensor *x, tn_tensor *const *inputs, int count);
/* To be called after it wrote: raises the version and, if recording, makes x the result of a node whose inputs are x as it was, then
 * `inputs`. Returns x, or NULL. */
tn_tensor *tn_record_inplace(tn_tensor *x, const char *name, tn_backward_fn backward, tn_tensor *const *inputs, int n_inputs,
                             tn_tensor *const *saved, int n_saved, const void *attr, size_t attr_size);

/* ---- hooks -------------------------------------------------------------------------------------------------------------- */

void tn_hooks_free(struct tn_hooks *hooks);
/* The gradient after all hooks, the scope's or as it was; NULL on error. */
tn_tensor *tn_hooks_run(const struct tn_hooks *hooks, tn_tensor *grad);
/* tensor_free: x was asked to retain its gradient, and goes. */
void tn_forget_retained(tn_tensor *x);

/* ---- used by the walk --------------------------------------------------------------------------------------------------- */

bool tn_is_tensor(const tn_object *object);
/* Where x's gradient arrives: its node and output, or itself; a NULL target when it is not tracked. */
tn_edge tn_edge_of(const tn_tensor *x);
/* Frees what forward saved. */
void tn_node_release_saved(tn_node *node);

#endif
