/* Modules of modules. */
#include <stdio.h>

#include "nn/module.h"

typedef struct container {
    tn_module base;
} container;

static tn_status sequential_forward(container *self, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    if (n_in != 1 || n_out != 1) {
        tn_fail(TN_ERR_ARGUMENT, "sequential: it takes and gives one tensor, and %d and %d were asked for", n_in, n_out);
        return TN_ERR_ARGUMENT;
    }
    TN_CLEANUP_(tn_scope_close) tn_scope scope = tn_scope_open(); /* what a child gave goes when the next one has read it */
    tn_tensor *x = in[0];
    const tn_module_state *state = self->base.state;
    for (int i = 0; i < state->count && x; i++) {
        x = tn_call_array(tn_entry_child(&state->entries[i]), &x, 1);
        if (!x)
            tn_fail_within("sequential, child %s", state->entries[i].name);
        (void)tn_keep(x);
        tn_scope_close(&scope);
        scope = tn_scope_open();
        x = tn_adopt(x);
    }
    out[0] = tn_pass(x);
    return tn_last_status();
}

static tn_status list_forward(container *self, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    (void)self, (void)in, (void)n_in, (void)out, (void)n_out;
    tn_fail(TN_ERR_STATE, "module_list: it has no forward: call its children, tn_child_at(list, i)");
    return TN_ERR_STATE;
}

typedef container sequential;
typedef container module_list;
TN_MODULE_N(sequential, sequential_forward);
TN_MODULE_N(module_list, list_forward);

tn_status tn_append(tn_module *pointer, void *child)
{
    const tn_module *list = tn_module_of("append", pointer);
    if (list && list->type != &sequential_module && list->type != &module_list_module) {
        tn_fail(TN_ERR_ARGUMENT, "append: %s is no sequential and no module_list", list->type->name);
        list = NULL;
    }
    char name[16];
    snprintf(name, sizeof name, "%d", list ? list->state->count : 0);
    return tn_add_child((void *)(uintptr_t)list, name, child);
}

/* Takes all children, whatever happens. */
static tn_module *container_new(const tn_module_type *type, void *const *children, int count)
{
    tn_module *module = tn_module_new(type);
    if (module && (count < 0 || (count && !children)))
        tn_fail(TN_ERR_ARGUMENT, "%s: %d children at %p", type->name, count, (const void *)children);
    for (int i = 0; children && i < count; i++)
        if (tn_append(module, children[i]) != TN_OK) {
            tn_release(module);
            module = NULL;
        }
    return module;
}

tn_module *tn_sequential_new_from(void *const *children, int count) { return container_new(&sequential_module, children, count); }
tn_module *tn_module_list_new_from(void *const *children, int count) { return container_new(&module_list_module, children, count); }
