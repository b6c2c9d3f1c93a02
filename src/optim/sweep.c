/* One pass over many tensors. */
#include "optim/sweep.h"

#include <tenon/ops.h>

#include "core/loop.h"
#include "kernels/graph.h"

bool tn_sweep_begin(tn_sweep *s, int64_t capacity)
{
    size_t room = capacity > 0 ? (size_t)capacity : 1;
    *s = (tn_sweep){.capacity = (int64_t)room};
    s->items = tn_alloc(room * sizeof *s->items);
    s->targets = s->items ? tn_alloc(room * sizeof *s->targets) : NULL;
    s->dense = s->targets ? tn_alloc(room * sizeof *s->dense) : NULL;
    return s->dense != NULL;
}

void tn_sweep_end(tn_sweep *s)
{
    size_t room = (size_t)s->capacity;
    tn_free(s->items, room * sizeof *s->items);
    tn_free(s->targets, room * sizeof *s->targets);
    tn_free(s->dense, room * sizeof *s->dense);
}

static const tn_tensor *contiguous(const tn_tensor *x) { return tn_contiguous((tn_tensor *)(uintptr_t)x); }

tn_step_item *tn_sweep_add(tn_sweep *s, tn_tensor *target, const tn_tensor *x)
{
    const tn_tensor *g = x ? contiguous(x) : NULL;
    tn_tensor *dense = g || !x ? tn_contiguous(target) : NULL;
    if (!dense)
        return NULL;
    if (s->count && !tn_same_device(target->storage->device, s->targets[0]->storage->device))
        return tn_fail(TN_ERR_DEVICE, "step: one tensor is on %s and another on %s: one optimiser's are on one device",
                       tn_device_text(s->targets[0]->storage->device), tn_device_text(target->storage->device));
    tn_step_item *item = &s->items[s->count];
    const tn_step_item *before = s->count ? item - 1 : NULL;
    *item = (tn_step_item){
        .dtype = (tn_dtype)dense->dtype, .n = dense->numel, .start = before ? before->start + before->n : 0,
        .p = tn_ptr(dense), .g = g ? tn_ptr(g) : NULL, .c = {.sign = 1, .shrink = 1},
    };
    s->targets[s->count] = target;
    s->dense[s->count++] = dense;
    return item;
}

tn_status tn_sweep_run(tn_sweep *s, tn_step_op op)
{
    if (s->count && tn_kernels_for(s->targets[0])->optim_step(op, s->items, s->count) != TN_OK)
        return tn_last_status();
    if (s->count && tn_captures(s->targets[0]->storage->device) && tn_capture_scalars(s->items, s->count) != TN_OK)
        return tn_last_status();
    for (int i = 0; i < s->count; i++)
        if (s->dense[i] != s->targets[i])
            tn_overwrite(s->targets[i], s->dense[i]);
        else
            tn_storage_touch(s->targets[i]->storage);
    return tn_last_status();
}
