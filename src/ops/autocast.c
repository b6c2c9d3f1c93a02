/* Autocast: which dtype products of f32 round their operands to. Products look at the thread's state; a node of the graph keeps what
 * it was, and backward runs under it. */
#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/product.h"
#include "kernels/kernels.h"

tn_dtype tn_autocast_dtype(void) { return (tn_dtype)tn_this.autocast; }

tn_autocast_mode tn_autocast_set(tn_dtype dtype)
{
    static bool said;
    const tn_autocast_mode former = {(tn_dtype)tn_this.autocast};
    if (dtype != TN_F32 && dtype != TN_BF16 && dtype != TN_F16) {
        tn_fail(TN_ERR_DTYPE, "autocast: %s: products round to bfloat16 or float16, or with float32 not at all", tn_dtype_name(dtype));
        return former;
    }
    tn_this.autocast = dtype;
    if (dtype == TN_BF16 && !tn_has_bf16_products() && !__atomic_exchange_n(&said, true, __ATOMIC_RELAXED))
        tn_warn("autocast: %s kernels have no products of bfloat16 on this processor: they are rounded and multiplied in float32, which is "
                "slower than without autocast", tn_cpu_isa());
    return former;
}

const tn_tensor *tn_rounded_to_f16(const tn_tensor *x)
{
    if (!x || x->dtype != TN_F32)
        return x;
    tn_tensor *half = tn_new("autocast", tn_shape_of(x), TN_F16, x->storage->device);
    tn_tensor *wide = half ? tn_new("autocast", tn_shape_of(x), TN_F32, x->storage->device) : NULL;
    return wide && tn_overwrite(half, x) == TN_OK && tn_overwrite(wide, half) == TN_OK ? wide : NULL;
}

void tn_autocast_restore(tn_autocast_mode *mode) { tn_this.autocast = mode->former; }
