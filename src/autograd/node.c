/* Recording: nodes, saved tensors, in-place rules, hooks. */
#include "autograd/node.h"

#include <string.h>

/* ---- grad mode ---------------------------------------------------------------------------------------------------------- */

bool tn_grad_enabled(void) { return !tn_this.no_grad; }

tn_grad_mode tn_grad_mode_set(bool enabled)
{
    tn_grad_mode former = {!tn_this.no_grad};
    tn_this.no_grad = !enabled;
    return former;
}

void tn_grad_mode_restore(tn_grad_mode *mode) { tn_this.no_grad = !mode->former; }

/* ---- nodes -------------------------------------------------------------------------------------------------------------- */

void tn_node_release_saved(tn_node *node)
{
    for (int i = 0; i < node->saved_count; i++) {
        tn_release(node->saved[i].tensor);
        node->saved[i].tensor = NULL;
    }
    node->released = true;
}

static void node_free(void *self)
{
    tn_node *node = self;
    tn_node_release_saved(node);
    for (int i = 0; i < node->inputs; i++)
        tn_release(node->edges[i].target);
    for (int i = 0; i < node->outputs; i++)
        tn_hooks_free(node->output[i].hooks);
    tn_free(node->edges, node->block_size);
}

static const tn_class node_class = {"node", sizeof(tn_node), node_free};

tn_edge tn_edge_of(const tn_tensor *x)
{
    if (x && x->grad_fn)
        return (tn_edge){&x->grad_fn->base, x->output_nr};
    if (x && tn_has(x, TN_FLAG_REQUIRES_GRAD))
        return (tn_edge){(tn_object *)(uintptr_t)&x->base, 0};
    return (tn_edge){NULL, 0};
}

static tn_node *node_new(int inputs, int outputs, int saved, size_t attr_size)
{
    tn_node *node = tn_object_new(&node_class);
    if (!node)
        return NULL;
    size_t edges = (size_t)inputs * sizeof(tn_edge), saves = (size_t)saved * sizeof(tn_saved_tensor);
    size_t metas = (size_t)outputs * sizeof(tn_output);
    node->block_size = edges + saves + metas + attr_size;
    char *block = tn_alloc_zero(node->block_size);
    if (!block) {
        tn_release(node);
        return NULL;
    }
    node->edges = (tn_edge *)block;
    node->saved = (tn_saved_tensor *)(block + edges);
    node->output = (tn_output *)(block + edges + saves);
    node->attr = block + edges + saves + metas;
    return node;
}

static bool save(tn_node *node, tn_tensor *x, tn_tensor *const *ys, int outputs)
{
    tn_saved_tensor *slot = &node->saved[node->saved_count++];
    slot->output = -1;
    if (!x)
        return true;
    for (int k = 0; k < outputs; k++)
        if (ys[k] == x)
            slot->output = k;
    slot->tensor = slot->output >= 0 ? tn_alias_owned(x) : tn_retain(x);
    slot->version = x->storage->version;
    return slot->tensor != NULL;
}

tn_tensor *tn_record_(tn_tensor *const *ys, int outputs, const char *name, tn_backward_fn backward, tn_tensor *const *inputs, int n_inputs,
                      tn_tensor *const *saved, int n_saved, const void *attr, size_t attr_size)
{
    if (tn_failing())
        return NULL;
    if (TN_UNLIKELY(tn_this.detect_anomaly)) {
        if (!tn_forward_is_sound(name, ys, outputs, inputs, n_inputs))
            return NULL;
        if (!tn_recording(inputs, n_inputs))
            return ys[0];
    }
    tn_node *node = node_new(n_inputs, outputs, n_saved, attr_size);
    if (!node)
        return NULL;
    node->name = name;
    node->backward = backward;
    node->autocast = tn_this.autocast;
    for (int i = 0; i < n_inputs; i++) {
        tn_edge edge = tn_edge_of(inputs[i]);
        tn_retain(edge.target);
        node->edges[node->inputs++] = edge;
        if (edge.target && !tn_is_tensor(edge.target) && ((tn_node *)edge.target)->depth >= node->depth)
            node->depth = ((tn_node *)edge.target)->depth + 1;
    }
    for (int i = 0; i < n_saved; i++)
        if (!save(node, saved[i], ys, outputs)) {
            tn_release(node);
            return NULL;
        }
    if (attr_size)
        memcpy(node->attr, attr, attr_size);
    node->outputs = outputs;
    for (int k = 0; k < outputs; k++) {
        tn_tensor *y = ys[k];
        node->output[k] = (tn_output){.shape = tn_shape_of(y), .dtype = (tn_dtype)y->dtype, .device = y->storage->device};
        if (!tn_dtype_is_float((tn_dtype)y->dtype))
            continue;
        if (tn_has(y, TN_FLAG_RETAIN_GRAD)) { /* written in place: .grad is of what it is now */
            tn_forget_retained(y);
            node->output[k].retained = y;
        }
        tn_release(y->grad_fn);
        y->grad_fn = tn_retain(node);
        y->output_nr = k;
        y->flags &= (uint8_t)~TN_FLAG_REQUIRES_GRAD;
    }
    tn_release(node);
    return ys[0];
}

