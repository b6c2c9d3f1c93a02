/* One pass of a kernel over many tensors. Everything that can fail is done before the pass, so that a failure changes nothing. */
#ifndef TN_SWEEP_H
#define TN_SWEEP_H

#include "core/core.h"
#include "kernels/kernels.h"

/* Lives within a scope, which holds the contiguous copies. */
typedef struct tn_sweep {
    int count;
    int64_t capacity;
    tn_step_item *items;  /* [capacity] */
    tn_tensor **targets;  /* [capacity]: what is written */
    tn_tensor **dense;    /* [capacity]: the target, or a contiguous copy to be written back */
} tn_sweep;

/* Room for so many tensors. False on no memory; tn_sweep_end() is due either way. */
bool tn_sweep_begin(tn_sweep *sweep, int64_t capacity);
void tn_sweep_end(tn_sweep *sweep);
/* Adds a tensor of f32 or f64, and the one that its x is read from, of its dtype and shape, or NULL. The item's scalars give x = g and
 * w = p, its states are to be set. NULL on failure. */
tn_step_item *tn_sweep_add(tn_sweep *sweep, tn_tensor *target, const tn_tensor *x);
/* Runs the op over all that was added and raises the versions of the targets. */
tn_status tn_sweep_run(tn_sweep *sweep, tn_step_op op);

#endif
