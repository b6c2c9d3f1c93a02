/* From tensors to the kernels' loops: broadcasting strides, dims sorted and coalesced. */
#ifndef TN_LOOP_H
#define TN_LOOP_H

#include "core/core.h"
#include "kernels/kernels.h"

/* The loop of out (operand 0) over the inputs, each broadcast to out's shape. False when there is nothing to do (out is empty). */
bool tn_loop_make(tn_loop *loop, const tn_tensor *out, const tn_tensor *const *inputs, int count);
/* The table of x's device. */
static inline const tn_kernels *tn_kernels_for(const tn_tensor *x)
{
    return TN_LIKELY(x->storage->device.type == TN_CPU) ? tn_kernels_of(TN_CPU) : tn_kernels_on(x->storage->device);
}
/* Writes from's elements into x, broadcast and converted, past the rules of autograd; raises x's version. Allocates nothing, but where they
 * are on two devices. */
tn_status tn_overwrite(tn_tensor *x, const tn_tensor *from);

#endif