tn_tensor *tn_node_saved(tn_node *node, int i)
{
    tn_saved_tensor *slot = &node->saved[i];
    if (tn_failing())
        return NULL;
    if (node->released)
        return tn_fail(TN_ERR_GRAD, "backward of %s: the graph was released by an earlier backward: give it .retain_graph = true", node->name);
    if (!slot->tensor)
        return NULL;
    if (slot->tensor->storage->version != slot->version)
        return tn_fail(TN_ERR_GRAD,
                       "backward of %s: a tensor %s that it saved was changed in place since (version %llu, saved at %llu): clone it "
                       "before the change, or change it after backward",
                       node->name, tn_text(slot->tensor), (unsigned long long)slot->tensor->storage->version,
                       (unsigned long long)slot->version);
    if (slot->output < 0 || tn_this.no_grad)
        return slot->tensor;
    tn_tensor *y = tn_autorelease(tn_alias_owned(slot->tensor)); /* tied to its node again, for second derivatives */
    if (y) {
        y->grad_fn = tn_retain(node);
        y->output_nr = slot->output;
    }
    return y;
}

/* ---- in place ----------------------------------------------------------------------------------------------------------- */

bool tn_inplace_check(const char *op, const tn_tensor *x, tn_tensor *const *inputs, int count)
{
    if (tn_this.no_grad)
        return true;
    if (!x->grad_fn && tn_has(x, TN_FLAG_REQUIRES_GRAD)) {
        tn_fail(TN_ERR_GRAD, "%s: x is a leaf that requires a gradient: write into it under TN_NO_GRAD, or use the operator that gives a new "
                             "tensor", op);
        return false;
    }
    if (!x->grad_fn && !tn_recording(inputs, count))
        return true;
    if (tn_has(x, TN_FLAG_VIEW) || __atomic_load_n(&x->storage->aliases, __ATOMIC_RELAXED) > 0) {
        tn_fail(TN_ERR_GRAD, "%s: x shares its storage with a view and the write is recorded: use the operator that gives a new tensor, or "
                             "clone x first", op);
        return false;
    }
    return true;
}

tn_tensor *tn_record_inplace(tn_tensor *x, const char *name, tn_backward_fn backward, tn_tensor *const *inputs, int n_inputs,
                             tn_tensor *const *saved, int n_saved, const void *attr, size_t attr_size)
{
    if (tn_failing())
        return NULL;
    tn_storage_touch(x->storage);
    tn_tensor *all[8] = {x};
    for (int i = 0; i < n_inputs && i < TN_COUNT(all) - 1; i++)
        all[i + 1] = inputs[i];
    return tn_record(x, name, backward, all, n_inputs + 1, saved, n_saved, attr, attr_size);
}

/* ---- leaves ------------------------------------------------------------------------------------------------------------- */

tn_status tn_set_requires_grad(tn_tensor *x, bool requires_grad)
{
    if (!tn_ready("set_requires_grad", "x", x))
        return tn_last_status();
    if (x->grad_fn)
        tn_fail(TN_ERR_STATE, "set_requires_grad: x is the result of %s, not a leaf: detach it first", x->grad_fn->name);
    else if (requires_grad && !tn_dtype_is_float((tn_dtype)x->dtype))
        tn_fail(TN_ERR_DTYPE, "set_requires_grad: only floating tensors can require a gradient, and x is %s",
                tn_dtype_name((tn_dtype)x->dtype));
    if (tn_failing())
        return tn_last_status();
    x->flags = (uint8_t)(requires_grad ? x->flags | TN_FLAG_REQUIRES_GRAD : x->flags & ~TN_FLAG_REQUIRES_GRAD);
    return TN_OK;
}

tn_tensor *tn_grad(const tn_tensor *x) { return tn_ready("grad", "x", x) ? x->grad : NULL; }

