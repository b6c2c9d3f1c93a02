/* Modules: making, naming what they hold, calling. */
#include "nn/module.h"

#include "core/trace.h"

#include <string.h>

__thread tn_observer tn_observer_now;
__thread void *tn_observer_context;

/* ---- the object --------------------------------------------------------------------------------------------------------- */

static size_t state_offset(const tn_module_type *type) { return (type->bytes + 15) / 16 * 16; }

static void module_free(void *self)
{
    tn_module *module = self;
    tn_module_state *state = module->state;
    if (module->type->destroy)
        module->type->destroy(module);
    for (int i = 0; i < state->count; i++)
        tn_release(state->entries[i].object);
    tn_free(state->entries, (size_t)state->capacity * sizeof *state->entries);
    tn_free(state->hooks, (size_t)state->hook_capacity * sizeof *state->hooks);
}

void *tn_module_new(const tn_module_type *type)
{
    if (tn_failing())
        return NULL;
    if (!type || type->size != sizeof *type || type->bytes < sizeof(tn_module) || !type->forward)
        return tn_fail(TN_ERR_ARGUMENT, "module: %s is no table of TN_MODULE: size, bytes and forward must be set",
                       type && type->name ? type->name : "type");
    tn_class cls = {type->name, state_offset(type) + sizeof(tn_module_state), module_free};
    tn_module *module = tn_object_new(&cls);
    if (!module)
        return NULL;
    module->state = (tn_module_state *)(void *)((char *)module + state_offset(type));
    module->state->cls = cls;
    module->object.cls = &module->state->cls;
    module->type = type;
    module->training = true;
    return module;
}

static bool is_module(const void *pointer)
{
    const tn_object *object = pointer;
    return object->magic == TN_OBJECT_MAGIC && object->cls->free == module_free;
}

tn_module *tn_module_of(const char *function, const void *module)
{
    if (tn_failing())
        return NULL;
    if (!module)
        return tn_fail(TN_ERR_ARGUMENT, "%s: the module is NULL: was it given by TN_CHILD?", function);
    if (!is_module(module))
        return tn_fail(TN_ERR_ARGUMENT, "%s: the pointer is no module (a struct that begins with a tn_module, made by TN_NEW), or it was released",
                       function);
    return (tn_module *)(uintptr_t)module;
}

/* ---- naming ------------------------------------------------------------------------------------------------------------- */

static bool name_fits(const tn_module *owner, const char *name)
{
    if (name && *name && strlen(name) < TN_NAME_SIZE && !strchr(name, '.'))
        return true;
    tn_fail(TN_ERR_ARGUMENT, "%s: \"%s\" is no name for a child or tensor: 1 to %d characters without '.'", owner->type->name,
            name ? name : "NULL", TN_NAME_SIZE - 1);
    return false;
}

static tn_entry *find_entry(const tn_module *module, const char *name)
{
    for (int i = 0; i < module->state->count; i++)
        if (!strcmp(module->state->entries[i].name, name))
            return &module->state->entries[i];
    return NULL;
}

/* The entry of that name, made if need be; NULL on no memory. */
static tn_entry *entry_of(tn_module *owner, const char *name)
{
    tn_module_state *state = owner->state;
    tn_entry *entry = find_entry(owner, name);
    if (entry)
        return entry;
    if (state->count == state->capacity) {
        int capacity = state->capacity ? state->capacity * 2 : 4;
        tn_entry *entries = tn_alloc_zero((size_t)capacity * sizeof *entries);
        if (!entries)
            return NULL;
        if (state->count)
            memcpy(entries, state->entries, (size_t)state->count * sizeof *entries);
        tn_free(state->entries, (size_t)state->capacity * sizeof *entries);
        state->entries = entries;
        state->capacity = capacity;
    }
    entry = &state->entries[state->count++];
    *entry = (tn_entry){.offset = TN_NO_FIELD};
    memcpy(entry->name, name, strlen(name) + 1);
    return entry;
}

