/* Broadcasting strides for kernels. */
#include "core/loop.h"

#include "kernels/device.h"

/* True when the two dims of every operand can be walked as one. */
static bool mergeable(const tn_loop *loop, int outer, int inner)
{
    for (int k = 0; k < loop->operands; k++)
        if (loop->strides[k][outer] != loop->strides[k][inner] * loop->sizes[inner])
            return false;
    return true;
}

static void swap_dims(tn_loop *loop, int i, int j)
{
    int64_t size = loop->sizes[i];
    loop->sizes[i] = loop->sizes[j];
    loop->sizes[j] = size;
    for (int k = 0; k < loop->operands; k++) {
        int64_t stride = loop->strides[k][i];
        loop->strides[k][i] = loop->strides[k][j];
        loop->strides[k][j] = stride;
    }
}

/* Dims with large strides of the result go outside, so that the innermost one is the densest; sizes of 1 are dropped, neighbours merged. */
static void coalesce(tn_loop *loop)
{
    int n = 0;
    for (int i = 0; i < loop->ndim; i++)
        if (loop->sizes[i] != 1) {
            if (i != n)
                swap_dims(loop, i, n);
            n++;
        }
    loop->ndim = n > 0 ? n : 1;
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && loop->strides[0][j - 1] < loop->strides[0][j]; j--)
            swap_dims(loop, j - 1, j);
    int last = 0;
    for (int i = 1; i < n; i++) {
        if (mergeable(loop, last, i)) {
            loop->sizes[last] *= loop->sizes[i];
            for (int k = 0; k < loop->operands; k++)
                loop->strides[k][last] = loop->strides[k][i];
        } else if (++last != i) {
            swap_dims(loop, last, i);
        }
    }
    if (n > 0)
        loop->ndim = last + 1;
}

/* Operands that are one element in the CPU's memory, of a loop on another device. */
static int32_t on_cpu(const tn_tensor *const *inputs, int count)
{
    int32_t bits = 0;
    for (int k = 0; k < count; k++)
        if (inputs[k]->storage->device.type == TN_CPU && inputs[k]->numel == 1)
            bits |= 2 << k;
    return bits;
}

bool tn_loop_make(tn_loop *loop, const tn_tensor *out, const tn_tensor *const *inputs, int count)
{
    loop->operands = (int16_t)(count + 1);
    loop->on_cpu = TN_LIKELY(out->storage->device.type == TN_CPU) ? 0 : on_cpu(inputs, count);
    bool dense = tn_has(out, TN_FLAG_CONTIGUOUS);
    for (int k = 0; k < count; k++) {
        loop->data[k + 1] = tn_ptr(inputs[k]);
        dense = dense && (inputs[k]->numel == 1 || (tn_has(inputs[k], TN_FLAG_CONTIGUOUS) && tn_same_shape(inputs[k], out)));
    }
    loop->data[0] = tn_ptr(out);
    if (TN_LIKELY(dense)) {
        loop->ndim = 1;
        loop->sizes[0] = out->numel;
        loop->strides[0][0] = (int64_t)tn_item_size(out);
        for (int k = 0; k < count; k++)
            loop->strides[k + 1][0] = inputs[k]->numel == 1 && out->numel != 1 ? 0 : (int64_t)tn_item_size(inputs[k]);
        return out->numel > 0;
    }
    loop->ndim = out->ndim;
    for (int i = 0; i < out->ndim; i++) {
        loop->sizes[i] = out->sizes[i];
        loop->strides[0][i] = out->strides[i] * (int64_t)tn_item_size(out);
        for (int k = 0; k < count; k++) {
            const tn_tensor *x = inputs[k];
            int j = i - (out->ndim - x->ndim);
            loop->strides[k + 1][i] = j < 0 || x->sizes[j] == 1 ? 0 : x->strides[j] * (int64_t)tn_item_size(x);
        }
    }
    if (loop->ndim == 0) {
        loop->ndim = 1;
        loop->sizes[0] = 1;
        for (int k = 0; k <= count; k++)
            loop->strides[k][0] = 0;
    }
    if (out->numel > 0)
        coalesce(loop);
    return out->numel > 0;
}

/* The same where they are on two devices: dense on from's, then across, then written. */
static tn_status overwrite_across(tn_tensor *x, const tn_tensor *from)
{
    TN_SCOPE;
    if (!tn_has(from, TN_FLAG_CONTIGUOUS)) {
        tn_tensor *dense = tn_new("copy", tn_shape_of(from), (tn_dtype)from->dtype, from->storage->device);
        if (!dense || tn_overwrite(dense, from) != TN_OK)
            return tn_last_status();
        from = dense;
    }
    tn_tensor *there = tn_new("copy", tn_shape_of(from), (tn_dtype)from->dtype, x->storage->device);
    return there && tn_copy_across(there, from) == TN_OK ? tn_overwrite(x, there) : tn_last_status();
}

tn_status tn_overwrite(tn_tensor *x, const tn_tensor *from)
{
    if (TN_UNLIKELY(!tn_same_device(x->storage->device, from->storage->device)))
        return overwrite_across(x, from);
    tn_loop loop;
    const tn_tensor *inputs[] = {from};
    tn_status status = TN_OK;
    if (tn_loop_make(&loop, x, inputs, 1))
        status = tn_kernels_for(x)->cast((tn_dtype)x->dtype, (tn_dtype)from->dtype, &loop);
    tn_storage_touch(x->storage);
    return status;
}
