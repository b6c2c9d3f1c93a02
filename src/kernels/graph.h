/* What a capture is told by those whose work differs from replay to replay. All are for a thread that captures. */
#ifndef TN_KERNELS_GRAPH_H
#define TN_KERNELS_GRAPH_H

#include "core/core.h"
#include "kernels/kernels.h"

/* Whether this thread captures from the device: nothing that is asked of it is computed now. */
bool tn_captures(tn_device_id device);
/* optim_step ran over these items: a replay has these scalars, unless it is an optimiser's step. */
tn_status tn_capture_scalars(const tn_step_item *items, int count);
/* The last count items were a step of the object, which is retained: again counts one more of its parameters at places, and gives its scalars. */
typedef void (*tn_step_again)(void *object, const int *places, int count, tn_step_scalars *scalars);
tn_status tn_capture_step(void *object, tn_step_again again, const int *places, int count);

#endif