tn_status tn_set_grad(tn_tensor *x, tn_tensor *grad)
{
    if (!tn_ready("set_grad", "x", x))
        return tn_last_status();
    if (grad && (!tn_same_shape(x, grad) || x->dtype != grad->dtype || !tn_same_device(x->storage->device, grad->storage->device))) {
        tn_fail(TN_ERR_SHAPE, "set_grad: the gradient is %s %s and x is %s %s: both must be alike", tn_text(grad),
                tn_dtype_name((tn_dtype)grad->dtype), tn_text(x), tn_dtype_name((tn_dtype)x->dtype));
        return tn_last_status();
    }
    tn_retain(grad);
    tn_release(x->grad);
    x->grad = grad;
    return TN_OK;
}

tn_status tn_retain_grad(tn_tensor *x)
{
    if (!tn_ready("retain_grad", "x", x))
        return tn_last_status();
    if (!tn_tracks(x)) {
        tn_fail(TN_ERR_GRAD, "retain_grad: x does not require a gradient");
        return TN_ERR_GRAD;
    }
    if (x->grad_fn) {
        x->grad_fn->output[x->output_nr].retained = x;
        x->flags |= TN_FLAG_RETAIN_GRAD;
    }
    return TN_OK;
}

void tn_forget_retained(tn_tensor *x)
{
    if (x->grad_fn && x->grad_fn->output[x->output_nr].retained == x)
        x->grad_fn->output[x->output_nr].retained = NULL;
}

/* ---- hooks -------------------------------------------------------------------------------------------------------------- */

typedef struct tn_hooks {
    struct tn_hooks *next;
    tn_hook hook; /* NULL: removed while hooks ran */
    void *context;
} tn_hooks;

static __thread int running; /* lists of hooks that are being walked on this thread: no entry is freed meanwhile */

static tn_hooks **hooks_of(tn_tensor *x) { return x->grad_fn ? &x->grad_fn->output[x->output_nr].hooks : &x->hooks; }

void tn_hooks_free(tn_hooks *hooks)
{
    while (hooks) {
        tn_hooks *next = hooks->next;
        tn_free(hooks, sizeof *hooks);
        hooks = next;
    }
}

tn_tensor *tn_hooks_run(const tn_hooks *hooks, tn_tensor *grad)
{
    for (; hooks && grad && !tn_failing(); hooks = hooks->next) {
        if (!hooks->hook)
            continue;
        running++;
        tn_tensor *other = hooks->hook(grad, hooks->context);
        running--;
        if (other && !tn_same_shape(other, grad))
            return tn_fail(TN_ERR_SHAPE, "hook: it returned %s in place of a gradient %s", tn_text(other), tn_text(grad));
        if (other && (other->dtype != grad->dtype || !tn_same_device(other->storage->device, grad->storage->device)))
            return tn_fail(TN_ERR_DTYPE, "hook: it returned %s on %s in place of a gradient %s on %s", tn_dtype_name((tn_dtype)other->dtype),
                           tn_device_text(other->storage->device), tn_dtype_name((tn_dtype)grad->dtype),
                           tn_device_text(grad->storage->device));
        grad = other ? other : grad;
    }
    return tn_failing() ? NULL : grad;
}

/* Takes out the entries with this hook and context and those removed before; while hooks run they stay, marked. Returns the end. */
static tn_hooks **remove_entries(tn_hooks **at, tn_hook hook, void *context)
{
    while (*at) {
        tn_hooks *entry = *at;
        if (hook && entry->hook == hook && entry->context == context)
            entry->hook = NULL;
        if (!entry->hook && !running) {
            *at = entry->next;
            tn_free(entry, sizeof *entry);
        } else {
            at = &entry->next;
        }
    }
    return at;
}

tn_status tn_add_hook(tn_tensor *x, tn_hook hook, void *context)
{
    if (!tn_ready("add_hook", "x", x))
        return tn_last_status();
    if (!hook || !tn_tracks(x)) {
        tn_fail(TN_ERR_ARGUMENT, hook ? "add_hook: x does not require a gradient" : "add_hook: hook is NULL");
        return TN_ERR_ARGUMENT;
    }
    tn_hooks *entry = tn_alloc(sizeof *entry);
    if (!entry)
        return tn_last_status();
    *entry = (tn_hooks){NULL, hook, context};
    *remove_entries(hooks_of(x), NULL, NULL) = entry;
    return TN_OK;
}

tn_status tn_remove_hook(tn_tensor *x, tn_hook hook, void *context)
{
    if (tn_ready("remove_hook", "x", x))
        remove_entries(hooks_of(x), hook, context);
    return tn_last_status();
}