tn_status tn_entry_set(tn_module *owner, const char *name, tn_entry_kind kind, size_t offset, void *object)
{
    tn_entry *entry = entry_of(owner, name);
    if (!entry) {
        tn_release(object);
        return tn_last_status();
    }
    tn_object *former = entry->object;
    if (offset == TN_NO_FIELD)
        offset = entry->offset;
    entry->kind = kind;
    entry->offset = offset;
    entry->object = object;
    if (offset != TN_NO_FIELD)
        memcpy((char *)owner + offset, &object, sizeof object);
    tn_release(former);
    return TN_OK;
}

static bool field_fits(const tn_module *owner, const char *name, size_t offset, size_t size)
{
    if (offset == TN_NO_FIELD)
        return true;
    if (size == sizeof(void *) && offset >= sizeof(tn_module) && offset + size <= owner->type->bytes)
        return true;
    tn_fail(TN_ERR_ARGUMENT, "%s: field %s cannot point to a child or tensor: declare it as a pointer, after base", owner->type->name, name);
    return false;
}

static bool same_module(tn_module *module, const char *path, int depth, void *context)
{
    (void)path, (void)depth;
    return module != context;
}

tn_status tn_set_child_at(void *owner, const char *name, size_t offset, size_t size, void *child)
{
    tn_module *parent = tn_module_of("child", owner), *inner = parent && child ? tn_module_of(name, child) : NULL;
    if (parent && !child)
        tn_fail(TN_ERR_ARGUMENT, "%s: child %s is NULL", parent->type->name, name ? name : "NULL");
    if (inner && name_fits(parent, name) && field_fits(parent, name, offset, size)) {
        if (tn_visit_modules(inner, same_module, parent))
            return tn_entry_set(parent, name, TN_KIND_CHILD, offset, inner);
        tn_fail(TN_ERR_ARGUMENT, "%s: child %s has %s itself among its descendants: it could never be freed", parent->type->name, name,
                parent->type->name);
    }
    if (child && is_module(child))
        tn_release(child);
    return tn_last_status();
}

tn_status tn_set_tensor_at(void *owner, const char *name, size_t offset, size_t size, tn_tensor *tensor, tn_entry_kind kind)
{
    tn_module *module = tn_module_of("parameter", owner);
    if (!module || !name_fits(module, name) || !field_fits(module, name, offset, size))
        return tn_last_status();
    if (!tensor || (unsigned)kind >= TN_KIND_CHILD) {
        tn_fail(TN_ERR_ARGUMENT, "%s: %s is NULL: a tensor is needed; leave the name out where there is none", module->type->name, name);
        return TN_ERR_ARGUMENT;
    }
    if (tensor->grad_fn) {
        tn_fail(TN_ERR_STATE, "%s: %s is the result of a recorded operator: tn_detach() it first", module->type->name, name);
        return TN_ERR_STATE;
    }
    if (kind == TN_KIND_PARAMETER && !tn_dtype_is_float((tn_dtype)tensor->dtype)) {
        tn_fail(TN_ERR_DTYPE, "%s: parameter %s is %s: only floating tensors can be trained: make it a buffer", module->type->name, name,
                tn_dtype_name((tn_dtype)tensor->dtype));
        return TN_ERR_DTYPE;
    }
    if (kind == TN_KIND_PARAMETER && tn_set_requires_grad(tensor, true) != TN_OK)
        return tn_last_status();
    return tn_entry_set(module, name, kind, offset, tn_retain(tensor));
}

tn_status tn_add_child(void *owner, const char *name, void *child) { return tn_set_child_at(owner, name, TN_NO_FIELD, 0, child); }

tn_status tn_add_parameter(void *owner, const char *name, tn_tensor *tensor)
{
    return tn_set_tensor_at(owner, name, TN_NO_FIELD, 0, tensor, TN_KIND_PARAMETER);
}

tn_status tn_add_buffer(void *owner, const char *name, tn_tensor *tensor)
{
    return tn_set_tensor_at(owner, name, TN_NO_FIELD, 0, tensor, TN_KIND_BUFFER);
}

/* ---- calling ------------------------------------------------------------------------------------------------------------ */

