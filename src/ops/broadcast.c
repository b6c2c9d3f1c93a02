#include "ops/broadcast.h"

#include <tenon/ops.h>

tn_tensor *tn_sum_to_shape(tn_tensor *grad, tn_shape shape)
{
    if (tn_failing() || !grad || tn_shape_equal(tn_shape_of(grad), shape))
        return grad;
    int extra = grad->ndim - shape.ndim;
    tn_reduce_args sum = {.size = sizeof sum, .dim = TN_ALL_DIMS, .keepdim = true, .x = grad};
    for (int d = 0; d < grad->ndim; d++)
        if (d < extra || (shape.sizes[d - extra] == 1 && grad->sizes[d] != 1))
            sum.dims.dim[sum.dims.count++] = d;
    tn_tensor *summed = sum.dims.count ? tn_sum_with(&sum) : grad;
    return tn_reshape(summed, shape);
}

tn_tensor *tn_sum_to(tn_tensor *grad, const tn_tensor *like)
{
    tn_tensor *summed = tn_sum_to_shape(grad, tn_shape_of(like));
    return summed && summed->dtype != like->dtype ? tn_cast(summed, (tn_dtype)like->dtype) : summed;
}
