#include "ops/relu_mask.h"

#include "core/loop.h"

static void relu_mask_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = tn_relu_mask(dy[0], tn_node_saved(node, 0));
}

tn_tensor *tn_relu_mask(tn_tensor *dy, tn_tensor *y)
{
    if (tn_failing() || !dy || !y)
        return NULL;
    tn_tensor *masked = dy->dtype == y->dtype && tn_may_overwrite(dy)
                            ? dy
                            : tn_new("relu_backward", tn_shape_of(y), (tn_dtype)y->dtype, y->storage->device);
    const tn_tensor *inputs[] = {dy, y};
    tn_loop loop;
    if (!masked || (tn_loop_make(&loop, masked, inputs, 2) &&
                    tn_kernels_for(masked)->binary(TN_BINARY_RELU_BACKWARD, (tn_dtype)y->dtype, &loop) != TN_OK))
        return NULL;
    if (masked == dy)
        tn_storage_touch(dy->storage);
    return tn_record(masked, "relu_backward", relu_mask_backward, TN_INPUTS(dy), TN_SAVED(y), TN_NO_ATTR);
}