/* Forward and hooks, in the scope that tn_call_n() opened. */
static tn_status run_forward(tn_module *module, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    const tn_module_type *type = module->type;
    TN_CLEANUP_(tn_span_end) tn_span span = tn_span_begin("module", type->name);
    if (type->forward(module, in, n_in, out, n_out) != TN_OK && !tn_failing())
        tn_fail(TN_ERR_STATE, "%s: forward failed and raised no error by tn_fail()", type->name);
    for (int i = 0; i < n_out && !tn_failing(); i++)
        if (!out[i])
            tn_fail(TN_ERR_STATE, "%s: forward left output %d NULL", type->name, i);
    for (int i = 0; i < module->state->hook_count && !tn_failing();) {
        const tn_hook_entry entry = module->state->hooks[i];
        entry.hook(module, in, n_in, out, n_out, entry.context);
        i += i < module->state->hook_count && module->state->hooks[i].handle == entry.handle; /* it may have removed itself */
    }
    if (tn_observer_now && !tn_failing())
        tn_observer_now(module, out, n_out, tn_observer_context);
    return tn_last_status();
}

tn_status tn_call_n(void *pointer, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    for (int i = 0; out && i < n_out; i++)
        out[i] = NULL;
    tn_module *module = tn_module_of("call", pointer);
    if (!module)
        return tn_last_status();
    const tn_module_type *type = module->type;
    if (n_in < 0 || (n_in && !in) || (type->inputs >= 0 && n_in != type->inputs)) {
        tn_fail(TN_ERR_ARGUMENT, "%s: forward takes %d input%s, and %d were given", type->name, type->inputs,
                type->inputs == 1 ? "" : "s", n_in);
        return TN_ERR_ARGUMENT;
    }
    if (n_out < 1 || !out || (type->outputs >= 0 && n_out > type->outputs)) {
        tn_fail(TN_ERR_ARGUMENT, "%s: forward gives %d output%s, and %d were asked for", type->name, type->outputs,
                type->outputs == 1 ? "" : "s", n_out);
        return TN_ERR_ARGUMENT;
    }
    TN_SCOPE;
    tn_status status = run_forward(module, in, n_in, out, n_out);
    for (int i = 0; i < n_out; i++)
        out[i] = status == TN_OK ? tn_pass(out[i]) : NULL;
    if (status == TN_OK && tn_failing()) {
        for (int i = 0; i < n_out; i++)
            out[i] = NULL;
        status = tn_last_status();
    }
    return status;
}

tn_tensor *tn_call_array(void *module, tn_tensor *const *in, int n_in)
{
    tn_tensor *out = NULL;
    return tn_call_n(module, in, n_in, &out, 1) == TN_OK ? out : NULL;
}

int64_t tn_add_forward_hook(void *pointer, tn_forward_hook hook, void *context)
{
    tn_module *module = tn_module_of("add_forward_hook", pointer);
    if (!module)
        return 0;
    tn_module_state *state = module->state;
    if (!hook) {
        tn_fail(TN_ERR_ARGUMENT, "add_forward_hook: the hook is NULL");
        return 0;
    }
    if (state->hook_count == state->hook_capacity) {
        int capacity = state->hook_capacity ? state->hook_capacity * 2 : 2;
        tn_hook_entry *hooks = tn_alloc((size_t)capacity * sizeof *hooks);
        if (!hooks)
            return 0;
        if (state->hook_count)
            memcpy(hooks, state->hooks, (size_t)state->hook_count * sizeof *hooks);
        tn_free(state->hooks, (size_t)state->hook_capacity * sizeof *hooks);
        state->hooks = hooks;
        state->hook_capacity = capacity;
    }
    state->hooks[state->hook_count++] = (tn_hook_entry){hook, context, ++state->handles};
    return state->handles;
}

void tn_remove_forward_hook(void *pointer, int64_t handle)
{
    tn_module_state *state = pointer && is_module(pointer) ? ((tn_module *)pointer)->state : NULL;
    for (int i = 0; state && i < state->hook_count; i++)
        if (state->hooks[i].handle == handle) {
            memmove(&state->hooks[i], &state->hooks[i + 1], (size_t)(state->hook_count - i - 1) * sizeof *state->hooks);
            state->hook_count--;
            return;
        }
}
