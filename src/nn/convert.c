/* Modules moved, cast and copied. */
#include <string.h>

#include <tenon/ops.h>

#include "kernels/device.h"
#include "nn/module.h"

/* ---- to another dtype or device ----------------------------------------------------------------------------------------- */

/* x and y change places in everything but their identity: whoever holds x sees y's elements. */
static void swap_storage(tn_tensor *x, tn_tensor *y)
{
    enum { OF_STORAGE = TN_FLAG_VIEW | TN_FLAG_CONTIGUOUS };
    tn_tensor old = *x;
    y->storage->version = x->storage->version + 1; /* what a graph saved of x is stale */
    x->storage = y->storage;
    x->offset = y->offset;
    x->dtype = y->dtype;
    x->flags = (uint8_t)((x->flags & ~OF_STORAGE) | (y->flags & OF_STORAGE));
    memcpy(x->strides, y->strides, sizeof x->strides);
    y->storage = old.storage;
    y->offset = old.offset;
    y->dtype = old.dtype;
    y->flags = (uint8_t)((y->flags & ~OF_STORAGE) | (old.flags & OF_STORAGE));
    memcpy(y->strides, old.strides, sizeof y->strides);
}

typedef struct conversion {
    tn_dtype dtype;      /* convert's */
    tn_device_id device; /* move's */
    tn_seen seen; /* tensor to its converted copy, which the scope owns; without one it stays as it is */
} conversion;

static bool convert(tn_module *owner, tn_entry *entry, const char *path, void *context)
{
    (void)owner, (void)path;
    conversion *c = context;
    tn_tensor *x = tn_entry_tensor(entry);
    if (!tn_dtype_is_float((tn_dtype)x->dtype) || x->dtype == c->dtype)
        return true;
    bool is_new;
    struct tn_seen_slot *slot = tn_seen_slot_of(&c->seen, x, &is_new);
    if (!slot || !is_new)
        return slot != NULL;
    tn_tensor *y = tn_new("module_to_dtype", tn_shape_of(x), c->dtype, x->storage->device);
    slot->value = y;
    return y && tn_overwrite(y, x) == TN_OK;
}

/* Makes all copies, then puts them in the place of what they are copies of. */
static tn_status exchange(tn_module *module, bool (*copy)(tn_module *, tn_entry *, const char *, void *), conversion *c)
{
    if (tn_visit_tensors(module, copy, c))
        for (int64_t i = 0; i < c->seen.capacity; i++) {
            tn_tensor *x = (tn_tensor *)(uintptr_t)c->seen.slots[i].key;
            if (!x)
                continue;
            swap_storage(x, c->seen.slots[i].value);
            tn_release(x->grad);
            x->grad = NULL;
        }
    tn_seen_free(&c->seen);
    return tn_last_status();
}

tn_status tn_module_to_dtype(void *pointer, tn_dtype dtype)
{
    tn_module *module = tn_module_of("module_to_dtype", pointer);
    if (!module)
        return tn_last_status();
    if ((unsigned)dtype >= TN_DTYPE_COUNT || !tn_dtype_is_float(dtype)) {
        tn_fail(TN_ERR_DTYPE, "module_to_dtype: parameters are floating, and %s is not", tn_dtype_name(dtype));
        return TN_ERR_DTYPE;
    }
    TN_SCOPE;
    return exchange(module, convert, &(conversion){.dtype = dtype});
}

static bool move(tn_module *owner, tn_entry *entry, const char *path, void *context)
{
    (void)owner, (void)path;
    conversion *c = context;
    tn_tensor *x = tn_entry_tensor(entry);
    if (tn_same_device(x->storage->device, c->device))
        return true;
    bool is_new;
    struct tn_seen_slot *slot = tn_seen_slot_of(&c->seen, x, &is_new);
    if (!slot || !is_new)
        return slot != NULL;
    TN_NO_GRAD;
    return (slot->value = tn_to(x, c->device)) != NULL;
}

tn_status tn_module_to(void *pointer, tn_device_id device)
{
    tn_module *module = tn_module_of("module_to", pointer);
    if (!module || (device.type != TN_CPU && !tn_backend_for("module_to", device)))
        return tn_last_status();
    TN_SCOPE;
    return exchange(module, move, &(conversion){.device = device});
}

/* ---- copies ------------------------------------------------------------------------------------------------------------- */

static tn_tensor *clone_tensor(const tn_tensor *x)
{
    tn_tensor *y = tn_new_owned("module_clone", tn_shape_of(x), (tn_dtype)x->dtype, x->storage->device);
    if (y && tn_overwrite(y, x) == TN_OK) {
        y->flags |= x->flags & TN_FLAG_REQUIRES_GRAD;
        return y;
    }
    tn_release(y);
    return NULL;
}

static tn_module *clone_module(const tn_module *from, tn_seen *seen);

/* The copy of what an entry names, owned by the caller: made once, shared from then on. */
static void *clone_object(const tn_entry *entry, tn_seen *seen)
{
    bool is_new;
    struct tn_seen_slot *slot = tn_seen_slot_of(seen, entry->object, &is_new);
    if (!slot || !is_new)
        return slot ? tn_retain(slot->value) : NULL;
    void *copy = entry->kind == TN_KIND_CHILD ? (void *)clone_module(tn_entry_child(entry), seen) : clone_tensor(tn_entry_tensor(entry));
    slot = copy ? tn_seen_slot_of(seen, entry->object, &is_new) : NULL; /* it may have moved: the set grew meanwhile */
    if (slot)
        slot->value = copy;
    return copy;
}

static bool copy_entries(tn_module *copy, const tn_module *from, tn_seen *seen)
{
    for (int i = 0; i < from->state->count; i++) {
        const tn_entry *entry = &from->state->entries[i];
        void *object = clone_object(entry, seen);
        if (!object || tn_entry_set(copy, entry->name, entry->kind, entry->offset, object) != TN_OK)
            return false;
    }
    return true;
}

/* The struct's own fields, those that point to children and tensors excepted. */
static void copy_fields(tn_module *copy, const tn_module *from)
{
    memcpy((char *)copy + sizeof *copy, (const char *)from + sizeof *from, from->type->bytes - sizeof *from);
    for (int i = 0; i < copy->state->count; i++) {
        const tn_entry *entry = &copy->state->entries[i];
        if (entry->offset != TN_NO_FIELD)
            memcpy((char *)copy + entry->offset, &entry->object, sizeof entry->object);
    }
    copy->training = from->training;
}

static tn_module *clone_module(const tn_module *from, tn_seen *seen)
{
    const tn_module_type *type = from->type;
    if (type->destroy && !type->clone)
        return tn_fail(TN_ERR_UNSUPPORTED, "module_clone: %s frees what it holds by destroy and has no clone to copy it", type->name);
    tn_module *copy = tn_module_new(type);
    if (copy && copy_entries(copy, from, seen)) {
        copy_fields(copy, from);
        if (!type->clone || (type->clone(copy, from) == TN_OK && !tn_failing()))
            return copy;
    }
    tn_release(copy);
    return NULL;
}

void *tn_module_clone(void *pointer)
{
    tn_module *module = tn_module_of("module_clone", pointer);
    tn_seen seen = {0};
    tn_module *copy = module ? clone_module(module, &seen) : NULL;
    tn_seen_free(&seen);
    return tn_autorelease(copy);
}
